/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bare 64-bit system for the software CPU (Intel SDM vol. 3: 4.5 paging, 6.14
 * interrupts in 64-bit mode, 8.7 task state segment).  Exceptions enter ring 0,
 * where a HLT for each vector ends the run; the saved frame tells the rest.
 */
#include "tests/tcg/guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel/tcg-cpu.h"

/* Supervisor memory, identity mapped away from the small addresses that random pointers hit. */
enum {
    SYS_BASE = 0x30000000,
    SYS_PML4 = SYS_BASE + 0x1000,
    SYS_PDPT = SYS_BASE + 0x2000,
    SYS_PD = SYS_BASE + 0x3000,
    SYS_PT_SYS = SYS_BASE + 0x4000,
    SYS_PT_CODE = SYS_BASE + 0x5000,
    SYS_PT_DATA = SYS_BASE + 0x6000,
    SYS_GDT = SYS_BASE + 0x7000,
    SYS_IDT = SYS_BASE + 0x8000,
    SYS_TSS = SYS_BASE + 0x9000,
    SYS_STACK_TOP = SYS_BASE + 0xb000,
    SYS_STUBS = SYS_BASE + 0xc000,
    SYS_STUB_BYTES = 16,
    SYS_BYTES = 0x10000,
};

enum {
    PTE_USER_RW = 0x67,
    PTE_SYS_RW = 0x63,
    SEL_KERNEL_CS = 0x08,
    SEL_TSS = 0x10,
    SEL_USER_SS = 0x2b,
    SEL_USER_CS = 0x33
};

static struct {
    X86Cpu *cpu;
    X86CpuState initial;
    uint8_t *sys, *code, *data;
} guest;

static void put64(uint64_t address, uint64_t val)
{
    memcpy(guest.sys + (address - SYS_BASE), &val, sizeof(val));
}

static uint64_t get64(uint64_t address)
{
    uint64_t val = 0;

    if (address >= SYS_BASE && address <= SYS_BASE + SYS_BYTES - sizeof(val)) {
        memcpy(&val, guest.sys + (address - SYS_BASE), sizeof(val));
    }
    return val;
}

static void bus_map_page(void *opaque, uint64_t gpa, X86BusPage *page)
{
    page->host = NULL;
    page->writable = true;
    if (gpa >= SYS_BASE && gpa < SYS_BASE + SYS_BYTES) {
        page->host = guest.sys + (gpa - SYS_BASE);
    } else if (gpa >= GUEST_CODE && gpa < GUEST_CODE + GUEST_BYTES) {
        page->host = guest.code + (gpa - GUEST_CODE);
    } else if (gpa >= GUEST_DATA && gpa < GUEST_DATA + GUEST_BYTES) {
        page->host = guest.data + (gpa - GUEST_DATA);
    }
}

static uint64_t bus_mem_read(void *opaque, uint64_t gpa, unsigned size)
{
    return UINT64_MAX;
}

static void bus_mem_write(void *opaque, uint64_t gpa, uint64_t val, unsigned size)
{
}

static uint32_t bus_io_read(void *opaque, uint16_t port, unsigned size)
{
    return UINT32_MAX;
}

static void bus_io_write(void *opaque, uint16_t port, uint32_t val, unsigned size)
{
}

static int bus_intr_ack(void *opaque)
{
    return -1;
}

static uint64_t bus_get_cr8(void *opaque)
{
    return 0;
}

static void bus_set_cr8(void *opaque, uint64_t val)
{
}

static uint64_t bus_get_apic_base(void *opaque)
{
    return 0xfee00900;
}

static bool bus_set_apic_base(void *opaque, uint64_t val)
{
    return false;
}

static bool bus_x2apic_read(void *opaque, uint32_t msr, uint64_t *val)
{
    return false;
}

static bool bus_x2apic_write(void *opaque, uint32_t msr, uint64_t val)
{
    return false;
}

static uint64_t bus_get_tsc_deadline(void *opaque)
{
    return 0;
}

static void bus_set_tsc_deadline(void *opaque, uint64_t tsc)
{
}

static uint64_t bus_read_tsc(void *opaque)
{
    return 0;
}

static void bus_triple_fault(void *opaque)
{
}

static const X86CpuBus guest_bus = {
    .map_page = bus_map_page,
    .mem_read = bus_mem_read,
    .mem_write = bus_mem_write,
    .io_read = bus_io_read,
    .io_write = bus_io_write,
    .intr_ack = bus_intr_ack,
    .get_cr8 = bus_get_cr8,
    .set_cr8 = bus_set_cr8,
    .get_apic_base = bus_get_apic_base,
    .set_apic_base = bus_set_apic_base,
    .x2apic_read = bus_x2apic_read,
    .x2apic_write = bus_x2apic_write,
    .get_tsc_deadline = bus_get_tsc_deadline,
    .set_tsc_deadline = bus_set_tsc_deadline,
    .read_tsc = bus_read_tsc,
    .triple_fault = bus_triple_fault,
};

static void guest_make_page_tables(void)
{
    put64(SYS_PML4, SYS_PDPT | PTE_USER_RW);
    put64(SYS_PDPT, SYS_PD | PTE_USER_RW);
    put64(SYS_PD + (SYS_BASE >> 21) * 8, SYS_PT_SYS | PTE_USER_RW);
    put64(SYS_PD + (GUEST_CODE >> 21) * 8, SYS_PT_CODE | PTE_USER_RW);
    put64(SYS_PD + (GUEST_DATA >> 21) * 8, SYS_PT_DATA | PTE_USER_RW);
    for (uint64_t i = 0; i < SYS_BYTES / GUEST_PAGE; i++) {
        put64(SYS_PT_SYS + i * 8, (SYS_BASE + i * GUEST_PAGE) | PTE_SYS_RW);
    }
    for (uint64_t i = 0; i < GUEST_PAGES; i++) {
        put64(SYS_PT_CODE + i * 8, (GUEST_CODE + i * GUEST_PAGE) | PTE_USER_RW);
        put64(SYS_PT_DATA + i * 8, (GUEST_DATA + i * GUEST_PAGE) | PTE_USER_RW);
    }
}

static void guest_make_tables(void)
{
    put64(SYS_GDT + SEL_KERNEL_CS, UINT64_C(0x00af9b000000ffff));
    put64(SYS_GDT + SEL_TSS, UINT64_C(0x00008b0000000067) | (uint64_t)(SYS_TSS & 0xffffff) << 16 |
                                 (uint64_t)SYS_TSS >> 24 << 56);
    put64(SYS_GDT + (SEL_USER_SS & ~7), UINT64_C(0x00cff3000000ffff));
    put64(SYS_GDT + (SEL_USER_CS & ~7), UINT64_C(0x00affb000000ffff));
    put64(SYS_TSS + 4, SYS_STACK_TOP);                        /* RSP0 */
    memset(guest.sys + (SYS_TSS - SYS_BASE) + 0x66, 0xff, 2); /* no I/O permission bitmap */
    for (uint64_t vector = 0; vector < 256; vector++) {
        const uint64_t stub = SYS_STUBS + vector * SYS_STUB_BYTES;
        const uint64_t present_dpl3_interrupt_gate = UINT64_C(0xee) << 40;
        guest.sys[stub - SYS_BASE] = 0xf4; /* HLT */
        put64(SYS_IDT + vector * 16,
              (stub & 0xffff) | SEL_KERNEL_CS << 16 | present_dpl3_interrupt_gate | stub >> 16 << 48);
    }
}

static X86SegState guest_segment(uint16_t selector, uint16_t attr)
{
    return (X86SegState){.selector = selector, .attr = attr, .limit = UINT32_MAX};
}

static void guest_make_state(void)
{
    X86CpuState *state = &guest.initial;
    const uint64_t xstate_bv = 3;

    x86_cpu_get_state(guest.cpu, state);
    state->cr0 = 0x80050033;
    state->cr3 = SYS_PML4;
    state->cr4 = 0x620; /* PAE, OSFXSR, OSXMMEXCPT */
    state->efer = 0xd01;
    state->seg[X86_SEG_CS] = guest_segment(SEL_USER_CS, 0xa0fb);
    state->seg[X86_SEG_SS] = guest_segment(SEL_USER_SS, 0xc0f3);
    state->seg[X86_SEG_TR] =
        (X86SegState){.base = SYS_TSS, .limit = 0x67, .selector = SEL_TSS, .attr = 0x008b};
    for (unsigned i = 0; i < X86_SEG_COUNT; i++) {
        if (i == X86_SEG_DS || i == X86_SEG_ES || i == X86_SEG_FS || i == X86_SEG_GS) {
            state->seg[i] = guest_segment(0, 0xc0f3);
        }
    }
    state->seg[X86_SEG_LDTR] = (X86SegState){0};
    state->gdtr = (X86TableState){.base = SYS_GDT, .limit = 0x3f};
    state->idtr = (X86TableState){.base = SYS_IDT, .limit = 0xfff};
    state->halted = state->wait_sipi = 0;
    state->a20 = 1;
    memcpy(state->xsave + 512, &xstate_bv, sizeof(xstate_bv));
}

bool guest_init(const char *model, unsigned jit_heat)
{
    const X86CpuConfig config = {.model = model, .tsc_hz = 1000000000, .cores = 1, .threads = 1,
                                  .jit_heat = jit_heat};
    char *error = NULL;

    guest.sys = aligned_alloc(GUEST_PAGE, SYS_BYTES);
    guest.code = aligned_alloc(GUEST_PAGE, GUEST_BYTES);
    guest.data = aligned_alloc(GUEST_PAGE, GUEST_BYTES);
    if (!guest.sys || !guest.code || !guest.data) {
        fprintf(stderr, "guest: no memory\n");
        return false;
    }
    memset(guest.sys, 0, SYS_BYTES);
    memset(guest.code, 0xcc, GUEST_BYTES);
    memset(guest.data, 0, GUEST_BYTES);
    guest_make_page_tables();
    guest_make_tables();
    guest.cpu = x86_cpu_new(&config, &guest_bus, NULL, &error);
    if (!guest.cpu) {
        fprintf(stderr, "guest: %s\n", error);
        free(error);
        return false;
    }
    guest_make_state();
    return true;
}

void guest_free(void)
{
    x86_cpu_free(guest.cpu);
    free(guest.sys);
    free(guest.code);
    free(guest.data);
}

uint8_t *guest_code(void)
{
    return guest.code;
}

uint8_t *guest_data(void)
{
    return guest.data;
}

void guest_code_changed(uint64_t linear, size_t len)
{
    x86_cpu_invalidate_code(guest.cpu, linear, len);
}

static bool guest_has_error_code(unsigned vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

/* Reads the frame the exception has pushed. */
static void guest_take_exception(NativeState *state, const X86CpuState *after)
{
    uint64_t frame = after->gpr[X86_RSP];

    state->vector = (unsigned)((after->rip - SYS_STUBS) / SYS_STUB_BYTES);
    state->error = 0;
    if (guest_has_error_code(state->vector)) {
        state->error = get64(frame);
        frame += 8;
    }
    state->rip = get64(frame);
    state->rflags = get64(frame + 16);
    state->gpr[X86_RSP] = get64(frame + 24);
    state->cr2 = after->cr2;
}

void guest_run(NativeState *state)
{
    X86CpuState cpu = guest.initial;
    X86CpuExit why;

    memcpy(cpu.gpr, state->gpr, sizeof(cpu.gpr));
    cpu.rip = state->rip;
    cpu.rflags = (state->rflags & 0xcd5) | 0x202;
    memcpy(cpu.xsave, state->fx, sizeof(state->fx));
    if (!x86_cpu_set_state(guest.cpu, &cpu)) {
        fprintf(stderr, "guest: state refused\n");
        abort();
    }
    why = x86_cpu_run(guest.cpu);
    x86_cpu_get_state(guest.cpu, &cpu);
    memcpy(state->gpr, cpu.gpr, sizeof(state->gpr));
    memcpy(state->fx, cpu.xsave, sizeof(state->fx));
    if (why == X86_EXIT_HALTED && cpu.rip >= SYS_STUBS && cpu.rip < SYS_STUBS + 256 * SYS_STUB_BYTES) {
        guest_take_exception(state, &cpu);
    } else {
        state->vector = GUEST_VECTOR_NONE;
        state->rip = cpu.rip;
        state->rflags = cpu.rflags;
    }
}
