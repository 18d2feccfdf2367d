/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's memory: a region that came with an fd is mapped and becomes RAM
 * of the slot's DMA space, one without is reached by DMA_READ/DMA_WRITE messages.
 */
#include <errno.h>

#include "hw/remote/vfu-server.h"

#define VFU_SERVER_MAX_DMA_REGIONS 65535

typedef struct VfuDmaRegion {
    VfuServer *server;
    uint64_t iova, size;
    MemRegion *region;
} VfuDmaRegion;

/* One message transfer; the library splits it by the client's limit. */
static MemResult dma_message(VfuDmaRegion *r, HwAddr addr, void *buf, uint64_t len, bool is_write)
{
    dma_sg_t *sg = g_alloca(dma_sg_size());
    int ret;

    if (vfu_addr_to_sgl(r->server->ctx, (vfu_dma_addr_t)(uintptr_t)(r->iova + addr), len, sg, 1,
                        is_write ? PROT_WRITE : PROT_READ) != 1) {
        return errno == EACCES ? MEM_ACCESS_ERROR : MEM_DECODE_ERROR;
    }
    ret = is_write ? vfu_sgl_write(r->server->ctx, sg, 1, buf, 0) : vfu_sgl_read(r->server->ctx, sg, 1, buf, 0);
    return ret == 0 ? MEM_OK : MEM_DEVICE_ERROR;
}

static MemResult dma_read_bulk(void *opaque, HwAddr addr, void *buf, uint64_t len, MemAttrs attrs)
{
    return dma_message(opaque, addr, buf, len, false);
}

static MemResult dma_write_bulk(void *opaque, HwAddr addr, const void *buf, uint64_t len, MemAttrs attrs)
{
    return dma_message(opaque, addr, (void *)buf, len, true);
}

static MemResult dma_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    uint64_t little = 0;
    MemResult result = dma_message(opaque, addr, &little, size, false);

    *val = GUINT64_FROM_LE(little);
    return result;
}

static MemResult dma_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    uint64_t little = GUINT64_TO_LE(val);

    return dma_message(opaque, addr, &little, size, true);
}

static const MemOps dma_message_ops = {
    .read = dma_read, .write = dma_write, .unaligned = true,
    .read_bulk = dma_read_bulk, .write_bulk = dma_write_bulk,
};

static void dma_register(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    VfuServer *s = vfu_get_private(ctx);
    VfuDmaRegion *r = g_new0(VfuDmaRegion, 1);
    MemTopology *topo = s->obj.machine->topo;

    r->server = s;
    r->iova = (uintptr_t)info->iova.iov_base;
    r->size = info->iova.iov_len;
    if (info->vaddr) {
        r->region = mem_region_new_ram(topo, "client RAM", r->size, info->vaddr, -1, 0, !(info->prot & PROT_WRITE));
    } else {
        r->region = mem_region_new_io(topo, "client memory", r->size, &dma_message_ops, r, NULL);
    }
    mem_region_add(s->slot->dma_root, r->iova, r->region);
    g_hash_table_insert(s->dma_regions, &r->iova, r);
}

static void dma_region_free(gpointer opaque)
{
    VfuDmaRegion *r = opaque;

    mem_region_del(r->server->slot->dma_root, r->region);
    mem_region_retire(r->region);
    mem_region_unref(r->region);
    g_free(r);
}

static void dma_unregister(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    VfuServer *s = vfu_get_private(ctx);
    uint64_t iova = (uintptr_t)info->iova.iov_base;

    g_hash_table_remove(s->dma_regions, &iova);
}

unsigned vfu_server_dma_pins(VfuServer *s)
{
    GHashTableIter iter;
    gpointer value;
    unsigned pins = 0;

    g_hash_table_iter_init(&iter, s->dma_regions);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        pins += mem_region_pins(((VfuDmaRegion *)value)->region);
    }
    return pins;
}

bool vfu_server_dma_init(VfuServer *s, GError **error)
{
    s->dma_regions = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, dma_region_free);
    if (vfu_setup_device_dma(s->ctx, VFU_SERVER_MAX_DMA_REGIONS, dma_register, dma_unregister) < 0) {
        error_set_errno(error, errno, "x-vfio-user-server %s: cannot set up DMA", s->obj.id);
        return false;
    }
    return true;
}

void vfu_server_dma_cleanup(VfuServer *s)
{
    g_clear_pointer(&s->dma_regions, g_hash_table_destroy);
}
