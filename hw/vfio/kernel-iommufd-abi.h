/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel's iommufd and VFIO's device character devices take (Linux documentation,
 * userspace-api/iommufd): numbers and layouts only.  Debian 12's kernel headers are older than the interface.
 * Every structure begins with its own size (iommufd) or argsz (VFIO).
 */
#ifndef HW_VFIO_KERNEL_IOMMUFD_ABI_H
#define HW_VFIO_KERNEL_IOMMUFD_ABI_H

#include <linux/vfio.h>
#include <stdint.h>

#define IOMMUFD_REQUEST(n) _IO(';', n)

#define IOMMUFD_DESTROY                 IOMMUFD_REQUEST(0x80)
#define IOMMUFD_IOAS_ALLOC              IOMMUFD_REQUEST(0x81)
#define IOMMUFD_IOAS_IOVA_RANGES        IOMMUFD_REQUEST(0x84)
#define IOMMUFD_IOAS_MAP                IOMMUFD_REQUEST(0x85)
#define IOMMUFD_IOAS_UNMAP              IOMMUFD_REQUEST(0x86)
#define IOMMUFD_HWPT_ALLOC              IOMMUFD_REQUEST(0x89)
#define IOMMUFD_GET_HW_INFO             IOMMUFD_REQUEST(0x8a)
#define IOMMUFD_HWPT_SET_DIRTY_TRACKING IOMMUFD_REQUEST(0x8b)
#define IOMMUFD_HWPT_GET_DIRTY_BITMAP   IOMMUFD_REQUEST(0x8c)

typedef struct IommufdDestroy {
    uint32_t size, id;
} IommufdDestroy;

typedef struct IommufdIoasAlloc {
    uint32_t size, flags, out_ioas_id;
} IommufdIoasAlloc;

typedef struct IommufdIovaRange {
    uint64_t start, last; /* both inside */
} IommufdIovaRange;

typedef struct IommufdIoasIovaRanges {
    uint32_t size, ioas_id, num_iovas, reserved; /* num_iovas: room in, needed out */
    uint64_t allowed_iovas;                      /* address of IommufdIovaRange[num_iovas] */
    uint64_t out_iova_alignment;
} IommufdIoasIovaRanges;

enum { IOMMUFD_MAP_FIXED_IOVA = 1 << 0, IOMMUFD_MAP_WRITEABLE = 1 << 1, IOMMUFD_MAP_READABLE = 1 << 2 };
typedef struct IommufdIoasMap {
    uint32_t size, flags, ioas_id, reserved;
    uint64_t user_va, length, iova;
} IommufdIoasMap;

typedef struct IommufdIoasUnmap {
    uint32_t size, ioas_id;
    uint64_t iova, length; /* 0 and UINT64_MAX: everything */
} IommufdIoasUnmap;

enum { IOMMUFD_HWPT_DIRTY_TRACKING = 1 << 1 };
typedef struct IommufdHwptAlloc {
    uint32_t size, flags, dev_id, pt_id, out_hwpt_id, reserved, data_type, data_len;
    uint64_t data_uptr;
} IommufdHwptAlloc;

enum { IOMMUFD_HW_CAP_DIRTY_TRACKING = 1 << 0 };
typedef struct IommufdHwInfo {
    uint32_t size, flags, dev_id, data_len;
    uint64_t data_uptr;
    uint32_t out_data_type, reserved;
    uint64_t out_capabilities;
} IommufdHwInfo;

enum { IOMMUFD_DIRTY_TRACKING_ENABLE = 1 << 0 };
typedef struct IommufdSetDirtyTracking {
    uint32_t size, flags, hwpt_id, reserved;
} IommufdSetDirtyTracking;

typedef struct IommufdGetDirtyBitmap {
    uint32_t size, hwpt_id, flags, reserved;
    uint64_t iova, length, page_size;
    uint64_t data; /* address of one bit a page; set bits are added */
} IommufdGetDirtyBitmap;

/* VFIO's requests on a device's character device. */
#define VFIO_CDEV_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#define VFIO_CDEV_ATTACH_PT    _IO(VFIO_TYPE, VFIO_BASE + 19)
#define VFIO_CDEV_DETACH_PT    _IO(VFIO_TYPE, VFIO_BASE + 20)

typedef struct VfioCdevBind {
    uint32_t argsz, flags;
    int32_t iommufd;
    uint32_t out_devid;
} VfioCdevBind;

typedef struct VfioCdevAttach {
    uint32_t argsz, flags, pt_id; /* id of an IOAS or of a page table; out: of the page table */
} VfioCdevAttach;

typedef struct VfioCdevDetach {
    uint32_t argsz, flags;
} VfioCdevDetach;

#endif
