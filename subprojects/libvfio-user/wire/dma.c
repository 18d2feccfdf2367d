/* SPDX-License-Identifier: BSD-3-Clause */
/* vfio-user DMA_MAP, DMA_UNMAP, DMA_READ, DMA_WRITE, and the old DIRTY_PAGES. */
#include <errno.h>

#include "bytes.h"
#include "wire.h"

int wire_dma_map_decode(WireDmaMap *m, const void *buf, size_t len, unsigned fd_count)
{
    const uint32_t known = WIRE_DMA_READABLE | WIRE_DMA_WRITEABLE | WIRE_DMA_MMAP | WIRE_DMA_FILE_IO;
    const uint32_t how = WIRE_DMA_MMAP | WIRE_DMA_FILE_IO;

    if (len < WIRE_DMA_MAP_SIZE || wire_get_u32(buf, 0) < WIRE_DMA_MAP_SIZE) {
        return EINVAL;
    }
    m->flags = wire_get_u32(buf, 4);
    m->fd_offset = wire_get_u64(buf, 8);
    m->address = wire_get_u64(buf, 16);
    m->size = wire_get_u64(buf, 24);
    if ((m->flags & ~known) || (m->flags & how) == how || ((m->flags & how) && fd_count == 0)) {
        return EINVAL;
    }
    if (m->size == 0 || wire_range_wraps(m->address, m->size)) {
        return EINVAL;
    }
    if (m->size > WIRE_MAX_DMA_SIZE) {
        return ENOSPC;
    }
    /* Offsets are off_t in the end. */
    return fd_count && !wire_range_inside(m->fd_offset, m->size, INT64_MAX) ? EINVAL : 0;
}

size_t wire_dma_map_encode(void *buf, const WireDmaMap *m)
{
    wire_put_u32(buf, 0, WIRE_DMA_MAP_SIZE);
    wire_put_u32(buf, 4, m->flags);
    wire_put_u64(buf, 8, m->fd_offset);
    wire_put_u64(buf, 16, m->address);
    wire_put_u64(buf, 24, m->size);
    return WIRE_DMA_MAP_SIZE;
}

int wire_dma_unmap_decode(WireDmaUnmap *u, const void *buf, size_t len)
{
    const uint32_t known = WIRE_UNMAP_DIRTY_BITMAP | WIRE_UNMAP_ALL;

    if (len < WIRE_DMA_UNMAP_SIZE) {
        return EINVAL;
    }
    *u = (WireDmaUnmap){
        .argsz = wire_get_u32(buf, 0),
        .flags = wire_get_u32(buf, 4),
        .address = wire_get_u64(buf, 8),
        .size = wire_get_u64(buf, 16),
    };
    if (u->argsz < WIRE_DMA_UNMAP_SIZE || u->argsz > WIRE_MAX_DATA || (u->flags & ~known) ||
        (u->flags & known) == known) {
        return EINVAL;
    }
    if (u->flags & WIRE_UNMAP_ALL) {
        return u->address != 0 || u->size != 0 ? EINVAL : 0;
    }
    if (!(u->flags & WIRE_UNMAP_DIRTY_BITMAP)) {
        return 0;
    }
    if (len < WIRE_DMA_UNMAP_SIZE + WIRE_BITMAP_HEAD_SIZE) {
        return EINVAL;
    }
    u->pgsize = wire_get_u64(buf, 24);
    u->bitmap_size = wire_get_u64(buf, 32);
    if (!wire_is_power_of_2(u->pgsize) || u->bitmap_size > u->argsz ||
        u->argsz - u->bitmap_size < WIRE_DMA_UNMAP_SIZE + WIRE_BITMAP_HEAD_SIZE) {
        return EINVAL;
    }
    return 0;
}

size_t wire_dma_unmap_encode(void *buf, const WireDmaUnmap *u)
{
    bool bitmap = u->flags & WIRE_UNMAP_DIRTY_BITMAP;
    uint32_t size = WIRE_DMA_UNMAP_SIZE + (bitmap ? WIRE_BITMAP_HEAD_SIZE : 0);

    wire_put_u32(buf, 0, u->argsz ? u->argsz : size + (uint32_t)(bitmap ? u->bitmap_size : 0));
    wire_put_u32(buf, 4, u->flags);
    wire_put_u64(buf, 8, u->address);
    wire_put_u64(buf, 16, u->size);
    if (bitmap) {
        wire_put_u64(buf, 24, u->pgsize);
        wire_put_u64(buf, 32, u->bitmap_size);
    }
    return size;
}

static int dma_access_decode(WireDmaAccess *a, const void *buf, size_t len, uint64_t max_count)
{
    if (len < WIRE_DMA_ACCESS_SIZE) {
        return EINVAL;
    }
    a->address = wire_get_u64(buf, 0);
    a->count = wire_get_u64(buf, 8);
    a->data = NULL;
    if (wire_range_wraps(a->address, a->count)) {
        return EINVAL;
    }
    return a->count > max_count ? E2BIG : 0;
}

int wire_dma_read_decode(WireDmaAccess *a, const void *buf, size_t len, uint64_t max_count)
{
    return dma_access_decode(a, buf, len, max_count);
}

int wire_dma_write_decode(WireDmaAccess *a, const void *buf, size_t len, uint64_t max_count)
{
    int err = dma_access_decode(a, buf, len, max_count);

    if (err) {
        return err;
    }
    if (len - WIRE_DMA_ACCESS_SIZE != a->count) {
        return EINVAL;
    }
    a->data = (const uint8_t *)buf + WIRE_DMA_ACCESS_SIZE;
    return 0;
}

int wire_dma_read_decode_reply(WireDmaAccess *a, const void *buf, size_t len, const WireDmaAccess *asked)
{
    int err = wire_dma_write_decode(a, buf, len, asked->count);

    return err || a->address != asked->address || a->count != asked->count ? EINVAL : 0;
}

int wire_dma_write_decode_reply(const void *buf, size_t len, const WireDmaAccess *asked)
{
    WireDmaAccess a;

    /* Some clients answer with the bare header. */
    if (len == 0) {
        return 0;
    }
    if (dma_access_decode(&a, buf, len, asked->count)) {
        return EINVAL;
    }
    return a.address != asked->address || a.count != asked->count ? EINVAL : 0;
}

size_t wire_dma_access_encode(void *buf, const WireDmaAccess *a)
{
    wire_put_u64(buf, 0, a->address);
    wire_put_u64(buf, 8, a->count);
    return WIRE_DMA_ACCESS_SIZE;
}

int wire_dirty_pages_decode(WireDirtyPages *d, const void *buf, size_t len)
{
    const uint32_t known = WIRE_DIRTY_START | WIRE_DIRTY_STOP | WIRE_DIRTY_GET_BITMAP;

    if (len < WIRE_DIRTY_PAGES_SIZE) {
        return EINVAL;
    }
    *d = (WireDirtyPages){ .argsz = wire_get_u32(buf, 0), .flags = wire_get_u32(buf, 4) };
    if ((d->flags & ~known) || !wire_is_power_of_2(d->flags) || d->argsz < WIRE_DIRTY_PAGES_SIZE) {
        return EINVAL;
    }
    if (d->flags != WIRE_DIRTY_GET_BITMAP) {
        return 0;
    }
    if (len < WIRE_DIRTY_GET_SIZE) {
        return EINVAL;
    }
    d->iova = wire_get_u64(buf, 8);
    d->size = wire_get_u64(buf, 16);
    d->pgsize = wire_get_u64(buf, 24);
    d->bitmap_size = wire_get_u64(buf, 32);
    if (d->size == 0 || wire_range_wraps(d->iova, d->size) || !wire_is_power_of_2(d->pgsize) ||
        d->bitmap_size > d->argsz || d->argsz - d->bitmap_size < WIRE_DIRTY_GET_SIZE) {
        return EINVAL;
    }
    return 0;
}

size_t wire_dirty_pages_encode(void *buf, const WireDirtyPages *d)
{
    wire_put_u32(buf, 0, d->argsz);
    wire_put_u32(buf, 4, d->flags);
    if (d->flags != WIRE_DIRTY_GET_BITMAP) {
        return WIRE_DIRTY_PAGES_SIZE;
    }
    wire_put_u64(buf, 8, d->iova);
    wire_put_u64(buf, 16, d->size);
    wire_put_u64(buf, 24, d->pgsize);
    wire_put_u64(buf, 32, d->bitmap_size);
    return WIRE_DIRTY_GET_SIZE;
}
