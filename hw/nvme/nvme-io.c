/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NVM command set (NVMe 1.4, section 6): read, write, flush, write zeroes, compare, dataset management.
 */
#include <errno.h>
#include <string.h>

#include "hw/nvme/nvme.h"

static uint64_t cmd_slba(const NvmeReq *req)
{
    return req->cmd.cdw10 | (uint64_t)req->cmd.cdw11 << 32;
}

static uint64_t cmd_blocks(const NvmeReq *req)
{
    return (uint64_t)(req->cmd.cdw12 & 0xffff) + 1;
}

static uint16_t status_of(const NvmeReq *req, int result)
{
    if (!result) {
        return NVME_SC_SUCCESS;
    }
    if (result == -EROFS) {
        return NVME_SC_WRITE_PROTECTED | NVME_DNR;
    }
    if (result == -ENOMEM || req->cmd.opcode == NVME_IO_FLUSH) {
        return NVME_SC_INTERNAL;
    }
    return req->cmd.opcode == NVME_IO_READ || req->cmd.opcode == NVME_IO_COMPARE ? NVME_SC_READ_ERROR
                                                                                 : NVME_SC_WRITE_FAULT;
}

static uint16_t check_range(const NvmeNs *ns, uint64_t slba, uint64_t blocks)
{
    return slba >= ns->blocks || blocks > ns->blocks - slba ? NVME_SC_LBA_RANGE | NVME_DNR : NVME_SC_SUCCESS;
}

static uint16_t check_transfer(const NvmeReq *req)
{
    const Nvme *n = req->n;
    uint64_t len = cmd_blocks(req) << req->ns->lba_shift;

    if (n->mdts && len > UINT64_C(4096) << n->mdts) {
        return NVME_SC_INVALID_FIELD | NVME_DNR;
    }
    return check_range(req->ns, cmd_slba(req), cmd_blocks(req));
}

static uint16_t check_writable(const NvmeNs *ns)
{
    return block_readonly(ns->drive) ? NVME_SC_WRITE_PROTECTED | NVME_DNR : NVME_SC_SUCCESS;
}

static bool wants_fua(const NvmeReq *req)
{
    return req->cmd.cdw12 & NVME_RW_FUA || !nvme_write_cache_enabled(req->n);
}

/* --- read, write, flush --- */

static void rw_done(void *opaque, int result)
{
    NvmeReq *req = opaque;
    uint16_t moved = nvme_data_unmap(req, !result && req->generation == req->n->generation);
    uint16_t status = status_of(req, result);

    nvme_complete(req, status ? status : moved);
}

static uint16_t io_read(NvmeReq *req)
{
    NvmeNs *ns = req->ns;
    uint16_t status = check_transfer(req);

    if (!status) {
        status = nvme_data_map(req, cmd_blocks(req) << ns->lba_shift, true);
    }
    if (status) {
        return status;
    }
    block_read(ns->drive, cmd_slba(req) << ns->lba_shift, req->iov, (int)req->iov_count, rw_done, req);
    return NVME_PENDING;
}

static uint16_t io_write(NvmeReq *req)
{
    NvmeNs *ns = req->ns;
    uint16_t status = check_transfer(req);

    if (!status) {
        status = check_writable(ns);
    }
    if (!status) {
        status = nvme_data_map(req, cmd_blocks(req) << ns->lba_shift, false);
    }
    if (status) {
        return status;
    }
    block_write(ns->drive, cmd_slba(req) << ns->lba_shift, req->iov, (int)req->iov_count, wants_fua(req),
                rw_done, req);
    return NVME_PENDING;
}

static void plain_done(void *opaque, int result)
{
    NvmeReq *req = opaque;

    nvme_complete(req, status_of(req, result));
}

/* One part of a command that asks for several block requests. */
static void part_done(void *opaque, int result)
{
    NvmeReq *req = opaque;

    if (result && !req->status) {
        req->status = status_of(req, result);
    }
    if (--req->parts == 0) {
        nvme_complete(req, req->status);
    }
}

static uint16_t flush_all(NvmeReq *req)
{
    const Nvme *n = req->n;

    for (uint32_t i = 0; i < n->ns_count; i++) {
        if (n->ns[i]) {
            req->parts++;
            block_flush(n->ns[i]->drive, part_done, req);
        }
    }
    return req->parts ? NVME_PENDING : NVME_SC_SUCCESS;
}

static uint16_t io_flush(NvmeReq *req)
{
    block_flush(req->ns->drive, plain_done, req);
    return NVME_PENDING;
}

/* --- write zeroes --- */

static void zeroes_done(void *opaque, int result)
{
    NvmeReq *req = opaque;

    if (!result && wants_fua(req)) {
        block_flush(req->ns->drive, plain_done, req);
    } else {
        plain_done(req, result);
    }
}

static uint16_t io_write_zeroes(NvmeReq *req)
{
    NvmeNs *ns = req->ns;
    uint16_t status = check_range(ns, cmd_slba(req), cmd_blocks(req));

    if (!status) {
        status = check_writable(ns);
    }
    if (status) {
        return status;
    }
    block_write_zeroes(ns->drive, cmd_slba(req) << ns->lba_shift, cmd_blocks(req) << ns->lba_shift,
                       req->cmd.cdw12 & NVME_WZ_DEAC, zeroes_done, req);
    return NVME_PENDING;
}

/* --- compare --- */

static void compare_done(void *opaque, int result)
{
    NvmeReq *req = opaque;
    uint16_t status = status_of(req, result);

    if (!status && req->generation == req->n->generation) {
        g_autofree uint8_t *theirs = g_try_malloc(req->len);

        status = theirs ? nvme_data_from_host(req, theirs, req->len) : NVME_SC_INTERNAL;
        if (!status && memcmp(theirs, req->bounce, req->len)) {
            status = NVME_SC_COMPARE_FAILURE;
        }
    }
    g_clear_pointer(&req->bounce, g_free);
    nvme_complete(req, status);
}

static uint16_t io_compare(NvmeReq *req)
{
    NvmeNs *ns = req->ns;
    uint16_t status = check_transfer(req);
    struct iovec iov;

    if (status) {
        return status;
    }
    req->len = cmd_blocks(req) << ns->lba_shift;
    req->bounce = g_try_malloc(req->len);
    if (!req->bounce) {
        return NVME_SC_INTERNAL;
    }
    iov = (struct iovec){req->bounce, req->len};
    block_read(ns->drive, cmd_slba(req) << ns->lba_shift, &iov, 1, compare_done, req);
    return NVME_PENDING;
}

/* --- dataset management --- */

static uint16_t io_dsm(NvmeReq *req)
{
    NvmeNs *ns = req->ns;
    unsigned count = (req->cmd.cdw10 & 0xff) + 1;
    uint8_t ranges[NVME_DSM_MAX_RANGES * NVME_DSM_RANGE_LEN];
    uint16_t status = nvme_data_from_host(req, ranges, (uint64_t)count * NVME_DSM_RANGE_LEN);

    if (!status && req->cmd.cdw11 & NVME_DSM_AD) {
        status = check_writable(ns);
    }
    for (unsigned i = 0; i < count && !status; i++) {
        const uint8_t *r = ranges + i * NVME_DSM_RANGE_LEN;

        status = pci_get32(r + 4) ? check_range(ns, pci_get64(r + 8), pci_get32(r + 4)) : NVME_SC_SUCCESS;
    }
    if (status || !(req->cmd.cdw11 & NVME_DSM_AD)) {
        return status; /* the other attributes are hints */
    }
    req->parts = count;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *r = ranges + i * NVME_DSM_RANGE_LEN;
        uint32_t blocks = pci_get32(r + 4);
        uint64_t slba = blocks ? pci_get64(r + 8) : 0;

        block_discard(ns->drive, slba << ns->lba_shift, (uint64_t)blocks << ns->lba_shift, part_done, req);
    }
    return NVME_PENDING;
}

typedef struct IoOp {
    uint8_t opcode;
    uint16_t (*execute)(NvmeReq *req);
} IoOp;

static const IoOp io_ops[] = {
    {NVME_IO_READ, io_read},       {NVME_IO_WRITE, io_write},
    {NVME_IO_FLUSH, io_flush},     {NVME_IO_WRITE_ZEROES, io_write_zeroes},
    {NVME_IO_COMPARE, io_compare}, {NVME_IO_DSM, io_dsm},
};

uint16_t nvme_io_execute(NvmeReq *req)
{
    const IoOp *op = NULL;
    uint16_t status;

    for (size_t i = 0; i < G_N_ELEMENTS(io_ops) && !op; i++) {
        op = io_ops[i].opcode == req->cmd.opcode ? &io_ops[i] : NULL;
    }
    if (!op) {
        return NVME_SC_INVALID_OPCODE | NVME_DNR;
    }
    if (req->cmd.flags & NVME_CMD_FUSE || (req->cmd.flags & NVME_CMD_PSDT) == NVME_CMD_PSDT) {
        return NVME_SC_INVALID_FIELD | NVME_DNR; /* fused commands are not supported, and PSDT 11b means nothing */
    }
    if (req->cmd.opcode == NVME_IO_FLUSH && req->cmd.nsid == NVME_NSID_ALL) {
        return flush_all(req);
    }
    status = nvme_ns_find(req->n, req->cmd.nsid, &req->ns);
    if (!status && req->ns->formatting) {
        status = NVME_SC_FORMAT_IN_PROGRESS;
    }
    return status ? status : op->execute(req);
}
