/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's end of one vfio-user connection: requests with their replies, and the server's requests.
 *
 * A thread that waits for a reply reads the socket itself when nobody else does, and hands other threads
 * their replies; while nobody waits, the proxy's own thread reads.  No lock of the proxy is held during I/O
 * waits or while the server's requests are carried out, and callers should hold none either.  Functions are
 * for any thread unless said otherwise; results are 0 or a positive errno: the server's own, or ETIMEDOUT,
 * ENOTCONN (the connection is gone), ECANCELED (the machine does not want to wait any longer), EPROTO (a
 * reply that makes no sense), EBUSY (no free id).
 */
#ifndef HW_VFIO_USER_PROXY_H
#define HW_VFIO_USER_PROXY_H

#include <glib.h>
#include <stdbool.h>

#include "core/loop.h"
#include "core/trace.h"
#include "hw/vfio-user/address.h"
#include "wire/io.h"
#include "wire/wire.h"

typedef struct Proxy Proxy;
/* One socket of a connection: the main one, or the one for the server's requests (twin_socket). */
typedef struct ProxyLink ProxyLink;

typedef struct ProxyClient {
    /* A request of the server; answer with proxy_reply() on `link`.  By whoever reads, no lock of the proxy
     * held; must not wait for anybody. */
    void (*request)(void *opaque, ProxyLink *link, const WireMessage *m);
    /* The connection broke; once, by any thread.  Not called after proxy_shutdown(). */
    void (*lost)(void *opaque, const char *reason);
    void *opaque;
} ProxyClient;

typedef struct ProxyCounters {
    uint64_t sent, received, dma_served, coalesced; /* messages, writes that shared one; atomic */
} ProxyCounters;

typedef struct ProxyConfig {
    const char *name; /* begins error texts */
    const VfioUserAddress *address;
    unsigned timeout_ms; /* of each request */
    unsigned poll_us;    /* a waiting thread looks for its reply at most that long before it sleeps */
    bool send_queued;    /* the proxy's thread writes to the socket, not the caller */
    EventLoop *loop;     /* does what the proxy's thread would; NULL: it has one of its own */
    ProxyClient client;
    ProxyCounters *counters;
} ProxyConfig;

typedef struct ProxyRequest {
    uint16_t command;
    const struct iovec *iov; /* payload */
    unsigned iov_count;
    const int *fds;
    unsigned fd_count;
} ProxyRequest;

/* Requests that are waited for together; members are the proxy's. */
typedef struct ProxyBatch ProxyBatch;
typedef void ProxyBatchFn(ProxyBatch *b, int error);
struct ProxyBatch {
    unsigned outstanding;
    int error;          /* first */
    unsigned errors;    /* how many there were */
    gint64 patience_us; /* how long the server may take from one answer to the next */
    gint64 deadline;    /* of the present wait, g_get_monotonic_time() */
    WireMessage *reply; /* where the (only) reply goes, or NULL */
    uint16_t command;
    bool asleep, cancelled, late;
    unsigned sleeper; /* where its thread is asleep */
    ProxyBatchFn *done; /* nobody waits: called at the end */
    GList link;
};

/* Connects and exchanges VERSION; NULL with *error.  `address` must live as long as the proxy. */
Proxy *proxy_new(const ProxyConfig *config, GError **error);
/* Every request, present and future, ends with ENOTCONN. */
void proxy_shutdown(Proxy *p);
/* The same, and the client is told: the connection is of no further use. */
void proxy_fail(Proxy *p, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Nobody uses it any more.  NULL is fine. */
void proxy_free(Proxy *p);
bool proxy_broken(Proxy *p);
/* What the server announced; max_msg_fds is 0 where the socket cannot carry fds. */
const WireCaps *proxy_caps(const Proxy *p);

/* No reply of the future brings fds the caller wants (receiving them costs something), or they do again. */
void proxy_set_started(Proxy *p, bool started);
/* Messages are counted there from now on. */
void proxy_set_counters(Proxy *p, ProxyCounters *counters);
/* Sends and waits.  On 0 *reply (may be NULL) is the caller's. */
int proxy_call(Proxy *p, const ProxyRequest *req, WireMessage *reply);

/* The same, but gives up with ETIMEDOUT when the server is silent for PROXY_BRIEF_MS. */
int proxy_call_brief(Proxy *p, const ProxyRequest *req, WireMessage *reply);

/* A write of `len` bytes that nobody waits for; blocks only while too much is queued.  Small ones may share a
 * message. */
int proxy_post_write(Proxy *p, const WireRegionAccess *access);
/* Answers a request of the server; error 0 is success, then the payload follows. */
void proxy_reply(ProxyLink *link, const WireHeader *request, int error, const struct iovec *iov,
                 unsigned iov_count);

void proxy_batch_init(ProxyBatch *b);
/* One request of the batch; its error counts for the batch.  May wait, briefly, when very many are
 * outstanding. */
void proxy_batch_add(Proxy *p, ProxyBatch *b, const ProxyRequest *req);
/* Waits for all; the first error.  The batch can be used again. */
int proxy_batch_wait(Proxy *p, ProxyBatch *b);
/* As proxy_batch_wait(), but EAGAIN when the server is silent for PROXY_BRIEF_MS: the batch goes on. */
int proxy_batch_wait_brief(Proxy *p, ProxyBatch *b);
#define PROXY_BRIEF_MS 50
/* Nobody will wait: `done` is called once when all is answered, timed out or lost, perhaps at once, by any
 * thread and without locks of the proxy; the batch is the callee's then. */
void proxy_batch_leave(Proxy *p, ProxyBatch *b, ProxyBatchFn *done);

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
