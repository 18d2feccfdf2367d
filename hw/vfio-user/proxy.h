/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's end of one vfio-user connection: requests with their replies, and the server's requests.
 *
 * A thread that waits for a reply reads the socket itself when nobody else does, and hands other threads
 * their replies; while nobody waits, the proxy's own thread reads.  No lock of the proxy is held during I/O
 * waits or while the server's requests are carried out.  Functions are for any thread unless said otherwise;
 * results are 0 or a positive errno: the server's own, or ETIMEDOUT, ENOTCONN (the connection is gone),
 * EPROTO (a reply that makes no sense), EBUSY (no free id).
 */
#ifndef HW_VFIO_USER_PROXY_H
#define HW_VFIO_USER_PROXY_H

#include <glib.h>
#include <stdbool.h>

#include "core/trace.h"
#include "wire/io.h"
#include "wire/wire.h"

typedef struct Proxy Proxy;

typedef struct ProxyClient {
    /* A request of the server; answer with proxy_reply().  By whoever reads, no lock of the proxy held; must
     * not wait for the server. */
    void (*request)(void *opaque, Proxy *p, const WireMessage *m);
    /* The connection broke; once, by any thread.  Not called after proxy_shutdown(). */
    void (*lost)(void *opaque, const char *reason);
    void *opaque;
} ProxyClient;

typedef struct ProxyRequest {
    uint16_t command;
    const struct iovec *iov; /* payload */
    unsigned iov_count;
    const int *fds;
    unsigned fd_count;
} ProxyRequest;

/* Requests that are waited for together. */
typedef struct ProxyBatch {
    GCond cond;
    unsigned outstanding;
    int error;          /* first */
    gint64 deadline;    /* of the present wait, g_get_monotonic_time() */
    WireMessage *reply; /* where the (only) reply goes, or NULL */
    uint16_t command;
    bool waiting;
} ProxyBatch;

typedef struct ProxyCounters {
    uint64_t sent, received, dma_served; /* messages; atomic */
} ProxyCounters;

/* Connects and exchanges VERSION; NULL with *error, which says `name` first.  timeout_ms: of each request. */
Proxy *proxy_new(const char *name, const char *path, unsigned timeout_ms, const ProxyClient *client,
                 ProxyCounters *counters, GError **error);
/* Every request, present and future, ends with ENOTCONN. */
void proxy_shutdown(Proxy *p);
/* Nobody uses it any more.  NULL is fine. */
void proxy_free(Proxy *p);
bool proxy_broken(Proxy *p);
/* What the server announced. */
const WireCaps *proxy_caps(const Proxy *p);

/* Sends and waits.  On 0 *reply (may be NULL) is the caller's. */
int proxy_call(Proxy *p, const ProxyRequest *req, WireMessage *reply);
/* Sends without asking for a reply; waits only while too much is queued. */
int proxy_post(Proxy *p, const ProxyRequest *req);
/* Answers a request of the server; error 0 is success, then the payload follows. */
void proxy_reply(Proxy *p, const WireHeader *request, int error, const struct iovec *iov, unsigned iov_count);

void proxy_batch_init(ProxyBatch *b);
/* One request of the batch; its error counts for the batch. */
void proxy_batch_add(Proxy *p, ProxyBatch *b, const ProxyRequest *req);
/* Waits for all; the first error.  The batch can be used again. */
int proxy_batch_wait(Proxy *p, ProxyBatch *b);

/* The largest data of one REGION_READ, REGION_WRITE. */
#define PROXY_MAX_DATA WIRE_MAX_DATA

extern TraceEvent vfio_user_trace[];
enum {
    VFIO_USER_TRACE_SEND,
    VFIO_USER_TRACE_RECV,
    VFIO_USER_TRACE_LATE,
    VFIO_USER_TRACE_TIMEOUT,
    VFIO_USER_TRACE_LOST,
    VFIO_USER_TRACE_DMA
};

#endif
