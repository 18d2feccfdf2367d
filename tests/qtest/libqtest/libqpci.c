/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI configuration, BARs and MSI-X through qtest. */
#include "libqpci.h"

#include <stdio.h>
#include <stdlib.h>

#define QPCI_ADDRESS_PORT 0xcf8
#define QPCI_DATA_PORT    0xcfc
#define QPCI_MSIX_ENTRY   16
/* What an MSI-X message of vector n writes: never zero. */
#define QPCI_MSIX_DATA(n) (0x5a000000u | (n))

/* --- configuration space --- */

static uint16_t qpci_select(QpciDevice *dev, uint16_t offset)
{
    qtest_outl(dev->qts, QPCI_ADDRESS_PORT,
               1u << 31 | (uint32_t)dev->bus << 16 | (uint32_t)dev->devfn << 8 | (offset & 0xfcu));
    return (uint16_t)(QPCI_DATA_PORT + (offset & 3));
}

uint8_t qpci_config_readb(QpciDevice *dev, uint16_t offset)
{
    uint16_t port = qpci_select(dev, offset);

    return qtest_inb(dev->qts, port);
}

uint16_t qpci_config_readw(QpciDevice *dev, uint16_t offset)
{
    uint16_t port = qpci_select(dev, offset);

    return qtest_inw(dev->qts, port);
}

uint32_t qpci_config_readl(QpciDevice *dev, uint16_t offset)
{
    uint16_t port = qpci_select(dev, offset);

    return qtest_inl(dev->qts, port);
}

void qpci_config_writeb(QpciDevice *dev, uint16_t offset, uint8_t val)
{
    uint16_t port = qpci_select(dev, offset);

    qtest_outb(dev->qts, port, val);
}

void qpci_config_writew(QpciDevice *dev, uint16_t offset, uint16_t val)
{
    uint16_t port = qpci_select(dev, offset);

    qtest_outw(dev->qts, port, val);
}

void qpci_config_writel(QpciDevice *dev, uint16_t offset, uint32_t val)
{
    uint16_t port = qpci_select(dev, offset);

    qtest_outl(dev->qts, port, val);
}

QpciDevice *qpci_at(QtestState *qts, uint8_t devfn)
{
    QpciDevice *dev = g_new0(QpciDevice, 1);

    dev->qts = qts;
    dev->devfn = devfn;
    return dev;
}

QpciDevice *qpci_find(QtestState *qts, uint16_t vendor, uint16_t device)
{
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        QpciDevice *dev = qpci_at(qts, (uint8_t)devfn);

        if (qpci_config_readl(dev, QPCI_VENDOR_ID) == ((uint32_t)device << 16 | vendor)) {
            return dev;
        }
        /* Functions 1..7 exist only where function 0 says so. */
        if (devfn % 8 == 0 && !(qpci_config_readb(dev, QPCI_HEADER_TYPE) & 0x80)) {
            devfn += 7;
        }
        g_free(dev);
    }
    return NULL;
}

uint16_t qpci_find_capability(QpciDevice *dev, uint8_t id)
{
    uint8_t offset;

    if (!(qpci_config_readw(dev, QPCI_STATUS) & QPCI_STATUS_CAP_LIST)) {
        return 0;
    }
    offset = qpci_config_readb(dev, QPCI_CAP_PTR) & 0xfc;
    for (int n = 0; offset >= 0x40 && n < 48; n++) {
        if (qpci_config_readb(dev, offset) == id) {
            return offset;
        }
        offset = qpci_config_readb(dev, (uint16_t)(offset + 1)) & 0xfc;
    }
    return 0;
}

/* --- BARs --- */

/* The next multiple of size at or after *next, which moves past it. */
static uint64_t qpci_allocate(uint64_t *next, uint64_t size)
{
    uint64_t addr = (*next + size - 1) & ~(size - 1);

    *next = addr + size;
    return addr;
}

void qpci_enable(QpciDevice *dev)
{
    /* Every device has windows of its own, by its number. */
    uint64_t mem = QPCI_MEM_BASE + dev->devfn / 8 * UINT64_C(0x400000);
    uint64_t io = QPCI_IO_BASE + dev->devfn / 8 * 0x100;

    for (unsigned n = 0; n < 6; n++) {
        uint16_t reg = (uint16_t)(QPCI_BAR0 + 4 * n);
        QpciBar *bar = &dev->bars[n];
        uint64_t mask;
        uint32_t low;

        qpci_config_writel(dev, reg, UINT32_MAX);
        low = qpci_config_readl(dev, reg);
        if (!low) {
            continue;
        }
        bar->io = low & 1;
        mask = UINT64_C(0xffffffff00000000) | (low & (bar->io ? ~3u : ~15u));
        if (!bar->io && (low & 6) == 4) {
            qpci_config_writel(dev, (uint16_t)(reg + 4), UINT32_MAX);
            mask = (mask & UINT32_MAX) | (uint64_t)qpci_config_readl(dev, (uint16_t)(reg + 4)) << 32;
        }
        bar->size = ~mask + 1;
        if (bar->io && bar->size > 0x10000) {
            bar->size &= 0xffff; /* the upper half of an I/O BAR may be wired to 0 */
        }
        bar->addr = qpci_allocate(bar->io ? &io : &mem, bar->size);
        qpci_config_writel(dev, reg, (uint32_t)bar->addr);
        if (!bar->io && (low & 6) == 4) {
            qpci_config_writel(dev, (uint16_t)(reg + 4), (uint32_t)(bar->addr >> 32));
            n++;
        }
    }
    qpci_config_writew(dev, QPCI_COMMAND, QPCI_COMMAND_IO | QPCI_COMMAND_MEMORY | QPCI_COMMAND_MASTER);
}

uint8_t qpci_readb(QpciDevice *dev, unsigned n, uint64_t offset)
{
    uint64_t addr = dev->bars[n].addr + offset;

    return dev->bars[n].io ? qtest_inb(dev->qts, (uint16_t)addr) : qtest_readb(dev->qts, addr);
}

uint16_t qpci_readw(QpciDevice *dev, unsigned n, uint64_t offset)
{
    uint64_t addr = dev->bars[n].addr + offset;

    return dev->bars[n].io ? qtest_inw(dev->qts, (uint16_t)addr) : qtest_readw(dev->qts, addr);
}

uint32_t qpci_readl(QpciDevice *dev, unsigned n, uint64_t offset)
{
    uint64_t addr = dev->bars[n].addr + offset;

    return dev->bars[n].io ? qtest_inl(dev->qts, (uint16_t)addr) : qtest_readl(dev->qts, addr);
}

uint64_t qpci_readq(QpciDevice *dev, unsigned n, uint64_t offset)
{
    return qtest_readq(dev->qts, dev->bars[n].addr + offset);
}

void qpci_writeb(QpciDevice *dev, unsigned n, uint64_t offset, uint8_t val)
{
    uint64_t addr = dev->bars[n].addr + offset;

    if (dev->bars[n].io) {
        qtest_outb(dev->qts, (uint16_t)addr, val);
    } else {
        qtest_writeb(dev->qts, addr, val);
    }
}

void qpci_writew(QpciDevice *dev, unsigned n, uint64_t offset, uint16_t val)
{
    uint64_t addr = dev->bars[n].addr + offset;

    if (dev->bars[n].io) {
        qtest_outw(dev->qts, (uint16_t)addr, val);
    } else {
        qtest_writew(dev->qts, addr, val);
    }
}

void qpci_writel(QpciDevice *dev, unsigned n, uint64_t offset, uint32_t val)
{
    uint64_t addr = dev->bars[n].addr + offset;

    if (dev->bars[n].io) {
        qtest_outl(dev->qts, (uint16_t)addr, val);
    } else {
        qtest_writel(dev->qts, addr, val);
    }
}

void qpci_writeq(QpciDevice *dev, unsigned n, uint64_t offset, uint64_t val)
{
    qtest_writeq(dev->qts, dev->bars[n].addr + offset, val);
}

/* --- MSI-X --- */

/* Every device aims at a page of its own. */
static uint64_t qpci_msix_target(const QpciDevice *dev, unsigned vector)
{
    return QPCI_MSIX_BASE + (uint64_t)dev->devfn * 0x2000 + 4 * vector;
}

void qpci_msix_enable(QpciDevice *dev)
{
    uint32_t table, pba;
    uint16_t control;

    dev->msix_cap = qpci_find_capability(dev, QPCI_CAP_MSIX);
    if (!dev->msix_cap) {
        fprintf(stderr, "qpci: the device has no MSI-X capability\n");
        abort();
    }
    control = qpci_config_readw(dev, (uint16_t)(dev->msix_cap + 2));
    table = qpci_config_readl(dev, (uint16_t)(dev->msix_cap + 4));
    pba = qpci_config_readl(dev, (uint16_t)(dev->msix_cap + 8));
    dev->msix_vectors = (control & 0x7ffu) + 1;
    dev->msix_table = dev->bars[table & 7].addr + (table & ~7u);
    dev->msix_pba = dev->bars[pba & 7].addr + (pba & ~7u);
    for (unsigned n = 0; n < dev->msix_vectors; n++) {
        uint64_t entry = dev->msix_table + QPCI_MSIX_ENTRY * n;

        qtest_writel(dev->qts, qpci_msix_target(dev, n), 0);
        qtest_writel(dev->qts, entry, (uint32_t)qpci_msix_target(dev, n));
        qtest_writel(dev->qts, entry + 4, 0);
        qtest_writel(dev->qts, entry + 8, QPCI_MSIX_DATA(n));
        qtest_writel(dev->qts, entry + 12, 0);
    }
    qpci_config_writew(dev, (uint16_t)(dev->msix_cap + 2), (uint16_t)(control | 1u << 15));
}

void qpci_msix_mask(QpciDevice *dev, unsigned vector, bool masked)
{
    qtest_writel(dev->qts, dev->msix_table + QPCI_MSIX_ENTRY * vector + 12, masked);
}

bool qpci_msix_pending(QpciDevice *dev, unsigned vector)
{
    return qtest_readl(dev->qts, dev->msix_pba + vector / 32 * 4) >> (vector % 32) & 1;
}

bool qpci_msix_take(QpciDevice *dev, unsigned vector)
{
    uint64_t addr = qpci_msix_target(dev, vector);
    bool signalled = qtest_readl(dev->qts, addr) == QPCI_MSIX_DATA(vector);

    if (signalled) {
        qtest_writel(dev->qts, addr, 0);
    }
    return signalled;
}

bool qpci_any_line(QtestState *qts)
{
    bool high = false;

    for (int n = 16; n < 24; n++) {
        high |= qtest_irq(qts, n);
    }
    return high;
}
