/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty page logging: a bitmap a region that this side can write by itself, one bit a page of the logging page size, bit 0
 * of byte 0 first.  Marking is atomic, so devices may mark from any thread.  Writes by message are the client's own.
 */
#include <errno.h>
#include <string.h>

#include "private.h"

void dirty_mark(vfu_ctx_t *ctx, DmaRegion *region, uint64_t offset, uint64_t length)
{
    uint64_t first, last;

    if (region->dirty == NULL || length == 0) {
        return;
    }
    first = offset / ctx->dma.log_page_size;
    last = (offset + length - 1) / ctx->dma.log_page_size;
    for (uint64_t page = first; page <= last; page++) {
        uint8_t bit = (uint8_t)(1u << (page % 8));

        if (!(__atomic_load_n(&region->dirty[page / 8], __ATOMIC_RELAXED) & bit)) {
            __atomic_fetch_or(&region->dirty[page / 8], bit, __ATOMIC_RELEASE);
        }
    }
}

int dirty_region_start(vfu_ctx_t *ctx, DmaRegion *region)
{
    uint64_t size;

    if (region->fd < 0) {
        return 0;
    }
    size = wire_bitmap_size(region->size, ctx->dma.log_page_size);
    if (ctx->dma.log_page_size > region->size) {
        return EINVAL;
    }
    /* What one client can make us allocate, over all its regions. */
    if (size > WIRE_MAX_BITMAP - ctx->dma.log_bytes) {
        return ENOSPC;
    }
    region->dirty = calloc(1, size);
    if (region->dirty == NULL) {
        return ENOMEM;
    }
    region->dirty_size = size;
    ctx->dma.log_bytes += size;
    return 0;
}

void dirty_region_stop(vfu_ctx_t *ctx, DmaRegion *region)
{
    free(region->dirty);
    region->dirty = NULL;
    ctx->dma.log_bytes -= region->dirty_size;
    region->dirty_size = 0;
}

static int region_start(DmaRegion *region, void *opaque)
{
    return dirty_region_start(opaque, region);
}

static int region_stop(DmaRegion *region, void *opaque)
{
    dirty_region_stop(opaque, region);
    return 0;
}

int dirty_log_start(vfu_ctx_t *ctx, uint64_t page_size)
{
    int err;

    if (!ctx->dma.enabled || page_size < (uint64_t)sysconf(_SC_PAGESIZE)) {
        return EINVAL;
    }
    if (ctx->dma.logging) {
        return page_size == ctx->dma.log_page_size ? 0 : EINVAL;
    }
    ctx->dma.log_page_size = page_size;
    err = dma_table_walk(&ctx->dma.table, region_start, ctx);
    if (err) {
        dma_table_walk(&ctx->dma.table, region_stop, ctx);
        return err;
    }
    ctx->dma.logging = true;
    return 0;
}

void dirty_log_stop(vfu_ctx_t *ctx)
{
    dma_table_walk(&ctx->dma.table, region_stop, ctx);
    ctx->dma.logging = false;
}

/* Sets the bits of the answer's pages that touch bytes [from, to) of the range. */
static void report_set(uint8_t *bitmap, uint64_t from, uint64_t to, uint64_t page_size)
{
    for (uint64_t page = from / page_size; page <= (to - 1) / page_size; page++) {
        bitmap[page / 8] = (uint8_t)(bitmap[page / 8] | (1u << (page % 8)));
    }
}

/*
 * Takes the dirty bits of the first `length` bytes of a region into the answer, which begins `base` bytes before the
 * region; any pair of page sizes.  A page that goes on behind length is told but stays dirty.
 */
static void report_region(vfu_ctx_t *ctx, DmaRegion *region, uint64_t base, uint64_t length, uint64_t page_size,
                          uint8_t *bitmap)
{
    uint64_t log_page = ctx->dma.log_page_size;
    uint64_t pages = length / log_page + (length % log_page != 0);
    uint64_t whole = length == region->size ? pages : length / log_page;

    for (uint64_t i = 0; region->dirty && i < (pages + 7) / 8; i++) {
        unsigned kept = whole >= (i + 1) * 8 ? 0 : 0xffu << (whole > i * 8 ? whole - i * 8 : 0);
        uint8_t bits = 0;

        if (__atomic_load_n(&region->dirty[i], __ATOMIC_RELAXED)) {
            bits = __atomic_fetch_and(&region->dirty[i], (uint8_t)kept, __ATOMIC_ACQUIRE);
        }
        while (bits) {
            uint64_t from = (i * 8 + (unsigned)__builtin_ctz(bits)) * log_page;

            if (from < length) {
                uint64_t to = log_page < length - from ? from + log_page : length;

                report_set(bitmap, base + from, base + to, page_size);
            }
            bits = (uint8_t)(bits & (bits - 1));
        }
    }
}

int dirty_report(vfu_ctx_t *ctx, uint64_t iova, uint64_t length, uint64_t page_size, uint8_t *bitmap, size_t size)
{
    DmaRegion *region = dma_table_find(&ctx->dma.table, iova);
    uint64_t done;

    if (region == NULL) {
        return ENOENT;
    }
    if (region->iova != iova) {
        return ENOTSUP;
    }
    if (!ctx->dma.logging || length < page_size || size < wire_bitmap_size(length, page_size)) {
        return EINVAL;
    }
    /* All of the range must be mapped before anything is taken out of the bitmaps. */
    for (done = 0; done < length; done += region->size) {
        region = dma_table_find(&ctx->dma.table, iova + done);
        if (region == NULL) {
            return ENOENT;
        }
    }
    for (done = 0; done < length; done += region->size) {
        region = dma_table_find(&ctx->dma.table, iova + done);
        report_region(ctx, region, done, region->size < length - done ? region->size : length - done, page_size,
                      bitmap);
    }
    return 0;
}

int dirty_handle_legacy(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    WireDirtyPages d;
    uint64_t size;
    uint8_t *bitmap;
    int err = wire_dirty_pages_decode(&d, m->body, m->len);

    if (err) {
        return err;
    }
    if (!ctx->dma.enabled || !ctx->migration.enabled) {
        return EINVAL;
    }
    if (d.flags == WIRE_DIRTY_START) {
        return dirty_log_start(ctx, (uint64_t)sysconf(_SC_PAGESIZE));
    }
    if (d.flags == WIRE_DIRTY_STOP) {
        dirty_log_stop(ctx);
        return 0;
    }
    size = wire_bitmap_size(d.size, d.pgsize);
    if (d.bitmap_size < size || d.bitmap_size > WIRE_MAX_DATA) {
        return EINVAL;
    }
    bitmap = reply_reserve(r, d.bitmap_size);
    if (bitmap == NULL) {
        return ENOMEM;
    }
    memset(bitmap, 0, d.bitmap_size);
    err = dirty_report(ctx, d.iova, d.size, d.pgsize, bitmap, size);
    r->head_len = wire_dirty_pages_encode(r->head, &d);
    return err;
}

VFU_EXPORT bool vfu_ctx_dirty_logging(vfu_ctx_t *ctx)
{
    return __atomic_load_n(&ctx->dma.logging, __ATOMIC_RELAXED);
}
