/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a machine is besides its RAM: description, CPUs, devices, clock.  Main loop, guest stopped (but describe). */
#ifndef MIGRATION_STATE_H
#define MIGRATION_STATE_H

#include "migration/layout.h"
#include "migration/migration.h"
#include "migration/record.h"

/* JSON the destination compares with its own: machine, its board's version, RAM, CPUs, devices; and whether the guest ran. */
char *mig_describe(Machine *m, bool running); /* g_free */
/* Which devices the stream has; NULL: *error names the first difference.  *running is set. */
MigLayout *mig_compare(Machine *m, const char *description, bool *running, GError **error);

/* A piece of saved state as it goes into a record. */
typedef struct MigPiece {
    MigRecordType type;
    GByteArray *data;
    uint64_t at; /* where its first record began in the stream that it came with */
} MigPiece;

/* An empty list of MigPiece that frees them; and a new one at its end, to append to. */
GPtrArray *mig_pieces_new(void);
MigPiece *mig_pieces_add(GPtrArray *pieces, MigRecordType type);
/* How many the machine has. */
unsigned mig_cpu_count(const Machine *m);
/* A MigrationDevice for each device of the machine, in the order of their start; g_ptr_array_unref. */
GPtrArray *mig_costs_new(Machine *m);
/* All of it, in the order it is loaded.  Appends to *pieces, adds to *costs. */
void mig_save_state(Machine *m, GPtrArray *pieces, GPtrArray *costs);
/* One record of it.  *next counts the devices loaded so far. */
bool mig_load_piece(Machine *m, const MigLayout *layout, const MigPiece *piece, unsigned *next_cpu, unsigned *next_device,
                    GError **error);
/* False: a CPU or a device is missing from the stream. */
bool mig_load_complete(Machine *m, const MigLayout *layout, unsigned cpus, unsigned devices, GError **error);

#endif
