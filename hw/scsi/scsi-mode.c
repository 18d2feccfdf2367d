/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MODE SENSE and MODE SELECT (SPC-3, 6.7 to 6.10) and the pages: error recovery, geometry, caching, control (SBC-3, 6.4),
 * audio and capabilities of CD-ROM drives (MMC-5, 7.2; SFF-8020).  What can be changed is the write cache.
 */
#include <string.h>

#include "scsi-disk.h"

#define HEADER_6_LEN     4
#define HEADER_10_LEN    8
#define DESCRIPTOR_LEN   8
#define MODE_MAX_LEN     256
#define SPECIFIC_WP      0x80
#define SPECIFIC_DPOFUA  0x10
#define CACHING_WCE      0x04
#define CD_SPEED         5632 /* kB/s: 32x */

enum { PC_CURRENT, PC_CHANGEABLE, PC_DEFAULT, PC_SAVED };

/* Fills the parameters of a page; gives their length. */
typedef struct ModePage {
    uint8_t code, len;
    bool disk, cd;
    void (*fill)(const ScsiDisk *d, uint8_t *p, unsigned pc);
} ModePage;

static void page_error_recovery(const ScsiDisk *d, uint8_t *p, unsigned pc)
{
    if (pc != PC_CHANGEABLE) {
        p[0] = d->cd ? 0 : 0x80; /* AWRE */
        p[1] = d->cd ? 0x20 : 0;
    }
}

static void page_geometry(const ScsiDisk *d, uint8_t *p, unsigned pc)
{
    uint64_t cylinders = scsi_disk_blocks(d) / (16 * 63);

    if (pc != PC_CHANGEABLE) {
        scsi_put24(p, (uint32_t)MIN(cylinders, 0xffffff));
        p[3] = 16;
        scsi_put16(p + 18, d->rotation_rate > 1 ? d->rotation_rate : 5400);
    }
}

static void page_caching(const ScsiDisk *d, uint8_t *p, unsigned pc)
{
    if (pc == PC_CHANGEABLE || pc == PC_DEFAULT || d->write_cache) {
        p[0] = CACHING_WCE;
    }
}

static void page_control(const ScsiDisk *d, uint8_t *p, unsigned pc)
{
    if (pc != PC_CHANGEABLE) {
        p[1] = 0x10; /* commands may be reordered */
    }
}

static void page_audio(const ScsiDisk *d, uint8_t *p, unsigned pc)
{
}

static void page_capabilities(const ScsiDisk *d, uint8_t *p, unsigned pc)
{
    if (pc == PC_CHANGEABLE) {
        return;
    }
    p[0] = 0x3b; /* reads CD-R, CD-RW, DVD-ROM, DVD-R, DVD-RAM */
    p[2] = 0x70; /* multisession, mode 2 forms 1 and 2 */
    p[4] = 0x29 | (d->locked ? 2 : 0); /* a tray that can be locked and opened */
    scsi_put16(p + 6, CD_SPEED);
    scsi_put16(p + 8, 2); /* volume levels */
    scsi_put16(p + 10, 2048);
    scsi_put16(p + 12, CD_SPEED);
    scsi_put16(p + 16, CD_SPEED);
    scsi_put16(p + 18, CD_SPEED);
}

static const ModePage mode_pages[] = {
    {SCSI_PAGE_ERROR_RECOVERY, 10, true, true, page_error_recovery},
    {SCSI_PAGE_GEOMETRY, 22, true, false, page_geometry},
    {SCSI_PAGE_CACHING, 18, true, true, page_caching},
    {SCSI_PAGE_CONTROL, 10, true, true, page_control},
    {SCSI_PAGE_AUDIO, 14, false, true, page_audio},
    {SCSI_PAGE_CAPABILITIES, 20, false, true, page_capabilities},
};

static bool has_page(const ScsiDisk *d, const ModePage *page)
{
    return d->cd ? page->cd : page->disk;
}

static const ModePage *find_page(const ScsiDisk *d, uint8_t code)
{
    for (size_t i = 0; i < G_N_ELEMENTS(mode_pages); i++) {
        if (mode_pages[i].code == code && has_page(d, &mode_pages[i])) {
            return &mode_pages[i];
        }
    }
    return NULL;
}

static uint8_t device_specific(const ScsiDisk *d)
{
    if (d->cd) {
        return 0;
    }
    return SPECIFIC_DPOFUA | (block_readonly(d->blk) ? SPECIFIC_WP : 0);
}

/* --- sense --- */

static uint32_t fill_descriptor(const ScsiDisk *d, uint8_t *p)
{
    scsi_put32(p, (uint32_t)MIN(scsi_disk_blocks(d), 0xffffff));
    scsi_put32(p + 4, d->logical_block_size);
    return DESCRIPTOR_LEN;
}

static uint32_t fill_page(const ScsiDisk *d, const ModePage *page, uint8_t *p, unsigned pc)
{
    p[0] = page->code;
    p[1] = page->len;
    page->fill(d, p + 2, pc);
    return page->len + 2u;
}

static uint32_t fill_pages(const ScsiDisk *d, uint8_t code, uint8_t *p, unsigned pc)
{
    uint32_t len = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(mode_pages); i++) {
        const ModePage *page = &mode_pages[i];

        if (has_page(d, page) && (code == SCSI_PAGE_ALL || code == page->code)) {
            len += fill_page(d, page, p + len, pc);
        }
    }
    return len;
}

void scsi_cmd_mode_sense(ScsiReq *req)
{
    const ScsiDisk *d = scsi_disk_of(req);
    bool ten = req->cdb[0] == SCSI_MODE_SENSE_10, descriptor = !d->cd && !(req->cdb[1] & 8);
    unsigned pc = req->cdb[2] >> 6, header = ten ? HEADER_10_LEN : HEADER_6_LEN;
    uint32_t alloc = ten ? scsi_get16(req->cdb + 7) : req->cdb[4], len = header, pages;

    if (pc == PC_SAVED) {
        scsi_req_fail(req, SCSI_SENSE_SAVING_PARAMS, UINT64_MAX);
        return;
    }
    if (!scsi_req_reserve(req, MODE_MAX_LEN)) {
        return;
    }
    len += descriptor ? fill_descriptor(d, req->buf + len) : 0;
    pages = fill_pages(d, req->cdb[2] & 0x3f, req->buf + len, pc);
    if (!pages || (req->cdb[3] && req->cdb[3] != 0xff)) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
        return;
    }
    len += pages;
    if (ten) {
        scsi_put16(req->buf, len - 2);
        req->buf[3] = device_specific(d);
        scsi_put16(req->buf + 6, descriptor ? DESCRIPTOR_LEN : 0);
    } else {
        req->buf[0] = (uint8_t)(len - 1);
        req->buf[2] = device_specific(d);
        req->buf[3] = descriptor ? DESCRIPTOR_LEN : 0;
    }
    scsi_req_answer(req, len, alloc);
}

/* --- select --- */

void scsi_cmd_mode_select(ScsiReq *req)
{
    bool ten = req->cdb[0] == SCSI_MODE_SELECT_10;
    uint32_t len = ten ? scsi_get16(req->cdb + 7) : req->cdb[4];

    if ((req->cdb[1] & 0x11) != 0x10) { /* PF, and not SP */
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
    } else if (!len) {
        scsi_req_good(req);
    } else if (len < (ten ? HEADER_10_LEN : HEADER_6_LEN)) {
        scsi_req_fail(req, SCSI_SENSE_PARAM_LENGTH, UINT64_MAX);
    } else if (scsi_req_reserve(req, len)) {
        scsi_req_transfer(req, SCSI_DIR_TO_UNIT, len);
    }
}

/* Whether the page differs from the present one only where it may. */
static bool page_acceptable(const ScsiDisk *d, const uint8_t *given)
{
    const ModePage *page = find_page(d, given[0] & 0x3f);
    uint8_t now[MODE_MAX_LEN] = {0}, mask[MODE_MAX_LEN] = {0};

    if (!page || page->len != given[1]) {
        return false;
    }
    page->fill(d, now, PC_CURRENT);
    page->fill(d, mask, PC_CHANGEABLE);
    for (unsigned i = 0; i < page->len; i++) {
        if ((now[i] ^ given[2 + i]) & ~mask[i]) {
            return false;
        }
    }
    return true;
}

/* The pages of a list: false when one cannot be.  apply: and takes them over. */
static bool pages_each(ScsiDisk *d, const uint8_t *p, uint32_t len, bool apply)
{
    while (len >= 2) {
        uint32_t page_len = p[1] + 2u;

        if (page_len > len || p[0] & 0x40 || !page_acceptable(d, p)) {
            return false;
        }
        if (apply && (p[0] & 0x3f) == SCSI_PAGE_CACHING) {
            d->write_cache = p[2] & CACHING_WCE;
        }
        p += page_len;
        len -= page_len;
    }
    return !len;
}

void scsi_mode_select_more(ScsiReq *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    bool ten = req->cdb[0] == SCSI_MODE_SELECT_10;
    uint32_t header = ten ? HEADER_10_LEN : HEADER_6_LEN;
    uint32_t descriptors = ten ? scsi_get16(req->buf + 6) : req->buf[3];
    uint32_t block;

    if ((descriptors && descriptors != DESCRIPTOR_LEN) || descriptors > req->len - header) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_PARAM, UINT64_MAX);
        return;
    }
    block = descriptors ? scsi_get24(req->buf + header + 5) : d->logical_block_size;
    header += descriptors;
    if (block != d->logical_block_size || !pages_each(d, req->buf + header, req->len - header, false)) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_PARAM, UINT64_MAX);
        return;
    }
    pages_each(d, req->buf + header, req->len - header, true);
    if (d->blk && !d->write_cache) {
        scsi_req_flush(req); /* what is in the cache must not stay there */
    } else {
        scsi_req_good(req);
    }
}
