/* SPDX-License-Identifier: BSD-3-Clause */
/* vfio-user DEVICE_FEATURE (migration, device state, DMA logging), MIG_DATA_READ and MIG_DATA_WRITE. */
#include <errno.h>

#include "bytes.h"
#include "wire.h"

int wire_feature_decode(WireFeature *f, const void *buf, size_t len)
{
    const uint32_t ops = WIRE_FEATURE_GET | WIRE_FEATURE_SET | WIRE_FEATURE_PROBE;

    if (len < WIRE_FEATURE_SIZE) {
        return EINVAL;
    }
    f->argsz = wire_get_u32(buf, 0);
    f->flags = wire_get_u32(buf, 4);
    f->data = (const uint8_t *)buf + WIRE_FEATURE_SIZE;
    f->data_len = len - WIRE_FEATURE_SIZE;
    if (f->argsz < WIRE_FEATURE_SIZE || (f->flags & ~(ops | WIRE_FEATURE_INDEX_MASK)) || !(f->flags & ops)) {
        return EINVAL;
    }
    return (f->flags & ops) == (WIRE_FEATURE_GET | WIRE_FEATURE_SET) ? EINVAL : 0;
}

size_t wire_feature_encode(void *buf, const WireFeature *f)
{
    wire_put_u32(buf, 0, f->argsz);
    wire_put_u32(buf, 4, f->flags);
    if (f->data == NULL || f->data_len == 0) {
        return WIRE_FEATURE_SIZE;
    }
    memcpy((uint8_t *)buf + WIRE_FEATURE_SIZE, f->data, f->data_len);
    return WIRE_FEATURE_SIZE + f->data_len;
}

int wire_feature_migration_decode(uint64_t *flags, const void *data, size_t len)
{
    if (len < WIRE_FEATURE_MIGRATION_SIZE) {
        return EINVAL;
    }
    *flags = wire_get_u64(data, 0);
    return 0;
}

size_t wire_feature_migration_encode(void *data, uint64_t flags)
{
    wire_put_u64(data, 0, flags);
    return WIRE_FEATURE_MIGRATION_SIZE;
}

int wire_mig_state_decode(WireMigDeviceState *s, const void *data, size_t len)
{
    if (len < WIRE_MIG_STATE_SIZE) {
        return EINVAL;
    }
    s->state = wire_get_u32(data, 0);
    s->data_fd = wire_get_u32(data, 4);
    return s->state >= WIRE_STATE_COUNT ? EINVAL : 0;
}

size_t wire_mig_state_encode(void *data, const WireMigDeviceState *s)
{
    wire_put_u32(data, 0, s->state);
    wire_put_u32(data, 4, s->data_fd);
    return WIRE_MIG_STATE_SIZE;
}

int wire_log_start_decode(WireLogStart *l, const void *data, size_t len)
{
    if (len < WIRE_LOG_START_SIZE) {
        return EINVAL;
    }
    l->page_size = wire_get_u64(data, 0);
    l->num_ranges = wire_get_u32(data, 8);
    l->ranges = (const uint8_t *)data + WIRE_LOG_START_SIZE;
    if (!wire_is_power_of_2(l->page_size) || l->num_ranges > (len - WIRE_LOG_START_SIZE) / WIRE_LOG_RANGE_SIZE) {
        return EINVAL;
    }
    return 0;
}

void wire_log_range_decode(WireLogRange *r, const WireLogStart *l, uint32_t i)
{
    r->iova = wire_get_u64(l->ranges, (size_t)i * WIRE_LOG_RANGE_SIZE);
    r->length = wire_get_u64(l->ranges, (size_t)i * WIRE_LOG_RANGE_SIZE + 8);
}

size_t wire_log_start_encode(void *data, uint64_t page_size, uint32_t num_ranges)
{
    wire_put_u64(data, 0, page_size);
    wire_put_u32(data, 8, num_ranges);
    wire_put_u32(data, 12, 0);
    return WIRE_LOG_START_SIZE;
}

size_t wire_log_range_encode(void *data, const WireLogRange *r)
{
    wire_put_u64(data, 0, r->iova);
    wire_put_u64(data, 8, r->length);
    return WIRE_LOG_RANGE_SIZE;
}

int wire_log_report_decode(WireLogReport *r, const void *data, size_t len)
{
    if (len < WIRE_LOG_REPORT_SIZE) {
        return EINVAL;
    }
    r->iova = wire_get_u64(data, 0);
    r->length = wire_get_u64(data, 8);
    r->page_size = wire_get_u64(data, 16);
    if (r->length == 0 || wire_range_wraps(r->iova, r->length) || !wire_is_power_of_2(r->page_size)) {
        return EINVAL;
    }
    return 0;
}

size_t wire_log_report_encode(void *data, const WireLogReport *r)
{
    wire_put_u64(data, 0, r->iova);
    wire_put_u64(data, 8, r->length);
    wire_put_u64(data, 16, r->page_size);
    return WIRE_LOG_REPORT_SIZE;
}

uint64_t wire_bitmap_size(uint64_t length, uint64_t page_size)
{
    uint64_t pages;

    if (page_size == 0) {
        return 0;
    }
    pages = length / page_size + (length % page_size != 0);
    return (pages / 64 + (pages % 64 != 0)) * 8;
}

/* ---- migration data ---- */

static int mig_data_decode(WireMigData *m, const void *buf, size_t len, uint32_t max_size)
{
    if (len < WIRE_MIG_DATA_SIZE) {
        return EINVAL;
    }
    m->argsz = wire_get_u32(buf, 0);
    m->size = wire_get_u32(buf, 4);
    m->data = NULL;
    if (m->argsz < WIRE_MIG_DATA_SIZE || m->argsz - WIRE_MIG_DATA_SIZE < m->size || m->size > max_size) {
        return EINVAL;
    }
    return 0;
}

int wire_mig_read_decode(WireMigData *m, const void *buf, size_t len, uint32_t max_size)
{
    return mig_data_decode(m, buf, len, max_size);
}

int wire_mig_write_decode(WireMigData *m, const void *buf, size_t len, uint32_t max_size)
{
    int err = mig_data_decode(m, buf, len, max_size);

    if (err) {
        return err;
    }
    if (len - WIRE_MIG_DATA_SIZE < m->size) {
        return EINVAL;
    }
    m->data = (const uint8_t *)buf + WIRE_MIG_DATA_SIZE;
    return 0;
}

int wire_mig_read_decode_reply(WireMigData *m, const void *buf, size_t len, uint32_t asked)
{
    return wire_mig_write_decode(m, buf, len, asked);
}

size_t wire_mig_data_encode(void *buf, const WireMigData *m)
{
    wire_put_u32(buf, 0, m->argsz ? m->argsz : WIRE_MIG_DATA_SIZE + m->size);
    wire_put_u32(buf, 4, m->size);
    return WIRE_MIG_DATA_SIZE;
}
