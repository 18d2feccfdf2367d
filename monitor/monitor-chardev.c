/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character devices in the monitors: what there is, making and removing them, ringbuf-read and -write. */
#include <string.h>

#include "chardev/chardev.h"
#include "core/error.h"
#include "monitor-internal.h"
#include "qmp-commands.h"

static Chardev *find_chardev(Machine *m, const char *id, GError **error)
{
    Chardev *chr = chardev_find(m, id);

    if (!chr) {
        g_set_error(error, MPQEMU_ERROR, ERR_GENERIC, "Chardev '%s' not found", id);
    }
    return chr;
}

struct json_object *qmp_query_chardev(Machine *m, struct json_object *args, GError **error)
{
    Object *all = object_container(m->root, "chardevs");
    struct json_object *list = json_object_new_array();

    for (guint i = 0; i < all->children->len; i++) {
        Chardev *chr = g_ptr_array_index(all->children, i);
        struct json_object *entry = json_object_new_object();

        json_object_object_add(entry, "label", json_object_new_string(chardev_id(chr)));
        json_object_object_add(entry, "filename", json_object_new_string(chardev_filename(chr)));
        json_object_object_add(entry, "frontend-open", json_object_new_boolean(chardev_connected(chr)));
        json_object_array_add(list, entry);
    }
    return list;
}

static void add_backend(const char *name, const char *doc, void *list)
{
    struct json_object *entry = json_object_new_object();

    json_object_object_add(entry, "name", json_object_new_string(name));
    json_object_array_add(list, entry);
}

struct json_object *qmp_query_chardev_backends(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list = json_object_new_array();

    chardev_each_backend(add_backend, list);
    return list;
}

/* --- making and removing --- */

/* QMP's names of options where -chardev has others. */
static const struct {
    const char *qmp, *option;
} option_names[] = {{"out", "path"}, {"device", "path"}};

/* {"addr": {"type": "unix", "data": {"path": ...}}} and the other nested parts to options side by side. */
static void flatten(struct json_object *from, struct json_object *to)
{
    json_object_object_foreach(from, key, value)
    {
        const char *name = key;

        for (size_t i = 0; i < G_N_ELEMENTS(option_names); i++) {
            name = strcmp(key, option_names[i].qmp) ? name : option_names[i].option;
        }
        if (json_object_is_type(value, json_type_object)) {
            flatten(value, to);
        } else if (strcmp(key, "type")) {
            json_object_object_add(to, name, json_object_get(value));
        }
    }
}

struct json_object *qmp_chardev_add(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *backend = json_object_object_get(args, "backend"), *type, *data, *opts, *result = NULL;
    Chardev *chr;

    if (!json_object_object_get_ex(backend, "type", &type) || !json_object_is_type(type, json_type_string)) {
        error_set(error, "Parameter 'backend.type' is missing");
        return NULL;
    }
    opts = json_object_new_object();
    if (json_object_object_get_ex(backend, "data", &data) && json_object_is_type(data, json_type_object)) {
        flatten(data, opts);
    }
    if (!strcmp(json_object_get_string(type), "socket") && !json_object_object_get_ex(opts, "server", NULL)) {
        json_object_object_add(opts, "server", json_object_new_boolean(true));
    }
    if (json_object_get_boolean(json_object_object_get(opts, "server")) && !json_object_object_get_ex(opts, "wait", NULL)) {
        json_object_object_add(opts, "wait", json_object_new_boolean(false));
    }
    json_object_object_add(opts, "backend", json_object_get(type));
    json_object_object_add(opts, "id", json_object_get(json_object_object_get(args, "id")));
    chr = chardev_new(m, opts, error);
    json_object_put(opts);
    if (chr) {
        result = json_object_new_object();
        if (!strcmp(json_object_get_string(type), "pty")) {
            json_object_object_add(result, "pty", json_object_new_string(chardev_filename(chr) + strlen("pty:")));
        }
    }
    return result;
}

struct json_object *qmp_chardev_remove(Machine *m, struct json_object *args, GError **error)
{
    Chardev *chr = find_chardev(m, json_member_str(args, "id"), error);

    if (chr && chardev_in_use(chr)) {
        error_set(error, "Chardev '%s' is busy", chardev_id(chr));
    } else if (chr) {
        chardev_free(chr);
    }
    return NULL;
}

struct json_object *qmp_chardev_send_break(Machine *m, struct json_object *args, GError **error)
{
    Chardev *chr = find_chardev(m, json_member_str(args, "id"), error);

    if (chr) {
        chardev_send_break(chr);
    }
    return NULL;
}

/* --- ringbuf --- */

static bool data_is_base64(struct json_object *args)
{
    const char *format = json_member_str(args, "format");

    return format && !strcmp(format, "base64");
}

struct json_object *qmp_ringbuf_write(Machine *m, struct json_object *args, GError **error)
{
    Chardev *chr = find_chardev(m, json_member_str(args, "device"), error);
    const char *text = json_member_str(args, "data");
    bool base64 = data_is_base64(args);
    g_autofree guchar *data = NULL;
    gsize len = strlen(text);

    if (!chr) {
        return NULL;
    }
    data = base64 ? g_base64_decode(text, &len) : (guchar *)g_strdup(text);
    chardev_ring_write(chr, data, len, error);
    return NULL;
}

struct json_object *qmp_ringbuf_read(Machine *m, struct json_object *args, GError **error)
{
    Chardev *chr = find_chardev(m, json_member_str(args, "device"), error);
    int64_t size = json_object_get_int64(json_object_object_get(args, "size"));
    bool base64 = data_is_base64(args);
    struct json_object *result = NULL;
    GByteArray *data;

    if (!chr) {
        return NULL;
    }
    if (size <= 0) {
        error_set(error, "size must be greater than zero");
        return NULL;
    }
    data = chardev_ring_read(chr, (size_t)size, error);
    if (data) {
        const char *bytes = data->len ? (const char *)data->data : "";
        g_autofree char *text = base64 ? g_base64_encode((const guchar *)bytes, data->len)
                                       : g_utf8_make_valid(bytes, (gssize)data->len);

        result = json_object_new_string(text);
        g_byte_array_unref(data);
    }
    return result;
}

/* --- HMP --- */

static void hmp_info_chardev(Machine *m, const char *args, GString *out)
{
    Object *all = object_container(m->root, "chardevs");

    for (guint i = 0; i < all->children->len; i++) {
        Chardev *chr = g_ptr_array_index(all->children, i);

        g_string_append_printf(out, "%s: filename=%s%s\n", chardev_id(chr), chardev_filename(chr),
                               chardev_connected(chr) ? "" : " (disconnected)");
    }
}

/* Runs a QMP command with two words of a line as arguments; shows its text, if it has one. */
static void hmp_two_words(Machine *m, const char *name, const char *keys[2], const char *args, bool number, GString *out)
{
    g_auto(GStrv) words = g_strsplit(args, " ", 2);
    struct json_object *opts, *result;
    GError *error = NULL;

    if (g_strv_length(words) != 2) {
        g_string_append_printf(out, "usage: %s %s %s\n", name, keys[0], keys[1]);
        return;
    }
    opts = json_object_new_object();
    json_object_object_add(opts, keys[0], json_object_new_string(words[0]));
    json_object_object_add(opts, keys[1],
                           number ? json_object_new_int64(g_ascii_strtoll(words[1], NULL, 0)) : json_object_new_string(words[1]));
    result = qmp_run(m, name, opts, &error);
    json_object_put(opts);
    if (error) {
        hmp_error(out, error);
    } else if (json_object_is_type(result, json_type_string)) {
        g_string_append_printf(out, "%s\n", json_object_get_string(result));
    }
    json_object_put(result);
}

static void hmp_ringbuf_write(Machine *m, const char *args, GString *out)
{
    hmp_two_words(m, "ringbuf-write", (const char *[]){"device", "data"}, args, false, out);
}

static void hmp_ringbuf_read(Machine *m, const char *args, GString *out)
{
    hmp_two_words(m, "ringbuf-read", (const char *[]){"device", "size"}, args, true, out);
}

static void hmp_chardev_add(Machine *m, const char *args, GString *out)
{
    GError *error = NULL;
    struct json_object *opts = opts_parse("chardev-add", args, "backend", &error);

    if (!opts || !chardev_new(m, opts, &error)) {
        hmp_error(out, error);
    }
    json_object_put(opts);
}

static void hmp_with_chardev(Machine *m, const char *name, const char *id, GString *out)
{
    struct json_object *opts = json_object_new_object();
    GError *error = NULL;

    json_object_object_add(opts, "id", json_object_new_string(id));
    json_object_put(qmp_run(m, name, opts, &error));
    json_object_put(opts);
    if (error) {
        hmp_error(out, error);
    }
}

static void hmp_chardev_remove(Machine *m, const char *args, GString *out)
{
    hmp_with_chardev(m, "chardev-remove", args, out);
}

static void hmp_send_break(Machine *m, const char *args, GString *out)
{
    hmp_with_chardev(m, "chardev-send-break", args, out);
}

const HmpCommand hmp_chardev_table[] = {
    {"info chardev", "", "character devices", hmp_info_chardev},
    {"chardev-add", "BACKEND,id=ID[,...]", "make a character device", hmp_chardev_add},
    {"chardev-remove", "ID", "remove a character device", hmp_chardev_remove},
    {"chardev-send-break", "ID", "send a break to a character device's user", hmp_send_break},
    {"ringbuf_write|ringbuf-write", "ID TEXT", "append to what a ringbuf holds", hmp_ringbuf_write},
    {"ringbuf_read|ringbuf-read", "ID SIZE", "take bytes out of a ringbuf", hmp_ringbuf_read},
    {NULL, NULL, NULL, NULL},
};
