/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Places in the boot order: the property "bootindex" of whatever device has one. */
#include <string.h>

#include "core/error.h"
#include "core/internal.h"

static const Prop *find_prop(const Prop *p)
{
    while (p && p->name && strcmp(p->name, "bootindex")) {
        p++;
    }
    return p && p->name && p->type == &prop_int32 ? p : NULL;
}

int32_t device_bootindex(const Device *dev)
{
    const DeviceKindOps *ops = machine_kind_ops(dev->obj.machine, dev->obj.model->kind);
    const Prop *p = find_prop(dev->obj.model->props);

    p = p || !ops ? p : find_prop(ops->props);
    return p ? *(const int32_t *)(const void *)((const uint8_t *)dev + p->offset) : -1;
}

static bool is_device(const Object *obj)
{
    return obj->model->kind == MODEL_DEVICE || obj->model->kind == MODEL_PCI;
}

/* Another device below `obj` that has this place, or NULL. */
static const Object *find_holder(const Object *obj, const Device *but, int32_t index)
{
    const Object *found = NULL;

    if (is_device(obj) && obj != &but->obj && device_bootindex((const Device *)obj) == index) {
        return obj;
    }
    for (guint i = 0; !found && i < obj->children->len; i++) {
        found = find_holder(obj->children->pdata[i], but, index);
    }
    return found;
}

bool device_check_bootindex(const Device *dev, GError **error)
{
    int32_t index = device_bootindex(dev);
    const Object *holder = index < 0 ? NULL : find_holder(&dev->obj.machine->obj, dev, index);

    if (holder) {
        error_set(error, "%s: bootindex of '%s' is that of '%s' (%d); give each device another one",
                  dev->obj.model->name, dev->obj.id, holder->id, index);
    }
    return !holder;
}
