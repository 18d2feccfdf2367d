/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AES-NI and PCLMULQDQ (Intel SDM vol. 2) on the host's instructions.
 */
#include "accel/tcg/fpu/fpu-internal.h"

#define AES_INSN(name)                                                                                       \
    X86SimdFault x86_simd_##name(X86SimdCtx *ctx, void *dst, const void *src)                                \
    {                                                                                                        \
        __m128i d = x86_vec_load(dst);                                                                       \
                                                                                                             \
        __asm__(#name " %1, %0" : "+x"(d) : "x"(x86_vec_load(src)));                                         \
        x86_vec_store(dst, d);                                                                               \
        return X86_SIMD_OK;                                                                                  \
    }

AES_INSN(aesimc)
AES_INSN(aesenc)
AES_INSN(aesenclast)
AES_INSN(aesdec)
AES_INSN(aesdeclast)

X86SimdFault x86_simd_aeskeygenassist(X86SimdCtx *ctx, void *dst, const void *src)
{
    __m128i d;

    __asm__("aeskeygenassist $0, %1, %0" : "=x"(d) : "x"(x86_vec_load(src)));
    /* The round constant is only exclusive-ored into doublewords 1 and 3. */
    x86_vec_store(dst, _mm_xor_si128(d, _mm_set_epi32(ctx->imm, 0, ctx->imm, 0)));
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_pclmulqdq(X86SimdCtx *ctx, void *dst, const void *src)
{
    __m128i d = x86_mmx_load((const uint8_t *)dst + (ctx->imm & 0x01 ? 8 : 0));
    __m128i s = x86_mmx_load((const uint8_t *)src + (ctx->imm & 0x10 ? 8 : 0));

    __asm__("pclmulqdq $0, %1, %0" : "+x"(d) : "x"(s));
    x86_vec_store(dst, d);
    return X86_SIMD_OK;
}
