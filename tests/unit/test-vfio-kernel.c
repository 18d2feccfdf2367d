/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel back end of VFIO over a kernel in memory: what is shared and given back, what vectors and maps
 * become, and what is said when something is missing.  The cases every back end has are in tests/contract.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../contract/fake-kernel.h"
#include "core/trace.h"
#include "hw/vfio/kernel-iommufd-abi.h"
#include "hw/vfio/kernel.h"

#define RAM_SIZE (1u << 20)
#define BAR0     0xe0000000u
#define BAR4     0xe0100000u
#define HOST     "0000:00:04.0"
#define SECOND   "0000:00:05.0"
#define PRE_COPY (UINT64_C(1) << 2) /* VFIO_MIGRATION_PRE_COPY: newer than Debian 12's header */

extern const PciModel vfio_pci_model;
extern const ObjectModel iommufd_model;
static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model, &iommufd_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef struct Fixture {
    ContractDevice device, second;
    FakeKernel kernel;
    Machine *m;
    void *ram;
    MemRegion *ram_region, *io;
    PciBus *bus;
    PciDevice *pci, *other;
    unsigned messages[CONTRACT_VECTORS];
} Fixture;

static void bus_set_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
}

static void bus_send_msi(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg)
{
    ((Fixture *)bus->opaque)->messages[vector]++;
}

static const PciBusOps bus_ops = {.set_intx = bus_set_intx, .send_msi = bus_send_msi};

static int setup(void **state)
{
    Fixture *f = g_new0(Fixture, 1);

    contract_device_init(&f->device);
    contract_device_init(&f->second);
    fake_kernel_init(&f->kernel);
    f->m = machine_new(&bare_model, NULL);
    loop_lock(f->m->main_loop);
    vfio_kernel_set_sys(f->m, &f->kernel.sys);
    f->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    f->ram_region = mem_region_new_ram(f->m->topo, "ram", RAM_SIZE, f->ram, -1, 0, false);
    f->io = mem_region_new_container(f->m->topo, "io", 0x10000);
    mem_region_add(f->m->system_memory, 0, f->ram_region);
    machine_set_kind_ops(f->m, MODEL_PCI, &pci_kind_ops);
    f->bus = pci_bus_new(f->m, "pcie.0", &bus_ops, f, true, f->m->system_memory, f->io, f->m->memory);
    *state = f;
    return 0;
}

static void unplug(PciDevice **dev)
{
    if (*dev) {
        device_destroy(&(*dev)->dev);
        *dev = NULL;
    }
}

static int teardown(void **state)
{
    Fixture *f = *state;

    unplug(&f->pci);
    unplug(&f->other);
    pci_bus_free(f->bus);
    mem_region_unref(f->io);
    mem_region_del(f->m->system_memory, f->ram_region);
    mem_region_retire(f->ram_region);
    mem_region_unref(f->ram_region);
    loop_unlock(f->m->main_loop);
    machine_free(f->m);
    assert_int_equal(fake_kernel_open_files(&f->kernel), 0);
    assert_int_equal(f->device.map_count, 0);
    fake_kernel_cleanup(&f->kernel);
    munmap(f->ram, RAM_SIZE);
    contract_device_cleanup(&f->device);
    contract_device_cleanup(&f->second);
    g_free(f);
    return 0;
}

/* --- what tests do --- */

static Object *new_iommufd(Fixture *f, const char *id, const char *fd, GError **error)
{
    struct json_object *object = json_object_new_object();
    Object *made;

    json_object_object_add(object, "qom-type", json_object_new_string("iommufd"));
    json_object_object_add(object, "id", json_object_new_string(id));
    if (fd) {
        json_object_object_add(object, "fd", json_object_new_string(fd));
    }
    made = machine_object_add(f->m, object, error);
    json_object_put(object);
    return made;
}

/* iommufd NULL: through its group. */
static PciDevice *plug(Fixture *f, unsigned slot, const char *host, const char *iommufd, GError **error)
{
    g_autofree char *id = g_strdup_printf("dev%u", slot);

    return pci_create(f->bus, PCI_DEVFN(slot, 0), &vfio_pci_model, id, error, "host", host,
                      iommufd ? "iommufd" : NULL, iommufd, NULL);
}

static void add_ready(Fixture *f)
{
    fake_kernel_add(&f->kernel, HOST, 7, "vfio-pci", &f->device);
}

/* The device is refused, says so, and nothing stays open. */
static void refused(Fixture *f, const char *iommufd, const char *text)
{
    unsigned before = fake_kernel_open_files(&f->kernel);
    GError *error = NULL;

    assert_null(plug(f, 3, HOST, iommufd, &error));
    assert_non_null(error);
    if (!strstr(error->message, text)) {
        print_error("said: %s\nnot:  %s\n", error->message, text);
        fail();
    }
    g_error_free(error);
    assert_int_equal(fake_kernel_open_files(&f->kernel), before);
    assert_int_equal(f->device.map_count, 0);
}

static void vector_program(Fixture *f, unsigned vector)
{
    assert_int_equal(as_store(f->m->memory, BAR4 + 16 * vector, 8, 0xfee00000, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(as_store(f->m->memory, BAR4 + 16 * vector + 8, 8, 0x100 + vector, MEM_ATTRS_CPU),
                     MEM_OK);
}

static void enable_bars(Fixture *f)
{
    pci_config_write(f->pci, PCI_BASE_ADDRESS_0, BAR0, 4);
    pci_config_write(f->pci, PCI_BASE_ADDRESS_4, BAR4, 4);
    pci_config_write(f->pci, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static VfioContainer *container_of_device(PciDevice *dev)
{
    return &vfio_kernel_of(dev->dev.obj.machine)->containers->base;
}

/* --- finding the device --- */

static void test_addresses(void **state)
{
    static const struct {
        const char *prop, *value, *text;
    } bad[] = {{"host", "4", "not the address of a PCI device ('4'"},
               {"host", "00:04", "not the address"},
               {"host", "00:04.0x", "not the address"},
               {"host", "00:04.8", "not the address"},
               {"host", "00:20.0", "not the address"},
               {"host", "00:06.0", "there is no PCI device 0000:00:06.0"},
               {"sysfsdev", "/sys/devices/none", "no such device ('/sys/devices/none')"},
               {"fd", "99999", "has to be bound to an iommufd"}};
    static const char *const good[][2] = {
        {"host", "00:04.0"}, {"host", "0:4.0"}, {"sysfsdev", "/sys/bus/pci/devices/" HOST}};
    Fixture *f = *state;

    add_ready(f);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        assert_null(pci_create(f->bus, 24, &vfio_pci_model, "dut", &error, bad[i].prop, bad[i].value, NULL));
        assert_non_null(strstr(error->message, bad[i].text));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        f->pci = pci_create(f->bus, 24, &vfio_pci_model, "dut", NULL, good[i][0], good[i][1], NULL);
        assert_non_null(f->pci);
        unplug(&f->pci);
    }
}

static void test_which_device(void **state)
{
    Fixture *f = *state;
    g_autoptr(GError) none = NULL, several = NULL;

    assert_null(pci_create(f->bus, 24, &vfio_pci_model, "dut", &none, NULL));
    assert_non_null(strstr(none->message, "none of host=, sysfsdev= and fd="));
    assert_null(pci_create(f->bus, 24, &vfio_pci_model, "dut", &several, "host", HOST, "fd", "1", NULL));
    assert_non_null(strstr(several->message, "several of host="));
}

static void test_no_group(void **state)
{
    Fixture *f = *state;

    fake_kernel_add(&f->kernel, HOST, -1, NULL, &f->device);
    refused(f, NULL, "has no IOMMU group: the host's IOMMU is off");
}

static void test_no_iommu_mode(void **state)
{
    Fixture *f = *state;

    f->kernel.no_iommu_mode = true;
    add_ready(f);
    assert_non_null(new_iommufd(f, "iommufd0", NULL, NULL));
    refused(f, NULL, "is in no-IOMMU mode (group 7)");
    refused(f, "iommufd0", "is in no-IOMMU mode (group 7)");
}

static void test_not_bound(void **state)
{
    Fixture *f = *state;

    fake_kernel_add(&f->kernel, HOST, 7, "nvme", &f->device);
    assert_non_null(new_iommufd(f, "iommufd0", NULL, NULL));
    refused(f, NULL, HOST " is bound to driver nvme");
    refused(f, NULL,
            "modprobe vfio-pci; echo vfio-pci > /sys/bus/pci/devices/" HOST "/driver_override; echo " HOST
            " > /sys/bus/pci/devices/" HOST "/driver/unbind; echo " HOST " > /sys/bus/pci/drivers_probe");
    refused(f, "iommufd0", HOST " is bound to driver nvme");
}

static void test_group_mate_bound_only(void **state)
{
    Fixture *f = *state;

    fake_kernel_add(&f->kernel, HOST, 7, NULL, &f->device);
    fake_kernel_add(&f->kernel, SECOND, 7, "vfio-pci", &f->second);
    refused(f, NULL, HOST " is bound to no driver");
}

static void test_not_viable(void **state)
{
    Fixture *f = *state;

    add_ready(f);
    fake_kernel_add(&f->kernel, SECOND, 7, "e1000", &f->second);
    fake_kernel_add(&f->kernel, "0000:00:05.1", 7, NULL, &f->second);
    assert_non_null(new_iommufd(f, "iommufd0", NULL, NULL));
    for (unsigned i = 0; i < 2; i++) {
        refused(f, i ? "iommufd0" : NULL,
                "group 7 is not viable: the host still drives other devices of it (" SECOND
                " (driver e1000))");
    }
}

/* --- opening it --- */

static void test_open_errors(void **state)
{
    static const struct {
        const char *path;
        int error;
        const char *text;
    } cases[] = {{"/dev/vfio/7", EACCES, "no permission to open /dev/vfio/7"},
                 {"/dev/vfio/7", EBUSY, "group 7 is in use by another program"},
                 {"/dev/vfio/7", EIO, "cannot open /dev/vfio/7: Input/output error"},
                 {"/dev/vfio/vfio", ENOENT, "the kernel has no VFIO: modprobe vfio-pci"},
                 {"/dev/vfio/vfio", EACCES, "chmod 0666 /dev/vfio/vfio"}};
    Fixture *f = *state;

    add_ready(f);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        f->kernel.fail_open = cases[i].path;
        f->kernel.error = cases[i].error;
        refused(f, NULL, cases[i].text);
    }
    f->kernel.fail_open = NULL;
    f->pci = plug(f, 3, HOST, NULL, NULL);
    assert_non_null(f->pci);
}

static void test_kernel_refuses(void **state)
{
    Fixture *f = *state;

    add_ready(f);
    f->kernel.api_version = 5;
    refused(f, NULL, "of another version (5, expected 0)");
    f->kernel.api_version = VFIO_API_VERSION;
    f->kernel.interrupt_remapping = false;
    refused(f, NULL, "allow_unsafe_interrupts=1");
    f->kernel.interrupt_remapping = true;
    f->kernel.fail_ioctl = VFIO_IOMMU_MAP_DMA;
    f->kernel.error = ENOMEM;
    refused(f, NULL, "raise `ulimit -l`");
    f->kernel.fail_ioctl = 0;
    f->kernel.last_iova = RAM_SIZE / 2;
    refused(f, NULL, "an address the host's IOMMU does not have");
}

/* Whatever request fails, nothing stays open, and the next try works. */
static void test_every_request_fails(void **state)
{
    static const unsigned long group[] = {
        VFIO_GROUP_GET_STATUS, VFIO_GROUP_SET_CONTAINER,    VFIO_SET_IOMMU,
        VFIO_IOMMU_GET_INFO,   VFIO_IOMMU_MAP_DMA,          VFIO_GROUP_GET_DEVICE_FD,
        VFIO_DEVICE_GET_INFO,  VFIO_DEVICE_GET_REGION_INFO, VFIO_DEVICE_GET_IRQ_INFO};
    static const unsigned long iommufd[] = {
        VFIO_CDEV_BIND_IOMMUFD, IOMMUFD_IOAS_ALLOC,          IOMMUFD_HWPT_ALLOC,
        VFIO_CDEV_ATTACH_PT,    IOMMUFD_IOAS_IOVA_RANGES,    IOMMUFD_IOAS_MAP,
        VFIO_DEVICE_GET_INFO,   VFIO_DEVICE_GET_REGION_INFO, VFIO_DEVICE_GET_IRQ_INFO};
    Fixture *f = *state;

    add_ready(f);
    assert_non_null(new_iommufd(f, "iommufd0", NULL, NULL));
    f->kernel.error = EIO;
    for (unsigned i = 0; i < G_N_ELEMENTS(group) + G_N_ELEMENTS(iommufd); i++) {
        bool by_group = i < G_N_ELEMENTS(group);
        const char *object = by_group ? NULL : "iommufd0";

        f->kernel.fail_ioctl = by_group ? group[i] : iommufd[i - G_N_ELEMENTS(group)];
        refused(f, object, "");
        f->kernel.fail_ioctl = 0;
        f->pci = plug(f, 3, HOST, object, NULL);
        assert_non_null(f->pci);
        unplug(&f->pci);
    }
}

/* --- sharing --- */

static void test_shared_group(void **state)
{
    Fixture *f = *state;

    add_ready(f);
    fake_kernel_add(&f->kernel, SECOND, 7, "vfio-pci", &f->second);
    f->pci = plug(f, 3, HOST, NULL, NULL);
    f->other = plug(f, 4, SECOND, NULL, NULL);
    assert_non_null(f->pci);
    assert_non_null(f->other);
    assert_int_equal(fake_kernel_open_files(&f->kernel), 4); /* container, group, two devices */
    assert_int_equal(f->kernel.maps, 1);
    unplug(&f->pci);
    assert_int_equal(fake_kernel_open_files(&f->kernel), 3);
    assert_int_equal(f->device.map_count, 1);
    unplug(&f->other);
    assert_int_equal(fake_kernel_open_files(&f->kernel), 0);
}

static void test_shared_container(void **state)
{
    Fixture *f = *state;

    add_ready(f);
    fake_kernel_add(&f->kernel, SECOND, 8, "vfio-pci", &f->second);
    f->pci = plug(f, 3, HOST, NULL, NULL);
    f->other = plug(f, 4, SECOND, NULL, NULL);
    assert_int_equal(f->kernel.containers, 1);
    assert_int_equal(f->kernel.maps, 1);
    assert_int_equal(fake_kernel_open_files(&f->kernel), 5);
    unplug(&f->pci);
    assert_int_equal(f->device.map_count, 1);
    f->pci = plug(f, 3, HOST, NULL, NULL);
    assert_int_equal(f->kernel.containers, 1);
}

static void test_given_twice(void **state)
{
    Fixture *f = *state;
    g_autoptr(GError) error = NULL;

    add_ready(f);
    f->pci = plug(f, 3, HOST, NULL, NULL);
    assert_null(plug(f, 4, "00:04.0", NULL, &error));
    assert_non_null(strstr(error->message, HOST " is given to this machine already, as device 'dev3'"));
}

/* --- vectors --- */

/* An iteration takes a limited number of events. */
static void run_loop(Fixture *f)
{
    for (int i = 0; i < 4; i++) {
        loop_iterate(f->m->main_loop, false);
    }
}

static void raise_all(Fixture *f, unsigned count, unsigned expected)
{
    memset(f->messages, 0, sizeof(f->messages));
    for (unsigned v = 0; v < count; v++) {
        assert_true(contract_raise(&f->device, v));
    }
    run_loop(f);
    for (unsigned v = 0; v < count; v++) {
        assert_int_equal(f->messages[v], expected);
    }
}

/* A kernel that takes no further vectors while some are in use: all go down and up again, seldom. */
static void test_vectors_grow(void **state)
{
    Fixture *f = *state;

    add_ready(f);
    f->kernel.noresize = true;
    f->pci = plug(f, 3, HOST, NULL, NULL);
    enable_bars(f);
    pci_config_write(f->pci, 0x42, PCI_MSIX_FLAGS_ENABLE, 2);
    for (unsigned v = 0; v < CONTRACT_VECTORS; v++) {
        vector_program(f, v);
    }
    assert_true(f->kernel.devices[0].enables <= 6);
    assert_int_equal(f->kernel.devices[0].vectors, CONTRACT_VECTORS);
    run_loop(f);
    raise_all(f, CONTRACT_VECTORS, 1);
}

static void test_vectors_dynamic(void **state)
{
    Fixture *f = *state;

    add_ready(f);
    f->pci = plug(f, 3, HOST, NULL, NULL);
    enable_bars(f);
    pci_config_write(f->pci, 0x42, PCI_MSIX_FLAGS_ENABLE, 2);
    vector_program(f, 2);
    vector_program(f, 9);
    assert_int_equal(f->kernel.devices[0].enables, 1);
    assert_true(contract_raise(&f->device, 2));
    assert_true(contract_raise(&f->device, 9));
    assert_false(contract_raise(&f->device, 3));
}

/* What came while the vectors were down is not lost. */
static void test_vectors_signalled_again(void **state)
{
    Fixture *f = *state;

    add_ready(f);
    f->kernel.noresize = true;
    f->pci = plug(f, 3, HOST, NULL, NULL);
    enable_bars(f);
    pci_config_write(f->pci, 0x42, PCI_MSIX_FLAGS_ENABLE, 2);
    vector_program(f, 0);
    vector_program(f, 1);
    run_loop(f);
    assert_int_equal(f->messages[0], 1);
    assert_int_equal(f->messages[1], 0);
}

/* The host runs out of vectors: those that work go on working. */
static void test_vectors_run_out(void **state)
{
    Fixture *f = *state;

    add_ready(f);
    f->kernel.noresize = true;
    f->kernel.vector_limit = 3;
    f->pci = plug(f, 3, HOST, NULL, NULL);
    enable_bars(f);
    pci_config_write(f->pci, 0x42, PCI_MSIX_FLAGS_ENABLE, 2);
    for (unsigned v = 0; v < 5; v++) {
        vector_program(f, v);
    }
    assert_int_equal(f->kernel.devices[0].vectors, 3);
    run_loop(f);
    raise_all(f, 3, 1);
}

/* --- DMA maps --- */

static void test_type1_versions(void **state)
{
    Fixture *f = *state;

    add_ready(f);
    for (unsigned i = 0; i < 4; i++) {
        f->kernel.type1_v2 = i & 1;
        f->kernel.unmap_all = i & 2;
        f->kernel.unmaps = f->kernel.unmap_alls = 0;
        f->pci = plug(f, 3, HOST, NULL, NULL);
        assert_int_equal(f->device.map_count, 1);
        unplug(&f->pci);
        assert_int_equal(f->device.map_count, 0);
        assert_int_equal(f->kernel.unmap_alls, i & 2 ? 1 : 0);
        assert_int_equal(f->kernel.unmaps, i & 2 ? 1 : 2);
    }
}

/* Rests of pages are not mapped: the IOMMU knows whole pages only. */
static void test_page_borders(void **state)
{
    Fixture *f = *state;
    MemRegion *piece = mem_region_new_alias(f->m->topo, "piece", f->ram_region, 0x200, 0x2a00);

    add_ready(f);
    f->pci = plug(f, 3, HOST, NULL, NULL);
    mem_region_add(f->m->system_memory, 0x10000200, piece);
    assert_int_equal(f->device.map_count, 2);
    assert_int_equal(f->device.maps[1][0], 0x10001000);
    assert_int_equal(f->device.maps[1][1], 0x1000);
    mem_region_del(f->m->system_memory, piece);
    assert_int_equal(f->device.map_count, 1);
    mem_region_unref(piece);
}

/* A BAR of one device that the IOMMU does not map for another is no error; RAM is. */
static void test_device_memory(void **state)
{
    Fixture *f = *state;

    add_ready(f);
    fake_kernel_add(&f->kernel, SECOND, 8, "vfio-pci", &f->second);
    f->kernel.map_device_memory = true;
    f->pci = plug(f, 3, HOST, NULL, NULL);
    enable_bars(f);
    assert_int_equal(f->device.map_count, 2);
    pci_config_write(f->pci, PCI_COMMAND, 0, 2);
    assert_int_equal(f->device.map_count, 1);
    f->device.refused_map = BAR0;
    enable_bars(f);
    assert_int_equal(f->device.map_count, 1);
    unplug(&f->pci);
    f->pci = plug(f, 3, HOST, NULL, NULL);
    enable_bars(f);
    f->kernel.dma = &f->second;
    f->second.refused_map = BAR0;
    assert_non_null(new_iommufd(f, "iommufd0", NULL, NULL));
    f->other = plug(f, 4, SECOND, "iommufd0", NULL);
    assert_non_null(f->other);
    unplug(&f->other);
    f->kernel.dma = &f->device;
}

static void check_dirty(Fixture *f, const char *iommufd)
{
    uint64_t bits[4] = {0};
    VfioContainer *c;

    f->pci = plug(f, 3, HOST, iommufd, NULL);
    c = container_of_device(f->pci);
    f->kernel.dirty_iova = 0x42123;
    assert_true(c->ops->dirty_report(c, 0, RAM_SIZE, 4096, bits) < 0);
    assert_int_equal(c->ops->dirty_tracking(c, true), 0);
    assert_int_equal(c->ops->dirty_report(c, 0, RAM_SIZE, 4096, bits), 0);
    assert_int_equal(bits[1], 1 << 2);
    memset(bits, 0, sizeof(bits));
    assert_int_equal(c->ops->dirty_report(c, 0x40000, 0x40000, 0x2000, bits), 0);
    assert_int_equal(bits[0], 1 << 1);
    assert_int_equal(c->ops->dirty_tracking(c, false), 0);
    assert_true(c->ops->dirty_report(c, 0, RAM_SIZE, 4096, bits) < 0);
    unplug(&f->pci);
}

static void test_dirty_pages(void **state)
{
    Fixture *f = *state;
    VfioContainer *c;

    add_ready(f);
    assert_non_null(new_iommufd(f, "iommufd0", NULL, NULL));
    check_dirty(f, NULL);
    check_dirty(f, "iommufd0");
    f->kernel.dirty = false;
    for (unsigned i = 0; i < 2; i++) {
        f->pci = plug(f, 3, HOST, i ? "iommufd0" : NULL, NULL);
        c = container_of_device(f->pci);
        assert_int_equal(c->ops->dirty_tracking(c, true), -ENOTSUP);
        unplug(&f->pci);
    }
}

/* --- iommufd --- */

static unsigned hwpts(const Fixture *f)
{
    unsigned count = 0;

    for (unsigned i = 0; i < FAKE_MAX_HWPTS; i++) {
        count += f->kernel.hwpt[i].id != 0;
    }
    return count;
}

static void test_iommufd_shared(void **state)
{
    Fixture *f = *state;
    g_autoptr(GError) error = NULL;

    add_ready(f);
    fake_kernel_add(&f->kernel, SECOND, 8, "vfio-pci", &f->second);
    assert_non_null(new_iommufd(f, "iommufd0", NULL, NULL));
    f->pci = plug(f, 3, HOST, "iommufd0", NULL);
    f->other = plug(f, 4, SECOND, "iommufd0", NULL);
    assert_int_equal(f->kernel.containers, 1);
    assert_int_equal(hwpts(f), 1);
    assert_int_equal(f->kernel.maps, 1);
    assert_false(machine_object_del(f->m, "iommufd0", &error));
    assert_non_null(strstr(error->message, "'iommufd0' is in use by 'dev"));
    unplug(&f->pci);
    assert_int_equal(hwpts(f), 1);
    unplug(&f->other);
    assert_int_equal(hwpts(f), 0);
    assert_true(machine_object_del(f->m, "iommufd0", NULL));
    assert_int_equal(fake_kernel_open_files(&f->kernel), 0);
}

/* Kernels that make page tables of their own accord. */
static void test_iommufd_without_hwpts(void **state)
{
    Fixture *f = *state;

    add_ready(f);
    f->kernel.hwpts = false;
    assert_non_null(new_iommufd(f, "iommufd0", NULL, NULL));
    f->pci = plug(f, 3, HOST, "iommufd0", NULL);
    assert_int_equal(f->device.map_count, 1);
}

static void test_passed_fds(void **state)
{
    Fixture *f = *state;
    g_autofree char *iommu = NULL, *cdev = NULL;
    g_autoptr(GError) closed = NULL, wrong = NULL;

    add_ready(f);
    iommu = g_strdup_printf("%d", fake_kernel_open_iommu(&f->kernel));
    cdev = g_strdup_printf("%d", fake_kernel_open_cdev(&f->kernel, 0));
    assert_null(new_iommufd(f, "iommufd1", "99999", &closed));
    assert_non_null(strstr(closed->message, "not an open file descriptor ('99999')"));
    assert_non_null(new_iommufd(f, "iommufd0", iommu, NULL));
    assert_null(
        pci_create(f->bus, 32, &vfio_pci_model, "no", &wrong, "fd", "x", "iommufd", "iommufd0", NULL));
    assert_non_null(strstr(wrong->message, "not an open file descriptor ('x')"));
    f->pci = pci_create(f->bus, 24, &vfio_pci_model, "dut", NULL, "fd", cdev, "iommufd", "iommufd0", NULL);
    assert_non_null(f->pci);
    assert_int_equal(f->device.map_count, 1);
    enable_bars(f);
    assert_int_equal(as_store(f->m->memory, BAR0, 4, 7, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(f->device.bar0[0], 7);
}

static void test_no_iommufd(void **state)
{
    Fixture *f = *state;
    g_autoptr(GError) error = NULL;

    f->kernel.fail_open = "/dev/iommu";
    f->kernel.error = ENOENT;
    assert_null(new_iommufd(f, "iommufd0", NULL, &error));
    assert_non_null(strstr(error->message, "this kernel has no iommufd"));
}

/* --- reset --- */

static unsigned resets_by_bus(Fixture *f, PciDevice *dev)
{
    unsigned before = f->kernel.hot_resets;

    device_reset(&dev->dev);
    pci_config_read(dev, PCI_VENDOR_ID, 2);
    return f->kernel.hot_resets - before;
}

/* A bus is reset only when all that is on it is the machine's, and unused. */
static void test_hot_reset(void **state)
{
    Fixture *f = *state;

    add_ready(f);
    f->kernel.no_reset = true;
    f->pci = plug(f, 3, HOST, NULL, NULL);
    pci_config_write(f->pci, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    assert_int_equal(resets_by_bus(f, f->pci), 1);
    unplug(&f->pci);
    fake_kernel_add(&f->kernel, SECOND, 7, "vfio-pci", &f->second);
    f->pci = plug(f, 3, HOST, NULL, NULL);
    pci_config_write(f->pci, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    assert_int_equal(resets_by_bus(f, f->pci), 1);
    f->other = plug(f, 4, SECOND, NULL, NULL);
    pci_config_write(f->pci, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    assert_int_equal(resets_by_bus(f, f->pci), 0);
    unplug(&f->other);
    fake_kernel_add(&f->kernel, "0000:00:06.0", 9, "vfio-pci", &f->second);
    pci_config_write(f->pci, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    assert_int_equal(resets_by_bus(f, f->pci), 0);
    unplug(&f->pci);
    assert_non_null(new_iommufd(f, "iommufd0", NULL, NULL));
    f->pci = plug(f, 3, HOST, "iommufd0", NULL);
    pci_config_write(f->pci, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    assert_int_equal(resets_by_bus(f, f->pci), 1);
}

/* --- migration --- */

static const MoveOps *mover(Fixture *f, uint64_t flags)
{
    f->kernel.migration.flags = flags;
    f->pci = plug(f, 3, HOST, NULL, NULL);
    assert_non_null(f->pci);
    return f->pci->dev.obj.model->move;
}

static void check_bytes(const GByteArray *data, const char *text)
{
    assert_int_equal(data->len, strlen(text));
    assert_memory_equal(data->data, text, data->len);
}

static void says(GError *error, const char *text)
{
    assert_non_null(error);
    assert_string_equal(error->message, text);
    g_error_free(error);
}

/* The whole way of a device: its state in one part, or, with PRE_COPY, in two of one session; then it takes it. */
static void check_move(Fixture *f, uint64_t flags, const char *early, const char *late)
{
    const MoveOps *ops = mover(f, flags);
    Device *dev = &f->pci->dev;
    const FakeMigration *mig = &f->kernel.migration;
    unsigned files = fake_kernel_open_files(&f->kernel);
    g_autoptr(GByteArray) head = g_byte_array_new(), rest = g_byte_array_new();

    assert_true(ops->possible(dev, NULL));
    assert_true(ops->begin(dev, head, NULL) && ops->sync(dev, NULL) && ops->stop(dev, NULL) && ops->sync(dev, NULL));
    assert_true(ops->save(dev, rest, NULL));
    assert_int_equal(mig->state, VFIO_DEVICE_STATE_STOP_COPY);
    check_bytes(head, early);
    check_bytes(rest, late);
    assert_int_equal(fake_kernel_open_files(&f->kernel), files + 1);
    assert_true(ops->run(dev, NULL));
    assert_int_equal(mig->state, VFIO_DEVICE_STATE_RUNNING);
    assert_int_equal(fake_kernel_open_files(&f->kernel), files);

    assert_true(ops->load(dev, head->data, head->len, NULL) && ops->load(dev, rest->data, rest->len, NULL));
    assert_int_equal(mig->state, VFIO_DEVICE_STATE_RESUMING);
    assert_true(ops->loaded(dev, NULL) && ops->run(dev, NULL));
    assert_int_equal(mig->state, VFIO_DEVICE_STATE_RUNNING);
    assert_int_equal(fake_kernel_open_files(&f->kernel), files);
    assert_int_equal(f->device.resets, 1);
    unplug(&f->pci);
    f->device.resets = 0;
}

static void test_migration(void **state)
{
    Fixture *f = *state;

    add_ready(f);
    check_move(f, VFIO_MIGRATION_STOP_COPY, "", FAKE_EARLY FAKE_LATE);
    check_move(f, VFIO_MIGRATION_STOP_COPY | PRE_COPY, FAKE_EARLY, FAKE_LATE);
}

static void test_no_migration(void **state)
{
    Fixture *f = *state;
    GError *error = NULL;

    add_ready(f);
    assert_false(mover(f, 0)->possible(&f->pci->dev, &error));
    says(error, "its far side does not offer migration");
}

/* Of a device that stays where it was the guest has it on; out of ERROR only a reset leads. */
static void test_migration_refused(void **state)
{
    Fixture *f = *state;
    FakeMigration *mig = &f->kernel.migration;
    g_autoptr(GByteArray) head = g_byte_array_new();
    const MoveOps *ops;
    Device *dev;
    GError *error = NULL;

    add_ready(f);
    ops = mover(f, VFIO_MIGRATION_STOP_COPY | PRE_COPY);
    dev = &f->pci->dev;
    mig->refused = VFIO_DEVICE_STATE_STOP_COPY;
    assert_true(ops->begin(dev, head, NULL));
    assert_false(ops->stop(dev, &error));
    says(g_steal_pointer(&error), "its far side does not go from state PRE_COPY to STOP_COPY: Input/output error");
    assert_true(ops->run(dev, NULL));
    assert_int_equal(mig->state, VFIO_DEVICE_STATE_RUNNING);
    assert_int_equal(f->device.resets, 1);

    mig->breaks = true;
    assert_true(ops->begin(dev, head, NULL));
    assert_false(ops->stop(dev, &error));
    says(g_steal_pointer(&error), "it came to state ERROR and was reset, its driver has to begin anew: "
                                  "its far side does not go from state PRE_COPY to STOP_COPY: Input/output error");
    assert_int_equal(f->device.resets, 2);
    assert_true(ops->run(dev, NULL));
    assert_int_equal(mig->state, VFIO_DEVICE_STATE_RUNNING);

    mig->refused = UINT32_MAX;
    assert_true(ops->load(dev, (const uint8_t *)"damaged", 7, NULL));
    assert_false(ops->loaded(dev, &error));
    assert_non_null(strstr(error->message, "its far side refuses the state"));
    g_error_free(error);
}

/* The kernel's data file is the back end's: nothing above sees an fd. */
static void test_migration_data(void **state)
{
    Fixture *f = *state;
    size_t size = sizeof(struct vfio_device_feature) + sizeof(struct vfio_device_feature_mig_state);
    g_autofree struct vfio_device_feature *feature = g_malloc0(size);
    struct vfio_device_feature_mig_state *mig = (void *)feature->data;
    char byte;
    VfioDevice *vdev;

    add_ready(f);
    mover(f, VFIO_MIGRATION_STOP_COPY);
    vdev = &((VfioPciDevice *)f->pci)->vdev;
    assert_int_equal(vdev->ops->migration_read(vdev, &byte, 1), -EBADF);
    assert_int_equal(vdev->ops->migration_write(vdev, "x", 1), -EBADF);
    feature->flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
    mig->device_state = VFIO_DEVICE_STATE_RESUMING;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(vdev->ops->device_feature(vdev, feature, size), 0);
        assert_int_equal(mig->data_fd, -1);
        assert_int_equal(vdev->ops->migration_write(vdev, FAKE_EARLY FAKE_LATE, 10), 10);
    }
    assert_int_equal(fake_kernel_open_files(&f->kernel), 4);
    assert_int_equal(vdev->ops->device_feature(vdev, feature, 4), -EINVAL);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_addresses),
        CASE(test_which_device),
        CASE(test_no_group),
        CASE(test_no_iommu_mode),
        CASE(test_not_bound),
        CASE(test_group_mate_bound_only),
        CASE(test_not_viable),
        CASE(test_open_errors),
        CASE(test_kernel_refuses),
        CASE(test_every_request_fails),
        CASE(test_shared_group),
        CASE(test_shared_container),
        CASE(test_given_twice),
        CASE(test_vectors_grow),
        CASE(test_vectors_dynamic),
        CASE(test_vectors_signalled_again),
        CASE(test_vectors_run_out),
        CASE(test_type1_versions),
        CASE(test_page_borders),
        CASE(test_device_memory),
        CASE(test_dirty_pages),
        CASE(test_iommufd_shared),
        CASE(test_iommufd_without_hwpts),
        CASE(test_passed_fds),
        CASE(test_no_iommufd),
        CASE(test_hot_reset),
        CASE(test_migration),
        CASE(test_no_migration),
        CASE(test_migration_refused),
        CASE(test_migration_data),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
