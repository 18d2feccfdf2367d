/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records: framed, checksummed, written and read whole. */
#include "migration/record.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "core/error.h"

#define STREAM_MAGIC  0x4d51504du /* "MPQM" */
#define HEADER_LEN    8
#define RECORD_HEADER 16
#define WINDOW_US     100000

const char *mig_record_name(uint32_t type)
{
    static const char *const names[] = {
        [MIG_MACHINE] = "machine", [MIG_RAM] = "RAM",       [MIG_ZERO] = "zero pages", [MIG_CPU] = "CPU",
        [MIG_DEVICE] = "device",   [MIG_CLOCK] = "clock",   [MIG_END] = "end",         [MIG_LOADED] = "loaded",
        [MIG_REFUSED] = "refused", [MIG_GO] = "go",         [MIG_PART] = "part",       [MIG_REMOTE] = "remote device",
    };

    return type < G_N_ELEMENTS(names) && names[type] ? names[type] : "unknown";
}

/* --- bytes --- */

static bool aborted(const MigStream *s)
{
    return __atomic_load_n(&s->aborted, __ATOMIC_RELAXED);
}

static bool write_all(MigStream *s, const void *data, size_t len, GError **error)
{
    const uint8_t *p = data;

    while (len) {
        ssize_t n = write(s->fd, p, len);

        if (n < 0 && errno == EINTR && !aborted(s)) {
            continue;
        }
        if (n <= 0) {
            error_set_errno(error, n ? errno : EPIPE, "migration: cannot write at byte %" PRIu64, s->sent);
            return false;
        }
        p += n;
        len -= (size_t)n;
        s->sent += (uint64_t)n;
    }
    return true;
}

static bool read_all(MigStream *s, void *data, size_t len, const char *what, GError **error)
{
    uint8_t *p = data;

    while (len) {
        ssize_t n = read(s->fd, p, len);

        if (n < 0 && errno == EINTR && !aborted(s)) {
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
    return write_all(s, header, sizeof(header), error);
}

bool mig_read_header(MigStream *s, GError **error)
{
    uint8_t header[HEADER_LEN];

    if (!read_all(s, header, sizeof(header), "the header", error)) {
        return false;
    }
    if (get32(header) != STREAM_MAGIC) {
        error_set(error, "migration: not a migration stream (magic 0x%08x, expected 0x%08x)", get32(header), STREAM_MAGIC);
        return false;
    }
    s->version = get32(header + 4);
    if (!s->version || s->version > MIG_VERSION) {
        error_set(error, "migration: stream of version %u (this program reads 1 to %u)", s->version, MIG_VERSION);
        return false;
    }
    return true;
}

/* --- records --- */

/* Sleeps when more than a tenth of a second's worth went out in a tenth of a second. */
static void throttle(MigStream *s, uint64_t len)
{
    int64_t now = g_get_monotonic_time(), elapsed = now - s->window_start;

    if (!s->limit) {
        return;
    }
    if (elapsed >= WINDOW_US) {
        s->window_start = now;
        s->window_sent = 0;
        elapsed = 0;
    }
    s->window_sent += len;
    if (s->window_sent > s->limit / 10) {
        g_usleep((gulong)MAX(WINDOW_US - elapsed, 0));
        s->window_start = g_get_monotonic_time();
        s->window_sent = 0;
    }
}

static size_t record_header(const MigStream *s)
{
    return s->version == 1 ? RECORD_HEADER - 4 : RECORD_HEADER;
}

static bool crc_ok(uLong crc, const uint8_t *expected, uint32_t type, uint64_t at, GError **error)
{
    if ((uint32_t)crc != get32(expected)) {
        error_set(error, "migration: damaged record (%s) at byte %" PRIu64 ": CRC 0x%08x, expected 0x%08x", mig_record_name(type), at,
                  (uint32_t)crc, get32(expected));
        return false;
    }
    return true;
}

bool mig_write(MigStream *s, MigRecordType type, const void *head, uint32_t head_len, const void *body, uint32_t body_len,
               GError **error)
{
    uint8_t record[RECORD_HEADER];
    size_t header = record_header(s);
    uLong crc;

    put32(record, type);
    put32(record + 4, head_len + body_len);
    crc = crc32_z(0, record, 8);
    put32(record + 8, (uint32_t)crc);
    crc = head_len ? crc32_z(crc, head, head_len) : crc;
    crc = body_len ? crc32_z(crc, body, body_len) : crc;
    put32(record + header - 4, (uint32_t)crc);
    throttle(s, header + head_len + body_len);
    return write_all(s, record, header, error) && write_all(s, head, head_len, error) &&
           write_all(s, body, body_len, error);
}

bool mig_read(MigStream *s, uint32_t *type, GByteArray *payload, GError **error)
{
    uint64_t at = s->received;
    uint8_t record[RECORD_HEADER];
    size_t header = record_header(s);
    uint32_t len;
    uLong crc;

    if (!read_all(s, record, header, "a record's header", error)) {
        return false;
    }
    *type = get32(record);
    len = get32(record + 4);
    crc = crc32_z(0, record, 8);
    if (s->version > 1 && !crc_ok(crc, record + 8, *type, at, error)) {
        return false;
    }
    if (len > MIG_RECORD_MAX) {
        error_set(error, "migration: record at byte %" PRIu64 " is too long (%u, allowed %u)", at, len, MIG_RECORD_MAX);
        return false;
    }
    g_byte_array_set_size(payload, len);
    if (!read_all(s, payload->data, len, mig_record_name(*type), error)) {
        return false;
    }
    crc = len ? crc32_z(crc, payload->data, len) : crc;
    return crc_ok(crc, record + header - 4, *type, at, error);
}

void mig_abort(MigStream *s)
{
    __atomic_store_n(&s->aborted, 1, __ATOMIC_SEQ_CST);
    shutdown(s->fd, SHUT_RDWR); /* a file or a pipe never blocks for long */
}

void mig_close(MigStream *s)
{
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
}
