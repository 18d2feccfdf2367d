/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host code of the integer ops that the interpreter calls functions for: shifts,
 * bit tests, multiplication and division.  The host's own instruction gives the
 * result and the flags; operands that would make it fault go to the function.
 */
#include "accel/tcg/jit/jit-private.h"

/* A register that a 4-byte instruction writes: itself, or RAX, loaded, for one that lives in memory. */
static Loc begin_write(Compiler *c, unsigned off, unsigned size)
{
    Loc reg = jit_op_reg(off);

    if (!reg.mem || size != 4) {
        return reg;
    }
    asm_load(&c->a, 4, H_AX, reg);
    return loc_reg(H_AX);
}

static void end_write(Compiler *c, unsigned off, unsigned size)
{
    Loc reg = jit_op_reg(off);

    if (reg.mem && size == 4) {
        asm_store(&c->a, 8, reg, H_AX);
    }
}

static void shift_by(Compiler *c, Loc at)
{
    const Op *op = c->op;

    asm_digit(&c->a, op->aux2 ? 0xd2 : 0xc0, op->osize, op->aux, at);
    if (!op->aux2) {
        asm_8(&c->a, (unsigned)op->imm);
    }
}

/* Counts of 0 keep the flags and rotates most of them, so the host must have them before. */
bool jit_shift(Compiler *c)
{
    const Op *op = c->op;
    uint8_t *miss;

    if (op->mem) {
        jit_flags_to_cpu(c);
        jit_address(c);
        miss = jit_translate(c, op->osize, true);
        asm_move(&c->a, H_DX, H_CX);
        jit_flags_to_host(c);
        asm_load(&c->a, 4, H_CX, jit_reg(X86_RCX));
        shift_by(c, loc_mem(H_DX, 0));
        jit_slow(c, SLOW_CALL_FLAGS, miss, c->a.at, 0);
    } else if (jit_is_high(op->r2)) {
        jit_call(c);
        return true;
    } else {
        jit_flags_to_host(c);
        asm_load(&c->a, 4, H_CX, jit_reg(X86_RCX));
        shift_by(c, begin_write(c, op->r2, op->osize));
        end_write(c, op->r2, op->osize);
    }
    jit_flags_set(c);
    return true;
}

/* BT BTS BTR BTC; a register as the index reaches other words of memory. */
bool jit_bit_test(Compiler *c)
{
    const Op *op = c->op;
    bool by_imm = op->aux == 0xba;
    Loc at, index = jit_op_reg(op->r1);

    if (op->mem || (by_imm && (op->aux2 >> 3 & 7) < 4)) {
        jit_call(c);
        return true;
    }
    jit_flags_to_host(c);
    at = begin_write(c, op->r2, op->osize);
    if (by_imm) {
        asm_insn(&c->a, 0, 0x0fba, op->osize, op->aux2 >> 3 & 7, false, at);
        asm_8(&c->a, (unsigned)op->imm & (op->osize * 8u - 1));
    } else {
        asm_load(&c->a, 8, H_CX, index);
        if (at.mem) { /* where the index would reach other words too */
            asm_load(&c->a, 8, H_AX, at);
            at = loc_reg(H_AX);
        }
        asm_insn(&c->a, 0, 0x0f00 | op->aux, op->osize, H_CX, false, at);
        if (jit_op_reg(op->r2).mem && op->osize != 4) {
            asm_store(&c->a, 8, jit_op_reg(op->r2), H_AX);
        }
    }
    if (op->aux != 0xa3 && !(by_imm && (op->aux2 >> 3 & 7) == 4)) {
        end_write(c, op->r2, op->osize);
    }
    jit_flags_set(c);
    return true;
}

bool jit_bswap(Compiler *c)
{
    const Op *op = c->op;
    Loc reg = jit_op_reg(op->r1);
    unsigned host = reg.mem ? H_AX : reg.reg;

    if (op->osize == 2) {
        jit_call(c);
        return true;
    }
    if (reg.mem) {
        asm_load(&c->a, 8, H_AX, reg);
    }
    asm_bswap(&c->a, op->osize, host);
    if (reg.mem) {
        asm_store(&c->a, 8, reg, H_AX);
    }
    return true;
}

/* CWDE CDQE, CDQ CQO */
bool jit_convert(Compiler *c)
{
    const Op *op = c->op;
    unsigned rax = jit_host_reg[X86_RAX];

    if (op->osize == 2) {
        jit_call(c);
    } else if (op->aux == 0x98) {
        asm_insn(&c->a, 0, op->osize == 8 ? 0x63 : 0x0fbf, op->osize, rax, false, loc_reg(rax));
    } else {
        asm_move(&c->a, H_AX, rax);
        if (op->osize == 8) {
            asm_8(&c->a, 0x48);
        }
        asm_8(&c->a, 0x99);
        asm_load(&c->a, op->osize, jit_host_reg[X86_RDX], loc_reg(H_DX));
    }
    return true;
}

/* --- MUL IMUL DIV IDIV --- */

/* Unsigned: the quotient fits when the upper half is below the divisor, which also is not zero then. */
static void check_div(Compiler *c, unsigned size)
{
    asm_rm(&c->a, 0x38, size, H_CX, loc_reg(jit_host_reg[X86_RDX])); /* CMP RDX, divisor */
    uint8_t *bad = asm_jcc_open(&c->a, COND_AE);

    jit_slow(c, SLOW_CALL, bad, NULL, 0);
}

/* Signed: surely fits when the upper half is the sign of the lower and the divisor neither 0 nor -1. */
static void check_idiv(Compiler *c, unsigned size)
{
    Asm *a = &c->a;

    asm_load(a, 8, H_AX, loc_reg(jit_host_reg[X86_RAX]));
    asm_digit(a, 0xc1, size, 7, loc_reg(H_AX)); /* SAR */
    asm_8(a, 8 * size - 1);
    asm_rm(a, 0x38, size, H_AX, loc_reg(jit_host_reg[X86_RDX]));
    jit_slow(c, SLOW_CALL, asm_jcc_open(a, COND_NE), NULL, 0);
    asm_lea(a, 8, H_AX, loc_mem(H_CX, 1));
    asm_digit(a, 0x83, size, 7, loc_reg(H_AX)); /* CMP divisor + 1, 1 */
    asm_8(a, 1);
    jit_slow(c, SLOW_CALL, asm_jcc_open(a, COND_BE), NULL, 0);
}

bool jit_multiply(Compiler *c)
{
    const Op *op = c->op;
    const unsigned size = op->osize, rax = jit_host_reg[X86_RAX], rdx = jit_host_reg[X86_RDX];
    Asm *a = &c->a;

    if (size < 4) {
        jit_call(c);
        return true;
    }
    jit_flags_to_cpu(c);
    if (op->mem) {
        jit_address(c);
        jit_load_rax(c, size);
        asm_move(a, H_CX, H_AX);
    } else {
        asm_load(a, 8, H_CX, jit_op_reg(op->r2));
    }
    const unsigned checks = c->slow_count;

    if (op->aux == 6) {
        check_div(c, size);
    } else if (op->aux == 7) {
        check_idiv(c, size);
    }
    asm_move(a, H_AX, rax);
    asm_move(a, H_DX, rdx);
    asm_digit(a, 0xf6, size, op->aux, loc_reg(H_CX));
    asm_load(a, size, rax, loc_reg(H_AX));
    asm_load(a, size, rdx, loc_reg(H_DX));
    for (unsigned i = checks; i < c->slow_count; i++) {
        c->slow[i].resume = a->at;
    }
    if (op->aux < 6) {
        jit_flags_set(c);
    } else {
        c->raw_flags = false; /* the function may have set others */
    }
    return true;
}
