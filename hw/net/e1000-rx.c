/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Receiving (82540EM manual, 3.2): address and VLAN filters, checksum results, descriptors from RDH to RDT.
 * A frame for which there is no descriptor yet waits in the back end, as long as it has room.
 */
#include <string.h>
#include <zlib.h>

#include "e1000.h"

#define ETH_HEADER_LEN  14
#define ETH_MIN_LEN     60   /* without FCS */
#define ETH_MAX_LEN     1518 /* without FCS, with VLAN tag */
#define ETH_FCS_LEN     4
#define ETH_VLAN_LEN    4
#define E1000_JUMBO_LEN 16380
#define ETHERTYPE_AT    12
#define ETHERTYPE_IPV4  0x0800
#define IP_PROTO_TCP    6
#define IP_PROTO_UDP    17
#define IPV4_MIN_LEN    20

/* What is known of a frame on its way to the descriptors. */
typedef struct RxFrame {
    uint8_t data[E1000_JUMBO_LEN + ETH_VLAN_LEN + ETH_FCS_LEN];
    size_t len; /* with FCS unless SECRC */
    uint8_t status, errors;
    uint16_t checksum, special;
} RxFrame;

static uint16_t be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* --- filters --- */

static bool rx_matches_address(E1000 *e, const uint8_t *mac)
{
    for (unsigned i = 0; i < E1000_RAR_COUNT; i++) {
        uint32_t low = e1000_reg(e, E1000_RAL0)[2 * i], high = e1000_reg(e, E1000_RAL0)[2 * i + 1];

        if (high & RAH_AV && !RAH_AS(high) && pci_get32(mac) == low &&
            pci_get16(mac + 4) == (high & 0xffff)) {
            return true;
        }
    }
    return false;
}

static bool rx_matches_hash(E1000 *e, const uint8_t *mac, uint32_t rctl)
{
    static const uint8_t shifts[] = {4, 3, 2, 0};
    unsigned hash = (unsigned)(mac[5] << 8 | mac[4]) >> shifts[RCTL_MO(rctl)] & 0xfff;

    return e1000_reg(e, E1000_MTA)[hash >> 5] >> (hash & 31) & 1;
}

static bool rx_wants_address(E1000 *e, const uint8_t *mac, uint32_t rctl, RxFrame *f)
{
    static const uint8_t broadcast[NET_MAC_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    if (memcmp(mac, broadcast, NET_MAC_LEN) == 0) {
        return rctl & (RCTL_BAM | RCTL_MPE);
    }
    if (rx_matches_address(e, mac)) {
        return true;
    }
    if (!(mac[0] & 1)) {
        return rctl & RCTL_UPE;
    }
    if (rctl & RCTL_MPE) {
        return true;
    }
    f->status |= RXD_PIF; /* inexact: software looks again */
    return rx_matches_hash(e, mac, rctl);
}

static bool rx_is_vlan(E1000 *e, const uint8_t *frame, size_t len)
{
    return len >= ETH_HEADER_LEN + ETH_VLAN_LEN &&
           be16(frame + ETHERTYPE_AT) == (*e1000_reg(e, E1000_VET) & 0xffff);
}

static bool rx_wants_vlan(E1000 *e, const uint8_t *frame, uint32_t rctl)
{
    unsigned tci = be16(frame + ETH_HEADER_LEN), vid = tci & 0xfff;

    if (!(rctl & RCTL_VFE)) {
        return true;
    }
    if (rctl & RCTL_CFIEN && (tci >> 12 & 1) != !!(rctl & RCTL_CFI)) {
        return false;
    }
    return e1000_reg(e, E1000_VFTA)[vid >> 5] >> (vid & 31) & 1;
}

/* --- checksums (3.2.9) --- */

static void rx_check_transport(RxFrame *f, const uint8_t *ip, size_t header, size_t total)
{
    const uint8_t *segment = ip + header;
    uint8_t protocol = ip[9];
    size_t len = total - header;

    if ((be16(ip + 6) & 0x3fff) || (protocol != IP_PROTO_TCP && protocol != IP_PROTO_UDP) ||
        len < (protocol == IP_PROTO_TCP ? 20 : 8)) {
        return;
    }
    f->status |= RXD_TCPCS;
    if (protocol == IP_PROTO_UDP && !be16(segment + 6)) {
        return; /* sent without */
    }
    if (net_checksum_finish(net_checksum_add(net_checksum_pseudo(ip, protocol, len), segment, len))) {
        f->errors |= RXD_TCPE;
    }
}

static void rx_checksums(E1000 *e, RxFrame *f, const uint8_t *frame, size_t len, size_t header_len)
{
    uint32_t rxcsum = *e1000_reg(e, E1000_RXCSUM);
    const uint8_t *ip = frame + header_len;
    size_t pcss = RXCSUM_PCSS(rxcsum), header, total;

    if (pcss < len) {
        f->checksum = (uint16_t)~net_checksum_finish(net_checksum_add(0, frame + pcss, len - pcss));
    }
    if (len < header_len + IPV4_MIN_LEN || be16(frame + header_len - 2) != ETHERTYPE_IPV4 ||
        ip[0] >> 4 != 4) {
        f->status |= RXD_IXSM;
        return;
    }
    header = (ip[0] & 0xfu) * 4;
    total = be16(ip + 2);
    if (header < IPV4_MIN_LEN || total < header || header_len + total > len) {
        f->status |= RXD_IXSM;
        return;
    }
    if (rxcsum & RXCSUM_IPOFLD) {
        f->status |= RXD_IPCS;
        f->errors |= net_checksum_finish(net_checksum_add(0, ip, header)) ? RXD_IPE : 0;
    }
    if (rxcsum & RXCSUM_TUOFLD) {
        rx_check_transport(f, ip, header, total);
    }
    if (!(f->status & (RXD_IPCS | RXD_TCPCS))) {
        f->status |= RXD_IXSM;
    }
}

/* --- descriptors --- */

static uint32_t rx_ring_len(E1000 *e)
{
    return *e1000_reg(e, E1000_RDLEN) / E1000_DESC_LEN;
}

/* Descriptors that are the hardware's. */
static uint32_t rx_available(E1000 *e)
{
    uint32_t n = rx_ring_len(e), head = *e1000_reg(e, E1000_RDH), tail = *e1000_reg(e, E1000_RDT);

    return head >= n || tail >= n ? 0 : (tail + n - head) % n;
}

static uint32_t rx_buffer_size(uint32_t rctl)
{
    uint32_t size = 2048u >> RCTL_BSIZE(rctl);

    return rctl & RCTL_BSEX && RCTL_BSIZE(rctl) ? size * 16 : size;
}

static bool rx_fill_descriptor(E1000 *e, const RxFrame *f, size_t at, uint32_t buffer)
{
    uint64_t ring = (uint64_t)*e1000_reg(e, E1000_RDBAH) << 32 | *e1000_reg(e, E1000_RDBAL);
    uint32_t *head = e1000_reg(e, E1000_RDH);
    uint64_t where = ring + (uint64_t)*head * E1000_DESC_LEN;
    size_t len = MIN(f->len - at, buffer);
    bool last = at + len == f->len;
    uint8_t desc[E1000_DESC_LEN];
    uint64_t addr;

    if (pci_dma_read(&e->pci, where, desc, sizeof(desc)) != MEM_OK) {
        guest_error(&e->pci.dev, "receive descriptor at 0x%" G_GINT64_MODIFIER "x is not memory", where);
        return false;
    }
    addr = pci_get64(desc);
    if (addr && pci_dma_write(&e->pci, addr, f->data + at, len) != MEM_OK) {
        guest_error(&e->pci.dev, "receive buffer at 0x%" G_GINT64_MODIFIER "x is not memory", addr);
    }
    pci_set16(desc + 8, (uint16_t)len);
    pci_set16(desc + 10, f->checksum);
    desc[12] = (uint8_t)(f->status | RXD_DD | (last ? RXD_EOP : 0));
    desc[13] = last ? f->errors : 0;
    pci_set16(desc + 14, f->special);
    /* The status comes after the rest, for the driver that polls it. */
    if (pci_dma_write(&e->pci, where + 8, desc + 8, 4) != MEM_OK ||
        pci_dma_write(&e->pci, where + 12, desc + 12, 4) != MEM_OK) {
        guest_error(&e->pci.dev, "receive descriptor at 0x%" G_GINT64_MODIFIER "x cannot be written", where);
        return false;
    }
    *head = *head + 1 >= rx_ring_len(e) ? 0 : *head + 1;
    return true;
}

static void rx_count(E1000 *e, const RxFrame *f, const uint8_t *mac, size_t wire_len)
{
    e1000_count_size(e, E1000_PRC64, wire_len);
    e1000_count(e, E1000_GPRC, 1);
    e1000_count64(e, E1000_GORCL, wire_len);
    if (mac[0] & 1) {
        e1000_count(
            e, (mac[0] & mac[1] & mac[2] & mac[3] & mac[4] & mac[5]) == 0xff ? E1000_BPRC : E1000_MPRC, 1);
    }
    TRACE(&e1000_trace[E1000_TRACE_RX], "%s: %zu bytes", e->pci.dev.obj.id, f->len);
}

static void rx_to_ring(E1000 *e, const RxFrame *f, size_t wire_len)
{
    uint32_t rctl = *e1000_reg(e, E1000_RCTL), buffer = rx_buffer_size(rctl);
    uint8_t mac[NET_MAC_LEN];
    size_t at = 0;

    if (rx_available(e) * (uint64_t)buffer < f->len) {
        e1000_count(e, E1000_MPC, 1);
        e1000_count(e, E1000_RNBC, 1);
        e1000_set_cause(e, ICR_RXO);
        return;
    }
    memcpy(mac, f->data, sizeof(mac));
    /* A transfer may hit our own registers: what there is to use is looked up anew for each descriptor. */
    while (at < f->len && rx_available(e) && rx_fill_descriptor(e, f, at, buffer)) {
        at += MIN(f->len - at, buffer);
    }
    if (at < f->len) {
        return;
    }
    rx_count(e, f, mac, wire_len);
    if (rx_available(e) <= rx_ring_len(e) >> (RCTL_RDMTS(rctl) + 1)) {
        e1000_set_cause(e, ICR_RXDMT0);
    }
    e1000_rx_cause(e);
}

/* Copies the frame as memory shall see it: padded, without its tag when VME strips it, with FCS unless SECRC.
 */
static size_t rx_prepare(E1000 *e, RxFrame *f, const uint8_t *frame, size_t len, uint32_t rctl)
{
    bool vlan = rx_is_vlan(e, frame, len);
    size_t padded = MAX(len, ETH_MIN_LEN), strip = 0;

    memcpy(f->data, frame, len);
    memset(f->data + len, 0, padded - len);
    rx_checksums(e, f, f->data, padded, ETH_HEADER_LEN + (vlan ? ETH_VLAN_LEN : 0));
    if (!(rctl & RCTL_SECRC)) {
        /* The frame check sequence of IEEE 802.3, 3.2.9. */
        pci_set32(f->data + padded, (uint32_t)crc32_z(0, f->data, padded));
    }
    if (vlan && *e1000_reg(e, E1000_CTRL) & CTRL_VME) {
        f->status |= RXD_VP;
        f->special = be16(f->data + ETH_HEADER_LEN);
        strip = ETH_VLAN_LEN;
        memmove(f->data + ETHERTYPE_AT, f->data + ETHERTYPE_AT + ETH_VLAN_LEN,
                padded + ETH_FCS_LEN - ETHERTYPE_AT - ETH_VLAN_LEN);
    }
    f->len = padded - strip + (rctl & RCTL_SECRC ? 0 : ETH_FCS_LEN);
    return padded + ETH_FCS_LEN;
}

bool e1000_can_receive(void *opaque, unsigned queue)
{
    E1000 *e = opaque;

    e1000_doorbell_fetch(e, E1000_BELL_RDT);
    return !(*e1000_reg(e, E1000_RCTL) & RCTL_EN) || rx_available(e);
}

bool e1000_receive(void *opaque, unsigned queue, const uint8_t *frame, size_t len, const NetOffload *offload)
{
    E1000 *e = opaque;
    uint32_t rctl = *e1000_reg(e, E1000_RCTL);
    RxFrame f;
    size_t wire_len;

    if (!(rctl & RCTL_EN) || !e1000_link_up(e) || len < ETH_HEADER_LEN || !pci_bus_master(&e->pci)) {
        return true;
    }
    e1000_count(e, E1000_TPR, 1);
    e1000_count64(e, E1000_TORL, MAX(len, ETH_MIN_LEN) + ETH_FCS_LEN);
    if (len > (rctl & RCTL_LPE ? E1000_JUMBO_LEN : ETH_MAX_LEN)) {
        e1000_count(e, E1000_ROC, 1);
        return true;
    }
    f.status = f.errors = 0;
    f.checksum = f.special = 0;
    if (!rx_wants_address(e, frame, rctl, &f) ||
        (rx_is_vlan(e, frame, len) && !rx_wants_vlan(e, frame, rctl))) {
        return true;
    }
    wire_len = rx_prepare(e, &f, frame, len, rctl);
    rx_to_ring(e, &f, wire_len);
    return true;
}
