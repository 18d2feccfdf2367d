/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The firmware's ROM: at the end of the first 4 GiB, where CPUs begin, with its last 128 KiB also at E0000h (ICH9 data
 * sheet 10.1.57: FWH decode), and memory for option ROMs at C0000h.  Which of them, or RAM, is seen below 1 MiB is
 * the host bridge's business.
 */
#include <string.h>
#include <sys/mman.h>

#include "core/data-file.h"
#include "pc-firmware.h"

#define ROM_DEFAULT    "bios-256k.bin"
#define ROM_GRANULE    0x10000u
#define ROM_MAX        (16u << 20)
#define ROM_END        0x100000000ull
#define ROM_LEGACY_END 0x100000ull
#define ROM_LEGACY_MAX 0x20000ull
#define OPTION_BASE    0xc0000ull
#define OPTION_SIZE    0x20000ull

struct PcRom {
    MemRegion *pci_memory;
    MemRegion *bios, *legacy, *option;
    void *bios_host, *option_host;
    size_t size;
};

static void *rom_pages(size_t size, GError **error)
{
    void *host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (host == MAP_FAILED) {
        error_set(error, "-bios: no memory for firmware (%zu bytes)", size);
        return NULL;
    }
    return host;
}

static char *rom_find(Machine *m, GError **error)
{
    const char *name = m->boot.bios ? m->boot.bios : ROM_DEFAULT;
    char *path = data_file_find_in(m->data_dirs, name);
    if (!path) {
        error_set(error, "-bios: cannot find firmware '%s'; install SeaBIOS (Debian: seabios), or give -bios or -kernel",
                  name);
    }
    return path;
}

static bool rom_read(PcRom *rom, const char *path, GError **error)
{
    g_autofree char *image = NULL;
    gsize len;
    if (!g_file_get_contents(path, &image, &len, error)) {
        g_prefix_error(error, "-bios: ");
        return false;
    }
    if (len == 0 || len > ROM_MAX || len % ROM_GRANULE) {
        error_set(error, "-bios: bad size of %s (%zu bytes, allowed multiples of 64K up to 16M)", path, (size_t)len);
        return false;
    }
    rom->bios_host = rom_pages(len, error);
    if (!rom->bios_host) {
        return false;
    }
    rom->size = len;
    memcpy(rom->bios_host, image, len);
    return true;
}

static void rom_map_bios(PcRom *rom, MemTopology *topo)
{
    uint64_t legacy = MIN(rom->size, ROM_LEGACY_MAX);
    rom->bios = mem_region_new_rom(topo, "pc.bios", rom->size, rom->bios_host, NULL, NULL);
    rom->legacy = mem_region_new_alias(topo, "isa-bios", rom->bios, rom->size - legacy, legacy);
    mem_region_add(rom->pci_memory, ROM_END - rom->size, rom->bios);
    mem_region_add_overlap(rom->pci_memory, ROM_LEGACY_END - legacy, rom->legacy, 1);
}

PcRom *pc_rom_new(Machine *m, MemRegion *pci_memory, bool firmware, GError **error)
{
    g_autofree char *path = firmware ? rom_find(m, error) : NULL;
    if (firmware && !path) {
        return NULL;
    }
    PcRom *rom = g_new0(PcRom, 1);
    rom->pci_memory = pci_memory;
    if (!path || rom_read(rom, path, error)) {
        rom->option_host = rom_pages(OPTION_SIZE, error);
    }
    if (!rom->option_host) {
        pc_rom_free(rom);
        return NULL;
    }
    mem_begin(m->topo);
    rom->option = mem_region_new_ram(m->topo, "pc.rom", OPTION_SIZE, rom->option_host, -1, 0, false);
    mem_region_add_overlap(pci_memory, OPTION_BASE, rom->option, 1);
    if (path) {
        rom_map_bios(rom, m->topo);
    }
    mem_commit(m->topo, NULL);
    return rom;
}

void pc_rom_free(PcRom *rom)
{
    if (!rom) {
        return;
    }
    MemRegion *regions[3] = {rom->legacy, rom->option, rom->bios};
    for (unsigned i = 0; i < 3; i++) {
        if (!regions[i]) {
            continue;
        }
        mem_region_del(rom->pci_memory, regions[i]);
        if (i > 0) {
            mem_region_retire(regions[i]);
        }
        mem_region_unref(regions[i]);
    }
    if (rom->bios_host) {
        munmap(rom->bios_host, rom->size);
    }
    if (rom->option_host) {
        munmap(rom->option_host, OPTION_SIZE);
    }
    g_free(rom);
}
