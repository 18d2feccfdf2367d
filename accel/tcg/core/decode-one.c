/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decoder: one-byte opcodes (SDM vol. 2, table A-2). */
#include "accel/tcg/core/decode-private.h"

static void dec_alu(Decoder *d, uint8_t opcode)
{
    unsigned alu = opcode >> 3, size = dec_byte_or_osize(d, opcode);

    if ((opcode & 7) >= 4) {
        d->op.r1 = 0;
        d->op.osize = (uint8_t)size;
        d->op.imm = dec_get_imm(d, size);
        dec_emit(d, dec_alu_id(alu, FORM_RI, size));
        return;
    }
    dec_get_modrm(d, size);
    if (!(opcode & 2)) {
        dec_emit_alu_rm(d, alu, false, size);
    } else if (d->lock) {
        dec_emit_ud(d);
    } else {
        dec_emit(d, dec_alu_id(alu, dec_is_reg(d) ? FORM_RR : FORM_RM, size));
    }
}

static void dec_group1(Decoder *d, uint8_t opcode)
{
    unsigned size = dec_byte_or_osize(d, opcode);

    dec_get_modrm(d, size);
    d->op.imm = opcode == 0x81 ? dec_get_imm(d, size) : dec_get_imm(d, 1);
    dec_emit_alu_rm(d, dec_modrm_digit(d), true, size);
}

static void dec_test(Decoder *d, uint8_t opcode)
{
    unsigned size = dec_byte_or_osize(d, opcode);

    if (opcode >= 0xa8) {
        d->op.r1 = 0;
        d->op.imm = dec_get_imm(d, size);
        dec_emit(d, dec_alu_id(ALU_TEST, FORM_RI, size));
        return;
    }
    dec_get_modrm(d, size);
    dec_emit_alu_rm(d, ALU_TEST, false, size);
}

static void dec_mov(Decoder *d, uint8_t opcode)
{
    unsigned size = dec_byte_or_osize(d, opcode);

    dec_get_modrm(d, size);
    if (opcode >= 0xc6) {
        if (dec_modrm_digit(d)) {
            dec_emit_ud(d);
            return;
        }
        d->op.imm = dec_get_imm(d, size);
        dec_emit_alu_rm(d, ALU_MOV, true, size);
    } else if (opcode & 2) {
        dec_emit(d, dec_alu_id(ALU_MOV, dec_is_reg(d) ? FORM_RR : FORM_RM, size));
    } else {
        dec_emit_alu_rm(d, ALU_MOV, false, size);
    }
}

static void dec_mov_imm(Decoder *d, uint8_t opcode)
{
    unsigned n = (opcode & 7) | ((d->rex & 1) << 3), size = opcode >= 0xb8 ? d->osize : 1;

    d->op.r1 = dec_reg_offset(d, n, size);
    d->op.imm = size == 8 ? dec_get64(d) : dec_get_imm(d, size);
    dec_emit(d, dec_alu_id(ALU_MOV, FORM_RI, size));
}

/* MOV AL/eAX, moffs and back. */
static void dec_moffs(Decoder *d, uint8_t opcode)
{
    unsigned size = dec_byte_or_osize(d, opcode);
    uint64_t offset = d->op.asize == 3 ? dec_get64(d) : d->op.asize == 2 ? dec_get32(d) : dec_get16(d);

    d->op.r1 = 0;
    d->op.mem = 1;
    d->op.osize = (uint8_t)size;
    d->op.base = d->op.index = SLOT_ZERO;
    dec_set_segment(d, X86_SEG_DS);
    if ((uint64_t)(int64_t)(int32_t)offset == offset) {
        d->op.disp = (int32_t)offset;
        dec_emit(d, dec_alu_id(ALU_MOV, opcode & 2 ? FORM_MR : FORM_RM, size));
    } else {
        d->op.imm = offset;
        d->op.aux = opcode;
        dec_emit(d, OP_call_sysinfo);
    }
}

static void dec_lea(Decoder *d, uint8_t opcode)
{
    dec_get_modrm(d, d->osize);
    d->op.has_seg = 0;
    if (dec_is_reg(d)) {
        dec_emit_ud(d);
    } else {
        dec_emit(d, OP_LEA_16 + dec_log2_size(d->osize) - 1);
    }
}

static void dec_push_pop_reg(Decoder *d, uint8_t opcode)
{
    bool pop = opcode >= 0x58;

    d->op.r1 = (uint8_t)(((opcode & 7) | ((d->rex & 1) << 3)) * 8);
    d->op.aux = opcode;
    if (d->long64 && !d->opsize) {
        dec_emit(d, pop ? OP_POP64_R : OP_PUSH64_R);
    } else {
        dec_emit(d, pop ? OP_call_pop : OP_call_push);
    }
}

static void dec_push_imm(Decoder *d, uint8_t opcode)
{
    d->op.imm = opcode == 0x6a ? dec_get_imm(d, 1) : dec_get_imm(d, d->opsize == d->long64 || d->osize == 2 ? d->osize : 4);
    d->op.aux = opcode;
    dec_emit(d, d->long64 && !d->opsize ? OP_PUSH64_I : OP_call_push);
}

static void dec_incdec_reg(Decoder *d, uint8_t opcode)
{
    d->op.r1 = (uint8_t)((opcode & 7) * 8);
    dec_emit(d, (opcode >= 0x48 ? OP_DEC_R_8 : OP_INC_R_8) + dec_log2_size(d->osize));
}

/* FE, FF */
static void dec_group45(Decoder *d, uint8_t opcode)
{
    unsigned size = dec_byte_or_osize(d, opcode), digit;

    dec_get_modrm(d, size);
    digit = dec_modrm_digit(d);
    d->op.aux = opcode;
    if (digit < 2) {
        d->op.aux = digit ? 9 : 8;
        d->op.r1 = dec_is_reg(d) ? d->op.r2 : d->op.r1;
        if (d->lock) {
            if (dec_is_reg(d)) {
                dec_emit_ud(d);
            } else {
                dec_emit(d, OP_call_alu_slow);
            }
        } else {
            dec_emit(d, (dec_is_reg(d) ? (digit ? OP_DEC_R_8 : OP_INC_R_8) : (digit ? OP_DEC_M_8 : OP_INC_M_8)) + dec_log2_size(size));
        }
        return;
    }
    if (opcode == 0xfe || digit == 7 || ((digit == 3 || digit == 5) && dec_is_reg(d))) {
        dec_emit_ud(d);
    } else if (digit == 3 || digit == 5) {
        dec_emit_end(d, OP_call_far);
    } else if (d->long64 && digit == 6 && !d->opsize) {
        d->op.r1 = d->op.r2;
        dec_emit(d, dec_is_reg(d) ? OP_PUSH64_R : OP_PUSH64_M);
    } else if (d->long64 && digit != 6) {
        static const uint16_t ids[2][2] = {{OP_CALL64_M, OP_CALL64_R}, {OP_JMP64_M, OP_JMP64_R}};

        d->op.r1 = (uint8_t)(dec_modrm_rm(d) * 8);
        dec_emit_end(d, ids[digit == 4][dec_is_reg(d)]);
    } else if (digit == 6) {
        dec_emit(d, OP_call_push);
    } else {
        dec_emit_end(d, digit == 2 ? OP_call_call_near : OP_call_jmp_near);
    }
}

/* F6, F7 */
static void dec_group3(Decoder *d, uint8_t opcode)
{
    unsigned size = dec_byte_or_osize(d, opcode), digit;

    dec_get_modrm(d, size);
    digit = dec_modrm_digit(d);
    if (digit < 2) {
        d->op.imm = dec_get_imm(d, size);
        dec_emit_alu_rm(d, ALU_TEST, true, size);
    } else if (digit < 4) {
        d->op.aux = (uint8_t)(digit + 8); /* 10 NOT, 11 NEG */
        if (dec_is_reg(d)) {
            d->op.r1 = d->op.r2;
            if (d->lock) {
                dec_emit_ud(d);
            } else {
                dec_emit(d, (digit == 2 ? OP_NOT_R_8 : OP_NEG_R_8) + dec_log2_size(size));
            }
        } else {
            dec_emit(d, OP_call_alu_slow);
        }
    } else {
        d->op.aux = (uint8_t)digit;
        dec_emit(d, OP_call_mul);
    }
}

/* C0 C1 D0-D3 */
static void dec_shift(Decoder *d, uint8_t opcode)
{
    unsigned size = dec_byte_or_osize(d, opcode), digit, count = 0;

    dec_get_modrm(d, size);
    digit = dec_modrm_digit(d);
    d->op.aux = (uint8_t)digit;
    if (opcode >= 0xd2) {
        d->op.aux2 = 1; /* by CL */
        dec_emit(d, OP_call_shift);
        return;
    }
    count = opcode >= 0xd0 ? 1 : dec_get8(d) & (size == 8 ? 63 : 31);
    d->op.imm = count;
    d->op.aux2 = 0;
    if (dec_is_reg(d) && size >= 2 && digit >= 4 && count && count < size * 8) {
        d->op.r1 = d->op.r2;
        dec_emit(d, (digit == 5 ? OP_SHR_RI_16 : digit == 7 ? OP_SAR_RI_16 : OP_SHL_RI_16) + dec_log2_size(size) - 1);
    } else {
        dec_emit(d, OP_call_shift);
    }
}

static void set_jump_target(Decoder *d, int64_t disp)
{
    d->op.imm = (uint64_t)(disp + (int64_t)d->op.off + d->pos);
}

static void emit_near(Decoder *d, unsigned fast, unsigned slow, unsigned size)
{
    int64_t disp = size == 1 ? (int8_t)dec_get8(d) : d->osize == 2 && !d->long64 ? (int16_t)dec_get16(d) : (int32_t)dec_get32(d);

    set_jump_target(d, disp);
    dec_emit_end(d, d->long64 || (fast != OP_CALL64 && d->osize == 4 && (d->cpu->mode & MODE_CS32)) ? fast : slow);
}

void dec_jcc(Decoder *d, uint8_t opcode)
{
    d->op.aux = opcode & 15;
    d->op.aux2 = 1;
    emit_near(d, OP_JCC, OP_call_jmp_near, (opcode & 0xf0) == 0x70 ? 1 : 4);
}

static void dec_jmp(Decoder *d, uint8_t opcode)
{
    d->op.aux = 0;
    d->op.aux2 = 2;
    emit_near(d, OP_JMP, OP_call_jmp_near, opcode == 0xeb ? 1 : 4);
}

static void dec_call(Decoder *d, uint8_t opcode)
{
    d->op.aux = 0;
    d->op.aux2 = 2;
    emit_near(d, OP_CALL64, OP_call_call_near, 4);
}

static void dec_loop(Decoder *d, uint8_t opcode)
{
    d->op.aux = opcode;
    set_jump_target(d, (int8_t)dec_get8(d));
    dec_emit_end(d, OP_call_loop);
}

static void dec_ret(Decoder *d, uint8_t opcode)
{
    d->op.aux = opcode;
    d->op.imm = opcode & 1 ? 0 : dec_get16(d);
    dec_emit_end(d, opcode >= 0xca ? OP_call_far : d->long64 && !d->op.imm ? OP_RET64 : OP_call_ret_near);
}

static void dec_xchg_ax(Decoder *d, uint8_t opcode)
{
    d->op.r1 = 0;
    d->op.r2 = (uint8_t)(((opcode & 7) | ((d->rex & 1) << 3)) * 8);
    d->op.osize = (uint8_t)d->osize;
    dec_emit(d, d->op.r2 ? OP_call_xchg : OP_NOP);
}

static void dec_movsxd(Decoder *d, uint8_t opcode)
{
    dec_get_modrm(d, d->osize);
    if (!d->long64) {
        d->op.aux = opcode;
        dec_emit_end(d, OP_call_system); /* ARPL */
    } else if (d->osize == 8) {
        dec_emit(d, dec_is_reg(d) ? OP_MOVSXD_R : OP_MOVSXD_M);
    } else {
        dec_emit(d, dec_alu_id(ALU_MOV, dec_is_reg(d) ? FORM_RR : FORM_RM, d->osize));
    }
}

static void dec_imul3(Decoder *d, uint8_t opcode)
{
    dec_get_modrm(d, d->osize);
    d->op.imm = dec_get_imm(d, opcode == 0x6b ? 1 : d->osize);
    dec_emit(d, OP_call_imul3);
}

/* Entries below carry what to emit and how operands are given. */
static void dec_far_imm(Decoder *d, uint8_t opcode)
{
    if (d->long64) {
        dec_emit_ud(d);
        return;
    }
    uint64_t offset = d->osize == 2 ? dec_get16(d) : dec_get32(d);

    d->op.imm = offset | (uint64_t)dec_get16(d) << 32;
    d->op.aux = opcode;
    dec_emit_end(d, OP_call_far);
}

static void dec_x87(Decoder *d, uint8_t opcode)
{
    dec_get_modrm(d, 8);
    d->op.osize = (uint8_t)d->osize;
    d->op.aux = opcode;
    dec_emit(d, OP_call_fpu);
}

static void dec_string(Decoder *d, uint8_t opcode)
{
    d->op.aux = opcode;
    d->op.aux2 = d->rep;
    d->op.osize = (uint8_t)(opcode & 1 ? (d->osize == 8 && (opcode & 0xfc) == 0x6c ? 4 : d->osize) : 1);
    d->op.seg = 0xf & (unsigned)(d->seg >= 0 ? d->seg : X86_SEG_DS);
    dec_emit_end(d, OP_call_string);
}

/*
 * C4, C5: LES and LDS, or a VEX prefix where those would have a register.  Of
 * the VEX instructions only those on general registers are there; real and
 * virtual-8086 mode have none.
 */
static void dec_les_vex(Decoder *d, uint8_t opcode)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
    uint8_t first = dec_get8(d), second;
    bool imm8 = false;
    int insn;

    if (!d->long64 && (first & 0xc0) != 0xc0) {
        d->pos--;
        dec_get_modrm(d, d->osize);
        d->op.aux = opcode;
        dec_emit_end(d, OP_call_movseg);
        return;
    }
    if (opcode == 0xc5 || d->rex || d->opsize || d->rep || d->lock || (d->cpu->mode & (MODE_PROT | MODE_VM86)) != MODE_PROT) {
        dec_emit_ud(d);
        return;
    }
    second = dec_get8(d);
    d->has_rex = d->long64;
    d->rex = d->long64 ? 0x40 | (~first >> 5 & 7) | (second >> 4 & 8) : 0;
    opcode = dec_get8(d);
    dec_get_modrm(d, d->rex & 8 ? 8 : 4);
    insn = second & 4 ? -1 : x86_bmi_find(d->cpu, first & 31, opcode, prefixes[second & 3], dec_modrm_digit(d), &imm8);
    if (insn < 0) {
        dec_emit_ud(d);
        return;
    }
    d->op.imm = (unsigned)insn | (~second >> 3 & (d->long64 ? 15u : 7u)) << 8;
    if (imm8) {
        d->op.imm |= (uint64_t)dec_get8(d) << 16;
    }
    dec_emit(d, OP_call_bmi);
}

static const Entry one_byte[256] = {
    [0x06] = {.id = OP_call_push, .no_long = true}, [0x0e] = {.id = OP_call_push, .no_long = true},
    [0x16] = {.id = OP_call_push, .no_long = true}, [0x1e] = {.id = OP_call_push, .no_long = true},
    [0x07] = {.id = OP_call_movseg, .ends = true, .no_long = true}, [0x17] = {.id = OP_call_movseg, .ends = true, .no_long = true},
    [0x1f] = {.id = OP_call_movseg, .ends = true, .no_long = true},
    [0x27] = {.id = OP_call_bcd, .no_long = true}, [0x2f] = {.id = OP_call_bcd, .no_long = true},
    [0x37] = {.id = OP_call_bcd, .no_long = true}, [0x3f] = {.id = OP_call_bcd, .no_long = true},
    [0x40 ... 0x4f] = FN(dec_incdec_reg),
    [0x50 ... 0x5f] = FN(dec_push_pop_reg),
    [0x60] = {.id = OP_call_pusha, .no_long = true}, [0x61] = {.id = OP_call_popa, .no_long = true},
    [0x62] = {.id = OP_call_bound, .operands = OPD_MODRM, .no_long = true, .reg_only_ud = true},
    [0x63] = FN(dec_movsxd),
    [0x68] = FN(dec_push_imm), [0x6a] = FN(dec_push_imm), [0x69] = FN(dec_imul3), [0x6b] = FN(dec_imul3),
    [0x6c ... 0x6f] = FN(dec_string),
    [0x70 ... 0x7f] = FN(dec_jcc),
    [0x80 ... 0x81] = FN(dec_group1), [0x82] = OLD(dec_group1), [0x83] = FN(dec_group1),
    [0x84 ... 0x85] = FN(dec_test),
    [0x86] = CALL(xchg, OPD_MODRM8), [0x87] = CALL(xchg, OPD_MODRM),
    [0x88 ... 0x8b] = FN(dec_mov),
    [0x8c] = CALL(movseg_from, OPD_MODRM), [0x8d] = FN(dec_lea), [0x8e] = ENDS(movseg, OPD_MODRM),
    [0x8f] = CALL(pop, OPD_MODRM),
    [0x90 ... 0x97] = FN(dec_xchg_ax),
    [0x98] = CALL(convert, OPD_NONE), [0x99] = CALL(convert, OPD_NONE),
    [0x9a] = FN(dec_far_imm), [0x9b] = CALL(fpu, OPD_NONE), [0x9c] = CALL(pushf, OPD_NONE), [0x9d] = ENDS(popf, OPD_NONE),
    [0x9e] = CALL(flags_op, OPD_NONE), [0x9f] = CALL(flags_op, OPD_NONE),
    [0xa0 ... 0xa3] = FN(dec_moffs),
    [0xa4 ... 0xa7] = FN(dec_string), [0xa8 ... 0xa9] = FN(dec_test), [0xaa ... 0xaf] = FN(dec_string),
    [0xb0 ... 0xbf] = FN(dec_mov_imm),
    [0xc0 ... 0xc1] = FN(dec_shift), [0xc2 ... 0xc3] = FN(dec_ret),
    [0xc4 ... 0xc5] = FN(dec_les_vex),
    [0xc6 ... 0xc7] = FN(dec_mov),
    [0xc8] = CALL(enter_leave, OPD_IMM16_IMM8), [0xc9] = CALL(enter_leave, OPD_NONE),
    [0xca ... 0xcb] = FN(dec_ret),
    [0xcc] = ENDS(intn, OPD_NONE), [0xcd] = ENDS(intn, OPD_IMM8), [0xce] = {.id = OP_call_intn, .ends = true, .no_long = true},
    [0xcf] = ENDS(iret, OPD_NONE),
    [0xd0 ... 0xd3] = FN(dec_shift),
    [0xd4 ... 0xd5] = {.id = OP_call_bcd, .operands = OPD_IMM8, .no_long = true}, [0xd7] = CALL(xlat, OPD_NONE),
    [0xd8 ... 0xdf] = FN(dec_x87),
    [0xe0 ... 0xe3] = FN(dec_loop),
    [0xe4 ... 0xe7] = ENDS(io, OPD_IMM8), [0xe8] = FN(dec_call), [0xe9] = FN(dec_jmp), [0xea] = FN(dec_far_imm),
    [0xeb] = FN(dec_jmp), [0xec ... 0xef] = ENDS(io, OPD_NONE),
    [0xf1] = ENDS(intn, OPD_NONE), [0xf4] = ENDS(hlt, OPD_NONE), [0xf5] = CALL(flags_op, OPD_NONE),
    [0xf6 ... 0xf7] = FN(dec_group3),
    [0xf8 ... 0xf9] = CALL(flags_op, OPD_NONE), [0xfa] = ENDS(sti, OPD_NONE), [0xfb] = ENDS(sti, OPD_NONE),
    [0xfc ... 0xfd] = CALL(flags_op, OPD_NONE), [0xfe ... 0xff] = FN(dec_group45),
};

void decode_one_byte(Decoder *d, uint8_t opcode)
{
    if (opcode < 0x40 && (opcode & 7) < 6) {
        dec_alu(d, opcode);
    } else if (!one_byte[opcode].fn && !one_byte[opcode].id) {
        dec_emit_ud(d);
    } else if (opcode == 0x90 && d->rep == 0xf3) {
        dec_emit(d, OP_NOP); /* PAUSE */
    } else {
        decode_entry(d, &one_byte[opcode], opcode);
    }
}
