/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vfio-pci device with a real kernel: runs inside the guest that test_vfio_pci.py boots, whose init has
 * bound devices to the kernel's vfio-pci.  Their addresses come in the environment: VFIO_NVME (its first
 * block holds a pattern), VFIO_E1000, VFIO_PAIR (with VFIO_PAIR_OTHER, which a driver of the guest has, in
 * one IOMMU group), VFIO_BUS and VFIO_BUS_OTHER (on one bus), VFIO_NOT_GIVEN. NVMe 1.4, 7.6.1; Intel 8254x
 * Software Developer's Manual, 13.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "../qtest/libqtest/libqpci.h"
#include "../qtest/libqtest/libqtest.h"

#define MACHINE "-machine q35 -m 64 "
#define ASQ     0x1000000u
#define ACQ     0x1001000u
#define IOSQ    0x1002000u
#define IOCQ    0x1003000u
#define BUF     0x1100000u
#define ENTRIES 16u
#define VECTOR  5u

enum {
    REG_CC = 0x14,
    REG_CSTS = 0x1c,
    REG_AQA = 0x24,
    REG_ASQ = 0x28,
    REG_ACQ = 0x30,
    REG_DOORBELLS = 0x1000
};
enum {
    E1000_STATUS = 0x08,
    E1000_ICR = 0xc0,
    E1000_ICS = 0xc8,
    E1000_IMS = 0xd0,
    E1000_RAL0 = 0x5400,
    E1000_RAL1 = 0x5408
};

typedef struct Cmd {
    uint8_t opcode, flags;
    uint16_t cid;
    uint32_t nsid, reserved[2];
    uint64_t mptr, prp1, prp2;
    uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
} Cmd;

typedef struct Queue {
    unsigned qid, index, vector;
    uint64_t sq, cq;
} Queue;

/* --- an NVMe driver that waits for interrupts; queues do not wrap here --- */

static void run(QpciDevice *dev, Queue *q, Cmd cmd)
{
    uint64_t entry = q->cq + q->index * 16u;

    cmd.cid = (uint16_t)(0x100 + q->index);
    qtest_memwrite(dev->qts, q->sq + q->index * 64u, &cmd, sizeof(cmd));
    q->index++;
    assert_true(q->index < ENTRIES);
    qpci_writel(dev, 0, REG_DOORBELLS + q->qid * 8u, q->index);
    assert_true(QTEST_WAIT(qpci_msix_take(dev, q->vector)));
    assert_int_equal(qtest_readw(dev->qts, entry + 12), cmd.cid);
    assert_int_equal(qtest_readw(dev->qts, entry + 14), 1);
    qpci_writel(dev, 0, REG_DOORBELLS + q->qid * 8u + 4, q->index);
}

static Queue controller_enable(QpciDevice *dev)
{
    qtest_memset(dev->qts, ASQ, 0, 0x4000);
    qpci_writel(dev, 0, REG_CC, 0);
    assert_true(QTEST_WAIT(qpci_readl(dev, 0, REG_CSTS) == 0));
    qpci_writel(dev, 0, REG_AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1));
    qpci_writeq(dev, 0, REG_ASQ, ASQ);
    qpci_writeq(dev, 0, REG_ACQ, ACQ);
    qpci_writel(dev, 0, REG_CC, 1 | 6 << 16 | 4 << 20);
    assert_true(QTEST_WAIT(qpci_readl(dev, 0, REG_CSTS) == 1));
    return (Queue){0, 0, 0, ASQ, ACQ};
}

static Queue create_io_queues(QpciDevice *dev, Queue *admin)
{
    run(dev, admin,
        (Cmd){.opcode = 5, .prp1 = IOCQ, .cdw10 = 1 | (ENTRIES - 1) << 16, .cdw11 = VECTOR << 16 | 3});
    run(dev, admin, (Cmd){.opcode = 1, .prp1 = IOSQ, .cdw10 = 1 | (ENTRIES - 1) << 16, .cdw11 = 1 << 16 | 1});
    return (Queue){1, 0, VECTOR, IOSQ, IOCQ};
}

static void use_nvme(QtestState *qts)
{
    QpciDevice *dev = qpci_find(qts, 0x1b36, 0x0010);
    uint8_t id[4096], block[512];
    Queue admin, io;

    assert_non_null(dev);
    qpci_enable(dev);
    qpci_msix_enable(dev);
    admin = controller_enable(dev);
    run(dev, &admin, (Cmd){.opcode = 6, .prp1 = BUF, .cdw10 = 1});
    qtest_memread(qts, BUF, id, sizeof(id));
    assert_memory_equal(id + 4, "given-away-", 11);
    io = create_io_queues(dev, &admin);
    run(dev, &io, (Cmd){.opcode = 2, .nsid = 1, .prp1 = BUF + 0x10000});
    qtest_memread(qts, BUF + 0x10000, block, sizeof(block));
    for (unsigned i = 0; i < sizeof(block); i++) {
        assert_int_equal(block[i], (uint8_t)(i * 7));
    }
    g_free(dev);
}

/* --- an e1000 driver: registers, and an interrupt line --- */

static bool pci_line(QtestState *qts)
{
    bool high = false;

    for (int n = 16; n < 24; n++) {
        high |= qtest_irq(qts, n);
    }
    return high;
}

static void use_e1000(QtestState *qts)
{
    QpciDevice *dev = qpci_find(qts, 0x8086, 0x100e);

    assert_non_null(dev);
    qpci_enable(dev);
    assert_int_equal(qpci_readl(dev, 0, E1000_RAL0), 0x12005452);
    qtest_irq_intercept_in(qts, "ioapic");
    for (int round = 0; round < 3; round++) {
        assert_false(pci_line(qts));
        qpci_writel(dev, 0, E1000_IMS, 4);
        qpci_writel(dev, 0, E1000_ICS, 4);
        assert_true(QTEST_WAIT((qtest_readb(qts, BUF), pci_line(qts))));
        assert_true(qpci_readl(dev, 0, E1000_ICR) & 4);
        assert_true(QTEST_WAIT((qtest_readb(qts, BUF), !pci_line(qts))));
    }
    g_free(dev);
}

/* --- cases --- */

/* Files of `prefix` that the program has open. */
static unsigned open_files(QtestState *qts, const char *prefix)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", qtest_pid(qts));
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;
    unsigned count = 0;

    assert_non_null(dir);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *link = g_build_filename(path, name, NULL);
        g_autofree char *target = g_file_read_link(link, NULL);

        count += target && g_str_has_prefix(target, prefix);
    }
    g_dir_close(dir);
    return count;
}

static void test_nvme(void **state)
{
    g_autofree char *args = g_strdup_printf(MACHINE "-device vfio-pci,host=%s", g_getenv("VFIO_NVME"));
    QtestState *qts = qtest_start(args);

    use_nvme(qts);
    qtest_end(qts);
}

static void test_nvme_trapped(void **state)
{
    g_autofree char *args = g_strdup_printf(
        MACHINE "-device vfio-pci,sysfsdev=/sys/bus/pci/devices/%s,x-no-mmap=on", g_getenv("VFIO_NVME"));
    QtestState *qts = qtest_start(args);

    use_nvme(qts);
    qtest_end(qts);
}

static void test_e1000(void **state)
{
    /* Without the domain, which is 0. */
    g_autofree char *args = g_strdup_printf(MACHINE "-device vfio-pci,host=%s", g_getenv("VFIO_E1000") + 5);
    QtestState *qts = qtest_start(args);

    use_e1000(qts);
    qtest_end(qts);
}

/* The options of docs/system/vfio-pci.md that change what the guest sees. */
static void test_options(void **state)
{
    g_autofree char *net =
        g_strdup_printf("-device vfio-pci,host=%s,addr=5.1,bootindex=1,rombar=off,x-pci-vendor-id=0x1234,"
                        "x-pci-device-id=0x5678,x-pci-sub-vendor-id=0x9abc,x-pci-sub-device-id=0xdef0,"
                        "x-no-kvm-intx=on,x-no-kvm-msi=on,x-req=off",
                        g_getenv("VFIO_E1000"));
    g_autofree char *disk = g_strdup_printf("-device vfio-pci,host=%s,addr=5.0,multifunction=on,romfile=,"
                                            "x-msix-relocation=bar4,x-no-kvm-msix=on,x-no-kvm-ioeventfd=on",
                                            g_getenv("VFIO_NVME"));
    g_autofree char *args = g_strdup_printf(MACHINE "%s %s", disk, net);
    QtestState *qts = qtest_start(args);
    QpciDevice *dev = qpci_at(qts, 5 << 3 | 1);

    assert_int_equal(qpci_config_readl(dev, QPCI_VENDOR_ID), 0x56781234);
    assert_int_equal(qpci_config_readl(dev, 0x2c), 0xdef09abc);
    qpci_config_writel(dev, 0x30, 0xfffff800);
    assert_int_equal(qpci_config_readl(dev, 0x30), 0);
    g_free(dev);
    use_nvme(qts);
    qtest_end(qts);
}

/* Two groups, one container; and one device comes and goes while the other is used. */
static void test_two_devices(void **state)
{
    g_autofree char *args =
        g_strdup_printf(MACHINE "-device vfio-pci,host=%s,addr=3,id=disk -device vfio-pci,host=%s,id=net",
                        g_getenv("VFIO_NVME"), g_getenv("VFIO_E1000"));
    QtestState *qts = qtest_start(args);
    unsigned files;

    assert_int_equal(open_files(qts, "/dev/vfio/vfio"), 1);
    assert_int_equal(open_files(qts, "/dev/vfio/"), 3);
    use_nvme(qts);
    use_e1000(qts);
    files = open_files(qts, "");
    for (int round = 0; round < 3; round++) {
        struct json_object *event;

        qtest_qmp_ok(qts, "{'execute': 'device_del', 'arguments': {'id': 'disk'}}");
        event = qtest_qmp_event(qts, "DEVICE_DELETED");
        json_object_put(event);
        assert_int_equal(open_files(qts, "/dev/vfio/"), 2);
        qtest_qmp_ok(
            qts,
            "{'execute': 'device_add', 'arguments': {'driver': 'vfio-pci', 'id': 'disk', 'addr': '3', "
            "'host': '%s'}}",
            g_getenv("VFIO_NVME"));
        use_nvme(qts);
    }
    assert_int_equal(open_files(qts, ""), files);
    qtest_end(qts);
}

static void refused(const char *text, const char *fmt, ...)
{
    g_autofree char *device = NULL, *args = NULL, *err = NULL;
    va_list ap;

    va_start(ap, fmt);
    device = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    args = g_strdup_printf(MACHINE "-accel qtest -nodefaults -display none %s", device);
    assert_int_equal(qtest_run_to_exit(args, &err), 1);
    if (!strstr(err, text)) {
        print_error("%s\nsaid: %s\nnot:  %s\n", device, err, text);
        fail();
    }
}

static void test_refused(void **state)
{
    const char *nvme = g_getenv("VFIO_NVME");

    refused("there is no PCI device 0000:7f:1f.7", "-device vfio-pci,host=7f:1f.7");
    refused("is bound to driver nvme", "-device vfio-pci,host=%s", g_getenv("VFIO_NOT_GIVEN"));
    refused("echo vfio-pci > /sys/bus/pci/devices/", "-device vfio-pci,host=%s", g_getenv("VFIO_NOT_GIVEN"));
    refused("given to this machine already, as device 'one'",
            "-device vfio-pci,host=%s,id=one -device vfio-pci,host=%s", nvme, nvme);
    refused("cannot open /dev/iommu", "-object iommufd,id=iommufd0");
    refused("has to be bound to an iommufd", "-device vfio-pci,fd=1");
    /* Open files, but not those of a device and of /dev/iommu. */
    refused("fd is not a device of /dev/vfio/devices",
            "-object iommufd,id=iommufd0,fd=1 -device vfio-pci,fd=0,iommufd=iommufd0");
}

static void test_busy(void **state)
{
    g_autofree char *args = g_strdup_printf(MACHINE "-device vfio-pci,host=%s", g_getenv("VFIO_NVME"));
    QtestState *qts = qtest_start(args);

    refused("is in use by another program", "-device vfio-pci,host=%s", g_getenv("VFIO_NVME"));
    qtest_end(qts);
}

static void driver_write(const char *device, const char *file, const char *text)
{
    g_autofree char *path = g_strdup_printf("/sys/bus/pci/devices/%s/%s", device, file);
    int fd = open(path, O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static bool bound_to_vfio(const char *device)
{
    g_autofree char *path = g_strdup_printf("/sys/bus/pci/devices/%s/driver", device);
    g_autofree char *target = g_file_read_link(path, NULL);

    return target && g_str_has_suffix(target, "/vfio-pci");
}

/* The host wants its device back: the kernel asks, and waits until the machine has let go of it. */
static void test_requested_back(void **state)
{
    const char *net = g_getenv("VFIO_E1000");
    g_autofree char *args = g_strdup_printf(MACHINE "-device vfio-pci,host=%s,id=net", net);
    QtestState *qts = qtest_start(args);

    driver_write(net, "driver/unbind", net);
    json_object_put(qtest_qmp_event(qts, "DEVICE_DELETED"));
    assert_int_equal(open_files(qts, "/dev/vfio/"), 0);
    assert_false(bound_to_vfio(net));
    driver_write("../../pci", "drivers_probe", net);
    assert_true(bound_to_vfio(net));
    qtest_qmp_ok(qts, "{'execute': 'device_add', 'arguments': {'driver': 'vfio-pci', 'host': '%s'}}", net);
    use_e1000(qts);
    qtest_end(qts);
}

static QpciDevice *e1000_at(QtestState *qts, uint8_t devfn, uint32_t mark)
{
    QpciDevice *dev = qpci_at(qts, devfn);

    qpci_enable(dev);
    qpci_writel(dev, 0, E1000_RAL1, mark);
    assert_int_equal(qpci_readl(dev, 0, E1000_RAL1), mark);
    return dev;
}

static void machine_reset(QtestState *qts)
{
    qtest_qmp_ok(qts, "{'execute': 'system_reset'}");
    json_object_put(qtest_qmp_event(qts, "RESET"));
}

/* A device without a reset of its own: its bus is reset, unless the machine uses another device of it. */
static void test_bus_reset(void **state)
{
    const char *first = g_getenv("VFIO_BUS"), *second = g_getenv("VFIO_BUS_OTHER");
    g_autofree char *args = g_strdup_printf(MACHINE "-device vfio-pci,host=%s,addr=3", first);
    QtestState *qts = qtest_start(args);
    QpciDevice *dev = e1000_at(qts, 3 << 3, 0x11223344), *other;

    machine_reset(qts);
    qpci_enable(dev);
    assert_int_equal(qpci_readl(dev, 0, E1000_RAL1), 0);
    qpci_writel(dev, 0, E1000_RAL1, 0x55667788);
    qtest_qmp_ok(qts,
                 "{'execute': 'device_add', 'arguments': {'driver': 'vfio-pci', 'addr': '4', 'host': '%s'}}",
                 second);
    other = e1000_at(qts, 4 << 3, 0x99aabbcc);
    assert_int_equal(qpci_readl(dev, 0, E1000_RAL1), 0x55667788);
    machine_reset(qts);
    qpci_enable(dev);
    qpci_enable(other);
    assert_int_equal(qpci_readl(dev, 0, E1000_RAL1), 0x55667788);
    assert_int_equal(qpci_readl(other, 0, E1000_RAL1), 0x99aabbcc);
    g_free(dev);
    g_free(other);
    qtest_end(qts);
}

/* Two functions of one slot without access control: the IOMMU cannot keep them apart. */
static void test_shared_group(void **state)
{
    const char *first = g_getenv("VFIO_PAIR"), *second = g_getenv("VFIO_PAIR_OTHER");
    g_autofree char *others =
        g_strdup_printf("the host still drives other devices of it (%s (driver nvme))", second);
    g_autofree char *args = g_strdup_printf(
        MACHINE "-device vfio-pci,host=%s,addr=3 -device vfio-pci,host=%s,addr=4", first, second);
    QtestState *qts;

    refused(others, "-device vfio-pci,host=%s", first);
    driver_write(second, "driver/unbind", second);
    driver_write(second, "driver_override", "vfio-pci");
    driver_write("../../pci", "drivers_probe", second);
    qts = qtest_start(args);
    assert_int_equal(open_files(qts, "/dev/vfio/"), 2);
    use_nvme(qts);
    qtest_end(qts);
}

/* Every command line of docs/system/vfio-pci.md, which come one a line.  This kernel has no iommufd, and says so. */
static void test_documented_lines(void **state)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    assert_true(g_file_get_contents("/lines", &text, NULL, NULL));
    lines = g_strsplit(g_strstrip(text), "\n", -1);
    assert_true(g_strv_length(lines) >= 7);
    for (char **line = lines; *line; line++) {
        QtestState *qts;

        print_message("%s\n", *line);
        if (strstr(*line, "iommufd0,fd=")) {
            refused("fd", "%s", *line);
        } else if (strstr(*line, "iommufd")) {
            refused("cannot open /dev/iommu", "%s", *line);
        } else {
            qts = qtest_start(*line);
            assert_true(open_files(qts, "/dev/vfio/") >= 2);
            qtest_end(qts);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nvme),      cmocka_unit_test(test_nvme_trapped),
        cmocka_unit_test(test_e1000),     cmocka_unit_test(test_two_devices),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_busy),
        cmocka_unit_test(test_options),   cmocka_unit_test(test_requested_back),
        cmocka_unit_test(test_bus_reset), cmocka_unit_test(test_shared_group),
        cmocka_unit_test(test_documented_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
