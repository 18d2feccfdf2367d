/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * intel-iommu: registers, translation by tables that the test writes, faults, invalidation, and tables that a hostile guest
 * would write.
 */
#include "intel-iommu-rig.h"

#include <string.h>

/* --- registers --- */

static void test_capabilities(void **state)
{
    Machine *m = *state;

    assert_int_equal(reg(m, DMAR_VER_REG), 0x10);
    assert_true(reg64(m, DMAR_CAP_REG) & CAP_CM);
    assert_int_equal(reg64(m, DMAR_CAP_REG) >> 8 & 0x1f, 2); /* 39 bits */
    assert_int_equal(reg64(m, DMAR_CAP_REG) >> 16 & 0x3f, 38);
    assert_int_equal((reg64(m, DMAR_CAP_REG) >> 24 & 0x3ff) * 16, DMAR_FRCD_REG);
    assert_int_equal((reg64(m, DMAR_ECAP_REG) >> 8 & 0x3ff) * 16, DMAR_IVA_REG);
    assert_true(reg64(m, DMAR_ECAP_REG) & ECAP_IR);
    assert_true(reg64(m, DMAR_ECAP_REG) & ECAP_EIM);
    reg64_set(m, DMAR_CAP_REG, 0);
    assert_int_not_equal(reg64(m, DMAR_CAP_REG), 0);
    assert_int_equal(reg(m, DMAR_GSTS_REG), 0);
    assert_int_equal(reg(m, DMAR_GCMD_REG), 0);
    /* Halves are fine. */
    reg_set(m, DMAR_RTADDR_REG + 4, 0x12);
    reg_set(m, DMAR_RTADDR_REG, 0x34567fff);
    assert_int_equal(reg64(m, DMAR_RTADDR_REG), 0x1234567c00);
    assert_int_equal(reg(m, 0x58), 0);
    machine_reset(m, SHUTDOWN_GUEST_RESET);
    assert_int_equal(reg64(m, DMAR_RTADDR_REG), 0);
}

static void refused(Machine *m, const char *options, const char *text)
{
    g_autoptr(GError) error = NULL;

    assert_null(add(m, options, &error));
    if (!strstr(error->message, text)) {
        fail_msg("'%s' is not in '%s'", text, error->message);
    }
}

static void test_options(void **state)
{
    Machine *m = pc_new();
    Device *probe = add(m, "probe,addr=3,id=probe", NULL);
    g_autoptr(GError) error = NULL;

    refused(m, "intel-iommu,aw-bits=40", "allowed 39, 48");
    refused(m, "intel-iommu,device-iotlb=on", "device-iotlb");
    refused(m, "intel-iommu,x-scalable-mode=on", "x-scalable-mode");
    refused(m, "intel-iommu,eim=on,intremap=off", "intremap=on");
    /* Whoever was told all of memory would not hear of the IOMMU. */
    assert_non_null(pci_dma_follow((PciDevice *)probe, NULL));
    refused(m, "intel-iommu,caching-mode=on", "before probe 'probe'");
    device_destroy(probe);
    assert_non_null(add(m, "intel-iommu,id=vtd,intremap=off", NULL));
    refused(m, "intel-iommu", "one already");
    probe = add(m, "probe,addr=3,id=probe", NULL);
    assert_null(pci_dma_follow((PciDevice *)probe, &error));
    assert_non_null(strstr(error->message, "add caching-mode=on to -device intel-iommu"));
    machine_reset(m, SHUTDOWN_NONE);
    assert_false(reg64(m, DMAR_CAP_REG) & CAP_CM);
    assert_false(reg64(m, DMAR_ECAP_REG) & (ECAP_IR | ECAP_EIM));
    g_clear_error(&error);
    assert_false(machine_device_del(m, "vtd", &error));
    assert_non_null(strstr(error->message, "no hot plug"));
    machine_free(m);
    m = pc_new();
    machine_reset(m, SHUTDOWN_NONE);
    refused(m, "intel-iommu", "running machine");
    machine_free(m);
}

/* --- translation --- */

static void check_translation(Machine *m, unsigned aw)
{
    /* Off: addresses are what they are. */
    expect_at(m, PAGES, PAGES);
    set_page(m, IOVA, (PAGES + 0x1000) | SL_R | SL_W);
    set_page(m, IOVA + 0x1000, (PAGES + 0x7000) | SL_R | SL_W);
    enable(m, aw);
    expect_at(m, IOVA, PAGES + 0x1000);
    expect_at(m, IOVA + 0xff8, PAGES + 0x1ff8);
    /* Over the border: neighbours only there. */
    poke(m, PAGES + 0x2000, 0);
    assert_int_equal(dma_write(m, IOVA + 0xffc, 0x1122334455667788), MEM_OK);
    assert_int_equal(peek(m, PAGES + 0x7000) & UINT32_MAX, 0x11223344);
    assert_int_equal(peek(m, PAGES + 0x2000), 0);
    assert_int_equal(dma_write(m, PAGES, 1), MEM_ACCESS_ERROR);
    expect_fault(m, VTD_FAULT_WRITE, PAGES, false);
    assert_int_equal(dma_write(m, aw == 2 ? 1ull << 48 : 1ull << 39, 1), MEM_ACCESS_ERROR);
    expect_fault(m, VTD_FAULT_BEYOND_MGAW, aw == 2 ? 1ull << 48 : 1ull << 39, false);
    /* Another function has no context. */
    assert_int_equal(pci_dma_write(m->pci_bus->devices[0xf8], IOVA, "x", 1), MEM_DECODE_ERROR); /* no bus master */
    pci_config_write(m->pci_bus->devices[0xf8], PCI_COMMAND, PCI_COMMAND_MASTER, 2);
    assert_int_equal(pci_dma_write(m->pci_bus->devices[0xf8], IOVA, "x", 1), MEM_ACCESS_ERROR);
    assert_int_equal(reg64(m, DMAR_FRCD_REG + 16 * 2 + 8) & 0xffff, 0xf8);
    assert_int_equal(reg64(m, DMAR_FRCD_REG + 16 * 2 + 8) >> 32 & 0xff, VTD_FAULT_CONTEXT_ABSENT);
    command(m, GCMD_TE, false);
    assert_false(reg(m, DMAR_GSTS_REG) & GCMD_TE);
    reg_set(m, DMAR_FRCD_REG + 16 * 2 + 12, 1u << 31);
    expect_at(m, PAGES, PAGES);
}

static void test_three_levels(void **state)
{
    check_translation(*state, 1);
}

static void test_four_levels(void **state)
{
    check_translation(*state, 2);
}

static void test_large_pages(void **state)
{
    Machine *m = *state;

    enable(m, 2);
    poke(m, L2 + index_of(IOVA, 2) * 8, 0x200000 | SL_R | SL_W | SL_PS);
    expect_at(m, IOVA, 0x200000 | (IOVA & 0x1fffff));
    poke(m, L3 + index_of(IOVA, 3) * 8, 0 | SL_R | SL_W | SL_PS);
    invalidate(m, INV_GLOBAL, 0, 0);
    expect_at(m, 0x600000 | (IOVA & ~0x3fffffffull), 0x600000);
    /* The address in a large entry is aligned. */
    poke(m, L3 + index_of(IOVA, 3) * 8, 0x200000 | SL_R | SL_W | SL_PS);
    invalidate(m, INV_GLOBAL, 0, 0);
    expect_refused(m, VTD_FAULT_PAGE_RESERVED);
}

static void test_permissions(void **state)
{
    Machine *m = *state;

    enable(m, 1);
    for (unsigned table = 0; table < 4; table++) {
        for (unsigned page = 0; page < 4; page++) {
            unsigned both = table & page;
            uint64_t val;

            poke(m, L2 + index_of(IOVA, 2) * 8, L1 | table);
            set_page(m, IOVA, PAGES | page);
            invalidate(m, INV_GLOBAL, 0, 0);
            poke(m, PAGES, 0x5a);
            assert_int_equal(dma_read(m, IOVA, &val), both & SL_R ? MEM_OK : MEM_ACCESS_ERROR);
            assert_int_equal(val, both & SL_R ? 0x5a : UINT64_MAX);
            if (!(both & SL_R)) {
                expect_fault(m, VTD_FAULT_READ, IOVA, true);
            }
            assert_int_equal(dma_write(m, IOVA, 0x77), both & SL_W ? MEM_OK : MEM_ACCESS_ERROR);
            assert_int_equal(peek(m, PAGES), both & SL_W ? 0x77 : 0x5a);
            if (!(both & SL_W)) {
                expect_fault(m, VTD_FAULT_WRITE, IOVA, false);
            }
            expect_no_fault(m);
        }
    }
}

/* --- tables that are wrong --- */

static void test_bad_contexts(void **state)
{
    static const struct {
        uint64_t root[2], low, high;
        VtdFault reason;
    } cases[] = {
        {{0, 0}, 0, 0, VTD_FAULT_ROOT_ABSENT},
        {{CONTEXT | 0x11, 0}, 0, 0, VTD_FAULT_ROOT_RESERVED},
        {{CONTEXT | 1, 1}, 0, 0, VTD_FAULT_ROOT_RESERVED},
        {{1ull << 45 | 1, 0}, 0, 0, VTD_FAULT_ROOT_RESERVED},
        {{0x20000000 | 1, 0}, 0, 0, VTD_FAULT_CONTEXT_ACCESS}, /* no memory there */
        {{0xfed90000 | 1, 0}, 0, 0, VTD_FAULT_CONTEXT_ACCESS}, /* our own registers */
        {{CONTEXT | 1, 0}, L3, 1, VTD_FAULT_CONTEXT_ABSENT},
        {{CONTEXT | 1, 0}, L3 | 1 | 0x100, 1, VTD_FAULT_CONTEXT_RESERVED},
        {{CONTEXT | 1, 0}, L3 | 1, 1 | 0x80, VTD_FAULT_CONTEXT_RESERVED},
        {{CONTEXT | 1, 0}, L3 | 1, 1ull << 24 | 1, VTD_FAULT_CONTEXT_RESERVED},
        {{CONTEXT | 1, 0}, L3 | 1 | 1ull << 50, 1, VTD_FAULT_CONTEXT_RESERVED},
        {{CONTEXT | 1, 0}, L3 | 1, 0, VTD_FAULT_CONTEXT_INVALID}, /* two levels */
        {{CONTEXT | 1, 0}, L4 | 1, 2, VTD_FAULT_CONTEXT_INVALID}, /* four, of 39 bits */
        {{CONTEXT | 1, 0}, L3 | 1, 7, VTD_FAULT_CONTEXT_INVALID},
        {{CONTEXT | 1, 0}, L3 | 1 | 1 << 2, 1, VTD_FAULT_CONTEXT_INVALID}, /* a device TLB */
        {{CONTEXT | 1, 0}, L3 | 1 | 3 << 2, 1, VTD_FAULT_CONTEXT_INVALID},
        {{CONTEXT | 1, 0}, 0x20000000 | 1, 1, VTD_FAULT_PAGE_TABLE_ACCESS},
        {{CONTEXT | 1, 0}, 0xfee00000 | 1, 1, VTD_FAULT_PAGE_TABLE_ACCESS},
    };
    Machine *m = *state;

    enable(m, 1);
    set_page(m, IOVA, PAGES | SL_R | SL_W);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        poke(m, ROOT, cases[i].root[0]);
        poke(m, ROOT + 8, cases[i].root[1]);
        write_context(m, cases[i].low, cases[i].high);
        invalidate_contexts(m);
        expect_refused(m, cases[i].reason);
        if (cases[i].low) {
            /* "Fault processing disable" of a context that was found. */
            write_context(m, cases[i].low | CONTEXT_FPD, cases[i].high);
            assert_int_equal(dma_write(m, IOVA, 1), MEM_ACCESS_ERROR);
            expect_no_fault(m);
        }
    }
    reg64_set(m, DMAR_RTADDR_REG, 0x30000000);
    command(m, GCMD_SRTP, true);
    expect_refused(m, VTD_FAULT_ROOT_ACCESS);
}

static void test_bad_pages(void **state)
{
    static const struct {
        uint64_t table, page;
        VtdFault reason;
    } cases[] = {
        {0, 0, VTD_FAULT_WRITE},
        {L1 | 3, 0, VTD_FAULT_WRITE},
        {L1 | 3, PAGES, VTD_FAULT_WRITE}, /* an address alone is nothing */
        {L1 | 3, PAGES | 3 | 1ull << 62, VTD_FAULT_PAGE_RESERVED},
        {L1 | 3, PAGES | 3 | 0x800, VTD_FAULT_PAGE_RESERVED},
        {L1 | 3, PAGES | 3 | 1ull << 51, VTD_FAULT_PAGE_RESERVED},
        {L1 | 3 | 1ull << 44, PAGES | 3, VTD_FAULT_PAGE_RESERVED},
        {0x20000000 | 3, 0, VTD_FAULT_PAGE_TABLE_ACCESS},
        {0x1000000 | 3, 0, VTD_FAULT_PAGE_TABLE_ACCESS}, /* right behind RAM */
    };
    Machine *m = *state;

    enable(m, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        poke(m, L2 + index_of(IOVA, 2) * 8, cases[i].table);
        set_page(m, IOVA, cases[i].page);
        invalidate(m, INV_GLOBAL, 0, 0);
        expect_refused(m, cases[i].reason);
    }
    /* A page that is no RAM: translated, and then nobody answers. */
    poke(m, L2 + index_of(IOVA, 2) * 8, L1 | 3);
    set_page(m, IOVA, 0x20000000 | 3);
    invalidate(m, INV_GLOBAL, 0, 0);
    assert_int_equal(dma_write(m, IOVA, 1), MEM_DECODE_ERROR);
    expect_no_fault(m);
    /* Tables that lead to themselves end with the levels. */
    poke(m, L3 + index_of(IOVA, 3) * 8, L3 | 3);
    for (unsigned i = 0; i < 512; i++) {
        poke(m, L3 + i * 8, L3 | 3);
    }
    invalidate(m, INV_GLOBAL, 0, 0);
    expect_at(m, IOVA + 0x800, L3 + 0x800);
}

/* --- invalidation --- */

static void test_tlb(void **state)
{
    Machine *m = *state;
    uint64_t val;

    enable(m, 1);
    set_page(m, IOVA, PAGES | 3);
    set_page(m, IOVA + 0x1000, (PAGES + 0x1000) | 3);
    expect_at(m, IOVA, PAGES);
    expect_at(m, IOVA + 0x1000, PAGES + 0x1000);
    /* What is not the page, or not the domain, does not concern it: the old translation is still remembered. */
    set_page(m, IOVA, (PAGES + 0x4000) | 3);
    set_page(m, IOVA + 0x1000, 0);
    invalidate(m, INV_DOMAIN, DID + 1, 0);
    invalidate(m, INV_SELECTIVE, DID, IOVA + 0x2000);
    expect_at(m, IOVA, PAGES);
    invalidate(m, INV_SELECTIVE, DID, IOVA);
    assert_int_equal(reg64(m, DMAR_IOTLB_REG) >> 57 & 3, INV_SELECTIVE);
    expect_at(m, IOVA, PAGES + 0x4000);
    expect_at(m, IOVA + 0x1000, PAGES + 0x1000);
    /* Two pages at once, wherever in them the address points. */
    set_page(m, IOVA, 0);
    invalidate(m, INV_SELECTIVE, DID, ((IOVA + 0x1000) & ~0x3fffull) | 2);
    assert_int_equal(dma_read(m, IOVA, &val), MEM_ACCESS_ERROR);
    expect_fault(m, VTD_FAULT_READ, IOVA, true);
    assert_int_equal(dma_read(m, IOVA + 0x1000, &val), MEM_ACCESS_ERROR);
    expect_fault(m, VTD_FAULT_READ, IOVA + 0x1000, true);
    /* New mappings need no invalidation here: nothing is remembered of what was refused. */
    set_page(m, IOVA, PAGES | 3);
    expect_at(m, IOVA, PAGES);
    set_page(m, IOVA, (PAGES + 0x5000) | 3);
    invalidate(m, INV_DOMAIN, DID, 0);
    expect_at(m, IOVA, PAGES + 0x5000);
    /* Reserved granularity: nothing was done, and it says so. */
    set_page(m, IOVA, PAGES | 3);
    invalidate(m, INV_RESERVED, 0, 0);
    assert_int_equal(reg64(m, DMAR_IOTLB_REG) >> 57, 0);
    expect_at(m, IOVA, PAGES + 0x5000);
}

static void test_queue(void **state)
{
    Machine *m = *state;

    enable(m, 1);
    set_page(m, IOVA, PAGES | 3);
    expect_at(m, IOVA, PAGES);
    queue_enable(m);
    set_page(m, IOVA, (PAGES + 0x1000) | 3);
    queue_put(m, 0, DESC_IOTLB | INV_SELECTIVE << 4 | (uint64_t)DID << 16, IOVA);
    queue_put(m, 1, wait_low(0xabcd, false), STATUS);
    queue_go(m, 2);
    assert_int_equal(reg64(m, DMAR_IQH_REG), 32);
    assert_int_equal(peek(m, STATUS), 0xabcd);
    expect_at(m, IOVA, PAGES + 0x1000);
    /* Registers are not for use beside it. */
    set_page(m, IOVA, (PAGES + 0x2000) | 3);
    invalidate(m, INV_GLOBAL, 0, 0);
    assert_false(reg64(m, DMAR_IOTLB_REG) & IOTLB_IVT);
    expect_at(m, IOVA, PAGES + 0x1000);
    queue_put(m, 2, DESC_CC | INV_GLOBAL << 4, 0);
    queue_put(m, 3, DESC_IOTLB | INV_DOMAIN << 4 | (uint64_t)DID << 16, 0);
    queue_put(m, 4, DESC_IEC, 0);
    queue_go(m, 5);
    assert_int_equal(reg64(m, DMAR_IQH_REG), 80);
    expect_at(m, IOVA, PAGES + 0x2000);
    /* An interrupt when it is done; one until it is acknowledged. */
    reg_set(m, DMAR_IEDATA_REG, 0x99);
    reg_set(m, DMAR_IEADDR_REG, EVENT);
    reg_set(m, DMAR_IECTL_REG, 0);
    queue_put(m, 5, wait_low(1, true), STATUS);
    queue_go(m, 6);
    settle(m);
    assert_int_equal(peek(m, EVENT), 0x99);
    assert_true(reg(m, DMAR_ICS_REG) & ICS_IWC);
    poke(m, EVENT, 0);
    queue_put(m, 6, wait_low(2, true), STATUS);
    queue_go(m, 7);
    settle(m);
    assert_int_equal(peek(m, EVENT), 0);
    reg_set(m, DMAR_ICS_REG, ICS_IWC);
    reg_set(m, DMAR_IECTL_REG, EVENT_IM);
    queue_put(m, 7, wait_low(3, true), STATUS);
    queue_go(m, 8);
    settle(m);
    assert_int_equal(peek(m, EVENT), 0);
    assert_true(reg(m, DMAR_IECTL_REG) & EVENT_IP);
    reg_set(m, DMAR_IECTL_REG, 0);
    settle(m);
    assert_int_equal(peek(m, EVENT), 0x99);
    assert_false(reg(m, DMAR_IECTL_REG) & EVENT_IP);
    /* Around the end. */
    for (unsigned i = 8; i < 256; i++) {
        queue_put(m, i, wait_low(i, false), STATUS);
    }
    queue_put(m, 0, wait_low(0x1000, false), STATUS);
    queue_go(m, 1);
    assert_int_equal(peek(m, STATUS), 0x1000);
    assert_int_equal(reg64(m, DMAR_IQH_REG), 16);
}

static void test_bad_queue(void **state)
{
    static const uint64_t bad[][2] = {
        {0, 0},
        {3 | 1 << 4, 0}, /* a device TLB's */
        {6, 0},
        {15, 0},
        {DESC_IOTLB, 0},
        {DESC_IOTLB | 1ull << 40 | INV_GLOBAL << 4, 0},
        {DESC_IOTLB | INV_SELECTIVE << 4, 63},
        {DESC_CC | INV_GLOBAL << 4, 1},
        {DESC_CC, 0},
        {DESC_IEC | 0x40, 0},
        {DESC_WAIT | DESC_WAIT_SW | 1 << 9, STATUS},
        {DESC_WAIT | DESC_WAIT_SW, STATUS | 2},
        {DESC_WAIT | DESC_WAIT_SW, 0x30000000}, /* no memory there */
    };
    Machine *m = *state;

    reg_set(m, DMAR_FEDATA_REG, 0x44);
    reg_set(m, DMAR_FEADDR_REG, EVENT);
    reg_set(m, DMAR_FECTL_REG, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        command(m, GCMD_QIE, false);
        queue_enable(m);
        poke(m, EVENT, 0);
        poke(m, STATUS, 0);
        queue_put(m, 0, wait_low(7, false), STATUS);
        queue_put(m, 1, bad[i][0], bad[i][1]);
        queue_put(m, 2, wait_low(8, false), STATUS);
        queue_go(m, 3);
        settle(m);
        assert_int_equal(peek(m, STATUS), 7);
        assert_int_equal(reg64(m, DMAR_IQH_REG), 16);
        assert_int_equal(reg(m, DMAR_FSTS_REG) & 0xff, FSTS_IQE);
        assert_int_equal(peek(m, EVENT), 0x44);
        /* Repaired and acknowledged, it goes on. */
        queue_put(m, 1, DESC_CC | INV_GLOBAL << 4, 0);
        reg_set(m, DMAR_FSTS_REG, FSTS_IQE);
        assert_int_equal(peek(m, STATUS), 8);
        assert_int_equal(reg64(m, DMAR_IQH_REG), 48);
        expect_no_fault(m);
    }
    queue_go(m, 300); /* the queue has 256 */
    assert_int_equal(reg(m, DMAR_FSTS_REG) & 0xff, FSTS_IQE);
    command(m, GCMD_QIE, false);
    reg_set(m, DMAR_FSTS_REG, FSTS_IQE);
    reg64_set(m, DMAR_IQA_REG, 0xfed90000);
    queue_go(m, 0);
    command(m, GCMD_QIE, true);
    queue_go(m, 1);
    assert_int_equal(reg(m, DMAR_FSTS_REG) & 0xff, FSTS_IQE);
}

/* --- faults --- */

static void test_fault_events(void **state)
{
    Machine *m = *state;

    enable(m, 1);
    reg_set(m, DMAR_FEDATA_REG, 0x55);
    reg_set(m, DMAR_FEADDR_REG, EVENT);
    poke(m, EVENT, 0);
    dma_write(m, IOVA, 1);
    settle(m);
    assert_int_equal(peek(m, EVENT), 0); /* masked, as after reset */
    assert_true(reg(m, DMAR_FECTL_REG) & EVENT_IP);
    reg_set(m, DMAR_FECTL_REG, 0);
    settle(m);
    assert_int_equal(peek(m, EVENT), 0x55);
    poke(m, EVENT, 0);
    /* More of them: one message until all are seen. */
    for (unsigned i = 1; i < DMAR_FRCD_COUNT; i++) {
        assert_int_equal(dma_write(m, IOVA + i * 0x1000, 1), MEM_ACCESS_ERROR);
    }
    assert_false(reg(m, DMAR_FSTS_REG) & FSTS_PFO);
    dma_write(m, IOVA + 0x100000, 1);
    assert_true(reg(m, DMAR_FSTS_REG) & FSTS_PFO);
    settle(m);
    assert_int_equal(peek(m, EVENT), 0);
    for (unsigned i = 0; i < DMAR_FRCD_COUNT; i++) {
        assert_int_equal(reg(m, DMAR_FSTS_REG) >> 8 & 0xff, i);
        expect_fault(m, VTD_FAULT_WRITE, IOVA + i * 0x1000, false);
    }
    assert_int_equal(reg(m, DMAR_FSTS_REG) & 0xff, FSTS_PFO);
    dma_write(m, IOVA, 1); /* not recorded */
    assert_int_equal(reg(m, DMAR_FSTS_REG) & 0xff, FSTS_PFO);
    reg_set(m, DMAR_FSTS_REG, FSTS_PFO);
    expect_no_fault(m);
    dma_write(m, IOVA, 1);
    settle(m);
    assert_int_equal(peek(m, EVENT), 0x55);
    expect_fault(m, VTD_FAULT_WRITE, IOVA, false);
}

/* Mapping probes; the access that follows is what is recorded, once. */
static void test_fault_of_a_map(void **state)
{
    Machine *m = *state;
    MemRegion *region;
    uint64_t len = 64;

    enable(m, 1);
    assert_null(pci_dma_map(function(m), IOVA, &len, true, &region));
    expect_no_fault(m);
    assert_int_equal(dma_write(m, IOVA, 1), MEM_ACCESS_ERROR);
    expect_fault(m, VTD_FAULT_WRITE, IOVA, false);
    expect_no_fault(m);
}

static void test_pass_through(void **state)
{
    Machine *m = *state;

    enable(m, 1);
    write_context(m, CONTEXT_P | CONTEXT_TT_PASS << 2, 1 | DID << 8);
    expect_at(m, PAGES, PAGES); /* at once, and after the invalidation as plain memory */
    invalidate_contexts(m);
    expect_at(m, PAGES + 0x1000, PAGES + 0x1000);
    write_context(m, L3 | CONTEXT_P, 1 | DID << 8);
    invalidate_contexts(m);
    set_page(m, IOVA, PAGES | 3);
    expect_at(m, IOVA, PAGES);
    assert_int_equal(dma_write(m, PAGES, 1), MEM_ACCESS_ERROR);
}

/* Saved and loaded, it goes on: tables are in memory. */
static void test_state(void **state)
{
    Machine *m = *state;
    Device *iommu = NULL;
    GByteArray *out = g_byte_array_new();
    size_t offset = 0;

    set_page(m, IOVA, PAGES | 3);
    enable(m, 1);
    dma_write(m, IOVA + 0x5000, 1);
    iommu = (Device *)object_child(object_container(&m->obj, "peripheral-anon"), "device[0]");
    device_save(iommu, out);
    device_reset(iommu);
    expect_no_fault(m);
    expect_at(m, PAGES, PAGES);
    assert_true(device_load(iommu, out->data, out->len, &offset, NULL));
    expect_fault(m, VTD_FAULT_WRITE, IOVA + 0x5000, false);
    expect_at(m, IOVA, PAGES);
    g_byte_array_unref(out);
}

int main(void)
{
#define TEST(fn)    cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define TEST_48(fn) cmocka_unit_test_setup_teardown(fn, setup_48, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_capabilities),
        cmocka_unit_test(test_options),
        TEST(test_three_levels),
        TEST_48(test_four_levels),
        TEST_48(test_large_pages),
        TEST(test_permissions),
        TEST(test_bad_contexts),
        TEST(test_bad_pages),
        TEST(test_tlb),
        TEST(test_queue),
        TEST(test_bad_queue),
        TEST(test_fault_events),
        TEST(test_fault_of_a_map),
        TEST(test_pass_through),
        TEST(test_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
