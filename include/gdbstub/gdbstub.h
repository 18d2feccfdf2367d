/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The debugger's end of the machine: `-gdb`, `-s` and the monitor's `gdbserver`.  Context: main loop, its lock held. */
#ifndef GDBSTUB_GDBSTUB_H
#define GDBSTUB_GDBSTUB_H

#include "core/machine.h"

/*
 * Listens where `text` says: as -serial, but tcp:[HOST]:PORT is a server that does not wait; "none" ends the present
 * one, whose place a new one takes.  False with *error.
 */
bool gdbstub_open(Machine *m, const char *text, GError **error);
/* Tells a debugger that the machine has ended with `exit_code`, and lets go of it.  No stub: nothing. */
void gdbstub_close(Machine *m, int exit_code);

#endif
