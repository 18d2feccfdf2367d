/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VfioContainerOps over a type1 container, version 1 or 2 (<linux/vfio.h>, VFIO_IOMMU_*). */
#include <errno.h>
#include <string.h>

#include "core/error.h"
#include "kernel.h"

#define TYPE1_INFO_MAX (64u << 10) /* bytes of capabilities that are looked at */

static int type1_ioctl(VfioKernelContainer *c, unsigned long request, void *arg)
{
    return c->kernel->sys->ioctl(c->kernel->sys, c->fd, request, (uintptr_t)arg);
}

/* --- what the IOMMU can do --- */

static void read_ranges(VfioKernelContainer *c, const uint8_t *cap, size_t len)
{
    struct vfio_iommu_type1_info_cap_iova_range head;

    if (len < sizeof(head)) {
        return;
    }
    memcpy(&head, cap, sizeof(head));
    g_array_set_size(c->ranges, 0);
    for (uint32_t i = 0; i < head.nr_iovas && sizeof(head) + (i + 1) * sizeof(struct vfio_iova_range) <= len;
         i++) {
        struct vfio_iova_range from;
        VfioIovaRange range;

        memcpy(&from, cap + sizeof(head) + i * sizeof(from), sizeof(from));
        range = (VfioIovaRange){from.start, from.end};
        g_array_append_val(c->ranges, range);
    }
}

static void read_migration(VfioKernelContainer *c, const uint8_t *cap, size_t len)
{
    struct vfio_iommu_type1_info_cap_migration m;

    if (len >= sizeof(m)) {
        memcpy(&m, cap, sizeof(m));
        c->dirty_pages = m.pgsize_bitmap;
        c->max_dirty_bitmap = m.max_dirty_bitmap_size;
    }
}

static void read_available(VfioKernelContainer *c, const uint8_t *cap, size_t len)
{
    struct vfio_iommu_type1_info_dma_avail a;

    if (len >= sizeof(a)) {
        memcpy(&a, cap, sizeof(a));
        c->base.max_maps = a.avail;
    }
}

static const struct {
    uint16_t id;
    void (*read)(VfioKernelContainer *c, const uint8_t *cap, size_t len);
} capabilities[] = {{VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, read_ranges},
                    {VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, read_migration},
                    {VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, read_available}};

static void read_capabilities(VfioKernelContainer *c, const uint8_t *info, size_t len, uint32_t at)
{
    struct vfio_info_cap_header head;

    while (at && at <= len - sizeof(head)) {
        memcpy(&head, info + at, sizeof(head));
        for (unsigned i = 0; i < G_N_ELEMENTS(capabilities); i++) {
            if (capabilities[i].id == head.id) {
                capabilities[i].read(c, info + at, len - at);
            }
        }
        at = head.next > at ? head.next : 0;
    }
}

bool vfio_type1_get_info(VfioKernelContainer *c, GError **error)
{
    struct vfio_iommu_type1_info head = {.argsz = sizeof(head)};
    g_autofree struct vfio_iommu_type1_info *info = NULL;
    int err = type1_ioctl(c, VFIO_IOMMU_GET_INFO, &head);
    uint32_t size = CLAMP(head.argsz, (uint32_t)sizeof(head), TYPE1_INFO_MAX);

    if (err >= 0) {
        info = g_malloc0(size);
        info->argsz = size;
        err = type1_ioctl(c, VFIO_IOMMU_GET_INFO, info);
    }
    if (err < 0) {
        error_set_errno(error, -err, "vfio-pci: cannot ask what the IOMMU can do");
        return false;
    }
    if ((info->flags & VFIO_IOMMU_INFO_PGSIZES) && info->iova_pgsizes) {
        c->base.pgsizes = info->iova_pgsizes;
    }
    if (info->flags & VFIO_IOMMU_INFO_CAPS) {
        read_capabilities(c, (const uint8_t *)info, size, info->cap_offset);
    }
    return true;
}

/* --- the table --- */

/* Every map is carried out, or fails, at once. */
static void type1_begin(VfioContainer *base)
{
}

static int type1_commit(VfioContainer *base)
{
    return 0;
}

static int type1_dma_map(VfioContainer *base, const VfioDmaMap *map)
{
    VfioKernelContainer *c = vfio_kernel_container_of(base);
    uint64_t iova = map->iova, size = map->size, skipped;
    struct vfio_iommu_type1_dma_map request = {.argsz = sizeof(request)};
    int err;

    if (!vfio_kernel_align(c, &iova, &size, &skipped)) {
        return 0;
    }
    request.flags =
        (map->writeonly ? 0 : VFIO_DMA_MAP_FLAG_READ) | (map->readonly ? 0 : VFIO_DMA_MAP_FLAG_WRITE);
    request.vaddr = (uintptr_t)map->host + skipped;
    request.iova = iova;
    request.size = size;
    err = vfio_kernel_in_ranges(c, iova, size) ? type1_ioctl(c, VFIO_IOMMU_MAP_DMA, &request) : -ERANGE;
    return err < 0 ? vfio_kernel_map_failed(c, map, err) : 0;
}

static int type1_dma_unmap(VfioContainer *base, uint64_t iova, uint64_t size)
{
    VfioKernelContainer *c = vfio_kernel_container_of(base);
    struct vfio_iommu_type1_dma_unmap request = {.argsz = sizeof(request)};
    uint64_t skipped;

    if (!vfio_kernel_align(c, &iova, &size, &skipped)) {
        return 0;
    }
    request.iova = iova;
    request.size = size;
    return MIN(type1_ioctl(c, VFIO_IOMMU_UNMAP_DMA, &request), 0);
}

/* The kernel reports pages of its smallest size only. */
typedef struct Type1Bitmap {
    uint64_t page, pages, bytes;
    uint64_t *bits; /* g_free */
} Type1Bitmap;

static int bitmap_new(const VfioKernelContainer *c, uint64_t iova, uint64_t size, uint64_t page_size,
                      Type1Bitmap *b)
{
    b->page = c->dirty_pages & -c->dirty_pages;
    b->bits = NULL;
    if (!c->dirty_pages) {
        return -ENOTSUP;
    }
    if (page_size < b->page || ((iova | size) & (page_size - 1)) || !size) {
        return -EINVAL;
    }
    b->pages = size / b->page;
    b->bytes = (b->pages + 63) / 64 * 8;
    if (b->bytes > c->max_dirty_bitmap) {
        return -E2BIG;
    }
    b->bits = g_try_malloc0(b->bytes);
    return b->bits ? 0 : -ENOMEM;
}

static struct vfio_bitmap bitmap_request(const Type1Bitmap *b)
{
    return (struct vfio_bitmap){.pgsize = b->page, .size = b->bytes, .data = (void *)b->bits};
}

/* Each of the kernel's pages sets the bit of the caller's page it is in. */
static void bitmap_fold(const Type1Bitmap *b, uint64_t page_size, uint64_t *bitmap)
{
    for (uint64_t n = 0; n < b->pages; n++) {
        if (b->bits[n / 64] >> (n % 64) & 1) {
            uint64_t bit = n * b->page / page_size;

            bitmap[bit / 64] |= UINT64_C(1) << (bit % 64);
        }
    }
}

static int type1_dma_unmap_dirty(VfioContainer *base, uint64_t iova, uint64_t size, uint64_t page_size,
                                 uint64_t *bitmap)
{
    VfioKernelContainer *c = vfio_kernel_container_of(base);
    size_t len = sizeof(struct vfio_iommu_type1_dma_unmap) + sizeof(struct vfio_bitmap);
    g_autofree struct vfio_iommu_type1_dma_unmap *request = g_malloc0(len);
    struct vfio_bitmap part;
    Type1Bitmap b;
    int err = bitmap_new(c, iova, size, page_size, &b);

    if (err) {
        return err == -ENOMEM ? -E2BIG : err == -ENOTSUP ? -EINVAL : err;
    }
    part = bitmap_request(&b);
    *request = (struct vfio_iommu_type1_dma_unmap){
        .argsz = (uint32_t)len, .flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, .iova = iova, .size = size};
    memcpy(request->data, &part, sizeof(part));
    err = MIN(type1_ioctl(c, VFIO_IOMMU_UNMAP_DMA, request), 0);
    if (!err) {
        bitmap_fold(&b, page_size, bitmap);
    }
    g_free(b.bits);
    return err;
}

/* Without VFIO_UNMAP_ALL all of it has to be said in two halves: 2^64 is not a size. */
static int type1_unmap_all(VfioContainer *base)
{
    VfioKernelContainer *c = vfio_kernel_container_of(base);
    const uint64_t half = UINT64_C(1) << 63;
    struct vfio_iommu_type1_dma_unmap all = {.argsz = sizeof(all), .flags = VFIO_DMA_UNMAP_FLAG_ALL};
    int err = 0;

    if (c->can_unmap_all) {
        return MIN(type1_ioctl(c, VFIO_IOMMU_UNMAP_DMA, &all), 0);
    }
    for (uint64_t n = 0; n < 2 && err >= 0; n++) {
        struct vfio_iommu_type1_dma_unmap part = {.argsz = sizeof(part), .iova = n * half, .size = half};

        err = type1_ioctl(c, VFIO_IOMMU_UNMAP_DMA, &part);
    }
    return MIN(err, 0);
}

static int type1_dirty_tracking(VfioContainer *base, bool start)
{
    VfioKernelContainer *c = vfio_kernel_container_of(base);
    struct vfio_iommu_type1_dirty_bitmap request = {.argsz = sizeof(request),
                                                    .flags = start ? VFIO_IOMMU_DIRTY_PAGES_FLAG_START
                                                                   : VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP};

    return c->dirty_pages ? MIN(type1_ioctl(c, VFIO_IOMMU_DIRTY_PAGES, &request), 0) : -ENOTSUP;
}

static int type1_dirty_report(VfioContainer *base, uint64_t iova, uint64_t size, uint64_t page_size,
                              uint64_t *bitmap)
{
    VfioKernelContainer *c = vfio_kernel_container_of(base);
    size_t len =
        sizeof(struct vfio_iommu_type1_dirty_bitmap) + sizeof(struct vfio_iommu_type1_dirty_bitmap_get);
    struct vfio_iommu_type1_dirty_bitmap_get get = {.iova = iova, .size = size};
    g_autofree struct vfio_iommu_type1_dirty_bitmap *request = g_malloc0(len);
    Type1Bitmap b;
    int err = bitmap_new(c, iova, size, page_size, &b);

    if (err) {
        return err;
    }
    get.bitmap = bitmap_request(&b);
    request->argsz = (uint32_t)len;
    request->flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
    memcpy(request->data, &get, sizeof(get));
    err = MIN(type1_ioctl(c, VFIO_IOMMU_DIRTY_PAGES, request), 0);
    if (!err) {
        bitmap_fold(&b, page_size, bitmap);
    }
    g_free(b.bits);
    return err;
}

const VfioContainerOps vfio_type1_ops = {
    .begin = type1_begin,
    .commit = type1_commit,
    .dma_map = type1_dma_map,
    .dma_unmap = type1_dma_unmap,
    .dma_unmap_dirty = type1_dma_unmap_dirty,
    .unmap_all = type1_unmap_all,
    .dirty_tracking = type1_dirty_tracking,
    .dirty_report = type1_dirty_report,
};
