/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the x-vfio-user-server object share. */
#ifndef HW_REMOTE_VFU_SERVER_H
#define HW_REMOTE_VFU_SERVER_H

#include <libvfio-user.h>

#include "hw/remote/remote.h"

typedef enum VfuServerState {
    VFU_SERVER_LISTENING,
    VFU_SERVER_CONNECTED,
} VfuServerState;

typedef struct VfuServer {
    Object obj;
    /* properties */
    char *type, *path, *device;
    struct json_object *socket;

    RemoteSink sink;
    RemoteSlot *slot;
    PciDevice *dev;
    vfu_ctx_t *ctx;
    VfuServerState state;
    LoopFd *watch;
    int watched_fd;
    LoopBh *run_bh;              /* go on with requests that are there without a new wake-up of the fd */
    Timer *quiesce_timer;        /* looks whether the device has let go of the client's memory */
    bool quiesce_pending;
    GHashTable *dma_regions;     /* uint64_t iova -> VfuDmaRegion */
    AddressSpace *bar_as[PCI_REGION_COUNT];
} VfuServer;

/* hw/remote/vfu-dma.c: the client's memory as regions of the slot's DMA space. */
bool vfu_server_dma_init(VfuServer *s, GError **error);
void vfu_server_dma_cleanup(VfuServer *s);
/* as_map()s of the client's memory that are still open. */
unsigned vfu_server_dma_pins(VfuServer *s);

/* hw/remote/vfu-device.c: config space, BARs, interrupts and reset of the served function. */
bool vfu_server_device_init(VfuServer *s, GError **error);
void vfu_server_device_cleanup(VfuServer *s);

#endif
