/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An IOMMU without tables: pages are what the test says. */
#include "contract-iommu.h"

#define PAGE 4096u

struct ContractIommu {
    PciBus *bus;
    MemRegion *root, *region;
    AddressSpace *as, *memory;
    GHashTable *pages; /* of MemTranslation *, by iova */
};

static bool translate(void *opaque, HwAddr addr, MemPerm want, bool probe, MemTranslation *out)
{
    const ContractIommu *iommu = opaque;
    uint64_t iova = addr & ~(uint64_t)(PAGE - 1);
    const MemTranslation *t = g_hash_table_lookup(iommu->pages, &iova);

    *out = t ? *t : (MemTranslation){.iova = iova, .size = PAGE};
    return t && (t->perm & want) == want;
}

static void replay(void *opaque, MemIommuNotifier *n)
{
    const ContractIommu *iommu = opaque;
    GHashTableIter iter;
    gpointer page;

    g_hash_table_iter_init(&iter, iommu->pages);
    while (g_hash_table_iter_next(&iter, NULL, &page)) {
        n->map(n, page);
    }
}

static const MemIommuOps iommu_ops = {translate, replay};

static AddressSpace *attach(void *opaque, PciDevice *dev)
{
    return ((ContractIommu *)opaque)->as;
}

static void detach(void *opaque, PciDevice *dev)
{
}

static bool can_follow(void *opaque, PciDevice *dev, GError **error)
{
    return true;
}

static const PciIommuOps bus_ops = {attach, detach, can_follow};

ContractIommu *contract_iommu_new(PciBus *bus)
{
    ContractIommu *iommu = g_new0(ContractIommu, 1);
    MemTopology *topo = bus->machine->topo;

    iommu->bus = bus;
    iommu->memory = bus->machine->memory;
    iommu->pages = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    iommu->root = mem_region_new_container(topo, "behind the IOMMU", UINT64_MAX);
    iommu->region = mem_region_new_iommu(topo, "IOMMU", UINT64_MAX, &iommu_ops, iommu);
    mem_region_add(iommu->root, 0, iommu->region);
    iommu->as = as_new(topo, "behind the IOMMU", iommu->root);
    g_assert(pci_bus_set_iommu(bus, &bus_ops, iommu, NULL));
    return iommu;
}

void contract_iommu_free(ContractIommu *iommu)
{
    pci_bus_set_iommu(iommu->bus, NULL, NULL, NULL);
    as_free(iommu->as);
    mem_region_del(iommu->root, iommu->region);
    mem_region_retire(iommu->region);
    mem_region_unref(iommu->region);
    mem_region_unref(iommu->root);
    g_hash_table_unref(iommu->pages);
    g_free(iommu);
}

void contract_iommu_set(ContractIommu *iommu, uint64_t iova, uint64_t addr, MemPerm perm)
{
    MemTranslation t = {iommu->memory, iova, addr, PAGE, perm};

    if (perm) {
        MemTranslation *page = g_memdup2(&t, sizeof(t));

        g_hash_table_replace(iommu->pages, &page->iova, page);
    } else {
        g_hash_table_remove(iommu->pages, &iova);
    }
}

void contract_iommu_tell(ContractIommu *iommu, uint64_t first, uint64_t last)
{
    mem_iommu_begin(iommu->region);
    for (uint64_t iova = first; iova <= last; iova += PAGE) {
        const MemTranslation *t = g_hash_table_lookup(iommu->pages, &iova);

        if (t) {
            mem_iommu_map(iommu->region, t);
        } else {
            mem_iommu_unmap(iommu->region, iova, iova + (PAGE - 1));
        }
    }
    mem_iommu_commit(iommu->region);
}

void contract_iommu_enable(ContractIommu *iommu, bool on)
{
    mem_region_set_enabled(iommu->region, on);
}
