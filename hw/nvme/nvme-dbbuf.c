/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The doorbell buffer (NVMe 1.4, 5.7 and annex B): the driver leaves doorbell values in memory of its own, and writes a
 * register only when its value passes the one in the event buffer.  While the loop looks at the buffer the event values
 * are left behind, and no register is written at all; before it sleeps they are set to where the queues are.
 */
#include "hw/nvme/nvme.h"

#define DBBUF_FIRST 2 /* doorbells of the admin queue stay registers */

static void dbbuf_give_up(Nvme *n)
{
    guest_error(&n->pci.dev, "the doorbell buffer is not memory that can be mapped");
    n->dbbuf_shadow = n->dbbuf_event = 0;
}

/* Never by message: this is looked at all the time. */
static void *dbbuf_map(Nvme *n, uint64_t addr, uint64_t len, bool is_write, MemRegion **region)
{
    uint64_t there = len;
    void *host = pci_dma_map(&n->pci, addr, &there, is_write, region);

    if (host && there < len) {
        pci_dma_unmap(&n->pci, *region, host, 0, is_write);
        host = NULL;
    }
    return host;
}

bool nvme_dbbuf_read(Nvme *n, uint32_t *values)
{
    unsigned end = 2 * n->top_qid + 2;
    MemRegion *region;
    uint32_t *shadow = dbbuf_map(n, n->dbbuf_shadow, end * sizeof(*shadow), false, &region);

    if (!shadow) {
        dbbuf_give_up(n);
        return false;
    }
    for (unsigned i = DBBUF_FIRST; i < end; i++) {
        values[i] = GUINT32_FROM_LE(__atomic_load_n(&shadow[i], __ATOMIC_ACQUIRE));
    }
    pci_dma_unmap(&n->pci, region, shadow, 0, false);
    return true;
}

static void dbbuf_store(Nvme *n, uint64_t page, unsigned index, uint32_t val)
{
    MemRegion *region;
    uint32_t *at = page ? dbbuf_map(n, page + index * sizeof(*at), sizeof(*at), true, &region) : NULL;

    if (at) {
        __atomic_store_n(at, GUINT32_TO_LE(val), __ATOMIC_RELEASE);
        pci_dma_unmap(&n->pci, region, at, sizeof(*at), true);
    } else if (page) {
        dbbuf_give_up(n);
    }
}

void nvme_dbbuf_queue_init(Nvme *n, unsigned index)
{
    if (n->dbbuf_shadow && index >= DBBUF_FIRST) {
        dbbuf_store(n, n->dbbuf_shadow, index, 0);
        dbbuf_store(n, n->dbbuf_event, index, 0);
    }
}

/* Of completion queues only what somebody waits for: room, or the level of the pin. */
static bool cq_matters(const Nvme *n, const NvmeCq *cq)
{
    return cq->entries && (!nvme_cq_room(cq) || (cq->irq_enabled && !msix_enabled(&n->pci)));
}

void nvme_dbbuf_arm(Nvme *n)
{
    for (unsigned qid = 1; n->dbbuf_event && qid <= n->top_qid; qid++) {
        if (n->sq[qid].entries) {
            dbbuf_store(n, n->dbbuf_event, 2 * qid, n->sq[qid].tail);
        }
        if (cq_matters(n, &n->cq[qid])) {
            dbbuf_store(n, n->dbbuf_event, 2 * qid + 1, n->cq[qid].head);
        }
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* then the buffer is looked at once more */
}

uint16_t nvme_doorbell_buffer(NvmeReq *req)
{
    Nvme *n = req->n;
    const uint64_t mask = n->page_size - 1;

    if (!req->cmd.prp1 || !req->cmd.prp2 || (req->cmd.prp1 | req->cmd.prp2) & mask) {
        return NVME_SC_INVALID_FIELD | NVME_DNR;
    }
    n->dbbuf_shadow = req->cmd.prp1;
    n->dbbuf_event = req->cmd.prp2;
    dbbuf_store(n, n->dbbuf_shadow, 0, 0); /* finds out whether both are memory */
    dbbuf_store(n, n->dbbuf_event, 0, 0);
    for (unsigned qid = 1; qid <= n->top_qid && n->dbbuf_shadow; qid++) {
        if (n->sq[qid].entries) {
            dbbuf_store(n, n->dbbuf_shadow, 2 * qid, n->sq[qid].tail);
            dbbuf_store(n, n->dbbuf_event, 2 * qid, n->sq[qid].tail);
        }
        if (n->cq[qid].entries) {
            dbbuf_store(n, n->dbbuf_shadow, 2 * qid + 1, n->cq[qid].head);
            dbbuf_store(n, n->dbbuf_event, 2 * qid + 1, n->cq[qid].head);
        }
    }
    return n->dbbuf_shadow ? NVME_SC_SUCCESS : NVME_SC_DATA_TRANSFER;
}
