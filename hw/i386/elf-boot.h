/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Boot of kernels that are entered in 32-bit protected mode without paging: Multiboot 1 and PVH.  Context: main loop. */
#ifndef HW_I386_ELF_BOOT_H
#define HW_I386_ELF_BOOT_H

#include "linux-boot.h"

typedef struct ElfBoot ElfBoot;

/* Is the file at `path` one of these kernels?  False too when it cannot be read. */
bool elf_boot_is(const char *path);
/*
 * Reads and checks the files of `config` (its kernel is one) against `info`: kernel, and the modules of -initrd.  NULL
 * with *error naming the option.  config and info are not kept.
 */
ElfBoot *elf_boot_new(const BootConfig *config, const LinuxBootInfo *info, GError **error);
void elf_boot_free(ElfBoot *boot);
/* Writes everything to guest memory. */
bool elf_boot_load(ElfBoot *boot, AddressSpace *memory, GError **error);
/*
 * For a boot by firmware (info->firmware): the two items that the option ROM elfboot (pc-bios/) works by, a plan and the bytes
 * of all parts.  The caller's.
 */
void elf_boot_pack(const ElfBoot *boot, GBytes **plan, GBytes **data);
/* Puts a freshly reset CPU at the kernel's entry point. */
bool elf_boot_set_cpu(const ElfBoot *boot, Vcpu *vcpu, GError **error);

#endif
