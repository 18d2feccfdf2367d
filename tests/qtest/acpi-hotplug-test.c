/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hot plug of PCI by ACPI, as the methods in the guest's tables see it: the registers of QEMU's document
 * "acpi_pci_hotplug", general purpose event 1, and the machine's answers to device_add and device_del.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "libqtest/libqpci.h"
#include "libqtest/libqtest.h"

enum { UP = 0x0, DOWN = 0x4, EJECT = 0x8, REMOVABLE = 0xc, SELECT = 0x10 };

#define PC_PORTS   0xae00
#define Q35_PORTS  0x0cc0
#define NOBODY     0xffffffff /* what reads where no register is */
#define PC_GPE     0xafe0     /* status, then enable: 16 bits each */
#define Q35_GPE_STS 0x620
#define Q35_GPE_EN 0x628
#define EVENT      0x2
#define SCI        9

typedef struct Pc {
    QtestState *s;
    uint16_t ports;
} Pc;

static Pc start(const char *machine, const char *args)
{
    g_autofree char *all = g_strdup_printf("-machine %s -m 16 -nodefaults %s", machine, args);
    Pc pc = {qtest_start(all), strcmp(machine, "pc") ? Q35_PORTS : PC_PORTS};

    qtest_irq_intercept_in(pc.s, "ioapic");
    return pc;
}

static uint32_t get(Pc *pc, uint32_t bus, unsigned reg)
{
    qtest_outl(pc->s, (uint16_t)(pc->ports + SELECT), bus);
    assert_int_equal(qtest_inl(pc->s, (uint16_t)(pc->ports + SELECT)), bus);
    return qtest_inl(pc->s, (uint16_t)(pc->ports + reg));
}

static void set(Pc *pc, uint32_t bus, unsigned reg, uint32_t val)
{
    qtest_outl(pc->s, (uint16_t)(pc->ports + SELECT), bus);
    qtest_outl(pc->s, (uint16_t)(pc->ports + reg), val);
}

static void plug(Pc *pc, const char *id, const char *bus, unsigned slot)
{
    qtest_qmp_ok(pc->s, "{'execute': 'device_add', 'arguments': {'driver': 'edu', 'bus': '%s', 'addr': '%x', 'id': '%s'}}",
                 bus, slot, id);
}

static void ask_to_unplug(Pc *pc, const char *id)
{
    qtest_qmp_ok(pc->s, "{'execute': 'device_del', 'arguments': {'id': '%s'}}", id);
}

static void is_deleted(Pc *pc, const char *id)
{
    struct json_object *event = qtest_qmp_event(pc->s, "DEVICE_DELETED");
    struct json_object *data = json_object_object_get(event, "data");

    assert_string_equal(json_object_get_string(json_object_object_get(data, "device")), id);
    json_object_put(event);
}

static void is_refused(Pc *pc, const char *id, const char *why)
{
    g_autofree char *text =
        qtest_qmp_error(pc->s, "{'execute': 'device_del', 'arguments': {'id': '%s'}}", id);

    assert_non_null(strstr(text, why));
}

static bool is_there(Pc *pc, unsigned slot)
{
    QpciDevice *dev = qpci_at(pc->s, (uint8_t)(slot << 3));
    bool there = qpci_config_readl(dev, QPCI_VENDOR_ID) != NOBODY;

    g_free(dev);
    return there;
}

static void test_registers(void **state)
{
    Pc pc = start("pc", "-device pci-bridge,id=br,addr=5 -device pci-bridge,id=inner,bus=br,addr=7 -device edu,addr=6");

    assert_int_equal(get(&pc, 0, REMOVABLE), 0xffffffdc); /* host bridge, ISA bridge and ours cannot go */
    assert_int_equal(get(&pc, 1, REMOVABLE), 0xffffff7f);
    assert_int_equal(get(&pc, 2, REMOVABLE), 0xffffffff);
    assert_int_equal(get(&pc, 3, REMOVABLE), 0); /* no such bus */
    assert_int_equal(get(&pc, 0xffffffff, REMOVABLE), 0);
    for (uint32_t bus = 0; bus < 4; bus++) {
        set(&pc, bus, UP, 0xffffffff);
        set(&pc, bus, DOWN, 0xffffffff);
        set(&pc, bus, REMOVABLE, 0);
        assert_int_equal(get(&pc, bus, UP), 0); /* what was there at power-on was not plugged */
        assert_int_equal(get(&pc, bus, DOWN), 0);
        assert_int_equal(get(&pc, bus, EJECT), 0);
    }
    set(&pc, 3, EJECT, 0xffffffff);
    assert_int_equal(get(&pc, 0, REMOVABLE), 0xffffffdc);
    assert_int_equal(qtest_inb(pc.s, 0xae14), 0xff);
    qtest_end(pc.s);
}

static void test_events(void **state)
{
    Pc pc = start("pc", "");

    assert_int_equal(qtest_inl(pc.s, PC_GPE), 0);
    qtest_outb(pc.s, PC_GPE + 3, 0x80);
    assert_int_equal(qtest_inw(pc.s, PC_GPE + 2), 0x8000);
    qtest_outl(pc.s, PC_GPE, 0);
    plug(&pc, "e0", "pci.0", 3);
    assert_int_equal(qtest_inl(pc.s, PC_GPE), EVENT);
    assert_false(qtest_irq(pc.s, SCI));
    qtest_outw(pc.s, PC_GPE + 2, EVENT);
    assert_true(qtest_irq(pc.s, SCI));
    qtest_outb(pc.s, PC_GPE, EVENT);
    assert_false(qtest_irq(pc.s, SCI));
    assert_int_equal(qtest_inl(pc.s, PC_GPE), EVENT << 16);
    ask_to_unplug(&pc, "e0");
    assert_true(qtest_irq(pc.s, SCI));
    qtest_end(pc.s);
}

static void test_plug(void **state)
{
    Pc pc = start("pc", "-device pci-bridge,id=br,addr=5");

    plug(&pc, "e0", "pci.0", 4);
    plug(&pc, "e1", "br", 31);
    assert_int_equal(get(&pc, 0, UP), 1u << 4);
    assert_int_equal(get(&pc, 0, UP), 0); /* reading it is the answer */
    assert_int_equal(get(&pc, 1, UP), 1u << 31);
    plug(&pc, "e2", "pci.0", 7);
    assert_int_equal(get(&pc, 0, UP), 1u << 7);
    qtest_outw(pc.s, PC_GPE, EVENT);
    /* Tables are made anew at a reset, and slots of bridges are not in them. */
    qtest_qmp_ok(pc.s, "{'execute': 'device_add', 'arguments': {'driver': 'pci-bridge', 'addr': '9', 'id': 'late'}}");
    assert_int_equal(get(&pc, 0, UP), 1u << 9);
    plug(&pc, "e3", "late", 1);
    ask_to_unplug(&pc, "e3");
    is_deleted(&pc, "e3"); /* of whose bus the guest was told nothing */
    qtest_qmp_ok(pc.s, "{'execute': 'system_reset'}");
    json_object_put(qtest_qmp_event(pc.s, "RESET"));
    assert_int_equal(get(&pc, 0, REMOVABLE), 0xfffffddc);
    assert_int_equal(get(&pc, 2, REMOVABLE), 0xffffffff);
    qtest_end(pc.s);
}

/* Of a device in this process, or in another. */
static void test_unplug(void **state)
{
    Pc pc = {qtest_start_device("", "edu", "-machine pc -device edu,id=other,addr=8"), PC_PORTS};

    assert_true(is_there(&pc, 2));
    ask_to_unplug(&pc, "dev0");
    assert_int_equal(get(&pc, 0, DOWN), 1u << 2);
    assert_int_equal(get(&pc, 0, DOWN), 1u << 2);
    is_refused(&pc, "dev0", "already in the process of unplug");
    assert_true(is_there(&pc, 2));
    ask_to_unplug(&pc, "other");
    assert_int_equal(get(&pc, 0, DOWN), 1u << 2 | 1u << 8);
    set(&pc, 0, EJECT, 1u << 2);
    is_deleted(&pc, "dev0");
    assert_int_equal(get(&pc, 0, DOWN), 1u << 8);
    assert_false(is_there(&pc, 2));
    is_refused(&pc, "dev0", "not found");
    set(&pc, 0, EJECT, 1u << 8);
    is_deleted(&pc, "other");
    for (unsigned i = 0; i < 3; i++) {
        plug(&pc, "again", "pci.0", 2);
        assert_int_equal(get(&pc, 0, UP), 1u << 2);
        ask_to_unplug(&pc, "again");
        set(&pc, 0, EJECT, 1u << 2);
        is_deleted(&pc, "again");
    }
    qtest_end(pc.s);
}

static void test_guest_lets_go_unasked(void **state)
{
    Pc pc = start("pc", "-device pci-bridge,id=br,addr=5 -device edu,id=e1,bus=br,addr=3 -device edu,id=e0,addr=6.1 "
                        "-device edu,id=e2,addr=1.5");

    set(&pc, 1, EJECT, 0xffffffff);
    is_deleted(&pc, "e1");
    set(&pc, 0, EJECT, 0xffffffff);
    is_deleted(&pc, "e0");
    for (unsigned slot = 0; slot < 8; slot++) {
        assert_int_equal(is_there(&pc, slot), slot == 0 || slot == 1 || slot == 5);
    }
    ask_to_unplug(&pc, "e2"); /* in a slot of the board's, which the guest cannot let go of */
    is_deleted(&pc, "e2");
    qtest_end(pc.s);
}

/* All functions of a slot go together. */
static void test_functions(void **state)
{
    Pc pc = start("pc", "-device edu,id=e0,addr=4.0,multifunction=on -device edu,id=e1,addr=4.1");

    ask_to_unplug(&pc, "e1");
    assert_int_equal(get(&pc, 0, DOWN), 1u << 4);
    set(&pc, 0, EJECT, 1u << 4);
    json_object_put(qtest_qmp_event(pc.s, "DEVICE_DELETED"));
    json_object_put(qtest_qmp_event(pc.s, "DEVICE_DELETED"));
    assert_false(is_there(&pc, 4));
    qtest_end(pc.s);
}

static void test_reset(void **state)
{
    Pc pc = start("pc", "-device pci-bridge,id=br,addr=5 -device edu,id=e1,bus=br,addr=3 -device edu,id=e0,addr=6");

    ask_to_unplug(&pc, "e0");
    ask_to_unplug(&pc, "e1");
    plug(&pc, "e2", "pci.0", 7);
    qtest_qmp_ok(pc.s, "{'execute': 'system_reset'}");
    is_deleted(&pc, "e0");
    is_deleted(&pc, "e1");
    json_object_put(qtest_qmp_event(pc.s, "RESET"));
    assert_int_equal(get(&pc, 0, UP) | get(&pc, 0, DOWN) | get(&pc, 1, DOWN), 0);
    assert_int_equal(qtest_inl(pc.s, PC_GPE), 0);
    assert_true(is_there(&pc, 7));
    plug(&pc, "e0", "pci.0", 6);
    assert_int_equal(get(&pc, 0, UP), 1u << 6);
    qtest_end(pc.s);
}

/* Which buses have it: words of the command line, and REMOVABLE of the first three. */
static void test_properties(void **state)
{
    static const char bridges[] = "-device pci-bridge,id=br,addr=5 -device pcie-root-port,id=rp,addr=6";
    static const struct {
        const char *machine, *args;
        uint32_t removable[3];
    } ways[] = {
        {"pc", "", {0xffffffdc, 0xffffffff, 0}},
        {"pc", "-global PIIX4_PM.acpi-root-pci-hotplug=off", {0xffffffff, 0, 0}},
        {"pc", "-global PIIX4_PM.acpi-pci-hotplug-with-bridge-support=off", {0xffffffdc, 0, 0}},
        {"pc", "-global PIIX4_PM.acpi-root-pci-hotplug=off -global PIIX4_PM.acpi-pci-hotplug-with-bridge-support=off",
         {NOBODY, NOBODY, NOBODY}},
        {"q35", "", {0xffffffff, 0, 0}},
        {"q35", "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=on", {0xffffffff, 1, 0}},
        {"q35", "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off", {NOBODY, NOBODY, NOBODY}},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        bool pc_type = !strcmp(ways[i].machine, "pc");
        g_autofree char *args =
            g_strdup_printf("%s %s", ways[i].args, pc_type ? "-device pci-bridge,id=br,addr=5" : bridges);
        Pc pc = start(ways[i].machine, args);

        for (uint32_t bus = 0; bus < 3; bus++) {
            qtest_outl(pc.s, (uint16_t)(pc.ports + SELECT), bus);
            assert_int_equal(qtest_inl(pc.s, (uint16_t)(pc.ports + REMOVABLE)), ways[i].removable[bus]);
        }
        qtest_end(pc.s);
    }
}

static void test_express(void **state)
{
    Pc pc = start("q35", "-device pci-bridge,id=br,addr=5 -device pcie-root-port,id=rp,addr=6 "
                         "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=on");

    qtest_outb(pc.s, Q35_GPE_EN, EVENT);
    plug(&pc, "e0", "rp", 0);
    assert_true(qtest_irq(pc.s, SCI));
    assert_int_equal(qtest_inb(pc.s, Q35_GPE_STS), EVENT);
    assert_int_equal(get(&pc, 1, UP), 1);
    ask_to_unplug(&pc, "e0");
    assert_int_equal(get(&pc, 1, DOWN), 1);
    set(&pc, 1, EJECT, 1);
    is_deleted(&pc, "e0");
    plug(&pc, "e1", "br", 9);
    assert_int_equal(get(&pc, 0, UP), 1u << 9);
    qtest_end(pc.s);
}

static bool migration_completed(Pc *pc)
{
    struct json_object *reply = qtest_qmp(pc->s, "{'execute': 'query-migrate'}");
    struct json_object *status = json_object_object_get(json_object_object_get(reply, "return"), "status");
    bool completed = !g_strcmp0(json_object_get_string(status), "completed");

    json_object_put(reply);
    return completed;
}

static void migrate(Pc *pc, const char *path)
{
    qtest_qmp_ok(pc->s, "{'execute': 'migrate', 'arguments': {'uri': 'file:%s'}}", path);
    QTEST_WAIT(migration_completed(pc));
}

/* What the guest was told and has not done, it does after the move. */
static void test_migration(void **state)
{
    static const char machine[] =
        "-device edu,id=e0,addr=4 -device pci-bridge,id=br,addr=5 -device edu,id=e1,bus=br,addr=3";
    g_autofree char *dir = g_dir_make_tmp("hotplug-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "stream", NULL);
    g_autofree char *args = g_strdup_printf("%s -device edu,id=e2,addr=6 -incoming file:%s", machine, path);
    Pc pc = start("pc", machine);

    plug(&pc, "e2", "pci.0", 6);
    ask_to_unplug(&pc, "e0");
    ask_to_unplug(&pc, "e1");
    qtest_outw(pc.s, PC_GPE + 2, EVENT);
    get(&pc, 1, DOWN);
    migrate(&pc, path);
    qtest_end(pc.s);
    pc = start("pc", args);
    QTEST_WAIT(migration_completed(&pc));
    assert_int_equal(qtest_inl(pc.s, PC_PORTS + SELECT), 1);
    assert_int_equal(qtest_inl(pc.s, PC_GPE), EVENT << 16 | EVENT);
    assert_int_equal(qtest_inl(pc.s, PC_PORTS + DOWN), 1u << 3);
    assert_int_equal(get(&pc, 0, UP), 1u << 6);
    assert_int_equal(get(&pc, 0, DOWN), 1u << 4);
    is_refused(&pc, "e0", "already in the process of unplug");
    set(&pc, 0, EJECT, 1u << 4);
    is_deleted(&pc, "e0");
    set(&pc, 1, EJECT, 1u << 3);
    is_deleted(&pc, "e1");
    ask_to_unplug(&pc, "e2");
    assert_int_equal(get(&pc, 0, DOWN), 1u << 6);
    qtest_end(pc.s);
    g_unlink(path);
    g_rmdir(dir);
}

/* What a bridge tells firmware and guest: its chassis, and how much to leave for later; as QEMU's does. */
static void test_bridge_capabilities(void **state)
{
    static const uint32_t words[] = {0x07200004, 0x01204009, NOBODY, 0x2000, 0, 0x1000000, NOBODY, NOBODY, NOBODY};
    Pc pc = start("pc", "-device pci-bridge,addr=5,chassis_nr=7,io-reserve=8k,mem-reserve=16M -device pci-bridge,addr=6,io-reserve=0,mem-reserve=0");
    QpciDevice *told = qpci_at(pc.s, 5 << 3), *plain = qpci_at(pc.s, 6 << 3);

    assert_int_equal(qpci_config_readb(told, 0x34), 0x44);
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        assert_int_equal(qpci_config_readl(told, (uint16_t)(0x40 + 4 * i)), words[i]);
    }
    assert_int_equal(qpci_config_readb(plain, 0x34), 0);
    g_free(told);
    g_free(plain);
    qtest_end(pc.s);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(test_registers), cmocka_unit_test(test_events),     cmocka_unit_test(test_plug),
        cmocka_unit_test(test_unplug),    cmocka_unit_test(test_guest_lets_go_unasked),
        cmocka_unit_test(test_functions), cmocka_unit_test(test_reset),      cmocka_unit_test(test_properties),
        cmocka_unit_test(test_express),   cmocka_unit_test(test_migration),
        cmocka_unit_test(test_bridge_capabilities),
    };
    const struct CMUnitTest of_a_device[] = {cmocka_unit_test(test_unplug)};

    /* Only one of them has a device that can be elsewhere. */
    if (!g_strcmp0(g_getenv("QTEST_TRANSPORT"), "unix")) {
        return cmocka_run_group_tests(of_a_device, NULL, NULL);
    }
    return cmocka_run_group_tests(all, NULL, NULL);
}
