/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XSAVE, XRSTOR and XCR0 (SDM vol. 1, chapter 13) in the standard format.  The
 * state components are x87 and SSE; AVX has its place behind the header, so it
 * joins by an entry in the table.
 */
#include "accel/tcg/core/flags.h"
#include "accel/tcg/core/insn.h"
#include "accel/tcg/core/ops.h"

enum { XSTATE_X87 = 1, XSTATE_SSE = 2, XSAVE_HEADER = 512, XSAVE_HEADER_BYTES = 64, XSAVE_AREA = 576, XSAVE_ALIGN = 64 };
enum { LEGACY_MXCSR = 24, LEGACY_ST = 32, LEGACY_XMM = 160, LEGACY_XMM_END = 416 };

/* Components of the extended region; none yet. */
#define XSTATE_SUPPORTED ((uint64_t)(XSTATE_X87 | XSTATE_SSE))

static void require_osxsave(X86Cpu *cpu)
{
    if (!(cpu->cr4 & X86_CR4_OSXSAVE)) {
        x86_raise_ud(cpu);
    }
}

uint64_t x86_xsave_supported(const X86Cpu *cpu)
{
    return x86_has_feature(cpu, X86_F_1_ECX, 26) ? XSTATE_SUPPORTED : 0;
}

unsigned x86_xsave_bytes(uint64_t components)
{
    return components ? XSAVE_AREA : 0;
}

void x86_xgetbv(X86Cpu *cpu)
{
    require_osxsave(cpu);
    if ((uint32_t)cpu->gpr[X86_RCX]) {
        x86_raise_gp(cpu, 0);
    }
    cpu->gpr[X86_RAX] = (uint32_t)cpu->xcr0;
    cpu->gpr[X86_RDX] = cpu->xcr0 >> 32;
}

void x86_xsetbv(X86Cpu *cpu)
{
    uint64_t val = cpu->gpr[X86_RDX] << 32 | (uint32_t)cpu->gpr[X86_RAX];

    require_osxsave(cpu);
    if (cpu->cpl || (uint32_t)cpu->gpr[X86_RCX] || !(val & XSTATE_X87) || (val & ~XSTATE_SUPPORTED)) {
        x86_raise_gp(cpu, 0);
    }
    cpu->xcr0 = val;
}

/* What every one of these instructions checks; returns the requested components. */
static uint64_t xsave_begin(X86Cpu *cpu, uint64_t linear)
{
    require_osxsave(cpu);
    if (cpu->cr0 & X86_CR0_TS) {
        x86_raise(cpu, X86_EXC_NM, -1);
    }
    if (linear & (XSAVE_ALIGN - 1)) {
        x86_raise_gp(cpu, 0);
    }
    return cpu->xcr0 & (cpu->gpr[X86_RDX] << 32 | (uint32_t)cpu->gpr[X86_RAX]);
}

void x86_xsave(X86Cpu *cpu, const Op *op, uint64_t linear)
{
    uint64_t rfbm = xsave_begin(cpu, linear), present;
    uint8_t image[XSAVE_HEADER] __attribute__((aligned(16))) = {0};
    unsigned xmms = cpu->mode & MODE_LONG64 ? 16 : 8;

    x86_probe_write(cpu, linear, XSAVE_AREA);
    x86_fpu_fxsave(&cpu->fpu, image, op->rexw, xmms);
    if (rfbm & XSTATE_X87) {
        x86_store_bytes(cpu, linear, image, LEGACY_MXCSR);
        x86_store_bytes(cpu, linear + LEGACY_ST, image + LEGACY_ST, LEGACY_XMM - LEGACY_ST);
    }
    if (rfbm & XSTATE_SSE) {
        x86_store_bytes(cpu, linear + LEGACY_MXCSR, image + LEGACY_MXCSR, LEGACY_ST - LEGACY_MXCSR);
        x86_store_bytes(cpu, linear + LEGACY_XMM, image + LEGACY_XMM, 16 * xmms);
    }
    /* Both components always count as in use, as a processor may have it. */
    present = x86_load_slow(cpu, linear + XSAVE_HEADER, 8);
    x86_store_slow(cpu, linear + XSAVE_HEADER, (present & ~rfbm) | rfbm, 8);
}

static void restore_sse(X86Cpu *cpu, const uint8_t *image, bool present)
{
    unsigned xmms = cpu->mode & MODE_LONG64 ? 16 : 8;

    for (unsigned i = 0; i < xmms; i++) {
        if (present) {
            memcpy(&cpu->fpu.xmm[i], image + LEGACY_XMM + 16 * i, 16);
        } else {
            memset(&cpu->fpu.xmm[i], 0, 16);
        }
    }
}

/* The x87 part alone: the others are put back behind FXRSTOR. */
static void restore_x87(X86Cpu *cpu, uint8_t *image, bool present, bool rexw)
{
    uint32_t mxcsr = cpu->fpu.mxcsr;

    if (present) {
        memcpy(image + LEGACY_MXCSR, &mxcsr, sizeof(mxcsr));
        x86_fpu_fxrstor(&cpu->fpu, image, rexw, 0);
        return;
    }
    x86_fpu_init(&cpu->fpu);
    memset(cpu->fpu.st, 0, sizeof(cpu->fpu.st));
    cpu->fpu.mxcsr = mxcsr;
}

void x86_xrstor(X86Cpu *cpu, const Op *op, uint64_t linear)
{
    uint64_t rfbm = xsave_begin(cpu, linear), header[XSAVE_HEADER_BYTES / 8];
    uint8_t image[XSAVE_HEADER] __attribute__((aligned(16)));
    uint32_t mxcsr;

    x86_load_bytes(cpu, linear, image, sizeof(image));
    x86_load_bytes(cpu, linear + XSAVE_HEADER, header, sizeof(header));
    memcpy(&mxcsr, image + LEGACY_MXCSR, sizeof(mxcsr));
    /* XCOMP_BV and what follows must be 0: the compacted format is not there. */
    if ((header[0] & ~cpu->xcr0) || header[1] || header[2] || ((rfbm & XSTATE_SSE) && (mxcsr & ~X86_MXCSR_MASK))) {
        x86_raise_gp(cpu, 0);
    }
    if (rfbm & XSTATE_SSE) {
        cpu->fpu.mxcsr = mxcsr;
        restore_sse(cpu, image, header[0] & XSTATE_SSE);
    }
    if (rfbm & XSTATE_X87) {
        restore_x87(cpu, image, header[0] & XSTATE_X87, op->rexw);
    }
}
