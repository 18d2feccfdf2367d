/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tables of the remapping hardware in guest memory (VT-d 3.4, 3.7, 9.1, 9.3, 9.8): who a requester belongs to, what an
 * address becomes, and what is mapped in a range.  All of it is written by the guest: every address is looked up as RAM,
 * levels only go down, and how much is read for one command is bounded.
 */
#include "intel-iommu.h"

#define PAGE_BITS 12
/* Tables read, and mappings nobody had room for, in one vtd_sync(). */
#define SYNC_BUDGET (1u << 18)

bool vtd_read_table(IntelIommu *s, uint64_t addr, uint64_t *words, unsigned count)
{
    uint64_t len = count * 8ull;
    MemRegion *region;
    const uint64_t *host = as_map(s->dev.obj.machine->memory, addr, &len, false, &region);

    if (!host) {
        return false;
    }
    for (unsigned i = 0; i < count && len == count * 8ull; i++) {
        words[i] = __atomic_load_n(&host[i], __ATOMIC_RELAXED);
    }
    as_unmap(s->dev.obj.machine->memory, region, (void *)host, 0, false);
    return len == count * 8ull;
}

/* Bits of an address in a table that the board has no memory for. */
static uint64_t address_reserved(void)
{
    return TABLE_ADDRESS & ~((1ull << HOST_ADDRESS_WIDTH) - 1);
}

/* --- contexts --- */

static VtdFault check_context(const IntelIommu *s, const uint64_t context[2], VtdDomain *out)
{
    unsigned aw = CONTEXT_AW(context[1]), tt = CONTEXT_TT(context[0]);
    unsigned width = 30 + 9 * aw;

    if (context[0] & (CONTEXT_RESERVED | address_reserved()) || context[1] & CONTEXT_RESERVED_H) {
        return VTD_FAULT_CONTEXT_RESERVED;
    }
    *out = (VtdDomain){.table = context[0] & TABLE_ADDRESS,
                       .levels = aw + 2,
                       .did = CONTEXT_DID(context[1]),
                       .pass = tt == CONTEXT_TT_PASS};
    if (tt && !(out->pass && s->pt)) {
        return VTD_FAULT_CONTEXT_INVALID;
    }
    return aw == 1 || (aw == 2 && width <= s->aw_bits) ? VTD_OK : VTD_FAULT_CONTEXT_INVALID;
}

VtdFault vtd_find_domain(IntelIommu *s, uint16_t sid, VtdDomain *out, bool *fpd)
{
    uint64_t root = __atomic_load_n(&s->root_table, __ATOMIC_ACQUIRE), entry[2], context[2];

    *fpd = false;
    if (!vtd_read_table(s, root + (sid >> 8) * 16u, entry, 2)) {
        return VTD_FAULT_ROOT_ACCESS;
    }
    if (!(entry[0] & ROOT_P)) {
        return VTD_FAULT_ROOT_ABSENT;
    }
    if (entry[0] & (ROOT_RESERVED | address_reserved()) || entry[1]) {
        return VTD_FAULT_ROOT_RESERVED;
    }
    if (!vtd_read_table(s, (entry[0] & TABLE_ADDRESS) + (sid & 0xff) * 16u, context, 2)) {
        return VTD_FAULT_CONTEXT_ACCESS;
    }
    *fpd = context[0] & CONTEXT_FPD;
    return context[0] & CONTEXT_P ? check_context(s, context, out) : VTD_FAULT_CONTEXT_ABSENT;
}

/* --- pages --- */

/* Bytes an entry of a table of that level (1: pages) stands for, as a shift. */
static unsigned level_shift(unsigned level)
{
    return PAGE_BITS + SL_INDEX_BITS * (level - 1);
}

static bool is_leaf(uint64_t entry, unsigned level)
{
    return level == 1 || ((level == 2 || level == 3) && entry & SL_PS);
}

/* A present entry has bits that must be 0 (9.8; no snoop control, no device TLBs). */
static bool entry_reserved(uint64_t entry, unsigned level)
{
    uint64_t reserved = address_reserved();

    if (is_leaf(entry, level)) {
        reserved |= SL_SNP | SL_TM;
        reserved |= level > 1 ? ((1ull << level_shift(level)) - 1) & TABLE_ADDRESS : 0;
    } else if (level > 3) {
        reserved |= SL_PS;
    }
    return entry & reserved;
}

static MemTranslation leaf(IntelIommu *s, uint64_t iova, uint64_t entry, unsigned level, MemPerm perm)
{
    uint64_t size = 1ull << level_shift(level);

    return (MemTranslation){.as = s->dev.obj.machine->memory,
                            .iova = iova & ~(size - 1),
                            .addr = entry & TABLE_ADDRESS & ~(size - 1),
                            .size = size,
                            .perm = perm};
}

VtdFault vtd_walk(IntelIommu *s, const VtdDomain *d, uint64_t addr, MemPerm want, MemTranslation *out)
{
    uint64_t table = d->table, entry;
    MemPerm perm = MEM_PERM_RW;

    *out = (MemTranslation){.iova = addr & ~0xfffull, .size = 1u << PAGE_BITS};
    if (addr >> level_shift(d->levels + 1)) {
        return VTD_FAULT_BEYOND_MGAW;
    }
    for (unsigned level = d->levels;; level--) {
        uint64_t index = addr >> level_shift(level) & (SL_ENTRIES - 1);

        if (!vtd_read_table(s, table + index * 8, &entry, 1)) {
            return VTD_FAULT_PAGE_TABLE_ACCESS;
        }
        perm &= entry & (SL_R | SL_W);
        if (!perm || (perm & want) != want) {
            return want & MEM_PERM_WRITE ? VTD_FAULT_WRITE : VTD_FAULT_READ;
        }
        if (entry_reserved(entry, level)) {
            return VTD_FAULT_PAGE_RESERVED;
        }
        if (is_leaf(entry, level)) {
            *out = leaf(s, addr, entry, level, perm);
            return VTD_OK;
        }
        table = entry & TABLE_ADDRESS;
    }
}

/* --- ranges --- */

typedef struct Sync {
    IntelIommu *s;
    MemRegion *region;
    MemIommuNotifier *only; /* NULL: all notifiers of the region */
    uint64_t next;          /* nobody was told of what is at and behind it */
    uint32_t budget;
} Sync;

static void sync_unmap(Sync *y, uint64_t first, uint64_t last)
{
    if (y->only) {
        y->only->unmap(y->only, first, last);
    } else {
        mem_iommu_unmap(y->region, first, last);
    }
}

static void sync_leaf(Sync *y, const MemTranslation *t)
{
    if (t->iova > y->next) {
        sync_unmap(y, y->next, t->iova - 1);
    }
    if (!(y->only ? y->only->map(y->only, t) : mem_iommu_map(y->region, t))) {
        y->budget--;
    }
    y->next = t->iova + t->size;
}

/* One table, whose first byte is at `base` in the domain's addresses; the part of it in [first, last]. */
static void sync_table(Sync *y, uint64_t table, unsigned level, uint64_t base, MemPerm perm, uint64_t first,
                       uint64_t last)
{
    unsigned shift = level_shift(level);
    uint64_t from = first > base ? (first - base) >> shift : 0;
    uint64_t to = MIN((last - base) >> shift, SL_ENTRIES - 1);
    uint64_t entries[SL_ENTRIES];

    if (!y->budget || !vtd_read_table(y->s, table + from * 8, entries, (unsigned)(to - from + 1))) {
        return;
    }
    y->budget--;
    for (uint64_t i = from; i <= to && y->budget; i++) {
        uint64_t entry = entries[i - from], at = base + (i << shift);
        MemPerm allowed = perm & entry & (SL_R | SL_W);

        if (!allowed || entry_reserved(entry, level)) {
            continue;
        }
        if (is_leaf(entry, level)) {
            MemTranslation t = leaf(y->s, at, entry, level, allowed);

            sync_leaf(y, &t);
        } else {
            sync_table(y, entry & TABLE_ADDRESS, level - 1, at, allowed, first, last);
        }
    }
}

void vtd_sync(VtdFunction *f, MemIommuNotifier *n, uint64_t first, uint64_t last)
{
    Sync y = {.s = f->iommu, .region = f->translated, .only = n, .next = first, .budget = SYNC_BUDGET};
    VtdDomain d;
    bool fpd;

    f->table_did = UINT32_MAX;
    if (vtd_find_domain(f->iommu, pci_requester_id(f->pci), &d, &fpd) == VTD_OK) {
        uint64_t end = (1ull << level_shift(d.levels + 1)) - 1;

        f->table_did = d.did;
        if (!d.pass && first <= end) {
            sync_table(&y, d.table, d.levels, 0, MEM_PERM_RW, first, MIN(last, end));
        }
    }
    if (!y.budget) {
        guest_error(&f->iommu->dev, "more tables or mappings than are followed (%u); from 0x%" G_GINT64_MODIFIER
                    "x on device '%s' reaches nothing", SYNC_BUDGET, y.next, f->pci->dev.obj.id);
    }
    if (y.next <= last) {
        sync_unmap(&y, y.next, last);
    }
}

/* --- accesses --- */

static IotlbEntry *iotlb_slot(IntelIommu *s, uint16_t sid, uint64_t iova)
{
    uint64_t hash = (iova >> PAGE_BITS) * 0x9e3779b97f4a7c15ull + sid * 0xff51afd7ed558ccdull;

    return &s->iotlb[hash >> 32 & (IOTLB_ENTRIES - 1)];
}

/* True when the answer is known; else *generation is what it would be remembered under. */
static bool iotlb_get(IntelIommu *s, uint16_t sid, uint64_t addr, MemPerm want, MemTranslation *out,
                      uint64_t *generation)
{
    const IotlbEntry *e = iotlb_slot(s, sid, addr);
    bool hit;

    g_mutex_lock(&s->lock);
    hit = e->size && e->sid == sid && addr - e->iova < e->size && (e->perm & want) == want;
    if (hit) {
        *out = (MemTranslation){s->dev.obj.machine->memory, e->iova, e->addr, e->size, e->perm};
    }
    *generation = s->generation;
    g_mutex_unlock(&s->lock);
    return hit;
}

static void iotlb_put(IntelIommu *s, uint16_t sid, uint16_t did, uint64_t addr, const MemTranslation *t,
                      uint64_t generation)
{
    g_mutex_lock(&s->lock);
    if (generation == s->generation) {
        *iotlb_slot(s, sid, addr) = (IotlbEntry){t->iova, t->addr, t->size, t->perm, sid, did};
    }
    g_mutex_unlock(&s->lock);
}

static bool vtd_translate(void *opaque, HwAddr addr, MemPerm want, bool probe, MemTranslation *out)
{
    const VtdFunction *f = opaque;
    IntelIommu *s = f->iommu;
    uint16_t sid = pci_requester_id(f->pci);
    uint64_t generation;
    VtdFault reason;
    VtdDomain d;
    bool fpd;

    if (iotlb_get(s, sid, addr, want, out, &generation)) {
        return true;
    }
    *out = (MemTranslation){.iova = addr & ~0xfffull, .size = 1u << PAGE_BITS};
    reason = vtd_find_domain(s, sid, &d, &fpd);
    if (!reason && d.pass) {
        *out = (MemTranslation){s->dev.obj.machine->memory, 0, 0, UINT64_MAX, MEM_PERM_RW};
        return true;
    }
    reason = reason ? reason : vtd_walk(s, &d, addr, want, out);
    if (!reason) {
        iotlb_put(s, sid, d.did, addr, out, generation);
        return true;
    }
    if (!probe && !fpd) {
        vtd_fault(s, sid, reason, addr & ~0xfffull, !(want & MEM_PERM_WRITE));
    }
    return false;
}

static void vtd_replay(void *opaque, MemIommuNotifier *n)
{
    vtd_sync(opaque, n, 0, UINT64_MAX);
}

const MemIommuOps vtd_iommu_ops = {vtd_translate, vtd_replay};
