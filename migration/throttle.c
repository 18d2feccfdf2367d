/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * auto-converge.  Of each period the CPUs run RUN_NS and then stand as long as the share asks for.  Others may pause and
 * resume them meanwhile: at worst a part of a period is lost.
 */
#include "migration/throttle.h"

#include "accel/accel.h"

#define RUN_NS     (INT64_C(10) * 1000 * 1000)
#define HIGH_COUNT 2

static bool runs(const MigThrottle *t)
{
    return t->m->run_state == RUN_STATE_RUNNING;
}

static void set_timer(MigThrottle *t, int64_t ns)
{
    timer_set(t->timer, clock_now(t->m->clocks, CLOCK_KIND_REALTIME) + ns);
}

static void tick(void *opaque)
{
    MigThrottle *t = opaque;
    Accel *accel = t->m->accel;

    t->held = !t->held && runs(t);
    if (!runs(t)) {
        set_timer(t, RUN_NS);
    } else if (t->held) {
        accel->ops->pause_all(accel);
        set_timer(t, RUN_NS * (int64_t)t->percent / (int64_t)(100 - t->percent));
    } else {
        accel->ops->resume_all(accel);
        set_timer(t, RUN_NS);
    }
}

void mig_throttle_look(MigThrottle *t, Machine *m, const MigrationParams *params, uint64_t written, uint64_t sent)
{
    t->high = written > sent / 100 * params->throttle_threshold ? t->high + 1 : 0;
    if (!params->auto_converge || t->high < HIGH_COUNT) {
        return;
    }
    t->high = 0;
    t->percent = MIN(t->percent ? t->percent + params->throttle_increment : params->throttle_initial, params->throttle_max);
    if (!t->timer) {
        t->m = m;
        t->timer = timer_new(m->main_loop, CLOCK_KIND_REALTIME, tick, t);
        set_timer(t, RUN_NS);
    }
}

void mig_throttle_end(MigThrottle *t)
{
    if (t->timer) {
        g_clear_pointer(&t->timer, timer_free);
        if (t->held && runs(t)) {
            t->m->accel->ops->resume_all(t->m->accel);
        }
    }
    *t = (MigThrottle){0};
}
