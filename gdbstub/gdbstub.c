/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The gdb stub: where a debugger attaches, and when the machine runs.  While it is stopped for the debugger its run
 * state is `debug` (a point was met) or `paused` (the debugger asked).
 */
#include "gdbstub/gdbstub.h"

#include <string.h>

#include "core/error.h"
#include "gdb-internal.h"
#include "monitor/monitor.h"

#define GDB_DEFAULT   "tcp::1234"
#define GDB_LABEL     "gdb"
#define GDB_READ_SIZE 4096
/* A peer that does not read its replies is not read either. */
#define GDB_QUEUE_MAX 65536

Vcpu *gdb_vcpu(GdbStub *s, unsigned index)
{
    const Accel *accel = s->m->accel;

    return accel && index < accel->vcpus->len ? g_ptr_array_index(accel->vcpus, index) : NULL;
}

/* --- stops --- */

static bool is_access(const GdbStop *stop)
{
    return stop->why.kind == X86_DEBUG_WRITE || stop->why.kind == X86_DEBUG_READ || stop->why.kind == X86_DEBUG_ACCESS;
}

/* gdb looks for its breakpoint where RIP is: with a segment base it is elsewhere, and the reason is not told. */
static bool at_rip(GdbStub *s, const GdbStop *stop)
{
    Vcpu *vcpu = gdb_vcpu(s, stop->vcpu);
    X86CpuState state;

    return vcpu && vcpu->accel->ops->get_state(vcpu, &state) && state.rip == stop->why.addr;
}

void gdb_send_stop(GdbStub *s, const GdbStop *stop, int signal)
{
    static const char *const words[] = {[X86_DEBUG_WRITE] = "watch", [X86_DEBUG_READ] = "rwatch", [X86_DEBUG_ACCESS] = "awatch"};
    g_autoptr(GString) text = g_string_new(NULL);

    if (stop) {
        s->current = stop->vcpu;
    }
    g_string_printf(text, "T%02xthread:%x;", signal, s->current + 1);
    if (stop && is_access(stop)) {
        g_string_append_printf(text, "%s:%" G_GINT64_MODIFIER "x;", words[stop->why.kind], stop->why.addr);
    } else if (stop && stop->why.kind == X86_DEBUG_EXEC && at_rip(s, stop)) {
        g_string_append(text, stop->why.len ? "hwbreak:;" : "swbreak:;");
    }
    gdb_send_text(s, text->str);
}

/* The next stop to tell of; false: none. */
static bool take_stop(GdbStub *s, bool accesses_only, GdbStop *stop)
{
    bool found = false;

    g_mutex_lock(&s->stops_lock);
    while (!found && s->stops->len) {
        *stop = g_array_index(s->stops, GdbStop, 0);
        g_array_remove_index(s->stops, 0);
        found = !accesses_only || is_access(stop);
    }
    g_mutex_unlock(&s->stops_lock);
    return found;
}

/* A vCPU's thread. */
static void gdb_vcpu_stopped(void *opaque, Vcpu *vcpu, const X86DebugPoint *why)
{
    GdbStub *s = opaque;
    GdbStop stop = {vcpu->index, *why};

    g_mutex_lock(&s->stops_lock);
    g_array_append_val(s->stops, stop);
    g_mutex_unlock(&s->stops_lock);
    loop_bh_schedule(s->stopped_bh);
}

static void gdb_stopped(void *opaque)
{
    GdbStub *s = opaque;

    if (s->m->run_state == RUN_STATE_RUNNING) {
        s->stopped_here = true;
        machine_vm_stop(s->m, RUN_STATE_DEBUG);
    }
}

void gdb_stop_machine(GdbStub *s)
{
    if (s->m->run_state == RUN_STATE_RUNNING) {
        s->stopped_here = true;
        machine_vm_stop(s->m, RUN_STATE_PAUSED);
    }
}

/* What a state of the machine is as a signal (GDB manual, include/gdb/signals.def). */
static int state_signal(RunState state)
{
    static const uint8_t signals[] = {
        [RUN_STATE_PAUSED] = GDB_SIGINT, [RUN_STATE_SHUTDOWN] = 3, [RUN_STATE_INTERNAL_ERROR] = 6, [RUN_STATE_IO_ERROR] = 23,
        [RUN_STATE_FINISH_MIGRATE] = 24, [RUN_STATE_POSTMIGRATE] = 24, [RUN_STATE_DEBUG] = GDB_SIGTRAP,
    };

    return signals[state] ? signals[state] : GDB_SIGTRAP;
}

static void gdb_run_state(void *opaque, bool running, RunState state)
{
    GdbStub *s = opaque;
    GdbStop stop;

    if (running || !s->expects_stop) {
        return;
    }
    s->expects_stop = false;
    if (state == RUN_STATE_DEBUG && take_stop(s, false, &stop)) {
        gdb_send_stop(s, &stop, GDB_SIGTRAP);
    } else {
        gdb_send_stop(s, NULL, state_signal(state));
    }
}

/* --- running --- */

static void set_points(GdbStub *s, VcpuDebug *actions)
{
    Vcpu *vcpu;

    for (unsigned n = 0; (vcpu = gdb_vcpu(s, n)); n++) {
        VcpuDebug debug = actions ? actions[n] : (VcpuDebug){0};

        debug.points = (const X86DebugPoint *)(void *)s->points->data;
        debug.count = s->points->len;
        if (s->has_points) {
            vcpu->accel->ops->set_debug(vcpu, &debug);
        }
    }
}

static bool can_run(const GdbStub *s)
{
    RunState state = s->m->run_state;

    return state == RUN_STATE_PRELAUNCH || state == RUN_STATE_PAUSED || state == RUN_STATE_DEBUG || state == RUN_STATE_IO_ERROR;
}

/* Whether the accelerator can do what is asked of it: without points all vCPUs run. */
static bool can_do(GdbStub *s, const VcpuDebug *actions)
{
    for (unsigned n = 0; actions && gdb_vcpu(s, n); n++) {
        if ((actions[n].step || actions[n].hold) && !s->has_points) {
            return false;
        }
    }
    return true;
}

void gdb_resume(GdbStub *s, VcpuDebug *actions)
{
    GdbStop stop;

    if (!can_do(s, actions)) {
        gdb_send_error(s, GDB_EINVAL);
        return;
    }
    /* Two vCPUs met a point at once: this is the other's.  One at a breakpoint meets it again by itself. */
    if (take_stop(s, true, &stop)) {
        gdb_send_stop(s, &stop, GDB_SIGTRAP);
        return;
    }
    if (!can_run(s)) {
        gdb_send_stop(s, NULL, state_signal(s->m->run_state));
        return;
    }
    set_points(s, actions);
    s->expects_stop = true;
    s->stopped_here = false;
    machine_vm_start(s->m);
}

void gdb_let_go(GdbStub *s)
{
    GdbStop stop;

    g_array_set_size(s->points, 0);
    while (take_stop(s, false, &stop)) {
    }
    if (s->m->run_state != RUN_STATE_RUNNING) {
        set_points(s, NULL);
    }
    s->expects_stop = s->attached = false;
    if (s->stopped_here && can_run(s)) {
        s->stopped_here = false;
        machine_vm_start(s->m);
    }
}

/* --- the connection --- */

static size_t gdb_can_read(void *opaque)
{
    GdbStub *s = opaque;

    return chardev_pending(s->chr) < GDB_QUEUE_MAX ? GDB_READ_SIZE : 0;
}

static void gdb_read(void *opaque, const uint8_t *buf, size_t len)
{
    gdb_receive(opaque, buf, len);
}

static void gdb_event(void *opaque, ChardevEvent event)
{
    GdbStub *s = opaque;

    if (event == CHARDEV_OPENED) {
        s->frame = GDB_IDLE;
        s->acks = true;
        s->current = 0;
        g_string_truncate(s->last, 0);
        s->expects_stop = false;
        gdb_stop_machine(s);
    } else if (event == CHARDEV_CLOSED) {
        gdb_stop_machine(s); /* so that its points can go */
        gdb_let_go(s);
    }
}

/* --- opening and closing --- */

/* A server that does not wait, on this host alone unless an address is given. */
static char *chardev_text(const char *text)
{
    const char *rest = g_str_has_prefix(text, "tcp:") ? text + strlen("tcp:") : NULL;

    if (!rest) {
        return g_strdup(text);
    }
    return g_strdup_printf("tcp:%s%s%s", *rest == ':' ? "127.0.0.1" : "", rest,
                           strchr(rest, ',') ? "" : ",server=on,wait=off");
}

static void stub_free(GdbStub *s)
{
    if (s->own_chr) {
        chardev_free(s->chr);
    }
    if (s->stopped_bh) {
        loop_bh_free(s->stopped_bh);
    }
    g_string_free(s->in, TRUE);
    g_string_free(s->last, TRUE);
    g_array_free(s->points, TRUE);
    g_array_free(s->stops, TRUE);
    g_mutex_clear(&s->stops_lock);
    g_free(s);
}

void gdbstub_close(Machine *m, int exit_code)
{
    GdbStub *s = m->gdbstub;
    char text[8];

    if (!s) {
        return;
    }
    if (s->attached && chardev_connected(s->chr)) {
        g_snprintf(text, sizeof(text), "W%02x", exit_code & 0xff);
        gdb_send_text(s, text);
    }
    gdb_stop_machine(s);
    gdb_let_go(s);
    gdb_stop_machine(s);
    m->accel->debug_stop = NULL;
    m->gdbstub = NULL;
    machine_remove_run_state_handler(m, gdb_run_state, s);
    chardev_detach(s->chr, s);
    stub_free(s);
}

static GdbStub *stub_new(Machine *m)
{
    GdbStub *s = g_new0(GdbStub, 1);

    s->m = m;
    s->in = g_string_new(NULL);
    s->last = g_string_new(NULL);
    s->points = g_array_new(FALSE, FALSE, sizeof(X86DebugPoint));
    s->stops = g_array_new(FALSE, FALSE, sizeof(GdbStop));
    g_mutex_init(&s->stops_lock);
    s->stopped_bh = loop_bh_new(m->main_loop, gdb_stopped, s);
    return s;
}

/* False: it says why. */
static bool accel_has_points(Accel *accel)
{
    GError *why = NULL;

    if (!accel->ops->set_debug) {
        error_set(&why, "accelerator %s has no breakpoints and single steps", accel->ops->name);
    } else if (!accel->ops->check_debug || accel->ops->check_debug(g_ptr_array_index(accel->vcpus, 0), NULL, 0, &why)) {
        return true;
    }
    g_printerr("%s: gdb: %s, only registers and stops; use -accel tcg\n", g_get_prgname(), why->message);
    g_error_free(why);
    return false;
}

bool gdbstub_open(Machine *m, const char *text, GError **error)
{
    bool none = strcmp(text, "none") == 0;
    g_autofree char *spec = chardev_text(text);
    ChardevFrontend frontend = {gdb_can_read, gdb_read, gdb_event, NULL};
    GdbStub *s;

    if (!none && (!m->accel || !m->accel->vcpus->len)) {
        error_set(error, "gdb: machine %s has no CPUs to debug", m->obj.model->name);
        return false;
    }
    if (m->gdbstub) {
        bool runs = m->run_state == RUN_STATE_RUNNING || m->gdbstub->stopped_here;

        gdbstub_close(m, 0);
        if (runs) {
            machine_vm_start(m);
        }
    }
    if (none) {
        return true;
    }
    s = stub_new(m);
    s->has_points = accel_has_points(m->accel);
    s->own_chr = !g_str_has_prefix(spec, "chardev:");
    s->chr = chardev_from_text(m, GDB_LABEL, spec, error);
    if (!s->chr) {
        s->own_chr = false;
        stub_free(s);
        return false;
    }
    frontend.opaque = s;
    m->gdbstub = s;
    m->accel->debug_opaque = s;
    m->accel->debug_stop = gdb_vcpu_stopped;
    machine_add_run_state_handler(m, gdb_run_state, s);
    if (!chardev_attach(s->chr, &frontend, error)) {
        machine_remove_run_state_handler(m, gdb_run_state, s);
        m->accel->debug_stop = NULL;
        m->gdbstub = NULL;
        stub_free(s);
        return false;
    }
    return true;
}

static void hmp_gdbserver(Machine *m, const char *args, GString *out)
{
    GError *error = NULL;

    if (gdbstub_open(m, *args ? args : GDB_DEFAULT, &error)) {
        g_string_append_printf(out, "%s\n", m->gdbstub ? chardev_filename(m->gdbstub->chr) : "gdbserver is off");
    } else {
        g_string_append_printf(out, "error: %s\n", error->message);
        g_clear_error(&error);
    }
}

extern const HmpCommand hmp_gdb_table[];
const HmpCommand hmp_gdb_table[] = {
    {.name = "gdbserver", .args = "[CHARDEV|none]", .doc = "waits for gdb, on tcp::1234 unless said otherwise", .run = hmp_gdbserver},
    {.name = NULL},
};
