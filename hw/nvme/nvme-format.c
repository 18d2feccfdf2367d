/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Format NVM (NVMe 1.4, 5.23): a namespace loses its data, and may get blocks of another size.  An image file has no place
 * for the size: it lasts as long as the device.
 */
#include <errno.h>

#include "hw/nvme/nvme.h"

#define FORMAT_LBAF(cdw10) ((cdw10)&0xf)
#define FORMAT_PI(cdw10)   ((cdw10) >> 5 & 7)
#define FORMAT_SES(cdw10)  ((cdw10) >> 9 & 7)
#define SES_CRYPTOGRAPHIC  2
#define FORMAT_PIECE       (UINT64_C(1) << 30) /* bytes zeroed at once */

unsigned nvme_ns_formats(const NvmeNs *ns, uint8_t shifts[NVME_LBA_FORMATS])
{
    static const uint8_t others[] = {9, 12};
    uint8_t own = (uint8_t)__builtin_ctz(ns->block_size);
    unsigned n = 0;

    shifts[n++] = own; /* what the command line says is format 0 */
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        if (others[i] != own && block_size(ns->drive) >> others[i]) {
            shifts[n++] = others[i];
        }
    }
    return n;
}

void nvme_ns_set_format(NvmeNs *ns, uint8_t lba_shift)
{
    ns->lba_shift = lba_shift;
    ns->blocks = block_size(ns->drive) >> lba_shift;
}

static void format_next_piece(NvmeReq *req);

/* The next namespace of "all", or the end.  req->parts: those that are done with. */
static void format_next_ns(NvmeReq *req)
{
    Nvme *n = req->n;
    bool all = req->cmd.nsid == NVME_NSID_ALL;

    while (all && !req->status && req->parts < n->ns_count) {
        req->ns = n->ns[req->parts++];
        if (req->ns) {
            req->len = 0;
            req->ns->formatting = true;
            format_next_piece(req);
            return;
        }
    }
    nvme_complete(req, req->status);
}

static void format_ns_done(NvmeReq *req, uint16_t status)
{
    uint8_t shifts[NVME_LBA_FORMATS];

    req->ns->formatting = false;
    req->status = status;
    if (!status) {
        nvme_ns_formats(req->ns, shifts);
        nvme_ns_set_format(req->ns, shifts[FORMAT_LBAF(req->cmd.cdw10)]);
    }
    format_next_ns(req);
}

static void format_piece_done(void *opaque, int result)
{
    NvmeReq *req = opaque;

    if (result || req->generation != req->n->generation) {
        format_ns_done(req, result == -EROFS ? NVME_SC_WRITE_PROTECTED | NVME_DNR
                                             : NVME_SC_INTERNAL); /* nobody hears of it after a reset */
    } else {
        format_next_piece(req);
    }
}

/* Zeroes what begins at req->len. */
static void format_next_piece(NvmeReq *req)
{
    uint64_t total = block_size(req->ns->drive), at = req->len, len = MIN(FORMAT_PIECE, total - MIN(at, total));

    if (!len) {
        format_ns_done(req, NVME_SC_SUCCESS);
        return;
    }
    req->len += len;
    block_write_zeroes(req->ns->drive, at, len, true, format_piece_done, req);
}

static uint16_t format_check(const NvmeNs *ns, uint32_t cdw10)
{
    uint8_t shifts[NVME_LBA_FORMATS];

    if (FORMAT_LBAF(cdw10) >= nvme_ns_formats(ns, shifts) || FORMAT_PI(cdw10)) {
        return NVME_SC_INVALID_FORMAT | NVME_DNR;
    }
    if (ns->formatting) {
        return NVME_SC_FORMAT_IN_PROGRESS;
    }
    return block_readonly(ns->drive) ? NVME_SC_WRITE_PROTECTED | NVME_DNR : NVME_SC_SUCCESS;
}

uint16_t nvme_format(NvmeReq *req)
{
    Nvme *n = req->n;
    uint32_t cdw10 = req->cmd.cdw10;
    uint16_t status = NVME_SC_SUCCESS;

    if (FORMAT_SES(cdw10) >= SES_CRYPTOGRAPHIC) {
        return NVME_SC_INVALID_FIELD | NVME_DNR;
    }
    if (req->cmd.nsid != NVME_NSID_ALL) {
        status = nvme_ns_find(n, req->cmd.nsid, &req->ns);
        status = status ? status : format_check(req->ns, cdw10);
        if (!status) {
            req->len = 0;
            req->ns->formatting = true;
            format_next_piece(req);
        }
        return status ? status : NVME_PENDING;
    }
    for (uint32_t i = 0; i < n->ns_count && !status; i++) {
        status = n->ns[i] ? format_check(n->ns[i], cdw10) : NVME_SC_SUCCESS;
    }
    if (!status) {
        format_next_ns(req);
    }
    return status ? status : NVME_PENDING;
}
