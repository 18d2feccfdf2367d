/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87 loads, stores, constants, stack management and control (Intel SDM vol. 1,
 * chapter 8, and vol. 2).
 */
#include <stdlib.h>

#include "accel/tcg/fpu/x87-host.h"

enum { FP80_BIAS = 16383, FP80_EXP_MAX = 0x7fff, FP32_BIAS = 127, FP64_BIAS = 1023 };

#define FP80_INTEGER_BIT UINT64_C(0x8000000000000000)
#define FP80_QUIET_BIT   UINT64_C(0x4000000000000000)

void x86_fpu_update_es(X86Fpu *fpu)
{
    fpu->fsw &= (uint16_t) ~(X86_FSW_ES | X86_FSW_B | X86_FSW_TOP);
    if (fpu->fsw & ~fpu->fcw & X86_FSW_FLAGS) {
        fpu->fsw |= X86_FSW_ES | X86_FSW_B;
    }
}

bool x86_fpu_pending(const X86Fpu *fpu)
{
    return fpu->fsw & X86_FSW_ES;
}

void x86_fpu_init(X86Fpu *fpu)
{
    fpu->fcw = X86_FCW_DEFAULT;
    fpu->fsw = 0;
    fpu->top = 0;
    fpu->ftw = 0;
    fpu->fop = 0;
    fpu->fip = fpu->fdp = 0;
    fpu->fcs = fpu->fds = 0;
}

void x86_fpu_reset(X86Fpu *fpu)
{
    memset(fpu, 0, sizeof(*fpu));
    fpu->fcw = 0x0040; /* SDM vol. 3, table 9-1 */
    fpu->ftw = 0xff;
    fpu->mxcsr = X86_MXCSR_DEFAULT;
}

/* Pushes a value, or handles the overflow of the stack. */
static X86SimdFault x87_load(X86Fpu *fpu, uint16_t sign_exp, uint64_t mantissa, unsigned flags)
{
    if (!x87_is_empty(fpu, 7)) {
        if (!x87_overflow(fpu)) {
            x87_push(fpu);
            x87_set_indefinite(fpu, 0);
        }
        return X86_SIMD_OK;
    }
    x87_clear_c1(fpu);
    /* A denormal is loaded even when that exception is unmasked. */
    if (!x87_raise(fpu, flags, X86_FSW_IE)) {
        x87_push(fpu);
        x87_set_parts(fpu, 0, sign_exp, mantissa);
    }
    return X86_SIMD_OK;
}

/* Widens a number of `exp_bits` and `frac_bits`; always exact, so that only #IA and #D arise. */
static X86SimdFault x87_load_float(X86Fpu *fpu, bool sign, unsigned exp, unsigned exp_max, int bias,
                                   uint64_t fraction)
{
    const uint16_t sign_bit = sign ? 0x8000 : 0;

    if (exp == exp_max) {
        unsigned flags = 0;
        if (fraction && !(fraction & FP80_QUIET_BIT)) {
            fraction |= FP80_QUIET_BIT;
            flags = X86_FSW_IE;
        }
        return x87_load(fpu, sign_bit | FP80_EXP_MAX, FP80_INTEGER_BIT | fraction, flags);
    }
    if (exp) {
        return x87_load(fpu, (uint16_t)(sign_bit | ((int)exp - bias + FP80_BIAS)),
                        FP80_INTEGER_BIT | fraction, 0);
    }
    if (!fraction) {
        return x87_load(fpu, sign_bit, 0, 0);
    }
    int shift = __builtin_clzll(fraction);
    return x87_load(fpu, (uint16_t)(sign_bit | (1 - bias + FP80_BIAS - shift)), fraction << shift,
                    X86_FSW_DE);
}

X86SimdFault x87_fld_f32(X86FpuCtx *ctx, void *mem)
{
    uint32_t val;

    memcpy(&val, mem, sizeof(val));
    return x87_load_float(x87_begin(ctx), val >> 31, val >> 23 & 0xff, 0xff, FP32_BIAS,
                          (uint64_t)(val & 0x7fffff) << 40);
}

X86SimdFault x87_fld_f64(X86FpuCtx *ctx, void *mem)
{
    uint64_t val;

    memcpy(&val, mem, sizeof(val));
    return x87_load_float(x87_begin(ctx), val >> 63, val >> 52 & 0x7ff, 0x7ff, FP64_BIAS, val << 12 >> 1);
}

X86SimdFault x87_fld_f80(X86FpuCtx *ctx, void *mem)
{
    X86Fp80 val;

    memcpy(&val, mem, 10);
    return x87_load(x87_begin(ctx), val.f.sign_exp, val.f.mantissa, 0);
}

static X86SimdFault x87_load_integer(X86Fpu *fpu, bool sign, uint64_t magnitude)
{
    const uint16_t sign_bit = sign ? 0x8000 : 0;

    if (!magnitude) {
        return x87_load(fpu, sign_bit, 0, 0);
    }
    int shift = __builtin_clzll(magnitude);
    return x87_load(fpu, (uint16_t)(sign_bit | (FP80_BIAS + 63 - shift)), magnitude << shift, 0);
}

static X86SimdFault x87_load_signed(X86FpuCtx *ctx, int64_t val)
{
    return x87_load_integer(x87_begin(ctx), val < 0, val < 0 ? -(uint64_t)val : (uint64_t)val);
}

X86SimdFault x87_fild_i16(X86FpuCtx *ctx, void *mem)
{
    int16_t val;

    memcpy(&val, mem, sizeof(val));
    return x87_load_signed(ctx, val);
}

X86SimdFault x87_fild_i32(X86FpuCtx *ctx, void *mem)
{
    int32_t val;

    memcpy(&val, mem, sizeof(val));
    return x87_load_signed(ctx, val);
}

X86SimdFault x87_fild_i64(X86FpuCtx *ctx, void *mem)
{
    int64_t val;

    memcpy(&val, mem, sizeof(val));
    return x87_load_signed(ctx, val);
}

/* Packed decimal: 18 digits, lowest first, and a sign byte. */
X86SimdFault x87_fbld(X86FpuCtx *ctx, void *mem)
{
    const uint8_t *digits = mem;
    uint64_t val = 0;

    for (int i = 8; i >= 0; i--) {
        val = val * 100 + (digits[i] >> 4) * 10u + (digits[i] & 15);
    }
    return x87_load_integer(x87_begin(ctx), digits[9] >> 7, val);
}

typedef uint16_t X87StoreFn(const X86Fpu *fpu, const void *a, void *result);

typedef struct X87Store {
    X87StoreFn *fn;
    uint8_t bytes;
    bool pop;
    uint8_t indefinite[10]; /* what a masked stack underflow stores */
} X87Store;

X87_HOST_STORE(host_store_f32, "fstps")
X87_HOST_STORE(host_store_f64, "fstpl")
X87_HOST_STORE(host_store_i16, "fistps")
X87_HOST_STORE(host_store_i32, "fistpl")
X87_HOST_STORE(host_store_i64, "fistpll")
X87_HOST_STORE(host_store_bcd, "fbstp")
X87_HOST_STORE(host_truncate_i16, "fisttps")
X87_HOST_STORE(host_truncate_i32, "fisttpl")
X87_HOST_STORE(host_truncate_i64, "fisttpll")

#define INDEFINITE_F32                                                                                       \
    {                                                                                                        \
        0, 0, 0xc0, 0xff                                                                                     \
    }
#define INDEFINITE_F64                                                                                       \
    {                                                                                                        \
        0, 0, 0, 0, 0, 0, 0xf8, 0xff                                                                         \
    }
#define INDEFINITE_I16                                                                                       \
    {                                                                                                        \
        0, 0x80                                                                                              \
    }
#define INDEFINITE_I32                                                                                       \
    {                                                                                                        \
        0, 0, 0, 0x80                                                                                        \
    }
#define INDEFINITE_I64                                                                                       \
    {                                                                                                        \
        0, 0, 0, 0, 0, 0, 0, 0x80                                                                            \
    }
#define INDEFINITE_BCD                                                                                       \
    {                                                                                                        \
        0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff                                                                \
    }

/* By opcode D9, DB, DD, DF and /digit. */
static const X87Store stores[4][8] = {
    [0][2] = {host_store_f32, 4, false, INDEFINITE_F32},
    [0][3] = {host_store_f32, 4, true, INDEFINITE_F32},
    [1][1] = {host_truncate_i32, 4, true, INDEFINITE_I32},
    [1][2] = {host_store_i32, 4, false, INDEFINITE_I32},
    [1][3] = {host_store_i32, 4, true, INDEFINITE_I32},
    [2][1] = {host_truncate_i64, 8, true, INDEFINITE_I64},
    [2][2] = {host_store_f64, 8, false, INDEFINITE_F64},
    [2][3] = {host_store_f64, 8, true, INDEFINITE_F64},
    [3][1] = {host_truncate_i16, 2, true, INDEFINITE_I16},
    [3][2] = {host_store_i16, 2, false, INDEFINITE_I16},
    [3][3] = {host_store_i16, 2, true, INDEFINITE_I16},
    [3][6] = {host_store_bcd, 10, true, INDEFINITE_BCD},
    [3][7] = {host_store_i64, 8, true, INDEFINITE_I64},
};

X86SimdFault x87_store_mem(X86FpuCtx *ctx, void *mem)
{
    X86Fpu *fpu = x87_begin(ctx);
    const X87Store *store = &stores[ctx->opcode >> 1 & 3][ctx->modrm >> 3 & 7];
    uint8_t result[16] = {0};
    bool stop;

    if (x87_is_empty(fpu, 0)) {
        stop = x87_underflow(fpu);
        memcpy(result, store->indefinite, sizeof(store->indefinite));
    } else {
        stop = x87_commit(fpu, store->fn(fpu, x87_st(fpu, 0), result), X87_NO_STORE);
    }
    ctx->skip_write = stop;
    if (!stop) {
        memcpy(mem, result, store->bytes);
        if (store->pop) {
            x87_pop(fpu);
        }
    }
    return X86_SIMD_OK;
}

X86SimdFault x87_fstp_f80(X86FpuCtx *ctx, void *mem)
{
    static const uint8_t indefinite[10] = {0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff};
    X86Fpu *fpu = x87_begin(ctx);
    const bool empty = x87_is_empty(fpu, 0);

    x87_clear_c1(fpu);
    if (empty && x87_underflow(fpu)) {
        ctx->skip_write = true;
        return X86_SIMD_OK;
    }
    memcpy(mem, empty ? (const void *)indefinite : x87_st(fpu, 0), 10);
    x87_pop(fpu);
    return X86_SIMD_OK;
}

X86SimdFault x87_fld_st(X86FpuCtx *ctx, void *mem)
{
    X86Fpu *fpu = x87_begin(ctx);
    const X86Fp80 val = *x87_st(fpu, ctx->modrm & 7);

    if (x87_is_empty(fpu, ctx->modrm & 7)) {
        if (!x87_underflow(fpu)) {
            x87_push(fpu);
            x87_set_indefinite(fpu, 0);
        }
        return X86_SIMD_OK;
    }
    return x87_load(fpu, val.f.sign_exp, val.f.mantissa, 0);
}

/* DD D0+i FST, DD D8+i FSTP and the aliases of FSTP, of which D9 D8+i ignores an empty ST(0). */
X86SimdFault x87_fst_st(X86FpuCtx *ctx, void *mem)
{
    X86Fpu *fpu = x87_begin(ctx);
    const bool pop = !(ctx->opcode == 0xdd && (ctx->modrm >> 3 & 7) == 2);

    x87_clear_c1(fpu);
    if (!x87_is_empty(fpu, 0)) {
        x87_set(fpu, ctx->modrm & 7, x87_st(fpu, 0));
    } else if (ctx->opcode != 0xd9) {
        if (x87_underflow(fpu)) {
            return X86_SIMD_OK;
        }
        x87_set_indefinite(fpu, ctx->modrm & 7);
    }
    if (pop) {
        x87_pop(fpu);
    }
    return X86_SIMD_OK;
}

X86SimdFault x87_fxch(X86FpuCtx *ctx, void *mem)
{
    X86Fpu *fpu = x87_begin(ctx);
    const unsigned i = ctx->modrm & 7;
    X86Fp80 val;

    x87_clear_c1(fpu);
    if (x87_is_empty(fpu, 0) || x87_is_empty(fpu, i)) {
        if (x87_underflow(fpu)) {
            return X86_SIMD_OK;
        }
        if (x87_is_empty(fpu, 0)) {
            x87_set_indefinite(fpu, 0);
        }
        if (x87_is_empty(fpu, i)) {
            x87_set_indefinite(fpu, i);
        }
    }
    val = *x87_st(fpu, 0);
    x87_set(fpu, 0, x87_st(fpu, i));
    x87_set(fpu, i, &val);
    return X86_SIMD_OK;
}

/* DA: B, E, BE, U; DB: their negations. */
X86SimdFault x87_fcmov(X86FpuCtx *ctx, void *mem)
{
    enum { CF = 1 << 0, PF = 1 << 2, ZF = 1 << 6 };
    static const uint8_t tested[4] = {CF, ZF, CF | ZF, PF};
    X86Fpu *fpu = x87_begin(ctx);
    const unsigned i = ctx->modrm & 7;
    const bool set = ctx->eflags & tested[ctx->modrm >> 3 & 3];

    if (x87_is_empty(fpu, 0) || x87_is_empty(fpu, i)) {
        if (!x87_underflow(fpu)) {
            x87_set_indefinite(fpu, 0);
        }
    } else if (set == (ctx->opcode == 0xda)) {
        x87_set(fpu, 0, x87_st(fpu, i));
    }
    return X86_SIMD_OK;
}

typedef struct X87Constant {
    uint16_t exp;
    uint64_t down; /* rounded toward zero */
    bool near_up, exact;
} X87Constant;

/* FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ: rounded by RC (SDM vol. 1, 8.3.8). */
static const X87Constant constants[7] = {
    {0x3fff, UINT64_C(0x8000000000000000), false, true},
    {0x4000, UINT64_C(0xd49a784bcd1b8afe), false, false},
    {0x3fff, UINT64_C(0xb8aa3b295c17f0bb), true, false},
    {0x4000, UINT64_C(0xc90fdaa22168c234), true, false},
    {0x3ffd, UINT64_C(0x9a209a84fbcff798), true, false},
    {0x3ffe, UINT64_C(0xb17217f7d1cf79ab), true, false},
    {0, 0, false, true},
};

X86SimdFault x87_fld_constant(X86FpuCtx *ctx, void *mem)
{
    enum { RC_NEAREST, RC_DOWN, RC_UP };
    X86Fpu *fpu = x87_begin(ctx);
    const X87Constant *constant = &constants[ctx->modrm & 7];
    const unsigned rc = fpu->fcw >> 10 & 3;
    const bool up = !constant->exact && (rc == RC_UP || (rc == RC_NEAREST && constant->near_up));

    return x87_load(fpu, constant->exp, constant->down + up, 0);
}

/* FCHS and FABS work on the sign bit alone. */
static X86SimdFault x87_sign(X86FpuCtx *ctx, uint16_t keep, uint16_t flip)
{
    X86Fpu *fpu = x87_begin(ctx);
    X86Fp80 *st = x87_st(fpu, 0);

    x87_clear_c1(fpu);
    if (x87_is_empty(fpu, 0)) {
        if (!x87_underflow(fpu)) {
            x87_set_indefinite(fpu, 0);
        }
        return X86_SIMD_OK;
    }
    st->f.sign_exp = (uint16_t)((st->f.sign_exp & keep) ^ flip);
    return X86_SIMD_OK;
}

X86SimdFault x87_fchs(X86FpuCtx *ctx, void *mem)
{
    return x87_sign(ctx, 0xffff, 0x8000);
}

X86SimdFault x87_fabs(X86FpuCtx *ctx, void *mem)
{
    return x87_sign(ctx, 0x7fff, 0);
}

static unsigned x87_class(const X86Fp80 *val)
{
    const unsigned exp = val->f.sign_exp & FP80_EXP_MAX;
    const uint64_t mantissa = val->f.mantissa;

    if (exp == 0) {
        return mantissa ? X86_FSW_C3 | X86_FSW_C2 : X86_FSW_C3;
    }
    if (!(mantissa & FP80_INTEGER_BIT)) {
        return 0; /* unsupported */
    }
    if (exp == FP80_EXP_MAX) {
        return mantissa == FP80_INTEGER_BIT ? X86_FSW_C2 | X86_FSW_C0 : X86_FSW_C0;
    }
    return X86_FSW_C2;
}

X86SimdFault x87_fxam(X86FpuCtx *ctx, void *mem)
{
    X86Fpu *fpu = x87_begin(ctx);
    const X86Fp80 *st = x87_st(fpu, 0);
    unsigned cc = x87_is_empty(fpu, 0) ? X86_FSW_C3 | X86_FSW_C0 : x87_class(st);

    if (st->f.sign_exp & 0x8000) {
        cc |= X86_FSW_C1;
    }
    fpu->fsw = (uint16_t)((fpu->fsw & ~X87_CC) | cc);
    return X86_SIMD_OK;
}

X86SimdFault x87_fincstp(X86FpuCtx *ctx, void *mem)
{
    X86Fpu *fpu = x87_begin(ctx);

    x87_clear_c1(fpu);
    fpu->top = (fpu->top + 1) & 7;
    return X86_SIMD_OK;
}

X86SimdFault x87_fdecstp(X86FpuCtx *ctx, void *mem)
{
    X86Fpu *fpu = x87_begin(ctx);

    x87_clear_c1(fpu);
    fpu->top = (fpu->top - 1) & 7;
    return X86_SIMD_OK;
}

X86SimdFault x87_ffree(X86FpuCtx *ctx, void *mem)
{
    X86Fpu *fpu = x87_begin(ctx);

    x87_clear_c1(fpu);
    fpu->ftw &= (uint8_t) ~(1u << ((fpu->top + ctx->modrm) & 7));
    return X86_SIMD_OK;
}

/* DF C0+i, undocumented but everywhere: FFREE, then pop. */
X86SimdFault x87_ffreep(X86FpuCtx *ctx, void *mem)
{
    x87_ffree(ctx, mem);
    x87_pop(ctx->fpu);
    return X86_SIMD_OK;
}

/* FNOP, and the 8087 and 80287 controls that later ones ignore. */
X86SimdFault x87_fnop(X86FpuCtx *ctx, void *mem)
{
    return X86_SIMD_OK;
}

X86SimdFault x87_fldcw(X86FpuCtx *ctx, void *mem)
{
    uint16_t fcw;

    memcpy(&fcw, mem, sizeof(fcw));
    ctx->fpu->fcw = x87_valid_fcw(fcw);
    x86_fpu_update_es(ctx->fpu);
    return X86_SIMD_OK;
}

X86SimdFault x87_fnstcw(X86FpuCtx *ctx, void *mem)
{
    memcpy(mem, &ctx->fpu->fcw, 2);
    return X86_SIMD_OK;
}

static uint16_t x87_status(const X86Fpu *fpu)
{
    return (uint16_t)(fpu->fsw | fpu->top << X86_FSW_TOP_SHIFT);
}

X86SimdFault x87_fnstsw(X86FpuCtx *ctx, void *mem)
{
    const uint16_t sw = x87_status(ctx->fpu);

    memcpy(mem, &sw, sizeof(sw));
    return X86_SIMD_OK;
}

X86SimdFault x87_fnstsw_ax(X86FpuCtx *ctx, void *mem)
{
    *ctx->ax = x87_status(ctx->fpu);
    return X86_SIMD_OK;
}

X86SimdFault x87_fnclex(X86FpuCtx *ctx, void *mem)
{
    ctx->fpu->fsw &= (uint16_t) ~(X86_FSW_FLAGS | X86_FSW_SF | X86_FSW_ES | X86_FSW_B);
    return X86_SIMD_OK;
}

X86SimdFault x87_fninit(X86FpuCtx *ctx, void *mem)
{
    x86_fpu_init(ctx->fpu);
    return X86_SIMD_OK;
}
