/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands of the human monitor that act; those that only show are in hmp-info.c. */
#include <string.h>

#include "core/error.h"
#include "monitor-internal.h"

static void hmp_help(Machine *m, const char *args, GString *out)
{
    for (size_t t = 0; hmp_tables[t]; t++) {
        for (const HmpCommand *cmd = hmp_tables[t]; cmd->name; cmd++) {
            if (*args && !g_str_has_prefix(cmd->name, args)) {
                continue;
            }
            g_string_append_printf(out, "%s%s%s -- %s\n", cmd->name, cmd->args && *cmd->args ? " " : "",
                                   cmd->args ? cmd->args : "", cmd->doc);
        }
    }
}

/* Runs a QMP command that has no result worth showing.  args: consumed. */
static void hmp_qmp(Machine *m, const char *name, struct json_object *args, GString *out)
{
    GError *error = NULL;
    struct json_object *result = qmp_run(m, name, args, &error);

    json_object_put(args);
    json_object_put(result);
    if (error) {
        hmp_error(out, error);
    }
}

static void hmp_quit(Machine *m, const char *args, GString *out)
{
    hmp_qmp(m, "quit", NULL, out);
}

static void hmp_stop(Machine *m, const char *args, GString *out)
{
    hmp_qmp(m, "stop", NULL, out);
}

static void hmp_cont(Machine *m, const char *args, GString *out)
{
    hmp_qmp(m, "cont", NULL, out);
}

static void hmp_system_reset(Machine *m, const char *args, GString *out)
{
    hmp_qmp(m, "system_reset", NULL, out);
}

static void hmp_system_powerdown(Machine *m, const char *args, GString *out)
{
    hmp_qmp(m, "system_powerdown", NULL, out);
}

/* A command that takes option text as -device and -object do. */
static void hmp_add(Machine *m, const char *name, const char *args, const char *implied, GString *out)
{
    GError *error = NULL;
    struct json_object *opts = opts_parse(name, args, implied, &error);

    if (opts) {
        hmp_qmp(m, name, opts, out);
    } else {
        hmp_error(out, error);
    }
}

static void hmp_device_add(Machine *m, const char *args, GString *out)
{
    hmp_add(m, "device_add", args, "driver", out);
}

/* The result of a command that is over later, as text. */
typedef struct HmpText {
    MonitorReply reply;
    MonitorReply *outer;
} HmpText;

static void hmp_text_send(MonitorReply *later, struct json_object *result, GError *error)
{
    HmpText *text = (HmpText *)later;
    g_autoptr(GString) out = g_string_new(NULL);

    if (error) {
        hmp_error(out, error);
    }
    json_object_put(result);
    text->outer->send(text->outer, json_object_new_string(out->str), NULL);
    g_free(text);
}

static bool hmp_device_add_later(Machine *m, const char *args, MonitorReply *reply, GString *out)
{
    GError *error = NULL;
    struct json_object *opts = opts_parse("device_add", args, "driver", &error), *result = NULL;
    const QmpCommand *cmd = qmp_find("device_add");
    HmpText *text = g_new0(HmpText, 1);
    bool over = true;

    *text = (HmpText){{hmp_text_send}, reply};
    if (opts && qmp_type_check(cmd->args, opts, NULL, &error)) {
        over = cmd->later(m, opts, &text->reply, &result, &error);
    }
    json_object_put(opts);
    json_object_put(result);
    if (error) {
        hmp_error(out, error);
    }
    if (over) {
        g_free(text);
    }
    return over;
}

static void hmp_object_add(Machine *m, const char *args, GString *out)
{
    hmp_add(m, "object-add", args, "qom-type", out);
}

static void hmp_with_id(Machine *m, const char *name, const char *id, GString *out)
{
    struct json_object *args = json_object_new_object();

    json_object_object_add(args, "id", json_object_new_string(id));
    hmp_qmp(m, name, args, out);
}

static void hmp_device_del(Machine *m, const char *args, GString *out)
{
    hmp_with_id(m, "device_del", args, out);
}

static void hmp_object_del(Machine *m, const char *args, GString *out)
{
    hmp_with_id(m, "object-del", args, out);
}

static void hmp_nmi(Machine *m, const char *args, GString *out)
{
    hmp_qmp(m, "inject-nmi", NULL, out);
}

/* --- properties --- */

static void hmp_qom_list(Machine *m, const char *args, GString *out)
{
    struct json_object *opts = json_object_new_object(), *list;
    GError *error = NULL;

    json_object_object_add(opts, "path", json_object_new_string(*args ? args : "/"));
    list = qmp_run(m, "qom-list", opts, &error);
    json_object_put(opts);
    if (!list) {
        hmp_error(out, error);
        return;
    }
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *entry = json_object_array_get_idx(list, i);

        g_string_append_printf(out, "%s (%s)\n", json_member_str(entry, "name"),
                               json_member_str(entry, "type"));
    }
    json_object_put(list);
}

static void hmp_qom_get(Machine *m, const char *args, GString *out)
{
    g_auto(GStrv) words = g_strsplit(args, " ", 2);
    struct json_object *opts, *value;
    GError *error = NULL;

    if (g_strv_length(words) != 2) {
        g_string_append(out, "usage: qom-get path property\n");
        return;
    }
    opts = json_object_new_object();
    json_object_object_add(opts, "path", json_object_new_string(words[0]));
    json_object_object_add(opts, "property", json_object_new_string(words[1]));
    value = qmp_run(m, "qom-get", opts, &error);
    json_object_put(opts);
    if (!value) {
        hmp_error(out, error);
        return;
    }
    g_string_append_printf(out, "%s\n",
                           json_object_to_json_string_ext(value, JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(value);
}

static void hmp_qom_set(Machine *m, const char *args, GString *out)
{
    g_auto(GStrv) words = g_strsplit(args, " ", 3);
    struct json_object *opts;

    if (g_strv_length(words) != 3) {
        g_string_append(out, "usage: qom-set path property value\n");
        return;
    }
    opts = json_object_new_object();
    json_object_object_add(opts, "path", json_object_new_string(words[0]));
    json_object_object_add(opts, "property", json_object_new_string(words[1]));
    json_object_object_add(opts, "value", json_object_new_string(words[2]));
    hmp_qmp(m, "qom-set", opts, out);
}

const HmpCommand hmp_command_table[] = {
    {"help|?", "[command]", "this list", hmp_help},
    {"quit|q", "", "end the program", hmp_quit},
    {"stop|s", "", "stop the guest", hmp_stop},
    {"cont|c", "", "let the guest go on", hmp_cont},
    {"system_reset", "", "reset the machine", hmp_system_reset},
    {"system_powerdown", "", "press the power button", hmp_system_powerdown},
    {"device_add", "driver[,prop=value][,...]", "plug a device", hmp_device_add, hmp_device_add_later},
    {"device_del", "id", "unplug a device", hmp_device_del},
    {"object_add", "type,id=name[,prop=value][,...]", "make an object", hmp_object_add},
    {"object_del", "id", "remove an object", hmp_object_del},
    {"qom-list", "[path]", "properties and children of an object", hmp_qom_list},
    {"qom-get", "path property", "value of a property", hmp_qom_get},
    {"qom-set", "path property value", "set a property", hmp_qom_set},
    {"nmi", "", "a non-maskable interrupt for every CPU", hmp_nmi},
    {NULL, NULL, NULL, NULL},
};
