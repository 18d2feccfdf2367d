/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests of core/loop-wait.c (urgent watches, waiters) and poll-window.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/eventfd.h>
#include <unistd.h>

#include "core/loop.h"
#include "core/model.h"
#include "core/poll-window.h"
#include "core/trace.h"

const Model *const model_table[] = {NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef struct World {
    ClockSource *clocks;
    EventLoop *loop;
    LoopWaiter *waiter;
    LoopFd *watch[2];
    int fd[2];
    int interrupts; /* atomic */
    int sleeps;     /* atomic: how often loop_waiter_sleep() came back */
    int quit;       /* atomic */
    bool locked;
    GThread *seen;
} World;

static int world_setup(void **state)
{
    World *w = g_new0(World, 1);

    w->clocks = clock_source_new();
    w->loop = loop_new("main", true, w->clocks);
    w->waiter = loop_waiter_new(w->loop, 50000);
    for (int i = 0; i < 2; i++) {
        w->fd[i] = eventfd(0, EFD_NONBLOCK);
    }
    *state = w;
    return 0;
}

static int world_teardown(void **state)
{
    World *w = *state;

    for (int i = 0; i < 2; i++) {
        loop_remove_fd(w->watch[i]);
        close(w->fd[i]);
    }
    loop_waiter_free(w->waiter);
    loop_free(w->loop);
    clock_source_free(w->clocks);
    g_free(w);
    return 0;
}

static void ring(int fd)
{
    uint64_t one = 1;

    assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void interrupt(void *opaque)
{
    World *w = opaque;
    uint64_t count;

    w->locked = loop_locked(w->loop);
    w->seen = g_thread_self();
    for (int i = 0; i < 2; i++) {
        if (read(w->fd[i], &count, sizeof(count)) == sizeof(count)) {
            __atomic_fetch_add(&w->interrupts, (int)count, __ATOMIC_SEQ_CST);
        }
    }
}

static gpointer sleeper(gpointer opaque)
{
    World *w = opaque;

    while (!__atomic_load_n(&w->quit, __ATOMIC_SEQ_CST)) {
        loop_waiter_sleep(w->waiter);
        __atomic_fetch_add(&w->sleeps, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static void wait_for(const int *counter, int value)
{
    while (__atomic_load_n(counter, __ATOMIC_SEQ_CST) < value) {
        g_usleep(100);
    }
}

static void end_sleeper(World *w, GThread *thread)
{
    __atomic_store_n(&w->quit, 1, __ATOMIC_SEQ_CST);
    loop_waiter_wake(w->waiter);
    g_thread_join(thread);
}

static void test_loop_dispatches_without_waiter(void **state)
{
    World *w = *state;

    w->watch[0] = loop_add_urgent_fd(w->loop, w->fd[0], interrupt, w);
    ring(w->fd[0]);
    while (!w->interrupts) {
        loop_iterate(w->loop, true);
    }
    assert_true(w->locked);
    loop_iterate(w->loop, false);
    assert_int_equal(w->interrupts, 1);
}

/* The loop is not iterated: only the waiter can be the one that hears of the interrupts. */
static void test_waiter_dispatches(void **state)
{
    World *w = *state;
    GThread *thread;

    w->watch[0] = loop_add_urgent_fd(w->loop, w->fd[0], interrupt, w);
    thread = g_thread_new("sleeper", sleeper, w);
    for (int i = 1; i <= 1000; i++) {
        ring(w->fd[0]);
        wait_for(&w->interrupts, i);
    }
    assert_true(w->locked);
    assert_ptr_equal(w->seen, thread);
    end_sleeper(w, thread);
    assert_int_equal(w->interrupts, 1000);
}

/* What comes after the leader left is the loop's again. */
static void test_gate_opens_again(void **state)
{
    World *w = *state;
    GThread *thread;

    w->watch[0] = loop_add_urgent_fd(w->loop, w->fd[0], interrupt, w);
    thread = g_thread_new("sleeper", sleeper, w);
    ring(w->fd[0]);
    wait_for(&w->interrupts, 1);
    end_sleeper(w, thread);
    ring(w->fd[0]);
    while (w->interrupts < 2) {
        loop_iterate(w->loop, true);
    }
    assert_ptr_equal(w->seen, g_thread_self());
}

/* Interrupts race with wakes and with the loop: none is lost and none is seen twice. */
static void test_race(void **state)
{
    World *w = *state;
    GThread *thread;

    w->watch[0] = loop_add_urgent_fd(w->loop, w->fd[0], interrupt, w);
    w->watch[1] = loop_add_urgent_fd(w->loop, w->fd[1], interrupt, w);
    thread = g_thread_new("sleeper", sleeper, w);
    for (int i = 0; i < 20000; i++) {
        ring(w->fd[i & 1]);
        if (i % 3 == 0) {
            loop_waiter_wake(w->waiter);
        }
        loop_iterate(w->loop, false);
    }
    while (__atomic_load_n(&w->interrupts, __ATOMIC_SEQ_CST) < 20000) {
        loop_iterate(w->loop, false);
    }
    end_sleeper(w, thread);
    loop_iterate(w->loop, false);
    assert_int_equal(w->interrupts, 20000);
}

static void test_wake_before_sleep_is_kept(void **state)
{
    World *w = *state;

    for (int i = 0; i < 100; i++) {
        loop_waiter_wake(w->waiter);
        loop_waiter_wake(w->waiter);
        loop_waiter_sleep(w->waiter);
    }
}

static void remove_both(void *opaque)
{
    World *w = opaque;

    interrupt(w);
    loop_remove_fd(g_steal_pointer(&w->watch[0]));
    loop_remove_fd(g_steal_pointer(&w->watch[1]));
}

static void test_handler_removes_itself_and_another(void **state)
{
    World *w = *state;

    w->watch[0] = loop_add_urgent_fd(w->loop, w->fd[0], remove_both, w);
    w->watch[1] = loop_add_urgent_fd(w->loop, w->fd[1], remove_both, w);
    ring(w->fd[0]);
    ring(w->fd[1]);
    while (!w->interrupts) {
        loop_iterate(w->loop, true);
    }
    ring(w->fd[0]);
    loop_iterate(w->loop, false);
    assert_int_equal(w->interrupts, 2);
}

static void test_window(void **state)
{
    World *w = *state;
    PollWindow window = {.max_ns = 2000000000};
    struct pollfd pfd = {w->fd[0], POLLIN, 0};

    /* Nothing comes: the timeout ends it, and it was short against the longest window. */
    assert_int_equal(poll_window_wait(&window, &pfd, 1, 100000), 0);
    assert_in_range(window.ns, 200000, 2000000000);
    /* Ready at once, while looking. */
    ring(w->fd[0]);
    assert_int_equal(poll_window_wait(&window, &pfd, 1, -1), 1);
    assert_int_equal(pfd.revents, POLLIN);
    /* A wait longer than the longest window is no reason to look for long. */
    window = (PollWindow){.max_ns = 1000, .ns = 1000};
    pfd.fd = -1;
    assert_int_equal(poll_window_wait(&window, &pfd, 1, 2000000), 0);
    assert_int_equal(window.ns, 0);
}

/* --- pollers --- */

typedef struct Memory {
    EventLoop *loop;
    unsigned here, taken, armed, looked;
    int fd;
} Memory;

static bool memory_poll(void *opaque)
{
    Memory *m = opaque;
    unsigned here = __atomic_load_n(&m->here, __ATOMIC_SEQ_CST);

    assert_true(loop_locked(m->loop));
    m->looked++;
    if (m->taken == here) {
        return false;
    }
    m->taken = here;
    return true;
}

static void memory_arm(void *opaque)
{
    Memory *m = opaque;

    assert_true(loop_locked(m->loop));
    __atomic_store_n(&m->armed, 1, __ATOMIC_SEQ_CST);
}

static const LoopPollerOps memory_poller = {.poll = memory_poll, .arm = memory_arm};

/* Rings only when it has to, as a driver with a doorbell buffer. */
static gpointer memory_writer(gpointer opaque)
{
    Memory *m = opaque;

    for (unsigned i = 1; i <= 20000; i++) {
        __atomic_store_n(&m->here, i, __ATOMIC_SEQ_CST);
        if (__atomic_exchange_n(&m->armed, 0, __ATOMIC_SEQ_CST)) {
            ring(m->fd);
        }
        if (i % 16 == 0) {
            g_usleep(i % 512 ? 1 : 300);
        }
    }
    return NULL;
}

static void memory_rung(void *opaque)
{
    uint64_t count;

    assert_int_equal(read(((Memory *)opaque)->fd, &count, sizeof(count)), sizeof(count));
}

/* Everything that is written is taken, whether the loop looks, sleeps or is on its way. */
static void memory_test(World *w, int64_t window_ns)
{
    Memory m = {.loop = w->loop, .fd = w->fd[0]};
    LoopPoller *poller = loop_add_poller(w->loop, &memory_poller, &m);
    LoopFd *watch = loop_add_fd(w->loop, m.fd, memory_rung, NULL, &m);
    GThread *writer;

    loop_lock(w->loop);
    loop_set_poll(w->loop, window_ns);
    loop_unlock(w->loop);
    writer = g_thread_new("writer", memory_writer, &m);
    while (m.taken != 20000) {
        loop_iterate(w->loop, true);
    }
    g_thread_join(writer);
    loop_remove_fd(watch);
    loop_remove_poller(poller);
    m.looked = 0;
    loop_iterate(w->loop, false);
    assert_int_equal(m.looked, 0);
}

static void test_poller_of_a_loop_that_looks(void **state)
{
    memory_test(*state, 200000);
}

static void test_poller_of_a_loop_that_sleeps(void **state)
{
    memory_test(*state, 0);
}

enum { STORM = 200000 };

static gpointer waker(gpointer opaque)
{
    World *w = opaque;

    for (int i = 0; i < STORM; i++) {
        loop_waiter_wake(w->waiter);
        if (i % 16 == 0) {
            ring(w->fd[0]);
        }
    }
    return NULL;
}

/* A wake that is half told when its waiter leaves for another reason does not keep it awake for ever. */
static void test_waiter_sleeps_after_a_storm(void **state)
{
    World *w = *state;
    GThread *thread, *wakers[4];
    int sleeps;

    w->watch[0] = loop_add_urgent_fd(w->loop, w->fd[0], interrupt, w);
    thread = g_thread_new("waiter", sleeper, w);
    for (int i = 0; i < 4; i++) {
        wakers[i] = g_thread_new("waker", waker, w);
    }
    for (int i = 0; i < 4; i++) {
        g_thread_join(wakers[i]);
    }
    wait_for(&w->interrupts, 4 * STORM / 16);
    g_usleep(20000);
    sleeps = __atomic_load_n(&w->sleeps, __ATOMIC_SEQ_CST);
    g_usleep(20000);
    assert_in_range(__atomic_load_n(&w->sleeps, __ATOMIC_SEQ_CST) - sleeps, 0, 1);
    end_sleeper(w, thread);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_loop_dispatches_without_waiter),
        TEST(test_waiter_dispatches),
        TEST(test_waiter_sleeps_after_a_storm),
        TEST(test_gate_opens_again),
        TEST(test_race),
        TEST(test_wake_before_sleep_is_kept),
        TEST(test_handler_removes_itself_and_another),
        TEST(test_window),
        TEST(test_poller_of_a_loop_that_looks),
        TEST(test_poller_of_a_loop_that_sleeps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
