/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio devices on PCI: queues and transport, and what a device type tells them about itself.  A type is a
 * VirtioType table, an instance begins with VirtioPci.
 *
 * Context: the device's home loop.
 */
#ifndef HW_VIRTIO_VIRTIO_H
#define HW_VIRTIO_VIRTIO_H

#include "core/trace.h"
#include "hw/pci/pci.h"
#include "virtio-spec.h"

typedef struct VirtioPci VirtioPci;
typedef struct VirtQueue VirtQueue;

/* A run of guest memory. */
typedef struct VirtioBuf {
    uint64_t addr;
    uint32_t len;
} VirtioBuf;

/* What the driver made available at once: buffers to read, then buffers to write.  Freed with
 * virtio_element_free(). */
typedef struct VirtioElement {
    uint16_t id;       /* what names it in the used ring */
    uint16_t ring_len; /* packed: descriptors of the ring it takes */
    unsigned out_num, in_num;
    uint64_t out_len, in_len; /* bytes */
    VirtioBuf bufs[];         /* out_num, then in_num */
} VirtioElement;

struct VirtQueue {
    VirtioPci *vp;
    uint16_t index, max_size;
    uint16_t size; /* as the driver chose */
    uint64_t desc, driver, device;
    bool enabled;
    uint16_t vector;
    uint16_t next_avail, next_used; /* split: free-running; packed: places in the ring */
    bool avail_wrap, used_wrap;     /* packed */
    uint16_t signalled;             /* next_used at the last interrupt */
    bool signalled_valid;
    uint32_t unsignalled; /* elements pushed since then */
    LoopBh *bh;
};

typedef struct VirtioType {
    const char *name;
    uint16_t device_id;     /* 5 */
    uint16_t legacy_pci_id; /* 4.1.2.1 */
    uint32_t class_code;
    uint64_t features;   /* beyond those of rings and transport */
    unsigned config_len; /* bytes of device configuration */
    /* The driver made something available in a queue; elements are taken until there are none. */
    void (*handle)(VirtioPci *vp, VirtQueue *vq);
    /* Nothing of the driver's memory may be touched after it returned. */
    void (*reset)(VirtioPci *vp);
    /* The driver chose features, and DRIVER_OK was set; may be NULL. */
    void (*driver_ok)(VirtioPci *vp);
    /* A write to the configuration, in config, by the driver; NULL: there is nothing to write. */
    void (*config_written)(VirtioPci *vp, unsigned offset, unsigned size);
} VirtioType;

#define VIRTIO_CONFIG_MAX 64
#define VIRTIO_QUEUES_MAX 64

struct VirtioPci {
    PciDevice pci;
    /* properties common to all types */
    int disable_legacy; /* OnOffAuto */
    bool disable_modern, iommu_platform, packed, event_idx, indirect, order_platform;
    uint32_t vectors; /* UINT32_MAX: one for each queue and one for configuration changes */

    const VirtioType *type;
    bool legacy, modern;    /* which interfaces there are */
    uint64_t host_features; /* offered */
    uint64_t driver_features;
    uint32_t device_feature_select, driver_feature_select;
    uint8_t status, isr, generation;
    uint16_t config_vector, queue_select;
    uint8_t config[VIRTIO_CONFIG_MAX]; /* device configuration, little endian */
    uint32_t num_queues;
    VirtQueue queues[VIRTIO_QUEUES_MAX];
    uint16_t pci_cap; /* the capability that gives access through configuration space */
    MemRegion *legacy_bar, *modern_bar, *common, *isr_region, *device, *notify, *legacy_io;
};

#define VIRTIO_PCI_PROPS(S)                                                                                  \
    {.name = "disable-legacy",                                                                               \
     .type = &prop_on_off_auto,                                                                              \
     .offset = offsetof(S, vp.disable_legacy),                                                               \
     .doc = "no interface of before version 1; auto: behind a PCI Express port"},                            \
        PROP_BOOL("disable-modern", S, vp.disable_modern, false, "no interface of version 1"),               \
        PROP_BOOL("iommu_platform", S, vp.iommu_platform, false, "demand that the driver honours an IOMMU"), \
        PROP_BOOL("packed", S, vp.packed, false, "offer packed rings"),                                      \
        PROP_BOOL("event_idx", S, vp.event_idx, true, "offer event indices"),                                \
        PROP_BOOL("indirect_desc", S, vp.indirect, true, "offer indirect descriptors"),                      \
        PROP_BOOL("order_platform", S, vp.order_platform, false, "offer ORDER_PLATFORM"),                    \
        PROP_U32("vectors", S, vp.vectors, UINT32_MAX, 0, UINT32_MAX,                                        \
                 "MSI-X vectors; default: enough for all queues")

/* --- virtio-pci.c: the transport --- */
/* From a type's start: config is filled in.  On false nothing is left behind. */
bool virtio_pci_start(VirtioPci *vp, const VirtioType *type, unsigned num_queues, const uint16_t *queue_sizes,
                      GError **error);
void virtio_pci_reset(PciDevice *dev);
void virtio_pci_stop(VirtioPci *vp);
uint32_t virtio_pci_config_read(PciDevice *dev, uint16_t offset, unsigned size);
void virtio_pci_config_written(PciDevice *dev, uint16_t offset, unsigned size);
void virtio_notify_vector(VirtioPci *vp, uint16_t vector, uint8_t isr);
/* The configuration in vp->config changed. */
void virtio_config_changed(VirtioPci *vp);
/* What every type saves. */
extern const StateTable virtio_pci_state;

/* --- virtio-transport.c: what both interfaces do --- */
static inline bool virtio_has(const VirtioPci *vp, unsigned bit)
{
    return vp->driver_features >> bit & 1;
}
void virtio_set_status(VirtioPci *vp, uint8_t status);
void virtio_reset(VirtioPci *vp);
void virtio_set_driver_features(VirtioPci *vp, uint64_t features);
/* The queue that queue_select names, or NULL. */
VirtQueue *virtio_selected(VirtioPci *vp);
void virtio_kick(VirtioPci *vp, unsigned queue);
/* The driver broke the rules: counted, and the device wants a reset. */
void virtio_error(VirtioPci *vp, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
bool virtio_running(const VirtioPci *vp);

/* --- virtio-queue.c --- */
/* The next element, or NULL: none, or the driver broke the rules. */
VirtioElement *virtqueue_pop(VirtQueue *vq);
/* Puts an element that was not used back; the last one popped. */
void virtqueue_unpop(VirtQueue *vq, VirtioElement *element);
/* Gives it back with `written` bytes in its writable buffers; freed. */
void virtqueue_push(VirtQueue *vq, VirtioElement *element, uint32_t written);
/* The same for several, which the driver sees at once; lengths are those of `written`.  Freed. */
void virtqueue_push_all(VirtQueue *vq, VirtioElement **elements, const uint32_t *written, unsigned n);
/* Interrupts if the driver wants to hear of what was pushed since the last. */
void virtqueue_notify(VirtQueue *vq);
/* True when the driver has made something available (then it is not asked to tell). */
bool virtqueue_has_more(VirtQueue *vq);
void virtqueue_reset(VirtQueue *vq);
/* Places of the legacy interface from its page number (2.6.2). */
void virtqueue_set_legacy(VirtQueue *vq, uint32_t pfn);

/* Copies from the readable, to the writable buffers at an offset of their concatenation; the bytes copied. */
size_t virtio_element_read(VirtQueue *vq, const VirtioElement *element, uint64_t offset, void *buf,
                           size_t len);
size_t virtio_element_write(VirtQueue *vq, const VirtioElement *element, uint64_t offset, const void *buf,
                            size_t len);

extern TraceEvent virtio_trace[];
enum { VIRTIO_TRACE_STATUS, VIRTIO_TRACE_POP, VIRTIO_TRACE_PUSH, VIRTIO_TRACE_NOTIFY };

#endif
