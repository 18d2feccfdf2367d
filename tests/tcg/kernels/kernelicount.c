/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Test kernel for -icount: prints where timer interrupts came, in rounds of a loop and in the time stamp counter, while
 * it computes, moves strings and halts.  With guest time from the instruction count every run prints the same.
 */
#include "kernel.h"

enum { CS = 0x20, APIC = 0xfee00000u, TIMER_VECTOR = 0x50, TICKS = 12 };

static volatile uint32_t *const apic = (volatile uint32_t *)(uintptr_t)APIC;
static uint64_t gdt[5] = {0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff};
static uint64_t idt[256][2];
static uint8_t from[65536], to[65536];

static volatile unsigned ticks;
static volatile uint64_t rounds, rounds_at[TICKS], tsc_at[TICKS];
extern char timer_stub[], stubs[];
void timer_tick(void);
__asm__(".text\n.globl timer_stub\ntimer_stub:\n pushq %rax\n pushq %rcx\n pushq %rdx\n pushq %rsi\n pushq %rdi\n pushq %r8\n"
        "pushq %r9\n pushq %r10\n pushq %r11\n call timer_tick\n popq %r11\n popq %r10\n popq %r9\n popq %r8\n popq %rdi\n"
        "popq %rsi\n popq %rdx\n popq %rcx\n popq %rax\n iretq");

static uint64_t rdtsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

void timer_tick(void)
{
    if (ticks < TICKS) {
        rounds_at[ticks] = rounds;
        tsc_at[ticks] = rdtsc();
        ticks++;
    }
    apic[0xb0 / 4] = 0;
}

static void load_tables(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof(gdt) - 1, (uint64_t)gdt};

    for (unsigned i = 0; i < 256; i++) {
        uint64_t offset = i == TIMER_VECTOR ? (uint64_t)timer_stub : (uint64_t)stubs + 16 * i;

        idt[i][0] = (offset & 0xffff) | (uint64_t)CS << 16 | 0x8eull << 40 | (offset >> 16 & 0xffff) << 48;
        idt[i][1] = offset >> 32;
    }
    __asm__ volatile("lgdt %0" : : "m"(pointer));
    pointer.limit = sizeof(idt) - 1;
    pointer.base = (uint64_t)idt;
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

static void work_loop(void)
{
    for (unsigned i = 0; i < 100; i++) {
        __asm__ volatile("" : : : "memory");
        rounds++;
    }
}

static void work_strings(void)
{
    void *d = to, *s = from;
    uint64_t n = sizeof(from);

    __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
    rounds++;
}

static void work_halt(void)
{
    __asm__ volatile("hlt");
    rounds++;
}

static void measure(const char *name, void (*work)(void), unsigned period)
{
    ticks = 0;
    rounds = 0;
    apic[0x320 / 4] = 0x20000 | TIMER_VECTOR;
    apic[0x380 / 4] = period;
    __asm__ volatile("sti");
    while (ticks < TICKS) {
        work();
    }
    __asm__ volatile("cli");
    apic[0x380 / 4] = 0;
    for (unsigned i = 0; i < TICKS; i++) {
        put_text(name);
        put_text(":");
        put_value("rounds", rounds_at[i]);
        put_value("tsc", tsc_at[i]);
        put_char('\n');
    }
}

void kernel_main(void);
void kernel_main(void)
{
    load_tables();
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    apic[0xf0 / 4] = 0x1ff;
    apic[0x3e0 / 4] = 0xb; /* divide by 1 */
    put_text("BEGIN icount\n");
    put_text("start:");
    put_value("tsc", rdtsc());
    put_char('\n');
    measure("loop", work_loop, 123457);
    measure("strings", work_strings, 34567);
    measure("halt", work_halt, 1000003);
    put_text("end:");
    put_value("tsc", rdtsc());
    put_char('\n');
    put_text("END\n");
    for (;;) {
        __asm__ volatile("cli\n hlt");
    }
}
