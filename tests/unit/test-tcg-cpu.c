/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The software CPU on a small fake machine: each exception with its vector,
 * error code and saved instruction pointer, precise state when an instruction
 * with several memory operands faults, and when events are taken (Intel SDM
 * vol. 3, chapter 6; vol. 2 for each instruction).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/tcg/rig.h"

enum { DE = 0, DB = 1, NMI = 2, BP = 3, OF = 4, BR = 5, UD = 6, NM = 7, DF = 8, TS = 10, NP = 11, SS = 12, GP = 13, PF = 14,
       MF = 16, AC = 17, XM = 19, DONE = RIG_VECTOR_DONE };
enum { PAGE = 4096, HOLE = RIG_DATA + 8 * PAGE, NONCANONICAL_SHIFT = 47 };
#define NONCANONICAL (UINT64_C(1) << NONCANONICAL_SHIFT)
#define RF UINT64_C(0x10000)

static int setup(void **state)
{
    *state = rig_new("max");
    return 0;
}

static int teardown(void **state)
{
    rig_free(*state);
    return 0;
}

/* --- one snippet, one exception --- */

SNIPPET(s_div, 64, "div %ecx");
SNIPPET(s_idiv_overflow, 64, "idivq %rcx");
SNIPPET(s_int1, 64, ".byte 0xf1");
SNIPPET(s_int3, 64, "int3");
SNIPPET(s_int3_long, 64, ".byte 0xcd, 3");
SNIPPET(s_into, 32, "movb $0x7f, %al\n incb %al\n into");
SNIPPET(s_bound, 32, "movl $0x40000, %ebx\n movl $5, (%ebx)\n movl $7, 4(%ebx)\n movl $8, %eax\n bound %eax, (%ebx)");
SNIPPET(s_ud2, 64, "ud2");
SNIPPET(s_lock_reg, 64, ".byte 0xf0, 0x01, 0xc0");
SNIPPET(s_lock_cmp, 64, ".byte 0xf0, 0x39, 0x03");
SNIPPET(s_long_only, 64, ".byte 0x06");
SNIPPET(s_fld1, 64, "fld1");
SNIPPET(s_fwait, 64, "fwait");
SNIPPET(s_addps, 64, "addps %xmm1, %xmm0");
SNIPPET(s_paddb_mmx, 64, "paddb %mm1, %mm0");
SNIPPET(s_divps, 64, "divps %xmm1, %xmm0");
SNIPPET(s_x87_zero_divide, 64, "fldz\n fld1\n fdivp\n fld1");
SNIPPET(s_load_rbx, 64, "movq (%rbx), %rax");
SNIPPET(s_load_rsp, 64, "movq (%rsp), %rax");
SNIPPET(s_load_rbp, 64, "movq 8(%rbp), %rax");
SNIPPET(s_load_ds_rbp, 64, ".byte 0x3e\n movq 8(%rbp), %rax");
SNIPPET(s_load_fs_rsp, 64, "movq %fs:(%rsp), %rax");
SNIPPET(s_push, 64, "pushq %rax");
SNIPPET(s_push_mem, 64, "pushq (%rbx)");
SNIPPET(s_pop, 64, "popq %rax");
SNIPPET(s_ret, 64, "ret");
SNIPPET(s_call_mem, 64, "call *(%rbx)");
SNIPPET(s_call_reg, 64, "call *%rbx");
SNIPPET(s_jmp_reg, 64, "jmp *%rbx");
SNIPPET(s_jmp_mem, 64, "jmp *(%rbx)");
SNIPPET(s_enter, 64, "enter $16, $0");
SNIPPET(s_leave, 64, "leave");
SNIPPET(s_movaps, 64, "movaps (%rbx), %xmm0");
SNIPPET(s_fxsave, 64, "fxsave (%rbx)");
SNIPPET(s_cmpxchg16b, 64, "cmpxchg16b (%rbx)");
SNIPPET(s_wrmsr, 64, "wrmsr");
SNIPPET(s_rdmsr, 64, "rdmsr");
SNIPPET(s_hlt, 64, "hlt");
SNIPPET(s_cli, 64, "cli");
SNIPPET(s_in, 64, "inb $0x80, %al");
SNIPPET(s_mov_cr0, 64, "movq %rax, %cr0");
SNIPPET(s_mov_cr3, 64, "movq %rax, %cr3");
SNIPPET(s_mov_cr4, 64, "movq %rax, %cr4");
SNIPPET(s_mov_cr8, 64, "movq %rax, %cr8");
SNIPPET(s_mov_cr1, 64, ".byte 0x0f, 0x22, 0xc8");
SNIPPET(s_mov_ds, 64, "movl %eax, %ds");
SNIPPET(s_mov_ss, 64, "movl %eax, %ss");
SNIPPET(s_mov_cs, 64, ".byte 0x8e, 0xc8");
SNIPPET(s_ltr, 64, "ltr %ax");
SNIPPET(s_lldt, 64, "lldt %ax");
SNIPPET(s_ldmxcsr, 64, "ldmxcsr (%rbx)");
SNIPPET(s_int40, 64, "int $0x40");
SNIPPET(s_longest, 64, ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90");
SNIPPET(s_too_long, 64, ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90");

SNIPPET(s_load32, 32, "movl (%ebx), %eax");
SNIPPET(s_store_cs, 32, "movl %eax, %cs:(%ebx)");
SNIPPET(s_push32, 32, "pushl %eax");
SNIPPET(s_align4, 64, "movl 1(%rbx), %eax");
SNIPPET(s_align2, 64, "movw %ax, 1(%rbx)");
SNIPPET(s_aligned, 64, "movl 4(%rbx), %eax\n movw %ax, 2(%rbx)\n movb %al, 1(%rbx)\n movups 4(%rbx), %xmm0");

typedef struct ExceptionCase {
    const char *name;
    const uint8_t *code, *end;
    RigMode mode;
    uint8_t cpl;
    void (*prepare)(Rig *rig);
    unsigned vector;
    uint64_t error;
    unsigned at; /* saved RIP from the start of the code */
    bool fault;  /* RF is set in the saved flags */
} ExceptionCase;

static void p_overflow(Rig *rig)
{
    rig->s.gpr[X86_RAX] = 0;
    rig->s.gpr[X86_RDX] = UINT64_C(1) << 63;
    rig->s.gpr[X86_RCX] = UINT64_MAX;
}

static void p_gate_dpl0(Rig *rig)
{
    for (unsigned vector = 0; vector < 256; vector++) {
        rig_put_gate(rig, vector, RIG_CS64, RIG_STUBS + vector * RIG_STUB_BYTES, 0xe, 0, 0);
    }
}

static void p_gate_missing(Rig *rig)
{
    rig_put64(rig, RIG_IDT + 0x40 * 16, rig_get64(rig, RIG_IDT + 0x40 * 16) & ~(UINT64_C(1) << 47));
}

static void p_idt_short(Rig *rig)
{
    rig->s.idtr.limit = 0x3ff;
}

static void p_ts(Rig *rig)
{
    rig->s.cr0 |= 8;
}

static void p_ts_mp(Rig *rig)
{
    rig->s.cr0 |= 8 | 2;
}

static void p_em(Rig *rig)
{
    rig->s.cr0 |= 4;
}

static void p_no_osfxsr(Rig *rig)
{
    rig->s.cr4 &= ~UINT64_C(0x200);
}

static void p_x87_unmasked(Rig *rig)
{
    const uint64_t xstate = 3;
    const uint16_t fcw = 0x37b; /* zero divide */
    const uint32_t mxcsr = 0x1f80;

    memset(rig->s.xsave, 0, sizeof(rig->s.xsave));
    memcpy(rig->s.xsave, &fcw, 2);
    memcpy(rig->s.xsave + 24, &mxcsr, 4);
    memcpy(rig->s.xsave + 512, &xstate, 8);
}

static void p_sse_unmasked(Rig *rig)
{
    const uint32_t mxcsr = 0x1f80 & ~(1u << 7); /* invalid operation: 0 / 0 */

    p_x87_unmasked(rig);
    memcpy(rig->s.xsave + 24, &mxcsr, 4);
}

static void p_sse_unmasked_ud(Rig *rig)
{
    p_sse_unmasked(rig);
    rig->s.cr4 &= ~UINT64_C(0x400);
}

static void p_x87_pending(Rig *rig)
{
    const uint16_t fsw = 0x8084;

    p_x87_unmasked(rig);
    memcpy(rig->s.xsave + 2, &fsw, 2);
}

static void p_noncanonical(Rig *rig)
{
    rig->s.gpr[X86_RBX] = rig->s.gpr[X86_RBP] = NONCANONICAL;
}

static void p_stack_noncanonical(Rig *rig)
{
    rig->s.gpr[X86_RBX] = RIG_DATA;
    rig->s.gpr[X86_RSP] = NONCANONICAL + 64;
}

static void p_hole(Rig *rig)
{
    rig->s.gpr[X86_RBX] = HOLE;
    rig_map(rig, HOLE, 0, 0, PAGE);
}

static void p_unaligned(Rig *rig)
{
    rig->s.gpr[X86_RBX] = RIG_DATA + 8;
}

static void p_data(Rig *rig)
{
    rig->s.gpr[X86_RBX] = RIG_DATA;
    rig_put64(rig, RIG_DATA, NONCANONICAL);
}

static void p_msr(Rig *rig)
{
    rig->s.gpr[X86_RCX] = 0x12345;
}

static void p_msr_noncanonical(Rig *rig)
{
    rig->s.gpr[X86_RCX] = 0xc0000100;
    rig->s.gpr[X86_RDX] = 0x8000;
}

static void p_msr_reserved(Rig *rig)
{
    rig->s.gpr[X86_RCX] = 0xc0000080;
    rig->s.gpr[X86_RAX] = 0x501 | 1 << 20;
}

static void p_rax_bit40(Rig *rig)
{
    rig->s.gpr[X86_RAX] = UINT64_C(1) << 40;
}

static void p_cr0_no_pe(Rig *rig)
{
    rig->s.gpr[X86_RAX] = 0x80000010;
}

static void p_cr0_no_pg(Rig *rig)
{
    rig->s.gpr[X86_RAX] = 0x33; /* not from 64-bit code */
}

static void p_cr4_no_pae(Rig *rig)
{
    rig->s.gpr[X86_RAX] = 0x600;
}

static void p_rax_selector(Rig *rig, uint16_t selector)
{
    rig->s.gpr[X86_RAX] = selector;
}

static void p_not_present(Rig *rig)
{
    rig_put_gdt(rig, RIG_FREE, 0, 0xfffff, 0xc013);
    p_rax_selector(rig, RIG_FREE);
}

static void p_beyond_gdt(Rig *rig)
{
    p_rax_selector(rig, 0x100);
}

static void p_code_selector(Rig *rig)
{
    p_rax_selector(rig, RIG_CS64);
}

static void p_busy_tss(Rig *rig)
{
    p_rax_selector(rig, RIG_TR);
}

static void p_null(Rig *rig)
{
    p_rax_selector(rig, 0);
}

static void p_rpl(Rig *rig)
{
    p_rax_selector(rig, RIG_DS0 | 3);
}

static void p_mxcsr(Rig *rig)
{
    rig->s.gpr[X86_RBX] = RIG_DATA;
    rig_put32(rig, RIG_DATA, 0x10000);
}

static void p_limit(Rig *rig)
{
    rig->s.seg[X86_SEG_DS].limit = RIG_DATA + 2;
    rig->s.gpr[X86_RBX] = RIG_DATA;
}

static void p_stack_limit(Rig *rig)
{
    rig->s.seg[X86_SEG_SS].limit = (uint32_t)rig->s.gpr[X86_RSP] - 2;
}

static void p_null_ds(Rig *rig)
{
    rig->s.seg[X86_SEG_DS] = (X86SegState){0};
    rig->s.gpr[X86_RBX] = RIG_DATA;
}

static void p_read_cs(Rig *rig)
{
    rig->s.gpr[X86_RBX] = RIG_DATA;
}

static void p_expand_down(Rig *rig)
{
    rig->s.seg[X86_SEG_DS].attr |= 4;
    rig->s.seg[X86_SEG_DS].limit = RIG_DATA;
    rig->s.gpr[X86_RBX] = RIG_DATA;
}

static void p_expand_down_ok(Rig *rig)
{
    p_expand_down(rig);
    rig->s.gpr[X86_RBX] = RIG_DATA + 1;
}

static void p_align(Rig *rig)
{
    rig->s.cr0 |= 0x40000;
    rig->s.rflags |= 0x40000;
    rig->s.gpr[X86_RBX] = RIG_DATA;
}

static void p_align_off(Rig *rig)
{
    p_align(rig);
    rig->s.cr0 &= ~UINT64_C(0x40000);
}

static void p_cs_limit(Rig *rig)
{
    rig->s.seg[X86_SEG_CS].limit = RIG_CODE;
}

#define X(name, mode, cpl, prepare, vector, error, at, fault)                                                \
    {#name " " #prepare, name, name##_end, mode, cpl, prepare, vector, error, at, fault}

static const ExceptionCase exceptions[] = {
    X(s_div, RIG_LONG, 3, NULL, DE, 0, 0, true),
    X(s_idiv_overflow, RIG_LONG, 3, p_overflow, DE, 0, 0, true),
    X(s_int1, RIG_LONG, 3, p_gate_dpl0, DB, 0, 1, false),
    X(s_int3, RIG_LONG, 3, NULL, BP, 0, 1, false),
    X(s_int3, RIG_LONG, 3, p_gate_dpl0, GP, 3 * 8 + 2, 0, true),
    X(s_int3_long, RIG_LONG, 0, NULL, BP, 0, 2, false),
    X(s_into, RIG_PROT32, 0, NULL, OF, 0, 5, false),
    X(s_into, RIG_COMPAT, 3, NULL, OF, 0, 5, false),
    X(s_into, RIG_LONG, 3, NULL, UD, 0, 4, true),
    X(s_bound, RIG_PROT32, 0, NULL, BR, 0, 23, true),
    X(s_ud2, RIG_LONG, 3, NULL, UD, 0, 0, true),
    X(s_lock_reg, RIG_LONG, 3, NULL, UD, 0, 0, true),
    X(s_lock_cmp, RIG_LONG, 3, NULL, UD, 0, 0, true),
    X(s_long_only, RIG_LONG, 3, NULL, UD, 0, 0, true),
    X(s_fld1, RIG_LONG, 3, p_ts, NM, 0, 0, true),
    X(s_fld1, RIG_LONG, 3, p_em, NM, 0, 0, true),
    X(s_fwait, RIG_LONG, 3, p_ts_mp, NM, 0, 0, true),
    X(s_addps, RIG_LONG, 3, p_ts, NM, 0, 0, true),
    X(s_addps, RIG_LONG, 3, p_em, UD, 0, 0, true),
    X(s_addps, RIG_LONG, 3, p_no_osfxsr, UD, 0, 0, true),
    X(s_paddb_mmx, RIG_LONG, 3, p_em, UD, 0, 0, true),
    X(s_paddb_mmx, RIG_LONG, 3, p_x87_pending, MF, 0, 0, true),
    X(s_fwait, RIG_LONG, 3, p_x87_pending, MF, 0, 0, true),
    X(s_x87_zero_divide, RIG_LONG, 3, p_x87_unmasked, MF, 0, 6, true),
    X(s_divps, RIG_LONG, 3, p_sse_unmasked, XM, 0, 0, true),
    X(s_divps, RIG_LONG, 3, p_sse_unmasked_ud, UD, 0, 0, true),
    X(s_load_rbx, RIG_LONG, 3, p_noncanonical, GP, 0, 0, true),
    X(s_load_rbp, RIG_LONG, 3, p_noncanonical, SS, 0, 0, true),
    X(s_load_ds_rbp, RIG_LONG, 3, p_noncanonical, SS, 0, 0, true),
    X(s_load_rsp, RIG_LONG, 3, p_stack_noncanonical, SS, 0, 0, true),
    X(s_load_fs_rsp, RIG_LONG, 3, p_stack_noncanonical, GP, 0, 0, true),
    X(s_push, RIG_LONG, 3, p_stack_noncanonical, SS, 0, 0, true),
    X(s_push_mem, RIG_LONG, 3, p_noncanonical, GP, 0, 0, true),
    X(s_push_mem, RIG_LONG, 3, p_stack_noncanonical, SS, 0, 0, true),
    X(s_pop, RIG_LONG, 3, p_stack_noncanonical, SS, 0, 0, true),
    X(s_ret, RIG_LONG, 3, p_stack_noncanonical, SS, 0, 0, true),
    X(s_enter, RIG_LONG, 3, p_stack_noncanonical, SS, 0, 0, true),
    X(s_leave, RIG_LONG, 3, p_noncanonical, SS, 0, 0, true),
    X(s_call_reg, RIG_LONG, 3, p_noncanonical, GP, 0, 0, true),
    X(s_jmp_reg, RIG_LONG, 3, p_noncanonical, GP, 0, 0, true),
    X(s_call_mem, RIG_LONG, 3, p_data, GP, 0, 0, true),
    X(s_jmp_mem, RIG_LONG, 3, p_data, GP, 0, 0, true),
    X(s_movaps, RIG_LONG, 3, p_unaligned, GP, 0, 0, true),
    X(s_fxsave, RIG_LONG, 3, p_unaligned, GP, 0, 0, true),
    X(s_cmpxchg16b, RIG_LONG, 3, p_unaligned, GP, 0, 0, true),
    X(s_wrmsr, RIG_LONG, 3, NULL, GP, 0, 0, true),
    X(s_wrmsr, RIG_LONG, 0, p_msr, GP, 0, 0, true),
    X(s_wrmsr, RIG_LONG, 0, p_msr_noncanonical, GP, 0, 0, true),
    X(s_wrmsr, RIG_LONG, 0, p_msr_reserved, GP, 0, 0, true),
    X(s_rdmsr, RIG_LONG, 0, p_msr, GP, 0, 0, true),
    X(s_hlt, RIG_LONG, 3, NULL, GP, 0, 0, true),
    X(s_cli, RIG_LONG, 3, NULL, GP, 0, 0, true),
    X(s_in, RIG_LONG, 3, NULL, GP, 0, 0, true),
    X(s_mov_cr0, RIG_LONG, 3, NULL, GP, 0, 0, true),
    X(s_mov_cr0, RIG_LONG, 0, p_rax_bit40, GP, 0, 0, true),
    X(s_mov_cr0, RIG_LONG, 0, p_cr0_no_pe, GP, 0, 0, true),
    X(s_mov_cr0, RIG_LONG, 0, p_cr0_no_pg, GP, 0, 0, true),
    X(s_mov_cr3, RIG_LONG, 0, p_rax_bit40, GP, 0, 0, true),
    X(s_mov_cr4, RIG_LONG, 0, p_rax_bit40, GP, 0, 0, true),
    X(s_mov_cr4, RIG_LONG, 0, p_cr4_no_pae, GP, 0, 0, true),
    X(s_mov_cr8, RIG_LONG, 0, p_rax_bit40, GP, 0, 0, true),
    X(s_mov_cr1, RIG_LONG, 0, NULL, UD, 0, 0, true),
    X(s_mov_ds, RIG_LONG, 0, p_not_present, NP, RIG_FREE, 0, true),
    X(s_mov_ss, RIG_LONG, 0, p_not_present, SS, RIG_FREE, 0, true),
    X(s_mov_ds, RIG_LONG, 0, p_beyond_gdt, GP, 0x100, 0, true),
    X(s_mov_ss, RIG_LONG, 0, p_code_selector, GP, RIG_CS64, 0, true),
    X(s_mov_ss, RIG_LONG, 0, p_rpl, GP, RIG_DS0, 0, true),
    X(s_mov_ss, RIG_LONG, 3, p_null, GP, 0, 0, true),
    X(s_mov_cs, RIG_LONG, 0, NULL, UD, 0, 0, true),
    X(s_ltr, RIG_LONG, 0, p_busy_tss, GP, RIG_TR, 0, true),
    X(s_ltr, RIG_LONG, 0, p_null, GP, 0, 0, true),
    X(s_lldt, RIG_LONG, 0, p_code_selector, GP, RIG_CS64, 0, true),
    X(s_ldmxcsr, RIG_LONG, 3, p_mxcsr, GP, 0, 0, true),
    X(s_int40, RIG_LONG, 3, p_gate_missing, NP, 0x40 * 8 + 2, 0, true),
    X(s_int40, RIG_LONG, 3, p_idt_short, GP, 0x40 * 8 + 2, 0, true),
    X(s_longest, RIG_LONG, 3, NULL, DONE, 0, 17, false),
    X(s_too_long, RIG_LONG, 3, NULL, GP, 0, 0, true),
    X(s_load32, RIG_PROT32, 0, p_limit, GP, 0, 0, true),
    X(s_load32, RIG_COMPAT, 3, p_limit, GP, 0, 0, true),
    X(s_load32, RIG_PROT32, 0, p_null_ds, GP, 0, 0, true),
    X(s_load32, RIG_PROT32, 0, p_expand_down, GP, 0, 0, true),
    X(s_load32, RIG_PROT32, 3, p_expand_down_ok, DONE, 0, 4, false),
    X(s_store_cs, RIG_PROT32, 0, p_read_cs, GP, 0, 0, true),
    X(s_push32, RIG_PROT32, 3, p_stack_limit, SS, 0, 0, true),
    X(s_push32, RIG_PROT32, 3, p_cs_limit, GP, 0, 1, true),
    X(s_load_rbx, RIG_LONG, 3, p_hole, PF, 4, 0, true),
    X(s_align4, RIG_LONG, 3, p_align, AC, 0, 0, true),
    X(s_align2, RIG_LONG, 3, p_align, AC, 0, 0, true),
    X(s_aligned, RIG_LONG, 3, p_align, DONE, 0, 16, false),
    X(s_align4, RIG_LONG, 3, p_align_off, DONE, 0, 5, false),
};

static void test_exceptions(void **state)
{
    Rig *rig = *state;
    unsigned failed = 0;

    for (size_t i = 0; i < sizeof(exceptions) / sizeof(exceptions[0]); i++) {
        const ExceptionCase *c = &exceptions[i];
        RigResult r;

        rig_reset(rig, c->mode, c->cpl);
        if (c->prepare) {
            c->prepare(rig);
        }
        r = rig_run(rig, c->code, (size_t)(c->end - c->code));
        if (r.vector != c->vector || r.error != c->error || r.rip != RIG_CODE + c->at || !!(r.rflags & RF) != c->fault) {
            print_error("%s mode %d cpl %u: vector %u error %llx at %lld rflags %llx, not %u %llx %u %s\n", c->name, c->mode,
                        c->cpl, r.vector, (unsigned long long)r.error, (long long)(r.rip - RIG_CODE),
                        (unsigned long long)r.rflags, c->vector, (unsigned long long)c->error, c->at,
                        c->fault ? "with RF" : "");
            failed++;
        }
    }
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exceptions),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
