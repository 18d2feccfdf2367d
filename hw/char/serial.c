/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 16550A UART as an ISA device: COM1 to COM4 of a PC.  OUT2 gates its interrupt, as on the PC's adapter
 * card. */
#include "hw/char/serial.h"

static void serial_reset(Device *dev)
{
    uart_reset(&((Serial *)dev)->uart);
}

static const struct {
    uint16_t iobase;
    uint8_t irq;
} com_ports[] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};

/* Of COM1 to COM4 the first that is free, unless told which. */
static bool serial_place(Serial *s, GError **error)
{
    MemSection taken;

    for (uint32_t i = 0; s->index == UINT32_MAX && i < G_N_ELEMENTS(com_ports); i++) {
        if (s->iobase != UINT32_MAX || !as_lookup(s->dev.obj.machine->io, com_ports[i].iobase, &taken)) {
            s->index = i;
        }
    }
    if (s->index == UINT32_MAX) {
        error_set(error, "isa-serial: COM1 to COM4 are taken; choose another iobase= and irq=");
        return false;
    }
    if (s->iobase == UINT32_MAX) {
        s->iobase = com_ports[s->index].iobase;
    }
    if (s->irq == UINT32_MAX) {
        s->irq = com_ports[s->index].irq;
    }
    return true;
}

static bool serial_start(Device *dev, GError **error)
{
    Serial *s = (Serial *)dev;
    s->bus = isa_bus_find(dev->obj.machine, "isa-serial", error);
    if (!s->bus || !serial_place(s, error)) {
        return false;
    }
    if (s->iobase > 0xfff8) {
        error_set(error, "isa-serial: no such port (iobase=0x%x, allowed 0..0xfff8)", s->iobase);
        return false;
    }
    MemSection section;
    if (as_lookup(dev->obj.machine->io, s->iobase, &section)) {
        error_set(error, "isa-serial: port 0x%x belongs to %s; choose another index= or iobase=", s->iobase,
                  mem_region_name(section.region));
        return false;
    }
    if (!isa_claim_irq(s->bus, dev, s->irq, &s->line, error)) {
        return false;
    }
    if (!uart_start(&s->uart, dev, s->chr, s->line, true, error)) {
        isa_release_irq(s->bus, dev, s->irq);
        return false;
    }
    s->region = isa_map_ports(s->bus, dev, "serial", (uint16_t)s->iobase, 8, &uart_ops, &s->uart);
    return true;
}

static void serial_stop(Device *dev)
{
    Serial *s = (Serial *)dev;
    isa_unmap_ports(s->bus, &s->region);
    uart_stop(&s->uart);
    isa_release_irq(s->bus, dev, s->irq);
}

static const StateField serial_fields[] = {
    STATE_FIELD_STRUCT(Serial, uart, &uart_state),
    STATE_END,
};
static const StateTable serial_state = {.name = "isa-serial", .version = 1, .fields = serial_fields};

static const Prop serial_props[] = {
    {.name = "chardev",
     .type = &prop_chardev,
     .offset = offsetof(Serial, chr),
     .doc = "id of a character device"},
    PROP_U32("index", Serial, index, UINT32_MAX, 0, 3,
             "which of COM1..COM4 gives port and interrupt (default: the first that is free)"),
    PROP_U32("iobase", Serial, iobase, UINT32_MAX, 0, UINT32_MAX, "first port (default: by index)"),
    PROP_U32("irq", Serial, irq, UINT32_MAX, 0, UINT32_MAX, "ISA interrupt (default: by index)"),
    PROP_END,
};

const DeviceModel isa_serial_model = {
    .model = {.name = "isa-serial",
              .doc = "16550A serial port.",
              .kind = MODEL_DEVICE,
              .size = sizeof(Serial),
              .props = serial_props,
              .state = &serial_state},
    .start = serial_start,
    .reset = serial_reset,
    .stop = serial_stop,
};
