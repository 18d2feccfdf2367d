/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files to be disks, and a disk that fails when it is told to: nbdkit and its error filter. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libqtest-internal.h"

struct QtestDisk {
    GPid nbdkit;
    char *dir, *sock, *trigger;
};

char *qtest_file_new(uint64_t size)
{
    char *path;
    int fd = g_file_open_tmp("qtest-XXXXXX", &path, NULL);

    if (fd < 0 || ftruncate(fd, (off_t)size)) {
        qtest_die(NULL, "cannot make a file of %" G_GUINT64_FORMAT " bytes", size);
    }
    close(fd);
    return path;
}

void qtest_file_free(char *path)
{
    unlink(path);
    g_free(path);
}

void qtest_fill(uint8_t *buf, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        buf[i] = (uint8_t)(seed >> 16);
    }
}

static bool answers(const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok;

    g_strlcpy(sun.sun_path, path, sizeof(sun.sun_path));
    ok = fd >= 0 && connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

QtestDisk *qtest_disk_new(const char *error)
{
    g_autofree char *program = g_find_program_in_path("nbdkit");
    QtestDisk *d = program ? g_new0(QtestDisk, 1) : NULL;
    g_autofree char *file = NULL, *what = NULL;

    if (!d) {
        return NULL;
    }
    d->dir = g_dir_make_tmp("qtest-XXXXXX", NULL);
    d->sock = g_build_filename(d->dir, "nbd", NULL);
    d->trigger = g_build_filename(d->dir, "fail", NULL);
    file = g_strdup_printf("error-file=%s", d->trigger);
    what = g_strdup_printf("error=%s", error);
    {
        char *argv[] = {program, "-f", "-U", d->sock, "--filter=error", "memory", "16M", what, "error-rate=100%", file, NULL};

        if (!g_spawn_async(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &d->nbdkit,
                           NULL) || !QTEST_WAIT(answers(d->sock))) {
            qtest_die(NULL, "nbdkit does not start");
        }
    }
    return d;
}

char *qtest_disk_drive(const QtestDisk *d, const char *id)
{
    return g_strdup_printf("-drive id=%s,file=nbd:unix:%s,if=none", id, d->sock);
}

void qtest_disk_fail(QtestDisk *d, bool fail)
{
    if (fail) {
        g_file_set_contents(d->trigger, "", 0, NULL);
    } else {
        unlink(d->trigger);
    }
}

void qtest_disk_free(QtestDisk *d)
{
    kill(d->nbdkit, SIGTERM);
    waitpid(d->nbdkit, NULL, 0);
    unlink(d->trigger);
    unlink(d->sock);
    rmdir(d->dir);
    g_free(d->dir);
    g_free(d->sock);
    g_free(d->trigger);
    g_free(d);
}
