/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A parallel ATA channel: the command and control block registers of two drives (ATA/ATAPI-6, 7 and 9), data by PIO or
 * through the owner's bus master.  Context: the owner's home lock.
 */
#ifndef HW_IDE_IDE_CHANNEL_H
#define HW_IDE_IDE_CHANNEL_H

#include "hw/ide/ide.h"

#define IDE_UNITS        2
#define IDE_COMMAND_PORTS 8

typedef struct IdeChannel IdeChannel;

/* What the channel and the guest wait for. */
typedef enum IdePhase {
    IDE_PHASE_IDLE,   /* a command */
    IDE_PHASE_BUSY,   /* the drive */
    IDE_PHASE_PACKET, /* a packet, from the guest */
    IDE_PHASE_DATA,   /* the guest moves data by PIO */
    IDE_PHASE_DMA,    /* the bus master moves data */
    IDE_PHASE_COUNT
} IdePhase;

enum { IDE_FEATURES, IDE_COUNT, IDE_LBA_LOW, IDE_LBA_MID, IDE_LBA_HIGH, IDE_REGS };

/* Registers that each drive has for itself. */
typedef struct IdeUnit {
    uint8_t status, error;
    uint8_t regs[IDE_REGS], previous[IDE_REGS]; /* as written last, and before that */
} IdeUnit;

/* What a saved command is, in the phases in which one waits for the guest. */
typedef struct IdeSavedCmd {
    uint8_t cfis[IDE_CFIS_LEN], acmd[IDE_ACMD_LEN];
    uint64_t lba, sectors;
    uint32_t chunk, len;
    uint8_t *data; /* the first len bytes of its buffer, or the saved ScsiReq */
    uint32_t data_len;
    bool packet;
} IdeSavedCmd;

struct IdeChannel {
    IdePort ports[IDE_UNITS];
    IdeUnit units[IDE_UNITS];
    uint8_t device, control;
    uint8_t phase;     /* IdePhase */
    bool irq;          /* INTRQ, before nIEN */
    bool first;        /* no data was asked for in this command yet */
    IdeCmd *cmd;       /* in every phase but idle; in BUSY somebody else has it too */
    uint32_t pos, end; /* bytes of cmd->data that were moved; where the present DRQ block ends */
    IdeSavedCmd saved;
    /* wiring */
    void (*set_irq)(void *opaque, bool level); /* on change, after nIEN */
    void (*dma_ready)(void *opaque);           /* phase is IDE_PHASE_DMA now */
    void *opaque;
    bool irq_out;
};

/* Number n of the owner, with a bus for its drives; the wiring is set. */
void ide_channel_init(IdeChannel *ch, Device *owner, unsigned n);
void ide_channel_free(IdeChannel *ch);
/* As after power-on. */
void ide_channel_reset(IdeChannel *ch);
/* The bus master has moved `len` bytes from pos on (phase DMA); false: it could not. */
void ide_channel_dma_moved(IdeChannel *ch, uint32_t len, bool ok);

extern const MemOps ide_command_ops, ide_control_ops; /* IDE_COMMAND_PORTS ports; 1 port; opaque is the channel */
extern const StateTable ide_channel_state;
/* Of the owner's state: before saving, and after loading; false: the command cannot be. */
void ide_channel_pre_save(IdeChannel *ch);
bool ide_channel_post_load(IdeChannel *ch, GError **error);

#endif
