/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether a JSON value is of a type of the QMP schema.  The same look is taken at what clients ask and at what they get; the
 * texts are those that clients know.
 */
#include <string.h>

#include "core/error.h"
#include "monitor-internal.h"

static const struct {
    const char *name;
    enum json_type json;
} qmp_metas[] = {
    [QMP_STR] = {"string", json_type_string},    [QMP_INT] = {"integer", json_type_int},
    [QMP_NUMBER] = {"number", json_type_double}, [QMP_BOOL] = {"boolean", json_type_boolean},
    [QMP_OBJECT] = {"object", json_type_object}, [QMP_ANY] = {"any", json_type_null},
    [QMP_ENUM] = {"string", json_type_string},   [QMP_ARRAY] = {"array", json_type_array},
    [QMP_STRUCT] = {"object", json_type_object},
};

static char *member_path(const char *where, const char *name)
{
    return where ? g_strdup_printf("%s.%s", where, name) : g_strdup(name);
}

static bool meta_matches(QmpMeta meta, struct json_object *value)
{
    return meta == QMP_ANY || json_object_is_type(value, qmp_metas[meta].json) ||
           (meta == QMP_NUMBER && json_object_is_type(value, json_type_int));
}

static bool check_enum(const QmpType *type, struct json_object *value, const char *where, GError **error)
{
    const char *text = json_object_get_string(value);
    g_autofree char *allowed = NULL;

    if (g_strv_contains(type->values, text)) {
        return true;
    }
    allowed = g_strjoinv(", ", (char **)type->values);
    error_set(error, "Parameter '%s' does not accept value '%s' (allowed %s)", where, text, allowed);
    return false;
}

static bool check_array(const QmpType *type, struct json_object *value, const char *where, GError **error)
{
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        g_autofree char *place = g_strdup_printf("%s[%zu]", where, i);

        if (!qmp_type_check(type->element, json_object_array_get_idx(value, i), place, error)) {
            return false;
        }
    }
    return true;
}

static bool check_members(const QmpType *type, struct json_object *value, const char *where, GError **error)
{
    for (const QmpMember *m = type->members; m && m->name; m++) {
        g_autofree char *place = member_path(where, m->name);
        struct json_object *member;

        if (json_object_object_get_ex(value, m->name, &member)) {
            if (!qmp_type_check(m->type, member, place, error)) {
                return false;
            }
        } else if (!m->optional) {
            error_set(error, "Parameter '%s' is missing", place);
            return false;
        }
    }
    return true;
}

/* The struct that a value's tag adds, or NULL. */
static const QmpType *chosen_case(const QmpType *type, struct json_object *value)
{
    const char *tag = type->tag ? json_member_str(value, type->tag) : NULL;

    for (const QmpCase *c = tag ? type->cases : NULL; c && c->value; c++) {
        if (strcmp(c->value, tag) == 0) {
            return c->type;
        }
    }
    return NULL;
}

static bool has_member(const QmpType *type, const char *name)
{
    for (const QmpMember *m = type ? type->members : NULL; m && m->name; m++) {
        if (strcmp(m->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool check_struct(const QmpType *type, struct json_object *value, const char *where, GError **error)
{
    const QmpType *more;

    if (!check_members(type, value, where, error)) {
        return false;
    }
    more = chosen_case(type, value);
    if (more && !check_members(more, value, where, error)) {
        return false;
    }
    json_object_object_foreach(value, key, member)
    {
        (void)member;
        if (!type->open && !has_member(type, key) && !has_member(more, key)) {
            g_autofree char *place = member_path(where, key);

            error_set(error, "Parameter '%s' is unexpected", place);
            return false;
        }
    }
    return true;
}

bool qmp_type_check(const QmpType *type, struct json_object *value, const char *where, GError **error)
{
    if (!meta_matches(type->meta, value)) {
        error_set(error, "Invalid parameter type for '%s', expected: %s", where ? where : "arguments",
                         qmp_metas[type->meta].name);
        return false;
    }
    switch (type->meta) {
    case QMP_ENUM:
        return check_enum(type, value, where, error);
    case QMP_ARRAY:
        return check_array(type, value, where, error);
    case QMP_STRUCT:
        return check_struct(type, value, where, error);
    default:
        return true;
    }
}
