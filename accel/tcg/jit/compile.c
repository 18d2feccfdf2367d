/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A block's way to host code: the code around its ops, the flags, accesses to
 * memory through the software TLB, what is out of line, and jumps to other blocks.
 */
#include <assert.h>

#include "accel/tcg/jit/jit-private.h"

/* More than any block's code takes. */
enum { JIT_BLOCK_ROOM = 64 * 1024 };

Loc jit_reg(unsigned n)
{
    return n < JIT_MAPPED ? loc_reg(jit_host_reg[n]) : loc_mem(H_CPU, (int32_t)(8 * n));
}

/* --- flags --- */

enum { OP_LAHF = 0x9f, OP_SAHF = 0x9e, REG_AH = 4 };

void jit_flags_save(Compiler *c)
{
    Asm *a = &c->a;

    if (c->cpu_flags) {
        return;
    }
    asm_8(a, OP_LAHF);
    asm_insn(a, 0, 0x88, 4, REG_AH, false, CPU_AT(cc_b));
    asm_digit(a, 0x0f90, 1, 0, loc_mem(H_CPU, (int32_t)offsetof(X86Cpu, cc_b) + 1)); /* SETO: CC_OF_BYTE */
    asm_digit(a, 0xc7, 4, 0, CPU_AT(cc_op));
    asm_32(a, CC_RAW);
    c->cpu_flags = c->raw_flags = true;
}

void jit_flags_to_cpu(Compiler *c)
{
    jit_flags_save(c);
    c->host_flags = false;
}

void jit_flags_set(Compiler *c)
{
    c->host_flags = true;
    c->cpu_flags = c->raw_flags = false;
}

static void flags_make_raw(Compiler *c)
{
    if (c->raw_flags) {
        return;
    }
    asm_digit(&c->a, 0x83, 4, 7, CPU_AT(cc_op));
    asm_8(&c->a, CC_RAW);
    uint8_t *from = asm_jcc_open(&c->a, COND_NE);

    jit_slow(c, SLOW_FLAGS, from, c->a.at, 0);
    c->raw_flags = true;
}

/* ADD overflows when AL holds OF, be it at its own place (8) or CC_OF_BYTE's (1). */
static void flags_load(Asm *a)
{
    asm_insn(a, 0, 0x8a, 4, H_AX, false, loc_mem(H_CPU, (int32_t)offsetof(X86Cpu, cc_b) + 1));
    asm_8(a, 0x04);
    asm_8(a, 0x7f);
    asm_insn(a, 0, 0x8a, 4, REG_AH, false, CPU_AT(cc_b));
    asm_8(a, OP_SAHF);
}

void jit_flags_to_host(Compiler *c)
{
    if (!c->host_flags) {
        flags_make_raw(c);
        flags_load(&c->a);
        c->host_flags = true;
    }
}

void jit_carry_to_host(Compiler *c)
{
    if (!c->host_flags) {
        flags_make_raw(c);
        asm_insn(&c->a, 0, 0x0fba, 4, 4, false, CPU_AT(cc_b)); /* BT */
        asm_8(&c->a, 0);
    }
}

/* --- memory --- */

void jit_slow(Compiler *c, SlowKind kind, uint8_t *from, uint8_t *resume, unsigned size)
{
    c->slow[c->slow_count++] = (Slow){.from = from, .resume = resume, .index = (uint16_t)c->index,
                                      .kind = (uint8_t)kind, .size = (uint8_t)size};
}

/* A register of an address, in `scratch` when it is in memory. */
static unsigned address_reg(Compiler *c, unsigned slot, unsigned scratch)
{
    if (slot == SLOT_RIP) {
        return H_RIP;
    }
    if (slot < JIT_MAPPED) {
        return jit_host_reg[slot];
    }
    asm_load(&c->a, 8, scratch, jit_reg(slot));
    return scratch;
}

void jit_address(Compiler *c)
{
    const Op *op = c->op;
    Asm *a = &c->a;

    if (op->index != SLOT_ZERO) {
        unsigned index = address_reg(c, op->index, H_AX), base = H_CX;

        if (op->base == SLOT_ZERO) {
            asm_const(a, H_CX, (uint64_t)(int64_t)op->disp);
            asm_lea(a, 8, H_CX, loc_indexed(base, index, op->scale, 0));
        } else {
            base = address_reg(c, op->base, H_CX);
            asm_lea(a, 8, H_CX, loc_indexed(base, index, op->scale, op->disp));
        }
    } else if (op->base == SLOT_ZERO) {
        asm_const(a, H_CX, (uint64_t)(int64_t)op->disp);
    } else {
        asm_lea(a, 8, H_CX, loc_mem(address_reg(c, op->base, H_CX), op->disp));
    }
    if (op->asize != 3) {
        asm_load(a, 4, H_CX, loc_reg(H_CX));
    }
    if (op->has_seg) {
        asm_load(a, 8, H_DX, CPU_AT(seg[op->seg].base));
        asm_lea(a, 8, H_CX, loc_indexed(H_CX, H_DX, 0, 0));
    }
}

uint8_t *jit_translate(Compiler *c, unsigned size, bool write)
{
    const uint32_t mode = c->block->mode;
    const unsigned which = mode & MODE_USER ? TLB_USER : mode & MODE_AC ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR;
    const int32_t entry = (int32_t)(offsetof(X86Cpu, tlbs) + which * sizeof(c->cpu->tlbs[0]));
    const int32_t tag = entry + (int32_t)(write ? offsetof(TlbEntry, wr) : offsetof(TlbEntry, rd));
    Asm *a = &c->a;
    uint8_t *miss;

    _Static_assert(sizeof(TlbEntry) == 32, "the shift below makes a page number an offset");
    asm_load(a, 4, H_AX, loc_reg(H_CX));
    asm_digit(a, 0xc1, 4, 5, loc_reg(H_AX)); /* SHR */
    asm_8(a, X86_PAGE_BITS - 5);
    asm_digit(a, 0x81, 4, 4, loc_reg(H_AX)); /* AND */
    asm_32(a, (TLB_SIZE - 1) << 5);
    asm_lea(a, 8, H_DX, loc_mem(H_CX, (int32_t)size - 1));
    asm_digit(a, 0x81, 8, 4, loc_reg(H_DX)); /* AND */
    asm_32(a, (uint32_t)X86_PAGE_MASK);
    asm_rm(a, 0x38, 8, H_DX, loc_indexed(H_CPU, H_AX, 0, tag)); /* CMP */
    miss = asm_jcc_open(a, COND_NE);
    asm_insn(a, 0, 0x03, 8, H_CX, false, loc_indexed(H_CPU, H_AX, 0, entry + (int32_t)offsetof(TlbEntry, addend)));
    return miss;
}

void jit_load_rax(Compiler *c, unsigned size)
{
    static const uint16_t opcodes[] = {[1] = 0x0fb6, [2] = 0x0fb7, [4] = 0x8b, [8] = 0x8b};
    uint8_t *miss = jit_translate(c, size, false);

    asm_insn(&c->a, 0, opcodes[size], size == 8 ? 8 : 4, H_AX, false, loc_mem(H_CX, 0));
    jit_slow(c, SLOW_LOAD, miss, c->a.at, size);
}

/* --- calls and jumps --- */

static void pass_op(Compiler *c, unsigned index, unsigned size)
{
    asm_const(&c->a, H_DX, (uintptr_t)&c->block->ops[index]);
    asm_const(&c->a, H_AX, index | size << 16);
}

void jit_call(Compiler *c)
{
    jit_flags_to_cpu(c);
    pass_op(c, c->index, 0);
    asm_call(&c->a, c->jit->call_any);
    c->raw_flags = c->fp_ready = false;
}

/* digit 0: adds to the count of instructions, 5: subtracts. */
static void add_insns(Compiler *c, unsigned digit, unsigned n)
{
    asm_digit(&c->a, 0x81, 8, digit, CPU_AT(insns));
    asm_32(&c->a, n);
}

void jit_leave(Compiler *c)
{
    jit_flags_to_cpu(c);
    pass_op(c, c->index, 0);
    asm_jump(&c->a, c->jit->leave);
    c->ended = true;
}

static void add_to_rip(Asm *a, uint64_t offset)
{
    if ((int64_t)offset == (int32_t)offset) {
        asm_lea(a, 8, H_RIP, loc_mem(H_RIP, (int32_t)offset));
    } else {
        asm_const(a, H_AX, offset);
        asm_lea(a, 8, H_RIP, loc_indexed(H_RIP, H_AX, 0, 0));
    }
}

void jit_lookup(Compiler *c)
{
    jit_flags_to_cpu(c);
    asm_jump(&c->a, c->jit->lookup[!!(c->block->mode & MODE_USER)]);
    c->ended = true;
}

/* A successor in the same page can be linked, as in the interpreter. */
void jit_jump(Compiler *c, unsigned taken, uint64_t offset)
{
    jit_flags_save(c);
    add_to_rip(&c->a, offset);
    if (((c->block->phys & ~X86_PAGE_MASK) + offset) & X86_PAGE_MASK) {
        jit_lookup(c);
    } else {
        c->jump[taken] = asm_jump_open(&c->a);
    }
    c->ended = true;
}

/* The block ends before the op, which the interpreter does. */
static void emit_interpret(Compiler *c, const uint8_t *exit, unsigned index)
{
    add_insns(c, 5, c->block->count - index);
    add_to_rip(&c->a, c->block->ops[index].off);
    asm_jump(&c->a, exit);
}

/* What both do is the same. */
static bool slow_is_same(const Slow *s, const Slow *t)
{
    return s->index == t->index && s->kind == t->kind && s->size == t->size && s->resume == t->resume;
}

static void emit_slow(Compiler *c, const Slow *s)
{
    const Jit *jit = c->jit;
    Asm *a = &c->a;

    asm_close(a, s->from);
    if (s->kind == SLOW_MXCSR) {
        asm_call(a, jit->mxcsr);
        asm_jcc(a, COND_E, s->resume);
        emit_interpret(c, jit->exit_interpret, s->index);
        return;
    }
    if (s->kind == SLOW_FLAGS) {
        asm_call(a, jit->flags);
        asm_jump(a, s->resume);
        return;
    }
    if (s->kind == SLOW_X87) {
        asm_8(a, 0xdb); /* FNINIT */
        asm_8(a, 0xe3);
    }
    pass_op(c, s->index, s->size);
    asm_call(a, s->kind == SLOW_LOAD ? jit->load : s->kind == SLOW_STORE ? jit->store : jit->call);
    if (s->kind == SLOW_CALL_FLAGS) {
        asm_call(a, jit->flags);
        flags_load(a);
    }
    asm_jump(a, s->resume);
}

/* Until it is linked, a jump comes back and tells which it is. */
static void emit_unlinked(Compiler *c, unsigned taken)
{
    if (c->jump[taken]) {
        asm_close(&c->a, c->jump[taken]);
        asm_const(&c->a, H_AX, (uintptr_t)c->block | taken);
        asm_jump(&c->a, c->jit->exit_jump);
    }
}

/* --- blocks --- */

static unsigned check_bytes(const X86Cpu *cpu)
{
    return JIT_CHECK_BYTES + (cpu->config.counts ? JIT_COUNT_BYTES : 0);
}

/* What every entry but that from outside passes: check_bytes(). */
static void emit_check(Compiler *c)
{
    const uint8_t *start = c->a.at;

    asm_digit(&c->a, 0x83, 4, 7, CPU_AT(pending)); /* CMP */
    asm_8(&c->a, 0);
    asm_jcc(&c->a, COND_NE, c->jit->exit_find);
    if (c->cpu->config.counts) {
        asm_load(&c->a, 8, H_AX, CPU_AT(insns));
        asm_rm(&c->a, 0x38, 8, H_AX, CPU_AT(insn_soft)); /* CMP insn_soft, insns */
        asm_jcc(&c->a, COND_B, c->jit->exit_find);
    }
    assert(c->a.at - start == check_bytes(c->cpu));
}

/* Returns the number of ops compiled. */
static unsigned emit_ops(Compiler *c)
{
    const Block *block = c->block;

    emit_check(c);
    add_insns(c, 0, block->count);
    for (c->index = 0; c->index < block->count && !c->ended; c->index++) {
        CompileFn *fn;

        c->op = &block->ops[c->index];
        fn = jit_op_fn(c->op->id);
        if (!fn || !fn(c)) {
            break;
        }
    }
    if (!c->ended) {
        jit_flags_save(c);
        if (c->index < block->count) { /* the interpreter goes on */
            add_insns(c, 5, block->count - c->index);
        }
        jit_jump(c, 0, block->ops[c->index].off);
    }
    return c->index;
}

void x86_jit_compile(X86Cpu *cpu, Block *block)
{
    Jit *jit = cpu->jit;
    const CodePage *page = x86_code_page(cpu, block->phys & X86_PAGE_MASK);
    uint8_t *start = jit->write + jit->used;
    Compiler c = {.a = {.at = start, .run = jit->run - jit->write}, .cpu = cpu, .jit = jit, .block = block, .cpu_flags = true};

    if (!(block->mode & MODE_LONG64) || block->mode & MODE_TF || block->phys2 || x86_jit_is_full(cpu)) {
        return;
    }
    c.source = page->copy + (block->phys & ~X86_PAGE_MASK);
    if (!emit_ops(&c)) {
        return;
    }
    for (unsigned i = 0; i < c.slow_count; i++) {
        if (i + 1 < c.slow_count && slow_is_same(&c.slow[i], &c.slow[i + 1])) {
            asm_close(&c.a, c.slow[i].from);
        } else {
            emit_slow(&c, &c.slow[i]);
        }
    }
    emit_unlinked(&c, 0);
    emit_unlinked(&c, 1);
    block->jump[0] = c.jump[0];
    block->jump[1] = c.jump[1];
    block->code = asm_run(&c.a, start);
    jit->used = ((size_t)(c.a.at - jit->write) + 15) & ~(size_t)15;
}

bool x86_jit_is_full(const X86Cpu *cpu)
{
    return cpu->jit->size - cpu->jit->used < JIT_BLOCK_ROOM;
}

void x86_jit_usage(const X86Cpu *cpu, size_t *used, size_t *size)
{
    *used = cpu->jit->used;
    *size = cpu->jit->size;
}

uintptr_t x86_jit_run(X86Cpu *cpu, const Block *block)
{
    return cpu->jit->enter(cpu, (const uint8_t *)block->code + check_bytes(cpu));
}

static uint8_t *written(const Jit *jit, const void *code)
{
    return jit->write + ((const uint8_t *)code - jit->run);
}

void x86_jit_link(X86Cpu *cpu, uintptr_t jump, const Block *to)
{
    const Block *from = (const Block *)(jump & ~(uintptr_t)1);

    if (from->mode != MODE_DEAD && to->code) {
        asm_patch(from->jump[jump & 1], written(cpu->jit, to->code));
    }
}

void x86_jit_kill(X86Cpu *cpu, const Block *block)
{
    Asm a = {.at = written(cpu->jit, block->code)};

    asm_jump(&a, cpu->jit->exit_find);
}
