/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8042 keyboard controller with nothing attached.  Context: home loop's lock. */
#ifndef HW_ISA_I8042_H
#define HW_ISA_I8042_H

#include "core/machine.h"

typedef struct I8042 {
    Device dev;
    MemRegion *io;              /* wiring, set before start; borrowed */
    IrqLine *kbd_irq, *aux_irq; /* wiring */
    MemRegion *data_region, *command_region;
    uint8_t status, config, output, command; /* command: whose data byte comes next, or 0 */
    uint8_t outport;
} I8042;

extern const DeviceModel i8042_model;

#endif
