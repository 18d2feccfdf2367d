/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests of core/machine*.c, device.c, irq.c, register.c, iothread.c and ram-backend.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "core/machine.h"
#include "core/trace.h"

/* --- a device --- */

typedef struct Gadget {
    Device dev;
    bool fail, pinned, common;
    Object *iothread;
    uint32_t value, resets;
    IrqLine *out[2];
    IrqLine **in;
    MemRegion *regs;
    uint32_t ctrl, status, count;
    uint64_t wide;
    uint32_t written_old, written_new;
} Gadget;

static GString *story;

static void gadget_ctrl_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    ((Gadget *)opaque)->written_old = (uint32_t)old_val;
    ((Gadget *)opaque)->written_new = (uint32_t)new_val;
}

static uint64_t gadget_count_read(void *opaque)
{
    return ++((Gadget *)opaque)->count;
}

static const RegDef gadget_regs[] = {
    {.name = "CTRL",
     .offset = 0,
     .size = 4,
     .reset = 0x10,
     .writable = 0xff,
     .written = gadget_ctrl_written,
     .field = offsetof(Gadget, ctrl)},
    {.name = "STATUS",
     .offset = 4,
     .size = 4,
     .reset = 0xf0f0,
     .w1c = 0xff,
     .field = offsetof(Gadget, status)},
    {.name = "WIDE", .offset = 8, .size = 8, .writable = UINT64_MAX, .field = offsetof(Gadget, wide)},
    {.name = "ID", .offset = 0x14, .size = 2, .reset = 0xbeef, .field = SIZE_MAX},
    {.name = "COUNT", .offset = 0x18, .size = 4, .read = gadget_count_read, .field = SIZE_MAX},
    {.name = NULL},
};

static MemResult gadget_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    return reg_read(gadget_regs, opaque, addr, size, val);
}

static MemResult gadget_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    return reg_write(gadget_regs, opaque, addr, size, val);
}

static const MemOps gadget_ops = {gadget_read, gadget_write, 1, 8, true};

static void gadget_input(void *opaque, int n, int level)
{
    g_string_append_printf(story, "in%d=%d ", n, level);
}

static bool gadget_start(Device *dev, GError **error)
{
    Gadget *g = (Gadget *)dev;
    IrqLine **slots[] = {&g->out[0], &g->out[1]};

    if (g->fail) {
        error_set(error, "gadget: told to fail");
        return false;
    }
    if (g->iothread) {
        dev->home = iothread_loop(g->iothread);
    }
    g->in = irq_new_array(gadget_input, g, 2);
    device_add_irq_inputs(dev, NULL, g->in, 2);
    device_add_irq_outputs(dev, "out", slots, 2);
    g->regs = mem_region_new_io(dev->obj.machine->topo, "gadget", 0x1000, &gadget_ops, g, dev->home);
    mem_region_add(dev->obj.machine->system_memory, 0x1000 * (1 + g->value), g->regs);
    g_string_append_printf(story, "start:%s ", dev->obj.id);
    return true;
}

static void gadget_reset(Device *dev)
{
    Gadget *g = (Gadget *)dev;

    assert_true(loop_locked(dev->home));
    g->resets++;
    reg_reset(gadget_regs, g);
    g_string_append_printf(story, "reset:%s ", dev->obj.id);
}

static void gadget_stop(Device *dev)
{
    Gadget *g = (Gadget *)dev;

    mem_region_del(dev->obj.machine->system_memory, g->regs);
    mem_region_retire(g->regs);
    mem_region_unref(g->regs);
    irq_free_array(g->in, 2);
    g_string_append_printf(story, "stop:%s ", dev->obj.id);
}

static const Prop gadget_props[] = {
    PROP_U32("value", Gadget, value, 0, 0, 100, "where it is mapped"),
    PROP_BOOL("fail", Gadget, fail, false, NULL),
    PROP_BOOL("pinned", Gadget, pinned, false, NULL),
    PROP_LINK("iothread", Gadget, iothread, NULL),
    PROP_END,
};
static const StateField gadget_state_fields[] = {STATE_FIELD_UINT(Gadget, ctrl),
                                                 STATE_FIELD_UINT(Gadget, wide), STATE_END};
static const StateTable gadget_state = {.name = "gadget", .version = 1, .fields = gadget_state_fields};
static const DeviceModel gadget_model = {
    .model = {.name = "gadget",
              .kind = MODEL_DEVICE,
              .size = sizeof(Gadget),
              .props = gadget_props,
              .state = &gadget_state},
    .start = gadget_start,
    .reset = gadget_reset,
    .stop = gadget_stop,
};
/* The same on a bus of another layer. */
static const DeviceModel card_model = {
    .model = {.name = "card",
              .kind = MODEL_PCI,
              .size = sizeof(Gadget),
              .props = gadget_props,
              .state = &gadget_state},
    .start = gadget_start,
    .reset = gadget_reset,
    .stop = gadget_stop,
};

static bool card_place(Device *dev, GError **error)
{
    g_string_append(story, "place ");
    if (((Gadget *)dev)->common) {
        error_set(error, "card: bus is full");
        return false;
    }
    return true;
}

static void card_unplace(Device *dev)
{
    g_string_append(story, "unplace ");
}

static bool card_can_unplug(Device *dev, GError **error)
{
    if (((Gadget *)dev)->pinned) {
        error_set(error, "card: pinned");
    }
    return !((Gadget *)dev)->pinned;
}

static const Prop card_common[] = {PROP_BOOL("common", Gadget, common, false, "of all cards"), PROP_END};
static const DeviceKindOps card_ops = {
    .props = card_common,
    .place = card_place,
    .unplace = card_unplace,
    .start = gadget_start,
    .reset = gadget_reset,
    .stop = gadget_stop,
    .can_unplug = card_can_unplug,
};

/* --- a machine --- */

static bool board_start(Machine *m, GError **error)
{
    if (!machine_ram_setup(m, error)) {
        return false;
    }
    mem_region_add(m->system_memory, 0x100000, m->ram);
    machine_set_kind_ops(m, MODEL_PCI, &card_ops);
    return true;
}

static void board_stop(Machine *m)
{
    g_string_append(story, "board-stop ");
    mem_region_del(m->system_memory, m->ram);
}

static void board_reset(Machine *m)
{
    g_string_append(story, "board-reset ");
}

static void board_powerdown(Machine *m)
{
    g_string_append(story, "powerdown ");
}

static const MachineModel board_model = {
    .model = {.name = "board", .kind = MODEL_MACHINE, .size = sizeof(Machine)},
    .default_ram = 1 << 20,
    .max_cpus = 2,
    .start = board_start,
    .stop = board_stop,
    .reset = board_reset,
    .powerdown = board_powerdown,
};

const Model *const model_table[] = {&gadget_model.model,
                                    &card_model.model,
                                    &ram_backend_ram_model.model,
                                    &ram_backend_memfd_model.model,
                                    &ram_backend_file_model.model,
                                    &iothread_model.model,
                                    NULL};
TraceEvent *const trace_tables[] = {NULL};

static int machine_setup(void **state)
{
    story = g_string_new(NULL);
    *state = machine_new(&board_model, NULL);
    return 0;
}

static int machine_setup_started(void **state)
{
    machine_setup(state);
    return machine_start(*state, NULL) ? 0 : -1;
}

static int machine_teardown(void **state)
{
    machine_free(*state);
    g_string_free(story, TRUE);
    return 0;
}

static void assert_story(const char *text)
{
    assert_string_equal(story->str, text);
    g_string_truncate(story, 0);
}

static Device *add(Machine *m, const char *text, GError **error)
{
    struct json_object *opts = opts_parse("-device", text, "driver", error);
    Device *dev = machine_device_add(m, opts, error);

    json_object_put(opts);
    return dev;
}

static Object *add_object(Machine *m, const char *text, GError **error)
{
    struct json_object *opts = opts_parse("-object", text, "qom-type", error);
    Object *obj = machine_object_add(m, opts, error);

    json_object_put(opts);
    return obj;
}

static void assert_refused(Machine *m, const char *text, const char *part)
{
    g_autoptr(GError) error = NULL;

    assert_null(add(m, text, &error));
    if (!strstr(error->message, part)) {
        fail_msg("'%s' does not say '%s'", error->message, part);
    }
}

/* --- devices --- */

static void test_life(void **state)
{
    Machine *m = *state;
    g_autofree char *path = NULL;
    Device *g0 = add(m, "gadget,id=g0", NULL), *anon = add(m, "gadget,value=1", NULL), *board;

    assert_story("start:g0 reset:g0 start:device[0] reset:device[0] ");
    path = object_path(&anon->obj);
    assert_string_equal(path, "/machine/peripheral-anon/device[0]");
    board = device_create(m, &gadget_model.model, NULL, NULL, "value", "2", NULL);
    assert_int_equal(((Gadget *)board)->value, 2);
    assert_story("start:device[0] reset:device[0] ");
    machine_reset(m, SHUTDOWN_NONE);
    assert_story("reset:device[0] reset:device[0] reset:g0 board-reset ");
    assert_int_equal(((Gadget *)g0)->resets, 2);
    assert_null(device_create(m, &gadget_model.model, "b", NULL, "fail", "on", NULL));
    assert_null(device_create(m, &gadget_model.model, "b", NULL, "nosuch", "on", NULL));
    assert_null(object_resolve(m, "b"));
    assert_refused(m, "gadget,id=g0", "duplicate id");
    assert_refused(m, "gadget,id=x,fail=on", "told to fail");
    assert_refused(m, "gadgte,id=x", "did you mean 'gadget'");
    assert_refused(m, "iothread,id=x", "not a valid model name");
    assert_refused(m, "id=x", "parameter 'driver' is missing");
    assert_null(object_resolve(m, "x"));
}

static void test_kind(void **state)
{
    Machine *m = *state;
    g_autoptr(GError) error = NULL;
    struct json_object *list = machine_list_props(m, &card_model.model);

    assert_int_equal(json_object_array_length(list), 5);
    json_object_put(list);
    assert_non_null(add(m, "card,id=c0,pinned=on", NULL));
    assert_story("place start:c0 reset:c0 ");
    assert_refused(m, "card,id=c1,common=on", "bus is full");
    assert_story("place ");
    assert_refused(m, "card,id=c1,fail=on", "told to fail");
    assert_story("place unplace ");
    assert_false(machine_device_del(m, "c0", &error));
    assert_string_equal(error->message, "card: pinned");
    machine_set_kind_ops(m, MODEL_PCI, &card_ops);
}

typedef struct Events {
    GString *text;
} Events;

static void note_event(void *opaque, const char *name, struct json_object *data)
{
    g_string_append_printf(
        opaque, "%s%s ", name,
        data ? json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
             : "");
}

static void test_unplug(void **state)
{
    Machine *m = *state;
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) events = g_string_new(NULL);
    uint64_t val;

    machine_add_event_handler(m, note_event, events);
    assert_non_null(add(m, "gadget,id=g0", NULL));
    assert_non_null(add(m, "gadget,value=1", NULL));
    assert_int_equal(as_load(m->memory, 0x1000, 4, &val, MEM_ATTRS_CPU), MEM_OK);
    assert_false(machine_device_del(m, "nosuch", &error));
    assert_string_equal(error->message, "Device 'nosuch' not found");
    assert_int_equal(error->code, ERR_DEVICE_NOT_FOUND);
    g_clear_error(&error);
    assert_false(machine_device_del(m, "/machine", NULL));
    assert_true(machine_device_del(m, "g0", NULL));
    assert_true(machine_device_del(m, "/machine/peripheral-anon/device[0]", NULL));
    assert_int_equal(as_load(m->memory, 0x1000, 4, &val, MEM_ATTRS_CPU), MEM_DECODE_ERROR);
    assert_string_equal(events->str, "");
    loop_iterate(m->main_loop, true);
    assert_string_equal(events->str, "DEVICE_DELETED{\"device\":\"g0\",\"path\":\"/machine/peripheral/g0\"} "
                                     "DEVICE_DELETED{\"path\":\"/machine/peripheral-anon/device[0]\"} ");
    machine_remove_event_handler(m, note_event, events);
}

static void test_teardown_order(void **state)
{
    Machine *m;

    story = g_string_new(NULL);
    m = machine_new(&board_model, NULL);
    assert_true(machine_start(m, NULL));
    add(m, "gadget,id=a", NULL);
    add(m, "gadget,id=b,value=1", NULL);
    g_string_truncate(story, 0);
    machine_free(m);
    assert_story("stop:b stop:a board-stop ");
    g_string_free(story, TRUE);
}

static void test_device_state(void **state)
{
    Machine *m = *state;
    Gadget *g = (Gadget *)add(m, "gadget,id=g", NULL);
    g_autoptr(GByteArray) out = g_byte_array_new();
    size_t offset = 0;

    g->ctrl = 5;
    g->wide = 6;
    device_save(&g->dev, out);
    device_reset(&g->dev);
    assert_int_equal(g->ctrl, 0x10);
    assert_true(device_load(&g->dev, out->data, out->len, &offset, NULL));
    assert_int_equal(g->ctrl, 5);
    assert_int_equal(offset, out->len);
}

static void test_guest_errors(void **state)
{
    Device *dev = add(*state, "gadget,id=g", NULL);

    for (int i = 0; i < 100; i++) {
        guest_error(dev, "bad value %d", i);
    }
    assert_int_equal(dev->guest_errors, 100);
}

/* --- registers --- */

static void test_registers(void **state)
{
    Machine *m = *state;
    Gadget *g = (Gadget *)add(m, "gadget,id=g", NULL);
    uint64_t val;

    assert_string_equal(reg_find(gadget_regs, 9, 2)->name, "WIDE");
    assert_null(reg_find(gadget_regs, 0x10, 4));
    assert_null(reg_find(gadget_regs, 6, 4));
    assert_int_equal(as_store(m->memory, 0x1000, 4, 0x12345678, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(g->ctrl, 0x78); /* writable bits only */
    assert_int_equal(g->written_old, 0x10);
    assert_int_equal(g->written_new, 0x78);
    assert_int_equal(as_store(m->memory, 0x1004, 1, 0x30, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(g->status, 0xf0c0); /* cleared by writing 1 */
    as_store(m->memory, 0x1005, 1, 0xff, MEM_ATTRS_CPU);
    assert_int_equal(g->status, 0xf0c0);
    as_store(m->memory, 0x1008, 8, 0x1122334455667788, MEM_ATTRS_CPU);
    as_store(m->memory, 0x100a, 2, 0xaaaa, MEM_ATTRS_CPU);
    assert_true(g->wide == 0x11223344aaaa7788);
    as_load(m->memory, 0x100c, 4, &val, MEM_ATTRS_CPU);
    assert_int_equal(val, 0x11223344);
    as_load(m->memory, 0x1000, 8, &val, MEM_ATTRS_CPU); /* two registers */
    assert_true(val == 0xf0c000000078);
    as_load(m->memory, 0x1014, 2, &val, MEM_ATTRS_CPU);
    assert_int_equal(val, 0xbeef);
    as_load(m->memory, 0x1018, 4, &val, MEM_ATTRS_CPU);
    as_load(m->memory, 0x1018, 4, &val, MEM_ATTRS_CPU);
    assert_int_equal(val, 2);
    assert_int_equal(as_load(m->memory, 0x1100, 4, &val, MEM_ATTRS_CPU), MEM_DECODE_ERROR);
    assert_int_equal(val, 0xffffffff);
    assert_int_equal(as_store(m->memory, 0x1100, 4, 1, MEM_ATTRS_CPU), MEM_DECODE_ERROR);
}

/* --- interrupt lines --- */

static void report(void *opaque, const char *name, int n, int level)
{
    g_string_append_printf(story, "%s%d:%d ", name ? name : "unnamed", n, level);
}

static void test_irqs(void **state)
{
    Machine *m = *state;
    Gadget *a = (Gadget *)add(m, "gadget,id=a", NULL), *b = (Gadget *)add(m, "gadget,id=b,value=1", NULL);
    g_autoptr(GError) error = NULL;

    g_string_truncate(story, 0);
    irq_raise(a->out[0]); /* unconnected */
    device_connect_irq(&a->dev, "out", 0, device_irq_input(&b->dev, NULL, 1));
    irq_raise(a->out[0]);
    irq_raise(a->out[0]);
    irq_lower(a->out[0]);
    assert_story("in1=1 in1=1 in1=0 ");
    assert_true(device_intercept_irqs(&a->dev, "out", true, report, NULL, NULL));
    irq_raise(a->out[0]);
    irq_raise(a->out[1]);
    assert_story("out0:1 in1=1 out1:1 ");
    device_connect_irq(&a->dev, "out", 1, device_irq_input(&b->dev, NULL, 0));
    assert_true(device_intercept_irqs(&b->dev, NULL, false, report, NULL, NULL));
    irq_lower(a->out[1]);
    assert_story("out1:0 unnamed0:0 in0=0 ");
    assert_false(device_intercept_irqs(&a->dev, "zap", true, report, NULL, &error));
    assert_non_null(strstr(error->message, "zap"));
}

/* --- run state and requests --- */

static void note_run_state(void *opaque, bool running, RunState now)
{
    g_string_append_printf(story, "%s:%s ", running ? "run" : "halt", run_state_name(now));
}

static void note_reset(void *opaque)
{
    g_string_append(story, "handler ");
}

static void test_run_state(void **state)
{
    Machine *m = *state;
    g_autoptr(GString) events = g_string_new(NULL);
    int code = -1;

    machine_add_event_handler(m, note_event, events);
    machine_add_run_state_handler(m, note_run_state, NULL);
    machine_add_reset_handler(m, note_reset, NULL);
    assert_int_equal(m->run_state, RUN_STATE_PRELAUNCH);
    assert_int_equal(clock_now(m->clocks, CLOCK_KIND_VIRTUAL), clock_now(m->clocks, CLOCK_KIND_VIRTUAL));
    machine_vm_start(m);
    machine_vm_start(m);
    machine_vm_stop(m, RUN_STATE_PAUSED);
    assert_story("run:running halt:paused ");
    machine_request_reset(m, SHUTDOWN_GUEST_RESET);
    machine_request_powerdown(m);
    loop_iterate(m->main_loop, true); /* woken */
    machine_process_requests(m);
    assert_story("handler board-reset powerdown ");
    loop_iterate(m->main_loop, true);
    assert_string_equal(events->str,
                        "RESUME STOP RESET{\"guest\":true,\"reason\":\"guest-reset\"} POWERDOWN ");
    g_string_truncate(events, 0);
    assert_false(machine_shutdown_requested(m, &code));
    m->actions.on[MACHINE_ACTION_SHUTDOWN] = 1;
    machine_vm_start(m);
    machine_request_shutdown(m, SHUTDOWN_GUEST_SHUTDOWN, 0);
    machine_process_requests(m);
    assert_false(machine_shutdown_requested(m, &code));
    assert_int_equal(m->run_state, RUN_STATE_SHUTDOWN);
    m->actions.on[MACHINE_ACTION_REBOOT] = 1;
    m->actions.on[MACHINE_ACTION_SHUTDOWN] = 0;
    machine_request_reset(m, SHUTDOWN_GUEST_RESET);
    machine_process_requests(m);
    assert_true(machine_shutdown_requested(m, &code));
    assert_int_equal(code, 0);
    machine_request_shutdown(m, SHUTDOWN_HOST_SIGNAL, 3);
    machine_process_requests(m);
    assert_true(machine_shutdown_requested(m, &code));
    assert_int_equal(code, 3);
    assert_non_null(strstr(events->str, "SHUTDOWN{\"guest\":false,\"reason\":\"host-signal\"}"));
    machine_remove_reset_handler(m, note_reset, NULL);
    machine_remove_run_state_handler(m, note_run_state, NULL);
    machine_remove_event_handler(m, note_event, events);
}

static void note_pause(Accel *accel)
{
    g_string_append(story, "pause ");
}

static void note_stop(Accel *accel)
{
    g_string_append(story, "stop ");
}

static void note_resume(Accel *accel)
{
    g_string_append(story, "resume ");
}

/* Who holds the CPUs keeps them, whatever the run state becomes; a reset waits for who holds that. */
static void test_holds(void **state)
{
    Machine *m = *state;
    int accel; /* nobody looks into it */

    machine_set_vcpu_control(m, note_pause, note_stop, note_resume);
    m->accel = (Accel *)(void *)&accel;
    machine_vcpus_hold(m);
    machine_vm_start(m);
    machine_vcpus_hold(m);
    machine_vcpus_release(m);
    assert_story("pause ");
    machine_vcpus_release(m);
    assert_story("resume ");
    machine_vcpus_hold(m);
    machine_vm_stop(m, RUN_STATE_PAUSED);
    machine_vcpus_release(m);
    assert_story("pause pause ");
    machine_vm_start(m);
    assert_story("resume ");
    machine_add_reset_handler(m, note_reset, NULL);
    machine_reset_hold(m);
    machine_request_reset(m, SHUTDOWN_GUEST_RESET);
    machine_process_requests(m);
    assert_false(machine_resetting(m));
    assert_story("");
    machine_reset_release(m);
    loop_iterate(m->main_loop, true); /* woken */
    machine_process_requests(m);
    assert_story("stop handler board-reset resume ");
    machine_remove_reset_handler(m, note_reset, NULL);
    machine_vm_stop(m, RUN_STATE_PAUSED);
    assert_story("pause ");
    m->accel = NULL;
}

/* What -action says about a panic and the watchdog. */
static void test_actions(void **state)
{
    static const struct {
        const char *event, *action, *told;
        RunState state;
        bool over;
        int code;
    } cases[] = {
        {"panic", "none", "GUEST_PANICKED{\"action\":\"run\",\"info\":\"why\"} ", RUN_STATE_RUNNING, false, 0},
        {"panic", "pause", "GUEST_PANICKED{\"action\":\"pause\",\"info\":\"why\"} STOP ", RUN_STATE_GUEST_PANICKED, false, 0},
        {"watchdog", "none", "WATCHDOG{\"action\":\"none\"} ", RUN_STATE_RUNNING, false, 0},
        {"watchdog", "pause", "WATCHDOG{\"action\":\"pause\"} STOP ", RUN_STATE_WATCHDOG, false, 0},
        {"watchdog", "reset", "WATCHDOG{\"action\":\"reset\"} RESET{\"guest\":true,\"reason\":\"guest-reset\"} ",
         RUN_STATE_RUNNING, false, 0},
        {"watchdog", "shutdown", "WATCHDOG{\"action\":\"shutdown\"} POWERDOWN ", RUN_STATE_RUNNING, false, 0},
        {"panic", "exit-failure",
         "GUEST_PANICKED{\"action\":\"poweroff\",\"info\":\"why\"} SHUTDOWN{\"guest\":true,\"reason\":\"guest-panic\"} ",
         RUN_STATE_RUNNING, true, 1},
        {"watchdog", "poweroff",
         "WATCHDOG{\"action\":\"poweroff\"} SHUTDOWN{\"guest\":true,\"reason\":\"guest-shutdown\"} ", RUN_STATE_RUNNING, true, 0},
    };
    Machine *m = *state;
    g_autoptr(GString) events = g_string_new(NULL);
    GError *error = NULL;
    int code = -1;

    machine_add_event_handler(m, note_event, events);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        assert_true(machine_action_parse(&m->actions, cases[i].event, cases[i].action, &error));
        machine_vm_start(m);
        loop_iterate(m->main_loop, false);
        g_string_truncate(events, 0);
        if (cases[i].event[0] == 'p') {
            machine_guest_panicked(m, json_object_new_string("why"));
        } else {
            machine_watchdog_expired(m);
        }
        machine_process_requests(m);
        loop_iterate(m->main_loop, false);
        assert_string_equal(events->str, cases[i].told);
        assert_int_equal(m->run_state, cases[i].state);
        assert_int_equal(machine_shutdown_requested(m, &code), cases[i].over);
        if (cases[i].over) {
            assert_int_equal(code, cases[i].code);
        }
    }
    assert_false(machine_action_parse(&m->actions, "panic", "dance", &error));
    g_clear_error(&error);
    assert_false(machine_action_parse(&m->actions, "boredom", "pause", &error));
    g_clear_error(&error);
    assert_false(machine_inject_nmi(m, &error)); /* this board has no CPUs */
    g_clear_error(&error);
    machine_remove_event_handler(m, note_event, events);
}

/* --- RAM --- */

static void test_ram_backends(void **state)
{
    Machine *m = *state;
    g_autoptr(GError) error = NULL;
    g_autofree char *dir = g_dir_make_tmp("mpqemu-test-XXXXXX", NULL),
                    *file = g_build_filename(dir, "ram", NULL);
    g_autofree char *opts = g_strdup_printf("memory-backend-file,id=f,size=1M,share=on,mem-path=%s", file);
    g_autofree char *big = g_strdup_printf("memory-backend-file,id=g,size=2M,mem-path=%s", file);
    g_autofree char *anon = g_strdup_printf("memory-backend-file,id=h,size=1M,mem-path=%s", dir);
    Object *ram = add_object(m, "memory-backend-ram,id=r,size=64k,prealloc=on,merge=on,dump=off", &error);
    Object *memfd = add_object(m, "memory-backend-memfd,id=mf,size=64k", &error);
    Object *f = add_object(m, opts, &error);
    uint64_t offset = 1;

    assert_non_null(ram);
    assert_non_null(memfd);
    assert_non_null(f);
    assert_false(ram_backend_shared(ram));
    assert_int_equal(mem_region_fd(ram_backend_region(ram), NULL), -1);
    assert_true(ram_backend_shared(memfd));
    assert_true(mem_region_fd(ram_backend_region(memfd), &offset) >= 0);
    assert_int_equal(offset, 0);
    assert_int_equal(ram_backend_size(f), 1 << 20);
    memcpy(mem_region_host(ram_backend_region(f)), "mark", 4);
    assert_true(machine_object_del(m, "f", NULL));
    f = add_object(m, opts, NULL);
    assert_memory_equal(mem_region_host(ram_backend_region(f)), "mark", 4);
    assert_null(add_object(m, big, &error));
    assert_non_null(strstr(error->message, "is smaller than size (1048576, expected 2097152)"));
    g_clear_error(&error);
    assert_non_null(add_object(m, anon, NULL));
    assert_null(add_object(m, "memory-backend-ram,id=x", &error));
    assert_non_null(strstr(error->message, "'size' is required"));
    g_clear_error(&error);
    assert_null(add_object(m, "memory-backend-ram,id=x,size=5", &error));
    g_clear_error(&error);
    assert_null(add_object(m, "memory-backend-file,id=x,size=4k,mem-path=/nonexistent/x", &error));
    assert_non_null(strstr(error->message, "No such file"));
    g_clear_error(&error);
    assert_false(machine_object_del(m, "pc.ram", &error));
    assert_non_null(strstr(error->message, "is the RAM of the machine"));
    unlink(file);
    rmdir(dir);
}

static void test_ram_size_differs(void **state)
{
    Machine *m = *state;
    g_autoptr(GError) error = NULL;

    m->ram_backend = add_object(m, "memory-backend-memfd,id=mem,size=2M", NULL);
    assert_false(machine_start(m, &error));
    assert_non_null(strstr(error->message, "'mem' (1048576, expected 2097152)"));
    g_clear_error(&error);
    m->ram_size = 2 << 20;
    m->smp_cpus = 3;
    assert_false(machine_start(m, &error));
    assert_non_null(strstr(error->message, "allowed 1..2"));
    m->smp_cpus = 2;
    assert_true(machine_start(m, NULL));
    assert_int_equal(as_store(m->memory, 0x2ffffc, 4, 1, MEM_ATTRS_CPU), MEM_OK);
}

/* --- iothreads --- */

static void test_iothread(void **state)
{
    Machine *m = *state;
    g_autoptr(GError) error = NULL;
    Object *io = add_object(m, "iothread,id=io0", NULL);
    Device *dev = add(m, "gadget,id=g,iothread=io0", NULL);
    uint64_t val;

    assert_ptr_equal(dev->home, iothread_loop(io));
    assert_int_equal(as_load(m->memory, 0x1000, 4, &val, MEM_ATTRS_CPU), MEM_OK);
    loop_lock(m->main_loop);
    device_reset(dev);
    assert_true(loop_locked(m->main_loop));
    loop_unlock(m->main_loop);
    assert_false(machine_object_del(m, "io0", &error));
    assert_string_equal(error->message,
                        "iothread: 'io0' is in use by 'g' (property 'iothread'); delete that first");
    assert_true(machine_device_del(m, "g", NULL));
    assert_true(machine_object_del(m, "io0", NULL));
}

/* A device moves between loops: stopped, started and reset each time; a start that fails takes it back. */
static void test_set_home(void **state)
{
    Machine *m = *state;
    EventLoop *loop = iothread_loop(add_object(m, "iothread,id=io0", NULL));
    Device *dev = add(m, "gadget,id=g", NULL);
    g_autoptr(GError) error = NULL;

    assert_true(device_set_home(dev, loop, &error));
    assert_ptr_equal(dev->home, loop);
    assert_true(dev->obj.started);
    assert_int_equal(((Gadget *)dev)->resets, 2);
    assert_true(device_set_home(dev, loop, &error));
    assert_int_equal(((Gadget *)dev)->resets, 2);
    ((Gadget *)dev)->fail = true;
    assert_false(device_set_home(dev, m->main_loop, &error));
    assert_non_null(error);
    assert_ptr_equal(dev->home, m->main_loop);
    assert_false(dev->obj.started);
}

/* A callback of an iothread that wants the main loop while the main loop resets the device. */
static int crossings;

static void cross(void *opaque)
{
    Device *dev = opaque;

    loop_lock(dev->obj.machine->main_loop);
    crossings++;
    loop_unlock(dev->obj.machine->main_loop);
    loop_call(dev->home, cross, dev);
}

static void test_lock_order(void **state)
{
    Machine *m = *state;
    Device *dev;
    int seen = 0;

    add_object(m, "iothread,id=io0", NULL);
    dev = add(m, "gadget,id=g,iothread=io0", NULL);
    crossings = 0;
    loop_call(dev->home, cross, dev);
    while (seen < 200) {
        machine_reset(m, SHUTDOWN_NONE);
        loop_lock(m->main_loop);
        seen = crossings;
        loop_unlock(m->main_loop);
    }
    loop_stop_thread(dev->home);
}

/* Devices of two iothreads whose DMA goes into each other's registers. */
typedef struct Peer {
    Device *dev;
    HwAddr target;
    int stores;
} Peer;

static void reach_over(void *opaque)
{
    Peer *p = opaque;

    as_store(p->dev->obj.machine->memory, p->target, 4, 1, MEM_ATTRS_CPU);
    if (__atomic_add_fetch(&p->stores, 1, __ATOMIC_SEQ_CST) < 500) {
        loop_call(p->dev->home, reach_over, p);
    }
}

static void test_devices_reach_into_each_other(void **state)
{
    Machine *m = *state;
    Peer peers[2];

    add_object(m, "iothread,id=io0", NULL);
    add_object(m, "iothread,id=io1", NULL);
    peers[0] = (Peer){add(m, "gadget,id=a,iothread=io0,value=0", NULL), 0x2000, 0};
    peers[1] = (Peer){add(m, "gadget,id=b,iothread=io1,value=1", NULL), 0x1000, 0};
    loop_call(peers[0].dev->home, reach_over, &peers[0]);
    loop_call(peers[1].dev->home, reach_over, &peers[1]);
    while (__atomic_load_n(&peers[0].stores, __ATOMIC_SEQ_CST) < 500 ||
           __atomic_load_n(&peers[1].stores, __ATOMIC_SEQ_CST) < 500) {
        g_usleep(100);
    }
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, machine_setup_started, machine_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_life),
        TEST(test_kind),
        TEST(test_unplug),
        cmocka_unit_test(test_teardown_order),
        TEST(test_actions),
        TEST(test_device_state),
        TEST(test_guest_errors),
        TEST(test_registers),
        TEST(test_irqs),
        TEST(test_run_state),
        TEST(test_holds),
        TEST(test_ram_backends),
        cmocka_unit_test_setup_teardown(test_ram_size_differs, machine_setup, machine_teardown),
        TEST(test_iothread),
        TEST(test_set_home),
        TEST(test_lock_order),
        TEST(test_devices_reach_into_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
