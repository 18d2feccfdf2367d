/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decoder: opcodes after 0F, 0F 38 and 0F 3A (SDM vol. 2, tables ). */
#include "accel/tcg/core/decode-private.h"

static void dec_nop_modrm(Decoder *d, uint8_t opcode)
{
    dec_get_modrm(d, d->osize);
    dec_emit(d, OP_NOP);
}

static void dec_cmov(Decoder *d, uint8_t opcode)
{
    dec_get_modrm(d, d->osize);
    d->op.aux = opcode & 15;
    if (d->osize == 2) {
        dec_emit(d, OP_call_cmov16);
    } else if (dec_is_reg(d)) {
        dec_emit(d, d->osize == 8 ? OP_CMOV_R_64 : OP_CMOV_R_32);
    } else {
        dec_emit(d, d->osize == 8 ? OP_CMOV_M_64 : OP_CMOV_M_32);
    }
}

static void dec_setcc(Decoder *d, uint8_t opcode)
{
    dec_get_modrm(d, 1);
    d->op.aux = opcode & 15;
    d->op.r1 = d->op.r2;
    dec_emit(d, dec_is_reg(d) ? OP_SETCC_R : OP_SETCC_M);
}

/* MOVZX, MOVSX: r2 is an 8- or 16-bit register. */
static void dec_movx(Decoder *d, uint8_t opcode)
{
    static const uint16_t sx[2][2][2] = {
        {{OP_MOVSX8_M_32, OP_MOVSX8_R_32}, {OP_MOVSX8_M_64, OP_MOVSX8_R_64}},
        {{OP_MOVSX16_M_32, OP_MOVSX16_R_32}, {OP_MOVSX16_M_64, OP_MOVSX16_R_64}},
    };
    static const uint16_t zx[2][2] = {{OP_MOVZX8_M, OP_MOVZX8_R}, {OP_MOVZX16_M, OP_MOVZX16_R}};
    bool word = opcode & 1, sign = opcode >= 0xbe;

    dec_get_modrm(d, d->osize);
    if (dec_is_reg(d)) {
        d->op.r2 = dec_reg_offset(d, dec_modrm_rm(d), word ? 2 : 1);
    }
    d->op.aux = opcode;
    if (d->osize == 2) {
        dec_emit(d, OP_call_movsx16);
    } else {
        dec_emit(d, sign ? sx[word][d->osize == 8][dec_is_reg(d)] : zx[word][dec_is_reg(d)]);
    }
}

static void dec_imul2(Decoder *d, uint8_t opcode)
{
    dec_get_modrm(d, d->osize);
    d->op.aux = opcode;
    if (d->osize == 2) {
        d->op.imm = 0;
        dec_emit(d, OP_call_imul3);
    } else {
        dec_emit(d, (dec_is_reg(d) ? OP_IMUL_RR_32 : OP_IMUL_RM_32) + (d->osize == 8));
    }
}

static void dec_bswap(Decoder *d, uint8_t opcode)
{
    d->op.r1 = (uint8_t)(((opcode & 7) | ((d->rex & 1) << 3)) * 8);
    d->op.osize = (uint8_t)d->osize;
    dec_emit(d, OP_call_bswap);
}

static void dec_push_pop_fsgs(Decoder *d, uint8_t opcode)
{
    d->op.aux = opcode;
    if (opcode & 1) {
        dec_emit_end(d, OP_call_movseg);
    } else {
        dec_emit(d, OP_call_push);
    }
}

/* 0F AE: FXSAVE group, fences, FSGSBASE; 0F C7: CMPXCHG8B, RDRAND, XSAVEC... */
static void dec_group15(Decoder *d, uint8_t opcode)
{
    dec_get_modrm(d, d->osize);
    d->op.aux = opcode;
    d->op.imm = d->rep;
    if (dec_is_reg(d) && d->rep != 0xf3) {
        dec_emit(d, dec_modrm_digit(d) >= 5 && !d->rep ? OP_NOP : OP_call_ud); /* LFENCE, MFENCE, SFENCE */
        d->ends = d->op.id == OP_call_ud;
    } else if (dec_is_reg(d)) {
        dec_emit_end(d, OP_call_system); /* RDFSBASE and friends change what addresses mean */
    } else {
        dec_emit(d, OP_call_fxsave);
    }
}

static void dec_group9(Decoder *d, uint8_t opcode)
{
    dec_get_modrm(d, d->osize);
    d->op.aux = opcode;
    d->op.imm = d->rep;
    if (!dec_is_reg(d) && dec_modrm_digit(d) == 1) {
        dec_emit(d, OP_call_cmpxchg8b);
    } else if (dec_is_reg(d) && dec_modrm_digit(d) >= 6) {
        dec_emit(d, OP_call_random);
    } else {
        dec_emit_ud(d);
    }
}

static void dec_mov_cr(Decoder *d, uint8_t opcode)
{
    dec_get_modrm(d, 8);
    d->op.r2 = (uint8_t)(dec_modrm_rm(d) * 8); /* mod is ignored: always a register */
    d->op.aux = opcode;
    d->op.imm = dec_modrm_reg(d);
    dec_emit_end(d, OP_call_mov_cr);
}

static const Entry two_byte[256] = {
    [0x00] = ENDS(system, OPD_MODRM), [0x01] = ENDS(system, OPD_MODRM),
    [0x02] = CALL(sysinfo, OPD_MODRM), [0x03] = CALL(sysinfo, OPD_MODRM),
    [0x05] = ENDS(syscall, OPD_NONE), [0x06] = ENDS(system, OPD_NONE), [0x07] = ENDS(syscall, OPD_NONE),
    [0x08] = CALL(sysinfo, OPD_NONE), [0x09] = CALL(sysinfo, OPD_NONE), [0x0b] = ENDS(ud, OPD_NONE),
    [0x0d] = FN(dec_nop_modrm), [0x18 ... 0x1f] = FN(dec_nop_modrm),
    [0x20 ... 0x23] = FN(dec_mov_cr),
    [0x30] = ENDS(msr, OPD_NONE), [0x31] = CALL(sysinfo, OPD_NONE), [0x32] = ENDS(msr, OPD_NONE), [0x33] = CALL(sysinfo, OPD_NONE),
    [0x34] = ENDS(syscall, OPD_NONE), [0x35] = ENDS(syscall, OPD_NONE),
    [0x40 ... 0x4f] = FN(dec_cmov),
    [0x77] = CALL(fpu, OPD_NONE), /* EMMS */
    [0x80 ... 0x8f] = FN(dec_jcc), [0x90 ... 0x9f] = FN(dec_setcc),
    [0xa0 ... 0xa1] = FN(dec_push_pop_fsgs), [0xa8 ... 0xa9] = FN(dec_push_pop_fsgs),
    [0xa2] = ENDS(cpuid_op, OPD_NONE), [0xaa] = ENDS(system, OPD_NONE), /* RSM */
    [0xa3] = CALL(bt, OPD_MODRM), [0xab] = CALL(bt, OPD_MODRM), [0xb3] = CALL(bt, OPD_MODRM), [0xbb] = CALL(bt, OPD_MODRM),
    [0xba] = CALL(bt, OPD_MODRM_IMM8),
    [0xa4] = CALL(shiftd, OPD_MODRM_IMM8), [0xa5] = CALL(shiftd, OPD_MODRM), [0xac] = CALL(shiftd, OPD_MODRM_IMM8),
    [0xad] = CALL(shiftd, OPD_MODRM),
    [0xae] = FN(dec_group15), [0xaf] = FN(dec_imul2),
    [0xb0] = CALL(cmpxchg, OPD_MODRM8), [0xb1] = CALL(cmpxchg, OPD_MODRM),
    [0xb2] = {.id = OP_call_movseg, .operands = OPD_MODRM, .ends = true, .reg_only_ud = true},
    [0xb4 ... 0xb5] = {.id = OP_call_movseg, .operands = OPD_MODRM, .ends = true, .reg_only_ud = true},
    [0xb6 ... 0xb7] = FN(dec_movx), [0xbe ... 0xbf] = FN(dec_movx),
    [0xb8] = CALL(bitscan, OPD_MODRM), [0xbc] = CALL(bitscan, OPD_MODRM), [0xbd] = CALL(bitscan, OPD_MODRM),
    [0xb9] = ENDS(ud, OPD_MODRM), [0xff] = ENDS(ud, OPD_MODRM),
    [0xc0] = CALL(xadd, OPD_MODRM8), [0xc1] = CALL(xadd, OPD_MODRM),
    [0xc3] = {.id = OP_MOV_MR_32, .operands = OPD_MODRM, .reg_only_ud = true}, /* MOVNTI, widened below */
    [0xc7] = FN(dec_group9), [0xc8 ... 0xcf] = FN(dec_bswap),
};

/* Vector instructions: everything else the tables of accel/tcg/fpu know. */
static bool decode_simd(Decoder *d, X86OpcodeMap map, uint8_t opcode)
{
    X86SimdPrefix prefix = d->rep == 0xf3 ? X86_PFX_F3 : d->rep == 0xf2 ? X86_PFX_F2 : d->opsize ? X86_PFX_66 : X86_PFX_NONE;
    uint8_t modrm = d->pos < d->avail ? d->bytes[d->pos] : 0;
    const X86SimdInsn *insn;
    bool full_move;

    if (d->pos >= d->avail) {
        modrm = dec_get8(d);
        d->pos--;
    }
    insn = x86_simd_lookup(map, prefix, opcode, (modrm >> 3) & 7);
    if (!insn || !x86_has_simd(d->cpu, insn->feature)) {
        return false;
    }
    dec_get_modrm(d, 8);
    d->op.osize = d->rex & 8 ? 8 : 4;
    d->op.aux = (uint8_t)dec_modrm_reg(d);
    if (insn->flags & X86_SIMD_IMM8) {
        d->op.r2 = dec_get8(d);
    }
    full_move = map == X86_MAP_0F && !dec_is_reg(d) && prefix != X86_PFX_F2 &&
                ((prefix != X86_PFX_F3 && (opcode == 0x10 || opcode == 0x11 || opcode == 0x28 || opcode == 0x29)) ||
                 ((opcode == 0x6f || opcode == 0x7f) && prefix != X86_PFX_NONE));
    d->op.imm = (uint64_t)(uintptr_t)insn;
    d->op.r1 = (uint8_t)dec_modrm_reg(d);
    if (dec_is_reg(d)) {
        d->op.scale = d->rex & 1;
    }
    if (full_move && !(d->cpu->mode & MODE_NO_SIMD)) {
        bool store = opcode == 0x11 || opcode == 0x29 || opcode == 0x7f;

        d->op.osize = insn->flags & X86_SIMD_ALIGNED ? 15 : 0;
        dec_emit(d, store ? OP_MOVUPS_ST : OP_MOVUPS_LD);
        return true;
    }
    dec_emit(d, OP_call_simd);
    return true;
}

void decode_two_byte(Decoder *d)
{
    uint8_t opcode = dec_get8(d);

    if (opcode == 0x38 || opcode == 0x3a) {
        X86OpcodeMap map = opcode == 0x38 ? X86_MAP_0F38 : X86_MAP_0F3A;
        uint8_t third = dec_get8(d);

        if (opcode == 0x38 && (third == 0xf0 || third == 0xf1)) {
            dec_get_modrm(d, d->osize);
            d->op.aux = third;
            d->op.imm = d->rep;
            if (d->rep == 0xf2) {
                d->op.osize = (uint8_t)(third == 0xf0 ? 1 : d->osize);
                if (dec_is_reg(d)) {
                    d->op.r2 = dec_reg_offset(d, dec_modrm_rm(d), d->op.osize);
                }
                dec_emit(d, OP_call_crc32);
            } else if (dec_is_reg(d)) {
                dec_emit_ud(d);
            } else {
                dec_emit(d, OP_call_movbe);
            }
        } else if (opcode == 0x38 && third == 0x82 && d->opsize && !d->rep) {
            d->op.osize = d->long64 ? 8 : 4;
            dec_get_modrm(d, d->op.osize);
            dec_emit_end(d, OP_call_invpcid);
        } else if (opcode == 0x38 && third == 0xf6) {
            dec_get_modrm(d, d->osize == 8 ? 8 : 4);
            d->op.imm = d->rep ? d->rep : d->opsize ? 0x66 : 0;
            dec_emit(d, OP_call_adx);
        } else if (!decode_simd(d, map, third)) {
            dec_emit_ud(d);
        }
        return;
    }
    if (opcode == 0xc3 && !d->rep && !d->opsize) {
        dec_get_modrm(d, d->osize);
        if (dec_is_reg(d)) {
            dec_emit_ud(d);
        } else {
            dec_emit(d, dec_alu_id(ALU_MOV, FORM_MR, d->osize));
        }
        return;
    }
    if (two_byte[opcode].fn || two_byte[opcode].id) {
        d->op.imm = d->rep;
        if (opcode == 0xb8 && d->rep != 0xf3) {
            dec_emit_ud(d);
            return;
        }
        decode_entry(d, &two_byte[opcode], opcode);
        if (two_byte[opcode].operands != OPD_IMM8 && two_byte[opcode].operands != OPD_MODRM_IMM8 &&
            two_byte[opcode].id == OP_call_bitscan) {
            d->op.imm = d->rep;
        }
        return;
    }
    if (!decode_simd(d, X86_MAP_0F, opcode)) {
        dec_emit_ud(d);
    }
}
