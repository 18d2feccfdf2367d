/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -netdev socket, stream and dgram: frames to and from another emulator.  Over a stream a frame follows its
 * length in four bytes, most significant first; as datagrams each is one.  A listening stream takes one peer
 * at a time and listens again when it has gone.
 */
#include <errno.h>
#include <glib-unix.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/error.h"
#include "socket-addr.h"

#define SOCKET_HEADER_LEN 4
/* Frames taken in one go, so that others get their turn. */
#define SOCKET_BATCH 64

typedef struct SocketNet {
    int fd, listen_fd; /* -1: none */
    bool stream, connecting;
    LoopFd *watch, *listen_watch;
    NetAddr peer; /* of datagrams (len 0: nobody yet); of a stream who was called, or where it listens */
    char *unlink_path;
    uint8_t in[SOCKET_HEADER_LEN + NET_FRAME_MAX];
    size_t have;     /* bytes of `in` */
    GByteArray *out; /* what is left of a frame that is being sent */
    bool busy;       /* datagrams: the socket's buffer is full */
} SocketNet;

static void socket_readable(void *opaque);
static void socket_writable(void *opaque);
static void socket_acceptable(void *opaque);

static void socket_update(NetBackend *net)
{
    SocketNet *s = net->own;
    bool write = s->connecting || s->busy || s->out->len;

    if (s->watch) {
        loop_set_fd(s->watch, s->connecting || net_rx_full(net, 0) ? NULL : socket_readable,
                    write ? socket_writable : NULL);
    }
}

static void socket_watch(NetBackend *net)
{
    SocketNet *s = net->own;

    if (!net->loop) {
        return;
    }
    if (s->fd >= 0 && !s->watch) {
        s->watch = loop_add_fd(net->loop, s->fd, NULL, NULL, net);
        socket_update(net);
    }
    if (s->fd < 0 && s->listen_fd >= 0 && !s->listen_watch) {
        s->listen_watch = loop_add_fd(net->loop, s->listen_fd, socket_acceptable, NULL, net);
    }
}

/* Frames sent before a stream has a peer go nowhere: whoever needs them waits for this.  `peer` NULL: it is gone. */
static void socket_tell(NetBackend *net, const NetAddr *peer)
{
    struct json_object *data;

    if (net->type != &net_type_stream) {
        return;
    }
    data = json_object_new_object();
    json_object_object_add(data, "netdev-id", json_object_new_string(net->obj.id));
    if (peer) {
        json_object_object_add(data, "addr", net_addr_json(peer));
    }
    machine_emit_event(net->obj.machine, peer ? "NETDEV_STREAM_CONNECTED" : "NETDEV_STREAM_DISCONNECTED", data);
}

static void socket_hang_up(NetBackend *net)
{
    SocketNet *s = net->own;

    if (s->stream && !s->connecting) {
        socket_tell(net, NULL);
    }
    g_clear_pointer(&s->watch, loop_remove_fd);
    close(s->fd);
    s->fd = -1;
    s->have = 0;
    s->connecting = s->busy = false;
    g_byte_array_set_size(s->out, 0);
    socket_watch(net);
    net_tx_ready(net, 0); /* what waited is lost with the peer */
}

static void socket_acceptable(void *opaque)
{
    NetBackend *net = opaque;
    SocketNet *s = net->own;
    NetAddr caller = {.len = sizeof(caller.sa)};
    int one = 1;

    s->fd = accept4(s->listen_fd, (struct sockaddr *)&caller.sa, &caller.len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (s->fd < 0) {
        return;
    }
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* not TCP: refused, and no matter */
    g_clear_pointer(&s->listen_watch, loop_remove_fd);
    socket_watch(net);
    socket_tell(net, caller.sa.ss_family == AF_UNIX ? &s->peer : &caller); /* callers of a path have none */
}

/* --- receiving --- */

/* The frames that are complete.  False: the peer does not speak our language. */
static bool socket_parse(NetBackend *net)
{
    SocketNet *s = net->own;
    size_t at = 0;

    while (s->have - at >= SOCKET_HEADER_LEN) {
        uint32_t len;

        memcpy(&len, s->in + at, sizeof(len));
        len = GUINT32_FROM_BE(len);
        if (!len || len > NET_FRAME_MAX) {
            return false;
        }
        if (s->have - at < SOCKET_HEADER_LEN + len) {
            break;
        }
        net_deliver(net, 0, s->in + at + SOCKET_HEADER_LEN, len, NULL);
        at += SOCKET_HEADER_LEN + len;
    }
    s->have -= at;
    memmove(s->in, s->in + at, s->have);
    return true;
}

static void socket_readable(void *opaque)
{
    NetBackend *net = opaque;
    SocketNet *s = net->own;
    ssize_t len = 0;

    for (int i = 0; i < SOCKET_BATCH && !net_rx_full(net, 0); i++) {
        len = recv(s->fd, s->in + s->have, sizeof(s->in) - s->have, 0);
        if (len <= 0) {
            break;
        }
        if (!s->stream) {
            net_deliver(net, 0, s->in, (size_t)len, NULL);
            continue;
        }
        s->have += (size_t)len;
        if (!socket_parse(net)) {
            g_printerr(
                "netdev %s: the peer sent a frame length that cannot be (allowed 1..%d); disconnected\n",
                net->obj.id, NET_FRAME_MAX);
            socket_hang_up(net);
            return;
        }
    }
    if (s->stream && (len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR)) && !net_rx_full(net, 0)) {
        socket_hang_up(net);
        return;
    }
    socket_update(net);
}

/* --- sending --- */

static bool socket_finish_connect(NetBackend *net)
{
    SocketNet *s = net->own;
    socklen_t len = sizeof(int);
    int err = 0;

    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len);
    if (err) {
        g_printerr("netdev %s: cannot connect: %s\n", net->obj.id, g_strerror(err));
        socket_hang_up(net);
        return false;
    }
    s->connecting = false;
    socket_tell(net, &s->peer);
    return true;
}

static void socket_writable(void *opaque)
{
    NetBackend *net = opaque;
    SocketNet *s = net->own;

    if (s->connecting && !socket_finish_connect(net)) {
        return;
    }
    if (s->out->len) {
        ssize_t len = send(s->fd, s->out->data, s->out->len, MSG_NOSIGNAL);

        if (len < 0 && errno != EAGAIN && errno != EINTR) {
            socket_hang_up(net);
            return;
        }
        g_byte_array_remove_range(s->out, 0, (guint)MAX(len, 0));
    }
    s->busy = false;
    if (!s->out->len) {
        net_tx_ready(net, 0);
    }
    socket_update(net);
}

static NetSendResult socket_send_stream(NetBackend *net, const uint8_t *frame, size_t len)
{
    SocketNet *s = net->own;
    uint32_t header = GUINT32_TO_BE((uint32_t)len);
    struct iovec iov[] = {{&header, sizeof(header)}, {(void *)frame, len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = G_N_ELEMENTS(iov)};
    size_t done, left;
    ssize_t sent;

    if (s->connecting || s->out->len) {
        return NET_BUSY;
    }
    sent = sendmsg(s->fd, &msg, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        return NET_SENT; /* the peer has gone, which reading will find */
    }
    done = (size_t)MAX(sent, 0);
    if (done < sizeof(header)) {
        g_byte_array_append(s->out, (uint8_t *)&header + done, (guint)(sizeof(header) - done));
    }
    left = MIN(len, len + sizeof(header) - done);
    g_byte_array_append(s->out, frame + len - left, (guint)left);
    if (s->out->len) {
        socket_update(net);
    }
    return NET_SENT;
}

static NetSendResult socket_send(NetBackend *net, unsigned queue, const uint8_t *frame, size_t len,
                                 const NetOffload *offload)
{
    SocketNet *s = net->own;

    if (s->fd < 0) {
        return NET_SENT; /* nobody is at the other end of the wire */
    }
    if (s->stream) {
        return socket_send_stream(net, frame, len);
    }
    if (sendto(s->fd, frame, len, MSG_NOSIGNAL, (struct sockaddr *)&s->peer.sa, s->peer.len) < 0 &&
        errno == EAGAIN) {
        s->busy = true;
        socket_update(net);
        return NET_BUSY;
    }
    return NET_SENT;
}

/* --- life --- */

static void socket_resume(NetBackend *net, unsigned queue)
{
    socket_update(net);
}

static void socket_start(NetBackend *net)
{
    socket_watch(net);
}

static void socket_stop(NetBackend *net)
{
    SocketNet *s = net->own;

    g_clear_pointer(&s->watch, loop_remove_fd);
    g_clear_pointer(&s->listen_watch, loop_remove_fd);
}

static void socket_close(NetBackend *net)
{
    SocketNet *s = net->own;

    if (s->fd >= 0) {
        close(s->fd);
    }
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
    }
    if (s->unlink_path) {
        unlink(s->unlink_path);
        g_free(s->unlink_path);
    }
    g_byte_array_free(s->out, TRUE);
}

static void socket_init(SocketNet *s, bool stream)
{
    s->fd = s->listen_fd = -1;
    s->stream = stream;
    s->out = g_byte_array_new();
}

static void socket_describe(NetBackend *net, const char *how, const NetAddr *addr)
{
    g_autofree char *text = net_addr_text(addr);

    net->info = g_strdup_printf("%s: type=%s,%s=%s", net->obj.id,
                                ((SocketNet *)net->own)->stream ? "stream" : "dgram", how, text);
}

static void socket_remember_path(SocketNet *s, const NetAddr *addr)
{
    if (addr->sa.ss_family == AF_UNIX) {
        s->unlink_path = g_strdup(((const struct sockaddr_un *)&addr->sa)->sun_path);
    }
}

static bool socket_listen(NetBackend *net, const NetAddr *addr, GError **error)
{
    SocketNet *s = net->own;

    s->listen_fd = net_addr_listen(addr, SOCK_STREAM, error);
    if (s->listen_fd < 0) {
        return false;
    }
    s->peer = *addr;
    socket_remember_path(s, addr);
    socket_describe(net, "listen", addr);
    return true;
}

static bool socket_connect(NetBackend *net, const NetAddr *addr, GError **error)
{
    SocketNet *s = net->own;
    g_autofree char *text = net_addr_text(addr);
    int one = 1;

    s->fd = socket(addr->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd < 0 ||
        (connect(s->fd, (const struct sockaddr *)&addr->sa, addr->len) != 0 && errno != EINPROGRESS)) {
        error_set_errno(error, errno, "cannot connect to %s", text);
        return false;
    }
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    s->connecting = true;
    s->peer = *addr;
    socket_describe(net, "connect", addr);
    return true;
}

/* Datagrams from `local` (NULL: any port) to `peer`. */
static bool socket_datagrams(NetBackend *net, const NetAddr *local, const NetAddr *peer, GError **error)
{
    SocketNet *s = net->own;
    struct ip_mreqn group = {0};
    bool multicast = peer->sa.ss_family == AF_INET &&
                     IN_MULTICAST(ntohl(((const struct sockaddr_in *)&peer->sa)->sin_addr.s_addr));
    NetAddr any = {.sa.ss_family = peer->sa.ss_family, .len = peer->len};

    s->fd = net_addr_listen(multicast ? peer : local ? local : &any, SOCK_DGRAM, error);
    if (s->fd < 0) {
        return false;
    }
    if (multicast) {
        group.imr_multiaddr = ((const struct sockaddr_in *)&peer->sa)->sin_addr;
        if (local && local->sa.ss_family == AF_INET) {
            group.imr_address = ((const struct sockaddr_in *)&local->sa)->sin_addr;
        }
        if (setsockopt(s->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)) != 0 ||
            setsockopt(s->fd, IPPROTO_IP, IP_MULTICAST_IF, &group, sizeof(group)) != 0) {
            error_set_errno(error, errno, "cannot join the multicast group");
            return false;
        }
    }
    if (local) {
        socket_remember_path(s, local);
    }
    s->peer = *peer;
    socket_describe(net, multicast ? "mcast" : "udp", peer);
    return true;
}

/* --- -netdev socket --- */

static bool socket_open_fd(NetBackend *net, const char *text, GError **error)
{
    SocketNet *s = net->own;
    socklen_t len = sizeof(int);
    guint64 fd;
    int type;

    if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT, &fd, NULL) ||
        getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0) {
        error_set(error, "'fd' must be the number of an open socket (%s)", text);
        return false;
    }
    s->fd = (int)fd;
    s->stream = type == SOCK_STREAM;
    g_unix_set_fd_nonblocking(s->fd, TRUE, NULL);
    net->info = g_strdup_printf("%s: type=socket,fd=%s", net->obj.id, text);
    return true;
}

static bool socket_open_text(NetBackend *net, const char *how, const char *text, const char *local_text,
                             GError **error)
{
    bool stream = strcmp(how, "listen") == 0 || strcmp(how, "connect") == 0;
    NetAddr addr = {.len = 0}, local = {.len = 0};
    int type = stream ? SOCK_STREAM : SOCK_DGRAM;

    ((SocketNet *)net->own)->stream = stream;
    if (local_text && stream) {
        error_set(error, "'localaddr' goes with mcast= or udp=");
        return false;
    }
    if (!net_addr_from_text(how, text, type, strcmp(how, "listen") == 0, &addr, error)) {
        return false;
    }
    if (stream) {
        return (strcmp(how, "listen") == 0 ? socket_listen : socket_connect)(net, &addr, error);
    }
    if (strcmp(how, "mcast") == 0) {
        return (!local_text || net_addr_resolve("localaddr", local_text, 0, type, true, &local, error)) &&
               socket_datagrams(net, local.len ? &local : NULL, &addr, error);
    }
    return (!local_text || net_addr_from_text("localaddr", local_text, type, true, &local, error)) &&
           socket_datagrams(net, local.len ? &local : NULL, &addr, error);
}

/* What is open so far goes when the rest failed. */
static bool socket_opened(NetBackend *net, bool ok)
{
    if (!ok) {
        socket_close(net);
    }
    return ok;
}

static bool socket_open(NetBackend *net, struct json_object *opts, GError **error)
{
    static const char *const ways[] = {"listen", "connect", "mcast", "udp", "fd", NULL};
    const char *how = NULL, *text = NULL;
    int given = 0;

    for (int i = 0; ways[i]; i++) {
        if (net_opt_str(opts, ways[i])) {
            how = ways[i];
            text = net_opt_str(opts, how);
            given++;
        }
    }
    if (given != 1) {
        error_set(error, "give exactly one of listen=, connect=, mcast=, udp=, fd= (%d given)", given);
        return false;
    }
    socket_init(net->own, true);
    return socket_opened(net, strcmp(how, "fd") == 0
                                  ? socket_open_fd(net, text, error)
                                  : socket_open_text(net, how, text, net_opt_str(opts, "localaddr"), error));
}

/* --- -netdev stream, dgram --- */

static bool stream_open(NetBackend *net, struct json_object *opts, GError **error)
{
    NetAddr addr = {.len = 0};
    bool server;

    if (!net_opt_bool(opts, "server", false, &server, error) ||
        !net_addr_from_opts(opts, "addr", SOCK_STREAM, server, &addr, error)) {
        return false;
    }
    socket_init(net->own, true);
    return socket_opened(net, (server ? socket_listen : socket_connect)(net, &addr, error));
}

static bool dgram_open(NetBackend *net, struct json_object *opts, GError **error)
{
    NetAddr local = {.len = 0}, remote = {.len = 0};
    bool has_local = net_addr_given(opts, "local");

    if (!net_addr_from_opts(opts, "remote", SOCK_DGRAM, false, &remote, error) ||
        (has_local && !net_addr_from_opts(opts, "local", SOCK_DGRAM, true, &local, error))) {
        return false;
    }
    socket_init(net->own, false);
    return socket_opened(net, socket_datagrams(net, has_local ? &local : NULL, &remote, error));
}

static const char *const socket_keys[] = {"listen", "connect", "mcast", "udp", "localaddr", "fd", NULL};
static const char *const stream_keys[] = {"addr",      "addr.type", "addr.host", "addr.port",
                                          "addr.path", "server",    NULL};
static const char *const dgram_keys[] = {"local",       "local.type",  "local.host",  "local.port",
                                         "local.path",  "remote",      "remote.type", "remote.host",
                                         "remote.port", "remote.path", NULL};

#define SOCKET_TYPE(n, k, o)                                                                                 \
    {                                                                                                        \
        .name = n, .keys = k, .size = sizeof(SocketNet), .open = o, .close = socket_close,                   \
        .start = socket_start, .stop = socket_stop, .send = socket_send, .resume = socket_resume,            \
    }

const NetType net_type_socket = SOCKET_TYPE("socket", socket_keys, socket_open);
const NetType net_type_stream = SOCKET_TYPE("stream", stream_keys, stream_open);
const NetType net_type_dgram = SOCKET_TYPE("dgram", dgram_keys, dgram_open);
