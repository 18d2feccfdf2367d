/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IOMMU regions: address spaces whose addresses are translated page by page to those of another one.  Accesses ask
 * for a translation each; who has to know all mappings (device maps of VFIO) registers a notifier.
 */
#ifndef CORE_MEMORY_IOMMU_H
#define CORE_MEMORY_IOMMU_H

#include "core/memory.h"

typedef enum MemPerm { MEM_PERM_NONE, MEM_PERM_READ = 1, MEM_PERM_WRITE = 2, MEM_PERM_RW = 3 } MemPerm;

/* A page, of whatever size, or what is known not to be mapped. */
typedef struct MemTranslation {
    AddressSpace *as; /* where it leads: not to another IOMMU; lives as long as the region */
    HwAddr iova;      /* its first byte in the region */
    HwAddr addr;      /* that byte in `as` */
    uint64_t size;    /* UINT64_MAX: everything */
    MemPerm perm;     /* what is allowed */
} MemTranslation;

typedef struct MemIommuNotifier MemIommuNotifier;

typedef struct MemIommuOps {
    /*
     * The page around addr, into *out.  False: `want` is not allowed there (out->iova and size say how far that
     * goes); a fault is recorded unless `probe`: nobody asked for the data yet, or somebody will ask again.  want
     * MEM_PERM_NONE: the page if anything is allowed.  Any thread, in an RCU read section: it must not wait for
     * readers, nor for a loop's lock.
     */
    bool (*translate)(void *opaque, HwAddr addr, MemPerm want, bool probe, MemTranslation *out);
    /* Tells n->map() of everything that is mapped now.  Main loop, inside n's batch. */
    void (*replay)(void *opaque, MemIommuNotifier *n);
} MemIommuOps;

/* A leaf of the tree like mem_region_new_io(); retired before the opaque goes.  Topology. */
MemRegion *mem_region_new_iommu(MemTopology *topo, const char *name, uint64_t size, const MemIommuOps *ops,
                                void *opaque);

/* Follows the mappings of one IOMMU region.  Callbacks: main loop's lock, all between begin and commit of a batch. */
struct MemIommuNotifier {
    void (*begin)(MemIommuNotifier *n);
    /* As it is now: it may replace another mapping, or be known already.  False: no more can be taken. */
    bool (*map)(MemIommuNotifier *n, const MemTranslation *t);
    /* Nothing in [first, last] is mapped any more; nothing may have been. */
    void (*unmap)(MemIommuNotifier *n, HwAddr first, HwAddr last);
    void (*commit)(MemIommuNotifier *n);
    MemRegion *region; /* set by mem_iommu_notifier_register() */
};

/* Main loop.  Registering replays what is mapped, in a batch; unregistering unmaps everything in one. */
void mem_iommu_notifier_register(MemIommuNotifier *n, MemRegion *region);
void mem_iommu_notifier_unregister(MemIommuNotifier *n);

/* For the IOMMU: a change to all notifiers of a region.  Main loop; maps and unmaps between begin and commit. */
bool mem_iommu_has_notifiers(const MemRegion *region);
void mem_iommu_begin(MemRegion *region);
/* False: some notifier can take no more. */
bool mem_iommu_map(MemRegion *region, const MemTranslation *t);
void mem_iommu_unmap(MemRegion *region, HwAddr first, HwAddr last);
void mem_iommu_commit(MemRegion *region);

#endif
