/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `-device vfio-pci`: a PCI device of the host, reached through the kernel's VFIO (<linux/vfio.h>).  Here are
 * its options, set-up and tear-down; everything else is the abstract VFIO PCI device over the kernel's two
 * tables.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "core/error.h"
#include "kernel.h"

extern const PciModel vfio_pci_model;

static bool check_options(const VfioPci *dev, GError **error)
{
    unsigned given = !!dev->host_address + !!dev->sysfsdev + !!dev->fd_name;

    if (given != 1) {
        error_set(
            error,
            "vfio-pci: %s of host=, sysfsdev= and fd= are given (%u, allowed 1); say which device, as in "
            "host=0000:00:04.0",
            given ? "several" : "none", given);
        return false;
    }
    if (dev->fd_name && !dev->iommufd) {
        error_set(
            error,
            "vfio-pci: fd: an open device has to be bound to an iommufd; add -object iommufd,id=iommufd0 "
            "and iommufd=iommufd0");
        return false;
    }
    return true;
}

/* The same device twice would be one device with two masters. */
static bool check_unused(VfioKernel *kernel, const VfioHost *host, GError **error)
{
    for (const VfioPci *other = kernel->devices; other; other = other->next) {
        if (other->host.name && !strcmp(other->host.name, host->name)) {
            error_set(error, "vfio-pci: %s is given to this machine already, as device '%s'", host->name,
                      other->base.pci.dev.obj.id);
            return false;
        }
    }
    return true;
}

/* --- set-up --- */

/* What the passed fd is, for messages and to refuse it twice. */
static char *fd_device_name(const VfioSys *sys, int fd)
{
    struct stat st;
    g_autofree char *link = NULL, *target = NULL;

    if (!fstat(fd, &st) && S_ISCHR(st.st_mode)) {
        link =
            g_strdup_printf("%s/sys/dev/char/%u:%u/device", sys->root, major(st.st_rdev), minor(st.st_rdev));
        target = g_file_read_link(link, NULL);
    }
    return target ? g_path_get_basename(target) : g_strdup_printf("fd %d", fd);
}

static int open_passed_fd(VfioPci *dev, VfioKernel *kernel, GError **error)
{
    uint64_t number;

    if (!g_ascii_string_to_unsigned(dev->fd_name, 10, 0, INT32_MAX, &number, NULL) ||
        fcntl((int)number, F_GETFD) < 0) {
        error_set(
            error,
            "vfio-pci: fd: not an open file descriptor ('%s'); open one of /dev/vfio/devices and pass its "
            "number",
            dev->fd_name);
        return -1;
    }
    dev->host = (VfioHost){.name = fd_device_name(kernel->sys, (int)number), .group = -1};
    return check_unused(kernel, &dev->host, error) ? (int)number : -1;
}

static int open_host(VfioPci *dev, VfioKernel *kernel, AddressSpace *as, GError **error)
{
    if (!vfio_host_find(kernel->sys, dev->host_address, dev->sysfsdev, &dev->host, error) ||
        !check_unused(kernel, &dev->host, error) || !vfio_host_check_iommu(kernel->sys, &dev->host, error)) {
        return -1;
    }
    if (dev->iommufd) {
        return vfio_iommufd_open_device(kernel, &dev->host, error);
    }
    return vfio_group_open_device(kernel, &dev->host, as, &dev->group, error);
}

static void kernel_release(VfioPci *dev)
{
    if (dev->attached.container) {
        vfio_iommufd_detach(dev->kernel.fd, &dev->attached);
    }
    if (dev->iommufd) {
        vfio_kernel_tell(vfio_kernel_of(dev->base.pci.dev.obj.machine), dev->kernel.fd, false);
    }
    vfio_kernel_device_close(&dev->kernel);
    if (dev->group) {
        vfio_group_release(dev->group);
        dev->group = NULL;
    }
}

static bool device_open(VfioPci *dev, VfioKernel *kernel, GError **error)
{
    AddressSpace *as = pci_dma_follow(&dev->base.pci, error);
    int fd = -1;

    if (as) {
        fd = dev->fd_name ? open_passed_fd(dev, kernel, error) : open_host(dev, kernel, as, error);
    } else {
        g_prefix_error(error, "vfio-pci: ");
    }
    if (fd < 0) {
        return false;
    }
    vfio_kernel_device_open(&dev->kernel, kernel->sys, fd);
    if (dev->iommufd) {
        vfio_kernel_tell(kernel, fd, true); /* has to be known before it is bound */
    }
    if (dev->iommufd && !vfio_iommufd_attach(kernel, dev->iommufd, fd, &dev->host, as, &dev->attached, error)) {
        kernel_release(dev);
        return false;
    }
    return true;
}

static bool vfio_kernel_start(PciDevice *pci, GError **error)
{
    VfioPci *dev = (VfioPci *)pci;
    VfioKernel *kernel = vfio_kernel_of(pci->dev.obj.machine);

    if (!check_options(dev, error)) {
        return false;
    }
    dev->base.vdev = (VfioDevice){.ops = &vfio_kernel_device_ops, .name = pci->dev.obj.model->name};
    if (!device_open(dev, kernel, error)) {
        vfio_host_clear(&dev->host);
        return false;
    }
    if (!vfio_pci_start(&dev->base, error)) {
        kernel_release(dev);
        vfio_host_clear(&dev->host);
        return false;
    }
    dev->base.container = dev->group ? vfio_group_container(dev->group) : &dev->attached.container->base;
    dev->base.vdev.name = pci->dev.obj.id;
    dev->next = kernel->devices;
    kernel->devices = dev;
    return true;
}

static void vfio_kernel_reset(PciDevice *pci)
{
    vfio_pci_reset(&((VfioPci *)pci)->base);
}

/* --- tear-down --- */

static void vfio_kernel_stop(PciDevice *pci)
{
    VfioPci *dev = (VfioPci *)pci, **at = &vfio_kernel_of(pci->dev.obj.machine)->devices;

    while (*at != dev) {
        at = &(*at)->next;
    }
    *at = dev->next;
    vfio_pci_stop(&dev->base);
    kernel_release(dev);
    vfio_host_clear(&dev->host);
}

static const char *const iommufd_link[] = {"iommufd", NULL};

static const Prop vfio_pci_props[] = {
    PROP_STR("host", VfioPci, host_address, NULL, "Address of the host's device: [DOMAIN:]BUS:SLOT.FUNCTION"),
    PROP_STR("sysfsdev", VfioPci, sysfsdev, NULL, "The host's device as a directory of sysfs"),
    PROP_STR("fd", VfioPci, fd_name, NULL,
             "Number of an open file descriptor of /dev/vfio/devices; needs iommufd"),
    {.name = "iommufd",
     .type = &prop_link,
     .offset = offsetof(VfioPci, iommufd),
     .names = iommufd_link,
     .doc = "Id of an iommufd object, to use it instead of the device's group"},
    VFIO_PCI_PROPS(VfioPci, base),
    PROP_END,
};

const PciModel vfio_pci_model = {
    .dev = {.name = "vfio-pci",
            .kind = MODEL_PCI,
            .size = sizeof(VfioPci),
            .props = vfio_pci_props,
            .state = &vfio_pci_device_state,
            .move = &vfio_pci_move,
            .doc = "A PCI device of the host, through the kernel's VFIO"},
    .express = true,
    .start = vfio_kernel_start,
    .reset = vfio_kernel_reset,
    .stop = vfio_kernel_stop,
    .config_read = vfio_pci_config_read,
    .config_write = vfio_pci_config_write,
};
