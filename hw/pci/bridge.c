/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pci-bridge, pcie-root-port and ioh3420: forwarding windows, the bus behind, secondary
 * reset (PCI-to-PCI Bridge 1.2 chapter 3; PCI Express Base 4.0, 7.5.1.3).
 */
#include "hw/pci/bridge.h"
#include "hw/pci/pci-internal.h"

#define PCI_BRIDGE_CTL_BUS_RESET 0x40
#define PCI_SLOTID_FIRST 0x20 /* the first bridge of its chassis */
#define PCI_RANGE_TYPE_32 1 /* I/O and prefetchable ranges: upper registers exist */

typedef struct BridgeWindow {
    MemRegion **alias;
    MemRegion *target, *parent;
    uint64_t base, limit;
    bool enabled;
    const char *name;
} BridgeWindow;

static void window_apply(PciBridge *br, const BridgeWindow *w)
{
    MemTopology *topo = br->pci.dev.obj.machine->topo;

    if (*w->alias) {
        mem_region_del(w->parent, *w->alias);
        mem_region_unref(*w->alias);
        *w->alias = NULL;
    }
    if (w->enabled && w->base <= w->limit) {
        *w->alias = mem_region_new_alias(topo, w->name, w->target, w->base, w->limit - w->base + 1);
        mem_region_add_overlap(w->parent, w->base, *w->alias, 1);
    }
}

static void windows_update(PciBridge *br, bool closed)
{
    PciDevice *dev = &br->pci;
    const uint8_t *c = dev->config;
    uint16_t command = closed ? 0 : pci_get16(c + PCI_COMMAND);
    uint64_t pref_upper_base = (uint64_t)pci_get32(c + PCI_PREF_BASE_UPPER32) << 32;
    uint64_t pref_upper_limit = (uint64_t)pci_get32(c + PCI_PREF_LIMIT_UPPER32) << 32;
    const BridgeWindow windows[] = {
        {&br->mem_window, br->mem, dev->bus->mem, (uint64_t)(pci_get16(c + PCI_MEMORY_BASE) & 0xfff0u) << 16,
         (uint64_t)(pci_get16(c + PCI_MEMORY_LIMIT) & 0xfff0u) << 16 | 0xfffff, command & PCI_COMMAND_MEMORY,
         "bridge memory window"},
        {&br->pref_window, br->mem, dev->bus->mem,
         pref_upper_base | (uint64_t)(pci_get16(c + PCI_PREF_MEMORY_BASE) & 0xfff0u) << 16,
         pref_upper_limit | (uint64_t)(pci_get16(c + PCI_PREF_MEMORY_LIMIT) & 0xfff0u) << 16 | 0xfffff,
         command & PCI_COMMAND_MEMORY, "bridge prefetchable window"},
        {&br->io_window, br->io, dev->bus->io, (c[PCI_IO_BASE] & 0xf0u) << 8, (c[PCI_IO_LIMIT] & 0xf0u) << 8 | 0xfff,
         command & PCI_COMMAND_IO, "bridge I/O window"},
    };
    MemTopology *topo = dev->dev.obj.machine->topo;
    g_autoptr(GError) error = NULL;

    loop_lock(dev->dev.obj.machine->main_loop);
    mem_begin(topo);
    for (unsigned i = 0; i < G_N_ELEMENTS(windows); i++) {
        window_apply(br, &windows[i]);
    }
    if (!mem_commit(topo, &error)) {
        guest_error(&dev->dev, "moving a bridge window: %s", error->message);
    }
    loop_unlock(dev->dev.obj.machine->main_loop);
}

static void secondary_reset(PciBridge *br)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(br->secondary->devices); i++) {
        if (br->secondary->devices[i]) {
            device_reset(&br->secondary->devices[i]->dev);
        }
    }
}

static void bridge_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    PciBridge *br = (PciBridge *)dev;

    pci_bus_set_number(br->secondary, dev->config[PCI_SECONDARY_BUS]);
    if (pci_range_overlaps(offset, size, PCI_COMMAND, 2) ||
        pci_range_overlaps(offset, size, PCI_IO_BASE, PCI_CAPABILITY_LIST - PCI_IO_BASE)) {
        windows_update(br, false);
    }
    if (pci_range_overlaps(offset, size, PCI_BRIDGE_CONTROL, 2) &&
        (dev->config[PCI_BRIDGE_CONTROL] & PCI_BRIDGE_CTL_BUS_RESET)) {
        secondary_reset(br);
    }
    if (dev->exp_cap) {
        pcie_slot_config_written(br, offset, size);
    }
}

static void secondary_set_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
    PciBus *up = bus->parent->bus;

    up->ops->set_intx(up, bus->parent, (pin + PCI_SLOT(dev->devfn)) % 4, level);
}

static void secondary_send_msi(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg)
{
    PciBus *up = bus->parent->bus;

    up->ops->send_msi(up, dev, vector, msg);
}

static int secondary_intx_route(PciBus *bus, PciDevice *dev, unsigned pin)
{
    PciBus *up = bus->parent->bus;

    return up->ops->intx_route ? up->ops->intx_route(up, bus->parent, (pin + PCI_SLOT(dev->devfn)) % 4) : -1;
}

static bool secondary_msi_is_direct(PciBus *bus, PciDevice *dev, MsiMessage msg)
{
    PciBus *up = bus->parent->bus;

    return up->ops->msi_is_direct && up->ops->msi_is_direct(up, dev, msg);
}

static const PciBusOps secondary_ops = {.set_intx = secondary_set_intx,
                                        .send_msi = secondary_send_msi,
                                        .intx_route = secondary_intx_route,
                                        .msi_is_direct = secondary_msi_is_direct};

static const PciBusOps slot_ops = {.set_intx = secondary_set_intx,
                                   .send_msi = secondary_send_msi,
                                   .intx_route = secondary_intx_route,
                                   .msi_is_direct = secondary_msi_is_direct,
                                   .plugged = pcie_slot_plugged,
                                   .unplug_request = pcie_slot_unplug_request,
                                   .device_gone = pcie_slot_device_gone};

static void header_init(PciDevice *dev)
{
    static const struct {
        uint8_t offset;
        uint16_t writable;
    } masks[] = {
        {PCI_PRIMARY_BUS, 0xffff},   {PCI_SUBORDINATE_BUS, 0x00ff}, {PCI_IO_BASE, 0xf0f0},
        {PCI_MEMORY_BASE, 0xfff0},   {PCI_MEMORY_LIMIT, 0xfff0},    {PCI_PREF_MEMORY_BASE, 0xfff0},
        {PCI_PREF_MEMORY_LIMIT, 0xfff0}, {PCI_BRIDGE_CONTROL, 0x004f},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(masks); i++) {
        pci_set16(dev->wmask + masks[i].offset, masks[i].writable);
    }
    pci_set32(dev->wmask + PCI_PREF_BASE_UPPER32, UINT32_MAX);
    pci_set32(dev->wmask + PCI_PREF_LIMIT_UPPER32, UINT32_MAX);
    dev->config[PCI_PREF_MEMORY_BASE] = dev->config[PCI_PREF_MEMORY_LIMIT] = PCI_RANGE_TYPE_32;
    pci_set16(dev->w1cmask + 0x1e, PCI_STATUS_W1C); /* secondary status */
}

/* What firmware is to leave room for behind the bridge: the capability of QEMU's bridges, which SeaBIOS and OVMF know.
 * Without it a bridge that is empty at start gets no window, and what is plugged in later no addresses. */
enum { RESERVE_TYPE = 3, RESERVE_BUS = 4, RESERVE_IO = 8, RESERVE_MEM = 16, RESERVE_PREF32 = 20, RESERVE_PREF64 = 24, RESERVE_SIZE = 32 };

static bool reserve_init(PciBridge *br, GError **error)
{
    PciDevice *dev = &br->pci;
    uint16_t cap;

    if (!br->io_reserve && !br->mem_reserve) {
        return true;
    }
    cap = pci_add_capability(dev, PCI_CAP_ID_VNDR, 0, RESERVE_SIZE, error);
    if (!cap) {
        return false;
    }
    dev->config[cap + 2] = RESERVE_SIZE;
    dev->config[cap + RESERVE_TYPE] = 1;
    pci_set32(dev->config + cap + RESERVE_BUS, UINT32_MAX); /* all ones: firmware decides */
    pci_set64(dev->config + cap + RESERVE_IO, br->io_reserve ? br->io_reserve : UINT64_MAX);
    pci_set32(dev->config + cap + RESERVE_MEM, br->mem_reserve ? (uint32_t)br->mem_reserve : UINT32_MAX);
    pci_set32(dev->config + cap + RESERVE_PREF32, UINT32_MAX);
    pci_set64(dev->config + cap + RESERVE_PREF64, UINT64_MAX);
    return true;
}

/* Slot numbering (PCI-to-PCI Bridge 1.2, chapter 13) where a chassis is given, and the room to leave. */
static bool conventional_init(PciBridge *br, GError **error)
{
    PciDevice *dev = &br->pci;
    uint16_t cap;

    if (br->chassis_slot) {
        cap = pci_add_capability(dev, PCI_CAP_ID_SLOTID, 0, 4, error);
        if (!cap) {
            return false;
        }
        dev->config[cap + PCI_SID_ESR] = PCI_SLOTID_FIRST;
        dev->config[cap + PCI_SID_CHASSIS_NR] = br->chassis_slot;
    }
    return reserve_init(br, error);
}

static bool bridge_start(PciDevice *dev, GError **error)
{
    PciBridge *br = (PciBridge *)dev;
    Machine *m = dev->dev.obj.machine;
    bool express = pci_model(dev)->express;

    if (express ? !pcie_cap_init(dev, 0, PCI_EXP_TYPE_ROOT_PORT, br->port, error) : !conventional_init(br, error)) {
        return false;
    }
    header_init(dev);
    if (express) {
        pcie_slot_start(br);
    }
    br->mem = mem_region_new_container(m->topo, "secondary memory", UINT64_MAX);
    br->io = mem_region_new_container(m->topo, "secondary I/O", 0x10000);
    br->secondary = pci_bus_new(m, dev->dev.obj.id, express ? &slot_ops : &secondary_ops, br, express, br->mem, br->io, dev->bus->dma_space);
    br->secondary->parent = dev;
    g_ptr_array_add(dev->bus->children, br->secondary);
    return true;
}

static void bridge_reset(PciDevice *dev)
{
    uint8_t *c = dev->config;

    for (unsigned i = PCI_PRIMARY_BUS; i < PCI_CAPABILITY_LIST; i++) {
        c[i] &= (uint8_t)~dev->wmask[i];
    }
    pci_set16(c + PCI_BRIDGE_CONTROL, 0);
    pci_bus_set_number(((PciBridge *)dev)->secondary, 0);
    windows_update((PciBridge *)dev, true);
    if (dev->exp_cap) {
        pcie_slot_reset((PciBridge *)dev);
    }
}

static bool bus_is_empty(const PciBus *bus)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(bus->devices); i++) {
        if (bus->devices[i]) {
            return false;
        }
    }
    return true;
}

static void bridge_stop(PciDevice *dev)
{
    PciBridge *br = (PciBridge *)dev;

    windows_update(br, true);
    if (dev->exp_cap) {
        pcie_slot_stop(br);
    }
    g_assert(bus_is_empty(br->secondary));
    pci_bus_free(br->secondary);
    mem_region_unref(br->mem);
    mem_region_unref(br->io);
}

static const StateField bridge_state_fields[] = {
    STATE_FIELD_STRUCT(PciBridge, pci, &pci_device_state),
    STATE_FIELD_UINT(PciBridge, slot_pending, .since = 2),
    STATE_END,
};

static void bridge_pre_save(void *instance)
{
    PciBridge *br = instance;

    if (br->pci.exp_cap) {
        pcie_slot_saved(br);
    }
}

static bool bridge_post_load(void *instance, uint32_t version, GError **error)
{
    PciBridge *br = instance;

    pci_bus_set_number(br->secondary, br->pci.config[PCI_SECONDARY_BUS]);
    windows_update(br, false);
    if (br->pci.exp_cap) {
        if (version < 2) {
            pcie_slot_saved(br); /* what ACPI's part may have loaded before */
        }
        pcie_slot_loaded(br);
    }
    return true;
}

static const StateTable bridge_state = {
    .name = "pci-bridge", .version = 2, .fields = bridge_state_fields, .pre_save = bridge_pre_save, .post_load = bridge_post_load};

static const Prop root_port_props[] = {
    PROP_U8("port", PciBridge, port, 0, 0, 255, "Port number in Link Capabilities"),
    PROP_U8("chassis", PciBridge, chassis_slot, 0, 0, 255, "Chassis the port is in"),
    PROP_U16("slot", PciBridge, slot, 0, 0, 0x1fff, "Number of the slot in its chassis"),
    PROP_END,
};

static const Prop pci_bridge_props[] = {
    PROP_U8("chassis_nr", PciBridge, chassis_slot, 0, 0, 255, "Chassis the bridge's slots are in; 0: not told"),
    PROP_SIZE("io-reserve", PciBridge, io_reserve, 4 << 10, 0, 64 << 10, "I/O ports firmware leaves for what is plugged in; 0: not told"),
    PROP_SIZE("mem-reserve", PciBridge, mem_reserve, 2 << 20, 0, 1 << 30, "Memory addresses firmware leaves likewise; 0: not told"),
    PROP_END,
};

const PciModel pci_bridge_model = {
    .dev = {.name = "pci-bridge", .kind = MODEL_PCI, .size = sizeof(PciBridge), .props = pci_bridge_props,
            .state = &bridge_state, .doc = "Conventional PCI bridge: 32 slots behind one"},
    .ids = {.vendor = 0x1b36, .device = 0x0001, .class_code = 0x060400},
    .header_type = PCI_HEADER_TYPE_BRIDGE,
    .start = bridge_start, .reset = bridge_reset, .stop = bridge_stop,
    .config_written = bridge_config_written,
    .no_unplug = true,
};

#define ROOT_PORT_MODEL(text_name, vendor_id, device_id, text_doc)                                          \
    {                                                                                                       \
        .dev = {.name = text_name, .kind = MODEL_PCI, .size = sizeof(PciBridge), .props = root_port_props,  \
                .state = &bridge_state, .doc = text_doc},                                                   \
        .ids = {.vendor = vendor_id, .device = device_id, .class_code = 0x060400},                          \
        .header_type = PCI_HEADER_TYPE_BRIDGE, .interrupt_pin = 1, .msi_vectors = 1, .express = true,       \
        .start = bridge_start, .reset = bridge_reset, .stop = bridge_stop,                                  \
        .config_written = bridge_config_written, .no_unplug = true,                                         \
    }

const PciModel pcie_root_port_model =
    ROOT_PORT_MODEL("pcie-root-port", 0x1b36, 0x000c, "PCI Express root port: one slot, with hot plug");
const PciModel ioh3420_model = ROOT_PORT_MODEL("ioh3420", 0x8086, 0x3420, "Root port of Intel's IOH: one slot, with hot plug");
