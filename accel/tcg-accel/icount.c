/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -icount: an instruction takes 2^shift nanoseconds.  The vCPU stops exactly at the instruction the next timer is due,
 * and its thread runs that timer; a halted vCPU has time pass on its own.
 */
#include "icount.h"

#include <string.h>

#define ICOUNT_AUTO_SHIFT    3
#define ICOUNT_MAX_SHIFT     10
#define ICOUNT_AUTO_INTERVAL 100000000 /* real nanoseconds between two looks at how far guest time is off */
#define ICOUNT_AUTO_SLACK    10000000  /* nanoseconds it may be off */
#define ICOUNT_SLICE         (UINT64_C(1) << 32) /* instructions without a timer */

struct Icount {
    ClockSource *clocks;
    X86Cpu *cpu;
    IcountConfig config;
    unsigned shift;
    int64_t base_time;   /* guest time when the run began */
    uint64_t base_insns;
    int64_t deadline;    /* time stays below it while the CPU runs */
    int64_t halted_at;   /* real time the vCPU was halted; 0: it is not */
    int64_t auto_real, auto_guest; /* when the pace was last looked at */
    Timer *sleep_timer;
    void (*wake)(void *opaque);
    void *opaque;
};

/* An earlier timer was set: any thread. */
static void icount_deadline_changed(void *opaque)
{
    Icount *ic = opaque;

    x86_cpu_kick(ic->cpu);
    ic->wake(ic->opaque);
}

static void icount_slept(void *opaque)
{
    Icount *ic = opaque;

    ic->wake(ic->opaque);
}

Icount *icount_new(Machine *m, const IcountConfig *config, X86Cpu *cpu, void (*wake)(void *opaque), void *opaque)
{
    Icount *ic = g_new0(Icount, 1);

    ic->clocks = m->clocks;
    ic->cpu = cpu;
    ic->config = *config;
    ic->shift = config->adapt ? ICOUNT_AUTO_SHIFT : config->shift;
    ic->wake = wake;
    ic->opaque = opaque;
    ic->sleep_timer = timer_new(m->main_loop, CLOCK_KIND_REALTIME, icount_slept, ic);
    ic->auto_real = clock_now(ic->clocks, CLOCK_KIND_REALTIME);
    clock_set_manual(ic->clocks);
    clock_set_deadline_hook(ic->clocks, icount_deadline_changed, ic);
    return ic;
}

void icount_free(Icount *ic)
{
    if (ic) {
        clock_set_deadline_hook(ic->clocks, NULL, NULL);
        timer_free(ic->sleep_timer);
        g_free(ic);
    }
}

static int64_t time_at(const Icount *ic, uint64_t insns)
{
    return ic->base_time + (int64_t)((insns - ic->base_insns) << ic->shift);
}

/* shift=auto: halves or doubles the pace when guest time runs away from real time. */
static void icount_adapt(Icount *ic)
{
    int64_t real = clock_now(ic->clocks, CLOCK_KIND_REALTIME), ahead;

    if (!ic->config.adapt || real - ic->auto_real < ICOUNT_AUTO_INTERVAL) {
        return;
    }
    ahead = (ic->base_time - ic->auto_guest) - (real - ic->auto_real);
    if (ahead > ICOUNT_AUTO_SLACK && ic->shift > 0) {
        ic->shift--;
    } else if (ahead < -ICOUNT_AUTO_SLACK && ic->shift < ICOUNT_MAX_SHIFT) {
        ic->shift++;
    }
    ic->auto_real = real;
    ic->auto_guest = ic->base_time;
}

void icount_begin(Icount *ic)
{
    int64_t next = clock_next_deadline(ic->clocks);
    uint64_t unit = UINT64_C(1) << ic->shift, insns = ICOUNT_SLICE;

    ic->base_time = clock_now(ic->clocks, CLOCK_KIND_VIRTUAL);
    ic->base_insns = x86_cpu_insn_count(ic->cpu);
    ic->halted_at = 0;
    ic->deadline = INT64_MAX;
    icount_adapt(ic);
    if (next >= 0) {
        ic->deadline = MAX(next, ic->base_time + 1);
        insns = ((uint64_t)(ic->deadline - ic->base_time) + unit - 1) >> ic->shift;
    }
    x86_cpu_set_limit(ic->cpu, ic->base_insns + insns);
}

void icount_end(Icount *ic)
{
    clock_warp(ic->clocks, time_at(ic, x86_cpu_insn_count(ic->cpu)));
}

int64_t icount_now(Icount *ic)
{
    int64_t now = MIN(time_at(ic, x86_cpu_insn_now(ic->cpu)), ic->deadline - 1);

    clock_advance(ic->clocks, now);
    return now;
}

bool icount_idle(Icount *ic)
{
    int64_t next = clock_next_deadline(ic->clocks), now = clock_now(ic->clocks, CLOCK_KIND_VIRTUAL), real, until;

    if (next < 0) {
        return true;
    }
    if (ic->config.sleep) {
        real = clock_now(ic->clocks, CLOCK_KIND_REALTIME);
        ic->halted_at = ic->halted_at ? ic->halted_at : real;
        until = ic->halted_at + (next - now);
        if (real < until) {
            timer_set(ic->sleep_timer, until);
            return true;
        }
        ic->halted_at = real;
    }
    clock_warp(ic->clocks, MAX(next, now));
    return false;
}
