/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MMX instructions (Intel SDM vol. 2; MMX, SSE, SSE2 and SSSE3 forms on MMX
 * registers).  They run as the host's XMM instruction on the low half of a
 * register, so that the host's x87 state is never disturbed.
 */
#include "accel/tcg/fpu/fpu-internal.h"

/* The low half of the XMM result is the MMX result. */
#define MMX_INT(name)                                                                                        \
    X86SimdFault x86_mmx_##name(X86SimdCtx *ctx, void *dst, const void *src)                                 \
    {                                                                                                        \
        __m128i d = x86_mmx_load(dst);                                                                       \
                                                                                                             \
        __asm__(#name " %1, %0" : "+x"(d) : "x"(x86_mmx_load(src)));                                         \
        x86_mmx_store(ctx, dst, d);                                                                          \
        return X86_SIMD_OK;                                                                                  \
    }

/* Both operands side by side in one register: packs and horizontal operations. */
#define MMX_PAIR(name)                                                                                       \
    X86SimdFault x86_mmx_##name(X86SimdCtx *ctx, void *dst, const void *src)                                 \
    {                                                                                                        \
        __m128i d = _mm_unpacklo_epi64(x86_mmx_load(dst), x86_mmx_load(src));                                \
                                                                                                             \
        __asm__(#name " %0, %0" : "+x"(d));                                                                  \
        x86_mmx_store(ctx, dst, d);                                                                          \
        return X86_SIMD_OK;                                                                                  \
    }

/* Interleaving the upper halves is the upper half of interleaving everything. */
#define MMX_UNPACK_HIGH(name, low)                                                                           \
    X86SimdFault x86_mmx_##name(X86SimdCtx *ctx, void *dst, const void *src)                                 \
    {                                                                                                        \
        __m128i d = x86_mmx_load(dst);                                                                       \
                                                                                                             \
        __asm__(#low " %1, %0" : "+x"(d) : "x"(x86_mmx_load(src)));                                          \
        x86_mmx_store(ctx, dst, _mm_unpackhi_epi64(d, d));                                                   \
        return X86_SIMD_OK;                                                                                  \
    }

#define MMX_SHIFT_IMM(name)                                                                                  \
    X86SimdFault x86_mmx_##name##_imm(X86SimdCtx *ctx, void *dst, const void *src)                           \
    {                                                                                                        \
        __m128i d = x86_mmx_load(dst);                                                                       \
                                                                                                             \
        __asm__(#name " %1, %0" : "+x"(d) : "x"(_mm_cvtsi32_si128(ctx->imm)));                               \
        x86_mmx_store(ctx, dst, d);                                                                          \
        return X86_SIMD_OK;                                                                                  \
    }

MMX_INT(punpcklbw)
MMX_INT(punpcklwd)
MMX_INT(punpckldq)
MMX_UNPACK_HIGH(punpckhbw, punpcklbw)
MMX_UNPACK_HIGH(punpckhwd, punpcklwd)
MMX_UNPACK_HIGH(punpckhdq, punpckldq)
MMX_PAIR(packsswb)
MMX_PAIR(packuswb)
MMX_PAIR(packssdw)
MMX_INT(pcmpgtb)
MMX_INT(pcmpgtw)
MMX_INT(pcmpgtd)
MMX_INT(pcmpeqb)
MMX_INT(pcmpeqw)
MMX_INT(pcmpeqd)
MMX_INT(psrlw)
MMX_INT(psrld)
MMX_INT(psrlq)
MMX_INT(psraw)
MMX_INT(psrad)
MMX_INT(psllw)
MMX_INT(pslld)
MMX_INT(psllq)
MMX_INT(paddb)
MMX_INT(paddw)
MMX_INT(paddd)
MMX_INT(paddq)
MMX_INT(psubb)
MMX_INT(psubw)
MMX_INT(psubd)
MMX_INT(psubq)
MMX_INT(paddsb)
MMX_INT(paddsw)
MMX_INT(paddusb)
MMX_INT(paddusw)
MMX_INT(psubsb)
MMX_INT(psubsw)
MMX_INT(psubusb)
MMX_INT(psubusw)
MMX_INT(pmullw)
MMX_INT(pmulhw)
MMX_INT(pmulhuw)
MMX_INT(pmuludq)
MMX_INT(pmaddwd)
MMX_INT(psadbw)
MMX_INT(pavgb)
MMX_INT(pavgw)
MMX_INT(pminub)
MMX_INT(pminsw)
MMX_INT(pmaxub)
MMX_INT(pmaxsw)
MMX_INT(pand)
MMX_INT(pandn)
MMX_INT(por)
MMX_INT(pxor)

MMX_PAIR(phaddw)
MMX_PAIR(phaddd)
MMX_PAIR(phaddsw)
MMX_PAIR(phsubw)
MMX_PAIR(phsubd)
MMX_PAIR(phsubsw)
MMX_INT(pmaddubsw)
MMX_INT(psignb)
MMX_INT(psignw)
MMX_INT(psignd)
MMX_INT(pmulhrsw)
MMX_INT(pabsb)
MMX_INT(pabsw)
MMX_INT(pabsd)

MMX_SHIFT_IMM(psrlw)
MMX_SHIFT_IMM(psrld)
MMX_SHIFT_IMM(psrlq)
MMX_SHIFT_IMM(psraw)
MMX_SHIFT_IMM(psrad)
MMX_SHIFT_IMM(psllw)
MMX_SHIFT_IMM(pslld)
MMX_SHIFT_IMM(psllq)

X86SimdFault x86_mmx_pshufb(X86SimdCtx *ctx, void *dst, const void *src)
{
    __m128i d = x86_mmx_load(dst);
    /* Three index bits, not four. */
    __m128i index = _mm_and_si128(x86_mmx_load(src), _mm_set1_epi8((char)0x87));

    __asm__("pshufb %1, %0" : "+x"(d) : "x"(index));
    x86_mmx_store(ctx, dst, d);
    return X86_SIMD_OK;
}

X86SimdFault x86_mmx_pshufw(X86SimdCtx *ctx, void *dst, const void *src)
{
    uint16_t s[4], d[4];

    memcpy(s, src, sizeof(s));
    for (unsigned i = 0; i < 4; i++) {
        d[i] = s[ctx->imm >> (2 * i) & 3];
    }
    x86_mmx_store(ctx, dst, x86_mmx_load(d));
    return X86_SIMD_OK;
}

X86SimdFault x86_mmx_palignr(X86SimdCtx *ctx, void *dst, const void *src)
{
    uint8_t bytes[24] = {0};
    unsigned from = ctx->imm < 16 ? ctx->imm : 16;

    memcpy(bytes, src, 8);
    memcpy(bytes + 8, dst, 8);
    x86_mmx_store(ctx, dst, x86_mmx_load(bytes + from));
    return X86_SIMD_OK;
}
