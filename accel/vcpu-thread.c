/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host thread of a vCPU: DESIGN.md section 3 says who waits for whom. */
#include "vcpu-thread.h"

#include <stdio.h>
#include <unistd.h>

#include "core/error.h"

/* How long a halted CPU may look for an interrupt before it sleeps, in nanoseconds. */
#define VCPU_HALT_POLL_NS 100000

void vcpu_thread_init(VcpuThread *t, const VcpuThreadOps *ops, Accel *accel, unsigned index, const VcpuApicOps *apic_ops,
                      void *apic)
{
    t->vcpu.accel = accel;
    t->vcpu.index = index;
    t->ops = ops;
    t->apic_ops = apic_ops;
    t->apic = apic;
    t->pause = true;
    t->joined = true;
    pthread_mutex_init(&t->lock, NULL);
    t->waiter = loop_waiter_new(accel->machine->main_loop, VCPU_HALT_POLL_NS);
    pthread_cond_init(&t->paused, NULL);
}

void vcpu_thread_wake(VcpuThread *t)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&t->sleeping)) {
        loop_waiter_wake(t->waiter);
    }
}

/* Sleeps while the CPU has nothing to do or shall not run.  False: the thread ends. */
static bool vcpu_thread_sleep(VcpuThread *t)
{
    bool go, finished = !t->ops->finish;

    pthread_mutex_lock(&t->lock);
    atomic_store(&t->sleeping, true);
    atomic_thread_fence(memory_order_seq_cst);
    while (!t->quit && (t->pause || t->held || t->ops->idle(t))) {
        if (t->pause && !finished) {
            pthread_mutex_unlock(&t->lock);
            t->ops->finish(t);
            pthread_mutex_lock(&t->lock);
            finished = true;
            continue;
        }
        if (t->pause && !t->is_paused) {
            t->is_paused = true;
            pthread_cond_broadcast(&t->paused);
        }
        pthread_mutex_unlock(&t->lock);
        loop_waiter_sleep(t->waiter);
        pthread_mutex_lock(&t->lock);
    }
    t->is_paused = false;
    atomic_store(&t->sleeping, false);
    go = !t->quit;
    pthread_mutex_unlock(&t->lock);
    return go;
}

static void vcpu_wait_begin(void *opaque, ThreadWait *wait)
{
    VcpuThread *t = opaque;

    pthread_mutex_lock(&t->lock);
    t->wait = wait;
    if (t->end_waits) {
        wait->cancel(wait);
    }
    pthread_cond_broadcast(&t->paused);
    pthread_mutex_unlock(&t->lock);
}

static void vcpu_wait_end(void *opaque, ThreadWait *wait)
{
    VcpuThread *t = opaque;

    pthread_mutex_lock(&t->lock);
    t->wait = NULL;
    pthread_mutex_unlock(&t->lock);
}

static const ThreadWaitHooks vcpu_wait_hooks = {vcpu_wait_begin, vcpu_wait_end};

static void *vcpu_thread_main(void *opaque)
{
    VcpuThread *t = opaque;

    thread_wait_set_hooks(&vcpu_wait_hooks, t);
    pthread_mutex_lock(&t->lock);
    t->vcpu.thread_id = (int)gettid();
    pthread_cond_broadcast(&t->paused);
    pthread_mutex_unlock(&t->lock);
    while (vcpu_thread_sleep(t)) {
        t->ops->run(t);
    }
    /* Who waits for it to pause, while the machine ends, need not. */
    pthread_mutex_lock(&t->lock);
    t->is_paused = true;
    pthread_cond_broadcast(&t->paused);
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

bool vcpu_thread_create(VcpuThread *t, GError **error)
{
    char name[16];
    int err = pthread_create(&t->thread, NULL, vcpu_thread_main, t);

    if (err) {
        error_set_errno(error, err, "-smp: cannot start the thread of vCPU %u", t->vcpu.index);
        return false;
    }
    t->joined = false;
    pthread_mutex_lock(&t->lock);
    while (!t->vcpu.thread_id) {
        pthread_cond_wait(&t->paused, &t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    snprintf(name, sizeof(name), "CPU %u/%s", t->vcpu.index, t->ops->label);
    pthread_setname_np(t->thread, name);
    return true;
}

static void vcpu_end_waits(VcpuThread *t, bool end)
{
    t->end_waits = end;
    if (end && t->wait) {
        t->wait->cancel(t->wait);
    }
}

void vcpu_thread_join(VcpuThread *t)
{
    EventLoop *loop;
    unsigned depth;

    if (t->joined) {
        return; /* there may be no machine any more */
    }
    loop = t->vcpu.accel->machine->main_loop;
    pthread_mutex_lock(&t->lock);
    t->quit = true;
    vcpu_end_waits(t, true);
    loop_waiter_wake(t->waiter);
    pthread_mutex_unlock(&t->lock);
    t->ops->kick(t);
    /* The thread may need the main loop's lock to come to its end. */
    depth = loop_release(loop);
    pthread_join(t->thread, NULL);
    loop_reacquire(loop, depth);
    t->joined = true;
}

void vcpu_thread_destroy(VcpuThread *t)
{
    loop_waiter_free(t->waiter);
    pthread_cond_destroy(&t->paused);
    pthread_mutex_destroy(&t->lock);
}

static void vcpu_pause_request(VcpuThread *t, bool pause, bool end_waits)
{
    pthread_mutex_lock(&t->lock);
    t->pause = pause;
    t->held = pause ? t->held : t->hold;
    vcpu_end_waits(t, end_waits);
    loop_waiter_wake(t->waiter);
    pthread_mutex_unlock(&t->lock);
    if (pause) {
        t->ops->kick(t);
    }
}

void vcpu_threads_resume(Accel *accel)
{
    for (guint i = 0; i < accel->vcpus->len; i++) {
        vcpu_pause_request(g_ptr_array_index(accel->vcpus, i), false, false);
    }
}

/* What becomes of vCPUs that wait for another process. */
typedef enum VcpuHold {
    VCPU_HOLD_WAITING, /* they count as held */
    VCPU_HOLD_ENDED,   /* the wait is ended */
    VCPU_HOLD_AWAITED, /* the wait is awaited */
} VcpuHold;

static void vcpu_threads_hold(Accel *accel, VcpuHold how)
{
    unsigned depth;

    for (guint i = 0; i < accel->vcpus->len; i++) {
        vcpu_pause_request(g_ptr_array_index(accel->vcpus, i), true, how == VCPU_HOLD_ENDED);
    }
    depth = loop_release(accel->machine->main_loop);
    for (guint i = 0; i < accel->vcpus->len; i++) {
        VcpuThread *t = g_ptr_array_index(accel->vcpus, i);

        pthread_mutex_lock(&t->lock);
        while (!t->is_paused && !(t->wait && how == VCPU_HOLD_WAITING)) {
            pthread_cond_wait(&t->paused, &t->lock);
        }
        pthread_mutex_unlock(&t->lock);
    }
    loop_reacquire(accel->machine->main_loop, depth);
}

void vcpu_threads_pause(Accel *accel)
{
    vcpu_threads_hold(accel, VCPU_HOLD_WAITING);
}

void vcpu_threads_stop(Accel *accel)
{
    vcpu_threads_hold(accel, VCPU_HOLD_ENDED);
}

void vcpu_threads_settle(Accel *accel)
{
    vcpu_threads_hold(accel, VCPU_HOLD_AWAITED);
}
