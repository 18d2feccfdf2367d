/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saved state.  A section, all integers little endian:
 *
 *   u32 magic "MPQS", u16 length and bytes of the section's name, u32 version of
 *   the table, u32 length of the payload, u32 CRC-32 (IEEE 802.3) of the payload, payload
 *
 * The payload is the table's fields in order: u8 length and bytes of the name, u32
 * size, value.  A nested struct is u32 version, then its fields, each struct
 * preceded by its u32 size.  Loading runs twice over the payload, first to check.
 */
#include "core/state.h"

#include <inttypes.h>
#include <string.h>
#include <zlib.h>

#include "core/error.h"

#define STATE_MAGIC     0x5351504du /* "MPQS" */
#define STATE_DEPTH_MAX 8

static const StateField state_no_fields[] = {STATE_END};
const StateTable state_none = {.name = "none", .version = 1, .fields = state_no_fields};

static uint32_t state_crc(const uint8_t *data, size_t len)
{
    return (uint32_t)crc32_z(0, len ? data : (const uint8_t *)"", len);
}

static size_t field_count(const StateField *f)
{
    return f->count ? f->count : 1;
}

/* --- saving --- */

static void put_uint(GByteArray *out, uint64_t val, unsigned size)
{
    val = GUINT64_TO_LE(val);
    g_byte_array_append(out, (const guint8 *)&val, size);
}

/* Sets the u32 at `at` to the number of bytes that follow it. */
static void patch_length(GByteArray *out, guint at)
{
    uint32_t len = out->len - at - 4;

    for (unsigned i = 0; i < 4; i++) {
        out->data[at + i] = (uint8_t)(len >> (i * 8));
    }
}

static void save_table(const StateTable *table, uint8_t *instance, GByteArray *out);

static void save_value(const StateField *f, uint8_t *instance, GByteArray *out)
{
    uint8_t *p = instance + f->offset;

    for (size_t i = 0; i < field_count(f) && f->kind != STATE_BUFFER; i++, p += f->size) {
        uint64_t val = 0;
        guint at = out->len;

        switch (f->kind) {
        case STATE_UINT:
        case STATE_DEADLINE:
            memcpy(&val, p, f->size);
            put_uint(out, val, (unsigned)f->size);
            break;
        case STATE_BOOL:
            put_uint(out, *(bool *)p, 1);
            break;
        case STATE_STRUCT:
            put_uint(out, 0, 4);
            put_uint(out, f->table->version, 4);
            save_table(f->table, p, out);
            patch_length(out, at);
            break;
        default:
            g_byte_array_append(out, p, (guint)f->size);
            break;
        }
    }
    if (f->kind == STATE_BUFFER) {
        uint32_t len;

        memcpy(&len, instance + f->len_offset, sizeof(len));
        g_assert(len <= f->count);
        if (len) {
            g_byte_array_append(out, *(uint8_t **)p, len);
        }
    }
}

static void save_table(const StateTable *table, uint8_t *instance, GByteArray *out)
{
    if (table->pre_save) {
        table->pre_save(instance);
    }
    for (const StateField *f = table->fields; f->name; f++) {
        guint at;

        if (f->until) {
            continue;
        }
        put_uint(out, strlen(f->name), 1);
        g_byte_array_append(out, (const guint8 *)f->name, (guint)strlen(f->name));
        at = out->len;
        put_uint(out, 0, 4);
        save_value(f, instance, out);
        patch_length(out, at);
    }
}

void state_save(const StateTable *table, void *instance, const char *section, GByteArray *out)
{
    guint length_at, payload;
    uint32_t crc;

    g_assert(strlen(section) <= UINT16_MAX);
    put_uint(out, STATE_MAGIC, 4);
    put_uint(out, strlen(section), 2);
    g_byte_array_append(out, (const guint8 *)section, (guint)strlen(section));
    put_uint(out, table->version, 4);
    length_at = out->len;
    put_uint(out, 0, 4);
    put_uint(out, 0, 4);
    payload = out->len;
    save_table(table, instance, out);
    crc = state_crc(out->data + payload, out->len - payload);
    for (unsigned i = 0; i < 4; i++) {
        out->data[length_at + i] = (uint8_t)((out->len - payload) >> (i * 8));
        out->data[length_at + 4 + i] = (uint8_t)(crc >> (i * 8));
    }
}

/* --- loading --- */

typedef struct StateReader {
    const char *section;
    const uint8_t *data;
    size_t at, end;
    bool apply; /* second pass: everything was checked */
    int64_t shift; /* of deadlines, ns */
    GError **error;
} StateReader;

static bool reader_fail(StateReader *r, const char *field, const char *what)
{
    error_set(r->error, "state section '%s': field '%s' at byte %zu: %s", r->section, field, r->at, what);
    return false;
}

static uint64_t take_uint(StateReader *r, unsigned size)
{
    uint64_t val = 0;

    for (unsigned i = 0; i < size; i++) {
        val |= (uint64_t)r->data[r->at++] << (i * 8);
    }
    return val;
}

static bool load_table(const StateTable *table, uint8_t *instance, uint32_t version, StateReader *r,
                       unsigned depth);

static bool load_struct(const StateField *f, uint8_t *p, StateReader *r, unsigned depth)
{
    size_t end = r->end, len;
    uint32_t version;
    bool ok;

    if (end - r->at < 8) {
        return reader_fail(r, f->name, "truncated struct");
    }
    len = take_uint(r, 4);
    if (len < 4 || len > end - r->at) {
        return reader_fail(r, f->name, "struct is longer than its field");
    }
    r->end = r->at + len;
    version = (uint32_t)take_uint(r, 4);
    if (version > f->table->version) {
        return reader_fail(r, f->name, "struct is of a newer version than this program's");
    }
    ok = load_table(f->table, p, version, r, depth + 1);
    r->end = end;
    return ok;
}

static bool load_buffer(const StateField *f, uint8_t *instance, uint32_t len, StateReader *r)
{
    uint8_t **buffer = (uint8_t **)(void *)(instance + f->offset);

    if (len > f->count) {
        return reader_fail(r, f->name, "buffer is longer than allowed");
    }
    if (r->apply) {
        g_free(*buffer);
        *buffer = len ? g_memdup2(r->data + r->at, len) : NULL;
        memcpy(instance + f->len_offset, &len, sizeof(len));
    }
    r->at += len;
    return true;
}

/* What cannot be is left to the model's own check. */
static uint64_t shift_deadline(uint64_t deadline, int64_t shift)
{
    int64_t shifted;

    if (!deadline || deadline > INT64_MAX) {
        return deadline;
    }
    if (__builtin_add_overflow((int64_t)deadline, shift, &shifted)) {
        shifted = INT64_MAX;
    }
    return (uint64_t)MAX(shifted, 1);
}

static bool load_element(const StateField *f, uint8_t *p, StateReader *r, unsigned depth)
{
    uint64_t val;

    switch (f->kind) {
    case STATE_UINT:
        val = take_uint(r, (unsigned)f->size);
        if (r->apply) {
            memcpy(p, &val, f->size);
        }
        return true;
    case STATE_DEADLINE:
        val = shift_deadline(take_uint(r, sizeof(val)), r->shift);
        if (r->apply) {
            memcpy(p, &val, sizeof(val));
        }
        return true;
    case STATE_BOOL:
        val = take_uint(r, 1);
        if (val > 1) {
            return reader_fail(r, f->name, "not a boolean");
        }
        if (r->apply) {
            *(bool *)p = val;
        }
        return true;
    case STATE_STRUCT:
        return load_struct(f, p, r, depth);
    default:
        if (r->apply) {
            memcpy(p, r->data + r->at, f->size);
        }
        r->at += f->size;
        return true;
    }
}

static bool load_field(const StateField *f, uint8_t *instance, StateReader *r, unsigned depth)
{
    size_t name_len = strlen(f->name), end = r->end, len;

    if (end - r->at < 1 + name_len + 4 || r->data[r->at] != name_len ||
        memcmp(r->data + r->at + 1, f->name, name_len)) {
        return reader_fail(r, f->name, "missing, another field is there");
    }
    r->at += 1 + name_len;
    len = take_uint(r, 4);
    if (len > end - r->at) {
        return reader_fail(r, f->name, "longer than its section");
    }
    if (f->kind == STATE_BUFFER) {
        return load_buffer(f, instance, (uint32_t)len, r);
    }
    if (f->kind != STATE_STRUCT && len != f->size * field_count(f)) {
        return reader_fail(r, f->name, "wrong size");
    }
    r->end = r->at + len;
    for (size_t i = 0; i < field_count(f); i++) {
        if (!load_element(f, instance + f->offset + i * f->size, r, depth)) {
            return false;
        }
    }
    if (r->at != r->end) {
        return reader_fail(r, f->name, "has more elements than this program's");
    }
    r->end = end;
    return true;
}

static bool load_table(const StateTable *table, uint8_t *instance, uint32_t version, StateReader *r,
                       unsigned depth)
{
    g_assert(depth < STATE_DEPTH_MAX);
    for (const StateField *f = table->fields; f->name; f++) {
        if (f->since <= version && (!f->until || version < f->until) && !load_field(f, instance, r, depth)) {
            return false;
        }
    }
    if (r->at != r->end) {
        return reader_fail(r, "(end)", "unknown field after the last one");
    }
    return !r->apply || !table->post_load || table->post_load(instance, version, r->error);
}

/* Reads the header: *version, and r->at, r->end around the payload. */
static bool load_header(const StateTable *table, StateReader *r, size_t len, uint32_t *version)
{
    size_t name_len = strlen(r->section), length;
    uint32_t crc;

    if (len - r->at < 6 || take_uint(r, 4) != STATE_MAGIC) {
        error_set(r->error, "state section '%s': no section begins at byte %zu", r->section, r->at);
        return false;
    }
    if (take_uint(r, 2) != name_len || len - r->at < name_len + 12 ||
        memcmp(r->data + r->at, r->section, name_len)) {
        error_set(r->error, "state section '%s': another section is at byte %zu", r->section, r->at);
        return false;
    }
    r->at += name_len;
    *version = (uint32_t)take_uint(r, 4);
    length = take_uint(r, 4);
    crc = (uint32_t)take_uint(r, 4);
    if (length > len - r->at) {
        error_set(r->error, "state section '%s': truncated (%zu bytes, expected %zu)", r->section,
                  len - r->at, length);
        return false;
    }
    r->end = r->at + length;
    if (state_crc(r->data + r->at, length) != crc) {
        error_set(r->error, "state section '%s': checksum does not match; the data is damaged", r->section);
        return false;
    }
    if (*version > table->version) {
        error_set(r->error,
                  "state section '%s': version %" PRIu32 " is newer than this program's (%" PRIu32 ")",
                  r->section, *version, table->version);
        return false;
    }
    return true;
}

bool state_load(const StateTable *table, void *instance, const char *section, const uint8_t *data, size_t len,
                size_t *offset, GError **error)
{
    return state_load_shifted(table, instance, section, data, len, offset, 0, error);
}

bool state_load_shifted(const StateTable *table, void *instance, const char *section, const uint8_t *data, size_t len,
                        size_t *offset, int64_t shift, GError **error)
{
    StateReader r = {.section = section, .data = data, .at = *offset, .shift = shift, .error = error};
    uint32_t version;
    size_t payload;

    if (*offset > len || !load_header(table, &r, len, &version)) {
        if (*offset > len) {
            error_set(error, "state section '%s': missing at the end of the data", section);
        }
        return false;
    }
    payload = r.at;
    if (!load_table(table, instance, version, &r, 0)) {
        return false;
    }
    r.at = payload;
    r.apply = true;
    if (!load_table(table, instance, version, &r, 0)) {
        g_prefix_error(error, "state section '%s': ", section); /* only a post_load refuses what was checked */
        return false;
    }
    *offset = r.end;
    return true;
}
