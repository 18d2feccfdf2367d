/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of nodes: -drive (one flat list, the file by name or URI) and
 * -blockdev (a tree of format over protocol), brought to one struct by one table.
 */
#include "block/block-opts.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

/* --- the table --- */

typedef enum OptType { OPT_TEXT, OPT_FLAG, OPT_NUMBER, OPT_SIZE } OptType;

enum { FOR_DRIVE = 1, FOR_BLOCKDEV = 2, FOR_ALL = 3 };

typedef struct OptDef {
    const char *name;
    OptType type;
    size_t offset;
    uint8_t forms;              /* FOR_* */
    const char *driver;         /* only of this protocol; NULL: of all */
    const char *const *allowed; /* NULL: any text */
} OptDef;

static const char *const format_words[] = {"raw", NULL};
static const char *const if_words[] = {"none", NULL};
static const char *const media_words[] = {"disk", NULL};
static const char *const cache_words[] = {"writeback", "none", "writethrough", "directsync", "unsafe", NULL};
static const char *const aio_words[] = {"io_uring", "threads", NULL};
static const char *const discard_words[] = {"ignore", "off", "unmap", "on", NULL};
static const char *const server_words[] = {"unix", "inet", NULL};
static const char *const locking_words[] = {"auto", "on", "off", NULL};
static const char *const read_actions[] = {"report", "ignore", "stop", NULL};
static const char *const write_actions[] = {"enospc", "report", "ignore", "stop", NULL};

#define AT(member) offsetof(BlockOpts, member)
#define LIMIT(text, bucket, rate)                                                                            \
    {                                                                                                        \
        "throttling." text, OPT_NUMBER, AT(limits) + (bucket) * sizeof(BlockLimit) + offsetof(BlockLimit, rate), FOR_DRIVE, \
            NULL, NULL                                                                                       \
    }
#define LIMITS(text, bucket) LIMIT(text, bucket, average), LIMIT(text "-max", bucket, burst)

static const OptDef opt_defs[] = {
    {"id", OPT_TEXT, AT(id), FOR_DRIVE, NULL, NULL},
    {"node-name", OPT_TEXT, AT(id), FOR_BLOCKDEV, NULL, NULL},
    {"driver", OPT_TEXT, AT(driver), FOR_ALL, NULL, NULL},
    {"format", OPT_TEXT, AT(format), FOR_DRIVE, NULL, format_words},
    {"if", OPT_TEXT, AT(interface), FOR_DRIVE, NULL, if_words},
    {"media", OPT_TEXT, AT(media), FOR_DRIVE, NULL, media_words},
    {"cache", OPT_TEXT, AT(cache), FOR_DRIVE, NULL, cache_words},
    {"readonly", OPT_FLAG, AT(readonly), FOR_DRIVE, NULL, NULL},
    {"read-only", OPT_FLAG, AT(readonly), FOR_ALL, NULL, NULL},
    {"auto-read-only", OPT_FLAG, AT(auto_read_only), FOR_ALL, NULL, NULL},
    {"cache.direct", OPT_FLAG, AT(direct), FOR_ALL, NULL, NULL},
    {"cache.no-flush", OPT_FLAG, AT(no_flush), FOR_ALL, NULL, NULL},
    {"discard", OPT_TEXT, AT(discard), FOR_ALL, NULL, discard_words},
    {"rerror", OPT_TEXT, AT(rerror), FOR_DRIVE, NULL, read_actions},
    {"werror", OPT_TEXT, AT(werror), FOR_DRIVE, NULL, write_actions},
    {"filename", OPT_TEXT, AT(filename), FOR_ALL, "file", NULL},
    {"locking", OPT_TEXT, AT(locking), FOR_ALL, "file", locking_words},
    {"aio", OPT_TEXT, AT(aio), FOR_ALL, "file", aio_words},
    {"size", OPT_SIZE, AT(size), FOR_ALL, "null-co", NULL},
    {"latency-ns", OPT_NUMBER, AT(latency_ns), FOR_ALL, "null-co", NULL},
    {"read-zeroes", OPT_FLAG, AT(read_zeroes), FOR_ALL, "null-co", NULL},
    {"host", OPT_TEXT, AT(host), FOR_ALL, "nbd", NULL},
    {"port", OPT_TEXT, AT(port), FOR_ALL, "nbd", NULL},
    {"path", OPT_TEXT, AT(path), FOR_ALL, "nbd", NULL},
    {"server.type", OPT_TEXT, AT(server_type), FOR_ALL, "nbd", server_words},
    {"server.host", OPT_TEXT, AT(host), FOR_ALL, "nbd", NULL},
    {"server.port", OPT_TEXT, AT(port), FOR_ALL, "nbd", NULL},
    {"server.path", OPT_TEXT, AT(path), FOR_ALL, "nbd", NULL},
    {"export", OPT_TEXT, AT(export_name), FOR_ALL, "nbd", NULL},
    LIMITS("bps-total", BLOCK_BPS_TOTAL),
    LIMITS("bps-read", BLOCK_BPS_READ),
    LIMITS("bps-write", BLOCK_BPS_WRITE),
    LIMITS("iops-total", BLOCK_IOPS_TOTAL),
    LIMITS("iops-read", BLOCK_IOPS_READ),
    LIMITS("iops-write", BLOCK_IOPS_WRITE),
    {"throttling.iops-size", OPT_NUMBER, AT(iops_size), FOR_DRIVE, NULL, NULL},
};

static bool opt_is_for(const OptDef *def, const BlockOpts *o, bool blockdev)
{
    bool file = !strcmp(o->driver, "file") || !strcmp(o->driver, "host_device");

    return def->forms & (blockdev ? FOR_BLOCKDEV : FOR_DRIVE) &&
           (!def->driver || !strcmp(def->driver, o->driver) || (file && !strcmp(def->driver, "file")));
}

static const OptDef *opt_find(const BlockOpts *o, const char *name, bool blockdev, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(opt_defs); i++) {
        if (!opt_is_for(&opt_defs[i], o, blockdev)) {
            continue;
        }
        if (!strcmp(opt_defs[i].name, name)) {
            return &opt_defs[i];
        }
        g_string_append_printf(names, "%s%s", names->len ? ", " : "", opt_defs[i].name);
    }
    error_set(error, "%s %s: unknown option of driver %s (allowed %s)", o->option, name, o->driver, names->str);
    return NULL;
}

/* --- values --- */

static bool value_flag(const BlockOpts *o, const OptDef *def, const char *text, bool *out, GError **error)
{
    static const char *const yes[] = {"on", "true", "yes", NULL}, *const no[] = {"off", "false", "no", NULL};

    if (g_strv_contains(yes, text)) {
        *out = true;
    } else if (g_strv_contains(no, text)) {
        *out = false;
    } else {
        error_set(error, "%s %s=%s: not a switch (allowed on, off)", o->option, def->name, text);
        return false;
    }
    return true;
}

static bool value_number(const BlockOpts *o, const OptDef *def, const char *text, uint64_t *out, GError **error)
{
    char *end;

    *out = g_ascii_strtoull(text, &end, 10);
    if (end == text || *end || *text == '-' || *out > INT64_MAX) {
        error_set(error, "%s %s=%s: not a number (allowed 0..%" G_GINT64_FORMAT ")", o->option, def->name, text,
                  INT64_MAX);
        return false;
    }
    return true;
}

static bool value_text(const BlockOpts *o, const OptDef *def, const char *text, const char **out, GError **error)
{
    if (def->allowed && !g_strv_contains(def->allowed, text)) {
        g_autofree char *words = g_strjoinv(", ", (char **)def->allowed);

        error_set(error, "%s %s=%s: not supported (allowed %s)", o->option, def->name, text, words);
        return false;
    }
    *out = text;
    return true;
}

static bool value_set(BlockOpts *o, const OptDef *def, const char *text, GError **error)
{
    void *field = (char *)o + def->offset;
    g_autofree char *where = NULL;

    switch (def->type) {
    case OPT_FLAG:
        return value_flag(o, def, text, field, error);
    case OPT_NUMBER:
        return value_number(o, def, text, field, error);
    case OPT_SIZE:
        where = g_strdup_printf("%s %s", o->option, def->name);
        return opts_parse_size(where, text, 0, field, error);
    default:
        return value_text(o, def, text, field, error);
    }
}

/* --- from a tree to names with dots --- */

typedef struct FlatOpt {
    char *name;
    const char *text; /* NULL: JSON null */
} FlatOpt;

static void flat_free(void *opaque)
{
    FlatOpt *f = opaque;

    g_free(f->name);
    g_free(f);
}

static void flatten(BlockOpts *o, struct json_object *from, const char *prefix, GPtrArray *to)
{
    json_object_object_foreach(from, name, value)
    {
        g_autofree char *full = g_strconcat(prefix, name, NULL);

        if (json_object_is_type(value, json_type_object)) {
            g_autofree char *deeper = g_strconcat(full, ".", NULL);

            flatten(o, value, deeper, to);
        } else {
            FlatOpt *f = g_new0(FlatOpt, 1);
            char *text = g_strdup(value ? json_object_get_string(value) : "");

            f->name = g_steal_pointer(&full);
            f->text = text;
            g_ptr_array_add(o->texts, text);
            g_ptr_array_add(to, f);
        }
    }
}

static FlatOpt *flat_find(GPtrArray *flat, const char *name)
{
    for (guint i = 0; i < flat->len; i++) {
        FlatOpt *f = flat->pdata[i];

        if (!strcmp(f->name, name)) {
            return f;
        }
    }
    return NULL;
}

static const char *flat_take(GPtrArray *flat, const char *name)
{
    FlatOpt *f = flat_find(flat, name);
    const char *text = f ? f->text : NULL;

    if (f) {
        g_ptr_array_remove(flat, f);
    }
    return text;
}

/* "file.X" is the protocol's X. */
static void flat_strip(GPtrArray *flat)
{
    for (guint i = 0; i < flat->len; i++) {
        FlatOpt *f = flat->pdata[i];

        if (g_str_has_prefix(f->name, "file.")) {
            memmove(f->name, f->name + 5, strlen(f->name + 5) + 1);
        }
    }
}

/* --- the two forms --- */

/* Whether the format is not one of those that others read for us; how they do is in the error. */
static bool format_is_ours(const BlockOpts *o, const char *key, const char *format, const char *file, const char *use,
                           GError **error)
{
    static const char *const others[] = {"qcow2", "qcow", "qed", "vdi", "vhdx", "vmdk", "vpc", NULL};

    if (!format || !g_strv_contains(others, format)) {
        return true;
    }
    error_set(error, "%s %s=%s: not read by this program (allowed raw); serve the image with `qemu-nbd -t -k /tmp/nbd.sock "
              "-f %s %s` and use %s", o->option, key, format, format, file ? file : "FILE", use);
    return false;
}

/* What -drive's file= names: an NBD export, nothing at all, or a file. */
static void file_name_opts(BlockOpts *o, const char *file)
{
    if (g_str_has_prefix(file, "nbd")  && (strstr(file, "://") || g_str_has_prefix(file, "nbd:"))) {
        o->driver = "nbd";
        o->uri = file;
    } else if (!strcmp(file, "null-co://")) {
        o->driver = "null-co";
    } else {
        o->driver = "file";
        o->filename = file;
    }
}

static bool drive_form(BlockOpts *o, GPtrArray *flat, GError **error)
{
    const char *file = flat_take(flat, "file"), *driver = flat_take(flat, "file.driver");
    const FlatOpt *format = flat_find(flat, "format");

    if (format && !format_is_ours(o, "format", format->text, file, "file=nbd:unix:/tmp/nbd.sock", error)) {
        return false;
    }
    if (file && driver) {
        error_set(error, "-drive: file and file.driver exclude each other");
        return false;
    }
    if (driver) {
        o->driver = driver;
    } else if (file && *file) {
        file_name_opts(o, file);
    } else {
        error_set(error, "-drive: file is missing; add file=PATH");
        return false;
    }
    o->where = g_strdup_printf("-drive file%s=%s", file ? "" : ".driver", file ? file : driver);
    flat_strip(flat);
    return true;
}

static bool blockdev_form(BlockOpts *o, GPtrArray *flat, GError **error)
{
    const char *driver = flat_take(flat, "driver");
    const FlatOpt *file = flat_find(flat, "file.filename");

    if (!format_is_ours(o, "driver", driver, file ? file->text : NULL, "driver=nbd,path=/tmp/nbd.sock", error)) {
        return false;
    }
    if (!driver) {
        error_set(error, "-blockdev: driver is missing (raw, file, host_device, null-co, nbd)");
        return false;
    }
    o->driver = driver;
    if (!strcmp(driver, "raw")) {
        o->below = flat_take(flat, "file");
        o->driver = o->below ? "raw" : flat_take(flat, "file.driver");
        if (!o->driver) {
            error_set(error, "-blockdev driver=raw: file is missing; add file=NODE or file.driver=file,file.filename=PATH");
            return false;
        }
        flat_strip(flat);
    }
    o->where = g_strdup_printf("-blockdev driver=%s", driver);
    return true;
}

/* --- meaning --- */

typedef struct CacheMode {
    const char *name;
    bool direct, sync, no_flush;
} CacheMode;

static const CacheMode cache_modes[] = {
    {"writeback", false, false, false}, {"none", true, false, false},   {"writethrough", false, true, false},
    {"directsync", true, true, false},  {"unsafe", false, false, true},
};

static void apply_cache(BlockOpts *o)
{
    for (size_t i = 0; o->cache && i < G_N_ELEMENTS(cache_modes); i++) {
        if (!strcmp(cache_modes[i].name, o->cache)) {
            o->direct |= cache_modes[i].direct;
            o->sync = cache_modes[i].sync;
            o->no_flush |= cache_modes[i].no_flush;
        }
    }
}

static BlockErrorAction error_action(const char *text)
{
    static const struct {
        const char *name;
        BlockErrorAction action;
    } actions[] = {{"report", BLOCK_ERROR_REPORT},
                   {"ignore", BLOCK_ERROR_IGNORE},
                   {"stop", BLOCK_ERROR_STOP},
                   {"enospc", BLOCK_ERROR_ENOSPC}};

    for (size_t i = 0; text && i < G_N_ELEMENTS(actions); i++) {
        if (!strcmp(actions[i].name, text)) {
            return actions[i].action;
        }
    }
    return BLOCK_ERROR_AUTO;
}

static bool check_limits(const BlockOpts *o, GError **error)
{
    for (unsigned i = 0; i < BLOCK_BUCKETS; i++) {
        const BlockLimit *l = &o->limits[i];

        if (l->burst && (!l->average || l->burst < l->average)) {
            error_set(error, "%s: a throttling -max is the burst above its average (%" G_GUINT64_FORMAT
                      ", allowed from the average, %" G_GUINT64_FORMAT ")", o->where, l->burst, l->average);
            return false;
        }
    }
    for (unsigned total = BLOCK_BPS_TOTAL; total < BLOCK_BUCKETS; total += 3) {
        if (o->limits[total].average && (o->limits[total + 1].average || o->limits[total + 2].average)) {
            error_set(error, "%s: throttling of the total excludes that of reads and writes", o->where);
            return false;
        }
    }
    return true;
}

bool block_opts_parse(BlockOpts *o, struct json_object *opts, bool blockdev, GError **error)
{
    g_autoptr(GPtrArray) flat = g_ptr_array_new_with_free_func(flat_free);

    *o = (BlockOpts){.option = blockdev ? "-blockdev" : "-drive", .texts = g_ptr_array_new_with_free_func(g_free)};
    flatten(o, opts, "", flat);
    if (!(blockdev ? blockdev_form(o, flat, error) : drive_form(o, flat, error))) {
        return false;
    }
    for (guint i = 0; i < flat->len; i++) {
        const FlatOpt *f = flat->pdata[i];
        const OptDef *def = opt_find(o, f->name, blockdev, error);

        if (!def || !value_set(o, def, f->text, error)) {
            return false;
        }
    }
    if (!o->id) {
        error_set(error, "%s: %s is missing; add %s=NAME, which a device then takes as drive=NAME", o->where,
                  blockdev ? "node-name" : "id", blockdev ? "node-name" : "id");
        return false;
    }
    apply_cache(o);
    o->unmap = o->discard && (!strcmp(o->discard, "unmap") || !strcmp(o->discard, "on"));
    o->on_read_error = error_action(o->rerror);
    o->on_write_error = error_action(o->werror);
    return check_limits(o, error);
}

void block_opts_clear(BlockOpts *o)
{
    g_free(o->where);
    if (o->texts) {
        g_ptr_array_free(o->texts, TRUE);
    }
}
