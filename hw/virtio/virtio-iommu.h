/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of virtio-iommu share.  Domains and endpoints change with the main loop's lock and `lock`; accesses of any
 * thread look at them with `lock`, under which nobody waits or calls out.
 */
#ifndef HW_VIRTIO_IOMMU_H
#define HW_VIRTIO_IOMMU_H

#include "core/memory-iommu.h"
#include "virtio-iommu-spec.h"
#include "virtio.h"

#define VIOMMU_QUEUE_EVENT 1u
#define VIOMMU_PAGE        4096u
#define VIOMMU_INPUT_END   ((UINT64_C(1) << 48) - 1)
#define VIOMMU_PROBE_SIZE  512u
#define VIOMMU_MAX_MAPS    (1u << 20) /* of all domains; what a guest can make us allocate */
#define VIOMMU_MAX_FAULTS  64u        /* nobody asked for yet */
#define VIOMMU_MAX_ENDPOINTS 65536u   /* requester ids */
#define VIOMMU_RECORD_LEN  32u        /* of a saved attachment or map */
#define VIOMMU_MSI_FIRST   0xfee00000ull
#define VIOMMU_MSI_SIZE    0x100000ull

typedef struct Viommu Viommu;

typedef struct ViommuMap {
    uint64_t first, last; /* addresses of the device */
    uint64_t phys;
    MemPerm perm;
} ViommuMap;

/* A domain exists while endpoints are attached to it. */
typedef struct ViommuDomain {
    uint32_t id;
    bool bypass;
    unsigned endpoints;
    GTree *maps; /* of ViommuMap *, which do not overlap */
} ViommuDomain;

/* A function behind the IOMMU. */
typedef struct ViommuEndpoint {
    Viommu *iommu;
    PciDevice *pci;
    MemRegion *root, *memory, *translated, *messages;
    AddressSpace *as;
    ViommuDomain *domain; /* NULL: not attached */
    bool in_batch;        /* mem_iommu_begin() was called */
} ViommuEndpoint;

struct Viommu {
    VirtioPci vp;
    bool boot_bypass; /* property */
    GPtrArray *endpoints; /* of ViommuEndpoint * */
    GHashTable *domains;  /* of ViommuDomain *, by id */
    unsigned map_count;
    uint32_t old_domains;   /* of states of version 1: how many there were, without what is in them */
    uint8_t *saved;         /* of states: records (viommu_save) */
    uint32_t saved_len;
    GMutex lock;
    uint8_t faults[VIOMMU_MAX_FAULTS][VIRTIO_IOMMU_FAULT_LEN]; /* with the lock */
    unsigned fault_first, fault_count;
};

/* --- virtio-iommu-domain.c --- */
void viommu_domains_start(Viommu *s);
void viommu_domains_stop(Viommu *s);
/* Nothing is attached any more; inside no batch. */
void viommu_detach_all(Viommu *s);
/* Requests: VIRTIO_IOMMU_S_*.  Followers are told in a batch that viommu_commit() ends. */
uint8_t viommu_attach(Viommu *s, uint32_t domain, uint32_t endpoint, bool bypass);
/* One endpoint; false: the domain is of the other kind. */
bool viommu_join(ViommuEndpoint *e, uint32_t domain, bool bypass);
uint8_t viommu_detach(Viommu *s, uint32_t domain, uint32_t endpoint);
uint8_t viommu_map(Viommu *s, uint32_t domain, const ViommuMap *map);
uint8_t viommu_unmap(Viommu *s, uint32_t domain, uint64_t first, uint64_t last);
void viommu_commit(Viommu *s);
bool viommu_has_endpoint(const Viommu *s, uint32_t id);
/* Plain memory or translated, after attachments or the configuration changed. */
void viommu_refresh(Viommu *s);
/* A function leaves its domain, if it has one. */
void viommu_leave(ViommuEndpoint *e);
extern const MemIommuOps viommu_ops; /* opaque is a ViommuEndpoint */
/* --- virtio-iommu-state.c --- */
/* Appends who is attached and what is mapped. */
void viommu_save(const Viommu *s, GByteArray *out);
/* In place of what there is; false: *error says what cannot be, and nothing is attached. */
bool viommu_load(Viommu *s, const uint8_t *data, size_t len, GError **error);

/* Any thread. */
void viommu_fault(Viommu *s, uint16_t endpoint, uint8_t reason, uint64_t addr, bool read);

#endif
