/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ways into compiled code and out of it: entry and exits, the jump cache, and
 * calls of C functions, around which the guest's registers are in X86Cpu.
 */
#include "accel/tcg/core/flags.h"
#include "accel/tcg/core/insn.h"
#include "accel/tcg/jit/jit-private.h"

const uint8_t jit_host_reg[JIT_MAPPED] = {H_BX, H_SI, H_DI, H_R8, H_R9, H_R10, H_R11, H_R12, H_R13, H_R14};

/* --- called from compiled code --- */

static void at_op(X86Cpu *cpu, const Op *op, unsigned info)
{
    cpu->op = op;
    cpu->block = (Block *)(uintptr_t)((const char *)(op - (uint16_t)info) - offsetof(Block, ops));
}

/* The running block was overwritten: what follows is decoded anew. */
static bool leaves_dead(X86Cpu *cpu, const Op *op, unsigned info)
{
    if (cpu->block->mode != MODE_DEAD) {
        return false;
    }
    cpu->insns -= cpu->block->count - ((uint16_t)info + 1u);
    cpu->rip = cpu->gpr[SLOT_RIP] + op[1].off;
    return true;
}

uint64_t jit_do_load(X86Cpu *cpu, uint64_t linear, const Op *op, unsigned info)
{
    at_op(cpu, op, info);
    return x86_load_slow(cpu, linear, info >> 16);
}

static uint64_t stored_value(const X86Cpu *cpu, const Op *op)
{
    switch (op->id) {
    case OP_PUSH64_I:
    case OP_MOV_MI_8 ... OP_MOV_MI_64:
        return op->imm;
    case OP_CALL64:
    case OP_CALL64_R:
    case OP_CALL64_M:
        return cpu->gpr[SLOT_RIP] + op[1].off;
    default: {
        uint64_t val;

        memcpy(&val, (const char *)cpu->gpr + op->r1, sizeof(val));
        return val;
    }
    }
}

bool jit_do_store(X86Cpu *cpu, uint64_t linear, const Op *op, unsigned info)
{
    at_op(cpu, op, info);
    x86_store_slow(cpu, linear, stored_value(cpu, op), info >> 16);
    return leaves_dead(cpu, op, info);
}

static void setcc_m(X86Cpu *cpu, const Op *op)
{
    x86_store_slow(cpu, insn_ea(cpu, op), cc_test(cpu, op->aux), 1);
}

static void push_m(X86Cpu *cpu, const Op *op)
{
    uint64_t val = x86_load_slow(cpu, insn_ea(cpu, op), 8);

    x86_store_slow(cpu, cpu->gpr[X86_RSP] - 8, val, 8);
    cpu->gpr[X86_RSP] -= 8;
}

static void raise_gp(X86Cpu *cpu, const Op *op)
{
    (void)op;
    x86_raise_gp(cpu, 0);
}

static void raise_bad_call(X86Cpu *cpu, const Op *op)
{
    (void)op;
    x86_raise_bad_call(cpu);
}

typedef void OpFn(X86Cpu *cpu, const Op *op);

/* The function that does all of an op, or what is left to do when compiled code has found an operand unfit. */
static OpFn *op_function(unsigned id)
{
    static OpFn *const functions[OP_COUNT] = {
#define X(n) [OP_call_##n] = x86_fn_##n,
        X86_CALL_OPS(X) X86_END_OPS(X)
#undef X
        [OP_RET64] = raise_gp, [OP_JMP64_R] = raise_gp, [OP_JMP64_M] = raise_gp, [OP_CALL64_R] = raise_bad_call,
        [OP_CALL64_M] = raise_bad_call, [OP_SETCC_M] = setcc_m, [OP_PUSH64_M] = push_m, [OP_MOVUPS_LD] = x86_fn_simd, [OP_MOVUPS_ST] = x86_fn_simd,
    };

    return functions[id] ? functions[id] : x86_fn_alu_slow;
}

bool jit_do_call(X86Cpu *cpu, uint64_t linear, const Op *op, unsigned info)
{
    (void)linear;
    at_op(cpu, op, info);
    op_function(op->id)(cpu, op);
    return leaves_dead(cpu, op, info);
}

void jit_do_leave(X86Cpu *cpu, uint64_t linear, const Op *op, unsigned info)
{
    (void)linear;
    at_op(cpu, op, info);
    cpu->rip = cpu->gpr[SLOT_RIP] + op[1].off;
    op_function(op->id)(cpu, op);
}

void jit_do_flags(X86Cpu *cpu)
{
    cc_raw(cpu, x86_flags_arith(cpu));
}

/* --- the stubs --- */

static void spill(Asm *a)
{
    for (unsigned n = 0; n < JIT_MAPPED; n++) {
        asm_store(a, 8, CPU_AT(gpr[n]), jit_host_reg[n]);
    }
    asm_store(a, 8, CPU_AT(gpr[SLOT_RIP]), H_RIP);
}

static void fill(Asm *a)
{
    for (unsigned n = 0; n < JIT_MAPPED; n++) {
        asm_load(a, 8, jit_host_reg[n], CPU_AT(gpr[n]));
    }
    asm_load(a, 8, H_RIP, CPU_AT(gpr[SLOT_RIP]));
}

static const uint8_t saved_regs[] = {H_BX, H_BP, H_R12, H_R13, H_R14, H_R15};

static void push(Asm *a, unsigned reg)
{
    if (reg >> 3) {
        asm_8(a, 0x41);
    }
    asm_8(a, 0x50 | (reg & 7));
}

static void pop(Asm *a, unsigned reg)
{
    if (reg >> 3) {
        asm_8(a, 0x41);
    }
    asm_8(a, 0x58 | (reg & 7));
}

static void move_stack(Asm *a, int by)
{
    asm_lea(a, 8, H_SP, loc_mem(H_SP, by));
}

static void call_c(Asm *a, const void *fn)
{
    asm_const(a, H_AX, (uintptr_t)fn);
    asm_digit(a, 0xff, 4, 2, loc_reg(H_AX));
}

static void ret(Asm *a)
{
    asm_8(a, 0xc3);
}

/* LDMXCSR, STMXCSR */
static void mxcsr_load(Asm *a, Loc from)
{
    asm_insn(a, 0, 0x0fae, 4, 2, false, from);
}

static void mxcsr_store(Asm *a)
{
    asm_insn(a, 0, 0x0fae, 4, 3, false, CPU_AT(fpu.mxcsr));
}

static uint8_t *skip_if_not_live(Asm *a)
{
    asm_digit(a, 0x80, 1, 7, CPU_AT(fp_live)); /* CMP */
    asm_8(a, 0);
    return asm_jcc_open(a, COND_E);
}

static void set_live(Asm *a, bool live)
{
    asm_digit(a, 0xc6, 1, 0, CPU_AT(fp_live));
    asm_8(a, live);
}

/* The guest's MXCSR goes back to X86Cpu. */
static void mxcsr_leave(Asm *a, bool live)
{
    uint8_t *over = skip_if_not_live(a);

    mxcsr_store(a);
    mxcsr_load(a, CPU_AT(host_mxcsr));
    if (!live) {
        set_live(a, false);
    }
    asm_close(a, over);
}

static void mxcsr_return(Asm *a)
{
    uint8_t *over = skip_if_not_live(a);

    mxcsr_load(a, CPU_AT(fpu.mxcsr));
    asm_close(a, over);
}

static void make_enter(Jit *jit, Asm *a)
{
    const void *run = asm_run(a, a->at);

    memcpy(&jit->enter, &run, sizeof(run));
    for (unsigned i = 0; i < sizeof(saved_regs); i++) {
        push(a, saved_regs[i]);
    }
    move_stack(a, -JIT_FRAME);
    asm_move(a, H_CPU, H_DI);
    asm_move(a, H_AX, H_SI);
    set_live(a, false); /* a fault may have left it set */
    fill(a);
    asm_digit(a, 0xff, 4, 4, loc_reg(H_AX));
}

/* Makes the guest's MXCSR the host's; ZF clear: cannot, an exception is unmasked. */
static const uint8_t *make_mxcsr(Asm *a)
{
    const uint32_t masks = 0x1f80;
    const uint8_t *at = a->at;
    uint8_t *unmasked;

    asm_load(a, 4, H_AX, CPU_AT(fpu.mxcsr));
    asm_digit(a, 0xf6, 4, 2, loc_reg(H_AX)); /* NOT */
    asm_digit(a, 0xf6, 4, 0, loc_reg(H_AX)); /* TEST */
    asm_32(a, masks);
    unmasked = asm_jcc_open(a, COND_NE);
    mxcsr_load(a, CPU_AT(fpu.mxcsr));
    set_live(a, true);
    asm_close(a, unmasked);
    ret(a);
    return at;
}

static void make_exits(Jit *jit, Asm *a)
{
    uint8_t *find;

    jit->exit_interpret = a->at;
    asm_const(a, H_AX, JIT_INTERPRET);
    find = asm_jump_open(a);
    jit->exit_find = a->at;
    asm_const(a, H_AX, 0);
    asm_close(a, find);
    jit->exit_jump = a->at;
    mxcsr_leave(a, false);
    asm_store(a, 8, CPU_AT(rip), H_RIP);
    spill(a);
    uint8_t *over = asm_jump_open(a);

    jit->exit_spilled = a->at;
    asm_const(a, H_AX, 0);
    asm_close(a, over);
    move_stack(a, JIT_FRAME);
    for (unsigned i = sizeof(saved_regs); i-- > 0;) {
        pop(a, saved_regs[i]);
    }
    ret(a);
}

/* The jump cache (x86_jump_slot()). */
static void make_lookup(Jit *jit, Asm *a, unsigned user)
{
    const int32_t jump = (int32_t)(offsetof(X86Cpu, jump) + user * sizeof(((X86Cpu *)NULL)->jump[0]));

    _Static_assert(sizeof(JumpEntry) == 24, "an entry is found with LEA and a scale of 8");
    jit->lookup[user] = a->at;
    asm_move(a, H_CX, H_RIP);
    asm_digit(a, 0xc1, 8, 5, loc_reg(H_CX)); /* SHR */
    asm_8(a, JUMP_BITS);
    asm_load(a, 8, H_AX, loc_reg(H_RIP));
    asm_rm(a, 0x30, 8, H_AX, loc_reg(H_CX)); /* XOR */
    asm_digit(a, 0x81, 4, 4, loc_reg(H_CX)); /* AND */
    asm_32(a, JUMP_SIZE - 1);
    asm_lea(a, 4, H_CX, loc_indexed(H_CX, H_CX, 1, 0));
    asm_rm(a, 0x38, 8, H_RIP, loc_indexed(H_CPU, H_CX, 3, jump + (int32_t)offsetof(JumpEntry, key)));
    asm_jcc(a, COND_NE, jit->exit_find);
    asm_load(a, 8, H_AX, CPU_AT(gen[user]));
    asm_rm(a, 0x38, 8, H_AX, loc_indexed(H_CPU, H_CX, 3, jump + (int32_t)offsetof(JumpEntry, gen)));
    asm_jcc(a, COND_NE, jit->exit_find);
    asm_load(a, 8, H_DX, loc_indexed(H_CPU, H_CX, 3, jump + (int32_t)offsetof(JumpEntry, block)));
    asm_load(a, 4, H_AX, loc_mem(H_DX, (int32_t)offsetof(Block, mode)));
    asm_rm(a, 0x38, 4, H_AX, CPU_AT(mode));
    asm_jcc(a, COND_NE, jit->exit_find);
    asm_load(a, 8, H_AX, loc_mem(H_DX, (int32_t)offsetof(Block, code)));
    asm_rm(a, 0x84, 8, H_AX, loc_reg(H_AX));
    asm_jcc(a, COND_E, jit->exit_find);
    asm_digit(a, 0xff, 4, 4, loc_reg(H_AX));
}

/* fn(cpu, RCX: linear, RDX: op, EAX: info); live: the host has the guest's MXCSR again after mxcsr_return(). */
static void call_with_op(Asm *a, const void *fn, bool live)
{
    mxcsr_leave(a, live);
    spill(a);
    asm_move(a, H_DI, H_CPU);
    asm_move(a, H_SI, H_CX);
    asm_move(a, H_CX, H_AX);
    call_c(a, fn);
}

static const uint8_t *make_load(Asm *a)
{
    const uint8_t *at = a->at;

    move_stack(a, -8);
    call_with_op(a, (const void *)(uintptr_t)jit_do_load, true);
    fill(a);
    mxcsr_return(a);
    move_stack(a, 8);
    ret(a);
    return at;
}

/* Comes back unless the block is dead. */
static const uint8_t *make_call(Jit *jit, Asm *a, const void *fn, bool live)
{
    const uint8_t *at = a->at;
    uint8_t *dead;

    move_stack(a, -8);
    call_with_op(a, fn, live);
    asm_rm(a, 0x84, 1, H_AX, loc_reg(H_AX));
    dead = asm_jcc_open(a, COND_NE);
    fill(a);
    mxcsr_return(a);
    move_stack(a, 8);
    ret(a);
    asm_close(a, dead);
    move_stack(a, 16);
    asm_jump(a, jit->exit_spilled);
    return at;
}

/* Keeps all registers. */
static const uint8_t *make_flags(Asm *a)
{
    const uint8_t *at = a->at;

    push(a, H_AX);
    push(a, H_CX);
    push(a, H_DX);
    spill(a);
    asm_move(a, H_DI, H_CPU);
    call_c(a, (const void *)(uintptr_t)jit_do_flags);
    fill(a);
    pop(a, H_DX);
    pop(a, H_CX);
    pop(a, H_AX);
    ret(a);
    return at;
}

void jit_make_stubs(Jit *jit)
{
    Asm a = {.at = jit->write, .run = jit->run - jit->write};

    make_enter(jit, &a);
    make_exits(jit, &a);
    make_lookup(jit, &a, 0);
    make_lookup(jit, &a, 1);
    jit->load = make_load(&a);
    jit->store = make_call(jit, &a, (const void *)(uintptr_t)jit_do_store, true);
    jit->call = make_call(jit, &a, (const void *)(uintptr_t)jit_do_call, true);
    jit->call_any = make_call(jit, &a, (const void *)(uintptr_t)jit_do_call, false);
    jit->mxcsr = make_mxcsr(&a);
    jit->flags = make_flags(&a);
    jit->leave = a.at;
    call_with_op(&a, (const void *)(uintptr_t)jit_do_leave, false);
    asm_jump(&a, jit->exit_spilled);
    jit->begin = jit->used = (size_t)(a.at - jit->write);
}
