/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DMA_READ and DMA_WRITE of the server.  What is RAM is copied by whoever reads the socket, which takes no
 * lock. What is another device's registers may need locks that a thread waiting for this server holds: the
 * device's home loop serves it, and everything that comes after it until that is done.
 */
#include <errno.h>
#include <string.h>

#include "hw/vfio-user/vfio-user.h"

typedef struct Dma {
    WireDmaAccess access;
    bool write;
    uint8_t *data; /* read: where to; write: where from */
} Dma;

/* 0 or errno; EAGAIN: some of it is not RAM. */
static int dma_ram(VfioUserPci *dev, const Dma *dma)
{
    PciDevice *pci = &dev->base.pci;

    for (uint64_t done = 0; done < dma->access.count;) {
        uint64_t addr = dma->access.address + done, len = dma->access.count - done;
        MemRegion *region;
        void *host;

        host = pci_dma_map(pci, addr, &len, dma->write, &region);
        if (!host) {
            MemSection section;

            if (!as_lookup(pci->dma, addr, &section)) {
                return ENODEV;
            }
            return dma->write && section.readonly ? EPERM : EAGAIN;
        }
        if (dma->write) {
            memcpy(host, dma->data + done, len);
        } else {
            memcpy(dma->data + done, host, len);
        }
        pci_dma_unmap(pci, region, host, len, dma->write);
        done += len;
    }
    return 0;
}

static int dma_any(VfioUserPci *dev, const Dma *dma)
{
    PciDevice *pci = &dev->base.pci;
    MemResult result = dma->write ? pci_dma_write(pci, dma->access.address, dma->data, dma->access.count)
                                  : pci_dma_read(pci, dma->access.address, dma->data, dma->access.count);

    if (result & MEM_DECODE_ERROR) {
        return ENODEV;
    }
    return result & MEM_ACCESS_ERROR ? EPERM : result ? EFAULT : 0;
}

/* Carries out one request and answers it; false: it is not all RAM and `anywhere` is not allowed. */
static bool dma_serve(VfioUserPci *dev, Proxy *p, const WireMessage *m, bool anywhere)
{
    Dma dma = {.write = m->header.command == WIRE_DMA_WRITE};
    g_autofree uint8_t *bounce = NULL;
    uint8_t head[WIRE_DMA_ACCESS_SIZE];
    struct iovec iov[2];
    int err = dma.write ? wire_dma_write_decode(&dma.access, m->body, m->len, WIRE_MAX_DATA)
                        : wire_dma_read_decode(&dma.access, m->body, m->len, WIRE_MAX_DATA);

    if (!err && dma.access.address + dma.access.count < dma.access.address) {
        err = ENODEV;
    }
    if (!err) {
        bounce = dma.write ? NULL : g_malloc(dma.access.count ? dma.access.count : 1);
        dma.data = dma.write ? (uint8_t *)dma.access.data : bounce;
        err = anywhere ? dma_any(dev, &dma) : dma_ram(dev, &dma);
    }
    if (err == EAGAIN) {
        return false;
    }
    __atomic_fetch_add(&dev->counters.dma_served, 1, __ATOMIC_RELAXED);
    TRACE(&vfio_user_trace[VFIO_USER_TRACE_DMA],
          "%s: %s 0x%" G_GINT64_MODIFIER "x+0x%" G_GINT64_MODIFIER "x: %s", dev->base.pci.dev.obj.id,
          dma.write ? "write" : "read", dma.access.address, dma.access.count, err ? g_strerror(err) : "done");
    iov[0] = (struct iovec){head, wire_dma_access_encode(head, &dma.access)};
    iov[1] = (struct iovec){bounce, dma.write ? 0 : dma.access.count};
    proxy_reply(p, &m->header, err, iov, dma.write ? 1 : 2);
    return true;
}

static void deferred_run(void *opaque)
{
    VfioUserPci *dev = opaque;

    for (;;) {
        WireMessage *m;

        g_mutex_lock(&dev->deferred_lock);
        m = g_queue_pop_head(&dev->deferred);
        dev->deferred_running = m != NULL;
        g_mutex_unlock(&dev->deferred_lock);
        if (!m) {
            return;
        }
        if (dev->proxy) {
            dma_serve(dev, dev->proxy, m, true);
        }
        wire_message_clear(m);
        g_free(m);
    }
}

/* Bounded: a server has one request outstanding, or some. */
#define DEFERRED_MAX 64

static bool defer(VfioUserPci *dev, const WireMessage *m)
{
    WireMessage *copy = g_new0(WireMessage, 1);
    bool room;

    copy->header = m->header;
    copy->len = m->len;
    copy->body = malloc(m->len);
    g_mutex_lock(&dev->deferred_lock);
    room = copy->body && g_queue_get_length(&dev->deferred) < DEFERRED_MAX;
    if (room) {
        memcpy(copy->body, m->body, m->len);
        g_queue_push_tail(&dev->deferred, copy);
    }
    g_mutex_unlock(&dev->deferred_lock);
    if (room) {
        loop_bh_schedule(dev->deferred_bh);
    } else {
        wire_message_clear(copy);
        g_free(copy);
    }
    return room;
}

static bool something_deferred(VfioUserPci *dev)
{
    bool any;

    g_mutex_lock(&dev->deferred_lock);
    any = dev->deferred_running || !g_queue_is_empty(&dev->deferred);
    g_mutex_unlock(&dev->deferred_lock);
    return any;
}

void vfio_user_server_request(void *opaque, Proxy *p, const WireMessage *m)
{
    VfioUserPci *dev = opaque;

    if (m->header.command != WIRE_DMA_READ && m->header.command != WIRE_DMA_WRITE) {
        proxy_reply(p, &m->header, ENOSYS, NULL, 0);
        return;
    }
    if (!m->len) {
        proxy_reply(p, &m->header, EINVAL, NULL, 0);
        return;
    }
    if ((something_deferred(dev) || !dma_serve(dev, p, m, false)) && !defer(dev, m)) {
        proxy_reply(p, &m->header, EBUSY, NULL, 0);
    }
}

void vfio_user_dma_start(VfioUserPci *dev)
{
    g_mutex_init(&dev->deferred_lock);
    g_queue_init(&dev->deferred);
    dev->deferred_bh = loop_bh_new(dev->base.pci.dev.home, deferred_run, dev);
}

void vfio_user_dma_stop(VfioUserPci *dev)
{
    WireMessage *m;

    g_clear_pointer(&dev->deferred_bh, loop_bh_free);
    while ((m = g_queue_pop_head(&dev->deferred))) {
        wire_message_clear(m);
        g_free(m);
    }
    g_mutex_clear(&dev->deferred_lock);
}
