/* SPDX-License-Identifier: BSD-3-Clause */
/* A raw vfio-user client for tests: sends what it is told, right or wrong, and reads whole replies. */
#ifndef TEST_CLIENT_H
#define TEST_CLIENT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libvfio-user.h"
#include "wire/io.h"

typedef struct Client {
    vfu_ctx_t *ctx;
    WireStream *stream;
    WireStream *twin;           /* if it was negotiated */
    char path[64];
    void *device;               /* the test's own */
} Client;

/* A context on a fresh path, realized by client_attach(). */
void client_open(Client *c, int flags);
/* Connects and negotiates with this JSON (NULL: none). */
void client_attach(Client *c, const char *json);
int client_connect(Client *c);
/* The same over a connected fd, which is taken over. */
void client_attach_fd(Client *c, int fd, const char *json);
void client_hang_up(Client *c);
void client_close(Client *c);

/* Sends a command, runs the context once, returns the reply's error (0: success); *reply needs wire_message_clear(). */
int client_call(Client *c, unsigned command, const void *body, size_t len, const int *fds, unsigned fd_count,
                WireMessage *reply);
/* The same without interest in the reply's body. */
int client_do(Client *c, unsigned command, const void *body, size_t len);
int client_read(Client *c, uint32_t region, uint64_t offset, void *data, uint32_t count);
int client_write(Client *c, uint32_t region, uint64_t offset, const void *data, uint32_t count);
int client_map(Client *c, uint64_t iova, uint64_t size, uint32_t flags, int fd, uint64_t offset);
int client_unmap(Client *c, uint64_t iova, uint64_t size, uint32_t flags);
int client_set_irqs(Client *c, uint32_t flags, uint32_t index, uint32_t start, uint32_t count, const int *fds,
                    unsigned fd_count);
/* Sends a command and leaves the rest to the test. */
void client_send(Client *c, unsigned command, const void *body, size_t len);
/* DEVICE_FEATURE with this data; *reply needs wire_message_clear(). */
int client_feature(Client *c, uint32_t flags, uint32_t argsz, const void *data, size_t len, WireMessage *reply);
int client_set_state(Client *c, uint32_t state);

/* A file of size bytes in memory. */
int memory_file(size_t size);
/* How many descriptors this process has open. */
unsigned open_fds(void);

#endif
