/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ich9-ahci with its drives as a driver sees them (AHCI 1.3.1, 10): command lists, FISes, queued commands, packets, errors.
 * In process, and behind a socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "libqtest/libqpci.h"
#include "libqtest/libqtest.h"

#define DISK_SIZE (16u << 20)
#define DISC_SIZE (600u * 2048)
#define LIST      0x1000000u
#define FISES     0x1001000u
#define TABLES    0x1010000u
#define DATA      0x1100000u
#define ABAR      5
#define HD        0
#define CD        1

enum { CAP = 0x00, GHC = 0x04, IS = 0x08, PI = 0x0c, VS = 0x10 };
enum {
    P_CLB = 0x00, P_FB = 0x08, P_IS = 0x10, P_IE = 0x14, P_CMD = 0x18, P_TFD = 0x20, P_SIG = 0x24, P_SSTS = 0x28,
    P_SCTL = 0x2c, P_SERR = 0x30, P_SACT = 0x34, P_CI = 0x38,
};
enum { IS_DHRS = 1, IS_PSS = 2, IS_SDBS = 8, IS_HBFS = 1 << 29, IS_TFES = 1 << 30 };

typedef struct Fixture {
    QtestState *qts;
    QpciDevice *dev;
    char *disk, *disc;
} Fixture;

static void start(Fixture *f, const char *drive)
{
    g_autofree char *drives = g_strdup_printf("%s -drive id=d1,file=%s,format=raw,if=none,readonly=on", drive, f->disc);

    f->qts = qtest_start_controller(drives, "ich9-ahci",
                                    "-device ide-hd,bus=dev0.0,drive=d0,serial=disk-7,wwn=0x5000c50015ea71ac "
                                    "-device ide-cd,bus=dev0.1,drive=d1", "");
    f->dev = qpci_find(f->qts, 0x8086, 0x2922);
    assert_non_null(f->dev);
    qpci_enable(f->dev);
}

static int setup(void **state)
{
    Fixture *f = g_new0(Fixture, 1);
    g_autofree char *drive = NULL;

    f->disk = qtest_file_new(DISK_SIZE);
    f->disc = qtest_file_new(DISC_SIZE);
    drive = g_strdup_printf("-drive id=d0,file=%s,format=raw,if=none,discard=unmap", f->disk);
    start(f, drive);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;

    g_free(f->dev);
    qtest_end(f->qts);
    qtest_file_free(f->disk);
    qtest_file_free(f->disc);
    g_free(f);
    return 0;
}

/* --- a driver --- */

static uint32_t port_get(Fixture *f, unsigned port, unsigned reg)
{
    return qpci_readl(f->dev, ABAR, 0x100 + 0x80 * port + reg);
}

static void port_set(Fixture *f, unsigned port, unsigned reg, uint32_t val)
{
    qpci_writel(f->dev, ABAR, 0x100 + 0x80 * port + reg, val);
}

static void port_start(Fixture *f, unsigned port)
{
    qpci_writel(f->dev, ABAR, GHC, 0x80000002u);
    port_set(f, port, P_CLB, LIST);
    port_set(f, port, P_FB, FISES);
    port_set(f, port, P_IE, 0);
    port_set(f, port, P_SERR, UINT32_MAX);
    port_set(f, port, P_IS, UINT32_MAX);
    port_set(f, port, P_CMD, 0x16);
    port_set(f, port, P_CMD, 0x17);
}

/* After an error: ST off and on. */
static void port_recover(Fixture *f, unsigned port)
{
    port_set(f, port, P_CMD, 0x16);
    port_set(f, port, P_IS, UINT32_MAX);
    assert_int_equal(port_get(f, port, P_CI), 0);
    port_set(f, port, P_CMD, 0x17);
}

static void table_write(Fixture *f, unsigned slot, const uint8_t *cfis, const uint8_t *packet, uint64_t addr, uint32_t len,
                        bool out)
{
    uint64_t table = TABLES + slot * 0x1000u;
    unsigned parts = len > 4096 ? 2 : len ? 1 : 0;

    qtest_memset(f->qts, table, 0, 0x100);
    qtest_memwrite(f->qts, table, cfis, 20);
    if (packet) {
        qtest_memwrite(f->qts, table + 0x40, packet, 16);
    }
    for (unsigned i = 0; i < parts; i++) { /* the first page, then the rest */
        uint32_t part = parts == 1 ? len : i ? len - 4096 : 4096;

        qtest_writeq(f->qts, table + 0x80 + i * 16, addr + i * 4096);
        qtest_writel(f->qts, table + 0x8c + i * 16, part - 1);
    }
    qtest_writel(f->qts, LIST + slot * 32, 5u | (out ? 1u << 6 : 0) | (packet ? 1u << 5 : 0) | parts << 16);
    qtest_writel(f->qts, LIST + slot * 32 + 4, 0);
    qtest_writeq(f->qts, LIST + slot * 32 + 8, table);
}

static void fis(uint8_t cfis[20], uint8_t command, uint8_t features, uint64_t lba, uint32_t count)
{
    const uint8_t bytes[20] = {0x27, 0x80, command, features, (uint8_t)lba, (uint8_t)(lba >> 8), (uint8_t)(lba >> 16), 0x40,
                               (uint8_t)(lba >> 24), (uint8_t)(lba >> 32), (uint8_t)(lba >> 40), 0, (uint8_t)count,
                               (uint8_t)(count >> 8)};

    memcpy(cfis, bytes, sizeof(bytes));
}

static bool ended(Fixture *f, unsigned port, uint32_t cause)
{
    return port_get(f, port, P_IS) & cause;
}

/* One command in slot 0: the interrupt causes it left. */
static uint32_t run(Fixture *f, unsigned port, const uint8_t *cfis, const uint8_t *packet, uint32_t len, bool out)
{
    uint32_t is;

    table_write(f, 0, cfis, packet, DATA, len, out);
    port_set(f, port, P_IS, UINT32_MAX);
    port_set(f, port, P_CI, 1);
    assert_true(QTEST_WAIT(ended(f, port, IS_DHRS | IS_PSS | IS_TFES | IS_HBFS)));
    is = port_get(f, port, P_IS);
    if (is & IS_TFES) {
        assert_int_equal(port_get(f, port, P_CI), 1); /* stays with the failed command */
        port_recover(f, port);
    } else {
        assert_int_equal(port_get(f, port, P_CI), 0);
    }
    return is;
}

static uint32_t ata(Fixture *f, uint8_t command, uint8_t features, uint64_t lba, uint32_t count, uint32_t len, bool out)
{
    uint8_t cfis[20];

    fis(cfis, command, features, lba, count);
    return run(f, HD, cfis, NULL, len, out);
}

static uint32_t packet(Fixture *f, const uint8_t *cdb, uint32_t len)
{
    uint8_t cfis[20];

    fis(cfis, 0xa0, 1, 0, 0);
    return run(f, CD, cfis, cdb, len, false);
}

/* --- tests --- */

static void test_registers(void **state)
{
    Fixture *f = *state;

    assert_int_equal(f->dev->bars[ABAR].size, 0x1000);
    assert_int_equal(qpci_readl(f->dev, ABAR, CAP), 0xc1341f05u);
    assert_int_equal(qpci_readl(f->dev, ABAR, PI), 0x3f);
    assert_int_equal(qpci_readl(f->dev, ABAR, VS), 0x10301);
    assert_int_equal(port_get(f, HD, P_SIG), 0x101);
    assert_int_equal(port_get(f, CD, P_SIG), 0xeb140101u);
    assert_int_equal(port_get(f, 2, P_SIG), UINT32_MAX);
    assert_int_equal(port_get(f, HD, P_SSTS), 0x133);
    assert_int_equal(port_get(f, 2, P_SSTS), 0);
    qpci_writel(f->dev, 4, 0x10, 0x128); /* by index and data: SSTS of port 0 */
    assert_int_equal(qpci_readl(f->dev, 4, 0x14), 0x133);
    port_set(f, HD, P_SCTL, 1); /* COMRESET */
    assert_int_equal(port_get(f, HD, P_SSTS), 0);
    port_set(f, HD, P_SCTL, 0);
    assert_int_equal(port_get(f, HD, P_SSTS), 0x133);
    assert_int_equal(port_get(f, HD, P_SERR) >> 26 & 1, 1);
    port_set(f, HD, P_SERR, UINT32_MAX);
    assert_int_equal(port_get(f, HD, P_SERR), 0);
    port_set(f, HD, P_IE, 0xff);
    qpci_writel(f->dev, ABAR, GHC, 0x80000001u);
    assert_int_equal(port_get(f, HD, P_IE), 0);
}

static void test_identify(void **state)
{
    Fixture *f = *state;
    uint8_t id[512];

    port_start(f, HD);
    assert_int_equal(ata(f, 0xec, 0, 0, 0, 512, false), IS_PSS);
    qtest_memread(f->qts, DATA, id, sizeof(id));
    assert_memory_equal(id + 20, "idks7-              ", 20);
    assert_memory_equal(id + 54, "EQUMH RADDSI K", 14);
    assert_int_equal(*(uint64_t *)(void *)(id + 200), DISK_SIZE / 512);
    assert_int_equal(*(uint16_t *)(void *)(id + 216), 0x5000);
    assert_int_equal(qtest_readl(f->qts, LIST + 4), 512); /* PRDBC */
    assert_int_equal(qtest_readb(f->qts, FISES + 0x20), 0x5f);
    port_start(f, CD);
    {
        uint8_t cfis[20];

        fis(cfis, 0xec, 0, 0, 0); /* a packet drive is no disk */
        assert_int_equal(run(f, CD, cfis, NULL, 512, false) & IS_TFES, IS_TFES);
        assert_int_equal(qtest_readw(f->qts, FISES + 0x45), 0xeb14);
        fis(cfis, 0xa1, 0, 0, 0);
        assert_int_equal(run(f, CD, cfis, NULL, 512, false), IS_PSS);
        assert_int_equal(qtest_readw(f->qts, DATA), 0x85c0);
    }
}

static void test_data(void **state)
{
    Fixture *f = *state;
    const uint32_t len = 600u << 10; /* more than a command buffers */
    g_autofree uint8_t *out = g_malloc(len), *in = g_malloc(len);
    static const uint8_t writes[] = {0xca, 0x35, 0x3d, 0x34}, reads[] = {0xc8, 0x25, 0x25, 0x24};
    g_autofree char *file = NULL;

    port_start(f, HD);
    for (unsigned i = 0; i < G_N_ELEMENTS(writes); i++) {
        qtest_fill(out, 8192, i);
        qtest_memwrite(f->qts, DATA, out, 8192);
        assert_int_equal(ata(f, writes[i], 0, 16 * i + 1, 16, 8192, true), IS_DHRS);
        qtest_memset(f->qts, DATA, 0, 8192);
        assert_true(ata(f, reads[i], 0, 16 * i + 1, 16, 8192, false) & (IS_DHRS | IS_PSS));
        qtest_memread(f->qts, DATA, in, 8192);
        assert_memory_equal(in, out, 8192);
    }
    qtest_fill(out, len, 77);
    qtest_memwrite(f->qts, DATA, out, len);
    assert_int_equal(ata(f, 0x35, 0, 4096, len / 512, len, true), IS_DHRS);
    assert_int_equal(qtest_readl(f->qts, LIST + 4), len);
    assert_int_equal(ata(f, 0xea, 0, 0, 0, 0, false), IS_DHRS);
    assert_true(g_file_get_contents(f->disk, &file, NULL, NULL));
    assert_memory_equal(file + 4096 * 512, out, len);
    assert_int_equal(ata(f, 0x42, 0, 4096, 1000, 0, false), IS_DHRS); /* verify */
    qtest_memset(f->qts, DATA, 0, 512);
    qtest_writeq(f->qts, DATA, UINT64_C(1024) << 48 | 4096);
    assert_int_equal(ata(f, 0x06, 1, 0, 1, 512, true), IS_DHRS); /* TRIM */
    assert_int_equal(ata(f, 0x25, 0, 4096 + 1023, 1, 512, false), IS_DHRS);
    assert_int_equal(qtest_readq(f->qts, DATA), 0);
}

/* Thirty-two queued commands at once, then one of them fails and is found in the log. */
static void test_queued(void **state)
{
    Fixture *f = *state;
    uint8_t cfis[20], in[4096], out[4096];

    port_start(f, HD);
    for (unsigned slot = 0; slot < 32; slot++) {
        fis(cfis, 0x61, 8, slot * 8, slot << 3);
        qtest_fill(out, sizeof(out), slot);
        qtest_memwrite(f->qts, DATA + slot * 4096, out, sizeof(out));
        table_write(f, slot, cfis, NULL, DATA + slot * 4096, 4096, true);
    }
    port_set(f, HD, P_SACT, UINT32_MAX);
    port_set(f, HD, P_CI, UINT32_MAX);
    assert_true(QTEST_WAIT(!port_get(f, HD, P_SACT)));
    assert_int_equal(port_get(f, HD, P_CI), 0);
    assert_int_equal(port_get(f, HD, P_IS) & IS_SDBS, IS_SDBS);
    for (unsigned slot = 0; slot < 32; slot += 5) {
        fis(cfis, 0x60, 8, slot * 8, slot << 3);
        table_write(f, slot, cfis, NULL, DATA + 0x40000, 4096, false);
        port_set(f, HD, P_SACT, 1u << slot);
        port_set(f, HD, P_CI, 1u << slot);
        assert_true(QTEST_WAIT(!port_get(f, HD, P_SACT)));
        qtest_fill(out, sizeof(out), slot);
        qtest_memread(f->qts, DATA + 0x40000, in, sizeof(in));
        assert_memory_equal(in, out, sizeof(in));
    }
    qtest_stay(f->qts, QTEST_STAY_BACK_END); /* another process would see that from the start */
    assert_int_equal(truncate(f->disk, DISK_SIZE / 2), 0);
    fis(cfis, 0x60, 8, DISK_SIZE / 512 - 8, 9 << 3);
    table_write(f, 9, cfis, NULL, DATA, 4096, false);
    port_set(f, HD, P_SACT, 1u << 9);
    port_set(f, HD, P_CI, 1u << 9);
    assert_true(QTEST_WAIT(ended(f, HD, IS_TFES)));
    assert_int_equal(port_get(f, HD, P_SACT), 1u << 9);
    assert_int_equal(port_get(f, HD, P_TFD), 0x4051);
    port_recover(f, HD);
    assert_int_equal(ata(f, 0x2f, 0, 0x10, 1, 512, false), IS_PSS);
    qtest_memread(f->qts, DATA, in, 512);
    assert_int_equal(in[0], 9);
    assert_int_equal(in[2], 0x51);
    assert_int_equal(in[3], 0x40);
}

static void test_errors(void **state)
{
    Fixture *f = *state;

    port_start(f, HD);
    assert_int_equal(ata(f, 0x25, 0, DISK_SIZE / 512, 1, 512, false) & IS_TFES, IS_TFES);
    assert_int_equal(qtest_readw(f->qts, FISES + 0x42), 0x1051); /* IDNF */
    assert_int_equal(ata(f, 0xff, 0, 0, 0, 0, false) & IS_TFES, IS_TFES);
    assert_int_equal(qtest_readw(f->qts, FISES + 0x42), 0x0451);
    assert_int_equal(ata(f, 0x25, 0, 0, 16, 512, false) & IS_TFES, IS_TFES); /* the list is too short */
    assert_int_equal(ata(f, 0x25, 0, 0, 1, 512, false), IS_DHRS);
    /* A command list that is not memory. */
    port_set(f, HD, P_CMD, 0x16);
    port_set(f, HD, P_CLB, 0xf0000000u);
    port_set(f, HD, P_CMD, 0x17);
    port_set(f, HD, P_CI, 1);
    assert_true(QTEST_WAIT(ended(f, HD, IS_HBFS)));
    port_set(f, HD, P_CMD, 0x16);
    port_set(f, HD, P_CLB, LIST);
    port_recover(f, HD);
    assert_int_equal(ata(f, 0x25, 0, 0, 1, 512, false), IS_DHRS);
}

static void test_failing_disk(void **state)
{
    Fixture *f = g_new0(Fixture, 1);
    QtestDisk *disk = qtest_disk_new("EIO");
    g_autofree char *drive = disk ? qtest_disk_drive(disk, "d0") : NULL;

    if (!disk) {
        skip(); /* no nbdkit here */
    }
    f->disk = qtest_file_new(512);
    f->disc = qtest_file_new(DISC_SIZE);
    *state = f;
    start(f, drive);
    port_start(f, HD);
    assert_int_equal(ata(f, 0x35, 0, 8, 8, 4096, true), IS_DHRS);
    qtest_disk_fail(disk, true);
    assert_int_equal(ata(f, 0x25, 0, 9, 8, 4096, false) & IS_TFES, IS_TFES);
    assert_int_equal(qtest_readl(f->qts, FISES + 0x42), 0x00094051); /* UNC, at block 9 */
    assert_int_equal(ata(f, 0x35, 0, 8, 8, 4096, true) & IS_TFES, IS_TFES);
    qtest_disk_fail(disk, false);
    assert_int_equal(ata(f, 0x25, 0, 9, 8, 4096, false), IS_DHRS);
    teardown(state);
    qtest_disk_free(disk);
}

static void test_packets(void **state)
{
    Fixture *f = *state;
    uint8_t sector[2048], in[2048];
    FILE *disc = fopen(f->disc, "r+b");

    qtest_fill(sector, sizeof(sector), 4);
    assert_non_null(disc);
    assert_int_equal(fseek(disc, 17 * 2048, SEEK_SET), 0);
    assert_int_equal(fwrite(sector, 1, sizeof(sector), disc), sizeof(sector));
    assert_int_equal(fclose(disc), 0);
    port_start(f, CD);
    assert_int_equal(packet(f, (const uint8_t[16]){0x00}, 0) & IS_TFES, IS_TFES);
    assert_int_equal(qtest_readb(f->qts, FISES + 0x43) >> 4, 6); /* unit attention */
    assert_int_equal(packet(f, (const uint8_t[16]){0x03, [4] = 18}, 18), IS_DHRS);
    assert_int_equal(qtest_readb(f->qts, DATA + 12), 0x29);
    assert_int_equal(packet(f, (const uint8_t[16]){0x00}, 0), IS_DHRS);
    assert_int_equal(packet(f, (const uint8_t[16]){0x12, [4] = 36}, 36), IS_DHRS);
    assert_int_equal(qtest_readb(f->qts, DATA), 5);
    assert_int_equal(packet(f, (const uint8_t[16]){0x28, [5] = 17, [8] = 1}, 2048), IS_DHRS);
    qtest_memread(f->qts, DATA, in, sizeof(in));
    assert_memory_equal(in, sector, sizeof(in));
    assert_int_equal(packet(f, (const uint8_t[16]){0x28, [2] = 1, [8] = 1}, 2048) & IS_TFES, IS_TFES);
    assert_int_equal(qtest_readb(f->qts, FISES + 0x43) >> 4, 5);
}

static void test_intx(void **state)
{
    Fixture *f = *state;

    qtest_irq_intercept_in(f->qts, "ioapic");
    port_start(f, HD);
    assert_int_equal(ata(f, 0x25, 0, 0, 1, 512, false), IS_DHRS);
    assert_false(qpci_any_line(f->qts)); /* PxIE is 0 */
    port_set(f, HD, P_IE, IS_DHRS);
    assert_true(QTEST_WAIT(qpci_any_line(f->qts)));
    assert_int_equal(qpci_readl(f->dev, ABAR, IS), 1);
    port_set(f, HD, P_IS, UINT32_MAX);
    qpci_writel(f->dev, ABAR, IS, 1);
    assert_true(QTEST_WAIT(!qpci_any_line(f->qts)));
}

static void test_reset_mid_io(void **state)
{
    Fixture *f = *state;
    uint8_t cfis[20];

    for (int round = 0; round < 4; round++) {
        port_start(f, HD);
        for (unsigned slot = 0; slot < 32; slot++) {
            fis(cfis, 0x60, 0, slot * 8, slot << 3);
            cfis[11] = 2; /* 512 sectors */
            table_write(f, slot, cfis, NULL, DATA, 512 * 512, false);
        }
        port_set(f, HD, P_SACT, UINT32_MAX);
        port_set(f, HD, P_CI, UINT32_MAX);
        if (round == 0) {
            port_set(f, HD, P_CMD, 0x16);
        } else if (round == 1) {
            port_set(f, HD, P_SCTL, 1);
            port_set(f, HD, P_SCTL, 0);
        } else if (round == 2) {
            qpci_writel(f->dev, ABAR, GHC, 0x80000001u);
        } else {
            qtest_qmp_ok(f->qts, "{'execute': 'system_reset'}");
            json_object_put(qtest_qmp_event(f->qts, "RESET"));
            qpci_enable(f->dev);
        }
        assert_int_equal(port_get(f, HD, P_CI) | port_get(f, HD, P_SACT), 0);
    }
    port_start(f, HD);
    assert_int_equal(ata(f, 0x25, 0, 0, 1, 512, false), IS_DHRS);
}

/* Tables of noise: the controller answers each with an end or an error, and works afterwards. */
static void test_noise(void **state)
{
    Fixture *f = *state;
    uint8_t noise[0x100];

    for (unsigned round = 0; round < 60; round++) {
        unsigned port = round % 2;

        port_start(f, port);
        qtest_fill(noise, sizeof(noise), round);
        if (round % 4) {
            noise[0] = 0x27;
            noise[1] |= 0x80;
        }
        qtest_memwrite(f->qts, TABLES, noise, sizeof(noise));
        qtest_writel(f->qts, LIST, noise[9] * 0x10101u);
        qtest_writeq(f->qts, LIST + 8, TABLES);
        port_set(f, port, P_CI, 1);
        port_set(f, port, P_SCTL, 1);
        port_set(f, port, P_SCTL, 0);
    }
    port_start(f, HD);
    assert_true(ata(f, 0x25, 0, 0, 1, 512, false) & IS_DHRS);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *args, *text;
    } cases[] = {
        {"-device ide-hd,bus=a.6,drive=d", "no IDE bus 'a.6' (there are ide.0, ide.1, ide.2, ide.3, ide.4, ide.5, a.0, a.1, a.2, a.3, a.4, a.5)"},
        {"-device ide-hd", "property 'drive' is required"},
        {"-device ide-cd,bus=a.2 -device ide-hd,bus=a.2,drive=d", "a.2 is taken by"},
        {"-device ide-hd,drive=d,logical_block_size=4096", "out of range (4096, allowed 512..512)"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *err = NULL, *args = g_strdup_printf("-machine q35 -device ich9-ahci,id=a "
                                                             "-drive id=d,file=null-co://,if=none %s", cases[i].args);

        assert_int_equal(qtest_run_to_exit(args, &err), 1);
        if (!strstr(err, cases[i].text)) {
            fail_msg("expected '%s' in: %s", cases[i].text, err);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_registers),    TEST(test_identify), TEST(test_data),   TEST(test_queued),
        TEST(test_errors),       TEST(test_packets),  TEST(test_intx),   TEST(test_reset_mid_io),
        TEST(test_noise),        cmocka_unit_test(test_failing_disk),    cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
