/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `-object iommufd`, and devices through their character device (Linux documentation, userspace-api/iommufd
 * and driver-api/vfio.rst): an I/O address space for each address space of the machine, with page tables
 * (hwpt) that its devices share, and dirty tracking where the IOMMU has it.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/error.h"
#include "kernel-iommufd-abi.h"
#include "kernel.h"

#define IOMMUFD_PATH       "/dev/iommu"
#define IOMMUFD_MAX_RANGES 1024u

typedef struct Iommufd {
    Object obj;
    char *fd_text; /* property fd */
    int fd;
    const VfioSys *sys;
} Iommufd;

extern const ObjectModel iommufd_model;

static int request(VfioKernelContainer *c, unsigned long number, void *arg)
{
    return MIN(c->kernel->sys->ioctl(c->kernel->sys, c->fd, number, (uintptr_t)arg), 0);
}

/* --- the object --- */

static bool iommufd_start(Object *obj, GError **error)
{
    Iommufd *iommufd = (Iommufd *)obj;
    uint64_t number;

    iommufd->sys = vfio_kernel_of(obj->machine)->sys;
    if (iommufd->fd_text) {
        if (!g_ascii_string_to_unsigned(iommufd->fd_text, 10, 0, INT32_MAX, &number, NULL) ||
            fcntl((int)number, F_GETFD) < 0) {
            error_set(error,
                      "iommufd: fd: not an open file descriptor ('%s'); open " IOMMUFD_PATH
                      " and pass its number, or leave fd out",
                      iommufd->fd_text);
            return false;
        }
        iommufd->fd = (int)number;
        return true;
    }
    iommufd->fd = iommufd->sys->open(iommufd->sys, IOMMUFD_PATH, O_RDWR);
    if (iommufd->fd < 0) {
        error_set_errno(
            error, -iommufd->fd, "iommufd: cannot open " IOMMUFD_PATH "%s",
            iommufd->fd == -ENOENT
                ? " (this kernel has no iommufd: Linux 6.6 with CONFIG_IOMMUFD; without iommufd=, "
                  "vfio-pci uses the device's group)"
                : "");
        return false;
    }
    return true;
}

static void iommufd_stop(Object *obj)
{
    Iommufd *iommufd = (Iommufd *)obj;

    iommufd->sys->close(iommufd->sys, iommufd->fd);
}

int vfio_iommufd_fd(Object *iommufd)
{
    return ((Iommufd *)iommufd)->fd;
}

/* --- maps --- */

/* Every map is carried out, or fails, at once. */
static void ioas_begin(VfioContainer *base)
{
}

static int ioas_commit(VfioContainer *base)
{
    return 0;
}

static int ioas_dma_map(VfioContainer *base, const VfioDmaMap *map)
{
    VfioKernelContainer *c = vfio_kernel_container_of(base);
    uint64_t iova = map->iova, size = map->size, skipped;
    IommufdIoasMap r = {.size = sizeof(r), .ioas_id = c->ioas};
    int err;

    if (!vfio_kernel_align(c, &iova, &size, &skipped)) {
        return 0;
    }
    r.flags = IOMMUFD_MAP_FIXED_IOVA | (map->writeonly ? 0 : IOMMUFD_MAP_READABLE) |
              (map->readonly ? 0 : IOMMUFD_MAP_WRITEABLE);
    r.user_va = (uintptr_t)map->host + skipped;
    r.iova = iova;
    r.length = size;
    err = vfio_kernel_in_ranges(c, iova, size) ? request(c, IOMMUFD_IOAS_MAP, &r) : -ERANGE;
    return err ? vfio_kernel_map_failed(c, map, err) : 0;
}

static int ioas_unmap(VfioKernelContainer *c, uint64_t iova, uint64_t length)
{
    IommufdIoasUnmap r = {.size = sizeof(r), .ioas_id = c->ioas, .iova = iova, .length = length};
    int err = request(c, IOMMUFD_IOAS_UNMAP, &r);

    return err == -ENOENT ? 0 : err; /* memory of another device that could not be mapped */
}

static int ioas_dma_unmap(VfioContainer *base, uint64_t iova, uint64_t size)
{
    VfioKernelContainer *c = vfio_kernel_container_of(base);
    uint64_t skipped;

    return vfio_kernel_align(c, &iova, &size, &skipped) ? ioas_unmap(c, iova, size) : 0;
}

static int ioas_unmap_all(VfioContainer *base)
{
    return ioas_unmap(vfio_kernel_container_of(base), 0, UINT64_MAX);
}

/* --- dirty pages --- */

static int hwpt_set_tracking(VfioKernelContainer *c, const VfioHwpt *hwpt, bool on)
{
    IommufdSetDirtyTracking r = {
        .size = sizeof(r), .flags = on ? IOMMUFD_DIRTY_TRACKING_ENABLE : 0, .hwpt_id = hwpt->id};

    return hwpt->dirty_tracking ? request(c, IOMMUFD_HWPT_SET_DIRTY_TRACKING, &r) : -ENOTSUP;
}

/* All or none: a device whose writes are not seen would make the whole report a lie. */
static int ioas_dirty_tracking(VfioContainer *base, bool start)
{
    VfioKernelContainer *c = vfio_kernel_container_of(base);
    int err = c->hwpts->len ? 0 : -ENOTSUP;

    for (guint i = 0; i < c->hwpts->len && !err; i++) {
        err = hwpt_set_tracking(c, &g_array_index(c->hwpts, VfioHwpt, i), start);
        for (guint done = 0; err && start && done < i; done++) {
            hwpt_set_tracking(c, &g_array_index(c->hwpts, VfioHwpt, done), false);
        }
    }
    return err;
}

static int ioas_dirty_report(VfioContainer *base, uint64_t iova, uint64_t size, uint64_t page_size,
                             uint64_t *bitmap)
{
    VfioKernelContainer *c = vfio_kernel_container_of(base);
    int err = c->hwpts->len ? 0 : -ENOTSUP;

    for (guint i = 0; i < c->hwpts->len && !err; i++) {
        IommufdGetDirtyBitmap r = {.size = sizeof(r),
                                   .hwpt_id = g_array_index(c->hwpts, VfioHwpt, i).id,
                                   .iova = iova,
                                   .length = size,
                                   .page_size = page_size,
                                   .data = (uintptr_t)bitmap};

        err = request(c, IOMMUFD_HWPT_GET_DIRTY_BITMAP, &r);
    }
    return err;
}

/* The kernel has no single request for it, so what a device writes between the two is not seen: nor may it write there, for
 * the guest takes the memory away. */
static int ioas_dma_unmap_dirty(VfioContainer *base, uint64_t iova, uint64_t size, uint64_t page_size,
                                uint64_t *bitmap)
{
    int reported = ioas_dirty_report(base, iova, size, page_size, bitmap), err;

    if (reported) {
        return -EINVAL;
    }
    err = ioas_dma_unmap(base, iova, size);
    return err == -EINVAL ? -EIO : err;
}

static const VfioContainerOps ioas_ops = {
    .begin = ioas_begin,
    .commit = ioas_commit,
    .dma_map = ioas_dma_map,
    .dma_unmap = ioas_dma_unmap,
    .unmap_all = ioas_unmap_all,
    .dma_unmap_dirty = ioas_dma_unmap_dirty,
    .dirty_tracking = ioas_dirty_tracking,
    .dirty_report = ioas_dirty_report,
};

/* --- address spaces --- */

static void destroy_id(VfioKernelContainer *c, uint32_t id)
{
    IommufdDestroy r = {.size = sizeof(r), .id = id};

    request(c, IOMMUFD_DESTROY, &r);
}

static VfioKernelContainer *ioas_find(VfioKernel *kernel, Object *iommufd, AddressSpace *as)
{
    VfioKernelContainer *c = kernel->containers;

    while (c && (c->iommufd != iommufd || c->base.as != as)) {
        c = c->next;
    }
    return c;
}

static VfioKernelContainer *ioas_new(VfioKernel *kernel, Object *iommufd, GError **error)
{
    VfioKernelContainer *c = vfio_kernel_container_new(kernel, vfio_iommufd_fd(iommufd));
    IommufdIoasAlloc r = {.size = sizeof(r)};
    int err = request(c, IOMMUFD_IOAS_ALLOC, &r);

    c->iommufd = iommufd;
    if (err) {
        error_set_errno(error, -err, "vfio-pci: iommufd=%s: no new I/O address space%s", iommufd->id,
                        err == -ENOTTY ? " (its fd is not one of " IOMMUFD_PATH ")" : "");
        vfio_kernel_container_free(c);
        return NULL;
    }
    c->ioas = r.out_ioas_id;
    return c;
}

static void ioas_release(VfioKernelContainer *c)
{
    if (!c->users) {
        uint32_t id = c->ioas;

        vfio_container_stop(&c->base);
        destroy_id(c, id);
        vfio_kernel_container_free(c);
    }
}

/* Where DMA may go: known once a device is attached. */
static bool ioas_read_ranges(VfioKernelContainer *c, GError **error)
{
    g_autofree IommufdIovaRange *got = g_new0(IommufdIovaRange, IOMMUFD_MAX_RANGES);
    IommufdIoasIovaRanges r = {.size = sizeof(r),
                               .ioas_id = c->ioas,
                               .num_iovas = IOMMUFD_MAX_RANGES,
                               .allowed_iovas = (uintptr_t)got};
    int err = request(c, IOMMUFD_IOAS_IOVA_RANGES, &r);

    if (err) {
        error_set_errno(error, -err, "vfio-pci: cannot ask where DMA may go");
        return false;
    }
    g_array_set_size(c->ranges, 0);
    for (uint32_t i = 0; i < r.num_iovas && i < IOMMUFD_MAX_RANGES; i++) {
        VfioIovaRange range = {got[i].start, got[i].last};

        g_array_append_val(c->ranges, range);
    }
    if (r.out_iova_alignment && !(r.out_iova_alignment & (r.out_iova_alignment - 1))) {
        c->base.pgsizes = r.out_iova_alignment;
    }
    return true;
}

/* --- devices --- */

static int attach_pt(const VfioSys *sys, int fd, uint32_t id)
{
    VfioCdevAttach r = {.argsz = sizeof(r), .pt_id = id};

    return MIN(sys->ioctl(sys, fd, VFIO_CDEV_ATTACH_PT, (uintptr_t)&r), 0);
}

static bool tracks_dirty(VfioKernelContainer *c, uint32_t device_id)
{
    IommufdHwInfo r = {.size = sizeof(r), .dev_id = device_id};

    return !request(c, IOMMUFD_GET_HW_INFO, &r) && (r.out_capabilities & IOMMUFD_HW_CAP_DIRTY_TRACKING);
}

static int attach_existing(VfioKernelContainer *c, int fd, VfioIommufdUse *use)
{
    for (guint i = 0; i < c->hwpts->len; i++) {
        VfioHwpt *hwpt = &g_array_index(c->hwpts, VfioHwpt, i);

        if (!attach_pt(c->kernel->sys, fd, hwpt->id)) {
            hwpt->users++;
            use->hwpt = hwpt->id;
            return 0;
        }
    }
    return -EINVAL;
}

static int attach_new(VfioKernelContainer *c, int fd, VfioIommufdUse *use)
{
    VfioHwpt hwpt = {.users = 1, .dirty_tracking = tracks_dirty(c, use->device_id)};
    IommufdHwptAlloc r = {.size = sizeof(r),
                          .flags = hwpt.dirty_tracking ? IOMMUFD_HWPT_DIRTY_TRACKING : 0,
                          .dev_id = use->device_id,
                          .pt_id = c->ioas};
    int err = request(c, IOMMUFD_HWPT_ALLOC, &r);

    if (err == -ENOTTY || err == -EOPNOTSUPP) {
        return attach_pt(c->kernel->sys, fd, c->ioas); /* the kernel makes a page table of its own */
    }
    if (err) {
        return err;
    }
    err = attach_pt(c->kernel->sys, fd, r.out_hwpt_id);
    if (err) {
        destroy_id(c, r.out_hwpt_id);
        return err;
    }
    hwpt.id = use->hwpt = r.out_hwpt_id;
    g_array_append_val(c->hwpts, hwpt);
    return 0;
}

static void hwpt_release(VfioKernelContainer *c, uint32_t id)
{
    for (guint i = 0; i < c->hwpts->len; i++) {
        VfioHwpt *hwpt = &g_array_index(c->hwpts, VfioHwpt, i);

        if (hwpt->id == id && !--hwpt->users) {
            destroy_id(c, id);
            g_array_remove_index(c->hwpts, i);
            return;
        }
    }
}

void vfio_iommufd_detach(int fd, VfioIommufdUse *use)
{
    VfioKernelContainer *c = use->container;
    VfioCdevDetach r = {.argsz = sizeof(r)};

    c->kernel->sys->ioctl(c->kernel->sys, fd, VFIO_CDEV_DETACH_PT, (uintptr_t)&r);
    hwpt_release(c, use->hwpt);
    c->users--;
    ioas_release(c);
    *use = (VfioIommufdUse){0};
}

static void explain_bind(VfioKernel *kernel, const Object *iommufd, const VfioHost *host, int err,
                         GError **error)
{
    if (err == EBUSY && host->group >= 0) {
        vfio_host_explain_group(kernel->sys, host, error);
        return;
    }
    error_set_errno(error, err, "vfio-pci: %s: cannot bind to iommufd=%s%s", host->name, iommufd->id,
                    err == ENOTTY   ? " (fd is not a device of /dev/vfio/devices)"
                    : err == EBUSY  ? " (a driver of the host still has another device of its group)"
                    : err == EINVAL ? " (it is bound already, or its group is in use through /dev/vfio)"
                                    : "");
}

static bool bind(VfioKernel *kernel, Object *iommufd, int fd, const VfioHost *host, uint32_t *id,
                 GError **error)
{
    VfioCdevBind r = {.argsz = sizeof(r), .iommufd = vfio_iommufd_fd(iommufd)};
    int err = kernel->sys->ioctl(kernel->sys, fd, VFIO_CDEV_BIND_IOMMUFD, (uintptr_t)&r);

    *id = r.out_devid;
    if (err < 0) {
        explain_bind(kernel, iommufd, host, -err, error);
    }
    return err >= 0;
}

bool vfio_iommufd_attach(VfioKernel *kernel, Object *iommufd, int fd, const VfioHost *host, AddressSpace *as,
                         VfioIommufdUse *use, GError **error)
{
    VfioKernelContainer *c = ioas_find(kernel, iommufd, as);
    uint32_t device_id;
    int err;

    *use = (VfioIommufdUse){0};
    if (!bind(kernel, iommufd, fd, host, &device_id, error) ||
        (!c && !(c = ioas_new(kernel, iommufd, error)))) {
        return false;
    }
    *use = (VfioIommufdUse){.container = c, .device_id = device_id};
    err = attach_existing(c, fd, use);
    err = err ? attach_new(c, fd, use) : 0;
    if (err) {
        error_set_errno(error, -err, "vfio-pci: %s: cannot attach to an address space of iommufd=%s",
                        host->name, iommufd->id);
        *use = (VfioIommufdUse){0};
        ioas_release(c);
        return false;
    }
    c->users++;
    if (c->base.started ||
        (ioas_read_ranges(c, error) && vfio_kernel_container_follow(c, &ioas_ops, as, error))) {
        return true;
    }
    vfio_iommufd_detach(fd, use);
    return false;
}

int vfio_iommufd_open_device(VfioKernel *kernel, const VfioHost *host, GError **error)
{
    g_autofree char *path = NULL;
    int fd;

    if (!host->cdev) {
        if (host->driver && g_strrstr(host->driver, "vfio")) {
            error_set(error,
                      "vfio-pci: %s has no character device: this kernel's VFIO is without iommufd "
                      "(CONFIG_VFIO_DEVICE_CDEV); leave iommufd= out to use its group",
                      host->name);
        } else {
            vfio_host_explain_driver(host, error);
        }
        return -1;
    }
    path = g_strconcat("/dev/vfio/devices/", host->cdev, NULL);
    fd = kernel->sys->open(kernel->sys, path, O_RDWR);
    if (fd < 0) {
        error_set_errno(error, -fd, "vfio-pci: %s: cannot open %s%s", host->name, path,
                        fd == -ENOENT   ? " (this kernel's VFIO is without CONFIG_VFIO_DEVICE_CDEV; leave "
                                          "iommufd= out to use the device's group)"
                        : fd == -EACCES ? " (as root: chown it to this program's user)"
                                        : "");
    }
    return fd < 0 ? -1 : fd;
}

static const Prop iommufd_props[] = {
    PROP_STR("fd", Iommufd, fd_text, NULL,
             "Number of an open file descriptor of /dev/iommu; opened when not given"),
    PROP_END,
};

const ObjectModel iommufd_model = {
    .model =
        {.name = "iommufd",
         .doc = "The kernel's interface for I/O page tables, for devices that are given away with vfio-pci.",
         .kind = MODEL_OBJECT,
         .size = sizeof(Iommufd),
         .props = iommufd_props,
         .state = &state_none},
    .start = iommufd_start,
    .stop = iommufd_stop,
};
