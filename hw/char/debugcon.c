/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The debug console of the Bochs and QEMU tradition: bytes written to a port go to a character device, and reading
 * the port gives a byte by which firmware knows that it is there.
 */
#include "chardev/chardev.h"
#include "hw/isa/isa.h"

typedef struct DebugCon {
    Device dev;
    /* properties */
    Chardev *chr;
    uint32_t iobase, readback;

    IsaBus *bus;
    MemRegion *region;
} DebugCon;

static MemResult debugcon_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = ((DebugCon *)opaque)->readback;
    return MEM_OK;
}

static MemResult debugcon_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    DebugCon *s = opaque;
    uint8_t byte = (uint8_t)val;
    if (s->chr) {
        chardev_write(s->chr, &byte, 1);
    }
    return MEM_OK;
}

static const MemOps debugcon_ops = {.read = debugcon_read, .write = debugcon_write, .min_size = 1, .max_size = 1};

/* The port has no input. */
static size_t debugcon_can_read(void *opaque)
{
    return 0;
}

static void debugcon_read_input(void *opaque, const uint8_t *buf, size_t len)
{
}

static void debugcon_event(void *opaque, ChardevEvent event)
{
}

static bool debugcon_start(Device *dev, GError **error)
{
    DebugCon *s = (DebugCon *)dev;
    const ChardevFrontend frontend = {
        .can_read = debugcon_can_read, .read = debugcon_read_input, .event = debugcon_event, .opaque = s};
    s->bus = isa_bus_find(dev->obj.machine, "isa-debugcon", error);
    if (!s->bus || !isa_check_ports(s->bus, dev, "iobase", s->iobase, 1, error)) {
        return false;
    }
    if (s->chr && !chardev_attach(s->chr, &frontend, error)) {
        return false;
    }
    s->region = isa_map_ports(s->bus, dev, "isa-debugcon", (uint16_t)s->iobase, 1, &debugcon_ops, s);
    return true;
}

static void debugcon_stop(Device *dev)
{
    DebugCon *s = (DebugCon *)dev;
    isa_unmap_ports(s->bus, &s->region);
    if (s->chr) {
        chardev_detach(s->chr, s);
    }
}

static const Prop debugcon_props[] = {
    {.name = "chardev",
     .type = &prop_chardev,
     .offset = offsetof(DebugCon, chr),
     .doc = "id of a character device"},
    PROP_U32("iobase", DebugCon, iobase, 0xe9, 1, 0xffff, "port"),
    PROP_U32("readback", DebugCon, readback, 0xe9, 0, 0xff, "what reading the port gives"),
    PROP_END,
};

const DeviceModel isa_debugcon_model = {
    .model = {.name = "isa-debugcon",
              .doc = "Debug console: bytes written to a port go to a character device.",
              .kind = MODEL_DEVICE,
              .size = sizeof(DebugCon),
              .props = debugcon_props,
              .state = &state_none},
    .start = debugcon_start,
    .stop = debugcon_stop,
};
