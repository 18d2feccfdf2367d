/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The edu device as a guest driver sees it, in process and behind a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libqtest/libqpci.h"

#define BUF        0x1000000u
#define EDU_BUF    0x40000u
#define DMA_MS     INT64_C(1000000)
#define MSI_TARGET 0x1800000u

enum {
    ID = 0x00,
    LIVENESS = 0x04,
    FACTORIAL = 0x08,
    STATUS = 0x20,
    IRQ_STATUS = 0x24,
    IRQ_RAISE = 0x60,
    IRQ_ACK = 0x64
};
enum { DMA_SRC = 0x80, DMA_DST = 0x88, DMA_CNT = 0x90, DMA_CMD = 0x98 };
enum { CMD_START = 1, CMD_TO_MEMORY = 2, CMD_IRQ = 4 };

typedef struct Fixture {
    QtestState *qts;
    QpciDevice *dev;
} Fixture;

static int setup(void **state)
{
    Fixture *f = g_new0(Fixture, 1);

    f->qts = qtest_start_device("", "edu", "");
    f->dev = qpci_find(f->qts, 0x1234, 0x11e8);
    assert_non_null(f->dev);
    qpci_enable(f->dev);
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

static uint32_t reg(Fixture *f, unsigned offset)
{
    return qpci_readl(f->dev, 0, offset);
}

static void test_registers(void **state)
{
    Fixture *f = *state;

    assert_int_equal(f->dev->bars[0].size, 0x100000);
    assert_int_equal(reg(f, ID), 0x010000ed);
    qpci_writel(f->dev, 0, LIVENESS, 0x12345678);
    assert_int_equal(reg(f, LIVENESS), ~0x12345678u);
    qpci_writel(f->dev, 0, ID, 0);
    assert_int_equal(reg(f, ID), 0x010000ed);
    qpci_writel(f->dev, 0, STATUS, UINT32_MAX);
    assert_int_equal(reg(f, STATUS), 0x80);
}

static void test_factorial(void **state)
{
    static const uint32_t cases[][2] = {{0, 1},           {1, 1},  {10, 3628800},
                                        {13, 1932053504}, {34, 0}, {UINT32_MAX, 0}};
    Fixture *f = *state;

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        qpci_writel(f->dev, 0, FACTORIAL, cases[i][0]);
        assert_true(QTEST_WAIT(!(reg(f, STATUS) & 1)));
        assert_int_equal(reg(f, FACTORIAL), cases[i][1]);
    }
    assert_int_equal(reg(f, IRQ_STATUS), 0);
}

static void test_intx(void **state)
{
    Fixture *f = *state;

    qtest_irq_intercept_in(f->qts, "ioapic");
    qpci_writel(f->dev, 0, STATUS, 0x80);
    qpci_writel(f->dev, 0, FACTORIAL, 5);
    assert_true(QTEST_WAIT(qpci_any_line(f->qts)));
    assert_int_equal(reg(f, IRQ_STATUS), 1);
    qpci_writel(f->dev, 0, IRQ_RAISE, 0x30);
    assert_int_equal(reg(f, IRQ_STATUS), 0x31);
    qpci_writel(f->dev, 0, IRQ_ACK, 0x11);
    assert_int_equal(reg(f, IRQ_STATUS), 0x20);
    assert_true(qpci_any_line(f->qts));
    qpci_writel(f->dev, 0, IRQ_ACK, 0x20);
    assert_true(QTEST_WAIT(!qpci_any_line(f->qts)));
}

static void test_msi(void **state)
{
    Fixture *f = *state;
    uint16_t cap = qpci_find_capability(f->dev, QPCI_CAP_MSI);

    assert_true(cap != 0);
    qpci_config_writel(f->dev, (uint16_t)(cap + 4), MSI_TARGET);
    qpci_config_writel(f->dev, (uint16_t)(cap + 8), 0);
    qpci_config_writew(f->dev, (uint16_t)(cap + 12), 0x4321);
    qpci_config_writew(f->dev, (uint16_t)(cap + 2), 1);
    qtest_writel(f->qts, MSI_TARGET, 0);
    qpci_writel(f->dev, 0, IRQ_RAISE, 1);
    assert_true(QTEST_WAIT(qtest_readl(f->qts, MSI_TARGET) == 0x4321));
}

/* A server that is given no eventfds can't interrupt: the guest finds a device without, which it can ask. */
static void test_no_interrupts(void **state)
{
    Fixture *f = *state;

    assert_int_equal(qpci_config_readb(f->dev, QPCI_INTERRUPT_PIN), 0);
    assert_int_equal(qpci_find_capability(f->dev, QPCI_CAP_MSI), 0);
    qtest_irq_intercept_in(f->qts, "ioapic");
    qpci_writel(f->dev, 0, IRQ_RAISE, 0x30);
    assert_int_equal(reg(f, IRQ_STATUS), 0x30);
    assert_false(qpci_any_line(f->qts));
    qpci_writel(f->dev, 0, IRQ_ACK, 0x30);
    assert_int_equal(reg(f, IRQ_STATUS), 0);
}

/* Writes are posted: after a read the device has them, before time goes on. */
static void settle(Fixture *f)
{
    reg(f, ID);
}

static void dma(Fixture *f, uint64_t src, uint64_t dst, uint64_t count, uint64_t cmd)
{
    qpci_writeq(f->dev, 0, DMA_SRC, src);
    qpci_writel(f->dev, 0, DMA_DST, (uint32_t)dst); /* halves are fine too */
    qpci_writel(f->dev, 0, DMA_DST + 4, (uint32_t)(dst >> 32));
    qpci_writeq(f->dev, 0, DMA_CNT, count);
    qpci_writeq(f->dev, 0, DMA_CMD, cmd | CMD_START);
    settle(f);
}

static void test_dma(void **state)
{
    Fixture *f = *state;
    uint8_t out[4096], in[4096];

    for (unsigned i = 0; i < sizeof(out); i++) {
        out[i] = (uint8_t)(i * 7 + i / 256);
    }
    qtest_memwrite(f->qts, BUF, out, sizeof(out));
    dma(f, BUF, EDU_BUF, sizeof(out), CMD_IRQ);
    qtest_clock_step(f->qts, 99 * DMA_MS);
    assert_int_equal(reg(f, DMA_CMD) & CMD_START, CMD_START);
    qpci_writel(f->dev, 0, DMA_CNT, 1); /* refused while it runs */
    settle(f);
    qtest_clock_step(f->qts, 2 * DMA_MS);
    assert_true(QTEST_WAIT(!(reg(f, DMA_CMD) & CMD_START)));
    assert_int_equal(qpci_readq(f->dev, 0, DMA_CNT), sizeof(out));
    assert_int_equal(reg(f, IRQ_STATUS), 0x100);
    dma(f, EDU_BUF + 100, BUF + 0x10000, 1000, CMD_TO_MEMORY);
    qtest_clock_step(f->qts, 101 * DMA_MS);
    assert_true(QTEST_WAIT(!(reg(f, DMA_CMD) & CMD_START)));
    qtest_memread(f->qts, BUF + 0x10000, in, sizeof(in));
    assert_memory_equal(in, out + 100, 1000);
    assert_int_equal(in[1000], 0);
}

/* Transfers that leave the buffer, and memory that is not there: nothing is moved, and the device goes on. */
static void test_bad_dma(void **state)
{
    static const struct {
        uint64_t src, dst, count;
    } cases[] = {
        {BUF, EDU_BUF - 1, 16},      {BUF, EDU_BUF + 4090, 16}, {BUF, EDU_BUF, UINT64_MAX},
        {BUF, UINT64_MAX - 7, 4096}, {0xe000000, EDU_BUF, 16},
    };
    Fixture *f = *state;

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        dma(f, cases[i].src, cases[i].dst, cases[i].count, 0);
        qtest_clock_step(f->qts, 101 * DMA_MS);
        assert_true(QTEST_WAIT(!(reg(f, DMA_CMD) & CMD_START)));
    }
    qtest_writel(f->qts, BUF, 0xfeedface);
    dma(f, BUF, EDU_BUF, 4, 0);
    qtest_clock_step(f->qts, 101 * DMA_MS);
    assert_true(QTEST_WAIT(!(reg(f, DMA_CMD) & CMD_START)));
    dma(f, EDU_BUF, BUF + 64, 4, CMD_TO_MEMORY);
    qtest_clock_step(f->qts, 101 * DMA_MS);
    assert_true(QTEST_WAIT(qtest_readl(f->qts, BUF + 64) == 0xfeedface));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_registers), TEST(test_factorial), TEST(test_intx),
        TEST(test_msi),       TEST(test_dma),       TEST(test_bad_dma),
    };
    const struct CMUnitTest tests_without_fds[] = {
        TEST(test_registers),     TEST(test_factorial), TEST(test_dma), TEST(test_bad_dma),
        TEST(test_no_interrupts),
    };

    return qtest_transport_passes_fds() ? cmocka_run_group_tests(tests, NULL, NULL) :
                                          cmocka_run_group_tests(tests_without_fds, NULL, NULL);
}
