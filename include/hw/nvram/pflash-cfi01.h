/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parallel NOR flash with Intel's command set: what a board wires of it.  Context: main loop's lock. */
#ifndef HW_NVRAM_PFLASH_CFI01_H
#define HW_NVRAM_PFLASH_CFI01_H

#include "block/block.h"
#include "core/device.h"

#define PFLASH_BLOCK       4096u /* bytes that are erased at once; the device's size is a multiple of it */
#define PFLASH_MAX         (8u << 20)
#define PFLASH_BLOCKS_MAX  (PFLASH_MAX / PFLASH_BLOCK)
#define PFLASH_BUFFER_SIZE 256u

typedef struct Pflash {
    Device dev;
    BlockBackend *blk; /* property: what it holds; the user of the node */
    bool secure;       /* property: takes commands of CPUs in system management mode only */

    /* The board's, before the start. */
    MemRegion *parent;
    HwAddr base;          /* of byte 0 in parent */
    HwAddr shadow_base;   /* its last shadow_size bytes are seen there too, and cannot be written there; 0: no such place */
    uint64_t shadow_size;

    uint32_t size;
    uint8_t *storage;
    MemRegion *container, *array, *command, *shadow;
    /* what is not in the back end yet: a byte for each block */
    uint8_t dirty[PFLASH_BLOCKS_MAX];
    bool writing;

    uint8_t view, step; /* PflashView, PflashStep */
    uint8_t status;
    uint32_t buffer_base, buffer_count, buffer_left; /* of a write to the buffer: first byte, bytes, those to come */
    uint8_t buffer[PFLASH_BUFFER_SIZE];
    uint8_t locks[PFLASH_BLOCKS_MAX / 8];
    uint8_t *saved; /* the contents in a stream */
    uint32_t saved_size;
} Pflash;

extern const DeviceModel pflash_cfi01_model;

#endif
