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

typedef enum VfioMsixRelocation {
    VFIO_MSIX_STAYS,
    VFIO_MSIX_AUTO,
    VFIO_MSIX_BAR0, /* and so on to VFIO_MSIX_BAR0 + 5 */
} VfioMsixRelocation;
extern const char *const vfio_msix_relocation_names[];

/* One BAR: accesses that no mapping takes go to `trap`. */
typedef struct VfioBar {
    VfioPciDevice *dev;
    unsigned index;
    PciBarKind kind;
    uint64_t size; /* bytes the far side answers; the BAR is the next power of two */
    MemRegion *trap;
    struct VfioMapping *maps; /* mapped areas */
    unsigned map_count;
    struct VfioRegionIoFd *doorbells; /* writes that signal an fd of the far side */
    unsigned doorbell_count;
} VfioBar;

typedef struct VfioIrqVector {
    VfioPciDevice *dev;
    unsigned index;
    int fd; /* eventfd the far side signals; -1: not used yet */
    LoopFd *watch; /* NULL: the accelerator hears of it */
    bool fresh;    /* the far side does not have the eventfd yet */
    bool direct, attached; /* the accelerator may have it; has it */
    int route;             /* core/irqfd.h; -1: none */
    MsiMessage msg;        /* of the route */
} VfioIrqVector;

/* Moving to another host: see hw/vfio/vfio-migration.c. */
typedef struct VfioMigration {
    uint32_t state;   /* VFIO_DEVICE_STATE_*; 0: never asked for, which is RUNNING */
    bool logging;     /* the far side logs its DMA */
    bool tracking;    /* or its container does */
    bool counted;     /* in the container's `logging` */
    bool stopped;     /* since then it writes no memory */
    bool apart;       /* it tells of one map at a time */
} VfioMigration;

#define VFIO_QUIRK_ANY 0xffff

/* What a single device needs besides what the specifications say.  Tables end with a name of NULL. */
typedef struct VfioQuirk {
    uint16_t vendor, device; /* the device's own ids, or VFIO_QUIRK_ANY */
    const char *name;        /* for messages */
    /* BARs, interrupts and capabilities are there, the device is not reset yet.  False: *error is set, nothing is left. */
    bool (*start)(VfioPciDevice *dev, GError **error);
    void (*stop)(VfioPciDevice *dev); /* or NULL; before those go */
} VfioQuirk;

struct VfioPciDevice {
    PciDevice pci;
    VfioDevice vdev;
    const VfioQuirk *quirks; /* of the back end, besides those of every one; NULL: none */
    GSList *active_quirks;   /* of const VfioQuirk * */
    uint16_t own_vendor, own_device;
    /* properties */
    uint32_t vendor_id, device_id, sub_vendor_id, sub_device_id; /* UINT32_MAX: the device's own */
    bool no_mmap, no_ioeventfd;
    bool no_kvm_intx, no_kvm_msi, no_kvm_msix; /* interrupts are delivered by this process */
    bool req;                                  /* the far side may ask for its device */
    int msix_relocation;                       /* VfioMsixRelocation */
    DeviceWake wake;        /* the guest runs: a device that stood with it does too */
    uint8_t *emulated_bits; /* config_size; 1 = answered from our config space, 0 = from the device */
    uint8_t *local_bytes;   /* config_size; 1 = writes do not go to the device */
    uint32_t config_region; /* bytes of config space the far side has */
    VfioBar bars[PCI_BAR_COUNT];
    bool maps_enabled; /* mapped areas and doorbells are seen; not while an INTx has to be ended by an access */
    int msix_bar;      /* where x-msix-relocation put the table, or -1 */
    uint32_t msix_offset;
    uint16_t af_cap;
    VfioIrqVector error_irq, request_irq;
    uint32_t irq_counts[VFIO_PCI_NUM_IRQS];
    VfioIrqVector *vectors; /* of the mode in use; INTx has one */
    unsigned vector_count;
    uint8_t vectors_used[256]; /* bit a vector, saved: it has an eventfd */
    int interrupt_mode;   /* VFIO_PCI_INTX_IRQ_INDEX, _MSI_, _MSIX_, or -1 */
    bool intx_pending;    /* raised and not ended yet; atomic */
    int intx_resample;    /* signalled when the guest ends an INTx the accelerator raised; meaningful while attached */
    LoopFd *intx_resample_watch; /* NULL: the far side listens to it */
    bool in_config_write; /* vectors that become unmasked are set up together afterwards */
    bool stopping;        /* it is being unplugged: the guest no longer reaches it */
    bool fresh;           /* nothing happened since start, which has reset it */
    VfioContainer *container; /* of its DMA maps; set by the derived device after vfio_pci_start() */
    VfioMigration migration;
    /* who may need the device without its lock: see vfio_pci_enter() */
    GMutex users_lock;
    GCond users_gone;
    unsigned users;
};

/* Props every VFIO PCI device has (x-pci-vendor-id, x-pci-device-id, x-no-mmap, ...), to be listed in derived
 * tables. */
#define VFIO_PCI_PROPS(S, base)                                                                              \
    PROP_U32("x-pci-vendor-id", S, base.vendor_id, UINT32_MAX, 0, UINT32_MAX, "Vendor ID the guest sees"),   \
        PROP_U32("x-pci-device-id", S, base.device_id, UINT32_MAX, 0, UINT32_MAX,                            \
                 "Device ID the guest sees"),                                                                \
        PROP_U32("x-pci-sub-vendor-id", S, base.sub_vendor_id, UINT32_MAX, 0, UINT32_MAX,                    \
                 "Subsystem vendor ID the guest sees"),                                                      \
        PROP_U32("x-pci-sub-device-id", S, base.sub_device_id, UINT32_MAX, 0, UINT32_MAX,                    \
                 "Subsystem ID the guest sees"),                                                             \
        PROP_BOOL("x-no-mmap", S, base.no_mmap, false, "Trap every BAR access instead of mapping BARs"),     \
        PROP_BOOL("x-no-kvm-ioeventfd", S, base.no_ioeventfd, false,                                         \
                  "Send every doorbell write to the device instead of signalling its eventfd"),              \
        PROP_BOOL("x-no-kvm-intx", S, base.no_kvm_intx, false,                                               \
                  "Deliver INTx through this process, as is always done without KVM"),                       \
        PROP_BOOL("x-no-kvm-msi", S, base.no_kvm_msi, false,                                                 \
                  "Deliver MSI through this process, as is always done without KVM"),                        \
        PROP_BOOL("x-no-kvm-msix", S, base.no_kvm_msix, false,                                               \
                  "Deliver MSI-X through this process, as is always done without KVM"),                      \
        PROP_BOOL("x-req", S, base.req, true, "Unplug the device when its far side asks for it"),            \
        PROP_ENUM("x-msix-relocation", S, base.msix_relocation, VFIO_MSIX_STAYS, vfio_msix_relocation_names, \
                  "BAR the MSI-X table is shown in instead of the device's own")

/* vdev.ops, name are set and the back end is connected.  On false nothing of it is left; the caller closes
 * the back end. */
bool vfio_pci_start(VfioPciDevice *dev, GError **error);
void vfio_pci_reset(VfioPciDevice *dev);
/* The back end should be closed or answer at once: what is in flight ends first. */
void vfio_pci_stop(VfioPciDevice *dev);
/* The far side is gone; any thread.  Marks the device: reads are all ones, writes are dropped. */
void vfio_pci_lost(VfioPciDevice *dev);
/*
 * Around what goes on without the device's lock: vfio_pci_stop() waits for it.  enter: with the home lock, or from what
 * already goes on; leave: any thread.
 */
void vfio_pci_enter(VfioPciDevice *dev);
void vfio_pci_leave(VfioPciDevice *dev);
/* For the derived models' tables: their `move`, and the fields and post_load of their state. */
extern const MoveOps vfio_pci_move;
extern const StateTable vfio_pci_device_state;
uint32_t vfio_pci_config_read(PciDevice *dev, uint16_t offset, unsigned size);
void vfio_pci_config_write(PciDevice *dev, uint16_t offset, uint32_t val, unsigned size);

#endif
