/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Waits for another process.  A thread that runs guest code is told when it begins and ends one, so that a
 * pause of the machine need not wait for somebody else's process, and a reset can end the wait.
 */
#ifndef CORE_THREAD_WAIT_H
#define CORE_THREAD_WAIT_H

typedef struct ThreadWait ThreadWait;
struct ThreadWait {
    /* Makes the wait end soon, without success.  Any thread; may be called more than once. */
    void (*cancel)(ThreadWait *wait);
};

/* How a thread wants to hear of its waits; both calls are in that thread, and hold no lock of whom is waited
 * for. */
typedef struct ThreadWaitHooks {
    void (*begin)(void *opaque, ThreadWait *wait);
    void (*end)(void *opaque, ThreadWait *wait);
} ThreadWaitHooks;

/* For the calling thread; NULL: no more. */
void thread_wait_set_hooks(const ThreadWaitHooks *hooks, void *opaque);
/* Around each wait for another process; without a lock that `cancel` takes. */
void thread_wait_begin(ThreadWait *wait);
void thread_wait_end(ThreadWait *wait);

#endif
