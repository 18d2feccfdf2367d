/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-rng-pci: the entropy device (VIRTIO 1.1, 5.4), fed by the host kernel's random numbers. */
#include <sys/random.h>

#include "virtio.h"

#define RNG_QUEUE_SIZE 8
/* Bytes given to one request at most; a driver asks again. */
#define RNG_CHUNK 4096
#define NS_PER_MS 1000000

typedef struct VirtioRng {
    VirtioPci vp;
    uint64_t max_bytes; /* in each period; properties */
    uint32_t period;    /* milliseconds */
    uint64_t quota;     /* bytes left in this period */
    uint64_t deadline;  /* its end, guest nanoseconds; 0: not begun */
    Timer *timer;
} VirtioRng;

static void rng_handle(VirtioPci *vp, VirtQueue *vq)
{
    VirtioRng *r = (VirtioRng *)vp;
    VirtioElement *element;

    while (r->quota && (element = virtqueue_pop(vq))) {
        uint8_t buf[RNG_CHUNK];
        size_t want = MIN(MIN(element->in_len, sizeof(buf)), r->quota);
        ssize_t got = getrandom(buf, want, 0);

        /* Cannot fail for lengths this small once the host has booted. */
        g_assert(got == (ssize_t)want);
        r->quota -= want;
        virtqueue_push(vq, element, (uint32_t)virtio_element_write(vq, element, 0, buf, want));
    }
    virtqueue_notify(vq);
    if (!r->deadline && r->quota < r->max_bytes) {
        r->deadline = (uint64_t)clock_now(vp->pci.dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL) +
                      (uint64_t)r->period * NS_PER_MS;
        timer_set(r->timer, (int64_t)r->deadline);
    }
}

static void rng_period_over(void *opaque)
{
    VirtioRng *r = opaque;

    r->deadline = 0;
    r->quota = r->max_bytes;
    virtio_kick(&r->vp, 0);
}

static void rng_reset(VirtioPci *vp)
{
    VirtioRng *r = (VirtioRng *)vp;

    timer_cancel(r->timer);
    r->deadline = 0;
    r->quota = r->max_bytes;
}

static const VirtioType rng_type = {
    .name = "virtio-rng-pci",
    .device_id = 4,
    .legacy_pci_id = 0x1005,
    .handle = rng_handle,
    .reset = rng_reset,
};

static bool rng_start(PciDevice *dev, GError **error)
{
    static const uint16_t sizes[] = {RNG_QUEUE_SIZE};
    VirtioRng *r = (VirtioRng *)dev;

    if (!virtio_pci_start(&r->vp, &rng_type, 1, sizes, error)) {
        return false;
    }
    r->timer = device_timer_new(&dev->dev, rng_period_over, r);
    return true;
}

static void rng_stop(PciDevice *dev)
{
    VirtioRng *r = (VirtioRng *)dev;

    virtio_pci_stop(&r->vp);
    timer_free(r->timer);
}

static const Prop rng_props[] = {
    VIRTIO_PCI_PROPS(VirtioRng),
    PROP_U64("max-bytes", VirtioRng, max_bytes, INT64_MAX, 1, INT64_MAX, "random bytes given in each period"),
    PROP_U32("period", VirtioRng, period, 65536, 1, UINT32_MAX, "length of a period in milliseconds"),
    PROP_END,
};

static bool rng_post_load(void *instance, uint32_t version, GError **error)
{
    VirtioRng *r = instance;

    timer_cancel(r->timer);
    if (r->deadline && r->deadline <= INT64_MAX) {
        timer_set(r->timer, (int64_t)r->deadline);
    }
    r->quota = MIN(r->quota, r->max_bytes);
    return true;
}

static const StateField rng_fields[] = {
    STATE_FIELD_STRUCT(VirtioRng, vp, &virtio_pci_state),
    STATE_FIELD_UINT(VirtioRng, quota),
    STATE_FIELD_DEADLINE(VirtioRng, deadline),
    STATE_END,
};
static const StateTable rng_state = {
    .name = "virtio-rng-pci", .version = 1, .fields = rng_fields, .post_load = rng_post_load};

const PciModel virtio_rng_pci_model = {
    .dev = {.name = "virtio-rng-pci",
            .alias = "virtio-rng",
            .doc = "virtio random number generator.",
            .kind = MODEL_PCI,
            .size = sizeof(VirtioRng),
            .props = rng_props,
            .state = &rng_state},
    .ids = {.vendor = VIRTIO_PCI_VENDOR, .class_code = 0x00ff00, .subsystem_vendor = VIRTIO_PCI_VENDOR},
    .interrupt_pin = 1,
    .express = true,
    .bars = {[1] = {.size = 0x1000, .kind = PCI_BAR_MEM32}},
    .start = rng_start,
    .reset = virtio_pci_reset,
    .stop = rng_stop,
    .config_read = virtio_pci_config_read,
    .config_written = virtio_pci_config_written,
};
