/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State tables: what of an instance is saved.  One table serves migration,
 * snapshots, process recovery and live upgrade.  Values are stored little
 * endian, named and sized, so that a damaged or foreign stream is an error
 * that names the field and offset.
 */
#ifndef CORE_STATE_H
#define CORE_STATE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct StateTable StateTable;

typedef enum StateKind {
    STATE_DEADLINE, /* uint64_t, virtual time in ns at which something is due; 0: nothing is.  As STATE_UINT in the data */
    STATE_UINT,   /* integer of `size` bytes 1, 2, 4, 8; `count` of them */
    STATE_BOOL,
    STATE_BYTES,  /* `size` raw bytes */
    STATE_STRUCT, /* `count` nested structs of `size` bytes described by `table` */
    STATE_BUFFER, /* pointer field to a g_malloc'ed buffer; its length is the uint32_t at `len_offset` (bounded by `count`) */
} StateKind;

typedef struct StateField {
    const char *name;
    StateKind kind;
    size_t offset;
    size_t size;
    size_t count;            /* elements (1 when 0); for STATE_BUFFER the maximum in bytes */
    const StateTable *table; /* STATE_STRUCT */
    size_t len_offset;       /* STATE_BUFFER */
    uint32_t since;          /* first version that has it */
    uint32_t until;          /* 0, or the first version without it: only loaded, from earlier ones */
} StateField;

struct StateTable {
    const char *name;
    uint32_t version;        /* of what is written; older ones load with later fields at their present values */
    /*
     * A board's own device: the first MACHINE_BOARD_VERSION that has it.  A stream of an older board goes without its section, and
     * leaves it as reset.  0: every board of its kind ever had it.
     */
    uint32_t board_since;
    const StateField *fields; /* ends with name NULL */
    void (*pre_save)(void *instance);
    /* Checks what was loaded (indices, lengths) and rebuilds what is derived.  False: *error is set. */
    bool (*post_load)(void *instance, uint32_t version, GError **error);
};

/* For models with nothing to save. */
extern const StateTable state_none;

/* After the arguments of each may follow `.since = VERSION` or `.until = VERSION`. */
#define STATE_FIELD_UINT(S, f, ...) \
    {.name = #f, .kind = STATE_UINT, .offset = offsetof(S, f), .size = sizeof(((S *)0)->f), ##__VA_ARGS__}
#define STATE_FIELD_BOOL(S, f, ...) \
    {.name = #f, .kind = STATE_BOOL, .offset = offsetof(S, f), .size = sizeof(bool), ##__VA_ARGS__}
#define STATE_FIELD_BYTES(S, f, ...) \
    {.name = #f, .kind = STATE_BYTES, .offset = offsetof(S, f), .size = sizeof(((S *)0)->f), ##__VA_ARGS__}
#define STATE_FIELD_DEADLINE(S, f, ...) \
    {.name = #f, .kind = STATE_DEADLINE, .offset = offsetof(S, f), .size = sizeof(((S *)0)->f), ##__VA_ARGS__}
#define STATE_FIELD_ARRAY(S, f, ...) \
    {.name = #f, .kind = STATE_UINT, .offset = offsetof(S, f), .size = sizeof(((S *)0)->f[0]), \
     .count = sizeof(((S *)0)->f) / sizeof(((S *)0)->f[0]), ##__VA_ARGS__}
#define STATE_FIELD_STRUCT(S, f, t, ...) \
    {.name = #f, .kind = STATE_STRUCT, .offset = offsetof(S, f), .size = sizeof(((S *)0)->f), .table = t, ##__VA_ARGS__}
#define STATE_FIELD_STRUCTS(S, f, t, ...) \
    {.name = #f, .kind = STATE_STRUCT, .offset = offsetof(S, f), .size = sizeof(((S *)0)->f[0]), \
     .count = sizeof(((S *)0)->f) / sizeof(((S *)0)->f[0]), .table = t, ##__VA_ARGS__}
#define STATE_END {.name = NULL}

/* Appends `instance` as one checksummed section named `section` to `out`. */
void state_save(const StateTable *table, void *instance, const char *section, GByteArray *out);
/*
 * Loads the section at data[*offset] and advances *offset.  On false nothing of
 * the instance was changed unless post_load refused; *error names section, field, offset.
 */
bool state_load(const StateTable *table, void *instance, const char *section, const uint8_t *data, size_t len,
                size_t *offset, GError **error);
/* The same, with every deadline `shift` ns later: the clock here is that much ahead of the one there. */
bool state_load_shifted(const StateTable *table, void *instance, const char *section, const uint8_t *data, size_t len,
                        size_t *offset, int64_t shift, GError **error);

#endif
