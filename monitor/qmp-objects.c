/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP commands about objects and devices: the tree as qom-* shows it, plugging and unplugging. */
#include "core/error.h"
#include "monitor-internal.h"
#include "qmp-commands.h"

/* What a model is a kind of, where a client asks for the type above. */
static const char *const qmp_kind_names[] = {
    [MODEL_OBJECT] = "object",
    [MODEL_DEVICE] = "device",
    [MODEL_PCI] = "pci-device",
    [MODEL_MACHINE] = "machine",
};

static Object *qmp_resolve(Machine *m, const char *path, GError **error)
{
    Object *obj = object_resolve(m, path);

    if (!obj) {
        g_set_error(error, MPQEMU_ERROR, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", path);
    }
    return obj;
}

static void qmp_list_entry(struct json_object *list, const char *name, char *type)
{
    struct json_object *entry = json_object_new_object();

    json_object_object_add(entry, "name", json_object_new_string(name));
    json_object_object_add(entry, "type", json_object_new_string(type));
    json_object_array_add(list, entry);
    g_free(type);
}

struct json_object *qmp_qom_list(Machine *m, struct json_object *args, GError **error)
{
    Object *obj = qmp_resolve(m, json_member_str(args, "path"), error);
    const DeviceKindOps *kind;
    struct json_object *list;

    if (!obj) {
        return NULL;
    }
    list = json_object_new_array();
    qmp_list_entry(list, "type", g_strdup("string"));
    for (const Prop *p = obj->model->props; p && p->name; p++) {
        qmp_list_entry(list, p->name, g_strdup(p->type->name));
    }
    kind = machine_kind_ops(m, obj->model->kind);
    for (const Prop *p = kind ? kind->props : NULL; p && p->name; p++) {
        qmp_list_entry(list, p->name, g_strdup(p->type->name));
    }
    for (guint i = 0; i < obj->children->len; i++) {
        Object *child = g_ptr_array_index(obj->children, i);

        qmp_list_entry(list, child->id, g_strdup_printf("child<%s>", child->model->name));
    }
    return list;
}

struct json_object *qmp_qom_get(Machine *m, struct json_object *args, GError **error)
{
    Object *obj = qmp_resolve(m, json_member_str(args, "path"), error);
    const char *name = json_member_str(args, "property");

    if (!obj) {
        return NULL;
    }
    if (g_str_equal(name, "type")) {
        return json_object_new_string(obj->model->name);
    }
    return object_get(obj, name, error);
}

struct json_object *qmp_qom_set(Machine *m, struct json_object *args, GError **error)
{
    Object *obj = qmp_resolve(m, json_member_str(args, "path"), error);
    struct json_object *value = NULL;

    json_object_object_get_ex(args, "value", &value);
    if (obj) {
        object_set(obj, json_member_str(args, "property"), value, error);
    }
    return NULL;
}

struct json_object *qmp_qom_list_types(Machine *m, struct json_object *args, GError **error)
{
    const char *implements = json_member_str(args, "implements");
    struct json_object *list = json_object_new_array();

    for (const Model *const *p = model_table; *p; p++) {
        const char *parent = qmp_kind_names[(*p)->kind];
        bool wanted = !implements || g_str_equal(implements, "object") || g_str_equal(implements, parent) ||
                      g_str_equal(implements, (*p)->name) ||
                      (g_str_equal(implements, "device") && (*p)->kind == MODEL_PCI);
        struct json_object *entry;

        if (!wanted) {
            continue;
        }
        entry = json_object_new_object();
        json_object_object_add(entry, "name", json_object_new_string((*p)->name));
        json_object_object_add(entry, "parent", json_object_new_string(parent));
        json_object_array_add(list, entry);
    }
    return list;
}

/* `help` of a model of one of the kinds. */
static struct json_object *qmp_list_props(Machine *m, const char *name, unsigned kinds, GError **error)
{
    const Model *model = model_find(name, kinds);

    if (!model) {
        g_set_error(error, MPQEMU_ERROR, ERR_DEVICE_NOT_FOUND, "Device '%s' not found", name);
        return NULL;
    }
    return machine_list_props(m, model);
}

struct json_object *qmp_device_list_properties(Machine *m, struct json_object *args, GError **error)
{
    return qmp_list_props(m, json_member_str(args, "typename"), 1u << MODEL_DEVICE | 1u << MODEL_PCI, error);
}

struct json_object *qmp_qom_list_properties(Machine *m, struct json_object *args, GError **error)
{
    return qmp_list_props(m, json_member_str(args, "typename"), UINT32_MAX, error);
}

struct json_object *qmp_device_add(Machine *m, struct json_object *args, GError **error)
{
    machine_device_add(m, args, error);
    return NULL;
}

/* --- device_add of a model whose start waits --- */

typedef struct DeviceAdd {
    struct json_object *opts;
    MonitorReply *reply;
} DeviceAdd;

static void device_add_free(DeviceAdd *add)
{
    json_object_put(add->opts);
    g_free(add);
}

static void device_add_run(Machine *m, void *opaque, GError **error)
{
    machine_device_add(m, ((DeviceAdd *)opaque)->opts, error);
}

static void device_add_done(void *opaque, GError *error)
{
    DeviceAdd *add = opaque;

    add->reply->send(add->reply, NULL, error);
    device_add_free(add);
}

bool qmp_device_add_later(Machine *m, struct json_object *args, MonitorReply *reply, struct json_object **result,
                                 GError **error)
{
    const Model *model = model_find(json_member_str(args, "driver"), 1u << MODEL_DEVICE | 1u << MODEL_PCI);
    DeviceAdd *add;

    if (!model || !model->start_waits) {
        machine_device_add(m, args, error);
        return true;
    }
    add = g_new0(DeviceAdd, 1);
    add->reply = reply;
    json_object_deep_copy(args, &add->opts, NULL); /* references are not counted across threads */
    if (machine_run_later(m, &(MachineWork){device_add_run, device_add_done, add}, MONITOR_PATIENCE_MS, error)) {
        device_add_free(add);
        return true;
    }
    return false;
}

struct json_object *qmp_device_del(Machine *m, struct json_object *args, GError **error)
{
    machine_device_del(m, json_member_str(args, "id"), error);
    return NULL;
}

struct json_object *qmp_object_add(Machine *m, struct json_object *args, GError **error)
{
    machine_object_add(m, args, error);
    return NULL;
}

struct json_object *qmp_object_del(Machine *m, struct json_object *args, GError **error)
{
    machine_object_del(m, json_member_str(args, "id"), error);
    return NULL;
}
