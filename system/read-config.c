/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -readconfig: a file of sections `[option "id"]` with lines `key = "value"` and comments that begin with #.  Each
 * section is the option of that name, as if it stood on the command line.
 */
#include <string.h>

#include "cmdline.h"
#include "core/error.h"

#define CONFIG_MAX_SIZE ((gsize)1 << 20)

typedef struct ConfigSection {
    const char *name;   /* in the file */
    const char *option; /* on the command line */
    bool id;            /* takes id= */
} ConfigSection;

static const ConfigSection config_sections[] = {
    {"accel", "accel", false},   {"action", "action", false}, {"boot-opts", "boot", false}, {"chardev", "chardev", true},
    {"device", "device", true},  {"drive", "drive", true},    {"fw_cfg", "fw_cfg", false},  {"global", "global", false},
    {"icount", "icount", false}, {"machine", "machine", false}, {"memory", "m", false},     {"mon", "mon", false},
    {"msg", "msg", false},       {"name", "name", false},     {"netdev", "netdev", true},   {"numa", "numa", false},    {"object", "object", true},
    {"rtc", "rtc", false},       {"smp-opts", "smp", false},
};

typedef struct ConfigReader {
    Cmdline *c;
    const char *path;
    unsigned line;
    const ConfigSection *section; /* NULL: before the first */
    unsigned section_line;
    GString *text;                /* of the option, so far */
} ConfigReader;

static void config_error(const ConfigReader *r, unsigned line, GError **error, char *what)
{
    error_set(error, "-readconfig %s: line %u: %s", r->path, line, what);
    g_free(what);
}

static void config_append(ConfigReader *r, const char *key, const char *value)
{
    g_string_append_printf(r->text, "%s%s=", r->text->len ? "," : "", key);
    for (; *value; value++) {
        g_string_append_c(r->text, *value);
        if (*value == ',') {
            g_string_append_c(r->text, ',');
        }
    }
}

/* The section that ends here takes effect. */
static bool config_finish(ConfigReader *r, GError **error)
{
    GError *failure = NULL;

    if (!r->section) {
        return true;
    }
    if (!r->text->len) {
        config_error(r, r->section_line, error, g_strdup_printf("section [%s] is empty", r->section->name));
        return false;
    }
    if (!cmdline_apply(r->c, r->section->option, r->text->str, &failure)) {
        config_error(r, r->section_line, error, g_strdup(failure->message));
        g_error_free(failure);
        return false;
    }
    return true;
}

static bool config_begin(ConfigReader *r, char *line, GError **error)
{
    char *end = strchr(line, ']'), *quote = strchr(line, '"'), *close = quote ? strchr(quote + 1, '"') : NULL;
    g_autofree char *name = NULL;

    if (!end || end[1] || (quote && (!close || close[1] != ']'))) {
        config_error(r, r->line, error, g_strdup("a section is [NAME] or [NAME \"ID\"]"));
        return false;
    }
    if (!config_finish(r, error)) {
        return false;
    }
    name = g_strstrip(g_strndup(line + 1, (gsize)((quote ? quote : end) - line - 1)));
    r->section = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(config_sections); i++) {
        if (!strcmp(config_sections[i].name, name)) {
            r->section = &config_sections[i];
        }
    }
    if (!r->section) {
        config_error(r, r->line, error, g_strdup_printf("there is no section '%s'", name));
        return false;
    }
    r->section_line = r->line;
    g_string_truncate(r->text, 0);
    if (quote && r->section->id) {
        *close = '\0';
        config_append(r, "id", quote + 1);
    }
    return true;
}

static bool config_key(ConfigReader *r, char *line, GError **error)
{
    char *eq = strchr(line, '='), *value = eq ? g_strstrip(eq + 1) : NULL;
    size_t len = value ? strlen(value) : 0;

    if (!eq || len < 2 || value[0] != '"' || value[len - 1] != '"' || memchr(value + 1, '"', len - 2)) {
        config_error(r, r->line, error, g_strdup("expected KEY = \"VALUE\""));
        return false;
    }
    *eq = '\0';
    value[len - 1] = '\0';
    g_strchomp(line);
    if (!*line || strpbrk(line, " \t,") || !r->section) {
        config_error(r, r->line, error, g_strdup(r->section ? "expected KEY = \"VALUE\"" : "no section yet"));
        return false;
    }
    config_append(r, line, value + 1);
    return true;
}

bool option_readconfig(Cmdline *c, const char *option, const char *arg, GError **error)
{
    g_autofree char *contents = NULL;
    g_autoptr(GString) text = g_string_new(NULL);
    ConfigReader r = {.c = c, .path = arg, .text = text};
    gsize size;
    bool ok = true;

    if (!g_file_get_contents(arg, &contents, &size, error)) {
        g_prefix_error(error, "-readconfig %s: ", arg);
        return false;
    }
    if (size > CONFIG_MAX_SIZE || memchr(contents, 0, size)) {
        error_set(error, "-readconfig %s: not a text file of up to %zu bytes", arg, (size_t)CONFIG_MAX_SIZE);
        return false;
    }
    for (char *at = contents, *next; ok && at; at = next) {
        next = strchr(at, '\n');
        if (next) {
            *next++ = '\0';
        }
        r.line++;
        at = g_strstrip(at);
        if (*at && *at != '#') {
            ok = *at == '[' ? config_begin(&r, at, error) : config_key(&r, at, error);
        }
    }
    return ok && config_finish(&r, error);
}
