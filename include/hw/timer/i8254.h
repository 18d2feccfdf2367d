/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8254 programmable interval timer.  Context: home loop's lock. */
#ifndef HW_TIMER_I8254_H
#define HW_TIMER_I8254_H

#include "core/machine.h"

#define PIT_HZ 1193182

typedef struct PitCounter {
    uint32_t count;        /* reload value, 1..65536 */
    uint16_t latched;      /* count latched by a latch or read-back command */
    uint8_t latched_bytes; /* bytes of `latched` still to be read: 0, 1, 2 */
    uint8_t status;        /* latched status byte */
    bool status_latched;
    bool read_high, write_high; /* second byte of a pair comes next */
    uint8_t write_low;
    uint8_t access; /* RW field: 1 low, 2 high, 3 low then high */
    uint8_t mode;   /* 0..5 */
    bool bcd, gate, loaded;
    int64_t start; /* guest ns at which the present count began */
} PitCounter;

typedef struct Pit {
    Device dev;
    MemRegion *io; /* wiring, set before start; borrowed */
    IrqLine *irq;  /* wiring: OUT of counter 0 */
    MemRegion *region;
    PitCounter counter[3];
    int64_t next; /* guest ns of the next rising edge of OUT 0, or -1 */
    bool irq_off; /* HPET legacy replacement took the line */
    bool line;    /* its level */
    Timer *timer;
} Pit;

extern const DeviceModel i8254_model;

/* OUT of a counter now. */
bool i8254_out(Pit *pit, unsigned n);
/* GATE input of a counter. */
void i8254_set_gate(Pit *pit, unsigned n, bool level);
/* HPET legacy replacement routing: counter 0 no longer reaches the interrupt controllers. */
void i8254_disable_irq(Pit *pit, bool off);

#endif
