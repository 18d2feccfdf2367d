/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8042 keyboard controller with its keyboard and mouse.  Context: home loop's lock. */
#ifndef HW_ISA_I8042_H
#define HW_ISA_I8042_H

#include "hw/isa/ps2.h"

typedef struct I8042 {
    Device dev;
    MemRegion *io;              /* wiring, set before start; borrowed */
    IrqLine *kbd_irq, *aux_irq; /* wiring */
    MemRegion *data_region, *command_region;
    uint8_t status, config, output, command; /* command: whose data byte comes next, or 0 */
    uint8_t outport;
    uint8_t reply;            /* the controller's own, not yet in the output buffer */
    bool reply_aux, replying; /* as if of the mouse; there is one */
    bool released;            /* the keyboard's next code is a release, to be translated */
    Ps2Keyboard kbd;
    Ps2Mouse mouse;
    InputSink *inputs[2];
} I8042;

extern const DeviceModel i8042_model;

#endif
