/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Far jumps, calls and returns, call gates, IRET (SDM vol. 2, those
 * instructions; vol. 3, 5.8), SYSCALL and SYSENTER.  Nothing architectural
 * changes before the last access that can fault.
 */
#include "accel/tcg/core/descriptor.h"
#include "accel/tcg/core/flags.h"

static bool is_real_like(const X86Cpu *cpu)
{
    return !(cpu->cr0 & X86_CR0_PE) || (cpu->rflags & X86_FLAG_VM);
}

void x86_set_cs(X86Cpu *cpu, uint16_t selector, uint64_t desc, unsigned cpl)
{
    x86_desc_set_accessed(cpu, selector, desc);
    cpu->seg[X86_SEG_CS] = seg_from_desc((uint16_t)((selector & ~3u) | cpl), desc | UINT64_C(1) << 40);
}

void x86_check_target(X86Cpu *cpu, uint64_t desc, uint64_t rip)
{
    bool long64 = (cpu->efer & X86_EFER_LMA) && DESC_L(desc);

    if (long64 ? !desc_is_canonical(rip) : rip > seg_from_desc(0, desc).limit) {
        x86_raise_gp(cpu, 0);
    }
}

static void far_real(X86Cpu *cpu, uint16_t selector, uint64_t offset, unsigned osize, bool call, uint64_t next_rip)
{
    X86Stack stack = x86_stack_current(cpu);

    if (offset > cpu->seg[X86_SEG_CS].limit) {
        x86_raise_gp(cpu, 0);
    }
    if (call) {
        x86_stack_push(cpu, &stack, cpu->seg[X86_SEG_CS].selector, osize);
        x86_stack_push(cpu, &stack, next_rip, osize);
        x86_stack_commit(cpu, &stack);
    }
    x86_set_real_seg(cpu, X86_SEG_CS, selector);
    cpu->rip = offset;
    x86_update_mode(cpu);
}

/* Reads the code segment a far transfer names; *desc passes the checks every one of them makes. */
static void code_descriptor(X86Cpu *cpu, uint16_t selector, uint64_t *desc)
{
    if (!x86_descriptor(cpu, selector, desc) || !desc_is_code(*desc) ||
        ((cpu->efer & X86_EFER_LMA) && DESC_L(*desc) && DESC_DB(*desc))) {
        x86_raise_gp(cpu, selector & 0xfffc);
    }
}

static void far_code(X86Cpu *cpu, uint16_t selector, uint64_t desc, uint64_t offset, unsigned osize, bool call, uint64_t next_rip)
{
    unsigned dpl = DESC_DPL(desc), rpl = selector & 3;
    X86Stack stack = x86_stack_current(cpu);

    code_descriptor(cpu, selector, &desc);
    if (DESC_TYPE(desc) & DESC_CONFORMING ? dpl > cpu->cpl : rpl > cpu->cpl || dpl != cpu->cpl) {
        x86_raise_gp(cpu, selector & 0xfffc);
    }
    if (!DESC_P(desc)) {
        x86_raise(cpu, X86_EXC_NP, selector & 0xfffc);
    }
    if (call) {
        x86_stack_push(cpu, &stack, cpu->seg[X86_SEG_CS].selector, osize);
        x86_stack_push(cpu, &stack, next_rip, osize);
    }
    x86_check_target(cpu, desc, offset);
    if (call) {
        x86_stack_commit(cpu, &stack);
    }
    x86_set_cs(cpu, selector, desc, cpu->cpl);
    cpu->rip = offset;
    x86_update_mode(cpu);
}

/* --- call gates --- */

typedef struct CallGate {
    uint64_t offset;
    uint16_t selector;
    unsigned size;   /* bytes of a pushed word */
    unsigned params; /* words copied to an inner stack */
} CallGate;

static CallGate load_call_gate(X86Cpu *cpu, uint16_t selector, uint64_t low)
{
    bool lma = cpu->efer & X86_EFER_LMA, wide = DESC_TYPE(low) == DESC_CALL32;
    CallGate gate = {.selector = (uint16_t)(low >> 16), .size = lma ? 8 : wide ? 4 : 2, .params = low >> 32 & 31};
    uint64_t high = 0;

    gate.offset = (low & 0xffff) | (wide ? low >> 32 & 0xffff0000 : 0);
    if (lma) {
        if (!x86_descriptor(cpu, (uint16_t)(selector + 8), &high) || (high >> 40 & 0x1f)) {
            x86_raise_gp(cpu, selector & 0xfffc);
        }
        gate.offset |= high << 32;
        gate.params = 0;
    }
    return gate;
}

/* The inner stack: SS:RSP of the caller, parameters, then the return address. */
static void call_gate_inner(X86Cpu *cpu, const CallGate *gate, unsigned level, uint64_t next_rip, X86Stack *inner)
{
    X86Stack outer = x86_stack_current(cpu);
    uint64_t words[32];

    for (unsigned i = 0; i < gate->params; i++) {
        words[i] = x86_stack_pop(cpu, &outer, gate->size);
    }
    *inner = x86_stack_inner(cpu, level, 0, 0);
    x86_stack_push(cpu, inner, cpu->seg[X86_SEG_SS].selector, gate->size);
    x86_stack_push(cpu, inner, cpu->gpr[X86_RSP], gate->size);
    for (unsigned i = gate->params; i-- > 0;) {
        x86_stack_push(cpu, inner, words[i], gate->size);
    }
    x86_stack_push(cpu, inner, cpu->seg[X86_SEG_CS].selector, gate->size);
    x86_stack_push(cpu, inner, next_rip, gate->size);
}

static void check_call_gate(X86Cpu *cpu, uint16_t selector, uint64_t low)
{
    unsigned rpl = selector & 3;

    if (DESC_DPL(low) < (cpu->cpl > rpl ? cpu->cpl : rpl)) {
        x86_raise_gp(cpu, selector & 0xfffc);
    }
    if (!DESC_P(low)) {
        x86_raise(cpu, X86_EXC_NP, selector & 0xfffc);
    }
}

static void far_call_gate(X86Cpu *cpu, uint16_t selector, uint64_t low, bool call, uint64_t next_rip)
{
    X86Stack stack = x86_stack_current(cpu);
    CallGate gate;
    uint64_t desc;
    unsigned level = cpu->cpl;
    bool conforming, inner;

    check_call_gate(cpu, selector, low);
    gate = load_call_gate(cpu, selector, low);
    if (!(gate.selector & 0xfffc)) {
        x86_raise_gp(cpu, 0);
    }
    code_descriptor(cpu, gate.selector, &desc);
    conforming = DESC_TYPE(desc) & DESC_CONFORMING;
    if (DESC_DPL(desc) > cpu->cpl || (!call && !conforming && DESC_DPL(desc) != cpu->cpl) ||
        ((cpu->efer & X86_EFER_LMA) && !DESC_L(desc))) {
        x86_raise_gp(cpu, gate.selector & 0xfffc);
    }
    if (!DESC_P(desc)) {
        x86_raise(cpu, X86_EXC_NP, gate.selector & 0xfffc);
    }
    inner = call && !conforming && DESC_DPL(desc) < cpu->cpl;
    if (inner) {
        level = DESC_DPL(desc);
        call_gate_inner(cpu, &gate, level, next_rip, &stack);
    } else if (call) {
        x86_stack_push(cpu, &stack, cpu->seg[X86_SEG_CS].selector, gate.size);
        x86_stack_push(cpu, &stack, next_rip, gate.size);
    }
    x86_check_target(cpu, desc, gate.offset);
    if (inner) {
        cpu->seg[X86_SEG_SS] = stack.ss;
    }
    if (call) {
        x86_stack_commit(cpu, &stack);
    }
    x86_set_cs(cpu, gate.selector, desc, level);
    cpu->rip = gate.offset;
    x86_update_mode(cpu);
}

static void far_task(X86Cpu *cpu, uint16_t selector, uint64_t desc, bool call, uint64_t next_rip)
{
    unsigned rpl = selector & 3;

    if (DESC_DPL(desc) < (cpu->cpl > rpl ? cpu->cpl : rpl)) {
        x86_raise_gp(cpu, selector & 0xfffc);
    }
    if (DESC_TYPE(desc) == DESC_TASK) {
        if (!DESC_P(desc)) {
            x86_raise(cpu, X86_EXC_NP, selector & 0xfffc);
        }
        selector = (uint16_t)(desc >> 16);
    }
    x86_task_switch(cpu, selector, call ? X86_TASK_CALL : X86_TASK_JMP, next_rip, -1, 0);
}

void x86_far_jump(X86Cpu *cpu, uint16_t selector, uint64_t offset, unsigned osize, bool call, uint64_t next_rip)
{
    uint64_t desc;
    bool lma = cpu->efer & X86_EFER_LMA;

    if (is_real_like(cpu)) {
        far_real(cpu, selector, offset, osize, call, next_rip);
        return;
    }
    if (!(selector & 0xfffc) || !x86_descriptor(cpu, selector, &desc)) {
        x86_raise_gp(cpu, selector & 0xfffc);
    }
    switch (DESC_TYPE(desc)) {
    case DESC_CALL32:
        far_call_gate(cpu, selector, desc, call, next_rip);
        return;
    case DESC_CALL16:
        if (!lma) {
            far_call_gate(cpu, selector, desc, call, next_rip);
            return;
        }
        break;
    case DESC_TASK:
    case DESC_TSS16:
    case DESC_TSS32:
        if (!lma) {
            far_task(cpu, selector, desc, call, next_rip);
            return;
        }
        break;
    default:
        break;
    }
    far_code(cpu, selector, desc, offset, osize, call, next_rip);
}

/* --- returns --- */

/* After a return to an outer level data segments of a more privileged level become null. */
static void drop_privileged_segments(X86Cpu *cpu)
{
    static const int data[] = {X86_SEG_ES, X86_SEG_DS, X86_SEG_FS, X86_SEG_GS};

    for (unsigned i = 0; i < 4; i++) {
        X86SegState *seg = &cpu->seg[data[i]];
        bool conforming = (seg->attr & 0x1c) == 0x1c;

        if (!conforming && (seg->attr >> 5 & 3u) < cpu->cpl) {
            /* In 64-bit mode FS and GS keep their bases. */
            uint64_t base = seg->base;

            *seg = (X86SegState){.base = cpu->mode & MODE_LONG64 ? base : 0};
        }
    }
}

/* The stack segment of a return, checked: its descriptor, or 0 for the null selector 64-bit code may return to. */
static uint64_t return_stack_segment(X86Cpu *cpu, uint16_t ss, uint64_t cs_desc, unsigned rpl)
{
    uint64_t desc;

    if (!(ss & 0xfffc)) {
        if (!(cpu->efer & X86_EFER_LMA) || !DESC_L(cs_desc) || rpl == 3 || (ss & 3u) != rpl) {
            x86_raise_gp(cpu, 0);
        }
        return 0;
    }
    if (!x86_descriptor(cpu, ss, &desc) || !desc_is_writable_data(desc) || (ss & 3u) != rpl || DESC_DPL(desc) != rpl) {
        x86_raise_gp(cpu, ss & 0xfffc);
    }
    if (!DESC_P(desc)) {
        x86_raise(cpu, X86_EXC_SS, ss & 0xfffc);
    }
    return desc;
}

/* The common end of RETF and IRET in protected mode; everything was popped and nothing changed yet. */
static void return_to(X86Cpu *cpu, uint16_t cs, uint64_t rip, uint64_t sp, uint16_t ss, uint64_t new_sp, bool has_ss)
{
    unsigned rpl = cs & 3, type;
    int error = cs & 0xfffc;
    uint64_t desc, ss_desc = 0;
    bool outer = rpl > cpu->cpl;

    if (!error) {
        x86_raise_gp(cpu, 0);
    }
    code_descriptor(cpu, cs, &desc);
    type = DESC_TYPE(desc);
    if (rpl < cpu->cpl || ((type & DESC_CONFORMING) ? DESC_DPL(desc) > rpl : DESC_DPL(desc) != rpl)) {
        x86_raise_gp(cpu, error);
    }
    if (!DESC_P(desc)) {
        x86_raise(cpu, X86_EXC_NP, error);
    }
    if (outer || has_ss) {
        ss_desc = return_stack_segment(cpu, ss, desc, rpl);
    }
    x86_check_target(cpu, desc, rip);
    x86_set_cs(cpu, cs, desc, rpl);
    cpu->rip = rip;
    if (outer || has_ss) {
        cpu->seg[X86_SEG_SS] = (X86SegState){.selector = ss, .attr = (uint16_t)(rpl << 5)};
        if (ss_desc) {
            x86_desc_set_accessed(cpu, ss, ss_desc);
            cpu->seg[X86_SEG_SS] = seg_from_desc(ss, ss_desc | UINT64_C(1) << 40);
        }
        sp = new_sp;
    }
    x86_update_mode(cpu);
    x86_stack_commit(cpu, &(X86Stack){.sp = sp, .mask = x86_stack_current(cpu).mask});
    if (outer) {
        drop_privileged_segments(cpu);
        x86_update_mode(cpu);
    }
}

static void return_real(X86Cpu *cpu, uint16_t cs, uint64_t rip, const X86Stack *stack)
{
    if (rip > cpu->seg[X86_SEG_CS].limit) {
        x86_raise_gp(cpu, 0);
    }
    x86_set_real_seg(cpu, X86_SEG_CS, cs);
    x86_stack_commit(cpu, stack);
    cpu->rip = rip;
    x86_update_mode(cpu);
}

void x86_far_return(X86Cpu *cpu, unsigned osize, unsigned pop)
{
    X86Stack stack = x86_stack_current(cpu);
    uint64_t rip = x86_stack_pop(cpu, &stack, osize), new_sp = 0;
    uint16_t cs = (uint16_t)x86_stack_pop(cpu, &stack, osize), ss = 0;

    stack.sp += pop;
    if (is_real_like(cpu)) {
        return_real(cpu, cs, rip, &stack);
        return;
    }
    if ((cs & 3u) > cpu->cpl) {
        new_sp = x86_stack_pop(cpu, &stack, osize) + pop;
        ss = (uint16_t)x86_stack_pop(cpu, &stack, osize);
    }
    return_to(cpu, cs, rip, stack.sp, ss, new_sp, false);
}

/* --- IRET --- */

#define IRET_FLAGS (X86_FLAGS_ARITH | X86_FLAG_TF | X86_FLAG_DF | X86_FLAG_NT)

/* RF only matters to instruction breakpoints; it ends with the next instruction. */
static void set_returned_flags(X86Cpu *cpu, uint64_t flags, uint64_t mask, unsigned osize)
{
    if (osize > 2) {
        mask |= X86_FLAG_AC | X86_FLAG_ID | X86_FLAG_RF;
    }
    if (!x86_debug_enabled(cpu)) {
        flags &= ~(uint64_t)X86_FLAG_RF;
    }
    x86_set_rflags(cpu, flags, mask);
}

static void iret_real(X86Cpu *cpu, unsigned osize)
{
    X86Stack stack = x86_stack_current(cpu);
    bool vm = cpu->rflags & X86_FLAG_VM;
    uint64_t rip, flags;
    uint16_t cs;

    if (vm && (cpu->rflags & X86_FLAG_IOPL) != X86_FLAG_IOPL) {
        x86_raise_gp(cpu, 0);
    }
    rip = x86_stack_pop(cpu, &stack, osize);
    cs = (uint16_t)x86_stack_pop(cpu, &stack, osize);
    flags = x86_stack_pop(cpu, &stack, osize);
    return_real(cpu, cs, rip, &stack);
    set_returned_flags(cpu, flags, IRET_FLAGS | X86_FLAG_IF | (vm ? 0 : X86_FLAG_IOPL), osize);
}

/* To virtual-8086 mode: everything is on the stack of CPL 0. */
static void iret_to_vm86(X86Cpu *cpu, X86Stack *stack, uint64_t rip, uint16_t cs, uint64_t flags)
{
    static const int order[] = {X86_SEG_ES, X86_SEG_DS, X86_SEG_FS, X86_SEG_GS};
    uint64_t sp = x86_stack_pop(cpu, stack, 4);
    uint16_t ss = (uint16_t)x86_stack_pop(cpu, stack, 4), data[4];

    for (unsigned i = 0; i < 4; i++) {
        data[i] = (uint16_t)x86_stack_pop(cpu, stack, 4);
    }
    if ((rip & 0xffffffff) > 0xffff) {
        x86_raise_gp(cpu, 0);
    }
    x86_set_rflags(cpu, flags & ~(x86_debug_enabled(cpu) ? 0 : (uint64_t)X86_FLAG_RF),
                   IRET_FLAGS | X86_FLAG_IF | X86_FLAG_IOPL | X86_FLAG_RF | X86_FLAG_VM | X86_FLAG_AC | X86_FLAG_VIF |
                       X86_FLAG_VIP | X86_FLAG_ID);
    x86_set_real_seg(cpu, X86_SEG_CS, cs);
    x86_set_real_seg(cpu, X86_SEG_SS, ss);
    for (unsigned i = 0; i < 4; i++) {
        x86_set_real_seg(cpu, order[i], data[i]);
    }
    cpu->gpr[X86_RSP] = (uint32_t)sp;
    cpu->rip = rip;
    x86_update_mode(cpu);
}

static void iret_nested_task(X86Cpu *cpu)
{
    const X86SegState *tr = &cpu->seg[X86_SEG_TR];

    if (cpu->efer & X86_EFER_LMA) {
        x86_raise_gp(cpu, 0);
    }
    x86_task_switch(cpu, (uint16_t)x86_load_sys(cpu, tr->base, 2), X86_TASK_IRET, cpu->rip, -1, 0);
}

void x86_iret(X86Cpu *cpu, unsigned osize)
{
    X86Stack stack = x86_stack_current(cpu);
    unsigned cpl = cpu->cpl, iopl = cpu->rflags >> 12 & 3;
    uint64_t mask = IRET_FLAGS, rip, flags, new_sp = 0;
    bool has_ss = cpu->mode & MODE_LONG64;
    uint16_t cs, ss = 0;

    cpu->nmi_blocked = false;
    if (is_real_like(cpu)) {
        iret_real(cpu, osize);
        return;
    }
    if (cpu->rflags & X86_FLAG_NT) {
        iret_nested_task(cpu);
        return;
    }
    rip = x86_stack_pop(cpu, &stack, osize);
    cs = (uint16_t)x86_stack_pop(cpu, &stack, osize);
    flags = x86_stack_pop(cpu, &stack, osize);
    if ((flags & X86_FLAG_VM) && osize == 4 && cpl == 0 && !(cpu->efer & X86_EFER_LMA)) {
        iret_to_vm86(cpu, &stack, rip, cs, flags);
        return;
    }
    if (has_ss || (cs & 3u) > cpl) {
        new_sp = x86_stack_pop(cpu, &stack, osize);
        ss = (uint16_t)x86_stack_pop(cpu, &stack, osize);
    }
    return_to(cpu, cs, rip, stack.sp, ss, new_sp, has_ss);
    mask |= cpl == 0 ? X86_FLAG_IOPL | (osize > 2 ? X86_FLAG_VIF | X86_FLAG_VIP : 0) : 0;
    mask |= cpl <= iopl ? X86_FLAG_IF : 0;
    set_returned_flags(cpu, flags, mask, osize);
}

/* --- fast system calls --- */

static void set_flat(X86Cpu *cpu, int n, uint16_t selector, uint16_t attr)
{
    cpu->seg[n] = (X86SegState){.selector = selector, .limit = 0xffffffff, .attr = attr};
}

void x86_syscall(X86Cpu *cpu, uint64_t next_rip)
{
    uint16_t cs = (uint16_t)(cpu->star >> 32 & 0xfffc);
    bool long64 = cpu->mode & MODE_LONG64;

    if (!(cpu->efer & X86_EFER_SCE) || !(cpu->cr0 & X86_CR0_PE)) {
        x86_raise_ud(cpu);
    }
    cpu->gpr[X86_RCX] = next_rip;
    if (cpu->efer & X86_EFER_LMA) {
        cpu->gpr[11] = x86_get_rflags(cpu) & ~(uint64_t)X86_FLAG_RF;
        cpu->rip = long64 ? cpu->lstar : cpu->cstar;
        set_flat(cpu, X86_SEG_CS, cs, 0xa09b);
        set_flat(cpu, X86_SEG_SS, (uint16_t)(cs + 8), 0xc093);
        x86_update_mode(cpu);
        x86_set_rflags(cpu, x86_get_rflags(cpu) & ~cpu->fmask & ~(uint64_t)X86_FLAG_RF, UINT32_MAX);
        return;
    }
    cpu->rip = (uint32_t)cpu->star;
    set_flat(cpu, X86_SEG_CS, cs, 0xc09b);
    set_flat(cpu, X86_SEG_SS, (uint16_t)(cs + 8), 0xc093);
    x86_update_mode(cpu);
    x86_set_rflags(cpu, 0, X86_FLAG_IF | X86_FLAG_VM | X86_FLAG_RF);
}

void x86_sysret(X86Cpu *cpu, bool rexw)
{
    uint16_t base = (uint16_t)(cpu->star >> 48);

    if (!(cpu->efer & X86_EFER_SCE)) {
        x86_raise_ud(cpu);
    }
    if (!(cpu->cr0 & X86_CR0_PE) || cpu->cpl) {
        x86_raise_gp(cpu, 0);
    }
    if (rexw && (uint64_t)((int64_t)(cpu->gpr[X86_RCX] << 16) >> 16) != cpu->gpr[X86_RCX]) {
        x86_raise_gp(cpu, 0);
    }
    cpu->rip = rexw ? cpu->gpr[X86_RCX] : (uint32_t)cpu->gpr[X86_RCX];
    set_flat(cpu, X86_SEG_CS, (uint16_t)((base + (rexw ? 16 : 0)) | 3), rexw ? 0xa0fb : 0xc0fb);
    set_flat(cpu, X86_SEG_SS, (uint16_t)((base + 8) | 3), 0xc0f3);
    x86_update_mode(cpu);
    if (cpu->efer & X86_EFER_LMA) {
        x86_set_rflags(cpu, cpu->gpr[11], 0x3c7fd7);
    } else {
        x86_set_rflags(cpu, X86_FLAG_IF, X86_FLAG_IF);
    }
}

void x86_sysenter(X86Cpu *cpu)
{
    bool lma = cpu->efer & X86_EFER_LMA;
    uint16_t cs = (uint16_t)(cpu->sysenter_cs & 0xfffc);

    if (!(cpu->cr0 & X86_CR0_PE) || !cs) {
        x86_raise_gp(cpu, 0);
    }
    x86_set_rflags(cpu, 0, X86_FLAG_VM | X86_FLAG_IF | X86_FLAG_RF);
    set_flat(cpu, X86_SEG_CS, cs, lma ? 0xa09b : 0xc09b);
    set_flat(cpu, X86_SEG_SS, (uint16_t)(cs + 8), 0xc093);
    cpu->gpr[X86_RSP] = lma ? cpu->sysenter_esp : (uint32_t)cpu->sysenter_esp;
    cpu->rip = lma ? cpu->sysenter_eip : (uint32_t)cpu->sysenter_eip;
    x86_update_mode(cpu);
}

void x86_sysexit(X86Cpu *cpu, bool rexw)
{
    uint16_t cs = (uint16_t)(cpu->sysenter_cs & 0xfffc);

    if (!(cpu->cr0 & X86_CR0_PE) || cpu->cpl || !cs) {
        x86_raise_gp(cpu, 0);
    }
    set_flat(cpu, X86_SEG_CS, (uint16_t)((cs + (rexw ? 32 : 16)) | 3), rexw ? 0xa0fb : 0xc0fb);
    set_flat(cpu, X86_SEG_SS, (uint16_t)((cs + (rexw ? 40 : 24)) | 3), 0xc0f3);
    cpu->gpr[X86_RSP] = rexw ? cpu->gpr[X86_RCX] : (uint32_t)cpu->gpr[X86_RCX];
    cpu->rip = rexw ? cpu->gpr[X86_RDX] : (uint32_t)cpu->gpr[X86_RDX];
    x86_update_mode(cpu);
}
