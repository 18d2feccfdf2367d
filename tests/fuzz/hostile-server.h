/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vfio-user server for the client's fuzzer: it begins with right answers and damages them (bits, sizes,
 * chains, counts, ids, types, fds, timing), sends requests nobody expects, and hangs up.  What it does
 * follows from the seed and from what the client asks.
 */
#ifndef TESTS_FUZZ_HOSTILE_SERVER_H
#define TESTS_FUZZ_HOSTILE_SERVER_H

#include <glib.h>
#include <stdint.h>

typedef struct HostileServer HostileServer;

/* Serves one connection at `path` in a thread.  harm: damaged answers in a thousand. */
HostileServer *hostile_server_new(const char *path, uint64_t seed, unsigned harm);
void hostile_server_free(HostileServer *s);

#endif
