/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ATA drives and the commands they carry out, whatever they are plugged into: ide-drive.c the drives ide-hd and ide-cd with
 * what they say of themselves; ata.c ATA commands (ACS-3), atapi.c PACKET.  A host (ahci.c, ide-channel.c) makes commands
 * of what the guest wrote, moves their data and tells their end.
 *
 * Context: the home lock of the controller, which is that of its drives too.
 */
#ifndef HW_IDE_IDE_H
#define HW_IDE_IDE_H

#include "hw/pci/pci.h"
#include "hw/scsi/scsi-disk.h"

#define IDE_CHUNK       (256u << 10) /* bytes of a command that are buffered at most */
#define IDE_CFIS_LEN    20
#define IDE_ACMD_LEN    16
#define IDE_QUEUE_DEPTH 32

/* Status and error registers of a drive (ACS-3, 6). */
#define ATA_BSY  0x80u
#define ATA_DRDY 0x40u
#define ATA_DF   0x20u
#define ATA_DSC  0x10u
#define ATA_DRQ  0x08u
#define ATA_ERR  0x01u
#define ATA_READY (ATA_DRDY | ATA_DSC)
#define ATA_ERR_UNC  0x40u
#define ATA_ERR_IDNF 0x10u
#define ATA_ERR_ABRT 0x04u
#define ATA_SIG_DISK  0x00000101u
#define ATA_SIG_ATAPI 0xeb140101u

typedef struct IdeCmd IdeCmd;
typedef struct IdePort IdePort;
typedef struct IdeDrive IdeDrive;

/* How a command's data is announced, and its end told. */
typedef enum IdeProtocol { IDE_NO_DATA, IDE_PIO_IN, IDE_PIO_OUT, IDE_DMA, IDE_NCQ } IdeProtocol;

typedef struct IdeHostOps {
    bool queues; /* takes NCQ commands: the link is a serial one */
    /* c->len bytes of c->data go to the guest (c->to_host) or come from it; ide_cmd_moved() follows, now or later. */
    void (*move)(IdeCmd *c);
    /* The end, with the drive's status and error registers; count: what else its registers say.  Frees it. */
    void (*end)(IdeCmd *c, uint8_t status, uint8_t error, uint16_t count);
    /* An NCQ command was accepted: its slot is free, its tag is not. */
    void (*accepted)(IdeCmd *c);
    /* A drive was plugged in, or pulled. */
    void (*plugged)(IdePort *port);
    void (*unplugged)(IdePort *port);
} IdeHostOps;

/* A place for one drive. */
struct IdePort {
    const IdeHostOps *ops;
    DeviceBus *bus;
    IdePort *next;       /* of the same controller, in the order in which they are filled; NULL: the last */
    IdeDrive *drive;     /* NULL: nothing is plugged in */
    uint8_t n;           /* among the places of the controller: names the drive's serial number */
    uint8_t bus_n, unit; /* of the bus in the controller, of the drive on the bus */
    uint32_t generation; /* changes when what is under way is forgotten */
};

/* A command under way, between its fetch and its end.  Hosts have more of it behind. */
struct IdeCmd {
    IdePort *port;
    uint32_t generation; /* of the port when fetched: an older one has no end */
    uint8_t slot, tag;
    uint8_t cfis[IDE_CFIS_LEN], acmd[IDE_ACMD_LEN]; /* registers as a host-to-device FIS has them; the packet */
    IdeProtocol protocol;
    bool to_host, fua;
    void (*moved)(IdeCmd *c); /* what comes after the present data */
    uint64_t lba, sectors;    /* what is left */
    uint32_t chunk;           /* sectors under way */
    uint8_t *buf;             /* its own, or NULL */
    uint8_t *data;            /* what move() moves: in buf, or the packet's */
    uint32_t len;
    ScsiReq *packet;
};

/* One of the two drives; ScsiDisk begins with the device, and its unit is what PACKET commands go to. */
struct IdeDrive {
    ScsiDisk d;
    IdePort *port;
    ScsiBus *packets; /* of ide-cd */
    int32_t unit;     /* property; -1: the first that is free */
    uint8_t multiple; /* sectors of READ MULTIPLE */
    uint8_t heads, track; /* of addresses that are no LBA: heads, sectors of a track */
    bool standby;
    uint8_t ncq_log[16]; /* of the last NCQ error: begin of log 10h; byte 2 is 0: none */
};

/* --- ata.c: for hosts --- */
/* Carries out what cfis and acmd say. */
void ata_execute(IdeCmd *c);
/* The data is where it belongs; false: it is not, and the command fails. */
void ide_cmd_moved(IdeCmd *c, bool ok);
/* True: its port was reset, nobody waits for it any more, and it was freed. */
bool ide_cmd_forgotten(IdeCmd *c);
void ide_cmd_free(IdeCmd *c);
/* What ide_cmd_moved() goes on with in a command that was loaded: false: it cannot have been under way. */
bool ata_resume(IdeCmd *c);

/* --- for ata.c and atapi.c --- */
static inline void ide_cmd_end(IdeCmd *c, uint8_t status, uint8_t error, uint16_t count)
{
    c->port->ops->end(c, status, error, count);
}
static inline void ide_cmd_good(IdeCmd *c)
{
    ide_cmd_end(c, ATA_READY, 0, 0);
}
static inline void ide_cmd_abort(IdeCmd *c)
{
    ide_cmd_end(c, ATA_READY | ATA_ERR, ATA_ERR_ABRT, 0);
}
void atapi_execute(IdeCmd *c);
void atapi_moved(IdeCmd *c);
extern const ScsiHostOps atapi_host_ops;

/* --- ide-drive.c --- */
void ide_identify(const IdeDrive *drive, uint8_t id[512]);
void ide_drive_reset(IdeDrive *drive);
extern const DeviceModel ide_hd_model, ide_cd_model;

#endif
