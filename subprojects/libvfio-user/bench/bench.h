/* SPDX-License-Identifier: BSD-3-Clause */
/* What the benchmarks of the library share: time, servers in processes of their own, and how figures are printed. */
#ifndef BENCH_H
#define BENCH_H

#include <sys/types.h>

#include "libvfio-user.h"
#include "wire/io.h"

#define BENCH_ROUNDS 33         /* odd, and a third of it too: the median is one of them */

/* One benchmark; it prints its figures itself. */
void bench_trips(void);
void bench_doorbell(void);
void bench_maps(void);
void bench_lookup(void);
void bench_dma(void);

double bench_now_ns(void);
/* Sorts. */
double bench_median(double *values, size_t count);

typedef struct Figure {
    const char *name;
    double value;               /* unless text is set */
    const char *text;
} Figure;

/* One line: text, or an object with --json. */
void bench_print(const char *name, const Figure *figures, size_t count);

/* A process that serves the other end of *fd; it is stopped until bench_resume(). */
typedef struct Server {
    pid_t pid;
    int fd;
} Server;

/* apart: on another CPU than the client (if there are two), else on the same, so that no run is luckier than another. */
Server bench_start(void (*serve)(int fd, int mode), int mode, bool apart);
/* Lets only this one run: two that spin would share a CPU. */
void bench_resume(const Server *s);
void bench_pause(const Server *s);
/* Hangs up, waits for the end. */
void bench_stop(Server *s);

/* VERSION by bare calls. */
void bench_negotiate(int fd);
void bench_send(int fd, const void *data, size_t size);
/* Receives exactly size bytes. */
void bench_receive(int fd, void *data, size_t size);
/* The same for a whole message with its fds; returns their number. */
unsigned bench_receive_fds(int fd, void *data, size_t size, int *fds, unsigned room);
void bench_must(bool ok, const char *what);

/* Serves ctx until the client is gone: in blocking calls, or in a loop that does not sleep. */
void bench_serve_blocking(vfu_ctx_t *ctx);
void bench_serve_spinning(vfu_ctx_t *ctx);

#endif
