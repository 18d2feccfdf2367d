/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The io_uring engine: a ring for each node.  What is queued between plug and
 * unplug goes to the kernel with one system call; an eventfd tells the loop of completions.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/block-internal.h"

struct BlockEngine {
    BlockBackend *blk;
    struct io_uring ring;
    int event_fd;
    LoopFd *watch;
    LoopPoller *poller;
    BlockReqQueue again; /* need another system call; not counted in the ring */
};

static bool uring_start(BlockBackend *blk, GError **error)
{
    BlockEngine *e = g_new0(BlockEngine, 1);
    int res = io_uring_queue_init(BLOCK_MAX_IN_FLIGHT, &e->ring, 0);

    if (res < 0) {
        error_set_errno(error, -res, "aio=io_uring: the kernel refuses a ring");
        g_free(e);
        return false;
    }
    e->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    res = e->event_fd < 0 ? -errno : io_uring_register_eventfd(&e->ring, e->event_fd);
    if (res < 0) {
        error_set_errno(error, -res, "aio=io_uring: cannot use an eventfd");
        if (e->event_fd >= 0) {
            close(e->event_fd);
        }
        io_uring_queue_exit(&e->ring);
        g_free(e);
        return false;
    }
    e->blk = blk;
    blk->engine = e;
    return true;
}

static void uring_stop(BlockBackend *blk)
{
    BlockEngine *e = blk->engine;

    io_uring_queue_exit(&e->ring);
    close(e->event_fd);
    g_free(e);
    blk->engine = NULL;
}

static void req_prepare(BlockReq *req, struct io_uring_sqe *sqe)
{
    const int keep = FALLOC_FL_KEEP_SIZE;
    const uint64_t offset = req->offset + req->progress;
    struct iovec *iov;
    int count;

    switch (req->op) {
    case BLOCK_OP_READ:
        iov = block_req_iov(req, &count);
        if (count == 1) {
            io_uring_prep_read(sqe, req->fd, iov->iov_base, (unsigned)MIN(iov->iov_len, INT_MAX), offset);
        } else {
            io_uring_prep_readv(sqe, req->fd, iov, (unsigned)count, offset);
        }
        break;
    case BLOCK_OP_WRITE:
        iov = block_req_iov(req, &count);
        if (count == 1) {
            io_uring_prep_write(sqe, req->fd, iov->iov_base, (unsigned)MIN(iov->iov_len, INT_MAX), offset);
        } else {
            io_uring_prep_writev(sqe, req->fd, iov, (unsigned)count, offset);
        }
        sqe->rw_flags = req->dsync ? RWF_DSYNC : 0;
        break;
    case BLOCK_OP_FLUSH:
        io_uring_prep_fsync(sqe, req->fd, IORING_FSYNC_DATASYNC);
        break;
    case BLOCK_OP_PUNCH:
        io_uring_prep_fallocate(sqe, req->fd, FALLOC_FL_PUNCH_HOLE | keep, (off_t)offset, (off_t)req->len);
        break;
    case BLOCK_OP_ZERO_RANGE:
        io_uring_prep_fallocate(sqe, req->fd, FALLOC_FL_ZERO_RANGE | keep, (off_t)offset, (off_t)req->len);
        break;
    case BLOCK_OP_NONE:
        io_uring_prep_nop(sqe);
        break;
    }
    io_uring_sqe_set_data(sqe, req);
}

/* Fills the ring, continued requests first, and tells the kernel.  What the kernel does not take now stays in
 * the ring. */
static void uring_submit(BlockBackend *blk)
{
    BlockEngine *e = blk->engine;
    int res;

    for (;;) {
        bool more = e->again.head != NULL;
        BlockReqQueue *from = more ? &e->again : &blk->queue;
        struct io_uring_sqe *sqe;

        if (!from->head || (!more && blk->in_flight >= BLOCK_MAX_IN_FLIGHT)) {
            break;
        }
        sqe = io_uring_get_sqe(&e->ring);
        if (!sqe) {
            break;
        }
        req_prepare(from->head, sqe);
        block_queue_pop(from);
        blk->in_flight += !more;
    }
    do {
        res = io_uring_submit(&e->ring);
    } while (res == -EINTR);
    if (io_uring_sq_ready(&e->ring)) {
        loop_bh_schedule(blk->bh);
    }
}

static void uring_reap(BlockEngine *e)
{
    BlockBackend *blk = e->blk;
    struct io_uring_cqe *cqe;

    /* Entry by entry: a done callback may come back here through a drain. */
    while (!io_uring_peek_cqe(&e->ring, &cqe)) {
        BlockReq *req = io_uring_cqe_get_data(cqe);
        int res = cqe->res;

        io_uring_cqe_seen(&e->ring, cqe);
        if (block_req_step(req, res)) {
            block_req_complete(req);
        } else {
            block_queue_push(&e->again, req);
        }
    }
    if (e->again.head || (blk->queue.head && !blk->plugged) || io_uring_sq_ready(&e->ring)) {
        uring_submit(blk);
    }
}

static void uring_poll(BlockBackend *blk, bool wait)
{
    BlockEngine *e = blk->engine;

    if (wait) {
        if (e->again.head) {
            uring_submit(blk);
        }
        while (io_uring_submit_and_wait(&e->ring, 1) == -EINTR) {
        }
    }
    uring_reap(e);
}

static void uring_event(void *opaque)
{
    BlockEngine *e = opaque;
    uint64_t count;

    while (read(e->event_fd, &count, sizeof(count)) < 0 && errno == EINTR) {
    }
    uring_reap(e);
}

/* While the loop is awake it looks at the ring itself, and the kernel need not signal. */
static bool uring_look(void *opaque)
{
    BlockEngine *e = opaque;

    if (!io_uring_cq_ready(&e->ring)) {
        return false;
    }
    io_uring_cq_eventfd_toggle(&e->ring, false);
    uring_reap(e);
    return true;
}

static void uring_arm(void *opaque)
{
    BlockEngine *e = opaque;

    io_uring_cq_eventfd_toggle(&e->ring, true);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* then the ring is looked at once more */
}

static const LoopPollerOps uring_poller = {.poll = uring_look, .arm = uring_arm};

static void uring_attach(BlockBackend *blk)
{
    BlockEngine *e = blk->engine;

    e->watch = loop_add_fd(blk->loop, e->event_fd, uring_event, NULL, e);
    e->poller = loop_add_poller(blk->loop, &uring_poller, e);
}

static void uring_detach(BlockBackend *blk)
{
    loop_remove_fd(blk->engine->watch);
    loop_remove_poller(blk->engine->poller);
    blk->engine->watch = NULL;
    blk->engine->poller = NULL;
    uring_arm(blk->engine);
}

const BlockEngineOps block_engine_uring = {
    .name = "io_uring",
    .start = uring_start,
    .stop = uring_stop,
    .attach = uring_attach,
    .detach = uring_detach,
    .submit = uring_submit,
    .poll = uring_poll,
};
