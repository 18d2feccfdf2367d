/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 8042 keyboard controller at ports 60h and 64h (IBM PS/2 hardware interface technical reference, "Keyboard and
 * auxiliary device controller"), with a keyboard and a mouse attached.  A byte goes to the output buffer when the one
 * before was read, the controller's own replies first; time on the wires is not modelled.
 */
#include "hw/isa/i8042.h"

#include "accel/accel.h"

#define STATUS_OBF     0x01
#define STATUS_SYS     0x04
#define STATUS_COMMAND 0x08
#define STATUS_KEYLOCK 0x10
#define STATUS_AUX     0x20

#define CONFIG_KBD_INT     0x01
#define CONFIG_AUX_INT     0x02
#define CONFIG_SYS         0x04
#define CONFIG_KBD_DISABLE 0x10
#define CONFIG_AUX_DISABLE 0x20
#define CONFIG_TRANSLATE   0x40

#define OUTPORT_RESET 0x01
#define OUTPORT_A20   0x02
#define OUTPORT_OBF   0x10
#define OUTPORT_AUX   0x20
#define OUTPORT_FIXED 0xcc

#define CODE_RELEASE  0xf0
#define CODE_RELEASED 0x80 /* of set 1 */

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
    CMD_A20_OFF = 0xdd,
    CMD_A20_ON = 0xdf,
    CMD_READ_TEST = 0xe0,
    CMD_PULSE = 0xf0, /* to ffh: low nibble bits that are 0 are pulsed */
};

static void i8042_update_irq(I8042 *s)
{
    bool full = s->status & STATUS_OBF, aux = s->status & STATUS_AUX;
    irq_set(s->kbd_irq, full && !aux && (s->config & CONFIG_KBD_INT));
    irq_set(s->aux_irq, full && aux && (s->config & CONFIG_AUX_INT));
}

static void i8042_load(I8042 *s, uint8_t val, bool aux)
{
    s->output = val;
    s->status = (s->status & (uint8_t)~STATUS_AUX) | STATUS_OBF | (aux ? STATUS_AUX : 0);
    i8042_update_irq(s);
}

/* The next byte of the keyboard, translated if that is wanted.  False: there is none (yet). */
static bool i8042_take_key(I8042 *s, uint8_t *val)
{
    while (s->kbd.queue.count) {
        *val = ps2_queue_take(&s->kbd.queue);
        if (!(s->config & CONFIG_TRANSLATE)) {
            return true;
        }
        if (*val != CODE_RELEASE) {
            *val = ps2_translate(*val) | (s->released ? CODE_RELEASED : 0);
            s->released = false;
            return true;
        }
        s->released = true;
    }
    return false;
}

/* The output buffer takes the next byte there is. */
static void i8042_fill(I8042 *s)
{
    uint8_t val;
    if (s->status & STATUS_OBF) {
        return;
    }
    if (s->replying) {
        s->replying = false;
        i8042_load(s, s->reply, s->reply_aux);
    } else if (!(s->config & CONFIG_KBD_DISABLE) && i8042_take_key(s, &val)) {
        i8042_load(s, val, false);
    } else if (!(s->config & CONFIG_AUX_DISABLE)) {
        ps2_mouse_sync(&s->mouse); /* there may be room for a report now */
        if (s->mouse.queue.count) {
            i8042_load(s, ps2_queue_take(&s->mouse.queue), true);
        }
    }
}

/* The controller's own answer, or a byte that software wants to find as if a device had sent it. */
static void i8042_put(I8042 *s, uint8_t val, bool aux)
{
    s->reply = val;
    s->reply_aux = aux;
    s->replying = true;
    i8042_fill(s);
}

static void i8042_reset_pulse(I8042 *s)
{
    machine_request_reset(s->dev.obj.machine, SHUTDOWN_GUEST_RESET);
}

static void i8042_write_outport(I8042 *s, uint8_t val)
{
    s->outport = (val & (OUTPORT_RESET | OUTPORT_A20)) | OUTPORT_FIXED;
    if (!(val & OUTPORT_RESET)) {
        i8042_reset_pulse(s);
        return;
    }
    Accel *accel = s->dev.obj.machine->accel;
    if (accel) {
        accel->ops->set_a20(accel, val & OUTPORT_A20);
    }
}

static uint8_t i8042_read_outport(const I8042 *s)
{
    bool aux = s->status & STATUS_AUX;
    return s->outport | (s->status & STATUS_OBF ? (aux ? OUTPORT_AUX : OUTPORT_OBF) : 0);
}

static void i8042_command(I8042 *s, uint8_t cmd)
{
    s->status |= STATUS_COMMAND;
    s->command = 0;
    switch (cmd) {
    case CMD_READ_CONFIG:
        i8042_put(s, s->config, false);
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
        i8042_put(s, 0x55, false);
        break;
    case CMD_AUX_TEST:
    case CMD_KBD_TEST:
    case CMD_READ_TEST:
        i8042_put(s, 0x00, false);
        break;
    case CMD_KBD_DISABLE:
        s->config |= CONFIG_KBD_DISABLE;
        break;
    case CMD_KBD_ENABLE:
        s->config &= (uint8_t)~CONFIG_KBD_DISABLE;
        break;
    case CMD_READ_INPUT:
        i8042_put(s, 0x80, false);
        break;
    case CMD_READ_OUTPORT:
        i8042_put(s, i8042_read_outport(s), false);
        break;
    case CMD_A20_OFF:
    case CMD_A20_ON:
        i8042_write_outport(s, cmd == CMD_A20_ON ? s->outport | OUTPORT_A20 : s->outport & ~OUTPORT_A20);
        break;
    default:
        if (cmd < CMD_PULSE) {
            guest_error(&s->dev, "unknown controller command 0x%02x", cmd);
        } else if (!(cmd & OUTPORT_RESET)) {
            i8042_reset_pulse(s);
        }
        break;
    }
    i8042_fill(s);
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
        i8042_put(s, val, false);
        break;
    case CMD_WRITE_AUX_OBUF:
        i8042_put(s, val, true);
        break;
    case CMD_WRITE_AUX: /* sending to a device lets its clock run */
        s->config &= (uint8_t)~CONFIG_AUX_DISABLE;
        ps2_mouse_write(&s->mouse, val);
        break;
    default:
        s->config &= (uint8_t)~CONFIG_KBD_DISABLE;
        ps2_keyboard_write(&s->kbd, val);
        break;
    }
    i8042_fill(s);
}

static MemResult i8042_data_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    I8042 *s = opaque;
    *val = s->output;
    s->status &= (uint8_t) ~(STATUS_OBF | STATUS_AUX);
    i8042_update_irq(s);
    i8042_fill(s);
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

/* --- what a person does --- */

static void i8042_key(Device *dev, InputKey key, bool down)
{
    I8042 *s = (I8042 *)dev;
    ps2_keyboard_key(&s->kbd, key, down);
    i8042_fill(s);
}

static void i8042_move(Device *dev, InputAxis axis, int delta)
{
    ps2_mouse_move(&((I8042 *)dev)->mouse, axis, delta);
}

static void i8042_button(Device *dev, InputButton button, bool down)
{
    ps2_mouse_button(&((I8042 *)dev)->mouse, button, down);
}

static void i8042_mouse_sync(Device *dev)
{
    I8042 *s = (I8042 *)dev;
    ps2_mouse_sync(&s->mouse);
    i8042_fill(s);
}

static const InputOps i8042_kbd_input = {.name = "PS/2 keyboard", .takes = INPUT_TAKES_KEYS, .key = i8042_key};
static const InputOps i8042_mouse_input = {
    .name = "PS/2 mouse", .takes = INPUT_TAKES_REL, .rel = i8042_move, .button = i8042_button, .sync = i8042_mouse_sync};

/* --- life --- */

static void i8042_reset(Device *dev)
{
    I8042 *s = (I8042 *)dev;
    s->status = STATUS_KEYLOCK;
    s->config = CONFIG_KBD_INT | CONFIG_AUX_INT;
    s->output = s->command = 0;
    s->replying = s->released = false;
    s->outport = OUTPORT_RESET | OUTPORT_A20 | OUTPORT_FIXED;
    ps2_keyboard_reset(&s->kbd);
    ps2_mouse_reset(&s->mouse);
    i8042_update_irq(s);
}

static bool i8042_start(Device *dev, GError **error)
{
    I8042 *s = (I8042 *)dev;
    MemTopology *topo = dev->obj.machine->topo;
    s->inputs[0] = input_sink_new(dev, &i8042_kbd_input, error);
    s->inputs[1] = s->inputs[0] ? input_sink_new(dev, &i8042_mouse_input, error) : NULL;
    if (!s->inputs[1]) {
        input_sink_free(s->inputs[0]);
        return false;
    }
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
        input_sink_free(s->inputs[i]);
    }
}

static bool i8042_post_load(void *instance, uint32_t version, GError **error)
{
    i8042_update_irq(instance);
    return true;
}

static const StateField i8042_fields[] = {
    STATE_FIELD_UINT(I8042, status),
    STATE_FIELD_UINT(I8042, config),
    STATE_FIELD_UINT(I8042, output),
    STATE_FIELD_UINT(I8042, command),
    STATE_FIELD_UINT(I8042, outport),
    STATE_FIELD_UINT(I8042, reply),
    STATE_FIELD_BOOL(I8042, reply_aux),
    STATE_FIELD_BOOL(I8042, replying),
    STATE_FIELD_BOOL(I8042, released),
    STATE_FIELD_STRUCT(I8042, kbd, &ps2_keyboard_state),
    STATE_FIELD_STRUCT(I8042, mouse, &ps2_mouse_state),
    STATE_END,
};
static const StateTable i8042_state = {
    .name = "i8042", .version = 1, .fields = i8042_fields, .post_load = i8042_post_load};

const DeviceModel i8042_model = {
    .model = {.name = "i8042",
              .doc = "Keyboard controller with a PS/2 keyboard and mouse.",
              .kind = MODEL_DEVICE,
              .size = sizeof(I8042),
              .state = &i8042_state,
              .internal = true},
    .start = i8042_start,
    .reset = i8042_reset,
    .stop = i8042_stop,
};
