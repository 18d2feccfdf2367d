/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A kernel that shows a virtual machine monitor at work, in instructions that even an emulating KVM knows: ports and
 * string instructions on them, device memory, interrupts through the 8259, the IO-APIC, the local APIC's timer and
 * messages, a task priority, a second processor, a device `edu` in slot 4 by line and by message, and the doorbells of an NVMe disk in slot 5.  One line a
 * test: "name: ok", or what is wrong.  Entered by tests/tcg/kernels/boot.S.
 */
#include "../tcg/kernels/kernel.h"

void kernel_main(void);

enum { CODE64 = 0x20, APIC = 0xfee00000u, IOAPIC = 0xfec00000u, HPET = 0xfed00000u, BAR = 0xfe000000u };
enum { APIC_ID = 0x02, APIC_TPR = 0x08, APIC_EOI = 0x0b, APIC_SVR = 0x0f, APIC_ICR = 0x30, APIC_ICR_HI = 0x31,
       APIC_LVT_TIMER = 0x32, APIC_TIMER_INITIAL = 0x38, APIC_TIMER_CURRENT = 0x39, APIC_TIMER_DIVIDE = 0x3e };
enum { VECTOR_PIC = 0x30, VECTOR_IOAPIC = 0x41, VECTOR_TIMER = 0x50, VECTOR_SELF = 0x60, VECTOR_LINE = 0x70, VECTOR_MSI = 0x80 };
enum { EDU_ID = 0x00, EDU_LIVENESS = 0x04, EDU_FACTORIAL = 0x08, EDU_STATUS = 0x20, EDU_IRQ_STATUS = 0x24, EDU_RAISE = 0x60,
       EDU_ACK = 0x64 };
enum { ROUNDS = 3, TRAMPOLINE = 0x8000, COUNTER = 0x7000 };

#define REG32(addr) (*(volatile uint32_t *)(uintptr_t)(addr))
#define REG64(addr) (*(volatile uint64_t *)(uintptr_t)(addr))

typedef struct Frame {
    unsigned long ip, cs, flags, sp, ss;
} Frame;

static volatile unsigned taken[256];
static uint64_t idt[512] __attribute__((aligned(16)));

static inline void outl(uint16_t port, uint32_t val)
{
    __asm__ volatile("outl %0, %1" : : "a"(val), "Nd"(port));
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t val;

    __asm__ volatile("inl %1, %0" : "=a"(val) : "Nd"(port));
    return val;
}

static void apic_write(unsigned reg, uint32_t val)
{
    REG32(APIC + reg * 16) = val;
}

/* --- results --- */

static void result(const char *name, unsigned long got, unsigned long want)
{
    put_text(name);
    if (got == want) {
        put_text(": ok\n");
        return;
    }
    put_text(":");
    put_value("got", got);
    put_value("want", want);
    put_text("\n");
}

/* --- interrupts --- */

__attribute__((interrupt)) static void on_pic(Frame *frame)
{
    taken[VECTOR_PIC]++;
    outb(0x20, 0x20);
    (void)frame;
}

#define HANDLER(name, vector)                                   \
    __attribute__((interrupt)) static void name(Frame *frame)   \
    {                                                           \
        taken[vector]++;                                        \
        apic_write(APIC_EOI, 0);                                \
        (void)frame;                                            \
    }
HANDLER(on_ioapic, VECTOR_IOAPIC)
HANDLER(on_timer, VECTOR_TIMER)
HANDLER(on_self, VECTOR_SELF)
HANDLER(on_msi, VECTOR_MSI)

__attribute__((interrupt)) static void on_line(Frame *frame)
{
    taken[VECTOR_LINE]++;
    REG32(BAR + EDU_ACK) = REG32(BAR + EDU_IRQ_STATUS);
    apic_write(APIC_EOI, 0);
    (void)frame;
}

__attribute__((interrupt)) static void on_fault(Frame *frame)
{
    put_text("fault:");
    put_value("ip", frame->ip);
    put_text("\nEND\n");
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

static void gate(unsigned vector, void (*handler)(Frame *))
{
    uintptr_t ip = (uintptr_t)handler;

    idt[2 * vector] = (ip & 0xffff) | (uint64_t)CODE64 << 16 | 0x8e00ull << 32 | (uint64_t)(ip >> 16 & 0xffff) << 48;
    idt[2 * vector + 1] = ip >> 32;
}

static void interrupts_start(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } pointer = {sizeof(idt) - 1, (uintptr_t)idt};

    for (unsigned i = 0; i < 32; i++) {
        gate(i, on_fault);
    }
    gate(VECTOR_PIC, on_pic);
    gate(VECTOR_IOAPIC, on_ioapic);
    gate(VECTOR_TIMER, on_timer);
    gate(VECTOR_SELF, on_self);
    gate(VECTOR_LINE, on_line);
    gate(VECTOR_MSI, on_msi);
    __asm__ volatile("lidt %0" : : "m"(pointer));
    apic_write(APIC_SVR, 0x1ff);
}

/* Sleeps until `vector` was taken. */
static void wait_for(unsigned vector, unsigned count)
{
    while (taken[vector] < count) {
        __asm__ volatile("sti; hlt; cli");
    }
}

/* --- ports and device memory --- */

static void test_ports(void)
{
    static const char text[] = "string: written\n";
    const char *from = text;
    unsigned long count = sizeof(text) - 1;
    uint8_t read[4] = {0}, *to = read;

    outb(0x70, 0x40);
    outb(0x71, 0x5a);
    outb(0x70, 0x40);
    result("port", inb(0x71), 0x5a);
    __asm__ volatile("cld; rep outsb" : "+S"(from), "+c"(count) : "d"(COM1) : "memory");
    outb(0x70, 0x40);
    count = sizeof(read);
    __asm__ volatile("cld; rep insb" : "+D"(to), "+c"(count) : "d"(0x71) : "memory");
    result("string", read[0] << 24 | read[1] << 16 | read[2] << 8 | read[3], 0x5a5a5a5a);
}

static void test_memory(void)
{
    uint64_t period = REG64(HPET) >> 32, from[2] = {0};

    result("mmio64", period == REG32(HPET + 4) && period > 1000, 1);
    __asm__ volatile("cld; movsq" : : "D"(from), "S"((uintptr_t)HPET) : "memory");
    result("mmio_string", from[0] >> 32, period);
    REG32(0xc0000000u) = 1;
    result("nothing_there", REG32(0xc0000000u), UINT32_MAX);
}

/* --- interrupt controllers --- */

/* Channel 0 in mode 0: one interrupt in about a millisecond. */
static void pit_once(void)
{
    outb(0x43, 0x30);
    outb(0x40, 0xa9);
    outb(0x40, 0x04);
}

static void test_pic(void)
{
    outb(0x20, 0x11);
    outb(0x21, VECTOR_PIC);
    outb(0x21, 4);
    outb(0x21, 1);
    outb(0xa1, 0xff);
    outb(0x21, 0xfe);
    apic_write(0x35, 0x700); /* LINT0: ExtINT */
    for (unsigned i = 1; i <= ROUNDS; i++) {
        pit_once();
        wait_for(VECTOR_PIC, i);
    }
    result("pic", taken[VECTOR_PIC], ROUNDS);
    outb(0x21, 0xff);
    apic_write(0x35, 0x10700);
}

static void ioapic_route(unsigned pin, uint32_t low)
{
    REG32(IOAPIC) = 0x11 + 2 * pin;
    REG32(IOAPIC + 0x10) = 0;
    REG32(IOAPIC) = 0x10 + 2 * pin;
    REG32(IOAPIC + 0x10) = low;
}

static void test_ioapic(void)
{
    ioapic_route(2, VECTOR_IOAPIC);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        pit_once();
        wait_for(VECTOR_IOAPIC, i);
    }
    result("ioapic", taken[VECTOR_IOAPIC], ROUNDS);
    ioapic_route(2, 0x10000);
}

static void test_apic(void)
{
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        apic_write(APIC_TIMER_INITIAL, 1000000);
        wait_for(VECTOR_TIMER, i);
    }
    result("apic_timer", taken[VECTOR_TIMER], ROUNDS);
    apic_write(APIC_ICR_HI, 0);
    apic_write(APIC_ICR, 0x40000 | VECTOR_SELF);
    wait_for(VECTOR_SELF, 1);
    result("self", taken[VECTOR_SELF], 1);
    /* A task priority holds it back. */
    __asm__ volatile("mov %0, %%cr8" : : "r"(15ul));
    apic_write(APIC_ICR, 0x40000 | VECTOR_SELF);
    __asm__ volatile("sti; nop; nop; cli");
    result("priority_high", taken[VECTOR_SELF], 1);
    result("priority_read", REG32(APIC + APIC_TPR * 16), 0xf0);
    __asm__ volatile("mov %0, %%cr8" : : "r"(0ul));
    wait_for(VECTOR_SELF, 2);
    result("priority_low", taken[VECTOR_SELF], 2);
}

/* --- the second processor: counts in real mode --- */

static void test_second_cpu(void)
{
    static const uint8_t code[] = {0x31, 0xc0, 0x8e, 0xd8, 0x66, 0xff, 0x06, 0x00, 0x70, 0xeb, 0xf9};
    volatile uint8_t *to = (volatile uint8_t *)(uintptr_t)TRAMPOLINE;
    uint32_t seen;

    for (unsigned i = 0; i < sizeof(code); i++) {
        to[i] = code[i];
    }
    REG32(COUNTER) = 0;
    apic_write(APIC_ICR_HI, 1u << 24);
    apic_write(APIC_ICR, 0x4500);
    apic_write(APIC_ICR_HI, 1u << 24);
    apic_write(APIC_ICR, 0x4600 | TRAMPOLINE >> 12);
    while (!(seen = REG32(COUNTER))) {
    }
    while (REG32(COUNTER) == seen) {
    }
    result("second_cpu", 1, 1);
    /* INIT again stops it. */
    apic_write(APIC_ICR_HI, 1u << 24);
    apic_write(APIC_ICR, 0x4500);
}

/* --- a device --- */

static unsigned slot = 4;

static uint32_t config_read(unsigned offset)
{
    outl(0xcf8, 0x80000000u | slot << 11 | offset);
    return inl(0xcfc);
}

static void config_write(unsigned offset, uint32_t val)
{
    outl(0xcf8, 0x80000000u | slot << 11 | offset);
    outl(0xcfc, val);
}

static unsigned find_msi(void)
{
    unsigned at = config_read(0x34) & 0xfc;

    while (at && (config_read(at) & 0xff) != 5) {
        at = config_read(at) >> 8 & 0xfc;
    }
    return at;
}

/* INTA of slot 4 is PIRQ E: pin 20. */
static void test_edu_line(void)
{
    ioapic_route(20, 0x8000 | VECTOR_LINE);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        REG32(BAR + EDU_RAISE) = 1u << i;
        wait_for(VECTOR_LINE, i);
    }
    result("edu_line", taken[VECTOR_LINE] >= ROUNDS, 1);
    ioapic_route(20, 0x10000);
}

static void test_edu_msi(void)
{
    unsigned msi = find_msi();

    config_write(msi + 4, APIC);
    if (config_read(msi) & 0x800000) {
        config_write(msi + 8, 0);
        config_write(msi + 12, VECTOR_MSI);
    } else {
        config_write(msi + 8, VECTOR_MSI);
    }
    config_write(msi, config_read(msi) | 0x10000);
    REG32(BAR + EDU_STATUS) = 0x80;
    for (unsigned i = 1; i <= ROUNDS; i++) {
        REG32(BAR + EDU_FACTORIAL) = 5;
        wait_for(VECTOR_MSI, i);
        REG32(BAR + EDU_ACK) = REG32(BAR + EDU_IRQ_STATUS);
    }
    result("edu_msi", taken[VECTOR_MSI], ROUNDS);
    result("edu_factorial", REG32(BAR + EDU_FACTORIAL), 120);
}

static void test_edu(void)
{
    if (config_read(0) != 0x11e81234) {
        return;
    }
    config_write(0x10, BAR);
    config_write(4, 6);
    result("edu_id", REG32(BAR + EDU_ID), 0x010000ed);
    REG32(BAR + EDU_LIVENESS) = 0x12345678;
    result("edu_liveness", REG32(BAR + EDU_LIVENESS), ~0x12345678u);
    test_edu_line();
    test_edu_msi();
}

/* --- a disk: rings its admin queue's doorbell and looks at memory for the answer (NVMe 1.4, 3.1 and 7.6.1) --- */

enum { NVME_BAR = 0xfd000000u, NVME_CC = 0x14, NVME_CSTS = 0x1c, NVME_AQA = 0x24, NVME_ASQ = 0x28, NVME_ACQ = 0x30,
       NVME_DOORBELL = 0x1000, QUEUE = 0x2000000, ANSWERS = 0x2001000, PAGE = 0x2002000, IDENTIFY = 6 };

static void nvme_identify(unsigned n)
{
    unsigned at = QUEUE + n * 64;

    REG32(at) = IDENTIFY | n << 16;
    REG32(at + 24) = PAGE;
    REG32(at + 40) = 1;
    REG32(NVME_BAR + NVME_DOORBELL) = n + 1;
    while (!(REG32(ANSWERS + n * 16 + 12) & 0x10000)) {
    }
    REG32(NVME_BAR + NVME_DOORBELL + 4) = n + 1;
}

static void test_nvme(void)
{
    slot = 5;
    if (config_read(8) >> 8 != 0x010802) {
        return;
    }
    config_write(0x10, NVME_BAR);
    config_write(4, 6);
    REG32(NVME_BAR + NVME_AQA) = 15 << 16 | 15;
    REG64(NVME_BAR + NVME_ASQ) = QUEUE;
    REG64(NVME_BAR + NVME_ACQ) = ANSWERS;
    REG32(NVME_BAR + NVME_CC) = 1 | 6 << 16 | 4 << 20;
    while (!(REG32(NVME_BAR + NVME_CSTS) & 1)) {
    }
    for (unsigned n = 0; n < 8; n++) {
        nvme_identify(n);
    }
    result("nvme", REG32(PAGE) & 0xffff, config_read(0) & 0xffff);
}

void kernel_main(void)
{
    put_text("BEGIN\n");
    interrupts_start();
    test_ports();
    test_memory();
    test_pic();
    test_ioapic();
    test_apic();
    test_second_cpu();
    test_edu();
    test_nvme();
    put_text("END\n");
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}
