/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pci-testdev and pci-serial as a guest driver sees them, in process and behind a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libqtest/libqpci.h"

/* --- pci-testdev --- */

enum { TEST = 0, WIDTH = 1, OFFSET = 4, DATA = 8, COUNT = 12, NAME = 16 };

/* Runs the test and writes its data and something else; the count. */
static uint32_t run_testdev(QpciDevice *dev, unsigned bar, uint8_t test, const char *name)
{
    uint32_t offset;
    uint8_t data;
    char found[32];

    qpci_writeb(dev, bar, TEST, test);
    assert_int_equal(qpci_readb(dev, bar, WIDTH), 1);
    for (unsigned i = 0; i < sizeof(found); i++) {
        found[i] = (char)qpci_readb(dev, bar, NAME + i);
    }
    assert_string_equal(found, name);
    offset = qpci_readl(dev, bar, OFFSET);
    data = (uint8_t)qpci_readl(dev, bar, DATA);
    assert_in_range(offset, 64, dev->bars[bar].size - 1);
    assert_int_equal(qpci_readl(dev, bar, COUNT), 0);
    for (int i = 0; i < 5; i++) {
        qpci_writeb(dev, bar, offset, data);
    }
    qpci_writeb(dev, bar, offset, (uint8_t)~data);
    return qpci_readl(dev, bar, COUNT);
}

static void test_testdev(void **state)
{
    QtestState *qts = qtest_start_device("", "pci-testdev,membar=64M", "");
    QpciDevice *dev = qpci_find(qts, 0x1b36, 0x0005);

    assert_non_null(dev);
    qpci_enable(dev);
    assert_int_equal(dev->bars[2].size, 64 << 20);
    assert_false(dev->bars[0].io);
    assert_true(dev->bars[1].io);
    assert_int_equal(run_testdev(dev, 0, 0, "mmio-no-eventfd"), 6);
    assert_int_equal(run_testdev(dev, 0, 1, "mmio-wildcard-eventfd"), 6);
    assert_int_equal(run_testdev(dev, 0, 2, "mmio-datamatch-eventfd"), 6);
    assert_int_equal(run_testdev(dev, 1, 0, "portio-no-eventfd"), 6);
    assert_int_equal(run_testdev(dev, 1, 1, "portio-wildcard-eventfd"), 6);
    assert_int_equal(run_testdev(dev, 1, 2, "portio-datamatch-eventfd"), 6);
    qpci_writeb(dev, 0, TEST, 3);
    assert_int_equal(qpci_readb(dev, 0, WIDTH), 0);
    assert_int_equal(qpci_readl(dev, 0, 0x800), 0);
    g_free(dev);
    qtest_end(qts);
}

static void test_testdev_membar(void **state)
{
    g_autofree char *err = NULL;

    assert_int_equal(qtest_run_to_exit("-machine q35 -accel qtest -device pci-testdev,membar=5000", &err), 1);
    assert_non_null(strstr(err, "membar must be a power of two (5000"));
}

/* --- pci-serial --- */

enum { RBR = 0, IER = 1, IIR = 2, LCR = 3, MCR = 4, LSR = 5 };

static int connect_to(const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(sun.sun_path, path, sizeof(sun.sun_path));
    assert_true(fd >= 0 && connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0);
    return fd;
}

static void test_serial(void **state)
{
    g_autofree char *args = NULL;
    int ends[2], fd;
    QtestState *qts;
    QpciDevice *dev;
    char got[5];

    qtest_wire_new(ends);
    fd = ends[0];
    args = g_strdup_printf("-chardev fd,id=c0,fd=%d", ends[1]);
    qts = qtest_start_device(args, "pci-serial,chardev=c0", "");
    dev = qpci_find(qts, 0x1b36, 0x0002);
    assert_non_null(dev);
    qpci_enable(dev);
    assert_true(dev->bars[0].io && dev->bars[0].size == 8);
    assert_int_equal(qpci_config_readl(dev, QPCI_REVISION) >> 8, 0x070002);
    qtest_irq_intercept_in(qts, "ioapic");
    assert_int_equal(write(fd, "y", 1), 1);
    assert_true(QTEST_WAIT(qpci_readb(dev, 0, LSR) & 1));
    assert_int_equal(qpci_readb(dev, 0, RBR), 'y');
    for (const char *p = "hello"; *p; p++) {
        qpci_writeb(dev, 0, RBR, (uint8_t)*p);
    }
    for (unsigned n = 0; n < sizeof(got);) {
        ssize_t len = read(fd, got + n, sizeof(got) - n);

        assert_true(len > 0);
        n += (unsigned)len;
    }
    assert_memory_equal(got, "hello", 5);
    assert_false(qpci_any_line(qts));
    qpci_writeb(dev, 0, IER, 1);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_true(QTEST_WAIT(qpci_any_line(qts)));
    assert_int_equal(qpci_readb(dev, 0, IIR), 0x04);
    assert_int_equal(qpci_readb(dev, 0, LSR), 0x61);
    assert_int_equal(qpci_readb(dev, 0, RBR), 'x');
    assert_true(QTEST_WAIT(!qpci_any_line(qts)));
    assert_int_equal(qpci_readb(dev, 0, LSR), 0x60);
    close(ends[0]);
    close(ends[1]);
    g_free(dev);
    qtest_end(qts);
}

/* A character device works where its card does: in the loop of the object that serves it, and back in the main loop. */
static void test_serial_moves(void **state)
{
    static const char add[] = "{'execute': 'object-add', 'arguments': {'qom-type': 'x-vfio-user-server', 'id': 'vfu0', "
                              "'type': 'unix', 'path': '%s/vfu', 'device': '%s'}}";
    g_autofree char *dir = g_dir_make_tmp("pci-serial-XXXXXX", NULL), *error = NULL;
    g_autofree char *args = g_strdup_printf("-machine x-remote,vfio-user=on "
                                            "-chardev socket,id=c0,path=%s/c0,server=on,wait=off "
                                            "-chardev socket,id=c1,path=%s/c1,server=on,wait=off,mux=on "
                                            "-device pci-serial,id=s0,chardev=c0 -device pci-serial,id=s1,chardev=c1", dir, dir);
    QtestState *qts = qtest_start(args);
    g_autofree char *path = g_strdup_printf("%s/c0", dir);
    int fd = -1;

    error = qtest_qmp_error(qts, add, dir, "s1");
    assert_non_null(strstr(error, "chardev c1: with mux=on it works in the main loop only"));
    for (unsigned i = 0; i < 20; i++) {
        qtest_qmp_ok(qts, add, dir, "s0");
        /* Taken in either loop, kept over moves; no more often than connections may wait for that. */
        if (i % 10 == 0) {
            close(fd);
            fd = connect_to(path);
        }
        qtest_qmp_ok(qts, "{'execute': 'object-del', 'arguments': {'id': 'vfu0'}}");
        assert_int_equal(write(fd, "x", 1), 1);
    }
    close(fd);
    qtest_end(qts);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_testdev),
        cmocka_unit_test(test_testdev_membar),
        cmocka_unit_test(test_serial),
        cmocka_unit_test(test_serial_moves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
