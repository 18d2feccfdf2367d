/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests of core/object.c and of -object: tree, ids, paths, life, required properties. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <string.h>

#include "core/error.h"
#include "core/machine.h"
#include "core/trace.h"

typedef struct Thing {
    Object obj;
    uint32_t need, runtime, fixed;
    bool busy, fail;
} Thing;

static unsigned starts, stops;

static bool thing_start(Object *obj, GError **error)
{
    starts++;
    if (((Thing *)obj)->fail) {
        error_set(error, "thing: told to fail");
        return false;
    }
    return true;
}

static bool thing_can_stop(Object *obj, GError **error)
{
    if (((Thing *)obj)->busy) {
        error_set(error, "thing: busy");
    }
    return !((Thing *)obj)->busy;
}

static void thing_stop(Object *obj)
{
    stops++;
}

static const Prop thing_props[] = {
    {.name = "need", .type = &prop_uint32, .offset = offsetof(Thing, need), .flags = PROP_REQUIRED},
    {.name = "runtime", .type = &prop_uint32, .offset = offsetof(Thing, runtime), .flags = PROP_RUNTIME},
    {.name = "fixed",
     .type = &prop_uint32,
     .offset = offsetof(Thing, fixed),
     .flags = PROP_READONLY,
     .def = 4},
    PROP_BOOL("busy", Thing, busy, false, NULL),
    PROP_BOOL("fail", Thing, fail, false, NULL),
    PROP_END,
};
static const ObjectModel thing_model = {
    .model = {.name = "thing",
              .alias = "ding",
              .kind = MODEL_OBJECT,
              .size = sizeof(Thing),
              .props = thing_props,
              .state = &state_none},
    .start = thing_start,
    .can_stop = thing_can_stop,
    .stop = thing_stop,
};
static const ObjectModel hidden_model = {
    .model = {.name = "hidden", .kind = MODEL_OBJECT, .size = sizeof(Object), .internal = true},
};
static const MachineModel none_model = {
    .model = {.name = "none", .kind = MODEL_MACHINE, .size = sizeof(Machine)}};

const Model *const model_table[] = {&thing_model.model, &hidden_model.model, &none_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

static int machine_setup(void **state)
{
    starts = stops = 0;
    *state = machine_new(&none_model, NULL);
    return 0;
}

static int machine_teardown(void **state)
{
    machine_free(*state);
    return 0;
}

static Object *add(Machine *m, const char *text, GError **error)
{
    struct json_object *opts = opts_parse("-object", text, "qom-type", error);
    Object *obj = machine_object_add(m, opts, error);

    json_object_put(opts);
    return obj;
}

static void assert_refused(Machine *m, const char *text, const char *part)
{
    g_autoptr(GError) error = NULL;

    assert_null(add(m, text, &error));
    if (!strstr(error->message, part)) {
        fail_msg("'%s' does not say '%s'", error->message, part);
    }
}

static void test_models(void **state)
{
    assert_ptr_equal(model_find("thing", 1 << MODEL_OBJECT), &thing_model.model);
    assert_ptr_equal(model_find("ding", 1 << MODEL_OBJECT), &thing_model.model);
    assert_null(model_find("thing", 1 << MODEL_DEVICE));
    assert_string_equal(model_nearest("thnig", 1 << MODEL_OBJECT | 1 << MODEL_DEVICE), "thing");
    assert_null(model_nearest("hiden", 1 << MODEL_OBJECT)); /* internal */
    assert_null(model_nearest("something-else", 1 << MODEL_OBJECT));
}

static void test_add_and_del(void **state)
{
    Machine *m = *state;
    g_autoptr(GError) error = NULL;
    Object *a = add(m, "thing,id=a,need=1", &error);
    g_autofree char *path = NULL;

    assert_non_null(a);
    path = object_path(a);
    assert_string_equal(path, "/objects/a");
    assert_ptr_equal(object_resolve(m, path), a);
    assert_ptr_equal(object_resolve(m, "a"), a);
    assert_ptr_equal(object_resolve(m, "/"), m->root);
    assert_ptr_equal(object_resolve(m, "/machine"), &m->obj);
    assert_null(object_resolve(m, "/objects/b"));
    assert_null(object_resolve(m, ""));
    assert_refused(m, "thing,id=a,need=1", "duplicate id");
    assert_false(object_set_str(a, "need", "2", NULL));
    assert_true(object_set_str(a, "runtime", "2", NULL));
    assert_int_equal(((Thing *)a)->runtime, 2);
    assert_false(machine_object_del(m, "b", &error));
    assert_string_equal(error->message, "object 'b' not found");
    g_clear_error(&error);
    assert_true(machine_object_del(m, "a", &error));
    assert_int_equal(stops, 1);
    assert_null(object_resolve(m, "a"));
}

static void test_refusals(void **state)
{
    Machine *m = *state;
    g_autoptr(GError) error = NULL;

    assert_refused(m, "", "parameter 'qom-type' is missing");
    assert_refused(m, "thing", "parameter 'id' is missing");
    assert_refused(m, "thnig,id=a", "did you mean 'thing'");
    assert_refused(m, "none,id=a", "not a valid model name");
    assert_refused(m, "hidden,id=a", "belongs to the board");
    assert_refused(m, "thing,id=a", "property 'need' is required");
    assert_refused(m, "thing,id=1a,need=1", "malformed id");
    assert_refused(m, "thing,id=a[0],need=1", "malformed id");
    assert_refused(m, "thing,id=a/b,need=1", "malformed id");
    assert_refused(m, "thing,id=,need=1", "malformed id");
    assert_refused(m, "thing,id=a,need=1,fixed=2", "read-only");
    assert_refused(m, "{\"qom-type\": 5}", "not a string");
    assert_int_equal(starts, 0);
    assert_refused(m, "thing,id=a,need=1,fail", "told to fail");
    assert_non_null(add(m, "ding,id=a,need=1,busy=on", &error)); /* the id is free again */
    assert_false(machine_object_del(m, "a", &error));
    assert_string_equal(error->message, "thing: busy");
    assert_int_equal(stops, 0); /* the teardown stops it */
}

static void test_tree(void **state)
{
    Machine *m = *state;
    Object *box = object_container(&m->obj, "box");
    Object *first = object_new(&thing_model.model, m, box, NULL, NULL);
    Object *second = object_new(&thing_model.model, m, box, NULL, NULL);

    assert_ptr_equal(object_container(&m->obj, "box"), box);
    assert_string_equal(first->id, "device[0]");
    assert_string_equal(second->id, "device[1]");
    object_free(first);
    first = object_new(&thing_model.model, m, box, NULL, NULL);
    assert_string_equal(first->id, "device[0]");
    assert_null(object_new(&thing_model.model, m, box, "x[", NULL));
    assert_null(object_new(&thing_model.model, m, box, "x[1]y", NULL));
    assert_non_null(object_new(&thing_model.model, m, object_container(m->root, "other"), "twin", NULL));
    assert_non_null(object_new(&thing_model.model, m, box, "twin", NULL));
    assert_null(object_resolve(m, "twin")); /* ambiguous */
    assert_non_null(object_resolve(m, "/machine/box/twin"));
    object_free(box);
    assert_non_null(object_resolve(m, "twin"));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, machine_setup, machine_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_models),
        TEST(test_add_and_del),
        TEST(test_refusals),
        TEST(test_tree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
