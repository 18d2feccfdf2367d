/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rate of a file by itself: bare system calls of one thread that waits for nothing else. */
#include "bare.h"

#include <fcntl.h>
#include <glib.h>
#include <unistd.h>
#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

#include "remote.h"

static double now(void)
{
    return (double)g_get_monotonic_time() / 1e6;
}

/* The place of the next operation: as the driver of the benchmark chooses them. */
static uint64_t next_place(uint64_t *state, uint64_t places)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state % places;
}

static uint64_t one_by_one(int fd, bool write, uint8_t *buf, uint64_t size, unsigned len, double end)
{
    uint64_t done = 0, state = 88172645463325252u;

    for (; now() < end; done++) {
        off_t at = (off_t)(next_place(&state, size / len) * len);

        if ((write ? pwrite(fd, buf, len, at) : pread(fd, buf, len, at)) != (ssize_t)len) {
            remote_die("file");
        }
    }
    return done;
}

#ifdef HAVE_LIBURING
static void submit_one(struct io_uring *ring, int fd, bool write, uint8_t *buf, uint64_t at, unsigned len)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

    if (write) {
        io_uring_prep_write(sqe, fd, buf, len, at);
    } else {
        io_uring_prep_read(sqe, fd, buf, len, at);
    }
    io_uring_sqe_set_data(sqe, buf);
}

static uint64_t many_at_once(int fd, bool write, unsigned depth, uint8_t *buf, uint64_t size, unsigned len, double end)
{
    uint64_t done = 0, state = 88172645463325252u;
    struct io_uring_cqe *cqe;
    struct io_uring ring;
    unsigned in_flight = 0;

    if (io_uring_queue_init(depth, &ring, 0) < 0) {
        return 0;
    }
    for (; in_flight < depth; in_flight++) {
        submit_one(&ring, fd, write, buf + in_flight * len, next_place(&state, size / len) * len, len);
    }
    while (in_flight) {
        if (io_uring_submit_and_wait(&ring, 1) < 0) {
            remote_die("io_uring");
        }
        while (io_uring_peek_cqe(&ring, &cqe) == 0) {
            uint8_t *free_buf = io_uring_cqe_get_data(cqe);

            if (cqe->res != (int)len) {
                remote_die("file");
            }
            io_uring_cqe_seen(&ring, cqe);
            in_flight--;
            done++;
            if (now() < end) {
                submit_one(&ring, fd, write, free_buf, next_place(&state, size / len) * len, len);
                in_flight++;
            }
        }
    }
    io_uring_queue_exit(&ring);
    return done;
}
#else
static uint64_t many_at_once(int fd, bool write, unsigned depth, uint8_t *buf, uint64_t size, unsigned len, double end)
{
    return 0;
}
#endif

static int open_file(const char *path, bool write)
{
    int fd = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);

    if (fd < 0) {
        remote_die(path);
    }
    return fd;
}

double bare_uring_rate(const char *path, bool write, unsigned depth, uint64_t size, unsigned len, double seconds)
{
    int fd = open_file(path, write);
    g_autofree uint8_t *buf = g_malloc0((size_t)depth * len);
    double begin = now(), done = (double)many_at_once(fd, write, depth, buf, size, len, begin + seconds);

    close(fd);
    return done / (now() - begin);
}

double bare_waiting_rate(const char *path, bool write, uint64_t size, unsigned len, double seconds)
{
    int fd = open_file(path, write);
    g_autofree uint8_t *buf = g_malloc0(len);
    double begin = now(), done = (double)one_by_one(fd, write, buf, size, len, begin + seconds);

    close(fd);
    return done / (now() - begin);
}
