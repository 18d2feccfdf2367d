/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Configuration space: accesses through the write masks, capabilities, and
 * routing from a host bridge to a function (PCI 3.0 chapter 6, PCI Express Base 4.0 chapter 7).
 */
#include <string.h>

#include "hw/pci/pci-internal.h"

uint16_t pci_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

uint32_t pci_get32(const uint8_t *p)
{
    return pci_get16(p) | (uint32_t)pci_get16(p + 2) << 16;
}

uint64_t pci_get64(const uint8_t *p)
{
    return pci_get32(p) | (uint64_t)pci_get32(p + 4) << 32;
}

void pci_set16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

void pci_set32(uint8_t *p, uint32_t v)
{
    pci_set16(p, (uint16_t)v);
    pci_set16(p + 2, (uint16_t)(v >> 16));
}

void pci_set64(uint8_t *p, uint64_t v)
{
    pci_set32(p, (uint32_t)v);
    pci_set32(p + 4, (uint32_t)(v >> 32));
}

uint32_t pci_default_config_read(PciDevice *dev, uint16_t offset, unsigned size)
{
    uint32_t val = 0;

    memcpy(&val, dev->config + offset, size);
    return GUINT32_FROM_LE(val);
}

void pci_default_config_write(PciDevice *dev, uint16_t offset, uint32_t val, unsigned size)
{
    for (unsigned i = 0; i < size; i++, val >>= 8) {
        uint8_t *byte = &dev->config[offset + i];
        uint8_t writable = dev->wmask[offset + i], clear = dev->w1cmask[offset + i];

        *byte = (uint8_t)((*byte & ~writable) | (val & writable));
        *byte &= (uint8_t) ~(val & clear);
    }
    if (pci_range_overlaps(offset, size, PCI_COMMAND, 2) || pci_range_overlaps(offset, size, PCI_BASE_ADDRESS_0, 24) ||
        pci_range_overlaps(offset, size, PCI_ROM_ADDRESS, 4) || pci_range_overlaps(offset, size, PCI_ROM_ADDRESS1, 4)) {
        pci_update_mappings(dev);
    }
    if (pci_range_overlaps(offset, size, PCI_COMMAND, 2)) {
        pci_update_intx(dev);
    }
    msi_config_written(dev, offset, size);
    msix_config_written(dev, offset, size);
    pcie_config_written(dev, offset, size);
}

uint32_t pci_config_read(PciDevice *dev, uint16_t offset, unsigned size)
{
    const PciModel *model = pci_model(dev);
    uint32_t val;

    g_assert(offset + size <= dev->config_size);
    loop_lock(dev->dev.home);
    val = model->config_read ? model->config_read(dev, offset, size) : pci_default_config_read(dev, offset, size);
    loop_unlock(dev->dev.home);
    return val;
}

void pci_config_write(PciDevice *dev, uint16_t offset, uint32_t val, unsigned size)
{
    const PciModel *model = pci_model(dev);

    g_assert(offset + size <= dev->config_size);
    loop_lock(dev->dev.home);
    if (model->config_write) {
        model->config_write(dev, offset, val, size);
    } else {
        pci_default_config_write(dev, offset, val, size);
    }
    if (model->config_written) {
        model->config_written(dev, offset, size);
    }
    loop_unlock(dev->dev.home);
}

/* The function and register an ECAM-style address names, or NULL when nobody answers all of the access. */
static PciDevice *host_config_target(PciBus *root, uint32_t address, unsigned size)
{
    PciDevice *dev = pci_bus_device(root, (uint8_t)(address >> 20), (uint8_t)(address >> 12));

    /* One that is being plugged or unplugged may be waiting for something, without the lock. */
    return dev && dev->dev.obj.started && (address & 0xfff) + size <= dev->config_size ? dev : NULL;
}

uint32_t pci_host_config_read(PciBus *root, uint32_t address, unsigned size)
{
    PciDevice *dev = host_config_target(root, address, size);

    return dev ? pci_config_read(dev, address & 0xfff, size) : UINT32_MAX >> (32 - 8 * size);
}

void pci_host_config_write(PciBus *root, uint32_t address, uint32_t val, unsigned size)
{
    PciDevice *dev = host_config_target(root, address, size);

    if (dev) {
        pci_config_write(dev, address & 0xfff, val, size);
    }
}

uint16_t pci_find_capability(const PciDevice *dev, uint8_t id)
{
    uint8_t next = dev->config[PCI_CAPABILITY_LIST];

    /* The list is ours, but a VFIO device's comes from its far side: at most 48 entries fit. */
    for (int i = 0; next >= 0x40 && i < 48; i++, next = dev->config[(next & ~3) + 1]) {
        if (dev->config[next & ~3] == id) {
            return next & ~3;
        }
    }
    return 0;
}

uint16_t pci_add_capability(PciDevice *dev, uint8_t id, uint16_t offset, uint8_t size, GError **error)
{
    if (!offset) {
        offset = (uint16_t)((dev->cap_end + 3) & ~3);
    }
    if (offset < 0x40 || (offset & 3) || offset + size > PCI_CONFIG_SIZE) {
        error_set(error, "%s: no room for capability 0x%02x (%u bytes at 0x%x)", dev->dev.obj.model->name, id, size,
                  offset);
        return 0;
    }
    dev->config[offset] = id;
    dev->config[offset + 1] = dev->config[PCI_CAPABILITY_LIST];
    dev->config[PCI_CAPABILITY_LIST] = (uint8_t)offset;
    dev->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    dev->cap_end = MAX(dev->cap_end, offset + size);
    return offset;
}

uint16_t pci_add_ext_capability(PciDevice *dev, uint16_t id, uint8_t version, uint16_t offset, uint16_t size,
                                GError **error)
{
    uint16_t last = PCI_CONFIG_SIZE;

    if (dev->config_size < PCIE_CONFIG_SIZE || offset < PCI_CONFIG_SIZE || (offset & 3) ||
        offset + size > PCIE_CONFIG_SIZE) {
        error_set(error, "%s: no room for extended capability 0x%04x (%u bytes at 0x%x)", dev->dev.obj.model->name, id,
                  size, offset);
        return 0;
    }
    if (offset != PCI_CONFIG_SIZE) {
        while (dev->config[last + 3] || dev->config[last + 2] >> 4) {
            last = (uint16_t)(pci_get16(dev->config + last + 2) >> 4);
        }
        pci_set16(dev->config + last + 2,
                  (uint16_t)((offset << 4) | (pci_get16(dev->config + last + 2) & 0xf)));
    }
    pci_set32(dev->config + offset, id | (uint32_t)version << 16);
    return offset;
}
