/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread pool engine: each node has up to four threads that carry requests
 * out with ordinary system calls.  All but the first start when they are needed; they live as long as the
 * node.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "block/block-internal.h"

#define POOL_THREADS 4

struct BlockEngine {
    BlockBackend *blk;
    pthread_mutex_t lock;
    pthread_cond_t work, ended;
    BlockReqQueue todo, done; /* under lock */
    unsigned idle;            /* threads waiting for work; under lock */
    unsigned queued;          /* in todo; under lock */
    bool stopping;            /* under lock */
    unsigned threads;
    pthread_t thread[POOL_THREADS];
    LoopBh *bh;
};

static int64_t req_perform(BlockReq *req)
{
    const int keep = FALLOC_FL_KEEP_SIZE;
    const off_t offset = (off_t)(req->offset + req->progress);
    struct iovec *iov;
    int64_t res = -1;
    int count;

    errno = 0;
    switch (req->op) {
    case BLOCK_OP_READ:
        iov = block_req_iov(req, &count);
        res = preadv(req->fd, iov, count, offset);
        break;
    case BLOCK_OP_WRITE:
        iov = block_req_iov(req, &count);
        res = pwritev2(req->fd, iov, count, offset, req->dsync ? RWF_DSYNC : 0);
        break;
    case BLOCK_OP_FLUSH:
        res = fdatasync(req->fd);
        break;
    case BLOCK_OP_PUNCH:
        res = fallocate(req->fd, FALLOC_FL_PUNCH_HOLE | keep, offset, (off_t)req->len);
        break;
    case BLOCK_OP_ZERO_RANGE:
        res = fallocate(req->fd, FALLOC_FL_ZERO_RANGE | keep, offset, (off_t)req->len);
        break;
    case BLOCK_OP_NONE:
        return 0;
    }
    return res < 0 ? -errno : res;
}

static void *pool_thread(void *opaque)
{
    BlockEngine *e = opaque;

    pthread_mutex_lock(&e->lock);
    for (;;) {
        BlockReq *req = block_queue_pop(&e->todo);

        if (!req) {
            if (e->stopping) {
                break;
            }
            e->idle++;
            pthread_cond_wait(&e->work, &e->lock);
            e->idle--;
            continue;
        }
        e->queued--;
        pthread_mutex_unlock(&e->lock);
        while (!block_req_step(req, req_perform(req))) {
        }
        pthread_mutex_lock(&e->lock);
        block_queue_push(&e->done, req);
        pthread_cond_signal(&e->ended);
        loop_bh_schedule(e->bh);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

static void pool_stop(BlockBackend *blk)
{
    BlockEngine *e = blk->engine;

    pthread_mutex_lock(&e->lock);
    e->stopping = true;
    pthread_cond_broadcast(&e->work);
    pthread_mutex_unlock(&e->lock);
    for (unsigned i = 0; i < e->threads; i++) {
        pthread_join(e->thread[i], NULL);
    }
    pthread_cond_destroy(&e->ended);
    pthread_cond_destroy(&e->work);
    pthread_mutex_destroy(&e->lock);
    g_free(e);
    blk->engine = NULL;
}

static bool pool_add_thread(BlockEngine *e)
{
    bool ok = e->threads < POOL_THREADS && !pthread_create(&e->thread[e->threads], NULL, pool_thread, e);

    e->threads += ok;
    return ok;
}

static bool pool_start(BlockBackend *blk, GError **error)
{
    BlockEngine *e = g_new0(BlockEngine, 1);

    e->blk = blk;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    pthread_cond_init(&e->ended, NULL);
    blk->engine = e;
    if (!pool_add_thread(e)) {
        error_set(error, "-drive file=%s: cannot start a thread for its requests", blk->file);
        pool_stop(blk);
        return false;
    }
    return true;
}

/* With what has ended, without the lock held. */
static void pool_complete(BlockEngine *e, BlockReqQueue *done)
{
    BlockReq *req;

    while ((req = block_queue_pop(done))) {
        block_req_complete(req);
    }
}

static void pool_poll(BlockBackend *blk, bool wait)
{
    BlockEngine *e = blk->engine;
    BlockReqQueue done;

    pthread_mutex_lock(&e->lock);
    while (wait && !e->done.head) {
        pthread_cond_wait(&e->ended, &e->lock);
    }
    done = e->done;
    e->done = (BlockReqQueue){NULL, NULL};
    pthread_mutex_unlock(&e->lock);
    pool_complete(e, &done);
}

static void pool_submit(BlockBackend *blk)
{
    BlockEngine *e = blk->engine;
    unsigned wake = 0;

    pthread_mutex_lock(&e->lock);
    while (blk->queue.head) {
        block_queue_push(&e->todo, block_queue_pop(&blk->queue));
        e->queued++;
        blk->in_flight++;
        wake++;
    }
    for (unsigned missing = e->queued > e->idle ? e->queued - e->idle : 0; missing && pool_add_thread(e);
         missing--) {
    }
    for (unsigned i = 0; i < MIN(wake, e->idle); i++) {
        pthread_cond_signal(&e->work);
    }
    pthread_mutex_unlock(&e->lock);
}

static void pool_bh(void *opaque)
{
    BlockEngine *e = opaque;

    pool_poll(e->blk, false);
}

static void pool_attach(BlockBackend *blk)
{
    blk->engine->bh = loop_bh_new(blk->loop, pool_bh, blk->engine);
}

static void pool_detach(BlockBackend *blk)
{
    BlockEngine *e = blk->engine;

    /* A thread that put the last request on the list may be about to schedule. */
    pthread_mutex_lock(&e->lock);
    pthread_mutex_unlock(&e->lock);
    loop_bh_free(e->bh);
    e->bh = NULL;
}

const BlockEngineOps block_engine_threads = {
    .name = "threads",
    .start = pool_start,
    .stop = pool_stop,
    .attach = pool_attach,
    .detach = pool_detach,
    .submit = pool_submit,
    .poll = pool_poll,
};
