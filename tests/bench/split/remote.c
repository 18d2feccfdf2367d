/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client of a served device for benchmarks. */
#include "remote.h"

#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define START_MS 10000
#define MAX_FDS  8
enum { VERSION = 1, DMA_MAP = 2, REGION_IO_FDS = 6, REGION_READ = 9, REGION_WRITE = 10 };
#define NO_REPLY 0x10u
#define ERROR    0x20u

typedef struct Header {
    uint16_t id, command;
    uint32_t size, flags, error;
} Header;

typedef struct Access {
    uint64_t offset;
    uint32_t region, count;
    uint64_t data;
} Access;

void remote_die(const char *what)
{
    fprintf(stderr, "benchmark: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void send_all(Remote *r, unsigned command, uint32_t flags, const void *body, size_t len, int fd)
{
    Header h = {r->id++, (uint16_t)command, (uint32_t)(sizeof(h) + len), flags, 0};
    struct iovec iov[2] = {{&h, sizeof(h)}, {(void *)body, len}};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

    if (fd >= 0) {
        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        *CMSG_FIRSTHDR(&msg) = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), &fd, sizeof(fd));
    }
    if (sendmsg(r->sock, &msg, MSG_NOSIGNAL) != (ssize_t)h.size) {
        remote_die("send");
    }
}

/* The body of a reply: what of it fits in len bytes; fds has room for MAX_FDS. */
static void receive(Remote *r, void *body, size_t len, int *fds)
{
    Header h;
    struct iovec iov = {&h, sizeof(h)};
    char control[CMSG_SPACE(MAX_FDS * sizeof(int))], rest[256];
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};

    if (recvmsg(r->sock, &msg, MSG_WAITALL) != sizeof(h) || h.flags & ERROR) {
        errno = (int)h.error;
        remote_die("reply");
    }
    if (fds && CMSG_FIRSTHDR(&msg)) {
        memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&msg)),
               MIN(CMSG_FIRSTHDR(&msg)->cmsg_len - CMSG_LEN(0), MAX_FDS * sizeof(int)));
    }
    for (size_t left = h.size - sizeof(h), take; left; left -= take) {
        take = len ? MIN(len, left) : MIN(sizeof(rest), left);
        if (recv(r->sock, len ? body : rest, take, MSG_WAITALL) != (ssize_t)take) {
            remote_die("reply");
        }
        len = 0;
    }
}

uint64_t remote_get(Remote *r, unsigned region, uint32_t offset, unsigned size)
{
    Access a = {offset, region, size, 0};

    send_all(r, REGION_READ, 0, &a, 16, -1);
    receive(r, &a, 16 + size, NULL);
    return a.data;
}

void remote_set(Remote *r, unsigned region, uint32_t offset, unsigned size, uint64_t val, bool posted)
{
    Access a = {offset, region, size, val};

    send_all(r, REGION_WRITE, posted ? NO_REPLY : 0, &a, 16 + size, -1);
    if (!posted) {
        receive(r, &a, 16, NULL);
    }
}

void remote_get_bells(Remote *r, unsigned region)
{
    const uint32_t ask[4] = {65536, 0, region, 0};
    struct {
        uint32_t argsz, flags, index, count;
        struct {
            uint64_t offset, size;
            uint32_t fd, type, flags, shadow;
            uint64_t shadow_offset, datamatch;
        } entry[REMOTE_BELLS];
    } answer;
    int fds[MAX_FDS];

    memset(fds, -1, sizeof(fds));
    send_all(r, REGION_IO_FDS, 0, ask, sizeof(ask), -1);
    receive(r, &answer, sizeof(answer), fds);
    if (!answer.count || answer.count > REMOTE_BELLS) {
        remote_die("doorbells");
    }
    for (uint32_t i = 0; i < answer.count; i++) {
        uint32_t shadow = answer.entry[i].shadow;

        if (shadow < MAX_FDS && !r->values) {
            r->values = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[shadow], 0);
            if (r->values == MAP_FAILED) {
                remote_die("doorbells");
            }
        }
        r->bells[r->bell_count++] =
            (RemoteBell){answer.entry[i].offset, fds[answer.entry[i].fd % MAX_FDS],
                         shadow < MAX_FDS ? r->values + answer.entry[i].shadow_offset / 4 : NULL};
    }
}

bool remote_ring(Remote *r, uint32_t offset, uint32_t val)
{
    const uint64_t one = 1;

    for (unsigned i = 0; i < r->bell_count; i++) {
        RemoteBell *b = &r->bells[i];

        if (b->offset == offset) {
            if (b->value) {
                __atomic_store_n(b->value, val, __ATOMIC_RELEASE);
            }
            if (write(b->event, &one, sizeof(one)) != sizeof(one)) {
                remote_die("eventfd");
            }
            return true;
        }
    }
    return false;
}

void remote_connect(Remote *r, const char *path, int memory, uint64_t size)
{
    static const char hello[] = "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":8}}";
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct {
        uint32_t argsz, flags;
        uint64_t offset, address, size;
    } map = {32, 3, 0, 0, size};

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    r->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (int i = 0; connect(r->sock, (struct sockaddr *)&addr, sizeof(addr)) < 0; i++) {
        if (i == START_MS * 20) {
            remote_die(path);
        }
        g_usleep(50);
    }
    send_all(r, VERSION, 0, hello, sizeof(hello), -1);
    receive(r, NULL, 0, NULL);
    send_all(r, DMA_MAP, 0, &map, sizeof(map), memory);
    receive(r, NULL, 0, NULL);
}
