/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Invalidation by registers and by the queue (VT-d 6.5), and what follows from it: remembered pages are dropped, functions
 * change between translated and plain memory, notifiers are told.  Notifiers hear of everything that came before a wait
 * descriptor in one batch, and have acted on it before its status is written.
 */
#include "intel-iommu.h"

/* The queue gives way to other work of the main loop after that long. */
#define QUEUE_SLICE_US 50000

#define FUNCTION(s, i) ((VtdFunction *)(s)->functions->pdata[i])

/* --- notifiers --- */

static void mark_dirty(VtdFunction *f, uint64_t first, uint64_t last)
{
    if (!mem_iommu_has_notifiers(f->translated)) {
        return;
    }
    f->dirty_first = f->dirty ? MIN(f->dirty_first, first) : first;
    f->dirty_last = f->dirty ? MAX(f->dirty_last, last) : last;
    f->dirty = true;
}

static void flush_dirty(IntelIommu *s)
{
    for (guint i = 0; i < s->functions->len; i++) {
        VtdFunction *f = FUNCTION(s, i);

        if (f->dirty) {
            f->dirty = false;
            mem_iommu_begin(f->translated);
            vtd_sync(f, NULL, f->dirty_first, f->dirty_last);
            mem_iommu_commit(f->translated);
        }
    }
}

/* --- what is remembered --- */

/* Entries of a domain (did -1: all) that touch [first, last]. */
static void iotlb_drop(IntelIommu *s, int did, uint64_t first, uint64_t last)
{
    g_mutex_lock(&s->lock);
    s->generation++;
    for (unsigned i = 0; i < IOTLB_ENTRIES; i++) {
        IotlbEntry *e = &s->iotlb[i];

        if (e->size && (did < 0 || e->did == did) && e->iova <= last && e->iova + (e->size - 1) >= first) {
            e->size = 0;
        }
    }
    g_mutex_unlock(&s->lock);
}

/* --- functions: translated, or all of memory --- */

static bool wants_translation(VtdFunction *f)
{
    VtdDomain d;
    bool fpd;

    return vtd_translates(f->iommu) &&
           !(vtd_find_domain(f->iommu, pci_requester_id(f->pci), &d, &fpd) == VTD_OK && d.pass);
}

/* The functions a context invalidation is about.  sid and mask as in the descriptor; mask 8: all. */
static bool source_matches(const VtdFunction *f, uint16_t sid, unsigned mask)
{
    static const uint16_t ignored[] = {0, 4, 6, 7}; /* function number bits of FM */

    return mask > 3 || !((pci_requester_id(f->pci) ^ sid) & (uint16_t)~ignored[mask]);
}

static void refresh_functions(IntelIommu *s, uint16_t sid, unsigned mask)
{
    MemTopology *topo = s->dev.obj.machine->topo;
    g_autoptr(GError) error = NULL;

    mem_begin(topo);
    for (guint i = 0; i < s->functions->len; i++) {
        VtdFunction *f = FUNCTION(s, i);

        if (source_matches(f, sid, mask)) {
            bool translated = wants_translation(f);

            mem_region_set_enabled(f->memory, !translated);
            mem_region_set_enabled(f->translated, translated);
            mark_dirty(f, 0, UINT64_MAX);
        }
    }
    if (!mem_commit(topo, &error)) {
        guest_error(&s->dev, "a device cannot follow: %s", error->message);
    }
}

void vtd_refresh(IntelIommu *s)
{
    iotlb_drop(s, -1, 0, UINT64_MAX);
    refresh_functions(s, 0, 8);
    flush_dirty(s);
}

/* --- commands --- */

static void invalidate_contexts(IntelIommu *s, unsigned granularity, uint16_t sid, unsigned mask)
{
    /* Which functions a domain id was given to is not remembered: all are looked at. */
    refresh_functions(s, sid, granularity == INV_SELECTIVE ? mask : 8);
}

/* `address` as in IVA_REG and in the descriptor: the page and, in its low bits, the log2 of their number. */
static void invalidate_pages(IntelIommu *s, unsigned granularity, uint16_t did, uint64_t address)
{
    unsigned am = MIN(IVA_AM(address), CAP_MAMV_MAX);
    uint64_t mask = (0x1000ull << am) - 1;
    uint64_t first = granularity == INV_SELECTIVE ? address & ~0xfffull & ~mask : 0;
    uint64_t last = granularity == INV_SELECTIVE ? first + mask : UINT64_MAX;

    iotlb_drop(s, granularity == INV_GLOBAL ? -1 : did, first, last);
    for (guint i = 0; i < s->functions->len; i++) {
        VtdFunction *f = FUNCTION(s, i);
        VtdDomain d;
        bool fpd;

        if (!mem_iommu_has_notifiers(f->translated)) {
            continue;
        }
        if (granularity == INV_GLOBAL || f->table_did == did ||
            (vtd_find_domain(s, pci_requester_id(f->pci), &d, &fpd) == VTD_OK && d.did == did)) {
            mark_dirty(f, first, last);
        }
    }
}

/* Registers may not be used beside the queue (6.5.1). */
static bool by_register(IntelIommu *s, const char *reg)
{
    if (s->gsts & GCMD_QIE) {
        guest_error(&s->dev, "%s written while the invalidation queue is enabled", reg);
        return false;
    }
    return true;
}

void vtd_ccmd_written(IntelIommu *s)
{
    unsigned granularity = CCMD_CIRG(s->ccmd);

    if (!(s->ccmd & CCMD_ICC)) {
        return;
    }
    s->ccmd &= ~(CCMD_ICC | CCMD_CAIG(3));
    if (granularity == INV_RESERVED || !by_register(s, "CCMD_REG")) {
        return; /* CAIG 0: nothing was done */
    }
    invalidate_contexts(s, granularity, CCMD_SID(s->ccmd), CCMD_FM(s->ccmd));
    flush_dirty(s);
    s->ccmd |= CCMD_CAIG(granularity);
}

void vtd_iotlb_written(IntelIommu *s)
{
    unsigned granularity = IOTLB_IIRG(s->iotlb_reg);

    if (!(s->iotlb_reg & IOTLB_IVT)) {
        return;
    }
    s->iotlb_reg &= ~(IOTLB_IVT | IOTLB_IAIG(3));
    if (granularity == INV_RESERVED || !by_register(s, "IOTLB_REG") ||
        (granularity == INV_SELECTIVE && IVA_AM(s->iva) > CAP_MAMV_MAX)) {
        return;
    }
    invalidate_pages(s, granularity, IOTLB_DID(s->iotlb_reg), s->iva);
    flush_dirty(s);
    s->iotlb_reg |= IOTLB_IAIG(granularity);
}

/* --- the queue --- */

static bool run_cc(IntelIommu *s, const uint64_t d[2])
{
    if (d[0] & DESC_CC_RESERVED || d[1] || DESC_G(d[0]) == INV_RESERVED) {
        return false;
    }
    invalidate_contexts(s, DESC_G(d[0]), DESC_SID(d[0]), DESC_FM(d[0]));
    return true;
}

static bool run_iotlb(IntelIommu *s, const uint64_t d[2])
{
    if (d[0] & DESC_IOTLB_RESERVED || d[1] & DESC_IOTLB_RESERVED_H || DESC_G(d[0]) == INV_RESERVED ||
        (DESC_G(d[0]) == INV_SELECTIVE && IVA_AM(d[1]) > CAP_MAMV_MAX)) {
        return false;
    }
    invalidate_pages(s, DESC_G(d[0]), DESC_DID(d[0]), d[1]);
    return true;
}

/* Interrupt entries are read for every interrupt: there is nothing to drop. */
static bool run_iec(IntelIommu *s, const uint64_t d[2])
{
    return !(d[0] & DESC_IEC_RESERVED) && !d[1] && s->remap_on;
}

static bool run_wait(IntelIommu *s, const uint64_t d[2])
{
    if (d[0] & DESC_WAIT_RESERVED || d[1] & 3) {
        return false;
    }
    flush_dirty(s);
    if (d[0] & DESC_WAIT_SW &&
        as_store(s->dev.obj.machine->memory, d[1], 4, DESC_WAIT_DATA(d[0]), (MemAttrs){0}) != MEM_OK) {
        return false;
    }
    if (d[0] & DESC_WAIT_IF) {
        vtd_wait_done(s);
    }
    return true;
}

static bool run_descriptor(IntelIommu *s, const uint64_t d[2])
{
    static bool (*const runs[16])(IntelIommu *, const uint64_t[2]) = {
        [DESC_CC] = run_cc, [DESC_IOTLB] = run_iotlb, [DESC_IEC] = run_iec, [DESC_WAIT] = run_wait};

    return runs[DESC_TYPE(d[0])] && runs[DESC_TYPE(d[0])](s, d);
}

static bool queue_ready(const IntelIommu *s)
{
    return s->gsts & GCMD_QIE && !(__atomic_load_n(&s->fsts, __ATOMIC_RELAXED) & FSTS_IQE) && s->iqh != s->iqt;
}

void vtd_queue_run(IntelIommu *s)
{
    int64_t end = g_get_monotonic_time() + QUEUE_SLICE_US;
    uint64_t bytes = IQA_ENTRIES(s->iqa) * 16ull, d[2];

    while (queue_ready(s)) {
        if (s->iqt >= bytes || s->iqa & IQA_DW) {
            vtd_queue_error(s, "tail behind the end, or descriptors of 256 bits");
            break;
        }
        if (!vtd_read_table(s, (s->iqa & TABLE_ADDRESS) + s->iqh, d, 2)) {
            vtd_queue_error(s, "not in memory");
            break;
        }
        if (!run_descriptor(s, d)) {
            vtd_queue_error(s, "bad descriptor");
            break;
        }
        s->iqh = (s->iqh + 16) % bytes;
        if (DESC_TYPE(d[0]) == DESC_WAIT && g_get_monotonic_time() > end) {
            loop_bh_schedule(s->queue_bh);
            break;
        }
    }
    flush_dirty(s);
}
