/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks and CD-ROM drives: what their files share.  scsi-disk.c has the life of a unit and the table of commands,
 * scsi-block.c those that transfer blocks, scsi-inquiry.c those that describe the unit, scsi-mode.c mode pages,
 * scsi-mmc.c those of CD-ROM drives.
 */
#ifndef HW_SCSI_DISK_H
#define HW_SCSI_DISK_H

#include "block/block.h"
#include "scsi-spec.h"

typedef struct ScsiDisk {
    Device dev;
    ScsiUnit unit;
    bool cd;
    /* properties */
    BlockBackend *blk; /* NULL: a CD-ROM drive without medium */
    char *bus_name, *vendor, *product, *ver, *serial, *device_id;
    uint64_t wwn;
    uint32_t logical_block_size, physical_block_size, rotation_rate;
    uint32_t discard_granularity, min_io_size, opt_io_size;
    int32_t bootindex;
    int write_cache_option, rerror, werror; /* OnOffAuto, words */
    bool removable, share_rw;
    /* state */
    bool write_cache, stopped, tray_open, locked;
    bool media_event; /* to be reported by GET EVENT STATUS NOTIFICATION */
} ScsiDisk;

/* Of ScsiDisk.unit. */
extern const ScsiUnitOps scsi_disk_unit_ops;

static inline ScsiDisk *scsi_disk_of(const ScsiReq *req)
{
    return (ScsiDisk *)(void *)((char *)req->unit - offsetof(ScsiDisk, unit));
}

static inline bool scsi_disk_has_medium(const ScsiDisk *d)
{
    return d->blk && !d->tray_open;
}

/* Blocks of the medium. */
static inline uint64_t scsi_disk_blocks(const ScsiDisk *d)
{
    return scsi_disk_has_medium(d) ? block_size(d->blk) / d->logical_block_size : 0;
}

/* --- commands, each called with what scsi-disk.c's table demands already checked --- */
typedef void ScsiCommandFn(ScsiReq *req);

/* scsi-block.c */
ScsiCommandFn scsi_cmd_read, scsi_cmd_write, scsi_cmd_verify, scsi_cmd_write_same, scsi_cmd_unmap, scsi_cmd_flush;
ScsiCommandFn scsi_cmd_seek;
ScsiCommandFn scsi_read_more, scsi_write_more, scsi_verify_more, scsi_write_same_more, scsi_unmap_more;
/* Ends when what was written before is on stable storage. */
void scsi_req_flush(ScsiReq *req);
/* First block and count of a READ, WRITE or VERIFY of any length. */
void scsi_cdb_range(const uint8_t *cdb, uint64_t *lba, uint64_t *blocks);
/* A request for `status` < 0 fails with the sense data of that errno. */
void scsi_req_fail_errno(ScsiReq *req, int status, bool is_write);

/* scsi-inquiry.c */
ScsiCommandFn scsi_cmd_inquiry, scsi_cmd_read_capacity_10, scsi_cmd_service_action_in;

/* scsi-mode.c */
ScsiCommandFn scsi_cmd_mode_sense, scsi_cmd_mode_select, scsi_mode_select_more;

/* scsi-mmc.c */
ScsiCommandFn scsi_cmd_read_toc, scsi_cmd_get_configuration, scsi_cmd_get_event_status, scsi_cmd_disc_information,
    scsi_cmd_track_information, scsi_cmd_mechanism_status, scsi_cmd_read_cd, scsi_cmd_read_dvd_structure,
    scsi_cmd_read_subchannel;
/* The drive's present profile (MMC-5, 5.3.1). */
uint16_t scsi_mmc_profile(const ScsiDisk *d);

/* Answers with the first `alloc` of `len` bytes of req->buf. */
static inline void scsi_req_answer(ScsiReq *req, uint32_t len, uint32_t alloc)
{
    scsi_req_transfer(req, SCSI_DIR_FROM_UNIT, MIN(len, alloc));
}

#endif
