/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Option text: `key=value,...` lists and JSON objects to JSON objects, and sizes
 * with suffixes to bytes.
 */
#include <json-c/json.h>
#include <json-c/json_visit.h>
#include <string.h>

#include "core/error.h"
#include "core/prop.h"

/* The text up to the next single ',' with ",," folded; *pos moves past the comma. */
static char *opts_next_item(const char **pos)
{
    GString *item = g_string_new(NULL);
    const char *p = *pos;

    while (*p) {
        if (*p == ',') {
            if (p[1] != ',') {
                p++;
                break;
            }
            p++;
        }
        g_string_append_c(item, *p++);
    }
    *pos = p;
    return g_string_free(item, FALSE);
}

/* For json_c_visit(): stops at a null, and leaves its key, or that of the array it is in, in *opaque. */
static int opts_find_null(struct json_object *value, int flags, struct json_object *parent, const char *key, size_t *index, void *opaque)
{
    const char **where = opaque;

    if (key && json_object_is_type(value, json_type_array)) {
        *where = key;
    }
    if (!value) {
        *where = key ? key : *where;
        return JSON_C_VISIT_RETURN_ERROR;
    }
    return JSON_C_VISIT_RETURN_CONTINUE;
}

static struct json_object *opts_parse_json(const char *where, const char *text, GError **error)
{
    struct json_tokener *tok = json_tokener_new();
    struct json_object *obj;
    const char *null_key = "";
    size_t used;

    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    /* The terminating NUL is passed too, so that the parser sees the end of a number. */
    obj = json_tokener_parse_ex(tok, text, (int)MIN(strlen(text) + 1, (size_t)G_MAXINT));
    used = json_tokener_get_parse_end(tok);
    if (!obj) {
        error_set(error, "%s: invalid JSON at byte %zu: %s", where, used,
                  json_tokener_error_desc(json_tokener_get_error(tok)));
    } else if (text[used + strspn(text + used, " \t\r\n")] != '\0') {
        error_set(error, "%s: text after the JSON object at byte %zu", where, used);
        json_object_put(obj);
        obj = NULL;
    } else if (!json_object_is_type(obj, json_type_object)) {
        error_set(error, "%s: JSON value is not an object", where);
        json_object_put(obj);
        obj = NULL;
    } else if (json_c_visit(obj, 0, opts_find_null, &null_key) < 0) {
        /* No option has a use for null, and json-c gives it as a NULL that each would have to look for. */
        error_set(error, "%s: '%s' is null; leave it out", where, null_key);
        json_object_put(obj);
        obj = NULL;
    }
    json_tokener_free(tok);
    return obj;
}

struct json_object *opts_parse(const char *where, const char *text, const char *implied, GError **error)
{
    struct json_object *obj;
    const char *pos = text;
    bool first = true;

    if (text[strspn(text, " \t\r\n")] == '{') {
        return opts_parse_json(where, text, error);
    }
    obj = json_object_new_object();
    while (*pos) {
        g_autofree char *item = opts_next_item(&pos);
        char *eq = strchr(item, '=');
        const char *key = item, *value = "on";

        if (eq) {
            *eq = '\0';
            value = eq + 1;
        } else if (first && implied) {
            key = implied;
            value = item;
        }
        first = false;
        if (!*key || !g_utf8_validate(item, -1, NULL) || !g_utf8_validate(value, -1, NULL)) {
            error_set(error, *key ? "%s: '%s' is not valid UTF-8" : "%s: expected key=value before '=%s'",
                      where, *key ? "value" : value);
            json_object_put(obj);
            return NULL;
        }
        json_object_object_add(obj, key, json_object_new_string(value));
    }
    return obj;
}

/* log2 of the unit a suffix stands for, or -1. */
static int opts_suffix_shift(char c)
{
    static const char letters[] = "BKMGTPE";
    const char *p = c ? strchr(letters, g_ascii_toupper(c)) : NULL;

    return p ? (int)(p - letters) * 10 : -1;
}

bool opts_parse_size(const char *where, const char *text, char def_suffix, uint64_t *bytes, GError **error)
{
    const bool hex = g_str_has_prefix(text, "0x") || g_str_has_prefix(text, "0X");
    const char *p = text;
    char *end;
    uint64_t whole, fraction = 0;
    int shift = def_suffix ? opts_suffix_shift(def_suffix) : 0, digits = 0;

    errno = 0;
    whole = g_ascii_isdigit(*p) ? g_ascii_strtoull(p, &end, hex ? 16 : 10) : 0;
    if (!g_ascii_isdigit(*p) || errno) {
        goto bad;
    }
    p = end;
    if (*p == '.' && !hex) {
        for (p++; g_ascii_isdigit(*p); p++) {
            if (digits < 9) {
                fraction = fraction * 10 + (uint64_t)(*p - '0');
                digits++;
            }
        }
        if (!digits) {
            goto bad;
        }
    }
    if (*p) {
        shift = opts_suffix_shift(*p++);
    }
    if (*p || shift < 0 || (shift && whole >> (64 - shift))) {
        goto bad;
    }
    whole <<= shift;
    if (digits) {
        uint64_t scale = 1;

        for (int i = 0; i < digits; i++) {
            scale *= 10;
        }
        whole += (uint64_t)(((unsigned __int128)fraction << shift) / scale);
    }
    *bytes = whole;
    return true;

bad:
    error_set(error, "%s: invalid size ('%s', allowed a number below 2^64 with suffix k, M, G, T, P or E)",
              where, text);
    return false;
}

bool opts_port_check(const char *where, const char *port, GError **error)
{
    bool is_number = *port && !port[strspn(port, "0123456789")];

    if (is_number && !g_ascii_string_to_unsigned(port, 10, 0, UINT16_MAX, NULL, NULL)) {
        error_set(error, "%s: no such port (%s, allowed 0..65535)", where, port);
        return false;
    }
    return true;
}
