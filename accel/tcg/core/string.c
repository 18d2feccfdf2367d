/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * String instructions (SDM vol. 2, REP): in bulk where both operands lie in plain
 * memory, else element by element.  After each step the registers say what is
 * left, so a fault or an interrupt restarts the instruction exactly.
 */
#include "accel/tcg/core/flags.h"
#include "accel/tcg/core/insn.h"
#include "accel/tcg/core/ops.h"

typedef struct Str {
    X86Cpu *cpu;
    const Op *op;
    unsigned size;
    uint64_t mask;
    int64_t step;
} Str;

static uint64_t str_si(const Str *s)
{
    x86_seg_check(s->cpu, s->op->seg, s->cpu->gpr[X86_RSI] & s->mask, s->size, false);
    return insn_linear(s->cpu, s->op->seg, s->cpu->gpr[X86_RSI] & s->mask);
}

static uint64_t str_di(const Str *s)
{
    uint8_t kind = s->op->aux & 0xfe;

    x86_seg_check(s->cpu, X86_SEG_ES, s->cpu->gpr[X86_RDI] & s->mask, s->size, kind != 0xa6 && kind != 0xae);
    return insn_linear(s->cpu, X86_SEG_ES, s->cpu->gpr[X86_RDI] & s->mask);
}

static void advance(Str *s, unsigned reg, uint64_t count)
{
    uint64_t val = s->cpu->gpr[reg] + (uint64_t)s->step * count;

    insn_set_reg(s->cpu, reg * 8, s->op->asize == 3 ? 8 : s->op->asize == 2 ? 4 : 2, val);
}

static void compare(X86Cpu *cpu, uint64_t a, uint64_t b, unsigned size)
{
    int64_t x = insn_sext(a, size), y = insn_sext(b, size);

    cc_set(cpu, CC_SUB, x, y, insn_sext((uint64_t)x - (uint64_t)y, size));
}

static void check_port(Str *s)
{
    if (!x86_io_allowed(s->cpu, (uint16_t)s->cpu->gpr[X86_RDX], s->size)) {
        x86_raise_gp(s->cpu, 0);
    }
}

/* One element. */
static void str_once(Str *s)
{
    X86Cpu *cpu = s->cpu;
    uint16_t port = (uint16_t)cpu->gpr[X86_RDX];
    uint64_t val;

    switch (s->op->aux & 0xfe) {
    case 0x6c: /* INS */
        check_port(s);
        x86_probe_write(cpu, str_di(s), s->size);
        x86_store_slow(cpu, str_di(s), cpu->bus->io_read(cpu->opaque, port, s->size), s->size);
        advance(s, X86_RDI, 1);
        break;
    case 0x6e: /* OUTS */
        check_port(s);
        cpu->bus->io_write(cpu->opaque, port, (uint32_t)x86_load_slow(cpu, str_si(s), s->size), s->size);
        x86_bus_settle(cpu);
        advance(s, X86_RSI, 1);
        break;
    case 0xa4:
        val = x86_load_slow(cpu, str_si(s), s->size);
        x86_store_slow(cpu, str_di(s), val, s->size);
        advance(s, X86_RSI, 1);
        advance(s, X86_RDI, 1);
        break;
    case 0xa6:
        val = x86_load_slow(cpu, str_si(s), s->size);
        compare(cpu, val, x86_load_slow(cpu, str_di(s), s->size), s->size);
        advance(s, X86_RSI, 1);
        advance(s, X86_RDI, 1);
        break;
    case 0xaa:
        x86_store_slow(cpu, str_di(s), insn_reg(cpu, 0, s->size), s->size);
        advance(s, X86_RDI, 1);
        break;
    case 0xac:
        insn_set_reg(cpu, 0, s->size, x86_load_slow(cpu, str_si(s), s->size));
        advance(s, X86_RSI, 1);
        break;
    default:
        compare(cpu, insn_reg(cpu, 0, s->size), x86_load_slow(cpu, str_di(s), s->size), s->size);
        advance(s, X86_RDI, 1);
        break;
    }
}

/* Elements from `reg`, which is at `linear`, that lie whole within its page and before the register wraps. */
static uint64_t str_room(const Str *s, unsigned reg, uint64_t linear)
{
    uint64_t offset = linear & 0xfff, at = s->cpu->gpr[reg] & s->mask, page = (X86_PAGE_SIZE - offset) / s->size, wrap;

    if (s->step > 0) {
        wrap = (s->mask - at) / s->size;
    } else {
        page = page ? offset / s->size + 1 : 0; /* the first one must not reach into the next page */
        wrap = at / s->size + 1;
    }
    return page < wrap ? page : wrap;
}

/* Fills with the first bytes of val, which repeats itself every `size` bytes. */
static void fill(uint8_t *to, uint64_t val, unsigned size, uint64_t count)
{
    uint64_t bytes = count * size, i = 0;

    val = size == 8 ? val : (val & insn_mask(size)) * (UINT64_MAX / insn_mask(size));
    if (val == (val & 0xff) * (UINT64_MAX / 0xff)) {
        memset(to, (int)(val & 0xff), bytes);
        return;
    }
    for (; i + 8 <= bytes; i += 8) {
        memcpy(to + i, &val, 8);
    }
    memcpy(to + i, &val, bytes - i);
}

/* Copies whose destination runs into what is still to be read repeat a pattern, element by element. */
static void move(const Str *s, uint8_t *to, const uint8_t *from, uint64_t count)
{
    uint64_t bytes = count * s->size;

    if (count > 1 && (s->step > 0 ? to <= from || to >= from + bytes : from <= to || from >= to + bytes)) {
        memmove(to, from, bytes);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = (s->step > 0 ? i : count - 1 - i) * s->size;

        x86_ram_store(to + at, x86_ram_load(from + at, s->size), s->size);
    }
}

/* Elements that can be moved or stored at once: within one page each, plain memory.  0: take the slow way. */
static uint64_t str_bulk(Str *s, uint64_t count)
{
    X86Cpu *cpu = s->cpu;
    bool moves = (s->op->aux & 0xfe) == 0xa4;
    uint64_t di, si, room, bytes, below;
    uint8_t *to;
    const uint8_t *from;

    if (s->mask == 0xffff || (s->step < 0 && cpu->watches) ||
        cpu->mode & (MODE_TF | MODE_CHECK_ES | MODE_CHECK_ES << s->op->seg) || cpu->tlb == cpu->tlbs[TLB_EMPTY]) {
        return 0;
    }
    di = str_di(s);
    si = moves ? str_si(s) : di;
    room = str_room(s, X86_RDI, di);
    room = moves && str_room(s, X86_RSI, si) < room ? str_room(s, X86_RSI, si) : room;
    count = room < count ? room : count;
    if (!count) {
        return 0;
    }
    /* A descending run begins with its highest element, where it faults; its page is one piece of the host's memory. */
    below = s->step < 0 ? (count - 1) * s->size : 0;
    bytes = count * s->size - below;
    from = moves ? x86_host_ptr(cpu, si, (unsigned)bytes, ACCESS_READ) : NULL;
    if (moves && !from) {
        return 0;
    }
    to = x86_host_ptr(cpu, di, (unsigned)bytes, ACCESS_WRITE);
    if (!to) {
        return 0;
    }
    to -= below;
    if (moves) {
        move(s, to, from - below, count);
        advance(s, X86_RSI, count);
    } else if (count == 1) {
        x86_ram_store(to, insn_reg(cpu, 0, s->size), s->size);
    } else {
        fill(to, insn_reg(cpu, 0, s->size), s->size, count);
    }
    advance(s, X86_RDI, count);
    return count;
}

void x86_fn_string(X86Cpu *cpu, const Op *op)
{
    uint8_t kind = op->aux & 0xfe;
    bool compares = kind == 0xa6 || kind == 0xae, bulk = kind == 0xa4 || kind == 0xaa;
    Str s = {.cpu = cpu, .op = op, .size = op->osize, .mask = insn_addr_mask(op),
             .step = cpu->rflags & X86_FLAG_DF ? -(int64_t)op->osize : op->osize};
    unsigned count_size = 1u << op->asize; /* asize 1, 2, 3: 2, 4, 8 bytes */

    if (!op->aux2) {
        if (!bulk || !str_bulk(&s, 1)) {
            str_once(&s);
        }
        return;
    }
    for (uint64_t left; (left = cpu->gpr[X86_RCX] & s.mask);) {
        uint64_t done = bulk ? str_bulk(&s, left) : 0;

        if (!done) {
            str_once(&s);
            done = 1;
        }
        insn_set_reg(cpu, X86_RCX * 8, count_size == 8 ? 8 : count_size, left - done);
        if (compares && flag_zf(cpu) != (op->aux2 == 0xf3)) {
            return;
        }
        if (left > done && cpu->mode & MODE_TF && !cpu->count_step) {
            cpu->rip = cpu->gpr[SLOT_RIP] + op->off; /* goes on after the trap */
            return;
        }
        if (left > done && atomic_load_explicit(&cpu->pending, memory_order_relaxed)) {
            cpu->rip = cpu->gpr[SLOT_RIP] + op->off; /* restarted after the interrupt: not retired */
            cpu->insns -= !(cpu->mode & MODE_TF) || cpu->count_step;
            return;
        }
    }
}
