/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DEVICE_FEATURE (migration state, DMA logging) and migration data as vfio-user messages, and unmapping with
 * a dirty bitmap.  Bitmaps of the server are cut to what was asked for.
 */
#include <errno.h>
#include <string.h>

#include "hw/vfio-user/vfio-user.h"

/* Servers take requests of up to 1 MiB, and that is the size of the answer too. */
#define BITMAP_MAX (512u << 10)
#define STATE_STEP (256u << 10)

/* --- features --- */

/* `len` bytes of data go there; the data of the reply is *reply's, to be cleared. */
static int feature(VfioUserPci *dev, uint32_t flags, const void *data, size_t len, size_t reply_len,
                   WireFeature *got, WireMessage *reply)
{
    g_autofree uint8_t *body = g_malloc(WIRE_FEATURE_SIZE + len);
    WireFeature f = {.argsz = (uint32_t)(WIRE_FEATURE_SIZE + MAX(len, reply_len)),
                     .flags = flags,
                     .data = len ? data : NULL,
                     .data_len = len};
    int err = vfio_user_call(dev, WIRE_DEVICE_FEATURE, body, wire_feature_encode(body, &f), reply);

    if (!err && (wire_feature_decode(got, reply->body, reply->len) || got->flags != flags ||
                 got->data_len < reply_len)) {
        wire_message_clear(reply);
        err = EPROTO;
    }
    return err;
}

int vfio_user_device_feature(VfioDevice *vdev, struct vfio_device_feature *f, size_t size)
{
    uint32_t index = f->flags & VFIO_DEVICE_FEATURE_MASK;
    bool probe = f->flags & VFIO_DEVICE_FEATURE_PROBE;
    size_t len = size - MIN(size, sizeof(*f));
    WireMessage reply;
    WireFeature got;
    int err;

    if (size < sizeof(*f) || size > WIRE_MAX_DATA) {
        return -EINVAL;
    }
    if (!probe && index != WIRE_FEATURE_MIGRATION && index != WIRE_FEATURE_MIG_STATE) {
        return -ENOTTY; /* others have pointers in their data; logging has entries of its own */
    }
    len = probe ? 0 : MIN(len, sizeof(uint64_t));
    err = feature(vfio_user_of_device(vdev), f->flags, f->data, len, len, &got, &reply);
    if (err) {
        return -err;
    }
    if (len) {
        memcpy(f->data, got.data, len);
    }
    if (index == WIRE_FEATURE_MIG_STATE && len == sizeof(struct vfio_device_feature_mig_state)) {
        ((struct vfio_device_feature_mig_state *)f->data)->data_fd = -1;
    }
    wire_message_clear(&reply);
    return 0;
}

/* --- migration data --- */

static uint32_t max_data(const VfioUserPci *dev)
{
    return (uint32_t)MIN(proxy_caps(dev->proxy)->max_data_xfer_size, PROXY_MAX_DATA);
}

ssize_t vfio_user_migration_read(VfioDevice *vdev, void *data, size_t size)
{
    VfioUserPci *dev = vfio_user_of_device(vdev);
    WireMigData m = {.size = (uint32_t)MIN(size, max_data(dev))}, got;
    uint32_t asked = m.size;
    uint8_t body[WIRE_MIG_DATA_SIZE];
    WireMessage reply;
    int err = vfio_user_call(dev, WIRE_MIG_DATA_READ, body, wire_mig_data_encode(body, &m), &reply);

    if (err) {
        return -err;
    }
    if (wire_mig_read_decode_reply(&got, reply.body, reply.len, asked)) {
        err = EPROTO;
    } else {
        memcpy(data, got.data, got.size);
    }
    wire_message_clear(&reply);
    return err ? -err : (ssize_t)got.size;
}

ssize_t vfio_user_migration_write(VfioDevice *vdev, const void *data, size_t size)
{
    VfioUserPci *dev = vfio_user_of_device(vdev);
    WireMigData m = {.size = (uint32_t)MIN(size, max_data(dev))};
    g_autofree uint8_t *body = g_malloc(WIRE_MIG_DATA_SIZE + m.size);
    size_t head = wire_mig_data_encode(body, &m);
    int err;

    memcpy(body + head, data, m.size);
    err = vfio_user_call(dev, WIRE_MIG_DATA_WRITE, body, head + m.size, NULL);
    return err ? -err : (ssize_t)m.size;
}

/* --- another connection than the device's --- */

int vfio_user_link_write_state(VfioUserLink *link, const void *data, size_t size)
{
    uint32_t most = (uint32_t)MIN(proxy_caps(link->proxy)->max_data_xfer_size, STATE_STEP);
    int err = 0;

    while (size && !err) {
        WireMigData m = {.size = (uint32_t)MIN(size, most)};
        uint8_t head[WIRE_MIG_DATA_SIZE];
        struct iovec iov[] = {{head, wire_mig_data_encode(head, &m)}, {(void *)data, m.size}};

        err = proxy_call(link->proxy, &(ProxyRequest){.command = WIRE_MIG_DATA_WRITE, .iov = iov, .iov_count = 2}, NULL);
        data = (const uint8_t *)data + m.size;
        size -= m.size;
        link->sent += m.size;
    }
    return err;
}

int vfio_user_link_set_state(VfioUserLink *link, uint32_t state)
{
    uint8_t wish[WIRE_MIG_STATE_SIZE], body[WIRE_FEATURE_SIZE + sizeof(wish)];
    WireFeature f = {.argsz = sizeof(body), .flags = WIRE_FEATURE_SET | WIRE_FEATURE_MIG_STATE, .data = wish,
                     .data_len = wire_mig_state_encode(wish, &(WireMigDeviceState){.state = state, .data_fd = UINT32_MAX})};
    struct iovec iov = {body, wire_feature_encode(body, &f)};

    link->sent = 0;
    return proxy_call(link->proxy, &(ProxyRequest){.command = WIRE_DEVICE_FEATURE, .iov = &iov, .iov_count = 1}, NULL);
}

/* --- DMA logging --- */

int vfio_user_log_start(VfioDevice *vdev, uint64_t page_size, const VfioDmaRange *ranges, unsigned count)
{
    size_t len = WIRE_LOG_START_SIZE + (size_t)count * WIRE_LOG_RANGE_SIZE;
    g_autofree uint8_t *data = g_malloc(len);
    size_t done = wire_log_start_encode(data, page_size, count);
    WireMessage reply;
    WireFeature got;
    int err;

    for (unsigned i = 0; i < count; i++) {
        done += wire_log_range_encode(data + done, &(WireLogRange){ranges[i].iova, ranges[i].size});
    }
    err = feature(vfio_user_of_device(vdev), WIRE_FEATURE_SET | WIRE_FEATURE_LOG_START, data, done, 0, &got,
                  &reply);
    if (!err) {
        wire_message_clear(&reply);
    }
    return -err;
}

int vfio_user_log_stop(VfioDevice *vdev)
{
    WireMessage reply;
    WireFeature got;
    int err = feature(vfio_user_of_device(vdev), WIRE_FEATURE_SET | WIRE_FEATURE_LOG_STOP, NULL, 0, 0, &got,
                      &reply);

    if (!err) {
        wire_message_clear(&reply);
    }
    return -err;
}

/* Or-s `pages` bits; the server's bytes may be at any address, and more than was asked for. */
static void bitmap_take(uint64_t *bitmap, const uint8_t *bits, uint64_t pages)
{
    for (uint64_t n = 0; n < pages; n += 64) {
        uint64_t word;

        memcpy(&word, bits + n / 8, sizeof(word));
        word = GUINT64_FROM_LE(word);
        bitmap[n / 64] |= pages - n < 64 ? word & ((UINT64_C(1) << (pages - n)) - 1) : word;
    }
}

static bool pages_ok(uint64_t iova, uint64_t size, uint64_t page_size)
{
    return size && page_size && !(page_size & (page_size - 1)) && !((iova | size) & (page_size - 1));
}

/* At most BITMAP_MAX bytes of bitmap. */
static int report_part(VfioUserPci *dev, const WireLogReport *r, uint64_t *bitmap)
{
    size_t bytes = wire_bitmap_size(r->length, r->page_size);
    uint8_t data[WIRE_LOG_REPORT_SIZE];
    WireMessage reply;
    WireFeature got;
    int err = feature(dev, WIRE_FEATURE_GET | WIRE_FEATURE_LOG_REPORT, data, wire_log_report_encode(data, r),
                      WIRE_LOG_REPORT_SIZE + bytes, &got, &reply);

    if (!err) {
        bitmap_take(bitmap, got.data + WIRE_LOG_REPORT_SIZE, r->length / r->page_size);
        wire_message_clear(&reply);
    }
    return -err;
}

static uint64_t bitmap_limit(const VfioUserPci *dev)
{
    return MIN(proxy_caps(dev->proxy)->max_bitmap_size, BITMAP_MAX) & ~UINT64_C(7);
}

typedef int ReportPart(VfioUserPci *dev, const WireLogReport *r, uint64_t *bitmap);

static int report_parts(VfioUserPci *dev, ReportPart *report, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap)
{
    uint64_t pages = bitmap_limit(dev) * 8;
    int err = 0;

    if (!pages_ok(iova, size, page_size)) {
        return -EINVAL;
    }
    if (!pages) {
        return -E2BIG;
    }
    for (uint64_t done = 0, part; done < size && !err; done += part) {
        part = size - done <= pages * page_size ? size - done : pages * page_size;
        err = report(dev, &(WireLogReport){iova + done, part, page_size}, bitmap + done / page_size / 64);
    }
    return err;
}

int vfio_user_log_report(VfioDevice *vdev, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap)
{
    return report_parts(vfio_user_of_device(vdev), report_part, iova, size, page_size, bitmap);
}

/* --- DIRTY_PAGES, which came before: all that the client mapped --- */

int vfio_user_dirty_tracking(VfioUserPci *dev, bool on)
{
    const WireDirtyPages wire = {.argsz = WIRE_DIRTY_PAGES_SIZE, .flags = on ? WIRE_DIRTY_START : WIRE_DIRTY_STOP};
    uint8_t body[WIRE_DIRTY_GET_SIZE];
    int err = vfio_user_call(dev, WIRE_DIRTY_PAGES, body, wire_dirty_pages_encode(body, &wire), NULL);

    /* ENOSYS: never heard of it; EINVAL: the same of libraries that ended it. */
    return on && (err == ENOSYS || err == EINVAL) ? -ENOTSUP : -err;
}

static int dirty_part(VfioUserPci *dev, const WireLogReport *r, uint64_t *bitmap)
{
    size_t bytes = wire_bitmap_size(r->length, r->page_size);
    const WireDirtyPages wire = {.argsz = (uint32_t)(WIRE_DIRTY_GET_SIZE + bytes),
                                 .flags = WIRE_DIRTY_GET_BITMAP,
                                 .iova = r->iova,
                                 .size = r->length,
                                 .pgsize = r->page_size,
                                 .bitmap_size = bytes};
    uint8_t body[WIRE_DIRTY_GET_SIZE];
    WireMessage reply;
    int err = vfio_user_call(dev, WIRE_DIRTY_PAGES, body, wire_dirty_pages_encode(body, &wire), &reply);

    if (err) {
        return -err;
    }
    if (reply.len < WIRE_DIRTY_GET_SIZE + bytes) {
        err = EPROTO;
    } else {
        bitmap_take(bitmap, reply.body + WIRE_DIRTY_GET_SIZE, r->length / r->page_size);
    }
    wire_message_clear(&reply);
    return -err;
}

int vfio_user_dirty_report(VfioUserPci *dev, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap)
{
    return report_parts(dev, dirty_part, iova, size, page_size, bitmap);
}

/* --- unmapping --- */

/* The transaction's lock is held: a server that keeps silent is not waited for as long as others. */
int vfio_user_unmap_dirty(VfioUserPci *dev, uint64_t iova, uint64_t size, uint64_t page_size,
                          uint64_t *bitmap)
{
    uint64_t bytes = wire_bitmap_size(size, page_size);
    WireDmaUnmap wire = {.flags = WIRE_UNMAP_DIRTY_BITMAP,
                         .address = iova,
                         .size = size,
                         .pgsize = page_size,
                         .bitmap_size = bytes};
    uint8_t body[WIRE_DMA_UNMAP_SIZE + WIRE_BITMAP_HEAD_SIZE];
    struct iovec iov = {body, 0};
    WireMessage reply;
    int err;

    if (!pages_ok(iova, size, page_size) || bytes > bitmap_limit(dev)) {
        return pages_ok(iova, size, page_size) ? -E2BIG : -EINVAL;
    }
    iov.iov_len = wire_dma_unmap_encode(body, &wire);
    err = proxy_call_brief(dev->proxy,
                           &(ProxyRequest){.command = WIRE_DMA_UNMAP, .iov = &iov, .iov_count = 1}, &reply);
    if (err) {
        return -err;
    }
    if (reply.len < sizeof(body) + bytes) {
        err = EPROTO;
    } else {
        bitmap_take(bitmap, reply.body + sizeof(body), size / page_size);
    }
    wire_message_clear(&reply);
    return -err;
}
