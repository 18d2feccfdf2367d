/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text screen of the machine's display in the terminal of the process, by ncurses.
 * Context: main loop, with its lock.
 */
#ifndef UI_CURSES_H
#define UI_CURSES_H

#include "core/machine.h"

/* Takes the terminal of standard input and output.  False with *error; the terminal is as it was then. */
bool curses_open(Machine *machine, GError **error);
/* Gives the terminal back; nothing when there is none. */
void curses_close(Machine *machine);

extern const ObjectModel curses_screen_model;

#endif
