/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of mapped ranges: chunks of regions sorted by address, and an index that cuts the span of addresses into equal
 * pieces and tells for each with which chunk it begins.  With regions spread evenly a lookup costs the same for ten as for
 * ten thousand; in the worst case it is a binary search.  What a scatter list needs is kept in the chunks, not looked up in the regions.
 *
 * Lookups change nothing, so that any number of threads may run them.
 */
#include <errno.h>
#include <string.h>

#include "private.h"

/* Keys that are compared at once: one cache line of them. */
#define CACHE_LINE 64u
#define STRIDE     (CACHE_LINE / sizeof(uint64_t))

/* Number of keys that are <= iova.  No branch depends on a key: they would be mispredicted half of the time. */
static uint32_t chunk_upper(const DmaChunk *c, uint64_t iova)
{
    size_t n = 0, end;

    for (size_t i = STRIDE - 1; i < c->count; i += STRIDE) {
        n += c->key[i] <= iova;
    }
    n *= STRIDE;
    end = c->count < n + STRIDE ? c->count : n + STRIDE;
    for (size_t i = n; i < end; i++) {
        n += c->key[i] <= iova;
    }
    return (uint32_t)n;
}

/* The last chunk whose first key is <= iova (0 if there is none). */
static size_t table_chunk_index(const DmaTable *t, uint64_t iova)
{
    size_t piece, low, high, last;

    if (iova < t->base) {
        return 0;
    }
    piece = (size_t)((iova - t->base) >> t->shift);
    piece = piece < t->pieces ? piece : t->pieces - 1;
    low = t->index[piece];
    high = piece + 1 < t->pieces ? t->index[piece + 1] + (size_t)1 : t->chunk_count;
    /* Its first region may have gone since the index was made. */
    if (low > 0 && t->first[low] > iova) {
        return low - 1;
    }
    while (high - low > 2) {
        size_t mid = low + (high - low) / 2;

        if (t->first[mid] <= iova) {
            low = mid;
        } else {
            high = mid;
        }
    }
    /* One or two are left, as chance will have it: no branch here either. */
    last = low + (high - low) / 2;
    return low + ((high - low > 1) & (t->first[last] <= iova));
}

bool dma_table_lookup(const DmaTable *t, uint64_t iova, DmaEntry *e)
{
    const DmaChunk *c;
    uint32_t n;

    if (t->chunk_count == 0) {
        return false;
    }
    c = t->chunk[table_chunk_index(t, iova)];
    n = chunk_upper(c, iova);
    if (n == 0 || iova - c->key[n - 1] >= c->entry[n - 1].size) {
        return false;
    }
    *e = c->entry[n - 1];
    return true;
}

DmaRegion *dma_table_find(const DmaTable *t, uint64_t iova)
{
    DmaEntry e;

    return dma_table_lookup(t, iova, &e) ? e.region : NULL;
}

DmaRegion *dma_table_next(const DmaTable *t, uint64_t iova)
{
    size_t i;
    uint32_t n;

    if (t->chunk_count == 0) {
        return NULL;
    }
    i = table_chunk_index(t, iova);
    n = chunk_upper(t->chunk[i], iova);
    if (n > 0 && t->chunk[i]->key[n - 1] == iova) {
        return t->chunk[i]->entry[n - 1].region;
    }
    if (n < t->chunk[i]->count) {
        return t->chunk[i]->entry[n].region;
    }
    return i + 1 < t->chunk_count ? t->chunk[i + 1]->entry[0].region : NULL;
}

/* ---- changes ---- */

/* Makes the index again; every chunk has a region. */
static void table_make_index(DmaTable *t)
{
    uint64_t span;
    size_t i = 0;

    if (t->chunk_count == 0) {
        return;
    }
    t->base = t->first[0];
    span = t->first[t->chunk_count - 1] - t->base;
    t->shift = 0;
    while ((span >> t->shift) >= 2 * t->chunk_room) {
        t->shift++;
    }
    t->pieces = (size_t)(span >> t->shift) + 1;
    for (size_t piece = 0; piece < t->pieces; piece++) {
        uint64_t start = t->base + ((uint64_t)piece << t->shift);

        while (i + 1 < t->chunk_count && t->first[i + 1] <= start) {
            i++;
        }
        t->index[piece] = (uint32_t)i;
    }
}

/* Room for one more chunk. */
static int table_grow(DmaTable *t)
{
    size_t room = t->chunk_room ? t->chunk_room * 2 : 8;
    void *grown;

    if (t->chunk_count < t->chunk_room) {
        return 0;
    }
    grown = realloc(t->chunk, room * sizeof(*t->chunk));
    if (grown == NULL) {
        return ENOMEM;
    }
    t->chunk = grown;
    grown = realloc(t->first, room * sizeof(*t->first));
    if (grown == NULL) {
        return ENOMEM;
    }
    t->first = grown;
    grown = realloc(t->index, 2 * room * sizeof(*t->index));
    if (grown == NULL) {
        return ENOMEM;
    }
    t->index = grown;
    t->chunk_room = room;
    return 0;
}

/* Inserts an empty chunk at index i. */
static int table_add_chunk(DmaTable *t, size_t i)
{
    DmaChunk *c;
    int err = table_grow(t);

    if (err) {
        return err;
    }
    c = aligned_alloc(CACHE_LINE, (sizeof(*c) + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1));
    if (c == NULL) {
        return ENOMEM;
    }
    c->count = 0;
    memmove(t->chunk + i + 1, t->chunk + i, (t->chunk_count - i) * sizeof(*t->chunk));
    memmove(t->first + i + 1, t->first + i, (t->chunk_count - i) * sizeof(*t->first));
    t->chunk[i] = c;
    t->chunk_count++;
    return 0;
}

/* Moves count regions from position n of a chunk to position `at` of the same or another one. */
static void chunk_move(DmaChunk *to, uint32_t at, const DmaChunk *from, uint32_t n, uint32_t count)
{
    memmove(to->key + at, from->key + n, count * sizeof(to->key[0]));
    memmove(to->entry + at, from->entry + n, count * sizeof(to->entry[0]));
}

/* A full chunk gives half of its regions to a new one behind it; one that only grows at its end keeps all. */
static int table_split(DmaTable *t, size_t i, bool at_end)
{
    uint32_t keep = at_end ? DMA_CHUNK : DMA_CHUNK / 2;
    int err = table_add_chunk(t, i + 1);

    if (err) {
        return err;
    }
    t->chunk[i + 1]->count = DMA_CHUNK - keep;
    chunk_move(t->chunk[i + 1], 0, t->chunk[i], keep, DMA_CHUNK - keep);
    t->chunk[i]->count = keep;
    t->first[i + 1] = t->chunk[i + 1]->key[0];
    return 0;
}

int dma_table_insert(DmaTable *t, DmaRegion *region)
{
    size_t i = 0, chunks = t->chunk_count;
    uint32_t n = 0;
    DmaChunk *c;
    int err = 0;

    if (chunks == 0) {
        err = table_add_chunk(t, 0);
    } else {
        i = table_chunk_index(t, region->iova);
        n = chunk_upper(t->chunk[i], region->iova);
        if (t->chunk[i]->count == DMA_CHUNK) {
            err = table_split(t, i, n == DMA_CHUNK && i + 1 == chunks);
        }
    }
    if (err) {
        return err;
    }
    if (n > t->chunk[i]->count || n == DMA_CHUNK) {
        n -= t->chunk[i]->count;
        i++;
    }
    c = t->chunk[i];
    chunk_move(c, n + 1, c, n, c->count - n);
    c->key[n] = region->iova;
    c->entry[n] = (DmaEntry){ region->iova, region->size, region, region->writeable };
    c->count++;
    t->first[i] = c->key[0];
    t->region_count++;
    if (t->chunk_count != chunks) {
        table_make_index(t);
    }
    return 0;
}

void dma_table_remove(DmaTable *t, const DmaRegion *region)
{
    size_t i = table_chunk_index(t, region->iova);
    DmaChunk *c = t->chunk[i];
    uint32_t n = chunk_upper(c, region->iova) - 1;

    c->count--;
    t->region_count--;
    chunk_move(c, n, c, n + 1, c->count - n);
    if (c->count) {
        t->first[i] = c->key[0];
        return;
    }
    free(c);
    t->chunk_count--;
    memmove(t->chunk + i, t->chunk + i + 1, (t->chunk_count - i) * sizeof(*t->chunk));
    memmove(t->first + i, t->first + i + 1, (t->chunk_count - i) * sizeof(*t->first));
    table_make_index(t);
}

void dma_table_free(DmaTable *t)
{
    free(t->chunk);
    free(t->first);
    free(t->index);
    *t = (DmaTable){ 0 };
}

int dma_table_walk(DmaTable *t, int (*fn)(DmaRegion *region, void *opaque), void *opaque)
{
    for (size_t i = 0; i < t->chunk_count; i++) {
        for (uint32_t n = 0; n < t->chunk[i]->count; n++) {
            int err = fn(t->chunk[i]->entry[n].region, opaque);

            if (err) {
                return err;
            }
        }
    }
    return 0;
}
