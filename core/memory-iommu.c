/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IOMMU regions: creation and notifiers.  Translation is a part of dispatch (memory-dispatch.c). */
#include "core/memory-internal.h"

/* The last address of a region. */
static HwAddr region_last(const MemRegion *r)
{
    return r->size == UINT64_MAX ? UINT64_MAX : r->size - 1;
}

void mem_iommu_notifier_register(MemIommuNotifier *n, MemRegion *region)
{
    g_assert(region->iommu && !n->region && loop_locked(region->topo->loop));
    n->region = mem_region_ref(region);
    g_ptr_array_add(region->notifiers, n);
    n->begin(n);
    region->iommu->replay(region->opaque, n);
    n->commit(n);
}

void mem_iommu_notifier_unregister(MemIommuNotifier *n)
{
    MemRegion *region = n->region;

    if (!region) {
        return;
    }
    g_assert(loop_locked(region->topo->loop));
    g_ptr_array_remove(region->notifiers, n);
    n->begin(n);
    n->unmap(n, 0, region_last(region));
    n->commit(n);
    n->region = NULL;
    mem_region_unref(region);
}

bool mem_iommu_has_notifiers(const MemRegion *region)
{
    return region->notifiers->len != 0;
}

static MemIommuNotifier *notifier_at(const MemRegion *region, guint i)
{
    return region->notifiers->pdata[i];
}

void mem_iommu_begin(MemRegion *region)
{
    for (guint i = 0; i < region->notifiers->len; i++) {
        notifier_at(region, i)->begin(notifier_at(region, i));
    }
}

bool mem_iommu_map(MemRegion *region, const MemTranslation *t)
{
    bool ok = true;

    for (guint i = 0; i < region->notifiers->len; i++) {
        ok &= notifier_at(region, i)->map(notifier_at(region, i), t);
    }
    return ok;
}

void mem_iommu_unmap(MemRegion *region, HwAddr first, HwAddr last)
{
    for (guint i = 0; i < region->notifiers->len; i++) {
        notifier_at(region, i)->unmap(notifier_at(region, i), first, last);
    }
}

void mem_iommu_commit(MemRegion *region)
{
    for (guint i = 0; i < region->notifiers->len; i++) {
        notifier_at(region, i)->commit(notifier_at(region, i));
    }
}
