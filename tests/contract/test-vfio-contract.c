/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One set of cases for every back end of the abstract VFIO PCI device: in memory, over a vfio-user socket,
 * and over a kernel's groups and iommufd. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "contract-fixture.h"
#include "contract-iommu.h"
#include "core/irqfd.h"
#include "hw/vfio-user/vfio-user.h"
#include "hw/vfio/kernel.h"

/* --- cases --- */

static void test_check_8_9_10_config(void **state)
{
    Fixture *f = *state;

    assert_int_equal(pci_config_read(f->pci, PCI_VENDOR_ID, 4), 0x43211234);
    assert_int_equal(pci_get32(f->device.config), 0x56781234);
    pci_config_write(f->pci, PCI_BASE_ADDRESS_0, UINT32_MAX, 4);
    assert_int_equal(pci_config_read(f->pci, PCI_BASE_ADDRESS_0, 4), 0xfffff000);
    pci_config_write(f->pci, PCI_BASE_ADDRESS_0, BAR0, 4);
    settle(f);
    assert_int_equal(pci_get32(f->device.config + PCI_BASE_ADDRESS_0), BAR0);
    assert_int_equal(pci_config_read(f->pci, PCI_BASE_ADDRESS_1, 4), 0);
}

static void test_check_11_bar_sizes(void **state)
{
    Fixture *f = *state;
    uint64_t val = 0x8877665544332211, got;

    map_bars(f);
    for (unsigned size = 1; size <= 8; size *= 2) {
        uint64_t part = size == 8 ? val : val & ((UINT64_C(1) << 8 * size) - 1);

        store(f, BAR0 + 64, size, val);
        assert_int_equal(load(f, BAR0 + 64, size), part);
        assert_memory_equal(f->device.bar0 + 64, &val, size);
        store(f, BAR0 + 129, size, val);
        assert_int_equal(load(f, BAR0 + 129, size), part);
    }
    assert_int_equal(as_store(f->io_space, BAR2 + 4, 2, 0xbeef, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(as_load(f->io_space, BAR2 + 4, 2, &got, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(got, 0xbeef);
}

static void test_check_27_write_order(void **state)
{
    Fixture *f = *state;

    map_bars(f);
    for (unsigned i = 0; i < 200; i++) {
        store(f, BAR0 + 0x20, 4, i);
    }
    assert_int_equal(load(f, BAR0 + 0x20, 4), 199);
    assert_int_equal(f->device.order_count, 200);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(f->device.order[i], i);
    }
}

static void test_check_24_msix_first_interrupts(void **state)
{
    Fixture *f = *state;
    const unsigned last = CONTRACT_VECTORS - 1;

    map_bars(f);
    for (unsigned v = 0; v < CONTRACT_VECTORS; v++) {
        vector_program(f, v, v != 0 && v != last);
    }
    settle(f);
    assert_false(contract_raise(&f->device, 0));
    pci_config_write(f->pci, 0x42, PCI_MSIX_FLAGS_ENABLE, 2);
    settle(f);
    assert_true(contract_raise(&f->device, 0));
    assert_true(contract_raise(&f->device, last));
    assert_false(contract_raise(&f->device, 3));
    run_loop(f);
    assert_int_equal(f->messages[0], 1);
    assert_int_equal(f->messages[last], 1);
    pci_config_write(f->pci, 0x42, 0, 2);
    settle(f);
    assert_false(contract_raise(&f->device, 0));
}

static void test_check_25_msix_mask(void **state)
{
    Fixture *f = *state;

    map_bars(f);
    vector_program(f, 3, false);
    pci_config_write(f->pci, 0x42, PCI_MSIX_FLAGS_ENABLE, 2);
    vector_program(f, 3, true);
    settle(f);
    assert_true(contract_raise(&f->device, 3));
    run_loop(f);
    assert_int_equal(f->messages[3], 0);
    assert_int_equal(load(f, BAR4 + 0x800, 8), 1 << 3);
    vector_program(f, 3, false);
    assert_int_equal(f->messages[3], 1);
    assert_int_equal(load(f, BAR4 + 0x800, 8), 0);
}

static void test_check_22_intx_level(void **state)
{
    Fixture *f = *state;

    map_bars(f);
    settle(f);
    contract_set_intx(&f->device, true);
    run_loop(f);
    assert_int_equal(f->pin, 1);
    /* The access ends it, but the device still asserts. */
    load(f, BAR0, 4);
    settle(f);
    run_loop(f);
    assert_int_equal(f->pin, 1);
    contract_set_intx(&f->device, false);
    load(f, BAR0, 4);
    settle(f);
    run_loop(f);
    assert_int_equal(f->pin, 0);
    assert_int_equal(f->device.unmasks, 2);
}

static void test_check_21_dma_maps(void **state)
{
    Fixture *f = *state;
    g_autoptr(GError) error = NULL;

    assert_int_equal(f->device.map_count, 1);
    assert_int_equal(f->device.maps[0][1], RAM_SIZE);
    mem_begin(f->m->topo);
    mem_region_set_address(f->ram_region, 0x40000000);
    assert_true(mem_commit(f->m->topo, &error));
    assert_int_equal(f->device.map_count, 1);
    assert_int_equal(f->device.maps[0][0], 0x40000000);
    f->device.refused_map = 0x1000;
    mem_begin(f->m->topo);
    mem_region_set_address(f->ram_region, 0);
    assert_false(mem_commit(f->m->topo, &error));
    assert_non_null(error);
}

/* What a guest's IOMMU maps is mapped, with its permissions; what it maps no more is not. */
static void test_check_41_guest_iommu(void **state)
{
    Fixture *f = *state;
    ContractDevice *d = &f->device;
    const uint64_t iova = 0x7000000000;
    ContractIommu *iommu;

    unplug(f);
    g_mutex_lock(&d->lock);
    d->map_count = 0; /* a hang-up says it all: this server keeps its list */
    g_mutex_unlock(&d->lock);
    iommu = contract_iommu_new(f->bus);
    contract_iommu_set(iommu, iova, 0x3000, MEM_PERM_RW);
    plug(f, NULL);
    assert_non_null(f->pci);
    assert_int_equal(d->map_count, 1); /* what was there before */
    assert_int_equal(contract_map_access(d, iova, 4096), PROT_READ | PROT_WRITE);
    contract_iommu_set(iommu, iova + 0x1000, 0x9000, MEM_PERM_READ);
    contract_iommu_set(iommu, iova + 0x2000, 0x5000, MEM_PERM_WRITE);
    contract_iommu_tell(iommu, iova, iova + 0x7fff);
    assert_int_equal(d->map_count, 3);
    assert_int_equal(contract_map_access(d, iova + 0x1000, 4096), PROT_READ);
    assert_int_equal(contract_map_access(d, iova + 0x2000, 4096), PROT_WRITE);
    /* Other permissions, another page, none. */
    contract_iommu_set(iommu, iova, 0x3000, MEM_PERM_READ);
    contract_iommu_set(iommu, iova + 0x1000, 0, MEM_PERM_NONE);
    contract_iommu_tell(iommu, iova, iova + 0x7fff);
    assert_int_equal(d->map_count, 2);
    assert_int_equal(contract_map_access(d, iova, 4096), PROT_READ);
    /* No RAM: nothing for the device. */
    contract_iommu_set(iommu, iova, 0x80000000, MEM_PERM_RW);
    contract_iommu_tell(iommu, iova, iova);
    assert_int_equal(d->map_count, 1);
    /* Off and on again. */
    contract_iommu_enable(iommu, false);
    assert_int_equal(d->map_count, 0);
    contract_iommu_enable(iommu, true);
    assert_int_equal(d->map_count, 1);
    unplug(f);
    assert_int_equal(d->map_count, f->sockets);
    contract_iommu_free(iommu);
}

#define STORM 32

/* All maps of a transaction are sent before one is answered, and answered before the commit returns. */
static void test_check_20_remap_storm(void **state)
{
    Fixture *f = *state;
    MemRegion *pieces[STORM];
    g_autoptr(GError) error = NULL;

    f->device.hold_maps = STORM;
    mem_begin(f->m->topo);
    for (unsigned i = 0; i < STORM; i++) {
        pieces[i] =
            mem_region_new_alias(f->m->topo, "piece", f->ram_region, (STORM - 1 - i) * 0x2000, 0x1000);
        mem_region_add(f->m->system_memory, 0x10000000 + i * 0x2000, pieces[i]);
    }
    assert_true(mem_commit(f->m->topo, &error));
    assert_int_equal(f->device.map_count, 1 + STORM);
    f->device.hold_maps = 0;
    mem_begin(f->m->topo);
    for (unsigned i = 0; i < STORM; i++) {
        mem_region_del(f->m->system_memory, pieces[i]);
        mem_region_unref(pieces[i]);
    }
    assert_true(mem_commit(f->m->topo, &error));
    assert_int_equal(f->device.map_count, 1);
}

static VfioContainer *container(Fixture *f)
{
    return f->back_end == MEMORY   ? contract_memory_container((VfioPciDevice *)f->pci)
           : f->sockets ? &((VfioUserPci *)f->pci)->container
                                   : &vfio_kernel_of(f->m)->containers->base;
}

/* Who remembers what the device writes: the device, or its IOMMU. */
static int track(Fixture *f, bool on)
{
    VfioDevice *vdev = &((VfioPciDevice *)f->pci)->vdev;
    VfioContainer *c = container(f);

    if (c->ops->dirty_tracking && !f->sockets) { /* over a socket the container's is for servers that know no other */
        return c->ops->dirty_tracking(c, on);
    }
    return on ? vdev->ops->log_start(vdev, 4096, &(VfioDmaRange){0, RAM_SIZE}, 1) : vdev->ops->log_stop(vdev);
}

/* The device itself remembers what it writes. */
static void test_dma_logging(void **state)
{
    Fixture *f = *state;
    VfioDevice *vdev = &((VfioPciDevice *)f->pci)->vdev;
    const VfioDmaRange range = {0x10000, 0x80000};
    uint64_t bits[RAM_SIZE / 4096 / 64] = {0};

    assert_int_equal(vdev->ops->log_report(vdev, 0, RAM_SIZE, 4096, bits), -EINVAL);
    assert_int_equal(vdev->ops->log_start(vdev, 4096, &range, 1), 0);
    assert_int_equal(vdev->ops->log_start(vdev, 4096, &range, 1), -EINVAL);
    contract_write_dma(&f->device, 0x42123);
    contract_write_dma(&f->device, 0x8ffff);
    contract_write_dma(&f->device, 0x90000); /* behind the range */
    assert_int_equal(vdev->ops->log_report(vdev, 0x10000, 0x70000, 4096, bits), 0);
    assert_int_equal(bits[0], UINT64_C(1) << 0x32);
    assert_int_equal(bits[1] | bits[2] | bits[3], 0);
    memset(bits, 0, sizeof(bits));
    bits[3] = 1; /* what is there already stays */
    assert_int_equal(vdev->ops->log_report(vdev, 0, RAM_SIZE, 4096, bits), 0);
    assert_int_equal(bits[2], UINT64_C(1) << 0xf);
    assert_int_equal(bits[3], 1);
    memset(bits, 0, sizeof(bits));
    assert_int_equal(vdev->ops->log_report(vdev, 0, RAM_SIZE, 4096, bits), 0); /* told once */
    assert_int_equal(bits[0] | bits[1] | bits[2] | bits[3], 0);
    assert_int_equal(vdev->ops->log_stop(vdev), 0);
    assert_int_equal(vdev->ops->log_stop(vdev), -EINVAL);
}

/* Memory that goes away tells what was written there. */
static void test_unmap_with_dirty_bitmap(void **state)
{
    Fixture *f = *state;
    VfioContainer *c = container(f);
    const VfioDmaMap map = {.size = RAM_SIZE, .host = f->ram, .fd = -1};
    uint64_t bits[RAM_SIZE / 4096 / 64] = {0};

    assert_int_equal(c->ops->dma_unmap_dirty(c, 0, RAM_SIZE, 4096, bits), -EINVAL);
    assert_int_equal(f->device.map_count, 1);
    assert_int_equal(track(f, true), 0);
    f->kernel.dirty_iova = 0x42123;
    contract_write_dma(&f->device, 0x42123);
    assert_int_equal(c->ops->dma_unmap_dirty(c, 0, RAM_SIZE, 4096, bits), 0);
    assert_int_equal(f->device.map_count, 0);
    assert_int_equal(bits[1], 1 << 2);
    assert_int_equal(bits[0] | bits[2] | bits[3], 0);
    assert_int_equal(track(f, false), 0);
    c->ops->begin(c);
    assert_int_equal(c->ops->dma_map(c, &map), 0);
    assert_int_equal(c->ops->commit(c), 0);
    assert_int_equal(f->device.map_count, 1);
}

static void test_refused_start(void **state)
{
    Fixture *f = *state;
    g_autoptr(GError) error = NULL;

    unplug(f);
    f->device.refused_map = 0x1000;
    plug(f, &error);
    assert_null(f->pci);
    assert_non_null(error);
}

static void test_check_39_reset(void **state)
{
    Fixture *f = *state;
    unsigned before = f->device.resets;

    map_bars(f);
    store(f, BAR0, 4, 5);
    device_reset(&f->pci->dev);
    settle(f);
    assert_int_equal(f->device.resets, before + 1);
    assert_int_equal(pci_config_read(f->pci, PCI_COMMAND, 2), 0);
    map_bars(f);
    assert_int_equal(load(f, BAR0, 4), 0);
}

static void test_check_32_loss(void **state)
{
    Fixture *f = *state;

    map_bars(f);
    if (f->sockets) {
        contract_server_hang_up(f->server);
        while (!__atomic_load_n(&((VfioPciDevice *)f->pci)->vdev.broken, __ATOMIC_RELAXED)) {
            g_usleep(1000);
        }
    } else {
        contract_memory_lose((VfioPciDevice *)f->pci);
    }
    assert_int_equal(load(f, BAR0, 4), UINT32_MAX);
    store(f, BAR0, 4, 1);
    assert_int_equal(pci_config_read(f->pci, PCI_VENDOR_ID, 4), UINT32_MAX);
    unplug(f);
}

/* Nothing is left of a device that went, however often; memory is the sanitizers' to count. */
static void test_check_48_62_plug_a_thousand_times(void **state)
{
    Fixture *f = *state;
    unsigned files = 0;

    for (unsigned i = 0; i < 1000; i++) {
        if (i == 10) {
            settle(f); /* the device has the eventfd of its pin */
            files = open_files();
        }
        map_bars(f);
        vector_program(f, 1, false);
        pci_config_write(f->pci, 0x42, PCI_MSIX_FLAGS_ENABLE, 2);
        unplug(f);
        f->device.map_count = 0; /* as a server does after a hang-up */
        plug(f, NULL);
        assert_non_null(f->pci);
    }
    expect_open_files(files);
}

/* --- interrupts that an accelerator takes --- */

/* Machines of tests have none: it is told by no Accel. */
static Fixture *accelerated;

static int irqfd_message_new(Accel *accel, uint64_t address, uint32_t data)
{
    return LINE_ROUTE + 1;
}

static void irqfd_message_set(Accel *accel, int route, uint64_t address, uint32_t data)
{
}

static void irqfd_message_free(Accel *accel, int route)
{
    assert_int_equal(route, LINE_ROUTE + 1);
}

static int irqfd_commit(Accel *accel)
{
    accelerated->route_commits++;
    return 0;
}

static int irqfd_attach(Accel *accel, int route, int fd, int resample_fd)
{
    assert_int_equal(resample_fd >= 0, route == LINE_ROUTE);
    *(route == LINE_ROUTE ? &accelerated->lines : &accelerated->vectors) += 1;
    return 0;
}

static void irqfd_detach(Accel *accel, int route, int fd)
{
    *(route == LINE_ROUTE ? &accelerated->lines : &accelerated->vectors) -= 1;
}

static const IrqfdOps irqfd_ops = {irqfd_message_new, irqfd_message_set, irqfd_message_free,
                                   irqfd_commit,      irqfd_attach,      irqfd_detach};

/* Whether interrupts of each kind reach this program: the pin, vector 0 of MSI-X, vector 1 of MSI. */
static void check_who_delivers(Fixture *f, const char *option, bool intx, bool msix, bool msi)
{
    f->option = option;
    plug(f, NULL);
    assert_non_null(f->pci);
    map_bars(f);
    settle(f);
    assert_int_equal(f->lines, !intx);
    contract_set_intx(&f->device, true);
    run_loop(f);
    assert_int_equal(f->pin, intx);
    contract_set_intx(&f->device, false);
    memset(f->messages, 0, sizeof(f->messages));
    vector_program(f, 0, false);
    pci_config_write(f->pci, 0x42, PCI_MSIX_FLAGS_ENABLE, 2);
    settle(f);
    assert_int_equal(f->lines, 0);
    assert_int_equal(f->vectors, !msix);
    assert_true(contract_raise(&f->device, 0));
    run_loop(f);
    assert_int_equal(f->messages[0], msix);
    pci_config_write(f->pci, 0x42, 0, 2);
    pci_config_write(f->pci, 0x64, 0xfee00000, 4);
    pci_config_write(f->pci, 0x6c, 0, 2);
    pci_config_write(f->pci, 0x62, PCI_MSI_FLAGS_ENABLE | 2 << 4, 2);
    settle(f);
    assert_int_equal(f->vectors, msi ? 0 : CONTRACT_MSI_VECTORS);
    assert_true(contract_raise(&f->device, 1));
    run_loop(f);
    assert_int_equal(f->messages[1], msi);
    unplug(f);
    f->device.map_count = 0; /* as a server does after a hang-up */
    assert_int_equal(f->lines + f->vectors, 0);
}

static void test_who_delivers_interrupts(void **state)
{
    Fixture *f = *state;

    unplug(f);
    f->device.map_count = 0;
    check_who_delivers(f, NULL, true, true, true); /* no accelerator */
    accelerated = f;
    f->m->irqfd = &irqfd_ops;
    check_who_delivers(f, NULL, false, false, false);
    check_who_delivers(f, "x-no-kvm-intx", true, false, false);
    check_who_delivers(f, "x-no-kvm-msix", false, true, false);
    check_who_delivers(f, "x-no-kvm-msi", false, false, true);
    f->m->irqfd = NULL;
}

/* What is set up together is one change of the accelerator's routes, which are dear. */
static void test_routes_in_batches(void **state)
{
    Fixture *f = *state;

    accelerated = f;
    f->m->irqfd = &irqfd_ops;
    replug(f, NULL);
    map_bars(f);
    for (unsigned v = 0; v < CONTRACT_VECTORS; v++) {
        vector_program(f, v, false);
    }
    settle(f);
    f->route_commits = 0;
    pci_config_write(f->pci, 0x42, PCI_MSIX_FLAGS_ENABLE, 2);
    settle(f);
    assert_int_equal(f->vectors, CONTRACT_VECTORS);
    assert_int_equal(f->route_commits, 1);
    unplug(f);
    assert_int_equal(f->lines + f->vectors, 0);
    f->m->irqfd = NULL;
}

/* The table of quirks is searched by the device's own ids. */
static void test_quirks(void **state)
{
    Fixture *f = *state;
    g_autoptr(GError) error = NULL;

    assert_int_equal(f->device.quirk_starts, 2);
    assert_int_equal(pci_config_read(f->pci, PCI_DEVICE_ID, 2), 0x4321); /* not this one */
    assert_int_equal(pci_config_read(f->pci, 0x50, 1), 0x5a);
    unplug(f);
    assert_int_equal(f->device.quirk_stops, 2);
    f->device.quirk_fails = true;
    plug(f, &error);
    assert_null(f->pci);
    assert_non_null(strstr(error->message, "quirk test: refused"));
    assert_int_equal(f->device.quirk_stops, 2);
}

/* State and data of a device that moves, over the socket. */
static void test_migration_over_a_socket(void **state)
{
    Fixture *f = *state;
    VfioDevice *vdev = &((VfioPciDevice *)f->pci)->vdev;
    size_t size = sizeof(struct vfio_device_feature) + sizeof(struct vfio_device_feature_mig_state);
    g_autofree struct vfio_device_feature *feature = g_malloc0(size);
    struct vfio_device_feature_mig_state *mig = (void *)feature->data;
    char data[8];

    feature->flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
    mig->device_state = VFIO_DEVICE_STATE_STOP_COPY;
    assert_int_equal(vdev->ops->device_feature(vdev, feature, size), 0);
    feature->flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
    mig->device_state = 0;
    assert_int_equal(vdev->ops->device_feature(vdev, feature, size), 0);
    assert_int_equal(mig->device_state, VFIO_DEVICE_STATE_STOP_COPY);
    assert_int_equal(mig->data_fd, -1);
    assert_int_equal(vdev->ops->migration_write(vdev, "state", 5), 5);
    assert_int_equal(vdev->ops->migration_read(vdev, data, 8), 5);
    assert_memory_equal(data, "state", 5);
    assert_int_equal(vdev->ops->migration_read(vdev, data, 8), 0);
    assert_int_equal(vdev->ops->device_feature(vdev, feature, 4), -EINVAL);
    feature->flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT;
    assert_int_equal(vdev->ops->device_feature(vdev, feature, size), -ENOTTY); /* log_report() does that */
    feature->flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION;
    assert_int_equal(vdev->ops->device_feature(vdev, feature, size), -EINVAL); /* this server's answer */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_check_8_9_10_config),        CASE(test_check_11_bar_sizes),
        CASE(test_check_27_write_order),   CASE(test_check_24_msix_first_interrupts),
        CASE(test_check_25_msix_mask),     CASE(test_check_22_intx_level),
        CASE(test_check_21_dma_maps),
        CASE(test_check_41_guest_iommu),      CASE(test_check_20_remap_storm),
        CASE(test_dma_logging), CASE(test_unmap_with_dirty_bitmap),
        CASE(test_refused_start), CASE(test_check_39_reset), CASE(test_who_delivers_interrupts),
        CASE(test_routes_in_batches),
        CASE(test_check_32_loss),          CASE(test_check_48_62_plug_a_thousand_times),
        cmocka_unit_test_setup_teardown(test_quirks, contract_setup_memory, contract_teardown),
        cmocka_unit_test_setup_teardown(test_migration_over_a_socket, contract_setup_socket, contract_teardown),
    };

    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    return contract_run_checks() + failed;
}
