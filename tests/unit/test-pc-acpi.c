/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ACPI tables of the PC: checksums and pointers, and, where iasl is
 * installed, a disassembly and recompilation of the DSDT without a complaint.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "../../hw/i386/acpi-build.h"

#define BASE 0x7ffe0000ull

static const AcpiConfig config = {
    .chipset = ACPI_CHIPSET_Q35,
    .base = BASE,
    .topology = {.cpus = 4, .max_cpus = 4, .sockets = 1, .dies = 1, .cores = 4, .threads = 1},
    .hpet = true,
    .com_ports = 3,
    .pci32_first = 0xc0000000,
    .pci32_last = 0xfebfffff,
    .pci64_first = 0x800000000,
    .pci64_last = 0xfffffffff,
    .viot = 0x28,
    .dmar = {.base = 0xfed90000, .remap = true, .width = 40, .ioapic = 0xff00},
};

/* Slots of the root bus, of a bridge on it, and of one behind that bridge and another whose own slots have none. */
static const AcpiPciHotplug hotplug = {
    .port = ACPI_PCIHP_PIIX4_PORT,
    .ports = true,
    .count = 3,
    .buses = {{.slots = 0xffffffdc}, {.depth = 1, .path = {0x28}, .slots = 1}, {.depth = 3, .path = {0x28, 0x31, 0xff}, .slots = 0x80000000}},
};

static uint8_t sum(const uint8_t *p, size_t len)
{
    uint8_t s = 0;
    while (len--) {
        s += *p++;
    }
    return s;
}

static uint64_t load(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, p, bytes);
    return v;
}

/* The table at a guest address, checked. */
static const uint8_t *table_at(const GByteArray *b, uint64_t addr, size_t *len)
{
    assert_in_range(addr, BASE, BASE + b->len - 36);
    const uint8_t *p = b->data + (addr - BASE);
    *len = load(p + 4, 4);
    assert_in_range(*len, 36, b->len - (addr - BASE));
    assert_int_equal(sum(p, *len), 0);
    return p;
}

static const uint8_t *find_table(const GByteArray *b, const uint8_t *rsdp, const char *signature, size_t *len)
{
    size_t xsdt_len;
    const uint8_t *xsdt = table_at(b, load(rsdp + 24, 8), &xsdt_len);
    assert_memory_equal(xsdt, "XSDT", 4);
    for (size_t at = 36; at < xsdt_len; at += 8) {
        const uint8_t *p = table_at(b, load(xsdt + at, 8), len);
        if (!memcmp(p, signature, 4)) {
            return p;
        }
    }
    return NULL;
}

static void test_pointers(void **state)
{
    uint8_t rsdp[ACPI_RSDP_SIZE];
    GByteArray *b = acpi_build_tables(&config, rsdp);
    size_t len;
    assert_memory_equal(rsdp, "RSD PTR ", 8);
    assert_int_equal(sum(rsdp, 20), 0);
    assert_int_equal(sum(rsdp, sizeof(rsdp)), 0);
    const uint8_t *fadt = find_table(b, rsdp, "FACP", &len);
    assert_non_null(fadt);
    assert_int_equal(len, 276);
    assert_memory_equal(table_at(b, load(fadt + 40, 4), &len), "DSDT", 4);
    assert_int_equal(load(fadt + 40, 4), load(fadt + 140, 8));
    assert_memory_equal(b->data + (load(fadt + 36, 4) - BASE), "FACS", 4);
    assert_int_equal(load(fadt + 36, 4) % 64, 0);
    assert_non_null(find_table(b, rsdp, "MCFG", &len));
    assert_non_null(find_table(b, rsdp, "HPET", &len));
    g_byte_array_unref(b);
}

static void test_madt_lists_every_cpu(void **state)
{
    uint8_t rsdp[ACPI_RSDP_SIZE];
    GByteArray *b = acpi_build_tables(&config, rsdp);
    size_t len;
    unsigned cpus = 0, overrides = 0;
    const uint8_t *madt = find_table(b, rsdp, "APIC", &len);
    assert_non_null(madt);
    for (size_t at = 44; at < len; at += madt[at + 1]) {
        assert_in_range(madt[at + 1], 2, len - at);
        cpus += madt[at] == 0;
        overrides += madt[at] == 2;
    }
    assert_int_equal(cpus, config.topology.cpus);
    assert_int_equal(overrides, 2);
    g_byte_array_unref(b);
}

static void test_no_hpet(void **state)
{
    uint8_t rsdp[ACPI_RSDP_SIZE];
    AcpiConfig c = config;
    size_t len;
    c.hpet = false;
    GByteArray *b = acpi_build_tables(&c, rsdp);
    assert_null(find_table(b, rsdp, "HPET", &len));
    g_byte_array_unref(b);
}

static void test_dmar(void **state)
{
    static const uint8_t unit[24] = {0, 0, 24, 0, 1, 0, 0, 0, 0, 0, 0xd9, 0xfe, 0, 0, 0, 0, /* DRHD: all of PCI */
                                     3, 8, 0, 0, 0, 0xff, 0, 0};                             /* scope: the IO-APIC */
    uint8_t rsdp[ACPI_RSDP_SIZE];
    AcpiConfig c = config;
    size_t len;
    GByteArray *b = acpi_build_tables(&c, rsdp);
    const uint8_t *dmar = find_table(b, rsdp, "DMAR", &len);
    assert_int_equal(len, 48 + sizeof(unit));
    assert_int_equal(dmar[36], 39);
    assert_int_equal(dmar[37], 1);
    assert_memory_equal(dmar + 48, unit, sizeof(unit));
    g_byte_array_unref(b);
    c.dmar = (AcpiDmar){0};
    b = acpi_build_tables(&c, rsdp);
    assert_null(find_table(b, rsdp, "DMAR", &len));
    g_byte_array_unref(b);
}

static void test_viot(void **state)
{
    static const uint8_t body[52] = {2, 0, 48, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                     1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 72, 0, 0, 0, 0, 0, 0, 0,
                                     3, 0, 16, 0, 0, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    uint8_t rsdp[ACPI_RSDP_SIZE];
    AcpiConfig c = config;
    size_t len;
    GByteArray *b = acpi_build_tables(&c, rsdp);
    const uint8_t *viot = find_table(b, rsdp, "VIOT", &len);
    assert_int_equal(len, 36 + sizeof(body));
    assert_memory_equal(viot + 36, body, sizeof(body));
    g_byte_array_unref(b);
    c.viot = 0;
    b = acpi_build_tables(&c, rsdp);
    assert_null(find_table(b, rsdp, "VIOT", &len));
    g_byte_array_unref(b);
}

static void run_iasl(const char *dir, const char *arguments, const char *clean)
{
    g_autofree char *command = g_strdup_printf("sh -c 'cd %s && iasl %s 2>&1'", dir, arguments);
    g_autofree char *out = NULL;
    int status = -1;
    assert_true(g_spawn_command_line_sync(command, &out, NULL, &status, NULL));
    if (status || !strstr(out, clean) || strstr(out, "Invalid") || strstr(out, "Error:")) {
        fail_msg("%s: %s", command, out);
    }
}

static void check_by_iasl(const AcpiConfig *c)
{
    static const char *const signatures[] = {"FACP", "APIC", "MCFG", "HPET", "DMAR"};
    uint8_t rsdp[ACPI_RSDP_SIZE];
    GByteArray *b = acpi_build_tables(c, rsdp);
    g_autofree char *dir = g_dir_make_tmp("test-pc-acpi-XXXXXX", NULL);
    size_t len;
    const uint8_t *fadt = find_table(b, rsdp, "FACP", &len);
    const uint8_t *dsdt = table_at(b, load(fadt + 40, 4), &len);
    g_autofree char *path = g_build_filename(dir, "dsdt.aml", NULL);
    assert_true(g_file_set_contents(path, (const char *)dsdt, (gssize)len, NULL));
    run_iasl(dir, "-d dsdt.aml", "ASL Output:");
    run_iasl(dir, "-p again dsdt.dsl", "0 Errors, 0 Warnings");
    for (unsigned i = 0; i < G_N_ELEMENTS(signatures); i++) {
        g_autofree char *name = g_strdup_printf("%s/%s.aml", dir, signatures[i]);
        g_autofree char *arguments = g_strdup_printf("-d %s.aml", signatures[i]);
        const uint8_t *p = find_table(b, rsdp, signatures[i], &len);
        if (!p) {
            assert_int_equal(c->chipset, ACPI_CHIPSET_I440FX); /* no ECAM, no MCFG */
            assert_true(!strcmp(signatures[i], "MCFG"));
            continue;
        }
        assert_true(g_file_set_contents(name, (const char *)p, (gssize)len, NULL));
        run_iasl(dir, arguments, "decoded");
    }
    g_byte_array_unref(b);
    GDir *files = g_dir_open(dir, 0, NULL);
    for (const char *file; (file = g_dir_read_name(files));) {
        g_autofree char *full = g_build_filename(dir, file, NULL);
        assert_int_equal(g_unlink(full), 0);
    }
    g_dir_close(files);
    assert_int_equal(g_rmdir(dir), 0);
}

static void test_iasl(void **state)
{
    g_autofree char *iasl = g_find_program_in_path("iasl");
    AcpiConfig c = config;
    if (!iasl) {
        skip();
    }
    check_by_iasl(&c);
    c.chipset = ACPI_CHIPSET_I440FX;
    check_by_iasl(&c);
    c.hotplug = &hotplug;
    check_by_iasl(&c);
    c.chipset = ACPI_CHIPSET_Q35;
    check_by_iasl(&c);
}

/* As many buses as can have it fit where the tables of a kernel without firmware go. */
static void test_largest(void **state)
{
    AcpiPciHotplug all = hotplug;
    AcpiConfig c = config;
    uint8_t rsdp[ACPI_RSDP_SIZE];
    all.count = ACPI_PCIHP_BUSES;
    for (unsigned i = 0; i < all.count; i++) {
        all.buses[i] = (AcpiPciHotplugBus){.depth = ACPI_PCIHP_DEPTH, .path = {(uint8_t)i}, .slots = UINT32_MAX};
    }
    c.hotplug = &all;
    c.topology = (CpuTopology){.cpus = 255, .max_cpus = 255, .sockets = 255, .dies = 1, .cores = 1, .threads = 1};
    GByteArray *b = acpi_build_tables(&c, rsdp);
    assert_in_range(b->len, 0x8000, 0x18000); /* of 20000h, which are for nodes and their distances too */
    g_byte_array_unref(b);
}

/* Firmware that follows the loader's commands gets what is built for that address. */
static void test_loader_commands(void **state)
{
    uint8_t rsdp[ACPI_RSDP_SIZE], want_rsdp[ACPI_RSDP_SIZE];
    AcpiConfig c = config;
    GByteArray *want = acpi_build_tables(&c, want_rsdp);
    c.base = 0;
    GByteArray *b = acpi_build_tables(&c, rsdp);
    GByteArray *loader = acpi_build_loader(b, rsdp, "tables", "rsdp");
    assert_int_equal(loader->len % 128, 0);
    for (const uint8_t *p = loader->data; p < loader->data + loader->len; p += 128) {
        bool in_tables = !strcmp((const char *)p + 4, "tables");
        uint8_t *file = in_tables ? b->data : rsdp;
        size_t limit = in_tables ? b->len : sizeof(rsdp);
        if (load(p, 4) == 2) {
            uint64_t offset = load(p + 116, 4), size = p[120];
            assert_in_range(offset + size, 1, limit);
            assert_string_equal((const char *)p + 60, "tables");
            uint64_t pointer = load(file + offset, (unsigned)size) + BASE;
            memcpy(file + offset, &pointer, size);
        } else if (load(p, 4) == 3) {
            uint64_t offset = load(p + 60, 4), first = load(p + 64, 4), len = load(p + 68, 4);
            assert_in_range(first + len, 1, limit);
            file[offset] = (uint8_t)-sum(file + first, len); /* as OVMF; SeaBIOS subtracts from what is there */
        } else {
            assert_int_equal(load(p, 4), 1);
        }
    }
    assert_memory_equal(b->data, want->data, want->len);
    assert_memory_equal(rsdp, want_rsdp, sizeof(rsdp));
    g_byte_array_unref(loader);
    g_byte_array_unref(b);
    g_byte_array_unref(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pointers),
        cmocka_unit_test(test_madt_lists_every_cpu),
        cmocka_unit_test(test_no_hpet),
        cmocka_unit_test(test_dmar),
        cmocka_unit_test(test_viot),
        cmocka_unit_test(test_iasl),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_loader_commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
