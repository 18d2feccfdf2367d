/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whole machines against streams that are nearly right: fuzz-migration-stream DIRECTORY [ROUNDS [SEED]].  DIRECTORY has streams that
 * were kept (tests/data/migration); each machine also saves itself.  Each round starts a machine with -incoming, and uses it if
 * it took the stream.  Nothing may crash, hang, leak (run it with sanitizers); what is refused is refused with the place in the stream,
 * and descriptors and threads are back where they were.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "accel/accel.h"
#include "hw/pci/pci.h"
#include "migration/migration.h"
#include "directory-entries.h"
#include "stream-mutator.h"
#include "system/system.h"

#define DISK(id) "-drive", "id=" id ",file=null-co://,size=1M,format=raw,if=none"
#define CARD(text) "-device", text

/* What tests/split/test_migration_streams.py keeps streams of, but for where the disks are. */
#define KEPT                                                                                                                        \
    DISK("d0"), DISK("d1"), DISK("d2"), CARD("nvme,id=nvme0,serial=s,drive=d0,addr=4"), CARD("virtio-blk-pci,id=blk0,drive=d1,addr=5"), \
        CARD("edu,id=edu0,addr=6"), CARD("lsi53c895a,id=lsi0,addr=7"), CARD("scsi-hd,bus=lsi0.0,drive=d2"),                        \
        CARD("ich9-ahci,id=ahci0,addr=8"), CARD("virtio-rng-pci,id=rng0,addr=9"), CARD("e1000,id=e0,addr=10"),                     \
        CARD("virtio-net-pci,id=net0,addr=11"), CARD("pci-serial,id=ser0,addr=12"), CARD("pci-testdev,id=test0,addr=13"),          \
        CARD("VGA,id=vga0,addr=14")
#define BRIDGE CARD("pci-bridge,id=bridge0,addr=16")

typedef struct Board {
    const char *name;
    const char *args[60];
} Board;

static const Board boards[] = {
    {"q35", {KEPT, CARD("pcie-root-port,id=port0,addr=15"), BRIDGE}},
    {"pc",
     {KEPT, DISK("d3"), CARD("i6300esb,id=dog0,addr=15"), BRIDGE, CARD("ide-hd,bus=ide.0,drive=d3"), CARD("ide-cd,bus=ide.1"),
      CARD("isa-serial,id=com0"), CARD("pvpanic,id=panic0")}},
    /* What the others have not got. */
    {"q35", {"-smp", "2", DISK("d0"), DISK("d1"), DISK("d2"), DISK("d3"), CARD("intel-iommu,intremap=on"), CARD("tick"),
             CARD("nvme,id=n,serial=s"), CARD("nvme-ns,bus=n,drive=d0"), CARD("ide-hd,drive=d1"), CARD("lsi53c895a,id=l"),
             CARD("scsi-cd,bus=l.0"), CARD("piix4-ide,id=i"), CARD("ide-hd,bus=i.0,drive=d2"), CARD("virtio-net-pci,packed=on"),
             CARD("virtio-blk-pci,drive=d3,packed=on"), CARD("pc-testdev"), CARD("isa-debugcon,iobase=0x402")}},
    {"q35", {CARD("virtio-iommu-pci"), CARD("edu"), CARD("e1000"), CARD("ioh3420,id=p"), CARD("virtio-rng-pci,bus=p")}},
};

typedef struct Seed {
    unsigned board;
    GPtrArray *pieces; /* MigPiece */
} Seed;

typedef struct Fuzz {
    char *dir, *path; /* of the stream of this round */
    GArray *seeds;    /* Seed */
    uint64_t random;
    unsigned taken, refused;
} Fuzz;

static void say_nothing(const gchar *text)
{
}

/* --- a machine --- */

typedef struct Player {
    Cmdline *cmdline;
    System system;
} Player;

static void player_start(Player *p, unsigned board, const char *incoming)
{
    GPtrArray *argv = g_ptr_array_new();
    static const char *const common[] = {"qemu-system-x86_64", "-nodefaults", "-display", "none", "-accel", "tcg", "-m", "64", "-object",
                                         "memory-backend-memfd,id=mem,size=64M,share=on", "-action", "reboot=reset,shutdown=pause,panic=pause"};
    g_autofree char *machine = g_strdup_printf("%s,memory-backend=mem", boards[board].name);
    GError *error = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(common); i++) {
        g_ptr_array_add(argv, (gpointer)common[i]);
    }
    g_ptr_array_add(argv, (gpointer)"-machine");
    g_ptr_array_add(argv, machine);
    for (const char *const *arg = boards[board].args; *arg; arg++) {
        g_ptr_array_add(argv, (gpointer)*arg);
    }
    g_ptr_array_add(argv, (gpointer)(incoming ? "-incoming" : "-S"));
    if (incoming) {
        g_ptr_array_add(argv, (gpointer)incoming);
    }
    p->cmdline = cmdline_new();
    p->system = (System){.cmdline = p->cmdline, .signal_fd = -1};
    if (!cmdline_parse(p->cmdline, (int)argv->len, (char **)argv->pdata, &error) || !process_block_signals(&p->system, &error) ||
        !system_start(&p->system, &error)) {
        fprintf(stderr, "board %u: %s\n", board, error->message);
        abort();
    }
    g_ptr_array_free(argv, TRUE);
}

static void player_stop(Player *p)
{
    system_stop(&p->system);
    cmdline_free(p->cmdline);
}

/* Until the migration has ended; its status. */
static MigrationStatus player_wait(Player *p, char **error)
{
    MigrationFigures figures = migration_query(p->system.machine);

    while (figures.status < MIGRATION_COMPLETED) {
        migration_figures_clear(&figures);
        loop_iterate(p->system.machine->main_loop, true);
        figures = migration_query(p->system.machine);
    }
    *error = g_strdup(figures.error);
    migration_figures_clear(&figures);
    return figures.status;
}

/* --- what is done to a machine that took the stream --- */

static void access_space(Fuzz *f, AddressSpace *as, uint64_t address)
{
    unsigned size = 1u << fuzz_dice(&f->random) % 3;
    uint64_t val = fuzz_dice(&f->random) % 2 ? fuzz_dice(&f->random) : fuzz_dice(&f->random) % 4;

    if (fuzz_dice(&f->random) % 3) {
        as_load(as, address, size, &val, MEM_ATTRS_CPU);
    } else {
        as_store(as, address, size, val, MEM_ATTRS_CPU);
    }
}

static void access_device(Device *dev, void *opaque)
{
    static const uint16_t ports[] = {0x00, 0x20, 0x40, 0x60, 0x70, 0x92, 0xa0, 0xc0, 0x1f0, 0x3c0, 0x3f8, 0x510, 0x600, 0xb100, 0xcf8};
    Fuzz *f = opaque;
    Machine *m = dev->obj.machine;
    const PciDevice *pci = dev->obj.model->kind == MODEL_PCI ? (PciDevice *)dev : NULL;

    for (unsigned i = 0; pci && i < PCI_REGION_COUNT; i++) {
        const PciBar *bar = &pci->bars[i];

        if (bar->size && bar->address != PCI_BAR_UNMAPPED) {
            uint64_t offset = fuzz_dice(&f->random) % (fuzz_dice(&f->random) % 2 ? bar->size : MIN(bar->size, 128));

            access_space(f, bar->kind == PCI_BAR_IO ? m->io : m->memory, bar->address + (offset & ~(uint64_t)3));
        }
    }
    access_space(f, m->io, ports[fuzz_dice(&f->random) % G_N_ELEMENTS(ports)] + fuzz_dice(&f->random) % 32);
}

static void save_again(Machine *m)
{
    g_autoptr(GPtrArray) costs = mig_costs_new(m), pieces = mig_pieces_new();

    mig_save_state(m, pieces, costs);
}

static void run_a_bit(Machine *m)
{
    for (unsigned i = 0; i < 8; i++) {
        loop_iterate(m->main_loop, false);
        machine_process_requests(m);
        g_usleep(100);
    }
}

static void use(Fuzz *f, Machine *m)
{
    run_a_bit(m);
    machine_vm_stop(m, RUN_STATE_PAUSED);
    loop_lock(m->main_loop);
    save_again(m);
    for (unsigned i = 0; i < 4; i++) {
        machine_each_device(m, access_device, f);
    }
    loop_unlock(m->main_loop);
    machine_vm_start(m);
    run_a_bit(m);
}

/* --- rounds --- */

static void play(Fuzz *f, unsigned board)
{
    g_autofree char *uri = g_strdup_printf("file:%s", f->path), *error = NULL;
    Player p;

    player_start(&p, board, uri);
    if (player_wait(&p, &error) == MIGRATION_COMPLETED) {
        f->taken++;
        use(f, p.system.machine);
    } else {
        f->refused++;
        g_assert(error);
        if (!strstr(error, "at byte ")) {
            fprintf(stderr, "no place in the stream: %s\n", error);
            abort();
        }
    }
    player_stop(&p);
}

static void fuzz_round(Fuzz *f, uint64_t number)
{
    const Seed *seed = &g_array_index(f->seeds, Seed, number % f->seeds->len);
    GPtrArray *pieces;

    printf("round %" G_GUINT64_FORMAT "\n", number);
    fflush(stdout);
    f->random = number * 0x2545f4914f6cdd1du + 1;
    pieces = stream_mutate(seed->pieces, &f->random);
    stream_write(pieces, f->path, &f->random);
    g_ptr_array_unref(pieces);
    play(f, seed->board);
}

/* --- seeds --- */

static void add_seed(Fuzz *f, unsigned board, const char *path)
{
    Seed seed = {board, stream_read(path)};

    g_array_append_val(f->seeds, seed);
}

static void save_board(Fuzz *f, unsigned board)
{
    g_autofree char *uri = g_strdup_printf("file:%s", f->path), *error = NULL;
    Player p;

    player_start(&p, board, NULL);
    g_assert(migration_start(p.system.machine, uri, NULL));
    g_assert(player_wait(&p, &error) == MIGRATION_COMPLETED);
    player_stop(&p);
    add_seed(f, board, f->path);
}

/* By name: a round's number says which it begins with. */
static void add_kept(Fuzz *f, const char *dir)
{
    struct dirent **kept;
    int count = scandir(dir, &kept, NULL, alphasort);

    g_assert(count > 0);
    for (int i = 0; i < count; i++) {
        g_autofree char *path = g_build_filename(dir, kept[i]->d_name, NULL);

        if (g_str_has_suffix(path, ".gz")) {
            add_seed(f, strstr(kept[i]->d_name, "-pc") ? 1 : 0, path);
        }
        free(kept[i]);
    }
    free(kept);
}

int main(int argc, char **argv)
{
    uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 0) : 300, seed = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
    Fuzz f = {.dir = g_dir_make_tmp("fuzz-migration-XXXXXX", NULL), .seeds = g_array_new(FALSE, FALSE, sizeof(Seed))};
    unsigned fds, threads, fds_after, threads_after;

    g_assert(argc > 1);
    g_set_printerr_handler(say_nothing);
    f.path = g_build_filename(f.dir, "stream", NULL);
    add_kept(&f, argv[1]);
    for (unsigned i = 0; i < G_N_ELEMENTS(boards); i++) {
        save_board(&f, i);
    }
    fds = directory_entries("/proc/self/fd");
    threads = directory_entries("/proc/self/task");
    for (uint64_t i = 0; i < rounds; i++) {
        fuzz_round(&f, seed + i);
    }
    fds_after = directory_entries("/proc/self/fd");
    threads_after = directory_entries("/proc/self/task");
    printf("%" G_GUINT64_FORMAT " rounds from seed %" G_GUINT64_FORMAT ": %u streams taken, %u refused; %u file descriptors and %u threads, %u and "
           "%u before\n", rounds, seed, f.taken, f.refused, fds_after, threads_after, fds, threads);
    for (guint i = 0; i < f.seeds->len; i++) {
        g_ptr_array_unref(g_array_index(f.seeds, Seed, i).pieces);
    }
    g_array_unref(f.seeds);
    unlink(f.path);
    rmdir(f.dir);
    g_free(f.path);
    g_free(f.dir);
    return fds_after != fds || threads_after != threads;
}
