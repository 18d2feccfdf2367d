/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Log items (-d) and trace events (-trace); one line a call, to stderr or -D's file. */
#include "core/trace.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"

unsigned log_mask;

/* Set once while the command line is read, before there are other threads; NULL is stderr. */
static FILE *log_file;

static const struct {
    const char *name, *doc;
    LogItem item;
} log_items[] = {
    {"guest_errors", "what the guest did against a device's specification", LOG_GUEST_ERROR},
    {"unimp", "use of something that is not implemented", LOG_UNIMP},
    {"cpu_reset", "CPU state at each reset", LOG_CPU_RESET},
    {"int", "interrupts and exceptions as the software CPU delivers them", LOG_INT},
};

static void log_write(const char *prefix, const char *fmt, va_list args)
{
    g_autofree char *body = g_strdup_vprintf(fmt, args);
    size_t len = strlen(body);
    g_autofree char *line = g_strdup_printf("%s%s%s", prefix, body, len && body[len - 1] == '\n' ? "" : "\n");
    FILE *out = log_file ? log_file : stderr;

    fwrite(line, 1, strlen(line), out);
    fflush(out);
}

void log_line(LogItem item, const char *fmt, ...)
{
    va_list args;

    if (!(log_mask & item)) {
        return;
    }
    va_start(args, fmt);
    log_write("", fmt, args);
    va_end(args);
}

static bool log_add_item(const char *name, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(log_items); i++) {
        if (!strcmp(name, log_items[i].name)) {
            log_mask |= log_items[i].item;
            return true;
        }
    }
    error_set(
        error,
        "-d: unknown log item ('%s', allowed guest_errors, unimp, cpu_reset, int); '-d help' lists them",
        name);
    return false;
}

bool log_set_mask(const char *items, GError **error)
{
    g_auto(GStrv) names = g_strsplit(items, ",", -1);

    if (!strcmp(items, "help")) {
        for (size_t i = 0; i < G_N_ELEMENTS(log_items); i++) {
            printf("%-15s %s\n", log_items[i].name, log_items[i].doc);
        }
        return true;
    }
    for (char **name = names; *name; name++) {
        if (!log_add_item(*name, error)) {
            return false;
        }
    }
    return true;
}

bool log_set_file(const char *path, GError **error)
{
    FILE *file = fopen(path, "we");

    if (!file) {
        error_set_errno(error, errno, "-D: cannot open log file '%s'", path);
        return false;
    }
    if (log_file) {
        fclose(log_file);
    }
    log_file = file;
    return true;
}

bool trace_enable(const char *pattern, GError **error)
{
    bool help = !strcmp(pattern, "help"), found = help;

    for (TraceEvent *const *table = trace_tables; *table; table++) {
        for (TraceEvent *ev = *table; ev->name; ev++) {
            if (help) {
                printf("%s\n", ev->name);
            } else if (!fnmatch(pattern, ev->name, 0)) {
                ev->enabled = true;
                found = true;
            }
        }
    }
    if (!found) {
        error_set(error, "-trace: no event matches '%s'; '-trace help' lists them", pattern);
    }
    return found;
}

void trace_emit(const TraceEvent *ev, const char *fmt, ...)
{
    g_autofree char *prefix = g_strdup_printf("%s ", ev->name);
    va_list args;

    va_start(args, fmt);
    log_write(prefix, fmt, args);
    va_end(args);
}
