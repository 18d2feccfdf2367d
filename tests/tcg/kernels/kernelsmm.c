/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Test kernel for system management mode on q35 and pc machines: SMI by the APM port from 64-bit code of rings 0 and 3, the
 * handler's state and its save state map (AMD APM vol. 2, 10.2), RSM, a second SMI inside the first, SMI to a halted
 * processor, and who sees SMRAM and TSEG open, closed and locked (Intel 3 series data sheet, 5.1.30; 440FX data
 * sheet, 3.2.19; PIIX4 data sheet, 7.1.17: DEVACTB).
 */
#include "kernel.h"

#include <stdbool.h>

typedef void Guarded(void);

unsigned long guarded(Guarded *fn);
unsigned long guarded_user(Guarded *fn, void *stack, unsigned long flags);
extern char stubs[];

enum {
    CS = 0x20, TSS = 0x40, APM_CNT = 0xb2, CONFIG_ADDRESS = 0xcf8, CONFIG_DATA = 0xcfc,
    MCH = 0, MCH_DEVICE = 2, I440FX = 0x1237, I440FX_SMRAM = 0x72, PIIX4_PM = 1 << 11 | 3 << 8, DEVACTB3 = 0x5b, APMC_EN = 2,
    LPC = 0x1f << 11, LPC_PMBASE = 0x40, SMI_EN = 0x30,
    SMRAM = 0x9d, ESMRAMC = 0x9e, D_OPEN = 0x40, D_LCK = 0x10, G_SMRAME = 0x0a,
    RELOCATE = 0x38000, WINDOW = 0xa8000, TSEG_WORD = 0x7f00000,
    APIC = 0xfee00000, TRAMPOLINE = 0x8000,
};

/* What the handler leaves at 7000h. */
typedef struct Seen {
    uint32_t count, cs, cr0, cr4, efer, flags, dr7, ds, tseg, window;
    uint32_t again;     /* in: SMIs to ask for from inside */
    uint32_t wake;      /* in: leave HLT */
    uint32_t relocated;
} Seen;
static volatile Seen *const seen = (volatile Seen *)0x7000;
static volatile uint8_t *const map = (volatile uint8_t *)0x7200; /* a copy of the save state map, from FE00h */

extern char relocator[], handler[], handler_end[], trampoline[], trampoline_end[];
__asm__(".section .rodata\n.code16\n"
        "relocator: incl 0x7030\n movl $0xa0000, %cs:0xff00\n rsm\n"
        "handler: movl $0x6ff0, %esp\n incl 0x7000\n movw %cs, 0x7004\n movl %cr0, %eax\n movl %eax, 0x7008\n"
        "movl %cr4, %eax\n movl %eax, 0x700c\n movl $0xc0000080, %ecx\n rdmsr\n movl %eax, 0x7010\n"
        "pushfl\n popl %eax\n movl %eax, 0x7014\n movl %dr7, %eax\n movl %eax, 0x7018\n movw %ds, 0x701c\n"
        "movl $0x7f00000, %ebx\n movl (%ebx), %eax\n movl %eax, 0x7020\n"
        "movl $0xa8000, %ebx\n movl (%ebx), %eax\n movl %eax, 0x7024\n"
        "movw $0xfe00, %si\n movw $0x7200, %di\n movw $0x80, %cx\n"
        "1: movl %cs:(%si), %eax\n movl %eax, (%di)\n addw $4, %si\n addw $4, %di\n loop 1b\n"
        "movl $0x51d0beef, %cs:0xfff8\n"
        "cmpl $0, 0x702c\n je 2f\n movb $0, %cs:0xfec9\n"
        "2: cmpl $0, 0x7028\n je 3f\n decl 0x7028\n outb %al, $0xb2\n"
        "3: rsm\n"
        "handler_end:\n"
        /* The second processor: halts with interrupts off, and counts how often it comes out of that. */
        "trampoline: cli\n xorw %ax, %ax\n movw %ax, %ds\n lock incl 0x7100\n 1: hlt\n lock incl 0x7104\n jmp 1b\n"
        "trampoline_end:\n.code64\n.text");

static void outl(uint16_t port, uint32_t val)
{
    __asm__ volatile("outl %0, %1" : : "a"(val), "Nd"(port));
}

static uint32_t inl(uint16_t port)
{
    uint32_t val;

    __asm__ volatile("inl %1, %0" : "=a"(val) : "Nd"(port));
    return val;
}

static uint32_t config_read(unsigned function, unsigned offset)
{
    outl(CONFIG_ADDRESS, 0x80000000u | function | (offset & 0xfc));
    return inl(CONFIG_DATA);
}

static uint8_t config_read_byte(unsigned function, unsigned offset)
{
    outl(CONFIG_ADDRESS, 0x80000000u | function | (offset & 0xfc));
    return inb((uint16_t)(CONFIG_DATA + (offset & 3)));
}

static void config_write_byte(unsigned function, unsigned offset, uint8_t val)
{
    outl(CONFIG_ADDRESS, 0x80000000u | function | (offset & 0xfc));
    outb((uint16_t)(CONFIG_DATA + (offset & 3)), val);
}

static void copy(uint64_t to, const char *from, const char *end)
{
    for (volatile char *out = (volatile char *)to; from < end; from++, out++) {
        *out = *from;
    }
}

static uint64_t saved(unsigned offset, unsigned size)
{
    uint64_t val = 0;

    for (unsigned i = size; i-- > 0;) {
        val = val << 8 | map[offset - 0xfe00 + i];
    }
    return val;
}

/* --- tables, as the 64-bit kernel has them --- */

static uint64_t gdt[10] = {
    0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff, 0, 0x00cff3000000ffff, 0x00affb000000ffff,
};
static uint64_t idt[256][2];
static uint8_t tss[0x68] __attribute__((aligned(16)));
static uint8_t ring0_stack[8192] __attribute__((aligned(16))), user_stack[8192] __attribute__((aligned(16)));

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
    for (unsigned i = 0; i < 256; i++) {
        uint64_t offset = (uint64_t)stubs + 16 * i;

        idt[i][0] = (offset & 0xffff) | (uint64_t)CS << 16 | 0xeeull << 40 | (offset >> 16 & 0xffff) << 48;
        idt[i][1] = offset >> 32;
    }
    __asm__ volatile("lgdt %0" : : "m"(pointer));
    pointer.limit = sizeof(idt) - 1;
    pointer.base = (uint64_t)idt;
    __asm__ volatile("lidt %0\n ltr %w1" : : "m"(pointer), "r"(TSS));
}

/* --- an SMI with all registers known; what they are afterwards --- */

uint64_t after[16], after_flags;
extern char smi_done[];
void smi(void);
void do_rsm(void);
__asm__(".text\nsmi: pushq %rbx\n pushq %rbp\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
        "movl $0x1100, %eax\n movq $-0x22, %rcx\n movl $0x33, %edx\n movl $0x44, %ebx\n movl $0x55, %ebp\n movl $0x66, %esi\n"
        "movl $0x77, %edi\n movq $0x123456789abcdef0, %r8\n movl $0x99, %r9d\n movl $0xaa, %r10d\n movl $0xbb, %r11d\n"
        "movl $0xcc, %r12d\n movl $0xdd, %r13d\n movl $0xee, %r14d\n movl $0xff, %r15d\n xorl %edx, %edx\n stc\n"
        "outb %al, $0xb2\nsmi_done: jmp 1f\n1:\n"
        "movq %rax, after(%rip)\n movq %rcx, after+8(%rip)\n movq %r8, after+16(%rip)\n movq %r15, after+24(%rip)\n"
        "pushfq\n popq after_flags(%rip)\n"
        "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbp\n popq %rbx\n ret\n"
        "do_rsm: rsm\n int $0x80\n ret\n"
        "smi_user: call smi\n int $0x80\n");
void smi_user(void);

static void clear_seen(void)
{
    for (unsigned i = 0; i < sizeof(Seen) / 4; i++) {
        ((volatile uint32_t *)seen)[i] = 0;
    }
}

static void put_segment_state(const char *name, unsigned offset)
{
    put_text(name);
    put_text(":");
    put_value("selector", saved(offset, 2));
    put_value("attr", saved(offset + 2, 2));
    put_value("limit", saved(offset + 4, 4));
    put_value("base", saved(offset + 8, 8));
    put_char('\n');
}

static void put_smi(const char *ring)
{
    put_text(ring);
    put_text(".handler:");
    put_value("count", seen->count);
    put_value("cs", seen->cs);
    put_value("cr0", seen->cr0);
    put_value("cr4", seen->cr4);
    put_value("efer", seen->efer);
    put_value("flags", seen->flags & ~0x8d5u); /* arithmetic ones are those of its own INC */
    put_value("dr7", seen->dr7);
    put_value("ds", seen->ds);
    put_char('\n');
    put_text(ring);
    put_text(".map:");
    put_value("revision", saved(0xfefc, 4));
    put_value("smbase", saved(0xff00, 4));
    put_value("cr0", saved(0xff58, 8));
    put_value("cr4", saved(0xff48, 8));
    put_value("efer", saved(0xfed0, 8));
    put_value("dr6", saved(0xff68, 8));
    put_value("dr7", saved(0xff60, 8));
    put_value("rflags", saved(0xff70, 8));
    put_value("rcx", saved(0xfff0, 8));
    put_value("r8", saved(0xffb8, 8));
    put_value("r15", saved(0xff80, 8));
    put_char('\n');
    put_text(ring);
    put_text(".at:");
    put_value("rip", saved(0xff78, 8) - (uint64_t)smi_done);
    put_char('\n');
    put_text(ring);
    put_text(".after:");
    put_value("rax", after[0]);
    put_value("rcx", after[1]);
    put_value("r8", after[2]);
    put_value("r15", after[3]);
    put_value("flags", after_flags);
    put_char('\n');
}

static void test_smi(void)
{
    uint64_t cr3;

    clear_seen();
    smi();
    put_smi("ring0");
    __asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
    put_text("tables:");
    put_value("cr3", saved(0xff50, 8) == cr3);
    put_value("gdt", saved(0xfe68, 8) == (uint64_t)gdt);
    put_value("gdt_limit", saved(0xfe64, 4));
    put_value("idt", saved(0xfe88, 8) == (uint64_t)idt);
    put_value("idt_limit", saved(0xfe84, 4));
    put_char('\n');
    put_text("tr:");
    put_value("selector", saved(0xfe90, 2));
    put_value("attr", saved(0xfe92, 2));
    put_value("limit", saved(0xfe94, 4));
    put_value("base", saved(0xfe98, 8) == (uint64_t)tss);
    put_char('\n');
    put_segment_state("cs", 0xfe10);
    put_segment_state("ss", 0xfe20);
    put_segment_state("ds", 0xfe30);
    clear_seen();
    put_text("ring3:");
    put_value("vector", guarded_user(smi_user, user_stack + sizeof(user_stack), 0x3002));
    put_value("cs", fault.cs);
    put_char('\n');
    put_smi("ring3");
    put_segment_state("user_cs", 0xfe10);
    put_segment_state("user_ss", 0xfe20);
    clear_seen();
    seen->again = 2;
    smi();
    put_text("nested:");
    put_value("count", seen->count);
    put_char('\n');
    put_text("rsm outside:");
    put_value("vector", guarded(do_rsm));
    put_char('\n');
}

/* --- the chip set --- */

static bool is_i440fx(void)
{
    return config_read(MCH, 0) >> 16 == I440FX;
}

static unsigned smram_register(void)
{
    return is_i440fx() ? I440FX_SMRAM : SMRAM;
}

/* Whether a write to APM_CNT asks for an SMI. */
static void enable_smi(bool on)
{
    if (is_i440fx()) {
        config_write_byte(PIIX4_PM, DEVACTB3, on ? APMC_EN : 0);
    } else {
        uint16_t port = (uint16_t)((config_read(LPC, LPC_PMBASE) & 0xff80) + SMI_EN);
        uint32_t en = inl(port) | 1;

        outl(port, on ? en | 0x20 : en & ~0x20u);
    }
}

/* --- who sees SMRAM --- */

static void put_view(const char *name)
{
    clear_seen();
    smi();
    put_text(name);
    put_text(".registers:");
    put_value("smram", config_read_byte(MCH, smram_register()));
    if (!is_i440fx()) {
        put_value("esmramc", config_read_byte(MCH, ESMRAMC));
    }
    put_char('\n');
    put_text(name);
    put_text(".window:");
    put_value("outside", *(volatile uint32_t *)WINDOW == *(volatile uint32_t *)handler);
    put_value("inside", seen->window == *(volatile uint32_t *)handler);
    put_char('\n');
    put_text(name);
    put_text(".tseg:");
    put_value("outside", *(volatile uint32_t *)TSEG_WORD);
    put_value("inside", seen->tseg);
    put_char('\n');
}

static void test_tseg(void)
{
    config_write_byte(MCH, ESMRAMC, 1);
    put_view("tseg");
    *(volatile uint32_t *)TSEG_WORD = 0xbad;
    put_view("tseg_write");
    config_write_byte(MCH, ESMRAMC, 0);
    put_view("tseg_off");
    config_write_byte(MCH, ESMRAMC, 1);
}

static void test_views(void)
{
    unsigned smram = smram_register();

    *(volatile uint32_t *)TSEG_WORD = 0x600dcafe;
    config_write_byte(MCH, smram, G_SMRAME | D_OPEN);
    put_view("open");
    config_write_byte(MCH, smram, G_SMRAME);
    put_view("closed");
    if (!is_i440fx()) {
        test_tseg();
    }
    config_write_byte(MCH, smram, G_SMRAME | D_LCK);
    put_view("locked");
    config_write_byte(MCH, smram, G_SMRAME | D_OPEN);
    if (!is_i440fx()) {
        config_write_byte(MCH, ESMRAMC, 0);
    }
    put_view("still_locked");
}

/* --- SMI enables --- */

static void test_enables(void)
{
    clear_seen();
    enable_smi(false);
    smi();
    put_text("enables:");
    put_value("off", seen->count);
    enable_smi(true);
    smi();
    put_value("on", seen->count);
    put_char('\n');
}

/* --- a processor that is halted --- */

static volatile uint32_t *const apic = (volatile uint32_t *)APIC;

static void ipi(uint32_t command)
{
    apic[0x310 / 4] = 1 << 24;
    apic[0x300 / 4] = command;
    while (apic[0x300 / 4] & 0x1000) {
    }
}

static void wait_for(volatile uint32_t *word, uint32_t val)
{
    while (*word != val) {
        __asm__ volatile("pause");
    }
}

static void test_halted(void)
{
    volatile uint32_t *low = (volatile uint32_t *)0x7100;

    low[0] = low[1] = 0;
    clear_seen();
    copy(RELOCATE, relocator, handler);
    copy(TRAMPOLINE, trampoline, trampoline_end);
    apic[0xf0 / 4] |= 0x100;
    ipi(0x4500);
    ipi(0x4600 | TRAMPOLINE >> 12);
    wait_for(&low[0], 1);
    ipi(0x4200);
    wait_for(&seen->relocated, 1);
    /* The first may come before it has got to HLT. */
    for (unsigned i = 0; i < 100 && !(i && saved(0xfec9, 1)); i++) {
        ipi(0x4200);
        wait_for(&seen->count, i + 1);
        for (unsigned wait = 0; wait < 1000; wait++) {
            inb(0x80);
        }
    }
    put_text("halted:");
    put_value("flag", saved(0xfec9, 1));
    seen->wake = 1;
    seen->count = 0;
    ipi(0x4200);
    wait_for(&seen->count, 1);
    while (!low[1]) {
        __asm__ volatile("pause");
    }
    put_value("woken", low[1]);
    put_char('\n');
}

void kernel_main(void);
void kernel_main(void)
{
    uint64_t *page;

    __asm__ volatile("movq %%cr3, %0" : "=r"(page));
    page[0] |= 4;
    page[512] |= 4;
    page[1024] |= 4;
    __asm__ volatile("movq %0, %%cr0" : : "r"(0x80000033ull));
    __asm__ volatile("rdmsr\n orl $0x800, %%eax\n wrmsr" : : "c"(0xc0000080) : "eax", "edx"); /* EFER.NXE */
    load_tables();
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    put_text("BEGIN smm\n");
    enable_smi(true);
    config_write_byte(MCH, smram_register(), G_SMRAME | D_OPEN);
    copy(WINDOW, handler, handler_end);
    config_write_byte(MCH, smram_register(), G_SMRAME);
    copy(RELOCATE, relocator, handler);
    outb(APM_CNT, 0x10); /* moves SMBASE, unless firmware has done that */
    test_smi();
    test_enables();
    test_halted();
    test_views();
    put_text("END\n");
    for (;;) {
        __asm__ volatile("cli\n hlt");
    }
}
