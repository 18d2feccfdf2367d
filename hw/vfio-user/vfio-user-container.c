/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VfioContainerOps as vfio-user messages: the maps of a transaction are all sent, then all awaited.  The
 * transaction's lock is held meanwhile, so a server that keeps silent is left after a moment: then the
 * register access that caused the transaction waits at its end, without locks, and an error is the end of the
 * device.
 */
#include <errno.h>
#include <unistd.h>

#include "hw/vfio-user/vfio-user.h"

static VfioUserPci *of_container(VfioContainer *c)
{
    return (VfioUserPci *)((char *)c - offsetof(VfioUserPci, container));
}

static void user_begin(VfioContainer *c)
{
    VfioUserPci *dev = of_container(c);

    if (!dev->dma_batch) {
        dev->dma_batch = vfio_user_batch_new(dev);
        dev->dma_batch->dma = true;
        dev->dma_batch->batch.late = __atomic_load_n(&dev->late_dma, __ATOMIC_SEQ_CST) != 0;
    }
}

static int user_commit(VfioContainer *c)
{
    VfioUserPci *dev = of_container(c);
    VfioUserBatch *b = dev->dma_batch;
    int err;

    if (dev->starting) {
        return 0;
    }
    dev->dma_batch = NULL;
    err = proxy_batch_wait_brief(dev->proxy, &b->batch);
    if (err == EAGAIN) {
        vfio_user_batch_later(b);
        return 0;
    }
    c->refused += b->batch.errors > 1 ? b->batch.errors - 1 : 0;
    vfio_user_batch_free(b);
    return -err;
}

static bool on_page_borders(const VfioContainer *c, const VfioDmaMap *map)
{
    uint64_t page = c->pgsizes & -c->pgsizes;

    return !((map->iova | map->size | map->fd_offset) & (page - 1));
}

static int user_dma_map(VfioContainer *c, const VfioDmaMap *map)
{
    VfioUserPci *dev = of_container(c);
    bool direct =
        map->fd >= 0 && !dev->no_direct_dma && on_page_borders(c, map) && proxy_caps(dev->proxy)->max_msg_fds;
    WireDmaMap wire = {.flags = (map->writeonly ? 0 : WIRE_DMA_READABLE) |
                                (map->readonly ? 0 : WIRE_DMA_WRITEABLE),
                       .fd_offset = direct ? map->fd_offset : 0,
                       .address = map->iova,
                       .size = map->size};
    uint8_t body[WIRE_DMA_MAP_SIZE];
    struct iovec iov = {body, wire_dma_map_encode(body, &wire)};

    if (map->size > WIRE_MAX_DMA_SIZE) {
        return -ENOSPC;
    }
    proxy_batch_add(
        dev->proxy, &dev->dma_batch->batch,
        &(ProxyRequest){
            .command = WIRE_DMA_MAP, .iov = &iov, .iov_count = 1, .fds = &map->fd, .fd_count = direct});
    return 0;
}

static int user_dma_unmap(VfioContainer *c, uint64_t iova, uint64_t size)
{
    VfioUserPci *dev = of_container(c);
    WireDmaUnmap wire = {.address = iova, .size = size};
    uint8_t body[WIRE_DMA_UNMAP_SIZE];
    struct iovec iov = {body, wire_dma_unmap_encode(body, &wire)};

    proxy_batch_add(dev->proxy, &dev->dma_batch->batch,
                    &(ProxyRequest){.command = WIRE_DMA_UNMAP, .iov = &iov, .iov_count = 1});
    return 0;
}

static int user_dma_unmap_dirty(VfioContainer *c, uint64_t iova, uint64_t size, uint64_t page_size,
                                uint64_t *bitmap)
{
    return vfio_user_unmap_dirty(of_container(c), iova, size, page_size, bitmap);
}

static int user_dirty_tracking(VfioContainer *c, bool start)
{
    return vfio_user_dirty_tracking(of_container(c), start);
}

static int user_dirty_report(VfioContainer *c, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap)
{
    return vfio_user_dirty_report(of_container(c), iova, size, page_size, bitmap);
}

static int user_unmap_all(VfioContainer *c)
{
    VfioUserPci *dev = of_container(c);
    WireDmaUnmap wire = {.flags = WIRE_UNMAP_ALL};
    uint8_t body[WIRE_DMA_UNMAP_SIZE];
    struct iovec iov = {body, wire_dma_unmap_encode(body, &wire)};

    proxy_batch_add(dev->proxy, &dev->dma_batch->batch,
                    &(ProxyRequest){.command = WIRE_DMA_UNMAP, .iov = &iov, .iov_count = 1});
    return 0;
}

const VfioContainerOps vfio_user_container_ops = {
    .begin = user_begin,
    .commit = user_commit,
    .dma_map = user_dma_map,
    .dma_unmap = user_dma_unmap,
    .dma_unmap_dirty = user_dma_unmap_dirty,
    .unmap_all = user_unmap_all,
    .dirty_tracking = user_dirty_tracking,
    .dirty_report = user_dirty_report,
};
