/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine of no kind in particular with 64 KiB of RAM and one PCI function, for tests that storm models. */
#ifndef TESTS_MODEL_BENCH_H
#define TESTS_MODEL_BENCH_H

#include "hw/pci/pci.h"

#define BENCH_RAM_SIZE 0x10000u
#define BENCH_MEM_BASE 0xe0000000u /* BAR n at BENCH_MEM_BASE + n * BENCH_BAR_STEP */
#define BENCH_BAR_STEP 0x01000000u
#define BENCH_IO_BASE  0xc000u
#define BENCH_IO_STEP  0x100u

typedef struct Bench {
    Machine *m;
    PciBus *bus;
    PciDevice *dev;
    uint8_t *ram;
    MemRegion *ram_region;
    unsigned interrupts; /* messages, and times the line went up */
} Bench;

/* A machine with guest time that stands still, its main loop locked; then back ends may be added. */
void bench_start(Bench *b);
/* The function; pairs: name, text, ..., NULL of at most two properties. */
void bench_add(Bench *b, const PciModel *model, const char *const *pairs);
/* BARs at their places, everything enabled. */
void bench_map(Bench *b);
void bench_stop(Bench *b);

uint32_t bench_chance(uint64_t *seed);
/* Small numbers, addresses in RAM, addresses of registers, bit patterns. */
uint64_t bench_value(uint64_t *seed);

/* Saves a, loads that into b and saves it again: all bytes are equal. */
void bench_move(Bench *a, Bench *b);

#endif
