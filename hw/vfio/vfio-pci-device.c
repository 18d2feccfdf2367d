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

/* --- who needs the device without its lock --- */

void vfio_pci_enter(VfioPciDevice *dev)
{
    g_mutex_lock(&dev->users_lock);
    dev->users++;
    g_mutex_unlock(&dev->users_lock);
}

void vfio_pci_leave(VfioPciDevice *dev)
{
    g_mutex_lock(&dev->users_lock);
    if (--dev->users == 0) {
        g_cond_broadcast(&dev->users_gone);
    }
    g_mutex_unlock(&dev->users_lock);
}

static void wait_for_users(VfioPciDevice *dev)
{
    EventLoop *home = dev->pci.dev.home, *main_loop = dev->pci.dev.obj.machine->main_loop;
    unsigned main_depth, home_depth;

    /* They may want the locks to come to their end. */
    main_depth = loop_release(main_loop);
    home_depth = loop_release(home);
    g_mutex_lock(&dev->users_lock);
    while (dev->users) {
        g_cond_wait(&dev->users_gone, &dev->users_lock);
    }
    g_mutex_unlock(&dev->users_lock);
    loop_reacquire(home, home_depth);
    loop_reacquire(main_loop, main_depth);
}

/* --- start, stop, reset --- */

static bool first_reset(VfioPciDevice *dev, GError **error)
{
    VfioDevice *vdev = &dev->vdev;
    int err = vdev->flags & VFIO_DEVICE_FLAGS_RESET ? vdev->ops->reset(vdev) : 0;

    if (err) {
        error_set_errno(error, -err, "%s: cannot reset the device", vdev->name);
        return false;
    }
    dev->fresh = true;
    return true;
}

/* Before `cont` does it, if anybody else lets the guest run. */
static void woken(void *opaque)
{
    vfio_migration_go_on(opaque);
}

bool vfio_pci_start(VfioPciDevice *dev, GError **error)
{
    dev->wake = (DeviceWake){.fn = woken, .opaque = dev};
    device_add_wake(&dev->pci.dev, &dev->wake);
    dev->interrupt_mode = -1;
    dev->stopping = false;
    dev->msix_bar = -1;
    dev->error_irq = dev->request_irq = (VfioIrqVector){.dev = dev, .fd = -1};
    g_mutex_init(&dev->users_lock);
    g_cond_init(&dev->users_gone);
    if (get_info(dev, error) && vfio_config_start(dev, error) && vfio_bars_start(dev, error) &&
        vfio_irq_start(dev, error) && vfio_config_capabilities(dev, error) && vfio_quirks_start(dev, error) && first_reset(dev, error) &&
        vfio_irq_first(dev, error)) {
        return true;
    }
    vfio_pci_stop(dev);
    return false;
}

void vfio_pci_stop(VfioPciDevice *dev)
{
    dev->stopping = true;
    device_remove_wake(&dev->pci.dev, &dev->wake);
    vfio_quirks_stop(dev);
    vfio_irq_stop(dev);
    vfio_bars_stop(dev);
    wait_for_users(dev);
    vfio_config_stop(dev);
    g_cond_clear(&dev->users_gone);
    g_mutex_clear(&dev->users_lock);
}

void vfio_pci_reset(VfioPciDevice *dev)
{
    VfioDevice *vdev = &dev->vdev;
    int err = 0;

    if (dev->fresh) {
        return;
    }
    vfio_migration_go_on(dev); /* in STOP it takes no requests; after its reset it does nothing by itself */
    dev->fresh = true;
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
