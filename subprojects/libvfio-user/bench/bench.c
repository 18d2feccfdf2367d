/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench-vfio-user: what the library costs, as ratios to bare system calls of the same sizes in the same run.
 *
 *     bench-vfio-user [--json] [BENCHMARK...]
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "bench.h"

static const struct {
    const char *name;
    void (*run)(void);
} benchmarks[] = {
    { "trips", bench_trips }, { "doorbell", bench_doorbell }, { "maps", bench_maps }, { "lookup", bench_lookup },
    { "dma", bench_dma },
};

/* Set once, before anything runs. */
static bool json;

double bench_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare);
    return values[count / 2];
}

void bench_print(const char *name, const Figure *figures, size_t count)
{
    printf(json ? "{\"bench\": \"%s\"" : "%s", name);
    for (size_t i = 0; i < count; i++) {
        const Figure *f = &figures[i];

        if (f->text) {
            printf(json ? ", \"%s\": \"%s\"" : " %s=%s", f->name, f->text);
        } else {
            printf(json ? ", \"%s\": %.3f" : " %s=%.3f", f->name, f->value);
        }
    }
    printf(json ? "}\n" : "\n");
    fflush(stdout);
}

void bench_must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(EXIT_FAILURE);
    }
}

/* ---- servers ---- */

/* Only a hint: where it is refused the figures are less even. */
static void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

Server bench_start(void (*serve)(int fd, int mode), int mode, bool apart)
{
    Server s;
    int pair[2];

    bench_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
    s.pid = fork();
    bench_must(s.pid >= 0, "fork");
    if (s.pid == 0) {
        close(pair[0]);
        pin(apart ? 1 : 0);
        serve(pair[1], mode);
        _exit(EXIT_SUCCESS);
    }
    close(pair[1]);
    pin(0);
    s.fd = pair[0];
    return s;
}

void bench_resume(const Server *s)
{
    kill(s->pid, SIGCONT);
}

void bench_pause(const Server *s)
{
    int status;

    kill(s->pid, SIGSTOP);
    waitpid(s->pid, &status, WUNTRACED);
}

void bench_stop(Server *s)
{
    int status;

    /* A later server has a copy of the descriptor. */
    shutdown(s->fd, SHUT_RDWR);
    close(s->fd);
    kill(s->pid, SIGCONT);
    waitpid(s->pid, &status, 0);
    bench_must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "server");
}

void bench_serve_blocking(vfu_ctx_t *ctx)
{
    bench_must(vfu_attach_ctx(ctx) == 0, "vfu_attach_ctx");
    while (vfu_run_ctx(ctx) >= 0 || errno == EINTR) {
    }
}

void bench_serve_spinning(vfu_ctx_t *ctx)
{
    while (vfu_attach_ctx(ctx) < 0) {
        bench_must(errno == EAGAIN, "vfu_attach_ctx");
    }
    while (vfu_run_ctx(ctx) >= 0) {
    }
}

/* ---- the client's side ---- */

void bench_send(int fd, const void *data, size_t size)
{
    bench_must(send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size, "send");
}

void bench_receive(int fd, void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = recv(fd, (char *)data + done, size - done, 0);

        bench_must(n > 0, "recv");
        done += (size_t)n;
    }
}

unsigned bench_receive_fds(int fd, void *data, size_t size, int *fds, unsigned room)
{
    WireStream *s = wire_stream_new(dup(fd), WIRE_MAX_MESSAGE, 0);
    WireMessage m;
    unsigned count;

    bench_must(s && wire_stream_receive(s, &m, WIRE_STREAM_WAIT) == 0 && wire_header_error(&m.header) == 0 && m.len >= size &&
               m.fd_count <= room, "message with fds");
    memcpy(data, m.body, size);
    count = m.fd_count;
    for (unsigned i = 0; i < count; i++) {
        fds[i] = m.fds[i];
        m.fds[i] = -1;
    }
    wire_message_clear(&m);
    wire_stream_free(s);
    return count;
}

void bench_negotiate(int fd)
{
    static const char caps[] = "{\"capabilities\":{\"max_msg_fds\":8}}";
    uint8_t bytes[WIRE_HEADER_SIZE + WIRE_VERSION_SIZE + sizeof(caps)] = { 0 }, reply[512];
    WireHeader h = { .command = WIRE_VERSION, .size = sizeof(bytes) };

    wire_header_encode(bytes, &h);
    memcpy(bytes + WIRE_HEADER_SIZE + WIRE_VERSION_SIZE, caps, sizeof(caps));
    bench_send(fd, bytes, sizeof(bytes));
    bench_must(recv(fd, reply, sizeof(reply), 0) > (ssize_t)WIRE_HEADER_SIZE, "VERSION");
}

/* ---- command line ---- */

static bool run_named(const char *name)
{
    for (size_t i = 0; i < sizeof(benchmarks) / sizeof(benchmarks[0]); i++) {
        if (strcmp(name, benchmarks[i].name) == 0) {
            benchmarks[i].run();
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    int first = 1;

    if (argc > 1 && strcmp(argv[1], "--json") == 0) {
        json = true;
        first = 2;
    }
    for (int i = first; i < argc; i++) {
        if (!run_named(argv[i])) {
            fprintf(stderr, "usage: %s [--json] [trips | doorbell | maps | lookup | dma]...\n", argv[0]);
            return EXIT_FAILURE;
        }
    }
    for (size_t i = 0; first == argc && i < sizeof(benchmarks) / sizeof(benchmarks[0]); i++) {
        benchmarks[i].run();
    }
    return EXIT_SUCCESS;
}
