/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The e1000 as a guest driver sees it (82540EM manual, 13.4 and 3): in process, and behind a socket.  The
 * other end of the wire is the test, on a socket of -netdev socket,fd=.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libqtest/libqpci.h"

#define TX_RING 0x1000000u
#define RX_RING 0x1010000u
#define TX_BUF  0x1100000u
#define RX_BUF  0x1200000u
#define RING    16u
#define BUF_LEN 2048u
#define MS      INT64_C(1000000)

enum {
    CTRL = 0x00,
    STATUS = 0x08,
    EECD = 0x10,
    EERD = 0x14,
    MDIC = 0x20,
    VET = 0x38,
    ICR = 0xc0,
    ITR = 0xc4,
    ICS = 0xc8,
    IMS = 0xd0,
    IMC = 0xd8,
    RCTL = 0x100,
    TCTL = 0x400,
    RDBAL = 0x2800,
    RDLEN = 0x2808,
    RDH = 0x2810,
    RDT = 0x2818,
    RDTR = 0x2820,
    TDBAL = 0x3800,
    TDBAH = 0x3804,
    TDLEN = 0x3808,
    TDH = 0x3810,
    TDT = 0x3818,
    GPRC = 0x4074,
    GPTC = 0x4080,
    TSCTC = 0x40f8,
    RXCSUM = 0x5000,
    MTA = 0x5200,
    RAL = 0x5400,
    RAH = 0x5404,
    VFTA = 0x5600,
};

static const uint8_t card_mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

typedef struct Fixture {
    QtestState *qts;
    QpciDevice *dev;
    int wire, card_end;
    uint32_t tx_tail, rx_tail, rx_next;
} Fixture;

static uint32_t get(Fixture *f, unsigned reg)
{
    return qpci_readl(f->dev, 0, reg);
}

static void set(Fixture *f, unsigned reg, uint32_t val)
{
    qpci_writel(f->dev, 0, reg, val);
}

static int setup(void **state)
{
    Fixture *f = g_new0(Fixture, 1);
    g_autofree char *args = NULL;
    int ends[2];

    qtest_wire_new(ends);
    f->wire = ends[0];
    f->card_end = ends[1];
    args = g_strdup_printf("-netdev socket,id=n0,fd=%d", f->card_end);
    f->qts = qtest_start_device(args, "e1000,netdev=n0,mac=52:54:00:12:34:56", "");
    f->dev = qpci_find(f->qts, 0x8086, 0x100e);
    assert_non_null(f->dev);
    qpci_enable(f->dev);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;

    close(f->wire);
    close(f->card_end);
    g_free(f->dev);
    qtest_end(f->qts);
    g_free(f);
    return 0;
}

/* --- the other end of the wire --- */

static void wire_send(Fixture *f, const uint8_t *frame, size_t len)
{
    uint32_t header = GUINT32_TO_BE((uint32_t)len);

    assert_int_equal(write(f->wire, &header, sizeof(header)), sizeof(header));
    assert_int_equal(write(f->wire, frame, len), len);
}

static void wire_read(Fixture *f, void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        struct pollfd pfd = {.fd = f->wire, .events = POLLIN};
        ssize_t n;

        assert_int_equal(poll(&pfd, 1, 60000), 1);
        n = read(f->wire, (uint8_t *)buf + done, len - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
}

static size_t wire_receive(Fixture *f, uint8_t *frame)
{
    uint32_t header;

    wire_read(f, &header, sizeof(header));
    header = GUINT32_FROM_BE(header);
    assert_in_range(header, 14, 70000);
    wire_read(f, frame, header);
    return header;
}

/* --- a driver --- */

static void start_tx(Fixture *f)
{
    set(f, TDBAL, TX_RING);
    set(f, TDLEN, RING * 16);
    set(f, TDH, 0);
    set(f, TDT, 0);
    f->tx_tail = 0;
    set(f, TCTL, 0x2 | 0x8);
}

static uint64_t put_desc(Fixture *f, uint64_t addr, uint32_t lower, uint32_t upper)
{
    uint64_t where = TX_RING + f->tx_tail * 16;

    qtest_writeq(f->qts, where, addr);
    qtest_writel(f->qts, where + 8, lower);
    qtest_writel(f->qts, where + 12, upper);
    f->tx_tail = (f->tx_tail + 1) % RING;
    return where;
}

static bool tx_done(Fixture *f, uint64_t where)
{
    return qtest_readb(f->qts, where + 12) & 1;
}

static void start_rx(Fixture *f, uint32_t rctl)
{
    for (unsigned i = 0; i < RING; i++) {
        qtest_writeq(f->qts, RX_RING + i * 16, RX_BUF + i * BUF_LEN);
        qtest_writeq(f->qts, RX_RING + i * 16 + 8, 0);
    }
    set(f, RDBAL, RX_RING);
    set(f, RDLEN, RING * 16);
    set(f, RDH, 0);
    set(f, RDT, RING - 1);
    f->rx_next = 0;
    set(f, RCTL, 0x2 | rctl);
    get(f, STATUS); /* writes are posted: it has them before a frame comes */
}

static bool rx_done(Fixture *f, unsigned n)
{
    return qtest_readb(f->qts, RX_RING + n * 16 + 12) & 1;
}

/* Waits for the next frame: its length, and descriptor status, errors and special. */
static uint16_t rx_take(Fixture *f, uint8_t *frame, uint8_t *status, uint8_t *errors, uint16_t *special)
{
    uint64_t where = RX_RING + f->rx_next * 16;
    uint16_t len;

    assert_true(QTEST_WAIT(rx_done(f, f->rx_next)));
    len = qtest_readw(f->qts, where + 8);
    *status = qtest_readb(f->qts, where + 12);
    *errors = qtest_readb(f->qts, where + 13);
    *special = qtest_readw(f->qts, where + 14);
    qtest_memread(f->qts, RX_BUF + f->rx_next * BUF_LEN, frame, MIN(len, BUF_LEN));
    qtest_writeq(f->qts, where + 8, 0);
    f->rx_next = (f->rx_next + 1) % RING;
    return len;
}

static uint32_t sum16(const uint8_t *p, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i++) {
        sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

/* An Ethernet, IPv4 and TCP header and payload; checksums correct. */
static size_t make_tcp(uint8_t *p, const uint8_t *dest, size_t payload)
{
    static const uint8_t ip[20] = {0x45, 0, 0,  0, 0x12, 0x34, 0x40, 0, 64, 6,
                                   0,    0, 10, 0, 2,    2,    10,   0, 2,  15};
    static const uint8_t tcp[20] = {0, 80, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x19, 0x20, 0, 0, 0, 0, 0};
    size_t tcp_len = 20 + payload;
    uint32_t sum;

    memcpy(p, dest, 6);
    memcpy(p + 6, "\x02\x00\x00\x00\x00\x01\x08\x00", 8);
    memcpy(p + 14, ip, 20);
    memcpy(p + 34, tcp, 20);
    for (size_t i = 0; i < payload; i++) {
        p[54 + i] = (uint8_t)(i * 31 + i / 256);
    }
    p[16] = (uint8_t)((tcp_len + 20) >> 8);
    p[17] = (uint8_t)(tcp_len + 20);
    sum = ~sum16(p + 14, 20, 0);
    p[24] = (uint8_t)(sum >> 8);
    p[25] = (uint8_t)sum;
    sum = ~sum16(p + 34, tcp_len, sum16(p + 26, 8, 6 + (uint32_t)tcp_len));
    p[50] = (uint8_t)(sum >> 8);
    p[51] = (uint8_t)sum;
    return 54 + payload;
}

/* --- tests --- */

static uint16_t eerd(Fixture *f, unsigned word)
{
    set(f, EERD, word << 8 | 1);
    assert_int_equal(get(f, EERD) & 0x10, 0x10);
    return (uint16_t)(get(f, EERD) >> 16);
}

static void eecd_bit(Fixture *f, bool bit)
{
    uint32_t val = 0x42 | (bit ? 4 : 0);

    set(f, EECD, val);
    set(f, EECD, val | 1);
    set(f, EECD, val);
}

/* A word as drivers of this card read it: bit by bit. */
static uint16_t microwire(Fixture *f, unsigned word)
{
    uint16_t val = 0;

    set(f, EECD, 0x40);
    assert_int_equal(get(f, EECD) & 0x180, 0x180);
    set(f, EECD, 0x42);
    for (int i = 8; i >= 0; i--) {
        eecd_bit(f, (0x180 | word) >> i & 1);
    }
    for (int i = 0; i < 16; i++) {
        set(f, EECD, 0x43);
        val = (uint16_t)(val << 1 | (get(f, EECD) >> 3 & 1));
        set(f, EECD, 0x42);
    }
    set(f, EECD, 0);
    return val;
}

static void test_eeprom(void **state)
{
    Fixture *f = *state;
    uint16_t sum = 0;

    assert_int_equal(f->dev->bars[0].size, 0x20000);
    assert_true(f->dev->bars[1].io);
    for (unsigned i = 0; i < 64; i++) {
        uint16_t word = eerd(f, i);

        assert_int_equal(microwire(f, i), word);
        sum = (uint16_t)(sum + word);
        assert_int_equal(i < 3 ? word : card_mac[0],
                         i < 3 ? card_mac[2 * i] | card_mac[2 * i + 1] << 8 : card_mac[0]);
    }
    assert_int_equal(sum, 0xbaba);
    assert_int_equal(get(f, RAL), 0x12005452);
    assert_int_equal(get(f, RAH), 0x80005634);
    qpci_writel(f->dev, 1, 0, RAL); /* the same by I/O */
    assert_int_equal(qpci_readl(f->dev, 1, 4), 0x12005452);
    qpci_writel(f->dev, 1, 4, 0x11223344);
    assert_int_equal(get(f, RAL), 0x11223344);
    set(f, CTRL, 1u << 26);
    assert_int_equal(get(f, RAL), 0x12005452);
}

static uint16_t phy(Fixture *f, unsigned reg)
{
    set(f, MDIC, 1u << 21 | reg << 16 | 2u << 26);
    assert_int_equal(get(f, MDIC) & 0x50000000, 0x10000000);
    return (uint16_t)get(f, MDIC);
}

static void test_phy(void **state)
{
    Fixture *f = *state;

    assert_int_equal(phy(f, 2), 0x0141);
    assert_int_equal(phy(f, 3) & 0xfff0, 0x0c20);
    assert_int_equal(phy(f, 1) & 0x24, 0x24);
    assert_int_equal(get(f, STATUS) & 3, 3);
    set(f, MDIC, 2u << 21 | 2u << 26); /* nobody is at address 2 */
    assert_int_equal(get(f, MDIC) & 0x50000000, 0x50000000);
    get(f, ICR);
    set(f, MDIC, 1u << 21 | 1u << 26 | 0x1200); /* restart auto-negotiation */
    assert_int_equal(get(f, STATUS) & 2, 0);
    assert_int_equal(get(f, ICR) & 4, 4);
    qtest_clock_step(f->qts, 501 * MS);
    assert_true(QTEST_WAIT(get(f, STATUS) & 2));
    assert_int_equal(get(f, ICR) & 4, 4);
    assert_int_equal(phy(f, 17) & 0xac00, 0xac00);
}

static void test_interrupts(void **state)
{
    Fixture *f = *state;

    qtest_irq_intercept_in(f->qts, "ioapic");
    get(f, ICR);
    set(f, ICS, 0x80);
    assert_int_equal(get(f, IMS), 0);
    assert_false(qpci_any_line(f->qts));
    set(f, IMS, 0x84);
    assert_true(QTEST_WAIT(qpci_any_line(f->qts)));
    set(f, IMC, 0x80);
    assert_int_equal(get(f, IMS), 4);
    assert_true(QTEST_WAIT(!qpci_any_line(f->qts)));
    set(f, IMS, 0x80);
    assert_true(QTEST_WAIT(qpci_any_line(f->qts)));
    assert_int_equal(get(f, ICR), 0x80);
    assert_true(QTEST_WAIT(!qpci_any_line(f->qts)));
    assert_int_equal(get(f, ICR), 0);
    /* ITR: the second within the interval waits for its end. */
    set(f, ITR, 1000);
    set(f, ICS, 0x80);
    assert_true(QTEST_WAIT(qpci_any_line(f->qts)));
    get(f, ICR);
    assert_true(QTEST_WAIT(!qpci_any_line(f->qts)));
    set(f, ICS, 0x80);
    qtest_clock_step(f->qts, 100000);
    assert_int_equal(get(f, ITR), 1000);
    assert_false(qpci_any_line(f->qts));
    qtest_clock_step(f->qts, 200000);
    assert_true(QTEST_WAIT(qpci_any_line(f->qts)));
}

static void test_transmit(void **state)
{
    Fixture *f = *state;
    uint8_t out[2048], in[70000];
    size_t len = make_tcp(out, (const uint8_t *)"\x02\0\0\0\0\x02", 900);
    uint64_t last;

    start_tx(f);
    qtest_memwrite(f->qts, TX_BUF, out, len);
    put_desc(f, TX_BUF, 100, 0);
    put_desc(f, TX_BUF + 100, (uint32_t)(len - 100) | 0x0bu << 24, 0); /* EOP, IFCS, RS */
    last = TX_RING + 16;
    set(f, TDT, f->tx_tail);
    assert_int_equal(wire_receive(f, in), len);
    assert_memory_equal(in, out, len);
    assert_true(QTEST_WAIT(tx_done(f, last)));
    assert_true(QTEST_WAIT(get(f, TDH) == f->tx_tail));
    assert_int_equal(get(f, ICR) & 3, 3);
    assert_int_equal(get(f, GPTC), 1);
    assert_int_equal(get(f, GPTC), 0);
    /* A legacy checksum, a VLAN tag, and padding. */
    set(f, CTRL, get(f, CTRL) | 1u << 30);
    set(f, VET, 0x8100);
    qtest_writew(f->qts, TX_BUF + 24, 0);
    put_desc(f, TX_BUF, 34 | 24 << 16 | 0x4fu << 24, 0x0123u << 16 | 14 << 8);
    set(f, TDT, f->tx_tail);
    assert_int_equal(wire_receive(f, in), 60);
    assert_memory_equal(in + 12, "\x81\x00\x01\x23\x08\x00", 6);
    /* The sum is from CSS to the end of what was given, which is the IP header. */
    assert_memory_equal(in + 18, out + 14, 20);
}

/* TCP segmentation with checksums, header and payload in descriptors of their own. */
static void test_segmentation(void **state)
{
    Fixture *f = *state;
    uint8_t out[4096], in[70000];
    size_t payload = 2500, mss = 1000, done = 0;
    uint32_t pseudo;

    make_tcp(out, (const uint8_t *)"\x02\0\0\0\0\x02", payload);
    out[16] = out[17] = out[24] = out[25] = 0;
    pseudo = sum16(out + 26, 8, 6);
    out[50] = (uint8_t)(pseudo >> 8);
    out[51] = (uint8_t)pseudo;
    qtest_memwrite(f->qts, TX_BUF, out, 54 + payload);
    start_tx(f);
    put_desc(f, 14 | 24 << 8 | 33 << 16 | UINT64_C(34) << 32 | UINT64_C(50) << 40,
             (uint32_t)payload | 0x27u << 24, 54 << 8 | (uint32_t)mss << 16);
    put_desc(f, TX_BUF, 54 | 1u << 20 | 0x24u << 24, 3 << 8);
    put_desc(f, TX_BUF + 54, (uint32_t)payload | 1u << 20 | 0x2du << 24, 3 << 8);
    set(f, TDT, f->tx_tail);
    for (unsigned n = 0; n < 3; n++) {
        size_t len = wire_receive(f, in), part = MIN(mss, payload - done);
        bool last = n == 2;

        assert_int_equal(len, 54 + part);
        assert_int_equal(in[16] << 8 | in[17], 40 + part);
        assert_int_equal(in[18] << 8 | in[19], 0x1234 + n);
        assert_int_equal(in[38] << 24 | in[39] << 16 | in[40] << 8 | in[41], 1 + done);
        assert_int_equal(in[47], last ? 0x19 : 0x10);
        assert_int_equal(sum16(in + 14, 20, 0), 0xffff);
        assert_int_equal(sum16(in + 34, 20 + part, sum16(in + 26, 8, 26 + (uint32_t)part)), 0xffff);
        assert_memory_equal(in + 54, out + 54 + done, part);
        done += part;
    }
    assert_true(QTEST_WAIT(get(f, TDH) == f->tx_tail));
    assert_int_equal(get(f, TSCTC), 1);
    assert_int_equal(get(f, GPTC), 3);
}

static void test_receive(void **state)
{
    Fixture *f = *state;
    uint8_t out[2048], in[BUF_LEN], status, errors;
    uint16_t special;
    size_t len;

    get(f, ICR);
    start_rx(f, 1u << 26 | 0x8000);
    set(f, RXCSUM, 0x300);
    len = make_tcp(out, card_mac, 700);
    wire_send(f, out, len);
    assert_int_equal(rx_take(f, in, &status, &errors, &special), len);
    assert_memory_equal(in, out, len);
    assert_int_equal(status, 0x63); /* DD, EOP, both checksums looked at */
    assert_int_equal(errors, 0);
    assert_true(QTEST_WAIT(get(f, ICR) & 0x80));
    out[100] ^= 1; /* a damaged payload */
    wire_send(f, out, len);
    assert_int_equal(rx_take(f, in, &status, &errors, &special), len);
    assert_int_equal(errors, 0x20);
    /* A tag is stripped, and the filter of tags keeps others out. */
    set(f, CTRL, get(f, CTRL) | 1u << 30);
    set(f, VET, 0x8100);
    set(f, RCTL, get(f, RCTL) | 1u << 18);
    set(f, VFTA + 4 * (5 / 32), 1u << 5);
    get(f, STATUS);
    memmove(out + 16, out + 12, len - 12);
    memcpy(out + 12, "\x81\x00\x20\x06", 4);
    wire_send(f, out, len + 4);
    out[15] = 5;
    wire_send(f, out, len + 4);
    assert_int_equal(rx_take(f, in, &status, &errors, &special), len);
    assert_int_equal(status & 8, 8);
    assert_int_equal(special, 0x2005);
    assert_memory_equal(in + 12, "\x08\x00\x45", 3);
    assert_int_equal(get(f, GPRC), 3);
}

/* Which addresses pass: the card's own, broadcast if BAM, multicast by hash, everything if promiscuous. */
static void test_filters(void **state)
{
    static const struct {
        const char *mac;
        uint32_t rctl;
        bool hash, passes;
    } cases[] = {
        {"\x52\x54\x00\x12\x34\x57", 0, false, false},      {"\x52\x54\x00\x12\x34\x57", 8, false, true},
        {"\xff\xff\xff\xff\xff\xff", 0, false, false},      {"\xff\xff\xff\xff\xff\xff", 0x8000, false, true},
        {"\x01\x00\x5e\x00\x00\x01", 0x8000, false, false}, {"\x01\x00\x5e\x00\x00\x01", 0x10, false, true},
        {"\x01\x00\x5e\x00\x00\x01", 0, true, true},
    };
    Fixture *f = *state;
    uint8_t out[128], in[BUF_LEN], status, errors;
    uint16_t special;

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        /* MO 0: bits 47:36 of the address; of 01-00-5e-00-00-01 they are 0x010. */
        set(f, MTA, cases[i].hash ? 1u << 16 : 0);
        start_rx(f, 1u << 26 | cases[i].rctl);
        make_tcp(out, (const uint8_t *)cases[i].mac, 10);
        wire_send(f, out, 64);
        make_tcp(out, card_mac, 20);
        wire_send(f, out, 74);
        assert_int_equal(rx_take(f, in, &status, &errors, &special), cases[i].passes ? 64 : 74);
        if (cases[i].passes) {
            assert_int_equal(rx_take(f, in, &status, &errors, &special), 74);
        }
        set(f, RCTL, 0);
    }
}

/* Frames wait for descriptors; long ones are spread over several; without SECRC the FCS follows. */
static void test_queue(void **state)
{
    Fixture *f = *state;
    uint8_t out[1514], in[BUF_LEN], status, errors;
    uint16_t special;

    qtest_stay(f->qts, QTEST_STAY_BACK_END); /* frames that wait there are lost, as when the link flaps */
    start_rx(f, 0x8000);
    for (unsigned i = 0; i < 100; i++) {
        make_tcp(out, card_mac, 60);
        out[60] = (uint8_t)i;
        wire_send(f, out, 114);
    }
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(rx_take(f, in, &status, &errors, &special), 118);
        assert_int_equal(in[60], i);
        set(f, RDT, (f->rx_next + RING - 1) % RING);
    }
    set(f, RCTL, 0);
    start_rx(f, 1u << 26 | 3u << 16); /* buffers of 256 bytes */
    make_tcp(out, card_mac, 600);
    wire_send(f, out, 654);
    assert_int_equal(rx_take(f, in, &status, &errors, &special), 256);
    assert_int_equal(status & 3, 1);
    assert_int_equal(rx_take(f, in, &status, &errors, &special), 256);
    assert_int_equal(rx_take(f, in, &status, &errors, &special), 142);
    assert_int_equal(status & 3, 3);
    assert_memory_equal(in, out + 512, 142);
}

static void test_link(void **state)
{
    Fixture *f = *state;
    QtestState *backend = qtest_is_split(f->qts) ? qtest_server(f->qts) : f->qts;
    g_autofree char *text = qtest_hmp(backend, "info network"), *error = NULL;

    assert_non_null(strstr(text, "model=e1000,macaddr=52:54:00:12:34:56"));
    error = qtest_qmp_error(backend, "{'execute': 'netdev_del', 'arguments': {'id': 'n0'}}");
    assert_non_null(strstr(error, "is used by device"));
    get(f, ICR);
    qtest_qmp_ok(backend, "{'execute': 'set_link', 'arguments': {'name': 'n0', 'up': false}}");
    assert_true(QTEST_WAIT(!(get(f, STATUS) & 2)));
    assert_int_equal(get(f, ICR) & 4, 4);
    qtest_qmp_ok(backend, "{'execute': 'set_link', 'arguments': {'name': 'n0', 'up': true}}");
    qtest_clock_step(f->qts, MS);
    assert_true(QTEST_WAIT(get(f, STATUS) & 2));
}

/* In another process a tail is left in shared memory, without a message; whoever reads the register finds it there. */
static void test_doorbells(void **state)
{
    Fixture *f = *state;
    uint8_t out[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, in[70000];
    int64_t before, asserted;

    start_tx(f);
    start_rx(f, 0x8008);
    qtest_memwrite(f->qts, TX_BUF, out, sizeof(out));
    before = qtest_is_split(f->qts) ? qtest_messages_sent(f->qts) : 0;
    for (unsigned i = 0; i < 40; i++) { /* more than two laps */
        uint64_t where = put_desc(f, TX_BUF, sizeof(out) | 0x0bu << 24, 0);

        qtest_writeb(f->qts, where + 12, 0);
        set(f, TDT, f->tx_tail);
        assert_int_equal(wire_receive(f, in), sizeof(out));
        assert_true(QTEST_WAIT(tx_done(f, where)));
        set(f, RDT, i % RING);
    }
    assert_true(!qtest_is_split(f->qts) || qtest_messages_sent(f->qts) == before);
    assert_int_equal(get(f, TDT), f->tx_tail);
    assert_int_equal(get(f, TDH), f->tx_tail);
    assert_int_equal(get(f, RDT), 39 % RING);
    /* The same with the interrupt line up: the doorbell is the access that ends an INTx, as any other. */
    qtest_irq_intercept_in(f->qts, "ioapic");
    set(f, ICS, 4);
    set(f, IMS, 4);
    assert_true(QTEST_WAIT(qpci_any_line(f->qts)));
    asserted = qtest_is_split(f->qts) ? qtest_messages_sent(f->qts) : 0;
    put_desc(f, TX_BUF, sizeof(out) | 0x0bu << 24, 0);
    set(f, TDT, f->tx_tail);
    assert_int_equal(wire_receive(f, in), sizeof(out));
    assert_true(!qtest_is_split(f->qts) || qtest_messages_sent(f->qts) == asserted + 1); /* that one: the line is unmasked */
    assert_true(QTEST_WAIT(qpci_any_line(f->qts)));
    set(f, TDT, 0x12345678); /* only what the register has of it is seen */
    assert_int_equal(get(f, TDT), 0x5678);
    set(f, CTRL, 1u << 26);
    assert_int_equal(get(f, TDT) | get(f, RDT), 0);
}

/* What no driver does: it must not crash, hang, or stop the card from working afterwards. */
static void test_hostile(void **state)
{
    Fixture *f = *state;
    uint8_t out[128], in[70000];
    size_t len;

    start_tx(f);
    put_desc(f, UINT64_MAX - 10, 100 | 0x0bu << 24, 0);            /* no such memory */
    put_desc(f, 0, 0, 0);                                          /* nothing */
    put_desc(f, 0, 0x0bu << 24, 0);                                /* an empty packet */
    put_desc(f, UINT64_MAX, 0x27u << 24, UINT32_MAX);              /* offsets beyond the header */
    put_desc(f, TX_BUF, 0xfffff | 1u << 20 | 0x2du << 24, 3 << 8); /* a megabyte of it */
    put_desc(f, 0, 0x27u << 24, 0);                                /* MSS 0 */
    put_desc(f, TX_BUF, 1 | 1u << 20 | 0x2du << 24, 3 << 8);
    put_desc(f, 14 | UINT64_C(34) << 32, 0x27u << 24, 54 << 8 | 100u << 16); /* shorter than its header */
    put_desc(f, TX_BUF, 10 | 1u << 20 | 0x2du << 24, 3 << 8);
    put_desc(f, f->dev->bars[0].addr, 4096 | 0x0bu << 24, 0); /* our own registers */
    put_desc(f, 0, 0xfu << 20 | 0x2bu << 24, 0);              /* no such type */
    set(f, TDT, f->tx_tail);
    assert_true(QTEST_WAIT(get(f, TDH) == f->tx_tail));
    set(f, TDT, 0xffff); /* beyond the ring */
    set(f, TDBAH, UINT32_MAX);
    set(f, TDT, 2);
    set(f, RDLEN, 0);
    set(f, RCTL, 0x8002);
    get(f, STATUS);
    set(f, TDBAH, 0);
    /* Looped by the PHY into a receive ring that lies on our own registers: CTRL.RST may come of it. */
    start_rx(f, 0x8008);
    set(f, RDBAL, (uint32_t)f->dev->bars[0].addr);
    set(f, MDIC, 1u << 21 | 1u << 26 | 0x4140);
    start_tx(f);
    len = make_tcp(out, card_mac, 40);
    qtest_memwrite(f->qts, TX_BUF, out, len);
    put_desc(f, TX_BUF, (uint32_t)len | 0x0bu << 24, 0);
    set(f, TDT, f->tx_tail);
    get(f, STATUS);
    set(f, CTRL, 1u << 26 | 1u << 31);
    assert_true(QTEST_WAIT(get(f, STATUS) & 2));
    while (recv(f->wire, in, sizeof(in), MSG_DONTWAIT) > 0) {
    }
    start_tx(f);
    put_desc(f, TX_BUF, (uint32_t)len | 0x0bu << 24, 0);
    set(f, TDT, f->tx_tail);
    assert_int_equal(wire_receive(f, in), len);
    assert_memory_equal(in, out, len);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_eeprom),       TEST(test_phy),     TEST(test_interrupts), TEST(test_transmit),
        TEST(test_segmentation), TEST(test_receive), TEST(test_filters),    TEST(test_queue),
        TEST(test_link),         TEST(test_doorbells), TEST(test_hostile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
