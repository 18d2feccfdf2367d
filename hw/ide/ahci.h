/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Serial ATA controller: its ports and what it keeps of a command.
 *
 * Context: the home lock of the adapter, which is that of its drives too.
 */
#ifndef HW_IDE_AHCI_H
#define HW_IDE_AHCI_H

#include "hw/ide/ide.h"

#define AHCI_PORTS 6
#define AHCI_SLOTS IDE_QUEUE_DEPTH

typedef struct Ahci Ahci;

typedef struct AhciCmd {
    IdeCmd c;
    uint64_t table; /* address of the command table */
    uint32_t prdtl;
    uint32_t moved; /* bytes to or from memory so far: PRDBC */
} AhciCmd;

typedef struct AhciPort {
    IdePort port;
    Ahci *a;
    uint32_t busy; /* bit a slot that is under way */
    /* registers */
    uint64_t clb, fb;
    uint32_t is, ie, cmd, tfd, sig, ssts, sctl, serr, sact, ci;
    bool failed;     /* an error stands: nothing is fetched before ST is cleared */
    bool soft_reset; /* SRST is set */
    uint8_t old_ncq_log[16]; /* from states of version 1; the drive has it since */
} AhciPort;

struct Ahci {
    PciDevice pci;
    uint32_t ghc, is, index;
    unsigned in_dma;
    AhciPort ports[AHCI_PORTS];
    LoopBh *bh;
};

extern const PciModel ich9_ahci_model;

#endif
