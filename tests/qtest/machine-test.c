/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine through QMP and the bus: run state, reset, objects, devices that cannot be, the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libqtest/libqpci.h"
#include "libqtest/libqtest.h"

static int start(void **state)
{
    *state = qtest_start("-machine q35 -m 32");
    return 0;
}

static int end(void **state)
{
    qtest_end(*state);
    return 0;
}

/* Member `key` of the return value as text (g_free). */
static char *query(QtestState *s, const char *command, const char *key)
{
    struct json_object *reply = qtest_qmp(s, "{'execute': '%s'}", command);
    struct json_object *result, *value;
    char *text;

    assert_true(json_object_object_get_ex(reply, "return", &result));
    assert_true(json_object_object_get_ex(result, key, &value));
    text = g_strdup(json_object_get_string(value));
    json_object_put(reply);
    return text;
}

static void test_run_state(void **state)
{
    QtestState *s = *state;
    g_autofree char *before = query(s, "query-status", "status");
    g_autofree char *stopped = NULL, *after = NULL;

    assert_string_equal(before, "running");
    qtest_qmp_ok(s, "{'execute': 'stop'}");
    json_object_put(qtest_qmp_event(s, "STOP"));
    stopped = query(s, "query-status", "status");
    assert_string_equal(stopped, "paused");
    qtest_qmp_ok(s, "{'execute': 'cont'}");
    json_object_put(qtest_qmp_event(s, "RESUME"));
    after = query(s, "query-status", "running");
    assert_string_equal(after, "true");
}

static void test_reset(void **state)
{
    QtestState *s = *state;
    struct json_object *event, *data, *guest, *reason;

    qtest_outl(s, 0xcf8, 0x80000000);
    qtest_qmp_ok(s, "{'execute': 'system_reset'}");
    event = qtest_qmp_event(s, "RESET");
    assert_true(json_object_object_get_ex(event, "data", &data));
    assert_true(json_object_object_get_ex(data, "guest", &guest));
    assert_true(json_object_object_get_ex(data, "reason", &reason));
    assert_false(json_object_get_boolean(guest));
    assert_string_equal(json_object_get_string(reason), "host-qmp-system-reset");
    json_object_put(event);
    assert_int_equal(qtest_inl(s, 0xcf8), 0);
}

static uint8_t host_bridge_byte(QtestState *s, uint8_t offset)
{
    qtest_outl(s, 0xcf8, 0x80000000u | (offset & 0xfc));
    return qtest_inb(s, (uint16_t)(0xcfc + (offset & 3)));
}

static uint8_t set_host_bridge_byte(QtestState *s, uint8_t offset, uint8_t val)
{
    qtest_outl(s, 0xcf8, 0x80000000u | (offset & 0xfc));
    qtest_outb(s, (uint16_t)(0xcfc + (offset & 3)), val);
    return host_bridge_byte(s, offset);
}

/* SMRAM's register of both host bridges: C_BASE_SEG is wired, D_LCK closes D_OPEN and leaves D_CLS alone until reset. */
static void test_smram_register(void **state)
{
    static const struct {
        const char *args;
        uint8_t offset;
    } boards[] = {{"-machine q35 -m 32", 0x9d}, {"-machine pc -m 32", 0x72}};

    for (unsigned i = 0; i < G_N_ELEMENTS(boards); i++) {
        QtestState *s = qtest_start(boards[i].args);
        uint8_t offset = boards[i].offset;

        assert_int_equal(host_bridge_byte(s, offset), 0x02);
        assert_int_equal(set_host_bridge_byte(s, offset, 0x48), 0x4a);
        assert_int_equal(set_host_bridge_byte(s, offset, 0xef), 0x6a);
        assert_int_equal(set_host_bridge_byte(s, offset, 0x00), 0x02);
        assert_int_equal(set_host_bridge_byte(s, offset, 0x58), 0x1a);
        assert_int_equal(set_host_bridge_byte(s, offset, 0x40), 0x1a);
        assert_int_equal(set_host_bridge_byte(s, offset, 0x20), 0x3a);
        qtest_qmp_ok(s, "{'execute': 'system_reset'}");
        json_object_put(qtest_qmp_event(s, "RESET"));
        assert_int_equal(host_bridge_byte(s, offset), 0x02);
        assert_int_equal(set_host_bridge_byte(s, offset, 0x48), 0x4a);
        qtest_end(s);
    }
}

/* RAM keeps what was written, ends where -m says, and is nowhere else. */
static void test_ram(void **state)
{
    QtestState *s = *state;

    qtest_writel(s, (32 << 20) - 4, 0x600df00d);
    assert_int_equal(qtest_readl(s, (32 << 20) - 4), 0x600df00d);
    qtest_writel(s, 32 << 20, 0x12345678);
    assert_int_not_equal(qtest_readl(s, 32 << 20), 0x12345678);
}

static void test_pci(void **state)
{
    QtestState *s = *state;
    QpciDevice *host = qpci_at(s, 0);
    g_autofree char *text = qtest_hmp(s, "info pci");
    g_autofree char *id = g_strdup_printf("%04x:%04x", qpci_config_readw(host, QPCI_VENDOR_ID),
                                          qpci_config_readw(host, QPCI_DEVICE_ID));

    assert_int_equal(qpci_config_readw(host, QPCI_VENDOR_ID), 0x8086);
    assert_non_null(strstr(text, id));
    assert_int_equal(qpci_config_readl(&(QpciDevice){.qts = s, .devfn = 0x48}, 0), UINT32_MAX);
    g_free(host);
}

static void test_objects(void **state)
{
    QtestState *s = *state;
    g_autofree char *twice = NULL, *unknown = NULL, *gone = NULL;

    qtest_qmp_ok(s, "{'execute': 'object-add', 'arguments': {'qom-type': 'memory-backend-ram', 'id': 'm0', "
                    "'size': 4096}}");
    twice = qtest_qmp_error(s, "{'execute': 'object-add', 'arguments': {'qom-type': 'memory-backend-ram', "
                               "'id': 'm0', 'size': 4096}}");
    assert_non_null(strstr(twice, "m0"));
    qtest_qmp_ok(s, "{'execute': 'qom-get', 'arguments': {'path': '/objects/m0', 'property': 'size'}}");
    qtest_qmp_ok(s, "{'execute': 'object-del', 'arguments': {'id': 'm0'}}");
    gone = qtest_qmp_error(s, "{'execute': 'object-del', 'arguments': {'id': 'm0'}}");
    assert_non_null(strstr(gone, "m0"));
    unknown = qtest_qmp_error(
        s, "{'execute': 'object-add', 'arguments': {'qom-type': 'memory-backend-rom', 'id': 'x'}}");
    assert_non_null(strstr(unknown, "memory-backend-rom"));
}

static void test_device_errors(void **state)
{
    QtestState *s = *state;
    g_autofree char *unknown =
        qtest_qmp_error(s, "{'execute': 'device_add', 'arguments': {'driver': 'no-such-device'}}");
    g_autofree char *nobody = qtest_qmp_error(s, "{'execute': 'device_del', 'arguments': {'id': 'nobody'}}");
    g_autofree char *missing = qtest_qmp_error(s, "{'execute': 'device_add'}");

    assert_non_null(strstr(unknown, "no-such-device"));
    assert_non_null(strstr(nobody, "nobody"));
    assert_string_equal(missing, "Parameter 'driver' is missing");
}

/* Everything the human monitor can show is shown, and none of it ends the program. */
static void test_hmp(void **state)
{
    static const char *const lines[] = {
        "help",       "info",          "info status", "info version",  "info name",
        "info mtree", "info mtree -f", "info qtree",  "info qom-tree", "info registers",
        "info cpus",  "info chardev",  "info pci",    "qom-list /",    "xp /4xw 0",
    };
    QtestState *s = *state;
    g_autofree char *unknown = qtest_hmp(s, "infox");

    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *text = qtest_hmp(s, lines[i]);

        assert_true(*text);
        assert_null(strstr(text, "unknown"));
    }
    assert_non_null(strstr(unknown, "unknown command"));
}

static void test_xp(void **state)
{
    QtestState *s = *state;
    g_autofree char *text = NULL;

    qtest_writeq(s, 0x200000, UINT64_C(0xfedcba9876543210));
    text = qtest_hmp(s, "xp /2xw 0x200000");
    assert_string_equal(text, "0000000000200000: 0x76543210 0xfedcba98\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run_state), cmocka_unit_test(test_reset),
        cmocka_unit_test(test_ram),       cmocka_unit_test(test_pci),
        cmocka_unit_test(test_objects),   cmocka_unit_test(test_device_errors),
        cmocka_unit_test(test_hmp),       cmocka_unit_test(test_xp),
        cmocka_unit_test(test_smram_register),
    };

    return cmocka_run_group_tests(tests, start, end);
}
