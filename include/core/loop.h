/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Event loops and time.  Every device has a home loop; its callbacks run with
 * that loop's lock held, from a vCPU or from the loop's thread.  The lock is
 * recursive.  No lock is global, and nobody may wait for another process while
 * holding one.
 */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct EventLoop EventLoop;
typedef struct LoopFd LoopFd;
typedef struct LoopBh LoopBh;
typedef struct Timer Timer;
typedef struct ClockSource ClockSource;

/* A loop over a GMainContext.  `main` loops use the default context (so glib users join in); others a new one. */
EventLoop *loop_new(const char *name, bool main, ClockSource *clocks);
void loop_free(EventLoop *loop);
GMainContext *loop_context(EventLoop *loop);

void loop_lock(EventLoop *loop);
void loop_unlock(EventLoop *loop);
bool loop_locked(EventLoop *loop); /* by the calling thread; for assertions */
/*
 * Around a wait for another process or thread: gives up the lock however often the calling thread holds it and
 * returns how often (0: not at all); loop_reacquire() takes it back as often.  Everything the lock protects may have
 * changed in between, transactions excepted: nobody may wait inside one.
 */
unsigned loop_release(EventLoop *loop);
void loop_reacquire(EventLoop *loop, unsigned depth);

/* One iteration; sleeps without the lock, dispatches with it.  The loop's thread only. */
void loop_iterate(EventLoop *loop, bool may_block);
/* Starts / stops a thread that iterates the loop (iothreads). */
void loop_start_thread(EventLoop *loop);
void loop_stop_thread(EventLoop *loop);
/* Wakes loop_iterate.  Any thread. */
void loop_wake(EventLoop *loop);
/* True on the thread that iterates the loop. */
bool loop_in_thread(EventLoop *loop);

typedef void LoopFdFn(void *opaque);

/*
 * Watches fd; read and/or write may be NULL.  A handler may remove its own or
 * any other watch.  Any thread holding the loop's lock.
 */
LoopFd *loop_add_fd(EventLoop *loop, int fd, LoopFdFn *read, LoopFdFn *write, void *opaque);
void loop_set_fd(LoopFd *watch, LoopFdFn *read, LoopFdFn *write);
/* Removes and frees; no handler runs after it returned (when called with the lock).  The fd stays open. */
void loop_remove_fd(LoopFd *watch);
/*
 * Watches fd for reading; the handler runs with the loop's lock, but perhaps in a thread that sleeps in
 * loop_waiter_sleep().  For interrupts: the CPU that waits for one is then the only thread that has to be woken.
 */
LoopFd *loop_add_urgent_fd(EventLoop *loop, int fd, LoopFdFn *read, void *opaque);

/*
 * Before it sleeps, the loop looks for events for up to max_ns nanoseconds, adapting to how long its waits are
 * (0, the default: not at all).  With the lock.
 */
void loop_set_poll(EventLoop *loop, int64_t max_ns);

/*
 * Memory that others write and tell nobody: looked at while the loop looks for events, and once in each turn.  Both
 * functions run with the lock, in the loop's thread.
 */
typedef struct LoopPollerOps {
    /* Does what there is to do.  False: there was nothing. */
    bool (*poll)(void *opaque);
    /* The loop will sleep: whoever writes has to wake it from now on (an fd, a register).  poll() follows once more. */
    void (*arm)(void *opaque);
} LoopPollerOps;
typedef struct LoopPoller LoopPoller;
/* With the lock, or any thread.  remove: with the lock; no function runs after it returned. */
LoopPoller *loop_add_poller(EventLoop *loop, const LoopPollerOps *ops, void *opaque);
void loop_remove_poller(LoopPoller *poller);

/*
 * Where a thread other than the loop's sleeps until there is something to do (halted CPUs).  Looks for up to
 * max_poll_ns before it sleeps, as loop_set_poll(), unless another waiter of the loop does.
 */
typedef struct LoopWaiter LoopWaiter;
LoopWaiter *loop_waiter_new(EventLoop *loop, int64_t max_poll_ns);
void loop_waiter_free(LoopWaiter *waiter); /* nobody sleeps in it */
/* Ends the present sleep, or the next.  Any thread. */
void loop_waiter_wake(LoopWaiter *waiter);
/* Returns some time after loop_waiter_wake() or an urgent event.  One thread, without the lock. */
void loop_waiter_sleep(LoopWaiter *waiter);

typedef void LoopBhFn(void *opaque);

/*
 * Bottom halves and timers behind a gate that is closed when they are due wait, and run when it is opened.  All those behind one gate
 * are of one loop.
 */
typedef struct LoopGate {
    bool (*closed)(const void *opaque); /* any thread; takes no lock */
    const void *opaque;
    GSList *bhs, *timers; /* private: what waits */
} LoopGate;
/* closed() is false from now on.  Any thread. */
void loop_gate_open(LoopGate *gate, EventLoop *loop);

/* A callback to run soon in the loop.  schedule: any thread, coalesces. */
LoopBh *loop_bh_new(EventLoop *loop, LoopBhFn *fn, void *opaque);
void loop_bh_set_gate(LoopBh *bh, LoopGate *gate); /* not scheduled yet */
void loop_bh_schedule(LoopBh *bh);
void loop_bh_free(LoopBh *bh);
/* Runs fn once in the loop.  Any thread. */
void loop_call(EventLoop *loop, LoopBhFn *fn, void *opaque);

typedef enum ClockKind {
    CLOCK_KIND_VIRTUAL,  /* guest time: stops with the guest; driven by the test under qtest */
    CLOCK_KIND_REALTIME, /* CLOCK_MONOTONIC */
    CLOCK_KIND_HOST,     /* wall clock */
    CLOCK_KIND_COUNT,
} ClockKind;

/* The clocks of one machine. */
ClockSource *clock_source_new(void);
void clock_source_free(ClockSource *clocks);
/* Nanoseconds.  Any thread. */
int64_t clock_now(ClockSource *clocks, ClockKind kind);
/* Stops and restarts guest time (vm stop/cont). */
void clock_enable_virtual(ClockSource *clocks, bool enabled);
/* Guest time continues at `now` ns.  It is stopped. */
void clock_set_virtual(ClockSource *clocks, int64_t now);
/* qtest: guest time advances only by clock_warp. */
void clock_set_manual(ClockSource *clocks);
/* Manual guest time is at least `now` from now on; runs no timer.  Any thread. */
void clock_advance(ClockSource *clocks, int64_t now);
/* fn is called when a guest-time timer is set that may be the earliest: any thread; it must not touch timers or clocks. */
void clock_set_deadline_hook(ClockSource *clocks, LoopBhFn *fn, void *opaque);
/* Sets manual guest time to `now` and runs the timers due until then in order of expiry.  Any thread, without locks. */
void clock_warp(ClockSource *clocks, int64_t now);
/* Earliest deadline of guest-time timers, or -1.  Any thread. */
int64_t clock_next_deadline(ClockSource *clocks);

typedef void TimerFn(void *opaque);

/* A timer whose callback runs in `loop`.  set/cancel: any thread. */
Timer *timer_new(EventLoop *loop, ClockKind kind, TimerFn *fn, void *opaque);
void timer_free(Timer *timer);
void timer_set(Timer *timer, int64_t expires_ns); /* absolute, on the timer's clock */
void timer_cancel(Timer *timer);
void timer_set_gate(Timer *timer, LoopGate *gate); /* not set yet */
bool timer_pending(const Timer *timer); /* or due, and waiting before its gate */
int64_t timer_expires(const Timer *timer); /* -1 when not pending */

#endif
