/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Address spaces, publication of their views, and the diffs listeners get. */
#include "core/error.h"
#include "core/memory-internal.h"

/* --- address spaces --- */

AddressSpace *as_new(MemTopology *topo, const char *name, MemRegion *root)
{
    AddressSpace *as = g_new0(AddressSpace, 1);

    as->topo = topo;
    as->name = g_strdup(name);
    as->root = mem_region_ref(root);
    as->listeners = g_ptr_array_new();
    mem_begin(topo);
    as->view = mem_view_render(root);
    as->ioeventfds = mem_view_ioeventfds(as->view);
    g_ptr_array_add(topo->spaces, as);
    mem_commit(topo, NULL);
    return as;
}

static void as_free_rcu(struct rcu_head *head)
{
    AddressSpace *as = caa_container_of(head, AddressSpace, rcu);

    g_free(as->name);
    g_free(as);
}

void as_free(AddressSpace *as)
{
    MemTopology *topo;

    if (!as) {
        return;
    }
    topo = as->topo;
    loop_lock(topo->loop);
    g_assert(!as->listeners->len);
    g_ptr_array_remove(topo->spaces, as);
    g_ptr_array_free(as->listeners, TRUE);
    g_array_free(as->ioeventfds, TRUE);
    mem_view_free_later(as->view);
    mem_region_unref(as->root);
    call_rcu(&as->rcu, as_free_rcu); /* a reader may be on its way to the view */
    loop_unlock(topo->loop);
}

const char *as_name(const AddressSpace *as)
{
    return as->name;
}

MemRegion *as_root(const AddressSpace *as)
{
    return as->root;
}

MemTopology *as_topology(const AddressSpace *as)
{
    return as->topo;
}

/* --- telling listeners --- */

static MemSection section_of(AddressSpace *as, const FlatRange *range)
{
    uint64_t span = range->last - range->first;

    return (MemSection){.as = as,
                        .region = range->region,
                        .addr = range->first,
                        .size = span == UINT64_MAX ? span : span + 1,
                        .region_offset = range->offset,
                        .readonly = range->readonly};
}

/* Sections of `of` that `other` does not have, to one listener. */
static void listener_send_missing(MemListener *l, const FlatView *of, const FlatView *other,
                                  void (*send)(MemListener *l, const MemSection *section))
{
    guint j = 0;

    for (guint i = 0; send && i < of->n; i++) {
        const FlatRange *range = &of->ranges[i];

        while (j < other->n && other->ranges[j].first < range->first) {
            j++;
        }
        if (j == other->n || !mem_range_equal(range, &other->ranges[j])) {
            MemSection section = section_of(l->as, range);

            send(l, &section);
        }
    }
}

static bool ioeventfd_equal(const Ioeventfd *a, const Ioeventfd *b)
{
    return a->addr == b->addr && a->size == b->size && a->match == b->match && a->data == b->data &&
           a->fd == b->fd;
}

static bool ioeventfd_has(const GArray *list, const Ioeventfd *e)
{
    guint low = 0, high = list->len;

    while (low < high) {
        guint mid = low + (high - low) / 2;

        if (g_array_index(list, Ioeventfd, mid).addr < e->addr) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    for (; low < list->len && g_array_index(list, Ioeventfd, low).addr == e->addr; low++) {
        if (ioeventfd_equal(&g_array_index(list, Ioeventfd, low), e)) {
            return true;
        }
    }
    return false;
}

typedef void IoeventfdFn(MemListener *l, const MemSection *section, bool match, uint64_t data, int fd);

/* The ioeventfds of `of` (whose places are in `view`) that `other` does not have. */
static void listener_send_ioeventfds(MemListener *l, const GArray *of, const GArray *other, FlatView *view,
                                     IoeventfdFn *send)
{
    for (guint i = 0; send && i < of->len; i++) {
        const Ioeventfd *e = &g_array_index(of, Ioeventfd, i);
        const FlatRange *range;
        MemSection section;

        if (other && ioeventfd_has(other, e)) {
            continue;
        }
        range = mem_view_find(view, e->addr, NULL);
        g_assert(range);
        section = (MemSection){.as = l->as,
                               .region = range->region,
                               .addr = e->addr,
                               .size = e->size,
                               .region_offset = range->offset + (e->addr - range->first),
                               .readonly = range->readonly};
        send(l, &section, e->match, e->data, e->fd);
    }
}

#define LISTENER(as, i) ((MemListener *)(as)->listeners->pdata[i])

/* One ordered diff to all listeners of a space; `view` is published already. */
static bool as_tell_listeners(AddressSpace *as, FlatView *old, FlatView *view, const GArray *old_fds,
                              GError **error)
{
    guint n = as->listeners->len;
    bool ok = true;

    for (guint i = 0; i < n; i++) {
        if (LISTENER(as, i)->begin) {
            LISTENER(as, i)->begin(LISTENER(as, i));
        }
    }
    for (guint i = n; i-- > 0;) {
        listener_send_ioeventfds(LISTENER(as, i), old_fds, as->ioeventfds, old,
                                 LISTENER(as, i)->ioeventfd_del);
    }
    for (guint i = n; i-- > 0;) {
        listener_send_missing(LISTENER(as, i), old, view, LISTENER(as, i)->del);
    }
    for (guint i = 0; i < n; i++) {
        listener_send_missing(LISTENER(as, i), view, old, LISTENER(as, i)->add);
    }
    for (guint i = 0; i < n; i++) {
        listener_send_ioeventfds(LISTENER(as, i), as->ioeventfds, old_fds, view,
                                 LISTENER(as, i)->ioeventfd_add);
    }
    for (guint i = 0; i < n; i++) {
        if (LISTENER(as, i)->commit) {
            ok &= LISTENER(as, i)->commit(LISTENER(as, i), ok ? error : NULL);
        }
    }
    return ok;
}

static bool ioeventfds_same(const GArray *a, const GArray *b)
{
    for (guint i = 0; i < a->len && a->len == b->len; i++) {
        if (!ioeventfd_equal(&g_array_index(a, Ioeventfd, i), &g_array_index(b, Ioeventfd, i))) {
            return false;
        }
    }
    return a->len == b->len;
}

static bool as_update(AddressSpace *as, GError **error)
{
    FlatView *old = as->view, *view = mem_view_render(as->root);
    GArray *old_fds = as->ioeventfds, *fds = mem_view_ioeventfds(view);
    bool ok = true;

    if (mem_view_equal(old, view) && ioeventfds_same(old_fds, fds)) {
        mem_view_free_later(view);
        g_array_free(fds, TRUE);
        return true;
    }
    /* Published first: what a listener flushes is filled from the new view. */
    rcu_assign_pointer(as->view, view);
    as->ioeventfds = fds;
    ok = as_tell_listeners(as, old, view, old_fds, error);
    g_array_free(old_fds, TRUE);
    mem_view_free_later(old);
    return ok;
}

bool mem_topology_update(MemTopology *topo, GError **error)
{
    bool ok = true;

    for (guint i = 0; i < topo->spaces->len; i++) {
        ok &= as_update(topo->spaces->pdata[i], ok ? error : NULL);
    }
    return ok;
}

/* --- registration --- */

static const FlatView empty_view;

/* All sections and ioeventfds of the present view, as removed. */
static void listener_replay_dels(MemListener *l)
{
    AddressSpace *as = l->as;

    listener_send_ioeventfds(l, as->ioeventfds, NULL, as->view, l->ioeventfd_del);
    listener_send_missing(l, as->view, &empty_view, l->del);
}

bool mem_listener_register(MemListener *l, AddressSpace *as, GError **error)
{
    guint at = 0;
    bool ok = true;

    loop_lock(as->topo->loop);
    l->as = as;
    if (l->begin) {
        l->begin(l);
    }
    listener_send_missing(l, as->view, &empty_view, l->add);
    listener_send_ioeventfds(l, as->ioeventfds, NULL, as->view, l->ioeventfd_add);
    if (l->commit) {
        ok = l->commit(l, error);
    }
    if (ok) {
        while (at < as->listeners->len && LISTENER(as, at)->priority <= l->priority) {
            at++;
        }
        g_ptr_array_insert(as->listeners, (int)at, l);
    } else {
        /* What was added before the failure goes again. */
        if (l->begin) {
            l->begin(l);
        }
        listener_replay_dels(l);
        l->commit(l, NULL);
        l->as = NULL;
    }
    loop_unlock(as->topo->loop);
    return ok;
}

void mem_listener_unregister(MemListener *l)
{
    AddressSpace *as = l->as;

    if (!as) {
        return;
    }
    loop_lock(as->topo->loop);
    g_ptr_array_remove(as->listeners, l);
    if (l->begin) {
        l->begin(l);
    }
    listener_replay_dels(l);
    if (l->commit) {
        l->commit(l, NULL);
    }
    l->as = NULL;
    loop_unlock(as->topo->loop);
}
