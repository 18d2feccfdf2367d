/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs in the guest: 4 KiB direct I/O on a block device, sequential (depth 1) and random (depth 1 and 32, by Linux's
 * io_submit), reads and writes.  Prints `io NAME SECONDS COUNT` lines.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BLOCK     4096
#define BLOCKS    (64l * 1024 * 1024 / BLOCK)
#define MAX_DEPTH 32

typedef struct Row {
    const char *name;
    bool random, is_write;
    long depth;
} Row;

static const Row rows[] = {
    {"seq-write", false, true, 1},     {"seq-read", false, false, 1},      {"rand-write-1", true, true, 1},
    {"rand-read-1", true, false, 1},   {"rand-write-32", true, true, 32},  {"rand-read-32", true, false, 32},
};

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void fail(const Row *row)
{
    printf("io FAILED %s\n", row->name);
    exit(1);
}

static long next_block(const Row *row, uint64_t *seed, long i)
{
    if (!row->random) {
        return i % BLOCKS;
    }
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (long)(*seed % (uint64_t)BLOCKS);
}

static void run_one_by_one(int fd, const Row *row, long count, char *buf)
{
    uint64_t seed = 88172645463325252ull;

    for (long i = 0; i < count; i++) {
        off_t at = next_block(row, &seed, i) * BLOCK;

        if ((row->is_write ? pwrite(fd, buf, BLOCK, at) : pread(fd, buf, BLOCK, at)) != BLOCK) {
            fail(row);
        }
    }
}

/* Keeps row->depth requests in flight; what has ended is started again in one call. */
static void run_many(int fd, const Row *row, long count, char *buf)
{
    uint64_t seed = 88172645463325252ull;
    struct iocb cbs[MAX_DEPTH], *idle[MAX_DEPTH];
    struct io_event events[MAX_DEPTH];
    aio_context_t context = 0;
    long started = 0, done = 0, n = row->depth;

    if (syscall(SYS_io_setup, MAX_DEPTH, &context) < 0) {
        fail(row);
    }
    for (long i = 0; i < n; i++) {
        idle[i] = &cbs[i];
    }
    while (done < count) {
        long batch = n < count - started ? n : count - started;

        for (long i = 0; i < batch; i++) {
            *idle[i] = (struct iocb){.aio_lio_opcode = row->is_write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
                                     .aio_fildes = (uint32_t)fd,
                                     .aio_data = (uintptr_t)idle[i],
                                     .aio_buf = (uintptr_t)(buf + (idle[i] - cbs) * BLOCK),
                                     .aio_nbytes = BLOCK,
                                     .aio_offset = next_block(row, &seed, started + i) * BLOCK};
        }
        if (batch && syscall(SYS_io_submit, context, batch, idle) != batch) {
            fail(row);
        }
        started += batch;
        n = syscall(SYS_io_getevents, context, 1l, (long)MAX_DEPTH, events, NULL);
        for (long i = 0; i < n; i++) {
            if (events[i].res != BLOCK) {
                fail(row);
            }
            idle[i] = (struct iocb *)(uintptr_t)events[i].data;
        }
        if (n < 1) {
            fail(row);
        }
        done += n;
    }
    syscall(SYS_io_destroy, context);
}

int main(int argc, char **argv)
{
    int fd = argc == 3 ? open(argv[1], O_RDWR | O_DIRECT) : -1;
    long count = argc == 3 ? atol(argv[2]) : 0;
    char *buf = aligned_alloc(BLOCK, MAX_DEPTH * BLOCK);

    if (count < 1 || fd < 0 || !buf) {
        puts("io FAILED open");
        return 1;
    }
    memset(buf, 0x5a, MAX_DEPTH * BLOCK);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        double start = now();

        (rows[i].depth > 1 ? run_many : run_one_by_one)(fd, &rows[i], count, buf);
        printf("io %s %.4f %ld\n", rows[i].name, now() - start, count);
        fflush(stdout);
    }
    return 0;
}
