/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The abstract VFIO PCI device: what vfio-pci and vfio-user-pci share.  The
 * derived device opens its back end, then calls vfio_pci_start(); all the rest
 * (config space shadow, BARs, interrupts, reset) is here.
 */
#ifndef HW_VFIO_VFIO_PCI_DEVICE_H
#define HW_VFIO_VFIO_PCI_DEVICE_H

#include "hw/vfio/vfio.h"

typedef struct VfioPciDevice VfioPciDevice;
typedef struct VfioIrqVector VfioIrqVector;
typedef struct VfioBar VfioBar;

struct VfioPciDevice {
    PciDevice pci;
    VfioDevice vdev;
    /* properties */
    uint32_t vendor_id, device_id, sub_vendor_id, sub_device_id; /* UINT32_MAX: the device's own */
    bool no_mmap;
    /* emulated_bits: 1 = answered from our config space, 0 = from the device */
    uint8_t *emulated_bits;
    VfioBar *bars;            /* PCI_REGION_COUNT */
    VfioIrqVector *vectors;   /* MSI or MSI-X in use */
    unsigned vector_count;
    int interrupt_mode;       /* VFIO_PCI_INTX_IRQ_INDEX, _MSI_, _MSIX_, or -1 */
    int intx_fd, intx_unmask_fd;
    LoopFd *intx_watch, *err_watch, *req_watch;
    int err_fd, req_fd;
    bool intx_pending;
    MemRegion *intx_eoi;      /* BAR accesses end an INTx: see vfio-intx.c */
    LoopBh *lost;
};

/* Props every VFIO PCI device has (x-pci-vendor-id, x-pci-device-id, x-no-mmap, ...), to be listed in derived tables. */
#define VFIO_PCI_PROPS(S, base)                                                                              \
    PROP_U32("x-pci-vendor-id", S, base.vendor_id, UINT32_MAX, 0, UINT32_MAX, "Vendor ID the guest sees"),    \
        PROP_U32("x-pci-device-id", S, base.device_id, UINT32_MAX, 0, UINT32_MAX, "Device ID the guest sees"), \
        PROP_U32("x-pci-sub-vendor-id", S, base.sub_vendor_id, UINT32_MAX, 0, UINT32_MAX,                     \
                 "Subsystem vendor ID the guest sees"),                                                      \
        PROP_U32("x-pci-sub-device-id", S, base.sub_device_id, UINT32_MAX, 0, UINT32_MAX,                     \
                 "Subsystem ID the guest sees"),                                                             \
        PROP_BOOL("x-no-mmap", S, base.no_mmap, false, "Trap every BAR access instead of mapping BARs")

/* vdev.ops, name are set and the back end is connected.  On false nothing of it is left; the caller closes the back end. */
bool vfio_pci_start(VfioPciDevice *dev, GError **error);
void vfio_pci_reset(VfioPciDevice *dev);
void vfio_pci_stop(VfioPciDevice *dev);
/* The far side is gone; any thread.  Marks the device; waiters return; later accesses answer all ones. */
void vfio_pci_lost(VfioPciDevice *dev, const char *reason);
/* For the derived PciModel tables. */
uint32_t vfio_pci_config_read(PciDevice *dev, uint16_t offset, unsigned size);
void vfio_pci_config_write(PciDevice *dev, uint16_t offset, uint32_t val, unsigned size);

#endif
