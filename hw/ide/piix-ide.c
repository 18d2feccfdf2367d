/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IDE functions of the PIIX3, 8086:7010 (82371SB data sheet, 2.3 and 2.7), and of the PIIX4, 8086:7111 (82371AB, 6.1
 * and 6.2): two channels at the ports and interrupts that such have had since the PC/AT, and a bus master for each in BAR 4.
 * Timings are registers only; the ports are there whatever the decode enable bits say.
 */
#include "core/error.h"
#include "hw/ide/ide-channel.h"
#include "hw/isa/isa.h"

#define CHANNELS     2
#define BM_BAR       4
#define BM_SIZE      8 /* ports of a channel's bus master */
#define IDETIM       0x40
#define IDETIM_LEN   4
#define SIDETIM      0x44
#define UDMACTL      0x48
#define UDMATIM      0x4a
#define PROG_MASTER  0x80 /* compatible ports, bus master */

enum { BMICX = 0, BMISX = 2, BMIDTPX = 4 };
#define BMIC_START   0x01
#define BMIC_TO_HOST 0x08
#define BMIS_ACTIVE  0x01
#define BMIS_ERROR   0x02
#define BMIS_IRQ     0x04
#define BMIS_CAPABLE 0x60
#define PRD_LEN      8
#define PRD_EOT      0x80000000u

typedef struct PiixIde PiixIde;

typedef struct PiixBm {
    PiixIde *ide;
    IdeChannel ch;
    IrqLine *line;
    MemRegion *command, *control;
    uint8_t irq;
    uint8_t cmd, status;
    uint32_t table;    /* as written */
    uint32_t next;     /* address of the next descriptor */
    uint32_t addr, left; /* of the present one: what remains */
    bool last, running;
} PiixBm;

struct PiixIde {
    PciDevice pci;
    IsaBus *isa;
    PiixBm bm[CHANNELS];
};

static const struct {
    uint16_t command, control;
    uint8_t irq;
} piix_ide_places[CHANNELS] = {{0x1f0, 0x3f6, 14}, {0x170, 0x376, 15}};

/* --- bus master --- */

static bool bm_next_prd(PiixBm *bm)
{
    uint8_t prd[PRD_LEN];
    uint32_t len;

    if (bm->last) {
        bm->status &= (uint8_t)~BMIS_ACTIVE; /* the table was too short: the drive waits */
        return false;
    }
    if (pci_dma_read(&bm->ide->pci, bm->next, prd, sizeof(prd)) != MEM_OK) {
        guest_error(&bm->ide->pci.dev, "the descriptor at 0x%x is not memory", bm->next);
        bm->status = (uint8_t)((bm->status & ~BMIS_ACTIVE) | BMIS_ERROR);
        return false;
    }
    bm->next += PRD_LEN;
    bm->addr = pci_get32(prd) & ~1u;
    len = pci_get32(prd + 4);
    bm->last = len & PRD_EOT;
    bm->left = len & 0xfffe ? len & 0xfffe : 0x10000;
    return true;
}

/* Moves what a descriptor and the drive's data have in common. */
static void bm_move(PiixBm *bm)
{
    IdeCmd *c = bm->ch.cmd;
    PciDevice *pci = &bm->ide->pci;
    uint8_t *data = c->data + bm->ch.pos;
    uint32_t len = MIN(bm->left, c->len - bm->ch.pos);
    bool ok = (c->to_host ? pci_dma_write(pci, bm->addr, data, len) : pci_dma_read(pci, bm->addr, data, len)) == MEM_OK;

    bm->addr += len;
    bm->left -= len;
    if (!ok) {
        bm->status = (uint8_t)((bm->status & ~BMIS_ACTIVE) | BMIS_ERROR);
    } else if (!bm->left && bm->last) {
        bm->status &= (uint8_t)~BMIS_ACTIVE;
    }
    ide_channel_dma_moved(&bm->ch, len, ok);
}

static void bm_run(void *opaque)
{
    PiixBm *bm = opaque;

    if (bm->running) {
        return; /* its data ended one chunk; the loop below takes the next */
    }
    bm->running = true;
    while (bm->ch.phase == IDE_PHASE_DMA && bm->cmd & BMIC_START && bm->status & BMIS_ACTIVE) {
        if (bm->left) {
            bm_move(bm);
        } else if (!bm_next_prd(bm)) {
            break;
        }
    }
    bm->running = false;
}

static void bm_set_irq(void *opaque, bool level)
{
    PiixBm *bm = opaque;

    bm->status |= level ? BMIS_IRQ : 0;
    irq_set(bm->line, level);
}

static void bm_command(PiixBm *bm, uint8_t val)
{
    uint8_t old = bm->cmd;

    bm->cmd = val & (BMIC_START | BMIC_TO_HOST);
    if (~old & bm->cmd & BMIC_START) {
        bm->next = bm->table;
        bm->left = 0;
        bm->last = false;
        bm->status |= BMIS_ACTIVE;
        bm_run(bm);
    } else if (!(bm->cmd & BMIC_START)) {
        bm->status &= (uint8_t)~BMIS_ACTIVE;
    }
}

static uint8_t bm_read_byte(const PiixBm *bm, unsigned reg)
{
    switch (reg) {
    case BMICX:
        return bm->cmd;
    case BMISX:
        return bm->status;
    default:
        return reg >= BMIDTPX ? (uint8_t)(bm->table >> (8 * (reg - BMIDTPX))) : 0xff;
    }
}

static void bm_write_byte(PiixBm *bm, unsigned reg, uint8_t val)
{
    if (reg == BMICX) {
        bm_command(bm, val);
    } else if (reg == BMISX) {
        bm->status = (uint8_t)((bm->status & BMIS_ACTIVE) | (val & BMIS_CAPABLE) |
                               (bm->status & ~val & (BMIS_ERROR | BMIS_IRQ)));
    } else if (reg >= BMIDTPX) {
        unsigned shift = 8 * (reg - BMIDTPX);

        bm->table = ((bm->table & ~(0xffu << shift)) | (uint32_t)val << shift) & ~3u;
    }
}

static MemResult bm_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    PiixIde *s = opaque;

    *val = 0;
    for (unsigned i = 0; i < size; i++) {
        unsigned at = (unsigned)addr + i;

        *val |= (uint64_t)bm_read_byte(&s->bm[at / BM_SIZE % CHANNELS], at % BM_SIZE) << (8 * i);
    }
    return MEM_OK;
}

static MemResult bm_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    PiixIde *s = opaque;

    for (unsigned i = 0; i < size; i++) {
        unsigned at = (unsigned)addr + i;

        bm_write_byte(&s->bm[at / BM_SIZE % CHANNELS], at % BM_SIZE, (uint8_t)(val >> (8 * i)));
    }
    return MEM_OK;
}

static const MemOps bm_ops = {bm_read, bm_write, .min_size = 1, .max_size = 4};

/* --- life --- */

static void bm_stop(PiixBm *bm)
{
    if (bm->ch.ports[0].bus) {
        isa_unmap_ports(bm->ide->isa, &bm->command);
        isa_unmap_ports(bm->ide->isa, &bm->control);
        ide_channel_free(&bm->ch);
    }
    if (bm->line) {
        irq_set(bm->line, 0);
        isa_release_irq(bm->ide->isa, &bm->ide->pci.dev, bm->irq);
        bm->line = NULL;
    }
}

static bool bm_start(PiixIde *s, unsigned n, GError **error)
{
    PiixBm *bm = &s->bm[n];
    Device *dev = &s->pci.dev;
    uint16_t command = piix_ide_places[n].command, control = piix_ide_places[n].control;

    bm->ide = s;
    bm->irq = piix_ide_places[n].irq;
    if (!isa_check_ports(s->isa, dev, NULL, command, IDE_COMMAND_PORTS, error) ||
        !isa_check_ports(s->isa, dev, NULL, control, 1, error) || !isa_claim_irq(s->isa, dev, bm->irq, &bm->line, error)) {
        return false;
    }
    bm->ch.set_irq = bm_set_irq;
    bm->ch.dma_ready = bm_run;
    bm->ch.opaque = bm;
    ide_channel_init(&bm->ch, dev, n);
    bm->command = isa_map_ports(s->isa, dev, "ide-command", command, IDE_COMMAND_PORTS, &ide_command_ops, &bm->ch);
    bm->control = isa_map_ports(s->isa, dev, "ide-control", control, 1, &ide_control_ops, &bm->ch);
    return true;
}

static void piix_ide_stop(PciDevice *dev)
{
    PiixIde *s = (PiixIde *)dev;

    for (unsigned n = 0; n < CHANNELS; n++) {
        bm_stop(&s->bm[n]);
    }
}

static bool piix_ide_start(PciDevice *dev, GError **error)
{
    PiixIde *s = (PiixIde *)dev;

    s->isa = isa_bus_find(dev->dev.obj.machine, dev->dev.obj.model->name, error);
    if (!s->isa || !bm_start(s, 0, error) || !bm_start(s, 1, error)) {
        piix_ide_stop(dev);
        return false;
    }
    s->bm[0].ch.ports[1].next = &s->bm[1].ch.ports[0];
    dev->config[PCI_CLASS_PROG] = PROG_MASTER;
    pci_set32(dev->wmask + IDETIM, UINT32_MAX);
    dev->wmask[SIDETIM] = 0xff;
    return true;
}

static bool piix4_ide_start(PciDevice *dev, GError **error)
{
    if (!piix_ide_start(dev, error)) {
        return false;
    }
    dev->wmask[UDMACTL] = 0x0f;
    pci_set16(dev->wmask + UDMATIM, 0x3333);
    return true;
}

static void piix_ide_reset(PciDevice *dev)
{
    PiixIde *s = (PiixIde *)dev;

    for (unsigned n = 0; n < CHANNELS; n++) {
        PiixBm *bm = &s->bm[n];

        ide_channel_reset(&bm->ch);
        bm->cmd = bm->status = 0;
        bm->table = bm->next = bm->addr = bm->left = 0;
        bm->last = false;
    }
    for (unsigned i = 0; i < IDETIM_LEN; i++) {
        dev->config[IDETIM + i] = 0;
    }
    dev->config[SIDETIM] = dev->config[UDMACTL] = dev->config[UDMATIM] = dev->config[UDMATIM + 1] = 0;
}

/* --- state --- */

static void piix_ide_pre_save(void *instance)
{
    PiixIde *s = instance;

    for (unsigned n = 0; n < CHANNELS; n++) {
        ide_channel_pre_save(&s->bm[n].ch);
    }
}

static bool piix_ide_post_load(void *instance, uint32_t version, GError **error)
{
    PiixIde *s = instance;

    for (unsigned n = 0; n < CHANNELS; n++) {
        PiixBm *bm = &s->bm[n];

        if (!ide_channel_post_load(&bm->ch, error)) {
            return false;
        }
        irq_set(bm->line, bm->ch.irq_out);
    }
    return true;
}

static const StateField bm_fields[] = {
    STATE_FIELD_STRUCT(PiixBm, ch, &ide_channel_state),
    STATE_FIELD_UINT(PiixBm, cmd),
    STATE_FIELD_UINT(PiixBm, status),
    STATE_FIELD_UINT(PiixBm, table),
    STATE_FIELD_UINT(PiixBm, next),
    STATE_FIELD_UINT(PiixBm, addr),
    STATE_FIELD_UINT(PiixBm, left),
    STATE_FIELD_BOOL(PiixBm, last),
    STATE_END,
};
static const StateTable bm_state = {.name = "piix-ide-channel", .version = 1, .fields = bm_fields};

static const StateField piix_ide_fields[] = {STATE_FIELD_STRUCT(PiixIde, pci, &pci_device_state),
                                             STATE_FIELD_STRUCTS(PiixIde, bm, &bm_state), STATE_END};
static const StateTable piix_ide_state = {
    .name = "piix-ide", .version = 1, .board_since = 2, .fields = piix_ide_fields,
    .pre_save = piix_ide_pre_save, .post_load = piix_ide_post_load};

#define PIIX_IDE_MODEL(model_name, text, device_id, revision_id, start_fn)                                          \
    {                                                                                                               \
        .dev = {.name = model_name,                                                                                 \
                .doc = text,                                                                                        \
                .kind = MODEL_PCI,                                                                                  \
                .size = sizeof(PiixIde),                                                                            \
                .state = &piix_ide_state},                                                                          \
        .ids = {.vendor = 0x8086, .device = device_id, .revision = revision_id, .class_code = 0x010180},            \
        .bars = {[BM_BAR] = {.size = CHANNELS * BM_SIZE, .kind = PCI_BAR_IO, .ops = &bm_ops}}, .start = start_fn,   \
        .reset = piix_ide_reset, .stop = piix_ide_stop, .no_unplug = true,                                          \
    }

const PciModel piix3_ide_model =
    PIIX_IDE_MODEL("piix3-ide", "IDE function of the PIIX3, with two buses for ide-hd and ide-cd.", 0x7010, 0, piix_ide_start);
const PciModel piix4_ide_model =
    PIIX_IDE_MODEL("piix4-ide", "IDE function of the PIIX4, with two buses for ide-hd and ide-cd.", 0x7111, 0, piix4_ide_start);
