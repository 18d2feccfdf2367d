/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that does nothing and tells about it: every access, mapping, interrupt mask and reset is a line on standard
 * output.  Reads are 0.  For looking at what a client or a driver does.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sample.h"

#define BAR_SIZE    4096u
#define REGIONS_MAX 65535u

static ssize_t tell_access(const char *region, char *buf, size_t count, loff_t offset, bool is_write)
{
    printf("%s %s 0x%jx+%zu", region, is_write ? "write" : "read", (uintmax_t)offset, count);
    for (size_t i = 0; is_write && i < count && i < 16; i++) {
        printf(" %02x", (uint8_t)buf[i]);
    }
    printf("\n");
    if (!is_write) {
        memset(buf, 0, count);
    }
    return (ssize_t)count;
}

static ssize_t bar0_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    return tell_access("BAR0", buf, count, offset, is_write);
}

static ssize_t config_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    return tell_access("config", buf, count, offset, is_write);
}

static void on_map(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    printf("map 0x%" PRIxPTR "+0x%zx %s\n", (uintptr_t)info->iova.iov_base, info->iova.iov_len,
           info->vaddr ? "mapped" : "by message");
}

static void on_unmap(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    printf("unmap 0x%" PRIxPTR "+0x%zx\n", (uintptr_t)info->iova.iov_base, info->iova.iov_len);
}

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    static const char *const names[] = { "device", "connection lost", "function level" };

    printf("reset: %s\n", names[type]);
    return 0;
}

static void on_mask(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    printf("INTx %s\n", mask ? "masked" : "unmasked");
}

int main(int argc, char **argv)
{
    vfu_ctx_t *ctx = sample_create(argc, argv, NULL);

    setvbuf(stdout, NULL, _IOLBF, 0);
    sample_must(vfu_pci_init(ctx, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL, 0) == 0, "vfu_pci_init");
    vfu_pci_set_id(ctx, 0x4e58, 0x0000, 0, 0);
    sample_must(vfu_setup_region(ctx, 0, BAR_SIZE, bar0_access, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1,
                                 0) == 0, "BAR 0");
    sample_must(vfu_setup_region(ctx, VFU_PCI_DEV_CFG_REGION_IDX, PCI_CFG_SPACE_SIZE, config_access, VFU_REGION_FLAG_RW |
                                 VFU_REGION_FLAG_ALWAYS_CB, NULL, 0, -1, 0) == 0, "config space");
    sample_must(vfu_setup_device_dma(ctx, REGIONS_MAX, on_map, on_unmap) == 0, "DMA");
    sample_must(vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1) == 0, "INTx");
    sample_must(vfu_setup_irq_state_callback(ctx, VFU_DEV_INTX_IRQ, on_mask) == 0, "INTx mask");
    sample_must(vfu_setup_device_reset_cb(ctx, on_reset) == 0, "reset");
    return sample_serve(ctx, -1, NULL);
}
