/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The system side of the software CPU: gates, tasks, virtual-8086 mode, fast
 * system calls, debug registers, system management mode, XSAVE, what CR4 opens
 * and closes, and models (Intel SDM vol. 3: chapters 5-7, 17, 20, 30; vol. 1,
 * 13; AMD APM vol. 2, 10).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/tcg/rig.h"

enum { DB = 1, BP = 3, UD = 6, NM = 7, TS = 10, NP = 11, SS = 12, GP = 13, PF = 14, DONE = RIG_VECTOR_DONE };
enum { PAGE = 4096, GATE = RIG_FREE, OTHER = RIG_DATA + 0x1000, TF = 0x100, NT = 0x4000, VM = 0x20000, BS = 0x4000, BT = 0x8000 };

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

static void expect_vector(const RigResult *r, unsigned vector, uint64_t error, uint64_t at)
{
    if (r->vector != vector || r->error != error || r->rip != RIG_CODE + at) {
        fail_msg("vector %u error %llx at %lld, not %u %llx %llu", r->vector, (unsigned long long)r->error,
                 (long long)(r->rip - RIG_CODE), vector, (unsigned long long)error, (unsigned long long)at);
    }
}

/* --- call gates --- */

SNIPPET(g_hlt, 64, "hlt");
SNIPPET(g_call32, 32, "pushl $0x1111\n pushl $0x2222\n lcall $0x73, $0\n int $0x80");
SNIPPET(g_ret32, 32, "movl 8(%esp), %eax\n movl 12(%esp), %edx\n movl 16(%esp), %esi\n movl 20(%esp), %edi\n movw %cs, %cx\n lret $8");
SNIPPET(g_jmp32, 32, "ljmp $0x70, $0");

static void put_call_gate(Rig *rig, unsigned selector, uint16_t target, uint64_t offset, unsigned type, unsigned dpl, unsigned params)
{
    rig_put64(rig, RIG_GDT + (selector & ~7u),
              (offset & 0xffff) | (uint64_t)target << 16 | (uint64_t)params << 32 | (uint64_t)(0x80 | dpl << 5 | type) << 40 |
                  (offset >> 16 & 0xffff) << 48);
    if (rig->mode >= RIG_COMPAT) {
        rig_put64(rig, RIG_GDT + (selector & ~7u) + 8, offset >> 32);
    }
}

static void test_call_gate_to_inner_level(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_PROT32, 3);
    put_call_gate(rig, GATE, RIG_CS32, OTHER, 0xc, 3, 2);
    rig_put(rig, OTHER, g_ret32, (size_t)(g_ret32_end - g_ret32));
    r = RIG_RUN(rig, g_call32);
    expect_vector(&r, DONE, 0, (uint64_t)(g_call32_end - g_call32));
    assert_int_equal(r.s.gpr[X86_RAX], 0x2222); /* copied to the inner stack in order */
    assert_int_equal(r.s.gpr[X86_RDX], 0x1111);
    assert_int_equal(r.s.gpr[X86_RCX] & 0xffff, RIG_CS32);
    assert_int_equal(r.rsp, RIG_STACK3); /* LRET 8 took the parameters off both stacks */
    assert_int_equal(r.cs, RIG_CS32_3);
    assert_int_equal(r.s.gpr[X86_RSI], RIG_STACK3 - 8); /* above them the caller's stack */
    assert_int_equal(r.s.gpr[X86_RDI], RIG_DS3);
}

static void test_call_gate_checks(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_PROT32, 3); /* DPL below CPL */
    put_call_gate(rig, GATE, RIG_CS32, OTHER, 0xc, 0, 0);
    r = RIG_RUN(rig, g_call32);
    expect_vector(&r, GP, GATE, 10);
    rig_reset(rig, RIG_PROT32, 3); /* not present */
    put_call_gate(rig, GATE, RIG_CS32, OTHER, 0xc, 3, 0);
    rig_put64(rig, RIG_GDT + GATE, rig_get64(rig, RIG_GDT + GATE) & ~(UINT64_C(1) << 47));
    r = RIG_RUN(rig, g_call32);
    expect_vector(&r, NP, GATE, 10);
    rig_reset(rig, RIG_PROT32, 3); /* leads to data */
    put_call_gate(rig, GATE, RIG_DS0, OTHER, 0xc, 3, 0);
    r = RIG_RUN(rig, g_call32);
    expect_vector(&r, GP, RIG_DS0, 10);
    rig_reset(rig, RIG_PROT32, 3); /* no inner stack segment */
    put_call_gate(rig, GATE, RIG_CS32_1 & ~3, OTHER, 0xc, 3, 0);
    rig_put32(rig, RIG_TSS + 16, RIG_DS0);
    r = RIG_RUN(rig, g_call32);
    expect_vector(&r, TS, RIG_DS0, 10);
    rig_reset(rig, RIG_PROT32, 3); /* a jump does not change the level */
    put_call_gate(rig, GATE, RIG_CS32, OTHER, 0xc, 3, 0);
    r = RIG_RUN(rig, g_jmp32);
    expect_vector(&r, GP, RIG_CS32, 0);
    rig_reset(rig, RIG_PROT32, 0);
    put_call_gate(rig, GATE, RIG_CS32, OTHER, 0xc, 0, 0);
    rig->ram[OTHER] = 0xf4;
    r = RIG_RUN(rig, g_jmp32);
    assert_int_equal(r.s.rip, OTHER + 1);
}

SNIPPET(g_call64, 64, "lcall *(%rbx)\n int $0x80");
SNIPPET(g_ret64, 64, "movq %rsp, %rax\n movw %ss, %cx\n lretq");

static void test_call_gate_64(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 3);
    put_call_gate(rig, GATE, RIG_CS64, OTHER, 0xc, 3, 0);
    rig_put(rig, OTHER, g_ret64, (size_t)(g_ret64_end - g_ret64));
    rig_map(rig, OTHER & ~0xfff, OTHER & ~0xfff, RIG_P | RIG_W, PAGE);
    rig->s.gpr[X86_RBX] = RIG_DATA;
    rig_put64(rig, RIG_DATA, (uint64_t)(GATE | 3) << 32);
    r = RIG_RUN(rig, g_call64);
    expect_vector(&r, DONE, 0, (uint64_t)(g_call64_end - g_call64));
    assert_int_equal(r.s.gpr[X86_RAX], RIG_STACK0 - 32);
    assert_int_equal(r.s.gpr[X86_RCX] & 0xffff, 0); /* SS is null in the inner level */
    assert_int_equal(r.rsp, RIG_STACK3);
    assert_int_equal(r.ss, RIG_DS3);
    /* Only 64-bit code may be called. */
    rig_reset(rig, RIG_LONG, 3);
    put_call_gate(rig, GATE, RIG_CS32, OTHER, 0xc, 3, 0);
    rig->s.gpr[X86_RBX] = RIG_DATA;
    rig_put64(rig, RIG_DATA, (uint64_t)(GATE | 3) << 32);
    r = RIG_RUN(rig, g_call64);
    expect_vector(&r, GP, RIG_CS32, 0);
}

/* --- interrupt gates --- */

SNIPPET(i_int40, 64, "int $0x40");
SNIPPET(i_int40_32, 32, "int $0x40");

static void test_interrupt_and_trap_gates(void **state)
{
    Rig *rig = *state;
    RigResult r;

    for (unsigned type = 0xe; type <= 0xf; type++) {
        rig_reset(rig, RIG_LONG, 3);
        rig->s.rflags |= 0x200 | NT;
        rig_put_gate(rig, 0x40, RIG_CS64, RIG_STUBS + 0x40 * RIG_STUB_BYTES, type, 3, 0);
        r = RIG_RUN(rig, i_int40);
        expect_vector(&r, 0x40, 0, 2);
        assert_int_equal(r.s.rflags & 0x200, type == 0xf ? 0x200 : 0); /* only interrupt gates clear IF */
        assert_int_equal(r.s.rflags & NT, 0);
        assert_int_equal(r.rflags & (NT | 0x200), NT | 0x200);
        assert_int_equal(r.s.gpr[X86_RSP], RIG_STACK0 - 40);
    }
    /* An unaligned stack is aligned in long mode; IST applies without a change of level too. */
    rig_reset(rig, RIG_LONG, 0);
    rig->s.gpr[X86_RSP] -= 5;
    r = RIG_RUN(rig, i_int40);
    assert_int_equal(r.frame & 15, 8);
    assert_int_equal(r.rsp, RIG_STACK0 - 0x400 - 5);
    rig_reset(rig, RIG_LONG, 0);
    rig_put_gate(rig, 0x40, RIG_CS64, RIG_STUBS + 0x40 * RIG_STUB_BYTES, 0xe, 3, 1);
    r = RIG_RUN(rig, i_int40);
    assert_int_equal(r.s.gpr[X86_RSP], RIG_STACK_IST - 40);
    assert_int_equal(r.s.seg[X86_SEG_SS].selector, RIG_DS0);
}

static void test_gate_of_16_bits(void **state)
{
    Rig *rig = *state;

    rig_reset(rig, RIG_PROT32, 0);
    rig_put_gate(rig, 0x40, RIG_CS32, RIG_STUBS + 0x40 * RIG_STUB_BYTES, 6, 3, 0);
    rig_put64(rig, RIG_IDT + 0x40 * 8 + 6, 0xdead); /* the high half of the offset does not count */
    rig_put64(rig, RIG_IDT + 0x41 * 8, 0);
    RigResult r = RIG_RUN(rig, i_int40_32);

    assert_int_equal(r.vector, 0x40);
    assert_int_equal(rig_get32(rig, r.s.gpr[X86_RSP]) & 0xffff, (RIG_CODE + 2) & 0xffff);
    assert_int_equal(r.s.gpr[X86_RSP], RIG_STACK0 - 0x400 - 6);
}

/* --- tasks --- */

SNIPPET(t_jmp, 32, "ljmp $0x58, $0\n hlt");
SNIPPET(t_call, 32, "lcall $0x58, $0\n movl $0x77, %esi");
SNIPPET(t_other, 32, "movl $0x99, %edi\n 1: iretl\n incl %ebx\n jmp 1b");
SNIPPET(t_stop, 32, "hlt");
SNIPPET(t_iret64, 64, "iretq");

static void make_second_task(Rig *rig, const uint8_t *code, size_t len)
{
    static const uint16_t segs[] = {RIG_DS0, RIG_CS32, RIG_DS0, RIG_DS0, RIG_DS0, RIG_DS0}; /* ES CS SS DS FS GS */

    rig_put(rig, OTHER, code, len);
    rig_put32(rig, RIG_TSS2 + 0x20, OTHER);
    rig_put32(rig, RIG_TSS2 + 0x24, 2);
    for (unsigned i = 0; i < 8; i++) {
        rig_put32(rig, RIG_TSS2 + 0x28 + 4 * i, i == X86_RSP ? RIG_STACK1 : 0x100 + i);
    }
    for (unsigned i = 0; i < 6; i++) {
        rig_put32(rig, RIG_TSS2 + 0x48 + 4 * i, segs[i]);
    }
    rig_put32(rig, RIG_TSS2 + 0x1c, RIG_TABLES);
}

static unsigned tss_type(Rig *rig, unsigned selector)
{
    return rig->ram[RIG_GDT + selector + 5] & 0x1f;
}

static void test_task_jump(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_PROT32, 0);
    make_second_task(rig, t_stop, 1);
    rig->s.gpr[X86_RBX] = 0xb0b;
    r = RIG_RUN(rig, t_jmp);
    assert_int_equal(r.s.rip, OTHER + 1);
    assert_int_equal(r.s.gpr[X86_RAX], 0x100);
    assert_int_equal(r.s.gpr[X86_RSP], RIG_STACK1);
    assert_int_equal(r.s.seg[X86_SEG_TR].selector, RIG_TR2);
    assert_int_equal(r.s.cr0 & 8, 8); /* TS */
    assert_int_equal(tss_type(rig, RIG_TR), 9);
    assert_int_equal(tss_type(rig, RIG_TR2), 11);
    assert_int_equal(rig_get32(rig, RIG_TSS + 0x20), RIG_CODE + 7);
    assert_int_equal(rig_get32(rig, RIG_TSS + 0x34), 0xb0b);
    assert_int_equal(rig_get32(rig, RIG_TSS + 0x4c) & 0xffff, RIG_CS32);
    assert_int_equal(r.s.rflags & NT, 0);
}

static void test_task_call_and_return(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_PAGED32, 0);
    make_second_task(rig, t_other, (size_t)(t_other_end - t_other));
    r = RIG_RUN(rig, t_call);
    assert_int_equal(r.vector, RIG_VECTOR_NONE);
    assert_int_equal(r.s.gpr[X86_RSI], 0x77);
    assert_int_equal(r.s.seg[X86_SEG_TR].selector, RIG_TR);
    assert_int_equal(tss_type(rig, RIG_TR), 11);
    assert_int_equal(tss_type(rig, RIG_TR2), 9);
    assert_int_equal(rig_get32(rig, RIG_TSS2) & 0xffff, RIG_TR); /* the link */
    assert_int_equal(rig_get32(rig, RIG_TSS2 + 0x44), 0x99);     /* its EDI was saved */
    assert_int_equal(rig_get32(rig, RIG_TSS2 + 0x24) & NT, 0);
}

static void test_task_gate_with_error_code(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_PROT32, 3);
    make_second_task(rig, t_stop, 1);
    rig_put_gate(rig, GP, RIG_TR2, 0, 5, 0, 0);
    r = RIG_RUN(rig, g_hlt); /* HLT in ring 3 */
    assert_int_equal(r.s.rip, OTHER + 1);
    assert_int_equal(r.s.gpr[X86_RSP], RIG_STACK1 - 4);
    assert_int_equal(rig_get32(rig, RIG_STACK1 - 4), 0);
    assert_int_equal(r.s.rflags & NT, NT);
    assert_int_equal(rig_get32(rig, RIG_TSS + 0x20), RIG_CODE);
    assert_int_equal(tss_type(rig, RIG_TR), 11); /* both: nested */
    assert_int_equal(tss_type(rig, RIG_TR2), 11);
}

static void test_task_faults(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_PROT32, 0); /* busy */
    make_second_task(rig, t_stop, 1);
    rig_put_gdt(rig, RIG_TR2, RIG_TSS2, 0x67, 0x8b);
    r = RIG_RUN(rig, t_jmp);
    expect_vector(&r, GP, RIG_TR2, 0);
    rig_reset(rig, RIG_PROT32, 0); /* too short */
    make_second_task(rig, t_stop, 1);
    rig_put_gdt(rig, RIG_TR2, RIG_TSS2, 0x66, 0x89);
    r = RIG_RUN(rig, t_jmp);
    expect_vector(&r, TS, RIG_TR2, 0);
    rig_reset(rig, RIG_PROT32, 0); /* a bad segment is the new task's fault */
    make_second_task(rig, t_stop, 1);
    rig_put32(rig, RIG_TSS2 + 0x54, 0x1f8); /* DS beyond the table */
    r = RIG_RUN(rig, t_jmp);
    assert_int_equal(r.vector, TS);
    assert_int_equal(r.error, 0x1f8);
    assert_int_equal(r.rip, OTHER);
    rig_reset(rig, RIG_LONG, 0); /* no tasks in long mode */
    rig->s.rflags |= NT;
    rig->s.gpr[X86_RSP] = RIG_STACK0 - 0x400;
    r = RIG_RUN(rig, t_iret64);
    expect_vector(&r, GP, 0, 0);
}

static void test_task_trap_bit(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_PROT32, 0);
    make_second_task(rig, t_stop, 1);
    rig_put32(rig, RIG_TSS2 + 0x64, 0x680001);
    r = RIG_RUN(rig, t_jmp);
    assert_int_equal(r.vector, DB);
    assert_int_equal(r.rip, OTHER);
    assert_int_equal(r.s.dr[6] & BT, BT);
}

/* --- virtual-8086 mode --- */

SNIPPET(v_enter, 32, "iretl");
SNIPPET(v_code, 16, "movw %cs, %ax\n movw %ax, %es\n movw $0x1234, %es:0x810\n movw $0x4000, %bx\n movw %bx, %ds\n"
                    "movw 4, %cx\n int $0x40");
SNIPPET(v_cli, 16, "cli");
SNIPPET(v_wrap, 16, "movl $0x12345, %ebx\n movb (%ebx), %al");

/* A frame for IRET to virtual-8086 mode; the code is at 3000:0. */
static RigResult run_vm86(Rig *rig, const uint8_t *code, size_t len, unsigned iopl)
{
    const uint32_t frame[] = {0, 0x3000, VM | 2 | iopl << 12, 0x1000, 0x3100, 0x1111, 0x2222, 0x3333, 0x4444};

    rig_reset(rig, RIG_PROT32, 0);
    rig_put(rig, 0x30000, code, len);
    rig->s.gpr[X86_RSP] = RIG_STACK1 - sizeof(frame);
    memcpy(rig->ram + RIG_STACK1 - sizeof(frame), frame, sizeof(frame));
    rig_put64(rig, 0x40004, 0xabcd);
    return RIG_RUN(rig, v_enter);
}

static void test_vm86(void **state)
{
    Rig *rig = *state;
    RigResult r = run_vm86(rig, v_code, (size_t)(v_code_end - v_code), 3);

    assert_int_equal(r.vector, 0x40);
    assert_int_equal(r.s.gpr[X86_RAX] & 0xffff, 0x3000);
    assert_int_equal(r.s.gpr[X86_RCX] & 0xffff, 0xabcd);
    assert_int_equal(rig_get32(rig, 0x30810) & 0xffff, 0x1234);
    assert_int_equal(r.cs, 0x3000);
    assert_int_equal(r.rip, v_code_end - v_code);
    assert_int_equal(r.rflags & VM, VM);
    assert_int_equal(r.rsp, 0x1000);
    assert_int_equal(r.ss, 0x3100);
    /* Behind SS the data segments; in the handler they are null. */
    assert_int_equal(rig_get32(rig, r.frame + 20), 0x3000);
    assert_int_equal(rig_get32(rig, r.frame + 24), 0x4000);
    assert_int_equal(rig_get32(rig, r.frame + 28), 0x3333);
    assert_int_equal(rig_get32(rig, r.frame + 32), 0x4444);
    assert_int_equal(r.s.seg[X86_SEG_DS].selector, 0);
    assert_int_equal(r.s.seg[X86_SEG_CS].selector, RIG_CS32);
    assert_int_equal(r.s.rflags & VM, 0);
}

static void test_vm86_protection(void **state)
{
    Rig *rig = *state;
    RigResult r = run_vm86(rig, v_cli, (size_t)(v_cli_end - v_cli), 0);

    assert_int_equal(r.vector, GP);
    assert_int_equal(r.rip, 0);
    assert_int_equal(r.error, 0);
    r = run_vm86(rig, v_code, (size_t)(v_code_end - v_code), 0); /* INT n needs IOPL 3 */
    assert_int_equal(r.vector, GP);
    assert_int_equal(r.rip, v_code_end - v_code - 2);
    r = run_vm86(rig, v_wrap, (size_t)(v_wrap_end - v_wrap), 3); /* beyond 64 KiB */
    assert_int_equal(r.vector, GP);
    assert_int_equal(r.rip, 6);
}

/* --- real mode --- */

SNIPPET(r_limit, 16, "movw $0xffff, %bx\n movw (%bx), %ax");
SNIPPET(r_big, 16, "movl $0x120000, %ebx\n movl (%ebx), %eax");
SNIPPET(r_unreal, 16, "cli\n lgdtl %cs:(%di)\n movl %cr0, %eax\n orb $1, %al\n movl %eax, %cr0\n movw $0x10, %bx\n"
                      "movw %bx, %ds\n andb $0xfe, %al\n movl %eax, %cr0\n xorw %bx, %bx\n movw %bx, %ds\n"
                      "movl $0x120000, %ebx\n movl (%ebx), %ecx");

static void test_real_mode_limits(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_REAL, 0);
    r = RIG_RUN(rig, r_limit);
    assert_int_equal(r.vector, GP);
    assert_int_equal(r.rip, 3);
    rig_reset(rig, RIG_REAL, 0);
    r = RIG_RUN(rig, r_big);
    assert_int_equal(r.vector, GP);
    assert_int_equal(r.rip, 6);
}

static void test_big_real_mode(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_REAL, 0);
    rig_put32(rig, 0x120000, 0xcafe1234);
    rig->s.gpr[X86_RDI] = 0x800;
    rig_put32(rig, RIG_CODE + 0x800, RIG_GDT_LIMIT | RIG_GDT << 16);
    r = RIG_RUN(rig, r_unreal);
    assert_int_equal(r.vector, RIG_VECTOR_NONE);
    assert_int_equal(r.s.gpr[X86_RCX], 0xcafe1234); /* the limit of protected mode stays */
}

/* --- fast system calls --- */

SNIPPET(f_syscall, 64, "syscall\n int $0x80");
SNIPPET(f_kernel, 64, "movq %rsp, %rsi\n movw %cs, %di\n sysretq");
SNIPPET(f_sysenter, 32, "movl $0x2000b, %edx\n movl %esp, %ecx\n sysenter\n hlt\n hlt\n int $0x80");
SNIPPET(f_kernel32, 32, "movl %esp, %esi\n movw %cs, %di\n sysexit");

static void test_syscall_and_sysret(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 3);
    rig_put(rig, OTHER, f_kernel, (size_t)(f_kernel_end - f_kernel));
    rig_map(rig, OTHER & ~0xfff, OTHER & ~0xfff, RIG_P | RIG_W, PAGE);
    rig->s.star = (uint64_t)(0x28 | 3) << 48 | (uint64_t)RIG_CS64 << 32; /* SYSRET: SS 0x30, CS 0x38 */
    rig->s.lstar = OTHER;
    rig->s.fmask = 0x200;
    rig->s.rflags |= 0x200 | 0x41;
    r = RIG_RUN(rig, f_syscall);
    expect_vector(&r, DONE, 0, 4);
    assert_int_equal(r.s.gpr[X86_RSI], RIG_STACK3); /* RSP is the kernel's business */
    assert_int_equal(r.s.gpr[X86_RDI] & 0xffff, RIG_CS64);
    assert_int_equal(r.s.gpr[X86_RCX], RIG_CODE + 2);
    assert_int_equal(r.s.gpr[11] & 0xfff, 0x243);
    assert_int_equal(r.rflags & 0x200, 0x200);
    assert_int_equal(r.cs, RIG_CS64_3);
    assert_int_equal(r.ss, RIG_DS3);
    rig_reset(rig, RIG_LONG, 3);
    rig->s.efer &= ~UINT64_C(1);
    r = RIG_RUN(rig, f_syscall);
    expect_vector(&r, UD, 0, 0);
}

static void test_sysenter_and_sysexit(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_PROT32, 3);
    rig_put(rig, OTHER, f_kernel32, (size_t)(f_kernel32_end - f_kernel32));
    /* CS, SS, CS 3, SS 3 one behind the other. */
    rig_put_gdt(rig, 0x80, 0, 0xfffff, 0xc09b);
    rig_put_gdt(rig, 0x88, 0, 0xfffff, 0xc093);
    rig_put_gdt(rig, 0x90, 0, 0xfffff, 0xc0fb);
    rig_put_gdt(rig, 0x98, 0, 0xfffff, 0xc0f3);
    rig->s.sysenter_cs = 0x80;
    rig->s.sysenter_esp = RIG_STACK1;
    rig->s.sysenter_eip = OTHER;
    r = RIG_RUN(rig, f_sysenter);
    assert_int_equal(r.vector, 0x80);
    assert_int_equal(r.s.gpr[X86_RSI], RIG_STACK1);
    assert_int_equal(r.s.gpr[X86_RDI] & 0xffff, 0x80);
    assert_int_equal(r.cs, 0x93);
    assert_int_equal(r.ss, 0x9b);
    rig_reset(rig, RIG_PROT32, 3);
    r = RIG_RUN(rig, f_sysenter);
    expect_vector(&r, GP, 0, 7); /* no segment set */
}

/* --- debugging --- */

SNIPPET(d_three, 64, "nop\n incl %eax\n incl %eax");
SNIPPET(d_popf, 64, "pushq $0x102\n popfq\n nop\n nop");
SNIPPET(d_popf_off, 64, "popfq\n nop"); /* from a stack of zeros */
SNIPPET(d_rep, 64, "rep stosb");
SNIPPET(d_mov_ss, 64, "movl %edx, %ss\n nop\n nop");
SNIPPET(d_int, 64, "int $0x40");
SNIPPET(d_store, 64, "nop\n movb %al, (%rbx)\n nop");
SNIPPET(d_load, 64, "movq (%rbx), %rax\n nop");
SNIPPET(d_out, 64, "outb %al, $0x80\n nop");
SNIPPET(d_mov_dr, 64, "movq %dr0, %rax");

static RigResult stepped(Rig *rig, const uint8_t *code, size_t len)
{
    rig_reset(rig, RIG_LONG, 0);
    rig->s.rflags |= TF;
    rig->s.gpr[X86_RDX] = RIG_DS0;
    rig->s.gpr[X86_RCX] = 3;
    rig->s.gpr[X86_RDI] = RIG_DATA;
    return rig_run(rig, code, len);
}

#define STEPPED(rig, name) stepped(rig, name, (size_t)(name##_end - name))

static void test_single_step(void **state)
{
    Rig *rig = *state;
    RigResult r = STEPPED(rig, d_three);

    expect_vector(&r, DB, 0, 1);
    assert_int_equal(r.s.dr[6] & BS, BS);
    assert_int_equal(r.rflags & TF, TF);
    assert_int_equal(r.s.rflags & TF, 0);
    r = STEPPED(rig, d_popf_off); /* an instruction that begins with TF set traps, whatever it does to TF */
    expect_vector(&r, DB, 0, 1);
    rig_reset(rig, RIG_LONG, 0);
    r = RIG_RUN(rig, d_popf); /* and one that sets it does not */
    expect_vector(&r, DB, 0, 7);
    r = STEPPED(rig, d_rep); /* after each repetition */
    expect_vector(&r, DB, 0, 0);
    assert_int_equal(r.s.gpr[X86_RCX], 2);
    r = STEPPED(rig, d_mov_ss); /* MOV SS holds the trap back */
    expect_vector(&r, DB, 0, 3);
    r = STEPPED(rig, d_int); /* INT clears TF before it could trap */
    expect_vector(&r, 0x40, 0, 2);
}

static RigResult with_breakpoint(Rig *rig, uint64_t addr, unsigned kind, unsigned len, const uint8_t *code, size_t bytes)
{
    static const uint8_t lens[] = {[1] = 0, [2] = 1, [8] = 2, [4] = 3};

    rig_reset(rig, RIG_LONG, 0);
    rig->s.dr[2] = addr;
    rig->s.dr[7] = 0x400 | 1 << 4 | (uint64_t)kind << 24 | (uint64_t)lens[len] << 26;
    rig->s.gpr[X86_RBX] = RIG_DATA + 6;
    rig->s.cr4 |= 8; /* DE */
    return rig_run(rig, code, bytes);
}

#define WITH_BREAKPOINT(rig, addr, kind, len, name) with_breakpoint(rig, addr, kind, len, name, (size_t)(name##_end - name))

static void test_breakpoints(void **state)
{
    enum { EXECUTE, WRITE, IO, ACCESS };
    Rig *rig = *state;
    RigResult r;

    r = WITH_BREAKPOINT(rig, RIG_CODE + 1, EXECUTE, 1, d_three); /* a fault: before the instruction */
    expect_vector(&r, DB, 0, 1);
    assert_int_equal(r.s.dr[6] & 15, 4);
    assert_int_equal(r.s.gpr[X86_RAX], 0);
    r = WITH_BREAKPOINT(rig, RIG_DATA + 6, WRITE, 1, d_store); /* a trap: after it */
    expect_vector(&r, DB, 0, 3);
    assert_int_equal(r.s.dr[6] & 15, 4);
    r = WITH_BREAKPOINT(rig, RIG_DATA + 4, WRITE, 4, d_store);
    expect_vector(&r, DB, 0, 3);
    r = WITH_BREAKPOINT(rig, RIG_DATA + 8, ACCESS, 8, d_load); /* 6..13 overlaps 8..15 */
    expect_vector(&r, DB, 0, 3);
    r = WITH_BREAKPOINT(rig, RIG_DATA + 8, WRITE, 8, d_load);
    assert_int_equal(r.vector, RIG_VECTOR_NONE);
    r = WITH_BREAKPOINT(rig, 0x80, IO, 1, d_out);
    expect_vector(&r, DB, 0, 2);
    r = WITH_BREAKPOINT(rig, 0x81, IO, 1, d_out);
    assert_int_equal(r.vector, RIG_VECTOR_NONE);
}

SNIPPET(d_resume, 64, "pushq %rdx\n pushq %rcx\n pushq $0x10002\n pushq %rsi\n pushq %rdi\n iretq");

static void test_resume_flag(void **state)
{
    Rig *rig = *state;
    size_t len = (size_t)(d_resume_end - d_resume);
    const uint8_t *code = d_resume;
    RigResult r;

    /* IRET with RF to an instruction that has a breakpoint: it runs once. */
    rig_reset(rig, RIG_LONG, 0);
    rig->s.dr[0] = RIG_CODE + len;
    rig->s.dr[7] = 0x401;
    rig->s.gpr[X86_RDX] = RIG_DS0;
    rig->s.gpr[X86_RCX] = RIG_STACK0 - 0x400;
    rig->s.gpr[X86_RSI] = RIG_CS64;
    rig->s.gpr[X86_RDI] = RIG_CODE + len;
    r = rig_run(rig, code, len);
    assert_int_equal(r.vector, RIG_VECTOR_NONE);
    assert_int_equal(r.s.rip, RIG_CODE + len + 1);
}

static void test_general_detect(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    rig->s.dr[7] = 0x400 | 1 << 13;
    r = RIG_RUN(rig, d_mov_dr);
    expect_vector(&r, DB, 0, 0);
    assert_int_equal(r.s.dr[6] & 0x2000, 0x2000);
    assert_int_equal(r.s.dr[7] & 1 << 13, 0);
}

/* --- system management mode --- */

SNIPPET(s_count, 64, "incl %eax\n hlt\n incl %eax");
SNIPPET(s_handler, 16, "movw %cs, %bx\n movl $0x50000, %cs:0xff00\n movl $0x123, %cs:0xffe0\n rsm");
SNIPPET(s_rsm, 64, "rsm");

static void test_smm(void **state)
{
    enum { SMBASE = 0x30000 };
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    rig_put(rig, SMBASE + 0x8000, s_handler, (size_t)(s_handler_end - s_handler));
    rig->s.gpr[X86_RBX] = 0x1122334455667788;
    x86_cpu_set_irq(rig->cpu, X86_IRQ_SMI, true);
    r = RIG_RUN(rig, s_count);
    assert_int_equal(r.vector, RIG_VECTOR_NONE);
    assert_int_equal(r.s.gpr[X86_RAX], 1);
    assert_int_equal(r.s.gpr[X86_RBX], 0x1122334400000123); /* the handler wrote into the saved register */
    assert_int_equal(r.s.smbase, 0x50000);
    assert_false(r.s.smm);
    assert_false(rig->smm);
    assert_int_equal(rig_get32(rig, SMBASE + 0xfefc), 0x20064);
    assert_int_equal(rig_get64(rig, SMBASE + 0xff78), RIG_CODE);
    assert_int_equal(rig_get64(rig, SMBASE + 0xfed0) & 0x500, 0x500);
    assert_int_equal(rig_get64(rig, SMBASE + 0xfe10) & 0xffff, RIG_CS64);
    /* From a halt, back into it. */
    rig_put(rig, 0x58000, s_handler, (size_t)(s_handler_end - s_handler));
    x86_cpu_set_irq(rig->cpu, X86_IRQ_SMI, true);
    assert_true(x86_cpu_has_work(rig->cpu));
    r = rig_resume(rig);
    assert_int_equal(r.why, X86_EXIT_HALTED);
    assert_int_equal(r.s.rip, RIG_CODE + 3);
    assert_int_equal(r.s.gpr[X86_RAX], 1);
    assert_int_equal(rig->ram[0x50000 + 0xfec9], 1);
    /* RSM elsewhere is not an instruction. */
    rig_reset(rig, RIG_LONG, 0);
    r = RIG_RUN(rig, s_rsm);
    expect_vector(&r, UD, 0, 0);
}

SNIPPET(s_stay, 16, "1: incl %esi\n hlt\n jmp 1b");

static void test_smm_blocks_events(void **state)
{
    Rig *rig = *state;

    rig_reset(rig, RIG_LONG, 0);
    rig_put(rig, 0x38000, s_stay, (size_t)(s_stay_end - s_stay));
    rig->s.rflags |= 0x200;
    x86_cpu_set_irq(rig->cpu, X86_IRQ_SMI, true);
    RigResult r = RIG_RUN(rig, s_count);

    assert_true(r.s.smm);
    assert_true(rig->smm);
    assert_int_equal(r.s.cr0 & 0x80000001, 0);
    assert_int_equal(r.s.efer, 0);
    assert_int_equal(r.s.seg[X86_SEG_CS].base, 0x30000);
    x86_cpu_set_irq(rig->cpu, X86_IRQ_NMI, true);
    x86_cpu_set_irq(rig->cpu, X86_IRQ_SMI, true);
    x86_cpu_set_irq(rig->cpu, X86_IRQ_INIT, true);
    assert_false(x86_cpu_has_work(rig->cpu));
    r = rig_resume(rig);
    assert_int_equal(r.s.gpr[X86_RSI], 1);
    x86_cpu_reset(rig->cpu, false);
}

/* --- extended state --- */

SNIPPET(x_enable, 64, "movq %cr4, %rax\n orl $0x40000, %eax\n movq %rax, %cr4\n xorl %ecx, %ecx\n xorl %edx, %edx\n"
                      "movl $3, %eax\n xsetbv\n xorl %eax, %eax\n xgetbv\n movl %eax, %esi\n"
                      "pcmpeqd %xmm5, %xmm5\n fninit\n fldpi\n movl $-1, %eax\n movl $-1, %edx\n xsave (%rbx)\n"
                      "pxor %xmm5, %xmm5\n fninit\n xrstor (%rbx)\n movq %xmm5, %rdi\n fnstsw %ax\n movl %eax, %ebp\n"
                      "andq $~2, 512(%rbx)\n movl $-1, %eax\n xrstor (%rbx)\n movq %xmm5, %r8");
SNIPPET(x_getbv, 64, "xorl %ecx, %ecx\n xgetbv");
SNIPPET(x_setbv, 64, "xsetbv");
SNIPPET(x_rstor, 64, "movl $3, %eax\n xrstor (%rbx)");
SNIPPET(x_save, 64, "xsave (%rbx)");

static void test_xsave(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    rig->s.gpr[X86_RBX] = RIG_DATA;
    r = RIG_RUN(rig, x_enable);
    assert_int_equal(r.vector, RIG_VECTOR_NONE);
    assert_int_equal(r.s.gpr[X86_RSI], 3);
    assert_int_equal(r.s.gpr[X86_RDI], UINT64_MAX);
    assert_int_equal(r.s.gpr[X86_RBP] >> 11 & 7, 7); /* TOP: the pushed value is there again */
    assert_int_equal(r.s.gpr[8], 0);                 /* a component not in XSTATE_BV is initialised */
    assert_int_equal(rig_get64(rig, RIG_DATA + 512), 1);
}

static RigResult xsave_case(Rig *rig, const uint8_t *code, size_t len, uint64_t xcr0, unsigned cpl)
{
    rig_reset(rig, RIG_LONG, cpl);
    rig->s.gpr[X86_RBX] = RIG_DATA;
    rig->s.gpr[X86_RAX] = xcr0;
    rig->s.cr4 |= 0x40000;
    rig->s.xcr0 = 3;
    rig_put32(rig, RIG_DATA + 24, 0x1f80);
    return rig_run(rig, code, len);
}

#define XSAVE_CASE(rig, name, rax, cpl) xsave_case(rig, name, (size_t)(name##_end - name), rax, cpl)

static void test_xsave_faults(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    r = RIG_RUN(rig, x_getbv);
    expect_vector(&r, UD, 0, 2); /* CR4.OSXSAVE is clear */
    r = XSAVE_CASE(rig, x_setbv, 2, 0);
    expect_vector(&r, GP, 0, 0); /* without x87 */
    r = XSAVE_CASE(rig, x_setbv, 7, 0);
    expect_vector(&r, GP, 0, 0); /* AVX is not there */
    r = XSAVE_CASE(rig, x_setbv, 3, 3);
    expect_vector(&r, GP, 0, 0);
    r = XSAVE_CASE(rig, x_rstor, 0, 3);
    expect_vector(&r, DONE, 0, 10);
    rig_reset(rig, RIG_LONG, 3);
    rig->s.cr4 |= 0x40000;
    rig->s.xcr0 = 1;
    rig->s.gpr[X86_RBX] = RIG_DATA;
    rig_put64(rig, RIG_DATA + 512, 2); /* a component XCR0 does not have */
    r = RIG_RUN(rig, x_rstor);
    expect_vector(&r, GP, 0, 5);
    rig_reset(rig, RIG_LONG, 3);
    rig->s.cr4 |= 0x40000;
    rig->s.gpr[X86_RBX] = RIG_DATA + 32; /* not aligned to 64 */
    r = RIG_RUN(rig, x_save);
    expect_vector(&r, GP, 0, 0);
}

/* --- what CR4 opens and closes --- */

SNIPPET(c_wrgsbase, 64, "wrgsbase %rax\n rdgsbase %rdx");
SNIPPET(c_sgdt, 64, "sgdt (%rbx)");
SNIPPET(c_smsw, 64, "smsw %eax");
SNIPPET(c_sldt, 64, "sldt %eax");
SNIPPET(c_rdtsc, 64, "rdtsc");

static RigResult with_cr4(Rig *rig, uint64_t bits, const uint8_t *code, size_t len, uint64_t rax)
{
    rig_reset(rig, RIG_LONG, 3);
    rig->s.cr4 |= bits;
    rig->s.gpr[X86_RAX] = rax;
    rig->s.gpr[X86_RBX] = RIG_DATA;
    return rig_run(rig, code, len);
}

#define WITH_CR4(rig, bits, name, rax) with_cr4(rig, bits, name, (size_t)(name##_end - name), rax)

static void test_cr4(void **state)
{
    enum { TSD = 4, UMIP = 1 << 11, FSGSBASE = 1 << 16 };
    Rig *rig = *state;
    RigResult r;

    r = WITH_CR4(rig, FSGSBASE, c_wrgsbase, 0x7fff12345678);
    assert_int_equal(r.vector, DONE);
    assert_int_equal(r.s.gpr[X86_RDX], 0x7fff12345678);
    r = WITH_CR4(rig, 0, c_wrgsbase, 0);
    expect_vector(&r, UD, 0, 0);
    r = WITH_CR4(rig, FSGSBASE, c_wrgsbase, UINT64_C(1) << 47);
    expect_vector(&r, GP, 0, 0);
    r = WITH_CR4(rig, 0, c_sgdt, 0);
    assert_int_equal(r.vector, DONE);
    r = WITH_CR4(rig, UMIP, c_sgdt, 0);
    expect_vector(&r, GP, 0, 0);
    r = WITH_CR4(rig, UMIP, c_smsw, 0);
    expect_vector(&r, GP, 0, 0);
    r = WITH_CR4(rig, UMIP, c_sldt, 0);
    expect_vector(&r, GP, 0, 0);
    r = WITH_CR4(rig, TSD, c_rdtsc, 0);
    expect_vector(&r, GP, 0, 0);
    r = WITH_CR4(rig, 0, c_rdtsc, 0);
    assert_int_equal(r.vector, DONE);
}

SNIPPET(a_x2apic, 64, "movl $0x1b, %ecx\n rdmsr\n btsl $10, %eax\n wrmsr\n movl $0x808, %ecx\n movl $0x50, %eax\n xorl %edx, %edx\n wrmsr\n"
                      "movq %cr8, %rsi\n movl $0x802, %ecx\n rdmsr\n movl %eax, %edi\n movl $0x6e0, %ecx\n movl $99, %eax\n wrmsr\n rdmsr\n movl %eax, %ebx\n"
                      "movl $0x80f, %ecx\n rdmsr");

static void test_x2apic_and_deadline(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    r = RIG_RUN(rig, a_x2apic);
    expect_vector(&r, GP, 0, (uint64_t)(a_x2apic_end - a_x2apic) - 2);
    assert_int_equal(r.s.gpr[X86_RSI], 5);
    assert_int_equal(r.s.gpr[X86_RDI], 7);
    assert_int_equal(rig->deadline, 99);
    assert_int_equal(r.s.gpr[X86_RBX], 99);
    rig->apic_base = 0xfee00900;
}

/* --- random numbers and the time stamp counter --- */

SNIPPET(n_random, 64, "rdrand %rax\n setc %bl\n rdrand %rcx\n setc %bh\n rdseed %rdx\n setc %sil\n rdseed %edi\n setc %bpl\n rdrand %r8w");
SNIPPET(n_rdtscp, 64, "movl $0xc0000103, %ecx\n movl $77, %eax\n xorl %edx, %edx\n wrmsr\n rdtscp");

/* Other numbers each time, and CF. */
static void test_random_and_tsc(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 3);
    r = RIG_RUN(rig, n_random);
    assert_int_equal(r.vector, DONE);
    assert_int_equal(r.s.gpr[X86_RBX] & 0xffff, 0x101);
    assert_int_equal(r.s.gpr[X86_RSI] & r.s.gpr[X86_RBP] & 1, 1);
    assert_int_not_equal(r.s.gpr[X86_RAX], r.s.gpr[X86_RCX]);
    assert_int_not_equal(r.s.gpr[X86_RAX], r.s.gpr[X86_RDX]);
    rig_reset(rig, RIG_LONG, 0);
    rig->tsc = UINT64_C(0x1122334455667788);
    r = RIG_RUN(rig, n_rdtscp);
    assert_int_equal(r.vector, RIG_VECTOR_NONE);
    assert_int_equal(r.s.gpr[X86_RCX], 77);
    assert_int_equal(r.s.gpr[X86_RDX], 0x11223344);
    assert_int_equal(r.s.gpr[X86_RAX], 0x55667788);
    rig->tsc = 0;
}

/* --- INIT and SIPI --- */

static void test_init_and_sipi(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    rig->s.wait_sipi = 1;
    rig->s.lstar = 0x1234;
    rig->ram[0] = 0xf4; /* there is no firmware: the #GP of the fetch leads to 0:0 */
    x86_cpu_set_irq(rig->cpu, X86_IRQ_NMI, true); /* waits, too */
    rig_apply(rig);
    assert_false(x86_cpu_has_work(rig->cpu));
    x86_cpu_set_irq(rig->cpu, X86_IRQ_INIT, true);
    r = rig_resume(rig);
    assert_int_equal(r.s.cr0, 0x60000010);
    assert_int_equal(r.s.lstar, 0x1234); /* INIT leaves these */
    /* The boot processor goes on at the reset vector; this one has been told to wait. */
    x86_cpu_reset(rig->cpu, false);
    x86_cpu_get_state(rig->cpu, &rig->s);
    rig->s.wait_sipi = 1;
    rig->ram[0x12000] = 0xf4;
    rig_apply(rig);
    x86_cpu_sipi(rig->cpu, 0x12);
    assert_true(x86_cpu_has_work(rig->cpu));
    r = rig_resume(rig);
    assert_int_equal(r.s.seg[X86_SEG_CS].selector, 0x1200);
    assert_int_equal(r.s.rip, 1);
}

/* --- models --- */

static void expect_model_error(const char *model, const char *part)
{
    X86CpuConfig config = {.model = model, .cores = 1, .threads = 1};
    X86CpuBus bus = {0};
    char *error = NULL;

    assert_null(x86_cpu_new(&config, &bus, NULL, &error));
    assert_non_null(error);
    if (!strstr(error, part)) {
        fail_msg("%s: '%s' lacks '%s'", model, error, part);
    }
    free(error);
}

static void test_model_errors(void **state)
{
    expect_model_error("host", "kvm");
    expect_model_error("pentium", "'pentium'");
    expect_model_error("", "unknown model");
    expect_model_error("max,+sse4.3", "'sse4.1'");
    expect_model_error("max,+rdrnad", "did you mean 'rdrand'");
    expect_model_error("max,+avx2", "'avx2' is not implemented");
    expect_model_error("max,aes=yes", "aes=yes");
    expect_model_error("max,", "unknown feature ''");
    expect_model_error("max,+aes=on", "+NAME");
}

SNIPPET(p_cpuid, 64, "cpuid");
SNIPPET(p_popcnt, 64, "popcnt %rax, %rax");
SNIPPET(p_pshufb, 64, "pshufb %xmm0, %xmm1");
SNIPPET(p_tzcnt, 64, "movl $0, %eax\n movl $5, %edx\n tzcnt %eax, %edx");
SNIPPET(p_andn, 64, "andn %rax, %rdx, %rcx");

static uint64_t cpuid(Rig *rig, uint32_t leaf, unsigned reg)
{
    rig_reset(rig, RIG_LONG, 0);
    rig->s.gpr[X86_RAX] = leaf;
    return RIG_RUN(rig, p_cpuid).s.gpr[reg];
}

/* x86-64-v2: CX16, LAHF, POPCNT, SSE3 to SSE4.2. */
static void test_features(void **state)
{
    Rig *max = *state, *plain = rig_new("qemu64"), *mixed = rig_new("qemu64,+popcnt,ssse3=on,-cx16,-avx");
    const uint64_t v2 = 1 << 0 | 1 << 9 | 1 << 13 | 1 << 19 | 1 << 20 | 1 << 23;
    RigResult r;

    assert_int_equal(cpuid(max, 1, X86_RCX) & v2, v2);
    assert_int_equal(cpuid(max, 0x80000001, X86_RCX) & 1, 1);
    assert_int_equal(cpuid(plain, 1, X86_RCX) & v2, 1 | 1 << 13);
    assert_int_equal(cpuid(mixed, 1, X86_RCX) & v2, 1 | 1 << 9 | 1 << 23);
    assert_int_equal(cpuid(max, 7, X86_RBX) & (1 << 3 | 1 << 8 | 1 << 18 | 1 << 19), 1 << 3 | 1 << 8 | 1 << 18 | 1 << 19);
    assert_int_equal(cpuid(max, 0xd, X86_RAX), 3);
    assert_int_equal(cpuid(max, 0xd, X86_RCX), 576);
    rig_reset(plain, RIG_LONG, 3);
    r = RIG_RUN(plain, p_popcnt);
    expect_vector(&r, UD, 0, 0);
    rig_reset(plain, RIG_LONG, 3);
    r = RIG_RUN(plain, p_pshufb);
    expect_vector(&r, UD, 0, 0);
    rig_reset(plain, RIG_LONG, 3);
    r = RIG_RUN(plain, p_andn);
    expect_vector(&r, UD, 0, 0);
    rig_reset(plain, RIG_LONG, 3); /* decodes as BSF, which leaves the destination alone */
    assert_int_equal(RIG_RUN(plain, p_tzcnt).s.gpr[X86_RDX], 5);
    rig_reset(max, RIG_LONG, 3);
    assert_int_equal(RIG_RUN(max, p_tzcnt).s.gpr[X86_RDX], 32);
    rig_free(plain);
    rig_free(mixed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call_gate_to_inner_level),
        cmocka_unit_test(test_call_gate_checks),
        cmocka_unit_test(test_call_gate_64),
        cmocka_unit_test(test_interrupt_and_trap_gates),
        cmocka_unit_test(test_gate_of_16_bits),
        cmocka_unit_test(test_task_jump),
        cmocka_unit_test(test_task_call_and_return),
        cmocka_unit_test(test_task_gate_with_error_code),
        cmocka_unit_test(test_task_faults),
        cmocka_unit_test(test_task_trap_bit),
        cmocka_unit_test(test_vm86),
        cmocka_unit_test(test_vm86_protection),
        cmocka_unit_test(test_real_mode_limits),
        cmocka_unit_test(test_big_real_mode),
        cmocka_unit_test(test_syscall_and_sysret),
        cmocka_unit_test(test_sysenter_and_sysexit),
        cmocka_unit_test(test_single_step),
        cmocka_unit_test(test_breakpoints),
        cmocka_unit_test(test_resume_flag),
        cmocka_unit_test(test_general_detect),
        cmocka_unit_test(test_smm),
        cmocka_unit_test(test_smm_blocks_events),
        cmocka_unit_test(test_xsave),
        cmocka_unit_test(test_xsave_faults),
        cmocka_unit_test(test_cr4),
        cmocka_unit_test(test_x2apic_and_deadline),
        cmocka_unit_test(test_random_and_tsc),
        cmocka_unit_test(test_init_and_sipi),
        cmocka_unit_test(test_model_errors),
        cmocka_unit_test(test_features),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
