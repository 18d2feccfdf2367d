/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Firmware configuration: what firmware and kernel are told of the machine, as numbered items and named files.
 * Context: main loop's lock.
 */
#ifndef HW_NVRAM_FW_CFG_H
#define HW_NVRAM_FW_CFG_H

#include "core/machine.h"

/* Well-known items. */
enum {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_KERNEL_ADDR = 0x07,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_INITRD_ADDR = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_ENTRY = 0x10,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_ADDR = 0x13,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_ADDR = 0x16,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_IRQ0_OVERRIDE = 0x8002,
    FW_CFG_HPET = 0x8004,
};

#define FW_CFG_NAME_MAX BOOT_FILE_NAME_MAX
#define FW_CFG_IO_BASE  0x510
#define FW_CFG_IO_SIZE  12

typedef struct FwCfg {
    Device dev;
    MemRegion *io;        /* wiring, set before start: port space; borrowed */
    AddressSpace *memory; /* wiring: what DMA reaches; borrowed */
    MemRegion *port_region, *dma_region;
    GHashTable *items; /* of GBytes *, by key */
    GPtrArray *files;  /* of char *, names in the order of their keys */
    uint64_t dma_addr;
    uint32_t offset; /* of the next byte of the selected item */
    uint16_t key;
} FwCfg;

extern const DeviceModel fw_cfg_model;

/* Sets the contents of an item; takes the reference of `data`. */
void fw_cfg_set(FwCfg *s, uint16_t key, GBytes *data);
/* The same for a little-endian number of 2, 4 or 8 bytes. */
void fw_cfg_set_int(FwCfg *s, uint16_t key, uint64_t val, unsigned bytes);
/*
 * Sets the contents of a file, which is made when there is none of that name; takes the reference of `data`.  False
 * with *error when the name is empty or too long, or the directory is full.
 */
bool fw_cfg_set_file(FwCfg *s, const char *name, GBytes *data, GError **error);
bool fw_cfg_has_file(const FwCfg *s, const char *name);

#endif
