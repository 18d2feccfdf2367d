/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Round trips of REGION_READ and REGION_WRITE of 4 bytes, and of a doorbell through an ioeventfd, each against bare calls of
 * the same sizes.  "bare" receives with recv(), "recvmsg" is the same with room for descriptors: any message may bring some, and
 * recv() would lose them, so no server of this protocol can do with less; "ratio" is to the former, "ratio_recvmsg" to the latter.
 *  Modes: "block", both sides sleep in recv; "poll", the server sleeps in poll first, as event loops do;
 * "spin", both ask their sockets over and over; "adaptive", as the library's own limited polling (vfu_ctx_set_poll) against a bare
 * server that spins.
 */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "bench.h"

/* Many short rounds, of which the fastest counts: a busy machine leaves some of them alone. */
#define TRIPS     250
#define ROUNDS    100
#define READ_OUT  (WIRE_HEADER_SIZE + WIRE_REGION_ACCESS_SIZE)
#define READ_BACK (READ_OUT + 4)

enum Mode { MODE_BLOCK, MODE_POLL, MODE_SPIN, MODE_ADAPTIVE, MODE_COUNT };
static const char *const mode_names[MODE_COUNT] = { "block", "poll", "spin", "adaptive" };

static ssize_t bar_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    if (!is_write) {
        memset(buf, 1, count);
    }
    return (ssize_t)count;
}

static vfu_ctx_t *make_device(int fd, int flags)
{
    vfu_ctx_t *ctx = vfu_create_ctx_fd(fd, flags, NULL, VFU_DEV_TYPE_PCI);

    bench_must(ctx && vfu_setup_region(ctx, 0, 4096, bar_access, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) ==
               0 && vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, 1) == 0, "context");
    return ctx;
}

static void serve_polling(vfu_ctx_t *ctx)
{
    struct pollfd p = { .fd = vfu_get_poll_fd(ctx), .events = POLLIN };

    while (vfu_attach_ctx(ctx) < 0) {
        bench_must(errno == EAGAIN, "vfu_attach_ctx");
        poll(&p, 1, -1);
    }
    do {
        poll(&p, 1, -1);
    } while (vfu_run_ctx(ctx) >= 0);
}

static void serve_library(int fd, int mode)
{
    vfu_ctx_t *ctx = make_device(fd, mode == MODE_BLOCK || mode == MODE_ADAPTIVE ? 0 : LIBVFIO_USER_FLAG_ATTACH_NB);

    bench_must(vfu_realize_ctx(ctx) == 0, "vfu_realize_ctx");
    if (mode == MODE_ADAPTIVE) {
        bench_must(vfu_ctx_set_poll(ctx, VFU_POLL_MAX_US) == 0, "vfu_ctx_set_poll");
    }
    if (mode == MODE_POLL) {
        serve_polling(ctx);
    } else if (mode == MODE_SPIN) {
        bench_serve_spinning(ctx);
    } else {
        bench_serve_blocking(ctx);
    }
    vfu_destroy_ctx(ctx);
}

static ssize_t receive_with_fds(int fd, void *buf, size_t size, int how)
{
    char control[CMSG_SPACE(WIRE_MAX_FDS * sizeof(int))];
    struct iovec iov = { buf, size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

    return recvmsg(fd, &msg, how | MSG_CMSG_CLOEXEC);
}

/* Answers reads and writes alike: what comes tells the size of what goes. */
static void serve_with(ssize_t (*receive)(int fd, void *buf, size_t size, int how), int fd, int mode)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char buf[64] = { 0 };

    for (;;) {
        ssize_t n;

        if (mode == MODE_POLL) {
            poll(&p, 1, -1);
        }
        n = receive(fd, buf, sizeof(buf), mode == MODE_BLOCK ? 0 : MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        }
        if (n <= 0 || send(fd, buf, n == READ_OUT ? READ_BACK : READ_OUT, MSG_NOSIGNAL) < 0) {
            return;
        }
    }
}

static void serve_bare(int fd, int mode)
{
    serve_with(recv, fd, mode);
}

static void serve_recvmsg(int fd, int mode)
{
    serve_with(receive_with_fds, fd, mode);
}

static bool mode_spins(enum Mode mode)
{
    return mode == MODE_SPIN || mode == MODE_ADAPTIVE;
}

/* The reply; a client that polls is one whose own waking up does not hide or double what the server takes. */
static ssize_t take_reply(int fd, void *reply, size_t size, enum Mode mode)
{
    ssize_t n;

    do {
        n = recv(fd, reply, size, mode_spins(mode) ? MSG_DONTWAIT : 0);
    } while (n < 0 && errno == EAGAIN);
    return n;
}

/* ns a trip; the client's side is the same bare calls both times. */
static double trips(const Server *s, enum Mode mode, bool is_write)
{
    uint8_t request[READ_BACK], reply[READ_BACK];
    size_t out = is_write ? READ_BACK : READ_OUT, back = is_write ? READ_OUT : READ_BACK;
    WireHeader h = { .command = is_write ? WIRE_REGION_WRITE : WIRE_REGION_READ, .size = (uint32_t)out };
    WireRegionAccess a = { .count = 4 };
    double start;

    memset(request, 0, sizeof(request));
    wire_header_encode(request, &h);
    wire_region_access_encode(request + WIRE_HEADER_SIZE, &a);
    bench_resume(s);
    start = bench_now_ns();
    for (int i = 0; i < TRIPS; i++) {
        bench_must(send(s->fd, request, out, MSG_NOSIGNAL) == (ssize_t)out && take_reply(s->fd, reply, back, mode) == (ssize_t)back,
                   "trip");
    }
    start = bench_now_ns() - start;
    bench_pause(s);
    return start / TRIPS;
}

enum { BARE, RECVMSG, LIBRARY, SERVERS };
static void (*const servers[SERVERS])(int fd, int mode) = { serve_bare, serve_recvmsg, serve_library };

static void compare(const Server *server, enum Mode mode, bool is_write)
{
    double ns[SERVERS] = { INFINITY, INFINITY, INFINITY };

    for (int i = 0; i < ROUNDS; i++) {
        for (int k = 0; k < SERVERS; k++) {
            ns[k] = fmin(ns[k], trips(&server[k], mode, is_write));
        }
    }
    bench_print(is_write ? "region_write_4" : "region_read_4", (Figure[]){
        { "mode", 0, mode_names[mode] }, { "bare_ns", ns[BARE], NULL }, { "recvmsg_ns", ns[RECVMSG], NULL },
        { "library_ns", ns[LIBRARY], NULL }, { "ratio", ns[LIBRARY] / ns[BARE], NULL },
        { "ratio_recvmsg", ns[LIBRARY] / ns[RECVMSG], NULL } }, 6);
}

void bench_trips(void)
{
    for (enum Mode mode = 0; mode < MODE_COUNT; mode++) {
        Server server[SERVERS];

        for (int k = 0; k < SERVERS; k++) {
            server[k] = bench_start(servers[k], mode, mode_spins(mode));
        }
        bench_negotiate(server[LIBRARY].fd);
        for (int k = 0; k < SERVERS; k++) {
            bench_pause(&server[k]);
        }
        compare(server, mode, false);
        compare(server, mode, true);
        for (int k = 0; k < SERVERS; k++) {
            bench_stop(&server[k]);
        }
    }
}

/* ---- doorbell ---- */

/* Rings are answered by an interrupt; both are eventfds, made before the fork. */
static int doorbell_fd, answer_fd;

static void serve_doorbell_library(int fd, int mode)
{
    vfu_ctx_t *ctx = make_device(fd, LIBVFIO_USER_FLAG_ATTACH_NB);
    struct pollfd p[2] = { { vfu_get_poll_fd(ctx), POLLIN, 0 }, { doorbell_fd, POLLIN, 0 } };
    bool attached = false;
    uint64_t times;

    bench_must(vfu_create_ioeventfd(ctx, 0, doorbell_fd, 0, 4, 0, 0, -1, 0) == 0 && vfu_realize_ctx(ctx) == 0, "context");
    for (;;) {
        poll(p, 2, -1);
        if (p[1].revents && read(doorbell_fd, &times, sizeof(times)) == sizeof(times)) {
            bench_must(vfu_irq_trigger(ctx, 0) == 0, "vfu_irq_trigger");
        }
        if (p[0].revents && !attached) {
            attached = vfu_attach_ctx(ctx) == 0;
        } else if (p[0].revents && vfu_run_ctx(ctx) < 0) {
            break;
        }
    }
    vfu_destroy_ctx(ctx);
}

static void serve_doorbell_bare(int fd, int mode)
{
    struct pollfd p[2] = { { fd, POLLIN, 0 }, { doorbell_fd, POLLIN, 0 } };
    uint64_t times;

    for (;;) {
        poll(p, 2, -1);
        if (p[1].revents && read(doorbell_fd, &times, sizeof(times)) == sizeof(times)) {
            bench_must(write(answer_fd, &(uint64_t){ 1 }, sizeof(times)) == sizeof(times), "answer");
        }
        if (p[0].revents) {
            return;
        }
    }
}

static double rings(const Server *s, int ring_fd)
{
    uint64_t value = 1;
    struct pollfd p = { answer_fd, POLLIN, 0 };
    double start;

    bench_resume(s);
    start = bench_now_ns();
    for (int i = 0; i < TRIPS; i++) {
        bench_must(write(ring_fd, &(uint64_t){ 1 }, sizeof(value)) == sizeof(value) && poll(&p, 1, -1) == 1 &&
                   read(answer_fd, &value, sizeof(value)) == sizeof(value), "ring");
    }
    start = bench_now_ns() - start;
    bench_pause(s);
    return start / TRIPS;
}

/* The doorbell's fd as the client gets it; the interrupt's eventfd goes the other way. */
static int prepare_doorbell(int fd)
{
    uint8_t request[WIRE_HEADER_SIZE + WIRE_SET_IRQS_SIZE], reply[WIRE_HEADER_SIZE];
    WireIoFds f = { .argsz = 4096 };
    WireSetIrqs irqs = { .flags = WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD, .index = VFU_DEV_MSIX_IRQ, .count = 1 };
    WireHeader h = { .command = WIRE_GET_REGION_IO_FDS };
    struct iovec iov = { request, wire_io_fds_encode(request, &f) };
    WireStream *s = wire_stream_new(dup(fd), WIRE_MAX_MESSAGE, 0);
    int ring_fd = -1;

    bench_must(s && wire_stream_send(s, &h, &iov, 1, NULL, 0, WIRE_STREAM_WAIT) == 0, "GET_REGION_IO_FDS");
    bench_must(bench_receive_fds(fd, reply, WIRE_IO_FDS_SIZE, &ring_fd, 1) == 1, "doorbell");
    h = (WireHeader){ .command = WIRE_SET_IRQS };
    iov.iov_len = wire_set_irqs_encode(request, &irqs);
    bench_must(wire_stream_send(s, &h, &iov, 1, &answer_fd, 1, WIRE_STREAM_WAIT) == 0, "SET_IRQS");
    bench_receive(fd, reply, sizeof(reply));
    wire_stream_free(s);
    return ring_fd;
}

void bench_doorbell(void)
{
    double bare_ns = INFINITY, library_ns = INFINITY;
    Server bare, library;
    int ring_fd;

    doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    answer_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bare = bench_start(serve_doorbell_bare, 0, false);
    library = bench_start(serve_doorbell_library, 0, false);
    bench_negotiate(library.fd);
    ring_fd = prepare_doorbell(library.fd);
    bench_pause(&bare);
    bench_pause(&library);
    for (int i = 0; i < ROUNDS; i++) {
        bare_ns = fmin(bare_ns, rings(&bare, doorbell_fd));
        library_ns = fmin(library_ns, rings(&library, ring_fd));
    }
    bench_print("doorbell_ioeventfd", (Figure[]){ { "bare_ns", bare_ns, NULL }, { "library_ns", library_ns, NULL },
                                                  { "ratio", library_ns / bare_ns, NULL } }, 3);
    bench_stop(&bare);
    bench_stop(&library);
    close(ring_fd);
    close(doorbell_fd);
    close(answer_fd);
}
