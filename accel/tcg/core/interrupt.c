/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exceptions and interrupts: delivery through the IVT and IDT, faults while delivering (SDM vol. 3, chapter 6). */
#include "accel/tcg/core/descriptor.h"
#include "accel/tcg/core/flags.h"

void x86_raise(X86Cpu *cpu, int vector, int error)
{
    cpu->delivering = vector;
    cpu->delivering_error = error;
    x86_exclusive_end(cpu);
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
    X86Stack stack = x86_stack_current(cpu);
    uint64_t entry;

    if ((unsigned)vector * 4 + 3 > cpu->idtr.limit) {
        x86_raise_gp(cpu, vector * 8 + 2);
    }
    entry = x86_load_sys(cpu, cpu->idtr.base + (unsigned)vector * 4, 4);
    x86_stack_push(cpu, &stack, x86_get_rflags(cpu), 2);
    x86_stack_push(cpu, &stack, cpu->seg[X86_SEG_CS].selector, 2);
    x86_stack_push(cpu, &stack, return_rip, 2);
    x86_stack_commit(cpu, &stack);
    x86_set_real_seg(cpu, X86_SEG_CS, (uint16_t)(entry >> 16));
    cpu->rip = entry & 0xffff;
    x86_set_rflags(cpu, 0, X86_FLAG_IF | X86_FLAG_TF | X86_FLAG_AC | X86_FLAG_RF);
    x86_update_mode(cpu);
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
    uint64_t low, high = 0, table = cpu->idtr.base + (unsigned)vector * size;

    if ((unsigned)vector * size + size - 1 > cpu->idtr.limit) {
        x86_raise_gp(cpu, error);
    }
    low = x86_load_sys(cpu, table, 8);
    if (lma) {
        high = x86_load_sys(cpu, table + 8, 8);
    }
    return (Gate){
        .offset = (low & 0xffff) | (DESC_TYPE(low) & 8 ? low >> 32 & 0xffff0000 : 0) | high << 32,
        .selector = (uint16_t)(low >> 16),
        .type = DESC_TYPE(low),
        .dpl = DESC_DPL(low),
        .ist = lma ? low >> 32 & 7 : 0,
        .present = DESC_P(low),
    };
}

/* Interrupt and trap gates of 16 and 32 bits; long mode has only those of the second size. */
static bool gate_type_valid(const X86Cpu *cpu, unsigned type)
{
    return type == 0xe || type == 0xf || (!(cpu->efer & X86_EFER_LMA) && (type == 6 || type == 7 || type == DESC_TASK));
}

static uint64_t check_gate_target(X86Cpu *cpu, const Gate *gate, int ext)
{
    int error = (gate->selector & 0xfffc) + ext;
    uint64_t desc;

    if (!(gate->selector & 0xfffc)) {
        x86_raise_gp(cpu, ext);
    }
    if (!x86_descriptor(cpu, gate->selector, &desc) || !desc_is_code(desc) || DESC_DPL(desc) > cpu->cpl ||
        ((cpu->efer & X86_EFER_LMA) && (!DESC_L(desc) || DESC_DB(desc)))) {
        x86_raise_gp(cpu, error);
    }
    if (!DESC_P(desc)) {
        x86_raise(cpu, X86_EXC_NP, error);
    }
    if ((cpu->rflags & X86_FLAG_VM) && ((DESC_TYPE(desc) & DESC_CONFORMING) || DESC_DPL(desc))) {
        x86_raise_gp(cpu, error); /* virtual-8086 mode is only left for CPL 0 */
    }
    return desc;
}

static const int vm86_order[] = {X86_SEG_GS, X86_SEG_FS, X86_SEG_DS, X86_SEG_ES};

/* Pushes the frame on a stack that becomes SS:RSP afterwards. */
static void push_frame(X86Cpu *cpu, X86Stack *stack, unsigned size, bool outer, int error, uint64_t return_rip)
{
    for (unsigned i = 0; (cpu->rflags & X86_FLAG_VM) && i < 4; i++) {
        x86_stack_push(cpu, stack, cpu->seg[vm86_order[i]].selector, size);
    }
    if (outer) {
        x86_stack_push(cpu, stack, cpu->seg[X86_SEG_SS].selector, size);
        x86_stack_push(cpu, stack, cpu->gpr[X86_RSP], size);
    }
    x86_stack_push(cpu, stack, x86_get_rflags(cpu), size);
    x86_stack_push(cpu, stack, cpu->seg[X86_SEG_CS].selector, size);
    x86_stack_push(cpu, stack, return_rip, size);
    if (error >= 0) {
        x86_stack_push(cpu, stack, (uint64_t)error, size);
    }
}

static void leave_vm86(X86Cpu *cpu)
{
    for (unsigned i = 0; (cpu->rflags & X86_FLAG_VM) && i < 4; i++) {
        cpu->seg[vm86_order[i]] = (X86SegState){0};
    }
}

/* Through an interrupt or trap gate to a code segment that was checked. */
static void enter_handler(X86Cpu *cpu, const Gate *gate, uint64_t desc, int ext, int error, uint64_t return_rip)
{
    bool lma = cpu->efer & X86_EFER_LMA, trap = gate->type & 1, inner;
    unsigned level = DESC_TYPE(desc) & DESC_CONFORMING ? cpu->cpl : DESC_DPL(desc), size = lma ? 8 : gate->type & 8 ? 4 : 2;
    X86Stack stack = x86_stack_current(cpu);

    inner = level < cpu->cpl;
    if (inner || gate->ist) {
        stack = x86_stack_inner(cpu, level, gate->ist, ext);
    } else {
        stack.long64 = lma;
        stack.mask = lma ? UINT64_MAX : stack.mask;
        stack.error = ext;
    }
    stack.sys = true;
    if (lma) {
        stack.sp &= ~UINT64_C(15);
    }
    push_frame(cpu, &stack, size, lma || inner, error, return_rip);
    x86_check_target(cpu, desc, gate->offset);
    leave_vm86(cpu);
    if (inner) {
        cpu->seg[X86_SEG_SS] = stack.ss;
    }
    x86_stack_commit(cpu, &stack);
    x86_set_cs(cpu, gate->selector, desc, level);
    cpu->rip = gate->offset;
    x86_set_rflags(cpu, 0, X86_FLAG_TF | X86_FLAG_NT | X86_FLAG_RF | X86_FLAG_VM | (trap ? 0 : X86_FLAG_IF));
    x86_update_mode(cpu);
}

static void interrupt_protected(X86Cpu *cpu, int vector, bool software, int error, uint64_t return_rip)
{
    int ext = software ? 0 : 1, gate_error = vector * 8 + 2 + ext;
    Gate gate = load_gate(cpu, vector, gate_error);

    if (!gate_type_valid(cpu, gate.type) || (software && gate.dpl < cpu->cpl)) {
        x86_raise_gp(cpu, gate_error);
    }
    if (!gate.present) {
        x86_raise(cpu, X86_EXC_NP, gate_error);
    }
    if (gate.type == DESC_TASK) {
        x86_task_switch(cpu, gate.selector, X86_TASK_GATE, return_rip, error, ext);
    } else {
        enter_handler(cpu, &gate, check_gate_target(cpu, &gate, ext), ext, error, return_rip);
    }
}

void x86_interrupt(X86Cpu *cpu, int vector, bool software, int error, uint64_t return_rip)
{
    X86Delivery delivery = {.vector = vector,
                            .error = error,
                            .software = software,
                            .cpl = cpu->cpl,
                            .cs = cpu->seg[X86_SEG_CS].selector,
                            .rip = return_rip};

    cpu->step_ends = true;
    if (cpu->cr0 & X86_CR0_PE) {
        interrupt_protected(cpu, vector, software, error, return_rip);
    } else {
        interrupt_real(cpu, vector, return_rip);
    }
    if (cpu->config.tells_deliveries) {
        delivery.to_cs = cpu->seg[X86_SEG_CS].selector;
        delivery.to_rip = cpu->rip;
        delivery.cr2 = cpu->cr2;
        cpu->bus->delivered(cpu->opaque, &delivery);
    }
}
