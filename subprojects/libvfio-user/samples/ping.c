/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that answers by interrupt: it echoes a number after a delay that the driver chooses.
 *
 * BAR 0, 32-bit registers: 0 PING (a write starts), 4 PONG (the number that came back last), 8 COUNT (of answers),
 * 12 DELAY (milliseconds, at most 10000).  Vector 0 of MSI-X, or INTx, is raised with each answer.  The MSI-X table and its pending
 * bits are in BAR 1.
 */
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>

#include "sample.h"

#define BAR0_SIZE 4096u
#define BAR1_SIZE 4096u
#define VECTORS   1u
#define PBA       2048u
#define DELAY_MAX 10000u

enum { PING, PONG, COUNT, DELAY, REGISTERS };

typedef struct Ping {
    uint32_t reg[REGISTERS];
    uint8_t msix_table[BAR1_SIZE];
    int timer;
} Ping;

static int start_timer(Ping *p)
{
    /* A time of 0 would disarm it. */
    struct itimerspec when = { .it_value = { p->reg[DELAY] / 1000, p->reg[DELAY] % 1000 * 1000000L + 1 } };

    return timerfd_settime(p->timer, 0, &when, NULL);
}

static ssize_t bar0_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    Ping *p = vfu_get_private(ctx);
    uint32_t value;

    if (count != sizeof(value) || offset % 4) {
        errno = EINVAL;
        return -1;
    }
    if (offset >= REGISTERS * 4) {
        return is_write ? (ssize_t)count : sample_memory_access(&(uint32_t){ 0 }, buf, count, 0, false);
    }
    if (!is_write) {
        return sample_memory_access(p->reg, buf, count, offset, false);
    }
    memcpy(&value, buf, sizeof(value));
    switch (offset / 4) {
    case PING:
        p->reg[PING] = value;
        start_timer(p);
        break;
    case DELAY:
        p->reg[DELAY] = value < DELAY_MAX ? value : DELAY_MAX;
        break;
    }
    return (ssize_t)count;
}

static ssize_t bar1_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    Ping *p = vfu_get_private(ctx);

    return sample_memory_access(p->msix_table, buf, count, offset, is_write);
}

static void on_timer(vfu_ctx_t *ctx, int fd)
{
    Ping *p = vfu_get_private(ctx);
    uint64_t expired;

    if (read(fd, &expired, sizeof(expired)) == sizeof(expired)) {
        p->reg[PONG] = p->reg[PING];
        p->reg[COUNT]++;
        vfu_irq_trigger(ctx, 0);
    }
}

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    Ping *p = vfu_get_private(ctx);
    struct itimerspec never = { 0 };

    memset(p->reg, 0, sizeof(p->reg));
    return timerfd_settime(p->timer, 0, &never, NULL);
}

int main(int argc, char **argv)
{
    const int memory = VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM;
    struct msixcap msix = { .hdr.id = PCI_CAP_ID_MSIX, .mxc.ts = VECTORS - 1, .mtab = { .tbir = 1 },
                            .mpba = { .pbir = 1, .pbao = PBA >> 3 } };
    Ping ping = { .timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK) };
    vfu_ctx_t *ctx = sample_create(argc, argv, &ping);

    sample_must(ping.timer >= 0, "timerfd_create");
    sample_must(vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 1) == 0, "vfu_pci_init");
    vfu_pci_set_id(ctx, 0x4e58, 0x0001, 0, 0);
    vfu_pci_set_class(ctx, 0xff, 0, 0);
    sample_must(vfu_pci_add_capability(ctx, 0, 0, &msix) > 0, "MSI-X");
    sample_must(vfu_setup_region(ctx, 0, BAR0_SIZE, bar0_access, memory, NULL, 0, -1, 0) == 0, "BAR 0");
    sample_must(vfu_setup_region(ctx, 1, BAR1_SIZE, bar1_access, memory, NULL, 0, -1, 0) == 0, "BAR 1");
    sample_must(vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1) == 0, "INTx");
    sample_must(vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, VECTORS) == 0, "MSI-X");
    sample_must(vfu_setup_device_reset_cb(ctx, on_reset) == 0, "reset");
    sample_serve(ctx, ping.timer, on_timer);
    close(ping.timer);
    return 0;
}
