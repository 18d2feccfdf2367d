/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtio driver for tests (VIRTIO 1.1, 2 to 4): finds the capabilities, negotiates, runs split and packed
 * rings.
 */
#ifndef LIBQVIRTIO_H
#define LIBQVIRTIO_H

#include "libqpci.h"

#define QVIRTIO_F_INDIRECT  (UINT64_C(1) << 28)
#define QVIRTIO_F_EVENT_IDX (UINT64_C(1) << 29)
#define QVIRTIO_F_VERSION_1 (UINT64_C(1) << 32)
#define QVIRTIO_F_PACKED    (UINT64_C(1) << 34)
#define QVIRTIO_RING        8 /* entries of a test's ring */

typedef struct QvirtioBuf {
    uint64_t addr;
    uint32_t len;
    bool write; /* by the device */
} QvirtioBuf;

typedef struct QvirtioQueue {
    struct Qvirtio *v;
    unsigned index;
    uint64_t desc, driver, device, tables; /* in guest memory; tables: of indirect descriptors */
    uint16_t next, used;                   /* split: avail and used index; packed: places */
    bool next_wrap, used_wrap;
} QvirtioQueue;

typedef struct Qvirtio {
    QpciDevice *dev;
    uint64_t common, isr, config, notify; /* addresses */
    uint32_t notify_stride;
    uint64_t features; /* negotiated */
} Qvirtio;

/* The first function with that PCI id, enabled; its capabilities must be there. */
void qvirtio_find(Qvirtio *v, QtestState *qts, uint16_t pci_id);
void qvirtio_free(Qvirtio *v);
uint64_t qvirtio_offered(Qvirtio *v);
/* Reset to FEATURES_OK; true when the device agreed. */
bool qvirtio_negotiate(Qvirtio *v, uint64_t features);
void qvirtio_driver_ok(Qvirtio *v);
uint8_t qvirtio_status(Qvirtio *v);
void qvirtio_set_status(Qvirtio *v, uint8_t status);
/* Puts a ring of QVIRTIO_RING entries at `base` (64 KiB of it are used).  Between negotiate and driver_ok. */
void qvirtio_queue_start(Qvirtio *v, QvirtioQueue *q, unsigned index, uint64_t base);
/* Makes a chain available; indirect: by a table. */
void qvirtio_add(QvirtioQueue *q, const QvirtioBuf *bufs, unsigned n, bool indirect);
void qvirtio_kick(QvirtioQueue *q);
/* Waits for the next used chain; the bytes written. */
uint32_t qvirtio_wait(QvirtioQueue *q);
/* True when a used chain is there. */
bool qvirtio_done(QvirtioQueue *q);
/* All of add, kick, wait. */
uint32_t qvirtio_run(QvirtioQueue *q, const QvirtioBuf *bufs, unsigned n, bool indirect);

#endif
