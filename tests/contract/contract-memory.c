/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The back end in memory: the two tables of hw/vfio/vfio.h as calls of the contract device. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "contract-device.h"
#include "core/error.h"
#include "hw/vfio/vfio-pci-device.h"

typedef struct MemoryPci {
    VfioPciDevice base;
    VfioContainer container;
    uint64_t device; /* property: address of the ContractDevice */
    int error;       /* of the transaction */
} MemoryPci;

static MemoryPci *of_device(VfioDevice *vdev)
{
    return (MemoryPci *)((char *)vdev - offsetof(MemoryPci, base.vdev));
}

static ContractDevice *device(const MemoryPci *m)
{
    return (ContractDevice *)(uintptr_t)m->device;
}

static int memory_get_info(VfioDevice *vdev, struct vfio_device_info *info)
{
    info->flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
    info->num_regions = VFIO_PCI_NUM_REGIONS;
    info->num_irqs = VFIO_PCI_NUM_IRQS;
    return 0;
}

static int memory_get_region_info(VfioDevice *vdev, unsigned index, VfioRegionInfo *info)
{
    ContractRegion r;

    contract_region(device(of_device(vdev)), index, &r);
    *info = (VfioRegionInfo){.flags = r.flags, .size = r.size, .fd = r.fd, .fd_offset = r.fd_offset};
    if (r.area_count) {
        info->areas = g_new(VfioMmapArea, r.area_count);
        info->area_count = r.area_count;
    }
    for (unsigned i = 0; i < r.area_count; i++) {
        info->areas[i] = (VfioMmapArea){r.areas[i][0], r.areas[i][1]};
    }
    return 0;
}

static int memory_get_irq_info(VfioDevice *vdev, struct vfio_irq_info *info)
{
    info->flags = VFIO_IRQ_INFO_EVENTFD;
    info->count = contract_irq_count(info->index);
    return 0;
}

static int memory_set_irqs(VfioDevice *vdev, const struct vfio_irq_set *irqs)
{
    int fds[CONTRACT_VECTORS];

    if (irqs->count > CONTRACT_VECTORS) {
        return -EINVAL;
    }
    memcpy(fds, irqs->data, irqs->flags & VFIO_IRQ_SET_DATA_EVENTFD ? irqs->count * sizeof(int32_t) : 0);
    return contract_set_irqs(device(of_device(vdev)), irqs->flags, irqs->index, irqs->start, irqs->count,
                             irqs->flags & VFIO_IRQ_SET_DATA_EVENTFD ? fds : NULL);
}

static ssize_t memory_read(VfioDevice *vdev, unsigned index, uint64_t offset, uint32_t size, void *data)
{
    return contract_read(device(of_device(vdev)), index, offset, size, data);
}

static ssize_t memory_write(VfioDevice *vdev, unsigned index, uint64_t offset, uint32_t size,
                            const void *data, bool posted)
{
    device(of_device(vdev))->posted[index] += posted;
    return contract_write(device(of_device(vdev)), index, offset, size, data);
}

static int memory_reset(VfioDevice *vdev)
{
    return contract_reset(device(of_device(vdev)));
}

static int memory_log_start(VfioDevice *vdev, uint64_t page_size, const VfioDmaRange *ranges, unsigned count)
{
    return contract_log(device(of_device(vdev)), page_size, ranges[0].iova, ranges[0].iova + ranges[0].size);
}

static int memory_log_stop(VfioDevice *vdev)
{
    return contract_log(device(of_device(vdev)), 0, 0, 0);
}

static int memory_log_report(VfioDevice *vdev, uint64_t iova, uint64_t size, uint64_t page_size,
                             uint64_t *bitmap)
{
    return contract_report(device(of_device(vdev)), iova, size, page_size, bitmap);
}

static const VfioDeviceOps memory_device_ops = {
    .get_info = memory_get_info,
    .get_region_info = memory_get_region_info,
    .get_irq_info = memory_get_irq_info,
    .set_irqs = memory_set_irqs,
    .region_read = memory_read,
    .region_write = memory_write,
    .log_start = memory_log_start,
    .log_stop = memory_log_stop,
    .log_report = memory_log_report,
    .reset = memory_reset,
};

static MemoryPci *of_container(VfioContainer *c)
{
    return (MemoryPci *)((char *)c - offsetof(MemoryPci, container));
}

static void memory_begin(VfioContainer *c)
{
    of_container(c)->error = 0;
}

static int memory_commit(VfioContainer *c)
{
    return of_container(c)->error;
}

static int memory_map(VfioContainer *c, const VfioDmaMap *map)
{
    MemoryPci *m = of_container(c);
    int err = contract_map(device(m), map->iova, map->size,
                           (map->writeonly ? 0 : PROT_READ) | (map->readonly ? 0 : PROT_WRITE), map->host);

    c->refused += err && m->error;
    m->error = m->error ? m->error : err;
    return 0;
}

static int memory_unmap(VfioContainer *c, uint64_t iova, uint64_t size)
{
    MemoryPci *m = of_container(c);
    int err = contract_unmap(device(m), iova, size);

    m->error = m->error ? m->error : err;
    return 0;
}

static int memory_unmap_dirty(VfioContainer *c, uint64_t iova, uint64_t size, uint64_t page_size,
                              uint64_t *bitmap)
{
    int err = contract_report(device(of_container(c)), iova, size, page_size, bitmap);

    return err ? err : contract_unmap(device(of_container(c)), iova, size);
}

static const VfioContainerOps memory_container_ops = {.begin = memory_begin,
                                                      .commit = memory_commit,
                                                      .dma_map = memory_map,
                                                      .dma_unmap = memory_unmap,
                                                      .dma_unmap_dirty = memory_unmap_dirty};

/* --- quirks --- */

static bool quirk_start(VfioPciDevice *dev, GError **error)
{
    ContractDevice *d = device((MemoryPci *)dev);

    if (d->quirk_fails) {
        error_set(error, "refused");
        return false;
    }
    g_assert(dev->bars[0].trap);
    d->quirk_starts++;
    dev->emulated_bits[0x50] = 0xff;
    dev->pci.config[0x50] = 0x5a;
    return true;
}

static void quirk_stop(VfioPciDevice *dev)
{
    g_assert(dev->bars[0].trap);
    device((MemoryPci *)dev)->quirk_stops++;
}

static bool quirk_of_another(VfioPciDevice *dev, GError **error)
{
    g_assert_not_reached();
}

static const VfioQuirk memory_quirks[] = {
    {0x1234, 0x5678, "test", quirk_start, quirk_stop},
    {0x1234, VFIO_QUIRK_ANY, "test of a vendor", quirk_start, quirk_stop},
    {0x1234, 0x4321, "test of the id the guest sees", quirk_of_another, NULL},
    {0x8086, VFIO_QUIRK_ANY, "test of another vendor", quirk_of_another, NULL},
    {.name = NULL},
};

static bool memory_start(PciDevice *pci, GError **error)
{
    MemoryPci *m = (MemoryPci *)pci;
    AddressSpace *as = pci_dma_follow(pci, error);

    if (!m->device) {
        error_set(error, "vfio-memory: device: no device is named");
        return false;
    }
    m->base.vdev = (VfioDevice){.ops = &memory_device_ops, .name = "vfio-memory"};
    m->base.quirks = memory_quirks;
    if (!as || !vfio_pci_start(&m->base, error)) {
        return false;
    }
    m->container = (VfioContainer){.pgsizes = 4096, .max_maps = CONTRACT_MAX_MAPS, .message_dma = true};
    if (!vfio_container_start(&m->container, &memory_container_ops, as, error)) {
        vfio_pci_stop(&m->base);
        return false;
    }
    return true;
}

static void memory_pci_reset(PciDevice *pci)
{
    vfio_pci_reset((VfioPciDevice *)pci);
}

static void memory_stop(PciDevice *pci)
{
    MemoryPci *m = (MemoryPci *)pci;

    vfio_container_stop(&m->container);
    vfio_pci_stop(&m->base);
}

VfioContainer *contract_memory_container(VfioPciDevice *dev)
{
    return &((MemoryPci *)dev)->container;
}

void contract_memory_lose(VfioPciDevice *dev)
{
    vfio_pci_lost(dev);
}

static const Prop memory_props[] = {
    PROP_U64("device", MemoryPci, device, 0, 0, UINT64_MAX, "Address of the device"),
    VFIO_PCI_PROPS(MemoryPci, base),
    PROP_END,
};

const PciModel contract_memory_model = {
    .dev = {.name = "vfio-memory",
            .kind = MODEL_PCI,
            .size = sizeof(MemoryPci),
            .props = memory_props,
            .state = &state_none},
    .express = true,
    .start = memory_start,
    .reset = memory_pci_reset,
    .stop = memory_stop,
    .config_read = vfio_pci_config_read,
    .config_write = vfio_pci_config_write,
};
