/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A build without -display curses. */
#include "core/error.h"
#include "ui/curses.h"

bool curses_open(Machine *machine, GError **error)
{
    error_set(error, "curses: this build has no text screen; build it with ncurses (package libncurses-dev)");
    return false;
}

void curses_close(Machine *machine)
{
}
