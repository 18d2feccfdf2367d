/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Serial ATA: what its files share.  ahci.c is the host bus adapter (AHCI 1.3.1): registers, ports, command lists, FISes;
 * ide-drive.c the drives ide-hd and ide-cd with what they say of themselves; ata.c ATA commands (ACS-3), atapi.c PACKET.
 *
 * Context: the home lock of the adapter, which is that of its drives too.
 */
#ifndef HW_IDE_AHCI_H
#define HW_IDE_AHCI_H

#include "hw/pci/pci.h"
#include "hw/scsi/scsi-disk.h"

#define AHCI_PORTS     6
#define AHCI_SLOTS     32
#define AHCI_CHUNK     (256u << 10) /* bytes of a command that are buffered at most */
#define AHCI_CFIS_LEN  20
#define AHCI_ACMD_LEN  16

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

typedef struct Ahci Ahci;
typedef struct AhciPort AhciPort;
typedef struct IdeDrive IdeDrive;

/* How a command's data is announced, and its end told. */
typedef enum AhciProtocol { AHCI_NO_DATA, AHCI_PIO_IN, AHCI_PIO_OUT, AHCI_DMA, AHCI_NCQ } AhciProtocol;

/* A command under way, between its fetch and its end. */
typedef struct AhciCmd {
    AhciPort *port;
    uint32_t generation; /* of the port when fetched: an older one has no end */
    uint8_t slot, tag;
    uint8_t cfis[AHCI_CFIS_LEN], acmd[AHCI_ACMD_LEN];
    AhciProtocol protocol;
    bool to_host;
    uint64_t table;          /* address of the command table */
    uint32_t prdtl;
    uint32_t moved;          /* bytes to or from memory so far: PRDBC */
    uint64_t lba, sectors;   /* what is left */
    uint32_t chunk;          /* sectors under way */
    uint8_t *buf;            /* AHCI_CHUNK bytes, or NULL */
    ScsiReq *packet;
    bool fua;
} AhciCmd;

struct AhciPort {
    Ahci *a;
    DeviceBus *bus;
    IdeDrive *drive; /* NULL: nothing is plugged in */
    uint8_t n;
    uint32_t generation, busy; /* busy: bit a slot that is under way */
    /* registers */
    uint64_t clb, fb;
    uint32_t is, ie, cmd, tfd, sig, ssts, sctl, serr, sact, ci;
    bool failed;             /* an error stands: nothing is fetched before ST is cleared */
    bool soft_reset;         /* SRST is set */
    uint8_t ncq_log[16];     /* of the last NCQ error: begin of log 10h; byte 2 is 0: none */
};

struct Ahci {
    PciDevice pci;
    uint32_t ghc, is, index;
    unsigned in_dma;
    AhciPort ports[AHCI_PORTS];
    LoopBh *bh;
};

/* One of the two drives; ScsiDisk begins with the device, and its unit is what PACKET commands go to. */
struct IdeDrive {
    ScsiDisk d;
    AhciPort *port;
    ScsiBus *packets; /* of ide-cd */
    uint32_t unit;    /* property: 0 */
    uint8_t multiple; /* sectors of READ MULTIPLE */
    bool standby;
};

/* --- ahci.c --- */
/* A drive is plugged into, or pulled from, a port. */
void ahci_port_plug(AhciPort *port, IdeDrive *drive);
void ahci_port_unplug(AhciPort *port);
/* Data at the command's present place in memory; false: some of it is not there, or the list is too short. */
bool ahci_cmd_to_host(AhciCmd *cmd, const void *buf, uint32_t len);
bool ahci_cmd_from_host(AhciCmd *cmd, void *buf, uint32_t len);
/* The end, with the drive's status and error registers; frees it.  count: of the register FIS. */
void ahci_cmd_end(AhciCmd *cmd, uint8_t status, uint8_t error, uint16_t count);
static inline void ahci_cmd_good(AhciCmd *cmd)
{
    ahci_cmd_end(cmd, ATA_READY, 0, 0);
}
static inline void ahci_cmd_abort(AhciCmd *cmd)
{
    ahci_cmd_end(cmd, ATA_READY | ATA_ERR, ATA_ERR_ABRT, 0);
}
/* True: its port was reset, nobody waits for it any more, and it was freed. */
bool ahci_cmd_forgotten(AhciCmd *cmd);
/* An NCQ command was accepted: its slot is free, its tag is not. */
void ahci_cmd_accepted(AhciCmd *cmd);

/* --- ata.c, atapi.c --- */
void ata_execute(AhciCmd *cmd);
void atapi_execute(AhciCmd *cmd);
extern const ScsiHostOps atapi_host_ops;

/* --- ide-drive.c --- */
void ide_identify(const IdeDrive *drive, uint8_t id[512]);
void ide_drive_reset(IdeDrive *drive);
extern const PciModel ich9_ahci_model;
extern const DeviceModel ide_hd_model, ide_cd_model;

#endif
