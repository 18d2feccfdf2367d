/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SSE, SSE2 and SSE3 floating-point arithmetic, compares and conversions
 * between vector registers (Intel SDM vol. 2; exceptions: vol. 1, 11.5).  The
 * host's instruction runs with every exception masked; flags the guest has
 * unmasked then become #XM with the destination untouched.
 */
#include "accel/tcg/fpu/fpu-internal.h"

/* True when one of the elements that can underflow is a denormal. */
static bool fp_has_denormal(__m128i result, X86FpResult kind)
{
    const unsigned elements = kind == X86_FP_PS ? 4 : kind == X86_FP_PD ? 2 : 1;
    const bool single = kind == X86_FP_PS || kind == X86_FP_SS;
    uint32_t u32[4];
    uint64_t u64[2];

    if (kind == X86_FP_NO_UNDERFLOW) {
        return false;
    }
    x86_vec_store(u32, result);
    x86_vec_store(u64, result);
    for (unsigned i = 0; i < elements; i++) {
        uint64_t magnitude = single ? u32[i] << 1 : u64[i] << 1;
        if (magnitude && !(magnitude >> (single ? 24 : 53))) {
            return true;
        }
    }
    return false;
}

/* PE beside an unmasked overflow or underflow stays that of the masked result. */
X86SimdFault x86_mxcsr_leave_unmasked(X86Fpu *fpu, uint32_t flags, __m128i result, X86FpResult kind)
{
    const uint32_t before = X86_MXCSR_IE | X86_MXCSR_DE | X86_MXCSR_ZE;
    const uint32_t unmasked = ~(fpu->mxcsr >> 7) & X86_MXCSR_FLAGS;

    if (flags & unmasked & before) {
        /* Found before computing: nothing was computed that could overflow or be inexact. */
        flags &= before;
    } else if ((unmasked & X86_MXCSR_UE) && fp_has_denormal(result, kind)) {
        /* Unmasked, a tiny result underflows even when it is exact. */
        flags |= X86_MXCSR_UE;
    }
    fpu->mxcsr |= flags;
    return flags & unmasked ? X86_SIMD_XM : X86_SIMD_OK;
}

/* One instruction between two loads of MXCSR. */
#define FP_RUN(insn, d, s, in, out)                                                                          \
    __asm__ volatile("ldmxcsr %[in_]\n\t" insn " %[s_], %[d_]\n\tstmxcsr %[out_]"                            \
                     : [d_] "+x"(d), [out_] "=m"(out)                                                        \
                     : [s_] "x"(s), [in_] "m"(in))

#define FP_INSN(name, result)                                                                                \
    X86SimdFault x86_simd_##name(X86SimdCtx *ctx, void *dst, const void *src)                                \
    {                                                                                                        \
        __m128i d = x86_vec_load(dst);                                                                       \
        uint32_t in = x86_mxcsr_enter(ctx->fpu), out;                                                        \
                                                                                                             \
        FP_RUN(#name, d, x86_vec_load(src), in, out);                                                        \
        X86SimdFault fault = x86_mxcsr_leave(ctx->fpu, in, out, d, result);                                  \
        if (fault == X86_SIMD_OK) {                                                                          \
            x86_vec_store(dst, d);                                                                           \
        }                                                                                                    \
        return fault;                                                                                        \
    }

#define FP_INSN_4(name)                                                                                      \
    FP_INSN(name##ps, X86_FP_PS)                                                                             \
    FP_INSN(name##pd, X86_FP_PD)                                                                             \
    FP_INSN(name##ss, X86_FP_SS)                                                                             \
    FP_INSN(name##sd, X86_FP_SD)

/* These return one of their operands or a number that cannot be tiny. */
#define FP_INSN_4_NORMAL(name)                                                                               \
    FP_INSN(name##ps, X86_FP_NO_UNDERFLOW)                                                                   \
    FP_INSN(name##pd, X86_FP_NO_UNDERFLOW)                                                                   \
    FP_INSN(name##ss, X86_FP_NO_UNDERFLOW)                                                                   \
    FP_INSN(name##sd, X86_FP_NO_UNDERFLOW)

FP_INSN_4(add)
FP_INSN_4(sub)
FP_INSN_4(mul)
FP_INSN_4(div)
FP_INSN_4_NORMAL(sqrt)
FP_INSN_4_NORMAL(min)
FP_INSN_4_NORMAL(max)

FP_INSN(haddps, X86_FP_PS)
FP_INSN(haddpd, X86_FP_PD)
FP_INSN(hsubps, X86_FP_PS)
FP_INSN(hsubpd, X86_FP_PD)
FP_INSN(addsubps, X86_FP_PS)
FP_INSN(addsubpd, X86_FP_PD)

FP_INSN(cvtps2pd, X86_FP_NO_UNDERFLOW)
FP_INSN(cvtpd2ps, X86_FP_PS)
FP_INSN(cvtss2sd, X86_FP_NO_UNDERFLOW)
FP_INSN(cvtsd2ss, X86_FP_SS)
FP_INSN(cvtdq2ps, X86_FP_NO_UNDERFLOW)
FP_INSN(cvtps2dq, X86_FP_NO_UNDERFLOW)
FP_INSN(cvttps2dq, X86_FP_NO_UNDERFLOW)
FP_INSN(cvtpd2dq, X86_FP_NO_UNDERFLOW)
FP_INSN(cvttpd2dq, X86_FP_NO_UNDERFLOW)
FP_INSN(cvtdq2pd, X86_FP_NO_UNDERFLOW)

/* One host instruction per predicate: bits 2..0 of the immediate, the others are ignored without VEX. */
#define FP_COMPARE_CASE(name, predicate, d, s, in, out)                                                      \
    case predicate:                                                                                          \
        FP_RUN(#name " $" #predicate ",", d, s, in, out);                                                    \
        break;

#define FP_COMPARE(name)                                                                                     \
    X86SimdFault x86_simd_##name(X86SimdCtx *ctx, void *dst, const void *src)                                \
    {                                                                                                        \
        __m128i d = x86_vec_load(dst), s = x86_vec_load(src);                                                \
        uint32_t in = x86_mxcsr_enter(ctx->fpu), out = in;                                                   \
                                                                                                             \
        switch (ctx->imm & 7) {                                                                              \
            FP_COMPARE_CASE(name, 0, d, s, in, out)                                                          \
            FP_COMPARE_CASE(name, 1, d, s, in, out)                                                          \
            FP_COMPARE_CASE(name, 2, d, s, in, out)                                                          \
            FP_COMPARE_CASE(name, 3, d, s, in, out)                                                          \
            FP_COMPARE_CASE(name, 4, d, s, in, out)                                                          \
            FP_COMPARE_CASE(name, 5, d, s, in, out)                                                          \
            FP_COMPARE_CASE(name, 6, d, s, in, out)                                                          \
            FP_COMPARE_CASE(name, 7, d, s, in, out)                                                          \
        }                                                                                                    \
        X86SimdFault fault = x86_mxcsr_leave(ctx->fpu, in, out, d, X86_FP_NO_UNDERFLOW);                     \
        if (fault == X86_SIMD_OK) {                                                                          \
            x86_vec_store(dst, d);                                                                           \
        }                                                                                                    \
        return fault;                                                                                        \
    }

FP_COMPARE(cmpps)
FP_COMPARE(cmppd)
FP_COMPARE(cmpss)
FP_COMPARE(cmpsd)

/* To and from MMX registers: the XMM form of the conversion with the unused half zero. */
#define FP_TO_MMX(name, host, load)                                                                          \
    X86SimdFault x86_simd_##name(X86SimdCtx *ctx, void *dst, const void *src)                                \
    {                                                                                                        \
        __m128i d = _mm_setzero_si128();                                                                     \
        uint32_t in = x86_mxcsr_enter(ctx->fpu), out;                                                        \
                                                                                                             \
        FP_RUN(#host, d, load(src), in, out);                                                                \
        X86SimdFault fault = x86_mxcsr_leave(ctx->fpu, in, out, d, X86_FP_NO_UNDERFLOW);                     \
        if (fault == X86_SIMD_OK) {                                                                          \
            x86_mmx_store(ctx, dst, d);                                                                      \
        }                                                                                                    \
        return fault;                                                                                        \
    }

FP_TO_MMX(cvtps2pi, cvtps2dq, x86_mmx_load)
FP_TO_MMX(cvttps2pi, cvttps2dq, x86_mmx_load)
FP_TO_MMX(cvtpd2pi, cvtpd2dq, x86_vec_load)
FP_TO_MMX(cvttpd2pi, cvttpd2dq, x86_vec_load)

/*
 * Conversions from MMX registers enter MMX state; from memory they do not touch
 * the x87 (SDM vol. 2, CVTPI2PD; processors treat CVTPI2PS alike).
 */
static void fp_enter_mmx(const X86SimdCtx *ctx)
{
    if (!ctx->src_is_mem) {
        ctx->fpu->top = 0;
        ctx->fpu->ftw = 0xff;
    }
}

static bool fp_mmx_pending(const X86SimdCtx *ctx)
{
    return !ctx->src_is_mem && x86_fpu_pending(ctx->fpu);
}

X86SimdFault x86_simd_cvtpi2ps(X86SimdCtx *ctx, void *dst, const void *src)
{
    __m128i d = _mm_setzero_si128();
    uint32_t in = x86_mxcsr_enter(ctx->fpu), out;

    if (fp_mmx_pending(ctx)) {
        return X86_SIMD_MF;
    }
    FP_RUN("cvtdq2ps", d, x86_mmx_load(src), in, out);
    fp_enter_mmx(ctx); /* even when #XM follows */
    X86SimdFault fault = x86_mxcsr_leave(ctx->fpu, in, out, d, X86_FP_NO_UNDERFLOW);
    if (fault == X86_SIMD_OK) {
        _mm_storel_epi64(dst, d);
    }
    return fault;
}

X86SimdFault x86_simd_cvtpi2pd(X86SimdCtx *ctx, void *dst, const void *src)
{
    if (fp_mmx_pending(ctx)) {
        return X86_SIMD_MF;
    }
    fp_enter_mmx(ctx);
    x86_vec_store(dst, _mm_castpd_si128(_mm_cvtepi32_pd(x86_mmx_load(src))));
    return X86_SIMD_OK;
}
