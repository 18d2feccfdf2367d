/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block requests: checks, the queue in front of the engine, what happens between system calls (short
 * transfers, fallbacks of the fallocate operations, flushes that follow), and completion.
 */
#include "block/block-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TraceEvent block_trace[] = {
    [BLOCK_TRACE_OPEN] = {"block_open"},
    [BLOCK_TRACE_FALLBACK] = {"block_aio_fallback"},
    [BLOCK_TRACE_ERROR] = {"block_request_error"},
    {NULL},
};

void block_queue_push(BlockReqQueue *queue, BlockReq *req)
{
    req->next = NULL;
    if (queue->tail) {
        queue->tail->next = req;
    } else {
        queue->head = req;
    }
    queue->tail = req;
}

BlockReq *block_queue_pop(BlockReqQueue *queue)
{
    BlockReq *req = queue->head;

    if (req) {
        queue->head = req->next;
        if (!queue->head) {
            queue->tail = NULL;
        }
        req->next = NULL;
    }
    return req;
}

/* --- the life of a request --- */

static BlockReq *req_new(BlockBackend *blk, BlockOp op, uint64_t offset, uint64_t len, BlockDoneFn *done,
                         void *opaque)
{
    BlockReq *req = blk->free_reqs;

    if (req) {
        blk->free_reqs = req->next;
    } else {
        req = g_new0(BlockReq, 1);
        req->blk = blk;
        req->iov_room = BLOCK_INLINE_IOV;
    }
    req->next = NULL;
    req->done = done;
    req->opaque = opaque;
    req->op = req->kind = op;
    req->fd = blk->fd;
    req->dsync = req->then_flush = req->discard = req->zeroes = false;
    req->result = 0;
    req->offset = offset;
    req->len = len;
    req->progress = 0;
    req->iov = req->own_iov ? req->own_iov : req->inline_iov;
    req->iovcnt = req->iov_index = 0;
    req->bounce = NULL;
    return req;
}

void block_free_reqs(BlockBackend *blk)
{
    while (blk->free_reqs) {
        BlockReq *req = blk->free_reqs;

        blk->free_reqs = req->next;
        g_free(req->own_iov);
        g_free(req);
    }
}

static void req_reserve_iov(BlockReq *req, int count)
{
    if (count > req->iov_room) {
        req->own_iov = g_renew(struct iovec, req->own_iov, count);
        req->iov_room = count;
    }
    req->iov = req->own_iov ? req->own_iov : req->inline_iov;
}

static void req_count(BlockStats *stats, const BlockReq *req)
{
    if (req->result < 0) {
        stats->failed_ops++;
    } else if (req->kind == BLOCK_OP_READ) {
        stats->read_ops++;
        stats->read_bytes += req->len;
    } else if (req->kind == BLOCK_OP_WRITE) {
        stats->write_ops++;
        stats->write_bytes += req->len;
    } else if (req->kind == BLOCK_OP_FLUSH) {
        stats->flush_ops++;
    }
}

void block_req_finish(BlockReq *req)
{
    BlockBackend *blk = req->blk;
    BlockDoneFn *done = req->done;
    void *opaque = req->opaque;
    int result = req->result;

    g_clear_pointer(&req->bounce, free);
    req_count(&blk->stats, req);
    /* Free before done is called, so that done may submit another. */
    req->next = blk->free_reqs;
    blk->free_reqs = req;
    blk->outstanding--;
    done(opaque, result);
}

/* Copies between the caller's buffers, which begin at iov_index 1, and the bounce buffer. */
static void bounce_copy(BlockReq *req, bool to_bounce)
{
    uint8_t *p = req->bounce;

    for (int i = 1; i < req->iovcnt; i++) {
        if (to_bounce) {
            memcpy(p, req->iov[i].iov_base, req->iov[i].iov_len);
        } else {
            memcpy(req->iov[i].iov_base, p, req->iov[i].iov_len);
        }
        p += req->iov[i].iov_len;
    }
}

void block_req_complete(BlockReq *req)
{
    BlockBackend *blk = req->blk;

    if (req->bounce && req->kind == BLOCK_OP_READ && req->result == 0) {
        bounce_copy(req, false);
    }
    blk->in_flight--;
    if (req->result < 0) {
        TRACE(&block_trace[BLOCK_TRACE_ERROR],
              "%s: operation %d at %" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT " bytes: %s", blk->obj.id,
              req->kind, req->offset, req->len, g_strerror(-req->result));
        if (!blk->closed && block_error_handle(req)) {
            return;
        }
    }
    block_req_finish(req);
}

static void block_kick(BlockBackend *blk)
{
    if (!blk->plugged && blk->queue.head) {
        blk->engine_ops->submit(blk);
        if (blk->queue.head && !blk->in_flight) {
            loop_bh_schedule(
                blk->bh); /* the kernel is out of something: nothing of ours will end to try again */
        }
    }
}

static void block_run_finished(BlockBackend *blk)
{
    BlockReqQueue finished = blk->finished;
    BlockReq *req;

    /* Only those of now: a done that submits another bad request must not keep us here. */
    blk->finished = (BlockReqQueue){NULL, NULL};
    while ((req = block_queue_pop(&finished))) {
        block_req_finish(req);
    }
}

static void block_bh(void *opaque)
{
    BlockBackend *blk = opaque;

    block_run_finished(blk);
    if (!blk->closed) {
        blk->engine_ops->poll(blk, false);
        block_kick(blk);
    }
}

void block_req_start(BlockReq *req)
{
    block_queue_push(&req->blk->queue, req);
    block_kick(req->blk);
}

static void block_submit(BlockReq *req)
{
    BlockBackend *blk = req->blk;

    g_assert(blk->loop);
    blk->outstanding++;
    if (req->op == BLOCK_OP_NONE) {
        block_queue_push(&blk->finished, req);
        loop_bh_schedule(blk->bh);
        return;
    }
    if (blk->inactive) {
        req->result = -ENODEV;
        block_error_hold(req);
    } else if (!block_throttle_hold(req)) {
        block_req_start(req);
    }
}

/* --- between system calls --- */

static void req_fill_zeroes(BlockReq *req)
{
    uint64_t left = req->len - req->progress;

    req->iovcnt = req->iov_index = 0;
    while (left && req->iovcnt < BLOCK_ZEROES_IOV) {
        size_t n = (size_t)MIN(left, BLOCK_ZEROES_LEN);

        req->iov[req->iovcnt++] = (struct iovec){req->blk->zeroes, n};
        left -= n;
    }
}

struct iovec *block_req_iov(BlockReq *req, int *count)
{
    if (req->zeroes) {
        req_fill_zeroes(req);
    }
    /* A bounced request transfers its first iovec only. */
    *count = req->bounce ? 1 : MIN(req->iovcnt - req->iov_index, IOV_MAX);
    return req->iov + req->iov_index;
}

static void req_advance_iov(BlockReq *req, uint64_t bytes)
{
    while (bytes && !req->zeroes) {
        struct iovec *v = &req->iov[req->iov_index];
        size_t n = (size_t)MIN(bytes, v->iov_len);

        v->iov_base = (uint8_t *)v->iov_base + n;
        v->iov_len -= n;
        bytes -= n;
        if (!v->iov_len && !req->bounce) {
            req->iov_index++;
        }
    }
}

static bool req_end(BlockReq *req, int result)
{
    if (result == 0 && req->then_flush) {
        req->then_flush = false;
        req->op = BLOCK_OP_FLUSH;
        return false;
    }
    req->result = result;
    return true;
}

static bool transfer_step(BlockReq *req, int64_t res)
{
    if (res < 0) {
        if (req->dsync && (res == -EOPNOTSUPP || res == -EINVAL)) {
            __atomic_store_n(&req->blk->no_dsync, true, __ATOMIC_RELAXED);
            req->dsync = false;
            req->then_flush = true;
            return false;
        }
        return req_end(req, (int)res);
    }
    if (res == 0) {
        return req_end(req, req->op == BLOCK_OP_READ ? -EIO : -ENOSPC); /* the file is shorter than it was */
    }
    req->progress += (uint64_t)res;
    if (req->progress >= req->len) {
        return req_end(req, 0);
    }
    req_advance_iov(req, (uint64_t)res);
    return false;
}

static bool fallocate_step(BlockReq *req, int64_t res)
{
    bool *refused = req->op == BLOCK_OP_PUNCH ? &req->blk->no_punch : &req->blk->no_zero_range;

    if (res >= 0) {
        return req_end(req, 0);
    }
    if (res != -EOPNOTSUPP && res != -EINVAL && res != -ENOSYS && res != -ENODEV) {
        return req_end(req, (int)res);
    }
    __atomic_store_n(refused, true, __ATOMIC_RELAXED);
    if (req->discard) {
        return req_end(req, 0);
    }
    req->op = BLOCK_OP_WRITE;
    req->zeroes = true;
    return false;
}

bool block_req_step(BlockReq *req, int64_t res)
{
    if (res == -EINTR || res == -EAGAIN) {
        return false;
    }
    switch (req->op) {
    case BLOCK_OP_READ:
    case BLOCK_OP_WRITE:
        return transfer_step(req, res);
    case BLOCK_OP_PUNCH:
    case BLOCK_OP_ZERO_RANGE:
        return fallocate_step(req, res);
    default:
        return req_end(req, (int)MIN(res, 0));
    }
}

/* --- the interface --- */

static void req_refuse(BlockReq *req, int result)
{
    req->op = BLOCK_OP_NONE;
    req->result = result;
}

/* 0, or why a request for that range cannot be. */
static int range_check(const BlockBackend *blk, uint64_t offset, uint64_t len, bool is_write)
{
    /* What a device that has just arrived asks for waits until its disk is here too. */
    if (blk->closed || (blk->inactive && !blk->obj.machine->incoming)) {
        return -ENODEV;
    }
    if ((offset | len) % BLOCK_SECTOR_SIZE) {
        return -EINVAL;
    }
    if (offset > blk->size || len > blk->size - offset) {
        return -ENOSPC;
    }
    return is_write && blk->readonly ? -EROFS : 0;
}

static bool iov_aligned(const BlockReq *req, uint32_t align)
{
    for (int i = 0; i < req->iovcnt; i++) {
        if (((uintptr_t)req->iov[i].iov_base | req->iov[i].iov_len) & (align - 1)) {
            return false;
        }
    }
    return true;
}

/* O_DIRECT: what is not aligned in the file takes the other descriptor, what is not in memory a copy. */
static void req_align(BlockReq *req)
{
    BlockBackend *blk = req->blk;

    if (blk->buffered_fd < 0) {
        return;
    }
    if ((req->offset | req->len) & (blk->offset_align - 1)) {
        req->fd = blk->buffered_fd;
        return;
    }
    if (iov_aligned(req, blk->mem_align)) {
        return;
    }
    if (posix_memalign(&req->bounce, MAX(blk->mem_align, sizeof(void *)), req->len)) {
        req->bounce = NULL;
        req_refuse(req, -ENOMEM);
        return;
    }
    req_reserve_iov(req, req->iovcnt + 1);
    memmove(req->iov + 1, req->iov, (size_t)req->iovcnt * sizeof(*req->iov));
    req->iovcnt++;
    req->iov[0] = (struct iovec){req->bounce, req->len};
    if (req->kind == BLOCK_OP_WRITE) {
        bounce_copy(req, true);
    }
}

static void block_transfer(BlockBackend *blk, BlockOp op, uint64_t offset, const struct iovec *iov,
                           int iovcnt, bool fua, BlockDoneFn *done, void *opaque)
{
    uint64_t len = 0;
    BlockReq *req;
    int refused;

    for (int i = 0; i < iovcnt; i++) {
        len += iov[i].iov_len;
    }
    req = req_new(blk, op, offset, len, done, opaque);
    refused = range_check(blk, offset, len, op == BLOCK_OP_WRITE);
    if (refused || !len) {
        req_refuse(req, refused);
        block_submit(req);
        return;
    }
    req_reserve_iov(req, iovcnt);
    memcpy(req->iov, iov, (size_t)iovcnt * sizeof(*iov));
    req->iovcnt = iovcnt;
    if (op == BLOCK_OP_WRITE && (fua || blk->sync) && !blk->no_flush) {
        req->dsync = !__atomic_load_n(&blk->no_dsync, __ATOMIC_RELAXED);
        req->then_flush = !req->dsync;
    }
    req_align(req);
    block_submit(req);
}

void block_read(BlockBackend *blk, uint64_t offset, const struct iovec *iov, int iovcnt, BlockDoneFn *done,
                void *opaque)
{
    block_transfer(blk, BLOCK_OP_READ, offset, iov, iovcnt, false, done, opaque);
}

void block_write(BlockBackend *blk, uint64_t offset, const struct iovec *iov, int iovcnt, bool fua,
                 BlockDoneFn *done, void *opaque)
{
    block_transfer(blk, BLOCK_OP_WRITE, offset, iov, iovcnt, fua, done, opaque);
}

void block_write_zeroes(BlockBackend *blk, uint64_t offset, uint64_t len, bool may_unmap, BlockDoneFn *done,
                        void *opaque)
{
    BlockReq *req = req_new(blk, BLOCK_OP_WRITE, offset, len, done, opaque);
    bool punch = may_unmap && blk->discard && !__atomic_load_n(&blk->no_punch, __ATOMIC_RELAXED);
    int refused = range_check(blk, offset, len, true);

    if (refused || !len) {
        req_refuse(req, refused);
    } else if (punch) {
        req->op = BLOCK_OP_PUNCH;
    } else if (!__atomic_load_n(&blk->no_zero_range, __ATOMIC_RELAXED)) {
        req->op = BLOCK_OP_ZERO_RANGE;
    } else {
        req->zeroes = true;
    }
    /* The engine's threads fill the iovecs in when it comes to writing. */
    req_reserve_iov(req, BLOCK_ZEROES_IOV);
    req->then_flush = blk->sync && !blk->no_flush;
    if (blk->buffered_fd >= 0 && (offset | len) & (blk->offset_align - 1)) {
        req->fd = blk->buffered_fd;
    }
    block_submit(req);
}

void block_discard(BlockBackend *blk, uint64_t offset, uint64_t len, BlockDoneFn *done, void *opaque)
{
    BlockReq *req = req_new(blk, BLOCK_OP_PUNCH, offset, len, done, opaque);
    int refused = range_check(blk, offset, len, true);

    req->discard = true;
    if (refused || !len || !blk->discard || __atomic_load_n(&blk->no_punch, __ATOMIC_RELAXED)) {
        req_refuse(req, refused);
    }
    block_submit(req);
}

void block_flush(BlockBackend *blk, BlockDoneFn *done, void *opaque)
{
    BlockReq *req = req_new(blk, BLOCK_OP_FLUSH, 0, 0, done, opaque);

    if (blk->closed || blk->no_flush || blk->readonly) {
        req_refuse(req, blk->closed ? -ENODEV : 0);
    }
    block_submit(req);
}

void block_plug(BlockBackend *blk)
{
    blk->plugged++;
}

void block_unplug(BlockBackend *blk)
{
    g_assert(blk->plugged);
    if (--blk->plugged == 0) {
        block_kick(blk);
    }
}

void block_drain(BlockBackend *blk)
{
    unsigned plugged = blk->plugged;

    blk->plugged = 0;
    while (blk->outstanding) {
        block_throttle_release(blk);
        block_error_give_up(blk);
        block_run_finished(blk);
        block_kick(blk);
        if (blk->in_flight) {
            blk->engine_ops->poll(blk, true);
        }
    }
    blk->plugged = plugged;
}

/* --- users --- */

bool block_attach(BlockBackend *blk, Device *user, EventLoop *loop, GError **error)
{
    if (blk->user) {
        error_set(error, "drive=%s: in use by device '%s'; a drive has one user", blk->obj.id,
                  blk->user->obj.id);
        return false;
    }
    if (blk->closed) {
        error_set(error, "drive=%s: is closed", blk->obj.id);
        return false;
    }
    blk->user = user;
    blk->loop = loop;
    blk->bh = loop_bh_new(loop, block_bh, blk);
    blk->engine_ops->attach(blk);
    block_throttle_attach(blk);
    block_error_attach(blk);
    return true;
}

void block_detach(BlockBackend *blk)
{
    if (!blk->user) {
        return;
    }
    block_drain(blk);
    if (!blk->closed) {
        blk->engine_ops->detach(blk);
    }
    block_throttle_detach(blk);
    block_error_detach(blk);
    block_free_reqs(blk);
    loop_bh_free(blk->bh);
    blk->resized = NULL;
    blk->bh = NULL;
    blk->loop = NULL;
    blk->user = NULL;
}

void block_set_resized(BlockBackend *blk, BlockResizedFn *fn, void *opaque)
{
    blk->resized = fn;
    blk->resized_opaque = opaque;
}

bool block_resize(BlockBackend *blk, uint64_t size, GError **error)
{
    EventLoop *loop = blk->loop;
    bool ok;

    if (!size || size % BLOCK_SECTOR_SIZE || size > INT64_MAX) {
        error_set(error, "block_resize: bad size (%" G_GUINT64_FORMAT ", allowed multiples of %d)", size,
                  BLOCK_SECTOR_SIZE);
        return false;
    }
    if (blk->readonly || blk->fd < 0) {
        error_set(error, "block_resize: node '%s' is %s", blk->obj.id, blk->readonly ? "read-only" : "not a file");
        return false;
    }
    if (loop) {
        block_enter_loop(blk);
        block_drain(blk);
    }
    ok = !ftruncate(blk->fd, (off_t)size);
    if (!ok) {
        error_set_errno(error, errno, "block_resize: cannot make '%s' %" G_GUINT64_FORMAT " bytes long", blk->file, size);
    } else {
        blk->size = size;
        if (blk->resized) {
            blk->resized(blk->resized_opaque);
        }
    }
    if (loop) {
        loop_unlock(loop);
    }
    return ok;
}

bool block_shared(const BlockBackend *blk)
{
    return !blk->locks;
}

const char *block_driver(const BlockBackend *blk)
{
    return blk->driver;
}

const char *block_file(const BlockBackend *blk)
{
    return blk->file;
}

const char *block_id(const BlockBackend *blk)
{
    return blk->obj.id;
}

uint64_t block_size(const BlockBackend *blk)
{
    return blk->size;
}

bool block_readonly(const BlockBackend *blk)
{
    return blk->readonly;
}

const BlockStats *block_stats(const BlockBackend *blk)
{
    return &blk->stats;
}
