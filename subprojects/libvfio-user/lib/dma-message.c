/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's memory without a mapping: DMA_READ and DMA_WRITE over the socket (the twin if there is one), or
 * pread and pwrite on the region's file.  While a reply is awaited on the shared socket, commands of the client are put
 * aside for vfu_run_ctx(); the client serves our requests while it waits for its own.
 */
#include <errno.h>
#include <string.h>

#include "private.h"

static int64_t now_ms(void)
{
    return (int64_t)(wait_now_ns() / 1000000);
}

/* Waits for the socket until the deadline; sends what is queued meanwhile. */
static int dma_wait(WireStream *s, int64_t deadline)
{
    int64_t left = deadline - now_ms();
    int err;

    if (left <= 0) {
        return ETIMEDOUT;
    }
    err = wire_stream_poll(s, (short)(POLLIN | (wire_stream_queued(s) ? POLLOUT : 0)), (int)left);
    if (err == EINTR) {
        return 0;
    }
    if (err == 0 && wire_stream_queued(s)) {
        err = wire_stream_flush(s, 0);
        err = err == EAGAIN ? 0 : err;
    }
    return err;
}

int dma_put_aside(vfu_ctx_t *ctx, WireStream *s, WireMessage *m)
{
    int err;

    if ((m->header.flags & WIRE_TYPE_MASK) == WIRE_TYPE_COMMAND && s == ctx->stream) {
        err = conn_backlog_add(ctx, m);
        if (err) {
            wire_message_clear(m);
        }
        return err;
    }
    if (dma_async_take(ctx, m)) {
        return 0;
    }
    wire_message_clear(m);
    /* Which of the two it is does not matter: nobody waits for either. */
    if (s == ctx->twin && ctx->dma.refusals) {
        ctx->dma.refusals--;
        return 0;
    }
    if (ctx->dma.stale_replies == 0) {
        return EPROTO;
    }
    ctx->dma.stale_replies--;
    return 0;
}

/* The reply with this id.  ETIMEDOUT, or an errno that means that the connection is of no use any more. */
static int dma_await(vfu_ctx_t *ctx, WireStream *s, const DmaMessage *x, WireMessage *m, int64_t last)
{
    int64_t deadline = now_ms() + VFU_DMA_TIMEOUT_MS;

    deadline = deadline < last ? deadline : last;
    for (;;) {
        int err = wait_poll(&ctx->dma.poll, s, m);

        if (err == EAGAIN) {
            err = dma_wait(s, deadline);
            if (err) {
                return err;
            }
            continue;
        }
        if (err) {
            return err;
        }
        stats_received(ctx, m);
        if (dma_message_answered_by(x, &m->header)) {
            return 0;
        }
        err = dma_put_aside(ctx, s, m);
        if (err) {
            return err;
        }
    }
}

bool dma_message_answered_by(const DmaMessage *x, const WireHeader *h)
{
    return h->id == x->id && h->command == x->command && (h->flags & WIRE_TYPE_MASK) == WIRE_TYPE_REPLY;
}

WireStream *dma_message_stream(const vfu_ctx_t *ctx)
{
    return ctx->twin ? ctx->twin : ctx->stream;
}

int dma_message_send(vfu_ctx_t *ctx, DmaMessage *x, uint64_t iova, uint64_t length, uint8_t *data, bool is_write)
{
    uint64_t limit = ctx->client.max_data_xfer_size < WIRE_MAX_DATA ? ctx->client.max_data_xfer_size : WIRE_MAX_DATA;
    uint8_t head[WIRE_DMA_ACCESS_SIZE];
    WireHeader h = { .id = ctx->dma.message_id++, .flags = WIRE_TYPE_COMMAND };
    struct iovec iov[2];
    int err;

    *x = (DmaMessage){
        .id = h.id,
        .command = is_write ? WIRE_DMA_WRITE : WIRE_DMA_READ,
        .access.address = iova,
        .access.count = length < limit ? length : limit,
        .data = data,
        .since = stats_begin(ctx),
    };
    h.command = (uint16_t)x->command;
    iov[0] = (struct iovec){ head, wire_dma_access_encode(head, &x->access) };
    iov[1] = (struct iovec){ x->data, x->access.count };
    err = wire_stream_send(dma_message_stream(ctx), &h, iov, is_write ? 2 : 1, NULL, 0, 0);
    if (err == 0) {
        x->sent = h.size;
        stats_count(&ctx->stats.messages_sent, 1);
        stats_count(&ctx->stats.bytes_sent, h.size);
    }
    return err;
}

int dma_message_finish(vfu_ctx_t *ctx, const DmaMessage *x, WireMessage *m)
{
    WireDmaAccess got;
    int err = wire_header_error(&m->header);

    if (err == 0 && x->command == WIRE_DMA_WRITE) {
        err = wire_dma_write_decode_reply(m->body, m->len, &x->access);
    } else if (err == 0) {
        err = wire_dma_read_decode_reply(&got, m->body, m->len, &x->access);
        if (err == 0) {
            memcpy(x->data, got.data, got.count);
        }
    }
    stats_command(ctx, x->command, x->sent + WIRE_HEADER_SIZE + m->len, x->since, err);
    wire_message_clear(m);
    return err;
}

/* One message there and back.  The connection is shut down after an error that leaves it without order. */
static int dma_exchange(vfu_ctx_t *ctx, const dma_sg_t *sg, uint64_t *done, uint8_t *data, bool is_write, int64_t last)
{
    WireMessage m;
    DmaMessage x;
    int err = dma_message_send(ctx, &x, sg->region->iova + sg->offset + *done, sg->length - *done, data + *done,
                               is_write);

    if (err == 0) {
        err = dma_await(ctx, dma_message_stream(ctx), &x, &m, last);
    }
    if (err == ETIMEDOUT) {
        vfu_log(ctx, LOG_ERR, "the client did not answer %s in time", wire_command_name(x.command));
        ctx->dma.stale_replies++;
        return err;
    }
    if (err) {
        wire_stream_shutdown(ctx->stream);
        return err == ENOBUFS || err == EPROTO ? err : ENOTCONN;
    }
    *done += x.access.count;
    return dma_message_finish(ctx, &x, &m);
}

/*
 * A client that left a request without an answer is not waited for again before it has caught up: it can hold this thread
 * up once, not with each access.
 */
static int dma_catch_up(vfu_ctx_t *ctx)
{
    WireStream *s = dma_message_stream(ctx);

    while (ctx->dma.stale_replies) {
        WireMessage m;
        int err = wire_stream_receive(s, &m, 0);

        if (err == EAGAIN || err == EINTR) {
            return ETIMEDOUT;
        }
        if (err == 0) {
            stats_received(ctx, &m);
            err = dma_put_aside(ctx, s, &m);
        }
        if (err) {
            wire_stream_shutdown(ctx->stream);
            return err == ENOBUFS || err == EPROTO ? err : ENOTCONN;
        }
    }
    return 0;
}

/* With the lock.  Takes the answers to refusals that are there. */
static int refusals_take(vfu_ctx_t *ctx)
{
    int err = 0;

    while (err == 0 && ctx->dma.refusals) {
        WireMessage m;

        err = wire_stream_receive(ctx->twin, &m, 0);
        if (err == 0) {
            stats_received(ctx, &m);
            err = dma_put_aside(ctx, ctx->twin, &m);
        }
    }
    return err == EAGAIN || err == EINTR ? 0 : err;
}

VFU_EXPORT void vfu_dma_refused(vfu_ctx_t *ctx, uint64_t iova, bool is_write)
{
    DmaMessage x;
    int err;

    pthread_mutex_lock(&ctx->dma.message_lock);
    if (ctx->conn == CONN_ATTACHED && ctx->twin && ctx->client.dma_faults) {
        err = refusals_take(ctx);
        if (err == 0 && ctx->dma.refusals < VFU_DMA_REFUSALS_MAX) {
            ctx->dma.refusals++;
            err = dma_message_send(ctx, &x, iova, 0, NULL, is_write);
        }
        if (err) {
            wire_stream_shutdown(ctx->stream);
        }
    }
    pthread_mutex_unlock(&ctx->dma.message_lock);
}

/* In pieces that the client takes.  Their number is the client's choice, how long that lasts is not. */
static int dma_by_messages(vfu_ctx_t *ctx, const dma_sg_t *sg, uint8_t *data, bool is_write)
{
    uint64_t done = 0;
    int64_t last;
    int err;

    pthread_mutex_lock(&ctx->dma.message_lock);
    last = now_ms() + (int64_t)(1 + sg->length / WIRE_MAX_DATA) * VFU_DMA_TIMEOUT_MS;
    err = ctx->conn == CONN_ATTACHED ? dma_catch_up(ctx) : ENOTCONN;
    while (err == 0 && done < sg->length) {
        err = dma_exchange(ctx, sg, &done, data, is_write, last);
    }
    pthread_mutex_unlock(&ctx->dma.message_lock);
    return err;
}

/* Through the file, which the client may have truncated: an access to a mapping could then be fatal. */
static int dma_by_file(const dma_sg_t *sg, uint8_t *data, bool is_write)
{
    off_t offset = (off_t)(sg->region->fd_offset + sg->offset);
    uint64_t done = 0;

    while (done < sg->length) {
        size_t left = sg->length - done;
        ssize_t n = is_write ? pwrite(sg->region->fd, data + done, left, offset + (off_t)done) :
                               pread(sg->region->fd, data + done, left, offset + (off_t)done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno;
        }
        if (n == 0) {
            return EIO;
        }
        done += (uint64_t)n;
    }
    return 0;
}

static int dma_copy(vfu_ctx_t *ctx, dma_sg_t *sg, size_t cnt, void *data, int flags, bool is_write)
{
    int err;

    if (cnt != 1) {
        return vfu_fail(ENOTSUP);
    }
    if ((flags & ~VFU_SGL_DIRECT_ACCESS) || sg->region == NULL) {
        return vfu_fail(EINVAL);
    }
    if (is_write && !sg->writeable) {
        return vfu_fail(EPERM);
    }
    if ((flags & VFU_SGL_DIRECT_ACCESS) && sg->region->fd >= 0) {
        err = dma_by_file(sg, data, is_write);
        if (err == 0 && is_write) {
            dirty_mark(ctx, sg->region, sg->offset, sg->length);
        }
    } else {
        err = dma_by_messages(ctx, sg, data, is_write);
    }
    return err ? vfu_fail(err) : 0;
}

VFU_EXPORT int vfu_sgl_read(vfu_ctx_t *ctx, dma_sg_t *sg, size_t cnt, void *data, int flags)
{
    return dma_copy(ctx, sg, cnt, data, flags, false);
}

VFU_EXPORT int vfu_sgl_write(vfu_ctx_t *ctx, dma_sg_t *sg, size_t cnt, void *data, int flags)
{
    return dma_copy(ctx, sg, cnt, data, flags, true);
}

VFU_EXPORT int vfu_sgl_read_compat(vfu_ctx_t *ctx, dma_sg_t *sg, size_t cnt, void *data)
{
    return vfu_sgl_read(ctx, sg, cnt, data, 0);
}

VFU_EXPORT int vfu_sgl_write_compat(vfu_ctx_t *ctx, dma_sg_t *sg, size_t cnt, void *data)
{
    return vfu_sgl_write(ctx, sg, cnt, data, 0);
}
