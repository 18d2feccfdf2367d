/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NBD exports, through libnbd: images in formats this program does not read (served by qemu-nbd or nbdkit),
 * and disks of other hosts.
 */
#include <errno.h>
#include <string.h>

#include "block/block-opts.h"
#include "block/nbd-library.h"

#define NBD_MAX_TRANSFER (32u << 20) /* what every server takes */

struct BlockEngine {
    BlockBackend *blk;
    const NbdLibrary *lib;
    struct nbd_handle *nbd;
    LoopFd *watch;
    bool wants_write;
    bool has_fua, has_trim, has_zero;
    BlockReqQueue ended; /* with the result of the command in engine_data */
};

/* One command: NBD has one buffer where a request has a list. */
typedef struct NbdOp {
    BlockEngine *engine;
    BlockReq *req;
    uint8_t *buf; /* NULL: the request's own, or none */
    size_t len;
} NbdOp;

/* --- commands --- */

static void op_copy(const NbdOp *op, const struct iovec *iov, bool to_buf)
{
    size_t at = 0;

    for (; at < op->len; iov++) {
        size_t n = MIN(iov->iov_len, op->len - at);

        if (to_buf) {
            memcpy(op->buf + at, iov->iov_base, n);
        } else {
            memcpy(iov->iov_base, op->buf + at, n);
        }
        at += n;
    }
}

/* libnbd holds its lock: only notes what has happened. */
static int op_ended(void *opaque, int *error)
{
    NbdOp *op = opaque;
    BlockReq *req = op->req;
    int count;

    if (!*error && op->buf && req->op == BLOCK_OP_READ) {
        op_copy(op, block_req_iov(req, &count), false);
    }
    req->engine_data = *error ? -*error : (int64_t)op->len;
    block_queue_push(&op->engine->ended, req);
    g_free(op->buf);
    g_free(op);
    return 0; /* retired by reap(): libnbd 1.14 looks at a command that failed inside the call which began it once more */
}

static void *op_buffer(NbdOp *op, bool is_write)
{
    struct iovec *iov;
    int count;
    size_t len = 0;

    iov = block_req_iov(op->req, &count);
    for (int i = 0; i < count; i++) {
        len += iov[i].iov_len;
    }
    op->len = MIN(len, NBD_MAX_TRANSFER);
    if (count == 1) {
        return iov->iov_base;
    }
    op->buf = g_malloc(op->len);
    if (is_write) {
        op_copy(op, iov, true);
    }
    return op->buf;
}

/* The cookie of the command; -1: not started, nbd_get_errno() says why. */
static int64_t op_start(NbdOp *op)
{
    BlockEngine *e = op->engine;
    BlockReq *req = op->req;
    const nbd_completion_callback done = {.callback = op_ended, .user_data = op};
    uint64_t offset = req->offset + req->progress;
    void *buf;

    switch (req->op) {
    case BLOCK_OP_READ:
        buf = op_buffer(op, false);
        return e->lib->aio_pread(e->nbd, buf, op->len, offset, done, 0);
    case BLOCK_OP_WRITE:
        buf = op_buffer(op, true);
        return e->lib->aio_pwrite(e->nbd, buf, op->len, offset, done, req->dsync ? LIBNBD_CMD_FLAG_FUA : 0);
    case BLOCK_OP_PUNCH:
        return req->discard ? e->lib->aio_trim(e->nbd, req->len, offset, done, 0)
                            : e->lib->aio_zero(e->nbd, req->len, offset, done, 0);
    case BLOCK_OP_ZERO_RANGE:
        return e->lib->aio_zero(e->nbd, req->len, offset, done, LIBNBD_CMD_FLAG_NO_HOLE);
    default:
        return e->lib->aio_flush(e->nbd, done, 0);
    }
}

static bool op_possible(const BlockEngine *e, const BlockReq *req)
{
    bool trim = req->op == BLOCK_OP_PUNCH && req->discard;
    bool zero = req->op == BLOCK_OP_ZERO_RANGE || (req->op == BLOCK_OP_PUNCH && !req->discard);

    return (!trim || e->has_trim) && (!zero || e->has_zero) && (!req->dsync || e->has_fua);
}

static void start(BlockEngine *e, BlockReq *req)
{
    NbdOp *op;

    if (!op_possible(e, req)) {
        req->engine_data = -EOPNOTSUPP;
        block_queue_push(&e->ended, req);
        return;
    }
    op = g_new0(NbdOp, 1);
    op->engine = e;
    op->req = req;
    if (op_start(op) < 0) {
        int error = e->lib->get_errno() ? e->lib->get_errno() : EIO;

        op_ended(op, &error);
    }
}

static void readable(void *opaque);
static void writable(void *opaque);

static void watch_update(BlockEngine *e)
{
    bool wants_write = e->lib->aio_get_direction(e->nbd) & LIBNBD_AIO_DIRECTION_WRITE;

    if (e->watch && e->lib->aio_get_fd(e->nbd) < 0) {
        loop_remove_fd(g_steal_pointer(&e->watch)); /* the server is gone */
    } else if (e->watch && wants_write != e->wants_write) {
        e->wants_write = wants_write;
        loop_set_fd(e->watch, readable, wants_write ? writable : NULL);
    }
}

static void nbd_engine_submit(BlockBackend *blk);

/* Ends what has ended; continues what needs another command. */
static void reap(BlockEngine *e)
{
    int64_t cookie;
    BlockReq *req;

    while ((cookie = e->lib->aio_peek_command_completed(e->nbd)) > 0) {
        e->lib->aio_command_completed(e->nbd, (uint64_t)cookie);
    }
    while ((req = block_queue_pop(&e->ended))) {
        if (block_req_step(req, req->engine_data)) {
            block_req_complete(req);
        } else {
            start(e, req);
        }
    }
    if (e->blk->plugged) {
        watch_update(e);
    } else {
        nbd_engine_submit(e->blk); /* what had no room */
    }
}

/* --- the loop --- */

static void readable(void *opaque)
{
    BlockEngine *e = opaque;

    e->lib->aio_notify_read(e->nbd);
    reap(e);
}

static void writable(void *opaque)
{
    BlockEngine *e = opaque;

    e->lib->aio_notify_write(e->nbd);
    reap(e);
}

/* --- engine --- */

static bool nbd_engine_start(BlockBackend *blk, GError **error)
{
    const NbdLibrary *lib = nbd_library_get(error);

    if (!lib) {
        return false;
    }
    blk->engine = g_new0(BlockEngine, 1);
    blk->engine->blk = blk;
    blk->engine->lib = lib;
    blk->engine->nbd = lib->create();
    if (!blk->engine->nbd) {
        error_set(error, "%s", lib->get_error());
        g_free(g_steal_pointer(&blk->engine));
    }
    return blk->engine != NULL;
}

static void nbd_engine_stop(BlockBackend *blk)
{
    /* Without nbd_shutdown(): the same befalls its farewell when the server is gone.  Everything was flushed that had to be. */
    blk->engine->lib->close(blk->engine->nbd);
    g_free(g_steal_pointer(&blk->engine));
}

static void nbd_engine_attach(BlockBackend *blk)
{
    int fd = blk->engine->lib->aio_get_fd(blk->engine->nbd);

    if (fd >= 0) {
        blk->engine->watch = loop_add_fd(blk->loop, fd, readable, NULL, blk->engine);
        blk->engine->wants_write = false;
    }
}

static void nbd_engine_detach(BlockBackend *blk)
{
    loop_remove_fd(g_steal_pointer(&blk->engine->watch));
}

static void nbd_engine_submit(BlockBackend *blk)
{
    BlockEngine *e = blk->engine;
    BlockReq *req;

    while (blk->in_flight < BLOCK_MAX_IN_FLIGHT && (req = block_queue_pop(&blk->queue))) {
        blk->in_flight++;
        start(e, req);
    }
    if (e->ended.head) {
        loop_bh_schedule(blk->bh); /* ended at once, which is never inside the call */
    }
    watch_update(e);
}

static void nbd_engine_poll(BlockBackend *blk, bool wait)
{
    BlockEngine *e = blk->engine;

    if (wait && !e->ended.head) {
        e->lib->poll(e->nbd, -1);
    }
    reap(e);
}

static const BlockEngineOps engine_nbd = {
    .name = "nbd",
    .start = nbd_engine_start,
    .stop = nbd_engine_stop,
    .attach = nbd_engine_attach,
    .detach = nbd_engine_detach,
    .submit = nbd_engine_submit,
    .poll = nbd_engine_poll,
};

/* --- opening --- */

typedef struct NbdAddress {
    char *uri, *path, *host, *port, *export_name;
} NbdAddress;

static void address_clear(NbdAddress *a)
{
    g_free(a->uri);
    g_free(a->path);
    g_free(a->host);
    g_free(a->port);
    g_free(a->export_name);
}

/* nbd:unix:PATH or nbd:HOST:PORT, either with :exportname=NAME. */
static bool address_parse_old(NbdAddress *a, const char *text)
{
    g_autofree char *rest = g_strdup(text + strlen("nbd:"));
    char *name = strstr(rest, ":exportname="), *port;

    if (name) {
        a->export_name = g_strdup(name + strlen(":exportname="));
        *name = '\0';
    }
    if (g_str_has_prefix(rest, "unix:")) {
        a->path = g_strdup(rest + strlen("unix:"));
        return *a->path;
    }
    port = strrchr(rest, ':');
    if (!port) {
        return false;
    }
    *port = '\0';
    a->host = g_strdup(rest);
    a->port = g_strdup(port + 1);
    return *a->host && *a->port;
}

static bool address_parse(NbdAddress *a, const BlockOpts *o, GError **error)
{
    bool ok = true;

    if (o->uri && !strstr(o->uri, "://")) {
        ok = address_parse_old(a, o->uri);
    } else if (o->uri) {
        a->uri = g_strdup(o->uri);
    } else {
        a->path = g_strdup(o->path);
        a->host = g_strdup(o->host);
        a->port = g_strdup(o->port ? o->port : "10809");
        ok = !o->path != !o->host;
    }
    if (o->export_name && !a->export_name) {
        a->export_name = g_strdup(o->export_name);
    }
    if (!ok) {
        error_set(error, "%s: no NBD server (allowed nbd:unix:PATH, nbd:HOST:PORT, nbd://HOST[:PORT]/EXPORT, path= or host=)",
                  o->where);
    }
    return ok;
}

static bool connect_to(const NbdLibrary *lib, struct nbd_handle *nbd, const NbdAddress *a)
{
    if (a->export_name && lib->set_export_name(nbd, a->export_name) < 0) {
        return false;
    }
    if (a->uri) {
        return lib->connect_uri(nbd, a->uri) == 0;
    }
    return (a->path ? lib->connect_unix(nbd, a->path) : lib->connect_tcp(nbd, a->host, a->port)) == 0;
}

static bool learn(BlockBackend *blk, const BlockOpts *o, GError **error)
{
    BlockEngine *e = blk->engine;
    int64_t size = e->lib->get_size(e->nbd);

    if (size < BLOCK_SECTOR_SIZE) {
        error_set(error, "%s: the export is too small (%" G_GINT64_FORMAT " bytes, allowed at least %d)", o->where, size,
                  BLOCK_SECTOR_SIZE);
        return false;
    }
    if (e->lib->is_read_only(e->nbd) > 0 && !blk->readonly) {
        if (!o->auto_read_only) {
            error_set(error, "%s: the export is read-only; add readonly=on", o->where);
            return false;
        }
        blk->readonly = true;
    }
    blk->size = (uint64_t)size & ~(uint64_t)(BLOCK_SECTOR_SIZE - 1);
    blk->no_flush |= e->lib->can_flush(e->nbd) <= 0;
    e->has_fua = e->lib->can_fua(e->nbd) > 0;
    e->has_trim = e->lib->can_trim(e->nbd) > 0;
    e->has_zero = e->lib->can_zero(e->nbd) > 0;
    return true;
}

static bool nbd_open(BlockBackend *blk, const BlockOpts *o, GError **error)
{
    NbdAddress a = {NULL};
    bool ok = address_parse(&a, o, error);

    if (ok) {
        blk->file = o->uri ? g_strdup(o->uri) : a.path ? g_strdup_printf("nbd:unix:%s", a.path)
                                                       : g_strdup_printf("nbd:%s:%s", a.host, a.port);
        blk->engine_ops = &engine_nbd;
        ok = engine_nbd.start(blk, error);
    }
    if (ok && !connect_to(blk->engine->lib, blk->engine->nbd, &a)) {
        error_set(error, "%s: cannot connect: %s", o->where, blk->engine->lib->get_error());
        ok = false;
    }
    ok = ok && learn(blk, o, error);
    address_clear(&a);
    return ok;
}

const BlockDriver block_driver_nbd = {"nbd", "export of an NBD server", nbd_open};
