/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qtest protocol: a test drives memory, ports, interrupt lines and guest
 * time of a machine through lines of text (docs/devel/qtest.md).  Works with every
 * accelerator; guest time can be moved only under the qtest accelerator.
 */
#ifndef ACCEL_QTEST_H
#define ACCEL_QTEST_H

#include "chardev/chardev.h"

typedef struct QtestServer QtestServer;

/*
 * Answers qtest commands that arrive at `chr`.  log: a file to write the traffic
 * to, "none", or NULL for stderr.  Main loop.
 */
QtestServer *qtest_server_new(Machine *machine, Chardev *chr, const char *log, GError **error);
/* NULL is allowed. */
void qtest_server_free(QtestServer *server);

#endif
