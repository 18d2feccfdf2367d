/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The x87 opcode map (Intel SDM vol. 2, appendix A, tables ), with
 * the undocumented aliases of FXCH, FCOM, FCOMP and FSTP that every processor
 * executes.
 */
#include <stddef.h>

#include "accel/tcg/fpu/x87-internal.h"

/* Memory forms by opcode D8..DF and /digit. */
static const X86FpuInsn x87_mem_insns[8][8] = {
    [0] = { /* D8 */
        [0] = {.name = "fadd", .fn = x87_arith_mem, .mem_read = 4},
        [1] = {.name = "fmul", .fn = x87_arith_mem, .mem_read = 4},
        [2] = {.name = "fcom", .fn = x87_arith_mem, .mem_read = 4},
        [3] = {.name = "fcomp", .fn = x87_arith_mem, .mem_read = 4},
        [4] = {.name = "fsub", .fn = x87_arith_mem, .mem_read = 4},
        [5] = {.name = "fsubr", .fn = x87_arith_mem, .mem_read = 4},
        [6] = {.name = "fdiv", .fn = x87_arith_mem, .mem_read = 4},
        [7] = {.name = "fdivr", .fn = x87_arith_mem, .mem_read = 4},
    },
    [1] = { /* D9 */
        [0] = {.name = "fld", .fn = x87_fld_f32, .mem_read = 4},
        [2] = {.name = "fst", .fn = x87_store_mem, .mem_write = 4},
        [3] = {.name = "fstp", .fn = x87_store_mem, .mem_write = 4},
        [4] = {.name = "fldenv", .fn = x87_fldenv, .mem_read = 28, .env = true},
        [5] = {.name = "fldcw", .fn = x87_fldcw, .mem_read = 2},
        [6] = {.name = "fnstenv", .fn = x87_fnstenv, .mem_write = 28, .env = true, .no_wait = true},
        [7] = {.name = "fnstcw", .fn = x87_fnstcw, .mem_write = 2, .no_wait = true},
    },
    [2] = { /* DA */
        [0] = {.name = "fiadd", .fn = x87_arith_mem, .mem_read = 4},
        [1] = {.name = "fimul", .fn = x87_arith_mem, .mem_read = 4},
        [2] = {.name = "ficom", .fn = x87_arith_mem, .mem_read = 4},
        [3] = {.name = "ficomp", .fn = x87_arith_mem, .mem_read = 4},
        [4] = {.name = "fisub", .fn = x87_arith_mem, .mem_read = 4},
        [5] = {.name = "fisubr", .fn = x87_arith_mem, .mem_read = 4},
        [6] = {.name = "fidiv", .fn = x87_arith_mem, .mem_read = 4},
        [7] = {.name = "fidivr", .fn = x87_arith_mem, .mem_read = 4},
    },
    [3] = { /* DB */
        [0] = {.name = "fild", .fn = x87_fild_i32, .mem_read = 4},
        [1] = {.name = "fisttp", .fn = x87_store_mem, .mem_write = 4},
        [2] = {.name = "fist", .fn = x87_store_mem, .mem_write = 4},
        [3] = {.name = "fistp", .fn = x87_store_mem, .mem_write = 4},
        [5] = {.name = "fld", .fn = x87_fld_f80, .mem_read = 10},
        [7] = {.name = "fstp", .fn = x87_fstp_f80, .mem_write = 10},
    },
    [4] = { /* DC */
        [0] = {.name = "fadd", .fn = x87_arith_mem, .mem_read = 8},
        [1] = {.name = "fmul", .fn = x87_arith_mem, .mem_read = 8},
        [2] = {.name = "fcom", .fn = x87_arith_mem, .mem_read = 8},
        [3] = {.name = "fcomp", .fn = x87_arith_mem, .mem_read = 8},
        [4] = {.name = "fsub", .fn = x87_arith_mem, .mem_read = 8},
        [5] = {.name = "fsubr", .fn = x87_arith_mem, .mem_read = 8},
        [6] = {.name = "fdiv", .fn = x87_arith_mem, .mem_read = 8},
        [7] = {.name = "fdivr", .fn = x87_arith_mem, .mem_read = 8},
    },
    [5] = { /* DD */
        [0] = {.name = "fld", .fn = x87_fld_f64, .mem_read = 8},
        [1] = {.name = "fisttp", .fn = x87_store_mem, .mem_write = 8},
        [2] = {.name = "fst", .fn = x87_store_mem, .mem_write = 8},
        [3] = {.name = "fstp", .fn = x87_store_mem, .mem_write = 8},
        [4] = {.name = "frstor", .fn = x87_frstor, .mem_read = 108, .env = true},
        [6] = {.name = "fnsave", .fn = x87_fnsave, .mem_write = 108, .env = true, .no_wait = true},
        [7] = {.name = "fnstsw", .fn = x87_fnstsw, .mem_write = 2, .no_wait = true},
    },
    [6] = { /* DE */
        [0] = {.name = "fiadd", .fn = x87_arith_mem, .mem_read = 2},
        [1] = {.name = "fimul", .fn = x87_arith_mem, .mem_read = 2},
        [2] = {.name = "ficom", .fn = x87_arith_mem, .mem_read = 2},
        [3] = {.name = "ficomp", .fn = x87_arith_mem, .mem_read = 2},
        [4] = {.name = "fisub", .fn = x87_arith_mem, .mem_read = 2},
        [5] = {.name = "fisubr", .fn = x87_arith_mem, .mem_read = 2},
        [6] = {.name = "fidiv", .fn = x87_arith_mem, .mem_read = 2},
        [7] = {.name = "fidivr", .fn = x87_arith_mem, .mem_read = 2},
    },
    [7] = { /* DF */
        [0] = {.name = "fild", .fn = x87_fild_i16, .mem_read = 2},
        [1] = {.name = "fisttp", .fn = x87_store_mem, .mem_write = 2},
        [2] = {.name = "fist", .fn = x87_store_mem, .mem_write = 2},
        [3] = {.name = "fistp", .fn = x87_store_mem, .mem_write = 2},
        [4] = {.name = "fbld", .fn = x87_fbld, .mem_read = 10},
        [5] = {.name = "fild", .fn = x87_fild_i64, .mem_read = 8},
        [6] = {.name = "fbstp", .fn = x87_store_mem, .mem_write = 10},
        [7] = {.name = "fistp", .fn = x87_store_mem, .mem_write = 8},
    },
};

/* Register forms by opcode and the ModRM byte less C0. */
static const X86FpuInsn x87_reg_insns[8][64] = {
    [0] = { /* D8 */
        [0 ... 7] = {.name = "fadd", .fn = x87_arith_reg},
        [8 ... 15] = {.name = "fmul", .fn = x87_arith_reg},
        [16 ... 23] = {.name = "fcom", .fn = x87_com},
        [24 ... 31] = {.name = "fcomp", .fn = x87_com},
        [32 ... 39] = {.name = "fsub", .fn = x87_arith_reg},
        [40 ... 47] = {.name = "fsubr", .fn = x87_arith_reg},
        [48 ... 55] = {.name = "fdiv", .fn = x87_arith_reg},
        [56 ... 63] = {.name = "fdivr", .fn = x87_arith_reg},
    },
    [1] = { /* D9 */
        [0 ... 7] = {.name = "fld", .fn = x87_fld_st},
        [8 ... 15] = {.name = "fxch", .fn = x87_fxch},
        [0x10] = {.name = "fnop", .fn = x87_fnop},
        [24 ... 31] = {.name = "fstp", .fn = x87_fst_st},
        [0x20] = {.name = "fchs", .fn = x87_fchs},
        [0x21] = {.name = "fabs", .fn = x87_fabs},
        [0x24] = {.name = "ftst", .fn = x87_ftst},
        [0x25] = {.name = "fxam", .fn = x87_fxam},
        [0x28] = {.name = "fld1", .fn = x87_fld_constant},
        [0x29] = {.name = "fldl2t", .fn = x87_fld_constant},
        [0x2a] = {.name = "fldl2e", .fn = x87_fld_constant},
        [0x2b] = {.name = "fldpi", .fn = x87_fld_constant},
        [0x2c] = {.name = "fldlg2", .fn = x87_fld_constant},
        [0x2d] = {.name = "fldln2", .fn = x87_fld_constant},
        [0x2e] = {.name = "fldz", .fn = x87_fld_constant},
        [0x30] = {.name = "f2xm1", .fn = x87_unary},
        [0x31] = {.name = "fyl2x", .fn = x87_binary},
        [0x32] = {.name = "fptan", .fn = x87_push_function},
        [0x33] = {.name = "fpatan", .fn = x87_binary},
        [0x34] = {.name = "fxtract", .fn = x87_push_function},
        [0x35] = {.name = "fprem1", .fn = x87_binary},
        [0x36] = {.name = "fdecstp", .fn = x87_fdecstp},
        [0x37] = {.name = "fincstp", .fn = x87_fincstp},
        [0x38] = {.name = "fprem", .fn = x87_binary},
        [0x39] = {.name = "fyl2xp1", .fn = x87_binary},
        [0x3a] = {.name = "fsqrt", .fn = x87_unary},
        [0x3b] = {.name = "fsincos", .fn = x87_push_function},
        [0x3c] = {.name = "frndint", .fn = x87_unary},
        [0x3d] = {.name = "fscale", .fn = x87_binary},
        [0x3e] = {.name = "fsin", .fn = x87_unary},
        [0x3f] = {.name = "fcos", .fn = x87_unary},
    },
    [2] = { /* DA */
        [0 ... 7] = {.name = "fcmovb", .fn = x87_fcmov},
        [8 ... 15] = {.name = "fcmove", .fn = x87_fcmov},
        [16 ... 23] = {.name = "fcmovbe", .fn = x87_fcmov},
        [24 ... 31] = {.name = "fcmovu", .fn = x87_fcmov},
        [0x29] = {.name = "fucompp", .fn = x87_compp},
    },
    [3] = { /* DB */
        [0 ... 7] = {.name = "fcmovnb", .fn = x87_fcmov},
        [8 ... 15] = {.name = "fcmovne", .fn = x87_fcmov},
        [16 ... 23] = {.name = "fcmovnbe", .fn = x87_fcmov},
        [24 ... 31] = {.name = "fcmovnu", .fn = x87_fcmov},
        [0x20] = {.name = "feni", .fn = x87_fnop, .no_wait = true},
        [0x21] = {.name = "fdisi", .fn = x87_fnop, .no_wait = true},
        [0x22] = {.name = "fnclex", .fn = x87_fnclex, .no_wait = true},
        [0x23] = {.name = "fninit", .fn = x87_fninit, .no_wait = true},
        [0x24] = {.name = "fsetpm", .fn = x87_fnop, .no_wait = true},
        [40 ... 47] = {.name = "fucomi", .fn = x87_comi, .writes_eflags = true},
        [48 ... 55] = {.name = "fcomi", .fn = x87_comi, .writes_eflags = true},
    },
    [4] = { /* DC */
        [0 ... 7] = {.name = "fadd", .fn = x87_arith_reg},
        [8 ... 15] = {.name = "fmul", .fn = x87_arith_reg},
        [32 ... 39] = {.name = "fsub", .fn = x87_arith_reg},
        [40 ... 47] = {.name = "fsubr", .fn = x87_arith_reg},
        [48 ... 55] = {.name = "fdiv", .fn = x87_arith_reg},
        [56 ... 63] = {.name = "fdivr", .fn = x87_arith_reg},
        [16 ... 23] = {.name = "fcom", .fn = x87_com},
        [24 ... 31] = {.name = "fcomp", .fn = x87_com},
    },
    [5] = { /* DD */
        [0 ... 7] = {.name = "ffree", .fn = x87_ffree},
        [8 ... 15] = {.name = "fxch", .fn = x87_fxch},
        [16 ... 23] = {.name = "fst", .fn = x87_fst_st},
        [24 ... 31] = {.name = "fstp", .fn = x87_fst_st},
        [32 ... 39] = {.name = "fucom", .fn = x87_ucom},
        [40 ... 47] = {.name = "fucomp", .fn = x87_ucom},
    },
    [6] = { /* DE */
        [0 ... 7] = {.name = "faddp", .fn = x87_arith_reg},
        [8 ... 15] = {.name = "fmulp", .fn = x87_arith_reg},
        [32 ... 39] = {.name = "fsubp", .fn = x87_arith_reg},
        [40 ... 47] = {.name = "fsubrp", .fn = x87_arith_reg},
        [48 ... 55] = {.name = "fdivp", .fn = x87_arith_reg},
        [56 ... 63] = {.name = "fdivrp", .fn = x87_arith_reg},
        [16 ... 23] = {.name = "fcomp", .fn = x87_com},
        [0x19] = {.name = "fcompp", .fn = x87_compp},
    },
    [7] = { /* DF */
        [0 ... 7] = {.name = "ffreep", .fn = x87_ffreep},
        [8 ... 15] = {.name = "fxch", .fn = x87_fxch},
        [16 ... 23] = {.name = "fstp", .fn = x87_fst_st},
        [24 ... 31] = {.name = "fstp", .fn = x87_fst_st},
        [0x20] = {.name = "fnstsw", .fn = x87_fnstsw_ax, .no_wait = true},
        [40 ... 47] = {.name = "fucomip", .fn = x87_comi, .writes_eflags = true},
        [48 ... 55] = {.name = "fcomip", .fn = x87_comi, .writes_eflags = true},
    },
};

const X86FpuInsn *x86_fpu_lookup(uint8_t opcode, uint8_t modrm)
{
    const X86FpuInsn *insn = modrm < 0xc0 ? &x87_mem_insns[opcode & 7][modrm >> 3 & 7]
                                          : &x87_reg_insns[opcode & 7][modrm & 63];

    return insn->fn ? insn : NULL;
}
