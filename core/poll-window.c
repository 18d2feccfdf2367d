/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waits that look before they sleep. */
#include "core/poll-window.h"

#include <glib.h>
#include <sched.h>
#include <stdbool.h>
#include <time.h>

/* A look longer than a few times the shortest one was one in which another thread had the processor.  The
 * shortest is taken for this until it is known. */
#define LOOK_FIRST_NS 3000
#define LOOK_SHARED   3
#define PENALTY_MAX   1023
#define WINDOW_MIN_NS 1000

static int64_t monotonic_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int poll_ns(struct pollfd *fds, unsigned count, int64_t timeout_ns)
{
    struct timespec ts = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};

    return ppoll(fds, count, timeout_ns < 0 ? NULL : &ts, NULL);
}

void poll_window_learn(PollWindow *w, int64_t waited_ns)
{
    if (waited_ns > w->max_ns) {
        /* Half at a time: one long pause among short ones is no reason to start anew. */
        w->ns = w->ns > WINDOW_MIN_NS ? w->ns / 2 : 0;
    } else if (waited_ns > w->ns) {
        w->ns = MIN(2 * waited_ns, w->max_ns);
    }
}

/* Whether a look of that length was shared with another thread. */
static bool look_shared(PollWindow *w, int64_t ns)
{
    bool shared = ns > LOOK_SHARED * (w->look_ns ? w->look_ns : LOOK_FIRST_NS);

    if (shared) {
        /* The other one may be who is waited for: a sleeper lets it have the processor for less. */
        w->penalty = MIN(2 * w->penalty + 1, PENALTY_MAX);
        w->skip = w->penalty;
    } else if (!w->look_ns || ns < w->look_ns) {
        w->look_ns = ns;
    }
    return shared;
}

int poll_window_look(PollWindow *w, struct pollfd *fds, unsigned count, int64_t max_ns)
{
    int64_t start, waited = 0, last, look = MIN(w->ns, max_ns);
    int n = 0;

    if (w->skip) {
        w->skip--;
        return 0;
    }
    start = look > 0 ? monotonic_ns() : 0;
    while (!n && waited < look) {
        last = waited;
        sched_yield();
        n = poll_ns(fds, count, 0);
        waited = monotonic_ns() - start;
        if (look_shared(w, waited - last)) {
            return n;
        }
    }
    w->penalty = n > 0 ? w->penalty / 2 : w->penalty;
    return n;
}

int poll_window_wait(PollWindow *w, struct pollfd *fds, unsigned count, int64_t timeout_ns)
{
    int64_t start;
    int n;

    if (!w->max_ns || !timeout_ns) {
        return poll_ns(fds, count, timeout_ns);
    }
    start = monotonic_ns();
    n = poll_window_look(w, fds, count, timeout_ns < 0 ? INT64_MAX : timeout_ns);
    if (!n) {
        n = poll_ns(fds, count, timeout_ns < 0 ? -1 : MAX(timeout_ns - (monotonic_ns() - start), 0));
    }
    poll_window_learn(w, monotonic_ns() - start);
    return n;
}
