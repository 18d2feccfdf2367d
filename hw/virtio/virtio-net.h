/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of virtio-net-pci share: numbers of VIRTIO 1.1, 5.1, and the instance.  Context: its home
 * loop. */
#ifndef HW_VIRTIO_NET_H
#define HW_VIRTIO_NET_H

#include "net/net.h"
#include "virtio.h"

/* Feature bits (5.1.3) */
#define NET_F_CSUM                0
#define NET_F_GUEST_CSUM          1
#define NET_F_CTRL_GUEST_OFFLOADS 2
#define NET_F_MTU                 3
#define NET_F_MAC                 5
#define NET_F_GUEST_TSO4          7
#define NET_F_GUEST_TSO6          8
#define NET_F_GUEST_ECN           9
#define NET_F_HOST_TSO4           11
#define NET_F_HOST_TSO6           12
#define NET_F_HOST_ECN            13
#define NET_F_MRG_RXBUF           15
#define NET_F_STATUS              16
#define NET_F_CTRL_VQ             17
#define NET_F_CTRL_RX             18
#define NET_F_CTRL_VLAN           19
#define NET_F_CTRL_RX_EXTRA       20
#define NET_F_GUEST_ANNOUNCE      21
#define NET_F_MQ                  22
#define NET_F_CTRL_MAC_ADDR       23
#define NET_F_SPEED_DUPLEX        63
/* Configuration (5.1.4; speed and duplex are of version 1.2) */
#define NET_CONFIG_STATUS   6
#define NET_CONFIG_PAIRS    8
#define NET_CONFIG_MTU      10
#define NET_CONFIG_SPEED    12
#define NET_CONFIG_DUPLEX   16
#define NET_CONFIG_LEN      17
#define NET_STATUS_LINK     1u
#define NET_STATUS_ANNOUNCE 2u
/* The header before each frame (5.1.6) */
#define NET_HDR_LEN_LEGACY 10 /* without num_buffers */
#define NET_HDR_LEN        12
#define NET_HDR_BUFFERS    10

#define NET_CTRL_SIZE 64 /* entries of the control queue */
#define NET_TABLE_MAX 64
#define NET_VLANS     4096
#define NET_FRAME_MIN 14

enum { RX_PROMISC, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST, RX_MODES };

typedef struct VirtioNet {
    VirtioPci vp;
    /* properties */
    NetBackend *net;
    uint8_t mac[NET_MAC_LEN];
    uint32_t rx_queue_size, tx_queue_size;
    uint16_t host_mtu; /* 0: not said */
    int32_t speed;     /* Mbit/s; -1: not known */
    char *duplex;      /* "full", "half" or NULL */
    bool csum, guest_csum, guest_offloads, guest_tso4, guest_tso6, guest_ecn, host_tso4, host_tso6, host_ecn,
        mrg_rxbuf, status, ctrl_vq, ctrl_rx, ctrl_vlan, ctrl_rx_extra, ctrl_mac_addr, announce, mq;

    uint16_t max_pairs;           /* of queues */
    uint16_t pairs;               /* that the driver uses */
    uint64_t offloads;            /* GUEST_* features that are on */
    uint8_t address[NET_MAC_LEN]; /* as the driver set it */
    uint8_t modes[RX_MODES];      /* boolean each */
    uint8_t table[NET_TABLE_MAX][NET_MAC_LEN];
    uint32_t table_len;
    bool uni_overflow, multi_overflow; /* more addresses than the table holds: all pass */
    bool announcing;                   /* the driver is asked to send announcements */
    uint32_t vlans[NET_VLANS / 32];
    Timer *announce_timer;
} VirtioNet;

/* The features with which a driver says what frames it takes. */
#define NET_GUEST_OFFLOADS                                                                                   \
    (VIRTIO_FEATURE(NET_F_GUEST_CSUM) | VIRTIO_FEATURE(NET_F_GUEST_TSO4) |                                   \
     VIRTIO_FEATURE(NET_F_GUEST_TSO6) | VIRTIO_FEATURE(NET_F_GUEST_ECN))

static inline bool virtio_net_is_ctrl(const VirtioNet *n, unsigned queue)
{
    return queue == (virtio_has(&n->vp, NET_F_MQ) ? 2u * n->max_pairs : 2u);
}

/* The configuration from what it is about. */
void virtio_net_fill_config(VirtioNet *n);
/* Pairs and offloads as they are now, to the back end. */
void virtio_net_configure_backend(VirtioNet *n);

/* --- virtio-net-ctrl.c --- */
void virtio_net_handle_ctrl(VirtioNet *n, VirtQueue *vq);

/* --- virtio-net-data.c --- */
void virtio_net_handle_tx(VirtioNet *n, VirtQueue *vq);
bool virtio_net_can_receive(void *opaque, unsigned queue);
bool virtio_net_receive(void *opaque, unsigned queue, const uint8_t *frame, size_t len,
                        const NetOffload *offload);

#endif
