/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87 functions of D9 E0..FF: square root, remainders, scaling, rounding and
 * the transcendental ones (Intel SDM vol. 1, 8.3.7 to 8.3.10), all computed by
 * the host.
 */
#include "accel/tcg/fpu/x87-host.h"

typedef uint16_t X87HostFn(const X86Fpu *fpu, const X86Fp80 *a, const X86Fp80 *b, X86Fp80 result[2]);

X87_HOST_FUNCTION(host_f2xm1, "f2xm1")
X87_HOST_FUNCTION(host_fyl2x, "fyl2x")
X87_HOST_FUNCTION(host_fptan, "fptan")
X87_HOST_FUNCTION(host_fpatan, "fpatan")
X87_HOST_FUNCTION(host_fxtract, "fxtract")
X87_HOST_FUNCTION(host_fprem1, "fprem1")
X87_HOST_FUNCTION(host_fprem, "fprem")
X87_HOST_FUNCTION(host_fyl2xp1, "fyl2xp1")
X87_HOST_FUNCTION(host_fsqrt, "fsqrt")
X87_HOST_FUNCTION(host_fsincos, "fsincos")
X87_HOST_FUNCTION(host_frndint, "frndint")
X87_HOST_FUNCTION(host_fscale, "fscale")
X87_HOST_FUNCTION(host_fsin, "fsin")
X87_HOST_FUNCTION(host_fcos, "fcos")

typedef struct X87Function {
    X87HostFn *fn;
    uint16_t cc; /* condition codes that mean something beside C1 */
} X87Function;

/* By the ModRM byte less F0. */
static const X87Function functions[16] = {
    [0x0] = {host_f2xm1, 0},
    [0x1] = {host_fyl2x, 0},
    [0x2] = {host_fptan, X86_FSW_C2},
    [0x3] = {host_fpatan, 0},
    [0x4] = {host_fxtract, 0},
    [0x5] = {host_fprem1, X87_CC_COMPARE},
    [0x8] = {host_fprem, X87_CC_COMPARE},
    [0x9] = {host_fyl2xp1, 0},
    [0xa] = {host_fsqrt, 0},
    [0xb] = {host_fsincos, X86_FSW_C2},
    [0xc] = {host_frndint, 0},
    [0xd] = {host_fscale, 0},
    [0xe] = {host_fsin, X86_FSW_C2},
    [0xf] = {host_fcos, X86_FSW_C2},
};

/* Runs it on ST(0) and ST(1); true when an unmasked exception lets nothing change but the condition codes. */
static bool function_run(X86FpuCtx *ctx, X86Fp80 result[2], unsigned *sw)
{
    X86Fpu *fpu = ctx->fpu;
    const X87Function *function = &functions[ctx->modrm & 15];

    *sw = function->fn(fpu, x87_st(fpu, 0), x87_st(fpu, 1), result);
    const bool stop = x87_commit(fpu, *sw, X87_BEFORE);
    const bool nan = (result[0].f.sign_exp & 0x7fff) == 0x7fff;
    /* A remainder that is not a number has no quotient bits. */
    const unsigned cc = nan || stop ? function->cc & X86_FSW_C2 : function->cc;
    fpu->fsw = (uint16_t)((fpu->fsw & ~cc) | (*sw & cc));
    return stop;
}

/* After a stack fault nothing is left to reduce. */
static bool function_stack_fault(X86FpuCtx *ctx, bool underflow)
{
    X86Fpu *fpu = ctx->fpu;

    if (functions[ctx->modrm & 15].cc & X86_FSW_C2) {
        fpu->fsw &= (uint16_t)~X86_FSW_C2;
    }
    return underflow ? x87_underflow(fpu) : x87_overflow(fpu);
}

/* ST(0) = f(ST(0)). */
X86SimdFault x87_unary(X86FpuCtx *ctx, void *mem)
{
    X86Fpu *fpu = x87_begin(ctx);
    X86Fp80 result[2];
    unsigned sw;

    if (x87_is_empty(fpu, 0)) {
        if (!function_stack_fault(ctx, true)) {
            x87_set_indefinite(fpu, 0);
        }
    } else if (!function_run(ctx, result, &sw)) {
        x87_set(fpu, 0, &result[0]);
    }
    return X86_SIMD_OK;
}

/* True for those that put the result into ST(1) and pop: FYL2X, FPATAN, FYL2XP1. */
static bool function_pops(const X86FpuCtx *ctx)
{
    return ctx->modrm == 0xf1 || ctx->modrm == 0xf3 || ctx->modrm == 0xf9;
}

/* f(ST(0), ST(1)). */
X86SimdFault x87_binary(X86FpuCtx *ctx, void *mem)
{
    X86Fpu *fpu = x87_begin(ctx);
    X86Fp80 result[2];
    unsigned sw;

    if (x87_is_empty(fpu, 0) || x87_is_empty(fpu, 1)) {
        if (function_stack_fault(ctx, true)) {
            return X86_SIMD_OK;
        }
        if (function_pops(ctx)) {
            x87_pop(fpu);
        }
        x87_set_indefinite(fpu, 0);
        return X86_SIMD_OK;
    }
    if (!function_run(ctx, result, &sw)) {
        if (function_pops(ctx)) {
            x87_pop(fpu);
        }
        x87_set(fpu, 0, &result[0]);
    }
    return X86_SIMD_OK;
}

/* FPTAN, FXTRACT, FSINCOS: two results, unless FPTAN or FSINCOS leave an argument that is too large alone. */
X86SimdFault x87_push_function(X86FpuCtx *ctx, void *mem)
{
    X86Fpu *fpu = x87_begin(ctx);
    const bool underflow = x87_is_empty(fpu, 0);
    X86Fp80 result[2];
    unsigned sw;

    if (underflow || !x87_is_empty(fpu, 7)) {
        if (!function_stack_fault(ctx, underflow)) {
            x87_set_indefinite(fpu, 0);
            x87_push(fpu);
            x87_set_indefinite(fpu, 0);
        }
        return X86_SIMD_OK;
    }
    if (function_run(ctx, result, &sw)) {
        return X86_SIMD_OK;
    }
    if ((sw >> X86_FSW_TOP_SHIFT & 7) == X87_TOP_OF_RUN) {
        x87_set(fpu, 0, &result[0]);
        return X86_SIMD_OK;
    }
    x87_set(fpu, 0, &result[1]);
    x87_push(fpu);
    x87_set(fpu, 0, &result[0]);
    return X86_SIMD_OK;
}
