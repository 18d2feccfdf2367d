/* SPDX-License-Identifier: BSD-3-Clause */
/* vfio-user VERSION: the numbers and the JSON capabilities behind them. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include <json-c/json.h>

#include "bytes.h"
#include "wire.h"

int wire_version_decode(WireVersion *v, const void *buf, size_t len)
{
    size_t json_size;

    if (len < WIRE_VERSION_SIZE) {
        return EINVAL;
    }
    v->major = wire_get_u16(buf, 0);
    v->minor = wire_get_u16(buf, 2);
    v->json = NULL;
    v->json_len = 0;
    json_size = len - WIRE_VERSION_SIZE;
    if (json_size == 0) {
        return 0;
    }
    v->json = (const char *)buf + WIRE_VERSION_SIZE;
    if (json_size > WIRE_MAX_JSON || v->json[json_size - 1] != '\0') {
        return EINVAL;
    }
    v->json_len = strlen(v->json);
    return 0;
}

size_t wire_version_encode(void *buf, size_t size, const WireVersion *v)
{
    size_t json_size = v->json ? strlen(v->json) + 1 : 0;

    if (size < WIRE_VERSION_SIZE || size - WIRE_VERSION_SIZE < json_size) {
        return 0;
    }
    wire_put_u16(buf, 0, v->major);
    wire_put_u16(buf, 2, v->minor);
    if (json_size) {
        memcpy((uint8_t *)buf + WIRE_VERSION_SIZE, v->json, json_size);
    }
    return WIRE_VERSION_SIZE + json_size;
}

void wire_caps_init(WireCaps *caps)
{
    *caps = (WireCaps){
        .max_msg_fds = 1,
        .max_data_xfer_size = WIRE_MAX_DATA,
        .max_dma_maps = WIRE_MAX_DMA_MAPS,
        .pgsizes = WIRE_PAGE_SIZE,
        .twin_fd_index = -1,
        .migration_pgsize = WIRE_PAGE_SIZE,
        .max_bitmap_size = WIRE_MAX_BITMAP,
    };
}

/* What is left to be said about one parse: where the first mistake is. */
typedef struct CapsParse {
    const char *bad;
} CapsParse;

/* The member `name` if it is there; a wrong type is a mistake. */
static json_object *caps_member(CapsParse *p, json_object *o, const char *name, json_type type)
{
    json_object *member;

    if (p->bad || !json_object_object_get_ex(o, name, &member)) {
        return NULL;
    }
    if (json_object_get_type(member) != type) {
        p->bad = name;
        return NULL;
    }
    return member;
}

static void caps_number(CapsParse *p, json_object *o, const char *name, uint64_t min, uint64_t max, uint64_t *value,
                        bool *has)
{
    json_object *member = caps_member(p, o, name, json_type_int);
    uint64_t v;

    if (member == NULL) {
        return;
    }
    /* json_object_get_uint64() makes 0 of a negative number. */
    v = json_object_get_uint64(member);
    if (json_object_get_int64(member) < 0 || v < min || v > max) {
        p->bad = name;
        return;
    }
    *value = v;
    *has = true;
}

static void caps_bool(CapsParse *p, json_object *o, const char *name, bool *value, bool *has)
{
    json_object *member = caps_member(p, o, name, json_type_boolean);

    if (member) {
        *value = json_object_get_boolean(member);
        *has = true;
    }
}

static void caps_object(CapsParse *p, json_object *o, WireCaps *caps)
{
    json_object *member;
    uint64_t number = (uint64_t)caps->max_msg_fds;
    bool unused;

    caps_number(p, o, "max_msg_fds", 0, WIRE_MAX_FDS_CAP, &number, &caps->has_max_msg_fds);
    caps->max_msg_fds = (int64_t)number;
    caps_number(p, o, "max_data_xfer_size", 1, INT64_MAX, &caps->max_data_xfer_size, &caps->has_max_data_xfer_size);
    caps_number(p, o, "max_dma_maps", 0, INT64_MAX, &caps->max_dma_maps, &caps->has_max_dma_maps);
    caps_number(p, o, "pgsizes", 1, UINT64_MAX, &caps->pgsizes, &caps->has_pgsizes);
    caps_bool(p, o, "write_multiple", &caps->write_multiple, &caps->has_write_multiple);
    caps_bool(p, o, "dma_faults", &caps->dma_faults, &caps->has_dma_faults);
    member = caps_member(p, o, "twin_socket", json_type_object);
    if (member) {
        caps->has_twin_socket = true;
        caps_bool(p, member, "supported", &caps->twin_socket, &unused);
        number = UINT64_MAX;
        caps_number(p, member, "fd_index", 0, WIRE_MAX_FDS - 1, &number, &unused);
        caps->twin_fd_index = number == UINT64_MAX ? -1 : (int64_t)number;
    }
    member = caps_member(p, o, "migration", json_type_object);
    if (member) {
        caps->has_migration = true;
        caps_number(p, member, "pgsize", 1, INT64_MAX, &caps->migration_pgsize, &unused);
        caps_number(p, member, "max_bitmap_size", 0, INT64_MAX, &caps->max_bitmap_size, &caps->has_max_bitmap_size);
    }
}

int wire_caps_parse(WireCaps *caps, const char *json, bool strict, const char **key)
{
    CapsParse p = { NULL };
    json_tokener *tokener;
    json_object *top, *member;
    size_t len;
    int err = EINVAL;

    wire_caps_init(caps);
    *key = "JSON";
    if (json == NULL) {
        return strict ? EINVAL : 0;
    }
    len = strlen(json);
    tokener = len < WIRE_MAX_JSON ? json_tokener_new() : NULL;
    if (tokener == NULL) {
        return len < WIRE_MAX_JSON ? ENOMEM : EINVAL;
    }
    top = json_tokener_parse_ex(tokener, json, (int)len + 1);
    if (top == NULL) {
        goto out;
    }
    /* The end may count the NUL, behind a comment. */
    if (strict && (!json_object_is_type(top, json_type_object) || json_tokener_get_parse_end(tokener) < len)) {
        goto out;
    }
    if (json_object_is_type(top, json_type_object)) {
        member = caps_member(&p, top, "capabilities", json_type_object);
        if (member) {
            caps_object(&p, member, caps);
        }
    }
    *key = p.bad;
    err = p.bad ? EINVAL : 0;
out:
    json_object_put(top);
    json_tokener_free(tokener);
    return err;
}

int wire_caps_check_server(const WireCaps *caps, const char **key)
{
    *key = NULL;
    if (caps->max_msg_fds > WIRE_MAX_FDS_CLIENT) {
        *key = "max_msg_fds";
    } else if (caps->max_data_xfer_size > WIRE_MAX_XFER_PEER) {
        *key = "max_data_xfer_size";
    } else if (caps->max_dma_maps > WIRE_MAX_DMA_MAPS) {
        *key = "max_dma_maps";
    } else if (caps->pgsizes & (WIRE_PAGE_SIZE - 1)) {
        *key = "pgsizes";
    } else if (caps->max_bitmap_size > WIRE_MAX_BITMAP) {
        *key = "max_bitmap_size";
    } else if (caps->twin_socket && caps->twin_fd_index < 0) {
        *key = "twin_socket";
    }
    return *key ? EINVAL : 0;
}

typedef struct Text {
    char *buf;
    size_t size, len;
    const char *separator;
} Text;

__attribute__((format(printf, 2, 3))) static void text_add(Text *t, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(t->len < t->size ? t->buf + t->len : NULL, t->len < t->size ? t->size - t->len : 0, format, args);
    va_end(args);
    t->len += n > 0 ? (size_t)n : 0;
}

static void text_number(Text *t, bool has, const char *name, uint64_t value)
{
    if (has) {
        text_add(t, "%s\"%s\":%" PRIu64, t->separator, name, value);
        t->separator = ",";
    }
}

static void text_bool(Text *t, bool has, const char *name, bool value)
{
    if (has) {
        text_add(t, "%s\"%s\":%s", t->separator, name, value ? "true" : "false");
        t->separator = ",";
    }
}

size_t wire_caps_encode(char *buf, size_t size, const WireCaps *caps)
{
    Text t = { .buf = buf, .size = size, .separator = "" };

    text_add(&t, "{\"capabilities\":{");
    text_number(&t, caps->has_max_msg_fds, "max_msg_fds", (uint64_t)caps->max_msg_fds);
    text_number(&t, caps->has_max_data_xfer_size, "max_data_xfer_size", caps->max_data_xfer_size);
    text_number(&t, caps->has_max_dma_maps, "max_dma_maps", caps->max_dma_maps);
    text_number(&t, caps->has_pgsizes, "pgsizes", caps->pgsizes);
    text_bool(&t, caps->has_write_multiple, "write_multiple", caps->write_multiple);
    text_bool(&t, caps->has_dma_faults, "dma_faults", caps->dma_faults);
    if (caps->has_twin_socket) {
        text_add(&t, "%s\"twin_socket\":{\"supported\":%s", t.separator, caps->twin_socket ? "true" : "false");
        if (caps->twin_fd_index >= 0) {
            text_add(&t, ",\"fd_index\":%" PRId64, caps->twin_fd_index);
        }
        text_add(&t, "}");
        t.separator = ",";
    }
    if (caps->has_migration) {
        text_add(&t, "%s\"migration\":{\"pgsize\":%" PRIu64, t.separator, caps->migration_pgsize);
        if (caps->has_max_bitmap_size) {
            text_add(&t, ",\"max_bitmap_size\":%" PRIu64, caps->max_bitmap_size);
        }
        text_add(&t, "}");
    }
    text_add(&t, "}}");
    return t.len < size ? t.len : 0;
}
