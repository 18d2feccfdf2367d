/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SMBIOS tables of a PC.  Pure: bytes from a description. */
#ifndef HW_I386_SMBIOS_H
#define HW_I386_SMBIOS_H

#include "core/machine.h"

typedef struct SmbiosConfig {
    const char *product, *version; /* of the system, when -smbios type=1 says nothing */
    const char *cpu_version;
    CpuTopology topology;
    uint64_t ram_low, ram_high;    /* bytes below and from 4 GiB */
    const uint8_t *uuid;           /* 16 bytes in the order they are written */
    const GPtrArray *given;        /* of struct json_object *: -smbios, checked by smbios_check(); NULL: none */
} SmbiosConfig;

typedef enum SmbiosVersion { SMBIOS_2_1, SMBIOS_3_0 } SmbiosVersion;

/* Is that what -smbios takes?  Values are strings. */
bool smbios_check(struct json_object *opts, GError **error);
/* The structures, ending with type 127. */
GByteArray *smbios_build_tables(const SmbiosConfig *config);
/* The entry point of tables at guest address `address`; `tables` is what smbios_build_tables() gave. */
GByteArray *smbios_build_anchor(const GByteArray *tables, SmbiosVersion version, uint64_t address);

#endif
