/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migration, version 2: device states and the way between them, state data, and the DEVICE_FEATURE requests (which carry
 * DMA logging too).
 */
#include <errno.h>
#include <string.h>

#include "private.h"

VFU_EXPORT int vfu_setup_device_migration_callbacks(vfu_ctx_t *ctx, const vfu_migration_callbacks_t *callbacks)
{
    if (callbacks == NULL || callbacks->version != VFU_MIGR_CALLBACKS_VERS || callbacks->transition == NULL ||
        callbacks->read_data == NULL || callbacks->write_data == NULL) {
        return vfu_fail(EINVAL);
    }
    ctx->migration.cb = *callbacks;
    ctx->migration.enabled = true;
    return 0;
}

WIRE_HOT bool migration_allows(const vfu_ctx_t *ctx, unsigned command)
{
    uint32_t state = ctx->migration.state;

    if (state != WIRE_STATE_STOP && state != WIRE_STATE_STOP_COPY) {
        return true;
    }
    switch (command) {
    case WIRE_REGION_READ:
    case WIRE_REGION_WRITE:
    case WIRE_WRITE_MULTI:
        return state == WIRE_STATE_STOP || migration_region_size(ctx);
    case WIRE_DEVICE_FEATURE:
    case WIRE_DIRTY_PAGES:
    case WIRE_MIG_DATA_READ:
        return true;
    default:
        return false;
    }
}

/* The next state on the way from one to another; ERROR where there is no way. */
static const uint8_t next_state[WIRE_STATE_COUNT][WIRE_STATE_COUNT] = {
    [WIRE_STATE_STOP] = {
        [WIRE_STATE_RUNNING] = WIRE_STATE_RUNNING,
        [WIRE_STATE_STOP_COPY] = WIRE_STATE_STOP_COPY,
        [WIRE_STATE_RESUMING] = WIRE_STATE_RESUMING,
        [WIRE_STATE_PRE_COPY] = WIRE_STATE_RUNNING,
    },
    [WIRE_STATE_RUNNING] = {
        [WIRE_STATE_STOP] = WIRE_STATE_STOP,
        [WIRE_STATE_STOP_COPY] = WIRE_STATE_STOP,
        [WIRE_STATE_RESUMING] = WIRE_STATE_STOP,
        [WIRE_STATE_PRE_COPY] = WIRE_STATE_PRE_COPY,
    },
    [WIRE_STATE_STOP_COPY] = {
        [WIRE_STATE_STOP] = WIRE_STATE_STOP,
        [WIRE_STATE_RUNNING] = WIRE_STATE_STOP,
        [WIRE_STATE_RESUMING] = WIRE_STATE_STOP,
    },
    [WIRE_STATE_RESUMING] = {
        [WIRE_STATE_STOP] = WIRE_STATE_STOP,
        [WIRE_STATE_RUNNING] = WIRE_STATE_STOP,
        [WIRE_STATE_STOP_COPY] = WIRE_STATE_STOP,
        [WIRE_STATE_PRE_COPY] = WIRE_STATE_STOP,
    },
    [WIRE_STATE_PRE_COPY] = {
        [WIRE_STATE_STOP] = WIRE_STATE_RUNNING,
        [WIRE_STATE_RUNNING] = WIRE_STATE_RUNNING,
        [WIRE_STATE_STOP_COPY] = WIRE_STATE_STOP_COPY,
        [WIRE_STATE_RESUMING] = WIRE_STATE_RUNNING,
    },
};

static const vfu_migr_state_t callback_state[WIRE_STATE_COUNT] = {
    [WIRE_STATE_STOP] = VFU_MIGR_STATE_STOP,
    [WIRE_STATE_RUNNING] = VFU_MIGR_STATE_RUNNING,
    [WIRE_STATE_STOP_COPY] = VFU_MIGR_STATE_STOP_AND_COPY,
    [WIRE_STATE_RESUMING] = VFU_MIGR_STATE_RESUME,
    [WIRE_STATE_PRE_COPY] = VFU_MIGR_STATE_PRE_COPY,
};

int migration_go_to(vfu_ctx_t *ctx, uint32_t target)
{
    Migration *mig = &ctx->migration;

    if (target != mig->state && next_state[mig->state][target] == WIRE_STATE_ERROR) {
        return EINVAL;
    }
    while (mig->state != target) {
        uint32_t step = next_state[mig->state][target];

        errno = 0;
        if (mig->cb.transition(ctx, callback_state[step]) != 0) {
            return errno ? errno : EINVAL;
        }
        mig->state = step;
    }
    return 0;
}

/* ---- features ---- */

/* What each feature has: operations, bytes of data a SET or GET request must bring, bytes a GET reply needs. */
typedef struct FeatureInfo {
    uint32_t ops;
    uint32_t set_size, get_size, reply_size;
} FeatureInfo;

static const FeatureInfo feature_info[] = {
    [WIRE_FEATURE_MIGRATION] = { WIRE_FEATURE_GET, 0, 0, WIRE_FEATURE_MIGRATION_SIZE },
    [WIRE_FEATURE_MIG_STATE] = { WIRE_FEATURE_GET | WIRE_FEATURE_SET, WIRE_MIG_STATE_SIZE, 0, WIRE_MIG_STATE_SIZE },
    [WIRE_FEATURE_LOG_START] = { WIRE_FEATURE_SET, WIRE_LOG_START_SIZE, 0, 0 },
    [WIRE_FEATURE_LOG_STOP] = { WIRE_FEATURE_SET, 0, 0, 0 },
    [WIRE_FEATURE_LOG_REPORT] = { WIRE_FEATURE_GET, 0, WIRE_LOG_REPORT_SIZE, WIRE_LOG_REPORT_SIZE },
};

/* The reply repeats the request. */
static int feature_echo(const WireMessage *m, Reply *r)
{
    uint8_t *copy = reply_reserve(r, m->len);

    if (copy == NULL) {
        return ENOMEM;
    }
    memcpy(copy, m->body, m->len);
    return 0;
}

static int feature_log_report(vfu_ctx_t *ctx, WireFeature *f, Reply *r)
{
    WireLogReport report;
    uint64_t size;
    uint8_t *bitmap;
    uint32_t asked = f->argsz;
    int err = wire_log_report_decode(&report, f->data, f->data_len);

    if (err) {
        return err;
    }
    size = wire_bitmap_size(report.length, report.page_size);
    if (size > WIRE_MAX_DATA || asked < WIRE_FEATURE_SIZE + WIRE_LOG_REPORT_SIZE + size) {
        /* Which mistake comes first matters to clients that probe. */
        DmaRegion *region = dma_table_find(&ctx->dma.table, report.iova);

        return region == NULL ? ENOENT : region->iova != report.iova ? ENOTSUP : EINVAL;
    }
    bitmap = reply_reserve(r, size);
    if (bitmap == NULL) {
        return ENOMEM;
    }
    memset(bitmap, 0, size);
    err = dirty_report(ctx, report.iova, report.length, report.page_size, bitmap, size);
    if (err) {
        return err;
    }
    f->argsz = (uint32_t)(WIRE_FEATURE_SIZE + WIRE_LOG_REPORT_SIZE + size);
    f->data_len = 0;
    r->head_len = wire_feature_encode(r->head, f);
    r->head_len += wire_log_report_encode(r->head + r->head_len, &report);
    return 0;
}

static int feature_get(vfu_ctx_t *ctx, WireFeature *f, uint32_t index, Reply *r)
{
    WireMigDeviceState state = { .state = ctx->migration.state };

    if (index == WIRE_FEATURE_LOG_REPORT) {
        return feature_log_report(ctx, f, r);
    }
    f->argsz = WIRE_FEATURE_SIZE + feature_info[index].reply_size;
    f->data_len = 0;
    r->head_len = wire_feature_encode(r->head, f);
    if (index == WIRE_FEATURE_MIGRATION) {
        r->head_len += wire_feature_migration_encode(r->head + r->head_len,
                                                     WIRE_MIGRATION_STOP_COPY | WIRE_MIGRATION_PRE_COPY);
    } else {
        r->head_len += wire_mig_state_encode(r->head + r->head_len, &state);
    }
    return 0;
}

static int feature_set(vfu_ctx_t *ctx, const WireFeature *f, uint32_t index)
{
    WireMigDeviceState state;
    WireLogStart start;
    int err;

    switch (index) {
    case WIRE_FEATURE_MIG_STATE:
        err = wire_mig_state_decode(&state, f->data, f->data_len);
        return err ? err : migration_go_to(ctx, state.state);
    case WIRE_FEATURE_LOG_START:
        err = wire_log_start_decode(&start, f->data, f->data_len);
        return err ? err : dirty_log_start(ctx, start.page_size);
    default:
        if (!ctx->dma.enabled) {
            return EINVAL;
        }
        dirty_log_stop(ctx);
        return 0;
    }
}

int migration_handle_feature(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    const FeatureInfo *info;
    WireFeature f;
    uint32_t index, ops;
    int err = wire_feature_decode(&f, m->body, m->len);

    if (err) {
        return err;
    }
    index = f.flags & WIRE_FEATURE_INDEX_MASK;
    ops = f.flags & (WIRE_FEATURE_GET | WIRE_FEATURE_SET);
    if (!ctx->migration.enabled || index >= sizeof(feature_info) / sizeof(feature_info[0])) {
        return EINVAL;
    }
    info = &feature_info[index];
    if (info->ops == 0 || (ops & ~info->ops)) {
        return EINVAL;
    }
    if (f.flags & WIRE_FEATURE_PROBE) {
        return f.argsz < m->len ? EINVAL : feature_echo(m, r);
    }
    if (ops == WIRE_FEATURE_GET) {
        if (f.argsz < WIRE_FEATURE_SIZE + info->reply_size || f.data_len < info->get_size) {
            return EINVAL;
        }
        return feature_get(ctx, &f, index, r);
    }
    if (f.argsz < m->len || f.data_len < info->set_size) {
        return EINVAL;
    }
    err = feature_set(ctx, &f, index);
    return err ? err : feature_echo(m, r);
}

/* ---- data ---- */

static uint32_t mig_data_limit(const vfu_ctx_t *ctx)
{
    return ctx->client.max_data_xfer_size < WIRE_MAX_DATA ? (uint32_t)ctx->client.max_data_xfer_size : WIRE_MAX_DATA;
}

int migration_handle_read(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    WireMigData data;
    ssize_t got;
    uint8_t *room;
    int err = wire_mig_read_decode(&data, m->body, m->len, mig_data_limit(ctx));

    if (err) {
        return err;
    }
    if (!ctx->migration.enabled ||
        (ctx->migration.state != WIRE_STATE_PRE_COPY && ctx->migration.state != WIRE_STATE_STOP_COPY)) {
        return EINVAL;
    }
    room = reply_reserve(r, data.size);
    if (room == NULL) {
        return ENOMEM;
    }
    memset(room, 0, data.size);
    errno = 0;
    got = ctx->migration.cb.read_data(ctx, room, data.size);
    if (got < 0 || (size_t)got > data.size) {
        return got < 0 && errno ? errno : EINVAL;
    }
    /* Clients expect as many bytes as they asked for, zeroes behind the last one. */
    data.argsz = WIRE_MIG_DATA_SIZE + (uint32_t)got;
    data.size = (uint32_t)got;
    r->head_len = wire_mig_data_encode(r->head, &data);
    return 0;
}

int migration_handle_write(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    WireMigData data;
    ssize_t done;
    int err = wire_mig_write_decode(&data, m->body, m->len, mig_data_limit(ctx));

    if (err) {
        return err;
    }
    if (!ctx->migration.enabled || ctx->migration.state != WIRE_STATE_RESUMING) {
        return EINVAL;
    }
    errno = 0;
    done = ctx->migration.cb.write_data(ctx, m->body + WIRE_MIG_DATA_SIZE, data.size);
    if (done != (ssize_t)data.size) {
        return done < 0 && errno ? errno : EINVAL;
    }
    return 0;
}
