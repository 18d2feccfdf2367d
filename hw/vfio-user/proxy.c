/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests of the client and their replies: ids, sending, waiting, time-outs. */
#include "hw/vfio-user/proxy.h"

#include <errno.h>
#include <string.h>

#include "core/error.h"
#include "hw/vfio-user/proxy-internal.h"

/* Beyond this the server's replies and ours pile up because it does not read. */
#define QUEUE_LIMIT (16u << 20)
/* A thread that posts writes waits while more is queued. */
#define POST_LIMIT (256u << 10)
/* Requests of one batch on their way at once; ids are 16 bits. */
#define BATCH_WINDOW 8192

TraceEvent vfio_user_trace[] = {
    [VFIO_USER_TRACE_SEND] = {"vfio_user_send"},
    [VFIO_USER_TRACE_RECV] = {"vfio_user_recv"},
    [VFIO_USER_TRACE_LATE] = {"vfio_user_late"},
    [VFIO_USER_TRACE_TIMEOUT] = {"vfio_user_timeout"},
    [VFIO_USER_TRACE_LOST] = {"vfio_user_lost"},
    [VFIO_USER_TRACE_DMA] = {"vfio_user_dma"},
    {NULL},
};

/* --- sending --- */

static int stream_send(Proxy *p, WireHeader *h, const struct iovec *iov, unsigned iov_count, const int *fds,
                       unsigned fd_count)
{
    bool was_queued, queued;
    int err;

    g_mutex_lock(&p->send_lock);
    was_queued = wire_stream_queued(p->stream) != 0;
    err = wire_stream_send(p->stream, h, iov, iov_count, fds, fd_count, 0);
    queued = wire_stream_queued(p->stream) != 0;
    if (queued != was_queued) {
        g_mutex_lock(&p->lock);
        p->queued = queued;
        proxy_arm(p);
        g_mutex_unlock(&p->lock);
    }
    g_mutex_unlock(&p->send_lock);
    __atomic_fetch_add(&p->counters->sent, 1, __ATOMIC_RELAXED);
    TRACE(&vfio_user_trace[VFIO_USER_TRACE_SEND], "%s: %s id %u size %u flags 0x%x error %u fds %u%s%s",
          p->name, wire_command_name(h->command), h->id, h->size, h->flags, h->error, fd_count,
          err ? ": " : "", err ? g_strerror(err) : "");
    if (err && err != ENOBUFS && err != EMFILE && err != ENFILE && err != ENOMEM) {
        proxy_fail(p, "writing to the server: %s", g_strerror(err));
        err = ENOTCONN;
    }
    return err;
}

/* A free id, registered for `b` (NULL: no reply will come).  With the lock.  -1: none. */
static int take_id(Proxy *p, ProxyBatch *b)
{
    for (unsigned tries = 0; tries <= UINT16_MAX; tries++) {
        unsigned id = p->next_id++;

        if (!g_hash_table_contains(p->in_flight, GUINT_TO_POINTER(id))) {
            if (b) {
                g_hash_table_insert(p->in_flight, GUINT_TO_POINTER(id), b);
            }
            return (int)id;
        }
    }
    return -1;
}

static void batch_failed(Proxy *p, ProxyBatch *b, int id, int err)
{
    g_mutex_lock(&p->lock);
    /* A connection that broke meanwhile has ended the request already. */
    if (id < 0 || g_hash_table_remove(p->in_flight, GUINT_TO_POINTER((unsigned)id))) {
        b->outstanding -= id >= 0;
        b->error = b->error ? b->error : err;
    }
    g_mutex_unlock(&p->lock);
}

static void batch_send(Proxy *p, ProxyBatch *b, const ProxyRequest *req)
{
    WireHeader h = {.command = req->command, .flags = WIRE_TYPE_COMMAND};
    int id = -1, err = 0;

    g_mutex_lock(&p->lock);
    if (p->broken || p->closing) {
        err = ENOTCONN;
    } else {
        id = take_id(p, b);
        err = id < 0 ? EBUSY : 0;
    }
    if (!err) {
        b->outstanding++;
        b->deadline = g_get_monotonic_time() + (gint64)p->timeout_ms * 1000;
    }
    g_mutex_unlock(&p->lock);
    if (!err) {
        h.id = (uint16_t)id;
        err = stream_send(p, &h, req->iov, req->iov_count, req->fds, req->fd_count);
    }
    if (err) {
        batch_failed(p, b, id, err);
    }
}

/* --- waiting --- */

/* Nobody waits for the rest any more; their ids stay taken until the replies come.  With the lock. */
static void batch_abandon(Proxy *p, ProxyBatch *b)
{
    GHashTableIter iter;
    gpointer batch;

    TRACE(&vfio_user_trace[VFIO_USER_TRACE_TIMEOUT], "%s: %u requests unanswered after %u ms", p->name,
          b->outstanding, p->timeout_ms);
    g_hash_table_iter_init(&iter, p->in_flight);
    while (g_hash_table_iter_next(&iter, NULL, &batch)) {
        if (batch == b) {
            g_hash_table_iter_replace(&iter, p);
        }
    }
    b->outstanding = 0;
    b->error = b->error ? b->error : ETIMEDOUT;
}

static void batch_wait_until(Proxy *p, ProxyBatch *b)
{
    g_mutex_lock(&p->lock);
    if (!b->outstanding) {
        g_mutex_unlock(&p->lock);
        return;
    }
    b->waiting = true;
    g_queue_push_tail(&p->waiters, b);
    proxy_arm(p);
    while (b->outstanding && g_get_monotonic_time() < b->deadline) {
        if (p->reading) {
            g_cond_wait_until(&b->cond, &p->lock, b->deadline);
            continue;
        }
        p->reading = true;
        g_mutex_unlock(&p->lock);
        proxy_read_turn(p, b);
        g_mutex_lock(&p->lock);
        p->reading = false;
    }
    g_queue_remove(&p->waiters, b);
    b->waiting = false;
    if (b->outstanding) {
        batch_abandon(p, b);
    }
    if (p->waiters.length && !p->reading) {
        g_cond_signal(&((ProxyBatch *)p->waiters.head->data)->cond);
    }
    proxy_arm(p);
    g_mutex_unlock(&p->lock);
}

void proxy_batch_init(ProxyBatch *b)
{
    memset(b, 0, sizeof(*b));
    g_cond_init(&b->cond);
}

void proxy_batch_add(Proxy *p, ProxyBatch *b, const ProxyRequest *req)
{
    b->command = req->command;
    batch_send(p, b, req);
    if (__atomic_load_n(&b->outstanding, __ATOMIC_RELAXED) >= BATCH_WINDOW) {
        batch_wait_until(p, b);
    }
}

int proxy_batch_wait(Proxy *p, ProxyBatch *b)
{
    int error;

    batch_wait_until(p, b);
    error = b->error;
    b->error = 0;
    return error;
}

int proxy_call(Proxy *p, const ProxyRequest *req, WireMessage *reply)
{
    WireMessage m = {0};
    ProxyBatch b;
    int error;

    proxy_batch_init(&b);
    b.reply = &m;
    b.command = req->command;
    batch_send(p, &b, req);
    error = proxy_batch_wait(p, &b);
    g_cond_clear(&b.cond);
    if (reply && !error) {
        *reply = m;
    } else {
        wire_message_clear(&m);
    }
    return error;
}

/* Waits until less is queued; the thread of the proxy keeps sending. */
static int post_room(Proxy *p)
{
    gint64 deadline = g_get_monotonic_time() + (gint64)p->timeout_ms * 1000;

    for (;;) {
        size_t queued;

        g_mutex_lock(&p->send_lock);
        queued = wire_stream_queued(p->stream);
        g_mutex_unlock(&p->send_lock);
        if (queued < POST_LIMIT) {
            return 0;
        }
        if (proxy_broken(p)) {
            return ENOTCONN;
        }
        if (g_get_monotonic_time() > deadline) {
            return ETIMEDOUT;
        }
        wire_stream_poll(p->stream, POLLOUT, 10);
    }
}

int proxy_post(Proxy *p, const ProxyRequest *req)
{
    WireHeader h = {.command = req->command, .flags = WIRE_TYPE_COMMAND | WIRE_NO_REPLY};
    int err = post_room(p), id;

    if (err) {
        return err;
    }
    g_mutex_lock(&p->lock);
    id = p->broken || p->closing ? -1 : take_id(p, NULL);
    err = id >= 0 ? 0 : p->broken || p->closing ? ENOTCONN : EBUSY;
    g_mutex_unlock(&p->lock);
    if (err) {
        return err;
    }
    h.id = (uint16_t)id;
    return stream_send(p, &h, req->iov, req->iov_count, req->fds, req->fd_count);
}

void proxy_reply(Proxy *p, const WireHeader *request, int error, const struct iovec *iov, unsigned iov_count)
{
    WireHeader h = {.id = request->id, .command = request->command, .flags = WIRE_TYPE_REPLY};

    if (request->flags & WIRE_NO_REPLY) {
        return;
    }
    if (error) {
        h.flags |= WIRE_ERROR;
        h.error = (uint32_t)error;
        iov_count = 0;
    }
    if (stream_send(p, &h, iov, iov_count, NULL, 0) == ENOBUFS) {
        proxy_fail(p, "the server does not read the replies to its requests");
    }
}

/* --- life --- */

Proxy *proxy_new(const char *name, const char *path, unsigned timeout_ms, const ProxyClient *client,
                 ProxyCounters *counters, GError **error)
{
    int fd = proxy_connect(name, path, timeout_ms, error);
    Proxy *p;

    if (fd < 0) {
        return NULL;
    }
    p = g_new0(Proxy, 1);
    p->name = g_strdup(name);
    p->path = g_strdup(path);
    p->timeout_ms = timeout_ms;
    p->client = *client;
    p->counters = counters;
    p->in_flight = g_hash_table_new(NULL, NULL);
    p->epoll_fd = p->wake_fd = -1;
    g_mutex_init(&p->send_lock);
    g_mutex_init(&p->lock);
    wire_caps_init(&p->caps);
    p->stream = wire_stream_new(fd, WIRE_MAX_MESSAGE, QUEUE_LIMIT);
    if (!proxy_io_start(p, error) || !proxy_negotiate(p, error)) {
        proxy_free(p);
        return NULL;
    }
    return p;
}

void proxy_shutdown(Proxy *p)
{
    g_mutex_lock(&p->lock);
    p->closing = true;
    g_mutex_unlock(&p->lock);
    proxy_fail(p, "the device is removed");
}

void proxy_free(Proxy *p)
{
    if (!p) {
        return;
    }
    proxy_shutdown(p);
    proxy_io_stop(p);
    wire_stream_free(p->stream);
    g_hash_table_destroy(p->in_flight);
    g_mutex_clear(&p->send_lock);
    g_mutex_clear(&p->lock);
    g_free(p->reason);
    g_free(p->name);
    g_free(p->path);
    g_free(p);
}

bool proxy_broken(Proxy *p)
{
    bool broken;

    g_mutex_lock(&p->lock);
    broken = p->broken;
    g_mutex_unlock(&p->lock);
    return broken;
}

const WireCaps *proxy_caps(const Proxy *p)
{
    return &p->caps;
}
