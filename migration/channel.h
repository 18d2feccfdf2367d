/* SPDX-License-Identifier: GPL-2.0-or-later */
/* URIs of migration to open, blocking fds. */
#ifndef MIGRATION_CHANNEL_H
#define MIGRATION_CHANNEL_H

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

typedef struct MigChannel {
    int fd;       /* the stream; or (listening) where it will come from */
    bool two_way; /* a socket */
    bool listening;
    char *path;   /* of a listening unix socket: removed at close; g_free */
    pid_t child;  /* exec: */
} MigChannel;

/* For writing; sockets are connected.  False: *error names the URI. */
bool mig_channel_out(MigChannel *c, const char *uri, GError **error);
/* For reading; sockets listen. */
bool mig_channel_in(MigChannel *c, const char *uri, GError **error);
/* Waits for the child; removes the socket.  The fd stays. */
bool mig_channel_finish(MigChannel *c, GError **error);

#endif
