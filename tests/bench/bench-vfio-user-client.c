/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a device behind a socket costs a CPU, each against the bare system calls it cannot do without, between
 * two threads of one process.  Prints one JSON line for each; the ratio is what counts, times depend on the
 * machine.
 */
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../contract/contract-device.h"
#include "core/trace.h"
#include "hw/vfio/vfio-pci-device.h"

#define DEVICES  4
#define RAM_SIZE (64u << 20)
#define BAR0(n)  (0xe0000000u + 0x100000u * (n))
#define BAR4(n)  (0xe1000000u + 0x100000u * (n))
#define ROUNDS   2000
#define REPEATS  20
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

typedef struct Bench {
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

    b->servers[n] = contract_server_new(&b->devices[n], path);
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

static void report(const char *name, double bare, double client)
{
    printf("{\"bench\": \"vfio-user-client %s\", \"bare_us\": %.2f, \"client_us\": %.2f, \"ratio\": %.2f}\n",
           name, bare, client, client / bare);
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

/* Each in turn, REPEATS times; what a busy machine adds is not in the shortest. */
static void compare(Bench *b, const char *name, RoundFn *bare, void *bare_opaque, RoundFn *client,
                    void *client_opaque, unsigned threads)
{
    double best[2] = {G_MAXDOUBLE, G_MAXDOUBLE};
    unsigned depth = loop_release(b->m->main_loop);

    for (unsigned i = 0; i < REPEATS; i++) {
        best[0] = MIN(best[0], run(bare, bare_opaque, threads));
        best[1] = MIN(best[1], run(client, client_opaque, threads));
    }
    loop_reacquire(b->m->main_loop, depth);
    report(name, best[0], best[1]);
}

/* --- bare sockets --- */

typedef struct Pairs {
    int fds[DEVICES][2];
    GThread *echoes[DEVICES];
} Pairs;

/* Answers every request of REQUEST_SIZE; posted writes are of another size, and come before one. */
static gpointer echo_thread(gpointer opaque)
{
    int fd = GPOINTER_TO_INT(opaque);
    char buf[REPLY_SIZE + REQUEST_SIZE + POSTED_SIZE] = {0};
    ssize_t got, have = 0;

    while ((got = recv(fd, buf, sizeof(buf), 0)) > 0) {
        have += got;
        have -= have >= POSTED_SIZE && have != REQUEST_SIZE ? POSTED_SIZE : 0;
        if (have == REQUEST_SIZE) {
            have = 0;
            send(fd, buf, REPLY_SIZE, MSG_NOSIGNAL);
        }
    }
    return NULL;
}

static void pairs_start(Pairs *p)
{
    for (unsigned i = 0; i < DEVICES; i++) {
        g_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p->fds[i]));
        p->echoes[i] = g_thread_new("echo", echo_thread, GINT_TO_POINTER(p->fds[i][1]));
    }
}

static void pairs_stop(Pairs *p)
{
    for (unsigned i = 0; i < DEVICES; i++) {
        shutdown(p->fds[i][0], SHUT_RDWR);
        g_thread_join(p->echoes[i]);
        close(p->fds[i][0]);
        close(p->fds[i][1]);
    }
}

static void bare_read(void *opaque, unsigned thread)
{
    Pairs *p = opaque;
    char buf[REPLY_SIZE] = {0};

    g_assert(send(p->fds[thread][0], buf, REQUEST_SIZE, 0) == REQUEST_SIZE);
    g_assert(recv(p->fds[thread][0], buf, REPLY_SIZE, MSG_WAITALL) == REPLY_SIZE);
}

static void bare_write_read(void *opaque, unsigned thread)
{
    Pairs *p = opaque;
    char buf[POSTED_SIZE] = {0};

    g_assert(send(p->fds[thread][0], buf, POSTED_SIZE, 0) == POSTED_SIZE);
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
static void go_bare(Bench *b, unsigned n)
{
    client_read_own(b, n); /* all before it is answered by then */
    contract_server_go_bare(b->servers[n]);
    client_read_own(b, n);
}

static void bench_registers(Bench *b, const char *poll_us, const char *suffix)
{
    Pairs pairs;
    g_autofree char *names[] = {g_strconcat("read", suffix, NULL),
                                g_strconcat("posted write and read", suffix, NULL),
                                g_strconcat("read, 4 threads on one device", suffix, NULL),
                                g_strconcat("read, 4 threads on 4 devices", suffix, NULL)};

    for (unsigned n = 0; n < DEVICES; n++) {
        contract_device_init(&b->devices[n]);
        b->devices[n].twin = true;
        plug(b, n, poll_us);
        go_bare(b, n);
    }
    pairs_start(&pairs);
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
    GThread *threads[] = {g_thread_new("bare", bell_thread, &bare),
                          g_thread_new("device", bell_thread, &bell)};

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

static double storm_bare(void)
{
    char buf[MAP_SIZE] = {0};
    int fds[2], sent = 0, answered = 0;
    GThread *echo;
    gint64 begin;

    g_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    echo = g_thread_new("echo", map_echo, GINT_TO_POINTER(fds[1]));
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
    double best[2] = {G_MAXDOUBLE, G_MAXDOUBLE};

    contract_device_init(&b->devices[0]);
    b->devices[0].twin = true;
    plug(b, 0, "20");
    go_bare(b, 0);
    for (unsigned i = 0; i < STORMS; i++) {
        best[0] = MIN(best[0], storm_bare());
        best[1] = MIN(best[1], storm_client(b, pieces));
    }
    report("remap of 10000 sections", best[0], best[1]);
    unplug(b, 0);
}

/* --- bandwidth of posted writes, up to the read that says all are done --- */

static void bare_posted(void *opaque, unsigned thread)
{
    Pairs *p = opaque;
    char buf[POSTED_SIZE] = {0};

    for (unsigned i = 0; i < WRITES; i++) {
        g_assert(send(p->fds[thread][0], buf, POSTED_SIZE, 0) == POSTED_SIZE);
    }
    shutdown(p->fds[thread][0], SHUT_WR);
    g_assert(recv(p->fds[thread][0], buf, 1, 0) == 1);
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

static double posted_bare(void)
{
    Pairs p;
    GThread *sink;
    gint64 begin;

    g_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p.fds[0]));
    sink = g_thread_new("sink", sink_thread, GINT_TO_POINTER(p.fds[0][1]));
    begin = g_get_monotonic_time();
    bare_posted(&p, 0);
    begin = g_get_monotonic_time() - begin;
    g_thread_join(sink);
    close(p.fds[0][0]);
    close(p.fds[0][1]);
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
    go_bare(b, 0);
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
    double best[3] = {G_MAXDOUBLE, G_MAXDOUBLE, G_MAXDOUBLE};

    for (unsigned i = 0; i < STORMS; i++) {
        best[0] = MIN(best[0], posted_bare());
        best[1] = MIN(best[1], posted_client(b, false));
        best[2] = MIN(best[2], posted_client(b, true));
    }
    report("posted write, each a message", best[0], best[1]);
    report("posted write, gathered", best[0], best[2]);
}

static void bench_plain(Bench *b)
{
    bench_registers(b, "0", "");
}

static void bench_polling(Bench *b)
{
    bench_registers(b, "50", ", polling");
}

static const struct {
    const char *name;
    void (*run)(Bench *b);
} benches[] = {{"registers", bench_plain},     {"polling", bench_polling}, {"doorbell", bench_doorbell},
               {"interrupt", bench_interrupt}, {"storm", bench_storm},     {"posted", bench_posted}};

/* The names of those to run; none: all. */
int main(int argc, char **argv)
{
    Bench b = {0};

    machine_up(&b);
    for (unsigned i = 0; i < G_N_ELEMENTS(benches); i++) {
        if (argc < 2 || g_strv_contains((const char *const *)argv + 1, benches[i].name)) {
            benches[i].run(&b);
        }
    }
    machine_down(&b);
    return 0;
}
