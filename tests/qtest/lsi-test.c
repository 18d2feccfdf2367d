/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lsi53c895a and its disks as a driver sees them (53C895A technical manual, chapters 4 and 5; SPC-3, SBC-3, MMC-5): a few
 * lines of SCRIPTS carry each command.  In process, and behind a socket.
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

#define DISK_SIZE   (16u << 20)
#define DISC_BLOCKS 600u
#define SCRIPT      0x1000000u
#define MSG_OUT     0x1001000u
#define CDB         0x1001100u
#define STATUS      0x1001200u
#define MSG_IN      0x1001300u
#define TABLE       0x1001400u
#define DATA        0x1100000u
#define CD_ID       5
#define REGS        1
#define RAM         2

enum {
    SCNTL1 = 0x01, SCID = 0x04, SFBR = 0x08, SSID = 0x0a, DSTAT = 0x0c, SSTAT2 = 0x0f, DSA = 0x10, ISTAT0 = 0x14,
    ISTAT1 = 0x15, CTEST2 = 0x1a, TEMP = 0x1c, DBC = 0x24, DSP = 0x2c, DSPS = 0x30, SCRATCHA = 0x34, DIEN = 0x39,
    DCNTL = 0x3b, SIEN0 = 0x40, SIST0 = 0x42, SIST1 = 0x43, STIME1 = 0x49, STEST4 = 0x52, CCNTL0 = 0x56, SCRATCHB = 0x5c,
    PMJAD1 = 0xc0, PMJAD2 = 0xc4, RBC = 0xc8, UA = 0xcc, ESA = 0xd0, IA = 0xd4, SBC = 0xd8,
};
enum { DIP = 0x01, SIP = 0x02, INTF = 0x04, CON = 0x08, SIGP = 0x20, SRST = 0x40, ABRT = 0x80 };
enum { P_DATA_OUT, P_DATA_IN, P_COMMAND, P_STATUS, P_MSG_OUT = 6, P_MSG_IN };

/* Instructions. */
#define MOVE(count, phase)   (1u << 27 | (uint32_t)(phase) << 24 | (count))
#define MOVE_TABLE(phase)    (1u << 28 | 1u << 27 | (uint32_t)(phase) << 24)
#define SELECT_ATN(id)       (0x41000000u | (uint32_t)(id) << 16)
#define WAIT_DISC            0x48000000u
#define WAIT_RESEL           0x50000000u
#define CLEAR_ACK            0x60000040u
#define JUMP                 0x80080000u
#define JUMP_IF_DATA(v)      (0x800c0000u | (v))
#define JUMP_WHEN(phase)     (0x800b0000u | (uint32_t)(phase) << 24)
#define INT                  0x98080000u
#define INT_FLY              0x98180000u

typedef struct Fixture {
    QtestState *qts;
    QpciDevice *dev;
    char *disk, *disc;
    uint32_t at; /* where the next instruction goes */
    uint8_t status;
    uint32_t moved; /* bytes of data of the last command */
} Fixture;

static void file_write(const char *path, long at, const void *data, size_t len)
{
    FILE *file = fopen(path, "r+b");

    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

/* disk: further properties of the scsi-hd. */
static void start(Fixture *f, const char *drive, const char *disk)
{
    g_autofree char *drives = g_strdup_printf("%s -drive id=d1,file=%s,format=raw,if=none,readonly=on", drive,
                                              f->disc);
    g_autofree char *disks = g_strdup_printf(
        "-device scsi-hd,bus=dev0.0,drive=d0,serial=disk-7,wwn=0x5000c50015ea71ac,rotation_rate=1,lun=0%s "
        "-device scsi-cd,bus=dev0.0,drive=d1,scsi-id=%d", disk, CD_ID);

    f->qts = qtest_start_controller(drives, "lsi53c895a", disks, "");
    f->dev = qpci_find(f->qts, 0x1000, 0x0012);
    assert_non_null(f->dev);
    qpci_enable(f->dev);
    qpci_writeb(f->dev, REGS, SCID, 0x47);
}

static Fixture *fixture_new(void)
{
    Fixture *f = g_new0(Fixture, 1);

    f->disk = qtest_file_new(DISK_SIZE);
    f->disc = qtest_file_new(DISC_BLOCKS * 2048);
    return f;
}

static int setup(void **state)
{
    Fixture *f = fixture_new();
    g_autofree char *drive = g_strdup_printf("-drive id=d0,file=%s,format=raw,if=none,discard=unmap", f->disk);

    start(f, drive, "");
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

/* --- SCRIPTS --- */

static void script_at(Fixture *f, uint32_t at)
{
    f->at = at;
}

static void emit(Fixture *f, uint32_t insn, uint32_t arg)
{
    qtest_writel(f->qts, f->at, insn);
    qtest_writel(f->qts, f->at + 4, arg);
    f->at += 8;
}

static uint8_t istat(Fixture *f)
{
    return qpci_readb(f->dev, REGS, ISTAT0);
}

static void script_run(Fixture *f, uint32_t at)
{
    qpci_writel(f->dev, REGS, DSP, at);
}

static void script_wait(Fixture *f, uint8_t bits)
{
    assert_true(QTEST_WAIT(istat(f) & (DIP | SIP)));
    assert_int_equal(istat(f) & (DIP | SIP), bits);
}

/* Ended by INT with this number. */
static void script_ended(Fixture *f, uint32_t number)
{
    script_wait(f, DIP);
    assert_int_equal(qpci_readb(f->dev, REGS, DSTAT), 0x84);
    assert_int_equal(qpci_readl(f->dev, REGS, DSPS), number);
}

/* --- commands --- */

static void emit_head(Fixture *f, unsigned id, const uint8_t *msg, unsigned msg_len, const uint8_t *cdb, unsigned cdb_len)
{
    qtest_memwrite(f->qts, MSG_OUT, msg, msg_len);
    qtest_memwrite(f->qts, CDB, cdb, cdb_len);
    emit(f, SELECT_ATN(id), 0);
    emit(f, MOVE(msg_len, P_MSG_OUT), MSG_OUT);
    emit(f, MOVE(cdb_len, P_COMMAND), CDB);
}

static unsigned cdb_len(uint8_t opcode)
{
    static const uint8_t by_group[8] = {6, 10, 10, 6, 16, 12, 6, 6};

    return by_group[opcode >> 5];
}

/* One command without disconnection; len bytes of data at DATA. */
static uint8_t command(Fixture *f, unsigned id, unsigned lun, const uint8_t *cdb, uint32_t len, bool out)
{
    uint8_t identify = (uint8_t)(0x80 | lun);
    uint32_t ending = SCRIPT + 0x100;

    script_at(f, ending);
    emit(f, MOVE(1, P_STATUS), STATUS);
    emit(f, MOVE(1, P_MSG_IN), MSG_IN);
    emit(f, INT, 0x600d);
    script_at(f, SCRIPT);
    emit_head(f, id, &identify, 1, cdb, cdb_len(cdb[0]));
    emit(f, JUMP_WHEN(P_STATUS), ending);
    if (len) {
        emit(f, MOVE(len, out ? P_DATA_OUT : P_DATA_IN), DATA);
    }
    emit(f, JUMP, ending);
    script_run(f, SCRIPT);
    assert_true(QTEST_WAIT(istat(f) & (DIP | SIP)));
    f->moved = len;
    if (istat(f) & SIP) { /* less data than there was room for */
        assert_int_equal(qpci_readb(f->dev, REGS, SIST0), 0x80);
        f->moved = len - (qpci_readl(f->dev, REGS, DBC) & 0xffffff);
        script_run(f, ending);
    }
    script_ended(f, 0x600d);
    assert_int_equal(qtest_readb(f->qts, MSG_IN), 0);
    assert_int_equal(istat(f) & CON, 0);
    f->status = qtest_readb(f->qts, STATUS);
    return f->status;
}

/* Sense key, code and qualifier. */
static uint32_t sense(Fixture *f, unsigned id, unsigned lun)
{
    uint8_t data[18];

    assert_int_equal(command(f, id, lun, (const uint8_t[16]){0x03, [4] = 18}, 18, false), 0);
    qtest_memread(f->qts, DATA, data, sizeof(data));
    assert_int_equal(data[0] & 0x7f, 0x70);
    return (uint32_t)(data[2] << 16 | data[12] << 8 | data[13]);
}

static void expect_sense(Fixture *f, unsigned id, const uint8_t *cdb, uint32_t len, bool out, uint32_t expected)
{
    assert_int_equal(command(f, id, 0, cdb, len, out), 2);
    assert_int_equal(sense(f, id, 0), expected);
}

static void ready(Fixture *f, unsigned id)
{
    static const uint8_t tur[16] = {0};

    expect_sense(f, id, tur, 0, false, 0x062900); /* power on */
    assert_int_equal(command(f, id, 0, tur, 0, false), 0);
}

static void get(Fixture *f, unsigned id, const uint8_t *cdb, uint8_t *buf, uint32_t len)
{
    qtest_memset(f->qts, DATA, 0xee, len);
    assert_int_equal(command(f, id, 0, cdb, len, false), 0);
    qtest_memread(f->qts, DATA, buf, len);
}

static void put32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> (24 - 8 * i));
    }
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* --- tests: the chip --- */

static void test_registers(void **state)
{
    Fixture *f = *state;
    uint8_t block[64], back[64];

    assert_int_equal(f->dev->bars[0].size, 0x100);
    assert_int_equal(f->dev->bars[REGS].size, 0x400);
    assert_int_equal(f->dev->bars[RAM].size, 0x2000);
    assert_int_equal(qpci_readb(f->dev, REGS, 0), 0xc0);
    assert_int_equal(qpci_readb(f->dev, 0, 0), 0xc0);
    assert_int_equal(qpci_readl(f->dev, REGS, DSTAT) & 0xe2f0fffd, 0x02000080);
    assert_int_equal(qpci_readb(f->dev, REGS, STEST4), 0xe0);
    qpci_writel(f->dev, REGS, SCRATCHA, 0x12345678);
    assert_int_equal(qpci_readb(f->dev, 0, SCRATCHA + 2), 0x34);
    qpci_writeb(f->dev, REGS, CTEST2, 0x08); /* PCICIE: where the BARs are */
    assert_int_equal(qpci_readl(f->dev, REGS, SCRATCHA), f->dev->bars[REGS].addr);
    assert_int_equal(qpci_readl(f->dev, REGS, SCRATCHB), f->dev->bars[RAM].addr);
    qpci_writeb(f->dev, REGS, ISTAT0, SRST);
    assert_int_equal(qpci_readl(f->dev, REGS, SCRATCHA), 0);
    qpci_writeb(f->dev, REGS, ISTAT0, 0);
    qtest_fill(block, sizeof(block), 3);
    qtest_memwrite(f->qts, f->dev->bars[RAM].addr + 0x1000, block, sizeof(block));
    qtest_memread(f->qts, f->dev->bars[RAM].addr + 0x1000, back, sizeof(back));
    assert_memory_equal(block, back, sizeof(block));
    if (qtest_is_split(f->qts)) { /* SCRIPTS RAM is memory on both sides */
        int64_t before = qtest_messages_sent(f->qts);

        qtest_memwrite(f->qts, f->dev->bars[RAM].addr, block, sizeof(block));
        assert_int_equal(qtest_messages_sent(f->qts), before);
    }
    /* The general purpose timer: 125 us << 3. */
    qpci_writeb(f->dev, REGS, SIEN0 + 1, 0x02);
    qpci_writeb(f->dev, REGS, STIME1, 4);
    qtest_clock_step(f->qts, 900000);
    assert_int_equal(qpci_readb(f->dev, REGS, SIST1), 0);
    qtest_clock_step(f->qts, 200000);
    assert_true(QTEST_WAIT(istat(f) & SIP));
    assert_int_equal(qpci_readb(f->dev, REGS, SIST1), 2);
    assert_int_equal(istat(f) & SIP, 0);
}

/* Load, store, moves of memory and arithmetic, from guest memory and from SCRIPTS RAM. */
static void test_instructions(void **state)
{
    Fixture *f = *state;
    const uint32_t places[] = {SCRIPT, (uint32_t)f->dev->bars[RAM].addr};

    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        uint32_t at = places[i];

        qtest_writel(f->qts, DATA, 0x11223344);
        qtest_writel(f->qts, DATA + 0x100, 0xcafe0000);
        qpci_writel(f->dev, REGS, DSA, DATA + 0x80);
        script_at(f, at);
        emit(f, 0xe1000000u | SCRATCHA << 16 | 4, DATA);               /* LOAD SCRATCHA */
        emit(f, 0xf1000000u | SCRATCHB << 16 | 2, 0x82);               /* LOAD SCRATCHB, 2 bytes, DSA relative */
        emit(f, 0x7e000000u | SCRATCHA << 16 | 0xf0 << 8, 0);          /* SCRATCHA0 = 44 + f0 = 34, carry */
        emit(f, 0x7f000000u | (SCRATCHA + 1) << 16 | 0x01 << 8, 0);    /* SCRATCHA1 = 33 + 1 + carry = 35 */
        emit(f, 0x74000000u | (SCRATCHA + 2) << 16 | 0x0f << 8, 0);    /* SFBR = 22 & 0f */
        emit(f, 0x6a000000u | (SCRATCHA + 3) << 16 | 0x40 << 8, 0);    /* SCRATCHA3 = SFBR | 40 */
        emit(f, 0xe0000000u | SCRATCHA << 16 | 4, DATA + 0x10);        /* STORE */
        emit(f, 0xe0000000u | SCRATCHB << 16 | 2, DATA + 0x14);
        emit(f, 0xc0000008u, DATA);                                    /* MOVE MEMORY 8 */
        qtest_writel(f->qts, f->at, DATA + 0x20);
        f->at += 4;
        emit(f, 0xc0000004u, DATA + 0x10);                             /* ... to a register of its own */
        qtest_writel(f->qts, f->at, (uint32_t)f->dev->bars[REGS].addr + TEMP);
        f->at += 4;
        emit(f, JUMP_IF_DATA(3), at);                                  /* SFBR is 2: not taken */
        emit(f, JUMP_IF_DATA(2), f->at + 16);
        emit(f, INT, 0xbad);
        emit(f, 0x88880000u, 8);                                       /* CALL over the next, relative */
        emit(f, INT, 0x77);
        emit(f, INT_FLY, 0);
        emit(f, 0x90080000u, 0);                                       /* RETURN */
        script_run(f, at);
        script_ended(f, 0x77);
        assert_int_equal(istat(f) & INTF, INTF);
        qpci_writeb(f->dev, REGS, ISTAT0, INTF);
        assert_int_equal(istat(f) & INTF, 0);
        assert_int_equal(qtest_readl(f->qts, DATA + 0x10), 0x42223534);
        assert_int_equal(qtest_readw(f->qts, DATA + 0x14), 0xcafe);
        assert_int_equal(qtest_readl(f->qts, DATA + 0x20), 0x11223344);
    }
}

/* Registers as I/O ports: source and destination of a memory move, and no other ports. */
static void test_io_moves(void **state)
{
    Fixture *f = *state;
    const uint32_t io = (uint32_t)f->dev->bars[0].addr;

    qtest_writel(f->qts, DATA, 0xfeedf00d);
    for (int own = 1; own >= 0; own--) {
        qpci_writeb(f->dev, REGS, 0x38, 0x10); /* DMODE: DIOM */
        script_at(f, SCRIPT);
        emit(f, 0xc0000004u, DATA);
        qtest_writel(f->qts, f->at, own ? io + SCRATCHA : 0x70);
        f->at += 4;
        emit(f, INT, 0x10);
        script_run(f, SCRIPT);
        if (own) {
            script_ended(f, 0x10);
            assert_int_equal(qpci_readl(f->dev, REGS, SCRATCHA), 0xfeedf00d);
        } else {
            script_wait(f, DIP);
            assert_int_equal(qpci_readb(f->dev, REGS, DSTAT), 0xa0);
        }
    }
    qpci_writeb(f->dev, REGS, 0x38, 0x20); /* SIOM */
    script_at(f, SCRIPT);
    emit(f, 0xc0000004u, io + SCRATCHA);
    qtest_writel(f->qts, f->at, DATA + 8);
    f->at += 4;
    emit(f, INT, 0x11);
    script_run(f, SCRIPT);
    script_ended(f, 0x11);
    assert_int_equal(qtest_readl(f->qts, DATA + 8), 0xfeedf00d);
}

static void test_bad_scripts(void **state)
{
    Fixture *f = *state;

    /* Nobody answers. */
    script_at(f, SCRIPT);
    emit(f, SELECT_ATN(3), 0);
    emit(f, JUMP_WHEN(P_MSG_OUT), SCRIPT);
    script_run(f, SCRIPT);
    script_wait(f, SIP);
    assert_int_equal(qpci_readw(f->dev, REGS, SIST0), 0x0400);
    assert_int_equal(qpci_readl(f->dev, REGS, DSP), SCRIPT + 16);
    /* Nothing is moved; no memory; nobody is connected. */
    script_at(f, SCRIPT);
    emit(f, MOVE(0, P_DATA_IN), DATA);
    script_run(f, SCRIPT);
    script_wait(f, DIP);
    assert_int_equal(qpci_readb(f->dev, REGS, DSTAT), 0x81);
    script_run(f, 0xf0000000u);
    script_wait(f, DIP);
    assert_int_equal(qpci_readb(f->dev, REGS, DSTAT), 0xa0);
    script_at(f, SCRIPT);
    emit(f, MOVE(1, P_STATUS), DATA);
    script_run(f, SCRIPT);
    script_wait(f, SIP);
    assert_int_equal(qpci_readb(f->dev, REGS, SIST0), 0x04);
    /* It never ends: everybody else goes on, and it can be aborted. */
    script_at(f, SCRIPT);
    emit(f, JUMP, SCRIPT);
    script_run(f, SCRIPT);
    assert_int_equal(qpci_readb(f->dev, REGS, ISTAT1), 2);
    for (int i = 0; i < 20; i++) {
        qtest_qmp_ok(f->qts, "{'execute': 'query-status'}");
        assert_int_equal(istat(f) & (DIP | SIP), 0);
    }
    qpci_writeb(f->dev, REGS, ISTAT0, ABRT);
    script_wait(f, DIP);
    qpci_writeb(f->dev, REGS, ISTAT0, 0);
    assert_int_equal(qpci_readb(f->dev, REGS, DSTAT), 0x90);
    assert_int_equal(qpci_readb(f->dev, REGS, ISTAT1), 0);
    ready(f, 0);
}

static void test_intx(void **state)
{
    Fixture *f = *state;

    qtest_irq_intercept_in(f->qts, "ioapic");
    script_at(f, SCRIPT);
    emit(f, INT, 1);
    script_run(f, SCRIPT);
    script_wait(f, DIP);
    assert_false(qpci_any_line(f->qts)); /* masked */
    qpci_writeb(f->dev, REGS, DIEN, 0x04);
    assert_true(QTEST_WAIT(qpci_any_line(f->qts)));
    qpci_readb(f->dev, REGS, DSTAT);
    assert_true(QTEST_WAIT(!qpci_any_line(f->qts)));
}

/*
 * As SeaBIOS has it: a selection without attention and IDENTIFY all the same, an empty instruction in place of data, and
 * the next command without waiting for the bus to be free.
 */
static void test_firmware_scripts(void **state)
{
    Fixture *f = *state;
    const uint8_t identify = 0x80, ready[16] = {0}, inquiry[16] = {0x12, [4] = 36};

    for (int round = 0; round < 4; round++) {
        qtest_memwrite(f->qts, MSG_OUT, &identify, 1);
        qtest_memwrite(f->qts, CDB, round == 2 ? inquiry : ready, sizeof(ready));
        script_at(f, SCRIPT);
        emit(f, SELECT_ATN(0) & ~0x01000000u, 0);
        emit(f, MOVE(1, P_MSG_OUT), MSG_OUT);
        emit(f, MOVE(16, P_COMMAND), CDB);
        emit(f, round == 2 ? MOVE(36, P_DATA_IN) : 0, round == 2 ? DATA : 0);
        emit(f, MOVE(1, P_STATUS), STATUS);
        emit(f, MOVE(1, P_MSG_IN), MSG_IN);
        emit(f, INT, 0x401);
        script_run(f, SCRIPT);
        script_ended(f, 0x401);
        assert_int_equal(qtest_readb(f->qts, STATUS), round ? 0 : 2); /* power on: unit attention */
        assert_int_equal(qtest_readb(f->qts, MSG_IN), 0);
    }
    assert_int_equal(qtest_readl(f->qts, DATA + 8), 0x554d4551); /* "QEMU" */
}

/* Two tagged commands are sent away, come back by reselection, and go on where the chip's phase mismatch registers say. */
static void test_reselection(void **state)
{
    Fixture *f = *state;
    uint8_t read[10] = {0x28, [8] = 8}, block[4096];
    unsigned seen = 0;

    ready(f, 0);
    for (uint8_t tag = 1; tag <= 2; tag++) {
        const uint8_t msg[] = {0xc0, 0x20, tag};

        read[5] = (uint8_t)(tag * 16);
        qtest_fill(block, sizeof(block), tag);
        file_write(f->disk, tag * 16 * 512, block, sizeof(block));
        script_at(f, SCRIPT);
        emit_head(f, 0, msg, 3, read, 10);
        emit(f, MOVE(2, P_MSG_IN), MSG_IN); /* SAVE DATA POINTER, DISCONNECT */
        emit(f, WAIT_DISC, 0);
        emit(f, INT, 0xd15c);
        script_run(f, SCRIPT);
        script_ended(f, 0xd15c);
        assert_int_equal(qtest_readw(f->qts, MSG_IN), 0x0402);
    }
    qpci_writeb(f->dev, REGS, CCNTL0, 0x80); /* ENPMJ */
    qpci_writel(f->dev, REGS, DSA, TABLE);
    qpci_writel(f->dev, REGS, PMJAD1, SCRIPT + 0x200);
    for (int i = 0; i < 2; i++) {
        uint8_t tag, back[4096];

        qtest_writel(f->qts, TABLE + 8, 0x10001000); /* room for the data, and more */
        qtest_writel(f->qts, TABLE + 12, DATA);
        qtest_writel(f->qts, TABLE + 8, 0x10001100);
        script_at(f, SCRIPT + 0x200);
        emit(f, MOVE(1, P_STATUS), STATUS);
        emit(f, MOVE(1, P_MSG_IN), MSG_IN + 8);
        emit(f, INT, 0x600d);
        script_at(f, SCRIPT);
        emit(f, WAIT_RESEL, SCRIPT);
        emit(f, MOVE(3, P_MSG_IN), MSG_IN);
        emit(f, CLEAR_ACK, 0);
        emit(f, MOVE_TABLE(P_DATA_IN), 8);
        emit(f, INT, 0xbad);
        script_run(f, SCRIPT);
        script_ended(f, 0x600d);
        assert_int_equal(qpci_readb(f->dev, REGS, SSID), 0x80);
        assert_int_equal(qtest_readw(f->qts, MSG_IN), 0x2080);
        tag = qtest_readb(f->qts, MSG_IN + 2);
        seen |= 1u << tag;
        qtest_fill(block, sizeof(block), tag);
        qtest_memread(f->qts, DATA, back, sizeof(back));
        assert_memory_equal(back, block, sizeof(block));
        assert_int_equal(qpci_readl(f->dev, REGS, RBC), 0x10000100);
        assert_int_equal(qpci_readl(f->dev, REGS, UA), DATA + 4096);
        assert_int_equal(qpci_readl(f->dev, REGS, ESA), TABLE + 8);
        assert_int_equal(qpci_readl(f->dev, REGS, IA), SCRIPT + 24);
        assert_int_equal(qpci_readl(f->dev, REGS, SBC), 4096);
    }
    assert_int_equal(seen, 6);
    /* Nobody is left: SIGP ends the wait at the alternative address. */
    script_at(f, SCRIPT);
    emit(f, WAIT_RESEL, SCRIPT + 16);
    emit(f, INT, 0xbad);
    emit(f, INT, 0x519);
    script_run(f, SCRIPT);
    assert_int_equal(qpci_readb(f->dev, REGS, ISTAT1), 2);
    qpci_writeb(f->dev, REGS, ISTAT0, SIGP);
    script_ended(f, 0x519);
    assert_int_equal(qpci_readb(f->dev, REGS, CTEST2) & 0x40, 0x40);
    assert_int_equal(istat(f) & SIGP, 0);
}

static void test_messages(void **state)
{
    Fixture *f = *state;
    const uint8_t sync[] = {0x80, 1, 3, 1, 5, 60}, abort[] = {0x80, 6}, odd[] = {0x80, 0x1f};
    const struct {
        const uint8_t *out;
        unsigned len, in_len;
        uint8_t in[5];
    } talks[] = {{sync, 6, 5, {1, 3, 1, 10, 31}}, {odd, 2, 1, {7}}};

    ready(f, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(talks); i++) {
        uint8_t in[5];

        script_at(f, SCRIPT);
        qtest_memwrite(f->qts, MSG_OUT, talks[i].out, talks[i].len);
        emit(f, SELECT_ATN(0), 0);
        emit(f, MOVE(talks[i].len, P_MSG_OUT), MSG_OUT);
        emit(f, MOVE(talks[i].in_len, P_MSG_IN), MSG_IN);
        emit(f, 0x58000008u, 0); /* SET ATN: the target listens before it goes on */
        emit(f, CLEAR_ACK, 0);
        emit(f, MOVE(2, P_MSG_OUT), MSG_OUT + 16);
        emit(f, WAIT_DISC, 0);
        emit(f, INT, 0xab);
        qtest_memwrite(f->qts, MSG_OUT + 16, abort, 2);
        script_run(f, SCRIPT);
        script_ended(f, 0xab);
        qtest_memread(f->qts, MSG_IN, in, sizeof(in));
        assert_memory_equal(in, talks[i].in, talks[i].in_len);
        assert_int_equal(istat(f) & CON, 0);
    }
    assert_int_equal(command(f, 0, 0, (const uint8_t[16]){0}, 0, false), 0);
}

static void test_reset_mid_io(void **state)
{
    Fixture *f = *state;
    const uint8_t msg[] = {0xc0, 0x20, 9};
    uint8_t read[10] = {0x28, [7] = 8};

    ready(f, 0);
    for (int round = 0; round < 3; round++) {
        script_at(f, SCRIPT);
        emit_head(f, 0, msg, 3, read, 10);
        emit(f, MOVE(2, P_MSG_IN), MSG_IN);
        emit(f, WAIT_RESEL, SCRIPT);
        emit(f, JUMP, f->at);
        script_run(f, SCRIPT);
        if (round == 0) {
            qpci_writeb(f->dev, REGS, SCNTL1, 0x08);
            script_wait(f, SIP);
            assert_int_equal(qpci_readb(f->dev, REGS, SIST0), 0x02);
            qpci_writeb(f->dev, REGS, SCNTL1, 0);
        } else if (round == 1) {
            qpci_writeb(f->dev, REGS, ISTAT0, SRST);
            qpci_writeb(f->dev, REGS, ISTAT0, 0);
        } else {
            qtest_qmp_ok(f->qts, "{'execute': 'system_reset'}");
            json_object_put(qtest_qmp_event(f->qts, "RESET"));
            qpci_enable(f->dev);
        }
        qpci_readb(f->dev, REGS, DSTAT);
        qpci_readw(f->dev, REGS, SIST0);
        assert_int_equal(qpci_readb(f->dev, REGS, ISTAT1), 0);
        ready(f, 0);
    }
}

/* --- tests: the disk --- */

static void test_identity(void **state)
{
    Fixture *f = *state;
    uint8_t buf[64];

    get(f, 0, (const uint8_t[16]){0x12, [4] = 36}, buf, 36);
    assert_int_equal(buf[0], 0);
    assert_memory_equal(buf + 8, "QEMU    QEMU HARDDISK   2.5+", 28);
    get(f, 0, (const uint8_t[16]){0x12, 1, 0, [4] = 10}, buf, 10);
    assert_memory_equal(buf, ((uint8_t[]){0, 0, 0, 6, 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2}), 10);
    get(f, 0, (const uint8_t[16]){0x12, 1, 0x80, [4] = 10}, buf, 10);
    assert_memory_equal(buf + 3, "\6disk-7", 7);
    get(f, 0, (const uint8_t[16]){0x12, 1, 0x83, [4] = 26}, buf, 26);
    assert_memory_equal(buf + 4, "\2\0\0\6disk-7\1\3\0\10\x50\x00\xc5\x00\x15\xea\x71\xac", 22);
    get(f, 0, (const uint8_t[16]){0x12, 1, 0xb0, [4] = 64}, buf, 64);
    assert_int_equal(get32(buf + 24), 255);
    get(f, 0, (const uint8_t[16]){0x12, 1, 0xb1, [4] = 64}, buf, 64);
    assert_int_equal(buf[5], 1);
    get(f, 0, (const uint8_t[16]){0x12, 1, 0xb2, [4] = 8}, buf, 8);
    assert_int_equal(buf[5], 0xe0);
    ready(f, 0); /* INQUIRY has left the Unit Attention alone */
    get(f, 0, (const uint8_t[16]){0x25}, buf, 8);
    assert_int_equal(get32(buf), DISK_SIZE / 512 - 1);
    assert_int_equal(get32(buf + 4), 512);
    get(f, 0, (const uint8_t[16]){0x9e, 0x10, [13] = 32}, buf, 32);
    assert_int_equal(get32(buf + 4), DISK_SIZE / 512 - 1);
    assert_int_equal(buf[14], 0x80);
    get(f, 0, (const uint8_t[16]){0xa0, [9] = 16}, buf, 16);
    assert_int_equal(get32(buf), 8);
    /* A unit that is not there. */
    assert_int_equal(command(f, 0, 1, (const uint8_t[16]){0x12, [4] = 36}, 36, false), 0);
    assert_int_equal(qtest_readb(f->qts, DATA), 0x7f);
    assert_int_equal(command(f, 0, 1, (const uint8_t[16]){0}, 0, false), 2);
    assert_int_equal(sense(f, 0, 1), 0x052500);
    /* More room than data. */
    assert_int_equal(command(f, 0, 0, (const uint8_t[16]){0x12, [4] = 255}, 255, false), 0);
    assert_int_equal(f->moved, 36);
}

static void test_data(void **state)
{
    Fixture *f = *state;
    const uint32_t len = 600u << 10; /* more than a request buffers */
    g_autofree uint8_t *out = g_malloc(len), *in = g_malloc(len);
    g_autofree char *file = NULL;
    static const uint8_t writes[] = {0x0a, 0x2a, 0xaa, 0x8a, 0x2e}, reads[] = {0x08, 0x28, 0xa8, 0x88, 0x28};
    uint8_t cdb[16];

    ready(f, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(writes); i++) {
        const uint8_t lba = (uint8_t)(16 * i + 1);

        qtest_fill(out, 4096, i);
        qtest_memwrite(f->qts, DATA, out, 4096);
        for (unsigned read = 0; read < 2; read++) {
            memset(cdb, 0, sizeof(cdb));
            cdb[0] = read ? reads[i] : writes[i];
            cdb[cdb_len(cdb[0]) == 6 ? 3 : cdb_len(cdb[0]) == 16 ? 9 : 5] = lba;
            cdb[cdb_len(cdb[0]) == 6 ? 4 : cdb_len(cdb[0]) == 10 ? 8 : cdb_len(cdb[0]) == 12 ? 9 : 13] = 8;
            assert_int_equal(command(f, 0, 0, cdb, 4096, !read), 0);
            assert_int_equal(f->moved, 4096);
        }
        qtest_memread(f->qts, DATA, in, 4096);
        assert_memory_equal(in, out, 4096);
        g_free(g_steal_pointer(&file));
        assert_true(g_file_get_contents(f->disk, &file, NULL, NULL));
        assert_memory_equal(file + lba * 512, out, 4096);
    }
    qtest_fill(out, len, 99);
    qtest_memwrite(f->qts, DATA, out, len);
    put32(memset(cdb, 0, sizeof(cdb)), 0);
    cdb[0] = 0x2a;
    put32(cdb + 2, 8192);
    cdb[7] = (uint8_t)(len / 512 >> 8);
    cdb[8] = (uint8_t)(len / 512);
    assert_int_equal(command(f, 0, 0, cdb, len, true), 0);
    qtest_memset(f->qts, DATA, 0, len);
    cdb[0] = 0x28;
    assert_int_equal(command(f, 0, 0, cdb, len, false), 0);
    qtest_memread(f->qts, DATA, in, len);
    assert_memory_equal(in, out, len);
    cdb[0] = 0x2f; /* VERIFY: the medium, then against the bytes at DATA, then against others */
    assert_int_equal(command(f, 0, 0, cdb, 0, false), 0);
    cdb[1] = 2;
    assert_int_equal(command(f, 0, 0, cdb, len, true), 0);
    qtest_writeb(f->qts, DATA + 1000, (uint8_t)~out[1000]);
    cdb[7] = 0;
    cdb[8] = 8;
    expect_sense(f, 0, cdb, 4096, true, 0x0e1d00);
    assert_int_equal(command(f, 0, 0, (const uint8_t[16]){0x35}, 0, false), 0);
}

static void test_same_and_unmap(void **state)
{
    Fixture *f = *state;
    uint8_t same[16] = {0x93, [9] = 64, [12] = 4}, list[24] = {0, 22, 0, 16, [15] = 64, [18] = 4}, pattern[512];
    g_autofree char *file = NULL;

    ready(f, 0);
    qtest_fill(pattern, sizeof(pattern), 5);
    qtest_memwrite(f->qts, DATA, pattern, 512);
    assert_int_equal(command(f, 0, 0, same, 512, true), 0);
    assert_true(g_file_get_contents(f->disk, &file, NULL, NULL));
    for (unsigned i = 64; i < 64 + 1024; i += 77) {
        assert_memory_equal(file + i * 512, pattern, 512);
    }
    g_free(g_steal_pointer(&file));
    qtest_memwrite(f->qts, DATA, list, sizeof(list));
    assert_int_equal(command(f, 0, 0, (const uint8_t[16]){0x42, [8] = 24}, 24, true), 0);
    assert_true(g_file_get_contents(f->disk, &file, NULL, NULL));
    assert_int_equal(file[64 * 512 + 1], 0);
    assert_int_equal(file[(64 + 1023) * 512 + 1], 0);
    list[15] = list[12] = 0xff; /* beyond the end */
    qtest_memwrite(f->qts, DATA, list, sizeof(list));
    expect_sense(f, 0, (const uint8_t[16]){0x42, [8] = 24}, 24, true, 0x052100);
    same[12] = 0;
    expect_sense(f, 0, same, 0, false, 0x052400); /* no blocks: B0h says WSNZ */
}

static void test_mode(void **state)
{
    Fixture *f = *state;
    uint8_t buf[64], select[4 + 20] = {0, 0, 0, 0, 0x08, 18};

    ready(f, 0);
    get(f, 0, (const uint8_t[16]){0x1a, 0, 0x08, [4] = 32}, buf, 32);
    assert_int_equal(buf[3], 8);
    assert_int_equal(get32(buf + 4), DISK_SIZE / 512);
    assert_int_equal(buf[12], 0x08);
    assert_int_equal(buf[14] & 4, 4);
    qtest_memwrite(f->qts, DATA, select, sizeof(select)); /* WCE off */
    assert_int_equal(command(f, 0, 0, (const uint8_t[16]){0x15, 0x10, [4] = 24}, 24, true), 0);
    get(f, 0, (const uint8_t[16]){0x5a, 8, 0x08, [8] = 28}, buf, 28);
    assert_int_equal(buf[10] & 4, 0);
    get(f, 0, (const uint8_t[16]){0x1a, 8, 0x48, [4] = 24}, buf, 24); /* changeable */
    assert_int_equal(buf[6], 4);
    select[7] = 1; /* nobody can change that */
    qtest_memwrite(f->qts, DATA, select, sizeof(select));
    expect_sense(f, 0, (const uint8_t[16]){0x15, 0x10, [4] = 24}, 24, true, 0x052600);
    get(f, 0, (const uint8_t[16]){0x1a, 8, 0x3f, [4] = 4}, buf, 4);
    expect_sense(f, 0, (const uint8_t[16]){0x1a, 8, 0xc8, [4] = 64}, 0, false, 0x053900);
    expect_sense(f, 0, (const uint8_t[16]){0x1a, 8, 0x2a, [4] = 64}, 0, false, 0x052400);
}

static void test_disk_errors(void **state)
{
    Fixture *f = *state;

    ready(f, 0);
    expect_sense(f, 0, (const uint8_t[16]){0x28, [4] = 0x80, [8] = 1}, 0, false, 0x052100);
    expect_sense(f, 0, (const uint8_t[16]){0xff}, 0, false, 0x052000);
    expect_sense(f, 0, (const uint8_t[16]){0x28, 0x20, [8] = 1}, 0, false, 0x052400);
    assert_int_equal(command(f, 0, 0, (const uint8_t[16]){0x1b}, 0, false), 0); /* stop */
    expect_sense(f, 0, (const uint8_t[16]){0}, 0, false, 0x020402);
    assert_int_equal(command(f, 0, 0, (const uint8_t[16]){0x1b, [4] = 1}, 0, false), 0);
    /* The host's file has lost its second half. */
    qtest_stay(f->qts, QTEST_STAY_BACK_END); /* another process would see that from the start */
    assert_int_equal(truncate(f->disk, DISK_SIZE / 2), 0);
    expect_sense(f, 0, (const uint8_t[16]){0x28, [4] = 0x7f, [8] = 1}, 0, false, 0x031100);
    assert_int_equal(command(f, 0, 0, (const uint8_t[16]){0x28, [8] = 1}, 512, false), 0);
}

/* block_resize: a unit attention, CAPACITY DATA HAS CHANGED, and the new size (SBC-3, 4.8). */
static void test_resize(void **state)
{
    Fixture *f = *state;
    QtestState *where = qtest_is_split(f->qts) ? qtest_server(f->qts) : f->qts;

    ready(f, 0);
    qtest_qmp_ok(where, "{'execute': 'block_resize', 'arguments': {'device': 'd0', 'size': %u}}", 2 * DISK_SIZE);
    expect_sense(f, 0, (const uint8_t[16]){0x00}, 0, false, 0x062a09);
    assert_int_equal(command(f, 0, 0, (const uint8_t[16]){0x25}, 8, false), 0);
    assert_int_equal(GUINT32_FROM_BE(qtest_readl(f->qts, DATA)), 2 * DISK_SIZE / 512 - 1);
    assert_int_equal(command(f, 0, 0, (const uint8_t[16]){0x2a, [3] = DISK_SIZE / 512 >> 16, [8] = 8}, 4096, true), 0);
}

/* --- a disk that fails --- */

static void test_failing_disk(void **state)
{
    Fixture *f = fixture_new();
    QtestDisk *disk = qtest_disk_new("EIO");
    g_autofree char *drive = disk ? qtest_disk_drive(disk, "d0") : NULL;
    QtestState *where;

    *state = f;
    if (!disk) {
        skip(); /* no nbdkit here */
    }
    start(f, drive, ",werror=stop");
    where = qtest_is_split(f->qts) ? qtest_server(f->qts) : f->qts;
    ready(f, 0);
    assert_int_equal(command(f, 0, 0, (const uint8_t[16]){0x2a, [8] = 8}, 4096, true), 0);
    qtest_disk_fail(disk, true);
    expect_sense(f, 0, (const uint8_t[16]){0x28, [5] = 9, [8] = 8}, 4096, false, 0x031100);
    /* The write waits, the machine stops, and when it goes on the disk is well. */
    script_at(f, SCRIPT);
    emit_head(f, 0, (const uint8_t[]){0x80}, 1, (const uint8_t[16]){0x2a, [8] = 8}, 10);
    emit(f, MOVE(4096, P_DATA_OUT), DATA);
    emit(f, MOVE(1, P_STATUS), STATUS);
    emit(f, MOVE(1, P_MSG_IN), MSG_IN);
    emit(f, INT, 0x600d);
    qtest_writeb(f->qts, STATUS, 0xee);
    script_run(f, SCRIPT);
    json_object_put(qtest_qmp_event(where, "STOP"));
    assert_int_equal(istat(f) & (DIP | SIP), 0);
    qtest_disk_fail(disk, false);
    qtest_qmp_ok(where, "{'execute': 'cont'}");
    script_ended(f, 0x600d);
    assert_int_equal(qtest_readb(f->qts, STATUS), 0);
    teardown(state);
    qtest_disk_free(disk);
}

/* --- tests: the CD-ROM drive --- */

static void test_cdrom(void **state)
{
    Fixture *f = *state;
    uint8_t buf[64], sector[2048], back[2048];

    qtest_fill(sector, sizeof(sector), 8);
    file_write(f->disc, 17 * 2048, sector, sizeof(sector));
    get(f, CD_ID, (const uint8_t[16]){0x12, [4] = 36}, buf, 36);
    assert_int_equal(buf[0], 5);
    assert_int_equal(buf[1], 0x80);
    ready(f, CD_ID);
    get(f, CD_ID, (const uint8_t[16]){0x25}, buf, 8);
    assert_int_equal(get32(buf), DISC_BLOCKS - 1);
    assert_int_equal(get32(buf + 4), 2048);
    get(f, CD_ID, (const uint8_t[16]){0x43, [8] = 20}, buf, 20);
    assert_int_equal(buf[1], 18);
    assert_int_equal(buf[6], 1);
    assert_int_equal(buf[14], 0xaa);
    assert_int_equal(get32(buf + 16), DISC_BLOCKS);
    get(f, CD_ID, (const uint8_t[16]){0x43, 2, [8] = 20}, buf, 20); /* in minutes: 600 + 150 frames are 10 s */
    assert_int_equal(get32(buf + 16), 10 << 8);
    get(f, CD_ID, (const uint8_t[16]){0x46, [8] = 8}, buf, 8);
    assert_int_equal(buf[7], 0x08);
    get(f, CD_ID, (const uint8_t[16]){0x4a, 1, [4] = 0x10, [8] = 8}, buf, 8);
    assert_int_equal(buf[2], 4);
    assert_int_equal(buf[5], 2);
    get(f, CD_ID, (const uint8_t[16]){0x51, [8] = 34}, buf, 34);
    assert_int_equal(buf[2], 0x0e);
    get(f, CD_ID, (const uint8_t[16]){0x28, [5] = 17, [8] = 1}, back, 2048);
    assert_memory_equal(back, sector, 2048);
    get(f, CD_ID, (const uint8_t[16]){0xbe, [5] = 17, [8] = 1, [9] = 0x10}, back, 2048);
    assert_memory_equal(back, sector, 2048);
    expect_sense(f, CD_ID, (const uint8_t[16]){0x2a, [8] = 1}, 0, false, 0x052000); /* it does not write */
    /* Locked, the tray stays; opened, there is no medium. */
    assert_int_equal(command(f, CD_ID, 0, (const uint8_t[16]){0x1e, [4] = 1}, 0, false), 0);
    expect_sense(f, CD_ID, (const uint8_t[16]){0x1b, [4] = 2}, 0, false, 0x055302);
    assert_int_equal(command(f, CD_ID, 0, (const uint8_t[16]){0x1e}, 0, false), 0);
    assert_int_equal(command(f, CD_ID, 0, (const uint8_t[16]){0x1b, [4] = 2}, 0, false), 0);
    expect_sense(f, CD_ID, (const uint8_t[16]){0}, 0, false, 0x023a02);
    assert_int_equal(command(f, CD_ID, 0, (const uint8_t[16]){0x1b, [4] = 3}, 0, false), 0);
    get(f, CD_ID, (const uint8_t[16]){0x4a, 1, [4] = 0x10, [8] = 8}, buf, 8);
    assert_int_equal(buf[4], 2); /* new media */
    assert_int_equal(command(f, CD_ID, 0, (const uint8_t[16]){0}, 0, false), 0);
}

/* --- tests: the command line --- */

static void expect_refused(const char *args, const char *text)
{
    g_autofree char *line = g_strdup_printf("-machine q35 -device lsi53c895a,id=l %s", args), *err = NULL;

    assert_int_equal(qtest_run_to_exit(line, &err), 1);
    if (!strstr(err, text)) {
        fail_msg("expected '%s' in: %s", text, err);
    }
}

static void test_refusals(void **state)
{
    static const char null[] = "-drive id=d,file=null-co://,if=none ";
    const struct {
        const char *args, *text;
    } cases[] = {
        {"-device scsi-hd,bus=m.0,drive=d", "no SCSI bus 'm.0' (there are l.0)"},
        {"-device scsi-hd,drive=d,scsi-id=7", "but for the controller's own, 7"},
        {"-device scsi-hd", "property 'drive' is required"},
        {"-device scsi-hd,drive=d,lun=8", "scsi-hd.lun: out of range (8, allowed 0..7)"},
        {"-device scsi-cd,scsi-id=2 -device scsi-hd,drive=d,scsi-id=2", "scsi-id 2, lun 0 on bus l.0 is taken"},
        {"-device scsi-hd,drive=d,logical_block_size=1000", "powers of two"},
        {"-device scsi-hd,drive=d,channel=1", "this bus has one channel"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *args = g_strconcat(null, cases[i].args, NULL);

        expect_refused(args, cases[i].text);
    }
}

/* A disk comes and goes; the controller takes what is left along. */
static void test_hotplug(void **state)
{
    Fixture *f = *state;
    QtestState *where = qtest_is_split(f->qts) ? qtest_server(f->qts) : f->qts;

    qtest_qmp_ok(where, "{'execute': 'blockdev-add', 'arguments': {'driver': 'null-co', 'node-name': 'n'}}");
    qtest_qmp_ok(where, "{'execute': 'device_add', 'arguments': {'driver': 'scsi-hd', 'id': 'late', 'drive': 'n', "
                        "'scsi-id': 2}}");
    ready(f, 2);
    qtest_qmp_ok(where, "{'execute': 'device_del', 'arguments': {'id': 'late'}}");
    json_object_put(qtest_qmp_event(where, "DEVICE_DELETED"));
    script_at(f, SCRIPT);
    emit(f, SELECT_ATN(2), 0);
    emit(f, JUMP_WHEN(P_MSG_OUT), SCRIPT);
    script_run(f, SCRIPT);
    script_wait(f, SIP);
    assert_int_equal(qpci_readw(f->dev, REGS, SIST0), 0x0400);
    ready(f, 0);
    if (!qtest_is_split(f->qts)) {
        qtest_qmp_ok(where, "{'execute': 'device_del', 'arguments': {'id': 'dev0'}}");
        for (int i = 0; i < 3; i++) {
            json_object_put(qtest_qmp_event(where, "DEVICE_DELETED"));
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_registers),
        TEST(test_instructions),
        TEST(test_io_moves),
        TEST(test_bad_scripts),
        TEST(test_intx),
        TEST(test_reselection), TEST(test_firmware_scripts),
        TEST(test_messages),
        TEST(test_reset_mid_io),
        TEST(test_identity),
        TEST(test_data),
        TEST(test_same_and_unmap),
        TEST(test_mode),
        TEST(test_disk_errors),
        TEST(test_resize),
        cmocka_unit_test(test_failing_disk),
        TEST(test_cdrom),
        TEST(test_hotplug),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
