/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A virtio driver for tests. */
#include "libqvirtio.h"

#include <stdio.h>
#include <stdlib.h>

enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_DEVICE = 4 };
enum {
    DEVICE_FEATURE_SELECT = 0,
    DEVICE_FEATURE = 4,
    DRIVER_FEATURE_SELECT = 8,
    DRIVER_FEATURE = 12,
    STATUS = 20
};
enum {
    QUEUE_SELECT = 22,
    QUEUE_SIZE = 24,
    QUEUE_ENABLE = 28,
    QUEUE_DESC = 32,
    QUEUE_DRIVER = 40,
    QUEUE_DEVICE = 48
};
enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_AVAIL = 0x80, DESC_USED = 0x8000 };

#define MODERN_PCI_ID 0x1040 /* what is below may have the interface of before version 1 only */
#define QUEUE_DRIVER_AT 0x1000
#define QUEUE_DEVICE_AT 0x2000
#define QUEUE_TABLES_AT 0x3000
#define QUEUE_BYTES     0x10000
#define TABLE_LEN       0x400 /* bytes for each indirect table */

static void find_caps(Qvirtio *v)
{
    uint8_t at = qpci_config_readb(v->dev, QPCI_CAP_PTR);

    for (int n = 0; at && n < 48; n++, at = qpci_config_readb(v->dev, (uint16_t)(at + 1))) {
        uint8_t type = qpci_config_readb(v->dev, (uint16_t)(at + 3));
        uint8_t bar = qpci_config_readb(v->dev, (uint16_t)(at + 4));
        uint64_t *const places[] = {NULL, &v->common, &v->notify, &v->isr, &v->config};

        if (qpci_config_readb(v->dev, at) != 0x09 || type < CAP_COMMON || type > CAP_DEVICE) {
            continue;
        }
        *places[type] = v->dev->bars[bar].addr + qpci_config_readl(v->dev, (uint16_t)(at + 8));
        if (type == CAP_NOTIFY) {
            v->notify_stride = qpci_config_readl(v->dev, (uint16_t)(at + 16));
        }
    }
}

void qvirtio_find(Qvirtio *v, QtestState *qts, uint16_t pci_id)
{
    *v = (Qvirtio){.dev = qpci_find(qts, 0x1af4, pci_id)};
    if (!v->dev) {
        fprintf(stderr, "qvirtio: no device 1af4:%04x\n", pci_id);
        abort();
    }
    qpci_enable(v->dev);
    find_caps(v);
    if (pci_id >= MODERN_PCI_ID && (!v->common || !v->isr || !v->notify)) {
        fprintf(stderr, "qvirtio: capabilities are missing\n");
        abort();
    }
}

void qvirtio_free(Qvirtio *v)
{
    g_free(v->dev);
}

uint64_t qvirtio_offered(Qvirtio *v)
{
    QtestState *qts = v->dev->qts;
    uint64_t features;

    qtest_writel(qts, v->common + DEVICE_FEATURE_SELECT, 1);
    features = (uint64_t)qtest_readl(qts, v->common + DEVICE_FEATURE) << 32;
    qtest_writel(qts, v->common + DEVICE_FEATURE_SELECT, 0);
    return features | qtest_readl(qts, v->common + DEVICE_FEATURE);
}

uint8_t qvirtio_status(Qvirtio *v)
{
    return qtest_readb(v->dev->qts, v->common + STATUS);
}

void qvirtio_set_status(Qvirtio *v, uint8_t status)
{
    qtest_writeb(v->dev->qts, v->common + STATUS, status);
}

bool qvirtio_negotiate(Qvirtio *v, uint64_t features)
{
    QtestState *qts = v->dev->qts;

    qvirtio_set_status(v, 0);
    if (qvirtio_status(v)) {
        return false;
    }
    qvirtio_set_status(v, 1 | 2);
    v->features = features;
    for (uint32_t i = 0; i < 2; i++) {
        qtest_writel(qts, v->common + DRIVER_FEATURE_SELECT, i);
        qtest_writel(qts, v->common + DRIVER_FEATURE, (uint32_t)(features >> (32 * i)));
    }
    qvirtio_set_status(v, 1 | 2 | 8);
    return qvirtio_status(v) & 8;
}

void qvirtio_driver_ok(Qvirtio *v)
{
    qvirtio_set_status(v, 1 | 2 | 8 | 4);
}

static bool is_packed(const QvirtioQueue *q)
{
    return q->v->features & QVIRTIO_F_PACKED;
}

void qvirtio_queue_start(Qvirtio *v, QvirtioQueue *q, unsigned index, uint64_t base)
{
    QtestState *qts = v->dev->qts;

    *q = (QvirtioQueue){.v = v, .index = index, .desc = base, .next_wrap = true, .used_wrap = true};
    q->driver = base + QUEUE_DRIVER_AT;
    q->device = base + QUEUE_DEVICE_AT;
    q->tables = base + QUEUE_TABLES_AT;
    qtest_memset(qts, base, 0, QUEUE_BYTES);
    qtest_writew(qts, v->common + QUEUE_SELECT, (uint16_t)index);
    qtest_writew(qts, v->common + QUEUE_SIZE, QVIRTIO_RING);
    qtest_writeq(qts, v->common + QUEUE_DESC, q->desc);
    qtest_writeq(qts, v->common + QUEUE_DRIVER, q->driver);
    qtest_writeq(qts, v->common + QUEUE_DEVICE, q->device);
    qtest_writew(qts, v->common + QUEUE_ENABLE, 1);
}

static void put_desc(QvirtioQueue *q, uint64_t where, uint64_t addr, uint32_t len, uint16_t w12, uint16_t w14)
{
    QtestState *qts = q->v->dev->qts;

    qtest_writeq(qts, where, addr);
    qtest_writel(qts, where + 8, len);
    /* In a packed ring this makes it available: it comes last. */
    qtest_writew(qts, where + 12, w12);
    qtest_writew(qts, where + 14, w14);
}

/* Fills a table of descriptors; its address. */
static uint64_t put_table(QvirtioQueue *q, const QvirtioBuf *bufs, unsigned n)
{
    uint64_t table = q->tables + (q->next % QVIRTIO_RING) * TABLE_LEN;

    for (unsigned i = 0; i < n; i++) {
        uint16_t flags =
            (uint16_t)((bufs[i].write ? DESC_WRITE : 0) | (i + 1 < n && !is_packed(q) ? DESC_NEXT : 0));
        uint16_t next = is_packed(q) ? 0 : (uint16_t)(i + 1);

        put_desc(q, table + i * 16, bufs[i].addr, bufs[i].len, is_packed(q) ? next : flags,
                 is_packed(q) ? flags : next);
    }
    return table;
}

static void add_split(QvirtioQueue *q, const QvirtioBuf *bufs, unsigned n, bool indirect)
{
    QtestState *qts = q->v->dev->qts;
    unsigned head = q->next * n % QVIRTIO_RING;

    if (indirect) {
        put_desc(q, q->desc + (q->next % QVIRTIO_RING) * 16, put_table(q, bufs, n), n * 16, DESC_INDIRECT, 0);
        head = q->next % QVIRTIO_RING;
    } else {
        for (unsigned i = 0; i < n; i++) {
            uint16_t flags = (uint16_t)((bufs[i].write ? DESC_WRITE : 0) | (i + 1 < n ? DESC_NEXT : 0));

            put_desc(q, q->desc + (head + i) % QVIRTIO_RING * 16, bufs[i].addr, bufs[i].len, flags,
                     (uint16_t)((head + i + 1) % QVIRTIO_RING));
        }
    }
    qtest_writew(qts, q->driver + 4 + 2 * (q->next % QVIRTIO_RING), (uint16_t)head);
    q->next++;
    qtest_writew(qts, q->driver + 2, q->next);
}

static void step(uint16_t *at, bool *wrap, unsigned n)
{
    *at = (uint16_t)(*at + n);
    if (*at >= QVIRTIO_RING) {
        *at -= QVIRTIO_RING;
        *wrap = !*wrap;
    }
}

static void add_packed(QvirtioQueue *q, const QvirtioBuf *bufs, unsigned n, bool indirect)
{
    uint64_t table = indirect ? put_table(q, bufs, n) : 0;
    unsigned count = indirect ? 1 : n, first = q->next;
    uint16_t first_flags = 0;

    for (unsigned i = 0; i < count; i++) {
        uint64_t where = q->desc + q->next * 16;
        uint16_t flags = indirect
                             ? DESC_INDIRECT
                             : (uint16_t)((bufs[i].write ? DESC_WRITE : 0) | (i + 1 < n ? DESC_NEXT : 0));

        flags |= q->next_wrap ? DESC_AVAIL : DESC_USED;
        /* The id is the number of descriptors, for qvirtio_wait(). */
        put_desc(q, where, indirect ? table : bufs[i].addr, indirect ? n * 16 : bufs[i].len, (uint16_t)count,
                 i ? flags : qtest_readw(q->v->dev->qts, where + 14));
        first_flags = i ? first_flags : flags;
        step(&q->next, &q->next_wrap, 1);
    }
    qtest_writew(q->v->dev->qts, q->desc + first * 16 + 14, first_flags);
}

void qvirtio_add(QvirtioQueue *q, const QvirtioBuf *bufs, unsigned n, bool indirect)
{
    (is_packed(q) ? add_packed : add_split)(q, bufs, n, indirect);
}

void qvirtio_kick(QvirtioQueue *q)
{
    qtest_writew(q->v->dev->qts, q->v->notify + q->index * q->v->notify_stride, (uint16_t)q->index);
}

bool qvirtio_done(QvirtioQueue *q)
{
    QtestState *qts = q->v->dev->qts;
    uint16_t flags;

    if (!is_packed(q)) {
        return qtest_readw(qts, q->device + 2) != q->used;
    }
    flags = qtest_readw(qts, q->desc + q->used * 16 + 14);
    return !!(flags & DESC_AVAIL) == q->used_wrap && !!(flags & DESC_USED) == q->used_wrap;
}

uint32_t qvirtio_wait(QvirtioQueue *q)
{
    QtestState *qts = q->v->dev->qts;
    uint32_t len;

    if (!QTEST_WAIT(qvirtio_done(q))) {
        fprintf(stderr, "qvirtio: the device did not use a buffer of queue %u\n", q->index);
        abort();
    }
    if (is_packed(q)) {
        uint64_t where = q->desc + q->used * 16;

        len = qtest_readl(qts, where + 8);
        step(&q->used, &q->used_wrap, qtest_readw(qts, where + 12));
    } else {
        len = qtest_readl(qts, q->device + 4 + 8 * (q->used % QVIRTIO_RING) + 4);
        q->used++;
    }
    return len;
}

uint32_t qvirtio_run(QvirtioQueue *q, const QvirtioBuf *bufs, unsigned n, bool indirect)
{
    qvirtio_add(q, bufs, n, indirect);
    qvirtio_kick(q);
    return qvirtio_wait(q);
}
