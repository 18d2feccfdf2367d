/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ACPI tables of a PC.  Pure: bytes from a description. */
#ifndef HW_I386_ACPI_BUILD_H
#define HW_I386_ACPI_BUILD_H

#include "core/cpu-topology.h"
#include "core/numa.h"
#include "hw/acpi/pci-hotplug.h"
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define ACPI_RSDP_SIZE 36

/* An IOMMU for the DMAR table; base 0: none. */
typedef struct AcpiDmar {
    uint64_t base;     /* of its registers */
    bool remap;        /* interrupts too */
    uint8_t width;     /* bits of guest-physical addresses */
    uint16_t ioapic;   /* requester id of the IO-APIC */
} AcpiDmar;

typedef enum AcpiChipset { ACPI_CHIPSET_Q35, ACPI_CHIPSET_I440FX } AcpiChipset;

typedef struct AcpiConfig {
    AcpiChipset chipset;
    uint64_t base; /* guest address the tables will be at, 64-byte aligned, below 4 GiB */
    CpuTopology topology; /* of the CPUs */
    bool hpet;
    unsigned com_ports;               /* bit n: COMn+1 exists at its usual port */
    uint64_t pci32_first, pci32_last; /* memory windows of the root bus */
    uint64_t pci64_first, pci64_last;
    AcpiDmar dmar;
    const NumaConfig *numa; /* NULL: no nodes */
    uint64_t ram_low;       /* bytes of RAM below 4 GiB; the others begin there */
    const AcpiPciHotplug *hotplug; /* whose buses have it, and where its registers are; NULL: none */
    uint16_t viot; /* bus, device and function of a virtio IOMMU; 0: none */
} AcpiConfig;

/* A port and interrupt of COM1..COM4. */
typedef struct AcpiComPort {
    uint16_t port;
    uint8_t irq;
} AcpiComPort;
extern const AcpiComPort acpi_com_ports[4];

/*
 * FACS, DSDT, FADT, MADT, MCFG, HPET, DMAR, VIOT, SRAT, SLIT and XSDT for guest address config->base, and
 * the RSDP that points to them.  The caller unrefs the array.
 */
GByteArray *acpi_build_tables(const AcpiConfig *config, uint8_t rsdp[ACPI_RSDP_SIZE]);

/*
 * Commands for firmware that places the tables of acpi_build_tables() with base 0 itself: it allocates the files
 * `tables_file` and `rsdp_file`, adds their addresses to the pointers in them, and computes the checksums, which are set to 0
 * here: some firmware sums them up too.  The caller unrefs the array.
 */
GByteArray *acpi_build_loader(GByteArray *tables, uint8_t rsdp[ACPI_RSDP_SIZE], const char *tables_file, const char *rsdp_file);

#endif
