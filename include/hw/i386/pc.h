/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PC machines.  Context: main loop. */
#ifndef HW_I386_PC_H
#define HW_I386_PC_H

#include "chardev/chardev.h"
#include "core/machine.h"
#include "hw/intc/ioapic.h"

extern const MachineModel pc_q35_model, pc_i440fx_model;

/* The IO-APIC's requester id towards an IOMMU: a bus the guest cannot number (DMAR says it too). */
#define PC_IOAPIC_REQUESTER 0xff00

/* What an IOMMU and the board have to do with each other. */
typedef struct PcIommu {
    ApicBus *apic_bus; /* set by the board */
    bool can_remap;    /* every interrupt passes the machine, so that it can be remapped; set by the board */
    IoApicRemapFn *remap; /* messages of the IO-APIC */
    void *opaque;
} PcIommu;
struct AcpiDmar;

/* Fills in what the board gives.  False with *error when the machine takes no (further) IOMMU, or none any more. */
bool pc_iommu_find_board(Machine *m, PcIommu *iommu, GError **error);
/* The IOMMU is there, described by `dmar` in the next boot's tables; NULL: it goes. */
void pc_iommu_attach(Machine *m, const PcIommu *iommu, const struct AcpiDmar *dmar);

/*
 * -serial: makes the next of COM1..COM4 on `chr`.  After machine_start().  False
 * with *error when the machine has no ISA bus or all four are taken.
 */
bool pc_add_serial(Machine *m, Chardev *chr, GError **error);

#endif
