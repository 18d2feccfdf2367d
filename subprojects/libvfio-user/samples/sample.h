/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the sample devices share: the command line of a vfio-user back end (--socket-path, --fd), and a loop that serves one
 * context and one more fd until SIGTERM or SIGINT.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include "libvfio-user.h"

/* A context from the command line, with pvt as its private data; prints what is wrong and exits if there is none. */
vfu_ctx_t *sample_create(int argc, char **argv, void *pvt);

/* Exits with a message unless ok. */
void sample_must(bool ok, const char *what);

/*
 * Realizes and serves ctx: one client after the other, or the one on the socket that came with --fd.  on_fd is called when fd is readable
 * (-1: none).  Destroys ctx; 0, the exit status.
 */
int sample_serve(vfu_ctx_t *ctx, int fd, void (*on_fd)(vfu_ctx_t *ctx, int fd));

/* Region memory of size bytes that an access copies from or to; always count. */
ssize_t sample_memory_access(void *memory, char *buf, size_t count, loff_t offset, bool is_write);

#endif
