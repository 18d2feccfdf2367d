/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Urgent watches, and the threads that sleep until one is ready.  Urgent fds are in an epoll set of their own.  The
 * loop polls that set through a gate, a second epoll; a thread that sleeps in a waiter shuts the gate and polls the
 * set itself, so that an interrupt wakes the CPU it is for and not first the loop's thread.  One waiter leads at a
 * time; what becomes ready while none does, or while the leader leaves, comes through the gate.
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/loop-private.h"

#define URGENT_BATCH 16

struct LoopWaiter {
    EventLoop *loop;
    int fd;    /* eventfd */
    int woken; /* atomic: fd was written, or will be looked for before sleeping */
    PollWindow window;
};

void loop_set_poll(EventLoop *loop, int64_t max_ns)
{
    loop->window = (PollWindow){.max_ns = max_ns, .ops = loop->window.ops, .opaque = loop->window.opaque};
}

/* --- pollers --- */

LoopPoller *loop_add_poller(EventLoop *loop, const LoopPollerOps *ops, void *opaque)
{
    LoopPoller *poller = g_new0(LoopPoller, 1);

    *poller = (LoopPoller){loop, ops, opaque};
    loop_lock(loop);
    g_ptr_array_add(loop->pollers, poller);
    loop->window.ops = &loop_window_ops;
    loop->window.opaque = loop;
    loop_unlock(loop);
    loop_wake_others(loop); /* it was not armed */
    return poller;
}

void loop_remove_poller(LoopPoller *poller)
{
    EventLoop *loop;

    if (!poller) {
        return;
    }
    loop = poller->loop;
    loop_lock(loop);
    g_ptr_array_remove(loop->pollers, poller);
    loop_unlock(loop);
    g_free(poller);
}

bool loop_run_pollers(EventLoop *loop)
{
    bool some = false;

    for (guint i = 0; i < loop->pollers->len; i++) {
        const LoopPoller *poller = loop->pollers->pdata[i];

        some |= poller->ops->poll(poller->opaque);
    }
    return some;
}

static bool loop_look(void *opaque)
{
    EventLoop *loop = opaque;
    bool some;

    loop_let_waiters_in(loop);
    loop_lock(loop);
    some = loop_run_pollers(loop);
    loop_unlock(loop);
    return some;
}

static bool loop_sleep(void *opaque)
{
    EventLoop *loop = opaque;
    bool some;

    loop_lock(loop);
    for (guint i = 0; i < loop->pollers->len; i++) {
        const LoopPoller *poller = loop->pollers->pdata[i];

        poller->ops->arm(poller->opaque);
    }
    some = loop_run_pollers(loop);
    loop_unlock(loop);
    return some;
}

const PollWindowOps loop_window_ops = {.look = loop_look, .sleep = loop_sleep};

/* --- the urgent set --- */

static void gate_set(EventLoop *loop, bool open)
{
    struct epoll_event event = {.events = open ? EPOLLIN : 0};

    epoll_ctl(loop->gate_fd, EPOLL_CTL_MOD, loop->urgent_fd, &event);
}

static int urgent_create(EventLoop *loop)
{
    struct epoll_event event = {.events = EPOLLIN};
    int set = epoll_create1(EPOLL_CLOEXEC), gate = epoll_create1(EPOLL_CLOEXEC);

    if (set < 0 || gate < 0 || epoll_ctl(gate, EPOLL_CTL_ADD, set, &event)) {
        g_error("event loop %s: cannot create an epoll set: %s", loop->name, g_strerror(errno));
    }
    loop->gate_fd = gate;
    return set;
}

LoopFd *loop_add_urgent_fd(EventLoop *loop, int fd, LoopFdFn *read, void *opaque)
{
    LoopFd *watch = g_new0(LoopFd, 1);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};

    *watch = (LoopFd){.loop = loop, .fd = fd, .read = read, .opaque = opaque, .urgent = true};
    loop_lock(loop);
    if (loop->urgent_fd < 0) {
        __atomic_store_n(&loop->urgent_fd, urgent_create(loop), __ATOMIC_RELEASE);
    }
    if (epoll_ctl(loop->urgent_fd, EPOLL_CTL_ADD, fd, &event)) {
        watch->urgent = false; /* out of kernel memory: the loop polls it like any other */
    }
    g_ptr_array_add(loop->watches, watch);
    loop_unlock(loop);
    loop_wake_others(loop); /* the gate may be new */
    return watch;
}

void loop_urgent_forget(LoopFd *watch)
{
    epoll_ctl(watch->loop->urgent_fd, EPOLL_CTL_DEL, watch->fd, NULL);
}

void loop_urgent_dispatch(EventLoop *loop)
{
    struct epoll_event events[URGENT_BATCH];
    int n = epoll_wait(loop->urgent_fd, events, URGENT_BATCH, 0);

    loop->iterating++;
    for (int i = 0; i < n; i++) {
        LoopFd *watch = events[i].data.ptr;

        if (!watch->removed) {
            watch->read(watch->opaque);
        }
    }
    loop->iterating--;
    loop_sweep_watches(loop);
}

void loop_urgent_close(EventLoop *loop)
{
    if (loop->urgent_fd >= 0) {
        close(loop->gate_fd);
        close(loop->urgent_fd);
    }
}

/* --- waiters --- */

LoopWaiter *loop_waiter_new(EventLoop *loop, int64_t max_poll_ns)
{
    LoopWaiter *waiter = g_new0(LoopWaiter, 1);

    waiter->loop = loop;
    waiter->window.max_ns = max_poll_ns;
    waiter->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (waiter->fd < 0) {
        g_error("event loop %s: cannot create an eventfd: %s", loop->name, g_strerror(errno));
    }
    return waiter;
}

void loop_waiter_free(LoopWaiter *waiter)
{
    if (waiter) {
        close(waiter->fd);
        g_free(waiter);
    }
}

void loop_waiter_wake(LoopWaiter *waiter)
{
    const uint64_t one = 1;

    if (!__atomic_exchange_n(&waiter->woken, 1, __ATOMIC_SEQ_CST)) {
        while (write(waiter->fd, &one, sizeof(one)) < 0 && errno == EINTR) {
        }
    }
}

/* A wake may have told the flag and not yet the fd when its waiter left: the fd alone says so the next time. */
static void waiter_clear(LoopWaiter *waiter, bool readable)
{
    uint64_t count;

    if (!readable && !__atomic_load_n(&waiter->woken, __ATOMIC_SEQ_CST)) {
        return;
    }
    /* First the fd, then the flag: a wake between the two writes again. */
    while (read(waiter->fd, &count, sizeof(count)) < 0 && errno == EINTR) {
    }
    __atomic_exchange_n(&waiter->woken, 0, __ATOMIC_SEQ_CST);
}

/* True: this waiter is now the one that polls the urgent set. */
static bool waiter_lead(LoopWaiter *waiter)
{
    EventLoop *loop = waiter->loop;
    LoopWaiter *nobody = NULL;

    if (__atomic_load_n(&loop->urgent_fd, __ATOMIC_ACQUIRE) < 0 ||
        !__atomic_compare_exchange_n(&loop->leader, &nobody, waiter, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        return false;
    }
    gate_set(loop, false);
    return true;
}

static void waiter_resign(LoopWaiter *waiter)
{
    gate_set(waiter->loop, true);
    __atomic_store_n(&waiter->loop->leader, NULL, __ATOMIC_SEQ_CST);
}

void loop_waiter_sleep(LoopWaiter *waiter)
{
    EventLoop *loop = waiter->loop;
    bool lead = waiter_lead(waiter);
    struct pollfd fds[] = {{waiter->fd, POLLIN, 0}, {lead ? loop->urgent_fd : -1, POLLIN, 0}};
    PollWindow never = {0};
    /* One thread that burns time while it waits is enough. */
    int n = poll_window_wait(lead ? &waiter->window : &never, fds, G_N_ELEMENTS(fds), -1);

    if (n > 0 && fds[1].revents) {
        loop_lock(loop);
        loop_urgent_dispatch(loop);
        loop_unlock(loop);
    }
    if (lead) {
        waiter_resign(waiter);
    }
    waiter_clear(waiter, n > 0 && fds[0].revents);
}
