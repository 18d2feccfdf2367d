/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ringbuf: output is kept in memory, the latest bytes of it, until ringbuf-read fetches it.
 */
#include <string.h>

#include "chardev-internal.h"
#include "core/error.h"
#include "core/prop.h"

#define RING_DEFAULT_SIZE (UINT64_C(64) << 10)
#define RING_MAX_SIZE     (UINT64_C(1) << 30)

struct ChardevRing {
    size_t size; /* a power of two */
    size_t head, len;
    uint8_t bytes[];
};

static bool ring_open(Chardev *chr, struct json_object *opts, GError **error)
{
    const char *text = chardev_opt_str(opts, "size");
    g_autofree char *where = g_strdup_printf("chardev %s: size=", chr->obj.id);
    uint64_t size = RING_DEFAULT_SIZE;

    if (text && !opts_parse_size(where, text, 0, &size, error)) {
        return false;
    }
    if (!size || size > RING_MAX_SIZE || (size & (size - 1))) {
        error_set(error, "chardev %s: size= must be a power of two (%" G_GUINT64_FORMAT ", allowed 1..%" G_GUINT64_FORMAT ")",
                  chr->obj.id, size, RING_MAX_SIZE);
        return false;
    }
    chr->ring = g_try_malloc0(sizeof(*chr->ring) + size);
    if (!chr->ring) {
        error_set(error, "chardev %s: no memory for size=%" G_GUINT64_FORMAT, chr->obj.id, size);
        return false;
    }
    chr->ring->size = size;
    chr->filename = g_strdup("ringbuf");
    chardev_set_fds(chr, -1, -1);
    return true;
}

static void ring_close(Chardev *chr)
{
    g_clear_pointer(&chr->ring, g_free);
}

static void ring_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    struct ChardevRing *r = chr->ring;

    for (size_t i = len > r->size ? len - r->size : 0; i < len; i++) {
        r->bytes[(r->head + r->len) & (r->size - 1)] = buf[i];
        if (r->len < r->size) {
            r->len++;
        } else {
            r->head++;
        }
    }
}

bool chardev_ring_write(Chardev *chr, const void *buf, size_t len, GError **error)
{
    if (!chr->ring) {
        error_set(error, "%s is not a ringbuf device", chr->obj.id);
        return false;
    }
    chardev_write(chr, buf, len);
    return true;
}

GByteArray *chardev_ring_read(Chardev *chr, size_t max, GError **error)
{
    struct ChardevRing *r = chr->ring;
    GByteArray *got;

    if (!r) {
        error_set(error, "%s is not a ringbuf device", chr->obj.id);
        return NULL;
    }
    got = g_byte_array_new();
    g_mutex_lock(&chr->lock);
    for (; r->len && got->len < max; r->head++, r->len--) {
        g_byte_array_append(got, &r->bytes[r->head & (r->size - 1)], 1);
    }
    g_mutex_unlock(&chr->lock);
    return got;
}

static const char *const ring_keys[] = {"size", NULL};

const ChardevBackend chardev_ringbuf = {
    .name = "ringbuf",
    .doc = "output is kept in memory for ringbuf-read",
    .keys = ring_keys,
    .open = ring_open,
    .close = ring_close,
    .write = ring_write,
};
