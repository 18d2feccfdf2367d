/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dirty pages of RAM regions: one bitmap for each client that tracks, 4 KiB a bit. */
#include "core/memory-internal.h"

static void dirty_bitmap_free(struct rcu_head *head)
{
    g_free(caa_container_of(head, DirtyBitmap, rcu));
}

void mem_region_dirty_track(MemRegion *ram, MemDirty client, bool on)
{
    DirtyBitmap *bitmap = NULL, *old;

    if (on == (rcu_dereference(ram->dirty[client]) != NULL)) {
        return;
    }
    if (on) {
        uint64_t pages = ram->size / MEM_PAGE_SIZE + !!(ram->size % MEM_PAGE_SIZE);

        bitmap = g_malloc0(sizeof(*bitmap) + (pages + 63) / 64 * sizeof(uint64_t));
        bitmap->pages = pages;
    }
    old = rcu_xchg_pointer(&ram->dirty[client], bitmap);
    if (old) {
        call_rcu(&old->rcu, dirty_bitmap_free);
    }
}

void mem_dirty_free(MemRegion *r)
{
    for (int i = 0; i < MEM_DIRTY_COUNT; i++) {
        g_free(r->dirty[i]);
    }
}

/* Bits [bit, bit + n) of the word that holds `bit`, n at most up to the word's end. */
static uint64_t word_mask(uint64_t bit, uint64_t n)
{
    return (n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1) << (bit % 64);
}

static void dirty_bitmap_set(DirtyBitmap *bitmap, uint64_t first, uint64_t last)
{
    last = MIN(last, bitmap->pages - 1);
    while (first <= last) {
        uint64_t n = MIN(last - first + 1, 64 - first % 64), mask = word_mask(first, n);
        uint64_t *word = &bitmap->words[first / 64];

        if ((__atomic_load_n(word, __ATOMIC_RELAXED) & mask) != mask) {
            __atomic_fetch_or(word, mask, __ATOMIC_RELEASE);
        }
        first += n;
    }
}

void mem_region_dirty_set(MemRegion *ram, uint64_t offset, uint64_t len)
{
    if (!len) {
        return;
    }
    rcu_read_lock();
    for (int i = 0; i < MEM_DIRTY_COUNT; i++) {
        DirtyBitmap *bitmap = rcu_dereference(ram->dirty[i]);

        if (bitmap) {
            dirty_bitmap_set(bitmap, offset / MEM_PAGE_SIZE, (offset + len - 1) / MEM_PAGE_SIZE);
        }
    }
    rcu_read_unlock();
}

void mem_region_set_foreign_writers(MemRegion *ram, bool on)
{
    __atomic_store_n(&ram->foreign_writers, on, __ATOMIC_RELAXED);
}

bool mem_region_dirty_take(MemRegion *ram, MemDirty client, uint64_t offset, uint64_t len, uint64_t *bitmap)
{
    uint64_t first = offset / MEM_PAGE_SIZE, pages = (len + MEM_PAGE_SIZE - 1) / MEM_PAGE_SIZE;
    bool any = false, foreign = __atomic_load_n(&ram->foreign_writers, __ATOMIC_RELAXED);
    DirtyBitmap *source;

    for (uint64_t i = 0; i < (pages + 63) / 64; i++) {
        bitmap[i] = 0;
    }
    rcu_read_lock();
    source = rcu_dereference(ram->dirty[client]);
    if (source && first < source->pages) {
        pages = MIN(pages, source->pages - first);
        for (uint64_t at = 0; at < pages;) {
            uint64_t page = first + at;
            /* Inside one word of the source and one of the result. */
            uint64_t n = MIN(MIN(64 - page % 64, 64 - at % 64), pages - at), mask = word_mask(page, n);
            uint64_t *word = &source->words[page / 64], bits = 0;

            if (__atomic_load_n(word, __ATOMIC_RELAXED) & mask) {
                bits = __atomic_fetch_and(word, ~mask, __ATOMIC_ACQ_REL) & mask;
            }
            bits = foreign ? mask : bits;
            bitmap[at / 64] |= bits >> (page % 64) << (at % 64);
            any |= bits != 0;
            at += n;
        }
    }
    rcu_read_unlock();
    return any;
}

void mem_region_written(MemRegion *r, uint64_t offset, uint64_t len)
{
    const WriteHook *hook = rcu_dereference(r->topo->write_hook);

    mem_region_dirty_set(r, offset, len);
    if (hook) {
        hook->fn(hook->opaque, r, offset, len);
    }
}

void mem_region_changed(MemRegion *region, uint64_t offset, uint64_t len)
{
    rcu_read_lock();
    mem_region_written(region, offset, len);
    rcu_read_unlock();
}
