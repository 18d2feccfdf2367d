/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 64-bit test kernel: exceptions from rings 0 and 3, gates, the paging
 * permission matrix, changed code, a second processor by INIT and SIPI, locked
 * additions from both, and the timer of the local APIC (Intel SDM vol. 3,
 * chapters 4, 6, 8 and 10).  Prints one line per test; nothing on it depends on
 * how fast the machine is.
 */
#include <stddef.h>

#include "kernel.h"

typedef struct Gate {
    uint64_t low, high;
} Gate;

typedef void Guarded(void);

unsigned long guarded(Guarded *fn);
unsigned long guarded_user(Guarded *fn, void *stack, unsigned long flags);
extern char stubs[];

enum { APIC = 0xfee00000u };
enum { CS = 0x20, DS = 0x18, TSS = 0x40, USER_FLAGS = 2, NOT_PRESENT = 0x50, CALL_GATE = 0x60 };

static uint64_t gdt[16] = {
    0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff, 0,
    0x00cff3000000ffff, /* 0x30: user data */
    0x00affb000000ffff, /* 0x38: user code */
    0, 0, 0x00cf13000000ffff /* 0x50: not present */,
};
static Gate idt[256];
static uint8_t tss[0x68] __attribute__((aligned(16)));
static uint8_t ring0_stack[8192] __attribute__((aligned(16))), ist_stack[8192] __attribute__((aligned(16)));
static uint8_t user_stack[8192] __attribute__((aligned(4096)));
static uint64_t target_page[512] __attribute__((aligned(4096)));
static uint64_t table_top[512] __attribute__((aligned(4096))), table_next[512] __attribute__((aligned(4096))),
    table_pages[512] __attribute__((aligned(4096)));

static void set_gate(unsigned vector, uint64_t offset, unsigned type, unsigned dpl, unsigned ist)
{
    idt[vector].low = (offset & 0xffff) | (uint64_t)CS << 16 | (uint64_t)ist << 32 | (uint64_t)(0x80 | dpl << 5 | type) << 40 |
                      (offset >> 16 & 0xffff) << 48;
    idt[vector].high = offset >> 32;
}

static void load_tables(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof(gdt) - 1, (uint64_t)gdt};
    uint64_t base = (uint64_t)tss, stack = (uint64_t)(ring0_stack + sizeof(ring0_stack));

    gdt[TSS / 8] = 0x0000890000000067 | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
    gdt[TSS / 8 + 1] = base >> 32;
    __builtin_memcpy(tss + 4, &stack, 8);
    stack = (uint64_t)(ist_stack + sizeof(ist_stack));
    __builtin_memcpy(tss + 0x24, &stack, 8);
    tss[0x66] = 0xff;
    for (unsigned i = 0; i < 256; i++) {
        set_gate(i, (uint64_t)stubs + 16 * i, 0xe, 3, 0);
    }
    __asm__ volatile("lgdt %0" : : "m"(pointer));
    pointer.limit = sizeof(idt) - 1;
    pointer.base = (uint64_t)idt;
    __asm__ volatile("lidt %0\n ltr %w1" : : "m"(pointer), "r"(TSS));
}

/* --- exceptions: the label at_NAME is the instruction that is expected to fault --- */

#define FAULTING(name, before, insn)                                                                         \
    extern char at_##name[];                                                                                 \
    void do_##name(void);                                                                                    \
    __asm__(".text\ndo_" #name ":\n" before "\nat_" #name ":\n" insn "\n int $0x80\n ret")

FAULTING(divide, "xorl %ecx, %ecx", "divl %ecx");
FAULTING(idiv, "movl $0x80000000, %eax\n cltd\n movl $-1, %ecx", "idivl %ecx");
FAULTING(int1, "", ".byte 0xf1");
FAULTING(int3, "", "int3");
FAULTING(ud2, "", "ud2");
FAULTING(lock_reg, "", ".byte 0xf0, 0x01, 0xc0");
FAULTING(push_es, "", ".byte 0x06");
FAULTING(gp_noncanonical, "movq $1, %rax\n shlq $47, %rax", "movq (%rax), %rax");
FAULTING(ss_noncanonical, "movq %rbp, %r11\n movq $1, %rbp\n shlq $47, %rbp", "movq (%rbp), %rax");
FAULTING(jmp_noncanonical, "movq $1, %rax\n shlq $47, %rax", "jmp *%rax");
FAULTING(call_noncanonical, "movq $1, %rax\n shlq $47, %rax", "call *%rax");
FAULTING(ret_noncanonical, "movq $1, %rax\n shlq $47, %rax\n pushq %rax", "ret");
FAULTING(np, "movl $0x50, %eax", "movw %ax, %ds");
FAULTING(ss_np, "movl $0x50, %eax", "movw %ax, %ss");
FAULTING(gp_selector, "movl $0x7f8, %eax", "movw %ax, %es");
FAULTING(gp_ltr, "movl $0x18, %eax", "ltr %ax");
FAULTING(gp_msr, "movl $0x12345678, %ecx", "rdmsr");
FAULTING(gp_cr8, "movl $0x10, %eax", "movq %rax, %cr8");
FAULTING(hlt, "", "hlt");
FAULTING(cli, "", "cli");
FAULTING(inb, "", "inb $0x61, %al");
FAULTING(movaps, "leaq user_word(%rip), %rax", "movaps 1(%rax), %xmm0");
FAULTING(nm, "", "fld1");
FAULTING(xm, "pushq $0x1d80\n ldmxcsr (%rsp)\n popq %rax\n xorps %xmm0, %xmm0\n movl $1, %eax\n cvtsi2ss %eax, %xmm1", "divss %xmm0, %xmm1");
FAULTING(mf, "fninit\n pushq $0x37b\n fldcw (%rsp)\n popq %rax\n fldz\n fld1\n fdivp", "fwait");
FAULTING(ac, "pushfq\n orl $0x40000, (%rsp)\n popfq\n leaq user_word(%rip), %rax", "movl 1(%rax), %ecx");
FAULTING(iret_null_cs, "pushq $0\n pushq $0\n pushq $2\n pushq $0\n pushq $0", "iretq");
FAULTING(rdpmc, "xorl %ecx, %ecx", "rdpmc");
FAULTING(sysret_user, "", "sysretq");
FAULTING(swapgs_user, "", "swapgs");
FAULTING(single_step, "pushfq\n orl $0x100, (%rsp)\n popfq", "nop\n nop");
uint64_t user_word[4] __attribute__((aligned(16)));

typedef struct Case {
    const char *name;
    Guarded *fn;
    char *at;
} Case;

#define CASE(name) {#name, do_##name, at_##name}
static const Case cases[] = {
    CASE(divide), CASE(idiv), CASE(int1), CASE(int3), CASE(ud2), CASE(lock_reg), CASE(push_es), CASE(gp_noncanonical),
    CASE(ss_noncanonical), CASE(jmp_noncanonical), CASE(call_noncanonical), CASE(ret_noncanonical), CASE(np), CASE(ss_np),
    CASE(gp_selector), CASE(gp_ltr), CASE(gp_msr), CASE(gp_cr8), CASE(hlt), CASE(cli), CASE(inb), CASE(movaps),
    CASE(xm), CASE(mf), CASE(ac), CASE(iret_null_cs), CASE(rdpmc), CASE(sysret_user), CASE(swapgs_user), CASE(single_step),
};

static void put_fault(const char *ring, const Case *c)
{
    put_text(ring);
    put_char('.');
    put_text(c->name);
    put_text(":");
    put_value("vector", fault.vector);
    if (fault.vector != NO_EXCEPTION) {
        put_value("error", fault.error);
        put_value("at", fault.ip - (unsigned long)c->at);
        put_value("cs", fault.cs);
        put_value("rf", fault.flags >> 16 & 1);
    }
    put_char('\n');
}

static void test_exceptions(void)
{
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const Case *c = &cases[i];

        if (c->fn != do_hlt && c->fn != do_cli && c->fn != do_inb && c->fn != do_swapgs_user && c->fn != do_sysret_user) {
            guarded(c->fn);
            put_fault("ring0", c);
        }
        guarded_user(c->fn, user_stack + sizeof(user_stack) - 64, USER_FLAGS);
        put_fault("ring3", c);
    }
}

FAULTING(nmi, "movl $0xfee00000, %eax\n movl $0, 0x310(%rax)\n movl $0x4400, 0x300(%rax)", "1: pause\n jmp 1b");
FAULTING(dr_write, "", "movl $1, user_word+4(%rip)");
FAULTING(dr_execute, "", "nop");

static uint64_t read_cr0(void)
{
    uint64_t val;

    __asm__ volatile("movq %%cr0, %0" : "=r"(val));
    return val;
}

static void set_cr0(uint64_t val)
{
    __asm__ volatile("movq %0, %%cr0" : : "r"(val));
}

static void set_debug(uint64_t address, uint64_t control)
{
    __asm__ volatile("movq %0, %%db0\n movq %1, %%db6\n movq %2, %%db7" : : "r"(address), "r"(0xffff0ff0ull), "r"(control));
}

static void put_debug(const char *ring, const Case *c)
{
    uint64_t status;

    __asm__ volatile("movq %%db6, %0" : "=r"(status));
    put_fault(ring, c);
    put_text("dr6:");
    put_value("status", status);
    put_char('\n');
}

/* The processor in a certain state; double faults and NMI come on a stack of their own. */
static void test_other_exceptions(void)
{
    static const Case nm = CASE(nm), gp = CASE(gp_noncanonical), nmi = CASE(nmi), write = CASE(dr_write), execute = CASE(dr_execute);
    uint64_t cr0 = read_cr0(), gate = idt[13].low;

    set_cr0(cr0 | 8); /* TS */
    guarded(nm.fn);
    put_fault("ring0", &nm);
    guarded_user(nm.fn, user_stack + sizeof(user_stack) - 64, USER_FLAGS);
    put_fault("ring3", &nm);
    set_cr0(cr0);
    set_gate(8, (uint64_t)stubs + 16 * 8, 0xe, 0, 1);
    idt[13].low &= ~(1ull << 47);
    guarded(gp.fn);
    put_fault("double", &gp);
    guarded_user(gp.fn, user_stack + sizeof(user_stack) - 64, USER_FLAGS);
    put_fault("double3", &gp);
    idt[13].low = gate;
    *(volatile uint32_t *)(APIC + 0xf0ul) |= 0x100;
    put_text("nmi:");
    put_value("vector", guarded(nmi.fn));
    put_char('\n');
    set_debug((uint64_t)user_word + 4, 0xd0701); /* four bytes written, DR0, local and exact */
    guarded(write.fn);
    put_debug("ring0", &write);
    set_debug((uint64_t)execute.at, 0x401);
    guarded(execute.fn);
    put_debug("ring0", &execute);
    set_debug(0, 0x400);
}

/* --- gates --- */

FAULTING(int40, "", "int $0x40");
FAULTING(call_gate, "movl $1, %eax", "lcall *call_gate_pointer(%rip)");
uint64_t call_gate_pointer[2] = {0, 0};
extern char gate_target[];
__asm__(".text\n.globl gate_target\ngate_target:\n movw %cs, %bx\n movq %rsp, %r12\n movw %ss, %r13w\n lretq");
FAULTING(int0, "", "int $0");

static void test_gates(void)
{
    static const unsigned types[] = {0xe, 0xf};
    uint64_t target = (uint64_t)gate_target;

    for (unsigned i = 0; i < 2; i++) {
        set_gate(0x40, (uint64_t)stubs + 16 * 0x40, types[i], 3, 0);
        guarded_user(do_int40, user_stack + sizeof(user_stack), 0x202 | 0x4000);
        put_fault(i ? "trap" : "interrupt", &(Case){"int40", do_int40, at_int40});
    }
    set_gate(0x40, (uint64_t)stubs + 16 * 0x40, 0xe, 0, 0);
    guarded_user(do_int40, user_stack + sizeof(user_stack), 2);
    put_fault("dpl0", &(Case){"int40", do_int40, at_int40});
    set_gate(0x40, (uint64_t)stubs + 16 * 0x40, 0xe, 3, 1);
    guarded(do_int40);
    put_fault("ist", &(Case){"int40", do_int40, at_int40});
    set_gate(0x40, (uint64_t)stubs + 16 * 0x40, 5, 3, 0);
    guarded_user(do_int40, user_stack + sizeof(user_stack), 2);
    put_fault("task", &(Case){"int40", do_int40, at_int40});
    idt[0x40].low &= ~(1ull << 47);
    idt[0x40].low |= 0xfull << 40;
    guarded_user(do_int40, user_stack + sizeof(user_stack), 2);
    put_fault("absent", &(Case){"int40", do_int40, at_int40});
    gdt[CALL_GATE / 8] = (target & 0xffff) | (uint64_t)CS << 16 | 0xecull << 40 | (target >> 16 & 0xffff) << 48;
    gdt[CALL_GATE / 8 + 1] = target >> 32;
    call_gate_pointer[0] = (uint64_t)(CALL_GATE | 3) << 32;
    guarded_user(do_call_gate, user_stack + sizeof(user_stack), 2);
    put_fault("call", &(Case){"gate", do_call_gate, at_call_gate});
    gdt[CALL_GATE / 8] &= ~(3ull << 45);
    guarded_user(do_call_gate, user_stack + sizeof(user_stack), 2);
    put_fault("call_dpl0", &(Case){"gate", do_call_gate, at_call_gate});
}

/* --- paging: the target page in a page table of its own, at 512 GiB --- */

#define TARGET (1ull << 39)

__asm__(".text\ndo_read: movq $1, %rax\n shlq $39, %rax\n movb (%rax), %cl\n int $0x80\n ret\n"
        "do_write: movq $1, %rax\n shlq $39, %rax\n movb $0xc3, (%rax)\n int $0x80\n ret\n"
        "do_execute: movq $1, %rax\n shlq $39, %rax\n call *%rax\n int $0x80\n ret\n");
void do_read(void), do_write(void), do_execute(void);

static uint64_t read_cr4(void)
{
    uint64_t val;

    __asm__ volatile("movq %%cr4, %0" : "=r"(val));
    return val;
}

static void invalidate(uint64_t linear)
{
    __asm__ volatile("invlpg (%0)" : : "r"(linear) : "memory");
}

/* r, w, x from ring 0 and ring 3: '.' when allowed, else the error code's digits; then accessed and dirty. */
static void matrix_line(uint64_t bits)
{
    static Guarded *const accesses[] = {do_read, do_write, do_execute};

    for (unsigned user = 0; user < 2; user++) {
        for (unsigned i = 0; i < 3; i++) {
            unsigned long vector;

            table_pages[0] = (uint64_t)target_page | bits;
            invalidate(TARGET);
            vector = user ? guarded_user(accesses[i], user_stack + sizeof(user_stack) - 64, USER_FLAGS) : guarded(accesses[i]);
            put_char(' ');
            if (vector == 14) {
                put_hex(fault.error);
            } else {
                put_char(vector == 0x80 ? '.' : '?');
            }
            put_char(table_pages[0] & 0x20 ? 'a' : '-');
            put_char(table_pages[0] & 0x40 ? 'd' : '-');
        }
    }
}

static void test_paging(void)
{
    uint64_t cr0 = read_cr0(), *top;

    __asm__ volatile("movq %%cr3, %0" : "=r"(top));
    *(uint8_t *)target_page = 0xc3;
    top[1] = (uint64_t)table_top | 7;
    table_top[0] = (uint64_t)table_next | 7;
    table_next[0] = (uint64_t)table_pages | 7;
    for (unsigned i = 0; i < 2; i++) {
        set_cr0(i ? cr0 | 0x10000 : cr0 & ~0x10000ull);
        for (unsigned bits = 0; bits < 16; bits++) {
            put_text("page");
            put_value("wp", i);
            put_value("bits", bits);
            matrix_line((bits & 7) | (uint64_t)(bits >> 3) << 63);
            put_char('\n');
        }
    }
    set_cr0(cr0);
    for (unsigned bit = 40; bit < 52; bit++) {
        put_text("reserved");
        put_value("bit", bit);
        matrix_line(7 | 1ull << bit);
        put_char('\n');
    }
}

static void set_cr4(uint64_t val)
{
    __asm__ volatile("movq %0, %%cr4" : : "r"(val) : "memory");
}

static uint64_t read_cr3(void)
{
    uint64_t val;

    __asm__ volatile("movq %%cr3, %0" : "=r"(val));
    return val;
}

static void set_cr3(uint64_t val)
{
    __asm__ volatile("movq %0, %%cr3" : : "r"(val) : "memory");
}

/* Ring 0 and a page of ring 3: SMEP, SMAP and AC in all combinations.  The kernel's own pages are ring 0's meanwhile. */
static void test_smep_smap(void)
{
    static Guarded *const accesses[] = {do_read, do_write, do_execute};
    uint64_t cr4 = read_cr4(), *top = (uint64_t *)read_cr3();

    table_pages[0] = (uint64_t)target_page | 7;
    top[0] &= ~4ull;
    set_cr3((uint64_t)top);
    for (unsigned bits = 0; bits < 8; bits++) {
        set_cr4(cr4 | (bits & 3ull) << 20);
        put_text("smepsmap");
        put_value("bits", bits);
        for (unsigned i = 0; i < 3; i++) {
            unsigned long vector;

            if (bits & 4) {
                __asm__ volatile("pushfq\n orl $0x40000, (%%rsp)\n popfq" : : : "cc", "memory");
            }
            vector = guarded(accesses[i]);
            put_value(i == 0 ? "r" : i == 1 ? "w" : "x", vector == 14 ? fault.error : vector);
        }
        put_char('\n');
    }
    set_cr4(cr4);
    top[0] |= 4;
    set_cr3((uint64_t)top);
}

/* --- what the processor remembers of page tables, and when it must forget --- */

static uint64_t other_page[512] __attribute__((aligned(4096)));

static uint64_t read_target(void)
{
    return *(volatile uint64_t *)TARGET;
}

static void map_target(uint64_t *page, uint64_t bits)
{
    table_pages[0] = page ? (uint64_t)page | bits : 0;
}

static void test_tlb(void)
{
    uint64_t cr0 = read_cr0(), cr4 = read_cr4() | 0x80;

    target_page[0] = 0xc3;
    other_page[0] = 0xd4;
    put_text("tlb:");
    set_cr4(cr4);
    map_target(NULL, 0);
    invalidate(TARGET);
    put_value("none", guarded(do_read));
    map_target(target_page, 3); /* what is not there is never remembered */
    put_value("appears", read_target());
    map_target(other_page, 3);
    invalidate(TARGET);
    put_value("invlpg", read_target());
    map_target(target_page, 3);
    set_cr3(read_cr3());
    put_value("cr3", read_target());
    map_target(target_page, 0x103);
    invalidate(TARGET);
    read_target();
    map_target(other_page, 0x103);
    invalidate(TARGET);
    put_value("global_invlpg", read_target());
    map_target(target_page, 0x103);
    set_cr4(cr4 & ~0x80ull);
    put_value("pge_off", read_target());
    set_cr4(cr4);
    map_target(other_page, 0x103);
    set_cr4(cr4 & ~0x80ull);
    set_cr4(cr4);
    put_value("pge_toggled", read_target());
    map_target(target_page, 1);
    invalidate(TARGET);
    set_cr0(cr0 & ~0x10000ull);
    put_value("wp_off", guarded(do_write));
    set_cr0(cr0 | 0x10000);
    put_value("wp_on", guarded(do_write));
    set_cr0(cr0);
    map_target(target_page, 3);
    invalidate(TARGET);
    *(volatile uint8_t *)TARGET = 0xc3;
    table_pages[0] &= ~0x60ull;
    invalidate(TARGET);
    *(volatile uint8_t *)TARGET = 0xc3;
    put_value("dirty_again", table_pages[0] & 0x60);
    put_char('\n');
}

/* --- code that changes --- */

__asm__(".text\nchange_next: movb $7, 1f+1(%rip)\n 1: movb $1, %al\n movzbl %al, %eax\n ret\n"
        "change_itself: xorl %ecx, %ecx\n 1: addb $1, 2f+2(%rip)\n 2: addl $0, %ecx\n cmpl $6, %ecx\n jb 1b\n movl %ecx, %eax\n ret\n");
unsigned change_next(void), change_itself(void);

static void test_changed_code(void)
{
    put_text("code:");
    put_value("next", change_next());
    put_value("loop", change_itself());
    put_char('\n');
}

/* --- the second processor --- */

enum { TRAMPOLINE = 0x8000, ROUNDS = 20000, SPLIT_ROUNDS = 50000, SPLIT = 0x5ffe, TIMER_VECTOR = 0x50 };

static volatile uint32_t *const apic = (volatile uint32_t *)(uintptr_t)APIC;

extern char trampoline[], trampoline_end[];
/* 16-bit code at 8000: counts itself, then adds to a word in low memory as often as it says there. */
__asm__(".section .rodata\n.code16\n.globl trampoline, trampoline_end\ntrampoline:\n cli\n xorw %ax, %ax\n movw %ax, %ds\n"
        "movw %cs, 0x700c\n lock incl 0x7000\n movl 0x7004, %ecx\n 1: lock incl 0x7008\n lock xaddl %eax, 0x7010\n decl %ecx\n jnz 1b\n"
        "lock incl 0x7018\n 4: pause\n cmpl $0, 0x701c\n je 4b\n movl $50000, %ecx\n 3: lock incl 0x5ffe\n decl %ecx\n jnz 3b\n lock incl 0x7014\n 2: hlt\n jmp 2b\ntrampoline_end:\n.code64\n.text");

static void wait_for(volatile uint32_t *word, uint32_t val)
{
    while (*word != val) {
        __asm__ volatile("pause");
    }
}

static void start_second_processor(void)
{
    apic[0x310 / 4] = 1 << 24;
    apic[0x300 / 4] = 0x4500; /* INIT */
    while (apic[0x300 / 4] & 0x1000) {
    }
    apic[0x310 / 4] = 1 << 24;
    apic[0x300 / 4] = 0x4600 | TRAMPOLINE >> 12;
}

static void test_second_processor(void)
{
    volatile uint32_t *low = (volatile uint32_t *)0x7000, *split = (volatile uint32_t *)SPLIT; /* in two pages */

    *split = 0;
    for (char *from = trampoline, *to = (char *)TRAMPOLINE; from < trampoline_end; from++, to++) {
        *to = *from;
    }
    for (unsigned i = 0; i < 8; i++) {
        low[i] = 0;
    }
    low[1] = ROUNDS;
    apic[0xf0 / 4] |= 0x100;
    start_second_processor();
    wait_for(&low[0], 1);
    for (unsigned i = 0; i < ROUNDS; i++) {
        __asm__ volatile("lock incl %0" : "+m"(low[2]));
    }
    wait_for(&low[6], 1);
    low[7] = 1;
    for (unsigned i = 0; i < SPLIT_ROUNDS; i++) {
        __asm__ volatile("lock incl %0" : "+m"(*split));
    }
    wait_for(&low[5], 1);
    put_text("smp:");
    put_value("cs", low[3]);
    put_value("sum", low[2]);
    put_value("split", *split);
    put_char('\n');
    /* INIT takes it out of HLT, another SIPI lets it begin anew. */
    start_second_processor();
    wait_for(&low[5], 2);
    put_text("restart:");
    put_value("starts", low[0]);
    put_char('\n');
}

/* --- the timer of the local APIC --- */

static volatile unsigned ticks;
extern char timer_stub[];
void timer_tick(void);
__asm__(".text\n.globl timer_stub\ntimer_stub:\n pushq %rax\n pushq %rcx\n pushq %rdx\n pushq %rsi\n pushq %rdi\n pushq %r8\n"
        "pushq %r9\n pushq %r10\n pushq %r11\n call timer_tick\n popq %r11\n popq %r10\n popq %r9\n popq %r8\n popq %rdi\n"
        "popq %rsi\n popq %rdx\n popq %rcx\n popq %rax\n iretq");

void timer_tick(void)
{
    ticks++;
    apic[0xb0 / 4] = 0;
}

static void wait_ticks(unsigned n)
{
    __asm__ volatile("sti");
    while (ticks < n) {
        __asm__ volatile("pause");
    }
    __asm__ volatile("cli");
}

enum { MSR_DEADLINE = 0x6e0 };

static uint64_t read_tsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static void set_deadline(uint64_t tsc)
{
    __asm__ volatile("mfence\n wrmsr" : : "c"(MSR_DEADLINE), "a"((uint32_t)tsc), "d"((uint32_t)(tsc >> 32)) : "memory");
}

static uint64_t read_deadline(void)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_DEADLINE));
    return (uint64_t)high << 32 | low;
}

static void test_deadline(void)
{
    uint32_t a = 1, b, c = 0, d;
    uint64_t later;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    put_text("deadline:");
    put_value("present", c >> 24 & 1);
    if (c >> 24 & 1) {
        ticks = 0;
        apic[0x320 / 4] = 0x40000 | TIMER_VECTOR;
        __asm__ volatile("mfence");
        later = read_tsc() + (1ull << 40);
        set_deadline(later);
        put_value("armed", read_deadline() == later);
        set_deadline(0);
        put_value("disarmed", read_deadline());
        put_value("early", ticks);
        later = read_tsc() + 100000;
        set_deadline(later);
        wait_ticks(1);
        put_value("in_time", read_tsc() >= later);
        put_value("ticks", ticks);
        put_value("over", read_deadline());
        apic[0x380 / 4] = 1000; /* means nothing in this mode */
        put_value("count", apic[0x390 / 4]);
    }
    put_char('\n');
}

static void test_apic_timer(void)
{
    set_gate(TIMER_VECTOR, (uint64_t)timer_stub, 0xe, 0, 0);
    apic[0xf0 / 4] = 0x1ff;
    apic[0x3e0 / 4] = 0xb; /* divide by 1 */
    put_text("timer:");
    apic[0x320 / 4] = 0x10000 | TIMER_VECTOR; /* masked: counts down all the same */
    apic[0x380 / 4] = 1000;
    while (apic[0x390 / 4]) {
    }
    put_value("masked", ticks);
    apic[0x320 / 4] = TIMER_VECTOR;
    apic[0x380 / 4] = 10000;
    wait_ticks(1);
    for (unsigned i = 0; i < 100000; i++) {
        __asm__ volatile("sti\n nop\n cli");
    }
    put_value("oneshot", ticks);
    put_value("count", apic[0x390 / 4]);
    ticks = 0;
    apic[0x320 / 4] = 0x20000 | TIMER_VECTOR;
    apic[0x380 / 4] = 100000;
    wait_ticks(3);
    apic[0x380 / 4] = 0;
    __asm__ volatile("sti\n nop\n cli"); /* one that came before the timer was stopped */
    put_value("periodic", ticks >= 3);
    put_char('\n');
    test_deadline();
    set_gate(TIMER_VECTOR, (uint64_t)stubs + 16 * TIMER_VECTOR, 0xe, 3, 0);
}

void kernel_main(void);
void kernel_main(void)
{
    uint64_t cr4 = read_cr4() | 0x600, *page;

    __asm__ volatile("movq %0, %%cr4" : : "r"(cr4));
    __asm__ volatile("movq %%cr3, %0" : "=r"(page));
    /* Ring 3 runs in the same large pages. */
    page[0] |= 4;
    for (unsigned i = 0; i < 4; i++) {
        page[512 + i] |= 4;
    }
    page[1024] |= 4;
    __asm__ volatile("movq %0, %%cr0" : : "r"((read_cr0() | 0x40022) & ~4ull));
    __asm__ volatile("rdmsr\n orl $0x800, %%eax\n wrmsr" : : "c"(0xc0000080) : "eax", "edx"); /* EFER.NXE */
    load_tables();
    outb(0x21, 0xff); /* firmware left the PIC and its timer on */
    outb(0xa1, 0xff);
    put_text("BEGIN 64\n");
    test_exceptions();
    test_other_exceptions();
    test_gates();
    test_paging();
    test_smep_smap();
    test_tlb();
    test_changed_code();
    test_second_processor();
    test_apic_timer();
    put_text("END\n");
    for (;;) {
        __asm__ volatile("cli\n hlt");
    }
}
