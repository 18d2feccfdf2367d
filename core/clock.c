/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The clocks of one machine.  Guest time is CLOCK_MONOTONIC plus an offset while
 * it runs, a stored value while it is stopped or driven by a test.
 */
#include <pthread.h>
#include <time.h>

#include "core/internal.h"

struct ClockSource {
    pthread_mutex_t lock; /* of changes */
    unsigned sequence;    /* odd while the three below change; readers try again */
    bool enabled, manual;
    int64_t offset;     /* guest time - CLOCK_MONOTONIC while running */
    int64_t stopped_at; /* guest time while stopped or manual */
    GPtrArray *lists;   /* of TimerList *; under the lock */
    LoopBhFn *deadline_hook;
    void *deadline_opaque;
};

/* What the guest's clock is doing. */
typedef struct ClockState {
    bool enabled, manual;
    int64_t now;
} ClockState;

static int64_t clock_read(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

ClockSource *clock_source_new(void)
{
    ClockSource *clocks = g_new0(ClockSource, 1);

    pthread_mutex_init(&clocks->lock, NULL);
    clocks->enabled = true;
    clocks->offset = -clock_read(CLOCK_MONOTONIC);
    clocks->lists = g_ptr_array_new();
    return clocks;
}

void clock_source_free(ClockSource *clocks)
{
    if (!clocks) {
        return;
    }
    g_assert(!clocks->lists->len);
    g_ptr_array_free(clocks->lists, TRUE);
    pthread_mutex_destroy(&clocks->lock);
    g_free(clocks);
}

/* Changes begin and end with the lock held. */
static void clock_begin_change(ClockSource *clocks)
{
    pthread_mutex_lock(&clocks->lock);
    __atomic_store_n(&clocks->sequence, clocks->sequence + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static void clock_end_change(ClockSource *clocks)
{
    __atomic_store_n(&clocks->sequence, clocks->sequence + 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&clocks->lock);
}

/* Guest time without a lock: every vCPU reads it all the time. */
static ClockState clock_guest(ClockSource *clocks)
{
    ClockState state;
    unsigned before, after;

    do {
        int64_t offset, stopped_at;

        before = __atomic_load_n(&clocks->sequence, __ATOMIC_ACQUIRE);
        state.enabled = __atomic_load_n(&clocks->enabled, __ATOMIC_RELAXED);
        state.manual = __atomic_load_n(&clocks->manual, __ATOMIC_RELAXED);
        offset = __atomic_load_n(&clocks->offset, __ATOMIC_RELAXED);
        stopped_at = __atomic_load_n(&clocks->stopped_at, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        after = __atomic_load_n(&clocks->sequence, __ATOMIC_RELAXED);
        state.now = state.enabled && !state.manual ? clock_read(CLOCK_MONOTONIC) + offset : stopped_at;
    } while (before != after || before & 1);
    return state;
}

int64_t clock_now(ClockSource *clocks, ClockKind kind)
{
    if (kind == CLOCK_KIND_VIRTUAL) {
        return clock_guest(clocks).now;
    }
    return clock_read(kind == CLOCK_KIND_HOST ? CLOCK_REALTIME : CLOCK_MONOTONIC);
}

/* Sleeping loops compute their deadlines anew. */
static void clock_wake_loops(ClockSource *clocks)
{
    pthread_mutex_lock(&clocks->lock);
    for (guint i = 0; i < clocks->lists->len; i++) {
        loop_wake(timer_list_loop(g_ptr_array_index(clocks->lists, i)));
    }
    pthread_mutex_unlock(&clocks->lock);
}

void clock_enable_virtual(ClockSource *clocks, bool enabled)
{
    int64_t now = clock_guest(clocks).now;

    clock_begin_change(clocks);
    if (enabled && !clocks->enabled) {
        __atomic_store_n(&clocks->offset, clocks->stopped_at - clock_read(CLOCK_MONOTONIC), __ATOMIC_RELAXED);
    } else if (!enabled && clocks->enabled) {
        __atomic_store_n(&clocks->stopped_at, now, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&clocks->enabled, enabled, __ATOMIC_RELAXED);
    clock_end_change(clocks);
    clock_wake_loops(clocks);
}

void clock_set_virtual(ClockSource *clocks, int64_t now)
{
    clock_begin_change(clocks);
    __atomic_store_n(&clocks->stopped_at, now, __ATOMIC_RELAXED);
    clock_end_change(clocks);
    clock_wake_loops(clocks);
}

void clock_set_manual(ClockSource *clocks)
{
    clock_begin_change(clocks);
    __atomic_store_n(&clocks->manual, true, __ATOMIC_RELAXED);
    __atomic_store_n(&clocks->stopped_at, 0, __ATOMIC_RELAXED);
    clock_end_change(clocks);
}

bool clock_running(ClockSource *clocks, ClockKind kind)
{
    return kind != CLOCK_KIND_VIRTUAL || clock_guest(clocks).enabled;
}

int64_t clock_until(ClockSource *clocks, ClockKind kind, int64_t expires)
{
    int64_t now;

    if (kind == CLOCK_KIND_VIRTUAL) {
        ClockState state = clock_guest(clocks);

        if (!state.enabled || (state.manual && expires > state.now)) {
            return -1;
        }
        now = state.now;
    } else {
        now = clock_now(clocks, kind);
    }
    return expires > now ? expires - now : 0;
}

void clock_attach(ClockSource *clocks, TimerList *list)
{
    pthread_mutex_lock(&clocks->lock);
    g_ptr_array_add(clocks->lists, list);
    pthread_mutex_unlock(&clocks->lock);
}

void clock_detach(ClockSource *clocks, TimerList *list)
{
    pthread_mutex_lock(&clocks->lock);
    g_ptr_array_remove(clocks->lists, list);
    pthread_mutex_unlock(&clocks->lock);
}

/* The list with the earliest guest-time timer, and its expiry (INT64_MAX: none). */
static TimerList *clock_first(ClockSource *clocks, int64_t *expires)
{
    TimerList *best = NULL;

    *expires = INT64_MAX;
    pthread_mutex_lock(&clocks->lock);
    for (guint i = 0; i < clocks->lists->len; i++) {
        TimerList *list = g_ptr_array_index(clocks->lists, i);
        int64_t first = timer_list_first(list, CLOCK_KIND_VIRTUAL);

        if (first < *expires) {
            *expires = first;
            best = list;
        }
    }
    pthread_mutex_unlock(&clocks->lock);
    return best;
}

int64_t clock_next_deadline(ClockSource *clocks)
{
    int64_t expires;

    return clock_first(clocks, &expires) ? expires : -1;
}

void clock_set_deadline_hook(ClockSource *clocks, LoopBhFn *fn, void *opaque)
{
    pthread_mutex_lock(&clocks->lock);
    clocks->deadline_hook = fn;
    clocks->deadline_opaque = opaque;
    pthread_mutex_unlock(&clocks->lock);
}

void clock_deadline_changed(ClockSource *clocks)
{
    if (__atomic_load_n(&clocks->deadline_hook, __ATOMIC_RELAXED)) {
        pthread_mutex_lock(&clocks->lock);
        if (clocks->deadline_hook) {
            clocks->deadline_hook(clocks->deadline_opaque);
        }
        pthread_mutex_unlock(&clocks->lock);
    }
}

/* Guest time never goes back. */
void clock_advance(ClockSource *clocks, int64_t now)
{
    clock_begin_change(clocks);
    __atomic_store_n(&clocks->stopped_at, MAX(clocks->stopped_at, now), __ATOMIC_RELAXED);
    clock_end_change(clocks);
}

void clock_warp(ClockSource *clocks, int64_t now)
{
    int64_t expires;
    TimerList *list;

    g_assert(clocks->manual);
    while ((list = clock_first(clocks, &expires)) && expires <= now) {
        EventLoop *loop = timer_list_loop(list);

        loop_lock(loop); /* first, so that the loop itself does not run what becomes due */
        clock_advance(clocks, expires);
        timer_list_run_one(list, CLOCK_KIND_VIRTUAL, expires);
        loop_unlock(loop);
    }
    clock_advance(clocks, now);
}
