/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BMI1 and BMI2: general-register instructions with a VEX prefix (SDM vol. 2,
 * those instructions).  The decoder has put the operation, the register of
 * VEX.vvvv and the immediate byte into Op.imm.
 */
#include "accel/tcg/core/flags.h"
#include "accel/tcg/core/insn.h"
#include "accel/tcg/core/ops.h"

enum { MAP_0F38 = 2, MAP_0F3A = 3 };

typedef struct Bmi {
    X86Cpu *cpu;
    unsigned size;   /* bytes */
    uint64_t src;    /* ModRM.rm */
    uint64_t extra;  /* VEX.vvvv */
    unsigned vvvv;   /* byte offset of that register */
    uint8_t imm;
} Bmi;

typedef struct BmiInsn {
    uint8_t map, opcode, prefix;
    int8_t digit;    /* ModRM.reg, -1: any */
    uint8_t feature; /* bit of CPUID.7:EBX */
    bool imm8;
    uint64_t (*fn)(Bmi *b);
    bool to_vvvv;    /* the destination is VEX.vvvv */
} BmiInsn;

static unsigned bits_of(const Bmi *b)
{
    return b->size * 8;
}

/* SF and ZF of the result, OF clear; AF and PF, which are undefined, too. */
static uint64_t logic(Bmi *b, uint64_t res, bool cf)
{
    res &= insn_mask(b->size);
    cc_raw(b->cpu, (res ? 0 : X86_FLAG_ZF) | (res >> (bits_of(b) - 1) ? X86_FLAG_SF : 0) | (cf ? X86_FLAG_CF : 0));
    return res;
}

static uint64_t bmi_andn(Bmi *b)
{
    return logic(b, ~b->extra & b->src, false);
}

static uint64_t bmi_blsr(Bmi *b)
{
    return logic(b, b->src & (b->src - 1), !b->src);
}

static uint64_t bmi_blsmsk(Bmi *b)
{
    return logic(b, b->src ^ (b->src - 1), !b->src);
}

static uint64_t bmi_blsi(Bmi *b)
{
    return logic(b, b->src & -b->src, b->src);
}

static uint64_t bmi_bextr(Bmi *b)
{
    unsigned start = b->extra & 0xff, len = b->extra >> 8 & 0xff;
    uint64_t res = start < bits_of(b) ? b->src >> start : 0;

    res = logic(b, len < 64 ? res & ((UINT64_C(1) << len) - 1) : res, false);
    cc_raw(b->cpu, x86_flags_arith(b->cpu) & ~X86_FLAG_SF); /* SF is undefined */
    return res;
}

static uint64_t bmi_bzhi(Bmi *b)
{
    unsigned n = b->extra & 0xff;
    bool over = n >= bits_of(b);

    return logic(b, over ? b->src : b->src & ((UINT64_C(1) << n) - 1), over);
}

static uint64_t bmi_pdep(Bmi *b)
{
    uint64_t mask = b->src, val = b->extra, res = 0;

    for (; mask; mask &= mask - 1, val >>= 1) {
        res |= val & 1 ? mask & -mask : 0;
    }
    return res;
}

static uint64_t bmi_pext(Bmi *b)
{
    uint64_t mask = b->src, res = 0;

    for (unsigned n = 0; mask; mask &= mask - 1, n++) {
        res |= b->extra & mask & -mask ? UINT64_C(1) << n : 0;
    }
    return res;
}

/* The low half goes to vvvv first: with both the same the high half stays. */
static uint64_t bmi_mulx(Bmi *b)
{
    unsigned __int128 p = (unsigned __int128)insn_reg(b->cpu, X86_RDX * 8, b->size) * b->src;

    insn_set_reg(b->cpu, b->vvvv, b->size, (uint64_t)p);
    return (uint64_t)(p >> bits_of(b));
}

static uint64_t bmi_shlx(Bmi *b)
{
    return b->src << (b->extra & (bits_of(b) - 1));
}

static uint64_t bmi_shrx(Bmi *b)
{
    return b->src >> (b->extra & (bits_of(b) - 1));
}

static uint64_t bmi_sarx(Bmi *b)
{
    return (uint64_t)(insn_sext(b->src, b->size) >> (b->extra & (bits_of(b) - 1)));
}

static uint64_t bmi_rorx(Bmi *b)
{
    unsigned n = b->imm & (bits_of(b) - 1);

    return n ? b->src >> n | b->src << (bits_of(b) - n) : b->src;
}

enum { BMI1 = 3, BMI2 = 8 };

static const BmiInsn insns[] = {
    {MAP_0F38, 0xf2, 0, -1, BMI1, .fn = bmi_andn},
    {MAP_0F38, 0xf3, 0, 1, BMI1, .fn = bmi_blsr, .to_vvvv = true},
    {MAP_0F38, 0xf3, 0, 2, BMI1, .fn = bmi_blsmsk, .to_vvvv = true},
    {MAP_0F38, 0xf3, 0, 3, BMI1, .fn = bmi_blsi, .to_vvvv = true},
    {MAP_0F38, 0xf7, 0, -1, BMI1, .fn = bmi_bextr},
    {MAP_0F38, 0xf5, 0, -1, BMI2, .fn = bmi_bzhi},
    {MAP_0F38, 0xf5, 0xf3, -1, BMI2, .fn = bmi_pext},
    {MAP_0F38, 0xf5, 0xf2, -1, BMI2, .fn = bmi_pdep},
    {MAP_0F38, 0xf6, 0xf2, -1, BMI2, .fn = bmi_mulx},
    {MAP_0F38, 0xf7, 0x66, -1, BMI2, .fn = bmi_shlx},
    {MAP_0F38, 0xf7, 0xf2, -1, BMI2, .fn = bmi_shrx},
    {MAP_0F38, 0xf7, 0xf3, -1, BMI2, .fn = bmi_sarx},
    {MAP_0F3A, 0xf0, 0xf2, -1, BMI2, .imm8 = true, .fn = bmi_rorx},
};

int x86_bmi_find(const X86Cpu *cpu, unsigned map, unsigned opcode, unsigned prefix, unsigned digit, bool *imm8)
{
    for (size_t i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
        if (insns[i].map == map && insns[i].opcode == opcode && insns[i].prefix == prefix &&
            (insns[i].digit < 0 || insns[i].digit == (int)digit) && x86_has_feature(cpu, X86_F_7_EBX, insns[i].feature)) {
            *imm8 = insns[i].imm8;
            return (int)i;
        }
    }
    return -1;
}

/* imm: bits 0-7 index into the table, 8-15 register of vvvv, 16-23 immediate byte. */
void x86_fn_bmi(X86Cpu *cpu, const Op *op)
{
    const BmiInsn *insn = &insns[op->imm & 0xff];
    Bmi b = {.cpu = cpu, .size = op->osize, .vvvv = (op->imm >> 8 & 0xff) * 8, .imm = (uint8_t)(op->imm >> 16)};

    b.src = insn_rm(cpu, op, b.size);
    b.extra = insn_reg(cpu, b.vvvv, b.size);
    insn_set_reg(cpu, insn->to_vvvv ? b.vvvv : op->r1, b.size, insn->fn(&b));
}
