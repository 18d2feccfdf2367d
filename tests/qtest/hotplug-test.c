/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The slot of a root port as a hot plug driver sees it: presence, attention button, power, interrupts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libqtest/libqpci.h"
#include "libqtest/libqtest.h"

#define PORT   0x20
#define LNKSTA 0x12
#define SLTCAP 0x14
#define SLTCTL 0x18
#define SLTSTA 0x1a

#define BUTTON  0x0001
#define CHANGED 0x0008
#define PRESENT 0x0040
#define LINK    0x0100
#define ACTIVE  0x2000 /* of LNKSTA */
#define ENABLED 0x1029 /* button, presence, link and hot plug interrupts */
#define LIT     0x01c0 /* power indicator on, attention indicator off */
#define OFF     0x07c0 /* power and indicators off */

typedef struct Slot {
    QtestState *s;
    QpciDevice *port;
    uint8_t cap;
} Slot;

static Slot slot_start(const char *model, const char *args)
{
    g_autofree char *all =
        g_strdup_printf("-machine q35 -m 16 -nodefaults -device %s,id=rp,addr=4,slot=5 %s", model, args);
    Slot t = {.s = qtest_start(all)};

    t.port = qpci_at(t.s, PORT);
    t.cap = qpci_config_readb(t.port, 0x34);
    while (t.cap && qpci_config_readb(t.port, t.cap) != 0x10) {
        t.cap = qpci_config_readb(t.port, (uint8_t)(t.cap + 1));
    }
    assert_true(t.cap);
    return t;
}

static void slot_end(Slot *t)
{
    g_free(t->port);
    qtest_end(t->s);
}

static uint16_t get(Slot *t, unsigned reg)
{
    return qpci_config_readw(t->port, (uint8_t)(t->cap + reg));
}

static void set(Slot *t, unsigned reg, uint16_t val)
{
    qpci_config_writew(t->port, (uint8_t)(t->cap + reg), val);
}

static void plug(Slot *t, const char *id)
{
    qtest_qmp_ok(t->s, "{'execute': 'device_add', 'arguments': {'driver': 'edu', 'bus': 'rp', 'id': '%s'}}",
                 id);
}

static void test_capabilities(void **state)
{
    static const struct {
        const char *model;
        uint32_t ids;
    } models[] = {{"pcie-root-port", 0x000c1b36}, {"ioh3420", 0x34208086}};

    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++) {
        Slot t = slot_start(models[i].model, "-device edu,bus=rp");
        uint32_t cap = qpci_config_readl(t.port, (uint8_t)(t.cap + SLTCAP));

        assert_int_equal(qpci_config_readl(t.port, 0), models[i].ids);
        assert_int_equal(get(&t, 2) & 0x01f0, 0x0140); /* a root port with a slot */
        assert_int_equal(cap & 0x7f, 0x7b);
        assert_int_equal(cap >> 19, 5);
        assert_int_equal(get(&t, SLTSTA), PRESENT); /* was there at power-on: nothing changed */
        assert_int_equal(get(&t, LNKSTA) & ACTIVE, ACTIVE);
        slot_end(&t);
    }
}

static void test_plug(void **state)
{
    Slot t = slot_start("pcie-root-port", "");

    assert_int_equal(get(&t, SLTSTA), 0);
    set(&t, SLTCTL, ENABLED | LIT);
    plug(&t, "e0");
    assert_int_equal(get(&t, SLTSTA), PRESENT | CHANGED | LINK | BUTTON);
    assert_int_equal(qpci_config_readw(t.port, 6) & 8, 8); /* the line is up */
    set(&t, SLTSTA, CHANGED | LINK | BUTTON);
    assert_int_equal(get(&t, SLTSTA), PRESENT);
    assert_int_equal(qpci_config_readw(t.port, 6) & 8, 0);
    slot_end(&t);
}

/* The guest is asked, and has the last word. */
static void test_unplug(void **state)
{
    Slot t = slot_start("pcie-root-port", "");
    g_autofree char *gone = NULL;

    set(&t, SLTCTL, ENABLED | LIT);
    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *twice = NULL;

        plug(&t, "e0");
        set(&t, SLTSTA, CHANGED | LINK | BUTTON);
        qtest_qmp_ok(t.s, "{'execute': 'device_del', 'arguments': {'id': 'e0'}}");
        assert_int_equal(get(&t, SLTSTA), PRESENT | BUTTON);
        twice = qtest_qmp_error(t.s, "{'execute': 'device_del', 'arguments': {'id': 'e0'}}");
        assert_string_equal(twice, "Device 'e0' is already in the process of unplug");
        set(&t, SLTSTA, BUTTON);
        set(&t, SLTCTL, ENABLED | OFF);
        json_object_put(qtest_qmp_event(t.s, "DEVICE_DELETED"));
        assert_int_equal(get(&t, SLTSTA) & (PRESENT | CHANGED), CHANGED);
        assert_int_equal(get(&t, LNKSTA) & ACTIVE, 0);
        set(&t, SLTSTA, CHANGED | LINK);
        set(&t, SLTCTL, ENABLED | LIT);
    }
    gone = qtest_qmp_error(t.s, "{'execute': 'device_del', 'arguments': {'id': 'e0'}}");
    assert_non_null(strstr(gone, "not found"));
    slot_end(&t);
}

static void test_nobody_listens(void **state)
{
    Slot t = slot_start("pcie-root-port", "-device edu,bus=rp,id=e0");

    qtest_qmp_ok(t.s, "{'execute': 'device_del', 'arguments': {'id': 'e0'}}");
    json_object_put(qtest_qmp_event(t.s, "DEVICE_DELETED"));
    assert_int_equal(get(&t, SLTSTA), CHANGED | LINK);
    qtest_qmp_ok(t.s, "{'execute': 'system_reset'}");
    json_object_put(qtest_qmp_event(t.s, "RESET"));
    assert_int_equal(get(&t, SLTSTA), 0);
    plug(&t, "e0");
    slot_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_plug),
        cmocka_unit_test(test_unplug),
        cmocka_unit_test(test_nobody_listens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
