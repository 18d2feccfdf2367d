/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a unit says of itself: INQUIRY and vital product data (SPC-3, 6.4, 7.6; SBC-3, 6.5), READ CAPACITY (SBC-3, 5.12). */
#include <string.h>

#include "scsi-disk.h"

#define INQUIRY_LEN   36
#define VPD_MAX_LEN   512
#define VERSION_SPC_3 5

/* Text, padded with spaces, not terminated. */
static void put_text(uint8_t *p, size_t len, const char *text)
{
    memset(p, ' ', len);
    memcpy(p, text, MIN(len, strlen(text)));
}

static uint8_t device_type(const ScsiDisk *d)
{
    return d->cd ? SCSI_TYPE_CD : SCSI_TYPE_DISK;
}

static void standard_inquiry(ScsiReq *req, uint32_t alloc)
{
    ScsiDisk *d = scsi_disk_of(req);
    uint8_t *p = req->buf;

    p[0] = device_type(d);
    p[1] = d->removable ? 0x80 : 0;
    p[2] = VERSION_SPC_3;
    p[3] = 0x12; /* HISUP, format 2 */
    p[4] = INQUIRY_LEN - 5;
    p[7] = 0x32; /* WBUS16, SYNC, CMDQUE */
    put_text(p + 8, 8, d->vendor);
    put_text(p + 16, 16, d->product);
    put_text(p + 32, 4, d->ver);
    scsi_req_answer(req, INQUIRY_LEN, alloc);
}

/* --- pages: each fills p and gives the number of bytes behind the header of 4 --- */

typedef struct VpdPage {
    uint8_t code;
    bool disk_only;
    uint32_t (*fill)(const ScsiDisk *d, uint8_t *p);
} VpdPage;

static uint32_t vpd_supported(const ScsiDisk *d, uint8_t *p);

static uint32_t vpd_serial(const ScsiDisk *d, uint8_t *p)
{
    size_t len = MIN(strlen(d->serial), 250);

    memcpy(p, d->serial, len);
    return (uint32_t)len;
}

static uint32_t vpd_identification(const ScsiDisk *d, uint8_t *p)
{
    const char *id = d->device_id ? d->device_id : d->serial ? d->serial : d->blk ? block_id(d->blk) : "";
    uint32_t len = (uint32_t)MIN(strlen(id), 255 - 8), at = 0;

    if (len) {
        p[0] = 0x02; /* ASCII */
        p[3] = (uint8_t)len;
        memcpy(p + 4, id, len);
        at = 4 + len;
    }
    if (d->wwn) {
        p[at] = 0x01;     /* binary */
        p[at + 1] = 0x03; /* NAA, of the unit */
        p[at + 3] = 8;
        scsi_put64(p + at + 4, d->wwn);
        at += 12;
    }
    return at;
}

static uint32_t vpd_block_limits(const ScsiDisk *d, uint8_t *p)
{
    uint32_t block = d->logical_block_size;

    p[0] = 1; /* WSNZ */
    scsi_put16(p + 2, MIN(d->min_io_size / block, UINT16_MAX));
    scsi_put32(p + 8, d->opt_io_size / block);
    scsi_put32(p + 16, UINT32_MAX); /* blocks of an UNMAP */
    scsi_put32(p + 20, 255);        /* its descriptors */
    scsi_put32(p + 24, MAX(d->discard_granularity, block) / block);
    scsi_put64(p + 32, UINT32_MAX); /* blocks of a WRITE SAME */
    return 0x3c;
}

static uint32_t vpd_characteristics(const ScsiDisk *d, uint8_t *p)
{
    scsi_put16(p, d->rotation_rate);
    return 0x3c;
}

static uint32_t vpd_provisioning(const ScsiDisk *d, uint8_t *p)
{
    p[1] = 0xe0; /* UNMAP, WRITE SAME (16) and (10) with UNMAP */
    p[2] = d->discard_granularity ? 2 : 1;
    return 4;
}

static const VpdPage vpd_pages[] = {
    {SCSI_VPD_SUPPORTED, false, vpd_supported},
    {SCSI_VPD_SERIAL, false, vpd_serial},
    {SCSI_VPD_IDENTIFICATION, false, vpd_identification},
    {SCSI_VPD_BLOCK_LIMITS, true, vpd_block_limits},
    {SCSI_VPD_CHARACTERISTICS, true, vpd_characteristics},
    {SCSI_VPD_PROVISIONING, true, vpd_provisioning},
};

static bool vpd_has(const ScsiDisk *d, const VpdPage *page)
{
    return !(page->disk_only && d->cd) && (page->code != SCSI_VPD_SERIAL || d->serial);
}

static uint32_t vpd_supported(const ScsiDisk *d, uint8_t *p)
{
    uint32_t n = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(vpd_pages); i++) {
        if (vpd_has(d, &vpd_pages[i])) {
            p[n++] = vpd_pages[i].code;
        }
    }
    return n;
}

static void vpd_inquiry(ScsiReq *req, uint32_t alloc)
{
    const ScsiDisk *d = scsi_disk_of(req);

    for (size_t i = 0; i < G_N_ELEMENTS(vpd_pages); i++) {
        const VpdPage *page = &vpd_pages[i];

        if (page->code == req->cdb[2] && vpd_has(d, page)) {
            uint32_t len = page->fill(d, req->buf + 4);

            req->buf[0] = device_type(d);
            req->buf[1] = page->code;
            scsi_put16(req->buf + 2, len);
            scsi_req_answer(req, len + 4, alloc);
            return;
        }
    }
    scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
}

void scsi_cmd_inquiry(ScsiReq *req)
{
    uint32_t alloc = scsi_get16(req->cdb + 3);

    if (req->cdb[1] & 2 || (!(req->cdb[1] & 1) && req->cdb[2])) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
    } else if (scsi_req_reserve(req, VPD_MAX_LEN)) {
        (req->cdb[1] & 1 ? vpd_inquiry : standard_inquiry)(req, alloc);
    }
}

/* --- capacity --- */

void scsi_cmd_read_capacity_10(ScsiReq *req)
{
    const ScsiDisk *d = scsi_disk_of(req);
    uint64_t blocks = scsi_disk_blocks(d);

    if (req->cdb[8] & 1 || scsi_get32(req->cdb + 2)) { /* PMI is obsolete */
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
    } else if (scsi_req_reserve(req, 8)) {
        scsi_put32(req->buf, (uint32_t)MIN(blocks - 1, UINT32_MAX));
        scsi_put32(req->buf + 4, d->logical_block_size);
        scsi_req_answer(req, 8, 8);
    }
}

void scsi_cmd_service_action_in(ScsiReq *req)
{
    const ScsiDisk *d = scsi_disk_of(req);

    if ((req->cdb[1] & 0x1f) != SCSI_SA_READ_CAPACITY_16) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
    } else if (scsi_req_reserve(req, 32)) {
        scsi_put64(req->buf, scsi_disk_blocks(d) - 1);
        scsi_put32(req->buf + 8, d->logical_block_size);
        req->buf[13] = (uint8_t)__builtin_ctz(d->physical_block_size / d->logical_block_size);
        req->buf[14] = d->cd || !d->discard_granularity ? 0 : 0x80; /* LBPME */
        scsi_req_answer(req, 32, scsi_get32(req->cdb + 10));
    }
}
