/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The look at what goes in and out of QMP: values of each kind of type, right and wrong, and what is said of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/error.h"
#include "monitor/monitor-internal.h"

static const QmpType t_str = {.name = "str", .meta = QMP_STR}, t_int = {.name = "int", .meta = QMP_INT};
static const QmpType t_number = {.name = "number", .meta = QMP_NUMBER}, t_bool = {.name = "bool", .meta = QMP_BOOL};
static const QmpType t_object = {.name = "object", .meta = QMP_OBJECT}, t_any = {.name = "any", .meta = QMP_ANY};
static const char *const colours[] = {"red", "green", NULL};
static const QmpType t_colour = {.name = "Colour", .meta = QMP_ENUM, .values = colours};
static const QmpType t_list = {.name = "[int]", .meta = QMP_ARRAY, .element = &t_int};
static const QmpMember red_members[] = {{"depth", &t_int, false}, {NULL}};
static const QmpType t_red = {.name = "Red", .meta = QMP_STRUCT, .members = red_members};
static const QmpCase cases[] = {{"red", &t_red}, {NULL}};
static const QmpMember members[] = {
    {"colour", &t_colour, false}, {"counts", &t_list, true}, {"more", &t_object, true}, {"value", &t_any, true}, {NULL}};
static const QmpType t_thing = {.name = "Thing", .meta = QMP_STRUCT, .members = members, .tag = "colour", .cases = cases};
static const QmpType t_open = {.name = "Open", .meta = QMP_STRUCT, .members = red_members, .open = true};
static const QmpType t_empty = {.name = "Empty", .meta = QMP_STRUCT};
static const QmpType t_things = {.name = "[Thing]", .meta = QMP_ARRAY, .element = &t_thing};

/* said NULL: it is of that type. */
static const struct {
    const QmpType *type;
    const char *json, *said;
} values[] = {
    {&t_str, "\"\"", NULL},
    {&t_str, "1", "Invalid parameter type for 'w', expected: string"},
    {&t_str, "null", "Invalid parameter type for 'w', expected: string"},
    {&t_int, "-9223372036854775808", NULL},
    {&t_int, "18446744073709551615", NULL},
    {&t_int, "1.5", "Invalid parameter type for 'w', expected: integer"},
    {&t_int, "true", "Invalid parameter type for 'w', expected: integer"},
    {&t_number, "1", NULL},
    {&t_number, "1.5", NULL},
    {&t_number, "\"1\"", "Invalid parameter type for 'w', expected: number"},
    {&t_bool, "false", NULL},
    {&t_bool, "0", "Invalid parameter type for 'w', expected: boolean"},
    {&t_object, "{\"a\": 1}", NULL},
    {&t_object, "[]", "Invalid parameter type for 'w', expected: object"},
    {&t_any, "null", NULL},
    {&t_any, "[{}]", NULL},
    {&t_colour, "\"green\"", NULL},
    {&t_colour, "\"gre\"", "Parameter 'w' does not accept value 'gre' (allowed red, green)"},
    {&t_colour, "1", "Invalid parameter type for 'w', expected: string"},
    {&t_list, "[]", NULL},
    {&t_list, "[1, 2]", NULL},
    {&t_list, "[1, \"2\"]", "Invalid parameter type for 'w[1]', expected: integer"},
    {&t_list, "{}", "Invalid parameter type for 'w', expected: array"},
    {&t_empty, "{}", NULL},
    {&t_empty, "{\"a\": 1}", "Parameter 'w.a' is unexpected"},
    {&t_empty, "null", "Invalid parameter type for 'w', expected: object"},
    {&t_open, "{\"depth\": 1, \"a\": null}", NULL},
    {&t_open, "{\"a\": 1}", "Parameter 'w.depth' is missing"},
    {&t_thing, "{\"colour\": \"green\"}", NULL},
    {&t_thing, "{\"colour\": \"green\", \"counts\": [1], \"more\": {\"a\": []}, \"value\": null}", NULL},
    {&t_thing, "{\"counts\": []}", "Parameter 'w.colour' is missing"},
    {&t_thing, "{\"colour\": \"green\", \"counts\": null}", "Invalid parameter type for 'w.counts', expected: array"},
    {&t_thing, "{\"colour\": \"red\", \"depth\": 3}", NULL},
    {&t_thing, "{\"colour\": \"red\"}", "Parameter 'w.depth' is missing"},
    {&t_thing, "{\"colour\": \"red\", \"depth\": \"3\"}", "Invalid parameter type for 'w.depth', expected: integer"},
    {&t_thing, "{\"colour\": \"green\", \"depth\": 3}", "Parameter 'w.depth' is unexpected"},
    {&t_things, "[{\"colour\": \"green\"}, {\"colour\": \"blue\"}]",
     "Parameter 'w[1].colour' does not accept value 'blue' (allowed red, green)"},
};

static void test_values(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
        struct json_object *value = json_tokener_parse(values[i].json);
        GError *error = NULL;
        bool ok = qmp_type_check(values[i].type, value, "w", &error);

        assert_int_equal(ok, values[i].said == NULL);
        if (values[i].said) {
            assert_string_equal(error->message, values[i].said);
            assert_int_equal(error->code, ERR_GENERIC);
            g_error_free(error);
        }
        json_object_put(value);
    }
}

/* Arguments as a whole have no name of their own. */
static void test_names_of_arguments(void **state)
{
    struct json_object *value = json_tokener_parse("{\"depth\": []}");
    GError *error = NULL;

    assert_false(qmp_type_check(&t_red, value, NULL, &error));
    assert_string_equal(error->message, "Invalid parameter type for 'depth', expected: integer");
    g_clear_error(&error);
    assert_false(qmp_type_check(&t_str, value, NULL, &error));
    assert_string_equal(error->message, "Invalid parameter type for 'arguments', expected: string");
    g_error_free(error);
    json_object_put(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_names_of_arguments)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
