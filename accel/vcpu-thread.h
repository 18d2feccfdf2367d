/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host thread of a vCPU: when it runs, sleeps, pauses and ends.  What running means is the accelerator's.
 *
 * Locks: the mutex is held only around the thread's sleep and never while guest code or a device callback runs,
 * so any thread may wake a vCPU at any time.
 */
#ifndef ACCEL_VCPU_THREAD_H
#define ACCEL_VCPU_THREAD_H

#include <pthread.h>
#include <stdatomic.h>

#include "accel/accel.h"
#include "core/thread-wait.h"

typedef struct VcpuThread VcpuThread;

typedef struct VcpuThreadOps {
    const char *label; /* of the host thread: "CPU 0/LABEL" */
    /* Runs guest code until kicked, or until there is nothing to do.  The vCPU's thread, without locks. */
    void (*run)(VcpuThread *t);
    /* Nothing to run until it is woken.  The vCPU's thread, with its mutex. */
    bool (*idle)(VcpuThread *t);
    /* Makes run() return soon; any thread. */
    void (*kick)(VcpuThread *t);
    /* Completes what the last run() left half done, before a pause.  As run(); NULL: nothing is. */
    void (*finish)(VcpuThread *t);
} VcpuThreadOps;

struct VcpuThread {
    Vcpu vcpu;
    const VcpuThreadOps *ops;
    const VcpuApicOps *apic_ops;
    void *apic;
    pthread_t thread;
    pthread_mutex_t lock;
    LoopWaiter *waiter;    /* the thread sleeps here */
    pthread_cond_t paused; /* the others: is_paused or wait was set */
    bool pause, is_paused, quit;
    bool held;        /* by a debugger, or met one of its points: until resumed */
    bool hold;        /* a debugger wants it not to run when the others do */
    ThreadWait *wait; /* for another process */
    bool end_waits;   /* none is to last */
    bool joined;          /* the thread has ended, or never began */
    atomic_bool sleeping; /* wakers need not take the lock while false */
};

/* Fills what all have.  The thread is paused and does not exist yet. */
void vcpu_thread_init(VcpuThread *t, const VcpuThreadOps *ops, Accel *accel, unsigned index, const VcpuApicOps *apic_ops,
                      void *apic);
bool vcpu_thread_create(VcpuThread *t, GError **error);
/* Ends the thread; main loop.  Again: nothing. */
void vcpu_thread_join(VcpuThread *t);
/* After the join. */
void vcpu_thread_destroy(VcpuThread *t);

/* Wakes the thread when it sleeps.  Any thread, after what it shall see was stored. */
void vcpu_thread_wake(VcpuThread *t);
/* AccelOps of accelerators all of whose vCPUs are VcpuThreads. */
void vcpu_threads_resume(Accel *accel);
void vcpu_threads_pause(Accel *accel);
void vcpu_threads_stop(Accel *accel);
void vcpu_threads_settle(Accel *accel);

#endif
