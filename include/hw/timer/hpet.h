/* SPDX-License-Identifier: GPL-2.0-or-later */
/* High precision event timers.  Context: home loop's lock. */
#ifndef HW_TIMER_HPET_H
#define HW_TIMER_HPET_H

#include "core/machine.h"

#define HPET_BASE     0xfed00000ull
#define HPET_TIMERS   3
#define HPET_PINS     24
#define HPET_BLOCK_ID 0x8086a201u

typedef struct HpetTimer {
    uint64_t config, comparator;
    uint64_t period; /* what was last written to the comparator, in periodic mode */
    bool value_set;  /* VAL_SET was written: the next comparator write sets the accumulator */
    int64_t next;    /* guest ns of the next match, or -1 */
    Timer *timer;
    struct Hpet *hpet;
} HpetTimer;

typedef struct Hpet {
    Device dev;
    MemRegion *memory;        /* wiring, set before start; borrowed */
    IrqLine *pins[HPET_PINS]; /* wiring: interrupt inputs by IO-APIC pin */
    IrqLine *legacy[2];       /* wiring: interrupts 0 and 8 under legacy replacement */
    void (*legacy_changed)(void *opaque, bool on);
    void *opaque;
    MemRegion *region;
    uint64_t config, status;
    uint64_t counter; /* while halted; else at `start` */
    int64_t start;
    HpetTimer timers[HPET_TIMERS];
} Hpet;

extern const DeviceModel hpet_model;

#endif
