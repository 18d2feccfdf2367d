/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel in memory: iommufd and character devices (Linux documentation, userspace-api/iommufd). */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "fake-kernel-internal.h"
#include "hw/vfio/kernel-iommufd-abi.h"

static FakeHwpt *find_hwpt(FakeKernel *k, uint32_t id)
{
    for (unsigned i = 0; i < FAKE_MAX_HWPTS; i++) {
        if (id && k->hwpt[i].id == id) {
            return &k->hwpt[i];
        }
    }
    return NULL;
}

int fake_cdev_ioctl(FakeKernel *k, FakeFile *f, unsigned long request, void *arg)
{
    VfioCdevBind *bind = arg;
    const VfioCdevAttach *attach = arg;

    switch (request) {
    case VFIO_CDEV_BIND_IOMMUFD: {
        const FakeFile *iommu = fake_file(&k->sys, bind->iommufd);

        if (f->bound || !iommu || iommu->kind != FAKE_IOMMU) {
            return -EINVAL;
        }
        if (fake_group_is_driven(k, f->device->group)) {
            return -EBUSY;
        }
        f->bound = true;
        bind->out_devid = 100 + (uint32_t)(f->device - k->devices);
        return 0;
    }
    case VFIO_CDEV_ATTACH_PT:
        if (!f->bound || f->page_table) {
            return -EINVAL;
        }
        f->page_table = attach->pt_id;
        return 0;
    case VFIO_CDEV_DETACH_PT:
        f->page_table = 0;
        return 0;
    default:
        return -ENOTTY;
    }
}

static int hwpt_alloc(FakeKernel *k, IommufdHwptAlloc *r)
{
    for (unsigned i = 0; i < FAKE_MAX_HWPTS && k->hwpts; i++) {
        if (!k->hwpt[i].id) {
            k->hwpt[i] = (FakeHwpt){
                .id = k->next_id++, .ioas = r->pt_id, .can_track = r->flags & IOMMUFD_HWPT_DIRTY_TRACKING};
            r->out_hwpt_id = k->hwpt[i].id;
            return 0;
        }
    }
    return -EOPNOTSUPP;
}

static int unmap(FakeKernel *k, const IommufdIoasUnmap *r)
{
    bool all = !r->iova && r->length == UINT64_MAX;

    k->unmaps++;
    k->unmap_alls += all;
    while (all && k->dma->map_count) {
        contract_unmap(k->dma, k->dma->maps[0][0], k->dma->maps[0][1]);
    }
    return all ? 0 : contract_unmap(k->dma, r->iova, r->length);
}

static int destroy(FakeKernel *k, const IommufdDestroy *r)
{
    FakeHwpt *hwpt = find_hwpt(k, r->id);
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, k->files);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        if (((FakeFile *)value)->page_table == r->id) {
            return -EBUSY;
        }
    }
    if (hwpt) {
        *hwpt = (FakeHwpt){0};
    }
    return 0;
}

static int set_tracking(FakeKernel *k, const IommufdSetDirtyTracking *r)
{
    FakeHwpt *hwpt = find_hwpt(k, r->hwpt_id);

    if (!hwpt || !hwpt->can_track) {
        return -EOPNOTSUPP;
    }
    hwpt->tracking = r->flags & IOMMUFD_DIRTY_TRACKING_ENABLE;
    return 0;
}

static int get_bitmap(FakeKernel *k, const IommufdGetDirtyBitmap *r)
{
    const FakeHwpt *hwpt = find_hwpt(k, r->hwpt_id);

    if (!hwpt || !hwpt->tracking) {
        return -EINVAL;
    }
    fake_report(k, r->iova, r->length, r->page_size, (uint64_t *)(uintptr_t)r->data);
    return 0;
}

static int iova_ranges(const FakeKernel *k, IommufdIoasIovaRanges *r)
{
    IommufdIovaRange *out = (IommufdIovaRange *)(uintptr_t)r->allowed_iovas;

    out[0] = (IommufdIovaRange){0, k->last_iova};
    r->num_iovas = 1;
    r->out_iova_alignment = 4096;
    return 0;
}

int fake_iommufd_ioctl(FakeKernel *k, unsigned long request, void *arg)
{
    const IommufdIoasMap *map = arg;

    switch (request) {
    case IOMMUFD_IOAS_ALLOC:
        k->containers++;
        ((IommufdIoasAlloc *)arg)->out_ioas_id = k->next_id++;
        return 0;
    case IOMMUFD_IOAS_IOVA_RANGES:
        return iova_ranges(k, arg);
    case IOMMUFD_IOAS_MAP:
        return fake_map(k, map->iova, map->length, map->user_va,
                        (map->flags & IOMMUFD_MAP_READABLE ? PROT_READ : 0) |
                            (map->flags & IOMMUFD_MAP_WRITEABLE ? PROT_WRITE : 0));
    case IOMMUFD_IOAS_UNMAP:
        return unmap(k, arg);
    case IOMMUFD_HWPT_ALLOC:
        return hwpt_alloc(k, arg);
    case IOMMUFD_GET_HW_INFO:
        ((IommufdHwInfo *)arg)->out_capabilities = k->dirty ? IOMMUFD_HW_CAP_DIRTY_TRACKING : 0;
        return 0;
    case IOMMUFD_HWPT_SET_DIRTY_TRACKING:
        return set_tracking(k, arg);
    case IOMMUFD_HWPT_GET_DIRTY_BITMAP:
        return get_bitmap(k, arg);
    case IOMMUFD_DESTROY:
        return destroy(k, arg);
    default:
        return -ENOTTY;
    }
}
