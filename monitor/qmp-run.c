/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding a QMP command in the build's tables, running it, the last look at what goes out. */
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "monitor-internal.h"

static const char *const qmp_error_classes[] = {
    [ERR_GENERIC] = "GenericError",
    [ERR_COMMAND_NOT_FOUND] = "CommandNotFound",
    [ERR_DEVICE_NOT_FOUND] = "DeviceNotFound",
    [ERR_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
};

struct json_object *qmp_error_json(const GError *error)
{
    struct json_object *json = json_object_new_object();
    bool ours = error->domain == MPQEMU_ERROR && (size_t)error->code < G_N_ELEMENTS(qmp_error_classes);

    json_object_object_add(json, "class",
                           json_object_new_string(qmp_error_classes[ours ? error->code : ERR_GENERIC]));
    json_object_object_add(json, "desc", json_object_new_string(error->message));
    return json;
}

const QmpCommand *qmp_find(const char *name)
{
    for (const QmpCommand *cmd = qmp_commands; cmd->name; cmd++) {
        if (strcmp(cmd->name, name) == 0) {
            return cmd;
        }
    }
    return NULL;
}

bool qmp_result_check(const QmpCommand *cmd, struct json_object *result, GError **error)
{
    static const QmpType empty = {.name = "q_empty", .meta = QMP_STRUCT};

    if (qmp_type_check(cmd->ret ? cmd->ret : &empty, result, "return", error)) {
        return true;
    }
    g_prefix_error(error, "%s: what it returns is not as the schema says, which is a bug of this program: ", cmd->name);
    return false;
}

bool qmp_event_check(const char *name, struct json_object *data, GError **error)
{
    struct json_object *given = data ? json_object_get(data) : json_object_new_object();
    const QmpEvent *event = qmp_events;
    bool ok = false;

    while (event->name && strcmp(event->name, name) != 0) {
        event++;
    }
    if (event->name) {
        ok = qmp_type_check(event->data, given, "data", error);
    } else {
        error_set(error, "there is no such event");
    }
    json_object_put(given);
    if (!ok) {
        g_prefix_error(error, "event %s: it is not as the schema says, which is a bug of this program: ", name);
    }
    return ok;
}

struct json_object *qmp_run_command(Machine *machine, const QmpCommand *cmd, struct json_object *args, int fd,
                                    GError **error)
{
    struct json_object *given = args ? json_object_get(args) : json_object_new_object();
    struct json_object *result = NULL;
    GError *failure = NULL;

    if (qmp_type_check(cmd->args, given, NULL, &failure)) {
        result = cmd->run_fd ? cmd->run_fd(machine, given, fd, &failure) : cmd->run(machine, given, &failure);
        if (!result && !failure) {
            result = json_object_new_object();
        }
    } else if (fd >= 0) {
        close(fd);
    }
    json_object_put(given);
    if (failure) {
        g_propagate_error(error, failure);
    }
    return result;
}

struct json_object *qmp_run(Machine *machine, const char *name, struct json_object *args, GError **error)
{
    const QmpCommand *cmd = qmp_find(name);

    if (!cmd) {
        g_set_error(error, MPQEMU_ERROR, ERR_COMMAND_NOT_FOUND, "The command %s has not been found", name);
        return NULL;
    }
    return qmp_run_command(machine, cmd, args, -1, error);
}
