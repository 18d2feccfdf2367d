/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The MC146818 real-time clock with CMOS memory.  Context: home loop's lock. */
#ifndef HW_RTC_MC146818_H
#define HW_RTC_MC146818_H

#include "core/machine.h"

#define RTC_CMOS_SIZE 128

typedef struct Rtc {
    Device dev;
    MemRegion *io;              /* wiring, set before start; borrowed */
    IrqLine *irq;               /* wiring */
    uint64_t ram_low, ram_high; /* wiring: bytes below and above 4 GiB, for the memory size bytes */
    MemRegion *region;
    uint8_t index;
    uint8_t cmos[RTC_CMOS_SIZE];
    int64_t offset;        /* guest's clock minus the reference of -rtc clock=, ns */
    int64_t moving_offset; /* the same in the saved state */
    int64_t update_seen;   /* guest second whose update is reflected in register C */
    int64_t periodic_next; /* guest-time ns, or -1 */
    unsigned lost; /* periodic interrupts to make up for */
    Timer *update, *periodic;
} Rtc;

extern const DeviceModel mc146818_model;

#endif
