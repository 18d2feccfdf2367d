/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VfioDeviceOps as ioctls on the device's file descriptor (<linux/vfio.h>, VFIO_DEVICE_*). */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "kernel.h"

#define REGION_INFO_MAX (64u << 10) /* bytes of capabilities that are looked at */

static VfioPci *pci_of_device(VfioDevice *vdev)
{
    return (VfioPci *)((char *)vdev - offsetof(VfioPci, base.vdev));
}

static VfioKernelDevice *of_device(VfioDevice *vdev)
{
    return &pci_of_device(vdev)->kernel;
}

static int device_ioctl(VfioKernelDevice *k, unsigned long request, const void *arg)
{
    return k->sys->ioctl(k->sys, k->fd, request, (uintptr_t)arg);
}

static int kernel_get_info(VfioDevice *vdev, struct vfio_device_info *info)
{
    VfioKernelDevice *k = of_device(vdev);
    int err = MIN(device_ioctl(k, VFIO_DEVICE_GET_INFO, info), 0);

    k->resets_alone = info->flags & VFIO_DEVICE_FLAGS_RESET;
    if (!err && !k->resets_alone && vfio_kernel_can_hot_reset(pci_of_device(vdev))) {
        info->flags |= VFIO_DEVICE_FLAGS_RESET;
    }
    return err;
}

/* --- regions --- */

static void read_areas(const uint8_t *cap, size_t len, VfioRegionInfo *out)
{
    struct vfio_region_info_cap_sparse_mmap head;

    if (len < sizeof(head)) {
        return;
    }
    memcpy(&head, cap, sizeof(head));
    g_free(out->areas);
    out->areas = g_new0(VfioMmapArea, head.nr_areas < REGION_INFO_MAX ? head.nr_areas + 1 : 1);
    out->area_count = 0;
    for (uint32_t i = 0; i < head.nr_areas; i++) {
        struct vfio_region_sparse_mmap_area area;
        size_t at = sizeof(head) + i * sizeof(area);

        if (at + sizeof(area) > len) {
            return;
        }
        memcpy(&area, cap + at, sizeof(area));
        out->areas[out->area_count++] = (VfioMmapArea){area.offset, area.size};
    }
}

static void read_capabilities(const struct vfio_region_info *info, size_t size, VfioRegionInfo *out)
{
    uint32_t at = info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0;
    struct vfio_info_cap_header head;

    while (at && at <= size - sizeof(head)) {
        memcpy(&head, (const uint8_t *)info + at, sizeof(head));
        if (head.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP) {
            read_areas((const uint8_t *)info + at, size - at, out);
        }
        at = head.next > at ? head.next : 0;
    }
}

static int kernel_get_region_info(VfioDevice *vdev, unsigned index, VfioRegionInfo *out)
{
    VfioKernelDevice *k = of_device(vdev);
    struct vfio_region_info head = {.argsz = sizeof(head), .index = index};
    g_autofree struct vfio_region_info *info = NULL;
    int err = device_ioctl(k, VFIO_DEVICE_GET_REGION_INFO, &head);
    uint32_t size = CLAMP(head.argsz, (uint32_t)sizeof(head), REGION_INFO_MAX);

    if (err >= 0) {
        info = g_malloc0(size);
        info->argsz = size;
        info->index = index;
        err = device_ioctl(k, VFIO_DEVICE_GET_REGION_INFO, info);
    }
    if (err < 0) {
        return err;
    }
    *out = (VfioRegionInfo){.flags = info->flags, .size = info->size, .fd_offset = info->offset, .fd = k->fd};
    read_capabilities(info, size, out);
    if (index < VFIO_PCI_NUM_REGIONS) {
        k->region_offset[index] = info->offset;
        k->region_known[index] = true;
    }
    return 0;
}

/* Where region `index` begins in the device's fd. */
static int region_start(VfioDevice *vdev, unsigned index, uint64_t *start)
{
    VfioKernelDevice *k = of_device(vdev);
    VfioRegionInfo info;
    int err = 0;

    if (index >= VFIO_PCI_NUM_REGIONS) {
        return -EINVAL;
    }
    if (!k->region_known[index]) {
        err = kernel_get_region_info(vdev, index, &info);
        if (!err) {
            g_free(info.areas);
        }
    }
    *start = k->region_offset[index];
    return err;
}

static ssize_t kernel_region_read(VfioDevice *vdev, unsigned index, uint64_t offset, uint32_t size,
                                  void *data)
{
    VfioKernelDevice *k = of_device(vdev);
    uint64_t start;
    int err = region_start(vdev, index, &start);

    return err ? err : k->sys->pread(k->sys, k->fd, data, size, start + offset);
}

static ssize_t kernel_region_write(VfioDevice *vdev, unsigned index, uint64_t offset, uint32_t size,
                                   const void *data, bool posted)
{
    VfioKernelDevice *k = of_device(vdev);
    uint64_t start;
    int err = region_start(vdev, index, &start);

    return err ? err : k->sys->pwrite(k->sys, k->fd, data, size, start + offset);
}

/* --- interrupts --- */

static bool is_messages(unsigned index)
{
    return index == VFIO_PCI_MSI_IRQ_INDEX || index == VFIO_PCI_MSIX_IRQ_INDEX;
}

static int kernel_get_irq_info(VfioDevice *vdev, struct vfio_irq_info *info)
{
    VfioKernelDevice *k = of_device(vdev);
    int err = MIN(device_ioctl(k, VFIO_DEVICE_GET_IRQ_INFO, info), 0);

    if (!err && is_messages(info->index)) {
        VfioKernelVectors *v = &k->vectors[info->index];

        g_free(v->fds);
        *v = (VfioKernelVectors){.noresize = info->flags & VFIO_IRQ_INFO_NORESIZE, .total = info->count};
        v->fds = g_new(int32_t, v->total + 1);
        memset(v->fds, 0xff, (v->total + 1) * sizeof(int32_t));
    }
    return err;
}

static int vectors_disable(VfioKernelDevice *k, unsigned index)
{
    const struct vfio_irq_set set = {
        .argsz = sizeof(set), .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, .index = index};

    k->vectors[index].enabled = 0;
    return MIN(device_ioctl(k, VFIO_DEVICE_SET_IRQS, &set), 0);
}

/* Positive: the host has only so many vectors left. */
static int vectors_enable(VfioKernelDevice *k, unsigned index, uint32_t count)
{
    VfioKernelVectors *v = &k->vectors[index];
    size_t size = sizeof(struct vfio_irq_set) + count * sizeof(int32_t);
    g_autofree struct vfio_irq_set *set = g_malloc0(size);
    int err;

    *set = (struct vfio_irq_set){.argsz = (uint32_t)size,
                                 .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                                 .index = index,
                                 .count = count};
    memcpy(set->data, v->fds, count * sizeof(int32_t));
    err = device_ioctl(k, VFIO_DEVICE_SET_IRQS, set);
    v->enabled = err ? 0 : count;
    return err > 0 ? -ENOSPC : err;
}

/* A message sent while its vector was down is lost; one too many is only looked at. */
static void signal_all(const VfioKernelVectors *v, uint32_t count)
{
    const uint64_t one = 1;

    for (uint32_t i = 0; i < count; i++) {
        /* Its reader has this many already when it would overflow. */
        if (v->fds[i] >= 0 && write(v->fds[i], &one, sizeof(one)) < 0) {
            continue;
        }
    }
}

/* All vectors down and up again with the new ones: twice as many as before, so that it is seldom done. */
static int vectors_grow(VfioKernelDevice *k, unsigned index, uint32_t needed)
{
    VfioKernelVectors *v = &k->vectors[index];
    uint32_t before = v->enabled, want = MIN(MAX(needed, before * 2), v->total);
    int err = before ? vectors_disable(k, index) : 0;

    if (!err) {
        err = vectors_enable(k, index, want);
    }
    if (err == -ENOSPC && want > needed) {
        err = vectors_enable(k, index, needed);
    }
    if (err && before) {
        vectors_enable(k, index, before);
    }
    signal_all(v, before);
    return err;
}

static int set_message_fds(VfioKernelDevice *k, const struct vfio_irq_set *set)
{
    VfioKernelVectors *v = &k->vectors[set->index];

    if (set->start > v->total || set->count > v->total - set->start) {
        return -EINVAL;
    }
    memcpy(v->fds + set->start, set->data, set->count * sizeof(int32_t));
    if (v->enabled ? v->noresize && set->start + set->count > v->enabled : true) {
        return vectors_grow(k, set->index, set->start + set->count);
    }
    return MIN(device_ioctl(k, VFIO_DEVICE_SET_IRQS, set), 0);
}

static int kernel_set_irqs(VfioDevice *vdev, const struct vfio_irq_set *set)
{
    VfioKernelDevice *k = of_device(vdev);

    if (is_messages(set->index) && (set->flags & VFIO_IRQ_SET_ACTION_TRIGGER)) {
        VfioKernelVectors *v = &k->vectors[set->index];

        if (set->flags & VFIO_IRQ_SET_DATA_EVENTFD) {
            return set_message_fds(k, set);
        }
        if (!set->count && v->fds) {
            memset(v->fds, 0xff, v->total * sizeof(int32_t));
            return v->enabled ? vectors_disable(k, set->index) : 0;
        }
    }
    return MIN(device_ioctl(k, VFIO_DEVICE_SET_IRQS, set), 0);
}

/* --- features, reset, migration --- */

static void take_migration_fd(VfioKernelDevice *k, struct vfio_device_feature *feature, size_t size)
{
    struct vfio_device_feature_mig_state *state = (void *)feature->data;

    if (size < sizeof(*feature) + sizeof(*state) || !(feature->flags & VFIO_DEVICE_FEATURE_SET) ||
        (feature->flags & VFIO_DEVICE_FEATURE_MASK) != VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE) {
        return;
    }
    if (state->data_fd < 0 && state->device_state == VFIO_DEVICE_STATE_STOP_COPY) {
        return; /* what was begun in PRE_COPY goes on */
    }
    if (k->migration_fd >= 0) {
        k->sys->close(k->sys, k->migration_fd);
    }
    k->migration_fd = state->data_fd;
    state->data_fd = -1; /* ours: data goes through migration_read and migration_write */
}

static int kernel_device_feature(VfioDevice *vdev, struct vfio_device_feature *feature, size_t size)
{
    VfioKernelDevice *k = of_device(vdev);
    int err;

    if (size < sizeof(*feature) || size > UINT32_MAX) {
        return -EINVAL;
    }
    feature->argsz = (uint32_t)size;
    err = MIN(device_ioctl(k, VFIO_DEVICE_FEATURE, feature), 0);
    if (!err) {
        take_migration_fd(k, feature, size);
    }
    return err;
}

static int kernel_reset(VfioDevice *vdev)
{
    VfioKernelDevice *k = of_device(vdev);

    return k->resets_alone ? MIN(device_ioctl(k, VFIO_DEVICE_RESET, NULL), 0)
                           : vfio_kernel_hot_reset(pci_of_device(vdev));
}

/* ENOMSG: no more of it in PRE_COPY, for the time being. */
static ssize_t kernel_migration_read(VfioDevice *vdev, void *data, size_t size)
{
    VfioKernelDevice *k = of_device(vdev);
    ssize_t done = k->migration_fd < 0 ? -EBADF : k->sys->read(k->sys, k->migration_fd, data, size);

    return done == -ENOMSG ? 0 : done;
}

static ssize_t kernel_migration_write(VfioDevice *vdev, const void *data, size_t size)
{
    VfioKernelDevice *k = of_device(vdev);

    return k->migration_fd < 0 ? -EBADF : k->sys->write(k->sys, k->migration_fd, data, size);
}

static int kernel_log_start(VfioDevice *vdev, uint64_t page_size, const VfioDmaRange *ranges, unsigned count)
{
    return vfio_kernel_log_start(of_device(vdev), page_size, ranges, count);
}

static int kernel_log_stop(VfioDevice *vdev)
{
    return vfio_kernel_log_stop(of_device(vdev));
}

static int kernel_log_report(VfioDevice *vdev, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap)
{
    return vfio_kernel_log_report(of_device(vdev), iova, size, page_size, bitmap);
}

const VfioDeviceOps vfio_kernel_device_ops = {
    .get_info = kernel_get_info,
    .get_region_info = kernel_get_region_info,
    .get_irq_info = kernel_get_irq_info,
    .set_irqs = kernel_set_irqs,
    .region_read = kernel_region_read,
    .region_write = kernel_region_write,
    .device_feature = kernel_device_feature,
    .log_start = kernel_log_start,
    .log_stop = kernel_log_stop,
    .log_report = kernel_log_report,
    .reset = kernel_reset,
    .migration_read = kernel_migration_read,
    .migration_write = kernel_migration_write,
};

void vfio_kernel_device_open(VfioKernelDevice *k, const VfioSys *sys, int fd)
{
    *k = (VfioKernelDevice){.sys = sys, .fd = fd, .migration_fd = -1};
}

void vfio_kernel_device_close(VfioKernelDevice *k)
{
    for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
        g_clear_pointer(&k->vectors[i].fds, g_free);
    }
    if (k->migration_fd >= 0) {
        k->sys->close(k->sys, k->migration_fd);
    }
    k->sys->close(k->sys, k->fd);
    k->fd = -1;
}
