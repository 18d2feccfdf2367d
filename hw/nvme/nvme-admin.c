/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The admin command set (NVMe 1.4, section 5): queues, abort, asynchronous event requests; the rest by file.
 */
#include "hw/nvme/nvme.h"

#define QUEUE_PC  0x1u /* physically contiguous: cdw11 */
#define QUEUE_IEN 0x2u

/* What Create and Delete take in cdw10. */
static uint16_t cmd_qid(const NvmeReq *req)
{
    return (uint16_t)req->cmd.cdw10;
}

static uint16_t check_new_queue(const NvmeReq *req, bool exists, unsigned entry_shift, unsigned wanted_shift)
{
    const Nvme *n = req->n;
    uint32_t size = req->cmd.cdw10 >> 16; /* 0's based */

    if (!cmd_qid(req) || cmd_qid(req) > n->max_ioqpairs || exists) {
        return NVME_SC_QID_INVALID | NVME_DNR;
    }
    if (!size || size >= NVME_QUEUE_ENTRIES) {
        return NVME_SC_QUEUE_SIZE | NVME_DNR;
    }
    if (!(req->cmd.cdw11 & QUEUE_PC) || entry_shift != wanted_shift) {
        return NVME_SC_INVALID_FIELD | NVME_DNR; /* CAP.CQR */
    }
    if (!req->cmd.prp1 || req->cmd.prp1 & (n->page_size - 1)) {
        return NVME_SC_PRP_OFFSET | NVME_DNR;
    }
    return NVME_SC_SUCCESS;
}

static uint16_t create_cq(NvmeReq *req)
{
    Nvme *n = req->n;
    uint16_t qid = cmd_qid(req), vector = (uint16_t)(req->cmd.cdw11 >> 16);
    bool exists = qid <= n->max_ioqpairs && n->cq[qid].entries;
    uint16_t status = check_new_queue(req, exists, NVME_CC_IOCQES(n->cc), NVME_CQE_SHIFT);

    if (status) {
        return status;
    }
    if (nvme_cmb_touches(n, req->cmd.prp1, ((uint64_t)(req->cmd.cdw10 >> 16) + 1) * NVME_CQE_SIZE)) {
        return NVME_SC_INVALID_CMB_USE | NVME_DNR; /* CMBSZ.CQS */
    }
    if (vector >= n->msix_qsize || (vector && !msix_enabled(&n->pci))) {
        return NVME_SC_INTERRUPT_VECTOR | NVME_DNR;
    }
    nvme_cq_init(n, qid, req->cmd.prp1, (req->cmd.cdw10 >> 16) + 1, vector, req->cmd.cdw11 & QUEUE_IEN);
    return NVME_SC_SUCCESS;
}

static uint16_t create_sq(NvmeReq *req)
{
    Nvme *n = req->n;
    uint16_t qid = cmd_qid(req), cqid = (uint16_t)(req->cmd.cdw11 >> 16);
    bool exists = qid <= n->max_ioqpairs && n->sq[qid].entries;
    uint16_t status;

    if (!cqid || cqid > n->max_ioqpairs || !n->cq[cqid].entries) {
        return NVME_SC_CQ_INVALID | NVME_DNR;
    }
    status = check_new_queue(req, exists, NVME_CC_IOSQES(n->cc), NVME_SQE_SHIFT);
    if (!status) {
        nvme_sq_init(n, qid, req->cmd.prp1, (req->cmd.cdw10 >> 16) + 1, cqid);
    }
    return status;
}

static uint16_t delete_sq(NvmeReq *req)
{
    Nvme *n = req->n;
    uint16_t qid = cmd_qid(req);
    NvmeSq *sq;

    if (!qid || qid > n->max_ioqpairs || !n->sq[qid].entries || n->sq[qid].deleting) {
        return NVME_SC_QID_INVALID | NVME_DNR;
    }
    sq = &n->sq[qid];
    if (sq->in_flight) {
        sq->deleting = true;
        sq->delete_cid = req->cmd.cid;
        n->cq[0].in_flight++; /* the place of this command's completion stays kept */
        return NVME_HELD;
    }
    n->cq[sq->cqid].users--;
    *sq = (NvmeSq){0};
    return NVME_SC_SUCCESS;
}

static uint16_t delete_cq(NvmeReq *req)
{
    Nvme *n = req->n;
    uint16_t qid = cmd_qid(req);

    if (!qid || qid > n->max_ioqpairs || !n->cq[qid].entries) {
        return NVME_SC_QID_INVALID | NVME_DNR;
    }
    if (n->cq[qid].users) {
        return NVME_SC_QUEUE_DELETION | NVME_DNR;
    }
    n->cq[qid].entries = 0;
    n->cq[qid].irq_enabled = false;
    nvme_update_pin(n);
    return NVME_SC_SUCCESS;
}

/* Commands are with the host's kernel before an abort can name them: none is aborted, which the result says.
 */
static uint16_t abort_cmd(NvmeReq *req)
{
    uint16_t sqid = (uint16_t)req->cmd.cdw10;

    if (sqid > req->n->max_ioqpairs || !req->n->sq[sqid].entries) {
        return NVME_SC_INVALID_FIELD | NVME_DNR;
    }
    req->result = 1;
    return NVME_SC_SUCCESS;
}

static uint16_t async_event_request(NvmeReq *req)
{
    Nvme *n = req->n;

    if (n->aer_count > n->aerl) {
        return NVME_SC_AER_LIMIT | NVME_DNR;
    }
    n->aer_cids[n->aer_count++] = req->cmd.cid;
    loop_bh_schedule(n->bh); /* an event may be waiting; it is delivered after this batch */
    return NVME_HELD;
}

typedef struct AdminOp {
    uint8_t opcode;
    uint16_t (*execute)(NvmeReq *req);
} AdminOp;

static const AdminOp admin_ops[] = {
    {NVME_ADM_DELETE_SQ, delete_sq},
    {NVME_ADM_CREATE_SQ, create_sq},
    {NVME_ADM_GET_LOG_PAGE, nvme_get_log_page},
    {NVME_ADM_DELETE_CQ, delete_cq},
    {NVME_ADM_CREATE_CQ, create_cq},
    {NVME_ADM_IDENTIFY, nvme_identify},
    {NVME_ADM_ABORT, abort_cmd},
    {NVME_ADM_SET_FEATURES, nvme_set_features},
    {NVME_ADM_GET_FEATURES, nvme_get_features},
    {NVME_ADM_ASYNC_EVENT, async_event_request},
    {NVME_ADM_DOORBELL_BUFFER, nvme_doorbell_buffer},
    {NVME_ADM_FORMAT_NVM, nvme_format},
};

uint16_t nvme_admin_execute(NvmeReq *req)
{
    for (size_t i = 0; i < G_N_ELEMENTS(admin_ops); i++) {
        if (admin_ops[i].opcode != req->cmd.opcode) {
            continue;
        }
        if (req->cmd.flags & (NVME_CMD_FUSE | NVME_CMD_PSDT)) {
            return NVME_SC_INVALID_FIELD |
                   NVME_DNR; /* no fused commands; SGLs are never used by admin commands */
        }
        return admin_ops[i].execute(req);
    }
    return NVME_SC_INVALID_OPCODE | NVME_DNR;
}
