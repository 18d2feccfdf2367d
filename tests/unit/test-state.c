/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests of core/state.c: round trips, versions, and streams that are damaged in every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "core/error.h"
#include "core/model.h"
#include "core/state.h"
#include "core/trace.h"

const Model *const model_table[] = {NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef struct Inner {
    uint16_t a;
    bool b;
} Inner;

typedef struct Outer {
    uint8_t u8;
    uint64_t u64;
    uint32_t array[3];
    uint8_t raw[5];
    bool flag;
    Inner one, many[2];
    uint8_t *buffer;
    uint32_t buffer_len;
    uint32_t later;
    unsigned pre_saves, post_loads; /* not saved */
} Outer;

static const StateField inner_fields[] = {STATE_FIELD_UINT(Inner, a), STATE_FIELD_BOOL(Inner, b), STATE_END};
static const StateTable inner_table = {.name = "inner", .version = 1, .fields = inner_fields};

static void outer_pre_save(void *instance)
{
    ((Outer *)instance)->pre_saves++;
}

static bool outer_post_load(void *instance, uint32_t version, GError **error)
{
    Outer *o = instance;

    o->post_loads++;
    if (o->u8 == 0xee) {
        error_set(error, "outer: bad u8");
        return false;
    }
    return true;
}

#define OUTER_FIELDS_V1                                                                                      \
    STATE_FIELD_UINT(Outer, u8), STATE_FIELD_UINT(Outer, u64), STATE_FIELD_ARRAY(Outer, array),              \
        STATE_FIELD_BYTES(Outer, raw), STATE_FIELD_BOOL(Outer, flag),                                        \
        STATE_FIELD_STRUCT(Outer, one, &inner_table), STATE_FIELD_STRUCTS(Outer, many, &inner_table),        \
    {                                                                                                        \
        .name = "buffer", .kind = STATE_BUFFER, .offset = offsetof(Outer, buffer), .count = 16,              \
        .len_offset = offsetof(Outer, buffer_len)                                                            \
    }

static const StateField outer_fields_v1[] = {OUTER_FIELDS_V1, STATE_END};
static const StateTable outer_v1 = {.name = "outer", .version = 1, .fields = outer_fields_v1};
static const StateField outer_fields_v2[] = {
    OUTER_FIELDS_V1,
    {.name = "later", .kind = STATE_UINT, .offset = offsetof(Outer, later), .size = 4, .since = 2},
    STATE_END,
};
static const StateTable outer_v2 = {.name = "outer",
                                    .version = 2,
                                    .fields = outer_fields_v2,
                                    .pre_save = outer_pre_save,
                                    .post_load = outer_post_load};

/* "array" and "one" were given up. */
static const StateField outer_fields_v3[] = {
    STATE_FIELD_UINT(Outer, u8),
    STATE_FIELD_UINT(Outer, u64),
    STATE_FIELD_ARRAY(Outer, array, .until = 3),
    STATE_FIELD_BYTES(Outer, raw),
    STATE_FIELD_BOOL(Outer, flag),
    STATE_FIELD_STRUCT(Outer, one, &inner_table, .until = 3),
    STATE_FIELD_STRUCTS(Outer, many, &inner_table),
    {.name = "buffer", .kind = STATE_BUFFER, .offset = offsetof(Outer, buffer), .count = 16,
     .len_offset = offsetof(Outer, buffer_len)},
    STATE_FIELD_UINT(Outer, later, .since = 2),
    STATE_END,
};
static const StateTable outer_v3 = {.name = "outer", .version = 3, .fields = outer_fields_v3, .post_load = outer_post_load};

static Outer outer_sample(void)
{
    Outer o = {.u8 = 7,
               .u64 = 0x0102030405060708,
               .array = {1, 2, 0xffffffff},
               .raw = {9, 8, 7, 6, 5},
               .flag = true,
               .one = {0x1234, true},
               .many = {{1, false}, {2, true}},
               .later = 77};

    o.buffer_len = 6;
    o.buffer = g_memdup2("abcdef", 6);
    return o;
}

static void test_round_trip(void **state)
{
    Outer a = outer_sample(), b = {0};
    g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    size_t offset = 0;

    state_save(&outer_v2, &a, "/machine/x", first);
    assert_int_equal(a.pre_saves, 1);
    b.buffer = g_malloc(3);
    b.buffer_len = 3;
    assert_true(state_load(&outer_v2, &b, "/machine/x", first->data, first->len, &offset, &error));
    assert_int_equal(offset, first->len);
    assert_int_equal(b.post_loads, 1);
    assert_int_equal(b.many[1].a, 2);
    assert_int_equal(b.buffer_len, 6);
    assert_memory_equal(b.buffer, "abcdef", 6);
    assert_int_equal(b.later, 77);
    state_save(&outer_v2, &b, "/machine/x", second);
    assert_int_equal(first->len, second->len);
    assert_memory_equal(first->data, second->data, first->len);
    g_free(a.buffer);
    g_free(b.buffer);
}

static void test_two_sections_and_none(void **state)
{
    Inner a = {1, true}, b = {0};
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    size_t offset = 0;

    state_save(&state_none, &a, "nothing", out);
    state_save(&inner_table, &a, "inner", out);
    assert_false(state_load(&inner_table, &b, "inner", out->data, out->len, &offset, &error));
    assert_non_null(strstr(error->message, "another section"));
    g_clear_error(&error);
    assert_int_equal(offset, 0);
    assert_true(state_load(&state_none, &b, "nothing", out->data, out->len, &offset, &error));
    assert_true(state_load(&inner_table, &b, "inner", out->data, out->len, &offset, &error));
    assert_int_equal(offset, out->len);
    assert_int_equal(b.a, 1);
    assert_false(state_load(&inner_table, &b, "inner", out->data, out->len, &offset, &error));
}

static void test_versions(void **state)
{
    Outer a = outer_sample(), b = {.later = 5};
    g_autoptr(GByteArray) old = g_byte_array_new(), new = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    size_t offset = 0;

    state_save(&outer_v1, &a, "x", old);
    assert_true(state_load(&outer_v2, &b, "x", old->data, old->len, &offset, &error));
    assert_int_equal(b.u8, 7);
    assert_int_equal(b.later, 5); /* keeps its value */
    state_save(&outer_v2, &a, "x", new);
    offset = 0;
    assert_false(state_load(&outer_v1, &b, "x", new->data, new->len, &offset, &error));
    assert_non_null(strstr(error->message, "newer"));
    g_free(a.buffer);
    g_free(b.buffer);
}

/* A field that is gone is read from states that have it, and not written. */
static void test_gone_fields(void **state)
{
    Outer a = outer_sample(), b = {0}, c = {0};
    g_autoptr(GByteArray) old = g_byte_array_new(), new = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    size_t offset = 0;

    state_save(&outer_v2, &a, "x", old);
    assert_true(state_load(&outer_v3, &b, "x", old->data, old->len, &offset, &error));
    assert_int_equal(b.array[2], 0xffffffff);
    assert_int_equal(b.one.a, 0x1234);
    assert_int_equal(b.later, 77);
    state_save(&outer_v3, &b, "x", new);
    assert_true(new->len < old->len);
    offset = 0;
    assert_true(state_load(&outer_v3, &c, "x", new->data, new->len, &offset, &error));
    assert_int_equal(c.array[2], 0);
    assert_int_equal(c.one.a, 0);
    assert_int_equal(c.many[1].a, 2);
    assert_int_equal(c.later, 77);
    g_free(a.buffer);
    g_free(b.buffer);
    g_free(c.buffer);
}

/* The checksum of a section whose payload was changed on purpose (as documented in core/state.c). */
static void fix_crc(uint8_t *section, size_t len)
{
    size_t header = 4 + 2 + 1 + 4 + 4 + 4;
    uint32_t crc = UINT32_MAX;

    for (size_t i = header; i < len; i++) {
        crc ^= section[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
    }
    crc = ~crc;
    memcpy(section + header - 4, &crc, 4);
}

static void test_damage(void **state)
{
    Outer a = outer_sample();
    g_autoptr(GByteArray) good = g_byte_array_new();

    state_save(&outer_v2, &a, "x", good);
    for (guint i = 0; i < good->len; i++) {
        g_autofree uint8_t *bad = g_memdup2(good->data, good->len);
        Outer b = {0}, zero = {0};
        g_autoptr(GError) error = NULL;
        size_t offset = 0;

        bad[i] ^= 0x41;
        assert_false(state_load(&outer_v2, &b, "x", bad, good->len, &offset, &error));
        assert_non_null(error);
        assert_memory_equal(&b, &zero, sizeof(b)); /* nothing was changed */
        assert_int_equal(offset, 0);
    }
    for (guint len = 0; len < good->len; len++) {
        g_autofree uint8_t *cut = g_memdup2(good->data, len);
        Outer b = {0};
        g_autoptr(GError) error = NULL;
        size_t offset = 0;

        assert_false(state_load(&outer_v2, &b, "x", cut, len, &offset, &error));
        assert_non_null(error);
    }
    g_free(a.buffer);
}

/* A liar with a correct checksum: every byte of the payload replaced by some values. */
static void test_lies(void **state)
{
    static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
    Outer a = outer_sample();
    g_autoptr(GByteArray) good = g_byte_array_new();
    unsigned refused = 0;

    state_save(&outer_v2, &a, "x", good);
    for (guint i = 19; i < good->len; i++) {
        for (size_t v = 0; v < sizeof(values); v++) {
            g_autofree uint8_t *bad = g_memdup2(good->data, good->len);
            Outer b = {0};
            g_autoptr(GError) error = NULL;
            size_t offset = 0;

            bad[i] = values[v];
            fix_crc(bad, good->len);
            if (!state_load(&outer_v2, &b, "x", bad, good->len, &offset, &error)) {
                assert_non_null(error);
                refused++;
            }
            g_free(b.buffer);
        }
    }
    assert_true(refused > 100);
    g_free(a.buffer);
}

static void test_post_load_refuses(void **state)
{
    Outer a = outer_sample(), b = {0};
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    size_t offset = 0;

    a.u8 = 0xee;
    state_save(&outer_v2, &a, "x", out);
    assert_false(state_load(&outer_v2, &b, "x", out->data, out->len, &offset, &error));
    assert_string_equal(error->message, "state section 'x': outer: bad u8");
    g_free(a.buffer);
    g_free(b.buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_two_sections_and_none),
        cmocka_unit_test(test_versions),   cmocka_unit_test(test_gone_fields), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_lies),       cmocka_unit_test(test_post_load_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
