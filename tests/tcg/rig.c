/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See rig.h.  Device memory is everything outside RAM; it and the ports record what was done to them. */
#include "tests/tcg/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, TSS_LIMIT = 0x67 + 0x2000 };

/* --- the bus --- */

static void rig_map_page(void *opaque, uint64_t gpa, X86BusPage *page)
{
    Rig *rig = opaque;

    page->host = gpa < RIG_RAM_BYTES && !(rig->covered && gpa == rig->covered) ? rig->ram + gpa : NULL;
    page->writable = true;
}

static uint64_t rig_mem_read(void *opaque, uint64_t gpa, unsigned size)
{
    Rig *rig = opaque;

    rig->device_reads++;
    rig->device_addr = gpa;
    rig->device_size = size;
    return rig->device;
}

static void rig_mem_write(void *opaque, uint64_t gpa, uint64_t val, unsigned size)
{
    Rig *rig = opaque;

    rig->device_writes++;
    rig->device_addr = gpa;
    rig->device_val = val;
    rig->device_size = size;
    if (rig->on_write) {
        rig->on_write(rig, gpa, val);
    }
}

static uint32_t rig_io_read(void *opaque, uint16_t port, unsigned size)
{
    return ((Rig *)opaque)->port_in;
}

static void rig_io_write(void *opaque, uint16_t port, uint32_t val, unsigned size)
{
    Rig *rig = opaque;

    if (port == RIG_PORT_DEBUG && rig->console_len < sizeof(rig->console) - 1) {
        rig->console[rig->console_len++] = (char)val;
    }
    if (rig->on_out) {
        rig->on_out(rig, port, val, size);
    }
}

static int rig_intr_ack(void *opaque)
{
    Rig *rig = opaque;
    int vector = rig->vector;

    rig->acks++;
    rig->vector = -1;
    x86_cpu_set_irq(rig->cpu, X86_IRQ_HARD, false);
    return vector;
}

static uint64_t rig_get_cr8(void *opaque)
{
    return ((Rig *)opaque)->cr8;
}

static void rig_set_cr8(void *opaque, uint64_t val)
{
    ((Rig *)opaque)->cr8 = val;
}

static uint64_t rig_get_apic_base(void *opaque)
{
    return ((Rig *)opaque)->apic_base;
}

static bool rig_set_apic_base(void *opaque, uint64_t val)
{
    Rig *rig = opaque;

    if (val & 0xff) {
        return false;
    }
    rig->apic_base = val;
    return true;
}

/* Two registers are enough: 0x802 reads, 0x808 reads and writes. */
static bool rig_x2apic_read(void *opaque, uint32_t msr, uint64_t *val)
{
    Rig *rig = opaque;

    *val = msr == 0x808 ? rig->cr8 << 4 : 7;
    return (rig->apic_base & 0x400) && (msr == 0x802 || msr == 0x808);
}

static bool rig_x2apic_write(void *opaque, uint32_t msr, uint64_t val)
{
    Rig *rig = opaque;

    if (!(rig->apic_base & 0x400) || msr != 0x808) {
        return false;
    }
    rig->cr8 = val >> 4;
    return true;
}

static uint64_t rig_get_tsc_deadline(void *opaque)
{
    return ((Rig *)opaque)->deadline;
}

static void rig_set_tsc_deadline(void *opaque, uint64_t tsc)
{
    ((Rig *)opaque)->deadline = tsc;
}

static uint64_t rig_read_tsc(void *opaque)
{
    return ((Rig *)opaque)->tsc;
}

static void rig_triple_fault(void *opaque)
{
    ((Rig *)opaque)->triple_faults++;
}

static void rig_set_smm(void *opaque, bool on)
{
    ((Rig *)opaque)->smm = on;
}

static const X86CpuBus rig_bus = {
    .set_smm = rig_set_smm,
    .map_page = rig_map_page,
    .mem_read = rig_mem_read,
    .mem_write = rig_mem_write,
    .io_read = rig_io_read,
    .io_write = rig_io_write,
    .intr_ack = rig_intr_ack,
    .get_cr8 = rig_get_cr8,
    .set_cr8 = rig_set_cr8,
    .get_apic_base = rig_get_apic_base,
    .set_apic_base = rig_set_apic_base,
    .x2apic_read = rig_x2apic_read,
    .x2apic_write = rig_x2apic_write,
    .get_tsc_deadline = rig_get_tsc_deadline,
    .set_tsc_deadline = rig_set_tsc_deadline,
    .read_tsc = rig_read_tsc,
    .triple_fault = rig_triple_fault,
};

Rig *rig_new(const char *model)
{
    const X86CpuConfig config = {.model = model, .tsc_hz = 1000000000, .cores = 1, .threads = 1,
                                  .jit_heat = getenv("TCG_JIT_HEAT") ? (uint32_t)atoi(getenv("TCG_JIT_HEAT")) : 0};
    Rig *rig = calloc(1, sizeof(*rig));
    char *error = NULL;

    rig->ram = aligned_alloc(PAGE, RIG_RAM_BYTES);
    rig->apic_base = 0xfee00900;
    rig->cpu = x86_cpu_new(&config, &rig_bus, rig, &error);
    if (!rig->cpu) {
        fprintf(stderr, "rig: %s\n", error);
        abort();
    }
    return rig;
}

void rig_free(Rig *rig)
{
    x86_cpu_free(rig->cpu);
    free(rig->ram);
    free(rig);
}

/* --- memory and tables --- */

void rig_put(Rig *rig, uint64_t phys, const void *bytes, size_t len)
{
    memcpy(rig->ram + phys, bytes, len);
    x86_cpu_invalidate_code(rig->cpu, phys, len);
}

void rig_put64(Rig *rig, uint64_t phys, uint64_t val)
{
    memcpy(rig->ram + phys, &val, sizeof(val));
}

void rig_put32(Rig *rig, uint64_t phys, uint32_t val)
{
    memcpy(rig->ram + phys, &val, sizeof(val));
}

uint64_t rig_get64(const Rig *rig, uint64_t phys)
{
    uint64_t val;

    memcpy(&val, rig->ram + phys, sizeof(val));
    return val;
}

uint32_t rig_get32(const Rig *rig, uint64_t phys)
{
    return (uint32_t)rig_get64(rig, phys);
}

void rig_put_gdt(Rig *rig, unsigned selector, uint32_t base, uint32_t limit, unsigned attr)
{
    uint64_t d = (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(attr & 0xff) << 40 |
                 (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)(attr >> 12) << 52 | (uint64_t)(base >> 24) << 56;

    rig_put64(rig, RIG_GDT + (selector & ~7u), d);
}

void rig_put_gate(Rig *rig, unsigned vector, uint16_t selector, uint64_t offset, unsigned type, unsigned dpl, unsigned ist)
{
    const unsigned size = rig->mode >= RIG_COMPAT ? 16 : 8;
    const uint64_t attr = 0x80 | dpl << 5 | type;

    rig_put64(rig, RIG_IDT + (uint64_t)vector * size,
              (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)ist << 32 | attr << 40 |
                  (offset >> 16 & 0xffff) << 48);
    if (size == 16) {
        rig_put64(rig, RIG_IDT + (uint64_t)vector * size + 8, offset >> 32);
    }
}

/* How a linear address is divided: shift and bits of the index at each level, from the top. */
typedef struct RigPaging {
    unsigned levels, entry, shift[4], bits[4];
} RigPaging;

static const RigPaging *rig_paging(const Rig *rig)
{
    static const RigPaging two = {2, 4, {22, 12}, {10, 10}}, pae = {3, 8, {30, 21, 12}, {2, 9, 9}},
                           four = {4, 8, {39, 30, 21, 12}, {9, 9, 9, 9}};

    return rig->mode >= RIG_COMPAT ? &four : rig->mode == RIG_PAE ? &pae : &two;
}

uint64_t rig_entry(Rig *rig, uint64_t linear, uint64_t size)
{
    const RigPaging *p = rig_paging(rig);
    uint64_t table = RIG_TABLES;

    for (unsigned level = 0;; level++) {
        uint64_t addr = table + (linear >> p->shift[level] & ((1u << p->bits[level]) - 1)) * p->entry;
        uint64_t entry = p->entry == 8 ? rig_get64(rig, addr) : rig_get32(rig, addr);

        if (UINT64_C(1) << p->shift[level] == size) {
            return addr;
        }
        if (!(entry & RIG_P)) {
            /* The entries of PAE's first level have no permissions. */
            entry = rig->next_table | (rig->mode == RIG_PAE && level == 0 ? RIG_P : RIG_P | RIG_W | RIG_U);
            rig->next_table += PAGE;
            if (rig->next_table > RIG_TABLES_END) {
                abort();
            }
            memcpy(rig->ram + addr, &entry, p->entry);
        }
        table = entry & 0xffffff000;
    }
}

void rig_map(Rig *rig, uint64_t linear, uint64_t phys, uint64_t bits, uint64_t size)
{
    uint64_t addr = rig_entry(rig, linear, size), entry = phys | bits | (size > PAGE ? RIG_PS : 0);

    memcpy(rig->ram + addr, &entry, rig_paging(rig)->entry);
}

static void rig_make_page_tables(Rig *rig)
{
    if (rig->mode < RIG_PAGED32) {
        return;
    }
    rig->next_table = RIG_TABLES + PAGE;
    for (uint64_t page = 0; page < RIG_MAPPED; page += PAGE) {
        rig_map(rig, page, page, page < RIG_CODE ? RIG_P | RIG_W | RIG_A | RIG_D : RIG_P | RIG_W | RIG_U | RIG_A | RIG_D,
                PAGE);
    }
}

static void rig_make_gdt(Rig *rig)
{
    static const struct {
        unsigned selector;
        uint32_t limit;
        unsigned attr;
    } flat[] = {
        {RIG_CS64, 0xfffff, 0xa09b}, {RIG_DS0, 0xfffff, 0xc093},   {RIG_CS32, 0xfffff, 0xc09b},
        {RIG_CS16, 0xffff, 0x009b},  {RIG_DS16, 0xffff, 0x0093},   {RIG_DS3, 0xfffff, 0xc0f3},
        {RIG_CS64_3, 0xfffff, 0xa0fb}, {RIG_CS32_3, 0xfffff, 0xc0fb}, {RIG_CS32_1, 0xfffff, 0xc0bb},
        {RIG_DS1, 0xfffff, 0xc0b3},
    };

    for (size_t i = 0; i < sizeof(flat) / sizeof(flat[0]); i++) {
        rig_put_gdt(rig, flat[i].selector, 0, flat[i].limit, flat[i].attr);
    }
    rig_put_gdt(rig, RIG_TR, RIG_TSS, TSS_LIMIT, 0x008b);
    if (rig->mode < RIG_COMPAT) {
        rig_put_gdt(rig, RIG_TR2, RIG_TSS2, 0x67, 0x0089);
    }
}

static void rig_make_tss(Rig *rig)
{
    if (rig->mode >= RIG_COMPAT) {
        rig_put64(rig, RIG_TSS + 4, RIG_STACK0);
        rig_put64(rig, RIG_TSS + 12, RIG_STACK1);
        rig_put64(rig, RIG_TSS + 20, RIG_STACK2);
        rig_put64(rig, RIG_TSS + 0x24, RIG_STACK_IST);
    } else {
        rig_put32(rig, RIG_TSS + 4, RIG_STACK0);
        rig_put32(rig, RIG_TSS + 8, RIG_DS0);
        rig_put32(rig, RIG_TSS + 12, RIG_STACK1);
        rig_put32(rig, RIG_TSS + 16, RIG_DS1);
        rig_put32(rig, RIG_TSS + 0x1c, RIG_TABLES); /* CR3 is only ever read */
    }
    rig_put32(rig, RIG_TSS + 0x64, 0xffffu << 16); /* no I/O permission map */
}

static void rig_make_stubs(Rig *rig)
{
    for (unsigned vector = 0; vector < 256; vector++) {
        rig->ram[RIG_STUBS + vector * RIG_STUB_BYTES] = 0xf4;
        if (rig->mode == RIG_REAL) {
            rig_put32(rig, RIG_IVT + vector * 4, (RIG_STUBS >> 4) << 16 | vector * RIG_STUB_BYTES);
        } else {
            rig_put_gate(rig, vector, rig->mode >= RIG_COMPAT ? RIG_CS64 : RIG_CS32,
                         RIG_STUBS + vector * RIG_STUB_BYTES, 0xe, 3, 0);
        }
    }
}

static X86SegState rig_segment(const Rig *rig, uint16_t selector)
{
    uint64_t d = rig_get64(rig, RIG_GDT + (selector & ~7u));
    X86SegState seg = {.selector = selector, .attr = (uint16_t)(d >> 40 & 0xf0ff)};

    seg.base = (d >> 16 & 0xffffff) | (d >> 56) << 24;
    seg.limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000));
    seg.limit = d >> 55 & 1 ? seg.limit << 12 | 0xfff : seg.limit;
    return seg;
}

static void rig_state_real(Rig *rig)
{
    for (unsigned i = 0; i < 6; i++) {
        rig->s.seg[i] = (X86SegState){.limit = 0xffff, .attr = 0x93};
    }
    rig->s.seg[X86_SEG_CS] = (X86SegState){.selector = RIG_CODE >> 4, .base = RIG_CODE, .limit = 0xffff, .attr = 0x9b};
    rig->s.rip = 0;
    rig->s.gpr[X86_RSP] = RIG_STACK0;
    rig->s.idtr = (X86TableState){RIG_IVT, 0x3ff};
    rig->s.gdtr = (X86TableState){RIG_GDT, RIG_GDT_LIMIT};
    rig->s.cr0 = 0x10;
}

static void rig_state_protected(Rig *rig, unsigned cpl)
{
    static const uint64_t cr0[] = {0, 0x33, 0x80010033, 0x80010033, 0x80010033, 0x80010033};
    static const uint64_t cr4[] = {0, 0x600, 0x610, 0x620, 0x620, 0x620};
    const bool lma = rig->mode >= RIG_COMPAT;
    X86CpuState *s = &rig->s;
    uint16_t cs = rig->mode == RIG_LONG ? (cpl ? RIG_CS64_3 : RIG_CS64) : cpl ? RIG_CS32_3 : RIG_CS32;

    s->cr0 = cr0[rig->mode];
    s->cr3 = RIG_TABLES;
    s->cr4 = cr4[rig->mode];
    s->efer = (lma ? 0x500 : 0) | (rig->mode >= RIG_PAE ? 0x800 : 0) | 1;
    for (unsigned i = 0; i < 6; i++) {
        s->seg[i] = rig_segment(rig, i == X86_SEG_CS ? cs : cpl ? RIG_DS3 : RIG_DS0);
    }
    s->seg[X86_SEG_TR] = rig_segment(rig, RIG_TR);
    s->seg[X86_SEG_LDTR] = (X86SegState){0};
    s->gdtr = (X86TableState){RIG_GDT, RIG_GDT_LIMIT};
    s->idtr = (X86TableState){RIG_IDT, lma ? 0xfff : 0x7ff};
    s->gpr[X86_RSP] = cpl ? RIG_STACK3 : RIG_STACK0 - 0x400;
    s->rip = RIG_CODE;
}

void rig_reset(Rig *rig, RigMode mode, unsigned cpl)
{
    rig->mode = mode;
    memset(rig->ram, 0, RIG_RAM_BYTES);
    rig->device_reads = rig->device_writes = rig->acks = rig->triple_faults = 0;
    rig->console_len = 0;
    memset(rig->console, 0, sizeof(rig->console));
    rig->vector = -1;
    rig->smm = false;
    rig->on_out = NULL;
    x86_cpu_reset(rig->cpu, false);
    rig_make_gdt(rig);
    rig_make_tss(rig);
    rig_make_stubs(rig);
    rig_make_page_tables(rig);
    x86_cpu_get_state(rig->cpu, &rig->s);
    memset(rig->s.gpr, 0, sizeof(rig->s.gpr));
    rig->s.rflags = 2;
    if (mode == RIG_REAL) {
        rig_state_real(rig);
    } else {
        rig_state_protected(rig, cpl);
    }
}

/* --- running --- */

static bool rig_has_error_code(unsigned vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

static uint64_t rig_frame_word(const Rig *rig, uint64_t addr, unsigned size)
{
    uint64_t val = 0;

    if (addr <= RIG_RAM_BYTES - size) {
        memcpy(&val, rig->ram + addr, size);
    }
    return val;
}

/* Stubs run at identity-mapped addresses, so the frame is read from RAM. */
static void rig_read_frame(const Rig *rig, RigResult *r)
{
    const unsigned size = rig->mode == RIG_REAL ? 2 : rig->mode >= RIG_COMPAT ? 8 : 4;
    uint64_t at = r->s.seg[X86_SEG_SS].base + r->s.gpr[X86_RSP];

    if (rig_has_error_code(r->vector) && rig->mode != RIG_REAL) {
        r->error = rig_frame_word(rig, at, size);
        at += size;
    }
    r->frame = at;
    r->rip = rig_frame_word(rig, at, size);
    r->cs = rig_frame_word(rig, at + size, size) & 0xffff;
    r->rflags = rig_frame_word(rig, at + 2 * size, size);
    r->rsp = rig_frame_word(rig, at + 3 * size, size);
    r->ss = rig_frame_word(rig, at + 4 * size, size) & 0xffff;
}

void rig_apply(Rig *rig)
{
    if (!x86_cpu_set_state(rig->cpu, &rig->s)) {
        fprintf(stderr, "rig: state refused\n");
        abort();
    }
}

static RigResult rig_finish(Rig *rig, X86CpuExit why)
{
    RigResult r = {.why = why, .vector = RIG_VECTOR_NONE};
    uint64_t at;

    x86_cpu_get_state(rig->cpu, &r.s);
    rig->s = r.s;
    at = r.s.seg[X86_SEG_CS].base + r.s.rip - RIG_STUBS;
    if (why == X86_EXIT_HALTED && at < 256 * RIG_STUB_BYTES && at % RIG_STUB_BYTES == 1) {
        r.vector = (unsigned)(at / RIG_STUB_BYTES);
        rig_read_frame(rig, &r);
    }
    return r;
}

/* A kick ends a run without a reason of the guest's own: HLT kicks too. */
static X86CpuExit rig_run_until_halt(Rig *rig)
{
    X86CpuExit why = X86_EXIT_KICKED;

    for (unsigned i = 0; i < 100 && why == X86_EXIT_KICKED; i++) {
        why = x86_cpu_run(rig->cpu);
    }
    return why;
}

RigResult rig_run(Rig *rig, const uint8_t *code, size_t len)
{
    const bool user = rig->mode != RIG_REAL && (rig->s.seg[X86_SEG_CS].selector & 3);
    static const uint8_t hlt[] = {0xf4}, done[] = {0xcd, RIG_VECTOR_DONE};

    rig_put(rig, RIG_CODE, code, len);
    rig_put(rig, RIG_CODE + len, user ? done : hlt, user ? sizeof(done) : sizeof(hlt));
    rig_apply(rig);
    return rig_finish(rig, rig_run_until_halt(rig));
}

RigResult rig_resume(Rig *rig)
{
    return rig_finish(rig, rig_run_until_halt(rig));
}
