/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The operations a guest instruction is decoded into.  _8 .. _64: operand size. */
#ifndef ACCEL_TCG_OPS_H
#define ACCEL_TCG_OPS_H

#include "accel/tcg/core/state.h"

#define X86_SIZES(X, n) X(n##_8) X(n##_16) X(n##_32) X(n##_64)
#define X86_WIDE(X, n) X(n##_16) X(n##_32) X(n##_64)

/* RR: r1 op= r2; RI: r1 op= imm; RM: r1 op= memory; MR: memory op= r1; MI: memory op= imm */
#define X86_ALU_FORMS(X, n) \
    X86_SIZES(X, n##_RR) X86_SIZES(X, n##_RI) X86_SIZES(X, n##_RM) X86_SIZES(X, n##_MR) X86_SIZES(X, n##_MI)

#define X86_FAST_OPS(X) \
    X86_ALU_FORMS(X, ADD) X86_ALU_FORMS(X, OR) X86_ALU_FORMS(X, ADC) X86_ALU_FORMS(X, SBB) X86_ALU_FORMS(X, AND) \
    X86_ALU_FORMS(X, SUB) X86_ALU_FORMS(X, XOR) X86_ALU_FORMS(X, CMP) X86_ALU_FORMS(X, TEST) X86_ALU_FORMS(X, MOV) \
    X86_WIDE(X, LEA) X86_SIZES(X, INC_R) X86_SIZES(X, DEC_R) X86_SIZES(X, INC_M) X86_SIZES(X, DEC_M) \
    X86_SIZES(X, NOT_R) X86_SIZES(X, NEG_R) \
    X86_WIDE(X, SHL_RI) X86_WIDE(X, SHR_RI) X86_WIDE(X, SAR_RI) \
    X(MOVZX8_R) X(MOVZX8_M) X(MOVZX16_R) X(MOVZX16_M) \
    X(MOVSX8_R_32) X(MOVSX8_M_32) X(MOVSX16_R_32) X(MOVSX16_M_32) \
    X(MOVSX8_R_64) X(MOVSX8_M_64) X(MOVSX16_R_64) X(MOVSX16_M_64) X(MOVSXD_R) X(MOVSXD_M) \
    X(PUSH64_R) X(PUSH64_I) X(PUSH64_M) X(POP64_R) X(CMOV_R_32) X(CMOV_R_64) X(CMOV_M_32) X(CMOV_M_64) X(SETCC_R) \
    X(SETCC_M) X(IMUL_RR_32) X(IMUL_RR_64) X(IMUL_RM_32) X(IMUL_RM_64) X(NOP) \
    X(JMP) X(JCC) X(CALL64) X(RET64) X(JMP64_R) X(JMP64_M) X(CALL64_R) X(CALL64_M) X(END) X(DEAD) \
    X(MOVUPS_LD) X(MOVUPS_ST)

/* Plain functions; the second list may change RIP, mode or address space and ends a block. */
#define X86_CALL_OPS(X) \
    X(alu_slow) X(shift) X(shiftd) X(unary) X(imul3) X(mul) X(xchg) X(cmpxchg) X(cmpxchg8b) X(xadd) X(bt) X(bitscan) \
    X(bswap) X(convert) X(movsx16) X(cmov16) X(push) X(pop) X(pusha) X(popa) X(pushf) X(enter_leave) X(flags_op) \
    X(simd) X(fpu) X(fxsave) X(movseg_from) X(xlat) X(bcd) X(movbe) X(crc32) X(sysinfo) X(adx) \
    X(random) X(bound) X(segcheck) X(bmi) X(breakpoint)
#define X86_END_OPS(X) \
    X(string) X(io) X(popf) X(loop) X(jmp_near) X(call_near) X(ret_near) X(far) X(iret) X(intn) X(syscall) X(hlt) X(sti) \
    X(movseg) X(mov_cr) X(msr) X(system) X(ud) X(cpuid_op) X(invpcid)

enum X86OpId {
#define X(n) OP_##n,
    X86_FAST_OPS(X)
#undef X
#define X(n) OP_call_##n,
    X86_CALL_OPS(X) X86_END_OPS(X)
#undef X
    OP_COUNT
};

/* The functions behind the two lists. */
#define X(n) void x86_fn_##n(X86Cpu *cpu, const Op *op);
X86_CALL_OPS(X)
X86_END_OPS(X)
#undef X

#endif
