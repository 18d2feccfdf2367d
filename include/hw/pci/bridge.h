/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI-to-PCI bridges (PCI-to-PCI Bridge Architecture 1.2): a function with a
 * bus behind it.  The secondary bus is named after the bridge's id, which is what `bus=` takes.
 */
#ifndef HW_PCI_BRIDGE_H
#define HW_PCI_BRIDGE_H

#include "hw/pci/pci.h"

typedef struct PciBridge {
    PciDevice pci;
    PciBus *secondary;
    MemRegion *mem, *io;                 /* the secondary bus's own spaces */
    MemRegion *mem_window, *pref_window, *io_window; /* aliases of them on the primary bus; NULL: closed */
    uint8_t port, chassis_slot;          /* port number of a root port; chassis */
    uint64_t io_reserve, mem_reserve;    /* of a conventional bridge: bytes firmware is to leave for what comes later */
    /* a root port's slot (pcie-slot.c) */
    uint16_t slot;
    uint16_t slot_control;               /* as last written */
    uint8_t slot_pending;                /* of a saved state: functions that the guest was asked to let go */
    bool slot_event;                     /* an event stands that its interrupt was raised for */
    LoopBh *slot_bh;
} PciBridge;

/* Conventional "pci-bridge"; "pcie-root-port" and Intel's "ioh3420". */
extern const PciModel pci_bridge_model, pcie_root_port_model, ioh3420_model;

#endif
