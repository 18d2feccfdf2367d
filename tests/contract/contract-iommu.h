/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest's IOMMU in front of a bus, for every back end.  Main loop. */
#ifndef TESTS_CONTRACT_IOMMU_H
#define TESTS_CONTRACT_IOMMU_H

#include "core/memory-iommu.h"
#include "hw/pci/pci.h"

typedef struct ContractIommu ContractIommu;

/* Before the function that is tested is on the bus. */
ContractIommu *contract_iommu_new(PciBus *bus);
/* No function's mappings are followed. */
void contract_iommu_free(ContractIommu *iommu);
/* One page of 4 KiB; nobody is told.  MEM_PERM_NONE: not mapped. */
void contract_iommu_set(ContractIommu *iommu, uint64_t iova, uint64_t addr, MemPerm perm);
/* An invalidation of the pages from first to last. */
void contract_iommu_tell(ContractIommu *iommu, uint64_t first, uint64_t last);
/* Off: there is nothing to be reached. */
void contract_iommu_enable(ContractIommu *iommu, bool on);

#endif
