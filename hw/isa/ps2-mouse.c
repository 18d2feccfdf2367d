/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mouse of the PS/2 (IBM PS/2 hardware interface technical reference, "Auxiliary device: mouse"), which
 * turns into an IntelliMouse (a wheel; then five buttons) when its sample rate is set to 200, 100, 80 (200,
 * 200, 80) in a row.
 */
#include "hw/isa/ps2.h"

enum {
    CMD_SCALING_1 = 0xe6,
    CMD_SCALING_2 = 0xe7,
    CMD_RESOLUTION = 0xe8,
    CMD_STATUS = 0xe9,
    CMD_STREAM = 0xea,
    CMD_READ = 0xeb,
    CMD_WRAP_OFF = 0xec,
    CMD_WRAP = 0xee,
    CMD_REMOTE = 0xf0,
    CMD_ID = 0xf2,
    CMD_RATE = 0xf3,
    CMD_ENABLE = 0xf4,
    CMD_DISABLE = 0xf5,
    CMD_DEFAULTS = 0xf6,
    CMD_RESEND = 0xfe,
    CMD_RESET = 0xff,
};
#define REPLY_ACK    0xfa
#define REPLY_RESEND 0xfe
#define REPLY_BAT_OK 0xaa

enum { ID_PLAIN = 0, ID_WHEEL = 3, ID_BUTTONS = 4 };

#define STATUS_SCALING 0x10
#define STATUS_ENABLED 0x20
#define STATUS_REMOTE  0x40
#define STATUS_BUTTONS 0x07

#define REPORT_ONE    0x08
#define REPORT_X_SIGN 0x10
#define REPORT_Y_SIGN 0x20
#define DELTA_MAX     255
#define DELTA_MIN     (-256)
#define WHEEL_MAX     7
#define WHEEL_MIN     (-8)
#define PENDING_MAX   0x100000 /* movement the guest does not fetch is not counted without end */

#define RATE_DEFAULT       100
#define RESOLUTION_DEFAULT 2
#define QUEUE_FULL_AT      16 /* bytes: movements are gathered instead, so that a slow guest sees the latest */

static const uint8_t mouse_button_bit[INPUT_BUTTON_COUNT] = {
    [INPUT_BUTTON_LEFT] = 0x01, [INPUT_BUTTON_RIGHT] = 0x02, [INPUT_BUTTON_MIDDLE] = 0x04,
    [INPUT_BUTTON_SIDE] = 0x08, [INPUT_BUTTON_EXTRA] = 0x10,
};

static void mouse_reply(Ps2Mouse *s, uint8_t val)
{
    ps2_queue_put(&s->queue, &val, 1);
}

static void mouse_defaults(Ps2Mouse *s)
{
    s->rate = RATE_DEFAULT;
    s->resolution = RESOLUTION_DEFAULT;
    s->reporting = s->remote = s->wrap = s->scaling = false;
    s->command = 0;
    s->dx = s->dy = s->dz = 0;
    s->changed = false;
}

void ps2_mouse_reset(Ps2Mouse *s)
{
    *s = (Ps2Mouse){0};
    mouse_defaults(s);
}

/* --- reports --- */

static int mouse_take(int32_t *pending, int min, int max)
{
    int part = CLAMP(*pending, min, max);
    *pending -= part;
    return part;
}

static void mouse_report(Ps2Mouse *s)
{
    int dx = mouse_take(&s->dx, DELTA_MIN, DELTA_MAX), dy = mouse_take(&s->dy, DELTA_MIN, DELTA_MAX);
    uint8_t report[4] = {(uint8_t)(REPORT_ONE | (s->buttons & STATUS_BUTTONS) | (dx < 0 ? REPORT_X_SIGN : 0) |
                                   (dy < 0 ? REPORT_Y_SIGN : 0)),
                         (uint8_t)dx, (uint8_t)dy};
    if (s->id == ID_PLAIN) {
        s->dz = 0;
    } else {
        int dz = mouse_take(&s->dz, WHEEL_MIN, WHEEL_MAX);
        report[3] = (uint8_t)(s->id == ID_WHEEL ? dz : (dz & 0x0f) | (s->buttons & 0x18) << 1);
    }
    ps2_queue_put(&s->queue, report, s->id == ID_PLAIN ? 3 : 4);
    s->changed = false;
}

static bool mouse_has_news(const Ps2Mouse *s)
{
    return s->changed || s->dx || s->dy || (s->dz && s->id != ID_PLAIN);
}

void ps2_mouse_sync(Ps2Mouse *s)
{
    while (s->reporting && !s->remote && mouse_has_news(s) && s->queue.count < QUEUE_FULL_AT) {
        mouse_report(s);
    }
}

void ps2_mouse_move(Ps2Mouse *s, InputAxis axis, int delta)
{
    int32_t *sum = axis == INPUT_AXIS_X ? &s->dx : &s->dy;
    delta = CLAMP(delta, -PENDING_MAX, PENDING_MAX);
    if (s->reporting) {
        *sum = CLAMP(*sum + (axis == INPUT_AXIS_X ? delta : -delta), -PENDING_MAX, PENDING_MAX);
    }
}

void ps2_mouse_button(Ps2Mouse *s, InputButton button, bool down)
{
    if (button == INPUT_BUTTON_WHEEL_UP || button == INPUT_BUTTON_WHEEL_DOWN) {
        int notch = button == INPUT_BUTTON_WHEEL_UP ? -1 : 1;
        s->dz = down && s->reporting ? CLAMP(s->dz + notch, -PENDING_MAX, PENDING_MAX) : s->dz;
        return;
    }
    /* Two clicks must not melt into one: what is due is reported before the button changes again. */
    if (s->changed && s->reporting && !s->remote && s->queue.count + 4 <= PS2_QUEUE_SIZE / 2) {
        mouse_report(s);
    }
    uint8_t bit = mouse_button_bit[button], now = (uint8_t)(down ? s->buttons | bit : s->buttons & ~bit);
    s->changed = s->changed || now != s->buttons;
    s->buttons = now;
}

/* --- commands --- */

static void mouse_parameter(Ps2Mouse *s, uint8_t command, uint8_t val)
{
    if (command == CMD_RESOLUTION) {
        s->resolution = val;
    } else {
        s->rate = val;
        if (s->rates[0] == 200 && s->rates[1] == 100 && val == 80) {
            s->id = ID_WHEEL;
        } else if (s->rates[0] == 200 && s->rates[1] == 200 && val == 80) {
            s->id = ID_BUTTONS;
        }
        s->rates[0] = s->rates[1];
        s->rates[1] = val;
    }
    mouse_reply(s, REPLY_ACK);
}

static void mouse_put_status(Ps2Mouse *s)
{
    unsigned left = s->buttons & 1, right = s->buttons >> 1 & 1, middle = s->buttons >> 2 & 1;
    const uint8_t status[] = {REPLY_ACK,
                              (uint8_t)(left << 2 | middle << 1 | right | (s->scaling ? STATUS_SCALING : 0) |
                                        (s->reporting ? STATUS_ENABLED : 0) |
                                        (s->remote ? STATUS_REMOTE : 0)),
                              s->resolution, s->rate};
    ps2_queue_put(&s->queue, status, sizeof(status));
}

static void mouse_command(Ps2Mouse *s, uint8_t cmd)
{
    static const uint8_t bat[] = {REPLY_ACK, REPLY_BAT_OK, ID_PLAIN};
    if (cmd != CMD_RESEND && cmd != CMD_READ) {
        ps2_queue_clear(&s->queue); /* a report that was cut off by a command is not continued */
    }
    switch (cmd) {
    case CMD_SCALING_1:
    case CMD_SCALING_2:
        s->scaling = cmd == CMD_SCALING_2;
        break;
    case CMD_RESOLUTION:
    case CMD_RATE:
        s->command = cmd;
        break;
    case CMD_STATUS:
        mouse_put_status(s);
        return;
    case CMD_STREAM:
    case CMD_REMOTE:
        s->remote = cmd == CMD_REMOTE;
        break;
    case CMD_READ:
        mouse_reply(s, REPLY_ACK);
        mouse_report(s);
        return;
    case CMD_WRAP:
    case CMD_WRAP_OFF:
        s->wrap = cmd == CMD_WRAP;
        break;
    case CMD_ID:
        mouse_reply(s, REPLY_ACK);
        mouse_reply(s, s->id);
        return;
    case CMD_ENABLE:
    case CMD_DISABLE:
        s->reporting = cmd == CMD_ENABLE;
        break;
    case CMD_DEFAULTS:
        mouse_defaults(s);
        break;
    case CMD_RESEND:
        mouse_reply(s, s->queue.last);
        return;
    case CMD_RESET:
        ps2_mouse_reset(s);
        ps2_queue_put(&s->queue, bat, sizeof(bat));
        return;
    default:
        mouse_reply(s, REPLY_RESEND);
        return;
    }
    mouse_reply(s, REPLY_ACK);
}

void ps2_mouse_write(Ps2Mouse *s, uint8_t val)
{
    uint8_t command = s->command;
    s->command = 0;
    if (s->wrap && val != CMD_WRAP_OFF && val != CMD_RESET) {
        mouse_reply(s, val);
    } else if (command && val < CMD_SCALING_1) {
        mouse_parameter(s, command, val);
    } else {
        mouse_command(s, val);
    }
}

/* --- state --- */

static bool ps2_mouse_post_load(void *instance, uint32_t version, GError **error)
{
    Ps2Mouse *s = instance;
    int32_t *sums[] = {&s->dx, &s->dy, &s->dz};
    for (unsigned i = 0; i < G_N_ELEMENTS(sums); i++) {
        *sums[i] = CLAMP(*sums[i], -PENDING_MAX, PENDING_MAX);
    }
    return true;
}

static const StateField ps2_mouse_fields[] = {
    STATE_FIELD_STRUCT(Ps2Mouse, queue, &ps2_queue_state),
    STATE_FIELD_UINT(Ps2Mouse, command),
    STATE_FIELD_UINT(Ps2Mouse, id),
    STATE_FIELD_UINT(Ps2Mouse, rate),
    STATE_FIELD_UINT(Ps2Mouse, resolution),
    STATE_FIELD_BYTES(Ps2Mouse, rates),
    STATE_FIELD_BOOL(Ps2Mouse, reporting),
    STATE_FIELD_BOOL(Ps2Mouse, remote),
    STATE_FIELD_BOOL(Ps2Mouse, wrap),
    STATE_FIELD_BOOL(Ps2Mouse, scaling),
    STATE_FIELD_UINT(Ps2Mouse, buttons),
    STATE_FIELD_BOOL(Ps2Mouse, changed),
    STATE_FIELD_UINT(Ps2Mouse, dx),
    STATE_FIELD_UINT(Ps2Mouse, dy),
    STATE_FIELD_UINT(Ps2Mouse, dz),
    STATE_END,
};
const StateTable ps2_mouse_state = {
    .name = "ps2-mouse", .version = 1, .fields = ps2_mouse_fields, .post_load = ps2_mouse_post_load};
