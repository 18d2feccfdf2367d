/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -d and -trace.  Log items are the coarse switches of -d; trace events are
 * named by string pattern.  Both write to -D's file or stderr, a line each, any thread.
 */
#ifndef CORE_TRACE_H
#define CORE_TRACE_H

#include <glib.h>
#include <stdbool.h>

typedef enum LogItem {
    LOG_GUEST_ERROR = 1 << 0, /* guest_errors */
    LOG_UNIMP = 1 << 1,       /* unimp */
    LOG_CPU_RESET = 1 << 2,   /* cpu_reset */
    LOG_INT = 1 << 3,         /* int */
} LogItem;

extern unsigned log_mask; /* process-wide switch set once by the command line */

void log_line(LogItem item, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* -d a,b,c.  False with the nearest valid item in *error; "help" lists and returns true. */
bool log_set_mask(const char *items, GError **error);
bool log_set_file(const char *path, GError **error);

/*
 * A trace event: one static struct at its place of use, in a table of the module
 * so that -trace help can list it:  static TraceEvent ev = {"vfio_user_send"};
 */
typedef struct TraceEvent {
    const char *name;
    bool enabled;
} TraceEvent;

/* Tables of all modules, NULL-terminated, each table ending with name NULL; generated like model_table. */
extern TraceEvent *const trace_tables[];
bool trace_enable(const char *pattern, GError **error); /* glob; "help" lists */
void trace_emit(const TraceEvent *ev, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

#define TRACE(ev, ...)                                                                                       \
    do {                                                                                                     \
        if (G_UNLIKELY((ev)->enabled)) {                                                                     \
            trace_emit(ev, __VA_ARGS__);                                                                     \
        }                                                                                                    \
    } while (0)

#endif
