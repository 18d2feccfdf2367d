/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys that a monitor presses for a person: each group is held for a while, then the next one's turn comes. */
#include "core/machine.h"
#include "ui/input.h"

#define GROUPS_MAX 1024 /* waiting */

typedef struct KeyGroup {
    unsigned count;
    int64_t hold; /* ns */
    InputKey keys[INPUT_GROUP_MAX];
} KeyGroup;

typedef struct KeyQueue {
    Object obj;
    Timer *timer;
    GQueue *groups; /* of KeyGroup *; the first is held down */
} KeyQueue;

const ObjectModel key_queue_model = {
    .model = {.name = "key-queue",
              .doc = "Keys that are pressed one group after the other.",
              .kind = MODEL_OBJECT,
              .size = sizeof(KeyQueue),
              .internal = true},
};

static KeyQueue *key_queue_find(Machine *m)
{
    GPtrArray *all = object_container(m->root, "key-queue")->children;

    return all->len ? all->pdata[0] : NULL;
}

static void key_queue_press(KeyQueue *q)
{
    Machine *m = q->obj.machine;
    const KeyGroup *group = g_queue_peek_head(q->groups);

    if (!group) {
        return;
    }
    for (unsigned i = 0; i < group->count; i++) {
        input_send_key(m, group->keys[i], true);
    }
    timer_set(q->timer, clock_now(m->clocks, CLOCK_KIND_REALTIME) + group->hold);
}

static void key_queue_expired(void *opaque)
{
    KeyQueue *q = opaque;
    g_autofree KeyGroup *group = g_queue_pop_head(q->groups);

    for (unsigned i = group->count; i-- > 0;) {
        input_send_key(q->obj.machine, group->keys[i], false);
    }
    key_queue_press(q);
}

bool input_press_group(Machine *m, const InputKey *keys, unsigned count, unsigned hold_ms, GError **error)
{
    KeyQueue *q = key_queue_find(m);
    KeyGroup *group;

    if (!count || count > INPUT_GROUP_MAX) {
        error_set(error, "bad number of keys (%u, allowed 1..%d)", count, INPUT_GROUP_MAX);
        return false;
    }
    if (!q) {
        q = (KeyQueue *)object_new(&key_queue_model.model, m, object_container(m->root, "key-queue"), NULL, error);
        if (!q) {
            return false;
        }
        q->groups = g_queue_new();
        q->timer = timer_new(m->main_loop, CLOCK_KIND_REALTIME, key_queue_expired, q);
    }
    if (g_queue_get_length(q->groups) == GROUPS_MAX) {
        error_set(error, "too many keys wait to be pressed (allowed %d)", GROUPS_MAX);
        return false;
    }
    group = g_new0(KeyGroup, 1);
    group->count = count;
    group->hold = hold_ms * INT64_C(1000000);
    for (unsigned i = 0; i < count; i++) {
        group->keys[i] = keys[i];
    }
    g_queue_push_tail(q->groups, group);
    if (g_queue_get_length(q->groups) == 1) {
        key_queue_press(q);
    }
    return true;
}

void input_forget_groups(Machine *m)
{
    KeyQueue *q = key_queue_find(m);

    if (q) {
        timer_free(q->timer);
        g_queue_free_full(q->groups, g_free);
        object_free(&q->obj);
    }
}
