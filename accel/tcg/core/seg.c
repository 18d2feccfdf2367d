/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segmentation: descriptors, segment loads, far transfers, SYSCALL and SYSENTER (SDM vol. 3, chapters 3 and 5). */
#include "accel/tcg/core/flags.h"

#define DESC_TYPE(d) ((unsigned)((d) >> 40) & 0x1f) /* S and type */
#define DESC_DPL(d) ((unsigned)((d) >> 45) & 3)
#define DESC_P(d) ((d) >> 47 & 1)
#define DESC_L(d) ((d) >> 53 & 1)
#define DESC_DB(d) ((d) >> 54 & 1)
#define DESC_G(d) ((d) >> 55 & 1)
#define DESC_S 0x10u
#define DESC_CODE 0x18u
#define DESC_CONFORMING 0x4u
#define DESC_RW 0x2u

static X86SegState seg_from_desc(uint16_t selector, uint64_t desc)
{
    X86SegState seg = {.selector = selector};

    seg.base = (desc >> 16 & 0xffffff) | (desc >> 56 & 0xff) << 24;
    seg.limit = (uint32_t)((desc & 0xffff) | (desc >> 32 & 0xf0000));
    if (DESC_G(desc)) {
        seg.limit = seg.limit << 12 | 0xfff;
    }
    seg.attr = (uint16_t)(desc >> 40 & 0xf0ff);
    return seg;
}

void x86_update_mode(X86Cpu *cpu)
{
    uint16_t cs = cpu->seg[X86_SEG_CS].attr;
    bool flat = true;
    uint32_t mode = 0;

    if ((cpu->efer & X86_EFER_LMA) && (cs & 0x2000)) {
        mode |= MODE_LONG64;
    } else if (cs & 0x4000) {
        mode |= MODE_CS32;
    }
    for (int i = 0; i < 4; i++) {
        flat = flat && cpu->seg[i].base == 0;
    }
    if (!(mode & MODE_LONG64)) { /* where segments matter */
        mode |= (cpu->seg[X86_SEG_SS].attr & 0x4000 ? MODE_SS32 : 0) | (flat ? MODE_FLAT : 0);
    }
    mode |= cpu->cr0 & X86_CR0_PE ? MODE_PROT : 0;
    mode |= cpu->rflags & X86_FLAG_VM ? MODE_VM86 : 0;
    mode |= cpu->rflags & X86_FLAG_TF ? MODE_TF : 0;
    mode |= cpu->cr0 & (X86_CR0_EM | X86_CR0_TS) || !(cpu->cr4 & X86_CR4_OSFXSR) ? MODE_NO_SIMD : 0;
    cpu->cpl = !(mode & MODE_PROT) ? 0 : mode & MODE_VM86 ? 3 : (cpu->seg[X86_SEG_SS].attr >> 5) & 3;
    cpu->mode = mode | (cpu->cpl == 3 ? MODE_USER : 0);
    cpu->tlb = cpu->tlbs[cpu->cpl == 3];
}

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

static void set_accessed(X86Cpu *cpu, uint16_t selector, uint64_t desc)
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
        set_accessed(cpu, selector, desc);
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
        seg.base |= x86_load_sys(cpu, cpu->gdtr.base + (selector & ~7u) + 8, 4) << 32;
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
    static const uint16_t lar_ok = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 11 | 1 << 12;
    static const uint16_t lsl_ok = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11;

    if (!(selector & 0xfffc) || !x86_descriptor(cpu, selector, &desc)) {
        return false;
    }
    type = DESC_TYPE(desc);
    dpl = DESC_DPL(desc);
    if (!(type & DESC_S) && !((lsl ? lsl_ok : lar_ok) >> type & 1)) {
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

/* --- far transfers --- */

static void set_cs(X86Cpu *cpu, uint16_t selector, uint64_t desc, unsigned cpl)
{
    set_accessed(cpu, selector, desc);
    cpu->seg[X86_SEG_CS] = seg_from_desc((uint16_t)((selector & ~3u) | cpl), desc | UINT64_C(1) << 40);
}

static void push_far(X86Cpu *cpu, unsigned osize, uint64_t cs, uint64_t rip)
{
    uint64_t mask = cpu->mode & MODE_LONG64 ? UINT64_MAX : cpu->mode & MODE_SS32 ? 0xffffffff : 0xffff;
    uint64_t sp = cpu->gpr[X86_RSP], base = cpu->mode & MODE_LONG64 ? 0 : cpu->seg[X86_SEG_SS].base;

    x86_store_slow(cpu, base + ((sp - osize) & mask), cs, osize);
    x86_store_slow(cpu, base + ((sp - 2 * osize) & mask), rip, osize);
    cpu->gpr[X86_RSP] = (sp & ~mask) | ((sp - 2 * osize) & mask);
}

void x86_far_jump(X86Cpu *cpu, uint16_t selector, uint64_t offset, unsigned osize, bool call, uint64_t next_rip)
{
    uint16_t old_cs = cpu->seg[X86_SEG_CS].selector;
    int error = selector & 0xfffc;
    uint64_t desc;
    unsigned type, dpl, rpl = selector & 3;

    if (!(cpu->cr0 & X86_CR0_PE) || (cpu->rflags & X86_FLAG_VM)) {
        if (call) {
            push_far(cpu, osize, old_cs, next_rip);
        }
        x86_set_real_seg(cpu, X86_SEG_CS, selector);
        cpu->rip = offset;
        x86_update_mode(cpu);
        return;
    }
    if (!error) {
        x86_raise_gp(cpu, 0);
    }
    if (!x86_descriptor(cpu, selector, &desc)) {
        x86_raise_gp(cpu, error);
    }
    type = DESC_TYPE(desc);
    dpl = DESC_DPL(desc);
    if ((type & DESC_CODE) != DESC_CODE || ((type & DESC_CONFORMING) ? dpl > cpu->cpl : rpl > cpu->cpl || dpl != cpu->cpl) ||
        ((cpu->efer & X86_EFER_LMA) && DESC_L(desc) && DESC_DB(desc))) {
        x86_raise_gp(cpu, error); /* call gates and tasks: #GP names the selector */
    }
    if (!DESC_P(desc)) {
        x86_raise(cpu, X86_EXC_NP, error);
    }
    if (call) {
        push_far(cpu, osize, old_cs, next_rip);
    }
    set_cs(cpu, selector, desc, cpu->cpl);
    cpu->rip = offset;
    x86_update_mode(cpu);
}

static uint64_t pop_at(X86Cpu *cpu, uint64_t *sp, unsigned osize)
{
    uint64_t mask = cpu->mode & MODE_LONG64 ? UINT64_MAX : cpu->mode & MODE_SS32 ? 0xffffffff : 0xffff;
    uint64_t base = cpu->mode & MODE_LONG64 ? 0 : cpu->seg[X86_SEG_SS].base;
    uint64_t val = x86_load_slow(cpu, base + (*sp & mask), osize);

    *sp = (*sp & ~mask) | ((*sp + osize) & mask);
    return val;
}

/* After a return to an outer level data segments of a more privileged level become null. */
static void drop_privileged_segments(X86Cpu *cpu)
{
    static const int data[] = {X86_SEG_ES, X86_SEG_DS, X86_SEG_FS, X86_SEG_GS};

    for (unsigned i = 0; i < 4; i++) {
        X86SegState *seg = &cpu->seg[data[i]];
        bool conforming = (seg->attr & 0x1c) == 0x1c;

        if (!conforming && (seg->attr >> 5 & 3u) < cpu->cpl) {
            /* In 64-bit mode FS and GS keep their bases. */
            uint64_t base = seg->base;

            *seg = (X86SegState){.base = cpu->mode & MODE_LONG64 ? base : 0};
        }
    }
}

/* The common end of RETF and IRET in protected mode; everything was popped and nothing changed yet. */
static void return_to(X86Cpu *cpu, uint16_t cs, uint64_t rip, uint64_t sp, uint16_t ss, uint64_t new_sp, bool has_ss)
{
    unsigned rpl = cs & 3, type;
    int error = cs & 0xfffc;
    uint64_t desc, ss_desc = 0;
    bool outer = rpl > cpu->cpl;

    if (!error) {
        x86_raise_gp(cpu, 0);
    }
    if (!x86_descriptor(cpu, cs, &desc)) {
        x86_raise_gp(cpu, error);
    }
    type = DESC_TYPE(desc);
    if (rpl < cpu->cpl || (type & DESC_CODE) != DESC_CODE ||
        ((type & DESC_CONFORMING) ? DESC_DPL(desc) > rpl : DESC_DPL(desc) != rpl)) {
        x86_raise_gp(cpu, error);
    }
    if (!DESC_P(desc)) {
        x86_raise(cpu, X86_EXC_NP, error);
    }
    if (outer || has_ss) {
        bool null_ok = (cpu->efer & X86_EFER_LMA) && DESC_L(desc) && rpl != 3;

        if (!(ss & 0xfffc) && !null_ok) {
            x86_raise_gp(cpu, 0);
        }
        if (ss & 0xfffc) {
            if (!x86_descriptor(cpu, ss, &ss_desc)) {
                x86_raise_gp(cpu, ss & 0xfffc);
            }
            if ((DESC_TYPE(ss_desc) & 0x1a) != 0x12 || (ss & 3u) != rpl || DESC_DPL(ss_desc) != rpl) {
                x86_raise_gp(cpu, ss & 0xfffc);
            }
            if (!DESC_P(ss_desc)) {
                x86_raise(cpu, X86_EXC_SS, ss & 0xfffc);
            }
        }
    }
    set_cs(cpu, cs, desc, rpl);
    cpu->rip = rip;
    if (outer || has_ss) {
        cpu->seg[X86_SEG_SS] = ss & 0xfffc ? seg_from_desc(ss, ss_desc) : (X86SegState){.selector = ss, .attr = (uint16_t)(rpl << 5)};
        sp = new_sp;
    }
    x86_update_mode(cpu);
    if (cpu->mode & MODE_LONG64 || cpu->mode & MODE_SS32) {
        cpu->gpr[X86_RSP] = cpu->mode & MODE_LONG64 ? sp : (uint32_t)sp;
    } else {
        cpu->gpr[X86_RSP] = (cpu->gpr[X86_RSP] & ~UINT64_C(0xffff)) | (sp & 0xffff);
    }
    if (outer) {
        drop_privileged_segments(cpu);
        x86_update_mode(cpu);
    }
}

void x86_far_return(X86Cpu *cpu, unsigned osize, unsigned pop)
{
    uint64_t sp = cpu->gpr[X86_RSP], new_sp = 0;
    uint64_t rip = pop_at(cpu, &sp, osize);
    uint16_t cs = (uint16_t)pop_at(cpu, &sp, osize), ss = 0;

    sp += pop;
    if (!(cpu->cr0 & X86_CR0_PE) || (cpu->rflags & X86_FLAG_VM)) {
        x86_set_real_seg(cpu, X86_SEG_CS, cs);
        cpu->gpr[X86_RSP] = cpu->mode & MODE_SS32 ? (uint32_t)sp : (cpu->gpr[X86_RSP] & ~UINT64_C(0xffff)) | (sp & 0xffff);
        cpu->rip = rip;
        x86_update_mode(cpu);
        return;
    }
    if ((cs & 3u) > cpu->cpl) {
        new_sp = pop_at(cpu, &sp, osize);
        ss = (uint16_t)pop_at(cpu, &sp, osize);
        new_sp += pop;
    }
    return_to(cpu, cs, rip, sp, ss, new_sp, false);
}

void x86_iret(X86Cpu *cpu, unsigned osize)
{
    uint64_t sp = cpu->gpr[X86_RSP], new_sp = 0;
    uint64_t rip = pop_at(cpu, &sp, osize);
    uint16_t cs = (uint16_t)pop_at(cpu, &sp, osize), ss = 0;
    uint64_t flags = pop_at(cpu, &sp, osize);
    uint64_t mask = X86_FLAGS_ARITH | X86_FLAG_TF | X86_FLAG_DF | X86_FLAG_NT;
    bool real = !(cpu->cr0 & X86_CR0_PE), has_ss;
    unsigned cpl = cpu->cpl, iopl = cpu->rflags >> 12 & 3;

    cpu->nmi_blocked = false;
    if (real || (cpu->rflags & X86_FLAG_VM)) {
        if (!real && iopl < 3) {
            x86_raise_gp(cpu, 0);
        }
        mask |= X86_FLAG_IF | (real ? X86_FLAG_IOPL : 0) | (osize > 2 ? X86_FLAG_RF | X86_FLAG_AC | X86_FLAG_ID : 0);
        x86_set_real_seg(cpu, X86_SEG_CS, cs);
        cpu->gpr[X86_RSP] = (cpu->gpr[X86_RSP] & ~UINT64_C(0xffff)) | (sp & 0xffff);
        cpu->rip = rip;
        x86_set_rflags(cpu, flags, mask);
        return;
    }
    if (cpu->rflags & X86_FLAG_NT) {
        x86_raise_gp(cpu, 0); /* a nested task: not entered, as there is no task switching */
    }
    has_ss = cpu->efer & X86_EFER_LMA && cpu->mode & MODE_LONG64;
    if (has_ss || (cs & 3u) > cpl) {
        new_sp = pop_at(cpu, &sp, osize);
        ss = (uint16_t)pop_at(cpu, &sp, osize);
    }
    return_to(cpu, cs, rip, sp, ss, new_sp, has_ss);
    if (osize > 2) {
        mask |= X86_FLAG_RF | X86_FLAG_AC | X86_FLAG_ID;
    }
    mask |= cpl == 0 ? X86_FLAG_IOPL : 0;
    mask |= cpl <= iopl ? X86_FLAG_IF : 0;
    x86_set_rflags(cpu, flags, mask);
}

/* --- fast system calls --- */

static void set_flat(X86Cpu *cpu, int n, uint16_t selector, uint16_t attr)
{
    cpu->seg[n] = (X86SegState){.selector = selector, .limit = 0xffffffff, .attr = attr};
}

void x86_syscall(X86Cpu *cpu, uint64_t next_rip)
{
    uint16_t cs = (uint16_t)(cpu->star >> 32 & 0xfffc);
    bool long64 = cpu->mode & MODE_LONG64;

    if (!(cpu->efer & X86_EFER_SCE) || !(cpu->cr0 & X86_CR0_PE)) {
        x86_raise_ud(cpu);
    }
    cpu->gpr[X86_RCX] = next_rip;
    if (cpu->efer & X86_EFER_LMA) {
        cpu->gpr[11] = x86_get_rflags(cpu) & ~(uint64_t)X86_FLAG_RF;
        cpu->rip = long64 ? cpu->lstar : cpu->cstar;
        set_flat(cpu, X86_SEG_CS, cs, 0xa09b);
        set_flat(cpu, X86_SEG_SS, (uint16_t)(cs + 8), 0xc093);
        x86_update_mode(cpu);
        x86_set_rflags(cpu, x86_get_rflags(cpu) & ~cpu->fmask & ~(uint64_t)X86_FLAG_RF, UINT32_MAX);
        return;
    }
    cpu->rip = (uint32_t)cpu->star;
    set_flat(cpu, X86_SEG_CS, cs, 0xc09b);
    set_flat(cpu, X86_SEG_SS, (uint16_t)(cs + 8), 0xc093);
    x86_update_mode(cpu);
    x86_set_rflags(cpu, 0, X86_FLAG_IF | X86_FLAG_VM | X86_FLAG_RF);
}

void x86_sysret(X86Cpu *cpu, bool rexw)
{
    uint16_t base = (uint16_t)(cpu->star >> 48);

    if (!(cpu->efer & X86_EFER_SCE)) {
        x86_raise_ud(cpu);
    }
    if (!(cpu->cr0 & X86_CR0_PE) || cpu->cpl) {
        x86_raise_gp(cpu, 0);
    }
    if (rexw && (uint64_t)((int64_t)(cpu->gpr[X86_RCX] << 16) >> 16) != cpu->gpr[X86_RCX]) {
        x86_raise_gp(cpu, 0);
    }
    cpu->rip = rexw ? cpu->gpr[X86_RCX] : (uint32_t)cpu->gpr[X86_RCX];
    set_flat(cpu, X86_SEG_CS, (uint16_t)((base + (rexw ? 16 : 0)) | 3), rexw ? 0xa0fb : 0xc0fb);
    set_flat(cpu, X86_SEG_SS, (uint16_t)((base + 8) | 3), 0xc0f3);
    x86_update_mode(cpu);
    if (cpu->efer & X86_EFER_LMA) {
        x86_set_rflags(cpu, cpu->gpr[11], 0x3c7fd7);
    } else {
        x86_set_rflags(cpu, X86_FLAG_IF, X86_FLAG_IF);
    }
}

void x86_sysenter(X86Cpu *cpu)
{
    bool lma = cpu->efer & X86_EFER_LMA;
    uint16_t cs = (uint16_t)(cpu->sysenter_cs & 0xfffc);

    if (!(cpu->cr0 & X86_CR0_PE) || !cs) {
        x86_raise_gp(cpu, 0);
    }
    x86_set_rflags(cpu, 0, X86_FLAG_VM | X86_FLAG_IF | X86_FLAG_RF);
    set_flat(cpu, X86_SEG_CS, cs, lma ? 0xa09b : 0xc09b);
    set_flat(cpu, X86_SEG_SS, (uint16_t)(cs + 8), 0xc093);
    cpu->gpr[X86_RSP] = lma ? cpu->sysenter_esp : (uint32_t)cpu->sysenter_esp;
    cpu->rip = lma ? cpu->sysenter_eip : (uint32_t)cpu->sysenter_eip;
    x86_update_mode(cpu);
}

void x86_sysexit(X86Cpu *cpu, bool rexw)
{
    uint16_t cs = (uint16_t)(cpu->sysenter_cs & 0xfffc);

    if (!(cpu->cr0 & X86_CR0_PE) || cpu->cpl || !cs) {
        x86_raise_gp(cpu, 0);
    }
    set_flat(cpu, X86_SEG_CS, (uint16_t)((cs + (rexw ? 32 : 16)) | 3), rexw ? 0xa0fb : 0xc0fb);
    set_flat(cpu, X86_SEG_SS, (uint16_t)((cs + (rexw ? 40 : 24)) | 3), 0xc0f3);
    cpu->gpr[X86_RSP] = rexw ? cpu->gpr[X86_RCX] : (uint32_t)cpu->gpr[X86_RCX];
    cpu->rip = rexw ? cpu->gpr[X86_RDX] : (uint32_t)cpu->gpr[X86_RDX];
    x86_update_mode(cpu);
}
