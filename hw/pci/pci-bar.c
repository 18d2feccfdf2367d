/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Base address registers and the option ROM: sizing, and mapping on the bus (PCI 3.0, 6.2.5). */
#include <string.h>

#include "hw/pci/pci-internal.h"

static uint16_t bar_register(const PciDevice *dev, unsigned n)
{
    if (n == PCI_ROM_SLOT) {
        return pci_model(dev)->header_type == PCI_HEADER_TYPE_BRIDGE ? PCI_ROM_ADDRESS1 : PCI_ROM_ADDRESS;
    }
    return (uint16_t)(PCI_BASE_ADDRESS_0 + 4 * n);
}

static bool bar_is_64bit(PciBarKind kind)
{
    return kind == PCI_BAR_MEM64 || kind == PCI_BAR_MEM64_PREFETCH;
}

static uint8_t bar_type_bits(unsigned n, PciBarKind kind)
{
    static const uint8_t bits[] = {
        [PCI_BAR_IO] = PCI_BASE_ADDRESS_IO,
        [PCI_BAR_MEM64] = PCI_BASE_ADDRESS_MEM64,
        [PCI_BAR_MEM32_PREFETCH] = PCI_BASE_ADDRESS_PREFETCH,
        [PCI_BAR_MEM64_PREFETCH] = PCI_BASE_ADDRESS_MEM64 | PCI_BASE_ADDRESS_PREFETCH,
    };

    return n == PCI_ROM_SLOT ? 0 : bits[kind];
}

void pci_register_bar(PciDevice *dev, unsigned n, PciBarKind kind, MemRegion *region)
{
    PciBar *bar = &dev->bars[n];
    uint64_t size = mem_region_size(region);
    uint16_t reg = bar_register(dev, n);
    uint64_t mask = ~(size - 1);

    g_assert(n < PCI_REGION_COUNT && !bar->region && kind != PCI_BAR_NONE);
    g_assert(size && !(size & (size - 1)));
    *bar = (PciBar){.region = mem_region_ref(region), .address = PCI_BAR_UNMAPPED, .size = size, .kind = kind};
    pci_set32(dev->config + reg, bar_type_bits(n, kind));
    pci_set32(dev->wmask + reg, (uint32_t)mask);
    if (n == PCI_ROM_SLOT) {
        dev->wmask[reg] |= PCI_ROM_ADDRESS_ENABLE;
    }
    if (bar_is_64bit(kind)) {
        pci_set32(dev->config + reg + 4, 0);
        pci_set32(dev->wmask + reg + 4, (uint32_t)(mask >> 32));
    }
}

MemRegion *pci_bar_region(PciDevice *dev, unsigned n)
{
    return dev->bars[n].region;
}

bool pci_memory_enabled(const PciDevice *dev)
{
    return pci_get16(dev->config + PCI_COMMAND) & PCI_COMMAND_MEMORY;
}

bool pci_bus_master(const PciDevice *dev)
{
    return pci_get16(dev->config + PCI_COMMAND) & PCI_COMMAND_MASTER;
}

/* Where the registers say the BAR is.  Zero and ranges that wrap count as unmapped: that is how sizing looks in passing. */
static uint64_t bar_decoded_address(const PciDevice *dev, unsigned n)
{
    const PciBar *bar = &dev->bars[n];
    uint16_t command = pci_get16(dev->config + PCI_COMMAND);
    const uint8_t *reg = dev->config + bar_register(dev, n);
    bool io = bar->kind == PCI_BAR_IO;
    uint64_t addr, last_valid = bar_is_64bit(bar->kind) ? UINT64_MAX - 1 : io ? UINT16_MAX : UINT32_MAX - 1;

    if (!(command & (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)) ||
        (n == PCI_ROM_SLOT && !(reg[0] & PCI_ROM_ADDRESS_ENABLE))) {
        return PCI_BAR_UNMAPPED;
    }
    addr = bar_is_64bit(bar->kind) ? pci_get64(reg) : pci_get32(reg);
    addr &= ~(bar->size - 1);
    if (!addr || addr + bar->size - 1 < addr || addr + bar->size - 1 > last_valid) {
        return PCI_BAR_UNMAPPED;
    }
    return addr;
}

static void bar_move(PciDevice *dev, unsigned n, uint64_t address)
{
    PciBar *bar = &dev->bars[n];

    if (bar->space) {
        mem_region_del(bar->space, bar->region);
    }
    bar->space = NULL;
    bar->address = address;
    if (address != PCI_BAR_UNMAPPED) {
        bar->space = bar->kind == PCI_BAR_IO ? dev->bus->io : dev->bus->mem;
        mem_region_add_overlap(bar->space, address, bar->region, 1);
    }
    if (pci_model(dev)->bar_moved) {
        pci_model(dev)->bar_moved(dev, n);
    }
}

void pci_update_mappings(PciDevice *dev)
{
    MemTopology *topo = dev->dev.obj.machine->topo;
    g_autoptr(GError) error = NULL;

    loop_lock(dev->dev.obj.machine->main_loop);
    mem_begin(topo);
    for (unsigned n = 0; n < PCI_REGION_COUNT; n++) {
        uint64_t address = dev->bars[n].region ? bar_decoded_address(dev, n) : PCI_BAR_UNMAPPED;

        if (dev->bars[n].region && address != dev->bars[n].address) {
            bar_move(dev, n, address);
        }
    }
    if (dev->dma_alias) {
        mem_region_set_enabled(dev->dma_alias, pci_bus_master(dev));
    }
    if (!mem_commit(topo, &error)) {
        guest_error(&dev->dev, "moving a BAR: %s", error->message);
    }
    loop_unlock(dev->dev.obj.machine->main_loop);
}
