/* SPDX-License-Identifier: BSD-3-Clause */
/* Contexts: creation on a path or an fd, realizing, logging, the fd to poll, destruction. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "private.h"

int vfu_fail(int err)
{
    errno = err;
    return -1;
}

static vfu_ctx_t *ctx_new(int flags, void *pvt)
{
    vfu_ctx_t *ctx = calloc(1, sizeof(*ctx));

    if (ctx == NULL) {
        return NULL;
    }
    ctx->pvt = pvt;
    ctx->nb = flags & LIBVFIO_USER_FLAG_ATTACH_NB;
    ctx->listen_fd = -1;
    ctx->handed_fd = -1;
    ctx->handed_out_fd = -1;
    ctx->ready_fd = -1;
    ctx->unmask_fd = -1;
    ctx->epoll_fd = -1;
    ctx->epoll_watched = -1;
    ctx->epoll_twin = -1;
    ctx->log_level = LOG_ERR;
    ctx->backlog_tail = &ctx->backlog;
    ctx->migration.state = WIRE_STATE_RUNNING;
    ctx->irqs[VFU_DEV_ERR_IRQ].count = 1;
    ctx->irqs[VFU_DEV_REQ_IRQ].count = 1;
    for (int i = 0; i < VFU_PCI_DEV_NUM_REGIONS; i++) {
        ctx->regions[i].fd = -1;
    }
    pthread_mutex_init(&ctx->irq_lock, NULL);
    pthread_mutex_init(&ctx->dma.message_lock, NULL);
    if (ctx->nb) {
        ctx->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (ctx->epoll_fd < 0) {
            int err = errno;

            vfu_destroy_ctx(ctx);
            errno = err;
            return NULL;
        }
    }
    return ctx;
}

static int check_create(int flags, vfu_dev_type_t dev_type)
{
    if (flags & ~LIBVFIO_USER_FLAG_ATTACH_NB) {
        return EINVAL;
    }
    return dev_type != VFU_DEV_TYPE_PCI ? ENOTSUP : 0;
}

/* Standard input and output as the one connection. */
static vfu_ctx_t *create_pipe(int flags, void *pvt)
{
    vfu_ctx_t *ctx;
    int fds[2];

    if (transport_take_stdio(fds) < 0) {
        return NULL;
    }
    ctx = ctx_new(flags, pvt);
    if (ctx == NULL) {
        close(fds[0]);
        close(fds[1]);
        errno = ENOMEM;
        return NULL;
    }
    ctx->handed_fd = fds[0];
    ctx->handed_out_fd = fds[1];
    ctx_update_poll(ctx);
    return ctx;
}

VFU_EXPORT vfu_ctx_t *vfu_create_ctx(vfu_trans_t trans, const char *path, int flags, void *pvt, vfu_dev_type_t dev_type)
{
    vfu_ctx_t *ctx;
    char *path_copy = NULL;
    int fd, err = check_create(flags, dev_type);

    if (err == 0 && (unsigned)trans >= VFU_TRANS_MAX) {
        err = ENOTSUP;
    } else if (err == 0 && path == NULL && trans != VFU_TRANS_PIPE) {
        err = EINVAL;
    }
    if (err) {
        errno = err;
        return NULL;
    }
    if (trans == VFU_TRANS_PIPE) {
        return create_pipe(flags, pvt);
    }
    if (trans == VFU_TRANS_SOCK) {
        path_copy = strdup(path);
        if (path_copy == NULL) {
            return NULL;
        }
    }
    fd = transport_listen(trans, path);
    if (fd < 0) {
        free(path_copy);
        return NULL;
    }
    ctx = vfu_create_ctx_fd(fd, flags, pvt, dev_type);
    if (ctx == NULL) {
        err = errno;
        close(fd);
        if (path_copy) {
            unlink(path_copy);
        }
        free(path_copy);
        errno = err;
        return NULL;
    }
    ctx->path = path_copy;
    return ctx;
}

VFU_EXPORT vfu_ctx_t *vfu_create_ctx_fd(int fd, int flags, void *pvt, vfu_dev_type_t dev_type)
{
    vfu_ctx_t *ctx;
    int listening, type, err = check_create(flags, dev_type);
    socklen_t len = sizeof(int);

    if (err == 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0) {
        err = errno;
    }
    len = sizeof(int);
    if (err == 0 && getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0) {
        err = errno;
    }
    if (err == 0 && type != SOCK_STREAM) {
        err = EINVAL;
    }
    if (err) {
        errno = err;
        return NULL;
    }
    ctx = ctx_new(flags, pvt);
    if (ctx == NULL) {
        return NULL;
    }
    if (listening) {
        ctx->listen_fd = fd;
    } else {
        ctx->handed_fd = fd;
    }
    ctx_update_poll(ctx);
    return ctx;
}

VFU_EXPORT int vfu_realize_ctx(vfu_ctx_t *ctx)
{
    int err;

    if (ctx->realized) {
        return 0;
    }
    err = pci_realize(ctx);
    if (err) {
        return vfu_fail(err);
    }
    ctx->realized = true;
    return 0;
}

VFU_EXPORT void vfu_destroy_ctx(vfu_ctx_t *ctx)
{
    if (ctx == NULL) {
        return;
    }
    if (ctx->conn == CONN_ATTACHED || ctx->conn == CONN_LOST) {
        ctx->pending = PENDING_NONE;
        run_teardown(ctx);
    } else {
        conn_close(ctx);
    }
    dma_table_free(&ctx->dma.table);
    irq_release_all(ctx);
    irq_free(ctx);
    for (int i = 0; i < VFU_PCI_DEV_NUM_REGIONS; i++) {
        region_clear(&ctx->regions[i]);
        free(ctx->regions[i].io_fds);
    }
    free(ctx->pci.space);
    free(ctx->migration.window.data);
    const int fds[] = { ctx->listen_fd, ctx->handed_fd, ctx->handed_out_fd, ctx->epoll_fd, ctx->ready_fd };

    for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    if (ctx->path) {
        unlink(ctx->path);
    }
    free(ctx->path);
    pthread_mutex_destroy(&ctx->irq_lock);
    pthread_mutex_destroy(&ctx->dma.message_lock);
    free(ctx);
}

VFU_EXPORT void *vfu_get_private(vfu_ctx_t *ctx)
{
    return ctx->pvt;
}

VFU_EXPORT short vfu_poll_events(vfu_ctx_t *ctx)
{
    return !ctx->nb && ctx->stream && wire_stream_queued(ctx->stream) ? POLLIN | POLLOUT : POLLIN;
}

VFU_EXPORT int vfu_get_poll_fd(vfu_ctx_t *ctx)
{
    if (ctx->nb) {
        return ctx->epoll_fd;
    }
    if (ctx->stream) {
        return wire_stream_fd(ctx->stream);
    }
    return ctx->listen_fd >= 0 ? ctx->listen_fd : ctx->handed_fd;
}

/* What has to become true of which fd before there is something to do. */
WIRE_HOT static int ctx_wanted(const vfu_ctx_t *ctx, uint32_t *events)
{
    *events = EPOLLIN;
    if (ctx->conn == CONN_NONE) {
        return ctx->listen_fd >= 0 ? ctx->listen_fd : ctx->handed_fd;
    }
    /*
     * Nothing happens before vfu_device_quiesced() but answers to the device's requests; a broken connection, which would be
     * readable all the time, has none.
     */
    if (ctx->pending != PENDING_NONE && ctx->dma.request_count == 0) {
        return -1;
    }
    if (wire_stream_queued(ctx->stream)) {
        *events = EPOLLOUT | (ctx->hides_hang_up ? EPOLLRDHUP : 0u);
        return wire_stream_out_fd(ctx->stream);
    }
    if (ctx->dma.ended_count || (ctx->backlog && ctx->pending == PENDING_NONE) || wire_stream_has_message(ctx->stream)) {
        /* Work that needs no more input: writable is true at once. */
        *events = EPOLLIN | EPOLLOUT;
        return wire_stream_out_fd(ctx->stream);
    }
    return ctx->pending != PENDING_NONE && ctx->twin ? -1 : wire_stream_fd(ctx->stream);
}

/* The twin matters to vfu_run_ctx() while answers are due that nobody waits for. */
WIRE_HOT static int ctx_update_twin(vfu_ctx_t *ctx)
{
    bool wanted = ctx->twin && ctx->dma.request_count > ctx->dma.ended_count;
    struct epoll_event event = { .events = EPOLLIN | (wanted && wire_stream_queued(ctx->twin) ? EPOLLOUT : 0u) };

    if (!wanted) {
        if (ctx->epoll_twin >= 0) {
            epoll_ctl(ctx->epoll_fd, EPOLL_CTL_DEL, ctx->epoll_twin, NULL);
            ctx->epoll_twin = -1;
        }
        return 0;
    }
    if (ctx->epoll_twin >= 0 && ctx->epoll_twin_events == event.events) {
        return 0;
    }
    if (epoll_ctl(ctx->epoll_fd, ctx->epoll_twin >= 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, wire_stream_fd(ctx->twin),
                  &event) < 0) {
        return errno;
    }
    ctx->epoll_twin = wire_stream_fd(ctx->twin);
    ctx->epoll_twin_events = event.events;
    return 0;
}

/* A file can't be waited for, and need not be: an eventfd that is always readable takes its place. */
static int ctx_ready_fd(vfu_ctx_t *ctx)
{
    if (ctx->ready_fd < 0) {
        ctx->ready_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    return ctx->ready_fd;
}

static int ctx_watch(vfu_ctx_t *ctx, int fd, uint32_t events)
{
    struct epoll_event event = { .events = events };

    return epoll_ctl(ctx->epoll_fd, ctx->epoll_watched == fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
}

WIRE_HOT static int ctx_update_stream(vfu_ctx_t *ctx)
{
    uint32_t events;
    int fd = ctx_wanted(ctx, &events);

    if (fd >= 0 && fd == ctx->epoll_watched && events == ctx->epoll_events) {
        return 0;
    }
    if (ctx->epoll_watched >= 0 && ctx->epoll_watched != fd) {
        epoll_ctl(ctx->epoll_fd, EPOLL_CTL_DEL, ctx->epoll_watched, NULL);
        ctx->epoll_watched = -1;
    }
    if (fd < 0) {
        return 0;
    }
    if (ctx_watch(ctx, fd, events) < 0) {
        if (errno == EPERM) {
            fd = ctx_ready_fd(ctx);
            events = EPOLLIN;
        }
        if (fd < 0 || ctx_watch(ctx, fd, events) < 0) {
            return errno;
        }
    }
    ctx->epoll_watched = fd;
    ctx->epoll_events = events;
    return 0;
}

WIRE_HOT int ctx_update_poll(vfu_ctx_t *ctx)
{
    int err, twin_err;

    if (!ctx->nb) {
        return 0;
    }
    err = ctx_update_stream(ctx);
    twin_err = ctx_update_twin(ctx);
    err = err ? err : twin_err;
    if (err) {
        errno = err;
        vfu_log(ctx, LOG_ERR, "epoll_ctl: %m");
    }
    return err;
}

VFU_EXPORT int vfu_setup_log(vfu_ctx_t *ctx, vfu_log_fn_t *log, int level)
{
    if (level < LOG_EMERG || level > LOG_DEBUG) {
        return vfu_fail(EINVAL);
    }
    ctx->log = log;
    ctx->log_level = level;
    return 0;
}

VFU_EXPORT void vfu_log(vfu_ctx_t *ctx, int level, const char *format, ...)
{
    char text[1024];
    va_list args;
    int saved = errno;

    if (ctx == NULL || ctx->log == NULL || level > ctx->log_level) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ctx->log(ctx, level, text);
    errno = saved;
}

VFU_EXPORT void vfu_setup_device_quiesce_cb(vfu_ctx_t *ctx, vfu_device_quiesce_cb_t *quiesce_cb)
{
    ctx->quiesce_cb = quiesce_cb;
}

VFU_EXPORT int vfu_setup_device_reset_cb(vfu_ctx_t *ctx, vfu_reset_cb_t *reset)
{
    ctx->reset_cb = reset;
    return 0;
}
