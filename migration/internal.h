/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What outgoing.c, incoming.c and migration.c share: one migration of one machine. */
#ifndef MIGRATION_INTERNAL_H
#define MIGRATION_INTERNAL_H

#include "migration/channel.h"
#include "migration/migration.h"
#include "migration/record.h"
#include "migration/state.h"
#include "migration/throttle.h"

typedef struct Migration Migration;

struct Migration {
    Machine *m;
    MigChannel channel;
    MigStream stream;
    GThread *thread;
    int finished; /* atomic: the thread is at its end */
    int cancel;   /* atomic */
    bool incoming;
    RunState guest_state; /* at the source, before it was stopped for the end */
    bool given_away;   /* disks and devices may be the destination's, or have not begun to work here */
    bool handing_over; /* a device's process is being replaced.  Main loop */
    bool logging;      /* writes to RAM are logged */
    GPtrArray *pieces; /* MigPiece: saved, or received and not loaded yet */
    LoopFd *listen;
    MigThrottle throttle; /* main loop */

    GMutex lock; /* of figures and params */
    MigrationFigures figures;
    MigrationParams params;
    int64_t started_at, stopped_at; /* us, monotonic */
};

/* The machine's, created when there is none. */
Migration *migration_of(Machine *m);
void migration_set_status(Migration *mig, MigrationStatus status, const char *error);
static inline uint64_t migration_ms_since(int64_t start_us)
{
    return (uint64_t)(g_get_monotonic_time() - start_us) / 1000;
}
/* Runs fn in the main loop and waits for it.  The migration's thread. */
void migration_in_main(Migration *mig, void (*fn)(Migration *mig, void *opaque), void *opaque);
bool migration_in_progress(const Migration *mig);
/* Joins the thread, closes the stream. */
void migration_cleanup(Migration *mig);

gpointer migration_send_thread(gpointer opaque);
gpointer migration_receive_thread(gpointer opaque);

#endif
