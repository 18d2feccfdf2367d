/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of a connection. */
#include "hw/vfio-user/proxy.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "core/error.h"
#include "hw/vfio-user/proxy-internal.h"

TraceEvent vfio_user_trace[] = {
    [VFIO_USER_TRACE_SEND] = {"vfio_user_send"},
    [VFIO_USER_TRACE_RECV] = {"vfio_user_recv"},
    [VFIO_USER_TRACE_LATE] = {"vfio_user_late"},
    [VFIO_USER_TRACE_TIMEOUT] = {"vfio_user_timeout"},
    [VFIO_USER_TRACE_LOST] = {"vfio_user_lost"},
    [VFIO_USER_TRACE_DMA] = {"vfio_user_dma"},
    {NULL},
};

static bool socket_carries_fds(int fd)
{
    struct sockaddr_storage own;
    socklen_t len = sizeof(own);

    return getsockname(fd, (struct sockaddr *)&own, &len) == 0 && own.ss_family == AF_UNIX;
}

/* Threads that wait block in the receive itself, a slice at a time. */
static void socket_set_slices(int fd)
{
    const struct timeval slice = {.tv_usec = PROXY_SLICE_MS * 1000};

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof(slice));
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
}

Proxy *proxy_new(const ProxyConfig *config, GError **error)
{
    int fd = vfio_user_address_connect(config->address, config->name, config->timeout_ms, error);
    Proxy *p;

    if (fd < 0) {
        return NULL;
    }
    p = g_new0(Proxy, 1);
    p->name = g_strdup(config->name);
    p->where = vfio_user_address_text(config->address);
    p->timeout_ms = config->timeout_ms;
    p->send_queued = config->send_queued;
    p->loop = config->loop;
    p->window.max_ns = (int64_t)config->poll_us * 1000;
    p->client = config->client;
    p->counters = config->counters;
    p->in_flight = g_hash_table_new(NULL, NULL);
    p->epoll_fd = p->wake_fd = -1;
    g_mutex_init(&p->send_lock);
    g_mutex_init(&p->lock);
    for (unsigned i = 0; i < PROXY_SLEEPERS; i++) {
        g_cond_init(&p->sleepers[i]);
    }
    wire_caps_init(&p->caps);
    socket_set_slices(fd);
    p->carries_fds = socket_carries_fds(fd);
    p->main.proxy = p->twin.proxy = p;
    p->main.stream = wire_stream_new(fd, WIRE_MAX_MESSAGE, PROXY_QUEUE_LIMIT);
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
    wire_stream_free(p->main.stream);
    wire_stream_free(p->twin.stream);
    g_hash_table_destroy(p->in_flight);
    g_mutex_clear(&p->send_lock);
    g_mutex_clear(&p->lock);
    for (unsigned i = 0; i < PROXY_SLEEPERS; i++) {
        g_cond_clear(&p->sleepers[i]);
    }
    g_free(p->writes);
    g_free(p->reason);
    g_free(p->name);
    g_free(p->where);
    g_free(p);
}

bool proxy_broken(Proxy *p)
{
    return __atomic_load_n(&p->broken, __ATOMIC_SEQ_CST);
}

const WireCaps *proxy_caps(const Proxy *p)
{
    return &p->caps;
}

void proxy_set_counters(Proxy *p, ProxyCounters *counters)
{
    __atomic_store_n(&p->counters, counters, __ATOMIC_RELEASE);
}

void proxy_set_started(Proxy *p, bool started)
{
    __atomic_store_n(&p->receive_flags, started ? WIRE_STREAM_NO_FDS : 0, __ATOMIC_RELAXED);
}
