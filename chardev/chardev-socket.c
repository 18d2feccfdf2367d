/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sockets: unix(7) by path and TCP by host and port, as client or as server.  A
 * server takes one connection at a time and listens again after a hang-up; a client with reconnect= dials again.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "chardev-internal.h"
#include "core/error.h"
#include "core/prop.h"

/* A host that does not answer is an error after that time, in seconds. */
#define SOCKET_CONNECT_TIMEOUT 30
#define SOCKET_RECONNECT_MAX   86400

/* More than one come with a message only by mistake: they are closed. */
#define SOCKET_FDS_MAX 16

static void keep_first_fd(Chardev *chr, const struct cmsghdr *cmsg)
{
    size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

    for (size_t i = 0; i < count; i++) {
        int old = i ? -1 : chardev_take_fd(chr), fd;

        memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
        if (old >= 0) {
            close(old);
        }
        if (i) {
            close(fd);
        } else {
            chr->passed_fd = fd;
        }
    }
}

ssize_t chardev_socket_read(Chardev *chr, void *buf, size_t len)
{
    union {
        char buf[CMSG_SPACE(SOCKET_FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {buf, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
    ssize_t n = recvmsg(chr->in_fd, &msg, MSG_CMSG_CLOEXEC);

    for (struct cmsghdr *cmsg = n < 0 ? NULL : CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS) {
            keep_first_fd(chr, cmsg);
        }
    }
    return n;
}

static void socket_accept(void *opaque)
{
    Chardev *chr = opaque;
    int fd = accept4(chr->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int one = 1;

    if (fd < 0) {
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* not TCP: refused, and no matter */
    loop_remove_fd(g_steal_pointer(&chr->listen_watch));
    chardev_set_fds(chr, fd, fd);
}

static void socket_listen_again(Chardev *chr)
{
    if (chr->listen_fd >= 0 && !chr->listen_watch) {
        chr->listen_watch = loop_add_fd(chr->loop, chr->listen_fd, socket_accept, NULL, chr);
    }
}

/* --- a client that connects again --- */

struct SocketDial {
    struct sockaddr_storage addr;
    socklen_t len;
    int64_t wait_ns; /* from a failure or hang-up to the next try */
    bool told;       /* that the other side does not answer; once is enough */
    Timer *timer;    /* NULL: not waiting */
    int fd;          /* being connected; -1: none */
    LoopFd *watch;
};

static void socket_dial(void *opaque);

static void socket_dial_later(Chardev *chr)
{
    struct SocketDial *d = chr->dial;

    if (!d->timer) {
        d->timer = timer_new(chr->loop, CLOCK_KIND_REALTIME, socket_dial, chr);
    }
    timer_set(d->timer, clock_now(chr->obj.machine->clocks, CLOCK_KIND_REALTIME) + d->wait_ns);
}

static void socket_dial_end(Chardev *chr, int err)
{
    struct SocketDial *d = chr->dial;
    int fd = d->fd, one = 1;

    if (d->watch) {
        loop_remove_fd(g_steal_pointer(&d->watch));
    }
    d->fd = -1;
    if (!err) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* not TCP: refused, and no matter */
        d->told = false;
        chardev_set_fds(chr, fd, fd);
        return;
    }
    if (fd >= 0) {
        close(fd);
    }
    if (!d->told) {
        g_printerr("chardev %s: cannot connect to %s: %s; trying again every %d s\n", chr->obj.id, chr->filename,
                   g_strerror(err), (int)(d->wait_ns / G_GINT64_CONSTANT(1000000000)));
        d->told = true;
    }
    socket_dial_later(chr);
}

static void socket_dialled(void *opaque)
{
    Chardev *chr = opaque;
    int err = 0;
    socklen_t len = sizeof(err);

    if (getsockopt(chr->dial->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0) {
        err = errno;
    }
    socket_dial_end(chr, err);
}

static void socket_dial(void *opaque)
{
    Chardev *chr = opaque;
    struct SocketDial *d = chr->dial;

    d->fd = socket(d->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (d->fd < 0) {
        socket_dial_end(chr, errno);
    } else if (connect(d->fd, (struct sockaddr *)&d->addr, d->len) == 0) {
        socket_dial_end(chr, 0);
    } else if (errno == EINPROGRESS) {
        d->watch = loop_add_fd(chr->loop, d->fd, NULL, socket_dialled, chr);
    } else {
        socket_dial_end(chr, errno);
    }
}

/* Listens, or dials, again. */
static void socket_resume(Chardev *chr)
{
    socket_listen_again(chr);
    if (chr->dial) {
        socket_dial_later(chr);
    }
}

/* Neither. */
static void socket_rest(Chardev *chr)
{
    struct SocketDial *d = chr->dial;

    if (chr->listen_watch) {
        loop_remove_fd(g_steal_pointer(&chr->listen_watch));
    }
    if (!d) {
        return;
    }
    if (d->watch) {
        loop_remove_fd(g_steal_pointer(&d->watch));
    }
    if (d->fd >= 0) {
        close(d->fd);
        d->fd = -1;
    }
    g_clear_pointer(&d->timer, timer_free);
}

static void socket_close(Chardev *chr)
{
    socket_rest(chr);
    g_clear_pointer(&chr->dial, g_free);
    if (chr->listen_fd >= 0) {
        close(chr->listen_fd);
        chr->listen_fd = -1;
    }
    if (chr->unlink_path) {
        unlink(chr->unlink_path);
        g_clear_pointer(&chr->unlink_path, g_free);
    }
}

/* A socket left behind by a process that was killed is in the way: nobody listens, so it may go. */
static void socket_remove_stale(const struct sockaddr_un *sun)
{
    struct stat st;
    int fd;

    if (lstat(sun->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        if (connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) != 0 && errno == ECONNREFUSED) {
            unlink(sun->sun_path);
        }
        close(fd);
    }
}

static bool socket_start(Chardev *chr, int family, const struct sockaddr *addr, socklen_t len, bool server,
                         GError **error)
{
    struct timeval timeout = {.tv_sec = SOCKET_CONNECT_TIMEOUT};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0) {
        error_set_errno(error, errno, "chardev %s: cannot make a socket", chr->obj.id);
        return false;
    }
    if (server) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (bind(fd, addr, len) != 0 || listen(fd, 1) != 0) {
            error_set_errno(error, errno, "chardev %s: cannot listen at %s", chr->obj.id, chr->filename);
            close(fd);
            return false;
        }
        chardev_set_nonblocking(fd, true);
        chr->listen_fd = fd;
        return true;
    }
    if (chr->dial) {
        close(fd);
        memcpy(&chr->dial->addr, addr, len);
        chr->dial->len = len;
        socket_dial(chr);
        return true;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    if (connect(fd, addr, len) != 0) {
        error_set_errno(error, errno == EINPROGRESS ? ETIMEDOUT : errno, "chardev %s: cannot connect to %s",
                        chr->obj.id, chr->filename);
        close(fd);
        return false;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    chardev_set_nonblocking(fd, true);
    chardev_set_fds(chr, fd, fd);
    return true;
}

static bool socket_open_unix(Chardev *chr, const char *path, bool server, GError **error)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    if (!*path || strlen(path) >= sizeof(sun.sun_path)) {
        error_set(error, "chardev %s: path= is empty or too long (%zu bytes, allowed 1..%zu)", chr->obj.id,
                  strlen(path), sizeof(sun.sun_path) - 1);
        return false;
    }
    strcpy(sun.sun_path, path);
    chr->filename = g_strdup_printf("unix:%s%s", path, server ? ",server=on" : "");
    chr->passes_fds = true;
    if (server) {
        socket_remove_stale(&sun);
    }
    if (!socket_start(chr, AF_UNIX, (struct sockaddr *)&sun, sizeof(sun), server, error)) {
        return false;
    }
    if (server) {
        chr->unlink_path = g_strdup(path);
    }
    return true;
}

static bool socket_open_tcp(Chardev *chr, const char *host, const char *port, bool server, GError **error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = server ? AI_PASSIVE : 0};
    struct addrinfo *list = NULL;
    g_autofree char *where = g_strdup_printf("chardev %s", chr->obj.id);
    bool ok = false;
    int rc;

    if (!opts_port_check(where, port, error)) {
        return false;
    }
    rc = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (rc != 0) {
        error_set(error, "chardev %s: no such address %s:%s: %s", chr->obj.id, host, port, gai_strerror(rc));
        return false;
    }
    chr->filename = g_strdup_printf("tcp:%s:%s%s", host, port, server ? ",server=on" : "");
    for (struct addrinfo *ai = list; ai && !ok; ai = ai->ai_next) {
        g_clear_error(error);
        ok = socket_start(chr, ai->ai_family, ai->ai_addr, ai->ai_addrlen, server, error);
    }
    freeaddrinfo(list);
    return ok;
}

/* The loop goes on meanwhile, so that a signal still ends the program. */
static bool socket_wait(Chardev *chr, GError **error)
{
    int code;

    g_printerr("chardev %s: waiting for a connection at %s\n", chr->obj.id, chr->filename);
    while (!chr->connected) {
        loop_iterate(chr->loop, true);
        machine_process_requests(chr->obj.machine);
        if (machine_shutdown_requested(chr->obj.machine, &code)) {
            error_set(error, "chardev %s: ended while waiting for a connection at %s", chr->obj.id,
                      chr->filename);
            return false;
        }
    }
    return true;
}

/* reconnect=SECONDS; 0 is as without. */
static bool socket_parse_reconnect(Chardev *chr, struct json_object *opts, bool server, GError **error)
{
    const char *text = chardev_opt_str(opts, "reconnect");
    uint64_t seconds = 0;

    if (text && !g_ascii_string_to_unsigned(text, 10, 0, SOCKET_RECONNECT_MAX, &seconds, NULL)) {
        error_set(error, "chardev %s: bad reconnect= ('%s', allowed 0..%d seconds)", chr->obj.id, text, SOCKET_RECONNECT_MAX);
        return false;
    }
    if (seconds && server) {
        error_set(error, "chardev %s: reconnect= is for clients; a server listens again by itself", chr->obj.id);
        return false;
    }
    if (seconds) {
        chr->dial = g_new0(struct SocketDial, 1);
        chr->dial->fd = -1;
        chr->dial->wait_ns = (int64_t)seconds * G_GINT64_CONSTANT(1000000000);
    }
    return true;
}

static bool socket_open(Chardev *chr, struct json_object *opts, GError **error)
{
    const char *path = chardev_opt_str(opts, "path");
    const char *host = chardev_opt_str(opts, "host");
    const char *port = chardev_opt_str(opts, "port");
    bool server, wait, ok;

    if (!chardev_opt_bool(chr, opts, "server", false, &server, error) ||
        !chardev_opt_bool(chr, opts, "telnet", false, &chr->telnet, error) ||
        !chardev_opt_bool(chr, opts, "wait", server, &wait, error)) {
        return false;
    }
    if (!!path == !!port) {
        error_set(error, "chardev %s: a socket needs path=PATH, or host=HOST,port=PORT", chr->obj.id);
        return false;
    }
    if (wait && !server) {
        error_set(error, "chardev %s: wait=on is for server=on", chr->obj.id);
        return false;
    }
    if (!socket_parse_reconnect(chr, opts, server, error)) {
        return false;
    }
    ok = path ? socket_open_unix(chr, path, server, error)
              : socket_open_tcp(chr, host ? host : "", port, server, error);
    if (!ok) {
        return false;
    }
    socket_listen_again(chr);
    return !wait || socket_wait(chr, error);
}

static const char *const socket_keys[] = {"path", "host", "port", "server", "wait", "telnet", "reconnect", NULL};

const ChardevBackend chardev_socket = {
    .name = "socket",
    .doc = "unix or TCP socket, client or server",
    .keys = socket_keys,
    .open = socket_open,
    .close = socket_close,
    .hung_up = socket_resume,
    .rest = socket_rest,
};
