/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfio-user messages over a stream socket: AF_UNIX with SCM_RIGHTS, or any other stream (TCP, vsock) without fds;
 * or over a pair of pipes or files, without fds too.  A WireStream never changes the O_NONBLOCK flag of its fd and never
 * blocks unless asked to; what it stores is bounded (one message being received, queue_limit bytes unsent).
 *
 * Threads: one thread at a time may receive, one at a time may send or flush; the two may run concurrently.
 * wire_stream_shutdown() may be called from any thread.  The caller provides the locks.
 *
 * Results are 0 or a positive errno:
 *   EAGAIN      nothing (whole) there, or the socket takes no more: poll and call again
 *   EINTR       a blocking call was interrupted by a signal
 *   ENOTCONN    the peer closed the connection (also in the middle of a message)
 *   EPROTO      a size no message can have: the stream can't be parsed any further
 *   EFAULT      fds were lost: this process has no room for more
 *   others      the socket's own errors
 * After anything but EAGAIN, EINTR and ENOBUFS the connection is of no further use.
 */
#ifndef WIRE_IO_H
#define WIRE_IO_H

#include <poll.h>
#include <sys/uio.h>

#include "wire.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct WireStream WireStream;

typedef struct WireMessage {
    WireHeader header;
    uint8_t *body;              /* payload, header.size - 16 bytes; NULL when there is none */
    size_t len;                 /* bytes of body */
    int *fds;                   /* that came with it, close-on-exec; NULL when there are none */
    unsigned fd_count;
} WireMessage;

/* Frees the body and closes the fds that are left (take one by setting its slot to -1). */
void wire_message_clear(WireMessage *m);
/* The same for a message of this stream, which may use the body again for the next. */
void wire_stream_recycle(WireStream *s, WireMessage *m);

#define WIRE_STREAM_WAIT 1u     /* wire_stream_receive(), _send(), _flush(): block */
#define WIRE_STREAM_TIMED 4u    /* wire_stream_receive(): block for as long as the socket's SO_RCVTIMEO allows */
#define WIRE_STREAM_NO_FDS 8u   /* wire_stream_receive(): cheaper; fds that come with a message are dropped */
#define WIRE_STREAM_QUEUE 2u    /* wire_stream_send(): leave it to the next wire_stream_flush() */

/* Takes over fd.  max_message: largest message to accept, header included.  NULL: no memory (fd is still the caller's). */
WireStream *wire_stream_new(int fd, uint32_t max_message, size_t queue_limit);
/* The same over two descriptors that need not be sockets; no fds travel (EINVAL), SIGPIPE is not raised. */
WireStream *wire_stream_new_pair(int in_fd, int out_fd, uint32_t max_message, size_t queue_limit);
/* Closes the fd and everything that is held.  NULL is fine. */
void wire_stream_free(WireStream *s);
/* shutdown(2) both ways: wakes a blocked receiver, which gets ENOTCONN.  A pair can't be woken: its next call tells. */
void wire_stream_shutdown(WireStream *s);
int wire_stream_fd(const WireStream *s);
/* Where output goes; the same but for a pair. */
int wire_stream_out_fd(const WireStream *s);
/* The largest message to accept from now on (after VERSION). */
void wire_stream_set_max_message(WireStream *s, uint32_t max_message);

/*
 * The next whole message, or EAGAIN (without WIRE_STREAM_WAIT) with the partial one kept for the next call.  At most
 * WIRE_READ_AHEAD bytes are taken from the socket beyond a message, so that a whole further one is only ever held
 * back if it is a bare header: wire_stream_has_message() tells, because poll() then does not.
 * A header of bad size: EPROTO, *m holds that header (no body, no fds) so that it can be answered before closing.
 */
int wire_stream_receive(WireStream *s, WireMessage *m, unsigned flags);
bool wire_stream_has_message(const WireStream *s);
/*
 * After EPROTO for a header of bad size: true if nothing at all follows that header by now, so that the next bytes to come are
 * most likely a header again; false if the stream has to be closed.
 */
bool wire_stream_resync(WireStream *s);
#define WIRE_READ_AHEAD 40u

/*
 * Sends header, then the iovecs (at most WIRE_MAX_IOV), as one message and with one sendmsg if the socket takes it; h->size is computed
 * here.  fds go with the first byte; they stay the caller's (duplicated if they must wait).  What the socket does not take is
 * queued and 0 returned; a message that would exceed queue_limit while others wait: ENOBUFS, nothing sent.
 */
#define WIRE_MAX_IOV 8u
int wire_stream_send(WireStream *s, WireHeader *h, const struct iovec *iov, unsigned iov_count, const int *fds,
                     unsigned fd_count, unsigned flags);
/* Sends more of the queue: 0 when it is empty now, EAGAIN when poll for POLLOUT is due. */
int wire_stream_flush(WireStream *s, unsigned flags);
/* Bytes that wait in the queue. */
size_t wire_stream_queued(const WireStream *s);

/* poll(2) on the stream for events, until timeout_ms passed (-1: forever): 0, ETIMEDOUT, EINTR. */
int wire_stream_poll(const WireStream *s, short events, int timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
