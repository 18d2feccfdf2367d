/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The devices of a machine that take input: objects below /inputs, the one that was added last first. */
#include "ui/input.h"

#include <string.h>

struct InputSink {
    Object obj;
    Device *dev;
    const InputOps *ops;
    bool to_sync; /* something came since the last sync */
};

typedef struct InputKeyInfo {
    const char *name;
    uint8_t number;
} InputKeyInfo;

static const InputKeyInfo input_keys[INPUT_KEY_COUNT] = {
#define INPUT_KEY_ITEM(key, text, code) [INPUT_KEY_##key] = {text, code},
    INPUT_KEYS(INPUT_KEY_ITEM)
#undef INPUT_KEY_ITEM
};

const ObjectModel input_sink_model = {
    .model = {.name = "input-sink",
              .doc = "A device that takes keys or movements.",
              .kind = MODEL_OBJECT,
              .size = sizeof(InputSink),
              .internal = true},
};

InputSink *input_sink_new(Device *dev, const InputOps *ops, GError **error)
{
    Machine *machine = dev->obj.machine;
    InputSink *sink = (InputSink *)object_new(&input_sink_model.model, machine,
                                              object_container(machine->root, "inputs"), NULL, error);

    if (sink) {
        sink->dev = dev;
        sink->ops = ops;
    }
    return sink;
}

void input_sink_free(InputSink *sink)
{
    if (sink) {
        object_free(&sink->obj);
    }
}

const char *input_key_name(InputKey key)
{
    return (unsigned)key < INPUT_KEY_COUNT ? input_keys[key].name : NULL;
}

bool input_key_find(const char *name, InputKey *key)
{
    for (unsigned i = 0; i < INPUT_KEY_COUNT; i++) {
        if (strcmp(input_keys[i].name, name) == 0) {
            *key = (InputKey)i;
            return true;
        }
    }
    return false;
}

bool input_key_find_number(unsigned number, InputKey *key)
{
    for (unsigned i = INPUT_KEY_UNMAPPED + 1; i < INPUT_KEY_COUNT; i++) {
        if (input_keys[i].number == number) {
            *key = (InputKey)i;
            return true;
        }
    }
    return false;
}

unsigned input_key_number(InputKey key)
{
    return (unsigned)key < INPUT_KEY_COUNT ? input_keys[key].number : 0;
}

static InputSink *input_find(Machine *m, unsigned takes)
{
    GPtrArray *all = object_container(m->root, "inputs")->children;

    for (guint i = all->len; i-- > 0;) {
        InputSink *sink = all->pdata[i];

        if (sink->ops->takes & takes) {
            return sink;
        }
    }
    return NULL;
}

const char *input_taker(Machine *m, unsigned takes)
{
    InputSink *sink = input_find(m, takes);

    return sink ? sink->ops->name : NULL;
}

/* The sink with its device's lock; NULL: nobody takes it now. */
static InputSink *input_enter(Machine *m, unsigned takes)
{
    InputSink *sink = m->run_state == RUN_STATE_RUNNING ? input_find(m, takes) : NULL;

    if (sink) {
        EventLoop *home = sink->dev->home;
        /* An iothread's lock comes before the main loop's. */
        unsigned depth = home == m->main_loop ? 0 : loop_release(m->main_loop);

        loop_lock(home);
        loop_reacquire(m->main_loop, depth);
        sink->to_sync = true;
    }
    return sink;
}

static void input_leave(InputSink *sink)
{
    loop_unlock(sink->dev->home);
}

void input_send_key(Machine *m, InputKey key, bool down)
{
    InputSink *sink = key != INPUT_KEY_UNMAPPED ? input_enter(m, INPUT_TAKES_KEYS) : NULL;

    if (sink) {
        sink->ops->key(sink->dev, key, down);
        input_leave(sink);
    }
}

void input_send_rel(Machine *m, InputAxis axis, int delta)
{
    InputSink *sink = input_enter(m, INPUT_TAKES_REL);

    if (sink) {
        sink->ops->rel(sink->dev, axis, delta);
        input_leave(sink);
    }
}

void input_send_abs(Machine *m, InputAxis axis, int value)
{
    InputSink *sink = input_enter(m, INPUT_TAKES_ABS);

    if (sink) {
        sink->ops->abs(sink->dev, axis, CLAMP(value, 0, INPUT_ABS_MAX));
        input_leave(sink);
    }
}

void input_send_button(Machine *m, InputButton button, bool down)
{
    InputSink *sink = input_enter(m, INPUT_TAKES_REL | INPUT_TAKES_ABS);

    if (sink) {
        sink->ops->button(sink->dev, button, down);
        input_leave(sink);
    }
}

void input_sync(Machine *m)
{
    GPtrArray *all = object_container(m->root, "inputs")->children;

    for (guint i = 0; i < all->len; i++) {
        InputSink *sink = all->pdata[i];

        if (sink->to_sync && sink->ops->sync) {
            loop_lock(sink->dev->home);
            sink->ops->sync(sink->dev);
            loop_unlock(sink->dev->home);
        }
        sink->to_sync = false;
    }
}
