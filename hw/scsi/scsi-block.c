/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that transfer blocks: READ, WRITE, VERIFY, WRITE SAME, UNMAP, SYNCHRONIZE CACHE (SBC-3, 5). */
#include <errno.h>
#include <string.h>

#include "scsi-disk.h"

#define CDB_PROTECT 0xe0 /* RDPROTECT, WRPROTECT, VRPROTECT: units have no protection information */
#define CDB_FUA     0x08
#define CDB_BYTCHK  0x06
#define SAME_ANCHOR 0x10
#define SAME_UNMAP  0x08
#define SAME_NDOB   0x01
#define UNMAP_HEADER_LEN     8
#define UNMAP_DESCRIPTOR_LEN 16

void scsi_cdb_range(const uint8_t *cdb, uint64_t *lba, uint64_t *blocks)
{
    switch (scsi_cdb_len(cdb[0])) {
    case 6:
        *lba = scsi_get24(cdb + 1) & 0x1fffff;
        *blocks = cdb[4] ? cdb[4] : 256;
        break;
    case 10:
        *lba = scsi_get32(cdb + 2);
        *blocks = scsi_get16(cdb + 7);
        break;
    case 12:
        *lba = scsi_get32(cdb + 2);
        *blocks = scsi_get32(cdb + 6);
        break;
    default:
        *lba = scsi_get64(cdb + 2);
        *blocks = scsi_get32(cdb + 10);
        break;
    }
}

void scsi_req_fail_errno(ScsiReq *req, int status, bool is_write)
{
    static const struct {
        int status;
        ScsiSense sense;
    } senses[] = {
        {-EROFS, SCSI_SENSE_WRITE_PROTECTED},   {-ENOMEM, SCSI_SENSE_TARGET_FAILURE},
        {-ENODEV, SCSI_SENSE_TARGET_FAILURE},   {-EINVAL, SCSI_SENSE_INVALID_FIELD},
        {-ENOSPC, SCSI_SENSE_SPACE_ALLOCATION}, {-ENOMEDIUM, SCSI_SENSE_NO_MEDIUM},
    };
    ScsiSense sense = is_write ? SCSI_SENSE_WRITE_ERROR : SCSI_SENSE_READ_ERROR;

    for (size_t i = 0; i < G_N_ELEMENTS(senses); i++) {
        sense = senses[i].status == status ? senses[i].sense : sense;
    }
    scsi_req_fail(req, sense, req->lba);
}

/* The end of a block request.  False: nobody waits for it any more, or its failure has been told. */
static bool io_good(ScsiReq *req, int result, bool is_write)
{
    req->in_io = false;
    if (req->cancelled) {
        scsi_req_free(req);
        return false;
    }
    if (result) {
        scsi_req_fail_errno(req, result, is_write);
    }
    return !result;
}

/* Of a change that is the whole command. */
static void change_done(void *opaque, int result)
{
    ScsiReq *req = opaque;

    if (io_good(req, result, true)) {
        scsi_req_good(req);
    }
}

static bool begin(ScsiReq *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    uint64_t total = scsi_disk_blocks(d);

    scsi_cdb_range(req->cdb, &req->lba, &req->blocks);
    if (scsi_cdb_len(req->cdb[0]) != 6 && req->cdb[1] & CDB_PROTECT) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
        return false;
    }
    if (req->lba > total || req->blocks > total - req->lba) {
        scsi_req_fail(req, SCSI_SENSE_LBA_RANGE, req->lba);
        return false;
    }
    return true;
}

/* Chooses the next chunk and makes room for it. */
static bool next_chunk(ScsiReq *req, uint32_t block)
{
    req->chunk = (uint32_t)MIN(req->blocks, SCSI_CHUNK / block);
    return scsi_req_reserve(req, req->chunk * block);
}

static void chunk_is_over(ScsiReq *req)
{
    req->lba += req->chunk;
    req->blocks -= req->chunk;
    req->chunk = 0;
}


/* --- read, and verify against nothing but the medium --- */

static void read_chunk(ScsiReq *req, BlockDoneFn *done)
{
    ScsiDisk *d = scsi_disk_of(req);
    struct iovec iov;

    if (!req->blocks) {
        scsi_req_good(req);
    } else if (next_chunk(req, d->logical_block_size)) {
        iov = (struct iovec){req->buf, (size_t)req->chunk * d->logical_block_size};
        req->in_io = true;
        block_read(d->blk, req->lba * d->logical_block_size, &iov, 1, done, req);
    }
}

static void read_done(void *opaque, int result)
{
    ScsiReq *req = opaque;

    if (io_good(req, result, false)) {
        scsi_req_transfer(req, SCSI_DIR_FROM_UNIT, req->chunk * scsi_disk_of(req)->logical_block_size);
    }
}

void scsi_cmd_read(ScsiReq *req)
{
    if (begin(req)) {
        read_chunk(req, read_done);
    }
}

void scsi_read_more(ScsiReq *req)
{
    chunk_is_over(req);
    read_chunk(req, read_done);
}

/* --- write --- */

static bool wants_fua(const ScsiReq *req)
{
    bool verify = req->cdb[0] == SCSI_WRITE_VERIFY_10 || req->cdb[0] == SCSI_WRITE_VERIFY_12 ||
                  req->cdb[0] == SCSI_WRITE_VERIFY_16;

    return !scsi_disk_of(req)->write_cache || verify ||
           (scsi_cdb_len(req->cdb[0]) != 6 && req->cdb[1] & CDB_FUA);
}

/* Asks the host for the next chunk. */
static void want_chunk(ScsiReq *req)
{
    uint32_t block = scsi_disk_of(req)->logical_block_size;

    if (!req->blocks) {
        scsi_req_good(req);
    } else if (next_chunk(req, block)) {
        scsi_req_transfer(req, SCSI_DIR_TO_UNIT, req->chunk * block);
    }
}

static void write_done(void *opaque, int result)
{
    ScsiReq *req = opaque;

    if (io_good(req, result, true)) {
        chunk_is_over(req);
        want_chunk(req);
    }
}

void scsi_cmd_write(ScsiReq *req)
{
    if (begin(req)) {
        want_chunk(req);
    }
}

void scsi_write_more(ScsiReq *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    struct iovec iov = {req->buf, req->len};

    req->in_io = true;
    block_write(d->blk, req->lba * d->logical_block_size, &iov, 1, wants_fua(req), write_done, req);
}

/* --- verify --- */

static void verify_done(void *opaque, int result)
{
    ScsiReq *req = opaque;

    if (io_good(req, result, false)) {
        chunk_is_over(req);
        read_chunk(req, verify_done);
    }
}

/* The host's bytes are in the first half of the buffer, the medium's in the second. */
static void compare_done(void *opaque, int result)
{
    ScsiReq *req = opaque;

    if (!io_good(req, result, false)) {
        return;
    }
    if (memcmp(req->buf, req->buf + req->len, req->len)) {
        scsi_req_fail(req, SCSI_SENSE_MISCOMPARE, req->lba);
    } else {
        chunk_is_over(req);
        want_chunk(req);
    }
}

void scsi_cmd_verify(ScsiReq *req)
{
    if (!begin(req)) {
        return;
    }
    switch (req->cdb[1] & CDB_BYTCHK) {
    case 0:
        read_chunk(req, verify_done);
        break;
    case 2:
        want_chunk(req);
        break;
    default:
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
        break;
    }
}

void scsi_verify_more(ScsiReq *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    uint8_t *both = g_try_realloc(req->buf, (size_t)req->len * 2);
    struct iovec iov;

    if (!both) {
        scsi_req_fail(req, SCSI_SENSE_TARGET_FAILURE, UINT64_MAX);
        return;
    }
    req->buf = both;
    req->room = req->len * 2;
    iov = (struct iovec){req->buf + req->len, req->len};
    req->in_io = true;
    block_read(d->blk, req->lba * d->logical_block_size, &iov, 1, compare_done, req);
}

/* --- write same --- */

static void same_next(ScsiReq *req);

static void same_done(void *opaque, int result)
{
    ScsiReq *req = opaque;

    if (io_good(req, result, true)) {
        chunk_is_over(req);
        same_next(req);
    }
}

/* The buffer holds one chunk of copies of the block. */
static void same_next(ScsiReq *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    uint32_t block = d->logical_block_size;
    struct iovec iov;

    if (!req->blocks) {
        scsi_req_good(req);
        return;
    }
    req->chunk = (uint32_t)MIN(req->blocks, req->room / block);
    iov = (struct iovec){req->buf, (size_t)req->chunk * block};
    req->in_io = true;
    block_write(d->blk, req->lba * block, &iov, 1, !d->write_cache, same_done, req);
}

static void same_zeroes(ScsiReq *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    uint32_t block = d->logical_block_size;

    req->in_io = true;
    block_write_zeroes(d->blk, req->lba * block, req->blocks * block, req->cdb[1] & SAME_UNMAP, change_done, req);
}

void scsi_cmd_write_same(ScsiReq *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    bool no_data = req->cdb[0] == SCSI_WRITE_SAME_16 && req->cdb[1] & SAME_NDOB;

    if (!begin(req)) {
        return;
    }
    /* B0h says that 0 blocks, "up to the end", is not taken (WSNZ). */
    if (!req->blocks || req->cdb[1] & SAME_ANCHOR || (no_data && !(req->cdb[1] & SAME_UNMAP))) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
    } else if (no_data) {
        same_zeroes(req);
    } else if (scsi_req_reserve(req, d->logical_block_size)) {
        scsi_req_transfer(req, SCSI_DIR_TO_UNIT, d->logical_block_size);
    }
}

static bool is_zero(const uint8_t *p, size_t len)
{
    return !p[0] && !memcmp(p, p + 1, len - 1);
}

void scsi_write_same_more(ScsiReq *req)
{
    uint32_t block = scsi_disk_of(req)->logical_block_size;
    uint64_t copies = MIN(req->blocks, SCSI_CHUNK / block);
    uint8_t *buf;

    if (is_zero(req->buf, block)) {
        same_zeroes(req);
        return;
    }
    buf = g_try_realloc(req->buf, copies * block);
    if (!buf) {
        scsi_req_fail(req, SCSI_SENSE_TARGET_FAILURE, UINT64_MAX);
        return;
    }
    req->buf = buf;
    req->room = (uint32_t)copies * block;
    for (uint64_t i = 1; i < copies; i++) {
        memcpy(buf + i * block, buf, block);
    }
    same_next(req);
}

/* --- unmap --- */

static void unmap_next(ScsiReq *req);

static void unmap_done(void *opaque, int result)
{
    ScsiReq *req = opaque;

    if (io_good(req, result, true)) {
        unmap_next(req);
    }
}

/* Discards what the next descriptor names; req->chunk is its offset. */
static void unmap_next(ScsiReq *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    uint32_t block = d->logical_block_size;
    const uint8_t *p = req->buf + req->chunk;

    if (req->chunk + UNMAP_DESCRIPTOR_LEN > req->len) {
        scsi_req_good(req);
        return;
    }
    req->chunk += UNMAP_DESCRIPTOR_LEN;
    req->in_io = true;
    block_discard(d->blk, scsi_get64(p) * block, (uint64_t)scsi_get32(p + 8) * block, unmap_done, req);
}

void scsi_cmd_unmap(ScsiReq *req)
{
    uint32_t len = scsi_get16(req->cdb + 7);

    if (req->cdb[1] & 1) { /* ANCHOR */
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
    } else if (!len) {
        scsi_req_good(req);
    } else if (len < UNMAP_HEADER_LEN) {
        scsi_req_fail(req, SCSI_SENSE_PARAM_LENGTH, UINT64_MAX);
    } else if (scsi_req_reserve(req, len)) {
        scsi_req_transfer(req, SCSI_DIR_TO_UNIT, len);
    }
}

void scsi_unmap_more(ScsiReq *req)
{
    uint64_t total = scsi_disk_blocks(scsi_disk_of(req));
    uint32_t bytes = scsi_get16(req->buf + 2);

    if (bytes % UNMAP_DESCRIPTOR_LEN || bytes > req->len - UNMAP_HEADER_LEN) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_PARAM, UINT64_MAX);
        return;
    }
    req->len = UNMAP_HEADER_LEN + bytes;
    for (uint32_t at = UNMAP_HEADER_LEN; at < req->len; at += UNMAP_DESCRIPTOR_LEN) {
        uint64_t lba = scsi_get64(req->buf + at);

        if (lba > total || scsi_get32(req->buf + at + 8) > total - lba) {
            scsi_req_fail(req, SCSI_SENSE_LBA_RANGE, lba);
            return;
        }
    }
    req->chunk = UNMAP_HEADER_LEN;
    unmap_next(req);
}

/* --- the rest --- */

void scsi_req_flush(ScsiReq *req)
{
    req->in_io = true;
    block_flush(scsi_disk_of(req)->blk, change_done, req);
}

void scsi_cmd_flush(ScsiReq *req)
{
    scsi_cdb_range(req->cdb, &req->lba, &req->blocks);
    if (req->lba > scsi_disk_blocks(scsi_disk_of(req))) {
        scsi_req_fail(req, SCSI_SENSE_LBA_RANGE, req->lba);
        return;
    }
    scsi_req_flush(req);
}

void scsi_cmd_seek(ScsiReq *req)
{
    scsi_cdb_range(req->cdb, &req->lba, &req->blocks);
    if (req->lba >= scsi_disk_blocks(scsi_disk_of(req))) {
        scsi_req_fail(req, SCSI_SENSE_LBA_RANGE, req->lba);
    } else {
        scsi_req_good(req);
    }
}
