/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of a virtio device as its driver drives it (VIRTIO 1.1, 2.1, 2.2, 3.1), whatever the interface. */
#include <stdarg.h>
#include <string.h>

#include "virtio.h"

bool virtio_running(const VirtioPci *vp)
{
    /* Legacy drivers use queues before they say DRIVER_OK (3.1.2). */
    return (vp->status & VIRTIO_STATUS_DRIVER_OK || !virtio_has(vp, VIRTIO_F_VERSION_1)) &&
           !(vp->status & (VIRTIO_STATUS_NEEDS_RESET | VIRTIO_STATUS_FAILED));
}

void virtio_error(VirtioPci *vp, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    guest_error(&vp->pci.dev, "%s; the device stops until it is reset", text);
    if (!(vp->status & VIRTIO_STATUS_NEEDS_RESET)) {
        bool told = vp->status & VIRTIO_STATUS_DRIVER_OK;

        vp->status |= VIRTIO_STATUS_NEEDS_RESET;
        if (told) {
            virtio_notify_vector(vp, vp->config_vector, VIRTIO_PCI_ISR_CONFIG);
        }
    }
}

void virtio_set_driver_features(VirtioPci *vp, uint64_t features)
{
    if (vp->status & VIRTIO_STATUS_FEATURES_OK) {
        guest_error(&vp->pci.dev, "features written after FEATURES_OK");
        return;
    }
    vp->driver_features = features;
}

/* FEATURES_OK is taken back when the driver chose what is not offered or left out what it must not (3.1.1,
 * 6). */
static bool features_acceptable(VirtioPci *vp)
{
    uint64_t must = VIRTIO_FEATURE(VIRTIO_F_VERSION_1) |
                    (vp->iommu_platform ? VIRTIO_FEATURE(VIRTIO_F_ACCESS_PLATFORM) : 0);

    return !(vp->driver_features & ~vp->host_features) && (vp->driver_features & must) == must;
}

static void virtio_start_queues(VirtioPci *vp)
{
    if (vp->type->driver_ok) {
        vp->type->driver_ok(vp);
    }
    for (unsigned i = 0; i < vp->num_queues; i++) {
        virtio_kick(vp, i);
    }
}

void virtio_set_status(VirtioPci *vp, uint8_t status)
{
    uint8_t old = vp->status;

    TRACE(&virtio_trace[VIRTIO_TRACE_STATUS], "%s: 0x%02x to 0x%02x", vp->pci.dev.obj.id, old, status);
    if (!status) {
        virtio_reset(vp);
        return;
    }
    if (status & ~old & VIRTIO_STATUS_FEATURES_OK && !features_acceptable(vp)) {
        guest_error(&vp->pci.dev,
                    "features 0x%" G_GINT64_MODIFIER "x refused (offered 0x%" G_GINT64_MODIFIER "x)",
                    vp->driver_features, vp->host_features);
        status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
    }
    vp->status = (uint8_t)(status | (old & VIRTIO_STATUS_NEEDS_RESET));
    if (status & ~old & VIRTIO_STATUS_DRIVER_OK) {
        virtio_start_queues(vp);
    }
}

void virtio_reset(VirtioPci *vp)
{
    vp->status = 0; /* first: nothing that ends now touches a queue */
    vp->type->reset(vp);
    vp->driver_features = 0;
    vp->device_feature_select = vp->driver_feature_select = 0;
    vp->queue_select = 0;
    vp->isr = 0;
    vp->config_vector = VIRTIO_NO_VECTOR;
    for (unsigned i = 0; i < vp->num_queues; i++) {
        virtqueue_reset(&vp->queues[i]);
    }
    pci_set_irq(&vp->pci, 0);
}

VirtQueue *virtio_selected(VirtioPci *vp)
{
    return vp->queue_select < vp->num_queues ? &vp->queues[vp->queue_select] : NULL;
}

void virtio_kick(VirtioPci *vp, unsigned queue)
{
    if (queue >= vp->num_queues) {
        guest_error(&vp->pci.dev, "notification of queue %u (allowed 0..%u)", queue, vp->num_queues - 1);
    } else if (vp->queues[queue].enabled && virtio_running(vp)) {
        loop_bh_schedule(vp->queues[queue].bh);
    }
}
