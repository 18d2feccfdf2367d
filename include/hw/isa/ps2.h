/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keyboard and mouse of a PS/2, as the 8042 sees them: each takes bytes, and has bytes for it.  They are
 * parts of the controller, which gives them its lock.  Context: home loop's lock.
 */
#ifndef HW_ISA_PS2_H
#define HW_ISA_PS2_H

#include "core/state.h"
#include "ui/input.h"

#define PS2_QUEUE_SIZE 256 /* a power of two */

/* Bytes on their way to the controller. */
typedef struct Ps2Queue {
    uint8_t bytes[PS2_QUEUE_SIZE];
    uint16_t first, count;
    uint8_t last; /* taken: what a resend repeats */
} Ps2Queue;

typedef struct Ps2Keyboard {
    Ps2Queue queue;
    uint8_t command;  /* whose parameter comes next, or 0 */
    uint8_t scan_set; /* 1 or 2 */
    uint8_t leds, typematic;
    bool scanning;
    uint8_t modifiers; /* keys that change others' codes: PS2_MOD_* */
} Ps2Keyboard;

typedef struct Ps2Mouse {
    Ps2Queue queue;
    uint8_t command;          /* whose parameter comes next, or 0 */
    uint8_t id;               /* 0: three buttons; 3: and a wheel; 4: and five buttons */
    uint8_t rate, resolution; /* reports a second; 0..3 */
    uint8_t rates[2];         /* the two before: three in a row choose the id */
    bool reporting, remote, wrap, scaling;
    uint8_t buttons;    /* bit 0..4: left, right, middle, side, extra */
    bool changed;       /* of buttons, since the last report */
    int32_t dx, dy, dz; /* since the last report; up and towards the user are positive */
} Ps2Mouse;

extern const StateTable ps2_queue_state, ps2_keyboard_state, ps2_mouse_state;

void ps2_queue_clear(Ps2Queue *q);
/* All bytes, or none when they do not fit: false. */
bool ps2_queue_put(Ps2Queue *q, const uint8_t *bytes, unsigned count);
/* The oldest; there is one. */
uint8_t ps2_queue_take(Ps2Queue *q);

void ps2_keyboard_reset(Ps2Keyboard *s);
/* A byte from the controller. */
void ps2_keyboard_write(Ps2Keyboard *s, uint8_t val);
void ps2_keyboard_key(Ps2Keyboard *s, InputKey key, bool down);
/* A byte of scan code set 2 as the controller translates it to set 1, after F0h (a release) with bit 7. */
uint8_t ps2_translate(uint8_t code);

void ps2_mouse_reset(Ps2Mouse *s);
void ps2_mouse_write(Ps2Mouse *s, uint8_t val);
void ps2_mouse_move(Ps2Mouse *s, InputAxis axis, int delta);
void ps2_mouse_button(Ps2Mouse *s, InputButton button, bool down);
/* Reports what happened, as far as there is room. */
void ps2_mouse_sync(Ps2Mouse *s);

#endif
