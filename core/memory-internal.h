/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the memory layer share: the region tree (memory.c), its
 * rendering (memory-view.c), dispatch (memory-dispatch.c), listeners
 * (memory-listener.c) and dirty bitmaps (memory-dirty.c).
 */
#ifndef CORE_MEMORY_INTERNAL_H
#define CORE_MEMORY_INTERNAL_H

#include <pthread.h>
#define URCU_INLINE_SMALL_FUNCTIONS /* read sections are on the path of every access */
#include <urcu-bp.h>

#include "core/internal.h"
#include "core/memory-iommu.h"

#define MEM_PAGE_SIZE   UINT64_C(4096)
#define MEM_DIRTY_COUNT 2

typedef unsigned __int128 Uint128;
typedef __int128 Int128;

typedef struct Ioeventfd {
    HwAddr addr; /* in the region, or in the address space for a rendered one */
    unsigned size;
    bool match;
    uint64_t data;
    int fd;
} Ioeventfd;

/* Immutable; replaced as a whole. */
typedef struct IoeventfdTable {
    struct rcu_head rcu;
    guint n;
    Ioeventfd entries[];
} IoeventfdTable;

typedef struct DirtyBitmap {
    struct rcu_head rcu;
    uint64_t pages;
    uint64_t words[]; /* atomic */
} DirtyBitmap;

struct MemRegion {
    MemTopology *topo;
    char *name;
    int refs; /* atomic */
    MemKind kind;
    uint64_t size; /* UINT64_MAX stands for 2^64 */
    bool readonly;
    bool device_memory;
    bool enabled;
    /* place in the tree */
    MemRegion *parent;
    HwAddr addr;
    int priority;
    GPtrArray *children; /* of MemRegion *; first is on top; each holds a reference; NULL: never had any */
    /* alias */
    MemRegion *target; /* referenced */
    uint64_t target_offset;
    /* contents */
    const MemOps *ops;
    void *opaque;
    EventLoop *home;
    MemRefusedFn *refused; /* of the same, or NULL */
    MemFindFn *find; /* of mem_region_new_lookup(), which is MEM_IO without ops otherwise */
    const MemIommuOps *iommu; /* of MEM_IOMMU */
    GPtrArray *notifiers;     /* of MemIommuNotifier *; of MEM_IOMMU */
    uint8_t *host;
    int fd;
    uint64_t fd_offset;
    IoeventfdTable *ioeventfds;          /* RCU; NULL when none */
    DirtyBitmap *dirty[MEM_DIRTY_COUNT]; /* RCU; NULL when not tracked */
    bool foreign_writers;                /* atomic: what is written is not seen here */
    /* callbacks and mappings in progress */
    int in_flight;    /* atomic */
    MemPins *pins;    /* counts the same for several regions; or NULL */
    bool retired;     /* atomic */
};

typedef struct FlatRange {
    HwAddr first, last; /* inclusive: the last byte of a full space is UINT64_MAX */
    MemRegion *region;  /* referenced by the view */
    uint64_t offset;    /* of `first` in the region */
    bool readonly;
} FlatRange;

/* Immutable once published, but for the hint. */
typedef struct FlatView {
    struct rcu_head rcu;
    guint hint; /* index of a recent hit; atomic */
    guint n;
    FlatRange ranges[];
} FlatView;

struct AddressSpace {
    struct rcu_head rcu;
    MemTopology *topo;
    char *name;
    MemRegion *root;
    FlatView *view;       /* RCU */
    GArray *ioeventfds;   /* of Ioeventfd with absolute addr, sorted; what listeners know */
    GPtrArray *listeners; /* of MemListener *, ascending priority */
};

typedef struct WriteHook {
    struct rcu_head rcu;
    MemWriteFn *fn;
    void *opaque;
} WriteHook;

struct MemTopology {
    EventLoop *loop;
    unsigned depth;        /* open transactions */
    bool changed;          /* tree or ioeventfds since the last commit */
    bool wait_grace;       /* ioeventfds were deleted: their fds may be closed after the commit */
    GPtrArray *spaces;     /* of AddressSpace * */
    WriteHook *write_hook; /* RCU */
    pthread_mutex_t ram_lock;
    GPtrArray *ram; /* of MemRegion * with a host address; under ram_lock */
    pthread_mutex_t retire_lock;
    pthread_cond_t retire_cond; /* some in_flight of a retired region became 0 */
};

static inline Uint128 mem_region_size128(const MemRegion *r)
{
    return r->size == UINT64_MAX ? (Uint128)1 << 64 : r->size;
}

/* Direct access to host memory is possible (writes too when `write`). */
static inline bool mem_region_direct(const MemRegion *r)
{
    return r->kind == MEM_RAM || r->kind == MEM_ROM;
}

/* --- memory.c --- */
/* A use by a thread outside RCU: keeps the region and is waited for by mem_region_retire. */
void mem_region_enter(MemRegion *r);
void mem_region_leave(MemRegion *r);

/* --- memory-view.c --- */
FlatView *mem_view_render(MemRegion *root);
bool mem_view_equal(const FlatView *a, const FlatView *b);
bool mem_range_equal(const FlatRange *a, const FlatRange *b);
/* After a grace period. */
void mem_view_free_later(FlatView *view);
/* The range that holds addr, or NULL; then *next is the first address of the following range, or UINT64_MAX.
 */
const FlatRange *mem_view_find(FlatView *view, HwAddr addr, HwAddr *next);
/* The table of an address space from its view, sorted; an array the caller frees. */
GArray *mem_view_ioeventfds(const FlatView *view);

/* --- memory-listener.c --- */
/* Renders and publishes all spaces and tells the listeners; main loop. */
bool mem_topology_update(MemTopology *topo, GError **error);

/* --- memory-dirty.c --- */
void mem_dirty_free(MemRegion *r);
/* [offset, offset+len) of RAM was written through the core: dirty bits and the write hook.  In an RCU read
 * section or with the region held. */
void mem_region_written(MemRegion *r, uint64_t offset, uint64_t len);
/* Anything to tell after a write? */
static inline bool mem_region_watched(MemRegion *r)
{
    return rcu_dereference(r->dirty[0]) || rcu_dereference(r->dirty[1]) ||
           rcu_dereference(r->topo->write_hook);
}

#endif
