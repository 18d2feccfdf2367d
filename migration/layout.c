/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices of a stream and of the machine, matched by names that stay when a board grows. */
#include "migration/layout.h"

#include <json-c/json.h>
#include <string.h>

#include "core/error.h"

/* Numbered in the order in which a board makes them: the number says nothing about what it is. */
#define BOARD_PREFIX    "/machine/unattached/"
#define NUMBERED_PREFIX BOARD_PREFIX "device["

struct MigLayout {
    GPtrArray *names; /* char *, in the order of the stream */
    GPtrArray *paths; /* char * */
};

/* --- names --- */

/* Of devices given in order. */
typedef struct Namer {
    GHashTable *seen; /* char *model -> how many so far */
} Namer;

static Namer namer_new(void)
{
    return (Namer){g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL)};
}

/* "MODEL PATH" becomes the name: MODEL[N] of a board's. */
static char *namer_name(Namer *namer, const char *text)
{
    const char *space = strchr(text, ' ');
    g_autofree char *model = NULL;
    guint number;

    if (!space || !g_str_has_prefix(space + 1, NUMBERED_PREFIX)) {
        return g_strdup(text);
    }
    model = g_strndup(text, (gsize)(space - text));
    number = GPOINTER_TO_UINT(g_hash_table_lookup(namer->seen, model));
    g_hash_table_insert(namer->seen, g_strdup(model), GUINT_TO_POINTER(number + 1));
    return g_strdup_printf("%s[%u]", model, number);
}

static char *device_text(const Device *dev)
{
    g_autofree char *path = object_path(&dev->obj);

    return g_strdup_printf("%s %s", dev->obj.model->name, path);
}

/* NULL: none of its own. */
static char *device_place(const Device *dev)
{
    const DeviceKindOps *ops = machine_kind_ops(dev->obj.machine, dev->obj.model->kind);

    return ops && ops->where ? ops->where(dev) : NULL;
}

static void collect_device(Device *dev, void *list)
{
    g_ptr_array_add(list, dev);
}

GPtrArray *mig_devices(Machine *m)
{
    GPtrArray *list = g_ptr_array_new();

    machine_each_device(m, collect_device, list);
    return list;
}

/* Of the machine's devices: char *name -> Device *. */
static GHashTable *names_here(Machine *m)
{
    GHashTable *names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GPtrArray) devices = mig_devices(m);
    Namer namer = namer_new();

    for (guint i = 0; i < devices->len; i++) {
        g_autofree char *text = device_text(devices->pdata[i]);

        g_hash_table_insert(names, namer_name(&namer, text), devices->pdata[i]);
    }
    g_hash_table_destroy(namer.seen);
    return names;
}

void mig_layout_describe(Machine *m, struct json_object *description)
{
    struct json_object *list = json_object_new_array(), *places = json_object_new_object();
    g_autoptr(GPtrArray) devices = mig_devices(m);
    Namer namer = namer_new();

    for (guint i = 0; i < devices->len; i++) {
        g_autofree char *text = device_text(devices->pdata[i]);
        g_autofree char *name = namer_name(&namer, text), *place = device_place(devices->pdata[i]);

        json_object_array_add(list, json_object_new_string(text));
        if (place) {
            json_object_object_add(places, name, json_object_new_string(place));
        }
    }
    g_hash_table_destroy(namer.seen);
    json_object_object_add(description, "board", json_object_new_int(MACHINE_BOARD_VERSION));
    json_object_object_add(description, "devices", list);
    json_object_object_add(description, "places", places);
}

/* --- comparing --- */

void mig_layout_free(MigLayout *layout)
{
    if (layout) {
        g_ptr_array_unref(layout->names);
        g_ptr_array_unref(layout->paths);
        g_free(layout);
    }
}

static MigLayout *layout_parse(struct json_object *list)
{
    MigLayout *layout = g_new0(MigLayout, 1);
    Namer namer = namer_new();

    layout->names = g_ptr_array_new_with_free_func(g_free);
    layout->paths = g_ptr_array_new_with_free_func(g_free);
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        const char *text = json_object_get_string(json_object_array_get_idx(list, i)), *space;

        text = text ? text : "null";
        space = strchr(text, ' ');
        g_ptr_array_add(layout->names, namer_name(&namer, text));
        g_ptr_array_add(layout->paths, g_strdup(space ? space + 1 : ""));
    }
    g_hash_table_destroy(namer.seen);
    return layout;
}

static bool same_place(const Device *dev, const char *name, struct json_object *places, GError **error)
{
    g_autofree char *ours = device_place(dev);
    const char *theirs = json_object_get_string(json_object_object_get(places, name));

    if (ours && theirs && strcmp(ours, theirs)) {
        error_set(error, "device '%s' of the source is at '%s', here at '%s'; start the destination with the source's command line",
                  name, theirs, ours);
        return false;
    }
    return true;
}

/* Takes those of the stream out of `here`.  places: NULL, earlier releases did not say. */
static bool take_theirs(const MigLayout *layout, struct json_object *places, GHashTable *here, GError **error)
{
    for (guint i = 0; i < layout->names->len; i++) {
        const char *name = layout->names->pdata[i];
        const Device *dev = g_hash_table_lookup(here, name);

        if (!dev) {
            error_set(error, "device '%s' of the source is not here; start the destination with the source's command "
                      "line", name);
            return false;
        }
        if (!same_place(dev, name, places, error)) {
            return false;
        }
        g_hash_table_remove(here, name);
    }
    return true;
}

static bool new_in_board(const Device *dev, int board)
{
    g_autofree char *path = object_path(&dev->obj);

    return g_str_has_prefix(path, BOARD_PREFIX) && (int)dev->obj.model->state->board_since > board;
}

/* What is left `here` has come to the board since. */
static bool rest_is_new(GHashTable *here, int board, GError **error)
{
    GHashTableIter iter;
    void *name, *dev;

    g_hash_table_iter_init(&iter, here);
    while (g_hash_table_iter_next(&iter, &name, &dev)) {
        if (!new_in_board(dev, board)) {
            error_set(error, "device '%s' here is not in the source; start the destination with the source's command "
                      "line", (const char *)name);
            return false;
        }
    }
    return true;
}

/* The first boards did not say. */
static int board_version(struct json_object *description)
{
    struct json_object *value;

    return json_object_object_get_ex(description, "board", &value) ? json_object_get_int(value) : 1;
}

MigLayout *mig_layout_new(Machine *m, struct json_object *description, GError **error)
{
    struct json_object *list = NULL, *places = NULL;
    int board = board_version(description);
    GHashTable *here;
    MigLayout *layout;

    json_object_object_get_ex(description, "devices", &list);
    if (!json_object_is_type(list, json_type_array)) {
        error_set(error, "the stream's description has no devices");
        return NULL;
    }
    if (board < 1 || board > MACHINE_BOARD_VERSION) {
        error_set(error, "the source's board is of version %d (this program's are of 1 to %d)", board,
                  MACHINE_BOARD_VERSION);
        return NULL;
    }
    json_object_object_get_ex(description, "places", &places);
    layout = layout_parse(list);
    here = names_here(m);
    if (!take_theirs(layout, places, here, error) || !rest_is_new(here, board, error)) {
        g_clear_pointer(&layout, mig_layout_free);
    }
    g_hash_table_destroy(here);
    return layout;
}

/* --- use --- */

unsigned mig_layout_count(const MigLayout *layout)
{
    return layout->names->len;
}

Device *mig_layout_device(const MigLayout *layout, Machine *m, unsigned index, const char **section)
{
    GHashTable *here;
    Device *dev;

    if (index >= layout->names->len) {
        return NULL;
    }
    here = names_here(m);
    dev = g_hash_table_lookup(here, layout->names->pdata[index]);
    *section = layout->paths->pdata[index];
    g_hash_table_destroy(here);
    return dev;
}
