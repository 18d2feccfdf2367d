/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Small user-space drivers of virtio-net (VIRTIO 1.1, 2.6, 5.1) and e1000 (82540EM manual, 3) drive a card:
 * in this process, by calls as a vCPU makes them, and in a server, over the socket, shared memory and
 * doorbells.  The drivers poll, so no interrupt is in the way; the wire is a pair of datagram sockets, whose
 * far end is a thread here.
 *
 *   bench-net --server QEMU [--object OPTIONS] [--only TEXT] [--seconds N] [--rounds N] [--json]
 *
 * Prints round trips of 64 bytes, and frames of 1500 bytes out and in, per second: the best of the rounds,
 * and the ratio of split to in process.
 */
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/trace.h"
#include "hw/pci/pci.h"
#include "net/net.h"
#include "remote.h"

#define RAM_SIZE  (16u << 20)
#define BAR       0xe0000000u
#define TX_QUEUE  0x10000u
#define RX_QUEUE  0x20000u
#define TX_BUFS   0x100000u
#define RX_BUFS   0x200000u
#define BUF_LEN   2048u
#define RING      256u
#define IN_FLIGHT 64u
#define RX_RETURN 16u /* e1000: buffers given back at once, as drivers do */
#define SMALL     64u
#define LARGE     1500u

/* virtio */
#define V_DRIVER      0x1000u /* in a queue's memory */
#define V_DEVICE      0x2000u
#define V_AVAIL_EVENT (V_DEVICE + 4 + 8 * RING)
#define V_USED_EVENT  (V_DRIVER + 4 + 2 * RING)
#define V_NOTIFY      0x3000u /* in BAR 4 */
#define V_HDR         12u
enum {
    V_FEATURE_SELECT = 8,
    V_FEATURE = 12,
    V_STATUS = 20,
    V_SELECT = 22,
    V_SIZE = 24,
    V_ENABLE = 28,
    V_DESC = 32
};
/* e1000 */
enum {
    E_RCTL = 0x100,
    E_TCTL = 0x400,
    E_RDBAL = 0x2800,
    E_RDLEN = 0x2808,
    E_RDT = 0x2818,
    E_TDBAL = 0x3800,
    E_TDLEN = 0x3808,
    E_TDT = 0x3818,
    E_CTRL = 0
};
#define E_RESET (1u << 26)

extern const PciModel virtio_net_pci_model, e1000_model;
static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model, &virtio_net_pci_model.dev, &e1000_model.dev, NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef enum FarMode { FAR_IDLE, FAR_ECHO, FAR_SINK, FAR_SOURCE, FAR_END } FarMode;

typedef struct Link Link;

/* A driver of one card. */
typedef struct Card {
    const char *name;
    const PciModel *model;
    unsigned bar;
    void (*start)(Link *l);
    void (*put)(Link *l, unsigned len); /* one more frame to send; there is room */
    void (*kick)(Link *l);              /* sends them */
    unsigned (*sent)(Link *l);          /* how many have gone since the last call */
    unsigned (*take)(Link *l);          /* the same of frames that came; their buffers are given back */
} Card;

struct Link {
    const Card *card;
    uint8_t *ram;
    int memory, wire; /* wire: the far end */
    GThread *far;
    FarMode mode;        /* atomic */
    uint64_t far_frames; /* atomic: received by the far end */
    unsigned tx, tx_done, tx_kicked, rx;
    /* in process */
    Machine *m;
    PciBus *bus;
    PciDevice *dev;
    MemRegion *region, *io;
    GThread *thread;
    int stop;
    /* split */
    bool split;
    pid_t pid;
    Remote remote;
};

static double now(void)
{
    return (double)g_get_monotonic_time() / 1e6;
}

static void reg_set(Link *l, uint32_t offset, unsigned size, uint64_t val)
{
    if (l->split) {
        remote_set(&l->remote, l->card->bar, offset, size, val, false);
    } else {
        as_store(l->m->memory, BAR + offset, size, val, MEM_ATTRS_CPU);
    }
}

static uint64_t reg_get(Link *l, uint32_t offset, unsigned size)
{
    uint64_t val = 0;

    if (l->split) {
        return remote_get(&l->remote, l->card->bar, offset, size);
    }
    as_load(l->m->memory, BAR + offset, size, &val, MEM_ATTRS_CPU);
    return val;
}

static void bell(Link *l, uint32_t offset, unsigned size, uint32_t val)
{
    if (!l->split || !remote_ring(&l->remote, offset, val)) {
        reg_set(l, offset, size, val);
    }
}

static uint16_t load16(Link *l, uint32_t at)
{
    return __atomic_load_n((uint16_t *)(void *)(l->ram + at), __ATOMIC_ACQUIRE);
}

static void store16(Link *l, uint32_t at, uint16_t val)
{
    __atomic_store_n((uint16_t *)(void *)(l->ram + at), val, __ATOMIC_RELEASE);
}

static void make_frames(Link *l, unsigned header)
{
    for (unsigned i = 0; i < RING; i++) {
        uint8_t *frame = l->ram + TX_BUFS + i * BUF_LEN + header;

        memset(frame, 0xff, 6);
        memcpy(frame + 6, "\2\0\0\0\0\1\x88\xb5", 8);
    }
}

/* --- virtio-net --- */

static void virtio_queue(Link *l, unsigned index, uint32_t at)
{
    reg_set(l, V_SELECT, 2, index);
    reg_set(l, V_SIZE, 2, RING);
    for (unsigned i = 0; i < 3; i++) {
        reg_set(l, V_DESC + 8 * i, 4, at + i * 0x1000);
        reg_set(l, V_DESC + 8 * i + 4, 4, 0);
    }
    reg_set(l, V_ENABLE, 2, 1);
}

static void virtio_desc(Link *l, uint32_t queue, unsigned slot, uint32_t addr, uint32_t len, uint16_t flags)
{
    uint8_t *desc = l->ram + queue + slot * 16;

    pci_set64(desc, addr);
    pci_set32(desc + 8, len);
    pci_set16(desc + 12, flags);
    pci_set16(l->ram + queue + V_DRIVER + 4 + slot * 2, (uint16_t)slot);
}

/* Notifies when the device asked for it (2.6.10). */
static void virtio_publish(Link *l, uint32_t queue, unsigned index, uint16_t old, uint16_t new)
{
    uint16_t event;

    store16(l, queue + V_DRIVER + 2, new);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    event = load16(l, queue + V_AVAIL_EVENT);
    if ((uint16_t)(new - event - 1) < (uint16_t)(new - old)) {
        bell(l, V_NOTIFY + 4 * index, 2, index);
    }
}

static void virtio_start(Link *l)
{
    reg_set(l, V_STATUS, 1, 0);
    memset(l->ram + TX_QUEUE, 0, RX_QUEUE + 0x10000 - TX_QUEUE);
    reg_set(l, V_STATUS, 1, 3);
    for (unsigned i = 0; i < 2; i++) {
        reg_set(l, V_FEATURE_SELECT, 4, i);
        reg_set(l, V_FEATURE, 4, i ? 1 : 1u << 29); /* VERSION_1, EVENT_IDX */
    }
    reg_set(l, V_STATUS, 1, 3 | 8);
    virtio_queue(l, 0, RX_QUEUE);
    virtio_queue(l, 1, TX_QUEUE);
    reg_set(l, V_STATUS, 1, 3 | 8 | 4);
    make_frames(l, V_HDR);
    for (unsigned i = 0; i < RING; i++) {
        virtio_desc(l, RX_QUEUE, i, RX_BUFS + i * BUF_LEN, BUF_LEN, 2);
    }
    store16(l, RX_QUEUE + V_USED_EVENT, 0x7fff); /* far away: no interrupts */
    store16(l, TX_QUEUE + V_USED_EVENT, 0x7fff);
    l->tx = l->tx_done = l->tx_kicked = l->rx = 0;
    virtio_publish(l, RX_QUEUE, 0, 0, RING);
}

static void virtio_put(Link *l, unsigned len)
{
    virtio_desc(l, TX_QUEUE, l->tx % RING, TX_BUFS + l->tx % RING * BUF_LEN, V_HDR + len, 0);
    l->tx++;
}

static void virtio_kick(Link *l)
{
    virtio_publish(l, TX_QUEUE, 1, (uint16_t)l->tx_kicked, (uint16_t)l->tx);
    l->tx_kicked = l->tx;
}

static unsigned virtio_sent(Link *l)
{
    uint16_t n = (uint16_t)(load16(l, TX_QUEUE + V_DEVICE + 2) - l->tx_done);

    l->tx_done += n;
    store16(l, TX_QUEUE + V_USED_EVENT, (uint16_t)(l->tx_done + 0x7fff));
    return n;
}

static unsigned virtio_take(Link *l)
{
    uint16_t used = load16(l, RX_QUEUE + V_DEVICE + 2), n = (uint16_t)(used - l->rx);

    if (n) {
        l->rx += n;
        store16(l, RX_QUEUE + V_USED_EVENT, (uint16_t)(l->rx + 0x7fff));
        /* Buffers come back in order: their places in the ring are still theirs. */
        virtio_publish(l, RX_QUEUE, 0, (uint16_t)(l->rx - n + RING), (uint16_t)(l->rx + RING));
    }
    return n;
}

/* --- e1000 --- */

static void e1000_desc(Link *l, uint32_t queue, unsigned slot, uint32_t addr, uint32_t lower)
{
    uint8_t *desc = l->ram + queue + slot * 16;

    pci_set64(desc, addr);
    pci_set32(desc + 8, lower);
    __atomic_store_n((uint32_t *)(void *)(desc + 12), 0, __ATOMIC_RELEASE);
}

static bool e1000_done(Link *l, uint32_t queue, unsigned slot)
{
    return __atomic_load_n(l->ram + queue + slot * 16 + 12, __ATOMIC_ACQUIRE) & 1;
}

static void e1000_start(Link *l)
{
    reg_set(l, E_CTRL, 4, E_RESET);
    memset(l->ram + TX_QUEUE, 0, RX_QUEUE + 0x10000 - TX_QUEUE);
    make_frames(l, 0);
    for (unsigned i = 0; i < RING; i++) {
        e1000_desc(l, RX_QUEUE, i, RX_BUFS + i * BUF_LEN, 0);
    }
    reg_set(l, E_TDBAL, 4, TX_QUEUE);
    reg_set(l, E_TDLEN, 4, RING * 16);
    reg_set(l, E_TCTL, 4, 2);
    reg_set(l, E_RDBAL, 4, RX_QUEUE);
    reg_set(l, E_RDLEN, 4, RING * 16);
    reg_set(l, E_RDT, 4, RING - 1);
    reg_set(l, E_RCTL, 4, 1u << 26 | 0x8000 | 8 | 2); /* SECRC, BAM, UPE, EN */
    while (!(reg_get(l, 8, 4) & 2)) {                 /* STATUS.LU */
        g_usleep(1000);
    }
    l->tx = l->tx_done = l->tx_kicked = l->rx = 0;
}

static void e1000_put(Link *l, unsigned len)
{
    e1000_desc(l, TX_QUEUE, l->tx % RING, TX_BUFS + l->tx % RING * BUF_LEN, len | 0x0bu << 24);
    l->tx++;
}

static void e1000_kick(Link *l)
{
    bell(l, E_TDT, 4, l->tx % RING);
}

static unsigned e1000_sent(Link *l)
{
    unsigned n = 0;

    while (l->tx_done != l->tx && e1000_done(l, TX_QUEUE, l->tx_done % RING)) {
        l->tx_done++;
        n++;
    }
    return n;
}

static unsigned e1000_take(Link *l)
{
    unsigned n = 0;

    while (n < RING / 2 && e1000_done(l, RX_QUEUE, l->rx % RING)) {
        e1000_desc(l, RX_QUEUE, l->rx % RING, RX_BUFS + l->rx % RING * BUF_LEN, 0);
        l->rx++;
        n++;
    }
    if (l->rx / RX_RETURN != (l->rx - n) / RX_RETURN) {
        bell(l, E_RDT, 4, (l->rx + RING - 1) % RING);
    }
    return n;
}

static const Card cards[] = {
    {"virtio-net-pci", &virtio_net_pci_model, 4, virtio_start, virtio_put, virtio_kick, virtio_sent,
     virtio_take},
    {"e1000", &e1000_model, 0, e1000_start, e1000_put, e1000_kick, e1000_sent, e1000_take},
};

/* --- the far end of the wire --- */

static void far_turn(Link *l, FarMode mode, uint8_t *frame)
{
    struct pollfd pfd = {.fd = l->wire, .events = mode == FAR_SOURCE ? POLLOUT : POLLIN};
    ssize_t len;

    if (poll(&pfd, 1, 10) != 1) {
        return;
    }
    mode = mode == FAR_SOURCE ? mode
                              : __atomic_load_n(&l->mode, __ATOMIC_SEQ_CST); /* as of the frame that came */
    if (mode == FAR_SOURCE) {
        send(l->wire, frame, LARGE, MSG_DONTWAIT);
        return;
    }
    len = recv(l->wire, frame, BUF_LEN, MSG_DONTWAIT);
    if (len > 0) {
        __atomic_fetch_add(&l->far_frames, 1, __ATOMIC_RELAXED);
        if (mode == FAR_ECHO) {
            send(l->wire, frame, (size_t)len, 0);
        }
    }
}

static gpointer far_main(gpointer opaque)
{
    Link *l = opaque;
    uint8_t frame[BUF_LEN] = {0};
    FarMode mode;

    while ((mode = __atomic_load_n(&l->mode, __ATOMIC_SEQ_CST)) != FAR_END) {
        if (mode == FAR_IDLE) {
            g_usleep(1000);
            continue;
        }
        if (mode == FAR_SOURCE) {
            memset(frame, 0xff, 6);
        }
        far_turn(l, mode, frame);
    }
    return NULL;
}

static void far_mode(Link *l, FarMode mode)
{
    __atomic_store_n(&l->mode, mode, __ATOMIC_SEQ_CST);
}

/* --- links --- */

static void link_memory(Link *l)
{
    l->memory = memfd_create("bench", MFD_CLOEXEC);
    if (l->memory < 0 || ftruncate(l->memory, RAM_SIZE) < 0) {
        remote_die("memory");
    }
    l->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, l->memory, 0);
}

/* The card's end of the wire. */
static int link_wire(Link *l)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) < 0) {
        remote_die("socketpair");
    }
    l->wire = pair[0];
    fcntl(l->wire, F_SETFD, FD_CLOEXEC);
    l->far = g_thread_new("far end", far_main, l);
    return pair[1];
}

static void no_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
}

static void no_msi(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg)
{
}

static const PciBusOps bus_ops = {.set_intx = no_intx, .send_msi = no_msi};

static gpointer local_main(gpointer opaque)
{
    Link *l = opaque;

    while (!__atomic_load_n(&l->stop, __ATOMIC_SEQ_CST)) {
        loop_iterate(l->m->main_loop, true);
    }
    return NULL;
}

static void local_open(Link *l)
{
    g_autofree char *text = g_strdup_printf("socket,id=n0,fd=%d", link_wire(l));
    g_autoptr(GError) error = NULL;
    struct json_object *opts = net_opts_parse("-netdev", text, NULL);

    link_memory(l);
    l->m = machine_new(&bare_model, NULL);
    loop_lock(l->m->main_loop);
    clock_enable_virtual(l->m->clocks, true);
    l->region = mem_region_new_ram(l->m->topo, "ram", RAM_SIZE, l->ram, l->memory, 0, false);
    l->io = mem_region_new_container(l->m->topo, "io", 0x10000);
    mem_region_add(l->m->system_memory, 0, l->region);
    machine_set_kind_ops(l->m, MODEL_PCI, &pci_kind_ops);
    l->bus = pci_bus_new(l->m, "pcie.0", &bus_ops, l, true, l->m->system_memory, l->io, l->m->memory);
    if (!net_new(l->m, opts, &error) || !(l->dev = pci_create(l->bus, PCI_DEVFN(3, 0), l->card->model,
                                                              "card0", &error, "netdev", "n0", NULL))) {
        fprintf(stderr, "bench-net: %s\n", error->message);
        exit(1);
    }
    json_object_put(opts);
    pci_config_write(l->dev, (uint16_t)(PCI_BASE_ADDRESS_0 + 4 * l->card->bar), BAR, 4);
    pci_config_write(l->dev, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    loop_set_poll(l->m->main_loop, 200000); /* as the server does */
    loop_unlock(l->m->main_loop);
    l->thread = g_thread_new("main loop", local_main, l);
}

static void link_close(Link *l)
{
    far_mode(l, FAR_END);
    g_thread_join(l->far);
    if (l->split) {
        close(l->remote.sock); /* its last client leaves: it ends */
        waitpid(l->pid, NULL, 0);
    } else {
        __atomic_store_n(&l->stop, 1, __ATOMIC_SEQ_CST);
        loop_wake(l->m->main_loop);
        g_thread_join(l->thread);
        loop_lock(l->m->main_loop);
        device_destroy(&l->dev->dev);
        pci_bus_free(l->bus);
        mem_region_del(l->m->system_memory, l->region);
        mem_region_unref(l->region);
        mem_region_unref(l->io);
        loop_unlock(l->m->main_loop);
        machine_free(l->m);
    }
    close(l->wire);
    munmap(l->ram, RAM_SIZE);
    close(l->memory);
}

static void split_open(Link *l, const char *server, const char *more, const char *path)
{
    int wire = link_wire(l);
    g_autofree char *netdev = g_strdup_printf("socket,id=n0,fd=%d", wire);
    g_autofree char *device = g_strdup_printf("%s,id=card0,netdev=n0", l->card->name);
    g_autofree char *object = g_strdup_printf("x-vfio-user-server,id=vfu0,type=unix,path=%s,device=card0%s%s",
                                              path, more ? "," : "", more ? more : "");

    l->split = true;
    l->pid = fork();
    if (l->pid == 0) {
        execlp(server, server, "-machine", "x-remote,vfio-user=on", "-nodefaults", "-display", "none",
               "-netdev", netdev, "-device", device, "-object", object, NULL);
        remote_die(server);
    }
    close(wire);
    link_memory(l);
    remote_connect(&l->remote, path, l->memory, RAM_SIZE);
    remote_get_bells(&l->remote, l->card->bar);
    remote_set(&l->remote, REMOTE_CONFIG, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, false);
}

/* --- rows --- */

static double run_round_trips(Link *l, double end)
{
    unsigned done = 0;

    far_mode(l, FAR_ECHO);
    while (now() < end) {
        l->card->put(l, SMALL);
        l->card->kick(l);
        while (!l->card->take(l)) {
            sched_yield();
        }
        l->card->sent(l);
        done++;
    }
    return done;
}

/* A window, as of TCP: what has not arrived counts, or the row would tell how fast frames are dropped before a full wire. */
static double run_out(Link *l, double end)
{
    uint64_t before = __atomic_load_n(&l->far_frames, __ATOMIC_RELAXED), put = 0, arrived = 0;

    far_mode(l, FAR_SINK);
    while (now() < end) {
        bool some = put - arrived < IN_FLIGHT;

        for (; put - arrived < IN_FLIGHT; put++) {
            l->card->put(l, LARGE);
        }
        if (some) {
            l->card->kick(l);
        } else {
            sched_yield();
        }
        l->card->sent(l);
        arrived = __atomic_load_n(&l->far_frames, __ATOMIC_RELAXED) - before;
    }
    return (double)arrived;
}

static double run_in(Link *l, double end)
{
    double done = 0;

    far_mode(l, FAR_SOURCE);
    while (now() < end) {
        unsigned n = l->card->take(l);

        done += n;
        if (!n) {
            sched_yield();
        }
    }
    return done;
}

static const struct {
    const char *name;
    double (*run)(Link *l, double end);
} rows[] = {{"round-trips", run_round_trips}, {"out", run_out}, {"in", run_in}};

/* Events per second; what is left on the wire is taken off. */
static double run_row(Link *l, unsigned row, double seconds)
{
    double begin, rate, quiet;

    l->card->start(l);
    begin = now();
    rate = rows[row].run(l, begin + seconds) / (now() - begin);
    far_mode(l, FAR_SINK);
    for (quiet = now(); now() - quiet < 0.02;) {
        if (l->card->take(l)) {
            quiet = now();
        }
        g_usleep(100);
    }
    far_mode(l, FAR_IDLE);
    return rate;
}

static void bench_card(const Card *card, const char *server, const char *more, const char *dir, const char *only,
                       double seconds, int rounds, struct json_object *out, bool json)
{
    g_autofree char *path = g_strdup_printf("%s/%s.sock", dir, card->name);
    Link local = {.card = card}, split = {.card = card};

    split_open(&split, server, more, path);
    local_open(&local);
    for (unsigned row = 0; row < G_N_ELEMENTS(rows); row++) {
        g_autofree char *name = g_strdup_printf("%s-%s", card->name, rows[row].name);
        struct json_object *entry;
        double in_process = 0, by_eventfd = 0;

        if (only && !strstr(name, only)) {
            continue;
        }
        entry = json_object_new_object();
        for (int i = 0; i < rounds; i++) {
            in_process = MAX(in_process, run_row(&local, row, seconds));
            by_eventfd = MAX(by_eventfd, run_row(&split, row, seconds));
        }
        json_object_object_add(entry, "in-process", json_object_new_double(in_process));
        json_object_object_add(entry, "eventfd", json_object_new_double(by_eventfd));
        json_object_object_add(entry, "eventfd-ratio", json_object_new_double(by_eventfd / in_process));
        json_object_object_add(out, name, entry);
        if (!json) {
            printf("%-26s in process %8.0f/s   split %8.0f/s (%.2f)\n", name, in_process, by_eventfd,
                   by_eventfd / in_process);
            fflush(stdout);
        }
    }
    link_close(&local);
    link_close(&split);
}

int main(int argc, char **argv)
{
    g_autofree char *dir = g_dir_make_tmp("bench-net-XXXXXX", NULL), *server = NULL, *more = NULL, *only = NULL;
    struct json_object *out = json_object_new_object();
    gboolean json = FALSE;
    double seconds = 0.5;
    int rounds = 4;
    const GOptionEntry options[] = {
        {"server", 0, 0, G_OPTION_ARG_FILENAME, &server, "the emulator", "QEMU"},
        {"object", 0, 0, G_OPTION_ARG_STRING, &more, "options of the object", "OPTIONS"},
        {"only", 0, 0, G_OPTION_ARG_STRING, &only, "rows whose name contains it", "TEXT"},
        {"seconds", 0, 0, G_OPTION_ARG_DOUBLE, &seconds, "of each run", "N"},
        {"rounds", 0, 0, G_OPTION_ARG_INT, &rounds, "of each row", "N"},
        {"json", 0, 0, G_OPTION_ARG_NONE, &json, "one line of JSON", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL}};
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);

    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, NULL) || !server) {
        fprintf(stderr,
                "usage: bench-net --server QEMU [--object OPTIONS] [--only TEXT] [--seconds N] [--rounds N] "
                "[--json]\n");
        return 2;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(cards); i++) {
        bench_card(&cards[i], server, more, dir, only, seconds, rounds, out, json);
    }
    if (json) {
        printf("%s\n", json_object_to_json_string_ext(out, JSON_C_TO_STRING_PLAIN));
    }
    json_object_put(out);
    rmdir(dir);
    return 0;
}
