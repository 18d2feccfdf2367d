/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests of core/prop.c and core/opts.c: every type, its limits, and option text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <string.h>

#include "core/machine.h"
#include "core/trace.h"

typedef struct Thing {
    Object obj;
    bool flag;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64, bytes;
    int32_t i32;
    char *text;
    int word, tri;
    Object *link, *any_link;
    struct json_object *json;
} Thing;

static const char *const words[] = {"red", "green", NULL};
static const char *const thing_only[] = {"thing", NULL};
static const Prop thing_props[] = {
    PROP_BOOL("flag", Thing, flag, true, "a flag"),
    PROP_U8("u8", Thing, u8, 3, 2, 9, "a byte"),
    PROP_U16("u16", Thing, u16, 0, 0, 0, "16 bits"),
    PROP_U32("u32", Thing, u32, 0xffffffff, 0, 0, "32 bits"),
    PROP_U64("u64", Thing, u64, 0, 0, 0, "64 bits"),
    PROP_SIZE("bytes", Thing, bytes, 0, 0, 1 << 30, "a size"),
    {.name = "i32", .type = &prop_int32, .offset = offsetof(Thing, i32), .def = UINT64_MAX, .doc = "signed"},
    PROP_STR("text", Thing, text, "hello", "a string"),
    PROP_ENUM("word", Thing, word, 1, words, "a word"),
    {.name = "tri", .type = &prop_on_off_auto, .offset = offsetof(Thing, tri), .doc = "tristate"},
    {.name = "link",
     .type = &prop_link,
     .offset = offsetof(Thing, link),
     .names = thing_only,
     .doc = "a thing"},
    PROP_LINK("any-link", Thing, any_link, "an object"),
    PROP_JSON("json", Thing, json, "anything"),
    PROP_END,
};
static const ObjectModel thing_model = {
    .model = {.name = "thing",
              .doc = "For tests.",
              .kind = MODEL_OBJECT,
              .size = sizeof(Thing),
              .props = thing_props,
              .state = &state_none},
};
static const MachineModel none_model = {
    .model = {.name = "none", .kind = MODEL_MACHINE, .size = sizeof(Machine)}};

const Model *const model_table[] = {&thing_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef struct World {
    Machine *m;
    Thing *t;
} World;

static int world_setup(void **state)
{
    World *w = g_new0(World, 1);

    w->m = machine_new(&none_model, NULL);
    w->t = (Thing *)object_new(&thing_model.model, w->m, object_container(w->m->root, "objects"), "t0", NULL);
    *state = w;
    return 0;
}

static int world_teardown(void **state)
{
    World *w = *state;

    object_free(&w->t->obj);
    machine_free(w->m);
    g_free(w);
    return 0;
}

static void set_ok(World *w, const char *name, const char *value)
{
    g_autoptr(GError) error = NULL;

    assert_true(object_set_str(&w->t->obj, name, value, &error));
}

static void set_bad(World *w, const char *name, const char *value, const char *part)
{
    g_autoptr(GError) error = NULL;

    assert_false(object_set_str(&w->t->obj, name, value, &error));
    if (!strstr(error->message, part)) {
        fail_msg("'%s' does not say '%s'", error->message, part);
    }
}

static void assert_get(World *w, const char *name, const char *json)
{
    struct json_object *value = object_get(&w->t->obj, name, NULL);

    assert_string_equal(
        json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE), json);
    json_object_put(value);
}

static void test_defaults(void **state)
{
    World *w = *state;

    assert_get(w, "flag", "true");
    assert_get(w, "u8", "3");
    assert_get(w, "u32", "4294967295");
    assert_get(w, "i32", "-1");
    assert_get(w, "text", "\"hello\"");
    assert_get(w, "word", "\"green\"");
    assert_get(w, "tri", "\"auto\"");
    assert_get(w, "link", "\"\"");
    assert_get(w, "json", "null");
}

static void test_text(void **state)
{
    World *w = *state;

    set_ok(w, "flag", "off");
    assert_false(w->t->flag);
    set_ok(w, "flag", "yes");
    assert_true(w->t->flag);
    set_bad(w, "flag", "maybe", "thing.flag: not a switch ('maybe'");
    set_ok(w, "u8", "0x9");
    assert_int_equal(w->t->u8, 9);
    set_bad(w, "u8", "10", "out of range (10, allowed 2..9)");
    set_bad(w, "u8", "1", "allowed 2..9");
    assert_int_equal(w->t->u8, 9);
    set_ok(w, "u16", "0177");
    assert_int_equal(w->t->u16, 0177);
    set_bad(w, "u16", "65536", "allowed 0..65535");
    set_bad(w, "u16", "-1", "not a number");
    set_bad(w, "u16", "", "not a number");
    set_bad(w, "u16", "5x", "not a number");
    set_ok(w, "u64", "18446744073709551615");
    assert_get(w, "u64", "18446744073709551615");
    set_bad(w, "u64", "18446744073709551616", "not a number");
    set_ok(w, "i32", "-2147483648");
    set_bad(w, "i32", "2147483648", "allowed -2147483648..2147483647");
    set_ok(w, "bytes", "1.5M");
    assert_int_equal(w->t->bytes, 3 << 19);
    set_bad(w, "bytes", "2G", "out of range");
    set_ok(w, "text", "a,b");
    assert_string_equal(w->t->text, "a,b");
    set_ok(w, "word", "red");
    assert_int_equal(w->t->word, 0);
    set_bad(w, "word", "blue", "allowed red, green");
    set_ok(w, "tri", "off");
    assert_int_equal(w->t->tri, ON_OFF_AUTO_OFF);
    set_bad(w, "flga", "on", "did you mean 'flag'");
    set_bad(w, "zzzzzz", "on", "not found");
}

static void test_json(void **state)
{
    World *w = *state;
    g_autoptr(GError) error = NULL;
    struct json_object *opts =
        opts_parse("-x",
                   "{\"flag\": false, \"u8\": 5, \"bytes\": 4096, \"i32\": -4, \"skipped\": 1,"
                   " \"json\": {\"a\": [1, 2]}, \"tri\": true, \"u64\": 18446744073709551615}",
                   NULL, &error);
    static const char *const skip[] = {"skipped", NULL};

    assert_non_null(opts);
    assert_true(object_set_all(&w->t->obj, opts, skip, &error));
    assert_false(w->t->flag);
    assert_int_equal(w->t->u8, 5);
    assert_int_equal(w->t->i32, -4);
    assert_int_equal(w->t->tri, ON_OFF_AUTO_ON);
    assert_get(w, "json", "{\"a\":[1,2]}");
    assert_true(w->t->u64 == UINT64_MAX);
    assert_false(object_set_all(&w->t->obj, opts, NULL, &error));
    json_object_put(opts);
    g_clear_error(&error);
    opts = opts_parse("-x", "{\"u8\": [5]}", NULL, &error);
    assert_false(object_set_all(&w->t->obj, opts, NULL, &error));
    assert_string_equal(error->message, "thing.u8: wrong type ([5], expected uint8)");
    json_object_put(opts);
    g_clear_error(&error);
    opts = opts_parse("-x", "{\"json\": [{\"text\": null}]}", NULL, &error);
    assert_null(opts);
    assert_string_equal(error->message, "-x: 'text' is null; leave it out");
}

static void test_link(void **state)
{
    World *w = *state;

    set_ok(w, "link", "t0");
    assert_ptr_equal(w->t->link, w->t);
    set_ok(w, "link", "/objects/t0");
    assert_get(w, "link", "\"/objects/t0\"");
    set_bad(w, "link", "t9", "no object 't9'");
    set_bad(w, "link", "/machine", "is a none, expected thing");
    set_ok(w, "any-link", "/machine");
}

static bool set_list(World *w, const char *text, GError **error)
{
    struct json_object *opts = opts_parse("-x", text, NULL, error);
    bool ok = object_set_all(&w->t->obj, opts, NULL, error);

    json_object_put(opts);
    return ok;
}

static void test_structured(void **state)
{
    World *w = *state;
    static const char *const bad[] = {
        "json.a=1,json.a.b=2", "json.=1", "json..a=1", "jsn.a=1", "text.a=1", ".a=1"};

    assert_true(set_list(w, "json.type=unix,u8=4,json.in.path=/x,json.in.on", NULL));
    assert_get(w, "json", "{\"type\":\"unix\",\"in\":{\"path\":\"/x\",\"on\":\"on\"}}");
    assert_int_equal(w->t->u8, 4);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        if (set_list(w, bad[i], &error)) {
            fail_msg("'%s' was taken", bad[i]);
        }
        assert_non_null(error);
    }
}

static void assert_opts(const char *text, const char *implied, const char *json)
{
    g_autoptr(GError) error = NULL;
    struct json_object *opts = opts_parse("-x", text, implied, &error);

    assert_non_null(opts);
    assert_string_equal(json_object_to_json_string_ext(opts, JSON_C_TO_STRING_PLAIN), json);
    json_object_put(opts);
}

static void test_opts(void **state)
{
    static const char *const bad[] = {"{",  "{]",     "{\"a\":1,}", "{\"a\":1} x", "{\"a\":1}}",
                                      "=5", "a=1,=5", "a=\xff",     "\xff=1",      ","};

    assert_opts("", NULL, "{}");
    assert_opts("nvme,id=n0", "driver", "{\"driver\":\"nvme\",\"id\":\"n0\"}");
    assert_opts("driver=nvme,flag", "driver", "{\"driver\":\"nvme\",\"flag\":\"on\"}");
    assert_opts("path=a,,b,x=", NULL, "{\"path\":\"a,b\",\"x\":\"\"}");
    assert_opts("a=1,a=2", NULL, "{\"a\":\"2\"}");
    assert_opts("a=b=c", NULL, "{\"a\":\"b=c\"}");
    assert_opts(" {\"a\": {\"b\": 1}} ", "driver", "{\"a\":{\"b\":1}}");
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        if (opts_parse("-x", bad[i], NULL, &error)) {
            fail_msg("'%s' was taken", bad[i]);
        }
        assert_true(g_str_has_prefix(error->message, "-x: "));
    }
}

static void test_sizes(void **state)
{
    static const struct {
        const char *text;
        char suffix;
        uint64_t bytes;
    } good[] = {{"0", 0, 0},
                {"512", 'M', 512 << 20},
                {"1k", 'M', 1024},
                {"1G", 0, 1 << 30},
                {"0x1000", 0, 4096},
                {"0.5k", 0, 512},
                {"1.25", 'M', 5 << 18},
                {"15E", 0, UINT64_C(15) << 60},
                {"7b", 0, 7},
                {"2t", 0, UINT64_C(2) << 40},
                {"18446744073709551615", 0, UINT64_MAX},
                {"010", 0, 10}};
    static const char *const bad[] = {"",   "k",  "-1",  "1kk", "16E", "18446744073709551616",
                                      "1.", "0x", "1 k", "+1"};
    uint64_t bytes;

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        assert_true(opts_parse_size("-m", good[i].text, good[i].suffix, &bytes, NULL));
        assert_true(bytes == good[i].bytes);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        if (opts_parse_size("-m", bad[i], 0, &bytes, &error)) {
            fail_msg("'%s' was taken", bad[i]);
        }
    }
}

static void test_listing(void **state)
{
    struct json_object *list = model_list_props(&thing_model.model);

    assert_int_equal(json_object_array_length(list), 13);
    assert_string_equal(
        json_object_to_json_string_ext(json_object_array_get_idx(list, 1), JSON_C_TO_STRING_PLAIN),
        "{\"name\":\"u8\",\"type\":\"uint8\",\"description\":\"a byte\",\"default-value\":3}");
    json_object_put(list);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_defaults),
        TEST(test_text),
        TEST(test_json),
        TEST(test_link),
        TEST(test_structured),
        cmocka_unit_test(test_opts),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_listing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
