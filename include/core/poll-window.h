/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long to look for an event before sleeping for it.  Waking a sleeping core costs tens of microseconds; a window
 * that follows how long the waits really are spends them only where they are won.
 */
#ifndef CORE_POLL_WINDOW_H
#define CORE_POLL_WINDOW_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

/* Something other than the fds to look at: memory. */
typedef struct PollWindowOps {
    /* True when there was something, or will be without an fd: the wait is over. */
    bool (*look)(void *opaque);
    /* The thread is about to sleep: what look() would find has to come by an fd from now on.  True: it is there already. */
    bool (*sleep)(void *opaque);
} PollWindowOps;

typedef struct PollWindow {
    int64_t max_ns; /* 0: never look */
    int64_t ns;     /* the present length */
    /* the window's own; begin as 0 */
    int64_t look_ns;        /* how long one look takes when nobody else wants the processor */
    unsigned skip, penalty; /* waits that will not look, and would not after the next look that was shared */
    const PollWindowOps *ops; /* NULL: none */
    void *opaque;
} PollWindow;

/*
 * poll(), with a timeout in nanoseconds (-1: none), that looks for as long as the window says before it sleeps, and
 * learns from how long that took.  A thread that finds its processor wanted by others stops looking at once, and if that
 * happens again and again, looks ever more rarely.  0 with all revents 0 when an op ended the wait.
 */
int poll_window_wait(PollWindow *window, struct pollfd *fds, unsigned count, int64_t timeout_ns);

/* The parts of it, for who sleeps in another way: looks for as long as the window says; after the whole wait, learns how
 * long it was. */
int poll_window_look(PollWindow *window, struct pollfd *fds, unsigned count, int64_t max_ns);
void poll_window_learn(PollWindow *window, int64_t waited_ns);

#endif
