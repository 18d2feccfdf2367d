/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the files of the decoder: its state, operands, what tables of opcodes hold. */
#ifndef ACCEL_TCG_DECODE_PRIVATE_H
#define ACCEL_TCG_DECODE_PRIVATE_H

#include "accel/tcg/core/ops.h"
#include "accel/tcg/core/state.h"

#define INSN_MAX 15

typedef struct Decoder {
    X86Cpu *cpu;
    Block *block;
    uint64_t rip;            /* of the block */
    const uint8_t *page;     /* the block's first byte */
    unsigned room;           /* bytes from there to the end of the page */
    const uint8_t *bytes;    /* of this instruction */
    unsigned pos, avail;
    uint8_t crossing[32];    /* an instruction that ends in the next page */
    bool first;              /* only the first instruction may cross */
    jmp_buf stop;            /* the next one does not fit: the block ends before it */
    bool long64;
    bool opsize, addrsize, lock, has_rex;
    uint8_t rep;             /* 0xf2, 0xf3 or 0 */
    uint8_t rex;
    int seg;                 /* override or -1 */
    unsigned osize;          /* 2, 4, 8 */
    uint8_t modrm;
    Op op;
    bool ends;
} Decoder;

typedef void DecodeFn(Decoder *d, uint8_t opcode);

/* Ids of the ALU ops: OP_ADD_RR_8 + alu * ALU_STRIDE + form + log2(size). */
#define ALU_STRIDE 20
enum { FORM_RR = 0, FORM_RI = 4, FORM_RM = 8, FORM_MR = 12, FORM_MI = 16 };
enum { ALU_CMP = 7, ALU_TEST = 8, ALU_MOV = 9 };

static inline unsigned dec_log2_size(unsigned size)
{
    return (unsigned)__builtin_ctz(size);
}

static inline unsigned dec_modrm_reg(const Decoder *d)
{
    return ((d->modrm >> 3) & 7) | ((d->rex & 4) << 1);
}

static inline unsigned dec_modrm_rm(const Decoder *d)
{
    return (d->modrm & 7) | ((d->rex & 1) << 3);
}

static inline unsigned dec_modrm_digit(const Decoder *d)
{
    return (d->modrm >> 3) & 7;
}

static inline bool dec_is_reg(const Decoder *d)
{
    return d->modrm >= 0xc0;
}

static inline unsigned dec_alu_id(unsigned alu, unsigned form, unsigned size)
{
    return OP_ADD_RR_8 + alu * ALU_STRIDE + form + dec_log2_size(size);
}

static inline unsigned dec_byte_or_osize(const Decoder *d, uint8_t opcode)
{
    return opcode & 1 ? d->osize : 1;
}

/* The next bytes of the instruction; may fault, or leave the block to end before the instruction. */
uint8_t dec_get8(Decoder *d);
uint16_t dec_get16(Decoder *d);
uint32_t dec_get32(Decoder *d);
uint64_t dec_get64(Decoder *d);
/* Immediate of the operand size, at most 32 bits, sign-extended (Iz). */
uint64_t dec_get_imm(Decoder *d, unsigned size);
/* Byte offset of a register in gpr[]. */
uint8_t dec_reg_offset(const Decoder *d, unsigned n, unsigned size);
/* The segment of a memory operand: the override, or def. */
void dec_set_segment(Decoder *d, int def);
/* Reads ModRM and what belongs to it; sets r1 and r2 for registers of `size` bytes. */
void dec_get_modrm(Decoder *d, unsigned size);
void dec_emit(Decoder *d, unsigned id);
void dec_emit_end(Decoder *d, unsigned id); /* one that ends the block */
void dec_emit_ud(Decoder *d);
/* Memory (or register) destination with a register or immediate source. */
void dec_emit_alu_rm(Decoder *d, unsigned alu, bool imm, unsigned size);

/* --- tables of opcodes --- */

enum Operands { OPD_NONE, OPD_MODRM8, OPD_MODRM, OPD_IMM8, OPD_MODRM_IMM8, OPD_IMM16_IMM8 };

typedef struct Entry {
    DecodeFn *fn;
    uint16_t id;
    uint8_t operands;
    bool ends, no_long, lockable, reg_only_ud;
} Entry;

#define FN(f) {.fn = f}
#define CALL(name, opd) {.id = OP_call_##name, .operands = opd}
#define ENDS(name, opd) {.id = OP_call_##name, .operands = opd, .ends = true}
#define OLD(entry_fn) {.fn = entry_fn, .no_long = true}

void decode_entry(Decoder *d, const Entry *e, uint8_t opcode);

/* In both maps. */
DecodeFn dec_jcc;
/* By the opcode's map. */
void decode_one_byte(Decoder *d, uint8_t opcode);
void decode_two_byte(Decoder *d);

#endif
