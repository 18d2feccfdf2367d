/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87 instructions (Intel SDM vol. 1, chapter 8) on the host's x87.  Compiled are those that need no more than the
 * default control word, which is the host's own, and registers that are full and empty as they should be: each loads its
 * operands from X86Cpu, where the guest's stack stays, and puts its result back.  Whatever is unusual, a flag that the
 * guest's status word does not have yet included, is left to the op's function, which does the instruction from its
 * beginning: nothing of the guest has changed before that is certain.
 */
#include "accel/tcg/fpu/fpu-internal.h"
#include "accel/tcg/jit/jit-private.h"

enum { FSW_HIGH_C1 = X86_FSW_C1 >> 8, X87_FAILS = 6, ST_BYTES_SHIFT = 4, FP80_BYTES = 10 };
_Static_assert(sizeof(X86Fp80) == 1 << ST_BYTES_SHIFT, "offsets of registers are found by a shift");

/* One instruction under way.  RDX is the offset of the first register in fpu.st, RCX that of the second or the host
 * address of the memory operand. */
typedef struct X87 {
    Compiler *c;
    Asm *a;
    uint8_t opcode, modrm;
    uint8_t *fail[X87_FAILS];
    unsigned fails;
} X87;

static void fail_if(X87 *x, unsigned cond)
{
    x->fail[x->fails++] = asm_jcc_open(x->a, cond);
}

static Loc fpu_st(unsigned offset_reg)
{
    return loc_indexed(H_CPU, offset_reg, 0, (int32_t)offsetof(X86Cpu, fpu.st));
}

/* A host instruction with a memory operand: the guest's own, or FLD and FSTP of 80 bits. */
static void x87_mem(X87 *x, unsigned opcode, unsigned digit, Loc at)
{
    asm_insn(x->a, 0, opcode, 4, digit, false, at);
}

static void x87_bytes(X87 *x, unsigned opcode, unsigned modrm)
{
    asm_8(x->a, opcode);
    asm_8(x->a, modrm);
}

static void fld_st(X87 *x, unsigned offset_reg)
{
    x87_mem(x, 0xdb, 5, fpu_st(offset_reg));
}

static void fstp_st(X87 *x, unsigned offset_reg)
{
    x87_mem(x, 0xdb, 7, fpu_st(offset_reg));
}

static void load_byte(X87 *x, unsigned reg, Loc from)
{
    asm_insn(x->a, 0, 0x0fb6, 4, reg, false, from); /* MOVZX */
}

static void and_7(X87 *x, unsigned reg)
{
    asm_digit(x->a, 0x83, 4, 4, loc_reg(reg));
    asm_8(x->a, 7);
}

/* The default control word masks everything, so that nothing can be pending (x86_fpu_update_es()). */
static void check_control(X87 *x)
{
    asm_insn(x->a, 0, 0x0fb7, 4, H_AX, false, CPU_AT(fpu.fcw));
    asm_digit(x->a, 0x81, 4, 7, loc_reg(H_AX)); /* CMP */
    asm_32(x->a, X86_FCW_DEFAULT);
    fail_if(x, COND_NE);
}

/* `reg` becomes the number of ST(i), i from -1 on. */
static void number_of(X87 *x, unsigned reg, int i)
{
    load_byte(x, reg, CPU_AT(fpu.top));
    if (i) {
        asm_lea(x->a, 4, reg, loc_mem(reg, i));
        and_7(x, reg);
    }
}

static void load_tags(X87 *x)
{
    load_byte(x, H_AX, CPU_AT(fpu.ftw));
}

/* BT on the tags in RAX. */
static void check_tag(X87 *x, unsigned number_reg, bool full)
{
    asm_insn(x->a, 0, 0x0fa3, 4, number_reg, false, loc_reg(H_AX));
    fail_if(x, full ? COND_AE : COND_B);
}

static void to_offset(X87 *x, unsigned reg)
{
    asm_digit(x->a, 0xc1, 4, 4, loc_reg(reg)); /* SHL */
    asm_8(x->a, ST_BYTES_SHIFT);
}

static void to_number(X87 *x, unsigned reg)
{
    asm_digit(x->a, 0xc1, 4, 5, loc_reg(reg)); /* SHR */
    asm_8(x->a, ST_BYTES_SHIFT);
}

/* RDX: a full ST(0), or with a push an empty place for the new one. */
static void use_top(X87 *x, bool push)
{
    number_of(x, H_DX, push ? -1 : 0);
    load_tags(x);
    check_tag(x, H_DX, !push);
    to_offset(x, H_DX);
}

/* RDX: ST(0), RCX: ST(i), both full. */
static void use_two(X87 *x)
{
    number_of(x, H_DX, 0);
    number_of(x, H_CX, x->modrm & 7);
    load_tags(x);
    check_tag(x, H_DX, true);
    check_tag(x, H_CX, true);
    to_offset(x, H_DX);
    to_offset(x, H_CX);
}

/* Memory operand: RCX its host address; its linear one goes into fpu.fdp once the instruction is certain not to fault. */
static void translate(X87 *x, unsigned size, bool write)
{
    jit_address(x->c);
    asm_store(x->a, 8, loc_mem(H_SP, 0), H_CX);
    x->fail[x->fails++] = jit_translate(x->c, size, write);
}

static void store_word(X87 *x, Loc to)
{
    asm_store(x->a, 2, to, H_AX);
}

/* What the next exception handler may ask for; the op's function writes the same. */
static void set_pointers(X87 *x)
{
    const Op *op = x->c->op;
    Asm *a = x->a;

    asm_lea(a, 8, H_AX, loc_mem(H_RIP, (int32_t)op->off));
    asm_store(a, 8, CPU_AT(fpu.fip), H_AX);
    asm_insn(a, 0, 0x0fb7, 4, H_AX, false, CPU_AT(seg[X86_SEG_CS].selector));
    store_word(x, CPU_AT(fpu.fcs));
    asm_const(a, H_AX, (x->opcode & 7u) << 8 | x->modrm);
    store_word(x, CPU_AT(fpu.fop));
    if (op->mem) {
        asm_load(a, 8, H_AX, loc_mem(H_SP, 0));
        asm_store(a, 8, CPU_AT(fpu.fdp), H_AX);
        asm_insn(a, 0, 0x0fb7, 4, H_AX, false, CPU_AT(seg[op->seg].selector));
        store_word(x, CPU_AT(fpu.fds));
    }
}

/* After the host's instruction: RAX its status word.  Its flags only grow; one the guest does not have is perhaps not of
 * this instruction: the function begins with none. */
static void check_flags(X87 *x, uint8_t **fresh)
{
    Asm *a = x->a;

    x87_bytes(x, 0xdf, 0xe0); /* FNSTSW AX */
    asm_8(a, 0x24);           /* AND AL */
    asm_8(a, X86_FSW_FLAGS);
    asm_insn(a, 0, 0x0a, 4, H_AX, false, CPU_AT(fpu.fsw)); /* OR, CMP AL */
    asm_insn(a, 0, 0x3a, 4, H_AX, false, CPU_AT(fpu.fsw));
    *fresh = asm_jcc_open(a, COND_NE);
}

/* C1 as in the status word in RAX; changes RCX. */
static void copy_c1(X87 *x)
{
    Asm *a = x->a;
    const Loc high = loc_mem(H_CPU, (int32_t)offsetof(X86Cpu, fpu.fsw) + 1);

    asm_digit(a, 0xc1, 4, 5, loc_reg(H_AX)); /* SHR */
    asm_8(a, 8);
    asm_digit(a, 0x83, 4, 4, loc_reg(H_AX)); /* AND */
    asm_8(a, FSW_HIGH_C1);
    load_byte(x, H_CX, high);
    asm_digit(a, 0x83, 4, 4, loc_reg(H_CX));
    asm_8(a, (uint8_t)~FSW_HIGH_C1);
    asm_rm(a, 0x08, 4, H_AX, loc_reg(H_CX)); /* OR */
    asm_rm(a, 0x88, 1, H_CX, high);
}

static void clear_c1(X87 *x)
{
    asm_digit(x->a, 0x80, 1, 4, loc_mem(H_CPU, (int32_t)offsetof(X86Cpu, fpu.fsw) + 1)); /* AND */
    asm_8(x->a, (uint8_t)~FSW_HIGH_C1);
}

/* The place at RDX becomes ST(0). */
static void push(X87 *x)
{
    to_number(x, H_DX);
    asm_rm(x->a, 0x88, 1, H_DX, CPU_AT(fpu.top));
    load_tags(x);
    asm_insn(x->a, 0, 0x0fab, 4, H_DX, false, loc_reg(H_AX)); /* BTS */
    asm_rm(x->a, 0x88, 1, H_AX, CPU_AT(fpu.ftw));
}

/* ST(0), at RDX, goes. */
static void pop(X87 *x)
{
    to_number(x, H_DX);
    load_tags(x);
    asm_insn(x->a, 0, 0x0fb3, 4, H_DX, false, loc_reg(H_AX)); /* BTR */
    asm_rm(x->a, 0x88, 1, H_AX, CPU_AT(fpu.ftw));
    asm_lea(x->a, 4, H_DX, loc_mem(H_DX, 1));
    and_7(x, H_DX);
    asm_rm(x->a, 0x88, 1, H_DX, CPU_AT(fpu.top));
}

/* Every way out of line leads to the function and comes back here. */
static void finish(X87 *x, uint8_t *fresh)
{
    if (fresh) {
        jit_slow(x->c, SLOW_X87, fresh, x->a->at, 0);
    }
    for (unsigned i = 0; i < x->fails; i++) {
        jit_slow(x->c, SLOW_CALL, x->fail[i], x->a->at, 0);
    }
}

/* FADD to FDIVR with memory. */
static void arith_mem(X87 *x, const X86FpuInsn *insn)
{
    uint8_t *fresh;

    translate(x, insn->mem_read, false);
    use_top(x, false);
    set_pointers(x);
    fld_st(x, H_DX);
    x87_mem(x, x->opcode, x->modrm >> 3 & 7, loc_mem(H_CX, 0));
    check_flags(x, &fresh);
    fstp_st(x, H_DX);
    copy_c1(x);
    finish(x, fresh);
}

/* FADD to FDIVR with ST(i): the digit names what happens to a copy of ST(0). */
static void arith_reg(X87 *x, const X86FpuInsn *insn)
{
    uint8_t *fresh;

    use_two(x);
    set_pointers(x);
    fld_st(x, H_CX);
    fld_st(x, H_DX);
    x87_bytes(x, 0xd8, 0xc1 | (x->modrm & 0x38));
    check_flags(x, &fresh);
    fstp_st(x, x->opcode == 0xd8 ? H_DX : H_CX);
    x87_bytes(x, 0xdd, 0xd8); /* FSTP ST(0) */
    copy_c1(x);
    if (x->opcode == 0xde) {
        pop(x);
    }
    finish(x, fresh);
}

/* FLD and FILD; those of 80 bits and of integers raise nothing. */
static void load_mem(X87 *x, const X86FpuInsn *insn)
{
    uint8_t *fresh = NULL;

    translate(x, insn->mem_read, false);
    use_top(x, true);
    set_pointers(x);
    x87_mem(x, x->opcode, x->modrm >> 3 & 7, loc_mem(H_CX, 0));
    if ((x->modrm >> 3 & 7) == 0 && (x->opcode == 0xd9 || x->opcode == 0xdd)) {
        check_flags(x, &fresh);
    }
    fstp_st(x, H_DX);
    clear_c1(x);
    push(x);
    finish(x, fresh);
}

/* FLD1 to FLDZ, rounded as the default control word says. */
static void load_constant(X87 *x, const X86FpuInsn *insn)
{
    use_top(x, true);
    set_pointers(x);
    x87_bytes(x, x->opcode, x->modrm);
    fstp_st(x, H_DX);
    clear_c1(x);
    push(x);
    finish(x, NULL);
}

static void load_reg(X87 *x, const X86FpuInsn *insn)
{
    number_of(x, H_DX, -1);
    number_of(x, H_CX, x->modrm & 7);
    load_tags(x);
    check_tag(x, H_DX, false);
    check_tag(x, H_CX, true);
    to_offset(x, H_DX);
    to_offset(x, H_CX);
    set_pointers(x);
    fld_st(x, H_CX);
    fstp_st(x, H_DX);
    clear_c1(x);
    push(x);
    finish(x, NULL);
}

/* FST, FSTP, FIST, FISTP, FISTTP: by way of the stack, as guest memory is written once. */
static void store_mem(X87 *x, const X86FpuInsn *insn)
{
    const unsigned size = insn->mem_write, digit = x->modrm >> 3 & 7;
    const Loc slot = loc_mem(H_SP, 0);
    uint8_t *fresh;

    translate(x, size, true);
    use_top(x, false);
    set_pointers(x);
    fld_st(x, H_DX);
    /* Those that do not pop have a sibling that does. */
    x87_mem(x, x->opcode, digit == 2 ? 3 : digit, slot);
    check_flags(x, &fresh);
    asm_move(x->a, H_DX, H_AX);
    asm_insn(x->a, 0, size == 2 ? 0x0fb7 : 0x8b, size == 8 ? 8 : 4, H_AX, false, slot); /* MOVZX, MOV */
    asm_store(x->a, size, loc_mem(H_CX, 0), H_AX);
    asm_move(x->a, H_AX, H_DX);
    copy_c1(x);
    if (digit != 2) {
        number_of(x, H_DX, 0);
        to_offset(x, H_DX);
        pop(x);
    }
    finish(x, fresh);
}

static void store_f80(X87 *x, const X86FpuInsn *insn)
{
    translate(x, FP80_BYTES, true);
    use_top(x, false);
    set_pointers(x);
    fld_st(x, H_DX);
    x87_mem(x, 0xdb, 7, loc_mem(H_CX, 0));
    clear_c1(x);
    pop(x);
    finish(x, NULL);
}

/* DD D0+i FST and DD D8+i FSTP: ST(i) may be empty before. */
static void store_reg(X87 *x, const X86FpuInsn *insn)
{
    use_top(x, false);
    number_of(x, H_CX, x->modrm & 7);
    asm_insn(x->a, 0, 0x0fab, 4, H_CX, false, loc_reg(H_AX)); /* BTS on the tags, which use_top() has loaded */
    asm_rm(x->a, 0x88, 1, H_AX, CPU_AT(fpu.ftw));
    to_offset(x, H_CX);
    set_pointers(x);
    fld_st(x, H_DX);
    fstp_st(x, H_CX);
    clear_c1(x);
    if (x->modrm & 8) {
        pop(x);
    }
    finish(x, NULL);
}

static void exchange(X87 *x, const X86FpuInsn *insn)
{
    use_two(x);
    set_pointers(x);
    fld_st(x, H_CX);
    fld_st(x, H_DX);
    fstp_st(x, H_CX);
    fstp_st(x, H_DX);
    clear_c1(x);
    finish(x, NULL);
}

/* FCHS, FABS */
static void sign(X87 *x, const X86FpuInsn *insn)
{
    use_top(x, false);
    set_pointers(x);
    fld_st(x, H_DX);
    x87_bytes(x, x->opcode, x->modrm);
    fstp_st(x, H_DX);
    clear_c1(x);
    finish(x, NULL);
}

/* FCOMI, FUCOMI and with a pop: they leave C1 alone, and the host's flags are the guest's. */
static void compare_flags(X87 *x, const X86FpuInsn *insn)
{
    uint8_t *fresh;

    use_two(x);
    set_pointers(x);
    fld_st(x, H_CX);
    fld_st(x, H_DX);
    x87_bytes(x, 0xdb, (x->modrm & 0xf8) | 1);
    jit_flags_set(x->c);
    jit_flags_to_cpu(x->c);
    x87_bytes(x, 0xdd, 0xd8);
    check_flags(x, &fresh);
    x87_bytes(x, 0xdd, 0xd8);
    if (x->opcode == 0xdf) {
        pop(x);
    }
    finish(x, fresh);
}

typedef void X87Emit(X87 *x, const X86FpuInsn *insn);

/* By opcode D8 to DF and digit. */
static X87Emit *const memory_forms[8][8] = {
    [0] = {[0] = arith_mem, [1] = arith_mem, [4] = arith_mem, [5] = arith_mem, [6] = arith_mem, [7] = arith_mem},
    [1] = {[0] = load_mem, [2] = store_mem, [3] = store_mem},
    [2] = {[0] = arith_mem, [1] = arith_mem, [4] = arith_mem, [5] = arith_mem, [6] = arith_mem, [7] = arith_mem},
    [3] = {[0] = load_mem, [1] = store_mem, [2] = store_mem, [3] = store_mem, [5] = load_mem, [7] = store_f80},
    [4] = {[0] = arith_mem, [1] = arith_mem, [4] = arith_mem, [5] = arith_mem, [6] = arith_mem, [7] = arith_mem},
    [5] = {[0] = load_mem, [1] = store_mem, [2] = store_mem, [3] = store_mem},
    [6] = {[0] = arith_mem, [1] = arith_mem, [4] = arith_mem, [5] = arith_mem, [6] = arith_mem, [7] = arith_mem},
    [7] = {[0] = load_mem, [1] = store_mem, [2] = store_mem, [3] = store_mem, [5] = load_mem, [7] = store_mem},
};

static X87Emit *const register_forms[8][8] = {
    [0] = {[0] = arith_reg, [1] = arith_reg, [4] = arith_reg, [5] = arith_reg, [6] = arith_reg, [7] = arith_reg},
    [1] = {[0] = load_reg, [1] = exchange},
    [3] = {[5] = compare_flags, [6] = compare_flags},
    [4] = {[0] = arith_reg, [1] = arith_reg, [4] = arith_reg, [5] = arith_reg, [6] = arith_reg, [7] = arith_reg},
    [5] = {[2] = store_reg, [3] = store_reg},
    [6] = {[0] = arith_reg, [1] = arith_reg, [4] = arith_reg, [5] = arith_reg, [6] = arith_reg, [7] = arith_reg},
    [7] = {[5] = compare_flags, [6] = compare_flags},
};

static X87Emit *find_form(const X87 *x)
{
    if (x->modrm < 0xc0) {
        return memory_forms[x->opcode & 7][x->modrm >> 3 & 7];
    }
    if (x->opcode == 0xd9 && x->modrm >= 0xe8 && x->modrm <= 0xee) {
        return load_constant;
    }
    if (x->opcode == 0xd9 && (x->modrm == 0xe0 || x->modrm == 0xe1)) {
        return sign;
    }
    return register_forms[x->opcode & 7][x->modrm >> 3 & 7];
}

bool jit_x87(Compiler *c)
{
    X87 x = {.c = c, .a = &c->a, .opcode = c->op->aux, .modrm = c->op->aux2};
    const bool escape = x.opcode >= 0xd8 && x.opcode <= 0xdf; /* not EMMS, FWAIT */
    const X86FpuInsn *insn = escape ? x86_fpu_lookup(x.opcode, x.modrm) : NULL;
    X87Emit *emit = insn ? find_form(&x) : NULL;

    if (!emit || c->block->mode & MODE_NO_SIMD) {
        jit_call(c);
        return true;
    }
    jit_flags_to_cpu(c);
    check_control(&x);
    emit(&x, insn);
    return true;
}
