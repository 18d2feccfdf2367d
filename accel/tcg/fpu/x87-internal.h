/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The x87 register stack: access by ST(i), tags, flags and stack faults (Intel
 * SDM vol. 1, chapter 8).  Values are computed by the host's x87, see
 * x87-host.h; everything about the stack is done here.
 */
#ifndef ACCEL_TCG_X87_INTERNAL_H
#define ACCEL_TCG_X87_INTERNAL_H

#include "accel/tcg/fpu/fpu-internal.h"

enum {
    X87_TOP_OF_RUN = 6, /* TOP after x87_host_* has loaded its two operands */
    X87_CC = X86_FSW_C0 | X86_FSW_C1 | X86_FSW_C2 | X86_FSW_C3,
    X87_CC_COMPARE = X86_FSW_C0 | X86_FSW_C2 | X86_FSW_C3,
    /* Unmasked, these leave the operands as they were. */
    X87_BEFORE = X86_FSW_IE | X86_FSW_DE | X86_FSW_ZE,
    /* Unmasked, these leave a memory destination as it was. */
    X87_NO_STORE = X86_FSW_IE | X86_FSW_OE | X86_FSW_UE,
};

static inline X86Fp80 *x87_st(X86Fpu *fpu, unsigned i)
{
    return &fpu->st[(fpu->top + i) & 7];
}

static inline bool x87_is_empty(const X86Fpu *fpu, unsigned i)
{
    return !(fpu->ftw >> ((fpu->top + i) & 7) & 1);
}

/* Gives ST(i) a value: ten bytes, so that sources may be memory images. */
static inline void x87_set(X86Fpu *fpu, unsigned i, const void *value)
{
    memmove(x87_st(fpu, i), value, 10);
    fpu->ftw |= (uint8_t)(1u << ((fpu->top + i) & 7));
}

static inline void x87_set_parts(X86Fpu *fpu, unsigned i, uint16_t sign_exp, uint64_t mantissa)
{
    X86Fp80 *st = x87_st(fpu, i);

    st->f.sign_exp = sign_exp;
    st->f.mantissa = mantissa;
    fpu->ftw |= (uint8_t)(1u << ((fpu->top + i) & 7));
}

/* The QNaN that masked invalid operations and stack faults give. */
static inline void x87_set_indefinite(X86Fpu *fpu, unsigned i)
{
    x87_set_parts(fpu, i, 0xffff, UINT64_C(0xc000000000000000));
}

static inline void x87_pop(X86Fpu *fpu)
{
    fpu->ftw &= (uint8_t) ~(1u << fpu->top);
    fpu->top = (fpu->top + 1) & 7;
}

/* Makes room; the new ST(0) is empty until it is set. */
static inline void x87_push(X86Fpu *fpu)
{
    fpu->top = (fpu->top - 1) & 7;
}

/* Adds exception flags; true when one of those in `stop` is unmasked. */
static inline bool x87_raise(X86Fpu *fpu, unsigned flags, unsigned stop)
{
    fpu->fsw |= (uint16_t)flags;
    if (__builtin_expect(flags & ~(unsigned)fpu->fcw & X86_FSW_FLAGS, 0)) {
        fpu->fsw |= X86_FSW_ES | X86_FSW_B;
        return flags & ~(unsigned)fpu->fcw & stop;
    }
    return false;
}

/* Takes over flags and C1 of an operation on the host; true when an unmasked one of `stop` suppresses its
 * result. */
static inline bool x87_commit(X86Fpu *fpu, unsigned sw, unsigned stop)
{
    fpu->fsw = (uint16_t)((fpu->fsw & ~X86_FSW_C1) | (sw & X86_FSW_C1));
    return x87_raise(fpu, sw & X86_FSW_FLAGS, stop);
}

/* Stack underflow (C1 clear); true when it is unmasked and nothing may change. */
static inline bool x87_underflow(X86Fpu *fpu)
{
    fpu->fsw &= (uint16_t)~X86_FSW_C1;
    return x87_raise(fpu, X86_FSW_IE | X86_FSW_SF, X86_FSW_IE);
}

/* Stack overflow (C1 set). */
static inline bool x87_overflow(X86Fpu *fpu)
{
    fpu->fsw |= X86_FSW_C1;
    return x87_raise(fpu, X86_FSW_IE | X86_FSW_SF, X86_FSW_IE);
}

/* Every non-control instruction begins so: pointers recorded. */
static inline X86Fpu *x87_begin(const X86FpuCtx *ctx)
{
    X86Fpu *fpu = ctx->fpu;

    fpu->fip = ctx->fip;
    fpu->fcs = ctx->fcs;
    fpu->fop = (uint16_t)((ctx->opcode & 7) << 8 | ctx->modrm);
    if (ctx->modrm < 0xc0) {
        fpu->fdp = ctx->fdp;
        fpu->fds = ctx->fds;
    }
    return fpu;
}

static inline void x87_clear_c1(X86Fpu *fpu)
{
    fpu->fsw &= (uint16_t)~X86_FSW_C1;
}

/* Reserved bits of the control word: 6 is always one, 7 and 13 to 15 zero. */
static inline uint16_t x87_valid_fcw(uint16_t fcw)
{
    return (uint16_t)((fcw & 0x1f7f) | 0x40);
}

/* x87-arith.c */
X86FpuFn x87_arith_mem, x87_arith_reg, x87_com, x87_ucom, x87_compp, x87_comi, x87_ftst;
/* x87-function.c */
X86FpuFn x87_unary, x87_binary, x87_push_function;
/* x87.c */
X86FpuFn x87_fld_f32, x87_fld_f64, x87_fld_f80, x87_fild_i16, x87_fild_i32, x87_fild_i64, x87_fbld;
X86FpuFn x87_store_mem, x87_fstp_f80;
X86FpuFn x87_fld_st, x87_fst_st, x87_fxch, x87_fcmov, x87_fld_constant, x87_fchs, x87_fabs, x87_fxam;
X86FpuFn x87_fincstp, x87_fdecstp, x87_ffree, x87_ffreep, x87_fnop;
X86FpuFn x87_fldcw, x87_fnstcw, x87_fnstsw, x87_fnstsw_ax, x87_fnclex, x87_fninit;
/* x87-env.c */
X86FpuFn x87_fnstenv, x87_fldenv, x87_fnsave, x87_frstor;

#endif
