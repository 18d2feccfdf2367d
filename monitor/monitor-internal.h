/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of monitor share. */
#ifndef MONITOR_MONITOR_INTERNAL_H
#define MONITOR_MONITOR_INTERNAL_H

#include <json-c/json.h>

#include "monitor/monitor.h"

typedef struct Monitor Monitor;
typedef struct QmpSession QmpSession;
typedef struct HmpSession HmpSession;

/* One monitor: an object below /monitors that owns a session of either language. */
struct Monitor {
    Object obj;
    Machine *machine;
    Chardev *chr;
    QmpSession *qmp; /* one of the two */
    HmpSession *hmp;
};

/* What is over so soon is answered in the order of the requests. */
#define MONITOR_PATIENCE_MS 50

/* Sessions; each gives the front end that reads its chardev. */
QmpSession *qmp_session_new(Monitor *mon, ChardevFrontend *frontend);
void qmp_session_free(QmpSession *session);
HmpSession *hmp_session_new(Monitor *mon, ChardevFrontend *frontend);
void hmp_session_free(HmpSession *session);

/* The table entry of the command that a line begins with, or NULL; *rest: what follows its name. */
const HmpCommand *hmp_find(const char *line, const char **rest);
/*
 * What the last word of `line` may become: of char *, sorted, each once; g_ptr_array_unref.  *have: how many of its
 * characters are in the line already.
 */
GPtrArray *hmp_complete(Machine *machine, const char *line, size_t *have);

/* The table entry of a QMP command, or NULL. */
const QmpCommand *qmp_find(const char *name);
/* Checks args against the command's list and runs it.  Takes fd, which came with it (-1: none). */
struct json_object *qmp_run_command(Machine *machine, const QmpCommand *cmd, struct json_object *args, int fd,
                                    GError **error);
/*
 * Whether a value is of that type (monitor/qmp-type.c).  False with *error, which names the member that is not, beginning with
 * `where` (NULL: the value is the object of all arguments).
 */
bool qmp_type_check(const QmpType *type, struct json_object *value, const char *where, GError **error);
/*
 * The last look at what goes out: an answer, an event (data NULL: none) that is not as the schema says is a bug of this
 * program.  False with *error.
 */
bool qmp_result_check(const QmpCommand *cmd, struct json_object *result, GError **error);
bool qmp_event_check(const char *name, struct json_object *data, GError **error);
/* {"class": ..., "desc": ...} */
struct json_object *qmp_error_json(const GError *error);

/* Appends `error: text` and frees the error. */
void hmp_error(GString *out, GError *error);

/* Text of a member that is known to be there and a string. */
static inline const char *json_member_str(struct json_object *obj, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(obj, key, &value) ? json_object_get_string(value) : NULL;
}

#endif
