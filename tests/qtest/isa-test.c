/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices on the ISA bus: the DMA controllers every PC has, and those that -device adds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "libqtest/libqpci.h"

#define MACHINE "-nodefaults -m 16 -machine "
static const char *const machines[] = {"q35", "pc"};

static QtestState *start(const char *machine, const char *args)
{
    g_autofree char *all = g_strconcat(MACHINE, machine, " ", args, NULL);

    return qtest_start(all);
}

/* Low byte, high byte of address or count `reg` of the controller at `base`. */
static unsigned dma_word(QtestState *s, uint16_t port)
{
    unsigned low = qtest_inb(s, port);

    return low | (unsigned)qtest_inb(s, port) << 8;
}

static void check_dma(QtestState *s, uint16_t base, unsigned step)
{
    uint16_t address = (uint16_t)(base + 2 * step), count = (uint16_t)(base + 3 * step); /* channel 1 of it */

    assert_int_equal(qtest_inb(s, (uint16_t)(base + 15 * step)), 0xff); /* all masked */
    qtest_outb(s, (uint16_t)(base + 12 * step), 0);
    qtest_outb(s, address, 0x34);
    qtest_outb(s, address, 0x12);
    qtest_outb(s, count, 0xff);
    qtest_outb(s, count, 0x03);
    assert_int_equal(dma_word(s, address), 0x1234);
    assert_int_equal(dma_word(s, count), 0x03ff);
    qtest_inb(s, address); /* now in the middle of a word */
    qtest_outb(s, (uint16_t)(base + 12 * step), 0);
    assert_int_equal(dma_word(s, address), 0x1234);
    qtest_outb(s, (uint16_t)(base + 10 * step), 0x01);
    assert_int_equal(qtest_inb(s, (uint16_t)(base + 15 * step)), 0xfd);
    qtest_outb(s, (uint16_t)(base + 14 * step), 0);
    assert_int_equal(qtest_inb(s, (uint16_t)(base + 15 * step)), 0xf0);
    qtest_outb(s, (uint16_t)(base + 9 * step), 0x05); /* a request that nothing follows */
    assert_int_equal(qtest_inb(s, (uint16_t)(base + 8 * step)), 0x20);
    qtest_outb(s, (uint16_t)(base + 13 * step), 0);
    assert_int_equal(qtest_inb(s, (uint16_t)(base + 8 * step)), 0);
    assert_int_equal(qtest_inb(s, (uint16_t)(base + 15 * step)), 0xff);
}

static void test_dma(void **state)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(machines); i++) {
        QtestState *s = start(machines[i], "");

        check_dma(s, 0x00, 1);
        check_dma(s, 0xc0, 2);
        for (uint16_t port = 0x80; port <= 0x8f; port++) {
            qtest_outb(s, port, (uint8_t)(port ^ 0x5a));
        }
        for (uint16_t port = 0x80; port <= 0x8f; port++) {
            assert_int_equal(qtest_inb(s, port), port ^ 0x5a);
        }
        assert_int_equal(qtest_inb(s, 0x92), 0x02);
        qtest_end(s);
    }
}

/* --- SMBus: the same controller in both chip sets, each where its function says --- */

static uint32_t config_address(unsigned slot, unsigned fn, unsigned reg)
{
    return 0x80000000u | slot << 11 | fn << 8 | reg;
}

static void config_write(QtestState *s, unsigned slot, unsigned fn, unsigned reg, uint32_t val)
{
    qtest_outl(s, 0xcf8, config_address(slot, fn, reg));
    qtest_outl(s, 0xcfc, val);
}

/* One transfer: what the status register says of its end. */
static uint8_t smbus(QtestState *s, uint16_t base, unsigned protocol, uint8_t address, uint8_t command)
{
    uint8_t status;

    qtest_outb(s, base, 0x1e);
    qtest_outb(s, base + 4, address);
    qtest_outb(s, base + 3, command);
    qtest_outb(s, base + 2, (uint8_t)(0x40 | protocol << 2));
    assert_int_equal(qtest_inb(s, base + 2), protocol << 2);
    status = qtest_inb(s, base);
    return status & 0x1f;
}

static void check_smbus(QtestState *s, uint16_t base)
{
    enum { QUICK, BYTE, BYTE_DATA, WORD_DATA, BLOCK = 5 };
    const uint8_t write = 0x52 << 1, read = 0x52 << 1 | 1;

    assert_int_equal(smbus(s, base, QUICK, write, 0), 0x02);
    assert_int_equal(smbus(s, base, QUICK, 0x4f << 1, 0), 0x04); /* nobody there */
    assert_int_equal(smbus(s, base, QUICK, 0x58 << 1, 0), 0x04);
    qtest_outb(s, base + 5, 0xaa);
    assert_int_equal(smbus(s, base, BYTE_DATA, write, 0xff), 0x02);
    qtest_outb(s, base + 5, 0x34);
    qtest_outb(s, base + 6, 0x12);
    assert_int_equal(smbus(s, base, WORD_DATA, write, 0x10), 0x02);
    qtest_outb(s, base + 5, 0);
    assert_int_equal(smbus(s, base, BYTE_DATA, read, 0xff), 0x02);
    assert_int_equal(qtest_inb(s, base + 5), 0xaa);
    assert_int_equal(smbus(s, base, WORD_DATA, read, 0x10), 0x02);
    assert_int_equal(qtest_inb(s, base + 5) | qtest_inb(s, base + 6) << 8, 0x1234);
    assert_int_equal(smbus(s, base, BYTE, write, 0x10), 0x02); /* the next byte's address */
    assert_int_equal(smbus(s, base, BYTE, read, 0), 0x02);
    assert_int_equal(qtest_inb(s, base + 5), 0x34);
    assert_int_equal(smbus(s, base, BYTE, read, 0), 0x02);
    assert_int_equal(qtest_inb(s, base + 5), 0x12);
    assert_int_equal(smbus(s, base, BYTE_DATA, 0x53 << 1 | 1, 0x10), 0x02); /* another module */
    assert_int_equal(qtest_inb(s, base + 5), 0);
    assert_int_equal(smbus(s, base, BLOCK, read, 0x10), 0x04);
}

enum { SMB_STS = 0, SMB_CNT = 2, SMB_D0 = 5, SMB_D1 = 6, SMB_BLOCK = 7, SMB_AUX_CTL = 13, E32B = 2 };

/* A block through the buffer: an EEPROM keeps its count as a byte like the others. */
static void check_smbus_block(QtestState *s, uint16_t base)
{
    enum { BYTE_DATA = 2, BLOCK = 5 };
    const uint8_t write = 0x54 << 1, read = 0x54 << 1 | 1;

    qtest_inb(s, base + SMB_CNT); /* begins the buffer anew */
    for (unsigned i = 0; i < 32; i++) {
        qtest_outb(s, base + SMB_BLOCK, (uint8_t)(0x80 + i));
    }
    qtest_outb(s, base + SMB_D0, 32);
    assert_int_equal(smbus(s, base, BLOCK, write, 0xf0), 0x02);
    qtest_outb(s, base + SMB_D0, 0);
    assert_int_equal(smbus(s, base, BYTE_DATA, read, 0xf0), 0x02);
    assert_int_equal(qtest_inb(s, base + SMB_D0), 32);
    assert_int_equal(smbus(s, base, BYTE_DATA, read, 0x10), 0x02); /* behind the end is the beginning */
    assert_int_equal(qtest_inb(s, base + SMB_D0), 0x9f);
    assert_int_equal(smbus(s, base, BLOCK, read, 0xf0), 0x02);
    assert_int_equal(qtest_inb(s, base + SMB_D0), 32);
    for (unsigned i = 0; i < 32; i++) {
        assert_int_equal(qtest_inb(s, base + SMB_BLOCK), 0x80 + i);
    }
    assert_int_equal(smbus(s, base, BLOCK, read, 0x80), 0x04); /* no count there */
    qtest_outb(s, base + SMB_D0, 33);
    assert_int_equal(smbus(s, base, BLOCK, write, 0), 0x04);
    assert_int_equal(smbus(s, base, BLOCK, 0x58 << 1, 0), 0x04);
}

/* What the ICH9 does besides: blocks byte by byte, I2C reads, process calls. */
static void test_smbus_bytes(void **state)
{
    enum { WORD_DATA = 3, PROCESS_CALL = 4, BLOCK = 5, I2C_READ = 6 };
    const uint8_t write = 0x55 << 1, read = 0x55 << 1 | 1, text[] = {3, 'a', 'b', 'c'};
    const uint16_t base = 0xb000;
    QtestState *s = start("q35", "");

    config_write(s, 0x1f, 3, 0x20, base);
    config_write(s, 0x1f, 3, 0x04, 1);
    config_write(s, 0x1f, 3, 0x40, 1);
    qtest_outb(s, base + SMB_AUX_CTL, E32B);
    check_smbus_block(s, base);
    qtest_outb(s, base + SMB_AUX_CTL, 0);
    qtest_outb(s, base + SMB_D0, 3);
    qtest_outb(s, base + SMB_BLOCK, 'a');
    assert_int_equal(smbus(s, base, BLOCK, write, 0x20), 0x01);
    for (unsigned i = 1; i < 3; i++) {
        assert_int_equal(qtest_inb(s, base) & 0x9f, 0x81);
        qtest_outb(s, base + SMB_BLOCK, text[i + 1]);
        qtest_outb(s, base, 0x80);
    }
    assert_int_equal(qtest_inb(s, base) & 0x9f, 0x81); /* of the last byte too */
    qtest_outb(s, base, 0x80);
    assert_int_equal(qtest_inb(s, base) & 0x9f, 0x02);
    assert_int_equal(smbus(s, base, BLOCK, read, 0x20), 0x01);
    assert_int_equal(qtest_inb(s, base + SMB_D0), 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(qtest_inb(s, base) & 0x9f, 0x81);
        assert_int_equal(qtest_inb(s, base + SMB_BLOCK), text[i + 1]);
        qtest_outb(s, base, 0x80);
    }
    assert_int_equal(qtest_inb(s, base) & 0x9f, 0x02);
    qtest_outb(s, base + SMB_D1, 0x20);
    assert_int_equal(smbus(s, base, I2C_READ, read, 0), 0x01);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(qtest_inb(s, base + SMB_BLOCK), text[i]);
        qtest_outb(s, base + SMB_CNT, (uint8_t)(I2C_READ << 2 | (i >= 2 ? 0x20 : 0)));
        qtest_outb(s, base, 0x80);
    }
    assert_int_equal(qtest_inb(s, base) & 0x9f, 0x02);
    assert_int_equal(smbus(s, base, I2C_READ, read, 0), 0x01);
    qtest_outb(s, base + SMB_CNT, 2); /* no more */
    assert_int_equal(qtest_inb(s, base) & 0x9f, 0x10);
    qtest_outb(s, base + SMB_CNT, 0);
    qtest_outb(s, base + SMB_D0, 1);
    qtest_outb(s, base + SMB_D1, 2);
    assert_int_equal(smbus(s, base, PROCESS_CALL, write, 0x1f), 0x02); /* writes two bytes, reads the next two */
    assert_int_equal(qtest_inb(s, base + SMB_D0) | qtest_inb(s, base + SMB_D1) << 8, 'a' | 'b' << 8);
    assert_int_equal(smbus(s, base, WORD_DATA, read, 0x1f), 0x02);
    assert_int_equal(qtest_inb(s, base + SMB_D0) | qtest_inb(s, base + SMB_D1) << 8, 0x0201);
    qtest_end(s);
}

static void test_smbus(void **state)
{
    QtestState *s = start("q35", "");

    config_write(s, 0x1f, 3, 0x20, 0xb000);
    config_write(s, 0x1f, 3, 0x04, 1);
    assert_int_equal(smbus(s, 0xb000, 0, 0x50 << 1, 0), 0); /* HST_EN is off: nothing begins */
    config_write(s, 0x1f, 3, 0x40, 1);
    check_smbus(s, 0xb000);
    qtest_outb(s, 0xb000, 0x40);
    assert_int_equal(qtest_inb(s, 0xb000) & 0x40, 0); /* ours, */
    assert_int_equal(qtest_inb(s, 0xb000) & 0x40, 0x40); /* and nobody else's */
    qtest_irq_intercept_in(s, "ioapic");
    qtest_outb(s, 0xb002, 0x41);
    assert_true(qpci_any_line(s));
    qtest_outb(s, 0xb000, 0x1e);
    assert_false(qpci_any_line(s));
    qtest_end(s);
    s = start("pc", "");
    config_write(s, 1, 3, 0x90, 0x701);
    assert_int_equal(qtest_inb(s, 0x702), 0xff); /* not yet decoded */
    config_write(s, 1, 3, 0xd0, 0x00010000);
    check_smbus(s, 0x700);
    config_write(s, 1, 3, 0x90, 0x801);
    assert_int_equal(qtest_inb(s, 0x705), 0xff);
    check_smbus(s, 0x800);
    check_smbus_block(s, 0x800);
    qtest_end(s);
}

static void test_debug_exit(void **state)
{
    static const struct {
        const char *args;
        uint16_t port;
        uint32_t val;
        int code;
    } cases[] = {
        {"-device isa-debug-exit", 0x501, 0x10, 0x21},
        {"-device isa-debug-exit", 0x502, 0, 1},
        {"-device isa-debug-exit,iobase=0xf4,iosize=0x04", 0xf4, 0x31, 0x63},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        QtestState *s = start(machines[i % 2], cases[i].args);
        siginfo_t info;

        assert_int_equal(qtest_inb(s, cases[i].port), 0);
        qtest_outb(s, cases[i].port, (uint8_t)cases[i].val);
        assert_int_equal(waitid(P_PID, (id_t)qtest_pid(s), &info, WEXITED | WNOWAIT), 0);
        assert_int_equal(info.si_code, CLD_EXITED);
        assert_int_equal(info.si_status, cases[i].code);
        qtest_kill(s);
    }
}

static void expect_refusal(const char *args, const char *text)
{
    g_autofree char *all = g_strconcat(MACHINE, args, NULL), *err = NULL;

    assert_int_equal(qtest_run_to_exit(all, &err), 1);
    if (!strstr(err, text)) {
        fail_msg("'%s' is not in '%s'", text, err);
    }
}

static void com_interrupt(QtestState *s, uint16_t base, bool on)
{
    qtest_outb(s, (uint16_t)(base + 4), 0x08);         /* OUT2 */
    qtest_outb(s, (uint16_t)(base + 1), on ? 0x02 : 0); /* THRE, which it is */
}

/* COM1 to COM4, two to a line: it is high while one of them wants it. */
static void test_serial_ports(void **state)
{
    static const char *const lines[] = {"-serial null -serial null -serial null -serial null",
                                        "-device isa-serial -device isa-serial,index=1 -device isa-serial -device isa-serial"};
    static const uint16_t ports[] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};

    for (size_t m = 0; m < 2 * G_N_ELEMENTS(machines); m++) {
        QtestState *s = start(machines[m / 2], lines[m % 2]);

        qtest_irq_intercept_in(s, "ioapic");
        for (unsigned n = 0; n < 4; n++) {
            unsigned irq = n % 2 ? 3 : 4;
            uint16_t other = ports[(n + 2) % 4];

            qtest_outb(s, (uint16_t)(ports[n] + 7), (uint8_t)(n + 1)); /* scratch: each has its own */
            assert_int_equal(qtest_inb(s, (uint16_t)(ports[n] + 7)), n + 1);
            assert_false(qtest_irq(s, (int)irq));
            com_interrupt(s, ports[n], true);
            com_interrupt(s, other, true);
            assert_true(qtest_irq(s, (int)irq));
            com_interrupt(s, ports[n], false);
            assert_true(qtest_irq(s, (int)irq));
            com_interrupt(s, other, false);
            assert_false(qtest_irq(s, (int)irq));
        }
        qtest_end(s);
    }
}

static void test_refusals(void **state)
{
    expect_refusal("q35 -serial null -serial null -serial null -serial null -serial null", "four serial ports");
    expect_refusal("q35 -serial null -serial null -serial null -serial null -device isa-serial", "COM1 to COM4 are taken");
    expect_refusal("q35 -serial null -device isa-serial,index=0", "port 0x3f8 belongs to serial");
    expect_refusal("q35 -device isa-debug-exit,iobase=0x60",
                   "port 0x60 belongs to i8042-data; choose another iobase=");
    expect_refusal("q35 -device isa-debug-exit,iobase=0xffff", "ports end at 0xffff");
    expect_refusal("q35 -device isa-debug-exit,iosize=9", "iosize");
    expect_refusal("none -device isa-debug-exit", "no ISA bus");
    expect_refusal("q35 -device pc-testdev -device pc-testdev", "port 0xe0 belongs to pc-testdev-reg");
}

static void test_testdev(void **state)
{
    QtestState *s = start("q35", "-device pc-testdev");

    qtest_outl(s, 0xe0, 0x12345678);
    assert_int_equal(qtest_inl(s, 0xe0), 0x12345678);
    assert_int_equal(qtest_inw(s, 0xe2), 0x1234);
    qtest_outb(s, 0xe1, 0xaa);
    assert_int_equal(qtest_inl(s, 0xe0), 0x1234aa78);
    qtest_outl(s, 0xe4, 0x1000);
    qtest_outl(s, 0xe8, 0x87654321);
    assert_int_equal(qtest_inb(s, 0xea), 0x65);
    assert_int_equal(qtest_inl(s, 0xe8), 0x87654321);
    qtest_writeq(s, 0xff00fff8, UINT64_C(0x1122334455667788));
    assert_int_equal(qtest_readl(s, 0xff00fffc), 0x11223344);
    qtest_irq_intercept_in(s, "ioapic");
    qtest_outb(s, 0x200e, 1);
    assert_true(qtest_irq(s, 14));
    assert_int_equal(qtest_inb(s, 0x200e), 1);
    qtest_outb(s, 0x200e, 0);
    assert_false(qtest_irq(s, 14));
    qtest_end(s);
}

/* The guest says that it has panicked: an event, and the machine stops as -action says. */
static void test_pvpanic(void **state)
{
    QtestState *s = start("q35", "-device pvpanic -action panic=pause");
    struct json_object *event, *data, *action;

    assert_int_equal(qtest_inb(s, 0x505), 3);
    qtest_outb(s, 0x505, 2);
    json_object_put(qtest_qmp_event(s, "GUEST_CRASHLOADED"));
    qtest_outb(s, 0x505, 1);
    event = qtest_qmp_event(s, "GUEST_PANICKED");
    assert_true(json_object_object_get_ex(event, "data", &data));
    assert_true(json_object_object_get_ex(data, "action", &action));
    assert_string_equal(json_object_get_string(action), "pause");
    json_object_put(event);
    json_object_put(qtest_qmp_event(s, "STOP"));
    qtest_end(s);
    s = start("pc", "-device pvpanic,ioport=0x600,events=1");
    assert_int_equal(qtest_inb(s, 0x600), 1);
    qtest_end(s);
}

/* Bit 0 resets when it rises, bit 1 (A20) stays as written until then; the rest is not there. */
static void test_port_92(void **state)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(machines); i++) {
        QtestState *s = start(machines[i], "");

        qtest_outb(s, 0x92, 0xfc);
        assert_int_equal(qtest_inb(s, 0x92), 0);
        qtest_outb(s, 0x92, 0x03);
        json_object_put(qtest_qmp_event(s, "RESET"));
        assert_int_equal(qtest_inb(s, 0x92), 0x02);
        qtest_end(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dma),     cmocka_unit_test(test_debug_exit),  cmocka_unit_test(test_serial_ports),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_testdev),    cmocka_unit_test(test_pvpanic),
        cmocka_unit_test(test_smbus),   cmocka_unit_test(test_smbus_bytes), cmocka_unit_test(test_port_92),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
