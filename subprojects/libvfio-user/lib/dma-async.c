/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's memory by DMA_READ and DMA_WRITE without waiting: vfu_run_ctx() takes the answers and calls back.  Each
 * request has one message on its way; the next piece of a long one goes out when the answer to the last is there.
 */
#include <errno.h>

#include "private.h"

struct DmaRequest {
    DmaRequest *next;
    uint64_t iova, left;        /* what was not asked for yet; the region may be gone before that is */
    uint8_t *data;
    DmaMessage message;
    bool is_write, ended;
    int err;
    vfu_sgl_done_cb_t *cb;
    void *opaque;
};

static void request_end(vfu_ctx_t *ctx, DmaRequest *r, int err)
{
    r->ended = true;
    r->err = err;
    ctx->dma.ended_count++;
}

static int request_send(vfu_ctx_t *ctx, DmaRequest *r)
{
    int err = dma_message_send(ctx, &r->message, r->iova, r->left, r->data, r->is_write);

    r->iova += r->message.access.count;
    r->left -= r->message.access.count;
    r->data += r->message.access.count;
    return err;
}

static void request_append(vfu_ctx_t *ctx, DmaRequest *r)
{
    DmaRequest **end = &ctx->dma.requests;

    while (*end) {
        end = &(*end)->next;
    }
    *end = r;
    ctx->dma.request_count++;
}

/* Nothing of the request can be sent while another thread waits for an answer. */
static int request_start(vfu_ctx_t *ctx, DmaRequest *r)
{
    int err;

    if (pthread_mutex_trylock(&ctx->dma.message_lock)) {
        return EAGAIN;
    }
    err = ctx->dma.request_count < VFU_DMA_ASYNC_MAX ? request_send(ctx, r) : EAGAIN;
    if (err == 0) {
        request_append(ctx, r);
        ctx_update_poll(ctx);
    } else if (err != EAGAIN) {
        wire_stream_shutdown(ctx->stream);
        err = err == ENOBUFS ? err : ENOTCONN;
    }
    pthread_mutex_unlock(&ctx->dma.message_lock);
    return err;
}

static int sgl_start(vfu_ctx_t *ctx, const dma_sg_t *sg, void *data, bool is_write, vfu_sgl_done_cb_t *cb, void *opaque)
{
    DmaRequest *r;
    int err;

    if (!ctx->nb) {
        return vfu_fail(ENOTSUP);
    }
    if (sg->region == NULL || sg->length == 0 || cb == NULL) {
        return vfu_fail(EINVAL);
    }
    if (is_write && !sg->writeable) {
        return vfu_fail(EPERM);
    }
    if (ctx->conn != CONN_ATTACHED) {
        return vfu_fail(ENOTCONN);
    }
    r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return vfu_fail(ENOMEM);
    }
    *r = (DmaRequest){
        .iova = sg->region->iova + sg->offset,
        .left = sg->length,
        .data = data,
        .is_write = is_write,
        .cb = cb,
        .opaque = opaque,
    };
    err = request_start(ctx, r);
    if (err) {
        free(r);
        return vfu_fail(err);
    }
    return 0;
}

VFU_EXPORT int vfu_sgl_read_async(vfu_ctx_t *ctx, dma_sg_t *sg, void *data, vfu_sgl_done_cb_t *cb, void *opaque)
{
    return sgl_start(ctx, sg, data, false, cb, opaque);
}

VFU_EXPORT int vfu_sgl_write_async(vfu_ctx_t *ctx, dma_sg_t *sg, const void *data, vfu_sgl_done_cb_t *cb, void *opaque)
{
    return sgl_start(ctx, sg, (void *)(uintptr_t)data, true, cb, opaque);
}

WIRE_HOT bool dma_async_take(vfu_ctx_t *ctx, WireMessage *m)
{
    DmaRequest *r = ctx->dma.requests;
    int err;

    while (r && (r->ended || !dma_message_answered_by(&r->message, &m->header))) {
        r = r->next;
    }
    if (r == NULL) {
        return false;
    }
    err = dma_message_finish(ctx, &r->message, m);
    if (err == 0 && r->left) {
        err = request_send(ctx, r);
        if (err == 0) {
            return true;
        }
        wire_stream_shutdown(ctx->stream);
    }
    request_end(ctx, r, err);
    ctx_update_poll(ctx);
    return true;
}

static int async_receive(vfu_ctx_t *ctx, WireStream *s)
{
    int err = 0;

    if (pthread_mutex_trylock(&ctx->dma.message_lock)) {
        return 0;
    }
    if (wire_stream_queued(s)) {
        err = wire_stream_flush(s, 0);
        err = err == EAGAIN ? 0 : err;
    }
    while (err == 0) {
        WireMessage m;

        err = wire_stream_receive(s, &m, 0);
        if (err == 0) {
            stats_received(ctx, &m);
            err = dma_put_aside(ctx, s, &m);
        }
    }
    pthread_mutex_unlock(&ctx->dma.message_lock);
    return err == EAGAIN || err == EINTR ? 0 : err;
}

/* Takes the oldest request whose callback is due out of the list, or NULL. */
static DmaRequest *async_next_ended(vfu_ctx_t *ctx)
{
    DmaRequest **at = &ctx->dma.requests, *r;

    while (*at && !(*at)->ended) {
        at = &(*at)->next;
    }
    r = *at;
    if (r) {
        *at = r->next;
        ctx->dma.request_count--;
        ctx->dma.ended_count--;
    }
    return r;
}

/* Callbacks may begin further requests: only what is due by now is called. */
static void async_call_back(vfu_ctx_t *ctx)
{
    for (uint32_t due = ctx->dma.ended_count; due; due--) {
        DmaRequest *r = async_next_ended(ctx);

        r->cb(ctx, r->opaque, r->err);
        free(r);
    }
}

int dma_async_run(vfu_ctx_t *ctx)
{
    int err = 0;

    if (ctx->dma.request_count > ctx->dma.ended_count && (ctx->twin || ctx->pending != PENDING_NONE)) {
        err = async_receive(ctx, dma_message_stream(ctx));
    }
    async_call_back(ctx);
    return err;
}

void dma_async_abort(vfu_ctx_t *ctx)
{
    for (DmaRequest *r = ctx->dma.requests; r; r = r->next) {
        if (!r->ended) {
            request_end(ctx, r, ENOTCONN);
        }
    }
    async_call_back(ctx);
}
