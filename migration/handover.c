/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device's part in another process moves alone, under a guest that runs: the basis of live upgrade.  The new process is met
 * without any lock, and shown the device's description while the guest runs; its CPUs stand only while the state goes over.
 */
#include <json-c/json.h>

#include "accel/accel.h"
#include "core/error.h"
#include "migration/internal.h"

struct MigrationHandover {
    Machine *m;
    char *id;
    Device *dev;
    const MoveOps *ops;
    void *guest; /* MoveOps.invite */
    bool met;
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

static void handover_free(MigrationHandover *h)
{
    h->ops->part(h->guest);
    g_free(h->id);
    g_free(h);
}

MigrationHandover *migration_handover_begin(Machine *m, const char *id, struct json_object *place, GError **error)
{
    Device *dev = device_of(m, id, error);
    void *guest = dev && guest_is_here(m, error) ? dev->obj.model->move->invite(dev, place, error) : NULL;
    MigrationHandover *h;

    if (!guest) {
        return NULL;
    }
    h = g_new0(MigrationHandover, 1);
    *h = (MigrationHandover){.m = m, .id = g_strdup(id), .dev = dev, .ops = dev->obj.model->move, .guest = guest};
    return h;
}

bool migration_handover_meet(MigrationHandover *h, GError **error)
{
    h->met = h->ops->meet(h->guest, error);
    return h->met;
}

/* Between the two the guest does not run. */
static bool hand_over(MigrationHandover *h, HandoverFigures *figures, GError **error)
{
    Machine *m = h->m;
    bool running = m->accel && m->run_state == RUN_STATE_RUNNING, lost = false, ok;
    int64_t begin = g_get_monotonic_time();

    if (running) {
        m->accel->ops->pause_all(m->accel);
        if (m->accel->ops->settle_all) {
            m->accel->ops->settle_all(m->accel);
        }
    }
    ok = h->ops->hand_over(h->dev, h->guest, &figures->bytes, &lost, error);
    figures->paused_us = running ? (uint64_t)(g_get_monotonic_time() - begin) : 0;
    if (lost) {
        migration_of(m)->given_away = true; /* what `cont` takes back */
        g_prefix_error(error, "the guest is paused, `cont` tries again: ");
    }
    if (running && lost) {
        machine_vm_stop(m, RUN_STATE_PAUSED);
    } else if (running) {
        m->accel->ops->resume_all(m->accel);
    }
    return ok;
}

bool migration_handover_end(MigrationHandover *h, HandoverFigures *figures, GError **error)
{
    bool ok = h->met && guest_is_here(h->m, error);

    if (ok && device_of(h->m, h->id, NULL) != h->dev) {
        error_set(error, "Device '%s' was unplugged meanwhile", h->id);
        ok = false;
    }
    *figures = (HandoverFigures){0};
    ok = ok && h->ops->offer(h->dev, h->guest, error) && hand_over(h, figures, error);
    handover_free(h);
    return ok;
}
