/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The IO-APIC: 24 pins to messages for local APICs.  Context: home loop's lock. */
#ifndef HW_INTC_IOAPIC_H
#define HW_INTC_IOAPIC_H

#include "hw/intc/apic.h"

#define IOAPIC_PINS 24
#define IOAPIC_BASE 0xfec00000ull

/*
 * The message of a redirection entry, for an IOMMU to change; msg is as without one.  False: blocked.
 */
typedef bool IoApicRemapFn(void *opaque, uint64_t entry, ApicMessage *msg);

typedef struct IoApic {
    Device dev;
    MemRegion *memory; /* wiring, set before start: where to map IOAPIC_BASE; borrowed */
    ApicBus *bus;      /* wiring; borrowed */
    IoApicRemapFn *remap; /* NULL: messages go as they are */
    void *remap_opaque;
    MemRegion *region; /* NULL: the registers are an accelerator's */
    IrqLine **inputs;
    uint8_t ioregsel;
    uint32_t ioapicid;
    uint32_t levels; /* present input levels, one bit a pin */
    uint64_t ioredtbl[IOAPIC_PINS];
    uint64_t counts[IOAPIC_PINS]; /* how often each input rose: for the monitor, not saved */
} IoApic;

extern const DeviceModel ioapic_model;

void ioapic_set_irq(IoApic *s, unsigned pin, int level);
/* A local APIC completed `vector`. */
void ioapic_eoi(IoApic *s, uint8_t vector);

#endif
