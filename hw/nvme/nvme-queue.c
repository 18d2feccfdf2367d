/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Queues (NVMe 1.4, 4.1, 7.4), doorbells (3.1.24), completions and interrupts (7.5).
 *
 * A command is fetched only when its completion has a place: the completion queue can never be found full
 * later, and no list of waiting completions has to be kept or saved.
 */
#include <string.h>

#include "hw/nvme/nvme.h"

#define FETCH_MAX 16 /* entries read from memory at once */
#define BUFFER_LOOKS 4 /* in a row, in the thread that wrote a register */
#define SQ_BUDGET 64 /* commands of one queue before the others have their turn */

TraceEvent nvme_trace[] = {
    [NVME_TRACE_CMD] = {"nvme_command"},
    [NVME_TRACE_COMPLETE] = {"nvme_complete"},
    [NVME_TRACE_ENABLE] = {"nvme_enable"},
    [NVME_TRACE_DISABLE] = {"nvme_disable"},
    {NULL},
};

/* A doorbell was written, or reset with its queue. */
static void doorbell_note(Nvme *n, unsigned index, uint32_t val)
{
    uint32_t *values = n->pci.doorbells.values;

    if (values) {
        __atomic_store_n(&values[index], GUINT32_TO_LE(val), __ATOMIC_RELAXED);
    }
}

void nvme_sq_init(Nvme *n, unsigned qid, uint64_t base, uint32_t entries, uint16_t cqid)
{
    n->sq[qid] = (NvmeSq){.base = base, .entries = entries, .cqid = cqid, .refused = UINT32_MAX};
    n->cq[cqid].users++;
    n->top_qid = MAX(n->top_qid, qid);
    doorbell_note(n, 2 * qid, 0);
    nvme_dbbuf_queue_init(n, 2 * qid);
}

void nvme_cq_init(Nvme *n, unsigned qid, uint64_t base, uint32_t entries, uint16_t vector, bool irq_enabled)
{
    n->cq[qid] = (NvmeCq){
        .base = base, .entries = entries, .vector = vector, .phase = true, .irq_enabled = irq_enabled,
        .refused = UINT32_MAX};
    n->top_qid = MAX(n->top_qid, qid);
    doorbell_note(n, 2 * qid + 1, 0);
    nvme_dbbuf_queue_init(n, 2 * qid + 1);
}

void nvme_queues_clear(Nvme *n)
{
    memset(n->sq, 0, sizeof(n->sq));
    memset(n->cq, 0, sizeof(n->cq));
    n->notify_count = 0;
    n->top_qid = 0;
    n->dbbuf_shadow = n->dbbuf_event = 0;
    n->aer_count = n->event_count = n->event_masked = 0;
}

/* --- interrupts --- */

static uint32_t cq_used(const NvmeCq *cq)
{
    return (cq->tail + cq->entries - cq->head) % cq->entries;
}

uint32_t nvme_cq_room(const NvmeCq *cq)
{
    uint32_t taken = cq_used(cq) + cq->in_flight;

    return taken < cq->entries - 1 ? cq->entries - 1 - taken : 0;
}

void nvme_update_pin(Nvme *n)
{
    bool level = false;

    if (!msix_enabled(&n->pci)) {
        for (unsigned i = 0; i <= n->max_ioqpairs && !level; i++) {
            const NvmeCq *cq = &n->cq[i];

            level = cq->entries && cq->irq_enabled && cq->head != cq->tail &&
                    !(n->intms >> (cq->vector & 31) & 1);
        }
    }
    pci_set_irq(&n->pci, level);
}

void nvme_notify_flush(Nvme *n)
{
    bool msix = msix_enabled(&n->pci);

    for (unsigned i = 0; i < n->notify_count; i++) {
        NvmeCq *cq = &n->cq[n->notify[i]];

        cq->notify = false;
        if (msix && cq->entries && cq->irq_enabled) {
            msix_notify(&n->pci, cq->vector);
        }
    }
    n->notify_count = 0;
    if (!msix) {
        nvme_update_pin(n);
    }
}

static void cq_notify(Nvme *n, unsigned cqid)
{
    NvmeCq *cq = &n->cq[cqid];

    if (!cq->irq_enabled || cq->notify) {
        return;
    }
    cq->notify = true;
    n->notify[n->notify_count++] = (uint16_t)cqid;
    if (!n->batch && n->notify_count == 1) {
        loop_bh_schedule(n->irq_bh); /* completions of the same turn of the loop share an interrupt */
    }
}

void nvme_batch_begin(Nvme *n)
{
    n->batch++;
    for (uint32_t i = 0; i < n->ns_count; i++) {
        if (n->ns[i]) {
            block_plug(n->ns[i]->drive);
        }
    }
}

void nvme_batch_end(Nvme *n)
{
    for (uint32_t i = 0; i < n->ns_count; i++) {
        if (n->ns[i]) {
            block_unplug(n->ns[i]->drive);
        }
    }
    if (--n->batch == 0 && n->notify_count) {
        nvme_notify_flush(n);
    }
}

/* --- completions --- */

typedef struct Cqe {
    uint32_t dw[4];
} Cqe;

/* The dword with the phase tag becomes visible last. */
static bool cqe_store(Nvme *n, uint64_t addr, const Cqe *cqe)
{
    uint64_t len = sizeof(*cqe);
    MemRegion *region;
    void *host = pci_dma_map(&n->pci, addr, &len, true, &region);

    if (!host) {
        return nvme_dma_write(n, addr, cqe, sizeof(*cqe)) == MEM_OK;
    }
    if (len == sizeof(*cqe)) {
        memcpy(host, cqe, 3 * sizeof(uint32_t));
        __atomic_store_n((uint32_t *)host + 3, cqe->dw[3], __ATOMIC_RELEASE);
    }
    pci_dma_unmap(&n->pci, region, host, len, true);
    return len == sizeof(*cqe);
}

static void cq_post(Nvme *n, uint16_t cqid, uint16_t sqid, uint16_t cid, uint32_t result, uint16_t status)
{
    NvmeCq *cq = &n->cq[cqid];
    uint64_t addr = cq->base + (uint64_t)cq->tail * NVME_CQE_SIZE;
    Cqe cqe = {{GUINT32_TO_LE(result), 0, GUINT32_TO_LE(n->sq[sqid].head | (uint32_t)sqid << 16),
                GUINT32_TO_LE(cid | (uint32_t)(status << 1 | cq->phase) << 16)}};

    TRACE(&nvme_trace[NVME_TRACE_COMPLETE], "%s: sq %u cid %u status 0x%x result 0x%x", n->pci.dev.obj.id,
          sqid, cid, status, result);
    if (!cqe_store(n, addr, &cqe)) {
        nvme_fatal(n, "cannot write to a completion queue");
        return;
    }
    if (++cq->tail == cq->entries) {
        cq->tail = 0;
        cq->phase = !cq->phase;
    }
    cq_notify(n, cqid);
}

void nvme_post_admin(Nvme *n, uint16_t cid, uint32_t result, uint16_t status)
{
    cq_post(n, 0, 0, cid, result, status);
}

/* --- requests --- */

static NvmeReq *req_get(Nvme *n)
{
    NvmeReq *req = n->free_reqs;

    if (req) {
        n->free_reqs = req->next;
    } else {
        req = g_new0(NvmeReq, 1);
        req->n = n;
    }
    n->in_flight++;
    return req;
}

static void req_put(NvmeReq *req)
{
    Nvme *n = req->n;

    req->next = n->free_reqs;
    n->free_reqs = req;
    n->in_flight--;
}

/* The last command of a queue that is being deleted has ended. */
static void sq_finish_delete(Nvme *n, uint16_t sqid)
{
    uint16_t cid = n->sq[sqid].delete_cid;

    n->cq[n->sq[sqid].cqid].users--;
    n->sq[sqid] = (NvmeSq){0};
    n->cq[0].in_flight--;
    nvme_post_admin(n, cid, 0, NVME_SC_SUCCESS);
}

void nvme_complete(NvmeReq *req, uint16_t status)
{
    Nvme *n = req->n;
    NvmeSq *sq = &n->sq[req->sqid];
    bool current = req->generation == n->generation;
    bool limited = n->in_flight >= NVME_MAX_REQS;

    if (current) {
        NvmeCq *cq = &n->cq[sq->cqid];

        sq->in_flight--;
        cq->in_flight--;
        if (status) {
            nvme_error_log_add(n, req, status);
        }
        cq_post(n, sq->cqid, req->sqid, req->cmd.cid, req->result, status);
        if (sq->deleting && !sq->in_flight) {
            sq_finish_delete(n, req->sqid);
        }
    }
    req_put(req);
    if (!current) {
        nvme_req_gone(n);
    } else if (limited) {
        loop_bh_schedule(n->bh);
    }
}

/* --- fetching --- */

static void cmd_from_le(NvmeCmd *cmd)
{
    cmd->cid = GUINT16_FROM_LE(cmd->cid);
    cmd->nsid = GUINT32_FROM_LE(cmd->nsid);
    cmd->mptr = GUINT64_FROM_LE(cmd->mptr);
    cmd->prp1 = GUINT64_FROM_LE(cmd->prp1);
    cmd->prp2 = GUINT64_FROM_LE(cmd->prp2);
    cmd->cdw10 = GUINT32_FROM_LE(cmd->cdw10);
    cmd->cdw11 = GUINT32_FROM_LE(cmd->cdw11);
    cmd->cdw12 = GUINT32_FROM_LE(cmd->cdw12);
    cmd->cdw13 = GUINT32_FROM_LE(cmd->cdw13);
    cmd->cdw14 = GUINT32_FROM_LE(cmd->cdw14);
    cmd->cdw15 = GUINT32_FROM_LE(cmd->cdw15);
}

static void execute(Nvme *n, uint16_t sqid, const NvmeCmd *cmd)
{
    NvmeReq *req = req_get(n);
    uint16_t status;

    req->generation = n->generation;
    req->sqid = sqid;
    req->status = 0;
    req->result = 0;
    req->parts = 0;
    req->cmd = *cmd;
    cmd_from_le(&req->cmd);
    n->sq[sqid].in_flight++;
    n->cq[n->sq[sqid].cqid].in_flight++;
    TRACE(&nvme_trace[NVME_TRACE_CMD], "%s: sq %u cid %u opcode 0x%02x nsid 0x%x cdw10 0x%x 0x%x 0x%x",
          n->pci.dev.obj.id, sqid, req->cmd.cid, req->cmd.opcode, req->cmd.nsid, req->cmd.cdw10,
          req->cmd.cdw11, req->cmd.cdw12);
    status = sqid ? nvme_io_execute(req) : nvme_admin_execute(req);
    if (status == NVME_HELD) {
        n->sq[sqid].in_flight--;
        n->cq[n->sq[sqid].cqid].in_flight--;
        req_put(req);
    } else if (status != NVME_PENDING) {
        nvme_complete(req, status);
    }
}

/* How many commands can be fetched now with one read: there, contiguous, with a place for completions. */
static uint32_t sq_fetchable(const Nvme *n, const NvmeSq *sq)
{
    uint32_t end = sq->tail >= sq->head ? sq->tail : sq->entries;
    uint32_t count = MIN(end - sq->head, FETCH_MAX);

    if (sq->deleting || !nvme_ready(n) || n->in_flight >= NVME_MAX_REQS) {
        return 0;
    }
    return MIN(count, MIN(nvme_cq_room(&n->cq[sq->cqid]), NVME_MAX_REQS - n->in_flight));
}

/* True when the budget ended before the queue did. */
static bool sq_process(Nvme *n, uint16_t sqid)
{
    NvmeSq *sq = &n->sq[sqid];
    NvmeCmd cmds[FETCH_MAX];
    uint32_t generation = n->generation, budget = SQ_BUDGET, count;

    while (sq->entries && (count = MIN(sq_fetchable(n, sq), budget))) {
        if (nvme_dma_read(n, sq->base + (uint64_t)sq->head * NVME_SQE_SIZE, cmds,
                          (uint64_t)count * NVME_SQE_SIZE) != MEM_OK) {
            nvme_fatal(n, "cannot read a submission queue");
            return false;
        }
        for (uint32_t i = 0; i < count; i++) {
            /* A command may have reset the controller (by way of its data) or deleted this queue. */
            if (n->generation != generation || !nvme_ready(n) || sq->deleting) {
                return false;
            }
            sq->head = sq->head + 1 == sq->entries ? 0 : sq->head + 1;
            execute(n, sqid, &cmds[i]);
        }
        if (n->generation != generation) {
            return false;
        }
        budget -= count;
    }
    return sq->entries && sq_fetchable(n, sq);
}

void nvme_process_all(Nvme *n)
{
    bool more = false;

    nvme_batch_begin(n);
    for (unsigned i = 0; i <= n->max_ioqpairs; i++) {
        unsigned qid = (n->next_sq + i) % (n->max_ioqpairs + 1);

        if (n->sq[qid].entries && n->sq[qid].head != n->sq[qid].tail) {
            more |= sq_process(n, (uint16_t)qid);
        }
    }
    n->next_sq = (n->next_sq + 1) % (n->max_ioqpairs + 1);
    if (nvme_ready(n)) {
        nvme_events_deliver(n);
    }
    nvme_batch_end(n);
    if (more) {
        loop_bh_schedule(n->bh);
    }
}

/* --- doorbells --- */

static void sq_doorbell(Nvme *n, uint16_t qid, uint32_t tail)
{
    NvmeSq *sq = &n->sq[qid];
    bool more;

    if (tail >= sq->entries) {
        guest_error(&n->pci.dev, "tail of submission queue %u set to %u (allowed 0..%u)", qid, tail,
                    sq->entries - 1);
        nvme_event_add(n, NVME_EVENT_ERROR, NVME_EVENT_ERROR_INVALID_VALUE, NVME_LOG_ERROR);
        return;
    }
    sq->tail = tail;
    if (n->in_dma) {
        loop_bh_schedule(n->bh); /* the write came from inside one of our own transfers */
        return;
    }
    nvme_batch_begin(n);
    more = sq_process(n, qid);
    nvme_batch_end(n);
    if (more) {
        loop_bh_schedule(n->bh);
    }
}

static void cq_doorbell(Nvme *n, uint16_t qid, uint32_t head)
{
    NvmeCq *cq = &n->cq[qid];
    bool was_full = !nvme_cq_room(cq);
    uint32_t step;

    if (head >= cq->entries) {
        guest_error(&n->pci.dev, "head of completion queue %u set to %u (allowed 0..%u)", qid, head,
                    cq->entries - 1);
        nvme_event_add(n, NVME_EVENT_ERROR, NVME_EVENT_ERROR_INVALID_VALUE, NVME_LOG_ERROR);
        return;
    }
    step = (head + cq->entries - cq->head) % cq->entries;
    if (step > cq_used(cq)) {
        guest_error(&n->pci.dev, "head of completion queue %u set to %u, beyond the tail %u", qid, head,
                    cq->tail);
        nvme_event_add(n, NVME_EVENT_ERROR, NVME_EVENT_ERROR_INVALID_VALUE, NVME_LOG_ERROR);
        return;
    }
    cq->head = head;
    if (!msix_enabled(&n->pci)) {
        nvme_update_pin(n);
    }
    if (was_full) {
        loop_bh_schedule(n->bh); /* its submission queues, and events, may go on */
    }
}

/*
 * The register says: look at the buffer, which may be ahead of it.  This may be a CPU's thread and the loop be asleep:
 * the driver has to write the register the next time too.
 */
static void doorbell_by_buffer(Nvme *n)
{
    bool some = nvme_doorbells_poll(n);

    for (unsigned i = 0; some && i < BUFFER_LOOKS; i++) {
        nvme_dbbuf_arm(n);
        some = nvme_doorbells_poll(n);
    }
    if (some || n->in_dma) {
        loop_bh_schedule(n->bh);
    }
}

void nvme_doorbell_write(Nvme *n, uint32_t offset, uint32_t val)
{
    uint32_t index = offset / sizeof(uint32_t);
    uint32_t qid = index / 2;
    bool is_cq = index & 1;

    if (!nvme_ready(n)) {
        guest_error(&n->pci.dev, "doorbell at 0x%x while the controller is not ready", offset);
        return;
    }
    if (qid > n->max_ioqpairs || !(is_cq ? n->cq[qid].entries : n->sq[qid].entries)) {
        guest_error(&n->pci.dev, "doorbell of %s queue %u, which does not exist",
                    is_cq ? "completion" : "submission", qid);
        nvme_event_add(n, NVME_EVENT_ERROR, NVME_EVENT_ERROR_INVALID_DOORBELL, NVME_LOG_ERROR);
        return;
    }
    doorbell_note(n, index, val);
    if (qid && n->dbbuf_shadow) {
        doorbell_by_buffer(n);
        return;
    }
    if (is_cq) {
        cq_doorbell(n, (uint16_t)qid, val & 0xffff);
    } else {
        sq_doorbell(n, (uint16_t)qid, val & 0xffff);
    }
}

/* What was left for a queue whose tail or head is *now.  False: nothing new. */
static bool doorbell_take(Nvme *n, uint16_t qid, const uint32_t *now, bool is_cq, uint32_t left)
{
    uint32_t val = left & 0xffff;

    if (val == *now) {
        return false;
    }
    if (is_cq) {
        cq_doorbell(n, qid, val);
    } else {
        sq_doorbell(n, qid, val);
    }
    return true;
}

/* From the client's shared memory; a value that is refused is not found again. */
static bool doorbell_take_shared(Nvme *n, uint16_t qid, const uint32_t *now, bool is_cq)
{
    uint32_t *value = &n->pci.doorbells.values[2 * qid + is_cq], left = __atomic_load_n(value, __ATOMIC_ACQUIRE);
    bool some = doorbell_take(n, qid, now, is_cq, GUINT32_FROM_LE(left));

    if (some && *now != (GUINT32_FROM_LE(left) & 0xffff)) {
        __atomic_compare_exchange_n(value, &left, GUINT32_TO_LE(*now), false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    }
    return some;
}

static bool doorbells_poll_shared(Nvme *n, unsigned top)
{
    bool some = false;

    for (uint16_t qid = 0; qid <= top && nvme_ready(n); qid++) {
        if (n->cq[qid].entries) {
            some |= doorbell_take_shared(n, qid, &n->cq[qid].head, true);
        }
        if (n->sq[qid].entries) {
            some |= doorbell_take_shared(n, qid, &n->sq[qid].tail, false);
        }
    }
    return some;
}

/* Of the driver's doorbell buffer; the admin queue is not in it. */
static bool doorbells_poll_buffer(Nvme *n)
{
    uint32_t values[2 * NVME_MAX_QUEUES];
    bool some = false;

    if (!nvme_dbbuf_read(n, values)) {
        return false;
    }
    for (uint16_t qid = 1; qid <= n->top_qid && nvme_ready(n); qid++) {
        if (n->cq[qid].entries && values[2 * qid + 1] != n->cq[qid].refused) {
            some |= doorbell_take(n, qid, &n->cq[qid].head, true, values[2 * qid + 1]);
            n->cq[qid].refused = n->cq[qid].head == (values[2 * qid + 1] & 0xffff) ? UINT32_MAX : values[2 * qid + 1];
        }
        if (n->sq[qid].entries && values[2 * qid] != n->sq[qid].refused) {
            some |= doorbell_take(n, qid, &n->sq[qid].tail, false, values[2 * qid]);
            n->sq[qid].refused = n->sq[qid].tail == (values[2 * qid] & 0xffff) ? UINT32_MAX : values[2 * qid];
        }
    }
    return some;
}

bool nvme_doorbells_poll(Nvme *n)
{
    bool some = false;

    if (!nvme_ready(n) || n->in_dma) {
        return false;
    }
    if (n->pci.doorbells.values) {
        some = doorbells_poll_shared(n, n->dbbuf_shadow ? 0 : n->top_qid);
    }
    return (n->dbbuf_shadow && doorbells_poll_buffer(n)) || some;
}

void nvme_doorbells_rung(PciDevice *dev)
{
    nvme_doorbells_poll(nvme_of(dev));
}
