/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keyboard controller, keyboard and mouse of a PC through their ports, with keys and movements as a screen
 * sends them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/trace.h"
#include "hw/i386/pc.h"
#include "hw/isa/i8042.h"
#include "hw/pci/pci.h"

const Model *const model_table[] = {&pc_q35_model.model, &ram_backend_ram_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

#define DATA    0x60
#define STATUS  0x64
#define OBF     0x01
#define AUX     0x20
#define IRQ_KBD 0x0002
#define IRQ_AUX 0x1000

static Machine *pc_new(void)
{
    GError *error = NULL;
    Machine *m = machine_new(&pc_q35_model, &error);
    m->ram_size = 16ull << 20;
    m->smp_cpus = 1;
    clock_set_manual(m->clocks);
    if (!machine_start(m, &error)) {
        fail_msg("%s", error->message);
    }
    machine_reset(m, SHUTDOWN_NONE);
    loop_lock(m->main_loop);
    machine_vm_start(m);
    return m;
}

static void pc_free(Machine *m)
{
    loop_unlock(m->main_loop);
    machine_free(m);
}

static int setup(void **state)
{
    *state = pc_new();
    return 0;
}

static int teardown(void **state)
{
    pc_free(*state);
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

/* All bytes there are for the guest, which must be these; those of the mouse when aux. */
static void expect_from(Machine *m, bool aux, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(in(m, STATUS) & (OBF | AUX), aux ? OBF | AUX : OBF);
        assert_int_equal(in(m, DATA), bytes[i]);
    }
    assert_int_equal(in(m, STATUS) & OBF, 0);
}
#define EXPECT(m, aux, ...)                                                                                  \
    expect_from(m, aux, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void set_config(Machine *m, uint8_t config)
{
    out(m, STATUS, 0x60);
    out(m, DATA, config);
}

/* To the mouse, which acknowledges. */
static void mouse(Machine *m, uint8_t val)
{
    out(m, STATUS, 0xd4);
    out(m, DATA, val);
    EXPECT(m, true, 0xfa);
}

static uint16_t requests(Machine *m)
{
    out(m, 0x20, 0x0a);
    out(m, 0xa0, 0x0a);
    return (uint16_t)(in(m, 0x20) | in(m, 0xa0) << 8);
}

static void init_pics(Machine *m)
{
    static const uint8_t master[] = {0x20, 0x04, 0x01, 0xff}, slave[] = {0x28, 0x02, 0x01, 0xff};
    out(m, 0x20, 0x11);
    out(m, 0xa0, 0x11);
    for (unsigned i = 0; i < 4; i++) {
        out(m, 0x21, master[i]);
        out(m, 0xa1, slave[i]);
    }
}

static void test_controller(void **state)
{
    Machine *m = *state;
    out(m, STATUS, 0xaa);
    EXPECT(m, false, 0x55);
    out(m, STATUS, 0x20);
    EXPECT(m, false, 0x07); /* both interrupts, system flag by the self test */
    set_config(m, 0x65);
    out(m, STATUS, 0xa7);
    out(m, STATUS, 0xad);
    out(m, STATUS, 0x20);
    EXPECT(m, false, 0x75);
    for (unsigned i = 0; i < 2; i++) {
        out(m, STATUS, i ? 0xa9 : 0xab);
        EXPECT(m, false, 0x00);
    }
    out(m, STATUS, 0xd0);
    EXPECT(m, false, 0xcf);
    out(m, STATUS, 0xdd); /* A20 off */
    out(m, STATUS, 0xd0);
    EXPECT(m, false, 0xcd);
    out(m, STATUS, 0xd1);
    out(m, DATA, 0x03);
    out(m, STATUS, 0xd0);
    EXPECT(m, false, 0xcf);
    out(m, STATUS, 0xd2);
    out(m, DATA, 0x12);
    EXPECT(m, false, 0x12);
    out(m, STATUS, 0xd3);
    out(m, DATA, 0x34);
    EXPECT(m, true, 0x34);
}

static void note_reset(void *opaque)
{
    (*(unsigned *)opaque)++;
}

static void test_reset_pulse(void **state)
{
    Machine *m = *state;
    unsigned resets = 0;
    machine_add_reset_handler(m, note_reset, &resets);
    out(m, STATUS, 0xff); /* no bit is pulsed */
    machine_process_requests(m);
    assert_int_equal(resets, 0);
    out(m, STATUS, 0xfe);
    machine_process_requests(m);
    assert_int_equal(resets, 1);
    out(m, STATUS, 0xd1); /* the reset line held low by the output port */
    out(m, DATA, 0x02);
    machine_process_requests(m);
    assert_int_equal(resets, 2);
    machine_remove_reset_handler(m, note_reset, &resets);
}

static void test_keyboard_commands(void **state)
{
    Machine *m = *state;
    out(m, DATA, 0xff);
    EXPECT(m, false, 0xfa, 0xaa);
    out(m, DATA, 0xf2);
    EXPECT(m, false, 0xfa, 0xab, 0x83);
    out(m, DATA, 0xee);
    EXPECT(m, false, 0xee);
    out(m, DATA, 0xed);
    EXPECT(m, false, 0xfa);
    out(m, DATA, 0x07);
    EXPECT(m, false, 0xfa);
    out(m, DATA, 0xf0);
    EXPECT(m, false, 0xfa);
    out(m, DATA, 0x00);
    EXPECT(m, false, 0xfa, 0x02);
    out(m, DATA, 0xfe);
    EXPECT(m, false, 0x02);
    out(m, DATA, 0x42); /* no command */
    EXPECT(m, false, 0xfe);
    out(m, DATA, 0xf5);
    EXPECT(m, false, 0xfa);
    input_send_key(m, INPUT_KEY_A, true);
    assert_int_equal(in(m, STATUS) & OBF, 0);
    out(m, DATA, 0xf4);
    EXPECT(m, false, 0xfa);
    input_send_key(m, INPUT_KEY_A, true);
    EXPECT(m, false, 0x1c);
}

static void press(Machine *m, InputKey key)
{
    input_send_key(m, key, true);
    input_send_key(m, key, false);
}

static void test_scan_codes(void **state)
{
    Machine *m = *state;
    press(m, INPUT_KEY_A);
    EXPECT(m, false, 0x1c, 0xf0, 0x1c);
    press(m, INPUT_KEY_DELETE);
    EXPECT(m, false, 0xe0, 0x71, 0xe0, 0xf0, 0x71);
    press(m, INPUT_KEY_F7); /* the one code above 7fh */
    EXPECT(m, false, 0x83, 0xf0, 0x83);
    press(m, INPUT_KEY_PAUSE);
    EXPECT(m, false, 0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77);
    set_config(m, 0x43); /* translated */
    press(m, INPUT_KEY_A);
    EXPECT(m, false, 0x1e, 0x9e);
    press(m, INPUT_KEY_DELETE);
    EXPECT(m, false, 0xe0, 0x53, 0xe0, 0xd3);
    press(m, INPUT_KEY_PAUSE);
    EXPECT(m, false, 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5);
    out(m, DATA, 0xf2);
    EXPECT(m, false, 0xfa, 0xab, 0x41);
    set_config(m, 0x03);
    out(m, DATA, 0xf0);
    EXPECT(m, false, 0xfa);
    out(m, DATA, 0x01);
    EXPECT(m, false, 0xfa);
    press(m, INPUT_KEY_DELETE);
    EXPECT(m, false, 0xe0, 0x53, 0xe0, 0xd3);
    input_send_key(m, INPUT_KEY_ALT, true);
    press(m, INPUT_KEY_PRINT);
    EXPECT(m, false, 0x38, 0x54, 0xd4);
}

/* What each key sends in set 2 is translated to its number. */
static void test_every_key(void **state)
{
    Machine *m = *state;
    set_config(m, 0x43);
    for (unsigned key = INPUT_KEY_UNMAPPED + 1; key < INPUT_KEY_COUNT; key++) {
        unsigned number = input_key_number(key), low = number & 0x7f;
        InputKey found;
        assert_true(input_key_find(input_key_name(key), &found));
        assert_int_equal(found, key);
        assert_true(input_key_find_number(number, &found));
        assert_int_equal(input_key_number(found), number);
        if (key == INPUT_KEY_PAUSE || key == INPUT_KEY_ALT || key == INPUT_KEY_ALT_R) {
            continue;
        }
        press(m, key);
        if (number & 0x80) {
            EXPECT(m, false, 0xe0, low, 0xe0, number);
        } else {
            EXPECT(m, false, low, low | 0x80);
        }
    }
}

static void test_interrupts(void **state)
{
    Machine *m = *state;
    init_pics(m);
    input_send_key(m, INPUT_KEY_A, true);
    assert_int_equal(requests(m) & (IRQ_KBD | IRQ_AUX), IRQ_KBD);
    in(m, DATA);
    init_pics(m); /* forgets the edge */
    mouse(m, 0xf4);
    input_send_rel(m, INPUT_AXIS_X, 1);
    assert_int_equal(requests(m) & (IRQ_KBD | IRQ_AUX), IRQ_AUX); /* of the acknowledgement */
    init_pics(m);
    input_sync(m);
    assert_int_equal(requests(m) & (IRQ_KBD | IRQ_AUX), IRQ_AUX);
    EXPECT(m, true, 0x08, 1, 0);
    set_config(m, 0x00);
    init_pics(m);
    input_send_key(m, INPUT_KEY_A, false);
    assert_int_equal(requests(m) & (IRQ_KBD | IRQ_AUX), 0);
    EXPECT(m, false, 0xf0, 0x1c);
    set_config(m, 0x13); /* clock of the keyboard held: its bytes wait */
    input_send_key(m, INPUT_KEY_B, true);
    assert_int_equal(in(m, STATUS) & OBF, 0);
    out(m, STATUS, 0xae);
    EXPECT(m, false, 0x32);
}

static void test_mouse(void **state)
{
    Machine *m = *state;
    out(m, STATUS, 0xd4);
    out(m, DATA, 0xff);
    EXPECT(m, true, 0xfa, 0xaa, 0x00);
    input_send_rel(m, INPUT_AXIS_X, 5); /* not enabled yet */
    input_sync(m);
    assert_int_equal(in(m, STATUS) & OBF, 0);
    mouse(m, 0xf4);
    input_send_rel(m, INPUT_AXIS_X, 5);
    input_send_rel(m, INPUT_AXIS_Y, 3); /* down: negative for the mouse */
    input_send_button(m, INPUT_BUTTON_LEFT, true);
    input_sync(m);
    EXPECT(m, true, 0x29, 0x05, 0xfd);
    input_send_rel(m, INPUT_AXIS_X, -300); /* more than a report holds */
    input_sync(m);
    EXPECT(m, true, 0x19, 0x00, 0x00, 0x19, 0xd4, 0x00);
    input_send_button(m, INPUT_BUTTON_LEFT, false);
    input_send_button(m, INPUT_BUTTON_LEFT, true);
    input_send_button(m, INPUT_BUTTON_LEFT, false);
    input_sync(m);
    EXPECT(m, true, 0x08, 0, 0, 0x09, 0, 0, 0x08, 0, 0);
    out(m, STATUS, 0xd4);
    out(m, DATA, 0xe9);
    EXPECT(m, true, 0xfa, 0x20, 2, 100);
    mouse(m, 0xe8);
    mouse(m, 3);
    mouse(m, 0xf0); /* remote mode: reports when asked */
    input_send_rel(m, INPUT_AXIS_Y, -2);
    input_sync(m);
    out(m, STATUS, 0xd4);
    out(m, DATA, 0xeb);
    EXPECT(m, true, 0xfa, 0x08, 0, 2);
    mouse(m, 0xee); /* wrap: everything comes back but its end and reset */
    out(m, STATUS, 0xd4);
    out(m, DATA, 0xf3);
    EXPECT(m, true, 0xf3);
    mouse(m, 0xec);
}

static void set_rates(Machine *m, uint8_t a, uint8_t b, uint8_t c)
{
    const uint8_t rates[] = {a, b, c};
    for (unsigned i = 0; i < 3; i++) {
        mouse(m, 0xf3);
        mouse(m, rates[i]);
    }
}

static void test_wheel(void **state)
{
    Machine *m = *state;
    mouse(m, 0xf4);
    set_rates(m, 200, 100, 80);
    out(m, STATUS, 0xd4);
    out(m, DATA, 0xf2);
    EXPECT(m, true, 0xfa, 3);
    input_send_button(m, INPUT_BUTTON_WHEEL_DOWN, true);
    input_send_button(m, INPUT_BUTTON_WHEEL_DOWN, false);
    input_sync(m);
    EXPECT(m, true, 0x08, 0, 0, 1);
    input_send_button(m, INPUT_BUTTON_WHEEL_UP, true);
    input_sync(m);
    EXPECT(m, true, 0x08, 0, 0, 0xff);
    set_rates(m, 200, 200, 80);
    out(m, STATUS, 0xd4);
    out(m, DATA, 0xf2);
    EXPECT(m, true, 0xfa, 4);
    input_send_button(m, INPUT_BUTTON_EXTRA, true);
    input_send_button(m, INPUT_BUTTON_WHEEL_UP, true);
    input_sync(m);
    EXPECT(m, true, 0x08, 0, 0, 0x2f);
}

/* A guest that fetches nothing is told that keys were lost, and sees movement in full. */
static void test_overrun(void **state)
{
    Machine *m = *state;
    unsigned count = 0;
    uint8_t last = 0xff;
    for (unsigned i = 0; i < 1000; i++) {
        press(m, INPUT_KEY_A);
    }
    while (in(m, STATUS) & OBF) {
        last = in(m, DATA);
        count++;
    }
    assert_in_range(count, PS2_QUEUE_SIZE, PS2_QUEUE_SIZE + 1);
    assert_int_equal(last, 0);
    mouse(m, 0xf4);
    for (unsigned i = 0; i < 1000; i++) {
        input_send_rel(m, INPUT_AXIS_X, 1);
        input_sync(m);
    }
    int sum = 0;
    while (in(m, STATUS) & OBF) {
        assert_int_equal(in(m, DATA), 0x08);
        sum += in(m, DATA);
        assert_int_equal(in(m, DATA), 0);
    }
    assert_int_equal(sum, 1000);
}

static Device *find_i8042(Machine *m)
{
    GPtrArray *all = object_container(&m->obj, "unattached")->children;
    for (guint i = 0; i < all->len; i++) {
        Object *obj = all->pdata[i];
        if (obj->model == &i8042_model.model) {
            return (Device *)obj;
        }
    }
    fail_msg("a PC without keyboard controller");
    return NULL;
}

static uint32_t chance(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

static void storm(Machine *m, uint64_t seed)
{
    for (unsigned i = 0; i < 20000; i++) {
        switch (chance(&seed) % 8) {
        case 0:
            out(m, STATUS, (uint8_t)(chance(&seed) % 0xf0)); /* but for the reset pulse */
            break;
        case 1:
        case 2:
            out(m, DATA, (uint8_t)(chance(&seed) | 1));
            break;
        case 3:
            input_send_key(m, chance(&seed) % INPUT_KEY_COUNT, chance(&seed) % 2);
            break;
        case 4:
            input_send_rel(m, chance(&seed) % 2, (int)chance(&seed) - 0x40000000);
            input_send_button(m, chance(&seed) % INPUT_BUTTON_COUNT, chance(&seed) % 2);
            input_sync(m);
            break;
        default:
            in(m, chance(&seed) % 4 ? DATA : STATUS);
            break;
        }
    }
}

static void test_storm_and_state(void **state)
{
    for (uint64_t seed = 1; seed < 8; seed++) {
        Machine *m = pc_new(), *other = pc_new();
        g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
        GError *error = NULL;
        size_t offset = 0;
        storm(m, seed);
        device_save(find_i8042(m), first);
        if (!device_load(find_i8042(other), first->data, first->len, &offset, &error)) {
            fail_msg("%s", error->message);
        }
        device_save(find_i8042(other), second);
        assert_int_equal(first->len, second->len);
        assert_memory_equal(first->data, second->data, first->len);
        pc_free(other);
        pc_free(m);
    }
}

static void test_stopped(void **state)
{
    Machine *m = *state;
    assert_string_equal(input_taker(m, INPUT_TAKES_KEYS), "PS/2 keyboard");
    assert_string_equal(input_taker(m, INPUT_TAKES_REL), "PS/2 mouse");
    assert_null(input_taker(m, INPUT_TAKES_ABS));
    machine_vm_stop(m, RUN_STATE_PAUSED);
    press(m, INPUT_KEY_A);
    machine_vm_start(m);
    assert_int_equal(in(m, STATUS) & OBF, 0);
}

#define I8042_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        I8042_TEST(test_controller),
        I8042_TEST(test_reset_pulse),
        I8042_TEST(test_keyboard_commands),
        I8042_TEST(test_scan_codes),
        I8042_TEST(test_every_key),
        I8042_TEST(test_interrupts),
        I8042_TEST(test_mouse),
        I8042_TEST(test_wheel),
        I8042_TEST(test_overrun),
        I8042_TEST(test_stopped),
        cmocka_unit_test(test_storm_and_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
