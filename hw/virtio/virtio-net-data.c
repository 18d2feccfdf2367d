/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames of virtio-net-pci (VIRTIO 1.1, 5.1.6): out with what is left to the device of checksums and
 * segmentation, in through filters into one buffer or several merged ones.
 */
#include <string.h>

#include "virtio-net.h"

#define NET_RX_BUFFERS 64  /* that one frame may take */
#define NET_TX_BATCH   256 /* frames in one go, so that others get their turn */

static size_t header_len(const VirtioNet *n)
{
    return virtio_has(&n->vp, VIRTIO_F_VERSION_1) || virtio_has(&n->vp, NET_F_MRG_RXBUF) ? NET_HDR_LEN
                                                                                         : NET_HDR_LEN_LEGACY;
}

/* --- transmit --- */

static NetOffload offload_of_header(const uint8_t *header)
{
    return (NetOffload){.flags = header[0] & NET_OFFLOAD_NEEDS_CSUM,
                        .gso_type = header[1],
                        .hdr_len = pci_get16(header + 2),
                        .gso_size = pci_get16(header + 4),
                        .csum_start = pci_get16(header + 6),
                        .csum_offset = pci_get16(header + 8)};
}

/* Whether the driver may ask for that: what was negotiated (5.1.6.2.1). */
static bool offload_negotiated(const VirtioNet *n, const NetOffload *o)
{
    uint8_t type = (uint8_t)(o->gso_type & ~NET_GSO_ECN);

    if ((o->flags & NET_OFFLOAD_NEEDS_CSUM || o->gso_type) && !virtio_has(&n->vp, NET_F_CSUM)) {
        return false;
    }
    if (o->gso_type & NET_GSO_ECN && !virtio_has(&n->vp, NET_F_HOST_ECN)) {
        return false;
    }
    return o->gso_type == NET_GSO_NONE || (type == NET_GSO_TCPV4 && virtio_has(&n->vp, NET_F_HOST_TSO4)) ||
           (type == NET_GSO_TCPV6 && virtio_has(&n->vp, NET_F_HOST_TSO6));
}

static void transmit(VirtioNet *n, VirtQueue *vq, const VirtioElement *element)
{
    size_t hdr = header_len(n), len = element->out_len > hdr ? (size_t)(element->out_len - hdr) : 0;
    uint8_t header[NET_HDR_LEN], frame[NET_FRAME_MAX];
    NetOffload offload;

    if (len < NET_FRAME_MIN || len > sizeof(frame) ||
        virtio_element_read(vq, element, 0, header, hdr) != hdr ||
        virtio_element_read(vq, element, hdr, frame, len) != len) {
        guest_error(&n->vp.pci.dev, "frame of %zu bytes (allowed %d..%d)", len, NET_FRAME_MIN, NET_FRAME_MAX);
        return;
    }
    offload = offload_of_header(header);
    if (!offload_negotiated(n, &offload)) {
        guest_error(&n->vp.pci.dev, "checksum or segmentation of type %u, which was not negotiated",
                    offload.gso_type);
        return;
    }
    if (n->net && !net_send(n->net, vq->index / 2, frame, len, &offload)) {
        guest_error(&n->vp.pci.dev,
                    "checksum at %u, segmentation of type %u in %u bytes: not for this frame of %zu bytes",
                    offload.csum_start + offload.csum_offset, offload.gso_type, offload.gso_size, len);
    }
}

void virtio_net_handle_tx(VirtioNet *n, VirtQueue *vq)
{
    VirtioElement *element;
    unsigned done = 0;

    while (done < NET_TX_BATCH && (element = virtqueue_pop(vq))) {
        transmit(n, vq, element);
        virtqueue_push(vq, element, 0);
        done++;
    }
    virtqueue_notify(vq);
    if (done == NET_TX_BATCH) {
        virtio_kick(&n->vp, vq->index);
    }
}

/* --- receive: filters --- */

static bool wants_address(const VirtioNet *n, const uint8_t *mac)
{
    static const uint8_t broadcast[NET_MAC_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    bool multi = mac[0] & 1;

    if (n->modes[RX_PROMISC]) {
        return true;
    }
    if (memcmp(mac, broadcast, NET_MAC_LEN) == 0) {
        return !n->modes[RX_NOBCAST];
    }
    if (n->modes[multi ? RX_NOMULTI : RX_NOUNI]) {
        return false;
    }
    if (n->modes[multi ? RX_ALLMULTI : RX_ALLUNI] || (multi ? n->multi_overflow : n->uni_overflow) ||
        memcmp(mac, n->address, NET_MAC_LEN) == 0) {
        return true;
    }
    for (uint32_t i = 0; i < n->table_len; i++) {
        if (memcmp(mac, n->table[i], NET_MAC_LEN) == 0) {
            return true;
        }
    }
    return false;
}

static bool wants_vlan(const VirtioNet *n, const uint8_t *frame, size_t len)
{
    unsigned vid;

    if (len < 18 || frame[12] != 0x81 || frame[13] != 0x00 || !virtio_has(&n->vp, NET_F_CTRL_VLAN)) {
        return true;
    }
    vid = (unsigned)(frame[14] << 8 | frame[15]) & (NET_VLANS - 1);
    return n->vlans[vid / 32] >> (vid % 32) & 1;
}

/* --- receive: buffers --- */

static bool net_ready(VirtioNet *n, unsigned queue)
{
    return virtio_running(&n->vp) && queue < n->pairs && n->vp.queues[2 * queue].enabled &&
           pci_bus_master(&n->vp.pci);
}

bool virtio_net_can_receive(void *opaque, unsigned queue)
{
    VirtioNet *n = opaque;

    /* What comes while nobody listens is lost, as on a wire. */
    return !net_ready(n, queue) || virtqueue_has_more(&n->vp.queues[2 * queue]);
}

/* Buffers for `total` bytes; 0: there are not enough, and none was taken.  *never: nor would more of them do.
 */
static unsigned take_buffers(VirtioNet *n, VirtQueue *vq, size_t total, VirtioElement **elements, bool *never)
{
    unsigned limit = virtio_has(&n->vp, NET_F_MRG_RXBUF) ? MIN(NET_RX_BUFFERS, vq->size) : 1, count = 0;
    uint64_t room = 0;

    while (room < total && count < limit && (elements[count] = virtqueue_pop(vq))) {
        room += elements[count++]->in_len;
    }
    *never = count == limit;
    while (room < total && count) {
        virtqueue_unpop(vq, elements[--count]);
    }
    return count;
}

/* The header as the driver takes it.  False: the frame is of a kind it does not take. */
static bool fill_header(const VirtioNet *n, const NetOffload *o, uint8_t *header)
{
    uint8_t type = (uint8_t)(o->gso_type & ~NET_GSO_ECN), flags = o->flags;
    unsigned needs = type == NET_GSO_TCPV4 ? NET_F_GUEST_TSO4 : NET_F_GUEST_TSO6;

    memset(header, 0, NET_HDR_LEN);
    if (!(n->offloads >> NET_F_GUEST_CSUM & 1)) {
        flags &= (uint8_t)~NET_OFFLOAD_DATA_VALID;
    }
    if (flags & NET_OFFLOAD_NEEDS_CSUM && !(n->offloads >> NET_F_GUEST_CSUM & 1)) {
        return false;
    }
    if (o->gso_type && (!(n->offloads >> needs & 1) ||
                        (o->gso_type & NET_GSO_ECN && !(n->offloads >> NET_F_GUEST_ECN & 1)))) {
        return false;
    }
    header[0] = flags;
    header[1] = o->gso_type;
    pci_set16(header + 2, o->hdr_len);
    pci_set16(header + 4, o->gso_size);
    pci_set16(header + 6, o->csum_start);
    pci_set16(header + 8, o->csum_offset);
    return true;
}

/* Header and frame into the buffers, one after the other. */
static void fill_buffers(VirtQueue *vq, VirtioElement **elements, unsigned count, const uint8_t *header,
                         size_t hdr, const uint8_t *frame, size_t len)
{
    uint32_t written[NET_RX_BUFFERS];
    size_t done = 0, total = hdr + len;

    for (unsigned i = 0; i < count; i++) {
        size_t n = (size_t)MIN(elements[i]->in_len, total - done), at = 0;

        if (done < hdr) {
            at = virtio_element_write(vq, elements[i], 0, header + done, MIN(n, hdr - done));
        }
        if (at < n && done + at >= hdr) {
            at += virtio_element_write(vq, elements[i], at, frame + done + at - hdr, n - at);
        }
        written[i] = (uint32_t)at;
        done += n;
    }
    virtqueue_push_all(vq, elements, written, count);
    virtqueue_notify(vq);
}

bool virtio_net_receive(void *opaque, unsigned queue, const uint8_t *frame, size_t len,
                        const NetOffload *offload)
{
    VirtioNet *n = opaque;
    VirtQueue *vq = &n->vp.queues[2 * queue];
    VirtioElement *elements[NET_RX_BUFFERS];
    uint8_t header[NET_HDR_LEN];
    size_t hdr = header_len(n);
    bool never;
    unsigned count;

    if (!net_ready(n, queue) || len < NET_FRAME_MIN || !wants_address(n, frame) ||
        !wants_vlan(n, frame, len) || !fill_header(n, offload, header)) {
        return true;
    }
    count = take_buffers(n, vq, hdr + len, elements, &never);
    if (!count) {
        return never || !virtio_running(&n->vp);
    }
    if (hdr == NET_HDR_LEN) {
        pci_set16(header + NET_HDR_BUFFERS, (uint16_t)count);
    }
    fill_buffers(vq, elements, count, header, hdr, frame, len);
    return true;
}
