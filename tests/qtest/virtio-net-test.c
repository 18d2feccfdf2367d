/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What virtio-net-pci leaves to its device and its back end (VIRTIO 1.1, 5.1): segmentation, checksums,
 * merged buffers, the control queue, queue pairs over a tap; in process, and behind a socket.  Over a socket
 * the far end of the wire is the test; over a tap it is a packet socket on the interface, in a network
 * namespace of the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libqtest/libqvirtio.h"

#define RINGS     0x1000000u
#define RING_STEP 0x10000u
#define BUF       0x1100000u /* header */
#define DATA      0x1110000u
#define RX_BUF    0x1200000u
#define HDR       12u
#define FRAME_MAX 65562u

enum {
    F_CSUM = 0,
    F_GUEST_CSUM = 1,
    F_OFFLOADS = 2,
    F_MTU = 3,
    F_MAC = 5,
    F_GUEST_TSO4 = 7,
    F_GUEST_TSO6 = 8,
    F_GUEST_ECN = 9,
    F_HOST_TSO4 = 11,
    F_HOST_TSO6 = 12,
    F_HOST_ECN = 13,
    F_MRG = 15,
    F_STATUS = 16,
    F_CTRL = 17,
    F_RX = 18,
    F_VLAN = 19,
    F_RX_EXTRA = 20,
    F_ANNOUNCE = 21,
    F_MQ = 22,
    F_CTRL_MAC = 23,
    F_SPEED = 63
};
#define BIT(n)         (UINT64_C(1) << (n))
#define PLAIN          (QVIRTIO_F_VERSION_1 | BIT(F_CSUM) | BIT(F_MAC) | BIT(F_STATUS) | BIT(F_CTRL) | BIT(F_MRG))
#define GUEST_OFFLOADS (BIT(F_GUEST_CSUM) | BIT(F_GUEST_TSO4) | BIT(F_GUEST_TSO6) | BIT(F_GUEST_ECN))

static const uint8_t card_mac[6] = {0x52, 0x54, 0, 0xaa, 0xbb, 0xcc}, peer_mac[6] = {2, 0, 0, 0, 0, 1};

typedef struct Net {
    QtestState *qts;
    Qvirtio v;
    QvirtioQueue rx, tx, ctrl;
    int wire; /* a stream, or a packet socket */
    int card_end; /* of a stream; 0 */
} Net;

/* --- the wire --- */

static bool wire_readable(int fd, int ms)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};

    return poll(&pfd, 1, ms) == 1;
}

static void wire_read(int fd, void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n;

        assert_true(wire_readable(fd, 60000));
        n = read(fd, (uint8_t *)buf + done, len - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
}

static size_t wire_receive(Net *n, uint8_t *frame)
{
    uint32_t len;

    wire_read(n->wire, &len, 4);
    len = GUINT32_FROM_BE(len);
    assert_in_range(len, 14, FRAME_MAX);
    wire_read(n->wire, frame, len);
    return len;
}

static void wire_send(Net *n, const uint8_t *frame, uint32_t len)
{
    uint32_t header = GUINT32_TO_BE(len);

    assert_int_equal(write(n->wire, &header, 4), 4);
    assert_int_equal(write(n->wire, frame, len), len);
}

static void net_start(Net *n, const char *props)
{
    g_autofree char *args = NULL,
                    *device = g_strdup_printf("virtio-net-pci,netdev=n0,mac=52:54:00:aa:bb:cc%s", props);
    int ends[2];

    qtest_wire_new(ends);
    n->wire = ends[0];
    n->card_end = ends[1];
    args = g_strdup_printf("-netdev socket,id=n0,fd=%d", n->card_end);
    n->qts = qtest_start_device(args, device, "");
    if (strstr(props, "disable-modern=on")) {
        n->v.dev = qpci_find(n->qts, 0x1af4, 0x1000);
        qpci_enable(n->v.dev);
    } else {
        qvirtio_find(&n->v, n->qts, 0x1000);
    }
}

static void net_stop(Net *n)
{
    qvirtio_free(&n->v);
    close(n->wire);
    qtest_end(n->qts);
    if (n->card_end) {
        close(n->card_end);
    }
}

static void net_driver(Net *n, uint64_t features)
{
    assert_true(qvirtio_negotiate(&n->v, features));
    qvirtio_queue_start(&n->v, &n->rx, 0, RINGS);
    qvirtio_queue_start(&n->v, &n->tx, 1, RINGS + RING_STEP);
    qvirtio_queue_start(&n->v, &n->ctrl, 2, RINGS + 2 * RING_STEP);
    qvirtio_driver_ok(&n->v);
}

static QtestState *backend(Net *n)
{
    return qtest_is_split(n->qts) ? qtest_server(n->qts) : n->qts;
}

/* A command with its data; the acknowledgement. */
static uint8_t control(Net *n, uint8_t class, uint8_t command, const void *data, uint32_t len)
{
    uint8_t head[2] = {class, command};
    QvirtioBuf bufs[] = {{BUF, 2, false}, {DATA, len, false}, {BUF + 16, 1, true}};

    qtest_memwrite(n->qts, BUF, head, 2);
    if (len) {
        qtest_memwrite(n->qts, DATA, data, len);
    } else {
        bufs[1] = bufs[2];
    }
    qtest_writeb(n->qts, BUF + 16, 0xee);
    assert_int_equal(qvirtio_run(&n->ctrl, bufs, len ? 3 : 2, false), 1);
    return qtest_readb(n->qts, BUF + 16);
}

static void offer_buffers_at(Net *n, uint64_t addr, unsigned count, uint32_t len)
{
    for (unsigned i = 0; i < count; i++) {
        QvirtioBuf in = {addr + i * 0x20000, len, true};

        qvirtio_add(&n->rx, &in, 1, false);
    }
    qvirtio_kick(&n->rx);
}

static void offer_buffers(Net *n, unsigned count, uint32_t len)
{
    offer_buffers_at(n, RX_BUF, count, len);
}

/* --- TCP --- */

static uint32_t sum_words(uint32_t sum, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

/* The sum over pseudo header and segment: 0xffff when the checksum in it is right. */
static uint32_t tcp_sum(const uint8_t *frame, size_t len, bool v6)
{
    size_t ip = 14, tcp = ip + (v6 ? 40 : 20);
    uint32_t sum = sum_words(0, frame + ip + (v6 ? 8 : 12), v6 ? 32 : 8);

    sum = sum_words(sum + 6 + (uint32_t)(len - tcp), frame + tcp, len - tcp);
    return (sum & 0xffff) + (sum >> 16);
}

/* A TCP segment of `payload` bytes, its checksum that of the pseudo header only; its length. */
static size_t make_tcp(uint8_t *frame, bool v6, size_t payload, uint8_t flags)
{
    size_t tcp = 14 + (v6 ? 40 : 20), len = tcp + 20 + payload;
    uint32_t sum;

    memset(frame, 0, tcp + 20);
    memcpy(frame, peer_mac, 6);
    memcpy(frame + 6, card_mac, 6);
    frame[12] = v6 ? 0x86 : 0x08;
    frame[13] = v6 ? 0xdd : 0x00;
    frame[14] = v6 ? 0x60 : 0x45;
    if (v6) {
        frame[18] = (uint8_t)((len - 54) >> 8);
        frame[19] = (uint8_t)(len - 54);
        frame[20] = 6;
        frame[21] = 64;
        frame[22] = frame[38] = 0xfd;
        frame[37] = 1;
        frame[53] = 2;
    } else {
        frame[16] = (uint8_t)((len - 14) >> 8);
        frame[17] = (uint8_t)(len - 14);
        memcpy(frame + 18, "\x12\x34\x40\x00\x40\x06\0\0\x0a\0\0\1\x0a\0\0\2", 16);
        sum = ~sum_words(0, frame + 14, 20);
        frame[24] = (uint8_t)(sum >> 8);
        frame[25] = (uint8_t)sum;
    }
    memcpy(frame + tcp, "\x04\xd2\x00\x50\xff\xff\xfe\x00\0\0\0\1\x50", 13);
    frame[tcp + 13] = flags;
    frame[tcp + 14] = 0xff;
    for (size_t i = 0; i < payload; i++) {
        frame[tcp + 20 + i] = (uint8_t)(i * 7 + i / 251);
    }
    sum = sum_words(0, frame + 14 + (v6 ? 8 : 12), v6 ? 32 : 8);
    sum = sum_words(sum + 6 + (uint32_t)(len - tcp), NULL, 0);
    sum = (sum & 0xffff) + (sum >> 16);
    frame[tcp + 16] = (uint8_t)(sum >> 8);
    frame[tcp + 17] = (uint8_t)sum;
    return len;
}

static void put_header(Net *n, uint8_t flags, uint8_t type, uint16_t size, uint16_t start, uint16_t offset)
{
    qtest_memset(n->qts, BUF, 0, HDR);
    qtest_writeb(n->qts, BUF, flags);
    qtest_writeb(n->qts, BUF + 1, type);
    qtest_writew(n->qts, BUF + 2, 54);
    qtest_writew(n->qts, BUF + 4, size);
    qtest_writew(n->qts, BUF + 6, start);
    qtest_writew(n->qts, BUF + 8, offset);
}

/* Header at BUF, the frame in three pieces. */
static void transmit(Net *n, QvirtioQueue *q, const uint8_t *frame, size_t len)
{
    uint32_t one = (uint32_t)len / 3, two = (uint32_t)len - 2 * one;
    QvirtioBuf out[] = {
        {BUF, HDR, false}, {DATA, one, false}, {DATA + one, one, false}, {DATA + 2 * one, two, false}};

    qtest_memwrite(n->qts, DATA, frame, len);
    assert_int_equal(qvirtio_run(q, out, 4, false), 0);
}

/* --- tests over a socket --- */

static void test_offered(void **state)
{
    const uint64_t always = BIT(F_CSUM) | BIT(F_GUEST_CSUM) | BIT(F_OFFLOADS) | BIT(F_MAC) |
                            BIT(F_HOST_TSO4) | BIT(F_HOST_TSO6) | BIT(F_HOST_ECN) | BIT(F_MRG) |
                            BIT(F_STATUS) | BIT(F_CTRL) | BIT(F_RX) | BIT(F_VLAN) | BIT(F_RX_EXTRA) |
                            BIT(F_ANNOUNCE) | BIT(F_CTRL_MAC);
    const uint64_t all = always | BIT(F_GUEST_TSO4) | BIT(F_GUEST_TSO6) | BIT(F_GUEST_ECN) | BIT(F_MTU) |
                         BIT(F_MQ) | BIT(F_SPEED);
    Net n = {0};

    net_start(&n, "");
    assert_int_equal(qvirtio_offered(&n.v) & all,
                     always); /* long segments in, pairs: the back end has none */
    assert_int_equal(qtest_readw(n.qts, n.v.config + 6), 1);
    assert_int_equal(qtest_readw(n.qts, n.v.config + 8), 1);
    net_stop(&n);
    n = (Net){0};
    net_start(&n, ",host_mtu=9000,speed=10000,duplex=full,csum=off,ctrl_vq=off,mq=on");
    assert_int_equal(qvirtio_offered(&n.v) & all,
                     BIT(F_GUEST_CSUM) | BIT(F_MAC) | BIT(F_MRG) | BIT(F_STATUS) | BIT(F_MTU) | BIT(F_SPEED));
    assert_int_equal(qtest_readw(n.qts, n.v.config + 10), 9000);
    assert_int_equal(qtest_readl(n.qts, n.v.config + 12), 10000);
    assert_int_equal(qtest_readb(n.qts, n.v.config + 16), 1);
    net_stop(&n);
}

static void check_segments(Net *n, const uint8_t *frame, size_t len, bool v6, unsigned mss)
{
    size_t tcp = 14 + (v6 ? 40 : 20), header = tcp + 20, done = header;
    g_autofree uint8_t *got = g_malloc(FRAME_MAX);

    for (unsigned i = 0; done < len; i++) {
        size_t part = MIN(mss, len - done);
        uint8_t flags = (uint8_t)(frame[tcp + 13] & ~((done + part < len ? 9 : 0) | (i ? 0x80 : 0)));

        assert_int_equal(wire_receive(n, got), header + part);
        assert_memory_equal(got, frame, 14);
        assert_int_equal((uint32_t)got[tcp + 4] << 24 | (uint32_t)got[tcp + 5] << 16 | got[tcp + 6] << 8 |
                             got[tcp + 7],
                         0xfffffe00u + (uint32_t)(done - header));
        assert_int_equal(got[tcp + 13], flags);
        assert_memory_equal(got + header, frame + done, part);
        assert_int_equal(tcp_sum(got, header + part, v6), 0xffff);
        if (v6) {
            assert_int_equal(got[18] << 8 | got[19], header + part - 54);
        } else {
            assert_int_equal(got[16] << 8 | got[17], header + part - 14);
            assert_int_equal(got[18] << 8 | got[19], 0x1234 + i);
            assert_int_equal(sum_words(0, got + 14, 20), 0xffff);
        }
        done += part;
    }
}

/* The device cuts TCP into segments for a wire that cannot. */
static void test_segmentation(void **state)
{
    static const size_t payloads[] = {1, 1448, 1449, 2896, 30001, 65000};
    g_autofree uint8_t *frame = g_malloc(FRAME_MAX);
    Net n = {0};

    net_start(&n, "");
    net_driver(&n, PLAIN | BIT(F_HOST_TSO4) | BIT(F_HOST_TSO6) | BIT(F_HOST_ECN));
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(payloads); i++) {
        bool v6 = i & 1;
        size_t len = make_tcp(frame, v6, payloads[i / 2], 0x80 | 0x19);

        put_header(&n, 1, (uint8_t)((v6 ? 4 : 1) | 0x80), 1448, v6 ? 54 : 34, 16);
        transmit(&n, &n.tx, frame, len);
        check_segments(&n, frame, len, v6, 1448);
    }
    net_stop(&n);
}

/* Headers no driver would write: the frame is dropped, and the next goes out. */
static void test_hostile_headers(void **state)
{
    static const struct {
        uint8_t flags, type;
        uint16_t size, start, offset;
        size_t len;
    } cases[] = {
        {1, 0, 0, 0xffff, 0xffff, 1000},
        {1, 0, 0, 999, 0, 1000},
        {1, 1, 0, 34, 16, 1000},
        {1, 1, 1, 34, 16, 1000},
        {0, 1, 1448, 34, 16, 1000},
        {1, 1, 1448, 0, 16, 1000},
        {1, 1, 1448, 34, 0, 1000},
        {1, 1, 1448, 990, 16, 1000},
        {1, 4, 1448, 34, 16, 1000},
        {1, 3, 1448, 34, 16, 1000},
        {1, 5, 1448, 34, 6, 1000},
        {1, 0x81, 1448, 34, 16, 1000},
        {1, 0x80, 1448, 34, 16, 1000},
        {1, 1, 1448, 34, 16, 40},
        {1, 1, 1448, 34, 16, 14},
        {0, 0, 0, 0, 0, 13},
        {0, 0, 0, 0, 0, 0},
        {0, 0, 0, 0, 0, 65563},
        {0xff, 0xff, 0xffff, 0xffff, 0xffff, 65000},
    };
    g_autofree uint8_t *frame = g_malloc0(70000), *got = g_malloc(FRAME_MAX);
    Net n = {0};

    net_start(&n, "");
    net_driver(&n, PLAIN | BIT(F_HOST_TSO4)); /* neither TSO6 nor ECN */
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint32_t len = (uint32_t)cases[i].len;
        QvirtioBuf out[] = {{BUF, HDR, false}, {DATA, len, false}};

        make_tcp(frame, false, 946, 0x18);
        qtest_memwrite(n.qts, DATA, frame, MAX(len, 1));
        put_header(&n, cases[i].flags, cases[i].type, cases[i].size, cases[i].start, cases[i].offset);
        qvirtio_run(&n.tx, out, len ? 2 : 1, false);
    }
    for (unsigned i = 0; i < 3; i++) { /* the data offset of TCP, a version of IP, a type of Ethernet */
        size_t len = make_tcp(frame, false, 946, 0x18);

        frame[(unsigned[]){46, 14, 12}[i]] = 0;
        put_header(&n, 1, 1, 1448, 34, 16);
        transmit(&n, &n.tx, frame, len);
    }
    assert_int_equal(qvirtio_status(&n.v) & 0x40, 0);
    put_header(&n, 0, 0, 0, 0, 0);
    memset(frame, 0xab, 100);
    transmit(&n, &n.tx, frame, 100);
    assert_int_equal(wire_receive(&n, got), 100);
    assert_memory_equal(got, frame, 100);
    net_stop(&n);
}

/* Merged buffers: a frame waits until there are enough; one that no buffer can hold is dropped. */
static void test_merged_buffers(void **state)
{
    uint8_t frame[3000], header[HDR], got[3000];
    Net n = {0};

    net_start(&n, "");
    qtest_stay(n.qts, QTEST_STAY_BACK_END); /* a frame that waits there is lost, as when the link flaps */
    net_driver(&n, PLAIN);
    for (unsigned i = 0; i < sizeof(frame); i++) {
        frame[i] = (uint8_t)(i * 5);
    }
    memcpy(frame, card_mac, 6);
    offer_buffers(&n, 2, 800);
    wire_send(&n, frame, sizeof(frame));
    g_usleep(20000);
    assert_false(qvirtio_done(&n.rx));
    offer_buffers_at(&n, RX_BUF + 0x40000, 2, 800);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(qvirtio_wait(&n.rx), i < 3 ? 800 : HDR + sizeof(frame) - 2400);
    }
    qtest_memread(n.qts, RX_BUF, header, HDR);
    assert_int_equal(header[10], 4);
    assert_int_equal(header[0], 0); /* from a wire: nobody knows that the checksum is right */
    qtest_memread(n.qts, RX_BUF + HDR, got, 800 - HDR);
    assert_memory_equal(got, frame, 800 - HDR);
    net_driver(&n, PLAIN & ~BIT(F_MRG));
    offer_buffers(&n, 1, 800);
    wire_send(&n, frame, sizeof(frame));
    wire_send(&n, frame, 700);
    assert_int_equal(qvirtio_wait(&n.rx), HDR + 700);
    /* A header that ends in the second of two buffers. */
    for (unsigned i = 0; i < 2; i++) {
        QvirtioBuf in[] = {{RX_BUF, 5, true}, {RX_BUF + 0x100, 200, true}};

        qvirtio_add(&n.rx, in, 2, false);
    }
    qvirtio_kick(&n.rx);
    wire_send(&n, frame, 100);
    assert_int_equal(qvirtio_wait(&n.rx), HDR + 100);
    qtest_memread(n.qts, RX_BUF + 0x100 + HDR - 5, got, 100);
    assert_memory_equal(got, frame, 100);
    net_stop(&n);
}

static void expect_frame(Net *n, const uint8_t *mac, bool taken)
{
    uint8_t frame[100] = {0}, last[101] = {0};

    memcpy(frame, mac, 6);
    memcpy(last, card_mac, 6);
    offer_buffers(n, 1, 2000);
    wire_send(n, frame, sizeof(frame));
    wire_send(n, last, sizeof(last));
    assert_int_equal(qvirtio_wait(&n->rx), HDR + (taken ? sizeof(frame) : sizeof(last)));
    if (taken) { /* the one behind it needs a buffer too */
        offer_buffers(n, 1, 2000);
        assert_int_equal(qvirtio_wait(&n->rx), HDR + sizeof(last));
    }
}

static void test_control(void **state)
{
    static const uint8_t group[6] = {1, 0, 0x5e, 0, 0, 1}, other[6] = {0x52, 0x54, 0, 1, 2, 3};
    uint8_t tables[8 + 12] = {1}, mac[6], zero = 0, one = 1;
    uint64_t offloads = BIT(F_GUEST_CSUM);
    Net n = {0};

    net_start(&n, "");
    qtest_stay(n.qts, QTEST_STAY_BACK_END); /* the same */
    net_driver(&n, PLAIN | BIT(F_RX) | BIT(F_RX_EXTRA) | BIT(F_VLAN) | BIT(F_CTRL_MAC) | BIT(F_GUEST_CSUM) |
                       BIT(F_OFFLOADS) | BIT(F_ANNOUNCE));
    expect_frame(&n, other, true);
    assert_int_equal(control(&n, 0, 0, &zero, 1), 0); /* no longer promiscuous */
    expect_frame(&n, other, false);
    memcpy(tables + 4, other, 6);
    tables[10] = 1;
    memcpy(tables + 14, group, 6);
    expect_frame(&n, group, false);
    assert_int_equal(control(&n, 1, 0, tables, sizeof(tables)), 0);
    expect_frame(&n, other, true);
    expect_frame(&n, group, true);
    assert_int_equal(control(&n, 0, 3, &one, 1), 0); /* no multicast */
    expect_frame(&n, group, false);
    assert_int_equal(control(&n, 1, 1, other, 6), 0);
    qtest_memread(n.qts, n.v.config, mac, 6);
    assert_memory_equal(mac, other, 6);
    assert_int_equal(control(&n, 1, 1, card_mac, 6), 0);
    assert_int_equal(control(&n, 5, 0, &offloads, 8), 0);
    offloads = BIT(F_GUEST_TSO4); /* not negotiated */
    assert_int_equal(control(&n, 5, 0, &offloads, 8), 1);
    assert_int_equal(control(&n, 3, 0, NULL, 0), 1);   /* nobody asked for announcements */
    assert_int_equal(control(&n, 4, 0, "\1\0", 2), 1); /* queue pairs were not negotiated */
    tables[0] = 0xff;
    assert_int_equal(control(&n, 1, 0, tables, sizeof(tables)), 1);
    assert_int_equal(control(&n, 2, 0, "\0\x10", 2), 1); /* VLAN 4096 */
    assert_int_equal(control(&n, 99, 0, &one, 1), 1);
    net_driver(&n, PLAIN); /* classes without their feature */
    assert_int_equal(control(&n, 0, 0, &zero, 1) + control(&n, 1, 1, other, 6) +
                         control(&n, 2, 0, "\1\0", 2) + control(&n, 5, 0, &offloads, 8),
                     4);
    net_stop(&n);
}

/* The interface of before version 1: a header without num_buffers, the address written to the configuration. */
static void test_legacy(void **state)
{
    enum { GUEST_FEATURES = 4, PFN = 8, SELECT = 14, SIZE = 12, NOTIFY = 16, STATUS = 18, CONFIG = 20 };
    const uint64_t rings[] = {RINGS, RINGS + RING_STEP};
    uint8_t frame[100], got[100];
    Net n = {0};

    net_start(&n, ",disable-modern=on,rx_queue_size=64,tx_queue_size=64");
    QpciDevice *dev = n.v.dev;

    assert_int_equal(qpci_config_readw(dev, QPCI_DEVICE_ID), 0x1000);
    assert_int_equal(dev->bars[4].size, 0);
    qpci_writeb(dev, 0, STATUS, 0);
    qpci_writeb(dev, 0, STATUS, 3);
    qpci_writel(dev, 0, GUEST_FEATURES, BIT(F_MAC));
    for (uint16_t i = 0; i < 2; i++) {
        qpci_writew(dev, 0, SELECT, i);
        assert_int_equal(qpci_readw(dev, 0, SIZE), 64);
        qtest_memset(n.qts, rings[i], 0, 0x3000);
        qpci_writel(dev, 0, PFN, (uint32_t)(rings[i] / 4096));
    }
    for (unsigned i = 0; i < 6; i++) {
        qpci_writeb(dev, 0, CONFIG + i, peer_mac[i]);
    }
    qpci_writeb(dev, 0, STATUS, 7);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(qpci_readb(dev, 0, CONFIG + i), peer_mac[i]);
    }
    for (unsigned i = 0; i < sizeof(frame); i++) {
        frame[i] = (uint8_t)(i ^ 0x55);
    }
    /* 64 descriptors, then the available ring; the used ring begins at the next page. */
    qtest_memset(n.qts, BUF, 0, 10);
    qtest_memwrite(n.qts, BUF + 10, frame, sizeof(frame));
    qtest_writeq(n.qts, rings[1], BUF);
    qtest_writel(n.qts, rings[1] + 8, 10 + sizeof(frame));
    qtest_writew(n.qts, rings[1] + 0x402, 1);
    qpci_writew(dev, 0, NOTIFY, 1);
    assert_int_equal(wire_receive(&n, got), sizeof(frame));
    assert_memory_equal(got, frame, sizeof(frame));
    assert_true(QTEST_WAIT(qtest_readw(n.qts, rings[1] + 0x1002) == 1));
    qtest_writeq(n.qts, rings[0], RX_BUF);
    qtest_writel(n.qts, rings[0] + 8, 2000);
    qtest_writew(n.qts, rings[0] + 12, 2);
    qtest_writew(n.qts, rings[0] + 0x402, 1);
    qpci_writew(dev, 0, NOTIFY, 0);
    wire_send(&n, frame, sizeof(frame));
    assert_true(QTEST_WAIT(qtest_readw(n.qts, rings[0] + 0x1002) == 1));
    assert_int_equal(qtest_readl(n.qts, rings[0] + 0x1008), 10 + sizeof(frame));
    qtest_memread(n.qts, RX_BUF + 10, got, sizeof(frame));
    assert_memory_equal(got, frame, sizeof(frame));
    net_stop(&n);
}

static void test_link(void **state)
{
    Net n = {0};
    uint8_t frame[100] = {0};

    net_start(&n, "");
    qpci_msix_enable(n.v.dev);
    assert_true(qvirtio_negotiate(&n.v, PLAIN));
    qvirtio_queue_start(&n.v, &n.rx, 0, RINGS);
    qtest_writew(n.qts, n.v.common + 16, 0);
    qvirtio_driver_ok(&n.v);
    qtest_qmp_ok(backend(&n), "{'execute': 'set_link', 'arguments': {'name': 'n0', 'up': false}}");
    assert_true(QTEST_WAIT(qpci_msix_take(n.v.dev, 0)));
    assert_int_equal(qtest_readw(n.qts, n.v.config + 6), 0);
    wire_send(&n, frame, sizeof(frame));
    qtest_qmp_ok(backend(&n), "{'execute': 'set_link', 'arguments': {'name': 'n0', 'up': true}}");
    assert_true(QTEST_WAIT(qpci_msix_take(n.v.dev, 0)));
    assert_int_equal(qtest_readw(n.qts, n.v.config + 6), 1);
    net_stop(&n);
}

/* --- tests over a tap --- */

static int packet_socket(const char *name)
{
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), on = 1;
    struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(name)};

    assert_true(fd >= 0);
    ll.sll_protocol = htons(ETH_P_ALL);
    assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&ll, sizeof(ll)), 0);
    return fd;
}

static void interface_up(const char *name)
{
    struct ifreq req = {0};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    g_strlcpy(req.ifr_name, name, sizeof(req.ifr_name));
    assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &req), 0);
    req.ifr_flags |= IFF_UP;
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &req), 0);
    close(fd);
}

/* In a namespace of our own; false: we may not have one. */
static bool tap_start(Net *n, const char *options, const char *props)
{
    g_autofree char *args = g_strdup_printf("-netdev tap,id=n0,ifname=qtap0,%s", options);
    g_autofree char *device = g_strdup_printf("virtio-net-pci,netdev=n0,mac=52:54:00:aa:bb:cc%s", props);

    if (access("/dev/net/tun", R_OK | W_OK) != 0 || unshare(CLONE_NEWNET) != 0) {
        return false;
    }
    n->qts = qtest_start_device(args, device, "");
    qtest_stay(n->qts, QTEST_STAY_BACK_END); /* which one process has */
    interface_up("qtap0");
    n->wire = packet_socket("qtap0");
    qvirtio_find(&n->v, n->qts, 0x1000);
    return true;
}

/* The next frame that is one of ours (the kernel adds its own): its length. */
static size_t packet_receive(Net *n, struct virtio_net_hdr *header, uint8_t *frame)
{
    uint8_t buf[sizeof(*header) + FRAME_MAX];
    ssize_t len;

    do {
        assert_true(wire_readable(n->wire, 60000));
        len = read(n->wire, buf, sizeof(buf));
        assert_true(len > (ssize_t)sizeof(*header));
    } while (memcmp(buf + sizeof(*header) + 6, card_mac, 6) != 0);
    memcpy(header, buf, sizeof(*header));
    memcpy(frame, buf + sizeof(*header), (size_t)len - sizeof(*header));
    return (size_t)len - sizeof(*header);
}

static void packet_send(Net *n, const struct virtio_net_hdr *header, const uint8_t *frame, size_t len)
{
    uint8_t buf[sizeof(*header) + FRAME_MAX];

    memcpy(buf, header, sizeof(*header));
    memcpy(buf + sizeof(*header), frame, len);
    assert_int_equal(write(n->wire, buf, sizeof(*header) + len), sizeof(*header) + len);
}

/* What comes from the card's peer: addresses turned around. */
static void turn_around(uint8_t *frame)
{
    uint8_t addr[4], port[2];

    memcpy(frame, card_mac, 6);
    memcpy(frame + 6, peer_mac, 6);
    memcpy(addr, frame + 26, 4);
    memcpy(frame + 26, frame + 30, 4);
    memcpy(frame + 30, addr, 4);
    memcpy(port, frame + 34, 2);
    memcpy(frame + 34, frame + 36, 2);
    memcpy(frame + 36, port, 2);
}

/* Long segments go through in one piece, both ways; until the driver says that it takes none. */
static void test_tap_offloads(void **state)
{
    g_autofree uint8_t *frame = g_malloc(FRAME_MAX), *got = g_malloc(FRAME_MAX);
    struct virtio_net_hdr header,
        tso = {
            .flags = 1, .gso_type = 1, .hdr_len = 54, .gso_size = 1448, .csum_start = 34, .csum_offset = 16};
    const uint64_t none = 0;
    uint8_t head[HDR];
    size_t len;
    Net n = {0};

    if (!tap_start(&n, "", "")) {
        skip();
    }
    assert_int_equal(qvirtio_offered(&n.v) & GUEST_OFFLOADS, GUEST_OFFLOADS);
    net_driver(&n, PLAIN | BIT(F_HOST_TSO4) | GUEST_OFFLOADS | BIT(F_OFFLOADS));
    len = make_tcp(frame, false, 40000, 0x18);
    put_header(&n, 1, 1, 1448, 34, 16);
    transmit(&n, &n.tx, frame, len);
    assert_int_equal(packet_receive(&n, &header, got), len);
    assert_int_equal(header.gso_type, 1);
    assert_int_equal(header.gso_size, 1448);
    assert_memory_equal(got + 54, frame + 54, 40000);
    turn_around(frame);
    offer_buffers(&n, 1, 65536);
    packet_send(&n, &tso, frame, len);
    do {
        uint32_t written = qvirtio_wait(&n.rx);

        qtest_memread(n.qts, RX_BUF, head, HDR);
        qtest_memread(n.qts, RX_BUF + HDR, got, written - HDR);
        offer_buffers(&n, 1, 65536);
        assert_true(memcmp(got + 6, peer_mac, 6) != 0 || written == HDR + len);
    } while (memcmp(got + 6, peer_mac, 6) != 0);
    assert_int_equal(head[0], 1);
    assert_int_equal(head[1], 1);
    assert_int_equal(head[4] | head[5] << 8, 1448);
    assert_memory_equal(got, frame, len);
    assert_int_equal(control(&n, 5, 0, &none, 8), 0);
    packet_send(&n, &tso, frame, len);
    for (size_t done = 0; done < 40000;) {
        uint32_t written = qvirtio_wait(&n.rx);

        qtest_memread(n.qts, RX_BUF, head, HDR);
        qtest_memread(n.qts, RX_BUF + HDR, got, written - HDR);
        offer_buffers(&n, 1, 65536);
        if (memcmp(got + 6, peer_mac, 6) == 0) {
            assert_true(written <= HDR + 54 + 1448);
            assert_int_equal(head[0] | head[1], 0);
            assert_int_equal(tcp_sum(got, written - HDR, false), 0xffff);
            assert_memory_equal(got + 54, frame + 54 + done, written - HDR - 54);
            done += written - HDR - 54;
        }
    }
    net_stop(&n);
}

/* Several pairs of queues: the kernel answers a flow in the queue that it came from. */
static void test_tap_queues(void **state)
{
    QvirtioQueue rx[4], tx[4];
    struct virtio_net_hdr header, plain = {0};
    uint8_t frame[200], got[2000];
    Net n = {0};

    if (!tap_start(&n, "queues=4", ",mq=on")) {
        skip();
    }
    assert_int_equal(qtest_readw(n.qts, n.v.common + 18), 9);
    assert_int_equal(qtest_readw(n.qts, n.v.config + 8), 4);
    assert_true(qvirtio_negotiate(&n.v, PLAIN | BIT(F_MQ)));
    for (unsigned i = 0; i < 4; i++) {
        qvirtio_queue_start(&n.v, &rx[i], 2 * i, RINGS + 2 * i * RING_STEP);
        qvirtio_queue_start(&n.v, &tx[i], 2 * i + 1, RINGS + (2 * i + 1) * RING_STEP);
    }
    qvirtio_queue_start(&n.v, &n.ctrl, 8, RINGS + 8 * RING_STEP);
    qvirtio_driver_ok(&n.v);
    assert_int_equal(control(&n, 4, 0, "\5\0", 2), 1);
    assert_int_equal(control(&n, 4, 0, "\0\0", 2), 1);
    assert_int_equal(control(&n, 4, 0, "\3\0", 2), 0);
    for (unsigned i = 0; i < 3; i++) {
        size_t len = make_tcp(frame, false, 100, 0x18);
        QvirtioBuf in = {RX_BUF, 2000, true};

        frame[35] = (uint8_t)(100 + i); /* a flow of its own */
        put_header(&n, 1, 0, 0, 34, 16);
        transmit(&n, &tx[i], frame, len);
        assert_int_equal(packet_receive(&n, &header, got), len);
        assert_int_equal(got[35], 100 + i);
        turn_around(frame);
        packet_send(&n, &plain, frame, len);
        do {
            qvirtio_add(&rx[i], &in, 1, false);
            qvirtio_kick(&rx[i]);
            qvirtio_wait(&rx[i]);
            qtest_memread(n.qts, RX_BUF + HDR, got, len);
        } while (memcmp(got + 6, peer_mac, 6) != 0);
        assert_int_equal(got[37], 100 + i);
    }
    net_stop(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offered),         cmocka_unit_test(test_segmentation),
        cmocka_unit_test(test_hostile_headers), cmocka_unit_test(test_merged_buffers),
        cmocka_unit_test(test_control),         cmocka_unit_test(test_link),
        cmocka_unit_test(test_legacy),
        cmocka_unit_test(test_tap_offloads),    cmocka_unit_test(test_tap_queues),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
