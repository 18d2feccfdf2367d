/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI from a test's point of view: configuration space through ports 0xcf8 and
 * 0xcfc, BARs given addresses as firmware would, MSI-X aimed at guest RAM.
 * PCI Local Bus 3.0, sections 3.2.2.3, 6.1, 6.2.5, 6.8.
 */
#ifndef LIBQPCI_H
#define LIBQPCI_H

#include "libqtest.h"

/* Configuration registers tests name (PCI Local Bus 3.0, 6.1). */
enum {
    QPCI_VENDOR_ID = 0x00,
    QPCI_DEVICE_ID = 0x02,
    QPCI_COMMAND = 0x04,
    QPCI_STATUS = 0x06,
    QPCI_REVISION = 0x08,
    QPCI_HEADER_TYPE = 0x0e,
    QPCI_BAR0 = 0x10,
    QPCI_CAP_PTR = 0x34,
    QPCI_INTERRUPT_LINE = 0x3c,
    QPCI_INTERRUPT_PIN = 0x3d,
    QPCI_COMMAND_IO = 1 << 0,
    QPCI_COMMAND_MEMORY = 1 << 1,
    QPCI_COMMAND_MASTER = 1 << 2,
    QPCI_COMMAND_INTX_OFF = 1 << 10,
    QPCI_STATUS_CAP_LIST = 1 << 4,
    QPCI_CAP_MSI = 0x05,
    QPCI_CAP_EXPRESS = 0x10,
    QPCI_CAP_MSIX = 0x11,
};

/* Where BARs and MSI-X messages of tests go: clear of the board's own, and RAM of every test machine. */
#define QPCI_MEM_BASE  UINT64_C(0xe0000000)
#define QPCI_IO_BASE   0xc000
#define QPCI_MSIX_BASE UINT64_C(0x02000000)

typedef struct QpciBar {
    uint64_t addr, size; /* size 0: not there */
    bool io;
} QpciBar;

typedef struct QpciDevice {
    QtestState *qts;
    uint8_t bus, devfn;
    QpciBar bars[6];
    uint16_t msix_cap;
    unsigned msix_vectors;
    uint64_t msix_table, msix_pba; /* addresses */
} QpciDevice;

uint8_t qpci_config_readb(QpciDevice *dev, uint16_t offset);
uint16_t qpci_config_readw(QpciDevice *dev, uint16_t offset);
uint32_t qpci_config_readl(QpciDevice *dev, uint16_t offset);
void qpci_config_writeb(QpciDevice *dev, uint16_t offset, uint8_t val);
void qpci_config_writew(QpciDevice *dev, uint16_t offset, uint16_t val);
void qpci_config_writel(QpciDevice *dev, uint16_t offset, uint32_t val);

/* The first function on bus 0 with these ids; NULL when there is none.  g_free. */
QpciDevice *qpci_find(QtestState *qts, uint16_t vendor, uint16_t device);
/* The function at devfn of bus 0, present or not.  g_free. */
QpciDevice *qpci_at(QtestState *qts, uint8_t devfn);
/* Sizes all BARs, gives them addresses and sets I/O, memory and bus master enable. */
void qpci_enable(QpciDevice *dev);
/* Offset of a capability, or 0. */
uint16_t qpci_find_capability(QpciDevice *dev, uint8_t id);

/* Whether any line of the I/O APIC that PCI interrupts come by is high; after qtest_irq_intercept_in(qts, "ioapic"). */
bool qpci_any_line(QtestState *qts);

/* Registers of BAR n. */
uint8_t qpci_readb(QpciDevice *dev, unsigned n, uint64_t offset);
uint16_t qpci_readw(QpciDevice *dev, unsigned n, uint64_t offset);
uint32_t qpci_readl(QpciDevice *dev, unsigned n, uint64_t offset);
uint64_t qpci_readq(QpciDevice *dev, unsigned n, uint64_t offset);
void qpci_writeb(QpciDevice *dev, unsigned n, uint64_t offset, uint8_t val);
void qpci_writew(QpciDevice *dev, unsigned n, uint64_t offset, uint16_t val);
void qpci_writel(QpciDevice *dev, unsigned n, uint64_t offset, uint32_t val);
void qpci_writeq(QpciDevice *dev, unsigned n, uint64_t offset, uint64_t val);

/* Enables MSI-X with every vector unmasked and aimed at a word of RAM.  After qpci_enable(). */
void qpci_msix_enable(QpciDevice *dev);
void qpci_msix_mask(QpciDevice *dev, unsigned vector, bool masked);
bool qpci_msix_pending(QpciDevice *dev, unsigned vector);
/* True when the vector was signalled since the last call. */
bool qpci_msix_take(QpciDevice *dev, unsigned vector);

#endif
