/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening and closing monitors.  They are objects below /monitors. */
#include "monitor-internal.h"

#include "core/error.h"

static struct json_object *monitor_chardev_format(Object *obj, const Prop *prop)
{
    return json_object_new_string(chardev_id(((Monitor *)obj)->chr));
}

static bool monitor_chardev_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    error_set(error, "%s: property '%s' is read-only", obj->id, prop->name);
    return false;
}

static const PropType monitor_prop_chardev = {
    .name = "str",
    .parse = monitor_chardev_parse,
    .format = monitor_chardev_format,
    .field_size = sizeof(Chardev *),
};

static const Prop monitor_props[] = {
    {.name = "chardev",
     .type = &monitor_prop_chardev,
     .offset = offsetof(Monitor, chr),
     .flags = PROP_READONLY,
     .doc = "the character device it talks to"},
    PROP_END,
};

static const ObjectModel monitor_model = {
    .model =
        {
            .name = "monitor",
            .doc = "A QMP or HMP monitor, made by -qmp, -monitor or -mon.",
            .kind = MODEL_OBJECT,
            .size = sizeof(Monitor),
            .props = monitor_props,
            .internal = true,
        },
};

static void monitor_close(Monitor *mon)
{
    chardev_detach(mon->chr, mon->qmp ? (void *)mon->qmp : (void *)mon->hmp);
    if (mon->qmp) {
        qmp_session_free(mon->qmp);
    } else {
        hmp_session_free(mon->hmp);
    }
    object_free(&mon->obj);
}

bool monitor_open(Machine *machine, Chardev *chr, bool qmp, GError **error)
{
    Object *all = object_container(machine->root, "monitors");
    g_autofree char *id = g_strdup_printf("monitor-%s", chardev_id(chr));
    Monitor *mon = (Monitor *)object_new(&monitor_model.model, machine, all, id, error);
    ChardevFrontend frontend;

    if (!mon) {
        return false;
    }
    mon->machine = machine;
    mon->chr = chr;
    if (qmp) {
        mon->qmp = qmp_session_new(mon, &frontend);
    } else {
        mon->hmp = hmp_session_new(mon, &frontend);
    }
    if (!chardev_attach(chr, &frontend, error)) {
        if (qmp) {
            qmp_session_free(mon->qmp);
        } else {
            hmp_session_free(mon->hmp);
        }
        object_free(&mon->obj);
        return false;
    }
    return true;
}

void monitor_close_all(Machine *machine)
{
    Object *all = object_container(machine->root, "monitors");

    while (all->children->len) {
        monitor_close(g_ptr_array_index(all->children, all->children->len - 1));
    }
}
