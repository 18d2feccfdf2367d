/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests of hw/misc/tick.c, and an example of how a model is tested without a machine around it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/mman.h>

#include "core/trace.h"
#include "hw/pci/pci.h"

#define RAM_SIZE 0x10000
#define BAR      0xe0000000u
#define CTRL     0x00
#define STATUS   0x04
#define PERIOD   0x08
#define COUNT    0x0c
#define ADDR     0x10
#define US       1000

extern const PciModel tick_model;
static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model, &tick_model.dev, NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef struct Fixture {
    Machine *m;
    PciBus *bus;
    PciDevice *dev;
    uint8_t *ram;
    MemRegion *ram_region, *io;
    int pin;
    unsigned messages;
} Fixture;

static void bus_set_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
    ((Fixture *)bus->opaque)->pin = level;
}

static void bus_send_msi(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg)
{
    ((Fixture *)bus->opaque)->messages++;
}

static const PciBusOps bus_ops = {.set_intx = bus_set_intx, .send_msi = bus_send_msi};

static void map_bar(Fixture *f)
{
    pci_config_write(f->dev, PCI_BASE_ADDRESS_0, BAR, 4);
    pci_config_write(f->dev, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static int setup(void **state)
{
    Fixture *f = g_new0(Fixture, 1);

    f->m = machine_new(&bare_model, NULL);
    clock_set_manual(f->m->clocks);
    loop_lock(f->m->main_loop);
    f->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    f->ram_region = mem_region_new_ram(f->m->topo, "ram", RAM_SIZE, f->ram, -1, 0, false);
    f->io = mem_region_new_container(f->m->topo, "io", 0x10000);
    mem_region_add(f->m->system_memory, 0, f->ram_region);
    machine_set_kind_ops(f->m, MODEL_PCI, &pci_kind_ops);
    f->bus = pci_bus_new(f->m, "pci.0", &bus_ops, f, false, f->m->system_memory, f->io, f->m->memory);
    f->dev = pci_create(f->bus, PCI_DEVFN(2, 0), &tick_model, "tick0", NULL, "period", "50", NULL);
    assert_non_null(f->dev);
    map_bar(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;

    device_destroy(&f->dev->dev);
    pci_bus_free(f->bus);
    mem_region_del(f->m->system_memory, f->ram_region);
    mem_region_unref(f->ram_region);
    mem_region_unref(f->io);
    loop_unlock(f->m->main_loop);
    machine_free(f->m);
    munmap(f->ram, RAM_SIZE);
    g_free(f);
    return 0;
}

static uint64_t get(Fixture *f, unsigned reg, unsigned size)
{
    uint64_t val;

    assert_int_equal(as_load(f->m->memory, BAR + reg, size, &val, MEM_ATTRS_CPU), MEM_OK);
    return val;
}

static void set(Fixture *f, unsigned reg, unsigned size, uint64_t val)
{
    assert_int_equal(as_store(f->m->memory, BAR + reg, size, val, MEM_ATTRS_CPU), MEM_OK);
}

static void warp_us(Fixture *f, int64_t us)
{
    clock_warp(f->m->clocks, us * US);
}

static void test_counts(void **state)
{
    Fixture *f = *state;

    assert_int_equal(pci_config_read(f->dev, PCI_VENDOR_ID, 4), 0x0f011234);
    assert_int_equal(get(f, PERIOD, 4), 50);
    warp_us(f, 1000);
    assert_int_equal(get(f, COUNT, 4), 0);
    set(f, CTRL, 4, 1);
    warp_us(f, 1049);
    assert_int_equal(get(f, COUNT, 4), 0);
    warp_us(f, 1500);
    assert_int_equal(get(f, COUNT, 4), 10);
    assert_int_equal(get(f, STATUS, 4), 1);
    set(f, CTRL, 4, 0);
    warp_us(f, 3000);
    assert_int_equal(get(f, COUNT, 4), 10);
    assert_int_equal(f->pin, 0);
}

static void test_intx_and_msi(void **state)
{
    Fixture *f = *state;

    set(f, CTRL, 4, 3);
    warp_us(f, 50);
    assert_int_equal(f->pin, 1);
    set(f, STATUS, 4, 1);
    assert_int_equal(f->pin, 0);
    pci_config_write(f->dev, f->dev->msi_cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE, 2);
    warp_us(f, 200);
    assert_int_equal(f->pin, 0);
    assert_int_equal(f->messages, 3);
}

static void test_record(void **state)
{
    Fixture *f = *state;

    set(f, ADDR, 8, 0x1000);
    set(f, CTRL, 4, 1);
    warp_us(f, 150);
    assert_int_equal(pci_get64(f->ram + 0x1000), 3);
    assert_int_equal(pci_get64(f->ram + 0x1008), 150 * US);
    set(f, ADDR, 8, 0x20000000);
    warp_us(f, 200);
    assert_int_equal(get(f, STATUS, 4), 3);
    assert_int_equal(f->dev->dev.guest_errors, 1);
}

static void test_state_and_reset(void **state)
{
    Fixture *f = *state;
    g_autoptr(GByteArray) saved = g_byte_array_new(), again = g_byte_array_new();
    size_t offset = 0;

    set(f, PERIOD, 4, 70);
    set(f, CTRL, 4, 1);
    warp_us(f, 100);
    device_save(&f->dev->dev, saved);
    device_reset(&f->dev->dev);
    map_bar(f);
    assert_int_equal(get(f, PERIOD, 4), 50);
    assert_int_equal(get(f, CTRL, 4), 0);
    warp_us(f, 130);
    assert_true(device_load(&f->dev->dev, saved->data, saved->len, &offset, NULL));
    device_save(&f->dev->dev, again);
    assert_int_equal(again->len, saved->len);
    assert_memory_equal(again->data, saved->data, saved->len);
    warp_us(f, 139);
    assert_int_equal(get(f, COUNT, 4), 1);
    warp_us(f, 140);
    assert_int_equal(get(f, COUNT, 4), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_counts),
        TEST(test_intx_and_msi),
        TEST(test_record),
        TEST(test_state_and_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
