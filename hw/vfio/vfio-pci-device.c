/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The abstract VFIO PCI device: start, stop and reset over a VfioDeviceOps table (<linux/vfio.h>). */
#include <errno.h>

#include "hw/vfio/vfio-internal.h"

extern TraceEvent vfio_trace[];
TraceEvent vfio_trace[] = {
    [VFIO_TRACE_MAP] = {"vfio_dma_map"},
    [VFIO_TRACE_UNMAP] = {"vfio_dma_unmap"},
    [VFIO_TRACE_IRQ_MODE] = {"vfio_irq_mode"},
    [VFIO_TRACE_VECTOR] = {"vfio_vector"},
    [VFIO_TRACE_RESET] = {"vfio_reset"},
    [VFIO_TRACE_ERROR] = {"vfio_error"},
    {NULL},
};

bool vfio_region_read(VfioDevice *vdev, unsigned index, uint64_t offset, uint32_t size, void *data)
{
    ssize_t got;

    if (vfio_broken(vdev)) {
        return false;
    }
    got = vdev->ops->region_read(vdev, index, offset, size, data);
    if (got != (ssize_t)size) {
        TRACE(&vfio_trace[VFIO_TRACE_ERROR], "%s: read of region %u: %s", vdev->name, index,
              got < 0 ? g_strerror((int)-got) : "short");
    }
    return got == (ssize_t)size;
}

bool vfio_region_write(VfioDevice *vdev, unsigned index, uint64_t offset, uint32_t size, const void *data,
                       bool posted)
{
    ssize_t done;

    if (vfio_broken(vdev)) {
        return false;
    }
    done = vdev->ops->region_write(vdev, index, offset, size, data, posted);
    if (done != (ssize_t)size) {
        TRACE(&vfio_trace[VFIO_TRACE_ERROR], "%s: write to region %u: %s", vdev->name, index,
              done < 0 ? g_strerror((int)-done) : "short");
    }
    return done == (ssize_t)size;
}

static bool get_info(VfioPciDevice *dev, GError **error)
{
    struct vfio_device_info info = {.argsz = sizeof(info)};
    VfioDevice *vdev = &dev->vdev;
    int err = vdev->ops->get_info(vdev, &info);

    if (err) {
        error_set_errno(error, -err, "%s: cannot get the device's info", vdev->name);
        return false;
    }
    if (!(info.flags & VFIO_DEVICE_FLAGS_PCI) || info.num_regions <= VFIO_PCI_CONFIG_REGION_INDEX ||
        info.num_irqs <= VFIO_PCI_MSIX_IRQ_INDEX) {
        error_set(error, "%s: not a PCI device (flags 0x%x, %u regions, %u interrupt types)", vdev->name,
                  info.flags, info.num_regions, info.num_irqs);
        return false;
    }
    vdev->flags = info.flags;
    vdev->num_regions = info.num_regions;
    vdev->num_irqs = info.num_irqs;
    vdev->no_mmap = dev->no_mmap;
    return true;
}

bool vfio_pci_start(VfioPciDevice *dev, GError **error)
{
    dev->interrupt_mode = -1;
    if (get_info(dev, error) && vfio_config_start(dev, error) && vfio_bars_start(dev, error) &&
        vfio_irq_start(dev, error) && vfio_config_capabilities(dev, error)) {
        return true;
    }
    vfio_pci_stop(dev);
    return false;
}

void vfio_pci_stop(VfioPciDevice *dev)
{
    vfio_irq_stop(dev);
    vfio_bars_stop(dev);
    vfio_config_stop(dev);
}

void vfio_pci_reset(VfioPciDevice *dev)
{
    VfioDevice *vdev = &dev->vdev;
    int err = 0;

    vfio_irq_reset_begin(dev);
    if ((vdev->flags & VFIO_DEVICE_FLAGS_RESET) && !vfio_broken(vdev)) {
        err = vdev->ops->reset(vdev);
    }
    TRACE(&vfio_trace[VFIO_TRACE_RESET], "%s: %s", vdev->name, err ? g_strerror(-err) : "done");
    vfio_irq_reset_end(dev);
}

void vfio_pci_lost(VfioPciDevice *dev)
{
    __atomic_store_n(&dev->vdev.broken, true, __ATOMIC_RELAXED);
}
