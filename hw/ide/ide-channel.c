/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A parallel ATA channel (ATA/ATAPI-6, 7: registers, 9: protocols).  The guest's registers become the FIS that ata.c reads;
 * a command's data goes through the data port, DRQ block by DRQ block, or through the bus master of the owner.
 */
#include "hw/ide/ide-channel.h"

#include <string.h>

#include "core/error.h"

#define SECTOR      512u
#define PACKET_LEN  12u
#define BYTES_MAX   0xfffeu /* of a packet command's DRQ block */

enum { REG_DATA, REG_FEATURES, REG_DEVICE = 6, REG_COMMAND = 7 };
#define DEVICE_UNIT  0x10
#define DEVICE_FIXED 0xa0
#define CONTROL_NIEN 0x02
#define CONTROL_SRST 0x04
#define CONTROL_HOB  0x80
#define REASON_COMMAND 1 /* interrupt reason of PACKET: C/D, I/O */
#define REASON_TO_HOST 2
#define ATA_DEVICE_RESET 0x08
#define ATA_DIAGNOSTIC   0x90
#define ATA_PACKET       0xa0

static IdeChannel *channel_of(IdePort *port)
{
    return (IdeChannel *)(void *)(port - port->unit);
}

static unsigned selected(const IdeChannel *ch)
{
    return ch->device & DEVICE_UNIT ? 1 : 0;
}

static bool anybody(const IdeChannel *ch)
{
    return ch->ports[0].drive || ch->ports[1].drive;
}

static IdeUnit *unit_of(IdeChannel *ch, const IdeCmd *c)
{
    return &ch->units[c->port->unit];
}

/* --- interrupt --- */

static void update_irq(IdeChannel *ch)
{
    bool level = ch->irq && !(ch->control & CONTROL_NIEN);

    if (level != ch->irq_out) {
        ch->irq_out = level;
        ch->set_irq(ch->opaque, level);
    }
}

static void set_intrq(IdeChannel *ch, bool level)
{
    ch->irq = level;
    update_irq(ch);
}

/* --- commands --- */

/* Nobody waits for what is under way.  In phase BUSY the drive has it, and frees it when it notices. */
static void forget(IdeChannel *ch)
{
    for (unsigned n = 0; n < IDE_UNITS; n++) {
        ch->ports[n].generation++;
    }
    if (ch->cmd && ch->phase != IDE_PHASE_BUSY) {
        ide_cmd_free(ch->cmd);
    }
    ch->cmd = NULL;
    ch->phase = IDE_PHASE_IDLE;
}

static void set_signature(IdeChannel *ch, unsigned n)
{
    const IdeDrive *drive = ch->ports[n].drive;
    IdeUnit *u = &ch->units[n];
    uint32_t sig = drive && drive->d.cd ? ATA_SIG_ATAPI : ATA_SIG_DISK;

    memset(u, 0, sizeof(*u));
    u->regs[IDE_COUNT] = (uint8_t)sig;
    for (unsigned i = 0; i < 3; i++) {
        u->regs[IDE_LBA_LOW + i] = (uint8_t)(sig >> (8 * i + 8));
    }
    u->error = 1; /* diagnostics passed */
    u->status = drive && !drive->d.cd ? ATA_READY : 0;
}

/* What power-on, SRST and EXECUTE DEVICE DIAGNOSTIC have in common. */
static void reset_drives(IdeChannel *ch)
{
    forget(ch);
    for (unsigned n = 0; n < IDE_UNITS; n++) {
        if (ch->ports[n].drive) {
            ide_drive_reset(ch->ports[n].drive);
        }
        set_signature(ch, n);
    }
    ch->device = DEVICE_FIXED;
}

static IdeCmd *cmd_new(IdeChannel *ch, uint8_t command)
{
    unsigned n = selected(ch);
    const IdeUnit *u = &ch->units[n];
    const uint8_t *now = u->regs, *old = u->previous;
    const uint8_t fis[IDE_CFIS_LEN] = {
        0x27, 0x80, command, now[IDE_FEATURES], now[IDE_LBA_LOW], now[IDE_LBA_MID], now[IDE_LBA_HIGH], ch->device,
        old[IDE_LBA_LOW], old[IDE_LBA_MID], old[IDE_LBA_HIGH], old[IDE_FEATURES], now[IDE_COUNT], old[IDE_COUNT], 0, ch->control};
    IdeCmd *c = g_new0(IdeCmd, 1);

    c->port = &ch->ports[n];
    c->generation = c->port->generation;
    memcpy(c->cfis, fis, sizeof(fis));
    return c;
}

static void command(IdeChannel *ch, uint8_t val)
{
    unsigned n = selected(ch);
    IdeUnit *u = &ch->units[n];
    const IdeDrive *drive = ch->ports[n].drive;

    set_intrq(ch, false);
    if (!drive || (ch->phase != IDE_PHASE_IDLE && val != ATA_DEVICE_RESET)) {
        return; /* not heard */
    }
    if (val == ATA_DEVICE_RESET && drive->d.cd) {
        forget(ch);
        ide_drive_reset(ch->ports[n].drive);
        set_signature(ch, n);
    } else if (val == ATA_DIAGNOSTIC) {
        reset_drives(ch);
        set_intrq(ch, true);
    } else if (ch->phase == IDE_PHASE_IDLE) {
        ch->cmd = cmd_new(ch, val);
        ch->first = true;
        u->error = 0;
        u->status = ATA_READY | ATA_BSY;
        ch->phase = IDE_PHASE_BUSY;
        if (val == ATA_PACKET && drive->d.cd) {
            ch->phase = IDE_PHASE_PACKET;
            ch->pos = 0;
            u->status = ATA_READY | ATA_DRQ;
            u->regs[IDE_COUNT] = REASON_COMMAND;
        } else {
            ata_execute(ch->cmd);
        }
    }
}

static bool is_packet(const IdeCmd *c)
{
    return c->cfis[2] == ATA_PACKET;
}

static bool by_dma(const IdeCmd *c)
{
    return c->protocol == IDE_DMA && (!is_packet(c) || c->cfis[3] & 1);
}

static void channel_end(IdeCmd *c, uint8_t status, uint8_t error, uint16_t count)
{
    IdeChannel *ch = channel_of(c->port);
    IdeUnit *u = unit_of(ch, c);
    bool told = c->protocol == IDE_PIO_IN && !(status & ATA_ERR) && !ch->first;

    if (ide_cmd_forgotten(c)) {
        return;
    }
    u->status = status;
    u->error = error;
    u->regs[IDE_COUNT] = (uint8_t)count;
    u->previous[IDE_COUNT] = (uint8_t)(count >> 8);
    if (!is_packet(c)) {
        memcpy(u->regs + IDE_LBA_LOW, c->cfis + 4, 3);
        memcpy(u->previous + IDE_LBA_LOW, c->cfis + 8, 3);
    }
    ch->cmd = NULL;
    ch->phase = IDE_PHASE_IDLE;
    ide_cmd_free(c);
    if (!told) { /* its last block was, already */
        set_intrq(ch, true);
    }
}

/* --- data by PIO --- */

/* The bytes of a DRQ block, while `left` remain. */
static uint32_t block_len(const IdeChannel *ch, const IdeCmd *c, uint32_t left)
{
    const uint8_t *f = c->cfis;
    bool multiple = f[2] == 0xc4 || f[2] == 0xc5 || f[2] == 0x29 || f[2] == 0x39;
    uint32_t limit = SECTOR;

    if (is_packet(c)) {
        limit = f[5] | (uint32_t)f[6] << 8;
        limit = !limit || limit > BYTES_MAX ? BYTES_MAX : limit;
        limit -= limit & 1 && left > limit;
        limit = MAX(limit, 2);
    } else if (multiple) {
        limit *= MAX(c->port->drive->multiple, 1);
    }
    return MIN(limit, left);
}

static void next_block(IdeChannel *ch)
{
    IdeCmd *c = ch->cmd;
    IdeUnit *u = unit_of(ch, c);
    uint32_t len = block_len(ch, c, c->len - ch->pos);

    ch->phase = IDE_PHASE_DATA;
    ch->end = ch->pos + len;
    u->status = ATA_READY | ATA_DRQ;
    if (is_packet(c)) {
        u->regs[IDE_COUNT] = c->to_host ? REASON_TO_HOST : 0;
        u->regs[IDE_LBA_MID] = (uint8_t)len;
        u->regs[IDE_LBA_HIGH] = (uint8_t)(len >> 8);
    }
    if (c->to_host || !ch->first || is_packet(c)) {
        set_intrq(ch, true);
    }
    ch->first = false;
}

static void channel_move(IdeCmd *c)
{
    IdeChannel *ch = channel_of(c->port);

    ch->pos = 0;
    if (by_dma(c)) {
        ch->phase = IDE_PHASE_DMA;
        unit_of(ch, c)->status = ATA_READY | ATA_BSY | ATA_DRQ;
        ch->dma_ready(ch->opaque);
    } else {
        next_block(ch);
    }
}

static void go_on(IdeChannel *ch, bool ok)
{
    unit_of(ch, ch->cmd)->status = ATA_READY | ATA_BSY;
    ch->phase = IDE_PHASE_BUSY;
    ide_cmd_moved(ch->cmd, ok);
}

static void data_moved(IdeChannel *ch, uint32_t len)
{
    ch->pos += len;
    if (ch->pos < ch->end) {
        return;
    }
    if (ch->phase == IDE_PHASE_PACKET) {
        ch->phase = IDE_PHASE_BUSY;
        unit_of(ch, ch->cmd)->status = ATA_READY | ATA_BSY;
        ata_execute(ch->cmd);
    } else if (ch->pos < ch->cmd->len) {
        next_block(ch);
    } else {
        go_on(ch, true);
    }
}

void ide_channel_dma_moved(IdeChannel *ch, uint32_t len, bool ok)
{
    ch->pos += len;
    if (!ok || ch->pos == ch->cmd->len) {
        go_on(ch, ok);
    }
}

static uint32_t data_read(IdeChannel *ch, unsigned size)
{
    uint8_t bytes[4] = {0};
    uint32_t len;

    if (ch->phase != IDE_PHASE_DATA || !ch->cmd->to_host || ch->cmd->port->unit != selected(ch)) {
        return 0;
    }
    len = MIN(size, ch->end - ch->pos);
    memcpy(bytes, ch->cmd->data + ch->pos, len);
    data_moved(ch, len);
    return pci_get32(bytes);
}

static void data_write(IdeChannel *ch, uint32_t val, unsigned size)
{
    uint8_t bytes[4], *to;
    uint32_t len;

    if (!ch->cmd || ch->cmd->port->unit != selected(ch)) {
        return;
    }
    if (ch->phase == IDE_PHASE_PACKET) {
        to = ch->cmd->acmd;
        ch->end = PACKET_LEN;
    } else if (ch->phase == IDE_PHASE_DATA && !ch->cmd->to_host) {
        to = ch->cmd->data;
    } else {
        return;
    }
    len = MIN(size, ch->end - ch->pos);
    pci_set32(bytes, val);
    memcpy(to + ch->pos, bytes, len);
    data_moved(ch, len);
}

/* --- registers --- */

static uint8_t status(const IdeChannel *ch)
{
    unsigned n = selected(ch);

    /* A drive 0 that is alone answers for drive 1, with nothing. */
    return ch->ports[n].drive ? ch->units[n].status : 0;
}

static uint8_t command_block_read(IdeChannel *ch, unsigned reg)
{
    const IdeUnit *u = &ch->units[selected(ch)];
    uint8_t val;

    if (!anybody(ch)) {
        return 0;
    }
    switch (reg) {
    case REG_FEATURES:
        return ch->ports[selected(ch)].drive ? u->error : 0;
    case REG_DEVICE:
        return ch->device;
    case REG_COMMAND:
        val = status(ch);
        set_intrq(ch, false);
        return val;
    default:
        return (ch->control & CONTROL_HOB ? u->previous : u->regs)[reg - 1];
    }
}

/* Both drives hear what is written to the registers. */
static void command_block_write(IdeChannel *ch, unsigned reg, uint8_t val)
{
    ch->control &= (uint8_t)~CONTROL_HOB;
    if (reg == REG_COMMAND) {
        command(ch, val);
    } else if (ch->phase != IDE_PHASE_IDLE) {
        return; /* not heard while a command is carried out */
    } else if (reg == REG_DEVICE) {
        ch->device = val | DEVICE_FIXED;
    } else {
        for (unsigned n = 0; n < IDE_UNITS; n++) {
            ch->units[n].previous[reg - 1] = ch->units[n].regs[reg - 1];
            ch->units[n].regs[reg - 1] = val;
        }
    }
}

static MemResult command_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    IdeChannel *ch = opaque;

    if (addr == REG_DATA) {
        *val = data_read(ch, size);
        return MEM_OK;
    }
    *val = 0;
    for (unsigned i = 0; i < size; i++) {
        *val |= (uint64_t)(addr + i < IDE_COMMAND_PORTS ? command_block_read(ch, (unsigned)addr + i) : 0xff) << (8 * i);
    }
    return MEM_OK;
}

static MemResult command_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    IdeChannel *ch = opaque;

    if (addr == REG_DATA) {
        data_write(ch, (uint32_t)val, size);
        return MEM_OK;
    }
    for (unsigned i = 0; i < size && addr + i < IDE_COMMAND_PORTS; i++) {
        command_block_write(ch, (unsigned)addr + i, (uint8_t)(val >> (8 * i)));
    }
    return MEM_OK;
}

static MemResult control_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = status(opaque); /* and the interrupt stays */
    return MEM_OK;
}

static MemResult control_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    IdeChannel *ch = opaque;
    uint8_t old = ch->control;

    ch->control = (uint8_t)val & (CONTROL_NIEN | CONTROL_SRST | CONTROL_HOB);
    if (~old & ch->control & CONTROL_SRST) {
        forget(ch);
        ch->irq = false;
        for (unsigned n = 0; n < IDE_UNITS; n++) {
            ch->units[n].status = ATA_BSY;
        }
    } else if (old & ~ch->control & CONTROL_SRST) {
        reset_drives(ch);
    }
    update_irq(ch);
    return MEM_OK;
}

const MemOps ide_command_ops = {command_read, command_write, .min_size = 1, .max_size = 4};
const MemOps ide_control_ops = {control_read, control_write, .min_size = 1, .max_size = 1};

/* --- life --- */

static void channel_plugged(IdePort *port)
{
    IdeChannel *ch = channel_of(port);

    ide_drive_reset(port->drive);
    set_signature(ch, port->unit);
}

static void channel_unplugged(IdePort *port)
{
    IdeChannel *ch = channel_of(port);

    forget(ch);
    set_signature(ch, port->unit);
}

static const IdeHostOps channel_ops = {
    .move = channel_move, .end = channel_end, .plugged = channel_plugged, .unplugged = channel_unplugged};

void ide_channel_init(IdeChannel *ch, Device *owner, unsigned n)
{
    DeviceBus *bus = device_bus_new(owner, "IDE", n, &ch->ports[0]);

    for (unsigned unit = 0; unit < IDE_UNITS; unit++) {
        ch->ports[unit] = (IdePort){.ops = &channel_ops, .bus = bus, .n = (uint8_t)(n * IDE_UNITS + unit), .bus_n = (uint8_t)n,
                                    .unit = (uint8_t)unit};
    }
    ch->ports[0].next = &ch->ports[1];
    ide_channel_reset(ch);
}

void ide_channel_free(IdeChannel *ch)
{
    forget(ch);
    g_clear_pointer(&ch->ports[0].bus, device_bus_free);
    g_clear_pointer(&ch->saved.data, g_free);
}

void ide_channel_reset(IdeChannel *ch)
{
    reset_drives(ch);
    ch->control = 0;
    set_intrq(ch, false);
}

/* --- state --- */

/* What the drive does ends, or comes to where it waits for the guest. */
static void drain(IdeChannel *ch)
{
    for (unsigned n = 0; n < IDE_UNITS; n++) {
        const IdeDrive *drive = ch->ports[n].drive;

        if (drive && drive->d.blk) {
            block_drain(drive->d.blk);
        }
    }
}

void ide_channel_pre_save(IdeChannel *ch)
{
    IdeSavedCmd *s = &ch->saved;
    g_autoptr(GByteArray) data = g_byte_array_new();

    drain(ch);
    g_clear_pointer(&s->data, g_free);
    *s = (IdeSavedCmd){0};
    if (ch->cmd) {
        const IdeCmd *c = ch->cmd;

        memcpy(s->cfis, c->cfis, sizeof(s->cfis));
        memcpy(s->acmd, c->acmd, sizeof(s->acmd));
        s->lba = c->lba;
        s->sectors = c->sectors;
        s->chunk = c->chunk;
        s->len = c->len;
        s->packet = c->packet != NULL;
        if (c->packet) {
            scsi_req_save(c->packet, data);
        } else if (c->buf) {
            g_byte_array_append(data, c->buf, c->len);
        }
    }
    s->data_len = data->len;
    s->data = g_byte_array_free(g_steal_pointer(&data), FALSE);
}

/* The data of a loaded command is there, and all of it. */
static bool load_data(IdeChannel *ch, IdeCmd *c)
{
    const IdeSavedCmd *s = &ch->saved;
    const uint8_t *data = s->data;
    size_t len = s->data_len;

    if (s->packet) {
        c->packet = c->port->drive->packets ? scsi_req_load(c->port->drive->packets, &data, &len, c) : NULL;
        c->protocol = IDE_DMA;
        c->moved = atapi_moved;
        if (!c->packet || !c->packet->len) {
            return false;
        }
        c->to_host = c->packet->dir == SCSI_DIR_FROM_UNIT;
        c->data = c->packet->buf;
        c->len = c->packet->len;
        return c->packet->dir != SCSI_DIR_NONE;
    }
    c->buf = g_malloc0(IDE_CHUNK);
    memcpy(c->buf, data, MIN(len, IDE_CHUNK));
    return len == c->len && len && len <= IDE_CHUNK && !is_packet(c) && ata_resume(c);
}

static bool load_cmd(IdeChannel *ch, IdeCmd *c)
{
    if (!c->port->drive) {
        return false;
    }
    if (ch->phase == IDE_PHASE_PACKET) {
        return c->port->drive->d.cd && is_packet(c) && ch->pos < PACKET_LEN;
    }
    if (!load_data(ch, c) || by_dma(c) != (ch->phase == IDE_PHASE_DMA)) {
        return false;
    }
    return by_dma(c) ? ch->pos <= c->len : ch->pos < ch->end && ch->end <= c->len; /* `end` is that of a block by PIO */
}

bool ide_channel_post_load(IdeChannel *ch, GError **error)
{
    const IdeSavedCmd *s = &ch->saved;
    uint8_t phase = ch->phase;
    bool ok = phase < IDE_PHASE_COUNT && phase != IDE_PHASE_BUSY;

    ch->phase = IDE_PHASE_IDLE;
    ch->irq_out = ch->irq && !(ch->control & CONTROL_NIEN);
    if (ok && phase != IDE_PHASE_IDLE) {
        IdeCmd *c = g_new0(IdeCmd, 1);

        c->port = &ch->ports[selected(ch)];
        c->generation = c->port->generation;
        memcpy(c->cfis, s->cfis, sizeof(s->cfis));
        memcpy(c->acmd, s->acmd, sizeof(s->acmd));
        c->lba = s->lba;
        c->sectors = s->sectors;
        c->chunk = s->chunk;
        c->len = s->len;
        ch->phase = phase;
        ok = load_cmd(ch, c);
        if (ok) {
            ch->cmd = c;
        } else {
            ch->phase = IDE_PHASE_IDLE;
            ide_cmd_free(c);
        }
    }
    if (!ok) {
        error_set(error, "IDE channel: the command that was under way is not possible (phase %u)", phase);
    }
    return ok;
}

static const StateField unit_fields[] = {STATE_FIELD_UINT(IdeUnit, status), STATE_FIELD_UINT(IdeUnit, error),
                                         STATE_FIELD_BYTES(IdeUnit, regs), STATE_FIELD_BYTES(IdeUnit, previous), STATE_END};
static const StateTable unit_state = {.name = "ide-unit", .version = 1, .fields = unit_fields};

static const StateField channel_fields[] = {
    STATE_FIELD_STRUCTS(IdeChannel, units, &unit_state),
    STATE_FIELD_UINT(IdeChannel, device),
    STATE_FIELD_UINT(IdeChannel, control),
    STATE_FIELD_UINT(IdeChannel, phase),
    STATE_FIELD_BOOL(IdeChannel, irq),
    STATE_FIELD_BOOL(IdeChannel, first),
    STATE_FIELD_UINT(IdeChannel, pos),
    STATE_FIELD_UINT(IdeChannel, end),
    STATE_FIELD_BYTES(IdeChannel, saved.cfis),
    STATE_FIELD_BYTES(IdeChannel, saved.acmd),
    STATE_FIELD_UINT(IdeChannel, saved.lba),
    STATE_FIELD_UINT(IdeChannel, saved.sectors),
    STATE_FIELD_UINT(IdeChannel, saved.chunk),
    STATE_FIELD_UINT(IdeChannel, saved.len),
    STATE_FIELD_BOOL(IdeChannel, saved.packet),
    {.name = "saved.data", .kind = STATE_BUFFER, .offset = offsetof(IdeChannel, saved.data), .count = IDE_CHUNK + 256,
     .len_offset = offsetof(IdeChannel, saved.data_len)},
    STATE_END,
};
const StateTable ide_channel_state = {.name = "ide-channel", .version = 1, .fields = channel_fields};
