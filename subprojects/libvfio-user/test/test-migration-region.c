/* SPDX-License-Identifier: BSD-3-Clause */
/* Migration by the version 1 region, as clients did it before 2022: a device saved and restored through its registers. */
#include "client.h"

#include "wire/bytes.h"

static ssize_t bar_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    memset(buf, 0, is_write ? 0 : count);
    return (ssize_t)count;
}

#define MIGR VFU_PCI_DEV_MIGR_REGION_IDX

static char transitions[32];
static const char *source = "a device's whole state";
static size_t source_at;
static char restored[64];
static int data_errno;

static int on_transition(vfu_ctx_t *ctx, vfu_migr_state_t to)
{
    size_t n = strlen(transitions);

    transitions[n] = "SRCPL"[to];
    return 0;
}

static ssize_t on_read(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    size_t left = strlen(source) - source_at, n = left < count ? left : count;

    if (data_errno) {
        errno = data_errno;
        return -1;
    }
    memcpy(buf, source + source_at, n);
    source_at += n;
    return (ssize_t)n;
}

static ssize_t on_write(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    if (data_errno) {
        errno = data_errno;
        return -1;
    }
    memcpy(restored + strlen(restored), buf, count);
    return (ssize_t)count;
}

static void open_migratable(Client *c)
{
    const vfu_migration_callbacks_t callbacks = { VFU_MIGR_CALLBACKS_VERS, on_transition, on_read, on_write };

    memset(transitions, 0, sizeof(transitions));
    memset(restored, 0, sizeof(restored));
    source_at = 0;
    data_errno = 0;
    client_open(c, LIBVFIO_USER_FLAG_ATTACH_NB);
    assert_int_equal(vfu_setup_region(c->ctx, 0, 4096, bar_access, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1,
                                      0), 0);
    assert_int_equal(vfu_setup_device_migration_region(c->ctx, 8), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(vfu_setup_device_migration_callbacks(c->ctx, &callbacks), 0);
    assert_int_equal(vfu_setup_device_migration_region(c->ctx, 0), -1);
    assert_int_equal(vfu_setup_device_migration_region(c->ctx, (1u << 20) + 1), -1);
    assert_int_equal(vfu_setup_device_migration_region(c->ctx, 1u << 20), 0);
    assert_int_equal(vfu_setup_device_migration_region(c->ctx, 8), 0);
    client_attach(c, NULL);
}

static uint64_t reg(Client *c, uint64_t offset)
{
    uint64_t value = 0;

    assert_int_equal(client_read(c, MIGR, offset, &value, offset ? 8 : 4), 0);
    return value;
}

static int set_reg(Client *c, uint64_t offset, uint64_t value)
{
    return client_write(c, MIGR, offset, &value, offset ? 8 : 4);
}

static void test_version_1_region_info(void **state)
{
    uint8_t body[WIRE_REGION_INFO_SIZE];
    WireRegionInfo info = { .index = MIGR, .argsz = 32 };
    WireInfo device = { 0 };
    WireMessage m;
    Client c;

    open_migratable(&c);
    wire_info_encode(body, &device);
    assert_int_equal(client_call(&c, WIRE_GET_INFO, body, WIRE_INFO_SIZE, NULL, 0, &m), 0);
    assert_int_equal(wire_info_decode(&device, m.body, m.len), 0);
    assert_int_equal(device.num_regions, 10);
    wire_message_clear(&m);
    wire_region_info_encode(body, &info);
    assert_int_equal(client_call(&c, WIRE_GET_REGION_INFO, body, sizeof(body), NULL, 0, &m), 0);
    assert_int_equal(wire_region_info_decode(&info, m.body, m.len), 0);
    assert_int_equal(info.argsz, 48);
    assert_int_equal(info.flags & WIRE_REGION_CAPS, 0);
    wire_message_clear(&m);
    wire_region_info_encode(body, &info);
    assert_int_equal(client_call(&c, WIRE_GET_REGION_INFO, body, sizeof(body), NULL, 0, &m), 0);
    assert_int_equal(wire_region_info_decode(&info, m.body, m.len), 0);
    assert_int_equal(info.size, 4096 + 8);
    assert_int_equal(info.cap_offset, 32);
    assert_int_equal(wire_get_u16(m.body, 32), WIRE_CAP_TYPE);
    assert_int_equal(wire_get_u32(m.body, 40), 3);
    assert_int_equal(wire_get_u32(m.body, 44), 1);
    wire_message_clear(&m);
    client_close(&c);
}

static void test_version_1_save(void **state)
{
    char got[64] = { 0 };
    uint64_t size, offset;
    Client c;

    open_migratable(&c);
    assert_int_equal(reg(&c, 0), 1);
    assert_int_equal(reg(&c, 8), 0);
    assert_int_equal(set_reg(&c, 0, 3), 0);
    assert_int_equal(reg(&c, 0), 3);
    assert_int_equal(reg(&c, 8), 8);
    assert_int_equal(set_reg(&c, 0, 2), 0);
    /* What was announced but not taken is not lost on the way. */
    while ((size = reg(&c, 8)) > 0) {
        offset = reg(&c, 0x10);
        assert_int_equal(reg(&c, 0x18), size);
        assert_int_equal(client_read(&c, MIGR, offset, got + strlen(got), (uint32_t)size), 0);
    }
    assert_string_equal(got, source);
    /* In stop-and-copy the device itself is not accessible. */
    assert_int_equal(client_read(&c, 0, 0, got, 4), EINVAL);
    data_errno = EIO;
    assert_int_equal(client_read(&c, MIGR, 8, got, 8), EIO);
    assert_int_equal(set_reg(&c, 0, 0), 0);
    assert_int_equal(set_reg(&c, 0, 1), 0);
    assert_string_equal(transitions, "PCSR");
    client_close(&c);
}

static void test_version_1_restore(void **state)
{
    Client c;

    open_migratable(&c);
    assert_int_equal(set_reg(&c, 0x18, 4), EINVAL);
    assert_int_equal(client_write(&c, MIGR, 4096, "no", 2), EINVAL);
    assert_int_equal(set_reg(&c, 0, 4), 0);
    assert_int_equal(client_write(&c, MIGR, reg(&c, 0x10), "restored", 8), 0);
    assert_int_equal(set_reg(&c, 0x18, 8), 0);
    assert_int_equal(client_write(&c, MIGR, 4096, "!", 1), 0);
    assert_int_equal(set_reg(&c, 0x18, 1), 0);
    assert_string_equal(restored, "restored!");
    assert_int_equal(set_reg(&c, 0x18, 9), EINVAL);
    data_errno = ENOSPC;
    assert_int_equal(set_reg(&c, 0x18, 1), ENOSPC);
    assert_int_equal(set_reg(&c, 0, 1), 0);
    assert_string_equal(transitions, "SLSR");
    client_close(&c);
}

static void test_version_1_refusals(void **state)
{
    uint8_t bytes[16];
    Client c;

    open_migratable(&c);
    assert_int_equal(set_reg(&c, 0, 5), EINVAL);
    assert_int_equal(set_reg(&c, 0, 6), EINVAL);
    assert_int_equal(set_reg(&c, 0, 0x100), EINVAL);
    assert_int_equal(set_reg(&c, 0, 1), 0);
    assert_int_equal(set_reg(&c, 0, 0), 0);
    assert_int_equal(set_reg(&c, 0, 3), EINVAL);
    assert_int_equal(set_reg(&c, 0, 1), 0);
    assert_int_equal(set_reg(&c, 0, 3), 0);
    assert_int_equal(set_reg(&c, 0, 0), EINVAL);
    assert_int_equal(client_read(&c, MIGR, 4, bytes, 4), EINVAL);
    assert_int_equal(client_read(&c, MIGR, 4, bytes, 8), EINVAL);
    assert_int_equal(client_read(&c, MIGR, 0x20, bytes, 8), EINVAL);
    assert_int_equal(client_read(&c, MIGR, 4096, bytes, 9), EINVAL);
    assert_int_equal(client_write(&c, MIGR, 8, bytes, 8), EINVAL);
    /* The next client finds the device running. */
    client_hang_up(&c);
    assert_int_equal(vfu_run_ctx(c.ctx), -1);
    client_attach(&c, NULL);
    assert_int_equal(reg(&c, 0), 1);
    client_close(&c);
}

static int calls_of_quiesce;

static int on_quiesce(vfu_ctx_t *ctx)
{
    calls_of_quiesce++;
    return 0;
}

static void test_version_1_quiesces(void **state)
{
    Client c;

    open_migratable(&c);
    calls_of_quiesce = 0;
    vfu_setup_device_quiesce_cb(c.ctx, on_quiesce);
    assert_int_equal(reg(&c, 0), 1);
    assert_int_equal(calls_of_quiesce, 0);
    assert_int_equal(set_reg(&c, 0, 0), 0);
    assert_int_equal(calls_of_quiesce, 1);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_1_region_info),
        cmocka_unit_test(test_version_1_save),
        cmocka_unit_test(test_version_1_restore),
        cmocka_unit_test(test_version_1_refusals),
        cmocka_unit_test(test_version_1_quiesces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
