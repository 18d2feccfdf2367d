/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of libqtest share. */
#ifndef LIBQTEST_INTERNAL_H
#define LIBQTEST_INTERNAL_H

#include <sys/types.h>

#include "libqtest.h"

#define QTEST_MAX_IRQS 256

struct QtestState {
    pid_t pid;
    char *dir; /* of the sockets */
    int fd, qmp_fd;
    GString *line; /* received from the protocol, not used yet */
    GString *qmp_line;
    GQueue *events; /* of json_object *, oldest first */
    bool irq[QTEST_MAX_IRQS];
    QtestState *server; /* the process that has the device, or NULL */
};

/* Ends the test, and the program with it. */
void qtest_die(QtestState *s, const char *fmt, ...) G_GNUC_PRINTF(2, 3) G_GNUC_NORETURN;
/* Reads the greeting and negotiates. */
void qtest_qmp_greet(QtestState *s);

#endif
