/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Option ROMs of our own, assembled in the build. */
#ifndef PC_BIOS_ROMS_H
#define PC_BIOS_ROMS_H

#include <stddef.h>
#include <stdint.h>

/* Boots the Linux kernel in fw_cfg. */
extern const uint8_t linuxboot_rom[];
extern const size_t linuxboot_rom_size; /* bytes */
/* The same for kernels that are entered in protected mode. */
extern const uint8_t elfboot_rom[];
extern const size_t elfboot_rom_size;

#endif
