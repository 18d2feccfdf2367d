/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Boot of a Linux kernel, directly or through the option ROM in pc-bios.  Context: main loop. */
#ifndef HW_I386_LINUX_BOOT_H
#define HW_I386_LINUX_BOOT_H

#include "accel/accel.h"
#include "core/machine.h"

#define LINUX_BOOT_E820_MAX 16

typedef enum E820Type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3 } E820Type;

typedef struct E820Entry {
    uint64_t addr, size;
    E820Type type;
} E820Entry;

/* What the kernel is told of the machine. */
typedef struct LinuxBootInfo {
    uint64_t ram_low; /* end of RAM below 4 GiB that the kernel and initrd may use */
    uint64_t uncached; /* where memory ends and devices begin, a power of two below 4 GiB */
    bool firmware;    /* it is firmware that boots it: rsdp, e820 are not used */
    uint64_t rsdp;    /* guest address of the ACPI RSDP */
    E820Entry e820[LINUX_BOOT_E820_MAX];
    unsigned e820_count;
} LinuxBootInfo;

typedef struct LinuxBoot LinuxBoot;

/*
 * Reads and checks the files of `config` (its kernel is set) against `info`.
 * NULL with *error naming the option.  config and info are not kept.
 */
LinuxBoot *linux_boot_new(const BootConfig *config, const LinuxBootInfo *info, GError **error);
void linux_boot_free(LinuxBoot *boot);
/* Writes everything to guest memory. */
bool linux_boot_load(LinuxBoot *boot, AddressSpace *memory, GError **error);
/* Puts a freshly reset CPU at the kernel's 64-bit entry point. */
bool linux_boot_set_cpu(const LinuxBoot *boot, Vcpu *vcpu, GError **error);

/* For firmware: what goes where.  data: the caller's reference; of an initrd that is not there, empty. */
enum { LINUX_BOOT_KERNEL, LINUX_BOOT_INITRD, LINUX_BOOT_CMDLINE, LINUX_BOOT_SETUP, LINUX_BOOT_PARTS };

typedef struct LinuxBootPart {
    uint64_t addr;
    GBytes *data;
} LinuxBootPart;

void linux_boot_parts(const LinuxBoot *boot, LinuxBootPart parts[LINUX_BOOT_PARTS]);

#endif
