/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine of no kind in particular for tests that storm models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/mman.h>

#include "core/trace.h"
#include "model-bench.h"

static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

static void bus_set_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
    ((Bench *)bus->opaque)->interrupts += level ? 1 : 0;
}

static void bus_send_msi(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg)
{
    ((Bench *)bus->opaque)->interrupts++;
}

static const PciBusOps bus_ops = {.set_intx = bus_set_intx, .send_msi = bus_send_msi};

void bench_start(Bench *b)
{
    *b = (Bench){.m = machine_new(&bare_model, NULL)};
    clock_set_manual(b->m->clocks);
    loop_lock(b->m->main_loop);
    b->ram = mmap(NULL, BENCH_RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    b->ram_region = mem_region_new_ram(b->m->topo, "ram", BENCH_RAM_SIZE, b->ram, -1, 0, false);
    mem_region_add(b->m->system_memory, 0, b->ram_region);
    machine_set_kind_ops(b->m, MODEL_PCI, &pci_kind_ops);
    b->bus =
        pci_bus_new(b->m, "pci.0", &bus_ops, b, false, b->m->system_memory, b->m->system_io, b->m->memory);
}

void bench_add(Bench *b, const PciModel *model, const char *const *pairs)
{
    bool two = pairs[0] && pairs[2];

    b->dev = pci_create(b->bus, PCI_DEVFN(2, 0), model, "dev0", NULL, pairs[0], pairs[0] ? pairs[1] : NULL,
                        two ? pairs[2] : NULL, two ? pairs[3] : NULL, NULL);
    assert_non_null(b->dev);
}

void bench_map(Bench *b)
{
    for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
        bool io = b->dev->bars[n].kind == PCI_BAR_IO;

        if (b->dev->bars[n].region) {
            pci_config_write(b->dev, (uint16_t)(PCI_BASE_ADDRESS_0 + 4 * n),
                             io ? BENCH_IO_BASE + n * BENCH_IO_STEP : BENCH_MEM_BASE + n * BENCH_BAR_STEP, 4);
        }
    }
    pci_config_write(b->dev, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

void bench_stop(Bench *b)
{
    device_destroy(&b->dev->dev);
    pci_bus_free(b->bus);
    mem_region_del(b->m->system_memory, b->ram_region);
    mem_region_unref(b->ram_region);
    loop_unlock(b->m->main_loop);
    machine_free(b->m);
    munmap(b->ram, BENCH_RAM_SIZE);
}

uint32_t bench_chance(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

uint64_t bench_value(uint64_t *seed)
{
    uint64_t any = (uint64_t)bench_chance(seed) << 32 | bench_chance(seed);

    switch (bench_chance(seed) % 6) {
    case 0:
        return any % 16;
    case 1:
        return any % BENCH_RAM_SIZE & ~15u;
    case 2:
        return BENCH_MEM_BASE + any % 0x6000;
    case 3:
        return UINT64_C(1) << (any % 64);
    case 4:
        return UINT64_MAX;
    default:
        return any;
    }
}

void bench_move(Bench *a, Bench *b)
{
    g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
    GError *error = NULL;
    size_t offset = 0;

    device_save(&a->dev->dev, first);
    if (!device_load(&b->dev->dev, first->data, first->len, &offset, &error)) {
        fail_msg("%s: %s", a->dev->dev.obj.model->name, error->message);
    }
    assert_int_equal(offset, first->len);
    device_save(&b->dev->dev, second);
    assert_int_equal(second->len, first->len);
    assert_memory_equal(second->data, first->data, first->len);
}
