/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small user-space NVMe driver (NVMe 1.4, 7.6.1) drives a controller's queues: in this process, by calls as a vCPU
 * makes them, and in a server, over the socket and shared memory.  Doorbells are registers (in process: calls; split:
 * messages without reply, or values in shared memory with an eventfd), or are polled: the doorbell buffer of NVMe 1.4
 * (5.7), whose values the controller finds by itself while it is awake.  The driver polls its completion queues, so no
 * interrupt is in the way.
 *
 *   bench-split --server QEMU [--drive OPTIONS] [--object OPTIONS] [--seconds N] [--rounds N] [--json]
 *
 * --drive are the options of -drive after id=d0 (default: a file of 64 MiB, then null-co), --object more options of the
 * object, like poll-us=0.  Prints operations per second of 4 KiB random reads and writes at depth 1 and 32, best of
 * --rounds interleaved rounds, their ratio to the same driver in process, and the server's memory, start and idle CPU; and
 * beside them what the same file does without a controller in front.
 * The goal is half of what is published of a polled storage target with a polled user-space client: 412,000 a second at
 * depth 1, 772,000 at 32.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bare.h"
#include "core/trace.h"
#include "hw/nvme/nvme.h"
#include "remote.h"

#define RAM_SIZE   (16u << 20)
#define DISK_SIZE  (64u << 20)
#define BAR        0xe0000000u
#define ASQ        0x10000u
#define ACQ        0x11000u
#define IOSQ       0x12000u
#define IOCQ       0x14000u
#define BUFFERS    0x100000u
#define SHADOW     0x16000u /* the doorbell buffer */
#define EVENTS     0x17000u
#define ENTRIES    64u
#define MAX_DEPTH  32u
#define IO_SIZE    4096u
#define OP_WRITE   1
#define OP_READ    2
#define START_MS   10000
#define IDLE_S     3
#define SPINS      64 /* then others may have the processor */

extern const PciModel nvme_model;
static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model, &nvme_model.dev, &nvme_ns_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

/* How a driver reaches its controller. */
typedef struct Link Link;
struct Link {
    const char *name;
    uint64_t (*reg_get)(Link *l, uint32_t offset, unsigned size);
    void (*reg_set)(Link *l, uint32_t offset, unsigned size, uint64_t val);
    void (*bell)(Link *l, unsigned index, uint32_t val);
    bool polled; /* bell() only when the controller asks for it */
    uint8_t *ram;
    int memory; /* its fd */
    /* in process */
    Machine *m;
    PciBus *bus;
    PciDevice *dev;
    MemRegion *region, *io;
    GThread *thread;
    int stop;
    /* split */
    pid_t pid;
    Remote remote;
    int bell_event;
    uint32_t *bells;
};


static double now(void)
{
    return (double)g_get_monotonic_time() / 1e6;
}

static void link_memory(Link *l)
{
    l->memory = memfd_create("bench", MFD_CLOEXEC);
    if (l->memory < 0 || ftruncate(l->memory, RAM_SIZE) < 0) {
        remote_die("memory");
    }
    l->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, l->memory, 0);
}

/* --- in process: the model on a bare bus, its loop in a thread as in a machine --- */

static void no_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
}

static void no_msi(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg)
{
}

static const PciBusOps bus_ops = {.set_intx = no_intx, .send_msi = no_msi};

static uint64_t local_get(Link *l, uint32_t offset, unsigned size)
{
    uint64_t val = 0;

    as_load(l->m->memory, BAR + offset, size, &val, MEM_ATTRS_CPU);
    return val;
}

static void local_set(Link *l, uint32_t offset, unsigned size, uint64_t val)
{
    as_store(l->m->memory, BAR + offset, size, val, MEM_ATTRS_CPU);
}

static void local_bell(Link *l, unsigned index, uint32_t val)
{
    local_set(l, NVME_REG_DOORBELLS + 4 * index, 4, val);
}

static gpointer local_main(gpointer opaque)
{
    Link *l = opaque;

    while (!__atomic_load_n(&l->stop, __ATOMIC_SEQ_CST)) {
        loop_iterate(l->m->main_loop, true);
    }
    return NULL;
}

static void local_open(Link *l, const char *drive)
{
    g_autofree char *text = g_strdup_printf("id=d0,%s", drive);
    g_autoptr(GError) error = NULL;
    struct json_object *opts = opts_parse("-drive", text, NULL, NULL);

    link_memory(l);
    l->m = machine_new(&bare_model, NULL);
    loop_lock(l->m->main_loop);
    l->region = mem_region_new_ram(l->m->topo, "ram", RAM_SIZE, l->ram, l->memory, 0, false);
    l->io = mem_region_new_container(l->m->topo, "io", 0x10000);
    mem_region_add(l->m->system_memory, 0, l->region);
    machine_set_kind_ops(l->m, MODEL_PCI, &pci_kind_ops);
    l->bus = pci_bus_new(l->m, "pcie.0", &bus_ops, l, true, l->m->system_memory, l->io, l->m->memory);
    if (!block_open(l->m, opts, &error) ||
        !(l->dev = pci_create(l->bus, PCI_DEVFN(3, 0), &nvme_model, "nvme0", &error, "serial", "bench", "drive", "d0", NULL))) {
        fprintf(stderr, "bench-split: %s\n", error->message);
        exit(1);
    }
    json_object_put(opts);
    pci_config_write(l->dev, PCI_BASE_ADDRESS_0, BAR, 4);
    pci_config_write(l->dev, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    loop_set_poll(l->m->main_loop, 200000); /* as the server does */
    loop_unlock(l->m->main_loop);
    l->thread = g_thread_new("main loop", local_main, l);
}

static void local_close(Link *l)
{
    __atomic_store_n(&l->stop, 1, __ATOMIC_SEQ_CST);
    loop_wake(l->m->main_loop);
    g_thread_join(l->thread);
    loop_lock(l->m->main_loop);
    device_destroy(&l->dev->dev);
    block_close_all(l->m);
    pci_bus_free(l->bus);
    mem_region_del(l->m->system_memory, l->region);
    mem_region_unref(l->region);
    mem_region_unref(l->io);
    loop_unlock(l->m->main_loop);
    machine_free(l->m);
    munmap(l->ram, RAM_SIZE);
    close(l->memory);
}

/* --- split --- */

static uint64_t split_get(Link *l, uint32_t offset, unsigned size)
{
    return remote_get(&l->remote, 0, offset, size);
}

static void split_set(Link *l, uint32_t offset, unsigned size, uint64_t val)
{
    remote_set(&l->remote, 0, offset, size, val, false);
}

static void message_bell(Link *l, unsigned index, uint32_t val)
{
    remote_set(&l->remote, 0, NVME_REG_DOORBELLS + 4 * index, 4, val, true);
}

static void eventfd_bell(Link *l, unsigned index, uint32_t val)
{
    const uint64_t one = 1;

    __atomic_store_n(&l->bells[index], val, __ATOMIC_RELEASE);
    if (write(l->bell_event, &one, sizeof(one)) != sizeof(one)) {
        remote_die("eventfd");
    }
}

static void split_connect(Link *l, const char *path)
{
    link_memory(l);
    remote_connect(&l->remote, path, l->memory, RAM_SIZE);
    remote_get_bells(&l->remote, 0);
    /* All share an eventfd and a file. */
    l->bell_event = l->remote.bells[0].event;
    l->bells = l->remote.values;
    remote_set(&l->remote, REMOTE_CONFIG, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, false);
}

static double split_start(Link *l, const char *server, const char *drive, const char *more, const char *path)
{
    g_autofree char *drive_opt = g_strdup_printf("id=d0,if=none,%s", drive);
    g_autofree char *object = g_strdup_printf("x-vfio-user-server,id=vfu0,type=unix,path=%s,device=nvme0%s%s", path,
                                              more ? "," : "", more ? more : "");
    double begin = now();

    l->pid = fork();
    if (l->pid == 0) {
        execlp(server, server, "-machine", "x-remote,vfio-user=on", "-nodefaults", "-display", "none", "-drive", drive_opt,
               "-device", "nvme,id=nvme0,serial=bench,drive=d0", "-object", object, NULL);
        remote_die(server);
    }
    while (access(path, F_OK) < 0 && now() - begin < START_MS / 1000.0) {
        g_usleep(50);
    }
    return (now() - begin) * 1000;
}

/* --- the driver --- */

static void command_at(Link *l, uint32_t queue, unsigned slot, uint8_t opcode, uint32_t nsid, uint64_t prp, uint32_t cdw10,
                       uint32_t cdw11, uint32_t cdw12)
{
    NvmeCmd cmd = {.opcode = opcode, .cid = (uint16_t)slot, .nsid = nsid, .prp1 = prp, .cdw10 = cdw10, .cdw11 = cdw11,
                   .cdw12 = cdw12};

    memcpy(l->ram + queue + slot * sizeof(cmd), &cmd, sizeof(cmd));
}

static uint16_t cqe_status(Link *l, uint32_t queue, unsigned slot)
{
    uint16_t *status = (uint16_t *)(void *)(l->ram + queue + slot * NVME_CQE_SIZE + 14);

    return __atomic_load_n(status, __ATOMIC_ACQUIRE);
}

static void wait_status(Link *l, uint32_t queue, unsigned slot, unsigned phase)
{
    for (unsigned i = 0; (cqe_status(l, queue, slot) & 1) != phase; i++) {
        if (i % SPINS) {
            __builtin_ia32_pause();
        } else {
            sched_yield();
        }
    }
    if (cqe_status(l, queue, slot) >> 1) {
        fprintf(stderr, "bench-split: %s: command failed: 0x%x\n", l->name, cqe_status(l, queue, slot) >> 1);
        exit(1);
    }
}

/* The doorbell of I/O queue `index`, as annex B of NVMe 1.4 has it. */
static void ring(Link *l, unsigned index, uint32_t val)
{
    uint32_t *shadow = (uint32_t *)(void *)(l->ram + SHADOW) + index, *event = (uint32_t *)(void *)(l->ram + EVENTS) + index;
    uint32_t old;

    if (!l->polled) {
        l->bell(l, index, val);
        return;
    }
    old = *shadow;
    __atomic_store_n(shadow, val, __ATOMIC_SEQ_CST);
    if ((uint16_t)(val - __atomic_load_n(event, __ATOMIC_SEQ_CST) - 1) < (uint16_t)(val - old)) {
        l->bell(l, index, val);
    }
}

static void driver_start(Link *l)
{
    memset(l->ram, 0, BUFFERS);
    l->reg_set(l, NVME_REG_CC, 4, 0);
    while (l->reg_get(l, NVME_REG_CSTS, 4) & NVME_CSTS_RDY) {
        sched_yield();
    }
    l->reg_set(l, NVME_REG_AQA, 4, 0x000f000f);
    l->reg_set(l, NVME_REG_ASQ, 8, ASQ);
    l->reg_set(l, NVME_REG_ACQ, 8, ACQ);
    l->reg_set(l, NVME_REG_CC, 4, 0x00460001);
    while (!(l->reg_get(l, NVME_REG_CSTS, 4) & NVME_CSTS_RDY)) {
        sched_yield();
    }
    command_at(l, ASQ, 0, 5, 0, IOCQ, (ENTRIES - 1) << 16 | 1, 1, 0); /* no interrupt */
    command_at(l, ASQ, 1, 1, 0, IOSQ, (ENTRIES - 1) << 16 | 1, 1 << 16 | 1, 0);
    l->bell(l, 0, 2);
    wait_status(l, ACQ, 0, 1);
    wait_status(l, ACQ, 1, 1);
    if (l->polled) {
        command_at(l, ASQ, 2, 0x7c, 0, SHADOW, 0, 0, 0);
        ((NvmeCmd *)(void *)(l->ram + ASQ))[2].prp2 = EVENTS;
        l->bell(l, 0, 3);
        wait_status(l, ACQ, 2, 1);
    }
}

/* Operations per second. */
static double driver_run(Link *l, uint8_t opcode, unsigned depth, double seconds)
{
    unsigned tail = 0, head = 0, phase = 1;
    uint64_t done = 0, lba = 88172645463325252u;
    double begin, end;

    driver_start(l);
    begin = now();
    end = begin + seconds;
    for (unsigned in_flight = 0; now() < end || in_flight;) {
        while (in_flight < depth && now() < end) {
            lba ^= lba << 13;
            lba ^= lba >> 7;
            lba ^= lba << 17;
            command_at(l, IOSQ, tail, opcode, 1, BUFFERS + tail * IO_SIZE, (uint32_t)(lba % (DISK_SIZE / IO_SIZE) * 8), 0, 7);
            tail = (tail + 1) % ENTRIES;
            in_flight++;
            if (in_flight == depth) {
                ring(l, 2, tail);
            }
        }
        if (in_flight && in_flight < depth) {
            ring(l, 2, tail);
        }
        wait_status(l, IOCQ, head, phase);
        do {
            head = (head + 1) % ENTRIES;
            phase ^= head == 0;
            in_flight--;
            done++;
        } while (in_flight && (cqe_status(l, IOCQ, head) & 1) == phase);
        ring(l, 3, head);
    }
    return (double)done / (now() - begin);
}

/* --- the server as a process --- */

static double private_mib(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps_rollup", pid), *text = NULL;
    double kib = 0;

    g_file_get_contents(path, &text, NULL, NULL);
    for (char *at = text; at && (at = strstr(at, "Private_")); at++) {
        kib += strtod(strchr(at, ':') + 1, NULL);
    }
    return kib / 1024;
}

/* Of all its threads, those that have ended too: workers of io_uring come and go. */
static double cpu_seconds(pid_t pid)
{
    struct timespec used = {0};
    clockid_t clock;

    g_assert(!clock_getcpuclockid(pid, &clock) && !clock_gettime(clock, &used));
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static double idle_percent(pid_t pid)
{
    double before, begin;

    g_usleep(500000);
    before = cpu_seconds(pid);
    begin = now();
    g_usleep(IDLE_S * 1000000);
    return (cpu_seconds(pid) - before) / (now() - begin) * 100;
}

/* --- */

static const struct {
    const char *name;
    uint8_t opcode;
    unsigned depth;
    double goal;
} rows[] = {{"randread-1", OP_READ, 1, 206000},
            {"randread-32", OP_READ, 32, 386000},
            {"randwrite-1", OP_WRITE, 1, 206000},
            {"randwrite-32", OP_WRITE, 32, 386000}};

/* How the doorbells travel; the split ones are measured against the one in process of the same kind. */
enum { REGISTER, POLLED, LOCAL_WAYS, MESSAGE = LOCAL_WAYS, EVENTFD, POLLED_EVENTFD, WAYS };
static const struct {
    const char *name;
    void (*bell)(Link *l, unsigned index, uint32_t val);
    bool polled;
    unsigned against;
} ways[WAYS] = {
    [REGISTER] = {"in-process", local_bell, false, REGISTER},      [POLLED] = {"in-process-polled", local_bell, true, POLLED},
    [MESSAGE] = {"message", message_bell, false, REGISTER},        [EVENTFD] = {"eventfd", eventfd_bell, false, REGISTER},
    [POLLED_EVENTFD] = {"polled", eventfd_bell, true, POLLED},
};

typedef struct Options {
    const char *server, *object, *dir;
    double seconds;
    int rounds;
    bool json;
} Options;

static double number(struct json_object *out, const char *name, double val)
{
    json_object_object_add(out, name, json_object_new_double(val));
    return val;
}

/* What the file alone does, best of the rounds. */
typedef struct Bare {
    double uring, waiting; /* waiting: at depth 1 only */
} Bare;

static void bare_round(Bare *bare, unsigned i, const char *file, double seconds)
{
    bool write = rows[i].opcode == OP_WRITE;

    bare->uring = MAX(bare->uring, bare_uring_rate(file, write, rows[i].depth, DISK_SIZE, IO_SIZE, seconds));
    if (rows[i].depth == 1) {
        bare->waiting = MAX(bare->waiting, bare_waiting_rate(file, write, DISK_SIZE, IO_SIZE, seconds));
    }
}

/* What bounds a row; bare: NULL when there is no file. */
static void report_bounds(unsigned i, const Bare *bare, double polled, bool json, struct json_object *row)
{
    number(row, "polled-to-goal", polled / rows[i].goal);
    if (bare) {
        number(row, "file-alone", bare->uring);
        number(row, "file-alone-waiting", bare->waiting);
    }
    if (json) {
        return;
    }
    printf(" polled/goal %.2f\n", polled / rows[i].goal);
    if (bare) {
        printf("      the file alone: io_uring %.0f/s, %.2f of the goal", bare->uring, bare->uring / rows[i].goal);
        if (bare->waiting) {
            printf("; pread, pwrite %.0f/s", bare->waiting);
        }
        printf("\n");
    }
    fflush(stdout);
}

/* Best of the rounds, which go through all ways in turn: what else the machine does hits all alike. */
static void bench_row(Link *local, Link *split, unsigned i, const Options *o, const char *file, struct json_object *row)
{
    double best[WAYS] = {0};
    Bare bare = {0};

    for (int round = 0; round < o->rounds; round++) {
        for (unsigned w = 0; w < WAYS; w++) {
            Link *l = w < LOCAL_WAYS ? local : split;
            double rate;

            l->bell = ways[w].bell;
            l->polled = ways[w].polled;
            rate = driver_run(l, rows[i].opcode, rows[i].depth, o->seconds);
            best[w] = MAX(best[w], rate);
        }
        if (file) {
            bare_round(&bare, i, file, o->seconds);
        }
    }
    if (!o->json) {
        printf("  %-13s", rows[i].name);
    }
    for (unsigned w = 0; w < WAYS; w++) {
        double ratio = best[w] / best[ways[w].against];
        g_autofree char *name = g_strdup_printf("%s-ratio", ways[w].name);

        number(row, ways[w].name, best[w]);
        if (w >= LOCAL_WAYS) {
            number(row, name, ratio);
        }
        if (!o->json) {
            printf(w < LOCAL_WAYS ? " %s %7.0f/s " : " %s %7.0f/s (%.2f) ", ways[w].name, best[w], ratio);
        }
    }
    report_bounds(i, file ? &bare : NULL, best[POLLED_EVENTFD], o->json, row);
}

/* file: the image behind it, when it is ours. */
static struct json_object *bench_drive(const char *name, const char *drive, const char *file, const Options *o)
{
    g_autofree char *path = g_build_filename(o->dir, "bench.sock", NULL);
    struct json_object *out = json_object_new_object();
    Link local = {.name = "in process", .reg_get = local_get, .reg_set = local_set, .bell = local_bell};
    Link split = {.name = "split", .reg_get = split_get, .reg_set = split_set, .bell = message_bell};
    double start = number(out, "start-ms", split_start(&split, o->server, drive, o->object, path)), memory, idle;

    split_connect(&split, path);
    memory = number(out, "private-mib", private_mib(split.pid));
    idle = number(out, "idle-cpu-percent", idle_percent(split.pid));
    if (!o->json) {
        printf("%s: the server listens after %.1f ms, %.1f MiB private, idle CPU %.3f %%\n", name, start, memory, idle);
    }
    local_open(&local, drive);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct json_object *row = json_object_new_object();

        bench_row(&local, &split, i, o, file, row);
        json_object_object_add(out, rows[i].name, row);
    }
    number(out, "idle-cpu-percent-after", idle = idle_percent(split.pid));
    if (!o->json) {
        printf("  afterwards: %.1f MiB private, idle CPU %.3f %%\n", private_mib(split.pid), idle);
    }
    local_close(&local);
    close(split.remote.sock); /* its last client leaves: it ends */
    munmap(split.ram, RAM_SIZE);
    close(split.memory);
    waitpid(split.pid, NULL, 0);
    return out;
}

int main(int argc, char **argv)
{
    g_autofree char *dir = g_dir_make_tmp("bench-split-XXXXXX", NULL), *image = g_build_filename(dir, "disk.img", NULL);
    g_autofree char *file = g_strdup_printf("file=%s,format=raw,locking=off", image), *server = NULL, *drive = NULL, *more = NULL;
    gboolean json = FALSE;
    struct json_object *out = json_object_new_object();
    double seconds = 1;
    int rounds = 2, fd;
    const GOptionEntry options[] = {{"server", 0, 0, G_OPTION_ARG_FILENAME, &server, "the emulator", "QEMU"},
                                    {"drive", 0, 0, G_OPTION_ARG_STRING, &drive, "options of -drive", "OPTIONS"},
                                    {"object", 0, 0, G_OPTION_ARG_STRING, &more, "options of the object", "OPTIONS"},
                                    {"seconds", 0, 0, G_OPTION_ARG_DOUBLE, &seconds, "of each run", "N"},
                                    {"rounds", 0, 0, G_OPTION_ARG_INT, &rounds, "of which the best counts", "N"},
                                    {"json", 0, 0, G_OPTION_ARG_NONE, &json, "one line of JSON", NULL},
                                    {NULL, 0, 0, 0, NULL, NULL, NULL}};
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    Options o;

    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, NULL) || !server) {
        fprintf(stderr, "usage: bench-split --server QEMU [--drive OPTIONS] [--object OPTIONS] [--seconds N]"
                        " [--rounds N] [--json]\n");
        return 2;
    }
    fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, DISK_SIZE)) {
        remote_die(image);
    }
    close(fd);
    o = (Options){server, more, dir, seconds, rounds, json};
    json_object_object_add(out, drive ? "drive" : "file", bench_drive(drive ? drive : "file", drive ? drive : file, drive ? NULL : image, &o));
    if (!drive) {
        json_object_object_add(out, "null", bench_drive("null", "file=null-co://,format=raw,size=64M", NULL, &o));
    }
    if (json) {
        printf("%s\n", json_object_to_json_string_ext(out, JSON_C_TO_STRING_PLAIN));
    }
    json_object_put(out);
    unlink(image);
    rmdir(dir);
    return 0;
}
