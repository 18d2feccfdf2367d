/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The shorthand of -serial, -monitor, -qmp and -qtest, turned into -chardev options.
 */
#include <string.h>

#include "chardev-internal.h"
#include "core/error.h"

typedef struct TextForm {
    const char *prefix; /* "unix:" takes an argument, "null" does not */
    const char *backend;
    const char *key; /* option the argument is, with ",more=options" after it; NULL: no argument */
} TextForm;

static const TextForm text_forms[] = {
    {"null", "null", NULL},      {"stdio", "stdio", NULL},     {"pty", "pty", NULL},
    {"file:", "file", "path"},   {"pipe:", "pipe", "path"},    {"fd:", "fd", "fd"},
    {"unix:", "socket", "path"}, {"ringbuf", "ringbuf", NULL},
};

/* "HOST:PORT,more" to options; HOST may be empty or [v6]. */
static struct json_object *text_parse_tcp(const char *label, const char *text, GError **error)
{
    size_t len = strcspn(text, ",");
    const char *colon = memrchr(text, ':', len);
    g_autofree char *opts = NULL;
    const char *host = text;
    size_t host_len;

    if (!colon || colon + 1 == text + len) {
        error_set(error, "%s: '%s' must be tcp:HOST:PORT or telnet:HOST:PORT", label, text);
        return NULL;
    }
    host_len = (size_t)(colon - host);
    if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host++;
        host_len -= 2;
    }
    opts = g_strdup_printf("host=%.*s,port=%s", (int)host_len, host, colon + 1);
    return opts_parse(label, opts, NULL, error);
}

static struct json_object *text_parse(const char *label, const char *text, GError **error)
{
    bool telnet = g_str_has_prefix(text, "telnet:");
    struct json_object *opts;

    if (g_str_has_prefix(text, "tcp:") || telnet) {
        opts = text_parse_tcp(label, strchr(text, ':') + 1, error);
        if (opts && telnet) {
            json_object_object_add(opts, "telnet", json_object_new_string("on"));
        }
        if (opts) {
            json_object_object_add(opts, "backend", json_object_new_string("socket"));
        }
        return opts;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(text_forms); i++) {
        const TextForm *form = &text_forms[i];
        size_t len = strlen(form->prefix);
        bool match = form->key ? g_str_has_prefix(text, form->prefix) : strcmp(text, form->prefix) == 0;

        if (!match) {
            continue;
        }
        if (form->key) {
            g_autofree char *pairs = g_strdup_printf("%s=%s", form->key, text + len);

            opts = opts_parse(label, pairs, NULL, error);
        } else {
            opts = json_object_new_object();
        }
        if (opts) {
            json_object_object_add(opts, "backend", json_object_new_string(form->backend));
        }
        return opts;
    }
    error_set(
        error,
        "%s: unknown character device '%s' (allowed: none, null, stdio, mon:stdio, pty, file:PATH, "
        "pipe:PATH, fd:N, unix:PATH[,server=on,wait=off], tcp:HOST:PORT[,server=on,wait=off], telnet:HOST:PORT[,...], ringbuf, chardev:ID)",
        label, text);
    return NULL;
}

/* The old words of the shorthand: "server,nowait". */
static void text_translate(struct json_object *opts)
{
    if (json_object_object_get_ex(opts, "nowait", NULL)) {
        json_object_object_del(opts, "nowait");
        json_object_object_add(opts, "wait", json_object_new_string("off"));
    }
}

Chardev *chardev_from_text(Machine *machine, const char *label, const char *text, GError **error)
{
    bool mux = g_str_has_prefix(text, "mon:");
    struct json_object *opts;
    Chardev *chr;

    if (mux) {
        text += strlen("mon:");
    }
    if (strcmp(text, "none") == 0) {
        return NULL;
    }
    if (g_str_has_prefix(text, "chardev:")) {
        chr = chardev_find(machine, text + strlen("chardev:"));
        if (!chr) {
            error_set(error, "%s: no chardev '%s'; add -chardev ...,id=%s", label, text + strlen("chardev:"),
                      text + strlen("chardev:"));
        }
        return chr;
    }
    opts = text_parse(label, text, error);
    if (!opts) {
        return NULL;
    }
    text_translate(opts);
    json_object_object_add(opts, "id", json_object_new_string(label));
    if (mux) {
        json_object_object_add(opts, "mux", json_object_new_boolean(true));
        if (strcmp(text, "stdio") == 0) {
            json_object_object_add(opts, "signal", json_object_new_boolean(false));
        }
    }
    chr = chardev_new(machine, opts, error);
    json_object_put(opts);
    return chr;
}
