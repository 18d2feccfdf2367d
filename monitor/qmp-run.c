/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding a QMP command in the build's tables, checking its arguments, running it. */
#include <string.h>

#include "core/error.h"
#include "monitor-internal.h"

static const struct {
    const char *name;
    enum json_type json;
} qmp_arg_types[] = {
    [QMP_STR] = {"string", json_type_string},    [QMP_INT] = {"integer", json_type_int},
    [QMP_BOOL] = {"boolean", json_type_boolean}, [QMP_NUMBER] = {"number", json_type_double},
    [QMP_OBJECT] = {"object", json_type_object}, [QMP_ARRAY] = {"array", json_type_array},
    [QMP_ANY] = {"any", json_type_null},
};

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
    for (size_t t = 0; qmp_tables[t]; t++) {
        for (const QmpCommand *cmd = qmp_tables[t]; cmd->name; cmd++) {
            if (strcmp(cmd->name, name) == 0) {
                return cmd;
            }
        }
    }
    return NULL;
}

static bool qmp_type_matches(QmpArgType type, struct json_object *value)
{
    if (type == QMP_ANY) {
        return true;
    }
    if (type == QMP_NUMBER && json_object_is_type(value, json_type_int)) {
        return true;
    }
    return json_object_is_type(value, qmp_arg_types[type].json);
}

static const QmpArg *qmp_arg_find(const QmpCommand *cmd, const char *name)
{
    for (const QmpArg *arg = cmd->args; arg && arg->name; arg++) {
        if (strcmp(arg->name, name) == 0) {
            return arg;
        }
    }
    return NULL;
}

bool qmp_check_args(const QmpCommand *cmd, struct json_object *args, GError **error)
{
    for (const QmpArg *arg = cmd->args; arg && arg->name; arg++) {
        struct json_object *value;

        if (!json_object_object_get_ex(args, arg->name, &value)) {
            if (arg->optional) {
                continue;
            }
            error_set(error, "Parameter '%s' is missing", arg->name);
            return false;
        }
        if (!qmp_type_matches(arg->type, value)) {
            error_set(error, "Invalid parameter type for '%s', expected: %s", arg->name,
                      qmp_arg_types[arg->type].name);
            return false;
        }
    }
    json_object_object_foreach(args, key, value)
    {
        (void)value;
        if (!cmd->args_open && !qmp_arg_find(cmd, key)) {
            error_set(error, "Parameter '%s' is unexpected", key);
            return false;
        }
    }
    return true;
}

struct json_object *qmp_run_command(Machine *machine, const QmpCommand *cmd, struct json_object *args,
                                    GError **error)
{
    struct json_object *given = args ? json_object_get(args) : json_object_new_object();
    struct json_object *result = NULL;
    GError *failure = NULL;

    if (qmp_check_args(cmd, given, &failure)) {
        result = cmd->run(machine, given, &failure);
        if (!result && !failure) {
            result = json_object_new_object();
        }
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
    return qmp_run_command(machine, cmd, args, error);
}
