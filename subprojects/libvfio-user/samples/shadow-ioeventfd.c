/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A doorbell register with and without a message.  BAR 0 holds one 32-bit doorbell at 0 and, at 4, how often it was rung.
 * The doorbell has a shadow ioeventfd: whoever stands between driver and device (a patched KVM; `shadow-ioeventfd-client`
 * here) stores the value in the shared memory and signals the eventfd instead of sending a REGION_WRITE.
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

#include "sample.h"

#define BAR_SIZE 4096u
#define DOORBELL 0
#define RUNG     4

typedef struct Device {
    _Atomic uint32_t *shadow;   /* the doorbell's value when it was rung without a message */
    uint32_t value, rung;
} Device;

static void ring(Device *d, uint32_t value)
{
    d->value = value;
    d->rung++;
}

static ssize_t bar_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    Device *d = vfu_get_private(ctx);
    uint32_t value = 0;

    if (is_write) {
        memcpy(&value, buf, count < sizeof(value) ? count : sizeof(value));
        if (offset == DOORBELL) {
            ring(d, value);
        }
        return (ssize_t)count;
    }
    value = offset == DOORBELL ? d->value : offset == RUNG ? d->rung : 0;
    memset(buf, 0, count);
    memcpy(buf, &value, count < sizeof(value) ? count : sizeof(value));
    return (ssize_t)count;
}

static void on_doorbell(vfu_ctx_t *ctx, int fd)
{
    Device *d = vfu_get_private(ctx);
    uint64_t times;

    if (read(fd, &times, sizeof(times)) == sizeof(times)) {
        ring(d, atomic_load(d->shadow));
    }
}

int main(int argc, char **argv)
{
    Device device = { 0 };
    vfu_ctx_t *ctx = sample_create(argc, argv, &device);
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), file = memfd_create("shadow", MFD_CLOEXEC);

    sample_must(event >= 0 && file >= 0 && ftruncate(file, BAR_SIZE) == 0, "shadow memory");
    device.shadow = mmap(NULL, BAR_SIZE, PROT_READ, MAP_SHARED, file, 0);
    sample_must(device.shadow != MAP_FAILED, "mmap");
    sample_must(vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0) == 0, "vfu_pci_init");
    vfu_pci_set_id(ctx, 0x4e58, 0x0003, 0, 0);
    sample_must(vfu_setup_region(ctx, 0, BAR_SIZE, bar_access, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) ==
                0, "BAR 0");
    sample_must(vfu_create_ioeventfd(ctx, 0, event, DOORBELL, 4, 0, 0, file, 0) == 0, "vfu_create_ioeventfd");
    sample_serve(ctx, event, on_doorbell);
    munmap((void *)device.shadow, BAR_SIZE);
    close(event);
    close(file);
    return 0;
}
