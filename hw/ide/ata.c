/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ATA commands (ACS-3, 7) as a Serial ATA drive takes them.  Data goes through a buffer of the command's, chunk by chunk;
 * all commands but those of the queue are carried out one at a time.
 */
#include <errno.h>
#include <string.h>

#include "hw/ide/ahci.h"

#define SECTOR 512u

enum {
    ATA_DATA_SET_MANAGEMENT = 0x06, ATA_DEVICE_RESET = 0x08, ATA_READ_SECTORS = 0x20, ATA_READ_SECTORS_EXT = 0x24,
    ATA_READ_DMA_EXT = 0x25, ATA_READ_NATIVE_MAX_EXT = 0x27, ATA_READ_MULTIPLE_EXT = 0x29, ATA_READ_LOG_EXT = 0x2f,
    ATA_WRITE_SECTORS = 0x30, ATA_WRITE_SECTORS_EXT = 0x34, ATA_WRITE_DMA_EXT = 0x35, ATA_WRITE_MULTIPLE_EXT = 0x39,
    ATA_WRITE_DMA_FUA_EXT = 0x3d, ATA_READ_VERIFY = 0x40, ATA_READ_VERIFY_EXT = 0x42, ATA_READ_LOG_DMA_EXT = 0x47,
    ATA_READ_FPDMA = 0x60, ATA_WRITE_FPDMA = 0x61, ATA_DIAGNOSTIC = 0x90, ATA_PACKET = 0xa0, ATA_IDENTIFY_PACKET = 0xa1,
    ATA_READ_MULTIPLE = 0xc4, ATA_WRITE_MULTIPLE = 0xc5, ATA_SET_MULTIPLE = 0xc6, ATA_READ_DMA = 0xc8, ATA_WRITE_DMA = 0xca,
    ATA_STANDBY_IMMEDIATE = 0xe0, ATA_IDLE_IMMEDIATE = 0xe1, ATA_STANDBY = 0xe2, ATA_IDLE = 0xe3, ATA_CHECK_POWER = 0xe5,
    ATA_SLEEP = 0xe6, ATA_FLUSH = 0xe7, ATA_FLUSH_EXT = 0xea, ATA_IDENTIFY = 0xec, ATA_SET_FEATURES = 0xef,
    ATA_READ_NATIVE_MAX = 0xf8,
};

enum {
    OP_HD = 1 << 0,
    OP_CD = 1 << 1,
    OP_EXT = 1 << 2,    /* 48-bit addresses */
    OP_SECTORS = 1 << 3, /* names a range of the disk */
    OP_WRITES = 1 << 4,
    OP_FUA = 1 << 5,
};

typedef struct AtaOp {
    uint8_t opcode, flags;
    AhciProtocol protocol;
    void (*execute)(AhciCmd *c);
} AtaOp;

static BlockBackend *disk(const AhciCmd *c)
{
    return c->port->drive->d.blk;
}

static uint64_t lba48(const uint8_t *f)
{
    return f[4] | (uint64_t)f[5] << 8 | (uint64_t)f[6] << 16 | (uint64_t)f[8] << 24 | (uint64_t)f[9] << 32 |
           (uint64_t)f[10] << 40;
}

static void put_lba(AhciCmd *c, uint64_t lba)
{
    for (unsigned i = 0; i < 3; i++) {
        c->cfis[4 + i] = (uint8_t)(lba >> (8 * i));
        c->cfis[8 + i] = (uint8_t)(lba >> (24 + 8 * i));
    }
}

/* First sector and count; 0 stands for the most the field can say. */
static void take_range(AhciCmd *c, uint8_t flags)
{
    const uint8_t *f = c->cfis;

    if (c->protocol == AHCI_NCQ) {
        c->lba = lba48(f);
        c->sectors = f[3] | (uint32_t)f[11] << 8;
        c->sectors = c->sectors ? c->sectors : 65536;
    } else if (flags & OP_EXT) {
        c->lba = lba48(f);
        c->sectors = pci_get16(f + 12);
        c->sectors = c->sectors ? c->sectors : 65536;
    } else {
        c->lba = (uint32_t)(f[4] | f[5] << 8 | f[6] << 16) | (uint32_t)(f[7] & 0xf) << 24;
        c->sectors = f[12] ? f[12] : 256;
    }
}

static void end_errno(AhciCmd *c, int result)
{
    put_lba(c, c->lba);
    ahci_cmd_end(c, ATA_READY | ATA_ERR, result == -EROFS || result == -ENOMEM ? ATA_ERR_ABRT : ATA_ERR_UNC, 0);
}

/* The end of a block request.  False: nobody waits for it any more, or its failure has been told. */
static bool io_good(AhciCmd *c, int result)
{
    if (ahci_cmd_forgotten(c)) {
        return false;
    }
    if (result) {
        end_errno(c, result);
    }
    return !result;
}

/* --- reads and writes --- */

static bool next_chunk(AhciCmd *c)
{
    c->chunk = (uint32_t)MIN(c->sectors, AHCI_CHUNK / SECTOR);
    if (!c->buf) {
        c->buf = g_try_malloc(AHCI_CHUNK);
    }
    if (!c->buf) {
        ahci_cmd_abort(c);
    }
    return c->buf != NULL;
}

static void chunk_is_over(AhciCmd *c)
{
    c->lba += c->chunk;
    c->sectors -= c->chunk;
}

static void read_next(AhciCmd *c);
static void write_next(AhciCmd *c);

static bool is_verify(const AhciCmd *c)
{
    return c->cfis[2] == ATA_READ_VERIFY || c->cfis[2] == ATA_READ_VERIFY_EXT;
}

static void read_done(void *opaque, int result)
{
    AhciCmd *c = opaque;

    if (!io_good(c, result)) {
        return;
    }
    if (!is_verify(c) && !ahci_cmd_to_host(c, c->buf, c->chunk * SECTOR)) {
        ahci_cmd_abort(c);
    } else if (!ahci_cmd_forgotten(c)) { /* by its own data */
        chunk_is_over(c);
        read_next(c);
    }
}

static void read_next(AhciCmd *c)
{
    struct iovec iov;

    if (!c->sectors) {
        ahci_cmd_good(c);
    } else if (next_chunk(c)) {
        iov = (struct iovec){c->buf, c->chunk * SECTOR};
        block_read(disk(c), c->lba * SECTOR, &iov, 1, read_done, c);
    }
}

static void write_done(void *opaque, int result)
{
    AhciCmd *c = opaque;

    if (io_good(c, result)) {
        chunk_is_over(c);
        write_next(c);
    }
}

static void write_next(AhciCmd *c)
{
    struct iovec iov;

    if (!c->sectors) {
        ahci_cmd_good(c);
    } else if (next_chunk(c)) {
        if (!ahci_cmd_from_host(c, c->buf, c->chunk * SECTOR)) {
            ahci_cmd_abort(c);
        } else if (!ahci_cmd_forgotten(c)) {
            iov = (struct iovec){c->buf, c->chunk * SECTOR};
            block_write(disk(c), c->lba * SECTOR, &iov, 1, c->fua || !c->port->drive->d.write_cache, write_done, c);
        }
    }
}

static void op_read(AhciCmd *c)
{
    c->to_host = true;
    read_next(c);
}

static void op_ncq_read(AhciCmd *c)
{
    ahci_cmd_accepted(c);
    op_read(c);
}

static void op_ncq_write(AhciCmd *c)
{
    c->fua = c->cfis[7] & 0x80;
    ahci_cmd_accepted(c);
    write_next(c);
}

/* --- the rest --- */

static void answer(AhciCmd *c, const uint8_t *data, uint32_t len)
{
    c->to_host = true;
    if (ahci_cmd_to_host(c, data, len)) {
        ahci_cmd_good(c);
    } else {
        ahci_cmd_abort(c);
    }
}

static void op_nothing(AhciCmd *c)
{
    ahci_cmd_good(c);
}

static void op_identify(AhciCmd *c)
{
    uint8_t id[512] = {0};

    ide_identify(c->port->drive, id);
    answer(c, id, sizeof(id));
}

/* A packet drive refuses to be a disk, and says what it is by its signature. */
static void op_identify_refused(AhciCmd *c)
{
    put_lba(c, 0xeb1401);
    ahci_cmd_end(c, ATA_READY | ATA_ERR, ATA_ERR_ABRT, 1);
}

static void flush_done(void *opaque, int result)
{
    AhciCmd *c = opaque;

    if (io_good(c, result)) {
        ahci_cmd_good(c);
    }
}

static void op_flush(AhciCmd *c)
{
    block_flush(disk(c), flush_done, c);
}

static void op_standby(AhciCmd *c)
{
    c->port->drive->standby = true;
    op_flush(c);
}

static void op_check_power(AhciCmd *c)
{
    ahci_cmd_end(c, ATA_READY, 0, c->port->drive->standby ? 0x00 : 0xff);
}

static void op_native_max(AhciCmd *c)
{
    put_lba(c, block_size(disk(c)) / SECTOR - 1);
    ahci_cmd_good(c);
}

static void op_set_multiple(AhciCmd *c)
{
    uint8_t n = c->cfis[12];

    if (n > 16 || n & (n - 1)) {
        ahci_cmd_abort(c);
        return;
    }
    c->port->drive->multiple = n;
    ahci_cmd_good(c);
}

static void op_set_features(AhciCmd *c)
{
    ScsiDisk *d = &c->port->drive->d;

    switch (c->cfis[3]) {
    case 0x02:
        d->write_cache = true;
        ahci_cmd_good(c);
        break;
    case 0x82:
        d->write_cache = false;
        if (d->blk) {
            op_flush(c); /* what is in the cache must not stay there */
        } else {
            ahci_cmd_good(c);
        }
        break;
    case 0x03: /* transfer mode: none is like another */
    case 0x10: /* SATA features: */
    case 0x90:
    case 0x55: /* look-ahead */
    case 0xaa:
    case 0x66: /* power-on defaults */
    case 0xcc:
        ahci_cmd_good(c);
        break;
    default:
        ahci_cmd_abort(c);
        break;
    }
}

/* The log of NCQ errors, and the directory that names it. */
static void op_read_log(AhciCmd *c)
{
    uint8_t page[512] = {0};
    uint8_t log = c->cfis[4];

    if (pci_get16(c->cfis + 12) != 1 || c->cfis[5] || (log && log != 0x10)) {
        ahci_cmd_abort(c);
        return;
    }
    if (log) {
        memcpy(page, c->port->ncq_log, sizeof(c->port->ncq_log));
        page[0] |= c->port->ncq_log[2] ? 0 : 0x80; /* no queued command */
        memset(c->port->ncq_log, 0, sizeof(c->port->ncq_log));
    } else {
        page[0] = 1;    /* version */
        page[0x20] = 1; /* pages of log 10h */
    }
    for (unsigned i = 0; log && i < 511; i++) {
        page[511] = (uint8_t)(page[511] - page[i]); /* the sum of all is 0 */
    }
    answer(c, page, sizeof(page));
}

static void trim_next(AhciCmd *c);

static void trim_done(void *opaque, int result)
{
    AhciCmd *c = opaque;

    if (io_good(c, result)) {
        trim_next(c);
    }
}

/* The buffer holds c->sectors blocks of ranges; c->chunk is the next one's number. */
static void trim_next(AhciCmd *c)
{
    uint64_t total = block_size(disk(c)) / SECTOR;

    while (c->chunk < c->sectors * SECTOR / 8) {
        uint64_t range = pci_get64(c->buf + 8 * c->chunk++), lba = range & 0xffffffffffffu, count = range >> 48;

        if (!count) {
            continue;
        }
        if (lba > total || count > total - lba) {
            c->lba = lba;
            put_lba(c, lba);
            ahci_cmd_end(c, ATA_READY | ATA_ERR, ATA_ERR_IDNF | ATA_ERR_ABRT, 0);
            return;
        }
        block_discard(disk(c), lba * SECTOR, count * SECTOR, trim_done, c);
        return;
    }
    ahci_cmd_good(c);
}

static void op_trim(AhciCmd *c)
{
    c->sectors = pci_get16(c->cfis + 12);
    if (!(c->cfis[3] & 1) || !c->sectors || c->sectors * SECTOR > AHCI_CHUNK || block_readonly(disk(c))) {
        ahci_cmd_abort(c);
        return;
    }
    c->buf = g_try_malloc(AHCI_CHUNK);
    if (!c->buf || !ahci_cmd_from_host(c, c->buf, (uint32_t)c->sectors * SECTOR)) {
        ahci_cmd_abort(c);
    } else if (!ahci_cmd_forgotten(c)) {
        trim_next(c);
    }
}

static const AtaOp ops[] = {
    {ATA_DATA_SET_MANAGEMENT, OP_HD, AHCI_DMA, op_trim},
    {ATA_DEVICE_RESET, OP_CD, AHCI_NO_DATA, op_nothing},
    {ATA_READ_SECTORS, OP_HD | OP_SECTORS, AHCI_PIO_IN, op_read},
    {ATA_READ_SECTORS_EXT, OP_HD | OP_SECTORS | OP_EXT, AHCI_PIO_IN, op_read},
    {ATA_READ_DMA_EXT, OP_HD | OP_SECTORS | OP_EXT, AHCI_DMA, op_read},
    {ATA_READ_NATIVE_MAX_EXT, OP_HD, AHCI_NO_DATA, op_native_max},
    {ATA_READ_MULTIPLE_EXT, OP_HD | OP_SECTORS | OP_EXT, AHCI_PIO_IN, op_read},
    {ATA_READ_LOG_EXT, OP_HD, AHCI_PIO_IN, op_read_log},
    {ATA_WRITE_SECTORS, OP_HD | OP_SECTORS | OP_WRITES, AHCI_PIO_OUT, write_next},
    {ATA_WRITE_SECTORS_EXT, OP_HD | OP_SECTORS | OP_WRITES | OP_EXT, AHCI_PIO_OUT, write_next},
    {ATA_WRITE_DMA_EXT, OP_HD | OP_SECTORS | OP_WRITES | OP_EXT, AHCI_DMA, write_next},
    {ATA_WRITE_MULTIPLE_EXT, OP_HD | OP_SECTORS | OP_WRITES | OP_EXT, AHCI_PIO_OUT, write_next},
    {ATA_WRITE_DMA_FUA_EXT, OP_HD | OP_SECTORS | OP_WRITES | OP_EXT | OP_FUA, AHCI_DMA, write_next},
    {ATA_READ_VERIFY, OP_HD | OP_SECTORS, AHCI_NO_DATA, read_next},
    {ATA_READ_VERIFY_EXT, OP_HD | OP_SECTORS | OP_EXT, AHCI_NO_DATA, read_next},
    {ATA_READ_LOG_DMA_EXT, OP_HD, AHCI_DMA, op_read_log},
    {ATA_READ_FPDMA, OP_HD | OP_SECTORS, AHCI_NCQ, op_ncq_read},
    {ATA_WRITE_FPDMA, OP_HD | OP_SECTORS | OP_WRITES, AHCI_NCQ, op_ncq_write},
    {ATA_DIAGNOSTIC, OP_HD | OP_CD, AHCI_NO_DATA, op_nothing},
    {ATA_PACKET, OP_CD, AHCI_DMA, atapi_execute},
    {ATA_IDENTIFY_PACKET, OP_CD, AHCI_PIO_IN, op_identify},
    {ATA_READ_MULTIPLE, OP_HD | OP_SECTORS, AHCI_PIO_IN, op_read},
    {ATA_WRITE_MULTIPLE, OP_HD | OP_SECTORS | OP_WRITES, AHCI_PIO_OUT, write_next},
    {ATA_SET_MULTIPLE, OP_HD, AHCI_NO_DATA, op_set_multiple},
    {ATA_READ_DMA, OP_HD | OP_SECTORS, AHCI_DMA, op_read},
    {ATA_WRITE_DMA, OP_HD | OP_SECTORS | OP_WRITES, AHCI_DMA, write_next},
    {ATA_STANDBY_IMMEDIATE, OP_HD, AHCI_NO_DATA, op_standby},
    {ATA_IDLE_IMMEDIATE, OP_HD | OP_CD, AHCI_NO_DATA, op_nothing},
    {ATA_STANDBY, OP_HD, AHCI_NO_DATA, op_standby},
    {ATA_IDLE, OP_HD, AHCI_NO_DATA, op_nothing},
    {ATA_CHECK_POWER, OP_HD | OP_CD, AHCI_NO_DATA, op_check_power},
    {ATA_SLEEP, OP_HD, AHCI_NO_DATA, op_standby},
    {ATA_FLUSH, OP_HD, AHCI_NO_DATA, op_flush},
    {ATA_FLUSH_EXT, OP_HD, AHCI_NO_DATA, op_flush},
    {ATA_IDENTIFY, OP_HD, AHCI_PIO_IN, op_identify},
    {ATA_IDENTIFY, OP_CD, AHCI_NO_DATA, op_identify_refused},
    {ATA_SET_FEATURES, OP_HD | OP_CD, AHCI_NO_DATA, op_set_features},
    {ATA_READ_NATIVE_MAX, OP_HD, AHCI_NO_DATA, op_native_max},
};

/* A range that is there, or the command's end. */
static bool range_ok(AhciCmd *c, uint8_t flags)
{
    uint64_t total = block_size(disk(c)) / SECTOR;

    take_range(c, flags);
    if (c->lba > total || c->sectors > total - c->lba) {
        put_lba(c, c->lba);
        ahci_cmd_end(c, ATA_READY | ATA_ERR, ATA_ERR_IDNF, 0);
        return false;
    }
    if (flags & OP_WRITES && block_readonly(disk(c))) {
        ahci_cmd_abort(c);
        return false;
    }
    c->port->drive->standby = false;
    return true;
}

void ata_execute(AhciCmd *c)
{
    uint8_t who = c->port->drive->d.cd ? OP_CD : OP_HD;
    const AtaOp *op = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(ops) && !op; i++) {
        op = ops[i].opcode == c->cfis[2] && ops[i].flags & who ? &ops[i] : NULL;
    }
    if (!op) {
        ahci_cmd_abort(c);
        return;
    }
    c->protocol = op->protocol;
    c->fua = op->flags & OP_FUA;
    c->tag = c->cfis[12] >> 3;
    if (c->protocol == AHCI_NCQ && c->tag != c->slot) {
        c->protocol = AHCI_NO_DATA; /* the tag is the slot (AHCI 1.3.1, 5.5.1) */
        ahci_cmd_abort(c);
    } else if (!(op->flags & OP_SECTORS) || range_ok(c, op->flags)) {
        op->execute(c);
    }
}
