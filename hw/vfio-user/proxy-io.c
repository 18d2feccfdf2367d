/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading the sockets.  The main one is read by a waiting thread or by the proxy's own, which watches it
 * through a one-shot epoll entry that waiters disarm: taking over and giving back the socket wakes nobody.
 * The twin socket, where there is one, is the proxy's thread's alone.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/error.h"
#include "hw/vfio-user/proxy-internal.h"

/* --- the state of the connection --- */

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
            proxy_batch_answered(p, batch, ENOTCONN);
        }
    }
    g_hash_table_remove_all(p->in_flight);
    wire_stream_shutdown(p->main.stream);
    if (p->twin.stream) {
        wire_stream_shutdown(p->twin.stream);
    }
    proxy_unlock(p);
    TRACE(&vfio_user_trace[VFIO_USER_TRACE_LOST], "%s: %s", p->name, p->reason);
    if (tell) {
        p->client.lost(p->client.opaque, p->reason);
    }
    proxy_run_finished(p);
}

void proxy_arm(ProxyLink *link)
{
    Proxy *p = link->proxy;
    bool others = link == &p->main && (p->reading || p->waiters.length || p->callers);
    /* With a socket of their own for the server's requests, nothing comes on this one that nobody waits for.
     */
    bool quiet = link == &p->main && p->twin.stream;
    unsigned events = quiet ? EPOLLRDHUP | (others || !p->left.length ? 0 : EPOLLIN) : others ? 0 : EPOLLIN;

    events = p->broken ? 0 : events | (link->queued ? EPOLLOUT : 0);
    if (events != link->armed) {
        struct epoll_event ev = {.events = events | EPOLLONESHOT, .data.ptr = link};

        link->armed = events;
        epoll_ctl(p->epoll_fd, EPOLL_CTL_MOD, wire_stream_fd(link->stream), &ev);
    }
}

/* --- messages --- */

static void take_reply(Proxy *p, WireMessage *m)
{
    gpointer key = GUINT_TO_POINTER(m->header.id), found;
    bool finished = false;
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
        proxy_batch_answered(p, b, error);
        finished = p->finished.length;
    }
    proxy_unlock(p);
    if (finished) {
        proxy_run_finished(p);
    }
}

static void dispatch(ProxyLink *link, WireMessage *m)
{
    Proxy *p = link->proxy;

    __atomic_fetch_add(&proxy_counters(p)->received, 1, __ATOMIC_RELAXED);
    TRACE(&vfio_user_trace[VFIO_USER_TRACE_RECV], "%s: %s id %u size %u flags 0x%x error %u fds %u", p->name,
          wire_command_name(m->header.command), m->header.id, m->header.size, m->header.flags,
          m->header.error, m->fd_count);
    switch (m->header.flags & WIRE_TYPE_MASK) {
    case WIRE_TYPE_REPLY:
        if (link == &p->main) {
            take_reply(p, m);
        }
        break;
    case WIRE_TYPE_COMMAND:
        p->client.request(p->client.opaque, link, m);
        break;
    default:
        proxy_fail(p, "the server sent a message of unknown type %u", m->header.flags & WIRE_TYPE_MASK);
        break;
    }
    wire_message_clear(m);
}

/* True: something was read. */
static bool read_one(ProxyLink *link, unsigned flags, bool *failed)
{
    Proxy *p = link->proxy;
    WireMessage m;
    int err =
        wire_stream_receive(link->stream, &m, flags | __atomic_load_n(&p->receive_flags, __ATOMIC_RELAXED));

    *failed = false;
    switch (err) {
    case 0:
        dispatch(link, &m);
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

static bool batch_finished(Proxy *p, const ProxyBatch *b)
{
    bool finished;

    g_mutex_lock(&p->lock);
    finished = !b->outstanding || b->cancelled || b->deadline <= g_get_monotonic_time();
    g_mutex_unlock(&p->lock);
    return finished;
}

/*
 * Reads the next message when it comes, but looks up after PROXY_SLICE_MS: a receive costs less than a poll()
 * and a receive, and its time-out less than poll()'s.
 */
static bool read_waiting(Proxy *p, bool look, bool *failed)
{
    struct pollfd fd = {wire_stream_fd(p->main.stream), POLLIN, 0};
    gint64 begin;
    bool read;

    if (!look || !p->window.max_ns) {
        return read_one(&p->main, WIRE_STREAM_TIMED, failed);
    }
    begin = g_get_monotonic_time();
    poll_window_look(&p->window, &fd, 1, INT64_MAX);
    read = read_one(&p->main, WIRE_STREAM_TIMED, failed);
    poll_window_learn(&p->window, (g_get_monotonic_time() - begin) * 1000);
    return read;
}

void proxy_read_turn(Proxy *p, ProxyBatch *b)
{
    bool failed = false;

    if (!b) {
        while (read_one(&p->main, 0, &failed)) {
        }
        return;
    }
    while (!failed && !batch_finished(p, b)) {
        read_waiting(p, b->reply, &failed);
    }
    /* A message that was read ahead shows in no poll(): it is taken before the socket is left. */
    while (!failed && wire_stream_has_message(p->main.stream) && read_one(&p->main, 0, &failed)) {
    }
}

/* --- the proxy's own thread --- */

static void io_main(Proxy *p)
{
    bool read;

    g_mutex_lock(&p->lock);
    p->main.armed = 0;
    read = !p->reading && !p->waiters.length && !p->broken;
    p->reading |= read;
    g_mutex_unlock(&p->lock);
    proxy_link_flush(&p->main);
    if (read) {
        proxy_read_turn(p, NULL);
    }
    g_mutex_lock(&p->lock);
    if (read) {
        p->reading = false;
        proxy_wake_reader(p);
    }
    proxy_arm(&p->main);
    proxy_unlock(p);
}

static void io_twin(Proxy *p)
{
    bool failed;

    g_mutex_lock(&p->lock);
    p->twin.armed = 0;
    g_mutex_unlock(&p->lock);
    proxy_link_flush(&p->twin);
    while (read_one(&p->twin, 0, &failed)) {
    }
    g_mutex_lock(&p->lock);
    proxy_arm(&p->twin);
    g_mutex_unlock(&p->lock);
}

/* One event, waited for at most that long (-1: as long as it takes). */
static void io_step(Proxy *p, int timeout_ms)
{
    struct epoll_event ev;
    uint64_t count;

    if (epoll_wait(p->epoll_fd, &ev, 1, timeout_ms) != 1) {
        return;
    }
    if (ev.data.ptr == &p->main) {
        io_main(p);
    } else if (ev.data.ptr == &p->twin) {
        io_twin(p);
    } else {
        while (read(p->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR) {
        }
    }
}

static gpointer io_thread(gpointer opaque)
{
    Proxy *p = opaque;

    while (!__atomic_load_n(&p->quit, __ATOMIC_SEQ_CST)) {
        io_step(p, proxy_expire_left(p));
    }
    return NULL;
}

/* --- a loop in its place --- */

static void loop_expire(void *opaque)
{
    Proxy *p = opaque;
    int next_ms = proxy_expire_left(p);

    if (next_ms >= 0) {
        timer_set(p->expiry, (g_get_monotonic_time() + (gint64)next_ms * 1000) * 1000);
    }
}

static void loop_ready(void *opaque)
{
    io_step(opaque, 0);
    loop_expire(opaque);
}

static bool watch(Proxy *p, int fd, unsigned events, void *what)
{
    struct epoll_event ev = {.events = events, .data.ptr = what};

    return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0;
}

bool proxy_io_start(Proxy *p, GError **error)
{
    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->main.armed = EPOLLIN;
    if (p->epoll_fd < 0 || p->wake_fd < 0 || !watch(p, p->wake_fd, EPOLLIN, p) ||
        !watch(p, wire_stream_fd(p->main.stream), EPOLLIN | EPOLLONESHOT, &p->main)) {
        error_set_errno(error, errno, "%s: cannot watch the socket", p->name);
        return false;
    }
    if (p->loop) {
        p->expiry = timer_new(p->loop, CLOCK_KIND_REALTIME, loop_expire, p);
        p->watch = loop_add_fd(p->loop, p->epoll_fd, loop_ready, NULL, p);
        return true;
    }
    p->thread = g_thread_try_new("vfio-user", io_thread, p, error);
    return p->thread != NULL;
}

bool proxy_io_add_twin(Proxy *p, int fd, GError **error)
{
    p->twin.stream = wire_stream_new(fd, WIRE_MAX_MESSAGE, PROXY_QUEUE_LIMIT);
    p->twin.armed = EPOLLIN;
    if (!watch(p, fd, EPOLLIN | EPOLLONESHOT, &p->twin)) {
        error_set_errno(error, errno, "%s: cannot watch the twin socket", p->name);
        return false;
    }
    return true;
}

void proxy_io_wake(Proxy *p)
{
    const uint64_t one = 1;

    while (write(p->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
}

void proxy_io_stop(Proxy *p)
{
    const int fds[] = {p->epoll_fd, p->wake_fd};

    if (p->thread) {
        __atomic_store_n(&p->quit, true, __ATOMIC_SEQ_CST);
        proxy_io_wake(p);
        g_thread_join(g_steal_pointer(&p->thread));
    }
    if (p->watch) {
        loop_lock(p->loop); /* neither callback is running */
        loop_remove_fd(g_steal_pointer(&p->watch));
        g_clear_pointer(&p->expiry, timer_free);
        loop_unlock(p->loop);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}
