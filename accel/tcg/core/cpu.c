/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The CPU's public face: creation, reset, the run loop, events, architectural state. */
#include <stdio.h>
#include <stdlib.h>

#include "accel/tcg/core/flags.h"
#include "accel/tcg/core/ops.h"
#include "accel/tcg/jit/jit.h"

uint32_t x86_flags_arith(const X86Cpu *cpu)
{
    if (cpu->cc_op == CC_RAW) {
        return ((uint32_t)cpu->cc_b & X86_FLAGS_ARITH) | (cpu->cc_b & CC_OF_BYTE ? X86_FLAG_OF : 0);
    }
    return (flag_cf(cpu) ? X86_FLAG_CF : 0) | (flag_pf(cpu) ? X86_FLAG_PF : 0) | (flag_af(cpu) ? X86_FLAG_AF : 0) |
           (flag_zf(cpu) ? X86_FLAG_ZF : 0) | (flag_sf(cpu) ? X86_FLAG_SF : 0) | (flag_of(cpu) ? X86_FLAG_OF : 0);
}

void x86_set_rflags(X86Cpu *cpu, uint64_t val, uint64_t mask)
{
    const uint32_t kept = X86_FLAG_TF | X86_FLAG_IF | X86_FLAG_DF | X86_FLAG_IOPL | X86_FLAG_NT | X86_FLAG_RF |
                          X86_FLAG_VM | X86_FLAG_AC | X86_FLAG_VIF | X86_FLAG_VIP | X86_FLAG_ID;
    uint64_t flags = (x86_get_rflags(cpu) & ~mask) | (val & mask);
    uint32_t old = cpu->rflags;

    if (mask & X86_FLAGS_ARITH) {
        cc_raw(cpu, (uint32_t)flags);
    }
    cpu->rflags = (uint32_t)flags & kept;
    if ((old ^ cpu->rflags) & (X86_FLAG_TF | X86_FLAG_VM | X86_FLAG_AC)) {
        x86_update_mode(cpu);
    }
    if (~old & cpu->rflags & X86_FLAG_IF) {
        x86_intr_unmask(cpu);
    }
}

X86Cpu *x86_cpu_new(const X86CpuConfig *config, const X86CpuBus *bus, void *opaque, char **error)
{
    X86Cpu *cpu = calloc(1, sizeof(*cpu));

    cpu->config = *config;
    cpu->bus = bus;
    cpu->opaque = opaque;
    cpu->boot_cpu = config->apic_id == 0;
    atomic_flag_clear(&cpu->queue_lock);
    cpu->random = UINT64_C(0x853c49e6748fea9b) ^ config->apic_id;
    cpu->scratch = malloc(sizeof(Block) + (BLOCK_MAX_OPS + 1) * sizeof(Op));
    if (!x86_model_init(cpu, config->model, error)) {
        free(cpu->scratch);
        free(cpu);
        return NULL;
    }
    cpu->config.model = cpu->model_name;
    for (size_t i = 0; i < sizeof(cpu->tlbs[0]) / sizeof(cpu->tlbs[0][0]); i++) {
        cpu->tlbs[TLB_EMPTY][i].rd = cpu->tlbs[TLB_EMPTY][i].wr = TLB_NONE;
    }
    cpu->host_mxcsr = 0x1f80;
    x86_cpu_set_limit(cpu, UINT64_MAX);
    cpu->jit = config->jit_heat ? x86_jit_new() : NULL;
    x86_bus_flush(cpu);
    x86_cpu_reset(cpu, false);
    return cpu;
}

void x86_cpu_free(X86Cpu *cpu)
{
    if (!cpu) {
        return;
    }
    x86_blocks_flush(cpu);
    x86_jit_free(cpu->jit);
    free(cpu->points);
    free(cpu->scratch);
    free(cpu);
}

static void state_of(X86Cpu *cpu, X86CpuState *s);

/* INIT leaves the model-specific registers, the caches' modes and the extended state as they are. */
static void keep_over_init(X86Cpu *cpu, X86CpuState *s)
{
    X86CpuState old;

    state_of(cpu, &old);
    s->cr0 |= old.cr0 & (X86_CR0_CD | X86_CR0_NW);
    s->star = old.star;
    s->lstar = old.lstar;
    s->cstar = old.cstar;
    s->fmask = old.fmask;
    s->kernel_gs_base = old.kernel_gs_base;
    s->tsc_aux = old.tsc_aux;
    s->pat = old.pat;
    s->sysenter_cs = old.sysenter_cs;
    s->sysenter_esp = old.sysenter_esp;
    s->sysenter_eip = old.sysenter_eip;
    s->misc_enable = old.misc_enable;
    s->xcr0 = old.xcr0;
    s->tsc_offset = old.tsc_offset;
    s->mtrr_def_type = old.mtrr_def_type;
    memcpy(s->mtrr_fixed, old.mtrr_fixed, sizeof(s->mtrr_fixed));
    memcpy(s->mtrr_var, old.mtrr_var, sizeof(s->mtrr_var));
    s->smbase = old.smbase;
    s->a20 = old.a20;
}

/* SDM vol. 3, table 9-1. */
static void reset_state(X86Cpu *cpu, bool init)
{
    X86CpuState s = {.rip = 0xfff0, .rflags = X86_FLAG_ONE, .cr0 = 0x60000010, .a20 = 1, .pat = UINT64_C(0x0007040600070406),
                     .xcr0 = 1, .smbase = X86_SMBASE_RESET};
    X86Fpu fpu = cpu->fpu;

    s.gpr[X86_RDX] = x86_model_signature(cpu);
    for (int i = 0; i < X86_SEG_COUNT; i++) {
        s.seg[i] = (X86SegState){.limit = 0xffff, .attr = i == X86_SEG_LDTR ? 0x82 : i == X86_SEG_TR ? 0x8b : 0x93};
    }
    s.seg[X86_SEG_CS] = (X86SegState){.base = 0xffff0000, .limit = 0xffff, .selector = 0xf000, .attr = 0x9b};
    s.gdtr.limit = s.idtr.limit = 0xffff;
    s.dr[6] = 0xffff0ff0;
    s.dr[7] = 0x400;
    s.wait_sipi = !cpu->boot_cpu;
    if (init) {
        keep_over_init(cpu, &s);
    }
    x86_cpu_set_state(cpu, &s);
    if (init) {
        cpu->fpu = fpu;
    } else {
        memset(&cpu->fpu, 0, sizeof(cpu->fpu));
        x86_fpu_reset(&cpu->fpu);
    }
}

void x86_cpu_reset(X86Cpu *cpu, bool init)
{
    /*
     * What other threads want of the CPU's caches outlives a reset, and so does what comes while it resets.  INTR is a
     * level: whoever drives it lowers it.
     */
    atomic_fetch_and(&cpu->pending, (unsigned)(PENDING_KICK | PENDING_FLUSH | PENDING_CODE | PENDING_HARD));
    reset_state(cpu, init);
}

/* --- inputs: any thread --- */

void x86_cpu_kick(X86Cpu *cpu)
{
    atomic_fetch_or(&cpu->pending, PENDING_KICK);
}

/* A SIPI of before is not for the CPU that INIT makes. */
static void signal_init(X86Cpu *cpu)
{
    unsigned old = atomic_load(&cpu->pending);

    while (!atomic_compare_exchange_weak(&cpu->pending, &old, (old & ~(unsigned)PENDING_SIPI) | PENDING_INIT)) {
    }
}

void x86_intr_mask(X86Cpu *cpu)
{
    atomic_fetch_and(&cpu->pending, ~(unsigned)PENDING_HARD);
}

void x86_intr_unmask(X86Cpu *cpu)
{
    if (atomic_load(&cpu->intr)) {
        atomic_fetch_or(&cpu->pending, PENDING_HARD);
    }
}

/* The pin may change at any time: whoever raises it sets the bit after it, so a rise is seen by one of these. */
static bool intr_is_raised(X86Cpu *cpu)
{
    if (!atomic_load(&cpu->intr)) {
        x86_intr_mask(cpu);
        x86_intr_unmask(cpu);
    }
    return atomic_load(&cpu->intr);
}

void x86_cpu_set_irq(X86Cpu *cpu, X86CpuIrq irq, bool level)
{
    static const unsigned bits[] = {
        [X86_IRQ_HARD] = PENDING_HARD, [X86_IRQ_NMI] = PENDING_NMI, [X86_IRQ_SMI] = PENDING_SMI,
        [X86_IRQ_INIT] = PENDING_INIT, [X86_IRQ_SIPI] = PENDING_SIPI, [X86_IRQ_RESET] = PENDING_RESET,
    };

    if (irq == X86_IRQ_HARD) {
        atomic_store(&cpu->intr, level);
    }
    if (irq == X86_IRQ_HARD && !level) {
        atomic_fetch_and(&cpu->pending, ~(unsigned)PENDING_HARD);
    } else if (irq == X86_IRQ_INIT) {
        signal_init(cpu);
    } else {
        atomic_fetch_or(&cpu->pending, bits[irq]);
    }
}

void x86_cpu_sipi(X86Cpu *cpu, uint8_t vector)
{
    atomic_store(&cpu->sipi_vector, vector);
    atomic_fetch_or(&cpu->pending, PENDING_SIPI);
}

bool x86_cpu_has_work(X86Cpu *cpu)
{
    unsigned pending = atomic_load(&cpu->pending);

    if (cpu->wait_sipi) {
        return pending & (PENDING_SIPI | PENDING_INIT | PENDING_RESET);
    }
    return !cpu->halted || (pending & PENDING_RESET) || (!cpu->smm && (pending & (PENDING_SMI | PENDING_INIT))) ||
           (!cpu->nmi_blocked && (pending & PENDING_NMI)) || ((pending & PENDING_HARD) && (cpu->rflags & X86_FLAG_IF));
}

void x86_update_a20(X86Cpu *cpu)
{
    cpu->a20_mask = cpu->a20_on || cpu->smm ? UINT64_MAX : ~(UINT64_C(1) << 20);
}

void x86_cpu_set_a20(X86Cpu *cpu, bool enabled)
{
    cpu->a20_on = enabled;
    x86_update_a20(cpu);
    x86_tlb_flush(cpu);
}

void x86_cpu_flush_bus(X86Cpu *cpu)
{
    atomic_fetch_or(&cpu->pending, PENDING_FLUSH);
}

void x86_cpu_invalidate_code(X86Cpu *cpu, uint64_t gpa, uint64_t len)
{
    while (atomic_flag_test_and_set_explicit(&cpu->queue_lock, memory_order_acquire)) {
    }
    if (cpu->queued < INVALIDATE_QUEUE) {
        cpu->queue[cpu->queued].gpa = gpa;
        cpu->queue[cpu->queued++].len = len;
    } else {
        cpu->queue_overflow = true;
    }
    atomic_flag_clear_explicit(&cpu->queue_lock, memory_order_release);
    atomic_fetch_or(&cpu->pending, PENDING_CODE);
}

uint64_t x86_cpu_insn_count(const X86Cpu *cpu)
{
    return cpu->insns;
}

uint64_t x86_cpu_insn_now(const X86Cpu *cpu)
{
    const Block *block = cpu->block;
    const Op *op = cpu->op;

    return block && op >= block->ops && op < block->ops + block->count ? cpu->insns - (uint64_t)(block->count - (op - block->ops))
                                                                       : cpu->insns;
}

void x86_cpu_set_limit(X86Cpu *cpu, uint64_t insns)
{
    cpu->insn_limit = insns;
    cpu->insn_soft = insns > BLOCK_MAX_OPS ? insns - BLOCK_MAX_OPS : 0;
}

/* --- events, at an instruction boundary --- */

static void drop_written_code(X86Cpu *cpu)
{
    while (atomic_flag_test_and_set_explicit(&cpu->queue_lock, memory_order_acquire)) {
    }
    for (unsigned i = 0; i < cpu->queued; i++) {
        uint64_t page = cpu->queue[i].gpa & X86_PAGE_MASK, end = cpu->queue[i].gpa + cpu->queue[i].len;

        for (; page < end; page += X86_PAGE_SIZE) {
            x86_code_invalidate_page(cpu, page);
        }
    }
    bool overflow = cpu->queue_overflow;

    cpu->queued = 0;
    cpu->queue_overflow = false;
    atomic_flag_clear_explicit(&cpu->queue_lock, memory_order_release);
    if (overflow) {
        x86_blocks_flush(cpu);
    }
}

/* First the bits, then the state: the SIPI that another CPU sends meanwhile is not lost. */
static bool take_init(X86Cpu *cpu)
{
    if (cpu->smm || !(atomic_load(&cpu->pending) & PENDING_INIT)) {
        return false;
    }
    atomic_fetch_and(&cpu->pending, ~(unsigned)(PENDING_INIT | PENDING_NMI));
    reset_state(cpu, true);
    return true;
}

/* One that came after an INIT waits until that is carried out. */
static void take_sipi(X86Cpu *cpu)
{
    unsigned old = atomic_load(&cpu->pending);
    uint8_t vector;

    do {
        if (!(old & PENDING_SIPI) || (old & PENDING_INIT)) {
            return;
        }
    } while (!atomic_compare_exchange_weak(&cpu->pending, &old, old & ~(unsigned)PENDING_SIPI));
    if (!cpu->wait_sipi) {
        return;
    }
    vector = atomic_load(&cpu->sipi_vector);
    cpu->wait_sipi = false;
    x86_set_real_seg(cpu, X86_SEG_CS, (uint16_t)(vector << 8));
    cpu->rip = 0;
    x86_update_mode(cpu);
}

/* Interrupts and traps: between two instructions. */
static void take_interrupt(X86Cpu *cpu, int vector)
{
    static const Op at_start;

    cpu->halted = false;
    cpu->delivering = vector;
    cpu->fault_vector = -1; /* combines with no fault that delivery meets */
    cpu->op = &at_start;
    cpu->in_delivery = true;
    x86_interrupt(cpu, vector, false, -1, cpu->rip);
    cpu->in_delivery = false;
}

/* What other threads changed that the CPU had remembered. */
static void service_caches(X86Cpu *cpu, unsigned pending)
{
    if (pending & PENDING_FLUSH) {
        atomic_fetch_and(&cpu->pending, ~(unsigned)PENDING_FLUSH);
        x86_bus_flush(cpu);
    }
    if (pending & PENDING_CODE) {
        atomic_fetch_and(&cpu->pending, ~(unsigned)PENDING_CODE);
        drop_written_code(cpu);
    }
}

/* Interrupts in the order of their priority (SDM vol. 3, table 6-2). */
static void service_interrupts(X86Cpu *cpu, unsigned pending)
{
    if ((pending & PENDING_SMI) && !cpu->smm) {
        atomic_fetch_and(&cpu->pending, ~(unsigned)PENDING_SMI);
        x86_smm_enter(cpu);
    } else if ((pending & PENDING_NMI) && !cpu->nmi_blocked) {
        atomic_fetch_and(&cpu->pending, ~(unsigned)PENDING_NMI);
        cpu->nmi_blocked = true;
        take_interrupt(cpu, X86_EXC_NMI);
    } else if ((pending & PENDING_HARD) && (cpu->rflags & X86_FLAG_IF) && intr_is_raised(cpu)) {
        int vector = cpu->bus->intr_ack(cpu->opaque);

        if (vector >= 0) {
            take_interrupt(cpu, vector);
        }
    }
}

/* Carries out what is pending.  False: the run ends with *why. */
static bool service(X86Cpu *cpu, X86CpuExit *why)
{
    unsigned pending = atomic_load(&cpu->pending);

    if (pending & PENDING_RESET) {
        x86_cpu_reset(cpu, false);
        return true;
    }
    if (take_init(cpu)) {
        return true;
    }
    service_caches(cpu, pending);
    take_sipi(cpu);
    if (!cpu->wait_sipi && !cpu->irq_shadow && (!cpu->debug_step || cpu->halted)) {
        service_interrupts(cpu, pending);
    }
    if (pending & PENDING_DEBUG) {
        atomic_fetch_and(&cpu->pending, ~(unsigned)PENDING_DEBUG);
        *why = X86_EXIT_DEBUG;
        return false;
    }
    if (pending & PENDING_KICK) {
        atomic_fetch_and(&cpu->pending, ~(unsigned)PENDING_KICK);
        *why = x86_cpu_has_work(cpu) ? X86_EXIT_KICKED : X86_EXIT_HALTED;
        return false;
    }
    return true;
}

/* How a fault combines with the one being delivered (SDM vol. 3, table 6-5). */
static bool is_contributory(int vector)
{
    return vector == X86_EXC_DE || (vector >= X86_EXC_TS && vector <= X86_EXC_GP);
}

/* The present op was not executed: takes back what the block counted from there, and RIP. */
static void back_to_op(X86Cpu *cpu)
{
    const Op *op = cpu->op;

    if (cpu->block && op >= cpu->block->ops && op < cpu->block->ops + cpu->block->count) {
        cpu->insns -= (uint64_t)(cpu->block->count - (op - cpu->block->ops));
        cpu->rip = cpu->gpr[SLOT_RIP] + op->off;
    }
}

/* A fault was raised: delivers it.  False: triple fault. */
static bool deliver_fault(X86Cpu *cpu)
{
    static const Op at_start;
    int vector, error, first;
    uint64_t rip;

    if (!cpu->in_delivery) {
        back_to_op(cpu);
        cpu->fault_vector = cpu->delivering;
        if (cpu->delivering != X86_EXC_DB) {
            cpu->rflags |= X86_FLAG_RF; /* saved with the flags: the instruction runs again */
        }
        cpu->op = &at_start;
        cpu->gpr[SLOT_RIP] = cpu->rip;
        vector = cpu->delivering;
        error = cpu->delivering_error;
    } else {
        first = cpu->fault_vector;
        if (first == X86_EXC_DF) {
            return false;
        }
        vector = cpu->delivering;
        error = cpu->delivering_error;
        if ((is_contributory(first) && is_contributory(vector)) ||
            (first == X86_EXC_PF && (is_contributory(vector) || vector == X86_EXC_PF))) {
            vector = X86_EXC_DF;
            error = 0;
        }
        cpu->fault_vector = vector;
    }
    rip = cpu->rip;
    cpu->in_delivery = true;
    if (!(cpu->cr0 & X86_CR0_PE)) {
        error = -1;
    }
    x86_interrupt(cpu, vector, false, error, rip);
    cpu->in_delivery = false;
    return true;
}

/* One instruction with TF set, breakpoints enabled, or in an interrupt shadow; what it met becomes a trap. */
static void step(X86Cpu *cpu)
{
    bool tf = cpu->rflags & X86_FLAG_TF;

    if (x86_debug_enabled(cpu)) {
        x86_debug_fetch(cpu);
    }
    cpu->rflags &= ~X86_FLAG_RF;
    cpu->step_ends = false;
    x86_interpret_blocks(cpu, true);
    if (cpu->irq_shadow == SHADOW_MOV_SS && cpu->insns == cpu->shadow_insns) {
        return; /* breakpoints met wait for the next instruction */
    }
    if (tf && !cpu->step_ends) {
        cpu->dr[6] |= X86_DR6_BS;
        cpu->debug_trap = true;
    }
    if (cpu->debug_hits) {
        cpu->dr[6] |= cpu->debug_hits;
        cpu->debug_hits = 0;
        cpu->debug_trap = true;
    }
}

/* A watchpoint met in the one instruction goes first. */
static X86CpuExit step_done(X86Cpu *cpu)
{
    if (!(atomic_fetch_and(&cpu->pending, ~(unsigned)PENDING_DEBUG) & PENDING_DEBUG)) {
        cpu->stop = (X86DebugPoint){.kind = X86_DEBUG_STEP};
    }
    return X86_EXIT_DEBUG;
}

X86CpuExit x86_cpu_run(X86Cpu *cpu)
{
    X86CpuExit why = X86_EXIT_KICKED;

    if (setjmp(cpu->fault)) {
        if (cpu->delivering == X86_EXC_STOP) {
            back_to_op(cpu);
            return X86_EXIT_DEBUG;
        }
        if (!deliver_fault(cpu)) {
            cpu->in_delivery = false;
            cpu->bus->triple_fault(cpu->opaque);
            return X86_EXIT_TRIPLE;
        }
        if (cpu->debug_step) {
            return step_done(cpu);
        }
    }
    cpu->count_step = false;
    x86_blocks_reap(cpu);
    for (;;) {
        cpu->block = NULL;
        if (cpu->insns != cpu->shadow_insns) {
            cpu->irq_shadow = SHADOW_NONE;
        }
        if (cpu->debug_trap) {
            cpu->debug_trap = false;
            take_interrupt(cpu, X86_EXC_DB);
        }
        if (atomic_load(&cpu->pending) && !service(cpu, &why)) {
            return why;
        }
        if (cpu->halted || cpu->wait_sipi) {
            return X86_EXIT_HALTED;
        }
        if (cpu->insns > cpu->insn_soft) {
            if (cpu->insns >= cpu->insn_limit) {
                return X86_EXIT_KICKED;
            }
            cpu->count_step = !(cpu->mode & MODE_TF);
            cpu->mode |= MODE_TF;
        }
        /* What is pending is looked at again after the one instruction in the shadow. */
        if (cpu->irq_shadow && atomic_load(&cpu->pending)) {
            cpu->mode |= MODE_TF;
        }
        if (cpu->mode & MODE_TF) {
            step(cpu);
            cpu->count_step = false;
            x86_update_mode(cpu);
            if (cpu->debug_step) {
                return step_done(cpu);
            }
        } else {
            x86_interpret_blocks(cpu, false);
        }
    }
}

/* --- architectural state --- */

/* XSTATE_BV in the header of an XSAVE area (SDM vol. 1, 13.4.2). */
enum { XSTATE_BV_OFFSET = 512, XSTATE_X87_SSE = 3 };

static void state_of(X86Cpu *cpu, X86CpuState *s)
{
    const uint64_t xstate = XSTATE_X87_SSE;

    memset(s, 0, sizeof(*s));
    memcpy(s->gpr, cpu->gpr, sizeof(s->gpr));
    s->rip = cpu->rip;
    s->rflags = x86_get_rflags(cpu);
    memcpy(s->seg, cpu->seg, sizeof(s->seg));
    s->gdtr = cpu->gdtr;
    s->idtr = cpu->idtr;
    s->cr0 = cpu->cr0;
    s->cr2 = cpu->cr2;
    s->cr3 = cpu->cr3;
    s->cr4 = cpu->cr4;
    s->efer = cpu->efer;
    memcpy(s->dr, cpu->dr, sizeof(s->dr));
    s->star = cpu->star;
    s->lstar = cpu->lstar;
    s->cstar = cpu->cstar;
    s->fmask = cpu->fmask;
    s->kernel_gs_base = cpu->kernel_gs_base;
    s->tsc_aux = cpu->tsc_aux;
    s->pat = cpu->pat;
    s->sysenter_cs = cpu->sysenter_cs;
    s->sysenter_esp = cpu->sysenter_esp;
    s->sysenter_eip = cpu->sysenter_eip;
    s->misc_enable = cpu->misc_enable;
    s->xcr0 = cpu->xcr0;
    s->tsc_offset = cpu->tsc_offset;
    s->mtrr_def_type = cpu->mtrr_def_type;
    memcpy(s->mtrr_fixed, cpu->mtrr_fixed, sizeof(s->mtrr_fixed));
    memcpy(s->mtrr_var, cpu->mtrr_var, sizeof(s->mtrr_var));
    x86_fpu_fxsave(&cpu->fpu, s->xsave, true, 16);
    memcpy(s->xsave + XSTATE_BV_OFFSET, &xstate, sizeof(xstate));
    s->halted = cpu->halted;
    s->wait_sipi = cpu->wait_sipi;
    s->nmi_blocked = cpu->nmi_blocked;
    s->irq_shadow = cpu->insns == cpu->shadow_insns ? cpu->irq_shadow : 0;
    s->smm = cpu->smm;
    s->smbase = cpu->smbase;
    s->a20 = cpu->a20_on;
}

void x86_cpu_get_state(X86Cpu *cpu, X86CpuState *s)
{
    unsigned pending;

    /* These have no place in the state: it is that of after them. */
    take_init(cpu);
    take_sipi(cpu);
    state_of(cpu, s);
    pending = atomic_load(&cpu->pending);
    s->nmi_pending = !!(pending & PENDING_NMI);
    s->events.smi_pending = !!(pending & PENDING_SMI);
    s->events.init_latched = !!(pending & PENDING_INIT);
}

static bool state_valid(const X86CpuState *s)
{
    return !(s->cr0 >> 32) && !((s->cr0 & X86_CR0_PG) && !(s->cr0 & X86_CR0_PE)) &&
           !(s->efer & ~(uint64_t)(X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE)) &&
           !((s->efer & X86_EFER_LMA) && !(s->cr4 & X86_CR4_PAE));
}

bool x86_cpu_set_state(X86Cpu *cpu, const X86CpuState *s)
{
    X86Fpu fpu = cpu->fpu;
    uint64_t xstate;

    memcpy(&xstate, s->xsave + XSTATE_BV_OFFSET, sizeof(xstate));
    if (xstate & XSTATE_X87_SSE) {
        if (x86_fpu_fxrstor(&fpu, s->xsave, true, 16) != X86_SIMD_OK) {
            return false;
        }
    } else {
        x86_fpu_reset(&fpu); /* an empty area, as loaders give it */
    }
    if (!state_valid(s)) {
        return false;
    }
    memcpy(cpu->gpr, s->gpr, sizeof(s->gpr));
    cpu->gpr[SLOT_ZERO] = 0;
    cpu->rip = s->rip;
    memcpy(cpu->seg, s->seg, sizeof(s->seg));
    cpu->gdtr = s->gdtr;
    cpu->idtr = s->idtr;
    cpu->cr0 = s->cr0 | X86_CR0_ET;
    cpu->cr2 = s->cr2;
    cpu->cr3 = s->cr3;
    cpu->cr4 = s->cr4;
    cpu->efer = s->efer;
    memcpy(cpu->dr, s->dr, sizeof(s->dr));
    cpu->star = s->star;
    cpu->lstar = s->lstar;
    cpu->cstar = s->cstar;
    cpu->fmask = s->fmask;
    cpu->kernel_gs_base = s->kernel_gs_base;
    cpu->tsc_aux = s->tsc_aux;
    cpu->pat = s->pat ? s->pat : UINT64_C(0x0007040600070406);
    cpu->sysenter_cs = s->sysenter_cs;
    cpu->sysenter_esp = s->sysenter_esp;
    cpu->sysenter_eip = s->sysenter_eip;
    cpu->misc_enable = s->misc_enable;
    cpu->xcr0 = s->xcr0;
    cpu->tsc_offset = s->tsc_offset;
    cpu->mtrr_def_type = s->mtrr_def_type;
    memcpy(cpu->mtrr_fixed, s->mtrr_fixed, sizeof(s->mtrr_fixed));
    memcpy(cpu->mtrr_var, s->mtrr_var, sizeof(s->mtrr_var));
    cpu->fpu = fpu;
    cpu->halted = s->halted;
    cpu->wait_sipi = s->wait_sipi;
    cpu->nmi_blocked = s->nmi_blocked;
    x86_set_shadow(cpu, s->irq_shadow);
    if (cpu->smm != s->smm) {
        x86_smm_set(cpu, s->smm);
    }
    cpu->smbase = s->smbase;
    cpu->debug_trap = false;
    cpu->debug_hits = 0;
    cpu->in_delivery = false;
    cpu->rflags = 0;
    cc_raw(cpu, 0);
    x86_set_rflags(cpu, s->rflags, UINT32_MAX);
    x86_cpu_set_a20(cpu, s->a20);
    x86_blocks_flush(cpu);
    if ((s->cr0 & X86_CR0_PG) && (s->cr4 & X86_CR4_PAE) && !(s->efer & X86_EFER_LMA)) {
        x86_load_pdptes(cpu, s->cr3);
    }
    x86_update_mode(cpu);
    atomic_fetch_or(&cpu->pending, (s->nmi_pending ? PENDING_NMI : 0u) | (s->events.smi_pending ? PENDING_SMI : 0u) |
                                       (s->events.init_latched ? PENDING_INIT : 0u));
    return true;
}

char *x86_cpu_dump(X86Cpu *cpu)
{
    static const char *const gpr[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                      "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
    static const char *const segs[] = {"ES ", "CS ", "SS ", "DS ", "FS ", "GS ", "LDT", "TR "};
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    for (int i = 0; i < 16; i++) {
        fprintf(out, "%s=%016llx%c", gpr[i], (unsigned long long)cpu->gpr[i], i % 4 == 3 ? '\n' : ' ');
    }
    fprintf(out, "RIP=%016llx RFL=%08llx CPL=%u HLT=%d\n", (unsigned long long)cpu->rip,
            (unsigned long long)x86_get_rflags(cpu), cpu->cpl, cpu->halted);
    for (int i = 0; i < X86_SEG_COUNT; i++) {
        fprintf(out, "%s=%04x %016llx %08x %04x\n", segs[i], cpu->seg[i].selector, (unsigned long long)cpu->seg[i].base,
                cpu->seg[i].limit, cpu->seg[i].attr);
    }
    fprintf(out, "GDT=     %016llx %08x\nIDT=     %016llx %08x\n", (unsigned long long)cpu->gdtr.base, cpu->gdtr.limit,
            (unsigned long long)cpu->idtr.base, cpu->idtr.limit);
    fprintf(out, "CR0=%08llx CR2=%016llx CR3=%016llx CR4=%08llx EFER=%016llx\n", (unsigned long long)cpu->cr0,
            (unsigned long long)cpu->cr2, (unsigned long long)cpu->cr3, (unsigned long long)cpu->cr4,
            (unsigned long long)cpu->efer);
    fclose(out);
    return text;
}
