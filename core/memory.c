/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The region tree and its transactions. */
#include <string.h>
#include <unistd.h>

#include "core/memory-internal.h"

/* --- topology --- */

MemTopology *mem_topology_new(EventLoop *loop)
{
    MemTopology *topo = g_new0(MemTopology, 1);

    topo->loop = loop;
    topo->spaces = g_ptr_array_new();
    topo->ram = g_ptr_array_new();
    pthread_mutex_init(&topo->ram_lock, NULL);
    pthread_mutex_init(&topo->retire_lock, NULL);
    pthread_cond_init(&topo->retire_cond, NULL);
    return topo;
}

void mem_topology_free(MemTopology *topo)
{
    if (!topo) {
        return;
    }
    g_assert(!topo->depth && !topo->spaces->len);
    mem_topology_set_write_hook(topo, NULL, NULL);
    rcu_barrier(); /* views that wait for their grace period hold regions, and regions the topology */
    g_ptr_array_free(topo->spaces, TRUE);
    g_ptr_array_free(topo->ram, TRUE);
    pthread_cond_destroy(&topo->retire_cond);
    pthread_mutex_destroy(&topo->retire_lock);
    pthread_mutex_destroy(&topo->ram_lock);
    g_free(topo);
}

static void write_hook_free(struct rcu_head *head)
{
    g_free(caa_container_of(head, WriteHook, rcu));
}

void mem_topology_set_write_hook(MemTopology *topo, MemWriteFn *fn, void *opaque)
{
    WriteHook *hook = NULL, *old;

    if (fn) {
        hook = g_new0(WriteHook, 1);
        hook->fn = fn;
        hook->opaque = opaque;
    }
    old = rcu_xchg_pointer(&topo->write_hook, hook);
    if (old) {
        call_rcu(&old->rcu, write_hook_free);
    }
}

void mem_begin(MemTopology *topo)
{
    /* Held until the commit: the tree belongs to the main loop's lock. */
    loop_lock(topo->loop);
    topo->depth++;
}

bool mem_commit(MemTopology *topo, GError **error)
{
    bool ok = true;

    g_assert(topo->depth && loop_locked(topo->loop));
    if (topo->depth == 1) {
        /* A listener may edit the tree: its changes are rendered in another round. */
        while (topo->changed) {
            topo->changed = false;
            ok &= mem_topology_update(topo, ok ? error : NULL);
        }
        if (topo->wait_grace) {
            topo->wait_grace = false;
            synchronize_rcu();
        }
    }
    topo->depth--;
    loop_unlock(topo->loop);
    return ok;
}

/* Ends the transaction of a function that cannot fail; an open outer one reports in its own commit. */
static void mem_commit_change(MemTopology *topo)
{
    g_autoptr(GError) error = NULL;

    topo->changed = true;
    if (!mem_commit(topo, &error)) {
        g_printerr("memory: a change of the address space was not carried out everywhere: %s\n",
                   error->message);
    }
}

/* --- creation and release --- */

static MemRegion *mem_region_new(MemTopology *topo, const char *name, MemKind kind, uint64_t size)
{
    MemRegion *r = g_new0(MemRegion, 1);

    r->topo = topo;
    r->name = g_strdup(name);
    r->kind = kind;
    r->size = size;
    r->refs = 1;
    r->enabled = true;
    r->fd = -1;
    return r;
}

MemRegion *mem_region_new_container(MemTopology *topo, const char *name, uint64_t size)
{
    return mem_region_new(topo, name, MEM_CONTAINER, size);
}

MemRegion *mem_region_new_io(MemTopology *topo, const char *name, uint64_t size, const MemOps *ops,
                             void *opaque, EventLoop *home)
{
    MemRegion *r = mem_region_new(topo, name, MEM_IO, size);

    r->ops = ops;
    r->opaque = opaque;
    r->home = home;
    return r;
}

MemRegion *mem_region_new_lookup(MemTopology *topo, const char *name, uint64_t size, MemFindFn *find, void *opaque)
{
    MemRegion *r = mem_region_new(topo, name, MEM_IO, size);

    r->find = find;
    r->opaque = opaque;
    return r;
}

void mem_region_set_refused(MemRegion *lookup, MemRefusedFn *refused)
{
    lookup->refused = refused;
}

MemRegion *mem_region_new_iommu(MemTopology *topo, const char *name, uint64_t size, const MemIommuOps *ops,
                                void *opaque)
{
    MemRegion *r = mem_region_new(topo, name, MEM_IOMMU, size);

    r->iommu = ops;
    r->opaque = opaque;
    r->notifiers = g_ptr_array_new();
    return r;
}

static void mem_topology_add_ram(MemTopology *topo, MemRegion *r)
{
    pthread_mutex_lock(&topo->ram_lock);
    g_ptr_array_add(topo->ram, r);
    pthread_mutex_unlock(&topo->ram_lock);
}

MemRegion *mem_region_new_ram(MemTopology *topo, const char *name, uint64_t size, void *host, int fd,
                              uint64_t fd_offset, bool readonly)
{
    MemRegion *r = mem_region_new(topo, name, MEM_RAM, size);

    r->host = host;
    r->fd = fd;
    r->fd_offset = fd_offset;
    r->readonly = readonly;
    mem_topology_add_ram(topo, r);
    return r;
}

MemRegion *mem_region_new_rom(MemTopology *topo, const char *name, uint64_t size, void *host,
                              const MemOps *ops, void *opaque)
{
    MemRegion *r = mem_region_new(topo, name, MEM_ROM, size);

    r->host = host;
    r->ops = ops;
    r->opaque = opaque;
    r->home = topo->loop;
    r->readonly = true;
    mem_topology_add_ram(topo, r);
    return r;
}

MemRegion *mem_region_new_alias(MemTopology *topo, const char *name, MemRegion *target, uint64_t offset,
                                uint64_t size)
{
    MemRegion *r = mem_region_new(topo, name, MEM_ALIAS, size);

    r->target = mem_region_ref(target);
    r->target_offset = offset;
    return r;
}

MemRegion *mem_region_ref(MemRegion *region)
{
    __atomic_fetch_add(&region->refs, 1, __ATOMIC_RELAXED);
    return region;
}

/*
 * Nobody can find the region any more: readers only take references from a view,
 * which holds its own until its grace period is over.
 */
static void mem_region_destroy(MemRegion *r)
{
    MemTopology *topo = r->topo;

    for (guint i = 0; r->children && i < r->children->len; i++) {
        MemRegion *child = r->children->pdata[i];

        child->parent = NULL;
        mem_region_unref(child);
    }
    if (r->target) {
        mem_region_unref(r->target);
    }
    if (r->host) {
        pthread_mutex_lock(&topo->ram_lock);
        g_ptr_array_remove_fast(topo->ram, r);
        pthread_mutex_unlock(&topo->ram_lock);
    }
    mem_dirty_free(r);
    g_free(r->ioeventfds);
    g_clear_pointer(&r->children, g_ptr_array_unref);
    g_clear_pointer(&r->notifiers, g_ptr_array_unref);
    g_free(r->name);
    g_free(r);
}

void mem_region_unref(MemRegion *region)
{
    if (region && __atomic_sub_fetch(&region->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        mem_region_destroy(region);
    }
}

/* --- use and retirement --- */

void mem_region_enter(MemRegion *r)
{
    mem_region_ref(r);
    /* Pairs with mem_region_retire: either we see `retired` or it sees us. */
    __atomic_fetch_add(&r->in_flight, 1, __ATOMIC_SEQ_CST);
    if (r->pins) {
        __atomic_fetch_add(&r->pins->count, 1, __ATOMIC_SEQ_CST);
    }
}

void mem_region_leave(MemRegion *r)
{
    /* First: who retires the region may free the sum after its wait. */
    if (r->pins && __atomic_sub_fetch(&r->pins->count, 1, __ATOMIC_SEQ_CST) == 0) {
        r->pins->idle(r->pins);
    }
    if (__atomic_sub_fetch(&r->in_flight, 1, __ATOMIC_SEQ_CST) == 0 &&
        __atomic_load_n(&r->retired, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&r->topo->retire_lock);
        pthread_cond_broadcast(&r->topo->retire_cond);
        pthread_mutex_unlock(&r->topo->retire_lock);
    }
    mem_region_unref(r);
}

void mem_region_retire(MemRegion *region)
{
    MemTopology *topo = region->topo;
    EventLoop *home = region->home && region->home != topo->loop ? region->home : NULL;
    unsigned home_depth = 0, main_depth;

    __atomic_store_n(&region->retired, true, __ATOMIC_SEQ_CST);
    if (region->host || region->pins || region->find || region->iommu) {
        synchronize_rcu(); /* copies from and to host memory, and finding, run in read sections */
    }
    if (__atomic_load_n(&region->in_flight, __ATOMIC_SEQ_CST) == 0) {
        return;
    }
    /* Those in flight may be waiting for their home, or from there for the main loop. */
    main_depth = loop_release(topo->loop);
    if (home) {
        home_depth = loop_release(home);
    }
    pthread_mutex_lock(&topo->retire_lock);
    while (__atomic_load_n(&region->in_flight, __ATOMIC_SEQ_CST)) {
        pthread_cond_wait(&topo->retire_cond, &topo->retire_lock);
    }
    pthread_mutex_unlock(&topo->retire_lock);
    if (home) {
        loop_reacquire(home, home_depth);
    }
    loop_reacquire(topo->loop, main_depth);
}

/* --- the tree --- */

static void mem_region_insert(MemRegion *parent, MemRegion *child)
{
    guint at = 0;

    /* Among equal priorities the newest is on top. */
    parent->children = parent->children ? parent->children : g_ptr_array_new();
    while (at < parent->children->len &&
           ((MemRegion *)parent->children->pdata[at])->priority > child->priority) {
        at++;
    }
    g_ptr_array_insert(parent->children, (int)at, child);
}

void mem_region_add_overlap(MemRegion *parent, HwAddr offset, MemRegion *child, int priority)
{
    MemTopology *topo = parent->topo;

    g_assert(!child->parent && child->topo == topo);
    mem_begin(topo);
    child->parent = parent;
    child->addr = offset;
    child->priority = priority;
    mem_region_insert(parent, mem_region_ref(child));
    mem_commit_change(topo);
}

void mem_region_add(MemRegion *parent, HwAddr offset, MemRegion *child)
{
    mem_region_add_overlap(parent, offset, child, 0);
}

void mem_region_del(MemRegion *parent, MemRegion *child)
{
    MemTopology *topo = parent->topo;

    g_assert(child->parent == parent);
    mem_begin(topo);
    child->parent = NULL;
    g_ptr_array_remove(parent->children, child);
    mem_commit_change(topo);
    mem_region_unref(child);
}

void mem_region_set_enabled(MemRegion *region, bool enabled)
{
    MemTopology *topo = region->topo;

    if (region->enabled != enabled) {
        mem_begin(topo);
        region->enabled = enabled;
        mem_commit_change(topo);
    }
}

void mem_region_set_address(MemRegion *region, HwAddr offset)
{
    MemTopology *topo = region->topo;

    if (region->addr != offset) {
        mem_begin(topo);
        region->addr = offset;
        if (region->parent) {
            /* Moved regions come on top of their equals, as newly added ones. */
            g_ptr_array_remove(region->parent->children, region);
            mem_region_insert(region->parent, region);
        }
        mem_commit_change(topo);
    }
}

void mem_region_set_alias_offset(MemRegion *region, uint64_t offset)
{
    MemTopology *topo = region->topo;

    g_assert(region->kind == MEM_ALIAS);
    if (region->target_offset != offset) {
        mem_begin(topo);
        region->target_offset = offset;
        mem_commit_change(topo);
    }
}

void mem_region_set_size(MemRegion *region, uint64_t size)
{
    MemTopology *topo = region->topo;

    if (region->size != size) {
        mem_begin(topo);
        region->size = size;
        mem_commit_change(topo);
    }
}

const char *mem_region_name(const MemRegion *region)
{
    return region->name;
}

uint64_t mem_region_size(const MemRegion *region)
{
    return region->size;
}

MemKind mem_region_kind(const MemRegion *region)
{
    return region->kind;
}

MemPins *mem_region_get_pins(const MemRegion *region)
{
    return region->pins;
}

void mem_region_set_pins(MemRegion *region, MemPins *pins)
{
    region->pins = pins;
}

void mem_region_set_device_memory(MemRegion *region)
{
    region->device_memory = true;
}

bool mem_region_is_device_memory(const MemRegion *region)
{
    return region->device_memory;
}

void mem_region_set_readonly(MemRegion *region, bool readonly)
{
    MemTopology *topo = region->topo;

    g_assert(region->kind == MEM_ALIAS);
    if (region->readonly != readonly) {
        mem_begin(topo);
        region->readonly = readonly;
        mem_commit_change(topo);
    }
}

bool mem_region_readonly(const MemRegion *region)
{
    return region->readonly;
}

void *mem_region_host(const MemRegion *region)
{
    return region->host;
}

int mem_region_fd(const MemRegion *region, uint64_t *fd_offset)
{
    if (fd_offset) {
        *fd_offset = region->fd_offset;
    }
    return region->fd;
}

MemRegion *mem_region_from_host(MemTopology *topo, const void *host, uint64_t *offset)
{
    MemRegion *found = NULL;

    pthread_mutex_lock(&topo->ram_lock);
    for (guint i = 0; i < topo->ram->len && !found; i++) {
        MemRegion *r = topo->ram->pdata[i];
        uintptr_t at = (uintptr_t)host - (uintptr_t)r->host;

        /* The memory of a retired region is its owner's again. */
        if ((uintptr_t)host >= (uintptr_t)r->host && at < r->size &&
            !__atomic_load_n(&r->retired, __ATOMIC_SEQ_CST)) {
            *offset = at;
            found = r;
        }
    }
    pthread_mutex_unlock(&topo->ram_lock);
    return found;
}

/* --- ioeventfds --- */

static void ioeventfd_table_free(struct rcu_head *head)
{
    g_free(caa_container_of(head, IoeventfdTable, rcu));
}

static void mem_region_set_ioeventfds(MemRegion *r, IoeventfdTable *table)
{
    IoeventfdTable *old = rcu_xchg_pointer(&r->ioeventfds, table);

    if (old) {
        call_rcu(&old->rcu, ioeventfd_table_free);
    }
}

/* A copy with room for one more, without entry `skip` (G_MAXUINT: none). */
static IoeventfdTable *ioeventfd_table_copy(const IoeventfdTable *old, guint skip)
{
    guint n = old ? old->n : 0;
    IoeventfdTable *table = g_malloc0(sizeof(*table) + (n + 1) * sizeof(Ioeventfd));

    for (guint i = 0; i < n; i++) {
        if (i != skip) {
            table->entries[table->n++] = old->entries[i];
        }
    }
    return table;
}

void mem_region_add_ioeventfd(MemRegion *region, HwAddr addr, unsigned size, bool match, uint64_t data,
                              int fd)
{
    MemTopology *topo = region->topo;
    IoeventfdTable *table;

    mem_begin(topo);
    table = ioeventfd_table_copy(region->ioeventfds, G_MAXUINT);
    table->entries[table->n++] = (Ioeventfd){addr, size, match, match ? data : 0, fd};
    mem_region_set_ioeventfds(region, table);
    mem_commit_change(topo);
}

void mem_region_del_ioeventfd(MemRegion *region, HwAddr addr, unsigned size, bool match, uint64_t data,
                              int fd)
{
    MemTopology *topo = region->topo;
    IoeventfdTable *old;

    mem_begin(topo);
    old = region->ioeventfds;
    for (guint i = 0; old && i < old->n; i++) {
        const Ioeventfd *e = &old->entries[i];

        if (e->addr == addr && e->size == size && e->match == match && (!match || e->data == data) &&
            e->fd == fd) {
            mem_region_set_ioeventfds(region, old->n == 1 ? NULL : ioeventfd_table_copy(old, i));
            topo->wait_grace = true;
            break;
        }
    }
    mem_commit_change(topo);
}
