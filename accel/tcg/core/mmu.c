/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paging (SDM vol. 3, chapter 4), the software TLB, and every access that misses it. */
#include "accel/tcg/core/state.h"

#define PTE_P 0x001u
#define PTE_W 0x002u
#define PTE_U 0x004u
#define PTE_A 0x020u
#define PTE_D 0x040u
#define PTE_PS 0x080u
#define PTE_NX (UINT64_C(1) << 63)
#define PF_P 1
#define PF_W 2
#define PF_U 4
#define PF_RSVD 8
#define PF_I 16

static uint8_t *phys_host(X86Cpu *cpu, uint64_t gpa, bool write)
{
    X86BusPage page = {0};

    gpa &= cpu->a20_mask;
    cpu->bus->map_page(cpu->opaque, gpa & X86_PAGE_MASK, &page);
    return page.host && (page.writable || !write) ? page.host + (gpa & 0xfff) : NULL;
}

uint64_t x86_phys_read(X86Cpu *cpu, uint64_t gpa, unsigned size)
{
    const uint8_t *host = phys_host(cpu, gpa, false);
    uint64_t val = 0;

    if (!host) {
        return cpu->bus->mem_read(cpu->opaque, gpa & cpu->a20_mask, size);
    }
    memcpy(&val, host, size);
    return val;
}

void x86_phys_write(X86Cpu *cpu, uint64_t gpa, uint64_t val, unsigned size)
{
    uint8_t *host = phys_host(cpu, gpa, true);

    if (!host) {
        cpu->bus->mem_write(cpu->opaque, gpa & cpu->a20_mask, val, size);
        return;
    }
    memcpy(host, &val, size);
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
    uint64_t entry_addr;    /* of the leaf */
    uint64_t entry;
    unsigned entry_size;
} Walk;

static bool walk_fail(Walk *w, int bits)
{
    bool fetch = w->access == ACCESS_EXEC && ((w->cpu->efer & X86_EFER_NXE) || (w->cpu->cr4 & X86_CR4_SMEP));

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
    if (size == 8 && !(w->cpu->efer & X86_EFER_NXE)) {
        reserved |= PTE_NX;
    }
    if (w->entry & reserved) {
        return walk_fail(w, PF_P | PF_RSVD);
    }
    w->writable = w->writable && (w->entry & PTE_W);
    w->user_ok = w->user_ok && (w->entry & PTE_U);
    w->nx = w->nx || (size == 8 && (w->entry & PTE_NX));
    return true;
}

/* Sets accessed and dirty bits with a compare-and-swap, as other processors may do the same. */
static void walk_mark(Walk *w, uint64_t bits)
{
    uint8_t *host;

    if (w->debug || (w->entry & bits) == bits) {
        return;
    }
    host = phys_host(w->cpu, w->entry_addr, true);
    if (host && w->entry_size == 8) {
        __atomic_fetch_or((uint64_t *)host, bits, __ATOMIC_SEQ_CST);
    } else if (host) {
        __atomic_fetch_or((uint32_t *)host, (uint32_t)bits, __ATOMIC_SEQ_CST);
    }
    w->entry |= bits;
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
        !(cpu->rflags & X86_FLAG_AC)) {
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
    walk_mark(w, PTE_A | (w->access & ACCESS_WRITE ? PTE_D : 0));
    /* A clean page stays write-protected in the TLB, so that the first write sets its dirty bit. */
    if (!(w->entry & PTE_D)) {
        w->writable = false;
    } else if (!w->writable && !w->user && !(w->cpu->cr0 & X86_CR0_WP)) {
        w->writable = true;
    }
    *gpa = base | (w->linear & (page_size - 1));
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

        if (!walk_entry(w, table + ((w->linear >> shift) & 511) * 8, 8, level == 3 ? PTE_PS : 0)) {
            return false;
        }
        if (level == 0 || (level < 3 && (w->entry & PTE_PS))) {
            if (level && (w->entry & (size - 1) & 0xffffe000)) {
                return walk_fail(w, PF_P | PF_RSVD);
            }
            return walk_leaf(w, size, gpa);
        }
        walk_mark(w, PTE_A);
        table = w->entry & X86_PHYS_MASK;
    }
}

static bool walk_pae(Walk *w, uint64_t *gpa)
{
    uint64_t pdpte = x86_phys_read(w->cpu, (w->cpu->cr3 & 0xffffffe0) + (w->linear >> 30 & 3) * 8, 8);

    if (!(pdpte & PTE_P)) {
        return walk_fail(w, 0);
    }
    if (!walk_entry(w, (pdpte & X86_PHYS_MASK) + (w->linear >> 21 & 511) * 8, 8, 0)) {
        return false;
    }
    if (w->entry & PTE_PS) {
        return walk_leaf(w, 1u << 21, gpa);
    }
    walk_mark(w, PTE_A);
    return walk_entry(w, (w->entry & X86_PHYS_MASK) + (w->linear >> 12 & 511) * 8, 8, 0) && walk_leaf(w, X86_PAGE_SIZE, gpa);
}

static bool walk_32(Walk *w, uint64_t *gpa)
{
    if (!walk_entry(w, (w->cpu->cr3 & 0xfffff000) + (w->linear >> 22 & 1023) * 4, 4, 0)) {
        return false;
    }
    if ((w->entry & PTE_PS) && (w->cpu->cr4 & X86_CR4_PSE)) {
        return walk_leaf(w, 1u << 22, gpa);
    }
    walk_mark(w, PTE_A);
    return walk_entry(w, (w->entry & 0xfffff000) + (w->linear >> 12 & 1023) * 4, 4, 0) && walk_leaf(w, X86_PAGE_SIZE, gpa);
}

bool x86_walk(X86Cpu *cpu, uint64_t linear, int access, bool user, uint64_t *gpa, bool *writable, int *error, bool debug)
{
    Walk w = {.cpu = cpu, .linear = linear, .access = access, .user = user, .debug = debug, .writable = true, .user_ok = true};
    bool ok;

    if (!(cpu->cr0 & X86_CR0_PG)) {
        *gpa = linear & 0xffffffff;
        *writable = true;
        return true;
    }
    ok = cpu->efer & X86_EFER_LMA ? walk_4level(&w, gpa) : cpu->cr4 & X86_CR4_PAE ? walk_pae(&w, gpa) : walk_32(&w, gpa);
    *writable = w.writable;
    *error = w.error;
    return ok;
}

/* --- TLB --- */

void x86_tlb_flush(X86Cpu *cpu)
{
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned n = 0; n < TLB_SIZE; n++) {
            cpu->tlbs[i][n].rd = cpu->tlbs[i][n].wr = TLB_NONE;
        }
        for (unsigned n = 0; n < FETCH_SIZE; n++) {
            cpu->fetch[i][n].tag = TLB_NONE;
        }
    }
    cpu->gen++;
}

void x86_tlb_flush_page(X86Cpu *cpu, uint64_t linear)
{
    linear &= X86_PAGE_MASK;
    for (unsigned i = 0; i < 2; i++) {
        TlbEntry *e = &cpu->tlbs[i][(linear >> X86_PAGE_BITS) & (TLB_SIZE - 1)];
        FetchEntry *f = &cpu->fetch[i][(linear >> X86_PAGE_BITS) & (FETCH_SIZE - 1)];

        if (e->rd == linear || e->wr == linear) {
            e->rd = e->wr = TLB_NONE;
        }
        if (f->tag == linear) {
            f->tag = TLB_NONE;
        }
    }
    cpu->gen++;
}

static uint64_t translate(X86Cpu *cpu, uint64_t linear, int access, bool user, bool *writable)
{
    uint64_t gpa;
    int error = 0;

    if (!x86_walk(cpu, linear, access, user, &gpa, writable, &error, false)) {
        if (error < 0) {
            x86_raise_gp(cpu, 0);
        }
        x86_raise_pf(cpu, linear, error);
    }
    return gpa & cpu->a20_mask;
}

/*
 * Translates, fills the TLB, and returns the host address, or NULL for what
 * must go through the bus; *gpa is the physical address then.  A write to a page
 * with decoded code drops that code first.
 */
static uint8_t *resolve(X86Cpu *cpu, uint64_t linear, int access, bool user, uint64_t *gpa)
{
    bool writable, write = access & ACCESS_WRITE;
    X86BusPage page = {0};
    TlbEntry *e = &cpu->tlbs[user][(linear >> X86_PAGE_BITS) & (TLB_SIZE - 1)];
    uint64_t tag = linear & X86_PAGE_MASK;
    CodePage *code;

    *gpa = translate(cpu, linear, access, user, &writable);
    cpu->bus->map_page(cpu->opaque, *gpa & X86_PAGE_MASK, &page);
    if (!page.host || (write && !page.writable)) {
        return NULL;
    }
    code = x86_code_page(cpu, *gpa & X86_PAGE_MASK);
    if (code && write) {
        x86_code_invalidate_page(cpu, *gpa & X86_PAGE_MASK);
        code = NULL;
    }
    e->rd = tag;
    e->wr = page.writable && writable && !code ? tag : TLB_NONE;
    e->addend = (uintptr_t)page.host - tag;
    return page.host + (linear & 0xfff);
}

FetchEntry *x86_fetch_page(X86Cpu *cpu, uint64_t linear)
{
    bool user = cpu->cpl == 3, writable;
    uint64_t tag = linear & X86_PAGE_MASK, gpa;
    FetchEntry *f = &cpu->fetch[user][(tag >> X86_PAGE_BITS) & (FETCH_SIZE - 1)];
    X86BusPage page = {0};
    TlbEntry *e;

    if (f->tag == tag) {
        return f;
    }
    gpa = translate(cpu, linear, ACCESS_EXEC, user, &writable) & X86_PAGE_MASK;
    cpu->bus->map_page(cpu->opaque, gpa, &page);
    if (!page.host) {
        x86_raise_gp(cpu, 0); /* no code in device memory */
    }
    *f = (FetchEntry){tag, gpa, page.host};
    x86_code_page_check(cpu, gpa, page.host);
    /* Stores to this page must be seen from now on. */
    for (unsigned i = 0; i < 2; i++) {
        e = &cpu->tlbs[i][(tag >> X86_PAGE_BITS) & (TLB_SIZE - 1)];
        if (e->wr == tag) {
            e->wr = TLB_NONE;
        }
    }
    return f;
}

/* --- accesses --- */

static uint64_t load_at(X86Cpu *cpu, uint64_t linear, unsigned size, bool user)
{
    uint64_t gpa, val = 0;
    const uint8_t *host = resolve(cpu, linear, ACCESS_READ, user, &gpa);

    if (!host) {
        return cpu->bus->mem_read(cpu->opaque, gpa, size);
    }
    memcpy(&val, host, size);
    return val;
}

static void store_at(X86Cpu *cpu, uint64_t linear, uint64_t val, unsigned size, bool user)
{
    uint64_t gpa;
    uint8_t *host = resolve(cpu, linear, ACCESS_WRITE, user, &gpa);

    if (host) {
        memcpy(host, &val, size);
    } else {
        cpu->bus->mem_write(cpu->opaque, gpa, val, size);
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
    bool writable;

    translate(cpu, linear, ACCESS_WRITE, user, &writable);
    translate(cpu, (linear + size - 1) & X86_PAGE_MASK, ACCESS_WRITE, user, &writable);
    for (unsigned i = 0; i < size; i++) {
        store_at(cpu, linear + i, val >> (8 * i) & 0xff, 1, user);
    }
}

uint64_t x86_load_slow(X86Cpu *cpu, uint64_t linear, unsigned size)
{
    return load_any(cpu, linear, size, cpu->cpl == 3);
}

void x86_store_slow(X86Cpu *cpu, uint64_t linear, uint64_t val, unsigned size)
{
    store_any(cpu, linear, val, size, cpu->cpl == 3);
}

uint64_t x86_load_sys(X86Cpu *cpu, uint64_t linear, unsigned size)
{
    return load_any(cpu, linear, size, false);
}

void x86_store_sys(X86Cpu *cpu, uint64_t linear, uint64_t val, unsigned size)
{
    store_any(cpu, linear, val, size, false);
}

void x86_probe_write(X86Cpu *cpu, uint64_t linear, unsigned size)
{
    bool writable;

    translate(cpu, linear, ACCESS_WRITE, cpu->cpl == 3, &writable);
    if (crosses(linear, size)) {
        translate(cpu, (linear + size - 1) & X86_PAGE_MASK, ACCESS_WRITE, cpu->cpl == 3, &writable);
    }
}

void *x86_host_ptr(X86Cpu *cpu, uint64_t linear, unsigned size, int access)
{
    uint64_t gpa;
    const TlbEntry *e = &cpu->tlb[(linear >> X86_PAGE_BITS) & (TLB_SIZE - 1)];
    uint64_t tag = (linear + size - 1) & X86_PAGE_MASK;

    if ((access & ACCESS_WRITE ? e->wr : e->rd) == tag) {
        return (void *)(linear + e->addend);
    }
    return crosses(linear, size) ? NULL : resolve(cpu, linear, access, cpu->cpl == 3, &gpa);
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
    bool writable;
    int error;

    return x86_walk(cpu, linear, ACCESS_READ, false, gpa, &writable, &error, true);
}
