/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-rng-pci, virtio-blk-pci and virtio-net-pci as a guest driver sees them (VIRTIO 1.1), over split and
 * packed rings: in process, and behind a socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libqtest/libqvirtio.h"

#define RING0     0x1000000u
#define RING1     0x1010000u
#define RING2     0x1020000u
#define BUF       0x1100000u
#define DISK_SIZE (8u << 20)

/* Each way of talking; tests run over all. */
static const struct {
    const char *props;
    uint64_t features;
    bool indirect;
} ways[] = {
    {"", 0, false},
    {"", QVIRTIO_F_EVENT_IDX | QVIRTIO_F_INDIRECT, true},
    {",packed=on", QVIRTIO_F_PACKED, false},
    {",packed=on", QVIRTIO_F_PACKED | QVIRTIO_F_EVENT_IDX | QVIRTIO_F_INDIRECT, true},
};

static uint64_t way(unsigned n)
{
    return ways[n].features | QVIRTIO_F_VERSION_1;
}

/* --- rng --- */

static void test_rng(void **state)
{
    for (unsigned n = 0; n < G_N_ELEMENTS(ways); n++) {
        g_autofree char *device = g_strdup_printf("virtio-rng-pci%s", ways[n].props);
        QtestState *qts = qtest_start_device("", device, "");
        QvirtioQueue q;
        Qvirtio v;
        uint8_t a[64], b[64];

        qvirtio_find(&v, qts, 0x1005);
        assert_true(qvirtio_negotiate(&v, way(n)));
        qvirtio_queue_start(&v, &q, 0, RING0);
        qvirtio_driver_ok(&v);
        for (unsigned i = 0; i < 40; i++) { /* more than two laps */
            QvirtioBuf bufs[] = {{BUF, 32, true}, {BUF + 64, 32, true}};

            qtest_memset(qts, BUF, 0, 128);
            assert_int_equal(qvirtio_run(&q, bufs, 2, ways[n].indirect), 64);
            qtest_memread(qts, BUF, a, 64);
            qtest_memread(qts, BUF + 64, b, 64);
            assert_memory_not_equal(a, b, 32);
            assert_int_equal(a[32] | a[63] | b[32] | b[63], 0);
        }
        qvirtio_free(&v);
        qtest_end(qts);
    }
}

/* What is kicked while the guest stands is done when it runs again.  A server's device stands only while it is moved. */
static void test_rest(void **state)
{
    QtestState *qts = qtest_start_device("", "virtio-rng-pci", "");
    const QvirtioBuf buf = {BUF, 32, true};
    QvirtioQueue q;
    Qvirtio v;

    qvirtio_find(&v, qts, 0x1005);
    assert_true(qvirtio_negotiate(&v, QVIRTIO_F_VERSION_1));
    qvirtio_queue_start(&v, &q, 0, RING0);
    qvirtio_driver_ok(&v);
    qtest_qmp_ok(qts, "{'execute': 'stop'}");
    qvirtio_add(&q, &buf, 1, false);
    qvirtio_kick(&q);
    for (unsigned i = 0; i < 20; i++) {
        qtest_qmp_ok(qts, "{'execute': 'query-status'}");
    }
    assert_true(qtest_is_split(qts) || !qvirtio_done(&q));
    qtest_qmp_ok(qts, "{'execute': 'cont'}");
    assert_int_equal(qvirtio_wait(&q), 32);
    qvirtio_free(&v);
    qtest_end(qts);
}

/* --- blk --- */

typedef struct Blk {
    QtestState *qts;
    char *disk;
    Qvirtio v;
    QvirtioQueue q;
    bool indirect;
} Blk;

static void blk_start(Blk *b, const char *props)
{
    g_autofree char *drive = NULL, *device = g_strdup_printf("virtio-blk-pci,drive=d0,serial=qtest%s", props);

    b->disk = qtest_file_new(DISK_SIZE);
    drive = g_strdup_printf("-drive id=d0,file=%s,format=raw,if=none", b->disk);
    b->qts = qtest_start_device(drive, device, "");
    qvirtio_find(&b->v, b->qts, strstr(props, "disable-legacy=on") ? 0x1042 : 0x1001);
}

static void blk_stop(Blk *b)
{
    qvirtio_free(&b->v);
    qtest_end(b->qts);
    qtest_file_free(b->disk);
}

static void blk_driver(Blk *b, uint64_t features)
{
    assert_true(qvirtio_negotiate(&b->v, features));
    qvirtio_queue_start(&b->v, &b->q, 0, RING0);
    qvirtio_driver_ok(&b->v);
}

/* A request with `len` bytes of data at BUF + 0x1000, in two pieces; the status. */
static uint8_t blk_run(Blk *b, uint32_t type, uint64_t sector, uint32_t len, bool to_memory)
{
    QvirtioBuf bufs[4] = {{BUF, 16, false}};
    unsigned n = 1;

    qtest_writel(b->qts, BUF, type);
    qtest_writeq(b->qts, BUF + 8, sector);
    qtest_writeb(b->qts, BUF + 32, 0xee);
    if (len) {
        bufs[n++] = (QvirtioBuf){BUF + 0x1000, len / 2, to_memory};
        bufs[n++] = (QvirtioBuf){BUF + 0x1000 + len / 2, len - len / 2, to_memory};
    }
    bufs[n++] = (QvirtioBuf){BUF + 32, 1, true};
    qvirtio_run(&b->q, bufs, n, b->indirect);
    return qtest_readb(b->qts, BUF + 32);
}

static void test_blk_data(void **state)
{
    for (unsigned n = 0; n < G_N_ELEMENTS(ways); n++) {
        Blk b = {.indirect = ways[n].indirect};
        g_autofree uint8_t *out = g_malloc(65536), *in = g_malloc(65536), *file = NULL;
        char id[20];

        blk_start(&b, ways[n].props);
        assert_int_equal(qtest_readq(b.qts, b.v.config), DISK_SIZE / 512);
        blk_driver(&b, way(n) | 1u << 9 | 1u << 13 | 1u << 14);
        for (unsigned i = 0; i < 65536; i++) {
            out[i] = (uint8_t)(i * 13 + i / 509 + n);
        }
        qtest_memwrite(b.qts, BUF + 0x1000, out, 65536);
        assert_int_equal(blk_run(&b, 1, 100, 65536, false), 0);
        assert_int_equal(blk_run(&b, 4, 0, 0, false), 0);
        qtest_memset(b.qts, BUF + 0x1000, 0, 65536);
        assert_int_equal(blk_run(&b, 0, 100, 65536, true), 0);
        qtest_memread(b.qts, BUF + 0x1000, in, 65536);
        assert_memory_equal(in, out, 65536);
        assert_true(g_file_get_contents(b.disk, (char **)&file, NULL, NULL));
        assert_memory_equal(file + 51200, out, 65536);
        assert_int_equal(blk_run(&b, 8, 0, 20, true), 0);
        qtest_memread(b.qts, BUF + 0x1000, id, sizeof(id));
        assert_memory_equal(id, "qtest\0\0\0\0", 9);
        qtest_writeq(b.qts, BUF + 0x1000, 100);
        qtest_writel(b.qts, BUF + 0x1008, 64);
        qtest_writel(b.qts, BUF + 0x100c, 0);
        assert_int_equal(blk_run(&b, 13, 0, 16, false), 0);
        assert_int_equal(blk_run(&b, 11, 0, 16, false), 0);
        assert_int_equal(blk_run(&b, 0, 163, 512, true), 0);
        assert_int_equal(qtest_readq(b.qts, BUF + 0x1000), 0);
        assert_int_equal(blk_run(&b, 0, 164, 512, true), 0);
        qtest_memread(b.qts, BUF + 0x1000, in, 512);
        assert_memory_equal(in, out + 64 * 512, 512);
        blk_stop(&b);
    }
}

static void test_blk_errors(void **state)
{
    Blk b = {0};

    blk_start(&b, "");
    blk_driver(&b, QVIRTIO_F_VERSION_1);
    assert_int_equal(blk_run(&b, 0, DISK_SIZE / 512, 512, true), 1);
    assert_int_equal(blk_run(&b, 0, UINT64_MAX, 512, true), 1);
    assert_int_equal(blk_run(&b, 0, 0, 100, true), 1);
    assert_int_equal(blk_run(&b, 99, 0, 512, true), 2);
    assert_int_equal(blk_run(&b, 0, 0, 512, true), 0);
    blk_stop(&b);
}

/* What rerror= and werror= of the device say, before the drive is asked. */
static void test_blk_error_actions(void **state)
{
    static const struct {
        const char *error, *props;
        uint8_t status[2]; /* of a read, of a write; 0xee: the machine stops, and it ends well when it goes on */
    } cases[] = {
        {"EIO", ",rerror=report,werror=report", {1, 1}}, {"EIO", ",rerror=ignore,werror=ignore", {0, 0}},
        {"EIO", ",rerror=stop,werror=stop", {0xee, 0xee}}, {"EIO", ",werror=enospc", {1, 1}},
        {"ENOSPC", ",rerror=report,werror=enospc", {1, 0xee}},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        QtestDisk *disk = qtest_disk_new(cases[i].error);
        g_autofree char *drive = disk ? qtest_disk_drive(disk, "d0") : NULL;
        g_autofree char *device = g_strdup_printf("virtio-blk-pci,drive=d0%s", cases[i].props);
        QtestState *where;
        Blk b = {0};

        if (!disk) {
            skip(); /* no nbdkit here */
        }
        b.qts = qtest_start_device(drive, device, "");
        where = qtest_is_split(b.qts) ? qtest_server(b.qts) : b.qts;
        qvirtio_find(&b.v, b.qts, 0x1001);
        blk_driver(&b, QVIRTIO_F_VERSION_1);
        for (uint32_t type = 0; type < 2; type++) {
            const QvirtioBuf bufs[] = {{BUF, 16, false}, {BUF + 0x1000, 512, !type}, {BUF + 32, 1, true}};

            qtest_disk_fail(disk, true);
            if (cases[i].status[type] != 0xee) {
                assert_int_equal(blk_run(&b, type, 8, 512, !type), cases[i].status[type]);
                continue;
            }
            qtest_writel(b.qts, BUF, type);
            qtest_writeb(b.qts, BUF + 32, 0xee);
            qvirtio_add(&b.q, bufs, G_N_ELEMENTS(bufs), false);
            qvirtio_kick(&b.q);
            json_object_put(qtest_qmp_event(where, "STOP"));
            assert_int_equal(qtest_readb(b.qts, BUF + 32), 0xee);
            qtest_disk_fail(disk, false);
            qtest_qmp_ok(where, "{'execute': 'cont'}");
            qvirtio_wait(&b.q);
            assert_int_equal(qtest_readb(b.qts, BUF + 32), 0);
        }
        qvirtio_free(&b.v);
        qtest_end(b.qts);
        qtest_disk_free(disk);
    }
}

/* INTx and ISR, then MSI-X, then the driver's wish to hear nothing. */
static void test_interrupts(void **state)
{
    Blk b = {0};

    blk_start(&b, "");
    qtest_irq_intercept_in(b.qts, "ioapic");
    blk_driver(&b, QVIRTIO_F_VERSION_1);
    assert_int_equal(blk_run(&b, 0, 0, 512, true), 0);
    assert_true(QTEST_WAIT(qpci_any_line(b.qts)));
    assert_int_equal(qtest_readb(b.qts, b.v.isr), 1);
    assert_true(QTEST_WAIT(!qpci_any_line(b.qts)));
    assert_int_equal(qtest_readb(b.qts, b.v.isr), 0);

    qpci_msix_enable(b.v.dev);
    assert_true(qvirtio_negotiate(&b.v, QVIRTIO_F_VERSION_1));
    qvirtio_queue_start(&b.v, &b.q, 0, RING0);
    qtest_writew(b.qts, b.v.common + 26, 99); /* no such vector */
    assert_int_equal(qtest_readw(b.qts, b.v.common + 26), 0xffff);
    qtest_writew(b.qts, b.v.common + 26, 1);
    assert_int_equal(qtest_readw(b.qts, b.v.common + 26), 1);
    qvirtio_driver_ok(&b.v);
    assert_int_equal(blk_run(&b, 0, 0, 512, true), 0);
    assert_true(QTEST_WAIT(qpci_msix_take(b.v.dev, 1)));
    assert_false(qpci_any_line(b.qts));
    qtest_writew(b.qts, b.q.driver, 1); /* NO_INTERRUPT */
    assert_int_equal(blk_run(&b, 0, 0, 512, true), 0);
    assert_int_equal(qvirtio_status(&b.v) & 0x40, 0);
    assert_false(qpci_msix_take(b.v.dev, 1));
    blk_stop(&b);
}

/* block_resize: the configuration changes and the driver is told, by INTx or its vector for that. */
static void test_blk_resize(void **state)
{
    static const char resize[] = "{'execute': 'block_resize', 'arguments': {'device': 'd0', 'size': %u}}";
    QtestState *where;
    uint8_t generation;
    Blk b = {0};

    blk_start(&b, "");
    where = qtest_is_split(b.qts) ? qtest_server(b.qts) : b.qts;
    qtest_irq_intercept_in(b.qts, "ioapic");
    blk_driver(&b, QVIRTIO_F_VERSION_1);
    generation = qtest_readb(b.qts, b.v.common + 21);
    assert_int_equal(qtest_readq(b.qts, b.v.config), DISK_SIZE / 512);
    assert_int_equal(blk_run(&b, 1, DISK_SIZE / 512, 512, false), 1);
    qtest_readb(b.qts, b.v.isr);
    qtest_qmp_ok(where, resize, 2 * DISK_SIZE);
    assert_true(QTEST_WAIT(qpci_any_line(b.qts)));
    assert_int_equal(qtest_readb(b.qts, b.v.isr), 2);
    assert_int_not_equal(qtest_readb(b.qts, b.v.common + 21), generation);
    assert_int_equal(qtest_readq(b.qts, b.v.config), 2 * DISK_SIZE / 512);
    assert_int_equal(blk_run(&b, 1, DISK_SIZE / 512, 512, false), 0);

    qpci_msix_enable(b.v.dev);
    assert_true(qvirtio_negotiate(&b.v, QVIRTIO_F_VERSION_1));
    qtest_writew(b.qts, b.v.common + 16, 1);
    qtest_qmp_ok(where, resize, DISK_SIZE); /* no driver: nobody is told */
    assert_int_equal(qtest_readq(b.qts, b.v.config), DISK_SIZE / 512);
    assert_false(qpci_msix_take(b.v.dev, 1));
    qvirtio_queue_start(&b.v, &b.q, 0, RING0);
    qvirtio_driver_ok(&b.v);
    qtest_qmp_ok(where, resize, DISK_SIZE + 4096);
    assert_true(QTEST_WAIT(qpci_msix_take(b.v.dev, 1)));
    assert_int_equal(qtest_readq(b.qts, b.v.config), DISK_SIZE / 512 + 8);
    blk_stop(&b);
}

/* In another process a notification is a signal of an eventfd and no message; one of another width is a message. */
static void test_doorbells(void **state)
{
    for (unsigned n = 0; n < G_N_ELEMENTS(ways); n++) {
        Blk b = {.indirect = ways[n].indirect};
        g_autofree char *props = g_strdup_printf(",num-queues=12%s", ways[n].props);
        QvirtioQueue last;
        int64_t before = 0;

        blk_start(&b, props);
        qpci_msix_enable(b.v.dev); /* with INTx, accesses end interrupts and are messages */
        assert_true(qvirtio_negotiate(&b.v, way(n)));
        qvirtio_queue_start(&b.v, &b.q, 0, RING0);
        qvirtio_queue_start(&b.v, &last, 11, RING1); /* shares its eventfd with others */
        qvirtio_driver_ok(&b.v);
        before = qtest_is_split(b.qts) ? qtest_messages_sent(b.qts) : 0;
        for (unsigned i = 0; i < 20; i++) {
            assert_int_equal(blk_run(&b, 0, i, 512, true), 0);
        }
        b.q = last;
        for (unsigned i = 0; i < 20; i++) {
            assert_int_equal(blk_run(&b, 0, i, 512, true), 0);
        }
        if (qtest_is_split(b.qts)) {
            assert_int_equal(qtest_messages_sent(b.qts), before);
            qtest_writel(b.qts, b.v.notify + 11 * b.v.notify_stride, 11);
            assert_int_equal(qtest_messages_sent(b.qts), before + 1);
        }
        blk_stop(&b);
    }
}

/* The event index decides which of several completions interrupts. */
static void test_event_idx(void **state)
{
    Blk b = {0};

    blk_start(&b, "");
    qpci_msix_enable(b.v.dev);
    assert_true(qvirtio_negotiate(&b.v, QVIRTIO_F_VERSION_1 | QVIRTIO_F_EVENT_IDX));
    qvirtio_queue_start(&b.v, &b.q, 0, RING0);
    qtest_writew(b.qts, b.v.common + 26, 1);
    qvirtio_driver_ok(&b.v);
    assert_int_equal(blk_run(&b, 0, 0, 512, true), 0);
    assert_true(QTEST_WAIT(qpci_msix_take(b.v.dev, 1))); /* used_event 0 */
    qtest_writew(b.qts, b.q.driver + 4 + 2 * QVIRTIO_RING, 2);
    assert_int_equal(blk_run(&b, 0, 0, 512, true), 0);
    assert_int_equal(qvirtio_status(&b.v) & 0x40, 0);
    assert_false(qpci_msix_take(b.v.dev, 1));
    assert_int_equal(blk_run(&b, 0, 0, 512, true), 0);
    assert_true(QTEST_WAIT(qpci_msix_take(b.v.dev, 1)));
    /* The device tells where it wants to be woken. */
    assert_true(QTEST_WAIT(qtest_readw(b.qts, b.q.device + 4 + 8 * QVIRTIO_RING) == 3));
    blk_stop(&b);
}

static void test_features(void **state)
{
    Blk b = {0};

    blk_start(&b, ",iommu_platform=on,disable-legacy=on,order_platform=on");
    assert_int_equal(b.v.dev->bars[0].size, 0); /* no legacy BAR */
    assert_int_equal(qvirtio_offered(&b.v) >> 32, 1 | 2 | 1 << 4);
    assert_false(qvirtio_negotiate(&b.v, QVIRTIO_F_VERSION_1)); /* without the IOMMU */
    assert_false(qvirtio_negotiate(&b.v, UINT64_C(2) << 32));   /* without VERSION_1 */
    assert_false(qvirtio_negotiate(&b.v, UINT64_C(3) << 32 | 1u << 31));
    assert_true(qvirtio_negotiate(&b.v, UINT64_C(3) << 32));
    qvirtio_queue_start(&b.v, &b.q, 0, RING0);
    qtest_writew(b.qts, b.v.common + 24, 4); /* enabled: its size stays */
    assert_int_equal(qtest_readw(b.qts, b.v.common + 24), QVIRTIO_RING);
    qvirtio_driver_ok(&b.v);
    assert_int_equal(blk_run(&b, 0, 0, 512, true), 0);
    blk_stop(&b);
}

/* The interface of before version 1: I/O BAR, page number, ring in the driver's order. */
enum {
    LEGACY_FEATURES = 4,
    LEGACY_PFN = 8,
    LEGACY_SIZE = 12,
    LEGACY_SELECT = 14,
    LEGACY_NOTIFY = 16,
    LEGACY_STATUS = 18,
    LEGACY_ISR = 19,
    LEGACY_CONFIG = 20
};

static void legacy_begin(QpciDevice *dev)
{
    assert_true(dev->bars[0].io);
    qpci_writeb(dev, 0, LEGACY_STATUS, 0);
    qpci_writeb(dev, 0, LEGACY_STATUS, 3);
    qpci_writel(dev, 0, LEGACY_FEATURES, 0);
}

static void legacy_queue(Blk *b, QvirtioQueue *q, uint16_t n, uint64_t at)
{
    QpciDevice *dev = b->v.dev;

    qpci_writew(dev, 0, LEGACY_SELECT, n);
    assert_int_equal(qpci_readw(dev, 0, LEGACY_SIZE), QVIRTIO_RING);
    qtest_memset(b->qts, at, 0, 0x2000);
    qpci_writel(dev, 0, LEGACY_PFN, (uint32_t)(at / 4096));
    assert_int_equal(qpci_readl(dev, 0, LEGACY_PFN), at / 4096);
    *q = (QvirtioQueue){.v = &b->v, .desc = at, .driver = at + 16 * QVIRTIO_RING, .device = at + 0x1000};
}

static void legacy_io(Blk *b, QvirtioQueue *q, uint16_t n)
{
    QvirtioBuf bufs[] = {{BUF, 16, false}, {BUF + 0x1000, 512, true}, {BUF + 32, 1, true}};

    qtest_memset(b->qts, BUF, 0, 33);
    qtest_writeb(b->qts, BUF + 32, 0xee);
    qvirtio_add(q, bufs, 3, false);
    qpci_writew(b->v.dev, 0, LEGACY_NOTIFY, n);
    assert_int_equal(qvirtio_wait(q), 513);
    assert_int_equal(qtest_readb(b->qts, BUF + 32), 0);
}

static void test_legacy(void **state)
{
    Blk b = {0};
    QpciDevice *dev;

    blk_start(&b, ",queue-size=8");
    dev = b.v.dev;
    legacy_begin(dev);
    assert_int_equal(qpci_readl(dev, 0, LEGACY_CONFIG), DISK_SIZE / 512);
    legacy_queue(&b, &b.q, 0, RING0);
    qpci_writeb(dev, 0, LEGACY_STATUS, 7);
    for (unsigned i = 0; i < 20; i++) {
        legacy_io(&b, &b.q, 0);
        assert_int_equal(qpci_readb(dev, 0, LEGACY_ISR), 1);
    }
    qpci_writel(dev, 0, LEGACY_PFN, 0);
    assert_int_equal(qpci_readb(dev, 0, LEGACY_STATUS), 0);
    blk_stop(&b);
}

/* A queue's number in the one register of all queues is a signal as well; no queue's number is a message. */
static void test_legacy_doorbells(void **state)
{
    const char *const interfaces[] = {"", ",disable-modern=on,disable-legacy=off"};

    for (unsigned n = 0; n < G_N_ELEMENTS(interfaces); n++) {
        g_autofree char *props = g_strdup_printf(",queue-size=8,num-queues=12%s", interfaces[n]);
        QvirtioQueue last;
        int64_t before = 0;
        Blk b = {0};

        blk_start(&b, props);
        qpci_msix_enable(b.v.dev);
        legacy_begin(b.v.dev);
        legacy_queue(&b, &b.q, 0, RING0);
        legacy_queue(&b, &last, 11, RING1);
        qpci_writeb(b.v.dev, 0, LEGACY_STATUS, 7);
        before = qtest_is_split(b.qts) ? qtest_messages_sent(b.qts) : 0;
        for (unsigned i = 0; i < 20; i++) {
            legacy_io(&b, &b.q, 0);
            legacy_io(&b, &last, 11);
        }
        if (qtest_is_split(b.qts)) {
            assert_int_equal(qtest_messages_sent(b.qts), before);
            qpci_writew(b.v.dev, 0, LEGACY_NOTIFY, 12);
            assert_int_equal(qtest_messages_sent(b.qts), before + 1);
        }
        blk_stop(&b);
    }
}

/* Access through configuration space (4.1.4.7). */
static void test_cfg_window(void **state)
{
    Blk b = {0};
    uint16_t at = 0;

    blk_start(&b, "");
    for (uint8_t cap = qpci_config_readb(b.v.dev, QPCI_CAP_PTR); cap;
         cap = qpci_config_readb(b.v.dev, cap + 1u)) {
        if (qpci_config_readb(b.v.dev, cap) == 9 && qpci_config_readb(b.v.dev, cap + 3u) == 5) {
            at = cap;
        }
    }
    assert_true(at);
    qpci_config_writeb(b.v.dev, at + 4, 4);
    qpci_config_writel(b.v.dev, at + 8, 20); /* device_status */
    qpci_config_writel(b.v.dev, at + 12, 1);
    qpci_config_writel(b.v.dev, at + 16, 3);
    assert_int_equal(qvirtio_status(&b.v), 3);
    assert_int_equal(qpci_config_readl(b.v.dev, at + 16) & 0xff, 3);
    qpci_config_writel(b.v.dev, at + 8, UINT32_MAX); /* nowhere: nothing happens */
    qpci_config_writel(b.v.dev, at + 16, 0);
    assert_int_equal(qvirtio_status(&b.v), 3);
    blk_stop(&b);
}

/* Rings no driver would make: the device wants a reset, and works after it. */
static void test_hostile(void **state)
{
    static const struct {
        uint64_t addr;
        uint32_t len;
        uint16_t flags, next, head;
    } cases[] = {
        {BUF, 16, 1, 0, 0},                    /* a chain that goes in circles */
        {BUF, 16, 1, 999, 0},                  /* a next that is not there */
        {BUF, 16, 0, 0, 999},                  /* a head that is not there */
        {BUF, 16, 4, 0, 0},                    /* an indirect table that was not negotiated */
        {UINT64_C(0x7000000000), 16, 0, 0, 0}, /* no memory */
        {BUF, 4, 0, 0, 0},                     /* no header */
    };
    Blk b = {0};

    blk_start(&b, "");
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        blk_driver(&b, QVIRTIO_F_VERSION_1);
        qtest_writeq(b.qts, b.q.desc, cases[i].addr);
        qtest_writel(b.qts, b.q.desc + 8, cases[i].len);
        qtest_writew(b.qts, b.q.desc + 12, cases[i].flags);
        qtest_writew(b.qts, b.q.desc + 14, cases[i].next);
        qtest_writew(b.qts, b.q.driver + 4, cases[i].head);
        qtest_writew(b.qts, b.q.driver + 2, 1);
        qvirtio_kick(&b.q);
        assert_true(QTEST_WAIT(qvirtio_status(&b.v) & 0x40));
    }
    blk_driver(&b, QVIRTIO_F_VERSION_1);
    qtest_writew(b.qts, b.q.driver + 2, 5000); /* an index far ahead */
    qvirtio_kick(&b.q);
    assert_true(QTEST_WAIT(qvirtio_status(&b.v) & 0x40));
    assert_true(qvirtio_negotiate(&b.v, QVIRTIO_F_VERSION_1));
    qtest_writeq(b.qts, b.v.common + 32, UINT64_MAX - 100); /* a ring outside of memory */
    qtest_writew(b.qts, b.v.common + 28, 1);
    qvirtio_driver_ok(&b.v);
    qvirtio_kick(&b.q);
    qtest_writew(b.qts, b.v.notify + 4 * 1000, 0);
    qtest_writew(b.qts, b.v.common + 22, 1000); /* a queue that is not there */
    assert_int_equal(qtest_readw(b.qts, b.v.common + 24), 0);
    blk_driver(&b, QVIRTIO_F_VERSION_1);
    assert_int_equal(blk_run(&b, 0, 0, 512, true), 0);
    blk_stop(&b);
}

/* The same of a packed ring, and of tables. */
static void test_hostile_packed(void **state)
{
    enum { NEXT = 1, WRITE = 2, INDIRECT = 4, AVAIL = 0x80 };
    static const struct {
        uint64_t addr;
        uint32_t len;
        uint16_t flags, rest, table; /* of the first descriptor, the others, and those of the table at BUF */
    } cases[] = {
        {BUF, 16, NEXT, NEXT, 0},                          /* a chain as long as the ring, and on */
        {BUF, 0, INDIRECT, 0, 0},                          /* a table of nothing */
        {BUF, 17, INDIRECT, 0, 0},                         /* a table of a part */
        {BUF, 0xfffffff0u, INDIRECT, 0, 0},                /* a table of 4 GiB */
        {BUF, 32, INDIRECT, 0, INDIRECT},                  /* a table in a table */
        {UINT64_C(0x7000000000), 16, INDIRECT, 0, 0},      /* a table that is not memory */
        {BUF, 16, WRITE | NEXT, 0, 0},                     /* to be read after to be written */
        {UINT64_MAX - 7, 16, 0, 0, 0},                     /* over the end of all addresses */
        {BUF, UINT32_MAX, 0, 0, 0},                        /* far over the end of memory */
    };
    Blk b = {.indirect = true};

    blk_start(&b, ",packed=on");
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        blk_driver(&b, way(3));
        for (unsigned k = QVIRTIO_RING; k-- > 0;) {
            uint64_t at = b.q.desc + 16 * k;

            qtest_writeq(b.qts, at, k ? BUF : cases[i].addr);
            qtest_writel(b.qts, at + 8, k ? 16 : cases[i].len);
            qtest_writew(b.qts, at + 12, (uint16_t)k);
            qtest_writew(b.qts, at + 14, (uint16_t)(AVAIL | (k ? cases[i].rest : cases[i].flags)));
        }
        for (unsigned k = 0; k < 2; k++) {
            qtest_writeq(b.qts, BUF + 16 * k, BUF + 0x1000);
            qtest_writel(b.qts, BUF + 16 * k + 8, 16);
            qtest_writel(b.qts, BUF + 16 * k + 12, (uint32_t)cases[i].table << 16);
        }
        qvirtio_kick(&b.q);
        assert_true(QTEST_WAIT(qvirtio_status(&b.v) & 0x40));
    }
    blk_driver(&b, way(3));
    assert_int_equal(blk_run(&b, 0, 0, 512, true), 0);
    blk_stop(&b);
}

/* --- net --- */

static void wire_read(int fd, void *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        ssize_t n;

        assert_int_equal(poll(&pfd, 1, 60000), 1);
        n = read(fd, (uint8_t *)buf + done, len - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
}

static void wire_send(int fd, const uint8_t *frame, uint32_t len)
{
    uint32_t header = GUINT32_TO_BE(len);

    assert_int_equal(write(fd, &header, 4), 4);
    assert_int_equal(write(fd, frame, len), len);
}

static void net_exchange(QtestState *qts, int wire, unsigned n)
{
    static const uint8_t mac[6] = {0x52, 0x54, 0, 0xaa, 0xbb, 0xcc};
    QvirtioQueue rx, tx, ctrl;
    Qvirtio v;
    uint8_t frame[1000], got[1000], header[12];
    QvirtioBuf out[] = {{BUF, 12, false}, {BUF + 64, sizeof(frame), false}};
    QvirtioBuf in[] = {{BUF + 0x2000, 600, true}};
    QvirtioBuf command[] = {{BUF + 0x4000, 3, false}, {BUF + 0x4010, 1, true}};
    uint32_t len;

    qvirtio_find(&v, qts, 0x1000);
    qtest_memread(qts, v.config, got, 6);
    assert_memory_equal(got, mac, 6);
    assert_true(qvirtio_negotiate(&v, way(n) | 1 | 1u << 5 | 1u << 15 | 1u << 17 | 1u << 18));
    qvirtio_queue_start(&v, &rx, 0, RING0);
    qvirtio_queue_start(&v, &tx, 1, RING1);
    qvirtio_queue_start(&v, &ctrl, 2, RING2);
    qvirtio_driver_ok(&v);
    /* Out, with a checksum to be inserted at 100 + 16 over what follows 100. */
    for (unsigned i = 0; i < sizeof(frame); i++) {
        frame[i] = (uint8_t)(i * 3 + n);
    }
    frame[116] = frame[117] = 0;
    qtest_memset(qts, BUF, 0, 12);
    qtest_writeb(qts, BUF, 1);
    qtest_writew(qts, BUF + 6, 100);
    qtest_writew(qts, BUF + 8, 16);
    qtest_memwrite(qts, BUF + 64, frame, sizeof(frame));
    qvirtio_run(&tx, out, 2, ways[n].indirect);
    wire_read(wire, &len, 4);
    assert_int_equal(GUINT32_FROM_BE(len), sizeof(frame));
    wire_read(wire, got, sizeof(frame));
    assert_memory_equal(got, frame, 116);
    uint32_t sum = 0;
    for (unsigned i = 100; i < sizeof(frame); i += 2) {
        sum += (uint32_t)got[i] << 8 | got[i + 1];
    }
    assert_int_equal(sum % 0xffff, 0);
    /* In, spread over two merged buffers. */
    in[0].addr = BUF + 0x2000;
    qvirtio_add(&rx, in, 1, ways[n].indirect);
    in[0].addr = BUF + 0x3000;
    qvirtio_add(&rx, in, 1, ways[n].indirect);
    qvirtio_kick(&rx);
    memcpy(frame, mac, 6);
    wire_send(wire, frame, sizeof(frame));
    assert_int_equal(qvirtio_wait(&rx), 600);
    assert_int_equal(qvirtio_wait(&rx), 12 + sizeof(frame) - 600);
    qtest_memread(qts, BUF + 0x2000, header, 12);
    assert_int_equal(header[10], 2);
    qtest_memread(qts, BUF + 0x200c, got, 588);
    qtest_memread(qts, BUF + 0x3000, got + 588, 412);
    assert_memory_equal(got, frame, sizeof(frame));
    /* Not promiscuous any more: only what is ours comes in. */
    qtest_memset(qts, BUF + 0x4000, 0, 3);
    qtest_writeb(qts, BUF + 0x4010, 0xee);
    assert_int_equal(qvirtio_run(&ctrl, command, 2, ways[n].indirect), 1);
    assert_int_equal(qtest_readb(qts, BUF + 0x4010), 0);
    qtest_writeb(qts, BUF + 0x4000, 77);
    qvirtio_run(&ctrl, command, 2, ways[n].indirect);
    assert_int_equal(qtest_readb(qts, BUF + 0x4010), 1);
    qvirtio_add(&rx, in, 1, ways[n].indirect);
    qvirtio_kick(&rx);
    frame[0] = 0x02;
    wire_send(wire, frame, 100);
    frame[0] = mac[0];
    wire_send(wire, frame, 200);
    assert_int_equal(qvirtio_wait(&rx), 212);
    qvirtio_free(&v);
}

static void test_net(void **state)
{
    for (unsigned n = 0; n < G_N_ELEMENTS(ways); n++) {
        int ends[2];
        g_autofree char *args = NULL;
        g_autofree char *device =
            g_strdup_printf("virtio-net-pci,netdev=n0,mac=52:54:00:aa:bb:cc%s", ways[n].props);
        QtestState *qts;

        qtest_wire_new(ends);
        args = g_strdup_printf("-netdev socket,id=n0,fd=%d", ends[1]);
        qts = qtest_start_device(args, device, "");
        net_exchange(qts, ends[0], n);
        close(ends[0]);
        close(ends[1]);
        qtest_end(qts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rng),      cmocka_unit_test(test_rest),      cmocka_unit_test(test_blk_data),   cmocka_unit_test(test_blk_errors),
        cmocka_unit_test(test_features), cmocka_unit_test(test_interrupts), cmocka_unit_test(test_event_idx),
        cmocka_unit_test(test_legacy), cmocka_unit_test(test_legacy_doorbells),  cmocka_unit_test(test_cfg_window), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_net),      cmocka_unit_test(test_doorbells), cmocka_unit_test(test_hostile_packed),  cmocka_unit_test(test_blk_error_actions),
        cmocka_unit_test(test_blk_resize),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
