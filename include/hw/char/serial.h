/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 16550A UART on the ISA bus.  Context: home loop's lock. */
#ifndef HW_CHAR_SERIAL_H
#define HW_CHAR_SERIAL_H

#include "hw/char/uart.h"
#include "hw/isa/isa.h"

typedef struct Serial {
    Device dev;
    /* properties */
    Chardev *chr;
    uint32_t index, iobase, irq; /* UINT32_MAX: the first free; by index */

    IsaBus *bus;
    IrqLine *line;
    MemRegion *region;
    Uart uart;
} Serial;

extern const DeviceModel isa_serial_model;

#endif
