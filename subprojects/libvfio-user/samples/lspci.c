/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets up a device with one capability of each kind and prints its config space as `lspci -F FILE` reads it:
 *
 *     vfio-user-lspci > dump; lspci -vvv -F dump
 */
#include <stdio.h>
#include <string.h>

#include "libvfio-user.h"

static void add(vfu_ctx_t *ctx, int flags, void *capability, const char *name)
{
    if (vfu_pci_add_capability(ctx, 0, flags, capability) < 0) {
        perror(name);
        exit(EXIT_FAILURE);
    }
}

static void add_all(vfu_ctx_t *ctx)
{
    struct pmcap pm = { .hdr.id = PCI_CAP_ID_PM, .pc.vs = 3, .pmcs.nsfrst = 1 };
    struct msicap msi = { .hdr.id = PCI_CAP_ID_MSI, .mc = { .c64 = 1, .mmc = 3, .pvm = 1 } };
    struct msixcap msix = { .hdr.id = PCI_CAP_ID_MSIX, .mxc.ts = 15, .mtab.tbir = 2, .mpba = { .pbir = 2, .pbao = 0x100 } };
    struct pxcap px = { .hdr.id = PCI_CAP_ID_EXP, .pxcaps.ver = 2, .pxdcap = { .rer = 1, .flrc = 1 } };
    uint8_t vendor[12] = { PCI_CAP_ID_VNDR, 0, sizeof(vendor), 'v', 'f', 'i', 'o', '-', 'u', 's', 'e', 'r' };
    struct dsncap dsn = { .hdr = { .id = PCI_EXT_CAP_ID_DSN, .version = 1 }, .sn_lo = 0x89abcdef, .sn_hi = 0x01234567 };
    /* Id and version 1; then id 0x1234, revision 1, length 16; 8 bytes of data. */
    uint32_t ext_vendor[4] = { PCI_EXT_CAP_ID_VNDR | 1u << 16, 0x1234u | 1u << 16 | 16u << 20, 0x6f696676, 0x6573752d };

    add(ctx, 0, &pm, "PM");
    add(ctx, 0, &msi, "MSI");
    add(ctx, 0, &msix, "MSI-X");
    add(ctx, 0, &px, "PCI Express");
    add(ctx, 0, vendor, "vendor");
    add(ctx, VFU_CAP_FLAG_EXTENDED, &dsn, "serial number");
    add(ctx, VFU_CAP_FLAG_EXTENDED, ext_vendor, "extended vendor");
}

int main(void)
{
    char path[] = "/tmp/vfio-user-lspci-XXXXXX", socket[sizeof(path) + 2];
    const int memory = VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM;
    const uint8_t *space;
    vfu_ctx_t *ctx;

    /* A context needs a socket; nobody will connect to this one. */
    if (mkdtemp(path) == NULL) {
        perror(path);
        return EXIT_FAILURE;
    }
    snprintf(socket, sizeof(socket), "%s/s", path);
    ctx = vfu_create_ctx(VFU_TRANS_SOCK, socket, 0, NULL, VFU_DEV_TYPE_PCI);
    if (ctx == NULL || vfu_pci_init(ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 2) < 0) {
        perror(socket);
        return EXIT_FAILURE;
    }
    vfu_pci_set_id(ctx, 0x1af4, 0x1100, 0x1af4, 0x1100);
    vfu_pci_set_class(ctx, 0x05, 0x80, 0);
    add_all(ctx);
    if (vfu_setup_region(ctx, 0, 4096, NULL, memory, NULL, 0, -1, 0) < 0 ||
        vfu_setup_region(ctx, 2, 1 << 16, NULL, memory | VFU_REGION_FLAG_64_BITS | VFU_REGION_FLAG_PREFETCH, NULL, 0, -1,
                         0) < 0 || vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1) < 0 || vfu_realize_ctx(ctx) < 0) {
        perror("set-up");
        return EXIT_FAILURE;
    }
    space = (const uint8_t *)vfu_pci_get_config_space(ctx);
    printf("00:00.0 vfio-user sample\n");
    for (int at = 0; at < PCI_CFG_SPACE_EXP_SIZE; at++) {
        if (at % 16 == 0) {
            printf("%02x:", (unsigned)at);
        }
        printf(" %02x%s", space[at], at % 16 == 15 ? "\n" : "");
    }
    vfu_destroy_ctx(ctx);
    rmdir(path);
    return 0;
}
