/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-net-pci: the network device (VIRTIO 1.1, 5.1), with receive filters and checksum offload. */
#include <string.h>

#include "core/error.h"
#include "net/net.h"
#include "virtio.h"

/* Feature bits (5.1.3) */
#define NET_F_CSUM          0
#define NET_F_MAC           5
#define NET_F_MRG_RXBUF     15
#define NET_F_STATUS        16
#define NET_F_CTRL_VQ       17
#define NET_F_CTRL_RX       18
#define NET_F_CTRL_VLAN     19
#define NET_F_CTRL_RX_EXTRA 20
#define NET_F_CTRL_MAC_ADDR 23
/* Configuration (5.1.4) */
#define NET_CONFIG_LEN    8
#define NET_CONFIG_STATUS 6
#define NET_STATUS_LINK   1u
/* The header before each frame (5.1.6) */
#define NET_HDR_LEN_LEGACY 10 /* without num_buffers */
#define NET_HDR_LEN        12
#define NET_HDR_NEEDS_CSUM 1u
/* Control commands (5.1.6.5) */
#define NET_CTRL_RX   0
#define NET_CTRL_MAC  1
#define NET_CTRL_VLAN 2
#define NET_OK        0
#define NET_ERR       1

#define NET_RX_QUEUE   0
#define NET_TX_QUEUE   1
#define NET_CTRL_QUEUE 2
#define NET_QUEUES     3
#define NET_CTRL_SIZE  64
#define NET_TABLE_MAX  64
#define NET_RX_BUFFERS 64  /* that one frame may take */
#define NET_TX_BATCH   256 /* frames in one go, so that others get their turn */
#define NET_VLANS      4096

enum { RX_PROMISC, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST, RX_MODES };

typedef struct VirtioNet {
    VirtioPci vp;
    NetBackend *net;
    uint8_t mac[NET_MAC_LEN]; /* property */
    uint32_t rx_queue_size, tx_queue_size;
    uint8_t address[NET_MAC_LEN]; /* as the driver set it */
    uint8_t modes[RX_MODES];      /* boolean each */
    uint8_t table[NET_TABLE_MAX][NET_MAC_LEN];
    uint32_t table_len;
    bool uni_overflow, multi_overflow; /* more addresses than the table holds: all pass */
    uint32_t vlans[NET_VLANS / 32];
} VirtioNet;

static size_t header_len(const VirtioNet *n)
{
    return virtio_has(&n->vp, VIRTIO_F_VERSION_1) || virtio_has(&n->vp, NET_F_MRG_RXBUF) ? NET_HDR_LEN
                                                                                         : NET_HDR_LEN_LEGACY;
}

/* --- transmit --- */

/* What NEEDS_CSUM asks for: the sum from csum_start to the end, stored csum_offset behind. */
static bool insert_checksum(const uint8_t *header, uint8_t *frame, size_t len)
{
    size_t start = pci_get16(header + 6), at = start + pci_get16(header + 8);
    uint16_t sum;

    if (start >= len || at + 2 > len) {
        return false;
    }
    sum = net_checksum_finish(net_checksum_add(0, frame + start, len - start));
    frame[at] = (uint8_t)(sum >> 8);
    frame[at + 1] = (uint8_t)sum;
    return true;
}

static void transmit(VirtioNet *n, VirtQueue *vq, const VirtioElement *element)
{
    size_t hdr = header_len(n),
           len = element->out_len > hdr ? (size_t)MIN(element->out_len - hdr, SIZE_MAX) : 0;
    uint8_t header[NET_HDR_LEN], frame[NET_FRAME_MAX];

    if (len < 14 || len > sizeof(frame) || virtio_element_read(vq, element, 0, header, hdr) != hdr ||
        virtio_element_read(vq, element, hdr, frame, len) != len) {
        guest_error(&n->vp.pci.dev, "frame of %zu bytes (allowed 14..%d)", len, NET_FRAME_MAX);
        return;
    }
    if (header[1]) {
        guest_error(&n->vp.pci.dev, "segmentation of type %u, which was not offered", header[1]);
        return;
    }
    if (header[0] & NET_HDR_NEEDS_CSUM && !insert_checksum(header, frame, len)) {
        guest_error(&n->vp.pci.dev, "checksum outside of the frame");
        return;
    }
    if (n->net) {
        net_send(n->net, frame, len);
    }
}

static void handle_tx(VirtioNet *n, VirtQueue *vq)
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

/* --- receive --- */

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

static bool net_ready(VirtioNet *n)
{
    return virtio_running(&n->vp) && n->vp.queues[NET_RX_QUEUE].enabled && pci_bus_master(&n->vp.pci);
}

static bool rx_can_receive(void *opaque)
{
    VirtioNet *n = opaque;

    /* What comes while nobody listens is lost, as on a wire. */
    return !net_ready(n) || virtqueue_has_more(&n->vp.queues[NET_RX_QUEUE]);
}

/* Buffers for `total` bytes; 0: there are not enough, and none was taken. */
static unsigned take_buffers(VirtioNet *n, VirtQueue *vq, size_t total, VirtioElement **elements)
{
    unsigned limit = virtio_has(&n->vp, NET_F_MRG_RXBUF) ? NET_RX_BUFFERS : 1, count = 0;
    uint64_t room = 0;

    while (room < total && count < limit && (elements[count] = virtqueue_pop(vq))) {
        room += elements[count++]->in_len;
    }
    while (room < total && count) {
        virtqueue_unpop(vq, elements[--count]);
    }
    return count;
}

static void rx_receive(void *opaque, const uint8_t *frame, size_t len)
{
    VirtioNet *n = opaque;
    VirtQueue *vq = &n->vp.queues[NET_RX_QUEUE];
    VirtioElement *elements[NET_RX_BUFFERS];
    uint32_t written[NET_RX_BUFFERS];
    uint8_t packet[NET_HDR_LEN + NET_FRAME_MAX] = {0};
    size_t hdr = header_len(n), total = hdr + len, done = 0;
    unsigned count;

    if (!net_ready(n) || len < 14 || !wants_address(n, frame) || !wants_vlan(n, frame, len)) {
        return;
    }
    count = take_buffers(n, vq, total, elements);
    if (!count) {
        return;
    }
    if (hdr == NET_HDR_LEN) {
        pci_set16(packet + 10, (uint16_t)count); /* num_buffers */
    }
    memcpy(packet + hdr, frame, len);
    for (unsigned i = 0; i < count; i++) {
        written[i] = (uint32_t)virtio_element_write(vq, elements[i], 0, packet + done, total - done);
        done += written[i];
    }
    virtqueue_push_all(vq, elements, written, count);
    virtqueue_notify(vq);
}

/* --- control (5.1.6.5) --- */

static uint8_t ctrl_rx(VirtioNet *n, uint8_t command, const uint8_t *data, size_t len)
{
    if (command >= RX_MODES || len != 1) {
        return NET_ERR;
    }
    n->modes[command] = data[0] != 0;
    return NET_OK;
}

/* One of the two tables of MAC_TABLE_SET: entries that fit are kept.  The bytes it takes; 0: it is malformed.
 */
static size_t ctrl_table(VirtioNet *n, const uint8_t *data, size_t len, bool *overflow)
{
    uint32_t entries = len >= 4 ? pci_get32(data) : UINT32_MAX;

    if (entries > (len - MIN(len, 4)) / NET_MAC_LEN) {
        return 0;
    }
    *overflow = entries > NET_TABLE_MAX - n->table_len;
    if (!*overflow && entries) {
        memcpy(n->table[n->table_len], data + 4, (size_t)entries * NET_MAC_LEN);
        n->table_len += entries;
    }
    return 4 + (size_t)entries * NET_MAC_LEN;
}

static uint8_t ctrl_mac(VirtioNet *n, uint8_t command, const uint8_t *data, size_t len)
{
    size_t unicast;

    if (command == 1 && len == NET_MAC_LEN) {
        memcpy(n->address, data, NET_MAC_LEN);
        memcpy(n->vp.config, data, NET_MAC_LEN);
        return NET_OK;
    }
    if (command != 0) {
        return NET_ERR;
    }
    n->table_len = 0;
    unicast = ctrl_table(n, data, len, &n->uni_overflow);
    return unicast && ctrl_table(n, data + unicast, len - unicast, &n->multi_overflow) == len - unicast
               ? NET_OK
               : NET_ERR;
}

static uint8_t ctrl_vlan(VirtioNet *n, uint8_t command, const uint8_t *data, size_t len)
{
    unsigned vid = len == 2 ? pci_get16(data) : NET_VLANS;

    if (vid >= NET_VLANS || command > 1) {
        return NET_ERR;
    }
    if (command == 0) {
        n->vlans[vid / 32] |= 1u << (vid % 32);
    } else {
        n->vlans[vid / 32] &= ~(1u << (vid % 32));
    }
    return NET_OK;
}

static uint8_t control(VirtioNet *n, VirtQueue *vq, const VirtioElement *element)
{
    static uint8_t (*const classes[])(VirtioNet *, uint8_t, const uint8_t *, size_t) = {
        [NET_CTRL_RX] = ctrl_rx, [NET_CTRL_MAC] = ctrl_mac, [NET_CTRL_VLAN] = ctrl_vlan};
    uint8_t data[2 + 8 + 4096];
    size_t len = (size_t)MIN(element->out_len, sizeof(data));

    if (element->out_len > sizeof(data) || len < 2 || virtio_element_read(vq, element, 0, data, len) != len ||
        data[0] >= G_N_ELEMENTS(classes)) {
        return NET_ERR;
    }
    return classes[data[0]](n, data[1], data + 2, len - 2);
}

static void handle_ctrl(VirtioNet *n, VirtQueue *vq)
{
    VirtioElement *element;

    while ((element = virtqueue_pop(vq))) {
        uint8_t ack = element->in_len ? control(n, vq, element) : NET_ERR;

        virtqueue_push(vq, element, (uint32_t)virtio_element_write(vq, element, 0, &ack, 1));
    }
    virtqueue_notify(vq);
}

static void net_handle(VirtioPci *vp, VirtQueue *vq)
{
    VirtioNet *n = (VirtioNet *)vp;

    if (vq->index == NET_TX_QUEUE) {
        handle_tx(n, vq);
    } else if (vq->index == NET_CTRL_QUEUE) {
        handle_ctrl(n, vq);
    } else if (n->net) {
        net_can_receive(n->net);
    }
}

/* --- life --- */

static void fill_config(VirtioNet *n)
{
    memcpy(n->vp.config, n->address, NET_MAC_LEN);
    pci_set16(n->vp.config + NET_CONFIG_STATUS, !n->net || net_link_up(n->net) ? NET_STATUS_LINK : 0);
}

/* Drivers of before version 1 write the address (5.1.4.3). */
static void net_config_written(VirtioPci *vp, unsigned offset, unsigned size)
{
    VirtioNet *n = (VirtioNet *)vp;

    if (!virtio_has(vp, VIRTIO_F_VERSION_1) && !virtio_has(vp, NET_F_CTRL_MAC_ADDR) && offset < NET_MAC_LEN) {
        memcpy(n->address, vp->config, NET_MAC_LEN);
    }
    fill_config(n);
}

static void net_link_changed(void *opaque, bool up)
{
    VirtioNet *n = opaque;

    fill_config(n);
    virtio_config_changed(&n->vp);
}

static void net_reset(VirtioPci *vp)
{
    VirtioNet *n = (VirtioNet *)vp;

    memcpy(n->address, n->mac, NET_MAC_LEN);
    memset(n->modes, 0, sizeof(n->modes));
    n->modes[RX_PROMISC] = true;
    n->table_len = 0;
    n->uni_overflow = n->multi_overflow = false;
    memset(n->vlans, 0, sizeof(n->vlans));
    fill_config(n);
}

static const VirtioType net_type = {
    .name = "virtio-net-pci",
    .device_id = 1,
    .legacy_pci_id = 0x1000,
    .features = VIRTIO_FEATURE(NET_F_CSUM) | VIRTIO_FEATURE(NET_F_MAC) | VIRTIO_FEATURE(NET_F_MRG_RXBUF) |
                VIRTIO_FEATURE(NET_F_STATUS) | VIRTIO_FEATURE(NET_F_CTRL_VQ) | VIRTIO_FEATURE(NET_F_CTRL_RX) |
                VIRTIO_FEATURE(NET_F_CTRL_VLAN) | VIRTIO_FEATURE(NET_F_CTRL_RX_EXTRA) |
                VIRTIO_FEATURE(NET_F_CTRL_MAC_ADDR),
    .config_len = NET_CONFIG_LEN,
    .handle = net_handle,
    .reset = net_reset,
    .config_written = net_config_written,
};

static const NetFrontend net_frontend = {rx_can_receive, rx_receive, net_link_changed};

static bool net_start(PciDevice *dev, GError **error)
{
    VirtioNet *n = (VirtioNet *)dev;
    uint16_t sizes[NET_QUEUES] = {(uint16_t)n->rx_queue_size, (uint16_t)n->tx_queue_size, NET_CTRL_SIZE};

    if (n->rx_queue_size & (n->rx_queue_size - 1) || n->tx_queue_size & (n->tx_queue_size - 1)) {
        error_set(error, "virtio-net-pci: queue sizes must be powers of two (rx %u, tx %u, allowed 64..1024)",
                  n->rx_queue_size, n->tx_queue_size);
        return false;
    }
    net_default_mac(dev->dev.obj.machine, n->mac);
    if (n->net && !net_attach(n->net, &dev->dev, dev->dev.home, &net_frontend, n, n->mac, error)) {
        return false;
    }
    if (!virtio_pci_start(&n->vp, &net_type, NET_QUEUES, sizes, error)) {
        if (n->net) {
            net_detach(n->net);
        }
        return false;
    }
    return true;
}

static void net_stop(PciDevice *dev)
{
    VirtioNet *n = (VirtioNet *)dev;

    if (n->net) {
        net_detach(n->net);
    }
    virtio_pci_stop(&n->vp);
}

static const Prop net_props[] = {
    {.name = "netdev",
     .type = &prop_netdev,
     .offset = offsetof(VirtioNet, net),
     .doc = "id of a network back end"},
    {.name = "mac", .type = &prop_mac, .offset = offsetof(VirtioNet, mac), .doc = "address of the card"},
    PROP_U32("rx_queue_size", VirtioNet, rx_queue_size, 256, 64, VIRTIO_QUEUE_MAX,
             "entries of the receive queue"),
    PROP_U32("tx_queue_size", VirtioNet, tx_queue_size, 256, 64, VIRTIO_QUEUE_MAX,
             "entries of the transmit queue"),
    VIRTIO_PCI_PROPS(VirtioNet),
    PROP_END,
};

static bool net_post_load(void *instance, uint32_t version, GError **error)
{
    VirtioNet *n = instance;

    if (n->table_len > NET_TABLE_MAX) {
        error_set(error, "%s: saved address table is too long (%u, allowed 0..%d)", n->vp.pci.dev.obj.id,
                  n->table_len, NET_TABLE_MAX);
        return false;
    }
    return true;
}

static const StateField net_fields[] = {
    STATE_FIELD_STRUCT(VirtioNet, vp, &virtio_pci_state),
    STATE_FIELD_BYTES(VirtioNet, address),
    STATE_FIELD_BYTES(VirtioNet, modes),
    STATE_FIELD_BYTES(VirtioNet, table),
    STATE_FIELD_UINT(VirtioNet, table_len),
    STATE_FIELD_BOOL(VirtioNet, uni_overflow),
    STATE_FIELD_BOOL(VirtioNet, multi_overflow),
    STATE_FIELD_ARRAY(VirtioNet, vlans),
    STATE_END,
};
static const StateTable net_state = {
    .name = "virtio-net-pci", .version = 1, .fields = net_fields, .post_load = net_post_load};

const PciModel virtio_net_pci_model = {
    .dev = {.name = "virtio-net-pci",
            .alias = "virtio-net",
            .doc = "virtio network card.",
            .kind = MODEL_PCI,
            .size = sizeof(VirtioNet),
            .props = net_props,
            .state = &net_state},
    .ids = {.vendor = VIRTIO_PCI_VENDOR, .class_code = 0x020000, .subsystem_vendor = VIRTIO_PCI_VENDOR},
    .interrupt_pin = 1,
    .express = true,
    .bars = {[1] = {.size = 0x1000, .kind = PCI_BAR_MEM32}},
    .start = net_start,
    .reset = virtio_pci_reset,
    .stop = net_stop,
    .config_read = virtio_pci_config_read,
    .config_written = virtio_pci_config_written,
};
