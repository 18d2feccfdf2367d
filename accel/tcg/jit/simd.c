/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Vector instructions: the guest's own instruction, on host registers XMM0 and XMM1
 * and the guest's operands.  Floating point runs with the guest's MXCSR, which
 * then collects its flags there; with an exception unmasked the interpreter runs it.
 */
#include "accel/tcg/jit/jit-private.h"

enum { X_REG = 0, X_RM = 1 }; /* host registers for ModRM.reg and ModRM.rm */

/* An instruction as its bytes give it. */
typedef struct Encoding {
    unsigned prefix, opcode; /* as asm_insn() takes them */
} Encoding;

static bool is_legacy_prefix(uint8_t byte)
{
    static const uint8_t prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};

    return memchr(prefixes, byte, sizeof(prefixes)) != NULL;
}

static Encoding read_encoding(const uint8_t *bytes)
{
    Encoding e = {0};

    for (; is_legacy_prefix(*bytes); bytes++) {
        if (*bytes == 0xf2 || *bytes == 0xf3) {
            e.prefix = *bytes;
        } else if (*bytes == 0x66 && !e.prefix) {
            e.prefix = 0x66;
        }
    }
    bytes += (*bytes & 0xf0) == 0x40; /* REX */
    e.opcode = 0x0f00 | bytes[1];
    if (bytes[1] == 0x38 || bytes[1] == 0x3a) {
        e.opcode = e.opcode << 8 | bytes[2];
    }
    return e;
}

/* Does it round or raise floating-point exceptions? */
static bool uses_mxcsr(unsigned opcode)
{
    static const uint8_t map_0f[] = {0x2a, 0x2c, 0x2d, 0x2e, 0x2f, 0x51, 0x58, 0x59, 0x5a, 0x5b, 0x5c,
                                     0x5d, 0x5e, 0x5f, 0x7c, 0x7d, 0xc2, 0xd0, 0xe6};
    unsigned last = opcode & 0xff;

    if (opcode <= 0xfff) {
        return memchr(map_0f, (int)last, sizeof(map_0f)) != NULL;
    }
    return opcode >> 8 == 0x0f3a && ((last >= 0x08 && last <= 0x0b) || last == 0x40 || last == 0x41);
}

static bool is_rm(unsigned kind)
{
    return kind == X86_OPD_XMM_RM || kind == X86_OPD_GPR_RM || kind == X86_OPD_XMM_ONLY || kind == X86_OPD_MEM_ONLY;
}

static bool is_xmm(unsigned kind)
{
    return kind == X86_OPD_XMM || kind == X86_OPD_XMM_RM || kind == X86_OPD_XMM_ONLY;
}

static bool known_kind(unsigned kind)
{
    return kind == X86_OPD_NONE || kind == X86_OPD_GPR || kind == X86_OPD_XMM || is_rm(kind);
}

/* Only what two operands and an immediate describe, in a form that does not fault by itself. */
static bool is_plain(const Op *op, const X86SimdInsn *insn, Encoding e)
{
    const unsigned flags = X86_SIMD_ALIGNED | X86_SIMD_IMM8 | X86_SIMD_EFLAGS | X86_SIMD_USES_REXW | X86_SIMD_NO_WRITE;
    unsigned rm = is_rm(insn->dst) ? insn->dst : insn->src;
    bool compares_strings = e.opcode >> 4 == 0x0f3a6;

    return !(insn->flags & ~flags) && known_kind(insn->dst) && known_kind(insn->src) && is_rm(rm) && !compares_strings &&
           (op->mem ? rm != X86_OPD_XMM_ONLY : rm != X86_OPD_MEM_ONLY);
}

static Loc xmm_at(unsigned n)
{
    return loc_mem(H_CPU, (int32_t)(offsetof(X86Cpu, fpu.xmm) + n * sizeof(X86Vec)));
}

static void xmm_load(Compiler *c, unsigned host, unsigned guest)
{
    asm_insn(&c->a, 0, 0x0f28, 4, host, false, xmm_at(guest)); /* MOVAPS */
}

static void xmm_store(Compiler *c, unsigned guest, unsigned host)
{
    asm_insn(&c->a, 0, 0x0f29, 4, host, false, xmm_at(guest));
}

/* The guest's MXCSR is the host's. */
static void need_mxcsr(Compiler *c)
{
    uint8_t *from;

    jit_flags_to_cpu(c);
    if (c->fp_ready) {
        return;
    }
    asm_digit(&c->a, 0x80, 1, 7, CPU_AT(fp_live)); /* CMP */
    asm_8(&c->a, 0);
    from = asm_jcc_open(&c->a, COND_E);
    jit_slow(c, SLOW_MXCSR, from, c->a.at, 0);
    c->fp_ready = true;
}

/* RCX = host address of the memory operand; what misses is done by the op's function. */
static void translate_operand(Compiler *c, const X86SimdInsn *insn, uint8_t *miss[2])
{
    unsigned size = insn->mem_size ? insn->mem_size : c->op->rexw ? 8 : 4;

    jit_flags_to_cpu(c);
    jit_address(c);
    miss[1] = NULL;
    if ((insn->flags & X86_SIMD_ALIGNED) && size == 16) {
        asm_digit(&c->a, 0xf6, 1, 0, loc_reg(H_CX)); /* TEST */
        asm_8(&c->a, 15);
        miss[1] = asm_jcc_open(&c->a, COND_NE);
    }
    miss[0] = jit_translate(c, size, is_rm(insn->dst));
}

/* The guest's register ModRM.rm as an operand of the host instruction, loaded. */
static Loc rm_operand(Compiler *c, unsigned kind, unsigned n, bool written)
{
    if (is_xmm(kind)) {
        xmm_load(c, X_RM, n);
        return loc_reg(X_RM);
    }
    return written && jit_reg(n).mem ? loc_reg(H_AX) : jit_reg(n);
}

static void rm_write_back(Compiler *c, unsigned kind, unsigned n)
{
    if (is_xmm(kind)) {
        xmm_store(c, n, X_RM);
    } else if (jit_reg(n).mem) {
        asm_store(&c->a, 8, jit_reg(n), H_AX);
    }
}

/* The host register for ModRM.reg: an XMM register, loaded, a general one, or a digit of the opcode. */
static unsigned reg_operand(Compiler *c, unsigned kind, unsigned n)
{
    if (kind == X86_OPD_NONE) {
        return n & 7;
    }
    if (kind == X86_OPD_XMM) {
        xmm_load(c, X_REG, n);
        return X_REG;
    }
    return jit_reg(n).mem ? H_AX : jit_reg(n).reg;
}

static void reg_write_back(Compiler *c, unsigned kind, unsigned n)
{
    if (kind == X86_OPD_XMM) {
        xmm_store(c, n, X_REG);
    } else if (kind == X86_OPD_GPR && jit_reg(n).mem) {
        asm_store(&c->a, 8, jit_reg(n), H_AX);
    }
}

bool jit_simd(Compiler *c)
{
    const Op *op = c->op;
    const X86SimdInsn *insn = (const X86SimdInsn *)(uintptr_t)op->imm;
    const Encoding e = read_encoding(c->source + op->off);
    const bool writes_rm = is_rm(insn->dst), writes = !(insn->flags & X86_SIMD_NO_WRITE);
    const unsigned rm_kind = writes_rm ? insn->dst : insn->src, reg_kind = writes_rm ? insn->src : insn->dst;
    const unsigned rm = (op->aux2 & 7u) | (op->scale & 1u) << 3;
    uint8_t *miss[2] = {NULL, NULL};
    unsigned reg;
    Loc at;

    if (c->block->mode & MODE_NO_SIMD || !is_plain(op, insn, e)) {
        jit_call(c);
        return true;
    }
    if (uses_mxcsr(e.opcode)) {
        need_mxcsr(c);
    }
    if (op->mem) {
        translate_operand(c, insn, miss);
        at = loc_mem(H_CX, 0);
    } else {
        at = rm_operand(c, rm_kind, rm, writes_rm);
    }
    reg = reg_operand(c, reg_kind, op->aux);
    asm_insn(&c->a, e.prefix, e.opcode, op->rexw ? 8 : 4, reg, false, at);
    if (insn->flags & X86_SIMD_IMM8) {
        asm_8(&c->a, op->r2);
    }
    if (writes && !writes_rm) {
        reg_write_back(c, reg_kind, op->aux);
    } else if (writes && !op->mem) {
        rm_write_back(c, rm_kind, rm);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (miss[i]) {
            jit_slow(c, insn->flags & X86_SIMD_EFLAGS ? SLOW_CALL_FLAGS : SLOW_CALL, miss[i], c->a.at, 0);
        }
    }
    if (insn->flags & X86_SIMD_EFLAGS) {
        jit_flags_set(c);
    }
    return true;
}
