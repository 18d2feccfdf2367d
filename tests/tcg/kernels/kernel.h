/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the test kernels share: the serial port, and guarded calls: a function
 * runs, and the exception it meets (or none) is its result.
 */
#ifndef TESTS_TCG_KERNELS_KERNEL_H
#define TESTS_TCG_KERNELS_KERNEL_H

#include <stdint.h>

enum { NO_EXCEPTION = 256, COM1 = 0x3f8 };

/* Filled when a guarded call ends: in what, and the frame of the exception. */
typedef struct Fault {
    unsigned long vector, error, ip, cs, flags, sp, ss, cr2;
} Fault;

extern Fault fault;

static inline void outb(uint16_t port, uint8_t val)
{
    __asm__ volatile("outb %0, %1" : : "a"(val), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t val;

    __asm__ volatile("inb %1, %0" : "=a"(val) : "Nd"(port));
    return val;
}

static inline void put_char(char c)
{
    while (!(inb(COM1 + 5) & 0x20)) {
    }
    outb(COM1, (uint8_t)c);
}

static inline void put_text(const char *text)
{
    while (*text) {
        put_char(*text++);
    }
}

static inline void put_hex(unsigned long val)
{
    unsigned digits = 1;

    while (digits < 2 * sizeof(val) && val >> (4 * digits)) {
        digits++;
    }
    while (digits--) {
        put_char("0123456789abcdef"[val >> (4 * digits) & 15]);
    }
}

/* name: key=value key=value ... */
static inline void put_value(const char *key, unsigned long val)
{
    put_char(' ');
    put_text(key);
    put_char('=');
    put_hex(val);
}

#endif
