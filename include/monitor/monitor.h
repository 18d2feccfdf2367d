/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Monitors.  QMP commands are entries of one table that also carries the
 * argument list: checks, query-commands and the reference come from it.  A module
 * adds commands by one more table in the build's list.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "chardev/chardev.h"

typedef enum QmpArgType { QMP_STR, QMP_INT, QMP_BOOL, QMP_NUMBER, QMP_OBJECT, QMP_ARRAY, QMP_ANY } QmpArgType;

typedef struct QmpArg {
    const char *name;
    QmpArgType type;
    bool optional;
} QmpArg;

/* Where an answer goes that comes later. */
typedef struct MonitorReply MonitorReply;
struct MonitorReply {
    /* Called once, by the main loop: takes result (NULL: {}) and error (NULL: success), and frees the reply. */
    void (*send)(MonitorReply *reply, struct json_object *result, GError *error);
};

/* True: it is over, *result (NULL: {}) or *error is set, and reply still the caller's.  False: reply->send() will be
 * called. */
typedef bool QmpLaterFn(Machine *machine, struct json_object *args, MonitorReply *reply, struct json_object **result,
                        GError **error);

typedef struct QmpCommand {
    const char *name;
    const QmpArg *args;  /* ends with name NULL; NULL: none.  args_open: further members are taken as they are */
    bool args_open;
    /* args were checked.  The result as a new reference, or NULL: {} on success, else *error is set. */
    struct json_object *(*run)(Machine *machine, struct json_object *args, GError **error);
    /* Where there is one, sessions use it: the command may wait for another process, and run() would do so here.  A
     * session whose request has no id reads no further one before the answer. */
    QmpLaterFn *later;
    const char *doc;
    bool early;          /* allowed before capabilities negotiation is over (qmp_capabilities) */
} QmpCommand;

typedef struct HmpCommand {
    const char *name;    /* "info pci" has a space */
    const char *args;    /* for help */
    const char *doc;
    /* Appends to out. */
    void (*run)(Machine *machine, const char *args, GString *out);
    /* As QmpCommand.later.  True: it is over, and out has the text; else the text is the result sent. */
    bool (*later)(Machine *machine, const char *args, MonitorReply *reply, GString *out);
} HmpCommand;

/* Tables of all modules, NULL-terminated list; each table ends with name NULL.  Generated in the build. */
extern const QmpCommand *const qmp_tables[];
extern const HmpCommand *const hmp_tables[];

/* Opens a monitor on chr: QMP (control) or HMP. */
bool monitor_open(Machine *machine, Chardev *chr, bool qmp, GError **error);
void monitor_close_all(Machine *machine);
/* Runs one HMP line; g_free. */
char *hmp_run(Machine *machine, const char *line);
/* The same; NULL: reply->send() will be called, with the text or an error. */
char *hmp_run_later(Machine *machine, const char *line, MonitorReply *reply);
/* Runs one QMP command of the table (for tests and HMP); a new reference or NULL with *error. */
struct json_object *qmp_run(Machine *machine, const char *name, struct json_object *args, GError **error);

#endif
