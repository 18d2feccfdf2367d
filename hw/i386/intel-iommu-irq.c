/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt requests of functions and of the IO-APIC, and their remapping (VT-d 5.1, 9.10).  Entries are read from guest
 * memory for every interrupt.
 */
#include "intel-iommu.h"

/* An interrupt request of the remappable format (5.1.2.2), or why it is none. */
typedef struct Request {
    uint16_t sid;
    uint32_t index;
    bool reserved; /* bits that must be 0 are not */
} Request;

#define ADDRESS_FORMAT (1u << 4) /* 1: remappable */
#define ADDRESS_SHV    (1u << 3)
#define RTE_FORMAT     (1ull << 48)
#define RTE_INDEX(e)   ((uint32_t)((e) >> 49) | ((uint32_t)((e) >> 11) & 1) << 15)

static bool sid_allowed(uint64_t high, uint16_t sid)
{
    static const uint16_t ignored[] = {0, 4, 6, 7}; /* bits of the function number, by SQ */
    uint16_t want = IRTE_SID(high);

    switch (IRTE_SVT(high)) {
    case 0:
        return true;
    case 1:
        return !((want ^ sid) & (uint16_t)~ignored[IRTE_SQ(high)]);
    case 2: /* from one of the buses first..last */
        return sid >> 8 >= want >> 8 && sid >> 8 <= (want & 0xff);
    default:
        return false;
    }
}

/* What the table says about a request.  *fpd: a fault is not to be recorded. */
static VtdFault find_entry(IntelIommu *s, const Request *r, ApicMessage *msg, bool *fpd)
{
    uint64_t irta = __atomic_load_n(&s->irq_table, __ATOMIC_ACQUIRE), entry[2];
    bool x2apic = s->eim_on && irta & IRTA_EIME;

    *fpd = false;
    if (r->reserved) {
        return VTD_FAULT_IR_REQUEST_RESERVED;
    }
    if (r->index >= IRTA_ENTRIES(irta)) {
        return VTD_FAULT_IR_INDEX;
    }
    if (!vtd_read_table(s, (irta & TABLE_ADDRESS) + r->index * 16ull, entry, 2)) {
        return VTD_FAULT_IR_TABLE_ACCESS;
    }
    *fpd = entry[0] & IRTE_FPD;
    if (!(entry[0] & IRTE_P)) {
        return VTD_FAULT_IR_ABSENT;
    }
    if (entry[0] & (IRTE_RESERVED | IRTE_IM) || entry[1] & IRTE_RESERVED_H ||
        (!x2apic && entry[0] & IRTE_RESERVED_XAPIC) || IRTE_SVT(entry[1]) == 3) {
        return VTD_FAULT_IR_RESERVED;
    }
    if (!sid_allowed(entry[1], r->sid)) {
        return VTD_FAULT_IR_SOURCE;
    }
    *msg = (ApicMessage){.dest = x2apic ? IRTE_DST(entry[0]) : IRTE_DST(entry[0]) >> 8 & 0xff,
                         .x2apic = x2apic,
                         .logical = entry[0] & IRTE_DM,
                         .level = entry[0] & IRTE_TM,
                         .mode = (ApicDelivery)IRTE_DLM(entry[0]),
                         .vector = IRTE_V(entry[0])};
    return VTD_OK;
}

static bool remap(IntelIommu *s, const Request *r, ApicMessage *msg)
{
    bool fpd;
    VtdFault reason = find_entry(s, r, msg, &fpd);

    if (reason && !fpd) {
        vtd_fault(s, r->sid, reason, (uint64_t)r->index << 48, false);
    }
    return !reason;
}

static bool remapping(const IntelIommu *s)
{
    return __atomic_load_n(&s->gsts, __ATOMIC_ACQUIRE) & GCMD_IRE;
}

/* Requests of the old format pass only when that is enabled, and never in x2APIC mode (5.1.4). */
static bool compatibility_allowed(IntelIommu *s, uint16_t sid)
{
    bool allowed = __atomic_load_n(&s->gsts, __ATOMIC_ACQUIRE) & GCMD_CFI &&
                   !(__atomic_load_n(&s->irq_table, __ATOMIC_ACQUIRE) & IRTA_EIME);

    if (!allowed) {
        vtd_fault(s, sid, VTD_FAULT_IR_COMPATIBILITY, 0, false);
    }
    return allowed;
}

static MemResult message_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    const VtdFunction *f = opaque;
    IntelIommu *s = f->iommu;
    uint32_t data = (uint32_t)val, handle = (uint32_t)(addr >> 5 & 0x7fff) | (uint32_t)(addr >> 2 & 1) << 15;
    Request r = {.sid = pci_requester_id(f->pci), .index = handle};
    ApicMessage msg;

    if (!remapping(s) || (!(addr & ADDRESS_FORMAT) && compatibility_allowed(s, r.sid))) {
        return as_store(s->dev.obj.machine->memory, APIC_DEFAULT_BASE + addr, 4, data, attrs);
    }
    if (!(addr & ADDRESS_FORMAT)) {
        return MEM_ACCESS_ERROR;
    }
    r.index += addr & ADDRESS_SHV ? data & 0xffff : 0;
    r.reserved = data >> 16 || (!(addr & ADDRESS_SHV) && data);
    if (!remap(s, &r, &msg)) {
        return MEM_ACCESS_ERROR;
    }
    apic_bus_send(s->board.apic_bus, &msg);
    return MEM_OK;
}

static MemResult message_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = UINT64_MAX;
    return MEM_DECODE_ERROR;
}

const MemOps vtd_message_ops = {.read = message_read, .write = message_write, .min_size = 4, .max_size = 4};

bool vtd_remap_ioapic(void *opaque, uint64_t entry, ApicMessage *msg)
{
    IntelIommu *s = opaque;
    Request r = {.sid = PC_IOAPIC_REQUESTER, .index = RTE_INDEX(entry)};

    if (!remapping(s)) {
        return true;
    }
    return entry & RTE_FORMAT ? remap(s, &r, msg) : compatibility_allowed(s, r.sid);
}
