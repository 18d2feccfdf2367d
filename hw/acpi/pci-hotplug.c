/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers by which the guest's ACPI methods hot plug PCI functions, at the ports and with the meaning that QEMU's
 * document "acpi_pci_hotplug" gives them: one bit a slot of the bus that was selected last; events are told by bit 1 of the
 * general purpose events.  As there, reading UP clears it.
 */
#include "hw/acpi/pci-hotplug.h"

#include <string.h>

enum { PCIHP_UP = 0x00, PCIHP_DOWN = 0x04, PCIHP_EJECT = 0x08, PCIHP_REMOVABLE = 0x0c, PCIHP_SELECT = 0x10 };

/* --- which buses --- */

static PciBus *hotplug_root(const AcpiPciHotplug *s)
{
    return s->dev->obj.machine->pci_bus;
}

/* NULL: a bridge on the way is not there. */
static PciBus *hotplug_bus(const AcpiPciHotplug *s, const AcpiPciHotplugBus *b)
{
    PciBus *bus = hotplug_root(s);
    for (unsigned i = 0; bus && i < b->depth; i++) {
        bus = pci_bus_below(bus, b->path[i]);
    }
    return bus;
}

static bool hotplug_serves(const AcpiPciHotplug *s, const PciBus *bus)
{
    return !bus->parent ? s->root : bus->express ? s->ports : s->bridges;
}

/* All but those with a function that belongs to the board or is a bridge. */
static uint32_t hotplug_slots(const PciBus *bus)
{
    uint32_t slots = bus->parent && bus->express ? 1 : UINT32_MAX;
    for (unsigned devfn = 0; devfn < G_N_ELEMENTS(bus->devices); devfn++) {
        if (bus->devices[devfn] && pci_model(bus->devices[devfn])->no_unplug) {
            slots &= ~(1u << PCI_SLOT(devfn));
        }
    }
    return slots;
}

static void hotplug_plugged(void *opaque, PciBus *bus, PciDevice *dev)
{
    AcpiPciHotplug *s = opaque;
    AcpiPciHotplugBus *b = &s->buses[bus->hotplug_number];
    uint32_t slot = 1u << PCI_SLOT(dev->devfn);
    if (b->slots & slot) {
        b->up |= slot;
        ich9_pm_gpe_event(s->pm, ACPI_PCIHP_GPE);
    }
}

static bool hotplug_unplug_request(void *opaque, PciBus *bus, PciDevice *dev)
{
    AcpiPciHotplug *s = opaque;
    AcpiPciHotplugBus *b = &s->buses[bus->hotplug_number];
    uint32_t slot = 1u << PCI_SLOT(dev->devfn);
    if (!(b->slots & slot)) {
        return false; /* the guest has no way to let go of it */
    }
    b->down |= slot;
    ich9_pm_gpe_event(s->pm, ACPI_PCIHP_GPE);
    return true;
}

static bool slot_is_empty(const PciBus *bus, unsigned slot)
{
    for (unsigned function = 0; function < 8; function++) {
        if (bus->devices[PCI_DEVFN(slot, function)]) {
            return false;
        }
    }
    return true;
}

static void hotplug_device_gone(void *opaque, PciBus *bus, uint8_t devfn)
{
    AcpiPciHotplugBus *b = &((AcpiPciHotplug *)opaque)->buses[bus->hotplug_number];
    if (slot_is_empty(bus, PCI_SLOT(devfn))) {
        uint32_t slot = 1u << PCI_SLOT(devfn);
        b->up &= ~slot;
        b->down &= ~slot;
        b->ejected &= ~slot;
    }
}

static const PciHotplugOps hotplug_ops = {
    .plugged = hotplug_plugged, .unplug_request = hotplug_unplug_request, .device_gone = hotplug_device_gone};

static void hotplug_attach(AcpiPciHotplug *s, PciBus *bus, unsigned number)
{
    bus->hotplug = &hotplug_ops;
    bus->hotplug_opaque = s;
    bus->hotplug_number = number;
}

static void hotplug_detach_below(PciBus *bus)
{
    bus->hotplug = NULL;
    bus->hotplug_opaque = NULL;
    for (guint i = 0; i < bus->children->len; i++) {
        hotplug_detach_below(bus->children->pdata[i]);
    }
}

void acpi_pci_hotplug_forget(AcpiPciHotplug *s)
{
    hotplug_detach_below(hotplug_root(s));
    memset(s->buses, 0, sizeof(s->buses));
    s->count = s->select = 0;
}

/* A bus before those behind it, and those in the order of their bridges: machines that are built alike number alike. */
static void hotplug_number_below(AcpiPciHotplug *s, PciBus *bus, const AcpiPciHotplugBus *place)
{
    if (hotplug_serves(s, bus) && s->count < ACPI_PCIHP_BUSES) {
        s->buses[s->count] = *place;
        s->buses[s->count].slots = hotplug_slots(bus);
        hotplug_attach(s, bus, s->count++);
    }
    for (unsigned devfn = 0; place->depth < ACPI_PCIHP_DEPTH && devfn < G_N_ELEMENTS(bus->devices); devfn++) {
        PciBus *behind = pci_bus_below(bus, (uint8_t)devfn);
        AcpiPciHotplugBus below = *place;
        if (behind) {
            below.path[below.depth++] = (uint8_t)devfn;
            hotplug_number_below(s, behind, &below);
        }
    }
}

/* --- emptying slots --- */

static void hotplug_empty_slot(PciBus *bus, unsigned slot)
{
    for (unsigned function = 0; function < 8; function++) {
        PciDevice *dev = bus->devices[PCI_DEVFN(slot, function)];
        if (dev && dev->dev.obj.started && !pci_model(dev)->no_unplug) {
            machine_device_unplug(dev->dev.obj.machine, &dev->dev);
        }
    }
}

static void hotplug_empty_slots(AcpiPciHotplugBus *b, PciBus *bus, uint32_t slots)
{
    for (unsigned slot = 0; slot < 32; slot++) {
        if (slots >> slot & 1) {
            b->ejected &= ~(1u << slot);
            hotplug_empty_slot(bus, slot);
        }
    }
}

/* Later than the guest's write, since accesses that go on have to end before a device can go. */
static void hotplug_eject(void *opaque)
{
    AcpiPciHotplug *s = opaque;
    for (unsigned i = 0; i < s->count; i++) {
        AcpiPciHotplugBus *b = &s->buses[i];
        PciBus *bus = b->ejected ? hotplug_bus(s, b) : NULL;
        if (bus) {
            hotplug_empty_slots(b, bus, b->ejected);
        }
    }
}

void acpi_pci_hotplug_reset(AcpiPciHotplug *s)
{
    const AcpiPciHotplugBus root = {0};
    if (!s->region) {
        return;
    }
    for (unsigned i = 0; i < s->count; i++) {
        AcpiPciHotplugBus *b = &s->buses[i];
        PciBus *bus = hotplug_bus(s, b);
        if (bus) {
            hotplug_empty_slots(b, bus, b->ejected | b->down);
        }
    }
    acpi_pci_hotplug_forget(s);
    hotplug_number_below(s, hotplug_root(s), &root);
}

/* --- registers --- */

static MemResult hotplug_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    AcpiPciHotplug *s = opaque;
    AcpiPciHotplugBus *b = s->select < s->count ? &s->buses[s->select] : NULL;
    *val = 0; /* EJECT: no features but the basic ones */
    switch (addr) {
    case PCIHP_UP:
        *val = b ? b->up : 0;
        if (b) {
            b->up = 0;
        }
        break;
    case PCIHP_DOWN:
        *val = b ? b->down : 0;
        break;
    case PCIHP_REMOVABLE:
        *val = b ? b->slots : 0;
        break;
    case PCIHP_SELECT:
        *val = s->select;
        break;
    default:
        break;
    }
    return MEM_OK;
}

static MemResult hotplug_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    AcpiPciHotplug *s = opaque;
    AcpiPciHotplugBus *b = s->select < s->count ? &s->buses[s->select] : NULL;
    if (addr == PCIHP_SELECT) {
        s->select = (uint32_t)val;
    } else if (addr != PCIHP_EJECT) {
        guest_error(s->dev, "write to read-only hot plug register 0x%x", (unsigned)addr);
    } else if (!b) {
        guest_error(s->dev, "eject on bus %u, which has no hot plug (allowed 0..%d)", s->select, (int)s->count - 1);
    } else {
        uint32_t slots = (uint32_t)val & b->slots;
        b->ejected |= slots;
        b->down &= ~slots;
        b->up &= ~slots;
        loop_bh_schedule(s->bh);
    }
    return MEM_OK;
}

static const MemOps hotplug_mem_ops = {.read = hotplug_read, .write = hotplug_write, .min_size = 4, .max_size = 4};

void acpi_pci_hotplug_start(AcpiPciHotplug *s)
{
    Machine *m = s->dev->obj.machine;
    if (!s->root && !s->bridges && !s->ports) {
        return;
    }
    s->region = mem_region_new_io(m->topo, "acpi-pci-hotplug", ACPI_PCIHP_SIZE, &hotplug_mem_ops, s, s->dev->home);
    s->bh = loop_bh_new(s->dev->home, hotplug_eject, s);
    mem_region_add(m->system_io, s->port, s->region);
}

void acpi_pci_hotplug_stop(AcpiPciHotplug *s)
{
    if (!s->region) {
        return;
    }
    acpi_pci_hotplug_forget(s);
    loop_bh_free(s->bh);
    mem_region_del(s->dev->obj.machine->system_io, s->region);
    mem_region_retire(s->region);
    mem_region_unref(s->region);
    s->region = NULL;
}

/* --- state --- */

static bool hotplug_bus_loaded(AcpiPciHotplug *s, unsigned number, GError **error)
{
    AcpiPciHotplugBus *b = &s->buses[number];
    PciBus *bus = b->depth <= ACPI_PCIHP_DEPTH ? hotplug_bus(s, b) : NULL;
    if (!bus || bus->hotplug) {
        error_set(error, "%s: hot plug: bus %u of the saved machine is not there, or twice (%u bridges below the root, allowed 0..%d)",
                  s->dev->obj.id, number, b->depth, ACPI_PCIHP_DEPTH);
        return false;
    }
    hotplug_attach(s, bus, number);
    for (unsigned devfn = 0; devfn < G_N_ELEMENTS(bus->devices); devfn++) {
        PciDevice *dev = bus->devices[devfn];
        if (dev && !pci_model(dev)->no_unplug) {
            dev->dev.unplug_pending = (b->down | b->ejected) >> PCI_SLOT(devfn) & 1;
        }
    }
    return true;
}

static bool hotplug_post_load(void *instance, uint32_t version, GError **error)
{
    AcpiPciHotplug *s = instance;
    if (s->count > (s->region ? ACPI_PCIHP_BUSES : 0)) {
        error_set(error, "%s: hot plug: the saved machine has %u buses with it (allowed 0..%d)", s->dev->obj.id, s->count,
                  s->region ? ACPI_PCIHP_BUSES : 0);
        s->count = 0;
        return false;
    }
    hotplug_detach_below(hotplug_root(s));
    for (unsigned i = 0; i < s->count; i++) {
        if (!hotplug_bus_loaded(s, i, error)) {
            hotplug_detach_below(hotplug_root(s));
            s->count = 0;
            return false;
        }
    }
    if (s->bh) {
        loop_bh_schedule(s->bh);
    }
    return true;
}

static const StateField hotplug_bus_fields[] = {
    STATE_FIELD_UINT(AcpiPciHotplugBus, depth), STATE_FIELD_ARRAY(AcpiPciHotplugBus, path),
    STATE_FIELD_UINT(AcpiPciHotplugBus, slots), STATE_FIELD_UINT(AcpiPciHotplugBus, up),
    STATE_FIELD_UINT(AcpiPciHotplugBus, down),  STATE_FIELD_UINT(AcpiPciHotplugBus, ejected),
    STATE_END,
};
static const StateTable hotplug_bus_state = {.name = "acpi-pci-hotplug-bus", .version = 1, .fields = hotplug_bus_fields};

static const StateField hotplug_fields[] = {
    STATE_FIELD_UINT(AcpiPciHotplug, select),
    STATE_FIELD_UINT(AcpiPciHotplug, count),
    STATE_FIELD_STRUCTS(AcpiPciHotplug, buses, &hotplug_bus_state),
    STATE_END,
};
const StateTable acpi_pci_hotplug_state = {
    .name = "acpi-pci-hotplug", .version = 1, .fields = hotplug_fields, .post_load = hotplug_post_load};
