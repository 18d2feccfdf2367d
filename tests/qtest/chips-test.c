/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chips of the PC that take several accesses for one thing: in the middle of it they are moved, when the machine is
 * (QTEST_MOVE_EVERY).  8042, keyboard and mouse; 8254; 8259; MC146818; HPET; I/O APIC; 16550A.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libqtest/libqtest.h"

#define HPET   UINT64_C(0xfed00000)
#define IOAPIC UINT64_C(0xfec00000)
#define MS     INT64_C(1000000)

static int setup(void **state)
{
    *state = qtest_start("-machine q35 -nodefaults -m 16 -serial null -rtc base=2026-11-22T00:00:00,clock=vm");
    return 0;
}

static int teardown(void **state)
{
    qtest_end(*state);
    return 0;
}

/* --- 8042 --- */

static uint8_t kbd_get(QtestState *s)
{
    assert_true(QTEST_WAIT(qtest_inb(s, 0x64) & 1));
    return qtest_inb(s, 0x60);
}

static void mouse_put(QtestState *s, uint8_t val)
{
    qtest_outb(s, 0x64, 0xd4);
    qtest_outb(s, 0x60, val);
    assert_int_equal(kbd_get(s), 0xfa);
}

static void test_i8042(void **state)
{
    QtestState *s = *state;

    qtest_outb(s, 0x64, 0x60); /* command byte */
    qtest_outb(s, 0x60, 0x04);
    qtest_outb(s, 0x64, 0x20);
    assert_int_equal(kbd_get(s), 0x04);
    qtest_outb(s, 0x60, 0xed); /* lights: a command of two bytes */
    assert_int_equal(kbd_get(s), 0xfa);
    qtest_outb(s, 0x60, 0x07);
    assert_int_equal(kbd_get(s), 0xfa);
    qtest_outb(s, 0x60, 0xf2); /* identify: an answer of three */
    assert_int_equal(kbd_get(s), 0xfa);
    assert_int_equal(kbd_get(s), 0xab);
    assert_int_equal(kbd_get(s), 0x83);
    qtest_outb(s, 0x64, 0xa8);
    mouse_put(s, 0xf3); /* sample rate */
    mouse_put(s, 80);
    mouse_put(s, 0xe8); /* resolution */
    mouse_put(s, 2);
    mouse_put(s, 0xe9); /* status, resolution, rate */
    assert_int_equal(kbd_get(s), 0x00);
    assert_int_equal(kbd_get(s), 2);
    assert_int_equal(kbd_get(s), 80);
}

/* --- 8254 --- */

static unsigned pit_read(QtestState *s)
{
    unsigned low = qtest_inb(s, 0x42);

    return low | (unsigned)qtest_inb(s, 0x42) << 8;
}

static void test_i8254(void **state)
{
    QtestState *s = *state;

    qtest_outb(s, 0x61, 1); /* gate of channel 2 */
    qtest_outb(s, 0x43, 0xb0);
    qtest_outb(s, 0x42, 0x34);
    qtest_outb(s, 0x42, 0x72);
    qtest_clock_step(s, 10 * MS);
    qtest_outb(s, 0x43, 0x80); /* latches it */
    assert_in_range(pit_read(s), 0x7234 - 11934, 0x7234 - 11930);
    qtest_outb(s, 0x43, 0x80);
    qtest_clock_step(s, MS); /* what was latched stays */
    assert_in_range(pit_read(s), 0x7234 - 11934, 0x7234 - 11930);
    qtest_clock_step(s, 20 * MS);
    assert_int_equal(qtest_inb(s, 0x61) & 0x20, 0x20); /* OUT of channel 2 */
}

/* --- 8259 --- */

static void test_i8259(void **state)
{
    QtestState *s = *state;

    qtest_outb(s, 0x20, 0x11); /* ICW1 to ICW4 */
    qtest_outb(s, 0x21, 0x30);
    qtest_outb(s, 0x21, 0x04);
    qtest_outb(s, 0x21, 0x01);
    qtest_outb(s, 0x21, 0xa5); /* the mask */
    assert_int_equal(qtest_inb(s, 0x21), 0xa5);
    qtest_outb(s, 0x20, 0x0b); /* OCW3: the next read is of ISR */
    assert_int_equal(qtest_inb(s, 0x20), 0);
    qtest_outb(s, 0x4d0, 0x20);
    assert_int_equal(qtest_inb(s, 0x4d0), 0x20);
}

/* --- MC146818 --- */

static uint8_t cmos_get(QtestState *s, uint8_t reg)
{
    qtest_outb(s, 0x70, reg);
    return qtest_inb(s, 0x71);
}

static void cmos_put(QtestState *s, uint8_t reg, uint8_t val)
{
    qtest_outb(s, 0x70, reg);
    qtest_outb(s, 0x71, val);
}

static void test_mc146818(void **state)
{
    static const uint8_t time[][2] = {{0x00, 30}, {0x02, 15}, {0x04, 23}, {0x06, 1}, {0x07, 22}, {0x08, 11}, {0x09, 26}};
    QtestState *s = *state;

    cmos_put(s, 0x50, 0xa5);
    assert_int_equal(cmos_get(s, 0x50), 0xa5);
    cmos_put(s, 0x0b, 0x86); /* SET, binary, 24 hours */
    for (unsigned i = 0; i < sizeof(time) / sizeof(time[0]); i++) {
        cmos_put(s, time[i][0], time[i][1]);
    }
    cmos_put(s, 0x0b, 0x06);
    qtest_clock_step(s, 2500 * MS);
    assert_in_range(cmos_get(s, 0x00), 32, 33);
    assert_int_equal(cmos_get(s, 0x02), 15);
    assert_int_equal(cmos_get(s, 0x04), 23);
    assert_int_equal(cmos_get(s, 0x32), 20); /* was left in BCD */
    cmos_put(s, 0x32, 99);
    assert_in_range(cmos_get(s, 0x00), 32, 33);
}

/* --- HPET --- */

static void test_hpet(void **state)
{
    QtestState *s = *state;
    uint64_t period = qtest_readq(s, HPET) >> 32, before, ticks; /* femtoseconds */

    qtest_writeq(s, HPET + 0x10, 1);
    before = qtest_readq(s, HPET + 0xf0);
    qtest_clock_step(s, 3 * MS);
    ticks = 3 * MS * UINT64_C(1000000) / period;
    assert_in_range(qtest_readq(s, HPET + 0xf0) - before, ticks - 2, ticks + 2);
    qtest_writel(s, HPET + 0x108, 0x12345678); /* a comparator by halves */
    qtest_writel(s, HPET + 0x10c, 0x9);
    assert_true(qtest_readq(s, HPET + 0x108) == UINT64_C(0x912345678) || qtest_readq(s, HPET + 0x108) == 0x12345678);
}

/* --- I/O APIC, 16550A --- */

static void test_ioapic(void **state)
{
    QtestState *s = *state;

    qtest_writel(s, IOAPIC, 0x2e); /* low and high half of entry 15 */
    qtest_writel(s, IOAPIC + 0x10, 0x10031);
    qtest_writel(s, IOAPIC, 0x2f);
    qtest_writel(s, IOAPIC + 0x10, 0x03000000);
    assert_int_equal(qtest_readl(s, IOAPIC + 0x10), 0x03000000);
    qtest_writel(s, IOAPIC, 0x2e);
    assert_int_equal(qtest_readl(s, IOAPIC + 0x10), 0x10031);
}

static void test_16550(void **state)
{
    QtestState *s = *state;

    qtest_outb(s, 0x3fb, 0x83); /* DLAB */
    qtest_outb(s, 0x3f8, 0x0c);
    qtest_outb(s, 0x3f9, 0x01);
    assert_int_equal(qtest_inb(s, 0x3f8), 0x0c);
    assert_int_equal(qtest_inb(s, 0x3f9), 0x01);
    qtest_outb(s, 0x3fb, 0x03);
    qtest_outb(s, 0x3fc, 0x10); /* loop */
    qtest_outb(s, 0x3f8, 'x');
    qtest_clock_step(s, 100 * MS);
    assert_int_equal(qtest_inb(s, 0x3fd) & 1, 1);
    assert_int_equal(qtest_inb(s, 0x3f8), 'x');
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {CASE(test_i8042), CASE(test_i8254),  CASE(test_i8259), CASE(test_mc146818),
                                       CASE(test_hpet),  CASE(test_ioapic), CASE(test_16550)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
