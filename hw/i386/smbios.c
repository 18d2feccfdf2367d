/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System Management BIOS structures (DMTF DSP0134, SMBIOS reference specification 3.0.0, chapters 5.2 and 7): BIOS,
 * system, board, chassis, processors, memory, OEM strings.  What -smbios gives replaces what would be there.
 */
#include "hw/i386/smbios.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#define GIB (1ull << 30)
#define MIB (1ull << 20)

#define TYPE_BIOS        0
#define TYPE_SYSTEM      1
#define TYPE_BOARD       2
#define TYPE_CHASSIS     3
#define TYPE_CPU         4
#define TYPE_OEM_STRINGS 11
#define TYPE_ARRAY       16
#define TYPE_MEMORY      17
#define TYPE_ARRAY_MAP   19
#define TYPE_BOOT        32
#define TYPE_END         127

#define HANDLE(type, n)  ((uint16_t)((type) << 8 | (n)))
#define MEMORY_DEVICE_MAX (16 * GIB)
#define STRINGS_MAX      250

/* A field of a structure that -smbios sets: a string, or a number of `number` bytes. */
typedef struct SmbiosField {
    uint8_t type;
    const char *key;
    uint8_t number;
    const char *def;
} SmbiosField;

static const SmbiosField smbios_fields[] = {
    {TYPE_BIOS, "vendor"},
    {TYPE_BIOS, "version"},
    {TYPE_BIOS, "date"},
    {TYPE_BIOS, "release"},
    {TYPE_BIOS, "uefi"},
    {TYPE_SYSTEM, "manufacturer"},
    {TYPE_SYSTEM, "product"},
    {TYPE_SYSTEM, "version"},
    {TYPE_SYSTEM, "serial"},
    {TYPE_SYSTEM, "uuid"},
    {TYPE_SYSTEM, "sku"},
    {TYPE_SYSTEM, "family"},
    {TYPE_BOARD, "manufacturer"},
    {TYPE_BOARD, "product"},
    {TYPE_BOARD, "version"},
    {TYPE_BOARD, "serial"},
    {TYPE_BOARD, "asset"},
    {TYPE_BOARD, "location"},
    {TYPE_CHASSIS, "manufacturer"},
    {TYPE_CHASSIS, "version"},
    {TYPE_CHASSIS, "serial"},
    {TYPE_CHASSIS, "asset"},
    {TYPE_CHASSIS, "sku"},
    {TYPE_CPU, "sock_pfx"},
    {TYPE_CPU, "manufacturer"},
    {TYPE_CPU, "version"},
    {TYPE_CPU, "serial"},
    {TYPE_CPU, "asset"},
    {TYPE_CPU, "part"},
    {TYPE_CPU, "max-speed", 2, "2000"},
    {TYPE_CPU, "current-speed", 2, "2000"},
    {TYPE_OEM_STRINGS, "value"},
    {TYPE_MEMORY, "loc_pfx"},
    {TYPE_MEMORY, "bank"},
    {TYPE_MEMORY, "manufacturer"},
    {TYPE_MEMORY, "serial"},
    {TYPE_MEMORY, "asset"},
    {TYPE_MEMORY, "part"},
    {TYPE_MEMORY, "speed", 2, "0"},
};

/* --- what was given --- */

static const char *opt_text(struct json_object *opts, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(opts, key, &value) ? json_object_get_string(value) : NULL;
}

static bool text_number(const char *text, uint64_t max, uint64_t *val)
{
    char *end;
    *val = g_ascii_strtoull(text, &end, 0);
    return g_ascii_isdigit(*text) && !*end && *val <= max;
}

static const SmbiosField *field_find(uint64_t type, const char *key)
{
    for (size_t i = 0; i < G_N_ELEMENTS(smbios_fields); i++) {
        if (smbios_fields[i].type == type && !strcmp(smbios_fields[i].key, key)) {
            return &smbios_fields[i];
        }
    }
    return NULL;
}

static bool field_check(const SmbiosField *field, const char *text, GError **error)
{
    unsigned major, minor;
    uint64_t val;
    char end;
    if (field->number && !text_number(text, UINT16_MAX, &val)) {
        error_set(error, "-smbios: bad %s= ('%s', allowed 0..65535)", field->key, text);
        return false;
    }
    if (!strcmp(field->key, "uuid") && !g_uuid_string_is_valid(text)) {
        error_set(error, "-smbios: bad uuid= ('%s', as 550e8400-e29b-41d4-a716-446655440000)", text);
        return false;
    }
    if (!strcmp(field->key, "release") &&
        (sscanf(text, "%3u.%3u%c", &major, &minor, &end) != 2 || major > 254 || minor > 254)) {
        error_set(error, "-smbios: bad release= ('%s', as 1.2, each 0..254)", text);
        return false;
    }
    if (strlen(text) > STRINGS_MAX) {
        error_set(error, "-smbios: %s= is too long (%zu bytes, allowed 0..%d)", field->key, strlen(text), STRINGS_MAX);
        return false;
    }
    return true;
}

bool smbios_check(struct json_object *opts, GError **error)
{
    const char *text = opt_text(opts, "type");
    uint64_t type;
    if (!text || !text_number(text, UINT8_MAX, &type)) {
        error_set(error, "-smbios: type= is missing or bad ('%s', allowed 0, 1, 2, 3, 4, 11, 17)", text ? text : "");
        return false;
    }
    if (type != TYPE_BIOS && type != TYPE_SYSTEM && type != TYPE_BOARD && type != TYPE_CHASSIS && type != TYPE_CPU &&
        type != TYPE_OEM_STRINGS && type != TYPE_MEMORY) {
        error_set(error, "-smbios: type %s cannot be given (allowed 0, 1, 2, 3, 4, 11, 17)", text);
        return false;
    }
    json_object_object_foreach(opts, key, value)
    {
        const SmbiosField *field = field_find(type, key);
        if (strcmp(key, "type") && !field) {
            error_set(error, "-smbios: type %s has no '%s'", text, key);
            return false;
        }
        if (field && !field_check(field, json_object_get_string(value), error)) {
            return false;
        }
    }
    return true;
}

/* The last value given for a field. */
static const char *given(const SmbiosConfig *c, uint8_t type, const char *key)
{
    const char *found = NULL;
    uint64_t t;
    for (guint i = 0; c->given && i < c->given->len; i++) {
        struct json_object *opts = c->given->pdata[i];
        const char *text = opt_text(opts, key);
        if (text && text_number(opt_text(opts, "type"), UINT8_MAX, &t) && t == type) {
            found = text;
        }
    }
    return found;
}

static bool type_given(const SmbiosConfig *c, uint8_t type)
{
    uint64_t t;
    for (guint i = 0; c->given && i < c->given->len; i++) {
        if (text_number(opt_text(c->given->pdata[i], "type"), UINT8_MAX, &t) && t == type) {
            return true;
        }
    }
    return false;
}

/* --- a structure: the formatted part, then its strings --- */

typedef struct SmbiosWriter {
    GByteArray *b;
    const SmbiosConfig *config;
    GString *strings; /* each with its zero */
    size_t start;
    uint8_t type, count;
} SmbiosWriter;

static void put(SmbiosWriter *w, uint64_t val, unsigned bytes)
{
    val = GUINT64_TO_LE(val);
    g_byte_array_append(w->b, (const uint8_t *)&val, bytes);
}

static void begin(SmbiosWriter *w, uint8_t type, uint16_t handle)
{
    w->type = type;
    w->count = 0;
    w->start = w->b->len;
    g_string_truncate(w->strings, 0);
    put(w, type, 1);
    put(w, 0, 1); /* length */
    put(w, handle, 2);
}

/* Number of a string; 0 for an empty one. */
static void put_text(SmbiosWriter *w, const char *text)
{
    if (!text || !*text) {
        put(w, 0, 1);
        return;
    }
    g_string_append_len(w->strings, text, (gssize)strlen(text) + 1);
    put(w, ++w->count, 1);
}

/* As given, or `def`. */
static void put_given(SmbiosWriter *w, const char *key, const char *def)
{
    const char *text = given(w->config, w->type, key);
    put_text(w, text ? text : def);
}

static void put_given_number(SmbiosWriter *w, const char *key)
{
    const char *text = given(w->config, w->type, key);
    uint64_t val = 0;
    text_number(text ? text : field_find(w->type, key)->def, UINT16_MAX, &val);
    put(w, val, 2);
}

static void end(SmbiosWriter *w)
{
    w->b->data[w->start + 1] = (uint8_t)(w->b->len - w->start);
    g_byte_array_append(w->b, (const uint8_t *)w->strings->str, (guint)w->strings->len);
    put(w, 0, w->strings->len ? 1 : 2);
}

/* --- the structures --- */

static bool is_on(const char *text)
{
    return text && !strcmp(text, "on");
}

/* Only when asked for: firmware has its own. */
static void build_bios(SmbiosWriter *w)
{
    const char *release = given(w->config, TYPE_BIOS, "release");
    unsigned major = 0, minor = 0;
    if (!type_given(w->config, TYPE_BIOS)) {
        return;
    }
    if (release) {
        sscanf(release, "%3u.%3u", &major, &minor);
    }
    begin(w, TYPE_BIOS, 0);
    put_given(w, "vendor", NULL);
    put_given(w, "version", NULL);
    put(w, 0xe800, 2); /* segment */
    put_given(w, "date", NULL);
    put(w, 0, 1); /* 64 KiB */
    put(w, 0x08, 8); /* no characteristics */
    put(w, 0, 1);
    put(w, 0x14 | (is_on(given(w->config, TYPE_BIOS, "uefi")) ? 0x08 : 0), 1); /* virtual machine, targeted content */
    put(w, release ? major : 0, 1);
    put(w, release ? minor : 0, 1);
    put(w, 0xffff, 2); /* no embedded controller */
    end(w);
}

/* The first three fields of a UUID are little-endian here (7.2.1). */
static void put_uuid(SmbiosWriter *w)
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    const char *text = given(w->config, TYPE_SYSTEM, "uuid");
    uint8_t uuid[16];
    unsigned n = 0;
    memcpy(uuid, w->config->uuid, sizeof(uuid));
    for (const char *p = text; p && *p; p++) {
        if (*p != '-') {
            uuid[n / 2] = (uint8_t)(uuid[n / 2] << 4 | g_ascii_xdigit_value(*p));
            n++;
        }
    }
    for (unsigned i = 0; i < 16; i++) {
        put(w, uuid[order[i]], 1);
    }
}

static void build_system(SmbiosWriter *w)
{
    begin(w, TYPE_SYSTEM, HANDLE(TYPE_SYSTEM, 0));
    put_given(w, "manufacturer", "QEMU");
    put_given(w, "product", w->config->product);
    put_given(w, "version", w->config->version);
    put_given(w, "serial", NULL);
    put_uuid(w);
    put(w, 6, 1); /* woken by the power switch */
    put_given(w, "sku", NULL);
    put_given(w, "family", NULL);
    end(w);
}

static void build_board(SmbiosWriter *w)
{
    if (!type_given(w->config, TYPE_BOARD)) {
        return;
    }
    begin(w, TYPE_BOARD, HANDLE(TYPE_BOARD, 0));
    put_given(w, "manufacturer", "QEMU");
    put_given(w, "product", w->config->product);
    put_given(w, "version", w->config->version);
    put_given(w, "serial", NULL);
    put_given(w, "asset", NULL);
    put(w, 0x01, 1); /* hosting board */
    put_given(w, "location", NULL);
    put(w, HANDLE(TYPE_CHASSIS, 0), 2);
    put(w, 0x0a, 1); /* motherboard */
    put(w, 0, 1);
    end(w);
}

static void build_chassis(SmbiosWriter *w)
{
    begin(w, TYPE_CHASSIS, HANDLE(TYPE_CHASSIS, 0));
    put_given(w, "manufacturer", "QEMU");
    put(w, 0x01, 1); /* other */
    put_given(w, "version", w->config->version);
    put_given(w, "serial", NULL);
    put_given(w, "asset", NULL);
    put(w, 0x030303, 3); /* boot-up, power supply and thermal state: safe */
    put(w, 0x02, 1);     /* security status unknown */
    put(w, 0, 4);
    put(w, 0, 2); /* height, power cords */
    put(w, 0, 2); /* no contained elements */
    put_given(w, "sku", NULL);
    end(w);
}

static void build_cpu(SmbiosWriter *w, unsigned n)
{
    const char *prefix = given(w->config, TYPE_CPU, "sock_pfx");
    g_autofree char *socket = g_strdup_printf("%s %u", prefix ? prefix : "CPU", n);
    const CpuTopology *t = &w->config->topology;
    unsigned cores = t->dies * t->cores, threads = cores * t->threads;
    begin(w, TYPE_CPU, HANDLE(TYPE_CPU, n));
    put_text(w, socket);
    put(w, 0x03, 1); /* central processor */
    put(w, 0x01, 1); /* family: other */
    put_given(w, "manufacturer", "QEMU");
    put(w, 0, 8); /* id */
    put_given(w, "version", w->config->cpu_version);
    put(w, 0, 1); /* voltage */
    put(w, 0, 2); /* external clock */
    put_given_number(w, "max-speed");
    put_given_number(w, "current-speed");
    put(w, 0x41, 1); /* populated and enabled */
    put(w, 0x01, 1); /* upgrade: other */
    put(w, 0xffffffffffff, 6); /* no cache information */
    put_given(w, "serial", NULL);
    put_given(w, "asset", NULL);
    put_given(w, "part", NULL);
    put(w, MIN(cores, 255), 1);
    put(w, MIN(cores, 255), 1);
    put(w, MIN(threads, 255), 1);
    put(w, 0x02, 2); /* characteristics unknown */
    put(w, 0x01, 2); /* family 2: other */
    put(w, cores, 2);
    put(w, cores, 2);
    put(w, threads, 2);
    end(w);
}

static void build_oem_strings(SmbiosWriter *w)
{
    const GPtrArray *list = w->config->given;
    uint8_t count = 0;
    uint64_t t;
    begin(w, TYPE_OEM_STRINGS, HANDLE(TYPE_OEM_STRINGS, 0));
    for (guint i = 0; list && i < list->len && count < UINT8_MAX; i++) {
        const char *text = opt_text(list->pdata[i], "value");
        if (text && *text && text_number(opt_text(list->pdata[i], "type"), UINT8_MAX, &t) && t == TYPE_OEM_STRINGS) {
            g_string_append_len(w->strings, text, (gssize)strlen(text) + 1);
            count++;
        }
    }
    if (!count) {
        g_byte_array_set_size(w->b, (guint)w->start);
        return;
    }
    put(w, count, 1);
    end(w);
}

static void build_memory_array(SmbiosWriter *w, uint64_t size, unsigned devices)
{
    begin(w, TYPE_ARRAY, HANDLE(TYPE_ARRAY, 0));
    put(w, 0x01, 1); /* other location */
    put(w, 0x03, 1); /* system memory */
    put(w, 0x06, 1); /* multi-bit ECC */
    put(w, size >> 10 < 0x80000000u ? size >> 10 : 0x80000000u, 4);
    put(w, 0xfffe, 2); /* no error information */
    put(w, devices, 2);
    put(w, size >> 10 < 0x80000000u ? 0 : size, 8);
    end(w);
}

static void build_memory_device(SmbiosWriter *w, unsigned n, uint64_t size)
{
    const char *prefix = given(w->config, TYPE_MEMORY, "loc_pfx");
    g_autofree char *locator = g_strdup_printf("%s %u", prefix ? prefix : "DIMM", n);
    uint64_t mib = size / MIB;
    begin(w, TYPE_MEMORY, HANDLE(TYPE_MEMORY, n));
    put(w, HANDLE(TYPE_ARRAY, 0), 2);
    put(w, 0xfffe, 2);
    put(w, 0xffffffff, 4); /* widths unknown */
    put(w, MIN(mib, 0x7fff), 2);
    put(w, 0x09, 1); /* DIMM */
    put(w, 0, 1);    /* not of a set */
    put_text(w, locator);
    put_given(w, "bank", NULL);
    put(w, 0x07, 1); /* RAM */
    put(w, 0x02, 2); /* detail: other */
    put_given_number(w, "speed");
    put_given(w, "manufacturer", "QEMU");
    put_given(w, "serial", NULL);
    put_given(w, "asset", NULL);
    put_given(w, "part", NULL);
    put(w, 0, 1); /* rank unknown */
    put(w, mib < 0x7fff ? 0 : mib, 4);
    put_given_number(w, "speed");
    put(w, 0, 6); /* voltages unknown */
    end(w);
}

static void build_array_map(SmbiosWriter *w, unsigned n, uint64_t start, uint64_t size)
{
    uint64_t first_kb = start >> 10, last_kb = ((start + size) >> 10) - 1;
    bool wide = last_kb > UINT32_MAX - 1;
    if (!size) {
        return;
    }
    begin(w, TYPE_ARRAY_MAP, HANDLE(TYPE_ARRAY_MAP, n));
    put(w, wide ? UINT32_MAX : first_kb, 4);
    put(w, wide ? UINT32_MAX : last_kb, 4);
    put(w, HANDLE(TYPE_ARRAY, 0), 2);
    put(w, 1, 1); /* partition width */
    put(w, wide ? start : 0, 8);
    put(w, wide ? start + size - 1 : 0, 8);
    end(w);
}

static void build_memory(SmbiosWriter *w)
{
    const SmbiosConfig *c = w->config;
    uint64_t size = c->ram_low + c->ram_high;
    unsigned devices = (unsigned)((size + MEMORY_DEVICE_MAX - 1) / MEMORY_DEVICE_MAX);
    build_memory_array(w, size, devices);
    for (unsigned i = 0; i < devices; i++) {
        build_memory_device(w, i, MIN(size - i * MEMORY_DEVICE_MAX, MEMORY_DEVICE_MAX));
    }
    build_array_map(w, 0, 0, c->ram_low);
    build_array_map(w, 1, 4 * GIB, c->ram_high);
}

GByteArray *smbios_build_tables(const SmbiosConfig *config)
{
    SmbiosWriter w = {.b = g_byte_array_new(), .config = config, .strings = g_string_new(NULL)};
    build_bios(&w);
    build_system(&w);
    build_board(&w);
    build_chassis(&w);
    for (unsigned i = 0; i < config->topology.sockets; i++) {
        build_cpu(&w, i);
    }
    build_oem_strings(&w);
    build_memory(&w);
    begin(&w, TYPE_BOOT, HANDLE(TYPE_BOOT, 0));
    put(&w, 0, 6);
    put(&w, 0, 1); /* no errors */
    end(&w);
    begin(&w, TYPE_END, HANDLE(TYPE_END, 0));
    end(&w);
    g_string_free(w.strings, TRUE);
    return w.b;
}

/* --- entry points (5.2) --- */

static uint8_t checksum(const uint8_t *p, size_t len)
{
    uint8_t sum = 0;
    while (len--) {
        sum += *p++;
    }
    return (uint8_t)-sum;
}

/* Number of structures and the size of the largest. */
static unsigned count_structures(const GByteArray *tables, size_t *largest)
{
    unsigned count = 0;
    *largest = 0;
    for (size_t at = 0; at + 4 <= tables->len; count++) {
        size_t next = at + tables->data[at + 1];
        while (next + 1 < tables->len && (tables->data[next] || tables->data[next + 1])) {
            next++;
        }
        next += 2;
        *largest = MAX(*largest, next - at);
        at = next;
    }
    return count;
}

static void anchor_2_1(SmbiosWriter *w, const GByteArray *tables, uint64_t address)
{
    size_t largest;
    unsigned count = count_structures(tables, &largest);
    g_byte_array_append(w->b, (const uint8_t *)"_SM_\0\x1f\x02\x08", 8); /* version 2.8 */
    put(w, largest, 2);
    put(w, 0, 6);
    g_byte_array_append(w->b, (const uint8_t *)"_DMI_", 6);
    put(w, tables->len, 2);
    put(w, address, 4);
    put(w, count, 2);
    put(w, 0x28, 1);
    w->b->data[0x15] = checksum(w->b->data + 0x10, 0x0f);
    w->b->data[0x04] = checksum(w->b->data, 0x1f);
}

static void anchor_3_0(SmbiosWriter *w, const GByteArray *tables, uint64_t address)
{
    g_byte_array_append(w->b, (const uint8_t *)"_SM3_\0\x18\x03\0\0\x01\0", 12); /* version 3.0 */
    put(w, tables->len, 4);
    put(w, address, 8);
    w->b->data[0x05] = checksum(w->b->data, 0x18);
}

GByteArray *smbios_build_anchor(const GByteArray *tables, SmbiosVersion version, uint64_t address)
{
    SmbiosWriter w = {.b = g_byte_array_new()};
    (version == SMBIOS_2_1 ? anchor_2_1 : anchor_3_0)(&w, tables, address);
    return w.b;
}
