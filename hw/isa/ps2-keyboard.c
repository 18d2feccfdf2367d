/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A keyboard of the PS/2 (IBM PS/2 hardware interface technical reference, "Keyboards: 101 and 102 keys"):
 * its commands, and scan code sets 1 and 2.  Keys are made again by whoever holds them, so the typematic rate
 * is only kept.
 */
#include <string.h>

#include "hw/isa/ps2.h"

enum {
    CMD_LEDS = 0xed,
    CMD_ECHO = 0xee,
    CMD_SCAN_SET = 0xf0,
    CMD_ID = 0xf2,
    CMD_TYPEMATIC = 0xf3,
    CMD_ENABLE = 0xf4,
    CMD_DISABLE = 0xf5,
    CMD_DEFAULTS = 0xf6,
    CMD_ALL_TYPEMATIC = 0xf7, /* to fah: of scan code set 3 only, taken in any */
    CMD_ALL_LAST = 0xfa,
    CMD_RESEND = 0xfe,
    CMD_RESET = 0xff,
};
#define REPLY_ACK    0xfa
#define REPLY_RESEND 0xfe
#define REPLY_BAT_OK 0xaa

#define PREFIX_EXTENDED 0xe0
#define PREFIX_PAUSE    0xe1
#define PREFIX_RELEASE  0xf0
#define SET1_RELEASED   0x80
#define SET1_ALT_SYSRQ  0x54
#define SET2_LAST       0x84
#define NUMBER_EXTENDED 0x80 /* of input_key_number() */

#define TYPEMATIC_DEFAULT 0x2b
#define PS2_MOD_ALT       0x01
#define PS2_MOD_ALT_R     0x02
#define PS2_MOD_CTRL      0x04
#define PS2_MOD_CTRL_R    0x08
#define OVERRUN_SET1      0xff
#define OVERRUN_SET2      0x00

/* Set 2 to set 1, by the 8042's ROM. */
static const uint8_t ps2_set1[SET2_LAST + 1] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, /* 00h */
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, /* 10h */
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d, /* 20h */
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, /* 30h */
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, /* 40h */
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, /* 50h */
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, /* 60h */
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, /* 70h */
    0x80, 0x81, 0x82, 0x41, 0x54,                                                                   /* 80h */
};

uint8_t ps2_translate(uint8_t code)
{
    return code <= SET2_LAST ? ps2_set1[code] : code;
}

/* Of two codes that translate to one, the higher is a key. */
static uint8_t ps2_set2(uint8_t set1)
{
    unsigned code = SET2_LAST;
    while (code && ps2_set1[code] != set1) {
        code--;
    }
    return (uint8_t)code;
}

/* --- the queue --- */

void ps2_queue_clear(Ps2Queue *q)
{
    q->first = q->count = 0;
}

bool ps2_queue_put(Ps2Queue *q, const uint8_t *bytes, unsigned count)
{
    if (q->count + count > PS2_QUEUE_SIZE) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        q->bytes[(q->first + q->count++) % PS2_QUEUE_SIZE] = bytes[i];
    }
    return true;
}

uint8_t ps2_queue_take(Ps2Queue *q)
{
    q->last = q->bytes[q->first];
    q->first = (q->first + 1) % PS2_QUEUE_SIZE;
    q->count--;
    return q->last;
}

/* --- keys --- */

static void keyboard_put_codes(Ps2Keyboard *s, const uint8_t *codes, unsigned count)
{
    /* One place is kept for the code that says that others were lost. */
    if (s->queue.count + count < PS2_QUEUE_SIZE) {
        ps2_queue_put(&s->queue, codes, count);
    } else {
        const uint8_t overrun = s->scan_set == 1 ? OVERRUN_SET1 : OVERRUN_SET2;
        ps2_queue_put(&s->queue, &overrun, 1);
    }
}

static void keyboard_put_code(Ps2Keyboard *s, bool extended, uint8_t set1, bool down)
{
    uint8_t codes[3];
    unsigned n = 0;
    if (extended) {
        codes[n++] = PREFIX_EXTENDED;
    }
    if (s->scan_set == 1) {
        codes[n++] = (uint8_t)(set1 | (down ? 0 : SET1_RELEASED));
    } else {
        if (!down) {
            codes[n++] = PREFIX_RELEASE;
        }
        codes[n++] = ps2_set2(set1);
    }
    keyboard_put_codes(s, codes, n);
}

/* Pause says everything when it is pressed; with Ctrl it is Break. */
static void keyboard_put_pause(Ps2Keyboard *s)
{
    static const uint8_t pause1[] = {PREFIX_PAUSE, 0x1d, 0x45, PREFIX_PAUSE, 0x9d, 0xc5};
    static const uint8_t pause2[] = {PREFIX_PAUSE,   0x14, 0x77,           PREFIX_PAUSE,
                                     PREFIX_RELEASE, 0x14, PREFIX_RELEASE, 0x77};
    static const uint8_t break1[] = {PREFIX_EXTENDED, 0x46, PREFIX_EXTENDED, 0xc6};
    static const uint8_t break2[] = {PREFIX_EXTENDED, 0x7e, PREFIX_EXTENDED, PREFIX_RELEASE, 0x7e};
    bool ctrl = s->modifiers & (PS2_MOD_CTRL | PS2_MOD_CTRL_R);
    if (s->scan_set == 1) {
        keyboard_put_codes(s, ctrl ? break1 : pause1, ctrl ? sizeof(break1) : sizeof(pause1));
    } else {
        keyboard_put_codes(s, ctrl ? break2 : pause2, ctrl ? sizeof(break2) : sizeof(pause2));
    }
}

static uint8_t keyboard_modifier(InputKey key)
{
    switch (key) {
    case INPUT_KEY_ALT:
        return PS2_MOD_ALT;
    case INPUT_KEY_ALT_R:
        return PS2_MOD_ALT_R;
    case INPUT_KEY_CTRL:
        return PS2_MOD_CTRL;
    case INPUT_KEY_CTRL_R:
        return PS2_MOD_CTRL_R;
    default:
        return 0;
    }
}

void ps2_keyboard_key(Ps2Keyboard *s, InputKey key, bool down)
{
    unsigned number = input_key_number(key);
    uint8_t modifier = keyboard_modifier(key);
    s->modifiers = (uint8_t)(down ? s->modifiers | modifier : s->modifiers & ~modifier);
    if (!s->scanning || !number) {
        return;
    }
    if (key == INPUT_KEY_PAUSE) {
        if (down) {
            keyboard_put_pause(s);
        }
    } else if (key == INPUT_KEY_PRINT && (s->modifiers & (PS2_MOD_ALT | PS2_MOD_ALT_R))) {
        keyboard_put_code(s, false, SET1_ALT_SYSRQ, down);
    } else {
        keyboard_put_code(s, number & NUMBER_EXTENDED, number & (NUMBER_EXTENDED - 1), down);
    }
}

/* --- commands --- */

static void keyboard_reply(Ps2Keyboard *s, uint8_t val)
{
    ps2_queue_put(&s->queue, &val, 1);
}

static void keyboard_defaults(Ps2Keyboard *s)
{
    s->scan_set = 2;
    s->typematic = TYPEMATIC_DEFAULT;
    s->leds = 0;
    s->scanning = true;
    s->command = 0;
}

void ps2_keyboard_reset(Ps2Keyboard *s)
{
    *s = (Ps2Keyboard){0};
    keyboard_defaults(s);
}

static void keyboard_parameter(Ps2Keyboard *s, uint8_t command, uint8_t val)
{
    switch (command) {
    case CMD_LEDS:
        s->leds = val;
        break;
    case CMD_TYPEMATIC:
        s->typematic = val;
        break;
    default: /* CMD_SCAN_SET */
        if (val > 2) {
            keyboard_reply(s, REPLY_RESEND);
            return;
        }
        keyboard_reply(s, REPLY_ACK);
        if (val == 0) {
            keyboard_reply(s, s->scan_set);
        } else {
            s->scan_set = val;
        }
        return;
    }
    keyboard_reply(s, REPLY_ACK);
}

static void keyboard_command(Ps2Keyboard *s, uint8_t cmd)
{
    static const uint8_t id[] = {REPLY_ACK, 0xab, 0x83};
    static const uint8_t bat[] = {REPLY_ACK, REPLY_BAT_OK};
    switch (cmd) {
    case CMD_LEDS:
    case CMD_SCAN_SET:
    case CMD_TYPEMATIC:
        s->command = cmd;
        break;
    case CMD_ECHO:
        keyboard_reply(s, CMD_ECHO);
        return;
    case CMD_ID:
        ps2_queue_put(&s->queue, id, sizeof(id));
        return;
    case CMD_ENABLE:
        ps2_queue_clear(&s->queue);
        s->scanning = true;
        break;
    case CMD_DISABLE:
    case CMD_DEFAULTS:
        ps2_queue_clear(&s->queue);
        keyboard_defaults(s);
        s->scanning = cmd == CMD_DEFAULTS;
        break;
    case CMD_RESEND:
        keyboard_reply(s, s->queue.last);
        return;
    case CMD_RESET:
        ps2_keyboard_reset(s);
        ps2_queue_put(&s->queue, bat, sizeof(bat));
        return;
    default:
        if (cmd < CMD_ALL_TYPEMATIC || cmd > CMD_ALL_LAST) {
            keyboard_reply(s, REPLY_RESEND);
            return;
        }
        break;
    }
    keyboard_reply(s, REPLY_ACK);
}

void ps2_keyboard_write(Ps2Keyboard *s, uint8_t val)
{
    uint8_t command = s->command;
    s->command = 0;
    if (command && val < CMD_LEDS) {
        keyboard_parameter(s, command, val);
    } else {
        keyboard_command(s, val); /* also instead of a parameter */
    }
}

/* --- state --- */

static const StateField ps2_queue_fields[] = {
    STATE_FIELD_BYTES(Ps2Queue, bytes),
    STATE_FIELD_UINT(Ps2Queue, first),
    STATE_FIELD_UINT(Ps2Queue, count),
    STATE_FIELD_UINT(Ps2Queue, last),
    STATE_END,
};

static bool ps2_queue_post_load(void *instance, uint32_t version, GError **error)
{
    Ps2Queue *q = instance;
    if (q->first >= PS2_QUEUE_SIZE || q->count > PS2_QUEUE_SIZE) {
        error_set(error, "ps2: bad queue (first=%u, allowed 0..%d; count=%u, allowed 0..%d)", q->first,
                  PS2_QUEUE_SIZE - 1, q->count, PS2_QUEUE_SIZE);
        return false;
    }
    return true;
}

const StateTable ps2_queue_state = {
    .name = "ps2-queue", .version = 1, .fields = ps2_queue_fields, .post_load = ps2_queue_post_load};

static const StateField ps2_keyboard_fields[] = {
    STATE_FIELD_STRUCT(Ps2Keyboard, queue, &ps2_queue_state),
    STATE_FIELD_UINT(Ps2Keyboard, command),
    STATE_FIELD_UINT(Ps2Keyboard, scan_set),
    STATE_FIELD_UINT(Ps2Keyboard, leds),
    STATE_FIELD_UINT(Ps2Keyboard, typematic),
    STATE_FIELD_BOOL(Ps2Keyboard, scanning),
    STATE_FIELD_UINT(Ps2Keyboard, modifiers),
    STATE_END,
};
const StateTable ps2_keyboard_state = {.name = "ps2-keyboard", .version = 1, .fields = ps2_keyboard_fields};
