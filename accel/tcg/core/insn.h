/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operand access for the ops that are plain functions. */
#ifndef ACCEL_TCG_INSN_H
#define ACCEL_TCG_INSN_H

#include "accel/tcg/core/state.h"

static inline uint64_t insn_mask(unsigned size)
{
    return size == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * size)) - 1;
}

static inline int64_t insn_sext(uint64_t val, unsigned size)
{
    unsigned shift = 64 - 8 * size;

    return (int64_t)(val << shift) >> shift;
}

static inline uint64_t insn_addr_mask(const Op *op)
{
    return op->asize == 3 ? UINT64_MAX : op->asize == 2 ? 0xffffffff : 0xffff;
}

static inline uint64_t insn_linear(const X86Cpu *cpu, int seg, uint64_t offset)
{
    if (cpu->mode & MODE_LONG64) {
        return seg == X86_SEG_FS || seg == X86_SEG_GS ? offset + cpu->seg[seg].base : offset;
    }
    return (uint32_t)(offset + cpu->seg[seg].base);
}

/* Linear address of the memory operand. */
static inline uint64_t insn_ea(const X86Cpu *cpu, const Op *op)
{
    uint64_t offset = cpu->gpr[op->base] + (cpu->gpr[op->index] << op->scale) + (uint64_t)(int64_t)op->disp;

    return insn_linear(cpu, op->seg, offset & insn_addr_mask(op));
}

static inline uint64_t insn_di_ea(const X86Cpu *cpu, const Op *op)
{
    return insn_linear(cpu, op->seg, cpu->gpr[X86_RDI] & insn_addr_mask(op));
}

static inline uint64_t insn_reg(const X86Cpu *cpu, unsigned off, unsigned size)
{
    uint64_t val = 0;

    memcpy(&val, (const char *)cpu->gpr + off, size);
    return val;
}

/* 4-byte writes clear the upper half. */
static inline void insn_set_reg(X86Cpu *cpu, unsigned off, unsigned size, uint64_t val)
{
    if (size == 4) {
        val = (uint32_t)val;
        size = 8;
    }
    memcpy((char *)cpu->gpr + off, &val, size);
}

/* ModRM.rm as a value. */
static inline uint64_t insn_rm(X86Cpu *cpu, const Op *op, unsigned size)
{
    return op->mem ? x86_load_slow(cpu, insn_ea(cpu, op), size) : insn_reg(cpu, op->r2, size);
}

static inline void insn_set_rm(X86Cpu *cpu, const Op *op, unsigned size, uint64_t val)
{
    if (op->mem) {
        x86_store_slow(cpu, insn_ea(cpu, op), val, size);
    } else {
        insn_set_reg(cpu, op->r2, size, val);
    }
}

static inline unsigned insn_digit(const Op *op)
{
    return op->aux2 >> 3 & 7;
}

void x86_push(X86Cpu *cpu, uint64_t val, unsigned size);
uint64_t x86_pop(X86Cpu *cpu, unsigned size);
/* Operand size of stack and near-branch instructions: 8 in 64-bit mode unless 66 was given. */
static inline unsigned insn_stack_size(const X86Cpu *cpu, const Op *op)
{
    return cpu->mode & MODE_LONG64 ? (op->osize == 2 ? 2 : 8) : op->osize;
}

#endif
