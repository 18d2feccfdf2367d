/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SMBus function of the ICH9.  Context: main loop's lock. */
#ifndef HW_ISA_ICH9_SMBUS_H
#define HW_ISA_ICH9_SMBUS_H

#include "hw/isa/smbus-host.h"
#include "hw/pci/pci.h"

extern const PciModel ich9_smbus_model;

#endif
