/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pair of 8237 DMA controllers of a PC/AT with its page registers.  Context: home loop's lock. */
#ifndef HW_ISA_I8237_H
#define HW_ISA_I8237_H

#include "core/machine.h"

#define I8237_PAGE_COUNT 15 /* ports 81h to 8Fh */

typedef struct I8237Channel {
    uint16_t base_address, base_count; /* as software wrote them */
    uint16_t address, count;           /* current */
    uint8_t mode;
} I8237Channel;

typedef struct I8237 {
    I8237Channel channels[4];
    uint8_t command, mask, request, status;
    bool high; /* the next access to an address or count is that to its upper byte */
} I8237;

typedef struct I8237Pair {
    Device dev;
    MemRegion *io; /* wiring, set before start; borrowed */
    MemRegion *regions[3];
    I8237 units[2]; /* channels 0 to 3, 4 to 7 */
    uint8_t pages[I8237_PAGE_COUNT];
} I8237Pair;

extern const DeviceModel i8237_model;

#endif
