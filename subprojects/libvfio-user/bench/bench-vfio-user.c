/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Round trip of REGION_READ of 4 bytes through the library against a bare AF_UNIX ping-pong of the same sizes (32 bytes
 * there, 36 back), in one run, alternating.  Three modes: both sides block; the server polls its fd first; the server
 * spins without sleeping.  Prints one line a mode:
 *   bench=region_read_4 mode=M bare_ns=N library_ns=N ratio=R
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "libvfio-user.h"
#include "wire/io.h"

#define ROUNDS 15
#define TRIPS  4000

enum Mode { MODE_BLOCK, MODE_POLL, MODE_SPIN, MODE_COUNT };
static const char *const mode_names[MODE_COUNT] = { "block", "poll", "spin" };

static ssize_t bar_read(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    memset(buf, 1, count);
    return (ssize_t)count;
}

static void serve_library(int fd, enum Mode mode)
{
    vfu_ctx_t *ctx = vfu_create_ctx_fd(fd, mode == MODE_BLOCK ? 0 : LIBVFIO_USER_FLAG_ATTACH_NB, NULL,
                                       VFU_DEV_TYPE_PCI);
    struct pollfd p = { .events = POLLIN };
    int n;

    if (ctx == NULL || vfu_setup_region(ctx, 0, 4096, bar_read, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1,
                                        0) || vfu_realize_ctx(ctx)) {
        perror("context");
        exit(1);
    }
    while (vfu_attach_ctx(ctx) < 0 && errno == EAGAIN) {
    }
    do {
        if (mode == MODE_POLL) {
            p.fd = vfu_get_poll_fd(ctx);
            poll(&p, 1, -1);
        }
        n = vfu_run_ctx(ctx);
    } while (n >= 0);
    vfu_destroy_ctx(ctx);
}

static void serve_bare(int fd, enum Mode mode)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char buf[36] = { 0 };

    for (;;) {
        ssize_t n;

        if (mode == MODE_POLL) {
            poll(&p, 1, -1);
        }
        n = recv(fd, buf, 32, mode == MODE_BLOCK ? 0 : MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            continue;
        }
        if (n <= 0 || send(fd, buf, 36, MSG_NOSIGNAL) != 36) {
            return;
        }
    }
}

static double now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* ns a trip; the client's side is the same bare calls both times. */
static double trips(int fd)
{
    uint8_t request[32], reply[64];
    WireHeader h = { .command = WIRE_REGION_READ, .size = sizeof(request) };
    WireRegionAccess a = { .count = 4 };
    double start;

    wire_header_encode(request, &h);
    wire_region_access_encode(request + WIRE_HEADER_SIZE, &a);
    start = now_ns();
    for (int i = 0; i < TRIPS; i++) {
        if (send(fd, request, sizeof(request), MSG_NOSIGNAL) != sizeof(request) || recv(fd, reply, 36, 0) != 36) {
            perror("trip");
            exit(1);
        }
    }
    return (now_ns() - start) / TRIPS;
}

/* Starts a server in a process of its own; its socket. */
static int start(void (*serve)(int fd, enum Mode mode), enum Mode mode, pid_t *pid)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        perror("socketpair");
        exit(1);
    }
    *pid = fork();
    if (*pid == 0) {
        close(pair[0]);
        serve(pair[1], mode);
        _exit(0);
    }
    close(pair[1]);
    return pair[0];
}

static void negotiate(int fd)
{
    uint8_t bytes[WIRE_HEADER_SIZE + WIRE_VERSION_SIZE] = { 0 }, reply[512];
    WireHeader h = { .command = WIRE_VERSION, .size = sizeof(bytes) };

    wire_header_encode(bytes, &h);
    if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) < 0 || recv(fd, reply, sizeof(reply), 0) < 16) {
        perror("VERSION");
        exit(1);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof(*values), compare);
    return values[ROUNDS / 2];
}

static double one(void (*serve)(int fd, enum Mode mode), enum Mode mode)
{
    pid_t pid;
    int fd = start(serve, mode, &pid);
    double ns;

    if (serve == serve_library) {
        negotiate(fd);
    }
    trips(fd);
    ns = trips(fd);
    close(fd);
    waitpid(pid, NULL, 0);
    return ns;
}

int main(void)
{
    for (enum Mode mode = 0; mode < MODE_COUNT; mode++) {
        double bare[ROUNDS], library[ROUNDS], ratio[ROUNDS];

        for (int i = 0; i < ROUNDS; i++) {
            bare[i] = one(serve_bare, mode);
            library[i] = one(serve_library, mode);
            ratio[i] = library[i] / bare[i];
        }
        printf("bench=region_read_4 mode=%s bare_ns=%.0f library_ns=%.0f ratio=%.3f\n", mode_names[mode], median(bare),
               median(library), median(ratio));
        fflush(stdout);
    }
    return 0;
}
