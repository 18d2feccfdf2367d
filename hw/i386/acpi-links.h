/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI interrupts in the DSDT.  Each appends terms; which devices enclose them is the caller's. */
#ifndef HW_I386_ACPI_LINKS_H
#define HW_I386_ACPI_LINKS_H

#include "acpi-build.h"

/* The interrupts that a link can have. */
extern const uint32_t acpi_link_irqs[3];

/* PICF and _PIC: how the system says that it uses the IO-APIC. */
void acpi_links_pic(GByteArray *b);
/* In \_SB, before the bus. */
void acpi_links_devices(GByteArray *b, const AcpiConfig *config);
/* In the ISA bridge, \_SB.PCI0.ISA: the routing registers. */
void acpi_links_registers(GByteArray *b, const AcpiConfig *config);
/* In the root bus. */
void acpi_links_prt(GByteArray *b, const AcpiConfig *config);

#endif
