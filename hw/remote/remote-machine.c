/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `-machine x-remote` and its PCI host bridge: one root bus and DMA address space for each served function. */
#include "hw/remote/vfu-server.h"

RemoteMachine *remote_machine(Machine *machine)
{
    return machine->obj.model == &remote_machine_model.model ? (RemoteMachine *)machine : NULL;
}

RemoteSlot *remote_slot(PciDevice *dev)
{
    return dev->bus->opaque;
}

bool remote_slot_attach(RemoteSlot *slot, RemoteSink *sink, GError **error)
{
    if (slot->sink) {
        error_set(error, "the device is served by object '%s' already; give each device one object",
                  slot->sink->owner);
        return false;
    }
    slot->sink = sink;
    return true;
}

void remote_slot_detach(RemoteSlot *slot)
{
    slot->sink = NULL;
    remote_iohub_reset(slot);
}

static void slot_set_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
    remote_iohub_set_intx(bus->opaque, pin, level);
}

static void slot_send_msi(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg)
{
    remote_iohub_send_msi(bus->opaque, dev, vector);
}

static bool slot_can_unplug(PciBus *bus, PciDevice *dev, GError **error)
{
    RemoteSlot *slot = bus->opaque;

    if (slot->sink) {
        error_set(error, "Device '%s' is served by object '%s'; object-del it first", dev->dev.obj.id,
                  slot->sink->owner);
        return false;
    }
    return true;
}

static void slot_device_gone(PciBus *bus)
{
    RemoteSlot *slot = bus->opaque;

    g_ptr_array_remove_fast(slot->machine->slots, slot);
    pci_bus_free(slot->bus);
    as_free(slot->dma);
    mem_region_unref(slot->dma_root);
    mem_region_unref(slot->mem);
    mem_region_unref(slot->io);
    g_free(slot);
}

static const PciBusOps slot_ops = {
    .set_intx = slot_set_intx,
    .send_msi = slot_send_msi,
    .remote_msi = true,
    .can_unplug = slot_can_unplug,
    .device_gone = slot_device_gone,
};

static PciBus *root_bus_for_device(PciBus *root, PciDevice *dev, GError **error)
{
    RemoteMachine *rm = root->opaque;
    MemTopology *topo = rm->machine.topo;
    RemoteSlot *slot;

    if (pci_model(dev)->header_type != PCI_HEADER_TYPE_NORMAL) {
        error_set(error, "-device %s: x-remote serves endpoints; put the bridge into the client's machine",
                  dev->dev.obj.model->name);
        return NULL;
    }
    slot = g_new0(RemoteSlot, 1);
    slot->machine = rm;
    slot->mem = mem_region_new_container(topo, "remote memory", UINT64_MAX);
    slot->io = mem_region_new_container(topo, "remote I/O", 0x10000);
    slot->dma_root = mem_region_new_container(topo, "client memory", UINT64_MAX);
    slot->dma = as_new(topo, "client memory", slot->dma_root);
    slot->bus = pci_bus_new(&rm->machine, root->name, &slot_ops, slot, true, slot->mem, slot->io, slot->dma);
    g_ptr_array_add(rm->slots, slot);
    return slot->bus;
}

/* Nothing is ever on the root itself, so it neither interrupts nor masters. */
static const PciBusOps root_ops = {.bus_for_device = root_bus_for_device};

static bool remote_machine_start(Machine *m, GError **error)
{
    RemoteMachine *rm = (RemoteMachine *)m;

    rm->slots = g_ptr_array_new();
    rm->root_mem = mem_region_new_container(m->topo, "remote root memory", UINT64_MAX);
    rm->root_io = mem_region_new_container(m->topo, "remote root I/O", 0x10000);
    rm->root = pci_bus_new(m, "pcie.0", &root_ops, rm, true, rm->root_mem, rm->root_io, m->memory);
    m->pci_bus = rm->root;
    mem_topology_set_write_hook(m->topo, vfu_server_memory_written, rm);
    return true;
}

static void remote_machine_stop(Machine *m)
{
    RemoteMachine *rm = (RemoteMachine *)m;

    m->pci_bus = NULL;
    mem_topology_set_write_hook(m->topo, NULL, NULL);
    pci_bus_free(rm->root);
    mem_region_unref(rm->root_mem);
    mem_region_unref(rm->root_io);
    g_ptr_array_free(rm->slots, TRUE);
}

static const Prop remote_machine_props[] = {
    PROP_BOOL("vfio-user", RemoteMachine, vfio_user, false, "Serve devices by -object x-vfio-user-server"),
    PROP_BOOL("auto-shutdown", RemoteMachine, auto_shutdown, true, "End the process when the last client has left"),
    PROP_END,
};

const MachineModel remote_machine_model = {
    .model = {.name = "x-remote", .kind = MODEL_MACHINE, .size = sizeof(RemoteMachine), .props = remote_machine_props,
              .state = &state_none, .doc = "Serves PCI devices to other machines; has no CPU and no RAM"},
    .start = remote_machine_start,
    .stop = remote_machine_stop,
};
