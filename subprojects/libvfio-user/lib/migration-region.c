/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migration, version 1: a region with state and data registers in front of a data window (linux/vfio.h before 5.18, "struct
 * vfio_device_migration_info"), for clients that know no other.  It drives the callbacks of version 2.
 */
#include <errno.h>
#include <string.h>

#include "private.h"

enum {
    REG_DEVICE_STATE = 0x00,
    REG_PENDING_BYTES = 0x08,
    REG_DATA_OFFSET = 0x10,
    REG_DATA_SIZE = 0x18,
    DATA_WINDOW = 0x1000,
};

#define V1_RUNNING  1u
#define V1_SAVING   2u
#define V1_RESUMING 4u
#define V1_ERROR    (V1_SAVING | V1_RESUMING)

static const uint8_t v1_states[WIRE_STATE_COUNT] = {
    [WIRE_STATE_ERROR] = V1_ERROR,
    [WIRE_STATE_STOP] = 0,
    [WIRE_STATE_RUNNING] = V1_RUNNING,
    [WIRE_STATE_STOP_COPY] = V1_SAVING,
    [WIRE_STATE_RESUMING] = V1_RESUMING,
    [WIRE_STATE_PRE_COPY] = V1_RUNNING | V1_SAVING,
};

/* Where a client of version 1 may go from each state: bit n is state n of the wire. */
static const uint8_t v1_ways[WIRE_STATE_COUNT] = {
    [WIRE_STATE_STOP] = 1u << WIRE_STATE_RUNNING,
    [WIRE_STATE_RUNNING] = 1u << WIRE_STATE_STOP | 1u << WIRE_STATE_STOP_COPY | 1u << WIRE_STATE_PRE_COPY |
                           1u << WIRE_STATE_RESUMING,
    [WIRE_STATE_STOP_COPY] = 1u << WIRE_STATE_STOP | 1u << WIRE_STATE_RUNNING,
    [WIRE_STATE_PRE_COPY] = 1u << WIRE_STATE_STOP_COPY,
    [WIRE_STATE_RESUMING] = 1u << WIRE_STATE_RUNNING,
};

VFU_EXPORT int vfu_setup_device_migration_region(vfu_ctx_t *ctx, size_t data_size)
{
    uint8_t *data;

    if (!ctx->migration.enabled || data_size == 0 || data_size > WIRE_MAX_DATA) {
        return vfu_fail(EINVAL);
    }
    data = calloc(1, data_size);
    if (data == NULL) {
        return vfu_fail(ENOMEM);
    }
    free(ctx->migration.window.data);
    ctx->migration.window = (MigrationWindow){ .data = data, .size = data_size };
    return 0;
}

uint64_t migration_region_size(const vfu_ctx_t *ctx)
{
    return ctx->migration.window.data ? DATA_WINDOW + ctx->migration.window.size : 0;
}

void migration_region_reset(vfu_ctx_t *ctx)
{
    ctx->migration.window.filled = 0;
    ctx->migration.window.handed_out = false;
}

bool migration_region_sets_state(const vfu_ctx_t *ctx, const WireRegionAccess *a)
{
    return ctx->migration.window.data && a->region == VFU_PCI_DEV_MIGR_REGION_IDX && a->offset == REG_DEVICE_STATE;
}

static int set_state(vfu_ctx_t *ctx, uint32_t v1)
{
    uint32_t from = ctx->migration.state, to = WIRE_STATE_STOP;
    int err;

    while (to < WIRE_STATE_COUNT && (v1_states[to] != v1 || to == WIRE_STATE_RUNNING_P2P)) {
        to++;
    }
    if (to == from) {
        return 0;
    }
    if (to == WIRE_STATE_COUNT || !(v1_ways[from] & (1u << to))) {
        return EINVAL;
    }
    err = migration_go_to(ctx, to);
    if (to != WIRE_STATE_STOP_COPY) {
        migration_region_reset(ctx);
    }
    return err;
}

/* What is in the window; fetched from the device when the last was read. */
static int pending_bytes(vfu_ctx_t *ctx, uint64_t *pending)
{
    MigrationWindow *w = &ctx->migration.window;
    uint32_t state = ctx->migration.state;

    if (state != WIRE_STATE_PRE_COPY && state != WIRE_STATE_STOP_COPY) {
        *pending = 0;
        return 0;
    }
    if (w->handed_out) {
        migration_region_reset(ctx);
    }
    if (w->filled == 0) {
        ssize_t n;

        errno = 0;
        n = ctx->migration.cb.read_data(ctx, w->data, w->size);
        if (n < 0 || (size_t)n > w->size) {
            return n < 0 && errno ? errno : EINVAL;
        }
        w->filled = (size_t)n;
    }
    *pending = w->filled;
    return 0;
}

static int register_read(vfu_ctx_t *ctx, const WireRegionAccess *a, uint8_t *buf)
{
    MigrationWindow *w = &ctx->migration.window;
    uint64_t value;
    int err = 0;

    if (a->offset == REG_DEVICE_STATE && a->count == sizeof(uint32_t)) {
        wire_put_u32(buf, 0, v1_states[ctx->migration.state]);
        return 0;
    }
    if (a->count != sizeof(value)) {
        return EINVAL;
    }
    switch (a->offset) {
    case REG_PENDING_BYTES:
        err = pending_bytes(ctx, &value);
        break;
    case REG_DATA_OFFSET:
        value = DATA_WINDOW;
        break;
    case REG_DATA_SIZE:
        value = w->filled;
        w->handed_out = true;
        break;
    default:
        return EINVAL;
    }
    if (err == 0) {
        wire_put_u64(buf, 0, value);
    }
    return err;
}

static int register_write(vfu_ctx_t *ctx, const WireRegionAccess *a, const uint8_t *buf)
{
    MigrationWindow *w = &ctx->migration.window;
    uint64_t size;
    ssize_t done;

    if (a->offset == REG_DEVICE_STATE && a->count == sizeof(uint32_t)) {
        return set_state(ctx, wire_get_u32(buf, 0));
    }
    if (a->offset != REG_DATA_SIZE || a->count != sizeof(size) || ctx->migration.state != WIRE_STATE_RESUMING) {
        return EINVAL;
    }
    size = wire_get_u64(buf, 0);
    if (size > w->size) {
        return EINVAL;
    }
    errno = 0;
    done = ctx->migration.cb.write_data(ctx, w->data, size);
    return done == (ssize_t)size ? 0 : done < 0 && errno ? errno : EINVAL;
}

int migration_region_access(vfu_ctx_t *ctx, const WireRegionAccess *a, uint8_t *buf, bool is_write)
{
    MigrationWindow *w = &ctx->migration.window;

    if (a->offset < DATA_WINDOW) {
        return is_write ? register_write(ctx, a, buf) : register_read(ctx, a, buf);
    }
    if (is_write && ctx->migration.state != WIRE_STATE_RESUMING) {
        return EINVAL;
    }
    if (is_write) {
        memcpy(w->data + (a->offset - DATA_WINDOW), buf, a->count);
    } else {
        memcpy(buf, w->data + (a->offset - DATA_WINDOW), a->count);
    }
    return 0;
}
