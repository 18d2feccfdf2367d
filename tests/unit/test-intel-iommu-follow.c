/* SPDX-License-Identifier: GPL-2.0-or-later */
/* intel-iommu: interrupt remapping, and those who follow its mappings. */
#include "intel-iommu-rig.h"

/* --- interrupts --- */

static bool requested(Machine *m, uint8_t vector)
{
    uint64_t val;

    as_load(m->memory, 0xfee00200 + vector / 32 * 16, 4, &val, MEM_ATTRS_CPU);
    return val >> (vector % 32) & 1;
}

static void entry(Machine *m, unsigned n, uint64_t low, uint64_t high)
{
    poke(m, IRTA + n * 16, low);
    poke(m, IRTA + n * 16 + 8, high);
}

static MemResult message(Machine *m, unsigned handle, uint32_t data, bool subhandle)
{
    uint64_t addr = 0xfee00010 | handle << 5 | (subhandle ? 8 : 0);

    return pci_dma_write(function(m), addr, &data, 4);
}

static void test_interrupts(void **state)
{
    Machine *m = *state;
    const uint64_t vector = 0x41ull << 16;

    as_store(m->memory, 0xfee000f0, 4, 0x1ff, MEM_ATTRS_CPU);
    /* Off: as they are, translated addresses or not. */
    enable(m, 1);
    assert_int_equal(pci_dma_write(function(m), 0xfee00000, &(uint32_t){0x40}, 4), MEM_OK);
    assert_true(requested(m, 0x40));
    reg64_set(m, DMAR_IRTA_REG, IRTA | 2); /* 8 entries */
    command(m, GCMD_SIRTP, true);
    command(m, GCMD_IRE, true);
    assert_true(reg(m, DMAR_GSTS_REG) & GCMD_IRE);
    /* The old format is blocked unless that is asked for. */
    assert_int_equal(pci_dma_write(function(m), 0xfee00000, &(uint32_t){0x42}, 4), MEM_ACCESS_ERROR);
    expect_fault(m, VTD_FAULT_IR_COMPATIBILITY, 0, false);
    assert_false(requested(m, 0x42));
    command(m, GCMD_CFI, true);
    assert_int_equal(pci_dma_write(function(m), 0xfee00000, &(uint32_t){0x42}, 4), MEM_OK);
    assert_true(requested(m, 0x42));
    entry(m, 3, vector | IRTE_P, 0);
    assert_int_equal(message(m, 3, 0, false), MEM_OK);
    assert_true(requested(m, 0x41));
    entry(m, 5, 0x46ull << 16 | IRTE_P, 1 << 18 | SID); /* checked, and right */
    assert_int_equal(message(m, 3, 2, true), MEM_OK);
    assert_true(requested(m, 0x46));
    const struct {
        unsigned handle;
        uint32_t data;
        uint64_t low, high;
        VtdFault reason;
    } cases[] = {
        {8, 0, vector | 1, 0, VTD_FAULT_IR_INDEX},
        {4, 0, 0, 0, VTD_FAULT_IR_ABSENT},
        {4, 1, vector | 1, 0, VTD_FAULT_IR_REQUEST_RESERVED},
        {4, 0, vector | 1 | 1 << 12, 0, VTD_FAULT_IR_RESERVED},
        {4, 0, vector | 1 | 1 << 15, 0, VTD_FAULT_IR_RESERVED},        /* posted */
        {4, 0, vector | 1 | 1ull << 32, 0, VTD_FAULT_IR_RESERVED},     /* an x2APIC id */
        {4, 0, vector | 1, 1ull << 40, VTD_FAULT_IR_RESERVED},
        {4, 0, vector | 1, 3 << 18 | SID, VTD_FAULT_IR_RESERVED},
        {4, 0, vector | 1, 1 << 18 | (SID + 8), VTD_FAULT_IR_SOURCE},  /* another function's */
        {4, 0, vector | 1, 2 << 18 | 0x0102, VTD_FAULT_IR_SOURCE},     /* of buses 1 and 2 */
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        entry(m, cases[i].handle, cases[i].low, cases[i].high);
        assert_int_equal(message(m, cases[i].handle, cases[i].data, false), MEM_ACCESS_ERROR);
        expect_fault(m, cases[i].reason, (uint64_t)cases[i].handle << 48, false);
        entry(m, cases[i].handle, cases[i].low | IRTE_FPD, cases[i].high);
        message(m, cases[i].handle, cases[i].data, false);
        if (cases[i].reason != VTD_FAULT_IR_INDEX && cases[i].reason != VTD_FAULT_IR_REQUEST_RESERVED) {
            expect_no_fault(m);
        } else {
            expect_fault(m, cases[i].reason, (uint64_t)cases[i].handle << 48, false);
        }
    }
    /* In x2APIC mode the old format is never let through, and ids have 32 bits. */
    reg64_set(m, DMAR_IRTA_REG, IRTA | IRTA_EIME | 2);
    command(m, GCMD_SIRTP, true);
    assert_int_equal(pci_dma_write(function(m), 0xfee00000, &(uint32_t){0x43}, 4), MEM_ACCESS_ERROR);
    expect_fault(m, VTD_FAULT_IR_COMPATIBILITY, 0, false);
    reg64_set(m, DMAR_IRTA_REG, 0xfed90000 | 2);
    command(m, GCMD_SIRTP, true);
    assert_int_equal(message(m, 3, 0, false), MEM_ACCESS_ERROR);
    expect_fault(m, VTD_FAULT_IR_TABLE_ACCESS, 3ull << 48, false);
}

/* The IO-APIC's entries are requests too, of an id of their own. */
static void test_ioapic(void **state)
{
    Machine *m = *state;
    uint64_t rte = 1ull << 48 | 6ull << 49; /* edge, index 6 */

    as_store(m->memory, 0xfee000f0, 4, 0x1ff, MEM_ATTRS_CPU);
    reg64_set(m, DMAR_IRTA_REG, IRTA | 3);
    command(m, GCMD_SIRTP, true);
    command(m, GCMD_IRE, true);
    entry(m, 6, 0x51ull << 16 | IRTE_P, 1 << 18 | PC_IOAPIC_REQUESTER);
    for (unsigned half = 0; half < 2; half++) {
        as_store(m->memory, 0xfec00000, 4, 0x10 + 2 * 5 + half, MEM_ATTRS_CPU);
        as_store(m->memory, 0xfec00010, 4, rte >> (32 * half) & UINT32_MAX, MEM_ATTRS_CPU);
    }
    Device *ioapic = (Device *)object_resolve(m, "ioapic");
    loop_lock(m->main_loop);
    irq_set(device_irq_input(ioapic, NULL, 5), 1);
    assert_true(requested(m, 0x51));
    irq_set(device_irq_input(ioapic, NULL, 5), 0);
    entry(m, 6, 0x52ull << 16 | IRTE_P, 1 << 18 | SID);
    irq_set(device_irq_input(ioapic, NULL, 5), 1);
    loop_unlock(m->main_loop);
    assert_false(requested(m, 0x52));
    assert_int_equal(reg64(m, DMAR_FRCD_REG + 8) & 0xffff, PC_IOAPIC_REQUESTER);
    assert_int_equal(reg64(m, DMAR_FRCD_REG + 8) >> 32 & 0xff, VTD_FAULT_IR_SOURCE);
}

/* --- notifiers --- */

#define FOLLOW_MAX 64

/* What a device process would be told. */
typedef struct Follower {
    MemListener listener;
    MemIommuNotifier notifier;
    unsigned ram; /* sections of plain memory */
    unsigned batches, calls, unmaps, count, room;
    MemTranslation maps[FOLLOW_MAX];
} Follower;

static Follower *follower_of(MemIommuNotifier *n)
{
    return (Follower *)((char *)n - offsetof(Follower, notifier));
}

static void follow_begin(MemIommuNotifier *n)
{
}

static void follow_unmap(MemIommuNotifier *n, HwAddr first, HwAddr last)
{
    Follower *f = follower_of(n);

    f->unmaps++;
    for (unsigned i = 0; i < f->count;) {
        if (f->maps[i].iova <= last && f->maps[i].iova + (f->maps[i].size - 1) >= first) {
            f->maps[i] = f->maps[--f->count];
        } else {
            i++;
        }
    }
}

static bool follow_map(MemIommuNotifier *n, const MemTranslation *t)
{
    Follower *f = follower_of(n);

    f->calls++;
    if (f->room && f->count == f->room) {
        return false;
    }
    follow_unmap(n, t->iova, t->iova + (t->size - 1));
    if (f->count < FOLLOW_MAX) {
        f->maps[f->count++] = *t;
    }
    return true;
}

static void follow_commit(MemIommuNotifier *n)
{
    follower_of(n)->batches++;
}

static void follow_add(MemListener *l, const MemSection *s)
{
    Follower *f = (Follower *)l;

    f->ram += mem_region_kind(s->region) == MEM_RAM;
    if (mem_region_kind(s->region) == MEM_IOMMU && s->addr == 0) {
        f->notifier = (MemIommuNotifier){follow_begin, follow_map, follow_unmap, follow_commit, NULL};
        mem_iommu_notifier_register(&f->notifier, s->region);
    }
}

static void follow_del(MemListener *l, const MemSection *s)
{
    Follower *f = (Follower *)l;

    f->ram -= mem_region_kind(s->region) == MEM_RAM;
    if (mem_region_kind(s->region) == MEM_IOMMU && s->addr == 0) {
        mem_iommu_notifier_unregister(&f->notifier);
    }
}

static bool follow_done(MemListener *l, GError **error)
{
    return true;
}

static Follower *follow(Machine *m)
{
    Follower *f = g_new0(Follower, 1);

    f->listener = (MemListener){.name = "test", .add = follow_add, .del = follow_del, .commit = follow_done};
    assert_true(mem_listener_register(&f->listener, pci_dma_follow(function(m), NULL), NULL));
    return f;
}

static void unfollow(Follower *f)
{
    mem_listener_unregister(&f->listener);
    assert_int_equal(f->count, 0);
    g_free(f);
}

static bool has(const Follower *f, uint64_t iova, uint64_t addr, uint64_t size, MemPerm perm)
{
    for (unsigned i = 0; i < f->count; i++) {
        const MemTranslation *t = &f->maps[i];

        if (t->iova == iova && t->addr == addr && t->size == size && t->perm == perm) {
            return true;
        }
    }
    return false;
}

static void test_notifier(void **state)
{
    Machine *m = *state;
    Follower *f = follow(m);

    assert_in_range(f->ram, 1, 8);
    assert_int_equal(f->count, 0);
    set_page(m, IOVA, PAGES | 3);
    set_page(m, IOVA + 0x2000, (PAGES + 0x1000) | SL_R);
    enable(m, 1);
    /* Translated now: what is there already. */
    assert_int_equal(f->ram, 0);
    assert_int_equal(f->count, 2);
    assert_true(has(f, IOVA, PAGES, 0x1000, MEM_PERM_RW));
    assert_true(has(f, IOVA + 0x2000, PAGES + 0x1000, 0x1000, MEM_PERM_READ));
    /* Caching mode: new pages are told of by an invalidation. */
    set_page(m, IOVA + 0x1000, (PAGES + 0x3000) | SL_W);
    assert_int_equal(f->count, 2);
    invalidate(m, INV_SELECTIVE, DID, IOVA + 0x1000);
    assert_true(has(f, IOVA + 0x1000, PAGES + 0x3000, 0x1000, MEM_PERM_WRITE));
    /* Gone, changed, and another domain's. */
    set_page(m, IOVA, 0);
    set_page(m, IOVA + 0x2000, (PAGES + 0x1000) | 3);
    invalidate(m, INV_DOMAIN, DID + 1, 0);
    assert_int_equal(f->count, 3);
    invalidate(m, INV_SELECTIVE, DID, (IOVA & ~0xffffull) | 4);
    assert_int_equal(f->count, 2);
    assert_true(has(f, IOVA + 0x2000, PAGES + 0x1000, 0x1000, MEM_PERM_RW));
    /* Everything of the domain; a large page. */
    poke(m, L2 + index_of(IOVA, 2) * 8, 0x400000 | 3 | SL_PS);
    invalidate(m, INV_DOMAIN, DID, 0);
    assert_int_equal(f->count, 1);
    assert_true(has(f, IOVA & ~0x1fffffull, 0x400000, 0x200000, MEM_PERM_RW));
    /* Another table by the context. */
    poke(m, L4 + index_of(IOVA, 3) * 8, (L4 + 0x8000) | 3);
    poke(m, L4 + 0x8000 + index_of(IOVA, 2) * 8, 0x600000 | 3 | SL_PS);
    write_context(m, L4 | CONTEXT_P, 1 | (DID + 7) << 8);
    invalidate_contexts(m);
    assert_int_equal(f->count, 1);
    assert_true(has(f, IOVA & ~0x1fffffull, 0x600000, 0x200000, MEM_PERM_RW));
    write_context(m, 0, 0);
    invalidate_contexts(m);
    assert_int_equal(f->count, 0);
    /* All of memory while it passes through, nothing translated any more when it is off. */
    write_context(m, CONTEXT_P | CONTEXT_TT_PASS << 2, 1 | DID << 8);
    invalidate_contexts(m);
    assert_in_range(f->ram, 1, 8);
    write_context(m, L4 | CONTEXT_P, 1 | DID << 8);
    invalidate_contexts(m);
    assert_int_equal(f->ram, 0);
    assert_int_equal(f->count, 1);
    command(m, GCMD_TE, false);
    assert_int_equal(f->count, 0);
    assert_in_range(f->ram, 1, 8);
    machine_reset(m, SHUTDOWN_GUEST_RESET);
    unfollow(f);
}

/* All that comes before a wait descriptor is one batch. */
static void test_notifier_batches(void **state)
{
    Machine *m = *state;
    Follower *f;

    enable(m, 1);
    queue_enable(m);
    f = follow(m);
    f->batches = 0;
    for (unsigned i = 0; i < 32; i++) {
        set_page(m, IOVA + i * 0x1000, (PAGES + i * 0x1000) | 3);
        queue_put(m, i, DESC_IOTLB | INV_SELECTIVE << 4 | (uint64_t)DID << 16, IOVA + i * 0x1000);
    }
    queue_put(m, 32, wait_low(1, false), STATUS);
    queue_go(m, 33);
    assert_int_equal(f->count, 32);
    assert_int_equal(f->batches, 1);
    assert_int_equal(peek(m, STATUS), 1);
    unfollow(f);
}

/* A table all of whose entries lead to itself maps 2^27 pages; nobody has to hear of all of them. */
static void test_notifier_hostile(void **state)
{
    Machine *m = *state;
    Follower *f = follow(m);

    f->room = FOLLOW_MAX;
    enable(m, 2);
    for (unsigned i = 0; i < 512; i++) {
        poke(m, L4 + i * 8, L4 | 3);
    }
    invalidate(m, INV_GLOBAL, 0, 0);
    assert_int_equal(f->count, FOLLOW_MAX);
    assert_in_range(f->calls, FOLLOW_MAX, 1 << 19);
    /* The same without any page at its end. */
    for (unsigned i = 0; i < 512; i++) {
        poke(m, L4 + i * 8, L3 | 3);
        poke(m, L3 + i * 8, L2 | 3);
        poke(m, L2 + i * 8, L1 | 3);
        set_page(m, i * 0x1000, 0);
    }
    invalidate(m, INV_GLOBAL, 0, 0);
    assert_int_equal(f->count, 0);
    unfollow(f);
}

int main(void)
{
#define TEST(fn)    cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define TEST_48(fn) cmocka_unit_test_setup_teardown(fn, setup_48, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_interrupts),
        TEST(test_ioapic),
        TEST(test_notifier),
        TEST(test_notifier_batches),
        TEST_48(test_notifier_hostile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
