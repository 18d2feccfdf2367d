/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Moving a machine: its RAM while it runs, then its devices and CPUs, over a stream to another process or into a file.
 *
 * The stream is a sequence of records (migration/record.h); docs/devel/migration.md describes it.  A migration that
 * fails leaves the source as it was.  Over a socket the destination says that it has everything before
 * the source lets go of its disks, and runs only when told so: the guest never runs on both sides.
 *
 * Context: main loop.
 */
#ifndef MIGRATION_MIGRATION_H
#define MIGRATION_MIGRATION_H

#include "core/machine.h"

typedef enum MigrationStatus {
    MIGRATION_NONE,
    MIGRATION_SETUP,
    MIGRATION_ACTIVE,     /* RAM is copied, the guest runs (or was stopped before) */
    MIGRATION_DEVICE,     /* the guest is stopped for the rest */
    MIGRATION_COMPLETED,
    MIGRATION_FAILED,
    MIGRATION_CANCELLING,
    MIGRATION_CANCELLED,
} MigrationStatus;

const char *migration_status_name(MigrationStatus status);

typedef struct MigrationParams {
    uint64_t max_bandwidth;   /* bytes a second; 0: no limit */
    uint64_t downtime_limit;  /* milliseconds the guest may be stopped for what is left */
    /* auto-converge: per cent of the time that the CPUs stand still, 1..99 */
    uint64_t throttle_initial, throttle_increment, throttle_max;
    uint64_t throttle_threshold; /* per cent of what a round sent that the guest may write in it */
    bool auto_converge;
    bool keep_servers;           /* devices' processes stay, and get the destination as their client */
} MigrationParams;

/* What the state of one device came to while the guest was stopped, its far side's included. */
typedef struct MigrationDevice {
    char *path;
    const char *model;
    uint64_t bytes, us;
} MigrationDevice;

typedef struct MigrationFigures {
    MigrationStatus status;
    char *error;              /* g_free; NULL */
    uint64_t total_ms, setup_ms, downtime_us, expected_downtime_ms;
    uint64_t ram_total, ram_transferred, ram_remaining; /* bytes */
    uint64_t pages_normal, pages_zero;
    uint64_t sync_count;      /* rounds, with the present one */
    uint64_t dirty_rate;      /* pages a second that the guest wrote to in the last round */
    uint64_t device_bytes;
    GPtrArray *devices;       /* of MigrationDevice, once they are saved; NULL */
    uint64_t throttle;        /* per cent, at present */
    double mbps;              /* megabits a second, of the last round; of all of it in the end */
} MigrationFigures;

/* False, with the first reason, when the machine has something that cannot be moved. */
bool migration_possible(Machine *m, GError **error);
/*
 * Starts moving the machine to `uri`: tcp:HOST:PORT, unix:PATH, fd:NUMBER, exec:COMMAND, file:PATH[,offset=N].  False: not
 * started.  The end is the event MIGRATION and migration_query().
 */
bool migration_start(Machine *m, const char *uri, GError **error);
/* Asks a migration in progress to end; the guest runs on. */
bool migration_cancel(Machine *m, GError **error);
/*
 * Before the guest runs (again) here: disks and devices, which a migration may have given away, are this process's.  False: they
 * can't be; it may be tried again.
 */
bool migration_take_back(Machine *m, GError **error);
/* What is known of the last one; clear with migration_figures_clear. */
MigrationFigures migration_query(Machine *m);
void migration_figures_clear(MigrationFigures *figures);
MigrationParams *migration_params(Machine *m);

/*
 * The process that has a device of a running guest is replaced by another: begin, run, end.  begin: main loop; place: as the device's
 * `socket`.  run: any thread without locks, may take long; false: *error, and all is as it was, unless the old process can't be had
 * either: then the guest is paused, and `cont` tries again.  Meanwhile no migration can start, no other handover, and the device
 * is not deleted.  end: main loop, always; frees.
 */
typedef struct MigrationHandover MigrationHandover;
typedef struct HandoverFigures {
    uint64_t bytes;     /* of the device's state */
    uint64_t paused_us; /* the guest stood */
} HandoverFigures;
MigrationHandover *migration_handover_begin(Machine *m, const char *id, struct json_object *place, GError **error);
bool migration_handover_run(MigrationHandover *h, GError **error);
void migration_handover_end(MigrationHandover *h, HandoverFigures *figures);

/*
 * The destination: waits for a stream at `uri` (file: reads it), loads it, and starts the guest when it ran at the source
 * and m->autostart.  The machine is built and not started.  Failure later is MIGRATION_FAILED and ends the process with 1.
 */
bool migration_incoming(Machine *m, const char *uri, GError **error);
/* Ends what is in progress and frees; machine_free() comes after. */
void migration_free(Machine *m);

#endif
