/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ahci: the SATA controller of the ICH9 (AHCI 1.3.1; ICH9 datasheet, 13 and 15): six ports, 32 command slots, native
 * command queuing, 64-bit addresses.  Not there: port multipliers, command completion coalescing, enclosure management.
 */
#include "hw/ide/ahci.h"

#include <string.h>

#include "core/error.h"

#define ABAR        5
#define INDEX_BAR   4
#define ABAR_SIZE   0x1000
#define PORT_BASE   0x100
#define PORT_SIZE   0x80
#define INDEX_REG   0x10 /* in BAR 4: index and data (ICH9 15.5) */
#define DATA_REG    0x14
#define CAP_SATA    0x12
#define CAP_SATA_AT 0xa8
#define CAP_MSI_AT  0x80

enum { HBA_CAP = 0x00, HBA_GHC = 0x04, HBA_IS = 0x08, HBA_PI = 0x0c, HBA_VS = 0x10, HBA_CAP2 = 0x24 };
enum {
    P_CLB = 0x00, P_CLBU = 0x04, P_FB = 0x08, P_FBU = 0x0c, P_IS = 0x10, P_IE = 0x14, P_CMD = 0x18, P_TFD = 0x20,
    P_SIG = 0x24, P_SSTS = 0x28, P_SCTL = 0x2c, P_SERR = 0x30, P_SACT = 0x34, P_CI = 0x38,
};

#define CAP_S64A 0x80000000u
#define CAP_SNCQ 0x40000000u
#define CAP_SCLO 0x01000000u
#define CAP_ISS  0x00300000u /* 6 Gb/s */
#define CAP_SAM  0x00040000u
#define GHC_AE   0x80000000u
#define GHC_IE   0x2u
#define GHC_HR   0x1u
#define VERSION  0x00010301u

#define CMD_ST  0x0001u
#define CMD_SUD 0x0002u
#define CMD_POD 0x0004u
#define CMD_CLO 0x0008u
#define CMD_FRE 0x0010u
#define CMD_CCS(slot) ((uint32_t)(slot) << 8)
#define CMD_FR  0x4000u
#define CMD_CR  0x8000u
#define CMD_ICC 0xf0000000u
#define CMD_WRITABLE (CMD_ST | CMD_SUD | CMD_POD | CMD_FRE | 0x0f000000u)

#define IS_DHRS 0x00000001u
#define IS_PSS  0x00000002u
#define IS_SDBS 0x00000008u
#define IS_PCS  0x00000040u
#define IS_HBFS 0x20000000u
#define IS_TFES 0x40000000u
#define IS_W1C  0xfdc000afu
#define IE_MASK 0xfdc000ffu
#define SERR_DIAG_X 0x04000000u
#define SSTS_UP 0x133u /* established, 6 Gb/s, active */

#define FIS_H2D 0x27
#define FIS_D2H 0x34
#define FIS_SDB 0xa1
#define FIS_PIO 0x5f
#define FIS_C   0x80 /* byte 1: command, not control */
#define FIS_I   0x40
#define FB_PIO  0x20
#define FB_D2H  0x40
#define FB_SDB  0x58
#define CTL_SRST 0x04

#define HEADER_LEN 32
#define PRD_LEN    16
#define PRD_AT     0x80

static Ahci *ahci_of(PciDevice *dev)
{
    return (Ahci *)dev;
}

static AhciPort *port_of(IdePort *port)
{
    return (AhciPort *)port;
}

/* --- memory; a transfer may come back to our own registers --- */

static bool dma_read(Ahci *a, uint64_t addr, void *buf, uint64_t len)
{
    MemResult result;

    a->in_dma++;
    result = pci_dma_read(&a->pci, addr, buf, len);
    a->in_dma--;
    return result == MEM_OK;
}

static bool dma_write(Ahci *a, uint64_t addr, const void *buf, uint64_t len)
{
    MemResult result;

    a->in_dma++;
    result = pci_dma_write(&a->pci, addr, buf, len);
    a->in_dma--;
    return result == MEM_OK;
}

/* --- interrupts --- */

static void update_irq(Ahci *a)
{
    bool level;

    for (unsigned n = 0; n < AHCI_PORTS; n++) {
        a->is |= a->ports[n].is & a->ports[n].ie ? 1u << n : 0;
    }
    level = a->is && a->ghc & GHC_IE;
    if (msi_enabled(&a->pci)) {
        pci_set_irq(&a->pci, 0);
        if (level) {
            msi_notify(&a->pci, 0);
        }
    } else {
        pci_set_irq(&a->pci, level);
    }
}

static void port_raise(AhciPort *p, uint32_t cause)
{
    p->is |= cause;
    if (p->is & p->ie) {
        update_irq(p->a);
    }
}

/* --- FISes to memory --- */

static void fis_store(AhciPort *p, unsigned at, const uint8_t *fis, unsigned len)
{
    if (p->cmd & CMD_FRE) {
        dma_write(p->a, p->fb + at, fis, len);
    }
}

/* The register FIS of an end; cfis NULL: of a reset. */
static void fis_d2h(AhciPort *p, const uint8_t *cfis, uint16_t count, bool interrupt)
{
    uint8_t fis[20] = {FIS_D2H, interrupt ? FIS_I : 0, (uint8_t)p->tfd, (uint8_t)(p->tfd >> 8)};

    if (cfis) {
        memcpy(fis + 4, cfis + 4, 7);
        fis[11] = 0;
        pci_set16(fis + 12, count);
    } else {
        fis[4] = (uint8_t)(p->sig >> 8);
        fis[5] = (uint8_t)(p->sig >> 16);
        fis[6] = (uint8_t)(p->sig >> 24);
        fis[12] = (uint8_t)p->sig;
    }
    fis_store(p, FB_D2H, fis, sizeof(fis));
}

static void fis_pio_setup(const AhciCmd *cmd, uint8_t status)
{
    const IdeCmd *c = &cmd->c;
    uint8_t fis[20] = {FIS_PIO, (uint8_t)(FIS_I | (c->to_host ? 0x20 : 0)), ATA_READY | ATA_DRQ, 0};

    memcpy(fis + 4, c->cfis + 4, 7);
    pci_set16(fis + 12, pci_get16(c->cfis + 12));
    fis[15] = status; /* E_STATUS */
    pci_set16(fis + 16, (uint16_t)MIN(cmd->moved, 0xfffe));
    fis_store(port_of(c->port), FB_PIO, fis, sizeof(fis));
}

static void fis_set_bits(AhciPort *p, uint32_t active)
{
    uint8_t fis[8] = {FIS_SDB, FIS_I, (uint8_t)(p->tfd & 0x77), (uint8_t)(p->tfd >> 8)};

    pci_set32(fis + 4, active);
    fis_store(p, FB_SDB, fis, sizeof(fis));
}

/* --- the command's data --- */

static bool prd_entry(const AhciCmd *c, uint32_t i, uint64_t *addr, uint32_t *len)
{
    uint8_t prd[PRD_LEN];

    if (i >= c->prdtl || !dma_read(port_of(c->c.port)->a, c->table + PRD_AT + (uint64_t)i * PRD_LEN, prd, sizeof(prd))) {
        return false;
    }
    *addr = pci_get64(prd) & ~UINT64_C(1);
    *len = ((pci_get32(prd + 12) & 0x3fffff) | 1) + 1;
    return true;
}

static bool cmd_copy(AhciCmd *c)
{
    Ahci *a = port_of(c->c.port)->a;
    uint32_t skip = c->moved, len = c->c.len, part;
    uint8_t *data = c->c.data;
    uint64_t addr;

    for (uint32_t i = 0; len; i++) {
        if (!prd_entry(c, i, &addr, &part)) {
            return false;
        }
        if (skip >= part) {
            skip -= part;
            continue;
        }
        addr += skip;
        part = MIN(part - skip, len);
        skip = 0;
        if (c->c.to_host ? !dma_write(a, addr, data, part) : !dma_read(a, addr, data, part)) {
            return false;
        }
        data += part;
        len -= part;
        c->moved += part;
    }
    return true;
}

static void cmd_move(IdeCmd *c)
{
    bool ok = cmd_copy((AhciCmd *)c);

    if (!ide_cmd_forgotten(c)) { /* by its own data */
        ide_cmd_moved(c, ok);
    }
}

/* --- ends --- */

static void cmd_accepted(IdeCmd *c)
{
    AhciPort *p = port_of(c->port);

    p->tfd = ATA_READY;
    p->ci &= ~(1u << c->slot);
    fis_d2h(p, c->cfis, 0, false);
}

static void ncq_fail(const IdeCmd *c)
{
    uint8_t *log = c->port->drive->ncq_log;
    uint32_t tfd = port_of(c->port)->tfd;

    memset(log, 0, sizeof(c->port->drive->ncq_log));
    log[0] = c->tag;
    log[2] = (uint8_t)tfd;
    log[3] = (uint8_t)(tfd >> 8);
    memcpy(log + 4, c->cfis + 4, 7);
}

static void ncq_end(const IdeCmd *c, bool error)
{
    AhciPort *p = port_of(c->port);

    if (error) {
        ncq_fail(c);
        fis_set_bits(p, 0);
        p->failed = true;
        port_raise(p, IS_TFES | IS_SDBS);
        return;
    }
    p->sact &= ~(1u << c->tag);
    fis_set_bits(p, 1u << c->tag);
    port_raise(p, IS_SDBS);
}

static void cmd_end(IdeCmd *c, uint8_t status, uint8_t error, uint16_t count)
{
    AhciPort *p = port_of(c->port);
    bool failed = status & (ATA_ERR | ATA_DF);
    uint32_t moved = GUINT32_TO_LE(((AhciCmd *)c)->moved);

    if (ide_cmd_forgotten(c)) {
        return; /* its own data has reset the port */
    }
    p->tfd = status | (uint32_t)error << 8;
    p->busy &= ~(1u << c->slot);
    dma_write(p->a, p->clb + (uint64_t)c->slot * HEADER_LEN + 4, &moved, sizeof(moved));
    if (c->protocol == IDE_NCQ) {
        ncq_end(c, failed);
    } else if (failed) {
        p->failed = true;
        fis_d2h(p, c->cfis, count, true);
        port_raise(p, IS_TFES | IS_DHRS);
    } else {
        p->ci &= ~(1u << c->slot);
        if (c->protocol == IDE_PIO_IN) {
            fis_pio_setup((AhciCmd *)c, status);
            port_raise(p, IS_PSS);
        } else {
            fis_d2h(p, c->cfis, count, true);
            port_raise(p, IS_DHRS);
        }
    }
    ide_cmd_free(c);
    loop_bh_schedule(p->a->bh); /* the next one */
}

/* --- fetching --- */

/* A FIS that writes the device control register: a software reset when SRST goes. */
static void control_fis(AhciPort *p, unsigned slot, const uint8_t *cfis)
{
    bool srst = cfis[15] & CTL_SRST;

    p->ci &= ~(1u << slot);
    p->busy &= ~(1u << slot);
    if (p->soft_reset && !srst) {
        ide_drive_reset(p->port.drive);
        p->tfd = ATA_READY | 0x0100; /* diagnostics passed */
        fis_d2h(p, NULL, 0, false);
    } else if (srst) {
        p->tfd = ATA_BSY;
    }
    p->soft_reset = srst;
}

static void host_bus_error(AhciPort *p)
{
    guest_error(&p->a->pci.dev, "port %u: the command list or table is not memory", p->port.n);
    p->failed = true;
    port_raise(p, IS_HBFS);
}

static void fetch(AhciPort *p, unsigned slot)
{
    uint8_t header[16], table[0x50];
    uint32_t generation = p->port.generation;
    AhciCmd *c;

    p->cmd = (p->cmd & ~CMD_CCS(31)) | CMD_CCS(slot);
    if (!dma_read(p->a, p->clb + (uint64_t)slot * HEADER_LEN, header, sizeof(header)) ||
        !dma_read(p->a, pci_get64(header + 8) & ~UINT64_C(0x7f), table, sizeof(table))) {
        host_bus_error(p);
        return;
    }
    if (p->port.generation != generation) {
        return; /* fetching it has reset the port */
    }
    p->busy |= 1u << slot;
    if (table[0] != FIS_H2D || !(table[1] & FIS_C)) {
        control_fis(p, slot, table);
        return;
    }
    c = g_new0(AhciCmd, 1);
    *c = (AhciCmd){.c = {.port = &p->port, .generation = p->port.generation, .slot = (uint8_t)slot},
                   .table = pci_get64(header + 8) & ~UINT64_C(0x7f), .prdtl = pci_get16(header + 2)};
    memcpy(c->c.cfis, table, sizeof(c->c.cfis));
    memcpy(c->c.acmd, table + 0x40, sizeof(c->c.acmd));
    ata_execute(&c->c);
}

static bool port_runs(const AhciPort *p)
{
    return p->port.drive && p->cmd & CMD_ST && !p->failed;
}

/* Commands of the queue go on side by side; anything else has the drive to itself. */
static void port_process(AhciPort *p)
{
    for (unsigned slot = 0; slot < AHCI_SLOTS && port_runs(p); slot++) {
        uint32_t bit = 1u << slot;

        if (p->ci & bit && !(p->busy & bit) && (!p->busy || p->sact & bit)) {
            fetch(p, slot);
        }
    }
}

static void ahci_bh(void *opaque)
{
    Ahci *a = opaque;

    for (unsigned n = 0; n < AHCI_PORTS; n++) {
        port_process(&a->ports[n]);
    }
}

/* --- ports --- */

/* What is under way has no end any more. */
static void port_forget(AhciPort *p)
{
    p->port.generation++;
    p->busy = 0;
    p->ci = p->sact = 0;
    p->failed = p->soft_reset = false;
}

static void port_link_up(AhciPort *p)
{
    if (p->port.drive) {
        p->sig = p->port.drive->d.cd ? ATA_SIG_ATAPI : ATA_SIG_DISK;
        p->tfd = ATA_READY | 0x0100;
        p->ssts = SSTS_UP;
        fis_d2h(p, NULL, 0, false);
    } else {
        p->sig = UINT32_MAX;
        p->tfd = 0x7f;
        p->ssts = 0;
    }
}

static void comreset(AhciPort *p)
{
    port_forget(p);
    if (p->port.drive) {
        ide_drive_reset(p->port.drive);
        p->serr |= SERR_DIAG_X;
        p->is |= IS_PCS;
    }
    port_link_up(p);
    update_irq(p->a);
}

static void port_plugged(IdePort *port)
{
    comreset(port_of(port));
}

static void port_unplugged(IdePort *port)
{
    AhciPort *p = port_of(port);

    port_forget(p);
    port_link_up(p);
    p->serr |= SERR_DIAG_X;
    port_raise(p, IS_PCS);
}

static const IdeHostOps port_ops = {.queues = true,
                                    .move = cmd_move,
                                    .end = cmd_end,
                                    .accepted = cmd_accepted,
                                    .plugged = port_plugged,
                                    .unplugged = port_unplugged};

static void port_reset(AhciPort *p)
{
    port_forget(p);
    p->clb = p->fb = 0;
    p->is = p->ie = p->sctl = p->serr = 0;
    p->cmd = CMD_SUD | CMD_POD;
    if (p->port.drive) {
        ide_drive_reset(p->port.drive);
    }
    port_link_up(p);
}

static uint32_t port_read(const AhciPort *p, unsigned reg)
{
    const struct {
        unsigned reg;
        uint32_t val;
    } regs[] = {
        {P_CLB, (uint32_t)p->clb}, {P_CLBU, (uint32_t)(p->clb >> 32)}, {P_FB, (uint32_t)p->fb},
        {P_FBU, (uint32_t)(p->fb >> 32)}, {P_IS, p->is}, {P_IE, p->ie},
        {P_CMD, p->cmd | (p->cmd & CMD_ST ? CMD_CR : 0) | (p->cmd & CMD_FRE ? CMD_FR : 0)},
        {P_TFD, p->tfd}, {P_SIG, p->sig}, {P_SSTS, p->ssts}, {P_SCTL, p->sctl}, {P_SERR, p->serr},
        {P_SACT, p->sact}, {P_CI, p->ci},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(regs); i++) {
        if (regs[i].reg == reg) {
            return regs[i].val;
        }
    }
    return 0;
}

static void port_cmd_write(AhciPort *p, uint32_t val)
{
    uint32_t old = p->cmd;

    p->cmd = (old & ~CMD_WRITABLE) | (val & CMD_WRITABLE);
    if (val & CMD_CLO) {
        p->tfd &= ~(ATA_BSY | ATA_DRQ);
    }
    if (~old & p->cmd & CMD_FRE) {
        fis_d2h(p, NULL, 0, false);
    }
    if (old & ~p->cmd & CMD_ST) {
        uint32_t tfd = p->tfd;

        port_forget(p);
        p->tfd = tfd;
        p->cmd &= ~CMD_CCS(31);
    } else if (~old & p->cmd & CMD_ST) {
        loop_bh_schedule(p->a->bh);
    }
}

static void set_half(uint64_t *reg, bool upper, uint32_t val)
{
    *reg = upper ? (*reg & UINT32_MAX) | (uint64_t)val << 32 : (*reg & ~(uint64_t)UINT32_MAX) | val;
}

static void port_sctl_write(AhciPort *p, uint32_t val)
{
    uint32_t old = p->sctl;

    p->sctl = val & 0xfff;
    if ((old & 0xf) == 1 && !(val & 0xf)) {
        comreset(p);
    } else if ((val & 0xf) == 1 || (val & 0xf) == 4) {
        port_forget(p);
        p->ssts = (val & 0xf) == 4 ? 4 : 0;
        p->tfd = 0x7f;
    } else if ((old & 0xf) == 4 && !(val & 0xf)) {
        port_link_up(p);
    }
}

static void port_write(AhciPort *p, unsigned reg, uint32_t val)
{
    switch (reg) {
    case P_CLB:
        set_half(&p->clb, false, val & ~0x3ffu);
        break;
    case P_CLBU:
        set_half(&p->clb, true, val);
        break;
    case P_FB:
        set_half(&p->fb, false, val & ~0xffu);
        break;
    case P_FBU:
        set_half(&p->fb, true, val);
        break;
    case P_IS:
        p->is &= ~(val & IS_W1C);
        break;
    case P_IE:
        p->ie = val & IE_MASK;
        update_irq(p->a);
        break;
    case P_CMD:
        port_cmd_write(p, val);
        break;
    case P_SCTL:
        port_sctl_write(p, val);
        break;
    case P_SERR:
        p->serr &= ~val;
        p->is &= p->serr & SERR_DIAG_X ? UINT32_MAX : ~IS_PCS;
        break;
    case P_SACT:
        p->sact |= p->cmd & CMD_ST ? val : 0;
        break;
    case P_CI:
        p->ci |= p->cmd & CMD_ST ? val : 0;
        if (p->a->in_dma) {
            loop_bh_schedule(p->a->bh);
        } else {
            port_process(p);
        }
        break;
    default:
        break; /* read-only */
    }
}

/* --- generic registers --- */

static void hba_reset(Ahci *a)
{
    a->ghc = GHC_AE;
    a->is = 0;
    for (unsigned n = 0; n < AHCI_PORTS; n++) {
        port_reset(&a->ports[n]);
    }
    update_irq(a);
}

static uint32_t hba_read(Ahci *a, unsigned reg)
{
    switch (reg) {
    case HBA_CAP:
        return CAP_S64A | CAP_SNCQ | CAP_SCLO | CAP_ISS | CAP_SAM | (AHCI_SLOTS - 1) << 8 | (AHCI_PORTS - 1);
    case HBA_GHC:
        return a->ghc;
    case HBA_IS:
        return a->is;
    case HBA_PI:
        return (1u << AHCI_PORTS) - 1;
    case HBA_VS:
        return VERSION;
    default:
        return 0;
    }
}

static void hba_write(Ahci *a, unsigned reg, uint32_t val)
{
    if (reg == HBA_GHC && val & GHC_HR) {
        hba_reset(a);
    } else if (reg == HBA_GHC) {
        a->ghc = GHC_AE | (val & GHC_IE);
        update_irq(a);
    } else if (reg == HBA_IS) {
        a->is &= ~val;
        update_irq(a); /* what still stands in a port comes back */
    }
}

static uint32_t abar_read(Ahci *a, unsigned reg)
{
    unsigned n = (reg - PORT_BASE) / PORT_SIZE;

    if (reg < PORT_BASE) {
        return hba_read(a, reg);
    }
    return n < AHCI_PORTS ? port_read(&a->ports[n], (reg - PORT_BASE) % PORT_SIZE) : 0;
}

static void abar_write(Ahci *a, unsigned reg, uint32_t val)
{
    unsigned n = (reg - PORT_BASE) / PORT_SIZE;

    if (reg < PORT_BASE) {
        hba_write(a, reg, val);
    } else if (n < AHCI_PORTS) {
        port_write(&a->ports[n], (reg - PORT_BASE) % PORT_SIZE, val);
    }
}

/* Narrow accesses see a part of the register. */
static MemResult ahci_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    uint32_t whole = abar_read(opaque, (unsigned)addr & ~3u);

    *val = whole >> (8 * (addr & 3));
    *val &= size == 4 ? UINT32_MAX : (1u << (8 * size)) - 1;
    return MEM_OK;
}

static MemResult ahci_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Ahci *a = opaque;

    if (size != 4) {
        guest_error(&a->pci.dev, "write of %u bytes at 0x%x (allowed 4)", size, (unsigned)addr);
        return MEM_OK;
    }
    abar_write(a, (unsigned)addr, (uint32_t)val);
    return MEM_OK;
}

static MemResult index_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    Ahci *a = opaque;

    *val = addr == INDEX_REG ? a->index : addr == DATA_REG ? abar_read(a, a->index) : 0;
    return MEM_OK;
}

static MemResult index_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Ahci *a = opaque;

    if (addr == INDEX_REG) {
        a->index = (uint32_t)val & (ABAR_SIZE - 4);
    } else if (addr == DATA_REG) {
        abar_write(a, a->index, (uint32_t)val);
    }
    return MEM_OK;
}

static const MemOps abar_ops = {ahci_read, ahci_write, .min_size = 1, .max_size = 4};
static const MemOps index_ops = {index_read, index_write, .min_size = 4, .max_size = 4};

/* --- life, state --- */

static bool ahci_start(PciDevice *dev, GError **error)
{
    Ahci *a = ahci_of(dev);
    uint16_t sata;

    if (!msi_init(dev, CAP_MSI_AT, 1, false, error)) {
        return false;
    }
    sata = pci_add_capability(dev, CAP_SATA, CAP_SATA_AT, 8, error);
    if (!sata) {
        return false;
    }
    pci_set16(dev->config + sata + 2, 0x0010);                          /* revision 1.0 */
    pci_set32(dev->config + sata + 4, INDEX_REG << 2 | (INDEX_BAR + 4)); /* the index is in BAR 4, in dwords */
    dev->config[PCI_CLASS_PROG] = 1;
    for (unsigned n = 0; n < AHCI_PORTS; n++) {
        a->ports[n].a = a;
        a->ports[n].port = (IdePort){.ops = &port_ops, .n = (uint8_t)n, .bus_n = (uint8_t)n};
        a->ports[n].port.bus = device_bus_new(&dev->dev, "IDE", n, &a->ports[n].port);
        a->ports[n].port.next = n + 1 < AHCI_PORTS ? &a->ports[n + 1].port : NULL;
    }
    a->bh = device_bh_new(&dev->dev, ahci_bh, a);
    return true;
}

static void ahci_reset(PciDevice *dev)
{
    hba_reset(ahci_of(dev));
}

static void ahci_stop(PciDevice *dev)
{
    Ahci *a = ahci_of(dev);

    for (unsigned n = 0; n < AHCI_PORTS; n++) {
        g_clear_pointer(&a->ports[n].port.bus, device_bus_free);
    }
    loop_bh_free(a->bh);
}

static void ahci_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    update_irq(ahci_of(dev)); /* MSI may have been switched */
}

/* Nothing is under way in a saved controller: a command that began ends. */
static void ahci_pre_save(void *instance)
{
    Ahci *a = instance;

    for (unsigned n = 0; n < AHCI_PORTS; n++) {
        const IdeDrive *drive = a->ports[n].port.drive;

        if (drive && drive->d.blk) {
            block_drain(drive->d.blk);
        }
    }
}

static bool ahci_post_load(void *instance, uint32_t version, GError **error)
{
    Ahci *a = instance;

    for (unsigned n = 0; n < AHCI_PORTS; n++) {
        AhciPort *p = &a->ports[n];

        if (version == 1 && p->port.drive) {
            memcpy(p->port.drive->ncq_log, p->old_ncq_log, sizeof(p->old_ncq_log));
        }
        p->port.generation++;
        p->busy = 0;
        p->clb &= ~UINT64_C(0x3ff);
        p->fb &= ~UINT64_C(0xff);
    }
    a->index &= ABAR_SIZE - 4;
    pci_set_irq(&a->pci, a->is && a->ghc & GHC_IE && !msi_enabled(&a->pci));
    loop_bh_schedule(a->bh); /* what was issued and not fetched */
    return true;
}

static const StateField port_fields[] = {
    STATE_FIELD_UINT(AhciPort, clb),  STATE_FIELD_UINT(AhciPort, fb),     STATE_FIELD_UINT(AhciPort, is),
    STATE_FIELD_UINT(AhciPort, ie),   STATE_FIELD_UINT(AhciPort, cmd),    STATE_FIELD_UINT(AhciPort, tfd),
    STATE_FIELD_UINT(AhciPort, sig),  STATE_FIELD_UINT(AhciPort, ssts),   STATE_FIELD_UINT(AhciPort, sctl),
    STATE_FIELD_UINT(AhciPort, serr), STATE_FIELD_UINT(AhciPort, sact),   STATE_FIELD_UINT(AhciPort, ci),
    STATE_FIELD_BOOL(AhciPort, failed), STATE_FIELD_BOOL(AhciPort, soft_reset),
    {.name = "ncq_log", .kind = STATE_BYTES, .offset = offsetof(AhciPort, old_ncq_log), .size = 16, .until = 2}, STATE_END,
};
static const StateTable port_state = {.name = "ahci-port", .version = 2, .fields = port_fields};

static const StateField ahci_fields[] = {
    STATE_FIELD_STRUCT(Ahci, pci, &pci_device_state), STATE_FIELD_UINT(Ahci, ghc), STATE_FIELD_UINT(Ahci, is),
    STATE_FIELD_UINT(Ahci, index), STATE_FIELD_STRUCTS(Ahci, ports, &port_state), STATE_END,
};
static const StateTable ahci_state = {
    .name = "ahci", .version = 2, .fields = ahci_fields, .pre_save = ahci_pre_save, .post_load = ahci_post_load};

static const Prop ahci_props[] = {PROP_END};

const PciModel ich9_ahci_model = {
    .dev = {.name = "ich9-ahci",
            .alias = "ahci",
            .doc = "SATA controller of the ICH9, with ports for ide-hd and ide-cd.",
            .kind = MODEL_PCI,
            .size = sizeof(Ahci),
            .props = ahci_props,
            .state = &ahci_state},
    .ids = {.vendor = 0x8086, .device = 0x2922, .subsystem_vendor = 0x1af4, .subsystem = 0x1100, .revision = 2,
            .class_code = 0x010601},
    .interrupt_pin = 1,
    .bars = {[INDEX_BAR] = {.size = 0x20, .kind = PCI_BAR_IO, .ops = &index_ops},
             [ABAR] = {.size = ABAR_SIZE, .kind = PCI_BAR_MEM32, .ops = &abar_ops}},
    .start = ahci_start,
    .reset = ahci_reset,
    .stop = ahci_stop,
    .config_written = ahci_config_written,
};
