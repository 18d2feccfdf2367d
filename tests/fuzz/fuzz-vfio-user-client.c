/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vfio-user client against servers that damage what they send: fuzz-vfio-user-client [ROUNDS [SEED]].
 * Each round plugs a device, uses it as a driver does, and unplugs it.  Nothing may crash, hang, leak (run it
 * with sanitizers), and descriptors, threads and what is allocated must be back where they were.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/trace.h"
#include "directory-entries.h"
#include "hostile-server.h"
#include "hw/vfio/vfio-pci-device.h"

#define RAM_SIZE (1u << 20)
/* Buffers of threads and of stdio come and go; a leak per round would be more. */
#define HEAP_SLACK 65536
#define BAR0     0xe0000000u
#define BAR2     0xc000u
#define BAR4     0xe0100000u
#define ROM      0xe0200000u

extern const PciModel vfio_user_pci_model;
static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef struct Fuzz {
    Machine *m;
    void *ram;
    MemRegion *ram_region, *io;
    AddressSpace *io_space;
    PciBus *bus;
    PciDevice *pci;
    uint64_t random;
    unsigned started;
} Fuzz;

static void bus_set_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
}

static void bus_send_msi(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg)
{
}

static const PciBusOps bus_ops = {.set_intx = bus_set_intx, .send_msi = bus_send_msi};

static uint64_t dice(Fuzz *f)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return f->random;
}

static void board_start(Fuzz *f)
{
    f->m = machine_new(&bare_model, NULL);
    loop_lock(f->m->main_loop);
    f->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    f->ram_region = mem_region_new_ram(f->m->topo, "ram", RAM_SIZE, f->ram, -1, 0, false);
    f->io = mem_region_new_container(f->m->topo, "io", 0x10000);
    f->io_space = as_new(f->m->topo, "io", f->io);
    mem_region_add(f->m->system_memory, 0, f->ram_region);
    machine_set_kind_ops(f->m, MODEL_PCI, &pci_kind_ops);
    f->bus = pci_bus_new(f->m, "pcie.0", &bus_ops, f, true, f->m->system_memory, f->io, f->m->memory);
}

static void board_stop(Fuzz *f)
{
    pci_bus_free(f->bus);
    as_free(f->io_space);
    mem_region_unref(f->io);
    mem_region_del(f->m->system_memory, f->ram_region);
    mem_region_retire(f->ram_region);
    mem_region_unref(f->ram_region);
    loop_unlock(f->m->main_loop);
    machine_free(f->m);
    munmap(f->ram, RAM_SIZE);
}

/* --- what a driver does --- */

static void map_bars(Fuzz *f)
{
    pci_config_write(f->pci, PCI_BASE_ADDRESS_0, BAR0, 4);
    pci_config_write(f->pci, PCI_BASE_ADDRESS_2, BAR2, 4);
    pci_config_write(f->pci, PCI_BASE_ADDRESS_4, BAR4, 4);
    pci_config_write(f->pci, PCI_ROM_ADDRESS, ROM | 1, 4);
    pci_config_write(f->pci, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

/* As a CPU does: without a lock. */
static void access_memory(Fuzz *f)
{
    static const uint32_t bases[] = {BAR0, BAR4, BAR4 + 0x800, BAR0 + 0x100, BAR0 + 0x200, ROM};
    uint64_t addr = bases[dice(f) % G_N_ELEMENTS(bases)] + (dice(f) & 0xff8), val;
    unsigned size = 1u << (dice(f) % 4), depth = loop_release(f->m->main_loop);

    if (dice(f) & 1) {
        as_store(f->m->memory, addr, size, dice(f), MEM_ATTRS_CPU);
    } else {
        as_load(f->m->memory, addr, size, &val, MEM_ATTRS_CPU);
    }
    loop_reacquire(f->m->main_loop, depth);
}

static void access_config(Fuzz *f)
{
    unsigned size = 1u << (dice(f) % 3);
    uint16_t offset = (uint16_t)((dice(f) % (dice(f) & 1 ? 256 : f->pci->config_size)) & ~(size - 1));

    if (dice(f) % 3) {
        pci_config_read(f->pci, offset, size);
    } else {
        pci_config_write(f->pci, offset, (uint32_t)dice(f), size);
    }
}

static void use(Fuzz *f)
{
    map_bars(f);
    for (unsigned i = 0; i < 16; i++) {
        switch (dice(f) % 10) {
        case 0:
            map_bars(f);
            break;
        case 1:
            device_reset(&f->pci->dev);
            break;
        case 2:
            if (f->pci->msix_cap) {
                pci_config_write(f->pci, f->pci->msix_cap + PCI_MSIX_FLAGS, (uint32_t)dice(f) & 0xc000, 2);
            }
            break;
        case 3:
            loop_iterate(f->m->main_loop, false);
            break;
        case 4:
            mem_region_set_address(f->ram_region, (dice(f) & 1) << 24);
            break;
        case 5:
        case 6:
            access_config(f);
            break;
        default:
            access_memory(f);
            break;
        }
        if (!f->bus->devices[PCI_DEVFN(3, 0)]) {
            f->pci = NULL; /* the server asked for it */
            return;
        }
    }
}

static void fuzz_round(Fuzz *f, const char *path, uint64_t seed)
{
    HostileServer *server = hostile_server_new(path, seed, seed % 4 ? 40 : 250);
    g_autoptr(GError) error = NULL;

    f->random = seed * 0x2545f4914f6cdd1du + 1;
    f->pci = pci_create(f->bus, PCI_DEVFN(3, 0), &vfio_user_pci_model, "dut", &error, "socket", path,
                        "x-msg-timeout", "20", "x-req", "off", "x-send-queued", seed & 1 ? "on" : "off",
                        "poll-us", seed & 2 ? "20" : "0", NULL);
    g_assert(!f->pci == !!error);
    if (f->pci) {
        f->started++;
        use(f);
    }
    if (f->pci) {
        device_destroy(&f->pci->dev);
    }
    hostile_server_free(server);
    mem_region_set_address(f->ram_region, 0);
    loop_iterate(f->m->main_loop, false);
}

/* Bytes that are allocated; sanitizers count none here, and tell leaks themselves. */
static int64_t allocated(void)
{
    struct mallinfo2 info = mallinfo2();

    return (int64_t)(info.uordblks + info.hblkhd);
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 400;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    g_autofree char *dir = g_dir_make_tmp("fuzz-vfio-user-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "socket", NULL);
    unsigned fds = 0, threads = 0, fds_after, threads_after;
    int64_t heap = 0, growth;
    Fuzz f = {0};

    board_start(&f);
    for (unsigned i = 0; i < rounds; i++) {
        fuzz_round(&f, path, seed + i);
        if (i < 20) {
            fds = directory_entries("/proc/self/fd");
            threads = directory_entries("/proc/self/task");
        }
        heap = i < rounds / 4 ? allocated() : heap;
    }
    fds_after = directory_entries("/proc/self/fd");
    threads_after = directory_entries("/proc/self/task");
    growth = allocated() - heap;
    board_stop(&f);
    rmdir(dir);
    printf("%u rounds from seed %" G_GUINT64_FORMAT
           ": %u devices started, %u file descriptors and %u threads, %u and %u after 20 rounds, %" G_GINT64_FORMAT
           " bytes more than after a quarter\n",
           rounds, seed, f.started, fds_after, threads_after, fds, threads, growth);
    return fds_after != fds || threads_after != threads || growth > HEAP_SLACK || !f.started || f.started == rounds;
}
