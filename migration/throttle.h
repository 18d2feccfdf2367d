/* SPDX-License-Identifier: GPL-2.0-or-later */
/* auto-converge: the CPUs run a part of the time only, while they write more than can be sent.  Main loop. */
#ifndef MIGRATION_THROTTLE_H
#define MIGRATION_THROTTLE_H

#include "migration/migration.h"

typedef struct MigThrottle {
    Machine *m;
    Timer *timer;     /* NULL: not begun */
    uint64_t percent; /* of the time that they stand still */
    unsigned high;    /* rounds in a row in which too much was written */
    bool held;
} MigThrottle;

/* After a round that sent `sent` bytes, in which the guest wrote to `written` bytes of pages. */
void mig_throttle_look(MigThrottle *t, Machine *m, const MigrationParams *params, uint64_t written, uint64_t sent);
/* A running guest runs all of the time again.  Also when none was begun. */
void mig_throttle_end(MigThrottle *t);

#endif
