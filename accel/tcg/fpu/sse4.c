/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SSE4.1 instructions with an immediate, an implicit mask or flags (Intel SDM
 * vol. 2).  The immediate of the host's instruction must be a constant, so the
 * variable part is done around it.
 */
#include "accel/tcg/fpu/fpu-internal.h"

/* Blends by a mask in XMM0. */
#define SSE4_BLENDV(name)                                                                                    \
    X86SimdFault x86_simd_##name(X86SimdCtx *ctx, void *dst, const void *src)                                \
    {                                                                                                        \
        __m128i d = x86_vec_load(dst);                                                                       \
                                                                                                             \
        __asm__(#name " %%xmm0, %1, %0"                                                                      \
                : "+x"(d)                                                                                    \
                : "x"(x86_vec_load(src)), "Yz"(x86_vec_load(&ctx->fpu->xmm[0])));                            \
        x86_vec_store(dst, d);                                                                               \
        return X86_SIMD_OK;                                                                                  \
    }

SSE4_BLENDV(pblendvb)
SSE4_BLENDV(blendvps)
SSE4_BLENDV(blendvpd)

/* Copies element i of `bytes` bytes from src where bit i of the immediate is set. */
static void sse4_blend(const X86SimdCtx *ctx, void *dst, const void *src, unsigned bytes)
{
    for (unsigned i = 0; i < 16 / bytes; i++) {
        if (ctx->imm >> i & 1) {
            memmove((uint8_t *)dst + i * bytes, (const uint8_t *)src + i * bytes, bytes);
        }
    }
}

X86SimdFault x86_simd_blendps(X86SimdCtx *ctx, void *dst, const void *src)
{
    sse4_blend(ctx, dst, src, 4);
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_blendpd(X86SimdCtx *ctx, void *dst, const void *src)
{
    sse4_blend(ctx, dst, src, 8);
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_pblendw(X86SimdCtx *ctx, void *dst, const void *src)
{
    sse4_blend(ctx, dst, src, 2);
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_ptest(X86SimdCtx *ctx, void *dst, const void *src)
{
    enum { CF = 1 << 0, ZF = 1 << 6, ARITHMETIC = 0x8d5 };
    uint64_t d[2], s[2];

    memcpy(d, dst, sizeof(d));
    memcpy(s, src, sizeof(s));
    ctx->eflags &= ~(uint64_t)ARITHMETIC;
    if (!((d[0] & s[0]) | (d[1] & s[1]))) {
        ctx->eflags |= ZF;
    }
    if (!((~d[0] & s[0]) | (~d[1] & s[1]))) {
        ctx->eflags |= CF;
    }
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_insertps(X86SimdCtx *ctx, void *dst, const void *src)
{
    uint32_t d[4], val;

    memcpy(d, dst, sizeof(d));
    memcpy(&val, (const uint8_t *)src + (ctx->src_is_mem ? 0 : 4 * (ctx->imm >> 6)), sizeof(val));
    d[ctx->imm >> 4 & 3] = val;
    for (unsigned i = 0; i < 4; i++) {
        if (ctx->imm >> i & 1) {
            d[i] = 0;
        }
    }
    memcpy(dst, d, sizeof(d));
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_mpsadbw(X86SimdCtx *ctx, void *dst, const void *src)
{
    const unsigned dst_first = ctx->imm >> 2 & 1 ? 4 : 0, src_first = 4 * (ctx->imm & 3);
    uint8_t d[16], s[16];
    uint16_t sums[8];

    memcpy(d, dst, sizeof(d));
    memcpy(s, src, sizeof(s));
    for (unsigned i = 0; i < 8; i++) {
        unsigned sum = 0;
        for (unsigned k = 0; k < 4; k++) {
            int diff = (int)d[dst_first + i + k] - (int)s[src_first + k];
            sum += (unsigned)(diff < 0 ? -diff : diff);
        }
        sums[i] = (uint16_t)sum;
    }
    memcpy(dst, sums, sizeof(sums));
    return X86_SIMD_OK;
}

/* All ones in the elements of `bytes` bytes whose bit is set in `bits`. */
static __m128i sse4_mask(unsigned bits, unsigned bytes)
{
    uint8_t mask[16];

    for (unsigned i = 0; i < 16; i++) {
        mask[i] = bits >> (i / bytes) & 1 ? 0xff : 0;
    }
    return x86_vec_load(mask);
}

/* One step of a dot product on its own, for its exceptions. */
#define SSE4_STAGE(name, result)                                                                             \
    static X86SimdFault sse4_stage_##name(X86Fpu *fpu, __m128i *d, __m128i s)                                \
    {                                                                                                        \
        uint32_t in = x86_mxcsr_enter(fpu), out;                                                             \
                                                                                                             \
        __asm__ volatile("ldmxcsr %[in]\n\t" #name " %[s], %[d]\n\tstmxcsr %[out]"                           \
                         : [d] "+x"(*d), [out] "=m"(out)                                                     \
                         : [s] "x"(s), [in] "m"(in));                                                        \
        return x86_mxcsr_leave(fpu, in, out, *d, result);                                                    \
    }

SSE4_STAGE(mulps, X86_FP_PS)
SSE4_STAGE(haddps, X86_FP_PS)
SSE4_STAGE(mulpd, X86_FP_PD)

/* An unmasked exception of the products or partial sums hides those of later steps. */
static X86SimdFault sse4_stages_dpps(X86Fpu *fpu, __m128i d, __m128i s)
{
    X86SimdFault fault = sse4_stage_mulps(fpu, &d, s);

    return fault == X86_SIMD_OK ? sse4_stage_haddps(fpu, &d, d) : fault;
}

static X86SimdFault sse4_stages_dppd(X86Fpu *fpu, __m128i d, __m128i s)
{
    return sse4_stage_mulpd(fpu, &d, s);
}

/*
 * Dot products.  A product that is not selected counts as +0, which is what a
 * product of two zeroes gives without raising a flag.
 */
#define SSE4_DOT(name, full, bytes, result)                                                                  \
    X86SimdFault x86_simd_##name(X86SimdCtx *ctx, void *dst, const void *src)                                \
    {                                                                                                        \
        const __m128i in_mask = sse4_mask(ctx->imm >> 4, bytes), out_mask = sse4_mask(ctx->imm & 15, bytes); \
        __m128i d = _mm_and_si128(x86_vec_load(dst), in_mask);                                               \
        __m128i s = _mm_and_si128(x86_vec_load(src), in_mask);                                               \
        uint32_t in = x86_mxcsr_enter(ctx->fpu), out;                                                        \
                                                                                                             \
        if ((ctx->fpu->mxcsr & X86_MXCSR_MASKS) != X86_MXCSR_MASKS) {                                        \
            X86SimdFault staged = sse4_stages_##name(ctx->fpu, d, s);                                        \
            if (staged != X86_SIMD_OK) {                                                                     \
                return staged;                                                                               \
            }                                                                                                \
        }                                                                                                    \
        __asm__ volatile("ldmxcsr %[in]\n\t" #name " $" #full ", %[s], %[d]\n\tstmxcsr %[out]"               \
                         : [d] "+x"(d), [out] "=m"(out)                                                      \
                         : [s] "x"(s), [in] "m"(in));                                                        \
        X86SimdFault fault = x86_mxcsr_leave(ctx->fpu, in, out, d, result);                                  \
        if (fault == X86_SIMD_OK) {                                                                          \
            x86_vec_store(dst, _mm_and_si128(d, out_mask));                                                  \
        }                                                                                                    \
        return fault;                                                                                        \
    }

SSE4_DOT(dpps, 0xff, 4, X86_FP_PS)
SSE4_DOT(dppd, 0x33, 8, X86_FP_PD)

/* MXCSR with the immediate's rounding mode unless it asks for MXCSR's own. */
static uint32_t sse4_round_enter(const X86SimdCtx *ctx)
{
    uint32_t in = x86_mxcsr_enter(ctx->fpu);

    if (!(ctx->imm & 4)) {
        in = (in & ~(uint32_t)X86_MXCSR_RC) | (uint32_t)(ctx->imm & 3) << X86_MXCSR_RC_SHIFT;
    }
    return in;
}

#define SSE4_ROUND(name)                                                                                     \
    X86SimdFault x86_simd_##name(X86SimdCtx *ctx, void *dst, const void *src)                                \
    {                                                                                                        \
        __m128i d = x86_vec_load(dst);                                                                       \
        uint32_t in = sse4_round_enter(ctx), out;                                                            \
                                                                                                             \
        __asm__ volatile("ldmxcsr %[in]\n\t" #name " $4, %[s], %[d]\n\tstmxcsr %[out]"                       \
                         : [d] "+x"(d), [out] "=m"(out)                                                      \
                         : [s] "x"(x86_vec_load(src)), [in] "m"(in));                                        \
        if (ctx->imm & 8) {                                                                                  \
            out &= ~(uint32_t)X86_MXCSR_PE;                                                                  \
        }                                                                                                    \
        X86SimdFault fault = x86_mxcsr_leave(ctx->fpu, in, out, d, X86_FP_NO_UNDERFLOW);                     \
        if (fault == X86_SIMD_OK) {                                                                          \
            x86_vec_store(dst, d);                                                                           \
        }                                                                                                    \
        return fault;                                                                                        \
    }

SSE4_ROUND(roundps)
SSE4_ROUND(roundpd)
SSE4_ROUND(roundss)
SSE4_ROUND(roundsd)
