/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the x-vfio-user-server object share. */
#ifndef HW_REMOTE_VFU_SERVER_H
#define HW_REMOTE_VFU_SERVER_H

#include <libvfio-user.h>
#include <pthread.h>

#include "core/trace.h"
#include "hw/remote/remote.h"

typedef enum VfuServerState {
    VFU_SERVER_LISTENING,
    VFU_SERVER_CONNECTED,
    VFU_SERVER_ENDED, /* its only client has left (reuse=off) */
} VfuServerState;

/* What the client lets the device reach. */
typedef struct VfuDma {
    pthread_mutex_t lock;
    GTree *regions;     /* of VfuDmaRegion * by iova; under the lock; NULL: not set up */
    MemRegion *space;   /* finds them, below the slot's DMA root */
    GHashTable *by_memory; /* MemRegion * of what is mapped to its VfuDmaRegion *; under the lock */
    unsigned most;      /* mappings since heap was last given back */
    MemPins pins;       /* uses of all of them */
    bool awaited;       /* atomic: `idle` is to be signalled when they have ended */
    pthread_cond_t idle;
} VfuDma;

/* An eventfd that stands for doorbells index, index + (number of eventfds), ... of the device. */
typedef struct VfuBell {
    struct VfuServer *server;
    unsigned index;
    int fd;
    LoopFd *watch;
} VfuBell;

/* Clients take at least 16 fds of a reply, as those known do; each queue of common devices has one of its own. */
#define VFU_BELLS 8

/* Moving to another server; see vfu-migration.c. */
typedef struct VfuMigration {
    bool stopped;     /* its state was saved, or is to be loaded: the device rests */
    bool released;    /* its disks are another process's */
    bool ran;         /* it had them once */
    bool head_good;   /* the first part of what came was looked at */
    GByteArray *out;  /* for the client, from out_at on; NULL */
    guint out_at;
    GByteArray *in;   /* from the client; NULL */
} VfuMigration;

typedef struct VfuServer {
    Object obj;
    /* properties */
    char *device, *type, *path, *host, *port, *cid, *str;
    struct json_object *socket;
    Object *iothread;
    uint32_t poll_us;
    bool reuse;

    EventLoop *loop;      /* the device's home while it is served */
    EventLoop *own_loop;  /* with a thread of its own, when no iothread was given */
    RemoteSink sink;
    RemoteSlot *slot;
    PciDevice *dev;
    char *unix_path;      /* to remove at the end, or NULL */
    vfu_ctx_t *ctx;
    VfuServerState state; /* atomic: other objects look at it */
    LoopFd *watch;
    LoopBh *quiesced_bh;
    bool quiesce_pending; /* atomic: the client waits for the last use of its memory to end */
    VfuDma dma;
    VfuMigration migration;
    AddressSpace *bar_as[PCI_REGION_COUNT];
    uint32_t bar_shared;  /* bit a BAR: the client may map parts */
    VfuBell bells[VFU_BELLS];
    unsigned bell_count;
    int doorbell_memory; /* -1: none */
} VfuServer;

extern TraceEvent vfu_server_trace[];
enum { VFU_TRACE_ATTACHED, VFU_TRACE_HANGUP, VFU_TRACE_LOG };

/* Main loop: takes the lock of the object's loop, in the right order.  loop_unlock(s->loop) gives it back. */
void vfu_server_enter(VfuServer *s);

/* hw/remote/vfu-address.c: a listening (or handed over) socket, or -1; *unix_path is borrowed, NULL for other kinds. */
int vfu_server_listen(const VfuServer *s, const char **unix_path, GError **error);

/* hw/remote/vfu-conn.c: clients that come, ask and go.  With the lock of s->loop. */
bool vfu_server_conn_init(VfuServer *s, GError **error);
/* Nothing is handled any more. */
void vfu_server_conn_cleanup(VfuServer *s);
/* After that: returns when the device no longer uses the client's memory.  Main loop, without the lock of another loop. */
void vfu_server_wait_idle(VfuServer *s);

/* hw/remote/vfu-dma.c: the client's memory as the slot's DMA space. */
bool vfu_server_dma_init(VfuServer *s, GError **error);
void vfu_server_dma_cleanup(VfuServer *s);

/* hw/remote/vfu-device.c: config space, BARs, interrupts and reset of the served function. */
bool vfu_server_device_init(VfuServer *s, GError **error);
void vfu_server_device_cleanup(VfuServer *s);

/* A page of the client's memory was written through its mapping (MemWriteFn); opaque is the RemoteMachine. */
void vfu_server_memory_written(void *opaque, MemRegion *ram, uint64_t offset, uint64_t len);

/* hw/remote/vfu-migration.c: the state of the function, to the client and back.  With the lock of s->loop. */
bool vfu_server_migration_init(VfuServer *s, GError **error);
/* The client is gone: the device does not wait for it any more. */
void vfu_server_migration_reset(VfuServer *s);
/* A client is there. */
void vfu_server_migration_attach(VfuServer *s);

/* hw/remote/vfu-share.c: memory of the function that the client may map. */
/* The fd of BAR n's RAM, or -1; *areas (struct iovec) is the caller's, *offset that of the BAR's byte 0 in the fd. */
int vfu_server_bar_areas(VfuServer *s, unsigned n, GArray **areas, uint64_t *offset);
bool vfu_server_doorbells_init(VfuServer *s, GError **error);
/* Takes what the client signalled so far, whether it did or not. */
void vfu_server_doorbells_take(VfuServer *s);
/* The values in shared memory: bytes of them, or 0. */
size_t vfu_server_doorbell_bytes(const VfuServer *s);
void vfu_server_doorbells_cleanup(VfuServer *s);
/* The client is gone: all it could map is replaced. */
void vfu_server_share_renew(VfuServer *s);

#endif
