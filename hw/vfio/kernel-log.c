/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DMA logging by the device, as the kernel's VFIO has it (<linux/vfio.h>, VFIO_DEVICE_FEATURE_DMA_LOGGING_*).
 */
#include <errno.h>
#include <string.h>

#include "kernel.h"

static int feature(VfioKernelDevice *k, uint32_t flags, const void *data, size_t len)
{
    size_t size = sizeof(struct vfio_device_feature) + len;
    g_autofree struct vfio_device_feature *request = g_malloc0(size);

    request->argsz = (uint32_t)size;
    request->flags = flags;
    if (len) {
        memcpy(request->data, data, len);
    }
    return MIN(k->sys->ioctl(k->sys, k->fd, VFIO_DEVICE_FEATURE, (uintptr_t)request), 0);
}

int vfio_kernel_log_start(VfioKernelDevice *k, uint64_t page_size, const VfioDmaRange *ranges, unsigned count)
{
    g_autofree struct vfio_device_feature_dma_logging_range *list =
        g_new0(struct vfio_device_feature_dma_logging_range, count ? count : 1);
    const struct vfio_device_feature_dma_logging_control control = {
        .page_size = page_size, .num_ranges = count, .ranges = (uintptr_t)list};

    for (unsigned i = 0; i < count; i++) {
        list[i].iova = ranges[i].iova;
        list[i].length = ranges[i].size;
    }
    return feature(k, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START, &control,
                   sizeof(control));
}

int vfio_kernel_log_stop(VfioKernelDevice *k)
{
    return feature(k, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL, 0);
}

int vfio_kernel_log_report(VfioKernelDevice *k, uint64_t iova, uint64_t size, uint64_t page_size,
                           uint64_t *bitmap)
{
    const struct vfio_device_feature_dma_logging_report report = {
        .iova = iova, .length = size, .page_size = page_size, .bitmap = (uintptr_t)bitmap};

    return feature(k, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, &report,
                   sizeof(report));
}
