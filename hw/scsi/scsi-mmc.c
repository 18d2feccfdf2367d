/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands of CD-ROM and DVD-ROM drives (MMC-5, 6): a disc of one data track in one closed session. */
#include <string.h>

#include "scsi-disk.h"

#define CD_MAX_BLOCKS   (80u * 60 * 75) /* more than that is a DVD */
#define PROFILE_CD_ROM  0x0008
#define PROFILE_DVD_ROM 0x0010
#define TRACK_DATA      0x14 /* ADR 1, a data track that must not be copied */
#define LEAD_OUT        0xaa
#define PREGAP_BLOCKS   150 /* two seconds */
#define ANSWER_LEN      2048

uint16_t scsi_mmc_profile(const ScsiDisk *d)
{
    if (!scsi_disk_has_medium(d)) {
        return 0;
    }
    return scsi_disk_blocks(d) > CD_MAX_BLOCKS ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

/* A place on the disc, as a block or as minute, second and frame. */
static void put_address(uint8_t *p, uint32_t lba, bool msf)
{
    if (msf) {
        lba += PREGAP_BLOCKS;
        p[0] = 0;
        p[1] = (uint8_t)(lba / 75 / 60);
        p[2] = (uint8_t)(lba / 75 % 60);
        p[3] = (uint8_t)(lba % 75);
    } else {
        scsi_put32(p, lba);
    }
}

/* --- table of contents (6.26) --- */

static uint32_t toc_tracks(const ScsiDisk *d, uint8_t *p, uint8_t first, bool msf)
{
    uint32_t len = 4;

    p[2] = p[3] = 1;
    if (first <= 1) {
        p[len + 1] = TRACK_DATA;
        p[len + 2] = 1;
        put_address(p + len + 4, 0, msf);
        len += 8;
    }
    p[len + 1] = TRACK_DATA;
    p[len + 2] = LEAD_OUT;
    put_address(p + len + 4, (uint32_t)scsi_disk_blocks(d), msf);
    return len + 8;
}

static uint32_t toc_sessions(uint8_t *p, bool msf)
{
    p[2] = p[3] = 1;
    p[5] = TRACK_DATA;
    p[6] = 1;
    put_address(p + 8, 0, msf);
    return 12;
}

static uint32_t toc_full(const ScsiDisk *d, uint8_t *p)
{
    static const uint8_t points[] = {0xa0, 0xa1, 0xa2, 1};
    uint32_t len = 4;

    p[2] = p[3] = 1;
    for (unsigned i = 0; i < G_N_ELEMENTS(points); i++, len += 11) {
        uint8_t *e = p + len;
        uint8_t place[4] = {0};

        e[0] = 1;
        e[1] = TRACK_DATA;
        e[3] = points[i];
        if (points[i] == 0xa0 || points[i] == 0xa1) {
            place[1] = 1; /* first or last track */
        } else {
            put_address(place, points[i] == 0xa2 ? (uint32_t)scsi_disk_blocks(d) : 0, true);
        }
        memcpy(e + 8, place + 1, 3);
    }
    return len;
}

void scsi_cmd_read_toc(ScsiReq *req)
{
    const ScsiDisk *d = scsi_disk_of(req);
    uint8_t format = req->cdb[2] & 0xf ? req->cdb[2] & 0xf : req->cdb[9] >> 6, first = req->cdb[6];
    bool msf = req->cdb[1] & 2;
    uint32_t len;

    if (!scsi_req_reserve(req, ANSWER_LEN)) {
        return;
    }
    if (format == 0 && (first <= 1 || first == LEAD_OUT)) {
        len = toc_tracks(d, req->buf, first, msf);
    } else if (format == 1) {
        len = toc_sessions(req->buf, msf);
    } else if (format == 2 && first <= 1) {
        len = toc_full(d, req->buf);
    } else {
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
        return;
    }
    scsi_put16(req->buf, len - 2);
    scsi_req_answer(req, len, scsi_get16(req->cdb + 7));
}

/* --- features (6.6, 5.3) --- */

typedef struct Feature {
    uint16_t code;
    uint8_t flags; /* version, persistent, current */
    uint8_t len;
    uint8_t data[8];
    uint16_t profile; /* current only with a disc of this profile; 0: always as in flags */
} Feature;

static const Feature features[] = {
    {0x0000, 0x03, 8, {0, PROFILE_DVD_ROM, 0, 0, 0, PROFILE_CD_ROM, 0, 0}, 0}, /* profiles */
    {0x0001, 0x0b, 8, {0, 0, 0, 1, 1}, 0},                                     /* core: SCSI, device busy events */
    {0x0003, 0x03, 4, {0x29}, 0},                                              /* removable: tray, eject, lock */
    {0x0010, 0x00, 8, {0, 0, 8, 0, 0, 16, 0, 0}, 0xffff},                      /* random readable, 2048 bytes */
    {0x001e, 0x00, 4, {0}, PROFILE_CD_ROM},                                    /* CD read */
    {0x001f, 0x00, 4, {0}, PROFILE_DVD_ROM},                                   /* DVD read */
};

static uint32_t put_feature(const Feature *f, uint16_t profile, uint8_t *p)
{
    bool current = f->flags & 1 || (profile && (f->profile == 0xffff || f->profile == profile));

    scsi_put16(p, f->code);
    p[2] = f->flags | current;
    p[3] = f->len;
    memcpy(p + 4, f->data, f->len);
    if (!f->code) {
        p[6] = profile == PROFILE_DVD_ROM;
        p[10] = profile == PROFILE_CD_ROM;
    }
    return f->len + 4u;
}

void scsi_cmd_get_configuration(ScsiReq *req)
{
    uint16_t profile = scsi_mmc_profile(scsi_disk_of(req)), start = scsi_get16(req->cdb + 2);
    unsigned which = req->cdb[1] & 3;
    uint32_t len = 8;

    if (which == 3) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
        return;
    }
    if (!scsi_req_reserve(req, ANSWER_LEN)) {
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        uint32_t added = 0;

        if (which == 2 ? features[i].code == start : features[i].code >= start) {
            added = put_feature(&features[i], profile, req->buf + len);
        }
        if (added && (which != 1 || req->buf[len + 2] & 1)) {
            len += added;
        } else if (added) {
            memset(req->buf + len, 0, added);
        }
    }
    scsi_put32(req->buf, len - 4);
    scsi_put16(req->buf + 6, profile);
    scsi_req_answer(req, len, scsi_get16(req->cdb + 7));
}

/* --- events (6.7) --- */

#define EVENT_CLASS_MEDIA 4

void scsi_cmd_get_event_status(ScsiReq *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    bool media = req->cdb[4] & 1 << EVENT_CLASS_MEDIA;

    if (!(req->cdb[1] & 1)) { /* only when polled */
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
        return;
    }
    if (!scsi_req_reserve(req, 8)) {
        return;
    }
    req->buf[2] = media ? EVENT_CLASS_MEDIA : 0x80; /* NEA: none of those classes */
    req->buf[3] = 1 << EVENT_CLASS_MEDIA;
    if (media) {
        req->buf[4] = d->media_event && scsi_get16(req->cdb + 7) > 4 ? 2 : 0; /* new media */
        req->buf[5] = (d->tray_open ? 1 : 0) | (scsi_disk_has_medium(d) ? 2 : 0);
        d->media_event &= !req->buf[4];
    }
    scsi_put16(req->buf, media ? 6 : 2);
    scsi_req_answer(req, media ? 8 : 4, scsi_get16(req->cdb + 7));
}

/* --- disc and track (6.22, 6.27), mechanism (6.10) --- */

void scsi_cmd_disc_information(ScsiReq *req)
{
    if (req->cdb[1] & 7) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
    } else if (scsi_req_reserve(req, 34)) {
        scsi_put16(req->buf, 32);
        req->buf[2] = 0x0e; /* complete, last session complete */
        req->buf[3] = req->buf[4] = req->buf[5] = req->buf[6] = 1;
        req->buf[7] = 0x20; /* unrestricted use */
        memset(req->buf + 16, 0xff, 8);
        scsi_req_answer(req, 34, scsi_get16(req->cdb + 7));
    }
}

void scsi_cmd_track_information(ScsiReq *req)
{
    if (!scsi_req_reserve(req, 36)) {
        return;
    }
    scsi_put16(req->buf, 34);
    req->buf[2] = req->buf[3] = 1;
    req->buf[5] = 4; /* data */
    req->buf[6] = 1; /* mode 1 */
    scsi_put32(req->buf + 24, (uint32_t)scsi_disk_blocks(scsi_disk_of(req)));
    scsi_req_answer(req, 36, scsi_get16(req->cdb + 7));
}

void scsi_cmd_mechanism_status(ScsiReq *req)
{
    if (scsi_req_reserve(req, 8)) {
        req->buf[5] = 1;
        scsi_req_answer(req, 8, scsi_get16(req->cdb + 8));
    }
}

void scsi_cmd_read_subchannel(ScsiReq *req)
{
    if (req->cdb[2] & 0x40) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX); /* there is no audio to be in */
    } else if (scsi_req_reserve(req, 4)) {
        req->buf[1] = 0x15; /* no audio status */
        scsi_req_answer(req, 4, scsi_get16(req->cdb + 7));
    }
}

/* Physical format information of a single layer DVD-ROM (6.23.3.2). */
void scsi_cmd_read_dvd_structure(ScsiReq *req)
{
    const ScsiDisk *d = scsi_disk_of(req);
    uint8_t *p;

    if (scsi_mmc_profile(d) != PROFILE_DVD_ROM || req->cdb[7] || req->cdb[6]) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
        return;
    }
    if (!scsi_req_reserve(req, ANSWER_LEN + 4)) {
        return;
    }
    p = req->buf;
    scsi_put16(p, ANSWER_LEN + 2);
    p[4] = 1;
    p[5] = 0x0f;
    p[6] = 1;
    scsi_put32(p + 8, 0x30000);
    scsi_put32(p + 12, 0x30000 + (uint32_t)scsi_disk_blocks(d) - 1);
    scsi_req_answer(req, ANSWER_LEN + 4, scsi_get16(req->cdb + 8));
}

/* READ CD (6.19) of user data is a READ. */
void scsi_cmd_read_cd(ScsiReq *req)
{
    uint8_t type = req->cdb[1] >> 2 & 7, what = req->cdb[9] & 0xf8;
    uint8_t read[SCSI_CDB_LEN] = {SCSI_READ_12};
    uint32_t blocks = scsi_get24(req->cdb + 6);

    if ((type != 0 && type != 2) || (what != 0x10 && what != 0) || req->cdb[10] & 7) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
        return;
    }
    memcpy(read + 2, req->cdb + 2, 4);
    scsi_put32(read + 6, what ? blocks : 0);
    memcpy(req->cdb, read, sizeof(read));
    scsi_cmd_read(req);
}
