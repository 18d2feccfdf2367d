/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices of the PC on a machine without CPUs: interval timer, interrupt
 * controllers, clock and serial port, driven through their registers in manual
 * guest time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/trace.h"
#include "hw/char/serial.h"
#include "hw/i386/pc.h"
#include "hw/pci/pci.h"

const Model *const model_table[] = {&pc_q35_model.model, &isa_serial_model.model,
                                    &ram_backend_ram_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

#define MS 1000000ll

static Machine *pc_new(void)
{
    GError *error = NULL;
    Machine *m = machine_new(&pc_q35_model, &error);
    assert_non_null(m);
    m->ram_size = 16ull << 20;
    m->smp_cpus = 1;
    clock_set_manual(m->clocks);
    if (!machine_start(m, &error)) {
        fail_msg("%s", error->message);
    }
    machine_reset(m, SHUTDOWN_NONE);
    return m;
}

static int setup(void **state)
{
    *state = pc_new();
    return 0;
}

static int teardown(void **state)
{
    machine_free(*state);
    return 0;
}

static uint8_t in(Machine *m, uint16_t port)
{
    uint64_t val = 0;
    assert_int_equal(as_load(m->io, port, 1, &val, MEM_ATTRS_CPU), MEM_OK);
    return (uint8_t)val;
}

static void out(Machine *m, uint16_t port, uint8_t val)
{
    assert_int_equal(as_store(m->io, port, 1, val, MEM_ATTRS_CPU), MEM_OK);
}

static uint32_t mmio(Machine *m, uint64_t addr)
{
    uint64_t val = 0;
    assert_int_equal(as_load(m->memory, addr, 4, &val, MEM_ATTRS_CPU), MEM_OK);
    return (uint32_t)val;
}

static void mmio_set(Machine *m, uint64_t addr, uint32_t val)
{
    assert_int_equal(as_store(m->memory, addr, 4, val, MEM_ATTRS_CPU), MEM_OK);
}

static void advance(Machine *m, int64_t ns)
{
    loop_lock(m->main_loop);
    clock_warp(m->clocks, clock_now(m->clocks, CLOCK_KIND_VIRTUAL) + ns);
    loop_unlock(m->main_loop);
}

/* Vectors 20h and 28h, everything masked but `open`. */
static void init_pics(Machine *m, uint16_t open)
{
    static const uint8_t master[] = {0x20, 0x04, 0x01}, slave[] = {0x28, 0x02, 0x01};
    out(m, 0x20, 0x11);
    out(m, 0xa0, 0x11);
    for (unsigned i = 0; i < 3; i++) {
        out(m, 0x21, master[i]);
        out(m, 0xa1, slave[i]);
    }
    out(m, 0x21, (uint8_t)~open);
    out(m, 0xa1, (uint8_t)(~open >> 8));
}

static uint16_t requests(Machine *m)
{
    out(m, 0x20, 0x0a);
    out(m, 0xa0, 0x0a);
    return (uint16_t)(in(m, 0x20) | in(m, 0xa0) << 8);
}

static void test_pit_terminal_count_at_port_61(void **state)
{
    Machine *m = *state;
    out(m, 0x61, 0x01);
    out(m, 0x43, 0xb0);
    out(m, 0x42, 0x9b); /* 11931 ticks: 10 ms */
    out(m, 0x42, 0x2e);
    assert_int_equal(in(m, 0x61) & 0x20, 0);
    advance(m, 9 * MS);
    assert_int_equal(in(m, 0x61) & 0x20, 0);
    advance(m, 2 * MS);
    assert_int_equal(in(m, 0x61) & 0x20, 0x20);
}

static void test_pit_rate_raises_irq0(void **state)
{
    Machine *m = *state;
    out(m, 0x43, 0x34); /* OUT goes high, an edge that initialising the 8259 forgets */
    init_pics(m, 0x0001);
    out(m, 0x40, 0xa9); /* 1193: 1 ms */
    out(m, 0x40, 0x04);
    assert_int_equal(requests(m) & 1, 0);
    advance(m, 2 * MS);
    assert_int_equal(requests(m) & 1, 1);
    /* The poll command takes the request; the next period makes a new one. */
    out(m, 0x20, 0x0c);
    assert_int_equal(in(m, 0x20), 0x80);
    assert_int_equal(requests(m) & 1, 0);
    advance(m, 2 * MS);
    assert_int_equal(requests(m) & 1, 1);
}

static void test_pit_latch_counts_down(void **state)
{
    Machine *m = *state;
    out(m, 0x43, 0xb4);
    out(m, 0x61, 0x01);
    out(m, 0x42, 0xff);
    out(m, 0x42, 0xff);
    advance(m, MS);
    out(m, 0x43, 0x80);
    advance(m, MS); /* the latched value does not move */
    unsigned low = in(m, 0x42), count = low | (unsigned)in(m, 0x42) << 8;
    assert_in_range(count, 0xffff - 1194, 0xffff - 1192);
}

static void test_pic_cascade_and_priority(void **state)
{
    Machine *m = *state;
    init_pics(m, 0x0000);
    out(m, 0x4d0, 0xff);
    out(m, 0x4d1, 0xff);
    assert_int_equal(in(m, 0x4d0), 0xf8); /* timer, keyboard and cascade stay edges */
    assert_int_equal(in(m, 0x4d1), 0xde);
    out(m, 0x20, 0x0c);
    assert_int_equal(in(m, 0x20), 0x00); /* poll with nothing pending */
}

static void test_ioapic_registers(void **state)
{
    Machine *m = *state;
    mmio_set(m, 0xfec00000, 1);
    assert_int_equal(mmio(m, 0xfec00010), 0x00170020);
    for (unsigned pin = 0; pin < 24; pin++) {
        mmio_set(m, 0xfec00000, 0x10 + 2 * pin);
        assert_int_equal(mmio(m, 0xfec00010), 0x10000);
        mmio_set(m, 0xfec00010, 0xffffffff);
        assert_int_equal(mmio(m, 0xfec00010), 0x1afff);
    }
}

static void test_msi_reaches_local_apic(void **state)
{
    Machine *m = *state;
    const MemAttrs device = {.requester_id = 0x08};
    mmio_set(m, 0xfee000f0, 0x1ff);
    as_store(m->memory, 0xfee00000, 4, 0x41, device);
    assert_int_equal(mmio(m, 0xfee00220), 0x2);
    /* A vector below 16 is an error, not an interrupt. */
    as_store(m->memory, 0xfee00000, 4, 0x05, device);
    mmio_set(m, 0xfee00280, 0);
    assert_int_equal(mmio(m, 0xfee00280), 0x40);
}

static void test_apic_timer(void **state)
{
    Machine *m = *state;
    mmio_set(m, 0xfee000f0, 0x1ff);
    mmio_set(m, 0xfee00320, 0x30);
    mmio_set(m, 0xfee003e0, 0xb); /* divide by 1 */
    mmio_set(m, 0xfee00380, 1000000);
    advance(m, MS / 2);
    assert_int_equal(mmio(m, 0xfee00390), 500000);
    assert_int_equal(mmio(m, 0xfee00210), 0);
    advance(m, MS);
    assert_int_equal(mmio(m, 0xfee00390), 0);
    assert_int_equal(mmio(m, 0xfee00210), 1u << 16);
}

static void test_rtc_keeps_what_is_set(void **state)
{
    Machine *m = *state;
    static const uint8_t regs[] = {0, 2, 4, 7, 8, 9, 0x32},
                         vals[] = {0x10, 0x20, 0x11, 0x24, 0x12, 0x31, 0x20};
    out(m, 0x70, 11);
    out(m, 0x71, 0x82);
    for (unsigned i = 0; i < sizeof(regs); i++) {
        out(m, 0x70, regs[i]);
        out(m, 0x71, vals[i]);
    }
    out(m, 0x70, 11);
    out(m, 0x71, 0x02);
    for (unsigned i = 1; i < sizeof(regs); i++) { /* seconds may have moved on */
        out(m, 0x70, regs[i]);
        assert_int_equal(in(m, 0x71), vals[i]);
    }
    out(m, 0x70, 13);
    assert_int_equal(in(m, 0x71), 0x80);
}

static void test_rtc_periodic_interrupt(void **state)
{
    Machine *m = *state;
    init_pics(m, 0x0104);
    out(m, 0x70, 11);
    out(m, 0x71, 0x42);
    advance(m, 2 * MS); /* 1024 Hz */
    assert_int_equal(requests(m) & 0x100, 0x100);
    out(m, 0x70, 12);
    assert_int_equal(in(m, 0x71) & 0xc0, 0xc0);
    assert_int_equal(in(m, 0x71) & 0xc0, 0);
}

static void test_uart_loopback(void **state)
{
    Machine *m = *state;
    GError *error = NULL;
    loop_lock(m->main_loop);
    assert_true(pc_add_serial(m, NULL, &error));
    loop_unlock(m->main_loop);
    out(m, 0x3fc, 0x1f); /* loop, all outputs */
    assert_int_equal(in(m, 0x3fe) & 0xf0, 0xf0);
    out(m, 0x3fa, 0x07);
    for (unsigned i = 0; i < 17; i++) {
        out(m, 0x3f8, (uint8_t)('a' + i));
    }
    assert_int_equal(in(m, 0x3fd) & 0x03, 0x03); /* data ready, overrun */
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(in(m, 0x3f8), 'a' + i);
    }
    assert_int_equal(in(m, 0x3fd), 0x60);
    out(m, 0x3ff, 0x5a);
    assert_int_equal(in(m, 0x3ff), 0x5a);
}

static void test_uart_interrupt_order(void **state)
{
    Machine *m = *state;
    GError *error = NULL;
    loop_lock(m->main_loop);
    assert_true(pc_add_serial(m, NULL, &error));
    loop_unlock(m->main_loop);
    init_pics(m, 0x0010);
    assert_int_equal(in(m, 0x3fa), 0x01);
    out(m, 0x3fc, 0x08);
    out(m, 0x3f9, 0x02); /* holding register is empty: at once */
    assert_int_equal(requests(m) & 0x10, 0x10);
    assert_int_equal(in(m, 0x3fa), 0x02);
    assert_int_equal(in(m, 0x3fa), 0x01);
    out(m, 0x3fc, 0x10);
    out(m, 0x3f9, 0x03);
    out(m, 0x3f8, 'x');
    assert_int_equal(in(m, 0x3fa), 0x04); /* received data comes before the empty holding register */
    assert_int_equal(in(m, 0x3f8), 'x');
    assert_int_equal(in(m, 0x3fa), 0x02);
}

static void test_serial_ports_run_out(void **state)
{
    Machine *m = *state;
    GError *error = NULL;
    loop_lock(m->main_loop);
    for (unsigned n = 0; n < 4; n++) {
        assert_true(pc_add_serial(m, NULL, &error));
    }
    assert_false(pc_add_serial(m, NULL, &error));
    loop_unlock(m->main_loop);
    assert_non_null(strstr(error->message, "four serial ports"));
    g_clear_error(&error);
}

static void test_power_button_and_s5(void **state)
{
    Machine *m = *state;
    uint64_t val;
    int code = -1;
    machine_request_powerdown(m);
    loop_lock(m->main_loop);
    machine_process_requests(m);
    loop_unlock(m->main_loop);
    as_load(m->io, 0x600, 2, &val, MEM_ATTRS_CPU);
    assert_int_equal(val & 0x100, 0x100);
    as_store(m->io, 0x600, 2, 0x100, MEM_ATTRS_CPU);
    as_load(m->io, 0x600, 2, &val, MEM_ATTRS_CPU);
    assert_int_equal(val & 0x100, 0);
    as_store(m->io, 0x604, 2, 0x2000 | 7 << 10, MEM_ATTRS_CPU);
    loop_lock(m->main_loop);
    machine_process_requests(m);
    loop_unlock(m->main_loop);
    assert_true(machine_shutdown_requested(m, &code));
    assert_int_equal(code, 0);
}

static void test_ecam_equals_ports(void **state)
{
    Machine *m = *state;
    uint64_t val;
    assert_int_equal(mmio(m, 0xb0000000), 0x29c08086);
    assert_int_equal(mmio(m, 0xb00f8000), 0x29188086);
    as_store(m->io, 0xcf8, 4, 0x8000f800, MEM_ATTRS_CPU);
    as_load(m->io, 0xcfc, 4, &val, MEM_ATTRS_CPU);
    assert_int_equal(val, 0x29188086);
    as_load(m->io, 0xcfe, 2, &val, MEM_ATTRS_CPU);
    assert_int_equal(val, 0x2918);
    assert_int_equal(mmio(m, 0xb0008000), 0xffffffff);
}

static void test_state_round_trip(void **state)
{
    Machine *m = *state;
    Object *parent = object_container(&m->obj, "unattached");
    init_pics(m, 0x0105);
    out(m, 0x43, 0x34);
    out(m, 0x40, 0x00);
    out(m, 0x40, 0x10);
    for (guint i = 0; i < parent->children->len; i++) {
        Device *dev = parent->children->pdata[i];
        GByteArray *first = g_byte_array_new(), *second = g_byte_array_new();
        GError *error = NULL;
        size_t offset = 0;
        device_save(dev, first);
        if (!device_load(dev, first->data, first->len, &offset, &error)) {
            fail_msg("%s: %s", dev->obj.model->name, error->message);
        }
        device_save(dev, second);
        assert_int_equal(first->len, second->len);
        assert_memory_equal(first->data, second->data, first->len);
        g_byte_array_unref(first);
        g_byte_array_unref(second);
    }
}

static void test_failed_start_leaves_nothing(void **state)
{
    GError *error = NULL;
    Machine *m = machine_new(&pc_q35_model, &error);
    m->ram_size = 16ull << 20;
    m->boot.kernel = g_strdup("/nonexistent/vmlinuz");
    assert_false(machine_start(m, &error));
    assert_non_null(strstr(error->message, "-kernel"));
    g_clear_error(&error);
    machine_free(m);
}

#define PC_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PC_TEST(test_pit_terminal_count_at_port_61),
        PC_TEST(test_pit_rate_raises_irq0),
        PC_TEST(test_pit_latch_counts_down),
        PC_TEST(test_pic_cascade_and_priority),
        PC_TEST(test_ioapic_registers),
        PC_TEST(test_msi_reaches_local_apic),
        PC_TEST(test_apic_timer),
        PC_TEST(test_rtc_keeps_what_is_set),
        PC_TEST(test_rtc_periodic_interrupt),
        PC_TEST(test_uart_loopback),
        PC_TEST(test_uart_interrupt_order),
        PC_TEST(test_serial_ports_run_out),
        PC_TEST(test_power_button_and_s5),
        PC_TEST(test_ecam_equals_ports),
        PC_TEST(test_state_round_trip),
        cmocka_unit_test(test_failed_start_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
