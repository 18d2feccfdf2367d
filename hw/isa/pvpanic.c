/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pvpanic: a port by which a guest's kernel says that it has panicked, or that it panicked and will load a
 * kernel that saves what is left.  Reading it gives what it takes.
 */
#include <json-c/json.h>

#include "hw/isa/isa.h"

#define PVPANIC_PANICKED     0x01
#define PVPANIC_CRASH_LOADED 0x02

typedef struct PvPanic {
    Device dev;
    uint32_t ioport; /* properties */
    uint8_t events;
    IsaBus *bus;
    MemRegion *region;
} PvPanic;

static MemResult pvpanic_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = ((PvPanic *)opaque)->events;
    return MEM_OK;
}

static void pvpanic_crash_loaded(Machine *m)
{
    struct json_object *data = json_object_new_object();
    json_object_object_add(data, "action", json_object_new_string("run"));
    machine_emit_event(m, "GUEST_CRASHLOADED", data);
}

static MemResult pvpanic_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    PvPanic *s = opaque;
    if (val & ~(uint64_t)(PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)) {
        guest_error(&s->dev, "unknown event 0x%x", (unsigned)val);
    }
    if (val & PVPANIC_PANICKED) {
        machine_guest_panicked(s->dev.obj.machine, NULL);
    } else if (val & PVPANIC_CRASH_LOADED) {
        pvpanic_crash_loaded(s->dev.obj.machine);
    }
    return MEM_OK;
}

static const MemOps pvpanic_ops = {
    .read = pvpanic_read, .write = pvpanic_write, .min_size = 1, .max_size = 1};

static bool pvpanic_start(Device *dev, GError **error)
{
    PvPanic *s = (PvPanic *)dev;
    s->bus = isa_bus_find(dev->obj.machine, "pvpanic", error);
    if (!s->bus || !isa_check_ports(s->bus, dev, "ioport", s->ioport, 1, error)) {
        return false;
    }
    s->region = isa_map_ports(s->bus, dev, "pvpanic", (uint16_t)s->ioport, 1, &pvpanic_ops, s);
    return true;
}

static void pvpanic_stop(Device *dev)
{
    PvPanic *s = (PvPanic *)dev;
    isa_unmap_ports(s->bus, &s->region);
}

static const Prop pvpanic_props[] = {
    PROP_U32("ioport", PvPanic, ioport, 0x505, 1, 0xffff, "port"),
    PROP_U8("events", PvPanic, events, PVPANIC_PANICKED | PVPANIC_CRASH_LOADED, 0, 3,
            "what the guest is told it may say: 1 panicked, 2 a crash kernel was loaded"),
    PROP_END,
};

const DeviceModel pvpanic_model = {
    .model = {.name = "pvpanic",
              .doc = "A port by which the guest says that it has panicked.",
              .kind = MODEL_DEVICE,
              .size = sizeof(PvPanic),
              .props = pvpanic_props,
              .state = &state_none},
    .start = pvpanic_start,
    .stop = pvpanic_stop,
};
