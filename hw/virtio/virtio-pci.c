/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio over PCI (VIRTIO 1.1, 4.1): the interface of version 1 in BAR 4, that of before in BAR 0, MSI-X in
 * BAR 1.
 *
 *   BAR 4  0x0000 common configuration, 0x1000 ISR, 0x2000 device configuration, 0x3000 notifications: a page
 * each, so that the page of notifications can be signalled without leaving the guest.
 */
#include <string.h>

#include "core/error.h"
#include "virtio.h"

#define MODERN_BAR      4
#define MODERN_BAR_SIZE 0x4000
#define MODERN_PAGE     0x1000
#define MODERN_ISR      0x1000
#define MODERN_DEVICE   0x2000
#define MODERN_NOTIFY   0x3000
#define NOTIFY_STRIDE   4
#define NOTIFY_SIZE     2 /* bytes of a notification without VIRTIO_F_NOTIFICATION_DATA */
#define COMMON_LEN      56
#define MSIX_BAR        1
#define MSIX_PBA        0x800
#define LEGACY_BAR      0
#define LEGACY_NOTIFY   16
#define LEGACY_CONFIG   20 /* device configuration; 24 with MSI-X enabled */
#define LEGACY_MSIX_LEN 4
#define CAP_LEN         16
#define CAP_VENDOR      0x09
#define CAP_CFG_DATA    16 /* offset of pci_cfg_data in its capability */

TraceEvent virtio_trace[] = {{"virtio_status"}, {"virtio_pop"}, {"virtio_push"}, {"virtio_notify"}, {NULL}};

/* --- interrupts (4.1.4.5, 4.1.5.1) --- */

void virtio_notify_vector(VirtioPci *vp, uint16_t vector, uint8_t isr)
{
    if (msix_enabled(&vp->pci)) {
        if (vector != VIRTIO_NO_VECTOR) {
            msix_notify(&vp->pci, vector);
        }
        return;
    }
    vp->isr |= isr;
    pci_set_irq(&vp->pci, 1);
}

void virtio_config_changed(VirtioPci *vp)
{
    vp->generation++;
    if (vp->status & VIRTIO_STATUS_DRIVER_OK) {
        virtio_notify_vector(vp, vp->config_vector, VIRTIO_PCI_ISR_CONFIG);
    }
}

static uint8_t isr_take(VirtioPci *vp)
{
    uint8_t isr = vp->isr;

    vp->isr = 0;
    pci_set_irq(&vp->pci, 0);
    return isr;
}

/* A vector that is not there reads back as none (4.1.5.1.2.1). */
static uint16_t checked_vector(VirtioPci *vp, uint64_t val)
{
    return val < vp->pci.msix_vectors ? (uint16_t)val : VIRTIO_NO_VECTOR;
}

/* --- common configuration (4.1.4.3) --- */

static uint64_t device_feature_read(void *opaque)
{
    VirtioPci *vp = opaque;

    return vp->device_feature_select > 1 ? 0 : vp->host_features >> (32 * vp->device_feature_select);
}

static uint64_t driver_feature_read(void *opaque)
{
    VirtioPci *vp = opaque;

    return vp->driver_feature_select > 1 ? 0 : vp->driver_features >> (32 * vp->driver_feature_select);
}

static void driver_feature_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    VirtioPci *vp = opaque;
    unsigned shift = 32 * vp->driver_feature_select;

    if (vp->driver_feature_select <= 1) {
        virtio_set_driver_features(vp, (vp->driver_features & ~((uint64_t)UINT32_MAX << shift)) |
                                           new_val << shift);
    }
}

static void config_vector_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    VirtioPci *vp = opaque;

    vp->config_vector = checked_vector(vp, new_val);
}

static uint64_t num_queues_read(void *opaque)
{
    return ((VirtioPci *)opaque)->num_queues;
}

static uint64_t status_read(void *opaque)
{
    return ((VirtioPci *)opaque)->status;
}

static void status_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    virtio_set_status(opaque, (uint8_t)new_val);
}

static uint64_t queue_size_read(void *opaque)
{
    VirtQueue *vq = virtio_selected(opaque);

    return vq ? vq->size : 0;
}

static void queue_size_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    VirtioPci *vp = opaque;
    VirtQueue *vq = virtio_selected(vp);
    bool power_of_two = !(new_val & (new_val - 1));

    if (!vq || vq->enabled || !new_val || new_val > vq->max_size ||
        (!power_of_two && !virtio_has(vp, VIRTIO_F_RING_PACKED))) {
        guest_error(&vp->pci.dev, "queue size %u (allowed: powers of two to %u, before it is enabled)",
                    (unsigned)new_val, vq ? vq->max_size : 0);
        return;
    }
    vq->size = (uint16_t)new_val;
}

static uint64_t queue_vector_read(void *opaque)
{
    VirtQueue *vq = virtio_selected(opaque);

    return vq ? vq->vector : VIRTIO_NO_VECTOR;
}

static void queue_vector_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    VirtQueue *vq = virtio_selected(opaque);

    if (vq) {
        vq->vector = checked_vector(opaque, new_val);
    }
}

static uint64_t queue_enable_read(void *opaque)
{
    VirtQueue *vq = virtio_selected(opaque);

    return vq && vq->enabled;
}

static void queue_enable_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    VirtioPci *vp = opaque;
    VirtQueue *vq = virtio_selected(vp);

    if (!vq || new_val != 1) {
        guest_error(&vp->pci.dev, "queue_enable %u of queue %u (allowed: 1)", (unsigned)new_val,
                    vp->queue_select);
        return;
    }
    vq->enabled = true;
}

static uint64_t queue_notify_off_read(void *opaque)
{
    return ((VirtioPci *)opaque)->queue_select;
}

/* An address of the selected queue, half of it. */
static uint64_t queue_half_read(VirtioPci *vp, size_t field, unsigned half)
{
    VirtQueue *vq = virtio_selected(vp);

    return vq ? *(uint64_t *)((char *)vq + field) >> (32 * half) : 0;
}

static void queue_half_written(VirtioPci *vp, size_t field, unsigned half, uint64_t val)
{
    VirtQueue *vq = virtio_selected(vp);
    uint64_t *address = vq ? (uint64_t *)((char *)vq + field) : NULL;

    if (!vq || vq->enabled) {
        guest_error(&vp->pci.dev, "address of queue %u written, which is %s", vp->queue_select,
                    vq ? "enabled" : "not there");
        return;
    }
    *address = (*address & ~((uint64_t)UINT32_MAX << (32 * half))) | val << (32 * half);
}

#define QUEUE_HALF(name, half)                                                                               \
    static uint64_t name##half##_read(void *opaque)                                                          \
    {                                                                                                        \
        return queue_half_read(opaque, offsetof(VirtQueue, name), half);                                     \
    }                                                                                                        \
    static void name##half##_written(void *opaque, uint64_t old_val, uint64_t new_val)                       \
    {                                                                                                        \
        queue_half_written(opaque, offsetof(VirtQueue, name), half, new_val);                                \
    }
QUEUE_HALF(desc, 0)
QUEUE_HALF(desc, 1)
QUEUE_HALF(driver, 0)
QUEUE_HALF(driver, 1)
QUEUE_HALF(device, 0)
QUEUE_HALF(device, 1)

#define FN(n, o, s, rd, wr)                                                                                  \
    {                                                                                                        \
        .name = n, .offset = o, .size = s, .writable = UINT64_MAX, .read = rd, .written = wr,                \
        .field = SIZE_MAX                                                                                    \
    }
static const RegDef common_regs[] = {
    {.name = "device_feature_select",
     .offset = 0,
     .size = 4,
     .writable = UINT32_MAX,
     .field = offsetof(VirtioPci, device_feature_select)},
    FN("device_feature", 4, 4, device_feature_read, NULL),
    {.name = "driver_feature_select",
     .offset = 8,
     .size = 4,
     .writable = UINT32_MAX,
     .field = offsetof(VirtioPci, driver_feature_select)},
    FN("driver_feature", 12, 4, driver_feature_read, driver_feature_written),
    {.name = "config_msix_vector",
     .offset = 16,
     .size = 2,
     .writable = UINT16_MAX,
     .written = config_vector_written,
     .field = offsetof(VirtioPci, config_vector)},
    FN("num_queues", 18, 2, num_queues_read, NULL),
    FN("device_status", 20, 1, status_read, status_written),
    {.name = "config_generation", .offset = 21, .size = 1, .field = offsetof(VirtioPci, generation)},
    {.name = "queue_select",
     .offset = 22,
     .size = 2,
     .writable = UINT16_MAX,
     .field = offsetof(VirtioPci, queue_select)},
    FN("queue_size", 24, 2, queue_size_read, queue_size_written),
    FN("queue_msix_vector", 26, 2, queue_vector_read, queue_vector_written),
    FN("queue_enable", 28, 2, queue_enable_read, queue_enable_written),
    FN("queue_notify_off", 30, 2, queue_notify_off_read, NULL),
    FN("queue_desc_lo", 32, 4, desc0_read, desc0_written),
    FN("queue_desc_hi", 36, 4, desc1_read, desc1_written),
    FN("queue_driver_lo", 40, 4, driver0_read, driver0_written),
    FN("queue_driver_hi", 44, 4, driver1_read, driver1_written),
    FN("queue_device_lo", 48, 4, device0_read, device0_written),
    FN("queue_device_hi", 52, 4, device1_read, device1_written),
    {.name = NULL},
};

/* --- legacy header (4.1.4.8) --- */

static uint64_t legacy_features_read(void *opaque)
{
    return (uint32_t)((VirtioPci *)opaque)->host_features;
}

static uint64_t legacy_driver_features_read(void *opaque)
{
    return (uint32_t)((VirtioPci *)opaque)->driver_features;
}

static void legacy_driver_features_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    VirtioPci *vp = opaque;

    virtio_set_driver_features(vp, (uint32_t)(new_val & vp->host_features));
}

static uint64_t legacy_pfn_read(void *opaque)
{
    VirtQueue *vq = virtio_selected(opaque);

    return vq && vq->enabled ? vq->desc >> 12 : 0;
}

static void legacy_pfn_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    VirtioPci *vp = opaque;
    VirtQueue *vq = virtio_selected(vp);

    if (!vq) {
        guest_error(&vp->pci.dev, "address of queue %u written, which is not there", vp->queue_select);
    } else if (!new_val) {
        virtio_reset(vp); /* how drivers of before said it */
    } else {
        virtqueue_set_legacy(vq, (uint32_t)new_val);
    }
}

static void legacy_notify_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    virtio_kick(opaque, (unsigned)new_val);
}

static uint64_t isr_read(void *opaque)
{
    return isr_take(opaque);
}

static const RegDef legacy_regs[] = {
    FN("device_features", 0, 4, legacy_features_read, NULL),
    FN("guest_features", 4, 4, legacy_driver_features_read, legacy_driver_features_written),
    FN("queue_address", 8, 4, legacy_pfn_read, legacy_pfn_written),
    FN("queue_size", 12, 2, queue_size_read, NULL),
    {.name = "queue_select",
     .offset = 14,
     .size = 2,
     .writable = UINT16_MAX,
     .field = offsetof(VirtioPci, queue_select)},
    FN("queue_notify", LEGACY_NOTIFY, NOTIFY_SIZE, NULL, legacy_notify_written),
    FN("device_status", 18, 1, status_read, status_written),
    FN("isr_status", 19, 1, isr_read, NULL),
    {.name = NULL},
};

/* With MSI-X enabled these follow, and move the device's configuration. */
static const RegDef legacy_msix_regs[] = {
    {.name = "config_msix_vector",
     .offset = 20,
     .size = 2,
     .writable = UINT16_MAX,
     .written = config_vector_written,
     .field = offsetof(VirtioPci, config_vector)},
    FN("queue_msix_vector", 22, 2, queue_vector_read, queue_vector_written),
    {.name = NULL},
};

/* --- regions --- */

static void no_register(VirtioPci *vp, const char *what, HwAddr addr, unsigned size)
{
    guest_error(&vp->pci.dev, "%s of %u bytes at 0x%" G_GINT64_MODIFIER "x: no register there", what, size,
                addr);
}

static MemResult table_read(VirtioPci *vp, const RegDef *table, HwAddr addr, unsigned size, uint64_t *val)
{
    if (reg_read(table, vp, addr, size, val) != MEM_OK) {
        no_register(vp, "read", addr, size);
        *val = 0;
    }
    return MEM_OK;
}

static MemResult table_write(VirtioPci *vp, const RegDef *table, HwAddr addr, unsigned size, uint64_t val)
{
    if (reg_write(table, vp, addr, size, val) != MEM_OK) {
        no_register(vp, "write", addr, size);
    }
    return MEM_OK;
}

static MemResult common_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    return table_read(opaque, common_regs, addr, size, val);
}

static MemResult common_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    return table_write(opaque, common_regs, addr, size, val);
}

static MemResult isr_region_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = addr ? 0 : isr_take(opaque);
    return MEM_OK;
}

static MemResult ignore_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    no_register(opaque, "write", addr, size);
    return MEM_OK;
}

static MemResult device_config_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    VirtioPci *vp = opaque;

    *val = 0;
    for (unsigned i = 0; i < size; i++) {
        uint8_t byte = addr + i < vp->type->config_len ? vp->config[addr + i] : 0;

        *val |= (uint64_t)byte << (8 * i);
    }
    return MEM_OK;
}

static MemResult device_config_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    VirtioPci *vp = opaque;

    if (!vp->type->config_written || addr + size > vp->type->config_len) {
        no_register(vp, "write", addr, size);
        return MEM_OK;
    }
    for (unsigned i = 0; i < size; i++) {
        vp->config[addr + i] = (uint8_t)(val >> (8 * i));
    }
    vp->type->config_written(vp, (unsigned)addr, size);
    return MEM_OK;
}

static MemResult notify_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = 0;
    return MEM_OK;
}

static MemResult notify_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    virtio_kick(opaque, (unsigned)(addr / NOTIFY_STRIDE));
    return MEM_OK;
}

static unsigned legacy_header_len(VirtioPci *vp)
{
    return LEGACY_CONFIG + (msix_enabled(&vp->pci) ? LEGACY_MSIX_LEN : 0);
}

static MemResult legacy_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    VirtioPci *vp = opaque;

    if (addr >= legacy_header_len(vp)) {
        return device_config_read(vp, addr - legacy_header_len(vp), size, val, attrs);
    }
    return table_read(vp, addr < LEGACY_CONFIG ? legacy_regs : legacy_msix_regs, addr, size, val);
}

static MemResult legacy_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    VirtioPci *vp = opaque;

    if (addr >= legacy_header_len(vp)) {
        return device_config_write(vp, addr - legacy_header_len(vp), size, val, attrs);
    }
    return table_write(vp, addr < LEGACY_CONFIG ? legacy_regs : legacy_msix_regs, addr, size, val);
}

static const MemOps common_ops = {common_read, common_write, .min_size = 1, .max_size = 8};
static const MemOps isr_ops = {isr_region_read, ignore_write, .min_size = 1, .max_size = 4};
static const MemOps device_ops = {device_config_read, device_config_write, .min_size = 1, .max_size = 8};
static const MemOps notify_ops = {notify_read, notify_write, .min_size = 1, .max_size = 4};
static const MemOps legacy_ops = {legacy_read, legacy_write, .min_size = 1, .max_size = 4};

/* --- access through configuration space (4.1.4.7) --- */

/* The window's place in BAR 4, or false when it names none. */
static bool cfg_window(VirtioPci *vp, uint32_t *offset, uint32_t *len)
{
    const uint8_t *cap = vp->pci.config + vp->pci_cap;

    *offset = pci_get32(cap + 8);
    *len = pci_get32(cap + 12);
    return cap[4] == MODERN_BAR && (*len == 1 || *len == 2 || *len == 4) &&
           *offset <= MODERN_BAR_SIZE - *len && *offset % *len == 0;
}

/* The regions of BAR 4 in their order. */
static const MemOps *const modern_ops[] = {&common_ops, &isr_ops, &device_ops, &notify_ops};

static bool touches_window(VirtioPci *vp, uint16_t offset, unsigned size)
{
    return vp->pci_cap && offset < vp->pci_cap + CAP_CFG_DATA + 4 &&
           offset + size > vp->pci_cap + (unsigned)CAP_CFG_DATA;
}

uint32_t virtio_pci_config_read(PciDevice *dev, uint16_t offset, unsigned size)
{
    VirtioPci *vp = (VirtioPci *)dev;
    uint32_t at, len;
    uint64_t val;

    if (touches_window(vp, offset, size) && cfg_window(vp, &at, &len)) {
        modern_ops[at / MODERN_PAGE]->read(vp, at % MODERN_PAGE, len, &val, MEM_ATTRS_CPU);
        pci_set32(dev->config + vp->pci_cap + CAP_CFG_DATA, (uint32_t)val);
    }
    return pci_default_config_read(dev, offset, size);
}

void virtio_pci_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    VirtioPci *vp = (VirtioPci *)dev;
    uint32_t at, len;

    if (touches_window(vp, offset, size) && cfg_window(vp, &at, &len)) {
        uint32_t val = pci_get32(dev->config + vp->pci_cap + CAP_CFG_DATA);

        modern_ops[at / MODERN_PAGE]->write(vp, at % MODERN_PAGE, len, val & (UINT32_MAX >> (32 - 8 * len)),
                                            MEM_ATTRS_CPU);
    }
}

static uint16_t add_cap(VirtioPci *vp, uint8_t type, uint8_t bar, uint32_t offset, uint32_t len,
                        uint8_t extra, GError **error)
{
    uint16_t at = pci_add_capability(&vp->pci, CAP_VENDOR, 0, (uint8_t)(CAP_LEN + extra), error);
    uint8_t *cap = vp->pci.config + at;

    if (at) {
        cap[2] = (uint8_t)(CAP_LEN + extra);
        cap[3] = type;
        cap[4] = bar;
        pci_set32(cap + 8, offset);
        pci_set32(cap + 12, len);
    }
    return at;
}

static bool add_caps(VirtioPci *vp, GError **error)
{
    uint16_t notify;

    if (!add_cap(vp, VIRTIO_PCI_CAP_COMMON, MODERN_BAR, 0, COMMON_LEN, 0, error) ||
        !add_cap(vp, VIRTIO_PCI_CAP_ISR, MODERN_BAR, MODERN_ISR, 1, 0, error) ||
        (vp->type->config_len &&
         !add_cap(vp, VIRTIO_PCI_CAP_DEVICE, MODERN_BAR, MODERN_DEVICE, vp->type->config_len, 0, error))) {
        return false;
    }
    notify = add_cap(vp, VIRTIO_PCI_CAP_NOTIFY, MODERN_BAR, MODERN_NOTIFY, NOTIFY_STRIDE * vp->num_queues, 4,
                     error);
    vp->pci_cap = notify ? add_cap(vp, VIRTIO_PCI_CAP_PCI, 0, 0, 0, 4, error) : 0;
    if (!vp->pci_cap) {
        return false;
    }
    pci_set32(vp->pci.config + notify + CAP_LEN, NOTIFY_STRIDE);
    vp->pci.wmask[vp->pci_cap + 4] = 0xff;
    memset(vp->pci.wmask + vp->pci_cap + 8, 0xff, 12);
    return true;
}

/* --- life --- */

static MemRegion *add_region(VirtioPci *vp, MemRegion *bar, uint64_t at, uint64_t size, const char *name,
                             const MemOps *ops)
{
    MemRegion *region =
        mem_region_new_io(vp->pci.dev.obj.machine->topo, name, size, ops, vp, vp->pci.dev.home);

    mem_region_add(bar, at, region);
    return region;
}

static void add_modern(VirtioPci *vp)
{
    vp->modern_bar =
        mem_region_new_container(vp->pci.dev.obj.machine->topo, "virtio modern", MODERN_BAR_SIZE);
    vp->common = add_region(vp, vp->modern_bar, 0, MODERN_PAGE, "virtio common", &common_ops);
    vp->isr_region = add_region(vp, vp->modern_bar, MODERN_ISR, MODERN_PAGE, "virtio isr", &isr_ops);
    vp->device = add_region(vp, vp->modern_bar, MODERN_DEVICE, MODERN_PAGE, "virtio device", &device_ops);
    vp->notify = add_region(vp, vp->modern_bar, MODERN_NOTIFY, MODERN_PAGE, "virtio notify", &notify_ops);
    pci_register_bar(&vp->pci, MODERN_BAR, PCI_BAR_MEM64_PREFETCH, vp->modern_bar);
}

static void add_legacy(VirtioPci *vp)
{
    uint64_t size = 32;

    while (size < LEGACY_CONFIG + LEGACY_MSIX_LEN + vp->type->config_len) {
        size *= 2;
    }
    vp->legacy_bar = mem_region_new_container(vp->pci.dev.obj.machine->topo, "virtio legacy", size);
    vp->legacy_io = add_region(vp, vp->legacy_bar, 0, size, "virtio legacy", &legacy_ops);
    pci_register_bar(&vp->pci, LEGACY_BAR, PCI_BAR_IO, vp->legacy_bar);
}

static void drop_region(MemRegion *bar, MemRegion **region)
{
    if (*region) {
        mem_region_del(bar, *region);
        mem_region_retire(*region);
        mem_region_unref(g_steal_pointer(region));
    }
}

static void drop_regions(VirtioPci *vp)
{
    MemRegion **modern[] = {&vp->common, &vp->isr_region, &vp->device, &vp->notify};

    for (size_t i = 0; i < G_N_ELEMENTS(modern); i++) {
        drop_region(vp->modern_bar, modern[i]);
    }
    drop_region(vp->legacy_bar, &vp->legacy_io);
    g_clear_pointer(&vp->modern_bar, mem_region_unref);
    g_clear_pointer(&vp->legacy_bar, mem_region_unref);
}

static void set_ids(VirtioPci *vp)
{
    uint8_t *config = vp->pci.config;

    pci_set16(config + PCI_DEVICE_ID,
              vp->legacy ? vp->type->legacy_pci_id : (uint16_t)(VIRTIO_PCI_MODERN_ID + vp->type->device_id));
    config[PCI_REVISION_ID] = vp->legacy ? 0 : 1;
    pci_set16(config + PCI_SUBSYSTEM_ID, vp->legacy ? vp->type->device_id : 0x1100);
}

static bool choose_interfaces(VirtioPci *vp, GError **error)
{
    bool behind_port = vp->pci.bus->express && vp->pci.bus->parent;

    vp->modern = !vp->disable_modern;
    vp->legacy =
        vp->disable_legacy == ON_OFF_AUTO_OFF || (vp->disable_legacy == ON_OFF_AUTO_AUTO && !behind_port);
    if (vp->legacy && vp->iommu_platform && vp->disable_legacy == ON_OFF_AUTO_AUTO) {
        vp->legacy = false;
    }
    if (!vp->modern && !vp->legacy) {
        error_set(error, "%s: disable-legacy and disable-modern leave no interface; choose one",
                  vp->type->name);
        return false;
    }
    if ((vp->legacy && vp->iommu_platform) || (!vp->modern && (vp->iommu_platform || vp->packed))) {
        error_set(error,
                  "%s: iommu_platform and packed need version 1 (iommu_platform also disable-legacy=on)",
                  vp->type->name);
        return false;
    }
    return true;
}

static uint64_t offered_features(VirtioPci *vp)
{
    const struct {
        bool on;
        unsigned bit;
    } rings[] = {
        {true, VIRTIO_F_ANY_LAYOUT},
        {vp->indirect, VIRTIO_F_INDIRECT_DESC},
        {vp->event_idx, VIRTIO_F_EVENT_IDX},
        {vp->modern, VIRTIO_F_VERSION_1},
        {vp->iommu_platform, VIRTIO_F_ACCESS_PLATFORM},
        {vp->packed, VIRTIO_F_RING_PACKED},
        {vp->order_platform && vp->modern, VIRTIO_F_ORDER_PLATFORM},
    };
    uint64_t features = vp->type->features;

    for (size_t i = 0; i < G_N_ELEMENTS(rings); i++) {
        features |= rings[i].on ? VIRTIO_FEATURE(rings[i].bit) : 0;
    }
    return features;
}

static void queue_run(void *opaque)
{
    VirtQueue *vq = opaque;

    if (vq->enabled && virtio_running(vq->vp)) {
        vq->vp->type->handle(vq->vp, vq);
    }
}

static void queue_signalled(PciDevice *dev, unsigned n)
{
    VirtQueue *vq = &((VirtioPci *)dev)->queues[n];

    /* At rest buffers stay where they are: the process that the guest goes on in finds them in the ring. */
    if (device_rests(&dev->dev)) {
        loop_bh_schedule(vq->bh);
    } else {
        queue_run(vq);
    }
}

/* The queue's number is in the address of its notification already (4.1.4.4), or is what is written (4.1.4.8). */
static void offer_doorbells(VirtioPci *vp)
{
    PciDoorbells *d = &vp->pci.doorbells;

    *d = (PciDoorbells){.count = vp->num_queues, .signalled = queue_signalled};
    if (vp->modern) {
        d->bar = MODERN_BAR;
        d->offset = MODERN_NOTIFY;
        d->stride = NOTIFY_STRIDE;
        d->signal_size = NOTIFY_SIZE;
    }
    if (vp->legacy) {
        d->by_number_bar = LEGACY_BAR;
        d->by_number_offset = LEGACY_NOTIFY;
        d->by_number_size = NOTIFY_SIZE;
    }
}

bool virtio_pci_start(VirtioPci *vp, const VirtioType *type, unsigned num_queues, const uint16_t *queue_sizes,
                      GError **error)
{
    vp->type = type;
    vp->num_queues = num_queues;
    if (vp->vectors == UINT32_MAX) {
        vp->vectors = num_queues + 1;
    }
    if (vp->vectors > 128) {
        error_set(error, "%s: too many vectors (%u, allowed 0..128)", type->name, vp->vectors);
        return false;
    }
    if (!choose_interfaces(vp, error) ||
        (vp->vectors && !msix_init(&vp->pci, vp->vectors, MSIX_BAR, 0, MSIX_PBA, 0, error)) ||
        (vp->modern && !add_caps(vp, error))) {
        return false;
    }
    vp->host_features |= offered_features(vp);
    if (!vp->iommu_platform) {
        pci_dma_bypass_iommu(&vp->pci);
    }
    for (unsigned i = 0; i < num_queues; i++) {
        vp->queues[i] = (VirtQueue){.vp = vp, .index = (uint16_t)i, .max_size = queue_sizes[i]};
        vp->queues[i].bh = device_bh_new(&vp->pci.dev, queue_run, &vp->queues[i]);
    }
    set_ids(vp);
    if (vp->modern) {
        add_modern(vp);
    }
    if (vp->legacy) {
        add_legacy(vp);
    }
    offer_doorbells(vp);
    return true;
}

void virtio_pci_reset(PciDevice *dev)
{
    VirtioPci *vp = (VirtioPci *)dev;

    virtio_reset(vp);
    if (vp->pci_cap) {
        memset(dev->config + vp->pci_cap + 8, 0, 12);
        dev->config[vp->pci_cap + 4] = 0;
    }
}

void virtio_pci_stop(VirtioPci *vp)
{
    virtio_reset(vp);
    drop_regions(vp);
    for (unsigned i = 0; i < vp->num_queues; i++) {
        loop_bh_free(vp->queues[i].bh);
    }
}

/* --- state --- */

static bool queue_post_load(void *instance, uint32_t version, GError **error)
{
    VirtQueue *vq = instance;

    if (vq->enabled && (!vq->bh || !vq->size || vq->size > vq->max_size)) {
        error_set(error, "virtio: saved queue has an impossible size (%u, allowed 1..%u)", vq->size,
                  vq->max_size);
        return false;
    }
    return true;
}

static const StateField queue_fields[] = {
    STATE_FIELD_UINT(VirtQueue, size),        STATE_FIELD_UINT(VirtQueue, desc),
    STATE_FIELD_UINT(VirtQueue, driver),      STATE_FIELD_UINT(VirtQueue, device),
    STATE_FIELD_BOOL(VirtQueue, enabled),     STATE_FIELD_UINT(VirtQueue, vector),
    STATE_FIELD_UINT(VirtQueue, next_avail),  STATE_FIELD_UINT(VirtQueue, next_used),
    STATE_FIELD_BOOL(VirtQueue, avail_wrap),  STATE_FIELD_BOOL(VirtQueue, used_wrap),
    STATE_FIELD_UINT(VirtQueue, signalled),   STATE_FIELD_BOOL(VirtQueue, signalled_valid),
    STATE_FIELD_UINT(VirtQueue, unsignalled), STATE_END,
};
static const StateTable queue_state = {
    .name = "virtqueue", .version = 1, .fields = queue_fields, .post_load = queue_post_load};

static bool virtio_pci_post_load(void *instance, uint32_t version, GError **error)
{
    VirtioPci *vp = instance;
    bool packed = virtio_has(vp, VIRTIO_F_RING_PACKED);

    for (unsigned i = 0; i < vp->num_queues; i++) {
        VirtQueue *vq = &vp->queues[i];

        if (packed && vq->enabled && (vq->next_avail >= vq->size || vq->next_used >= vq->size)) {
            error_set(error, "%s: saved queue %u is at descriptors %u and %u (allowed 0..%u)",
                      vp->pci.dev.obj.id, i, vq->next_avail, vq->next_used, vq->size - 1);
            return false;
        }
        /* A ring that its driver is not done with yet has nothing under way. */
        if (vp->status & VIRTIO_STATUS_DRIVER_OK || vq->next_avail) {
            virtio_kick(vp, i);
        }
    }
    return true;
}

static const StateField virtio_pci_fields[] = {
    STATE_FIELD_STRUCT(VirtioPci, pci, &pci_device_state),
    STATE_FIELD_UINT(VirtioPci, driver_features),
    STATE_FIELD_UINT(VirtioPci, device_feature_select),
    STATE_FIELD_UINT(VirtioPci, driver_feature_select),
    STATE_FIELD_UINT(VirtioPci, status),
    STATE_FIELD_UINT(VirtioPci, isr),
    STATE_FIELD_UINT(VirtioPci, generation),
    STATE_FIELD_UINT(VirtioPci, config_vector),
    STATE_FIELD_UINT(VirtioPci, queue_select),
    STATE_FIELD_BYTES(VirtioPci, config),
    STATE_FIELD_STRUCTS(VirtioPci, queues, &queue_state),
    STATE_END,
};

const StateTable virtio_pci_state = {
    .name = "virtio-pci", .version = 1, .fields = virtio_pci_fields, .post_load = virtio_pci_post_load};
