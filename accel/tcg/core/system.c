/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control registers, debug registers, model-specific registers (SDM vol. 3, 2.5 and vol. 4). */
#include "accel/tcg/core/flags.h"

#define CR0_WRITABLE (X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)
/* Bits of CR4 and the feature each needs; a bit that is not here is reserved. */
static const struct {
    uint32_t bit;
    uint8_t word, feature;
} cr4_bits[] = {
    {X86_CR4_TSD, X86_F_1_EDX, 4}, {X86_CR4_DE, X86_F_1_EDX, 2}, {X86_CR4_PSE, X86_F_1_EDX, 3},
    {X86_CR4_PAE, X86_F_1_EDX, 6}, {X86_CR4_MCE, X86_F_1_EDX, 7}, {X86_CR4_PGE, X86_F_1_EDX, 13},
    {X86_CR4_PCE, X86_F_1_EDX, 0}, {X86_CR4_OSFXSR, X86_F_1_EDX, 24}, {X86_CR4_OSXMMEXCPT, X86_F_1_EDX, 25},
    {X86_CR4_UMIP, X86_F_7_ECX, 2}, {X86_CR4_FSGSBASE, X86_F_7_EBX, 0}, {X86_CR4_PCIDE, X86_F_1_ECX, 17},
    {X86_CR4_OSXSAVE, X86_F_1_ECX, 26}, {X86_CR4_SMEP, X86_F_7_EBX, 7}, {X86_CR4_SMAP, X86_F_7_EBX, 20},
};

uint64_t x86_tsc(X86Cpu *cpu)
{
    return cpu->bus->read_tsc(cpu->opaque) + cpu->tsc_offset;
}

uint64_t x86_read_cr(X86Cpu *cpu, unsigned n)
{
    switch (n) {
    case 0:
        return cpu->cr0;
    case 2:
        return cpu->cr2;
    case 3:
        return cpu->cr3;
    case 4:
        return cpu->cr4;
    case 8:
        return cpu->bus->get_cr8(cpu->opaque);
    default:
        x86_raise_ud(cpu);
    }
}

/* PAE paging keeps the first level in registers; entries with reserved bits are not taken. */
static void load_pdptes(X86Cpu *cpu, uint64_t cr0, uint64_t cr3, uint64_t cr4)
{
    if ((cr0 & X86_CR0_PG) && (cr4 & X86_CR4_PAE) && !(cpu->efer & X86_EFER_LMA) && !x86_load_pdptes(cpu, cr3)) {
        x86_raise_gp(cpu, 0);
    }
}

static void write_cr0(X86Cpu *cpu, uint64_t val)
{
    uint64_t old = cpu->cr0;
    bool paging_on = !(old & X86_CR0_PG) && (val & X86_CR0_PG);

    if (val >> 32 || ((val & X86_CR0_PG) && !(val & X86_CR0_PE)) || ((val & X86_CR0_NW) && !(val & X86_CR0_CD))) {
        x86_raise_gp(cpu, 0);
    }
    val = (val & CR0_WRITABLE) | X86_CR0_ET;
    if (paging_on && (cpu->efer & X86_EFER_LME)) {
        if (!(cpu->cr4 & X86_CR4_PAE) || (cpu->seg[X86_SEG_CS].attr & 0x2000) || (cpu->seg[X86_SEG_TR].attr & 0xf) < 8) {
            x86_raise_gp(cpu, 0);
        }
        cpu->efer |= X86_EFER_LMA;
    } else if (paging_on) {
        load_pdptes(cpu, val, cpu->cr3, cpu->cr4);
    } else if ((old & X86_CR0_PG) && !(val & X86_CR0_PG)) {
        if ((cpu->mode & MODE_LONG64) || (cpu->cr4 & X86_CR4_PCIDE)) {
            x86_raise_gp(cpu, 0);
        }
        cpu->efer &= ~(uint64_t)X86_EFER_LMA;
    }
    cpu->cr0 = val;
    if ((old ^ val) & (X86_CR0_PG | X86_CR0_WP | X86_CR0_PE)) {
        x86_tlb_flush(cpu);
    }
    x86_update_mode(cpu);
}

static void write_cr3(X86Cpu *cpu, uint64_t val)
{
    bool pcid = cpu->cr4 & X86_CR4_PCIDE;

    if (cpu->efer & X86_EFER_LMA) {
        /* Bit 63 with PCIDs: nothing need be dropped; dropping is always allowed. */
        val &= pcid ? ~(UINT64_C(1) << 63) : UINT64_MAX;
        if (val >> X86_PHYS_BITS) {
            x86_raise_gp(cpu, 0);
        }
    } else {
        load_pdptes(cpu, cpu->cr0, val, cpu->cr4);
    }
    cpu->cr3 = val;
    x86_tlb_flush_local(cpu);
}

static void write_cr4(X86Cpu *cpu, uint64_t val)
{
    uint64_t allowed = 0, old = cpu->cr4;
    bool lma = cpu->efer & X86_EFER_LMA;

    for (size_t i = 0; i < sizeof(cr4_bits) / sizeof(cr4_bits[0]); i++) {
        allowed |= x86_has_feature(cpu, cr4_bits[i].word, cr4_bits[i].feature) ? cr4_bits[i].bit : 0;
    }
    if (val & ~allowed || (lma && !(val & X86_CR4_PAE)) ||
        ((val & ~old & X86_CR4_PCIDE) && (!lma || (cpu->cr3 & 0xfff)))) {
        x86_raise_gp(cpu, 0);
    }
    if ((val ^ old) & (X86_CR4_PAE | X86_CR4_PSE | X86_CR4_PGE | X86_CR4_SMEP)) {
        load_pdptes(cpu, cpu->cr0, cpu->cr3, val);
    }
    cpu->cr4 = val;
    x86_tlb_flush(cpu);
    x86_update_mode(cpu);
}

void x86_write_cr(X86Cpu *cpu, unsigned n, uint64_t val)
{
    switch (n) {
    case 0:
        write_cr0(cpu, val);
        break;
    case 2:
        cpu->cr2 = val;
        break;
    case 3:
        write_cr3(cpu, val);
        break;
    case 4:
        write_cr4(cpu, val);
        break;
    case 8:
        if (val >> 4) {
            x86_raise_gp(cpu, 0);
        }
        cpu->bus->set_cr8(cpu->opaque, val);
        break;
    default:
        x86_raise_ud(cpu);
    }
}

/* --- MSRs --- */

enum { MSR_RW, MSR_RO_ZERO, MSR_IGNORE };

typedef struct Msr {
    uint32_t first, last;
    uint8_t kind;
    size_t offset; /* in X86Cpu, of the first */
    uint64_t reserved;
} Msr;

#define FIELD(f) .offset = offsetof(X86Cpu, f)

static const Msr msrs[] = {
    {0x10a, 0x10a, MSR_RO_ZERO, 0, 0},   /* IA32_ARCH_CAPABILITIES */
    {0x8b, 0x8b, MSR_IGNORE, 0, 0},      /* microcode revision */
    {0xfe, 0xfe, MSR_RO_ZERO, 0, 0},     /* MTRRCAP is answered below */
    {0x174, 0x174, MSR_RW, FIELD(sysenter_cs), 0},
    {0x175, 0x175, MSR_RW, FIELD(sysenter_esp), 0},
    {0x176, 0x176, MSR_RW, FIELD(sysenter_eip), 0},
    {0x179, 0x179, MSR_RO_ZERO, 0, 0},   /* MCG_CAP: no banks */
    {0x17a, 0x17b, MSR_IGNORE, 0, 0},
    {0x1a0, 0x1a0, MSR_RW, FIELD(misc_enable), 0},
    {0x200, 0x20f, MSR_RW, FIELD(mtrr_var), 0},
    {0x250, 0x250, MSR_RW, FIELD(mtrr_fixed[0]), 0},
    {0x258, 0x259, MSR_RW, FIELD(mtrr_fixed[1]), 0},
    {0x268, 0x26f, MSR_RW, FIELD(mtrr_fixed[3]), 0},
    {0x2ff, 0x2ff, MSR_RW, FIELD(mtrr_def_type), 0},
    {0x1d9, 0x1d9, MSR_IGNORE, 0, 0},    /* DEBUGCTL */
    {0xc0000081, 0xc0000081, MSR_RW, FIELD(star), 0},
    {0xc0000082, 0xc0000082, MSR_RW, FIELD(lstar), 0},
    {0xc0000083, 0xc0000083, MSR_RW, FIELD(cstar), 0},
    {0xc0000084, 0xc0000084, MSR_RW, FIELD(fmask), 0},
    {0xc0000100, 0xc0000100, MSR_RW, FIELD(seg[X86_SEG_FS].base), 0},
    {0xc0000101, 0xc0000101, MSR_RW, FIELD(seg[X86_SEG_GS].base), 0},
    {0xc0000102, 0xc0000102, MSR_RW, FIELD(kernel_gs_base), 0},
    {0xc0000103, 0xc0000103, MSR_RW, FIELD(tsc_aux), UINT64_C(0xffffffff00000000)},
    {0xc0010010, 0xc0010010, MSR_IGNORE, 0, 0}, /* SYSCFG */
    {0xc0010015, 0xc0010015, MSR_IGNORE, 0, 0}, /* HWCR */
    {0xc001001f, 0xc001001f, MSR_IGNORE, 0, 0}, /* NB_CFG */
    {0xc0010055, 0xc0010055, MSR_RO_ZERO, 0, 0},
    {0xc0011029, 0xc0011029, MSR_IGNORE, 0, 0}, /* DE_CFG */
};

static const Msr *find_msr(uint32_t n)
{
    for (size_t i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
        if (n >= msrs[i].first && n <= msrs[i].last) {
            return &msrs[i];
        }
    }
    return NULL;
}

static uint64_t *msr_field(X86Cpu *cpu, const Msr *msr, uint32_t n)
{
    return (uint64_t *)((char *)cpu + msr->offset) + (n - msr->first);
}

uint64_t x86_rdmsr(X86Cpu *cpu, uint32_t n)
{
    const Msr *msr;
    uint64_t val = 0;

    switch (n) {
    case 0x10:
        return x86_tsc(cpu);
    case 0x1b:
        return cpu->bus->get_apic_base(cpu->opaque);
    case 0x3b:
        return cpu->tsc_offset;
    case 0xfe:
        return 0x508; /* 8 variable ranges, fixed ranges, write combining */
    case 0x277:
        return cpu->pat;
    case 0x6e0: {
        uint64_t tsc = cpu->bus->get_tsc_deadline(cpu->opaque);

        return tsc ? tsc + cpu->tsc_offset : 0;
    }
    case 0xc0000080:
        return cpu->efer;
    default:
        break;
    }
    if (n >= 0x800 && n <= 0x8ff) {
        if (!cpu->bus->x2apic_read(cpu->opaque, n, &val)) {
            x86_raise_gp(cpu, 0);
        }
        return val;
    }
    msr = find_msr(n);
    if (!msr) {
        x86_raise_gp(cpu, 0);
    }
    return msr->kind == MSR_RW ? *msr_field(cpu, msr, n) : 0;
}

static bool pat_valid(uint64_t val)
{
    for (int i = 0; i < 8; i++, val >>= 8) {
        if ((val & 0xff) > 7 || (val & 0xff) == 2 || (val & 0xff) == 3) {
            return false;
        }
    }
    return true;
}

static void write_efer(X86Cpu *cpu, uint64_t val)
{
    const uint64_t allowed = (x86_has_feature(cpu, X86_F_8_EDX, 11) ? X86_EFER_SCE : 0) |
                             (x86_has_feature(cpu, X86_F_8_EDX, 29) ? X86_EFER_LME | X86_EFER_LMA : 0) |
                             (x86_has_feature(cpu, X86_F_8_EDX, 20) ? X86_EFER_NXE : 0);

    if (val & ~allowed || ((cpu->cr0 & X86_CR0_PG) && ((val ^ cpu->efer) & X86_EFER_LME))) {
        x86_raise_gp(cpu, 0);
    }
    cpu->efer = (val & ~(uint64_t)X86_EFER_LMA) | (cpu->efer & X86_EFER_LMA);
    x86_tlb_flush(cpu);
}

static bool is_canonical(uint64_t val)
{
    return (uint64_t)((int64_t)(val << 16) >> 16) == val;
}

static bool is_address_msr(uint32_t n)
{
    return (n >= 0xc0000100 && n <= 0xc0000102) || n == 0xc0000082 || n == 0xc0000083 || n == 0x175 || n == 0x176;
}

void x86_wrmsr(X86Cpu *cpu, uint32_t n, uint64_t val)
{
    const Msr *msr;

    switch (n) {
    case 0x10:
        cpu->tsc_offset = val - cpu->bus->read_tsc(cpu->opaque);
        return;
    case 0x1b:
        if (!cpu->bus->set_apic_base(cpu->opaque, val)) {
            x86_raise_gp(cpu, 0);
        }
        return;
    case 0x3b:
        cpu->tsc_offset = val;
        return;
    case 0x277:
        if (!pat_valid(val)) {
            x86_raise_gp(cpu, 0);
        }
        cpu->pat = val;
        return;
    case 0x6e0:
        cpu->bus->set_tsc_deadline(cpu->opaque, val ? val - cpu->tsc_offset : 0);
        return;
    case 0xc0000080:
        write_efer(cpu, val);
        return;
    default:
        break;
    }
    if (n >= 0x800 && n <= 0x8ff) {
        if (!cpu->bus->x2apic_write(cpu->opaque, n, val)) {
            x86_raise_gp(cpu, 0);
        }
        return;
    }
    msr = find_msr(n);
    if (!msr || msr->kind == MSR_RO_ZERO || (val & msr->reserved) || (is_address_msr(n) && !is_canonical(val))) {
        x86_raise_gp(cpu, 0);
    }
    if (msr->kind == MSR_RW) {
        *msr_field(cpu, msr, n) = val;
    }
}
