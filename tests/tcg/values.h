/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reproducible random operands that prefer what goes wrong: limits, carries,
 * denormals, infinities, NaNs, unnormals.
 */
#ifndef TESTS_TCG_VALUES_H
#define TESTS_TCG_VALUES_H

#include <stdint.h>

typedef struct TestRandom {
    uint64_t s[2];
} TestRandom;

void test_random_seed(TestRandom *random, uint64_t seed);
uint64_t test_random(TestRandom *random);

/* Uniform enough in [0, limit). */
unsigned test_random_below(TestRandom *random, unsigned limit);

/* An integer of 64 bits: random, small, or at the limit of some size. */
uint64_t test_random_int(TestRandom *random);

/* 16 bytes: integers or floats of one size. */
void test_random_vector(TestRandom *random, uint8_t *bytes);

/* 10 bytes of an x87 register, all encodings. */
void test_random_fp80(TestRandom *random, uint8_t *bytes);

/* A memory operand of 2, 4, 8, 10 bytes or an x87 environment, written in place. */
void test_random_x87_operand(TestRandom *random, uint8_t *mem, unsigned bytes);

/* Control and status: mostly all exceptions masked; the status has none pending. */
uint16_t test_random_fcw(TestRandom *random);
uint16_t test_random_fsw(TestRandom *random, uint16_t fcw);
uint32_t test_random_mxcsr(TestRandom *random);

#endif
