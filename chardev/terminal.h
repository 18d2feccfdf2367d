/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The terminal of the process.  There is one, and it must be as it was found
 * however the process ends, so this is the one place of chardev with state
 * of the process rather than of a machine.
 */
#ifndef CHARDEV_TERMINAL_H
#define CHARDEV_TERMINAL_H

#include <stdbool.h>

/*
 * Character at a time, no echo, on standard input if that is a terminal; Ctrl-C and
 * friends make signals only when `signals`.  Undone by terminal_restore(), at
 * exit, and by a fatal signal.
 */
void terminal_set_raw(bool signals);
/* Safe to call from a signal handler, and when nothing was changed. */
void terminal_restore(void);

#endif
