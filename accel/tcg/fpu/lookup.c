/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finds the entry of a vector instruction: tables by opcode map, mandatory
 * prefix and opcode (Intel SDM vol. 2, appendix A), built from simd-insns.def.
 */
#include <stddef.h>

#include "accel/tcg/fpu/fpu-internal.h"

enum { SIMD_MAP_COUNT = 3, SIMD_PREFIX_COUNT = 4 };

#define X86_INSN(map_, pfx_, op_, name_, fn_, dst_, src_, mem_, flags_, feat_)                               \
    [X86_MAP_##map_][X86_PFX_##pfx_][op_] = {                                                                \
        .name = name_,                                                                                       \
        .fn = fn_,                                                                                           \
        .dst = X86_OPD_##dst_,                                                                               \
        .src = X86_OPD_##src_,                                                                               \
        .mem_size = mem_,                                                                                    \
        .flags = flags_,                                                                                     \
        .feature = X86_SIMD_FEAT_##feat_,                                                                    \
    },
#define X86_SHIFT_INSN(op, pfx, reg, name, fn, dst, feat)

static const X86SimdInsn simd_insns[SIMD_MAP_COUNT][SIMD_PREFIX_COUNT][256] = {
#include "accel/tcg/fpu/simd-insns.def"
};

#undef X86_INSN
#undef X86_SHIFT_INSN
#define X86_INSN(map, pfx, op, name, fn, dst, src, mem, flags, feat)
#define X86_SHIFT_INSN(op_, pfx_, reg_, name_, fn_, dst_, feat_)                                             \
    [(op_)-0x71][X86_PFX_##pfx_][reg_] = {                                                                   \
        .name = name_,                                                                                       \
        .fn = fn_,                                                                                           \
        .dst = X86_OPD_##dst_,                                                                               \
        .src = X86_OPD_NONE,                                                                                 \
        .flags = X86_SIMD_IMM8 | (X86_PFX_##pfx_ == X86_PFX_NONE ? X86_SIMD_MMX_STATE : 0),                  \
        .feature = X86_SIMD_FEAT_##feat_,                                                                    \
    },

static const X86SimdInsn simd_shift_insns[3][SIMD_PREFIX_COUNT][8] = {
#include "accel/tcg/fpu/simd-insns.def"
};

bool x86_simd_feature_available(unsigned feature)
{
    switch (feature) {
    case X86_SIMD_FEAT_MMX:
    case X86_SIMD_FEAT_SSE:
    case X86_SIMD_FEAT_SSE2:
        return true;
    case X86_SIMD_FEAT_SSE3:
        return __builtin_cpu_supports("sse3");
    case X86_SIMD_FEAT_SSSE3:
        return __builtin_cpu_supports("ssse3");
    case X86_SIMD_FEAT_SSE41:
        return __builtin_cpu_supports("sse4.1");
    case X86_SIMD_FEAT_SSE42:
        return __builtin_cpu_supports("sse4.2");
    case X86_SIMD_FEAT_AES:
        return __builtin_cpu_supports("aes");
    case X86_SIMD_FEAT_PCLMUL:
        return __builtin_cpu_supports("pclmul");
    default:
        return false;
    }
}

const X86SimdInsn *x86_simd_lookup(X86OpcodeMap map, X86SimdPrefix prefix, uint8_t opcode, unsigned modrm_reg)
{
    const X86SimdInsn *insn;

    if (map == X86_MAP_0F && opcode >= 0x71 && opcode <= 0x73) {
        insn = &simd_shift_insns[opcode - 0x71][prefix][modrm_reg & 7];
    } else {
        insn = &simd_insns[map][prefix][opcode];
    }
    return insn->fn && x86_simd_feature_available(insn->feature) ? insn : NULL;
}
