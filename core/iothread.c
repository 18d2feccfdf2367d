/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `-object iothread`: an event loop with a thread of its own, for devices to have as home. */
#include "core/error.h"
#include "core/internal.h"
#include "core/state.h"

typedef struct Iothread {
    Object obj;
    EventLoop *loop;
} Iothread;

static bool iothread_start(Object *obj, GError **error)
{
    Iothread *io = (Iothread *)obj;
    g_autofree char *name = g_strdup_printf("IO %s", obj->id);

    io->loop = loop_new(name, false, obj->machine->clocks);
    loop_start_thread(io->loop);
    return true;
}

static bool iothread_can_stop(Object *obj, GError **error)
{
    GPtrArray *started = machine_tracked(obj->machine);

    for (guint i = 0; i < started->len; i++) {
        Object *user = started->pdata[i];

        if (object_is_device(user) && ((Device *)user)->home == ((Iothread *)obj)->loop) {
            error_set(error, "iothread: '%s' is in use by device '%s'; delete the device first", obj->id,
                      user->id);
            return false;
        }
    }
    return true;
}

static void iothread_stop(Object *obj)
{
    Iothread *io = (Iothread *)obj;
    unsigned depth = loop_release(obj->machine->main_loop);

    /* The thread may be waiting for the main loop's lock. */
    loop_stop_thread(io->loop);
    loop_reacquire(obj->machine->main_loop, depth);
    g_clear_pointer(&io->loop, loop_free);
}

EventLoop *iothread_loop(Object *iothread)
{
    g_assert(iothread->model == &iothread_model.model);
    return ((Iothread *)iothread)->loop;
}

const ObjectModel iothread_model = {
    .model = {.name = "iothread",
              .doc = "A thread with an event loop that devices can be given as their own.",
              .kind = MODEL_OBJECT,
              .size = sizeof(Iothread),
              .state = &state_none},
    .start = iothread_start,
    .can_stop = iothread_can_stop,
    .stop = iothread_stop,
};
