/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs in the guest: 4 KiB direct I/O at queue depth 1 on a block device, sequential
 * and random, reads and writes.  Prints `io NAME SECONDS COUNT` lines.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void run(int fd, const char *name, int random, int is_write, long count, long blocks, char *buf)
{
    uint64_t seed = 88172645463325252ull;
    double start = now();

    for (long i = 0; i < count; i++) {
        long block = i % blocks;

        if (random) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            block = (long)(seed % (uint64_t)blocks);
        }
        ssize_t done = is_write ? pwrite(fd, buf, BLOCK, block * BLOCK) : pread(fd, buf, BLOCK, block * BLOCK);

        if (done != BLOCK) {
            printf("io FAILED %s\n", name);
            exit(1);
        }
    }
    printf("io %s %.4f %ld\n", name, now() - start, count);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int fd = open(argv[1], O_RDWR | O_DIRECT);
    long count = atol(argv[2]), blocks = 64l * 1024 * 1024 / BLOCK;
    char *buf = aligned_alloc(BLOCK, BLOCK);

    if (argc != 3 || fd < 0 || !buf) {
        puts("io FAILED open");
        return 1;
    }
    memset(buf, 0x5a, BLOCK);
    run(fd, "seq-write", 0, 1, count, blocks, buf);
    run(fd, "seq-read", 0, 0, count, blocks, buf);
    run(fd, "rand-write", 1, 1, count, blocks, buf);
    run(fd, "rand-read", 1, 0, count, blocks, buf);
    return 0;
}
