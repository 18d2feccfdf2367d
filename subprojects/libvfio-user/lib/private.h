/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the server library share.  One file per subject: ctx (life cycle), conn (attach), run (requests,
 * quiesce), region, irq, dma (mapping, scatter lists), dma-table, dma-message (DMA over the socket), dirty, migration, pci, pci-caps.
 *
 * Request handlers return 0 or a positive errno and act only after everything in the request was checked.
 */
#ifndef VFU_PRIVATE_H
#define VFU_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "libvfio-user.h"
#include "wire/bytes.h"
#include "wire/io.h"
#include "wire/wire.h"

#define VFU_EXPORT __attribute__((visibility("default")))

#define VFU_SERVER_MAX_FDS     8
#define VFU_OUTPUT_LIMIT       (4u << 20)  /* queued bytes of one connection */
#define VFU_BACKLOG_MESSAGES   4096u       /* commands that came while a DMA reply was awaited */
#define VFU_BACKLOG_BYTES      (8u << 20)
#define VFU_BACKLOG_FDS        512u        /* descriptors these brought */
#define VFU_DMA_TIMEOUT_MS     5000        /* for an answer, and for each MiB of a transfer, however many answers that takes */
#define VFU_DMA_ASYNC_MAX     256u        /* requests whose answer vfu_run_ctx() takes */
#define VFU_DMA_REFUSALS_MAX  16u         /* told and not answered */
#define VFU_MAX_CAPS           128u
#define VFU_BATCH_BYTES        (256u << 10) /* replies that may wait for company */

/* An answer being built: head, then data. */
typedef struct Reply {
    uint8_t head[64];
    size_t head_len;
    uint8_t small[64];          /* data of short answers */
    void *heap;                 /* data of long ones */
    const void *data;
    size_t data_len;
    int *fds;                   /* not owned, freed as memory */
    unsigned fd_count;
} Reply;

/* Room for size bytes of data in the reply (contents undefined); NULL: no memory. */
void *reply_reserve(Reply *r, size_t size);

typedef struct IoEventFd {
    uint64_t offset;
    uint32_t size, flags, type;
    int fd;
    uint64_t datamatch;
    int shadow_fd;
    uint64_t shadow_offset;
} IoEventFd;

typedef struct Region {
    uint64_t size;
    uint32_t flags;
    vfu_region_access_cb_t *cb;
    WireArea *areas;
    uint32_t area_count;
    int fd;
    uint64_t offset;
    IoEventFd *io_fds;          /* oldest first */
    uint32_t io_fd_count;
} Region;

#define IRQ_STATE_MASKED  1u
#define IRQ_STATE_PENDING 2u

typedef struct IrqType {
    uint32_t count;
    uint32_t flags;             /* VFU_IRQ_FLAG_* */
    int *fds;                   /* count of them, -1: none; NULL: none at all */
    uint8_t *states;            /* IRQ_STATE_* of each, with flags */
    uint32_t assigned;
    vfu_dev_irq_state_cb_t *state_cb;
} IrqType;

/* See wait.c. */
typedef struct PollWindow {
    uint64_t max_ns, window_ns;
    uint64_t idle_since;        /* when there was nothing, 0: not since the last message */
} PollWindow;

typedef struct SigbusGuard SigbusGuard;

/* A mapped range of the client's memory. */
typedef struct DmaRegion {
    vfu_dma_info_t info;
    uint64_t iova, size;
    int fd;                     /* -1: by messages */
    uint64_t fd_offset;
    bool writeable;
    SigbusGuard *guard;         /* of the mapping */
    uint8_t *dirty;             /* bitmap while logging */
    size_t dirty_size;
} DmaRegion;

/* What a lookup tells of a region. */
typedef struct DmaEntry {
    uint64_t iova, size;
    DmaRegion *region;
    bool writeable;
} DmaEntry;

#define DMA_CHUNK 32u
/* Some regions, sorted by iova; see dma-table.c.  Aligned so that an entry is in one cache line. */
typedef struct DmaChunk {
    uint64_t key[DMA_CHUNK];    /* iova */
    DmaEntry entry[DMA_CHUNK];
    uint32_t count;
} DmaChunk;

typedef struct DmaTable {
    DmaChunk **chunk;           /* sorted, none is empty */
    uint64_t *first;            /* the first key of each */
    size_t chunk_count, chunk_room;
    uint64_t base;              /* where the first piece of the index begins */
    unsigned shift;             /* a piece is 1 << shift bytes */
    size_t pieces;
    uint32_t *index;            /* the last chunk that begins at or before the piece did when the index was made */
    size_t region_count;
} DmaTable;

struct dma_sg {
    uint64_t region_base;
    DmaRegion *region;
    uint64_t length;
    uint64_t offset;            /* in the region */
    bool writeable;
};

/* A DMA_READ or DMA_WRITE on its way. */
typedef struct DmaMessage {
    uint16_t id;
    unsigned command;
    WireDmaAccess access;
    uint8_t *data;              /* the caller's, access.count bytes */
    uint32_t sent;              /* bytes of the message */
    uint64_t since;             /* of stats_begin() */
} DmaMessage;

typedef struct DmaRequest DmaRequest;

typedef struct Dma {
    bool enabled;
    size_t max_regions;
    vfu_dma_register_cb_t *register_cb;
    vfu_dma_unregister_cb_t *unregister_cb;
    DmaTable table;
    bool logging;
    uint64_t log_page_size;
    uint64_t log_bytes;         /* of all bitmaps */
    pthread_mutex_t message_lock; /* one message to the client at a time */
    uint16_t message_id;
    uint32_t stale_replies;     /* of requests given up after the timeout */
    uint32_t refusals;          /* told, and not answered yet: on the twin */
    PollWindow poll;            /* of waits for replies */
    DmaRequest *requests;       /* of vfu_sgl_read_async() and vfu_sgl_write_async(), oldest first */
    uint32_t request_count;
    uint32_t ended_count;       /* of them, whose callback is due */
} Dma;

typedef struct Capability {
    uint16_t id;
    uint16_t offset, size;
    uint32_t flags;
} Capability;

typedef struct Pci {
    vfu_pci_config_space_t *space;
    size_t space_size;
    vfu_pci_type_t type;
    Capability caps[VFU_MAX_CAPS], ext_caps[VFU_MAX_CAPS];
    uint32_t cap_count, ext_cap_count;
} Pci;

/* The data of the version 1 region. */
typedef struct MigrationWindow {
    uint8_t *data;              /* NULL: no such region */
    size_t size;
    size_t filled;              /* bytes the device gave */
    bool handed_out;            /* and the client has taken */
} MigrationWindow;

typedef struct Migration {
    bool enabled;
    vfu_migration_callbacks_t cb;
    uint32_t state;             /* WIRE_STATE_* */
    MigrationWindow window;
} Migration;

/* A command that was read while a reply was awaited. */
typedef struct Backlog {
    struct Backlog *next;
    WireMessage message;
} Backlog;

enum ConnState {
    CONN_NONE,
    CONN_NEGOTIATING,
    CONN_ATTACHED,
    CONN_LOST,                  /* broken, not yet torn down */
};

enum PendingQuiesce {
    PENDING_NONE,
    PENDING_MESSAGE,
    PENDING_TEARDOWN,
};

struct vfu_ctx {
    void *pvt;
    bool nb, realized;
    char *path;
    int listen_fd;              /* -1: a connected fd was handed over */
    int handed_fd;              /* that fd until it is attached, -1 */
    int handed_out_fd;          /* where output goes if that is a pair, -1 */
    int ready_fd;               /* stands in the poll fd for files, which are always ready, -1 */
    int epoll_fd;               /* NB: what the user polls */
    int epoll_watched;          /* fd in it, -1 */
    int epoll_twin;             /* the twin's fd while it is in it too, -1 */
    uint32_t epoll_twin_events;
    uint32_t epoll_events;
    vfu_log_fn_t *log;
    int log_level;

    enum ConnState conn;
    bool passes_fds;            /* the connection's socket does */
    bool hides_hang_up;         /* a client that is gone does not wake who waits to send: vsock */
    WireStream *stream, *twin;
    WireCaps client;
    Backlog *backlog, **backlog_tail;
    uint32_t backlog_count;
    size_t backlog_bytes;
    uint32_t backlog_fds;

    vfu_device_quiesce_cb_t *quiesce_cb;
    enum PendingQuiesce pending;
    WireMessage pending_message;
    uint64_t pending_since;     /* of stats_begin() */

    PollWindow poll;
    bool running;               /* in vfu_run_ctx() */
    uint32_t batch_max, batched; /* replies that may wait for company, and that do */
    bool timed;                 /* requests are; set by any thread */
    vfu_ctx_stats_t stats;

    vfu_reset_cb_t *reset_cb;
    Region regions[VFU_PCI_DEV_NUM_REGIONS];
    pthread_mutex_t irq_lock;   /* irqs[].fds */
    IrqType irqs[VFU_DEV_NUM_IRQS];
    int unmask_fd;              /* eventfd with which the client unmasks INTx, -1 */
    Dma dma;
    Pci pci;
    Migration migration;
};

/* Sets errno and returns -1. */
int vfu_fail(int err);

/* ---- ctx ---- */
/* Brings the poll fd in line with what the context waits for; 0, or an errno (logged): it may miss something. */
int ctx_update_poll(vfu_ctx_t *ctx);

/* ---- transport ---- */
/* A listening socket, or -1. */
int transport_listen(vfu_trans_t trans, const char *address);
/* Duplicates of standard input and output; 0 or -1. */
int transport_take_stdio(int fds[2]);
/* A client's socket, or -1; nb: EAGAIN when there is none. */
int transport_accept(int listen_fd, bool nb);
/* Prepares a client's socket; its family. */
int transport_set_up(int fd);

/* ---- wait ---- */
uint64_t wait_now_ns(void);
/* The next message if it comes within the polling window; EAGAIN otherwise. */
int wait_poll(PollWindow *w, WireStream *s, WireMessage *m);
/* The next message of the client; sleeps. */
int wait_message(vfu_ctx_t *ctx, WireMessage *m);

/* ---- stats ---- */
/* For counters with several writers. */
void stats_count(uint64_t *counter, uint64_t n);
void stats_received(vfu_ctx_t *ctx, const WireMessage *m);
/* When a request begins: 0 unless somebody wants to know. */
uint64_t stats_begin(const vfu_ctx_t *ctx);
/* since: of stats_begin(). */
void stats_command(vfu_ctx_t *ctx, unsigned command, uint64_t bytes, uint64_t since, bool failed);

/* ---- conn ---- */
/* Sends a reply to h, or the bare error when err is not 0.  0, or an errno that means a lost connection. */
int conn_reply(vfu_ctx_t *ctx, const WireHeader *h, int err, const Reply *r);
/* Sends what waits: 0, EAGAIN (NB), EINTR, or an errno that means a lost connection. */
int conn_flush(vfu_ctx_t *ctx);
/* Frees streams, backlog and pending message; the context waits for the next client. */
void conn_close(vfu_ctx_t *ctx);
/* Keeps a command for later; ENOMEM, or ENOBUFS over the limit. */
int conn_backlog_add(vfu_ctx_t *ctx, WireMessage *m);

/* ---- run ---- */
/* Everything that ends with a connection: DMA, device reset, interrupts, sockets. */
void run_teardown(vfu_ctx_t *ctx);

/* ---- region ---- */
int region_handle_info(vfu_ctx_t *ctx, WireMessage *m, Reply *r);
int region_handle_io_fds(vfu_ctx_t *ctx, WireMessage *m, Reply *r);
int region_handle_read(vfu_ctx_t *ctx, WireMessage *m, Reply *r);
int region_handle_write(vfu_ctx_t *ctx, WireMessage *m, Reply *r);
int region_handle_write_multi(vfu_ctx_t *ctx, WireMessage *m, Reply *r);
void region_clear(Region *region);

/* ---- irq ---- */
int irq_handle_info(vfu_ctx_t *ctx, WireMessage *m, Reply *r);
int irq_handle_set(vfu_ctx_t *ctx, WireMessage *m, Reply *r);
void irq_release_all(vfu_ctx_t *ctx);
/* Frees what irq_release_all() leaves for the next client. */
void irq_free(vfu_ctx_t *ctx);
/* The eventfd with which the client unmasks INTx, or -1; and looking whether it did. */
int irq_unmask_fd(const vfu_ctx_t *ctx);
void irq_check_unmask_fd(vfu_ctx_t *ctx);

/* ---- dma ---- */
int dma_handle_map(vfu_ctx_t *ctx, WireMessage *m, Reply *r);
int dma_handle_unmap(vfu_ctx_t *ctx, WireMessage *m, Reply *r);
void dma_unmap_all(vfu_ctx_t *ctx);
void dma_table_free(DmaTable *t);
/* The region that contains iova, or NULL. */
DmaRegion *dma_table_find(const DmaTable *t, uint64_t iova);
/* The same, with what is known of it; false: there is none. */
bool dma_table_lookup(const DmaTable *t, uint64_t iova, DmaEntry *e);
/* The first region that begins at or behind iova, or NULL. */
DmaRegion *dma_table_next(const DmaTable *t, uint64_t iova);
/* The region overlaps no other; ENOMEM. */
int dma_table_insert(DmaTable *t, DmaRegion *region);
void dma_table_remove(DmaTable *t, const DmaRegion *region);
/* Calls fn for each region in order of address; stops at and returns the first result that is not 0. */
int dma_table_walk(DmaTable *t, int (*fn)(DmaRegion *region, void *opaque), void *opaque);

/* ---- dma-message; dma.message_lock is held ---- */
/* Where requests to the client go. */
WireStream *dma_message_stream(const vfu_ctx_t *ctx);
/* Asks for as much of [iova, +length) as one message carries; 0, or an errno: the connection is lost. */
int dma_message_send(vfu_ctx_t *ctx, DmaMessage *x, uint64_t iova, uint64_t length, uint8_t *data, bool is_write);
bool dma_message_answered_by(const DmaMessage *x, const WireHeader *h);
/* The answer's outcome, its data copied; frees the answer. */
int dma_message_finish(vfu_ctx_t *ctx, const DmaMessage *x, WireMessage *m);
/*
 * What came on s and is not the answer awaited: a command is kept for vfu_run_ctx(), an answer to vfu_sgl_read_async()
 * is taken, one that was given up is dropped.  An errno: the connection is lost.
 */
int dma_put_aside(vfu_ctx_t *ctx, WireStream *s, WireMessage *m);

/* ---- dma-async ---- */
/* Takes an answer to one of the requests; false: it is none. */
bool dma_async_take(vfu_ctx_t *ctx, WireMessage *m);
/*
 * Takes the answers that vfu_run_ctx() does not find among the client's commands (those on the twin, or all while it
 * quiesces), and calls the callbacks that are due; 0, or an errno: the connection is lost.
 */
int dma_async_run(vfu_ctx_t *ctx);
/* Ends every request with ENOTCONN. */
void dma_async_abort(vfu_ctx_t *ctx);

/* ---- dirty ---- */
void dirty_mark(vfu_ctx_t *ctx, DmaRegion *region, uint64_t offset, uint64_t length);
/* A bitmap for a region while logging is on; ENOMEM, EINVAL (page larger than region). */
int dirty_region_start(vfu_ctx_t *ctx, DmaRegion *region);
/* Frees a region's bitmap. */
void dirty_region_stop(vfu_ctx_t *ctx, DmaRegion *region);
int dirty_log_start(vfu_ctx_t *ctx, uint64_t page_size);
void dirty_log_stop(vfu_ctx_t *ctx);
int dirty_report(vfu_ctx_t *ctx, uint64_t iova, uint64_t length, uint64_t page_size, uint8_t *bitmap, size_t size);
int dirty_handle_legacy(vfu_ctx_t *ctx, WireMessage *m, Reply *r);

/* ---- migration ---- */
int migration_handle_feature(vfu_ctx_t *ctx, WireMessage *m, Reply *r);
int migration_handle_read(vfu_ctx_t *ctx, WireMessage *m, Reply *r);
int migration_handle_write(vfu_ctx_t *ctx, WireMessage *m, Reply *r);
/* May this command run in the present state? */
bool migration_allows(const vfu_ctx_t *ctx, unsigned command);
/* Walks to a WIRE_STATE_*; EINVAL: no way; a step that fails leaves the device in the last good state. */
int migration_go_to(vfu_ctx_t *ctx, uint32_t target);

/* ---- migration-region ---- */
/* 0: there is none. */
uint64_t migration_region_size(const vfu_ctx_t *ctx);
/* An access inside the region. */
int migration_region_access(vfu_ctx_t *ctx, const WireRegionAccess *a, uint8_t *buf, bool is_write);
bool migration_region_sets_state(const vfu_ctx_t *ctx, const WireRegionAccess *a);
/* Forgets data that was not taken. */
void migration_region_reset(vfu_ctx_t *ctx);

/* ---- sigbus ---- */
/* Watches a mapping until sigbus_unguard(); NULL: no memory. */
SigbusGuard *sigbus_guard(vfu_ctx_t *ctx, const vfu_dma_info_t *info);
void sigbus_unguard(SigbusGuard *g);

/* ---- pci ---- */
/* 0, or an errno. */
int pci_realize(vfu_ctx_t *ctx);
/* An access of the client to config space: count, or -1 with errno. */
ssize_t pci_config_access(vfu_ctx_t *ctx, uint8_t *buf, size_t count, uint64_t offset, bool is_write);
/* Does this write to config space touch the function level reset bit? */
bool pci_write_may_reset(vfu_ctx_t *ctx, const WireRegionAccess *a);
const Capability *pci_capability_at(const vfu_ctx_t *ctx, uint64_t offset);
/* Writes the part [offset, offset + count) of a capability, all of it inside: 0 or an errno. */
int pci_capability_write(vfu_ctx_t *ctx, const Capability *cap, const uint8_t *buf, size_t count, uint64_t offset);

#endif
