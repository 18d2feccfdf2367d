/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Programmable attribute map of Intel host bridges: who answers at C0000h to FFFFFh.  Context: main loop's lock. */
#ifndef HW_PCI_HOST_PAM_H
#define HW_PCI_HOST_PAM_H

#include "core/memory.h"

#define PAM_REG_COUNT 7

typedef struct Pam Pam;

/* Over the RAM in `memory`, which the map lets through: PCI memory, or RAM that cannot be written.  All borrowed. */
Pam *pam_new(MemTopology *topo, MemRegion *memory, MemRegion *pci_memory, MemRegion *ram);
void pam_free(Pam *pam);
/* The registers PAM0..PAM6 have these values now. */
void pam_set(Pam *pam, const uint8_t regs[PAM_REG_COUNT]);

#endif
