/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Q35 memory controller hub as PCI host bridge.  Context: main loop's lock. */
#ifndef HW_PCI_HOST_Q35_H
#define HW_PCI_HOST_Q35_H

#include "hw/i386/smram.h"
#include "hw/isa/chipset-ports.h"
#include "hw/pci-host/pam.h"
#include "hw/pci/pci.h"

#define Q35_ECAM_BASE 0xb0000000ull
#define Q35_ECAM_SIZE 0x10000000ull

/* What reaches the root bus: configuration ports and ECAM. */
typedef struct Q35Host {
    Device dev;
    /* wiring, set before start; borrowed */
    MemRegion *memory, *io;
    PciBus *bus;
    ChipsetPorts *ports; /* RST_CNT inside the address port; NULL: none */
    MemRegion *address_region, *data_region, *ecam_region;
    uint32_t config_address;
    uint64_t ecam_mapped; /* address of the window; 0: closed */
} Q35Host;

/* The hub's own function, 8086:29c0 at 00:00.0. */
typedef struct Q35Mch {
    PciDevice pci;
    Pam *pam; /* wiring, set before q35_mch_connect(); borrowed; NULL: none */
    /* set by the board after creation */
    Q35Host *host;
    Smram *smram;      /* NULL: no system management mode */
    uint64_t low_ram;  /* bytes below 4 GiB: TSEG ends there */
} Q35Mch;

/* The second is the 440FX's: without ECAM, as nothing maps it. */
extern const DeviceModel q35_host_model, i440fx_host_model;
extern const PciModel q35_mch_model;

/* Moves the ECAM window and SMRAM to where the hub's registers say. */
void q35_mch_connect(Q35Mch *mch, Q35Host *host, Smram *smram, uint64_t low_ram);

/* RAM at C0000h to FFFFFh, as firmware leaves it. */
void q35_mch_open_shadow(Q35Mch *mch);

#endif
