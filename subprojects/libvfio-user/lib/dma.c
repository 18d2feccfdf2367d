/* SPDX-License-Identifier: BSD-3-Clause */
/* The client's memory: DMA_MAP and DMA_UNMAP, scatter lists. */
#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "private.h"

/* ---- mapping ---- */

/* The unit in which this file is mapped: huge pages of hugetlbfs, else the system's page. */
static size_t file_page_size(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC && wire_is_power_of_2((uint64_t)fs.f_bsize)) {
        return (size_t)fs.f_bsize;
    }
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Maps whole pages around the range; vaddr is exactly its first byte. */
static int region_mmap(vfu_ctx_t *ctx, DmaRegion *region)
{
    size_t page = file_page_size(region->fd);
    uint64_t inside = region->fd_offset & (page - 1);
    uint64_t start = region->fd_offset - inside;
    uint64_t length = (inside + region->size + page - 1) & ~(uint64_t)(page - 1);
    void *base = mmap(NULL, length, (int)region->info.prot, MAP_SHARED, region->fd, (off_t)start);

    if (base == MAP_FAILED) {
        return errno;
    }
    /* Guest memory does not belong into a core file of the server; not having that is no error. */
    madvise(base, length, MADV_DONTDUMP);
    region->info.mapping = (struct iovec){ base, length };
    region->info.vaddr = (uint8_t *)base + inside;
    region->info.page_size = page;
    region->guard = sigbus_guard(ctx, &region->info);
    return region->guard ? 0 : ENOMEM;
}

static void region_free(vfu_ctx_t *ctx, DmaRegion *region)
{
    sigbus_unguard(region->guard);
    dirty_region_stop(ctx, region);
    if (region->info.mapping.iov_base) {
        munmap(region->info.mapping.iov_base, region->info.mapping.iov_len);
    }
    if (region->fd >= 0) {
        close(region->fd);
    }
    free(region);
}

static int dma_check_new(const vfu_ctx_t *ctx, const WireDmaMap *map)
{
    const DmaTable *t = &ctx->dma.table;
    const DmaRegion *next = dma_table_next(t, map->address);

    if (t->region_count >= ctx->dma.max_regions) {
        return EINVAL;
    }
    if (dma_table_find(t, map->address) || (next && next->iova - map->address < map->size)) {
        return EEXIST;
    }
    return 0;
}

int dma_handle_map(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    DmaRegion *region;
    WireDmaMap map;
    int err = wire_dma_map_decode(&map, m->body, m->len, m->fd_count);

    if (err) {
        return err;
    }
    if (!ctx->dma.enabled) {
        return 0;
    }
    err = dma_check_new(ctx, &map);
    if (err) {
        return err;
    }
    region = calloc(1, sizeof(*region));
    if (region == NULL) {
        return ENOMEM;
    }
    region->iova = map.address;
    region->size = map.size;
    region->fd = -1;
    region->fd_offset = map.fd_offset;
    region->writeable = map.flags & WIRE_DMA_WRITEABLE;
    region->info.iova = (struct iovec){ (void *)(uintptr_t)map.address, map.size };
    region->info.page_size = (size_t)sysconf(_SC_PAGESIZE);
    region->info.prot = (map.flags & WIRE_DMA_READABLE ? PROT_READ : 0U) | (region->writeable ? PROT_WRITE : 0U);
    if (m->fd_count) {
        region->fd = m->fds[0];
        m->fds[0] = -1;
        err = map.flags & WIRE_DMA_FILE_IO ? 0 : region_mmap(ctx, region);
    }
    if (err == 0 && ctx->dma.logging) {
        err = dirty_region_start(ctx, region);
    }
    if (err == 0) {
        err = dma_table_insert(&ctx->dma.table, region);
    }
    if (err) {
        region_free(ctx, region);
        return err;
    }
    if (ctx->dma.register_cb) {
        ctx->dma.register_cb(ctx, &region->info);
    }
    return 0;
}

/* Takes a region out: the device is told, then it is gone. */
static void dma_remove(vfu_ctx_t *ctx, DmaRegion *region)
{
    dma_table_remove(&ctx->dma.table, region);
    if (ctx->dma.unregister_cb) {
        ctx->dma.unregister_cb(ctx, &region->info);
    }
    region_free(ctx, region);
}

void dma_unmap_all(vfu_ctx_t *ctx)
{
    DmaTable *t = &ctx->dma.table;

    while (t->chunk_count) {
        DmaChunk *last = t->chunk[t->chunk_count - 1];

        dma_remove(ctx, last->entry[last->count - 1].region);
    }
}

int dma_handle_unmap(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    WireDmaUnmap u;
    DmaRegion *region;
    int err = wire_dma_unmap_decode(&u, m->body, m->len);

    if (err) {
        return err;
    }
    if (!ctx->dma.enabled) {
        r->head_len = wire_dma_unmap_encode(r->head, &u);
        return u.flags & WIRE_UNMAP_DIRTY_BITMAP ? EINVAL : 0;
    }
    if (u.flags & WIRE_UNMAP_ALL) {
        dma_unmap_all(ctx);
        r->head_len = wire_dma_unmap_encode(r->head, &u);
        return 0;
    }
    region = dma_table_find(&ctx->dma.table, u.address);
    if (region == NULL || region->iova != u.address || region->size != u.size) {
        return ENOENT;
    }
    if (u.flags & WIRE_UNMAP_DIRTY_BITMAP) {
        uint64_t size = wire_bitmap_size(u.size, u.pgsize);
        uint8_t *bitmap;

        if (!ctx->dma.logging || u.bitmap_size < size || size > WIRE_MAX_DATA) {
            return EINVAL;
        }
        bitmap = reply_reserve(r, u.bitmap_size);
        if (bitmap == NULL) {
            return ENOMEM;
        }
        memset(bitmap, 0, u.bitmap_size);
        err = dirty_report(ctx, u.address, u.size, u.pgsize, bitmap, size);
        if (err) {
            return err;
        }
    }
    r->head_len = wire_dma_unmap_encode(r->head, &u);
    dma_remove(ctx, region);
    return 0;
}

/* ---- for the device ---- */

VFU_EXPORT int vfu_setup_device_dma(vfu_ctx_t *ctx, size_t max_regions, vfu_dma_register_cb_t *dma_register,
                                    vfu_dma_unregister_cb_t *dma_unregister)
{
    if (max_regions == 0 || max_regions > LIBVFIO_USER_MAX_DMA_REGIONS) {
        return vfu_fail(EINVAL);
    }
    if (ctx->dma.enabled) {
        return vfu_fail(EEXIST);
    }
    ctx->dma.enabled = true;
    ctx->dma.max_regions = max_regions;
    ctx->dma.register_cb = dma_register;
    ctx->dma.unregister_cb = dma_unregister;
    return 0;
}

VFU_EXPORT int vfu_setup_device_dma_compat(vfu_ctx_t *ctx, vfu_dma_register_cb_t *dma_register,
                                           vfu_dma_unregister_cb_t *dma_unregister)
{
    /* Callers of this form may rely on any number a client uses. */
    return vfu_setup_device_dma(ctx, LIBVFIO_USER_MAX_DMA_REGIONS, dma_register, dma_unregister);
}

VFU_EXPORT size_t dma_sg_size(void)
{
    return sizeof(dma_sg_t);
}

VFU_EXPORT int vfu_addr_to_sgl(vfu_ctx_t *ctx, vfu_dma_addr_t dma_addr, size_t len, dma_sg_t *sgl, size_t max_nr_sgs,
                               int prot)
{
    uint64_t at = (uintptr_t)dma_addr;
    size_t n = 0;

    if (!ctx->dma.enabled || len == 0 || wire_range_wraps(at, len)) {
        return vfu_fail(len == 0 ? EINVAL : ENOENT);
    }
    while (len) {
        uint64_t offset, part;
        DmaEntry e;

        if (!dma_table_lookup(&ctx->dma.table, at, &e)) {
            return vfu_fail(ENOENT);
        }
        if ((prot & PROT_WRITE) && !e.writeable) {
            return vfu_fail(EACCES);
        }
        offset = at - e.iova;
        part = e.size - offset < len ? e.size - offset : len;
        if (n < max_nr_sgs) {
            sgl[n] = (dma_sg_t){
                .region_base = e.iova,
                .region = e.region,
                .length = part,
                .offset = offset,
                .writeable = prot & PROT_WRITE,
            };
        }
        n++;
        at += part;
        len -= part;
    }
    return n <= max_nr_sgs ? (int)n : -(int)n - 1;
}

VFU_EXPORT int vfu_sgl_get(vfu_ctx_t *ctx, dma_sg_t *sgl, struct iovec *iov, size_t cnt, int flags)
{
    if (flags) {
        return vfu_fail(EINVAL);
    }
    for (size_t i = 0; i < cnt; i++) {
        if (sgl[i].region == NULL) {
            return vfu_fail(EINVAL);
        }
        if (sgl[i].region->info.vaddr == NULL) {
            return vfu_fail(EFAULT);
        }
        iov[i].iov_base = (uint8_t *)sgl[i].region->info.vaddr + sgl[i].offset;
        iov[i].iov_len = sgl[i].length;
    }
    return 0;
}

VFU_EXPORT void vfu_sgl_mark_dirty(vfu_ctx_t *ctx, dma_sg_t *sgl, size_t cnt)
{
    for (size_t i = 0; i < cnt; i++) {
        if (sgl[i].region && sgl[i].writeable) {
            dirty_mark(ctx, sgl[i].region, sgl[i].offset, sgl[i].length);
        }
    }
}

VFU_EXPORT void vfu_sgl_put(vfu_ctx_t *ctx, dma_sg_t *sgl, struct iovec *iov, size_t cnt)
{
    vfu_sgl_mark_dirty(ctx, sgl, cnt);
}

VFU_EXPORT bool vfu_sg_is_mappable(vfu_ctx_t *ctx, dma_sg_t *sg)
{
    return sg->region && sg->region->info.vaddr;
}
