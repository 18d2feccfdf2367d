/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine of the contract test. */
#include <json-c/json.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "contract-fixture.h"
#include "core/trace.h"
#include "hw/vfio/kernel.h"

extern const PciModel vfio_user_pci_model, vfio_pci_model;
extern const ObjectModel iommufd_model;
static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model, &iommufd_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

/* --- the bus --- */

static void bus_set_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
    ((Fixture *)bus->opaque)->pin = level;
}

static void bus_send_msi(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg)
{
    assert_int_equal(msg.data, msi_enabled(dev) ? vector : 0x100 + vector);
    ((Fixture *)bus->opaque)->messages[vector]++;
}

/* Asked only where there is an accelerator that takes eventfds. */
static int bus_intx_route(PciBus *bus, PciDevice *dev, unsigned pin)
{
    return LINE_ROUTE;
}

static bool bus_msi_is_direct(PciBus *bus, PciDevice *dev, MsiMessage msg)
{
    return true;
}

static const PciBusOps bus_ops = {.set_intx = bus_set_intx,
                                  .send_msi = bus_send_msi,
                                  .intx_route = bus_intx_route,
                                  .msi_is_direct = bus_msi_is_direct};

/* How requests travel over the socket. */
static const char *const travels[] = {[SOCKET_QUEUED] = "x-send-queued", [SOCKET_UNPOSTED] = "x-no-posted-writes"};

void plug_elsewhere(Fixture *f, const char *where, GError **error)
{
    const char *option = f->option ? f->option : "x-req";

    if (f->back_end >= KERNEL_GROUP) {
        f->pci = pci_create(f->bus, PCI_DEVFN(3, 0), &vfio_pci_model, "dut", error, "x-pci-device-id", "0x4321", option,
                            "on", where ? "host" : NULL, where, f->back_end == KERNEL_IOMMUFD ? "iommufd" : NULL,
                            "iommufd0", NULL);
    } else if (f->sockets) {
        const char *travel = f->back_end == SOCKET ? option : travels[f->back_end];

        f->pci = pci_create(f->bus, PCI_DEVFN(3, 0), &vfio_user_pci_model, "dut", error, "x-pci-device-id", "0x4321",
                            option, "on", travel, "on", where ? "socket" : NULL, where, NULL);
    } else {
        f->pci = pci_create(f->bus, PCI_DEVFN(3, 0), &contract_memory_model, "dut", error, "x-pci-device-id", "0x4321",
                            option, "on", where ? "device" : NULL, where, NULL);
    }
}

void plug(Fixture *f, GError **error)
{
    g_autofree char *address = g_strdup_printf("%" G_GUINT64_FORMAT, (uint64_t)(uintptr_t)&f->device);

    plug_elsewhere(f, f->back_end >= KERNEL_GROUP ? "0000:00:04.0" : f->sockets ? f->path : address, error);
}

/* A kernel that has the device, and the object a device may be bound to. */
static void setup_kernel(Fixture *f)
{
    struct json_object *object = json_object_new_object();

    fake_kernel_init(&f->kernel);
    f->kernel.noresize = f->back_end == KERNEL_GROUP;
    fake_kernel_add(&f->kernel, "0000:00:04.0", 7, "vfio-pci", &f->device);
    vfio_kernel_set_sys(f->m, &f->kernel.sys);
    json_object_object_add(object, "qom-type", json_object_new_string("iommufd"));
    json_object_object_add(object, "id", json_object_new_string("iommufd0"));
    assert_non_null(machine_object_add(f->m, object, NULL));
    json_object_put(object);
}

int contract_setup(void **state, BackEnd back_end)
{
    bool sockets = back_end >= SOCKET && back_end < KERNEL_GROUP;
    Fixture *f = g_new0(Fixture, 1);

    f->back_end = back_end;
    f->sockets = sockets;
    contract_device_init(&f->device);
    f->dir = g_dir_make_tmp("vfio-contract-XXXXXX", NULL);
    f->path = g_build_filename(f->dir, "socket", NULL);
    if (sockets) {
        f->server = contract_server_new(&f->device, f->path);
    }
    f->m = machine_new(&bare_model, NULL);
    loop_lock(f->m->main_loop);
    if (back_end >= KERNEL_GROUP) {
        setup_kernel(f);
    }
    f->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    f->ram_region = mem_region_new_ram(f->m->topo, "ram", RAM_SIZE, f->ram, -1, 0, false);
    f->io = mem_region_new_container(f->m->topo, "io", 0x10000);
    f->io_space = as_new(f->m->topo, "io", f->io);
    mem_region_add(f->m->system_memory, 0, f->ram_region);
    machine_set_kind_ops(f->m, MODEL_PCI, &pci_kind_ops);
    f->bus = pci_bus_new(f->m, "pcie.0", &bus_ops, f, true, f->m->system_memory, f->io, f->m->memory);
    plug(f, NULL);
    *state = f;
    return f->pci ? 0 : -1;
}

int contract_setup_memory(void **state)
{
    return contract_setup(state, MEMORY);
}

int contract_setup_socket(void **state)
{
    return contract_setup(state, SOCKET);
}

int contract_setup_queued(void **state)
{
    return contract_setup(state, SOCKET_QUEUED);
}

int contract_setup_unposted(void **state)
{
    return contract_setup(state, SOCKET_UNPOSTED);
}

int contract_setup_group(void **state)
{
    return contract_setup(state, KERNEL_GROUP);
}

int contract_setup_iommufd(void **state)
{
    return contract_setup(state, KERNEL_IOMMUFD);
}

void unplug(Fixture *f)
{
    if (f->pci) {
        device_destroy(&f->pci->dev);
        f->pci = NULL;
    }
}

void replug(Fixture *f, GError **error)
{
    unplug(f);
    g_mutex_lock(&f->device.lock);
    f->device.map_count = 0;
    g_mutex_unlock(&f->device.lock);
    plug(f, error);
}

int contract_teardown(void **state)
{
    Fixture *f = *state;

    unplug(f);
    pci_bus_free(f->bus);
    as_free(f->io_space);
    mem_region_unref(f->io);
    mem_region_del(f->m->system_memory, f->ram_region);
    mem_region_retire(f->ram_region);
    mem_region_unref(f->ram_region);
    loop_unlock(f->m->main_loop);
    machine_free(f->m);
    if (f->back_end >= KERNEL_GROUP) {
        assert_int_equal(fake_kernel_open_files(&f->kernel), 0);
        fake_kernel_cleanup(&f->kernel);
    }
    munmap(f->ram, RAM_SIZE);
    if (f->server) {
        contract_server_free(f->server);
    }
    contract_device_cleanup(&f->device);
    rmdir(f->dir);
    g_free(f->dir);
    g_free(f->path);
    g_free(f);
    return 0;
}

/* --- what a guest does --- */

void map_bars(Fixture *f)
{
    pci_config_write(f->pci, PCI_BASE_ADDRESS_0, BAR0, 4);
    pci_config_write(f->pci, PCI_BASE_ADDRESS_1, BAR1, 4);
    pci_config_write(f->pci, PCI_BASE_ADDRESS_2, BAR2, 4);
    pci_config_write(f->pci, PCI_BASE_ADDRESS_3, BAR3, 4);
    pci_config_write(f->pci, PCI_BASE_ADDRESS_4, BAR4, 4);
    pci_config_write(f->pci, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

uint64_t load(Fixture *f, uint64_t addr, unsigned size)
{
    uint64_t val;

    assert_int_equal(as_load(f->m->memory, addr, size, &val, MEM_ATTRS_CPU), MEM_OK);
    return val;
}

void store(Fixture *f, uint64_t addr, unsigned size, uint64_t val)
{
    assert_int_equal(as_store(f->m->memory, addr, size, val, MEM_ATTRS_CPU), MEM_OK);
}

void settle(Fixture *f)
{
    pci_config_read(f->pci, PCI_STATUS, 2);
}

void vector_program(Fixture *f, unsigned vector, bool masked)
{
    store(f, BAR4 + 16 * vector, 8, 0xfee00000);
    store(f, BAR4 + 16 * vector + 8, 4, 0x100 + vector);
    store(f, BAR4 + 16 * vector + 12, 4, masked);
}

void run_loop(Fixture *f)
{
    for (int i = 0; i < 3; i++) {
        loop_iterate(f->m->main_loop, false);
    }
}

int device_dma(Fixture *f, uint64_t iova, void *data, size_t size, bool write)
{
    int err = contract_dma(&f->device, iova, data, size, write);

    if (err && f->server) {
        unsigned depth = loop_release(f->m->main_loop);

        /* What a server cannot reach by itself it asks the client for. */
        err = contract_server_dma(f->server, iova, data, size, write);
        loop_reacquire(f->m->main_loop, depth);
    }
    return err;
}

void expect_open_files(unsigned count)
{
    gint64 deadline = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;

    while (open_files() != count && g_get_monotonic_time() < deadline) {
        g_usleep(1000);
    }
    assert_int_equal(open_files(), count);
}

unsigned open_files(void)
{
    GDir *dir = g_dir_open("/proc/self/fd", 0, NULL);
    unsigned n = 0;

    while (g_dir_read_name(dir)) {
        n++;
    }
    g_dir_close(dir);
    return n;
}
