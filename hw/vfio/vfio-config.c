/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Config space (PCI 3.0 chapter 6, PCI Express Base 4.0 chapter 7): a shadow whose emulated bits answer here
 * and the others at the device.  Every write goes to the device too, which needs its enable bits and
 * addresses.
 */
#include <errno.h>
#include <string.h>

#include "hw/vfio/vfio-internal.h"

#define MAX_CAPS     48  /* that fit 0x40..0xff */
#define MAX_EXT_CAPS 480 /* that fit 0x100..0xfff */

static void emulate(VfioPciDevice *dev, unsigned offset, unsigned len)
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
    if (!check_ids(dev, error) || !read_config(dev, error)) {
        return false;
    }
    if ((pci->config[PCI_HEADER_TYPE] & 0x7f) != PCI_HEADER_TYPE_NORMAL) {
        error_set(error, "%s: not an endpoint (header type 0x%02x)", dev->vdev.name,
                  pci->config[PCI_HEADER_TYPE]);
        return false;
    }
    override16(dev, PCI_VENDOR_ID, dev->vendor_id);
    override16(dev, PCI_DEVICE_ID, dev->device_id);
    override16(dev, PCI_SUBSYSTEM_VENDOR_ID, dev->sub_vendor_id);
    override16(dev, PCI_SUBSYSTEM_ID, dev->sub_device_id);
    pci->config[PCI_HEADER_TYPE] = pci->multifunction ? PCI_HEADER_TYPE_MULTI : 0;
    pci_set16(pci->config + PCI_COMMAND, 0);
    pci_set32(pci->config + PCI_ROM_ADDRESS, 0);
    /* The header is ours, but for the error bits of the status register; beyond what the device has is
     * nothing. */
    emulate(dev, 0, 0x40);
    dev->emulated_bits[PCI_STATUS + 1] = 0;
    emulate(dev, dev->config_region, pci->config_size - dev->config_region);
    return true;
}

void vfio_config_stop(VfioPciDevice *dev)
{
    g_clear_pointer(&dev->emulated_bits, g_free);
}

/* --- capabilities --- */

static bool msi_start(VfioPciDevice *dev, uint16_t at)
{
    PciDevice *pci = &dev->pci;
    uint16_t flags = pci_get16(pci->config + at + PCI_MSI_FLAGS);
    bool is64 = flags & PCI_MSI_FLAGS_64BIT, maskable = flags & PCI_MSI_FLAGS_MASKBIT;
    unsigned len = (is64 ? 14 : 10) + (maskable ? 10 : 0);
    unsigned log2_vectors = (flags & PCI_MSI_FLAGS_QMASK) >> 1;

    if (pci->msi_cap || at + len > PCI_CONFIG_SIZE || log2_vectors > 5 ||
        !dev->irq_counts[VFIO_PCI_MSI_IRQ_INDEX]) {
        return false;
    }
    pci->msi_cap = at;
    emulate(dev, at, len);
    pci_set16(pci->config + at + PCI_MSI_FLAGS,
              flags & (uint16_t) ~(PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE));
    pci_set16(pci->wmask + at + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
    pci_set32(pci->wmask + at + PCI_MSI_ADDRESS_LO, 0xfffffffc);
    if (is64) {
        pci_set32(pci->wmask + at + PCI_MSI_ADDRESS_HI, UINT32_MAX);
    }
    pci_set16(pci->wmask + at + (is64 ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32), UINT16_MAX);
    if (maskable) {
        unsigned mask = at + (is64 ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32);

        pci_set32(pci->wmask + mask, UINT32_MAX >> (32 - (1u << log2_vectors)));
    }
    return true;
}

/* The guest's table and pending bits are ours, so those of the device may be in any BAR: both are shown in
 * the table's. */
static bool msix_start(VfioPciDevice *dev, uint16_t at, GError **error)
{
    PciDevice *pci = &dev->pci;
    uint32_t table = pci_get32(pci->config + at + PCI_MSIX_TABLE),
             pba = pci_get32(pci->config + at + PCI_MSIX_PBA);
    unsigned vectors = (pci_get16(pci->config + at + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1u;
    unsigned bar = table & PCI_MSIX_BIR;

    table &= ~PCI_MSIX_BIR;
    if ((pba & PCI_MSIX_BIR) == bar) {
        pba &= ~PCI_MSIX_BIR;
    } else {
        pba = table + vectors * 16;
    }
    emulate(dev, at, PCI_MSIX_CAP_SIZE);
    if (!msix_init(pci, vectors, bar, table, pba, at, error)) {
        g_prefix_error(error, "%s: ", dev->vdev.name);
        return false;
    }
    return true;
}

/* Puts the registers of one capability under the right rule.  *hide: the guest does not see it.  False:
 * *error. */
static bool capability_start(VfioPciDevice *dev, uint16_t at, bool *hide, GError **error)
{
    PciDevice *pci = &dev->pci;

    *hide = false;
    switch (pci->config[at]) {
    case PCI_CAP_ID_MSI:
        *hide = !msi_start(dev, at);
        return true;
    case PCI_CAP_ID_MSIX:
        *hide = at + PCI_MSIX_CAP_SIZE > PCI_CONFIG_SIZE || pci->msix_cap ||
                !dev->irq_counts[VFIO_PCI_MSIX_IRQ_INDEX];
        return *hide || msix_start(dev, at, error);
    case PCI_CAP_ID_EXP:
        if (at + PCI_EXP_DEVCTL + 2 <= PCI_CONFIG_SIZE && !pci->exp_cap) {
            pci->exp_cap = at;
            /* Function level reset is seen here, the rest of the register is the device's. */
            pci_set16(pci->wmask + at + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_FLR);
        }
        return true;
    case PCI_CAP_ID_PM:
        pci->pm_cap = at;
        return true;
    default:
        return true;
    }
}

static bool capabilities_start(VfioPciDevice *dev, GError **error)
{
    PciDevice *pci = &dev->pci;
    unsigned link = PCI_CAPABILITY_LIST;
    unsigned at = pci->config[PCI_CAPABILITY_LIST] & ~3u;

    pci->exp_cap = pci->msi_cap = pci->msix_cap = pci->pm_cap = 0;
    if (!(pci_get16(pci->config + PCI_STATUS) & PCI_STATUS_CAP_LIST)) {
        pci->config[PCI_CAPABILITY_LIST] = 0;
        return true;
    }
    for (unsigned i = 0; at >= 0x40; i++) {
        unsigned next = pci->config[at + 1] & ~3u;
        bool hide;

        if (i == MAX_CAPS) {
            error_set(error, "%s: the list of capabilities never ends", dev->vdev.name);
            return false;
        }
        if (!capability_start(dev, (uint16_t)at, &hide, error)) {
            return false;
        }
        if (!hide) {
            pci->config[link] = (uint8_t)at;
            link = at + 1;
            emulate(dev, at, 2);
        }
        at = next;
    }
    pci->config[link] = 0;
    return true;
}

/* What needs the hypervisor's or the root complex's help is not shown: SR-IOV, ATS, PRI, PASID, resizable
 * BARs. */
static bool ext_capability_hidden(uint16_t id)
{
    static const uint16_t hidden[] = {PCI_EXT_CAP_ID_SRIOV, PCI_EXT_CAP_ID_ATS, PCI_EXT_CAP_ID_PRI,
                                      PCI_EXT_CAP_ID_PASID, PCI_EXT_CAP_ID_REBAR};

    for (unsigned i = 0; i < G_N_ELEMENTS(hidden); i++) {
        if (hidden[i] == id) {
            return true;
        }
    }
    return false;
}

static bool ext_capabilities_start(VfioPciDevice *dev, GError **error)
{
    uint8_t *config = dev->pci.config;
    unsigned last = 0;

    if (dev->config_region < PCIE_CONFIG_SIZE) {
        return true;
    }
    for (unsigned at = PCI_CONFIG_SIZE, i = 0; at >= PCI_CONFIG_SIZE; i++) {
        uint32_t header = pci_get32(config + at);
        unsigned next = (header >> 20) & ~3u;

        if (i == MAX_EXT_CAPS) {
            error_set(error, "%s: the list of extended capabilities never ends", dev->vdev.name);
            return false;
        }
        emulate(dev, at, 4);
        if (ext_capability_hidden((uint16_t)header)) {
            /* The first one stays as a link of no meaning, others are skipped. */
            pci_set32(config + at, at == PCI_CONFIG_SIZE ? header & 0xfff00000 : 0);
            if (last) {
                pci_set32(config + last, (pci_get32(config + last) & 0xfffff) | (uint32_t)next << 20);
            }
        }
        last = ext_capability_hidden((uint16_t)header) && at != PCI_CONFIG_SIZE ? last : at;
        at = next;
    }
    return true;
}

bool vfio_config_capabilities(VfioPciDevice *dev, GError **error)
{
    return capabilities_start(dev, error) && ext_capabilities_start(dev, error);
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

static void forward_write(VfioPciDevice *dev, uint16_t offset, uint32_t val, unsigned size)
{
    unsigned flr = dev->pci.exp_cap + PCI_EXP_DEVCTL + 1;

    if (offset + size > dev->config_region) {
        return;
    }
    if (dev->pci.exp_cap && flr >= offset && flr < offset + size) {
        val &= ~(0x80u << (8 * (flr - offset))); /* carried out as a reset of the whole device instead */
    }
    val = GUINT32_TO_LE(val);
    vfio_region_write(&dev->vdev, VFIO_PCI_CONFIG_REGION_INDEX, offset, size, &val, false);
}

void vfio_pci_config_write(PciDevice *pci, uint16_t offset, uint32_t val, unsigned size)
{
    VfioPciDevice *dev = (VfioPciDevice *)pci;
    bool local_first;

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
}
