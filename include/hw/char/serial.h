/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 16550A UART on the ISA bus.  Context: home loop's lock. */
#ifndef HW_CHAR_SERIAL_H
#define HW_CHAR_SERIAL_H

#include "chardev/chardev.h"
#include "hw/isa/isa.h"

#define SERIAL_FIFO_SIZE 16

typedef struct Serial {
    Device dev;
    /* properties */
    Chardev *chr;
    uint32_t index, iobase, irq; /* UINT32_MAX: by index */

    IsaBus *bus;
    IrqLine *line;
    MemRegion *region;
    Timer *timeout;  /* character timeout of the receive FIFO */
    int64_t char_ns; /* time of one character at the programmed rate */
    uint8_t ier, iir, fcr, lcr, mcr, lsr, msr, scr;
    uint16_t divisor;
    uint8_t rx[SERIAL_FIFO_SIZE];
    uint8_t rx_head, rx_count;
    bool thr_ipending, timeout_ipending;
} Serial;

extern const DeviceModel isa_serial_model;

#endif
