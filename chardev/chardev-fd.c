/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Back ends that are descriptors from the start: null, stdio, file, pipe, pty, fd.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "chardev-internal.h"
#include "core/error.h"
#include "terminal.h"

/* --- null --- */

static bool null_open(Chardev *chr, struct json_object *opts, GError **error)
{
    chardev_set_fds(chr, -1, -1);
    return true;
}

const ChardevBackend chardev_null = {
    .name = "null", .doc = "nothing is read, everything written is lost", .open = null_open};

/* --- stdio --- */

static bool stdio_open(Chardev *chr, struct json_object *opts, GError **error)
{
    Object *all = chr->obj.parent;
    bool signals;

    for (guint i = 0; i < all->children->len; i++) {
        Chardev *other = g_ptr_array_index(all->children, i);

        if (other != chr && other->backend == &chardev_stdio) {
            error_set(error, "chardev %s: standard input and output are taken by chardev %s", chr->obj.id,
                      other->obj.id);
            return false;
        }
    }
    if (!chardev_opt_bool(chr, opts, "signal", true, &signals, error)) {
        return false;
    }
    terminal_set_raw(signals);
    chardev_set_nonblocking(STDIN_FILENO, true);
    chardev_set_nonblocking(STDOUT_FILENO, true);
    chr->keep_fds = true;
    chardev_set_fds(chr, STDIN_FILENO, STDOUT_FILENO);
    return true;
}

/* The flags belong to the file, which the shell shares. */
static void stdio_close(Chardev *chr)
{
    chardev_set_nonblocking(STDIN_FILENO, false);
    chardev_set_nonblocking(STDOUT_FILENO, false);
    terminal_restore();
}

static const char *const stdio_keys[] = {"signal", NULL};

const ChardevBackend chardev_stdio = {
    .name = "stdio",
    .doc = "standard input and output of this process",
    .keys = stdio_keys,
    .open = stdio_open,
    .close = stdio_close,
};

/* --- file --- */

static bool file_open(Chardev *chr, struct json_object *opts, GError **error)
{
    const char *path = chardev_opt_str(opts, "path");
    bool append;
    int fd;

    if (!path) {
        error_set(error, "chardev %s: file needs path=PATH", chr->obj.id);
        return false;
    }
    if (!chardev_opt_bool(chr, opts, "append", false, &append, error)) {
        return false;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0666);
    if (fd < 0) {
        error_set_errno(error, errno, "chardev %s: cannot write '%s'", chr->obj.id, path);
        return false;
    }
    chr->filename = g_strdup_printf("file:%s", path);
    chardev_set_fds(chr, -1, fd);
    return true;
}

static const char *const file_keys[] = {"path", "append", NULL};

const ChardevBackend chardev_file = {
    .name = "file", .doc = "output goes to a file", .keys = file_keys, .open = file_open};

/* --- pipe --- */

static bool pipe_open(Chardev *chr, struct json_object *opts, GError **error)
{
    const char *path = chardev_opt_str(opts, "path");
    g_autofree char *in_path = NULL, *out_path = NULL;
    int in_fd, out_fd;

    if (!path) {
        error_set(error, "chardev %s: pipe needs path=PATH (PATH.in and PATH.out, or PATH for both)",
                  chr->obj.id);
        return false;
    }
    in_path = g_strconcat(path, ".in", NULL);
    out_path = g_strconcat(path, ".out", NULL);
    in_fd = open(in_path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    out_fd = open(out_path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (in_fd < 0 || out_fd < 0) {
        if (in_fd >= 0) {
            close(in_fd);
        }
        if (out_fd >= 0) {
            close(out_fd);
        }
        in_fd = out_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (in_fd < 0) {
            error_set_errno(error, errno, "chardev %s: cannot open '%s.in' and '%s.out', or '%s'",
                            chr->obj.id, path, path, path);
            return false;
        }
    }
    chr->filename = g_strdup_printf("pipe:%s", path);
    chardev_set_fds(chr, in_fd, out_fd);
    return true;
}

static const char *const pipe_keys[] = {"path", NULL};

const ChardevBackend chardev_pipe = {
    .name = "pipe", .doc = "named pipes", .keys = pipe_keys, .open = pipe_open};

/* --- pty --- */

/* The kernel would give what is written to the terminal back as input, and hold input until the end of a line. */
static bool pty_make_raw(int slave)
{
    struct termios raw;

    if (tcgetattr(slave, &raw)) {
        return false;
    }
    cfmakeraw(&raw);
    return !tcsetattr(slave, TCSANOW, &raw);
}

static void pty_close(Chardev *chr)
{
    if (chr->slave_fd >= 0) {
        close(chr->slave_fd);
        chr->slave_fd = -1;
    }
}

static bool pty_open(Chardev *chr, struct json_object *opts, GError **error)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    char name[128];

    /* With the other side held open here, nobody using it is not a hang-up. */
    if (fd < 0 || grantpt(fd) || unlockpt(fd) || ptsname_r(fd, name, sizeof(name)) ||
        (chr->slave_fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0 || !pty_make_raw(chr->slave_fd)) {
        error_set_errno(error, errno, "chardev %s: cannot make a pseudo terminal", chr->obj.id);
        if (fd >= 0) {
            close(fd);
        }
        pty_close(chr);
        return false;
    }
    chr->filename = g_strdup_printf("pty:%s", name);
    g_printerr("char device redirected to %s (label %s)\n", name, chr->obj.id);
    chardev_set_fds(chr, fd, fd);
    return true;
}

const ChardevBackend chardev_pty = {
    .name = "pty", .doc = "a new pseudo terminal", .open = pty_open, .close = pty_close};

/* --- fd --- */

static bool fd_open(Chardev *chr, struct json_object *opts, GError **error)
{
    const char *text = chardev_opt_str(opts, "fd");
    char *end = NULL;
    long fd = text ? strtol(text, &end, 10) : -1;

    if (!text || end == text || *end || fd < 3 || fd > INT32_MAX || fcntl((int)fd, F_GETFD) < 0) {
        error_set(error, "chardev %s: fd= must be the number of an open descriptor (%s, allowed 3 and up)",
                  chr->obj.id, text ? text : "none");
        return false;
    }
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    chardev_set_nonblocking((int)fd, true);
    chr->filename = g_strdup_printf("fd:%ld", fd);
    chardev_set_fds(chr, (int)fd, (int)fd);
    return true;
}

static const char *const fd_keys[] = {"fd", NULL};

const ChardevBackend chardev_fd = {
    .name = "fd", .doc = "a descriptor given by the parent process", .keys = fd_keys, .open = fd_open};
