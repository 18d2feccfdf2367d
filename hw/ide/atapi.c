/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PACKET (ACS-3, 7.18; MMC-5, annex A): SCSI commands to the drive's own unit, data by DMA or PIO as the host moves it. */
#include <string.h>

#include "hw/ide/ide.h"

static void packet_transfer(ScsiReq *req)
{
    IdeCmd *c = req->host;

    if (ide_cmd_forgotten(c)) {
        return;
    }
    c->to_host = req->dir == SCSI_DIR_FROM_UNIT;
    c->data = req->buf;
    c->len = req->len;
    c->moved = atapi_moved;
    c->port->ops->move(c);
}

void atapi_moved(IdeCmd *c)
{
    scsi_req_continue(c->packet);
}

static void packet_complete(ScsiReq *req)
{
    IdeCmd *c = req->host;
    uint8_t key = req->unit->sense[2] & 0xf;

    if (ide_cmd_forgotten(c)) {
        return;
    }
    if (req->status == SCSI_GOOD) {
        ide_cmd_end(c, ATA_READY, 0, 3); /* interrupt reason: status */
    } else {
        ide_cmd_end(c, ATA_READY | ATA_ERR, (uint8_t)(key << 4 | ATA_ERR_ABRT), 3);
    }
}

/* Its commands are forgotten with the port. */
static void packet_unit_gone(ScsiBus *bus, ScsiUnit *unit)
{
}

const ScsiHostOps atapi_host_ops = {
    .transfer = packet_transfer,
    .complete = packet_complete,
    .unit_gone = packet_unit_gone,
};

void atapi_execute(IdeCmd *c)
{
    uint8_t cdb[SCSI_CDB_LEN];

    memcpy(cdb, c->acmd, sizeof(cdb));
    c->packet = scsi_req_new(c->port->drive->packets, 0, 0, c->slot, cdb, c);
    scsi_req_start(c->packet);
}
