/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -icount: guest time is the number of instructions retired, so that it depends on nothing else.  One vCPU.  Context:
 * its thread, unless said otherwise.
 */
#ifndef ACCEL_TCG_ICOUNT_H
#define ACCEL_TCG_ICOUNT_H

#include "accel/accel.h"

typedef struct Icount Icount;

/* wake(opaque) makes the vCPU look again at what it waits for; any thread.  Main loop, before the vCPU runs. */
Icount *icount_new(Machine *m, const IcountConfig *config, X86Cpu *cpu, void (*wake)(void *opaque), void *opaque);
void icount_free(Icount *ic); /* after the vCPU's thread; NULL is allowed */
/* Around x86_cpu_run(): sets its limit to the next timer, and then runs the timers that are due. */
void icount_begin(Icount *ic);
void icount_end(Icount *ic);
/* Guest time inside the run, in nanoseconds; everybody sees it from now on.  For callbacks of the bus. */
int64_t icount_now(Icount *ic);
/*
 * The vCPU is halted: goes to the next timer at once, or, with sleep=on, when as much time has passed.  True: the vCPU
 * has to wait, until woken.
 */
bool icount_idle(Icount *ic);

#endif
