/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What loop.c and loop-wait.c share. */
#ifndef CORE_LOOP_PRIVATE_H
#define CORE_LOOP_PRIVATE_H

#include <pthread.h>

#include "core/internal.h"
#include "core/loop.h"
#include "core/poll-window.h"

struct LoopFd {
    EventLoop *loop;
    int fd;
    LoopFdFn *read, *write;
    void *opaque;
    bool removed;
    bool urgent; /* in urgent_fd instead of the loop's poll set */
};

struct LoopPoller {
    EventLoop *loop;
    const LoopPollerOps *ops;
    void *opaque;
};

struct LoopBh {
    EventLoop *loop;
    LoopBhFn *fn;
    void *opaque;
    LoopGate *gate; /* or NULL */
    bool scheduled; /* in the queue, or before the gate; under bh_lock */
    bool once;
};

struct EventLoop {
    char *name;
    GMainContext *context;
    TimerList *timers;

    pthread_mutex_t mutex;
    void *owner;    /* &thread_mark of the thread that has the lock; atomic */
    unsigned depth; /* how often; the owner's */
    bool main;
    unsigned waiters; /* threads in pthread_mutex_lock; atomic */
    unsigned turns;   /* how often one of them got it; atomic */

    GPtrArray *watches; /* of LoopFd *; under the lock */
    GPtrArray *pollers; /* of LoopPoller *; under the lock */
    unsigned fast_turns; /* in a row, without asking the fds */
    unsigned iterating; /* nesting of loop_iterate; removed watches are freed at 0 */
    bool removed_some;
    struct LoopPoll *spare; /* arrays of the last iteration, for the next */

    pthread_mutex_t bh_lock;
    GQueue pending; /* of LoopBh * */

    int wake_fd;
    int urgent_fd; /* epoll over urgent watches; -1 before the first */
    int gate_fd;   /* epoll over urgent_fd, which is off while a waiter leads */
    struct LoopWaiter *leader; /* the waiter that dispatches urgent watches; atomic */
    PollWindow window;
    int woken;    /* atomic: wake_fd was written and not read yet */
    void *thread; /* &thread_mark of the iterating thread; atomic */
    GThread *own_thread;
    int stopping; /* atomic */
};

/* What one iteration polls: the wake fd, glib's fds, then the watches. */
typedef struct LoopPoll {
    GArray *fds;        /* of struct pollfd */
    GPtrArray *watches; /* of LoopFd *, parallel to the last entries of fds */
    GPollFD *glib_fds;
    int glib_room, glib_count;
    int priority;
    int64_t timeout_ns; /* -1: for ever */
} LoopPoll;

/* Wakes the loop unless the calling thread is the one that iterates it. */
void loop_wake_others(EventLoop *loop);
/* Frees removed watches when nobody may point at them.  With the lock. */
void loop_sweep_watches(EventLoop *loop);

/* --- loop-wait.c --- */
/* Takes an urgent watch out of the set.  With the lock. */
void loop_urgent_forget(LoopFd *watch);
/* Runs the handlers of the urgent watches that are ready.  With the lock. */
void loop_urgent_dispatch(EventLoop *loop);
void loop_urgent_close(EventLoop *loop);
/* Gives threads that wait for the lock a chance to get it.  Without the lock. */
void loop_let_waiters_in(EventLoop *loop);
/* What the loop does while it looks, and before it sleeps. */
extern const PollWindowOps loop_window_ops;
/* True when one of the pollers had something to do.  With the lock. */
bool loop_run_pollers(EventLoop *loop);

#endif
