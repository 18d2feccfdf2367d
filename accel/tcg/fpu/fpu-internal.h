/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the vector instruction files share: loads and stores of operands, and
 * the passage into the guest's MXCSR and back (Intel SDM vol. 1, 11.5: SIMD
 * floating-point exceptions).
 */
#ifndef ACCEL_TCG_FPU_INTERNAL_H
#define ACCEL_TCG_FPU_INTERNAL_H

#include <emmintrin.h>
#include <string.h>

#include "accel/tcg/simd.h"

enum {
    X86_MXCSR_IE = 1 << 0,
    X86_MXCSR_DE = 1 << 1,
    X86_MXCSR_ZE = 1 << 2,
    X86_MXCSR_OE = 1 << 3,
    X86_MXCSR_UE = 1 << 4,
    X86_MXCSR_PE = 1 << 5,
    X86_MXCSR_FLAGS = 0x3f,
    X86_MXCSR_DAZ = 1 << 6,
    X86_MXCSR_MASKS = 0x3f << 7,
    X86_MXCSR_UM = X86_MXCSR_UE << 7,
    X86_MXCSR_RC_SHIFT = 13,
    X86_MXCSR_RC = 3 << X86_MXCSR_RC_SHIFT,
    X86_MXCSR_FTZ = 1 << 15,
    X86_MXCSR_DEFAULT = 0x1f80,
};

enum {
    X86_FSW_IE = 1 << 0,
    X86_FSW_DE = 1 << 1,
    X86_FSW_ZE = 1 << 2,
    X86_FSW_OE = 1 << 3,
    X86_FSW_UE = 1 << 4,
    X86_FSW_PE = 1 << 5,
    X86_FSW_FLAGS = 0x3f,
    X86_FSW_SF = 1 << 6,
    X86_FSW_ES = 1 << 7,
    X86_FSW_C0 = 1 << 8,
    X86_FSW_C1 = 1 << 9,
    X86_FSW_C2 = 1 << 10,
    X86_FSW_TOP_SHIFT = 11,
    X86_FSW_TOP = 7 << X86_FSW_TOP_SHIFT,
    X86_FSW_C3 = 1 << 14,
    X86_FSW_B = 1 << 15,
    X86_FCW_DEFAULT = 0x037f,
};

/* Elements of a result that can underflow; see x86_mxcsr_leave(). */
typedef enum X86FpResult {
    X86_FP_NO_UNDERFLOW,
    X86_FP_SS,
    X86_FP_PS,
    X86_FP_SD,
    X86_FP_PD,
} X86FpResult;

static inline __m128i x86_vec_load(const void *p)
{
    return _mm_loadu_si128(p);
}

static inline void x86_vec_store(void *p, __m128i v)
{
    _mm_storeu_si128(p, v);
}

/* An MMX operand in the low half; the upper half is zero. */
static inline __m128i x86_mmx_load(const void *p)
{
    return _mm_loadl_epi64(p);
}

/* Writing an MMX register also sets the exponent and sign of its x87 register to ones (SDM vol. 1, 9.6.2). */
static inline void x86_mmx_store(const X86SimdCtx *ctx, void *p, __m128i v)
{
    _mm_storel_epi64(p, v);
    if (!ctx->dst_is_mem) {
        memset((uint8_t *)p + 8, 0xff, 2);
    }
}

/* The host's MXCSR for one guest operation: everything masked, no flags, the guest's rounding, DAZ and FTZ.
 */
static inline uint32_t x86_mxcsr_enter(const X86Fpu *fpu)
{
    uint32_t host = (fpu->mxcsr & ~(uint32_t)X86_MXCSR_FLAGS) | X86_MXCSR_MASKS;

    /* FTZ has no effect while underflow is unmasked. */
    if (__builtin_expect(!(fpu->mxcsr & X86_MXCSR_UM), 0)) {
        host &= ~(uint32_t)X86_MXCSR_FTZ;
    }
    return host;
}

X86SimdFault x86_mxcsr_leave_unmasked(X86Fpu *fpu, uint32_t flags, __m128i result, X86FpResult kind);

/*
 * Merges the flags of an operation that ran with MXCSR `in` and left `out`;
 * X86_SIMD_XM when the guest has one of them unmasked.
 */
static inline X86SimdFault x86_mxcsr_leave(X86Fpu *fpu, uint32_t in, uint32_t out, __m128i result,
                                           X86FpResult kind)
{
    if (__builtin_expect(in != X86_MXCSR_DEFAULT, 0)) {
        _mm_setcsr(X86_MXCSR_DEFAULT);
    }
    if (__builtin_expect((fpu->mxcsr & X86_MXCSR_MASKS) == X86_MXCSR_MASKS, 1)) {
        fpu->mxcsr |= out & X86_MXCSR_FLAGS;
        return X86_SIMD_OK;
    }
    return x86_mxcsr_leave_unmasked(fpu, out & X86_MXCSR_FLAGS, result, kind);
}

/* Sets or clears ES and B from the flags and masks. */
void x86_fpu_update_es(X86Fpu *fpu);

/* Declares every function of the instruction list. */
#define X86_INSN(map, pfx, op, name, fn, dst, src, mem, flags, feat) X86SimdFn fn;
#define X86_SHIFT_INSN(op, pfx, reg, name, fn, dst, feat)            X86SimdFn fn;
#include "accel/tcg/fpu/simd-insns.def"
#undef X86_INSN
#undef X86_SHIFT_INSN

#endif
