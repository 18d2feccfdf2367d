/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices with a part in another process: each step of a move, for all of them. */
#include "migration/remote.h"

#include <string.h>

#include "core/device.h"
#include "core/error.h"

typedef bool RemoteFn(Device *dev, unsigned index, void *opaque, GError **error);

typedef struct Walk {
    RemoteFn *fn;
    void *opaque;
    unsigned index;
    bool all; /* go on after an error */
    GError *error; /* the first */
} Walk;

static void visit(Device *dev, void *opaque)
{
    Walk *w = opaque;
    unsigned index = w->index++;
    GError *error = NULL;

    if (!dev->obj.model->move || (w->error && !w->all) || w->fn(dev, index, w->opaque, &error)) {
        return;
    }
    g_prefix_error(&error, "device '%s' (%s): ", dev->obj.id, dev->obj.model->name);
    if (w->error) {
        g_error_free(error);
    } else {
        w->error = error;
    }
}

static bool each(Machine *m, RemoteFn *fn, void *opaque, bool all, GError **error)
{
    Walk w = {.fn = fn, .opaque = opaque, .all = all};

    machine_each_device(m, visit, &w);
    if (w.error) {
        g_propagate_error(error, w.error);
    }
    return !w.error;
}

/* --- pieces --- */

static void add_pieces(GPtrArray *pieces, unsigned index, const GByteArray *data)
{
    uint32_t le = GUINT32_TO_LE(index);

    for (guint at = 0; at < data->len; at += MIG_PIECE_MAX) {
        GByteArray *piece = mig_pieces_add(pieces, MIG_REMOTE)->data;

        g_byte_array_append(piece, (const guint8 *)&le, sizeof(le));
        g_byte_array_append(piece, data->data + at, MIN(data->len - at, MIG_PIECE_MAX));
    }
}

/* --- source --- */

static bool one_possible(Device *dev, unsigned index, void *opaque, GError **error)
{
    return dev->obj.model->move->possible(dev, error);
}

bool mig_remote_possible(Machine *m, GError **error)
{
    return each(m, one_possible, NULL, false, error);
}

static bool one_begin(Device *dev, unsigned index, void *opaque, GError **error)
{
    g_autoptr(GByteArray) head = g_byte_array_new();

    if (!dev->obj.model->move->begin(dev, head, error)) {
        return false;
    }
    add_pieces(opaque, index, head);
    return true;
}

bool mig_remote_begin(Machine *m, GPtrArray *pieces, GError **error)
{
    return each(m, one_begin, pieces, false, error);
}

static bool one_sync(Device *dev, unsigned index, void *opaque, GError **error)
{
    return dev->obj.model->move->sync(dev, error);
}

bool mig_remote_sync(Machine *m, GError **error)
{
    return each(m, one_sync, NULL, false, error);
}

typedef struct Saving {
    GPtrArray *pieces, *costs;
} Saving;

static void add_cost(const Saving *s, unsigned index, uint64_t bytes, int64_t begin)
{
    MigrationDevice *cost = g_ptr_array_index(s->costs, index);

    cost->bytes += bytes;
    cost->us += (uint64_t)(g_get_monotonic_time() - begin);
}

static bool one_stop(Device *dev, unsigned index, void *opaque, GError **error)
{
    int64_t begin = g_get_monotonic_time();
    bool ok = dev->obj.model->move->stop(dev, error);

    add_cost(opaque, index, 0, begin);
    return ok;
}

bool mig_remote_stop(Machine *m, GPtrArray *costs, GError **error)
{
    Saving saving = {.costs = costs};

    return each(m, one_stop, &saving, false, error) && mig_remote_sync(m, error);
}

static bool one_save(Device *dev, unsigned index, void *opaque, GError **error)
{
    const Saving *saving = opaque;
    g_autoptr(GByteArray) data = g_byte_array_new();
    int64_t begin = g_get_monotonic_time();

    if (!dev->obj.model->move->save(dev, data, error)) {
        return false;
    }
    add_pieces(saving->pieces, index, data);
    add_cost(saving, index, data->len, begin);
    return true;
}

bool mig_remote_save(Machine *m, GPtrArray *pieces, GPtrArray *costs, GError **error)
{
    return each(m, one_save, &(Saving){pieces, costs}, false, error);
}

static bool one_let_go(Device *dev, unsigned index, void *opaque, GError **error)
{
    if (dev->obj.model->move->let_go) {
        dev->obj.model->move->let_go(dev);
    }
    return true;
}

void mig_remote_let_go(Machine *m)
{
    each(m, one_let_go, NULL, false, NULL);
}

static bool one_run(Device *dev, unsigned index, void *opaque, GError **error)
{
    return dev->obj.model->move->run(dev, error);
}

bool mig_remote_run(Machine *m, GError **error)
{
    return each(m, one_run, NULL, true, error);
}

/* --- destination --- */

typedef struct Arrival {
    const Device *dev;
    const uint8_t *data;
    size_t len;
} Arrival;

static bool one_load(Device *dev, unsigned index, void *opaque, GError **error)
{
    const Arrival *a = opaque;

    return dev != a->dev || dev->obj.model->move->load(dev, a->data, a->len, error);
}

bool mig_remote_load(Machine *m, const MigLayout *layout, const GByteArray *record, GError **error)
{
    const char *section;
    const Device *dev;
    uint32_t index;

    if (record->len < sizeof(index)) {
        error_set(error, "it has %u bytes", record->len);
        return false;
    }
    memcpy(&index, record->data, sizeof(index));
    index = GUINT32_FROM_LE(index);
    dev = mig_layout_device(layout, m, index, &section);
    if (!dev || !dev->obj.model->move) {
        error_set(error, "device %u has no part elsewhere", index);
        return false;
    }
    return each(m, one_load, &(Arrival){dev, record->data + sizeof(index), record->len - sizeof(index)}, false, error);
}

static bool one_take(Device *dev, unsigned index, void *opaque, GError **error)
{
    return !dev->obj.model->move->take || dev->obj.model->move->take(dev, error);
}

bool mig_remote_take(Machine *m, GError **error)
{
    return each(m, one_take, NULL, false, error);
}

static bool one_loaded(Device *dev, unsigned index, void *opaque, GError **error)
{
    return dev->obj.model->move->loaded(dev, error);
}

bool mig_remote_loaded(Machine *m, GError **error)
{
    return each(m, one_loaded, NULL, false, error);
}
