/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * piix3-ide with its drives as a driver sees them: registers (ATA/ATAPI-6, 7), data by PIO and by the bus master (82371SB
 * data sheet, 2.7), packets and resets.  Its ports and interrupts are the machine's,
 * so it is not served to other processes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

#include "libqtest/libqpci.h"
#include "libqtest/libqtest.h"

#define DISK_SIZE (16u << 20)
#define DISC_SIZE (600u * 2048)
#define PRDS      0x1000000u
#define DATA      0x1100000u
#define BM        4

enum { R_DATA = 0, R_ERROR = 1, R_COUNT = 2, R_LOW = 3, R_MID = 4, R_HIGH = 5, R_DEVICE = 6, R_STATUS = 7 };
enum { BSY = 0x80, DRDY = 0x40, DSC = 0x10, DRQ = 0x08, ERR = 0x01, READY = DRDY | DSC };
#define ALT_STATUS(channel) ((channel) ? 0x376 : 0x3f6)
/* The disk is drive 0 of the first channel, the CD-ROM drive is drive 1 of the second. */
#define HD 0
#define CD 1

typedef struct Fixture {
    QtestState *qts;
    QpciDevice *dev;
    char *disk, *disc;
} Fixture;

static QtestState *start_machine(const Fixture *f)
{
    g_autofree char *args =
        g_strdup_printf("-machine pc -m 64 -nodefaults -drive id=d0,file=%s,format=raw,if=none,discard=unmap "
                        "-drive id=d1,file=%s,format=raw,if=none,readonly=on -device ide-hd,bus=ide.0,drive=d0,serial=disk-7 "
                        "-device ide-cd,bus=ide.1,unit=1,drive=d1",
                        f->disk, f->disc);

    return qtest_start(args);
}

static void find(Fixture *f)
{
    f->dev = qpci_find(f->qts, 0x8086, 0x7010);
    assert_non_null(f->dev);
    assert_int_equal(f->dev->devfn, 9);
    qpci_enable(f->dev);
}

static int setup(void **state)
{
    Fixture *f = g_new0(Fixture, 1);

    f->disk = qtest_file_new(DISK_SIZE);
    f->disc = qtest_file_new(DISC_SIZE);
    f->qts = start_machine(f);
    find(f);
    qtest_irq_intercept_in(f->qts, "ioapic");
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

static uint8_t get(Fixture *f, int channel, unsigned reg)
{
    return qtest_inb(f->qts, (uint16_t)((channel ? 0x170 : 0x1f0) + reg));
}

static void set(Fixture *f, int channel, unsigned reg, uint8_t val)
{
    qtest_outb(f->qts, (uint16_t)((channel ? 0x170 : 0x1f0) + reg), val);
}

static uint8_t alt_status(Fixture *f, int channel)
{
    return qtest_inb(f->qts, ALT_STATUS(channel));
}

/* The level of the channel's interrupt, 14 or 15. */
static bool irq(Fixture *f, int channel)
{
    return qtest_irq(f->qts, 14 + channel);
}

static void issue(Fixture *f, int channel, uint8_t command, uint8_t features, uint64_t lba, uint16_t count)
{
    set(f, channel, R_DEVICE, (uint8_t)(0xe0 | (channel == CD ? 0x10 : 0)));
    for (int half = 1; half >= 0; half--) { /* the upper halves first: 48-bit commands take both */
        set(f, channel, R_ERROR, half ? 0 : features);
        set(f, channel, R_COUNT, (uint8_t)(count >> (8 * half)));
        for (unsigned i = 0; i < 3; i++) {
            set(f, channel, R_LOW + i, (uint8_t)(lba >> (24 * half + 8 * i)));
        }
    }
    set(f, channel, R_STATUS, command);
}

static uint8_t wait_not_busy(Fixture *f, int channel)
{
    assert_true(QTEST_WAIT(!(alt_status(f, channel) & BSY)));
    return alt_status(f, channel);
}

static void read_block(Fixture *f, int channel, void *buf, unsigned len)
{
    for (unsigned i = 0; i < len; i += 2) {
        uint16_t word = qtest_inw(f->qts, channel ? 0x170 : 0x1f0);

        memcpy((char *)buf + i, &word, MIN(2, len - i));
    }
}

static void write_block(Fixture *f, int channel, const void *buf, unsigned len)
{
    for (unsigned i = 0; i < len; i += 2) {
        uint16_t word;

        memcpy(&word, (const char *)buf + i, 2);
        qtest_outw(f->qts, channel ? 0x170 : 0x1f0, word);
    }
}

static void prd(Fixture *f, unsigned n, uint32_t addr, uint16_t len, bool last)
{
    qtest_writel(f->qts, PRDS + 8 * n, addr);
    qtest_writel(f->qts, PRDS + 8 * n + 4, len | (last ? 0x80000000u : 0));
}

static void master_start(Fixture *f, int channel, bool to_memory)
{
    unsigned base = 8u * (unsigned)channel;

    qpci_writeb(f->dev, BM, base, 0);
    qpci_writeb(f->dev, BM, base + 2, 0x66);
    qpci_writel(f->dev, BM, base + 4, PRDS);
    qpci_writeb(f->dev, BM, base, to_memory ? 9 : 1);
}

static uint8_t master_status(Fixture *f, int channel)
{
    return qpci_readb(f->dev, BM, 8u * (unsigned)channel + 2) & 7;
}

/* A command whose data goes by the bus master, with the table that was written: the drive's status. */
static uint8_t dma(Fixture *f, int channel, uint8_t command, uint64_t lba, uint16_t count, bool to_memory)
{
    issue(f, channel, command, 0, lba, count);
    master_start(f, channel, to_memory);
    assert_true(QTEST_WAIT(irq(f, channel)));
    assert_int_equal(master_status(f, channel) & 4, 4);
    return get(f, channel, R_STATUS);
}

/* --- tests --- */

static void test_registers(void **state)
{
    Fixture *f = *state;

    assert_int_equal(qpci_config_readl(f->dev, 8), 0x01018000);
    assert_int_equal(qpci_config_readb(f->dev, QPCI_INTERRUPT_PIN), 0);
    assert_int_equal(f->dev->bars[BM].size, 16);
    assert_int_equal(get(f, HD, R_STATUS), READY);
    assert_int_equal(get(f, HD, R_ERROR), 1);
    assert_int_equal(get(f, HD, R_COUNT), 1);
    assert_int_equal(get(f, HD, R_LOW), 1);
    assert_int_equal(get(f, HD, R_MID) | get(f, HD, R_HIGH), 0);
    set(f, HD, R_DEVICE, 0xb0); /* drive 1 is not there, drive 0 answers */
    assert_int_equal(get(f, HD, R_DEVICE), 0xb0);
    assert_int_equal(get(f, HD, R_STATUS), 0);
    set(f, CD, R_DEVICE, 0xb0);
    assert_int_equal(get(f, CD, R_STATUS), 0);
    assert_int_equal(get(f, CD, R_MID), 0x14);
    assert_int_equal(get(f, CD, R_HIGH), 0xeb);
    set(f, HD, R_LOW, 0x12); /* what was written last, and before that */
    set(f, HD, R_LOW, 0x34);
    assert_int_equal(get(f, HD, R_LOW), 0x34);
    qtest_outb(f->qts, ALT_STATUS(HD), 0x80);
    assert_int_equal(get(f, HD, R_LOW), 0x12);
    set(f, HD, R_LOW, 0x56); /* and HOB is off */
    assert_int_equal(get(f, HD, R_LOW), 0x56);
    qpci_config_writel(f->dev, 0x40, 0x80008000u);
    assert_int_equal(qpci_config_readl(f->dev, 0x40), 0x80008000u);
}

static void test_identify(void **state)
{
    Fixture *f = *state;
    uint8_t id[512];

    issue(f, HD, 0xec, 0, 0, 0);
    assert_true(QTEST_WAIT(irq(f, HD)));
    assert_int_equal(alt_status(f, HD), READY | DRQ);
    assert_true(irq(f, HD)); /* the alternate status leaves it */
    assert_int_equal(get(f, HD, R_STATUS), READY | DRQ);
    assert_false(irq(f, HD));
    read_block(f, HD, id, sizeof(id));
    assert_int_equal(get(f, HD, R_STATUS), READY);
    assert_false(irq(f, HD));
    assert_memory_equal(id + 20, "idks7-              ", 20);
    assert_int_equal(*(uint64_t *)(void *)(id + 200), DISK_SIZE / 512);
    assert_int_equal(*(uint16_t *)(void *)(id + 152), 0); /* no Serial ATA */
    issue(f, CD, 0xec, 0, 0, 0);                          /* a packet drive is no disk */
    assert_int_equal(wait_not_busy(f, CD), READY | ERR);
    assert_int_equal(get(f, CD, R_MID), 0x14);
    issue(f, CD, 0xa1, 0, 0, 0);
    assert_int_equal(wait_not_busy(f, CD), READY | DRQ);
    read_block(f, CD, id, sizeof(id));
    assert_int_equal(id[0] | id[1] << 8, 0x85c0);
}

/* READ and WRITE SECTOR(S), MULTIPLE, and those with 48-bit addresses, all by PIO; one interrupt a block. */
static void test_pio(void **state)
{
    static const struct {
        uint8_t write, read;
        unsigned block;
    } commands[] = {{0x30, 0x20, 512}, {0x34, 0x24, 512}, {0xc5, 0xc4, 4096}, {0x39, 0x29, 4096}};
    Fixture *f = *state;
    uint8_t out[8192], in[8192];
    g_autofree char *file = NULL;

    issue(f, HD, 0xc6, 0, 0, 8); /* SET MULTIPLE MODE */
    assert_int_equal(get(f, HD, R_STATUS), READY);
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        unsigned block = commands[i].block;

        qtest_fill(out, sizeof(out), i);
        issue(f, HD, commands[i].write, 0, 100 + 16 * i, 16);
        assert_int_equal(wait_not_busy(f, HD), READY | DRQ);
        assert_false(irq(f, HD)); /* none before the first block */
        for (unsigned at = 0; at < sizeof(out); at += block) {
            write_block(f, HD, out + at, block);
            assert_true(QTEST_WAIT(irq(f, HD)));
            assert_int_equal(get(f, HD, R_STATUS), at + block < sizeof(out) ? READY | DRQ : READY);
        }
        issue(f, HD, commands[i].read, 0, 100 + 16 * i, 16);
        for (unsigned at = 0; at < sizeof(in); at += block) {
            assert_true(QTEST_WAIT(irq(f, HD)));
            assert_int_equal(get(f, HD, R_STATUS), READY | DRQ);
            read_block(f, HD, in + at, block);
        }
        assert_int_equal(get(f, HD, R_STATUS), READY);
        assert_false(irq(f, HD));
        assert_memory_equal(in, out, sizeof(in));
    }
    issue(f, HD, 0xe7, 0, 0, 0);
    assert_int_equal(wait_not_busy(f, HD), READY);
    assert_true(g_file_get_contents(f->disk, &file, NULL, NULL));
    assert_memory_equal(file + (100 + 16 * 3) * 512, out, sizeof(out));
}

/* An address by cylinder, head and sector names the sector that its number names. */
static void test_geometry(void **state)
{
    Fixture *f = *state;
    uint8_t out[512], in[512];

    qtest_fill(out, sizeof(out), 9);
    issue(f, HD, 0x30, 0, (2 * 16 + 5) * 63 + 7, 1);
    assert_int_equal(wait_not_busy(f, HD), READY | DRQ);
    write_block(f, HD, out, sizeof(out));
    assert_int_equal(wait_not_busy(f, HD), READY);
    set(f, HD, R_DEVICE, 0xa5);
    set(f, HD, R_COUNT, 1);
    set(f, HD, R_LOW, 8);
    set(f, HD, R_MID, 2);
    set(f, HD, R_HIGH, 0);
    set(f, HD, R_STATUS, 0x20);
    assert_int_equal(wait_not_busy(f, HD), READY | DRQ);
    read_block(f, HD, in, sizeof(in));
    assert_memory_equal(in, out, sizeof(in));
    set(f, HD, R_LOW, 0); /* sectors count from 1 */
    set(f, HD, R_STATUS, 0x20);
    assert_int_equal(wait_not_busy(f, HD), READY | ERR);
    assert_int_equal(get(f, HD, R_ERROR), 0x10);
}

static void test_dma(void **state)
{
    Fixture *f = *state;
    const uint32_t len = 600u << 10; /* more than a command buffers */
    g_autofree uint8_t *out = g_malloc(len), *in = g_malloc(len);
    unsigned n = 0;

    qtest_fill(out, len, 5);
    qtest_memwrite(f->qts, DATA, out, len);
    prd(f, n++, DATA, 512, false);
    for (uint32_t at = 512; at < len; at += 0x10000) { /* a length of 0 is 64 KiB */
        prd(f, n++, DATA + at, (uint16_t)MIN(0x10000, len - at), at + 0x10000 >= len);
    }
    assert_int_equal(dma(f, HD, 0x35, 4096, len / 512, false), READY);
    assert_int_equal(master_status(f, HD), 4);
    qtest_memset(f->qts, DATA, 0, len);
    assert_int_equal(dma(f, HD, 0x25, 4096, len / 512, true), READY);
    qtest_memread(f->qts, DATA, in, len);
    assert_memory_equal(in, out, len);
    qtest_memset(f->qts, DATA, 0, 512);
    prd(f, 0, DATA, 512, true);
    assert_int_equal(dma(f, HD, 0xc8, 4097, 1, true), READY);
    qtest_memread(f->qts, DATA, in, 512);
    assert_memory_equal(in, out + 512, 512);
}

/* Tables that are longer and shorter than the transfer, and descriptors that are not memory. */
static void test_dma_tables(void **state)
{
    Fixture *f = *state;

    prd(f, 0, DATA, 1024, true);
    assert_int_equal(dma(f, HD, 0xc8, 0, 1, true), READY);
    assert_int_equal(master_status(f, HD), 5); /* still active */
    qpci_writeb(f->dev, BM, 0, 0);
    prd(f, 0, DATA, 512, true);
    issue(f, HD, 0xc8, 0, 0, 2);
    master_start(f, HD, true);
    assert_true(QTEST_WAIT(!(master_status(f, HD) & 1)));
    assert_int_equal(master_status(f, HD), 0); /* and the drive waits */
    assert_int_equal(alt_status(f, HD) & BSY, BSY);
    master_start(f, HD, true); /* it gets the rest */
    assert_true(QTEST_WAIT(irq(f, HD)));
    assert_int_equal(get(f, HD, R_STATUS), READY);
    issue(f, HD, 0xc8, 0, 0, 1);
    qpci_writeb(f->dev, BM, 0, 0);
    qpci_writel(f->dev, BM, 4, 0xf0000000u);
    qpci_writeb(f->dev, BM, 0, 9);
    assert_true(QTEST_WAIT(master_status(f, HD) & 2));
    qtest_outb(f->qts, ALT_STATUS(HD), 4);
    qtest_outb(f->qts, ALT_STATUS(HD), 0);
    assert_int_equal(wait_not_busy(f, HD), READY);
    prd(f, 0, 0xf0000000u, 512, true);
    assert_int_equal(dma(f, HD, 0xc8, 0, 1, true), READY | ERR);
    prd(f, 0, DATA, 512, true);
    assert_int_equal(dma(f, HD, 0xc8, 0, 1, true), READY);
}

static void test_errors(void **state)
{
    Fixture *f = *state;

    issue(f, HD, 0x24, 0, DISK_SIZE / 512, 1);
    assert_int_equal(wait_not_busy(f, HD), READY | ERR);
    assert_int_equal(get(f, HD, R_ERROR), 0x10); /* IDNF */
    assert_true(irq(f, HD));
    issue(f, HD, 0x60, 8, 0, 0); /* queued commands are Serial ATA's */
    assert_int_equal(wait_not_busy(f, HD), READY | ERR);
    assert_int_equal(get(f, HD, R_ERROR), 4);
    qtest_outb(f->qts, ALT_STATUS(HD), 2); /* nIEN */
    get(f, HD, R_STATUS);
    issue(f, HD, 0xec, 0, 0, 0);
    assert_int_equal(wait_not_busy(f, HD), READY | DRQ);
    assert_false(irq(f, HD));
    qtest_outb(f->qts, ALT_STATUS(HD), 0);
    assert_true(irq(f, HD));
    set(f, HD, R_STATUS, 0xe7); /* not heard: the data comes first */
    assert_int_equal(alt_status(f, HD), READY | DRQ);
    qtest_outb(f->qts, ALT_STATUS(HD), 4);
    assert_int_equal(alt_status(f, HD), BSY);
    qtest_outb(f->qts, ALT_STATUS(HD), 0);
    assert_int_equal(alt_status(f, HD), READY);
    assert_int_equal(get(f, HD, R_ERROR), 1);
    issue(f, HD, 0x90, 0, 0, 0); /* diagnostics */
    assert_true(irq(f, HD));
    assert_int_equal(get(f, HD, R_STATUS), READY);
}

/* A packet, its data by PIO in blocks of at most `limit` bytes: what was read; the sense key in the error register. */
static unsigned packet(Fixture *f, const uint8_t *cdb, uint16_t limit, void *buf, uint8_t *error)
{
    unsigned got = 0;

    issue(f, CD, 0xa0, 0, (uint64_t)limit << 8, 0);
    assert_int_equal(wait_not_busy(f, CD) & DRQ, DRQ);
    assert_int_equal(get(f, CD, R_COUNT), 1); /* the command is expected */
    write_block(f, CD, cdb, 12);
    for (;;) {
        assert_true(QTEST_WAIT(irq(f, CD)));
        if (!(get(f, CD, R_STATUS) & DRQ)) {
            break;
        }
        unsigned len = get(f, CD, R_MID) | (unsigned)get(f, CD, R_HIGH) << 8;

        assert_int_equal(get(f, CD, R_COUNT), 2);
        assert_in_range(len, 1, limit);
        read_block(f, CD, (char *)buf + got, len);
        got += len;
    }
    assert_int_equal(get(f, CD, R_COUNT), 3);
    *error = get(f, CD, R_ERROR) >> 4;
    return got;
}

static void test_packets(void **state)
{
    Fixture *f = *state;
    uint8_t sector[2048], in[2 * 2048], error;
    FILE *disc = fopen(f->disc, "r+b");

    qtest_fill(sector, sizeof(sector), 4);
    assert_non_null(disc);
    assert_int_equal(fseek(disc, 17 * 2048, SEEK_SET), 0);
    assert_int_equal(fwrite(sector, 1, sizeof(sector), disc), sizeof(sector));
    assert_int_equal(fclose(disc), 0);
    packet(f, (const uint8_t[12]){0}, 64, in, &error);
    assert_int_equal(error, 6); /* unit attention */
    assert_int_equal(packet(f, (const uint8_t[12]){0x03, [4] = 18}, 64, in, &error), 18);
    assert_int_equal(error, 0);
    assert_int_equal(in[12], 0x29);
    assert_int_equal(packet(f, (const uint8_t[12]){0x12, [4] = 35}, 64, in, &error), 35);
    assert_int_equal(in[0], 5);
    assert_int_equal(packet(f, (const uint8_t[12]){0x28, [5] = 16, [8] = 2}, 700, in, &error), 4096);
    assert_memory_equal(in + 2048, sector, sizeof(sector));
    assert_int_equal(packet(f, (const uint8_t[12]){0x28, [2] = 1, [8] = 1}, 2048, in, &error), 0);
    assert_int_equal(error, 5);
    prd(f, 0, DATA, 2048, true);
    issue(f, CD, 0xa0, 1, 0, 0); /* by DMA */
    write_block(f, CD, (const uint8_t[12]){0x28, [5] = 17, [8] = 1}, 12);
    master_start(f, CD, true);
    assert_true(QTEST_WAIT(irq(f, CD)));
    assert_int_equal(get(f, CD, R_STATUS), READY);
    qtest_memread(f->qts, DATA, in, 2048);
    assert_memory_equal(in, sector, sizeof(sector));
    set(f, CD, R_STATUS, 0x08); /* DEVICE RESET: the signature again */
    assert_int_equal(get(f, CD, R_STATUS), 0);
    assert_int_equal(get(f, CD, R_HIGH), 0xeb);
}

static void test_reset_mid_io(void **state)
{
    Fixture *f = *state;

    prd(f, 0, DATA, 0, true);
    for (int round = 0; round < 6; round++) {
        issue(f, HD, round % 2 ? 0xc8 : 0x20, 0, 0, 128);
        if (round < 2) {
            qtest_outb(f->qts, ALT_STATUS(HD), 4);
            qtest_outb(f->qts, ALT_STATUS(HD), 0);
        } else {
            if (round % 2) {
                master_start(f, HD, true);
            }
            if (round >= 4) {
                wait_not_busy(f, HD);
            }
            qtest_qmp_ok(f->qts, "{'execute': 'system_reset'}");
            json_object_put(qtest_qmp_event(f->qts, "RESET"));
            qpci_enable(f->dev);
        }
        assert_int_equal(get(f, HD, R_STATUS), READY);
        assert_int_equal(master_status(f, HD) & 1, 0);
    }
    assert_int_equal(dma(f, HD, 0x25, 0, 128, true), READY);
}

/* Registers and tables of noise: the channel works afterwards. */
static void test_noise(void **state)
{
    Fixture *f = *state;
    uint8_t noise[64];

    for (unsigned round = 0; round < 200; round++) {
        int channel = (int)(round % 2);

        qtest_fill(noise, sizeof(noise), round);
        prd(f, 0, DATA + noise[0] * 2u, (uint16_t)(noise[1] * 256), noise[2] & 1);
        prd(f, 1, DATA, 0, true);
        for (unsigned i = 0; i < 40; i++) {
            unsigned reg = noise[i] % 9;

            if (reg == R_DATA) {
                qtest_outw(f->qts, channel ? 0x170 : 0x1f0, noise[i + 1]);
            } else if (reg == 8) {
                qpci_writeb(f->dev, BM, noise[i + 1] % 16, noise[i + 2]);
            } else {
                set(f, channel, reg, noise[i + 1]);
            }
            get(f, channel, noise[i + 2] % 8);
        }
        qpci_writeb(f->dev, BM, 8u * (unsigned)channel, 0);
        qtest_outb(f->qts, ALT_STATUS(channel), 4);
        qtest_outb(f->qts, ALT_STATUS(channel), 0);
    }
    prd(f, 0, DATA, 512, true);
    assert_int_equal(dma(f, HD, 0xc8, 0, 1, true), READY);
}

static void test_places(void **state)
{
    static const struct {
        const char *args, *text;
    } cases[] = {
        {"-device ide-hd,bus=ide.2,drive=d", "no IDE bus 'ide.2' (there are ide.0, ide.1)"},
        {"-device ide-cd,bus=ide.0,unit=2", "out of range"},
        {"-device ide-cd,id=c -device ide-hd,bus=ide.0,unit=0,drive=d", "ide.0 is taken by 'c'"},
        {"-device ide-cd -device ide-cd -device ide-cd -device ide-cd -device ide-hd,drive=d", "is taken by"},
        {"-hda null-co:// -drive index=4,file=null-co://", "no such place (allowed 0..3)"},
        {"-device piix4-ide", "port 0x1f0 belongs to"},
        {"-machine q35 -device piix4-ide -device piix3-ide", "port 0x1f0 belongs to"},
        {"-machine x-remote,vfio-user=on -device piix3-ide", "piix3-ide"},
    };
    QtestState *s;

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *err = NULL, *args = g_strdup_printf("-machine pc -drive id=d,file=null-co://,if=none %s", cases[i].args);

        assert_int_equal(qtest_run_to_exit(args, &err), 1);
        if (!strstr(err, cases[i].text)) {
            fail_msg("expected '%s' in: %s", cases[i].text, err);
        }
    }
    s = qtest_start("-machine q35 -nodefaults -device piix4-ide,id=old -device ide-cd,bus=old.1,unit=1");
    qtest_outb(s, 0x176, 0xb0);
    assert_int_equal(qtest_inb(s, 0x175), 0xeb);
    qtest_end(s);
    s = qtest_start("-machine pc -nodefaults -hdb null-co:// -cdrom null-co:// -hdd null-co://");
    qtest_outb(s, 0x1f6, 0xb0);
    assert_int_equal(qtest_inb(s, 0x1f7), READY);
    assert_int_equal(qtest_inb(s, 0x175), 0xeb);
    qtest_outb(s, 0x176, 0xb0);
    assert_int_equal(qtest_inb(s, 0x177), READY);
    qtest_end(s);
    s = qtest_start("-machine pc -nodefaults -hdc null-co://");
    qtest_outb(s, 0x176, 0xa0);
    assert_int_equal(qtest_inb(s, 0x177), READY);
    qtest_end(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_registers),  TEST(test_identify), TEST(test_pio),     TEST(test_geometry),     TEST(test_dma),
        TEST(test_dma_tables), TEST(test_errors),   TEST(test_packets), TEST(test_reset_mid_io),
        TEST(test_noise),      cmocka_unit_test(test_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
