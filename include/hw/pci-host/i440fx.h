/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 440FX host bridge, 8086:1237.  Context: main loop's lock. */
#ifndef HW_PCI_HOST_I440FX_H
#define HW_PCI_HOST_I440FX_H

#include "hw/i386/smram.h"
#include "hw/pci-host/pam.h"
#include "hw/pci/pci.h"

typedef struct I440fx {
    PciDevice pci;
    Pam *pam;     /* borrowed */
    Smram *smram; /* borrowed; NULL: none */
} I440fx;

extern const PciModel i440fx_model;

/* The map of low memory and system management RAM follow the bridge's registers. */
void i440fx_connect(I440fx *s, Pam *pam, Smram *smram);
/* RAM at C0000h to FFFFFh, as firmware leaves it. */
void i440fx_open_shadow(I440fx *s);

#endif
