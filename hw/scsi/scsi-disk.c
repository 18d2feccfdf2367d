/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scsi-hd and scsi-cd: direct access devices (SBC-3) and CD-ROM drives (MMC-5) on a block back end.  The table below says
 * for each command who takes it, what it needs, and who goes on when its data was transferred.
 */
#include <string.h>

#include "core/error.h"
#include "scsi-disk.h"

enum {
    CMD_DISK = 1 << 0,   /* of scsi-hd */
    CMD_CD = 1 << 1,     /* of scsi-cd */
    CMD_MEDIUM = 1 << 2, /* needs a medium that spins */
    CMD_WRITES = 1 << 3, /* needs one that is not write protected */
    CMD_BLOCKS = 1 << 4, /* loaded: lba and blocks are a range of the medium */
};
#define CMD_BOTH (CMD_DISK | CMD_CD)

typedef struct ScsiCommand {
    uint8_t opcode;
    uint8_t flags;
    ScsiCommandFn *execute;
    ScsiCommandFn *more; /* NULL: it has ended when its data was transferred */
} ScsiCommand;

/* --- small commands --- */

static void cmd_nothing(ScsiReq *req)
{
    scsi_req_good(req);
}

static void cmd_prevent_removal(ScsiReq *req)
{
    scsi_disk_of(req)->locked = req->cdb[4] & 1;
    scsi_req_good(req);
}

static void cmd_start_stop(ScsiReq *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    bool start = req->cdb[4] & 1, load_eject = req->cdb[4] & 2;

    if (req->cdb[4] & 0xf0) {
        scsi_req_good(req); /* a power condition: there is none to change */
        return;
    }
    if (load_eject && d->removable) {
        if (!start && d->locked) {
            scsi_req_fail(req, SCSI_SENSE_REMOVAL_PREVENTED, UINT64_MAX);
            return;
        }
        d->media_event |= d->tray_open && start;
        d->tray_open = !start;
    }
    d->stopped = !start && !d->cd;
    if (d->stopped && d->blk) {
        scsi_req_flush(req);
    } else {
        scsi_req_good(req);
    }
}

static void cmd_send_diagnostic(ScsiReq *req)
{
    if (req->cdb[1] & 4) { /* SELFTEST */
        scsi_req_good(req);
    } else {
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
    }
}

static const ScsiCommand commands[] = {
    {SCSI_TEST_UNIT_READY, CMD_BOTH | CMD_MEDIUM, cmd_nothing, NULL},
    {SCSI_REZERO_UNIT, CMD_DISK | CMD_MEDIUM, cmd_nothing, NULL},
    {SCSI_READ_6, CMD_BOTH | CMD_MEDIUM | CMD_BLOCKS, scsi_cmd_read, scsi_read_more},
    {SCSI_WRITE_6, CMD_DISK | CMD_MEDIUM | CMD_WRITES | CMD_BLOCKS, scsi_cmd_write, scsi_write_more},
    {SCSI_SEEK_6, CMD_DISK | CMD_MEDIUM, scsi_cmd_seek, NULL},
    {SCSI_INQUIRY, CMD_BOTH, scsi_cmd_inquiry, NULL},
    {SCSI_MODE_SELECT_6, CMD_BOTH, scsi_cmd_mode_select, scsi_mode_select_more},
    {SCSI_RESERVE_6, CMD_DISK, cmd_nothing, NULL}, /* there is one initiator */
    {SCSI_RELEASE_6, CMD_DISK, cmd_nothing, NULL},
    {SCSI_MODE_SENSE_6, CMD_BOTH, scsi_cmd_mode_sense, NULL},
    {SCSI_START_STOP, CMD_BOTH, cmd_start_stop, NULL},
    {SCSI_SEND_DIAGNOSTIC, CMD_DISK, cmd_send_diagnostic, NULL},
    {SCSI_PREVENT_REMOVAL, CMD_BOTH, cmd_prevent_removal, NULL},
    {SCSI_READ_CAPACITY_10, CMD_BOTH | CMD_MEDIUM, scsi_cmd_read_capacity_10, NULL},
    {SCSI_READ_10, CMD_BOTH | CMD_MEDIUM | CMD_BLOCKS, scsi_cmd_read, scsi_read_more},
    {SCSI_WRITE_10, CMD_DISK | CMD_MEDIUM | CMD_WRITES | CMD_BLOCKS, scsi_cmd_write, scsi_write_more},
    {SCSI_SEEK_10, CMD_BOTH | CMD_MEDIUM, scsi_cmd_seek, NULL},
    {SCSI_WRITE_VERIFY_10, CMD_DISK | CMD_MEDIUM | CMD_WRITES | CMD_BLOCKS, scsi_cmd_write, scsi_write_more},
    {SCSI_VERIFY_10, CMD_BOTH | CMD_MEDIUM | CMD_BLOCKS, scsi_cmd_verify, scsi_verify_more},
    {SCSI_SYNCHRONIZE_CACHE_10, CMD_BOTH | CMD_MEDIUM, scsi_cmd_flush, NULL},
    {SCSI_WRITE_SAME_10, CMD_DISK | CMD_MEDIUM | CMD_WRITES | CMD_BLOCKS, scsi_cmd_write_same, scsi_write_same_more},
    {SCSI_UNMAP, CMD_DISK | CMD_MEDIUM | CMD_WRITES, scsi_cmd_unmap, scsi_unmap_more},
    {SCSI_READ_SUBCHANNEL, CMD_CD | CMD_MEDIUM, scsi_cmd_read_subchannel, NULL},
    {SCSI_READ_TOC, CMD_CD | CMD_MEDIUM, scsi_cmd_read_toc, NULL},
    {SCSI_GET_CONFIGURATION, CMD_CD, scsi_cmd_get_configuration, NULL},
    {SCSI_GET_EVENT_STATUS, CMD_CD, scsi_cmd_get_event_status, NULL},
    {SCSI_READ_DISC_INFORMATION, CMD_CD | CMD_MEDIUM, scsi_cmd_disc_information, NULL},
    {SCSI_READ_TRACK_INFORMATION, CMD_CD | CMD_MEDIUM, scsi_cmd_track_information, NULL},
    {SCSI_MODE_SELECT_10, CMD_BOTH, scsi_cmd_mode_select, scsi_mode_select_more},
    {SCSI_MODE_SENSE_10, CMD_BOTH, scsi_cmd_mode_sense, NULL},
    {SCSI_READ_16, CMD_DISK | CMD_MEDIUM | CMD_BLOCKS, scsi_cmd_read, scsi_read_more},
    {SCSI_WRITE_16, CMD_DISK | CMD_MEDIUM | CMD_WRITES | CMD_BLOCKS, scsi_cmd_write, scsi_write_more},
    {SCSI_WRITE_VERIFY_16, CMD_DISK | CMD_MEDIUM | CMD_WRITES | CMD_BLOCKS, scsi_cmd_write, scsi_write_more},
    {SCSI_VERIFY_16, CMD_DISK | CMD_MEDIUM | CMD_BLOCKS, scsi_cmd_verify, scsi_verify_more},
    {SCSI_SYNCHRONIZE_CACHE_16, CMD_DISK | CMD_MEDIUM, scsi_cmd_flush, NULL},
    {SCSI_WRITE_SAME_16, CMD_DISK | CMD_MEDIUM | CMD_WRITES | CMD_BLOCKS, scsi_cmd_write_same, scsi_write_same_more},
    {SCSI_SERVICE_ACTION_IN_16, CMD_DISK | CMD_MEDIUM, scsi_cmd_service_action_in, NULL},
    {SCSI_READ_12, CMD_BOTH | CMD_MEDIUM | CMD_BLOCKS, scsi_cmd_read, scsi_read_more},
    {SCSI_WRITE_12, CMD_DISK | CMD_MEDIUM | CMD_WRITES | CMD_BLOCKS, scsi_cmd_write, scsi_write_more},
    {SCSI_READ_DVD_STRUCTURE, CMD_CD | CMD_MEDIUM, scsi_cmd_read_dvd_structure, NULL},
    {SCSI_WRITE_VERIFY_12, CMD_DISK | CMD_MEDIUM | CMD_WRITES | CMD_BLOCKS, scsi_cmd_write, scsi_write_more},
    {SCSI_VERIFY_12, CMD_DISK | CMD_MEDIUM | CMD_BLOCKS, scsi_cmd_verify, scsi_verify_more},
    {SCSI_SET_CD_SPEED, CMD_CD, cmd_nothing, NULL},
    {SCSI_MECHANISM_STATUS, CMD_CD, scsi_cmd_mechanism_status, NULL},
    {SCSI_READ_CD, CMD_CD | CMD_MEDIUM | CMD_BLOCKS, scsi_cmd_read_cd, scsi_read_more},
};

static const ScsiCommand *find_command(const ScsiReq *req)
{
    uint8_t who = scsi_disk_of(req)->cd ? CMD_CD : CMD_DISK;

    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (commands[i].opcode == req->cdb[0] && commands[i].flags & who) {
            return &commands[i];
        }
    }
    return NULL;
}

/* --- the unit's operations --- */

static void disk_execute(ScsiReq *req)
{
    const ScsiDisk *d = scsi_disk_of(req);
    const ScsiCommand *c = find_command(req);

    if (!c) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_OPCODE, UINT64_MAX);
    } else if (c->flags & CMD_MEDIUM && !scsi_disk_has_medium(d)) {
        scsi_req_fail(req, d->tray_open ? SCSI_SENSE_TRAY_OPEN : SCSI_SENSE_NO_MEDIUM, UINT64_MAX);
    } else if (c->flags & CMD_MEDIUM && d->stopped) {
        scsi_req_fail(req, SCSI_SENSE_NOT_READY, UINT64_MAX);
    } else if (c->flags & CMD_WRITES && block_readonly(d->blk)) {
        scsi_req_fail(req, SCSI_SENSE_WRITE_PROTECTED, UINT64_MAX);
    } else {
        c->execute(req);
    }
}

static void disk_more(ScsiReq *req)
{
    const ScsiCommand *c = find_command(req);

    if (c && c->more) {
        c->more(req);
    } else {
        scsi_req_good(req);
    }
}

static void disk_bus_reset(ScsiUnit *unit)
{
    ScsiDisk *d = (ScsiDisk *)(void *)((char *)unit - offsetof(ScsiDisk, unit));

    d->write_cache = d->write_cache_option != ON_OFF_AUTO_OFF;
    d->stopped = d->locked = d->tray_open = d->media_event = false;
}

static bool disk_loaded(ScsiReq *req)
{
    const ScsiDisk *d = scsi_disk_of(req);
    const ScsiCommand *c = find_command(req);
    uint64_t total = scsi_disk_blocks(d);

    if (!c) {
        return !req->len; /* it was refused */
    }
    if (req->len && c->flags & CMD_BLOCKS) {
        uint64_t bytes = (uint64_t)req->chunk * d->logical_block_size;
        bool same = c->more == scsi_write_same_more;

        return req->lba <= total && req->blocks <= total - req->lba && req->chunk <= req->blocks &&
               (same ? !req->chunk && req->len == d->logical_block_size && req->blocks : req->len == bytes);
    }
    /* Parameter lists are looked into without looking at their length again. */
    return !req->len || req->dir == SCSI_DIR_FROM_UNIT || req->len >= 8 ||
           (c->more == scsi_mode_select_more && req->cdb[0] == SCSI_MODE_SELECT_6 && req->len >= 4);
}

static void disk_drain(ScsiUnit *unit)
{
    ScsiDisk *d = (ScsiDisk *)(void *)((char *)unit - offsetof(ScsiDisk, unit));

    if (d->blk) {
        block_drain(d->blk);
    }
}

const ScsiUnitOps scsi_disk_unit_ops = {
    .execute = disk_execute,
    .more = disk_more,
    .reset = disk_bus_reset,
    .loaded = disk_loaded,
    .drain = disk_drain,
};

/* --- life --- */

static void disk_resized(void *opaque)
{
    ((ScsiDisk *)opaque)->unit.attention = SCSI_SENSE_CAPACITY_CHANGED;
}

static bool disk_check(ScsiDisk *d, GError **error)
{
    const char *model = d->dev.obj.model->name;
    uint32_t lbs = d->logical_block_size, pbs = d->physical_block_size;

    if (!d->blk && !d->cd) {
        error_set(error, "%s: property 'drive' is required; add drive=<str>", model);
        return false;
    }
    if (lbs & (lbs - 1) || pbs & (pbs - 1) || pbs < lbs) {
        error_set(error, "%s: block sizes must be powers of two, the physical not below the logical (logical %u, "
                  "physical %u, allowed 512..32768)", model, lbs, pbs);
        return false;
    }
    if (d->unit.channel) {
        error_set(error, "%s.channel: this bus has one channel (%u, allowed 0)", model, d->unit.channel);
        return false;
    }
    if (d->share_rw && d->blk && !block_shared(d->blk)) {
        error_set(error, "%s.share-rw=on: drive '%s' has its file to itself; give the drive locking=off", model,
                  block_id(d->blk));
        return false;
    }
    if (d->blk && block_size(d->blk) < lbs) {
        error_set(error, "%s.drive=%s: is smaller than one block of %u bytes", model, block_id(d->blk), lbs);
        return false;
    }
    return true;
}

static bool disk_place(Device *dev, GError **error)
{
    return scsi_unit_place(dev, ((ScsiDisk *)dev)->bus_name, error);
}

static char *disk_boot_path(const Device *dev)
{
    const ScsiUnit *unit = &((const ScsiDisk *)dev)->unit;

    return g_strdup_printf("/channel@%x/disk@%x,%x", unit->channel, (unsigned)unit->id, unit->lun);
}

static bool disk_start(Device *dev, GError **error)
{
    ScsiDisk *d = (ScsiDisk *)dev;

    d->unit.dev = dev;
    d->unit.ops = &scsi_disk_unit_ops;
    if (!disk_check(d, error) || (d->blk && !block_attach(d->blk, dev, dev->home, error))) {
        return false;
    }
    if (!scsi_unit_attach(&d->unit, error)) {
        if (d->blk) {
            block_detach(d->blk);
        }
        return false;
    }
    if (d->blk) {
        block_set_error_actions(d->blk, d->rerror, d->werror);
        block_set_resized(d->blk, disk_resized, d);
    }
    return true;
}

static bool cd_start(Device *dev, GError **error)
{
    ScsiDisk *d = (ScsiDisk *)dev;

    d->cd = d->removable = true;
    d->logical_block_size = d->physical_block_size = 2048;
    return disk_start(dev, error);
}

/* Its controller was reset before it. */
static void disk_reset(Device *dev)
{
    scsi_unit_reset(&((ScsiDisk *)dev)->unit);
}

static void disk_stop(Device *dev)
{
    ScsiDisk *d = (ScsiDisk *)dev;

    scsi_unit_detach(&d->unit);
    if (d->blk) {
        block_detach(d->blk);
    }
}

/* --- properties, state, models --- */

#define SCSI_COMMON_PROPS(product_name)                                                                        \
    {.name = "drive", .type = &prop_drive, .offset = offsetof(ScsiDisk, blk), .doc = "id of a -drive"},         \
    PROP_STR("bus", ScsiDisk, bus_name, NULL, "SCSI bus: ID.0 of a controller with an id, else scsi.0, ..."),   \
    PROP_U32("channel", ScsiDisk, unit.channel, 0, 0, 255, "0: there is one"),                                  \
    {.name = "scsi-id", .type = &prop_int32, .offset = offsetof(ScsiDisk, unit.id), .def = UINT64_MAX,          \
     .min = UINT64_MAX, .max = SCSI_ID_COUNT - 1, .doc = "id on the bus; -1: the first that is free"},          \
    PROP_U32("lun", ScsiDisk, unit.lun, 0, 0, SCSI_LUN_COUNT - 1, "logical unit of that id"),                   \
    PROP_STR("serial", ScsiDisk, serial, NULL, "unit serial number"),                                           \
    PROP_STR("vendor", ScsiDisk, vendor, "QEMU", "8 characters of INQUIRY"),                                    \
    PROP_STR("product", ScsiDisk, product, product_name, "16 characters of INQUIRY"),                           \
    PROP_STR("ver", ScsiDisk, ver, "2.5+", "4 characters of INQUIRY: the revision"),                            \
    PROP_STR("device_id", ScsiDisk, device_id, NULL, "text of page 83h; default: the serial, or the drive's id"), \
    PROP_U64("wwn", ScsiDisk, wwn, 0, 0, UINT64_MAX, "NAA identifier in page 83h; 0: none"),                    \
    BLOCK_ERROR_PROPS(ScsiDisk, rerror, werror),                                                                \
    PROP_BOOL("share-rw", ScsiDisk, share_rw, false, "others may write to the drive's file too"),               \
    {.name = "bootindex", .type = &prop_int32, .offset = offsetof(ScsiDisk, bootindex), .def = UINT64_MAX,      \
     .doc = "Place in the boot order; -1: none"}

static const Prop hd_props[] = {
    SCSI_COMMON_PROPS("QEMU HARDDISK"),
    PROP_U32("logical_block_size", ScsiDisk, logical_block_size, 512, 512, 32768, "bytes of a block"),
    PROP_U32("physical_block_size", ScsiDisk, physical_block_size, 512, 512, 32768,
             "bytes that are best written at once"),
    PROP_U32("min_io_size", ScsiDisk, min_io_size, 0, 0, UINT32_MAX, "granularity of transfers, bytes"),
    PROP_U32("opt_io_size", ScsiDisk, opt_io_size, 0, 0, UINT32_MAX, "best size of transfers, bytes"),
    PROP_U32("discard_granularity", ScsiDisk, discard_granularity, 4096, 0, UINT32_MAX,
             "bytes that are deallocated together; 0: the guest is not told to"),
    PROP_U32("rotation_rate", ScsiDisk, rotation_rate, 0, 0, 65534, "revolutions a minute; 1: no moving parts"),
    PROP_BOOL("removable", ScsiDisk, removable, false, "say that the medium can be removed"),
    {.name = "write-cache", .type = &prop_on_off_auto, .offset = offsetof(ScsiDisk, write_cache_option),
     .doc = "state of the write cache after power-on; auto: on"},
    PROP_END,
};

static const Prop cd_props[] = {SCSI_COMMON_PROPS("QEMU CD-ROM"), PROP_END};

static const StateField disk_fields[] = {
    STATE_FIELD_STRUCT(ScsiDisk, unit, &scsi_unit_state),
    STATE_FIELD_BOOL(ScsiDisk, write_cache),
    STATE_FIELD_BOOL(ScsiDisk, stopped),
    STATE_FIELD_BOOL(ScsiDisk, tray_open),
    STATE_FIELD_BOOL(ScsiDisk, locked),
    STATE_FIELD_BOOL(ScsiDisk, media_event),
    STATE_END,
};
static const StateTable disk_state = {.name = "scsi-disk", .version = 1, .fields = disk_fields};

const DeviceModel scsi_hd_model = {
    .model = {.name = "scsi-hd",
              .doc = "SCSI disk.",
              .kind = MODEL_DEVICE,
              .size = sizeof(ScsiDisk),
              .props = hd_props,
              .state = &disk_state},
    .place = disk_place,
    .start = disk_start,
    .reset = disk_reset,
    .stop = disk_stop,
    .boot_path = disk_boot_path,
};

const DeviceModel scsi_cd_model = {
    .model = {.name = "scsi-cd",
              .doc = "SCSI CD-ROM drive; without drive= there is no disc in it.",
              .kind = MODEL_DEVICE,
              .size = sizeof(ScsiDisk),
              .props = cd_props,
              .state = &disk_state},
    .place = disk_place,
    .start = cd_start,
    .reset = disk_reset,
    .stop = disk_stop,
    .boot_path = disk_boot_path,
};
