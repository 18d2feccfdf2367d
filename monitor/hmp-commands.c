/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands of the human monitor that act; those that only show are in hmp-info.c. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "monitor-internal.h"

/* One `x` prints at most that many values. */
#define HMP_DUMP_MAX 65536

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
    if (opts && qmp_check_args(cmd, opts, &error)) {
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

/* --- memory --- */

typedef struct HmpDumpFormat {
    unsigned count, size; /* values, bytes of each */
    char base;            /* x, d, u */
} HmpDumpFormat;

/* "/4xw": count, base and size (b, h, w, g) in any order but for the count. */
static bool hmp_parse_format(const char **args, HmpDumpFormat *format, GString *out)
{
    const char *p = *args;

    *format = (HmpDumpFormat){.count = 1, .size = 4, .base = 'x'};
    if (*p != '/') {
        return true;
    }
    p++;
    if (g_ascii_isdigit(*p)) {
        char *end;
        unsigned long count = strtoul(p, &end, 10);

        if (count == 0 || count > HMP_DUMP_MAX) {
            g_string_append_printf(out, "count is out of range (allowed 1..%d)\n", HMP_DUMP_MAX);
            return false;
        }
        format->count = (unsigned)count;
        p = end;
    }
    for (; *p && *p != ' '; p++) {
        const char *size = strchr("bhwg", *p);

        if (size) {
            format->size = 1u << (size - "bhwg");
        } else if (strchr("xdu", *p)) {
            format->base = *p;
        } else {
            g_string_append_printf(out, "unknown format letter '%c' (allowed x d u, b h w g)\n", *p);
            return false;
        }
    }
    *args = p + strspn(p, " ");
    return true;
}

static void hmp_print_value(const HmpDumpFormat *format, uint64_t val, GString *out)
{
    unsigned bits = 8 * format->size;

    if (format->base == 'x') {
        g_string_append_printf(out, " 0x%0*" PRIx64, (int)(2 * format->size), val);
    } else if (format->base == 'u') {
        g_string_append_printf(out, " %" PRIu64, val);
    } else {
        g_string_append_printf(out, " %" PRId64, (int64_t)(val << (64 - bits)) >> (64 - bits));
    }
}

/* False: args are not what it takes, and out says so. */
static bool hmp_parse_xp(const char *args, HmpDumpFormat *format, uint64_t *addr, GString *out)
{
    char *end;

    if (!hmp_parse_format(&args, format, out)) {
        return false;
    }
    *addr = strtoull(args, &end, 0);
    if (end == args || *end) {
        g_string_append_printf(out, "'%s' is not an address; usage: xp /4xw 0x1000\n", args);
        return false;
    }
    return true;
}

static void hmp_dump(Machine *m, HmpDumpFormat format, uint64_t addr, GString *out)
{
    for (unsigned i = 0; i < format.count; i++, addr += format.size) {
        uint8_t bytes[8] = {0};
        uint64_t val = 0;

        if (i % (16 / format.size) == 0) {
            g_string_append_printf(out, "%s%016" PRIx64 ":", i ? "\n" : "", addr);
        }
        as_read(m->memory, addr, bytes, format.size, MEM_ATTRS_CPU);
        for (unsigned b = 0; b < format.size; b++) {
            val |= (uint64_t)bytes[b] << (8 * b);
        }
        hmp_print_value(&format, val, out);
    }
    g_string_append_c(out, '\n');
}

static void hmp_xp(Machine *m, const char *args, GString *out)
{
    HmpDumpFormat format;
    uint64_t addr;

    if (hmp_parse_xp(args, &format, &addr, out)) {
        hmp_dump(m, format, addr, out);
    }
}

/* Registers of a device in another process may be there. */
typedef struct HmpDump {
    HmpDumpFormat format;
    uint64_t addr;
    GString *out;
    MonitorReply *reply;
} HmpDump;

static void hmp_dump_run(Machine *m, void *opaque, GError **error)
{
    HmpDump *dump = opaque;

    hmp_dump(m, dump->format, dump->addr, dump->out);
}

static void hmp_dump_free(HmpDump *dump)
{
    g_string_free(dump->out, TRUE);
    g_free(dump);
}

static void hmp_dump_done(void *opaque, GError *error)
{
    HmpDump *dump = opaque;

    dump->reply->send(dump->reply, json_object_new_string(dump->out->str), NULL);
    hmp_dump_free(dump);
}

static bool hmp_xp_later(Machine *m, const char *args, MonitorReply *reply, GString *out)
{
    HmpDumpFormat format;
    HmpDump *dump;
    uint64_t addr;

    if (!hmp_parse_xp(args, &format, &addr, out)) {
        return true;
    }
    dump = g_new0(HmpDump, 1);
    *dump = (HmpDump){format, addr, g_string_new(NULL), reply};
    if (machine_run_later(m, &(MachineWork){hmp_dump_run, hmp_dump_done, dump}, MONITOR_PATIENCE_MS, NULL)) {
        g_string_append(out, dump->out->str);
        hmp_dump_free(dump);
        return true;
    }
    return false;
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
    {"xp", "/fmt address", "guest-physical memory; /fmt as in /4xw: count, x d u, b h w g", hmp_xp, hmp_xp_later},
    {NULL, NULL, NULL, NULL},
};
