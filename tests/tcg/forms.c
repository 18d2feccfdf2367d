/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The instruction forms (Intel SDM vol. 2, appendix A and the flags affected
 * paragraphs).  Integer instructions are listed here; vector and x87 ones come
 * from the tables under test.
 */
#include "tests/tcg/forms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel/tcg/simd.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { CF = 0x001, PF = 0x004, AF = 0x010, ZF = 0x040, SF = 0x080, OF = 0x800 };

#define M     FORM_MODRM
#define MS    (FORM_MODRM | FORM_SIZES)
#define MW    (FORM_MODRM | FORM_W)
#define ANY   FORM_ANY_REG
#define STACK FORM_STACK

#define F(name, opcode, digit, flags, undefined)                                                               \
    {name, 0, 0, opcode, digit, flags, undefined, 0, 0}
#define F0(name, opcode, digit, flags, undefined)                                                              \
    {name, 0, 1, opcode, digit, flags, undefined, 0, 0}
#define FX(name, prefix, map, opcode, flags, undefined, feature, bytes)                                        \
    {name, prefix, map, opcode, ANY, flags, undefined, FORM_FEAT_##feature, bytes}

#define VEX(name, prefix, map, opcode, digit, flags, undefined, feature)                                       \
    {name, prefix, map, opcode, digit, MW | FORM_VEX | (flags), undefined, FORM_FEAT_##feature, 0}

/* The six encodings of a two-operand arithmetic instruction, and its two immediate groups. */
#define ARITH(name, base, digit, undefined, lock)                                                              \
    F(name, base, ANY, M | lock, undefined), F(name, base + 1, ANY, MS | lock, undefined),                     \
        F(name, base + 2, ANY, M, undefined), F(name, base + 3, ANY, MS, undefined),                           \
        F(name, base + 4, ANY, FORM_IMM8, undefined), F(name, base + 5, ANY, FORM_SIZES | FORM_IMMZ, undefined), \
        F(name, 0x80, digit, M | FORM_IMM8 | lock, undefined),                                                 \
        F(name, 0x81, digit, MS | FORM_IMMZ | lock, undefined),                                                \
        F(name, 0x83, digit, MS | FORM_IMM8 | lock, undefined)

/* Shifts by one, by CL and by an immediate. */
#define SHIFT(name, digit, by_one, by_more, carry8)                                                            \
    F(name, 0xd0, digit, M, by_one), F(name, 0xd1, digit, MS, by_one), F(name, 0xd2, digit, M, by_more | carry8), \
        F(name, 0xd3, digit, MS, by_more | carry8), F(name, 0xc0, digit, M | FORM_IMM8, by_more | carry8),      \
        F(name, 0xc1, digit, MS | FORM_IMM8, by_more | carry8)

static const Form integer_forms[] = {
    ARITH("add", 0x00, 0, 0, FORM_LOCK),
    ARITH("or", 0x08, 1, AF, FORM_LOCK),
    ARITH("adc", 0x10, 2, 0, FORM_LOCK),
    ARITH("sbb", 0x18, 3, 0, FORM_LOCK),
    ARITH("and", 0x20, 4, AF, FORM_LOCK),
    ARITH("sub", 0x28, 5, 0, FORM_LOCK),
    ARITH("xor", 0x30, 6, AF, FORM_LOCK),
    ARITH("cmp", 0x38, 7, 0, 0),
    F("push", 0x50, ANY, FORM_OPREG | STACK, 0),
    F("pop", 0x58, ANY, FORM_OPREG | STACK, 0),
    F("movsxd", 0x63, ANY, MW, 0),
    F("push", 0x68, ANY, FORM_IMMZ | STACK, 0),
    F("imul", 0x69, ANY, MS | FORM_IMMZ, SF | ZF | AF | PF),
    F("push", 0x6a, ANY, FORM_IMM8 | STACK, 0),
    F("imul", 0x6b, ANY, MS | FORM_IMM8, SF | ZF | AF | PF),
    F("jcc", 0x70, ANY, FORM_CC | FORM_REL8, 0),
    F("test", 0x84, ANY, M, AF),
    F("test", 0x85, ANY, MS, AF),
    F("xchg", 0x86, ANY, M | FORM_LOCK, 0),
    F("xchg", 0x87, ANY, MS | FORM_LOCK, 0),
    F("mov", 0x88, ANY, M, 0),
    F("mov", 0x89, ANY, MS, 0),
    F("mov", 0x8a, ANY, M, 0),
    F("mov", 0x8b, ANY, MS, 0),
    F("lea", 0x8d, ANY, MS | FORM_MEM, 0),
    F("pop", 0x8f, 0, M | STACK, 0),
    F("xchg", 0x90, ANY, FORM_OPREG | FORM_SIZES, 0),
    F("cbw", 0x98, ANY, FORM_SIZES, 0),
    F("cwd", 0x99, ANY, FORM_SIZES, 0),
    F("pushf", 0x9c, ANY, STACK, 0),
    F("popf", 0x9d, ANY, STACK | FORM_FLAGS_TOP, 0),
    {"sahf", 0, 0, 0x9e, ANY, 0, 0, FORM_FEAT_LAHF, 0},
    {"lahf", 0, 0, 0x9f, ANY, 0, 0, FORM_FEAT_LAHF, 0},
    F("mov", 0xa0, ANY, FORM_MOFFS, 0),
    F("mov", 0xa1, ANY, FORM_MOFFS | FORM_SIZES, 0),
    F("mov", 0xa2, ANY, FORM_MOFFS, 0),
    F("mov", 0xa3, ANY, FORM_MOFFS | FORM_SIZES, 0),
    F("movsb", 0xa4, ANY, FORM_STRING, 0),
    F("movs", 0xa5, ANY, FORM_STRING | FORM_SIZES, 0),
    F("cmpsb", 0xa6, ANY, FORM_STRING, 0),
    F("cmps", 0xa7, ANY, FORM_STRING | FORM_SIZES, 0),
    F("test", 0xa8, ANY, FORM_IMM8, AF),
    F("test", 0xa9, ANY, FORM_SIZES | FORM_IMMZ, AF),
    F("stosb", 0xaa, ANY, FORM_STRING, 0),
    F("stos", 0xab, ANY, FORM_STRING | FORM_SIZES, 0),
    F("lodsb", 0xac, ANY, FORM_STRING, 0),
    F("lods", 0xad, ANY, FORM_STRING | FORM_SIZES, 0),
    F("scasb", 0xae, ANY, FORM_STRING, 0),
    F("scas", 0xaf, ANY, FORM_STRING | FORM_SIZES, 0),
    F("mov", 0xb0, ANY, FORM_OPREG | FORM_IMM8, 0),
    F("mov", 0xb8, ANY, FORM_OPREG | FORM_SIZES | FORM_IMMV, 0),
    SHIFT("rol", 0, 0, OF, 0),
    SHIFT("ror", 1, 0, OF, 0),
    SHIFT("rcl", 2, 0, OF, 0),
    SHIFT("rcr", 3, 0, OF, 0),
    SHIFT("shl", 4, AF, OF | AF, CF),
    SHIFT("shr", 5, AF, OF | AF, CF),
    SHIFT("sar", 7, AF, OF | AF, 0),
    F("ret", 0xc2, ANY, FORM_IMM16 | STACK | FORM_RETURN, 0),
    F("ret", 0xc3, ANY, STACK | FORM_RETURN, 0),
    F("mov", 0xc6, 0, M | FORM_IMM8, 0),
    F("mov", 0xc7, 0, MS | FORM_IMMZ, 0),
    F("enter", 0xc8, ANY, FORM_ENTER | STACK | FORM_FRAME, 0),
    F("leave", 0xc9, ANY, STACK | FORM_FRAME, 0),
    F("xlat", 0xd7, ANY, FORM_TABLE, 0),
    F("loopne", 0xe0, ANY, FORM_REL8, 0),
    F("loope", 0xe1, ANY, FORM_REL8, 0),
    F("loop", 0xe2, ANY, FORM_REL8, 0),
    F("jrcxz", 0xe3, ANY, FORM_REL8, 0),
    F("call", 0xe8, ANY, FORM_REL32 | STACK, 0),
    F("jmp", 0xe9, ANY, FORM_REL32, 0),
    F("jmp", 0xeb, ANY, FORM_REL8, 0),
    F("cmc", 0xf5, ANY, 0, 0),
    F("test", 0xf6, 0, M | FORM_IMM8, AF),
    F("test", 0xf7, 0, MS | FORM_IMMZ, AF),
    F("not", 0xf6, 2, M | FORM_LOCK, 0),
    F("not", 0xf7, 2, MS | FORM_LOCK, 0),
    F("neg", 0xf6, 3, M | FORM_LOCK, 0),
    F("neg", 0xf7, 3, MS | FORM_LOCK, 0),
    F("mul", 0xf6, 4, M, SF | ZF | AF | PF),
    F("mul", 0xf7, 4, MS, SF | ZF | AF | PF),
    F("imul", 0xf6, 5, M, SF | ZF | AF | PF),
    F("imul", 0xf7, 5, MS, SF | ZF | AF | PF),
    F("div", 0xf6, 6, M | FORM_DIVIDE, CF | OF | SF | ZF | AF | PF),
    F("div", 0xf7, 6, MS | FORM_DIVIDE, CF | OF | SF | ZF | AF | PF),
    F("idiv", 0xf6, 7, M | FORM_DIVIDE, CF | OF | SF | ZF | AF | PF),
    F("idiv", 0xf7, 7, MS | FORM_DIVIDE, CF | OF | SF | ZF | AF | PF),
    F("clc", 0xf8, ANY, 0, 0),
    F("stc", 0xf9, ANY, 0, 0),
    F("cld", 0xfc, ANY, 0, 0),
    F("std", 0xfd, ANY, 0, 0),
    F("inc", 0xfe, 0, M | FORM_LOCK, 0),
    F("inc", 0xff, 0, MS | FORM_LOCK, 0),
    F("dec", 0xfe, 1, M | FORM_LOCK, 0),
    F("dec", 0xff, 1, MS | FORM_LOCK, 0),
    F("call", 0xff, 2, M | STACK | FORM_JUMP, 0),
    F("jmp", 0xff, 4, M | FORM_JUMP, 0),
    F("push", 0xff, 6, M | STACK, 0),
    F("cli", 0xfa, ANY, 0, 0),
    F("hlt", 0xf4, ANY, 0, 0),
    F("in", 0xec, ANY, 0, 0),
    F("bad", 0x06, ANY, 0, 0),
    F0("ud2", 0x0b, ANY, 0, 0),
    F0("nop", 0x1f, 0, MS, 0),
    F0("cmov", 0x40, ANY, MS | FORM_CC, 0),
    F0("jcc", 0x80, ANY, FORM_CC | FORM_REL32, 0),
    F0("setcc", 0x90, 0, M | FORM_CC, 0),
    F0("bt", 0xa3, ANY, MS | FORM_BIT, OF | SF | AF | PF),
    F0("shld", 0xa4, ANY, MW | FORM_IMM8, OF | AF),
    F0("shld", 0xa5, ANY, MW, OF | AF),
    F0("bts", 0xab, ANY, MS | FORM_BIT | FORM_LOCK, OF | SF | AF | PF),
    F0("shrd", 0xac, ANY, MW | FORM_IMM8, OF | AF),
    F0("shrd", 0xad, ANY, MW, OF | AF),
    F0("imul", 0xaf, ANY, MS, SF | ZF | AF | PF),
    F0("cmpxchg", 0xb0, ANY, M | FORM_LOCK, 0),
    F0("cmpxchg", 0xb1, ANY, MS | FORM_LOCK, 0),
    F0("btr", 0xb3, ANY, MS | FORM_BIT | FORM_LOCK, OF | SF | AF | PF),
    F0("movzx", 0xb6, ANY, MS, 0),
    F0("movzx", 0xb7, ANY, MS, 0),
    F0("bt", 0xba, 4, MS | FORM_IMM8, OF | SF | AF | PF),
    F0("bts", 0xba, 5, MS | FORM_IMM8 | FORM_LOCK, OF | SF | AF | PF),
    F0("btr", 0xba, 6, MS | FORM_IMM8 | FORM_LOCK, OF | SF | AF | PF),
    F0("btc", 0xba, 7, MS | FORM_IMM8 | FORM_LOCK, OF | SF | AF | PF),
    F0("btc", 0xbb, ANY, MS | FORM_BIT | FORM_LOCK, OF | SF | AF | PF),
    F0("bsf", 0xbc, ANY, MS, CF | OF | SF | AF | PF),
    F0("bsr", 0xbd, ANY, MS, CF | OF | SF | AF | PF),
    F0("movsx", 0xbe, ANY, MS, 0),
    F0("movsx", 0xbf, ANY, MS, 0),
    F0("xadd", 0xc0, ANY, M | FORM_LOCK, 0),
    F0("xadd", 0xc1, ANY, MS | FORM_LOCK, 0),
    F0("cmpxchg8b", 0xc7, 1, M | FORM_MEM | FORM_LOCK, 0),
    {"cmpxchg16b", 0, 1, 0xc7, 1, MW | FORM_MEM | FORM_LOCK | FORM_ALIGN16, 0, FORM_FEAT_CX16, 16},
    F0("bswap", 0xc8, ANY, FORM_OPREG | FORM_W, 0),
    FX("tzcnt", 0xf3, 1, 0xbc, MW, OF | SF | AF | PF, BMI1, 0),
    FX("lzcnt", 0xf3, 1, 0xbd, MW, OF | SF | AF | PF, LZCNT, 0),
    FX("popcnt", 0xf3, 1, 0xb8, MW, 0, POPCNT, 0),
    FX("movbe", 0, 2, 0xf0, MS | FORM_MEM, 0, MOVBE, 0),
    FX("movbe", 0, 2, 0xf1, MS | FORM_MEM, 0, MOVBE, 0),
    FX("crc32", 0xf2, 2, 0xf0, MW, 0, SSE42, 0),
    FX("crc32", 0xf2, 2, 0xf1, MW, 0, SSE42, 0),
    FX("adcx", 0x66, 2, 0xf6, MW, 0, ADX, 0),
    VEX("andn", 0, 2, 0xf2, ANY, 0, AF | PF, BMI1),
    VEX("blsr", 0, 2, 0xf3, 1, 0, AF | PF, BMI1),
    VEX("blsmsk", 0, 2, 0xf3, 2, 0, AF | PF, BMI1),
    VEX("blsi", 0, 2, 0xf3, 3, 0, AF | PF, BMI1),
    VEX("bextr", 0, 2, 0xf7, ANY, 0, AF | PF | SF, BMI1),
    VEX("bzhi", 0, 2, 0xf5, ANY, 0, AF | PF, BMI2),
    VEX("pext", 0xf3, 2, 0xf5, ANY, 0, 0, BMI2),
    VEX("pdep", 0xf2, 2, 0xf5, ANY, 0, 0, BMI2),
    VEX("mulx", 0xf2, 2, 0xf6, ANY, 0, 0, BMI2),
    VEX("shlx", 0x66, 2, 0xf7, ANY, 0, 0, BMI2),
    VEX("shrx", 0xf2, 2, 0xf7, ANY, 0, 0, BMI2),
    VEX("sarx", 0xf3, 2, 0xf7, ANY, 0, 0, BMI2),
    VEX("rorx", 0xf2, 3, 0xf0, ANY, FORM_IMM8 | FORM_VEX_NO_V, 0, BMI2),
    FX("adox", 0xf3, 2, 0xf6, MW, 0, ADX, 0),
};

/* Vector and x87 instructions with special operands. */
static const Form mixed_forms[] = {
    FX("emms", 0, 1, 0x77, 0, 0, NONE, 0),
    FX("movnti", 0, 1, 0xc3, MW | FORM_MEM, 0, NONE, 8),
    FX("maskmovq", 0, 1, 0xf7, M | FORM_REG | FORM_MASKMOV, 0, NONE, 8),
    FX("maskmovdqu", 0x66, 1, 0xf7, M | FORM_REG | FORM_MASKMOV, 0, NONE, 16),
    {"ldmxcsr", 0, 1, 0xae, 2, M | FORM_MEM | FORM_MXCSR, 0, 0, 4},
    {"stmxcsr", 0, 1, 0xae, 3, M | FORM_MEM, 0, 0, 4},
    {"mfence", 0, 1, 0xae, 6, M | FORM_REG, 0, 0, 0},
    {"lfence", 0, 1, 0xae, 5, M | FORM_REG, 0, 0, 0},
    {"sfence", 0, 1, 0xae, 7, M | FORM_REG, 0, 0, 0},
    {"clflush", 0, 1, 0xae, 7, M | FORM_MEM, 0, 0, 1},
    {"pause", 0xf3, 0, 0x90, ANY, 0, 0, 0, 0},
    {"prefetchw", 0, 1, 0x0d, 1, M | FORM_MEM, 0, 0, 4},
    {"prefetch", 0, 1, 0x18, 1, M | FORM_MEM, 0, 0, 4},
    F("fwait", 0x9b, ANY, 0, 0),
};

const FormCpuid form_cpuid[FORM_FEAT_COUNT] = {
    [FORM_FEAT_SSE3] = {1, 2, 0},    [FORM_FEAT_PCLMUL] = {1, 2, 1},          [FORM_FEAT_SSSE3] = {1, 2, 9},
    [FORM_FEAT_CX16] = {1, 2, 13},   [FORM_FEAT_SSE41] = {1, 2, 19},          [FORM_FEAT_SSE42] = {1, 2, 20},
    [FORM_FEAT_MOVBE] = {1, 2, 22},  [FORM_FEAT_POPCNT] = {1, 2, 23},         [FORM_FEAT_AES] = {1, 2, 25},
    [FORM_FEAT_BMI2] = {7, 1, 8},
    [FORM_FEAT_BMI1] = {7, 1, 3},    [FORM_FEAT_ADX] = {7, 1, 19},            [FORM_FEAT_LAHF] = {0x80000001, 2, 0},
    [FORM_FEAT_LZCNT] = {0x80000001, 2, 5},
};

static FormFeature simd_feature(unsigned feature)
{
    static const uint8_t features[] = {
        [X86_SIMD_FEAT_SSE3] = FORM_FEAT_SSE3,   [X86_SIMD_FEAT_SSSE3] = FORM_FEAT_SSSE3,
        [X86_SIMD_FEAT_SSE41] = FORM_FEAT_SSE41, [X86_SIMD_FEAT_SSE42] = FORM_FEAT_SSE42,
        [X86_SIMD_FEAT_AES] = FORM_FEAT_AES,     [X86_SIMD_FEAT_PCLMUL] = FORM_FEAT_PCLMUL,
    };

    return (FormFeature)features[feature];
}

static Form simd_form(const X86SimdInsn *insn, unsigned map, unsigned prefix, uint8_t opcode, int digit)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
    Form form = {insn->name, prefixes[prefix], (uint8_t)(map + 1), opcode, (int8_t)digit, FORM_MODRM, 0,
                 (uint8_t)simd_feature(insn->feature), insn->mem_size};

    if (insn->dst == X86_OPD_MEM_ONLY || insn->src == X86_OPD_MEM_ONLY) {
        form.flags |= FORM_MEM;
    }
    if (digit != FORM_ANY_REG) {
        form.flags |= FORM_REG;
    }
    if (insn->flags & X86_SIMD_ALIGNED) {
        form.flags |= FORM_ALIGN16;
    }
    if (insn->flags & X86_SIMD_IMM8) {
        form.flags |= FORM_IMM8;
    }
    if (insn->flags & X86_SIMD_USES_REXW) {
        form.flags |= FORM_W;
    }
    if (insn->src == X86_OPD_XMM_ONLY || insn->src == X86_OPD_MMX_ONLY) {
        form.flags |= FORM_REG;
    }
    if (!form.mem_bytes) {
        form.mem_bytes = 8;
    }
    return form;
}

static size_t simd_forms(Form *forms)
{
    size_t count = 0;

    for (unsigned map = 0; map < 3; map++) {
        for (unsigned key = 0; key < 4 * 256 * 8; key++) {
            const unsigned prefix = key >> 11, digit = key & 7;
            const uint8_t opcode = key >> 3 & 0xff;
            const bool group = map == 0 && opcode >= 0x71 && opcode <= 0x73;
            const X86SimdInsn *insn = x86_simd_lookup((X86OpcodeMap)map, (X86SimdPrefix)prefix, opcode, digit);
            if (insn && (group || digit == 0) && !(insn->flags & X86_SIMD_MASKMOV)) {
                forms[count++] = simd_form(insn, map, prefix, opcode, group ? (int)digit : FORM_ANY_REG);
            }
        }
    }
    return count;
}

/* Register forms keep rm in mem_bytes and have mod 3 fixed. */
static size_t x87_forms(Form *forms)
{
    size_t count = 0;

    for (unsigned opcode = 0xd8; opcode <= 0xdf; opcode++) {
        for (unsigned modrm = 0; modrm < 0x100; modrm++) {
            const X86FpuInsn *insn = x86_fpu_lookup((uint8_t)opcode, (uint8_t)modrm);
            const bool memory = modrm < 0xc0;
            if (!insn || (memory && (modrm & 0xc7))) {
                continue;
            }
            forms[count++] = (Form){insn->name,
                                    0,
                                    0,
                                    (uint8_t)opcode,
                                    (int8_t)(modrm >> 3 & 7),
                                    FORM_MODRM | FORM_X87 | (memory ? FORM_MEM : FORM_REG) |
                                        (insn->env ? FORM_ENV : 0),
                                    0,
                                    0,
                                    (uint8_t)(memory ? insn->mem_read | insn->mem_write : modrm & 7)};
        }
    }
    return count;
}

Form *forms_make(size_t *count)
{
    enum { SIMD_MAX = 3 * 4 * 256, X87_MAX = 8 * 256 };
    Form *forms = calloc(COUNT(integer_forms) + COUNT(mixed_forms) + SIMD_MAX + X87_MAX, sizeof(*forms));

    if (!forms) {
        abort();
    }
    memcpy(forms, integer_forms, sizeof(integer_forms));
    *count = COUNT(integer_forms);
    memcpy(forms + *count, mixed_forms, sizeof(mixed_forms));
    *count += COUNT(mixed_forms);
    *count += simd_forms(forms + *count);
    *count += x87_forms(forms + *count);
    return forms;
}
