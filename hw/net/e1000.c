/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * e1000: the Intel 82540EM gigabit Ethernet controller (PCI/PCI-X Family of Gigabit Ethernet Controllers
 * Software Developer's Manual).  This file has the register space, the life of the function and its state;
 * interrupts, EEPROM and PHY, receiving and transmitting are in files of their own.
 */
#include <string.h>

#include "core/error.h"
#include "e1000.h"

#define E1000_MEM_SIZE 0x20000
#define E1000_IO_SIZE  0x40
#define E1000_IOADDR   0x0
#define E1000_IODATA   0x4

TraceEvent e1000_trace[] = {{"e1000_read"}, {"e1000_write"}, {"e1000_tx"},
                            {"e1000_rx"},   {"e1000_irq"},   {NULL}};

/* --- registers --- */

typedef struct E1000Reg {
    const char *name;
    uint16_t offset, words;
    uint32_t reset, writable;
    bool clears;                             /* when read */
    void (*written)(E1000 *e, uint32_t val); /* replaces storing */
    void (*stored)(E1000 *e, uint32_t val);  /* after storing */
    uint32_t (*read)(E1000 *e);              /* replaces the stored value */
} E1000Reg;

static void e1000_mac_reset(E1000 *e);

static void e1000_ctrl_written(E1000 *e, uint32_t val)
{
    *e1000_reg(e, E1000_CTRL) = val & ~(CTRL_RST | CTRL_PHY_RST);
    if (val & CTRL_PHY_RST) {
        e1000_phy_reset(e);
    }
    if (val & CTRL_RST) {
        e1000_mac_reset(e);
    }
}

static uint32_t e1000_icr_read(E1000 *e)
{
    uint32_t val = *e1000_reg(e, E1000_ICR);

    *e1000_reg(e, E1000_ICR) = 0;
    e1000_update_irq(e);
    return val;
}

static void e1000_icr_written(E1000 *e, uint32_t val)
{
    *e1000_reg(e, E1000_ICR) &= ~val;
    e1000_update_irq(e);
}

static void e1000_ims_written(E1000 *e, uint32_t val)
{
    *e1000_reg(e, E1000_IMS) |= val & ICR_BITS;
    e1000_update_irq(e);
}

static void e1000_imc_written(E1000 *e, uint32_t val)
{
    *e1000_reg(e, E1000_IMS) &= ~val;
    e1000_update_irq(e);
}

/* New receive descriptors, or another rule what is taken. */
static void e1000_rx_changed(E1000 *e, uint32_t val)
{
    if (e->net) {
        net_can_receive(e->net, 0);
    }
}

static void e1000_tx_changed(E1000 *e, uint32_t val)
{
    loop_bh_schedule(e->tx_bh);
}

/* --- doorbells: RDT and TDT, which a client may leave in shared memory --- */

static const uint16_t e1000_doorbell_regs[] = {[E1000_BELL_RDT] = E1000_RDT, [E1000_BELL_TDT] = E1000_TDT};

void e1000_doorbell_fetch(E1000 *e, E1000Bell n)
{
    const uint32_t *values = e->pci.doorbells.values;

    if (values) {
        *e1000_reg(e, e1000_doorbell_regs[n]) = __atomic_load_n(&values[n], __ATOMIC_ACQUIRE) & 0xffff;
    }
}

static void e1000_doorbell_store(E1000 *e, E1000Bell n, uint32_t val)
{
    if (e->pci.doorbells.values) {
        __atomic_store_n(&e->pci.doorbells.values[n], val & 0xffff, __ATOMIC_RELEASE);
    }
}

static void e1000_rung(PciDevice *dev)
{
    E1000 *e = (E1000 *)dev;
    uint32_t tail = *e1000_reg(e, E1000_TDT);

    for (unsigned n = 0; n < G_N_ELEMENTS(e1000_doorbell_regs); n++) {
        e1000_doorbell_fetch(e, n);
    }
    e1000_rx_changed(e, 0);
    /* A move looks at what nobody wrote, too: that a queue is empty is not told again. */
    if (*e1000_reg(e, E1000_TDT) != tail || *e1000_reg(e, E1000_TDH) != *e1000_reg(e, E1000_TDT)) {
        e1000_transmit(e);
    }
}

static uint32_t e1000_rdt_read(E1000 *e)
{
    e1000_doorbell_fetch(e, E1000_BELL_RDT);
    return *e1000_reg(e, E1000_RDT);
}

static uint32_t e1000_tdt_read(E1000 *e)
{
    e1000_doorbell_fetch(e, E1000_BELL_TDT);
    return *e1000_reg(e, E1000_TDT);
}

static void e1000_rdt_stored(E1000 *e, uint32_t val)
{
    e1000_doorbell_store(e, E1000_BELL_RDT, val);
    e1000_rx_changed(e, val);
}

static void e1000_tdt_stored(E1000 *e, uint32_t val)
{
    e1000_doorbell_store(e, E1000_BELL_TDT, val);
    e1000_tx_changed(e, val);
}

#define ALL UINT32_MAX
/* Sorted by offset. */
static const E1000Reg e1000_regs[] = {
    {.name = "CTRL",
     .offset = E1000_CTRL,
     .words = 1,
     .reset = CTRL_FD | CTRL_ASDE | CTRL_SPD_1000,
     .written = e1000_ctrl_written},
    {.name = "STATUS",
     .offset = E1000_STATUS,
     .words = 1,
     .reset = STATUS_FD | STATUS_SPD_1000 | STATUS_ASDV_1000},
    {.name = "EECD",
     .offset = E1000_EECD,
     .words = 1,
     .written = e1000_eecd_written,
     .read = e1000_eecd_read},
    {.name = "EERD", .offset = E1000_EERD, .words = 1, .written = e1000_eerd_written},
    {.name = "CTRL_EXT", .offset = E1000_CTRL_EXT, .words = 1, .writable = ALL},
    {.name = "FLA", .offset = E1000_FLA, .words = 1, .writable = ALL},
    {.name = "MDIC", .offset = E1000_MDIC, .words = 1, .reset = MDIC_R, .written = e1000_mdic_written},
    {.name = "FCAL", .offset = E1000_FCAL, .words = 1, .writable = ALL},
    {.name = "FCAH", .offset = E1000_FCAH, .words = 1, .writable = 0xffff},
    {.name = "FCT", .offset = E1000_FCT, .words = 1, .writable = 0xffff},
    {.name = "VET", .offset = E1000_VET, .words = 1, .writable = 0xffff},
    {.name = "ICR", .offset = E1000_ICR, .words = 1, .written = e1000_icr_written, .read = e1000_icr_read},
    {.name = "ITR", .offset = E1000_ITR, .words = 1, .writable = 0xffff},
    {.name = "ICS", .offset = E1000_ICS, .words = 1, .written = e1000_set_cause},
    {.name = "IMS", .offset = E1000_IMS, .words = 1, .written = e1000_ims_written},
    {.name = "IMC", .offset = E1000_IMC, .words = 1, .written = e1000_imc_written},
    {.name = "RCTL", .offset = E1000_RCTL, .words = 1, .writable = 0x06dfb3feu, .stored = e1000_rx_changed},
    {.name = "FCTTV", .offset = E1000_FCTTV, .words = 1, .writable = 0xffff},
    {.name = "TXCW", .offset = E1000_TXCW, .words = 1, .writable = ALL},
    {.name = "RXCW", .offset = E1000_RXCW, .words = 1},
    {.name = "TCTL", .offset = E1000_TCTL, .words = 1, .writable = 0x017ffffau, .stored = e1000_tx_changed},
    {.name = "TIPG", .offset = E1000_TIPG, .words = 1, .writable = 0x3fffffffu},
    {.name = "AIT", .offset = E1000_AIT, .words = 1, .writable = 0xffff},
    {.name = "LEDCTL", .offset = E1000_LEDCTL, .words = 1, .reset = 0x07061302u, .writable = ALL},
    {.name = "PBA", .offset = E1000_PBA, .words = 1, .reset = 0x00100030u, .writable = 0x0000ffffu},
    {.name = "FCRTL", .offset = E1000_FCRTL, .words = 1, .writable = 0x8000fff8u},
    {.name = "FCRTH", .offset = E1000_FCRTH, .words = 1, .writable = 0x0000fff8u},
    {.name = "RDFH", .offset = E1000_RDFH, .words = 1, .writable = 0x1fff},
    {.name = "RDFT", .offset = E1000_RDFT, .words = 1, .writable = 0x1fff},
    {.name = "RDFHS", .offset = E1000_RDFHS, .words = 1, .writable = 0x1fff},
    {.name = "RDFTS", .offset = E1000_RDFTS, .words = 1, .writable = 0x1fff},
    {.name = "RDFPC", .offset = E1000_RDFPC, .words = 1, .writable = 0x1fff},
    {.name = "RDBAL", .offset = E1000_RDBAL, .words = 1, .writable = ~15u},
    {.name = "RDBAH", .offset = E1000_RDBAH, .words = 1, .writable = ALL},
    {.name = "RDLEN", .offset = E1000_RDLEN, .words = 1, .writable = 0xfff80u},
    {.name = "RDH", .offset = E1000_RDH, .words = 1, .writable = 0xffff},
    {.name = "RDT",
     .offset = E1000_RDT,
     .words = 1,
     .writable = 0xffff,
     .stored = e1000_rdt_stored,
     .read = e1000_rdt_read},
    {.name = "RDTR", .offset = E1000_RDTR, .words = 1, .writable = 0xffff, .stored = e1000_rdtr_written},
    {.name = "RXDCTL", .offset = E1000_RXDCTL, .words = 1, .reset = 0x01010000u, .writable = 0x013f3f3fu},
    {.name = "RADV", .offset = E1000_RADV, .words = 1, .writable = 0xffff},
    {.name = "RSRPD", .offset = E1000_RSRPD, .words = 1, .writable = 0xfff},
    {.name = "TXDMAC", .offset = E1000_TXDMAC, .words = 1, .writable = 1},
    {.name = "TDFH", .offset = E1000_TDFH, .words = 1, .writable = 0x1fff},
    {.name = "TDFT", .offset = E1000_TDFT, .words = 1, .writable = 0x1fff},
    {.name = "TDFHS", .offset = E1000_TDFHS, .words = 1, .writable = 0x1fff},
    {.name = "TDFTS", .offset = E1000_TDFTS, .words = 1, .writable = 0x1fff},
    {.name = "TDFPC", .offset = E1000_TDFPC, .words = 1, .writable = 0x1fff},
    {.name = "TDBAL", .offset = E1000_TDBAL, .words = 1, .writable = ~15u},
    {.name = "TDBAH", .offset = E1000_TDBAH, .words = 1, .writable = ALL},
    {.name = "TDLEN", .offset = E1000_TDLEN, .words = 1, .writable = 0xfff80u},
    {.name = "TDH", .offset = E1000_TDH, .words = 1, .writable = 0xffff},
    {.name = "TDT",
     .offset = E1000_TDT,
     .words = 1,
     .writable = 0xffff,
     .stored = e1000_tdt_stored,
     .read = e1000_tdt_read},
    {.name = "TIDV", .offset = E1000_TIDV, .words = 1, .writable = 0xffff},
    {.name = "TXDCTL", .offset = E1000_TXDCTL, .words = 1, .writable = 0xff3f3f3fu},
    {.name = "TADV", .offset = E1000_TADV, .words = 1, .writable = 0xffff},
    {.name = "TSPMT", .offset = E1000_TSPMT, .words = 1, .reset = 0x01000400u, .writable = ALL},
    {.name = "statistics",
     .offset = E1000_CRCERRS,
     .words = (E1000_TSCTFC - E1000_CRCERRS) / 4 + 1,
     .clears = true},
    {.name = "RXCSUM", .offset = E1000_RXCSUM, .words = 1, .writable = 0x3ff},
    {.name = "MTA", .offset = E1000_MTA, .words = E1000_MTA_WORDS, .writable = ALL},
    {.name = "RA", .offset = E1000_RAL0, .words = 2 * E1000_RAR_COUNT, .writable = ALL},
    {.name = "VFTA", .offset = E1000_VFTA, .words = E1000_VFTA_WORDS, .writable = ALL},
    {.name = "WUC", .offset = E1000_WUC, .words = 1, .writable = 0xf},
    {.name = "WUFC", .offset = E1000_WUFC, .words = 1, .writable = 0xf00ff},
    {.name = "WUS", .offset = E1000_WUS, .words = 1},
    {.name = "MANC", .offset = E1000_MANC, .words = 1, .writable = 0x0060ff00u},
    {.name = "IPAV", .offset = E1000_IPAV, .words = 1, .writable = 0x1000f},
    {.name = "IP4AT", .offset = E1000_IP4AT, .words = 8, .writable = ALL},
    {.name = "IP6AT", .offset = E1000_IP6AT, .words = 4, .writable = ALL},
    {.name = "WUPL", .offset = E1000_WUPL, .words = 1, .writable = 0xfff},
    {.name = "WUPM", .offset = E1000_WUPM, .words = 32},
    {.name = "FFLT", .offset = E1000_FFLT, .words = 8, .writable = 0x7ff},
    {.name = "FFMT", .offset = E1000_FFMT, .words = 256, .writable = 0xf},
    {.name = "FFVT", .offset = E1000_FFVT, .words = 256, .writable = ALL},
};

static const E1000Reg *e1000_find_reg(HwAddr addr)
{
    size_t low = 0, high = G_N_ELEMENTS(e1000_regs);

    while (low < high) {
        size_t mid = (low + high) / 2;
        const E1000Reg *r = &e1000_regs[mid];

        if (addr < r->offset) {
            high = mid;
        } else if (addr >= r->offset + 4u * r->words) {
            low = mid + 1;
        } else {
            return r;
        }
    }
    return NULL;
}

static MemResult e1000_mem_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    E1000 *e = opaque;
    const E1000Reg *r = e1000_find_reg(addr);

    if (!r) {
        guest_error(&e->pci.dev, "read at 0x%" G_GINT64_MODIFIER "x: no register there", addr);
        *val = 0;
        return MEM_OK;
    }
    *val = r->read ? r->read(e) : *e1000_reg(e, (unsigned)addr);
    if (r->clears) {
        *e1000_reg(e, (unsigned)addr) = 0;
    }
    TRACE(&e1000_trace[E1000_TRACE_READ], "%s: %s is 0x%x", e->pci.dev.obj.id, r->name, (unsigned)*val);
    return MEM_OK;
}

static MemResult e1000_mem_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    E1000 *e = opaque;
    const E1000Reg *r = e1000_find_reg(addr);
    uint32_t *reg = e1000_reg(e, r ? (unsigned)addr : 0);

    if (!r) {
        guest_error(&e->pci.dev, "write at 0x%" G_GINT64_MODIFIER "x: no register there", addr);
        return MEM_OK;
    }
    TRACE(&e1000_trace[E1000_TRACE_WRITE], "%s: %s written 0x%x", e->pci.dev.obj.id, r->name, (unsigned)val);
    if (r->written) {
        r->written(e, (uint32_t)val);
        return MEM_OK;
    }
    *reg = (*reg & ~r->writable) | ((uint32_t)val & r->writable);
    if (r->stored) {
        r->stored(e, (uint32_t)val);
    }
    return MEM_OK;
}

static const MemOps e1000_mem_ops = {
    .read = e1000_mem_read, .write = e1000_mem_write, .min_size = 4, .max_size = 4};

/* --- I/O space (13.3): an address and a data register --- */

static MemResult e1000_io_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    E1000 *e = opaque;

    *val = 0;
    if (addr == E1000_IOADDR) {
        *val = e->ioaddr;
    } else if (addr == E1000_IODATA && e->ioaddr < E1000_MEM_SIZE) {
        return e1000_mem_read(e, e->ioaddr & ~3u, size, val, attrs);
    }
    return MEM_OK;
}

static MemResult e1000_io_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    E1000 *e = opaque;

    if (addr == E1000_IOADDR) {
        e->ioaddr = (uint32_t)val;
    } else if (addr == E1000_IODATA && e->ioaddr < E1000_MEM_SIZE) {
        return e1000_mem_write(e, e->ioaddr & ~3u, size, val, attrs);
    }
    return MEM_OK;
}

static const MemOps e1000_io_ops = {
    .read = e1000_io_read, .write = e1000_io_write, .min_size = 4, .max_size = 4};

/* --- life --- */

static void e1000_link_changed(void *opaque, bool up)
{
    E1000 *e = opaque;

    if (up) {
        e1000_delay_set(e, &e->autoneg, 0);
    } else {
        e1000_set_link(e, false);
    }
}

/* What CTRL.RST and power-on reset: all but PHY and EEPROM, whose address is loaded. */
static void e1000_mac_reset(E1000 *e)
{
    uint16_t *words = e->eeprom.words;

    e1000_irq_reset(e);
    memset(e->reg, 0, sizeof(e->reg));
    memset(&e->tx, 0, sizeof(e->tx));
    for (size_t i = 0; i < G_N_ELEMENTS(e1000_regs); i++) {
        *e1000_reg(e, e1000_regs[i].offset) = e1000_regs[i].reset;
    }
    e1000_reg(e, E1000_RAL0)[0] = (uint32_t)words[1] << 16 | words[0];
    e1000_reg(e, E1000_RAL0)[1] = RAH_AV | words[2];
    for (unsigned n = 0; n < G_N_ELEMENTS(e1000_doorbell_regs); n++) {
        e1000_doorbell_store(e, n, 0);
    }
    *e1000_reg(e, E1000_STATUS) |= e1000_link_up(e) ? STATUS_LU : 0;
    e1000_update_irq(e);
    e1000_rx_changed(e, 0); /* frames that waited for descriptors are lost */
}

static void e1000_reset(PciDevice *dev)
{
    E1000 *e = (E1000 *)dev;

    e->ioaddr = 0;
    e1000_phy_reset(e);
    e1000_mac_reset(e);
}

static const NetFrontend e1000_frontend = {e1000_can_receive, e1000_receive, e1000_link_changed};

static bool e1000_start(PciDevice *dev, GError **error)
{
    E1000 *e = (E1000 *)dev;

    net_default_mac(dev->dev.obj.machine, e->mac);
    if (e->net && !net_attach(e->net, &dev->dev, dev->dev.home, &e1000_frontend, e, e->mac, error)) {
        return false;
    }
    e1000_irq_start(e);
    e->autoneg.timer = device_timer_new(&dev->dev, e1000_autoneg_done, e);
    e->tx_bh = device_bh_new(&dev->dev, e1000_transmit, e);
    e1000_eeprom_init(e);
    dev->doorbells = (PciDoorbells){.bar = 0,
                                    .offset = E1000_RDT,
                                    .stride = E1000_TDT - E1000_RDT,
                                    .count = G_N_ELEMENTS(e1000_doorbell_regs),
                                    .rung = e1000_rung};
    return true;
}

static void e1000_stop(PciDevice *dev)
{
    E1000 *e = (E1000 *)dev;

    if (e->net) {
        net_detach(e->net);
    }
    loop_bh_free(e->tx_bh);
    timer_free(e->autoneg.timer);
    e1000_irq_stop(e);
}

/* --- properties and state --- */

static const Prop e1000_props[] = {
    {.name = "netdev",
     .type = &prop_netdev,
     .offset = offsetof(E1000, net),
     .doc = "id of a network back end"},
    {.name = "mac", .type = &prop_mac, .offset = offsetof(E1000, mac), .doc = "address of the card"},
    PROP_END,
};

/* What a client left in shared memory and has not signalled yet. */
static void e1000_pre_save(void *instance)
{
    E1000 *e = instance;

    for (unsigned n = 0; n < G_N_ELEMENTS(e1000_doorbell_regs); n++) {
        e1000_doorbell_fetch(e, n);
    }
    e->cable = !e->net || net_link_up(e->net);
}

static bool e1000_post_load(void *instance, uint32_t version, GError **error)
{
    E1000 *e = instance;

    if (e->tx.len > sizeof(e->tx.data) || e->eeprom.in_bits > 25 || e->eeprom.out_bits > 17 ||
        (e->tx.segments && (e->tx.len < e->tx.segment.hdrlen))) {
        error_set(error, "%s: saved packet or EEPROM instruction is out of range (%u bytes, %u and %u bits)",
                  e->pci.dev.obj.id, e->tx.len, e->eeprom.in_bits, e->eeprom.out_bits);
        return false;
    }
    for (unsigned n = 0; n < G_N_ELEMENTS(e1000_doorbell_regs); n++) {
        e1000_doorbell_store(e, n, *e1000_reg(e, e1000_doorbell_regs[n]));
    }
    e1000_irq_restore(e);
    e1000_delay_restore(&e->autoneg);
    if (*e1000_reg(e, E1000_TDH) != *e1000_reg(e, E1000_TDT)) {
        loop_bh_schedule(e->tx_bh); /* that a queue is empty was told where it came to that */
    }
    if (e->net && version >= 2) {
        net_load_link(e->net, e->cable);
    }
    if (e->net) {
        net_can_receive(e->net, 0);
    }
    return true;
}

static const StateField e1000_eeprom_fields[] = {
    STATE_FIELD_ARRAY(E1000Eeprom, words),
    STATE_FIELD_UINT(E1000Eeprom, in),
    STATE_FIELD_UINT(E1000Eeprom, in_bits),
    STATE_FIELD_UINT(E1000Eeprom, out),
    STATE_FIELD_UINT(E1000Eeprom, out_bits),
    STATE_FIELD_BOOL(E1000Eeprom, write_enabled),
    STATE_END,
};
static const StateTable e1000_eeprom_state = {
    .name = "e1000-eeprom", .version = 1, .fields = e1000_eeprom_fields};

static const StateField e1000_context_fields[] = {
    STATE_FIELD_UINT(E1000TxContext, ipcss),
    STATE_FIELD_UINT(E1000TxContext, ipcso),
    STATE_FIELD_UINT(E1000TxContext, ipcse),
    STATE_FIELD_UINT(E1000TxContext, tucss),
    STATE_FIELD_UINT(E1000TxContext, tucso),
    STATE_FIELD_UINT(E1000TxContext, tucse),
    STATE_FIELD_UINT(E1000TxContext, hdrlen),
    STATE_FIELD_UINT(E1000TxContext, tucmd),
    STATE_FIELD_UINT(E1000TxContext, mss),
    STATE_FIELD_UINT(E1000TxContext, paylen),
    STATE_END,
};
static const StateTable e1000_context_state = {
    .name = "e1000-context", .version = 1, .fields = e1000_context_fields};

static const StateField e1000_tx_fields[] = {
    STATE_FIELD_STRUCT(E1000Tx, checksum, &e1000_context_state),
    STATE_FIELD_STRUCT(E1000Tx, segment, &e1000_context_state),
    STATE_FIELD_UINT(E1000Tx, popts),
    STATE_FIELD_BOOL(E1000Tx, begun),
    STATE_FIELD_BOOL(E1000Tx, tse),
    STATE_FIELD_BOOL(E1000Tx, vle),
    STATE_FIELD_BOOL(E1000Tx, overrun),
    STATE_FIELD_BOOL(E1000Tx, ic),
    STATE_FIELD_UINT(E1000Tx, special),
    STATE_FIELD_UINT(E1000Tx, css),
    STATE_FIELD_UINT(E1000Tx, cso),
    STATE_FIELD_UINT(E1000Tx, sent),
    STATE_FIELD_UINT(E1000Tx, segments),
    STATE_FIELD_UINT(E1000Tx, len),
    STATE_FIELD_BYTES(E1000Tx, data),
    STATE_END,
};
static const StateTable e1000_tx_state = {.name = "e1000-tx", .version = 1, .fields = e1000_tx_fields};

static const StateField e1000_delay_fields[] = {
    STATE_FIELD_DEADLINE(E1000Delay, deadline),
    STATE_FIELD_DEADLINE(E1000Delay, absolute),
    STATE_END,
};
static const StateTable e1000_delay_state = {
    .name = "e1000-delay", .version = 1, .fields = e1000_delay_fields};

static const StateField e1000_fields[] = {
    STATE_FIELD_STRUCT(E1000, pci, &pci_device_state),
    STATE_FIELD_ARRAY(E1000, reg),
    STATE_FIELD_UINT(E1000, ioaddr),
    STATE_FIELD_ARRAY(E1000, phy),
    STATE_FIELD_STRUCT(E1000, eeprom, &e1000_eeprom_state),
    STATE_FIELD_STRUCT(E1000, tx, &e1000_tx_state),
    STATE_FIELD_STRUCT(E1000, itr, &e1000_delay_state),
    STATE_FIELD_STRUCT(E1000, rx_delay, &e1000_delay_state),
    STATE_FIELD_STRUCT(E1000, tx_delay, &e1000_delay_state),
    STATE_FIELD_STRUCT(E1000, autoneg, &e1000_delay_state),
    STATE_FIELD_BOOL(E1000, cable, .since = 2),
    STATE_END,
};

static const StateTable e1000_state = {
    .name = "e1000", .version = 2, .fields = e1000_fields, .pre_save = e1000_pre_save, .post_load = e1000_post_load};

const PciModel e1000_model = {
    .dev = {.name = "e1000",
            .alias = "e1000-82540em",
            .doc = "Intel 82540EM gigabit Ethernet controller.",
            .kind = MODEL_PCI,
            .size = sizeof(E1000),
            .props = e1000_props,
            .state = &e1000_state},
    .ids = {.vendor = 0x8086,
            .device = 0x100e,
            .revision = 3,
            .class_code = 0x020000,
            .subsystem_vendor = 0x8086,
            .subsystem = 0x001e},
    .interrupt_pin = 1,
    .bars = {[0] = {.size = E1000_MEM_SIZE, .kind = PCI_BAR_MEM32, .ops = &e1000_mem_ops},
             [1] = {.size = E1000_IO_SIZE, .kind = PCI_BAR_IO, .ops = &e1000_io_ops}},
    .start = e1000_start,
    .reset = e1000_reset,
    .stop = e1000_stop,
};
