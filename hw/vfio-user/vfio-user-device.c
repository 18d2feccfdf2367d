/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VfioDeviceOps as vfio-user messages: every reply is checked by the codec before it is believed. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "hw/vfio-user/vfio-user.h"

#define REGION_INFO_FIRST_ARGSZ 1024u
#define IO_FDS_FIRST_ARGSZ      4096u

/* --- waiting without locks --- */

/* Sends and waits; the locks of the device's and of the main loop are given up meanwhile. */
static int call_request(VfioUserPci *dev, const ProxyRequest *req, WireMessage *reply)
{
    EventLoop *home = dev->base.pci.dev.home, *main_loop = dev->base.pci.dev.obj.machine->main_loop;
    unsigned main_depth = loop_release(main_loop), home_depth = loop_release(home);
    int err = proxy_call(dev->proxy, req, reply);

    loop_reacquire(home, home_depth);
    loop_reacquire(main_loop, main_depth);
    return err;
}

int vfio_user_call(VfioUserPci *dev, uint16_t command, const void *body, size_t len, WireMessage *reply)
{
    struct iovec iov = {(void *)body, len};

    return call_request(dev, &(ProxyRequest){.command = command, .iov = &iov, .iov_count = len ? 1 : 0},
                        reply);
}

VfioUserBatch *vfio_user_batch_new(VfioUserPci *dev)
{
    VfioUserBatch *b = g_new0(VfioUserBatch, 1);

    proxy_batch_init(&b->batch);
    b->dev = dev;
    b->wait.owner = dev;
    vfio_pci_enter(&dev->base);
    return b;
}

void vfio_user_batch_free(VfioUserBatch *b)
{
    VfioUserPci *dev = b->dev;

    g_free(b);
    vfio_pci_leave(&dev->base);
}

static void batch_over(VfioUserBatch *b, int err)
{
    VfioUserPci *dev = b->dev;

    if (b->dma) {
        __atomic_fetch_sub(&dev->late_dma, 1, __ATOMIC_SEQ_CST);
    }
    if (err && err != ENOTCONN && err != ECANCELED) {
        guest_error(&dev->base.pci.dev, "the server's answer: %s", g_strerror(err));
        if (b->dma && err != ETIMEDOUT) {
            proxy_fail(dev->proxy, "the server refused a DMA map: %s", g_strerror(err));
        }
    }
    if (b->reset) {
        machine_reset_release(dev->base.pci.dev.obj.machine);
    }
    vfio_user_batch_free(b);
}

static void batch_wait(MemAccessWait *wait)
{
    VfioUserBatch *b = (VfioUserBatch *)wait;

    batch_over(b, proxy_batch_wait(b->dev->proxy, &b->batch));
}

static void batch_done(ProxyBatch *batch, int error)
{
    batch_over((VfioUserBatch *)((char *)batch - offsetof(VfioUserBatch, batch)), error);
}

void vfio_user_batch_later(VfioUserBatch *b)
{
    b->wait.wait = batch_wait;
    if (b->dma) {
        __atomic_fetch_add(&b->dev->late_dma, 1, __ATOMIC_SEQ_CST);
    }
    if (!mem_access_add_wait(&b->wait)) {
        proxy_batch_leave(b->dev->proxy, &b->batch, batch_done);
    }
}

/*
 * A request whose answer tells nothing but that it was carried out.  What the device is asked later comes
 * behind it, so that its answer is only waited for before the guest goes on: mapped regions and doorbells
 * know no such order.
 */
static int command(VfioUserPci *dev, const ProxyRequest *req)
{
    VfioUserBatch *b;

    if (!dev->connected) {
        return call_request(dev, req, NULL);
    }
    b = (VfioUserBatch *)mem_access_find_wait(dev);
    if (b && !b->dma) {
        proxy_batch_add(dev->proxy, &b->batch, req);
        return 0;
    }
    b = vfio_user_batch_new(dev);
    b->reset = req->command == WIRE_RESET;
    if (b->reset) {
        machine_reset_hold(dev->base.pci.dev.obj.machine);
    }
    proxy_batch_add(dev->proxy, &b->batch, req);
    vfio_user_batch_later(b);
    return 0;
}

static int user_get_info(VfioDevice *vdev, struct vfio_device_info *info)
{
    VfioUserPci *dev = vfio_user_of_device(vdev);
    uint8_t body[WIRE_INFO_SIZE];
    WireInfo wire = {0};
    WireMessage reply;
    int err = vfio_user_call(dev, WIRE_GET_INFO, body, wire_info_encode(body, &wire), &reply);

    if (err) {
        return -err;
    }
    err = wire_info_decode_reply(&wire, reply.body, reply.len);
    wire_message_clear(&reply);
    info->flags = wire.flags;
    info->num_regions = wire.num_regions;
    info->num_irqs = wire.num_irqs;
    return err ? -EPROTO : 0;
}

/* --- regions --- */

static int region_areas(const WireRegionInfo *wire, const WireMessage *reply, VfioRegionInfo *info)
{
    g_autofree WireArea *areas = g_new(WireArea, WIRE_MAX_AREAS);
    uint32_t count = WIRE_MAX_AREAS;
    bool found = false;

    if (wire_region_sparse_decode(wire, reply->body, reply->len, areas, &count, &found)) {
        return EPROTO;
    }
    if (!found) {
        return 0;
    }
    info->areas = g_new(VfioMmapArea, count + 1);
    info->area_count = count;
    for (uint32_t i = 0; i < count; i++) {
        info->areas[i] = (VfioMmapArea){areas[i].offset, areas[i].size};
    }
    return 0;
}

/* Asks with room for `argsz` bytes; *needed is what a full reply takes. */
static int ask_region_info(VfioUserPci *dev, unsigned index, uint32_t argsz, WireRegionInfo *wire,
                           WireMessage *reply)
{
    uint8_t body[WIRE_REGION_INFO_SIZE];
    int err;

    *wire = (WireRegionInfo){.argsz = argsz, .index = index};
    err = vfio_user_call(dev, WIRE_GET_REGION_INFO, body, wire_region_info_encode(body, wire), reply);
    if (err) {
        return err;
    }
    if (wire_region_info_decode(wire, reply->body, reply->len) || wire->index != index) {
        wire_message_clear(reply);
        return EPROTO;
    }
    return 0;
}

static int user_get_region_info(VfioDevice *vdev, unsigned index, VfioRegionInfo *info)
{
    VfioUserPci *dev = vfio_user_of_device(vdev);
    uint32_t limit = (uint32_t)wire_region_info_sparse_size(WIRE_MAX_AREAS);
    WireRegionInfo wire;
    WireMessage reply;
    int err = ask_region_info(dev, index, REGION_INFO_FIRST_ARGSZ, &wire, &reply);

    if (!err && wire.argsz > REGION_INFO_FIRST_ARGSZ) {
        uint32_t needed = wire.argsz;

        wire_message_clear(&reply);
        err = needed > limit ? EPROTO : ask_region_info(dev, index, needed, &wire, &reply);
    }
    if (err) {
        return -err;
    }
    *info = (VfioRegionInfo){.flags = wire.flags, .size = wire.size, .fd_offset = wire.offset, .fd = -1};
    err = region_areas(&wire, &reply, info);
    if (!err && (wire.flags & WIRE_REGION_MMAP) && reply.fd_count) {
        info->fd = reply.fds[0];
        reply.fds[0] = -1;
        g_ptr_array_add(dev->region_fds, GINT_TO_POINTER(info->fd));
        dev->overtakes |= !dev->base.no_mmap && index < PCI_BAR_COUNT;
    }
    wire_message_clear(&reply);
    return -err;
}

/* An fd of a message, kept until the device stops; -1: none, or not what the server may hand us here. */
static int keep_fd(VfioUserPci *dev, const WireMessage *m, uint32_t index)
{
    int fd;

    if (index >= m->fd_count || m->fds[index] < 0) {
        return -1;
    }
    fd = fcntl(m->fds[index], F_DUPFD_CLOEXEC, 0);
    if (fd >= 0) {
        g_ptr_array_add(dev->region_fds, GINT_TO_POINTER(fd));
    }
    return fd;
}

/* A guest's write to anything else could hang, or worse. */
static bool fd_is_eventfd(int fd)
{
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
    g_autofree char *target = g_file_read_link(link, NULL);

    return target && !strcmp(target, "anon_inode:[eventfd]");
}

/* Entries share fds: each is kept once. */
static int keep_once(VfioUserPci *dev, const WireMessage *m, int *kept, uint32_t index)
{
    if (index >= m->fd_count) {
        return -1;
    }
    if (kept[index] < 0) {
        kept[index] = keep_fd(dev, m, index);
    }
    return kept[index];
}

static int ask_io_fds(VfioUserPci *dev, unsigned index, uint32_t argsz, WireIoFds *wire, uint32_t *entries,
                      WireMessage *reply)
{
    uint8_t body[WIRE_IO_FDS_SIZE];
    int err;

    *wire = (WireIoFds){.argsz = argsz, .index = index};
    err = vfio_user_call(dev, WIRE_GET_REGION_IO_FDS, body, wire_io_fds_encode(body, wire), reply);
    if (!err && (wire_io_fds_decode_reply(wire, reply->body, reply->len, entries) || wire->index != index)) {
        wire_message_clear(reply);
        err = EPROTO;
    }
    return err;
}

static VfioRegionIoFd io_fd_of(VfioUserPci *dev, const WireIoFd *e, const WireMessage *m, int *kept)
{
    VfioRegionIoFd out = {.offset = e->offset,
                          .size = e->size,
                          .fd = keep_once(dev, m, kept, e->fd_index),
                          .type = e->type,
                          .flags = e->flags,
                          .shadow_fd = -1,
                          .shadow_offset = e->shadow_offset,
                          .datamatch = e->datamatch};

    if (e->type == WIRE_IO_FD_SHADOW) {
        out.shadow_fd = keep_once(dev, m, kept, e->shadow_fd_index);
    }
    if (e->type == WIRE_IO_FD_IOREGIONFD || (out.fd >= 0 && !fd_is_eventfd(out.fd))) {
        out.fd = -1;
    }
    return out;
}

static int user_region_io_fds(VfioDevice *vdev, unsigned index, VfioRegionIoFd **fds, unsigned *count)
{
    VfioUserPci *dev = vfio_user_of_device(vdev);
    uint32_t entries = 0, limit = WIRE_IO_FDS_SIZE + WIRE_MAX_IO_FDS * WIRE_IO_FD_SIZE;
    WireMessage reply;
    WireIoFds wire;
    WireIoFd entry;
    int kept[WIRE_MAX_FDS];
    int err = ask_io_fds(dev, index, IO_FDS_FIRST_ARGSZ, &wire, &entries, &reply);

    if (!err && !entries && wire.argsz > IO_FDS_FIRST_ARGSZ) {
        uint32_t needed = wire.argsz;

        wire_message_clear(&reply);
        err = needed > limit ? EPROTO : ask_io_fds(dev, index, needed, &wire, &entries, &reply);
    }
    if (err) {
        return -err;
    }
    memset(kept, 0xff, sizeof(kept));
    *fds = g_new0(VfioRegionIoFd, entries + 1);
    *count = 0;
    for (uint32_t i = 0; i < entries; i++) {
        if (!wire_io_fd_decode(&entry, &wire, reply.body, reply.len, i)) {
            (*fds)[(*count)++] = io_fd_of(dev, &entry, &reply, kept);
        }
    }
    dev->overtakes |= *count != 0;
    wire_message_clear(&reply);
    return 0;
}

/* A server may give less than was asked for of what is no register. */
#define REGISTER_BYTES 8

static void accept_short(WireRegionAccess *access, const WireMessage *reply)
{
    uint32_t count;

    if (reply->len < WIRE_REGION_ACCESS_SIZE || access->count <= REGISTER_BYTES) {
        return;
    }
    memcpy(&count, (const uint8_t *)reply->body + WIRE_REGION_ACCESS_SIZE - sizeof(count), sizeof(count));
    if (count && count < access->count) {
        access->count = count;
    }
}

/* access->count: what was read. */
static ssize_t read_part(VfioUserPci *dev, WireRegionAccess *access, uint8_t *data)
{
    uint8_t body[WIRE_REGION_ACCESS_SIZE];
    WireRegionAccess got;
    WireMessage reply;
    int err = vfio_user_call(dev, WIRE_REGION_READ, body, wire_region_access_encode(body, access), &reply);

    if (err) {
        return -err;
    }
    accept_short(access, &reply);
    if (wire_region_read_decode_reply(&got, reply.body, reply.len, access)) {
        err = EPROTO;
    } else if (got.data) {
        memcpy(data, got.data, access->count);
    }
    wire_message_clear(&reply);
    return err ? -err : (ssize_t)access->count;
}

static uint32_t max_data(const VfioUserPci *dev)
{
    return (uint32_t)MIN(proxy_caps(dev->proxy)->max_data_xfer_size, PROXY_MAX_DATA);
}

static ssize_t user_region_read(VfioDevice *vdev, unsigned index, uint64_t offset, uint32_t size, void *data)
{
    VfioUserPci *dev = vfio_user_of_device(vdev);
    uint32_t done = 0;

    while (done < size) {
        WireRegionAccess access = {offset + done, index, MIN(size - done, max_data(dev)), NULL};
        ssize_t got = read_part(dev, &access, (uint8_t *)data + done);

        if (got < 0) {
            return got;
        }
        done += access.count;
    }
    return (ssize_t)done;
}

static int write_part(VfioUserPci *dev, const WireRegionAccess *access, bool posted)
{
    uint8_t body[WIRE_REGION_ACCESS_SIZE];
    struct iovec iov[] = {{body, wire_region_access_encode(body, access)},
                          {(void *)access->data, access->count}};
    ProxyRequest req = {.command = WIRE_REGION_WRITE, .iov = iov, .iov_count = 2};
    WireRegionAccess got;
    WireMessage reply;
    int err;

    if (posted) {
        return proxy_post_write(dev->proxy, access);
    }
    if (access->region == VFIO_PCI_CONFIG_REGION_INDEX) {
        return command(dev, &req);
    }
    err = call_request(dev, &req, &reply);
    if (!err) {
        err = wire_region_write_decode_reply(&got, reply.body, reply.len, access) ? EPROTO : 0;
        wire_message_clear(&reply);
    }
    return err;
}

static ssize_t user_region_write(VfioDevice *vdev, unsigned index, uint64_t offset, uint32_t size,
                                 const void *data, bool posted)
{
    VfioUserPci *dev = vfio_user_of_device(vdev);
    uint32_t done = 0;

    posted = posted && !dev->no_posted_writes && !dev->overtakes;
    while (done < size) {
        WireRegionAccess access = {offset + done, index, MIN(size - done, max_data(dev)),
                                   (const uint8_t *)data + done};
        int err = write_part(dev, &access, posted);

        if (err) {
            return -err;
        }
        done += access.count;
    }
    return (ssize_t)done;
}

/* --- interrupts --- */

static int user_get_irq_info(VfioDevice *vdev, struct vfio_irq_info *info)
{
    uint8_t body[WIRE_IRQ_INFO_SIZE];
    WireIrqInfo wire = {.index = info->index};
    WireMessage reply;
    int err =
        vfio_user_call(vfio_user_of_device(vdev), WIRE_GET_IRQ_INFO, body, wire_irq_info_encode(body, &wire), &reply);

    if (err) {
        return -err;
    }
    err = wire_irq_info_decode(&wire, reply.body, reply.len) || wire.index != info->index ? EPROTO : 0;
    wire_message_clear(&reply);
    info->flags = wire.flags;
    info->count = wire.count;
    if (!proxy_caps(vfio_user_of_device(vdev)->proxy)->max_msg_fds) {
        info->flags &= ~(uint32_t)VFIO_IRQ_INFO_EVENTFD; /* there is no way to hand one over */
    }
    return -err;
}

static int send_set_irqs(VfioUserPci *dev, const WireSetIrqs *wire, const int *fds, unsigned fd_count)
{
    g_autofree uint8_t *body = g_malloc(WIRE_SET_IRQS_SIZE + wire->count);
    struct iovec iov = {body, wire_set_irqs_encode(body, wire)};

    return command(
        dev, &(ProxyRequest){
                 .command = WIRE_SET_IRQS, .iov = &iov, .iov_count = 1, .fds = fds, .fd_count = fd_count});
}

/* As many messages as the server's limit of fds asks for; valid fds and gaps never share one. */
static int set_eventfds(VfioUserPci *dev, const struct vfio_irq_set *irqs)
{
    g_autofree int *fds = g_new(int, irqs->count);
    unsigned max_fds = (unsigned)MIN(proxy_caps(dev->proxy)->max_msg_fds, WIRE_MAX_FDS_CLIENT);
    unsigned done = 0;

    memcpy(fds, irqs->data, irqs->count * sizeof(int32_t));
    while (done < irqs->count) {
        bool gap = fds[done] < 0;
        unsigned run = 1;
        WireSetIrqs wire = {.flags = irqs->flags, .index = irqs->index, .start = irqs->start + done};
        int err;

        if (!gap && !max_fds) {
            return -ENOTSUP;
        }
        while (done + run < irqs->count &&
               (gap ? fds[done + run] < 0 : fds[done + run] >= 0 && run < max_fds)) {
            run++;
        }
        wire.count = run;
        err = send_set_irqs(dev, &wire, gap ? NULL : fds + done, gap ? 0 : run);
        if (err) {
            return -err;
        }
        done += run;
    }
    return 0;
}

static int user_set_irqs(VfioDevice *vdev, const struct vfio_irq_set *irqs)
{
    VfioUserPci *dev = vfio_user_of_device(vdev);
    WireSetIrqs wire = {
        .flags = irqs->flags, .index = irqs->index, .start = irqs->start, .count = irqs->count};

    if ((irqs->flags & VFIO_IRQ_SET_DATA_EVENTFD) && irqs->count) {
        return set_eventfds(dev, irqs);
    }
    if (irqs->flags & VFIO_IRQ_SET_DATA_BOOL) {
        wire.bools = irqs->data;
    }
    return -send_set_irqs(dev, &wire, NULL, 0);
}

static int user_reset(VfioDevice *vdev)
{
    return -command(vfio_user_of_device(vdev), &(ProxyRequest){.command = WIRE_RESET});
}

const VfioDeviceOps vfio_user_device_ops = {
    .get_info = user_get_info,
    .get_region_info = user_get_region_info,
    .get_irq_info = user_get_irq_info,
    .set_irqs = user_set_irqs,
    .region_read = user_region_read,
    .region_write = user_region_write,
    .region_io_fds = user_region_io_fds,
    .device_feature = vfio_user_device_feature,
    .log_start = vfio_user_log_start,
    .log_stop = vfio_user_log_stop,
    .log_report = vfio_user_log_report,
    .reset = user_reset,
    .migration_read = vfio_user_migration_read,
    .migration_write = vfio_user_migration_write,
};
