/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Event loops: each iteration polls the sources of a GMainContext together with
 * the loop's own watches, so that glib users and devices share a thread, then runs
 * bottom halves and timers.  The lock is given up while polling.
 */
#include "core/loop.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "core/loop-private.h"

/* How long a device waits for the lock of another device's loop. */
#define LOOP_NESTED_WAIT_NS 100000000

static LoopPoll *loop_poll_new(void)
{
    LoopPoll *p = g_new0(LoopPoll, 1);

    p->fds = g_array_new(FALSE, FALSE, sizeof(struct pollfd));
    p->watches = g_ptr_array_new();
    return p;
}

static void loop_poll_free(LoopPoll *p)
{
    if (p) {
        g_free(p->glib_fds);
        g_array_free(p->fds, TRUE);
        g_ptr_array_free(p->watches, TRUE);
        g_free(p);
    }
}

/* Its address stands for the thread: comparable without a system call. */
static __thread char thread_mark;

/* Loops this thread has the lock of. */
static __thread unsigned thread_locks;

/* The kernel may delay a thread's wake-ups by 50 us unless told otherwise; guests' timers are finer. */
static void loop_sharpen_timers(void)
{
    prctl(PR_SET_TIMERSLACK, 1UL);
}

EventLoop *loop_new(const char *name, bool main, ClockSource *clocks)
{
    EventLoop *loop = g_new0(EventLoop, 1);

    loop->name = g_strdup(name);
    loop->context = main ? g_main_context_ref(g_main_context_default()) : g_main_context_new();
    loop->watches = g_ptr_array_new();
    loop->pollers = g_ptr_array_new();
    pthread_mutex_init(&loop->mutex, NULL);
    pthread_mutex_init(&loop->bh_lock, NULL);
    g_queue_init(&loop->pending);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0) {
        g_error("event loop %s: cannot create an eventfd: %s", name, g_strerror(errno));
    }
    loop->urgent_fd = loop->gate_fd = -1;
    loop->main = main;
    if (main) {
        loop->thread = &thread_mark;
        loop_sharpen_timers();
    }
    loop->timers = timer_list_new(loop, clocks);
    return loop;
}

void loop_free(EventLoop *loop)
{
    LoopBh *bh;

    if (!loop) {
        return;
    }
    loop_stop_thread(loop);
    while ((bh = g_queue_pop_head(&loop->pending))) {
        bh->scheduled = false;
        if (bh->once) {
            g_free(bh);
        }
    }
    timer_list_free(loop->timers);
    g_assert(!loop->watches->len && !loop->pollers->len);
    g_ptr_array_free(loop->watches, TRUE);
    g_ptr_array_free(loop->pollers, TRUE);
    g_main_context_unref(loop->context);
    close(loop->wake_fd);
    loop_urgent_close(loop);
    loop_poll_free(loop->spare);
    pthread_mutex_destroy(&loop->bh_lock);
    pthread_mutex_destroy(&loop->mutex);
    g_free(loop->name);
    g_free(loop);
}

GMainContext *loop_context(EventLoop *loop)
{
    return loop->context;
}

TimerList *loop_timers(EventLoop *loop)
{
    return loop->timers;
}

/* --- the lock --- */

bool loop_locked(EventLoop *loop)
{
    return __atomic_load_n(&loop->owner, __ATOMIC_RELAXED) == &thread_mark;
}

static void loop_own(EventLoop *loop)
{
    __atomic_store_n(&loop->owner, &thread_mark, __ATOMIC_RELAXED);
    thread_locks++;
}

void loop_lock(EventLoop *loop)
{
    if (!loop_locked(loop)) {
        if (pthread_mutex_trylock(&loop->mutex)) {
            __atomic_fetch_add(&loop->waiters, 1, __ATOMIC_SEQ_CST);
            pthread_mutex_lock(&loop->mutex);
            __atomic_fetch_sub(&loop->waiters, 1, __ATOMIC_SEQ_CST);
            __atomic_fetch_add(&loop->turns, 1, __ATOMIC_SEQ_CST);
        }
        loop_own(loop);
    }
    loop->depth++;
}

bool loop_lock_bounded(EventLoop *loop)
{
    struct timespec until;

    if (thread_locks == 0 || loop->main || loop_locked(loop)) {
        loop_lock(loop);
        return true;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOP_NESTED_WAIT_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (pthread_mutex_clocklock(&loop->mutex, CLOCK_MONOTONIC, &until)) {
        return false;
    }
    loop_own(loop);
    loop->depth++;
    return true;
}

void loop_unlock(EventLoop *loop)
{
    g_assert(loop_locked(loop));
    if (--loop->depth == 0) {
        thread_locks--;
        __atomic_store_n(&loop->owner, NULL, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&loop->mutex);
    }
}

unsigned loop_release(EventLoop *loop)
{
    unsigned depth = loop_locked(loop) ? loop->depth : 0;

    if (depth) {
        loop->depth = 1;
        loop_unlock(loop);
    }
    return depth;
}

void loop_reacquire(EventLoop *loop, unsigned depth)
{
    if (depth) {
        loop_lock(loop);
        loop->depth = depth;
    }
}

/* For changes that only a sleeping loop has to hear of; its own thread is not asleep. */
void loop_wake_others(EventLoop *loop)
{
    if (!loop_in_thread(loop)) {
        loop_wake(loop);
    }
}

/* --- watches --- */

LoopFd *loop_add_fd(EventLoop *loop, int fd, LoopFdFn *read, LoopFdFn *write, void *opaque)
{
    LoopFd *watch = g_new0(LoopFd, 1);

    watch->loop = loop;
    watch->fd = fd;
    watch->read = read;
    watch->write = write;
    watch->opaque = opaque;
    loop_lock(loop);
    g_ptr_array_add(loop->watches, watch);
    loop_unlock(loop);
    loop_wake_others(loop);
    return watch;
}

void loop_set_fd(LoopFd *watch, LoopFdFn *read, LoopFdFn *write)
{
    EventLoop *loop = watch->loop;

    loop_lock(loop);
    watch->read = read;
    watch->write = write;
    loop_unlock(loop);
    loop_wake_others(loop);
}

void loop_sweep_watches(EventLoop *loop)
{
    if (!loop->removed_some || loop->iterating) {
        return;
    }
    loop->removed_some = false;
    for (guint i = loop->watches->len; i-- > 0;) {
        LoopFd *watch = loop->watches->pdata[i];

        if (watch->removed) {
            g_ptr_array_remove_index(loop->watches, i);
            g_free(watch);
        }
    }
}

void loop_remove_fd(LoopFd *watch)
{
    EventLoop *loop;

    if (!watch) {
        return;
    }
    loop = watch->loop;
    loop_lock(loop);
    if (watch->urgent) {
        loop_urgent_forget(watch);
    }
    watch->removed = true; /* an iteration in progress may still point at it */
    loop->removed_some = true;
    loop_sweep_watches(loop);
    loop_unlock(loop);
    loop_wake_others(loop);
}

/* --- bottom halves --- */

LoopBh *loop_bh_new(EventLoop *loop, LoopBhFn *fn, void *opaque)
{
    LoopBh *bh = g_new0(LoopBh, 1);

    bh->loop = loop;
    bh->fn = fn;
    bh->opaque = opaque;
    return bh;
}

void loop_bh_set_gate(LoopBh *bh, LoopGate *gate)
{
    bh->gate = gate;
}

/* Its owner's order comes before the lock: whoever found it closed is on the list, or finds it open. */
void loop_gate_open(LoopGate *gate, EventLoop *loop)
{
    pthread_mutex_lock(&loop->bh_lock);
    for (const GSList *at = gate->bhs; at; at = at->next) {
        g_queue_push_tail(&loop->pending, at->data);
    }
    g_clear_pointer(&gate->bhs, g_slist_free);
    pthread_mutex_unlock(&loop->bh_lock);
    timer_list_gate_open(loop->timers, gate);
    loop_wake_others(loop);
}

void loop_bh_schedule(LoopBh *bh)
{
    EventLoop *loop = bh->loop;

    pthread_mutex_lock(&loop->bh_lock);
    if (!bh->scheduled) {
        bh->scheduled = true;
        g_queue_push_tail(&loop->pending, bh);
    }
    pthread_mutex_unlock(&loop->bh_lock);
    loop_wake_others(loop);
}

void loop_bh_free(LoopBh *bh)
{
    EventLoop *loop;

    if (!bh) {
        return;
    }
    loop = bh->loop;
    loop_lock(loop); /* its callback is not running */
    pthread_mutex_lock(&loop->bh_lock);
    if (bh->scheduled) {
        g_queue_remove(&loop->pending, bh);
    }
    if (bh->gate) {
        bh->gate->bhs = g_slist_remove(bh->gate->bhs, bh);
    }
    pthread_mutex_unlock(&loop->bh_lock);
    loop_unlock(loop);
    g_free(bh);
}

void loop_call(EventLoop *loop, LoopBhFn *fn, void *opaque)
{
    LoopBh *bh = loop_bh_new(loop, fn, opaque);

    bh->once = true;
    loop_bh_schedule(bh);
}

static bool loop_bh_pending(EventLoop *loop)
{
    bool pending;

    pthread_mutex_lock(&loop->bh_lock);
    pending = !g_queue_is_empty(&loop->pending);
    pthread_mutex_unlock(&loop->bh_lock);
    return pending;
}

/* Runs those pending on entry; one that schedules itself runs again in the next iteration. */
static void loop_run_bhs(EventLoop *loop)
{
    guint budget;

    pthread_mutex_lock(&loop->bh_lock);
    for (budget = loop->pending.length; budget; budget--) {
        LoopBh *bh = g_queue_pop_head(&loop->pending);
        LoopBhFn *fn;
        void *opaque;

        if (!bh) {
            break;
        }
        if (bh->gate && bh->gate->closed(bh->gate->opaque)) {
            bh->gate->bhs = g_slist_append(bh->gate->bhs, bh);
            continue;
        }
        fn = bh->fn;
        opaque = bh->opaque;
        bh->scheduled = false;
        pthread_mutex_unlock(&loop->bh_lock);
        if (bh->once) {
            g_free(bh);
        }
        fn(opaque); /* may free bh */
        pthread_mutex_lock(&loop->bh_lock);
    }
    pthread_mutex_unlock(&loop->bh_lock);
}

/* --- iteration --- */

void loop_wake(EventLoop *loop)
{
    const uint64_t one = 1;

    if (!__atomic_exchange_n(&loop->woken, 1, __ATOMIC_SEQ_CST)) {
        while (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR) {
        }
    }
}

static void loop_clear_wake(EventLoop *loop)
{
    uint64_t count;

    /* First the fd, then the flag: a wake between the two writes again. */
    while (read(loop->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR) {
    }
    __atomic_store_n(&loop->woken, 0, __ATOMIC_SEQ_CST);
}

bool loop_in_thread(EventLoop *loop)
{
    return __atomic_load_n(&loop->thread, __ATOMIC_RELAXED) == &thread_mark;
}

static void loop_poll_prepare(EventLoop *loop, LoopPoll *p, bool may_block)
{
    struct pollfd wake = {loop->wake_fd, POLLIN, 0};
    struct pollfd gate = {loop->gate_fd, POLLIN, 0}; /* poll() passes over -1 */
    int glib_timeout = -1;

    g_array_set_size(p->fds, 0);
    g_ptr_array_set_size(p->watches, 0);
    g_array_append_val(p->fds, wake);
    g_array_append_val(p->fds, gate);
    g_main_context_prepare(loop->context, &p->priority);
    while ((p->glib_count = g_main_context_query(loop->context, p->priority, &glib_timeout, p->glib_fds,
                                                 p->glib_room)) > p->glib_room) {
        p->glib_room = p->glib_count;
        p->glib_fds = g_renew(GPollFD, p->glib_fds, p->glib_room);
    }
    for (int i = 0; i < p->glib_count; i++) {
        struct pollfd pfd = {p->glib_fds[i].fd, (short)p->glib_fds[i].events, 0};

        g_array_append_val(p->fds, pfd);
    }
    for (guint i = 0; i < loop->watches->len; i++) {
        LoopFd *watch = loop->watches->pdata[i];
        struct pollfd pfd = {watch->fd, (short)((watch->read ? POLLIN : 0) | (watch->write ? POLLOUT : 0)),
                             0};

        if (!watch->removed && !watch->urgent && pfd.events) {
            g_array_append_val(p->fds, pfd);
            g_ptr_array_add(p->watches, watch);
        }
    }
    p->timeout_ns = glib_timeout < 0 ? -1 : (int64_t)glib_timeout * 1000000;
    if (!may_block || loop_bh_pending(loop)) {
        p->timeout_ns = 0;
    } else {
        int64_t timers = timer_list_timeout(loop->timers);

        if (timers >= 0 && (p->timeout_ns < 0 || timers < p->timeout_ns)) {
            p->timeout_ns = timers;
        }
    }
}

#define LOOP_YIELDS 64

/*
 * A mutex goes to who asks first once it is free, which is this thread when it
 * does not sleep.  Without a break a busy loop keeps vCPUs from its devices.
 */
void loop_let_waiters_in(EventLoop *loop)
{
    unsigned turn = __atomic_load_n(&loop->turns, __ATOMIC_SEQ_CST);

    for (int i = 0; i < LOOP_YIELDS && __atomic_load_n(&loop->waiters, __ATOMIC_SEQ_CST) &&
                    __atomic_load_n(&loop->turns, __ATOMIC_SEQ_CST) == turn;
         i++) {
        sched_yield();
    }
}

static int loop_poll_wait(EventLoop *loop, LoopPoll *p)
{
    unsigned depth = loop_release(loop);
    int n = poll_window_wait(&loop->window, (struct pollfd *)(void *)p->fds->data, p->fds->len, p->timeout_ns);

    loop_let_waiters_in(loop);
    loop_reacquire(loop, depth);
    return n;
}

static void loop_poll_dispatch(EventLoop *loop, LoopPoll *p)
{
    struct pollfd *fds = (struct pollfd *)(void *)p->fds->data;
    struct pollfd *glib = fds + 2, *own = glib + p->glib_count;

    if (fds[0].revents) {
        loop_clear_wake(loop);
    }
    if (fds[1].revents) {
        loop_urgent_dispatch(loop);
    }
    for (int i = 0; i < p->glib_count; i++) {
        p->glib_fds[i].revents = (gushort)glib[i].revents;
    }
    if (g_main_context_check(loop->context, p->priority, p->glib_fds, p->glib_count)) {
        g_main_context_dispatch(loop->context);
    }
    for (guint i = 0; i < p->watches->len; i++) {
        LoopFd *watch = p->watches->pdata[i];

        if (own[i].revents & ~POLLOUT && !watch->removed && watch->read) {
            watch->read(watch->opaque);
        }
        if (own[i].revents & (POLLOUT | POLLERR | POLLHUP | POLLNVAL) && !watch->removed && watch->write) {
            watch->write(watch->opaque);
        }
    }
}

/* Then the fds have their turn, whatever the pollers find. */
#define LOOP_FAST_TURNS 16

/* A turn for what pollers found and for bottom halves only.  False: they found nothing, or the fds have to be asked. */
static bool loop_turn_fast(EventLoop *loop)
{
    if (!loop->pollers->len || loop->fast_turns == LOOP_FAST_TURNS || !loop_run_pollers(loop)) {
        loop->fast_turns = 0;
        return false;
    }
    loop->fast_turns++;
    loop->iterating++;
    loop_run_bhs(loop);
    loop->iterating--;
    loop_sweep_watches(loop);
    return true;
}

void loop_iterate(EventLoop *loop, bool may_block)
{
    LoopPoll *p;

    __atomic_store_n(&loop->thread, &thread_mark, __ATOMIC_RELAXED);
    loop_lock(loop);
    if (loop_turn_fast(loop)) {
        loop_unlock(loop);
        if (__atomic_load_n(&loop->waiters, __ATOMIC_SEQ_CST)) {
            loop_let_waiters_in(loop);
        }
        return;
    }
    while (!g_main_context_acquire(loop->context)) {
        g_thread_yield();
    }
    loop->iterating++;
    p = loop->spare ? g_steal_pointer(&loop->spare) : loop_poll_new();
    loop_poll_prepare(loop, p, may_block);
    if (loop_poll_wait(loop, p) < 0) {
        /* A signal: nothing is known of the fds. */
        for (guint i = 0; i < p->fds->len; i++) {
            g_array_index(p->fds, struct pollfd, i).revents = 0;
        }
    }
    loop_poll_dispatch(loop, p);
    loop_run_bhs(loop);
    timer_list_run(loop->timers);
    loop->iterating--;
    loop_sweep_watches(loop);
    g_main_context_release(loop->context);
    loop_poll_free(loop->spare); /* of an iteration inside this one */
    loop->spare = p;
    loop_unlock(loop);
}

static gpointer loop_thread_main(gpointer opaque)
{
    EventLoop *loop = opaque;

    loop_sharpen_timers();
    g_main_context_push_thread_default(loop->context);
    while (!__atomic_load_n(&loop->stopping, __ATOMIC_SEQ_CST)) {
        loop_iterate(loop, true);
    }
    g_main_context_pop_thread_default(loop->context);
    return NULL;
}

void loop_start_thread(EventLoop *loop)
{
    g_assert(!loop->own_thread);
    __atomic_store_n(&loop->stopping, 0, __ATOMIC_SEQ_CST);
    loop->own_thread = g_thread_new(loop->name, loop_thread_main, loop);
}

void loop_stop_thread(EventLoop *loop)
{
    unsigned depth;

    if (!loop->own_thread) {
        return;
    }
    __atomic_store_n(&loop->stopping, 1, __ATOMIC_SEQ_CST);
    depth = loop_release(loop);
    loop_wake(loop);
    g_thread_join(g_steal_pointer(&loop->own_thread));
    loop_reacquire(loop, depth);
}
