/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 8042 keyboard controller at ports 60h and 64h (IBM PS/2 technical
 * reference, "Keyboard and auxiliary device controller").  No keyboard or mouse
 * is attached: bytes sent to one time out.  The reset pulse works.
 */
#include "hw/isa/i8042.h"

#include "accel/accel.h"

#define STATUS_OBF     0x01
#define STATUS_SYS     0x04
#define STATUS_COMMAND 0x08
#define STATUS_KEYLOCK 0x10
#define STATUS_AUX     0x20
#define STATUS_TIMEOUT 0x40

#define CONFIG_KBD_INT     0x01
#define CONFIG_AUX_INT     0x02
#define CONFIG_SYS         0x04
#define CONFIG_KBD_DISABLE 0x10
#define CONFIG_AUX_DISABLE 0x20

#define OUTPORT_RESET 0x01
#define OUTPORT_A20   0x02

#define I8042_RESEND 0xfe

enum {
    CMD_READ_CONFIG = 0x20,
    CMD_WRITE_CONFIG = 0x60,
    CMD_AUX_DISABLE = 0xa7,
    CMD_AUX_ENABLE = 0xa8,
    CMD_AUX_TEST = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_KBD_TEST = 0xab,
    CMD_KBD_DISABLE = 0xad,
    CMD_KBD_ENABLE = 0xae,
    CMD_READ_INPUT = 0xc0,
    CMD_READ_OUTPORT = 0xd0,
    CMD_WRITE_OUTPORT = 0xd1,
    CMD_WRITE_KBD_OBUF = 0xd2,
    CMD_WRITE_AUX_OBUF = 0xd3,
    CMD_WRITE_AUX = 0xd4,
    CMD_PULSE = 0xf0, /* to ffh: low nibble bits that are 0 are pulsed */
};

static void i8042_update_irq(I8042 *s)
{
    bool full = s->status & STATUS_OBF, aux = s->status & STATUS_AUX;
    irq_set(s->kbd_irq, full && !aux && (s->config & CONFIG_KBD_INT));
    irq_set(s->aux_irq, full && aux && (s->config & CONFIG_AUX_INT));
}

static void i8042_put(I8042 *s, uint8_t val, uint8_t flags)
{
    s->output = val;
    s->status = (s->status & (uint8_t) ~(STATUS_AUX | STATUS_TIMEOUT)) | STATUS_OBF | flags;
    i8042_update_irq(s);
}

static void i8042_reset_pulse(I8042 *s)
{
    machine_request_reset(s->dev.obj.machine, SHUTDOWN_GUEST_RESET);
}

static void i8042_write_outport(I8042 *s, uint8_t val)
{
    s->outport = val;
    if (!(val & OUTPORT_RESET)) {
        i8042_reset_pulse(s);
        return;
    }
    Accel *accel = s->dev.obj.machine->accel;
    if (accel) {
        accel->ops->set_a20(accel, val & OUTPORT_A20);
    }
}

static void i8042_command(I8042 *s, uint8_t cmd)
{
    s->status |= STATUS_COMMAND;
    s->command = 0;
    switch (cmd) {
    case CMD_READ_CONFIG:
        i8042_put(s, s->config, 0);
        break;
    case CMD_WRITE_CONFIG:
    case CMD_WRITE_OUTPORT:
    case CMD_WRITE_KBD_OBUF:
    case CMD_WRITE_AUX_OBUF:
    case CMD_WRITE_AUX:
        s->command = cmd;
        break;
    case CMD_AUX_DISABLE:
        s->config |= CONFIG_AUX_DISABLE;
        break;
    case CMD_AUX_ENABLE:
        s->config &= (uint8_t)~CONFIG_AUX_DISABLE;
        break;
    case CMD_SELF_TEST:
        s->config |= CONFIG_SYS;
        s->status |= STATUS_SYS;
        i8042_put(s, 0x55, 0);
        break;
    case CMD_AUX_TEST:
    case CMD_KBD_TEST:
        i8042_put(s, 0x00, 0);
        break;
    case CMD_KBD_DISABLE:
        s->config |= CONFIG_KBD_DISABLE;
        break;
    case CMD_KBD_ENABLE:
        s->config &= (uint8_t)~CONFIG_KBD_DISABLE;
        break;
    case CMD_READ_INPUT:
        i8042_put(s, 0x80, 0);
        break;
    case CMD_READ_OUTPORT:
        i8042_put(s, s->outport, 0);
        break;
    default:
        if (cmd < CMD_PULSE) {
            guest_error(&s->dev, "unknown controller command 0x%02x", cmd);
        } else if (!(cmd & OUTPORT_RESET)) {
            i8042_reset_pulse(s);
        }
        break;
    }
}

static void i8042_data(I8042 *s, uint8_t val)
{
    uint8_t command = s->command;
    s->command = 0;
    s->status &= (uint8_t)~STATUS_COMMAND;
    switch (command) {
    case CMD_WRITE_CONFIG:
        s->config = val;
        i8042_update_irq(s);
        break;
    case CMD_WRITE_OUTPORT:
        i8042_write_outport(s, val);
        break;
    case CMD_WRITE_KBD_OBUF:
        i8042_put(s, val, 0);
        break;
    case CMD_WRITE_AUX_OBUF:
        i8042_put(s, val, STATUS_AUX);
        break;
    case CMD_WRITE_AUX:
        i8042_put(s, I8042_RESEND, STATUS_AUX | STATUS_TIMEOUT);
        break;
    default: /* to the keyboard, which is not there */
        i8042_put(s, I8042_RESEND, STATUS_TIMEOUT);
        break;
    }
}

static MemResult i8042_data_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    I8042 *s = opaque;
    *val = s->output;
    s->status &= (uint8_t) ~(STATUS_OBF | STATUS_AUX | STATUS_TIMEOUT);
    i8042_update_irq(s);
    return MEM_OK;
}

static MemResult i8042_data_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    i8042_data(opaque, (uint8_t)val);
    return MEM_OK;
}

static MemResult i8042_status_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = ((I8042 *)opaque)->status;
    return MEM_OK;
}

static MemResult i8042_command_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    i8042_command(opaque, (uint8_t)val);
    return MEM_OK;
}

static const MemOps i8042_data_ops = {
    .read = i8042_data_read, .write = i8042_data_write, .min_size = 1, .max_size = 1};
static const MemOps i8042_command_ops = {
    .read = i8042_status_read, .write = i8042_command_write, .min_size = 1, .max_size = 1};

static void i8042_reset(Device *dev)
{
    I8042 *s = (I8042 *)dev;
    s->status = STATUS_KEYLOCK;
    s->config = CONFIG_KBD_DISABLE | CONFIG_AUX_DISABLE;
    s->output = s->command = 0;
    s->outport = OUTPORT_RESET | OUTPORT_A20 | 0xcc;
    i8042_update_irq(s);
}

static bool i8042_start(Device *dev, GError **error)
{
    I8042 *s = (I8042 *)dev;
    MemTopology *topo = dev->obj.machine->topo;
    s->data_region = mem_region_new_io(topo, "i8042-data", 1, &i8042_data_ops, s, dev->home);
    s->command_region = mem_region_new_io(topo, "i8042-cmd", 1, &i8042_command_ops, s, dev->home);
    mem_region_add(s->io, 0x60, s->data_region);
    mem_region_add(s->io, 0x64, s->command_region);
    return true;
}

static void i8042_stop(Device *dev)
{
    I8042 *s = (I8042 *)dev;
    MemRegion *regions[2] = {s->data_region, s->command_region};
    for (unsigned i = 0; i < 2; i++) {
        mem_region_del(s->io, regions[i]);
        mem_region_retire(regions[i]);
        mem_region_unref(regions[i]);
    }
}

static const StateField i8042_fields[] = {
    STATE_FIELD_UINT(I8042, status),  STATE_FIELD_UINT(I8042, config),  STATE_FIELD_UINT(I8042, output),
    STATE_FIELD_UINT(I8042, command), STATE_FIELD_UINT(I8042, outport), STATE_END,
};
static const StateTable i8042_state = {.name = "i8042", .version = 1, .fields = i8042_fields};

const DeviceModel i8042_model = {
    .model = {.name = "i8042",
              .doc = "Keyboard controller with nothing attached.",
              .kind = MODEL_DEVICE,
              .size = sizeof(I8042),
              .state = &i8042_state,
              .internal = true},
    .start = i8042_start,
    .reset = i8042_reset,
    .stop = i8042_stop,
};
