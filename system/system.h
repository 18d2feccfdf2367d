/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a command line to a running machine and back to nothing. */
#ifndef SYSTEM_SYSTEM_H
#define SYSTEM_SYSTEM_H

#include "accel/qtest.h"
#include "cmdline.h"
#include "core/machine.h"

typedef struct System {
    const Cmdline *cmdline;
    Machine *machine;
    QtestServer *qtest;
    int signal_fd; /* SIGINT, SIGTERM, SIGHUP; -1: none */
    LoopFd *signal_watch;
    bool pidfile_written;
    GPtrArray *drive_devices; /* of struct json_object *: of drives that need no -device */
    uint32_t ide_taken;       /* bit n: place n of the IDE ports has a drive */
    unsigned virtio_drives;
} System;

/* Everything up to the first guest instruction.  On false the caller still calls system_stop(). */
bool system_start(System *s, GError **error);
/* Iterates until somebody ends the machine; the exit code. */
int system_run(System *s);
/* Undoes whatever system_start() got done. */
void system_stop(System *s);

extern const MachineModel none_machine_model;

/* --- numa-options.c --- */
/* When RAM and its backends are known. */
bool system_set_numa(System *s, GError **error);

/* --- process.c --- */
/* Blocks the signals that end the program, for the descriptor they are read from.  Before any thread. */
bool process_block_signals(System *s, GError **error);
/* Signals become shutdown requests of the machine. */
void process_watch_signals(System *s);
void process_unwatch_signals(System *s);
bool process_write_pidfile(System *s, GError **error);
void process_remove_pidfile(System *s);
/*
 * Forks; the parent waits and exits as process_daemon_ready() says, or with 1.  Returns in the child the
 * descriptor for process_daemon_ready(), or -1 with *error.  Before any thread.
 */
int process_daemonize(GError **error);
/* Lets go of the terminal and the parent. */
void process_daemon_ready(int fd);

#endif
