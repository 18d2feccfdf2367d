/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Moves of whole and partial XMM and MMX registers (Intel SDM vol. 2, MOVAPS
 * to MOVUPD).  Loads of less than 16 bytes clear the rest of the register when
 * they come from memory and merge when they come from another register.
 */
#include "accel/tcg/fpu/fpu-internal.h"

static void mov_clear_above(void *dst, const void *src, size_t bytes)
{
    uint64_t val[2] = {0, 0};

    memcpy(val, src, bytes);
    memcpy(dst, val, sizeof(val));
}

X86SimdFault x86_simd_mov128(X86SimdCtx *ctx, void *dst, const void *src)
{
    x86_vec_store(dst, x86_vec_load(src));
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_mov_low32(X86SimdCtx *ctx, void *dst, const void *src)
{
    memmove(dst, src, 4);
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_mov_low64(X86SimdCtx *ctx, void *dst, const void *src)
{
    memmove(dst, src, 8);
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_movss_load(X86SimdCtx *ctx, void *dst, const void *src)
{
    if (!ctx->src_is_mem) {
        return x86_simd_mov_low32(ctx, dst, src);
    }
    mov_clear_above(dst, src, 4);
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_movsd_load(X86SimdCtx *ctx, void *dst, const void *src)
{
    if (!ctx->src_is_mem) {
        return x86_simd_mov_low64(ctx, dst, src);
    }
    mov_clear_above(dst, src, 8);
    return X86_SIMD_OK;
}

/* MOVQ to a register clears the upper half; to memory it writes 8 bytes. */
X86SimdFault x86_simd_movq(X86SimdCtx *ctx, void *dst, const void *src)
{
    if (ctx->dst_is_mem) {
        return x86_simd_mov_low64(ctx, dst, src);
    }
    mov_clear_above(dst, src, 8);
    return X86_SIMD_OK;
}

/* MOVLPS from memory, MOVHLPS from a register. */
X86SimdFault x86_simd_movlps_load(X86SimdCtx *ctx, void *dst, const void *src)
{
    memmove(dst, ctx->src_is_mem ? src : (const uint8_t *)src + 8, 8);
    return X86_SIMD_OK;
}

/* MOVHPS/MOVHPD from memory, MOVLHPS from a register. */
X86SimdFault x86_simd_movhps_load(X86SimdCtx *ctx, void *dst, const void *src)
{
    memmove((uint8_t *)dst + 8, src, 8);
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_movhps_store(X86SimdCtx *ctx, void *dst, const void *src)
{
    memmove(dst, (const uint8_t *)src + 8, 8);
    return X86_SIMD_OK;
}

X86SimdFault x86_mmx_movq(X86SimdCtx *ctx, void *dst, const void *src)
{
    x86_mmx_store(ctx, dst, x86_mmx_load(src));
    return X86_SIMD_OK;
}
