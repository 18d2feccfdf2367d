/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the proxy share. */
#ifndef HW_VFIO_USER_PROXY_INTERNAL_H
#define HW_VFIO_USER_PROXY_INTERNAL_H

#include "core/poll-window.h"
#include "hw/vfio-user/proxy.h"

/* Beyond this the server's replies and ours pile up because it does not read. */
#define PROXY_QUEUE_LIMIT (16u << 20)

/* How often a thread that waits for a reply looks up: for its time-out, or because it shall not wait any
 * longer. */
#define PROXY_SLICE_MS 10

#define PROXY_SLEEPERS 32

struct ProxyLink {
    Proxy *proxy;
    WireStream *stream; /* NULL: there is no such socket */
    bool queued;        /* output waits for the socket to take more */
    unsigned armed;     /* events the proxy's thread watches the socket for */
};

struct Proxy {
    char *name, *where; /* device model, address */
    ProxyClient client;
    ProxyCounters *counters; /* atomic */
    unsigned timeout_ms;
    bool send_queued, carries_fds;
    unsigned receive_flags; /* WIRE_STREAM_NO_FDS once no fds are expected; atomic */
    WireCaps caps;
    ProxyLink main, twin;
    GMutex send_lock; /* sending and flushing; taken before `lock` */
    uint8_t *writes;  /* entries of the next REGION_WRITE_MULTI; with send_lock */
    unsigned write_count;
    GMutex lock; /* all below, and `queued`, `armed` of the links */
    GHashTable
        *in_flight;   /* id -> ProxyBatch *, or the proxy itself for a request nobody waits for any more */
    GQueue waiters;   /* of ProxyBatch * */
    unsigned callers; /* threads in a proxy_call(), waiting already or not yet */
    GQueue left;      /* batches nobody waits for */
    GQueue finished;  /* of those, what has ended and was not told yet */
    uint16_t next_id;
    /* Where waiting threads sleep; several may share one.  They are woken after the lock is given up, or they would only
     * wake to wait for it, and then their batches may be gone: so these are the proxy's. */
    GCond sleepers[PROXY_SLEEPERS];
    unsigned next_sleeper;
    uint32_t wake; /* bit mask of `sleepers` that proxy_unlock() wakes */
    bool reading; /* a thread has the main socket's reading side */
    bool broken, closing, quit;
    char *reason;      /* why it is broken */
    PollWindow window; /* of the thread that has `reading` */
    /* the proxy's own thread */
    int epoll_fd, wake_fd;
    GThread *thread;
    /* or the loop that stands in for it */
    EventLoop *loop;
    LoopFd *watch;
    Timer *expiry; /* of what was left */
};

/* hw/vfio-user/proxy-version.c */
bool proxy_negotiate(Proxy *p, GError **error);

/* hw/vfio-user/proxy-send.c */
/* A free id, registered for `b` (NULL: no reply will come).  With the lock.  -1: none. */
int proxy_take_id(Proxy *p, ProxyBatch *b);
int proxy_link_send(ProxyLink *link, WireHeader *h, const struct iovec *iov, unsigned iov_count,
                    const int *fds, unsigned fd_count);
/* Bytes that wait for the main socket to take more. */
size_t proxy_queued_bytes(Proxy *p);
/* Sends more of what is queued. */
void proxy_link_flush(ProxyLink *link);

/* hw/vfio-user/proxy-io.c */
bool proxy_io_start(Proxy *p, GError **error);
/* The server gave a socket for its requests; before any. */
bool proxy_io_add_twin(Proxy *p, int fd, GError **error);
void proxy_io_stop(Proxy *p);
void proxy_io_wake(Proxy *p);
/* Has the thread watch what nobody else looks after.  With the lock. */
void proxy_arm(ProxyLink *link);
/* Reads until the batch is done, its deadline is over, or the connection broke.  NULL: until nothing is
 * there.  Has `reading`. */
void proxy_read_turn(Proxy *p, ProxyBatch *b);

/* hw/vfio-user/proxy-batch.c */
/* With the lock: the batch's thread shall look up, if it sleeps, after proxy_unlock(). */
void proxy_batch_wake(Proxy *p, const ProxyBatch *b);
/* One who waits shall read the socket, which nobody does now.  With the lock. */
void proxy_wake_reader(Proxy *p);
/* Gives up the lock and wakes who is due. */
void proxy_unlock(Proxy *p);
/* One request less is outstanding.  With the lock. */
void proxy_batch_answered(Proxy *p, ProxyBatch *b, int error);
/* Nobody waits for the rest any more; their ids stay taken until the replies come.  With the lock. */
void proxy_batch_abandon(Proxy *p, ProxyBatch *b, int error);
/* Tells those whose batches ended.  Without the lock. */
void proxy_run_finished(Proxy *p);
/* Ends batches that were left and whose time is over; milliseconds until the next one's, or -1. */
int proxy_expire_left(Proxy *p);

static inline ProxyCounters *proxy_counters(Proxy *p)
{
    return __atomic_load_n(&p->counters, __ATOMIC_ACQUIRE);
}

#endif
