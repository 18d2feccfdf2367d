/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ISA bridge of the PIIX3 and power management function of the PIIX4.  Context: main loop's lock. */
#ifndef HW_ISA_PIIX3_H
#define HW_ISA_PIIX3_H

#include "hw/acpi/ich9-pm.h"
#include "hw/acpi/pci-hotplug.h"
#include "hw/isa/smbus-host.h"
#include "hw/pci/pci.h"

#define PIIX3_PIRQ_COUNT 4

typedef struct Piix3 {
    PciDevice pci;
    void (*pirq_changed)(void *opaque); /* levels or routing of PIRQA..PIRQD changed */
    void *opaque;
    uint16_t pirq_count[PIIX3_PIRQ_COUNT]; /* functions that assert it */
    uint16_t pirq_saved[PIIX3_PIRQ_COUNT]; /* what a stream says of it */
} Piix3;

typedef struct Piix4Pm {
    PciDevice pci;
    Ich9Pm *pm;          /* the registers; borrowed */
    MemRegion *window;   /* as much of them as the PIIX4 has */
    uint16_t mapped;     /* port; 0: nowhere */
    AcpiPciHotplug hotplug;
    SmbusHost smbus;
    MemRegion *smbus_region;
    uint16_t smbus_mapped; /* port; 0: nowhere */
} Piix4Pm;

extern const PciModel piix3_model, piix4_pm_model;

void piix3_connect(Piix3 *s, void (*pirq_changed)(void *opaque), void *opaque);
/* The PIRQ (0: A) of pin 0..3 of a slot of the root bus, as QEMU's pc wires them. */
static inline unsigned piix3_slot_pirq(unsigned slot, unsigned pin)
{
    return (slot + pin + 3) % PIIX3_PIRQ_COUNT;
}

/* A function asserts or releases PIRQ n (on change). */
void piix3_set_pirq(Piix3 *s, unsigned n, int level);
/* Bits of PIRQA..D that are asserted. */
uint8_t piix3_pirq_levels(const Piix3 *s);
/* The ISA interrupt PIRQ n is routed to, or -1. */
int piix3_pirq_route(const Piix3 *s, unsigned n);
/* PIRQs go where firmware sends them: 10, 10, 11, 11. */
void piix3_route_pirqs(Piix3 *s);

void piix4_pm_connect(Piix4Pm *s, Ich9Pm *pm);
/* Registers at the usual port, as firmware leaves them. */
void piix4_pm_open(PciDevice *dev);

#endif
