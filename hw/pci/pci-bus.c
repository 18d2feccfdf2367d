/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Buses: creation, lookup through bridges, placing functions, INTx swizzle (PCI-to-PCI Bridge 1.2, 9.1). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hw/pci/pci-internal.h"

PciBus *pci_bus_new(Machine *machine, const char *name, const PciBusOps *ops, void *opaque, bool express, MemRegion *mem,
                    MemRegion *io, AddressSpace *dma_space)
{
    PciBus *bus = g_new0(PciBus, 1);

    bus->machine = machine;
    bus->name = g_strdup(name);
    bus->ops = ops;
    bus->opaque = opaque;
    bus->express = express;
    bus->mem = mem_region_ref(mem);
    bus->io = mem_region_ref(io);
    bus->dma_space = dma_space;
    bus->children = g_ptr_array_new();
    return bus;
}

void pci_bus_free(PciBus *bus)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(bus->devices); i++) {
        g_assert(!bus->devices[i]);
    }
    if (bus->parent) {
        g_ptr_array_remove(bus->parent->bus->children, bus);
    }
    g_ptr_array_free(bus->children, TRUE);
    mem_region_unref(bus->mem);
    mem_region_unref(bus->io);
    g_free(bus->name);
    g_free(bus);
}

static PciBus *bus_find_below(PciBus *bus, const char *id)
{
    if (!strcmp(bus->name, id) || (bus->parent && !strcmp(bus->parent->dev.obj.id, id))) {
        return bus;
    }
    for (guint i = 0; i < bus->children->len; i++) {
        PciBus *found = bus_find_below(bus->children->pdata[i], id);

        if (found) {
            return found;
        }
    }
    return NULL;
}

PciBus *pci_bus_find(Machine *machine, const char *id)
{
    return machine->pci_bus ? bus_find_below(machine->pci_bus, id) : NULL;
}

PciBus *pci_bus_below(const PciBus *bus, uint8_t devfn)
{
    for (guint i = 0; i < bus->children->len; i++) {
        PciBus *child = bus->children->pdata[i];

        if (child->parent->devfn == devfn) {
            return child;
        }
    }
    return NULL;
}

PciDevice *pci_bus_device(PciBus *bus, uint8_t bus_number, uint8_t devfn)
{
    if (bus_number == (bus->parent ? bus->number : 0)) {
        return bus->devices[devfn];
    }
    for (guint i = 0; i < bus->children->len; i++) {
        PciBus *child = bus->children->pdata[i];
        const uint8_t *bridge = child->parent->config;

        if (bridge[PCI_SECONDARY_BUS] && bus_number >= bridge[PCI_SECONDARY_BUS] &&
            bus_number <= bridge[PCI_SUBORDINATE_BUS]) {
            return pci_bus_device(child, bus_number, devfn);
        }
    }
    return NULL;
}

unsigned pci_swizzle_to_root(PciDevice *dev, unsigned pin)
{
    for (; dev->bus->parent; dev = dev->bus->parent) {
        pin = (pin + PCI_SLOT(dev->devfn)) % 4;
    }
    return pin;
}

/* "slot[.function]" in hex to devfn; -1 with *error. */
static int parse_addr(const PciDevice *dev, GError **error)
{
    char *end;
    unsigned long slot = strtoul(dev->addr, &end, 16), function = 0;

    if (end != dev->addr && *end == '.') {
        const char *digits = end + 1;

        function = strtoul(digits, &end, 16);
        end = end == digits ? dev->addr : end;
    }
    if (end == dev->addr || *end || slot > 31 || function > 7) {
        error_set(error, "-device %s: addr: not a PCI address (%s, allowed 0..1f[.0..7])", dev->dev.obj.model->name,
                  dev->addr);
        return -1;
    }
    return PCI_DEVFN(slot, function);
}

static int free_devfn(const PciBus *bus, GError **error)
{
    /* A downstream port has one slot only (PCI Express Base 4.0, 7.3.1). */
    unsigned slots = bus->parent && bus->express ? 1 : 32;

    for (unsigned slot = 0; slot < slots; slot++) {
        if (!bus->devices[PCI_DEVFN(slot, 0)]) {
            return PCI_DEVFN(slot, 0);
        }
    }
    error_set(error, "bus %s: no free slot; add a bridge or give another bus=", bus->name);
    return -1;
}

static bool bus_attach(PciBus *bus, PciDevice *dev, int devfn, GError **error)
{
    if (bus->devices[devfn]) {
        error_set(error, "-device %s: addr %02x.%x on bus %s is taken by %s", dev->dev.obj.model->name, PCI_SLOT(devfn),
                  PCI_FUNC(devfn), bus->name, bus->devices[devfn]->dev.obj.model->name);
        return false;
    }
    if (bus->parent && bus->express && PCI_SLOT(devfn)) {
        error_set(error, "-device %s: addr %02x: a port has slot 0 only", dev->dev.obj.model->name, PCI_SLOT(devfn));
        return false;
    }
    dev->bus = bus;
    dev->devfn = (uint8_t)devfn;
    bus->devices[devfn] = dev;
    return true;
}

static bool pci_place(Device *d, GError **error)
{
    PciDevice *dev = (PciDevice *)d;
    Machine *m = d->obj.machine;
    PciBus *bus = dev->bus_id ? pci_bus_find(m, dev->bus_id) : m->pci_bus;
    int devfn;

    if (!bus) {
        error_set(error, dev->bus_id ? "-device %s: bus: no PCI bus '%s' in this machine"
                                     : "-device %s: this machine has no PCI bus%s",
                  d->obj.model->name, dev->bus_id ? dev->bus_id : "");
        return false;
    }
    if (bus->ops->bus_for_device) {
        bus = bus->ops->bus_for_device(bus, dev, error);
        if (!bus) {
            return false;
        }
    }
    devfn = dev->addr ? parse_addr(dev, error) : free_devfn(bus, error);
    if (devfn >= 0 && bus_attach(bus, dev, devfn, error)) {
        return true;
    }
    if (bus->ops->device_gone) {
        bus->ops->device_gone(bus);
    }
    return false;
}

static void pci_unplace(Device *d)
{
    PciDevice *dev = (PciDevice *)d;
    PciBus *bus = dev->bus;

    if (!bus) {
        return;
    }
    bus->devices[dev->devfn] = NULL;
    dev->bus = NULL;
    if (bus->hotplug) {
        bus->hotplug->device_gone(bus->hotplug_opaque, bus, dev->devfn);
    }
    if (bus->ops->device_gone) {
        bus->ops->device_gone(bus); /* which may be the end of the bus */
    }
}

static bool pci_can_unplug(Device *d, GError **error)
{
    PciDevice *dev = (PciDevice *)d;

    if (pci_model(dev)->no_unplug) {
        error_set(error, "Device '%s' cannot be unplugged: %s has no hot plug", d->obj.id, d->obj.model->name);
        return false;
    }
    return !dev->bus->ops->can_unplug || dev->bus->ops->can_unplug(dev->bus, dev, error);
}

static bool pci_unplug_request(Device *d)
{
    PciDevice *dev = (PciDevice *)d;
    PciBus *bus = dev->bus;

    if (bus->hotplug) {
        return bus->hotplug->unplug_request(bus->hotplug_opaque, bus, dev);
    }
    return bus->ops->unplug_request && bus->ops->unplug_request(bus, dev);
}

void pci_bus_announce(PciDevice *dev)
{
    PciBus *bus = dev->bus;

    if (bus->ops->plugged) {
        bus->ops->plugged(bus, dev);
    }
    if (bus->hotplug) {
        bus->hotplug->plugged(bus->hotplug_opaque, bus, dev);
    }
}

PciDevice *pci_create(PciBus *bus, int devfn, const PciModel *model, const char *id, GError **error, ...)
{
    Machine *m = bus->machine;
    Object *parent = object_container(object_container(m->root, "machine"), "unattached");
    PciDevice *dev = (PciDevice *)object_new(&model->dev, m, parent, id, error);
    const char *name;
    bool ok = dev != NULL;
    va_list ap;

    if (!dev) {
        return NULL;
    }
    dev->dev.home = m->main_loop;
    va_start(ap, error);
    while (ok && (name = va_arg(ap, const char *))) {
        ok = object_set_str(&dev->dev.obj, name, va_arg(ap, const char *), error);
    }
    va_end(ap);
    if (!ok || !bus_attach(bus, dev, devfn, error)) {
        object_free(&dev->dev.obj);
        return NULL;
    }
    if (!device_start(&dev->dev, error)) {
        pci_unplace(&dev->dev);
        object_free(&dev->dev.obj);
        return NULL;
    }
    return dev;
}

static const Prop pci_common_props[] = {
    PROP_STR("addr", PciDevice, addr, NULL, "Slot and function on the bus, hex: SLOT[.FN]"),
    PROP_STR("bus", PciDevice, bus_id, NULL, "Bus to plug into: its name, or the id of a bridge"),
    PROP_STR("romfile", PciDevice, romfile, NULL, "Option ROM image; empty: none"),
    PROP_BOOL("rombar", PciDevice, rombar, true, "Show the option ROM in a BAR"),
    PROP_BOOL("multifunction", PciDevice, multifunction, false, "Other functions share the slot"),
    {.name = "bootindex", .type = &prop_int32, .offset = offsetof(PciDevice, bootindex), .def = UINT64_MAX,
     .doc = "Place in the boot order; -1: none"},
    PROP_END,
};

static char *pci_where(const Device *dev)
{
    const PciDevice *pci = (const PciDevice *)dev;
    GString *text = g_string_new(NULL);

    g_string_printf(text, "%s %02x.%x", pci->bus->name, PCI_SLOT(pci->devfn), PCI_FUNC(pci->devfn));
    for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
        if (pci->bars[n].region && !dev->obj.model->move) { /* a part elsewhere says better what differs */
            g_string_append_printf(text, ", BAR %u of %" PRIu64 " bytes", n, mem_region_size(pci->bars[n].region));
        }
    }
    return g_string_free(text, FALSE);
}

const DeviceKindOps pci_kind_ops = {
    .props = pci_common_props,
    .place = pci_place,
    .unplace = pci_unplace,
    .start = pci_device_start,
    .reset = pci_device_reset,
    .stop = pci_device_stop,
    .can_unplug = pci_can_unplug,
    .unplug_request = pci_unplug_request,
    .where = pci_where,
};
