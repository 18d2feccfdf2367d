/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qtest protocol against every command, every bad argument and input in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libqtest/libqtest.h"

/* A place in RAM nobody else uses. */
#define SCRATCH 0x100000

static int start(void **state)
{
    *state = qtest_start("-machine q35 -m 16");
    return 0;
}

static int end(void **state)
{
    qtest_end(*state);
    return 0;
}

static void assert_answer(QtestState *s, const char *command, const char *answer)
{
    g_autofree char *got = qtest_command(s, "%s", command);

    assert_string_equal(got, answer);
}

static void assert_fails(QtestState *s, const char *command)
{
    g_autofree char *got = qtest_command(s, "%s", command);

    assert_true(g_str_has_prefix(got, "FAIL "));
}

static void test_registers(void **state)
{
    QtestState *s = *state;

    qtest_writeq(s, SCRATCH, UINT64_C(0x1122334455667788));
    assert_int_equal(qtest_readb(s, SCRATCH), 0x88);
    assert_int_equal(qtest_readb(s, SCRATCH + 7), 0x11);
    assert_int_equal(qtest_readw(s, SCRATCH + 2), 0x5566);
    assert_int_equal(qtest_readl(s, SCRATCH + 4), 0x11223344);
    assert_int_equal(qtest_readq(s, SCRATCH), 0x1122334455667788);
    qtest_writeb(s, SCRATCH, 0xaa);
    qtest_writew(s, SCRATCH + 1, 0xbbcc); /* unaligned */
    qtest_writel(s, SCRATCH + 3, 0xdeadbeef);
    assert_int_equal(qtest_readq(s, SCRATCH), 0x11deadbeefbbccaa);
    assert_int_equal(qtest_readl(s, SCRATCH + 3), 0xdeadbeef);
}

static void test_blocks(void **state)
{
    QtestState *s = *state;
    uint8_t out[5000], in[5000];

    for (size_t i = 0; i < sizeof(out); i++) {
        out[i] = (uint8_t)(i * 7 + i / 256);
    }
    qtest_memwrite(s, SCRATCH + 1, out, sizeof(out));
    qtest_memread(s, SCRATCH + 1, in, sizeof(in));
    assert_memory_equal(in, out, sizeof(out));
    qtest_memset(s, SCRATCH + 2, 0x5c, 3);
    assert_answer(s, "read 0x100001 5", "OK 0x005c5c5c1c");
    assert_answer(s, "write 0x100000 4 0x01Ff", "OK"); /* what is missing is zero */
    assert_answer(s, "read 0x100000 4", "OK 0x01ff0000");
    assert_answer(s, "b64read 0x100000 2", "OK Af8=");
    assert_answer(s, "b64write 0x100000 3 AQID", "OK");
    assert_answer(s, "read 0x100000 4", "OK 0x01020300");
}

static void test_ports(void **state)
{
    QtestState *s = *state;

    qtest_outl(s, 0xcf8, 0x80000004);
    assert_int_equal(qtest_inl(s, 0xcf8), 0x80000004);
    assert_int_equal(qtest_inw(s, 0xcfc), qtest_inl(s, 0xcfc) & 0xffff);
    assert_answer(s, "inb 0x5000", "OK 0x00ff"); /* nobody there */
}

static void test_clock(void **state)
{
    QtestState *s = *state;
    int64_t now = qtest_clock_step(s, 0);
    g_autofree char *set = NULL;

    assert_int_equal(qtest_clock_step(s, 12345), now + 12345);
    assert_int_equal(qtest_clock_step(s, 0), now + 12345);
    assert_true(qtest_clock_step_next(s) >= now + 12345);
    now = qtest_clock_step(s, 0);
    set = qtest_command(s, "clock_set %" G_GINT64_FORMAT, now + 99);
    assert_int_equal(qtest_clock_step(s, 0), now + 99);
    assert_fails(s, "clock_set 1");
    assert_fails(s, "clock_step 99999999999999999999999");
    assert_fails(s, "clock_step 9223372036854775807");
    assert_int_equal(qtest_clock_step(s, 0), now + 99);
}

static void test_bad_commands(void **state)
{
    static const char *const bad[] = {
        "",
        "   ",
        "nonsense",
        "outb",
        "outb 1",
        "outb 1 2 3",
        "outb x 1",
        "outb 0x10000 1",
        "inb -",
        "readb",
        "readb 0x",
        "readq 1 2",
        "writel 1",
        "read 0 0",
        "read 0 17000000",
        "read -1 2",
        "write 0 1",
        "write 0 1 12",
        "write 0 1 0xzz",
        "memset 0 1",
        "memset 0 99999999999 1",
        "b64write 0 3 AQ==",
        "b64write 0 3 !!!!",
        "b64read 0 -1",
        "clock_set",
        "clock_set x",
        "clock_step x",
        "irq_intercept_in",
        "irq_intercept_in /nobody",
        "irq_intercept_out nobody",
        "set_irq_in",
        "set_irq_in /nobody x 0 1",
        "set_irq_in /machine x 0 1",
        "endianness 1",
        "READB 0",
    };
    QtestState *s = *state;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        assert_fails(s, bad[i]);
    }
    assert_answer(s, "endianness", "OK little");
}

/* One command byte by byte, then many in one write. */
static void test_pieces(void **state)
{
    static const char slow[] = "writel 0x100000 0x1234\n";
    static const char fast[] = "readl 0x100000\nendianness\nreadb 0x100001\n";
    QtestState *s = *state;
    g_autofree char *one = NULL, *two = NULL, *three = NULL, *four = NULL;

    for (size_t i = 0; i < strlen(slow); i++) {
        qtest_send(s, slow + i, 1);
    }
    one = qtest_receive(s);
    assert_string_equal(one, "OK");
    qtest_send(s, fast, strlen(fast));
    two = qtest_receive(s);
    three = qtest_receive(s);
    four = qtest_receive(s);
    assert_string_equal(two, "OK 0x0000000000001234");
    assert_string_equal(three, "OK little");
    assert_string_equal(four, "OK 0x0000000000000012");
}

static void test_garbage(void **state)
{
    QtestState *s = *state;
    uint8_t noise[4096];
    g_autofree char *answer = NULL;

    for (size_t i = 0; i < sizeof(noise); i++) {
        noise[i] = (uint8_t)(i * 131 + 17);
        if (noise[i] == '\n') {
            noise[i] = 0;
        }
    }
    qtest_send(s, noise, sizeof(noise));
    qtest_send(s, "\n", 1);
    answer = qtest_receive(s);
    assert_true(g_str_has_prefix(answer, "FAIL "));
    assert_answer(s, "endianness", "OK little");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers), cmocka_unit_test(test_blocks),       cmocka_unit_test(test_ports),
        cmocka_unit_test(test_clock),     cmocka_unit_test(test_bad_commands), cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_garbage),
    };

    return cmocka_run_group_tests(tests, start, end);
}
