/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The q35 machine.  Context: main loop. */
#ifndef HW_I386_PC_H
#define HW_I386_PC_H

#include "chardev/chardev.h"
#include "core/machine.h"

extern const MachineModel pc_q35_model;

/*
 * -serial: makes the next of COM1..COM4 on `chr`.  After machine_start().  False
 * with *error when the machine has no ISA bus or all four are taken.
 */
bool pc_add_serial(Machine *m, Chardev *chr, GError **error);

#endif
