/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices with a part in another process (MoveOps of core/device.h), all of a machine's at once.  Main loop; a device is named in the
 * stream by its index among the source's devices.
 */
#ifndef MIGRATION_REMOTE_H
#define MIGRATION_REMOTE_H

#include "migration/state.h"

bool mig_remote_possible(Machine *m, GError **error);
/* Source.  Appends what goes out before the guest is stopped to *pieces. */
bool mig_remote_begin(Machine *m, GPtrArray *pieces, GError **error);
/* What they wrote is marked in the RAM's bitmap. */
bool mig_remote_sync(Machine *m, GError **error);
/* The guest is stopped: the devices stop, and their last interrupts and writes are in the machine, and marked. */
bool mig_remote_stop(Machine *m, GPtrArray *costs, GError **error);
bool mig_remote_save(Machine *m, GPtrArray *pieces, GPtrArray *costs, GError **error);
/* After save: devices whose far side can have another client lose theirs, until `run`. */
void mig_remote_let_go(Machine *m);
/* Destination.  A MIG_REMOTE record; its far side may refuse it. */
bool mig_remote_load(Machine *m, const MigLayout *layout, const GByteArray *record, GError **error);
/* Those that were let go of are taken.  Before any device's own state. */
bool mig_remote_take(Machine *m, GError **error);
/* After every device's own state. */
bool mig_remote_loaded(Machine *m, GError **error);
/* The guest is about to run, here, or here again. */
bool mig_remote_run(Machine *m, GError **error);

#endif
