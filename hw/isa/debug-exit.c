/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The port by which test kernels end the emulator: a value v written to it makes the exit code 2v + 1, so
 * that a kernel can say how it went, and never looks like a clean power-off.
 */
#include "hw/isa/isa.h"

typedef struct DebugExit {
    Device dev;
    uint32_t iobase, iosize; /* properties */
    IsaBus *bus;
    MemRegion *region;
} DebugExit;

static MemResult debug_exit_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = 0;
    return MEM_OK;
}

static MemResult debug_exit_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    DebugExit *s = opaque;
    machine_request_shutdown(s->dev.obj.machine, SHUTDOWN_GUEST_SHUTDOWN, (int)(val << 1 | 1));
    return MEM_OK;
}

static const MemOps debug_exit_ops = {
    .read = debug_exit_read, .write = debug_exit_write, .min_size = 1, .max_size = 4};

static bool debug_exit_start(Device *dev, GError **error)
{
    DebugExit *s = (DebugExit *)dev;
    s->bus = isa_bus_find(dev->obj.machine, "isa-debug-exit", error);
    if (!s->bus || !isa_check_ports(s->bus, dev, "iobase", s->iobase, s->iosize, error)) {
        return false;
    }
    s->region =
        isa_map_ports(s->bus, dev, "isa-debug-exit", (uint16_t)s->iobase, s->iosize, &debug_exit_ops, s);
    return true;
}

static void debug_exit_stop(Device *dev)
{
    DebugExit *s = (DebugExit *)dev;
    isa_unmap_ports(s->bus, &s->region);
}

static const Prop debug_exit_props[] = {
    PROP_U32("iobase", DebugExit, iobase, 0x501, 1, 0xffff, "first port"),
    PROP_U32("iosize", DebugExit, iosize, 2, 1, 8, "ports"),
    PROP_END,
};

const DeviceModel isa_debug_exit_model = {
    .model = {.name = "isa-debug-exit",
              .doc = "A value v written to its port ends the emulator with exit code 2v + 1.",
              .kind = MODEL_DEVICE,
              .size = sizeof(DebugExit),
              .props = debug_exit_props,
              .state = &state_none},
    .start = debug_exit_start,
    .stop = debug_exit_stop,
};
