/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Vector integer and bitwise instructions that raise no exceptions: the XMM
 * forms of SSE2 to SSE4.2 (Intel SDM vol. 2).  Each runs the host's own
 * instruction; x86_simd_lookup() hides those the host does not have.
 */
#include "accel/tcg/fpu/fpu-internal.h"

#define SSE_INT(name)                                                                                        \
    X86SimdFault x86_simd_##name(X86SimdCtx *ctx, void *dst, const void *src)                                \
    {                                                                                                        \
        __m128i d = x86_vec_load(dst);                                                                       \
                                                                                                             \
        __asm__(#name " %1, %0" : "+x"(d) : "x"(x86_vec_load(src)));                                         \
        x86_vec_store(dst, d);                                                                               \
        return X86_SIMD_OK;                                                                                  \
    }

#define SSE_SHIFT_IMM(name)                                                                                  \
    X86SimdFault x86_simd_##name##_imm(X86SimdCtx *ctx, void *dst, const void *src)                          \
    {                                                                                                        \
        __m128i d = x86_vec_load(dst);                                                                       \
                                                                                                             \
        __asm__(#name " %1, %0" : "+x"(d) : "x"(_mm_cvtsi32_si128(ctx->imm)));                               \
        x86_vec_store(dst, d);                                                                               \
        return X86_SIMD_OK;                                                                                  \
    }

SSE_INT(punpcklbw)
SSE_INT(punpcklwd)
SSE_INT(punpckldq)
SSE_INT(punpcklqdq)
SSE_INT(punpckhbw)
SSE_INT(punpckhwd)
SSE_INT(punpckhdq)
SSE_INT(punpckhqdq)
SSE_INT(packsswb)
SSE_INT(packuswb)
SSE_INT(packssdw)
SSE_INT(pcmpgtb)
SSE_INT(pcmpgtw)
SSE_INT(pcmpgtd)
SSE_INT(pcmpeqb)
SSE_INT(pcmpeqw)
SSE_INT(pcmpeqd)
SSE_INT(psrlw)
SSE_INT(psrld)
SSE_INT(psrlq)
SSE_INT(psraw)
SSE_INT(psrad)
SSE_INT(psllw)
SSE_INT(pslld)
SSE_INT(psllq)
SSE_INT(paddb)
SSE_INT(paddw)
SSE_INT(paddd)
SSE_INT(paddq)
SSE_INT(psubb)
SSE_INT(psubw)
SSE_INT(psubd)
SSE_INT(psubq)
SSE_INT(paddsb)
SSE_INT(paddsw)
SSE_INT(paddusb)
SSE_INT(paddusw)
SSE_INT(psubsb)
SSE_INT(psubsw)
SSE_INT(psubusb)
SSE_INT(psubusw)
SSE_INT(pmullw)
SSE_INT(pmulhw)
SSE_INT(pmulhuw)
SSE_INT(pmuludq)
SSE_INT(pmaddwd)
SSE_INT(psadbw)
SSE_INT(pavgb)
SSE_INT(pavgw)
SSE_INT(pminub)
SSE_INT(pminsw)
SSE_INT(pmaxub)
SSE_INT(pmaxsw)
SSE_INT(pand)
SSE_INT(pandn)
SSE_INT(por)
SSE_INT(pxor)

/* Bitwise and permuting instructions of the floating-point kind. */
SSE_INT(andps)
SSE_INT(andpd)
SSE_INT(andnps)
SSE_INT(andnpd)
SSE_INT(orps)
SSE_INT(orpd)
SSE_INT(xorps)
SSE_INT(xorpd)
SSE_INT(unpcklps)
SSE_INT(unpcklpd)
SSE_INT(unpckhps)
SSE_INT(unpckhpd)
SSE_INT(movsldup)
SSE_INT(movshdup)
SSE_INT(movddup)

/* Approximations: neither MXCSR nor exceptions are involved. */
SSE_INT(rsqrtps)
SSE_INT(rsqrtss)
SSE_INT(rcpps)
SSE_INT(rcpss)

/* SSSE3 */
SSE_INT(pshufb)
SSE_INT(phaddw)
SSE_INT(phaddd)
SSE_INT(phaddsw)
SSE_INT(pmaddubsw)
SSE_INT(phsubw)
SSE_INT(phsubd)
SSE_INT(phsubsw)
SSE_INT(psignb)
SSE_INT(psignw)
SSE_INT(psignd)
SSE_INT(pmulhrsw)
SSE_INT(pabsb)
SSE_INT(pabsw)
SSE_INT(pabsd)

/* SSE4.1, SSE4.2 */
SSE_INT(pmovsxbw)
SSE_INT(pmovsxbd)
SSE_INT(pmovsxbq)
SSE_INT(pmovsxwd)
SSE_INT(pmovsxwq)
SSE_INT(pmovsxdq)
SSE_INT(pmovzxbw)
SSE_INT(pmovzxbd)
SSE_INT(pmovzxbq)
SSE_INT(pmovzxwd)
SSE_INT(pmovzxwq)
SSE_INT(pmovzxdq)
SSE_INT(pmuldq)
SSE_INT(pcmpeqq)
SSE_INT(pcmpgtq)
SSE_INT(packusdw)
SSE_INT(pminsb)
SSE_INT(pminsd)
SSE_INT(pminuw)
SSE_INT(pminud)
SSE_INT(pmaxsb)
SSE_INT(pmaxsd)
SSE_INT(pmaxuw)
SSE_INT(pmaxud)
SSE_INT(pmulld)
SSE_INT(phminposuw)

SSE_SHIFT_IMM(psrlw)
SSE_SHIFT_IMM(psrld)
SSE_SHIFT_IMM(psrlq)
SSE_SHIFT_IMM(psraw)
SSE_SHIFT_IMM(psrad)
SSE_SHIFT_IMM(psllw)
SSE_SHIFT_IMM(pslld)
SSE_SHIFT_IMM(psllq)

/* Takes 16 bytes out of `low`:`high` starting at byte `from` (0..32). */
static __m128i int_window(__m128i low, __m128i high, unsigned from)
{
    uint8_t bytes[48] = {0};

    x86_vec_store(bytes, low);
    x86_vec_store(bytes + 16, high);
    return x86_vec_load(bytes + from);
}

static unsigned int_min(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

X86SimdFault x86_simd_psrldq(X86SimdCtx *ctx, void *dst, const void *src)
{
    x86_vec_store(dst, int_window(x86_vec_load(dst), _mm_setzero_si128(), int_min(ctx->imm, 16)));
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_pslldq(X86SimdCtx *ctx, void *dst, const void *src)
{
    x86_vec_store(dst, int_window(_mm_setzero_si128(), x86_vec_load(dst), 16 - int_min(ctx->imm, 16)));
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_palignr(X86SimdCtx *ctx, void *dst, const void *src)
{
    x86_vec_store(dst, int_window(x86_vec_load(src), x86_vec_load(dst), int_min(ctx->imm, 32)));
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_pshufd(X86SimdCtx *ctx, void *dst, const void *src)
{
    uint32_t s[4], d[4];

    memcpy(s, src, sizeof(s));
    for (unsigned i = 0; i < 4; i++) {
        d[i] = s[ctx->imm >> (2 * i) & 3];
    }
    memcpy(dst, d, sizeof(d));
    return X86_SIMD_OK;
}

/* Shuffles the four words at `first`; the other half is copied. */
static void int_shuffle_words(const X86SimdCtx *ctx, void *dst, const void *src, unsigned first)
{
    uint16_t s[8], d[8];

    memcpy(s, src, sizeof(s));
    memcpy(d, s, sizeof(d));
    for (unsigned i = 0; i < 4; i++) {
        d[first + i] = s[first + (ctx->imm >> (2 * i) & 3)];
    }
    memcpy(dst, d, sizeof(d));
}

X86SimdFault x86_simd_pshuflw(X86SimdCtx *ctx, void *dst, const void *src)
{
    int_shuffle_words(ctx, dst, src, 0);
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_pshufhw(X86SimdCtx *ctx, void *dst, const void *src)
{
    int_shuffle_words(ctx, dst, src, 4);
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_shufps(X86SimdCtx *ctx, void *dst, const void *src)
{
    uint32_t s[4], d[4], r[4];

    memcpy(s, src, sizeof(s));
    memcpy(d, dst, sizeof(d));
    for (unsigned i = 0; i < 4; i++) {
        r[i] = (i < 2 ? d : s)[ctx->imm >> (2 * i) & 3];
    }
    memcpy(dst, r, sizeof(r));
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_shufpd(X86SimdCtx *ctx, void *dst, const void *src)
{
    uint64_t s[2], d[2], r[2];

    memcpy(s, src, sizeof(s));
    memcpy(d, dst, sizeof(d));
    r[0] = d[ctx->imm & 1];
    r[1] = s[ctx->imm >> 1 & 1];
    memcpy(dst, r, sizeof(r));
    return X86_SIMD_OK;
}
