/* SPDX-License-Identifier: GPL-2.0-or-later */
/* More cases over every back end: coming and going, regions, DMA, and how many requests there are. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "contract-fixture.h"

#define FILE_RAM 0x10000000u
#define ROM_RAM  0x20000000u
#define NOWHERE  0x70000000u

/* --- coming --- */

static void test_check_1_no_far_side_named(void **state)
{
    static const char *const options[] = {"device",  "socket", "socket", "socket", "host", "host"};
    Fixture *f = *state;
    g_autoptr(GError) error = NULL;

    unplug(f);
    plug_elsewhere(f, NULL, &error);
    assert_null(f->pci);
    assert_non_null(strstr(error->message, options[f->back_end]));
    replug(f, NULL);
    assert_non_null(f->pci);
}

static void test_check_2_nobody_there(void **state)
{
    Fixture *f = *state;
    g_autofree char *where = f->sockets ? g_build_filename(f->dir, "nobody", NULL) : g_strdup("0000:00:1e.0");
    unsigned files;

    unplug(f);
    files = open_files();
    for (unsigned i = 0; i < 10; i++) {
        g_autoptr(GError) error = NULL;

        plug_elsewhere(f, where, &error);
        assert_null(f->pci);
        assert_non_null(strstr(error->message, where));
        assert_non_null(strstr(error->message, f->sockets ? g_strerror(ENOENT) : "no PCI device"));
    }
    expect_open_files(files);
    replug(f, NULL);
    assert_non_null(f->pci);
}

/* There from the start, and plugged later: what a guest's enumeration finds. */
static void test_check_3_4_seen_on_the_bus(void **state)
{
    Fixture *f = *state;

    for (unsigned i = 0; i < 2; i++) {
        PciDevice *seen = pci_bus_device(f->bus, 0, PCI_DEVFN(3, 0));

        assert_ptr_equal(seen, f->pci);
        assert_int_equal(pci_config_read(seen, PCI_VENDOR_ID, 2), 0x1234);
        assert_int_equal(pci_config_read(seen, PCI_CLASS_DEVICE, 2), 0xff00);
        assert_int_equal(pci_config_read(seen, PCI_HEADER_TYPE, 1), PCI_HEADER_TYPE_NORMAL);
        unplug(f);
        assert_null(pci_bus_device(f->bus, 0, PCI_DEVFN(3, 0)));
        replug(f, NULL);
    }
}

/* A far side that says what cannot be: a clear error, or accesses that trap; nothing is left behind. */
static void test_check_42_impossible_answers(void **state)
{
    static const struct {
        ContractLie lie;
        const char *error; /* NULL: none but over a socket, whose messages are checked */
    } lies[] = {{CONTRACT_SHORT_CONFIG, "config space is too small (16 bytes"},
                {CONTRACT_HUGE_BAR, "BAR 0 has an impossible size"},
                {CONTRACT_HUGE_ROM, "option ROM is too large"},
                {CONTRACT_AREA_OUTSIDE, NULL}};
    Fixture *f = *state;
    unsigned files;

    unplug(f);
    contract_add_paged_bar(&f->device);
    files = open_files();
    for (unsigned i = 0; i < G_N_ELEMENTS(lies); i++) {
        g_autoptr(GError) error = NULL;

        f->device.lie = lies[i].lie;
        replug(f, &error);
        assert_int_equal(!f->pci, lies[i].error || f->sockets);
        assert_true(!lies[i].error || strstr(error->message, lies[i].error));
        if (f->pci) {
            map_bars(f);
            store(f, BAR3 + CONTRACT_PAGED_SIZE - 4, 4, 0x600d);
            assert_int_equal(f->device.paged[CONTRACT_PAGED_SIZE - 4], 0x0d);
            assert_int_equal(f->device.writes[3], 1);
        }
        unplug(f);
        expect_open_files(files);
    }
    f->device.lie = CONTRACT_NO_LIE;
    replug(f, NULL);
    assert_non_null(f->pci);
}

/* --- regions --- */

static void test_check_12_read_only_bar_first(void **state)
{
    Fixture *f = *state;

    f->device.fixed_bar = true;
    contract_add_paged_bar(&f->device);
    memset(f->device.fixed, 0x77, sizeof(f->device.fixed));
    replug(f, NULL);
    assert_non_null(f->pci);
    map_bars(f);
    store(f, BAR1 + 8, 4, 1);
    assert_int_equal(load(f, BAR1 + 8, 4), 0x77777777);
    store(f, BAR3 + 4096, 4, 0x12345678);
    assert_int_equal(load(f, BAR3 + 4096, 4), 0x12345678);
    assert_int_equal(pci_get32(f->device.paged + 4096), 0x12345678);
    store(f, BAR4 + 0xc00, 4, 0x9abcdef0);
    assert_int_equal(load(f, BAR4 + 0xc00, 4), 0x9abcdef0);
}

/* The image comes in pieces, whatever was asked for. */
static void test_check_13_option_rom(void **state)
{
    Fixture *f = *state;

    for (unsigned i = 0; i < CONTRACT_ROM_SIZE; i++) {
        f->device.rom_image[i] = (uint8_t)(i * 7);
    }
    f->device.rom = true;
    replug(f, NULL);
    assert_non_null(f->pci);
    assert_true(f->device.reads[6] >= CONTRACT_ROM_SIZE / CONTRACT_ROM_PIECE);
    map_bars(f);
    pci_config_write(f->pci, PCI_ROM_ADDRESS, ROM | PCI_ROM_ADDRESS_ENABLE, 4);
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned at = 0; at < 4096; at++) {
            assert_int_equal(load(f, ROM + at, 1), at < CONTRACT_ROM_SIZE ? (uint8_t)(at * 7) : 0xff);
        }
        as_store(f->m->memory, ROM + 16, 4, 0, MEM_ATTRS_CPU);
    }
    settle(f);
    assert_int_equal(f->device.writes[6], 0);
}

/* Inside the areas nobody is asked; between them every access is, and all see one memory, in order. */
static void test_check_40_sparse_areas(void **state)
{
    Fixture *f = *state;
    const uint32_t pages[] = {0, 8192};

    contract_add_paged_bar(&f->device);
    replug(f, NULL);
    assert_non_null(f->pci);
    map_bars(f);
    for (unsigned i = 0; i < G_N_ELEMENTS(pages); i++) {
        store(f, BAR3 + pages[i] + 0xffc, 4, 0x11111111 * (i + 1));
        assert_int_equal(pci_get32(f->device.paged + pages[i] + 0xffc), 0x11111111 * (i + 1));
        assert_int_equal(load(f, BAR3 + pages[i] + 0xffc, 4), 0x11111111 * (i + 1));
    }
    settle(f);
    assert_int_equal(f->device.reads[3] + f->device.writes[3], 0);
    /* A write that traps is carried out before a mapped one that follows. */
    for (uint32_t i = 1; i <= 100; i++) {
        store(f, BAR3 + 4096, 4, i);
        if (f->device.posted[3] == 0) {
            assert_int_equal(pci_get32(f->device.paged + 4096), i);
        }
        store(f, BAR3, 4, i);
    }
    assert_int_equal(f->device.writes[3], 100);
    assert_int_equal(f->sockets ? f->device.posted[3] : 0, 0);
    assert_int_equal(load(f, BAR3 + 3 * 4096, 4), 0);
    assert_int_equal(f->device.reads[3], 1);
}

/* The table and the pending bits, in the middle of a mapping, are not the device's. */
static void test_msix_table_in_a_mapped_bar(void **state)
{
    Fixture *f = *state;

    contract_map_whole_bar(&f->device);
    replug(f, NULL);
    assert_non_null(f->pci);
    map_bars(f);
    for (unsigned at = 0xc00; at < CONTRACT_PAGED_SIZE; at += 0x400) {
        store(f, BAR3 + at, 4, at);
        assert_int_equal(pci_get32(f->device.paged + at), at);
        assert_int_equal(load(f, BAR3 + at, 4), at);
    }
    for (unsigned v = 0; v < CONTRACT_VECTORS; v++) {
        store(f, BAR3 + 16 * v, 8, 0xfee00000);
        store(f, BAR3 + 16 * v + 8, 4, 0x100 + v);
        store(f, BAR3 + 16 * v + 12, 4, v == 3);
        assert_int_equal(load(f, BAR3 + 16 * v + 8, 4), 0x100 + v);
    }
    pci_config_write(f->pci, 0x42, PCI_MSIX_FLAGS_ENABLE, 2);
    settle(f);
    assert_true(contract_raise(&f->device, 0));
    assert_true(contract_raise(&f->device, CONTRACT_VECTORS - 1));
    run_loop(f);
    assert_int_equal(f->messages[0], 1);
    assert_int_equal(f->messages[CONTRACT_VECTORS - 1], 1);
    for (unsigned at = 0; at < 0xc00; at++) {
        assert_int_equal(f->device.paged[at], 0);
    }
    assert_int_equal(f->device.reads[3] + f->device.writes[3], 0);
}

/* --- requests --- */

/* Only writes of memory BARs may be ones that nobody waits for; what else a back end does of that is its own. */
static void test_check_28_what_is_posted(void **state)
{
    Fixture *f = *state;
    bool posts = f->back_end == MEMORY || f->back_end == SOCKET || f->back_end == SOCKET_QUEUED;
    unsigned posted = 0;

    map_bars(f);
    for (unsigned i = 0; i < 10; i++) {
        store(f, BAR0 + 0x20, 4, i);
        assert_int_equal(as_store(f->io_space, BAR2, 4, i, MEM_ATTRS_CPU), MEM_OK);
        pci_config_write(f->pci, PCI_CACHE_LINE_SIZE, i, 1);
    }
    settle(f);
    for (unsigned i = 0; i < G_N_ELEMENTS(f->device.posted); i++) {
        posted += f->device.posted[i];
    }
    assert_int_equal(posted, posts ? 10 : 0);
    assert_int_equal(f->device.posted[0], posted);
    assert_int_equal(f->device.writes[0], 10);
    assert_int_equal(f->device.writes[2], 10);
    assert_int_equal(f->device.order_count, 10);
}

/* Every vector works, however the requests that set them up are cut. */
static void test_check_26_many_vectors(void **state)
{
    Fixture *f = *state;

    map_bars(f);
    for (unsigned v = 0; v < CONTRACT_VECTORS; v++) {
        vector_program(f, v, v == 4 || v == 5);
    }
    pci_config_write(f->pci, 0x42, PCI_MSIX_FLAGS_ENABLE, 2);
    settle(f);
    for (unsigned v = 0; v < CONTRACT_VECTORS; v++) {
        assert_int_equal(contract_raise(&f->device, v), v != 4 && v != 5);
    }
    vector_program(f, 4, false);
    vector_program(f, 5, false);
    settle(f);
    assert_true(contract_raise(&f->device, 4));
    assert_true(contract_raise(&f->device, 5));
    run_loop(f);
    for (unsigned v = 0; v < CONTRACT_VECTORS; v++) {
        assert_true(f->messages[v] >= 1);
    }
    if (f->sockets) {
        assert_int_equal(f->device.most_fds, 8); /* what this server takes at once */
        assert_false(f->device.mixed_fds);
    }
}

/* --- DMA --- */

typedef struct Ram {
    MemRegion *region;
    uint8_t *host;
    int fd;
} Ram;

static Ram ram_add(Fixture *f, uint64_t at, bool in_file)
{
    Ram ram = {.fd = in_file ? memfd_create("ram", MFD_CLOEXEC) : -1};

    assert_true(!in_file || (ram.fd >= 0 && !ftruncate(ram.fd, RAM_SIZE)));
    ram.host = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, in_file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS,
                    ram.fd, 0);
    assert_true(ram.host != MAP_FAILED);
    ram.region = in_file ? mem_region_new_ram(f->m->topo, "file", RAM_SIZE, ram.host, ram.fd, 0, false)
                         : mem_region_new_rom(f->m->topo, "rom", RAM_SIZE, ram.host, NULL, NULL);
    mem_region_add(f->m->system_memory, at, ram.region);
    return ram;
}

static void ram_del(Fixture *f, Ram *ram)
{
    mem_region_del(f->m->system_memory, ram->region);
    mem_region_retire(ram->region);
    mem_region_unref(ram->region);
    munmap(ram->host, RAM_SIZE);
    if (ram->fd >= 0) {
        close(ram->fd);
    }
}

/* Both ways, at sizes and places that fit no page. */
static void check_dma(Fixture *f, uint64_t at, uint8_t *host)
{
    static const size_t sizes[] = {1, 7, 4096, 70001};
    g_autofree uint8_t *data = g_malloc(sizes[3]);

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        uint8_t *memory = host + 0x1003 * i;

        for (size_t n = 0; n < sizes[i]; n++) {
            memory[n] = (uint8_t)(n * 13 + i);
        }
        assert_int_equal(device_dma(f, at + 0x1003 * i, data, sizes[i], false), 0);
        assert_memory_equal(data, memory, sizes[i]);
        memset(data, 0x40 + (int)i, sizes[i]);
        assert_int_equal(device_dma(f, at + 0x1003 * i, data, sizes[i], true), 0);
        assert_memory_equal(data, memory, sizes[i]);
    }
}

static void test_check_14_16_dma_both_ways(void **state)
{
    Fixture *f = *state;
    Ram ram = ram_add(f, FILE_RAM, true);

    map_bars(f);
    check_dma(f, FILE_RAM, ram.host); /* memory that another process can map */
    check_dma(f, 0, f->ram);          /* and that none can */
    /* Over a socket the device has the file and needs no message. */
    memcpy(ram.host, "found", 5);
    assert_int_equal(contract_dma(&f->device, FILE_RAM, &(char[5]){0}, 5, false), 0);
    assert_int_equal(contract_dma(&f->device, 0, &(char[5]){0}, 5, false), f->sockets ? -ENODATA : 0);
    ram_del(f, &ram);
}

/* Each refused map of a transaction counts, not only the first. */
static void test_check_21_every_refusal_counts(void **state)
{
    Fixture *f = *state;
    g_autoptr(GError) error = NULL;
    MemRegion *pieces[5];

    f->device.refused_from = 0x30000000;
    mem_begin(f->m->topo);
    for (unsigned i = 0; i < G_N_ELEMENTS(pieces); i++) {
        pieces[i] = mem_region_new_alias(f->m->topo, "piece", f->ram_region, (4 - i) * 0x2000, 0x1000);
        mem_region_add(f->m->system_memory, 0x2fffe000 + i * 0x2000, pieces[i]);
    }
    assert_false(mem_commit(f->m->topo, &error));
    assert_non_null(strstr(error->message, "4 were refused"));
    assert_non_null(strstr(error->message, g_strerror(ENOSPC)));
    assert_int_equal(f->device.map_count, 2); /* the others are there */
    unplug(f);
    for (unsigned i = 0; i < G_N_ELEMENTS(pieces); i++) {
        mem_region_del(f->m->system_memory, pieces[i]);
        mem_region_unref(pieces[i]);
    }
}

/* What is not mapped, or not for that, is an error of that access and of nothing else. */
static void test_check_17_19_refused_dma(void **state)
{
    Fixture *f = *state;
    Ram rom = ram_add(f, ROM_RAM, false);
    uint8_t data[16] = {0};

    map_bars(f);
    memset(rom.host, 0x5a, 16);
    assert_int_not_equal(device_dma(f, NOWHERE, data, 4, false), 0);
    assert_int_not_equal(device_dma(f, NOWHERE, data, 4, true), 0);
    assert_int_not_equal(device_dma(f, RAM_SIZE - 8, data, 16, false), 0);
    assert_int_equal(device_dma(f, ROM_RAM, data, 16, false), 0);
    assert_memory_equal(data, rom.host, 16);
    memset(data, 0, sizeof(data));
    assert_int_not_equal(device_dma(f, ROM_RAM, data, 16, true), 0);
    assert_int_equal(rom.host[0], 0x5a);
    check_dma(f, 0, f->ram);
    store(f, BAR0 + 0x40, 4, 9);
    assert_int_equal(load(f, BAR0 + 0x40, 4), 9);
    ram_del(f, &rom);
}

int contract_run_checks(void)
{
    const struct CMUnitTest checks[] = {
        CASE(test_check_1_no_far_side_named),
        CASE_OUTSIDE(test_check_2_nobody_there),
        CASE(test_check_3_4_seen_on_the_bus),
        CASE(test_check_42_impossible_answers),
        CASE(test_check_12_read_only_bar_first),
        CASE(test_check_13_option_rom),
        CASE(test_check_40_sparse_areas),
        CASE(test_msix_table_in_a_mapped_bar),
        CASE(test_check_21_every_refusal_counts),
        CASE(test_check_28_what_is_posted),
        CASE(test_check_26_many_vectors),
        CASE(test_check_14_16_dma_both_ways),
        CASE(test_check_17_19_refused_dma),
    };

    return cmocka_run_group_tests(checks, NULL, NULL);
}
