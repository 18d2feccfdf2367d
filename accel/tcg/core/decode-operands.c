/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decoder: instruction bytes, ModRM operands (SDM vol. 2, 2.1), and how an op is made of them. */
#include "accel/tcg/core/decode-private.h"

/* The next page of an instruction that is first in its block; may fault. */
static void fetch_crossing(Decoder *d)
{
    uint64_t linear = x86_code_linear(d->cpu, d->rip + d->avail);
    FetchEntry *next;

    memcpy(d->crossing, d->bytes, d->avail);
    next = x86_fetch_page(d->cpu, linear);
    memcpy(d->crossing + d->avail, next->host, 16);
    d->block->phys2 = next->phys;
    d->bytes = d->crossing;
    d->avail += 16;
}

uint8_t dec_get8(Decoder *d)
{
    if (d->pos >= INSN_MAX) {
        if (!d->first) {
            longjmp(d->stop, 1);
        }
        x86_raise_gp(d->cpu, 0);
    }
    if (!d->long64 && d->rip + d->op.off + d->pos > d->cpu->seg[X86_SEG_CS].limit) {
        if (!d->first) {
            longjmp(d->stop, 1);
        }
        x86_raise_gp(d->cpu, 0);
    }
    if (d->pos >= d->avail) {
        if (!d->first) {
            longjmp(d->stop, 1);
        }
        fetch_crossing(d);
    }
    return d->bytes[d->pos++];
}

uint16_t dec_get16(Decoder *d)
{
    uint16_t v = dec_get8(d);

    return (uint16_t)(v | dec_get8(d) << 8);
}

uint32_t dec_get32(Decoder *d)
{
    uint32_t v = dec_get16(d);

    return v | (uint32_t)dec_get16(d) << 16;
}

uint64_t dec_get64(Decoder *d)
{
    uint64_t v = dec_get32(d);

    return v | (uint64_t)dec_get32(d) << 32;
}

/* Immediate of the operand size, at most 32 bits, sign-extended (Iz). */
uint64_t dec_get_imm(Decoder *d, unsigned size)
{
    switch (size) {
    case 1:
        return (uint64_t)(int64_t)(int8_t)dec_get8(d);
    case 2:
        return (uint64_t)(int64_t)(int16_t)dec_get16(d);
    default:
        return (uint64_t)(int64_t)(int32_t)dec_get32(d);
    }
}

/* Byte offset of a register in gpr[]. */
uint8_t dec_reg_offset(const Decoder *d, unsigned n, unsigned size)
{
    if (size == 1 && !d->has_rex && n >= 4 && n < 8) {
        return (uint8_t)((n - 4) * 8 + 1); /* AH CH DH BH */
    }
    return (uint8_t)(n * 8);
}

void dec_set_segment(Decoder *d, int def)
{
    int seg = d->seg >= 0 ? d->seg : def;
    bool flat = d->long64 ? seg != X86_SEG_FS && seg != X86_SEG_GS : false;

    d->op.seg = 0xf & (unsigned)seg;
    d->op.has_seg = !flat && !(d->cpu->mode & MODE_FLAT && seg != X86_SEG_FS && seg != X86_SEG_GS);
}

static void mem16(Decoder *d)
{
    static const struct {
        uint8_t base, index, seg;
    } forms[8] = {
        {X86_RBX, X86_RSI, X86_SEG_DS}, {X86_RBX, X86_RDI, X86_SEG_DS}, {X86_RBP, X86_RSI, X86_SEG_SS},
        {X86_RBP, X86_RDI, X86_SEG_SS}, {X86_RSI, SLOT_ZERO, X86_SEG_DS}, {X86_RDI, SLOT_ZERO, X86_SEG_DS},
        {X86_RBP, SLOT_ZERO, X86_SEG_SS}, {X86_RBX, SLOT_ZERO, X86_SEG_DS},
    };
    unsigned mod = d->modrm >> 6, rm = d->modrm & 7;

    d->op.base = forms[rm].base;
    d->op.index = forms[rm].index;
    if (mod == 0 && rm == 6) {
        d->op.base = SLOT_ZERO;
        d->op.disp = (int16_t)dec_get16(d);
        dec_set_segment(d, X86_SEG_DS);
        return;
    }
    d->op.disp = mod == 1 ? (int8_t)dec_get8(d) : mod == 2 ? (int16_t)dec_get16(d) : 0;
    dec_set_segment(d, forms[rm].seg);
}

static void mem32(Decoder *d)
{
    unsigned mod = d->modrm >> 6, rm = d->modrm & 7;
    int seg = X86_SEG_DS;
    bool no_base = false;

    if (rm == 4) {
        uint8_t sib = dec_get8(d);
        unsigned index = ((sib >> 3) & 7) | ((d->rex & 2) << 2);

        rm = sib & 7;
        d->op.scale = sib >> 6;
        d->op.index = index == 4 ? SLOT_ZERO : (uint8_t)index;
        no_base = mod == 0 && rm == 5;
        d->op.base = (uint8_t)(rm | ((d->rex & 1) << 3));
        if (no_base) {
            d->op.base = SLOT_ZERO;
        }
    } else {
        no_base = mod == 0 && rm == 5;
        d->op.base = no_base ? (d->long64 ? SLOT_RIP : SLOT_ZERO) : (uint8_t)(rm | ((d->rex & 1) << 3));
    }
    if (d->op.base == X86_RSP || d->op.base == X86_RBP) {
        seg = X86_SEG_SS;
    }
    d->op.disp = mod == 1 ? (int8_t)dec_get8(d) : mod == 2 || no_base ? (int32_t)dec_get32(d) : 0;
    dec_set_segment(d, seg);
}

/* Reads ModRM and what belongs to it; sets r1 and r2 for registers of `size` bytes. */
void dec_get_modrm(Decoder *d, unsigned size)
{
    d->modrm = dec_get8(d);
    d->op.aux2 = d->modrm;
    d->op.r1 = dec_reg_offset(d, dec_modrm_reg(d), size);
    d->op.osize = (uint8_t)size;
    d->op.index = SLOT_ZERO;
    if (d->modrm >= 0xc0) {
        d->op.r2 = dec_reg_offset(d, dec_modrm_rm(d), size);
        return;
    }
    d->op.mem = 1;
    if (d->op.asize == 1) {
        mem16(d);
    } else {
        mem32(d);
    }
}

void dec_emit(Decoder *d, unsigned id)
{
    d->op.id = id & 0xfff;
    d->op.handler = x86_handler(id);
}

void dec_emit_end(Decoder *d, unsigned id)
{
    dec_emit(d, id);
    d->ends = true;
}

void dec_emit_ud(Decoder *d)
{
    dec_emit_end(d, OP_call_ud);
}

/* Memory (or register) destination with a register or immediate source. */
void dec_emit_alu_rm(Decoder *d, unsigned alu, bool imm, unsigned size)
{
    d->op.aux = (uint8_t)alu;
    d->op.aux2 = imm;
    if (dec_is_reg(d)) {
        if (d->lock) {
            dec_emit_ud(d);
            return;
        }
        uint8_t reg = d->op.r1;

        d->op.r1 = d->op.r2;
        d->op.r2 = reg;
        dec_emit(d, dec_alu_id(alu, imm ? FORM_RI : FORM_RR, size));
    } else if (d->lock && (alu == ALU_CMP || alu >= ALU_TEST)) {
        dec_emit_ud(d);
    } else if (d->lock) {
        dec_emit(d, OP_call_alu_slow);
    } else {
        dec_emit(d, dec_alu_id(alu, imm ? FORM_MI : FORM_MR, size));
    }
}

void decode_entry(Decoder *d, const Entry *e, uint8_t opcode)
{
    if (e->no_long && d->long64) {
        dec_emit_ud(d);
        return;
    }
    if (e->fn) {
        e->fn(d, opcode);
        return;
    }
    switch (e->operands) {
    case OPD_MODRM8:
        dec_get_modrm(d, 1);
        break;
    case OPD_MODRM:
    case OPD_MODRM_IMM8:
        dec_get_modrm(d, d->osize);
        break;
    default:
        break;
    }
    if (e->operands == OPD_IMM16_IMM8) {
        d->op.imm = dec_get16(d);
        d->op.imm |= (uint64_t)dec_get8(d) << 16;
    } else if (e->operands == OPD_IMM8 || e->operands == OPD_MODRM_IMM8) {
        d->op.imm = dec_get8(d);
    }
    d->op.aux = opcode;
    if (e->reg_only_ud && d->op.mem == 0) {
        dec_emit_ud(d);
        return;
    }
    dec_emit(d, e->id);
    d->ends = e->ends;
}
