/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which device of a stream is which of the machine.  A board's device is known by its model, and by which of them it is, so that a
 * board may get new ones anywhere; all others by model and path.  Main loop.
 */
#ifndef MIGRATION_LAYOUT_H
#define MIGRATION_LAYOUT_H

#include "core/machine.h"

typedef struct MigLayout MigLayout;

/* The machine's devices in the order of their start; g_ptr_array_unref. */
GPtrArray *mig_devices(Machine *m);
/* The version of its board, and a text for each device, into the description of a machine. */
void mig_layout_describe(Machine *m, struct json_object *description);
/*
 * From the description of a stream, compared with the machine: it has every device of the stream, and but for what a board of the
 * stream's version did not have yet (StateTable.board_since) no others.  NULL with *error, which names the first difference.
 */
MigLayout *mig_layout_new(Machine *m, struct json_object *description, GError **error);
void mig_layout_free(MigLayout *layout);
/* How many devices the stream has. */
unsigned mig_layout_count(const MigLayout *layout);
/* The machine's device that is number `index` of the stream, and the name of its section there; NULL: there is none. */
Device *mig_layout_device(const MigLayout *layout, Machine *m, unsigned index, const char **section);

#endif
