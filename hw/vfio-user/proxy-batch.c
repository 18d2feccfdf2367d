/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests and their replies: calls, batches, waiting, time-outs. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/thread-wait.h"
#include "hw/vfio-user/proxy-internal.h"

/* Requests of one batch on their way at once; ids are 16 bits. */
#define BATCH_WINDOW 8192
/* Of what the socket does not take at once, so much may wait: each message may hold an fd. */
#define BATCH_QUEUE 8192

/* --- waking --- */

void proxy_batch_wake(Proxy *p, const ProxyBatch *b)
{
    if (b->asleep) {
        p->wake |= 1u << b->sleeper;
    }
}

void proxy_wake_reader(Proxy *p)
{
    if (p->waiters.length && !p->reading) {
        proxy_batch_wake(p, p->waiters.head->data);
    }
}

void proxy_unlock(Proxy *p)
{
    uint32_t wake = p->wake;

    p->wake = 0;
    g_mutex_unlock(&p->lock);
    for (unsigned i = 0; wake; i++, wake >>= 1) {
        if (wake & 1) {
            g_cond_broadcast(&p->sleepers[i]);
        }
    }
}

/* --- ends --- */

void proxy_batch_answered(Proxy *p, ProxyBatch *b, int error)
{
    b->errors += error != 0;
    if (error && !b->error) {
        b->error = error;
    }
    b->outstanding--;
    b->deadline = g_get_monotonic_time() + b->patience_us;
    if (!b->outstanding) {
        proxy_batch_wake(p, b);
    }
    if (!b->outstanding && b->done) {
        g_queue_unlink(&p->left, &b->link);
        g_queue_push_tail_link(&p->finished, &b->link);
    }
}

void proxy_batch_abandon(Proxy *p, ProxyBatch *b, int error)
{
    GHashTableIter iter;
    gpointer batch;

    TRACE(&vfio_user_trace[VFIO_USER_TRACE_TIMEOUT], "%s: %u requests given up: %s", p->name, b->outstanding,
          g_strerror(error));
    g_hash_table_iter_init(&iter, p->in_flight);
    while (g_hash_table_iter_next(&iter, NULL, &batch)) {
        if (batch == b) {
            g_hash_table_iter_replace(&iter, p);
        }
    }
    b->outstanding = 0;
    b->error = b->error ? b->error : error;
}

void proxy_run_finished(Proxy *p)
{
    for (;;) {
        GList *link;
        ProxyBatch *b;

        g_mutex_lock(&p->lock);
        link = g_queue_pop_head_link(&p->finished);
        g_mutex_unlock(&p->lock);
        if (!link) {
            return;
        }
        b = link->data;
        b->done(b, b->error);
    }
}

int proxy_expire_left(Proxy *p)
{
    gint64 now = g_get_monotonic_time(), next = G_MAXINT64;
    GList *link;

    g_mutex_lock(&p->lock);
    link = p->left.head;
    while (link) {
        ProxyBatch *b = link->data;

        link = link->next;
        if (b->deadline <= now) {
            proxy_batch_abandon(p, b, ETIMEDOUT);
            g_queue_unlink(&p->left, &b->link);
            g_queue_push_tail_link(&p->finished, &b->link);
        } else {
            next = MIN(next, b->deadline);
        }
    }
    g_mutex_unlock(&p->lock);
    proxy_run_finished(p);
    return next == G_MAXINT64 ? -1 : (int)MIN((next - now) / 1000 + 1, G_MAXINT);
}

/* --- sending --- */

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
    if (b->reply && !p->callers++) {
        proxy_arm(&p->main); /* before the reply can wake the proxy's thread */
    }
    if (p->broken || p->closing) {
        err = ENOTCONN;
    } else {
        id = proxy_take_id(p, b);
        err = id < 0 ? EBUSY : 0;
    }
    if (!err) {
        b->outstanding++;
        b->patience_us = (gint64)p->timeout_ms * 1000;
        b->deadline = g_get_monotonic_time() + b->patience_us;
    }
    g_mutex_unlock(&p->lock);
    if (!err) {
        h.id = (uint16_t)id;
        err = proxy_link_send(&p->main, &h, req->iov, req->iov_count, req->fds, req->fd_count);
    }
    if (err) {
        batch_failed(p, b, id, err);
    }
}

/* --- waiting --- */

typedef struct BatchWait {
    ThreadWait wait;
    Proxy *proxy;
    ProxyBatch *batch;
} BatchWait;

static void batch_cancel(ThreadWait *wait)
{
    BatchWait *w = (BatchWait *)wait;

    g_mutex_lock(&w->proxy->lock);
    w->batch->cancelled = true;
    proxy_batch_wake(w->proxy, w->batch);
    proxy_unlock(w->proxy);
}

static bool batch_goes_on(const ProxyBatch *b, unsigned until)
{
    return b->outstanding > until && !b->cancelled && g_get_monotonic_time() < b->deadline;
}

/* With the lock: until at most `until` are outstanding, the deadline is over or the wait was cancelled. */
static void batch_wait_locked(Proxy *p, ProxyBatch *b, unsigned until)
{
    g_queue_push_tail(&p->waiters, b);
    proxy_arm(&p->main);
    while (batch_goes_on(b, until)) {
        if (p->reading) {
            b->sleeper = p->next_sleeper++ % PROXY_SLEEPERS;
            b->asleep = true;
            g_cond_wait_until(&p->sleepers[b->sleeper], &p->lock, b->deadline);
            b->asleep = false;
            continue;
        }
        p->reading = true;
        g_mutex_unlock(&p->lock);
        proxy_read_turn(p, b);
        g_mutex_lock(&p->lock);
        p->reading = false;
    }
    g_queue_remove(&p->waiters, b);
    proxy_wake_reader(p);
}

/* brief: what is not answered soon stays outstanding. */
static void batch_wait(Proxy *p, ProxyBatch *b, unsigned until, bool brief)
{
    BatchWait wait = {{batch_cancel}, p, b};

    thread_wait_begin(&wait.wait);
    g_mutex_lock(&p->lock);
    if (b->outstanding > until) {
        b->patience_us = (brief ? PROXY_BRIEF_MS : (gint64)p->timeout_ms) * 1000;
        b->deadline = g_get_monotonic_time() + b->patience_us;
        batch_wait_locked(p, b, until);
    }
    if (b->outstanding > until && (!brief || b->reply)) {
        proxy_batch_abandon(p, b, b->cancelled ? ECANCELED : ETIMEDOUT);
    }
    b->late = b->outstanding > until;
    b->cancelled = false;
    p->callers -= b->reply != NULL;
    proxy_arm(&p->main);
    proxy_unlock(p);
    thread_wait_end(&wait.wait);
    proxy_run_finished(p);
}

static int batch_result(ProxyBatch *b)
{
    int error = b->error;

    b->error = 0;
    return error;
}

void proxy_batch_init(ProxyBatch *b)
{
    memset(b, 0, sizeof(*b));
    b->link.data = b;
}

/* Many unanswered requests with fds would use up this process's, so the server is given time while it makes
 * progress. */
void proxy_batch_add(Proxy *p, ProxyBatch *b, const ProxyRequest *req)
{
    b->command = req->command;
    batch_send(p, b, req);
    if (!b->late && (b->outstanding >= BATCH_WINDOW || (__atomic_load_n(&p->main.queued, __ATOMIC_RELAXED) &&
                                                        proxy_queued_bytes(p) > BATCH_QUEUE))) {
        batch_wait(p, b, b->outstanding / 2, true);
    }
}

int proxy_batch_wait(Proxy *p, ProxyBatch *b)
{
    batch_wait(p, b, 0, false);
    return batch_result(b);
}

int proxy_batch_wait_brief(Proxy *p, ProxyBatch *b)
{
    if (!b->late) {
        batch_wait(p, b, 0, true);
    }
    return __atomic_load_n(&b->outstanding, __ATOMIC_SEQ_CST) ? EAGAIN : batch_result(b);
}

void proxy_batch_leave(Proxy *p, ProxyBatch *b, ProxyBatchFn *done)
{
    bool over;

    g_mutex_lock(&p->lock);
    b->done = done;
    over = !b->outstanding;
    if (!over) {
        b->patience_us = (gint64)p->timeout_ms * 1000;
        b->deadline = g_get_monotonic_time() + b->patience_us;
        g_queue_push_tail_link(&p->left, &b->link);
        proxy_arm(&p->main);
    }
    g_mutex_unlock(&p->lock);
    if (over) {
        done(b, b->error);
    } else {
        proxy_io_wake(p);
    }
}

static int call(Proxy *p, const ProxyRequest *req, WireMessage *reply, bool brief)
{
    WireMessage m = {0};
    ProxyBatch b;
    int error;

    proxy_batch_init(&b);
    b.reply = &m;
    b.command = req->command;
    batch_send(p, &b, req);
    batch_wait(p, &b, 0, brief);
    error = batch_result(&b);
    if (reply && !error) {
        *reply = m;
    } else {
        wire_message_clear(&m);
    }
    return error;
}

int proxy_call(Proxy *p, const ProxyRequest *req, WireMessage *reply)
{
    return call(p, req, reply, false);
}

int proxy_call_brief(Proxy *p, const ProxyRequest *req, WireMessage *reply)
{
    return call(p, req, reply, true);
}
