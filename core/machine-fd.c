/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors that somebody gave the machine while it runs, by the names they were given. */
#include <fcntl.h>
#include <unistd.h>

#include "core/error.h"
#include "core/internal.h"

static void fd_close(gpointer fd)
{
    close(GPOINTER_TO_INT(fd));
}

GHashTable *machine_fds_new(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, fd_close);
}

bool machine_fd_keep(Machine *m, const char *name, int fd, GError **error)
{
    if (!*name || g_ascii_isdigit(*name)) { /* digits are the number of a descriptor that the program was started with */
        error_set(error, "'%s' is no name of a descriptor: it may not be empty, nor begin with a digit", name);
        close(fd);
        return false;
    }
    g_hash_table_replace(machine_fds(m), g_strdup(name), GINT_TO_POINTER(fd));
    return true;
}

int machine_fd_take(Machine *m, const char *name)
{
    gpointer key, fd;

    if (!g_hash_table_steal_extended(machine_fds(m), name, &key, &fd)) {
        return -1;
    }
    g_free(key);
    return GPOINTER_TO_INT(fd);
}

/* One that is closed on exec is the program's own, and nobody's to give. */
static int inherited(const char *number)
{
    guint64 fd;

    return g_ascii_string_to_unsigned(number, 10, 0, G_MAXINT, &fd, NULL) && fcntl((int)fd, F_GETFD) == 0 ? (int)fd : -1;
}

int machine_fd_open(Machine *m, const char *text, GError **error)
{
    bool number = g_ascii_isdigit(*text);
    int fd = number ? inherited(text) : machine_fd_take(m, text);

    if (fd < 0) {
        error_set(error, number ? "%s is not an open file descriptor that this program was started with"
                                : "there is no file descriptor named '%s'; give it one with getfd", text);
        return -1;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}
