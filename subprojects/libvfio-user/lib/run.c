/* SPDX-License-Identifier: BSD-3-Clause */
/* Serving requests: dispatch, quiescing the device before what must not race with it, the end of a connection. */
#include <errno.h>
#include <string.h>

#include "private.h"

static int handle_get_info(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    WireInfo info;
    int err = wire_info_decode(&info, m->body, m->len);

    if (err) {
        return err;
    }
    info = (WireInfo){
        .flags = WIRE_INFO_RESET | WIRE_INFO_PCI,
        .num_regions = VFU_PCI_DEV_NUM_REGIONS + (migration_region_size(ctx) ? 1 : 0),
        .num_irqs = VFU_DEV_NUM_IRQS,
    };
    r->head_len = wire_info_encode(r->head, &info);
    return 0;
}

static int handle_reset(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    if (ctx->reset_cb == NULL) {
        return 0;
    }
    errno = 0;
    if (ctx->reset_cb(ctx, VFU_RESET_DEVICE) < 0) {
        return errno ? errno : EINVAL;
    }
    return 0;
}

typedef int Handler(vfu_ctx_t *ctx, WireMessage *m, Reply *r);

static Handler *const handlers[WIRE_COMMAND_COUNT] = {
    [WIRE_DMA_MAP] = dma_handle_map,
    [WIRE_DMA_UNMAP] = dma_handle_unmap,
    [WIRE_GET_INFO] = handle_get_info,
    [WIRE_GET_REGION_INFO] = region_handle_info,
    [WIRE_GET_REGION_IO_FDS] = region_handle_io_fds,
    [WIRE_GET_IRQ_INFO] = irq_handle_info,
    [WIRE_SET_IRQS] = irq_handle_set,
    [WIRE_REGION_READ] = region_handle_read,
    [WIRE_REGION_WRITE] = region_handle_write,
    [WIRE_RESET] = handle_reset,
    [WIRE_DIRTY_PAGES] = dirty_handle_legacy,
    [WIRE_WRITE_MULTI] = region_handle_write_multi,
    [WIRE_DEVICE_FEATURE] = migration_handle_feature,
    [WIRE_MIG_DATA_READ] = migration_handle_read,
    [WIRE_MIG_DATA_WRITE] = migration_handle_write,
};

/* What every command must satisfy before its own checks. */
WIRE_HOT static int message_check(const vfu_ctx_t *ctx, const WireMessage *m)
{
    const WireHeader *h = &m->header;

    if ((h->flags & WIRE_TYPE_MASK) != WIRE_TYPE_COMMAND || h->command >= WIRE_COMMAND_COUNT ||
        handlers[h->command] == NULL) {
        return EINVAL;
    }
    if (m->len == 0 && h->command != WIRE_RESET) {
        return EINVAL;
    }
    return migration_allows(ctx, h->command) ? 0 : EINVAL;
}

/* Must the device be quiet while this runs?  Malformed requests say no: they fail anyway. */
WIRE_HOT static bool message_needs_quiesce(vfu_ctx_t *ctx, const WireMessage *m)
{
    WireRegionAccess access;
    WireFeature feature;

    switch (m->header.command) {
    case WIRE_DMA_MAP:
    case WIRE_DMA_UNMAP:
        return ctx->dma.enabled;
    case WIRE_RESET:
        return true;
    case WIRE_REGION_WRITE:
        return wire_region_write_decode(&access, m->body, m->len, WIRE_MAX_DATA) == 0 &&
               (pci_write_may_reset(ctx, &access) || migration_region_sets_state(ctx, &access));
    case WIRE_DEVICE_FEATURE:
        return wire_feature_decode(&feature, m->body, m->len) == 0 && !(feature.flags & WIRE_FEATURE_PROBE) &&
               ((feature.flags & WIRE_FEATURE_SET) || (feature.flags & 2));
    default:
        return false;
    }
}

/* 0: go on; EBUSY: pending; others: the request fails. */
static int quiesce(vfu_ctx_t *ctx, enum PendingQuiesce what)
{
    if (ctx->quiesce_cb == NULL) {
        return 0;
    }
    errno = 0;
    if (ctx->quiesce_cb(ctx) == 0) {
        return 0;
    }
    if (errno == EBUSY) {
        ctx->pending = what;
        ctx_update_poll(ctx);
    }
    return errno ? errno : EINVAL;
}

/* Runs the handler (unless err says no) and answers.  0, or the errno of a reply that could not be sent. */
WIRE_HOT static int message_finish(vfu_ctx_t *ctx, WireMessage *m, int err, uint64_t since)
{
    Reply r = { 0 };
    uint64_t bytes = 2 * WIRE_HEADER_SIZE + m->len;
    int lost;

    if (err == 0) {
        err = handlers[m->header.command](ctx, m, &r);
    }
    if (err) {
        vfu_log(ctx, LOG_DEBUG, "%s failed: %s", wire_command_name(m->header.command), strerror(err));
    }
    /* The fds of a request are gone before its reply arrives. */
    for (unsigned i = 0; i < m->fd_count; i++) {
        if (m->fds[i] >= 0) {
            close(m->fds[i]);
            m->fds[i] = -1;
        }
    }
    lost = conn_reply(ctx, &m->header, err, &r);
    bytes += err ? 0 : r.head_len + r.data_len;
    stats_command(ctx, m->header.command, bytes, since, err);
    free(r.heap);
    free(r.fds);
    wire_stream_recycle(ctx->stream, m);
    /* Callers look at the errno of a request that failed, although serving it succeeded. */
    errno = err;
    return lost;
}

void run_teardown(vfu_ctx_t *ctx)
{
    dma_async_abort(ctx);
    dma_unmap_all(ctx);
    dirty_log_stop(ctx);
    if (ctx->reset_cb) {
        ctx->reset_cb(ctx, VFU_RESET_LOST_CONN);
    }
    /* The device was reset: the next client finds it running. */
    ctx->migration.state = WIRE_STATE_RUNNING;
    migration_region_reset(ctx);
    irq_release_all(ctx);
    conn_close(ctx);
}

/* The connection is broken: ENOTCONN when all is cleaned up, EBUSY while the device is quiescing. */
static int run_lost(vfu_ctx_t *ctx)
{
    ctx->conn = CONN_LOST;
    /* A device with requests on their way can't become quiet. */
    dma_async_abort(ctx);
    if (ctx->pending == PENDING_NONE && quiesce(ctx, PENDING_TEARDOWN) == EBUSY) {
        return EBUSY;
    }
    run_teardown(ctx);
    return ENOTCONN;
}

/* The next command: one put aside, or from the socket. */
WIRE_HOT static int run_next_message(vfu_ctx_t *ctx, WireMessage *m)
{
    Backlog *b = ctx->backlog;

    if (b == NULL) {
        int err = EAGAIN;

        if (ctx->nb) {
            err = wait_poll(&ctx->poll, ctx->stream, m);
        } else if (ctx->batched) {
            err = wire_stream_receive(ctx->stream, m, 0);
        }
        if (err == EAGAIN && !ctx->nb) {
            /* Nobody is there to share the batch. */
            err = conn_flush(ctx);
            err = err ? err : wait_message(ctx, m);
        }
        if (err == 0 || err == EPROTO) {
            stats_received(ctx, m);
        }
        return err;
    }
    *m = b->message;
    ctx->backlog = b->next;
    if (ctx->backlog == NULL) {
        ctx->backlog_tail = &ctx->backlog;
    }
    ctx->backlog_count--;
    ctx->backlog_bytes -= m->len;
    ctx->backlog_fds -= m->fd_count;
    free(b);
    return 0;
}

/* A header whose size no message can have: answered; the stream goes on only if nothing followed it. */
static int run_bad_header(vfu_ctx_t *ctx, const WireMessage *m)
{
    const Reply none = { 0 };
    /* Before the answer: what the client sends after it is a header again. */
    bool in_order = wire_stream_resync(ctx->stream);

    vfu_log(ctx, LOG_ERR, "message of %u bytes", m->header.size);
    if (conn_reply(ctx, &m->header, EINVAL, &none) || !in_order) {
        return run_lost(ctx);
    }
    errno = EINVAL;
    return 0;
}

/* A late answer to a DMA message that was given up. */
WIRE_HOT static bool run_is_stale_reply(vfu_ctx_t *ctx, const WireHeader *h)
{
    if ((h->flags & WIRE_TYPE_MASK) != WIRE_TYPE_REPLY || ctx->dma.stale_replies == 0 ||
        (h->command != WIRE_DMA_READ && h->command != WIRE_DMA_WRITE)) {
        return false;
    }
    ctx->dma.stale_replies--;
    return true;
}

/* Has a batch grown enough, or is something left that the socket did not take? */
WIRE_HOT static bool run_must_flush(const vfu_ctx_t *ctx)
{
    size_t queued = wire_stream_queued(ctx->stream);

    return queued && (ctx->batched == 0 || ctx->batched >= ctx->batch_max || queued >= VFU_BATCH_BYTES);
}

/* Serves at most one message.  *served is set when one was dispatched; 0, EAGAIN, EINTR, EBUSY or ENOTCONN. */
WIRE_HOT static int run_one(vfu_ctx_t *ctx, bool *served)
{
    WireMessage m;
    uint64_t since;
    int err;

    *served = false;
    if (run_must_flush(ctx)) {
        err = conn_flush(ctx);
        if (err == EAGAIN || err == EINTR) {
            return err;
        }
        if (err) {
            return run_lost(ctx);
        }
    }
    err = run_next_message(ctx, &m);
    if (err == EAGAIN || err == EINTR) {
        return err;
    }
    if (err == EPROTO) {
        return run_bad_header(ctx, &m);
    }
    if (err) {
        return run_lost(ctx);
    }
    if (dma_async_take(ctx, &m)) {
        return 0;
    }
    if (run_is_stale_reply(ctx, &m.header)) {
        wire_message_clear(&m);
        return 0;
    }
    since = stats_begin(ctx);
    err = message_check(ctx, &m);
    *served = err == 0;
    if (err == 0 && message_needs_quiesce(ctx, &m)) {
        err = quiesce(ctx, PENDING_MESSAGE);
        if (err == EBUSY) {
            ctx->pending_message = m;
            ctx->pending_since = since;
            return EBUSY;
        }
    }
    return message_finish(ctx, &m, err, since) ? run_lost(ctx) : 0;
}

/* May this run of an NB context serve another message? */
WIRE_HOT static bool run_goes_on(const vfu_ctx_t *ctx, int count)
{
    return ctx->batch_max > 1 ? (uint32_t)count < ctx->batch_max : wire_stream_has_message(ctx->stream);
}

WIRE_HOT VFU_EXPORT int vfu_run_ctx(vfu_ctx_t *ctx)
{
    int err, saved, count = 0;
    bool served;

    if (!ctx->realized) {
        return vfu_fail(EINVAL);
    }
    if (ctx->unmask_fd >= 0) {
        irq_check_unmask_fd(ctx);
    }
    if (ctx->conn == CONN_LOST && ctx->pending == PENDING_NONE) {
        return vfu_fail(run_lost(ctx));
    }
    if (ctx->dma.request_count && dma_async_run(ctx)) {
        return vfu_fail(run_lost(ctx));
    }
    if (ctx->pending != PENDING_NONE) {
        ctx_update_poll(ctx);
        return vfu_fail(EBUSY);
    }
    if (ctx->conn != CONN_ATTACHED) {
        return vfu_fail(ENOTCONN);
    }
    ctx->running = true;
    do {
        err = run_one(ctx, &served);
        count += served;
    } while (err == 0 && (!ctx->nb || run_goes_on(ctx, count)));
    ctx->running = false;
    saved = errno;
    if (ctx->conn == CONN_ATTACHED && ctx->batched) {
        int flushed = conn_flush(ctx);

        if (flushed && flushed != EAGAIN && flushed != EINTR) {
            err = run_lost(ctx);
        }
    }
    if (err == EAGAIN) {
        err = 0;
    }
    if (ctx->dma.ended_count) {
        dma_async_run(ctx);
    }
    if (ctx->conn == CONN_ATTACHED) {
        ctx_update_poll(ctx);
    }
    errno = saved;
    return err ? vfu_fail(err) : count;
}

VFU_EXPORT int vfu_device_quiesced(vfu_ctx_t *ctx, int quiesce_errno)
{
    enum PendingQuiesce what = ctx->pending;
    WireMessage m;

    if (what == PENDING_NONE) {
        return vfu_fail(EINVAL);
    }
    ctx->pending = PENDING_NONE;
    if (what == PENDING_TEARDOWN) {
        /* With an errno the device is asked again by the next run. */
        if (quiesce_errno == 0) {
            run_teardown(ctx);
        }
        ctx_update_poll(ctx);
        return 0;
    }
    m = ctx->pending_message;
    ctx->pending_message = (WireMessage){ 0 };
    if (message_finish(ctx, &m, quiesce_errno, ctx->pending_since)) {
        run_lost(ctx);
        return 0;
    }
    ctx_update_poll(ctx);
    return 0;
}
