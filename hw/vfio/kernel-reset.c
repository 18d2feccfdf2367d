/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reset of a device that has none of its own: its whole bus is reset, when nobody else uses what is on it
 * (<linux/vfio.h>, VFIO_DEVICE_PCI_HOT_RESET).
 */
#include <errno.h>
#include <string.h>

#include "kernel.h"

#define HOT_RESET_MAX_DEVICES 4096u
#define HOT_RESET_ALL_OURS                                                                                   \
    (1u << 1) /* flags of the info, by character device: all devices are the iommufd's */

static struct vfio_pci_hot_reset_info *affected_devices(VfioKernelDevice *k)
{
    struct vfio_pci_hot_reset_info head = {.argsz = sizeof(head)};
    struct vfio_pci_hot_reset_info *info;
    int err = k->sys->ioctl(k->sys, k->fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, (uintptr_t)&head);
    size_t size = sizeof(*info) + head.count * sizeof(info->devices[0]);

    if ((err < 0 && err != -ENOSPC) || !head.count || head.count > HOT_RESET_MAX_DEVICES) {
        return NULL;
    }
    info = g_malloc0(size);
    info->argsz = (uint32_t)size;
    if (k->sys->ioctl(k->sys, k->fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, (uintptr_t)info) < 0) {
        g_free(info);
        return NULL;
    }
    info->count = MIN(info->count, head.count);
    return info;
}

/* A device the machine uses would be reset under its guest's hands. */
static bool used_by_another(const VfioPci *dev, const struct vfio_pci_dependent_device *affected)
{
    g_autofree char *address = g_strdup_printf("%04x:%02x:%02x.%x", affected->segment, affected->bus,
                                               PCI_SLOT(affected->devfn), PCI_FUNC(affected->devfn));
    const VfioPci *other = vfio_kernel_of(dev->base.pci.dev.obj.machine)->devices;

    while (other && (other == dev || strcmp(other->host.name, address))) {
        other = other->next;
    }
    return other;
}

/* The fds of the affected groups, each once, to *fds.  Their number, or -EPERM when one is not the machine's.
 */
static int affected_groups(const VfioPci *dev, const struct vfio_pci_hot_reset_info *info, int32_t *fds)
{
    VfioKernel *kernel = vfio_kernel_of(dev->base.pci.dev.obj.machine);
    int count = 0;

    for (uint32_t i = 0; i < info->count; i++) {
        int32_t fd = vfio_group_fd(kernel, (int)info->devices[i].group_id), known = 0;

        if (fd < 0) {
            return -EPERM;
        }
        while (known < count && fds[known] != fd) {
            known++;
        }
        fds[known] = fd;
        count = MAX(count, known + 1);
    }
    return count;
}

/* The request that resets the bus, with the proof that all of it is the machine's; *request is g_free'd. */
static int hot_reset_prepare(VfioPci *dev, struct vfio_pci_hot_reset **request)
{
    g_autofree struct vfio_pci_hot_reset_info *info = affected_devices(&dev->kernel);
    int count = 0;

    if (!info) {
        return -ENOTSUP;
    }
    for (uint32_t i = 0; i < info->count; i++) {
        if (used_by_another(dev, &info->devices[i])) {
            return -EBUSY;
        }
    }
    *request = g_malloc0(sizeof(**request) + info->count * sizeof(int32_t));
    if (dev->group) {
        count = affected_groups(dev, info, (*request)->group_fds);
    } else if (!(info->flags & HOT_RESET_ALL_OURS)) {
        count = -EPERM;
    }
    (*request)->argsz = (uint32_t)(sizeof(**request) + (size_t)MAX(count, 0) * sizeof(int32_t));
    (*request)->count = (uint32_t)MAX(count, 0);
    return MIN(count, 0);
}

bool vfio_kernel_can_hot_reset(VfioPci *dev)
{
    g_autofree struct vfio_pci_hot_reset *request = NULL;

    return !hot_reset_prepare(dev, &request);
}

int vfio_kernel_hot_reset(VfioPci *dev)
{
    const VfioSys *sys = dev->kernel.sys;
    g_autofree struct vfio_pci_hot_reset *request = NULL;
    int err = hot_reset_prepare(dev, &request);

    return err ? err : MIN(sys->ioctl(sys, dev->kernel.fd, VFIO_DEVICE_PCI_HOT_RESET, (uintptr_t)request), 0);
}
