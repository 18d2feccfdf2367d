/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DMA_READ and DMA_WRITE of the server.  What is RAM is copied by whoever reads the socket, which takes no
 * lock.  What is another device's registers may take time and locks: a thread serves it, and everything that
 * comes after it until that is done.
 */
#include <errno.h>
#include <string.h>

#include "hw/vfio-user/vfio-user.h"

typedef struct Dma {
    WireDmaAccess access;
    bool write;
    uint8_t *data; /* read: where to; write: where from */
} Dma;

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

/*
 * What may not be reached (by a map, nothing was asked for yet): asks for one byte, so that an IOMMU in between
 * records the fault.  0: it may by now.
 */
static int dma_refused(VfioUserPci *dev, const Dma *dma, uint64_t done)
{
    Dma byte = {.access = {.address = dma->access.address + done, .count = 1},
                .write = dma->write,
                .data = dma->data + done};

    return dma_any(dev, &byte);
}

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
            int err = EAGAIN;

            if (!as_lookup(pci->dma, addr, &section)) {
                err = dma_refused(dev, dma, done);
            } else if (dma->write && section.readonly) {
                dma_refused(dev, dma, done);
                err = EPERM; /* also where a bus would drop it */
            }
            if (err) {
                return err;
            }
            done++;
            continue;
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

/* Carries out one request and answers it; false: it is not all RAM and `anywhere` is not allowed. */
static bool dma_serve(VfioUserPci *dev, ProxyLink *link, const WireMessage *m, bool anywhere)
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
    if (!err && !dma.access.count) {
        as_refuse(dev->base.pci.dma, dma.access.address, dma.write); /* what "dma_faults" asked for */
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
    proxy_reply(link, &m->header, err, iov, dma.write ? 1 : 2);
    return true;
}

/* --- what is not all RAM: a thread of its own, because other devices' registers may be slow --- */

typedef struct WorkerItem {
    ProxyLink *link;
    WireMessage message;
} WorkerItem;

static void worker_wait_begin(void *opaque, ThreadWait *wait)
{
    VfioUserWorker *w = opaque;

    g_mutex_lock(&w->lock);
    w->wait = wait;
    if (w->quit) {
        wait->cancel(wait);
    }
    g_mutex_unlock(&w->lock);
}

static void worker_wait_end(void *opaque, ThreadWait *wait)
{
    VfioUserWorker *w = opaque;

    g_mutex_lock(&w->lock);
    w->wait = NULL;
    g_mutex_unlock(&w->lock);
}

static const ThreadWaitHooks worker_hooks = {worker_wait_begin, worker_wait_end};

static void item_free(WorkerItem *item)
{
    wire_message_clear(&item->message);
    g_free(item);
}

/* The next request, waited for; NULL: the thread ends. */
static WorkerItem *worker_next(VfioUserWorker *w)
{
    WorkerItem *item;

    g_mutex_lock(&w->lock);
    w->busy = false;
    while (!w->quit && g_queue_is_empty(&w->queue)) {
        g_cond_wait(&w->cond, &w->lock);
    }
    item = w->quit ? NULL : g_queue_pop_head(&w->queue);
    w->busy = item != NULL;
    g_mutex_unlock(&w->lock);
    return item;
}

static gpointer worker_thread(gpointer opaque)
{
    VfioUserPci *dev = opaque;
    WorkerItem *item;

    thread_wait_set_hooks(&worker_hooks, &dev->worker);
    while ((item = worker_next(&dev->worker))) {
        dma_serve(dev, item->link, &item->message, true);
        item_free(item);
    }
    return NULL;
}

/* Bounded: a server has one request outstanding, or some. */
#define WORKER_MAX 64

static bool worker_add(VfioUserPci *dev, ProxyLink *link, const WireMessage *m)
{
    VfioUserWorker *w = &dev->worker;
    WorkerItem *item = g_new0(WorkerItem, 1);
    bool room;

    item->link = link;
    item->message.header = m->header;
    item->message.len = m->len;
    item->message.body = malloc(m->len);
    g_mutex_lock(&w->lock);
    w->thread = w->thread ? w->thread : g_thread_try_new("vfio-user DMA", worker_thread, dev, NULL);
    room = item->message.body && w->thread && !w->quit && g_queue_get_length(&w->queue) < WORKER_MAX;
    if (room) {
        memcpy(item->message.body, m->body, m->len);
        g_queue_push_tail(&w->queue, item);
        g_cond_signal(&w->cond);
    }
    g_mutex_unlock(&w->lock);
    if (!room) {
        item_free(item);
    }
    return room;
}

static bool worker_is_busy(VfioUserWorker *w)
{
    bool busy;

    g_mutex_lock(&w->lock);
    busy = w->busy || !g_queue_is_empty(&w->queue);
    g_mutex_unlock(&w->lock);
    return busy;
}

void vfio_user_server_request(void *opaque, ProxyLink *link, const WireMessage *m)
{
    VfioUserPci *dev = opaque;

    if (m->header.command != WIRE_DMA_READ && m->header.command != WIRE_DMA_WRITE) {
        proxy_reply(link, &m->header, ENOSYS, NULL, 0);
        return;
    }
    if (!m->len) {
        proxy_reply(link, &m->header, EINVAL, NULL, 0);
        return;
    }
    /* One after the other: what the server asked for first is done first. */
    if ((worker_is_busy(&dev->worker) || !dma_serve(dev, link, m, false)) && !worker_add(dev, link, m)) {
        proxy_reply(link, &m->header, EBUSY, NULL, 0);
    }
}

void vfio_user_dma_start(VfioUserPci *dev)
{
    g_mutex_init(&dev->worker.lock);
    g_cond_init(&dev->worker.cond);
    g_queue_init(&dev->worker.queue);
}

void vfio_user_dma_stop(VfioUserPci *dev)
{
    VfioUserWorker *w = &dev->worker;
    EventLoop *main_loop = dev->base.pci.dev.obj.machine->main_loop, *home = dev->base.pci.dev.home;
    unsigned main_depth, home_depth;
    WorkerItem *item;

    g_mutex_lock(&w->lock);
    w->quit = true;
    g_cond_signal(&w->cond);
    if (w->wait) {
        w->wait->cancel(w->wait);
    }
    g_mutex_unlock(&w->lock);
    if (w->thread) {
        /* It may want the locks to come to its end. */
        main_depth = loop_release(main_loop);
        home_depth = loop_release(home);
        g_thread_join(g_steal_pointer(&w->thread));
        loop_reacquire(home, home_depth);
        loop_reacquire(main_loop, main_depth);
    }
    while ((item = g_queue_pop_head(&w->queue))) {
        item_free(item);
    }
    g_cond_clear(&w->cond);
    g_mutex_clear(&w->lock);
}
