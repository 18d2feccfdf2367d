/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paging (SDM vol. 3, chapter 4), the software TLB, and every access that misses it. */
#include "accel/tcg/core/state.h"

#define PTE_P 0x001u
#define PTE_W 0x002u
#define PTE_U 0x004u
#define PTE_A 0x020u
#define PTE_D 0x040u
#define PTE_PS 0x080u
#define PTE_G 0x100u
#define PTE_NX (UINT64_C(1) << 63)
/* Address bits beyond the 40 that CPUID reports. */
#define PTE_RESERVED UINT64_C(0x000fff0000000000)
#define PF_P 1
#define PF_W 2
#define PF_U 4
#define PF_RSVD 8
#define PF_I 16

/* The bus's answer for a page, remembered until the bus map changes. */
static const X86BusPage *bus_page(X86Cpu *cpu, uint64_t gpa)
{
    BusEntry *e = &cpu->bus_pages[(gpa >> X86_PAGE_BITS) & (BUS_PAGES - 1)];

    gpa &= X86_PAGE_MASK;
    if (e->tag != gpa) {
        e->page = (X86BusPage){0};
        cpu->bus->map_page(cpu->opaque, gpa, &e->page);
        e->tag = gpa;
    }
    return &e->page;
}

static void log_write(X86Cpu *cpu, uint64_t gpa)
{
    if (cpu->log_writes) {
        cpu->bus->page_written(cpu->opaque, gpa & X86_PAGE_MASK);
    }
}

void x86_cpu_log_writes(X86Cpu *cpu, bool on)
{
    cpu->log_writes = on && cpu->bus->page_written;
    x86_cpu_flush_bus(cpu);
}

static uint8_t *phys_host(X86Cpu *cpu, uint64_t gpa, bool write)
{
    const X86BusPage *page = bus_page(cpu, gpa &= cpu->a20_mask);

    if (!page->host || (write && !page->writable)) {
        return NULL;
    }
    if (write) {
        log_write(cpu, gpa);
    }
    return page->host + (gpa & 0xfff);
}

uint64_t x86_phys_read(X86Cpu *cpu, uint64_t gpa, unsigned size)
{
    const uint8_t *host = phys_host(cpu, gpa, false);

    if (!host) {
        return cpu->bus->mem_read(cpu->opaque, gpa & cpu->a20_mask, size);
    }
    return x86_ram_load(host, size);
}

static void device_write(X86Cpu *cpu, uint64_t gpa, uint64_t val, unsigned size)
{
    cpu->bus->mem_write(cpu->opaque, gpa, val, size);
    x86_bus_settle(cpu);
}

void x86_phys_write(X86Cpu *cpu, uint64_t gpa, uint64_t val, unsigned size)
{
    uint8_t *host = phys_host(cpu, gpa, true);

    if (!host) {
        device_write(cpu, gpa & cpu->a20_mask, val, size);
        return;
    }
    x86_ram_store(host, val, size);
    x86_code_invalidate_page(cpu, gpa & cpu->a20_mask & X86_PAGE_MASK);
}

/* --- page walk --- */

typedef struct Walk {
    X86Cpu *cpu;
    uint64_t linear;
    int access;
    bool user, debug;
    int error;              /* PF error code bits on failure */
    bool writable, user_ok, nx;
    bool again;             /* an entry changed meanwhile */
    uint64_t entry_addr;    /* of the leaf */
    uint64_t entry;
    unsigned entry_size;
    uint64_t page_size;
} Walk;

static bool walk_fail(Walk *w, int bits)
{
    bool nx = (w->cpu->efer & X86_EFER_NXE) && (w->cpu->cr4 & X86_CR4_PAE);
    bool fetch = w->access == ACCESS_EXEC && (nx || (w->cpu->cr4 & X86_CR4_SMEP));

    w->error = bits | (w->access & ACCESS_WRITE ? PF_W : 0) | (w->user ? PF_U : 0) | (fetch ? PF_I : 0);
    return false;
}

static bool walk_entry(Walk *w, uint64_t addr, unsigned size, uint64_t reserved)
{
    w->entry_addr = addr;
    w->entry_size = size;
    w->entry = x86_phys_read(w->cpu, addr, size);
    if (!(w->entry & PTE_P)) {
        return walk_fail(w, 0);
    }
    if (size == 8) {
        reserved |= PTE_RESERVED | (w->cpu->efer & X86_EFER_NXE ? 0 : PTE_NX);
    }
    if (w->entry & reserved) {
        return walk_fail(w, PF_P | PF_RSVD);
    }
    w->writable = w->writable && (w->entry & PTE_W);
    w->user_ok = w->user_ok && (w->entry & PTE_U);
    w->nx = w->nx || (size == 8 && (w->entry & PTE_NX));
    return true;
}

static bool entry_replace(void *host, unsigned size, uint64_t old, uint64_t val)
{
    uint32_t old32 = (uint32_t)old;

    return size == 8 ? __atomic_compare_exchange_n((uint64_t *)host, &old, val, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
                     : __atomic_compare_exchange_n((uint32_t *)host, &old32, (uint32_t)val, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/*
 * Sets accessed and dirty bits.  False: another processor has changed the entry since it was read (taken the page away,
 * perhaps), and the walk begins again.
 */
static bool walk_mark(Walk *w, uint64_t bits)
{
    uint8_t *host;

    if (w->debug || (w->entry & bits) == bits) {
        return true;
    }
    host = phys_host(w->cpu, w->entry_addr, true);
    if (host && !entry_replace(host, w->entry_size, w->entry, w->entry | bits)) {
        w->again = true;
        return false;
    }
    w->entry |= bits;
    return true;
}

static bool walk_permissions(Walk *w)
{
    X86Cpu *cpu = w->cpu;

    if (w->user && !w->user_ok) {
        return walk_fail(w, PF_P);
    }
    if (w->access == ACCESS_EXEC && (w->nx || (!w->user && w->user_ok && (cpu->cr4 & X86_CR4_SMEP)))) {
        return walk_fail(w, PF_P);
    }
    if (!w->user && w->user_ok && w->access != ACCESS_EXEC && (cpu->cr4 & X86_CR4_SMAP) && !w->debug &&
        (!(cpu->rflags & X86_FLAG_AC) || cpu->cpl == 3)) {
        return walk_fail(w, PF_P);
    }
    if ((w->access & ACCESS_WRITE) && !w->writable && (w->user || (cpu->cr0 & X86_CR0_WP))) {
        return walk_fail(w, PF_P);
    }
    return true;
}

static bool walk_leaf(Walk *w, uint64_t page_size, uint64_t *gpa)
{
    uint64_t base = w->entry & X86_PHYS_MASK & ~(page_size - 1);

    if (w->entry_size == 4 && page_size > X86_PAGE_SIZE) {
        base = (w->entry & 0xffc00000u) | (w->entry & 0x1fe000u) << 19; /* PSE-36 */
    }
    if (!walk_permissions(w)) {
        return false;
    }
    if (!walk_mark(w, PTE_A | (w->access & ACCESS_WRITE ? PTE_D : 0))) {
        return false;
    }
    /* A clean page stays write-protected in the TLB, so that the first write sets its dirty bit. */
    if (!(w->entry & PTE_D)) {
        w->writable = false;
    } else if (!w->writable && !w->user && !(w->cpu->cr0 & X86_CR0_WP)) {
        w->writable = true;
    }
    *gpa = base | (w->linear & (page_size - 1));
    w->page_size = page_size;
    return true;
}

static bool walk_4level(Walk *w, uint64_t *gpa)
{
    uint64_t table = w->cpu->cr3 & X86_PHYS_MASK;

    if ((uint64_t)((int64_t)(w->linear << 16) >> 16) != w->linear) {
        w->error = -1; /* not canonical: #GP */
        return false;
    }
    for (int level = 3;; level--) {
        unsigned shift = 12 + 9 * (unsigned)level;
        uint64_t size = UINT64_C(1) << shift;
        bool never_large = level == 3 || (level == 2 && !x86_has_feature(w->cpu, 3, 26));

        if (!walk_entry(w, table + ((w->linear >> shift) & 511) * 8, 8, never_large ? PTE_PS : 0)) {
            return false;
        }
        if (level == 0 || (level < 3 && (w->entry & PTE_PS))) {
            if (level && (w->entry & (size - 1) & 0xffffe000)) {
                return walk_fail(w, PF_P | PF_RSVD);
            }
            return walk_leaf(w, size, gpa);
        }
        if (!walk_mark(w, PTE_A)) {
            return false;
        }
        table = w->entry & X86_PHYS_MASK;
    }
}

/* Bits 52 to 62 are reserved outside long mode. */
#define PAE_RESERVED UINT64_C(0x7ff0000000000000)

static bool walk_pae(Walk *w, uint64_t *gpa)
{
    uint64_t pdpte = w->cpu->pdpte[w->linear >> 30 & 3];

    if (!(pdpte & PTE_P)) {
        return walk_fail(w, 0);
    }
    if (!walk_entry(w, (pdpte & X86_PHYS_MASK) + (w->linear >> 21 & 511) * 8, 8, PAE_RESERVED)) {
        return false;
    }
    if (w->entry & PTE_PS) {
        return w->entry & 0x1fe000 ? walk_fail(w, PF_P | PF_RSVD) : walk_leaf(w, 1u << 21, gpa);
    }
    return walk_mark(w, PTE_A) && walk_entry(w, (w->entry & X86_PHYS_MASK) + (w->linear >> 12 & 511) * 8, 8, PAE_RESERVED) &&
           walk_leaf(w, X86_PAGE_SIZE, gpa);
}

bool x86_load_pdptes(X86Cpu *cpu, uint64_t cr3)
{
    const uint64_t reserved = PTE_NX | PAE_RESERVED | PTE_RESERVED | 0x1e6;
    uint64_t entries[4];

    for (unsigned i = 0; i < 4; i++) {
        entries[i] = x86_phys_read(cpu, (cr3 & 0xffffffe0) + i * 8, 8);
        if ((entries[i] & PTE_P) && (entries[i] & reserved)) {
            return false;
        }
    }
    memcpy(cpu->pdpte, entries, sizeof(entries));
    return true;
}

static bool walk_32(Walk *w, uint64_t *gpa)
{
    if (!walk_entry(w, (w->cpu->cr3 & 0xfffff000) + (w->linear >> 22 & 1023) * 4, 4, 0)) {
        return false;
    }
    if ((w->entry & PTE_PS) && (w->cpu->cr4 & X86_CR4_PSE)) {
        return w->entry & 0x200000 ? walk_fail(w, PF_P | PF_RSVD) : walk_leaf(w, 1u << 22, gpa);
    }
    return walk_mark(w, PTE_A) && walk_entry(w, (w->entry & 0xfffff000) + (w->linear >> 12 & 1023) * 4, 4, 0) && walk_leaf(w, X86_PAGE_SIZE, gpa);
}

static bool walk(Walk *w, uint64_t *gpa)
{
    X86Cpu *cpu = w->cpu;
    bool done;

    if (!(cpu->cr0 & X86_CR0_PG)) {
        w->writable = w->user_ok = true;
        *gpa = w->linear & 0xffffffff;
        return true;
    }
    do {
        w->writable = w->user_ok = true;
        w->nx = w->again = false;
        done = cpu->efer & X86_EFER_LMA ? walk_4level(w, gpa) : cpu->cr4 & X86_CR4_PAE ? walk_pae(w, gpa) : walk_32(w, gpa);
    } while (w->again);
    return done;
}

/* --- TLB --- */

static TlbEntry *tlb_slot(X86Cpu *cpu, unsigned which, uint64_t linear)
{
    return &cpu->tlbs[which][(linear >> X86_PAGE_BITS) & (TLB_SIZE - 1)];
}

static void tlb_drop(TlbEntry *e)
{
    e->rd = e->wr = TLB_NONE;
}

static void tlb_drop_local(TlbEntry *e)
{
    if (!e->global) {
        tlb_drop(e);
    }
}

static void tlb_drop_page(TlbEntry *e, uint64_t tag)
{
    if (e->rd == tag || e->wr == tag) {
        tlb_drop(e);
    }
}

/* Forgets where jumps of one privilege lead. */
static void jumps_flush(X86Cpu *cpu, unsigned user)
{
    cpu->gen[user]++;
    cpu->jump_local[user] = false;
}

void x86_jumps_flush(X86Cpu *cpu)
{
    jumps_flush(cpu, 0);
    jumps_flush(cpu, 1);
    memset(cpu->jump_pages, 0, sizeof(cpu->jump_pages));
}

static uint64_t *jump_page_word(X86Cpu *cpu, uint64_t linear, uint64_t *bit)
{
    uint64_t page = linear >> X86_PAGE_BITS;

    page ^= page >> 9;
    *bit = UINT64_C(1) << (page & 63);
    return &cpu->jump_pages[(page >> 6) & (JUMP_PAGE_WORDS - 1)];
}

void x86_jump_page_add(X86Cpu *cpu, const FetchEntry *f)
{
    uint64_t bit, *word = jump_page_word(cpu, f->tag, &bit);

    *word |= bit;
    cpu->jump_local[cpu->cpl == 3] |= !f->global;
}

void x86_bus_flush(X86Cpu *cpu)
{
    for (unsigned i = 0; i < BUS_PAGES; i++) {
        cpu->bus_pages[i].tag = TLB_NONE;
    }
    x86_tlb_flush(cpu);
}

void x86_bus_settle(X86Cpu *cpu)
{
    if (atomic_load_explicit(&cpu->pending, memory_order_relaxed) & PENDING_FLUSH) {
        atomic_fetch_and(&cpu->pending, ~(unsigned)PENDING_FLUSH);
        x86_bus_flush(cpu);
    }
}

void x86_tlb_flush(X86Cpu *cpu)
{
    for (unsigned i = 0; i < TLB_EMPTY; i++) {
        for (unsigned n = 0; n < TLB_ALL; n++) {
            tlb_drop(&cpu->tlbs[i][n]);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned n = 0; n < FETCH_SIZE; n++) {
            cpu->fetch[i][n].tag = TLB_NONE;
        }
    }
    cpu->tlb_locals.count = cpu->fetch_locals.count = 0;
    cpu->large_first = UINT64_MAX;
    cpu->large_last = 0;
    x86_jumps_flush(cpu);
}

void x86_serialize(X86Cpu *cpu)
{
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned n = 0; n < FETCH_SIZE; n++) {
            cpu->fetch[i][n].tag = TLB_NONE;
        }
    }
    x86_jumps_flush(cpu);
}

void x86_tlb_flush_local(X86Cpu *cpu)
{
    if (!(cpu->cr4 & X86_CR4_PGE) || cpu->tlb_locals.count > TLB_LOCALS || cpu->fetch_locals.count > TLB_LOCALS) {
        x86_tlb_flush(cpu);
        return;
    }
    for (unsigned i = 0; i < cpu->tlb_locals.count; i++) {
        unsigned at = cpu->tlb_locals.at[i];

        tlb_drop_local(&cpu->tlbs[at / TLB_ALL][at % TLB_ALL]);
    }
    for (unsigned i = 0; i < cpu->fetch_locals.count; i++) {
        unsigned at = cpu->fetch_locals.at[i];
        FetchEntry *f = &cpu->fetch[at / FETCH_SIZE][at % FETCH_SIZE];

        f->tag |= !f->global; /* TLB_NONE's bit: no page has it */
    }
    cpu->tlb_locals.count = cpu->fetch_locals.count = 0;
    for (unsigned i = 0; i < TLB_EMPTY; i++) {
        for (unsigned n = TLB_SIZE; n < TLB_ALL; n++) {
            tlb_drop_local(&cpu->tlbs[i][n]);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        if (cpu->jump_local[i]) {
            jumps_flush(cpu, i);
        }
    }
}

void x86_tlb_flush_page(X86Cpu *cpu, uint64_t linear)
{
    uint64_t bit, *word = jump_page_word(cpu, linear, &bit);

    linear &= X86_PAGE_MASK;
    /* One address stands for the whole of a large page, of which the TLB holds any parts. */
    if (linear >= cpu->large_first && linear <= cpu->large_last) {
        x86_tlb_flush(cpu);
        return;
    }
    for (unsigned i = 0; i < TLB_EMPTY; i++) {
        tlb_drop_page(tlb_slot(cpu, i, linear), linear);
        for (unsigned n = TLB_SIZE; n < TLB_ALL; n++) {
            tlb_drop_page(&cpu->tlbs[i][n], linear);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        FetchEntry *f = &cpu->fetch[i][(linear >> X86_PAGE_BITS) & (FETCH_SIZE - 1)];

        if (f->tag == linear) {
            f->tag = TLB_NONE;
        }
    }
    if (*word & bit) {
        x86_jumps_flush(cpu);
    }
}

/* A translation that the access may use. */
typedef struct Translation {
    uint64_t gpa;
    bool writable, global;
} Translation;

static Translation translate(X86Cpu *cpu, uint64_t linear, int access, bool user)
{
    Walk w = {.cpu = cpu, .linear = linear, .access = access, .user = user};
    Translation t;

    if (!walk(&w, &t.gpa)) {
        if (w.error < 0) {
            x86_raise_noncanonical(cpu, linear);
        }
        x86_raise_pf(cpu, linear, w.error);
    }
    if (w.page_size > X86_PAGE_SIZE) {
        uint64_t first = linear & ~(w.page_size - 1);

        cpu->large_first = first < cpu->large_first ? first : cpu->large_first;
        cpu->large_last = (linear | (w.page_size - 1)) > cpu->large_last ? linear | (w.page_size - 1) : cpu->large_last;
    }
    t.gpa &= cpu->a20_mask;
    t.writable = w.writable;
    t.global = (w.entry & PTE_G) && (cpu->cr4 & X86_CR4_PGE);
    return t;
}

static bool tlb_matches(const TlbEntry *e, uint64_t tag, bool write)
{
    return (write ? e->wr : e->rd) == tag;
}

/* The entry in its place, brought back from among the victims if need be, or NULL. */
static const TlbEntry *tlb_find(X86Cpu *cpu, uint64_t linear, unsigned which, bool write)
{
    TlbEntry *e = tlb_slot(cpu, which, linear), *victims = &cpu->tlbs[which][TLB_SIZE];
    uint64_t tag = linear & X86_PAGE_MASK;

    if (tlb_matches(e, tag, write)) {
        return e;
    }
    for (unsigned i = 0; i < TLB_VICTIMS; i++) {
        if (tlb_matches(&victims[i], tag, write)) {
            TlbEntry old = *e;

            *e = victims[i];
            victims[i] = old;
            return e;
        }
    }
    return NULL;
}

static void locals_add(TlbLocals *l, ptrdiff_t place)
{
    if (l->count < TLB_LOCALS) {
        l->at[l->count] = (uint16_t)place;
    }
    l->count += l->count <= TLB_LOCALS;
}

static void tlb_fill(X86Cpu *cpu, TlbEntry *e, uint64_t tag, const uint8_t *host, bool writable, bool global)
{
    size_t which = (size_t)(e - cpu->tlbs[0]) / TLB_ALL;

    if (e->rd != TLB_NONE && e->rd != tag) {
        cpu->tlbs[which][TLB_SIZE + cpu->next_victim++ % TLB_VICTIMS] = *e;
    }
    *e = (TlbEntry){.rd = tag, .wr = writable ? tag : TLB_NONE, .addend = (uintptr_t)host - tag, .global = global};
    if (!global) {
        locals_add(&cpu->tlb_locals, e - cpu->tlbs[0]);
    }
}

/*
 * Translates, fills the TLB, and returns the host address, or NULL for what
 * must go through the bus; *gpa is the physical address then.  A write to a page
 * with decoded code drops that code first.
 */
static uint8_t *resolve(X86Cpu *cpu, uint64_t linear, int access, bool user, uint64_t *gpa)
{
    bool write = access & ACCESS_WRITE;
    unsigned which = x86_tlb_index(cpu, user);
    const TlbEntry *hit = tlb_find(cpu, linear, which, write);
    const X86BusPage *page;
    TlbEntry *place;
    Translation t;
    bool writable;

    if (hit) {
        return (uint8_t *)(linear + hit->addend);
    }
    t = translate(cpu, linear, access, user);
    page = bus_page(cpu, *gpa = t.gpa);
    if (!page->host || (write && !page->writable)) {
        return NULL;
    }
    if (write) {
        log_write(cpu, t.gpa);
    }
    if (write) {
        x86_code_invalidate_page(cpu, t.gpa & X86_PAGE_MASK);
    }
    if (cpu->watches && x86_watch_page(cpu, linear)) {
        return page->host + (linear & 0xfff);
    }
    place = tlb_slot(cpu, which, linear);
    writable = page->writable && t.writable && (write || !cpu->log_writes) &&
               x86_code_allows_write(cpu, t.gpa & X86_PAGE_MASK, place);
    tlb_fill(cpu, place, linear & X86_PAGE_MASK, page->host, writable, t.global);
    return page->host + (linear & 0xfff);
}

static void tlb_protect(TlbEntry *e, uint64_t tag)
{
    if (e->wr == tag) {
        e->wr = TLB_NONE;
    }
}

FetchEntry *x86_fetch_page(X86Cpu *cpu, uint64_t linear)
{
    bool user = cpu->cpl == 3;
    uint64_t tag = linear & X86_PAGE_MASK;
    FetchEntry *f = &cpu->fetch[user][(tag >> X86_PAGE_BITS) & (FETCH_SIZE - 1)];
    const X86BusPage *page;
    Translation t;

    if (f->tag == tag) {
        return f;
    }
    t = translate(cpu, linear, ACCESS_EXEC, user);
    t.gpa &= X86_PAGE_MASK;
    page = bus_page(cpu, t.gpa);
    if (!page->host) {
        x86_raise_gp(cpu, 0); /* no code in device memory */
    }
    *f = (FetchEntry){.tag = tag, .phys = t.gpa, .host = page->host, .global = t.global};
    if (!t.global) {
        locals_add(&cpu->fetch_locals, f - cpu->fetch[0]);
    }
    x86_code_page_check(cpu, t.gpa, page->host);
    /* Stores to this page must be seen from now on. */
    for (unsigned i = 0; i < TLB_EMPTY; i++) {
        tlb_protect(tlb_slot(cpu, i, tag), tag);
        for (unsigned n = TLB_SIZE; n < TLB_ALL; n++) {
            tlb_protect(&cpu->tlbs[i][n], tag);
        }
    }
    return f;
}

/* --- accesses --- */

static uint64_t load_at(X86Cpu *cpu, uint64_t linear, unsigned size, bool user)
{
    uint64_t gpa;
    const uint8_t *host = resolve(cpu, linear, ACCESS_READ, user, &gpa);

    return host ? x86_ram_load(host, size) : cpu->bus->mem_read(cpu->opaque, gpa, size);
}

static void store_at(X86Cpu *cpu, uint64_t linear, uint64_t val, unsigned size, bool user)
{
    uint64_t gpa;
    uint8_t *host = resolve(cpu, linear, ACCESS_WRITE, user, &gpa);

    if (host) {
        x86_ram_store(host, val, size);
    } else {
        device_write(cpu, gpa, val, size);
    }
}

static bool crosses(uint64_t linear, unsigned size)
{
    return (linear & 0xfff) + size > X86_PAGE_SIZE;
}

static uint64_t load_any(X86Cpu *cpu, uint64_t linear, unsigned size, bool user)
{
    uint64_t val = 0;

    if (!crosses(linear, size)) {
        return load_at(cpu, linear, size, user);
    }
    for (unsigned i = 0; i < size; i++) {
        val |= load_at(cpu, linear + i, 1, user) << (8 * i);
    }
    return val;
}

static void store_any(X86Cpu *cpu, uint64_t linear, uint64_t val, unsigned size, bool user)
{
    if (!crosses(linear, size)) {
        store_at(cpu, linear, val, size, user);
        return;
    }
    /* Both pages are checked before either changes. */
    translate(cpu, linear, ACCESS_WRITE, user);
    translate(cpu, (linear + size - 1) & X86_PAGE_MASK, ACCESS_WRITE, user);
    for (unsigned i = 0; i < size; i++) {
        store_at(cpu, linear + i, val >> (8 * i) & 0xff, 1, user);
    }
}

static bool accesses_checked(const X86Cpu *cpu)
{
    return cpu->tlb == cpu->tlbs[TLB_EMPTY];
}

uint64_t x86_load_slow(X86Cpu *cpu, uint64_t linear, unsigned size)
{
    uint64_t val = load_any(cpu, linear, size, cpu->cpl == 3);

    if (accesses_checked(cpu)) {
        x86_access_check(cpu, linear, size, false);
    }
    if (cpu->watches) {
        x86_watch_check(cpu, linear, size, false);
    }
    return val;
}

void x86_store_slow(X86Cpu *cpu, uint64_t linear, uint64_t val, unsigned size)
{
    if (accesses_checked(cpu)) {
        x86_probe_write(cpu, linear, size);
        x86_access_check(cpu, linear, size, true);
    }
    store_any(cpu, linear, val, size, cpu->cpl == 3);
    if (cpu->watches) {
        x86_watch_check(cpu, linear, size, true);
    }
}

uint64_t x86_load_sys(X86Cpu *cpu, uint64_t linear, unsigned size)
{
    uint64_t val = load_any(cpu, linear, size, false);

    if (cpu->watches) {
        x86_watch_check(cpu, linear, size, false);
    }
    return val;
}

void x86_store_sys(X86Cpu *cpu, uint64_t linear, uint64_t val, unsigned size)
{
    store_any(cpu, linear, val, size, false);
    if (cpu->watches) {
        x86_watch_check(cpu, linear, size, true);
    }
}

/* What the TLB lets be written needs no walk. */
static void probe_page(X86Cpu *cpu, uint64_t linear)
{
    bool user = cpu->cpl == 3;

    if (!tlb_find(cpu, linear, x86_tlb_index(cpu, user), true)) {
        translate(cpu, linear, ACCESS_WRITE, user);
    }
}

void x86_probe_write(X86Cpu *cpu, uint64_t linear, unsigned size)
{
    probe_page(cpu, linear);
    if (crosses(linear, size)) {
        probe_page(cpu, (linear + size - 1) & X86_PAGE_MASK);
    }
}

static bool page_is_ram(X86Cpu *cpu, uint64_t linear)
{
    const X86BusPage *page = bus_page(cpu, translate(cpu, linear, ACCESS_RMW, cpu->cpl == 3).gpa);

    return page->host && page->writable;
}

bool x86_is_ram(X86Cpu *cpu, uint64_t linear, unsigned size)
{
    return page_is_ram(cpu, linear) && (!crosses(linear, size) || page_is_ram(cpu, (linear + size - 1) & X86_PAGE_MASK));
}

void *x86_host_ptr(X86Cpu *cpu, uint64_t linear, unsigned size, int access)
{
    uint64_t gpa;
    const TlbEntry *e = &cpu->tlb[(linear >> X86_PAGE_BITS) & (TLB_SIZE - 1)];
    uint64_t tag = (linear + size - 1) & X86_PAGE_MASK;
    void *host;

    if ((access & ACCESS_WRITE ? e->wr : e->rd) == tag) {
        return (void *)(linear + e->addend);
    }
    if (crosses(linear, size)) {
        return NULL;
    }
    host = resolve(cpu, linear, access, cpu->cpl == 3, &gpa);
    if (host && accesses_checked(cpu)) {
        x86_access_check(cpu, linear, size, access & ACCESS_WRITE);
    }
    if (host && cpu->watches) {
        x86_watch_check(cpu, linear, size, access & ACCESS_WRITE);
    }
    return host;
}

void x86_load_bytes(X86Cpu *cpu, uint64_t linear, void *buf, unsigned size)
{
    const void *host = x86_host_ptr(cpu, linear, size, ACCESS_READ);
    uint8_t *out = buf;

    if (host) {
        memcpy(buf, host, size);
        return;
    }
    while (size) {
        unsigned n = size >= 8 && !(linear & 7) ? 8 : 1;
        uint64_t val = x86_load_slow(cpu, linear, n);

        memcpy(out, &val, n);
        out += n;
        linear += n;
        size -= n;
    }
}

void x86_store_bytes(X86Cpu *cpu, uint64_t linear, const void *buf, unsigned size)
{
    void *host = x86_host_ptr(cpu, linear, size, ACCESS_WRITE);
    const uint8_t *in = buf;

    if (host && size <= 8 && !(size & (size - 1))) {
        x86_ram_store(host, x86_ram_load(buf, size), size);
        return;
    }
    if (host) {
        memcpy(host, buf, size);
        return;
    }
    x86_probe_write(cpu, linear, size);
    while (size) {
        unsigned n = size >= 8 && !(linear & 7) ? 8 : 1;
        uint64_t val = 0;

        memcpy(&val, in, n);
        x86_store_slow(cpu, linear, val, n);
        in += n;
        linear += n;
        size -= n;
    }
}

bool x86_cpu_debug_translate(X86Cpu *cpu, uint64_t linear, uint64_t *gpa)
{
    Walk w = {.cpu = cpu, .linear = linear, .access = ACCESS_READ, .debug = true};

    return walk(&w, gpa);
}
