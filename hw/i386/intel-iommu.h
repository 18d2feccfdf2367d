/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of intel-iommu share.  Registers, invalidation and the functions' spaces belong to the main loop's
 * lock; translation and faults come from any thread and take `lock`, under which nobody waits or calls out.
 */
#ifndef HW_I386_INTEL_IOMMU_H
#define HW_I386_INTEL_IOMMU_H

#include "acpi-build.h"
#include "core/memory-iommu.h"
#include "hw/i386/pc.h"
#include "hw/intc/apic.h"
#include "hw/pci/pci.h"
#include "intel-iommu-regs.h"

#define INTEL_IOMMU_BASE 0xfed90000ull

typedef struct IntelIommu IntelIommu;

/* One page a function may reach, remembered until it is invalidated. */
typedef struct IotlbEntry {
    uint64_t iova, addr, size; /* size 0: unused */
    MemPerm perm;
    uint16_t sid, did;
} IotlbEntry;
#define IOTLB_ENTRIES 1024u

/* A function behind the IOMMU: its own address space. */
typedef struct VtdFunction {
    IntelIommu *iommu;
    PciDevice *pci;
    MemRegion *root;
    MemRegion *memory;     /* alias of all memory: not translated */
    MemRegion *translated; /* the IOMMU region */
    MemRegion *messages;   /* FEE00000h: interrupt requests */
    AddressSpace *as;
    /* what its notifiers have to be told of at the next wait descriptor */
    bool dirty;
    uint64_t dirty_first, dirty_last;
    uint32_t table_did; /* whose tables were looked at last; UINT32_MAX: nobody's */
} VtdFunction;

/* What a context entry says. */
typedef struct VtdDomain {
    uint64_t table; /* of the second level */
    unsigned levels;
    uint16_t did;
    bool pass; /* pass-through */
} VtdDomain;

struct IntelIommu {
    Device dev;
    /* properties */
    uint8_t aw_bits;
    bool caching_mode, device_iotlb, pt, scalable_mode;
    int intremap, eim; /* OnOffAuto */
    bool remap_on, eim_on;

    PcIommu board;
    MemRegion *region;
    GPtrArray *functions; /* of VtdFunction * */
    DeviceWake wake;
    LoopBh *events;       /* sends the messages below */
    LoopBh *queue_bh;     /* goes on with a long queue */

    uint32_t ver, gcmd, gsts, feaddr, feuaddr, fedata, fsts, fectl;
    uint32_t ics, iectl, iedata, ieaddr, ieuaddr;
    uint64_t cap, ecap, rtaddr, ccmd, iqh, iqt, iqa, irta, iva, iotlb_reg;
    uint64_t root_table, irq_table; /* as latched by SRTP and SIRTP; atomic */

    GMutex lock; /* guards the rest, and fsts, fectl */
    uint64_t frcd[2 * DMAR_FRCD_COUNT];
    uint32_t next_fault;
    bool fault_event, wait_event; /* messages to send */
    uint64_t generation;          /* of invalidations: what was read before one is not remembered after it */
    IotlbEntry iotlb[IOTLB_ENTRIES];
};

static inline bool vtd_translates(const IntelIommu *s)
{
    return __atomic_load_n(&s->gsts, __ATOMIC_ACQUIRE) & GCMD_TE;
}

/* --- intel-iommu-walk.c --- */
/* The context of a requester.  On a fault *fpd says whether it is to be recorded.  Any thread. */
VtdFault vtd_find_domain(IntelIommu *s, uint16_t sid, VtdDomain *out, bool *fpd);
/* The page around addr; out->iova and size are set in any case.  Any thread. */
VtdFault vtd_walk(IntelIommu *s, const VtdDomain *d, uint64_t addr, MemPerm want, MemTranslation *out);
/*
 * Tells a function's notifiers, or only `n`, what is mapped in [first, last] now.  Bounded whatever the tables are.  Main
 * loop, inside a batch.
 */
void vtd_sync(VtdFunction *f, MemIommuNotifier *n, uint64_t first, uint64_t last);
extern const MemIommuOps vtd_iommu_ops; /* opaque is a VtdFunction */
/* Size bytes of guest RAM, atomic by 8; false: not RAM.  Any thread. */
bool vtd_read_table(IntelIommu *s, uint64_t addr, uint64_t *words, unsigned count);

/* --- intel-iommu-inv.c; main loop --- */
void vtd_ccmd_written(IntelIommu *s);
void vtd_iotlb_written(IntelIommu *s);
/* The queue's tail moved, or it may go on. */
void vtd_queue_run(IntelIommu *s);
/* Everything that was remembered is forgotten, and every function's space is what the registers and tables say. */
void vtd_refresh(IntelIommu *s);

/* --- intel-iommu-fault.c; any thread --- */
void vtd_fault(IntelIommu *s, uint16_t sid, VtdFault reason, uint64_t info, bool read);
/* An error of the queue; main loop. */
void vtd_queue_error(IntelIommu *s, const char *what);
/* A wait descriptor asked for an interrupt; main loop. */
void vtd_wait_done(IntelIommu *s);
void vtd_fsts_written(IntelIommu *s, uint32_t cleared);
void vtd_fectl_written(IntelIommu *s);
void vtd_iectl_written(IntelIommu *s);
void vtd_frcd_written(IntelIommu *s);
void vtd_send_events(IntelIommu *s);

/* --- intel-iommu-irq.c; any thread --- */
extern const MemOps vtd_message_ops; /* opaque is a VtdFunction */
/* An IO-APIC's entry as a message; false: blocked. */
bool vtd_remap_ioapic(void *opaque, uint64_t entry, ApicMessage *msg);

#endif
