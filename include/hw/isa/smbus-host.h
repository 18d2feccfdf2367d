/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SMBus host controller that the PIIX4 and the ICH9 share, and what is on its bus.  Context: main loop's lock. */
#ifndef HW_ISA_SMBUS_HOST_H
#define HW_ISA_SMBUS_HOST_H

#include "core/memory.h"
#include "core/state.h"

#define SMBUS_EEPROMS      8
#define SMBUS_EEPROM_SIZE  256
#define SMBUS_BLOCK        32

typedef struct SmbusEeprom {
    uint8_t data[SMBUS_EEPROM_SIZE];
    uint8_t next; /* what RECEIVE BYTE reads */
} SmbusEeprom;

typedef struct SmbusHost {
    /* wiring */
    bool ich9;                                /* has the registers from 0Ch on, and INUSE_STS */
    void (*set_irq)(void *opaque, bool level); /* NULL: software polls */
    void *opaque;
    bool enabled; /* HST_EN: starts are heard */
    /* registers */
    uint8_t hst_sts, hst_cnt, hst_cmd, xmit_slva, hst_d0, hst_d1, aux_ctl;
    uint8_t block[SMBUS_BLOCK], block_at;
    SmbusEeprom eeproms[SMBUS_EEPROMS]; /* at addresses 50h and up */
} SmbusHost;

/* As after power-on; the EEPROMs are empty. */
void smbus_host_reset(SmbusHost *s);
/* Drives set_irq: after the state was loaded. */
void smbus_host_update_irq(SmbusHost *s);
extern const MemOps smbus_host_ops; /* opaque is the SmbusHost */
extern const StateTable smbus_host_state;

#endif
