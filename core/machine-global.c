/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -global: defaults of properties, for every object of a model that is made after. */
#include <json-c/json.h>
#include <string.h>

#include "core/error.h"
#include "core/internal.h"

static const unsigned global_kinds = 1u << MODEL_OBJECT | 1u << MODEL_DEVICE | 1u << MODEL_PCI;

typedef struct Global {
    const Model *model;
    struct json_object *values; /* one member: the property */
} Global;

void machine_global_free(void *global)
{
    Global *g = global;

    json_object_put(g->values);
    g_free(g);
}

static bool table_has(const Prop *p, const char *name, size_t len)
{
    for (; p && p->name; p++) {
        if (strlen(p->name) == len && !strncmp(p->name, name, len)) {
            return true;
        }
    }
    return false;
}

/* "socket.path" is a part of the property "socket". */
static bool model_has_prop(Machine *m, const Model *model, const char *name)
{
    const DeviceKindOps *ops = model->kind == MODEL_OBJECT ? NULL : machine_kind_ops(m, model->kind);
    size_t whole = strlen(name), first = strcspn(name, ".");

    return table_has(model->props, name, whole) || table_has(model->props, name, first) ||
           table_has(ops ? ops->props : NULL, name, whole);
}

bool machine_add_global(Machine *m, const char *driver, const char *prop, struct json_object *value, GError **error)
{
    const Model *model = model_find(driver, global_kinds);
    const char *near = model_nearest(driver, global_kinds);
    Global *g;

    if (!model && near) {
        error_set(error, "no such driver ('%s'); did you mean '%s'?", driver, near);
        return false;
    }
    if (!model) {
        error_set(error, "no such driver ('%s'); -device help and -object help list them", driver);
        return false;
    }
    if (!model_has_prop(m, model, prop)) {
        error_set(error, "%s has no property '%s'; -device %s,help lists them", model->name, prop, model->name);
        return false;
    }
    g = g_new0(Global, 1);
    g->model = model;
    g->values = json_object_new_object();
    json_object_object_add(g->values, prop, json_object_get(value));
    g_ptr_array_add(machine_globals(m), g);
    return true;
}

bool object_apply_globals(Object *obj, GError **error)
{
    GPtrArray *globals = obj->machine ? machine_globals(obj->machine) : NULL;

    for (guint i = 0; globals && i < globals->len; i++) {
        Global *g = g_ptr_array_index(globals, i);

        if (g->model == obj->model && !object_set_all(obj, g->values, NULL, error)) {
            g_prefix_error(error, "-global ");
            return false;
        }
    }
    return true;
}
