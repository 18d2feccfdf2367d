/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NVMe controller as a guest driver sees it (NVMe 1.4, 7.6.1): in process, and behind a socket.  What
 * needs a look inside is in tests/unit/test-nvme.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

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

enum {
    REG_CAP = 0x00,
    REG_VS = 0x08,
    REG_CC = 0x14,
    REG_CSTS = 0x1c,
    REG_AQA = 0x24,
    REG_ASQ = 0x28,
    REG_ACQ = 0x30,
    REG_DOORBELLS = 0x1000
};
enum { ADM_CREATE_SQ = 0x01, ADM_CREATE_CQ = 0x05, ADM_IDENTIFY = 0x06 };
enum { IO_FLUSH = 0x00, IO_WRITE = 0x01, IO_READ = 0x02, IO_WRITE_ZEROES = 0x08 };

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

static int setup(void **state)
{
    Fixture *f = g_new0(Fixture, 1);
    int fd = g_file_open_tmp("nvme-test-XXXXXX", &f->disk, NULL);
    g_autofree char *drive = g_strdup_printf("-drive id=d0,file=%s,format=raw,if=none", f->disk);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, DISK_SIZE), 0);
    close(fd);
    f->qts = qtest_start_device(drive, "nvme,id=nvme0,serial=qtest,drive=d0", "");
    f->dev = qpci_find(f->qts, 0x1b36, 0x0010);
    assert_non_null(f->dev);
    qpci_enable(f->dev);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;

    g_free(f->dev);
    qtest_end(f->qts);
    unlink(f->disk);
    g_free(f->disk);
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

static void fill(uint8_t *buf, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        buf[i] = (uint8_t)(seed >> 16);
    }
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
    fill(out, len, 1);
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

/* Whether any of the lines that PCI interrupts are routed to is high. */
static bool any_pci_line(Fixture *f)
{
    bool high = false;

    for (int n = 16; n < 24; n++) {
        high |= qtest_irq(f->qts, n);
    }
    return high;
}

static void test_intx(void **state)
{
    Fixture *f = *state;
    uint16_t cid;

    qtest_irq_intercept_in(f->qts, "ioapic");
    enable(f);
    cid = push(f, &f->admin, (Cmd){.opcode = ADM_IDENTIFY, .prp1 = BUF, .cdw10 = 1});
    assert_false(any_pci_line(f));
    ring(f, &f->admin);
    assert_int_equal(take(f, &f->admin, cid), 0);
    assert_true(QTEST_WAIT(any_pci_line(f)));
    ack(f, &f->admin);
    assert_true(QTEST_WAIT(!any_pci_line(f)));
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
        cmocka_unit_test(test_bad_images),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
