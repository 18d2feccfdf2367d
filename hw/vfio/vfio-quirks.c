/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What single devices need besides what the specifications say: a table of ids and functions, for every back
 * end alike. It is looked up by the ids the device itself has, whatever the guest is shown.  To add one: a
 * VfioQuirk in the table below, its functions beside it; a back end that knows its own devices may bring a
 * table (VfioPciDevice.quirks).
 */
#include "hw/vfio/vfio-internal.h"

static const VfioQuirk vfio_quirks[] = {
    {.name = NULL},
};

static bool quirk_matches(const VfioQuirk *q, const VfioPciDevice *dev)
{
    return (q->vendor == VFIO_QUIRK_ANY || q->vendor == dev->own_vendor) &&
           (q->device == VFIO_QUIRK_ANY || q->device == dev->own_device);
}

static bool table_start(VfioPciDevice *dev, const VfioQuirk *table, GError **error)
{
    for (const VfioQuirk *q = table; q && q->name; q++) {
        if (!quirk_matches(q, dev)) {
            continue;
        }
        if (!q->start(dev, error)) {
            g_prefix_error(error, "%s: quirk %s: ", dev->vdev.name, q->name);
            return false;
        }
        dev->active_quirks = g_slist_prepend(dev->active_quirks, (gpointer)q);
    }
    return true;
}

bool vfio_quirks_start(VfioPciDevice *dev, GError **error)
{
    return table_start(dev, dev->quirks, error) && table_start(dev, vfio_quirks, error);
}

void vfio_quirks_stop(VfioPciDevice *dev)
{
    while (dev->active_quirks) {
        const VfioQuirk *q = dev->active_quirks->data;

        dev->active_quirks = g_slist_delete_link(dev->active_quirks, dev->active_quirks);
        if (q->stop) {
            q->stop(dev);
        }
    }
}
