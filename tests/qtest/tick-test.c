/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tick, the teaching device of docs/devel/device-models.md, as a guest driver sees it: in process, and behind a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libqtest/libqpci.h"

#define PERIOD_US  50
#define US         INT64_C(1000)
#define RECORD     0x1000000u
#define NO_MEMORY  0xe000000u
#define MSI_TARGET 0x1800000u

enum { CTRL = 0x00, STATUS = 0x04, PERIOD = 0x08, COUNT = 0x0c, ADDR = 0x10 };
enum { CTRL_ENABLE = 1, CTRL_IRQ = 2, STATUS_TICK = 1, STATUS_FAULT = 2 };

typedef struct Fixture {
    QtestState *qts;
    QpciDevice *dev;
} Fixture;

static int setup(void **state)
{
    Fixture *f = g_new0(Fixture, 1);

    f->qts = qtest_start_device("", "tick,period=50", "");
    f->dev = qpci_find(f->qts, 0x1234, 0x0f01);
    assert_non_null(f->dev);
    qpci_enable(f->dev);
    qtest_irq_intercept_in(f->qts, "ioapic");
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

static uint32_t get(Fixture *f, unsigned offset)
{
    return qpci_readl(f->dev, 0, offset);
}

/* Writes are posted: after a read the device has them, before time goes on. */
static void set(Fixture *f, unsigned offset, uint32_t val)
{
    qpci_writel(f->dev, 0, offset, val);
    get(f, COUNT);
}

static void test_registers(void **state)
{
    Fixture *f = *state;

    assert_int_equal(f->dev->bars[0].size, 0x1000);
    assert_int_equal(qpci_config_readl(f->dev, QPCI_REVISION), 0x08800001);
    assert_int_equal(get(f, PERIOD), PERIOD_US);
    set(f, PERIOD, 0x12345678);
    assert_int_equal(get(f, PERIOD), 0x12345678);
    set(f, COUNT, 7); /* the device's */
    assert_int_equal(get(f, COUNT), 0);
    qpci_writeq(f->dev, 0, ADDR, UINT64_C(0x12345678a5));
    assert_true(qpci_readq(f->dev, 0, ADDR) == UINT64_C(0x12345678a0));
    qpci_writeb(f->dev, 0, ADDR + 1, 0x99);
    assert_int_equal(qpci_readw(f->dev, 0, ADDR), 0x99a0);
    set(f, CTRL, UINT32_MAX & ~CTRL_ENABLE);
    assert_int_equal(get(f, CTRL), CTRL_IRQ);
    qpci_readl(f->dev, 0, 0x800); /* no register: counted, no more */
    set(f, 0x800, 1);
    assert_int_equal(get(f, STATUS), 0);
}

static void test_counts(void **state)
{
    Fixture *f = *state;

    set(f, CTRL, CTRL_ENABLE);
    qtest_clock_step(f->qts, 49 * US);
    assert_int_equal(get(f, COUNT), 0);
    qtest_clock_step(f->qts, 451 * US);
    assert_true(QTEST_WAIT(get(f, COUNT) == 10));
    assert_int_equal(get(f, STATUS), STATUS_TICK);
    set(f, CTRL, 0);
    qtest_clock_step(f->qts, 500 * US);
    assert_int_equal(get(f, COUNT), 10);
    assert_false(qpci_any_line(f->qts));
    set(f, CTRL, CTRL_ENABLE); /* anew */
    assert_int_equal(get(f, COUNT), 0);
}

static void test_intx(void **state)
{
    Fixture *f = *state;

    set(f, CTRL, CTRL_ENABLE | CTRL_IRQ);
    qtest_clock_step(f->qts, PERIOD_US * US);
    assert_true(QTEST_WAIT(qpci_any_line(f->qts)));
    set(f, STATUS, STATUS_TICK);
    assert_true(QTEST_WAIT(!qpci_any_line(f->qts)));
    assert_int_equal(get(f, STATUS), 0);
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
    set(f, CTRL, CTRL_ENABLE | CTRL_IRQ);
    qtest_clock_step(f->qts, PERIOD_US * US);
    assert_true(QTEST_WAIT(qtest_readl(f->qts, MSI_TARGET) == 0x4321));
    assert_false(qpci_any_line(f->qts));
}

static void test_records(void **state)
{
    Fixture *f = *state;
    uint64_t first;

    qpci_writeq(f->dev, 0, ADDR, RECORD);
    set(f, CTRL, CTRL_ENABLE);
    qtest_clock_step(f->qts, PERIOD_US * US);
    assert_true(QTEST_WAIT(qtest_readq(f->qts, RECORD) == 1));
    assert_int_equal(get(f, COUNT), 1); /* the record is whole */
    first = qtest_readq(f->qts, RECORD + 8);
    qtest_clock_step(f->qts, 2 * PERIOD_US * US);
    assert_true(QTEST_WAIT(qtest_readq(f->qts, RECORD) == 3));
    assert_true(QTEST_WAIT(qtest_readq(f->qts, RECORD + 8) - first == 2 * PERIOD_US * US));
    assert_int_equal(get(f, STATUS), STATUS_TICK);
    qpci_writeq(f->dev, 0, ADDR, NO_MEMORY);
    get(f, COUNT);
    qtest_clock_step(f->qts, PERIOD_US * US);
    assert_true(QTEST_WAIT(get(f, STATUS) == (STATUS_TICK | STATUS_FAULT)));
    set(f, STATUS, STATUS_TICK | STATUS_FAULT);
    assert_int_equal(get(f, STATUS), 0);
}

static void test_bad_period(void **state)
{
    g_autofree char *err = NULL;

    assert_int_equal(qtest_run_to_exit("-machine q35 -device tick,period=0", &err), 1);
    assert_non_null(strstr(err, "period"));
    assert_non_null(strstr(err, "1..4294967295"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_registers), TEST(test_counts),  TEST(test_intx),
        TEST(test_msi),       TEST(test_records), cmocka_unit_test(test_bad_period),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
