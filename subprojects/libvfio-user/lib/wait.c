/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Waiting for the next message, with adaptive polling: before a wait the socket is looked at for a while.  The while grows
 * when waits turn out to be shorter than the limit that the user set, and ends when they are longer.
 */
#include <errno.h>
#include <time.h>

#include "private.h"

#define WINDOW_FIRST_NS 10000u

WIRE_HOT uint64_t wait_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Learns from a wait that polling did not cover. */
static void window_adapt(PollWindow *w, uint64_t waited_ns)
{
    if (waited_ns > w->max_ns) {
        w->window_ns = 0;
        return;
    }
    w->window_ns = w->window_ns ? w->window_ns * 2 : WINDOW_FIRST_NS;
    if (w->window_ns > w->max_ns) {
        w->window_ns = w->max_ns;
    }
}

WIRE_HOT int wait_poll(PollWindow *w, WireStream *s, WireMessage *m)
{
    int err = wire_stream_receive(s, m, 0);
    uint64_t start, now;

    if (w->max_ns == 0) {
        return err;
    }
    if (err == 0 && w->idle_since) {
        window_adapt(w, wait_now_ns() - w->idle_since);
        w->idle_since = 0;
    }
    /* One idle time is polled through once, however often the caller asks. */
    if (err != EAGAIN || w->idle_since) {
        return err;
    }
    start = now = wait_now_ns();
    while (err == EAGAIN && now - start < w->window_ns) {
        err = wire_stream_receive(s, m, 0);
        now = wait_now_ns();
    }
    if (err == EAGAIN) {
        w->idle_since = start;
    }
    return err;
}

WIRE_HOT int wait_message(vfu_ctx_t *ctx, WireMessage *m)
{
    int unmask_fd = irq_unmask_fd(ctx), err;

    if (ctx->poll.max_ns) {
        err = wait_poll(&ctx->poll, ctx->stream, m);
        if (err != EAGAIN) {
            return err;
        }
    }
    while (unmask_fd >= 0) {
        struct pollfd p[2] = { { .fd = wire_stream_fd(ctx->stream), .events = POLLIN }, { unmask_fd, POLLIN, 0 } };

        if (poll(p, 2, -1) < 0) {
            return errno;
        }
        irq_check_unmask_fd(ctx);
        if (p[0].revents) {
            break;
        }
    }
    err = wire_stream_receive(ctx->stream, m, WIRE_STREAM_WAIT);
    if (err == 0 && ctx->poll.idle_since) {
        window_adapt(&ctx->poll, wait_now_ns() - ctx->poll.idle_since);
        ctx->poll.idle_since = 0;
    }
    return err;
}

VFU_EXPORT int vfu_ctx_set_poll(vfu_ctx_t *ctx, uint32_t max_us)
{
    const PollWindow fresh = { .max_ns = (uint64_t)max_us * 1000 };

    if (max_us > VFU_POLL_MAX_US) {
        return vfu_fail(EINVAL);
    }
    pthread_mutex_lock(&ctx->dma.message_lock);
    ctx->poll = fresh;
    ctx->dma.poll = fresh;
    pthread_mutex_unlock(&ctx->dma.message_lock);
    return 0;
}
