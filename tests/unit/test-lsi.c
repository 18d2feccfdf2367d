/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lsi53c895a under scripts that nobody would write: random instructions with a liking for those that do something, at disks
 * that answer.  It neither crashes nor keeps the loop, and its state saved, loaded elsewhere and saved again gives equal
 * bytes.  And commands that are away from the bus when it is saved end at the place they were loaded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <string.h>
#include <sys/mman.h>

#include "block/block.h"
#include "core/trace.h"
#include "hw/pci/pci.h"

#define RAM_SIZE 0x20000u
#define REGS     0xe0000000u
#define SCRIPTS  0xe1000000u
#define IO       0xc000u
#define DSP      0x2c
#define MS       1000000

extern const PciModel lsi53c895a_model;
extern const DeviceModel scsi_hd_model, scsi_cd_model;
static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef struct Bench {
    Machine *m;
    PciBus *bus;
    PciDevice *dev;
    Device *hd, *cd;
    uint8_t *ram;
    MemRegion *ram_region;
} Bench;

static void bus_set_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
}

static const PciBusOps bus_ops = {.set_intx = bus_set_intx};

static void add_drive(Bench *b, const char *text)
{
    struct json_object *opts = opts_parse("-drive", text, NULL, NULL);

    assert_non_null(block_open(b->m, opts, NULL));
    json_object_put(opts);
}

static void bench_map(Bench *b)
{
    pci_config_write(b->dev, PCI_BASE_ADDRESS_0, IO, 4);
    pci_config_write(b->dev, PCI_BASE_ADDRESS_0 + 4, REGS, 4);
    pci_config_write(b->dev, PCI_BASE_ADDRESS_0 + 8, SCRIPTS, 4);
    pci_config_write(b->dev, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static void bench_start(Bench *b)
{
    *b = (Bench){.m = machine_new(&bare_model, NULL)};
    clock_set_manual(b->m->clocks);
    loop_lock(b->m->main_loop);
    b->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    b->ram_region = mem_region_new_ram(b->m->topo, "ram", RAM_SIZE, b->ram, -1, 0, false);
    mem_region_add(b->m->system_memory, 0, b->ram_region);
    machine_set_kind_ops(b->m, MODEL_PCI, &pci_kind_ops);
    b->bus = pci_bus_new(b->m, "pci.0", &bus_ops, b, false, b->m->system_memory, b->m->system_io, b->m->memory);
    add_drive(b, "id=d0,file=null-co://,if=none,size=16M,read-zeroes=on");
    add_drive(b, "id=d1,file=null-co://,if=none,size=4M,read-zeroes=on,readonly=on");
    b->dev = pci_create(b->bus, PCI_DEVFN(2, 0), &lsi53c895a_model, "lsi0", NULL, NULL);
    b->hd = device_create(b->m, &scsi_hd_model.model, "hd", NULL, "drive", "d0", "scsi-id", "0", NULL);
    b->cd = device_create(b->m, &scsi_cd_model.model, "cd", NULL, "drive", "d1", "scsi-id", "1", NULL);
    assert_true(b->dev && b->hd && b->cd);
    bench_map(b);
}

static void bench_stop(Bench *b)
{
    device_destroy(&b->dev->dev); /* and the disks */
    pci_bus_free(b->bus);
    block_close_all(b->m);
    mem_region_del(b->m->system_memory, b->ram_region);
    mem_region_unref(b->ram_region);
    loop_unlock(b->m->main_loop);
    machine_free(b->m);
    munmap(b->ram, RAM_SIZE);
}

static void reg_store(Bench *b, unsigned reg, unsigned size, uint64_t val)
{
    as_store(b->m->memory, REGS + reg, size, val, MEM_ATTRS_CPU);
}

static uint64_t reg_load(Bench *b, unsigned reg, unsigned size)
{
    uint64_t val = 0;

    as_load(b->m->memory, REGS + reg, size, &val, MEM_ATTRS_CPU);
    return val;
}

/* --- random scripts --- */

static uint32_t chance(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

static uint32_t likely_address(uint64_t *seed)
{
    switch (chance(seed) % 5) {
    case 0:
        return REGS + chance(seed) % 0x100;
    case 1:
        return SCRIPTS + chance(seed) % 0x2000;
    case 2:
        return chance(seed);
    default:
        return chance(seed) % RAM_SIZE & ~3u;
    }
}

static uint32_t likely_instruction(uint64_t *seed)
{
    static const uint32_t shapes[] = {0x41000000, 0x41010000, 0x0e000001, 0x0e000003, 0x0a000006, 0x0a00000a, 0x0a000010,
                                      0x0f000001, 0x0b000001, 0x09000200, 0x08000200, 0x19000000, 0x48000000, 0x50000000,
                                      0x60000040, 0x58000008, 0x80080000, 0x830b0000, 0x80880000, 0xc0000004, 0xc0001000,
                                      0xe1340004, 0xe0340004, 0x7e340100, 0x98180000};
    uint32_t shape = shapes[chance(seed) % G_N_ELEMENTS(shapes)];

    switch (chance(seed) % 8) {
    case 0:
        return (uint32_t)chance(seed) << 1 ^ chance(seed);
    case 1:
        return shape ^ 1u << chance(seed) % 32;
    default:
        return shape;
    }
}

/* CDBs and messages where moves find them. */
static void plant(Bench *b, uint64_t *seed)
{
    static const uint8_t opcodes[] = {0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x25, 0x28, 0x2a, 0x2f, 0x35, 0x41,
                                      0x42, 0x43, 0x46, 0x4a, 0x51, 0x52, 0x55, 0x5a, 0x88, 0x8a, 0x93, 0x9e, 0xa0, 0xa8,
                                      0xad, 0xbe};
    static const uint8_t messages[] = {0x80, 0xc0, 0xc0, 0x20, 0x01, 0x06, 0x07, 0x0c, 0x0d, 0x0e, 0x03};

    for (uint32_t at = 0; at < RAM_SIZE; at += 8) {
        uint32_t insn = likely_instruction(seed), arg = likely_address(seed);

        memcpy(b->ram + at, &insn, 4);
        memcpy(b->ram + at + 4, &arg, 4);
        if (chance(seed) % 3 == 0) {
            b->ram[at] = chance(seed) % 2 ? opcodes[chance(seed) % sizeof(opcodes)]
                                          : messages[chance(seed) % sizeof(messages)];
            b->ram[at + 1] = (uint8_t)(chance(seed) % 4 ? 0 : chance(seed));
            b->ram[at + 4] = (uint8_t)(chance(seed) % 16);
        }
    }
}

static void check_state(Bench *b)
{
    g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
    GError *error = NULL;
    size_t offset = 0;
    Bench other;

    device_save(&b->dev->dev, first);
    device_save(b->hd, first);
    device_save(b->cd, first);
    bench_start(&other);
    memcpy(other.ram, b->ram, RAM_SIZE);
    if (!device_load(&other.dev->dev, first->data, first->len, &offset, &error) ||
        !device_load(other.hd, first->data, first->len, &offset, &error) ||
        !device_load(other.cd, first->data, first->len, &offset, &error)) {
        fail_msg("%s", error->message);
    }
    device_save(&other.dev->dev, second);
    device_save(other.hd, second);
    device_save(other.cd, second);
    assert_int_equal(second->len, first->len);
    assert_memory_equal(second->data, first->data, first->len);
    for (int i = 0; i < 20; i++) {
        loop_iterate(other.m->main_loop, false); /* it can go on with what it got */
    }
    bench_stop(&other);
}

static void scripts_storm(Bench *b, uint64_t seed)
{
    int64_t now = 0;

    for (unsigned round = 0; round < 150; round++) {
        if (round % 10 == 0) {
            plant(b, &seed);
            bench_map(b);
        }
        reg_load(b, 0x0c, 4);
        reg_load(b, 0x42, 2);
        reg_store(b, 0x56, 1, chance(&seed)); /* CCNTL0, CCNTL1 */
        reg_store(b, 0x57, 1, chance(&seed) % 4 ? 0 : chance(&seed));
        reg_store(b, 0xc0, 4, likely_address(&seed));
        reg_store(b, 0x10, 4, likely_address(&seed));
        if (chance(&seed) % 4 == 0) {
            reg_store(b, chance(&seed) % 0x100, 1, chance(&seed));
        }
        reg_store(b, DSP, 4, likely_address(&seed) & ~7u);
        for (unsigned i = 0; i < 4; i++) {
            loop_iterate(b->m->main_loop, false);
        }
        clock_warp(b->m->clocks, now += (int64_t)(chance(&seed) % (200 * MS)));
        if (round % 50 == 49) {
            check_state(b);
        }
    }
}

static void test_storm(void **state)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        Bench b;

        bench_start(&b);
        scripts_storm(&b, seed);
        bench_stop(&b);
    }
}

/* --- a command that is at its disk --- */

static void put(Bench *b, uint32_t at, const uint32_t *words, size_t len)
{
    memcpy(b->ram + at, words, len);
}

static void test_saved_in_flight(void **state)
{
    static const uint8_t message[] = {0xc0, 0x20, 5}, cdb[] = {0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0};
    static const uint8_t tur_message[] = {0x80};
    const uint32_t unit_attention[] = {0x41000000, 0, 0x0e000001, 0x2100, 0x0a000006, 0x2200,
                                       0x0b000001, 0x2300, 0x0f000001, 0x2400, 0x98080000, 1};
    const uint32_t begin[] = {0x41000000, 0, 0x0e000003, 0x2000, 0x0a00000a, 0x2010, 0x0f000002, 0x2400, 0x50000000, 0x1000,
                              0x0f000003, 0x2400, 0x60000040, 0, 0x09001000, 0x8000, 0x0b000001, 0x2300, 0x0f000001, 0x2404,
                              0x98080000, 0x600d};
    g_autoptr(GByteArray) saved = g_byte_array_new();
    GError *error = NULL;
    size_t offset = 0;
    Bench a, b;

    bench_start(&a);
    memcpy(a.ram + 0x2000, message, sizeof(message));
    memcpy(a.ram + 0x2010, cdb, sizeof(cdb));
    memcpy(a.ram + 0x2100, tur_message, sizeof(tur_message));
    memset(a.ram + 0x8000, 0xee, 0x1000);
    put(&a, 0x1000, unit_attention, sizeof(unit_attention));
    reg_store(&a, DSP, 4, 0x1000);
    assert_int_equal(reg_load(&a, 0x0c, 1), 0x84);
    put(&a, 0x1000, begin, sizeof(begin));
    reg_store(&a, DSP, 4, 0x1000);
    assert_int_equal(reg_load(&a, 0x15, 1), 2); /* at WAIT RESELECT, the read under way */
    device_save(&a.dev->dev, saved);
    bench_start(&b);
    memcpy(b.ram, a.ram, RAM_SIZE);
    bench_stop(&a);
    if (!device_load(&b.dev->dev, saved->data, saved->len, &offset, &error)) {
        fail_msg("%s", error->message);
    }
    for (int i = 0; i < 1000 && !(reg_load(&b, 0x14, 1) & 3); i++) {
        loop_iterate(b.m->main_loop, false);
    }
    assert_int_equal(reg_load(&b, 0x0c, 1), 0x84);
    assert_int_equal(reg_load(&b, 0x30, 4), 0x600d);
    assert_int_equal(b.ram[0x2300], 0);
    assert_int_equal(b.ram[0x8000] | b.ram[0x8fff], 0);
    /* Damaged, it is refused, whatever byte it is, or loads to something that runs. */
    for (size_t i = 0; i < saved->len; i += 7) {
        saved->data[i] ^= 0x5a;
        offset = 0;
        device_load(&b.dev->dev, saved->data, saved->len, &offset, NULL);
        saved->data[i] ^= 0x5a;
    }
    bench_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_storm), cmocka_unit_test(test_saved_in_flight)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
