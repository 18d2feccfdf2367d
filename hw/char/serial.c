/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 16550A UART as an ISA device: COM1 to COM4 of a PC.  OUT2 gates its interrupt, as on the PC's adapter
 * card. */
#include "hw/char/serial.h"

static void serial_reset(Device *dev)
{
    uart_reset(&((Serial *)dev)->uart);
}

static bool serial_start(Device *dev, GError **error)
{
    static const uint16_t ports[4] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
    static const uint8_t irqs[4] = {4, 3, 4, 3};
    Serial *s = (Serial *)dev;
    s->bus = isa_bus_find(dev->obj.machine, "isa-serial", error);
    if (!s->bus) {
        return false;
    }
    if (s->iobase == UINT32_MAX) {
        s->iobase = ports[s->index];
    }
    if (s->irq == UINT32_MAX) {
        s->irq = irqs[s->index];
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
    PROP_U32("index", Serial, index, 0, 0, 3, "which of COM1..COM4 gives port and interrupt"),
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
