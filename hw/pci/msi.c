/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Message Signaled Interrupts (PCI 3.0, 6.8.1). */
#include "hw/pci/pci-internal.h"

static uint16_t msi_flags(const PciDevice *dev)
{
    return pci_get16(dev->config + dev->msi_cap + PCI_MSI_FLAGS);
}

static uint8_t *msi_mask_bits(PciDevice *dev)
{
    return dev->config + dev->msi_cap + PCI_MSI_MASK_64;
}

static uint8_t *msi_pending_bits(PciDevice *dev)
{
    return dev->config + dev->msi_cap + PCI_MSI_PENDING_64;
}

bool msi_init(PciDevice *dev, uint16_t offset, unsigned vectors, bool per_vector_mask, GError **error)
{
    uint16_t flags = PCI_MSI_FLAGS_64BIT | (per_vector_mask ? PCI_MSI_FLAGS_MASKBIT : 0);
    uint8_t size = per_vector_mask ? 24 : 14;
    unsigned log2_vectors = 0;

    g_assert(vectors >= 1 && vectors <= 32 && !(vectors & (vectors - 1)));
    while (1u << log2_vectors < vectors) {
        log2_vectors++;
    }
    dev->msi_cap = pci_add_capability(dev, PCI_CAP_ID_MSI, offset, size, error);
    if (!dev->msi_cap) {
        return false;
    }
    pci_set16(dev->config + dev->msi_cap + PCI_MSI_FLAGS, (uint16_t)(flags | log2_vectors << 1));
    pci_set16(dev->wmask + dev->msi_cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
    pci_set32(dev->wmask + dev->msi_cap + PCI_MSI_ADDRESS_LO, 0xfffffffc);
    pci_set32(dev->wmask + dev->msi_cap + PCI_MSI_ADDRESS_HI, UINT32_MAX);
    pci_set16(dev->wmask + dev->msi_cap + PCI_MSI_DATA_64, UINT16_MAX);
    if (per_vector_mask) {
        pci_set32(dev->wmask + dev->msi_cap + PCI_MSI_MASK_64, UINT32_MAX >> (32 - vectors));
    }
    return true;
}

bool msi_enabled(const PciDevice *dev)
{
    return dev->msi_cap && (msi_flags(dev) & PCI_MSI_FLAGS_ENABLE);
}

unsigned msi_vectors_allocated(const PciDevice *dev)
{
    return 1u << MIN((msi_flags(dev) & PCI_MSI_FLAGS_QSIZE) >> 4, (msi_flags(dev) & PCI_MSI_FLAGS_QMASK) >> 1);
}

bool msi_masked(const PciDevice *dev, unsigned vector)
{
    const uint16_t both = PCI_MSI_FLAGS_MASKBIT | PCI_MSI_FLAGS_64BIT;

    return (msi_flags(dev) & both) == both && (pci_get32(dev->config + dev->msi_cap + PCI_MSI_MASK_64) >> vector & 1);
}

MsiMessage msi_get_message(const PciDevice *dev, unsigned vector)
{
    const uint8_t *cap = dev->config + dev->msi_cap;
    bool is64 = msi_flags(dev) & PCI_MSI_FLAGS_64BIT;
    uint32_t data = pci_get16(cap + (is64 ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32));

    return (MsiMessage){
        .address = is64 ? pci_get64(cap + PCI_MSI_ADDRESS_LO) : pci_get32(cap + PCI_MSI_ADDRESS_LO),
        .data = (data & ~(msi_vectors_allocated(dev) - 1)) | vector,
    };
}

void msi_notify(PciDevice *dev, unsigned vector)
{
    if (!msi_enabled(dev)) {
        return;
    }
    /* With fewer messages than the function has vectors the last one is shared. */
    vector = MIN(vector, msi_vectors_allocated(dev) - 1);
    if (msi_masked(dev, vector)) {
        pci_set32(msi_pending_bits(dev), pci_get32(msi_pending_bits(dev)) | 1u << vector);
        return;
    }
    dev->bus->ops->send_msi(dev->bus, dev, vector, msi_get_message(dev, vector));
}

/* Sends what became deliverable. */
static void msi_deliver_pending(PciDevice *dev)
{
    uint32_t ready = pci_get32(msi_pending_bits(dev)) & ~pci_get32(msi_mask_bits(dev));

    pci_set32(msi_pending_bits(dev), pci_get32(msi_pending_bits(dev)) & ~ready);
    for (unsigned vector = 0; ready; vector++, ready >>= 1) {
        if (ready & 1) {
            msi_notify(dev, vector);
        }
    }
}

void msi_set_mask(PciDevice *dev, unsigned vector, bool masked)
{
    uint32_t bits;

    if (!dev->msi_cap || !(msi_flags(dev) & PCI_MSI_FLAGS_MASKBIT) || vector >= 32) {
        return;
    }
    bits = pci_get32(msi_mask_bits(dev)) & ~(1u << vector);
    pci_set32(msi_mask_bits(dev), bits | (uint32_t)masked << vector);
    msi_deliver_pending(dev);
}

void msi_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    if (!dev->msi_cap || !(msi_flags(dev) & PCI_MSI_FLAGS_64BIT) ||
        !pci_range_overlaps(offset, size, dev->msi_cap, 24)) {
        return;
    }
    if ((msi_flags(dev) & PCI_MSI_FLAGS_MASKBIT) && msi_enabled(dev)) {
        msi_deliver_pending(dev);
    }
    /* INTx is silent while messages are on (PCI 3.0, 6.8.3.3). */
    pci_update_intx(dev);
}

void msi_reset(PciDevice *dev)
{
    uint8_t *cap = dev->config + dev->msi_cap;

    if (!dev->msi_cap || !(msi_flags(dev) & PCI_MSI_FLAGS_64BIT)) {
        return;
    }
    pci_set16(cap + PCI_MSI_FLAGS, msi_flags(dev) & (uint16_t) ~(PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE));
    pci_set64(cap + PCI_MSI_ADDRESS_LO, 0);
    pci_set16(cap + PCI_MSI_DATA_64, 0);
    if (msi_flags(dev) & PCI_MSI_FLAGS_MASKBIT) {
        pci_set32(cap + PCI_MSI_MASK_64, 0);
        pci_set32(cap + PCI_MSI_PENDING_64, 0);
    }
}
