/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-system-x86_64: command line, machine, main loop, end. */
#include <stdio.h>
#include <stdlib.h>

#include "system.h"

#define SYSTEM_PROGRAM "qemu-system-x86_64"

static int system_fail(GError *error)
{
    g_printerr("%s: %s\n", SYSTEM_PROGRAM, error->message);
    g_error_free(error);
    return EXIT_FAILURE;
}

static int system_main(System *s, GError **error)
{
    int daemon_fd = -1;
    int code;

    if (s->cmdline->daemonize) {
        daemon_fd = process_daemonize(error);
        if (daemon_fd < 0) {
            return EXIT_FAILURE;
        }
    }
    if (!process_block_signals(s, error) || !system_start(s, error)) {
        system_stop(s);
        return EXIT_FAILURE;
    }
    if (daemon_fd >= 0) {
        process_daemon_ready(daemon_fd);
    }
    code = system_run(s);
    system_stop(s);
    return code;
}

int main(int argc, char **argv)
{
    Cmdline *cmdline = cmdline_new();
    System s = {.cmdline = cmdline, .signal_fd = -1};
    GError *error = NULL;
    int code = EXIT_SUCCESS;

    g_set_prgname(SYSTEM_PROGRAM);
    option_msg_init();
    if (!cmdline_parse(cmdline, argc, argv, &error)) {
        code = system_fail(error);
    } else if (!cmdline->done) {
        code = system_main(&s, &error);
        if (error) {
            code = system_fail(error);
        }
    }
    cmdline_free(cmdline);
    return code;
}
