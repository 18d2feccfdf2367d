/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hot plug of PCI functions by ACPI, a part of the PIIX4's or ICH9's power management.  Context: main loop's lock.
 */
#ifndef HW_ACPI_PCI_HOTPLUG_H
#define HW_ACPI_PCI_HOTPLUG_H

#include "hw/acpi/ich9-pm.h"
#include "hw/pci/pci.h"

#define ACPI_PCIHP_PIIX4_PORT 0xae00
#define ACPI_PCIHP_ICH9_PORT  0x0cc0
#define ACPI_PCIHP_SIZE       0x14
#define ACPI_PCIHP_BUSES      32 /* that can have it */
#define ACPI_PCIHP_DEPTH      8  /* bridges above such a bus */
#define ACPI_PCIHP_GPE        1

/* A bus whose slots the guest's tables describe. */
typedef struct AcpiPciHotplugBus {
    uint8_t depth;                  /* bridges between the root bus and this one */
    uint8_t path[ACPI_PCIHP_DEPTH]; /* devfn of each, from the root bus */
    uint32_t slots;                 /* those that can be filled and emptied, one bit each, as the others */
    uint32_t up, down;              /* filled; to be emptied: told to the guest, and not yet done */
    uint32_t ejected;               /* the guest has let go; they are emptied when the main loop comes to it */
} AcpiPciHotplugBus;

typedef struct AcpiPciHotplug {
    /* wiring, set before acpi_pci_hotplug_start() */
    Device *dev; /* that it is a part of */
    uint16_t port;
    /* properties: which buses have it */
    bool root, bridges; /* the root bus; those behind conventional bridges */
    bool ports;         /* those of root ports, in place of their own hot plug */
    Ich9Pm *pm;         /* NULL: not connected */
    MemRegion *region;  /* NULL: no bus can have it */
    LoopBh *bh;
    uint32_t select, count;
    AcpiPciHotplugBus buses[ACPI_PCIHP_BUSES];
} AcpiPciHotplug;

/* For a STATE_STRUCT of the device; what was loaded decides which buses have hot plug, as the guest's tables say it. */
extern const StateTable acpi_pci_hotplug_state;

/* Makes the registers, unless no bus is to have hot plug. */
void acpi_pci_hotplug_start(AcpiPciHotplug *s);
void acpi_pci_hotplug_stop(AcpiPciHotplug *s);
/*
 * The machine was reset: what the guest was to let go of goes, and all buses that are there now are numbered, for the tables
 * that are made next.
 */
void acpi_pci_hotplug_reset(AcpiPciHotplug *s);
/* A stream was loaded whose guest knows of no hot plug. */
void acpi_pci_hotplug_forget(AcpiPciHotplug *s);

#endif
