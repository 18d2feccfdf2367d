/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk-pci: the block device (VIRTIO 1.1, 5.2). */
#include <errno.h>
#include <string.h>

#include "block/block.h"
#include "core/error.h"
#include "virtio.h"

/* Feature bits (5.2.3) */
#define BLK_F_SEG_MAX      2
#define BLK_F_GEOMETRY     4
#define BLK_F_RO           5
#define BLK_F_BLK_SIZE     6
#define BLK_F_FLUSH        9
#define BLK_F_TOPOLOGY     10
#define BLK_F_CONFIG_WCE   11
#define BLK_F_MQ           12
#define BLK_F_DISCARD      13
#define BLK_F_WRITE_ZEROES 14
/* Requests (5.2.6) */
#define BLK_T_IN           0
#define BLK_T_OUT          1
#define BLK_T_FLUSH        4
#define BLK_T_GET_ID       8
#define BLK_T_DISCARD      11
#define BLK_T_WRITE_ZEROES 13
#define BLK_S_OK           0
#define BLK_S_IOERR        1
#define BLK_S_UNSUPP       2
#define BLK_ID_LEN         20
#define BLK_HEADER_LEN     16
#define BLK_SEGMENT_LEN    16
#define BLK_ZEROES_UNMAP   1u
/* Configuration (5.2.4) */
#define BLK_CONFIG_LEN       60
#define BLK_CONFIG_WRITEBACK 32

#define BLK_SECTOR 512
/* Bytes of one request; longer ones fail. */
#define BLK_LEN_MAX     (64u << 20)
#define BLK_SECTORS_MAX (UINT32_MAX / BLK_SECTOR)

typedef struct VirtioBlk {
    VirtioPci vp;
    BlockBackend *blk;
    char *serial;
    uint32_t num_queues, queue_size, logical_block_size, physical_block_size;
    bool config_wce, discard, write_zeroes;
    int rerror, werror; /* words */
} VirtioBlk;

typedef struct BlkMap {
    MemRegion *region;
    void *host;
    uint64_t len;
} BlkMap;

typedef struct BlkReq {
    VirtioBlk *b;
    VirtQueue *vq;
    VirtioElement *element;
    bool to_memory;
    uint64_t at; /* where the data begins in its buffers */
    uint64_t len;
    GArray *maps; /* of BlkMap */
    struct iovec *iov;
    uint8_t *bounce; /* NULL: guest memory is used directly */
} BlkReq;

/* --- ends --- */

static void req_unmap(BlkReq *req)
{
    for (guint i = 0; i < req->maps->len; i++) {
        BlkMap *m = &g_array_index(req->maps, BlkMap, i);

        pci_dma_unmap(&req->b->vp.pci, m->region, m->host, m->len, req->to_memory);
    }
    g_array_set_size(req->maps, 0);
}

static void req_finish(BlkReq *req, uint8_t status)
{
    VirtioElement *e = req->element;
    uint32_t written = 1 + (status == BLK_S_OK && req->to_memory ? (uint32_t)req->len : 0);

    if (virtio_element_write(req->vq, e, e->in_len - 1, &status, 1) == 1) {
        virtqueue_push(req->vq, e, written);
        virtqueue_notify(req->vq);
    } else {
        g_free(e);
    }
    g_array_free(req->maps, TRUE);
    g_free(req->iov);
    g_free(req->bounce);
    g_free(req);
}

static void req_done(void *opaque, int result)
{
    BlkReq *req = opaque;

    if (result == 0 && req->bounce && req->to_memory) {
        virtio_element_write(req->vq, req->element, req->at, req->bounce, req->len);
    }
    req_unmap(req);
    req_finish(req, result == 0 ? BLK_S_OK : result == -ENOTSUP ? BLK_S_UNSUPP : BLK_S_IOERR);
}

/* --- data --- */

static bool req_map_buf(BlkReq *req, uint64_t addr, uint64_t len)
{
    while (len) {
        BlkMap m = {.len = len};

        m.host = pci_dma_map(&req->b->vp.pci, addr, &m.len, req->to_memory, &m.region);
        if (!m.host) {
            return false;
        }
        g_array_append_val(req->maps, m);
        addr += m.len;
        len -= m.len;
    }
    return true;
}

/* The data's bytes of the element as pointers to guest memory, or through a buffer.  The number of iov. */
static int req_map(BlkReq *req)
{
    const VirtioElement *e = req->element;
    const VirtioBuf *bufs = req->to_memory ? e->bufs + e->out_num : e->bufs;
    unsigned n = req->to_memory ? e->in_num : e->out_num;
    uint64_t skip = req->at, left = req->len;
    bool ok = true;

    for (unsigned i = 0; i < n && left && ok; i++) {
        uint64_t part = bufs[i].len > skip ? MIN(bufs[i].len - skip, left) : 0;

        ok = req_map_buf(req, bufs[i].addr + skip, part);
        left -= part;
        skip -= MIN(skip, bufs[i].len);
    }
    if (ok) {
        req->iov = g_new(struct iovec, req->maps->len);
        for (guint i = 0; i < req->maps->len; i++) {
            BlkMap *m = &g_array_index(req->maps, BlkMap, i);

            req->iov[i] = (struct iovec){m->host, m->len};
        }
        return (int)req->maps->len;
    }
    req_unmap(req);
    req->bounce = g_malloc(req->len);
    req->iov = g_new(struct iovec, 1);
    req->iov[0] = (struct iovec){req->bounce, req->len};
    if (!req->to_memory && virtio_element_read(req->vq, e, req->at, req->bounce, req->len) != req->len) {
        return -1;
    }
    return 1;
}

static bool in_range(VirtioBlk *b, uint64_t sector, uint64_t len)
{
    uint64_t sectors = block_size(b->blk) / BLK_SECTOR, count = len / BLK_SECTOR;

    return len % b->logical_block_size == 0 && sector % (b->logical_block_size / BLK_SECTOR) == 0 &&
           sector <= sectors && count <= sectors - sector;
}

static bool write_through(VirtioBlk *b)
{
    if (virtio_has(&b->vp, BLK_F_CONFIG_WCE)) {
        return !b->vp.config[BLK_CONFIG_WRITEBACK];
    }
    return !virtio_has(&b->vp, BLK_F_FLUSH);
}

static void req_transfer(BlkReq *req, bool to_memory, uint64_t sector)
{
    VirtioBlk *b = req->b;
    int n;

    req->to_memory = to_memory;
    req->at = to_memory ? 0 : BLK_HEADER_LEN;
    req->len = to_memory ? req->element->in_len - 1 : req->element->out_len - BLK_HEADER_LEN;
    if (!req->len || req->len > BLK_LEN_MAX || !in_range(b, sector, req->len) ||
        (!to_memory && block_readonly(b->blk))) {
        guest_error(&b->vp.pci.dev,
                    "%s of %" G_GUINT64_FORMAT " bytes at sector %" G_GUINT64_FORMAT " is not possible",
                    to_memory ? "read" : "write", req->len, sector);
        req_finish(req, BLK_S_IOERR);
        return;
    }
    n = req_map(req);
    if (n < 0) {
        req_finish(req, BLK_S_IOERR);
    } else if (to_memory) {
        block_read(b->blk, sector * BLK_SECTOR, req->iov, n, req_done, req);
    } else {
        block_write(b->blk, sector * BLK_SECTOR, req->iov, n, write_through(b), req_done, req);
    }
}

/* Discard and write zeroes (5.2.6.1): one segment. */
static void req_ranges(BlkReq *req, uint32_t type)
{
    VirtioBlk *b = req->b;
    bool zeroes = type == BLK_T_WRITE_ZEROES;
    uint8_t segment[BLK_SEGMENT_LEN];
    uint64_t sector, len;
    uint32_t flags;

    if (!(zeroes ? b->write_zeroes : b->discard) || block_readonly(b->blk)) {
        req_finish(req, BLK_S_UNSUPP);
        return;
    }
    if (req->element->out_len != BLK_HEADER_LEN + BLK_SEGMENT_LEN ||
        virtio_element_read(req->vq, req->element, BLK_HEADER_LEN, segment, sizeof(segment)) !=
            sizeof(segment)) {
        req_finish(req, BLK_S_UNSUPP);
        return;
    }
    sector = pci_get64(segment);
    len = (uint64_t)pci_get32(segment + 8) * BLK_SECTOR;
    flags = pci_get32(segment + 12);
    if (flags & ~(zeroes ? BLK_ZEROES_UNMAP : 0)) {
        req_finish(req, BLK_S_UNSUPP);
    } else if (!in_range(b, sector, len)) {
        req_finish(req, BLK_S_IOERR);
    } else if (zeroes) {
        block_write_zeroes(b->blk, sector * BLK_SECTOR, len, flags & BLK_ZEROES_UNMAP, req_done, req);
    } else {
        block_discard(b->blk, sector * BLK_SECTOR, len, req_done, req);
    }
}

static void req_get_id(BlkReq *req)
{
    char id[BLK_ID_LEN] = "";

    strncpy(id, req->b->serial ? req->b->serial : "", sizeof(id));
    req->to_memory = true;
    req->len = MIN(sizeof(id), req->element->in_len - 1);
    virtio_element_write(req->vq, req->element, 0, id, req->len);
    req_finish(req, BLK_S_OK);
}

static void req_begin(VirtioBlk *b, VirtQueue *vq, VirtioElement *element)
{
    uint8_t header[BLK_HEADER_LEN];
    uint32_t type;
    BlkReq *req;

    if (element->out_len < sizeof(header) || !element->in_len ||
        virtio_element_read(vq, element, 0, header, sizeof(header)) != sizeof(header)) {
        virtio_error(&b->vp,
                     "request without header or status (out %" G_GUINT64_FORMAT ", in %" G_GUINT64_FORMAT
                     " bytes)",
                     element->out_len, element->in_len);
        g_free(element);
        return;
    }
    req = g_new0(BlkReq, 1);
    *req = (BlkReq){.b = b, .vq = vq, .element = element, .maps = g_array_new(FALSE, FALSE, sizeof(BlkMap))};
    type = pci_get32(header);
    switch (type) {
    case BLK_T_IN:
    case BLK_T_OUT:
        req_transfer(req, type == BLK_T_IN, pci_get64(header + 8));
        break;
    case BLK_T_FLUSH:
        block_flush(b->blk, req_done, req);
        break;
    case BLK_T_GET_ID:
        req_get_id(req);
        break;
    case BLK_T_DISCARD:
    case BLK_T_WRITE_ZEROES:
        req_ranges(req, type);
        break;
    default:
        req_finish(req, BLK_S_UNSUPP);
        break;
    }
}

static void blk_handle(VirtioPci *vp, VirtQueue *vq)
{
    VirtioBlk *b = (VirtioBlk *)vp;
    VirtioElement *element;

    block_plug(b->blk);
    while ((element = virtqueue_pop(vq))) {
        req_begin(b, vq, element);
    }
    block_unplug(b->blk);
}

/* --- configuration --- */

static void blk_fill_config(VirtioBlk *b)
{
    uint8_t *config = b->vp.config;
    uint64_t sectors = block_size(b->blk) / BLK_SECTOR;
    uint32_t ratio = b->physical_block_size / b->logical_block_size;

    pci_set64(config, sectors);
    pci_set32(config + 12, b->queue_size - 2); /* seg_max: a chain has a header and a status too */
    pci_set16(config + 16, (uint16_t)MIN(sectors / (16 * 63), 16383));
    config[18] = 16;
    config[19] = 63;
    pci_set32(config + 20, b->logical_block_size);
    config[24] = (uint8_t)__builtin_ctz(ratio);
    pci_set16(config + 26, 1);
    config[BLK_CONFIG_WRITEBACK] = 1;
    pci_set16(config + 34, (uint16_t)b->num_queues);
    pci_set32(config + 36, BLK_SECTORS_MAX);
    pci_set32(config + 40, 1);
    pci_set32(config + 44, b->logical_block_size / BLK_SECTOR);
    pci_set32(config + 48, BLK_SECTORS_MAX);
    pci_set32(config + 52, 1);
    config[56] = b->discard;
}

/* The cache mode is the driver's. */
static void blk_refill_config(VirtioBlk *b)
{
    bool writeback = b->vp.config[BLK_CONFIG_WRITEBACK] & 1;

    blk_fill_config(b);
    if (virtio_has(&b->vp, BLK_F_CONFIG_WCE)) {
        b->vp.config[BLK_CONFIG_WRITEBACK] = writeback;
    }
}

static void blk_config_written(VirtioPci *vp, unsigned offset, unsigned size)
{
    blk_refill_config((VirtioBlk *)vp);
    if (!virtio_has(vp, BLK_F_CONFIG_WCE)) {
        guest_error(&vp->pci.dev, "configuration is read-only at %u", offset);
    }
}

/* block_resize: the driver reads the capacity again (5.2.5.2). */
static void blk_resized(void *opaque)
{
    VirtioBlk *b = opaque;

    blk_refill_config(b);
    virtio_config_changed(&b->vp);
}

static void blk_reset(VirtioPci *vp)
{
    VirtioBlk *b = (VirtioBlk *)vp;

    block_drain(b->blk);
    blk_fill_config(b);
}

static const VirtioType blk_type = {
    .name = "virtio-blk-pci",
    .device_id = 2,
    .legacy_pci_id = 0x1001,
    .features = VIRTIO_FEATURE(BLK_F_SEG_MAX) | VIRTIO_FEATURE(BLK_F_GEOMETRY) |
                VIRTIO_FEATURE(BLK_F_BLK_SIZE) | VIRTIO_FEATURE(BLK_F_FLUSH) | VIRTIO_FEATURE(BLK_F_TOPOLOGY),
    .config_len = BLK_CONFIG_LEN,
    .handle = blk_handle,
    .reset = blk_reset,
    .config_written = blk_config_written,
};

/* --- life --- */

static bool blk_check(VirtioBlk *b, GError **error)
{
    uint32_t lbs = b->logical_block_size, pbs = b->physical_block_size;

    if (!b->blk) {
        error_set(error, "virtio-blk-pci: drive property not set; add drive=ID of a -drive");
        return false;
    }
    if (lbs & (lbs - 1) || pbs & (pbs - 1) || pbs < lbs) {
        error_set(error,
                  "virtio-blk-pci: block sizes must be powers of two, the physical not below the logical "
                  "(logical %u, physical %u, allowed 512..32768)",
                  lbs, pbs);
        return false;
    }
    if (b->queue_size & (b->queue_size - 1)) {
        error_set(error, "virtio-blk-pci: queue-size must be a power of two (%u, allowed 4..%u)",
                  b->queue_size, VIRTIO_QUEUE_MAX);
        return false;
    }
    return true;
}

static bool blk_start(PciDevice *dev, GError **error)
{
    VirtioBlk *b = (VirtioBlk *)dev;
    const struct {
        bool on;
        unsigned bit;
    } optional[] = {
        {b->blk && block_readonly(b->blk), BLK_F_RO},
        {b->config_wce, BLK_F_CONFIG_WCE},
        {b->num_queues > 1, BLK_F_MQ},
        {b->discard, BLK_F_DISCARD},
        {b->write_zeroes, BLK_F_WRITE_ZEROES},
    };
    uint16_t sizes[VIRTIO_QUEUES_MAX];

    if (!blk_check(b, error) || !block_attach(b->blk, &dev->dev, dev->dev.home, error)) {
        return false;
    }
    block_set_error_actions(b->blk, b->rerror, b->werror);
    block_set_resized(b->blk, blk_resized, b);
    for (unsigned i = 0; i < b->num_queues; i++) {
        sizes[i] = (uint16_t)b->queue_size;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(optional); i++) {
        b->vp.host_features |= optional[i].on ? VIRTIO_FEATURE(optional[i].bit) : 0;
    }
    blk_fill_config(b);
    if (!virtio_pci_start(&b->vp, &blk_type, b->num_queues, sizes, error)) {
        block_detach(b->blk);
        return false;
    }
    return true;
}

static void blk_stop(PciDevice *dev)
{
    VirtioBlk *b = (VirtioBlk *)dev;

    virtio_pci_stop(&b->vp);
    block_detach(b->blk);
}

static const Prop blk_props[] = {
    {.name = "drive", .type = &prop_drive, .offset = offsetof(VirtioBlk, blk), .doc = "id of a -drive"},
    PROP_STR("serial", VirtioBlk, serial, NULL, "what the driver reads as serial number; 20 bytes count"),
    PROP_U32("num-queues", VirtioBlk, num_queues, 1, 1, VIRTIO_QUEUES_MAX, "request queues"),
    PROP_U32("queue-size", VirtioBlk, queue_size, 256, 4, VIRTIO_QUEUE_MAX,
             "entries of each, a power of two"),
    PROP_U32("logical_block_size", VirtioBlk, logical_block_size, 512, 512, 32768, "bytes of a block"),
    PROP_U32("physical_block_size", VirtioBlk, physical_block_size, 512, 512, 32768,
             "bytes that are best written at once"),
    BLOCK_ERROR_PROPS(VirtioBlk, rerror, werror),
    PROP_BOOL("config-wce", VirtioBlk, config_wce, true, "let the driver choose the cache mode"),
    PROP_BOOL("discard", VirtioBlk, discard, true, "offer DISCARD"),
    PROP_BOOL("write-zeroes", VirtioBlk, write_zeroes, true, "offer WRITE_ZEROES"),
    VIRTIO_PCI_PROPS(VirtioBlk),
    PROP_END,
};

static void blk_pre_save(void *instance)
{
    block_drain(((VirtioBlk *)instance)->blk);
}

static const StateField blk_fields[] = {
    STATE_FIELD_STRUCT(VirtioBlk, vp, &virtio_pci_state),
    STATE_END,
};
static const StateTable blk_state = {
    .name = "virtio-blk-pci", .version = 1, .fields = blk_fields, .pre_save = blk_pre_save};

const PciModel virtio_blk_pci_model = {
    .dev = {.name = "virtio-blk-pci",
            .alias = "virtio-blk",
            .doc = "virtio disk.",
            .kind = MODEL_PCI,
            .size = sizeof(VirtioBlk),
            .props = blk_props,
            .state = &blk_state},
    .ids = {.vendor = VIRTIO_PCI_VENDOR, .class_code = 0x010000, .subsystem_vendor = VIRTIO_PCI_VENDOR},
    .interrupt_pin = 1,
    .express = true,
    .bars = {[1] = {.size = 0x1000, .kind = PCI_BAR_MEM32}},
    .start = blk_start,
    .reset = virtio_pci_reset,
    .stop = blk_stop,
    .config_read = virtio_pci_config_read,
    .config_written = virtio_pci_config_written,
};
