/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encoder of the host instructions the compiler needs (SDM vol. 2, chapter 2).
 * Code is written through one mapping and runs in another: addresses inside it
 * are written ones, asm_run() gives what the processor sees.
 */
#ifndef ACCEL_TCG_JIT_ASM_H
#define ACCEL_TCG_JIT_ASM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { H_AX, H_CX, H_DX, H_BX, H_SP, H_BP, H_SI, H_DI, H_R8, H_R9, H_R10, H_R11, H_R12, H_R13, H_R14, H_R15 };

typedef struct Asm {
    uint8_t *at;
    ptrdiff_t run; /* executable address minus written one */
} Asm;

/* An operand: a host register or [base + index * 2^scale + disp]. */
typedef struct Loc {
    bool mem;
    uint8_t reg;   /* or base */
    int8_t index;  /* -1: none */
    uint8_t scale;
    int32_t disp;
} Loc;

static inline Loc loc_reg(unsigned reg)
{
    return (Loc){.reg = (uint8_t)reg, .index = -1};
}

static inline Loc loc_mem(unsigned base, int32_t disp)
{
    return (Loc){.mem = true, .reg = (uint8_t)base, .index = -1, .disp = disp};
}

static inline Loc loc_indexed(unsigned base, unsigned index, unsigned scale, int32_t disp)
{
    return (Loc){.mem = true, .reg = (uint8_t)base, .index = (int8_t)index, .scale = (uint8_t)scale, .disp = disp};
}

static inline void asm_8(Asm *a, unsigned v)
{
    *a->at++ = (uint8_t)v;
}

static inline void asm_32(Asm *a, uint32_t v)
{
    memcpy(a->at, &v, 4);
    a->at += 4;
}

static inline void asm_64(Asm *a, uint64_t v)
{
    memcpy(a->at, &v, 8);
    a->at += 8;
}

/* Immediate of an instruction with operands of `size` bytes. */
static inline void asm_imm(Asm *a, unsigned size, uint64_t v)
{
    unsigned n = size == 8 ? 4 : size;

    memcpy(a->at, &v, n);
    a->at += n;
}

static inline const void *asm_run(const Asm *a, const uint8_t *at)
{
    return at + a->run;
}

static inline void asm_modrm(Asm *a, unsigned reg, Loc rm)
{
    unsigned low = rm.reg & 7, mod;

    reg = (reg & 7) << 3;
    if (!rm.mem) {
        asm_8(a, 0xc0 | reg | low);
        return;
    }
    mod = rm.disp == 0 && low != 5 ? 0 : rm.disp == (int8_t)rm.disp ? 0x40 : 0x80;
    if (rm.index >= 0) {
        asm_8(a, mod | reg | 4);
        asm_8(a, (unsigned)rm.scale << 6 | (rm.index & 7u) << 3 | low);
    } else {
        asm_8(a, mod | reg | low);
        if (low == 4) {
            asm_8(a, 0x24);
        }
    }
    if (mod == 0x40) {
        asm_8(a, (uint8_t)rm.disp);
    } else if (mod) {
        asm_32(a, (uint32_t)rm.disp);
    }
}

/*
 * One instruction: opcode (0x0fXX, 0x0f38XX: the longer maps), prefix (66, F2, F3 or
 * 0), ModRM.reg and ModRM.rm.  size 2 adds 66, 8 REX.W; 1 makes bytes of registers 4..7
 * their low bytes (reg_is_byte: ModRM.reg is one too).
 */
static inline void asm_insn(Asm *a, unsigned prefix, unsigned opcode, unsigned size, unsigned reg, bool reg_is_byte, Loc rm)
{
    unsigned rex = (size == 8) << 3 | (reg >> 3 & 1) << 2 | (rm.index >= 0 ? (unsigned)rm.index >> 3 : 0) << 1 | rm.reg >> 3;

    if (size == 2) {
        asm_8(a, 0x66);
    }
    if (prefix) {
        asm_8(a, prefix);
    }
    if (rex || (size == 1 && ((!rm.mem && rm.reg >= 4) || (reg_is_byte && reg >= 4)))) {
        asm_8(a, 0x40 | rex);
    }
    if (opcode > 0xffff) {
        asm_8(a, opcode >> 16);
    }
    if (opcode > 0xff) {
        asm_8(a, opcode >> 8 & 0xff);
    }
    asm_8(a, opcode & 0xff);
    asm_modrm(a, reg, rm);
}

/* Opcodes that come as a pair: even for bytes, odd for more. */
static inline void asm_rm(Asm *a, unsigned opcode, unsigned size, unsigned reg, Loc rm)
{
    asm_insn(a, 0, opcode | (size > 1), size, reg, true, rm);
}

/* The same with ModRM.reg as a digit. */
static inline void asm_digit(Asm *a, unsigned opcode, unsigned size, unsigned digit, Loc rm)
{
    asm_insn(a, 0, opcode | (size > 1), size, digit, false, rm);
}

static inline void asm_load(Asm *a, unsigned size, unsigned reg, Loc from)
{
    asm_insn(a, 0, 0x8b, size, reg, false, from);
}

static inline void asm_store(Asm *a, unsigned size, Loc to, unsigned reg)
{
    asm_rm(a, 0x88, size, reg, to);
}

static inline void asm_lea(Asm *a, unsigned size, unsigned reg, Loc from)
{
    asm_insn(a, 0, 0x8d, size, reg, false, from);
}

static inline void asm_move(Asm *a, unsigned to, unsigned from)
{
    asm_load(a, 8, to, loc_reg(from));
}

/* Keeps the flags. */
static inline void asm_const(Asm *a, unsigned reg, uint64_t v)
{
    if (v == (uint32_t)v) {
        if (reg >> 3) {
            asm_8(a, 0x41);
        }
        asm_8(a, 0xb8 | (reg & 7));
        asm_32(a, (uint32_t)v);
    } else if (v == (uint64_t)(int64_t)(int32_t)v) {
        asm_insn(a, 0, 0xc7, 8, 0, false, loc_reg(reg));
        asm_32(a, (uint32_t)v);
    } else {
        asm_8(a, 0x48 | reg >> 3);
        asm_8(a, 0xb8 | (reg & 7));
        asm_64(a, v);
    }
}

static inline void asm_bswap(Asm *a, unsigned size, unsigned reg)
{
    unsigned rex = 0x40 | (size == 8) << 3 | reg >> 3;

    if (rex != 0x40) {
        asm_8(a, rex);
    }
    asm_8(a, 0x0f);
    asm_8(a, 0xc8 | (reg & 7));
}

/* Jumps and calls; `to` is a written address. */
static inline void asm_rel32(Asm *a, const uint8_t *to)
{
    asm_32(a, (uint32_t)(to - (a->at + 4)));
}

static inline void asm_jump(Asm *a, const uint8_t *to)
{
    asm_8(a, 0xe9);
    asm_rel32(a, to);
}

static inline void asm_call(Asm *a, const uint8_t *to)
{
    asm_8(a, 0xe8);
    asm_rel32(a, to);
}

static inline void asm_jcc(Asm *a, unsigned cond, const uint8_t *to)
{
    asm_8(a, 0x0f);
    asm_8(a, 0x80 | cond);
    asm_rel32(a, to);
}

/* A jump whose target follows later: returns where its displacement is. */
static inline uint8_t *asm_jcc_open(Asm *a, unsigned cond)
{
    asm_8(a, 0x0f);
    asm_8(a, 0x80 | cond);
    asm_32(a, 0);
    return a->at - 4;
}

static inline uint8_t *asm_jump_open(Asm *a)
{
    asm_8(a, 0xe9);
    asm_32(a, 0);
    return a->at - 4;
}

static inline void asm_patch(uint8_t *disp, const uint8_t *to)
{
    uint32_t v = (uint32_t)(to - (disp + 4));

    memcpy(disp, &v, 4);
}

static inline void asm_close(Asm *a, uint8_t *disp)
{
    asm_patch(disp, a->at);
}

enum { COND_O, COND_NO, COND_B, COND_AE, COND_E, COND_NE, COND_BE, COND_A };

#endif
