/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 16550A UART as a part of a device on some bus: eight registers, a character device, an interrupt line.
 * Context: the device's home loop, which is the main loop.
 */
#ifndef HW_CHAR_UART_H
#define HW_CHAR_UART_H

#include "chardev/chardev.h"

#define UART_FIFO_SIZE 16
#define UART_REGS      8 /* bytes of register space */

typedef struct Uart {
    Device *dev;     /* the device it is a part of: for errors and time */
    Chardev *chr;    /* NULL: nothing is plugged in */
    IrqLine *line;
    bool out2_gates; /* MCR OUT2 enables the interrupt line */
    Timer *timeout;  /* character timeout of the receive FIFO */
    DeviceWake wake; /* input that came while the guest stood */
    int64_t char_ns; /* time of one character at the programmed rate */
    uint8_t ier, iir, fcr, lcr, mcr, lsr, msr, scr;
    uint16_t divisor;
    uint8_t rx[UART_FIFO_SIZE];
    uint8_t rx_head, rx_count;
    bool thr_ipending, timeout_ipending;
} Uart;

/* Attaches to chr (may be NULL) and drives line; both borrowed until uart_stop().  On false nothing is left behind. */
bool uart_start(Uart *s, Device *dev, Chardev *chr, IrqLine *line, bool out2_gates, GError **error);
void uart_reset(Uart *s);
void uart_stop(Uart *s);

/* The registers; opaque is the Uart.  Byte accesses at 0..7. */
extern const MemOps uart_ops;
/* A device saves it with STATE_FIELD_STRUCT. */
extern const StateTable uart_state;

#endif
