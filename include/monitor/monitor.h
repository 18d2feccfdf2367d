/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Monitors.  QMP commands and events, what they take and what they return are in monitor/qmp.schema, of which the build
 * makes the tables below.  A module adds commands of the human monitor by one more table in the build's list.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "chardev/chardev.h"

typedef enum QmpMeta {
    QMP_STR,
    QMP_INT,
    QMP_NUMBER,
    QMP_BOOL,
    QMP_OBJECT, /* of any members */
    QMP_ANY,
    QMP_ENUM,
    QMP_ARRAY,
    QMP_STRUCT,
} QmpMeta;

typedef struct QmpType QmpType;

typedef struct QmpMember {
    const char *name;
    const QmpType *type;
    bool optional;
} QmpMember;

/* What a value of the tag adds to a struct. */
typedef struct QmpCase {
    const char *value;
    const QmpType *type; /* a struct */
} QmpCase;

struct QmpType {
    const char *name; /* [element] for lists */
    QmpMeta meta;
    const char *const *values; /* of an enum; ends with NULL */
    const QmpType *element;    /* of a list */
    /* of a struct; lists end with name, value NULL; may be NULL */
    const QmpMember *members;
    const char *tag; /* the member that chooses one of the cases */
    const QmpCase *cases;
    bool open; /* further members are taken as they are */
};

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

/* args were checked.  The result as a new reference, or NULL: {} on success, else *error is set. */
typedef struct json_object *QmpRunFn(Machine *machine, struct json_object *args, GError **error);

/* The same, of a command that a descriptor comes with: takes it, whatever comes of it (-1: none came). */
typedef struct json_object *QmpRunFdFn(Machine *machine, struct json_object *args, int fd, GError **error);

typedef struct QmpCommand {
    const char *name;
    const QmpType *args;
    const QmpType *ret; /* NULL: {} */
    QmpRunFn *run; /* one of the two */
    QmpRunFdFn *run_fd;
    /* Where there is one, sessions use it: the command may wait for another process, and run() would do so here.  A
     * session whose request has no id reads no further one before the answer. */
    QmpLaterFn *later;
    bool early;         /* ends capabilities negotiation */
} QmpCommand;

typedef struct QmpEvent {
    const char *name;
    const QmpType *data;
} QmpEvent;

typedef struct HmpCommand {
    const char *name;    /* "info pci" has a space */
    const char *args;    /* for help */
    const char *doc;
    /* Appends to out. */
    void (*run)(Machine *machine, const char *args, GString *out);
    /* As QmpCommand.later.  True: it is over, and out has the text; else the text is the result sent. */
    bool (*later)(Machine *machine, const char *args, MonitorReply *reply, GString *out);
} HmpCommand;

/* Generated of monitor/qmp.schema; they end with name NULL, the types with NULL. */
extern const QmpCommand qmp_commands[];
extern const QmpEvent qmp_events[];
extern const QmpType *const qmp_types[];
/* Tables of all modules, NULL-terminated list; each table ends with name NULL.  Generated in the build. */
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
