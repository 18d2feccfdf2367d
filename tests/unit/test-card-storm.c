/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network cards that are driven, badly: rings in RAM whose descriptors, indices, headers and frames are made
 * by chance, with frames in both directions meanwhile.  They neither crash nor hang, go on after a reset, and
 * can be saved in the middle, loaded elsewhere and go on there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "model-bench.h"
#include "net/net.h"

#define STEPS     30000
#define MS        1000000
#define RING      16u
#define FRAME_MAX 66000u
/* virtio */
#define BAR4       (BENCH_MEM_BASE + 4 * BENCH_BAR_STEP)
#define NOTIFY     0x3000u
#define QUEUE_STEP 0x1000u
#define AVAIL      0x400u
#define USED       0x800u
#define QUEUES     3u
enum {
    FEATURE_SELECT = 0,
    FEATURE = 4,
    DRIVER_SELECT = 8,
    DRIVER = 12,
    STATUS = 20,
    SELECT = 22,
    SIZE = 24,
    ENABLE = 28,
    DESC = 32
};
/* e1000 */
#define TX_RING 0x1000u
#define RX_RING 0x2000u
enum {
    CTRL = 0x0,
    RCTL = 0x100,
    TCTL = 0x400,
    RDBAL = 0x2800,
    RDLEN = 0x2808,
    RDH = 0x2810,
    RDT = 0x2818,
    TDBAL = 0x3800,
    TDLEN = 0x3808,
    TDH = 0x3810,
    TDT = 0x3818,
    RXCSUM = 0x5000
};

extern const PciModel e1000_model, virtio_net_pci_model;

typedef struct Card {
    Bench b;
    NetBackend *net;
    int wire;
    uint64_t seed;
    int64_t now;
    bool packed;
} Card;

static void card_start(Card *c, const PciModel *model, bool packed)
{
    const char *const pairs[] = {"netdev", "n0", packed ? "packed" : NULL, "on", NULL};
    g_autofree char *text = NULL;
    struct json_object *opts;
    int pair[2];

    *c = (Card){.packed = packed};
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), 0);
    c->wire = pair[0];
    bench_start(&c->b);
    text = g_strdup_printf("socket,id=n0,fd=%d", pair[1]);
    opts = net_opts_parse("-netdev", text, NULL);
    c->net = net_new(c->b.m, opts, NULL);
    assert_non_null(c->net);
    json_object_put(opts);
    bench_add(&c->b, model, pairs);
    bench_map(&c->b);
}

static void card_stop(Card *c)
{
    bench_stop(&c->b);
    close(c->wire);
}

static uint32_t chance(Card *c)
{
    return bench_chance(&c->seed);
}

static void set(Card *c, uint64_t addr, unsigned size, uint64_t val)
{
    as_store(c->b.m->memory, addr, size, val, MEM_ATTRS_CPU);
}

static uint64_t get(Card *c, uint64_t addr, unsigned size)
{
    uint64_t val = 0;

    as_load(c->b.m->memory, addr, size, &val, MEM_ATTRS_CPU);
    return val;
}

static void run(Card *c)
{
    for (int i = 0; i < 4; i++) {
        loop_iterate(c->b.m->main_loop, false);
    }
}

/* Frames that came out are taken off the wire, and some are put on it. */
static void exchange(Card *c)
{
    static const size_t lengths[] = {1, 14, 60, 64, 590, 1514, 1518, 9000, 65000};
    uint8_t frame[FRAME_MAX];

    while (recv(c->wire, frame, sizeof(frame), 0) > 0) {
    }
    for (unsigned n = chance(c) % 3; n; n--) {
        size_t len = lengths[chance(c) % G_N_ELEMENTS(lengths)];

        memset(frame, (int)chance(c), len);
        memset(frame, 0xff, MIN(len, 6));
        if (chance(c) % 2 && len > 40) {
            memcpy(frame + 12, "\x08\x00\x45\x00", 4); /* something like IP */
            frame[23] = chance(c) % 2 ? 6 : 17;
        }
        (void)!send(c->wire, frame, len, 0);
    }
}

static void storm(Card *c, void (*driver)(Card *), void (*step)(Card *), uint64_t seed)
{
    c->seed = seed;
    driver(c);
    for (unsigned i = 0; i < STEPS; i++) {
        step(c);
        if (i % 8 == 0) {
            run(c);
        }
        if (i % 32 == 0) {
            exchange(c);
        }
        if (i % 128 == 0) {
            clock_warp(c->b.m->clocks, c->now += chance(c) % (4 * MS));
        }
        if (chance(c) % 400 == 0) {
            bench_map(&c->b); /* transfers may have hit config space through the registers */
            driver(c);
        }
    }
}

/* What chance made goes on in another machine with the same memory. */
static void move_and_go_on(Card *c, const PciModel *model, void (*driver)(Card *), void (*step)(Card *),
                           uint64_t seed)
{
    Card other;

    card_start(&other, model, c->packed);
    memcpy(other.b.ram, c->b.ram, BENCH_RAM_SIZE);
    clock_warp(other.b.m->clocks, other.now = c->now);
    bench_move(&c->b, &other.b);
    storm(&other, driver, step, seed + 1000);
    card_stop(&other);
}

static void storm_card(const PciModel *model, bool packed, void (*driver)(Card *), void (*step)(Card *))
{
    uint64_t sent = 0, received = 0;

    for (uint64_t seed = 1; seed <= 3; seed++) {
        Card c;

        card_start(&c, model, packed);
        storm(&c, driver, step, seed);
        sent += net_stats(c.net)->tx_frames;
        received += net_stats(c.net)->rx_frames;
        move_and_go_on(&c, model, driver, step, seed);
        card_stop(&c);
    }
    assert_true(sent > 50 && received > 50);
}

/* --- virtio-net --- */

static void virtio_driver_with(Card *c, uint64_t features)
{
    set(c, BAR4 + STATUS, 1, 0);
    set(c, BAR4 + STATUS, 1, 3);
    for (unsigned i = 0; i < 2; i++) {
        set(c, BAR4 + DRIVER_SELECT, 4, i);
        set(c, BAR4 + DRIVER, 4, features >> (32 * i));
    }
    set(c, BAR4 + STATUS, 1, 3 | 8);
    memset(c->b.ram, 0, QUEUES * QUEUE_STEP);
    for (unsigned i = 0; i < QUEUES; i++) {
        set(c, BAR4 + SELECT, 2, i);
        set(c, BAR4 + SIZE, 2, RING);
        set(c, BAR4 + DESC, 4, i * QUEUE_STEP);
        set(c, BAR4 + DESC + 8, 4, i * QUEUE_STEP + AVAIL);
        set(c, BAR4 + DESC + 16, 4, i * QUEUE_STEP + USED);
        set(c, BAR4 + ENABLE, 2, 1);
    }
    set(c, BAR4 + STATUS, 1, 3 | 8 | 4);
}

/* Any subset of what is offered, mostly as a driver of version 1. */
static void virtio_driver(Card *c)
{
    uint64_t any = (uint64_t)chance(c) << 33 | chance(c), offered;

    set(c, BAR4 + FEATURE_SELECT, 4, 1);
    offered = get(c, BAR4 + FEATURE, 4) << 32;
    set(c, BAR4 + FEATURE_SELECT, 4, 0);
    offered |= get(c, BAR4 + FEATURE, 4);
    virtio_driver_with(c, (offered & any) | (chance(c) % 8 ? UINT64_C(1) << 32 : 0) |
                              (c->packed ? UINT64_C(1) << 34 : 0));
}

static uint32_t any_length(Card *c)
{
    static const uint32_t lengths[] = {0, 1, 10, 12, 64, 256, 1526, 2048, 16, 32, 65536, UINT32_MAX};

    return chance(c) % 4 ? lengths[chance(c) % G_N_ELEMENTS(lengths)] : chance(c) % 4096;
}

/* Mostly what a driver writes: buffers in RAM, the direction of the queue, short chains. */
static void virtio_descriptor(Card *c, unsigned queue, uint8_t *desc)
{
    uint16_t flags = queue == 1 ? 0 : 2, bad = (uint16_t)chance(c);

    pci_set64(desc, chance(c) % 16 ? 0x4000 + chance(c) % 0x8000 : bench_value(&c->seed));
    pci_set32(desc + 8, chance(c) % 8 ? 64 + chance(c) % 2000 : any_length(c));
    flags |= chance(c) % 4 ? 0 : 1;
    flags = chance(c) % 32 ? flags : bad;
    if (c->packed) {
        flags |= chance(c) % 8 ? (chance(c) % 2 ? 0x80 : 0x8000) : 0;
    }
    pci_set16(desc + (c->packed ? 14 : 12), flags);
    pci_set16(desc + (c->packed ? 12 : 14), chance(c) % 16 ? (uint16_t)(chance(c) % RING) : bad);
}

static void virtio_step(Card *c)
{
    unsigned queue = chance(c) % QUEUES, slot = chance(c) % RING;
    uint8_t *at = c->b.ram + queue * QUEUE_STEP;

    virtio_descriptor(c, queue, at + slot * 16);
    if (chance(c) % 64 == 0) {
        uint8_t *header = c->b.ram + 0x4000 + chance(c) % 0x8000;

        header[0] = (uint8_t)(chance(c) % 4);
        header[1] = (uint8_t)(chance(c) % 8 | (chance(c) % 4 ? 0 : 0x80));
        for (unsigned i = 1; i < 6; i++) {
            pci_set16(header + 2 * i, (uint16_t)(chance(c) % 2 ? chance(c) % 128 : chance(c)));
        }
    }
    if (!c->packed) {
        pci_set16(at + AVAIL + 4 + 2 * (pci_get16(at + AVAIL + 2) % RING), (uint16_t)slot);
        pci_set16(at + AVAIL + 2, (uint16_t)(pci_get16(at + AVAIL + 2) + (chance(c) % 256 ? 1 : chance(c))));
        pci_set16(at + AVAIL + 4 + 2 * RING, (uint16_t)chance(c));
    }
    if (chance(c) % 4 == 0) {
        set(c, BAR4 + NOTIFY + 4 * queue, 2, queue);
    }
    if (chance(c) % 16 == 0 && get(c, BAR4 + STATUS, 1) & 0x40) {
        virtio_driver(c);
    }
}

static void test_virtio(void **state)
{
    storm_card(&virtio_net_pci_model, false, virtio_driver, virtio_step);
}

static void test_virtio_packed(void **state)
{
    storm_card(&virtio_net_pci_model, true, virtio_driver, virtio_step);
}

/* --- e1000 --- */

static void e1000_set(Card *c, unsigned reg, uint32_t val)
{
    set(c, BENCH_MEM_BASE + reg, 4, val);
}

static void e1000_driver(Card *c)
{
    e1000_set(c, CTRL, 1u << 26);
    e1000_set(c, TDBAL, TX_RING);
    e1000_set(c, TDLEN, RING * 16);
    e1000_set(c, RDBAL, RX_RING);
    e1000_set(c, RDLEN, RING * 16);
    e1000_set(c, RXCSUM, chance(c) & 0x3ff);
    e1000_set(c, TCTL, 2 | (chance(c) & 8));
    /* Receive on, any modes and buffer sizes but PHY loopback. */
    e1000_set(c, RCTL, 2 | 0x8000 | (chance(c) & 0x07ffff38u));
    clock_warp(c->b.m->clocks, c->now += 4000 * (int64_t)MS);
    run(c);
}

static void e1000_descriptor(Card *c, uint8_t *desc)
{
    static const uint8_t types[] = {0x0b, 0x01, 0x09, 0x29, 0x21, 0x2d, 0x25, 0x2d, 0x27, 0x23, 0x6b, 0x4b};
    uint32_t lower = (uint32_t)types[chance(c) % G_N_ELEMENTS(types)] << 24;

    pci_set64(desc, chance(c) % 16 ? 0x4000 + chance(c) % 0x8000 : bench_value(&c->seed));
    /* Type 1 has data; of type 0 with DEXT is a context, whose bytes are offsets. */
    lower |=
        (chance(c) % 2 ? 1u << 20 : 0) | (chance(c) % 8 ? 64 + chance(c) % 2000 : any_length(c) & 0xfffff);
    pci_set32(desc + 8, chance(c) % 32 ? lower : chance(c));
    pci_set32(desc + 12, chance(c) % 4 ? (54u << 8 | (chance(c) % 1500) << 16) & ~1u : chance(c));
    if (chance(c) % 4 == 0) {
        memcpy(desc, "\x0e\x18\x21\x00\x22\x32\x00\x00", 8); /* the offsets of TCP over IPv4 */
    }
}

static void e1000_step(Card *c)
{
    unsigned slot = chance(c) % RING;

    e1000_descriptor(c, c->b.ram + TX_RING + slot * 16);
    pci_set64(c->b.ram + RX_RING + slot * 16,
              chance(c) % 16 ? 0x4000 + chance(c) % 0x8000 : bench_value(&c->seed));
    if (chance(c) % 8 == 0) {
        e1000_set(c, TDT, chance(c) % 64 ? chance(c) % RING : chance(c));
    }
    if (chance(c) % 8 == 0) {
        e1000_set(c, RDT, chance(c) % 64 ? chance(c) % RING : chance(c));
    }
    if (chance(c) % 512 == 0) {
        e1000_set(c, chance(c) % 0x6000 & ~3u, (uint32_t)bench_value(&c->seed));
    }
}

static void test_e1000(void **state)
{
    storm_card(&e1000_model, false, e1000_driver, e1000_step);
}

/* --- in the middle --- */

static void e1000_put(Card *c, unsigned slot, uint64_t low, uint32_t lower, uint32_t upper)
{
    uint8_t *desc = c->b.ram + TX_RING + slot * 16;

    pci_set64(desc, low);
    pci_set32(desc + 8, lower);
    pci_set32(desc + 12, upper);
}

/* A packet half of whose descriptors were sent is finished elsewhere: the segments are those of an
 * undisturbed one. */
static void test_e1000_moved_within_a_packet(void **state)
{
    const uint32_t data = 1u << 20 | 0x25u << 24; /* data, DEXT, TSE */
    uint8_t frames[2][8][1600];
    Card c[2];

    for (unsigned moved = 0; moved < 2; moved++) {
        Card *at = &c[0];

        card_start(&c[0], &e1000_model, false);
        e1000_driver(at);
        memcpy(at->b.ram + 0x4000, "\2\0\0\0\0\1\2\0\0\0\0\2\x08\0\x45\0", 16);
        at->b.ram[0x4000 + 23] = 6;
        at->b.ram[0x4000 + 46] = 0x50;
        for (unsigned i = 54; i < 2600; i++) {
            at->b.ram[0x4000 + i] = (uint8_t)(i * 11);
        }
        memcpy(at->b.ram + TX_RING, "\x0e\x18\x21\x00\x22\x32\x00\x00", 8);
        pci_set32(at->b.ram + TX_RING + 8, 2546 | 0x27u << 24); /* context: TSE, IP, TCP */
        pci_set32(at->b.ram + TX_RING + 12, 54u << 8 | 500u << 16);
        e1000_put(at, 1, 0x4000, 900 | data, 3 << 8);
        e1000_put(at, 2, 0x4000 + 900, 1700 | data | 1u << 24, 3 << 8); /* EOP */
        e1000_set(at, TDT, 2);
        run(at);
        if (moved) {
            card_start(&c[1], &e1000_model, false);
            memcpy(c[1].b.ram, at->b.ram, BENCH_RAM_SIZE);
            clock_warp(c[1].b.m->clocks, at->now);
            bench_move(&at->b, &c[1].b);
            at = &c[1];
        }
        e1000_set(at, TDT, 3);
        run(at);
        memset(frames[moved], 0, sizeof(frames[moved]));
        for (unsigned i = 0, from = 0; i < 8; i++) {
            /* Those before the move are at the first wire. */
            if (recv(c[from].wire, frames[moved][i], 1600, 0) <= 0 && moved && !from) {
                from = 1;
                (void)!recv(c[1].wire, frames[moved][i], 1600, 0);
            }
        }
        card_stop(&c[0]);
        if (moved) {
            card_stop(&c[1]);
        }
    }
    assert_int_not_equal(frames[0][5][12], 0); /* 2546 bytes in pieces of 500 */
    assert_int_equal(frames[0][6][12], 0);
    assert_memory_equal(frames[0], frames[1], sizeof(frames[0]));
}

/* A guest that has moved is asked to announce itself, and says when it has. */
static void test_virtio_announces(void **state)
{
    Card c, other;
    unsigned before;

    card_start(&c, &virtio_net_pci_model, false);
    virtio_driver_with(&c, UINT64_C(1) << 32 | 1u << 21 | 1u << 17 | 1u << 16);
    card_start(&other, &virtio_net_pci_model, false);
    memcpy(other.b.ram, c.b.ram, BENCH_RAM_SIZE);
    bench_move(&c.b, &other.b);
    assert_int_equal(get(&other, BAR4 + 0x2000 + 6, 2), 1);
    before = other.b.interrupts;
    clock_warp(other.b.m->clocks, 60 * MS);
    run(&other);
    assert_int_equal(get(&other, BAR4 + 0x2000 + 6, 2), 3);
    assert_int_equal(other.b.interrupts, before + 1);
    /* ANNOUNCE_ACK by the control queue. */
    memcpy(other.b.ram + 0x4000, "\3\0", 2);
    other.b.ram[0x4010] = 0xee;
    pci_set64(other.b.ram + 2 * QUEUE_STEP, 0x4000);
    pci_set32(other.b.ram + 2 * QUEUE_STEP + 8, 2);
    pci_set16(other.b.ram + 2 * QUEUE_STEP + 12, 1);
    pci_set16(other.b.ram + 2 * QUEUE_STEP + 14, 1);
    pci_set64(other.b.ram + 2 * QUEUE_STEP + 16, 0x4010);
    pci_set32(other.b.ram + 2 * QUEUE_STEP + 24, 1);
    pci_set16(other.b.ram + 2 * QUEUE_STEP + 28, 2);
    pci_set16(other.b.ram + 2 * QUEUE_STEP + AVAIL + 2, 1);
    set(&other, BAR4 + NOTIFY + 8, 2, 2);
    run(&other);
    assert_int_equal(other.b.ram[0x4010], 0);
    assert_int_equal(get(&other, BAR4 + 0x2000 + 6, 2), 1);
    card_stop(&other);
    card_stop(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_virtio),
        cmocka_unit_test(test_virtio_packed),
        cmocka_unit_test(test_e1000),
        cmocka_unit_test(test_e1000_moved_within_a_packet),
        cmocka_unit_test(test_virtio_announces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
