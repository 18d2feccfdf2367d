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
/* Memory is looked at that often between two looks at the fds, which are system calls. */
#define LOOKS_AT_MEMORY 32

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

static bool look_at_memory(const PollWindow *w)
{
    for (int i = 0; w->ops && i < LOOKS_AT_MEMORY; i++) {
        if (w->ops->look(w->opaque)) {
            return true;
        }
        __builtin_ia32_pause();
    }
    return false;
}

/* The fds were not asked. */
static int nothing_ready(struct pollfd *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        fds[i].revents = 0;
    }
    return 0;
}

/* As poll_window_look(); *memory: an op ended it. */
static int window_look(PollWindow *w, struct pollfd *fds, unsigned count, int64_t max_ns, bool *memory)
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
        *memory = look_at_memory(w);
        if (*memory) {
            return nothing_ready(fds, count);
        }
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

int poll_window_look(PollWindow *w, struct pollfd *fds, unsigned count, int64_t max_ns)
{
    bool memory;

    return window_look(w, fds, count, max_ns, &memory);
}

static int window_sleep(PollWindow *w, struct pollfd *fds, unsigned count, int64_t timeout_ns)
{
    if (timeout_ns && w->ops && w->ops->sleep(w->opaque)) {
        timeout_ns = 0;
    }
    return poll_ns(fds, count, timeout_ns);
}

int poll_window_wait(PollWindow *w, struct pollfd *fds, unsigned count, int64_t timeout_ns)
{
    bool memory = false;
    int64_t start;
    int n;

    if (!w->max_ns || !timeout_ns) {
        return window_sleep(w, fds, count, timeout_ns);
    }
    start = monotonic_ns();
    n = window_look(w, fds, count, timeout_ns < 0 ? INT64_MAX : timeout_ns, &memory);
    if (!n && !memory) {
        n = window_sleep(w, fds, count, timeout_ns < 0 ? -1 : MAX(timeout_ns - (monotonic_ns() - start), 0));
    }
    poll_window_learn(w, monotonic_ns() - start);
    return n;
}
