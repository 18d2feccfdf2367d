/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Physical Region Pages (NVMe 1.4, 4.3): from a command's data pointer to runs of guest memory, mapped or
 * copied. */
#include <string.h>

#include "hw/nvme/nvme.h"

#define PRP_CHUNK 512 /* list entries read at once */

MemResult nvme_dma_read(Nvme *n, uint64_t addr, void *buf, uint64_t len)
{
    const uint8_t *own = nvme_cmb_host(n, addr, len);
    MemResult res;

    if (own) {
        memcpy(buf, own, len);
        return MEM_OK;
    }
    n->in_dma++;
    res = pci_dma_read(&n->pci, addr, buf, len);
    n->in_dma--;
    return res;
}

MemResult nvme_dma_write(Nvme *n, uint64_t addr, const void *buf, uint64_t len)
{
    uint8_t *own = nvme_cmb_host(n, addr, len);
    MemResult res;

    if (own) {
        memcpy(own, buf, len);
        return MEM_OK;
    }
    n->in_dma++;
    res = pci_dma_write(&n->pci, addr, buf, len);
    n->in_dma--;
    return res;
}

/* --- the list --- */

void nvme_seg_add(NvmeReq *req, uint64_t addr, uint64_t len)
{
    NvmeSeg *last = req->seg_count ? &req->segs[req->seg_count - 1] : NULL;

    if (last && last->addr + last->len == addr) {
        last->len += len;
        return;
    }
    if (req->seg_count == req->seg_room) {
        req->seg_room = MAX(16, req->seg_room * 2);
        req->segs = g_renew(NvmeSeg, req->segs, req->seg_room);
    }
    req->segs[req->seg_count++] = (NvmeSeg){addr, len};
}

/* `count` entries at addr, each a whole page but the last. */
static uint16_t prp_entries(NvmeReq *req, uint64_t addr, uint64_t count, uint64_t *left)
{
    Nvme *n = req->n;
    uint64_t entries[PRP_CHUNK];

    while (count) {
        uint64_t chunk = MIN(count, PRP_CHUNK);

        if (nvme_dma_read(n, addr, entries, chunk * sizeof(uint64_t)) != MEM_OK) {
            return NVME_SC_DATA_TRANSFER;
        }
        for (uint64_t i = 0; i < chunk; i++) {
            uint64_t prp = GUINT64_FROM_LE(entries[i]);
            uint64_t len = MIN(*left, n->page_size);

            if (prp & (n->page_size - 1)) {
                return NVME_SC_PRP_OFFSET | NVME_DNR;
            }
            nvme_seg_add(req, prp, len);
            *left -= len;
        }
        addr += chunk * sizeof(uint64_t);
        count -= chunk;
    }
    return NVME_SC_SUCCESS;
}

static uint16_t prp_list(NvmeReq *req, uint64_t list, uint64_t left)
{
    Nvme *n = req->n;

    if (list & 7) {
        return NVME_SC_PRP_OFFSET | NVME_DNR;
    }
    for (;;) {
        uint64_t slots = (n->page_size - (list & (n->page_size - 1))) / sizeof(uint64_t);
        uint64_t wanted = (left + n->page_size - 1) / n->page_size;
        bool chained = wanted > slots;
        uint64_t next;
        uint16_t status = prp_entries(req, list, chained ? slots - 1 : wanted, &left);

        if (status || !chained) {
            return status;
        }
        if (nvme_dma_read(n, list + (slots - 1) * sizeof(uint64_t), &next, sizeof(next)) != MEM_OK) {
            return NVME_SC_DATA_TRANSFER;
        }
        list = GUINT64_FROM_LE(next);
        /* A next list begins its page, which also means that every round brings us further. */
        if (list & (n->page_size - 1)) {
            return NVME_SC_PRP_OFFSET | NVME_DNR;
        }
    }
}

static uint16_t prp_walk(NvmeReq *req, uint64_t len)
{
    Nvme *n = req->n;
    uint64_t prp1 = req->cmd.prp1, prp2 = req->cmd.prp2;
    uint64_t first = MIN(len, n->page_size - (prp1 & (n->page_size - 1)));

    req->seg_count = 0;
    if (prp1 & 3) {
        return NVME_SC_PRP_OFFSET | NVME_DNR;
    }
    nvme_seg_add(req, prp1, first);
    len -= first;
    if (!len) {
        return NVME_SC_SUCCESS;
    }
    if (len > n->page_size) {
        return prp_list(req, prp2, len);
    }
    if (prp2 & (n->page_size - 1)) {
        return NVME_SC_PRP_OFFSET | NVME_DNR;
    }
    nvme_seg_add(req, prp2, len);
    return NVME_SC_SUCCESS;
}

/* Finds the memory of the command's data (req->segs).  A status. */
static uint16_t data_walk(NvmeReq *req, uint64_t len)
{
    uint16_t status = req->cmd.flags & NVME_CMD_PSDT ? nvme_sgl_walk(req, len) : prp_walk(req, len);

    for (unsigned i = 0; i < req->seg_count && !status && req->n->cmb; i++) {
        const NvmeSeg *seg = &req->segs[i];

        if (nvme_cmb_touches(req->n, seg->addr, seg->len) && !nvme_cmb_host(req->n, seg->addr, seg->len)) {
            status = NVME_SC_INVALID_CMB_USE | NVME_DNR; /* it leaves the buffer */
        }
    }
    return status;
}

/* --- access --- */

static uint16_t copy_segs(NvmeReq *req, uint8_t *buf, bool to_host)
{
    for (unsigned i = 0; i < req->seg_count; i++) {
        NvmeSeg seg = req->segs[i];
        MemResult res = to_host ? nvme_dma_write(req->n, seg.addr, buf, seg.len)
                                : nvme_dma_read(req->n, seg.addr, buf, seg.len);

        if (res != MEM_OK) {
            return NVME_SC_DATA_TRANSFER;
        }
        buf += seg.len;
    }
    return NVME_SC_SUCCESS;
}

static void map_add(NvmeReq *req, MemRegion *region, void *host, uint64_t len)
{
    struct iovec *last;

    if (req->map_count == req->map_room) {
        req->map_room = MAX(16, req->map_room * 2);
        req->maps = g_renew(NvmeMap, req->maps, req->map_room);
        req->iov = g_renew(struct iovec, req->iov, req->map_room);
    }
    req->maps[req->map_count++] = (NvmeMap){region, host, len};
    last = req->iov_count ? &req->iov[req->iov_count - 1] : NULL;
    if (last && (uint8_t *)last->iov_base + last->iov_len == (uint8_t *)host) {
        last->iov_len += len;
    } else {
        req->iov[req->iov_count++] = (struct iovec){host, len};
    }
}

static void unmap_all(NvmeReq *req)
{
    for (unsigned i = 0; i < req->map_count; i++) {
        if (req->maps[i].region) {
            pci_dma_unmap(&req->n->pci, req->maps[i].region, req->maps[i].host, req->maps[i].len, req->to_host);
        }
    }
    req->map_count = req->iov_count = 0;
}

/* False: some of it is not memory of this process. */
static bool map_segs(NvmeReq *req)
{
    for (unsigned i = 0; i < req->seg_count; i++) {
        uint64_t addr = req->segs[i].addr, left = req->segs[i].len;
        uint8_t *own = nvme_cmb_host(req->n, addr, left);

        if (own) {
            map_add(req, NULL, own, left);
            continue;
        }
        while (left) {
            uint64_t len = left;
            MemRegion *region;
            void *host = pci_dma_map(&req->n->pci, addr, &len, req->to_host, &region);

            if (!host) {
                unmap_all(req);
                return false;
            }
            map_add(req, region, host, len);
            addr += len;
            left -= len;
        }
    }
    return true;
}

uint16_t nvme_data_map(NvmeReq *req, uint64_t len, bool to_host)
{
    uint16_t status = data_walk(req, len);

    if (status) {
        return status;
    }
    req->len = len;
    req->to_host = to_host;
    if (map_segs(req)) {
        return NVME_SC_SUCCESS;
    }
    req->bounce = g_try_malloc(len);
    if (!req->bounce) {
        return NVME_SC_INTERNAL;
    }
    status = to_host ? NVME_SC_SUCCESS : copy_segs(req, req->bounce, false);
    if (status) {
        g_clear_pointer(&req->bounce, g_free);
        return status;
    }
    map_add(req, NULL, req->bounce, len);
    req->map_count = 0;
    return NVME_SC_SUCCESS;
}

uint16_t nvme_data_unmap(NvmeReq *req, bool ok)
{
    uint16_t status = NVME_SC_SUCCESS;

    if (req->bounce) {
        if (ok && req->to_host) {
            status = copy_segs(req, req->bounce, true);
        }
        g_clear_pointer(&req->bounce, g_free);
        req->iov_count = 0;
        return status;
    }
    unmap_all(req);
    return status;
}

uint16_t nvme_data_to_host(NvmeReq *req, const void *buf, uint64_t len)
{
    uint16_t status = data_walk(req, len);

    return status ? status : copy_segs(req, (uint8_t *)buf, true);
}

uint16_t nvme_data_from_host(NvmeReq *req, void *buf, uint64_t len)
{
    uint16_t status = data_walk(req, len);

    return status ? status : copy_segs(req, buf, false);
}
