/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decoder: bytes of one page to the ops of a block (SDM vol. 2, chapter 2 and
 * appendix A).  One decoder serves every mode; what differs is the default
 * operand and address size and whether REX prefixes exist.
 */
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

static uint8_t get8(Decoder *d)
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

static uint16_t get16(Decoder *d)
{
    uint16_t v = get8(d);

    return (uint16_t)(v | get8(d) << 8);
}

static uint32_t get32(Decoder *d)
{
    uint32_t v = get16(d);

    return v | (uint32_t)get16(d) << 16;
}

static uint64_t get64(Decoder *d)
{
    uint64_t v = get32(d);

    return v | (uint64_t)get32(d) << 32;
}

/* Immediate of the operand size, at most 32 bits, sign-extended (Iz). */
static uint64_t get_imm(Decoder *d, unsigned size)
{
    switch (size) {
    case 1:
        return (uint64_t)(int64_t)(int8_t)get8(d);
    case 2:
        return (uint64_t)(int64_t)(int16_t)get16(d);
    default:
        return (uint64_t)(int64_t)(int32_t)get32(d);
    }
}

static unsigned log2_size(unsigned size)
{
    return (unsigned)__builtin_ctz(size);
}

/* Byte offset of a register in gpr[]. */
static uint8_t reg_offset(const Decoder *d, unsigned n, unsigned size)
{
    if (size == 1 && !d->has_rex && n >= 4 && n < 8) {
        return (uint8_t)((n - 4) * 8 + 1); /* AH CH DH BH */
    }
    return (uint8_t)(n * 8);
}

static unsigned modrm_reg(const Decoder *d)
{
    return ((d->modrm >> 3) & 7) | ((d->rex & 4) << 1);
}

static unsigned modrm_rm(const Decoder *d)
{
    return (d->modrm & 7) | ((d->rex & 1) << 3);
}

static unsigned modrm_digit(const Decoder *d)
{
    return (d->modrm >> 3) & 7;
}

static void set_segment(Decoder *d, int def)
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
        d->op.disp = (int16_t)get16(d);
        set_segment(d, X86_SEG_DS);
        return;
    }
    d->op.disp = mod == 1 ? (int8_t)get8(d) : mod == 2 ? (int16_t)get16(d) : 0;
    set_segment(d, forms[rm].seg);
}

static void mem32(Decoder *d)
{
    unsigned mod = d->modrm >> 6, rm = d->modrm & 7;
    int seg = X86_SEG_DS;
    bool no_base = false;

    if (rm == 4) {
        uint8_t sib = get8(d);
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
    d->op.disp = mod == 1 ? (int8_t)get8(d) : mod == 2 || no_base ? (int32_t)get32(d) : 0;
    set_segment(d, seg);
}

/* Reads ModRM and what belongs to it; sets r1 and r2 for registers of `size` bytes. */
static void get_modrm(Decoder *d, unsigned size)
{
    d->modrm = get8(d);
    d->op.aux2 = d->modrm;
    d->op.r1 = reg_offset(d, modrm_reg(d), size);
    d->op.osize = (uint8_t)size;
    d->op.index = SLOT_ZERO;
    if (d->modrm >= 0xc0) {
        d->op.r2 = reg_offset(d, modrm_rm(d), size);
        return;
    }
    d->op.mem = 1;
    if (d->op.asize == 1) {
        mem16(d);
    } else {
        mem32(d);
    }
}

static bool is_reg(const Decoder *d)
{
    return d->modrm >= 0xc0;
}

static void emit(Decoder *d, unsigned id)
{
    d->op.id = id & 0xfff;
    d->op.handler = x86_handler(id);
}

static void emit_end(Decoder *d, unsigned id)
{
    emit(d, id);
    d->ends = true;
}

static void emit_ud(Decoder *d)
{
    emit_end(d, OP_call_ud);
}

#define ALU_STRIDE 20
enum { FORM_RR = 0, FORM_RI = 4, FORM_RM = 8, FORM_MR = 12, FORM_MI = 16 };
enum { ALU_CMP = 7, ALU_TEST = 8, ALU_MOV = 9 };

static unsigned alu_id(unsigned alu, unsigned form, unsigned size)
{
    return OP_ADD_RR_8 + alu * ALU_STRIDE + form + log2_size(size);
}

/* Memory (or register) destination with a register or immediate source. */
static void emit_alu_rm(Decoder *d, unsigned alu, bool imm, unsigned size)
{
    d->op.aux = (uint8_t)alu;
    d->op.aux2 = imm;
    if (is_reg(d)) {
        if (d->lock) {
            emit_ud(d);
            return;
        }
        uint8_t reg = d->op.r1;

        d->op.r1 = d->op.r2;
        d->op.r2 = reg;
        emit(d, alu_id(alu, imm ? FORM_RI : FORM_RR, size));
    } else if (d->lock && (alu == ALU_CMP || alu >= ALU_TEST)) {
        emit_ud(d);
    } else if (d->lock) {
        emit(d, OP_call_alu_slow);
    } else {
        emit(d, alu_id(alu, imm ? FORM_MI : FORM_MR, size));
    }
}

static unsigned byte_or_osize(const Decoder *d, uint8_t opcode)
{
    return opcode & 1 ? d->osize : 1;
}

static void dec_alu(Decoder *d, uint8_t opcode)
{
    unsigned alu = opcode >> 3, size = byte_or_osize(d, opcode);

    if ((opcode & 7) >= 4) {
        d->op.r1 = 0;
        d->op.osize = (uint8_t)size;
        d->op.imm = get_imm(d, size);
        emit(d, alu_id(alu, FORM_RI, size));
        return;
    }
    get_modrm(d, size);
    if (!(opcode & 2)) {
        emit_alu_rm(d, alu, false, size);
    } else if (d->lock) {
        emit_ud(d);
    } else {
        emit(d, alu_id(alu, is_reg(d) ? FORM_RR : FORM_RM, size));
    }
}

static void dec_group1(Decoder *d, uint8_t opcode)
{
    unsigned size = byte_or_osize(d, opcode);

    get_modrm(d, size);
    d->op.imm = opcode == 0x81 ? get_imm(d, size) : get_imm(d, 1);
    emit_alu_rm(d, modrm_digit(d), true, size);
}

static void dec_test(Decoder *d, uint8_t opcode)
{
    unsigned size = byte_or_osize(d, opcode);

    if (opcode >= 0xa8) {
        d->op.r1 = 0;
        d->op.imm = get_imm(d, size);
        emit(d, alu_id(ALU_TEST, FORM_RI, size));
        return;
    }
    get_modrm(d, size);
    emit_alu_rm(d, ALU_TEST, false, size);
}

static void dec_mov(Decoder *d, uint8_t opcode)
{
    unsigned size = byte_or_osize(d, opcode);

    get_modrm(d, size);
    if (opcode >= 0xc6) {
        if (modrm_digit(d)) {
            emit_ud(d);
            return;
        }
        d->op.imm = get_imm(d, size);
        emit_alu_rm(d, ALU_MOV, true, size);
    } else if (opcode & 2) {
        emit(d, alu_id(ALU_MOV, is_reg(d) ? FORM_RR : FORM_RM, size));
    } else {
        emit_alu_rm(d, ALU_MOV, false, size);
    }
}

static void dec_mov_imm(Decoder *d, uint8_t opcode)
{
    unsigned n = (opcode & 7) | ((d->rex & 1) << 3), size = opcode >= 0xb8 ? d->osize : 1;

    d->op.r1 = reg_offset(d, n, size);
    d->op.imm = size == 8 ? get64(d) : get_imm(d, size);
    emit(d, alu_id(ALU_MOV, FORM_RI, size));
}

/* MOV AL/eAX, moffs and back. */
static void dec_moffs(Decoder *d, uint8_t opcode)
{
    unsigned size = byte_or_osize(d, opcode);
    uint64_t offset = d->op.asize == 3 ? get64(d) : d->op.asize == 2 ? get32(d) : get16(d);

    d->op.r1 = 0;
    d->op.mem = 1;
    d->op.osize = (uint8_t)size;
    d->op.base = d->op.index = SLOT_ZERO;
    set_segment(d, X86_SEG_DS);
    if ((uint64_t)(int64_t)(int32_t)offset == offset) {
        d->op.disp = (int32_t)offset;
        emit(d, alu_id(ALU_MOV, opcode & 2 ? FORM_MR : FORM_RM, size));
    } else {
        d->op.imm = offset;
        d->op.aux = opcode;
        emit(d, OP_call_sysinfo);
    }
}

static void dec_lea(Decoder *d, uint8_t opcode)
{
    get_modrm(d, d->osize);
    d->op.has_seg = 0;
    if (is_reg(d)) {
        emit_ud(d);
    } else {
        emit(d, OP_LEA_16 + log2_size(d->osize) - 1);
    }
}

static void dec_push_pop_reg(Decoder *d, uint8_t opcode)
{
    bool pop = opcode >= 0x58;

    d->op.r1 = (uint8_t)(((opcode & 7) | ((d->rex & 1) << 3)) * 8);
    d->op.aux = opcode;
    if (d->long64 && !d->opsize) {
        emit(d, pop ? OP_POP64_R : OP_PUSH64_R);
    } else {
        emit(d, pop ? OP_call_pop : OP_call_push);
    }
}

static void dec_push_imm(Decoder *d, uint8_t opcode)
{
    d->op.imm = opcode == 0x6a ? get_imm(d, 1) : get_imm(d, d->opsize == d->long64 || d->osize == 2 ? d->osize : 4);
    d->op.aux = opcode;
    emit(d, d->long64 && !d->opsize ? OP_PUSH64_I : OP_call_push);
}

static void dec_incdec_reg(Decoder *d, uint8_t opcode)
{
    d->op.r1 = (uint8_t)((opcode & 7) * 8);
    emit(d, (opcode >= 0x48 ? OP_DEC_R_8 : OP_INC_R_8) + log2_size(d->osize));
}

/* FE, FF */
static void dec_group45(Decoder *d, uint8_t opcode)
{
    unsigned size = byte_or_osize(d, opcode), digit;

    get_modrm(d, size);
    digit = modrm_digit(d);
    d->op.aux = opcode;
    if (digit < 2) {
        d->op.aux = digit ? 9 : 8;
        d->op.r1 = is_reg(d) ? d->op.r2 : d->op.r1;
        if (d->lock) {
            if (is_reg(d)) {
                emit_ud(d);
            } else {
                emit(d, OP_call_alu_slow);
            }
        } else {
            emit(d, (is_reg(d) ? (digit ? OP_DEC_R_8 : OP_INC_R_8) : (digit ? OP_DEC_M_8 : OP_INC_M_8)) + log2_size(size));
        }
        return;
    }
    if (opcode == 0xfe || digit == 7 || ((digit == 3 || digit == 5) && is_reg(d))) {
        emit_ud(d);
    } else if (digit == 3 || digit == 5) {
        emit_end(d, OP_call_far);
    } else if (d->long64 && digit == 6 && !d->opsize) {
        d->op.r1 = d->op.r2;
        emit(d, is_reg(d) ? OP_PUSH64_R : OP_PUSH64_M);
    } else if (d->long64 && digit != 6) {
        static const uint16_t ids[2][2] = {{OP_CALL64_M, OP_CALL64_R}, {OP_JMP64_M, OP_JMP64_R}};

        d->op.r1 = (uint8_t)(modrm_rm(d) * 8);
        emit_end(d, ids[digit == 4][is_reg(d)]);
    } else if (digit == 6) {
        emit(d, OP_call_push);
    } else {
        emit_end(d, digit == 2 ? OP_call_call_near : OP_call_jmp_near);
    }
}

/* F6, F7 */
static void dec_group3(Decoder *d, uint8_t opcode)
{
    unsigned size = byte_or_osize(d, opcode), digit;

    get_modrm(d, size);
    digit = modrm_digit(d);
    if (digit < 2) {
        d->op.imm = get_imm(d, size);
        emit_alu_rm(d, ALU_TEST, true, size);
    } else if (digit < 4) {
        d->op.aux = (uint8_t)(digit + 8); /* 10 NOT, 11 NEG */
        if (is_reg(d)) {
            d->op.r1 = d->op.r2;
            if (d->lock) {
                emit_ud(d);
            } else {
                emit(d, (digit == 2 ? OP_NOT_R_8 : OP_NEG_R_8) + log2_size(size));
            }
        } else {
            emit(d, OP_call_alu_slow);
        }
    } else {
        d->op.aux = (uint8_t)digit;
        emit(d, OP_call_mul);
    }
}

/* C0 C1 D0-D3 */
static void dec_shift(Decoder *d, uint8_t opcode)
{
    unsigned size = byte_or_osize(d, opcode), digit, count = 0;

    get_modrm(d, size);
    digit = modrm_digit(d);
    d->op.aux = (uint8_t)digit;
    if (opcode >= 0xd2) {
        d->op.aux2 = 1; /* by CL */
        emit(d, OP_call_shift);
        return;
    }
    count = opcode >= 0xd0 ? 1 : get8(d) & (size == 8 ? 63 : 31);
    d->op.imm = count;
    d->op.aux2 = 0;
    if (is_reg(d) && size >= 2 && digit >= 4 && count && count < size * 8) {
        d->op.r1 = d->op.r2;
        emit(d, (digit == 5 ? OP_SHR_RI_16 : digit == 7 ? OP_SAR_RI_16 : OP_SHL_RI_16) + log2_size(size) - 1);
    } else {
        emit(d, OP_call_shift);
    }
}

static void set_jump_target(Decoder *d, int64_t disp)
{
    d->op.imm = (uint64_t)(disp + (int64_t)d->op.off + d->pos);
}

static void emit_near(Decoder *d, unsigned fast, unsigned slow, unsigned size)
{
    int64_t disp = size == 1 ? (int8_t)get8(d) : d->osize == 2 && !d->long64 ? (int16_t)get16(d) : (int32_t)get32(d);

    set_jump_target(d, disp);
    emit_end(d, d->long64 || (fast != OP_CALL64 && d->osize == 4 && (d->cpu->mode & MODE_CS32)) ? fast : slow);
}

static void dec_jcc(Decoder *d, uint8_t opcode)
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
    set_jump_target(d, (int8_t)get8(d));
    emit_end(d, OP_call_loop);
}

static void dec_ret(Decoder *d, uint8_t opcode)
{
    d->op.aux = opcode;
    d->op.imm = opcode & 1 ? 0 : get16(d);
    emit_end(d, opcode >= 0xca ? OP_call_far : d->long64 && !d->op.imm ? OP_RET64 : OP_call_ret_near);
}

static void dec_xchg_ax(Decoder *d, uint8_t opcode)
{
    d->op.r1 = 0;
    d->op.r2 = (uint8_t)(((opcode & 7) | ((d->rex & 1) << 3)) * 8);
    d->op.osize = (uint8_t)d->osize;
    emit(d, d->op.r2 ? OP_call_xchg : OP_NOP);
}

static void dec_movsxd(Decoder *d, uint8_t opcode)
{
    get_modrm(d, d->osize);
    if (!d->long64) {
        d->op.aux = opcode;
        emit_end(d, OP_call_system); /* ARPL */
    } else if (d->osize == 8) {
        emit(d, is_reg(d) ? OP_MOVSXD_R : OP_MOVSXD_M);
    } else {
        emit(d, alu_id(ALU_MOV, is_reg(d) ? FORM_RR : FORM_RM, d->osize));
    }
}

static void dec_imul3(Decoder *d, uint8_t opcode)
{
    get_modrm(d, d->osize);
    d->op.imm = get_imm(d, opcode == 0x6b ? 1 : d->osize);
    emit(d, OP_call_imul3);
}

/* Entries below carry what to emit and how operands are given. */
static void dec_far_imm(Decoder *d, uint8_t opcode)
{
    if (d->long64) {
        emit_ud(d);
        return;
    }
    uint64_t offset = d->osize == 2 ? get16(d) : get32(d);

    d->op.imm = offset | (uint64_t)get16(d) << 32;
    d->op.aux = opcode;
    emit_end(d, OP_call_far);
}

static void dec_x87(Decoder *d, uint8_t opcode)
{
    get_modrm(d, 8);
    d->op.osize = (uint8_t)d->osize;
    d->op.aux = opcode;
    emit(d, OP_call_fpu);
}

static void dec_string(Decoder *d, uint8_t opcode)
{
    d->op.aux = opcode;
    d->op.aux2 = d->rep;
    d->op.osize = (uint8_t)(opcode & 1 ? (d->osize == 8 && (opcode & 0xfc) == 0x6c ? 4 : d->osize) : 1);
    d->op.seg = 0xf & (unsigned)(d->seg >= 0 ? d->seg : X86_SEG_DS);
    emit_end(d, OP_call_string);
}

/*
 * C4, C5: LES and LDS, or a VEX prefix where those would have a register.  Of
 * the VEX instructions only those on general registers are there; real and
 * virtual-8086 mode have none.
 */
static void dec_les_vex(Decoder *d, uint8_t opcode)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
    uint8_t first = get8(d), second;
    bool imm8 = false;
    int insn;

    if (!d->long64 && (first & 0xc0) != 0xc0) {
        d->pos--;
        get_modrm(d, d->osize);
        d->op.aux = opcode;
        emit_end(d, OP_call_movseg);
        return;
    }
    if (opcode == 0xc5 || d->rex || d->opsize || d->rep || d->lock || (d->cpu->mode & (MODE_PROT | MODE_VM86)) != MODE_PROT) {
        emit_ud(d);
        return;
    }
    second = get8(d);
    d->has_rex = d->long64;
    d->rex = d->long64 ? 0x40 | (~first >> 5 & 7) | (second >> 4 & 8) : 0;
    opcode = get8(d);
    get_modrm(d, d->rex & 8 ? 8 : 4);
    insn = second & 4 ? -1 : x86_bmi_find(d->cpu, first & 31, opcode, prefixes[second & 3], modrm_digit(d), &imm8);
    if (insn < 0) {
        emit_ud(d);
        return;
    }
    d->op.imm = (unsigned)insn | (~second >> 3 & (d->long64 ? 15u : 7u)) << 8;
    if (imm8) {
        d->op.imm |= (uint64_t)get8(d) << 16;
    }
    emit(d, OP_call_bmi);
}

enum Operands { OPD_NONE, OPD_MODRM8, OPD_MODRM, OPD_IMM8, OPD_MODRM_IMM8, OPD_IMM16_IMM8 };

typedef struct Entry {
    DecodeFn *fn;
    uint16_t id;
    uint8_t operands;
    bool ends, no_long, lockable, reg_only_ud;
} Entry;

static void decode_entry(Decoder *d, const Entry *e, uint8_t opcode)
{
    if (e->no_long && d->long64) {
        emit_ud(d);
        return;
    }
    if (e->fn) {
        e->fn(d, opcode);
        return;
    }
    switch (e->operands) {
    case OPD_MODRM8:
        get_modrm(d, 1);
        break;
    case OPD_MODRM:
    case OPD_MODRM_IMM8:
        get_modrm(d, d->osize);
        break;
    default:
        break;
    }
    if (e->operands == OPD_IMM16_IMM8) {
        d->op.imm = get16(d);
        d->op.imm |= (uint64_t)get8(d) << 16;
    } else if (e->operands == OPD_IMM8 || e->operands == OPD_MODRM_IMM8) {
        d->op.imm = get8(d);
    }
    d->op.aux = opcode;
    if (e->reg_only_ud && d->op.mem == 0) {
        emit_ud(d);
        return;
    }
    emit(d, e->id);
    d->ends = e->ends;
}

#define FN(f) {.fn = f}
#define CALL(name, opd) {.id = OP_call_##name, .operands = opd}
#define ENDS(name, opd) {.id = OP_call_##name, .operands = opd, .ends = true}
#define OLD(entry_fn) {.fn = entry_fn, .no_long = true}

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
    [0xe4 ... 0xe7] = CALL(io, OPD_IMM8), [0xe8] = FN(dec_call), [0xe9] = FN(dec_jmp), [0xea] = FN(dec_far_imm),
    [0xeb] = FN(dec_jmp), [0xec ... 0xef] = CALL(io, OPD_NONE),
    [0xf1] = ENDS(intn, OPD_NONE), [0xf4] = ENDS(hlt, OPD_NONE), [0xf5] = CALL(flags_op, OPD_NONE),
    [0xf6 ... 0xf7] = FN(dec_group3),
    [0xf8 ... 0xf9] = CALL(flags_op, OPD_NONE), [0xfa] = ENDS(sti, OPD_NONE), [0xfb] = ENDS(sti, OPD_NONE),
    [0xfc ... 0xfd] = CALL(flags_op, OPD_NONE), [0xfe ... 0xff] = FN(dec_group45),
};

/* --- two-byte opcodes --- */

static void dec_nop_modrm(Decoder *d, uint8_t opcode)
{
    get_modrm(d, d->osize);
    emit(d, OP_NOP);
}

static void dec_cmov(Decoder *d, uint8_t opcode)
{
    get_modrm(d, d->osize);
    d->op.aux = opcode & 15;
    if (d->osize == 2) {
        emit(d, OP_call_cmov16);
    } else if (is_reg(d)) {
        emit(d, d->osize == 8 ? OP_CMOV_R_64 : OP_CMOV_R_32);
    } else {
        emit(d, d->osize == 8 ? OP_CMOV_M_64 : OP_CMOV_M_32);
    }
}

static void dec_setcc(Decoder *d, uint8_t opcode)
{
    get_modrm(d, 1);
    d->op.aux = opcode & 15;
    d->op.r1 = d->op.r2;
    emit(d, is_reg(d) ? OP_SETCC_R : OP_SETCC_M);
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

    get_modrm(d, d->osize);
    if (is_reg(d)) {
        d->op.r2 = reg_offset(d, modrm_rm(d), word ? 2 : 1);
    }
    d->op.aux = opcode;
    if (d->osize == 2) {
        emit(d, OP_call_movsx16);
    } else {
        emit(d, sign ? sx[word][d->osize == 8][is_reg(d)] : zx[word][is_reg(d)]);
    }
}

static void dec_imul2(Decoder *d, uint8_t opcode)
{
    get_modrm(d, d->osize);
    d->op.aux = opcode;
    if (d->osize == 2) {
        d->op.imm = 0;
        emit(d, OP_call_imul3);
    } else {
        emit(d, (is_reg(d) ? OP_IMUL_RR_32 : OP_IMUL_RM_32) + (d->osize == 8));
    }
}

static void dec_bswap(Decoder *d, uint8_t opcode)
{
    d->op.r1 = (uint8_t)(((opcode & 7) | ((d->rex & 1) << 3)) * 8);
    d->op.osize = (uint8_t)d->osize;
    emit(d, OP_call_bswap);
}

static void dec_push_pop_fsgs(Decoder *d, uint8_t opcode)
{
    d->op.aux = opcode;
    if (opcode & 1) {
        emit_end(d, OP_call_movseg);
    } else {
        emit(d, OP_call_push);
    }
}

/* 0F AE: FXSAVE group, fences, FSGSBASE; 0F C7: CMPXCHG8B, RDRAND, XSAVEC... */
static void dec_group15(Decoder *d, uint8_t opcode)
{
    get_modrm(d, d->osize);
    d->op.aux = opcode;
    d->op.imm = d->rep;
    if (is_reg(d) && d->rep != 0xf3) {
        emit(d, modrm_digit(d) >= 5 && !d->rep ? OP_NOP : OP_call_ud); /* LFENCE, MFENCE, SFENCE */
        d->ends = d->op.id == OP_call_ud;
    } else if (is_reg(d)) {
        emit_end(d, OP_call_system); /* RDFSBASE and friends change what addresses mean */
    } else {
        emit(d, OP_call_fxsave);
    }
}

static void dec_group9(Decoder *d, uint8_t opcode)
{
    get_modrm(d, d->osize);
    d->op.aux = opcode;
    d->op.imm = d->rep;
    if (!is_reg(d) && modrm_digit(d) == 1) {
        emit(d, OP_call_cmpxchg8b);
    } else if (is_reg(d) && modrm_digit(d) >= 6) {
        emit(d, OP_call_random);
    } else {
        emit_ud(d);
    }
}

static void dec_mov_cr(Decoder *d, uint8_t opcode)
{
    get_modrm(d, 8);
    d->op.r2 = (uint8_t)(modrm_rm(d) * 8); /* mod is ignored: always a register */
    d->op.aux = opcode;
    d->op.imm = modrm_reg(d);
    emit_end(d, OP_call_mov_cr);
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
        modrm = get8(d);
        d->pos--;
    }
    insn = x86_simd_lookup(map, prefix, opcode, (modrm >> 3) & 7);
    if (!insn || !x86_has_simd(d->cpu, insn->feature)) {
        return false;
    }
    get_modrm(d, 8);
    d->op.osize = d->rex & 8 ? 8 : 4;
    d->op.aux = (uint8_t)modrm_reg(d);
    if (insn->flags & X86_SIMD_IMM8) {
        d->op.r2 = get8(d);
    }
    full_move = map == X86_MAP_0F && !is_reg(d) && prefix != X86_PFX_F2 &&
                ((prefix != X86_PFX_F3 && (opcode == 0x10 || opcode == 0x11 || opcode == 0x28 || opcode == 0x29)) ||
                 ((opcode == 0x6f || opcode == 0x7f) && prefix != X86_PFX_NONE));
    d->op.imm = (uint64_t)(uintptr_t)insn;
    d->op.r1 = (uint8_t)modrm_reg(d);
    if (is_reg(d)) {
        d->op.scale = d->rex & 1;
    }
    if (full_move && !(d->cpu->mode & MODE_NO_SIMD)) {
        bool store = opcode == 0x11 || opcode == 0x29 || opcode == 0x7f;

        d->op.osize = insn->flags & X86_SIMD_ALIGNED ? 15 : 0;
        emit(d, store ? OP_MOVUPS_ST : OP_MOVUPS_LD);
        return true;
    }
    emit(d, OP_call_simd);
    return true;
}

static void decode_two_byte(Decoder *d)
{
    uint8_t opcode = get8(d);

    if (opcode == 0x38 || opcode == 0x3a) {
        X86OpcodeMap map = opcode == 0x38 ? X86_MAP_0F38 : X86_MAP_0F3A;
        uint8_t third = get8(d);

        if (opcode == 0x38 && (third == 0xf0 || third == 0xf1)) {
            get_modrm(d, d->osize);
            d->op.aux = third;
            d->op.imm = d->rep;
            if (d->rep == 0xf2) {
                d->op.osize = (uint8_t)(third == 0xf0 ? 1 : d->osize);
                if (is_reg(d)) {
                    d->op.r2 = reg_offset(d, modrm_rm(d), d->op.osize);
                }
                emit(d, OP_call_crc32);
            } else if (is_reg(d)) {
                emit_ud(d);
            } else {
                emit(d, OP_call_movbe);
            }
        } else if (opcode == 0x38 && third == 0xf6) {
            get_modrm(d, d->osize == 8 ? 8 : 4);
            d->op.imm = d->rep ? d->rep : d->opsize ? 0x66 : 0;
            emit(d, OP_call_adx);
        } else if (!decode_simd(d, map, third)) {
            emit_ud(d);
        }
        return;
    }
    if (opcode == 0xc3 && !d->rep && !d->opsize) {
        get_modrm(d, d->osize);
        if (is_reg(d)) {
            emit_ud(d);
        } else {
            emit(d, alu_id(ALU_MOV, FORM_MR, d->osize));
        }
        return;
    }
    if (two_byte[opcode].fn || two_byte[opcode].id) {
        d->op.imm = d->rep;
        if (opcode == 0xb8 && d->rep != 0xf3) {
            emit_ud(d);
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
        emit_ud(d);
    }
}

static bool decode_prefix(Decoder *d, uint8_t byte)
{
    static const int8_t segs[256] = {
        [0x26] = X86_SEG_ES + 1, [0x2e] = X86_SEG_CS + 1, [0x36] = X86_SEG_SS + 1, [0x3e] = X86_SEG_DS + 1,
        [0x64] = X86_SEG_FS + 1, [0x65] = X86_SEG_GS + 1,
    };

    if (segs[byte]) {
        /* ES, CS, SS, DS overrides mean nothing in 64-bit mode. */
        if (!d->long64 || byte >= 0x64) {
            d->seg = segs[byte] - 1;
        }
    } else if (byte == 0x66) {
        d->opsize = true;
    } else if (byte == 0x67) {
        d->addrsize = true;
    } else if (byte == 0xf0) {
        d->lock = true;
    } else if (byte == 0xf2 || byte == 0xf3) {
        d->rep = byte;
    } else {
        return false;
    }
    return true;
}

static void set_sizes(Decoder *d)
{
    bool big = d->cpu->mode & MODE_CS32;

    if (d->long64) {
        d->osize = d->rex & 8 ? 8 : d->opsize ? 2 : 4;
        d->op.asize = d->addrsize ? 2 : 3;
    } else {
        d->osize = big != d->opsize ? 4 : 2;
        d->op.asize = big != d->addrsize ? 2 : 1;
    }
    d->op.osize = (uint8_t)d->osize;
    d->op.rexw = d->rex >> 3 & 1;
    d->op.seg = 0xf & (unsigned)(d->seg >= 0 ? d->seg : X86_SEG_DS);
}

static bool lock_allowed(const Decoder *d)
{
    static const unsigned lockable[] = {OP_call_alu_slow, OP_call_xchg, OP_call_cmpxchg, OP_call_cmpxchg8b, OP_call_xadd, OP_call_bt};

    for (unsigned i = 0; i < sizeof(lockable) / sizeof(lockable[0]); i++) {
        if (d->op.id == lockable[i]) {
            return d->op.mem && !(lockable[i] == OP_call_bt && (d->op.aux == 0xa3 || (d->op.aux == 0xba && (d->op.aux2 >> 3 & 7) == 4)));
        }
    }
    return false;
}

static void decode_one(Decoder *d)
{
    uint8_t byte;

    d->pos = 0;
    d->opsize = d->addrsize = d->lock = d->has_rex = false;
    d->rep = d->rex = 0;
    d->seg = -1;
    d->modrm = 0xc0;
    d->op.base = d->op.index = SLOT_ZERO;
    while (decode_prefix(d, byte = get8(d))) {
    }
    if (d->long64 && (byte & 0xf0) == 0x40) {
        d->rex = byte;
        d->has_rex = true;
        byte = get8(d);
    }
    set_sizes(d);
    d->op.lock = d->lock;
    if (byte == 0x0f) {
        decode_two_byte(d);
    } else if (byte < 0x40 && (byte & 7) < 6) {
        dec_alu(d, byte);
    } else if (!one_byte[byte].fn && !one_byte[byte].id) {
        emit_ud(d);
    } else if (byte == 0x90 && d->rep == 0xf3) {
        emit(d, OP_NOP); /* PAUSE */
    } else {
        decode_entry(d, &one_byte[byte], byte);
    }
    if (d->lock && !lock_allowed(d)) {
        emit_ud(d);
    }
    if (d->op.mem && d->op.base == SLOT_RIP) {
        d->op.disp += (int32_t)(d->op.off + d->pos);
    }
}

Block *x86_decode_block(X86Cpu *cpu, uint64_t rip)
{
    static const Op at_start;
    Block *volatile block = cpu->scratch;
    Decoder d = {.cpu = cpu, .block = block, .rip = rip, .long64 = cpu->mode & MODE_LONG64};
    volatile unsigned off = 0;
    unsigned start;
    FetchEntry *fetch;

    cpu->gpr[SLOT_RIP] = rip;
    cpu->op = &at_start;
    fetch = x86_fetch_page(cpu, x86_code_linear(cpu, rip));
    start = x86_code_linear(cpu, rip) & 0xfff;
    *block = (Block){.phys = fetch->phys | start, .mode = cpu->mode};
    d.page = fetch->host + start;
    d.room = X86_PAGE_SIZE - start;
    if (!setjmp(d.stop)) {
        /* An op may have a check in front of it. */
        while (!d.ends && block->count < ((cpu->mode & MODE_TF) ? 1 : BLOCK_MAX_OPS - 1) && !block->phys2 &&
               off < d.room) {
            d.first = block->count == 0;
            d.bytes = d.page + off;
            d.avail = d.room - off;
            memset(&d.op, 0, sizeof(d.op));
            d.op.off = (uint16_t)off;
            decode_one(&d);
            if (x86_segcheck_op(cpu, &d.op, &block->ops[block->count])) {
                block->count++;
            }
            block->ops[block->count++] = d.op;
            off += d.pos;
        }
    }
    block->ops[block->count] = (Op){.handler = x86_handler(OP_END), .id = OP_END, .off = (uint16_t)off};
    block->bytes = (uint16_t)off;
    if (block->phys2) {
        memcpy(block->source, d.crossing, sizeof(block->source));
    }
    return block;
}
