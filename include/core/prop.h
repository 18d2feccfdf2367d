/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Property tables.  One entry drives `-device X,help`, key=value and JSON
 * parsing, range errors, device-list-properties, qom-get/qom-set and the
 * documentation page.
 */
#ifndef CORE_PROP_H
#define CORE_PROP_H

#include "core/model.h"

typedef struct PropType PropType;

enum {
    PROP_RUNTIME = 1 << 0,  /* may be set after start */
    PROP_REQUIRED = 1 << 1, /* start fails without it */
    PROP_READONLY = 1 << 2, /* qom-get only */
};

struct Prop {
    const char *name;
    const PropType *type;
    size_t offset;         /* of the field in the instance struct */
    uint64_t def;          /* default of integer, bool and enum types */
    const char *def_str;   /* default of string types, or NULL */
    uint64_t min, max;     /* both 0: the type's own range */
    const char *const *names; /* enum types: allowed words, NULL-terminated; value is the index */
    unsigned flags;
    const char *doc;
};

/*
 * How a kind of value travels between JSON/text and a field.  Text reaches
 * parse as a JSON string.  Modules add types of their own (drive, chardev,
 * SocketAddress) by defining another const PropType.
 */
struct PropType {
    const char *name; /* as QMP shows it: "uint32", "bool", "str", "size" ... */
    bool (*parse)(Object *obj, const Prop *prop, struct json_object *value, GError **error);
    struct json_object *(*format)(Object *obj, const Prop *prop);
    void (*clear)(Object *obj, const Prop *prop); /* frees what the field owns; may be NULL */
    size_t field_size;
    bool link; /* the field is an Object *, or NULL */
};

extern const PropType prop_bool;   /* bool; on/off, yes/no, true/false */
extern const PropType prop_uint8, prop_uint16, prop_uint32, prop_uint64; /* decimal, 0x hex, octal */
extern const PropType prop_int32;
extern const PropType prop_size;   /* uint64_t bytes; suffixes k M G T */
extern const PropType prop_string; /* char *, owned */
extern const PropType prop_enum;   /* int, index into names */
extern const PropType prop_link;   /* Object *, resolved by id or path at set time, not owned; names[0] = model name required, or NULL */
extern const PropType prop_json;   /* struct json_object *, owned reference, any value: for structured options */
extern const PropType prop_on_off_auto; /* int: OnOffAuto */

typedef enum OnOffAuto { ON_OFF_AUTO_AUTO, ON_OFF_AUTO_ON, ON_OFF_AUTO_OFF } OnOffAuto;

#define PROP_BOOL(n, S, f, d, text) {.name = n, .type = &prop_bool, .offset = offsetof(S, f), .def = d, .doc = text}
#define PROP_U8(n, S, f, d, lo, hi, text) \
    {.name = n, .type = &prop_uint8, .offset = offsetof(S, f), .def = d, .min = lo, .max = hi, .doc = text}
#define PROP_U16(n, S, f, d, lo, hi, text) \
    {.name = n, .type = &prop_uint16, .offset = offsetof(S, f), .def = d, .min = lo, .max = hi, .doc = text}
#define PROP_U32(n, S, f, d, lo, hi, text) \
    {.name = n, .type = &prop_uint32, .offset = offsetof(S, f), .def = d, .min = lo, .max = hi, .doc = text}
#define PROP_U64(n, S, f, d, lo, hi, text) \
    {.name = n, .type = &prop_uint64, .offset = offsetof(S, f), .def = d, .min = lo, .max = hi, .doc = text}
#define PROP_SIZE(n, S, f, d, lo, hi, text) \
    {.name = n, .type = &prop_size, .offset = offsetof(S, f), .def = d, .min = lo, .max = hi, .doc = text}
#define PROP_STR(n, S, f, d, text) {.name = n, .type = &prop_string, .offset = offsetof(S, f), .def_str = d, .doc = text}
#define PROP_ENUM(n, S, f, d, words, text) \
    {.name = n, .type = &prop_enum, .offset = offsetof(S, f), .def = d, .names = words, .doc = text}
#define PROP_LINK(n, S, f, text) {.name = n, .type = &prop_link, .offset = offsetof(S, f), .doc = text}
#define PROP_JSON(n, S, f, text) {.name = n, .type = &prop_json, .offset = offsetof(S, f), .doc = text}
#define PROP_END {.name = NULL}

/*
 * Parses `key=value,key=value` (",," is a literal comma; `implied` names the key
 * of a leading bare word; a bare `key` means on, `nokey` is not recognised) or a
 * JSON object into a new JSON object reference.  `where` begins error texts.
 */
struct json_object *opts_parse(const char *where, const char *text, const char *implied, GError **error);
/* "12k" and friends to bytes; `def_suffix` is applied to a bare number ('M' for -m), or 0. */
bool opts_parse_size(const char *where, const char *text, char def_suffix, uint64_t *bytes, GError **error);

/* A TCP port for getaddrinfo(3), which takes numbers modulo 65536: a number of 0..65535, or the name of a service. */
bool opts_port_check(const char *where, const char *port, GError **error);

/* Prints one `name=<type> - doc (default: ...)` line for each property of `model` to stdout. */
void model_print_props(const Model *model);
/* The same as a JSON array of {name, type, description, default-value}. */
struct json_object *model_list_props(const Model *model);

#endif
