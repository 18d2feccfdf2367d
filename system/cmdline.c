/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line: one table of options drives parsing, -help and the nearest
 * valid name in errors.  Parsing collects; startup.c acts.
 */
#include "cmdline.h"

#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/machine.h"
#include "core/trace.h"
#include "net/net.h"
#include "version.h"

typedef bool OptionFn(Cmdline *c, const char *option, const char *arg, GError **error);

typedef struct Option {
    const char *name;
    const char *arg; /* what it takes, for -help; NULL: nothing */
    OptionFn *fn;
    const char *doc;
} Option;

static const Option option_table[];

/* --- items --- */

static void cmdline_item_free(gpointer p)
{
    CmdlineItem *item = p;

    json_object_put(item->opts);
    g_free(item->text);
    g_free(item);
}

void cmdline_add_item(GPtrArray *list, const char *option, const char *text, struct json_object *opts)
{
    CmdlineItem *item = g_new0(CmdlineItem, 1);

    item->option = option;
    item->text = g_strdup(text);
    item->opts = opts;
    g_ptr_array_add(list, item);
}

void cmdline_prefix_error(const CmdlineItem *item, GError **error)
{
    if (error && *error && (*error)->message[0] != '-') {
        g_prefix_error(error, "%s %s: ", item->option, item->text);
    }
}

static bool cmdline_add_opts(GPtrArray *list, const char *option, const char *arg, const char *implied,
                             GError **error)
{
    g_autofree char *where = g_strdup_printf("%s %s", option, arg);
    struct json_object *opts = opts_parse(where, arg, implied, error);

    if (opts) {
        cmdline_add_item(list, option, arg, opts);
    }
    return opts != NULL;
}

static void cmdline_set(char **field, const char *text)
{
    g_free(*field);
    *field = g_strdup(text);
}

static bool is_help(const char *arg)
{
    return strcmp(arg, "help") == 0 || strcmp(arg, "?") == 0;
}

/* "X,help" of -device, -object and -machine: prints the properties of X. */
static bool cmdline_model_help(Cmdline *c, const char *option, const char *arg, unsigned kinds, bool *handled,
                               GError **error)
{
    size_t len = strcspn(arg, ",");
    g_autofree char *name = g_strndup(arg, len);

    *handled = arg[len] == ',' && is_help(arg + len + 1);
    if (!*handled) {
        return true;
    }
    c->done = true;
    return help_print_model(option, name, kinds, error);
}

/* --- options with structure --- */

static bool opt_machine(Cmdline *c, const char *option, const char *arg, GError **error)
{
    g_autofree char *where = g_strdup_printf("%s %s", option, arg);
    struct json_object *opts;
    bool help;

    if (is_help(arg)) {
        help_print_machines();
        c->done = true;
        return true;
    }
    if (!cmdline_model_help(c, option, arg, 1u << MODEL_MACHINE, &help, error)) {
        return false;
    }
    if (help) {
        return true;
    }
    opts = opts_parse(where, arg, "type", error);
    if (!opts) {
        return false;
    }
    json_object_object_foreach(opts, key, value)
    {
        g_autofree char *dashed = g_strdelimit(g_strdup(key), "_", '-'); /* kernel_irqchip, as scripts have it */

        json_object_object_add(c->machine, dashed, json_object_get(value));
    }
    json_object_put(opts);
    return true;
}

/* One KEY=VALUE of -accel. */
static bool accel_key(AccelConfig *config, const char *key, const char *value)
{
    if (strcmp(key, "jit") == 0 && (strcmp(value, "on") == 0 || strcmp(value, "off") == 0)) {
        config->jit = strcmp(value, "on") == 0;
        return true;
    }
    if (strcmp(key, "kernel-irqchip") == 0) {
        return accel_irqchip_parse(value, &config->irqchip);
    }
    if (strcmp(key, "dirty-ring-size") == 0) {
        char *end;

        config->dirty_ring_size = g_ascii_strtoull(value, &end, 10);
        return g_ascii_isdigit(*value) && !*end;
    }
    return strcmp(key, "thread") == 0 && strcmp(value, "multi") == 0;
}

static bool opt_accel(Cmdline *c, const char *option, const char *arg, GError **error)
{
    struct json_object *opts;
    const char *name = NULL;

    if (is_help(arg)) {
        help_print_accels();
        c->done = true;
        return true;
    }
    opts = opts_parse(option, arg, "accel", error);
    if (!opts) {
        return false;
    }
    json_object_object_foreach(opts, key, value)
    {
        const char *text = json_object_get_string(value);

        if (strcmp(key, "accel") == 0) {
            name = text;
        } else if (!accel_key(&c->accel_config, key, text)) {
            error_set(error, "-accel %s: unknown option '%s=%s' (allowed: jit=on|off, thread=multi, "
                      "kernel-irqchip=on|split|off, dirty-ring-size=N)", arg, key, text);
            json_object_put(opts);
            return false;
        }
    }
    if (name) {
        g_string_append_printf(c->accels, "%s%s", c->accels->len ? ":" : "", name);
    } else {
        error_set(error, "-accel %s: no accelerator named; see -accel help", arg);
    }
    json_object_put(opts);
    return name != NULL;
}

static bool opt_enable_kvm(Cmdline *c, const char *option, const char *arg, GError **error)
{
    g_string_append_printf(c->accels, "%skvm", c->accels->len ? ":" : "");
    return true;
}

static bool opt_cpu(Cmdline *c, const char *option, const char *arg, GError **error)
{
    if (is_help(arg)) {
        help_print_cpus();
        c->done = true;
        return true;
    }
    cmdline_set(&c->cpu, arg);
    return true;
}

static bool opt_m(Cmdline *c, const char *option, const char *arg, GError **error)
{
    struct json_object *opts = opts_parse(option, arg, "size", error);
    bool ok = opts != NULL;

    if (!ok) {
        return false;
    }
    json_object_object_foreach(opts, key, value)
    {
        if (strcmp(key, "size") != 0) {
            error_set(error, "-m %s: unknown option '%s' (allowed: size)", arg, key);
            ok = false;
            break;
        }
        ok = opts_parse_size("-m", json_object_get_string(value), 'M', &c->ram_size, error);
        if (ok && (c->ram_size < (1u << 20) || c->ram_size > (UINT64_C(1) << 40) || c->ram_size % 4096)) {
            error_set(error, "-m %s: size must be whole pages (%" G_GUINT64_FORMAT " bytes, allowed 1M..1T)",
                      arg, c->ram_size);
            ok = false;
        }
        if (!ok) {
            break;
        }
    }
    json_object_put(opts);
    return ok;
}

static bool opt_object(Cmdline *c, const char *option, const char *arg, GError **error)
{
    bool help;

    if (is_help(arg)) {
        help_print_objects();
        c->done = true;
        return true;
    }
    if (!cmdline_model_help(c, option, arg, 1u << MODEL_OBJECT, &help, error)) {
        return false;
    }
    return help || cmdline_add_opts(c->objects, option, arg, "qom-type", error);
}

/* "driver.prop=value" or driver=,property=,value=. */
static bool opt_global(Cmdline *c, const char *option, const char *arg, GError **error)
{
    const char *dot = strchr(arg, '.'), *eq = strchr(arg, '=');
    struct json_object *opts;

    if (!eq || !dot || dot > eq) {
        static const char *const keys[] = {"driver", "property", "value"};

        opts = opts_parse(option, arg, NULL, error);
        for (size_t i = 0; opts && i < G_N_ELEMENTS(keys); i++) {
            if (!json_object_object_get_ex(opts, keys[i], NULL) || json_object_object_length(opts) != 3) {
                error_set(error, "-global %s: must be DRIVER.PROP=VALUE or driver=DRIVER,property=PROP,value=VALUE", arg);
                json_object_put(opts);
                return false;
            }
        }
        if (!opts) {
            return false;
        }
    } else {
        opts = json_object_new_object();
        json_object_object_add(opts, "driver", json_object_new_string_len(arg, (int)(dot - arg)));
        json_object_object_add(opts, "property", json_object_new_string_len(dot + 1, (int)(eq - dot - 1)));
        json_object_object_add(opts, "value", json_object_new_string(eq + 1));
    }
    cmdline_add_item(c->globals, option, arg, opts);
    return true;
}

static bool opt_device(Cmdline *c, const char *option, const char *arg, GError **error)
{
    bool help;

    if (is_help(arg)) {
        help_print_devices();
        c->done = true;
        return true;
    }
    if (!cmdline_model_help(c, option, arg, 1u << MODEL_DEVICE | 1u << MODEL_PCI, &help, error)) {
        return false;
    }
    return help || cmdline_add_opts(c->devices, option, arg, "driver", error);
}

static bool opt_blockdev(Cmdline *c, const char *option, const char *arg, GError **error)
{
    return cmdline_add_opts(c->drives, option, arg, "driver", error);
}

static bool opt_drive(Cmdline *c, const char *option, const char *arg, GError **error)
{
    return cmdline_add_opts(c->drives, option, arg, NULL, error);
}

/* -hda to -hdd, -cdrom: a place on the board's IDE ports. */
static bool opt_ide_drive(Cmdline *c, const char *option, const char *arg, GError **error)
{
    const char *name = option + strspn(option, "-");
    bool cdrom = strcmp(name, "cdrom") == 0;
    struct json_object *opts = json_object_new_object();

    json_object_object_add(opts, "file", json_object_new_string(arg));
    json_object_object_add(opts, "if", json_object_new_string("ide"));
    json_object_object_add(opts, "media", json_object_new_string(cdrom ? "cdrom" : "disk"));
    json_object_object_add(opts, "index", json_object_new_string_len(cdrom ? "2" : &"0123"[name[2] - 'a'], 1));
    cmdline_add_item(c->drives, option, arg, opts);
    return true;
}

/* -netdev and -nic; opts may name some keys many times. */
static bool cmdline_add_net(GPtrArray *list, const char *option, const char *arg, GError **error)
{
    g_autofree char *where = g_strdup_printf("%s %s", option, arg);
    struct json_object *opts = net_opts_parse(where, arg, error);

    if (opts) {
        cmdline_add_item(list, option, arg, opts);
    }
    return opts != NULL;
}

static bool opt_netdev(Cmdline *c, const char *option, const char *arg, GError **error)
{
    return cmdline_add_net(c->netdevs, option, arg, error);
}

static bool opt_nic(Cmdline *c, const char *option, const char *arg, GError **error)
{
    return strcmp(arg, "none") == 0 || cmdline_add_net(c->nics, option, arg, error);
}

static bool opt_net(Cmdline *c, const char *option, const char *arg, GError **error)
{
    if (strcmp(arg, "none") != 0) {
        error_set(error, "-net %s: only -net none is taken; use -nic, or -netdev with -device", arg);
        return false;
    }
    return true;
}

static bool opt_chardev(Cmdline *c, const char *option, const char *arg, GError **error)
{
    if (is_help(arg)) {
        help_print_chardevs();
        c->done = true;
        return true;
    }
    return cmdline_add_opts(c->chardevs, option, arg, "backend", error);
}

static bool opt_mon(Cmdline *c, const char *option, const char *arg, GError **error)
{
    return cmdline_add_opts(c->mons, option, arg, "chardev", error);
}

static bool opt_serial(Cmdline *c, const char *option, const char *arg, GError **error)
{
    cmdline_add_item(c->serials, option, arg, NULL);
    return true;
}

static bool opt_monitor(Cmdline *c, const char *option, const char *arg, GError **error)
{
    cmdline_add_item(c->monitors, option, arg, NULL);
    return true;
}

/* --- plain options --- */

static bool opt_kernel(Cmdline *c, const char *option, const char *arg, GError **error)
{
    cmdline_set(&c->boot.kernel, arg);
    return true;
}

static bool opt_initrd(Cmdline *c, const char *option, const char *arg, GError **error)
{
    cmdline_set(&c->boot.initrd, arg);
    return true;
}

static bool opt_append(Cmdline *c, const char *option, const char *arg, GError **error)
{
    cmdline_set(&c->boot.append, arg);
    return true;
}

static bool opt_bios(Cmdline *c, const char *option, const char *arg, GError **error)
{
    cmdline_set(&c->boot.bios, arg);
    return true;
}

static bool opt_data_dir(Cmdline *c, const char *option, const char *arg, GError **error)
{
    g_ptr_array_add(c->data_dirs, g_strdup(arg));
    return true;
}

/* A debug console at its usual port, as -device isa-debugcon with a -chardev. */
static bool opt_debugcon(Cmdline *c, const char *option, const char *arg, GError **error)
{
    cmdline_add_item(c->debugcons, option, arg, NULL);
    return true;
}

static bool opt_nodefaults(Cmdline *c, const char *option, const char *arg, GError **error)
{
    c->nodefaults = true;
    return true;
}

static bool opt_nographic(Cmdline *c, const char *option, const char *arg, GError **error)
{
    c->nographic = true;
    return true;
}

static bool opt_vnc(Cmdline *c, const char *option, const char *arg, GError **error)
{
    cmdline_set(&c->vnc, strcmp(arg, "none") == 0 ? NULL : arg);
    return true;
}

static bool opt_display(Cmdline *c, const char *option, const char *arg, GError **error)
{
    if (g_str_has_prefix(arg, "vnc=")) {
        return opt_vnc(c, option, arg + strlen("vnc="), error);
    }
    c->curses = strcmp(arg, "curses") == 0;
    if (strcmp(arg, "none") != 0 && !c->curses) {
        error_set(error, "-display %s: no such display (allowed: none, curses, vnc=ADDRESS)", arg);
        return false;
    }
    return true;
}

/* Options whose one value says that something that is not there anyway shall not be there. */
static bool opt_none(Cmdline *c, const char *option, const char *arg, GError **error)
{
    if (strcmp(arg, "none") != 0) {
        error_set(error, "%s %s: not available (allowed: none)", option, arg);
        return false;
    }
    return true;
}

static bool opt_vga(Cmdline *c, const char *option, const char *arg, GError **error)
{
    if (strcmp(arg, "std") != 0 && strcmp(arg, "none") != 0) {
        error_set(error, "-vga %s: no such card (allowed: std, none)", arg);
        return false;
    }
    c->vga = strcmp(arg, "std") == 0;
    return true;
}

static bool opt_nothing(Cmdline *c, const char *option, const char *arg, GError **error)
{
    return true;
}

static bool opt_paused(Cmdline *c, const char *option, const char *arg, GError **error)
{
    c->paused = true;
    return true;
}

static bool opt_name(Cmdline *c, const char *option, const char *arg, GError **error)
{
    struct json_object *opts = opts_parse(option, arg, "guest", error);
    bool ok = opts != NULL;

    if (!ok) {
        return false;
    }
    json_object_object_foreach(opts, key, value)
    {
        if (strcmp(key, "guest") == 0) {
            cmdline_set(&c->name, json_object_get_string(value));
        } else if (strcmp(key, "debug-threads") != 0 && strcmp(key, "process") != 0) {
            error_set(error, "-name %s: unknown option '%s' (allowed: guest, process, debug-threads)", arg,
                      key);
            ok = false;
        }
    }
    json_object_put(opts);
    return ok;
}

static bool opt_pidfile(Cmdline *c, const char *option, const char *arg, GError **error)
{
    cmdline_set(&c->pidfile, arg);
    return true;
}

static bool opt_daemonize(Cmdline *c, const char *option, const char *arg, GError **error)
{
    c->daemonize = true;
    return true;
}

static bool opt_d(Cmdline *c, const char *option, const char *arg, GError **error)
{
    c->done |= is_help(arg);
    return log_set_mask(arg, error);
}

static bool opt_log_file(Cmdline *c, const char *option, const char *arg, GError **error)
{
    return log_set_file(arg, error);
}

static bool opt_trace(Cmdline *c, const char *option, const char *arg, GError **error)
{
    const char *pattern = g_str_has_prefix(arg, "enable=") ? arg + strlen("enable=") : arg;

    c->done |= is_help(pattern);
    return trace_enable(pattern, error);
}

/* One KEY=VALUE of -icount. */
static bool icount_key(IcountConfig *config, const char *key, const char *value)
{
    bool on = strcmp(value, "on") == 0;
    uint64_t shift;

    if (strcmp(key, "shift") == 0) {
        config->adapt = strcmp(value, "auto") == 0;
        if (!config->adapt && !(g_ascii_string_to_unsigned(value, 10, 0, 10, &shift, NULL))) {
            return false;
        }
        config->shift = config->adapt ? 0 : (unsigned)shift;
        return true;
    }
    if (strcmp(key, "sleep") == 0 && (on || strcmp(value, "off") == 0)) {
        config->sleep = on;
        return true;
    }
    return strcmp(key, "align") == 0 && strcmp(value, "off") == 0;
}

static bool opt_icount(Cmdline *c, const char *option, const char *arg, GError **error)
{
    struct json_object *opts = opts_parse(option, arg, "shift", error);
    IcountConfig *config = &c->accel_config.icount;
    bool ok = opts != NULL;

    *config = (IcountConfig){.on = true, .sleep = true};
    if (!ok) {
        return false;
    }
    json_object_object_foreach(opts, key, value)
    {
        if (ok && !icount_key(config, key, json_object_get_string(value))) {
            error_set(error, "-icount %s: bad '%s=%s' (allowed: shift=0..10|auto, sleep=on|off, align=off)", arg, key,
                      json_object_get_string(value));
            ok = false;
        }
    }
    json_object_put(opts);
    if (ok && config->adapt && !config->sleep) {
        error_set(error, "-icount %s: shift=auto follows real time, so it needs sleep=on", arg);
        ok = false;
    }
    return ok;
}

static bool opt_gdb(Cmdline *c, const char *option, const char *arg, GError **error)
{
    cmdline_set(&c->gdb, arg ? arg : "tcp::1234");
    return true;
}

static bool opt_qtest(Cmdline *c, const char *option, const char *arg, GError **error)
{
    cmdline_set(&c->qtest, arg);
    return true;
}

static bool opt_qtest_log(Cmdline *c, const char *option, const char *arg, GError **error)
{
    cmdline_set(&c->qtest_log, arg);
    return true;
}

static bool opt_incoming(Cmdline *c, const char *option, const char *arg, GError **error)
{
    g_free(c->incoming);
    c->incoming = g_strdup(arg);
    return true;
}

static bool opt_only_migratable(Cmdline *c, const char *option, const char *arg, GError **error)
{
    c->only_migratable = true;
    return true;
}

static bool opt_no_reboot(Cmdline *c, const char *option, const char *arg, GError **error)
{
    c->actions.on[MACHINE_ACTION_REBOOT] = 1;
    return true;
}

static bool opt_no_shutdown(Cmdline *c, const char *option, const char *arg, GError **error)
{
    c->actions.on[MACHINE_ACTION_SHUTDOWN] = 1;
    return true;
}

static bool opt_action(Cmdline *c, const char *option, const char *arg, GError **error)
{
    struct json_object *opts = opts_parse(option, arg, NULL, error);
    bool ok = opts != NULL;

    if (ok) {
        json_object_object_foreach(opts, key, value)
        {
            ok = ok && machine_action_parse(&c->actions, key, json_object_get_string(value), error);
        }
    }
    json_object_put(opts);
    return ok;
}

static bool opt_version(Cmdline *c, const char *option, const char *arg, GError **error)
{
    printf("QEMU emulator version %s (mpqemu %s)\n", QMP_COMPAT_VERSION, MPQEMU_VERSION);
    c->done = true;
    return true;
}

static bool opt_help(Cmdline *c, const char *option, const char *arg, GError **error)
{
    printf("usage: qemu-system-x86_64 [options]\n\nOptions may begin with one or two dashes.\n\n");
    for (const Option *o = option_table; o->name; o++) {
        g_autofree char *left = g_strdup_printf("-%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");

        printf(strlen(left) < 29 ? "%-30s%s\n" : "%s\n                              %s\n", left, o->doc);
    }
    c->done = true;
    return true;
}

static const Option option_table[] = {
    {"help", NULL, opt_help, "this list; also -h"},
    {"h", NULL, opt_help, "as -help"},
    {"version", NULL, opt_version, "print the version"},
    {"machine", "[type=]NAME[,PROP=VALUE...]", opt_machine,
     "machine model and its properties, accel=LIST, memory-backend=ID; help lists"},
    {"M", "NAME", opt_machine, "as -machine"},
    {"accel", "NAME[,jit=on|off][,kernel-irqchip=on|split|off][,dirty-ring-size=N]", opt_accel,
     "accelerator; repeat for a list in order of preference; help lists"},
    {"enable-kvm", NULL, opt_enable_kvm, "the same as -accel kvm"},
    {"cpu", "MODEL[,+FEATURE...]", opt_cpu, "CPU model; help lists"},
    {"m", "[size=]MEGS", opt_m, "guest RAM: MiB, or with suffix k, M, G"},
    {"smp", "[cpus=]N[,maxcpus=N][,sockets=N][,dies=N][,cores=N][,threads=N]", option_smp, "number of CPUs, and how they lie"},
    {"numa", "node|dist|cpu,KEY=VALUE[,...]", option_numa,
     "nodes: node[,nodeid=N][,cpus=N[-M]][,mem=SIZE|memdev=ID]; dist,src=N,dst=N,val=N; cpu,node-id=N[,socket-id=N]..."},
    {"global", "DRIVER.PROP=VALUE", opt_global, "another default of a property, for all of that driver"},
    {"object", "TYPE,id=ID[,PROP=VALUE...]", opt_object,
     "make an object; also JSON; help lists, TYPE,help details"},
    {"device", "DRIVER[,PROP=VALUE...]", opt_device,
     "add a device; also JSON; help lists, DRIVER,help details"},
    {"drive", "file=PATH[,if=IF][,id=ID][,...]", opt_drive,
     "drive: if=none (a back end only), ide, virtio or pflash (unit=N), media=disk or cdrom, index=N, format=raw, readonly=on, ..."},
    {"hda", "FILE", opt_ide_drive, "a disk at place 0 of the board's IDE ports"},
    {"hdb", "FILE", opt_ide_drive, "the same at place 1"},
    {"hdc", "FILE", opt_ide_drive, "the same at place 2"},
    {"hdd", "FILE", opt_ide_drive, "the same at place 3"},
    {"cdrom", "FILE", opt_ide_drive, "a disc in a CD-ROM drive at place 2"},
    {"blockdev", "[driver=]DRIVER,node-name=ID[,...]", opt_blockdev, "block back end as a node: raw, file, host_device, null-co, nbd; also JSON"},
    {"chardev", "BACKEND,id=ID[,...]", opt_chardev,
     "character device: null, stdio, file, pipe, pty, fd, socket, ringbuf; logfile=FILE keeps a copy; help lists"},
    {"serial", "CHARDEV", opt_serial,
     "serial port: stdio, mon:stdio, file:, unix:, tcp:, telnet:, pty, null, none, chardev:ID"},
    {"monitor", "CHARDEV", opt_monitor, "human monitor on a character device"},
    {"qmp", "CHARDEV", opt_monitor, "QMP monitor on a character device"},
    {"mon", "[chardev=]ID[,mode=MODE]", opt_mon, "monitor on a -chardev; MODE is readline or control (QMP)"},
    {"kernel", "FILE", opt_kernel, "boot this Linux kernel"},
    {"initrd", "FILE", opt_initrd, "its initial RAM disk"},
    {"append", "TEXT", opt_append, "its command line"},
    {"bios", "FILE", opt_bios, "firmware instead of SeaBIOS: a path, or a name in the directories of firmware"},
    {"L", "DIR", opt_data_dir, "look for firmware and option ROMs here first; may be repeated"},
    {"boot", "[order=]DRIVES[,once=DRIVES][,menu=on][,strict=on]...", option_boot,
     "what firmware boots: a floppy, c disk, d CD-ROM, n network; splash-time=MS, reboot-timeout=MS"},
    {"fw_cfg", "[name=]NAME,file=PATH|string=TEXT", option_fw_cfg, "a file for firmware and guest"},
    {"smbios", "type=N[,KEY=TEXT...]", option_smbios,
     "fields of SMBIOS structures: 0 BIOS, 1 system, 2 board, 3 chassis, 4 CPU, 11 OEM strings, 17 memory"},
    {"uuid", "UUID", option_uuid, "the machine's UUID"},
    {"rtc", "[base=utc|localtime|DATE][,clock=host|vm|rt][,driftfix=none|slew]", option_rtc,
     "the machine's calendar clock: where it starts, what drives it"},
    {"debugcon", "CHARDEV", opt_debugcon, "debug console at port 0xe9"},
    {"nodefaults", NULL, opt_nodefaults, "no serial port or monitor but those asked for"},
    {"nographic", NULL, opt_nographic, "serial port and monitor share the terminal; Ctrl-A h for help"},
    {"display", "none|curses|vnc=...", opt_display, "where the screen is seen: nowhere (but by screendump), as text in the terminal, as -vnc says"},
    {"vnc", "[HOST]:N|unix:PATH[,...]", opt_vnc, "shows the screen to VNC clients at display N, port 5900 + N; -vnc none"},
    {"vga", "std|none", opt_vga, "graphics card: std is -device VGA; none, the default"},
    {"netdev", "TYPE,id=ID[,...]", opt_netdev, "network back end: user, tap, socket, stream, dgram"},
    {"nic", "TYPE[,model=DRIVER][,mac=ADDR][,...]", opt_nic, "network back end and a card for it; none: no card"},
    {"net", "none", opt_net, "accepted: there is no default network card"},
    {"parallel", "none", opt_none, "there is no parallel port"},
    {"readconfig", "FILE", option_readconfig, "read options from FILE: sections [option \"id\"], lines key = \"value\""},
    {"no-user-config", NULL, opt_nothing, "accepted: no configuration files are read"},
    {"S", NULL, opt_paused, "do not start the guest; `cont` does"},
    {"icount", "[shift=]N|auto[,sleep=on|off]", opt_icount, "an instruction takes 2^N ns of guest time"},
    {"gdb", "CHARDEV", opt_gdb, "wait for gdb: tcp:[HOST]:PORT, unix:PATH,server=on,wait=off, chardev:ID"},
    {"s", NULL, opt_gdb, "the same as -gdb tcp::1234"},
    {"incoming", "URI|defer", opt_incoming, "wait for a guest that moves here: tcp:, unix:, fd:, exec:, file:"},
    {"only-migratable", NULL, opt_only_migratable, "refuse devices that cannot be moved"},
    {"no-reboot", NULL, opt_no_reboot, "end instead of rebooting"},
    {"no-shutdown", NULL, opt_no_shutdown, "stop instead of ending when the guest powers off"},
    {"action", "EVENT=ACTION[,...]", opt_action,
     "reboot=reset|shutdown, shutdown=poweroff|pause, panic=shutdown|pause|exit-failure|none, "
     "watchdog=reset|shutdown|poweroff|pause|debug|none|inject-nmi"},
    {"name", "[guest=]NAME", opt_name, "name of the machine"},
    {"pidfile", "FILE", opt_pidfile, "write the process id to FILE, and remove it at the end"},
    {"daemonize", NULL, opt_daemonize, "go to the background once everything is set up"},
    {"msg", "timestamp=on|off[,guest-name=on|off]", option_msg, "what messages on standard error begin with"},
    {"d", "ITEM[,...]", opt_d, "log these items; help lists"},
    {"D", "FILE", opt_log_file, "log to FILE instead of standard error"},
    {"trace", "[enable=]PATTERN", opt_trace, "trace events whose name matches; help lists"},
    {"qtest", "CHARDEV", opt_qtest, "qtest protocol on a character device"},
    {"qtest-log", "FILE", opt_qtest_log, "log of the qtest traffic; none: no log"},
    {NULL, NULL, NULL, NULL},
};

/* --- parsing --- */

/* Insertions, deletions, replacements and swaps of neighbours from a to b, which is an option's name. */
static size_t option_distance(const char *a, const char *b)
{
    size_t lb = strlen(b);
    size_t rows[3][64]; /* of i - 2, i - 1 and i, going round */

    g_assert(lb < G_N_ELEMENTS(rows[0]));
    for (size_t j = 0; j <= lb; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; a[i - 1]; i++) {
        const size_t *before = rows[(i + 1) % 3], *above = rows[(i + 2) % 3];
        size_t *row = rows[i % 3];

        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            row[j] = MIN(MIN(above[j] + 1, row[j - 1] + 1), above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = MIN(row[j], before[j - 2] + 1);
            }
        }
    }
    return rows[strlen(a) % 3][lb];
}

/* NULL: none is near. */
static const char *option_nearest(const char *name)
{
    const char *nearest = option_table[0].name;
    size_t best = option_distance(name, nearest);

    for (const Option *o = option_table; o->name; o++) {
        /* Half a name is nearer than a short one that has little to do with it. */
        size_t distance = g_str_has_prefix(o->name, name) ? 1 : option_distance(name, o->name);

        if (distance < best) {
            best = distance;
            nearest = o->name;
        }
    }
    return best <= (strlen(name) + 1) / 3 ? nearest : NULL;
}

static const Option *option_find(const char *arg, GError **error)
{
    const char *name = arg + (g_str_has_prefix(arg, "--") ? 2 : 1), *nearest;

    if (arg[0] != '-' || !arg[1]) {
        error_set(error, "'%s': not an option; a disk image is given with -drive", arg);
        return NULL;
    }
    for (const Option *o = option_table; o->name; o++) {
        if (strcmp(o->name, name) == 0) {
            return o;
        }
    }
    nearest = option_nearest(name);
    if (nearest) {
        error_set(error, "%s: unknown option (did you mean -%s?)", arg, nearest);
    } else {
        error_set(error, "%s: unknown option; -help lists those there are", arg);
    }
    return NULL;
}

/* Combinations that cannot be meant. */
static bool cmdline_check(const Cmdline *c, GError **error)
{
    if (c->boot.append && !c->boot.kernel) {
        error_set(error, "-append: only with -kernel");
        return false;
    }
    if (c->boot.initrd && !c->boot.kernel) {
        error_set(error, "-initrd: only with -kernel");
        return false;
    }
    if (c->curses && (c->nographic || c->daemonize)) {
        error_set(error, "-display curses: cannot be used with %s", c->nographic ? "-nographic" : "-daemonize");
        return false;
    }
    if (c->daemonize && c->nographic) {
        error_set(error, "-daemonize: cannot be used with -nographic, which needs the terminal");
        return false;
    }
    return true;
}

static bool option_run(Cmdline *c, const Option *option, const char *arg, GError **error)
{
    g_autofree char *name = g_strconcat("-", option->name, NULL);

    if (!option->fn(c, g_intern_string(name), arg, error)) {
        if (error && *error && (*error)->message[0] != '-') {
            g_prefix_error(error, "%s: ", name);
        }
        return false;
    }
    return true;
}

bool cmdline_apply(Cmdline *c, const char *name, const char *arg, GError **error)
{
    g_autofree char *dashed = g_strconcat("-", name, NULL);
    const Option *option = option_find(dashed, error);

    return option && option_run(c, option, arg, error);
}

bool cmdline_parse(Cmdline *c, int argc, char **argv, GError **error)
{
    for (int i = 1; i < argc && !c->done; i++) {
        const Option *option = option_find(argv[i], error);

        if (!option) {
            return false;
        }
        if (option->arg && i + 1 == argc) {
            error_set(error, "-%s: needs an argument: -%s %s", option->name, option->name, option->arg);
            return false;
        }
        if (!option_run(c, option, option->arg ? argv[++i] : NULL, error)) {
            return false;
        }
    }
    return c->done || cmdline_check(c, error);
}

Cmdline *cmdline_new(void)
{
    Cmdline *c = g_new0(Cmdline, 1);
    GPtrArray **lists[] = {&c->objects,  &c->devices, &c->drives,  &c->chardevs, &c->serials,
                           &c->monitors, &c->mons,    &c->netdevs, &c->nics,    &c->debugcons, &c->globals, &c->numas};

    c->machine = json_object_new_object();
    c->accels = g_string_new(NULL);
    c->boot = (BootConfig){.splash_ms = -1, .reboot_ms = -1};
    c->data_dirs = g_ptr_array_new_with_free_func(g_free);
    c->accel_config = (AccelConfig){.jit = true, .irqchip = ACCEL_IRQCHIP_ON};
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        *lists[i] = g_ptr_array_new_with_free_func(cmdline_item_free);
    }
    return c;
}

void cmdline_free(Cmdline *c)
{
    GPtrArray *lists[] = {c->objects,  c->devices, c->drives,  c->chardevs, c->serials,
                          c->monitors, c->mons,    c->netdevs, c->nics,    c->debugcons, c->globals, c->numas};
    char *texts[] = {c->cpu, c->name, c->pidfile, c->qtest, c->qtest_log, c->gdb, c->vnc, c->incoming};

    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_ptr_array_free(lists[i], TRUE);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_free(texts[i]);
    }
    boot_config_clear(&c->boot);
    g_ptr_array_free(c->data_dirs, TRUE);
    json_object_put(c->machine);
    g_string_free(c->accels, TRUE);
    g_free(c);
}
