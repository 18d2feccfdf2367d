/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The clocks of one machine.  Guest time is CLOCK_MONOTONIC plus an offset while
 * it runs, a stored value while it is stopped or driven by a test.
 */
#include <pthread.h>
#include <time.h>

#include "core/internal.h"

struct ClockSource {
    pthread_mutex_t lock; /* of everything below */
    bool enabled, manual;
    int64_t offset;       /* guest time - CLOCK_MONOTONIC while running */
    int64_t stopped_at;   /* guest time while stopped or manual */
    GPtrArray *lists;     /* of TimerList * */
};

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

static int64_t clock_virtual_locked(ClockSource *clocks)
{
    return clocks->enabled && !clocks->manual ? clock_read(CLOCK_MONOTONIC) + clocks->offset : clocks->stopped_at;
}

int64_t clock_now(ClockSource *clocks, ClockKind kind)
{
    int64_t now;

    if (kind != CLOCK_KIND_VIRTUAL) {
        return clock_read(kind == CLOCK_KIND_HOST ? CLOCK_REALTIME : CLOCK_MONOTONIC);
    }
    pthread_mutex_lock(&clocks->lock);
    now = clock_virtual_locked(clocks);
    pthread_mutex_unlock(&clocks->lock);
    return now;
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
    pthread_mutex_lock(&clocks->lock);
    if (enabled && !clocks->enabled) {
        clocks->offset = clocks->stopped_at - clock_read(CLOCK_MONOTONIC);
    } else if (!enabled && clocks->enabled) {
        clocks->stopped_at = clock_virtual_locked(clocks);
    }
    clocks->enabled = enabled;
    pthread_mutex_unlock(&clocks->lock);
    clock_wake_loops(clocks);
}

void clock_set_manual(ClockSource *clocks)
{
    pthread_mutex_lock(&clocks->lock);
    clocks->manual = true;
    clocks->stopped_at = 0;
    pthread_mutex_unlock(&clocks->lock);
}

bool clock_running(ClockSource *clocks, ClockKind kind)
{
    bool running;

    if (kind != CLOCK_KIND_VIRTUAL) {
        return true;
    }
    pthread_mutex_lock(&clocks->lock);
    running = clocks->enabled;
    pthread_mutex_unlock(&clocks->lock);
    return running;
}

int64_t clock_until(ClockSource *clocks, ClockKind kind, int64_t expires)
{
    bool still = false;
    int64_t now;

    if (kind == CLOCK_KIND_VIRTUAL) {
        pthread_mutex_lock(&clocks->lock);
        now = clock_virtual_locked(clocks);
        still = !clocks->enabled || (clocks->manual && expires > now);
        pthread_mutex_unlock(&clocks->lock);
    } else {
        now = clock_now(clocks, kind);
    }
    if (still) {
        return -1;
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

/* Guest time never goes back. */
static void clock_advance(ClockSource *clocks, int64_t now)
{
    pthread_mutex_lock(&clocks->lock);
    clocks->stopped_at = MAX(clocks->stopped_at, now);
    pthread_mutex_unlock(&clocks->lock);
}

void clock_warp(ClockSource *clocks, int64_t now)
{
    int64_t expires;
    TimerList *list;

    g_assert(clocks->manual);
    while ((list = clock_first(clocks, &expires)) && expires <= now) {
        EventLoop *loop = timer_list_loop(list);

        clock_advance(clocks, expires);
        loop_lock(loop);
        timer_list_run_one(list, CLOCK_KIND_VIRTUAL, expires);
        loop_unlock(loop);
    }
    clock_advance(clocks, now);
}
