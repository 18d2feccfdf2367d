/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The SMBus host controller of the PIIX4 (82371AB data sheet, 7.3) and the ICH9 (datasheet, 18.2), with eight EEPROMs at
 * 50h to 57h as memory modules have; they hold zeroes until somebody writes.  A transfer is over when its start was
 * written.  The EEPROMs take quick, byte, byte data, word data, process call and block transfers (SMBus 2.0, 5.5), the bytes
 * of a block behind their count, through the buffer of 32 bytes; what nobody acknowledges, blocks of another size and, in the
 * ICH9, blocks without the buffer end with DEV_ERR.  Not there: I2C reads, the slave side, alerts, packet error codes.
 */
#include "hw/isa/smbus-host.h"

#include <string.h>

enum {
    HST_STS = 0x00, HST_CNT = 0x02, HST_CMD = 0x03, XMIT_SLVA = 0x04, HST_D0 = 0x05, HST_D1 = 0x06, HOST_BLOCK_DB = 0x07,
    AUX_CTL = 0x0d, SMLINK_PIN_CTL = 0x0e, SMBUS_PIN_CTL = 0x0f,
};
#define STS_INTR    0x02
#define STS_DEV_ERR 0x04
#define STS_CAUSES  0x1e /* INTR, DEV_ERR, BUS_ERR, FAILED */
#define STS_INUSE   0x40
#define STS_W1C     0xfe
#define CNT_INTREN  0x01
#define CNT_START   0x40
#define AUX_E32B    0x02 /* blocks go through the buffer, as they always do in the PIIX4 */
#define PIN_HIGH    0x07 /* nobody pulls the lines down */
#define EEPROM_BASE 0x50

enum { QUICK, BYTE, BYTE_DATA, WORD_DATA, PROCESS_CALL, BLOCK };

void smbus_host_update_irq(SmbusHost *s)
{
    if (s->set_irq) {
        s->set_irq(s->opaque, s->hst_cnt & CNT_INTREN && s->hst_sts & STS_CAUSES);
    }
}

static bool eeprom_block(SmbusHost *s, SmbusEeprom *e, bool read)
{
    uint8_t at = s->hst_cmd, count = read ? e->data[at] : s->hst_d0;

    if (count == 0 || count > SMBUS_BLOCK || (s->ich9 && !(s->aux_ctl & AUX_E32B))) {
        return false;
    }
    s->hst_d0 = count;
    e->data[at++] = count;
    for (unsigned i = 0; i < count; i++, at++) {
        if (read) {
            s->block[i] = e->data[at];
        } else {
            e->data[at] = s->block[i];
        }
    }
    e->next = at;
    return true;
}

static bool eeprom_transfer(SmbusHost *s, SmbusEeprom *e, unsigned protocol, bool read)
{
    uint8_t at = protocol == BYTE ? e->next : s->hst_cmd;

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
    case WORD_DATA:
        for (unsigned i = 0; i < protocol - BYTE_DATA + 1; i++, at++) {
            uint8_t *reg = i ? &s->hst_d1 : &s->hst_d0;

            if (read) {
                *reg = e->data[at];
            } else {
                e->data[at] = *reg;
            }
        }
        e->next = at;
        return true;
    case PROCESS_CALL: /* a word is written, and the next one read */
        e->data[at++] = s->hst_d0;
        e->data[at++] = s->hst_d1;
        s->hst_d0 = e->data[at++];
        s->hst_d1 = e->data[at++];
        e->next = at;
        return true;
    case BLOCK:
        return eeprom_block(s, e, read);
    default:
        return false;
    }
}

static void start(SmbusHost *s)
{
    unsigned n = (s->xmit_slva >> 1) - EEPROM_BASE;
    bool ok = n < SMBUS_EEPROMS && eeprom_transfer(s, &s->eeproms[n], s->hst_cnt >> 2 & 7, s->xmit_slva & 1);

    s->hst_sts |= ok ? STS_INTR : STS_DEV_ERR;
}

static uint8_t reg_read(SmbusHost *s, unsigned reg)
{
    uint8_t val;

    switch (reg) {
    case HST_STS:
        val = s->hst_sts;
        s->hst_sts |= s->ich9 ? STS_INUSE : 0; /* who reads it as 0 has it */
        return val;
    case HST_CNT:
        s->block_at = 0;
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
        return s->block[s->block_at++ % SMBUS_BLOCK];
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
    switch (reg) {
    case HST_STS:
        s->hst_sts &= (uint8_t)~(val & STS_W1C);
        break;
    case HST_CNT:
        s->hst_cnt = val & (uint8_t)~CNT_START;
        if (val & CNT_START && s->enabled) {
            start(s);
        }
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
        s->block[s->block_at++ % SMBUS_BLOCK] = val;
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
