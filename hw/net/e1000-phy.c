/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * EEPROM and PHY of the e1000 (82540EM manual, 5.6, 8.2, 13.4.3, 13.4.4, 13.4.8): a 64-word Microwire EEPROM
 * that software clocks through EECD or reads through EERD, and the MDIO registers of the PHY inside.
 */
#include <string.h>

#include "e1000.h"

#define AUTONEG_NS INT64_C(500000000)

/* --- EEPROM --- */

void e1000_eeprom_init(E1000 *e)
{
    /* Words that are not zero: 5.6.  Identification as in config space, checksum last. */
    static const struct {
        uint8_t word;
        uint16_t value;
    } content[] = {
        {0x05, 0x0100}, {0x08, 0x3000}, {0x09, 0x1000}, {0x0a, 0x4408}, {0x0b, 0x001e},
        {0x0c, 0x8086}, {0x0d, 0x100e}, {0x0e, 0x8086}, {0x0f, 0x3040},
    };
    uint16_t *words = e->eeprom.words, sum = 0;

    memset(words, 0, sizeof(e->eeprom.words));
    for (unsigned i = 0; i < G_N_ELEMENTS(content); i++) {
        words[content[i].word] = content[i].value;
    }
    for (unsigned i = 0; i < NET_MAC_LEN / 2; i++) {
        words[i] = pci_get16(e->mac + 2 * i);
    }
    for (unsigned i = 0; i < E1000_EEPROM_WORDS - 1; i++) {
        sum = (uint16_t)(sum + words[i]);
    }
    words[E1000_EEPROM_WORDS - 1] = (uint16_t)(E1000_EEPROM_SUM - sum);
}

/* A whole instruction came in: start bit, two bits of opcode, six of address, 16 of data for writing. */
static void e1000_eeprom_execute(E1000Eeprom *p)
{
    enum { OP_SPECIAL, OP_WRITE, OP_READ, OP_ERASE };
    unsigned op, address;

    if (p->in_bits == 9) {
        op = p->in >> 6 & 3;
        address = p->in & 0x3f;
        if (op == OP_READ) {
            p->out = p->words[address];
            p->out_bits = 17; /* a zero comes first */
        } else if (op == OP_ERASE && p->write_enabled) {
            p->words[address] = 0xffff;
        } else if (op == OP_SPECIAL && (address >> 4 == 3 || address >> 4 == 0)) {
            p->write_enabled = address >> 4 == 3;
        }
    } else if (p->in_bits == 25 && (p->in >> 22 & 3) == OP_WRITE && p->write_enabled) {
        p->words[p->in >> 16 & 0x3f] = (uint16_t)p->in;
    }
}

static void e1000_eeprom_clock(E1000Eeprom *p, bool bit)
{
    if (p->out_bits) {
        if (--p->out_bits < 16 && p->out_bits) {
            p->out = (uint16_t)(p->out << 1);
        }
        return;
    }
    if (p->in_bits == 25 || (!p->in_bits && !bit)) {
        return; /* waits for the start bit, or for CS to fall */
    }
    p->in = p->in << 1 | bit;
    p->in_bits++;
    e1000_eeprom_execute(p);
}

void e1000_eecd_written(E1000 *e, uint32_t val)
{
    E1000Eeprom *p = &e->eeprom;
    uint32_t old = *e1000_reg(e, E1000_EECD);

    if (!(val & EECD_CS) || !(old & EECD_CS)) {
        p->in = 0;
        p->in_bits = p->out_bits = 0;
    } else if (val & ~old & EECD_SK) {
        e1000_eeprom_clock(p, val & EECD_DI);
    }
    *e1000_reg(e, E1000_EECD) = val & (EECD_SK | EECD_CS | EECD_DI | EECD_REQ | 0x30);
}

uint32_t e1000_eecd_read(E1000 *e)
{
    uint32_t val = *e1000_reg(e, E1000_EECD);
    const E1000Eeprom *p = &e->eeprom;
    bool data = p->out_bits == 17 ? false
                : p->out_bits     ? p->out >> 15
                                  : true; /* idle: ready, by the pull-up */

    return val | EECD_PRES | (val & EECD_REQ ? EECD_GNT : 0) | (data ? EECD_DO : 0);
}

void e1000_eerd_written(E1000 *e, uint32_t val)
{
    unsigned address = val >> 8 & 0xff;
    uint16_t word = address < E1000_EEPROM_WORDS ? e->eeprom.words[address] : 0xffff;

    *e1000_reg(e, E1000_EERD) =
        val & EERD_START ? (val & 0xff00) | EERD_DONE | (uint32_t)word << 16 : val & 0xff00;
}

/* --- PHY --- */

static const struct {
    uint16_t reset, writable;
} phy_regs[PHY_REGS] = {
    [PHY_CTRL] = {0x1140, 0x7d80},
    [PHY_STATUS] = {0x7949, 0},
    [PHY_ID1] = {0x0141, 0},
    [PHY_ID2] = {0x0c20, 0},
    [PHY_ANA] = {0x0de1, 0xbfff},
    [PHY_LPA] = {0x45e1, 0},
    [PHY_ANE] = {0x0005, 0},
    [PHY_NPT] = {0x2001, 0xffff},
    [PHY_GCON] = {0x0e00, 0xff00},
    [PHY_GSTATUS] = {0x3c00, 0},
    [PHY_ESTATUS] = {0x3000, 0},
    [PHY_PSCON] = {0x0360, 0xffff},
    [PHY_PSSTAT] = {0, 0},
    [PHY_PIE] = {0, 0xffff},
    [PHY_EPSCON] = {0x0d60, 0xffff},
    [29] = {0, 0xffff},
    [30] = {0, 0xffff},
};

bool e1000_link_up(const E1000 *e)
{
    return e->phy[PHY_STATUS] & PHY_STATUS_LINK;
}

static void e1000_show_link(E1000 *e, bool up)
{
    const uint16_t status = PHY_STATUS_LINK | PHY_STATUS_ANE_DONE;
    const uint16_t resolved = PHY_PSSTAT_LINK | PHY_PSSTAT_RESOLVED | PHY_PSSTAT_DUPLEX | PHY_PSSTAT_1000;
    uint32_t *mac = e1000_reg(e, E1000_STATUS);

    e->phy[PHY_STATUS] = (uint16_t)(up ? e->phy[PHY_STATUS] | status : e->phy[PHY_STATUS] & ~status);
    e->phy[PHY_PSSTAT] = (uint16_t)(up ? e->phy[PHY_PSSTAT] | resolved : e->phy[PHY_PSSTAT] & ~resolved);
    *mac = up ? *mac | STATUS_LU : *mac & ~STATUS_LU;
}

void e1000_set_link(E1000 *e, bool up)
{
    if (up != e1000_link_up(e)) {
        e1000_show_link(e, up);
        e1000_set_cause(e, ICR_LSC);
    }
}

static bool e1000_cable(const E1000 *e)
{
    return (!e->net || net_link_up(e->net)) && !(e->phy[PHY_CTRL] & PHY_CTRL_POWER_DOWN);
}

void e1000_phy_reset(E1000 *e)
{
    for (unsigned i = 0; i < PHY_REGS; i++) {
        e->phy[i] = phy_regs[i].reset;
    }
    e1000_delay_cancel(&e->autoneg);
    e1000_show_link(e, e1000_cable(e));
}

void e1000_autoneg_done(void *opaque)
{
    E1000 *e = opaque;

    e->autoneg.deadline = 0;
    e1000_set_link(e, e1000_cable(e));
}

static void e1000_autoneg(E1000 *e)
{
    e1000_set_link(e, false);
    e1000_delay_set(e, &e->autoneg, AUTONEG_NS);
}

static void e1000_phy_write(E1000 *e, unsigned reg, uint16_t val)
{
    uint16_t writable = phy_regs[reg].writable;

    e->phy[reg] = (uint16_t)((e->phy[reg] & ~writable) | (val & writable));
    if (reg != PHY_CTRL) {
        return;
    }
    if (val & PHY_CTRL_RESET) {
        e1000_phy_reset(e);
        e1000_autoneg(e);
    } else if (val & PHY_CTRL_POWER_DOWN) {
        e1000_delay_cancel(&e->autoneg);
        e1000_set_link(e, false);
    } else if (val & PHY_CTRL_RESTART_ANE || !e1000_link_up(e)) {
        e1000_autoneg(e);
    }
}

void e1000_mdic_written(E1000 *e, uint32_t val)
{
    unsigned op = val >> 26 & 3, phy = val >> 21 & 0x1f, reg = val >> 16 & 0x1f;
    uint32_t result = val & 0x0fff0000u;

    if (phy != MDIC_PHY || (op != MDIC_OP_READ && op != MDIC_OP_WRITE)) {
        result |= MDIC_E | (val & 0xffff);
    } else if (op == MDIC_OP_READ) {
        result |= e->phy[reg];
    } else {
        e1000_phy_write(e, reg, (uint16_t)val);
        result |= val & 0xffff;
    }
    *e1000_reg(e, E1000_MDIC) = result | MDIC_R | (val & MDIC_I);
    if (val & MDIC_I) {
        e1000_set_cause(e, ICR_MDAC);
    }
}
