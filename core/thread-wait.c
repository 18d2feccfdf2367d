/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The hooks of a thread that runs guest code, around its waits for other processes. */
#include "core/thread-wait.h"

#include <stddef.h>

static __thread const ThreadWaitHooks *thread_hooks;
static __thread void *thread_hooks_opaque;

void thread_wait_set_hooks(const ThreadWaitHooks *hooks, void *opaque)
{
    thread_hooks = hooks;
    thread_hooks_opaque = opaque;
}

void thread_wait_begin(ThreadWait *wait)
{
    if (thread_hooks) {
        thread_hooks->begin(thread_hooks_opaque, wait);
    }
}

void thread_wait_end(ThreadWait *wait)
{
    if (thread_hooks) {
        thread_hooks->end(thread_hooks_opaque, wait);
    }
}
