/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Statistics registers (82540EM manual, 13.7): they clear when read, and stick at their maximum. */
#include "e1000.h"

void e1000_count(E1000 *e, unsigned offset, uint32_t n)
{
    uint32_t *reg = e1000_reg(e, offset);

    *reg = *reg > UINT32_MAX - n ? UINT32_MAX : *reg + n;
}

void e1000_count64(E1000 *e, unsigned low, uint64_t n)
{
    uint32_t *reg = e1000_reg(e, low);
    uint64_t sum = (uint64_t)reg[1] << 32 | reg[0];

    sum = sum > UINT64_MAX - n ? UINT64_MAX : sum + n;
    reg[0] = (uint32_t)sum;
    reg[1] = (uint32_t)(sum >> 32);
}

void e1000_count_size(E1000 *e, unsigned first, size_t len)
{
    static const uint16_t limits[] = {64, 127, 255, 511, 1023};
    unsigned n = 0;

    while (n < G_N_ELEMENTS(limits) && len > limits[n]) {
        n++;
    }
    e1000_count(e, first + 4 * n, 1);
}
