/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NVMe controller as a guest driver sees it (NVMe 1.4, 7.6.1): in process, and behind a socket.  What
 * needs a look inside is in tests/unit/test-nvme*.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "libqtest/libqpci.h"
#include "libqtest/libqtest.h"

#define DISK_SIZE (16u << 20)
#define ASQ       0x1000000u
#define ACQ       0x1001000u
#define IOSQ      0x1002000u
#define IOCQ      0x1003000u
#define LIST      0x1004000u
#define BUF       0x1100000u
#define ENTRIES   16
#define IO_VECTOR 3
#define DNR       0x4000
#define SHADOW    0x1006000u
#define EVENTS    0x1007000u

enum {
    REG_CAP = 0x00,
    REG_VS = 0x08,
    REG_CC = 0x14,
    REG_CSTS = 0x1c,
    REG_AQA = 0x24,
    REG_ASQ = 0x28,
    REG_ACQ = 0x30,
    REG_CMBLOC = 0x38,
    REG_CMBSZ = 0x3c,
    REG_CMBMSC = 0x50,
    REG_CMBSTS = 0x58,
    REG_DOORBELLS = 0x1000
};
enum { ADM_CREATE_SQ = 0x01, ADM_GET_LOG_PAGE = 0x02, ADM_CREATE_CQ = 0x05, ADM_IDENTIFY = 0x06, ADM_SET_FEATURES = 0x09,
       ADM_ASYNC_EVENT = 0x0c, ADM_DBBUF = 0x7c, ADM_FORMAT = 0x80 };
enum { IO_FLUSH = 0x00, IO_WRITE = 0x01, IO_READ = 0x02, IO_WRITE_ZEROES = 0x08, IO_DSM = 0x09 };

typedef struct Cmd {
    uint8_t opcode, flags;
    uint16_t cid;
    uint32_t nsid, reserved[2];
    uint64_t mptr, prp1, prp2;
    uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
} Cmd;

typedef struct Queue {
    uint16_t qid, tail, head, phase;
    uint64_t sq, cq;
} Queue;

typedef struct Fixture {
    QtestState *qts;
    QpciDevice *dev;
    char *disk;
    Queue admin, io;
    uint16_t cid;
} Fixture;

static void begin(Fixture *f, const char *drives, const char *props, const char *devices)
{
    g_autofree char *device = g_strdup_printf("nvme,serial=qtest,drive=d0%s", props);

    f->qts = qtest_start_controller(drives, device, devices, "");
    f->dev = qpci_find(f->qts, 0x1b36, 0x0010);
    assert_non_null(f->dev);
    qpci_enable(f->dev);
}

static int start(void **state, const char *props, const char *drives, const char *devices)
{
    Fixture *f = g_new0(Fixture, 1);
    g_autofree char *all = NULL;

    f->disk = qtest_file_new(DISK_SIZE);
    all = g_strdup_printf("-drive id=d0,file=%s,format=raw,if=none,discard=unmap %s", f->disk, drives);
    begin(f, all, props, devices);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return start(state, "", "", "");
}

static int setup_cmb(void **state)
{
    return start(state, ",cmb_size_mb=2", "", "");
}

static int setup_legacy_cmb(void **state)
{
    return start(state, ",cmb_size_mb=1,legacy-cmb=on", "", "");
}

static int setup_namespaces(void **state)
{
    return start(state, ",uuid=01234567-89ab-cdef-0123-456789abcdef,eui64=0x1122334455667788",
                 "-drive id=d1,file=null-co://,if=none,size=8M,read-zeroes=on",
                 "-device nvme-ns,drive=d1,bus=dev0,nsid=5,logical_block_size=4096,physical_block_size=4096");
}

static int teardown(void **state)
{
    Fixture *f = *state;

    g_free(f->dev);
    qtest_end(f->qts);
    qtest_file_free(f->disk);
    g_free(f);
    return 0;
}

/* --- a driver --- */

static bool csts_is(Fixture *f, uint32_t csts)
{
    return qpci_readl(f->dev, 0, REG_CSTS) == csts;
}

static void enable(Fixture *f)
{
    qtest_memset(f->qts, ASQ, 0, 0x5000);
    qpci_writel(f->dev, 0, REG_AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1));
    qpci_writeq(f->dev, 0, REG_ASQ, ASQ);
    qpci_writeq(f->dev, 0, REG_ACQ, ACQ);
    qpci_writel(f->dev, 0, REG_CC, 1 | 6 << 16 | 4 << 20);
    assert_true(QTEST_WAIT(csts_is(f, 1)));
    f->admin = (Queue){0, 0, 0, 1, ASQ, ACQ};
}

static void disable(Fixture *f)
{
    qpci_writel(f->dev, 0, REG_CC, 0);
    assert_true(QTEST_WAIT(csts_is(f, 0)));
}

static uint16_t push(Fixture *f, Queue *q, Cmd cmd)
{
    cmd.cid = ++f->cid;
    qtest_memwrite(f->qts, q->sq + q->tail * 64u, &cmd, sizeof(cmd));
    q->tail = (uint16_t)((q->tail + 1) % ENTRIES);
    return cmd.cid;
}

static void ring(Fixture *f, Queue *q)
{
    qpci_writel(f->dev, 0, REG_DOORBELLS + q->qid * 8u, q->tail);
}

static bool completed(Fixture *f, Queue *q)
{
    return (qtest_readw(f->qts, q->cq + q->head * 16u + 14) & 1) == q->phase;
}

/* The status of the next completion, which must be that of `cid`. */
static uint16_t take(Fixture *f, Queue *q, uint16_t cid)
{
    uint64_t entry = q->cq + q->head * 16u;
    uint16_t status;

    assert_true(QTEST_WAIT(completed(f, q)));
    status = qtest_readw(f->qts, entry + 14) >> 1;
    assert_int_equal(qtest_readw(f->qts, entry + 12), cid);
    q->head = (uint16_t)((q->head + 1) % ENTRIES);
    q->phase ^= !q->head;
    return status;
}

static void ack(Fixture *f, Queue *q)
{
    qpci_writel(f->dev, 0, REG_DOORBELLS + q->qid * 8u + 4, q->head);
}

static uint16_t run(Fixture *f, Queue *q, Cmd cmd)
{
    uint16_t cid = push(f, q, cmd), status;

    ring(f, q);
    status = take(f, q, cid);
    ack(f, q);
    return status;
}

static void create_io(Fixture *f, uint32_t vector)
{
    Cmd cq = {
        .opcode = ADM_CREATE_CQ, .prp1 = IOCQ, .cdw10 = 1 | (ENTRIES - 1) << 16, .cdw11 = vector << 16 | 3};
    Cmd sq = {.opcode = ADM_CREATE_SQ, .prp1 = IOSQ, .cdw10 = 1 | (ENTRIES - 1) << 16, .cdw11 = 1 << 16 | 1};

    assert_int_equal(run(f, &f->admin, cq), 0);
    assert_int_equal(run(f, &f->admin, sq), 0);
    f->io = (Queue){1, 0, 0, 1, IOSQ, IOCQ};
}

static Cmd rw(uint8_t opcode, uint64_t slba, uint32_t blocks, uint64_t prp1, uint64_t prp2)
{
    return (Cmd){.opcode = opcode,
                 .nsid = 1,
                 .prp1 = prp1,
                 .prp2 = prp2,
                 .cdw10 = (uint32_t)slba,
                 .cdw11 = (uint32_t)(slba >> 32),
                 .cdw12 = blocks - 1};
}

/* --- tests --- */

static void test_identify(void **state)
{
    Fixture *f = *state;
    uint8_t id[4096];

    assert_int_equal(qpci_readl(f->dev, 0, REG_VS), 0x10400);
    assert_int_equal(qpci_readq(f->dev, 0, REG_CAP) & 0xffff, 2047);
    assert_int_equal(f->dev->bars[0].size, 0x4000);
    enable(f);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_IDENTIFY, .prp1 = BUF, .cdw10 = 1}), 0);
    qtest_memread(f->qts, BUF, id, sizeof(id));
    assert_memory_equal(id + 4, "qtest               ", 20);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_IDENTIFY, .nsid = 1, .prp1 = BUF}), 0);
    assert_int_equal(qtest_readq(f->qts, BUF), DISK_SIZE / 512);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = 0x18}), 0x001 | DNR);
}

/* What is written reaches the file, and comes back, by two pages and by a list. */
static void test_data(void **state)
{
    Fixture *f = *state;
    const size_t len = 128 << 10;
    g_autofree uint8_t *out = g_malloc(len), *in = g_malloc(len);
    g_autofree char *file = NULL;

    enable(f);
    create_io(f, 0);
    qtest_fill(out, len, 1);
    qtest_memwrite(f->qts, BUF, out, len);
    assert_int_equal(run(f, &f->io, rw(IO_WRITE, 16, 16, BUF, BUF + 4096)), 0);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 16, 16, BUF + 0x80000, BUF + 0x90000)), 0);
    qtest_memread(f->qts, BUF + 0x80000, in, 4096);
    qtest_memread(f->qts, BUF + 0x90000, in + 4096, 4096);
    assert_memory_equal(in, out, 8192);
    for (unsigned i = 0; i < len / 4096 - 1; i++) {
        qtest_writeq(f->qts, LIST + i * 8, BUF + (i + 1) * 4096);
    }
    assert_int_equal(run(f, &f->io, rw(IO_WRITE, 1024, 256, BUF, LIST)), 0);
    assert_int_equal(run(f, &f->io, (Cmd){.opcode = IO_FLUSH, .nsid = 1}), 0);
    qtest_memset(f->qts, BUF, 0, len);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 1024, 256, BUF, LIST)), 0);
    qtest_memread(f->qts, BUF, in, len);
    assert_memory_equal(in, out, len);
    assert_true(g_file_get_contents(f->disk, &file, NULL, NULL));
    assert_memory_equal(file + 1024 * 512, out, len);
    assert_memory_equal(file + 16 * 512, out, 8192);
    assert_int_equal(run(f, &f->io, rw(IO_WRITE_ZEROES, 1024, 256, 0, 0)), 0);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 1279, 1, BUF, 0)), 0);
    assert_int_equal(qtest_readq(f->qts, BUF), 0);
}

static void test_errors(void **state)
{
    Fixture *f = *state;
    Cmd other = rw(IO_READ, 0, 1, BUF, 0);

    enable(f);
    create_io(f, 0);
    other.nsid = 7; /* inactive */
    assert_int_equal(run(f, &f->io, other), 0x002 | DNR);
    other.nsid = 300; /* beyond the number of namespaces */
    assert_int_equal(run(f, &f->io, other), 0x00b | DNR);
    assert_int_equal(run(f, &f->io, rw(0x7f, 0, 1, BUF, 0)), 0x001 | DNR);
    assert_int_equal(run(f, &f->io, rw(IO_READ, DISK_SIZE / 512, 1, BUF, 0)), 0x080 | DNR);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 0, 1, BUF + 1, 0)), 0x013 | DNR);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 0, 2048, BUF, LIST)), 0x002 | DNR);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 0, 8, UINT64_C(0x7000000000), 0)), 0x004);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 0, 8, BUF, 0)), 0);
}

static bool take_vector(Fixture *f, unsigned vector)
{
    return qpci_msix_take(f->dev, vector);
}

static void test_msix(void **state)
{
    Fixture *f = *state;
    uint16_t cid;

    assert_int_equal(f->dev->msix_vectors ? f->dev->msix_vectors : 65, 65);
    qpci_msix_enable(f->dev);
    enable(f);
    create_io(f, IO_VECTOR);
    assert_true(QTEST_WAIT(take_vector(f, 0)));
    assert_false(take_vector(f, IO_VECTOR));
    assert_int_equal(run(f, &f->io, rw(IO_READ, 0, 8, BUF, 0)), 0);
    assert_true(QTEST_WAIT(take_vector(f, IO_VECTOR)));

    qpci_msix_mask(f->dev, IO_VECTOR, true);
    cid = push(f, &f->io, rw(IO_READ, 0, 8, BUF, 0));
    ring(f, &f->io);
    assert_int_equal(take(f, &f->io, cid), 0);
    assert_true(QTEST_WAIT(qpci_msix_pending(f->dev, IO_VECTOR)));
    assert_false(take_vector(f, IO_VECTOR));
    qpci_msix_mask(f->dev, IO_VECTOR, false);
    assert_true(QTEST_WAIT(take_vector(f, IO_VECTOR)));
    assert_false(qpci_msix_pending(f->dev, IO_VECTOR));
}

static void test_intx(void **state)
{
    Fixture *f = *state;
    uint16_t cid;

    qtest_irq_intercept_in(f->qts, "ioapic");
    enable(f);
    cid = push(f, &f->admin, (Cmd){.opcode = ADM_IDENTIFY, .prp1 = BUF, .cdw10 = 1});
    assert_false(qpci_any_line(f->qts));
    ring(f, &f->admin);
    assert_int_equal(take(f, &f->admin, cid), 0);
    assert_true(QTEST_WAIT(qpci_any_line(f->qts)));
    ack(f, &f->admin);
    assert_true(QTEST_WAIT(!qpci_any_line(f->qts)));
}

/* Commands that are under way when the controller is disabled, or the machine reset, do not complete
 * afterwards. */
static void test_reset_mid_io(void **state)
{
    Fixture *f = *state;

    for (int round = 0; round < 5; round++) {
        enable(f);
        create_io(f, 0);
        for (unsigned i = 0; i < ENTRIES - 1; i++) {
            push(f, &f->io, rw(IO_WRITE, i * 64, 64, BUF, LIST));
        }
        ring(f, &f->io);
        disable(f);
    }
    enable(f);
    create_io(f, 0);
    for (unsigned i = 0; i < ENTRIES - 1; i++) {
        push(f, &f->io, rw(IO_READ, i * 8, 8, BUF, 0));
    }
    ring(f, &f->io);
    qtest_qmp_ok(f->qts, "{'execute': 'system_reset'}");
    json_object_put(qtest_qmp_event(f->qts, "RESET"));
    qpci_enable(f->dev);
    assert_int_equal(qpci_readl(f->dev, 0, REG_CC), 0);
    assert_true(QTEST_WAIT(csts_is(f, 0)));
    enable(f);
    create_io(f, 0);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 0, 8, BUF, 0)), 0);
}

/* --- memory of the controller's own --- */

/* Queue, PRP list and data in the buffer at `base`. */
static void use_cmb(Fixture *f, uint64_t base)
{
    const size_t len = 64 << 10;
    g_autofree uint8_t *out = g_malloc(len), *in = g_malloc(len);
    Cmd cq = {.opcode = ADM_CREATE_CQ, .prp1 = IOCQ, .cdw10 = 1 | (ENTRIES - 1) << 16, .cdw11 = 3};
    Cmd sq = {.opcode = ADM_CREATE_SQ, .prp1 = base, .cdw10 = 1 | (ENTRIES - 1) << 16, .cdw11 = 1 << 16 | 1};
    Cmd cq_inside = cq;

    cq_inside.prp1 = base + 0x1000;
    assert_int_equal(run(f, &f->admin, cq_inside), 0x012 | DNR); /* CMBSZ.CQS is 0 */
    assert_int_equal(run(f, &f->admin, cq), 0);
    assert_int_equal(run(f, &f->admin, sq), 0);
    f->io = (Queue){1, 0, 0, 1, base, IOCQ};
    qtest_fill(out, len, 11);
    qtest_memwrite(f->qts, base + 0x10000, out, len);
    for (unsigned i = 0; i < len / 4096 - 1; i++) {
        qtest_writeq(f->qts, base + 0x2000 + i * 8, base + 0x11000 + i * 4096);
    }
    assert_int_equal(run(f, &f->io, rw(IO_WRITE, 8, 128, base + 0x10000, base + 0x2000)), 0);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 8, 8, BUF, 0)), 0);
    qtest_memread(f->qts, BUF, in, 4096);
    assert_memory_equal(in, out, 4096);
    qtest_memset(f->qts, base + 0x10000, 0, len);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 8, 128, base + 0x10000, base + 0x2000)), 0);
    qtest_memread(f->qts, base + 0x10000, in, len);
    assert_memory_equal(in, out, len);
}

static void test_cmb(void **state)
{
    Fixture *f = *state;
    uint64_t base = f->dev->bars[2].addr;

    assert_int_equal(f->dev->bars[2].size, 2 << 20);
    assert_int_equal(qpci_readq(f->dev, 0, REG_CAP) >> 57 & 1, 1);
    assert_int_equal(qpci_readl(f->dev, 0, REG_CMBSZ), 0); /* not before CRE */
    qpci_writeq(f->dev, 0, REG_CMBMSC, 1);
    assert_int_equal(qpci_readl(f->dev, 0, REG_CMBLOC), 2);
    assert_int_equal(qpci_readl(f->dev, 0, REG_CMBSZ), 2 << 12 | 2 << 8 | 0x1d);
    qpci_writeq(f->dev, 0, REG_CMBMSC, ~UINT64_C(0xfff) | 3);
    assert_int_equal(qpci_readl(f->dev, 0, REG_CMBSTS), 1); /* CBAI */
    qpci_writeq(f->dev, 0, REG_CMBMSC, base | 3);
    assert_int_equal(qpci_readl(f->dev, 0, REG_CMBSTS), 0);
    qpci_msix_enable(f->dev); /* while INTx is up a client watches every access, its only way to see the end of it */
    enable(f);
    use_cmb(f, base);
    if (qtest_is_split(f->qts)) { /* it is memory on both sides, not messages */
        int64_t before = qtest_messages_sent(f->qts);

        qtest_memset(f->qts, base + 0x40000, 0x5a, 0x10000);
        assert_int_equal(qtest_readb(f->qts, base + 0x4ffff), 0x5a);
        assert_int_equal(qtest_messages_sent(f->qts), before);
    }
    /* It must not be left in the middle. */
    assert_int_equal(run(f, &f->io, rw(IO_READ, 0, 16, base + (2 << 20) - 4096, base + (2 << 20))), 0x012 | DNR);
    disable(f);
    assert_int_equal(qpci_readq(f->dev, 0, REG_CMBMSC), base | 3); /* outlives a controller reset */
}

static void test_legacy_cmb(void **state)
{
    Fixture *f = *state;

    assert_int_equal(qpci_readq(f->dev, 0, REG_CAP) >> 57 & 1, 0);
    assert_int_equal(qpci_readl(f->dev, 0, REG_CMBSZ), 1 << 12 | 2 << 8 | 0x1d);
    enable(f);
    use_cmb(f, f->dev->bars[2].addr);
}

/* --- doorbells in memory --- */

static uint32_t event_idx(Fixture *f, unsigned index)
{
    return qtest_readl(f->qts, EVENTS + index * 4);
}

static void test_shadow_doorbells(void **state)
{
    Fixture *f = *state;
    const unsigned sq = 2, cq = 3;
    uint16_t cids[2 * ENTRIES];

    for (int msix = 0; msix < 2; msix++) {
        if (msix) {
            qpci_msix_enable(f->dev);
        }
        enable(f);
        qtest_memset(f->qts, SHADOW, 0, 0x2000);
        assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_DBBUF, .prp1 = SHADOW + 4, .prp2 = EVENTS}), 0x002 | DNR);
        assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_DBBUF, .prp1 = SHADOW, .prp2 = EVENTS}), 0);
        create_io(f, 0);
        /* The register only says that there is something: what counts is in memory. */
        cids[0] = push(f, &f->io, rw(IO_READ, 0, 8, BUF, 0));
        cids[1] = push(f, &f->io, rw(IO_READ, 8, 8, BUF, 0));
        qtest_writel(f->qts, SHADOW + sq * 4, 2);
        qpci_writel(f->dev, 0, REG_DOORBELLS + 8, 1);
        assert_int_equal(take(f, &f->io, cids[0]), 0);
        assert_int_equal(take(f, &f->io, cids[1]), 0);
        assert_true(QTEST_WAIT(event_idx(f, sq) == 2)); /* the next one must ring */
        /* Heads are never rung: the controller finds them when its completion queue is full. */
        qtest_writel(f->qts, SHADOW + cq * 4, 2);
        for (unsigned round = 0; round < 5; round++) {
            for (unsigned i = 0; i < ENTRIES - 1; i++) {
                cids[i] = push(f, &f->io, rw(IO_READ, i * 8, 8, BUF, 0));
            }
            qtest_writel(f->qts, SHADOW + sq * 4, f->io.tail);
            ring(f, &f->io);
            for (unsigned i = 0; i < ENTRIES - 1; i++) {
                assert_true(QTEST_WAIT(completed(f, &f->io)));
                assert_int_equal(qtest_readw(f->qts, f->io.cq + f->io.head * 16u + 14) >> 1, 0);
                f->io.head = (uint16_t)((f->io.head + 1) % ENTRIES);
                f->io.phase ^= !f->io.head;
                qtest_writel(f->qts, SHADOW + cq * 4, f->io.head);
            }
        }
        disable(f);
    }
    /* Gone with the reset. */
    enable(f);
    create_io(f, 0);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 0, 8, BUF, 0)), 0);
}

/* --- format, namespaces, discard --- */

static void test_format(void **state)
{
    Fixture *f = *state;
    uint8_t id[4096], data[4096];

    enable(f);
    create_io(f, 0);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_IDENTIFY, .prp1 = BUF, .cdw10 = 1}), 0);
    assert_int_equal(qtest_readw(f->qts, BUF + 256), 0x102); /* OACS: Format NVM, Doorbell Buffer Config */
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_IDENTIFY, .nsid = 1, .prp1 = BUF}), 0);
    qtest_memread(f->qts, BUF, id, sizeof(id));
    assert_int_equal(id[25], 1);
    assert_int_equal(id[26], 0);
    assert_int_equal(id[130], 9);
    assert_int_equal(id[134], 12);
    qtest_fill(data, sizeof(data), 2);
    qtest_memwrite(f->qts, BUF, data, sizeof(data));
    assert_int_equal(run(f, &f->io, rw(IO_WRITE, 8, 8, BUF, 0)), 0);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_FORMAT, .nsid = 1, .cdw10 = 2}), 0x10a | DNR);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_FORMAT, .nsid = 1, .cdw10 = 1 | 1 << 5}), 0x10a | DNR);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_FORMAT, .nsid = 1, .cdw10 = 1 | 2 << 9}), 0x002 | DNR);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_FORMAT, .nsid = 9, .cdw10 = 1}), 0x002 | DNR);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 8, 8, BUF, 0)), 0);
    assert_int_equal(qtest_readb(f->qts, BUF + 7), data[7]);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_FORMAT, .nsid = 0xffffffffu, .cdw10 = 1 | 1 << 9}), 0);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_IDENTIFY, .nsid = 1, .prp1 = BUF}), 0);
    assert_int_equal(qtest_readq(f->qts, BUF), DISK_SIZE / 4096);
    assert_int_equal(qtest_readb(f->qts, BUF + 26), 1);
    qtest_memset(f->qts, BUF, 0xee, 4096);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 1, 1, BUF, 0)), 0);
    assert_int_equal(qtest_readq(f->qts, BUF + 4088), 0);
    assert_int_equal(run(f, &f->io, rw(IO_READ, DISK_SIZE / 4096, 1, BUF, 0)), 0x080 | DNR);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_GET_LOG_PAGE, .prp1 = BUF, .cdw10 = 5 | 1023 << 16}), 0);
    assert_int_equal(qtest_readl(f->qts, BUF + 4 * ADM_FORMAT), 0x10007);
    assert_int_equal(qtest_readl(f->qts, BUF + 4 * ADM_DBBUF), 1);
}

static void test_namespaces(void **state)
{
    static const uint8_t uuid[] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
    Fixture *f = *state;
    Cmd read = rw(IO_READ, 2047, 1, BUF, 0);
    uint8_t buf[64];

    enable(f);
    create_io(f, 0);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_IDENTIFY, .prp1 = BUF, .cdw10 = 2}), 0);
    assert_int_equal(qtest_readq(f->qts, BUF), UINT64_C(5) << 32 | 1);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_IDENTIFY, .nsid = 1, .prp1 = BUF, .cdw10 = 3}), 0);
    qtest_memread(f->qts, BUF, buf, sizeof(buf));
    assert_memory_equal(buf, "\3\20\0\0", 4);
    assert_memory_equal(buf + 4, uuid, 16);
    assert_memory_equal(buf + 20, "\1\10\0\0\x11\x22\x33\x44\x55\x66\x77\x88", 12);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_IDENTIFY, .nsid = 5, .prp1 = BUF}), 0);
    assert_int_equal(qtest_readq(f->qts, BUF), 2048);
    read.nsid = 5;
    qtest_memset(f->qts, BUF, 0xee, 4096);
    assert_int_equal(run(f, &f->io, read), 0);
    assert_int_equal(qtest_readq(f->qts, BUF + 4088), 0);
    read.cdw10 = 2048;
    assert_int_equal(run(f, &f->io, read), 0x080 | DNR);
}

static void test_discard(void **state)
{
    Fixture *f = *state;
    struct stat before, after;

    enable(f);
    create_io(f, 0);
    qtest_memset(f->qts, BUF, 0x77, 4096);
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(run(f, &f->io, rw(IO_WRITE, i * 8, 8, BUF, 0)), 0);
    }
    assert_int_equal(run(f, &f->io, (Cmd){.opcode = IO_FLUSH, .nsid = 1}), 0);
    assert_int_equal(stat(f->disk, &before), 0);
    qtest_memset(f->qts, BUF, 0, 32);
    qtest_writel(f->qts, BUF + 4, 256);
    qtest_writel(f->qts, BUF + 20, 128);
    qtest_writeq(f->qts, BUF + 24, 384);
    assert_int_equal(run(f, &f->io, (Cmd){.opcode = IO_DSM, .nsid = 1, .prp1 = BUF, .cdw10 = 1, .cdw11 = 4}), 0);
    assert_int_equal(stat(f->disk, &after), 0);
    assert_true(after.st_blocks <= before.st_blocks - 384);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 0, 8, BUF, 0)), 0);
    assert_int_equal(qtest_readq(f->qts, BUF), 0);
    assert_int_equal(run(f, &f->io, rw(IO_READ, 256, 8, BUF, 0)), 0);
    assert_int_equal(qtest_readb(f->qts, BUF), 0x77);
}

static QtestState *disk_owner(Fixture *f)
{
    return qtest_is_split(f->qts) ? qtest_server(f->qts) : f->qts;
}

/* Dwords of a log page from an offset, into BUF; the status. */
static uint16_t get_log(Fixture *f, uint8_t page, uint32_t bytes, uint32_t offset)
{
    Cmd cmd = {.opcode = ADM_GET_LOG_PAGE, .nsid = UINT32_MAX, .prp1 = BUF, .cdw10 = page | (bytes / 4 - 1) << 16, .cdw12 = offset};

    qtest_memset(f->qts, BUF, 0xee, 4096);
    return run(f, &f->admin, cmd);
}

static int64_t block_stat(Fixture *f, const char *name)
{
    struct json_object *reply = qtest_qmp(disk_owner(f), "{'execute': 'query-blockstats'}"), *list, *stats, *value;
    int64_t number;

    assert_true(json_object_object_get_ex(reply, "return", &list));
    assert_true(json_object_object_get_ex(json_object_array_get_idx(list, 0), "stats", &stats));
    assert_true(json_object_object_get_ex(stats, name, &value));
    number = json_object_get_int64(value);
    json_object_put(reply);
    return number;
}

static void test_block_stats(void **state)
{
    Fixture *f = *state;

    assert_int_equal(block_stat(f, "wr_operations"), 0);
    enable(f);
    create_io(f, 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(run(f, &f->io, rw(IO_WRITE, i * 8, 8, BUF, 0)), 0);
    }
    assert_int_equal(run(f, &f->io, rw(IO_READ, 0, 16, BUF, BUF + 4096)), 0);
    assert_int_equal(block_stat(f, "wr_operations"), 3);
    assert_int_equal(block_stat(f, "wr_bytes"), 3 * 4096);
    assert_int_equal(block_stat(f, "rd_operations"), 1);
    assert_int_equal(block_stat(f, "rd_bytes"), 8192);
}

/* What the controller counts (5.14.1). */
static void test_log_pages(void **state)
{
    Fixture *f = *state;

    enable(f);
    create_io(f, 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(run(f, &f->io, rw(IO_WRITE, i * 8, 8, BUF, 0)), 0);
    }
    assert_int_equal(run(f, &f->io, rw(IO_READ, 0, 16, BUF, BUF + 4096)), 0);
    assert_int_equal(run(f, &f->io, rw(IO_READ, DISK_SIZE / 512, 1, BUF, 0)), 0x080 | DNR);
    assert_int_equal(get_log(f, 2, 512, 0), 0); /* SMART */
    assert_int_equal(qtest_readb(f->qts, BUF), 0);
    assert_int_equal(qtest_readw(f->qts, BUF + 1), 323); /* kelvin */
    assert_int_equal(qtest_readq(f->qts, BUF + 32), 1);  /* thousands of 512 bytes */
    assert_int_equal(qtest_readq(f->qts, BUF + 48), 1);
    assert_int_equal(qtest_readq(f->qts, BUF + 64), 1);
    assert_int_equal(qtest_readq(f->qts, BUF + 80), 3);
    assert_int_equal(qtest_readq(f->qts, BUF + 160), 0); /* no media error */
    assert_int_equal(get_log(f, 1, 64, 0), 0); /* errors, the last first */
    assert_int_equal(qtest_readw(f->qts, BUF + 8), 1);                        /* queue */
    assert_int_equal(qtest_readw(f->qts, BUF + 12), (0x080 | DNR) << 1);
    assert_int_equal(qtest_readq(f->qts, BUF + 16), DISK_SIZE / 512);
    assert_int_equal(get_log(f, 3, 512, 0), 0); /* firmware */
    assert_int_equal(qtest_readb(f->qts, BUF), 1);
    assert_int_equal(get_log(f, 3, 8, 8), 0); /* a part of it */
    assert_true(qtest_readq(f->qts, BUF) == UINT64_C(0x2020202020302e31)); /* "1.0     " */
    assert_int_equal(qtest_readb(f->qts, BUF + 8), 0xee);
    assert_int_equal(get_log(f, 5, 4096, 0), 0); /* effects */
    assert_int_equal(qtest_readl(f->qts, BUF + 4 * ADM_IDENTIFY), 1);
    assert_int_equal(qtest_readl(f->qts, BUF + 4 * ADM_FORMAT) & 3, 3);
    assert_int_equal(qtest_readl(f->qts, BUF + 1024 + 4 * IO_READ), 1);
    assert_int_equal(qtest_readl(f->qts, BUF + 1024 + 4 * IO_WRITE), 3);
    assert_int_equal(qtest_readl(f->qts, BUF + 1024 + 4 * 0x7f), 0);

    assert_int_equal(get_log(f, 0x42, 512, 0), 0x109 | DNR);
    assert_int_equal(get_log(f, 2, 512, 2), 0x002 | DNR);
    assert_int_equal(get_log(f, 2, 512, 1 << 20), 0x002 | DNR);
}

/* block_resize: an asynchronous event, and the new size (5.2, figure 150). */
static void test_resize(void **state)
{
    Fixture *f = *state;
    Cmd log = {.opcode = ADM_GET_LOG_PAGE, .prp1 = BUF, .cdw10 = 4 | 1023 << 16};
    uint16_t cid;

    enable(f);
    create_io(f, 0);
    assert_int_equal(run(f, &f->io, rw(IO_READ, DISK_SIZE / 512, 8, BUF, 0)), 0x080 | DNR);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_SET_FEATURES, .cdw10 = 0x0b, .cdw11 = 0x100}), 0);
    cid = push(f, &f->admin, (Cmd){.opcode = ADM_ASYNC_EVENT});
    ring(f, &f->admin);
    qtest_qmp_ok(disk_owner(f), "{'execute': 'block_resize', 'arguments': {'device': 'd0', 'size': %u}}", 2 * DISK_SIZE);
    assert_true(QTEST_WAIT(completed(f, &f->admin)));
    assert_int_equal(qtest_readl(f->qts, f->admin.cq + f->admin.head * 16u), 0x040002);
    assert_int_equal(take(f, &f->admin, cid), 0);
    ack(f, &f->admin);
    assert_int_equal(run(f, &f->admin, log), 0);
    assert_int_equal(qtest_readl(f->qts, BUF), 1);
    assert_int_equal(run(f, &f->admin, (Cmd){.opcode = ADM_IDENTIFY, .nsid = 1, .prp1 = BUF}), 0);
    assert_int_equal(qtest_readq(f->qts, BUF), 2 * DISK_SIZE / 512);
    assert_int_equal(run(f, &f->io, rw(IO_READ, DISK_SIZE / 512, 8, BUF, 0)), 0);
}

#define STOPS 0xffff

static void expect_failure(Fixture *f, QtestDisk *disk, uint8_t opcode, uint16_t status)
{
    Cmd cmd = rw(opcode, 8, 8, BUF, 0);
    uint16_t cid;

    if (status != STOPS) {
        assert_int_equal(run(f, &f->io, cmd), status);
        return;
    }
    cid = push(f, &f->io, cmd);
    ring(f, &f->io);
    json_object_put(qtest_qmp_event(disk_owner(f), "STOP"));
    assert_false(completed(f, &f->io));
    qtest_disk_fail(disk, false);
    qtest_qmp_ok(disk_owner(f), "{'execute': 'cont'}");
    assert_int_equal(take(f, &f->io, cid), 0);
    ack(f, &f->io);
    qtest_disk_fail(disk, true);
}

/* What rerror= and werror= of the drive say; reported are the command set's own errors (6.1.2.1.2). */
static void test_failing_disk(void **state)
{
    static const struct {
        const char *error, *actions;
        uint16_t read, write; /* status; STOPS: the machine stops, and the command ends well when it goes on */
    } cases[] = {
        {"EIO", "rerror=report,werror=report", 0x281, 0x280},
        {"EIO", "rerror=ignore,werror=ignore", 0, 0},
        {"EIO", "rerror=stop,werror=stop", STOPS, STOPS},
        {"EIO", "werror=enospc", 0x281, 0x280},
        {"ENOSPC", "werror=enospc", 0x281, STOPS},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        QtestDisk *disk = qtest_disk_new(cases[i].error);
        g_autofree char *drive = disk ? qtest_disk_drive(disk, "d0") : NULL, *options = NULL;
        Fixture f = {0};

        if (!disk) {
            skip(); /* no nbdkit here */
        }
        options = g_strdup_printf("%s,%s", drive, cases[i].actions);
        begin(&f, options, "", "");
        enable(&f);
        create_io(&f, 0);
        qtest_disk_fail(disk, true);
        expect_failure(&f, disk, IO_READ, cases[i].read);
        expect_failure(&f, disk, IO_WRITE, cases[i].write);
        g_free(f.dev);
        qtest_end(f.qts);
        qtest_disk_free(disk);
    }
}

static void test_bad_images(void **state)
{
    g_autofree char *missing = NULL, *directory = NULL, *serial = NULL;

    assert_int_equal(
        qtest_run_to_exit("-machine q35 -drive id=d,file=/nonexistent.img,format=raw,if=none", &missing), 1);
    assert_non_null(strstr(missing, "-drive file=/nonexistent.img: cannot open: No such file or directory"));
    assert_int_equal(qtest_run_to_exit("-machine q35 -drive id=d,file=/tmp,format=raw,if=none", &directory),
                     1);
    assert_non_null(strstr(directory, "-drive file=/tmp: is a directory"));
    assert_int_equal(qtest_run_to_exit("-machine q35 -device nvme", &serial), 1);
    assert_non_null(strstr(serial, "serial"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_identify),
        TEST(test_data),
        TEST(test_errors),
        TEST(test_msix),
        TEST(test_intx),
        TEST(test_reset_mid_io),
        cmocka_unit_test_setup_teardown(test_cmb, setup_cmb, teardown),
        cmocka_unit_test_setup_teardown(test_legacy_cmb, setup_legacy_cmb, teardown),
        TEST(test_shadow_doorbells),
        TEST(test_format),
        cmocka_unit_test_setup_teardown(test_namespaces, setup_namespaces, teardown),
        TEST(test_discard),
        TEST(test_log_pages),  TEST(test_block_stats),
        TEST(test_resize),
        cmocka_unit_test(test_failing_disk),
        cmocka_unit_test(test_bad_images),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
