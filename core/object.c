/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The object tree and the lookup of models: creation with property defaults,
 * setting and getting properties, paths.
 */
#include <json-c/json.h>
#include <string.h>

#include "core/error.h"
#include "core/internal.h"

static const ObjectModel container_model = {
    .model = {.name = "container",
              .doc = "A node of the tree.",
              .kind = MODEL_OBJECT,
              .size = sizeof(Object),
              .internal = true},
};

/* --- models --- */

const Model *model_find(const char *name, unsigned kinds)
{
    for (const Model *const *m = model_table; *m; m++) {
        if (kinds & (1u << (*m)->kind) &&
            (!strcmp((*m)->name, name) || ((*m)->alias && !strcmp((*m)->alias, name)))) {
            return *m;
        }
    }
    return NULL;
}

#define NAME_MAX_COMPARED 64

/* Edit distance (insert, delete, replace); names longer than the bound are far from everything. */
static unsigned name_distance(const char *a, const char *b)
{
    unsigned row[NAME_MAX_COMPARED + 1];
    size_t la = strlen(a), lb = strlen(b);

    if (la > NAME_MAX_COMPARED || lb > NAME_MAX_COMPARED) {
        return UINT_MAX;
    }
    for (unsigned j = 0; j <= lb; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; i <= la; i++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (unsigned j = 1; j <= lb; j++) {
            unsigned replace = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            row[j] = MIN(replace, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[lb];
}

/* How far a name may be off and still be taken for a slip. */
static unsigned name_slack(const char *name)
{
    size_t len = strlen(name);

    return len < 4 ? 1 : (unsigned)MAX(len / 3, 2);
}

const char *model_nearest(const char *name, unsigned kinds)
{
    const char *best = NULL;
    unsigned limit = name_slack(name);

    for (const Model *const *m = model_table; *m; m++) {
        unsigned distance = name_distance(name, (*m)->name);

        if (kinds & (1u << (*m)->kind) && !(*m)->internal && distance <= limit) {
            best = (*m)->name;
            limit = distance - !!distance;
        }
    }
    return best;
}

/* --- creation --- */

bool object_id_wellformed(const char *id)
{
    return g_ascii_isalpha(*id) && id[strspn(id, "abcdefghijklmnopqrstuvwxyz"
                                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")] == '\0';
}

/* As above, or followed by [n] as the board's own names are. */
static bool object_name_wellformed(const char *id)
{
    const char *bracket = strchr(id, '[');
    g_autofree char *base = bracket ? g_strndup(id, (size_t)(bracket - id)) : g_strdup(id);

    if (bracket) {
        size_t digits = strspn(bracket + 1, "0123456789");

        if (!digits || strcmp(bracket + 1 + digits, "]")) {
            return false;
        }
    }
    return object_id_wellformed(base);
}

const Prop *object_kind_props(const Object *obj)
{
    const DeviceKindOps *ops;

    if (!obj->machine || !object_is_device(obj)) {
        return NULL;
    }
    ops = machine_kind_ops(obj->machine, obj->model->kind);
    return ops ? ops->props : NULL;
}

static void object_apply_defaults(Object *obj, const Prop *p)
{
    for (; p && p->name; p++) {
        if (p->def_str) {
            struct json_object *text = json_object_new_string(p->def_str);
            bool ok = p->type->parse(obj, p, text, NULL);

            json_object_put(text);
            g_assert(ok);
        } else if (p->def) {
            prop_store_uint((uint8_t *)obj + p->offset, p->type->field_size, p->def);
        }
    }
}

static void object_clear_props(Object *obj, const Prop *p)
{
    for (; p && p->name; p++) {
        if (p->type->clear) {
            p->type->clear(obj, p);
        }
    }
}

static Object *object_alloc(const Model *model, Machine *machine, Object *parent, char *id)
{
    Object *obj = g_malloc0(model->size);

    obj->model = model;
    obj->id = id;
    obj->parent = parent;
    obj->children = g_ptr_array_new();
    obj->machine = machine;
    if (parent) {
        g_ptr_array_add(parent->children, obj);
    }
    if (object_is_device(obj)) {
        device_init((Device *)obj);
    }
    object_apply_defaults(obj, object_kind_props(obj));
    object_apply_defaults(obj, model->props);
    return obj;
}

Object *object_new_root(const Model *model)
{
    return object_alloc(model ? model : &container_model.model, NULL, NULL, g_strdup(""));
}

static char *object_free_name(Object *parent)
{
    for (unsigned n = 0;; n++) {
        g_autofree char *name = g_strdup_printf("device[%u]", n);

        if (!object_child(parent, name)) {
            return g_steal_pointer(&name);
        }
    }
}

Object *object_new(const Model *model, Machine *machine, Object *parent, const char *id, GError **error)
{
    Object *obj;

    if (id && !object_name_wellformed(id)) {
        error_set(error,
                  "%s: malformed id ('%s', allowed letters, digits, '-', '.', '_', beginning with a letter)",
                  model->name, id);
        return NULL;
    }
    if (id && object_child(parent, id)) {
        g_autofree char *path = object_path(parent);

        error_set(error, "%s: duplicate id ('%s' exists below %s); choose another", model->name, id, path);
        return NULL;
    }
    obj = object_alloc(model, machine, parent, id ? g_strdup(id) : object_free_name(parent));
    if (!object_apply_globals(obj, error)) {
        object_free(obj);
        return NULL;
    }
    return obj;
}

void object_free(Object *obj)
{
    if (!obj) {
        return;
    }
    g_assert(!obj->started);
    while (obj->children->len) {
        object_free(g_ptr_array_index(obj->children, obj->children->len - 1));
    }
    object_clear_props(obj, obj->model->props);
    object_clear_props(obj, object_kind_props(obj));
    if (object_is_device(obj)) {
        device_finalize((Device *)obj);
    }
    if (obj->parent) {
        g_ptr_array_remove(obj->parent->children, obj);
    }
    g_clear_pointer(&obj->given, g_hash_table_destroy);
    g_ptr_array_free(obj->children, TRUE);
    g_free(obj->id);
    g_free(obj);
}

/* --- properties --- */

static const Prop *prop_table_find(const Prop *p, const char *name)
{
    for (; p && p->name; p++) {
        if (!strcmp(p->name, name)) {
            return p;
        }
    }
    return NULL;
}

const Prop *object_find_prop(const Object *obj, const char *name)
{
    const Prop *p = prop_table_find(obj->model->props, name);

    return p ? p : prop_table_find(object_kind_props(obj), name);
}

static const Prop *object_require_prop(Object *obj, const char *name, GError **error)
{
    const Prop *found = object_find_prop(obj, name);
    const Prop *tables[] = {obj->model->props, object_kind_props(obj)};
    const char *best = NULL;
    unsigned limit = name_slack(name);

    if (found) {
        return found;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
        for (const Prop *p = tables[i]; p && p->name; p++) {
            unsigned distance = name_distance(name, p->name);

            if (distance <= limit) {
                best = p->name;
                limit = distance - !!distance;
            }
        }
    }
    if (best) {
        error_set(error, "Property '%s.%s' not found; did you mean '%s'?", obj->model->name, name, best);
    } else {
        error_set(error, "Property '%s.%s' not found; '%s,help' lists them", obj->model->name, name,
                  obj->model->name);
    }
    return NULL;
}

bool object_set(Object *obj, const char *name, struct json_object *value, GError **error)
{
    const Prop *p = object_require_prop(obj, name, error);

    if (!p) {
        return false;
    }
    if (p->flags & PROP_READONLY || (obj->started && !(p->flags & PROP_RUNTIME))) {
        error_set(error, "%s.%s: %s", obj->model->name, name,
                  p->flags & PROP_READONLY ? "is read-only" : "cannot be set after the object was started");
        return false;
    }
    if (!p->type->parse(obj, p, value, error)) {
        return false;
    }
    if (!obj->given) {
        obj->given = g_hash_table_new(NULL, NULL);
    }
    g_hash_table_add(obj->given, (gpointer)p);
    return true;
}

bool object_set_str(Object *obj, const char *name, const char *value, GError **error)
{
    struct json_object *text = json_object_new_string(value);
    bool ok = object_set(obj, name, text, error);

    json_object_put(text);
    return ok;
}

/* Puts value at the dotted path below `into`, making objects on the way. */
static bool json_nest(struct json_object *into, const char *path, struct json_object *value)
{
    const char *dot = strchr(path, '.');
    g_autofree char *key = dot ? g_strndup(path, (gsize)(dot - path)) : g_strdup(path);
    struct json_object *below;

    if (!dot) {
        json_object_object_add(into, key, json_object_get(value));
        return *key;
    }
    if (!json_object_object_get_ex(into, key, &below)) {
        below = json_object_new_object();
        json_object_object_add(into, key, below);
    }
    return *key && json_object_is_type(below, json_type_object) && json_nest(below, dot + 1, value);
}

/* "socket.path=x" of key=value lists: true when `name` is a member of a structured property. */
static bool object_is_member(Object *obj, const char *name)
{
    const char *dot = strchr(name, '.');
    g_autofree char *first = dot ? g_strndup(name, (gsize)(dot - name)) : NULL;

    return dot && !object_find_prop(obj, name) && object_find_prop(obj, first);
}

static bool object_set_members(Object *obj, struct json_object *nested, GError **error)
{
    json_object_object_foreach(nested, name, value)
    {
        if (!object_set(obj, name, value, error)) {
            return false;
        }
    }
    return true;
}

bool object_set_all(Object *obj, struct json_object *values, const char *const *skip, GError **error)
{
    struct json_object *nested = json_object_new_object();
    bool ok = true;

    json_object_object_foreach(values, name, value)
    {
        if (!ok) {
            break;
        }
        if (skip && g_strv_contains(skip, name)) {
            continue;
        }
        if (!object_is_member(obj, name)) {
            ok = object_set(obj, name, value, error);
        } else if (!json_nest(nested, name, value)) {
            error_set(error, "%s.%s: both a value and a structure", obj->model->name, name);
            ok = false;
        }
    }
    ok = ok && object_set_members(obj, nested, error);
    json_object_put(nested);
    return ok;
}

struct json_object *object_get(Object *obj, const char *name, GError **error)
{
    const Prop *p = object_require_prop(obj, name, error);

    return p ? p->type->format(obj, p) : NULL;
}

bool object_check_required(Object *obj, GError **error)
{
    const Prop *tables[] = {obj->model->props, object_kind_props(obj)};

    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++) {
        for (const Prop *p = tables[i]; p && p->name; p++) {
            if (p->flags & PROP_REQUIRED && !(obj->given && g_hash_table_contains(obj->given, p))) {
                error_set(error, "%s: property '%s' is required; add %s=<%s>", obj->model->name, p->name,
                          p->name, p->type->name);
                return false;
            }
        }
    }
    return true;
}

/* --- the tree --- */

Object *object_child(Object *parent, const char *id)
{
    for (guint i = 0; i < parent->children->len; i++) {
        Object *child = g_ptr_array_index(parent->children, i);

        if (!strcmp(child->id, id)) {
            return child;
        }
    }
    return NULL;
}

Object *object_container(Object *parent, const char *id)
{
    Object *child = object_child(parent, id);

    return child ? child : object_alloc(&container_model.model, parent->machine, parent, g_strdup(id));
}

/* Counts objects with that last component; *found is one of them. */
static unsigned object_search(Object *obj, const char *id, Object **found)
{
    unsigned n = 0;

    if (!strcmp(obj->id, id)) {
        *found = obj;
        n++;
    }
    for (guint i = 0; i < obj->children->len; i++) {
        n += object_search(g_ptr_array_index(obj->children, i), id, found);
    }
    return n;
}

Object *object_resolve(Machine *machine, const char *path)
{
    Object *obj = machine->root;
    g_auto(GStrv) parts = NULL;

    if (path[0] != '/') {
        Object *found = NULL;

        return *path && object_search(machine->root, path, &found) == 1 ? found : NULL;
    }
    parts = g_strsplit(path, "/", -1);
    for (char **part = parts; *part && obj; part++) {
        if (**part) {
            obj = object_child(obj, *part);
        }
    }
    return obj;
}

char *object_path(const Object *obj)
{
    g_autofree char *above = NULL;

    if (!obj->parent) {
        return g_strdup("/");
    }
    if (!obj->parent->parent) {
        return g_strdup_printf("/%s", obj->id);
    }
    above = object_path(obj->parent);
    return g_strdup_printf("%s/%s", above, obj->id);
}
