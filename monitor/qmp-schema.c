/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * query-qmp-schema: the tables that requests, answers and events are checked against, in the form in which QMP clients look for
 * what a program can do ("client introspection" of the QMP specification).
 */
#include <string.h>

#include "monitor-internal.h"
#include "qmp-commands.h"

#define EMPTY_NAME "q_empty"

static const char *const json_types[] = {
    [QMP_STR] = "string",   [QMP_INT] = "int",       [QMP_NUMBER] = "number",
    [QMP_BOOL] = "boolean", [QMP_OBJECT] = "object", [QMP_ANY] = "value",
};

static void add_str(struct json_object *to, const char *key, const char *text)
{
    json_object_object_add(to, key, json_object_new_string(text));
}

static struct json_object *add_entity(struct json_object *list, const char *name, const char *meta)
{
    struct json_object *entity = json_object_new_object();

    add_str(entity, "name", name);
    add_str(entity, "meta-type", meta);
    json_object_array_add(list, entity);
    return entity;
}

static void describe_enum(struct json_object *list, const QmpType *type)
{
    struct json_object *entity = add_entity(list, type->name, "enum");
    struct json_object *values = json_object_new_array(), *members = json_object_new_array();

    for (const char *const *value = type->values; *value; value++) {
        struct json_object *member = json_object_new_object();

        json_object_array_add(values, json_object_new_string(*value));
        add_str(member, "name", *value);
        json_object_array_add(members, member);
    }
    json_object_object_add(entity, "members", members);
    json_object_object_add(entity, "values", values);
}

static void describe_struct(struct json_object *list, const QmpType *type, const char *name)
{
    struct json_object *entity = add_entity(list, name, "object");
    struct json_object *members = json_object_new_array(), *variants;

    for (const QmpMember *m = type->members; m && m->name; m++) {
        struct json_object *member = json_object_new_object();

        add_str(member, "name", m->name);
        add_str(member, "type", m->type->name);
        if (m->optional) {
            json_object_object_add(member, "default", NULL);
        }
        json_object_array_add(members, member);
    }
    json_object_object_add(entity, "members", members);
    if (!type->tag) {
        return;
    }
    variants = json_object_new_array();
    for (const QmpCase *c = type->cases; c->value; c++) {
        struct json_object *variant = json_object_new_object();

        add_str(variant, "case", c->value);
        add_str(variant, "type", c->type->name);
        json_object_array_add(variants, variant);
    }
    add_str(entity, "tag", type->tag);
    json_object_object_add(entity, "variants", variants);
}

static void describe_type(struct json_object *list, const QmpType *type)
{
    switch (type->meta) {
    case QMP_ENUM:
        describe_enum(list, type);
        break;
    case QMP_STRUCT:
        describe_struct(list, type, type->name);
        break;
    case QMP_ARRAY:
        add_str(add_entity(list, type->name, "array"), "element-type", type->element->name);
        break;
    default:
        add_str(add_entity(list, type->name, "builtin"), "json-type", json_types[type->meta]);
        break;
    }
}

/* A command or an event, and what it takes or tells. */
static struct json_object *describe_sender(struct json_object *list, const char *name, const char *meta, const QmpType *arg)
{
    struct json_object *entity = add_entity(list, name, meta);

    add_str(entity, "arg-type", arg->members || arg->open ? arg->name : EMPTY_NAME);
    if (arg->members || arg->open) {
        describe_struct(list, arg, arg->name);
    }
    if (arg->open) {
        struct json_object *features = json_object_new_array();

        json_object_array_add(features, json_object_new_string("x-open"));
        json_object_object_add(entity, "features", features);
    }
    return entity;
}

struct json_object *qmp_query_qmp_schema(Machine *m, struct json_object *args, GError **error)
{
    static const QmpType empty = {.name = EMPTY_NAME, .meta = QMP_STRUCT};
    struct json_object *list = json_object_new_array();

    for (const QmpCommand *cmd = qmp_commands; cmd->name; cmd++) {
        struct json_object *entity = describe_sender(list, cmd->name, "command", cmd->args);

        add_str(entity, "ret-type", cmd->ret ? cmd->ret->name : EMPTY_NAME);
        json_object_object_add(entity, "allow-oob", json_object_new_boolean(false));
    }
    for (const QmpEvent *event = qmp_events; event->name; event++) {
        describe_sender(list, event->name, "event", event->data);
    }
    describe_type(list, &empty);
    for (size_t i = 0; qmp_types[i]; i++) {
        describe_type(list, qmp_types[i]);
    }
    return list;
}
