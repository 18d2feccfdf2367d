/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The software CPU on a small fake machine: each exception with its vector,
 * error code and saved instruction pointer, precise state when an instruction
 * with several memory operands faults, and code that changes (Intel SDM vol. 3,
 * chapter 6 and 11.6; vol. 2 for each instruction).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/tcg/rig.h"

enum { DE = 0, DB = 1, BP = 3, OF = 4, BR = 5, UD = 6, NM = 7, DF = 8, TS = 10, NP = 11, SS = 12, GP = 13, PF = 14,
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

/* --- instructions with several memory operands: nothing changes before the last of them is known to work --- */

typedef struct PreciseCase {
    const char *name;
    const uint8_t *code, *end;
    uint8_t cpl;
    void (*prepare)(Rig *rig);
    unsigned vector;
    uint64_t error, cr2;
} PreciseCase;

SNIPPET(q_push_to_hole, 64, "pushq (%rbx)");
SNIPPET(q_pop_to_hole, 64, "popq (%rbx)");
SNIPPET(q_pop_rsp_based, 64, "popq (%rsp)");
SNIPPET(q_movs, 64, "movsq");
SNIPPET(q_call, 64, "call *(%rbx)");
SNIPPET(q_xchg, 64, "xchgq %rax, (%rbx)");
SNIPPET(q_cmpxchg, 64, "lock cmpxchgq %rcx, (%rbx)");
SNIPPET(q_store_across, 64, "movq %rax, (%rbx)");
SNIPPET(q_store16_across, 64, "movups %xmm0, (%rbx)");
SNIPPET(q_add_across, 64, "addq %rax, (%rbx)");
SNIPPET(q_bts, 64, "btsq %rax, (%rbx)");
SNIPPET(q_enter, 64, "enter $32, $3");
SNIPPET(q_leave, 64, "leave");
SNIPPET(q_iret, 64, "iretq");
SNIPPET(q_retf, 64, "lretq");
SNIPPET(q_lfs, 64, "lfs (%rbx), %eax");
SNIPPET(q_sgdt, 64, "sgdt (%rbx)");
SNIPPET(q_lgdt, 64, "lgdt (%rbx)");
SNIPPET(q_fnsave, 64, "fnsave (%rbx)");
SNIPPET(q_fxsave, 64, "fxsave (%rbx)");
SNIPPET(q_maskmov, 64, "maskmovdqu %xmm1, %xmm0");

/* RBX points just before the hole, so that an operand of more than 4 bytes crosses into it. */
static void r_across(Rig *rig)
{
    p_hole(rig);
    rig->s.gpr[X86_RBX] = HOLE - 4;
}

static void r_hole(Rig *rig)
{
    p_hole(rig);
}

static void r_call(Rig *rig)
{
    p_hole(rig);
    rig->s.gpr[X86_RBX] = RIG_DATA;
    rig_put64(rig, RIG_DATA, RIG_CODE);
    rig->s.gpr[X86_RSP] = HOLE + 8;
}

static void r_stack_in_hole(Rig *rig)
{
    p_hole(rig);
    rig->s.gpr[X86_RSP] = HOLE + 8;
    rig->s.gpr[X86_RBP] = RIG_DATA + 64;
}

static void r_push_stack_hole(Rig *rig)
{
    r_stack_in_hole(rig);
    rig->s.gpr[X86_RBX] = RIG_DATA;
}

static void r_pop_stack_before_hole(Rig *rig)
{
    p_hole(rig);
    rig->s.gpr[X86_RSP] = HOLE - 8; /* the address is computed after the increment */
}

static void r_movs_to_hole(Rig *rig)
{
    p_hole(rig);
    rig->s.gpr[X86_RSI] = RIG_DATA;
    rig->s.gpr[X86_RDI] = HOLE + 8;
}

static void r_movs_from_hole(Rig *rig)
{
    p_hole(rig);
    rig->s.gpr[X86_RDI] = RIG_DATA;
    rig->s.gpr[X86_RSI] = HOLE + 8;
}

static void r_bit(Rig *rig)
{
    p_hole(rig);
    rig->s.gpr[X86_RBX] = HOLE - 8;
    rig->s.gpr[X86_RAX] = 64 + 5;
}

static void r_leave(Rig *rig)
{
    p_hole(rig);
    rig->s.gpr[X86_RBP] = HOLE + 16;
}

static void r_frame_across(Rig *rig)
{
    p_hole(rig);
    rig->s.gpr[X86_RSP] = HOLE - 16; /* RIP and CS are there, the rest is not */
    rig_put64(rig, HOLE - 16, RIG_CODE);
    rig_put64(rig, HOLE - 8, RIG_CS64_3);
    rig_put_gate(rig, PF, RIG_CS64, RIG_STUBS + PF * RIG_STUB_BYTES, 0xe, 0, 1); /* not on that stack */
}

static void r_read_only_second(Rig *rig)
{
    rig_map(rig, HOLE, HOLE, RIG_P | RIG_U, PAGE);
    rig->s.gpr[X86_RBX] = HOLE - 4;
}

static void r_maskmov(Rig *rig)
{
    const uint64_t xstate = 3;
    const uint32_t mxcsr = 0x1f80;
    const uint16_t fcw = 0x37f;

    p_hole(rig);
    rig->s.gpr[X86_RDI] = HOLE - 8;
    memset(rig->s.xsave, 0, sizeof(rig->s.xsave));
    memcpy(rig->s.xsave, &fcw, 2);
    memcpy(rig->s.xsave + 24, &mxcsr, 4);
    memset(rig->s.xsave + 160, 0x55, 16);
    memset(rig->s.xsave + 176, 0x80, 16);
    memcpy(rig->s.xsave + 512, &xstate, 8);
}

#define P(name, cpl, prepare, vector, error, cr2) {#name " " #prepare, name, name##_end, cpl, prepare, vector, error, cr2}

static const PreciseCase precise[] = {
    P(q_push_to_hole, 3, r_hole, PF, 4, HOLE),
    P(q_push_to_hole, 3, r_push_stack_hole, PF, 6, HOLE),
    P(q_pop_to_hole, 3, r_hole, PF, 6, HOLE),
    P(q_pop_rsp_based, 3, r_pop_stack_before_hole, PF, 6, HOLE),
    P(q_movs, 3, r_movs_to_hole, PF, 6, HOLE + 8),
    P(q_movs, 3, r_movs_from_hole, PF, 4, HOLE + 8),
    P(q_call, 3, r_call, PF, 6, HOLE),
    P(q_xchg, 3, r_hole, PF, 6, HOLE),
    P(q_xchg, 3, r_across, PF, 6, HOLE),
    P(q_xchg, 3, r_read_only_second, PF, 7, HOLE),
    P(q_cmpxchg, 3, r_across, PF, 6, HOLE),
    P(q_cmpxchg, 3, r_read_only_second, PF, 7, HOLE),
    P(q_store_across, 3, r_across, PF, 6, HOLE),
    P(q_store_across, 3, r_read_only_second, PF, 7, HOLE),
    P(q_store_across, 0, r_read_only_second, PF, 3, HOLE),
    P(q_store16_across, 3, r_across, PF, 6, HOLE),
    P(q_store16_across, 3, r_read_only_second, PF, 7, HOLE),
    P(q_add_across, 3, r_across, PF, 6, HOLE),
    P(q_bts, 3, r_bit, PF, 6, HOLE),
    P(q_enter, 3, r_stack_in_hole, PF, 6, HOLE),
    P(q_leave, 3, r_leave, PF, 4, HOLE + 16),
    P(q_iret, 0, r_frame_across, PF, 0, HOLE),
    P(q_retf, 0, r_frame_across, PF, 0, HOLE),
    P(q_lfs, 3, r_across, PF, 4, HOLE),
    P(q_sgdt, 3, r_across, PF, 6, HOLE),
    P(q_lgdt, 0, r_across, PF, 0, HOLE),
    P(q_fnsave, 3, r_across, PF, 6, HOLE),
    P(q_maskmov, 3, r_maskmov, PF, 6, HOLE),
};

static void test_precise_state(void **state)
{
    Rig *rig = *state;
    uint8_t *before = malloc(16 * PAGE);

    for (size_t i = 0; i < sizeof(precise) / sizeof(precise[0]); i++) {
        const PreciseCase *c = &precise[i];
        X86CpuState s;
        RigResult r;

        rig_reset(rig, RIG_LONG, c->cpl);
        for (unsigned n = 0; n < 16 * PAGE; n++) {
            rig->ram[RIG_DATA + n] = (uint8_t)(n * 7 + 1);
        }
        rig->s.gpr[X86_RAX] = 0x1122334455667788;
        rig->s.gpr[X86_RCX] = 0x99;
        c->prepare(rig);
        memcpy(before, rig->ram + RIG_DATA, 16 * PAGE);
        s = rig->s;
        r = rig_run(rig, c->code, (size_t)(c->end - c->code));
        r.s.gpr[X86_RSP] = r.rsp;
        if (r.vector != c->vector || r.error != c->error || r.s.cr2 != c->cr2 || r.rip != RIG_CODE ||
            memcmp(r.s.gpr, s.gpr, sizeof(s.gpr)) || memcmp(r.s.xsave + 32, s.xsave + 32, 480)) {
            fail_msg("%s: vector %u error %llx cr2 %llx rip %llx rsp %llx", c->name, r.vector, (unsigned long long)r.error,
                     (unsigned long long)r.s.cr2, (unsigned long long)r.rip, (unsigned long long)r.rsp);
        }
        if (memcmp(before, rig->ram + RIG_DATA, 16 * PAGE)) {
            fail_msg("%s: memory was changed", c->name);
        }
    }
    free(before);
}

/* --- string instructions that fault in the middle --- */

SNIPPET(rep_movsb, 64, "rep movsb");
SNIPPET(rep_movsw, 64, "rep movsw");
SNIPPET(rep_movsq, 64, "rep movsq");
SNIPPET(rep_stosb, 64, "rep stosb");
SNIPPET(rep_stosq, 64, "rep stosq");
SNIPPET(rep_lodsl, 64, "rep lodsl");
SNIPPET(repe_cmpsb, 64, "repe cmpsb");
SNIPPET(repne_scasw, 64, "repne scasw");
SNIPPET(std_movsb, 64, "std\n rep movsb");
SNIPPET(std_stosq, 64, "std\n rep stosq");

typedef struct StringCase {
    const char *name;
    const uint8_t *code, *end;
    unsigned size, offset; /* bytes of an element; of the instruction in the code */
    bool si, di, down;
} StringCase;

#define S(name, size, offset, si, di, down) {#name, name, name##_end, size, offset, si, di, down}

static const StringCase strings[] = {
    S(rep_movsb, 1, 0, true, true, false), S(rep_movsw, 2, 0, true, true, false), S(rep_movsq, 8, 0, true, true, false),
    S(rep_stosb, 1, 0, false, true, false), S(rep_stosq, 8, 0, false, true, false), S(rep_lodsl, 4, 0, true, false, false),
    S(repe_cmpsb, 1, 0, true, true, false), S(repne_scasw, 2, 0, false, true, false),
    S(std_movsb, 1, 1, true, true, true), S(std_stosq, 8, 1, false, true, true),
};

/* One pointer runs into the hole after `room` elements; the other stays where memory is. */
static void string_case(Rig *rig, const StringCase *c, bool si_faults, unsigned room, unsigned misaligned)
{
    const unsigned count = room + 20;
    uint64_t edge = c->down ? HOLE + PAGE : HOLE, start, other = RIG_DATA + 2 * PAGE + 3;
    int64_t step = c->down ? -(int64_t)c->size : c->size;
    unsigned done = room, write = c->code == rep_movsb || c->code == rep_movsw || c->code == rep_movsq ||
                                  c->code == rep_stosb || c->code == rep_stosq || c->down;
    RigResult r;

    rig_reset(rig, RIG_LONG, 3);
    rig_map(rig, HOLE, 0, 0, PAGE);
    start = c->down ? edge + (uint64_t)(room - 1) * c->size + misaligned : edge - (uint64_t)room * c->size - misaligned;
    rig->s.gpr[X86_RSI] = si_faults ? start : other + (c->down ? 2000 : 0);
    rig->s.gpr[X86_RDI] = si_faults ? other + (c->down ? 2000 : 0) : start;
    rig->s.gpr[X86_RCX] = count;
    rig->s.gpr[X86_RAX] = 0x7777777777777777;
    r = rig_run(rig, c->code, (size_t)(c->end - c->code));
    if (r.vector != PF || r.rip != RIG_CODE + c->offset || r.s.gpr[X86_RCX] != count - done ||
        r.s.gpr[X86_RSI] != (uint64_t)((si_faults ? (int64_t)start : (int64_t)(other + (c->down ? 2000 : 0))) +
                                       (c->si ? step * (int64_t)done : 0)) ||
        r.s.gpr[X86_RDI] != (uint64_t)((si_faults ? (int64_t)(other + (c->down ? 2000 : 0)) : (int64_t)start) +
                                       (c->di ? step * (int64_t)done : 0)) ||
        (r.s.cr2 & ~UINT64_C(0xfff)) != HOLE || r.error != (!si_faults && write ? 6u : 4u)) {
        fail_msg("%s %s faults after %u, %u off: vector %u error %llx cr2 %llx, %llu left", c->name, si_faults ? "RSI" : "RDI",
                 room, misaligned, r.vector, (unsigned long long)r.error, (unsigned long long)r.s.cr2,
                 (unsigned long long)r.s.gpr[X86_RCX]);
    }
}

static void test_strings_fault_in_the_middle(void **state)
{
    static const unsigned rooms[] = {1, 2, 7, 100};

    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        for (size_t n = 0; n < sizeof(rooms) / sizeof(rooms[0]); n++) {
            for (unsigned off = 0; off < strings[i].size && off < 2; off++) {
                if (strings[i].si) {
                    string_case(*state, &strings[i], true, rooms[n], off);
                }
                if (strings[i].di) {
                    string_case(*state, &strings[i], false, rooms[n], off);
                }
            }
        }
    }
}

/* --- instructions across two pages --- */

SNIPPET(long_instruction, 64, "movabsq $0x1122334455667788, %rax");

static void test_instruction_across_pages(void **state)
{
    Rig *rig = *state;
    size_t len = (size_t)(long_instruction_end - long_instruction);

    for (unsigned head = 1; head < len; head++) {
        for (unsigned present = 0; present < 2; present++) {
            uint64_t at = HOLE - head;
            RigResult r;

            rig_reset(rig, RIG_LONG, 3);
            if (!present) {
                rig_map(rig, HOLE, 0, 0, PAGE);
            }
            rig_put(rig, at, long_instruction, len);
            rig_put(rig, at + len, (const uint8_t[]){0xcd, DONE}, 2);
            rig->s.rip = at;
            rig_apply(rig);
            r = rig_resume(rig);
            assert_int_equal(r.vector, present ? DONE : PF);
            assert_int_equal(r.rip, present ? at + len + 2 : at);
            assert_int_equal(r.s.gpr[X86_RAX], present ? 0x1122334455667788 : 0);
            if (!present) {
                assert_int_equal(r.s.cr2, HOLE);
                assert_int_equal(r.error, 0x14);
            }
        }
    }
}

/* --- code that is changed --- */

SNIPPET(c_next, 64, "movb $7, 1f+1(%rip)\n 1: movb $1, %al");
SNIPPET(c_itself, 64, "xorl %ecx, %ecx\n 1: movl $0x11111111, 2f-4(%rip)\n 2: incl %ecx\n cmpl $2, %ecx\n jb 1b");
SNIPPET(c_loop, 64, "xorl %edx, %edx\n movl $3, %ecx\n 1: addb $1, 2f+2(%rip)\n 2: addl $0, %edx\n loop 1b");
SNIPPET(c_alias, 64, "movb $9, (%rbx)\n movb $1, %al");
SNIPPET(c_string, 64, "rep stosb\n 1: movb $1, %al\n movb $1, %al\n movb $1, %al");
SNIPPET(c_locked, 64, "movb $8, %cl\n lock xaddb %cl, 1f+1(%rip)\n 1: movb $1, %al");

static void test_code_changes_the_next_instruction(void **state)
{
    Rig *rig = *state;

    rig_reset(rig, RIG_LONG, 0);
    assert_int_equal(RIG_RUN(rig, c_next).s.gpr[X86_RAX], 7);
    rig_reset(rig, RIG_LONG, 0);
    assert_int_equal(RIG_RUN(rig, c_locked).s.gpr[X86_RAX], 9);
}

static void test_code_changes_itself(void **state)
{
    Rig *rig = *state;
    const size_t at = (size_t)(c_itself_end - c_itself);
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    r = RIG_RUN(rig, c_itself);
    /* The last four bytes of the store are its own immediate: the second pass writes what the first has written. */
    assert_int_equal(r.s.gpr[X86_RCX], 2);
    assert_int_equal(rig_get32(rig, RIG_CODE + 2 + 6), 0x11111111);
    assert_true(at > 12);
    rig_reset(rig, RIG_LONG, 0);
    r = RIG_RUN(rig, c_loop);
    assert_int_equal(r.s.gpr[X86_RDX], 1 + 2 + 3);
}

static void test_code_changes_through_another_address(void **state)
{
    Rig *rig = *state;

    rig_reset(rig, RIG_LONG, 0);
    rig_map(rig, 0x10000000, RIG_CODE, RIG_P | RIG_W, PAGE);
    rig->s.gpr[X86_RBX] = 0x10000000 + (uint64_t)(c_alias_end - c_alias) - 1;
    assert_int_equal(RIG_RUN(rig, c_alias).s.gpr[X86_RAX], 9);
    /* A string store over what follows it: 0x90 is NOP. */
    rig_reset(rig, RIG_LONG, 0);
    rig->s.gpr[X86_RDI] = RIG_CODE + 2;
    rig->s.gpr[X86_RCX] = (uint64_t)(c_string_end - c_string) - 2;
    rig->s.gpr[X86_RAX] = 0x90;
    assert_int_equal(RIG_RUN(rig, c_string).s.gpr[X86_RAX], 0x90);
}

SNIPPET(c_call, 64, "1: call *%rbx\n loop 1b");
SNIPPET(c_wait, 64, "incl %edx\n outb %al, $0xe8\n ret");

static void test_code_changed_from_outside(void **state)
{
    const uint8_t patch[] = {0x83, 0xc2, 0x10}; /* addl $16, %edx, over INCL and part of OUT */
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    rig_put(rig, RIG_DATA, c_wait, (size_t)(c_wait_end - c_wait));
    rig->s.gpr[X86_RBX] = RIG_DATA;
    rig->s.gpr[X86_RCX] = 3;
    r = RIG_RUN(rig, c_call);
    assert_int_equal(r.s.gpr[X86_RDX], 3);
    /* Announced. */
    rig->s.rip = RIG_CODE;
    rig->s.gpr[X86_RCX] = 2;
    rig->s.halted = 0;
    rig_put(rig, RIG_DATA, patch, sizeof(patch));
    rig_put(rig, RIG_DATA + sizeof(patch), (const uint8_t[]){0xc3}, 1);
    rig_apply(rig);
    r = rig_resume(rig);
    assert_int_equal(r.s.gpr[X86_RDX], 3 + 32);
}

/* Not announced, as when another process or processor writes: a serialising instruction makes it seen. */
SNIPPET(c_serialize, 64, "call *%rbx\n outb %al, $0xe7\n xorl %eax, %eax\n pushq %rbx\n cpuid\n popq %rbx\n call *%rbx");
SNIPPET(c_return, 64, "incl %esi\n ret");

static void patch_on_out(void *opaque, uint16_t port, uint32_t val, unsigned size)
{
    Rig *rig = opaque;

    rig->ram[RIG_DATA + 1] = 0xce; /* incl becomes decl */
}

static void test_code_changed_unannounced(void **state)
{
    Rig *rig = *state;

    rig_reset(rig, RIG_LONG, 0);
    rig_put(rig, RIG_DATA, c_return, (size_t)(c_return_end - c_return));
    rig->s.gpr[X86_RBX] = RIG_DATA;
    rig->on_out = patch_on_out;
    assert_int_equal(RIG_RUN(rig, c_serialize).s.gpr[X86_RSI], 0);
    rig->on_out = NULL;
}

/* --- what the x87 remembers of its last instruction --- */

SNIPPET(x_last, 64, "fninit\n fldl (%rbx)\n fadds 8(%rbx)\n fld1\n xlast: faddp");
SNIPPET(x_memory, 64, "fninit\n fldl (%rbx)\n xmem: fstpt %es:16(%rbx)");
SNIPPET(x_faults, 64, "fninit\n fldl (%rbx)\n xbefore: fld1\n faddl (%rcx)");
extern const uint8_t xlast[], xmem[], xbefore[];

enum { FX_FOP = 6, FX_FIP = 8, FX_FDP = 16 };

static void expect_pointers(const RigResult *r, unsigned fop, uint64_t at, uint64_t operand)
{
    uint64_t fip, fdp;
    uint16_t op;

    memcpy(&op, r->s.xsave + FX_FOP, sizeof(op));
    memcpy(&fip, r->s.xsave + FX_FIP, sizeof(fip));
    memcpy(&fdp, r->s.xsave + FX_FDP, sizeof(fdp));
    assert_int_equal(op, fop);
    assert_int_equal(fip, RIG_CODE + at);
    assert_int_equal(fdp, operand);
}

/* An instruction without a memory operand leaves FDP as it was, one that faults leaves all. */
static void test_x87_pointers(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    rig->s.gpr[X86_RBX] = RIG_DATA;
    r = RIG_RUN(rig, x_last);
    expect_pointers(&r, 0x6c1, (uint64_t)(xlast - x_last), RIG_DATA + 8);
    rig_reset(rig, RIG_LONG, 0);
    rig->s.gpr[X86_RBX] = RIG_DATA;
    r = RIG_RUN(rig, x_memory);
    expect_pointers(&r, 0x37b, (uint64_t)(xmem - x_memory), RIG_DATA + 16);
    rig_reset(rig, RIG_LONG, 0);
    rig->s.gpr[X86_RBX] = RIG_DATA;
    rig->s.gpr[X86_RCX] = RIG_MAPPED;
    r = RIG_RUN(rig, x_faults);
    assert_int_equal(r.vector, PF);
    expect_pointers(&r, 0x1e8, (uint64_t)(xbefore - x_faults), RIG_DATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exceptions),
        cmocka_unit_test(test_precise_state),
        cmocka_unit_test(test_strings_fault_in_the_middle),
        cmocka_unit_test(test_instruction_across_pages),
        cmocka_unit_test(test_code_changes_the_next_instruction),
        cmocka_unit_test(test_code_changes_itself),
        cmocka_unit_test(test_code_changes_through_another_address),
        cmocka_unit_test(test_code_changed_from_outside),
        cmocka_unit_test(test_code_changed_unannounced),
        cmocka_unit_test(test_x87_pointers),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
