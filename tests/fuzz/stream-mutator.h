/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Streams of migration that are nearly right: their sums are, so that what reads them gets past those. */
#ifndef TESTS_FUZZ_STREAM_MUTATOR_H
#define TESTS_FUZZ_STREAM_MUTATOR_H

#include "migration/state.h"

uint64_t fuzz_dice(uint64_t *random);
/* Its records but the last (MIG_END); from a file, compressed by gzip or not, which must be a stream. */
GPtrArray *stream_read(const char *path);
/* One to four things are changed, in copies of what `pieces` has. */
GPtrArray *stream_mutate(const GPtrArray *pieces, uint64_t *random);
/* As a file, with right sums; sometimes damaged after those were made. */
void stream_write(const GPtrArray *pieces, const char *path, uint64_t *random);

#endif
