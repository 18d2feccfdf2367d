/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bodies of SRAT and SLIT, appended behind their headers; config->numa is there. */
#ifndef HW_I386_ACPI_NUMA_H
#define HW_I386_ACPI_NUMA_H

#include "acpi-build.h"

void acpi_numa_srat(GByteArray *b, const AcpiConfig *config);
void acpi_numa_slit(GByteArray *b, const AcpiConfig *config);

#endif
