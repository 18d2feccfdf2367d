/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One vfio-user connection of a client.
 *
 * A thread that waits for a reply reads the socket itself (the leader; others
 * that wait sleep until it hands them their reply or the lead), so a register
 * read costs two context switches.  When nobody waits, the proxy's own thread
 * reads.  The server's requests (DMA_READ, DMA_WRITE) are served by whoever reads.
 *
 * Functions may be called from any thread; results are 0 or a negative errno:
 * -ETIMEDOUT (the reply is dropped when it comes), -ENOTCONN (the server is
 * gone), or what the server answered.
 */
#ifndef HW_VFIO_USER_PROXY_H
#define HW_VFIO_USER_PROXY_H

#include "core/device.h"
#include "io.h"

typedef struct VfioUserProxy VfioUserProxy;

typedef struct ProxyOps {
    /* A request of the server: answer in place.  Runs on whichever thread reads. */
    MemResult (*dma)(void *opaque, uint64_t address, void *buf, uint64_t count, bool is_write);
    /* The connection is gone; called once, on any thread. */
    void (*lost)(void *opaque, const char *reason);
} ProxyOps;

typedef struct ProxyStats {
    uint64_t sent, received; /* messages; atomic */
} ProxyStats;

/* A request in flight; the caller's storage until proxy_wait() returned. */
typedef struct ProxyRequest {
    uint16_t id;
    bool done;
    int result;
    GCond cond;
    WireMessage reply;
} ProxyRequest;

/* Connects to the UNIX socket and negotiates.  NULL with *error. */
VfioUserProxy *proxy_connect(const char *path, unsigned timeout_ms, const ProxyOps *ops, void *opaque,
                             ProxyStats *stats, GError **error);
/* Ends the connection and the thread; no callback runs afterwards. */
void proxy_free(VfioUserProxy *p);
const WireCaps *proxy_caps(const VfioUserProxy *p);
/* Asks the server's requests to be served from now on. */
void proxy_start(VfioUserProxy *p);

/* Sends; the reply is collected with proxy_wait().  A nonzero result means that there is nothing to wait for. */
int proxy_send(VfioUserProxy *p, ProxyRequest *req, unsigned command, const struct iovec *iov, unsigned iov_count,
               const int *fds, unsigned fd_count);
/* Waits; on 0 req->reply holds the answer, to be freed with wire_message_clear(). */
int proxy_wait(VfioUserProxy *p, ProxyRequest *req);
/* Both. */
int proxy_call(VfioUserProxy *p, ProxyRequest *req, unsigned command, const struct iovec *iov, unsigned iov_count,
               const int *fds, unsigned fd_count);
/* Sends with no-reply set. */
int proxy_post(VfioUserProxy *p, unsigned command, const struct iovec *iov, unsigned iov_count);

#endif
