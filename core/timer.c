/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Timers: one binary heap for each loop and clock, ordered by expiry, then by the order of setting. */
#include <pthread.h>

#include "core/internal.h"

#define TIMER_IDLE G_MAXUINT

struct Timer {
    TimerList *list;
    ClockKind kind;
    TimerFn *fn;
    void *opaque;
    int64_t expires;
    uint64_t order; /* among equal expiries: first set, first run */
    guint position; /* in the heap, or TIMER_IDLE */
    LoopGate *gate; /* or NULL */
    bool held;      /* due, before the gate */
};

struct TimerList {
    EventLoop *loop;
    ClockSource *clocks;
    pthread_mutex_t lock; /* of the heaps and of each timer's expires, order, position */
    uint64_t next_order;
    GPtrArray *heaps[CLOCK_KIND_COUNT];
};

TimerList *timer_list_new(EventLoop *loop, ClockSource *clocks)
{
    TimerList *list = g_new0(TimerList, 1);

    list->loop = loop;
    list->clocks = clocks;
    pthread_mutex_init(&list->lock, NULL);
    for (int i = 0; i < CLOCK_KIND_COUNT; i++) {
        list->heaps[i] = g_ptr_array_new();
    }
    clock_attach(clocks, list);
    return list;
}

void timer_list_free(TimerList *list)
{
    clock_detach(list->clocks, list);
    for (int i = 0; i < CLOCK_KIND_COUNT; i++) {
        g_assert(!list->heaps[i]->len);
        g_ptr_array_free(list->heaps[i], TRUE);
    }
    pthread_mutex_destroy(&list->lock);
    g_free(list);
}

EventLoop *timer_list_loop(TimerList *list)
{
    return list->loop;
}

/* --- the heap --- */

static bool timer_before(const Timer *a, const Timer *b)
{
    return a->expires != b->expires ? a->expires < b->expires : a->order < b->order;
}

static void heap_put(GPtrArray *heap, guint i, Timer *timer)
{
    heap->pdata[i] = timer;
    timer->position = i;
}

/* Moves the timer at i up or down to where it belongs. */
static void heap_settle(GPtrArray *heap, guint i)
{
    Timer *timer = heap->pdata[i];

    while (i && timer_before(timer, heap->pdata[(i - 1) / 2])) {
        heap_put(heap, i, heap->pdata[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (guint child = 2 * i + 1; child < heap->len; child = 2 * i + 1) {
        if (child + 1 < heap->len && timer_before(heap->pdata[child + 1], heap->pdata[child])) {
            child++;
        }
        if (!timer_before(heap->pdata[child], timer)) {
            break;
        }
        heap_put(heap, i, heap->pdata[child]);
        i = child;
    }
    heap_put(heap, i, timer);
}

static void heap_remove(GPtrArray *heap, Timer *timer)
{
    guint i = timer->position;
    Timer *last = heap->pdata[heap->len - 1];

    g_ptr_array_set_size(heap, (int)heap->len - 1);
    timer->position = TIMER_IDLE;
    if (last != timer) {
        heap_put(heap, i, last);
        heap_settle(heap, i);
    }
}

static void heap_add(GPtrArray *heap, Timer *timer)
{
    g_ptr_array_add(heap, timer);
    timer->position = heap->len - 1;
    heap_settle(heap, timer->position);
}

/* --- gates --- */

static void gate_hold(Timer *timer)
{
    timer->held = true;
    timer->gate->timers = g_slist_append(timer->gate->timers, timer);
}

static void gate_leave(Timer *timer)
{
    if (timer->held) {
        timer->held = false;
        timer->gate->timers = g_slist_remove(timer->gate->timers, timer);
    }
}

void timer_list_gate_open(TimerList *list, LoopGate *gate)
{
    pthread_mutex_lock(&list->lock);
    while (gate->timers) {
        Timer *timer = gate->timers->data;

        gate_leave(timer);
        heap_add(list->heaps[timer->kind], timer);
    }
    pthread_mutex_unlock(&list->lock);
    clock_deadline_changed(list->clocks);
}

/* --- running --- */

int64_t timer_list_first(TimerList *list, ClockKind kind)
{
    GPtrArray *heap = list->heaps[kind];
    int64_t first;

    pthread_mutex_lock(&list->lock);
    first = heap->len ? ((Timer *)heap->pdata[0])->expires : INT64_MAX;
    pthread_mutex_unlock(&list->lock);
    return first;
}

int64_t timer_list_timeout(TimerList *list)
{
    int64_t timeout = -1;

    for (int kind = 0; kind < CLOCK_KIND_COUNT; kind++) {
        int64_t first = timer_list_first(list, kind);
        int64_t until = first == INT64_MAX ? -1 : clock_until(list->clocks, kind, first);

        if (until >= 0 && (timeout < 0 || until < timeout)) {
            timeout = until;
        }
    }
    return timeout;
}

bool timer_list_run_one(TimerList *list, ClockKind kind, int64_t now)
{
    GPtrArray *heap = list->heaps[kind];
    Timer *timer = NULL;
    TimerFn *fn = NULL;
    void *opaque = NULL;

    pthread_mutex_lock(&list->lock);
    if (heap->len && ((Timer *)heap->pdata[0])->expires <= now) {
        timer = heap->pdata[0];
        heap_remove(heap, timer);
        if (timer->gate && timer->gate->closed(timer->gate->opaque)) {
            gate_hold(timer);
        } else {
            fn = timer->fn;
            opaque = timer->opaque;
        }
    }
    pthread_mutex_unlock(&list->lock);
    if (fn) {
        fn(opaque); /* may free the timer */
    }
    return timer != NULL;
}

static guint timer_list_count(TimerList *list, ClockKind kind)
{
    guint n;

    pthread_mutex_lock(&list->lock);
    n = list->heaps[kind]->len;
    pthread_mutex_unlock(&list->lock);
    return n;
}

void timer_list_run(TimerList *list)
{
    for (int kind = 0; kind < CLOCK_KIND_COUNT; kind++) {
        int64_t now = clock_now(list->clocks, kind);
        guint budget = timer_list_count(
            list, kind); /* one that sets itself again at once waits for the next iteration */

        while (budget && clock_running(list->clocks, kind) && timer_list_run_one(list, kind, now)) {
            budget--;
        }
    }
}

/* --- timers --- */

Timer *timer_new(EventLoop *loop, ClockKind kind, TimerFn *fn, void *opaque)
{
    Timer *timer = g_new0(Timer, 1);

    timer->list = loop_timers(loop);
    timer->kind = kind;
    timer->fn = fn;
    timer->opaque = opaque;
    timer->position = TIMER_IDLE;
    return timer;
}

void timer_free(Timer *timer)
{
    if (timer) {
        timer_cancel(timer);
        g_free(timer);
    }
}

void timer_set_gate(Timer *timer, LoopGate *gate)
{
    timer->gate = gate;
}

void timer_set(Timer *timer, int64_t expires_ns)
{
    TimerList *list = timer->list;
    GPtrArray *heap = list->heaps[timer->kind];
    bool first;

    pthread_mutex_lock(&list->lock);
    gate_leave(timer);
    timer->expires = expires_ns;
    timer->order = list->next_order++;
    if (timer->position == TIMER_IDLE) {
        heap_add(heap, timer);
    } else {
        heap_settle(heap, timer->position);
    }
    first = timer->position == 0;
    pthread_mutex_unlock(&list->lock);
    if (first && timer->kind == CLOCK_KIND_VIRTUAL) {
        clock_deadline_changed(list->clocks);
    }
    if (first && !loop_in_thread(list->loop)) {
        loop_wake(list->loop);
    }
}

void timer_cancel(Timer *timer)
{
    TimerList *list = timer->list;

    pthread_mutex_lock(&list->lock);
    gate_leave(timer);
    if (timer->position != TIMER_IDLE) {
        heap_remove(list->heaps[timer->kind], timer);
    }
    pthread_mutex_unlock(&list->lock);
}

int64_t timer_expires(const Timer *timer)
{
    int64_t expires;

    pthread_mutex_lock(&timer->list->lock);
    expires = timer->position == TIMER_IDLE && !timer->held ? -1 : timer->expires;
    pthread_mutex_unlock(&timer->list->lock);
    return expires;
}

bool timer_pending(const Timer *timer)
{
    bool pending;

    pthread_mutex_lock(&timer->list->lock);
    pending = timer->position != TIMER_IDLE || timer->held;
    pthread_mutex_unlock(&timer->list->lock);
    return pending;
}
