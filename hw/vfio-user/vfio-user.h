/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the socket back end share. */
#ifndef HW_VFIO_USER_VFIO_USER_H
#define HW_VFIO_USER_VFIO_USER_H

#include "core/error.h"
#include "hw/vfio-user/proxy.h"
#include "hw/vfio/vfio-pci-device.h"

typedef struct VfioUserPci {
    VfioPciDevice base;
    /* properties */
    char *socket_path;
    bool no_direct_dma, no_posted_writes;
    uint32_t msg_timeout; /* ms */
    ProxyCounters counters;

    Proxy *proxy;
    VfioContainer container;
    ProxyBatch dma_batch;
    bool mappable;         /* a region can be mapped: posted writes would be overtaken by accesses to it */
    GPtrArray *region_fds; /* of int, owned */
    bool connected;        /* start is over: a loss is an event */
    /* requests of the server that reach other devices' registers: served by the home loop, in order */
    GMutex deferred_lock;
    GQueue deferred; /* of WireMessage * */
    bool deferred_running;
    LoopBh *deferred_bh;
} VfioUserPci;

extern const VfioDeviceOps vfio_user_device_ops;
extern const VfioContainerOps vfio_user_container_ops;

static inline VfioUserPci *vfio_user_of_device(VfioDevice *vdev)
{
    return (VfioUserPci *)((char *)vdev - offsetof(VfioUserPci, base.vdev));
}

/* hw/vfio-user/vfio-user-dma.c: requests of the server. */
void vfio_user_dma_start(VfioUserPci *dev);
void vfio_user_dma_stop(VfioUserPci *dev);
/* ProxyClient.request */
void vfio_user_server_request(void *opaque, Proxy *p, const WireMessage *m);

#endif
