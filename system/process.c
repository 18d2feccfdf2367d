/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The process around the machine: signals, the pid file, going to the background. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "system.h"

bool process_block_signals(System *s, GError **error)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (s->signal_fd < 0) {
        error_set_errno(error, errno, "cannot watch signals");
        return false;
    }
    return true;
}

static void process_signal(void *opaque)
{
    System *s = opaque;
    struct signalfd_siginfo info;

    while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo != SIGINT) {
            g_printerr("%s: terminating on signal %u from pid %u\n", g_get_prgname(), info.ssi_signo,
                       info.ssi_pid);
        }
        machine_request_shutdown(s->machine, SHUTDOWN_HOST_SIGNAL, 0);
    }
}

void process_watch_signals(System *s)
{
    s->signal_watch = loop_add_fd(s->machine->main_loop, s->signal_fd, process_signal, NULL, s);
}

void process_unwatch_signals(System *s)
{
    if (s->signal_watch) {
        loop_remove_fd(g_steal_pointer(&s->signal_watch));
    }
}

bool process_write_pidfile(System *s, GError **error)
{
    const char *path = s->cmdline->pidfile;
    char text[32];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0) {
        error_set_errno(error, errno, "-pidfile: cannot write '%s'", path);
        return false;
    }
    s->pidfile_written = true;
    if (write(fd, text, (size_t)len) != len) {
        error_set_errno(error, errno, "-pidfile: cannot write '%s'", path);
        close(fd);
        return false;
    }
    close(fd);
    return true;
}

void process_remove_pidfile(System *s)
{
    if (s->pidfile_written) {
        unlink(s->cmdline->pidfile);
        s->pidfile_written = false;
    }
}

/* The parent: exits as the child reports. */
static void G_GNUC_NORETURN process_await_child(int fd)
{
    char ok;
    ssize_t n;

    do {
        n = read(fd, &ok, 1);
    } while (n < 0 && errno == EINTR);
    _exit(n == 1 ? 0 : 1);
}

int process_daemonize(GError **error)
{
    int fds[2];
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) != 0) {
        error_set_errno(error, errno, "-daemonize: cannot make a pipe");
        return -1;
    }
    pid = fork();
    if (pid < 0) {
        error_set_errno(error, errno, "-daemonize: cannot fork");
        close(fds[0]);
        close(fds[1]);
        return -1;
    }
    if (pid > 0) {
        close(fds[1]);
        process_await_child(fds[0]);
    }
    close(fds[0]);
    setsid();
    return fds[1];
}

void process_daemon_ready(int fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    char ok = 0;

    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(null);
    }
    /* The parent may have gone: there is nobody left to tell. */
    if (write(fd, &ok, 1) != 1) {
        g_debug("nobody waits for -daemonize");
    }
    close(fd);
}
