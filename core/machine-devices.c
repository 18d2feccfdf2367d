/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -device, -object and their removal. */
#include <json-c/json.h>
#include <string.h>

#include "core/error.h"
#include "core/internal.h"

static const unsigned device_kinds = 1u << MODEL_DEVICE | 1u << MODEL_PCI;
static const unsigned object_kinds = 1u << MODEL_OBJECT;

/* A string member; NULL when missing, with *error when of another type. */
static const char *opts_string(struct json_object *opts, const char *where, const char *name, bool *ok,
                               GError **error)
{
    struct json_object *value;

    *ok = true;
    if (!json_object_object_get_ex(opts, name, &value)) {
        return NULL;
    }
    if (!json_object_is_type(value, json_type_string)) {
        *ok = false;
        error_set(error, "%s: '%s' is not a string", where, name);
        return NULL;
    }
    return json_object_get_string(value);
}

/* The model named by member `key`, and the well-formed id or NULL. */
static const Model *opts_model(struct json_object *opts, const char *where, const char *key, unsigned kinds,
                               const char **id, GError **error)
{
    bool ok;
    const char *name = opts_string(opts, where, key, &ok, error);
    const Model *model;

    if (!name) {
        if (ok) {
            error_set(error, "%s: parameter '%s' is missing", where, key);
        }
        return NULL;
    }
    model = model_find(name, kinds);
    if (!model || model->internal) {
        const char *near = model_nearest(name, kinds);

        if (model) {
            error_set(error, "%s: '%s' belongs to the board and cannot be added", where, name);
        } else if (near) {
            error_set(error, "%s: '%s' is not a valid model name; did you mean '%s'?", where, name, near);
        } else {
            error_set(error, "%s: '%s' is not a valid model name; '%s help' lists them", where, name, where);
        }
        return NULL;
    }
    *id = opts_string(opts, where, "id", &ok, error);
    if (!ok) {
        return NULL;
    }
    if (*id && !object_id_wellformed(*id)) {
        error_set(error,
                  "%s: malformed id ('%s', allowed letters, digits, '-', '.', '_', beginning with a letter)",
                  where, *id);
        return NULL;
    }
    return model;
}

/* --- what is linked to cannot go --- */

static const Prop *kind_props(Machine *m, const Model *model)
{
    const DeviceKindOps *ops = machine_kind_ops(m, model->kind);

    return ops ? ops->props : NULL;
}

static const Prop *link_to(Object *obj, const Prop *p, const Object *target)
{
    for (; p && p->name; p++) {
        if (p->type == &prop_link && *(Object **)(void *)((uint8_t *)obj + p->offset) == target) {
            return p;
        }
    }
    return NULL;
}

/* An object below `obj` with a link property that points at target, or NULL; *prop is which. */
static Object *find_user(Object *obj, const Object *target, const Prop **prop)
{
    Object *user = obj;

    *prop = link_to(obj, obj->model->props, target);
    if (!*prop) {
        *prop = link_to(obj, kind_props(obj->machine, obj->model), target);
    }
    for (guint i = 0; !*prop && i < obj->children->len; i++) {
        user = find_user(obj->children->pdata[i], target, prop);
    }
    return *prop ? user : NULL;
}

static bool check_unused(Machine *m, Object *target, GError **error)
{
    const Prop *prop;
    Object *user = find_user(m->root, target, &prop);

    if (user && user != target) {
        error_set(error, "%s: '%s' is in use by '%s' (property '%s'); delete that first", target->model->name,
                  target->id, user->id, prop->name);
        return false;
    }
    return true;
}

/* --- devices --- */

static bool device_place_and_start(Device *dev, const DeviceKindOps *ops, struct json_object *opts,
                                   GError **error)
{
    static const char *const skip[] = {"driver", "id", NULL};

    if (!object_set_all(&dev->obj, opts, skip, error) || !object_check_required(&dev->obj, error) ||
        !device_check_bootindex(dev, error) || (ops->place && !ops->place(dev, error))) {
        return false;
    }
    if (!device_start(dev, error)) {
        if (ops->unplace) {
            ops->unplace(dev);
        }
        return false;
    }
    return true;
}

/* A stream says first which devices it is of. */
static bool devices_may_change(const Machine *m, const char *command, GError **error)
{
    if (m->moving) {
        error_set(error, "%s: the guest is being moved; try again when that is over", command);
    }
    return !m->moving;
}

/* Only what has started knows. */
static bool device_may_stay(Device *dev, GError **error)
{
    const MoveOps *move = dev->obj.machine->only_migratable ? dev->obj.model->move : NULL;
    bool ok = !move || move->possible(dev, error);

    if (!ok) {
        g_prefix_error(error, "-only-migratable: device '%s' (%s): ", dev->obj.id, dev->obj.model->name);
    }
    return ok;
}

Device *machine_device_add(Machine *m, struct json_object *opts, GError **error)
{
    const char *id;
    const Model *model = opts_model(opts, "-device", "driver", device_kinds, &id, error);
    const DeviceKindOps *ops = model ? machine_kind_ops(m, model->kind) : NULL;
    Device *dev;

    if (!model || !devices_may_change(m, "device_add", error)) {
        return NULL;
    }
    if (!ops) {
        error_set(error, "-device %s: machine '%s' has no bus for it", model->name, m->obj.model->name);
        return NULL;
    }
    loop_lock(m->main_loop);
    dev = (Device *)object_new(model, m, object_container(&m->obj, id ? "peripheral" : "peripheral-anon"), id,
                               error);
    if (dev && !device_place_and_start(dev, ops, opts, error)) {
        object_free(&dev->obj);
        dev = NULL;
    } else if (dev && !device_may_stay(dev, error)) {
        device_destroy(dev);
        dev = NULL;
    }
    loop_unlock(m->main_loop);
    return dev;
}

/* A device below peripheral or peripheral-anon by path, or below peripheral by id. */
static Device *find_plugged(Machine *m, const char *id_or_path)
{
    Object *peripheral = object_container(&m->obj, "peripheral");
    Object *anon = object_container(&m->obj, "peripheral-anon");
    Object *obj = id_or_path[0] == '/' ? object_resolve(m, id_or_path) : object_child(peripheral, id_or_path);

    return obj && (obj->parent == peripheral || obj->parent == anon) ? (Device *)obj : NULL;
}

static void emit_deleted(Machine *m, const char *id, const char *path)
{
    struct json_object *data = json_object_new_object();

    if (id) {
        json_object_object_add(data, "device", json_object_new_string(id));
    }
    json_object_object_add(data, "path", json_object_new_string(path));
    machine_emit_event(m, "DEVICE_DELETED", data);
}

/* Also those on it: each leaves with an event of its own. */
void machine_device_unplug(Machine *m, Device *dev)
{
    g_autofree char *path = object_path(&dev->obj);
    g_autofree char *id = dev->obj.id[strlen(dev->obj.id) - 1] == ']' ? NULL : g_strdup(dev->obj.id);
    Device *downstream;

    while ((downstream = device_last_downstream(dev))) {
        machine_device_unplug(m, downstream);
    }
    device_destroy(dev);
    emit_deleted(m, id, path);
}

bool machine_device_del(Machine *m, const char *id_or_path, GError **error)
{
    Device *dev = find_plugged(m, id_or_path);
    const DeviceKindOps *ops;

    if (!dev) {
        g_set_error(error, MPQEMU_ERROR, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", id_or_path);
        return false;
    }
    if (!devices_may_change(m, "device_del", error)) {
        return false;
    }
    if (dev->moving) {
        error_set(error, "device_del: the process of '%s' is being replaced; try again when that is over", dev->obj.id);
        return false;
    }
    if (!dev->obj.started) {
        error_set(error, "device_del: '%s' is still being plugged; try again when device_add has answered", dev->obj.id);
        return false;
    }
    ops = machine_kind_ops(m, dev->obj.model->kind);
    if (dev->unplug_pending) {
        error_set(error, "Device '%s' is already in the process of unplug", id_or_path);
        return false;
    }
    if (!check_unused(m, &dev->obj, error) || (ops->can_unplug && !ops->can_unplug(dev, error))) {
        return false;
    }
    if (ops->unplug_request && ops->unplug_request(dev)) {
        dev->unplug_pending = true;
    } else {
        machine_device_unplug(m, dev);
    }
    return true;
}

/* --- objects --- */

Object *machine_object_add(Machine *m, struct json_object *opts, GError **error)
{
    static const char *const skip[] = {"qom-type", "id", NULL};
    const char *id = NULL;
    const Model *model = opts_model(opts, "-object", "qom-type", object_kinds, &id, error);
    Object *obj;

    if (!model) {
        return NULL;
    }
    if (!id) {
        error_set(error, "-object %s: parameter 'id' is missing", model->name);
        return NULL;
    }
    loop_lock(m->main_loop);
    obj = object_new(model, m, object_container(m->root, "objects"), id, error);
    if (obj) {
        const ObjectModel *om = (const ObjectModel *)model;

        obj->started = object_set_all(obj, opts, skip, error) && object_check_required(obj, error) &&
                       (!om->start || om->start(obj, error));
        if (obj->started) {
            machine_track(m, obj);
        } else {
            object_free(obj);
            obj = NULL;
        }
    }
    loop_unlock(m->main_loop);
    return obj;
}

bool machine_object_del(Machine *m, const char *id, GError **error)
{
    Object *obj = object_child(object_container(m->root, "objects"), id);
    const ObjectModel *model;

    if (!obj) {
        error_set(error, "object '%s' not found", id);
        return false;
    }
    model = (const ObjectModel *)obj->model;
    if (!check_unused(m, obj, error) || (model->can_stop && !model->can_stop(obj, error))) {
        return false;
    }
    loop_lock(m->main_loop);
    machine_stop_object(obj);
    object_free(obj);
    loop_unlock(m->main_loop);
    return true;
}

/* --- listings --- */

void machine_print_props(Machine *m, const Model *model)
{
    model_print_props(model);
    prop_print_table(kind_props(m, model));
}

struct json_object *machine_list_props(Machine *m, const Model *model)
{
    struct json_object *list = model_list_props(model);

    prop_list_table(kind_props(m, model), list);
    return list;
}

void machine_each_device(Machine *m, void (*fn)(Device *dev, void *opaque), void *opaque)
{
    GPtrArray *started = machine_tracked(m);

    for (guint i = 0; i < started->len; i++) {
        Object *obj = g_ptr_array_index(started, i);

        if (object_is_device(obj)) {
            fn((Device *)obj, opaque);
        }
    }
}
