/* SPDX-License-Identifier: BSD-3-Clause */
/* vfio-user REGION_READ, REGION_WRITE and REGION_WRITE_MULTI. */
#include <errno.h>

#include "bytes.h"
#include "wire.h"

WIRE_HOT static int region_access_decode(WireRegionAccess *a, const void *buf, size_t len, uint32_t max_count)
{
    if (len < WIRE_REGION_ACCESS_SIZE) {
        return EINVAL;
    }
    a->offset = wire_get_u64(buf, 0);
    a->region = wire_get_u32(buf, 8);
    a->count = wire_get_u32(buf, 12);
    a->data = NULL;
    return a->count > max_count || wire_range_wraps(a->offset, a->count) ? EINVAL : 0;
}

WIRE_HOT static int region_data_decode(WireRegionAccess *a, const void *buf, size_t len)
{
    if (len - WIRE_REGION_ACCESS_SIZE != a->count) {
        return EINVAL;
    }
    a->data = (const uint8_t *)buf + WIRE_REGION_ACCESS_SIZE;
    return 0;
}

static bool region_access_matches(const WireRegionAccess *a, const WireRegionAccess *asked)
{
    return a->offset == asked->offset && a->region == asked->region && a->count == asked->count;
}

WIRE_HOT int wire_region_read_decode(WireRegionAccess *a, const void *buf, size_t len, uint32_t max_count)
{
    return region_access_decode(a, buf, len, max_count);
}

WIRE_HOT int wire_region_write_decode(WireRegionAccess *a, const void *buf, size_t len, uint32_t max_count)
{
    int err = region_access_decode(a, buf, len, max_count);

    return err ? err : region_data_decode(a, buf, len);
}

int wire_region_read_decode_reply(WireRegionAccess *a, const void *buf, size_t len, const WireRegionAccess *asked)
{
    int err;

    if (len == 0 && asked->count == 0) {
        *a = *asked;
        a->data = NULL;
        return 0;
    }
    err = region_access_decode(a, buf, len, asked->count);
    if (err == 0) {
        err = region_data_decode(a, buf, len);
    }
    return err || !region_access_matches(a, asked) ? EINVAL : 0;
}

int wire_region_write_decode_reply(WireRegionAccess *a, const void *buf, size_t len, const WireRegionAccess *asked)
{
    if (len == 0 && asked->count == 0) {
        *a = *asked;
        a->data = NULL;
        return 0;
    }
    if (region_access_decode(a, buf, len, asked->count) || !region_access_matches(a, asked)) {
        return EINVAL;
    }
    return 0;
}

WIRE_HOT size_t wire_region_access_encode(void *buf, const WireRegionAccess *a)
{
    wire_put_u64(buf, 0, a->offset);
    wire_put_u32(buf, 8, a->region);
    wire_put_u32(buf, 12, a->count);
    return WIRE_REGION_ACCESS_SIZE;
}

int wire_write_multi_decode(uint64_t *count, const void *buf, size_t len)
{
    if (len < WIRE_WRITE_MULTI_SIZE) {
        return EINVAL;
    }
    *count = wire_get_u64(buf, 0);
    if ((len - WIRE_WRITE_MULTI_SIZE) % WIRE_WRITE_ENTRY_SIZE ||
        (len - WIRE_WRITE_MULTI_SIZE) / WIRE_WRITE_ENTRY_SIZE != *count) {
        return EINVAL;
    }
    for (uint64_t i = 0; i < *count; i++) {
        WireWrite w;

        wire_write_multi_entry(&w, buf, i);
        if (w.count == 0 || w.count > sizeof(w.data) || wire_range_wraps(w.offset, w.count)) {
            return EINVAL;
        }
    }
    return 0;
}

void wire_write_multi_entry(WireWrite *w, const void *buf, uint64_t i)
{
    size_t at = WIRE_WRITE_MULTI_SIZE + (size_t)i * WIRE_WRITE_ENTRY_SIZE;

    w->offset = wire_get_u64(buf, at);
    w->region = wire_get_u32(buf, at + 8);
    w->count = wire_get_u32(buf, at + 12);
    memcpy(w->data, (const uint8_t *)buf + at + 16, sizeof(w->data));
}

size_t wire_write_multi_encode(void *buf, uint64_t count)
{
    wire_put_u64(buf, 0, count);
    return WIRE_WRITE_MULTI_SIZE;
}

size_t wire_write_multi_entry_encode(void *buf, const WireWrite *w)
{
    wire_put_u64(buf, 0, w->offset);
    wire_put_u32(buf, 8, w->region);
    wire_put_u32(buf, 12, w->count);
    memcpy((uint8_t *)buf + 16, w->data, sizeof(w->data));
    return WIRE_WRITE_ENTRY_SIZE;
}

int wire_write_multi_decode_reply(uint64_t *done, const void *buf, size_t len, uint64_t asked)
{
    if (len < WIRE_WRITE_MULTI_SIZE) {
        return EINVAL;
    }
    *done = wire_get_u64(buf, 0);
    return *done > asked ? EINVAL : 0;
}
