/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Start-up in the order things need each other: machine, memory backends, accelerator,
 * drives, character devices, board, serial ports, devices, objects that serve
 * devices, monitors, reset.  And back.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "accel/accel.h"
#include "block/block.h"
#include "core/error.h"
#include "gdbstub/gdbstub.h"
#include "hw/i386/pc.h"
#include "hw/pci/pci.h"
#include "migration/migration.h"
#include "monitor/monitor.h"
#include "net/net.h"
#include "drives.h"
#include "system.h"
#include "ui/curses.h"
#include "ui/input.h"
#include "ui/vnc.h"

#define SYSTEM_DEFAULT_MACHINE "q35"
#define SYSTEM_DEFAULT_ACCEL   "tcg"
#define SYSTEM_DEFAULT_NIC     "e1000"

/* Objects that refer to devices are made when the devices are there. */
static const char *const system_late_objects[] = {"x-vfio-user-server", NULL};

static const MachineModel *system_machine_model(const System *s)
{
    return (const MachineModel *)s->machine->obj.model;
}

/* --- machine --- */

static const char *system_machine_opt(const System *s, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(s->cmdline->machine, key, &value) ? json_object_get_string(value) : NULL;
}

static bool system_new_machine(System *s, GError **error)
{
    static const char *const own[] = {"type", "accel", "memory-backend", "kernel-irqchip", NULL};
    const char *type = system_machine_opt(s, "type");
    const char *name = type ? type : SYSTEM_DEFAULT_MACHINE;
    const Model *model = model_find(name, 1u << MODEL_MACHINE);
    const char *nearest = model_nearest(name, 1u << MODEL_MACHINE);

    if (!model) {
        if (nearest) {
            error_set(error, "-machine %s: unknown machine (did you mean '%s'?)", name, nearest);
        } else {
            error_set(error, "-machine %s: unknown machine; see -machine help", name);
        }
        return false;
    }
    s->machine = machine_new((const MachineModel *)model, error);
    if (!s->machine) {
        return false;
    }
    machine_set_kind_ops(s->machine, MODEL_PCI, &pci_kind_ops);
    process_watch_signals(s);
    if (!object_set_all(&s->machine->obj, s->cmdline->machine, own, error)) {
        g_prefix_error(error, "-machine %s: ", name);
        return false;
    }
    return true;
}

static bool system_check_cpus(System *s, GError **error)
{
    const MachineModel *model = system_machine_model(s);
    unsigned cpus = MAX(s->cmdline->smp.max_cpus, 1);

    if (cpus > MAX(model->max_cpus, 1)) {
        error_set(error, "-smp: too many CPUs for machine %s (%u, allowed 1..%u)", model->model.name, cpus,
                  MAX(model->max_cpus, 1));
        return false;
    }
    if (s->cmdline->cpu && !model->default_cpu) {
        error_set(error, "-cpu %s: machine %s has no CPUs", s->cmdline->cpu, model->model.name);
        return false;
    }
    if (s->cmdline->boot.kernel && !model->default_cpu) {
        error_set(error, "-kernel %s: machine %s has no CPUs", s->cmdline->boot.kernel, model->model.name);
        return false;
    }
    if (s->cmdline->boot.kernel && access(s->cmdline->boot.kernel, R_OK) != 0) {
        error_set_errno(error, errno, "-kernel: cannot read '%s'", s->cmdline->boot.kernel);
        return false;
    }
    return true;
}

/* -global: before the first device is made. */
static bool system_add_globals(System *s, GError **error)
{
    for (guint i = 0; i < s->cmdline->globals->len; i++) {
        const CmdlineItem *item = g_ptr_array_index(s->cmdline->globals, i);
        const char *driver = json_object_get_string(json_object_object_get(item->opts, "driver"));
        const char *prop = json_object_get_string(json_object_object_get(item->opts, "property"));

        if (!machine_add_global(s->machine, driver, prop, json_object_object_get(item->opts, "value"), error)) {
            cmdline_prefix_error(item, error);
            return false;
        }
    }
    return true;
}

static void system_configure_machine(System *s)
{
    const Cmdline *c = s->cmdline;
    const MachineModel *model = system_machine_model(s);
    Machine *m = s->machine;

    m->name = c->name;
    m->cpu_model = g_strdup(c->cpu ? c->cpu : model->default_cpu);
    m->smp_cpus = MAX(c->smp.cpus, 1);
    m->topology = c->smp;
    boot_config_clear(&m->boot);
    m->boot = boot_config_copy(&c->boot);
    m->data_dirs = c->data_dirs;
    memcpy(m->uuid, c->uuid, sizeof(m->uuid));
    m->nodefaults = c->nodefaults;
    m->nographic = c->nographic;
    m->incoming = c->incoming != NULL;
    m->actions = c->actions;
    m->rtc = c->rtc;
    if (c->ram_size && model->default_ram) {
        m->ram_size = c->ram_size;
    } else if (c->ram_size) {
        g_printerr("%s: -m: machine %s has no RAM of its own\n", g_get_prgname(), model->model.name);
    }
}

/* -machine memory-backend=ID; without -m the backend says how much RAM there is. */
static bool system_set_ram(System *s, GError **error)
{
    const char *id = system_machine_opt(s, "memory-backend");
    Machine *m = s->machine;
    Object *backend;

    if (!id) {
        return true;
    }
    backend = object_child(object_container(m->root, "objects"), id);
    if (!backend) {
        error_set(error,
                  "-machine memory-backend=%s: no such object; add -object memory-backend-memfd,id=%s,...",
                  id, id);
        return false;
    }
    if (!ram_backend_is(backend)) {
        error_set(error, "-machine memory-backend=%s: object is a %s, not a memory backend", id,
                  backend->model->name);
        return false;
    }
    m->ram_backend = backend;
    if (!s->cmdline->ram_size) {
        m->ram_size = ram_backend_size(backend);
    }
    return true;
}

static bool system_new_accel(System *s, GError **error)
{
    const char *list = s->cmdline->accels->len ? s->cmdline->accels->str : system_machine_opt(s, "accel");
    const char *irqchip = system_machine_opt(s, "kernel-irqchip");
    AccelConfig config = s->cmdline->accel_config;

    if (irqchip && !accel_irqchip_parse(irqchip, &config.irqchip)) {
        error_set(error, "-machine: bad kernel-irqchip '%s' (allowed: on, split, off)", irqchip);
        return false;
    }
    if (!list && !system_machine_model(s)->default_cpu) {
        return true;
    }
    if (s->cmdline->accel_config.icount.on && s->machine->smp_cpus > 1) {
        error_set(error, "-icount: counts the instructions of one CPU (-smp %u, allowed 1)", s->machine->smp_cpus);
        return false;
    }
    s->machine->accel = accel_new(s->machine, list ? list : SYSTEM_DEFAULT_ACCEL, &config, error);
    if (s->machine->accel && config.icount.on && !s->machine->accel->ops->counts) {
        error_set(error, "-icount: accelerator %s does not count instructions; use -accel tcg", s->machine->accel->ops->name);
        return false;
    }
    return s->machine->accel != NULL;
}

/* --- what options ask for --- */

static bool system_add_objects(System *s, bool late, GError **error)
{
    for (guint i = 0; i < s->cmdline->objects->len; i++) {
        CmdlineItem *item = g_ptr_array_index(s->cmdline->objects, i);
        struct json_object *type;
        const char *name =
            json_object_object_get_ex(item->opts, "qom-type", &type) ? json_object_get_string(type) : "";

        if (g_strv_contains(system_late_objects, name) != late) {
            continue;
        }
        if (!machine_object_add(s->machine, item->opts, error)) {
            cmdline_prefix_error(item, error);
            return false;
        }
    }
    return true;
}

static bool system_add_drives(System *s, GError **error)
{
    drives_init(s);
    for (guint i = 0; i < s->cmdline->drives->len; i++) {
        CmdlineItem *item = g_ptr_array_index(s->cmdline->drives, i);
        bool blockdev = !strcmp(item->option + strspn(item->option, "-"), "blockdev");

        if (blockdev ? !block_open_node(s->machine, item->opts, error) : !drives_open(s, item->opts, error)) {
            cmdline_prefix_error(item, error);
            return false;
        }
    }
    return true;
}

static bool system_add_chardevs(System *s, GError **error)
{
    for (guint i = 0; i < s->cmdline->chardevs->len; i++) {
        CmdlineItem *item = g_ptr_array_index(s->cmdline->chardevs, i);

        if (!chardev_new(s->machine, item->opts, error)) {
            cmdline_prefix_error(item, error);
            return false;
        }
    }
    return true;
}

static bool system_add_devices(System *s, GError **error)
{
    for (guint i = 0; i < s->cmdline->devices->len; i++) {
        CmdlineItem *item = g_ptr_array_index(s->cmdline->devices, i);

        if (!machine_device_add(s->machine, item->opts, error)) {
            cmdline_prefix_error(item, error);
            return false;
        }
    }
    return true;
}

static bool system_add_netdevs(System *s, GError **error)
{
    for (guint i = 0; i < s->cmdline->netdevs->len; i++) {
        CmdlineItem *item = g_ptr_array_index(s->cmdline->netdevs, i);

        if (!net_new(s->machine, item->opts, error)) {
            cmdline_prefix_error(item, error);
            return false;
        }
    }
    return true;
}

/* -nic: what of it is the card's, and the rest to the back end. */
static bool system_add_nic(System *s, unsigned n, const CmdlineItem *item, GError **error)
{
    g_autofree char *id = g_strdup_printf("nic%u", n);
    struct json_object *netdev = json_object_new_object(), *card = json_object_new_object();
    bool ok;

    json_object_object_add(netdev, "id", json_object_new_string(id));
    json_object_object_add(card, "driver", json_object_new_string(SYSTEM_DEFAULT_NIC));
    json_object_object_foreach(item->opts, key, value)
    {
        bool model = strcmp(key, "model") == 0, mac = strcmp(key, "mac") == 0;

        json_object_object_add(model || mac ? card : netdev, model ? "driver" : key, json_object_get(value));
    }
    json_object_object_add(card, "netdev", json_object_get(json_object_object_get(netdev, "id")));
    ok = net_new(s->machine, netdev, error) && machine_device_add(s->machine, card, error);
    json_object_put(netdev);
    json_object_put(card);
    return ok;
}

static bool system_add_vga(System *s, GError **error)
{
    struct json_object *card;
    bool ok;

    if (!s->cmdline->vga) {
        return true;
    }
    card = json_object_new_object();
    json_object_object_add(card, "driver", json_object_new_string("VGA"));
    ok = machine_device_add(s->machine, card, error);
    json_object_put(card);
    if (!ok) {
        g_prefix_error(error, "-vga std: ");
    }
    return ok;
}

static bool system_add_nics(System *s, GError **error)
{
    for (guint i = 0; i < s->cmdline->nics->len; i++) {
        CmdlineItem *item = g_ptr_array_index(s->cmdline->nics, i);

        if (!system_add_nic(s, i, item, error)) {
            cmdline_prefix_error(item, error);
            return false;
        }
    }
    return true;
}

/* --- serial ports and monitors --- */

/* A chardev from the text of an option.  False: *error; true with *chr NULL: "none". */
static bool system_chardev(System *s, const char *label, const char *option, const char *text, Chardev **chr,
                           GError **error)
{
    GError *failure = NULL;

    *chr = chardev_from_text(s->machine, label, text, &failure);
    if (failure) {
        g_propagate_prefixed_error(error, failure, "%s %s: ", option, text);
        return false;
    }
    return true;
}

static bool system_add_serial(System *s, unsigned n, const char *text, GError **error)
{
    g_autofree char *label = g_strdup_printf("serial%u", n);
    Chardev *chr;

    if (!system_chardev(s, label, "-serial", text, &chr, error)) {
        return false;
    }
    if (chr && !pc_add_serial(s->machine, chr, error)) {
        g_prefix_error(error, "-serial %s: ", text);
        return false;
    }
    /* The port came first: it has the terminal until Ctrl-A c. */
    if (chr && g_str_has_prefix(text, "mon:") && !monitor_open(s->machine, chr, false, error)) {
        g_prefix_error(error, "-serial %s: ", text);
        return false;
    }
    return true;
}

static bool system_add_serials(System *s, GError **error)
{
    const Cmdline *c = s->cmdline;

    if (!system_machine_model(s)->default_cpu) {
        if (c->serials->len) {
            error_set(error, "-serial: machine %s has no serial ports", system_machine_model(s)->model.name);
        }
        return !c->serials->len;
    }
    for (guint i = 0; i < c->serials->len; i++) {
        CmdlineItem *item = g_ptr_array_index(c->serials, i);

        if (!system_add_serial(s, i, item->text, error)) {
            return false;
        }
    }
    if (c->serials->len || c->nodefaults) {
        return true;
    }
    /* The terminal is for both, unless the monitor went elsewhere. */
    return system_add_serial(s, 0, !c->nographic ? "null" : c->monitors->len ? "stdio" : "mon:stdio", error);
}

/* -debugcon CHARDEV: an isa-debugcon on it. */
static bool system_add_debugcons(System *s, GError **error)
{
    for (guint i = 0; i < s->cmdline->debugcons->len; i++) {
        const CmdlineItem *item = g_ptr_array_index(s->cmdline->debugcons, i);
        g_autofree char *label = g_strdup_printf("debugcon%u", i);
        struct json_object *opts;
        Chardev *chr;
        bool ok;

        if (!system_chardev(s, label, item->option, item->text, &chr, error)) {
            return false;
        }
        if (!chr) {
            continue;
        }
        opts = json_object_new_object();
        json_object_object_add(opts, "driver", json_object_new_string("isa-debugcon"));
        json_object_object_add(opts, "chardev", json_object_new_string(chardev_id(chr)));
        ok = machine_device_add(s->machine, opts, error);
        json_object_put(opts);
        if (!ok) {
            cmdline_prefix_error(item, error);
            return false;
        }
    }
    return true;
}

static bool system_open_monitor(System *s, const char *option, const char *label, const char *text, bool qmp,
                                GError **error)
{
    Chardev *chr;

    if (!system_chardev(s, label, option, text, &chr, error)) {
        return false;
    }
    if (chr && !monitor_open(s->machine, chr, qmp, error)) {
        g_prefix_error(error, "%s %s: ", option, text);
        return false;
    }
    return true;
}

static bool system_add_mon(System *s, CmdlineItem *item, GError **error)
{
    const char *id = NULL, *mode = "readline";
    Chardev *chr;

    json_object_object_foreach(item->opts, key, value)
    {
        if (strcmp(key, "chardev") == 0) {
            id = json_object_get_string(value);
        } else if (strcmp(key, "mode") == 0) {
            mode = json_object_get_string(value);
        } else {
            error_set(error, "-mon %s: unknown option '%s' (allowed: chardev, mode)", item->text, key);
            return false;
        }
    }
    if (strcmp(mode, "readline") != 0 && strcmp(mode, "control") != 0) {
        error_set(error, "-mon %s: unknown mode (%s, allowed: readline, control)", item->text, mode);
        return false;
    }
    chr = id ? chardev_find(s->machine, id) : NULL;
    if (!chr) {
        error_set(error, "-mon %s: no chardev '%s'; add -chardev ...,id=NAME", item->text, id ? id : "");
        return false;
    }
    if (!monitor_open(s->machine, chr, strcmp(mode, "control") == 0, error)) {
        g_prefix_error(error, "-mon %s: ", item->text);
        return false;
    }
    return true;
}

static bool system_terminal_taken(const System *s)
{
    Object *all = object_container(s->machine->root, "chardevs");

    for (guint i = 0; i < all->children->len; i++) {
        if (strcmp(chardev_filename(g_ptr_array_index(all->children, i)), "stdio") == 0) {
            return true;
        }
    }
    return false;
}

/* -nographic: the monitor has the terminal when the serial port went elsewhere. */
static bool system_add_default_monitor(System *s, GError **error)
{
    const Cmdline *c = s->cmdline;

    if (!c->nographic || c->nodefaults || c->monitors->len || c->mons->len || system_terminal_taken(s)) {
        return true;
    }
    return system_open_monitor(s, "-monitor", "compat_monitor0", "stdio", false, error);
}

static bool system_add_monitors(System *s, GError **error)
{
    const Cmdline *c = s->cmdline;

    for (guint i = 0; i < c->monitors->len; i++) {
        CmdlineItem *item = g_ptr_array_index(c->monitors, i);
        g_autofree char *label = g_strdup_printf("compat_monitor%u", i);

        if (!system_open_monitor(s, item->option, label, item->text, strcmp(item->option, "-qmp") == 0,
                                 error)) {
            return false;
        }
    }
    for (guint i = 0; i < c->mons->len; i++) {
        if (!system_add_mon(s, g_ptr_array_index(c->mons, i), error)) {
            return false;
        }
    }
    return system_add_default_monitor(s, error);
}

static bool system_add_qtest(System *s, GError **error)
{
    Chardev *chr;

    if (!s->cmdline->qtest) {
        return true;
    }
    if (!system_chardev(s, "qtest", "-qtest", s->cmdline->qtest, &chr, error)) {
        return false;
    }
    if (chr) {
        s->qtest = qtest_server_new(s->machine, chr, s->cmdline->qtest_log, error);
    }
    return !chr || s->qtest;
}

static bool system_add_gdb(System *s, GError **error)
{
    if (s->cmdline->gdb && !gdbstub_open(s->machine, s->cmdline->gdb, error)) {
        g_prefix_error(error, "-gdb %s: ", s->cmdline->gdb);
        return false;
    }
    return true;
}

static bool system_add_vnc(System *s, GError **error)
{
    if (s->cmdline->vnc && !vnc_open(s->machine, s->cmdline->vnc, error)) {
        g_prefix_error(error, "-vnc %s: ", s->cmdline->vnc);
        return false;
    }
    return true;
}

/* The last: what is wrong elsewhere is said in a terminal as it was. */
static bool system_add_curses(System *s, GError **error)
{
    if (!s->cmdline->curses) {
        return true;
    }
    if (system_terminal_taken(s)) {
        error_set(error, "-display curses: the terminal is in use by a character device; use another than stdio");
        return false;
    }
    if (!curses_open(s->machine, error)) {
        g_prefix_error(error, "-display ");
        return false;
    }
    return true;
}

/* --- all of it --- */

/* Board and devices; with the main loop's lock. */
static bool system_build(System *s, GError **error)
{
    return system_add_objects(s, false, error) && system_set_ram(s, error) && system_set_numa(s, error) && system_new_accel(s, error) &&
           system_add_drives(s, error) && system_add_chardevs(s, error) && system_add_netdevs(s, error) &&
           machine_start(s->machine, error) &&
           system_add_serials(s, error) && system_add_vga(s, error) && system_add_nics(s, error) &&
           system_add_debugcons(s, error) && drives_plug(s, error) && system_add_devices(s, error) &&
           system_add_monitors(s, error) && system_add_qtest(s, error) && system_add_gdb(s, error) &&
           system_add_vnc(s, error) && system_add_curses(s, error);
}

/* A machine without a guest of its own serves devices that arrive one by one, through their clients. */
static bool system_await_devices(System *s, GError **error)
{
    if (strcmp(s->cmdline->incoming, "defer")) {
        error_set(error, "-incoming %s: machine '%s' has no RAM of its own; its devices come through their clients: use "
                  "-incoming defer", s->cmdline->incoming, s->machine->obj.model->name);
        return false;
    }
    machine_vm_start(s->machine);
    return true;
}

/* The guest runs, waits for cont, or for where it comes from. */
static bool system_begin(System *s, GError **error)
{
    Machine *m = s->machine;
    const Cmdline *c = s->cmdline;

    if (c->only_migratable && !migration_possible(m, error)) {
        g_prefix_error(error, "-only-migratable: ");
        return false;
    }
    m->only_migratable = c->only_migratable;
    if (!c->incoming) {
        if (!c->paused) {
            machine_vm_start(m);
        }
        return true;
    }
    if (!system_machine_model(s)->default_ram) {
        return system_await_devices(s, error);
    }
    m->run_state = RUN_STATE_INMIGRATE;
    m->autostart = !c->paused;
    if (strcmp(c->incoming, "defer") && !migration_incoming(m, c->incoming, error)) {
        g_prefix_error(error, "-incoming %s: ", c->incoming);
        return false;
    }
    return true;
}

bool system_start(System *s, GError **error)
{
    bool ok;

    if (s->cmdline->pidfile && !process_write_pidfile(s, error)) {
        return false;
    }
    if (!system_new_machine(s, error) || !system_check_cpus(s, error) ||
        !system_add_globals(s, error)) {
        return false;
    }
    system_configure_machine(s);
    loop_lock(s->machine->main_loop);
    ok = system_build(s, error);
    if (ok) {
        machine_reset(s->machine, SHUTDOWN_NONE);
        /* Not before: a client may be there at once, and what it has set up is not to be reset again. */
        ok = system_add_objects(s, true, error) && system_begin(s, error);
    }
    loop_unlock(s->machine->main_loop);
    return ok;
}

int system_run(System *s)
{
    int code = EXIT_SUCCESS;

    while (!machine_shutdown_requested(s->machine, &code)) {
        loop_iterate(s->machine->main_loop, true);
        machine_process_requests(s->machine);
    }
    return code;
}

void system_stop(System *s)
{
    Machine *m = s->machine;
    int code = EXIT_SUCCESS;

    if (m) {
        Accel *accel = m->accel;

        machine_vm_stop(m, RUN_STATE_SHUTDOWN);
        loop_lock(m->main_loop);
        machine_shutdown_requested(m, &code);
        gdbstub_close(m, code);
        curses_close(m);
        vnc_close(m);
        input_forget_groups(m);
        migration_free(m);
        qtest_server_free(s->qtest);
        monitor_close_all(m);
        accel_stop(accel);
        block_close_all(m);
        process_unwatch_signals(s);
        loop_unlock(m->main_loop);
        machine_free(m);
        accel_free(accel);
    }
    g_clear_pointer(&s->drive_devices, g_ptr_array_unref);
    if (s->signal_fd >= 0) {
        close(s->signal_fd);
    }
    process_remove_pidfile(s);
}
