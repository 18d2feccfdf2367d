/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Host code of each op, by the table at the end. */
#include "accel/tcg/jit/jit-private.h"

enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP, ALU_TEST, ALU_MOV, ALU_STRIDE = 20 };

/* The parts of OP_ADD_RR_8 + alu * 20 + form * 4 + log2(size). */
static unsigned alu_kind(const Op *op)
{
    return (op->id - (unsigned)OP_ADD_RR_8) / ALU_STRIDE;
}

static unsigned alu_size(const Op *op)
{
    return 1u << (op->id - (unsigned)OP_ADD_RR_8) % 4;
}

static unsigned alu_opcode(unsigned alu)
{
    return alu == ALU_MOV ? 0x88 : alu == ALU_TEST ? 0x84 : alu << 3;
}

static bool alu_writes(unsigned alu)
{
    return alu != ALU_CMP && alu != ALU_TEST;
}

/* Before: the carry the operation takes.  After: the flags it sets. */
static void alu_begin(Compiler *c, unsigned alu)
{
    if (alu == ALU_ADC || alu == ALU_SBB) {
        jit_carry_to_host(c);
    }
}

static void alu_end(Compiler *c, unsigned alu)
{
    if (alu != ALU_MOV) {
        jit_flags_set(c);
    }
}

static void alu_imm(Asm *a, unsigned alu, unsigned size, Loc to, uint64_t imm)
{
    if (alu == ALU_MOV) {
        asm_digit(a, 0xc6, size, 0, to);
    } else if (alu == ALU_TEST) {
        asm_digit(a, 0xf6, size, 0, to);
    } else if (size > 1 && imm == (uint64_t)(int64_t)(int8_t)imm) {
        asm_insn(a, 0, 0x83, size, alu, false, to);
        size = 1;
    } else {
        asm_digit(a, 0x80, size, alu, to);
    }
    asm_imm(a, size, imm);
}

/*
 * `to` op= host register `from`.  A 4-byte write to a guest register clears its upper half, which
 * one that lives in memory gets by way of RCX.
 */
static void alu_to(Asm *a, unsigned alu, unsigned size, Loc to, unsigned from)
{
    if (to.mem && size == 4 && alu == ALU_MOV) {
        asm_load(a, 4, from == H_AX ? H_AX : H_CX, loc_reg(from));
        asm_store(a, 8, to, from == H_AX ? H_AX : H_CX);
    } else if (to.mem && size == 4 && alu_writes(alu)) {
        asm_load(a, 4, H_CX, to);
        asm_rm(a, alu_opcode(alu), 4, from, loc_reg(H_CX));
        asm_store(a, 8, to, H_CX);
    } else {
        asm_rm(a, alu_opcode(alu), size, from, to);
    }
}

static void alu_from(Asm *a, unsigned alu, unsigned size, Loc to, Loc from)
{
    if (from.mem && !to.mem && alu != ALU_TEST) {
        asm_rm(a, alu_opcode(alu) | 2, size, to.reg, from);
    } else if (from.mem) {
        asm_load(a, 8, H_AX, from);
        alu_to(a, alu, size, to, H_AX);
    } else {
        alu_to(a, alu, size, to, from.reg);
    }
}

static bool alu_rr(Compiler *c)
{
    const Op *op = c->op;
    unsigned alu = alu_kind(op);

    if (jit_is_high(op->r1) || jit_is_high(op->r2)) {
        return false;
    }
    alu_begin(c, alu);
    alu_from(&c->a, alu, alu_size(op), jit_op_reg(op->r1), jit_op_reg(op->r2));
    alu_end(c, alu);
    return true;
}

/* MOV of a constant to a whole register. */
static void move_const(Asm *a, Loc to, uint64_t val)
{
    if (!to.mem) {
        asm_const(a, to.reg, val);
    } else if (val == (uint64_t)(int64_t)(int32_t)val) {
        alu_imm(a, ALU_MOV, 8, to, val);
    } else {
        asm_const(a, H_AX, val);
        asm_store(a, 8, to, H_AX);
    }
}

static bool alu_ri(Compiler *c)
{
    const Op *op = c->op;
    unsigned alu = alu_kind(op), size = alu_size(op);
    Loc to = jit_op_reg(op->r1);

    if (jit_is_high(op->r1)) {
        return false;
    }
    if (alu == ALU_MOV && size >= 4) {
        move_const(&c->a, to, size == 4 ? (uint32_t)op->imm : op->imm);
        return true;
    }
    alu_begin(c, alu);
    if (to.mem && size == 4 && alu_writes(alu)) {
        asm_load(&c->a, 4, H_CX, to);
        alu_imm(&c->a, alu, 4, loc_reg(H_CX), op->imm);
        asm_store(&c->a, 8, to, H_CX);
    } else {
        alu_imm(&c->a, alu, size, to, op->imm);
    }
    alu_end(c, alu);
    return true;
}

/* Linear address in RCX, the flags safe. */
static void begin_access(Compiler *c)
{
    jit_flags_to_cpu(c);
    jit_address(c);
}

static bool alu_rm(Compiler *c)
{
    const Op *op = c->op;
    unsigned alu = alu_kind(op), size = alu_size(op);

    if (jit_is_high(op->r1)) {
        return false;
    }
    begin_access(c);
    jit_load_rax(c, size);
    alu_begin(c, alu);
    alu_to(&c->a, alu, size, jit_op_reg(op->r1), H_AX);
    alu_end(c, alu);
    return true;
}

/* A host register that holds guest register `off`: itself or RAX. */
static unsigned in_register(Compiler *c, unsigned off)
{
    Loc reg = jit_op_reg(off);

    if (!reg.mem) {
        return reg.reg;
    }
    asm_load(&c->a, 8, H_AX, reg);
    return H_AX;
}

static bool store_reg(Compiler *c)
{
    const Op *op = c->op;
    unsigned size = alu_size(op);
    uint8_t *miss;

    begin_access(c);
    miss = jit_translate(c, size, true);
    asm_store(&c->a, size, loc_mem(H_CX, 0), in_register(c, op->r1));
    jit_slow(c, SLOW_STORE, miss, c->a.at, size);
    return true;
}

static bool store_imm(Compiler *c)
{
    unsigned size = alu_size(c->op);
    uint8_t *miss;

    begin_access(c);
    miss = jit_translate(c, size, true);
    alu_imm(&c->a, ALU_MOV, size, loc_mem(H_CX, 0), c->op->imm);
    jit_slow(c, SLOW_STORE, miss, c->a.at, size);
    return true;
}

/* Compares of memory, and read-modify-writes, which miss as a whole. */
static bool alu_mr(Compiler *c)
{
    const Op *op = c->op;
    unsigned alu = alu_kind(op), size = alu_size(op);
    uint8_t *miss;

    if (jit_is_high(op->r1)) {
        return false;
    }
    if (alu == ALU_MOV) {
        return store_reg(c);
    }
    begin_access(c);
    if (!alu_writes(alu)) {
        jit_load_rax(c, size);
        if (jit_op_reg(op->r1).mem) {
            asm_load(&c->a, 8, H_CX, jit_op_reg(op->r1));
        }
        asm_rm(&c->a, alu_opcode(alu), size, jit_op_reg(op->r1).mem ? H_CX : jit_op_reg(op->r1).reg, loc_reg(H_AX));
    } else {
        miss = jit_translate(c, size, true);
        alu_begin(c, alu);
        asm_rm(&c->a, alu_opcode(alu), size, in_register(c, op->r1), loc_mem(H_CX, 0));
        jit_slow(c, SLOW_CALL_FLAGS, miss, c->a.at, size);
    }
    alu_end(c, alu);
    return true;
}

static bool alu_mi(Compiler *c)
{
    unsigned alu = alu_kind(c->op), size = alu_size(c->op);
    uint8_t *miss;

    if (alu == ALU_MOV) {
        return store_imm(c);
    }
    begin_access(c);
    if (!alu_writes(alu)) {
        jit_load_rax(c, size);
        alu_imm(&c->a, alu, size, loc_reg(H_AX), c->op->imm);
    } else {
        miss = jit_translate(c, size, true);
        alu_begin(c, alu);
        alu_imm(&c->a, alu, size, loc_mem(H_CX, 0), c->op->imm);
        jit_slow(c, SLOW_CALL_FLAGS, miss, c->a.at, size);
    }
    alu_end(c, alu);
    return true;
}

/* --- one operand --- */

/* One operand in a guest register: opcode /digit [imm8].  count: an immediate, or negative. */
static void unary(Compiler *c, unsigned opcode, unsigned digit, unsigned size, int count)
{
    Loc reg = jit_op_reg(c->op->r1), at = reg.mem && size == 4 ? loc_reg(H_CX) : reg;

    if (reg.mem && size == 4) {
        asm_load(&c->a, 4, H_CX, reg);
    }
    asm_digit(&c->a, opcode, size, digit, at);
    if (count >= 0) {
        asm_8(&c->a, (unsigned)count);
    }
    if (reg.mem && size == 4) {
        asm_store(&c->a, 8, reg, H_CX);
    }
}

static bool inc_dec(Compiler *c, unsigned first, unsigned digit)
{
    if (jit_is_high(c->op->r1)) {
        return false;
    }
    jit_carry_to_host(c);
    unary(c, 0xfe, digit, 1u << (c->op->id - first), -1);
    jit_flags_set(c);
    return true;
}

static bool inc_r(Compiler *c)
{
    return inc_dec(c, OP_INC_R_8, 0);
}

static bool dec_r(Compiler *c)
{
    return inc_dec(c, OP_DEC_R_8, 1);
}

static bool inc_dec_m(Compiler *c, unsigned first, unsigned digit)
{
    unsigned size = 1u << (c->op->id - first);
    uint8_t *miss;

    begin_access(c);
    miss = jit_translate(c, size, true);
    jit_carry_to_host(c);
    asm_digit(&c->a, 0xfe, size, digit, loc_mem(H_CX, 0));
    jit_slow(c, SLOW_CALL_FLAGS, miss, c->a.at, size);
    jit_flags_set(c);
    return true;
}

static bool inc_m(Compiler *c)
{
    return inc_dec_m(c, OP_INC_M_8, 0);
}

static bool dec_m(Compiler *c)
{
    return inc_dec_m(c, OP_DEC_M_8, 1);
}

static bool not_r(Compiler *c)
{
    if (jit_is_high(c->op->r1)) {
        return false;
    }
    unary(c, 0xf6, 2, 1u << (c->op->id - OP_NOT_R_8), -1);
    return true;
}

static bool neg_r(Compiler *c)
{
    if (jit_is_high(c->op->r1)) {
        return false;
    }
    unary(c, 0xf6, 3, 1u << (c->op->id - OP_NEG_R_8), -1);
    jit_flags_set(c);
    return true;
}

static bool shift_ri(Compiler *c)
{
    static const uint8_t digits[] = {4, 5, 7}; /* SHL SHR SAR, three sizes each */
    unsigned n = c->op->id - OP_SHL_RI_16;

    unary(c, 0xc0, digits[n / 3], 2u << n % 3, (int)c->op->imm);
    jit_flags_set(c);
    return true;
}

/* --- moves that change the size --- */

static bool lea(Compiler *c)
{
    const Op *op = c->op;
    Loc to = jit_op_reg(op->r1);

    if (op->id == OP_LEA_16) {
        return false;
    }
    jit_address(c);
    if (op->id == OP_LEA_32) {
        asm_load(&c->a, 4, to.mem ? H_CX : to.reg, loc_reg(H_CX));
        if (to.mem) {
            asm_store(&c->a, 8, to, H_CX);
        }
    } else {
        asm_store(&c->a, 8, to, H_CX);
    }
    return true;
}

static const struct Extend {
    uint16_t opcode;
    uint8_t from, to; /* bytes; a 4-byte result clears the upper half */
} extends[] = {
    /* in the order of the op list, the register form of each before its memory form */
    {0x0fb6, 1, 4}, {0x0fb7, 2, 4}, {0x0fbe, 1, 4}, {0x0fbf, 2, 4}, {0x0fbe, 1, 8}, {0x0fbf, 2, 8}, {0x63, 4, 8},
};

static void extend_to(Compiler *c, const struct Extend *e, Loc from)
{
    Loc to = jit_op_reg(c->op->r1);
    unsigned reg = to.mem ? H_CX : to.reg;

    /* The bytes of registers 4 to 7 need a REX prefix, which asm_insn() only adds for size 1. */
    if (e->from == 1 && !from.mem && from.reg >= 4 && from.reg < 8) {
        asm_load(&c->a, 8, H_AX, from);
        from = loc_reg(H_AX);
    }
    asm_insn(&c->a, 0, e->opcode, e->to, reg, false, from);
    if (to.mem) {
        asm_store(&c->a, 8, to, H_CX);
    }
}

static bool extend_r(Compiler *c)
{
    const struct Extend *e = &extends[(c->op->id - OP_MOVZX8_R) / 2];
    Loc from = jit_op_reg(c->op->r2);

    if (jit_is_high(c->op->r2)) { /* all four are mapped; AX's has no REX */
        asm_load(&c->a, 8, H_AX, from);
        asm_insn(&c->a, 0, 0x0fb6, 4, H_AX, false, loc_reg(4)); /* MOVZX EAX, AH */
        from = loc_reg(H_AX);
    }
    extend_to(c, e, from);
    return true;
}

static bool extend_m(Compiler *c)
{
    const struct Extend *e = &extends[(c->op->id - OP_MOVZX8_R) / 2];

    begin_access(c);
    jit_load_rax(c, e->from);
    extend_to(c, e, loc_reg(H_AX));
    return true;
}

/* --- stack --- */

static void stack_address(Compiler *c, int disp)
{
    jit_flags_to_cpu(c);
    asm_lea(&c->a, 8, H_CX, loc_mem(jit_host_reg[X86_RSP], disp));
}

static void move_stack(Compiler *c, int by)
{
    asm_lea(&c->a, 8, jit_host_reg[X86_RSP], loc_mem(jit_host_reg[X86_RSP], by));
}

static bool push_r(Compiler *c)
{
    uint8_t *miss;

    stack_address(c, -8);
    miss = jit_translate(c, 8, true);
    asm_store(&c->a, 8, loc_mem(H_CX, 0), in_register(c, c->op->r1));
    jit_slow(c, SLOW_STORE, miss, c->a.at, 8);
    move_stack(c, -8);
    return true;
}

static bool push_i(Compiler *c)
{
    uint8_t *miss;

    stack_address(c, -8);
    miss = jit_translate(c, 8, true);
    alu_imm(&c->a, ALU_MOV, 8, loc_mem(H_CX, 0), c->op->imm);
    jit_slow(c, SLOW_STORE, miss, c->a.at, 8);
    move_stack(c, -8);
    return true;
}

static bool pop_r(Compiler *c)
{
    stack_address(c, 0);
    jit_load_rax(c, 8);
    move_stack(c, 8);
    asm_store(&c->a, 8, jit_op_reg(c->op->r1), H_AX);
    return true;
}

/* --- conditions --- */

/* Keeps the flags; false leaves a 4-byte destination's upper half cleared all the same. */
static void cmov_to(Compiler *c, unsigned size, Loc from)
{
    Loc to = jit_op_reg(c->op->r1);
    unsigned reg = to.mem ? H_CX : to.reg;

    if (to.mem) {
        asm_load(&c->a, 8, reg, to);
    }
    asm_insn(&c->a, 0, 0x0f40 | c->op->aux, size, reg, false, from);
    if (to.mem) {
        asm_store(&c->a, 8, to, reg);
    }
}

static bool cmov_r(Compiler *c)
{
    jit_flags_to_host(c);
    cmov_to(c, c->op->id == OP_CMOV_R_64 ? 8 : 4, jit_op_reg(c->op->r2));
    return true;
}

static bool cmov_m(Compiler *c)
{
    unsigned size = c->op->id == OP_CMOV_M_64 ? 8 : 4;

    begin_access(c);
    jit_load_rax(c, size);
    asm_move(&c->a, H_DX, H_AX);
    jit_flags_to_host(c);
    cmov_to(c, size, loc_reg(H_DX));
    return true;
}

static bool setcc_r(Compiler *c)
{
    if (jit_is_high(c->op->r1)) {
        return false;
    }
    jit_flags_to_host(c);
    asm_digit(&c->a, 0x0f90 | c->op->aux, 1, 0, jit_op_reg(c->op->r1));
    return true;
}

static bool setcc_m(Compiler *c)
{
    jit_call(c);
    return true;
}

/* --- multiplication --- */

static void imul_to(Compiler *c, unsigned size, Loc from)
{
    Loc to = jit_op_reg(c->op->r1);
    unsigned reg = to.mem ? H_CX : to.reg;

    if (to.mem) {
        asm_load(&c->a, 8, reg, to);
    }
    asm_insn(&c->a, 0, 0x0faf, size, reg, false, from);
    if (to.mem) {
        asm_store(&c->a, 8, to, reg);
    }
    jit_flags_set(c);
}

static bool imul_rr(Compiler *c)
{
    imul_to(c, c->op->id == OP_IMUL_RR_64 ? 8 : 4, jit_op_reg(c->op->r2));
    return true;
}

static bool imul_rm(Compiler *c)
{
    unsigned size = c->op->id == OP_IMUL_RM_64 ? 8 : 4;

    begin_access(c);
    jit_load_rax(c, size);
    imul_to(c, size, loc_reg(H_AX));
    return true;
}

static bool imul3(Compiler *c)
{
    const Op *op = c->op;
    Loc to = jit_op_reg(op->r1), from = jit_op_reg(op->r2);
    unsigned reg = to.mem ? H_CX : to.reg;

    if (op->mem || op->osize < 4 || op->aux == 0xaf) {
        jit_call(c);
        return true;
    }
    asm_insn(&c->a, 0, 0x69, op->osize, reg, false, from);
    asm_32(&c->a, (uint32_t)op->imm);
    if (to.mem) {
        asm_store(&c->a, 8, to, reg);
    }
    jit_flags_set(c);
    return true;
}

/* --- jumps --- */

static bool jmp(Compiler *c)
{
    jit_jump(c, 1, c->op->imm);
    return true;
}

static bool jcc(Compiler *c)
{
    uint8_t *taken;

    jit_flags_to_host(c);
    jit_flags_save(c);
    taken = asm_jcc_open(&c->a, c->op->aux);
    jit_jump(c, 0, c->op[1].off);
    asm_close(&c->a, taken);
    jit_jump(c, 1, c->op->imm);
    return true;
}

/* RAX must be a canonical address. */
static void check_target(Compiler *c)
{
    Asm *a = &c->a;
    uint8_t *bad;

    asm_move(a, H_DX, H_AX);
    asm_digit(a, 0xc1, 8, 4, loc_reg(H_DX)); /* SHL */
    asm_8(a, 16);
    asm_digit(a, 0xc1, 8, 7, loc_reg(H_DX)); /* SAR */
    asm_8(a, 16);
    asm_rm(a, 0x38, 8, H_DX, loc_reg(H_AX)); /* CMP */
    bad = asm_jcc_open(a, COND_NE);
    jit_slow(c, SLOW_CALL, bad, a->at, 8);
}

static void load_target(Compiler *c)
{
    begin_access(c);
    jit_load_rax(c, 8);
    check_target(c);
}

static void register_target(Compiler *c)
{
    jit_flags_to_cpu(c);
    asm_load(&c->a, 8, H_AX, jit_op_reg(c->op->r1));
    check_target(c);
}

/* Stores the return address; what is to survive in RAX is kept in the frame. */
static void push_return(Compiler *c)
{
    uint8_t *miss;

    stack_address(c, -8);
    miss = jit_translate(c, 8, true);
    asm_lea(&c->a, 8, H_AX, loc_mem(H_RIP, c->op[1].off));
    asm_store(&c->a, 8, loc_mem(H_CX, 0), H_AX);
    jit_slow(c, SLOW_STORE, miss, c->a.at, 8);
}

static bool call_near(Compiler *c)
{
    push_return(c);
    move_stack(c, -8);
    jit_jump(c, 1, c->op->imm);
    return true;
}

static bool ret_near(Compiler *c)
{
    stack_address(c, 0);
    jit_load_rax(c, 8);
    check_target(c);
    move_stack(c, 8);
    asm_move(&c->a, H_RIP, H_AX);
    jit_lookup(c);
    return true;
}

static bool jmp_r(Compiler *c)
{
    register_target(c);
    asm_move(&c->a, H_RIP, H_AX);
    jit_lookup(c);
    return true;
}

static bool jmp_m(Compiler *c)
{
    load_target(c);
    asm_move(&c->a, H_RIP, H_AX);
    jit_lookup(c);
    return true;
}

static bool call_r(Compiler *c)
{
    register_target(c);
    push_return(c);
    asm_load(&c->a, 8, H_RIP, jit_op_reg(c->op->r1)); /* before RSP changes */
    move_stack(c, -8);
    jit_lookup(c);
    return true;
}

static bool call_m(Compiler *c)
{
    load_target(c);
    asm_store(&c->a, 8, loc_mem(H_SP, 0), H_AX);
    push_return(c);
    move_stack(c, -8);
    asm_load(&c->a, 8, H_RIP, loc_mem(H_SP, 0));
    jit_lookup(c);
    return true;
}

/* --- the rest --- */

static bool nop(Compiler *c)
{
    (void)c;
    return true;
}

static bool call_fn(Compiler *c)
{
    jit_call(c);
    return true;
}

/* The function says where to go on, in a new mode perhaps. */
static bool leave_fn(Compiler *c)
{
    jit_leave(c);
    return true;
}

static bool movups(Compiler *c)
{
    const Op *op = c->op;
    bool store = op->id == OP_MOVUPS_ST;
    Loc reg = loc_mem(H_CPU, (int32_t)(offsetof(X86Cpu, fpu.xmm) + op->r1 * sizeof(X86Vec)));
    uint8_t *odd = NULL, *miss;

    begin_access(c);
    if (op->osize) { /* 15: aligned */
        asm_digit(&c->a, 0xf6, 1, 0, loc_reg(H_CX));
        asm_8(&c->a, op->osize);
        odd = asm_jcc_open(&c->a, COND_NE);
    }
    miss = jit_translate(c, 16, store);
    asm_insn(&c->a, 0, 0x0f10, 4, 0, false, store ? reg : loc_mem(H_CX, 0));
    asm_insn(&c->a, 0, 0x0f11, 4, 0, false, store ? loc_mem(H_CX, 0) : reg);
    jit_slow(c, SLOW_CALL, miss, c->a.at, 16);
    if (odd) {
        jit_slow(c, SLOW_CALL, odd, c->a.at, 16);
    }
    return true;
}

#define ALU(n)                                                                                               \
    [OP_##n##_RR_8... OP_##n##_RR_64] = alu_rr, [OP_##n##_RI_8... OP_##n##_RI_64] = alu_ri,                  \
    [OP_##n##_RM_8... OP_##n##_RM_64] = alu_rm, [OP_##n##_MR_8... OP_##n##_MR_64] = alu_mr,                  \
    [OP_##n##_MI_8... OP_##n##_MI_64] = alu_mi

CompileFn *jit_op_fn(unsigned id)
{
    static CompileFn *const table[OP_COUNT] = {
        ALU(ADD), ALU(OR), ALU(ADC), ALU(SBB), ALU(AND), ALU(SUB), ALU(XOR), ALU(CMP), ALU(TEST), ALU(MOV),
        [OP_LEA_16 ... OP_LEA_64] = lea, [OP_INC_R_8 ... OP_INC_R_64] = inc_r, [OP_DEC_R_8 ... OP_DEC_R_64] = dec_r,
        [OP_INC_M_8 ... OP_INC_M_64] = inc_m, [OP_DEC_M_8 ... OP_DEC_M_64] = dec_m,
        [OP_NOT_R_8 ... OP_NOT_R_64] = not_r, [OP_NEG_R_8 ... OP_NEG_R_64] = neg_r,
        [OP_SHL_RI_16 ... OP_SAR_RI_64] = shift_ri,
        [OP_MOVZX8_R] = extend_r, [OP_MOVZX8_M] = extend_m, [OP_MOVZX16_R] = extend_r, [OP_MOVZX16_M] = extend_m,
        [OP_MOVSX8_R_32] = extend_r, [OP_MOVSX8_M_32] = extend_m, [OP_MOVSX16_R_32] = extend_r, [OP_MOVSX16_M_32] = extend_m,
        [OP_MOVSX8_R_64] = extend_r, [OP_MOVSX8_M_64] = extend_m, [OP_MOVSX16_R_64] = extend_r, [OP_MOVSX16_M_64] = extend_m,
        [OP_MOVSXD_R] = extend_r, [OP_MOVSXD_M] = extend_m,
        [OP_PUSH64_R] = push_r, [OP_PUSH64_I] = push_i, [OP_PUSH64_M] = call_fn, [OP_POP64_R] = pop_r,
        [OP_CMOV_R_32 ... OP_CMOV_R_64] = cmov_r, [OP_CMOV_M_32 ... OP_CMOV_M_64] = cmov_m,
        [OP_SETCC_R] = setcc_r, [OP_SETCC_M] = setcc_m,
        [OP_IMUL_RR_32 ... OP_IMUL_RR_64] = imul_rr, [OP_IMUL_RM_32 ... OP_IMUL_RM_64] = imul_rm,
        [OP_call_imul3] = imul3, [OP_call_simd] = jit_simd, [OP_call_fpu] = jit_x87, [OP_NOP] = nop,
        [OP_call_shift] = jit_shift, [OP_call_bt] = jit_bit_test, [OP_call_bswap] = jit_bswap,
        [OP_call_convert] = jit_convert, [OP_call_mul] = jit_multiply,
        [OP_JMP] = jmp, [OP_JCC] = jcc, [OP_CALL64] = call_near, [OP_RET64] = ret_near, [OP_JMP64_R] = jmp_r,
        [OP_JMP64_M] = jmp_m, [OP_CALL64_R] = call_r, [OP_CALL64_M] = call_m,
        [OP_MOVUPS_LD] = movups, [OP_MOVUPS_ST] = movups,
    };

    if (table[id]) {
        return table[id];
    }
    /* The ops that are functions come last, those that end a block after the others. */
    return id >= OP_call_string ? leave_fn : id >= OP_call_alu_slow ? call_fn : NULL;
}
