/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Drives that need no -device.  Main loop. */
#ifndef SYSTEM_DRIVES_H
#define SYSTEM_DRIVES_H

#include <json-c/json.h>

#include "system.h"

void drives_init(System *s);
/* Opens what a -drive names, and notes the device it asks for; opts is borrowed and stays as it is. */
bool drives_open(System *s, struct json_object *opts, GError **error);
/* The board is there: the devices of the drives. */
bool drives_plug(System *s, GError **error);

#endif
