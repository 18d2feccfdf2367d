/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ich9-ahci under command lists that nobody would write: FISes, packets and memory descriptors half noise, commands, queued
 * and not, issued together, ports stopped and reset below them, at disks that answer.  It neither crashes nor leaks, and its
 * state saved, loaded elsewhere and saved again gives equal bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <string.h>

#include "block/block.h"
#include "model-bench.h"

#define ABAR     (BENCH_MEM_BASE + 5 * BENCH_BAR_STEP)
#define LIST     0x0000u
#define FISES    0x0400u
#define TABLES   0x0800u
#define TABLE    0x200u
#define TABLE_COUNT 16
#define ROUNDS   1500

extern const PciModel ich9_ahci_model;
extern const DeviceModel ide_hd_model, ide_cd_model;

static void add_drive(Bench *b, const char *text)
{
    struct json_object *opts = opts_parse("-drive", text, NULL, NULL);

    assert_non_null(block_open(b->m, opts, NULL));
    json_object_put(opts);
}

static void machine_with_drives(Bench *b)
{
    static const char *const none[] = {NULL};

    bench_start(b);
    add_drive(b, "id=d0,file=null-co://,if=none,size=16M,read-zeroes=on");
    add_drive(b, "id=d1,file=null-co://,if=none,size=4M,read-zeroes=on,readonly=on");
    bench_add(b, &ich9_ahci_model, none);
    assert_non_null(device_create(b->m, &ide_hd_model.model, "hd", NULL, "drive", "d0", "bus", "dev0.0", NULL));
    assert_non_null(device_create(b->m, &ide_cd_model.model, "cd", NULL, "drive", "d1", "bus", "dev0.1", NULL));
    bench_map(b);
}

static void machine_end(Bench *b)
{
    block_close_all(b->m);
    bench_stop(b);
}

static void reg_store(Bench *b, unsigned reg, uint32_t val)
{
    as_store(b->m->memory, ABAR + reg, 4, val, MEM_ATTRS_CPU);
}

static uint8_t likely_command(uint64_t *seed, unsigned port)
{
    static const uint8_t hd[] = {0x06, 0x20, 0x25, 0x2f, 0x35, 0x3d, 0x42, 0x47, 0x60, 0x60, 0x61, 0x61, 0xc8, 0xca, 0xe7,
                                 0xea, 0xec, 0xef, 0xe5, 0xc6};
    static const uint8_t cd[] = {0xa0, 0xa0, 0xa0, 0xa1, 0xec, 0xef, 0x08};

    if (bench_chance(seed) % 16 == 0) {
        return (uint8_t)bench_chance(seed);
    }
    return port ? cd[bench_chance(seed) % sizeof(cd)] : hd[bench_chance(seed) % sizeof(hd)];
}

static uint8_t likely_packet(uint64_t *seed)
{
    static const uint8_t opcodes[] = {0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x43, 0x46, 0x4a, 0x51, 0x52, 0x55, 0x5a, 0xa8,
                                      0xad, 0xbd, 0xbe};

    return opcodes[bench_chance(seed) % sizeof(opcodes)];
}

/* A header and a table for the slot. */
static void plant(Bench *b, uint64_t *seed, unsigned port, unsigned slot)
{
    uint8_t *header = b->ram + LIST + slot * 32, *table = b->ram + TABLES + slot % TABLE_COUNT * TABLE;

    for (unsigned i = 0; i < TABLE; i++) {
        table[i] = (uint8_t)(bench_chance(seed) % 3 ? 0 : bench_chance(seed));
    }
    table[0] = bench_chance(seed) % 16 ? 0x27 : table[0];
    table[1] = bench_chance(seed) % 16 ? 0x80 : table[1];
    table[2] = likely_command(seed, port);
    table[12] = bench_chance(seed) % 4 ? (uint8_t)(slot << 3) : table[12];
    table[0x40] = likely_packet(seed);
    for (unsigned i = 0; i < 8; i++) {
        uint8_t *prd = table + 0x80 + i * 16;

        pci_set64(prd, bench_value(seed));
        pci_set32(prd + 12, bench_chance(seed) % 2 ? bench_chance(seed) % 0x4000 : bench_chance(seed));
    }
    pci_set32(header, 5u | bench_chance(seed) % 9 << 16 | (bench_chance(seed) & 0x60));
    pci_set64(header + 8, bench_chance(seed) % 32 ? TABLES + slot % TABLE_COUNT * TABLE : bench_value(seed));
}

static void port_restart(Bench *b, unsigned port)
{
    unsigned at = 0x100 + 0x80 * port;

    reg_store(b, at + 0x18, 0x16);
    reg_store(b, at, LIST);
    reg_store(b, at + 4, 0);
    reg_store(b, at + 8, FISES);
    reg_store(b, at + 12, 0);
    reg_store(b, at + 0x14, UINT32_MAX);
    reg_store(b, at + 0x10, UINT32_MAX);
    reg_store(b, at + 0x18, 0x17);
}

static void storm(Bench *b, uint64_t *seed)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned port = bench_chance(seed) % 2, at = 0x100 + 0x80 * port;
        uint32_t slots = bench_chance(seed) & bench_chance(seed);

        if (round % 4 == 0) {
            bench_map(b);
            reg_store(b, 0x04, 0x80000002u);
            port_restart(b, port);
        }
        for (unsigned slot = 0; slot < 32; slot++) {
            if (slots >> slot & 1) {
                plant(b, seed, port, slot);
            }
        }
        reg_store(b, at + 0x34, bench_chance(seed) % 2 ? slots : 0);
        reg_store(b, at + 0x38, slots);
        if (bench_chance(seed) % 3) {
            loop_iterate(b->m->main_loop, false);
        }
        if (bench_chance(seed) % 8 == 0) {
            reg_store(b, at + bench_chance(seed) % 0x80 / 4 * 4, (uint32_t)bench_value(seed));
        }
    }
}

static void test_storm(void **state)
{
    for (uint64_t start = 1; start <= 6; start++) {
        uint64_t seed = start;
        Bench b, other;

        machine_with_drives(&b);
        storm(&b, &seed);
        assert_true(b.interrupts > 0);
        machine_with_drives(&other);
        bench_move(&b, &other);
        storm(&other, &seed); /* it can go on with what it got */
        machine_end(&other);
        machine_end(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_storm)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
