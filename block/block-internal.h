/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of block/ share: the node, its requests, and the table an asynchronous I/O engine fills in.
 */
#ifndef BLOCK_INTERNAL_H
#define BLOCK_INTERNAL_H

#include <pthread.h>

#include "block/block.h"
#include "core/trace.h"

#define BLOCK_INLINE_IOV    16
#define BLOCK_MAX_IN_FLIGHT 128
#define BLOCK_ZEROES_LEN    (1u << 20) /* bytes of zeroes one iovec of a zeroing write points at */
#define BLOCK_ZEROES_IOV    64

typedef enum BlockOp {
    BLOCK_OP_READ,
    BLOCK_OP_WRITE,
    BLOCK_OP_FLUSH,
    BLOCK_OP_PUNCH,      /* fallocate: deallocate, reads zeroes */
    BLOCK_OP_ZERO_RANGE, /* fallocate: zero, stays allocated */
    BLOCK_OP_NONE,       /* nothing to do, or refused: completes with `result` */
} BlockOp;

typedef struct BlockReq BlockReq;
typedef struct BlockEngine BlockEngine;

/* A request.  Of the submitter until it is in flight, then of the engine until it is handed to
 * block_req_complete(). */
struct BlockReq {
    BlockReq *next;
    BlockBackend *blk;
    BlockDoneFn *done;
    void *opaque;
    BlockOp op;
    BlockOp kind; /* what was asked, for statistics; op may change to a fallback */
    int fd;
    bool dsync;      /* write: on stable storage before done */
    bool then_flush; /* a flush follows the transfer */
    bool discard;    /* not being able to is no error */
    bool zeroes;     /* iov points at the page of zeroes */
    int result;
    uint64_t offset, len; /* bytes, of the whole request */
    uint64_t progress;    /* bytes transferred */
    struct iovec *iov;    /* what is left; own_iov or inline_iov, from iov_index on */
    int iovcnt, iov_index, iov_room;
    struct iovec *own_iov;
    struct iovec inline_iov[BLOCK_INLINE_IOV];
    int64_t engine_data; /* the engine's own while it is in flight */
    void *bounce; /* aligned copy for O_DIRECT, `len` bytes */
};

/* What to do about a failed request (rerror=, werror=). */
typedef enum BlockErrorAction {
    BLOCK_ERROR_AUTO, /* not said: writes enospc and reads report where there is a guest to stop, else report */
    BLOCK_ERROR_REPORT,
    BLOCK_ERROR_IGNORE,
    BLOCK_ERROR_STOP,
    BLOCK_ERROR_ENOSPC, /* stop when the disk is full, else report */
} BlockErrorAction;

enum {
    BLOCK_BPS_TOTAL,
    BLOCK_BPS_READ,
    BLOCK_BPS_WRITE,
    BLOCK_IOPS_TOTAL,
    BLOCK_IOPS_READ,
    BLOCK_IOPS_WRITE,
    BLOCK_BUCKETS,
};

/* Units (bytes, requests) a second; 0: no limit.  burst is how much more than average a second may see. */
typedef struct BlockLimit {
    uint64_t average, burst;
} BlockLimit;

typedef struct BlockThrottle BlockThrottle;
typedef struct BlockHold BlockHold;

typedef struct BlockReqQueue {
    BlockReq *head, *tail;
} BlockReqQueue;

/* How requests get to the kernel. */
typedef struct BlockEngineOps {
    const char *name;
    /* False with errno text in *error: this engine does not work here. */
    bool (*start)(BlockBackend *blk, GError **error);
    void (*stop)(BlockBackend *blk);
    /* Completions begin / cease to be looked for in blk->loop. */
    void (*attach)(BlockBackend *blk);
    void (*detach)(BlockBackend *blk);
    /* Takes what it can of blk->queue (which keeps the rest) and starts it. */
    void (*submit)(BlockBackend *blk);
    /* Completes what has ended; with wait, at least one of those in flight. */
    void (*poll)(BlockBackend *blk, bool wait);
} BlockEngineOps;

struct BlockBackend {
    Object obj;
    char *file; /* name of what is behind it, as it was given */
    const char *driver;
    BlockBackend *below; /* a raw node: the node it stands for */
    unsigned above;      /* raw nodes that stand for this one */
    int fd;
    int buffered_fd;                  /* O_DIRECT nodes: for what is not aligned; else -1 */
    uint32_t mem_align, offset_align; /* O_DIRECT: bytes, powers of two; else 1 */
    uint64_t size;                    /* bytes, multiple of 512 */
    bool readonly, sync, no_flush, discard;
    bool no_punch, no_zero_range, no_dsync; /* the file system refused; atomic */
    void *zeroes;                           /* BLOCK_ZEROES_LEN bytes, read-only */
    const BlockEngineOps *engine_ops;
    BlockEngine *engine;
    EventLoop *loop; /* of the user; NULL while unattached */
    Device *user;
    LoopBh *bh;             /* completes what the engine never saw, retries what it could not take */
    BlockReqQueue queue;    /* waiting for the engine */
    BlockReqQueue finished; /* waiting for bh */
    BlockReq *free_reqs;
    unsigned in_flight;   /* with the engine */
    unsigned outstanding; /* accepted and not done */
    unsigned plugged;
    bool closed;
    bool locks;    /* the file is locked while active */
    bool inactive; /* belongs to another process for now: requests are refused, or wait when it is to come here */
    BlockStats stats;
    BlockErrorAction on_read_error, on_write_error;
    BlockErrorAction user_read_error, user_write_error; /* of the user; AUTO: the ones above */
    BlockHold *hold;         /* requests that failed and wait for the machine to go on; NULL while unattached */
    BlockThrottle *throttle; /* NULL: no limits */
    BlockResizedFn *resized;
    void *resized_opaque;
};

extern const BlockEngineOps block_engine_threads;
#ifdef CONFIG_IO_URING
extern const BlockEngineOps block_engine_uring;
#endif
extern TraceEvent block_trace[];
enum { BLOCK_TRACE_OPEN, BLOCK_TRACE_FALLBACK, BLOCK_TRACE_ERROR };

void block_queue_push(BlockReqQueue *queue, BlockReq *req);
BlockReq *block_queue_pop(BlockReqQueue *queue);

/* The iovecs of one system call: *count of them from the return value on.  Any thread. */
struct iovec *block_req_iov(BlockReq *req, int *count);
/*
 * Takes the result of one system call (bytes or 0, or -errno).  True: the request has ended and req->result
 * is set.  False: another call is needed (rest of a short transfer, a fallback, the flush that follows).  Any
 * thread.
 */
bool block_req_step(BlockReq *req, int64_t res);
/* The engine is done with it: calls done and recycles.  Home loop. */
void block_req_complete(BlockReq *req);
/* Queues a request for the engine (again). */
void block_req_start(BlockReq *req);
/* Calls done with req->result and recycles. */
void block_req_finish(BlockReq *req);

/* --- driver-file.c --- */
/* Takes, or gives up, the lock of a file node.  False: *error says that somebody else has it. */
bool block_file_lock(BlockBackend *blk, GError **error);
void block_file_unlock(BlockBackend *blk);

/* --- block-error.c --- */
/* A request has failed.  True: it waits until the machine goes on, and is then started again.  May clear req->result. */
bool block_error_handle(BlockReq *req);
/* Main loop. */
void block_error_attach(BlockBackend *blk);
/* A request waits until block_error_retry(), and ends with req->result when it is given up before. */
void block_error_hold(BlockReq *req);
/* What waits is started again, by the user's loop. */
void block_error_retry(BlockBackend *blk);
/* Ends the requests that wait, with their errors. */
void block_error_give_up(BlockBackend *blk);
void block_error_detach(BlockBackend *blk);

/* --- block-throttle.c --- */
BlockThrottle *block_throttle_new(const BlockLimit *limits, uint64_t iops_size);
void block_throttle_free(BlockThrottle *t);
void block_throttle_attach(BlockBackend *blk);
void block_throttle_detach(BlockBackend *blk);
/* True: the request is over the limits, and is started when they allow. */
bool block_throttle_hold(BlockReq *req);
/* Starts all that wait, limits or not. */
void block_throttle_release(BlockBackend *blk);

/* Frees those kept for reuse. */
void block_free_reqs(BlockBackend *blk);
/* Main loop: takes the lock of the loop the node's user lives in, which comes before the main loop's. */
void block_enter_loop(BlockBackend *blk);
/* Stops the engine, closes the files.  Nothing is in flight. */
void block_node_close(BlockBackend *blk);

#endif
