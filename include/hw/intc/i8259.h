/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PC's pair of 8259A interrupt controllers.  Context: home loop's lock. */
#ifndef HW_INTC_I8259_H
#define HW_INTC_I8259_H

#include "core/machine.h"

/* One 8259A. */
typedef struct PicChip {
    uint8_t irr, isr, imr; /* as the data sheet names them, one bit an input */
    uint8_t lines;         /* present input levels */
    uint8_t elcr;          /* 1: level triggered */
    uint8_t elcr_mask;     /* bits of elcr software may set */
    uint8_t icw2;          /* vector base */
    uint8_t icw3;
    uint8_t lowest;    /* input with the lowest priority */
    uint8_t init_step; /* ICW expected next (2..4), 0: initialised */
    bool icw4_needed, single, auto_eoi, rotate_auto_eoi, special_nested, special_mask, read_isr, poll;
} PicChip;

typedef struct PicPair {
    Device dev;
    MemRegion *io;   /* wiring, set before start: port space; borrowed */
    IrqLine *intr;   /* wiring: INT output */
    PicChip chip[2]; /* master, slave on master input 2 */
    MemRegion *regions[3];
    IrqLine **inputs; /* 16 */
    uint64_t counts[16]; /* how often each input rose: for the monitor, not saved */
} PicPair;

extern const DeviceModel i8259_model;

/* Input line 0..15. */
void i8259_set_irq(PicPair *pic, unsigned irq, int level);
/* The CPU's interrupt acknowledge cycle: the vector (a spurious one when nothing is pending). */
int i8259_ack(PicPair *pic);
/* True while INT is asserted. */
bool i8259_pending(const PicPair *pic);

#endif
