/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The watchdogs as a driver sets them up, in manual guest time: stages, locks, and what -action makes of their end.
 * The i6300esb (its data sheet, chapter 16), and the ICH9's TCO timer (13.9) with GCS (10.1.75). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libqtest/libqpci.h"
#include "libqtest/libqtest.h"

#define SLOT   0x18
#define BAR    UINT64_C(0xe0000000)
#define TIMER1 (BAR + 0)
#define TIMER2 (BAR + 4)
#define GINTSR (BAR + 8)
#define RELOAD (BAR + 12)
#define CONFIG 0x60
#define LOCK   0x68
#define SECOND INT64_C(1000000000)

typedef struct Dog {
    QtestState *s;
    QpciDevice *dev;
} Dog;

static Dog dog_start(const char *args)
{
    g_autofree char *all = g_strconcat("-machine q35 -m 16 -nodefaults -device i6300esb,addr=3 ", args, NULL);
    Dog d = {.s = qtest_start(all)};

    d.dev = qpci_at(d.s, SLOT);
    assert_int_equal(qpci_config_readl(d.dev, 0), 0x25ab8086);
    qpci_config_writel(d.dev, 0x10, (uint32_t)BAR);
    qpci_config_writew(d.dev, 4, 2);
    return d;
}

static void dog_end(Dog *d)
{
    g_free(d->dev);
    qtest_end(d->s);
}

static void unlock(Dog *d)
{
    qtest_writew(d->s, RELOAD, 0x80);
    qtest_writew(d->s, RELOAD, 0x86);
}

/* As Linux: both stages take half of the time, a stage counts milliseconds. */
static void arm(Dog *d, unsigned seconds)
{
    qpci_config_writew(d->dev, CONFIG, 3);
    unlock(d);
    qtest_writel(d->s, TIMER1, seconds << 9);
    unlock(d);
    qtest_writel(d->s, TIMER2, seconds << 9);
    unlock(d);
    qtest_writew(d->s, RELOAD, 0x100);
    qpci_config_writeb(d->dev, LOCK, 2);
}

static void feed(Dog *d)
{
    unlock(d);
    qtest_writew(d->s, RELOAD, 0x100);
}

static char *action_of(QtestState *s)
{
    struct json_object *event = qtest_qmp_event(s, "WATCHDOG"), *data, *action;
    char *text;

    assert_true(json_object_object_get_ex(event, "data", &data));
    assert_true(json_object_object_get_ex(data, "action", &action));
    text = g_strdup(json_object_get_string(action));
    json_object_put(event);
    return text;
}

static void test_reset_unless_fed(void **state)
{
    Dog d = dog_start("");
    g_autofree char *action = NULL;

    arm(&d, 30);
    for (unsigned i = 0; i < 5; i++) {
        qtest_clock_step(d.s, 29 * SECOND);
        feed(&d);
    }
    assert_int_equal(qtest_readl(d.s, RELOAD), 0);
    qtest_clock_step(d.s, 31 * SECOND);
    action = action_of(d.s);
    assert_string_equal(action, "reset");
    json_object_put(qtest_qmp_event(d.s, "RESET"));
    assert_int_equal(qpci_config_readb(d.dev, LOCK), 0); /* the machine was reset, and the timer with it */
    qpci_config_writel(d.dev, 0x10, (uint32_t)BAR);
    qpci_config_writew(d.dev, 4, 2);
    assert_int_equal(qtest_readl(d.s, RELOAD), 0x200); /* but for why */
    unlock(&d);
    qtest_writew(d.s, RELOAD, 0x200);
    assert_int_equal(qtest_readl(d.s, RELOAD), 0);
    dog_end(&d);
}

static void test_pause(void **state)
{
    Dog d = dog_start("-action watchdog=pause");
    g_autofree char *action = NULL, *status = NULL;

    arm(&d, 1);
    qtest_clock_step(d.s, 2 * SECOND);
    action = action_of(d.s);
    assert_string_equal(action, "pause");
    json_object_put(qtest_qmp_event(d.s, "STOP"));
    status = qtest_hmp(d.s, "info status");
    assert_non_null(strstr(status, "watchdog"));
    dog_end(&d);
}

static void test_locks(void **state)
{
    Dog d = dog_start("-action watchdog=none");

    qtest_writel(d.s, TIMER1, 1); /* without the two writes */
    assert_int_equal(qtest_readl(d.s, TIMER1), 0xfffff);
    qtest_writew(d.s, RELOAD, 0x86);
    qtest_writew(d.s, RELOAD, 0x80);
    qtest_writel(d.s, TIMER1, 1);
    assert_int_equal(qtest_readl(d.s, TIMER1), 0xfffff);
    unlock(&d);
    qtest_writel(d.s, TIMER1, 0xfff00001);
    assert_int_equal(qtest_readl(d.s, TIMER1), 1);
    qpci_config_writeb(d.dev, LOCK, 3);
    qpci_config_writeb(d.dev, LOCK, 0); /* locked */
    assert_int_equal(qpci_config_readb(d.dev, LOCK), 3);
    dog_end(&d);
}

static void test_first_stage_interrupts(void **state)
{
    Dog d = dog_start("-action watchdog=none");
    g_autofree char *action = NULL;

    arm(&d, 10);
    qpci_config_writew(d.dev, CONFIG, 0);
    qtest_clock_step(d.s, 6 * SECOND);
    assert_int_equal(qtest_readl(d.s, GINTSR), 1);
    assert_int_equal(qpci_config_readw(d.dev, 6) & 8, 8); /* interrupt status */
    qtest_writel(d.s, GINTSR, 1);
    assert_int_equal(qtest_readl(d.s, GINTSR), 0);
    qtest_clock_step(d.s, 5 * SECOND);
    action = action_of(d.s);
    assert_string_equal(action, "none");
    dog_end(&d);
}

/* --- the TCO timer --- */

#define TCO       0x660u
#define TCO_RLD   (TCO + 0x00)
#define DAT_IN    (TCO + 0x02)
#define DAT_OUT   (TCO + 0x03)
#define TCO1_STS  (TCO + 0x04)
#define TCO2_STS  (TCO + 0x06)
#define TCO1_CNT  (TCO + 0x08)
#define TCO2_CNT  (TCO + 0x0a)
#define SW_IRQ    (TCO + 0x10)
#define TCO_TMR   (TCO + 0x12)
#define SMI_EN    0x630u
#define SMI_STS   0x634u
#define GCS       UINT64_C(0xfed1f410)
#define TIMEOUT   8
#define SECOND_TO 2
#define BOOT_STS  4
#define HALT      0x0800
#define TCO_LOCK  0x1000
#define TCO_EN    0x2000u
#define TICK      INT64_C(600000000)

static Dog tco_start(const char *args)
{
    g_autofree char *all = g_strconcat("-machine q35 -m 16 -nodefaults ", args, NULL);
    Dog d = {.s = qtest_start(all)};

    d.dev = qpci_at(d.s, 0xf8);
    assert_int_equal(qpci_config_readl(d.dev, 0), 0x29188086);
    qpci_config_writel(d.dev, 0xf0, 0xfed1c001); /* RCBA */
    return d;
}

static void tco_arm(Dog *d, uint16_t ticks)
{
    qtest_outw(d->s, TCO1_CNT, HALT);
    qtest_outw(d->s, TCO1_STS, TIMEOUT);
    qtest_outw(d->s, TCO2_STS, SECOND_TO | BOOT_STS);
    qtest_outw(d->s, TCO_TMR, ticks);
    qtest_outw(d->s, TCO_RLD, 1);
    qtest_outw(d->s, TCO1_CNT, 0);
}

static void test_tco_defaults(void **state)
{
    static const uint16_t want[] = {0, 0, 0, 0, 0, 8, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0}; /* as the peer shows them */
    Dog d = tco_start("");

    for (unsigned i = 0; i < G_N_ELEMENTS(want); i++) {
        assert_int_equal(qtest_inw(d.s, (uint16_t)(TCO + 2 * i)), want[i]);
    }
    assert_int_equal(qtest_readl(d.s, GCS), 0x20);
    qtest_clock_step(d.s, 100 * TICK); /* it waits for the first reload */
    assert_int_equal(qtest_inw(d.s, TCO1_STS), 0);
    qpci_config_writel(d.dev, 0xf0, 0);
    assert_int_not_equal(qtest_readl(d.s, GCS), 0x20); /* nobody answers there */
    dog_end(&d);
}

static void test_tco_counts(void **state)
{
    Dog d = tco_start("");

    tco_arm(&d, 0xffff);
    assert_int_equal(qtest_inw(d.s, TCO_TMR), 0x3ff);
    assert_int_equal(qtest_inw(d.s, TCO_RLD), 0x3ff);
    qtest_clock_step(d.s, 0x3fe * TICK);
    assert_int_equal(qtest_inw(d.s, TCO_RLD), 1);
    assert_int_equal(qtest_inw(d.s, TCO1_STS), 0);
    qtest_clock_step(d.s, TICK);
    assert_int_equal(qtest_inw(d.s, TCO1_STS), TIMEOUT);
    qtest_outw(d.s, TCO1_STS, TIMEOUT);
    assert_int_equal(qtest_inw(d.s, TCO1_STS), 0);
    qtest_outw(d.s, TCO_TMR, 1); /* too small: ignored */
    assert_int_equal(qtest_inw(d.s, TCO_TMR), 0x3ff);
    qtest_outb(d.s, TCO_TMR, 9); /* a byte of it */
    assert_int_equal(qtest_inw(d.s, TCO_TMR), 0x309);
    dog_end(&d);
}

static void test_tco_halts(void **state)
{
    Dog d = tco_start("");

    tco_arm(&d, 10);
    qtest_clock_step(d.s, 4 * TICK);
    qtest_outw(d.s, TCO1_CNT, HALT);
    qtest_clock_step(d.s, 100 * TICK);
    assert_int_equal(qtest_inw(d.s, TCO_RLD), 6);
    qtest_outw(d.s, TCO1_CNT, 0);
    qtest_clock_step(d.s, 5 * TICK);
    assert_int_equal(qtest_inw(d.s, TCO1_STS), 0);
    qtest_clock_step(d.s, TICK);
    assert_int_equal(qtest_inw(d.s, TCO1_STS), TIMEOUT);
    dog_end(&d);
}

static void test_tco_resets_unless_fed(void **state)
{
    Dog d = tco_start("-global ICH9-LPC.noreboot=false");
    g_autofree char *action = NULL;

    qtest_writel(d.s, GCS, 0);
    assert_int_equal(qtest_readl(d.s, GCS), 0);
    tco_arm(&d, 20);
    for (unsigned i = 0; i < 5; i++) {
        qtest_clock_step(d.s, 39 * TICK); /* the first time passes, the second not */
        qtest_outw(d.s, TCO_RLD, 1);
    }
    qtest_clock_step(d.s, 40 * TICK);
    action = action_of(d.s);
    assert_string_equal(action, "reset");
    json_object_put(qtest_qmp_event(d.s, "RESET"));
    assert_int_equal(qpci_config_readl(d.dev, 0xf0), 0); /* the machine was reset */
    assert_int_equal(qtest_inw(d.s, TCO_TMR), 4);
    assert_int_equal(qtest_inw(d.s, TCO2_STS), SECOND_TO); /* but for why */
    qtest_outw(d.s, TCO2_STS, SECOND_TO);
    assert_int_equal(qtest_inw(d.s, TCO2_STS), 0);
    dog_end(&d);
}

static void test_tco_action(void **state)
{
    Dog d = tco_start("-global ICH9-LPC.noreboot=off -action watchdog=pause");
    g_autofree char *action = NULL;

    qtest_writel(d.s, GCS, 0);
    tco_arm(&d, 2);
    qtest_clock_step(d.s, 4 * TICK);
    action = action_of(d.s);
    assert_string_equal(action, "pause");
    json_object_put(qtest_qmp_event(d.s, "STOP"));
    dog_end(&d);
}

/* NO_REBOOT, by software or by the strap: the second time is seen in the status only. */
static void check_no_reboot(const char *args, uint32_t gcs)
{
    Dog d = tco_start(args);

    qtest_writel(d.s, GCS, gcs);
    assert_int_equal(qtest_readl(d.s, GCS), 0x20);
    tco_arm(&d, 4);
    qtest_clock_step(d.s, 8 * TICK);
    assert_int_equal(qtest_inw(d.s, TCO2_STS), SECOND_TO | BOOT_STS);
    assert_int_equal(qpci_config_readl(d.dev, 0xf0), 0xfed1c001); /* no reset */
    dog_end(&d);
}

static void test_tco_no_reboot(void **state)
{
    check_no_reboot("-global ICH9-LPC.noreboot=false", 0x20);
    check_no_reboot("", 0);
    check_no_reboot("-global ICH9-LPC.noreboot=true", 0);
}

static void test_tco_status_and_lock(void **state)
{
    Dog d = tco_start("");

    qtest_outb(d.s, DAT_IN, 0x5a);
    qtest_outb(d.s, DAT_OUT, 0xa5);
    assert_int_equal(qtest_inw(d.s, DAT_IN), 0xa55a);
    assert_int_equal(qtest_inw(d.s, TCO1_STS), 6);
    assert_int_equal(qtest_inl(d.s, SMI_STS) & TCO_EN, TCO_EN);
    qtest_outb(d.s, TCO1_STS, 2);
    assert_int_equal(qtest_inw(d.s, TCO1_STS), 4);
    qtest_outb(d.s, TCO1_STS + 1, 0xff); /* the other byte */
    assert_int_equal(qtest_inw(d.s, TCO1_STS), 4);
    qtest_outb(d.s, SW_IRQ, 0xff);
    assert_int_equal(qtest_inw(d.s, SW_IRQ), 3);
    qtest_outl(d.s, SMI_EN, TCO_EN);
    qtest_outw(d.s, TCO1_CNT, TCO_LOCK);
    qtest_outw(d.s, TCO1_CNT, 0); /* until reset */
    assert_int_equal(qtest_inw(d.s, TCO1_CNT), TCO_LOCK);
    qtest_outl(d.s, SMI_EN, 0);
    assert_int_equal(qtest_inl(d.s, SMI_EN) & TCO_EN, TCO_EN);
    dog_end(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset_unless_fed),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_locks),
        cmocka_unit_test(test_first_stage_interrupts),
        cmocka_unit_test(test_tco_defaults),
        cmocka_unit_test(test_tco_counts),
        cmocka_unit_test(test_tco_halts),
        cmocka_unit_test(test_tco_resets_unless_fed),
        cmocka_unit_test(test_tco_action),
        cmocka_unit_test(test_tco_no_reboot),
        cmocka_unit_test(test_tco_status_and_lock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
