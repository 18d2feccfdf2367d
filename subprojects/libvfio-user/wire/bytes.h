/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers at byte offsets of a payload, of any alignment, in host byte order; and the few arithmetic
 * checks that the decoders share.
 */
#ifndef WIRE_BYTES_H
#define WIRE_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t wire_get_u16(const void *buf, size_t at)
{
    uint16_t v;
    memcpy(&v, (const uint8_t *)buf + at, sizeof(v));
    return v;
}

static inline uint32_t wire_get_u32(const void *buf, size_t at)
{
    uint32_t v;
    memcpy(&v, (const uint8_t *)buf + at, sizeof(v));
    return v;
}

static inline uint64_t wire_get_u64(const void *buf, size_t at)
{
    uint64_t v;
    memcpy(&v, (const uint8_t *)buf + at, sizeof(v));
    return v;
}

static inline void wire_put_u16(void *buf, size_t at, uint16_t v)
{
    memcpy((uint8_t *)buf + at, &v, sizeof(v));
}

static inline void wire_put_u32(void *buf, size_t at, uint32_t v)
{
    memcpy((uint8_t *)buf + at, &v, sizeof(v));
}

static inline void wire_put_u64(void *buf, size_t at, uint64_t v)
{
    memcpy((uint8_t *)buf + at, &v, sizeof(v));
}

/* Does [start, start + length) leave 64 bits?  Ending exactly at 2^64 is inside. */
static inline bool wire_range_wraps(uint64_t start, uint64_t length)
{
    return length != 0 && start + (length - 1) < start;
}

/* Is [start, start + length) inside [0, size)? */
static inline bool wire_range_inside(uint64_t start, uint64_t length, uint64_t size)
{
    return start <= size && length <= size - start;
}

static inline bool wire_is_power_of_2(uint64_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

#endif
