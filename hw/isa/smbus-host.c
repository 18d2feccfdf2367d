/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The SMBus host controller of the PIIX4 (82371AB data sheet, 7.3) and the ICH9 (datasheet, 18.2), with eight EEPROMs at
 * 50h to 57h as memory modules have; they hold zeroes until somebody writes.  A transfer is over when its start was
 * written, but for blocks that go byte by byte: of those, each step is over when it was asked for.  What nobody acknowledges
 * ends with DEV_ERR.  The EEPROMs are plain ones, to whom the count of a block (SMBus 2.0, 5.5.7) is a byte like the others.
 * Nobody on the bus makes alerts.  Not there: the slave side, packet error codes, block process calls.
 */
#include "hw/isa/smbus-host.h"

#include <string.h>

enum {
    HST_STS = 0x00, HST_CNT = 0x02, HST_CMD = 0x03, XMIT_SLVA = 0x04, HST_D0 = 0x05, HST_D1 = 0x06, HOST_BLOCK_DB = 0x07,
    AUX_CTL = 0x0d, SMLINK_PIN_CTL = 0x0e, SMBUS_PIN_CTL = 0x0f,
};
#define STS_BUSY    0x01
#define STS_INTR    0x02
#define STS_DEV_ERR 0x04
#define STS_CAUSES  0x1e /* INTR, DEV_ERR, BUS_ERR, FAILED */
#define STS_FAILED  0x10
#define STS_INUSE   0x40
#define STS_DS      0x80 /* a byte of a block is done: the next goes when this is cleared */
#define STS_W1C     0xfe
#define CNT_INTREN  0x01
#define CNT_KILL    0x02
#define CNT_LAST    0x20 /* no more bytes after the next */
#define CNT_START   0x40
#define CNT_ICH9    0x20 /* bits that only it has */
#define AUX_E32B    0x02 /* blocks go through the buffer of 32 bytes at once, as the PIIX4's do always */
#define PIN_HIGH    0x07 /* nobody pulls the lines down */
#define EEPROM_BASE 0x50

enum { QUICK, BYTE, BYTE_DATA, WORD_DATA, PROCESS_CALL, BLOCK, I2C_READ };

/* The buffer's bytes while a block goes byte by byte. */
enum { STEP_BYTE, STEP_LAST };

void smbus_host_update_irq(SmbusHost *s)
{
    if (s->set_irq) {
        s->set_irq(s->opaque, s->hst_cnt & CNT_INTREN && s->hst_sts & (STS_CAUSES | STS_DS));
    }
}

/* --- what the EEPROMs take --- */

static unsigned protocol_of(const SmbusHost *s)
{
    return s->hst_cnt >> 2 & 7;
}

/* NULL: nobody answers at that address. */
static SmbusEeprom *eeprom_of(SmbusHost *s)
{
    unsigned n = (s->xmit_slva >> 1) - EEPROM_BASE;

    return n < SMBUS_EEPROMS ? &s->eeproms[n] : NULL;
}

static void eeprom_move(SmbusEeprom *e, uint8_t *byte, bool read)
{
    if (read) {
        *byte = e->data[e->next++];
    } else {
        e->data[e->next++] = *byte;
    }
}

static bool eeprom_transfer(SmbusHost *s, SmbusEeprom *e, unsigned protocol, bool read)
{
    switch (protocol) {
    case QUICK:
        return true;
    case BYTE:
        if (read) {
            s->hst_d0 = e->data[e->next++];
        } else {
            e->next = s->hst_cmd;
        }
        return true;
    case BYTE_DATA:
        e->next = s->hst_cmd;
        eeprom_move(e, &s->hst_d0, read);
        return true;
    case WORD_DATA:
        e->next = s->hst_cmd;
        eeprom_move(e, &s->hst_d0, read);
        eeprom_move(e, &s->hst_d1, read);
        return true;
    case PROCESS_CALL:
        e->next = s->hst_cmd;
        for (unsigned i = 0; s->ich9 && i < 2; i++) {
            eeprom_move(e, &s->hst_d0, i);
            eeprom_move(e, &s->hst_d1, i);
        }
        return s->ich9;
    default:
        return false;
    }
}

/* --- blocks --- */

/* False: the count is none that a block can have. */
static bool block_begin(SmbusHost *s, SmbusEeprom *e, bool read)
{
    if (!read && (s->hst_d0 == 0 || s->hst_d0 > SMBUS_BLOCK)) {
        return false;
    }
    e->next = s->hst_cmd;
    eeprom_move(e, &s->hst_d0, read);
    s->block_at = 0;
    return s->hst_d0 > 0 && s->hst_d0 <= SMBUS_BLOCK;
}

static bool block_whole(SmbusHost *s, SmbusEeprom *e, bool read)
{
    bool ok = block_begin(s, e, read);

    for (unsigned i = 0; ok && i < s->hst_d0; i++) {
        eeprom_move(e, &s->block[i], read);
    }
    return ok;
}

static bool block_by_bytes(const SmbusHost *s)
{
    return s->ich9 && !(s->aux_ctl & AUX_E32B);
}

static void finish(SmbusHost *s, bool ok)
{
    s->hst_sts = (uint8_t)((s->hst_sts & ~(STS_BUSY | STS_DS)) | (ok ? STS_INTR : STS_DEV_ERR));
}

/* One byte; software may have changed whatever it likes since the last. */
static void block_step(SmbusHost *s)
{
    SmbusEeprom *e = eeprom_of(s);
    bool counted = protocol_of(s) == BLOCK, read = !counted || s->xmit_slva & 1;

    if (!e) {
        finish(s, false);
        return;
    }
    eeprom_move(e, &s->block[STEP_BYTE], read);
    s->block_at++;
    s->block[STEP_LAST] = (counted && s->block_at >= s->hst_d0) || (read && s->hst_cnt & CNT_LAST);
    s->hst_sts |= STS_BUSY | STS_DS;
}

static void byte_done_cleared(SmbusHost *s)
{
    if (s->block[STEP_LAST]) {
        finish(s, true);
    } else {
        block_step(s);
    }
}

static void start(SmbusHost *s)
{
    SmbusEeprom *e = eeprom_of(s);
    unsigned protocol = protocol_of(s);
    bool read = s->xmit_slva & 1;

    if (!e) {
        finish(s, false);
    } else if (protocol == BLOCK && !block_by_bytes(s)) {
        finish(s, block_whole(s, e, read));
    } else if (protocol == BLOCK) {
        if (block_begin(s, e, read)) {
            block_step(s);
        } else {
            finish(s, false);
        }
    } else if (protocol == I2C_READ && s->ich9) {
        e->next = s->hst_d1; /* instead of the command */
        s->block_at = 0;
        block_step(s);
    } else {
        finish(s, eeprom_transfer(s, e, protocol, read));
    }
}

static void control_written(SmbusHost *s, uint8_t val)
{
    bool busy = s->hst_sts & STS_BUSY;

    s->hst_cnt = val & (uint8_t) ~(CNT_START | (s->ich9 ? 0 : CNT_ICH9));
    if (s->hst_cnt & CNT_KILL && busy) {
        s->hst_sts = (uint8_t)((s->hst_sts & ~(STS_BUSY | STS_DS)) | STS_FAILED);
    } else if (val & CNT_START && s->enabled && !busy && !(s->hst_cnt & CNT_KILL)) {
        start(s);
    }
}

static uint8_t *block_byte(SmbusHost *s)
{
    return block_by_bytes(s) || s->hst_sts & STS_BUSY ? &s->block[STEP_BYTE] : &s->block[s->block_at++ % SMBUS_BLOCK];
}

/* --- registers --- */

static uint8_t reg_read(SmbusHost *s, unsigned reg)
{
    uint8_t val;

    switch (reg) {
    case HST_STS:
        val = s->hst_sts;
        s->hst_sts |= s->ich9 ? STS_INUSE : 0; /* who reads it as 0 has it */
        return val;
    case HST_CNT:
        s->block_at = s->hst_sts & STS_BUSY ? s->block_at : 0;
        return s->hst_cnt;
    case HST_CMD:
        return s->hst_cmd;
    case XMIT_SLVA:
        return s->xmit_slva;
    case HST_D0:
        return s->hst_d0;
    case HST_D1:
        return s->hst_d1;
    case HOST_BLOCK_DB:
        return *block_byte(s);
    case AUX_CTL:
        return s->aux_ctl;
    case SMLINK_PIN_CTL:
    case SMBUS_PIN_CTL:
        return s->ich9 ? PIN_HIGH : 0;
    default:
        return 0;
    }
}

static void reg_write(SmbusHost *s, unsigned reg, uint8_t val)
{
    bool step;

    switch (reg) {
    case HST_STS:
        step = s->hst_sts & val & STS_DS;
        s->hst_sts &= (uint8_t)~(val & STS_W1C);
        if (step) {
            byte_done_cleared(s);
        }
        break;
    case HST_CNT:
        control_written(s, val);
        break;
    case HST_CMD:
        s->hst_cmd = val;
        break;
    case XMIT_SLVA:
        s->xmit_slva = val;
        break;
    case HST_D0:
        s->hst_d0 = val;
        break;
    case HST_D1:
        s->hst_d1 = val;
        break;
    case HOST_BLOCK_DB:
        *block_byte(s) = val;
        break;
    case AUX_CTL:
        s->aux_ctl = s->ich9 ? val & 3 : 0;
        break;
    default:
        break;
    }
    smbus_host_update_irq(s);
}

static MemResult smbus_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = reg_read(opaque, (unsigned)addr);
    return MEM_OK;
}

static MemResult smbus_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    reg_write(opaque, (unsigned)addr, (uint8_t)val);
    return MEM_OK;
}

const MemOps smbus_host_ops = {smbus_read, smbus_write, .min_size = 1, .max_size = 1};

void smbus_host_reset(SmbusHost *s)
{
    s->hst_sts = s->hst_cnt = s->hst_cmd = s->xmit_slva = s->hst_d0 = s->hst_d1 = s->aux_ctl = 0;
    memset(s->block, 0, sizeof(s->block));
    s->block_at = 0;
    memset(s->eeproms, 0, sizeof(s->eeproms));
    smbus_host_update_irq(s);
}

static const StateField eeprom_fields[] = {STATE_FIELD_BYTES(SmbusEeprom, data), STATE_FIELD_UINT(SmbusEeprom, next), STATE_END};
static const StateTable eeprom_state = {.name = "smbus-eeprom", .version = 1, .fields = eeprom_fields};

static const StateField host_fields[] = {
    STATE_FIELD_UINT(SmbusHost, hst_sts),   STATE_FIELD_UINT(SmbusHost, hst_cnt), STATE_FIELD_UINT(SmbusHost, hst_cmd),
    STATE_FIELD_UINT(SmbusHost, xmit_slva), STATE_FIELD_UINT(SmbusHost, hst_d0),  STATE_FIELD_UINT(SmbusHost, hst_d1),
    STATE_FIELD_UINT(SmbusHost, aux_ctl),   STATE_FIELD_BYTES(SmbusHost, block),  STATE_FIELD_UINT(SmbusHost, block_at),
    STATE_FIELD_STRUCTS(SmbusHost, eeproms, &eeprom_state), STATE_END,
};
const StateTable smbus_host_state = {.name = "smbus-host", .version = 1, .fields = host_fields};
