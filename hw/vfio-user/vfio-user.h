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

struct VfioUserPci {
    VfioPciDevice base;
    /* properties */
    VfioUserAddress socket;
    bool no_direct_dma, no_posted_writes, send_queued;
    uint32_t msg_timeout; /* ms */
    uint32_t poll_us;
    Object *iothread; /* or NULL */
    ProxyCounters counters;

    Proxy *proxy;
    VfioContainer container;
    VfioUserBatch *dma_batch; /* of the transaction */
    int late_dma;             /* batches of maps the server has not answered in time; atomic */
    bool overtakes;           /* accesses to mapped regions or doorbells would overtake posted writes */
    GPtrArray *region_fds;    /* of int, owned */
    bool starting;            /* the container's first maps are awaited by the start itself */
    bool connected;           /* start is over: a loss is an event */
    VfioUserWorker worker;
};

extern const VfioDeviceOps vfio_user_device_ops;
extern const VfioContainerOps vfio_user_container_ops;

static inline VfioUserPci *vfio_user_of_device(VfioDevice *vdev)
{
    return (VfioUserPci *)((char *)vdev - offsetof(VfioUserPci, base.vdev));
}

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
int vfio_user_log_start(VfioDevice *vdev, uint64_t page_size, const VfioDmaRange *ranges, unsigned count);
int vfio_user_log_stop(VfioDevice *vdev);
int vfio_user_log_report(VfioDevice *vdev, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap);
int vfio_user_unmap_dirty(VfioUserPci *dev, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap);

/* hw/vfio-user/vfio-user-dma.c: requests of the server. */
void vfio_user_dma_start(VfioUserPci *dev);
/* Main loop; the proxy is shut down. */
void vfio_user_dma_stop(VfioUserPci *dev);
/* ProxyClient.request */
void vfio_user_server_request(void *opaque, ProxyLink *link, const WireMessage *m);

#endif
