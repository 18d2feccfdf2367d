/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests of core/loop.c, clock.c and timer.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/loop.h"
#include "core/model.h"
#include "core/trace.h"

const Model *const model_table[] = {NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef struct World {
    ClockSource *clocks;
    EventLoop *loop;
    unsigned count;
    LoopFd *watch[2];
    LoopBh *bh;
    Timer *timer;
    int fd[2];
    GString *order;
    GThread *seen;
    bool locked;
} World;

static int world_setup(void **state)
{
    World *w = g_new0(World, 1);

    w->clocks = clock_source_new();
    w->loop = loop_new("main", true, w->clocks);
    w->fd[0] = eventfd(0, EFD_NONBLOCK);
    w->fd[1] = eventfd(0, EFD_NONBLOCK);
    w->order = g_string_new(NULL);
    *state = w;
    return 0;
}

static int world_teardown(void **state)
{
    World *w = *state;

    loop_free(w->loop);
    clock_source_free(w->clocks);
    close(w->fd[0]);
    close(w->fd[1]);
    g_string_free(w->order, TRUE);
    g_free(w);
    return 0;
}

static void ring(int fd)
{
    uint64_t one = 1;

    assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void count_up(void *opaque)
{
    ((World *)opaque)->count++;
}

/* --- the lock --- */

static gpointer try_lock(gpointer opaque)
{
    World *w = opaque;

    loop_lock(w->loop);
    w->locked = true;
    loop_unlock(w->loop);
    return NULL;
}

static void test_lock(void **state)
{
    World *w = *state;
    GThread *thread;

    assert_false(loop_locked(w->loop));
    loop_lock(w->loop);
    loop_lock(w->loop);
    loop_unlock(w->loop);
    assert_true(loop_locked(w->loop));
    thread = g_thread_new("try", try_lock, w);
    g_usleep(20000);
    assert_false(w->locked);
    /* Iterating gives it up while asleep, however deep it is held. */
    loop_lock(w->loop);
    while (!w->locked) {
        Timer *soon = timer_new(w->loop, CLOCK_KIND_REALTIME, count_up, w);

        timer_set(soon, clock_now(w->clocks, CLOCK_KIND_REALTIME) + 1000000);
        loop_iterate(w->loop, true);
        timer_free(soon);
        if (w->locked) {
            break;
        }
    }
    assert_true(loop_locked(w->loop));
    loop_unlock(w->loop);
    assert_true(loop_locked(w->loop));
    loop_unlock(w->loop);
    assert_false(loop_locked(w->loop));
    g_thread_join(thread);
}

static gpointer take_turns(gpointer opaque)
{
    World *w = opaque;

    for (int i = 0; i < 1000; i++) {
        loop_lock(w->loop);
        w->count++;
        loop_unlock(w->loop);
    }
    __atomic_store_n(&w->locked, true, __ATOMIC_SEQ_CST);
    return NULL;
}

static void schedule_again(void *opaque)
{
    loop_bh_schedule(((World *)opaque)->bh);
}

/* A loop that never sleeps still lets others have its lock. */
static void test_busy_loop_is_fair(void **state)
{
    World *w = *state;
    GThread *thread;
    unsigned iterations = 0;

    w->bh = loop_bh_new(w->loop, schedule_again, w);
    loop_bh_schedule(w->bh);
    thread = g_thread_new("turns", take_turns, w);
    while (!__atomic_load_n(&w->locked, __ATOMIC_SEQ_CST)) {
        loop_iterate(w->loop, true);
        assert_true(++iterations < 100000000);
    }
    g_thread_join(thread);
    assert_int_equal(w->count, 1000);
    loop_bh_free(w->bh);
}

/* --- fds --- */

static void remove_both(void *opaque)
{
    World *w = opaque;

    w->count++;
    loop_remove_fd(w->watch[0]);
    loop_remove_fd(w->watch[1]);
}

static void test_fd_removes_itself_and_another(void **state)
{
    World *w = *state;

    w->watch[0] = loop_add_fd(w->loop, w->fd[0], remove_both, NULL, w);
    w->watch[1] = loop_add_fd(w->loop, w->fd[1], remove_both, NULL, w);
    loop_iterate(w->loop, false);
    assert_int_equal(w->count, 0);
    ring(w->fd[0]);
    ring(w->fd[1]);
    loop_iterate(w->loop, true);
    assert_int_equal(w->count, 1);
    loop_iterate(w->loop, false);
    assert_int_equal(w->count, 1);
}

static void test_fd_write(void **state)
{
    World *w = *state;
    LoopFd *watch = loop_add_fd(w->loop, w->fd[0], NULL, count_up, w);

    loop_iterate(w->loop, true);
    assert_int_equal(w->count, 1);
    loop_set_fd(watch, count_up, NULL);
    loop_iterate(w->loop, false);
    assert_int_equal(w->count, 1);
    ring(w->fd[0]);
    loop_iterate(w->loop, true);
    assert_int_equal(w->count, 2);
    loop_remove_fd(watch);
}

static gboolean glib_source(gpointer opaque)
{
    ((World *)opaque)->count++;
    return G_SOURCE_REMOVE;
}

static void test_glib_joins_in(void **state)
{
    World *w = *state;

    g_idle_add(glib_source, w);
    loop_iterate(w->loop, true);
    assert_int_equal(w->count, 1);
    g_timeout_add(2, glib_source, w);
    while (w->count < 2) {
        loop_iterate(w->loop, true);
    }
}

/* --- bottom halves --- */

static void again(void *opaque)
{
    World *w = opaque;

    w->count++;
    loop_bh_schedule(w->bh);
}

static void free_itself(void *opaque)
{
    World *w = opaque;

    w->count++;
    loop_bh_free(w->bh);
}

static void test_bh(void **state)
{
    World *w = *state;

    w->bh = loop_bh_new(w->loop, again, w);
    loop_bh_schedule(w->bh);
    loop_bh_schedule(w->bh); /* coalesces */
    loop_iterate(w->loop, true);
    assert_int_equal(w->count, 1);
    loop_iterate(w->loop, true);
    assert_int_equal(w->count, 2);
    loop_bh_free(w->bh); /* while scheduled */
    loop_iterate(w->loop, false);
    assert_int_equal(w->count, 2);
    w->bh = loop_bh_new(w->loop, free_itself, w);
    loop_bh_schedule(w->bh);
    loop_iterate(w->loop, true);
    assert_int_equal(w->count, 3);
    loop_call(w->loop, count_up, w);
    loop_call(w->loop, count_up, w);
    loop_iterate(w->loop, true);
    assert_int_equal(w->count, 5);
    loop_call(w->loop, count_up, w); /* never run: freed with the loop */
}

/* --- threads --- */

static void note_thread(void *opaque)
{
    World *w = opaque;

    __atomic_store_n(&w->seen, g_thread_self(), __ATOMIC_SEQ_CST);
}

static void test_thread(void **state)
{
    World *w = *state;
    EventLoop *io = loop_new("io", false, w->clocks);
    Timer *timer = timer_new(io, CLOCK_KIND_REALTIME, note_thread, w);

    loop_start_thread(io);
    loop_call(io, note_thread, w);
    while (!__atomic_load_n(&w->seen, __ATOMIC_SEQ_CST)) {
        g_thread_yield();
    }
    assert_ptr_not_equal(w->seen, g_thread_self());
    assert_false(loop_in_thread(io));
    assert_true(loop_in_thread(w->loop));
    __atomic_store_n(&w->seen, NULL, __ATOMIC_SEQ_CST);
    timer_set(timer,
              clock_now(w->clocks, CLOCK_KIND_REALTIME) + 2000000); /* from here: wakes the sleeping thread */
    while (!__atomic_load_n(&w->seen, __ATOMIC_SEQ_CST)) {
        g_thread_yield();
    }
    loop_stop_thread(io);
    timer_free(timer);
    loop_free(io);
}

/* --- clocks and timers --- */

typedef struct Mark {
    World *w;
    char letter;
    Timer *timer;
    int64_t seen_at, again_at;
} Mark;

static void mark(void *opaque)
{
    Mark *m = opaque;

    g_string_append_c(m->w->order, m->letter);
    m->seen_at = clock_now(m->w->clocks, CLOCK_KIND_VIRTUAL);
    if (m->again_at) {
        timer_set(m->timer, m->again_at);
        m->again_at = 0;
    }
}

static void test_manual_clock(void **state)
{
    World *w = *state;
    EventLoop *io = loop_new("io", false, w->clocks);
    Mark m[4];

    clock_set_manual(w->clocks);
    for (int i = 0; i < 4; i++) {
        m[i] = (Mark){.w = w, .letter = (char)('a' + i)};
        m[i].timer = timer_new(i & 1 ? io : w->loop, CLOCK_KIND_VIRTUAL, mark, &m[i]);
    }
    assert_int_equal(clock_next_deadline(w->clocks), -1);
    timer_set(m[0].timer, 300);
    timer_set(m[1].timer, 100);
    timer_set(m[2].timer, 300);
    timer_set(m[3].timer, 500);
    m[1].again_at = 200;
    assert_int_equal(clock_next_deadline(w->clocks), 100);
    loop_iterate(w->loop, false);
    assert_string_equal(w->order->str, "");
    clock_warp(w->clocks, 400);
    assert_string_equal(w->order->str, "bbac");
    assert_int_equal(m[1].seen_at, 200);
    assert_int_equal(m[2].seen_at, 300);
    assert_int_equal(clock_now(w->clocks, CLOCK_KIND_VIRTUAL), 400);
    assert_true(timer_pending(m[3].timer));
    assert_int_equal(timer_expires(m[3].timer), 500);
    timer_cancel(m[3].timer);
    assert_int_equal(timer_expires(m[3].timer), -1);
    clock_warp(w->clocks, 1000);
    assert_string_equal(w->order->str, "bbac");
    timer_set(m[0].timer, 900); /* already past: in the next iteration */
    loop_iterate(w->loop, true);
    assert_string_equal(w->order->str, "bbaca");
    for (int i = 0; i < 4; i++) {
        timer_free(m[i].timer);
    }
    loop_free(io);
}

static void test_virtual_stops(void **state)
{
    World *w = *state;
    Mark m = {.w = w, .letter = 'x'};
    int64_t at;

    m.timer = timer_new(w->loop, CLOCK_KIND_VIRTUAL, mark, &m);
    clock_enable_virtual(w->clocks, false);
    at = clock_now(w->clocks, CLOCK_KIND_VIRTUAL);
    timer_set(m.timer, at);
    g_usleep(2000);
    loop_iterate(w->loop, false);
    assert_string_equal(w->order->str, "");
    assert_true(clock_now(w->clocks, CLOCK_KIND_VIRTUAL) == at);
    clock_enable_virtual(w->clocks, true);
    loop_iterate(w->loop, true);
    assert_string_equal(w->order->str, "x");
    assert_true(clock_now(w->clocks, CLOCK_KIND_VIRTUAL) > at);
    timer_free(m.timer);
}

/* Many timers set, moved and cancelled at random run in order. */
static void test_heap(void **state)
{
    World *w = *state;
    GRand *rand = g_rand_new_with_seed(7);
    Mark m[200];
    int64_t last = 0;
    unsigned ran = 0, live = 0;

    clock_set_manual(w->clocks);
    for (int i = 0; i < 200; i++) {
        m[i] = (Mark){.w = w, .letter = '.'};
        m[i].timer = timer_new(w->loop, CLOCK_KIND_VIRTUAL, mark, &m[i]);
    }
    for (int i = 0; i < 2000; i++) {
        Timer *t = m[g_rand_int_range(rand, 0, 200)].timer;

        if (g_rand_int_range(rand, 0, 4)) {
            timer_set(t, g_rand_int_range(rand, 1, 1000));
        } else {
            timer_cancel(t);
        }
    }
    for (int i = 0; i < 200; i++) {
        live += timer_pending(m[i].timer);
    }
    while (clock_next_deadline(w->clocks) >= 0) {
        int64_t next = clock_next_deadline(w->clocks);

        assert_true(next > last || !last);
        last = next;
        clock_warp(w->clocks, next);
    }
    for (int i = 0; i < 200; i++) {
        ran += m[i].seen_at != 0;
        timer_free(m[i].timer);
    }
    assert_true(live > 50);
    assert_int_equal(ran, live);
    assert_int_equal(w->order->len, live);
    g_rand_free(rand);
}

static void free_timer(void *opaque)
{
    World *w = opaque;

    w->count++;
    timer_free(w->timer);
}

static void test_timer_frees_itself(void **state)
{
    World *w = *state;

    w->timer = timer_new(w->loop, CLOCK_KIND_HOST, free_timer, w);
    timer_set(w->timer, clock_now(w->clocks, CLOCK_KIND_HOST));
    while (!w->count) {
        loop_iterate(w->loop, true);
    }
    loop_iterate(w->loop, false);
    assert_int_equal(w->count, 1);
}

/* --- gates --- */

static bool shut(const void *opaque)
{
    return ((const World *)opaque)->locked;
}

static void turn(World *w, int64_t *now)
{
    clock_warp(w->clocks, *now += 10);
    loop_iterate(w->loop, false);
}

static void test_gate(void **state)
{
    World *w = *state;
    LoopGate gate = {.closed = shut, .opaque = w};
    int64_t now = 0;

    clock_set_manual(w->clocks);
    w->bh = loop_bh_new(w->loop, count_up, w);
    w->timer = timer_new(w->loop, CLOCK_KIND_VIRTUAL, count_up, w);
    loop_bh_set_gate(w->bh, &gate);
    timer_set_gate(w->timer, &gate);

    loop_bh_schedule(w->bh);
    timer_set(w->timer, 5);
    turn(w, &now);
    assert_int_equal(w->count, 2);

    w->locked = true;
    loop_bh_schedule(w->bh);
    timer_set(w->timer, 15);
    turn(w, &now);
    loop_bh_schedule(w->bh);
    turn(w, &now);
    assert_int_equal(w->count, 2);
    assert_true(timer_pending(w->timer));
    assert_int_equal(timer_expires(w->timer), 15);

    w->locked = false;
    loop_gate_open(&gate, w->loop);
    turn(w, &now);
    turn(w, &now);
    assert_int_equal(w->count, 4);
    assert_false(timer_pending(w->timer));

    /* What was taken back while it waited does not come; what was put off waits for its new time. */
    w->locked = true;
    timer_set(w->timer, now);
    turn(w, &now);
    timer_cancel(w->timer);
    assert_false(timer_pending(w->timer));
    timer_set(w->timer, now);
    turn(w, &now);
    timer_set(w->timer, now + 100);
    w->locked = false;
    loop_gate_open(&gate, w->loop);
    turn(w, &now);
    assert_int_equal(w->count, 4);
    now += 100;
    turn(w, &now);
    assert_int_equal(w->count, 5);

    w->locked = true;
    loop_bh_schedule(w->bh);
    timer_set(w->timer, now);
    turn(w, &now);
    loop_bh_free(w->bh);
    timer_free(w->timer);
    w->locked = false;
    loop_gate_open(&gate, w->loop);
    turn(w, &now);
    assert_int_equal(w->count, 5);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_lock),     TEST(test_busy_loop_is_fair),  TEST(test_fd_removes_itself_and_another),
        TEST(test_fd_write), TEST(test_glib_joins_in),      TEST(test_bh),
        TEST(test_thread),   TEST(test_manual_clock),       TEST(test_virtual_stops),
        TEST(test_heap),     TEST(test_timer_frees_itself),  TEST(test_gate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
