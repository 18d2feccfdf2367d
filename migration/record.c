/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records: framed, checksummed, written and read whole. */
#include "migration/record.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <zlib.h>

#include "core/error.h"
#include "migration/checksum.h"

#define STREAM_MAGIC  0x4d51504du /* "MPQM" */
#define HEADER_LEN    8
#define RECORD_HEADER 16
#define WINDOW_US     100000
#define POLL_MS       100 /* until it is seen that the stream was aborted */

const char *mig_record_name(uint32_t type)
{
    static const char *const names[] = {
        [MIG_MACHINE] = "machine", [MIG_RAM] = "RAM",       [MIG_ZERO] = "zero pages", [MIG_CPU] = "CPU",
        [MIG_DEVICE] = "device",   [MIG_CLOCK] = "clock",   [MIG_END] = "end",         [MIG_LOADED] = "loaded",
        [MIG_REFUSED] = "refused", [MIG_GO] = "go",         [MIG_PART] = "part",       [MIG_REMOTE] = "remote device",
        [MIG_ASK] = "question",      [MIG_AGREED] = "agreed",
    };

    return type < G_N_ELEMENTS(names) && names[type] ? names[type] : "unknown";
}

/* --- bytes --- */

static bool aborted(const MigStream *s)
{
    return __atomic_load_n(&s->aborted, __ATOMIC_RELAXED);
}

/* Until the fd is ready; false: aborted. */
static bool await(const MigStream *s, short events)
{
    struct pollfd pfd = {s->fd, events, 0};

    while (!aborted(s)) {
        if (poll(&pfd, 1, POLL_MS)) {
            return true;
        }
    }
    return false;
}

/* All of the parts, which are used up. */
static bool write_all(MigStream *s, struct iovec *part, int count, GError **error)
{
    for (;;) {
        ssize_t n;

        for (; count && !part->iov_len; count--) {
            part++;
        }
        if (!count) {
            return true;
        }
        n = writev(s->fd, part, count);
        if (n < 0 && (errno == EINTR || errno == EAGAIN) && await(s, POLLOUT)) {
            continue;
        }
        if (n <= 0) {
            error_set_errno(error, n ? errno : EPIPE, "migration: cannot write at byte %" PRIu64, s->sent);
            return false;
        }
        s->sent += (uint64_t)n;
        for (struct iovec *p = part; n; p++) {
            size_t done = MIN((size_t)n, p->iov_len);

            p->iov_base = (uint8_t *)p->iov_base + done;
            p->iov_len -= done;
            n -= (ssize_t)done;
        }
    }
}

static bool read_all(MigStream *s, void *data, size_t len, const char *what, GError **error)
{
    uint8_t *p = data;

    while (len) {
        ssize_t n = read(s->fd, p, len);

        if (n < 0 && (errno == EINTR || errno == EAGAIN) && await(s, POLLIN)) {
            continue;
        }
        if (n < 0) {
            error_set_errno(error, errno, "migration: cannot read %s at byte %" PRIu64, what, s->received);
            return false;
        }
        if (!n) {
            error_set(error, "migration: the stream ends in %s at byte %" PRIu64, what, s->received);
            return false;
        }
        p += n;
        len -= (size_t)n;
        s->received += (uint64_t)n;
    }
    return true;
}

static void put32(uint8_t *p, uint32_t val)
{
    val = GUINT32_TO_LE(val);
    memcpy(p, &val, sizeof(val));
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t val;

    memcpy(&val, p, sizeof(val));
    return GUINT32_FROM_LE(val);
}

/* --- header --- */

bool mig_write_header(MigStream *s, GError **error)
{
    uint8_t header[HEADER_LEN];

    s->version = MIG_VERSION;
    put32(header, STREAM_MAGIC);
    put32(header + 4, s->version);
    return write_all(s, &(struct iovec){header, sizeof(header)}, 1, error);
}

bool mig_read_header(MigStream *s, GError **error)
{
    uint8_t header[HEADER_LEN];

    await(s, POLLIN); /* a FIFO seems to be at its end before anybody has opened it */
    if (!read_all(s, header, sizeof(header), "the header", error)) {
        return false;
    }
    if (get32(header) != STREAM_MAGIC) {
        error_set(error, "migration: not a migration stream (magic 0x%08x at byte 0, expected 0x%08x)", get32(header), STREAM_MAGIC);
        return false;
    }
    s->version = get32(header + 4);
    if (!s->version || s->version > MIG_VERSION) {
        error_set(error, "migration: stream of version %u at byte 4 (this program reads 1 to %u)", s->version, MIG_VERSION);
        return false;
    }
    return true;
}

/* --- records --- */

/* Sleeps as long as what went out takes, once that is more than a tenth of a second's worth. */
static void throttle(MigStream *s, uint64_t len)
{
    int64_t now = g_get_monotonic_time();

    if (!s->limit) {
        return;
    }
    if (now - s->window_start >= WINDOW_US) {
        s->window_start = now;
        s->window_sent = 0;
    }
    s->window_sent += len;
    if (s->window_sent > s->limit / 10) {
        int64_t due = s->window_start + (int64_t)(s->window_sent * G_USEC_PER_SEC / s->limit);

        while (!__atomic_load_n(&s->aborted, __ATOMIC_SEQ_CST) && (now = g_get_monotonic_time()) < due) {
            g_usleep((gulong)MIN(due - now, WINDOW_US));
        }
        s->window_start = g_get_monotonic_time();
        s->window_sent = 0;
    }
}

static size_t record_header(const MigStream *s)
{
    return s->version == 1 ? RECORD_HEADER - 4 : RECORD_HEADER;
}

/* The checksum that goes on from `crc` with `rest` bytes of a payload's beginning and then whole pages. */
static uint32_t sum_payload(const MigStream *s, uint32_t crc, const void *head, size_t rest, const void *pages, size_t len)
{
    if (s->version < 3) {
        crc = rest ? (uint32_t)crc32_z(crc, head, rest) : crc;
        return len ? (uint32_t)crc32_z(crc, pages, len) : crc;
    }
    return mig_crc32c_blocks(mig_crc32c(crc, head, rest), pages, len / MIG_CHECKSUM_BLOCK);
}

static uint32_t sum_header(const MigStream *s, const uint8_t *record)
{
    return s->version < 3 ? (uint32_t)crc32_z(0, record, 8) : mig_crc32c(0, record, 8);
}

static bool crc_ok(uint32_t crc, uint32_t expected, const MigRecord *r, GError **error)
{
    if (crc != expected) {
        error_set(error, "migration: damaged record (%s) at byte %" PRIu64 ": CRC 0x%08x, expected 0x%08x", mig_record_name(r->type),
                  r->at, crc, expected);
        return false;
    }
    return true;
}

/* Of the payload's sum what the header is. */
static uint32_t begin_record(const MigStream *s, uint8_t *record, uint32_t type, uint32_t len)
{
    uint32_t crc;

    put32(record, type);
    put32(record + 4, len);
    crc = sum_header(s, record);
    put32(record + 8, crc);
    return crc;
}

static bool end_record(MigStream *s, uint8_t *record, uint32_t crc, const void *head, uint32_t head_len, const void *body,
                       uint32_t body_len, GError **error)
{
    struct iovec parts[] = {{record, record_header(s)}, {(void *)head, head_len}, {(void *)body, body_len}};

    put32(record + parts[0].iov_len - 4, crc);
    throttle(s, parts[0].iov_len + head_len + body_len);
    return write_all(s, parts, G_N_ELEMENTS(parts), error);
}

bool mig_write(MigStream *s, MigRecordType type, const void *head, uint32_t head_len, const void *body, uint32_t body_len,
               GError **error)
{
    uint8_t record[RECORD_HEADER];
    uint32_t crc = begin_record(s, record, type, head_len + body_len), rest = body_len ? head_len : head_len % MIG_CHECKSUM_BLOCK;

    crc = body_len ? sum_payload(s, crc, head, rest, body, body_len)
                   : sum_payload(s, crc, head, rest, rest < head_len ? (const uint8_t *)head + rest : NULL, head_len - rest);
    return end_record(s, record, crc, head, head_len, body, body_len, error);
}

bool mig_write_pages(MigStream *s, MigRecordType type, const void *head, uint32_t head_len, const void *pages, void *copy,
                     uint32_t len, GError **error)
{
    uint8_t record[RECORD_HEADER];
    uint32_t crc = begin_record(s, record, type, head_len + len);

    crc = mig_crc32c_copy(mig_crc32c(crc, head, head_len), copy, pages, len / MIG_CHECKSUM_BLOCK);
    return end_record(s, record, crc, head, head_len, copy, len, error);
}

bool mig_read_begin(MigStream *s, MigRecord *r, GError **error)
{
    uint8_t record[RECORD_HEADER];
    size_t header = record_header(s);

    *r = (MigRecord){.at = s->received};
    if (!read_all(s, record, header, "a record's header", error)) {
        return false;
    }
    r->type = get32(record);
    r->len = r->left = get32(record + 4);
    r->sum = sum_header(s, record);
    r->expected = get32(record + header - 4);
    if (s->version > 1 && !crc_ok(r->sum, get32(record + 8), r, error)) {
        return false;
    }
    if (r->len > MIG_RECORD_MAX) {
        error_set(error, "migration: record at byte %" PRIu64 " is too long (%u, allowed %u)", r->at, r->len, MIG_RECORD_MAX);
        return false;
    }
    return true;
}

bool mig_read_part(MigStream *s, MigRecord *r, void *data, uint32_t len, GError **error)
{
    uint32_t plain = MIN(len, r->left % MIG_CHECKSUM_BLOCK);

    g_assert(len <= r->left && (len - plain) % MIG_CHECKSUM_BLOCK == 0);
    if (!read_all(s, data, len, mig_record_name(r->type), error)) {
        return false;
    }
    r->sum = sum_payload(s, r->sum, data, plain, plain < len ? (const uint8_t *)data + plain : NULL, len - plain);
    r->left -= len;
    return true;
}

bool mig_read_end(const MigRecord *r, GError **error)
{
    return crc_ok(r->sum, r->expected, r, error);
}

bool mig_read(MigStream *s, uint32_t *type, GByteArray *payload, GError **error)
{
    MigRecord r;

    if (!mig_read_begin(s, &r, error)) {
        return false;
    }
    *type = r.type;
    g_byte_array_set_size(payload, r.len);
    return mig_read_part(s, &r, payload->data, r.len, error) && mig_read_end(&r, error);
}

void mig_abort(MigStream *s)
{
    __atomic_store_n(&s->aborted, 1, __ATOMIC_SEQ_CST);
    shutdown(__atomic_load_n(&s->fd, __ATOMIC_SEQ_CST), SHUT_RDWR); /* a socket; others do not block */
}

void mig_close(MigStream *s)
{
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
}
