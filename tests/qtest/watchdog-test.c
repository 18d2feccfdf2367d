/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The i6300esb watchdog as a driver sets it up, in manual guest time: stages, locks, and what -action makes
 * of its end. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset_unless_fed),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_locks),
        cmocka_unit_test(test_first_stage_interrupts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
