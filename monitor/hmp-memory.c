/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The human monitor's x, xp, p, i and o: guest memory, ports, and expressions of numbers, $registers of the first
 * CPU, and the operators ~ - + * / % << >> & ^ | with parentheses.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "accel/accel.h"
#include "monitor-internal.h"

/* One command prints at most that many values. */
#define HMP_DUMP_MAX  65536
#define HMP_EXPR_DEEP 64
#define HMP_PAGE      4096

/* --- the CPU --- */

/* State of the first CPU, which stands still meanwhile.  False: there is none to ask. */
static bool cpu_state(Machine *m, X86CpuState *state)
{
    Vcpu *vcpu = m->accel && m->accel->vcpus->len ? g_ptr_array_index(m->accel->vcpus, 0) : NULL;
    bool ok;

    if (!vcpu || !vcpu->accel->ops->get_state) {
        return false;
    }
    machine_vcpus_hold(m);
    ok = vcpu->accel->ops->get_state(vcpu, state);
    machine_vcpus_release(m);
    return ok;
}

/* Also by their names of 32 bits, which people type; pc is where the next instruction is: CS's base and RIP. */
#define REG(name, field) {name, offsetof(X86CpuState, field), sizeof(((X86CpuState *)0)->field)}
#define SEG(name, n) REG(name, seg[n].selector), REG(name ".base", seg[n].base), REG(name ".limit", seg[n].limit)
static const struct {
    const char *name;
    size_t offset, size;
} cpu_registers[] = {
    REG("rax", gpr[0]), REG("rcx", gpr[1]), REG("rdx", gpr[2]), REG("rbx", gpr[3]), REG("rsp", gpr[4]), REG("rbp", gpr[5]),
    REG("rsi", gpr[6]), REG("rdi", gpr[7]), REG("r8", gpr[8]), REG("r9", gpr[9]), REG("r10", gpr[10]), REG("r11", gpr[11]),
    REG("r12", gpr[12]), REG("r13", gpr[13]), REG("r14", gpr[14]), REG("r15", gpr[15]), REG("eax", gpr[0]), REG("ecx", gpr[1]), REG("edx", gpr[2]),
    REG("ebx", gpr[3]), REG("esp", gpr[4]), REG("ebp", gpr[5]), REG("esi", gpr[6]), REG("edi", gpr[7]), REG("rip", rip), REG("eip", rip),
    REG("pc", rip), REG("rflags", rflags), REG("eflags", rflags), REG("cr0", cr0), REG("cr2", cr2), REG("cr3", cr3), REG("cr4", cr4), REG("efer", efer),
    SEG("es", X86_SEG_ES), SEG("cs", X86_SEG_CS), SEG("ss", X86_SEG_SS), SEG("ds", X86_SEG_DS), SEG("fs", X86_SEG_FS), SEG("gs", X86_SEG_GS),
};
#undef SEG
#undef REG

/* --- expressions --- */

typedef struct Expr {
    Machine *m;
    const char *p;
    unsigned deep;
    char *problem; /* the first; g_free */
} Expr;

static void expr_fail(Expr *e, char *problem)
{
    if (e->problem) {
        g_free(problem);
    } else {
        e->problem = problem;
    }
}

static void expr_skip(Expr *e)
{
    e->p += strspn(e->p, " \t");
}

static uint64_t expr_register(Expr *e)
{
    size_t len = strspn(e->p, "abcdefghijklmnopqrstuvwxyz0123456789.");
    g_autofree X86CpuState *state = g_new0(X86CpuState, 1);
    uint64_t val = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(cpu_registers); i++) {
        if (strlen(cpu_registers[i].name) == len && !strncmp(cpu_registers[i].name, e->p, len)) {
            if (!cpu_state(e->m, state)) {
                expr_fail(e, g_strdup("the machine has no CPU with registers"));
            }
            memcpy(&val, (uint8_t *)state + cpu_registers[i].offset, cpu_registers[i].size);
            val += !strcmp(cpu_registers[i].name, "pc") ? state->seg[X86_SEG_CS].base : 0;
            e->p += len;
            return val;
        }
    }
    expr_fail(e, g_strdup_printf("unknown register '$%.*s'", (int)MIN(len, 32), e->p));
    return 0;
}

static uint64_t expr_parse(Expr *e, unsigned rank);

static uint64_t expr_value(Expr *e)
{
    uint64_t val;
    char *end;

    expr_skip(e);
    if (++e->deep > HMP_EXPR_DEEP || e->problem) {
        expr_fail(e, g_strdup("too many parentheses or signs"));
        return 0;
    }
    if (*e->p == '(') {
        e->p++;
        val = expr_parse(e, 0);
        expr_skip(e);
        if (*e->p != ')') {
            expr_fail(e, g_strdup("')' is missing"));
        } else {
            e->p++;
        }
    } else if (*e->p == '-' || *e->p == '~' || *e->p == '+') {
        char sign = *e->p++;

        val = expr_value(e);
        val = sign == '-' ? -val : sign == '~' ? ~val : val;
    } else if (*e->p == '$') {
        e->p++;
        val = expr_register(e);
    } else {
        val = strtoull(e->p, &end, 0);
        if (!g_ascii_isdigit(*e->p)) {
            expr_fail(e, g_strdup_printf("'%s' is not a number", e->p));
        } else {
            e->p = end;
        }
    }
    e->deep--;
    return val;
}

/* Operators from the weakest; those of a rank go from left to right. */
static const struct {
    const char *text;
    unsigned rank;
} expr_operators[] = {{"|", 0}, {"^", 1}, {"&", 2}, {"<<", 3}, {">>", 3}, {"+", 4}, {"-", 4}, {"*", 5}, {"/", 5}, {"%", 5}};
#define EXPR_RANKS 6

static uint64_t expr_apply(Expr *e, char op, uint64_t a, uint64_t b)
{
    switch (op) {
    case '|':
        return a | b;
    case '^':
        return a ^ b;
    case '&':
        return a & b;
    case '<':
        return b < 64 ? a << b : 0;
    case '>':
        return b < 64 ? a >> b : 0;
    case '+':
        return a + b;
    case '-':
        return a - b;
    case '*':
        return a * b;
    default:
        break;
    }
    if (!b) {
        expr_fail(e, g_strdup("division by zero"));
        return 0;
    }
    if (b == UINT64_MAX) { /* -1: the smallest number has no quotient */
        return op == '/' ? -a : 0;
    }
    return (uint64_t)(op == '/' ? (int64_t)a / (int64_t)b : (int64_t)a % (int64_t)b);
}

static uint64_t expr_parse(Expr *e, unsigned rank)
{
    uint64_t val = rank == EXPR_RANKS ? expr_value(e) : expr_parse(e, rank + 1);
    bool more = rank < EXPR_RANKS;

    while (more && !e->problem) {
        expr_skip(e);
        more = false;
        for (size_t i = 0; i < G_N_ELEMENTS(expr_operators) && !more; i++) {
            if (expr_operators[i].rank == rank && g_str_has_prefix(e->p, expr_operators[i].text)) {
                char op = *e->p;

                e->p += strlen(expr_operators[i].text);
                val = expr_apply(e, op, val, expr_parse(e, rank + 1));
                more = true;
            }
        }
    }
    return val;
}

/* One expression at *args, which is moved behind it.  False: told in out. */
static bool hmp_parse_number(Machine *m, const char **args, uint64_t *val, GString *out)
{
    Expr e = {.m = m, .p = *args};

    *val = expr_parse(&e, 0);
    expr_skip(&e);
    *args = e.p;
    if (e.problem) {
        g_string_append_printf(out, "%s\n", e.problem);
        g_free(e.problem);
        return false;
    }
    return true;
}

static bool hmp_at_end(const char *args, GString *out)
{
    if (*args) {
        g_string_append_printf(out, "unexpected '%s'\n", args);
    }
    return !*args;
}

/* --- formats --- */

typedef struct HmpFormat {
    unsigned count, size; /* values, bytes of each */
    char base;            /* x, d, u, o, c */
} HmpFormat;

/* "/4xw": count, base and size (b, h, w, g) in any order but for the count. */
static bool hmp_parse_format(const char **args, HmpFormat *format, GString *out)
{
    const char *p = *args;

    if (*p != '/') {
        return true;
    }
    p++;
    if (g_ascii_isdigit(*p)) {
        char *end;
        unsigned long count = strtoul(p, &end, 10);

        if (count == 0 || count > HMP_DUMP_MAX) {
            g_string_append_printf(out, "count is out of range (allowed 1..%d)\n", HMP_DUMP_MAX);
            return false;
        }
        format->count = (unsigned)count;
        p = end;
    }
    for (; *p && *p != ' '; p++) {
        const char *size = strchr("bhwg", *p);

        if (size) {
            format->size = 1u << (size - "bhwg");
        } else if (strchr("xduoc", *p)) {
            format->base = *p;
        } else {
            g_string_append_printf(out, "unknown format letter '%c' (allowed x d u o c, b h w g)\n", *p);
            return false;
        }
    }
    *args = p + strspn(p, " ");
    return true;
}

static void hmp_print_value(const HmpFormat *format, uint64_t val, GString *out)
{
    unsigned bits = 8 * format->size;

    switch (format->base) {
    case 'x':
        g_string_append_printf(out, "0x%0*" PRIx64, (int)(2 * format->size), val);
        break;
    case 'u':
        g_string_append_printf(out, "%" PRIu64, val);
        break;
    case 'o':
        g_string_append_printf(out, "0%" PRIo64, val);
        break;
    case 'c':
        g_string_append_printf(out, g_ascii_isprint((gchar)val) ? "'%c'" : "'\\x%02x'", (uint8_t)val);
        break;
    default:
        g_string_append_printf(out, "%" PRId64, (int64_t)(val << (64 - bits)) >> (64 - bits));
    }
}

/* --- memory --- */

/* Whether a byte of memory as the CPU sees it now can be had; *gpa: where it is. */
static bool hmp_translate(Machine *m, uint64_t linear, uint64_t *gpa)
{
    Vcpu *vcpu = m->accel && m->accel->vcpus->len ? g_ptr_array_index(m->accel->vcpus, 0) : NULL;

    return vcpu && vcpu->accel->ops->translate && vcpu->accel->ops->translate(vcpu, linear, gpa);
}

/* False: the guest has nothing mapped there. */
static bool hmp_read_linear(Machine *m, uint64_t addr, uint8_t *bytes, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        uint64_t gpa;

        if (!hmp_translate(m, addr + i, &gpa)) {
            return false;
        }
        as_read(m->memory, gpa, bytes + i, 1, MEM_ATTRS_CPU);
    }
    return true;
}

static void hmp_dump(Machine *m, const HmpFormat *format, uint64_t addr, bool linear, GString *out)
{
    for (unsigned i = 0; i < format->count; i++, addr += format->size) {
        uint8_t bytes[8] = {0};
        uint64_t val = 0;

        if (i % (16 / format->size) == 0) {
            g_string_append_printf(out, "%s%016" PRIx64 ":", i ? "\n" : "", addr);
        }
        if (!linear) {
            as_read(m->memory, addr, bytes, format->size, MEM_ATTRS_CPU);
        } else if (!hmp_read_linear(m, addr, bytes, format->size)) {
            g_string_append_printf(out, " Cannot access memory");
            break;
        }
        for (unsigned b = 0; b < format->size; b++) {
            val |= (uint64_t)bytes[b] << (8 * b);
        }
        g_string_append_c(out, ' ');
        hmp_print_value(format, val, out);
    }
    g_string_append_c(out, '\n');
}

/* False: args are not what x and xp take, and out says so. */
static bool hmp_parse_dump(Machine *m, const char *args, HmpFormat *format, uint64_t *addr, GString *out)
{
    *format = (HmpFormat){.count = 1, .size = 4, .base = 'x'};
    return hmp_parse_format(&args, format, out) && hmp_parse_number(m, &args, addr, out) && hmp_at_end(args, out);
}

static void hmp_x(Machine *m, const char *args, GString *out)
{
    HmpFormat format;
    uint64_t addr;

    if (!hmp_parse_dump(m, args, &format, &addr, out)) {
        return;
    }
    machine_vcpus_hold(m);
    hmp_dump(m, &format, addr, true, out);
    machine_vcpus_release(m);
}

static void hmp_xp(Machine *m, const char *args, GString *out)
{
    HmpFormat format;
    uint64_t addr;

    if (hmp_parse_dump(m, args, &format, &addr, out)) {
        hmp_dump(m, &format, addr, false, out);
    }
}

/* Registers of a device in another process may be there. */
typedef struct HmpDump {
    HmpFormat format;
    uint64_t addr;
    GString *out;
    MonitorReply *reply;
} HmpDump;

static void hmp_dump_run(Machine *m, void *opaque, GError **error)
{
    HmpDump *dump = opaque;

    hmp_dump(m, &dump->format, dump->addr, false, dump->out);
}

static void hmp_dump_free(HmpDump *dump)
{
    g_string_free(dump->out, TRUE);
    g_free(dump);
}

static void hmp_dump_done(void *opaque, GError *error)
{
    HmpDump *dump = opaque;

    dump->reply->send(dump->reply, json_object_new_string(dump->out->str), NULL);
    hmp_dump_free(dump);
}

static bool hmp_xp_later(Machine *m, const char *args, MonitorReply *reply, GString *out)
{
    HmpFormat format;
    HmpDump *dump;
    uint64_t addr;

    if (!hmp_parse_dump(m, args, &format, &addr, out)) {
        return true;
    }
    dump = g_new0(HmpDump, 1);
    *dump = (HmpDump){format, addr, g_string_new(NULL), reply};
    if (machine_run_later(m, &(MachineWork){hmp_dump_run, hmp_dump_done, dump}, MONITOR_PATIENCE_MS, NULL)) {
        g_string_append(out, dump->out->str);
        hmp_dump_free(dump);
        return true;
    }
    return false;
}

/* --- numbers and ports --- */

static void hmp_print(Machine *m, const char *args, GString *out)
{
    HmpFormat format = {.count = 1, .size = 8, .base = 'x'};
    uint64_t val;

    if (!hmp_parse_format(&args, &format, out) || !hmp_parse_number(m, &args, &val, out) || !hmp_at_end(args, out)) {
        return;
    }
    if (format.base == 'x') {
        g_string_append_printf(out, "0x%" PRIx64, val);
    } else {
        hmp_print_value(&format, val, out);
    }
    g_string_append_c(out, '\n');
}

/* "/fmt port": a port of I/O space and the size of an access to it. */
static bool hmp_parse_port(Machine *m, const char **args, HmpFormat *format, uint64_t *port, GString *out)
{
    *format = (HmpFormat){.count = 1, .size = 1, .base = 'x'};
    if (!hmp_parse_format(args, format, out) || !hmp_parse_number(m, args, port, out)) {
        return false;
    }
    if (*port > 0xffff || format->size > 4 || format->count != 1) {
        g_string_append(out, "one port of 0..0xffff, of size b, h or w\n");
        return false;
    }
    return true;
}

static void hmp_in(Machine *m, const char *args, GString *out)
{
    static const char suffix[] = {0, 'b', 'w', 0, 'l'};
    HmpFormat format;
    uint64_t port, val = UINT64_MAX;

    if (!hmp_parse_port(m, &args, &format, &port, out) || !hmp_at_end(args, out)) {
        return;
    }
    as_load(m->io, port, format.size, &val, MEM_ATTRS_CPU);
    g_string_append_printf(out, "port%c[0x%04x] = ", suffix[format.size], (unsigned)port);
    hmp_print_value(&format, val & UINT64_MAX >> (64 - 8 * format.size), out);
    g_string_append_c(out, '\n');
}

static void hmp_out(Machine *m, const char *args, GString *out)
{
    HmpFormat format;
    uint64_t port, val;

    if (hmp_parse_port(m, &args, &format, &port, out) && hmp_parse_number(m, &args, &val, out) && hmp_at_end(args, out)) {
        as_store(m->io, port, format.size, val, MEM_ATTRS_CPU);
    }
}

const HmpCommand hmp_memory_table[] = {
    {"x", "/fmt address", "memory as the first CPU sees it; /fmt as in /4xw: count, x d u o c, b h w g", hmp_x},
    {"xp", "/fmt address", "guest-physical memory", hmp_xp, hmp_xp_later},
    {"print|p", "/fmt expression", "numbers, $registers, ~ - + * / % << >> & ^ | ( )", hmp_print},
    {"i", "/fmt port", "read an I/O port: b h w", hmp_in},
    {"o", "/fmt port value", "write an I/O port", hmp_out},
    {NULL, NULL, NULL, NULL},
};
