/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 32-bit test kernel: exceptions, segment limits and descriptors, gates of both
 * sizes, call gates with parameters, task switches, and virtual-8086 mode
 * (Intel SDM vol. 3, chapters 5, 6, 7 and 20).
 */
#include "kernel.h"

typedef void Guarded(void);

unsigned long guarded(Guarded *fn);
unsigned long guarded_user(Guarded *fn, void *stack, unsigned long flags);
extern char stubs[];

enum { CS = 0x10, DS = 0x18, USER_CS = 0x28, USER_DS = 0x30, TR = 0x38, TR2 = 0x40, SMALL = 0x48, NOT_PRESENT = 0x50, DOWN = 0x58,
       CALL_GATE = 0x60, TASK_GATE = 0x68, READ_ONLY = 0x70, USER_FLAGS = 2, VM = 0x20000, NT = 0x4000 };

static uint64_t gdt[20] = {
    0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0,
    0x00cffb000000ffff, 0x00cff3000000ffff, 0, 0,
    0x004093000000000f /* SMALL: 16 bytes at 0 */, 0x00cf13000000ffff, 0x004097000000000f /* DOWN: from 16 up */,
    0, 0, 0x00cf91000000ffff /* READ_ONLY */,
};
static uint64_t idt[256];
typedef struct Tss {
    uint32_t link, esp0, ss0, unused[4], cr3, eip, eflags, gpr[8], seg[6], ldt;
    uint16_t trap, io_map;
} Tss;
static Tss tss, tss2;
static uint8_t ring0_stack[8192] __attribute__((aligned(16))), task_stack[4096] __attribute__((aligned(16)));
static uint8_t user_stack[8192] __attribute__((aligned(16)));

static uint64_t gate(uint16_t selector, uint32_t offset, unsigned type, unsigned dpl, unsigned params)
{
    return (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)params << 32 | (uint64_t)(0x80 | dpl << 5 | type) << 40 |
           (uint64_t)(offset >> 16) << 48;
}

static uint64_t segment(uint32_t base, uint32_t limit, unsigned type)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)type << 40 | (uint64_t)(base >> 24) << 56;
}

static void set_default_gate(unsigned vector)
{
    idt[vector] = gate(CS, (uint32_t)stubs + 16 * vector, 0xe, 3, 0);
}

static void load_tables(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) pointer = {sizeof(gdt) - 1, (uint32_t)gdt};

    tss.esp0 = (uint32_t)(ring0_stack + sizeof(ring0_stack));
    tss.ss0 = DS;
    tss.io_map = sizeof(tss);
    gdt[TR / 8] = segment((uint32_t)&tss, sizeof(tss) - 1, 0x89);
    gdt[TR2 / 8] = segment((uint32_t)&tss2, sizeof(tss2) - 1, 0x89);
    for (unsigned i = 0; i < 256; i++) {
        set_default_gate(i);
    }
    __asm__ volatile("lgdt %0" : : "m"(pointer));
    pointer.limit = sizeof(idt) - 1;
    pointer.base = (uint32_t)idt;
    __asm__ volatile("lidt %0\n ltr %w1" : : "m"(pointer), "r"(TR));
}

#define FAULTING(name, before, insn)                                                                         \
    extern char at_##name[];                                                                                 \
    void do_##name(void);                                                                                    \
    __asm__(".text\ndo_" #name ":\n" before "\nat_" #name ":\n" insn "\n int $0x80\n ret")

FAULTING(into, "movb $0x7f, %al\n incb %al", "into");
FAULTING(bound, "subl $8, %esp\n movl $3, (%esp)\n movl $5, 4(%esp)\n movl $6, %eax", ".byte 0x62, 0x04, 0x24");
FAULTING(aam, "", ".byte 0xd4, 0");
FAULTING(limit_in, "movl $0x48, %eax\n movw %ax, %fs", "movl %fs:12, %eax");
FAULTING(limit_out, "movl $0x48, %eax\n movw %ax, %fs", "movl %fs:13, %eax");
FAULTING(down_in, "movl $0x58, %eax\n movw %ax, %fs", "movl %fs:16, %eax");
FAULTING(down_out, "movl $0x58, %eax\n movw %ax, %fs", "movl %fs:15, %eax");
FAULTING(null, "xorl %eax, %eax\n movw %ax, %fs", "movl %fs:0, %eax");
FAULTING(write_code, "", "movl %eax, %cs:0");
FAULTING(write_ro, "movl $0x70, %eax\n movw %ax, %fs", "movl %eax, %fs:0");
FAULTING(ss_ro, "movl $0x70, %eax", "movw %ax, %ss");
FAULTING(ss_np, "movl $0x50, %eax", "movw %ax, %ss");
FAULTING(np, "movl $0x50, %eax", "movw %ax, %fs");
FAULTING(far_data, "", "ljmp $0x18, $0");
FAULTING(far_null, "", "ljmp $0, $0");
FAULTING(far_limit, "", "ljmp $0x7f8, $0");
FAULTING(retf_inner, "pushl $0x10\n pushl $0", "lret");
FAULTING(sysenter, "", "sysenter");
FAULTING(int40, "", "int $0x40");

typedef struct Case {
    const char *name;
    Guarded *fn;
    char *at;
} Case;

#define CASE(name) {#name, do_##name, at_##name}
static const Case cases[] = {
    CASE(into), CASE(bound), CASE(aam), CASE(limit_in), CASE(limit_out), CASE(down_in), CASE(down_out), CASE(null),
    CASE(write_code), CASE(write_ro), CASE(ss_ro), CASE(ss_np), CASE(np), CASE(far_data), CASE(far_null), CASE(far_limit),
    CASE(sysenter),
};

static void put_fault(const char *ring, const char *name, char *at)
{
    put_text(ring);
    put_char('.');
    put_text(name);
    put_char(':');
    put_value("vector", fault.vector);
    if (fault.vector != NO_EXCEPTION) {
        put_value("error", fault.error);
        put_value("at", fault.ip - (unsigned long)at);
        put_value("cs", fault.cs & 0xffff);
        put_value("rf", fault.flags >> 16 & 1);
    }
    put_char('\n');
}

static void test_exceptions(void)
{
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        guarded(cases[i].fn);
        put_fault("ring0", cases[i].name, cases[i].at);
        guarded_user(cases[i].fn, user_stack + sizeof(user_stack), USER_FLAGS);
        put_fault("ring3", cases[i].name, cases[i].at);
    }
    guarded_user(do_retf_inner, user_stack + sizeof(user_stack), USER_FLAGS);
    put_fault("ring3", "retf_inner", at_retf_inner);
}

/* --- gates --- */

uint32_t seen[6];
FAULTING(call, "pushl $0x1111\n pushl $0x2222", "lcall $0x63, $0\n movl %esp, %ebx");
extern char call_target[];
__asm__(".text\n.globl call_target\ncall_target:\n movl %esp, %eax\n movl 8(%eax), %ecx\n movl %ecx, %ss:seen\n movl 12(%eax), %ecx\n"
        "movl %ecx, %ss:seen+4\n movl 20(%eax), %ecx\n movl %ecx, %ss:seen+8\n movw %cs, %ss:seen+12\n lret $8\n");

static void test_gates(void)
{
    static const unsigned types[] = {0xe, 0xf};

    for (unsigned i = 0; i < 2; i++) {
        idt[0x40] = gate(CS, (uint32_t)stubs + 16 * 0x40, types[i], 3, 0);
        guarded_user(do_int40, user_stack + sizeof(user_stack), USER_FLAGS | NT);
        put_fault(i ? "trap" : "interrupt", "int40", at_int40);
    }
    idt[0x40] = gate(CS, (uint32_t)stubs, 0xe, 0, 0);
    guarded_user(do_int40, user_stack + sizeof(user_stack), USER_FLAGS);
    put_fault("dpl0", "int40", at_int40);
    idt[0x40] = gate(DS, (uint32_t)stubs, 0xe, 3, 0);
    guarded(do_int40);
    put_fault("data", "int40", at_int40);
    idt[0x40] = gate(CS, (uint32_t)stubs, 0xe, 3, 0) & ~(1ull << 47);
    guarded(do_int40);
    put_fault("absent", "int40", at_int40);
    gdt[CALL_GATE / 8] = gate(CS, (uint32_t)call_target, 0xc, 3, 2);
    guarded_user(do_call, user_stack + sizeof(user_stack), USER_FLAGS);
    put_fault("call", "gate", at_call);
    put_text("call.words:");
    for (unsigned i = 0; i < 4; i++) {
        put_value("w", i == 2 ? seen[i] & 0xffff : seen[i]);
    }
    put_char('\n');
    gdt[CALL_GATE / 8] = gate(CS, (uint32_t)call_target, 0xc, 0, 0);
    guarded_user(do_call, user_stack + sizeof(user_stack), USER_FLAGS);
    put_fault("call_dpl0", "gate", at_call);
}

/* --- tasks --- */

FAULTING(task_call, "", "lcall $0x40, $0");
FAULTING(task_jump, "", "ljmp $0x40, $0");
FAULTING(task_gate, "", "lcall $0x68, $0");
extern char task_entry[], task_jump_entry[];
uint32_t task_runs;
__asm__(".text\n.globl task_entry\ntask_entry:\n 1: incl task_runs\n clts\n iretl\n jmp 1b\n"
        ".globl task_jump_entry\ntask_jump_entry:\n incl task_runs\n clts\n ljmp $0x38, $0\n jmp task_jump_entry\n");

static void make_task(uint32_t entry)
{
    tss2 = (Tss){.eip = entry, .eflags = 2, .seg = {DS, CS, DS, DS, DS, DS}, .io_map = sizeof(tss2)};
    tss2.gpr[4] = (uint32_t)(task_stack + sizeof(task_stack));
    gdt[TR2 / 8] = segment((uint32_t)&tss2, sizeof(tss2) - 1, 0x89);
}

static void put_task(const char *name, char *at)
{
    put_fault("task", name, at);
    put_text("task.state:");
    put_value("runs", task_runs);
    put_value("link", tss2.link);
    put_value("nt", tss2.eflags >> 14 & 1);
    put_value("type", (unsigned)(gdt[TR2 / 8] >> 40 & 31));
    put_value("old", (unsigned)(gdt[TR / 8] >> 40 & 31));
    put_char('\n');
}

static void test_tasks(void)
{
    make_task((uint32_t)task_entry);
    guarded(do_task_call);
    put_task("call", at_task_call);
    guarded(do_task_call); /* goes on behind its IRET */
    put_task("again", at_task_call);
    make_task((uint32_t)task_jump_entry);
    guarded(do_task_jump);
    put_task("jump", at_task_jump);
    make_task((uint32_t)task_entry);
    gdt[TASK_GATE / 8] = gate(TR2, 0, 5, 0, 0);
    guarded(do_task_gate);
    put_task("gate", at_task_gate);
    make_task((uint32_t)task_entry);
    idt[0x40] = gate(TR2, 0, 5, 0, 0);
    guarded(do_int40);
    put_task("interrupt", at_int40);
    gdt[TR2 / 8] = segment((uint32_t)&tss2, sizeof(tss2) - 1, 0x8b);
    guarded(do_task_call);
    put_task("busy", at_task_call);
    gdt[TR2 / 8] = segment((uint32_t)&tss2, 0x60, 0x89);
    guarded(do_task_call);
    put_task("short", at_task_call);
    gdt[TR2 / 8] = segment((uint32_t)&tss2, sizeof(tss2) - 1, 0x09);
    guarded(do_task_call);
    put_task("absent", at_task_call);
    set_default_gate(0x40);
}

/* --- virtual-8086 mode: code at 9000:0, stack at 9000:1000 --- */

extern char vm_code[], vm_cli[], vm_wrap[], vm_end[];
__asm__(".section .rodata\n.code16\n.globl vm_code, vm_cli, vm_wrap, vm_end\nvm_code:\n movw %cs, %ax\n movw %ax, %ds\n movw $0x1234, 0x800\n"
        "movw 0x800, %bx\n pushw %bx\n popw %cx\n int $0x40\n"
        "vm_cli: cli\n vm_wrap: movl $0x10000, %ebx\n movb (%ebx), %al\nvm_end:\n.code32\n.text");
uint32_t vm_entry, vm_flags;
__asm__(".text\ndo_vm86:\n pushl $0x4444\n pushl $0x3333\n pushl $0x2222\n pushl $0x1111\n pushl $0x9000\n pushl $0x1000\n"
        "pushl vm_flags\n pushl $0x9000\n pushl vm_entry\n iretl\n");
void do_vm86(void);

static void run_vm86(const char *name, char *entry, unsigned iopl)
{
    char *to = (char *)0x90000;

    for (char *from = vm_code; from < vm_end; from++) {
        *to++ = *from;
    }
    vm_entry = (uint32_t)(entry - vm_code);
    vm_flags = VM | 2 | iopl << 12;
    guarded(do_vm86);
    put_fault("vm86", name, (char *)0);
    put_text("vm86.state:");
    put_value("vm", fault.flags >> 17 & 1);
    put_value("sp", fault.sp);
    put_value("ss", fault.ss & 0xffff);
    put_value("word", *(volatile uint16_t *)0x90800);
    put_char('\n');
}

static void test_vm86(void)
{
    run_vm86("iopl3", vm_code, 3);
    run_vm86("iopl0", vm_code, 0);
    run_vm86("cli3", vm_cli, 3);
    run_vm86("cli0", vm_cli, 0);
    run_vm86("beyond", vm_wrap, 3);
}

void kernel_main(void);
void kernel_main(void)
{
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    load_tables();
    put_text("BEGIN 32\n");
    test_exceptions();
    test_gates();
    test_tasks();
    test_vm86();
    put_text("END\n");
    for (;;) {
        __asm__ volatile("cli\n hlt");
    }
}
