/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ICH9's LPC bridge: PCI interrupt routing, the address of the PM block, the TCO timer.  Context: main loop's lock.
 */
#ifndef HW_ISA_ICH9_LPC_H
#define HW_ISA_ICH9_LPC_H

#include "hw/acpi/ich9-pm.h"
#include "hw/acpi/ich9-tco.h"
#include "hw/acpi/pci-hotplug.h"
#include "hw/pci/pci.h"

#define ICH9_PIRQ_COUNT 8
#define ICH9_PMBASE     0x600
#define ICH9_RCBA       0xfed1c000u
#define ICH9_RCBA_SIZE  0x4000

typedef struct Ich9Lpc {
    PciDevice pci;
    /* wiring, set by the board after creation */
    Ich9Pm *pm;
    void (*pirq_changed)(void *opaque); /* levels or routing of PIRQA..PIRQH changed */
    void (*smi)(void *opaque);          /* the TCO timer asks for an SMI; NULL: no system management mode */
    void *opaque;
    bool noreboot; /* property */
    int bridge_hotplug; /* property: OnOffAuto */
    AcpiPciHotplug hotplug;
    Ich9Tco tco;
    MemRegion *rcba; /* chipset configuration registers */
    uint32_t rcba_mapped; /* address they are at; 0: nowhere */
    uint32_t gcs;
    uint16_t pm_mapped;                   /* port the PM block is mapped at; 0: nowhere */
    uint16_t pirq_count[ICH9_PIRQ_COUNT]; /* functions that assert it */
    uint16_t pirq_saved[ICH9_PIRQ_COUNT]; /* what a stream says of it */
    bool by_slot; /* until reset: the guest comes from a state before version 3, and knows PIRQs by slot + pin */
} Ich9Lpc;

extern const PciModel ich9_lpc_model;

/* Attaches the PM block and the receivers of PIRQ changes and SMIs (NULL: none). */
void ich9_lpc_connect(Ich9Lpc *s, Ich9Pm *pm, void (*pirq_changed)(void *opaque), void (*smi)(void *opaque), void *opaque);
/* Instead of firmware: puts the chipset configuration registers where it would. */
void ich9_lpc_open_rcba(Ich9Lpc *s);
/*
 * The PIRQ (0: A) of pin 0..3 of a slot of the root bus, as QEMU's q35 wires them: the chip set's own functions, devices 25 to 31, have
 * the first four, but for the bridge to PCI at 30; slots share the others.
 */
static inline unsigned ich9_slot_pirq(unsigned slot, unsigned pin)
{
    if (slot < 25) {
        return 4 + (slot + pin) % 4;
    }
    return slot == 30 ? 4 + pin : pin;
}

/* The same of this machine now. */
unsigned ich9_lpc_slot_pirq(const Ich9Lpc *s, unsigned slot, unsigned pin);
/* A function on the root bus asserts or releases PIRQ n (on change). */
void ich9_lpc_set_pirq(Ich9Lpc *s, unsigned n, int level);
/* Bits of PIRQA..H that are asserted. */
uint8_t ich9_lpc_pirq_levels(const Ich9Lpc *s);
/* The ISA interrupt PIRQ n is routed to, or -1. */
int ich9_lpc_pirq_route(const Ich9Lpc *s, unsigned n);
/* Takes the PM block out of port space: before it goes away. */
void ich9_lpc_disconnect(Ich9Lpc *s);

#endif
