/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-net-pci: the network device (VIRTIO 1.1, 5.1).  This file has what is offered, the configuration and
 * the life of the function; frames and the control queue are in files of their own.
 */
#include <string.h>

#include "core/error.h"
#include "virtio-net.h"

/* How long a guest that has moved runs before it is asked to tell the network, so that the network is there.
 */
#define ANNOUNCE_DELAY_NS INT64_C(50000000)

#define SPEED_UNKNOWN  UINT32_MAX
#define DUPLEX_HALF    0
#define DUPLEX_FULL    1
#define DUPLEX_UNKNOWN 0xff

/* --- what is offered --- */

#define NO_NEED     UINT8_MAX
#define NET_MTU_MIN 68 /* of IPv4 (5.1.4.1) */

/* In this order: what a feature needs comes before it (5.1.3.1). */
static const struct {
    size_t property;
    uint8_t bit, needs;
    unsigned backend; /* NET_RX_* the back end must have */
} net_offers[] = {
    {offsetof(VirtioNet, csum), NET_F_CSUM, NO_NEED, 0},
    {offsetof(VirtioNet, host_tso4), NET_F_HOST_TSO4, NET_F_CSUM, 0},
    {offsetof(VirtioNet, host_tso6), NET_F_HOST_TSO6, NET_F_CSUM, 0},
    {offsetof(VirtioNet, host_ecn), NET_F_HOST_ECN, NET_F_HOST_TSO4, 0},
    {offsetof(VirtioNet, guest_csum), NET_F_GUEST_CSUM, NO_NEED, 0},
    {offsetof(VirtioNet, guest_tso4), NET_F_GUEST_TSO4, NET_F_GUEST_CSUM, NET_RX_TSO4},
    {offsetof(VirtioNet, guest_tso6), NET_F_GUEST_TSO6, NET_F_GUEST_CSUM, NET_RX_TSO6},
    {offsetof(VirtioNet, guest_ecn), NET_F_GUEST_ECN, NET_F_GUEST_TSO4, NET_RX_ECN},
    {offsetof(VirtioNet, mrg_rxbuf), NET_F_MRG_RXBUF, NO_NEED, 0},
    {offsetof(VirtioNet, status), NET_F_STATUS, NO_NEED, 0},
    {offsetof(VirtioNet, ctrl_vq), NET_F_CTRL_VQ, NO_NEED, 0},
    {offsetof(VirtioNet, guest_offloads), NET_F_CTRL_GUEST_OFFLOADS, NET_F_CTRL_VQ, 0},
    {offsetof(VirtioNet, ctrl_rx), NET_F_CTRL_RX, NET_F_CTRL_VQ, 0},
    {offsetof(VirtioNet, ctrl_vlan), NET_F_CTRL_VLAN, NET_F_CTRL_VQ, 0},
    {offsetof(VirtioNet, ctrl_rx_extra), NET_F_CTRL_RX_EXTRA, NET_F_CTRL_VQ, 0},
    {offsetof(VirtioNet, announce), NET_F_GUEST_ANNOUNCE, NET_F_CTRL_VQ, 0},
    {offsetof(VirtioNet, ctrl_mac_addr), NET_F_CTRL_MAC_ADDR, NET_F_CTRL_VQ, 0},
};

static uint64_t net_offered(const VirtioNet *n)
{
    unsigned backend = n->net ? net_rx_offloads(n->net) : 0;
    uint64_t features = VIRTIO_FEATURE(NET_F_MAC);

    for (size_t i = 0; i < G_N_ELEMENTS(net_offers); i++) {
        bool wanted = *(const bool *)((const char *)n + net_offers[i].property);

        if (wanted && (net_offers[i].needs == NO_NEED || features >> net_offers[i].needs & 1) &&
            (backend & net_offers[i].backend) == net_offers[i].backend) {
            features |= VIRTIO_FEATURE(net_offers[i].bit);
        }
    }
    features |= n->max_pairs > 1 ? VIRTIO_FEATURE(NET_F_MQ) : 0;
    features |= n->host_mtu ? VIRTIO_FEATURE(NET_F_MTU) : 0;
    features |= n->speed >= 0 || n->duplex ? VIRTIO_FEATURE(NET_F_SPEED_DUPLEX) : 0;
    return features;
}

/* --- configuration --- */

void virtio_net_fill_config(VirtioNet *n)
{
    uint8_t *config = n->vp.config;
    unsigned link = !n->net || net_link_up(n->net) ? NET_STATUS_LINK : 0;

    memcpy(config, n->address, NET_MAC_LEN);
    pci_set16(config + NET_CONFIG_STATUS, (uint16_t)(link | (n->announcing ? NET_STATUS_ANNOUNCE : 0)));
    pci_set16(config + NET_CONFIG_PAIRS, n->max_pairs);
    pci_set16(config + NET_CONFIG_MTU, n->host_mtu);
    pci_set32(config + NET_CONFIG_SPEED, n->speed < 0 ? SPEED_UNKNOWN : (uint32_t)n->speed);
    config[NET_CONFIG_DUPLEX] = !n->duplex                       ? DUPLEX_UNKNOWN
                                : strcmp(n->duplex, "full") == 0 ? DUPLEX_FULL
                                                                 : DUPLEX_HALF;
}

void virtio_net_configure_backend(VirtioNet *n)
{
    static const struct {
        unsigned bit, rx;
    } bits[] = {{NET_F_GUEST_CSUM, NET_RX_CSUM},
                {NET_F_GUEST_TSO4, NET_RX_TSO4},
                {NET_F_GUEST_TSO6, NET_RX_TSO6},
                {NET_F_GUEST_ECN, NET_RX_ECN}};
    unsigned rx = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(bits); i++) {
        rx |= n->offloads >> bits[i].bit & 1 ? bits[i].rx : 0;
    }
    if (n->net) {
        net_set_rx_offloads(n->net, rx & NET_RX_CSUM ? rx : 0);
        net_set_queues(n->net, n->pairs);
    }
}

/* Drivers of before version 1 write the address (5.1.4.3). */
static void net_config_written(VirtioPci *vp, unsigned offset, unsigned size)
{
    VirtioNet *n = (VirtioNet *)vp;

    if (!virtio_has(vp, VIRTIO_F_VERSION_1) && !virtio_has(vp, NET_F_CTRL_MAC_ADDR) && offset < NET_MAC_LEN) {
        memcpy(n->address, vp->config, NET_MAC_LEN);
    }
    virtio_net_fill_config(n);
}

static void net_link_changed(void *opaque, bool up)
{
    VirtioNet *n = opaque;

    virtio_net_fill_config(n);
    virtio_config_changed(&n->vp);
}

static void net_announce(void *opaque)
{
    VirtioNet *n = opaque;

    n->announcing = true;
    virtio_net_fill_config(n);
    virtio_config_changed(&n->vp);
}

/* --- queues --- */

static void net_handle(VirtioPci *vp, VirtQueue *vq)
{
    VirtioNet *n = (VirtioNet *)vp;

    if (virtio_net_is_ctrl(n, vq->index)) {
        virtio_net_handle_ctrl(n, vq);
    } else if (vq->index >= 2u * n->max_pairs) {
        guest_error(&vp->pci.dev, "queue %u is used without multiqueue", vq->index);
    } else if (vq->index & 1) {
        virtio_net_handle_tx(n, vq);
    } else if (n->net) {
        net_can_receive(n->net, vq->index / 2);
    }
}

static void net_driver_ok(VirtioPci *vp)
{
    VirtioNet *n = (VirtioNet *)vp;

    n->offloads = vp->driver_features & NET_GUEST_OFFLOADS;
    virtio_net_configure_backend(n);
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
    n->pairs = 1;
    n->offloads = 0;
    n->announcing = false;
    timer_cancel(n->announce_timer);
    virtio_net_fill_config(n);
    virtio_net_configure_backend(n);
    for (unsigned i = 0; n->net && i < n->max_pairs; i++) {
        net_can_receive(n->net, i); /* frames that waited for buffers are lost */
    }
}

static const VirtioType net_type = {
    .name = "virtio-net-pci",
    .device_id = 1,
    .legacy_pci_id = 0x1000,
    .config_len = NET_CONFIG_LEN,
    .handle = net_handle,
    .reset = net_reset,
    .driver_ok = net_driver_ok,
    .config_written = net_config_written,
};

/* --- life --- */

static const NetFrontend net_frontend = {virtio_net_can_receive, virtio_net_receive, net_link_changed};

static bool net_check(const VirtioNet *n, GError **error)
{
    if (n->rx_queue_size & (n->rx_queue_size - 1) || n->tx_queue_size & (n->tx_queue_size - 1)) {
        error_set(error, "virtio-net-pci: queue sizes must be powers of two (rx %u, tx %u, allowed 64..1024)",
                  n->rx_queue_size, n->tx_queue_size);
        return false;
    }
    if (n->host_mtu && n->host_mtu < NET_MTU_MIN) {
        error_set(error, "virtio-net-pci: host_mtu is too small (%u, allowed 0, %u..65535)", n->host_mtu,
                  NET_MTU_MIN);
        return false;
    }
    if (n->duplex && strcmp(n->duplex, "full") != 0 && strcmp(n->duplex, "half") != 0) {
        error_set(error, "virtio-net-pci: duplex: no such mode (%s, allowed full, half)", n->duplex);
        return false;
    }
    return true;
}

static bool net_start(PciDevice *dev, GError **error)
{
    VirtioNet *n = (VirtioNet *)dev;
    uint16_t sizes[2 * NET_QUEUES_MAX + 1];

    if (!net_check(n, error)) {
        return false;
    }
    net_default_mac(dev->dev.obj.machine, n->mac);
    if (n->net && !net_attach(n->net, &dev->dev, dev->dev.home, &net_frontend, n, n->mac, error)) {
        return false;
    }
    n->max_pairs = (uint16_t)(n->net && n->mq && n->ctrl_vq ? net_queues(n->net) : 1);
    n->pairs = 1;
    for (unsigned i = 0; i < n->max_pairs; i++) {
        sizes[2 * i] = (uint16_t)n->rx_queue_size;
        sizes[2 * i + 1] = (uint16_t)n->tx_queue_size;
    }
    sizes[2 * n->max_pairs] = NET_CTRL_SIZE;
    n->vp.host_features = net_offered(n);
    if (!virtio_pci_start(&n->vp, &net_type, 2u * n->max_pairs + 1, sizes, error)) {
        if (n->net) {
            net_detach(n->net);
        }
        return false;
    }
    n->announce_timer = device_timer_new(&dev->dev, net_announce, n);
    return true;
}

static void net_stop(PciDevice *dev)
{
    VirtioNet *n = (VirtioNet *)dev;

    virtio_pci_stop(&n->vp);
    if (n->net) {
        net_detach(n->net);
    }
    g_clear_pointer(&n->announce_timer, timer_free);
}

/* --- properties and state --- */

#define OFFER(name, field, def, text) PROP_BOOL(name, VirtioNet, field, def, "offer " text)

static const Prop net_props[] = {
    {.name = "netdev",
     .type = &prop_netdev,
     .offset = offsetof(VirtioNet, net),
     .doc = "id of a network back end"},
    {.name = "mac", .type = &prop_mac, .offset = offsetof(VirtioNet, mac), .doc = "address of the card"},
    PROP_U32("rx_queue_size", VirtioNet, rx_queue_size, 256, 64, VIRTIO_QUEUE_MAX,
             "entries of a receive queue"),
    PROP_U32("tx_queue_size", VirtioNet, tx_queue_size, 256, 64, VIRTIO_QUEUE_MAX,
             "entries of a transmit queue"),
    PROP_U16("host_mtu", VirtioNet, host_mtu, 0, 0, UINT16_MAX, "MTU the driver is told to use; 0: none"),
    {.name = "speed",
     .type = &prop_int32,
     .offset = offsetof(VirtioNet, speed),
     .def = -1,
     .min = -1,
     .max = INT32_MAX,
     .doc = "Mbit/s the driver is told; -1: not known"},
    PROP_STR("duplex", VirtioNet, duplex, NULL, "full or half, as the driver is told; default: not known"),
    PROP_BOOL("mq", VirtioNet, mq, false, "offer a pair of queues for each of the back end's"),
    OFFER("csum", csum, true, "to complete checksums"),
    OFFER("guest_csum", guest_csum, true, "frames whose checksum is not complete, or known to be right"),
    OFFER("host_tso4", host_tso4, true, "to cut TCP segments over IPv4"),
    OFFER("host_tso6", host_tso6, true, "to cut TCP segments over IPv6"),
    OFFER("host_ecn", host_ecn, true, "to cut TCP segments with ECN"),
    OFFER("guest_tso4", guest_tso4, true, "long TCP segments over IPv4, when the back end has them"),
    OFFER("guest_tso6", guest_tso6, true, "long TCP segments over IPv6, when the back end has them"),
    OFFER("guest_ecn", guest_ecn, true, "long TCP segments with ECN, when the back end has them"),
    OFFER("mrg_rxbuf", mrg_rxbuf, true, "merged receive buffers"),
    OFFER("status", status, true, "the state of the link"),
    OFFER("ctrl_vq", ctrl_vq, true, "the control queue"),
    OFFER("ctrl_rx", ctrl_rx, true, "receive modes"),
    OFFER("ctrl_rx_extra", ctrl_rx_extra, true, "further receive modes"),
    OFFER("ctrl_vlan", ctrl_vlan, true, "VLAN filters"),
    OFFER("ctrl_mac_addr", ctrl_mac_addr, true, "to set the address by the control queue"),
    OFFER("ctrl_guest_offloads", guest_offloads, true, "to switch offloads while the device runs"),
    OFFER("guest_announce", announce, true, "to ask for announcements after a migration"),
    VIRTIO_PCI_PROPS(VirtioNet),
    PROP_END,
};

static bool net_post_load(void *instance, uint32_t version, GError **error)
{
    VirtioNet *n = instance;

    if (n->table_len > NET_TABLE_MAX || n->pairs < 1 || n->pairs > n->max_pairs ||
        n->offloads & ~NET_GUEST_OFFLOADS) {
        error_set(error,
                  "%s: saved state is out of range (%u addresses, allowed 0..%d; %u pairs, allowed 1..%u; "
                  "offloads 0x%" G_GINT64_MODIFIER "x)",
                  n->vp.pci.dev.obj.id, n->table_len, NET_TABLE_MAX, n->pairs, n->max_pairs, n->offloads);
        return false;
    }
    if (n->net) {
        net_load_link(n->net, pci_get16(n->vp.config + NET_CONFIG_STATUS) & NET_STATUS_LINK);
    }
    virtio_net_fill_config(n);
    virtio_net_configure_backend(n);
    if (virtio_has(&n->vp, NET_F_GUEST_ANNOUNCE) && virtio_running(&n->vp)) {
        timer_set(n->announce_timer,
                  clock_now(n->vp.pci.dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL) + ANNOUNCE_DELAY_NS);
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
    STATE_FIELD_UINT(VirtioNet, pairs),
    STATE_FIELD_UINT(VirtioNet, offloads),
    STATE_FIELD_BOOL(VirtioNet, announcing),
    STATE_END,
};
static const StateTable net_state = {
    .name = "virtio-net-pci", .version = 2, .fields = net_fields, .post_load = net_post_load};

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
