/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a PC's firmware is and what it is told.  Context: main loop. */
#ifndef HW_I386_PC_FIRMWARE_H
#define HW_I386_PC_FIRMWARE_H

#include "acpi-build.h"
#include "elf-boot.h"
#include "hw/i386/smbios.h"
#include "hw/nvram/fw-cfg.h"
#include "linux-boot.h"

typedef struct PcRom PcRom;

/*
 * Memory for option ROMs below 1 MiB of `pci_memory`; with `firmware` also m->boot.bios, or the firmware that is
 * installed, at the end of the first 4 GiB, and its last 128 KiB below 1 MiB.  NULL with *error when it cannot be read.
 */
PcRom *pc_rom_new(Machine *m, MemRegion *pci_memory, bool firmware, GError **error);
void pc_rom_free(PcRom *rom);

/* A PC as firmware is told of it. */
typedef struct PcDescription {
    AcpiConfig acpi; /* base: for a boot without firmware */
    SmbiosConfig smbios;
    SmbiosVersion smbios_version;
    const LinuxBootInfo *memory;
} PcDescription;

/* Fills the items and files of fw_cfg. */
bool pc_firmware_describe(FwCfg *fw_cfg, const PcDescription *pc, GError **error);

/* The parts of a kernel as items, and the option ROM that boots it. */
bool pc_firmware_add_kernel(FwCfg *fw_cfg, const LinuxBoot *kernel, GError **error);

/* The same for a kernel of another kind. */
bool pc_firmware_add_elf_kernel(FwCfg *fw_cfg, const ElfBoot *kernel, GError **error);

/* Names of the option ROMs, files of fw_cfg. */
#define PC_KERNEL_ROM     "genroms/linuxboot_dma.bin"
#define PC_ELF_KERNEL_ROM "genroms/multiboot_dma.bin"

/* The file "bootorder": paths of functions and disks with a bootindex, by it, each ending with a newline.  g_free. */
char *pc_boot_order(Machine *m);

#endif
