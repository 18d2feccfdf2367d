/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The smallest device: a PCI card with 16 outputs and 16 inputs, as the ACCES PCI-IDIO-16 has them (Linux: gpio-pci-idio-16).
 * Every input is wired to the output of its number, and a changed input raises INTx once the driver has enabled that.
 *
 * BAR 2, I/O ports: 0 outputs 0-7; 1 inputs 0-7 (a write acknowledges the interrupt); 2 a read enables interrupts, a write
 * disables them; 4 outputs 8-15; 5 inputs 8-15; 6 interrupt status in bit 2.
 */
#include "sample.h"

#define BAR_SIZE   0x100u
#define OUT_LOW    0
#define IN_LOW     1
#define IRQ_CTL    2
#define OUT_HIGH   4
#define IN_HIGH    5
#define IRQ_STATUS 6
#define IRQ_PENDING 4u

typedef struct Gpio {
    uint8_t out[2];
    bool irq_enabled, irq_pending;
} Gpio;

static uint8_t port_read(Gpio *g, loff_t port)
{
    switch (port) {
    case OUT_LOW:
    case IN_LOW:
        return g->out[0];
    case OUT_HIGH:
    case IN_HIGH:
        return g->out[1];
    case IRQ_CTL:
        g->irq_enabled = true;
        return 0;
    case IRQ_STATUS:
        return g->irq_pending ? IRQ_PENDING : 0;
    default:
        return 0;
    }
}

static void port_write(vfu_ctx_t *ctx, Gpio *g, loff_t port, uint8_t value)
{
    uint8_t *out = &g->out[port == OUT_HIGH];

    switch (port) {
    case OUT_LOW:
    case OUT_HIGH:
        if (*out != value && g->irq_enabled && !g->irq_pending) {
            g->irq_pending = true;
            vfu_irq_trigger(ctx, 0);
        }
        *out = value;
        break;
    case IN_LOW:
        g->irq_pending = false;
        break;
    case IRQ_CTL:
        g->irq_enabled = false;
        break;
    }
}

static ssize_t bar_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    Gpio *g = vfu_get_private(ctx);

    for (size_t i = 0; i < count; i++) {
        loff_t port = offset + (loff_t)i;

        if (is_write) {
            port_write(ctx, g, port, (uint8_t)buf[i]);
        } else {
            buf[i] = (char)port_read(g, port);
        }
    }
    return (ssize_t)count;
}

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    *(Gpio *)vfu_get_private(ctx) = (Gpio){ 0 };
    return 0;
}

int main(int argc, char **argv)
{
    Gpio gpio = { 0 };
    vfu_ctx_t *ctx = sample_create(argc, argv, &gpio);

    sample_must(vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0) == 0, "vfu_pci_init");
    vfu_pci_set_id(ctx, 0x494f, 0x0dc8, 0, 0);
    sample_must(vfu_setup_region(ctx, VFU_PCI_DEV_BAR2_REGION_IDX, BAR_SIZE, bar_access, VFU_REGION_FLAG_RW, NULL, 0, -1,
                                 0) == 0, "BAR 2");
    sample_must(vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1) == 0, "INTx");
    sample_must(vfu_setup_device_reset_cb(ctx, on_reset) == 0, "reset");
    return sample_serve(ctx, -1, NULL);
}
