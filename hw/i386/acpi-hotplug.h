/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hot plug of PCI in the DSDT. */
#ifndef HW_I386_ACPI_HOTPLUG_H
#define HW_I386_ACPI_HOTPLUG_H

#include "acpi-build.h"

/* In a PCI Express root bus: what of its features the system may control. */
void acpi_hotplug_osc(GByteArray *b, const AcpiConfig *config);
/* Outside any scope, after the root bus: slots of the buses that have hot plug, and the methods that serve them. */
void acpi_hotplug_methods(GByteArray *b, const AcpiConfig *config);

#endif
