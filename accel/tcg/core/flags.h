/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lazy arithmetic flags and conditions (SDM vol. 1, 3.4.3.1 and appendix B). */
#ifndef ACCEL_TCG_FLAGS_H
#define ACCEL_TCG_FLAGS_H

#include "accel/tcg/core/state.h"

/* Compiled code stores OF as a byte of its own: with CC_RAW, OF is this bit of cc_b or the one RFLAGS has. */
#define CC_OF_BYTE 0x100u

static inline void cc_set(X86Cpu *cpu, CcOp kind, int64_t a, int64_t b, int64_t res)
{
    cpu->cc_op = kind;
    cpu->cc_a = a;
    cpu->cc_b = b;
    cpu->cc_res = res;
}

static inline void cc_logic(X86Cpu *cpu, int64_t res)
{
    cpu->cc_op = CC_LOGIC;
    cpu->cc_res = res;
}

/* ZF SF PF from res, the others as given. */
static inline void cc_explicit(X86Cpu *cpu, int64_t res, bool cf, bool of, bool af)
{
    cc_set(cpu, CC_EXPL, 0, (cf ? X86_FLAG_CF : 0) | (of ? X86_FLAG_OF : 0) | (af ? X86_FLAG_AF : 0), res);
}

static inline void cc_raw(X86Cpu *cpu, uint32_t flags)
{
    cpu->cc_op = CC_RAW;
    cpu->cc_b = flags & X86_FLAGS_ARITH;
}

static inline bool flag_cf(const X86Cpu *cpu)
{
    switch (cpu->cc_op) {
    case CC_ADD:
        return (uint64_t)cpu->cc_res < (uint64_t)cpu->cc_a;
    case CC_ADC1:
        return (uint64_t)cpu->cc_res <= (uint64_t)cpu->cc_a;
    case CC_SUB:
        return (uint64_t)cpu->cc_a < (uint64_t)cpu->cc_b;
    case CC_SBB1:
        return (uint64_t)cpu->cc_a <= (uint64_t)cpu->cc_b;
    case CC_LOGIC:
        return false;
    case CC_INC:
    case CC_DEC:
        return cpu->cc_c;
    default:
        return cpu->cc_b & X86_FLAG_CF;
    }
}

static inline bool flag_zf(const X86Cpu *cpu)
{
    return cpu->cc_op == CC_RAW ? cpu->cc_b & X86_FLAG_ZF : cpu->cc_res == 0;
}

static inline bool flag_sf(const X86Cpu *cpu)
{
    return cpu->cc_op == CC_RAW ? cpu->cc_b & X86_FLAG_SF : cpu->cc_res < 0;
}

static inline bool flag_of(const X86Cpu *cpu)
{
    switch (cpu->cc_op) {
    case CC_ADD:
    case CC_ADC1:
    case CC_INC:
        return (~(cpu->cc_a ^ cpu->cc_b) & (cpu->cc_a ^ cpu->cc_res)) < 0;
    case CC_SUB:
    case CC_SBB1:
    case CC_DEC:
        return ((cpu->cc_a ^ cpu->cc_b) & (cpu->cc_a ^ cpu->cc_res)) < 0;
    case CC_LOGIC:
        return false;
    default:
        return cpu->cc_b & (X86_FLAG_OF | CC_OF_BYTE);
    }
}

static inline bool flag_af(const X86Cpu *cpu)
{
    switch (cpu->cc_op) {
    case CC_LOGIC:
        return false;
    case CC_RAW:
    case CC_EXPL:
        return cpu->cc_b & X86_FLAG_AF;
    default:
        return ((cpu->cc_a ^ cpu->cc_b ^ cpu->cc_res) >> 4) & 1;
    }
}

static inline bool flag_pf(const X86Cpu *cpu)
{
    return cpu->cc_op == CC_RAW ? cpu->cc_b & X86_FLAG_PF : !__builtin_parity((unsigned)cpu->cc_res & 0xff);
}

static inline bool flag_le(const X86Cpu *cpu)
{
    return cpu->cc_op == CC_SUB ? cpu->cc_a <= cpu->cc_b : flag_zf(cpu) || flag_sf(cpu) != flag_of(cpu);
}

static inline bool flag_lt(const X86Cpu *cpu)
{
    return cpu->cc_op == CC_SUB ? cpu->cc_a < cpu->cc_b : flag_sf(cpu) != flag_of(cpu);
}

/* Condition code 0..15 of Jcc, SETcc, CMOVcc. */
static inline bool cc_test(const X86Cpu *cpu, unsigned cond)
{
    bool val;

    switch (cond >> 1) {
    case 0:
        val = flag_of(cpu);
        break;
    case 1:
        val = flag_cf(cpu);
        break;
    case 2:
        val = flag_zf(cpu);
        break;
    case 3:
        val = flag_cf(cpu) || flag_zf(cpu);
        break;
    case 4:
        val = flag_sf(cpu);
        break;
    case 5:
        val = flag_pf(cpu);
        break;
    case 6:
        val = flag_lt(cpu);
        break;
    default:
        val = flag_le(cpu);
        break;
    }
    return val != (cond & 1);
}

#endif
