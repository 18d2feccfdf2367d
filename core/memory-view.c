/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rendering of a region tree to a flat view, and lookup in it. */
#include <string.h>

#include "core/memory-internal.h"

/* --- rendering --- */

/* A part of the address space, [start, end). */
typedef struct Window {
    Int128 start, end;
} Window;

static Int128 int128_min(Int128 a, Int128 b)
{
    return a < b ? a : b;
}

static Int128 int128_max(Int128 a, Int128 b)
{
    return a > b ? a : b;
}

/*
 * Sorted ranges with a gap where the last one was put: regions mostly come by ascending or descending
 * address, so that rendering thousands of them moves each once or twice.
 */
typedef struct RangeList {
    FlatRange *ranges; /* `before` of them, a gap, then `after` up to the end */
    guint before, after, room;
} RangeList;

static FlatRange *list_at(const RangeList *l, guint i)
{
    return &l->ranges[i < l->before ? i : l->room - l->after + (i - l->before)];
}

static void list_grow(RangeList *l)
{
    guint room = l->room ? 2 * l->room : 64;

    l->ranges = g_renew(FlatRange, l->ranges, room);
    memmove(l->ranges + room - l->after, l->ranges + l->room - l->after, l->after * sizeof(FlatRange));
    l->room = room;
}

static void list_insert(RangeList *l, guint i, const FlatRange *range)
{
    guint gap_end;

    if (l->before + l->after == l->room) {
        list_grow(l);
    }
    gap_end = l->room - l->after;
    if (i < l->before) {
        guint n = l->before - i;

        memmove(l->ranges + gap_end - n, l->ranges + i, n * sizeof(FlatRange));
        l->after += n;
    } else {
        guint n = i - l->before;

        memmove(l->ranges + l->before, l->ranges + gap_end, n * sizeof(FlatRange));
        l->after -= n;
    }
    l->before = i;
    l->ranges[l->before++] = *range;
}

/* The first that does not end before `at`. */
static guint list_find(const RangeList *l, Int128 at)
{
    guint low = 0, high = l->before + l->after;

    while (low < high) {
        guint middle = low + (high - low) / 2;

        if ((Int128)list_at(l, middle)->last < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Fills what nobody above covers yet of `window`. */
static void render_leaf(RangeList *list, MemRegion *r, Int128 base, Window window, bool readonly)
{
    Int128 at = window.start;
    guint i = list_find(list, at);

    while (at < window.end) {
        Int128 end = window.end;

        if (i < list->before + list->after) {
            const FlatRange *next = list_at(list, i);

            if ((Int128)next->first <= at) {
                at = (Int128)next->last + 1;
                i++;
                continue;
            }
            end = int128_min(end, next->first);
        }
        list_insert(list, i, &(FlatRange){(HwAddr)at, (HwAddr)(end - 1), r, (uint64_t)(at - base), readonly});
        i++;
        at = end;
    }
}

/* `base` is the address of the parent's byte 0; it may be negative below an alias. */
static void render_region(RangeList *list, MemRegion *r, Int128 base, Window window, bool readonly)
{
    if (!r->enabled) {
        return;
    }
    base += (Int128)r->addr;
    readonly |= r->readonly;
    window.start = int128_max(window.start, base);
    window.end = int128_min(window.end, base + (Int128)mem_region_size128(r));
    if (window.start >= window.end) {
        return;
    }
    if (r->target) {
        /* The target's own address is that in its own parent. */
        render_region(list, r->target, base - (Int128)r->target_offset - (Int128)r->target->addr, window,
                      readonly);
        return;
    }
    for (guint i = 0; r->children && i < r->children->len; i++) {
        render_region(list, r->children->pdata[i], base, window, readonly);
    }
    if (r->kind != MEM_CONTAINER) {
        render_leaf(list, r, base, window, readonly);
    }
}

/* True when b continues a: same region, no gap. */
static bool ranges_adjoin(const FlatRange *a, const FlatRange *b)
{
    return a->region == b->region && a->readonly == b->readonly && a->last + 1 == b->first &&
           a->offset + (b->first - a->first) == b->offset;
}

FlatView *mem_view_render(MemRegion *root)
{
    RangeList list = {0};
    FlatView *view;

    render_region(&list, root, -(Int128)root->addr, (Window){0, (Int128)1 << 64}, false);
    view = g_malloc0(sizeof(*view) + (list.before + list.after) * sizeof(FlatRange));
    for (guint i = 0; i < list.before + list.after; i++) {
        const FlatRange *range = list_at(&list, i);

        if (view->n && ranges_adjoin(&view->ranges[view->n - 1], range)) {
            view->ranges[view->n - 1].last = range->last;
        } else {
            view->ranges[view->n++] = *range;
            mem_region_ref(range->region);
        }
    }
    g_free(list.ranges);
    return view;
}

bool mem_range_equal(const FlatRange *a, const FlatRange *b)
{
    return a->first == b->first && a->last == b->last && a->region == b->region && a->offset == b->offset &&
           a->readonly == b->readonly;
}

bool mem_view_equal(const FlatView *a, const FlatView *b)
{
    if (a->n != b->n) {
        return false;
    }
    for (guint i = 0; i < a->n; i++) {
        if (!mem_range_equal(&a->ranges[i], &b->ranges[i])) {
            return false;
        }
    }
    return true;
}

static void view_free(struct rcu_head *head)
{
    FlatView *view = caa_container_of(head, FlatView, rcu);

    for (guint i = 0; i < view->n; i++) {
        mem_region_unref(view->ranges[i].region);
    }
    g_free(view);
}

void mem_view_free_later(FlatView *view)
{
    call_rcu(&view->rcu, view_free);
}

/* --- lookup --- */

const FlatRange *mem_view_find(FlatView *view, HwAddr addr, HwAddr *next)
{
    guint hint = __atomic_load_n(&view->hint, __ATOMIC_RELAXED), low = 0, high = view->n;

    if (hint < view->n && addr >= view->ranges[hint].first && addr <= view->ranges[hint].last) {
        return &view->ranges[hint];
    }
    while (low < high) {
        guint mid = low + (high - low) / 2;

        if (addr > view->ranges[mid].last) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    /* `low` is the first range that ends at or after addr. */
    if (low < view->n && addr >= view->ranges[low].first) {
        __atomic_store_n(&view->hint, low, __ATOMIC_RELAXED);
        return &view->ranges[low];
    }
    if (next) {
        *next = low < view->n ? view->ranges[low].first : UINT64_MAX;
    }
    return NULL;
}

/* --- ioeventfds --- */

static gint ioeventfd_compare(gconstpointer pa, gconstpointer pb)
{
    const Ioeventfd *a = pa, *b = pb;

    if (a->addr != b->addr) {
        return a->addr < b->addr ? -1 : 1;
    }
    if (a->size != b->size) {
        return a->size < b->size ? -1 : 1;
    }
    if (a->match != b->match) {
        return a->match - b->match;
    }
    if (a->data != b->data) {
        return a->data < b->data ? -1 : 1;
    }
    return a->fd - b->fd;
}

GArray *mem_view_ioeventfds(const FlatView *view)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(Ioeventfd));

    for (guint i = 0; i < view->n; i++) {
        const FlatRange *range = &view->ranges[i];
        const IoeventfdTable *table = range->region->ioeventfds; /* changed by this thread only */

        for (guint j = 0; table && j < table->n; j++) {
            Ioeventfd e = table->entries[j];
            uint64_t span = e.size ? e.size - 1 : 0;

            if (e.addr >= range->offset && e.addr - range->offset + span <= range->last - range->first) {
                e.addr = range->first + (e.addr - range->offset);
                g_array_append_val(list, e);
            }
        }
    }
    g_array_sort(list, ioeventfd_compare);
    return list;
}
