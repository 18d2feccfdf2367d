/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets of the remote serial protocol (GDB manual, appendix E.2 to E.5).  What is not known gets an empty reply. */
#include <string.h>

#include "core/error.h"
#include "gdb-internal.h"
#include "monitor/monitor.h"

#define GDB_PAGE 4096u
#define GDB_ALL_THREADS UINT64_MAX

typedef void GdbFn(GdbStub *s, const char *args, size_t len);

static void ok(GdbStub *s)
{
    gdb_send_text(s, "OK");
}

static bool get_state(GdbStub *s, X86CpuState *state)
{
    Vcpu *vcpu = gdb_vcpu(s, s->current);

    return vcpu && vcpu->accel->ops->get_state(vcpu, state);
}

static bool set_state(GdbStub *s, const X86CpuState *state)
{
    Vcpu *vcpu = gdb_vcpu(s, s->current);

    return vcpu && vcpu->accel->ops->set_state(vcpu, state);
}

/* --- threads: vCPU n is thread n + 1 --- */

/* A thread id, -1 for all; 0 (any) is the present one. */
static bool parse_thread(GdbStub *s, const char **text, uint64_t *thread)
{
    if (g_str_has_prefix(*text, "-1")) {
        *text += 2;
        *thread = GDB_ALL_THREADS;
        return true;
    }
    if (!gdb_parse_number(text, 0, thread)) {
        return false;
    }
    *thread = *thread ? *thread : s->current + 1;
    return *thread <= UINT32_MAX && gdb_vcpu(s, (unsigned)*thread - 1);
}

static void cmd_thread(GdbStub *s, const char *args, size_t len)
{
    char use = *args;
    uint64_t thread;

    args += use != 0;
    if ((use != 'g' && use != 'c') || !parse_thread(s, &args, &thread)) {
        gdb_send_error(s, GDB_ESRCH);
        return;
    }
    if (thread != GDB_ALL_THREADS) {
        s->current = (unsigned)thread - 1;
    }
    ok(s);
}

static void cmd_thread_alive(GdbStub *s, const char *args, size_t len)
{
    uint64_t thread;

    if (parse_thread(s, &args, &thread)) {
        ok(s);
    } else {
        gdb_send_error(s, GDB_ESRCH);
    }
}

static void cmd_first_threads(GdbStub *s, const char *args, size_t len)
{
    g_autoptr(GString) out = g_string_new("m");

    s->listed = strncmp(args, "qf", 2) == 0 ? 0 : s->listed;
    for (unsigned n = 0; n < 64 && gdb_vcpu(s, s->listed); n++, s->listed++) {
        g_string_append_printf(out, "%s%x", n ? "," : "", s->listed + 1);
    }
    gdb_send_text(s, out->len > 1 ? out->str : "l");
}

static void cmd_thread_name(GdbStub *s, const char *args, size_t len)
{
    g_autoptr(GString) out = g_string_new(NULL);
    uint64_t thread;
    X86CpuState state;
    char name[48];
    Vcpu *vcpu;

    if (!parse_thread(s, &args, &thread) || thread == GDB_ALL_THREADS) {
        gdb_send_error(s, GDB_ESRCH);
        return;
    }
    vcpu = gdb_vcpu(s, (unsigned)thread - 1);
    g_snprintf(name, sizeof(name), "CPU#%u [%s]", vcpu->index,
               vcpu->accel->ops->get_state(vcpu, &state) && (state.halted || state.wait_sipi) ? "halted" : "running");
    gdb_append_hex(out, name, strlen(name));
    gdb_send_text(s, out->str);
}

/* --- registers --- */

static void cmd_read_all(GdbStub *s, const char *args, size_t len)
{
    g_autoptr(GString) out = g_string_new(NULL);
    X86CpuState state;

    if (!get_state(s, &state)) {
        gdb_send_error(s, GDB_EINVAL);
        return;
    }
    for (unsigned n = 0; n < gdb_general_count(); n++) {
        gdb_register_read(&state, n, out);
    }
    gdb_send(s, out->str, out->len);
}

static void cmd_write_all(GdbStub *s, const char *args, size_t len)
{
    X86CpuState state;
    bool good = get_state(s, &state);

    for (unsigned n = 0; good && *args && n < gdb_register_count(); n++) {
        good = gdb_register_write(&state, n, &args);
    }
    if (good && set_state(s, &state)) {
        ok(s);
    } else {
        gdb_send_error(s, GDB_EINVAL);
    }
}

static void cmd_read_one(GdbStub *s, const char *args, size_t len)
{
    g_autoptr(GString) out = g_string_new(NULL);
    X86CpuState state;
    uint64_t n;

    if (gdb_parse_number(&args, 0, &n) && n < gdb_register_count() && get_state(s, &state)) {
        gdb_register_read(&state, (unsigned)n, out);
        gdb_send(s, out->str, out->len);
    } else {
        gdb_send_error(s, GDB_EINVAL);
    }
}

static void cmd_write_one(GdbStub *s, const char *args, size_t len)
{
    X86CpuState state;
    uint64_t n;

    if (gdb_parse_number(&args, '=', &n) && n < gdb_register_count() && get_state(s, &state) &&
        gdb_register_write(&state, (unsigned)n, &args) && set_state(s, &state)) {
        ok(s);
    } else {
        gdb_send_error(s, GDB_EINVAL);
    }
}

/* --- memory, through the page tables of the present vCPU --- */

static bool access_memory(GdbStub *s, uint64_t addr, uint8_t *buf, uint64_t len, bool write)
{
    Vcpu *vcpu = gdb_vcpu(s, s->current);
    X86CpuState state;
    AddressSpace *as = s->m->memory;

    if (!vcpu || !vcpu->accel->ops->translate) {
        return false;
    }
    if (s->m->smm_memory && get_state(s, &state) && state.smm) {
        as = s->m->smm_memory;
    }
    while (len) {
        uint64_t n = MIN(len, GDB_PAGE - (addr & (GDB_PAGE - 1))), gpa;

        if (!vcpu->accel->ops->translate(vcpu, addr, &gpa) ||
            (write ? as_write(as, gpa, buf, n, MEM_ATTRS_CPU) : as_read(as, gpa, buf, n, MEM_ATTRS_CPU)) != MEM_OK) {
            return false;
        }
        addr += n;
        buf += n;
        len -= n;
    }
    return true;
}

/* The two numbers that m, M and X begin with. */
static bool parse_range(const char **args, char end, uint64_t *addr, uint64_t *len)
{
    return gdb_parse_number(args, ',', addr) && gdb_parse_number(args, end, len);
}

static void cmd_read_memory(GdbStub *s, const char *args, size_t len)
{
    g_autoptr(GString) out = g_string_new(NULL);
    g_autofree uint8_t *buf = NULL;
    uint64_t addr, n;

    if (!parse_range(&args, 0, &addr, &n) || n > GDB_PACKET_MAX / 2 - 8) {
        gdb_send_error(s, GDB_EINVAL);
        return;
    }
    buf = g_malloc0(n + 1);
    /* What can be read of it. */
    while (n && !access_memory(s, addr, buf, n, false)) {
        uint64_t room = GDB_PAGE - (addr & (GDB_PAGE - 1));

        n = n > room ? room + (n - room - 1) / GDB_PAGE * GDB_PAGE : 0;
    }
    if (!n) {
        gdb_send_error(s, GDB_EFAULT);
        return;
    }
    gdb_append_hex(out, buf, n);
    gdb_send(s, out->str, out->len);
}

static void write_reply(GdbStub *s, uint64_t addr, uint8_t *buf, uint64_t n)
{
    if (access_memory(s, addr, buf, n, true)) {
        ok(s);
    } else {
        gdb_send_error(s, GDB_EFAULT);
    }
}

static void cmd_write_memory(GdbStub *s, const char *args, size_t len)
{
    g_autofree uint8_t *buf = NULL;
    uint64_t addr, n;

    if (!parse_range(&args, ':', &addr, &n) || n > GDB_PACKET_MAX) {
        gdb_send_error(s, GDB_EINVAL);
        return;
    }
    buf = g_malloc0(n + 1);
    if (strlen(args) != 2 * n || !gdb_parse_hex(args, buf, n)) {
        gdb_send_error(s, GDB_EINVAL);
        return;
    }
    write_reply(s, addr, buf, n);
}

static void cmd_write_binary(GdbStub *s, const char *args, size_t len)
{
    const char *end = args + len;
    g_autofree uint8_t *buf = NULL;
    uint64_t addr, n;

    if (!parse_range(&args, ':', &addr, &n) || n != (uint64_t)(end - args)) {
        gdb_send_error(s, GDB_EINVAL);
        return;
    }
    buf = g_malloc0(n + 1);
    memcpy(buf, args, n);
    write_reply(s, addr, buf, n);
}

/* --- breakpoints and watchpoints --- */

static bool parse_point(const char *args, X86DebugPoint *point)
{
    static const X86DebugKind kinds[] = {X86_DEBUG_EXEC, X86_DEBUG_EXEC, X86_DEBUG_WRITE, X86_DEBUG_READ, X86_DEBUG_ACCESS};
    uint64_t type;

    if (!gdb_parse_number(&args, ',', &type) || type >= G_N_ELEMENTS(kinds) || !parse_range(&args, 0, &point->addr, &point->len)) {
        return false;
    }
    point->kind = kinds[type];
    if (point->kind == X86_DEBUG_EXEC) {
        point->len = type;
        return true;
    }
    return point->len && point->len <= GDB_PAGE && point->addr + point->len > point->addr;
}

static bool same_point(const X86DebugPoint *a, const X86DebugPoint *b)
{
    return a->kind == b->kind && a->addr == b->addr && a->len == b->len;
}

static guint find_point(const GdbStub *s, const X86DebugPoint *point)
{
    guint i = 0;

    while (i < s->points->len && !same_point(&g_array_index(s->points, X86DebugPoint, i), point)) {
        i++;
    }
    return i;
}

/* Whether the accelerator takes all of them. */
static bool check_points(GdbStub *s, GError **error)
{
    Vcpu *vcpu = gdb_vcpu(s, s->current);

    return !vcpu->accel->ops->check_debug ||
           vcpu->accel->ops->check_debug(vcpu, (const X86DebugPoint *)(void *)s->points->data, s->points->len, error);
}

static void cmd_insert_point(GdbStub *s, const char *args, size_t len)
{
    g_autoptr(GError) error = NULL;
    X86DebugPoint point;

    if (!parse_point(args, &point) || !s->has_points) {
        gdb_send_error(s, GDB_EINVAL);
    } else if (find_point(s, &point) < s->points->len) {
        ok(s);
    } else if (s->points->len >= GDB_POINTS_MAX) {
        gdb_send_error(s, GDB_ENOSPC);
    } else {
        g_array_append_val(s->points, point);
        if (check_points(s, &error)) {
            ok(s);
        } else {
            g_autofree char *text = g_strdup_printf("E.%s", error->message);

            g_array_set_size(s->points, s->points->len - 1);
            gdb_send_text(s, text);
        }
    }
}

static void cmd_remove_point(GdbStub *s, const char *args, size_t len)
{
    X86DebugPoint point;
    guint i = parse_point(args, &point) ? find_point(s, &point) : s->points->len;

    if (i == s->points->len) {
        gdb_send_error(s, GDB_EINVAL);
        return;
    }
    g_array_remove_index(s->points, i);
    ok(s);
}

/* --- running --- */

static void cmd_why_stopped(GdbStub *s, const char *args, size_t len)
{
    gdb_send_stop(s, NULL, GDB_SIGTRAP);
}

/* c, s, C and S: the present vCPU, from an address if one is given; with c all others run too. */
static void run(GdbStub *s, const char *addr, bool step)
{
    g_autofree VcpuDebug *actions = NULL;
    X86CpuState state;
    unsigned count = 0;
    uint64_t rip;

    if (*addr) {
        if (!gdb_parse_number(&addr, 0, &rip) || !get_state(s, &state)) {
            gdb_send_error(s, GDB_EINVAL);
            return;
        }
        state.rip = rip;
        set_state(s, &state);
    }
    if (!step) {
        gdb_resume(s, NULL);
        return;
    }
    while (gdb_vcpu(s, count)) {
        count++;
    }
    actions = g_new0(VcpuDebug, count);
    for (unsigned n = 0; n < count; n++) {
        actions[n].step = n == s->current;
        actions[n].hold = n != s->current;
    }
    gdb_resume(s, actions);
}

static void cmd_continue(GdbStub *s, const char *args, size_t len)
{
    run(s, args, false);
}

static void cmd_step(GdbStub *s, const char *args, size_t len)
{
    run(s, args, true);
}

static void cmd_signal(GdbStub *s, const char *args, size_t len)
{
    const char *addr = strchr(args, ';');

    run(s, addr ? addr + 1 : "", args[-1] == 'S');
}

static void cmd_vcont_query(GdbStub *s, const char *args, size_t len)
{
    gdb_send_text(s, "vCont;c;C;s;S");
}

/* ";action[:thread]" one after the other; the first that fits a thread is its. */
static void cmd_vcont(GdbStub *s, const char *args, size_t len)
{
    unsigned count = 0;
    g_autofree VcpuDebug *actions = NULL;
    g_autofree bool *set = NULL;
    bool good = true;

    while (gdb_vcpu(s, count)) {
        count++;
    }
    actions = g_new0(VcpuDebug, count);
    set = g_new0(bool, count);
    for (unsigned n = 0; n < count; n++) {
        actions[n].hold = true;
    }
    while (good && *args == ';') {
        char action = *++args;
        uint64_t thread = GDB_ALL_THREADS, signal;

        good = action && strchr("cCsS", action);
        args += good;
        if (good && g_ascii_isupper(action)) {
            good = gdb_parse_number(&args, 0, &signal);
        }
        if (good && *args == ':') {
            args++;
            good = parse_thread(s, &args, &thread);
        }
        for (unsigned n = 0; good && n < count; n++) {
            if (!set[n] && (thread == GDB_ALL_THREADS || thread == n + 1)) {
                set[n] = true;
                actions[n].hold = false;
                actions[n].step = g_ascii_tolower(action) == 's';
            }
        }
    }
    if (!good || *args) {
        gdb_send_error(s, GDB_EINVAL);
        return;
    }
    gdb_resume(s, actions);
}

static void cmd_detach(GdbStub *s, const char *args, size_t len)
{
    ok(s);
    gdb_let_go(s);
}

static void cmd_kill(GdbStub *s, const char *args, size_t len)
{
    machine_request_shutdown(s->m, SHUTDOWN_HOST_UI, 0);
}

static void cmd_vkill(GdbStub *s, const char *args, size_t len)
{
    ok(s);
    cmd_kill(s, args, len);
}

/* --- queries --- */

static void cmd_supported(GdbStub *s, const char *args, size_t len)
{
    g_autofree char *text = g_strdup_printf("PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;swbreak+;hwbreak+;vContSupported+",
                                            GDB_PACKET_MAX);

    gdb_send_text(s, text);
}

static void cmd_no_acks(GdbStub *s, const char *args, size_t len)
{
    ok(s);
    s->acks = false;
}

static void cmd_current(GdbStub *s, const char *args, size_t len)
{
    char text[16];

    g_snprintf(text, sizeof(text), "QC%x", s->current + 1);
    gdb_send_text(s, text);
}

static void cmd_attached(GdbStub *s, const char *args, size_t len)
{
    gdb_send_text(s, "1");
}

/* qXfer:features:read:target.xml:OFFSET,LENGTH */
static void cmd_features(GdbStub *s, const char *args, size_t len)
{
    g_autofree char *xml = gdb_target_xml();
    g_autofree char *part = NULL;
    uint64_t offset, n, total = strlen(xml);

    if (!g_str_has_prefix(args, "target.xml:")) {
        gdb_send_text(s, "E00");
        return;
    }
    args += strlen("target.xml:");
    if (!parse_range(&args, 0, &offset, &n) || offset > total) {
        gdb_send_error(s, GDB_EINVAL);
        return;
    }
    n = MIN(n, GDB_PACKET_MAX / 2);
    part = g_strdup_printf("%c%.*s", offset + n < total ? 'm' : 'l', (int)MIN(n, total - offset), xml + offset);
    gdb_send_text(s, part);
}

/* `monitor LINE`: the text in O packets, then OK. */
static void cmd_monitor(GdbStub *s, const char *args, size_t len)
{
    size_t n = len / 2, length;
    g_autofree char *line = g_malloc0(n + 1), *text = NULL;

    if (!gdb_parse_hex(args, line, n)) {
        gdb_send_error(s, GDB_EINVAL);
        return;
    }
    text = hmp_run(s->m, line);
    length = strlen(text);
    for (size_t i = 0; i < length; i += GDB_PACKET_MAX / 4) {
        g_autoptr(GString) out = g_string_new("O");

        gdb_append_hex(out, text + i, MIN(length - i, GDB_PACKET_MAX / 4));
        gdb_send(s, out->str, out->len);
    }
    ok(s);
}

static const struct {
    const char *name;
    bool whole; /* the rest of the packet is no part of the name */
    GdbFn *fn;
} commands[] = {
    {"vCont?", true, cmd_vcont_query}, {"vCont", false, cmd_vcont}, {"vKill;", false, cmd_vkill},
    {"qSupported", false, cmd_supported}, {"QStartNoAckMode", true, cmd_no_acks}, {"qC", true, cmd_current},
    {"qAttached", false, cmd_attached}, {"qXfer:features:read:", false, cmd_features}, {"qRcmd,", false, cmd_monitor},
    {"qThreadExtraInfo,", false, cmd_thread_name}, {"?", true, cmd_why_stopped}, {"g", true, cmd_read_all},
    {"G", false, cmd_write_all}, {"p", false, cmd_read_one}, {"P", false, cmd_write_one}, {"m", false, cmd_read_memory},
    {"M", false, cmd_write_memory}, {"X", false, cmd_write_binary}, {"Z", false, cmd_insert_point},
    {"z", false, cmd_remove_point}, {"c", false, cmd_continue}, {"s", false, cmd_step}, {"C", false, cmd_signal},
    {"S", false, cmd_signal}, {"D", false, cmd_detach}, {"k", true, cmd_kill}, {"H", false, cmd_thread},
    {"T", false, cmd_thread_alive},
};

void gdb_command(GdbStub *s, const char *body, size_t len)
{
    /* All that follows needs vCPUs that stand still. */
    if (s->m->run_state == RUN_STATE_RUNNING) {
        gdb_stop_machine(s);
    }
    s->attached = true;
    if (!strcmp(body, "qfThreadInfo") || !strcmp(body, "qsThreadInfo")) {
        cmd_first_threads(s, body, len);
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        size_t n = strlen(commands[i].name);

        if (commands[i].whole ? len == n && !memcmp(body, commands[i].name, n) : len >= n && !memcmp(body, commands[i].name, n)) {
            commands[i].fn(s, body + n, len - n);
            return;
        }
    }
    gdb_send_text(s, "");
}
