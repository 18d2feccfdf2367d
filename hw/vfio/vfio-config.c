/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Config space (PCI 3.0 chapter 6, PCI Express Base 4.0 chapter 7): a shadow whose emulated bits answer here
 * and the others at the device.  Every write goes to the device too, which needs its enable bits and
 * addresses.
 */
#include <errno.h>
#include <string.h>

#include "hw/vfio/vfio-internal.h"

void vfio_config_emulate(VfioPciDevice *dev, unsigned offset, unsigned len)
{
    memset(dev->emulated_bits + offset, 0xff, len);
}

static void override16(VfioPciDevice *dev, unsigned offset, uint32_t id)
{
    if (id != UINT32_MAX) {
        pci_set16(dev->pci.config + offset, (uint16_t)id);
    }
}

static bool check_ids(const VfioPciDevice *dev, GError **error)
{
    const struct {
        const char *name;
        uint32_t value;
    } ids[] = {{"x-pci-vendor-id", dev->vendor_id},
               {"x-pci-device-id", dev->device_id},
               {"x-pci-sub-vendor-id", dev->sub_vendor_id},
               {"x-pci-sub-device-id", dev->sub_device_id}};

    for (unsigned i = 0; i < G_N_ELEMENTS(ids); i++) {
        if (ids[i].value != UINT32_MAX && ids[i].value > 0xffff) {
            error_set(error, "%s: %s: not a PCI id (0x%x, allowed 0..0xffff)", dev->vdev.name, ids[i].name,
                      ids[i].value);
            return false;
        }
    }
    return true;
}

static bool read_config(VfioPciDevice *dev, GError **error)
{
    PciDevice *pci = &dev->pci;
    VfioRegionInfo info = {.fd = -1};
    int err = dev->vdev.ops->get_region_info(&dev->vdev, VFIO_PCI_CONFIG_REGION_INDEX, &info);
    ssize_t got;

    g_free(info.areas);
    if (err) {
        error_set_errno(error, -err, "%s: cannot get the info of config space", dev->vdev.name);
        return false;
    }
    if (info.size < PCI_CONFIG_SIZE) {
        error_set(error, "%s: config space is too small (%" G_GINT64_MODIFIER "u bytes, allowed 256 or 4096)",
                  dev->vdev.name, info.size);
        return false;
    }
    dev->config_region = (uint32_t)MIN(info.size, pci->config_size);
    memset(pci->wmask + 0x40, 0, pci->config_size - 0x40u);
    memset(pci->w1cmask, 0, pci->config_size);
    got = dev->vdev.ops->region_read(&dev->vdev, VFIO_PCI_CONFIG_REGION_INDEX, 0, dev->config_region,
                                     pci->config);
    if (got != (ssize_t)dev->config_region) {
        error_set_errno(error, got < 0 ? (int)-got : EIO, "%s: cannot read config space", dev->vdev.name);
        return false;
    }
    return true;
}

bool vfio_config_start(VfioPciDevice *dev, GError **error)
{
    PciDevice *pci = &dev->pci;

    dev->emulated_bits = g_malloc0(pci->config_size);
    dev->local_bytes = g_malloc0(pci->config_size);
    if (!check_ids(dev, error) || !read_config(dev, error)) {
        return false;
    }
    if ((pci->config[PCI_HEADER_TYPE] & 0x7f) != PCI_HEADER_TYPE_NORMAL) {
        error_set(error, "%s: not an endpoint (header type 0x%02x)", dev->vdev.name,
                  pci->config[PCI_HEADER_TYPE]);
        return false;
    }
    dev->own_vendor = pci_get16(pci->config + PCI_VENDOR_ID);
    dev->own_device = pci_get16(pci->config + PCI_DEVICE_ID);
    override16(dev, PCI_VENDOR_ID, dev->vendor_id);
    override16(dev, PCI_DEVICE_ID, dev->device_id);
    override16(dev, PCI_SUBSYSTEM_VENDOR_ID, dev->sub_vendor_id);
    override16(dev, PCI_SUBSYSTEM_ID, dev->sub_device_id);
    pci->config[PCI_HEADER_TYPE] = pci->multifunction ? PCI_HEADER_TYPE_MULTI : 0;
    pci_set16(pci->config + PCI_COMMAND, 0);
    pci_set32(pci->config + PCI_ROM_ADDRESS, 0);
    /* The header is ours, but for the error bits of the status register; beyond what the device has is
     * nothing. */
    vfio_config_emulate(dev, 0, 0x40);
    dev->emulated_bits[PCI_STATUS + 1] = 0;
    vfio_config_emulate(dev, dev->config_region, pci->config_size - dev->config_region);
    return true;
}

void vfio_config_stop(VfioPciDevice *dev)
{
    g_clear_pointer(&dev->emulated_bits, g_free);
    g_clear_pointer(&dev->local_bytes, g_free);
}

/* --- accesses --- */

static uint32_t emulated_mask(const VfioPciDevice *dev, uint16_t offset, unsigned size)
{
    uint32_t mask = 0;

    memcpy(&mask, dev->emulated_bits + offset, size);
    return GUINT32_FROM_LE(mask);
}

/* Messages the device holds back as pending itself (MSI with per-vector masking). */
static uint32_t pending_bits(VfioPciDevice *dev, uint16_t offset, unsigned size)
{
    PciDevice *pci = &dev->pci;
    uint16_t flags = pci->msi_cap ? pci_get16(pci->config + pci->msi_cap + PCI_MSI_FLAGS) : 0;
    unsigned at = pci->msi_cap + (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_PENDING_64 : PCI_MSI_PENDING_32);
    uint32_t val = 0;

    if (!(flags & PCI_MSI_FLAGS_MASKBIT) || offset < at || offset + size > at + 4 ||
        !vfio_region_read(&dev->vdev, VFIO_PCI_CONFIG_REGION_INDEX, offset, size, &val)) {
        return 0;
    }
    return GUINT32_FROM_LE(val);
}

/* May give up the lock while the far side is asked. */
static uint32_t config_read(VfioPciDevice *dev, uint16_t offset, unsigned size, uint32_t all)
{
    PciDevice *pci = &dev->pci;
    uint32_t emulated = emulated_mask(dev, offset, size), val = 0;

    if (emulated != all) {
        if (vfio_region_read(&dev->vdev, VFIO_PCI_CONFIG_REGION_INDEX, offset, size, &val)) {
            val = GUINT32_FROM_LE(val);
        } else {
            val = all;
        }
    }
    val = (val & ~emulated) | (pci_default_config_read(pci, offset, size) & emulated);
    return val | pending_bits(dev, offset, size);
}

uint32_t vfio_pci_config_read(PciDevice *pci, uint16_t offset, unsigned size)
{
    VfioPciDevice *dev = (VfioPciDevice *)pci;
    uint32_t all = UINT32_MAX >> (32 - 8 * size), val;

    if (vfio_broken(&dev->vdev) || dev->stopping) {
        return all;
    }
    vfio_pci_enter(dev);
    val = config_read(dev, offset, size, all);
    vfio_pci_leave(dev);
    return val;
}

/* Whether this write turns on an interrupt mode: its eventfds come before the device may use them. */
static bool turns_on_messages(const VfioPciDevice *dev, uint16_t offset, uint32_t val, unsigned size)
{
    const PciDevice *pci = &dev->pci;
    const struct {
        uint16_t cap, flags, enable;
    } modes[] = {{pci->msi_cap, PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE},
                 {pci->msix_cap, PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE}};

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        for (unsigned byte = 0; modes[i].cap && byte < 2; byte++) {
            unsigned at = modes[i].cap + modes[i].flags + byte;

            if (at >= offset && at < offset + size &&
                (val >> (8 * (at - offset)) & (uint8_t)(modes[i].enable >> (8 * byte)))) {
                return true;
            }
        }
    }
    return false;
}

/* Runs of bytes that are not ours alone. */
static void forward_bytes(VfioPciDevice *dev, uint16_t offset, uint32_t val, unsigned size)
{
    uint32_t little = GUINT32_TO_LE(val);
    unsigned from = 0;

    while (from < size) {
        unsigned to = from;

        while (to < size && !dev->local_bytes[offset + to]) {
            to++;
        }
        if (to > from) {
            vfio_region_write(&dev->vdev, VFIO_PCI_CONFIG_REGION_INDEX, offset + from, to - from,
                              (uint8_t *)&little + from, false);
        }
        from = to + 1;
    }
}

static void forward_write(VfioPciDevice *dev, uint16_t offset, uint32_t val, unsigned size)
{
    unsigned flr = dev->pci.exp_cap + PCI_EXP_DEVCTL + 1;
    uint32_t af_flr;

    if (offset + size > dev->config_region) {
        return;
    }
    /* Function level resets are carried out as resets of the whole device instead. */
    if (dev->pci.exp_cap && flr >= offset && flr < offset + size) {
        val &= ~(0x80u << (8 * (flr - offset)));
    }
    if (vfio_config_is_flr(dev, offset, val, size, &af_flr)) {
        val &= ~af_flr;
    }
    forward_bytes(dev, offset, val, size);
}

void vfio_pci_config_write(PciDevice *pci, uint16_t offset, uint32_t val, unsigned size)
{
    VfioPciDevice *dev = (VfioPciDevice *)pci;
    bool local_first;
    uint32_t af_flr;

    if (dev->stopping) {
        return;
    }
    dev->fresh = false;
    local_first = turns_on_messages(dev, offset, val, size);
    if (!local_first) {
        forward_write(dev, offset, val, size);
    }
    dev->in_config_write = true;
    pci_default_config_write(pci, offset, val, size);
    dev->in_config_write = false;
    vfio_irq_update(dev);
    if (local_first) {
        forward_write(dev, offset, val, size);
    }
    if (vfio_config_is_flr(dev, offset, val, size, &af_flr)) {
        device_reset(&pci->dev);
    }
}
