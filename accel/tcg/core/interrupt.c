/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exceptions and interrupts: delivery through the IVT and IDT, faults while delivering (SDM vol. 3, chapter 6). */
#include "accel/tcg/core/flags.h"

void x86_raise(X86Cpu *cpu, int vector, int error)
{
    cpu->delivering = vector;
    cpu->delivering_error = error;
    longjmp(cpu->fault, 1);
}

void x86_raise_pf(X86Cpu *cpu, uint64_t linear, int error)
{
    cpu->cr2 = linear;
    x86_raise(cpu, X86_EXC_PF, error);
}

void x86_raise_gp(X86Cpu *cpu, int error)
{
    x86_raise(cpu, X86_EXC_GP, error);
}

void x86_raise_ud(X86Cpu *cpu)
{
    x86_raise(cpu, X86_EXC_UD, -1);
}

static void interrupt_real(X86Cpu *cpu, int vector, uint64_t return_rip)
{
    uint64_t entry, base = cpu->seg[X86_SEG_SS].base, sp = cpu->gpr[X86_RSP];
    const uint64_t frame[3] = {x86_get_rflags(cpu), cpu->seg[X86_SEG_CS].selector, return_rip};

    if ((unsigned)vector * 4 + 3 > cpu->idtr.limit) {
        x86_raise_gp(cpu, vector * 8 + 2);
    }
    entry = x86_load_sys(cpu, cpu->idtr.base + (unsigned)vector * 4, 4);
    for (unsigned i = 0; i < 3; i++) {
        sp -= 2;
        x86_store_sys(cpu, base + (sp & 0xffff), frame[i] & 0xffff, 2);
    }
    cpu->gpr[X86_RSP] = (cpu->gpr[X86_RSP] & ~UINT64_C(0xffff)) | (sp & 0xffff);
    x86_set_real_seg(cpu, X86_SEG_CS, (uint16_t)(entry >> 16));
    cpu->rip = entry & 0xffff;
    x86_set_rflags(cpu, 0, X86_FLAG_IF | X86_FLAG_TF | X86_FLAG_AC | X86_FLAG_RF);
}

typedef struct Gate {
    uint64_t offset;
    uint16_t selector;
    unsigned type, dpl, ist;
    bool present;
} Gate;

static Gate load_gate(X86Cpu *cpu, int vector, int error)
{
    bool lma = cpu->efer & X86_EFER_LMA;
    unsigned size = lma ? 16 : 8;
    uint64_t low, high = 0;

    if ((unsigned)vector * size + size - 1 > cpu->idtr.limit) {
        x86_raise_gp(cpu, error);
    }
    low = x86_load_sys(cpu, cpu->idtr.base + (unsigned)vector * size, 8);
    if (lma) {
        high = x86_load_sys(cpu, cpu->idtr.base + (unsigned)vector * size + 8, 8);
    }
    return (Gate){
        .offset = (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32,
        .selector = (uint16_t)(low >> 16),
        .type = low >> 40 & 0x1f,
        .dpl = low >> 45 & 3,
        .ist = lma ? low >> 32 & 7 : 0,
        .present = low >> 47 & 1,
    };
}

/* The stack of an inner level from the TSS: *ss is only set outside long mode. */
static uint64_t tss_stack(X86Cpu *cpu, unsigned level, unsigned ist, uint16_t *ss)
{
    const X86SegState *tr = &cpu->seg[X86_SEG_TR];
    uint64_t offset;

    if (cpu->efer & X86_EFER_LMA) {
        offset = ist ? 0x24 + 8 * (ist - 1) : 4 + 8 * level;
        if (offset + 7 > tr->limit) {
            x86_raise(cpu, X86_EXC_TS, tr->selector & 0xfffc);
        }
        *ss = (uint16_t)level;
        return x86_load_sys(cpu, tr->base + offset, 8);
    }
    if ((tr->attr & 0xf) >= 9) {
        offset = 4 + 8 * level;
        if (offset + 5 > tr->limit) {
            x86_raise(cpu, X86_EXC_TS, tr->selector & 0xfffc);
        }
        *ss = (uint16_t)x86_load_sys(cpu, tr->base + offset + 4, 2);
        return x86_load_sys(cpu, tr->base + offset, 4);
    }
    offset = 2 + 4 * level;
    if (offset + 3 > tr->limit) {
        x86_raise(cpu, X86_EXC_TS, tr->selector & 0xfffc);
    }
    *ss = (uint16_t)x86_load_sys(cpu, tr->base + offset + 2, 2);
    return x86_load_sys(cpu, tr->base + offset, 2);
}

static void push_frame(X86Cpu *cpu, uint64_t base, uint64_t mask, uint64_t *sp, unsigned size, const uint64_t *words, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        *sp -= size;
        x86_store_sys(cpu, base + (*sp & mask), words[i], size);
    }
}

static X86SegState inner_stack_segment(X86Cpu *cpu, uint16_t ss, unsigned level)
{
    uint64_t desc;
    X86SegState seg = {.selector = ss};

    if (cpu->efer & X86_EFER_LMA) {
        seg.attr = (uint16_t)(level << 5 | 0x93);
        return seg;
    }
    if (!(ss & 0xfffc) || !x86_descriptor(cpu, ss, &desc) || (ss & 3u) != level || (desc >> 45 & 3) != level ||
        (desc >> 40 & 0x1a) != 0x12) {
        x86_raise(cpu, X86_EXC_TS, ss & 0xfffc);
    }
    if (!(desc >> 47 & 1)) {
        x86_raise(cpu, X86_EXC_SS, ss & 0xfffc);
    }
    seg.base = (desc >> 16 & 0xffffff) | (desc >> 56 & 0xff) << 24;
    seg.limit = (uint32_t)((desc & 0xffff) | (desc >> 32 & 0xf0000));
    seg.limit = desc >> 55 & 1 ? seg.limit << 12 | 0xfff : seg.limit;
    seg.attr = (uint16_t)(desc >> 40 & 0xf0ff);
    return seg;
}

static uint64_t check_gate_target(X86Cpu *cpu, const Gate *gate, int ext)
{
    int error = (gate->selector & 0xfffc) + ext;
    uint64_t desc;

    if (!(gate->selector & 0xfffc)) {
        x86_raise_gp(cpu, ext);
    }
    if (!x86_descriptor(cpu, gate->selector, &desc) || (desc >> 40 & 0x18) != 0x18 || (desc >> 45 & 3) > cpu->cpl ||
        ((cpu->efer & X86_EFER_LMA) && (desc >> 53 & 3) != 1)) {
        x86_raise_gp(cpu, error);
    }
    if (!(desc >> 47 & 1)) {
        x86_raise(cpu, X86_EXC_NP, error);
    }
    return desc;
}

static void interrupt_protected(X86Cpu *cpu, int vector, bool software, int error, uint64_t return_rip)
{
    int ext = software ? 0 : 1;
    int gate_error = vector * 8 + 2 + ext;
    Gate gate = load_gate(cpu, vector, gate_error);
    bool lma = cpu->efer & X86_EFER_LMA, trap = gate.type & 1, inner, has_error = error >= 0;
    uint64_t desc, sp = cpu->gpr[X86_RSP], mask = UINT64_MAX, words[6];
    unsigned level, size = lma ? 8 : gate.type & 8 ? 4 : 2, n = 0;
    X86SegState ss = cpu->seg[X86_SEG_SS];
    uint16_t new_ss;

    if ((gate.type & 0x17) != 0x06 && (gate.type & 0x17) != 0x07) {
        x86_raise_gp(cpu, gate_error); /* task gates included: there is no task switching */
    }
    if (software && gate.dpl < cpu->cpl) {
        x86_raise_gp(cpu, gate_error);
    }
    if (!gate.present) {
        x86_raise(cpu, X86_EXC_NP, gate_error);
    }
    desc = check_gate_target(cpu, &gate, ext);
    level = desc >> 40 & 4 ? cpu->cpl : desc >> 45 & 3;
    inner = level < cpu->cpl;
    if (inner || gate.ist) {
        sp = tss_stack(cpu, level, gate.ist, &new_ss);
        ss = inner || !lma ? inner_stack_segment(cpu, inner && lma ? (uint16_t)level : new_ss, level) : ss;
    }
    if (lma) {
        sp &= ~UINT64_C(15);
    } else {
        mask = ss.attr & 0x4000 ? 0xffffffff : 0xffff;
    }
    if (lma || inner) {
        if (cpu->rflags & X86_FLAG_VM) {
            x86_raise_gp(cpu, gate_error); /* leaving virtual-8086 mode pushes the data segments; not part of this CPU */
        }
        words[n++] = cpu->seg[X86_SEG_SS].selector;
        words[n++] = cpu->gpr[X86_RSP];
    }
    words[n++] = x86_get_rflags(cpu);
    words[n++] = cpu->seg[X86_SEG_CS].selector;
    words[n++] = return_rip;
    if (has_error) {
        words[n++] = (uint64_t)error;
    }
    push_frame(cpu, lma ? 0 : ss.base, mask, &sp, size, words, n);

    cpu->seg[X86_SEG_SS] = ss;
    if (lma && inner) {
        cpu->seg[X86_SEG_SS].selector = (uint16_t)level;
    }
    cpu->gpr[X86_RSP] = lma ? sp : (cpu->gpr[X86_RSP] & ~mask) | (sp & mask);
    cpu->seg[X86_SEG_CS] = (X86SegState){
        .selector = (uint16_t)((gate.selector & ~3u) | level),
        .base = (desc >> 16 & 0xffffff) | (desc >> 56 & 0xff) << 24,
        .limit = desc >> 55 & 1 ? (uint32_t)((desc & 0xffff) | (desc >> 32 & 0xf0000)) << 12 | 0xfff
                                : (uint32_t)((desc & 0xffff) | (desc >> 32 & 0xf0000)),
        .attr = (uint16_t)(desc >> 40 & 0xf0ff),
    };
    cpu->rip = gate.offset;
    x86_update_mode(cpu);
    x86_set_rflags(cpu, 0, X86_FLAG_TF | X86_FLAG_NT | X86_FLAG_RF | X86_FLAG_VM | (trap ? 0 : X86_FLAG_IF));
}

void x86_interrupt(X86Cpu *cpu, int vector, bool software, int error, uint64_t return_rip)
{
    if (cpu->cr0 & X86_CR0_PE) {
        interrupt_protected(cpu, vector, software, error, return_rip);
    } else {
        interrupt_real(cpu, vector, return_rip);
    }
}
