/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instead of firmware: room behind bridges for what is plugged later (PCI-to-PCI Bridge 1.2, 3.2.5).  A kernel gives a
 * conventional bridge a window for what it finds behind it, and none when there is nothing; it keeps one that is there.
 */
#include "pc-internal.h"

#define ROOM_MEMORY   0x200000u /* as much as Linux gives root ports */
#define ROOM_IO       0x1000u
#define ROOM_IO_FIRST 0x2000u
#define ROOM_IO_END   0xa000u /* then come fixed ports */

static bool bridge_wants_room(const PciBus *bus)
{
    bool empty = true;
    for (unsigned devfn = 0; devfn < G_N_ELEMENTS(bus->devices); devfn++) {
        empty = empty && !bus->devices[devfn];
    }
    return empty && bus->hotplug && !bus->express;
}

/* `limit` inclusive; a limit below the base is no window. */
static void bridge_open(PciDevice *bridge, uint32_t memory, uint32_t io)
{
    pci_config_write(bridge, PCI_MEMORY_BASE, memory >> 16, 2);
    pci_config_write(bridge, PCI_MEMORY_LIMIT, (memory + ROOM_MEMORY - 1) >> 16, 2);
    pci_config_write(bridge, PCI_PREF_MEMORY_BASE, 0xfff0, 2);
    pci_config_write(bridge, PCI_PREF_MEMORY_LIMIT, 0, 2);
    pci_config_write(bridge, PCI_IO_BASE, io < ROOM_IO_END ? io >> 8 : 0xf0, 1);
    pci_config_write(bridge, PCI_IO_LIMIT, io < ROOM_IO_END ? (io + ROOM_IO - 1) >> 8 : 0, 1);
}

void pc_open_bridges(PcMachine *pc, uint64_t pci32_last)
{
    const PciBus *root = pc->m.pci_bus;
    uint32_t memory = (uint32_t)(pci32_last + 1) & ~(ROOM_MEMORY - 1), io = ROOM_IO_FIRST;
    for (unsigned devfn = 0; devfn < G_N_ELEMENTS(root->devices); devfn++) {
        PciBus *bus = pci_bus_below(root, (uint8_t)devfn);
        if (bus && bridge_wants_room(bus)) {
            memory -= ROOM_MEMORY;
            bridge_open(bus->parent, memory, io);
            io += ROOM_IO;
        }
    }
}
