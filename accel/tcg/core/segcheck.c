/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Segment limits and types for ordinary memory operands (SDM vol. 3, 5.3-5.5).
 * Where a segment needs it, the decoder puts a check in front of the operation;
 * 64-bit code and flat segments have none.  Operations that reach memory in
 * ways of their own (stack, strings, tables) check for themselves.
 */
#include "accel/tcg/core/insn.h"
#include "accel/tcg/core/ops.h"

/* How an operation uses its memory operand. */
typedef enum Access {
    ACC_NONE,
    ACC_READ, ACC_WRITE,    /* operand size */
    ACC_READ1, ACC_READ2, ACC_READ16, ACC_WRITE1, ACC_WRITE2, ACC_WRITE16,
    ACC_READ_PAIR,          /* two of operand size */
    ACC_READ_FAR,           /* operand size and a selector */
    ACC_WRITE_PAIR,         /* CMPXCHG8B */
    ACC_BIT,                /* BT with an immediate; the others reach further */
    ACC_SOURCE_OR_TARGET,   /* MOVBE */
    ACC_MOVX,
    ACC_PUSH,
    ACC_SEGMENT,            /* MOV Sreg or a far pointer */
    ACC_SIMD, ACC_FPU, ACC_FXSAVE, ACC_SYSTEM,
} Access;

#define ALU_READ(n)                                                                                          \
    [OP_##n##_RM_8 ... OP_##n##_RM_64] = ACC_READ, [OP_##n##_MR_8 ... OP_##n##_MI_64] = ACC_READ
#define ALU_WRITE(n)                                                                                         \
    [OP_##n##_RM_8 ... OP_##n##_RM_64] = ACC_READ, [OP_##n##_MR_8 ... OP_##n##_MI_64] = ACC_WRITE

static const uint8_t accesses[OP_COUNT] = {
    ALU_WRITE(ADD), ALU_WRITE(OR), ALU_WRITE(ADC), ALU_WRITE(SBB), ALU_WRITE(AND), ALU_WRITE(SUB), ALU_WRITE(XOR),
    ALU_READ(CMP), ALU_READ(TEST), ALU_WRITE(MOV),
    [OP_INC_M_8 ... OP_INC_M_64] = ACC_WRITE, [OP_DEC_M_8 ... OP_DEC_M_64] = ACC_WRITE,
    [OP_MOVZX8_M] = ACC_READ1, [OP_MOVSX8_M_32] = ACC_READ1, [OP_MOVZX16_M] = ACC_READ2, [OP_MOVSX16_M_32] = ACC_READ2,
    [OP_CMOV_M_32] = ACC_READ, [OP_SETCC_M] = ACC_WRITE1, [OP_IMUL_RM_32] = ACC_READ,
    [OP_MOVUPS_LD] = ACC_READ16, [OP_MOVUPS_ST] = ACC_WRITE16,
    [OP_call_alu_slow] = ACC_WRITE, [OP_call_shift] = ACC_WRITE, [OP_call_shiftd] = ACC_WRITE, [OP_call_unary] = ACC_WRITE,
    [OP_call_imul3] = ACC_READ, [OP_call_mul] = ACC_READ, [OP_call_xchg] = ACC_WRITE, [OP_call_cmpxchg] = ACC_WRITE,
    [OP_call_cmpxchg8b] = ACC_WRITE_PAIR, [OP_call_xadd] = ACC_WRITE, [OP_call_bt] = ACC_BIT, [OP_call_bitscan] = ACC_READ,
    [OP_call_movsx16] = ACC_MOVX, [OP_call_cmov16] = ACC_READ, [OP_call_push] = ACC_PUSH, [OP_call_simd] = ACC_SIMD,
    [OP_call_fpu] = ACC_FPU, [OP_call_fxsave] = ACC_FXSAVE, [OP_call_movseg_from] = ACC_WRITE2,
    [OP_call_movbe] = ACC_SOURCE_OR_TARGET, [OP_call_crc32] = ACC_READ, [OP_call_adx] = ACC_READ,
    [OP_call_bmi] = ACC_READ, [OP_call_bound] = ACC_READ_PAIR, [OP_call_movseg] = ACC_SEGMENT, [OP_call_far] = ACC_READ_FAR,
    [OP_call_jmp_near] = ACC_READ, [OP_call_call_near] = ACC_READ, [OP_call_system] = ACC_SYSTEM, [OP_call_sysinfo] = ACC_READ2,
    [OP_call_invpcid] = ACC_READ16,
};

/* Bytes of the operand; *write says how it is used.  0: the operation checks for itself, or touches nothing. */
static unsigned simd_size(const Op *op, bool *write)
{
    const X86SimdInsn *insn = (const X86SimdInsn *)(uintptr_t)op->imm;

    *write = insn->dst == X86_OPD_XMM_RM || insn->dst == X86_OPD_MMX_RM || insn->dst == X86_OPD_GPR_RM ||
             insn->dst == X86_OPD_MEM_ONLY;
    return insn->flags & X86_SIMD_MASKMOV ? 0 : insn->mem_size ? insn->mem_size : op->osize == 8 ? 8 : 4;
}

static unsigned fpu_size(const Op *op, bool *write)
{
    const X86FpuInsn *insn = x86_fpu_lookup(op->aux, op->aux2);
    unsigned size;

    if (!insn) {
        return 0;
    }
    *write = insn->mem_write;
    size = insn->mem_write ? insn->mem_write : insn->mem_read;
    return insn->env && op->osize == 2 && size ? size - 14 : size;
}

static unsigned fxsave_size(const Op *op, bool *write)
{
    static const uint16_t sizes[] = {512, 512, 4, 4, 576, 576, 576, 1};
    unsigned digit = insn_digit(op);

    *write = digit == 0 || digit == 3 || digit == 4 || digit == 6;
    return sizes[digit];
}

/* Groups 6 and 7 and ARPL. */
static unsigned system_size(const Op *op, bool *write)
{
    unsigned digit = insn_digit(op);

    if (op->aux == 0x63) {
        *write = true;
        return 2;
    }
    if (op->aux == 0x00) {
        *write = digit < 2;
        return digit < 6 ? 2 : 0;
    }
    if (op->aux != 0x01 || digit == 7) {
        return 0; /* INVLPG does not access memory */
    }
    *write = digit < 2 || digit == 4;
    return digit < 4 ? 6 : 2;
}

static unsigned operand_access(const Op *op, Access access, bool *write)
{
    unsigned size = op->osize;

    *write = false;
    switch (access) {
    case ACC_NONE:
        return 0;
    case ACC_READ:
        return size;
    case ACC_READ1:
        return 1;
    case ACC_READ2:
        return 2;
    case ACC_READ16:
        return 16;
    case ACC_READ_PAIR:
        return 2 * size;
    case ACC_READ_FAR:
        return size + 2;
    case ACC_MOVX:
        return op->aux & 1 ? 2 : 1;
    case ACC_PUSH:
        return op->aux == 0xff ? size : 0;
    case ACC_SEGMENT:
        return op->aux == 0x8e ? 2 : size + 2;
    case ACC_SIMD:
        return simd_size(op, write);
    case ACC_FPU:
        return fpu_size(op, write);
    case ACC_FXSAVE:
        return fxsave_size(op, write);
    case ACC_SYSTEM:
        return system_size(op, write);
    case ACC_SOURCE_OR_TARGET:
        *write = op->aux == 0xf1;
        return size;
    case ACC_BIT:
        *write = insn_digit(op) != 4;
        return op->aux == 0xba ? size : 0;
    default:
        break;
    }
    *write = true;
    return access == ACC_WRITE1 ? 1 : access == ACC_WRITE2 ? 2 : access == ACC_WRITE16 ? 16 : access == ACC_WRITE_PAIR ? 8 : size;
}

bool x86_segcheck_op(const X86Cpu *cpu, const Op *op, Op *check)
{
    bool write;
    unsigned size;

    if (!op->mem || (cpu->mode & MODE_LONG64) || !(cpu->mode & (MODE_CHECK_ES << op->seg))) {
        return false;
    }
    size = operand_access(op, accesses[op->id], &write);
    if (!size) {
        return false;
    }
    *check = *op;
    check->handler = x86_handler(OP_call_segcheck);
    check->id = OP_call_segcheck;
    check->imm = size | (write ? 1u << 16 : 0);
    return true;
}

void x86_fn_segcheck(X86Cpu *cpu, const Op *op)
{
    uint64_t offset = cpu->gpr[op->base] + (cpu->gpr[op->index] << op->scale) + (uint64_t)(int64_t)op->disp;

    x86_seg_check(cpu, op->seg, offset & insn_addr_mask(op), op->imm & 0xffff, op->imm >> 16);
    cpu->insns--; /* it is no instruction of its own */
}
