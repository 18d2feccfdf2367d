/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a monitor asks for and may have to wait for another process, such as the start of a device whose other half
 * is there: a thread of its own does it, which waits without locks, and the main loop goes on meanwhile.
 */
#include "core/internal.h"
#include "core/thread-wait.h"

typedef struct LaterWork {
    Machine *m;
    MachineWork work;
    GThread *thread;
    LoopBh *bh;  /* runs later_finish() */
    GMutex lock; /* all below */
    GCond ended;
    bool over;      /* it is done, or *error */
    bool later;     /* work.done is to be called */
    bool cancelled; /* the machine goes */
    GError *error;
    ThreadWait *wait; /* of the thread, for another process */
} LaterWork;

static void wait_begin(void *opaque, ThreadWait *wait)
{
    LaterWork *w = opaque;

    g_mutex_lock(&w->lock);
    w->wait = wait;
    if (w->cancelled) {
        wait->cancel(wait);
    }
    g_mutex_unlock(&w->lock);
}

static void wait_end(void *opaque, ThreadWait *wait)
{
    LaterWork *w = opaque;

    g_mutex_lock(&w->lock);
    w->wait = NULL;
    g_mutex_unlock(&w->lock);
}

static const ThreadWaitHooks hooks = {wait_begin, wait_end};

static void later_free(LaterWork *w)
{
    g_queue_remove(machine_laters(w->m), w);
    g_thread_join(w->thread);
    loop_bh_free(w->bh);
    g_cond_clear(&w->ended);
    g_mutex_clear(&w->lock);
    g_free(w);
}

/* Main loop. */
static void later_finish(void *opaque)
{
    LaterWork *w = opaque;

    w->work.done(w->work.opaque, w->error);
    later_free(w);
}

static gpointer later_thread(gpointer opaque)
{
    LaterWork *w = opaque;
    GError *error = NULL;

    thread_wait_set_hooks(&hooks, w);
    w->work.run(w->m, w->work.opaque, &error);
    thread_wait_set_hooks(NULL, NULL);
    g_mutex_lock(&w->lock);
    w->error = error;
    w->over = true;
    g_cond_signal(&w->ended);
    if (w->later) {
        loop_bh_schedule(w->bh);
    }
    g_mutex_unlock(&w->lock);
    return NULL;
}

/* Until it is over, or that many microseconds have passed. */
static bool later_wait(LaterWork *w, gint64 us)
{
    gint64 deadline = g_get_monotonic_time() + us;
    bool over;

    g_mutex_lock(&w->lock);
    while (!w->over && g_cond_wait_until(&w->ended, &w->lock, deadline)) {
    }
    over = w->over;
    w->later = !over;
    g_mutex_unlock(&w->lock);
    return over;
}

bool machine_run_later(Machine *m, const MachineWork *work, unsigned patience_ms, GError **error)
{
    LaterWork *w = g_new0(LaterWork, 1);
    unsigned depth;
    bool over;

    *w = (LaterWork){.m = m, .work = *work};
    w->bh = loop_bh_new(m->main_loop, later_finish, w);
    g_mutex_init(&w->lock);
    g_cond_init(&w->ended);
    g_queue_push_tail(machine_laters(m), w);
    w->thread = g_thread_new("later", later_thread, w);
    depth = loop_release(m->main_loop);
    over = later_wait(w, (gint64)patience_ms * 1000);
    loop_reacquire(m->main_loop, depth);
    if (over) {
        if (w->error) {
            g_propagate_error(error, g_steal_pointer(&w->error));
        }
        later_free(w);
    }
    return over;
}

void machine_laters_end(Machine *m)
{
    LaterWork *w;

    while ((w = g_queue_peek_head(machine_laters(m)))) {
        unsigned depth;

        g_mutex_lock(&w->lock);
        w->cancelled = true;
        if (w->wait) {
            w->wait->cancel(w->wait);
        }
        g_mutex_unlock(&w->lock);
        depth = loop_release(m->main_loop);
        g_mutex_lock(&w->lock);
        while (!w->over) {
            g_cond_wait(&w->ended, &w->lock);
        }
        g_mutex_unlock(&w->lock);
        loop_reacquire(m->main_loop, depth);
        later_finish(w);
    }
}
