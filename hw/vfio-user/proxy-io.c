/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading the socket, by a waiting thread or by the proxy's own.  The latter watches the socket through a
 * one-shot epoll entry that waiters disarm: taking over and giving back the socket wakes nobody.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/error.h"
#include "hw/vfio-user/proxy-internal.h"

/* --- the state of the connection --- */

static void batch_done(Proxy *p, ProxyBatch *b, int error)
{
    if (error && !b->error) {
        b->error = error;
    }
    b->outstanding--;
    b->deadline = g_get_monotonic_time() + (gint64)p->timeout_ms * 1000;
    if (!b->outstanding && b->waiting) {
        g_cond_signal(&b->cond);
    }
}

void proxy_fail(Proxy *p, const char *fmt, ...)
{
    GHashTableIter iter;
    gpointer batch;
    bool tell;
    va_list ap;

    g_mutex_lock(&p->lock);
    if (p->broken) {
        g_mutex_unlock(&p->lock);
        return;
    }
    p->broken = true;
    tell = !p->closing;
    va_start(ap, fmt);
    p->reason = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_hash_table_iter_init(&iter, p->in_flight);
    while (g_hash_table_iter_next(&iter, NULL, &batch)) {
        if (batch != p) {
            batch_done(p, batch, ENOTCONN);
        }
    }
    g_hash_table_remove_all(p->in_flight);
    wire_stream_shutdown(p->stream);
    g_mutex_unlock(&p->lock);
    TRACE(&vfio_user_trace[VFIO_USER_TRACE_LOST], "%s: %s", p->name, p->reason);
    if (tell) {
        p->client.lost(p->client.opaque, p->reason);
    }
}

void proxy_arm(Proxy *p)
{
    unsigned events =
        p->broken ? 0 : (p->reading || p->waiters.length ? 0 : EPOLLIN) | (p->queued ? EPOLLOUT : 0);
    struct epoll_event ev = {.events = events | EPOLLONESHOT, .data.fd = wire_stream_fd(p->stream)};

    if (events != p->armed) {
        p->armed = events;
        epoll_ctl(p->epoll_fd, EPOLL_CTL_MOD, ev.data.fd, &ev);
    }
}

/* --- messages --- */

static void take_reply(Proxy *p, WireMessage *m)
{
    gpointer key = GUINT_TO_POINTER(m->header.id), found;
    ProxyBatch *b;
    int error;

    g_mutex_lock(&p->lock);
    if (!g_hash_table_lookup_extended(p->in_flight, key, NULL, &found)) {
        g_mutex_unlock(&p->lock);
        TRACE(&vfio_user_trace[VFIO_USER_TRACE_LATE], "%s: reply to nothing, id %u", p->name, m->header.id);
        return;
    }
    g_hash_table_remove(p->in_flight, key);
    b = found == p ? NULL : found;
    if (!b) {
        TRACE(&vfio_user_trace[VFIO_USER_TRACE_LATE], "%s: late reply, id %u", p->name, m->header.id);
    } else {
        error = m->header.flags & WIRE_ERROR ? wire_header_error(&m->header) : 0;
        if (!error && b->reply && m->header.command != b->command) {
            error = EPROTO;
        }
        if (!error && b->reply) {
            *b->reply = *m;
            *m = (WireMessage){0};
        }
        batch_done(p, b, error);
    }
    g_mutex_unlock(&p->lock);
}

static void dispatch(Proxy *p, WireMessage *m)
{
    __atomic_fetch_add(&p->counters->received, 1, __ATOMIC_RELAXED);
    TRACE(&vfio_user_trace[VFIO_USER_TRACE_RECV], "%s: %s id %u size %u flags 0x%x error %u fds %u", p->name,
          wire_command_name(m->header.command), m->header.id, m->header.size, m->header.flags,
          m->header.error, m->fd_count);
    switch (m->header.flags & WIRE_TYPE_MASK) {
    case WIRE_TYPE_REPLY:
        take_reply(p, m);
        break;
    case WIRE_TYPE_COMMAND:
        p->client.request(p->client.opaque, p, m);
        break;
    default:
        proxy_fail(p, "the server sent a message of unknown type %u", m->header.flags & WIRE_TYPE_MASK);
        break;
    }
    wire_message_clear(m);
}

/* True: something was read. */
static bool read_one(Proxy *p, bool *failed)
{
    WireMessage m;
    int err = wire_stream_receive(p->stream, &m, 0);

    *failed = false;
    switch (err) {
    case 0:
        dispatch(p, &m);
        return true;
    case EAGAIN:
    case EINTR:
        return false;
    case ENOTCONN:
        proxy_fail(p, "the server closed the connection");
        break;
    case EPROTO:
        proxy_fail(p, "the server sent a message of impossible size (%u)", m.header.size);
        break;
    default:
        proxy_fail(p, "reading from the server: %s", g_strerror(err));
        break;
    }
    *failed = true;
    return false;
}

static bool batch_finished(Proxy *p, const ProxyBatch *b, gint64 *left_us)
{
    bool finished;

    g_mutex_lock(&p->lock);
    *left_us = b->deadline - g_get_monotonic_time();
    finished = !b->outstanding || *left_us <= 0;
    g_mutex_unlock(&p->lock);
    return finished;
}

void proxy_read_turn(Proxy *p, ProxyBatch *b)
{
    gint64 left_us = 0;
    bool failed;

    for (;;) {
        bool finished = !b || batch_finished(p, b, &left_us);

        /* A message that was read ahead shows in no poll(): it is taken before the socket is left. */
        if (b && finished && !wire_stream_has_message(p->stream)) {
            return;
        }
        if (read_one(p, &failed)) {
            continue;
        }
        if (failed || finished) {
            return;
        }
        wire_stream_poll(p->stream, POLLIN, (int)MIN(left_us / 1000 + 1, G_MAXINT));
    }
}

/* --- the proxy's own thread --- */

static void io_flush(Proxy *p)
{
    int err;

    g_mutex_lock(&p->send_lock);
    err = wire_stream_flush(p->stream, 0);
    g_mutex_lock(&p->lock);
    p->queued = wire_stream_queued(p->stream) != 0;
    g_mutex_unlock(&p->lock);
    g_mutex_unlock(&p->send_lock);
    if (err && err != EAGAIN && err != EINTR) {
        proxy_fail(p, "writing to the server: %s", g_strerror(err));
    }
}

static void io_socket(Proxy *p)
{
    bool read;

    g_mutex_lock(&p->lock);
    p->armed = 0;
    read = !p->reading && !p->waiters.length && !p->broken;
    p->reading |= read;
    g_mutex_unlock(&p->lock);
    io_flush(p);
    if (read) {
        proxy_read_turn(p, NULL);
    }
    g_mutex_lock(&p->lock);
    if (read) {
        p->reading = false;
        if (p->waiters.length) {
            g_cond_signal(&((ProxyBatch *)p->waiters.head->data)->cond);
        }
    }
    proxy_arm(p);
    g_mutex_unlock(&p->lock);
}

static gpointer io_thread(gpointer opaque)
{
    Proxy *p = opaque;

    for (;;) {
        struct epoll_event ev;
        int n = epoll_wait(p->epoll_fd, &ev, 1, -1);

        if (n == 1 && ev.data.fd == p->wake_fd) {
            return NULL;
        }
        if (n == 1) {
            io_socket(p);
        }
    }
}

bool proxy_io_start(Proxy *p, GError **error)
{
    struct epoll_event ev = {.events = EPOLLIN};

    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ev.data.fd = p->wake_fd;
    if (p->epoll_fd < 0 || p->wake_fd < 0 || epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->wake_fd, &ev) < 0) {
        error_set_errno(error, errno, "%s: cannot watch the socket", p->name);
        return false;
    }
    p->armed = EPOLLIN;
    ev = (struct epoll_event){.events = EPOLLIN | EPOLLONESHOT, .data.fd = wire_stream_fd(p->stream)};
    if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, ev.data.fd, &ev) < 0) {
        error_set_errno(error, errno, "%s: cannot watch the socket", p->name);
        return false;
    }
    p->thread = g_thread_try_new("vfio-user", io_thread, p, error);
    return p->thread != NULL;
}

void proxy_io_stop(Proxy *p)
{
    uint64_t one = 1;

    if (p->thread) {
        while (write(p->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR) {
        }
        g_thread_join(p->thread);
        p->thread = NULL;
    }
    if (p->epoll_fd >= 0) {
        close(p->epoll_fd);
    }
    if (p->wake_fd >= 0) {
        close(p->wake_fd);
    }
}
