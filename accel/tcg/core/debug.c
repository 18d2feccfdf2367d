/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Debug registers (SDM vol. 3, 17.2), alignment checks (6.15, #AC), and which
 * exception an address that is not canonical gives; and the points of a debugger
 * outside the guest.  None of this costs
 * anything while it is not in use: with breakpoints or alignment checks on, an
 * empty TLB sends every access here.
 */
#include <stdlib.h>

#include "accel/tcg/core/descriptor.h"
#include "accel/tcg/core/insn.h"
#include "accel/tcg/core/ops.h"

enum { DR7_EXEC, DR7_WRITE, DR7_IO, DR7_ACCESS };

typedef struct Breakpoint {
    bool enabled;
    unsigned kind, len;
    uint64_t addr;
} Breakpoint;

static Breakpoint breakpoint(const X86Cpu *cpu, unsigned n)
{
    static const uint8_t lens[] = {1, 2, 8, 4};
    uint64_t dr7 = cpu->dr[7];
    unsigned len = lens[dr7 >> (18 + 4 * n) & 3];

    return (Breakpoint){.enabled = dr7 >> (2 * n) & 3, .kind = dr7 >> (16 + 4 * n) & 3, .len = len,
                        .addr = cpu->dr[n] & ~(uint64_t)(len - 1)};
}

static bool overlaps(const Breakpoint *b, uint64_t linear, unsigned size)
{
    return b->enabled && linear < b->addr + b->len && b->addr < linear + size;
}

void x86_access_check(X86Cpu *cpu, uint64_t linear, unsigned size, bool write)
{
    bool align = cpu->cpl == 3 && (cpu->cr0 & X86_CR0_AM) && (cpu->rflags & X86_FLAG_AC);

    /* Operands of 16 bytes have rules of their own, those of 10 are aligned to 8. */
    if (align && ((size <= 8 && (linear & (size - 1)) && !(size & (size - 1))) || (size == 10 && (linear & 7)))) {
        x86_raise(cpu, X86_EXC_AC, 0);
    }
    for (unsigned n = 0; n < 4; n++) {
        Breakpoint b = breakpoint(cpu, n);

        if ((b.kind == DR7_ACCESS || (b.kind == DR7_WRITE && write)) && overlaps(&b, linear, size)) {
            cpu->debug_hits |= (uint8_t)(1u << n);
        }
    }
}

void x86_debug_io(X86Cpu *cpu, uint16_t port, unsigned size)
{
    for (unsigned n = 0; n < 4 && (cpu->cr4 & X86_CR4_DE) && x86_debug_enabled(cpu); n++) {
        Breakpoint b = breakpoint(cpu, n);

        if (b.kind == DR7_IO && overlaps(&b, port, size)) {
            cpu->debug_hits |= (uint8_t)(1u << n);
        }
    }
}

void x86_debug_fetch(X86Cpu *cpu)
{
    uint64_t linear = x86_code_linear(cpu, cpu->rip);
    unsigned hits = 0;

    for (unsigned n = 0; n < 4; n++) {
        Breakpoint b = breakpoint(cpu, n);

        hits |= b.enabled && b.kind == DR7_EXEC && cpu->dr[n] == linear ? 1u << n : 0;
    }
    if (hits && !(cpu->rflags & X86_FLAG_RF)) {
        cpu->dr[6] = (cpu->dr[6] & ~UINT64_C(15)) | hits;
        x86_raise(cpu, X86_EXC_DB, -1);
    }
}

/* --- a debugger outside the guest --- */

static bool is_watch(const X86DebugPoint *p)
{
    return p->kind == X86_DEBUG_WRITE || p->kind == X86_DEBUG_READ || p->kind == X86_DEBUG_ACCESS;
}

static bool same_points(const X86Cpu *cpu, const X86DebugPoint *points, size_t count)
{
    for (size_t i = 0; i < count && count == cpu->point_count; i++) {
        const X86DebugPoint *a = &points[i], *b = &cpu->points[i];

        if (a->kind != b->kind || a->addr != b->addr || a->len != b->len) {
            return false;
        }
    }
    return count == cpu->point_count;
}

void x86_cpu_set_debug(X86Cpu *cpu, const X86DebugPoint *points, size_t count, bool step)
{
    if (!same_points(cpu, points, count)) {
        free(cpu->points);
        cpu->points = count ? malloc(count * sizeof(*points)) : NULL;
        cpu->point_count = cpu->points ? count : 0;
        cpu->watches = false;
        for (size_t i = 0; i < cpu->point_count; i++) {
            cpu->points[i] = points[i];
            cpu->watches |= is_watch(&points[i]);
        }
        x86_blocks_flush(cpu); /* and the TLB */
    }
    cpu->debug_step = step;
    x86_update_mode(cpu);
}

X86DebugPoint x86_cpu_debug_stop(const X86Cpu *cpu)
{
    return cpu->stop;
}

static bool point_overlaps(const X86DebugPoint *p, uint64_t linear, uint64_t size)
{
    return linear - p->addr < p->len || p->addr - linear < size;
}

bool x86_watch_page(const X86Cpu *cpu, uint64_t linear)
{
    for (size_t i = 0; i < cpu->point_count; i++) {
        if (is_watch(&cpu->points[i]) && point_overlaps(&cpu->points[i], linear & X86_PAGE_MASK, X86_PAGE_SIZE)) {
            return true;
        }
    }
    return false;
}

void x86_watch_check(X86Cpu *cpu, uint64_t linear, unsigned size, bool write)
{
    for (size_t i = 0; i < cpu->point_count; i++) {
        const X86DebugPoint *p = &cpu->points[i];

        if (!is_watch(p) || p->kind == (write ? X86_DEBUG_READ : X86_DEBUG_WRITE) || !point_overlaps(p, linear, size)) {
            continue;
        }
        cpu->stop = (X86DebugPoint){p->kind, linear > p->addr ? linear : p->addr, size};
        atomic_fetch_or(&cpu->pending, PENDING_DEBUG);
        /* What is left of the block is not to run. */
        if (cpu->block && cpu->block->mode != MODE_DEAD) {
            x86_code_invalidate_page(cpu, cpu->block->phys & X86_PAGE_MASK);
        }
        return;
    }
}

/* Blocks are shared by all addresses a page has: the offset in it decides here, the address when the op runs. */
bool x86_breakpoint_op(const X86Cpu *cpu, uint64_t linear, const Op *op, Op *stop)
{
    for (size_t i = 0; i < cpu->point_count; i++) {
        if (cpu->points[i].kind == X86_DEBUG_EXEC && !((cpu->points[i].addr ^ linear) & ~X86_PAGE_MASK)) {
            *stop = (Op){.handler = x86_handler(OP_call_breakpoint), .id = OP_call_breakpoint, .off = op->off,
                         .base = SLOT_ZERO, .index = SLOT_ZERO};
            return true;
        }
    }
    return false;
}

void x86_fn_breakpoint(X86Cpu *cpu, const Op *op)
{
    uint64_t linear = x86_code_linear(cpu, cpu->gpr[SLOT_RIP] + op->off);

    for (size_t i = 0; i < cpu->point_count && !cpu->debug_step; i++) {
        if (cpu->points[i].kind == X86_DEBUG_EXEC && cpu->points[i].addr == linear) {
            cpu->stop = cpu->points[i];
            x86_raise(cpu, X86_EXC_STOP, -1);
        }
    }
    cpu->insns--; /* it is no instruction of its own */
}

/* --- addresses that are not canonical --- */

static const uint16_t stack_ops[] = {
    OP_PUSH64_R, OP_PUSH64_I, OP_PUSH64_M, OP_POP64_R, OP_CALL64, OP_RET64, OP_CALL64_R, OP_CALL64_M, OP_call_push, OP_call_pop,
    OP_call_pushf, OP_call_popf, OP_call_enter_leave, OP_call_call_near, OP_call_ret_near, OP_call_far, OP_call_iret,
    OP_call_movseg,
};

static bool is_stack_op(const Op *op)
{
    for (size_t i = 0; i < sizeof(stack_ops) / sizeof(stack_ops[0]); i++) {
        if (op->id == stack_ops[i]) {
            return true;
        }
    }
    return false;
}

/*
 * The operation's own memory operand faults by its segment; what else a stack
 * operation touches is the stack.
 */
void x86_raise_noncanonical(X86Cpu *cpu, uint64_t linear)
{
    const Op *op = cpu->op;
    bool stack;

    if (!op || !op->handler || cpu->in_delivery) {
        x86_raise_gp(cpu, 0);
    }
    stack = op->mem && op->seg == X86_SEG_SS;
    if (!stack && is_stack_op(op)) {
        stack = !op->mem || linear - insn_ea(cpu, op) >= 16;
    }
    x86_raise(cpu, stack ? X86_EXC_SS : X86_EXC_GP, 0);
}
