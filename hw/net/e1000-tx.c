/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transmitting (82540EM manual, 3.3 to 3.5): legacy, context and data descriptors from TDH to TDT, checksum
 * insertion, TCP segmentation, VLAN insertion.
 */
#include <string.h>

#include "e1000.h"

#define TX_BATCH       256 /* descriptors in one go, so that others get their turn */
#define ETH_ADDRESSES  12
#define ETH_VLAN_LEN   4
#define ETH_FCS_LEN    4
#define ETH_MIN_LEN    60
#define TCP_SEQ        4
#define TCP_FLAGS      13
#define TCP_FLAGS_LAST 0x09 /* FIN and PSH: of the last segment only */

static void be16_put(uint8_t *p, unsigned val)
{
    p[0] = (uint8_t)(val >> 8);
    p[1] = (uint8_t)val;
}

static unsigned be16_get(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* --- frames --- */

static void tx_count(E1000 *e, const uint8_t *frame, size_t len)
{
    size_t wire_len = len + ETH_FCS_LEN;

    e1000_count(e, E1000_TPT, 1);
    e1000_count(e, E1000_GPTC, 1);
    e1000_count64(e, E1000_TOTL, wire_len);
    e1000_count64(e, E1000_GOTCL, wire_len);
    e1000_count_size(e, E1000_PTC64, wire_len);
    if (frame[0] & 1) {
        bool broadcast = (frame[0] & frame[1] & frame[2] & frame[3] & frame[4] & frame[5]) == 0xff;

        e1000_count(e, broadcast ? E1000_BPTC : E1000_MPTC, 1);
    }
}

/* One frame to the wire, or back when the PHY loops. */
static void tx_send(E1000 *e, const uint8_t *data, size_t len)
{
    E1000Tx *tx = &e->tx;
    uint8_t frame[E1000_TX_MAX + ETH_VLAN_LEN + ETH_MIN_LEN];
    size_t head = 0;

    if (len < ETH_ADDRESSES + 2) {
        guest_error(&e->pci.dev, "packet of %zu bytes sent (allowed: 14 and more)", len);
        return;
    }
    if (tx->vle && *e1000_reg(e, E1000_CTRL) & CTRL_VME) {
        memcpy(frame, data, ETH_ADDRESSES);
        be16_put(frame + ETH_ADDRESSES, *e1000_reg(e, E1000_VET));
        be16_put(frame + ETH_ADDRESSES + 2, tx->special);
        head = ETH_ADDRESSES;
        memcpy(frame + head + ETH_VLAN_LEN, data + head, len - head);
        len += ETH_VLAN_LEN;
    } else {
        memcpy(frame, data, len);
    }
    if (len < ETH_MIN_LEN && *e1000_reg(e, E1000_TCTL) & TCTL_PSP) {
        memset(frame + len, 0, ETH_MIN_LEN - len);
        len = ETH_MIN_LEN;
    }
    TRACE(&e1000_trace[E1000_TRACE_TX], "%s: %zu bytes", e->pci.dev.obj.id, len);
    tx_count(e, frame, len);
    if (e->phy[PHY_CTRL] & PHY_CTRL_LOOPBACK) {
        e1000_receive(e, 0, frame, len, NULL);
    } else if (e->net && e1000_link_up(e)) {
        net_send(e->net, 0, frame, len, NULL);
    }
}

/* Stores at `at` the checksum of the bytes from start to end (0: the end). */
static void tx_insert_checksum(uint8_t *data, size_t len, unsigned start, unsigned at, unsigned end)
{
    size_t stop = end && end + 1u < len ? end + 1u : len;

    if (start < stop && at + 2u <= len) {
        be16_put(data + at, net_checksum_finish(net_checksum_add(0, data + start, stop - start)));
    }
}

static void tx_checksums(E1000 *e, const E1000TxContext *c, uint8_t *data, size_t len)
{
    if (e->tx.popts & TXD_TXSM) {
        tx_insert_checksum(data, len, c->tucss, c->tucso, c->tucse);
    }
    if (e->tx.popts & TXD_IXSM) {
        tx_insert_checksum(data, len, c->ipcss, c->ipcso, c->ipcse);
    }
}

/* --- segmentation (3.5) --- */

/* The fields of the headers that differ from segment to segment; the driver left the prototype. */
static void tx_segment_headers(E1000Tx *tx, uint8_t *data, size_t len, bool last)
{
    const E1000TxContext *c = &tx->segment;
    uint8_t *ip = data + c->ipcss, *transport = data + c->tucss;
    bool tcp = c->tucmd & TUCMD_TCP;

    if (c->tucmd & TUCMD_IP) {
        be16_put(ip + 2, (unsigned)(len - c->ipcss));
        be16_put(ip + 4, be16_get(ip + 4) + tx->segments);
    } else {
        be16_put(ip + 4, (unsigned)(len - c->ipcss - 40));
    }
    if (tcp) {
        uint32_t seq = be16_get(transport + TCP_SEQ) << 16 | be16_get(transport + TCP_SEQ + 2);

        seq += tx->sent;
        be16_put(transport + TCP_SEQ, seq >> 16);
        be16_put(transport + TCP_SEQ + 2, seq & 0xffff);
        transport[TCP_FLAGS] &= (uint8_t) ~(last ? 0 : TCP_FLAGS_LAST);
    } else {
        be16_put(transport + 4, (unsigned)(len - c->tucss));
    }
    if (tx->popts & TXD_TXSM) {
        /* The prototype has the sum of the pseudo header without the length. */
        uint32_t sum = be16_get(data + c->tucso) + (uint32_t)(len - c->tucss);

        be16_put(data + c->tucso, (uint16_t)~net_checksum_finish(sum));
    }
}

/* Sends the first `payload` bytes after the header as one segment, and keeps the header for the next. */
static void tx_send_segment(E1000 *e, size_t payload, bool last)
{
    E1000Tx *tx = &e->tx;
    size_t header = tx->segment.hdrlen, len = header + payload;
    uint8_t frame[E1000_TX_MAX];

    memcpy(frame, tx->data, len);
    tx_segment_headers(tx, frame, len, last);
    tx_checksums(e, &tx->segment, frame, len);
    tx->len -= (uint32_t)payload;
    memmove(tx->data + header, tx->data + len, tx->len - header);
    tx->sent += (uint32_t)payload;
    tx->segments++;
    tx_send(e, frame, len); /* last: what is sent may come back and reset us */
}

/* Whether header offsets stay within the header, so that nothing below has to look again. */
static bool tx_segmentation_valid(const E1000TxContext *c)
{
    unsigned transport = c->tucmd & TUCMD_TCP ? 20 : 8, ip = c->tucmd & TUCMD_IP ? 20 : 40;

    return c->mss && c->ipcss + ip <= c->hdrlen && c->tucss + transport <= c->hdrlen &&
           c->tucso + 2u <= c->hdrlen;
}

/* --- packets --- */

static void tx_begin(E1000 *e)
{
    E1000Tx *tx = &e->tx;

    tx->begun = tx->tse = tx->vle = tx->overrun = tx->ic = false;
    tx->popts = 0;
    tx->len = tx->sent = 0;
    tx->segments = 0;
}

static void tx_end(E1000 *e)
{
    E1000Tx *tx = &e->tx;

    if (tx->overrun || (tx->tse && (!tx_segmentation_valid(&tx->segment) || tx->len < tx->segment.hdrlen))) {
        guest_error(&e->pci.dev, "packet is longer than %d bytes, or its segmentation context is invalid",
                    E1000_TX_MAX);
    } else if (tx->tse) {
        if (tx->len > tx->segment.hdrlen || !tx->segments) {
            tx_send_segment(e, tx->len - tx->segment.hdrlen, true);
        }
        e1000_count(e, E1000_TSCTC, 1);
    } else {
        tx_checksums(e, &tx->checksum, tx->data, tx->len);
        if (tx->ic) {
            tx_insert_checksum(tx->data, tx->len, tx->css, tx->cso, 0);
        }
        tx_send(e, tx->data, tx->len);
    }
    tx_begin(e);
}

/* Appends a descriptor's bytes; full segments leave at once. */
static void tx_gather(E1000 *e, uint64_t addr, uint32_t len)
{
    E1000Tx *tx = &e->tx;

    while (len && !tx->overrun) {
        size_t limit = sizeof(tx->data);
        uint32_t n;

        if (tx->tse) {
            limit = (size_t)tx->segment.hdrlen + tx->segment.mss;
            if (!tx_segmentation_valid(&tx->segment) || limit > sizeof(tx->data) || tx->len > limit) {
                tx->overrun = true;
                return;
            }
            if (tx->len == limit) {
                tx_send_segment(e, tx->segment.mss, false);
            }
        }
        n = (uint32_t)MIN(len, limit - tx->len);
        if (!n) {
            tx->overrun = true;
            return;
        }
        if (pci_dma_read(&e->pci, addr, tx->data + tx->len, n) != MEM_OK) {
            guest_error(&e->pci.dev, "transmit buffer at 0x%" G_GINT64_MODIFIER "x is not memory", addr);
            memset(tx->data + tx->len, 0, n);
        }
        tx->len += n;
        addr += n;
        len -= n;
    }
}

/* --- descriptors --- */

static void tx_context(E1000 *e, const uint8_t *desc)
{
    uint32_t command = pci_get32(desc + 8);
    uint8_t tucmd = (uint8_t)(command >> 24);
    E1000TxContext *c = tucmd & TXD_TSE ? &e->tx.segment : &e->tx.checksum;

    *c = (E1000TxContext){
        .ipcss = desc[0],
        .ipcso = desc[1],
        .ipcse = pci_get16(desc + 2),
        .tucss = desc[4],
        .tucso = desc[5],
        .tucse = pci_get16(desc + 6),
        .paylen = command & 0xfffff,
        .tucmd = tucmd,
        .hdrlen = desc[13],
        .mss = pci_get16(desc + 14),
    };
}

/* Data of either format. */
static void tx_data(E1000 *e, const uint8_t *desc)
{
    uint32_t lower = pci_get32(desc + 8);
    uint8_t command = (uint8_t)(lower >> 24);
    bool extended = command & TXD_DEXT;
    E1000Tx *tx = &e->tx;

    if (!tx->begun) {
        tx->begun = true;
        tx->tse = extended && command & TXD_TSE;
        tx->popts = extended ? desc[13] : 0;
    }
    if (command & TXD_VLE) {
        tx->vle = true;
        tx->special = pci_get16(desc + 14);
    }
    if (!extended && command & TXD_IC) {
        tx->ic = true;
        tx->cso = desc[10];
        tx->css = desc[13];
    }
    tx_gather(e, pci_get64(desc), lower & (extended ? 0xfffff : 0xffff));
    if (command & TXD_EOP) {
        tx_end(e);
    }
}

static void tx_write_back(E1000 *e, uint64_t where, const uint8_t *desc)
{
    uint8_t command = desc[11], status = (uint8_t)(desc[12] | TXD_DD);

    if (!(command & (TXD_RS | TXD_RPS))) {
        return;
    }
    if (pci_dma_write(&e->pci, where + 12, &status, 1) != MEM_OK) {
        guest_error(&e->pci.dev, "transmit descriptor at 0x%" G_GINT64_MODIFIER "x cannot be written", where);
    }
}

static void tx_descriptor(E1000 *e, const uint8_t *desc)
{
    uint32_t lower = pci_get32(desc + 8);

    if (!(lower >> 24 & TXD_DEXT) || (lower >> 20 & 0xf) == TXD_DTYP_DATA) {
        tx_data(e, desc);
    } else if ((lower >> 20 & 0xf) == TXD_DTYP_CONTEXT) {
        tx_context(e, desc);
    } else {
        guest_error(&e->pci.dev, "transmit descriptor of type %u (allowed 0, 1)", lower >> 20 & 0xf);
    }
}

/* Whether the driver left a descriptor at TDH, meanwhile perhaps: that saves the turn that its signal is worth. */
static bool tx_available(E1000 *e)
{
    uint32_t n = *e1000_reg(e, E1000_TDLEN) / E1000_DESC_LEN;
    uint32_t head = *e1000_reg(e, E1000_TDH), *tail = e1000_reg(e, E1000_TDT);

    if (head == *tail) {
        e1000_doorbell_fetch(e, E1000_BELL_TDT);
    }
    return *e1000_reg(e, E1000_TCTL) & TCTL_EN && head != *tail && head < n && *tail < n;
}

/* One descriptor at TDH.  False: there is none. */
static bool tx_next(E1000 *e, uint32_t *cause, bool *delayed)
{
    uint64_t ring = (uint64_t)*e1000_reg(e, E1000_TDBAH) << 32 | *e1000_reg(e, E1000_TDBAL);
    uint32_t n = *e1000_reg(e, E1000_TDLEN) / E1000_DESC_LEN, *head = e1000_reg(e, E1000_TDH);
    uint64_t where = ring + (uint64_t)*head * E1000_DESC_LEN;
    uint8_t desc[E1000_DESC_LEN];

    if (!tx_available(e)) {
        return false;
    }
    if (pci_dma_read(&e->pci, where, desc, sizeof(desc)) != MEM_OK) {
        guest_error(&e->pci.dev, "transmit descriptor at 0x%" G_GINT64_MODIFIER "x is not memory", where);
        return false;
    }
    tx_descriptor(e, desc);
    tx_write_back(e, where, desc);
    if (desc[11] & (TXD_RS | TXD_RPS)) {
        if (desc[11] & TXD_IDE) {
            *delayed = true;
        } else {
            *cause |= ICR_TXDW;
        }
    }
    *head = *head + 1 >= n ? 0 : *head + 1;
    return true;
}

void e1000_transmit(void *opaque)
{
    E1000 *e = opaque;
    uint32_t cause = 0;
    bool delayed = false, more = true;

    if (e->transmitting || !pci_bus_master(&e->pci)) {
        return;
    }
    e->transmitting = true;
    for (unsigned i = 0; i < TX_BATCH && more; i++) {
        more = tx_next(e, &cause, &delayed);
    }
    e->transmitting = false;
    if (more) {
        loop_bh_schedule(e->tx_bh);
    } else if (*e1000_reg(e, E1000_TDH) == *e1000_reg(e, E1000_TDT)) {
        cause |= ICR_TXQE;
    }
    if (delayed) {
        e1000_tx_cause(e);
    }
    if (cause) {
        e1000_set_cause(e, cause);
    }
}
