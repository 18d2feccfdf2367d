/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random operands for comparing processors; see values.h.  The generator is
 * xoroshiro128+ by its published recurrence.
 */
#include "tests/tcg/values.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static uint64_t rotate(uint64_t val, unsigned by)
{
    return val << by | val >> (64 - by);
}

uint64_t test_random(TestRandom *random)
{
    const uint64_t a = random->s[0], b = random->s[1] ^ a;

    uint64_t result = a + random->s[1];
    random->s[0] = rotate(a, 24) ^ b ^ b << 16;
    random->s[1] = rotate(b, 37);
    return result ^ result >> 32;
}

void test_random_seed(TestRandom *random, uint64_t seed)
{
    random->s[0] = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    random->s[1] = ~seed;
    for (unsigned i = 0; i < 16; i++) {
        test_random(random);
    }
}

unsigned test_random_below(TestRandom *random, unsigned limit)
{
    return (unsigned)((test_random(random) >> 16) % limit);
}

uint64_t test_random_int(TestRandom *random)
{
    static const uint64_t limits[] = {
        0,
        1,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0xffff,
        0x10000,
        0x7fffffff,
        0x80000000,
        0xffffffff,
        UINT64_C(0x7fffffffffffffff),
        UINT64_C(0x8000000000000000),
        UINT64_MAX,
        UINT64_C(0xffffffff80000000),
        UINT64_C(0x5555555555555555),
    };
    const uint64_t val = test_random(random);

    switch (test_random_below(random, 5)) {
    case 0:
        return limits[test_random_below(random, COUNT(limits))];
    case 1:
        return val & 0xff;
    case 2:
        return limits[test_random_below(random, COUNT(limits))] + (val & 7) - 3;
    case 3:
        return val >> (val & 63);
    default:
        return val;
    }
}

static uint32_t random_f32(TestRandom *random)
{
    static const uint32_t special[] = {
        0x00000000, 0x00000001, 0x007fffff, 0x00800000, 0x00800001, 0x3f800000, 0x3f000000, 0x3fc00000,
        0x40000000, 0x40200000, 0x4b000001, 0x4effffff, 0x4f000000, 0x5f000000, 0x7f7fffff, 0x7f800000,
        0x7f800001, 0x7fa00000, 0x7fc00000, 0x7fffffff, 0x00400000, 0x3f7fffff, 0x34000000, 0x1f800000,
    };
    const uint32_t val = (uint32_t)test_random(random);

    switch (test_random_below(random, 4)) {
    case 0:
        return val;
    case 1:
        return (val & 0x80ffffff) | (0x3e000000 + (test_random_below(random, 4) << 24));
    default:
        return special[val % COUNT(special)] | (val & 0x80000000);
    }
}

static uint64_t random_f64(TestRandom *random)
{
    static const uint64_t special[] = {
        0,
        1,
        UINT64_C(0x000fffffffffffff),
        UINT64_C(0x0010000000000000),
        UINT64_C(0x3ff0000000000000),
        UINT64_C(0x3fe0000000000000),
        UINT64_C(0x3ff8000000000000),
        UINT64_C(0x4004000000000000),
        UINT64_C(0x41dfffffffc00000),
        UINT64_C(0x41e0000000000000),
        UINT64_C(0x43e0000000000000),
        UINT64_C(0x4330000000000001),
        UINT64_C(0x7fefffffffffffff),
        UINT64_C(0x7ff0000000000000),
        UINT64_C(0x7ff0000000000001),
        UINT64_C(0x7ff4000000000000),
        UINT64_C(0x7ff8000000000000),
        UINT64_C(0x7fffffffffffffff),
        UINT64_C(0x47efffffe0000000),
        UINT64_C(0x47f0000000000000),
        UINT64_C(0x3810000000000000),
        UINT64_C(0x3800000000000000),
        UINT64_C(0x36a0000000000000),
        UINT64_C(0x1ff0000000000000),
    };
    const uint64_t val = test_random(random);

    switch (test_random_below(random, 4)) {
    case 0:
        return val;
    case 1:
        return (val & UINT64_C(0x801fffffffffffff)) |
               (UINT64_C(0x3fc0000000000000) + ((uint64_t)test_random_below(random, 4) << 53));
    default:
        return special[val % COUNT(special)] | (val & UINT64_C(0x8000000000000000));
    }
}

void test_random_vector(TestRandom *random, uint8_t *bytes)
{
    const unsigned kind = test_random_below(random, 4);
    uint32_t u32[4];
    uint64_t u64[2];

    for (unsigned i = 0; i < 4; i++) {
        u32[i] = kind == 0 ? (uint32_t)test_random_int(random) : random_f32(random);
    }
    for (unsigned i = 0; i < 2; i++) {
        u64[i] = kind == 2 ? test_random(random) : random_f64(random);
    }
    memcpy(bytes, kind < 2 ? (void *)u32 : u64, 16);
}

void test_random_fp80(TestRandom *random, uint8_t *bytes)
{
    static const uint16_t exps[] = {0,      1,      2,      0x3fbf, 0x3ffd, 0x3ffe, 0x3fff,
                                    0x4000, 0x400e, 0x401e, 0x403e, 0x403f, 0x3c01, 0x3c00,
                                    0x3f81, 0x3f80, 0x407e, 0x43fe, 0x5ffe, 0x7ffe, 0x7fff};
    static const uint64_t mantissas[] = {
        0,
        1,
        UINT64_C(0x8000000000000000),
        UINT64_C(0x8000000000000001),
        UINT64_C(0xc000000000000000),
        UINT64_C(0xa000000000000000),
        UINT64_C(0xffffffffffffffff),
        UINT64_C(0x4000000000000000),
        UINT64_C(0x7fffffffffffffff),
        UINT64_C(0xc90fdaa22168c235),
        UINT64_C(0x8000008000000000),
        UINT64_C(0xfffffffffffffc00),
    };
    const uint64_t val = test_random(random);
    uint64_t mantissa = test_random(random);
    uint16_t exp = (uint16_t)val;

    switch (test_random_below(random, 4)) {
    case 0:
        exp = (uint16_t)((exps[val % COUNT(exps)]) | (val >> 32 & 0x8000));
        mantissa = mantissas[(val >> 16) % COUNT(mantissas)];
        break;
    case 1:
        exp = (uint16_t)((exps[val % COUNT(exps)]) | (val >> 32 & 0x8000));
        mantissa |= UINT64_C(1) << 63;
        break;
    case 2:
        exp = (uint16_t)((0x3ff0 + (val & 31)) | (val >> 32 & 0x8000));
        mantissa = (mantissa | UINT64_C(1) << 63) & (val & 64 ? UINT64_C(0xffff000000000000) : UINT64_MAX);
        break;
    default:
        mantissa |= UINT64_C(1) << 63;
        break;
    }
    memcpy(bytes, &mantissa, 8);
    memcpy(bytes + 8, &exp, 2);
}

void test_random_x87_operand(TestRandom *random, uint8_t *mem, unsigned bytes)
{
    const uint32_t f32 =
        test_random_below(random, 2) ? random_f32(random) : (uint32_t)test_random_int(random);
    const uint64_t f64 = test_random_below(random, 2) ? random_f64(random) : test_random_int(random);
    const uint16_t fcw = test_random_fcw(random), fsw = test_random_fsw(random, fcw);

    if (bytes == 4) {
        memcpy(mem, &f32, 4);
    } else if (bytes == 8) {
        memcpy(mem, &f64, 8);
    } else if (bytes == 10) {
        for (unsigned i = 0; i < 9; i++) {
            mem[i] = (uint8_t)(test_random_below(random, 10) << 4 | test_random_below(random, 10));
        }
        mem[9] = test_random_below(random, 2) ? 0x80 : 0;
    } else if (bytes == 2) {
        memcpy(mem, &fcw, 2);
    } else if (bytes > 10) {
        memcpy(mem, &fcw, 2);
        memcpy(mem + 4, &fsw, 2);
    }
}

uint16_t test_random_fcw(TestRandom *random)
{
    const uint16_t val = (uint16_t)test_random(random);

    switch (test_random_below(random, 4)) {
    case 0:
        return (uint16_t)((val & 0x1f3f) | 0x40);
    case 1:
    case 2:
        return (uint16_t)((val & 0x1f00) | 0x7f);
    default:
        return 0x37f;
    }
}

uint16_t test_random_fsw(TestRandom *random, uint16_t fcw)
{
    const uint16_t val = (uint16_t)test_random(random);

    return (uint16_t)((val & 0x4740) | (val & fcw & 0x3f));
}

uint32_t test_random_mxcsr(TestRandom *random)
{
    const uint32_t val = (uint32_t)test_random(random);

    switch (test_random_below(random, 4)) {
    case 0:
        return val & 0xffff;
    case 1:
    case 2:
        return (val & 0xe07f) | 0x1f80;
    default:
        return 0x1f80;
    }
}
