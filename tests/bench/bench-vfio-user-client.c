/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a device behind a socket costs a CPU, each against the bare system calls it cannot do without, between
 * two threads of one process.  Prints one JSON line for each; the ratio is what counts, times depend on the
 * machine.  Where the scheduler puts two threads that wake each other decides more than what either does, so
 * every row says where they are: with the server on the CPU's core, or on one of its own, and the bare pair in the
 * same place.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../contract/contract-device.h"
#include "core/poll-window.h"
#include "core/trace.h"
#include "hw/vfio/vfio-pci-device.h"

#define DEVICES  4
#define RAM_SIZE (64u << 20)
#define BAR0(n)  (0xe0000000u + 0x100000u * (n))
#define BAR4(n)  (0xe1000000u + 0x100000u * (n))
#define ROUNDS   400 /* few: what a busy machine adds is then not in all of them */
#define REPEATS  75
#define POLL_US  50
#define STARTUP_TRIPS 30
#define STORMS   5
#define WRITES   20000
#define SECTIONS 10000

#define REQUEST_SIZE 32
#define REPLY_SIZE   36
#define POSTED_SIZE  36

extern const PciModel vfio_user_pci_model;
static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef enum Side { CPU_SIDE, SERVER_SIDE } Side;

typedef struct Placement {
    const char *name;
    int cores[2]; /* indexes of allowed ones, of each side; -1: wherever the scheduler likes */
} Placement;

static const Placement placements[] = {
    {"one core", {0, 0}}, {"two cores", {0, 1}}, {"anywhere", {-1, -1}}};

typedef struct Bench {
    const Placement *placement;
    cpu_set_t allowed;
    ContractDevice devices[DEVICES];
    ContractServer *servers[DEVICES];
    PciDevice *pci[DEVICES];
    char *dir;
    Machine *m;
    void *ram;
    MemRegion *ram_region, *io;
    PciBus *bus;
    int interrupted; /* a message reached the bus; atomic */
    LoopWaiter *cpu;
} Bench;

/* --- places --- */

/* The calling thread, and those it starts from now on, run on that side. */
static void go_to(const Bench *b, Side side)
{
    int skip = b->placement->cores[side];
    cpu_set_t set = b->allowed;

    for (int i = 0; skip >= 0 && i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &b->allowed) && !skip--) {
            CPU_ZERO(&set);
            CPU_SET(i, &set);
        }
    }
    g_assert(!sched_setaffinity(0, sizeof(set), &set));
}

static GThread *server_side_thread(const Bench *b, GThreadFunc fn, gpointer opaque)
{
    GThread *thread;

    go_to(b, SERVER_SIDE);
    thread = g_thread_new("server side", fn, opaque);
    go_to(b, CPU_SIDE);
    return thread;
}

/* --- the machine --- */

static void bus_set_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
}

static void bus_send_msi(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg)
{
    __atomic_store_n(&((Bench *)bus->opaque)->interrupted, 1, __ATOMIC_SEQ_CST);
}

static const PciBusOps bus_ops = {.set_intx = bus_set_intx, .send_msi = bus_send_msi};

static void machine_up(Bench *b)
{
    b->dir = g_dir_make_tmp("bench-vfio-user-XXXXXX", NULL);
    b->m = machine_new(&bare_model, NULL);
    loop_lock(b->m->main_loop);
    b->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    b->ram_region = mem_region_new_ram(b->m->topo, "ram", RAM_SIZE, b->ram, -1, 0, false);
    b->io = mem_region_new_container(b->m->topo, "io", 0x10000);
    machine_set_kind_ops(b->m, MODEL_PCI, &pci_kind_ops);
    b->bus = pci_bus_new(b->m, "pcie.0", &bus_ops, b, true, b->m->system_memory, b->io, b->m->memory);
}

static void plug(Bench *b, unsigned n, const char *poll_us)
{
    g_autofree char *path = g_strdup_printf("%s/%u", b->dir, n), *id = g_strdup_printf("dut%u", n);
    g_autoptr(GError) error = NULL;

    go_to(b, SERVER_SIDE);
    b->servers[n] = contract_server_new(&b->devices[n], path);
    go_to(b, CPU_SIDE);
    b->pci[n] = pci_create(b->bus, PCI_DEVFN((int)n + 1, 0), &vfio_user_pci_model, id, &error, "socket", path,
                           "poll-us", poll_us, NULL);
    g_assert_no_error(error);
    pci_config_write(b->pci[n], PCI_BASE_ADDRESS_0, BAR0(n), 4);
    pci_config_write(b->pci[n], PCI_BASE_ADDRESS_4, BAR4(n), 4);
    pci_config_write(b->pci[n], PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static void unplug(Bench *b, unsigned n)
{
    device_destroy(&b->pci[n]->dev);
    contract_server_free(b->servers[n]);
    contract_device_cleanup(&b->devices[n]);
}

static void machine_down(Bench *b)
{
    pci_bus_free(b->bus);
    mem_region_unref(b->io);
    mem_region_retire(b->ram_region);
    mem_region_unref(b->ram_region);
    loop_unlock(b->m->main_loop);
    machine_free(b->m);
    munmap(b->ram, RAM_SIZE);
    rmdir(b->dir);
    g_free(b->dir);
}

typedef struct Result {
    double bare[REPEATS], client[REPEATS], ratios[REPEATS]; /* microseconds */
    unsigned count;
} Result;

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* Both were measured in turn. */
static void result_add(Result *r, double bare, double client)
{
    r->bare[r->count] = bare;
    r->client[r->count] = client;
    r->ratios[r->count++] = client / bare;
}

/* What a busy machine adds is not in the shortest; the median of the ratios says whether those are like the others. */
static void report(const Bench *b, const char *name, Result *r)
{
    double *all[] = {r->bare, r->client, r->ratios};

    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        qsort(all[i], r->count, sizeof(double), by_size);
    }
    printf("{\"bench\": \"vfio-user-client %s\", \"placement\": \"%s\", \"bare_us\": %.2f, \"client_us\": %.2f, "
           "\"ratio\": %.2f, \"median_ratio\": %.2f}\n",
           name, b->placement->name, r->bare[0], r->client[0], r->client[0] / r->bare[0], r->ratios[r->count / 2]);
    fflush(stdout);
}

/* One round of what is measured, by thread number `thread`. */
typedef void RoundFn(void *opaque, unsigned thread);

typedef struct Runner {
    RoundFn *fn;
    void *opaque;
    unsigned thread, rounds;
} Runner;

static gpointer runner_thread(gpointer opaque)
{
    Runner *r = opaque;

    for (unsigned i = 0; i < r->rounds; i++) {
        r->fn(r->opaque, r->thread);
    }
    return NULL;
}

/* Microseconds a round, with ROUNDS of them shared out among the threads. */
static double run(RoundFn *fn, void *opaque, unsigned threads)
{
    Runner runners[DEVICES];
    GThread *started[DEVICES];
    gint64 begin = g_get_monotonic_time();

    for (unsigned i = 0; i < threads; i++) {
        runners[i] = (Runner){fn, opaque, i, ROUNDS / threads};
        started[i] = g_thread_new("cpu", runner_thread, &runners[i]);
    }
    for (unsigned i = 0; i < threads; i++) {
        g_thread_join(started[i]);
    }
    return (double)(g_get_monotonic_time() - begin) / ROUNDS;
}

static void compare(Bench *b, const char *name, RoundFn *bare, void *bare_opaque, RoundFn *client,
                    void *client_opaque, unsigned threads)
{
    Result result = {.count = 0};
    unsigned depth = loop_release(b->m->main_loop);

    for (unsigned i = 0; i < REPEATS; i++) {
        double once = run(bare, bare_opaque, threads);

        result_add(&result, once, run(client, client_opaque, threads));
    }
    loop_reacquire(b->m->main_loop, depth);
    report(b, name, &result);
}

/* --- bare sockets --- */

typedef struct Pairs Pairs;

typedef struct Pair {
    int fds[2];            /* ours, the echo's */
    PollWindow windows[2]; /* of both; max_ns 0: neither looks before it sleeps */
    GThread *echo;
} Pair;

struct Pairs {
    Pair pairs[DEVICES];
};

static ssize_t pair_recv(Pair *p, Side side, void *buf, size_t size, int flags)
{
    struct pollfd fd = {p->fds[side], POLLIN, 0};
    PollWindow *w = &p->windows[side];
    gint64 begin = w->max_ns ? g_get_monotonic_time() : 0;
    ssize_t got;

    if (w->max_ns) {
        poll_window_look(w, &fd, 1, INT64_MAX);
    }
    got = recv(p->fds[side], buf, size, flags);
    if (w->max_ns) {
        poll_window_learn(w, (g_get_monotonic_time() - begin) * 1000);
    }
    return got;
}

/* Answers every request of REQUEST_SIZE; posted writes are of another size, and come before one. */
static gpointer echo_thread(gpointer opaque)
{
    Pair *p = opaque;
    char buf[REPLY_SIZE + REQUEST_SIZE + POSTED_SIZE] = {0};
    ssize_t got, have = 0;

    while ((got = pair_recv(p, SERVER_SIDE, buf, sizeof(buf), 0)) > 0) {
        have += got;
        have -= have >= POSTED_SIZE && have != REQUEST_SIZE ? POSTED_SIZE : 0;
        if (have == REQUEST_SIZE) {
            have = 0;
            send(p->fds[SERVER_SIDE], buf, REPLY_SIZE, MSG_NOSIGNAL);
        }
    }
    return NULL;
}

static void pairs_stop(Pairs *pairs)
{
    for (unsigned i = 0; i < DEVICES; i++) {
        Pair *p = &pairs->pairs[i];

        shutdown(p->fds[CPU_SIDE], SHUT_RDWR);
        g_thread_join(p->echo);
        close(p->fds[CPU_SIDE]);
        close(p->fds[SERVER_SIDE]);
    }
}

static void bare_read(void *opaque, unsigned thread)
{
    Pair *p = &((Pairs *)opaque)->pairs[thread];
    char buf[REPLY_SIZE] = {0};

    g_assert(send(p->fds[CPU_SIDE], buf, REQUEST_SIZE, 0) == REQUEST_SIZE);
    g_assert(pair_recv(p, CPU_SIDE, buf, REPLY_SIZE, MSG_WAITALL) == REPLY_SIZE);
}

static void pairs_start(const Bench *b, Pairs *pairs, unsigned poll_us)
{
    for (unsigned i = 0; i < DEVICES; i++) {
        Pair *p = &pairs->pairs[i];

        *p = (Pair){.windows = {{.max_ns = poll_us * 1000}, {.max_ns = poll_us * 1000}}};
        g_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p->fds));
        p->echo = server_side_thread(b, echo_thread, p);
        /* A server has talked with the main thread before, too: where it slept last matters where threads are not pinned. */
        for (unsigned n = 0; n < STARTUP_TRIPS; n++) {
            bare_read(pairs, i);
        }
    }
}

static void bare_write_read(void *opaque, unsigned thread)
{
    Pair *p = &((Pairs *)opaque)->pairs[thread];
    char buf[POSTED_SIZE] = {0};

    g_assert(send(p->fds[CPU_SIDE], buf, POSTED_SIZE, 0) == POSTED_SIZE);
    bare_read(opaque, thread);
}

/* --- registers --- */

static void client_read(void *opaque, unsigned thread)
{
    uint64_t val;

    as_load(((Bench *)opaque)->m->memory, BAR0(0) + 0x10, 4, &val, MEM_ATTRS_CPU);
}

static void client_read_own(void *opaque, unsigned thread)
{
    uint64_t val;

    as_load(((Bench *)opaque)->m->memory, BAR0(thread) + 0x10, 4, &val, MEM_ATTRS_CPU);
}

static void client_write_read(void *opaque, unsigned thread)
{
    as_store(((Bench *)opaque)->m->memory, BAR0(0) + 0x10, 4, 1, MEM_ATTRS_CPU);
    client_read(opaque, thread);
}

/* What is measured is the client, against a server that does as little as the bare one. */
static void go_bare(Bench *b, unsigned n, unsigned poll_us)
{
    client_read_own(b, n); /* all before it is answered by then */
    contract_server_go_bare(b->servers[n], poll_us * 1000);
    client_read_own(b, n);
}

static void bench_registers(Bench *b, unsigned poll_us, const char *suffix)
{
    Pairs pairs;
    g_autofree char *limit = g_strdup_printf("%u", poll_us);
    g_autofree char *names[] = {g_strconcat("read", suffix, NULL),
                                g_strconcat("posted write and read", suffix, NULL),
                                g_strconcat("read, 4 threads on one device", suffix, NULL),
                                g_strconcat("read, 4 threads on 4 devices", suffix, NULL)};

    for (unsigned n = 0; n < DEVICES; n++) {
        contract_device_init(&b->devices[n]);
        b->devices[n].twin = true;
        plug(b, n, limit);
        go_bare(b, n, poll_us);
    }
    pairs_start(b, &pairs, poll_us);
    compare(b, names[0], bare_read, &pairs, client_read, b, 1);
    compare(b, names[1], bare_write_read, &pairs, client_write_read, b, 1);
    compare(b, names[2], bare_read, &pairs, client_read, b, DEVICES);
    compare(b, names[3], bare_read, &pairs, client_read_own, b, DEVICES);
    pairs_stop(&pairs);
    for (unsigned n = 0; n < DEVICES; n++) {
        unplug(b, n);
        g_clear_pointer(&names[n], g_free);
    }
}

/* --- doorbell and interrupt: one eventfd there, one back --- */

#define BELL_QUIT 1000000

typedef struct Bell {
    Bench *b;
    int there, back;
    int vector; /* >= 0: what answers raises it at the device */
} Bell;

static gpointer bell_thread(gpointer opaque)
{
    Bell *bell = opaque;
    eventfd_t count;

    while (!eventfd_read(bell->there, &count) && count < BELL_QUIT) {
        if (bell->vector >= 0) {
            contract_raise(&bell->b->devices[0], (unsigned)bell->vector);
        } else {
            eventfd_write(bell->back, 1);
        }
    }
    return NULL;
}

static void bell_bare(void *opaque, unsigned thread)
{
    Bell *bell = opaque;
    eventfd_t count;

    eventfd_write(bell->there, 1);
    eventfd_read(bell->back, &count);
}

static void bell_store(void *opaque, unsigned thread)
{
    Bell *bell = opaque;
    eventfd_t count;

    as_store(bell->b->m->memory, BAR0(0), 4, 1, MEM_ATTRS_CPU);
    eventfd_read(bell->back, &count);
}

static void bell_compare(Bench *b, const char *name, RoundFn *client, int vector, int there)
{
    Bell bare = {b, eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC), -1};
    Bell bell = {b, there, eventfd(0, EFD_CLOEXEC), vector};
    GThread *threads[] = {server_side_thread(b, bell_thread, &bare), server_side_thread(b, bell_thread, &bell)};

    compare(b, name, bell_bare, &bare, client, &bell, 1);
    eventfd_write(bare.there, BELL_QUIT);
    eventfd_write(there, BELL_QUIT);
    g_thread_join(threads[0]);
    g_thread_join(threads[1]);
    close(bare.there);
    close(bare.back);
    close(bell.back);
}

static void bench_doorbell(Bench *b)
{
    int there = eventfd(0, EFD_CLOEXEC);

    contract_device_init(&b->devices[0]);
    b->devices[0].doorbell = there;
    plug(b, 0, "20");
    bell_compare(b, "doorbell", bell_store, -1, there);
    unplug(b, 0);
    close(there);
}

/* The waiting CPU takes the interrupt itself, as halted ones do. */
static void bell_interrupt(void *opaque, unsigned thread)
{
    Bell *bell = opaque;

    eventfd_write(bell->there, 1);
    while (!__atomic_exchange_n(&bell->b->interrupted, 0, __ATOMIC_SEQ_CST)) {
        loop_waiter_sleep(bell->b->cpu);
    }
}

static void bench_interrupt(Bench *b)
{
    int there = eventfd(0, EFD_CLOEXEC);
    uint32_t unmasked = 0;

    contract_device_init(&b->devices[0]);
    plug(b, 0, "20");
    as_write(b->m->memory, BAR4(0) + 12, &unmasked, 4, MEM_ATTRS_CPU);
    pci_config_write(b->pci[0], 0x42, PCI_MSIX_FLAGS_ENABLE, 2);
    pci_config_read(b->pci[0], PCI_STATUS, 2);
    b->cpu = loop_waiter_new(b->m->main_loop, 0);
    bell_compare(b, "interrupt", bell_interrupt, 0, there);
    loop_waiter_free(b->cpu);
    unplug(b, 0);
    close(there);
}

/* --- a transaction of many maps --- */

#define MAP_SIZE    48
#define MAPPED_SIZE 16

static gpointer map_echo(gpointer opaque)
{
    int fd = GPOINTER_TO_INT(opaque);
    char buf[MAP_SIZE] = {0};

    while (recv(fd, buf, MAP_SIZE, MSG_WAITALL) == MAP_SIZE &&
           send(fd, buf, MAPPED_SIZE, MSG_NOSIGNAL) == MAPPED_SIZE) {
    }
    return NULL;
}

static double storm_bare(const Bench *b)
{
    char buf[MAP_SIZE] = {0};
    int fds[2], sent = 0, answered = 0;
    GThread *echo;
    gint64 begin;

    g_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    echo = server_side_thread(b, map_echo, GINT_TO_POINTER(fds[1]));
    begin = g_get_monotonic_time();
    while (answered < SECTIONS) {
        struct iovec iov = {buf, MAP_SIZE};
        bool full = sent == SECTIONS ||
                    sendmsg(fds[0], &(struct msghdr){.msg_iov = &iov, .msg_iovlen = 1}, MSG_DONTWAIT) < 0;

        sent += !full;
        if (full) {
            g_assert(recv(fds[0], buf, MAPPED_SIZE, MSG_WAITALL) == MAPPED_SIZE);
            answered++;
        }
    }
    begin = g_get_monotonic_time() - begin;
    shutdown(fds[0], SHUT_RDWR);
    g_thread_join(echo);
    close(fds[0]);
    close(fds[1]);
    return (double)begin;
}

static double storm_client(Bench *b, MemRegion **pieces)
{
    g_autoptr(GError) error = NULL;
    gint64 begin;

    mem_begin(b->m->topo);
    for (unsigned i = 0; i < SECTIONS; i++) {
        pieces[i] = mem_region_new_alias(b->m->topo, "piece", b->ram_region, i * 0x1000, 0x1000);
        mem_region_add(b->m->system_memory, 0x10000000 + i * 0x2000, pieces[i]);
    }
    begin = g_get_monotonic_time();
    mem_commit(b->m->topo, &error);
    begin = g_get_monotonic_time() - begin;
    g_assert_no_error(error);
    mem_begin(b->m->topo);
    for (unsigned i = 0; i < SECTIONS; i++) {
        mem_region_del(b->m->system_memory, pieces[i]);
        mem_region_unref(pieces[i]);
    }
    mem_commit(b->m->topo, NULL);
    return (double)begin;
}

static void bench_storm(Bench *b)
{
    g_autofree MemRegion **pieces = g_new(MemRegion *, SECTIONS);
    Result result = {.count = 0};

    contract_device_init(&b->devices[0]);
    b->devices[0].twin = true;
    plug(b, 0, "20");
    go_bare(b, 0, 0);
    for (unsigned i = 0; i < STORMS; i++) {
        double bare = storm_bare(b);

        result_add(&result, bare, storm_client(b, pieces));
    }
    report(b, "remap of 10000 sections", &result);
    unplug(b, 0);
}

/* --- bandwidth of posted writes, up to the read that says all are done --- */

static void bare_posted(int fd)
{
    char buf[POSTED_SIZE] = {0};

    for (unsigned i = 0; i < WRITES; i++) {
        g_assert(send(fd, buf, POSTED_SIZE, 0) == POSTED_SIZE);
    }
    shutdown(fd, SHUT_WR);
    g_assert(recv(fd, buf, 1, 0) == 1);
}

static gpointer sink_thread(gpointer opaque)
{
    int fd = GPOINTER_TO_INT(opaque);
    char buf[16384];

    while (recv(fd, buf, sizeof(buf), 0) > 0) {
    }
    send(fd, buf, 1, MSG_NOSIGNAL);
    return NULL;
}

static double posted_bare(const Bench *b)
{
    int fds[2];
    GThread *sink;
    gint64 begin;

    g_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    sink = server_side_thread(b, sink_thread, GINT_TO_POINTER(fds[1]));
    begin = g_get_monotonic_time();
    bare_posted(fds[0]);
    begin = g_get_monotonic_time() - begin;
    g_thread_join(sink);
    close(fds[0]);
    close(fds[1]);
    return (double)begin / WRITES;
}

static double posted_client(Bench *b, bool multi)
{
    gint64 begin;
    unsigned depth;

    contract_device_init(&b->devices[0]);
    b->devices[0].write_multiple = multi;
    b->devices[0].twin = true;
    plug(b, 0, "20");
    go_bare(b, 0, 0);
    depth = loop_release(b->m->main_loop);
    begin = g_get_monotonic_time();
    for (unsigned i = 0; i < WRITES; i++) {
        as_store(b->m->memory, BAR0(0) + 8 * (i % 64), 4, i, MEM_ATTRS_CPU);
    }
    client_read(b, 0);
    begin = g_get_monotonic_time() - begin;
    loop_reacquire(b->m->main_loop, depth);
    unplug(b, 0);
    return (double)begin / WRITES;
}

static void bench_posted(Bench *b)
{
    Result each = {.count = 0}, gathered = {.count = 0};

    for (unsigned i = 0; i < STORMS; i++) {
        double bare = posted_bare(b);

        result_add(&each, bare, posted_client(b, false));
        result_add(&gathered, bare, posted_client(b, true));
    }
    report(b, "posted write, each a message", &each);
    report(b, "posted write, gathered", &gathered);
}

static void bench_plain(Bench *b)
{
    bench_registers(b, 0, "");
}

static void bench_polling(Bench *b)
{
    bench_registers(b, POLL_US, ", polling");
}

static const struct {
    const char *name;
    void (*run)(Bench *b);
} benches[] = {{"registers", bench_plain},     {"polling", bench_polling}, {"doorbell", bench_doorbell},
               {"interrupt", bench_interrupt}, {"storm", bench_storm},     {"posted", bench_posted}};

static bool named(char **argv, const char *name)
{
    return g_strv_contains((const char *const *)argv + 1, name);
}

/* The names of the benches and placements to run; none: all benches, on one and on two cores. */
int main(int argc, char **argv)
{
    static Bench b;
    bool any_bench = true, any_placement = true;

    for (unsigned i = 0; i < G_N_ELEMENTS(benches); i++) {
        any_bench &= !named(argv, benches[i].name);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(placements); i++) {
        any_placement &= !named(argv, placements[i].name);
    }
    g_assert(!sched_getaffinity(0, sizeof(b.allowed), &b.allowed));
    for (unsigned n = 0; n < G_N_ELEMENTS(placements); n++) {
        b.placement = &placements[n];
        if (any_placement ? b.placement->cores[0] < 0 : !named(argv, b.placement->name)) {
            continue;
        }
        if (b.placement->cores[SERVER_SIDE] >= CPU_COUNT(&b.allowed)) {
            fprintf(stderr, "%s: there is only one\n", b.placement->name);
            continue;
        }
        go_to(&b, CPU_SIDE);
        machine_up(&b);
        for (unsigned i = 0; i < G_N_ELEMENTS(benches); i++) {
            if (any_bench || named(argv, benches[i].name)) {
                benches[i].run(&b);
            }
        }
        machine_down(&b);
    }
    return 0;
}
