/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VNC server: who is there, and what they have to know. */
#include <string.h>

#include "core/error.h"
#include "monitor-internal.h"
#include "qmp-commands.h"
#include "ui/vnc.h"

struct json_object *qmp_query_vnc(Machine *m, struct json_object *args, GError **error)
{
    return vnc_query(m);
}

struct json_object *qmp_set_password(Machine *m, struct json_object *args, GError **error)
{
    vnc_set_password(m, json_member_str(args, "password"), error);
    return NULL;
}

struct json_object *qmp_change_vnc_password(Machine *m, struct json_object *args, GError **error)
{
    vnc_set_password(m, json_member_str(args, "password"), error);
    return NULL;
}

/* "now", "never", "+SECONDS" or seconds since 1970. */
static bool vnc_parse_time(const char *text, int64_t *when, GError **error)
{
    int64_t now = g_get_real_time() / G_USEC_PER_SEC;
    guint64 n;

    if (strcmp(text, "now") == 0) {
        *when = 0;
    } else if (strcmp(text, "never") == 0) {
        *when = INT64_MAX;
    } else if (g_ascii_string_to_unsigned(text + (*text == '+'), 10, 0, INT32_MAX * INT64_C(1024), &n, NULL)) {
        *when = (int64_t)n + (*text == '+' ? now : 0);
    } else {
        error_set(error, "time: not a time ('%s', allowed now, never, +SECONDS, seconds since 1970)", text);
        return false;
    }
    return true;
}

struct json_object *qmp_expire_password(Machine *m, struct json_object *args, GError **error)
{
    int64_t when;

    if (vnc_parse_time(json_member_str(args, "time"), &when, error)) {
        vnc_expire_password(m, when, error);
    }
    return NULL;
}

/* The HMP forms: words in the order of the arguments. */
static void vnc_run_words(Machine *m, const char *name, const char *const *keys, const char *args, GString *out)
{
    g_auto(GStrv) words = g_strsplit(args, " ", 0);
    struct json_object *opts = json_object_new_object();
    GError *error = NULL;

    for (guint i = 0; words[i] && keys[i]; i++) {
        json_object_object_add(opts, keys[i], json_object_new_string(words[i]));
    }
    json_object_put(qmp_run(m, name, opts, &error));
    json_object_put(opts);
    if (error) {
        hmp_error(out, error);
    }
}

static void hmp_set_password(Machine *m, const char *args, GString *out)
{
    static const char *const keys[] = {"protocol", "password", "connected", NULL};

    vnc_run_words(m, "set_password", keys, args, out);
}

static void hmp_expire_password(Machine *m, const char *args, GString *out)
{
    static const char *const keys[] = {"protocol", "time", NULL};

    vnc_run_words(m, "expire_password", keys, args, out);
}

static void hmp_info_vnc(Machine *m, const char *args, GString *out)
{
    struct json_object *info = vnc_query(m), *clients;

    if (!json_member_str(info, "host")) {
        g_string_append(out, "There is no VNC server.\n");
    } else {
        g_string_append_printf(out, "Server: %s:%s (%s), auth: %s\n", json_member_str(info, "host"), json_member_str(info, "service"),
                               json_member_str(info, "family"), json_member_str(info, "auth"));
        json_object_object_get_ex(info, "clients", &clients);
        for (size_t i = 0; i < json_object_array_length(clients); i++) {
            struct json_object *c = json_object_array_get_idx(clients, i);

            g_string_append_printf(out, "Client: %s:%s\n", json_member_str(c, "host"), json_member_str(c, "service"));
        }
    }
    json_object_put(info);
}

const HmpCommand hmp_vnc_table[] = {
    {.name = "set_password", .args = "vnc PASSWORD", .doc = "set the password of VNC clients", .run = hmp_set_password},
    {.name = "expire_password", .args = "vnc now|never|+SECONDS", .doc = "say until when it lets in", .run = hmp_expire_password},
    {.name = "info vnc", .args = "", .doc = "show the VNC server and its clients", .run = hmp_info_vnc},
    {.name = NULL},
};
