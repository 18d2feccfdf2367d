/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of libqtest share. */
#ifndef LIBQTEST_INTERNAL_H
#define LIBQTEST_INTERNAL_H

#include <sys/types.h>

#include "libqtest.h"

#define QTEST_MAX_IRQS 256

struct QtestState {
    char *args; /* that it was started with, and what was plugged since then; of a split machine's client all but its device */
    pid_t pid;
    char *dir; /* of the sockets */
    int fd, qmp_fd;
    GString *line; /* received from the protocol, not used yet */
    GString *qmp_line;
    GQueue *events; /* of json_object *, oldest first */
    bool irq[QTEST_MAX_IRQS];
    QtestState *server; /* the process that has the device, or NULL */
    QtestState *client; /* whose server this is, or NULL */
    GPtrArray *intercepts; /* char *: the commands that asked for reports of lines */
    unsigned until_move;   /* accesses; 0: it stays where it is */
};

/* Ends the test, and the program with it. */
void qtest_die(QtestState *s, const char *fmt, ...) G_GNUC_PRINTF(2, 3) G_GNUC_NORETURN;
/* Sends a command that must not fail: the text after "OK" (g_free). */
char *qtest_ok(QtestState *s, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Reads the greeting and negotiates. */
void qtest_qmp_greet(QtestState *s);
/* A process, with nothing but what `args` say; incoming: it waits for migrate-incoming. */
QtestState *qtest_launch(const char *args, bool incoming);
/* The two of a split machine whose device is dev0 of the server. */
QtestState *qtest_launch_split(const char *server_args, const char *client_args, bool incoming);

/* --- qtest-move.c --- */
/* A machine was started. */
void qtest_move_begin(QtestState *s);
/* The monitor carried out a command of the test. */
void qtest_move_command(QtestState *s, const char *text);
/* An access follows: moves the machine when it is time to. */
void qtest_move_count(QtestState *s);

#endif
