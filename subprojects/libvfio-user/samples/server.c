/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that uses all of the library, for `client` to drive: interrupts from a timer, DMA through mappings and by messages,
 * memory that the client maps, migration with dirty pages.
 *
 * BAR 0, 32-bit registers (server.h): IDENT; TIMER (milliseconds until vector 0 of MSI-X is raised); ADDRESS and ADDRESS_HIGH,
 * LENGTH, VALUE, COMMAND (a write does it), STATUS (0 or the errno).
 * BAR 1: 16 KiB of memory, the first and third 4 KiB of it mappable.
 * What migrates is the registers and BAR 1.
 */
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>

#include "sample.h"
#include "server.h"

#define BAR0_SIZE 4096u
#define VECTORS   4u
#define DMA_MAX   65536u

typedef struct State {
    uint32_t reg[SERVER_REGISTERS];
    uint8_t memory[SERVER_BAR1_SIZE];
} State;

typedef struct Device {
    uint32_t reg[SERVER_REGISTERS];
    uint8_t *memory;            /* BAR 1, shared with the client */
    int timer;
    State saved;                /* while it goes out or comes in */
    size_t saved_at;
} Device;

/* ---- DMA ---- */

/* Fills guest memory through its mapping. */
static int dma_fill(vfu_ctx_t *ctx, Device *d, uint64_t address, uint32_t length)
{
    dma_sg_t *sg = calloc(1, dma_sg_size());
    struct iovec iov;
    int err = 0;

    if (vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)(uintptr_t)address, length, sg, 1, PROT_WRITE) != 1 ||
        vfu_sgl_get(ctx, sg, &iov, 1, 0) < 0) {
        err = errno ? errno : EINVAL;
    } else {
        memset(iov.iov_base, (int)d->reg[SERVER_VALUE], length);
        /* Tells that the pages are dirty. */
        vfu_sgl_put(ctx, sg, &iov, 1);
    }
    free(sg);
    return err;
}

/* Adds VALUE to each byte of guest memory that is read and written by messages. */
static int dma_add(vfu_ctx_t *ctx, Device *d, uint64_t address, uint32_t length)
{
    dma_sg_t *sg = calloc(1, dma_sg_size());
    uint8_t *data = malloc(length);
    int err = 0;

    if (vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)(uintptr_t)address, length, sg, 1, PROT_READ | PROT_WRITE) != 1 ||
        vfu_sgl_read(ctx, sg, 1, data, 0) < 0) {
        err = errno ? errno : EINVAL;
    } else {
        for (uint32_t i = 0; i < length; i++) {
            data[i] = (uint8_t)(data[i] + d->reg[SERVER_VALUE]);
        }
        err = vfu_sgl_write(ctx, sg, 1, data, 0) < 0 ? errno : 0;
    }
    free(data);
    free(sg);
    return err;
}

static int run_command(vfu_ctx_t *ctx, Device *d, uint32_t command)
{
    uint64_t address = d->reg[SERVER_ADDRESS] | (uint64_t)d->reg[SERVER_ADDRESS_HIGH] << 32;
    uint32_t length = d->reg[SERVER_LENGTH];

    if (length == 0 || length > DMA_MAX) {
        return EINVAL;
    }
    switch (command) {
    case SERVER_FILL:
        return dma_fill(ctx, d, address, length);
    case SERVER_ADD:
        return dma_add(ctx, d, address, length);
    default:
        return ENOTSUP;
    }
}

/* ---- regions ---- */

static void start_timer(Device *d, uint32_t milliseconds)
{
    struct itimerspec when = { .it_value = { milliseconds / 1000, milliseconds % 1000 * 1000000L + 1 } };

    timerfd_settime(d->timer, 0, &when, NULL);
}

static ssize_t bar0_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    Device *d = vfu_get_private(ctx);
    uint32_t value, index = (uint32_t)offset / 4;

    if (count != sizeof(value) || offset % 4 || index >= SERVER_REGISTERS) {
        errno = EINVAL;
        return -1;
    }
    if (!is_write) {
        return sample_memory_access(d->reg, buf, count, offset, false);
    }
    memcpy(&value, buf, sizeof(value));
    if (index == SERVER_TIMER) {
        start_timer(d, value);
    } else if (index == SERVER_COMMAND) {
        d->reg[SERVER_STATUS] = (uint32_t)run_command(ctx, d, value);
    } else if (index != SERVER_IDENT && index != SERVER_STATUS) {
        d->reg[index] = value;
    }
    return (ssize_t)count;
}

static ssize_t bar1_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    Device *d = vfu_get_private(ctx);

    return sample_memory_access(d->memory, buf, count, offset, is_write);
}

static void on_timer(vfu_ctx_t *ctx, int fd)
{
    uint64_t expired;

    if (read(fd, &expired, sizeof(expired)) == sizeof(expired)) {
        vfu_irq_trigger(ctx, 0);
    }
}

/* ---- the rest ---- */

static void on_dma(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    /* This device looks addresses up when it needs them. */
}

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    Device *d = vfu_get_private(ctx);
    struct itimerspec never = { 0 };

    memset(d->reg, 0, sizeof(d->reg));
    memset(d->memory, 0, SERVER_BAR1_SIZE);
    d->reg[SERVER_IDENT] = SERVER_IDENT_VALUE;
    return timerfd_settime(d->timer, 0, &never, NULL);
}

static int on_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    Device *d = vfu_get_private(ctx);

    if (state == VFU_MIGR_STATE_PRE_COPY || state == VFU_MIGR_STATE_STOP_AND_COPY) {
        memcpy(d->saved.reg, d->reg, sizeof(d->reg));
        memcpy(d->saved.memory, d->memory, SERVER_BAR1_SIZE);
        d->saved_at = 0;
    } else if (state == VFU_MIGR_STATE_RESUME) {
        d->saved_at = 0;
    } else if (state == VFU_MIGR_STATE_STOP && d->saved_at == sizeof(d->saved)) {
        memcpy(d->reg, d->saved.reg, sizeof(d->reg));
        memcpy(d->memory, d->saved.memory, SERVER_BAR1_SIZE);
    }
    return 0;
}

static ssize_t read_state(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    Device *d = vfu_get_private(ctx);
    size_t left = sizeof(d->saved) - d->saved_at, n = left < count ? left : count;

    memcpy(buf, (char *)&d->saved + d->saved_at, n);
    d->saved_at += n;
    return (ssize_t)n;
}

static ssize_t write_state(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    Device *d = vfu_get_private(ctx);

    if (count > sizeof(d->saved) - d->saved_at) {
        errno = EINVAL;
        return -1;
    }
    memcpy((char *)&d->saved + d->saved_at, buf, count);
    d->saved_at += count;
    return (ssize_t)count;
}

int main(int argc, char **argv)
{
    const vfu_migration_callbacks_t migration = { VFU_MIGR_CALLBACKS_VERS, on_transition, read_state, write_state };
    const int memory = VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM;
    struct iovec areas[2] = { { NULL, 4096 }, { (void *)8192, 4096 } };
    static Device device;
    vfu_ctx_t *ctx = sample_create(argc, argv, &device);
    int file = memfd_create("bar1", MFD_CLOEXEC);

    device.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    sample_must(device.timer >= 0 && file >= 0 && ftruncate(file, SERVER_BAR1_SIZE) == 0, "device");
    device.memory = mmap(NULL, SERVER_BAR1_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    sample_must(device.memory != MAP_FAILED, "mmap");
    on_reset(ctx, VFU_RESET_DEVICE);
    sample_must(vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0) == 0, "vfu_pci_init");
    vfu_pci_set_id(ctx, 0x4e58, 0x0002, 0, 0);
    sample_must(vfu_setup_region(ctx, 0, BAR0_SIZE, bar0_access, memory, NULL, 0, -1, 0) == 0, "BAR 0");
    sample_must(vfu_setup_region(ctx, 1, SERVER_BAR1_SIZE, bar1_access, memory, areas, 2, file, 0) == 0, "BAR 1");
    sample_must(vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, VECTORS) == 0, "MSI-X");
    sample_must(vfu_setup_device_dma(ctx, LIBVFIO_USER_MAX_DMA_REGIONS, on_dma, on_dma) == 0, "DMA");
    sample_must(vfu_setup_device_reset_cb(ctx, on_reset) == 0, "reset");
    sample_must(vfu_setup_device_migration_callbacks(ctx, &migration) == 0, "migration");
    sample_serve(ctx, device.timer, on_timer);
    munmap(device.memory, SERVER_BAR1_SIZE);
    close(device.timer);
    close(file);
    return 0;
}
