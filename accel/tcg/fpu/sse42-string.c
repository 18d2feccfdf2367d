/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM (Intel SDM vol. 1, 12.12.4 and
 * vol. 2, 4.1, imm8 control byte operation).  The host's instructions want the
 * control byte as a constant, so the comparison is done here.
 */
#include "accel/tcg/fpu/fpu-internal.h"

enum {
    STR_WORDS = 1 << 0,
    STR_SIGNED = 1 << 1,
    STR_AGGREGATION_SHIFT = 2,
    STR_NEGATE = 1 << 4,
    STR_MASKED = 1 << 5,
    STR_MOST_SIGNIFICANT = 1 << 6, /* of PCMPxSTRI; PCMPxSTRM: one element for each bit */
};

enum { STR_EQUAL_ANY, STR_RANGES, STR_EQUAL_EACH, STR_EQUAL_ORDERED };

/* Both strings, widened, and the number of their valid elements out of `count`. */
typedef struct StrOperands {
    int32_t a[16], b[16];
    unsigned a_len, b_len, count;
} StrOperands;

static void str_widen(int32_t *out, const void *in, unsigned control)
{
    for (unsigned i = 0; i < (control & STR_WORDS ? 8u : 16u); i++) {
        uint16_t word;
        if (control & STR_WORDS) {
            memcpy(&word, (const uint8_t *)in + 2 * i, sizeof(word));
            out[i] = control & STR_SIGNED ? (int16_t)word : word;
        } else {
            const uint8_t byte = ((const uint8_t *)in)[i];
            out[i] = control & STR_SIGNED ? (int8_t)byte : byte;
        }
    }
}

/* The explicit length: the magnitude of a register, saturated. */
static unsigned str_explicit_length(const X86SimdCtx *ctx, uint64_t reg, unsigned count)
{
    const int64_t val = ctx->rexw ? (int64_t)reg : (int32_t)reg;
    const uint64_t magnitude = val < 0 ? -(uint64_t)val : (uint64_t)val;

    return magnitude < count ? (unsigned)magnitude : count;
}

static unsigned str_implicit_length(const int32_t *elements, unsigned count)
{
    unsigned len = 0;

    while (len < count && elements[len]) {
        len++;
    }
    return len;
}

static bool str_equal_any(const StrOperands *s, unsigned j)
{
    for (unsigned i = 0; j < s->b_len && i < s->a_len; i++) {
        if (s->a[i] == s->b[j]) {
            return true;
        }
    }
    return false;
}

static bool str_ranges(const StrOperands *s, unsigned j)
{
    for (unsigned i = 0; j < s->b_len && i + 1 < s->a_len; i += 2) {
        if (s->b[j] >= s->a[i] && s->b[j] <= s->a[i + 1]) {
            return true;
        }
    }
    return false;
}

static bool str_equal_each(const StrOperands *s, unsigned j)
{
    if (j >= s->a_len || j >= s->b_len) {
        return j >= s->a_len && j >= s->b_len;
    }
    return s->a[j] == s->b[j];
}

/* The whole of a is found in b at j, as far as b reaches. */
static bool str_equal_ordered(const StrOperands *s, unsigned j)
{
    for (unsigned i = 0; i < s->a_len && i + j < s->count; i++) {
        if (i + j >= s->b_len || s->a[i] != s->b[i + j]) {
            return false;
        }
    }
    return true;
}

static unsigned str_compare(const StrOperands *s, unsigned control)
{
    static bool (*const aggregations[])(const StrOperands *, unsigned) = {
        [STR_EQUAL_ANY] = str_equal_any,
        [STR_RANGES] = str_ranges,
        [STR_EQUAL_EACH] = str_equal_each,
        [STR_EQUAL_ORDERED] = str_equal_ordered,
    };
    unsigned result = 0;

    for (unsigned j = 0; j < s->count; j++) {
        bool bit = aggregations[control >> STR_AGGREGATION_SHIFT & 3](s, j);
        if ((control & STR_NEGATE) && (!(control & STR_MASKED) || j < s->b_len)) {
            bit = !bit;
        }
        result |= (unsigned)bit << j;
    }
    return result;
}

/* Compares, sets the flags and returns the result bits; *count is the number of elements. */
static unsigned str_run(X86SimdCtx *ctx, const void *a, const void *b, bool is_explicit, unsigned *count)
{
    enum { CF = 1 << 0, ZF = 1 << 6, SF = 1 << 7, OF = 1 << 11, ARITHMETIC = 0x8d5 };
    StrOperands s = {.count = ctx->imm & STR_WORDS ? 8 : 16};
    unsigned result;

    str_widen(s.a, a, ctx->imm);
    str_widen(s.b, b, ctx->imm);
    s.a_len = is_explicit ? str_explicit_length(ctx, ctx->gpr_a, s.count) : str_implicit_length(s.a, s.count);
    s.b_len = is_explicit ? str_explicit_length(ctx, ctx->gpr_d, s.count) : str_implicit_length(s.b, s.count);
    result = str_compare(&s, ctx->imm);
    ctx->eflags &= ~(uint64_t)ARITHMETIC;
    ctx->eflags |= (result ? CF : 0) | (s.b_len < s.count ? ZF : 0) | (s.a_len < s.count ? SF : 0) |
                   (result & 1 ? OF : 0);
    *count = s.count;
    return result;
}

/* The index goes to ECX. */
static X86SimdFault str_index(X86SimdCtx *ctx, const void *a, const void *b, bool is_explicit)
{
    unsigned count, result = str_run(ctx, a, b, is_explicit, &count);

    ctx->write_gpr_c = true;
    if (!result) {
        ctx->gpr_c = count;
    } else if (ctx->imm & STR_MOST_SIGNIFICANT) {
        ctx->gpr_c = 31u - (unsigned)__builtin_clz(result);
    } else {
        ctx->gpr_c = (unsigned)__builtin_ctz(result);
    }
    return X86_SIMD_OK;
}

/* The mask goes to XMM0. */
static X86SimdFault str_mask(X86SimdCtx *ctx, const void *a, const void *b, bool is_explicit)
{
    unsigned count, result = str_run(ctx, a, b, is_explicit, &count);
    uint8_t mask[16] = {(uint8_t)result, (uint8_t)(result >> 8)};

    if (ctx->imm & STR_MOST_SIGNIFICANT) {
        for (unsigned i = 0; i < 16; i++) {
            mask[i] = result >> (i * count / 16) & 1 ? 0xff : 0;
        }
    }
    memcpy(&ctx->fpu->xmm[0], mask, sizeof(mask));
    return X86_SIMD_OK;
}

X86SimdFault x86_simd_pcmpestri(X86SimdCtx *ctx, void *dst, const void *src)
{
    return str_index(ctx, dst, src, true);
}

X86SimdFault x86_simd_pcmpistri(X86SimdCtx *ctx, void *dst, const void *src)
{
    return str_index(ctx, dst, src, false);
}

X86SimdFault x86_simd_pcmpestrm(X86SimdCtx *ctx, void *dst, const void *src)
{
    return str_mask(ctx, dst, src, true);
}

X86SimdFault x86_simd_pcmpistrm(X86SimdCtx *ctx, void *dst, const void *src)
{
    return str_mask(ctx, dst, src, false);
}
