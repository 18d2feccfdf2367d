/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Resolves the operands of vector and x87 instructions and calls the functions of accel/tcg/fpu. */
#include "accel/tcg/core/flags.h"
#include "accel/tcg/core/insn.h"
#include "accel/tcg/core/ops.h"

static void raise_simd_fault(X86Cpu *cpu, X86SimdFault fault)
{
    switch (fault) {
    case X86_SIMD_OK:
        return;
    case X86_SIMD_XM:
        x86_raise(cpu, cpu->cr4 & X86_CR4_OSXMMEXCPT ? X86_EXC_XM : X86_EXC_UD, -1);
    case X86_SIMD_MF:
        x86_raise(cpu, X86_EXC_MF, -1);
    case X86_SIMD_GP:
        x86_raise_gp(cpu, 0);
    case X86_SIMD_UD:
        x86_raise_ud(cpu);
    }
}

static bool is_memory_kind(unsigned kind)
{
    return kind == X86_OPD_XMM_RM || kind == X86_OPD_MMX_RM || kind == X86_OPD_GPR_RM || kind == X86_OPD_XMM_ONLY ||
           kind == X86_OPD_MMX_ONLY || kind == X86_OPD_MEM_ONLY;
}

static bool is_mmx_kind(unsigned kind)
{
    return kind == X86_OPD_MMX || kind == X86_OPD_MMX_RM || kind == X86_OPD_MMX_ONLY;
}

static bool is_gpr_kind(unsigned kind)
{
    return kind == X86_OPD_GPR || kind == X86_OPD_GPR_RM;
}

/* ModRM.reg is in aux; the rm register number is in the ModRM byte and r2's place was taken by the immediate. */
static void *register_operand(X86Cpu *cpu, const Op *op, unsigned kind)
{
    unsigned n = is_memory_kind(kind) ? (op->aux2 & 7u) | (op->scale & 1u) << 3 : op->aux;

    if (is_mmx_kind(kind)) {
        return &cpu->fpu.st[n & 7];
    }
    return is_gpr_kind(kind) ? (void *)&cpu->gpr[n] : (void *)&cpu->fpu.xmm[n];
}

static void check_state(X86Cpu *cpu, const X86SimdInsn *insn)
{
    bool mmx = insn->feature == X86_SIMD_FEAT_MMX;

    if ((cpu->cr0 & X86_CR0_EM) || (!mmx && !(cpu->cr4 & X86_CR4_OSFXSR))) {
        x86_raise_ud(cpu);
    }
    if (cpu->cr0 & X86_CR0_TS) {
        x86_raise(cpu, X86_EXC_NM, -1);
    }
    if ((insn->flags & X86_SIMD_MMX_STATE) && x86_fpu_pending(&cpu->fpu)) {
        x86_raise(cpu, X86_EXC_MF, -1);
    }
}

/* MMX instructions leave the register stack at its beginning, all registers valid (SDM vol. 1, 9.5). */
static void enter_mmx(X86Cpu *cpu, const X86SimdInsn *insn)
{
    if (insn->flags & X86_SIMD_MMX_STATE) {
        cpu->fpu.top = 0;
        cpu->fpu.ftw = 0xff;
    }
}

static void maskmov(X86Cpu *cpu, const Op *op, const uint8_t *data, const uint8_t *mask, unsigned n)
{
    uint64_t linear = insn_di_ea(cpu, op);

    /* The bytes may lie in two pages: none is written when one cannot be. */
    for (unsigned i = 0; i < n; i++) {
        if (mask[i] & 0x80) {
            x86_seg_check(cpu, op->seg, (cpu->gpr[X86_RDI] + i) & insn_addr_mask(op), 1, true);
            x86_probe_write(cpu, linear + i, 1);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        if (mask[i] & 0x80) {
            x86_store_slow(cpu, linear + i, data[i], 1);
        }
    }
}

void x86_fn_simd(X86Cpu *cpu, const Op *op)
{
    const X86SimdInsn *insn = (const X86SimdInsn *)(uintptr_t)op->imm;
    unsigned size = insn->mem_size ? insn->mem_size : op->rexw ? 8 : 4;
    bool dst_mem = op->mem && is_memory_kind(insn->dst), src_mem = op->mem && is_memory_kind(insn->src);
    X86SimdCtx ctx = {.fpu = &cpu->fpu, .imm = op->r2, .rexw = op->rexw, .src_is_mem = src_mem, .dst_is_mem = dst_mem,
                      .eflags = 0, .gpr_a = cpu->gpr[X86_RAX], .gpr_d = cpu->gpr[X86_RDX]};
    X86Vec buffer, dst_buffer;
    uint64_t linear = 0;
    const void *src = NULL;
    void *dst = NULL;

    check_state(cpu, insn);
    if (op->mem) {
        linear = insn_ea(cpu, op);
        if ((insn->flags & X86_SIMD_ALIGNED) && size == 16 && linear & 15) {
            x86_raise_gp(cpu, 0);
        }
    }
    if (op->mem ? insn->dst == X86_OPD_XMM_ONLY || insn->src == X86_OPD_XMM_ONLY || insn->src == X86_OPD_MMX_ONLY ||
                      insn->dst == X86_OPD_MMX_ONLY
                : insn->dst == X86_OPD_MEM_ONLY || insn->src == X86_OPD_MEM_ONLY) {
        x86_raise_ud(cpu);
    }
    if (src_mem) {
        x86_load_bytes(cpu, linear, &buffer, size);
        src = &buffer;
    } else if (insn->src != X86_OPD_NONE) {
        src = register_operand(cpu, op, insn->src);
    }
    if (insn->flags & X86_SIMD_MASKMOV) {
        const void *data = register_operand(cpu, op, insn->dst);

        maskmov(cpu, op, data, src, is_mmx_kind(insn->src) ? 8 : 16);
        enter_mmx(cpu, insn);
        return;
    }
    if (insn->flags & X86_SIMD_EFLAGS) {
        ctx.eflags = x86_get_rflags(cpu);
    }
    memset(&dst_buffer, 0, sizeof(dst_buffer));
    if (dst_mem) {
        if (insn->flags & X86_SIMD_READ_DST) {
            x86_load_bytes(cpu, linear, &dst_buffer, size);
        }
        dst = &dst_buffer;
    } else if (insn->dst != X86_OPD_NONE) {
        dst = register_operand(cpu, op, insn->dst);
        if (is_gpr_kind(insn->dst)) {
            memcpy(&dst_buffer, dst, 8);
            dst = &dst_buffer;
        }
    }
    if (dst_mem && (insn->flags & X86_SIMD_MMX_STATE)) {
        x86_probe_write(cpu, linear, size);
    }
    enter_mmx(cpu, insn); /* even when the conversion then raises #XM */
    raise_simd_fault(cpu, insn->fn(&ctx, dst, src));
    if (insn->flags & X86_SIMD_EFLAGS) {
        cc_raw(cpu, (uint32_t)ctx.eflags);
    }
    if (ctx.write_gpr_c) {
        cpu->gpr[X86_RCX] = ctx.gpr_c;
    }
    if (dst_mem && !(insn->flags & X86_SIMD_NO_WRITE)) {
        x86_store_bytes(cpu, linear, &dst_buffer, size);
    } else if (is_gpr_kind(insn->dst) && !(insn->flags & X86_SIMD_NO_WRITE)) {
        uint64_t *reg = register_operand(cpu, op, insn->dst);

        *reg = op->rexw ? dst_buffer.u64[0] : dst_buffer.u32[0];
    }
}

static void emms(X86Cpu *cpu)
{
    if (cpu->cr0 & X86_CR0_EM) {
        x86_raise_ud(cpu);
    }
    if (cpu->cr0 & X86_CR0_TS) {
        x86_raise(cpu, X86_EXC_NM, -1);
    }
    if (x86_fpu_pending(&cpu->fpu)) {
        x86_raise(cpu, X86_EXC_MF, -1);
    }
    cpu->fpu.top = 0;
    cpu->fpu.ftw = 0;
}

void x86_fn_fpu(X86Cpu *cpu, const Op *op)
{
    const X86FpuInsn *insn;
    uint8_t buffer[128] __attribute__((aligned(16))) = {0};
    uint64_t linear = 0, fip = cpu->gpr[SLOT_RIP] + op->off;
    unsigned rd, wr;
    X86FpuCtx ctx;

    if (op->aux == 0x77) { /* EMMS */
        emms(cpu);
        return;
    }
    if (op->aux == 0x9b) { /* FWAIT */
        if ((cpu->cr0 & (X86_CR0_MP | X86_CR0_TS)) == (X86_CR0_MP | X86_CR0_TS)) {
            x86_raise(cpu, X86_EXC_NM, -1);
        }
        if (x86_fpu_pending(&cpu->fpu)) {
            x86_raise(cpu, X86_EXC_MF, -1);
        }
        return;
    }
    if (cpu->cr0 & (X86_CR0_EM | X86_CR0_TS)) {
        x86_raise(cpu, X86_EXC_NM, -1);
    }
    insn = x86_fpu_lookup(op->aux, op->aux2);
    if (!insn) {
        x86_raise_ud(cpu);
    }
    if (!insn->no_wait && x86_fpu_pending(&cpu->fpu)) {
        x86_raise(cpu, X86_EXC_MF, -1);
    }
    rd = insn->mem_read;
    wr = insn->mem_write;
    if (insn->env && op->osize == 2) {
        rd = rd ? rd - 14 : 0; /* 28 -> 14, 108 -> 94 */
        wr = wr ? wr - 14 : 0;
    }
    if (op->mem) {
        linear = insn_ea(cpu, op);
    }
    if (rd) {
        x86_load_bytes(cpu, linear, buffer, rd);
    }
    if (wr) {
        x86_probe_write(cpu, linear, wr);
    }
    ctx = (X86FpuCtx){.fpu = &cpu->fpu, .opcode = op->aux, .modrm = op->aux2, .opsize = op->osize,
                      .protected_mode = (cpu->cr0 & X86_CR0_PE) && !(cpu->rflags & X86_FLAG_VM),
                      .long_mode = cpu->mode & MODE_LONG64, .fip = fip, .fdp = linear,
                      .fcs = cpu->seg[X86_SEG_CS].selector, .fds = cpu->seg[op->seg].selector,
                      .eflags = x86_get_rflags(cpu), .ax = (uint16_t *)&cpu->gpr[X86_RAX],
                      .cr0_ne = cpu->cr0 & X86_CR0_NE};
    raise_simd_fault(cpu, insn->fn(&ctx, buffer));
    if (wr && !ctx.skip_write) {
        x86_store_bytes(cpu, linear, buffer, wr);
    }
    if (insn->writes_eflags) {
        cc_raw(cpu, (uint32_t)ctx.eflags);
    }
}

/* 0F AE memory forms: FXSAVE, FXRSTOR, LDMXCSR, STMXCSR, CLFLUSH. */
void x86_fn_fxsave(X86Cpu *cpu, const Op *op)
{
    unsigned digit = op->aux2 >> 3 & 7, xmms = cpu->mode & MODE_LONG64 ? 16 : 8;
    uint64_t linear = insn_ea(cpu, op);
    uint8_t image[512] __attribute__((aligned(16))) = {0};
    uint32_t mxcsr;

    if (digit == 7) { /* CLFLUSH: the caches are coherent; the address is still checked */
        x86_load_slow(cpu, linear, 1);
        return;
    }
    if (op->imm) {
        x86_raise_ud(cpu);
    }
    if (digit > 3) {
        if (digit == 6 && !x86_has_feature(cpu, X86_F_D1_EAX, 0)) {
            x86_raise_ud(cpu);
        }
        (digit == 5 ? x86_xrstor : x86_xsave)(cpu, op, linear);
        return;
    }
    if (cpu->cr0 & X86_CR0_EM) {
        x86_raise(cpu, digit < 2 ? X86_EXC_NM : X86_EXC_UD, -1);
    }
    if (digit >= 2 && !(cpu->cr4 & X86_CR4_OSFXSR)) {
        x86_raise_ud(cpu);
    }
    if (cpu->cr0 & X86_CR0_TS) {
        x86_raise(cpu, X86_EXC_NM, -1);
    }
    switch (digit) {
    case 0:
    case 1:
        if (linear & 15) {
            x86_raise_gp(cpu, 0);
        }
        if (digit == 0) {
            x86_load_bytes(cpu, linear, image, sizeof(image)); /* reserved bytes keep what they hold */
            x86_fpu_fxsave(&cpu->fpu, image, op->rexw, xmms);
            x86_store_bytes(cpu, linear, image, sizeof(image));
        } else {
            x86_load_bytes(cpu, linear, image, sizeof(image));
            raise_simd_fault(cpu, x86_fpu_fxrstor(&cpu->fpu, image, op->rexw, xmms));
        }
        break;
    case 2:
        mxcsr = (uint32_t)x86_load_slow(cpu, linear, 4);
        if (mxcsr & ~X86_MXCSR_MASK) {
            x86_raise_gp(cpu, 0);
        }
        cpu->fpu.mxcsr = mxcsr;
        break;
    default:
        x86_store_slow(cpu, linear, cpu->fpu.mxcsr, 4);
        break;
    }
}
