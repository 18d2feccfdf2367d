/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ICH9's LPC bridge: PCI interrupt routing and the address of the PM block.  Context: main loop's lock.
 */
#ifndef HW_ISA_ICH9_LPC_H
#define HW_ISA_ICH9_LPC_H

#include "hw/acpi/ich9-pm.h"
#include "hw/pci/pci.h"

#define ICH9_PIRQ_COUNT 8
#define ICH9_PMBASE     0x600

typedef struct Ich9Lpc {
    PciDevice pci;
    /* wiring, set by the board after creation */
    Ich9Pm *pm;
    void (*pirq_changed)(void *opaque); /* levels or routing of PIRQA..PIRQH changed */
    void *opaque;
    uint16_t pm_mapped;                   /* port the PM block is mapped at; 0: nowhere */
    uint16_t pirq_count[ICH9_PIRQ_COUNT]; /* functions that assert it */
    uint16_t pirq_saved[ICH9_PIRQ_COUNT]; /* what a stream says of it */
} Ich9Lpc;

extern const PciModel ich9_lpc_model;

/* Attaches the PM block and the receiver of PIRQ changes. */
void ich9_lpc_connect(Ich9Lpc *s, Ich9Pm *pm, void (*pirq_changed)(void *opaque), void *opaque);
/* A function on the root bus asserts or releases PIRQ n (on change). */
void ich9_lpc_set_pirq(Ich9Lpc *s, unsigned n, int level);
/* Bits of PIRQA..H that are asserted. */
uint8_t ich9_lpc_pirq_levels(const Ich9Lpc *s);
/* The ISA interrupt PIRQ n is routed to, or -1. */
int ich9_lpc_pirq_route(const Ich9Lpc *s, unsigned n);
/* Takes the PM block out of port space: before it goes away. */
void ich9_lpc_disconnect(Ich9Lpc *s);

#endif
