/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ATA commands (ACS-3, 7; addresses by cylinder, head and sector: ATA-5).  Data goes through a buffer of the command's,
 * chunk by chunk; all commands but those of the queue are carried out one at a time.
 */
#include <errno.h>
#include <string.h>

#include "hw/ide/ide.h"

#define SECTOR 512u
#define DEVICE_LBA 0x40 /* in the device register */

enum {
    ATA_DATA_SET_MANAGEMENT = 0x06, ATA_DEVICE_RESET = 0x08, ATA_RECALIBRATE = 0x10, ATA_SEEK = 0x70, ATA_SET_GEOMETRY = 0x91,
    ATA_READ_SECTORS = 0x20, ATA_READ_SECTORS_EXT = 0x24,
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
    OP_ANSWER = 1 << 6, /* data from the drive that is no sector */
};

typedef struct AtaOp {
    uint8_t opcode, flags;
    IdeProtocol protocol;
    void (*execute)(IdeCmd *c);
} AtaOp;

static BlockBackend *disk(const IdeCmd *c)
{
    return c->port->drive->d.blk;
}

static uint64_t lba48(const uint8_t *f)
{
    return f[4] | (uint64_t)f[5] << 8 | (uint64_t)f[6] << 16 | (uint64_t)f[8] << 24 | (uint64_t)f[9] << 32 |
           (uint64_t)f[10] << 40;
}

/* For the registers of an end. */
static void put_lba(IdeCmd *c, uint64_t lba)
{
    for (unsigned i = 0; i < 3; i++) {
        c->cfis[4 + i] = (uint8_t)(lba >> (8 * i));
        c->cfis[8 + i] = (uint8_t)(lba >> (24 + 8 * i));
    }
}

static uint64_t lba28(const uint8_t *f)
{
    return (uint32_t)(f[4] | f[5] << 8 | f[6] << 16) | (uint32_t)(f[7] & 0xf) << 24;
}

/* Sectors count from 1: sector 0 is nowhere. */
static uint64_t lba_of_chs(const IdeDrive *drive, const uint8_t *f)
{
    uint32_t cylinder = f[5] | (uint32_t)f[6] << 8;

    return f[4] ? ((uint64_t)cylinder * drive->heads + (f[7] & 0xfu)) * drive->track + f[4] - 1 : UINT64_MAX;
}

/* First sector and count; 0 stands for the most the field can say. */
static void take_range(IdeCmd *c, uint8_t flags)
{
    const uint8_t *f = c->cfis;

    if (c->protocol == IDE_NCQ) {
        c->lba = lba48(f);
        c->sectors = f[3] | (uint32_t)f[11] << 8;
        c->sectors = c->sectors ? c->sectors : 65536;
    } else if (flags & OP_EXT) {
        c->lba = lba48(f);
        c->sectors = pci_get16(f + 12);
        c->sectors = c->sectors ? c->sectors : 65536;
    } else {
        c->lba = f[7] & DEVICE_LBA ? lba28(f) : lba_of_chs(c->port->drive, f);
        c->sectors = f[12] ? f[12] : 256;
    }
}

static void end_errno(IdeCmd *c, int result)
{
    put_lba(c, c->lba);
    ide_cmd_end(c, ATA_READY | ATA_ERR, result == -EROFS || result == -ENOMEM ? ATA_ERR_ABRT : ATA_ERR_UNC, 0);
}

/* --- life of a command --- */

void ide_cmd_free(IdeCmd *c)
{
    if (c->packet) {
        scsi_req_cancel(c->packet);
    }
    g_free(c->buf);
    g_free(c);
}

bool ide_cmd_forgotten(IdeCmd *c)
{
    bool forgotten = c->generation != c->port->generation;

    if (forgotten) {
        ide_cmd_free(c);
    }
    return forgotten;
}

void ide_cmd_moved(IdeCmd *c, bool ok)
{
    if (ok) {
        c->moved(c);
    } else {
        ide_cmd_abort(c);
    }
}

static void move(IdeCmd *c, uint32_t len, bool to_host, void (*moved)(IdeCmd *c))
{
    c->data = c->buf;
    c->len = len;
    c->to_host = to_host;
    c->moved = moved;
    c->port->ops->move(c);
}

/* The end of a block request.  False: nobody waits for it any more, or its failure has been told. */
static bool io_good(IdeCmd *c, int result)
{
    if (ide_cmd_forgotten(c)) {
        return false;
    }
    if (result) {
        end_errno(c, result);
    }
    return !result;
}

/* --- reads and writes --- */

static bool next_chunk(IdeCmd *c)
{
    c->chunk = (uint32_t)MIN(c->sectors, IDE_CHUNK / SECTOR);
    if (!c->buf) {
        c->buf = g_try_malloc(IDE_CHUNK);
    }
    if (!c->buf) {
        ide_cmd_abort(c);
    }
    return c->buf != NULL;
}

static void chunk_is_over(IdeCmd *c)
{
    c->lba += c->chunk;
    c->sectors -= c->chunk;
}

static void read_next(IdeCmd *c);
static void write_next(IdeCmd *c);

static bool is_verify(const IdeCmd *c)
{
    return c->cfis[2] == ATA_READ_VERIFY || c->cfis[2] == ATA_READ_VERIFY_EXT;
}

static void read_moved(IdeCmd *c)
{
    chunk_is_over(c);
    read_next(c);
}

static void read_done(void *opaque, int result)
{
    IdeCmd *c = opaque;

    if (!io_good(c, result)) {
        return;
    }
    if (is_verify(c)) {
        read_moved(c);
    } else {
        move(c, c->chunk * SECTOR, true, read_moved);
    }
}

static void read_next(IdeCmd *c)
{
    struct iovec iov;

    if (!c->sectors) {
        ide_cmd_good(c);
    } else if (next_chunk(c)) {
        iov = (struct iovec){c->buf, c->chunk * SECTOR};
        block_read(disk(c), c->lba * SECTOR, &iov, 1, read_done, c);
    }
}

static void write_done(void *opaque, int result)
{
    IdeCmd *c = opaque;

    if (io_good(c, result)) {
        chunk_is_over(c);
        write_next(c);
    }
}

static void write_moved(IdeCmd *c)
{
    struct iovec iov = {c->buf, c->chunk * SECTOR};

    block_write(disk(c), c->lba * SECTOR, &iov, 1, c->fua || !c->port->drive->d.write_cache, write_done, c);
}

static void write_next(IdeCmd *c)
{
    if (!c->sectors) {
        ide_cmd_good(c);
    } else if (next_chunk(c)) {
        move(c, c->chunk * SECTOR, false, write_moved);
    }
}

static void op_ncq_read(IdeCmd *c)
{
    c->port->ops->accepted(c);
    read_next(c);
}

static void op_ncq_write(IdeCmd *c)
{
    c->fua = c->cfis[7] & 0x80;
    c->port->ops->accepted(c);
    write_next(c);
}

/* --- the rest --- */

static void answer(IdeCmd *c, const uint8_t *data, uint32_t len)
{
    c->buf = g_memdup2(data, len);
    move(c, len, true, ide_cmd_good);
}

static void op_nothing(IdeCmd *c)
{
    ide_cmd_good(c);
}

static void op_identify(IdeCmd *c)
{
    uint8_t id[512] = {0};

    ide_identify(c->port->drive, id);
    answer(c, id, sizeof(id));
}

/* A packet drive refuses to be a disk, and says what it is by its signature. */
static void op_identify_refused(IdeCmd *c)
{
    put_lba(c, 0xeb1401);
    ide_cmd_end(c, ATA_READY | ATA_ERR, ATA_ERR_ABRT, 1);
}

static void flush_done(void *opaque, int result)
{
    IdeCmd *c = opaque;

    if (io_good(c, result)) {
        ide_cmd_good(c);
    }
}

static void op_flush(IdeCmd *c)
{
    block_flush(disk(c), flush_done, c);
}

static void op_standby(IdeCmd *c)
{
    c->port->drive->standby = true;
    op_flush(c);
}

static void op_check_power(IdeCmd *c)
{
    ide_cmd_end(c, ATA_READY, 0, c->port->drive->standby ? 0x00 : 0xff);
}

static void op_set_geometry(IdeCmd *c)
{
    IdeDrive *drive = c->port->drive;

    if (!c->cfis[12]) {
        ide_cmd_abort(c);
        return;
    }
    drive->heads = (uint8_t)((c->cfis[7] & 0xf) + 1);
    drive->track = c->cfis[12];
    ide_cmd_good(c);
}

static void op_native_max(IdeCmd *c)
{
    put_lba(c, block_size(disk(c)) / SECTOR - 1);
    ide_cmd_good(c);
}

static void op_set_multiple(IdeCmd *c)
{
    uint8_t n = c->cfis[12];

    if (n > 16 || n & (n - 1)) {
        ide_cmd_abort(c);
        return;
    }
    c->port->drive->multiple = n;
    ide_cmd_good(c);
}

static void op_set_features(IdeCmd *c)
{
    ScsiDisk *d = &c->port->drive->d;

    switch (c->cfis[3]) {
    case 0x02:
        d->write_cache = true;
        ide_cmd_good(c);
        break;
    case 0x82:
        d->write_cache = false;
        if (d->blk) {
            op_flush(c); /* what is in the cache must not stay there */
        } else {
            ide_cmd_good(c);
        }
        break;
    case 0x03: /* transfer mode: none is like another */
    case 0x10: /* SATA features: */
    case 0x90:
    case 0x55: /* look-ahead */
    case 0xaa:
    case 0x66: /* power-on defaults */
    case 0xcc:
        ide_cmd_good(c);
        break;
    default:
        ide_cmd_abort(c);
        break;
    }
}

/* The log of NCQ errors, and the directory that names it. */
static void op_read_log(IdeCmd *c)
{
    uint8_t page[512] = {0};
    uint8_t log = c->cfis[4];

    if (pci_get16(c->cfis + 12) != 1 || c->cfis[5] || (log && log != 0x10)) {
        ide_cmd_abort(c);
        return;
    }
    if (log) {
        memcpy(page, c->port->drive->ncq_log, sizeof(c->port->drive->ncq_log));
        page[0] |= c->port->drive->ncq_log[2] ? 0 : 0x80; /* no queued command */
        memset(c->port->drive->ncq_log, 0, sizeof(c->port->drive->ncq_log));
    } else {
        page[0] = 1;    /* version */
        page[0x20] = 1; /* pages of log 10h */
    }
    for (unsigned i = 0; log && i < 511; i++) {
        page[511] = (uint8_t)(page[511] - page[i]); /* the sum of all is 0 */
    }
    answer(c, page, sizeof(page));
}

static void trim_next(IdeCmd *c);

static void trim_done(void *opaque, int result)
{
    IdeCmd *c = opaque;

    if (io_good(c, result)) {
        trim_next(c);
    }
}

/* The buffer holds c->sectors blocks of ranges; c->chunk is the next one's number. */
static void trim_next(IdeCmd *c)
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
            ide_cmd_end(c, ATA_READY | ATA_ERR, ATA_ERR_IDNF | ATA_ERR_ABRT, 0);
            return;
        }
        block_discard(disk(c), lba * SECTOR, count * SECTOR, trim_done, c);
        return;
    }
    ide_cmd_good(c);
}

static void op_trim(IdeCmd *c)
{
    c->sectors = pci_get16(c->cfis + 12);
    if (!(c->cfis[3] & 1) || !c->sectors || c->sectors * SECTOR > IDE_CHUNK || block_readonly(disk(c))) {
        ide_cmd_abort(c);
        return;
    }
    c->buf = g_try_malloc(IDE_CHUNK);
    if (c->buf) {
        move(c, (uint32_t)c->sectors * SECTOR, false, trim_next);
    } else {
        ide_cmd_abort(c);
    }
}

static const AtaOp ops[] = {
    {ATA_DATA_SET_MANAGEMENT, OP_HD, IDE_DMA, op_trim},
    {ATA_DEVICE_RESET, OP_CD, IDE_NO_DATA, op_nothing},
    {ATA_RECALIBRATE, OP_HD, IDE_NO_DATA, op_nothing},
    {ATA_READ_SECTORS, OP_HD | OP_SECTORS, IDE_PIO_IN, read_next},
    {ATA_READ_SECTORS_EXT, OP_HD | OP_SECTORS | OP_EXT, IDE_PIO_IN, read_next},
    {ATA_READ_DMA_EXT, OP_HD | OP_SECTORS | OP_EXT, IDE_DMA, read_next},
    {ATA_READ_NATIVE_MAX_EXT, OP_HD, IDE_NO_DATA, op_native_max},
    {ATA_READ_MULTIPLE_EXT, OP_HD | OP_SECTORS | OP_EXT, IDE_PIO_IN, read_next},
    {ATA_READ_LOG_EXT, OP_HD | OP_ANSWER, IDE_PIO_IN, op_read_log},
    {ATA_WRITE_SECTORS, OP_HD | OP_SECTORS | OP_WRITES, IDE_PIO_OUT, write_next},
    {ATA_WRITE_SECTORS_EXT, OP_HD | OP_SECTORS | OP_WRITES | OP_EXT, IDE_PIO_OUT, write_next},
    {ATA_WRITE_DMA_EXT, OP_HD | OP_SECTORS | OP_WRITES | OP_EXT, IDE_DMA, write_next},
    {ATA_WRITE_MULTIPLE_EXT, OP_HD | OP_SECTORS | OP_WRITES | OP_EXT, IDE_PIO_OUT, write_next},
    {ATA_WRITE_DMA_FUA_EXT, OP_HD | OP_SECTORS | OP_WRITES | OP_EXT | OP_FUA, IDE_DMA, write_next},
    {ATA_READ_VERIFY, OP_HD | OP_SECTORS, IDE_NO_DATA, read_next},
    {ATA_READ_VERIFY_EXT, OP_HD | OP_SECTORS | OP_EXT, IDE_NO_DATA, read_next},
    {ATA_READ_LOG_DMA_EXT, OP_HD | OP_ANSWER, IDE_DMA, op_read_log},
    {ATA_READ_FPDMA, OP_HD | OP_SECTORS, IDE_NCQ, op_ncq_read},
    {ATA_WRITE_FPDMA, OP_HD | OP_SECTORS | OP_WRITES, IDE_NCQ, op_ncq_write},
    {ATA_SEEK, OP_HD, IDE_NO_DATA, op_nothing},
    {ATA_SET_GEOMETRY, OP_HD, IDE_NO_DATA, op_set_geometry},
    {ATA_DIAGNOSTIC, OP_HD | OP_CD, IDE_NO_DATA, op_nothing},
    {ATA_PACKET, OP_CD, IDE_DMA, atapi_execute},
    {ATA_IDENTIFY_PACKET, OP_CD | OP_ANSWER, IDE_PIO_IN, op_identify},
    {ATA_READ_MULTIPLE, OP_HD | OP_SECTORS, IDE_PIO_IN, read_next},
    {ATA_WRITE_MULTIPLE, OP_HD | OP_SECTORS | OP_WRITES, IDE_PIO_OUT, write_next},
    {ATA_SET_MULTIPLE, OP_HD, IDE_NO_DATA, op_set_multiple},
    {ATA_READ_DMA, OP_HD | OP_SECTORS, IDE_DMA, read_next},
    {ATA_WRITE_DMA, OP_HD | OP_SECTORS | OP_WRITES, IDE_DMA, write_next},
    {ATA_STANDBY_IMMEDIATE, OP_HD, IDE_NO_DATA, op_standby},
    {ATA_IDLE_IMMEDIATE, OP_HD | OP_CD, IDE_NO_DATA, op_nothing},
    {ATA_STANDBY, OP_HD, IDE_NO_DATA, op_standby},
    {ATA_IDLE, OP_HD, IDE_NO_DATA, op_nothing},
    {ATA_CHECK_POWER, OP_HD | OP_CD, IDE_NO_DATA, op_check_power},
    {ATA_SLEEP, OP_HD, IDE_NO_DATA, op_standby},
    {ATA_FLUSH, OP_HD, IDE_NO_DATA, op_flush},
    {ATA_FLUSH_EXT, OP_HD, IDE_NO_DATA, op_flush},
    {ATA_IDENTIFY, OP_HD | OP_ANSWER, IDE_PIO_IN, op_identify},
    {ATA_IDENTIFY, OP_CD, IDE_NO_DATA, op_identify_refused},
    {ATA_SET_FEATURES, OP_HD | OP_CD, IDE_NO_DATA, op_set_features},
    {ATA_READ_NATIVE_MAX, OP_HD, IDE_NO_DATA, op_native_max},
};

/* A range that is there, or the command's end. */
static bool range_ok(IdeCmd *c, uint8_t flags)
{
    uint64_t total = block_size(disk(c)) / SECTOR;

    take_range(c, flags);
    if (c->lba > total || c->sectors > total - c->lba) {
        put_lba(c, c->lba);
        ide_cmd_end(c, ATA_READY | ATA_ERR, ATA_ERR_IDNF, 0);
        return false;
    }
    if (flags & OP_WRITES && block_readonly(disk(c))) {
        ide_cmd_abort(c);
        return false;
    }
    c->port->drive->standby = false;
    return true;
}

static const AtaOp *find_op(const IdeCmd *c)
{
    uint8_t who = c->port->drive->d.cd ? OP_CD : OP_HD;

    for (size_t i = 0; i < G_N_ELEMENTS(ops); i++) {
        if (ops[i].opcode == c->cfis[2] && ops[i].flags & who) {
            return &ops[i];
        }
    }
    return NULL;
}

bool ata_resume(IdeCmd *c)
{
    const AtaOp *op = find_op(c);
    uint64_t total = disk(c) ? block_size(disk(c)) / SECTOR : 0;

    if (!op || op->protocol == IDE_NO_DATA || op->protocol == IDE_NCQ) {
        return false;
    }
    c->protocol = op->protocol;
    c->fua = op->flags & OP_FUA;
    c->data = c->buf;
    if (op->flags & OP_ANSWER) {
        c->moved = ide_cmd_good;
        c->to_host = true;
        return true;
    }
    if (op->execute == op_trim) {
        c->moved = trim_next;
        c->to_host = false;
        return c->len == c->sectors * SECTOR && !c->chunk && !block_readonly(disk(c));
    }
    c->to_host = !(op->flags & OP_WRITES);
    c->moved = c->to_host ? read_moved : write_moved;
    return op->flags & OP_SECTORS && c->len == c->chunk * SECTOR && c->chunk <= c->sectors && c->lba <= total &&
           c->sectors <= total - c->lba && (c->to_host || !block_readonly(disk(c)));
}

void ata_execute(IdeCmd *c)
{
    const AtaOp *op = find_op(c);

    if (!op || (op->protocol == IDE_NCQ && !c->port->ops->queues)) {
        ide_cmd_abort(c);
        return;
    }
    c->protocol = op->protocol;
    c->fua = op->flags & OP_FUA;
    c->tag = c->cfis[12] >> 3;
    if (c->protocol == IDE_NCQ && c->tag != c->slot) {
        c->protocol = IDE_NO_DATA; /* the tag is the slot (AHCI 1.3.1, 5.5.1) */
        ide_cmd_abort(c);
    } else if (!(op->flags & OP_SECTORS) || range_ok(c, op->flags)) {
        op->execute(c);
    }
}
