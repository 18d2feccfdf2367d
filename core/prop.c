/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The property types of core/prop.h: how each travels between JSON or text and a
 * field of an instance, and the listings made from property tables.
 */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/internal.h"
#include "core/prop.h"

static void *prop_field(Object *obj, const Prop *prop)
{
    return (uint8_t *)obj + prop->offset;
}

static bool prop_type_error(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    error_set(error, "%s.%s: wrong type (%s, expected %s)", obj->model->name, prop->name,
              json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN), prop->type->name);
    return false;
}

/* --- bool --- */

static bool prop_bool_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "n", "y"};
    const char *text;

    if (json_object_is_type(value, json_type_boolean)) {
        *(bool *)prop_field(obj, prop) = json_object_get_boolean(value);
        return true;
    }
    if (!json_object_is_type(value, json_type_string)) {
        return prop_type_error(obj, prop, value, error);
    }
    text = json_object_get_string(value);
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        if (!strcmp(text, words[i])) {
            *(bool *)prop_field(obj, prop) = i & 1;
            return true;
        }
    }
    error_set(error, "%s.%s: not a switch ('%s', allowed on, off, yes, no, true, false)", obj->model->name,
              prop->name, text);
    return false;
}

static struct json_object *prop_bool_format(Object *obj, const Prop *prop)
{
    return json_object_new_boolean(*(bool *)prop_field(obj, prop));
}

const PropType prop_bool = {"bool", prop_bool_parse, prop_bool_format, NULL, sizeof(bool)};

/* --- integers --- */

uint64_t prop_load_uint(const void *field, size_t size)
{
    uint64_t val = 0;

    memcpy(&val, field, size); /* x86-64 hosts only: little endian */
    return val;
}

void prop_store_uint(void *field, size_t size, uint64_t val)
{
    memcpy(field, &val, size);
}

/* Text or JSON number to an unsigned value; negative numbers are refused. */
static bool prop_get_u64(Object *obj, const Prop *prop, struct json_object *value, uint64_t *val,
                         GError **error)
{
    const char *text = json_object_get_string(value);
    char *end;

    if (!json_object_is_type(value, json_type_string) && !json_object_is_type(value, json_type_int)) {
        return prop_type_error(obj, prop, value, error);
    }
    errno = 0;
    *val = g_ascii_strtoull(text, &end, 0);
    if (!g_ascii_isdigit(*text) || *end || errno) {
        error_set(error, "%s.%s: not a number ('%s', allowed an unsigned integer)", obj->model->name,
                  prop->name, text);
        return false;
    }
    return true;
}

static bool prop_check_range(Object *obj, const Prop *prop, uint64_t val, GError **error)
{
    const unsigned bits = (unsigned)prop->type->field_size * 8;
    const uint64_t type_max = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    const uint64_t min = prop->min, max = prop->min || prop->max ? prop->max : type_max;

    if (val < min || val > max) {
        error_set(error, "%s.%s: out of range (%" PRIu64 ", allowed %" PRIu64 "..%" PRIu64 ")",
                  obj->model->name, prop->name, val, min, max);
        return false;
    }
    return true;
}

static bool prop_uint_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    uint64_t val;

    if (!prop_get_u64(obj, prop, value, &val, error) || !prop_check_range(obj, prop, val, error)) {
        return false;
    }
    prop_store_uint(prop_field(obj, prop), prop->type->field_size, val);
    return true;
}

static struct json_object *prop_uint_format(Object *obj, const Prop *prop)
{
    uint64_t val = prop_load_uint(prop_field(obj, prop), prop->type->field_size);

    return val > INT64_MAX ? json_object_new_uint64(val) : json_object_new_int64((int64_t)val);
}

const PropType prop_uint8 = {"uint8", prop_uint_parse, prop_uint_format, NULL, 1};
const PropType prop_uint16 = {"uint16", prop_uint_parse, prop_uint_format, NULL, 2};
const PropType prop_uint32 = {"uint32", prop_uint_parse, prop_uint_format, NULL, 4};
const PropType prop_uint64 = {"uint64", prop_uint_parse, prop_uint_format, NULL, 8};

static bool prop_int32_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    const int64_t min = prop->min || prop->max ? (int32_t)prop->min : INT32_MIN;
    const int64_t max = prop->min || prop->max ? (int32_t)prop->max : INT32_MAX;
    const char *text = json_object_get_string(value);
    char *end;
    int64_t val;

    if (!json_object_is_type(value, json_type_string) && !json_object_is_type(value, json_type_int)) {
        return prop_type_error(obj, prop, value, error);
    }
    errno = 0;
    val = g_ascii_strtoll(text, &end, 0);
    if (end == text || *end || errno || val < min || val > max) {
        error_set(error, "%s.%s: out of range ('%s', allowed %" PRId64 "..%" PRId64 ")", obj->model->name,
                  prop->name, text, min, max);
        return false;
    }
    *(int32_t *)prop_field(obj, prop) = (int32_t)val;
    return true;
}

static struct json_object *prop_int32_format(Object *obj, const Prop *prop)
{
    return json_object_new_int(*(int32_t *)prop_field(obj, prop));
}

const PropType prop_int32 = {"int32", prop_int32_parse, prop_int32_format, NULL, sizeof(int32_t)};

static bool prop_size_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    g_autofree char *where = g_strdup_printf("%s.%s", obj->model->name, prop->name);
    uint64_t val;

    if (json_object_is_type(value, json_type_string)) {
        if (!opts_parse_size(where, json_object_get_string(value), 0, &val, error)) {
            return false;
        }
    } else if (!prop_get_u64(obj, prop, value, &val, error)) {
        return false;
    }
    if (!prop_check_range(obj, prop, val, error)) {
        return false;
    }
    *(uint64_t *)prop_field(obj, prop) = val;
    return true;
}

const PropType prop_size = {"size", prop_size_parse, prop_uint_format, NULL, sizeof(uint64_t)};

/* --- string --- */

static void prop_string_clear(Object *obj, const Prop *prop)
{
    g_clear_pointer((char **)prop_field(obj, prop), g_free);
}

static bool prop_string_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    if (!json_object_is_type(value, json_type_string)) {
        return prop_type_error(obj, prop, value, error);
    }
    prop_string_clear(obj, prop);
    *(char **)prop_field(obj, prop) = g_strdup(json_object_get_string(value));
    return true;
}

static struct json_object *prop_string_format(Object *obj, const Prop *prop)
{
    const char *text = *(char **)prop_field(obj, prop);

    return json_object_new_string(text ? text : "");
}

const PropType prop_string = {"str", prop_string_parse, prop_string_format, prop_string_clear,
                              sizeof(char *)};

/* --- words --- */

static bool prop_word_parse(Object *obj, const Prop *prop, const char *const *names,
                            struct json_object *value, GError **error)
{
    g_autofree char *all = NULL;
    const char *text = json_object_get_string(value);

    if (!json_object_is_type(value, json_type_string)) {
        return prop_type_error(obj, prop, value, error);
    }
    for (int i = 0; names[i]; i++) {
        if (!strcmp(text, names[i])) {
            *(int *)prop_field(obj, prop) = i;
            return true;
        }
    }
    all = g_strjoinv(", ", (char **)names);
    error_set(error, "%s.%s: unknown word ('%s', allowed %s)", obj->model->name, prop->name, text, all);
    return false;
}

static bool prop_enum_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    return prop_word_parse(obj, prop, prop->names, value, error);
}

static struct json_object *prop_enum_format(Object *obj, const Prop *prop)
{
    return json_object_new_string(prop->names[*(int *)prop_field(obj, prop)]);
}

const PropType prop_enum = {"enum", prop_enum_parse, prop_enum_format, NULL, sizeof(int)};

static const char *const on_off_auto_names[] = {"auto", "on", "off", NULL};

static bool prop_on_off_auto_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    if (json_object_is_type(value, json_type_boolean)) {
        *(int *)prop_field(obj, prop) = json_object_get_boolean(value) ? ON_OFF_AUTO_ON : ON_OFF_AUTO_OFF;
        return true;
    }
    return prop_word_parse(obj, prop, on_off_auto_names, value, error);
}

static struct json_object *prop_on_off_auto_format(Object *obj, const Prop *prop)
{
    return json_object_new_string(on_off_auto_names[*(int *)prop_field(obj, prop)]);
}

const PropType prop_on_off_auto = {"OnOffAuto", prop_on_off_auto_parse, prop_on_off_auto_format, NULL,
                                   sizeof(int)};

/* --- links --- */

static void prop_link_clear(Object *obj, const Prop *prop)
{
    *(Object **)prop_field(obj, prop) = NULL;
}

static bool prop_link_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    const char *want = prop->names ? prop->names[0] : NULL, *text = json_object_get_string(value);
    Object *target;

    if (!json_object_is_type(value, json_type_string)) {
        return prop_type_error(obj, prop, value, error);
    }
    target = object_resolve(obj->machine, text);
    if (!target) {
        g_set_error(error, MPQEMU_ERROR, ERR_DEVICE_NOT_FOUND, "%s.%s: no object '%s'; create it first",
                    obj->model->name, prop->name, text);
        return false;
    }
    if (want && strcmp(target->model->name, want)) {
        error_set(error, "%s.%s: wrong kind of object ('%s' is a %s, expected %s)", obj->model->name,
                  prop->name, text, target->model->name, want);
        return false;
    }
    *(Object **)prop_field(obj, prop) = target;
    return true;
}

static struct json_object *prop_link_format(Object *obj, const Prop *prop)
{
    Object *target = *(Object **)prop_field(obj, prop);
    g_autofree char *path = target ? object_path(target) : NULL;

    return json_object_new_string(path ? path : "");
}

const PropType prop_link = {"link", prop_link_parse, prop_link_format, prop_link_clear, sizeof(Object *), true};

/* --- any JSON --- */

static void prop_json_clear(Object *obj, const Prop *prop)
{
    struct json_object **field = prop_field(obj, prop);

    json_object_put(*field);
    *field = NULL;
}

static bool prop_json_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    prop_json_clear(obj, prop);
    *(struct json_object **)prop_field(obj, prop) = json_object_get(value);
    return true;
}

static struct json_object *prop_json_format(Object *obj, const Prop *prop)
{
    return json_object_get(*(struct json_object **)prop_field(obj, prop));
}

const PropType prop_json = {"any", prop_json_parse, prop_json_format, prop_json_clear, sizeof(void *)};

/* --- defaults and listings --- */

/* The default as text (g_free), or NULL when the type has none. */
static char *prop_default_text(const Prop *p)
{
    if (p->def_str) {
        return g_strdup(p->def_str);
    }
    if (p->type == &prop_bool) {
        return g_strdup(p->def ? "on" : "off");
    }
    if (p->type == &prop_enum || p->type == &prop_on_off_auto) {
        return g_strdup((p->type == &prop_enum ? p->names : on_off_auto_names)[p->def]);
    }
    if (p->type->parse == prop_uint_parse || p->type == &prop_size) {
        return g_strdup_printf("%" PRIu64, p->def);
    }
    return p->type == &prop_int32 ? g_strdup_printf("%" PRId32, (int32_t)p->def) : NULL;
}

void prop_print_table(const Prop *p)
{
    for (; p && p->name; p++) {
        g_autofree char *def = prop_default_text(p);

        printf("  %s=<%s>", p->name, p->type->name);
        if (p->doc) {
            printf(" - %s", p->doc);
        }
        if (def) {
            printf(" (default: %s)", def);
        }
        putchar('\n');
    }
}

void prop_list_table(const Prop *p, struct json_object *list)
{
    for (; p && p->name; p++) {
        struct json_object *entry = json_object_new_object();
        g_autofree char *def = prop_default_text(p);

        json_object_object_add(entry, "name", json_object_new_string(p->name));
        json_object_object_add(entry, "type", json_object_new_string(p->type->name));
        if (p->doc) {
            json_object_object_add(entry, "description", json_object_new_string(p->doc));
        }
        if (def) {
            struct json_object *value;

            if (p->type == &prop_bool) {
                value = json_object_new_boolean(p->def != 0);
            } else if (p->type == &prop_int32) {
                value = json_object_new_int((int32_t)p->def);
            } else if (p->type->parse == prop_uint_parse || p->type == &prop_size) {
                value = json_object_new_uint64(p->def);
            } else {
                value = json_object_new_string(def);
            }
            json_object_object_add(entry, "default-value", value);
        }
        json_object_array_add(list, entry);
    }
}

void model_print_props(const Model *model)
{
    prop_print_table(model->props);
}

struct json_object *model_list_props(const Model *model)
{
    struct json_object *list = json_object_new_array();

    prop_list_table(model->props, list);
    return list;
}
