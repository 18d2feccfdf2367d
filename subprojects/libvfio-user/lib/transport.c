/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a client comes from: listening sockets of the families AF_UNIX, AF_INET, AF_INET6 and AF_VSOCK, standard input
 * and output, and what has to be known of a connection.  Only AF_UNIX carries descriptors.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "private.h"

/* bind() and listen(); closes fd when one of them fails, and removes the path.  The backlog is one client that waits. */
static int bind_and_listen(int fd, const void *addr, socklen_t len, const char *path)
{
    int err;

    if (bind(fd, addr, len) == 0) {
        if (listen(fd, 0) == 0) {
            return fd;
        }
        err = errno;
        if (path) {
            unlink(path);
        }
        errno = err;
    }
    err = errno;
    close(fd);
    return vfu_fail(err);
}

static int listen_unix(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    size_t len = strlen(path);
    int fd;

    if (len >= sizeof(addr.sun_path)) {
        return vfu_fail(ENAMETOOLONG);
    }
    memcpy(addr.sun_path, path, len + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? -1 : bind_and_listen(fd, &addr, sizeof(addr), path);
}

/* Splits "host:port" or "[host]:port" at the last colon into host (copied to room, size bytes) and port; NULL: malformed. */
static const char *split_address(const char *address, char *room, size_t size)
{
    const char *colon = strrchr(address, ':');
    size_t len;

    if (colon == NULL || colon[1] == '\0') {
        return NULL;
    }
    len = (size_t)(colon - address);
    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }
    if (len >= size) {
        return NULL;
    }
    memcpy(room, address, len);
    room[len] = '\0';
    return colon + 1;
}

static int listen_tcp(const char *address)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list;
    char host[256];
    const char *port = split_address(address, host, sizeof(host));
    const int on = 1;
    int fd = -1, err;

    if (port == NULL) {
        return vfu_fail(EINVAL);
    }
    err = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
    if (err) {
        return vfu_fail(err == EAI_SYSTEM ? errno : err == EAI_MEMORY ? ENOMEM : EADDRNOTAVAIL);
    }
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0) {
            /* A server that was restarted need not wait until the old connections are forgotten. */
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
            fd = bind_and_listen(fd, a->ai_addr, a->ai_addrlen, NULL);
        }
    }
    err = errno;
    freeaddrinfo(list);
    return fd < 0 ? vfu_fail(err) : fd;
}

/* A whole decimal number below 2^32. */
static bool parse_u32(const char *text, uint32_t *value)
{
    unsigned long n;
    char *end;

    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    n = strtoul(text, &end, 10);
    *value = (uint32_t)n;
    return errno == 0 && *end == '\0' && n <= UINT32_MAX;
}

static int listen_vsock(const char *address)
{
    struct sockaddr_vm addr = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY };
    char cid[16];
    const char *port = split_address(address, cid, sizeof(cid));
    uint32_t number;
    int fd;

    if (port == NULL || !parse_u32(port, &number) || (cid[0] && !parse_u32(cid, &addr.svm_cid))) {
        return vfu_fail(EINVAL);
    }
    addr.svm_port = number;
    fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? -1 : bind_and_listen(fd, &addr, sizeof(addr), NULL);
}

int transport_listen(vfu_trans_t trans, const char *address)
{
    switch ((int)trans) {
    case VFU_TRANS_SOCK:
        return listen_unix(address);
    case VFU_TRANS_TCP:
        return listen_tcp(address);
    case VFU_TRANS_VSOCK:
        return listen_vsock(address);
    default:
        return vfu_fail(ENOTSUP);
    }
}

int transport_take_stdio(int fds[2])
{
    fds[0] = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
    fds[1] = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    if (fds[0] < 0 || fds[1] < 0) {
        int err = errno;

        if (fds[0] >= 0) {
            close(fds[0]);
        }
        if (fds[1] >= 0) {
            close(fds[1]);
        }
        return vfu_fail(err);
    }
    return 0;
}

int transport_accept(int listen_fd, bool nb)
{
    int fd;

    if (nb) {
        /* The listener may be shared or blocking: only accept when it will not wait. */
        struct pollfd p = { .fd = listen_fd, .events = POLLIN };
        int flags = fcntl(listen_fd, F_GETFL);

        if (poll(&p, 1, 0) <= 0) {
            return vfu_fail(EAGAIN);
        }
        if (flags >= 0 && !(flags & O_NONBLOCK)) {
            fcntl(listen_fd, F_SETFL, flags | O_NONBLOCK);
        }
    }
    fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    return fd < 0 && errno == EWOULDBLOCK ? vfu_fail(EAGAIN) : fd;
}

int transport_set_up(int fd)
{
    int domain = AF_UNSPEC;
    const int on = 1;
    socklen_t len = sizeof(domain);

    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
    if (domain == AF_INET || domain == AF_INET6) {
        /* Each message is one send: waiting for more would only delay it. */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        /* A client whose machine is gone says no goodbye. */
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    }
    return domain;
}
