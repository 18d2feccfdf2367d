/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC's timer: one-shot, periodic and TSC-deadline modes (SDM
 * volume 3, 11.5.4).  The bus clock is 1 GHz of guest time, so that a tick is a
 * nanosecond times the divider.
 */
#include "apic-internal.h"

/* Shorter periods than this only load the host: the guest cannot see them. */
#define APIC_TIMER_MIN_PERIOD_NS 10000

static int64_t apic_now(const Apic *s)
{
    return clock_now(s->dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL);
}

/* Nanoseconds a count takes: the divider of the divide configuration register. */
static int64_t apic_timer_divider(const Apic *s)
{
    unsigned code = (s->divide_config & 3) | ((s->divide_config >> 1) & 4);
    return code == 7 ? 1 : 2ll << code;
}

static void apic_timer_arm(Apic *s, int64_t when)
{
    s->timer_next = when;
    timer_set(s->timer, when);
}

void apic_timer_stop(Apic *s)
{
    s->timer_next = -1;
    timer_cancel(s->timer);
}

void apic_timer_load(Apic *s, uint32_t initial)
{
    s->initial_count = initial;
    s->count_start = apic_now(s);
    if (apic_timer_mode(s) == APIC_TIMER_DEADLINE) {
        return;
    }
    if (!initial) {
        apic_timer_stop(s);
        return;
    }
    int64_t period = initial * apic_timer_divider(s);
    apic_timer_arm(s,
                   s->count_start +
                       MAX(period, apic_timer_mode(s) == APIC_TIMER_PERIODIC ? APIC_TIMER_MIN_PERIOD_NS : 0));
}

uint32_t apic_timer_current(Apic *s)
{
    if (!s->initial_count || apic_timer_mode(s) == APIC_TIMER_DEADLINE) {
        return 0;
    }
    uint64_t ticks = (uint64_t)((apic_now(s) - s->count_start) / apic_timer_divider(s));
    if (apic_timer_mode(s) == APIC_TIMER_PERIODIC) {
        return s->initial_count - (uint32_t)(ticks % s->initial_count);
    }
    return ticks >= s->initial_count ? 0 : s->initial_count - (uint32_t)ticks;
}

void apic_timer_set_deadline(Apic *s, uint64_t tsc)
{
    if (apic_timer_mode(s) != APIC_TIMER_DEADLINE || !s->vcpu) {
        return;
    }
    s->tsc_deadline = tsc;
    if (!tsc) {
        apic_timer_stop(s);
        return;
    }
    Accel *accel = s->vcpu->accel;
    uint64_t hz = accel->ops->tsc_hz(accel), now = accel->ops->read_tsc(s->vcpu);
    int64_t delta = 0;
    if ((int64_t)(tsc - now) > 0) {
        unsigned __int128 ns = (unsigned __int128)(tsc - now) * 1000000000u / (hz ? hz : 1);
        delta = ns > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)ns;
    }
    apic_timer_arm(s, apic_now(s) + delta);
}

void apic_timer_reconfigured(Apic *s, unsigned old_mode)
{
    unsigned mode = apic_timer_mode(s);
    if (mode != old_mode && (mode == APIC_TIMER_DEADLINE || old_mode == APIC_TIMER_DEADLINE)) {
        s->tsc_deadline = 0;
        s->initial_count = 0;
        apic_timer_stop(s);
    } else if (mode == APIC_TIMER_PERIODIC && s->initial_count && s->timer_next < 0) {
        apic_timer_load(s, s->initial_count);
    } else if (mode != APIC_TIMER_DEADLINE && s->timer_next >= 0) {
        apic_timer_load(s, apic_timer_current(s) ? s->initial_count : 0);
    }
}

void apic_timer_expired(void *opaque)
{
    Apic *s = opaque;
    g_mutex_lock(&s->lock);
    int64_t now = apic_now(s);
    /* The register may have been written between the expiry and this lock. */
    if (s->timer_next >= 0 && now < s->timer_next) {
        timer_set(s->timer, s->timer_next);
    } else if (s->timer_next >= 0) {
        if (apic_timer_mode(s) == APIC_TIMER_PERIODIC && s->initial_count) {
            int64_t period = s->initial_count * apic_timer_divider(s);
            s->count_start += (now - s->count_start) / period * period;
            apic_timer_arm(s, MAX(s->count_start + period, now + APIC_TIMER_MIN_PERIOD_NS));
        } else {
            s->timer_next = -1;
            s->tsc_deadline = 0;
        }
        apic_deliver_lvt(s, APIC_LVT_TIMER);
    }
    g_mutex_unlock(&s->lock);
}
