/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tier 1: the threaded interpreter.  Each op's handler is a label; handlers of
 * common forms are specialised by operand size with the macros below, all
 * others call a function.  Nothing architectural is changed before the last
 * access of a handler that can fault.
 */
#include "accel/tcg/core/flags.h"
#include "accel/tcg/core/ops.h"
#include "accel/tcg/core/state.h"
#include "accel/tcg/jit/jit.h"

#define GPR(T, off) (*(T *)((char *)cpu->gpr + (off)))
#define WR_8(off, v) (GPR(uint8_t, off) = (uint8_t)(v))
#define WR_16(off, v) (GPR(uint16_t, off) = (uint16_t)(v))
#define WR_32(off, v) (GPR(uint64_t, off) = (uint32_t)(v))
#define WR_64(off, v) (GPR(uint64_t, off) = (uint64_t)(v))

typedef int8_t I_8;
typedef int16_t I_16 __attribute__((aligned(1)));
typedef int32_t I_32 __attribute__((aligned(1)));
typedef int64_t I_64 __attribute__((aligned(1)));

static inline uint64_t op_ea(const X86Cpu *cpu, const Op *op)
{
    static const uint64_t masks[] = {0, 0xffff, 0xffffffff, UINT64_MAX};
    uint64_t a = cpu->gpr[op->base] + (cpu->gpr[op->index] << op->scale) + (uint64_t)(int64_t)op->disp;

    if (__builtin_expect(op->asize != 3, 0)) {
        a &= masks[op->asize];
    }
    if (__builtin_expect(op->has_seg, 0)) {
        a += cpu->seg[op->seg].base;
        if (!(cpu->mode & MODE_LONG64)) {
            a &= 0xffffffff;
        }
    }
    return a;
}

#define TLB_ENTRY(lin) (&cpu->tlb[((lin) >> X86_PAGE_BITS) & (TLB_SIZE - 1)])
#define TLB_HIT(entry, which, lin, size) ((entry)->which == (((lin) + (size) - 1) & X86_PAGE_MASK))

#define LOAD(T, lin)                                                                                         \
    ({                                                                                                       \
        uint64_t lin_ = (lin);                                                                               \
        const TlbEntry *e_ = TLB_ENTRY(lin_);                                                                \
        T val_;                                                                                              \
        if (__builtin_expect(TLB_HIT(e_, rd, lin_, sizeof(T)), 1)) {                                         \
            memcpy(&val_, (const void *)(lin_ + e_->addend), sizeof(T));                                     \
        } else {                                                                                             \
            cpu->op = op;                                                                                    \
            val_ = (T)x86_load_slow(cpu, lin_, sizeof(T));                                                   \
        }                                                                                                    \
        val_;                                                                                                \
    })

#define STORE(T, lin, v)                                                                                     \
    do {                                                                                                     \
        uint64_t lin_ = (lin);                                                                               \
        const TlbEntry *e_ = TLB_ENTRY(lin_);                                                                \
        T val_ = (T)(v);                                                                                     \
        if (__builtin_expect(TLB_HIT(e_, wr, lin_, sizeof(T)), 1)) {                                         \
            memcpy((void *)(lin_ + e_->addend), &val_, sizeof(T));                                           \
        } else {                                                                                             \
            cpu->op = op;                                                                                    \
            x86_store_slow(cpu, lin_, (uint64_t)val_, sizeof(T));                                            \
        }                                                                                                    \
    } while (0)

/* Host address of a location to be read and written, or NULL when it takes the slow way. */
#define RMW_PTR(T, lin)                                                                                      \
    ({                                                                                                       \
        uint64_t lin_ = (lin);                                                                               \
        const TlbEntry *e_ = TLB_ENTRY(lin_);                                                                \
        void *p_;                                                                                            \
        if (__builtin_expect(TLB_HIT(e_, wr, lin_, sizeof(T)), 1)) {                                         \
            p_ = (void *)(lin_ + e_->addend);                                                                \
        } else {                                                                                             \
            cpu->op = op;                                                                                    \
            p_ = x86_host_ptr(cpu, lin_, sizeof(T), ACCESS_RMW);                                             \
        }                                                                                                    \
        p_;                                                                                                  \
    })

/* --- ALU: F(T, a, b) computes r and sets flags; a, b, r are sign-extended --- */
#define DO_ADD(T) int64_t r = (T)((uint64_t)a + (uint64_t)b); cc_set(cpu, CC_ADD, a, b, r)
#define DO_ADC(T)                                                                                            \
    bool c_ = flag_cf(cpu);                                                                                  \
    int64_t r = (T)((uint64_t)a + (uint64_t)b + c_);                                                         \
    cc_set(cpu, c_ ? CC_ADC1 : CC_ADD, a, b, r)
#define DO_SUB(T) int64_t r = (T)((uint64_t)a - (uint64_t)b); cc_set(cpu, CC_SUB, a, b, r)
#define DO_SBB(T)                                                                                            \
    bool c_ = flag_cf(cpu);                                                                                  \
    int64_t r = (T)((uint64_t)a - (uint64_t)b - c_);                                                         \
    cc_set(cpu, c_ ? CC_SBB1 : CC_SUB, a, b, r)
#define DO_AND(T) int64_t r = a & b; cc_logic(cpu, r)
#define DO_OR(T) int64_t r = a | b; cc_logic(cpu, r)
#define DO_XOR(T) int64_t r = a ^ b; cc_logic(cpu, r)
#define DO_CMP(T) DO_SUB(T); (void)r
#define DO_TEST(T) DO_AND(T); (void)r

#define NEXT                                                                                                 \
    do {                                                                                                     \
        op++;                                                                                                \
        goto *op->handler;                                                                                   \
    } while (0)

#define ALU_WRITE_SIZE(N, SZ)                                                                                \
    L_##N##_RR_##SZ: { int64_t a = GPR(I_##SZ, op->r1), b = GPR(I_##SZ, op->r2); DO_##N(I_##SZ); WR_##SZ(op->r1, r); } NEXT; \
    L_##N##_RI_##SZ: { int64_t a = GPR(I_##SZ, op->r1), b = (int64_t)op->imm; DO_##N(I_##SZ); WR_##SZ(op->r1, r); } NEXT; \
    L_##N##_RM_##SZ: { int64_t b = LOAD(I_##SZ, op_ea(cpu, op)), a = GPR(I_##SZ, op->r1); DO_##N(I_##SZ); WR_##SZ(op->r1, r); } NEXT; \
    L_##N##_MR_##SZ: {                                                                                       \
        I_##SZ *p = RMW_PTR(I_##SZ, op_ea(cpu, op));                                                         \
        if (__builtin_expect(!p, 0)) goto alu_slow;                                                          \
        int64_t a = *p, b = GPR(I_##SZ, op->r1); DO_##N(I_##SZ); *p = (I_##SZ)r; } NEXT;                     \
    L_##N##_MI_##SZ: {                                                                                       \
        I_##SZ *p = RMW_PTR(I_##SZ, op_ea(cpu, op));                                                         \
        if (__builtin_expect(!p, 0)) goto alu_slow;                                                          \
        int64_t a = *p, b = (int64_t)op->imm; DO_##N(I_##SZ); *p = (I_##SZ)r; } NEXT;

#define ALU_TEST_SIZE(N, SZ)                                                                                 \
    L_##N##_RR_##SZ: { int64_t a = GPR(I_##SZ, op->r1), b = GPR(I_##SZ, op->r2); DO_##N(I_##SZ); } NEXT;     \
    L_##N##_RI_##SZ: { int64_t a = GPR(I_##SZ, op->r1), b = (int64_t)op->imm; DO_##N(I_##SZ); } NEXT;        \
    L_##N##_RM_##SZ: { int64_t b = LOAD(I_##SZ, op_ea(cpu, op)), a = GPR(I_##SZ, op->r1); DO_##N(I_##SZ); } NEXT; \
    L_##N##_MR_##SZ: { int64_t a = LOAD(I_##SZ, op_ea(cpu, op)), b = GPR(I_##SZ, op->r1); DO_##N(I_##SZ); } NEXT; \
    L_##N##_MI_##SZ: { int64_t a = LOAD(I_##SZ, op_ea(cpu, op)), b = (int64_t)op->imm; DO_##N(I_##SZ); } NEXT;

#define MOV_SIZE(SZ)                                                                                         \
    L_MOV_RR_##SZ: WR_##SZ(op->r1, GPR(I_##SZ, op->r2)); NEXT;                                               \
    L_MOV_RI_##SZ: WR_##SZ(op->r1, op->imm); NEXT;                                                           \
    L_MOV_RM_##SZ: { I_##SZ v = LOAD(I_##SZ, op_ea(cpu, op)); WR_##SZ(op->r1, v); } NEXT;                    \
    L_MOV_MR_##SZ: STORE(I_##SZ, op_ea(cpu, op), GPR(I_##SZ, op->r1)); NEXT;                                 \
    L_MOV_MI_##SZ: STORE(I_##SZ, op_ea(cpu, op), op->imm); NEXT;

#define UNARY_SIZE(SZ)                                                                                       \
    L_INC_R_##SZ: { bool c = flag_cf(cpu); int64_t a = GPR(I_##SZ, op->r1), r = (I_##SZ)((uint64_t)a + 1);   \
        cc_set(cpu, CC_INC, a, 1, r); cpu->cc_c = c; WR_##SZ(op->r1, r); } NEXT;                             \
    L_DEC_R_##SZ: { bool c = flag_cf(cpu); int64_t a = GPR(I_##SZ, op->r1), r = (I_##SZ)((uint64_t)a - 1);   \
        cc_set(cpu, CC_DEC, a, 1, r); cpu->cc_c = c; WR_##SZ(op->r1, r); } NEXT;                             \
    L_INC_M_##SZ: { I_##SZ *p = RMW_PTR(I_##SZ, op_ea(cpu, op)); if (!p) goto alu_slow;                      \
        bool c = flag_cf(cpu); int64_t a = *p, r = (I_##SZ)((uint64_t)a + 1);                                \
        cc_set(cpu, CC_INC, a, 1, r); cpu->cc_c = c; *p = (I_##SZ)r; } NEXT;                                 \
    L_DEC_M_##SZ: { I_##SZ *p = RMW_PTR(I_##SZ, op_ea(cpu, op)); if (!p) goto alu_slow;                      \
        bool c = flag_cf(cpu); int64_t a = *p, r = (I_##SZ)((uint64_t)a - 1);                                \
        cc_set(cpu, CC_DEC, a, 1, r); cpu->cc_c = c; *p = (I_##SZ)r; } NEXT;                                 \
    L_NOT_R_##SZ: WR_##SZ(op->r1, ~GPR(I_##SZ, op->r1)); NEXT;                                               \
    L_NEG_R_##SZ: { int64_t a = 0, b = GPR(I_##SZ, op->r1); DO_SUB(I_##SZ); WR_##SZ(op->r1, r); } NEXT;

/* Immediate counts 1..size-1 only; the decoder sends others to the general function. */
#define SHIFT_SIZE(SZ)                                                                                       \
    L_SHL_RI_##SZ: { uint64_t v = (uint64_t)(int64_t)GPR(I_##SZ, op->r1); unsigned n = (unsigned)op->imm;    \
        int64_t r = (I_##SZ)(v << n); bool cf = (v >> (SZ - n)) & 1;                                         \
        cc_explicit(cpu, r, cf, (r < 0) != cf, false); WR_##SZ(op->r1, r); } NEXT;                           \
    L_SHR_RI_##SZ: { uint64_t v = (U_##SZ)GPR(I_##SZ, op->r1); unsigned n = (unsigned)op->imm;               \
        int64_t r = (I_##SZ)(v >> n);                                                                        \
        cc_explicit(cpu, r, (v >> (n - 1)) & 1, (v >> (SZ - 1)) & 1, false); WR_##SZ(op->r1, r); } NEXT;     \
    L_SAR_RI_##SZ: { int64_t v = GPR(I_##SZ, op->r1); unsigned n = (unsigned)op->imm; int64_t r = v >> n;    \
        cc_explicit(cpu, r, (v >> (n - 1)) & 1, false, false); WR_##SZ(op->r1, r); } NEXT;

typedef uint16_t U_16;
typedef uint32_t U_32;
typedef uint64_t U_64;

#define IMUL_SIZE(SZ, WIDE)                                                                                  \
    L_IMUL_RR_##SZ: { WIDE p = (WIDE)GPR(I_##SZ, op->r1) * GPR(I_##SZ, op->r2); int64_t r = (I_##SZ)p;       \
        cc_explicit(cpu, r, p != (WIDE)r, p != (WIDE)r, false); WR_##SZ(op->r1, r); } NEXT;                  \
    L_IMUL_RM_##SZ: { I_##SZ v = LOAD(I_##SZ, op_ea(cpu, op)); WIDE p = (WIDE)GPR(I_##SZ, op->r1) * v;       \
        int64_t r = (I_##SZ)p; cc_explicit(cpu, r, p != (WIDE)r, p != (WIDE)r, false); WR_##SZ(op->r1, r); } NEXT;

/* A near branch to an address that is not canonical faults before it does anything (SDM vol. 2, CALL, JMP, RET). */
#define CHECK_CANONICAL(target, RAISE)                                                                       \
    do {                                                                                                     \
        uint64_t target_ = (target);                                                                         \
        if (__builtin_expect((uint64_t)((int64_t)(target_ << 16) >> 16) != target_, 0)) {                    \
            cpu->op = op;                                                                                    \
            RAISE;                                                                                           \
        }                                                                                                    \
    } while (0)

static const void *const *handler_table;

/* True when something is pending that the CPU would take now: a masked interrupt must not stop it. */
static inline bool attention(X86Cpu *cpu)
{
    unsigned pending = atomic_load_explicit(&cpu->pending, memory_order_relaxed);

    if (__builtin_expect(!pending, 1)) {
        return __builtin_expect(cpu->insns > cpu->insn_soft, 0);
    }
    if (!(cpu->rflags & X86_FLAG_IF) && pending & PENDING_HARD) {
        x86_intr_mask(cpu);
        pending &= ~(unsigned)PENDING_HARD;
    }
    if (cpu->nmi_blocked) {
        pending &= ~(unsigned)PENDING_NMI;
    }
    if (cpu->smm) {
        pending &= ~(unsigned)(PENDING_SMI | PENDING_INIT | PENDING_SIPI);
    }
    return pending || cpu->insns > cpu->insn_soft;
}

/* Runs blocks from cpu->rip until something is pending; with cpu NULL only publishes the label table. */
static void run_blocks(X86Cpu *cpu, bool one)
{
    static const void *const labels[OP_COUNT] = {
#define X(n) [OP_##n] = &&L_##n,
        X86_FAST_OPS(X)
#undef X
#define X(n) [OP_call_##n] = &&C_##n,
        X86_CALL_OPS(X) X86_END_OPS(X)
#undef X
    };
    const Op *op;
    Block *block, *next;
    uint64_t target;
    unsigned taken;
    uintptr_t jump = 0;      /* of compiled code, to be linked to the next block */
    bool first_only = one; /* the one block has not run yet */

    if (!cpu) {
        handler_table = labels;
        return;
    }

find:
    if (!first_only && (attention(cpu) || cpu->mode & MODE_TF)) {
        return;
    }
    {
        uint64_t key = x86_jump_key(cpu, cpu->rip);
        const JumpEntry *j = x86_jump_slot(cpu, key);

        block = j->key == key && j->gen == cpu->gen[cpu->cpl == 3] && j->block->mode == cpu->mode
                    ? j->block
                    : x86_block_find(cpu, cpu->rip);
    }
enter:
    if (__builtin_expect(one, 0)) {
        if (!first_only) {
            return;
        }
        first_only = false;
    } else if (block->heat && --block->heat == 0) {
        x86_jit_compile(cpu, block);
    }
    if (block->code && !one && jump != JIT_INTERPRET) {
        if (jump) {
            x86_jit_link(cpu, jump, block);
        }
        cpu->gpr[SLOT_RIP] = cpu->rip;
        jump = x86_jit_run(cpu, block);
        goto find;
    }
    jump = 0;
    cpu->gpr[SLOT_RIP] = cpu->rip;
    cpu->block = block;
    cpu->insns += block->count;
    op = block->ops;
    goto *op->handler;

/* Direct jumps: successors in the same page are linked, as nothing can have been flushed in between. */
jump:
    /* Outside 64-bit mode the instruction pointer wraps at 4 GiB. */
    if (target >> 32 && !(cpu->mode & MODE_LONG64)) {
        target = (uint32_t)target;
    }
    cpu->rip = target;
    next = block->chain[taken];
    if (next && next->mode == cpu->mode) {
        if (attention(cpu)) {
            return;
        }
        block = next;
        goto enter;
    }
    if (block->mode != MODE_DEAD && !block->phys2 && !(cpu->mode & MODE_TF) && x86_same_page(cpu, target, cpu->gpr[SLOT_RIP]) && !attention(cpu)) {
        Block *from = block;

        block = x86_block_find(cpu, target);
        if (!block->phys2) {
            from->chain[taken] = block;
        }
        goto enter;
    }
    goto find;

alu_slow:
    cpu->op = op;
    x86_fn_alu_slow(cpu, op);
    NEXT;

    ALU_WRITE_SIZE(ADD, 8) ALU_WRITE_SIZE(ADD, 16) ALU_WRITE_SIZE(ADD, 32) ALU_WRITE_SIZE(ADD, 64)
    ALU_WRITE_SIZE(OR, 8) ALU_WRITE_SIZE(OR, 16) ALU_WRITE_SIZE(OR, 32) ALU_WRITE_SIZE(OR, 64)
    ALU_WRITE_SIZE(ADC, 8) ALU_WRITE_SIZE(ADC, 16) ALU_WRITE_SIZE(ADC, 32) ALU_WRITE_SIZE(ADC, 64)
    ALU_WRITE_SIZE(SBB, 8) ALU_WRITE_SIZE(SBB, 16) ALU_WRITE_SIZE(SBB, 32) ALU_WRITE_SIZE(SBB, 64)
    ALU_WRITE_SIZE(AND, 8) ALU_WRITE_SIZE(AND, 16) ALU_WRITE_SIZE(AND, 32) ALU_WRITE_SIZE(AND, 64)
    ALU_WRITE_SIZE(SUB, 8) ALU_WRITE_SIZE(SUB, 16) ALU_WRITE_SIZE(SUB, 32) ALU_WRITE_SIZE(SUB, 64)
    ALU_WRITE_SIZE(XOR, 8) ALU_WRITE_SIZE(XOR, 16) ALU_WRITE_SIZE(XOR, 32) ALU_WRITE_SIZE(XOR, 64)
    ALU_TEST_SIZE(CMP, 8) ALU_TEST_SIZE(CMP, 16) ALU_TEST_SIZE(CMP, 32) ALU_TEST_SIZE(CMP, 64)
    ALU_TEST_SIZE(TEST, 8) ALU_TEST_SIZE(TEST, 16) ALU_TEST_SIZE(TEST, 32) ALU_TEST_SIZE(TEST, 64)
    MOV_SIZE(8) MOV_SIZE(16) MOV_SIZE(32) MOV_SIZE(64)
    UNARY_SIZE(8) UNARY_SIZE(16) UNARY_SIZE(32) UNARY_SIZE(64)
    SHIFT_SIZE(16) SHIFT_SIZE(32) SHIFT_SIZE(64)
    IMUL_SIZE(32, int64_t) IMUL_SIZE(64, __int128)

    /* LEA takes the offset, without a segment base: the decoder leaves has_seg clear. */
    L_LEA_16: WR_16(op->r1, op_ea(cpu, op)); NEXT;
    L_LEA_32: WR_32(op->r1, op_ea(cpu, op)); NEXT;
    L_LEA_64: WR_64(op->r1, op_ea(cpu, op)); NEXT;

    L_MOVZX8_R: WR_64(op->r1, GPR(uint8_t, op->r2)); NEXT;
    L_MOVZX8_M: { uint8_t v = LOAD(uint8_t, op_ea(cpu, op)); WR_64(op->r1, v); } NEXT;
    L_MOVZX16_R: WR_64(op->r1, GPR(uint16_t, op->r2)); NEXT;
    L_MOVZX16_M: { uint16_t v = LOAD(uint16_t, op_ea(cpu, op)); WR_64(op->r1, v); } NEXT;
    L_MOVSX8_R_32: WR_32(op->r1, GPR(int8_t, op->r2)); NEXT;
    L_MOVSX8_M_32: { int8_t v = LOAD(int8_t, op_ea(cpu, op)); WR_32(op->r1, v); } NEXT;
    L_MOVSX16_R_32: WR_32(op->r1, GPR(int16_t, op->r2)); NEXT;
    L_MOVSX16_M_32: { int16_t v = LOAD(int16_t, op_ea(cpu, op)); WR_32(op->r1, v); } NEXT;
    L_MOVSX8_R_64: WR_64(op->r1, GPR(int8_t, op->r2)); NEXT;
    L_MOVSX8_M_64: { int8_t v = LOAD(int8_t, op_ea(cpu, op)); WR_64(op->r1, v); } NEXT;
    L_MOVSX16_R_64: WR_64(op->r1, GPR(int16_t, op->r2)); NEXT;
    L_MOVSX16_M_64: { int16_t v = LOAD(int16_t, op_ea(cpu, op)); WR_64(op->r1, v); } NEXT;
    L_MOVSXD_R: WR_64(op->r1, GPR(int32_t, op->r2)); NEXT;
    L_MOVSXD_M: { int32_t v = LOAD(int32_t, op_ea(cpu, op)); WR_64(op->r1, v); } NEXT;

    L_PUSH64_R: STORE(uint64_t, cpu->gpr[X86_RSP] - 8, GPR(uint64_t, op->r1)); cpu->gpr[X86_RSP] -= 8; NEXT;
    L_PUSH64_I: STORE(uint64_t, cpu->gpr[X86_RSP] - 8, op->imm); cpu->gpr[X86_RSP] -= 8; NEXT;
    L_PUSH64_M: { uint64_t v = LOAD(uint64_t, op_ea(cpu, op)); STORE(uint64_t, cpu->gpr[X86_RSP] - 8, v);
        cpu->gpr[X86_RSP] -= 8; } NEXT;
    L_POP64_R: { uint64_t v = LOAD(uint64_t, cpu->gpr[X86_RSP]); cpu->gpr[X86_RSP] += 8; WR_64(op->r1, v); } NEXT;

    L_CMOV_R_32: if (cc_test(cpu, op->aux)) { WR_32(op->r1, GPR(uint32_t, op->r2)); } else { WR_32(op->r1, GPR(uint32_t, op->r1)); } NEXT;
    L_CMOV_R_64: if (cc_test(cpu, op->aux)) { WR_64(op->r1, GPR(uint64_t, op->r2)); } NEXT;
    L_CMOV_M_32: { uint32_t v = LOAD(uint32_t, op_ea(cpu, op)); WR_32(op->r1, cc_test(cpu, op->aux) ? v : GPR(uint32_t, op->r1)); } NEXT;
    L_CMOV_M_64: { uint64_t v = LOAD(uint64_t, op_ea(cpu, op)); if (cc_test(cpu, op->aux)) WR_64(op->r1, v); } NEXT;
    L_SETCC_R: WR_8(op->r1, cc_test(cpu, op->aux)); NEXT;
    L_SETCC_M: STORE(uint8_t, op_ea(cpu, op), cc_test(cpu, op->aux)); NEXT;
    L_NOP: NEXT;

    L_MOVUPS_LD: {
        uint64_t lin = op_ea(cpu, op);
        const TlbEntry *e = TLB_ENTRY(lin);

        if (!TLB_HIT(e, rd, lin, 16) || (op->osize & lin)) {
            goto C_simd;
        }
        memcpy(&cpu->fpu.xmm[op->r1], (const void *)(lin + e->addend), 16);
    } NEXT;
    L_MOVUPS_ST: {
        uint64_t lin = op_ea(cpu, op);
        const TlbEntry *e = TLB_ENTRY(lin);

        if (!TLB_HIT(e, wr, lin, 16) || (op->osize & lin)) {
            goto C_simd;
        }
        memcpy((void *)(lin + e->addend), &cpu->fpu.xmm[op->r1], 16);
    } NEXT;

    /* imm: target from the block's start. */
    L_JMP:
    target = cpu->gpr[SLOT_RIP] + op->imm;
    taken = 1;
    goto jump;
    L_JCC:
    taken = cc_test(cpu, op->aux);
    target = cpu->gpr[SLOT_RIP] + (taken ? op->imm : (uint64_t)op[1].off);
    goto jump;
    L_CALL64:
    STORE(uint64_t, cpu->gpr[X86_RSP] - 8, cpu->gpr[SLOT_RIP] + op[1].off);
    cpu->gpr[X86_RSP] -= 8;
    target = cpu->gpr[SLOT_RIP] + op->imm;
    taken = 1;
    goto jump;
    L_RET64:
    target = LOAD(uint64_t, cpu->gpr[X86_RSP]);
    CHECK_CANONICAL(target, x86_raise_gp(cpu, 0));
    cpu->rip = target;
    cpu->gpr[X86_RSP] += 8;
    cpu->rip = target;
    goto find;
    L_JMP64_R:
    target = GPR(uint64_t, op->r1);
    goto jump_indirect;
    L_JMP64_M:
    target = LOAD(uint64_t, op_ea(cpu, op));
jump_indirect:
    CHECK_CANONICAL(target, x86_raise_gp(cpu, 0));
    cpu->rip = target;
    goto find;
    L_CALL64_R:
    target = GPR(uint64_t, op->r1);
    goto call_indirect;
    L_CALL64_M:
    target = LOAD(uint64_t, op_ea(cpu, op));
call_indirect:
    CHECK_CANONICAL(target, x86_raise_bad_call(cpu));
    STORE(uint64_t, cpu->gpr[X86_RSP] - 8, cpu->gpr[SLOT_RIP] + op[1].off);
    cpu->gpr[X86_RSP] -= 8;
    cpu->rip = target;
    goto find;
    /* The block was full or reached the end of its page. */
    L_END:
    target = cpu->gpr[SLOT_RIP] + op->off;
    taken = 0;
    goto jump;
    /* The block was overwritten while it ran: what follows is decoded anew. */
    L_DEAD:
    cpu->insns -= (uint64_t)(block->count - (op - block->ops));
    cpu->rip = cpu->gpr[SLOT_RIP] + op->off;
    goto find;

#define X(n)                                                                                                 \
    C_##n : cpu->op = op;                                                                                    \
    x86_fn_##n(cpu, op);                                                                                     \
    NEXT;
    X86_CALL_OPS(X)
#undef X
#define X(n)                                                                                                 \
    C_##n : cpu->op = op;                                                                                    \
    cpu->rip = cpu->gpr[SLOT_RIP] + op[1].off;                                                       \
    x86_fn_##n(cpu, op);                                                                                     \
    goto find;
    X86_END_OPS(X)
#undef X
}

const void *x86_handler(unsigned id)
{
    if (!handler_table) {
        run_blocks(NULL, false);
    }
    return handler_table[id];
}

void x86_interpret_blocks(X86Cpu *cpu, bool one)
{
    run_blocks(cpu, one);
}
