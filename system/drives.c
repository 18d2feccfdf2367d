/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drives that need no -device: -drive if=ide (what a PC's drive is when nothing is said), -hda to -hdd,
 * -cdrom on the board's IDE ports; if=virtio on a controller of its own; if=pflash, what the board's flash holds.
 */
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "core/error.h"
#include "drives.h"

#define DRIVE_FLASH_UNITS 2

typedef enum DriveInterface { DRIVE_NONE, DRIVE_IDE, DRIVE_VIRTIO, DRIVE_PFLASH, DRIVE_INTERFACE_COUNT } DriveInterface;
static const char *const drive_interfaces[DRIVE_INTERFACE_COUNT] = {"none", "ide", "virtio", "pflash"};

/* Takes a member out of a list of options: its text (g_free), or NULL. */
static char *drive_take(struct json_object *opts, const char *key)
{
    struct json_object *value;
    char *text = NULL;

    if (json_object_object_get_ex(opts, key, &value)) {
        text = g_strdup(json_object_get_string(value));
        json_object_object_del(opts, key);
    }
    return text;
}

static bool drive_interface(const System *s, const char *word, DriveInterface *interface, GError **error)
{
    const MachineModel *model = (const MachineModel *)s->machine->obj.model;

    if (!word) {
        *interface = model->ide_units ? DRIVE_IDE : DRIVE_NONE;
        return true;
    }
    for (*interface = DRIVE_NONE; *interface < DRIVE_INTERFACE_COUNT; (*interface)++) {
        if (strcmp(word, drive_interfaces[*interface]) == 0) {
            break;
        }
    }
    if (*interface == DRIVE_INTERFACE_COUNT) {
        error_set(error, "-drive if=%s: not supported (allowed none, ide, virtio, pflash)", word);
        return false;
    }
    if (*interface == DRIVE_PFLASH && !object_find_prop(&s->machine->obj, "pflash0")) {
        error_set(error, "-drive if=pflash: machine %s has no flash", model->model.name);
        return false;
    }
    if (*interface == DRIVE_IDE && !model->ide_units) {
        error_set(error, "-drive if=ide: machine %s has no IDE ports; use if=none and -device",
                  model->model.name);
        return false;
    }
    return true;
}

/* The place of an IDE drive: index=, or the first that is free. */
static bool drive_index(const System *s, const char *text, unsigned *index, GError **error)
{
    const unsigned drives = ((const MachineModel *)s->machine->obj.model)->ide_drives;
    char *end;
    unsigned long val;

    if (!text) {
        for (*index = 0; *index < drives - 1 && s->ide_taken >> *index & 1;) {
            (*index)++;
        }
    } else {
        val = strtoul(text, &end, 10);
        if (*end || end == text || val >= drives) {
            error_set(error, "-drive index=%s: no such place (allowed 0..%u)", text, drives - 1);
            return false;
        }
        *index = (unsigned)val;
    }
    if (s->ide_taken >> *index & 1) {
        error_set(error, "-drive index=%u: this place has a drive already; choose another index=", *index);
        return false;
    }
    return true;
}

static void set_text(struct json_object *opts, const char *key, const char *text)
{
    json_object_object_add(opts, key, json_object_new_string(text));
}

static bool flash_is_taken(Object *board, unsigned unit)
{
    g_autofree char *name = g_strdup_printf("pflash%u", unit);
    struct json_object *node = object_get(board, name, NULL);
    bool taken = node && *json_object_get_string(node);

    json_object_put(node);
    return taken;
}

/* The board's flash that the drive is for: by unit= or index=, or the first that is free. */
static bool drive_flash_unit(const System *s, const char *text, unsigned *unit, GError **error)
{
    Object *board = &s->machine->obj;
    char *end = NULL;
    unsigned long val = text ? strtoul(text, &end, 10) : flash_is_taken(board, 0);

    if (text && (*end || end == text || val >= DRIVE_FLASH_UNITS)) {
        error_set(error, "-drive if=pflash,unit=%s: no such flash (allowed 0..%d)", text, DRIVE_FLASH_UNITS - 1);
        return false;
    }
    *unit = (unsigned)val;
    if (flash_is_taken(board, *unit)) {
        error_set(error, "-drive if=pflash,unit=%u: this flash has contents already, by -drive or -machine pflash%u=", *unit, *unit);
        return false;
    }
    return true;
}

static bool drive_open_flash(System *s, struct json_object *opts, const char *place, const char *id, GError **error)
{
    g_autofree char *prop = NULL;
    unsigned unit;

    if (!drive_flash_unit(s, place, &unit, error)) {
        return false;
    }
    prop = g_strdup_printf("pflash%u", unit);
    set_text(opts, "id", id ? id : prop);
    return block_open(s->machine, opts, error) && object_set_str(&s->machine->obj, prop, id ? id : prop, error);
}

/* What -device would be given for it. */
static struct json_object *drive_device(const System *s, DriveInterface interface, unsigned index, bool cdrom,
                                        bool medium, const char *id)
{
    const MachineModel *model = (const MachineModel *)s->machine->obj.model;
    struct json_object *device = json_object_new_object();

    set_text(device, "driver", interface == DRIVE_VIRTIO ? "virtio-blk-pci" : cdrom ? "ide-cd" : "ide-hd");
    if (medium) {
        set_text(device, "drive", id);
    }
    if (interface == DRIVE_IDE) {
        g_autofree char *bus = g_strdup_printf("ide.%u", index / model->ide_units);

        set_text(device, "bus", bus);
        json_object_object_add(device, "unit", json_object_new_int64(index % model->ide_units));
    }
    return device;
}

static char *drive_name(DriveInterface interface, unsigned n, bool cdrom)
{
    if (interface == DRIVE_VIRTIO) {
        return g_strdup_printf("virtio%u", n);
    }
    return g_strdup_printf("ide%u-%s%u", n / 2, cdrom ? "cd" : "hd", n % 2);
}

bool drives_open(System *s, struct json_object *given, GError **error)
{
    struct json_object *opts = NULL;
    DriveInterface interface = DRIVE_NONE;
    unsigned index = 0;
    bool cdrom, medium, ok = true;

    json_object_deep_copy(given, &opts, NULL);
    g_autofree char *word = drive_take(opts, "if"), *place = drive_take(opts, "index");
    g_autofree char *media = drive_take(opts, "media"), *id = drive_take(opts, "id"), *unit = NULL;

    cdrom = media && strcmp(media, "cdrom") == 0;
    medium = json_object_object_get_ex(opts, "file", NULL) ||
             json_object_object_get_ex(opts, "file.filename", NULL) ||
             json_object_object_get_ex(opts, "file.driver", NULL) || !cdrom;
    if (media && !cdrom && strcmp(media, "disk") != 0) {
        error_set(error, "-drive media=%s: not supported (allowed disk, cdrom)", media);
        ok = false;
    }
    ok = ok && drive_interface(s, word, &interface, error) &&
         (interface != DRIVE_IDE || drive_index(s, place, &index, error));
    if (ok && interface == DRIVE_PFLASH) {
        unit = drive_take(opts, "unit");
        ok = drive_open_flash(s, opts, unit ? unit : place, id, error);
        json_object_put(opts);
        return ok;
    }
    if (ok && place && interface != DRIVE_IDE) {
        error_set(error, "-drive index=%s: only drives with if=ide or if=pflash have a place", place);
        ok = false;
    }
    if (ok && !id && interface != DRIVE_NONE) {
        id = drive_name(interface, interface == DRIVE_IDE ? index : s->virtio_drives, cdrom);
    }
    if (ok && medium) {
        if (id) {
            set_text(opts, "id", id);
        }
        if (cdrom) {
            json_object_object_add(opts, "readonly", json_object_new_string("on"));
        }
        ok = block_open(s->machine, opts, error);
    }
    if (ok && interface != DRIVE_NONE) {
        s->ide_taken |= interface == DRIVE_IDE ? 1u << index : 0;
        s->virtio_drives += interface == DRIVE_VIRTIO;
        g_ptr_array_add(s->drive_devices, drive_device(s, interface, index, cdrom, medium, id));
    }
    json_object_put(opts);
    return ok;
}

static void device_put(gpointer device)
{
    json_object_put(device);
}

void drives_init(System *s)
{
    s->drive_devices = g_ptr_array_new_with_free_func(device_put);
}

bool drives_plug(System *s, GError **error)
{
    for (guint i = 0; i < s->drive_devices->len; i++) {
        if (!machine_device_add(s->machine, s->drive_devices->pdata[i], error)) {
            g_prefix_error(error, "-drive: ");
            return false;
        }
    }
    return true;
}
