/* SPDX-License-Identifier: BSD-3-Clause */
/* vfio-user DEVICE_GET_INFO, _GET_REGION_INFO, _GET_REGION_IO_FDS, _GET_IRQ_INFO and _SET_IRQS. */
#include <errno.h>

#include "bytes.h"
#include "wire.h"

int wire_info_decode(WireInfo *i, const void *buf, size_t len)
{
    if (len < WIRE_INFO_SIZE) {
        return EINVAL;
    }
    i->argsz = wire_get_u32(buf, 0);
    i->flags = wire_get_u32(buf, 4);
    i->num_regions = wire_get_u32(buf, 8);
    i->num_irqs = wire_get_u32(buf, 12);
    return i->argsz < WIRE_INFO_SIZE ? EINVAL : 0;
}

int wire_info_decode_reply(WireInfo *i, const void *buf, size_t len)
{
    int err = wire_info_decode(i, buf, len);

    if (err) {
        return err;
    }
    return i->num_regions > WIRE_MAX_REGIONS || i->num_irqs > WIRE_MAX_IRQS ? EINVAL : 0;
}

size_t wire_info_encode(void *buf, const WireInfo *i)
{
    wire_put_u32(buf, 0, i->argsz ? i->argsz : WIRE_INFO_SIZE);
    wire_put_u32(buf, 4, i->flags);
    wire_put_u32(buf, 8, i->num_regions);
    wire_put_u32(buf, 12, i->num_irqs);
    return WIRE_INFO_SIZE;
}

/* ---- region info and its capabilities ---- */

#define CAP_HEADER_SIZE 8u
#define SPARSE_HEAD_SIZE 16u
#define AREA_SIZE 16u

int wire_region_info_decode(WireRegionInfo *r, const void *buf, size_t len)
{
    if (len < WIRE_REGION_INFO_SIZE) {
        return EINVAL;
    }
    r->argsz = wire_get_u32(buf, 0);
    r->flags = wire_get_u32(buf, 4);
    r->index = wire_get_u32(buf, 8);
    r->cap_offset = wire_get_u32(buf, 12);
    r->size = wire_get_u64(buf, 16);
    r->offset = wire_get_u64(buf, 24);
    return r->argsz < WIRE_REGION_INFO_SIZE ? EINVAL : 0;
}

size_t wire_region_info_encode(void *buf, const WireRegionInfo *r)
{
    wire_put_u32(buf, 0, r->argsz ? r->argsz : WIRE_REGION_INFO_SIZE);
    wire_put_u32(buf, 4, r->flags);
    wire_put_u32(buf, 8, r->index);
    wire_put_u32(buf, 12, r->cap_offset);
    wire_put_u64(buf, 16, r->size);
    wire_put_u64(buf, 24, r->offset);
    return WIRE_REGION_INFO_SIZE;
}

size_t wire_region_info_sparse_size(uint32_t n)
{
    return WIRE_REGION_INFO_SIZE + SPARSE_HEAD_SIZE + (size_t)n * AREA_SIZE;
}

size_t wire_region_sparse_encode(void *buf, const WireArea *areas, uint32_t n)
{
    wire_put_u16(buf, 0, WIRE_CAP_SPARSE_MMAP);
    wire_put_u16(buf, 2, 1);
    wire_put_u32(buf, 4, 0);
    wire_put_u32(buf, 8, n);
    wire_put_u32(buf, 12, 0);
    for (uint32_t i = 0; i < n; i++) {
        wire_put_u64(buf, SPARSE_HEAD_SIZE + (size_t)i * AREA_SIZE, areas[i].offset);
        wire_put_u64(buf, SPARSE_HEAD_SIZE + (size_t)i * AREA_SIZE + 8, areas[i].size);
    }
    return SPARSE_HEAD_SIZE + (size_t)n * AREA_SIZE;
}

size_t wire_region_type_encode(void *buf, uint32_t type, uint32_t subtype)
{
    wire_put_u16(buf, 0, WIRE_CAP_TYPE);
    wire_put_u16(buf, 2, 1);
    wire_put_u32(buf, 4, 0);
    wire_put_u32(buf, 8, type);
    wire_put_u32(buf, 12, subtype);
    return WIRE_REGION_TYPE_SIZE;
}

/* The sparse capability at `at` (its header is inside len). */
static int sparse_areas_decode(const WireRegionInfo *r, const void *buf, size_t len, size_t at, WireArea *areas,
                               uint32_t *count)
{
    uint32_t n;

    if (len - at < SPARSE_HEAD_SIZE) {
        return EINVAL;
    }
    n = wire_get_u32(buf, at + 8);
    if (n > (len - at - SPARSE_HEAD_SIZE) / AREA_SIZE) {
        return EINVAL;
    }
    if (n > *count) {
        return E2BIG;
    }
    for (uint32_t i = 0; i < n; i++) {
        size_t area = at + SPARSE_HEAD_SIZE + (size_t)i * AREA_SIZE;

        areas[i].offset = wire_get_u64(buf, area);
        areas[i].size = wire_get_u64(buf, area + 8);
        if (!wire_range_inside(areas[i].offset, areas[i].size, r->size)) {
            return EINVAL;
        }
    }
    *count = n;
    return 0;
}

int wire_region_sparse_decode(const WireRegionInfo *r, const void *buf, size_t len, WireArea *areas,
                              uint32_t *count, bool *found)
{
    size_t at = r->cap_offset;
    uint32_t capacity = *count;

    *found = false;
    *count = 0;
    if (!(r->flags & WIRE_REGION_CAPS) || at == 0) {
        return 0;
    }
    if (at < WIRE_REGION_INFO_SIZE) {
        return EINVAL;
    }
    for (;;) {
        size_t next;

        if (at > len || len - at < CAP_HEADER_SIZE) {
            return EINVAL;
        }
        next = wire_get_u32(buf, at + 4);
        if (wire_get_u16(buf, at) == WIRE_CAP_SPARSE_MMAP && wire_get_u16(buf, at + 2) == 1 && !*found) {
            int err;

            *count = capacity;
            err = sparse_areas_decode(r, buf, len, at, areas, count);
            if (err) {
                return err;
            }
            *found = true;
        }
        if (next == 0) {
            return 0;
        }
        /* Only forward: a chain can then not loop. */
        if (next < at + CAP_HEADER_SIZE) {
            return EINVAL;
        }
        at = next;
    }
}

/* ---- region I/O fds ---- */

int wire_io_fds_decode(WireIoFds *f, const void *buf, size_t len)
{
    if (len < WIRE_IO_FDS_SIZE) {
        return EINVAL;
    }
    f->argsz = wire_get_u32(buf, 0);
    f->flags = wire_get_u32(buf, 4);
    f->index = wire_get_u32(buf, 8);
    f->count = wire_get_u32(buf, 12);
    return f->argsz < WIRE_IO_FDS_SIZE || f->argsz > WIRE_MAX_DATA || f->flags || f->count ? EINVAL : 0;
}

/* Entry size of a reply: servers disagree between 40 and 48; 0 is neither. */
static uint32_t io_fd_stride(const WireIoFds *f)
{
    uint32_t bytes = f->argsz - WIRE_IO_FDS_SIZE;

    if (bytes % f->count) {
        return 0;
    }
    bytes /= f->count;
    return bytes == WIRE_IO_FD_SIZE || bytes == WIRE_IO_FD_SPEC_SIZE ? bytes : 0;
}

int wire_io_fds_decode_reply(WireIoFds *f, const void *buf, size_t len, uint32_t *entries)
{
    uint32_t stride;

    *entries = 0;
    if (len < WIRE_IO_FDS_SIZE) {
        return EINVAL;
    }
    f->argsz = wire_get_u32(buf, 0);
    f->flags = wire_get_u32(buf, 4);
    f->index = wire_get_u32(buf, 8);
    f->count = wire_get_u32(buf, 12);
    if (f->argsz < WIRE_IO_FDS_SIZE || f->count > WIRE_MAX_IO_FDS) {
        return EINVAL;
    }
    if (f->count == 0) {
        return 0;
    }
    stride = io_fd_stride(f);
    if (stride == 0) {
        return EINVAL;
    }
    if (len == WIRE_IO_FDS_SIZE) {
        return 0;
    }
    if (len - WIRE_IO_FDS_SIZE < (size_t)stride * f->count) {
        return EINVAL;
    }
    *entries = f->count;
    return 0;
}

size_t wire_io_fds_encode(void *buf, const WireIoFds *f)
{
    wire_put_u32(buf, 0, f->argsz);
    wire_put_u32(buf, 4, f->flags);
    wire_put_u32(buf, 8, f->index);
    wire_put_u32(buf, 12, f->count);
    return WIRE_IO_FDS_SIZE;
}

int wire_io_fd_decode(WireIoFd *e, const WireIoFds *f, const void *buf, size_t len, uint32_t i)
{
    uint32_t stride = f->count && f->argsz >= WIRE_IO_FDS_SIZE ? io_fd_stride(f) : 0;
    size_t at = WIRE_IO_FDS_SIZE + (size_t)stride * i;

    if (stride == 0 || i >= f->count || at > len || len - at < stride) {
        return EINVAL;
    }
    e->offset = wire_get_u64(buf, at);
    e->size = wire_get_u64(buf, at + 8);
    e->fd_index = wire_get_u32(buf, at + 16);
    e->type = wire_get_u32(buf, at + 20);
    e->flags = wire_get_u32(buf, at + 24);
    if (stride == WIRE_IO_FD_SPEC_SIZE) {
        e->shadow_fd_index = WIRE_IO_FD_NONE;
        e->shadow_offset = 0;
        e->datamatch = wire_get_u64(buf, at + 32);
    } else {
        e->shadow_fd_index = wire_get_u32(buf, at + 28);
        e->shadow_offset = wire_get_u64(buf, at + 32);
        e->datamatch = wire_get_u64(buf, at + 40);
    }
    return wire_range_wraps(e->offset, e->size) ? EINVAL : 0;
}

size_t wire_io_fd_encode(void *buf, const WireIoFd *e)
{
    wire_put_u64(buf, 0, e->offset);
    wire_put_u64(buf, 8, e->size);
    wire_put_u32(buf, 16, e->fd_index);
    wire_put_u32(buf, 20, e->type);
    wire_put_u32(buf, 24, e->flags);
    wire_put_u32(buf, 28, e->shadow_fd_index);
    wire_put_u64(buf, 32, e->shadow_offset);
    wire_put_u64(buf, 40, e->datamatch);
    return WIRE_IO_FD_SIZE;
}

/* ---- interrupts ---- */

int wire_irq_info_decode(WireIrqInfo *i, const void *buf, size_t len)
{
    if (len < WIRE_IRQ_INFO_SIZE) {
        return EINVAL;
    }
    i->argsz = wire_get_u32(buf, 0);
    i->flags = wire_get_u32(buf, 4);
    i->index = wire_get_u32(buf, 8);
    i->count = wire_get_u32(buf, 12);
    return i->argsz < WIRE_IRQ_INFO_SIZE ? EINVAL : 0;
}

size_t wire_irq_info_encode(void *buf, const WireIrqInfo *i)
{
    wire_put_u32(buf, 0, i->argsz ? i->argsz : WIRE_IRQ_INFO_SIZE);
    wire_put_u32(buf, 4, i->flags);
    wire_put_u32(buf, 8, i->index);
    wire_put_u32(buf, 12, i->count);
    return WIRE_IRQ_INFO_SIZE;
}

int wire_set_irqs_decode(WireSetIrqs *s, const void *buf, size_t len, unsigned fd_count)
{
    uint32_t data, action;

    if (len < WIRE_SET_IRQS_SIZE || wire_get_u32(buf, 0) < WIRE_SET_IRQS_SIZE) {
        return EINVAL;
    }
    *s = (WireSetIrqs){
        .flags = wire_get_u32(buf, 4),
        .index = wire_get_u32(buf, 8),
        .start = wire_get_u32(buf, 12),
        .count = wire_get_u32(buf, 16),
    };
    data = s->flags & WIRE_IRQ_DATA_MASK;
    action = s->flags & WIRE_IRQ_ACTION_MASK;
    if ((s->flags & ~(WIRE_IRQ_DATA_MASK | WIRE_IRQ_ACTION_MASK)) || !wire_is_power_of_2(data) ||
        !wire_is_power_of_2(action)) {
        return EINVAL;
    }
    if (s->count == 0 && (s->start != 0 || s->flags != (WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_NONE))) {
        return EINVAL;
    }
    if (s->count > UINT32_MAX - s->start) {
        return EINVAL;
    }
    if (data == WIRE_IRQ_DATA_BOOL) {
        if (len - WIRE_SET_IRQS_SIZE != s->count) {
            return EINVAL;
        }
        s->bools = (const uint8_t *)buf + WIRE_SET_IRQS_SIZE;
    }
    if (fd_count != 0 && (data != WIRE_IRQ_DATA_EVENTFD || fd_count != s->count)) {
        return EINVAL;
    }
    return 0;
}

size_t wire_set_irqs_encode(void *buf, const WireSetIrqs *s)
{
    uint32_t extra = s->flags & WIRE_IRQ_DATA_BOOL ? s->count : 0;

    wire_put_u32(buf, 0, WIRE_SET_IRQS_SIZE + extra);
    wire_put_u32(buf, 4, s->flags);
    wire_put_u32(buf, 8, s->index);
    wire_put_u32(buf, 12, s->start);
    wire_put_u32(buf, 16, s->count);
    if (extra) {
        memcpy((uint8_t *)buf + WIRE_SET_IRQS_SIZE, s->bools, extra);
    }
    return (size_t)WIRE_SET_IRQS_SIZE + extra;
}
