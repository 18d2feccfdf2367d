/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's memory: what came with an fd is mapped and becomes RAM of the slot's DMA space, the rest is reached by
 * DMA_READ and DMA_WRITE messages.  Mappings are in a balanced tree and are looked up access by access: a client with a
 * vIOMMU has tens of thousands, and makes and drops them all the time.
 */
#include <errno.h>
#include <malloc.h>
#include <string.h>

#include "hw/remote/vfu-server.h"

#define VFU_SERVER_MAX_DMA_REGIONS 65535
#define VFU_SERVER_TRIM_FROM       4096 /* mappings: about a MiB */

typedef struct VfuDmaRegion {
    VfuServer *server;
    uint64_t iova, size;
    uint32_t prot; /* PROT_* */
    MemRegion *region;
} VfuDmaRegion;

/* --- by message --- */

/* One transfer inside a region; the library splits it by the client's limit. */
static MemResult dma_message(VfuDmaRegion *r, HwAddr addr, void *buf, uint64_t len, bool is_write)
{
    dma_sg_t *sg = g_alloca(dma_sg_size());
    uint32_t prot = is_write ? PROT_WRITE : PROT_READ;
    int ret;

    if (!(r->prot & prot)) {
        return MEM_ACCESS_ERROR;
    }
    if (vfu_addr_to_sgl(r->server->ctx, (vfu_dma_addr_t)(uintptr_t)(r->iova + addr), len, sg, 1, (int)prot) != 1) {
        return errno == EACCES ? MEM_ACCESS_ERROR : MEM_DECODE_ERROR;
    }
    /* A file that is not mapped is read and written as a file. */
    ret = is_write ? vfu_sgl_write(r->server->ctx, sg, 1, buf, VFU_SGL_DIRECT_ACCESS)
                   : vfu_sgl_read(r->server->ctx, sg, 1, buf, VFU_SGL_DIRECT_ACCESS);
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

/* --- the table --- */

static gint dma_compare(gconstpointer a, gconstpointer b, gpointer unused)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

/* The region addr is in or, when it is in none, the one behind it; NULL: none.  With the lock. */
static VfuDmaRegion *dma_search(const VfuDma *dma, uint64_t addr)
{
    GTreeNode *behind = g_tree_upper_bound(dma->regions, &addr);
    GTreeNode *before = behind ? g_tree_node_previous(behind) : g_tree_node_last(dma->regions);
    VfuDmaRegion *r = before ? g_tree_node_value(before) : NULL;

    if (r && addr - r->iova < r->size) {
        return r;
    }
    return behind ? g_tree_node_value(behind) : NULL;
}

static bool dma_find(void *opaque, HwAddr addr, MemSection *out)
{
    VfuDma *dma = opaque;
    const VfuDmaRegion *r;
    bool found;

    pthread_mutex_lock(&dma->lock);
    r = dma_search(dma, addr);
    out->addr = r ? r->iova : UINT64_MAX;
    found = r && addr >= r->iova;
    if (found) {
        out->region = r->region;
        out->size = r->size;
        out->readonly = !(r->prot & PROT_WRITE);
        out->writeonly = !(r->prot & PROT_READ);
    }
    pthread_mutex_unlock(&dma->lock);
    return found;
}

static void dma_refused(void *opaque, HwAddr addr, bool is_write)
{
    VfuDma *dma = opaque;

    vfu_dma_refused(((VfuServer *)((char *)dma - offsetof(VfuServer, dma)))->ctx, addr, is_write);
}

/*
 * A client that maps for a while by the ten thousand leaves tens of MiB of heap, which the allocator would keep: it is given
 * back when nearly all mappings have gone: the few that are left hold a page each.
 */
static void dma_trim(VfuDma *dma)
{
    if (dma->most >= VFU_SERVER_TRIM_FROM && g_hash_table_size(dma->by_memory) < dma->most / 256) {
        dma->most = 0;
        malloc_trim(0);
    }
}

static void dma_register(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    VfuServer *s = vfu_get_private(ctx);
    VfuDmaRegion *r = g_new0(VfuDmaRegion, 1);
    MemTopology *topo = s->obj.machine->topo;

    r->server = s;
    r->iova = (uintptr_t)info->iova.iov_base;
    r->size = info->iova.iov_len;
    r->prot = info->prot;
    /* What may not be read has pages here that would fault. */
    if (info->vaddr && info->prot & PROT_READ) {
        r->region = mem_region_new_ram(topo, "client RAM", r->size, info->vaddr, -1, 0, !(info->prot & PROT_WRITE));
    } else {
        r->region = mem_region_new_io(topo, "client memory", r->size, &dma_message_ops, r, NULL);
    }
    mem_region_set_pins(r->region, &s->dma.pins);
    pthread_mutex_lock(&s->dma.lock);
    g_tree_insert(s->dma.regions, &r->iova, r);
    g_hash_table_insert(s->dma.by_memory, r->region, r);
    s->dma.most = MAX(s->dma.most, g_hash_table_size(s->dma.by_memory));
    pthread_mutex_unlock(&s->dma.lock);
}

static void dma_unregister(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    VfuServer *s = vfu_get_private(ctx);
    VfuDmaRegion *r;

    pthread_mutex_lock(&s->dma.lock);
    r = dma_search(&s->dma, (uintptr_t)info->iova.iov_base);
    g_tree_remove(s->dma.regions, &r->iova);
    g_hash_table_remove(s->dma.by_memory, r->region);
    pthread_mutex_unlock(&s->dma.lock);
    mem_region_retire(r->region);
    mem_region_unref(r->region);
    g_free(r);
    dma_trim(&s->dma);
}

/* --- pages that were written --- */

static void mark_written(VfuServer *s, MemRegion *ram, uint64_t offset, uint64_t len)
{
    dma_sg_t *sg = g_alloca(dma_sg_size());
    VfuDmaRegion *r;

    pthread_mutex_lock(&s->dma.lock);
    r = g_hash_table_lookup(s->dma.by_memory, ram);
    if (r && vfu_addr_to_sgl(s->ctx, (vfu_dma_addr_t)(uintptr_t)(r->iova + offset), len, sg, 1, PROT_WRITE) == 1) {
        vfu_sgl_mark_dirty(s->ctx, sg, 1);
    }
    pthread_mutex_unlock(&s->dma.lock);
}

void vfu_server_memory_written(void *opaque, MemRegion *ram, uint64_t offset, uint64_t len)
{
    MemPins *pins = mem_region_get_pins(ram);
    VfuServer *s = pins ? (VfuServer *)((char *)pins - offsetof(VfuServer, dma.pins)) : NULL;

    if (s && vfu_ctx_dirty_logging(s->ctx)) {
        mark_written(s, ram, offset, len);
    }
}

bool vfu_server_dma_init(VfuServer *s, GError **error)
{
    s->dma.regions = g_tree_new_full(dma_compare, NULL, NULL, NULL);
    s->dma.by_memory = g_hash_table_new(NULL, NULL);
    pthread_mutex_init(&s->dma.lock, NULL);
    pthread_cond_init(&s->dma.idle, NULL);
    s->dma.space = mem_region_new_lookup(s->obj.machine->topo, "client", UINT64_MAX, dma_find, &s->dma);
    mem_region_set_refused(s->dma.space, dma_refused);
    mem_region_add(s->slot->dma_root, 0, s->dma.space);
    if (vfu_setup_device_dma(s->ctx, VFU_SERVER_MAX_DMA_REGIONS, dma_register, dma_unregister) < 0) {
        error_set_errno(error, errno, "x-vfio-user-server %s: cannot set up DMA", s->obj.id);
        return false;
    }
    return true;
}

void vfu_server_dma_cleanup(VfuServer *s)
{
    if (!s->dma.regions) {
        return;
    }
    mem_region_del(s->slot->dma_root, s->dma.space);
    mem_region_retire(s->dma.space);
    mem_region_unref(s->dma.space);
    g_clear_pointer(&s->dma.regions, g_tree_destroy);
    g_hash_table_destroy(g_steal_pointer(&s->dma.by_memory));
    pthread_cond_destroy(&s->dma.idle);
    pthread_mutex_destroy(&s->dma.lock);
}
