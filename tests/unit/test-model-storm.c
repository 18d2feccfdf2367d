/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every small model under a storm of register accesses of all sizes, at all places, with values that like to
 * be addresses of RAM or of the registers themselves: it neither crashes nor hangs, and its state saved,
 * loaded into another instance and saved again gives equal bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>

#include "core/trace.h"
#include "hw/pci/pci.h"

#define RAM_SIZE 0x10000u
#define MEM_BASE 0xe0000000u
#define BAR_STEP 0x01000000u
#define IO_BASE  0xc000u
#define IO_STEP  0x100u
#define ACCESSES 20000
#define MS       1000000

extern const PciModel edu_model, pci_testdev_model, pci_serial_model, e1000_model, virtio_rng_pci_model,
    virtio_net_pci_model, vga_model;
static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef struct Bench {
    Machine *m;
    PciBus *bus;
    PciDevice *dev;
    uint8_t *ram;
    MemRegion *ram_region;
    unsigned accesses;
} Bench;

static void bus_set_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
}

static void bus_send_msi(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg)
{
}

static const PciBusOps bus_ops = {.set_intx = bus_set_intx, .send_msi = bus_send_msi};

static void bench_start(Bench *b, const PciModel *model, const char *key, const char *value)
{
    b->accesses = 0;
    b->m = machine_new(&bare_model, NULL);
    clock_set_manual(b->m->clocks);
    loop_lock(b->m->main_loop);
    b->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    b->ram_region = mem_region_new_ram(b->m->topo, "ram", RAM_SIZE, b->ram, -1, 0, false);
    mem_region_add(b->m->system_memory, 0, b->ram_region);
    machine_set_kind_ops(b->m, MODEL_PCI, &pci_kind_ops);
    b->bus =
        pci_bus_new(b->m, "pci.0", &bus_ops, b, false, b->m->system_memory, b->m->system_io, b->m->memory);
    b->dev = pci_create(b->bus, PCI_DEVFN(2, 0), model, "dev0", NULL, key, value, NULL);
    assert_non_null(b->dev);
}

static void bench_map(Bench *b)
{
    for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
        uint32_t at = b->dev->bars[n].kind == PCI_BAR_IO ? IO_BASE + n * IO_STEP : MEM_BASE + n * BAR_STEP;

        if (b->dev->bars[n].region) {
            pci_config_write(b->dev, (uint16_t)(PCI_BASE_ADDRESS_0 + 4 * n), at, 4);
        }
    }
    pci_config_write(b->dev, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static void bench_stop(Bench *b)
{
    device_destroy(&b->dev->dev);
    pci_bus_free(b->bus);
    mem_region_del(b->m->system_memory, b->ram_region);
    mem_region_unref(b->ram_region);
    loop_unlock(b->m->main_loop);
    machine_free(b->m);
    munmap(b->ram, RAM_SIZE);
}

static uint32_t chance(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

/* Small numbers, addresses in RAM, addresses of registers, bit patterns. */
static uint64_t likely_value(uint64_t *seed)
{
    uint64_t any = (uint64_t)chance(seed) << 32 | chance(seed);

    switch (chance(seed) % 6) {
    case 0:
        return any % 16;
    case 1:
        return any % RAM_SIZE & ~15u;
    case 2:
        return MEM_BASE + any % 0x6000;
    case 3:
        return UINT64_C(1) << (any % 64);
    case 4:
        return UINT64_MAX;
    default:
        return any;
    }
}

static void storm_access(Bench *b, uint64_t *seed)
{
    const PciBar *bar = &b->dev->bars[chance(seed) % PCI_BAR_COUNT];
    unsigned size = 1u << chance(seed) % 4;
    uint64_t offset, val = likely_value(seed);
    AddressSpace *as;

    if (!bar->space || bar->address == PCI_BAR_UNMAPPED) {
        return;
    }
    as = bar->kind == PCI_BAR_IO ? b->m->io : b->m->memory;
    offset = chance(seed) % (chance(seed) % 2 ? bar->size : MIN(bar->size, 64)) & ~(uint64_t)(size - 1);
    b->accesses++;
    if (chance(seed) % 3) {
        as_store(as, bar->address + offset, size, val, MEM_ATTRS_CPU);
    } else {
        as_load(as, bar->address + offset, size, &val, MEM_ATTRS_CPU);
    }
}

static void storm(Bench *b, uint64_t seed)
{
    int64_t now = 0;

    bench_map(b);
    for (unsigned i = 0; i < ACCESSES; i++) {
        storm_access(b, &seed);
        if (i % 16 == 0) {
            loop_iterate(b->m->main_loop, false);
        }
        if (i % 64 == 0) {
            clock_warp(b->m->clocks, now += (int64_t)(chance(&seed) % (200 * MS)));
            b->ram[chance(&seed) % RAM_SIZE] = (uint8_t)chance(&seed);
        }
        if (i % 2048 == 0) {
            bench_map(b); /* the storm may have reset the function */
        }
    }
}

static void check_state(Bench *b, const PciModel *model, const char *key, const char *value)
{
    g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
    GError *error = NULL;
    size_t offset = 0;
    Bench other;

    device_save(&b->dev->dev, first);
    bench_start(&other, model, key, value);
    if (!device_load(&other.dev->dev, first->data, first->len, &offset, &error)) {
        fail_msg("%s: %s", model->dev.name, error->message);
    }
    assert_int_equal(offset, first->len);
    device_save(&other.dev->dev, second);
    assert_int_equal(second->len, first->len);
    assert_memory_equal(second->data, first->data, first->len);
    bench_stop(&other);
}

static void storm_model(const PciModel *model, const char *key, const char *value)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        Bench b;

        bench_start(&b, model, key, value);
        storm(&b, seed);
        assert_true(b.accesses > ACCESSES / 8);
        check_state(&b, model, key, value);
        bench_stop(&b);
    }
}

#define STORM(name, model, key, value)                                                                       \
    static void name(void **state)                                                                           \
    {                                                                                                        \
        storm_model(&model, key, value);                                                                     \
    }
STORM(test_vga, vga_model, "vgamem_mb", "1")
STORM(test_edu, edu_model, "dma_mask", "0xffffffff")
STORM(test_testdev, pci_testdev_model, "membar", "1M")
STORM(test_serial, pci_serial_model, "prog_if", "2")
STORM(test_e1000, e1000_model, "mac", "52:54:00:12:34:56")
STORM(test_rng, virtio_rng_pci_model, "max-bytes", "4096")
STORM(test_net, virtio_net_pci_model, "packed", "off")
STORM(test_net_packed, virtio_net_pci_model, "packed", "on")

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edu), cmocka_unit_test(test_vga),        cmocka_unit_test(test_testdev), cmocka_unit_test(test_serial),
        cmocka_unit_test(test_e1000),      cmocka_unit_test(test_rng),     cmocka_unit_test(test_net),
        cmocka_unit_test(test_net_packed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
