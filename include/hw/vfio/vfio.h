/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two tables under the abstract VFIO PCI device.  A back end (socket, kernel
 * ioctl, memory for tests) implements them; only it knows how a request travels.
 * Meanings, flags and indexes are those of <linux/vfio.h>.
 *
 * Results: 0 or a negative errno, as the kernel's interface has it.
 */
#ifndef HW_VFIO_VFIO_H
#define HW_VFIO_VFIO_H

#include <linux/vfio.h>

#include "core/memory.h"
#include "hw/pci/pci.h"

typedef struct VfioDevice VfioDevice;
typedef struct VfioContainer VfioContainer;

/* One area of a region that may be mapped, relative to the region. */
typedef struct VfioMmapArea {
    uint64_t offset, size;
} VfioMmapArea;

typedef struct VfioRegionInfo {
    uint32_t flags; /* VFIO_REGION_INFO_FLAG_* */
    uint64_t size;
    uint64_t fd_offset;  /* mmap offset of byte 0 in fd */
    int fd;              /* to mmap; owned by the back end; -1: not mappable */
    VfioMmapArea *areas; /* g_free; NULL with FLAG_MMAP: whole region */
    unsigned area_count;
} VfioRegionInfo;

#define VFIO_REGION_IO_EVENTFD 0u
#define VFIO_REGION_IO_REGIONFD 1u
#define VFIO_REGION_IO_SHADOW 2u
#define VFIO_REGION_IO_MATCH 1u /* flags: only writes of datamatch */

/* A span of a region that is signalled through an fd instead of a message (vfio-user REGION_IO_FDS). */
typedef struct VfioRegionIoFd {
    uint64_t offset, size; /* size 0: any */
    int fd;                /* to signal; the back end's, until the device stops */
    uint32_t type, flags;
    int shadow_fd; /* VFIO_REGION_IO_SHADOW: the value goes there, at shadow_offset, before the signal */
    uint64_t shadow_offset;
    uint64_t datamatch;
} VfioRegionIoFd;

/* Addresses a device may reach by DMA. */
typedef struct VfioDmaRange {
    uint64_t iova, size;
} VfioDmaRange;

typedef struct VfioDeviceOps {
    int (*get_info)(VfioDevice *dev, struct vfio_device_info *info);
    int (*get_region_info)(VfioDevice *dev, unsigned index, VfioRegionInfo *info);
    int (*get_irq_info)(VfioDevice *dev, struct vfio_irq_info *info); /* info->index in */
    /* irqs as VFIO_DEVICE_SET_IRQS: with DATA_EVENTFD the fds follow as int32_t, -1 for none. */
    int (*set_irqs)(VfioDevice *dev, const struct vfio_irq_set *irqs);
    /* Any thread, no lock held (see layering note in docs/devel/vfio.md).  Bytes done, or -errno. */
    ssize_t (*region_read)(VfioDevice *dev, unsigned index, uint64_t offset, uint32_t size, void *data);
    /* posted: the caller does not need to know when it is done; errors are lost. */
    ssize_t (*region_write)(VfioDevice *dev, unsigned index, uint64_t offset, uint32_t size, const void *data,
                            bool posted);
    /* *fds is g_malloc'ed, *count long.  NULL op or -ENOTSUP: none. */
    int (*region_io_fds)(VfioDevice *dev, unsigned index, VfioRegionIoFd **fds, unsigned *count);
    /* VFIO_DEVICE_FEATURE; size is of the whole buffer in and out. */
    int (*device_feature)(VfioDevice *dev, struct vfio_device_feature *feature, size_t size);
    /*
     * DMA logging (VFIO_DEVICE_FEATURE_DMA_LOGGING_*): the device itself remembers the pages it writes.  Main loop's lock,
     * which may be given up meanwhile.  NULL or -ENOTSUP, -ENOTTY: it cannot.
     */
    /* From now on, for these addresses, a bit for page_size bytes (a power of two; what it remembers may be coarser). */
    int (*log_start)(VfioDevice *dev, uint64_t page_size, const VfioDmaRange *ranges, unsigned count);
    int (*log_stop)(VfioDevice *dev);
    /* Or-s one bit a page of [iova, iova+size) that was written since the last report into bitmap (u64, bit 0 first);
     * -E2BIG: ask for less. */
    int (*log_report)(VfioDevice *dev, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap);
    int (*reset)(VfioDevice *dev);
    ssize_t (*migration_read)(VfioDevice *dev, void *data, size_t size);
    ssize_t (*migration_write)(VfioDevice *dev, const void *data, size_t size);
} VfioDeviceOps;

struct VfioDevice {
    const VfioDeviceOps *ops;
    const char *name; /* for messages: the device's id or socket */
    uint32_t flags;   /* VFIO_DEVICE_FLAGS_* */
    unsigned num_regions, num_irqs;
    bool no_mmap; /* x-no-mmap */
    bool broken;  /* the far side is gone: reads are all ones, writes are dropped */
};

/* A change of what the device may reach by DMA.  region gives owner fd and offset; host is its address here.
 */
typedef struct VfioDmaMap {
    uint64_t iova, size;
    void *host;
    int fd; /* -1: no fd (messages, or host pages for the kernel) */
    uint64_t fd_offset;
    bool readonly;
    bool writeonly; /* behind an IOMMU that says so */
} VfioDmaMap;

typedef struct VfioContainerOps {
    /* Between begin and commit, maps and unmaps may travel without waiting; commit waits for all, first error
     * wins. */
    void (*begin)(VfioContainer *c);
    int (*commit)(VfioContainer *c);
    int (*dma_map)(VfioContainer *c, const VfioDmaMap *map);
    int (*dma_unmap)(VfioContainer *c, uint64_t iova, uint64_t size);
    /*
     * The same, and or-s one bit a page of what was written there since the last report into bitmap, as dirty_report()
     * does, before it returns.  Tracking is on (a back end with the device's own logging: log_start()).  An error:
     * which pages were written is not known, so take all; the range is unmapped unless it is -EINVAL or -E2BIG: then
     * use dma_unmap().  NULL: not supported.
     */
    int (*dma_unmap_dirty)(VfioContainer *c, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap);
    /* Every map at once, between begin and commit; NULL or an error: they are unmapped one by one. */
    int (*unmap_all)(VfioContainer *c);
    int (*dirty_tracking)(VfioContainer *c, bool start); /* NULL: not supported */
    /* Or-s one bit a page of [iova, iova+size) into bitmap. */
    int (*dirty_report)(VfioContainer *c, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap);
} VfioContainerOps;

struct VfioContainer {
    const VfioContainerOps *ops;
    AddressSpace *as;
    MemListener listener;
    uint64_t pgsizes; /* bit mask of page sizes a map may be aligned to */
    uint64_t max_maps;
    uint64_t map_count;
    bool message_dma; /* the far side can reach memory without an fd (vfio-user); otherwise RAM must have one
                       */
    int error;        /* first -errno of the transaction */
    unsigned refused; /* how many there were; a back end that learns them in commit() adds all but the one it returns */
    bool started;     /* follows `as` */
    bool stopping;    /* unmap_all() was asked to drop every map */
    unsigned depth;   /* of batches: a replay of an IOMMU is part of the transaction that shows it */
    GPtrArray *iommus; /* of VfioIommu *: translated parts of `as` */
    bool told;        /* that a mapping of the guest could not be made */
    unsigned logging; /* devices that move: what is unmapped counts as written */
};

/* Starts following `as` with DMA maps: every RAM section is mapped now and at each commit. */
bool vfio_container_start(VfioContainer *c, const VfioContainerOps *ops, AddressSpace *as, GError **error);
void vfio_container_stop(VfioContainer *c);
/* Sets *error: what became of the transaction's maps.  err: errno of the first that was refused. */
void vfio_container_refused(const VfioContainer *c, int err, GError **error);

#endif
