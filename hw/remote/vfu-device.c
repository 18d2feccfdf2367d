/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The served function as the client sees it: config space, BARs and ROM, interrupts, reset. */
#include <errno.h>
#include <string.h>

#include "hw/remote/vfu-server.h"

/* Config accesses of any size and alignment, as the naturally aligned ones that PCI knows. */
static ssize_t config_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    VfuServer *s = vfu_get_private(ctx);
    size_t done = 0;

    if (offset < 0 || (uint64_t)offset + count > s->dev->config_size) {
        errno = EINVAL;
        return -1;
    }
    while (done < count) {
        uint16_t at = (uint16_t)(offset + (loff_t)done);
        unsigned size = (at & 3) == 0 && count - done >= 4 ? 4 : (at & 1) == 0 && count - done >= 2 ? 2 : 1;
        uint32_t little = 0;

        if (is_write) {
            memcpy(&little, buf + done, size);
            pci_config_write(s->dev, at, GUINT32_FROM_LE(little), size);
        } else {
            little = GUINT32_TO_LE(pci_config_read(s->dev, at, size));
            memcpy(buf + done, &little, size);
        }
        done += size;
    }
    return (ssize_t)count;
}

static ssize_t bar_access(VfuServer *s, unsigned n, char *buf, size_t count, loff_t offset, bool is_write)
{
    MemResult result;

    if (is_write && n == PCI_ROM_SLOT) {
        errno = EPERM;
        return -1;
    }
    if (is_write) {
        result = as_write(s->bar_as[n], (HwAddr)offset, buf, count, MEM_ATTRS_CPU);
    } else {
        result = as_read(s->bar_as[n], (HwAddr)offset, buf, count, MEM_ATTRS_CPU);
    }
    if (result & MEM_DEVICE_ERROR) {
        errno = EIO;
        return -1;
    }
    /* Holes read as ones and swallow writes, as behind any bridge; a ROM swallows writes. */
    return (ssize_t)count;
}

/* The library's callbacks do not say which region they are for. */
#define BAR_CALLBACK(n)                                                                                      \
    static ssize_t bar##n##_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)    \
    {                                                                                                        \
        return bar_access(vfu_get_private(ctx), n, buf, count, offset, is_write);                            \
    }
BAR_CALLBACK(0)
BAR_CALLBACK(1)
BAR_CALLBACK(2)
BAR_CALLBACK(3)
BAR_CALLBACK(4)
BAR_CALLBACK(5)
BAR_CALLBACK(6)

static vfu_region_access_cb_t *const bar_callbacks[PCI_REGION_COUNT] = {
    bar0_access, bar1_access, bar2_access, bar3_access, bar4_access, bar5_access, bar6_access,
};

static const int bar_region_flags[] = {
    [PCI_BAR_IO] = VFU_REGION_FLAG_RW,
    [PCI_BAR_MEM32] = VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM,
    [PCI_BAR_MEM64] = VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_64_BITS,
    [PCI_BAR_MEM32_PREFETCH] = VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_PREFETCH,
    [PCI_BAR_MEM64_PREFETCH] =
        VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_64_BITS | VFU_REGION_FLAG_PREFETCH,
};

static int region_flags(unsigned n, PciBarKind kind)
{
    return n == PCI_ROM_SLOT ? VFU_REGION_FLAG_READ | VFU_REGION_FLAG_MEM : bar_region_flags[kind];
}

static bool region_init(VfuServer *s, unsigned n, GError **error)
{
    const PciBar *bar = &s->dev->bars[n];
    uint64_t offset;
    GArray *areas;
    int fd, err;

    s->bar_as[n] = as_new(s->obj.machine->topo, mem_region_name(bar->region), bar->region);
    fd = vfu_server_bar_areas(s, n, &areas, &offset);
    err = vfu_setup_region(s->ctx, (int)n, bar->size, bar_callbacks[n], region_flags(n, bar->kind),
                           areas->len ? (struct iovec *)(void *)areas->data : NULL, areas->len, fd, offset);
    if (err) {
        error_set_errno(error, errno, "x-vfio-user-server %s: cannot set up region %u of %s", s->obj.id, n, s->device);
    }
    g_array_free(areas, TRUE);
    return !err;
}

static bool regions_init(VfuServer *s, GError **error)
{
    for (unsigned n = 0; n < PCI_REGION_COUNT; n++) {
        if (s->dev->bars[n].region && !region_init(s, n, error)) {
            return false;
        }
    }
    if (vfu_setup_region(s->ctx, VFU_PCI_DEV_CFG_REGION_IDX, s->dev->config_size, config_access,
                         VFU_REGION_FLAG_RW | VFU_REGION_FLAG_ALWAYS_CB, NULL, 0, -1, 0) < 0) {
        error_set_errno(error, errno, "x-vfio-user-server %s: cannot set up config space of %s", s->obj.id, s->device);
        return false;
    }
    return true;
}

static void intx_state(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    VfuServer *s = vfu_get_private(ctx);

    remote_iohub_mask_intx(s->slot, mask);
}

static void msi_state(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    VfuServer *s = vfu_get_private(ctx);

    for (uint32_t i = 0; i < count; i++) {
        remote_iohub_mask_msi(s->slot, s->dev, start + i, mask);
    }
}

static void msix_state(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    VfuServer *s = vfu_get_private(ctx);

    for (uint32_t i = 0; i < count; i++) {
        msix_set_mask(s->dev, start + i, mask);
    }
}

static unsigned msi_capability_vectors(const PciDevice *dev)
{
    if (!dev->msi_cap) {
        return 0;
    }
    return 1u << ((pci_get16(dev->config + dev->msi_cap + PCI_MSI_FLAGS) & PCI_MSI_FLAGS_QMASK) >> 1);
}

static bool irqs_init(VfuServer *s, GError **error)
{
    const struct {
        enum vfu_dev_irq_type type;
        uint32_t count;
        vfu_dev_irq_state_cb_t *state;
    } irqs[] = {
        {VFU_DEV_INTX_IRQ, s->dev->config[PCI_INTERRUPT_PIN] ? 1 : 0, intx_state},
        {VFU_DEV_MSI_IRQ, msi_capability_vectors(s->dev), msi_state},
        {VFU_DEV_MSIX_IRQ, s->dev->msix_vectors, msix_state},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(irqs); i++) {
        if (vfu_setup_device_nr_irqs(s->ctx, irqs[i].type, irqs[i].count) < 0 ||
            vfu_setup_irq_state_callback(s->ctx, irqs[i].type, irqs[i].state) < 0) {
            error_set_errno(error, errno, "x-vfio-user-server %s: cannot set up interrupts of %s", s->obj.id,
                            s->device);
            return false;
        }
    }
    return true;
}

static int device_reset_request(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    VfuServer *s = vfu_get_private(ctx);

    device_reset(&s->dev->dev);
    remote_iohub_reset(s->slot);
    if (type == VFU_RESET_LOST_CONN) {
        vfu_server_migration_reset(s);
        vfu_server_share_renew(s);
    }
    return 0;
}

bool vfu_server_device_init(VfuServer *s, GError **error)
{
    vfu_pci_type_t type = s->dev->is_express ? VFU_PCI_TYPE_EXPRESS : VFU_PCI_TYPE_CONVENTIONAL;

    if (vfu_pci_init(s->ctx, type, PCI_HEADER_TYPE_NORMAL, s->dev->config[PCI_REVISION_ID]) < 0 ||
        vfu_setup_device_reset_cb(s->ctx, device_reset_request) < 0) {
        error_set_errno(error, errno, "x-vfio-user-server %s: cannot set up %s", s->obj.id, s->device);
        return false;
    }
    /* The library's own copy of config space is only looked at by its tools; ours answers every access. */
    memcpy(vfu_pci_get_config_space(s->ctx), s->dev->config, PCI_CONFIG_SIZE);
    return regions_init(s, error) && irqs_init(s, error) && vfu_server_doorbells_init(s, error);
}

void vfu_server_device_cleanup(VfuServer *s)
{
    vfu_server_doorbells_cleanup(s);
    for (unsigned n = 0; n < PCI_REGION_COUNT; n++) {
        g_clear_pointer(&s->bar_as[n], as_free);
    }
}
