/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client's side of a vfio-user connection: see proxy.h for how threads share the reading. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/trace.h"
#include "hw/vfio-user/proxy.h"

#define SEND_QUEUE_LIMIT (16u << 20)
#define VERSION_JSON_ROOM 256

extern TraceEvent vfio_user_trace[];
enum { TRACE_SEND, TRACE_RECV, TRACE_LATE };
TraceEvent vfio_user_trace[] = {
    [TRACE_SEND] = {"vfio_user_send"}, [TRACE_RECV] = {"vfio_user_recv"}, [TRACE_LATE] = {"vfio_user_late_reply"}, {NULL}};

struct VfioUserProxy {
    WireStream *stream;
    WireCaps caps;
    unsigned timeout_ms;
    const ProxyOps *ops;
    void *opaque;
    ProxyStats *stats;
    GMutex lock;            /* everything below, and sending */
    GHashTable *in_flight;  /* id -> ProxyRequest *, or &abandoned after a timeout */
    uint16_t next_id;
    unsigned waiters;
    bool leader;            /* one of the waiters reads */
    bool dead, quit, serving;
    GCond idle;             /* the proxy's thread: nobody waits any more */
    GThread *thread;
    int wake_fd;
};

static ProxyRequest abandoned;

/* --- receiving --- */

/* With the lock. */
static void proxy_died(VfioUserProxy *p)
{
    GHashTableIter iter;
    gpointer value;

    p->dead = true;
    g_hash_table_iter_init(&iter, p->in_flight);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        ProxyRequest *req = value;

        if (req != &abandoned) {
            req->done = true;
            req->result = -ENOTCONN;
            g_cond_signal(&req->cond);
        }
    }
    g_hash_table_remove_all(p->in_flight);
}

/* Tells the owner once; without the lock. */
static void proxy_fail(VfioUserProxy *p, int err)
{
    bool first;

    g_mutex_lock(&p->lock);
    first = !p->dead && !p->quit;
    proxy_died(p);
    g_mutex_unlock(&p->lock);
    wire_stream_shutdown(p->stream);
    if (first && p->ops->lost) {
        p->ops->lost(p->opaque, err == ENOTCONN ? "the server closed the connection" : g_strerror(err));
    }
}

static void handle_reply(VfioUserProxy *p, WireMessage *m)
{
    ProxyRequest *req;

    g_mutex_lock(&p->lock);
    req = g_hash_table_lookup(p->in_flight, GUINT_TO_POINTER(m->header.id));
    g_hash_table_remove(p->in_flight, GUINT_TO_POINTER(m->header.id));
    if (!req || req == &abandoned) {
        g_mutex_unlock(&p->lock);
        TRACE(&vfio_user_trace[TRACE_LATE], "id %u command %u", m->header.id, m->header.command);
        wire_message_clear(m);
        return;
    }
    req->result = -wire_header_error(&m->header);
    if (req->result) {
        wire_message_clear(m);
    } else {
        req->reply = *m;
    }
    req->done = true;
    g_cond_signal(&req->cond);
    g_mutex_unlock(&p->lock);
}

static int dma_errno(MemResult result)
{
    return result & MEM_ACCESS_ERROR ? EPERM : result & MEM_DECODE_ERROR ? ENODEV : EFAULT;
}

/* Replies are sent under the lock like everything else. */
static void send_reply(VfioUserProxy *p, const WireHeader *to, int err, const struct iovec *iov, unsigned n)
{
    WireHeader h = {.id = to->id, .command = to->command, .flags = WIRE_TYPE_REPLY | (err ? WIRE_ERROR : 0),
                    .error = (uint32_t)err};

    if (to->flags & WIRE_NO_REPLY) {
        return;
    }
    g_mutex_lock(&p->lock);
    if (!p->dead) {
        wire_stream_send(p->stream, &h, iov, err ? 0 : n, NULL, 0, 0);
        __atomic_fetch_add(&p->stats->sent, 1, __ATOMIC_RELAXED);
    }
    g_mutex_unlock(&p->lock);
}

static void handle_dma(VfioUserProxy *p, const WireMessage *m)
{
    bool is_write = m->header.command == WIRE_DMA_WRITE;
    uint8_t head[WIRE_DMA_ACCESS_SIZE];
    g_autofree uint8_t *data = NULL;
    WireDmaAccess access;
    MemResult result;
    int err = is_write ? wire_dma_write_decode(&access, m->body, m->len, WIRE_MAX_DATA)
                       : wire_dma_read_decode(&access, m->body, m->len, WIRE_MAX_DATA);

    if (err || !p->serving) {
        send_reply(p, &m->header, err ? err : EINVAL, NULL, 0);
        return;
    }
    data = is_write ? g_memdup2(access.data, access.count) : g_malloc0(access.count + 1);
    result = p->ops->dma(p->opaque, access.address, data, access.count, is_write);
    wire_dma_access_encode(head, &access);
    const struct iovec iov[] = {{head, sizeof(head)}, {data, access.count}};

    send_reply(p, &m->header, result ? dma_errno(result) : 0, iov, is_write ? 1 : 2);
}

static void handle_command(VfioUserProxy *p, WireMessage *m)
{
    if (m->header.command == WIRE_DMA_READ || m->header.command == WIRE_DMA_WRITE) {
        handle_dma(p, m);
    } else {
        send_reply(p, &m->header, ENOSYS, NULL, 0);
    }
    wire_message_clear(m);
}

static void handle_message(VfioUserProxy *p, WireMessage *m)
{
    __atomic_fetch_add(&p->stats->received, 1, __ATOMIC_RELAXED);
    TRACE(&vfio_user_trace[TRACE_RECV], "id %u %s flags 0x%x size %u", m->header.id,
          wire_command_name(m->header.command), m->header.flags, m->header.size);
    if ((m->header.flags & WIRE_TYPE_MASK) == WIRE_TYPE_REPLY) {
        handle_reply(p, m);
    } else {
        handle_command(p, m);
    }
}

/* Reads what is there; the calling thread is the only reader.  False: the connection is gone. */
static bool read_messages(VfioUserProxy *p, bool one)
{
    WireMessage m;
    int err;

    while (!(err = wire_stream_receive(p->stream, &m, 0))) {
        handle_message(p, &m);
        if (one) {
            return true;
        }
    }
    if (err == EAGAIN || err == EINTR) {
        return true;
    }
    proxy_fail(p, err);
    return false;
}

static void flush_output(VfioUserProxy *p)
{
    g_mutex_lock(&p->lock);
    wire_stream_flush(p->stream, 0);
    g_mutex_unlock(&p->lock);
}

static short wanted_events(VfioUserProxy *p)
{
    short events;

    g_mutex_lock(&p->lock);
    events = POLLIN | (wire_stream_queued(p->stream) ? POLLOUT : 0);
    g_mutex_unlock(&p->lock);
    return events;
}

/* --- the proxy's own thread --- */

static gpointer proxy_thread(gpointer opaque)
{
    VfioUserProxy *p = opaque;
    struct pollfd fds[2] = {{.fd = wire_stream_fd(p->stream)}, {.fd = p->wake_fd, .events = POLLIN}};
    uint64_t count;

    g_mutex_lock(&p->lock);
    while (!p->quit && !p->dead) {
        if (p->waiters) {
            g_cond_wait(&p->idle, &p->lock);
            continue;
        }
        g_mutex_unlock(&p->lock);
        fds[0].events = wanted_events(p);
        if (!wire_stream_has_message(p->stream)) {
            poll(fds, 2, -1);
        }
        if (read(p->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN) {
            g_warning("vfio-user: wake-up: %s", g_strerror(errno));
        }
        flush_output(p);
        g_mutex_lock(&p->lock);
        /* Whoever waits reads: its reply may be what came. */
        if (p->waiters || p->leader || p->quit) {
            continue;
        }
        p->leader = true;
        g_mutex_unlock(&p->lock);
        read_messages(p, true);
        g_mutex_lock(&p->lock);
        p->leader = false;
        if (p->waiters) {
            /* Somebody came while we read: one of them takes the lead. */
            GHashTableIter iter;
            gpointer value;

            g_hash_table_iter_init(&iter, p->in_flight);
            while (g_hash_table_iter_next(&iter, NULL, &value)) {
                if (value != &abandoned) {
                    g_cond_signal(&((ProxyRequest *)value)->cond);
                }
            }
        }
    }
    g_mutex_unlock(&p->lock);
    return NULL;
}

static void wake_thread(VfioUserProxy *p)
{
    const uint64_t one = 1;

    while (write(p->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
}

/* --- sending --- */

static bool allocate_id(VfioUserProxy *p, ProxyRequest *req)
{
    for (unsigned tries = 0; tries <= UINT16_MAX; tries++) {
        uint16_t id = p->next_id++;

        if (!g_hash_table_contains(p->in_flight, GUINT_TO_POINTER(id))) {
            req->id = id;
            g_hash_table_insert(p->in_flight, GUINT_TO_POINTER(id), req);
            return true;
        }
    }
    return false;
}

/* With the lock; waits (dropping it) while the queue of unsent output is full. */
static int send_locked(VfioUserProxy *p, WireHeader *h, const struct iovec *iov, unsigned n, const int *fds, unsigned fd_count)
{
    gint64 deadline = g_get_monotonic_time() + p->timeout_ms * G_TIME_SPAN_MILLISECOND;
    int err;

    for (;;) {
        if (p->dead) {
            return -ENOTCONN;
        }
        err = wire_stream_send(p->stream, h, iov, n, fds, fd_count, 0);
        if (err != ENOBUFS) {
            break;
        }
        if (g_get_monotonic_time() >= deadline) {
            return -ETIMEDOUT;
        }
        g_mutex_unlock(&p->lock);
        wire_stream_poll(p->stream, POLLOUT, 10);
        flush_output(p);
        g_mutex_lock(&p->lock);
    }
    if (!err) {
        __atomic_fetch_add(&p->stats->sent, 1, __ATOMIC_RELAXED);
        TRACE(&vfio_user_trace[TRACE_SEND], "id %u %s flags 0x%x size %u", h->id, wire_command_name(h->command), h->flags,
              h->size);
    }
    return -err;
}

int proxy_send(VfioUserProxy *p, ProxyRequest *req, unsigned command, const struct iovec *iov, unsigned iov_count,
               const int *fds, unsigned fd_count)
{
    WireHeader h = {.command = (uint16_t)command, .flags = WIRE_TYPE_COMMAND};
    int ret;

    *req = (ProxyRequest){0};
    g_cond_init(&req->cond);
    g_mutex_lock(&p->lock);
    if (p->dead || !allocate_id(p, req)) {
        ret = p->dead ? -ENOTCONN : -EBUSY;
        g_mutex_unlock(&p->lock);
        return ret;
    }
    h.id = req->id;
    if (!p->waiters++) {
        wake_thread(p);
    }
    ret = send_locked(p, &h, iov, iov_count, fds, fd_count);
    if (ret) {
        g_hash_table_remove(p->in_flight, GUINT_TO_POINTER(req->id));
        if (!--p->waiters) {
            g_cond_signal(&p->idle);
        }
    }
    g_mutex_unlock(&p->lock);
    return ret;
}

/* With the lock: gives the lead to some other waiter, or the socket back to the proxy's thread. */
static void hand_over(VfioUserProxy *p)
{
    GHashTableIter iter;
    gpointer value;

    p->waiters--;
    g_hash_table_iter_init(&iter, p->in_flight);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        if (value != &abandoned && !p->leader) {
            g_cond_signal(&((ProxyRequest *)value)->cond);
        }
    }
    if (!p->waiters) {
        g_cond_signal(&p->idle);
    }
}

static int remaining_ms(gint64 deadline)
{
    gint64 left = (deadline - g_get_monotonic_time() + 999) / 1000;

    return left > 0 ? (int)left : 0;
}

/* The leader's turn: waits for the socket and handles one message.  With the lock, which is dropped meanwhile. */
static void lead(VfioUserProxy *p, gint64 deadline)
{
    p->leader = true;
    g_mutex_unlock(&p->lock);
    if (wire_stream_has_message(p->stream) ||
        wire_stream_poll(p->stream, wanted_events(p), remaining_ms(deadline)) != ETIMEDOUT) {
        flush_output(p);
        read_messages(p, true);
    }
    g_mutex_lock(&p->lock);
    p->leader = false;
}

int proxy_wait(VfioUserProxy *p, ProxyRequest *req)
{
    gint64 deadline = g_get_monotonic_time() + p->timeout_ms * G_TIME_SPAN_MILLISECOND;

    g_mutex_lock(&p->lock);
    while (!req->done && g_get_monotonic_time() < deadline) {
        if (p->leader) {
            g_cond_wait_until(&req->cond, &p->lock, deadline);
        } else {
            lead(p, deadline);
        }
    }
    if (!req->done) {
        /* The id stays taken until the late reply comes. */
        g_hash_table_replace(p->in_flight, GUINT_TO_POINTER(req->id), &abandoned);
        req->result = -ETIMEDOUT;
    }
    hand_over(p);
    g_mutex_unlock(&p->lock);
    g_cond_clear(&req->cond);
    return req->result;
}

int proxy_call(VfioUserProxy *p, ProxyRequest *req, unsigned command, const struct iovec *iov, unsigned iov_count,
               const int *fds, unsigned fd_count)
{
    int ret = proxy_send(p, req, command, iov, iov_count, fds, fd_count);

    return ret ? ret : proxy_wait(p, req);
}

int proxy_post(VfioUserProxy *p, unsigned command, const struct iovec *iov, unsigned iov_count)
{
    WireHeader h = {.command = (uint16_t)command, .flags = WIRE_TYPE_COMMAND | WIRE_NO_REPLY};
    int ret;

    g_mutex_lock(&p->lock);
    /* Nothing comes back, so the id need not be one of its own; it must only not be that of a request in flight. */
    while (g_hash_table_contains(p->in_flight, GUINT_TO_POINTER(p->next_id))) {
        p->next_id++;
    }
    h.id = p->next_id++;
    ret = send_locked(p, &h, iov, iov_count, NULL, 0);
    if (!ret && wire_stream_queued(p->stream)) {
        wake_thread(p);
    }
    g_mutex_unlock(&p->lock);
    return ret;
}

/* --- set-up --- */

static int connect_unix(const char *path, GError **error)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(addr.sun_path)) {
        error_set(error, "socket=%s: path is too long (%zu bytes, allowed %zu)", path, strlen(path),
                  sizeof(addr.sun_path) - 1);
        return -1;
    }
    strcpy(addr.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        error_set_errno(error, errno, "socket=%s: cannot connect; is the server running?", path);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

static bool check_version(VfioUserProxy *p, const WireMessage *m, const char *path, GError **error)
{
    const char *key = NULL;
    WireVersion v;
    int err = wire_version_decode(&v, m->body, m->len);

    if (err || !v.json) {
        error_set(error, "socket=%s: the server's version reply is malformed (no JSON with its NUL)", path);
        return false;
    }
    if (v.major != 0 || v.minor > 1) {
        error_set(error, "socket=%s: the server speaks vfio-user %u.%u (allowed 0.0 and 0.1)", path, v.major, v.minor);
        return false;
    }
    if (wire_caps_parse(&p->caps, v.json, true, &key) || wire_caps_check_server(&p->caps, &key)) {
        error_set(error, "socket=%s: the server's capability %s is not acceptable", path, key ? key : "JSON");
        return false;
    }
    return true;
}

static bool negotiate(VfioUserProxy *p, const char *path, GError **error)
{
    WireCaps offer;
    char json[VERSION_JSON_ROOM];
    uint8_t payload[WIRE_VERSION_SIZE + VERSION_JSON_ROOM];
    WireVersion v = {.major = 0, .minor = 1, .json = json};
    ProxyRequest req;
    bool ok;
    int ret;

    wire_caps_init(&offer);
    offer.max_msg_fds = WIRE_MAX_FDS_CLIENT;
    offer.has_max_msg_fds = offer.has_max_data_xfer_size = offer.has_pgsizes = offer.has_max_dma_maps = true;
    v.json_len = wire_caps_encode(json, sizeof(json), &offer);
    const struct iovec iov = {payload, wire_version_encode(payload, sizeof(payload), &v)};

    ret = proxy_call(p, &req, WIRE_VERSION, &iov, 1, NULL, 0);
    if (ret) {
        error_set_errno(error, -ret, "socket=%s: version negotiation failed", path);
        return false;
    }
    ok = check_version(p, &req.reply, path, error);
    wire_message_clear(&req.reply);
    return ok;
}

VfioUserProxy *proxy_connect(const char *path, unsigned timeout_ms, const ProxyOps *ops, void *opaque,
                             ProxyStats *stats, GError **error)
{
    VfioUserProxy *p;
    int fd = connect_unix(path, error);

    if (fd < 0) {
        return NULL;
    }
    p = g_new0(VfioUserProxy, 1);
    p->stream = wire_stream_new(fd, WIRE_MAX_MESSAGE, SEND_QUEUE_LIMIT);
    p->timeout_ms = timeout_ms;
    p->ops = ops;
    p->opaque = opaque;
    p->stats = stats;
    p->in_flight = g_hash_table_new(NULL, NULL);
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    g_mutex_init(&p->lock);
    g_cond_init(&p->idle);
    if (!negotiate(p, path, error)) {
        proxy_free(p);
        return NULL;
    }
    p->thread = g_thread_new("vfio-user", proxy_thread, p);
    return p;
}

void proxy_start(VfioUserProxy *p)
{
    g_mutex_lock(&p->lock);
    p->serving = true;
    g_mutex_unlock(&p->lock);
}

const WireCaps *proxy_caps(const VfioUserProxy *p)
{
    return &p->caps;
}

void proxy_free(VfioUserProxy *p)
{
    if (!p) {
        return;
    }
    g_mutex_lock(&p->lock);
    p->quit = true;
    proxy_died(p);
    g_cond_signal(&p->idle);
    g_mutex_unlock(&p->lock);
    wake_thread(p);
    if (p->thread) {
        g_thread_join(p->thread);
    }
    wire_stream_free(p->stream);
    close(p->wake_fd);
    g_hash_table_destroy(p->in_flight);
    g_mutex_clear(&p->lock);
    g_cond_clear(&p->idle);
    g_free(p);
}
