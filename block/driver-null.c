/* SPDX-License-Identifier: GPL-2.0-or-later */
/* null-co: a disk that forgets, for measuring everything else.  Reads leave memory alone unless read-zeroes=on. */
#include <string.h>

#include "block/block-opts.h"

#define NULL_DEFAULT_SIZE (UINT64_C(1) << 30)

struct BlockEngine {
    BlockBackend *blk;
    bool read_zeroes;
    int64_t latency_ns;
    BlockReqQueue started; /* in the order of their ends */
    LoopBh *bh;
    Timer *timer;
};

static bool null_start(BlockBackend *blk, GError **error)
{
    blk->engine = g_new0(BlockEngine, 1);
    blk->engine->blk = blk;
    return true;
}

static void null_stop(BlockBackend *blk)
{
    g_free(g_steal_pointer(&blk->engine));
}

static void null_end_first(BlockEngine *e)
{
    BlockReq *req = block_queue_pop(&e->started);

    if (e->read_zeroes && req->kind == BLOCK_OP_READ) {
        for (int i = req->iov_index; i < req->iovcnt; i++) {
            memset(req->iov[i].iov_base, 0, req->iov[i].iov_len);
        }
    }
    block_req_complete(req);
}

/* Those of now: what their ends submit has its own turn. */
static void null_end_all(void *opaque)
{
    BlockEngine *e = opaque;
    BlockReq *last = e->started.tail;

    while (e->started.head) {
        bool ends = e->started.head == last;

        null_end_first(e);
        if (ends) {
            break;
        }
    }
}

/* With a latency each request has its own end, kept in engine_data. */
static void null_end_due(void *opaque)
{
    BlockEngine *e = opaque;
    int64_t now = clock_now(e->blk->obj.machine->clocks, CLOCK_KIND_REALTIME);

    while (e->started.head && e->started.head->engine_data <= now) {
        null_end_first(e);
    }
    if (e->started.head) {
        timer_set(e->timer, e->started.head->engine_data);
    }
}

static void null_attach(BlockBackend *blk)
{
    BlockEngine *e = blk->engine;

    e->bh = loop_bh_new(blk->loop, null_end_all, e);
    e->timer = timer_new(blk->loop, CLOCK_KIND_REALTIME, null_end_due, e);
}

static void null_detach(BlockBackend *blk)
{
    g_clear_pointer(&blk->engine->bh, loop_bh_free);
    g_clear_pointer(&blk->engine->timer, timer_free);
}

static void null_submit(BlockBackend *blk)
{
    BlockEngine *e = blk->engine;
    BlockReq *req;

    while ((req = block_queue_pop(&blk->queue))) {
        blk->in_flight++;
        block_queue_push(&e->started, req);
        if (e->latency_ns) {
            req->engine_data = clock_now(blk->obj.machine->clocks, CLOCK_KIND_REALTIME) + e->latency_ns;
        }
    }
    if (!e->started.head) {
        return;
    }
    if (e->latency_ns) {
        timer_set(e->timer, e->started.head->engine_data);
    } else {
        loop_bh_schedule(e->bh);
    }
}

static void null_poll(BlockBackend *blk, bool wait)
{
    if (wait) {
        null_end_all(blk->engine);
    }
}

static const BlockEngineOps engine_null = {
    .name = "null",
    .start = null_start,
    .stop = null_stop,
    .attach = null_attach,
    .detach = null_detach,
    .submit = null_submit,
    .poll = null_poll,
};

static bool null_open(BlockBackend *blk, const BlockOpts *o, GError **error)
{
    blk->file = g_strdup("null-co://");
    blk->size = o->size ? o->size & ~(uint64_t)(BLOCK_SECTOR_SIZE - 1) : NULL_DEFAULT_SIZE;
    blk->engine_ops = &engine_null;
    engine_null.start(blk, error);
    blk->engine->read_zeroes = o->read_zeroes;
    blk->engine->latency_ns = (int64_t)o->latency_ns;
    return true;
}

const BlockDriver block_driver_null_co = {"null-co", "forgets what is written", null_open};
