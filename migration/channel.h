/* SPDX-License-Identifier: GPL-2.0-or-later */
/* URIs of migration to open fds: sockets block, which can be shut down, and nothing else does. */
#ifndef MIGRATION_CHANNEL_H
#define MIGRATION_CHANNEL_H

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/machine.h"

typedef struct MigChannel {
    Machine *machine; /* which has the descriptors that fd: may name */
    int fd;       /* the stream; or (listening) where it will come from */
    bool two_way; /* a socket */
    bool listening;
    char *path;   /* of a listening unix socket: removed at close; g_free */
    pid_t child;  /* exec:; 0: none, or it has ended */
    char *host, *port; /* tcp: */
} MigChannel;

/* For writing; of tcp: only what is written is looked at.  False: *error names the URI. */
bool mig_channel_out(MigChannel *c, Machine *m, const char *uri, GError **error);
/* For reading; sockets listen. */
bool mig_channel_in(MigChannel *c, Machine *m, const char *uri, GError **error);
/* Of one for writing: connects tcp:, which may take long.  Any thread; false: *error, or *aborted was set. */
bool mig_channel_connect(MigChannel *c, const int *aborted, GError **error);
/* Waits for the command's end, after what it reads was closed.  Any thread; false: it failed, or *aborted was set. */
bool mig_channel_finish(MigChannel *c, const int *aborted, GError **error);
/* Adds to an error of the stream `fd` how the command has ended, when that is why. */
void mig_channel_explain(MigChannel *c, int fd, GError **error);
/* Ends a command that still goes on, closes, and removes a socket that listened. */
void mig_channel_end(MigChannel *c);

#endif
