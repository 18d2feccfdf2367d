/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * query-qmp-schema: the tables of commands, whose argument lists are also what requests are checked against, and the
 * table of events.  The reference page of the build (scripts/gen-docs.py) is made of its answer.
 */
#include <string.h>

#include "monitor-internal.h"

typedef struct QmpEvent {
    const char *name;
    const QmpArg *data; /* members; NULL: none */
    const char *doc;
} QmpEvent;

static const QmpArg vnc_data[] = {{"server", QMP_OBJECT, false}, {"client", QMP_OBJECT, false}, {NULL}};
static const QmpArg deleted_data[] = {{"device", QMP_STR, true}, {"path", QMP_STR, false}, {NULL}};
static const QmpArg cause_data[] = {{"guest", QMP_BOOL, false}, {"reason", QMP_STR, false}, {NULL}};
static const QmpArg panicked_data[] = {{"action", QMP_STR, false}, {"info", QMP_ANY, true}, {NULL}};
static const QmpArg action_data[] = {{"action", QMP_STR, false}, {NULL}};
static const QmpArg status_data[] = {{"status", QMP_STR, false}, {NULL}};
static const QmpArg block_error_data[] = {
    {"device", QMP_STR, false}, {"node-name", QMP_STR, false}, {"operation", QMP_STR, false}, {"action", QMP_STR, false},
    {"nospace", QMP_BOOL, false}, {"reason", QMP_STR, false}, {NULL}};
static const QmpArg disconnect_data[] = {{"device", QMP_STR, false}, {"path", QMP_STR, false}, {"reason", QMP_STR, false}, {NULL}};
static const QmpArg client_data[] = {{"vfu-id", QMP_STR, false}, {"vfu-qom-path", QMP_STR, false}, {"dev-id", QMP_STR, false},
                                     {"dev-qom-path", QMP_STR, false}, {NULL}};

static const QmpArg stream_data[] = {{"netdev-id", QMP_STR, false}, {"addr", QMP_OBJECT, false}, {NULL}};
static const QmpArg stream_gone_data[] = {{"netdev-id", QMP_STR, false}, {NULL}};

static const QmpEvent qmp_events[] = {
    {"BLOCK_IO_ERROR", block_error_data, "A request to a block back end failed; action says what the guest sees of it."},
    {"DEVICE_DELETED", deleted_data, "A device is unplugged and gone."},
    {"GUEST_CRASHLOADED", panicked_data, "The guest loaded its crash kernel; it goes on."},
    {"GUEST_PANICKED", panicked_data, "The guest said so; action: run, pause, poweroff, as -action panic= says."},
    {"MIGRATION", status_data, "A migration entered that state."},
    {"NETDEV_STREAM_CONNECTED", stream_data, "A stream netdev has a peer; addr: the one that called, or where it was reached."},
    {"NETDEV_STREAM_DISCONNECTED", stream_gone_data, "The peer of a stream netdev is gone."},
    {"POWERDOWN", NULL, "The power button was pressed."},
    {"RESET", cause_data, "The machine was reset."},
    {"RESUME", NULL, "The guest runs."},
    {"SHUTDOWN", cause_data, "The guest powered off, or the program ends."},
    {"STOP", NULL, "The guest was stopped."},
    {"VFIO_USER_DISCONNECT", disconnect_data, "The server of a vfio-user-pci device is gone."},
    {"VFU_CLIENT_CONNECT", client_data, "A client attached to a served device."},
    {"VFU_CLIENT_HANGUP", client_data, "The client of a served device is gone."},
    {"VNC_CONNECTED", vnc_data, "A client came to the VNC server."},
    {"VNC_DISCONNECTED", vnc_data, "A client of the VNC server is gone."},
    {"VNC_INITIALIZED", vnc_data, "A client of the VNC server may look and type."},
    {"WATCHDOG", action_data, "The guest's watchdog barked; action as -action watchdog= says."},
};

static const struct {
    const char *name, *json;
} builtin_types[] = {
    [QMP_STR] = {"str", "string"},    [QMP_INT] = {"int", "int"},       [QMP_BOOL] = {"bool", "boolean"},
    [QMP_NUMBER] = {"number", "number"}, [QMP_OBJECT] = {"object", "object"}, [QMP_ARRAY] = {"[any]", "array"},
    [QMP_ANY] = {"any", "value"},
};

static struct json_object *add_entity(struct json_object *list, const char *name, const char *meta)
{
    struct json_object *entity = json_object_new_object();

    json_object_object_add(entity, "name", json_object_new_string(name));
    json_object_object_add(entity, "meta-type", json_object_new_string(meta));
    json_object_array_add(list, entity);
    return entity;
}

/* The type of an argument list: its name, and its entity in the list. */
static char *add_object(struct json_object *list, const char *of, const QmpArg *args)
{
    char *name = args ? g_strdup_printf("q_obj_%s-arg", of) : g_strdup("q_empty");
    struct json_object *members, *entity;

    if (!args) {
        return name;
    }
    members = json_object_new_array();
    for (const QmpArg *arg = args; arg->name; arg++) {
        struct json_object *member = json_object_new_object();

        json_object_object_add(member, "name", json_object_new_string(arg->name));
        json_object_object_add(member, "type", json_object_new_string(builtin_types[arg->type].name));
        if (arg->optional) {
            json_object_object_add(member, "default", NULL);
        }
        json_object_array_add(members, member);
    }
    entity = add_entity(list, name, "object");
    json_object_object_add(entity, "members", members);
    return name;
}

static void add_types(struct json_object *list)
{
    struct json_object *empty = add_entity(list, "q_empty", "object");

    json_object_object_add(empty, "members", json_object_new_array());
    for (size_t i = 0; i < G_N_ELEMENTS(builtin_types); i++) {
        bool array = i == QMP_ARRAY;
        struct json_object *entity = add_entity(list, builtin_types[i].name, array ? "array" : "builtin");

        json_object_object_add(entity, array ? "element-type" : "json-type",
                               json_object_new_string(array ? "any" : builtin_types[i].json));
    }
}

static struct json_object *qmp_query_schema(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list = json_object_new_array();

    for (size_t t = 0; qmp_tables[t]; t++) {
        for (const QmpCommand *cmd = qmp_tables[t]; cmd->name; cmd++) {
            g_autofree char *type = add_object(list, cmd->name, cmd->args);
            struct json_object *entity = add_entity(list, cmd->name, "command");

            json_object_object_add(entity, "arg-type", json_object_new_string(type));
            json_object_object_add(entity, "ret-type", json_object_new_string("any"));
            json_object_object_add(entity, "allow-oob", json_object_new_boolean(false));
            json_object_object_add(entity, "x-open", json_object_new_boolean(cmd->args_open));
            json_object_object_add(entity, "x-doc", json_object_new_string(cmd->doc ? cmd->doc : ""));
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(qmp_events); i++) {
        g_autofree char *type = add_object(list, qmp_events[i].name, qmp_events[i].data);
        struct json_object *entity = add_entity(list, qmp_events[i].name, "event");

        json_object_object_add(entity, "arg-type", json_object_new_string(type));
        json_object_object_add(entity, "x-doc", json_object_new_string(qmp_events[i].doc));
    }
    add_types(list);
    return list;
}

const QmpCommand qmp_schema_table[] = {
    {.name = "query-qmp-schema", .run = qmp_query_schema, .doc = "What commands and events there are, and what they take."},
    {.name = NULL},
};
