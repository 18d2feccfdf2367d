/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfio-user messages over a stream socket: an incremental receiver and a sender with a bounded queue.
 *
 * Receiving.  `ahead` holds what was read beyond finished messages.  A recvmsg that starts with nothing held may
 * take up to WIRE_READ_AHEAD bytes, every other one takes exactly what the message lacks.  The kernel ends a receive
 * behind the piece that carried fds, so fds always belong to the last message that begins in the bytes received.
 *
 * Pipes know no MSG_DONTWAIT: they are read and written only after poll() said so, in pieces that then cannot block.
 */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Bodies up to this size are used again.  The address sanitizer is to see reads behind shorter ones. */
#if defined(__SANITIZE_ADDRESS__)
#define SPARE_SIZE 0u
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SPARE_SIZE 0u
#endif
#endif
#ifndef SPARE_SIZE
#define SPARE_SIZE WIRE_READ_AHEAD
#endif

#define QUEUE_IOV 32u           /* messages of the queue that go out with one sendmsg */

typedef struct Chunk {
    struct Chunk *next;
    size_t len, done;
    unsigned fd_count;
    int *fds;                   /* that go with its first byte */
    uint8_t data[];
} Chunk;

struct WireStream {
    int fd, out_fd;
    bool is_pair;               /* no sockets */
    atomic_bool dead;           /* a pair that was shut down */
    uint32_t max_message;

    /* receiver */
    uint8_t ahead[WIRE_READ_AHEAD];
    size_t ahead_len;
    bool have_header;
    WireHeader header;
    uint8_t *body;
    uint8_t *spare;             /* a small body that is free again */
    size_t body_len, body_done;
    int *fds;                   /* of the message being received */
    unsigned fd_count;

    /* sender */
    size_t queue_limit, queued;
    Chunk *head, **tail;
};

static void close_fds(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

WIRE_HOT void wire_message_clear(WireMessage *m)
{
    free(m->body);
    close_fds(m->fds, m->fd_count);
    free(m->fds);
    *m = (WireMessage){ 0 };
}

WIRE_HOT void wire_stream_recycle(WireStream *s, WireMessage *m)
{
    if (m->body && m->len <= SPARE_SIZE && s->spare == NULL) {
        s->spare = m->body;
        m->body = NULL;
    }
    if (m->body || m->fds) {
        wire_message_clear(m);
    }
}

static void chunk_free(Chunk *c)
{
    close_fds(c->fds, c->fd_count);
    free(c->fds);
    free(c);
}

WireStream *wire_stream_new_pair(int in_fd, int out_fd, uint32_t max_message, size_t queue_limit)
{
    WireStream *s = wire_stream_new(in_fd, max_message, queue_limit);

    if (s) {
        s->out_fd = out_fd;
        s->is_pair = true;
    }
    return s;
}

WireStream *wire_stream_new(int fd, uint32_t max_message, size_t queue_limit)
{
    WireStream *s = calloc(1, sizeof(*s));

    if (s) {
        s->fd = fd;
        s->out_fd = fd;
        s->max_message = max_message;
        s->queue_limit = queue_limit;
        s->tail = &s->head;
    }
    return s;
}

void wire_stream_free(WireStream *s)
{
    if (s == NULL) {
        return;
    }
    close_fds(s->fds, s->fd_count);
    free(s->fds);
    free(s->body);
    free(s->spare);
    while (s->head) {
        Chunk *c = s->head;

        s->head = c->next;
        chunk_free(c);
    }
    close(s->fd);
    if (s->out_fd != s->fd) {
        close(s->out_fd);
    }
    free(s);
}

void wire_stream_shutdown(WireStream *s)
{
    if (s->is_pair) {
        atomic_store(&s->dead, true);
    } else {
        shutdown(s->fd, SHUT_RDWR);
    }
}

int wire_stream_out_fd(const WireStream *s)
{
    return s->out_fd;
}

int wire_stream_fd(const WireStream *s)
{
    return s->fd;
}

void wire_stream_set_max_message(WireStream *s, uint32_t max_message)
{
    s->max_message = max_message;
}

int wire_stream_poll(const WireStream *s, short events, int timeout_ms)
{
    struct pollfd p[2] = {
        { .fd = s->fd, .events = (short)(s->is_pair ? events & ~POLLOUT : events) },
        { .fd = s->is_pair && (events & POLLOUT) ? s->out_fd : -1, .events = POLLOUT },
    };
    int n;

    /* An input nobody asked about must not end the wait by hanging up. */
    if (s->is_pair && !(events & POLLIN)) {
        p[0].fd = -1;
    }
    n = poll(p, 2, timeout_ms);

    return n < 0 ? errno : n == 0 ? ETIMEDOUT : 0;
}

/* ---- receive ---- */

/* Takes the fds out of the control data; what exceeds a message's share is closed. */
static int stream_collect_fds(WireStream *s, struct msghdr *msg)
{
    int err = msg->msg_flags & MSG_CTRUNC ? EFAULT : 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        int fds[WIRE_MAX_FDS];
        unsigned count, room = WIRE_MAX_FDS - s->fd_count;
        int *grown;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        count = count > WIRE_MAX_FDS ? WIRE_MAX_FDS : count;
        memcpy(fds, CMSG_DATA(c), count * sizeof(int));
        if (count > room) {
            close_fds(fds + room, count - room);
            count = room;
        }
        if (count == 0) {
            continue;
        }
        grown = realloc(s->fds, (s->fd_count + count) * sizeof(int));
        if (grown == NULL) {
            close_fds(fds, count);
            err = ENOMEM;
            continue;
        }
        memcpy(grown + s->fd_count, fds, count * sizeof(int));
        s->fds = grown;
        s->fd_count += count;
    }
    return err;
}

/* read() that fails with EAGAIN rather than wait. */
static ssize_t pair_read(WireStream *s, void *buf, size_t size, unsigned flags)
{
    if (atomic_load(&s->dead)) {
        return 0;
    }
    if (!(flags & WIRE_STREAM_WAIT) && wire_stream_poll(s, POLLIN, 0)) {
        errno = EAGAIN;
        return -1;
    }
    return read(s->fd, buf, size);
}

/* One recvmsg, with its descriptors; an errno with *n <= 0 is that of the call, with *n > 0 descriptors were lost. */
WIRE_HOT static int socket_recvmsg(WireStream *s, struct iovec *iov, int how, ssize_t *n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(WIRE_MAX_FDS * sizeof(int))];
    } control;
    struct msghdr msg = {
        .msg_iov = iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };

    *n = recvmsg(s->fd, &msg, MSG_CMSG_CLOEXEC | how);
    /* When not one descriptor found room there is no control data at all. */
    return *n > 0 && (msg.msg_controllen || (msg.msg_flags & MSG_CTRUNC)) ? stream_collect_fds(s, &msg) : 0;
}

/* One receive of at most size bytes; *got is 0 only with an error. */
WIRE_HOT static int stream_recv(WireStream *s, void *buf, size_t size, unsigned flags, size_t *got)
{
    int how = flags & (WIRE_STREAM_WAIT | WIRE_STREAM_TIMED) ? 0 : MSG_DONTWAIT;
    struct iovec iov = { buf, size };

    *got = 0;
    for (;;) {
        int err = 0;
        ssize_t n;

        if (s->is_pair) {
            n = pair_read(s, buf, size, flags);
        } else if (flags & WIRE_STREAM_NO_FDS) {
            n = recv(s->fd, buf, size, how);
        } else {
            err = socket_recvmsg(s, &iov, how, &n);
        }
        if (n > 0) {
            *got = (size_t)n;
            return err;
        }
        if (n == 0) {
            return ENOTCONN;
        }
        if (errno != EAGAIN && errno != EWOULDBLOCK) {
            return errno == ECONNRESET ? ENOTCONN : errno;
        }
        if (!(flags & WIRE_STREAM_WAIT)) {
            return EAGAIN;
        }
        /* The fd's owner made it non-blocking. */
        if (wire_stream_poll(s, POLLIN, -1) == EINTR) {
            return EINTR;
        }
    }
}

/* Drops n bytes from the front of `ahead`. */
WIRE_HOT static void stream_drop(WireStream *s, size_t n)
{
    s->ahead_len -= n;
    if (s->ahead_len) {
        memmove(s->ahead, s->ahead + n, s->ahead_len);
    }
}

static uint8_t *stream_new_body(WireStream *s, size_t len)
{
    uint8_t *spare = s->spare;

    if (len > SPARE_SIZE) {
        return malloc(len);
    }
    s->spare = NULL;
    return spare ? spare : malloc(SPARE_SIZE);
}

/* Room for the body, with what is held of it. */
WIRE_HOT static int stream_begin_body(WireStream *s)
{
    size_t held = s->ahead_len - WIRE_HEADER_SIZE;

    s->body_len = s->header.size - WIRE_HEADER_SIZE;
    s->body_done = s->body_len < held ? s->body_len : held;
    if (s->body_len) {
        s->body = stream_new_body(s, s->body_len);
        if (s->body == NULL) {
            stream_drop(s, WIRE_HEADER_SIZE);
            return ENOMEM;
        }
        memcpy(s->body, s->ahead + WIRE_HEADER_SIZE, s->body_done);
    }
    stream_drop(s, WIRE_HEADER_SIZE + s->body_done);
    s->have_header = true;
    return 0;
}

WIRE_HOT static int stream_receive_header(WireStream *s, unsigned flags)
{
    while (s->ahead_len < WIRE_HEADER_SIZE) {
        size_t want = s->ahead_len == 0 ? WIRE_READ_AHEAD : WIRE_HEADER_SIZE - s->ahead_len;
        size_t got;
        int err = stream_recv(s, s->ahead + s->ahead_len, want, flags, &got);

        s->ahead_len += got;
        if (err) {
            return err;
        }
    }
    wire_header_decode(&s->header, s->ahead, WIRE_HEADER_SIZE);
    if (wire_header_check(&s->header, s->max_message)) {
        stream_drop(s, WIRE_HEADER_SIZE);
        return EPROTO;
    }
    return stream_begin_body(s);
}

/* Hands fds to the message in *m, unless bytes of a later one are held: then they are that one's. */
WIRE_HOT static void stream_give_fds(WireStream *s, WireMessage *m)
{
    if (s->ahead_len == 0) {
        m->fds = s->fds;
        m->fd_count = s->fd_count;
        s->fds = NULL;
        s->fd_count = 0;
    }
}

WIRE_HOT int wire_stream_receive(WireStream *s, WireMessage *m, unsigned flags)
{
    int err;

    *m = (WireMessage){ 0 };
    if (!s->have_header) {
        err = stream_receive_header(s, flags);
        if (err == EPROTO) {
            m->header = s->header;
        }
        if (err) {
            if (err == EPROTO) {
                WireMessage dropped = { 0 };

                stream_give_fds(s, &dropped);
                wire_message_clear(&dropped);
            }
            return err;
        }
    }
    while (s->body_done < s->body_len) {
        size_t got;

        err = stream_recv(s, s->body + s->body_done, s->body_len - s->body_done, flags, &got);
        s->body_done += got;
        if (err) {
            return err;
        }
    }
    m->header = s->header;
    m->body = s->body;
    m->len = s->body_len;
    s->body = NULL;
    s->body_len = 0;
    s->have_header = false;
    stream_give_fds(s, m);
    return 0;
}

WIRE_HOT bool wire_stream_has_message(const WireStream *s)
{
    WireHeader h;

    if (s->have_header || s->ahead_len < WIRE_HEADER_SIZE) {
        return false;
    }
    wire_header_decode(&h, s->ahead, s->ahead_len);
    /* A bad header counts: receiving it reports that. */
    return wire_header_check(&h, s->max_message) || h.size <= s->ahead_len;
}

bool wire_stream_resync(WireStream *s)
{
    uint8_t byte;
    int left;

    if (s->is_pair) {
        return s->ahead_len == 0 && ioctl(s->fd, FIONREAD, &left) == 0 && left == 0;
    }
    return s->ahead_len == 0 && recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* ---- send ---- */

/* write() without SIGPIPE. */
static ssize_t write_quietly(int fd, const void *buf, size_t size)
{
    const struct timespec at_once = { 0 };
    sigset_t pipe_set, pending, old;
    bool was_pending;
    ssize_t n;

    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigpending(&pending);
    was_pending = sigismember(&pending, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
    n = write(fd, buf, size);
    if (n < 0 && errno == EPIPE && !was_pending) {
        sigtimedwait(&pipe_set, NULL, &at_once);
        errno = EPIPE;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return n;
}

/* Bytes [skip, skip + size) of the iovecs, as many as there are. */
static size_t iov_copy(uint8_t *to, size_t size, const struct iovec *iov, unsigned iov_count, size_t skip)
{
    size_t done = 0;

    for (unsigned i = 0; i < iov_count && done < size; i++) {
        size_t drop = skip < iov[i].iov_len ? skip : iov[i].iov_len;
        size_t part = iov[i].iov_len - drop < size - done ? iov[i].iov_len - drop : size - done;

        skip -= drop;
        if (part) {
            memcpy(to + done, (const uint8_t *)iov[i].iov_base + drop, part);
            done += part;
        }
    }
    return done;
}

/* Writes in pieces of PIPE_BUF, for which a pipe that is writable has room. */
static int pair_write(WireStream *s, const struct iovec *iov, unsigned iov_count, unsigned flags, size_t *sent)
{
    uint8_t piece[PIPE_BUF];
    size_t size;

    while ((size = iov_copy(piece, sizeof(piece), iov, iov_count, *sent)) > 0) {
        ssize_t n;

        if (atomic_load(&s->dead)) {
            return ENOTCONN;
        }
        if (!(flags & WIRE_STREAM_WAIT) && wire_stream_poll(s, POLLOUT, 0)) {
            return EAGAIN;
        }
        n = write_quietly(s->out_fd, piece, size);
        if (n < 0 && errno != EINTR) {
            return errno == EPIPE ? ENOTCONN : errno == EWOULDBLOCK ? EAGAIN : errno;
        }
        *sent += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

WIRE_HOT static int send_flags(unsigned flags)
{
    return MSG_NOSIGNAL | (flags & WIRE_STREAM_WAIT ? 0 : MSG_DONTWAIT);
}

/* The outcome of a send of n bytes, or none with errno. */
WIRE_HOT static int sent_or_err(ssize_t n, size_t *sent)
{
    *sent = n < 0 ? 0 : (size_t)n;
    if (n >= 0) {
        return 0;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return EAGAIN;
    }
    return errno == EPIPE || errno == ECONNRESET ? ENOTCONN : errno;
}

/* One sendmsg; *sent bytes went out (with the fds if any did). */
static int stream_sendmsg(WireStream *s, const struct iovec *iov, unsigned iov_count, const int *fds,
                          unsigned fd_count, unsigned flags, size_t *sent)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(WIRE_MAX_FDS * sizeof(int))];
    } control;
    struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = iov_count };
    ssize_t n;

    *sent = 0;
    if (s->is_pair) {
        return pair_write(s, iov, iov_count, flags, sent);
    }
    if (fd_count) {
        struct cmsghdr *c;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        memset(control.bytes, 0, msg.msg_controllen);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
    }
    do {
        n = sendmsg(s->fd, &msg, send_flags(flags));
    } while (n < 0 && errno == EINTR);
    return sent_or_err(n, sent);
}

#define GATHER_MAX 128u

/* A small message without fds: copied to one place, which is cheaper for the kernel than several. */
WIRE_HOT static int stream_send_small(WireStream *s, const WireHeader *h, const struct iovec *iov, unsigned iov_count, unsigned flags,
                             size_t *sent)
{
    uint8_t bytes[GATHER_MAX];
    size_t len = wire_header_encode(bytes, h);
    ssize_t n;

    for (unsigned i = 0; i < iov_count; i++) {
        if (iov[i].iov_len) {
            memcpy(bytes + len, iov[i].iov_base, iov[i].iov_len);
            len += iov[i].iov_len;
        }
    }
    do {
        n = send(s->fd, bytes, len, send_flags(flags));
    } while (n < 0 && errno == EINTR);
    return sent_or_err(n, sent);
}

/* Copies what is left behind `skip` bytes of the iovecs, and duplicates the fds if they have not gone yet. */
static int stream_enqueue(WireStream *s, const struct iovec *iov, unsigned iov_count, size_t skip, const int *fds,
                          unsigned fd_count)
{
    size_t total = 0;
    Chunk *c;

    for (unsigned i = 0; i < iov_count; i++) {
        total += iov[i].iov_len;
    }
    c = malloc(sizeof(*c) + total - skip);
    if (c == NULL) {
        return ENOMEM;
    }
    *c = (Chunk){ 0 };
    c->len = iov_copy(c->data, total - skip, iov, iov_count, skip);
    if (fd_count) {
        c->fds = malloc(fd_count * sizeof(int));
        if (c->fds == NULL) {
            free(c);
            return ENOMEM;
        }
    }
    for (unsigned i = 0; i < fd_count; i++) {
        int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

        if (fd < 0) {
            int err = errno;

            chunk_free(c);
            return err;
        }
        c->fds[c->fd_count++] = fd;
    }
    *s->tail = c;
    s->tail = &c->next;
    s->queued += c->len;
    return 0;
}

WIRE_HOT int wire_stream_send(WireStream *s, WireHeader *h, const struct iovec *iov, unsigned iov_count, const int *fds,
                     unsigned fd_count, unsigned flags)
{
    uint8_t bytes[WIRE_HEADER_SIZE];
    struct iovec all[WIRE_MAX_IOV + 1];
    size_t total = WIRE_HEADER_SIZE, sent = 0;
    bool at_once = s->queued == 0 && !(flags & WIRE_STREAM_QUEUE), small;
    int err;

    if (iov_count > WIRE_MAX_IOV || fd_count > WIRE_MAX_FDS || (fd_count && s->is_pair)) {
        return EINVAL;
    }
    for (unsigned i = 0; i < iov_count; i++) {
        total += iov[i].iov_len;
    }
    if (total > UINT32_MAX) {
        return EINVAL;
    }
    h->size = (uint32_t)total;
    small = total <= GATHER_MAX && fd_count == 0 && !s->is_pair;
    if (at_once && small) {
        err = stream_send_small(s, h, iov, iov_count, flags, &sent);
        if (sent == total || (err && err != EAGAIN)) {
            return err;
        }
    } else if (!at_once && s->queued + total > s->queue_limit) {
        return ENOBUFS;
    }
    wire_header_encode(bytes, h);
    all[0] = (struct iovec){ bytes, sizeof(bytes) };
    if (iov_count) {
        memcpy(all + 1, iov, iov_count * sizeof(*iov));
    }
    if (at_once && !small) {
        err = stream_sendmsg(s, all, iov_count + 1, fds, fd_count, flags, &sent);
        if (sent == total || (err && err != EAGAIN)) {
            return err;
        }
    }
    err = stream_enqueue(s, all, iov_count + 1, sent, sent ? NULL : fds, sent ? 0 : fd_count);
    if (err || !(flags & WIRE_STREAM_WAIT)) {
        return err;
    }
    return wire_stream_flush(s, flags);
}

/* The chunks of the queue that one sendmsg can take.  One with fds goes alone: a receiver that reads ahead could not tell
 * which of several messages they belong to. */
static unsigned queue_gather(const WireStream *s, struct iovec *iov)
{
    unsigned n = 0;

    for (Chunk *c = s->head; c && n < QUEUE_IOV && (n == 0 || (c->fd_count == 0 && s->head->fd_count == 0)); c = c->next) {
        iov[n++] = (struct iovec){ c->data + c->done, c->len - c->done };
    }
    return n;
}

/* Takes what was sent off the queue. */
static void queue_consume(WireStream *s, size_t sent)
{
    s->queued -= sent;
    while (sent) {
        Chunk *c = s->head;
        size_t part = c->len - c->done < sent ? c->len - c->done : sent;

        close_fds(c->fds, c->fd_count);
        c->fd_count = 0;
        c->done += part;
        sent -= part;
        if (c->done == c->len) {
            s->head = c->next;
            if (s->head == NULL) {
                s->tail = &s->head;
            }
            chunk_free(c);
        }
    }
}

int wire_stream_flush(WireStream *s, unsigned flags)
{
    while (s->head) {
        struct iovec iov[QUEUE_IOV];
        unsigned n = queue_gather(s, iov);
        size_t sent;
        int err = stream_sendmsg(s, iov, n, s->head->fds, s->head->fd_count, flags, &sent);

        queue_consume(s, sent);
        if (err == EAGAIN && (flags & WIRE_STREAM_WAIT)) {
            if (wire_stream_poll(s, POLLOUT, -1) == EINTR) {
                return EINTR;
            }
            continue;
        }
        if (err) {
            return err;
        }
    }
    return 0;
}

WIRE_HOT size_t wire_stream_queued(const WireStream *s)
{
    return s->queued;
}
