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

#include "model-bench.h"

#define ACCESSES 20000
#define MS       1000000

extern const PciModel edu_model, i6300esb_model, pci_testdev_model, pci_serial_model, e1000_model, virtio_rng_pci_model,
    virtio_net_pci_model, vga_model, ich9_ahci_model, lsi53c895a_model;

static void storm_access(Bench *b, uint64_t *seed, unsigned *accesses)
{
    const PciBar *bar = &b->dev->bars[bench_chance(seed) % PCI_BAR_COUNT];
    unsigned size = 1u << bench_chance(seed) % 4;
    uint64_t offset, val = bench_value(seed);
    AddressSpace *as;

    if (!bar->space || bar->address == PCI_BAR_UNMAPPED) {
        return;
    }
    as = bar->kind == PCI_BAR_IO ? b->m->io : b->m->memory;
    offset = bench_chance(seed) % (bench_chance(seed) % 2 ? bar->size : MIN(bar->size, 64)) & ~(uint64_t)(size - 1);
    (*accesses)++;
    if (bench_chance(seed) % 3) {
        as_store(as, bar->address + offset, size, val, MEM_ATTRS_CPU);
    } else {
        as_load(as, bar->address + offset, size, &val, MEM_ATTRS_CPU);
    }
}

static void storm(Bench *b, uint64_t seed, unsigned *accesses)
{
    int64_t now = 0;

    bench_map(b);
    for (unsigned i = 0; i < ACCESSES; i++) {
        storm_access(b, &seed, accesses);
        if (i % 16 == 0) {
            loop_iterate(b->m->main_loop, false);
        }
        if (i % 64 == 0) {
            clock_warp(b->m->clocks, now += (int64_t)(bench_chance(&seed) % (200 * MS)));
            b->ram[bench_chance(&seed) % BENCH_RAM_SIZE] = (uint8_t)bench_chance(&seed);
        }
        if (i % 2048 == 0) {
            bench_map(b); /* the storm may have reset the function */
        }
    }
}

static void storm_model(const PciModel *model, const char *key, const char *value)
{
    const char *const pairs[] = {key, value, NULL};

    for (uint64_t seed = 1; seed <= 4; seed++) {
        unsigned accesses = 0;
        Bench b, other;

        bench_start(&b);
        bench_add(&b, model, pairs);
        storm(&b, seed, &accesses);
        assert_true(accesses > ACCESSES / 8);
        bench_start(&other);
        bench_add(&other, model, pairs);
        bench_move(&b, &other);
        bench_stop(&other);
        bench_stop(&b);
    }
}

#define STORM(name, model, key, value)                                                                       \
    static void name(void **state)                                                                           \
    {                                                                                                        \
        storm_model(&model, key, value);                                                                     \
    }
STORM(test_vga, vga_model, "vgamem_mb", "1")
STORM(test_ahci, ich9_ahci_model, "rombar", "off")
STORM(test_lsi, lsi53c895a_model, "rombar", "off")
STORM(test_i6300esb, i6300esb_model, "multifunction", "off")
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
        cmocka_unit_test(test_i6300esb), cmocka_unit_test(test_edu), cmocka_unit_test(test_vga),        cmocka_unit_test(test_testdev), cmocka_unit_test(test_serial),
        cmocka_unit_test(test_e1000),      cmocka_unit_test(test_rng),     cmocka_unit_test(test_net),
        cmocka_unit_test(test_net_packed), cmocka_unit_test(test_ahci),     cmocka_unit_test(test_lsi),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
