/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scatter gather lists (NVMe 1.4, 4.4): from the descriptor in a command to runs of guest memory. */
#include "hw/nvme/nvme.h"

#define SGL_DESCRIPTOR_LEN 16
#define SGL_CHUNK          64    /* descriptors read at once */
#define SGL_MAX            65536 /* descriptors of a command: empty ones could be chained for ever */

enum { SGL_DATA_BLOCK = 0, SGL_SEGMENT = 2, SGL_LAST_SEGMENT = 3 };

typedef struct SglDescriptor {
    uint64_t addr;
    uint32_t len;
    uint8_t type, subtype;
} SglDescriptor;

typedef struct SglWalk {
    NvmeReq *req;
    uint64_t left;   /* bytes of data without a place yet */
    uint32_t budget; /* descriptors */
} SglWalk;

static SglDescriptor descriptor_of(uint64_t low, uint64_t high)
{
    return (SglDescriptor){.addr = low, .len = (uint32_t)high, .type = high >> 60, .subtype = high >> 56 & 0xf};
}

static uint16_t data_block(SglWalk *w, const SglDescriptor *d)
{
    if (d->subtype) {
        return NVME_SC_SGL_TYPE | NVME_DNR;
    }
    if (d->len > w->left) {
        return NVME_SC_SGL_LENGTH | NVME_DNR;
    }
    if (d->len) {
        nvme_seg_add(w->req, d->addr, d->len);
        w->left -= d->len;
    }
    return NVME_SC_SUCCESS;
}

/* The descriptors at seg; *next is the segment that follows, when its last one names one. */
static uint16_t segment(SglWalk *w, const SglDescriptor *seg, SglDescriptor *next)
{
    const bool last = seg->type == SGL_LAST_SEGMENT;
    uint64_t addr = seg->addr, raw[SGL_CHUNK * 2];
    uint32_t count = seg->len / SGL_DESCRIPTOR_LEN;
    uint16_t status = NVME_SC_SUCCESS;

    *next = (SglDescriptor){.type = SGL_DATA_BLOCK};
    if (!count || seg->len % SGL_DESCRIPTOR_LEN || seg->subtype) {
        return NVME_SC_SGL_SEGMENT | NVME_DNR;
    }
    if (count > w->budget) {
        return NVME_SC_SGL_COUNT | NVME_DNR;
    }
    w->budget -= count;
    while (count && !status) {
        uint32_t chunk = MIN(count, SGL_CHUNK);

        if (nvme_dma_read(w->req->n, addr, raw, (uint64_t)chunk * SGL_DESCRIPTOR_LEN) != MEM_OK) {
            return NVME_SC_DATA_TRANSFER;
        }
        addr += (uint64_t)chunk * SGL_DESCRIPTOR_LEN;
        for (uint32_t i = 0; i < chunk && !status; i++, count--) {
            SglDescriptor d = descriptor_of(GUINT64_FROM_LE(raw[2 * i]), GUINT64_FROM_LE(raw[2 * i + 1]));

            if (d.type == SGL_DATA_BLOCK) {
                status = data_block(w, &d);
            } else if ((d.type == SGL_SEGMENT || d.type == SGL_LAST_SEGMENT) && count == 1 && !last) {
                *next = d;
            } else {
                status = (d.type == SGL_SEGMENT || d.type == SGL_LAST_SEGMENT ? NVME_SC_SGL_SEGMENT : NVME_SC_SGL_TYPE) |
                         NVME_DNR;
            }
        }
    }
    return status;
}

uint16_t nvme_sgl_walk(NvmeReq *req, uint64_t len)
{
    SglWalk w = {.req = req, .left = len, .budget = SGL_MAX};
    SglDescriptor d = descriptor_of(req->cmd.prp1, req->cmd.prp2);
    uint16_t status = NVME_SC_SUCCESS;

    req->seg_count = 0;
    if (d.type == SGL_DATA_BLOCK) {
        status = data_block(&w, &d);
    } else if (d.type != SGL_SEGMENT && d.type != SGL_LAST_SEGMENT) {
        return NVME_SC_SGL_TYPE | NVME_DNR;
    }
    while (!status && d.type != SGL_DATA_BLOCK) {
        SglDescriptor next;

        status = segment(&w, &d, &next);
        d = next;
    }
    return status ? status : w.left ? NVME_SC_SGL_LENGTH | NVME_DNR : NVME_SC_SUCCESS;
}
