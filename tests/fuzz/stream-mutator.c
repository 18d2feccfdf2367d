/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See stream-mutator.h.  Sections are taken apart as core/state.c writes them, without the tables. */
#include "stream-mutator.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#define DEPTH_MAX 8

/* A field's value in a payload. */
typedef struct Leaf {
    guint at, len;
    bool top; /* no struct around it */
} Leaf;

uint64_t fuzz_dice(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

static uint64_t odd_number(uint64_t *random)
{
    static const uint64_t numbers[] = {0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 0x7f, 0x80, 0xff, 0x100, 0xfff, 0x1000, 0x7fff, 0x8000, 0xffff,
                                       0x10000, INT32_MAX, 0x80000000, UINT32_MAX, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX};

    return fuzz_dice(random) % 4 ? numbers[fuzz_dice(random) % G_N_ELEMENTS(numbers)] : fuzz_dice(random);
}

static uint32_t get_le(const GByteArray *data, guint at, unsigned size)
{
    uint32_t val = 0;

    memcpy(&val, data->data + at, size);
    return GUINT32_FROM_LE(val);
}

static void put_le32(GByteArray *data, guint at, uint32_t val)
{
    val = GUINT32_TO_LE(val);
    memcpy(data->data + at, &val, sizeof(val));
}

static void put_number(uint8_t *p, guint room, uint64_t *random)
{
    uint64_t val = GUINT64_TO_LE(odd_number(random));
    guint size = 1u << fuzz_dice(random) % 4, len = MIN(size, room), places = room / len;

    memcpy(p + fuzz_dice(random) % places * len, &val, len);
}

/* --- files --- */

/* Into a descriptor at its beginning. */
static int unpack(const char *path)
{
    int fd = memfd_create("stream", MFD_CLOEXEC), n;
    gzFile in = gzopen(path, "rb");
    uint8_t block[65536];

    g_assert(in && fd >= 0);
    while ((n = gzread(in, block, sizeof(block))) > 0) {
        g_assert(write(fd, block, (size_t)n) == n);
    }
    gzclose(in);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

GPtrArray *stream_read(const char *path)
{
    MigStream s = {.fd = unpack(path)};
    g_autoptr(GByteArray) payload = g_byte_array_new();
    GPtrArray *pieces = mig_pieces_new();
    uint32_t type;

    g_assert(mig_read_header(&s, NULL));
    while (mig_read(&s, &type, payload, NULL) && type != MIG_END) {
        g_byte_array_append(mig_pieces_add(pieces, type)->data, payload->data, payload->len);
    }
    g_assert(type == MIG_END);
    mig_close(&s);
    return pieces;
}

/* What the sums are there for. */
static void damage(int fd, uint64_t *random)
{
    uint8_t byte = (uint8_t)fuzz_dice(random);
    off_t size = lseek(fd, 0, SEEK_END), at = (off_t)(fuzz_dice(random) % (uint64_t)size);

    if (fuzz_dice(random) % 2) {
        g_assert(pwrite(fd, &byte, 1, fuzz_dice(random) % 2 ? at : at % 64) == 1);
    } else {
        g_assert(!ftruncate(fd, at));
    }
}

void stream_write(const GPtrArray *pieces, const char *path, uint64_t *random)
{
    MigStream s = {.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};

    g_assert(mig_write_header(&s, NULL));
    for (guint i = 0; i < pieces->len; i++) {
        const MigPiece *piece = g_ptr_array_index(pieces, i);

        g_assert(mig_write(&s, piece->type, piece->data->data, piece->data->len, NULL, 0, NULL));
    }
    g_assert(mig_write(&s, MIG_END, NULL, 0, NULL, 0, NULL));
    if (fuzz_dice(random) % 16 == 0) {
        damage(s.fd, random);
    }
    mig_close(&s);
}

/* --- sections --- */

/* Of those there are from `at` to `end`; false: they are not fields. */
static bool find_leaves(const GByteArray *d, guint at, guint end, unsigned depth, GArray *leaves);

/* Structs one after the other, each with its size and its version before it. */
static bool find_structs(const GByteArray *d, guint at, guint end, unsigned depth, GArray *leaves)
{
    while (at < end) {
        uint32_t len = end - at >= 8 ? get_le(d, at, 4) : 0;

        if (len <= 4 || len > end - at - 4 || !find_leaves(d, at + 8, at + 4 + len, depth + 1, leaves)) {
            return false;
        }
        at += 4 + len;
    }
    return true;
}

static bool find_leaves(const GByteArray *d, guint at, guint end, unsigned depth, GArray *leaves)
{
    guint found = leaves->len;

    while (at < end && depth < DEPTH_MAX) {
        guint name = d->data[at], len, inner = leaves->len;

        at += 1 + name;
        if (!name || at > end || end - at < 4 || (len = get_le(d, at, 4)) > end - at - 4) {
            break;
        }
        at += 4;
        if (len && !find_structs(d, at, at + len, depth, leaves)) {
            Leaf leaf = {at, len, depth == 0};

            g_array_set_size(leaves, inner);
            g_array_append_val(leaves, leaf);
        }
        at += len;
    }
    if (at != end) {
        g_array_set_size(leaves, found);
    }
    return at == end;
}

/* Another length, said right wherever lengths are said. */
static void resize(GByteArray *d, const Leaf *leaf, uint64_t *random)
{
    const guint lens[] = {0, 1, leaf->len / 2, leaf->len - 1, leaf->len + 1, MIN(leaf->len * 2, MIG_PIECE_MAX)};
    guint len = lens[fuzz_dice(random) % G_N_ELEMENTS(lens)];

    if (len < leaf->len) {
        g_byte_array_remove_range(d, leaf->at + len, leaf->len - len);
    } else {
        guint tail = d->len - leaf->at - leaf->len;

        g_byte_array_set_size(d, d->len + len - leaf->len);
        memmove(d->data + leaf->at + len, d->data + leaf->at + leaf->len, tail);
        memset(d->data + leaf->at + leaf->len, 0x5a, len - leaf->len);
    }
    put_le32(d, leaf->at - 4, len);
}

static void change_leaf(GByteArray *d, const Leaf *leaf, uint64_t *random)
{
    if (leaf->len == 1 && fuzz_dice(random) % 2) {
        d->data[leaf->at] ^= 1; /* as a boolean may be */
        return;
    }
    switch (fuzz_dice(random) % 16) {
    case 0:
        memset(d->data + leaf->at, fuzz_dice(random) % 2 ? 0xff : 0, leaf->len);
        break;
    case 1:
        for (guint i = 0; i < leaf->len; i++) {
            d->data[leaf->at + i] = (uint8_t)fuzz_dice(random);
        }
        break;
    case 2:
        if (leaf->top) {
            resize(d, leaf, random);
        }
        break;
    case 3:
        d->data[leaf->at + fuzz_dice(random) % leaf->len] ^= (uint8_t)(1u << fuzz_dice(random) % 8);
        break;
    default:
        put_number(d->data + leaf->at, leaf->len, random);
        break;
    }
}

/* The version, the lengths, a name; or anything. */
static void change_frame(GByteArray *d, guint payload, uint64_t *random)
{
    guint at = fuzz_dice(random) % 2 ? payload - 12 + (guint)(fuzz_dice(random) % 2) * 4 : (guint)(fuzz_dice(random) % d->len);

    put_number(d->data + at, MIN(4, d->len - at), random);
}

/* One section, whole in its record. */
static void change_section(GByteArray *d, uint64_t *random)
{
    g_autoptr(GArray) leaves = g_array_new(FALSE, FALSE, sizeof(Leaf));
    guint payload = d->len >= 6 ? 6 + get_le(d, 4, 2) + 12 : G_MAXUINT, changes = 1 + (guint)(fuzz_dice(random) % 3);

    if (payload >= d->len || !find_leaves(d, payload, d->len, 0, leaves) || !leaves->len) {
        return;
    }
    while (changes--) {
        const Leaf *leaf = &g_array_index(leaves, Leaf, fuzz_dice(random) % leaves->len);

        if (fuzz_dice(random) % 24 == 0) {
            change_frame(d, payload, random);
        } else if (leaf->at + leaf->len <= d->len) {
            change_leaf(d, leaf, random);
        }
    }
    put_le32(d, payload - 8, d->len - payload);
    put_le32(d, payload - 4, (uint32_t)crc32_z(0, d->data + payload, d->len - payload));
}

/* --- records --- */

static void change_bytes(GByteArray *d, uint64_t *random)
{
    guint at = d->len ? (guint)(fuzz_dice(random) % d->len) : 0;

    switch (fuzz_dice(random) % 4) {
    case 0:
        g_byte_array_set_size(d, at);
        break;
    case 1:
        g_byte_array_append(d, (const guint8 *)"more", 1 + (guint)(fuzz_dice(random) % 4));
        break;
    default:
        if (d->len) {
            put_number(d->data + at, MIN(d->len - at, 8), random);
        }
        break;
    }
}

/* Order, number and types of records. */
static void change_order(GPtrArray *pieces, guint i, uint64_t *random)
{
    guint other = (guint)(fuzz_dice(random) % pieces->len);
    MigPiece *piece = g_ptr_array_index(pieces, i);
    gpointer swap;

    switch (fuzz_dice(random) % 4) {
    case 0:
        g_ptr_array_remove_index(pieces, i);
        break;
    case 1:
        g_byte_array_append(mig_pieces_add(pieces, piece->type)->data, piece->data->data, piece->data->len);
        break;
    case 2:
        swap = pieces->pdata[i];
        pieces->pdata[i] = pieces->pdata[other];
        pieces->pdata[other] = swap;
        break;
    default:
        piece->type = (MigRecordType)(fuzz_dice(random) % (MIG_REMOTE + 2));
        break;
    }
}

static bool is_section(const MigPiece *piece)
{
    return piece->type == MIG_DEVICE || piece->type == MIG_CPU;
}

/* Mostly of a device: those take the most to be believed. */
static guint pick(const GPtrArray *pieces, uint64_t *random)
{
    guint i;

    do {
        i = (guint)(fuzz_dice(random) % pieces->len);
    } while (!is_section(g_ptr_array_index(pieces, i)) && fuzz_dice(random) % 64);
    return i;
}

static void change(GPtrArray *pieces, uint64_t *random)
{
    guint i = pick(pieces, random);
    MigPiece *piece = g_ptr_array_index(pieces, i);

    if (fuzz_dice(random) % 64 == 0) {
        change_order(pieces, i, random);
    } else if (is_section(piece) && fuzz_dice(random) % 64) {
        change_section(piece->data, random);
    } else {
        change_bytes(piece->data, random);
    }
}

GPtrArray *stream_mutate(const GPtrArray *pieces, uint64_t *random)
{
    GPtrArray *copy = mig_pieces_new();
    guint changes = 1 + (guint)(fuzz_dice(random) % 4);

    for (guint i = 0; i < pieces->len; i++) {
        const MigPiece *piece = g_ptr_array_index(pieces, i);

        g_byte_array_append(mig_pieces_add(copy, piece->type)->data, piece->data->data, piece->data->len);
    }
    while (changes-- && copy->len) {
        change(copy, random);
    }
    return copy;
}
