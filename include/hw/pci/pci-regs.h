/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Offsets and bits of PCI configuration space (PCI 3.0 chapter 6, PCI Express Base 4.0 chapter 7): the system's
 * header, and what it does not name.
 */
#ifndef HW_PCI_PCI_REGS_H
#define HW_PCI_PCI_REGS_H

#include <linux/pci_regs.h>

/* Type 0/1 header */
#define PCI_STATUS_W1C          0xf900
#define PCI_HEADER_TYPE_MULTI   0x80
#define PCI_BASE_ADDRESS_IO     0x1
#define PCI_BASE_ADDRESS_MEM64  0x4
#define PCI_BASE_ADDRESS_PREFETCH 0x8

/* Capability ids */

/* MSI (PCI 3.0, 6.8.1) */

/* MSI-X (PCI 3.0, 6.8.2) */
#define PCI_MSIX_BIR            0x7
#define PCI_MSIX_CAP_SIZE       12
#define PCI_MSIX_ENTRY_ADDR_LO  0
#define PCI_MSIX_ENTRY_ADDR_HI  4
#define PCI_MSIX_ENTRY_CTRL     12
#define PCI_MSIX_ENTRY_CTRL_MASK 0x1

/* PCI Express (Base 4.0, 7.5.3) */
#define PCI_EXP_DEVCTL_FLR      0x8000
#define PCI_EXP_CAP_SIZE        0x3c

#define PCI_CONFIG_SIZE         256
#define PCIE_CONFIG_SIZE        4096

#endif
