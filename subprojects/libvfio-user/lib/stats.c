/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters of a context.  Each has one writer at a time (the thread that runs the context; for DMA messages the holder of
 * their lock), so that a relaxed load and store is enough for readers in other threads.
 */
#include <errno.h>
#include <string.h>

#include "private.h"

WIRE_HOT static void add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

WIRE_HOT void stats_count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

WIRE_HOT void stats_received(vfu_ctx_t *ctx, const WireMessage *m)
{
    stats_count(&ctx->stats.messages_received, 1);
    stats_count(&ctx->stats.bytes_received, WIRE_HEADER_SIZE + m->len);
}

/* Reading the clock twice would be a noticeable part of a short request. */
WIRE_HOT uint64_t stats_begin(const vfu_ctx_t *ctx)
{
    return __atomic_load_n(&ctx->timed, __ATOMIC_RELAXED) ? wait_now_ns() : 0;
}

static void count_latency(vfu_command_stats_t *c, uint64_t ns)
{
    unsigned bucket = ns ? 63u - (unsigned)__builtin_clzll(ns) : 0;

    add(&c->total_ns, ns);
    if (ns > c->max_ns) {
        __atomic_store_n(&c->max_ns, ns, __ATOMIC_RELAXED);
    }
    add(&c->histogram[bucket < VFU_STATS_BUCKETS ? bucket : VFU_STATS_BUCKETS - 1], 1);
}

WIRE_HOT void stats_command(vfu_ctx_t *ctx, unsigned command, uint64_t bytes, uint64_t since, bool failed)
{
    vfu_command_stats_t *c;

    if (command >= VFU_STATS_COMMANDS) {
        return;
    }
    c = &ctx->stats.commands[command];
    add(&c->count, 1);
    add(&c->errors, failed);
    add(&c->bytes, bytes);
    if (since) {
        count_latency(c, wait_now_ns() - since);
    }
}

VFU_EXPORT int vfu_ctx_stats(vfu_ctx_t *ctx, vfu_ctx_stats_t *stats, size_t size)
{
    const uint64_t *from = (const uint64_t *)&ctx->stats;
    uint64_t *to = (uint64_t *)stats;
    size_t known = size < sizeof(ctx->stats) ? size : sizeof(ctx->stats);

    if (stats == NULL || size == 0 || size % sizeof(uint64_t)) {
        return vfu_fail(EINVAL);
    }
    __atomic_store_n(&ctx->timed, true, __ATOMIC_RELAXED);
    /* A caller built for a later version finds zeroes in what is not known here. */
    memset(stats, 0, size);
    for (size_t i = 0; i < known / sizeof(uint64_t); i++) {
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
    return 0;
}
