/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of hw/pci share. */
#ifndef HW_PCI_PCI_INTERNAL_H
#define HW_PCI_PCI_INTERNAL_H

#include "hw/pci/pci.h"

/* The kind's life cycle, for pci_kind_ops. */
bool pci_device_start(Device *d, GError **error);
void pci_device_reset(Device *d);
void pci_device_stop(Device *d);
/* Frees what msix_init made. */
void msix_cleanup(PciDevice *dev);
/* Masks and pending bits as after power-on. */
void msi_reset(PciDevice *dev);
void msix_reset(PciDevice *dev);
/* The guest wrote [offset, offset+size) of config space. */
void msi_config_written(PciDevice *dev, uint16_t offset, unsigned size);
void msix_config_written(PciDevice *dev, uint16_t offset, unsigned size);
void pcie_config_written(PciDevice *dev, uint16_t offset, unsigned size);
/* Tells whoever wants to know that the guest may find the function. */
void pci_bus_announce(PciDevice *dev);
/* Recomputes what the bus sees of INTx. */
void pci_update_intx(PciDevice *dev);

/* --- pcie-slot.c: of a root port, whose functions call these --- */
struct PciBridge;
void pcie_slot_start(struct PciBridge *br);
void pcie_slot_stop(struct PciBridge *br);
void pcie_slot_reset(struct PciBridge *br);
/* Before the state is saved, and after it was loaded. */
void pcie_slot_saved(struct PciBridge *br);
void pcie_slot_loaded(struct PciBridge *br);
void pcie_slot_config_written(struct PciBridge *br, uint16_t offset, unsigned size);
void pcie_slot_plugged(PciBus *bus, PciDevice *dev);
void pcie_slot_device_gone(PciBus *bus);
bool pcie_slot_unplug_request(PciBus *bus, PciDevice *dev);

static inline bool pci_range_overlaps(uint16_t offset, unsigned size, uint16_t first, unsigned len)
{
    return offset < first + len && first < offset + size;
}

#endif
