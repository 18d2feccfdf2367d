/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The controller: what its files share.  nvme-ctrl.c has registers and life cycle, nvme-queue.c queues and
 * interrupts, nvme-dbbuf.c doorbells in memory, nvme-cmb.c the controller's own memory, nvme-prp.c and nvme-sgl.c data
 * pointers, nvme-admin.c, nvme-format.c, nvme-identify.c, nvme-features.c, nvme-log.c and nvme-io.c commands.
 *
 * Context: the home lock, all of it.
 */
#ifndef HW_NVME_NVME_H
#define HW_NVME_NVME_H

#include "block/block.h"
#include "core/trace.h"
#include "hw/nvme/nvme-spec.h"
#include "hw/pci/pci.h"

#define NVME_MAX_IOQPAIRS      128
#define NVME_MAX_QUEUES        (NVME_MAX_IOQPAIRS + 1)
#define NVME_MAX_VECTORS       256
#define NVME_QUEUE_ENTRIES     2048 /* largest I/O queue */
#define NVME_MAX_REQS          1024 /* commands in flight; more stay in their queues */
#define NVME_MAX_AERL          15
#define NVME_MAX_EVENTS        16
#define NVME_ERROR_LOG_ENTRIES 4
#define NVME_COUNTERS 5 /* of drives, in the SMART log */
#define NVME_MAX_NS            256
#define NVME_TEMPERATURE       323 /* kelvin */
#define NVME_LBA_FORMATS       3
#define NVME_CMB_MAX_MB        1024
#define NVME_BAR_SIZE          0x4000
#define NVME_MSIX_TABLE        0x2000
#define NVME_MSIX_PBA          0x3000

/* Internal result of a command handler: completion comes later. */
#define NVME_PENDING 0xffff
/* The command is remembered by its id elsewhere: the request can go, nothing is posted now. */
#define NVME_HELD 0xfffe

typedef struct Nvme Nvme;
typedef struct NvmeReq NvmeReq;

/* A namespace; nvme-ns.c. */
typedef struct NvmeNs {
    Nvme *ctrl;          /* NULL: not attached */
    BlockBackend *drive; /* NULL: none, not attached */
    uint32_t nsid;
    uint32_t block_size, physical_block_size; /* bytes */
    uint8_t lba_shift;
    uint64_t blocks;
    bool formatting;
    char *uuid;      /* property, or NULL */
    uint64_t eui64;  /* property; 0: none */
} NvmeNs;

typedef struct NvmeSq {
    uint64_t base;
    uint32_t entries, head, tail; /* entries 0: does not exist */
    uint32_t in_flight;           /* fetched, not completed */
    uint16_t cqid;
    uint32_t refused; /* value of the doorbell buffer that was an error; UINT32_MAX: none */
    bool deleting; /* a Delete I/O Submission Queue waits for in_flight to be 0 */
    uint16_t delete_cid;
} NvmeSq;

typedef struct NvmeCq {
    uint64_t base;
    uint32_t entries, head, tail;
    uint32_t in_flight; /* commands that will complete here: room is kept for them */
    uint32_t refused; /* as above */
    uint16_t vector;
    bool phase, irq_enabled;
    bool notify;    /* in the controller's notify list */
    uint16_t users; /* submission queues */
} NvmeCq;

typedef struct NvmeEvent {
    uint8_t type, info, log;
} NvmeEvent;

typedef struct NvmeErrorEntry {
    uint64_t count, lba;
    uint32_t nsid;
    uint16_t sqid, cid, status;
} NvmeErrorEntry;

/* A run of guest memory. */
typedef struct NvmeSeg {
    uint64_t addr, len;
} NvmeSeg;

/* A run that is mapped. */
typedef struct NvmeMap {
    MemRegion *region; /* NULL: in the controller memory buffer */
    void *host;
    uint64_t len;
} NvmeMap;

struct NvmeReq {
    NvmeReq *next;
    Nvme *n;
    NvmeNs *ns;          /* of an I/O command; commands end before it is detached */
    uint32_t generation; /* of the controller when fetched: an older one no longer completes */
    uint16_t sqid;
    uint16_t status; /* first error of several parts */
    uint32_t result; /* dword 0 of the completion */
    uint32_t parts;  /* block requests that are not done */
    NvmeCmd cmd;
    bool to_host; /* data goes from the controller to memory */
    uint64_t len; /* bytes of data */
    NvmeSeg *segs;
    unsigned seg_count, seg_room;
    NvmeMap *maps;
    struct iovec *iov;
    unsigned map_count, iov_count, map_room;
    void *bounce; /* len bytes: memory that cannot be mapped */
};

struct Nvme {
    PciDevice pci;
    /* properties */
    char *serial;
    uint32_t max_ioqpairs;
    uint16_t msix_qsize;
    uint8_t mdts, aerl;
    NvmeNs own;     /* of drive= */
    uint32_t cmb_size_mb;
    bool legacy_cmb;

    /* registers */
    uint64_t cap, asq, acq;
    uint32_t vs, cc, csts, aqa, intms;
    uint32_t cc_acted; /* value of CC that was acted on */
    uint64_t cmbmsc;
    uint32_t cmbsts;

    /* derived when enabled */
    uint32_t page_size;
    NvmeNs *ns[NVME_MAX_NS]; /* by nsid - 1; NULL: inactive */
    uint32_t ns_count;       /* largest nsid in use */
    uint32_t ns_changed[NVME_MAX_NS / 32]; /* bit an nsid - 1: the Changed Namespace List */

    NvmeSq sq[NVME_MAX_QUEUES];
    NvmeCq cq[NVME_MAX_QUEUES];
    uint32_t features[NVME_FEAT_COUNT];
    uint32_t vector_config[NVME_MAX_VECTORS];

    uint16_t aer_cids[NVME_MAX_AERL + 1];
    uint8_t aer_count;
    NvmeEvent events[NVME_MAX_EVENTS];
    uint8_t event_count;
    uint8_t event_masked; /* bit a type: reported, log page not read yet */
    NvmeErrorEntry errors[NVME_ERROR_LOG_ENTRIES];
    uint64_t error_count;
    bool shutting_down, stopping;
    uint32_t flushes; /* of the shutdown, not done */

    uint32_t generation;
    uint32_t in_flight; /* requests that are not free */
    NvmeReq *free_reqs;
    unsigned in_dma; /* inside a transfer that may come back to our own registers */
    unsigned batch;  /* depth: interrupts are held back */
    uint16_t notify[NVME_MAX_QUEUES];
    unsigned notify_count;
    unsigned next_sq; /* round robin of the bottom half */
    LoopBh *bh, *irq_bh;
    LoopPoller *poller;
    MemRegion *doorbells;
    uint64_t dbbuf_shadow, dbbuf_event; /* Doorbell Buffer Config's two pages; 0: off */
    unsigned top_qid;                   /* no I/O queue has a higher number */

    /* controller memory buffer; NULL: none */
    uint8_t *cmb;
    MemRegion *cmb_region;
    int cmb_fd;
    uint8_t *saved_cmb;
    uint32_t saved_cmb_len;
    uint8_t saved_formats[NVME_MAX_NS]; /* lba_shift by nsid - 1; 0: inactive */
    /* Bytes read, written; reads, writes; failures: by processes that had the controller before, and by all. */
    uint64_t counted_before[NVME_COUNTERS], saved_counters[NVME_COUNTERS];
};

extern TraceEvent nvme_trace[];
enum { NVME_TRACE_CMD, NVME_TRACE_COMPLETE, NVME_TRACE_ENABLE, NVME_TRACE_DISABLE };

static inline Nvme *nvme_of(PciDevice *dev)
{
    return (Nvme *)dev;
}

static inline bool nvme_ready(const Nvme *n)
{
    return n->csts & NVME_CSTS_RDY && !n->stopping && !(n->csts & NVME_CSTS_CFS);
}

/* --- nvme-ctrl.c --- */
/* The controller cannot go on (CSTS.CFS) until the host resets it. */
void nvme_fatal(Nvme *n, const char *why);
/* A request was freed: a disable or a shutdown may be waiting for the last. */
void nvme_req_gone(Nvme *n);

extern const PciModel nvme_model;
extern const DeviceModel nvme_ns_model;

/* --- nvme-ns.c --- */
/* Takes ns->drive for a namespace of n, with ns->nsid or (0) the first free id.  Home lock of n. */
bool nvme_ns_attach(Nvme *n, NvmeNs *ns, Device *user, GError **error);
void nvme_ns_detach(NvmeNs *ns);
/* A status; on success *ns is active. */
uint16_t nvme_ns_find(const Nvme *n, uint32_t nsid, NvmeNs **ns);
void nvme_ns_uuid(const NvmeNs *ns, uint8_t uuid[16]);

/* --- nvme-queue.c --- */
void nvme_sq_init(Nvme *n, unsigned qid, uint64_t base, uint32_t entries, uint16_t cqid);
void nvme_cq_init(Nvme *n, unsigned qid, uint64_t base, uint32_t entries, uint16_t vector, bool irq_enabled);
void nvme_queues_clear(Nvme *n);
void nvme_doorbell_write(Nvme *n, uint32_t offset, uint32_t val);
/* The driver or client left doorbell values in memory.  False: nothing new. */
bool nvme_doorbells_poll(Nvme *n);
void nvme_doorbells_rung(PciDevice *dev);
/* Fetches and carries out what is queued; from the bottom half. */
void nvme_process_all(Nvme *n);
/* Ends a command: posts its completion unless the controller was reset meanwhile, and frees the request. */
void nvme_complete(NvmeReq *req, uint16_t status);
/* Posts an entry to the admin completion queue for a command that is no longer a request. */
void nvme_post_admin(Nvme *n, uint16_t cid, uint32_t result, uint16_t status);
/* Entries that can be posted without touching those kept for commands in flight. */
uint32_t nvme_cq_room(const NvmeCq *cq);
/* Between begin and end interrupts are collected: one for each vector. */
void nvme_batch_begin(Nvme *n);
void nvme_batch_end(Nvme *n);
void nvme_notify_flush(Nvme *n);
/* Level of the INTx pin, when MSI-X is off. */
void nvme_update_pin(Nvme *n);

/* --- nvme-dbbuf.c: doorbells in the driver's memory (NVMe 1.4, 5.7 and annex B) --- */
/* Values of the doorbells 2 to 2 * top_qid + 1.  False: the memory is gone, and the buffer is given up. */
bool nvme_dbbuf_read(Nvme *n, uint32_t *values);
/* A queue begins anew: its doorbell and the value that is to be told are 0. */
void nvme_dbbuf_queue_init(Nvme *n, unsigned index);
/* The driver is to write the registers when it goes on. */
void nvme_dbbuf_arm(Nvme *n);
uint16_t nvme_doorbell_buffer(NvmeReq *req);

/* --- nvme-cmb.c --- */
bool nvme_cmb_init(Nvme *n, GError **error);
void nvme_cmb_cleanup(Nvme *n);
void nvme_cmb_reset(Nvme *n);
/* What log_smart() tells: see counted_before. */
void nvme_log_count(const Nvme *n, uint64_t counters[NVME_COUNTERS]);
void nvme_cmb_save(Nvme *n);
bool nvme_cmb_load(Nvme *n);
/* The host address of a range that is all in the buffer, or NULL. */
uint8_t *nvme_cmb_host(const Nvme *n, uint64_t addr, uint64_t len);
/* Whether some of a range is in it. */
bool nvme_cmb_touches(const Nvme *n, uint64_t addr, uint64_t len);
uint64_t nvme_cmbloc_read(void *opaque);
uint64_t nvme_cmbsz_read(void *opaque);
void nvme_cmbmsc_written(void *opaque, uint64_t old_val, uint64_t new_val);

/* --- nvme-format.c --- */
uint16_t nvme_format(NvmeReq *req);
/* The block sizes (log2) a namespace can be formatted with; their number. */
unsigned nvme_ns_formats(const NvmeNs *ns, uint8_t shifts[NVME_LBA_FORMATS]);
void nvme_ns_set_format(NvmeNs *ns, uint8_t lba_shift);

/* --- nvme-prp.c --- */
MemResult nvme_dma_read(Nvme *n, uint64_t addr, void *buf, uint64_t len);
MemResult nvme_dma_write(Nvme *n, uint64_t addr, const void *buf, uint64_t len);
/* Adds a run to req->segs. */
void nvme_seg_add(NvmeReq *req, uint64_t addr, uint64_t len);
/* Finds the memory of the command's data and makes it accessible: req->iov, of which req->bounce may be the only one. */
uint16_t nvme_data_map(NvmeReq *req, uint64_t len, bool to_host);
/* Ends that; a bounced read that succeeded is written to memory, which may fail. */
uint16_t nvme_data_unmap(NvmeReq *req, bool ok);
/* Transfers a buffer right away. */
uint16_t nvme_data_to_host(NvmeReq *req, const void *buf, uint64_t len);
uint16_t nvme_data_from_host(NvmeReq *req, void *buf, uint64_t len);

/* --- nvme-sgl.c --- */
/* req->segs from a command that has an SGL.  A status. */
uint16_t nvme_sgl_walk(NvmeReq *req, uint64_t len);

/* --- commands: each gives a status, NVME_PENDING or NVME_HELD --- */
uint16_t nvme_admin_execute(NvmeReq *req);
uint16_t nvme_io_execute(NvmeReq *req);
uint16_t nvme_identify(NvmeReq *req);
uint16_t nvme_get_features(NvmeReq *req);
uint16_t nvme_set_features(NvmeReq *req);
uint16_t nvme_get_log_page(NvmeReq *req);
void nvme_features_reset(Nvme *n);
/* True when writes may be kept in a volatile cache. */
bool nvme_write_cache_enabled(const Nvme *n);

/* --- nvme-log.c: events and errors --- */
void nvme_event_add(Nvme *n, uint8_t type, uint8_t info, uint8_t log);
/* Completes held Asynchronous Event Requests, as far as there are events and room. */
void nvme_events_deliver(Nvme *n);
void nvme_error_log_add(Nvme *n, const NvmeReq *req, uint16_t status);

#endif
