/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device's part in another process moves alone, under a guest that runs: the basis of live upgrade.  The new process is met
 * without any lock, and shown the device's description while the guest runs; its CPUs stand only while the state goes over.
 *
 * All of that is done by a thread that has the main loop's lock but while it waits for either process: monitors and the
 * machine's other devices go on, and `stop` and `cont` take effect at once.  What would disturb it is refused, or, as a reset,
 * waits for its end.
 */
#include <json-c/json.h>

#include "accel/accel.h"
#include "core/error.h"
#include "migration/internal.h"

#define RESET_POLL_US 1000

struct MigrationHandover {
    Machine *m;
    char *id;
    Device *dev;
    const MoveOps *ops;
    void *guest; /* MoveOps.invite */
    bool held; /* the CPUs, and the machine's reset */
    bool lost;
    HandoverFigures figures;
};

static Device *device_of(Machine *m, const char *id, GError **error)
{
    Object *obj = object_resolve(m, id);

    if (!obj || (obj->model->kind != MODEL_DEVICE && obj->model->kind != MODEL_PCI)) {
        error_set(error, "Device '%s' not found", id);
        return NULL;
    }
    if (!obj->started || !obj->model->move || !obj->model->move->hand_over) {
        error_set(error, "Device '%s' (%s) has no part in another process that could be replaced", id, obj->model->name);
        return NULL;
    }
    return (Device *)obj;
}

/* The guest runs here, or is paused. */
static bool guest_is_here(Machine *m, GError **error)
{
    bool ok = m->run_state == RUN_STATE_RUNNING || m->run_state == RUN_STATE_PAUSED || m->run_state == RUN_STATE_PRELAUNCH;

    if (!ok || migration_in_progress(migration_of(m))) {
        error_set(error, "A device's process cannot be replaced while the guest is %s",
                  ok ? "migrating" : run_state_name(m->run_state));
        return false;
    }
    return true;
}

MigrationHandover *migration_handover_begin(Machine *m, const char *id, struct json_object *place, GError **error)
{
    Migration *mig = migration_of(m);
    Device *dev = device_of(m, id, error);
    void *guest = NULL;
    MigrationHandover *h;

    if (mig->handing_over) {
        g_clear_error(error);
        error_set(error, "The process of another device is being replaced; try again when that is over");
    } else if (dev && guest_is_here(m, error)) {
        guest = dev->obj.model->move->invite(dev, place, error);
    }
    if (!guest) {
        return NULL;
    }
    h = g_new0(MigrationHandover, 1);
    *h = (MigrationHandover){.m = m, .id = g_strdup(id), .dev = dev, .ops = dev->obj.model->move, .guest = guest};
    dev->moving = mig->handing_over = true;
    return h;
}

/* Whenever the lock was given up, while CPUs run. */
static bool still_there(MigrationHandover *h, GError **error)
{
    if (device_of(h->m, h->id, NULL) != h->dev) {
        error_set(error, "Device '%s' was unplugged meanwhile", h->id);
        return false;
    }
    return true;
}

/* A reset that has begun is over before the device moves: nobody waits for the main loop here, which ends it. */
static void await_reset(Machine *m)
{
    while (machine_resetting(m) && guest_is_here(m, NULL)) {
        unsigned depth = loop_release(m->main_loop);

        g_usleep(RESET_POLL_US);
        loop_reacquire(m->main_loop, depth);
    }
}

static void hold(MigrationHandover *h)
{
    machine_reset_hold(h->m);
    machine_vcpus_hold(h->m);
    h->held = true;
    if (guest_is_here(h->m, NULL) && h->m->accel && h->m->accel->ops->settle_all) { /* else it ends, with its CPUs */
        h->m->accel->ops->settle_all(h->m->accel);
    }
}

static void release(MigrationHandover *h)
{
    if (h->held) {
        machine_vcpus_release(h->m);
        machine_reset_release(h->m);
        h->held = false;
    }
}

/* The last look, no CPU runs: a guest that has ended, or stopped for an error, keeps its device as it is. */
static bool may_go(MigrationHandover *h, GError **error)
{
    if (!still_there(h, error)) {
        return false;
    }
    if (!guest_is_here(h->m, error)) {
        h->ops->run(h->dev, NULL); /* it was asked for the beginning of its state */
        return false;
    }
    return true;
}

static bool hand_over(MigrationHandover *h, GError **error)
{
    bool running = h->m->run_state == RUN_STATE_RUNNING, ok;
    int64_t begin = g_get_monotonic_time();

    hold(h);
    ok = may_go(h, error) && h->ops->hand_over(h->dev, h->guest, &h->figures.bytes, &h->lost, error);
    h->figures.paused_us = running ? (uint64_t)(g_get_monotonic_time() - begin) : 0;
    if (h->lost) {
        g_prefix_error(error, "the guest is paused, `cont` tries again: ");
    } else {
        release(h); /* whatever the main loop does just now */
    }
    return ok;
}

bool migration_handover_run(MigrationHandover *h, GError **error)
{
    bool ok = h->ops->meet(h->guest, error);

    loop_lock(h->m->main_loop);
    ok = ok && still_there(h, error) && h->ops->offer(h->dev, h->guest, error);
    if (ok) {
        await_reset(h->m);
        ok = hand_over(h, error);
    }
    loop_unlock(h->m->main_loop);
    return ok;
}

void migration_handover_end(MigrationHandover *h, HandoverFigures *figures)
{
    Machine *m = h->m;
    Migration *mig = m->migration; /* gone when the program ends */

    if (h->lost && mig) {
        mig->given_away = true; /* what `cont` takes back */
    }
    if (h->lost) {
        machine_vm_stop(m, RUN_STATE_PAUSED);
    }
    release(h);
    if (mig) {
        mig->handing_over = false;
    }
    if (object_resolve(m, h->id) == &h->dev->obj) {
        h->dev->moving = false;
    }
    *figures = h->figures;
    h->ops->part(h->guest);
    g_free(h->id);
    g_free(h);
}
