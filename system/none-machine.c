/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine without anything: for monitors that only ask what there is. */
#include "system.h"

static bool none_start(Machine *m, GError **error)
{
    return true;
}

static void none_stop(Machine *m)
{
}

const MachineModel none_machine_model = {
    .model = {.name = "none",
              .doc = "Empty machine: no CPU, no RAM, no bus.",
              .kind = MODEL_MACHINE,
              .size = sizeof(Machine),
              .state = &state_none},
    .start = none_start,
    .stop = none_stop,
};
