/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PACKET (ACS-3, 7.18; MMC-5, annex A): SCSI commands to the drive's own unit, data by DMA or PIO as AHCI moves it. */
#include <string.h>

#include "hw/ide/ahci.h"

static void packet_transfer(ScsiReq *req)
{
    AhciCmd *c = req->host;
    bool ok;

    if (ahci_cmd_forgotten(c)) {
        return;
    }
    c->to_host = req->dir == SCSI_DIR_FROM_UNIT;
    ok = c->to_host ? ahci_cmd_to_host(c, req->buf, req->len) : ahci_cmd_from_host(c, req->buf, req->len);
    if (!ok) {
        ahci_cmd_abort(c); /* and the request with it */
    } else if (!ahci_cmd_forgotten(c)) {
        scsi_req_continue(req);
    }
}

static void packet_complete(ScsiReq *req)
{
    AhciCmd *c = req->host;
    uint8_t key = req->unit->sense[2] & 0xf;

    if (ahci_cmd_forgotten(c)) {
        return;
    }
    if (req->status == SCSI_GOOD) {
        ahci_cmd_end(c, ATA_READY, 0, 3); /* interrupt reason: status */
    } else {
        ahci_cmd_end(c, ATA_READY | ATA_ERR, (uint8_t)(key << 4 | ATA_ERR_ABRT), 3);
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

void atapi_execute(AhciCmd *c)
{
    uint8_t cdb[SCSI_CDB_LEN];

    memcpy(cdb, c->acmd, sizeof(cdb));
    c->packet = scsi_req_new(c->port->drive->packets, 0, 0, c->slot, cdb, c);
    scsi_req_start(c->packet);
}
