/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segmentation: descriptors, segment loads, what an access may reach (SDM vol. 3, chapters 3 and 5). */
#include "accel/tcg/core/descriptor.h"
#include "accel/tcg/core/flags.h"

/*
 * Segments outside 64-bit mode whose accesses are checked one by one: all but
 * those that span 4 GiB and can be read and written.
 */
static uint32_t checked_segments(const X86Cpu *cpu)
{
    uint32_t bits = 0;

    for (int i = 0; i <= X86_SEG_GS; i++) {
        const X86SegState *seg = &cpu->seg[i];
        const uint16_t kind = SEG_ATTR_P | DESC_S | 0x8 | 0x4 | DESC_RW;

        if (seg->limit != UINT32_MAX || ((cpu->cr0 & X86_CR0_PE) && (seg->attr & kind) != (SEG_ATTR_P | DESC_S | DESC_RW))) {
            bits |= MODE_CHECK_ES << i;
        }
    }
    return bits;
}

void x86_update_mode(X86Cpu *cpu)
{
    uint16_t cs = cpu->seg[X86_SEG_CS].attr;
    bool flat = true;
    uint32_t mode = 0;

    if ((cpu->efer & X86_EFER_LMA) && (cs & SEG_ATTR_L)) {
        mode |= MODE_LONG64;
    } else {
        mode |= (cs & SEG_ATTR_DB ? MODE_CS32 : 0) | checked_segments(cpu);
    }
    for (int i = 0; i < 4; i++) {
        flat = flat && cpu->seg[i].base == 0;
    }
    if (!(mode & MODE_LONG64)) { /* where segments matter */
        mode |= (cpu->seg[X86_SEG_SS].attr & SEG_ATTR_DB ? MODE_SS32 : 0) | (flat ? MODE_FLAT : 0);
    }
    mode |= cpu->cr0 & X86_CR0_PE ? MODE_PROT : 0;
    mode |= cpu->rflags & X86_FLAG_VM ? MODE_VM86 : 0;
    mode |= cpu->cr0 & (X86_CR0_EM | X86_CR0_TS) || !(cpu->cr4 & X86_CR4_OSFXSR) ? MODE_NO_SIMD : 0;
    cpu->cpl = !(mode & MODE_PROT) ? 0 : mode & MODE_VM86 ? 3 : (cpu->seg[X86_SEG_SS].attr >> 5) & 3;
    x86_update_tlb(cpu);
    /* Whatever needs a look at each instruction takes them one by one. */
    mode |= (cpu->rflags & X86_FLAG_TF) || cpu->debug_step || cpu->tlb == cpu->tlbs[TLB_EMPTY] ? MODE_TF : 0;
    mode |= cpu->tlb == cpu->tlbs[TLB_SUPERVISOR_AC] ? MODE_AC : 0;
    cpu->mode = mode | (cpu->cpl == 3 ? MODE_USER : 0);
}

/* Whether [offset, offset + size) may be accessed through a segment outside 64-bit mode. */
static bool segment_allows(const X86Cpu *cpu, const X86SegState *seg, uint64_t offset, unsigned size, bool write)
{
    uint64_t last = offset + size - 1;

    if (cpu->cr0 & X86_CR0_PE) {
        bool code = seg->attr & 8;

        if (!(seg->attr & SEG_ATTR_P) || (code && write) || (!(seg->attr & DESC_RW) && (code || write))) {
            return false;
        }
        if (!code && (seg->attr & 4)) { /* grows down */
            return offset > seg->limit && last <= (seg->attr & SEG_ATTR_DB ? UINT32_MAX : 0xffff);
        }
    }
    return last <= seg->limit;
}

void x86_seg_check(X86Cpu *cpu, int n, uint64_t offset, unsigned size, bool write)
{
    if (!(cpu->mode & MODE_LONG64) && !segment_allows(cpu, &cpu->seg[n], offset, size, write)) {
        x86_raise(cpu, n == X86_SEG_SS ? X86_EXC_SS : X86_EXC_GP, 0);
    }
}

/* --- stacks --- */

static uint64_t stack_mask(bool long64, const X86SegState *ss)
{
    return long64 ? UINT64_MAX : ss->attr & SEG_ATTR_DB ? UINT32_MAX : 0xffff;
}

X86Stack x86_stack_current(X86Cpu *cpu)
{
    bool long64 = cpu->mode & MODE_LONG64;

    return (X86Stack){.ss = cpu->seg[X86_SEG_SS], .sp = cpu->gpr[X86_RSP], .long64 = long64,
                      .mask = stack_mask(long64, &cpu->seg[X86_SEG_SS])};
}

static uint64_t stack_linear(X86Cpu *cpu, const X86Stack *stack, uint64_t sp, unsigned size, bool write)
{
    sp &= stack->mask;
    if (stack->long64) {
        if (!desc_is_canonical(sp)) {
            x86_raise(cpu, X86_EXC_SS, stack->error);
        }
        return sp;
    }
    if (!segment_allows(cpu, &stack->ss, sp, size, write)) {
        x86_raise(cpu, X86_EXC_SS, stack->error);
    }
    return (uint32_t)(stack->ss.base + sp);
}

void x86_stack_push(X86Cpu *cpu, X86Stack *stack, uint64_t val, unsigned size)
{
    uint64_t linear = stack_linear(cpu, stack, stack->sp - size, size, true);

    if (stack->sys) {
        x86_store_sys(cpu, linear, val, size);
    } else {
        x86_store_slow(cpu, linear, val, size);
    }
    stack->sp -= size;
}

uint64_t x86_stack_pop(X86Cpu *cpu, X86Stack *stack, unsigned size)
{
    uint64_t val = x86_load_slow(cpu, stack_linear(cpu, stack, stack->sp, size, false), size);

    stack->sp += size;
    return val;
}

void x86_stack_commit(X86Cpu *cpu, const X86Stack *stack)
{
    uint64_t mask = stack->mask;

    cpu->gpr[X86_RSP] = mask == 0xffff ? (cpu->gpr[X86_RSP] & ~mask) | (stack->sp & mask) : stack->sp & mask;
}

/* SS and stack pointer of a level from a TSS outside long mode. */
static uint64_t tss_stack(X86Cpu *cpu, unsigned level, int ext, uint16_t *ss)
{
    const X86SegState *tr = &cpu->seg[X86_SEG_TR];
    bool wide = (tr->attr & 0xf) >= DESC_TSS32;
    unsigned offset = wide ? 4 + 8 * level : 2 + 4 * level, size = wide ? 4 : 2;

    if (offset + 2 * size - 1 > tr->limit) {
        x86_raise(cpu, X86_EXC_TS, (tr->selector & 0xfffc) + ext);
    }
    *ss = (uint16_t)x86_load_sys(cpu, tr->base + offset + size, 2);
    return x86_load_sys(cpu, tr->base + offset, size);
}

static X86Stack stack_inner_long(X86Cpu *cpu, unsigned level, unsigned ist, int ext)
{
    const X86SegState *tr = &cpu->seg[X86_SEG_TR];
    unsigned offset = ist ? 0x24 + 8 * (ist - 1) : 4 + 8 * level;
    X86Stack stack = {.mask = UINT64_MAX, .long64 = true, .sys = true, .error = ext};

    if (offset + 7 > tr->limit) {
        x86_raise(cpu, X86_EXC_TS, (tr->selector & 0xfffc) + ext);
    }
    stack.sp = x86_load_sys(cpu, tr->base + offset, 8);
    stack.ss = (X86SegState){.selector = (uint16_t)level, .attr = (uint16_t)(level << 5)};
    return stack;
}

X86Stack x86_stack_inner(X86Cpu *cpu, unsigned level, unsigned ist, int ext)
{
    X86Stack stack = {.sys = true};
    uint16_t ss;
    uint64_t desc;
    int error;

    if (cpu->efer & X86_EFER_LMA) {
        return stack_inner_long(cpu, level, ist, ext);
    }
    stack.sp = tss_stack(cpu, level, ext, &ss);
    error = (ss & 0xfffc) + ext;
    if (!(ss & 0xfffc) || !x86_descriptor(cpu, ss, &desc) || (ss & 3u) != level || DESC_DPL(desc) != level ||
        !desc_is_writable_data(desc)) {
        x86_raise(cpu, X86_EXC_TS, error);
    }
    if (!DESC_P(desc)) {
        x86_raise(cpu, X86_EXC_SS, error);
    }
    x86_desc_set_accessed(cpu, ss, desc);
    stack.ss = seg_from_desc(ss, desc | UINT64_C(1) << 40);
    stack.mask = stack_mask(false, &stack.ss);
    stack.error = error;
    return stack;
}

/* --- segment loads --- */

void x86_set_real_seg(X86Cpu *cpu, int n, uint16_t selector)
{
    X86SegState *seg = &cpu->seg[n];

    seg->selector = selector;
    seg->base = (uint64_t)selector << 4;
    if (cpu->rflags & X86_FLAG_VM) {
        seg->limit = 0xffff;
        seg->attr = 0xf3;
    }
}

/* Reads the descriptor of a selector from its table; false when it lies outside. */
bool x86_descriptor(X86Cpu *cpu, uint16_t selector, uint64_t *desc)
{
    bool local = selector & 4;
    uint64_t base = local ? cpu->seg[X86_SEG_LDTR].base : cpu->gdtr.base;
    uint32_t limit = local ? cpu->seg[X86_SEG_LDTR].limit : cpu->gdtr.limit;

    if ((local && !(cpu->seg[X86_SEG_LDTR].selector & 0xfffc)) || (selector | 7u) > limit) {
        return false;
    }
    *desc = x86_load_sys(cpu, base + (selector & ~7u), 8);
    return true;
}

void x86_desc_set_accessed(X86Cpu *cpu, uint16_t selector, uint64_t desc)
{
    uint64_t base = selector & 4 ? cpu->seg[X86_SEG_LDTR].base : cpu->gdtr.base;

    if (!(desc >> 40 & 1)) {
        x86_store_sys(cpu, base + (selector & ~7u) + 5, (desc >> 40 & 0xff) | 1, 1);
    }
}

static void load_null(X86Cpu *cpu, int n, uint16_t selector)
{
    /* Hidden parts of a null SS keep its privilege level in 64-bit mode. */
    uint16_t attr = n == X86_SEG_SS ? (uint16_t)((selector & 3) << 5) : 0;

    if (n == X86_SEG_SS && (!(cpu->mode & MODE_LONG64) || cpu->cpl == 3 || (selector & 3) != cpu->cpl)) {
        x86_raise_gp(cpu, 0);
    }
    cpu->seg[n] = (X86SegState){.selector = selector, .attr = attr};
}

static void check_data_segment(X86Cpu *cpu, int n, uint16_t selector, uint64_t desc)
{
    unsigned type = DESC_TYPE(desc), dpl = DESC_DPL(desc), rpl = selector & 3;
    int error = selector & 0xfffc;
    bool code = (type & DESC_CODE) == DESC_CODE;

    if (n == X86_SEG_SS) {
        if (!(type & DESC_S) || code || !(type & DESC_RW) || rpl != cpu->cpl || dpl != cpu->cpl) {
            x86_raise_gp(cpu, error);
        }
    } else if (!(type & DESC_S) || (code && !(type & DESC_RW)) ||
               (!(code && (type & DESC_CONFORMING)) && (rpl > dpl || cpu->cpl > dpl))) {
        x86_raise_gp(cpu, error);
    }
    if (!DESC_P(desc)) {
        x86_raise(cpu, n == X86_SEG_SS ? X86_EXC_SS : X86_EXC_NP, error);
    }
}

void x86_load_seg(X86Cpu *cpu, int n, uint16_t selector)
{
    uint64_t desc;

    if (!(cpu->cr0 & X86_CR0_PE) || (cpu->rflags & X86_FLAG_VM)) {
        x86_set_real_seg(cpu, n, selector);
        x86_update_mode(cpu);
        return;
    }
    if (!(selector & 0xfffc)) {
        load_null(cpu, n, selector);
    } else {
        if (!x86_descriptor(cpu, selector, &desc)) {
            x86_raise_gp(cpu, selector & 0xfffc);
        }
        check_data_segment(cpu, n, selector, desc);
        x86_desc_set_accessed(cpu, selector, desc);
        cpu->seg[n] = seg_from_desc(selector, desc | UINT64_C(1) << 40);
    }
    x86_update_mode(cpu);
}

/* System descriptors are 16 bytes in long mode. */
static X86SegState load_system(X86Cpu *cpu, uint16_t selector, unsigned type_a, unsigned type_b)
{
    int error = selector & 0xfffc;
    X86SegState seg;
    uint64_t desc;

    if ((selector & 4) || !x86_descriptor(cpu, selector, &desc)) {
        x86_raise_gp(cpu, error);
    }
    if (DESC_TYPE(desc) != type_a && DESC_TYPE(desc) != type_b) {
        x86_raise_gp(cpu, error);
    }
    if (!DESC_P(desc)) {
        x86_raise(cpu, X86_EXC_NP, error);
    }
    seg = seg_from_desc(selector, desc);
    if (cpu->efer & X86_EFER_LMA) {
        if ((selector | 15u) > cpu->gdtr.limit) {
            x86_raise_gp(cpu, error);
        }
        seg.base |= x86_load_sys(cpu, cpu->gdtr.base + (selector & ~7u) + 8, 4) << 32;
        if ((x86_load_sys(cpu, cpu->gdtr.base + (selector & ~7u) + 12, 4) & 0x1f00) || !desc_is_canonical(seg.base)) {
            x86_raise_gp(cpu, error);
        }
    }
    return seg;
}

void x86_load_tr(X86Cpu *cpu, uint16_t selector)
{
    X86SegState seg;
    uint64_t addr = cpu->gdtr.base + (selector & ~7u) + 5;

    if (!(selector & 0xfffc)) {
        x86_raise_gp(cpu, 0);
    }
    seg = load_system(cpu, selector, 0x09, cpu->efer & X86_EFER_LMA ? 0x09 : 0x01);
    x86_store_sys(cpu, addr, x86_load_sys(cpu, addr, 1) | 2, 1); /* busy */
    seg.attr |= 2;
    cpu->seg[X86_SEG_TR] = seg;
}

void x86_load_ldt(X86Cpu *cpu, uint16_t selector)
{
    if (!(selector & 0xfffc)) {
        cpu->seg[X86_SEG_LDTR] = (X86SegState){.selector = selector};
        return;
    }
    cpu->seg[X86_SEG_LDTR] = load_system(cpu, selector, 0x02, 0x02);
}

bool x86_lar_lsl(X86Cpu *cpu, uint16_t selector, bool lsl, uint64_t *val)
{
    uint64_t desc;
    unsigned type, dpl, level = cpu->cpl > (selector & 3u) ? cpu->cpl : selector & 3u;
    const uint16_t long_ok = 1 << DESC_LDT | 1 << DESC_TSS32 | 1 << DESC_TSS32_BUSY;
    uint16_t ok = long_ok | (lsl ? 0 : 1 << DESC_CALL32);

    if (!(cpu->efer & X86_EFER_LMA)) {
        ok |= 1 << DESC_TSS16 | 1 << DESC_TSS16_BUSY | (lsl ? 0 : 1 << DESC_CALL16 | 1 << DESC_TASK);
    }

    if (!(selector & 0xfffc) || !x86_descriptor(cpu, selector, &desc)) {
        return false;
    }
    type = DESC_TYPE(desc);
    dpl = DESC_DPL(desc);
    if (!(type & DESC_S) && !(ok >> type & 1)) {
        return false;
    }
    if (!((type & DESC_CODE) == DESC_CODE && (type & DESC_CONFORMING)) && level > dpl) {
        return false;
    }
    *val = lsl ? seg_from_desc(selector, desc).limit : desc >> 32 & 0x00f0ff00;
    return true;
}

bool x86_verify(X86Cpu *cpu, uint16_t selector, bool write)
{
    uint64_t desc;
    unsigned type, level = cpu->cpl > (selector & 3u) ? cpu->cpl : selector & 3u;
    bool code;

    if (!(selector & 0xfffc) || !x86_descriptor(cpu, selector, &desc)) {
        return false;
    }
    type = DESC_TYPE(desc);
    code = (type & DESC_CODE) == DESC_CODE;
    if (!(type & DESC_S) || (write ? code || !(type & DESC_RW) : code && !(type & DESC_RW))) {
        return false;
    }
    return (code && (type & DESC_CONFORMING)) || level <= DESC_DPL(desc);
}

