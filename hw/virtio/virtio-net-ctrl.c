/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control queue of virtio-net-pci (VIRTIO 1.1, 5.1.6.5): receive filters, queue pairs, offloads,
 * announcements. */
#include <string.h>

#include "virtio-net.h"

#define NET_OK           0
#define NET_ERR          1
#define CTRL_COMMAND_LEN 2
#define CTRL_DATA_MAX    (8 + 4096)

/* A class of commands: class and command are looked up, `data` is what follows them. */
typedef uint8_t CtrlFn(VirtioNet *n, uint8_t command, const uint8_t *data, size_t len);

static uint8_t ctrl_rx(VirtioNet *n, uint8_t command, const uint8_t *data, size_t len)
{
    if (command >= RX_MODES || len != 1 ||
        (command > RX_ALLMULTI && !virtio_has(&n->vp, NET_F_CTRL_RX_EXTRA))) {
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

    if (command == 1 && len == NET_MAC_LEN && virtio_has(&n->vp, NET_F_CTRL_MAC_ADDR)) {
        memcpy(n->address, data, NET_MAC_LEN);
        virtio_net_fill_config(n);
        return NET_OK;
    }
    if (command != 0 || !virtio_has(&n->vp, NET_F_CTRL_RX)) {
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

/* The driver has sent its announcements (5.1.6.5.4). */
static uint8_t ctrl_announce(VirtioNet *n, uint8_t command, const uint8_t *data, size_t len)
{
    if (command != 0 || !n->announcing) {
        return NET_ERR;
    }
    n->announcing = false;
    virtio_net_fill_config(n);
    return NET_OK;
}

static uint8_t ctrl_mq(VirtioNet *n, uint8_t command, const uint8_t *data, size_t len)
{
    unsigned pairs = len == 2 ? pci_get16(data) : 0;

    if (command != 0 || pairs < 1 || pairs > n->max_pairs) {
        return NET_ERR;
    }
    n->pairs = (uint16_t)pairs;
    virtio_net_configure_backend(n);
    return NET_OK;
}

static uint8_t ctrl_offloads(VirtioNet *n, uint8_t command, const uint8_t *data, size_t len)
{
    uint64_t offloads = len == 8 ? pci_get64(data) : UINT64_MAX;

    if (command != 0 || offloads & ~(n->vp.driver_features & NET_GUEST_OFFLOADS)) {
        return NET_ERR;
    }
    n->offloads = offloads;
    virtio_net_configure_backend(n);
    return NET_OK;
}

static const struct {
    CtrlFn *fn;
    unsigned feature; /* without which the class is not there */
} ctrl_classes[] = {
    {ctrl_rx, NET_F_CTRL_RX},     {ctrl_mac, NET_F_CTRL_VQ}, /* two features: ctrl_mac looks */
    {ctrl_vlan, NET_F_CTRL_VLAN}, {ctrl_announce, NET_F_GUEST_ANNOUNCE},
    {ctrl_mq, NET_F_MQ},          {ctrl_offloads, NET_F_CTRL_GUEST_OFFLOADS},
};

static uint8_t control(VirtioNet *n, VirtQueue *vq, const VirtioElement *element)
{
    uint8_t data[CTRL_COMMAND_LEN + CTRL_DATA_MAX];
    size_t len = (size_t)MIN(element->out_len, sizeof(data));

    if (element->out_len > sizeof(data) || len < CTRL_COMMAND_LEN ||
        virtio_element_read(vq, element, 0, data, len) != len || data[0] >= G_N_ELEMENTS(ctrl_classes) ||
        !virtio_has(&n->vp, ctrl_classes[data[0]].feature)) {
        return NET_ERR;
    }
    return ctrl_classes[data[0]].fn(n, data[1], data + CTRL_COMMAND_LEN, len - CTRL_COMMAND_LEN);
}

void virtio_net_handle_ctrl(VirtioNet *n, VirtQueue *vq)
{
    VirtioElement *element;

    while ((element = virtqueue_pop(vq))) {
        uint8_t ack = element->in_len ? control(n, vq, element) : NET_ERR;

        virtqueue_push(vq, element, (uint32_t)virtio_element_write(vq, element, 0, &ack, 1));
    }
    virtqueue_notify(vq);
}
