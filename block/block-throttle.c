/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits of bytes and requests a second (throttling.*).  Each limit is a leaky bucket: a request pours in
 * what it costs, time drains it at the average rate, and while it holds more than a burst's worth the next
 * request waits.
 */
#include <math.h>

#include "block/block-internal.h"

/* Without a burst of its own a limit lets a tenth of a second's worth through at once. */
#define BURST_PART 10

typedef struct Bucket {
    double rate;     /* units a second; 0: no limit */
    double capacity; /* units */
    double level;    /* units */
} Bucket;

struct BlockThrottle {
    Bucket buckets[BLOCK_BUCKETS];
    uint64_t iops_size; /* bytes a request may have before it counts for more than one; 0: any */
    int64_t drained_at; /* ns */
    BlockReqQueue waiting;
    Timer *timer;
    ClockSource *clocks;
};

BlockThrottle *block_throttle_new(const BlockLimit *limits, uint64_t iops_size)
{
    BlockThrottle *t = NULL;

    for (unsigned i = 0; i < BLOCK_BUCKETS; i++) {
        if (limits[i].average) {
            t = t ? t : g_new0(BlockThrottle, 1);
            t->buckets[i].rate = (double)limits[i].average;
            t->buckets[i].capacity =
                limits[i].burst ? (double)limits[i].burst : (double)limits[i].average / BURST_PART;
        }
    }
    if (t) {
        t->iops_size = iops_size;
    }
    return t;
}

void block_throttle_free(BlockThrottle *t)
{
    if (t) {
        timer_free(t->timer);
        g_free(t);
    }
}

/* What the request pours into a bucket. */
static double cost(const BlockThrottle *t, const BlockReq *req, unsigned bucket)
{
    const bool is_write = req->kind != BLOCK_OP_READ;
    const unsigned direction = bucket % 3; /* total, read, write */
    double requests = 1;

    if ((direction == 1 && is_write) || (direction == 2 && !is_write)) {
        return 0;
    }
    if (bucket < BLOCK_IOPS_TOTAL) {
        return (double)req->len;
    }
    if (t->iops_size && req->len > t->iops_size) {
        requests = (double)req->len / (double)t->iops_size;
    }
    return requests;
}

static void drain(BlockThrottle *t)
{
    int64_t now = clock_now(t->clocks, CLOCK_KIND_VIRTUAL);
    double seconds = (double)(now - t->drained_at) / 1e9;

    t->drained_at = now;
    for (unsigned i = 0; i < BLOCK_BUCKETS; i++) {
        t->buckets[i].level = fmax(0, t->buckets[i].level - seconds * t->buckets[i].rate);
    }
}

/* Nanoseconds until every bucket the request pours into is below its capacity. */
static int64_t wait_ns(const BlockThrottle *t, const BlockReq *req)
{
    double seconds = 0;

    for (unsigned i = 0; i < BLOCK_BUCKETS; i++) {
        const Bucket *b = &t->buckets[i];

        if (b->rate > 0 && cost(t, req, i) > 0 && b->level > b->capacity) {
            seconds = fmax(seconds, (b->level - b->capacity) / b->rate);
        }
    }
    return (int64_t)ceil(seconds * 1e9);
}

static void pour(BlockThrottle *t, const BlockReq *req)
{
    for (unsigned i = 0; i < BLOCK_BUCKETS; i++) {
        if (t->buckets[i].rate > 0) {
            t->buckets[i].level += cost(t, req, i);
        }
    }
}

static void start_allowed(BlockBackend *blk)
{
    BlockThrottle *t = blk->throttle;
    int64_t wait = 0;

    drain(t);
    while (t->waiting.head && !(wait = wait_ns(t, t->waiting.head))) {
        BlockReq *req = block_queue_pop(&t->waiting);

        pour(t, req);
        block_req_start(req);
    }
    if (t->waiting.head) {
        timer_set(t->timer, t->drained_at + wait);
    }
}

static void timer_due(void *opaque)
{
    start_allowed(opaque);
}

void block_throttle_attach(BlockBackend *blk)
{
    BlockThrottle *t = blk->throttle;

    if (t) {
        t->clocks = blk->obj.machine->clocks;
        t->timer = timer_new(blk->loop, CLOCK_KIND_VIRTUAL, timer_due, blk);
        t->drained_at = clock_now(t->clocks, CLOCK_KIND_VIRTUAL);
    }
}

void block_throttle_detach(BlockBackend *blk)
{
    if (blk->throttle) {
        g_clear_pointer(&blk->throttle->timer, timer_free);
    }
}

bool block_throttle_hold(BlockReq *req)
{
    BlockThrottle *t = req->blk->throttle;

    if (!t || req->kind == BLOCK_OP_FLUSH) {
        return false;
    }
    block_queue_push(&t->waiting, req);
    start_allowed(req->blk);
    return true;
}

void block_throttle_release(BlockBackend *blk)
{
    BlockReq *req;

    while (blk->throttle && (req = block_queue_pop(&blk->throttle->waiting))) {
        pour(blk->throttle, req);
        block_req_start(req);
    }
}
