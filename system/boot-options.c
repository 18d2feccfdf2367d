/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options about firmware and what it boots: -boot, -fw_cfg, -uuid, -smbios. */
#include <string.h>

#include "cmdline.h"
#include "core/error.h"
#include "core/prop.h"
#include "hw/i386/smbios.h"

#define FW_CFG_GIVEN_MAX 128
#define BOOT_WAIT_MAX    0xffff /* milliseconds */

/* Drives in the order firmware tries them: floppy, disk, CD-ROM, network; no letter twice. */
static bool boot_check_order(const char *key, const char *text, GError **error)
{
    for (const char *p = text; *p; p++) {
        if (!strchr("abcdnop", *p) || strchr(p + 1, *p)) {
            error_set(error, "-boot: bad %s= ('%s', allowed a, b floppy, c disk, d CD-ROM, n..p network, each once)", key,
                      text);
            return false;
        }
    }
    return true;
}

static bool boot_set_switch(const char *key, const char *text, bool *val, GError **error)
{
    *val = !strcmp(text, "on") || !strcmp(text, "true");
    if (!*val && strcmp(text, "off") && strcmp(text, "false")) {
        error_set(error, "-boot: bad %s= ('%s', allowed on, off)", key, text);
        return false;
    }
    return true;
}

static bool boot_set_wait(const char *key, const char *text, int32_t *ms, GError **error)
{
    char *end;
    gint64 val = g_ascii_strtoll(text, &end, 10);
    if (!*text || *end || val < -1 || val > BOOT_WAIT_MAX) {
        error_set(error, "-boot: bad %s= ('%s', allowed -1..%d milliseconds)", key, text, BOOT_WAIT_MAX);
        return false;
    }
    *ms = (int32_t)val;
    return true;
}

static bool boot_set_letters(const char *key, const char *text, char **field, GError **error)
{
    if (!boot_check_order(key, text, error)) {
        return false;
    }
    g_free(*field);
    *field = g_strdup(text);
    return true;
}

static bool boot_set(BootConfig *boot, const char *key, const char *text, GError **error)
{
    if (!strcmp(key, "order")) {
        return boot_set_letters(key, text, &boot->order, error);
    }
    if (!strcmp(key, "once")) {
        return boot_set_letters(key, text, &boot->once, error);
    }
    if (!strcmp(key, "menu")) {
        return boot_set_switch(key, text, &boot->menu, error);
    }
    if (!strcmp(key, "strict")) {
        return boot_set_switch(key, text, &boot->strict, error);
    }
    if (!strcmp(key, "splash-time")) {
        return boot_set_wait(key, text, &boot->splash_ms, error);
    }
    if (!strcmp(key, "reboot-timeout")) {
        return boot_set_wait(key, text, &boot->reboot_ms, error);
    }
    error_set(error, "-boot: unknown option '%s' (allowed: order, once, menu, strict, splash-time, reboot-timeout)", key);
    return false;
}

bool option_boot(Cmdline *c, const char *option, const char *arg, GError **error)
{
    struct json_object *opts = opts_parse(option, arg, "order", error);
    bool ok = opts != NULL;
    if (ok) {
        json_object_object_foreach(opts, key, value)
        {
            ok = ok && boot_set(&c->boot, key, json_object_get_string(value), error);
        }
    }
    json_object_put(opts);
    return ok;
}

/* What the file has: file=PATH or string=TEXT. */
static GBytes *fw_cfg_contents(const char *name, const char *path, const char *text, GError **error)
{
    char *data;
    gsize len;
    if (!path == !text) {
        error_set(error, "-fw_cfg name=%s: give either file= or string=", name);
        return NULL;
    }
    if (text) {
        return g_bytes_new(text, strlen(text));
    }
    if (!g_file_get_contents(path, &data, &len, error)) {
        g_prefix_error(error, "-fw_cfg name=%s: ", name);
        return NULL;
    }
    return g_bytes_new_take(data, len);
}

bool option_fw_cfg(Cmdline *c, const char *option, const char *arg, GError **error)
{
    struct json_object *opts = opts_parse(option, arg, "name", error);
    const char *name = NULL, *path = NULL, *text = NULL, *unknown = NULL;
    GBytes *data = NULL;
    if (!opts) {
        return false;
    }
    json_object_object_foreach(opts, key, value)
    {
        const char **field = !strcmp(key, "name")     ? &name
                             : !strcmp(key, "file")   ? &path
                             : !strcmp(key, "string") ? &text
                                                      : &unknown;
        *field = field == &unknown ? key : json_object_get_string(value);
    }
    if (unknown) {
        error_set(error, "-fw_cfg %s: unknown option '%s' (allowed: name, file, string)", arg, unknown);
    } else if (!name || !*name || strlen(name) > BOOT_FILE_NAME_MAX) {
        error_set(error, "-fw_cfg %s: bad name= (allowed 1..%d characters)", arg, BOOT_FILE_NAME_MAX);
    } else {
        data = fw_cfg_contents(name, path, text, error);
    }
    if (data && c->boot.files && c->boot.files->len == FW_CFG_GIVEN_MAX) {
        error_set(error, "-fw_cfg %s: too many files (allowed %d)", arg, FW_CFG_GIVEN_MAX);
        g_clear_pointer(&data, g_bytes_unref);
    }
    if (data) {
        BootFile *file = g_new0(BootFile, 1);
        *file = (BootFile){g_strdup(name), data};
        c->boot.files = c->boot.files ? c->boot.files : boot_files_new();
        g_ptr_array_add(c->boot.files, file);
    }
    json_object_put(opts);
    return data;
}

bool option_uuid(Cmdline *c, const char *option, const char *arg, GError **error)
{
    unsigned n = 0;
    if (!g_uuid_string_is_valid(arg)) {
        error_set(error, "-uuid: not a UUID ('%s', as 550e8400-e29b-41d4-a716-446655440000)", arg);
        return false;
    }
    memset(c->uuid, 0, sizeof(c->uuid));
    for (const char *p = arg; *p; p++) {
        if (*p != '-') {
            c->uuid[n / 2] = (uint8_t)(c->uuid[n / 2] << 4 | g_ascii_xdigit_value(*p));
            n++;
        }
    }
    return true;
}

static void smbios_free(gpointer p)
{
    json_object_put(p);
}

bool option_smbios(Cmdline *c, const char *option, const char *arg, GError **error)
{
    struct json_object *opts = opts_parse(option, arg, NULL, error);
    if (!opts || !smbios_check(opts, error)) {
        json_object_put(opts);
        return false;
    }
    c->boot.smbios = c->boot.smbios ? c->boot.smbios : g_ptr_array_new_with_free_func(smbios_free);
    g_ptr_array_add(c->boot.smbios, opts);
    return true;
}
