/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stack, near and far transfers, ports, and system instructions. */
#include "accel/tcg/core/flags.h"
#include "accel/tcg/core/insn.h"
#include "accel/tcg/core/ops.h"

/* --- stack --- */

static uint64_t stack_mask(const X86Cpu *cpu)
{
    return cpu->mode & MODE_LONG64 ? UINT64_MAX : cpu->mode & MODE_SS32 ? 0xffffffff : 0xffff;
}

static void set_rsp(X86Cpu *cpu, uint64_t sp)
{
    uint64_t mask = stack_mask(cpu);

    cpu->gpr[X86_RSP] = mask == 0xffff ? (cpu->gpr[X86_RSP] & ~mask) | (sp & mask) : sp & mask;
}

/* Linear address of an access to the stack, whose limit is checked. */
static uint64_t stack_linear(X86Cpu *cpu, uint64_t sp, unsigned size, bool write)
{
    sp &= stack_mask(cpu);
    if (cpu->mode & (MODE_CHECK_ES << X86_SEG_SS)) {
        x86_seg_check(cpu, X86_SEG_SS, sp, size, write);
    }
    return insn_linear(cpu, X86_SEG_SS, sp);
}

void x86_push(X86Cpu *cpu, uint64_t val, unsigned size)
{
    uint64_t sp = cpu->gpr[X86_RSP] - size;

    x86_store_slow(cpu, stack_linear(cpu, sp, size, true), val & insn_mask(size), size);
    set_rsp(cpu, sp);
}

uint64_t x86_pop(X86Cpu *cpu, unsigned size)
{
    uint64_t val = x86_load_slow(cpu, stack_linear(cpu, cpu->gpr[X86_RSP], size, false), size);

    set_rsp(cpu, cpu->gpr[X86_RSP] + size);
    return val;
}

static int seg_of_opcode(uint8_t opcode)
{
    return opcode == 0xa0 || opcode == 0xa1 ? X86_SEG_FS : opcode == 0xa8 || opcode == 0xa9 ? X86_SEG_GS : opcode >> 3 & 3;
}

void x86_fn_push(X86Cpu *cpu, const Op *op)
{
    unsigned size = insn_stack_size(cpu, op);

    if (op->aux == 0xff) {
        x86_push(cpu, insn_rm(cpu, op, size), size);
    } else if (op->aux >= 0x50 && op->aux <= 0x57) {
        x86_push(cpu, insn_reg(cpu, op->r1, size), size);
    } else if (op->aux == 0x68 || op->aux == 0x6a) {
        x86_push(cpu, op->imm, size);
    } else {
        x86_push(cpu, cpu->seg[seg_of_opcode(op->aux)].selector, size);
    }
}

void x86_fn_pop(X86Cpu *cpu, const Op *op)
{
    unsigned size = insn_stack_size(cpu, op);
    uint64_t old = cpu->gpr[X86_RSP], val = x86_pop(cpu, size);

    if (op->aux != 0x8f) {
        insn_set_reg(cpu, op->r1, size, val);
    } else if (!op->mem) {
        insn_set_reg(cpu, op->r2, size, val);
    } else {
        /* The address is computed with the incremented RSP; a fault must leave it as it was. */
        uint64_t linear = insn_ea(cpu, op), popped = cpu->gpr[X86_RSP];

        cpu->gpr[X86_RSP] = old;
        if (!(cpu->mode & MODE_LONG64)) {
            x86_seg_check(cpu, op->seg, (linear - cpu->seg[op->seg].base) & UINT32_MAX, size, true);
        }
        x86_store_slow(cpu, linear, val, size);
        cpu->gpr[X86_RSP] = popped;
    }
}

void x86_fn_pusha(X86Cpu *cpu, const Op *op)
{
    unsigned size = op->osize;
    uint64_t sp = cpu->gpr[X86_RSP];

    for (unsigned i = 0; i < 8; i++) {
        x86_probe_write(cpu, stack_linear(cpu, sp - (i + 1) * size, size, true), size);
    }
    for (unsigned i = 0; i < 8; i++) {
        x86_store_slow(cpu, stack_linear(cpu, sp - (i + 1) * size, size, true), cpu->gpr[i] & insn_mask(size), size);
    }
    set_rsp(cpu, sp - 8 * size);
}

void x86_fn_popa(X86Cpu *cpu, const Op *op)
{
    unsigned size = op->osize;
    uint64_t sp = cpu->gpr[X86_RSP], vals[8];

    for (unsigned i = 0; i < 8; i++) {
        vals[i] = x86_load_slow(cpu, stack_linear(cpu, sp + i * size, size, false), size);
    }
    for (unsigned i = 0; i < 8; i++) {
        if (i != 3) {
            insn_set_reg(cpu, (7 - i) * 8, size, vals[i]);
        }
    }
    set_rsp(cpu, sp + 8 * size);
}

static void check_vm86_iopl(X86Cpu *cpu)
{
    if ((cpu->rflags & X86_FLAG_VM) && (cpu->rflags >> 12 & 3) < 3) {
        x86_raise_gp(cpu, 0);
    }
}

void x86_fn_pushf(X86Cpu *cpu, const Op *op)
{
    check_vm86_iopl(cpu);
    x86_push(cpu, x86_get_rflags(cpu) & ~(uint64_t)(X86_FLAG_VM | X86_FLAG_RF), insn_stack_size(cpu, op));
}

void x86_fn_popf(X86Cpu *cpu, const Op *op)
{
    unsigned size = insn_stack_size(cpu, op), iopl = cpu->rflags >> 12 & 3;
    uint64_t mask = X86_FLAGS_ARITH | X86_FLAG_TF | X86_FLAG_DF | X86_FLAG_NT, val;

    check_vm86_iopl(cpu);
    val = x86_pop(cpu, size);
    mask |= size > 2 ? X86_FLAG_AC | X86_FLAG_ID | X86_FLAG_RF : 0;
    val &= ~(uint64_t)X86_FLAG_RF;
    mask |= cpu->cpl == 0 ? X86_FLAG_IOPL : 0;
    mask |= cpu->cpl <= iopl ? X86_FLAG_IF : 0;
    x86_set_rflags(cpu, val, mask);
}

void x86_fn_enter_leave(X86Cpu *cpu, const Op *op)
{
    unsigned size = insn_stack_size(cpu, op), level = op->imm >> 16 & 31;
    uint64_t bp = cpu->gpr[X86_RBP], sp, frame;

    if (op->aux == 0xc9) {
        uint64_t val = x86_load_slow(cpu, stack_linear(cpu, bp, size, false), size);

        set_rsp(cpu, bp + size);
        insn_set_reg(cpu, X86_RBP * 8, size, val);
        return;
    }
    sp = cpu->gpr[X86_RSP] - size;
    x86_store_slow(cpu, stack_linear(cpu, sp, size, true), bp & insn_mask(size), size);
    frame = sp;
    for (unsigned i = 1; i < level; i++) {
        sp -= size;
        x86_store_slow(cpu, stack_linear(cpu, sp, size, true),
                       x86_load_slow(cpu, stack_linear(cpu, bp - i * size, size, false), size), size);
    }
    if (level) {
        sp -= size;
        x86_store_slow(cpu, stack_linear(cpu, sp, size, true), frame & insn_mask(size), size);
    }
    sp -= op->imm & 0xffff;
    x86_probe_write(cpu, stack_linear(cpu, sp, size, true), size);
    insn_set_reg(cpu, X86_RBP * 8, size, frame);
    set_rsp(cpu, sp);
}

/* --- near transfers outside the fast handlers --- */

/* Where a near transfer leads; raises #GP(0) when there can be no code. */
static uint64_t near_target(X86Cpu *cpu, uint64_t rip, unsigned osize)
{
    bool long64 = cpu->mode & MODE_LONG64;

    rip = long64 ? rip : rip & insn_mask(osize);
    if (long64 ? (uint64_t)((int64_t)(rip << 16) >> 16) != rip : rip > cpu->seg[X86_SEG_CS].limit) {
        x86_raise_gp(cpu, 0);
    }
    return rip;
}

/* Jcc and JMP (aux2 1, 2: relative), or FF /4. */
void x86_fn_jmp_near(X86Cpu *cpu, const Op *op)
{
    if (op->aux == 0xff) {
        cpu->rip = near_target(cpu, insn_rm(cpu, op, op->osize), op->osize);
    } else if (op->aux2 == 2 || cc_test(cpu, op->aux)) {
        cpu->rip = near_target(cpu, cpu->gpr[SLOT_RIP] + op->imm, op->osize);
    }
}

/*
 * SDM vol. 2 tests the target before it pushes; AMD's processors, as the comparison with the host shows, fault on the
 * stack first.  Nothing is written either way.
 */
void x86_raise_bad_call(X86Cpu *cpu)
{
    x86_probe_write(cpu, cpu->gpr[X86_RSP] - 8, 8);
    x86_raise_gp(cpu, 0);
}

void x86_fn_call_near(X86Cpu *cpu, const Op *op)
{
    unsigned size = insn_stack_size(cpu, op);
    uint64_t target = op->aux == 0xff ? insn_rm(cpu, op, size) : cpu->gpr[SLOT_RIP] + op->imm;

    target = near_target(cpu, target, op->osize);
    x86_push(cpu, cpu->rip, size);
    cpu->rip = target;
}

void x86_fn_ret_near(X86Cpu *cpu, const Op *op)
{
    unsigned size = insn_stack_size(cpu, op);
    uint64_t sp = cpu->gpr[X86_RSP], target = x86_load_slow(cpu, stack_linear(cpu, sp, size, false), size);

    cpu->rip = near_target(cpu, target, op->osize);
    set_rsp(cpu, sp + size + op->imm);
}

/* LOOPNE LOOPE LOOP JrCXZ */
void x86_fn_loop(X86Cpu *cpu, const Op *op)
{
    uint64_t mask = insn_addr_mask(op), count = cpu->gpr[X86_RCX] & mask;
    bool taken = count == 0;

    if (op->aux != 0xe3) {
        count = (count - 1) & mask;
        taken = count && (op->aux == 0xe2 || flag_zf(cpu) == (op->aux == 0xe1));
    }
    if (taken) {
        cpu->rip = near_target(cpu, cpu->gpr[SLOT_RIP] + op->imm, op->osize);
    }
    if (op->aux != 0xe3) {
        insn_set_reg(cpu, X86_RCX * 8, 1u << op->asize, count);
    }
}

/* --- far transfers --- */

void x86_fn_far(X86Cpu *cpu, const Op *op)
{
    uint64_t linear, offset;
    uint16_t selector;

    switch (op->aux) {
    case 0xca:
    case 0xcb:
        x86_far_return(cpu, op->osize, (unsigned)op->imm);
        break;
    case 0x9a:
    case 0xea:
        x86_far_jump(cpu, (uint16_t)(op->imm >> 32), (uint32_t)op->imm, op->osize, op->aux == 0x9a, cpu->rip);
        break;
    default:
        linear = insn_ea(cpu, op);
        offset = x86_load_slow(cpu, linear, op->osize);
        selector = (uint16_t)x86_load_slow(cpu, linear + op->osize, 2);
        x86_far_jump(cpu, selector, offset, op->osize, insn_digit(op) == 3, cpu->rip);
        break;
    }
}

void x86_fn_iret(X86Cpu *cpu, const Op *op)
{
    x86_iret(cpu, op->osize);
    /* How one processor makes another's new code its own; alone there is nobody to wait for. */
    if (x86_has_other_cpus(cpu)) {
        x86_serialize(cpu);
    }
}

void x86_fn_intn(X86Cpu *cpu, const Op *op)
{
    if (op->aux == 0xce) {
        if (flag_of(cpu)) {
            x86_interrupt(cpu, X86_EXC_OF, true, -1, cpu->rip);
        }
    } else if (op->aux == 0xf1) {
        x86_interrupt(cpu, X86_EXC_DB, false, -1, cpu->rip);
    } else {
        if (op->aux == 0xcd) {
            check_vm86_iopl(cpu);
        }
        x86_interrupt(cpu, op->aux == 0xcc ? X86_EXC_BP : (int)op->imm, true, -1, cpu->rip);
    }
}

void x86_fn_syscall(X86Cpu *cpu, const Op *op)
{
    switch (op->aux) {
    case 0x05:
        x86_syscall(cpu, cpu->rip);
        break;
    case 0x07:
        x86_sysret(cpu, op->rexw);
        break;
    case 0x34:
        x86_sysenter(cpu);
        break;
    default:
        x86_sysexit(cpu, op->rexw);
        break;
    }
}

/* --- segments --- */

void x86_fn_movseg_from(X86Cpu *cpu, const Op *op)
{
    unsigned n = insn_digit(op);

    if (n > X86_SEG_GS) {
        x86_raise_ud(cpu);
    }
    insn_set_rm(cpu, op, op->mem ? 2 : op->osize, cpu->seg[n].selector);
}

/* MOV Sreg, POP Sreg, LDS and the like. */
void x86_fn_movseg(X86Cpu *cpu, const Op *op)
{
    static const struct {
        uint8_t opcode;
        uint8_t seg;
    } far_loads[] = {{0xb2, X86_SEG_SS}, {0xb4, X86_SEG_FS}, {0xb5, X86_SEG_GS}, {0xc4, X86_SEG_ES}, {0xc5, X86_SEG_DS}};
    unsigned n = insn_digit(op);

    for (unsigned i = 0; i < sizeof(far_loads) / sizeof(far_loads[0]); i++) {
        if (op->aux == far_loads[i].opcode) {
            uint64_t linear = insn_ea(cpu, op), val = x86_load_slow(cpu, linear, op->osize);

            x86_load_seg(cpu, far_loads[i].seg, (uint16_t)x86_load_slow(cpu, linear + op->osize, 2));
            insn_set_reg(cpu, op->r1, op->osize, val);
            return;
        }
    }
    if (op->aux != 0x8e) {
        unsigned size = insn_stack_size(cpu, op);

        n = (unsigned)seg_of_opcode(op->aux);
        x86_load_seg(cpu, (int)n, (uint16_t)x86_load_slow(cpu, stack_linear(cpu, cpu->gpr[X86_RSP], size, false), size));
        set_rsp(cpu, cpu->gpr[X86_RSP] + size);
    } else {
        if (n > X86_SEG_GS || n == X86_SEG_CS) {
            x86_raise_ud(cpu);
        }
        x86_load_seg(cpu, (int)n, (uint16_t)insn_rm(cpu, op, 2));
    }
    if (n == X86_SEG_SS) {
        x86_set_shadow(cpu, SHADOW_MOV_SS);
    }
}

/* --- ports --- */

bool x86_io_allowed(X86Cpu *cpu, uint16_t port, unsigned size)
{
    const X86SegState *tr = &cpu->seg[X86_SEG_TR];
    uint64_t map, bits;

    if (!(cpu->cr0 & X86_CR0_PE) || (!(cpu->rflags & X86_FLAG_VM) && cpu->cpl <= (cpu->rflags >> 12 & 3))) {
        return true;
    }
    if ((tr->attr & 0xd) != 9 || tr->limit < 0x67) {
        return false;
    }
    map = x86_load_sys(cpu, tr->base + 0x66, 2);
    if (map + port / 8 + 1 > tr->limit) {
        return false;
    }
    bits = x86_load_sys(cpu, tr->base + map + port / 8, 2);
    return !(bits >> (port & 7) & ((1u << size) - 1));
}

void x86_fn_io(X86Cpu *cpu, const Op *op)
{
    unsigned size = op->aux & 1 ? (op->osize == 2 ? 2 : 4) : 1;
    uint16_t port = op->aux < 0xe8 ? (uint16_t)op->imm : (uint16_t)cpu->gpr[X86_RDX];

    if (!x86_io_allowed(cpu, port, size)) {
        x86_raise_gp(cpu, 0);
    }
    x86_debug_io(cpu, port, size);
    if (op->aux & 2) {
        cpu->bus->io_write(cpu->opaque, port, (uint32_t)insn_reg(cpu, 0, size), size);
        x86_bus_settle(cpu);
    } else {
        insn_set_reg(cpu, 0, size, cpu->bus->io_read(cpu->opaque, port, size));
    }
}

/* --- system --- */

static void require_cpl0(X86Cpu *cpu)
{
    if (cpu->cpl) {
        x86_raise_gp(cpu, 0);
    }
}

void x86_fn_hlt(X86Cpu *cpu, const Op *op)
{
    require_cpl0(cpu);
    cpu->halted = true;
    cpu->irq_shadow = SHADOW_NONE; /* the shadow of STI ends with this very instruction: interrupts wake the CPU */
    x86_cpu_kick(cpu);
}

/* CLI, STI */
void x86_fn_sti(X86Cpu *cpu, const Op *op)
{
    if ((cpu->cr0 & X86_CR0_PE) && cpu->cpl > (cpu->rflags >> 12 & 3)) {
        x86_raise_gp(cpu, 0);
    }
    if (op->aux == 0xfb) {
        if (!(cpu->rflags & X86_FLAG_IF)) {
            x86_set_shadow(cpu, SHADOW_STI);
        }
        cpu->rflags |= X86_FLAG_IF;
        x86_intr_unmask(cpu);
    } else {
        cpu->rflags &= ~X86_FLAG_IF;
    }
}

void x86_fn_cpuid_op(X86Cpu *cpu, const Op *op)
{
    x86_cpuid(cpu);
    x86_serialize(cpu);
}

/* Writes to these, and to the TSC deadline, do not serialise. */
static bool msr_is_x2apic(uint32_t n)
{
    return (n >= 0x800 && n <= 0x8ff) || n == 0x6e0;
}

void x86_fn_msr(X86Cpu *cpu, const Op *op)
{
    uint32_t n = (uint32_t)cpu->gpr[X86_RCX];
    uint64_t val;

    require_cpl0(cpu);
    if (op->aux == 0x30) {
        x86_wrmsr(cpu, n, (cpu->gpr[X86_RDX] << 32) | (uint32_t)cpu->gpr[X86_RAX]);
        if (x86_has_other_cpus(cpu) && !msr_is_x2apic(n)) {
            x86_serialize(cpu);
        }
    } else {
        val = x86_rdmsr(cpu, n);
        cpu->gpr[X86_RAX] = (uint32_t)val;
        cpu->gpr[X86_RDX] = val >> 32;
    }
}

static void mov_dr(X86Cpu *cpu, const Op *op, unsigned n, unsigned size)
{
    uint64_t val;

    if (n > 7 || ((n == 4 || n == 5) && (cpu->cr4 & X86_CR4_DE))) {
        x86_raise_ud(cpu);
    }
    n = n == 4 || n == 5 ? n + 2 : n;
    if (cpu->dr[7] & X86_DR7_GD) {
        cpu->dr[7] &= ~(uint64_t)X86_DR7_GD;
        cpu->dr[6] |= X86_DR6_BD;
        x86_raise(cpu, X86_EXC_DB, -1);
    }
    if (op->aux == 0x21) {
        insn_set_reg(cpu, op->r2, size, cpu->dr[n]);
        return;
    }
    val = insn_reg(cpu, op->r2, size);
    if (n >= 6 && val >> 32) {
        x86_raise_gp(cpu, 0);
    }
    cpu->dr[n] = n == 6 ? (val & 0xe00f) | 0xffff0ff0 : n == 7 ? (val & 0xffff2fff) | 0x400 : val;
    x86_update_mode(cpu);
}

/* MOV to and from CRn, DRn; imm is the register number. */
void x86_fn_mov_cr(X86Cpu *cpu, const Op *op)
{
    unsigned n = (unsigned)op->imm, size = cpu->mode & MODE_LONG64 ? 8 : 4;

    require_cpl0(cpu);
    switch (op->aux) {
    case 0x20:
        insn_set_reg(cpu, op->r2, size, x86_read_cr(cpu, n));
        break;
    case 0x22:
        x86_write_cr(cpu, n, insn_reg(cpu, op->r2, size));
        if (n != 8 && x86_has_other_cpus(cpu)) {
            x86_serialize(cpu);
        }
        break;
    default:
        mov_dr(cpu, op, n, size);
        break;
    }
}

/* SGDT SIDT SLDT STR SMSW */
static void check_umip(X86Cpu *cpu)
{
    if ((cpu->cr4 & X86_CR4_UMIP) && cpu->cpl) {
        x86_raise_gp(cpu, 0);
    }
}

static void op_table(X86Cpu *cpu, const Op *op, X86TableState *table, bool store)
{
    uint64_t linear = insn_ea(cpu, op);
    unsigned base_size = cpu->mode & MODE_LONG64 ? 8 : 4;

    if (store) {
        check_umip(cpu);
        x86_probe_write(cpu, linear, 2 + base_size);
        x86_store_slow(cpu, linear, table->limit, 2);
        x86_store_slow(cpu, linear + 2, table->base, base_size);
        return;
    }
    require_cpl0(cpu);
    uint32_t limit = (uint32_t)x86_load_slow(cpu, linear, 2);
    uint64_t base = x86_load_slow(cpu, linear + 2, base_size);

    table->limit = limit;
    table->base = op->osize == 2 && base_size == 4 ? base & 0xffffff : base;
}

static void check_tsd(X86Cpu *cpu)
{
    if ((cpu->cr4 & X86_CR4_TSD) && cpu->cpl) {
        x86_raise_gp(cpu, 0);
    }
}

static void op_swapgs_rdtscp(X86Cpu *cpu, const Op *op)
{
    uint64_t tmp = cpu->seg[X86_SEG_GS].base, tsc;

    if (op->aux2 == 0xf9) {
        if (!x86_has_feature(cpu, 3, 27)) {
            x86_raise_ud(cpu);
        }
        check_tsd(cpu);
        tsc = x86_tsc(cpu);
        cpu->gpr[X86_RAX] = (uint32_t)tsc;
        cpu->gpr[X86_RDX] = tsc >> 32;
        cpu->gpr[X86_RCX] = (uint32_t)cpu->tsc_aux;
        return;
    }
    if (op->aux2 != 0xf8 || !(cpu->mode & MODE_LONG64)) {
        x86_raise_ud(cpu);
    }
    require_cpl0(cpu);
    cpu->seg[X86_SEG_GS].base = cpu->kernel_gs_base;
    cpu->kernel_gs_base = tmp;
}

static void op_group7(X86Cpu *cpu, const Op *op)
{
    unsigned digit = insn_digit(op);

    if (op->aux2 == 0xd0) {
        x86_xgetbv(cpu);
        return;
    }
    if (op->aux2 == 0xd1) {
        x86_xsetbv(cpu);
        return;
    }
    if (!op->mem && digit < 4) {
        if (op->aux2 == 0xca || op->aux2 == 0xcb) { /* CLAC, STAC */
            if (!x86_has_feature(cpu, 2, 20) || cpu->cpl) {
                x86_raise_ud(cpu);
            }
            x86_set_rflags(cpu, op->aux2 == 0xcb ? X86_FLAG_AC : 0, X86_FLAG_AC);
            return;
        }
        x86_raise_ud(cpu);
    }
    switch (digit) {
    case 0:
        op_table(cpu, op, &cpu->gdtr, true);
        break;
    case 1:
        op_table(cpu, op, &cpu->idtr, true);
        break;
    case 2:
        op_table(cpu, op, &cpu->gdtr, false);
        break;
    case 3:
        op_table(cpu, op, &cpu->idtr, false);
        break;
    case 4:
        check_umip(cpu);
        insn_set_rm(cpu, op, op->mem ? 2 : op->osize, cpu->cr0);
        break;
    case 6:
        require_cpl0(cpu);
        /* LMSW sets PE but cannot clear it. */
        x86_write_cr(cpu, 0, (cpu->cr0 & ~UINT64_C(0xe)) | (insn_rm(cpu, op, 2) & 0xf));
        break;
    case 7:
        if (op->mem) {
            require_cpl0(cpu);
            x86_tlb_flush_page(cpu, insn_ea(cpu, op));
            break;
        }
        op_swapgs_rdtscp(cpu, op);
        break;
    default:
        x86_raise_ud(cpu);
    }
}

static void op_group6(X86Cpu *cpu, const Op *op)
{
    unsigned digit = insn_digit(op);
    uint32_t flags;

    if (!(cpu->cr0 & X86_CR0_PE) || (cpu->rflags & X86_FLAG_VM) || digit > 5) {
        x86_raise_ud(cpu);
    }
    switch (digit) {
    case 0:
    case 1:
        check_umip(cpu);
        insn_set_rm(cpu, op, op->mem ? 2 : op->osize, cpu->seg[digit ? X86_SEG_TR : X86_SEG_LDTR].selector);
        break;
    case 2:
        require_cpl0(cpu);
        x86_load_ldt(cpu, (uint16_t)insn_rm(cpu, op, 2));
        break;
    case 3:
        require_cpl0(cpu);
        x86_load_tr(cpu, (uint16_t)insn_rm(cpu, op, 2));
        break;
    default:
        flags = x86_flags_arith(cpu) & ~X86_FLAG_ZF;
        cc_raw(cpu, flags | (x86_verify(cpu, (uint16_t)insn_rm(cpu, op, 2), digit == 5) ? X86_FLAG_ZF : 0));
        break;
    }
}

static void op_fsgsbase(X86Cpu *cpu, const Op *op)
{
    unsigned digit = insn_digit(op);
    X86SegState *seg = &cpu->seg[digit & 1 ? X86_SEG_GS : X86_SEG_FS];
    uint64_t val;

    if (digit > 3 || !(cpu->mode & MODE_LONG64) || !(cpu->cr4 & X86_CR4_FSGSBASE)) {
        x86_raise_ud(cpu);
    }
    if (digit < 2) {
        insn_set_reg(cpu, op->r2, op->osize, seg->base);
        return;
    }
    val = insn_reg(cpu, op->r2, op->osize == 8 ? 8 : 4);
    if ((uint64_t)((int64_t)(val << 16) >> 16) != val) {
        x86_raise_gp(cpu, 0);
    }
    seg->base = val;
}

static void op_arpl(X86Cpu *cpu, const Op *op)
{
    uint64_t dst, src = insn_reg(cpu, op->r1, 2);
    uint32_t flags = x86_flags_arith(cpu) & ~X86_FLAG_ZF;

    if (!(cpu->cr0 & X86_CR0_PE) || (cpu->rflags & X86_FLAG_VM)) {
        x86_raise_ud(cpu);
    }
    dst = insn_rm(cpu, op, 2);
    if ((dst & 3) < (src & 3)) {
        insn_set_rm(cpu, op, 2, (dst & ~UINT64_C(3)) | (src & 3));
        flags |= X86_FLAG_ZF;
    }
    cc_raw(cpu, flags);
}

void x86_fn_system(X86Cpu *cpu, const Op *op)
{
    switch (op->aux) {
    case 0x00:
        op_group6(cpu, op);
        break;
    case 0x01:
        op_group7(cpu, op);
        break;
    case 0x06: /* CLTS */
        require_cpl0(cpu);
        cpu->cr0 &= ~(uint64_t)X86_CR0_TS;
        x86_update_mode(cpu);
        break;
    case 0x63:
        op_arpl(cpu, op);
        break;
    case 0xaa:
        x86_smm_leave(cpu);
        break;
    default:
        op_fsgsbase(cpu, op);
        break;
    }
}

/* RDTSC, RDPMC, LAR, LSL, INVD, WBINVD, MOV with a 64-bit offset. */
void x86_fn_sysinfo(X86Cpu *cpu, const Op *op)
{
    uint64_t val;

    switch (op->aux) {
    case 0x02:
    case 0x03:
        if (!(cpu->cr0 & X86_CR0_PE) || (cpu->rflags & X86_FLAG_VM)) {
            x86_raise_ud(cpu);
        }
        if (x86_lar_lsl(cpu, (uint16_t)insn_rm(cpu, op, 2), op->aux == 3, &val)) {
            insn_set_reg(cpu, op->r1, op->osize, val);
            cc_raw(cpu, x86_flags_arith(cpu) | X86_FLAG_ZF);
        } else {
            cc_raw(cpu, x86_flags_arith(cpu) & ~X86_FLAG_ZF);
        }
        break;
    case 0x08:
    case 0x09:
        require_cpl0(cpu);
        break;
    case 0x31:
        check_tsd(cpu);
        val = x86_tsc(cpu);
        cpu->gpr[X86_RAX] = (uint32_t)val;
        cpu->gpr[X86_RDX] = val >> 32;
        break;
    case 0x33:
        x86_raise_gp(cpu, 0);
    default:
        val = insn_linear(cpu, op->seg, op->imm);
        if (op->aux & 2) {
            x86_store_slow(cpu, val, insn_reg(cpu, 0, op->osize), op->osize);
        } else {
            insn_set_reg(cpu, 0, op->osize, x86_load_slow(cpu, val, op->osize));
        }
        break;
    }
}

void x86_fn_bound(X86Cpu *cpu, const Op *op)
{
    uint64_t linear = insn_ea(cpu, op);
    int64_t index = insn_sext(insn_reg(cpu, op->r1, op->osize), op->osize);

    if (index < insn_sext(x86_load_slow(cpu, linear, op->osize), op->osize) ||
        index > insn_sext(x86_load_slow(cpu, linear + op->osize, op->osize), op->osize)) {
        x86_raise(cpu, X86_EXC_BR, -1);
    }
}

void x86_fn_ud(X86Cpu *cpu, const Op *op)
{
    x86_raise_ud(cpu);
}

/*
 * INVPCID (SDM vol. 2).  Entries of the TLB have no PCID: the present one's may be meant whichever is named, and
 * dropping more is always allowed.
 */
void x86_fn_invpcid(X86Cpu *cpu, const Op *op)
{
    enum { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL, INVPCID_ALL_LOCAL, INVPCID_PCID = 0xfff };
    uint64_t type, pcid, linear, at;

    if (!op->mem || !x86_has_feature(cpu, X86_F_7_EBX, 10)) {
        x86_raise_ud(cpu);
    }
    require_cpl0(cpu);
    type = insn_reg(cpu, op->r1, op->osize);
    at = insn_ea(cpu, op);
    pcid = x86_load_slow(cpu, at, 8);
    linear = x86_load_slow(cpu, at + 8, 8);
    if (type > INVPCID_ALL_LOCAL || pcid & ~(uint64_t)INVPCID_PCID ||
        (type <= INVPCID_CONTEXT && pcid && !(cpu->cr4 & X86_CR4_PCIDE)) ||
        (type == INVPCID_ADDRESS && (uint64_t)((int64_t)(linear << 16) >> 16) != linear)) {
        x86_raise_gp(cpu, 0);
    }
    switch (type) {
    case INVPCID_ADDRESS:
        x86_tlb_flush_page(cpu, linear);
        break;
    case INVPCID_ALL:
        x86_tlb_flush(cpu);
        break;
    default:
        x86_tlb_flush_local(cpu);
        break;
    }
}
