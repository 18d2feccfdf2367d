/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the socket back end share. */
#ifndef HW_VFIO_USER_VFIO_USER_H
#define HW_VFIO_USER_VFIO_USER_H

#include "core/error.h"
#include "core/thread-wait.h"
#include "hw/vfio-user/proxy.h"
#include "hw/vfio/vfio-pci-device.h"

typedef struct VfioUserPci VfioUserPci;

/* Requests whose answers are awaited after the locks of the access that caused them, or by nobody. */
typedef struct VfioUserBatch {
    MemAccessWait wait; /* owner: the device */
    ProxyBatch batch;
    VfioUserPci *dev;
    bool dma;   /* maps: one that fails is the end of the device */
    bool reset; /* holds up the machine's reset */
} VfioUserBatch;

/* Requests of the server that reach other devices' registers have a thread: it may wait for those. */
typedef struct VfioUserWorker {
    GMutex lock;
    GCond cond;
    GQueue queue; /* of WorkerItem * */
    bool busy, quit;
    GThread *thread;
    ThreadWait *wait; /* of the thread, for another process */
} VfioUserWorker;

/* A connection; the device has one, and a second one while it goes from a server to another. */
typedef struct VfioUserLink {
    VfioUserPci *dev;
    Proxy *proxy;
    ProxyCounters counters; /* while it is not the device's */
    int current;  /* atomic: its loss is the device's, its server's requests are served */
    guint sent;   /* bytes of the device's state that its server has in RESUMING */
} VfioUserLink;

/* See vfio-user-move.c. */
typedef struct VfioUserMove {
    VfioUserLink *next;   /* start takes it instead of connecting */
    VfioUserLink *left;   /* where stop left a connection that is still good */
    bool restarting;      /* stop is followed by start */
    bool keep;            /* stop does so */
    bool vacate;          /* start does without a server */
    bool arrived;         /* start connects although the machine still waits for its guest */
    bool let_go;          /* the server is another client's */
    GByteArray *far;      /* the server's state, as far as it gave it; NULL */
    GByteArray *own;      /* the device's, while it is without a server; NULL */
} VfioUserMove;

struct VfioUserPci {
    VfioPciDevice base;
    /* properties */
    VfioUserAddress socket;
    bool no_direct_dma, no_posted_writes, send_queued;
    uint32_t msg_timeout; /* ms */
    uint32_t poll_us;
    Object *iothread; /* or NULL */
    bool takeover;
    ProxyCounters counters;

    VfioUserLink *link;
    Proxy *proxy; /* of the link */
    VfioContainer container;
    VfioUserBatch *dma_batch; /* of the transaction */
    int late_dma;             /* batches of maps the server has not answered in time; atomic */
    bool overtakes;           /* accesses to mapped regions or doorbells would overtake posted writes */
    GPtrArray *region_fds;    /* of int, owned */
    bool starting;            /* the container's first maps are awaited by the start itself */
    bool connected;           /* start is over: a loss is an event */
    bool vacant;              /* started without a server */
    VfioUserMove move;
    VfioUserWorker worker;
};

extern const VfioDeviceOps vfio_user_device_ops;
extern const VfioContainerOps vfio_user_container_ops;

static inline VfioUserPci *vfio_user_of_device(VfioDevice *vdev)
{
    return (VfioUserPci *)((char *)vdev - offsetof(VfioUserPci, base.vdev));
}

/* hw/vfio-user/vfio-user-pci.c */
/* Connects to `address` and exchanges VERSION; no lock, which it waits without.  NULL with *error. */
VfioUserLink *vfio_user_link_new(VfioUserPci *dev, const VfioUserAddress *address, GError **error);
/* Hangs up; no thread uses it.  NULL is fine. */
void vfio_user_link_free(VfioUserLink *link);

/* hw/vfio-user/vfio-user-move.c */
extern const MoveOps vfio_user_move;
/* Forgets what a move left behind. */
void vfio_user_move_clear(VfioUserPci *dev);

/* hw/vfio-user/vfio-user-device.c: a device lives on until its last batch is over. */
VfioUserBatch *vfio_user_batch_new(VfioUserPci *dev);
void vfio_user_batch_free(VfioUserBatch *b);
/* Hands a batch over: to the register access in progress, which waits for it at its end, or to nobody. */
void vfio_user_batch_later(VfioUserBatch *b);

/* Sends and waits, without the locks of the device's and of the main loop; a positive errno.  reply: may be NULL. */
int vfio_user_call(VfioUserPci *dev, uint16_t command, const void *body, size_t len, WireMessage *reply);

/* hw/vfio-user/vfio-user-feature.c: entries of the tables */
int vfio_user_device_feature(VfioDevice *vdev, struct vfio_device_feature *feature, size_t size);
ssize_t vfio_user_migration_read(VfioDevice *vdev, void *data, size_t size);
ssize_t vfio_user_migration_write(VfioDevice *vdev, const void *data, size_t size);
/* The same over a connection that is not the device's; a positive errno. */
int vfio_user_link_write_state(VfioUserLink *link, const void *data, size_t size);
int vfio_user_link_set_state(VfioUserLink *link, uint32_t state);
int vfio_user_log_start(VfioDevice *vdev, uint64_t page_size, const VfioDmaRange *ranges, unsigned count);
int vfio_user_log_stop(VfioDevice *vdev);
int vfio_user_log_report(VfioDevice *vdev, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap);
/* VfioContainerOps: the container's tracking, of servers that know no logging of the device's own. */
int vfio_user_dirty_tracking(VfioUserPci *dev, bool on);
int vfio_user_dirty_report(VfioUserPci *dev, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap);
int vfio_user_unmap_dirty(VfioUserPci *dev, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap);

/* hw/vfio-user/vfio-user-dma.c: requests of the server. */
void vfio_user_dma_start(VfioUserPci *dev);
/* Main loop; the proxy is shut down. */
void vfio_user_dma_stop(VfioUserPci *dev);
/* ProxyClient.request */
void vfio_user_server_request(void *opaque, ProxyLink *link, const WireMessage *m);

#endif
