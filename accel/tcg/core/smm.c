/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System management mode: entry by SMI and exit by RSM with the 64-bit save
 * state map (AMD APM vol. 2, 10.2: table 10-1; SDM vol. 3, chapter 30).
 */
#include "accel/tcg/core/descriptor.h"
#include "accel/tcg/core/flags.h"

enum {
    SMM_ENTRY = 0x8000,          /* from SMBASE: the handler */
    SMM_MAP = 0xfe00,            /* and the save state map */
    SMM_REVISION = 0x00020064,   /* 64-bit map, SMBASE can be moved */
    SMM_SEGS = 0xfe00,           /* ES CS SS DS FS GS, 16 bytes each */
    SMM_GDTR = 0xfe60, SMM_LDTR = 0xfe70, SMM_IDTR = 0xfe80, SMM_TR = 0xfe90,
    SMM_HALT = 0xfec9, SMM_EFER = 0xfed0, SMM_REVISION_ID = 0xfefc, SMM_SMBASE = 0xff00,
    SMM_CR4 = 0xff48, SMM_CR3 = 0xff50, SMM_CR0 = 0xff58, SMM_DR7 = 0xff60, SMM_DR6 = 0xff68,
    SMM_RFLAGS = 0xff70, SMM_RIP = 0xff78, SMM_R15 = 0xff80, /* down to R8, then RDI, RSI, ... RAX */
};

static void put(X86Cpu *cpu, unsigned offset, uint64_t val, unsigned size)
{
    x86_phys_write(cpu, cpu->smbase + offset, val, size);
}

static uint64_t get(X86Cpu *cpu, unsigned offset, unsigned size)
{
    return x86_phys_read(cpu, cpu->smbase + offset, size);
}

static void put_segment(X86Cpu *cpu, unsigned offset, const X86SegState *seg)
{
    put(cpu, offset, seg->selector, 2);
    put(cpu, offset + 2, seg->attr, 2);
    put(cpu, offset + 4, seg->limit, 4);
    put(cpu, offset + 8, seg->base, 8);
}

static X86SegState get_segment(X86Cpu *cpu, unsigned offset)
{
    return (X86SegState){.selector = (uint16_t)get(cpu, offset, 2), .attr = (uint16_t)get(cpu, offset + 2, 2),
                         .limit = (uint32_t)get(cpu, offset + 4, 4), .base = get(cpu, offset + 8, 8)};
}

/* R15 down to R8 and RDI down to RAX lie in one row. */
static unsigned gpr_offset(unsigned n)
{
    return SMM_R15 + 8 * (15 - n);
}

void x86_smm_set(X86Cpu *cpu, bool on)
{
    cpu->smm = on;
    x86_update_a20(cpu);
    if (cpu->bus->set_smm) {
        cpu->bus->set_smm(cpu->opaque, on);
    }
    x86_bus_flush(cpu);
}

static void save_state(X86Cpu *cpu, bool halted)
{
    for (unsigned i = 0; i < 6; i++) {
        put_segment(cpu, SMM_SEGS + 16 * i, &cpu->seg[i]);
    }
    put_segment(cpu, SMM_LDTR, &cpu->seg[X86_SEG_LDTR]);
    put_segment(cpu, SMM_TR, &cpu->seg[X86_SEG_TR]);
    put(cpu, SMM_GDTR + 4, cpu->gdtr.limit, 4);
    put(cpu, SMM_GDTR + 8, cpu->gdtr.base, 8);
    put(cpu, SMM_IDTR + 4, cpu->idtr.limit, 4);
    put(cpu, SMM_IDTR + 8, cpu->idtr.base, 8);
    put(cpu, SMM_HALT, halted, 1);
    put(cpu, SMM_EFER, cpu->efer, 8);
    put(cpu, SMM_REVISION_ID, SMM_REVISION, 4);
    put(cpu, SMM_SMBASE, cpu->smbase, 4);
    put(cpu, SMM_CR4, cpu->cr4, 8);
    put(cpu, SMM_CR3, cpu->cr3, 8);
    put(cpu, SMM_CR0, cpu->cr0, 8);
    put(cpu, SMM_DR7, cpu->dr[7], 8);
    put(cpu, SMM_DR6, cpu->dr[6], 8);
    put(cpu, SMM_RFLAGS, x86_get_rflags(cpu), 8);
    put(cpu, SMM_RIP, cpu->rip, 8);
    for (unsigned i = 0; i < 16; i++) {
        put(cpu, gpr_offset(i), cpu->gpr[i], 8);
    }
}

void x86_smm_enter(X86Cpu *cpu)
{
    bool halted = cpu->halted;

    x86_smm_set(cpu, true);
    save_state(cpu, halted);
    cpu->halted = false;
    cpu->smm_nmi_blocked = cpu->nmi_blocked;
    cpu->nmi_blocked = true;
    cpu->cr0 &= ~(uint64_t)(X86_CR0_PE | X86_CR0_EM | X86_CR0_TS | X86_CR0_PG);
    cpu->cr4 = 0;
    cpu->efer = 0;
    cpu->dr[7] = 0x400;
    for (unsigned i = 0; i < 6; i++) {
        cpu->seg[i] = (X86SegState){.limit = UINT32_MAX, .attr = 0x8093};
    }
    cpu->seg[X86_SEG_CS].selector = (uint16_t)(cpu->smbase >> 4);
    cpu->seg[X86_SEG_CS].base = cpu->smbase;
    cpu->rip = SMM_ENTRY;
    x86_set_rflags(cpu, 0, UINT32_MAX);
    x86_update_mode(cpu);
}

static bool saved_state_valid(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    bool pg = cr0 & X86_CR0_PG;

    return !(cr0 >> 32) && !(pg && !(cr0 & X86_CR0_PE)) && !((cr0 & X86_CR0_NW) && !(cr0 & X86_CR0_CD)) &&
           !(pg && (efer & X86_EFER_LME) && !(cr4 & X86_CR4_PAE));
}

/* The state RSM is left with; false: the processor shuts down. */
static bool restore_state(X86Cpu *cpu)
{
    uint64_t cr0 = get(cpu, SMM_CR0, 8), cr4 = get(cpu, SMM_CR4, 8), efer = get(cpu, SMM_EFER, 8), cr3 = get(cpu, SMM_CR3, 8);

    if (!saved_state_valid(cr0, cr4, efer)) {
        return false;
    }
    cpu->cr0 = cr0 | X86_CR0_ET;
    cpu->cr3 = cr3;
    cpu->cr4 = cr4;
    cpu->efer = efer & (X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE);
    cpu->dr[6] = (uint32_t)get(cpu, SMM_DR6, 8);
    cpu->dr[7] = (uint32_t)get(cpu, SMM_DR7, 8);
    for (unsigned i = 0; i < 6; i++) {
        cpu->seg[i] = get_segment(cpu, SMM_SEGS + 16 * i);
    }
    cpu->seg[X86_SEG_LDTR] = get_segment(cpu, SMM_LDTR);
    cpu->seg[X86_SEG_TR] = get_segment(cpu, SMM_TR);
    cpu->gdtr = (X86TableState){get(cpu, SMM_GDTR + 8, 8), (uint32_t)get(cpu, SMM_GDTR + 4, 4)};
    cpu->idtr = (X86TableState){get(cpu, SMM_IDTR + 8, 8), (uint32_t)get(cpu, SMM_IDTR + 4, 4)};
    for (unsigned i = 0; i < 16; i++) {
        cpu->gpr[i] = get(cpu, gpr_offset(i), 8);
    }
    cpu->rip = get(cpu, SMM_RIP, 8);
    x86_set_rflags(cpu, get(cpu, SMM_RFLAGS, 8), UINT32_MAX);
    cpu->halted = get(cpu, SMM_HALT, 1) & 1;
    cpu->smbase = (uint32_t)get(cpu, SMM_SMBASE, 4);
    return true;
}

void x86_smm_leave(X86Cpu *cpu)
{
    bool ok;

    if (!cpu->smm) {
        x86_raise_ud(cpu);
    }
    ok = restore_state(cpu);
    cpu->nmi_blocked = cpu->smm_nmi_blocked;
    x86_smm_set(cpu, false);
    if (!ok) {
        /* Shutdown: the same end as a triple fault. */
        cpu->in_delivery = true;
        cpu->fault_vector = X86_EXC_DF;
        x86_raise(cpu, X86_EXC_DF, 0);
    }
    if ((cpu->cr0 & X86_CR0_PG) && (cpu->cr4 & X86_CR4_PAE) && !(cpu->efer & X86_EFER_LMA)) {
        x86_load_pdptes(cpu, cpu->cr3);
    }
    x86_update_mode(cpu);
    if (cpu->halted) {
        x86_cpu_kick(cpu);
    }
}
