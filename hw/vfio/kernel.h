/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel back end of the abstract VFIO PCI device: what its files share.  A device is found in sysfs
 * (kernel-host.c), opened through its group (kernel-group.c) or its character device (kernel-iommufd.c), and
 * then spoken to by ioctls (kernel-device.c).  Its DMA maps are those of a container: a type1 container
 * (kernel-type1.c) or an I/O address space of an iommufd object.
 *
 * Context: main loop, but for the VfioDeviceOps (docs/devel/vfio.md).
 */
#ifndef HW_VFIO_KERNEL_H
#define HW_VFIO_KERNEL_H

#include "hw/vfio/vfio-pci-device.h"
#include "kernel-sys.h"

typedef struct VfioKernel VfioKernel;
typedef struct VfioGroup VfioGroup;
typedef struct VfioKernelContainer VfioKernelContainer;
typedef struct VfioPci VfioPci;

/* --- a device of the host, as sysfs shows it (kernel-host.c) --- */
typedef struct VfioHost {
    char *name;   /* "0000:00:04.0", or what an mdev is called */
    char *path;   /* its directory in sysfs, without the root */
    char *driver; /* NULL: none */
    char *cdev;   /* "vfio0" of /dev/vfio/devices; NULL: the kernel or its driver has none */
    int group;    /* IOMMU group; -1: none */
} VfioHost;

/* One of host and sysfsdev is given.  False with *error naming it. */
bool vfio_host_find(const VfioSys *sys, const char *host, const char *sysfsdev, VfioHost *out,
                    GError **error);
void vfio_host_clear(VfioHost *host);
/* False with the reason when the device has no IOMMU group, or its group is one without an IOMMU. */
bool vfio_host_check_iommu(const VfioSys *sys, const VfioHost *host, GError **error);
/* Sets *error to why the kernel does not hand out the device: the driver, and the command that binds it. */
void vfio_host_explain_driver(const VfioHost *host, GError **error);
/* Sets *error to why the group is not viable: the devices of it that drivers of the host still have. */
void vfio_host_explain_group(const VfioSys *sys, const VfioHost *host, GError **error);

/* --- what the machine's devices share: an object below /machine (kernel-container.c) --- */
struct VfioKernel {
    Object obj;
    const VfioSys *sys;
    VfioGroup *groups;
    VfioKernelContainer *containers;
    VfioPci *devices;
};
VfioKernel *vfio_kernel_of(Machine *machine);
/* Tells the accelerator that a file of VFIO is used, or no more. */
void vfio_kernel_tell(VfioKernel *kernel, int fd, bool used);

/* --- containers (kernel-container.c) --- */
typedef struct VfioIovaRange {
    uint64_t first, last; /* both inside */
} VfioIovaRange;

/* A page table of an iommufd's address space, with the devices that use it. */
typedef struct VfioHwpt {
    uint32_t id;
    unsigned users;
    bool dirty_tracking;
} VfioHwpt;

struct VfioKernelContainer {
    VfioContainer base;
    VfioKernel *kernel;
    VfioKernelContainer *next;
    int fd;                                 /* /dev/vfio/vfio; or the iommufd's, borrowed */
    unsigned users;                         /* groups, or devices of an iommufd */
    GArray *ranges;                         /* of VfioIovaRange, where DMA may go; empty: anywhere */
    bool can_unmap_all;                     /* type1 */
    uint64_t dirty_pages, max_dirty_bitmap; /* type1: page sizes of dirty reports, 0: none; bytes */
    Object *iommufd;                        /* NULL: type1 */
    uint32_t ioas;
    GArray *hwpts; /* of VfioHwpt */
    char *problem; /* the first map that failed, in words */
};

/* A container without users that does not follow an address space yet. */
VfioKernelContainer *vfio_kernel_container_new(VfioKernel *kernel, int fd);
/* Its address space is followed from here on.  False: *error names what cannot be mapped. */
bool vfio_kernel_container_follow(VfioKernelContainer *c, const VfioContainerOps *ops, AddressSpace *as,
                                  GError **error);
/* Ends following, forgets and frees; the fd is the caller's. */
void vfio_kernel_container_free(VfioKernelContainer *c);
/*
 * Shrinks a map to whole pages of the IOMMU.  False: nothing of it is left.  Unaligned ends are rests of
 * pages that registers cover; a device that reaches for them is refused by the IOMMU.
 */
bool vfio_kernel_align(const VfioKernelContainer *c, uint64_t *iova, uint64_t *size, uint64_t *skipped);
/* Keeps what failed for the error of the commit and passes err on; memory of other devices may fail. */
int vfio_kernel_map_failed(VfioKernelContainer *c, const VfioDmaMap *map, int err);
/* False: not inside one of the ranges. */
bool vfio_kernel_in_ranges(const VfioKernelContainer *c, uint64_t iova, uint64_t size);
static inline VfioKernelContainer *vfio_kernel_container_of(VfioContainer *c)
{
    return (VfioKernelContainer *)((char *)c - offsetof(VfioKernelContainer, base));
}

/* kernel-type1.c */
extern const VfioContainerOps vfio_type1_ops;
/* Reads what the IOMMU can do: page sizes, ranges, limits. */
bool vfio_type1_get_info(VfioKernelContainer *c, GError **error);

/* --- groups (kernel-group.c) --- */
/* Opens the device of `host` through its group, whose container follows `as`.  The device's fd, or -1. */
int vfio_group_open_device(VfioKernel *kernel, const VfioHost *host, AddressSpace *as, VfioGroup **group,
                           GError **error);
/* Where the group's devices have their DMA maps. */
VfioContainer *vfio_group_container(VfioGroup *group);
/* A device of the group is closed; the last one takes the group, and the last group the container. */
void vfio_group_release(VfioGroup *group);
/* The fd of a group the machine has open, or -1. */
int vfio_group_fd(VfioKernel *kernel, int number);

/* --- iommufd (kernel-iommufd.c) --- */
typedef struct VfioIommufdUse {
    VfioKernelContainer *container;
    uint32_t device_id;
    uint32_t hwpt; /* 0: attached to the address space itself */
} VfioIommufdUse;

int vfio_iommufd_fd(Object *iommufd);
/* Opens /dev/vfio/devices/CDEV of `host`.  The fd, or -1. */
int vfio_iommufd_open_device(VfioKernel *kernel, const VfioHost *host, GError **error);
/* Binds an open character device and gives it an address space that follows `as`. */
bool vfio_iommufd_attach(VfioKernel *kernel, Object *iommufd, int fd, const VfioHost *host, AddressSpace *as,
                         VfioIommufdUse *use, GError **error);
void vfio_iommufd_detach(int fd, VfioIommufdUse *use);

/* --- one open device (kernel-device.c) --- */
typedef struct VfioKernelVectors {
    bool noresize;    /* the kernel takes new vectors only when all are given up */
    uint32_t enabled; /* vectors the kernel has set up */
    uint32_t total;
    int32_t *fds; /* [total]; borrowed; -1: none */
} VfioKernelVectors;

typedef struct VfioKernelDevice {
    const VfioSys *sys;
    int fd, migration_fd;
    bool resets_alone; /* otherwise by its bus, if at all */
    uint64_t region_offset[VFIO_PCI_NUM_REGIONS];
    bool region_known[VFIO_PCI_NUM_REGIONS];
    VfioKernelVectors vectors[VFIO_PCI_NUM_IRQS]; /* MSI and MSI-X */
} VfioKernelDevice;

extern const VfioDeviceOps vfio_kernel_device_ops;
void vfio_kernel_device_open(VfioKernelDevice *k, const VfioSys *sys, int fd);
void vfio_kernel_device_close(VfioKernelDevice *k);

/* --- DMA logging (kernel-log.c): log_start and so on of VfioDeviceOps --- */
int vfio_kernel_log_start(VfioKernelDevice *k, uint64_t page_size, const VfioDmaRange *ranges, unsigned count);
int vfio_kernel_log_stop(VfioKernelDevice *k);
int vfio_kernel_log_report(VfioKernelDevice *k, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap);

/* --- reset by the bus (kernel-reset.c) --- */
/* Whether vfio_kernel_hot_reset() would be allowed now. */
bool vfio_kernel_can_hot_reset(VfioPci *dev);
/* -EBUSY: another device of the machine would be reset too; -EPERM: one that the machine does not have. */
int vfio_kernel_hot_reset(VfioPci *dev);

/* --- the device model (vfio-pci.c) --- */
struct VfioPci {
    VfioPciDevice base;
    VfioKernelDevice kernel;
    char *host_address, *sysfsdev, *fd_name; /* properties host, sysfsdev, fd */
    Object *iommufd;
    VfioHost host;
    VfioGroup *group;        /* opened through it, or NULL */
    VfioIommufdUse attached; /* of an iommufd */
    VfioPci *next;           /* of the machine */
};

#endif
