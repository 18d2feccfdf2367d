/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device behind intel-iommu, in process and behind a socket: edu moves data to and from addresses that only the tables of
 * the test lead to memory, and its messages are remapped (VT-d 3.3; register offsets in 11.4).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "libqtest/libqpci.h"

#define REGS UINT64_C(0xfed90000)

enum { GCMD = 0x18, GSTS = 0x1c, RTADDR = 0x20, FSTS = 0x34, IQH = 0x80, IQT = 0x88, IQA = 0x90, IRTA = 0xb8, FRCD = 0x220 };
#define TE   (1u << 31)
#define SRTP (1u << 30)
#define QIE  (1u << 26)
#define IRE  (1u << 25)
#define SIRTP (1u << 24)

/* Guest memory. */
#define ROOT    0x1000000u
#define CONTEXT 0x1001000u
#define L3      0x1002000u
#define L2      0x1003000u
#define L1      0x1004000u
#define QUEUE   0x1005000u
#define ENTRIES 0x1006000u /* of the interrupt remapping table */
#define STATUS  0x1007000u
#define DATA    0x1100000u
#define IOVA    UINT64_C(0x3f12345000)
#define DID     5u

/* Registers of edu. */
enum { DMA_SRC = 0x80, DMA_DST = 0x88, DMA_CNT = 0x90, DMA_CMD = 0x98, IRQ_RAISE = 0x60 };
#define EDU_BUF    0x40000u
#define TO_MEMORY  2u
#define DMA_NS     INT64_C(101000000)

typedef struct Fixture {
    QtestState *qts;
    QpciDevice *dev;
    unsigned tail; /* of the queue */
} Fixture;

static uint32_t reg(Fixture *f, unsigned offset)
{
    return qtest_readl(f->qts, REGS + offset);
}

static void command(Fixture *f, uint32_t bit)
{
    qtest_writel(f->qts, REGS + GCMD, (reg(f, GSTS) & (TE | QIE | IRE)) | bit);
    assert_true(reg(f, GSTS) & bit);
}

/* Queues one descriptor and waits, as a driver does, until it was carried out. */
static void invalidate(Fixture *f, uint64_t low, uint64_t high)
{
    const uint64_t entries[] = {low, high, 5 | 1 << 5 | UINT64_C(1) << 32, STATUS};

    for (unsigned i = 0; i < 4; i++) {
        qtest_writeq(f->qts, QUEUE + 16 * f->tail + 8 * i, entries[i]);
    }
    qtest_writel(f->qts, STATUS, 0);
    f->tail = (f->tail + 2) % 256;
    qtest_writeq(f->qts, REGS + IQT, 16 * f->tail);
    assert_true(QTEST_WAIT(qtest_readl(f->qts, STATUS) == 1));
}

static void set_page(Fixture *f, uint64_t iova, uint64_t entry)
{
    qtest_writeq(f->qts, L1 + (iova >> 12 & 511) * 8, entry);
    invalidate(f, 2 | 3 << 4 | DID << 16, iova & ~UINT64_C(0xfff));
}

static int setup(void **state)
{
    Fixture *f = g_new0(Fixture, 1);

    f->qts = qtest_start_device("", "edu,dma_mask=0xffffffffffffffff", "-device intel-iommu,caching-mode=on");
    f->dev = qpci_find(f->qts, 0x1234, 0x11e8);
    assert_non_null(f->dev);
    qpci_enable(f->dev);
    qtest_writeq(f->qts, ROOT, CONTEXT | 1);
    qtest_writeq(f->qts, CONTEXT + 16 * f->dev->devfn, L3 | 1);
    qtest_writeq(f->qts, CONTEXT + 16 * f->dev->devfn + 8, 1 | DID << 8);
    qtest_writeq(f->qts, L3 + (IOVA >> 30 & 511) * 8, L2 | 3);
    qtest_writeq(f->qts, L2 + (IOVA >> 21 & 511) * 8, L1 | 3);
    qtest_writeq(f->qts, REGS + RTADDR, ROOT);
    command(f, SRTP);
    qtest_writeq(f->qts, REGS + IQA, QUEUE);
    qtest_writeq(f->qts, REGS + IQT, 0);
    command(f, QIE);
    command(f, TE);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;

    g_free(f->dev);
    qtest_end(f->qts);
    g_free(f);
    return 0;
}

static void dma(Fixture *f, uint64_t src, uint64_t dst, uint32_t count, uint32_t cmd)
{
    qpci_writeq(f->dev, 0, DMA_SRC, src);
    qpci_writeq(f->dev, 0, DMA_DST, dst);
    qpci_writeq(f->dev, 0, DMA_CNT, count);
    qpci_writeq(f->dev, 0, DMA_CMD, cmd | 1);
    qpci_readl(f->dev, 0, 0); /* writes are posted */
    qtest_clock_step(f->qts, DMA_NS);
    assert_true(QTEST_WAIT(!(qpci_readl(f->dev, 0, DMA_CMD) & 1)));
}

/* The device writes what it has in its buffer to iova. */
static void write_to(Fixture *f, uint64_t iova, uint32_t val)
{
    set_page(f, IOVA + 0x10000, (DATA + 0x10000) | 1);
    qtest_writel(f->qts, DATA + 0x10000, val);
    dma(f, IOVA + 0x10000, EDU_BUF, 4, 0);
    dma(f, EDU_BUF, iova, 4, TO_MEMORY);
}

/* In process the IOMMU sees the access; another process, which has no such mapping, tells of it. */
static void expect_fault(Fixture *f, unsigned reason, uint64_t iova)
{
    unsigned n;

    assert_true(QTEST_WAIT(reg(f, FSTS) & 2));
    n = reg(f, FSTS) >> 8 & 0xff;
    assert_int_equal(qtest_readq(f->qts, REGS + FRCD + 16 * n), iova);
    assert_int_equal(qtest_readl(f->qts, REGS + FRCD + 16 * n + 12) & 0xff, reason);
    assert_int_equal(qtest_readl(f->qts, REGS + FRCD + 16 * n + 8) & 0xffff, f->dev->devfn);
    qtest_writel(f->qts, REGS + FRCD + 16 * n + 12, UINT32_C(1) << 31);
}

static void test_mapped(void **state)
{
    Fixture *f = *state;

    /* Two pages that are neighbours only for the device. */
    set_page(f, IOVA, (DATA + 0x3000) | 3);
    set_page(f, IOVA + 0x1000, DATA | 3);
    write_to(f, IOVA + 0x10, 0x11223344);
    assert_int_equal(qtest_readl(f->qts, DATA + 0x3010), 0x11223344);
    write_to(f, IOVA + 0xffe, 0x55667788);
    assert_int_equal(qtest_readw(f->qts, DATA + 0x3ffe), 0x7788);
    assert_int_equal(qtest_readw(f->qts, DATA), 0x5566);
    assert_int_equal(reg(f, FSTS), 0);
}

static void test_unmapped(void **state)
{
    Fixture *f = *state;

    set_page(f, IOVA, DATA | 3);
    write_to(f, IOVA, 1);
    assert_int_equal(qtest_readl(f->qts, DATA), 1);
    set_page(f, IOVA, 0);
    write_to(f, IOVA, 2);
    assert_int_equal(qtest_readl(f->qts, DATA), 1);
    expect_fault(f, 5, IOVA);
    /* Elsewhere, and back. */
    set_page(f, IOVA, (DATA + 0x1000) | 3);
    write_to(f, IOVA, 3);
    assert_int_equal(qtest_readl(f->qts, DATA), 1);
    assert_int_equal(qtest_readl(f->qts, DATA + 0x1000), 3);
    /* Addresses of memory mean nothing. */
    write_to(f, DATA, 4);
    assert_int_equal(qtest_readl(f->qts, DATA), 1);
    expect_fault(f, 5, DATA);
}

static void test_permissions(void **state)
{
    Fixture *f = *state;

    qtest_writel(f->qts, DATA, 0x77);
    set_page(f, IOVA, DATA | 1);
    write_to(f, IOVA, 5);
    assert_int_equal(qtest_readl(f->qts, DATA), 0x77);
    expect_fault(f, 5, IOVA);
    /* Write only: it arrives, and nothing can be read. */
    set_page(f, IOVA, DATA | 2);
    write_to(f, IOVA, 6);
    assert_int_equal(qtest_readl(f->qts, DATA), 6);
    dma(f, IOVA, EDU_BUF, 4, 0);
    expect_fault(f, 6, IOVA);
    dma(f, EDU_BUF, IOVA, 4, TO_MEMORY);
    assert_true(qtest_readl(f->qts, DATA) == 6 || qtest_readl(f->qts, DATA) == UINT32_MAX);
    /* More is allowed now. */
    set_page(f, IOVA, DATA | 3);
    qtest_writel(f->qts, DATA, 0x1234);
    dma(f, IOVA, EDU_BUF, 4, 0);
    dma(f, EDU_BUF, IOVA + 8, 4, TO_MEMORY);
    assert_int_equal(qtest_readl(f->qts, DATA + 8), 0x1234);
}

/* The driver lets the function pass, then translates again. */
static void test_pass_through(void **state)
{
    Fixture *f = *state;
    uint64_t context = CONTEXT + 16 * f->dev->devfn;

    set_page(f, IOVA, DATA | 3);
    qtest_writeq(f->qts, context, 1 | 2 << 2);
    invalidate(f, 1 | 1 << 4, 0);
    qtest_writel(f->qts, DATA + 0x40, 0x42);
    dma(f, DATA + 0x40, EDU_BUF, 4, 0);
    dma(f, EDU_BUF, DATA + 0x50, 4, TO_MEMORY);
    assert_int_equal(qtest_readl(f->qts, DATA + 0x50), 0x42);
    qtest_writeq(f->qts, context, L3 | 1);
    invalidate(f, 1 | 1 << 4, 0);
    write_to(f, DATA + 0x50, 0x43);
    assert_int_equal(qtest_readl(f->qts, DATA + 0x50), 0x42);
    write_to(f, IOVA + 0x50, 0x44);
    assert_int_equal(qtest_readl(f->qts, DATA + 0x50), 0x44);
}

/* The function's message has a handle; without an entry for it nothing arrives. */
static void test_message(void **state)
{
    Fixture *f = *state;
    uint16_t cap = qpci_find_capability(f->dev, QPCI_CAP_MSI);

    qtest_writel(f->qts, 0xfee000f0, 0x1ff);
    qtest_writeq(f->qts, REGS + IRTA, ENTRIES | 3);
    command(f, SIRTP);
    command(f, IRE);
    qpci_config_writel(f->dev, (uint16_t)(cap + 4), 0xfee00010 | 2 << 5);
    qpci_config_writel(f->dev, (uint16_t)(cap + 8), 0);
    qpci_config_writew(f->dev, (uint16_t)(cap + 12), 0);
    qpci_config_writew(f->dev, (uint16_t)(cap + 2), 1);
    qpci_writel(f->dev, 0, IRQ_RAISE, 1);
    assert_true(QTEST_WAIT(reg(f, FSTS) & 2));
    assert_int_equal(qtest_readl(f->qts, REGS + FRCD + 12) & 0xff, 0x22);
    qtest_writel(f->qts, REGS + FRCD + 12, UINT32_C(1) << 31);
    qtest_writeq(f->qts, ENTRIES + 16 * 2 + 8, 1 << 18 | f->dev->devfn);
    qtest_writeq(f->qts, ENTRIES + 16 * 2, 0x45 << 16 | 1);
    invalidate(f, 4, 0);
    qpci_writel(f->dev, 0, IRQ_RAISE, 1);
    assert_true(QTEST_WAIT(qtest_readl(f->qts, 0xfee00220) == 1u << (0x45 - 0x40)));
    assert_int_equal(reg(f, FSTS), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_mapped),       TEST(test_unmapped), TEST(test_permissions),
        TEST(test_pass_through), TEST(test_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
