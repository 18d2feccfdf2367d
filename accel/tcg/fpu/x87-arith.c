/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87 addition to division and the compares, D8 to DE (Intel SDM vol. 2).
 */
#include "accel/tcg/fpu/x87-host.h"

typedef uint16_t X87HostFn(const X86Fpu *fpu, const void *a, const void *b, void *result);

enum { ARITH_COM = 2, ARITH_COMP = 3 };

/* The eight operations in the order of their /digit. */
#define ARITH_ALL(kind, suffix, maker, operands, i)                                                          \
    maker(host_add_##kind, "f" i "add" suffix operands) maker(host_mul_##kind, "f" i "mul" suffix operands)  \
        maker(host_com_##kind, "f" i "com" suffix operands)                                                  \
            maker(host_sub_##kind, "f" i "sub" suffix operands)                                              \
                maker(host_subr_##kind, "f" i "subr" suffix operands)                                        \
                    maker(host_div_##kind, "f" i "div" suffix operands)                                      \
                        maker(host_divr_##kind, "f" i "divr" suffix operands)

#define ARITH_TABLE(kind)                                                                                    \
    {                                                                                                        \
        host_add_##kind, host_mul_##kind, host_com_##kind, host_com_##kind, host_sub_##kind,                 \
            host_subr_##kind, host_div_##kind, host_divr_##kind                                              \
    }

X87_HOST_REG(host_add_reg, "fadd %%st(1), %%st")
X87_HOST_REG(host_mul_reg, "fmul %%st(1), %%st")
X87_HOST_REG(host_com_reg, "fcom %%st(1)")
X87_HOST_REG(host_sub_reg, "fsub %%st(1), %%st")
X87_HOST_REG(host_subr_reg, "fsubr %%st(1), %%st")
X87_HOST_REG(host_div_reg, "fdiv %%st(1), %%st")
X87_HOST_REG(host_divr_reg, "fdivr %%st(1), %%st")
X87_HOST_REG(host_ucom_reg, "fucom %%st(1)")
ARITH_ALL(f32, "s", X87_HOST_MEM, "", "")
ARITH_ALL(f64, "l", X87_HOST_MEM, "", "")
ARITH_ALL(i32, "l", X87_HOST_MEM, "", "i")
ARITH_ALL(i16, "s", X87_HOST_MEM, "", "i")

static X87HostFn *const arith_reg[8] = ARITH_TABLE(reg);

/* By bits 2..1 of the opcode: D8, DA, DC, DE. */
static X87HostFn *const arith_mem[4][8] = {
    ARITH_TABLE(f32),
    ARITH_TABLE(i32),
    ARITH_TABLE(f64),
    ARITH_TABLE(i16),
};

static unsigned arith_digit(const X86FpuCtx *ctx)
{
    return ctx->modrm >> 3 & 7;
}

static void arith_pop(X86Fpu *fpu, unsigned count)
{
    while (count--) {
        x87_pop(fpu);
    }
}

/* Ends a compare with the condition codes of `sw`.  They are set even when an unmasked exception keeps the
 * operands. */
static X86SimdFault arith_end_compare(X86Fpu *fpu, unsigned sw, unsigned pops)
{
    fpu->fsw = (uint16_t)((fpu->fsw & ~X87_CC_COMPARE) | (sw & X87_CC_COMPARE));
    if (!x87_commit(fpu, sw & ~(unsigned)X86_FSW_C1, X87_BEFORE)) {
        arith_pop(fpu, pops);
    }
    return X86_SIMD_OK;
}

/* A compare with an empty register is unordered. */
static X86SimdFault arith_compare_empty(X86Fpu *fpu, unsigned pops)
{
    fpu->fsw |= X87_CC_COMPARE;
    if (!x87_underflow(fpu)) {
        arith_pop(fpu, pops);
    }
    return X86_SIMD_OK;
}

static X86SimdFault arith_compare(X86Fpu *fpu, X87HostFn *fn, unsigned i, unsigned pops)
{
    X86Fp80 unused;

    if (x87_is_empty(fpu, 0) || x87_is_empty(fpu, i)) {
        return arith_compare_empty(fpu, pops);
    }
    return arith_end_compare(fpu, fn(fpu, x87_st(fpu, 0), x87_st(fpu, i), &unused), pops);
}

X86SimdFault x87_arith_mem(X86FpuCtx *ctx, void *mem)
{
    X86Fpu *fpu = x87_begin(ctx);
    const unsigned digit = arith_digit(ctx);
    const bool compare = digit == ARITH_COM || digit == ARITH_COMP;
    const unsigned pops = digit == ARITH_COMP;
    X86Fp80 result;

    if (x87_is_empty(fpu, 0)) {
        if (compare) {
            return arith_compare_empty(fpu, pops);
        }
        if (!x87_underflow(fpu)) {
            x87_set_indefinite(fpu, 0);
        }
        return X86_SIMD_OK;
    }
    unsigned sw = arith_mem[ctx->opcode >> 1 & 3][digit](fpu, x87_st(fpu, 0), mem, &result);
    if (compare) {
        return arith_end_compare(fpu, sw, pops);
    }
    if (!x87_commit(fpu, sw, X87_BEFORE)) {
        x87_set(fpu, 0, &result);
    }
    return X86_SIMD_OK;
}

/* D8: ST(0) = ST(0) op ST(i).  DC: into ST(i).  DE: into ST(i), then pop.  The digit names the operation on
 * ST(0). */
X86SimdFault x87_arith_reg(X86FpuCtx *ctx, void *mem)
{
    X86Fpu *fpu = x87_begin(ctx);
    const unsigned i = ctx->modrm & 7, dst = ctx->opcode == 0xd8 ? 0 : i;
    X86Fp80 result;

    if (x87_is_empty(fpu, 0) || x87_is_empty(fpu, i)) {
        if (x87_underflow(fpu)) {
            return X86_SIMD_OK;
        }
        x87_set_indefinite(fpu, dst);
    } else {
        unsigned sw = arith_reg[arith_digit(ctx)](fpu, x87_st(fpu, 0), x87_st(fpu, i), &result);
        if (x87_commit(fpu, sw, X87_BEFORE)) {
            return X86_SIMD_OK;
        }
        x87_set(fpu, dst, &result);
    }
    if (ctx->opcode == 0xde) {
        x87_pop(fpu);
    }
    return X86_SIMD_OK;
}

/* D8 and DC D0+i FCOM, D8+i FCOMP, and DE D0+i, which is FCOMP too. */
X86SimdFault x87_com(X86FpuCtx *ctx, void *mem)
{
    const bool pop = arith_digit(ctx) == ARITH_COMP || ctx->opcode == 0xde;

    return arith_compare(x87_begin(ctx), host_com_reg, ctx->modrm & 7, pop);
}

/* DD E0+i FUCOM, DD E8+i FUCOMP. */
X86SimdFault x87_ucom(X86FpuCtx *ctx, void *mem)
{
    return arith_compare(x87_begin(ctx), host_ucom_reg, ctx->modrm & 7, arith_digit(ctx) & 1);
}

/* DE D9 FCOMPP, DA E9 FUCOMPP. */
X86SimdFault x87_compp(X86FpuCtx *ctx, void *mem)
{
    return arith_compare(x87_begin(ctx), ctx->opcode == 0xde ? host_com_reg : host_ucom_reg, 1, 2);
}

X86SimdFault x87_ftst(X86FpuCtx *ctx, void *mem)
{
    static const X86Fp80 zero = {{0, 0}};
    X86Fpu *fpu = x87_begin(ctx);
    X86Fp80 unused;

    if (x87_is_empty(fpu, 0)) {
        return arith_compare_empty(fpu, 0);
    }
    return arith_end_compare(fpu, host_com_reg(fpu, x87_st(fpu, 0), &zero, &unused), 0);
}

/* FCOMI, FUCOMI (DB) and FCOMIP, FUCOMIP (DF): like the compares, into ZF, PF and CF. */
X86SimdFault x87_comi(X86FpuCtx *ctx, void *mem)
{
    enum { CF = 1 << 0, PF = 1 << 2, ZF = 1 << 6, ARITHMETIC = 0x8d5 };
    X86Fpu *fpu = x87_begin(ctx);
    const unsigned i = ctx->modrm & 7;
    unsigned cc = X87_CC_COMPARE;
    X86Fp80 unused;
    bool stop;

    if (x87_is_empty(fpu, 0) || x87_is_empty(fpu, i)) {
        stop = x87_underflow(fpu);
    } else {
        X87HostFn *fn = arith_digit(ctx) == 5 ? host_ucom_reg : host_com_reg;
        cc = fn(fpu, x87_st(fpu, 0), x87_st(fpu, i), &unused);
        stop = x87_raise(fpu, cc & X86_FSW_FLAGS, X87_BEFORE);
    }
    ctx->eflags &= ~(uint64_t)ARITHMETIC;
    ctx->eflags |= (cc & X86_FSW_C0 ? CF : 0) | (cc & X86_FSW_C2 ? PF : 0) | (cc & X86_FSW_C3 ? ZF : 0);
    if (ctx->opcode == 0xdf && !stop) {
        x87_pop(fpu);
    }
    return X86_SIMD_OK;
}
