/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices through their IOMMU group (Linux documentation, driver-api/vfio.rst): /dev/vfio/GROUP is put into a
 * container of /dev/vfio/vfio, and then hands out its devices.  A group is shared by the machine's devices
 * that are in it, a container by the groups whose devices see the same memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/error.h"
#include "kernel.h"

#define VFIO_CONTAINER_PATH "/dev/vfio/vfio"

struct VfioGroup {
    VfioKernel *kernel;
    VfioGroup *next;
    VfioKernelContainer *container;
    int number, fd;
    unsigned users; /* devices */
};

static int kernel_ioctl(const VfioSys *sys, int fd, unsigned long request, uintptr_t arg)
{
    return sys->ioctl(sys, fd, request, arg);
}

/* --- opening --- */

static void explain_open(const VfioSys *sys, const VfioHost *host, const char *path, int err, GError **error)
{
    switch (err) {
    case ENOENT:
        vfio_host_explain_driver(host, error);
        return;
    case EACCES:
    case EPERM:
        error_set(error, "vfio-pci: %s: no permission to open %s (user %u); as root: chown %u %s", host->name,
                  path, geteuid(), geteuid(), path);
        return;
    case EBUSY:
        error_set(
            error,
            "vfio-pci: %s: group %d is in use by another program (%s); a group belongs to one at a time",
            host->name, host->group, path);
        return;
    default:
        error_set_errno(error, err, "vfio-pci: %s: cannot open %s", host->name, path);
    }
}

static bool check_viable(const VfioSys *sys, const VfioHost *host, int fd, GError **error)
{
    struct vfio_group_status status = {.argsz = sizeof(status)};
    int err = kernel_ioctl(sys, fd, VFIO_GROUP_GET_STATUS, (uintptr_t)&status);

    if (err < 0) {
        error_set_errno(error, -err, "vfio-pci: %s: cannot get the state of group %d", host->name,
                        host->group);
        return false;
    }
    if (status.flags & VFIO_GROUP_FLAGS_VIABLE) {
        return true;
    }
    vfio_host_explain_group(sys, host, error);
    return false;
}

static int group_open(const VfioSys *sys, const VfioHost *host, GError **error)
{
    g_autofree char *path = g_strdup_printf("/dev/vfio/%d", host->group);
    int fd = sys->open(sys, path, O_RDWR);

    if (fd < 0) {
        explain_open(sys, host, path, -fd, error);
        return -1;
    }
    if (!check_viable(sys, host, fd, error)) {
        sys->close(sys, fd);
        return -1;
    }
    return fd;
}

static int container_open(const VfioSys *sys, GError **error)
{
    int fd = sys->open(sys, VFIO_CONTAINER_PATH, O_RDWR), version;

    if (fd < 0) {
        error_set_errno(error, -fd, "vfio-pci: cannot open " VFIO_CONTAINER_PATH "%s",
                        fd == -ENOENT                   ? " (the kernel has no VFIO: modprobe vfio-pci)"
                        : fd == -EACCES || fd == -EPERM ? " (as root: chmod 0666 " VFIO_CONTAINER_PATH ")"
                                                        : "");
        return -1;
    }
    version = kernel_ioctl(sys, fd, VFIO_GET_API_VERSION, 0);
    if (version != VFIO_API_VERSION) {
        error_set(error, "vfio-pci: the kernel's VFIO is of another version (%d, expected %d)", version,
                  VFIO_API_VERSION);
        sys->close(sys, fd);
        return -1;
    }
    return fd;
}

/* --- containers --- */

static bool set_iommu(VfioKernelContainer *c, GError **error)
{
    const VfioSys *sys = c->kernel->sys;
    static const int types[] = {VFIO_TYPE1v2_IOMMU, VFIO_TYPE1_IOMMU};
    int err = -ENOTSUP;

    for (unsigned i = 0; i < G_N_ELEMENTS(types) && err < 0; i++) {
        if (kernel_ioctl(sys, c->fd, VFIO_CHECK_EXTENSION, (uintptr_t)types[i]) > 0) {
            err = kernel_ioctl(sys, c->fd, VFIO_SET_IOMMU, (uintptr_t)types[i]);
        }
    }
    if (err == -EPERM) {
        error_set(error,
                  "vfio-pci: the kernel refuses: the platform does not remap interrupts, so a device could "
                  "raise any; if that is acceptable: modprobe vfio_iommu_type1 allow_unsafe_interrupts=1");
    } else if (err < 0) {
        error_set_errno(error, -err, "vfio-pci: the kernel has no type1 IOMMU (modprobe vfio_iommu_type1)");
    }
    c->can_unmap_all = kernel_ioctl(sys, c->fd, VFIO_CHECK_EXTENSION, VFIO_UNMAP_ALL) > 0;
    return err >= 0;
}

static bool join(VfioGroup *group, VfioKernelContainer *c)
{
    const VfioSys *sys = group->kernel->sys;

    if (kernel_ioctl(sys, group->fd, VFIO_GROUP_SET_CONTAINER, (uintptr_t)&c->fd) < 0) {
        return false;
    }
    group->container = c;
    c->users++;
    return true;
}

/* The last group takes the container with it. */
static void leave(VfioGroup *group)
{
    const VfioSys *sys = group->kernel->sys;
    VfioKernelContainer *c = group->container;
    int fd = c->fd;
    bool last = !--c->users;

    group->container = NULL;
    if (last) {
        vfio_kernel_container_free(c);
    }
    kernel_ioctl(sys, group->fd, VFIO_GROUP_UNSET_CONTAINER, 0);
    if (last) {
        sys->close(sys, fd);
    }
}

/* A container that is there already, if the kernel lets the group in: the IOMMUs may differ too much. */
static bool join_existing(VfioGroup *group, AddressSpace *as)
{
    for (VfioKernelContainer *c = group->kernel->containers; c; c = c->next) {
        if (!c->iommufd && c->base.as == as && join(group, c)) {
            return true;
        }
    }
    return false;
}

static bool join_new(VfioGroup *group, const VfioHost *host, AddressSpace *as, GError **error)
{
    const VfioSys *sys = group->kernel->sys;
    int fd = container_open(sys, error);
    VfioKernelContainer *c;

    if (fd < 0) {
        return false;
    }
    c = vfio_kernel_container_new(group->kernel, fd);
    if (!join(group, c)) {
        error_set(error, "vfio-pci: %s: the kernel does not put group %d into a container", host->name,
                  host->group);
        vfio_kernel_container_free(c);
        sys->close(sys, fd);
        return false;
    }
    if (set_iommu(c, error) && vfio_type1_get_info(c, error) &&
        vfio_kernel_container_follow(c, &vfio_type1_ops, as, error)) {
        return true;
    }
    leave(group);
    return false;
}

/* --- groups --- */

static VfioGroup *group_find(VfioKernel *kernel, int number)
{
    VfioGroup *group = kernel->groups;

    while (group && group->number != number) {
        group = group->next;
    }
    return group;
}

static VfioGroup *group_new(VfioKernel *kernel, const VfioHost *host, AddressSpace *as, GError **error)
{
    int fd = group_open(kernel->sys, host, error);
    VfioGroup *group;

    if (fd < 0) {
        return NULL;
    }
    group = g_new0(VfioGroup, 1);
    *group = (VfioGroup){.kernel = kernel, .next = kernel->groups, .number = host->group, .fd = fd};
    if (!join_existing(group, as) && !join_new(group, host, as, error)) {
        kernel->sys->close(kernel->sys, fd);
        g_free(group);
        return NULL;
    }
    kernel->groups = group;
    vfio_kernel_tell(kernel, fd, true);
    return group;
}

int vfio_group_fd(VfioKernel *kernel, int number)
{
    const VfioGroup *group = group_find(kernel, number);

    return group ? group->fd : -1;
}

VfioContainer *vfio_group_container(VfioGroup *group)
{
    return &group->container->base;
}

void vfio_group_release(VfioGroup *group)
{
    VfioKernel *kernel = group->kernel;
    VfioGroup **at = &kernel->groups;

    if (--group->users) {
        return;
    }
    while (*at != group) {
        at = &(*at)->next;
    }
    *at = group->next;
    vfio_kernel_tell(kernel, group->fd, false);
    leave(group);
    kernel->sys->close(kernel->sys, group->fd);
    g_free(group);
}

int vfio_group_open_device(VfioKernel *kernel, const VfioHost *host, AddressSpace *as, VfioGroup **found,
                           GError **error)
{
    VfioGroup *group = group_find(kernel, host->group);
    int fd;

    if (group && group->container->base.as != as) {
        error_set(
            error,
            "vfio-pci: %s: group %d is used by a device that sees other memory; devices of one group see the "
            "same",
            host->name, host->group);
        return -1;
    }
    if (!group) {
        group = group_new(kernel, host, as, error);
    }
    if (!group) {
        return -1;
    }
    group->users++;
    fd = kernel_ioctl(kernel->sys, group->fd, VFIO_GROUP_GET_DEVICE_FD, (uintptr_t)host->name);
    if (fd < 0) {
        if (fd == -ENODEV) {
            vfio_host_explain_driver(host, error);
        } else {
            error_set_errno(error, -fd, "vfio-pci: %s: the kernel does not hand out the device", host->name);
        }
        vfio_group_release(group);
        return -1;
    }
    *found = group;
    return fd;
}
