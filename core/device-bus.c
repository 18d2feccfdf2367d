/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Buses that devices have for other devices, found by the name that -device's bus= gives. */
#include <string.h>

#include "core/error.h"
#include "core/internal.h"

static DeviceBus *bus_named(Machine *m, const char *name)
{
    GPtrArray *buses = machine_device_buses(m);

    for (guint i = 0; i < buses->len; i++) {
        DeviceBus *bus = buses->pdata[i];

        if (!strcmp(bus->name, name)) {
            return bus;
        }
    }
    return NULL;
}

static bool has_own_id(const Device *dev)
{
    return !strchr(dev->obj.id, '[');
}

static char *bus_free_name(Machine *m, const char *type)
{
    g_autofree char *stem = g_ascii_strdown(type, -1);

    for (unsigned n = 0;; n++) {
        g_autofree char *name = g_strdup_printf("%s.%u", stem, n);

        if (!bus_named(m, name)) {
            return g_steal_pointer(&name);
        }
    }
}

DeviceBus *device_bus_new(Device *owner, const char *type, unsigned index, void *impl)
{
    DeviceBus *bus = g_new0(DeviceBus, 1);

    bus->type = type;
    bus->owner = owner;
    bus->impl = impl;
    bus->name = has_own_id(owner) ? g_strdup_printf("%s.%u", owner->obj.id, index)
                                  : bus_free_name(owner->obj.machine, type);
    g_ptr_array_add(machine_device_buses(owner->obj.machine), bus);
    return bus;
}

void device_bus_free(DeviceBus *bus)
{
    if (bus) {
        g_ptr_array_remove(machine_device_buses(bus->owner->obj.machine), bus);
        g_free(bus->name);
        g_free(bus);
    }
}

DeviceBus *device_bus_find(Machine *machine, const char *type, const char *name, GError **error)
{
    GPtrArray *buses = machine_device_buses(machine);
    g_autoptr(GString) names = g_string_new(NULL);

    for (guint i = 0; i < buses->len; i++) {
        DeviceBus *bus = buses->pdata[i];

        if (strcmp(bus->type, type)) {
            continue;
        }
        if (!name || !strcmp(bus->name, name)) {
            return bus;
        }
        g_string_append_printf(names, "%s%s", names->len ? ", " : "", bus->name);
    }
    if (names->len) {
        error_set(error, "bus: no %s bus '%s' (there are %s)", type, name, names->str);
    } else {
        error_set(error, "bus: this machine has no %s bus; add its controller before it", type);
    }
    return NULL;
}

DeviceBus *device_bus_of(const Device *owner, const char *type)
{
    GPtrArray *buses = machine_device_buses(owner->obj.machine);

    for (guint i = 0; i < buses->len; i++) {
        DeviceBus *bus = buses->pdata[i];

        if (bus->owner == owner && !strcmp(bus->type, type)) {
            return bus;
        }
    }
    return NULL;
}
