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

/* A request that is answered later, by qmp_reply_send(). */
typedef struct QmpReply QmpReply;
/* False: qmp_reply_send() will be called, by the main loop.  True: *error is set, or {} is the answer. */
typedef bool QmpLaterFn(Machine *machine, struct json_object *args, QmpReply *reply, GError **error);

typedef struct QmpCommand {
    const char *name;
    const QmpArg *args;  /* ends with name NULL; NULL: none.  args_open: further members are taken as they are */
    bool args_open;
    /* args were checked.  The result as a new reference, or NULL: {} on success, else *error is set. */
    struct json_object *(*run)(Machine *machine, struct json_object *args, GError **error);
    /* Or: true: as run(), or false: the answer comes later.  Only for requests with an id. */
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
} HmpCommand;

/* Tables of all modules, NULL-terminated list; each table ends with name NULL.  Generated in the build. */
extern const QmpCommand *const qmp_tables[];
extern const HmpCommand *const hmp_tables[];

/* Answers {} or the error, which it takes; nobody, if the client is gone.  reply is freed. */
void qmp_reply_send(QmpReply *reply, GError *error);

/* Opens a monitor on chr: QMP (control) or HMP. */
bool monitor_open(Machine *machine, Chardev *chr, bool qmp, GError **error);
void monitor_close_all(Machine *machine);
/* Runs one HMP line; g_free. */
char *hmp_run(Machine *machine, const char *line);
/* Runs one QMP command of the table (for tests and HMP); a new reference or NULL with *error. */
struct json_object *qmp_run(Machine *machine, const char *name, struct json_object *args, GError **error);

#endif
