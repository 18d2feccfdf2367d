/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client of a served device for benchmarks: messages of vfio-user laid out by hand, doorbells.  Errors end
 * the program. */
#ifndef BENCH_REMOTE_H
#define BENCH_REMOTE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define REMOTE_CONFIG 7 /* region of config space */
#define REMOTE_BELLS  256

typedef struct RemoteBell {
    uint64_t offset;
    int event;
    uint32_t *value; /* where the value goes; NULL: nowhere */
} RemoteBell;

typedef struct Remote {
    int sock;
    uint16_t id;
    uint32_t *values; /* shared memory of the doorbells, or NULL */
    RemoteBell bells[REMOTE_BELLS];
    unsigned bell_count;
} Remote;

_Noreturn void remote_die(const char *what);
/* Waits for the server's socket, and maps size bytes of `memory` at 0. */
void remote_connect(Remote *r, const char *path, int memory, uint64_t size);
uint64_t remote_get(Remote *r, unsigned region, uint32_t offset, unsigned size);
void remote_set(Remote *r, unsigned region, uint32_t offset, unsigned size, uint64_t val, bool posted);
void remote_get_bells(Remote *r, unsigned region);
/* Rings the doorbell at that offset; false: there is none. */
bool remote_ring(Remote *r, uint32_t offset, uint32_t val);

#endif
