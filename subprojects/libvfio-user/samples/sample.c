/* SPDX-License-Identifier: BSD-3-Clause */
/* The part of a back end that is the same for every device. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "sample.h"

/* A signal handler reaches nothing else. */
static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    stopped = 1;
}

static void on_log(vfu_ctx_t *ctx, int level, const char *message)
{
    fprintf(stderr, "%s\n", message);
}

void sample_must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(EXIT_FAILURE);
    }
}

vfu_ctx_t *sample_create(int argc, char **argv, void *pvt)
{
    static const struct option options[] = {
        { "socket-path", required_argument, NULL, 's' },
        { "fd", required_argument, NULL, 'f' },
        { NULL, 0, NULL, 0 },
    };
    const char *path = NULL;
    vfu_ctx_t *ctx;
    int option, fd = -1;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 's') {
            path = optarg;
        } else if (option == 'f') {
            fd = atoi(optarg);
        } else {
            exit(EXIT_FAILURE);
        }
    }
    if (optind < argc || (path == NULL) == (fd < 0)) {
        fprintf(stderr, "usage: %s --socket-path=PATH | --fd=NUMBER\n", argv[0]);
        exit(EXIT_FAILURE);
    }
    ctx = path ? vfu_create_ctx(VFU_TRANS_SOCK, path, LIBVFIO_USER_FLAG_ATTACH_NB, pvt, VFU_DEV_TYPE_PCI) :
                 vfu_create_ctx_fd(fd, LIBVFIO_USER_FLAG_ATTACH_NB, pvt, VFU_DEV_TYPE_PCI);
    sample_must(ctx != NULL, path ? path : "--fd");
    vfu_setup_log(ctx, on_log, LOG_ERR);
    return ctx;
}

/* Attaches or serves; false when no client will come any more. */
static bool serve_once(vfu_ctx_t *ctx, bool *attached)
{
    if (*attached && (vfu_run_ctx(ctx) >= 0 || errno != ENOTCONN)) {
        return true;
    }
    /* Also right after a client left: the socket of --fd has no other. */
    *attached = vfu_attach_ctx(ctx) == 0;
    return *attached || errno != ENOTCONN || vfu_get_poll_fd(ctx) < 0;
}

int sample_serve(vfu_ctx_t *ctx, int fd, void (*on_fd)(vfu_ctx_t *ctx, int fd))
{
    struct sigaction action = { .sa_handler = on_signal };
    sigset_t blocked, before;
    bool attached = false, go_on = true;

    /* Signals are let in only while waiting: none is lost between the check and the wait. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sample_must(vfu_realize_ctx(ctx) == 0, "vfu_realize_ctx");
    while (go_on && !stopped) {
        struct pollfd polled[2] = { { .fd = vfu_get_poll_fd(ctx), .events = POLLIN }, { .fd = fd, .events = POLLIN } };

        if (ppoll(polled, 2, NULL, &before) < 0) {
            continue;
        }
        if (polled[1].revents) {
            on_fd(ctx, fd);
        }
        if (polled[0].revents) {
            go_on = serve_once(ctx, &attached);
        }
    }
    vfu_destroy_ctx(ctx);
    return 0;
}

ssize_t sample_memory_access(void *memory, char *buf, size_t count, loff_t offset, bool is_write)
{
    char *at = (char *)memory + offset;

    if (is_write) {
        memcpy(at, buf, count);
    } else {
        memcpy(buf, at, count);
    }
    return (ssize_t)count;
}
