/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Vector instructions with a general register, flags or an odd memory access
 * on one side (Intel SDM vol. 2): MOVD, MOVMSK, PINSR, PEXTR, conversions to
 * and from integers, scalar compares.
 *
 * A general register as destination is 8 bytes of which the core takes 4 or 8.
 */
#include "accel/tcg/fpu/fpu-internal.h"

enum { EFLAGS_CF = 1 << 0, EFLAGS_PF = 1 << 2, EFLAGS_ZF = 1 << 6, EFLAGS_ARITHMETIC = 0x8d5 };

static void gpr_set(void *dst, uint64_t val)
{
    memcpy(dst, &val, sizeof(val));
}

/* MOVD and MOVQ from a general register or memory. */
X86SimdFault x86_simd_movd_load(X86SimdCtx *ctx, void *dst, const void *src)
{
    uint64_t val[2] = {0, 0};

    memcpy(val, src, ctx->rexw ? 8 : 4);
    memcpy(dst, val, sizeof(val));
    return X86_SIMD_OK;
}

X86SimdFault x86_mmx_movd_load(X86SimdCtx *ctx, void *dst, const void *src)
{
    uint64_t val = 0;

    memcpy(&val, src, ctx->rexw ? 8 : 4);
    x86_mmx_store(ctx, dst, x86_mmx_load(&val));
    return X86_SIMD_OK;
}

/* MOVD and MOVQ to a general register or memory, from either kind of vector register. */
X86SimdFault x86_simd_movd_store(X86SimdCtx *ctx, void *dst, const void *src)
{
    memmove(dst, src, 8);
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_movq2dq(X86SimdCtx *ctx, void *dst, const void *src)
{
    x86_vec_store(dst, x86_mmx_load(src));
    return X86_SIMD_OK;
}

#define GPR_MASK(name)                                                                                       \
    X86SimdFault x86_simd_##name(X86SimdCtx *ctx, void *dst, const void *src)                                \
    {                                                                                                        \
        uint32_t mask;                                                                                       \
                                                                                                             \
        __asm__(#name " %1, %0" : "=r"(mask) : "x"(x86_vec_load(src)));                                      \
        gpr_set(dst, mask);                                                                                  \
        return X86_SIMD_OK;                                                                                  \
    }

GPR_MASK(movmskps)
GPR_MASK(movmskpd)
GPR_MASK(pmovmskb)

X86SimdFault x86_mmx_pmovmskb(X86SimdCtx *ctx, void *dst, const void *src)
{
    gpr_set(dst, (unsigned)_mm_movemask_epi8(x86_mmx_load(src)));
    return X86_SIMD_OK;
}

/* Element `index` of `bytes` bytes, zero-extended. */
static X86SimdFault gpr_extract(void *dst, const void *src, unsigned index, unsigned bytes)
{
    uint64_t val = 0;

    memcpy(&val, (const uint8_t *)src + index * bytes, bytes);
    gpr_set(dst, val);
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_pextrb(X86SimdCtx *ctx, void *dst, const void *src)
{
    return gpr_extract(dst, src, ctx->imm & 15, 1);
}

X86SimdFault x86_simd_pextrw(X86SimdCtx *ctx, void *dst, const void *src)
{
    return gpr_extract(dst, src, ctx->imm & 7, 2);
}

X86SimdFault x86_mmx_pextrw(X86SimdCtx *ctx, void *dst, const void *src)
{
    return gpr_extract(dst, src, ctx->imm & 3, 2);
}

/* PEXTRD and PEXTRQ. */
X86SimdFault x86_simd_pextrd(X86SimdCtx *ctx, void *dst, const void *src)
{
    return ctx->rexw ? gpr_extract(dst, src, ctx->imm & 1, 8) : gpr_extract(dst, src, ctx->imm & 3, 4);
}

X86SimdFault x86_simd_extractps(X86SimdCtx *ctx, void *dst, const void *src)
{
    return gpr_extract(dst, src, ctx->imm & 3, 4);
}

static X86SimdFault gpr_insert(void *dst, const void *src, unsigned index, unsigned bytes)
{
    memcpy((uint8_t *)dst + index * bytes, src, bytes);
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_pinsrb(X86SimdCtx *ctx, void *dst, const void *src)
{
    return gpr_insert(dst, src, ctx->imm & 15, 1);
}

X86SimdFault x86_simd_pinsrw(X86SimdCtx *ctx, void *dst, const void *src)
{
    return gpr_insert(dst, src, ctx->imm & 7, 2);
}

X86SimdFault x86_mmx_pinsrw(X86SimdCtx *ctx, void *dst, const void *src)
{
    uint64_t val;

    memcpy(&val, dst, sizeof(val));
    gpr_insert(&val, src, ctx->imm & 3, 2);
    x86_mmx_store(ctx, dst, x86_mmx_load(&val));
    return X86_SIMD_OK;
}

/* PINSRD and PINSRQ. */
X86SimdFault x86_simd_pinsrd(X86SimdCtx *ctx, void *dst, const void *src)
{
    return ctx->rexw ? gpr_insert(dst, src, ctx->imm & 1, 8) : gpr_insert(dst, src, ctx->imm & 3, 4);
}

/* Integer to scalar: inexact is the only exception. */
#define GPR_TO_FP(name)                                                                                      \
    X86SimdFault x86_simd_##name(X86SimdCtx *ctx, void *dst, const void *src)                                \
    {                                                                                                        \
        __m128i d = x86_vec_load(dst);                                                                       \
        uint32_t in = x86_mxcsr_enter(ctx->fpu), out, val32;                                                 \
        uint64_t val64;                                                                                      \
                                                                                                             \
        if (ctx->rexw) {                                                                                     \
            memcpy(&val64, src, sizeof(val64));                                                              \
            __asm__ volatile("ldmxcsr %[in]\n\t" #name "q %[s], %[d]\n\tstmxcsr %[out]"                      \
                             : [d] "+x"(d), [out] "=m"(out)                                                  \
                             : [s] "r"(val64), [in] "m"(in));                                                \
        } else {                                                                                             \
            memcpy(&val32, src, sizeof(val32));                                                              \
            __asm__ volatile("ldmxcsr %[in]\n\t" #name "l %[s], %[d]\n\tstmxcsr %[out]"                      \
                             : [d] "+x"(d), [out] "=m"(out)                                                  \
                             : [s] "r"(val32), [in] "m"(in));                                                \
        }                                                                                                    \
        X86SimdFault fault = x86_mxcsr_leave(ctx->fpu, in, out, d, X86_FP_NO_UNDERFLOW);                     \
        if (fault == X86_SIMD_OK) {                                                                          \
            x86_vec_store(dst, d);                                                                           \
        }                                                                                                    \
        return fault;                                                                                        \
    }

GPR_TO_FP(cvtsi2ss)
GPR_TO_FP(cvtsi2sd)

#define GPR_FROM_FP(name)                                                                                    \
    X86SimdFault x86_simd_##name(X86SimdCtx *ctx, void *dst, const void *src)                                \
    {                                                                                                        \
        __m128i s = x86_vec_load(src);                                                                       \
        uint32_t in = x86_mxcsr_enter(ctx->fpu), out, val32;                                                 \
        uint64_t val;                                                                                        \
                                                                                                             \
        if (ctx->rexw) {                                                                                     \
            __asm__ volatile("ldmxcsr %[in]\n\t" #name " %[s], %q[d]\n\tstmxcsr %[out]"                      \
                             : [d] "=r"(val), [out] "=m"(out)                                                \
                             : [s] "x"(s), [in] "m"(in));                                                    \
        } else {                                                                                             \
            __asm__ volatile("ldmxcsr %[in]\n\t" #name " %[s], %k[d]\n\tstmxcsr %[out]"                      \
                             : [d] "=r"(val32), [out] "=m"(out)                                              \
                             : [s] "x"(s), [in] "m"(in));                                                    \
            val = val32;                                                                                     \
        }                                                                                                    \
        X86SimdFault fault = x86_mxcsr_leave(ctx->fpu, in, out, s, X86_FP_NO_UNDERFLOW);                     \
        if (fault == X86_SIMD_OK) {                                                                          \
            gpr_set(dst, val);                                                                               \
        }                                                                                                    \
        return fault;                                                                                        \
    }

GPR_FROM_FP(cvttss2si)
GPR_FROM_FP(cvttsd2si)
GPR_FROM_FP(cvtss2si)
GPR_FROM_FP(cvtsd2si)

#define GPR_COMPARE(name)                                                                                    \
    X86SimdFault x86_simd_##name(X86SimdCtx *ctx, void *dst, const void *src)                                \
    {                                                                                                        \
        __m128i d = x86_vec_load(dst);                                                                       \
        uint32_t in = x86_mxcsr_enter(ctx->fpu), out;                                                        \
        uint8_t cf, pf, zf;                                                                                  \
                                                                                                             \
        __asm__ volatile("ldmxcsr %[in]\n\t" #name " %[s], %[d]\n\t"                                         \
                         "setc %[cf]\n\tsetp %[pf]\n\tsetz %[zf]\n\tstmxcsr %[out]"                          \
                         : [cf] "=&q"(cf), [pf] "=&q"(pf), [zf] "=&q"(zf), [out] "=m"(out)                   \
                         : [d] "x"(d), [s] "x"(x86_vec_load(src)), [in] "m"(in)                              \
                         : "cc");                                                                            \
        X86SimdFault fault = x86_mxcsr_leave(ctx->fpu, in, out, d, X86_FP_NO_UNDERFLOW);                     \
        if (fault == X86_SIMD_OK) {                                                                          \
            ctx->eflags &= ~(uint64_t)EFLAGS_ARITHMETIC;                                                     \
            ctx->eflags |= (cf ? EFLAGS_CF : 0) | (pf ? EFLAGS_PF : 0) | (zf ? EFLAGS_ZF : 0);               \
        }                                                                                                    \
        return fault;                                                                                        \
    }

GPR_COMPARE(ucomiss)
GPR_COMPARE(ucomisd)
GPR_COMPARE(comiss)
GPR_COMPARE(comisd)
