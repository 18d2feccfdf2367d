/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Migration: QMP's migrate family, and the monitor's. */
#include <inttypes.h>
#include <string.h>

#include "migration/migration.h"
#include "monitor-internal.h"
#include "qmp-commands.h"

static void add_uint(struct json_object *to, const char *name, uint64_t val)
{
    json_object_object_add(to, name, json_object_new_uint64(val));
}

struct json_object *qmp_migrate(Machine *m, struct json_object *args, GError **error)
{
    migration_start(m, json_member_str(args, "uri"), error);
    return NULL;
}

struct json_object *qmp_migrate_cancel(Machine *m, struct json_object *args, GError **error)
{
    migration_cancel(m, error);
    return NULL;
}

struct json_object *qmp_migrate_incoming(Machine *m, struct json_object *args, GError **error)
{
    migration_incoming(m, json_member_str(args, "uri"), error);
    return NULL;
}

static struct json_object *ram_figures(const MigrationFigures *f)
{
    struct json_object *ram = json_object_new_object();

    add_uint(ram, "transferred", f->ram_transferred);
    add_uint(ram, "remaining", f->ram_remaining);
    add_uint(ram, "total", f->ram_total);
    add_uint(ram, "duplicate", f->pages_zero);
    add_uint(ram, "skipped", 0);
    add_uint(ram, "normal", f->pages_normal);
    add_uint(ram, "normal-bytes", f->pages_normal * 4096);
    add_uint(ram, "page-size", 4096);
    add_uint(ram, "dirty-sync-count", f->sync_count);
    add_uint(ram, "dirty-pages-rate", f->dirty_rate);
    json_object_object_add(ram, "mbps", json_object_new_double(f->mbps));
    return ram;
}

static struct json_object *device_figures(const GPtrArray *devices)
{
    struct json_object *list = json_object_new_array();

    for (guint i = 0; i < devices->len; i++) {
        const MigrationDevice *device = g_ptr_array_index(devices, i);
        struct json_object *entry = json_object_new_object();

        json_object_object_add(entry, "device", json_object_new_string(device->path));
        json_object_object_add(entry, "model", json_object_new_string(device->model));
        add_uint(entry, "bytes", device->bytes);
        add_uint(entry, "time-us", device->us);
        json_object_array_add(list, entry);
    }
    return list;
}

struct json_object *qmp_query_migrate(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *result = json_object_new_object();
    MigrationFigures f = migration_query(m);
    GError *blocked = NULL;

    if (f.status != MIGRATION_NONE) {
        json_object_object_add(result, "status", json_object_new_string(migration_status_name(f.status)));
        add_uint(result, "total-time", f.total_ms);
        add_uint(result, "setup-time", f.setup_ms);
        add_uint(result, f.status == MIGRATION_COMPLETED ? "downtime" : "expected-downtime",
                 f.status == MIGRATION_COMPLETED ? f.downtime_us / 1000 : f.expected_downtime_ms);
        if (f.status == MIGRATION_COMPLETED) {
            add_uint(result, "x-downtime-us", f.downtime_us);
        }
        add_uint(result, "x-device-bytes", f.device_bytes);
        if (f.throttle) {
            add_uint(result, "cpu-throttle-percentage", f.throttle);
        }
        if (f.devices) {
            json_object_object_add(result, "x-devices", device_figures(f.devices));
        }
        json_object_object_add(result, "ram", ram_figures(&f));
    }
    if (f.error) {
        json_object_object_add(result, "error-desc", json_object_new_string(f.error));
    }
    if (!migration_possible(m, &blocked)) {
        struct json_object *reasons = json_object_new_array();

        json_object_array_add(reasons, json_object_new_string(blocked->message));
        json_object_object_add(result, "blocked-reasons", reasons);
        g_error_free(blocked);
    }
    migration_figures_clear(&f);
    return result;
}

/* --- parameters and capabilities --- */

typedef struct Param {
    const char *name;
    size_t offset;
    uint64_t min, max;
    const char *unit; /* for people */
    char scale;       /* their numbers' suffix when there is none; 0: none is allowed */
} Param;

static const Param params[] = {
    {"max-bandwidth", offsetof(MigrationParams, max_bandwidth), 0, INT64_MAX, " bytes/second", 'M'},
    {"downtime-limit", offsetof(MigrationParams, downtime_limit), 0, 2000000, " ms", 0},
    {"cpu-throttle-initial", offsetof(MigrationParams, throttle_initial), 1, 99, "", 0},
    {"cpu-throttle-increment", offsetof(MigrationParams, throttle_increment), 1, 99, "", 0},
    {"max-cpu-throttle", offsetof(MigrationParams, throttle_max), 1, 99, "", 0},
    {"throttle-trigger-threshold", offsetof(MigrationParams, throttle_threshold), 1, 100, "", 0},
};

#define LATER "xbzrle, multifd and post-copy are not in this version, they come in a later one"

/* Asked for by programs that know other emulators. */
static const char *const later[] = {"xbzrle", "multifd", "postcopy", NULL};

static bool comes_later(const char *name)
{
    for (size_t i = 0; later[i]; i++) {
        if (strstr(name, later[i])) {
            return true;
        }
    }
    return false;
}

struct json_object *qmp_query_migrate_parameters(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *result = json_object_new_object();

    for (size_t i = 0; i < G_N_ELEMENTS(params); i++) {
        add_uint(result, params[i].name, *(uint64_t *)((char *)migration_params(m) + params[i].offset));
    }
    return result;
}

static bool set_param(MigrationParams *to, const char *name, struct json_object *value, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(params); i++) {
        int64_t val = json_object_get_int64(value);

        if (strcmp(params[i].name, name)) {
            continue;
        }
        if (!json_object_is_type(value, json_type_int) || val < (int64_t)params[i].min || (uint64_t)val > params[i].max) {
            error_set(error, "Parameter '%s' expects an integer in the range of %" PRIu64 " to %" PRIu64, name, params[i].min,
                      params[i].max);
            return false;
        }
        *(uint64_t *)((char *)to + params[i].offset) = (uint64_t)val;
        return true;
    }
    if (comes_later(name)) {
        error_set(error, "Parameter '%s' is not supported: %s", name, LATER);
    } else {
        error_set(error, "Parameter '%s' is not supported; query-migrate-parameters lists those that are", name);
    }
    return false;
}

struct json_object *qmp_migrate_set_parameters(Machine *m, struct json_object *args, GError **error)
{
    MigrationParams all = *migration_params(m);

    json_object_object_foreach(args, name, value)
    {
        if (!set_param(&all, name, value, error)) {
            return NULL;
        }
    }
    *migration_params(m) = all;
    return NULL;
}

typedef struct Capability {
    const char *name;
    bool always;   /* cannot be switched off */
    size_t offset; /* of a bool of MigrationParams, otherwise */
} Capability;

static const Capability capabilities[] = {
    {"events", true, 0},
    {"auto-converge", false, offsetof(MigrationParams, auto_converge)},
    {"x-keep-servers", false, offsetof(MigrationParams, keep_servers)},
};

static bool *capability_state(MigrationParams *in, const Capability *c)
{
    return (bool *)((char *)in + c->offset);
}

struct json_object *qmp_query_migrate_capabilities(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < G_N_ELEMENTS(capabilities); i++) {
        struct json_object *entry = json_object_new_object();
        bool on = capabilities[i].always || *capability_state(migration_params(m), &capabilities[i]);

        json_object_object_add(entry, "capability", json_object_new_string(capabilities[i].name));
        json_object_object_add(entry, "state", json_object_new_boolean(on));
        json_object_array_add(list, entry);
    }
    return list;
}

static bool set_capability(MigrationParams *to, const char *name, bool on, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(capabilities); i++) {
        const Capability *c = &capabilities[i];

        if (strcmp(c->name, name) || (c->always && !on)) {
            continue;
        }
        if (!c->always) {
            *capability_state(to, c) = on;
        }
        return true;
    }
    if (!strcmp(name, "events")) {
        error_set(error, "Capability 'events' cannot be switched off");
    } else if (!comes_later(name)) {
        error_set(error, "Capability '%s' is not supported; query-migrate-capabilities lists those that are", name);
    } else if (on) {
        error_set(error, "Capability '%s' cannot be switched on: %s", name, LATER);
    } else {
        return true;
    }
    return false;
}

struct json_object *qmp_migrate_set_capabilities(Machine *m, struct json_object *args, GError **error)
{
    MigrationParams all = *migration_params(m);
    struct json_object *list = NULL;

    json_object_object_get_ex(args, "capabilities", &list);
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *entry = json_object_array_get_idx(list, i);
        bool on = json_object_get_boolean(json_object_object_get(entry, "state"));

        if (!set_capability(&all, json_member_str(entry, "capability"), on, error)) {
            return NULL;
        }
    }
    *migration_params(m) = all;
    return NULL;
}

/* --- device-handover --- */

typedef struct Handover {
    MigrationHandover *h;
    MonitorReply *reply;
} Handover;

/* NULL after an error. */
static struct json_object *handover_end(MigrationHandover *h, bool failed)
{
    HandoverFigures f;
    struct json_object *result;

    migration_handover_end(h, &f);
    if (failed) {
        return NULL;
    }
    result = json_object_new_object();
    add_uint(result, "bytes", f.bytes);
    add_uint(result, "paused-us", f.paused_us);
    return result;
}

static MigrationHandover *handover_begin(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *place = NULL;

    json_object_object_get_ex(args, "socket", &place);
    return migration_handover_begin(m, json_member_str(args, "id"), place, error);
}

struct json_object *qmp_x_device_handover(Machine *m, struct json_object *args, GError **error)
{
    MigrationHandover *h = handover_begin(m, args, error);

    return h ? handover_end(h, !migration_handover_run(h, error)) : NULL;
}

static void handover_run(Machine *m, void *opaque, GError **error)
{
    migration_handover_run(((Handover *)opaque)->h, error);
}

static void handover_done(void *opaque, GError *error)
{
    Handover *handover = opaque;

    handover->reply->send(handover->reply, handover_end(handover->h, error), error);
    g_free(handover);
}

bool qmp_x_device_handover_later(Machine *m, struct json_object *args, MonitorReply *reply, struct json_object **result,
                               GError **error)
{
    MigrationHandover *h = handover_begin(m, args, error);
    Handover *handover;
    GError *cause = NULL;

    if (!h) {
        return true;
    }
    handover = g_new0(Handover, 1);
    *handover = (Handover){h, reply};
    if (!machine_run_later(m, &(MachineWork){handover_run, handover_done, handover}, MONITOR_PATIENCE_MS, &cause)) {
        return false;
    }
    g_free(handover);
    *result = handover_end(h, cause);
    if (cause) {
        g_propagate_error(error, cause);
    }
    return true;
}

/* --- HMP --- */

static void hmp_report(GString *out, GError *error)
{
    if (error) {
        g_string_append_printf(out, "Error: %s\n", error->message);
        g_error_free(error);
    }
}

/* -d is how it always is: the monitor does not wait. */
static void hmp_migrate(Machine *m, const char *args, GString *out)
{
    g_autofree char *uri = g_strdup(args ? args : "");
    GError *error = NULL;
    char *text = g_strstrip(uri);

    if (g_str_has_prefix(text, "-d ")) {
        text = g_strchug(text + 3);
    }
    migration_start(m, text, &error);
    hmp_report(out, error);
}

static void hmp_migrate_cancel(Machine *m, const char *args, GString *out)
{
    GError *error = NULL;

    migration_cancel(m, &error);
    hmp_report(out, error);
}

static void hmp_migrate_incoming(Machine *m, const char *args, GString *out)
{
    GError *error = NULL;

    migration_incoming(m, args ? args : "", &error);
    hmp_report(out, error);
}

/* Two words; NULL, and a line that says how it goes. */
static char **two_words(const char *args, const char *usage, GString *out)
{
    char **words = g_strsplit_set(args ? args : "", " ", 2);

    if (g_strv_length(words) < 2 || !*words[0] || !*g_strstrip(words[1])) {
        g_string_append_printf(out, "usage: %s\n", usage);
        g_clear_pointer(&words, g_strfreev);
    }
    return words;
}

/* As typed by people: sizes are in MiB unless they say something else. */
static struct json_object *param_value(const char *name, const char *text)
{
    uint64_t number;

    for (size_t i = 0; i < G_N_ELEMENTS(params); i++) {
        if (!strcmp(params[i].name, name) && params[i].scale &&
            opts_parse_size(name, text, params[i].scale, &number, NULL) && number <= INT64_MAX) {
            return json_object_new_int64((int64_t)number);
        }
    }
    return g_ascii_string_to_unsigned(text, 10, 0, INT64_MAX, &number, NULL) ? json_object_new_int64((int64_t)number)
                                                                              : json_object_new_string(text);
}

static void hmp_migrate_set_parameter(Machine *m, const char *args, GString *out)
{
    g_auto(GStrv) words = two_words(args, "migrate_set_parameter NAME VALUE", out);
    struct json_object *value;
    GError *error = NULL;

    if (words) {
        value = param_value(words[0], words[1]);
        set_param(migration_params(m), words[0], value, &error);
        json_object_put(value);
        hmp_report(out, error);
    }
}

static void hmp_migrate_set_capability(Machine *m, const char *args, GString *out)
{
    g_auto(GStrv) words = two_words(args, "migrate_set_capability NAME on|off", out);
    GError *error = NULL;

    if (!words) {
        return;
    }
    if (strcmp(words[1], "on") && strcmp(words[1], "off")) {
        g_string_append(out, "Expected 'on' or 'off'\n");
        return;
    }
    set_capability(migration_params(m), words[0], !strcmp(words[1], "on"), &error);
    hmp_report(out, error);
}

static void hmp_info_migrate_parameters(Machine *m, const char *args, GString *out)
{
    for (size_t i = 0; i < G_N_ELEMENTS(params); i++) {
        g_string_append_printf(out, "%s: %" PRIu64 "%s\n", params[i].name,
                               *(uint64_t *)((char *)migration_params(m) + params[i].offset), params[i].unit);
    }
}

static void hmp_info_migrate_capabilities(Machine *m, const char *args, GString *out)
{
    for (size_t i = 0; i < G_N_ELEMENTS(capabilities); i++) {
        bool on = capabilities[i].always || *capability_state(migration_params(m), &capabilities[i]);

        g_string_append_printf(out, "%s: %s\n", capabilities[i].name, on ? "on" : "off");
    }
}

static void hmp_info_migrate(Machine *m, const char *args, GString *out)
{
    MigrationFigures f = migration_query(m);
    double done = f.ram_total ? 100.0 * (double)(f.ram_total - f.ram_remaining) / (double)f.ram_total : 0;

    g_string_append_printf(out, "Migration status: %s\n", migration_status_name(f.status));
    if (f.status != MIGRATION_NONE) {
        g_string_append_printf(out,
                               "total time: %" PRIu64 " ms\ndowntime: %" PRIu64 " ms\nthroughput: %.2f mbps\n"
                               "transferred ram: %" PRIu64 " kbytes (%.0f %% done)\nremaining ram: %" PRIu64
                               " kbytes\ntotal ram: %" PRIu64 " kbytes\nduplicate: %" PRIu64 " pages\nnormal: %" PRIu64
                               " pages\ndirty sync count: %" PRIu64 "\n",
                               f.total_ms, f.downtime_us / 1000, f.mbps, f.ram_transferred / 1024, done, f.ram_remaining / 1024,
                               f.ram_total / 1024, f.pages_zero, f.pages_normal, f.sync_count);
    }
    if (f.throttle) {
        g_string_append_printf(out, "cpu throttle percentage: %" PRIu64 "\n", f.throttle);
    }
    for (guint i = 0; f.devices && i < f.devices->len; i++) {
        const MigrationDevice *d = g_ptr_array_index(f.devices, i);

        g_string_append_printf(out, "device %s (%s): %" PRIu64 " bytes, %" PRIu64 " us\n", d->path, d->model, d->bytes, d->us);
    }
    if (f.error) {
        g_string_append_printf(out, "error: %s\n", f.error);
    }
    migration_figures_clear(&f);
}

const HmpCommand hmp_migration_table[] = {
    {.name = "migrate", .args = "[-d] URI", .doc = "move the guest to tcp:, unix:, fd:, exec: or file:", .run = hmp_migrate},
    {.name = "migrate_cancel", .args = "", .doc = "end a migration in progress", .run = hmp_migrate_cancel},
    {.name = "migrate_incoming", .args = "URI", .doc = "take the guest that -incoming defer waits for from there", .run = hmp_migrate_incoming},
    {.name = "migrate_set_parameter", .args = "NAME VALUE", .doc = "set one of info migrate_parameters", .run = hmp_migrate_set_parameter},
    {.name = "migrate_set_capability", .args = "NAME on|off", .doc = "switch one of info migrate_capabilities", .run = hmp_migrate_set_capability},
    {.name = "info migrate_parameters", .args = "", .doc = "what a migration may take", .run = hmp_info_migrate_parameters},
    {.name = "info migrate_capabilities", .args = "", .doc = "how a migration may go", .run = hmp_info_migrate_capabilities},
    {.name = "info migrate", .args = "", .doc = "how a migration goes, or went", .run = hmp_info_migrate},
    {.name = NULL},
};
