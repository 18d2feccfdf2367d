/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the proxy share. */
#ifndef HW_VFIO_USER_PROXY_INTERNAL_H
#define HW_VFIO_USER_PROXY_INTERNAL_H

#include "hw/vfio-user/proxy.h"

struct Proxy {
    char *name, *path;
    ProxyClient client;
    ProxyCounters *counters;
    unsigned timeout_ms;
    WireStream *stream;
    WireCaps caps;
    GMutex send_lock; /* sending and flushing; taken before `lock` */
    GMutex lock;      /* all below */
    GHashTable
        *in_flight; /* id -> ProxyBatch *, or the proxy itself for a request nobody waits for any more */
    GQueue waiters; /* of ProxyBatch * */
    uint16_t next_id;
    bool reading; /* a thread has the socket's reading side */
    bool queued;  /* output waits for the socket to take more */
    bool broken, closing;
    char *reason; /* why it is broken */
    /* the proxy's own thread */
    int epoll_fd, wake_fd;
    unsigned armed; /* events the socket is watched for */
    GThread *thread;
};

/* hw/vfio-user/proxy-connect.c: a connected socket, or -1 with *error. */
int proxy_connect(const char *name, const char *path, unsigned timeout_ms, GError **error);
bool proxy_negotiate(Proxy *p, GError **error);

/* hw/vfio-user/proxy-io.c */
bool proxy_io_start(Proxy *p, GError **error);
void proxy_io_stop(Proxy *p);
/* Has the thread watch what nobody else looks after.  With the lock. */
void proxy_arm(Proxy *p);
/* Reads until the batch is done, its deadline is over, or the connection broke.  NULL: until nothing is
 * there.  Has `reading`. */
void proxy_read_turn(Proxy *p, ProxyBatch *b);
/* The connection is of no further use. */
void proxy_fail(Proxy *p, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

#endif
