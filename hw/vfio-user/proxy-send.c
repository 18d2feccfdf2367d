/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sending: by the caller while the socket takes it, else by the proxy's thread.  Small posted writes that
 * would have to queue are gathered to REGION_WRITE_MULTI messages where the server knows them (vfio-user:
 * write_multiple).
 */
#include <errno.h>
#include <string.h>

#include "core/thread-wait.h"
#include "hw/vfio-user/proxy-internal.h"

/* A thread that posts writes waits while more is queued. */
#define POST_LIMIT (256u << 10)
/* Ids are 16 bits; the rest of them is for those who wait. */
#define IDS_MAX 65000

int proxy_take_id(Proxy *p, ProxyBatch *b)
{
    unsigned id;

    if (g_hash_table_size(p->in_flight) >= IDS_MAX) {
        return -1;
    }
    do {
        id = p->next_id++;
    } while (g_hash_table_contains(p->in_flight, GUINT_TO_POINTER(id)));
    if (b) {
        g_hash_table_insert(p->in_flight, GUINT_TO_POINTER(id), b);
    }
    return (int)id;
}

/* --- the socket; with send_lock --- */

static int stream_send(ProxyLink *link, WireHeader *h, const struct iovec *iov, unsigned iov_count,
                       const int *fds, unsigned fd_count)
{
    Proxy *p = link->proxy;
    int err = wire_stream_send(link->stream, h, iov, iov_count, fds, fd_count,
                               p->send_queued ? WIRE_STREAM_QUEUE : 0);

    __atomic_fetch_add(&proxy_counters(p)->sent, 1, __ATOMIC_RELAXED);
    TRACE(&vfio_user_trace[VFIO_USER_TRACE_SEND], "%s: %s id %u size %u flags 0x%x error %u fds %u%s%s",
          p->name, wire_command_name(h->command), h->id, h->size, h->flags, h->error, fd_count,
          err ? ": " : "", err ? g_strerror(err) : "");
    return err;
}

/* Sends the writes that were gathered. */
static int writes_send(Proxy *p)
{
    WireHeader h = {.command = WIRE_WRITE_MULTI, .flags = WIRE_TYPE_COMMAND | WIRE_NO_REPLY};
    uint8_t head[WIRE_WRITE_MULTI_SIZE];
    struct iovec iov[] = {{head, wire_write_multi_encode(head, p->write_count)},
                          {p->writes, p->write_count * WIRE_WRITE_ENTRY_SIZE}};
    int id;

    if (!p->write_count) {
        return 0;
    }
    g_mutex_lock(&p->lock);
    id = proxy_take_id(p, NULL);
    g_mutex_unlock(&p->lock);
    if (id < 0) {
        return EBUSY;
    }
    h.id = (uint16_t)id;
    __atomic_fetch_add(&proxy_counters(p)->coalesced, p->write_count, __ATOMIC_RELAXED);
    p->write_count = 0;
    return stream_send(&p->main, &h, iov, 2, NULL, 0);
}

/* Has the thread send what waits. */
static void note_queued(ProxyLink *link)
{
    Proxy *p = link->proxy;
    bool queued = wire_stream_queued(link->stream) || (link == &p->main && p->write_count);

    if (queued != __atomic_load_n(&link->queued, __ATOMIC_RELAXED)) {
        g_mutex_lock(&p->lock);
        __atomic_store_n(&link->queued, queued, __ATOMIC_RELAXED);
        proxy_arm(link);
        g_mutex_unlock(&p->lock);
    }
}

/* The connection's end, or an error of this message alone. */
static int judge(Proxy *p, int err)
{
    if (!err || err == ENOBUFS || err == EMFILE || err == ENFILE || err == ENOMEM || err == EBUSY) {
        return err;
    }
    proxy_fail(p, "writing to the server: %s", g_strerror(err));
    return ENOTCONN;
}

int proxy_link_send(ProxyLink *link, WireHeader *h, const struct iovec *iov, unsigned iov_count,
                    const int *fds, unsigned fd_count)
{
    Proxy *p = link->proxy;
    int err;

    g_mutex_lock(&p->send_lock);
    err = link == &p->main ? writes_send(p) : 0;
    if (!err) {
        err = stream_send(link, h, iov, iov_count, fds, fd_count);
    }
    note_queued(link);
    g_mutex_unlock(&p->send_lock);
    return judge(p, err);
}

void proxy_link_flush(ProxyLink *link)
{
    Proxy *p = link->proxy;
    int err;

    g_mutex_lock(&p->send_lock);
    err = wire_stream_flush(link->stream, 0);
    if (!err && link == &p->main && p->write_count) {
        err = writes_send(p);
        err = err ? err : wire_stream_flush(link->stream, 0);
    }
    note_queued(link);
    g_mutex_unlock(&p->send_lock);
    if (err != EAGAIN && err != EINTR) {
        judge(p, err);
    }
}

/* --- posted writes --- */

typedef struct PostWait {
    ThreadWait wait;
    bool cancelled;
} PostWait;

static void post_cancel(ThreadWait *wait)
{
    __atomic_store_n(&((PostWait *)wait)->cancelled, true, __ATOMIC_SEQ_CST);
}

size_t proxy_queued_bytes(Proxy *p)
{
    size_t queued;

    g_mutex_lock(&p->send_lock);
    queued = wire_stream_queued(p->main.stream) + (size_t)p->write_count * WIRE_WRITE_ENTRY_SIZE;
    g_mutex_unlock(&p->send_lock);
    return queued;
}

static int post_wait_room(Proxy *p, const PostWait *wait)
{
    gint64 deadline = g_get_monotonic_time() + (gint64)p->timeout_ms * 1000;

    while (proxy_queued_bytes(p) >= POST_LIMIT) {
        if (proxy_broken(p)) {
            return ENOTCONN;
        }
        if (__atomic_load_n(&wait->cancelled, __ATOMIC_SEQ_CST)) {
            return ECANCELED;
        }
        if (g_get_monotonic_time() > deadline) {
            return ETIMEDOUT;
        }
        wire_stream_poll(p->main.stream, POLLOUT, 10);
        proxy_link_flush(&p->main);
    }
    return 0;
}

static int post_room(Proxy *p)
{
    PostWait wait = {{post_cancel}, false};
    int err;

    if (!__atomic_load_n(&p->main.queued, __ATOMIC_RELAXED) || proxy_queued_bytes(p) < POST_LIMIT) {
        return 0;
    }
    thread_wait_begin(&wait.wait);
    err = post_wait_room(p, &wait);
    thread_wait_end(&wait.wait);
    return err;
}

/* With send_lock.  True: the write waits with others. */
static bool writes_gather(Proxy *p, const WireRegionAccess *access, int *err)
{
    WireWrite entry = {.offset = access->offset, .region = access->region, .count = access->count};

    if (!p->caps.write_multiple || access->count > sizeof(entry.data) || !access->count ||
        !(wire_stream_queued(p->main.stream) || p->write_count)) {
        return false;
    }
    *err = p->write_count == WIRE_MAX_WRITE_MULTI ? writes_send(p) : 0;
    if (*err) {
        return true;
    }
    memcpy(entry.data, access->data, access->count);
    p->writes = p->writes ? p->writes : g_malloc(WIRE_MAX_WRITE_MULTI * WIRE_WRITE_ENTRY_SIZE);
    wire_write_multi_entry_encode(p->writes + (size_t)p->write_count++ * WIRE_WRITE_ENTRY_SIZE, &entry);
    *err = p->write_count == WIRE_MAX_WRITE_MULTI ? writes_send(p) : 0;
    return true;
}

static int post_send(Proxy *p, const WireRegionAccess *access)
{
    WireHeader h = {.command = WIRE_REGION_WRITE, .flags = WIRE_TYPE_COMMAND | WIRE_NO_REPLY};
    uint8_t head[WIRE_REGION_ACCESS_SIZE];
    const struct iovec iov[] = {{head, wire_region_access_encode(head, access)},
                                {(void *)access->data, access->count}};
    int err = writes_send(p), id;

    if (err) {
        return err;
    }
    g_mutex_lock(&p->lock);
    id = p->broken || p->closing ? -1 : proxy_take_id(p, NULL);
    err = id >= 0 ? 0 : p->broken || p->closing ? ENOTCONN : EBUSY;
    g_mutex_unlock(&p->lock);
    if (!err) {
        h.id = (uint16_t)id;
        err = stream_send(&p->main, &h, iov, 2, NULL, 0);
    }
    return err;
}

int proxy_post_write(Proxy *p, const WireRegionAccess *access)
{
    int err = post_room(p);

    if (err) {
        return err;
    }
    if (proxy_broken(p)) {
        return ENOTCONN;
    }
    g_mutex_lock(&p->send_lock);
    if (!writes_gather(p, access, &err)) {
        err = post_send(p, access);
    }
    note_queued(&p->main);
    g_mutex_unlock(&p->send_lock);
    return err == ENOTCONN && proxy_broken(p) ? err : judge(p, err);
}

void proxy_reply(ProxyLink *link, const WireHeader *request, int error, const struct iovec *iov,
                 unsigned iov_count)
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
    if (proxy_link_send(link, &h, iov, iov_count, NULL, 0) == ENOBUFS) {
        proxy_fail(link->proxy, "the server does not read the replies to its requests");
    }
}
