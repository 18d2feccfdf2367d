/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instruction forms: what is needed to encode an instruction with random
 * operands and to know which of its results are defined.
 */
#ifndef TESTS_TCG_FORMS_H
#define TESTS_TCG_FORMS_H

#include <stddef.h>
#include <stdint.h>

enum {
    FORM_MODRM = 1 << 0,   /* has a ModRM byte; any register or memory unless FORM_REG or FORM_MEM */
    FORM_REG = 1 << 1,     /* ModRM.rm only a register */
    FORM_MEM = 1 << 2,     /* ModRM.rm only memory */
    FORM_SIZES = 1 << 3,   /* operand size by 66 and REX.W */
    FORM_W = 1 << 4,       /* operand size by REX.W only */
    FORM_OPREG = 1 << 5,   /* register in the low bits of the opcode */
    FORM_CC = 1 << 6,      /* condition in the low bits of the opcode */
    FORM_IMM8 = 1 << 7,
    FORM_IMMZ = 1 << 8,    /* 2 or 4 bytes by operand size */
    FORM_IMMV = 1 << 9,    /* 2, 4 or 8 bytes */
    FORM_IMM16 = 1 << 10,
    FORM_REL8 = 1 << 11,
    FORM_REL32 = 1 << 12,
    FORM_LOCK = 1 << 13,   /* LOCK is allowed with a memory destination */
    FORM_STACK = 1 << 14,  /* RSP must point to memory */
    FORM_RETURN = 1 << 15, /* the top of the stack is a code address */
    FORM_JUMP = 1 << 16,   /* the operand is a code address */
    FORM_STRING = 1 << 17, /* RSI, RDI and RCX; repeat prefixes */
    FORM_BIT = 1 << 18,    /* the register operand is a bit offset from memory */
    FORM_DIVIDE = 1 << 19, /* rarely useful with random RDX */
    FORM_ALIGN16 = 1 << 20, /* memory must be aligned */
    FORM_FLAGS_TOP = 1 << 21, /* the top of the stack becomes RFLAGS */
    FORM_X87 = 1 << 22,
    FORM_FRAME = 1 << 23,  /* RBP must point to memory */
    FORM_TABLE = 1 << 24,  /* RBX must point to memory */
    FORM_MASKMOV = 1 << 25, /* RDI must point to memory */
    FORM_MXCSR = 1 << 26,  /* memory becomes MXCSR */
    FORM_ENTER = 1 << 27,
    FORM_VEX_NO_V = 1 << 30, /* vvvv must be empty */
    FORM_VEX = 1 << 29,    /* VEX prefix, 128 bits, a register in vvvv */
    FORM_ENV = 1 << 28,    /* memory holds x87 instruction pointers: not compared */
};

#define FORM_MOFFS UINT32_C(0x80000000) /* an address of 8 bytes instead of ModRM */

enum { FORM_ANY_REG = -1, FORM_MAX_BYTES = 16 };

/* CPUID features by where they are found; see forms_feature_present(). */
typedef enum FormFeature {
    FORM_FEAT_NONE,
    FORM_FEAT_SSE3,
    FORM_FEAT_PCLMUL,
    FORM_FEAT_SSSE3,
    FORM_FEAT_CX16,
    FORM_FEAT_SSE41,
    FORM_FEAT_SSE42,
    FORM_FEAT_MOVBE,
    FORM_FEAT_POPCNT,
    FORM_FEAT_AES,
    FORM_FEAT_BMI1,
    FORM_FEAT_BMI2,
    FORM_FEAT_ADX,
    FORM_FEAT_LAHF,
    FORM_FEAT_LZCNT,
    FORM_FEAT_COUNT,
} FormFeature;

typedef struct Form {
    const char *name;
    uint8_t prefix; /* mandatory 66, F2, F3 or 0 */
    uint8_t map;    /* bytes before the opcode: 0, 1 (0F), 2 (0F 38), 3 (0F 3A) */
    uint8_t opcode;
    int8_t digit; /* ModRM.reg, or FORM_ANY_REG */
    uint32_t flags;
    uint16_t undefined; /* RFLAGS bits */
    uint8_t feature;    /* FormFeature */
    uint8_t mem_bytes;  /* of vector and x87 memory operands */
} Form;

/* Where a feature is reported. */
typedef struct FormCpuid {
    uint32_t leaf;
    unsigned reg; /* 0..3: EAX, EBX, ECX, EDX */
    unsigned bit;
} FormCpuid;

extern const FormCpuid form_cpuid[FORM_FEAT_COUNT];

/* All forms, those of the vector and x87 tables included; malloc'ed, the caller frees. */
Form *forms_make(size_t *count);

#endif
