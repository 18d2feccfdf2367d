/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ISA bus as an object of the machine: where ISA devices find ports and
 * interrupt lines, and where two devices on one line are refused.
 */
#include "hw/isa/isa.h"

#define ISA_BUS_ID     "isa.0"
#define ISA_PORT_COUNT 0x10000u

const ObjectModel isa_bus_model = {
    .model = {.name = "isa-bus",
              .doc = "ISA bus of a PC: port space and sixteen interrupt lines.",
              .kind = MODEL_OBJECT,
              .size = sizeof(IsaBus),
              .internal = true},
};

IsaBus *isa_bus_new(Machine *machine, MemRegion *io, GError **error)
{
    Object *obj = object_new(&isa_bus_model.model, machine, &machine->obj, ISA_BUS_ID, error);
    if (!obj) {
        return NULL;
    }
    IsaBus *bus = (IsaBus *)obj;
    bus->io = io;
    return bus;
}

IsaBus *isa_bus_find(Machine *machine, const char *who, GError **error)
{
    Object *obj = object_child(&machine->obj, ISA_BUS_ID);
    if (!obj || obj->model != &isa_bus_model.model) {
        error_set(error, "%s: machine %s has no ISA bus; use a PC machine such as q35", who,
                  machine->obj.model->name);
        return NULL;
    }
    return (IsaBus *)obj;
}

bool isa_claim_irq(IsaBus *bus, Device *dev, unsigned irq, IrqLine **line, GError **error)
{
    const char *who = dev->obj.model->name;
    if (irq >= ISA_IRQ_COUNT) {
        error_set(error, "%s: no such ISA interrupt (irq=%u, allowed 0..%d)", who, irq, ISA_IRQ_COUNT - 1);
        return false;
    }
    if (bus->irq_user[irq] && bus->irq_user[irq] != dev) {
        error_set(error, "%s: ISA interrupt %u is used by %s; choose another irq=", who, irq,
                  bus->irq_user[irq]->obj.model->name);
        return false;
    }
    bus->irq_user[irq] = dev;
    *line = bus->irq[irq];
    return true;
}

void isa_release_irq(IsaBus *bus, Device *dev, unsigned irq)
{
    if (irq < ISA_IRQ_COUNT && bus->irq_user[irq] == dev) {
        bus->irq_user[irq] = NULL;
    }
}

bool isa_check_ports(IsaBus *bus, Device *dev, const char *prop, uint32_t port, uint32_t size, GError **error)
{
    const char *who = dev->obj.model->name;
    if (size > ISA_PORT_COUNT || port > ISA_PORT_COUNT - size) {
        error_set(error, "%s: ports end at 0x%x (%s=0x%x and %u ports)", who, ISA_PORT_COUNT - 1, prop ? prop : "port",
                  port, size);
        return false;
    }
    for (uint32_t i = port; i < port + size; i++) {
        MemSection section;
        if (as_lookup(dev->obj.machine->io, i, &section)) {
            error_set(error, prop ? "%s: port 0x%x belongs to %s; choose another %s=" : "%s: port 0x%x belongs to %s%s", who, i,
                      mem_region_name(section.region), prop ? prop : "");
            return false;
        }
    }
    return true;
}

MemRegion *isa_map_ports(IsaBus *bus, Device *dev, const char *name, uint16_t port, unsigned size,
                         const MemOps *ops, void *opaque)
{
    MemRegion *region = mem_region_new_io(dev->obj.machine->topo, name, size, ops, opaque, dev->home);
    mem_region_add(bus->io, port, region);
    return region;
}

void isa_unmap_ports(IsaBus *bus, MemRegion **region)
{
    if (!*region) {
        return;
    }
    mem_region_del(bus->io, *region);
    mem_region_retire(*region);
    mem_region_unref(*region);
    *region = NULL;
}
