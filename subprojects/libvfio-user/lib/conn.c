/* SPDX-License-Identifier: BSD-3-Clause */
/* A client's connection: accepting, VERSION negotiation, replies, commands put aside. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "private.h"

WIRE_HOT void *reply_reserve(Reply *r, size_t size)
{
    void *room = r->small;

    if (size > sizeof(r->small)) {
        room = r->heap = malloc(size);
        if (room == NULL) {
            return NULL;
        }
    }
    r->data = room;
    r->data_len = size;
    return room;
}

WIRE_HOT int conn_reply(vfu_ctx_t *ctx, const WireHeader *h, int err, const Reply *r)
{
    struct iovec iov[2];
    unsigned n = 0, flags = ctx->nb ? 0 : WIRE_STREAM_WAIT;
    WireHeader out = {
        .id = h->id,
        .command = h->command,
        .flags = WIRE_TYPE_REPLY | (err ? WIRE_ERROR : 0),
        .error = (uint32_t)err,
    };

    int failed;

    if (h->flags & WIRE_NO_REPLY) {
        return 0;
    }
    if (err == 0 && r->head_len) {
        iov[n++] = (struct iovec){ (void *)r->head, r->head_len };
    }
    if (err == 0 && r->data_len) {
        iov[n++] = (struct iovec){ (void *)r->data, r->data_len };
    }
    /* While the context runs, a batch is ended there. */
    if (ctx->running && ctx->batch_max > 1) {
        flags = WIRE_STREAM_QUEUE;
        ctx->batched++;
    }
    failed = wire_stream_send(ctx->stream, &out, iov, n, err ? NULL : r->fds, err ? 0 : r->fd_count, flags);
    if (failed == 0) {
        stats_count(&ctx->stats.messages_sent, 1);
        stats_count(&ctx->stats.bytes_sent, out.size);
    }
    return failed;
}

int conn_flush(vfu_ctx_t *ctx)
{
    int err;

    ctx->batched = 0;
    err = wire_stream_flush(ctx->stream, ctx->nb ? 0 : WIRE_STREAM_WAIT);
    /* Who has closed its side of such a socket would keep the poll fd ready for nothing. */
    if (err == EAGAIN && ctx->hides_hang_up && wire_stream_poll(ctx->stream, POLLRDHUP, 0) == 0) {
        err = ENOTCONN;
    }
    return err;
}

VFU_EXPORT int vfu_ctx_set_batch(vfu_ctx_t *ctx, uint32_t max)
{
    if (max > VFU_BATCH_MAX) {
        return vfu_fail(EINVAL);
    }
    ctx->batch_max = max;
    return 0;
}

int conn_backlog_add(vfu_ctx_t *ctx, WireMessage *m)
{
    Backlog *b;

    if (ctx->backlog_count >= VFU_BACKLOG_MESSAGES || ctx->backlog_bytes + m->len > VFU_BACKLOG_BYTES ||
        ctx->backlog_fds + m->fd_count > VFU_BACKLOG_FDS) {
        return ENOBUFS;
    }
    b = malloc(sizeof(*b));
    if (b == NULL) {
        return ENOMEM;
    }
    b->next = NULL;
    b->message = *m;
    *ctx->backlog_tail = b;
    ctx->backlog_tail = &b->next;
    ctx->backlog_count++;
    ctx->backlog_bytes += m->len;
    ctx->backlog_fds += m->fd_count;
    ctx_update_poll(ctx);
    return 0;
}

void conn_close(vfu_ctx_t *ctx)
{
    while (ctx->backlog) {
        Backlog *b = ctx->backlog;

        ctx->backlog = b->next;
        wire_message_clear(&b->message);
        free(b);
    }
    ctx->backlog_tail = &ctx->backlog;
    ctx->backlog_count = 0;
    ctx->backlog_bytes = 0;
    ctx->backlog_fds = 0;
    ctx->dma.stale_replies = 0;
    ctx->dma.refusals = 0;
    wire_message_clear(&ctx->pending_message);
    ctx->pending = PENDING_NONE;
    ctx->conn = CONN_NONE;
    ctx->batched = 0;
    /* The poll fd lets go of the socket before its number can be reused. */
    ctx_update_poll(ctx);
    wire_stream_free(ctx->stream);
    wire_stream_free(ctx->twin);
    ctx->stream = NULL;
    ctx->twin = NULL;
}

/* A twin socket for commands to the client: the client's end goes out with the reply. */
static int conn_make_twin(vfu_ctx_t *ctx, int *client_fd)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return errno;
    }
    ctx->twin = wire_stream_new(pair[0], WIRE_MAX_MESSAGE, VFU_OUTPUT_LIMIT);
    if (ctx->twin == NULL) {
        close(pair[0]);
        close(pair[1]);
        return ENOMEM;
    }
    *client_fd = pair[1];
    return 0;
}

/* Judges the client's VERSION; fills ctx->client. */
static int conn_check_version(vfu_ctx_t *ctx, const WireMessage *m, WireVersion *v)
{
    const char *key;
    int err;

    if (m->header.command != WIRE_VERSION || (m->header.flags & WIRE_TYPE_MASK) != WIRE_TYPE_COMMAND) {
        vfu_log(ctx, LOG_ERR, "client began with %s, not VERSION", wire_command_name(m->header.command));
        return EINVAL;
    }
    if (m->fd_count) {
        return EFAULT;
    }
    err = wire_version_decode(v, m->body, m->len);
    if (err) {
        vfu_log(ctx, LOG_ERR, "malformed VERSION");
        return err;
    }
    if (v->major != LIB_VFIO_USER_MAJOR) {
        vfu_log(ctx, LOG_ERR, "client speaks version %u.%u, we speak %u.%u", v->major, v->minor, LIB_VFIO_USER_MAJOR,
                LIB_VFIO_USER_MINOR);
        return EINVAL;
    }
    err = wire_caps_parse(&ctx->client, v->json, false, &key);
    if (err) {
        vfu_log(ctx, LOG_ERR, "VERSION capabilities: bad %s", key ? key : "JSON");
        return err;
    }
    if (ctx->migration.enabled && ctx->client.has_migration &&
        ctx->client.migration_pgsize != (uint64_t)sysconf(_SC_PAGESIZE)) {
        vfu_log(ctx, LOG_ERR, "VERSION capabilities: bad pgsize");
        return EINVAL;
    }
    if (!ctx->passes_fds) {
        ctx->client.max_msg_fds = 0;
    }
    return 0;
}

static int conn_send_version(vfu_ctx_t *ctx, const WireHeader *h, uint16_t client_minor)
{
    char json[512];
    uint8_t body[WIRE_VERSION_SIZE + sizeof(json)];
    WireVersion v = { .minor = client_minor < LIB_VFIO_USER_MINOR ? client_minor : LIB_VFIO_USER_MINOR, .json = json };
    Reply r = { 0 };
    WireCaps caps;
    int fd = -1, err = 0;

    wire_caps_init(&caps);
    caps.has_max_msg_fds = caps.has_max_data_xfer_size = true;
    caps.max_msg_fds = ctx->passes_fds ? VFU_SERVER_MAX_FDS : 0;
    caps.write_multiple = caps.has_write_multiple = ctx->client.write_multiple;
    caps.has_max_dma_maps = ctx->dma.enabled && ctx->dma.max_regions < WIRE_MAX_DMA_MAPS;
    caps.max_dma_maps = ctx->dma.max_regions;
    caps.has_migration = ctx->migration.enabled;
    caps.migration_pgsize = (uint64_t)sysconf(_SC_PAGESIZE);
    if (ctx->client.twin_socket && ctx->client.max_msg_fds > 0) {
        err = conn_make_twin(ctx, &fd);
        if (err) {
            return err;
        }
        caps.has_twin_socket = caps.twin_socket = true;
        caps.twin_fd_index = 0;
        r.fds = &fd;
        r.fd_count = 1;
    }
    wire_caps_encode(json, sizeof(json), &caps);
    r.data_len = wire_version_encode(body, sizeof(body), &v);
    r.data = body;
    err = conn_reply(ctx, h, 0, &r);
    if (fd >= 0) {
        close(fd);
    }
    return err;
}

/* The pair, the fd that was handed over, or a new client. */
static int conn_accept(vfu_ctx_t *ctx)
{
    int fd = ctx->handed_fd, out_fd = ctx->handed_out_fd, family, err;

    if (fd < 0 && ctx->listen_fd < 0) {
        return ENOTCONN;
    }
    if (fd < 0) {
        fd = transport_accept(ctx->listen_fd, ctx->nb);
        if (fd < 0) {
            return errno;
        }
    }
    ctx->stream = out_fd >= 0 ? wire_stream_new_pair(fd, out_fd, WIRE_MAX_MESSAGE, VFU_OUTPUT_LIMIT) :
                                wire_stream_new(fd, WIRE_MAX_MESSAGE, VFU_OUTPUT_LIMIT);
    if (ctx->stream == NULL) {
        /* What was handed over can be tried again. */
        if (ctx->handed_fd < 0) {
            close(fd);
        }
        return ENOMEM;
    }
    ctx->handed_fd = ctx->handed_out_fd = -1;
    family = out_fd < 0 ? transport_set_up(fd) : AF_UNSPEC;
    ctx->passes_fds = family == AF_UNIX;
    ctx->hides_hang_up = family == AF_VSOCK;
    ctx->conn = CONN_NEGOTIATING;
    err = ctx_update_poll(ctx);
    if (err) {
        conn_close(ctx);
    }
    return err;
}

/* Receives and answers VERSION. */
static int conn_negotiate(vfu_ctx_t *ctx)
{
    WireMessage m;
    WireVersion v;
    Reply none = { 0 };
    int err = wire_stream_receive(ctx->stream, &m, ctx->nb ? 0 : WIRE_STREAM_WAIT);

    if (err == EAGAIN || err == EINTR) {
        return err;
    }
    if (err == 0 || err == EPROTO) {
        stats_received(ctx, &m);
    }
    if (err == EPROTO) {
        err = EINVAL;
        conn_reply(ctx, &m.header, err, &none);
    } else if (err == 0) {
        err = conn_check_version(ctx, &m, &v);
        if (err) {
            conn_reply(ctx, &m.header, err, &none);
        } else {
            err = conn_send_version(ctx, &m.header, v.minor);
        }
        wire_message_clear(&m);
    }
    return err;
}

VFU_EXPORT int vfu_attach_ctx(vfu_ctx_t *ctx)
{
    int err = 0;

    if (!ctx->realized || ctx->conn == CONN_ATTACHED || ctx->conn == CONN_LOST) {
        return vfu_fail(EINVAL);
    }
    if (ctx->conn == CONN_NONE) {
        err = conn_accept(ctx);
    }
    if (err == 0) {
        err = conn_negotiate(ctx);
        if (err && err != EAGAIN && err != EINTR) {
            conn_close(ctx);
        }
    }
    if (err) {
        return vfu_fail(err);
    }
    ctx->conn = CONN_ATTACHED;
    ctx->poll.idle_since = 0;
    stats_count(&ctx->stats.connections, 1);
    ctx_update_poll(ctx);
    return 0;
}
