/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers of "Virtual I/O Device (VIRTIO) Version 1.1", by section. */
#ifndef HW_VIRTIO_SPEC_H
#define HW_VIRTIO_SPEC_H

/* Device status (2.1) */
#define VIRTIO_STATUS_ACKNOWLEDGE 0x01u
#define VIRTIO_STATUS_DRIVER      0x02u
#define VIRTIO_STATUS_DRIVER_OK   0x04u
#define VIRTIO_STATUS_FEATURES_OK 0x08u
#define VIRTIO_STATUS_NEEDS_RESET 0x40u
#define VIRTIO_STATUS_FAILED      0x80u

/* Feature bits that are not of a device type (6) */
#define VIRTIO_F_ANY_LAYOUT      27 /* legacy interface only */
#define VIRTIO_F_INDIRECT_DESC   28
#define VIRTIO_F_EVENT_IDX       29
#define VIRTIO_F_VERSION_1       32
#define VIRTIO_F_ACCESS_PLATFORM 33
#define VIRTIO_F_RING_PACKED     34
#define VIRTIO_F_ORDER_PLATFORM  36
#define VIRTIO_FEATURE(bit)      (UINT64_C(1) << (bit))

/* Descriptors (2.6.5, 2.7.1) */
#define VIRTQ_DESC_LEN           16
#define VIRTQ_DESC_F_NEXT        0x0001u
#define VIRTQ_DESC_F_WRITE       0x0002u
#define VIRTQ_DESC_F_INDIRECT    0x0004u
#define VIRTQ_DESC_F_AVAIL       0x0080u /* packed */
#define VIRTQ_DESC_F_USED        0x8000u /* packed */
#define VIRTQ_AVAIL_NO_INTERRUPT 0x0001u
/* Packed event suppression (2.7.10) */
#define VIRTQ_EVENT_ENABLE  0u
#define VIRTQ_EVENT_DISABLE 1u
#define VIRTQ_EVENT_DESC    2u

/* PCI (4.1) */
#define VIRTIO_PCI_VENDOR     0x1af4
#define VIRTIO_PCI_LEGACY_ID  0x0fff /* plus a device number for transitional devices: tables below */
#define VIRTIO_PCI_MODERN_ID  0x1040 /* plus the device number */
#define VIRTIO_PCI_CAP_COMMON 1
#define VIRTIO_PCI_CAP_NOTIFY 2
#define VIRTIO_PCI_CAP_ISR    3
#define VIRTIO_PCI_CAP_DEVICE 4
#define VIRTIO_PCI_CAP_PCI    5
#define VIRTIO_PCI_ISR_QUEUE  0x01u
#define VIRTIO_PCI_ISR_CONFIG 0x02u
#define VIRTIO_NO_VECTOR      0xffffu

#define VIRTIO_QUEUE_MAX 1024 /* entries */

#endif
