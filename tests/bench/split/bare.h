/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the host makes of a file without a controller in front: the most that a disk on that file can do. */
#ifndef BENCH_BARE_H
#define BENCH_BARE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Operations a second of `len` bytes at random multiples of it below `size`, `depth` of them at once, for that long.  By
 * io_uring, as a thread does that must not be held up by a disk; 0: the kernel has none for us.  Errors end the program.
 */
double bare_uring_rate(const char *path, bool write, unsigned depth, uint64_t size, unsigned len, double seconds);
/* The same one by one, by pread and pwrite, which may hold their thread up for as long as the disk likes. */
double bare_waiting_rate(const char *path, bool write, uint64_t size, unsigned len, double seconds);

#endif
