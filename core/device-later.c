/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices that are plugged by a thread of their own: the start of one whose other half is in another process
 * may have to wait for that, without locks, and the main loop goes on meanwhile.
 */
#include <json-c/json.h>

#include "core/internal.h"
#include "core/thread-wait.h"

typedef struct DeviceAdd {
    Machine *m;
    struct json_object *opts;
    DeviceAddedFn *done;
    void *opaque;
    GThread *thread;
    LoopBh *bh;  /* runs add_finish() */
    GMutex lock; /* all below */
    GCond ended;
    bool over;      /* the device is there, or *error */
    bool later;     /* `done` is to be called */
    bool cancelled; /* the machine goes */
    GError *error;
    ThreadWait *wait; /* of the thread, for another process */
} DeviceAdd;

static void wait_begin(void *opaque, ThreadWait *wait)
{
    DeviceAdd *add = opaque;

    g_mutex_lock(&add->lock);
    add->wait = wait;
    if (add->cancelled) {
        wait->cancel(wait);
    }
    g_mutex_unlock(&add->lock);
}

static void wait_end(void *opaque, ThreadWait *wait)
{
    DeviceAdd *add = opaque;

    g_mutex_lock(&add->lock);
    add->wait = NULL;
    g_mutex_unlock(&add->lock);
}

static const ThreadWaitHooks hooks = {wait_begin, wait_end};

static void add_free(DeviceAdd *add)
{
    g_queue_remove(machine_device_adds(add->m), add);
    g_thread_join(add->thread);
    loop_bh_free(add->bh);
    json_object_put(add->opts);
    g_cond_clear(&add->ended);
    g_mutex_clear(&add->lock);
    g_free(add);
}

/* Main loop. */
static void add_finish(void *opaque)
{
    DeviceAdd *add = opaque;

    add->done(add->opaque, add->error);
    add_free(add);
}

static gpointer add_thread(gpointer opaque)
{
    DeviceAdd *add = opaque;
    GError *error = NULL;

    thread_wait_set_hooks(&hooks, add);
    machine_device_add(add->m, add->opts, &error);
    thread_wait_set_hooks(NULL, NULL);
    g_mutex_lock(&add->lock);
    add->error = error;
    add->over = true;
    g_cond_signal(&add->ended);
    if (add->later) {
        loop_bh_schedule(add->bh);
    }
    g_mutex_unlock(&add->lock);
    return NULL;
}

/* Until it is over, or that many microseconds have passed. */
static bool add_wait(DeviceAdd *add, gint64 us)
{
    gint64 deadline = g_get_monotonic_time() + us;
    bool over;

    g_mutex_lock(&add->lock);
    while (!add->over && g_cond_wait_until(&add->ended, &add->lock, deadline)) {
    }
    over = add->over;
    add->later = !over;
    g_mutex_unlock(&add->lock);
    return over;
}

bool machine_device_add_later(Machine *m, struct json_object *opts, unsigned patience_ms, DeviceAddedFn *done,
                              void *opaque, GError **error)
{
    DeviceAdd *add = g_new0(DeviceAdd, 1);
    unsigned depth;
    bool over;

    *add = (DeviceAdd){.m = m, .done = done, .opaque = opaque};
    json_object_deep_copy(opts, &add->opts, NULL); /* references are not counted across threads */
    add->bh = loop_bh_new(m->main_loop, add_finish, add);
    g_mutex_init(&add->lock);
    g_cond_init(&add->ended);
    g_queue_push_tail(machine_device_adds(m), add);
    add->thread = g_thread_new("device add", add_thread, add);
    depth = loop_release(m->main_loop);
    over = add_wait(add, (gint64)patience_ms * 1000);
    loop_reacquire(m->main_loop, depth);
    if (over) {
        if (add->error) {
            g_propagate_error(error, g_steal_pointer(&add->error));
        }
        add_free(add);
    }
    return over;
}

void machine_device_adds_end(Machine *m)
{
    DeviceAdd *add;

    while ((add = g_queue_peek_head(machine_device_adds(m)))) {
        unsigned depth;

        g_mutex_lock(&add->lock);
        add->cancelled = true;
        if (add->wait) {
            add->wait->cancel(add->wait);
        }
        g_mutex_unlock(&add->lock);
        depth = loop_release(m->main_loop);
        g_mutex_lock(&add->lock);
        while (!add->over) {
            g_cond_wait(&add->ended, &add->lock);
        }
        g_mutex_unlock(&add->lock);
        loop_reacquire(m->main_loop, depth);
        add_finish(add);
    }
}
