/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ISA bus as an object of the machine: where ISA devices find ports and
 * interrupt lines.  Devices may share a line, as COM1 and COM3 of a PC do: it is high while one of them says so.
 */
#include "hw/isa/isa.h"

#define ISA_BUS_ID     "isa.0"
#define ISA_PORT_COUNT 0x10000u

struct IsaIrqUser {
    IsaIrqUser *next;
    IsaBus *bus;
    const Device *dev;
    unsigned irq;
    bool high;
    IrqLine **line; /* an array of one */
};

static void irq_user_set(void *opaque, int n, int level)
{
    IsaIrqUser *user = opaque;
    bool high = false;

    user->high = level;
    for (const IsaIrqUser *other = user->bus->irq_users; other; other = other->next) {
        high |= other->irq == user->irq && other->high;
    }
    irq_set(user->bus->irq[user->irq], high);
}

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
    IsaIrqUser *user;

    if (irq >= ISA_IRQ_COUNT) {
        error_set(error, "%s: no such ISA interrupt (irq=%u, allowed 0..%d)", dev->obj.model->name, irq, ISA_IRQ_COUNT - 1);
        return false;
    }
    user = g_new0(IsaIrqUser, 1);
    *user = (IsaIrqUser){.next = bus->irq_users, .bus = bus, .dev = dev, .irq = irq};
    user->line = irq_new_array(irq_user_set, user, 1);
    bus->irq_users = user;
    *line = user->line[0];
    return true;
}

void isa_release_irq(IsaBus *bus, const Device *dev, unsigned irq)
{
    IsaIrqUser **at = &bus->irq_users, *user;

    while (*at && ((*at)->dev != dev || (*at)->irq != irq)) {
        at = &(*at)->next;
    }
    user = *at;
    if (!user) {
        return;
    }
    irq_lower(user->line[0]);
    *at = user->next;
    irq_free_array(user->line, 1);
    g_free(user);
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
