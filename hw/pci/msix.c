/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI-X (PCI 3.0, 6.8.2): capability, table and pending bit array.
 *
 * On a served device's bus (remote_msi) the guest's table is the client's: the
 * table here only keeps what SET_IRQS masked, function mask and addresses are not looked at.
 */
#include <string.h>

#include "hw/pci/pci-internal.h"

static uint16_t msix_flags(const PciDevice *dev)
{
    return pci_get16(dev->config + dev->msix_cap + PCI_MSIX_FLAGS);
}

static uint8_t *msix_entry(const PciDevice *dev, unsigned vector)
{
    return dev->msix_table + (size_t)vector * PCI_MSIX_ENTRY_SIZE;
}

static bool vector_mask_bit(const PciDevice *dev, unsigned vector)
{
    return msix_entry(dev, vector)[PCI_MSIX_ENTRY_CTRL] & PCI_MSIX_ENTRY_CTRL_MASK;
}

bool msix_enabled(const PciDevice *dev)
{
    return dev->msix_cap && (msix_flags(dev) & PCI_MSIX_FLAGS_ENABLE);
}

bool msix_masked(const PciDevice *dev, unsigned vector)
{
    bool function_mask = !dev->bus->ops->remote_msi && (msix_flags(dev) & PCI_MSIX_FLAGS_MASKALL);

    return function_mask || vector_mask_bit(dev, vector);
}

bool msix_pending(const PciDevice *dev, unsigned vector)
{
    return dev->msix_pba[vector / 8] >> (vector % 8) & 1;
}

void msix_set_pending(PciDevice *dev, unsigned vector, bool pending)
{
    uint8_t bit = (uint8_t)(1u << (vector % 8));

    /* The device may raise from another thread than the one that unmasks. */
    if (pending) {
        __atomic_fetch_or(&dev->msix_pba[vector / 8], bit, __ATOMIC_SEQ_CST);
    } else {
        __atomic_fetch_and(&dev->msix_pba[vector / 8], (uint8_t)~bit, __ATOMIC_SEQ_CST);
    }
}

MsiMessage msix_get_message(const PciDevice *dev, unsigned vector)
{
    const uint8_t *entry = msix_entry(dev, vector);

    return (MsiMessage){.address = pci_get64(entry + PCI_MSIX_ENTRY_ADDR_LO), .data = pci_get32(entry + PCI_MSIX_ENTRY_DATA)};
}

void msix_notify(PciDevice *dev, unsigned vector)
{
    if (vector >= dev->msix_vectors || !msix_enabled(dev)) {
        return;
    }
    if (msix_masked(dev, vector)) {
        msix_set_pending(dev, vector, true);
        return;
    }
    dev->msix_used++;
    dev->bus->ops->send_msi(dev->bus, dev, vector, msix_get_message(dev, vector));
}

static void msix_deliver_if_ready(PciDevice *dev, unsigned vector)
{
    if (msix_enabled(dev) && msix_pending(dev, vector) && !msix_masked(dev, vector)) {
        msix_set_pending(dev, vector, false);
        msix_notify(dev, vector);
    }
}

/* The message of one vector may have changed, or its mask from was_masked. */
static void msix_vector_updated(PciDevice *dev, unsigned vector, bool was_masked)
{
    bool masked = msix_masked(dev, vector);

    if ((masked != was_masked || !masked) && dev->vector_changed) {
        dev->vector_changed(dev, vector, masked);
    }
    msix_deliver_if_ready(dev, vector);
}

void msix_set_mask(PciDevice *dev, unsigned vector, bool masked)
{
    uint8_t *ctrl;

    if (vector >= dev->msix_vectors) {
        return;
    }
    ctrl = msix_entry(dev, vector) + PCI_MSIX_ENTRY_CTRL;
    *ctrl = (uint8_t)((*ctrl & ~PCI_MSIX_ENTRY_CTRL_MASK) | masked);
    msix_deliver_if_ready(dev, vector);
}

void msix_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    if (!dev->msix_cap || !dev->msix_table || !pci_range_overlaps(offset, size, dev->msix_cap + PCI_MSIX_FLAGS, 2)) {
        return;
    }
    for (unsigned vector = 0; vector < dev->msix_vectors; vector++) {
        if (dev->vector_changed) {
            dev->vector_changed(dev, vector, !msix_enabled(dev) || msix_masked(dev, vector));
        }
        msix_deliver_if_ready(dev, vector);
    }
    pci_update_intx(dev);
}

static MemResult msix_table_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    PciDevice *dev = opaque;

    *val = size == 8 ? pci_get64(dev->msix_table + addr) : pci_get32(dev->msix_table + addr);
    return MEM_OK;
}

static MemResult msix_table_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    PciDevice *dev = opaque;
    unsigned vector = (unsigned)(addr / PCI_MSIX_ENTRY_SIZE);
    bool was_masked = msix_masked(dev, vector);

    if (size == 8) {
        pci_set64(dev->msix_table + addr, val);
    } else {
        pci_set32(dev->msix_table + addr, (uint32_t)val);
    }
    msix_vector_updated(dev, vector, was_masked);
    return MEM_OK;
}

static MemResult msix_pba_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    PciDevice *dev = opaque;

    *val = size == 8 ? pci_get64(dev->msix_pba + addr) : pci_get32(dev->msix_pba + addr);
    return MEM_OK;
}

static MemResult msix_pba_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    PciDevice *dev = opaque;

    guest_error(&dev->dev, "write to the MSI-X pending bits, which are read-only (offset 0x%" G_GINT64_MODIFIER "x)",
                addr);
    return MEM_OK;
}

static const MemOps msix_table_ops = {msix_table_read, msix_table_write, .min_size = 4, .max_size = 8};
static const MemOps msix_pba_ops = {msix_pba_read, msix_pba_write, .min_size = 4, .max_size = 8};

static bool msix_layout_fits(const PciDevice *dev, unsigned vectors, unsigned bar, uint32_t table, uint32_t pba)
{
    uint64_t bar_size = dev->bars[bar].size;
    uint64_t table_len = (uint64_t)vectors * PCI_MSIX_ENTRY_SIZE, pba_len = (vectors + 63) / 64 * 8;

    return !(table & 7) && !(pba & 7) && table + table_len <= bar_size && pba + pba_len <= bar_size &&
           (table + table_len <= pba || pba + pba_len <= table);
}

bool msix_init(PciDevice *dev, unsigned vectors, unsigned bar, uint32_t table_offset, uint32_t pba_offset,
               uint16_t cap_offset, GError **error)
{
    MemTopology *topo = dev->dev.obj.machine->topo;
    uint8_t *cap;

    if (!vectors || vectors > 2048 || bar >= PCI_BAR_COUNT || !dev->bars[bar].region ||
        !msix_layout_fits(dev, vectors, bar, table_offset, pba_offset)) {
        error_set(error, "%s: MSI-X table of %u vectors at 0x%x and pending bits at 0x%x do not fit BAR %u",
                  dev->dev.obj.model->name, vectors, table_offset, pba_offset, bar);
        return false;
    }
    if (cap_offset && dev->config[cap_offset] == PCI_CAP_ID_MSIX) {
        dev->msix_cap = cap_offset; /* a passed-through capability that is in the list already */
    } else {
        dev->msix_cap = pci_add_capability(dev, PCI_CAP_ID_MSIX, cap_offset, PCI_MSIX_CAP_SIZE, error);
    }
    if (!dev->msix_cap) {
        return false;
    }
    cap = dev->config + dev->msix_cap;
    pci_set16(cap + PCI_MSIX_FLAGS, (uint16_t)(vectors - 1));
    pci_set32(cap + PCI_MSIX_TABLE, table_offset | bar);
    pci_set32(cap + PCI_MSIX_PBA, pba_offset | bar);
    pci_set16(dev->wmask + dev->msix_cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);

    dev->msix_vectors = (uint16_t)vectors;
    dev->msix_table_len = vectors * PCI_MSIX_ENTRY_SIZE;
    dev->msix_pba_len = (vectors + 63) / 64 * 8;
    dev->msix_table = g_malloc0(dev->msix_table_len);
    dev->msix_pba = g_malloc0(dev->msix_pba_len);
    dev->msix_table_region = mem_region_new_io(topo, "msix-table", dev->msix_table_len, &msix_table_ops, dev, dev->dev.home);
    dev->msix_pba_region = mem_region_new_io(topo, "msix-pba", dev->msix_pba_len, &msix_pba_ops, dev, dev->dev.home);
    mem_region_add_overlap(dev->bars[bar].region, table_offset, dev->msix_table_region, 1);
    mem_region_add_overlap(dev->bars[bar].region, pba_offset, dev->msix_pba_region, 1);
    msix_reset(dev);
    return true;
}

void msix_reset(PciDevice *dev)
{
    if (!dev->msix_table) {
        return;
    }
    memset(dev->msix_table, 0, dev->msix_table_len);
    memset(dev->msix_pba, 0, dev->msix_pba_len);
    dev->config[dev->msix_cap + PCI_MSIX_FLAGS + 1] &= (PCI_MSIX_FLAGS_QSIZE >> 8);
    for (unsigned vector = 0; vector < dev->msix_vectors && !dev->bus->ops->remote_msi; vector++) {
        msix_entry(dev, vector)[PCI_MSIX_ENTRY_CTRL] = PCI_MSIX_ENTRY_CTRL_MASK;
    }
}

void msix_cleanup(PciDevice *dev)
{
    if (!dev->msix_table) {
        return;
    }
    mem_region_retire(dev->msix_table_region);
    mem_region_retire(dev->msix_pba_region);
    mem_region_unref(dev->msix_table_region);
    mem_region_unref(dev->msix_pba_region);
    g_clear_pointer(&dev->msix_table, g_free);
    g_clear_pointer(&dev->msix_pba, g_free);
}
