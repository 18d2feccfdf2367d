/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hardware task switches (SDM vol. 3, 7.3) between task state segments of 16
 * and 32 bits.  Everything of the new task is read, and the old one's place to
 * be saved is probed, before anything changes; what is wrong with the new
 * task's segments is found after the switch and raised in the new task.
 */
#include "accel/tcg/core/descriptor.h"
#include "accel/tcg/core/flags.h"

/* Byte offsets in a TSS of one of the two sizes. */
typedef struct TssLayout {
    unsigned word;              /* bytes of registers */
    unsigned cr3, ip, flags, gpr, segs, seg_count, seg_stride, ldt, trap, limit;
} TssLayout;

static const TssLayout tss16 = {.word = 2, .ip = 0x0e, .flags = 0x10, .gpr = 0x12, .segs = 0x22, .seg_count = 4, .seg_stride = 2,
                                .ldt = 0x2a, .limit = 0x2b};
static const TssLayout tss32 = {.word = 4, .cr3 = 0x1c, .ip = 0x20, .flags = 0x24, .gpr = 0x28, .segs = 0x48, .seg_count = 6,
                                .seg_stride = 4, .ldt = 0x60, .trap = 0x64, .limit = 0x67};

typedef struct Task {
    uint64_t cr3, rip, flags, gpr[8];
    uint16_t seg[6], ldt;
    bool trap;
} Task;

static const TssLayout *layout_of(unsigned type)
{
    return type >= DESC_TSS32 ? &tss32 : &tss16;
}

static void task_read(X86Cpu *cpu, const TssLayout *l, uint64_t base, Task *task)
{
    *task = (Task){0};
    task->cr3 = l->cr3 ? x86_load_sys(cpu, base + l->cr3, 4) : cpu->cr3;
    task->rip = x86_load_sys(cpu, base + l->ip, l->word);
    task->flags = x86_load_sys(cpu, base + l->flags, l->word);
    for (unsigned i = 0; i < 8; i++) {
        task->gpr[i] = x86_load_sys(cpu, base + l->gpr + i * l->word, l->word);
    }
    for (unsigned i = 0; i < l->seg_count; i++) {
        task->seg[i] = (uint16_t)x86_load_sys(cpu, base + l->segs + i * l->seg_stride, 2);
    }
    task->ldt = (uint16_t)x86_load_sys(cpu, base + l->ldt, 2);
    task->trap = l->trap && (x86_load_sys(cpu, base + l->trap, 1) & 1);
}

static void task_save(X86Cpu *cpu, uint64_t rip, uint64_t flags)
{
    const TssLayout *l = layout_of(cpu->seg[X86_SEG_TR].attr & 0xf);
    uint64_t base = cpu->seg[X86_SEG_TR].base;

    /* The first store faults before anything is changed; the last cannot any more when both ends are writable. */
    x86_store_sys(cpu, base + l->ldt - 1, x86_load_sys(cpu, base + l->ldt - 1, 1), 1);
    x86_store_sys(cpu, base + l->ip, rip, l->word);
    x86_store_sys(cpu, base + l->flags, flags, l->word);
    for (unsigned i = 0; i < 8; i++) {
        x86_store_sys(cpu, base + l->gpr + i * l->word, cpu->gpr[i], l->word);
    }
    for (unsigned i = 0; i < l->seg_count; i++) {
        x86_store_sys(cpu, base + l->segs + i * l->seg_stride, cpu->seg[i].selector, 2);
    }
}

static void set_busy(X86Cpu *cpu, uint16_t selector, bool busy)
{
    uint64_t addr = cpu->gdtr.base + (selector & ~7u) + 5;
    uint64_t byte = x86_load_sys(cpu, addr, 1);

    x86_store_sys(cpu, addr, busy ? byte | 2 : byte & ~UINT64_C(2), 1);
}

static uint64_t find_tss(X86Cpu *cpu, uint16_t selector, X86TaskReason reason, int ext)
{
    bool back = reason == X86_TASK_IRET;
    int error = (selector & 0xfffc) + ext, wrong = back || reason == X86_TASK_GATE ? X86_EXC_TS : X86_EXC_GP;
    uint64_t desc;
    unsigned type;

    if (reason == X86_TASK_GATE) {
        wrong = X86_EXC_GP;
    }
    if ((selector & 4) || !(selector & 0xfffc) || !x86_descriptor(cpu, selector, &desc)) {
        x86_raise(cpu, wrong, error);
    }
    type = DESC_TYPE(desc);
    if (back ? type != DESC_TSS16_BUSY && type != DESC_TSS32_BUSY : type != DESC_TSS16 && type != DESC_TSS32) {
        x86_raise(cpu, wrong, error);
    }
    if (!DESC_P(desc)) {
        x86_raise(cpu, X86_EXC_NP, error);
    }
    if (seg_from_desc(selector, desc).limit < layout_of(type)->limit) {
        x86_raise(cpu, X86_EXC_TS, error);
    }
    return desc;
}

static void load_task_ldt(X86Cpu *cpu, uint16_t selector, int ext)
{
    uint64_t desc;

    cpu->seg[X86_SEG_LDTR] = (X86SegState){.selector = selector};
    if (!(selector & 0xfffc)) {
        return;
    }
    if ((selector & 4) || !x86_descriptor(cpu, selector, &desc) || DESC_TYPE(desc) != DESC_LDT || !DESC_P(desc)) {
        x86_raise(cpu, X86_EXC_TS, (selector & 0xfffc) + ext);
    }
    cpu->seg[X86_SEG_LDTR] = seg_from_desc(selector, desc);
}

/* One segment register of the new task, whose CPL is cs_rpl. */
static void load_task_segment(X86Cpu *cpu, int n, uint16_t selector, unsigned cpl, int ext)
{
    int error = (selector & 0xfffc) + ext;
    unsigned rpl = selector & 3, dpl, type;
    uint64_t desc;
    bool conforming;

    if (!(selector & 0xfffc)) {
        if (n == X86_SEG_CS || n == X86_SEG_SS) {
            x86_raise(cpu, X86_EXC_TS, ext);
        }
        return;
    }
    if (!x86_descriptor(cpu, selector, &desc)) {
        x86_raise(cpu, X86_EXC_TS, error);
    }
    type = DESC_TYPE(desc);
    dpl = DESC_DPL(desc);
    conforming = desc_is_code(desc) && (type & DESC_CONFORMING);
    if (n == X86_SEG_CS ? !desc_is_code(desc) || (conforming ? dpl > rpl : dpl != rpl)
        : n == X86_SEG_SS ? !desc_is_writable_data(desc) || dpl != cpl || rpl != cpl
                          : !(type & DESC_S) || (desc_is_code(desc) && !(type & DESC_RW)) ||
                                (!conforming && (dpl < cpl || dpl < rpl))) {
        x86_raise(cpu, X86_EXC_TS, error);
    }
    if (!DESC_P(desc)) {
        x86_raise(cpu, n == X86_SEG_SS ? X86_EXC_SS : X86_EXC_NP, error);
    }
    x86_desc_set_accessed(cpu, selector, desc);
    cpu->seg[n] = seg_from_desc(selector, desc | UINT64_C(1) << 40);
}

static void load_task_segments(X86Cpu *cpu, const Task *task, int ext)
{
    static const int order[] = {X86_SEG_CS, X86_SEG_SS, X86_SEG_DS, X86_SEG_ES, X86_SEG_FS, X86_SEG_GS};
    unsigned cpl = task->seg[X86_SEG_CS] & 3;

    if (cpu->rflags & X86_FLAG_VM) {
        for (int i = 0; i < 6; i++) {
            x86_set_real_seg(cpu, i, task->seg[i]);
        }
        return;
    }
    /* Until they are loaded they are not usable; the privilege level is already that of the new task. */
    for (int i = 0; i < 6; i++) {
        cpu->seg[i] = (X86SegState){.selector = task->seg[i], .attr = i == X86_SEG_SS ? (uint16_t)(cpl << 5) : 0};
    }
    x86_update_mode(cpu);
    for (unsigned i = 0; i < 6; i++) {
        load_task_segment(cpu, order[i], task->seg[order[i]], cpl, ext);
    }
}

/* Registers of the new task; from here on faults belong to it. */
static void task_enter(X86Cpu *cpu, const Task *task, const TssLayout *l)
{
    cpu->block = NULL;
    cpu->cr0 |= X86_CR0_TS;
    if ((cpu->cr0 & X86_CR0_PG) && l->cr3) {
        x86_write_cr(cpu, 3, task->cr3);
    }
    for (unsigned i = 0; i < 8; i++) {
        cpu->gpr[i] = l->word == 2 ? task->gpr[i] | 0xffff0000u : task->gpr[i];
    }
    cpu->rip = task->rip;
    x86_set_rflags(cpu, task->flags, UINT32_MAX);
}

void x86_task_switch(X86Cpu *cpu, uint16_t selector, X86TaskReason reason, uint64_t next_rip, int error, int ext)
{
    uint64_t desc = find_tss(cpu, selector, reason, ext), flags = x86_get_rflags(cpu);
    uint16_t old = cpu->seg[X86_SEG_TR].selector;
    bool nested = reason == X86_TASK_CALL || reason == X86_TASK_GATE;
    X86SegState tr = seg_from_desc(selector, desc | UINT64_C(2) << 40);
    const TssLayout *l = layout_of(DESC_TYPE(desc));
    Task task;

    task_read(cpu, l, tr.base, &task);
    task_save(cpu, next_rip, reason == X86_TASK_IRET ? flags & ~(uint64_t)X86_FLAG_NT : flags);
    if (nested) {
        x86_store_sys(cpu, tr.base, old, 2);
        task.flags |= X86_FLAG_NT;
    } else {
        set_busy(cpu, old, false);
    }
    if (reason != X86_TASK_IRET) {
        set_busy(cpu, selector, true);
    }
    cpu->seg[X86_SEG_TR] = tr;
    cpu->dr[7] &= ~UINT64_C(0x155); /* local breakpoints */
    task_enter(cpu, &task, l);
    load_task_ldt(cpu, task.ldt, ext);
    load_task_segments(cpu, &task, ext);
    x86_update_mode(cpu);
    if (task.rip > cpu->seg[X86_SEG_CS].limit) {
        x86_raise_gp(cpu, ext);
    }
    if (error >= 0) {
        X86Stack stack = x86_stack_current(cpu);

        x86_stack_push(cpu, &stack, (uint64_t)error, l->word);
        x86_stack_commit(cpu, &stack);
    }
    if (task.trap) {
        cpu->dr[6] |= X86_DR6_BT;
        cpu->debug_trap = true;
        x86_cpu_kick(cpu);
    }
}
