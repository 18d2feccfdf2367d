/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pci-serial: a 16550A UART behind I/O BAR 0, on INTA (ids and layout as QEMU's docs/specs/pci-serial says).
 */
#include "hw/char/uart.h"
#include "hw/pci/pci.h"

typedef struct PciSerial {
    PciDevice pci;
    Chardev *chr;   /* property */
    uint8_t progif; /* property */
    IrqLine **irq;  /* one line, to INTA */
    MemRegion *region;
    Uart uart;
} PciSerial;

static void pci_serial_irq(void *opaque, int n, int level)
{
    pci_set_irq(opaque, level);
}

static bool pci_serial_start(PciDevice *dev, GError **error)
{
    PciSerial *p = (PciSerial *)dev;

    p->irq = irq_new_array(pci_serial_irq, dev, 1);
    if (!uart_start(&p->uart, &dev->dev, p->chr, p->irq[0], false, error)) {
        irq_free_array(p->irq, 1);
        return false;
    }
    dev->config[PCI_CLASS_PROG] = p->progif;
    p->region = mem_region_new_io(dev->dev.obj.machine->topo, "pci-serial", UART_REGS, &uart_ops, &p->uart,
                                  dev->dev.home);
    mem_region_add(pci_bar_region(dev, 0), 0, p->region);
    return true;
}

static void pci_serial_reset(PciDevice *dev)
{
    uart_reset(&((PciSerial *)dev)->uart);
}

static void pci_serial_stop(PciDevice *dev)
{
    PciSerial *p = (PciSerial *)dev;

    mem_region_del(pci_bar_region(dev, 0), p->region);
    mem_region_retire(p->region);
    mem_region_unref(p->region);
    uart_stop(&p->uart);
    irq_free_array(p->irq, 1);
}

static const Prop pci_serial_props[] = {
    {.name = "chardev",
     .type = &prop_chardev,
     .offset = offsetof(PciSerial, chr),
     .doc = "id of a character device"},
    PROP_U8("prog_if", PciSerial, progif, 2, 0, 255, "programming interface of the class code; 2: 16550"),
    PROP_END,
};

static const StateField pci_serial_fields[] = {
    STATE_FIELD_STRUCT(PciSerial, pci, &pci_device_state),
    STATE_FIELD_STRUCT(PciSerial, uart, &uart_state),
    STATE_END,
};

static const StateTable pci_serial_state = {.name = "pci-serial", .version = 1, .fields = pci_serial_fields};

const PciModel pci_serial_model = {
    .dev = {.name = "pci-serial",
            .doc = "16550A serial port on the PCI bus.",
            .kind = MODEL_PCI,
            .size = sizeof(PciSerial),
            .props = pci_serial_props,
            .state = &pci_serial_state},
    .ids = {.vendor = 0x1b36,
            .device = 0x0002,
            .revision = 1,
            .class_code = 0x070002,
            .subsystem_vendor = 0x1af4,
            .subsystem = 0x1100},
    .interrupt_pin = 1,
    .bars = {[0] = {.size = UART_REGS, .kind = PCI_BAR_IO}},
    .start = pci_serial_start,
    .reset = pci_serial_reset,
    .stop = pci_serial_stop,
};
