/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local APICs that an accelerator has: the model keeps their place in the board and their saved state, and passes on
 * what comes from other devices.
 */
#include <string.h>

#include "accel/irqchip.h"
#include "apic-internal.h"

static int64_t accel_now(const Apic *s)
{
    return clock_now(s->dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL);
}

/* The present count, as times of guest time. */
static void timer_from_count(Apic *s, uint32_t current)
{
    unsigned code = (s->divide_config & 3) | ((s->divide_config >> 1) & 4);
    int64_t divider = code == 7 ? 1 : 2ll << code, now = accel_now(s);

    s->count_start = now - (int64_t)(s->initial_count - current) * divider;
    s->timer_next = s->initial_count && current ? now + current * divider : -1;
}

void apic_accel_fetch(Apic *s)
{
    AccelLapic lapic;

    if (!s->bus->accel || !s->vcpu || !s->bus->accel->ops->irqchip->get_lapic(s->vcpu, &lapic)) {
        return;
    }
    g_mutex_lock(&s->lock);
    s->base_msr = lapic.base;
    s->id = lapic.regs[APIC_REG_ID] >> 24;
    s->tpr = lapic.regs[APIC_REG_TPR];
    s->ldr = lapic.regs[APIC_REG_LDR];
    s->dfr = lapic.regs[APIC_REG_DFR];
    s->svr = lapic.regs[APIC_REG_SVR];
    s->esr = lapic.regs[APIC_REG_ESR];
    s->icr_lo = lapic.regs[APIC_REG_ICR_LO];
    s->icr_hi = lapic.regs[APIC_REG_ICR_HI];
    memcpy(s->isr, lapic.regs + APIC_REG_ISR0, sizeof(s->isr));
    memcpy(s->tmr, lapic.regs + APIC_REG_TMR0, sizeof(s->tmr));
    memcpy(s->irr, lapic.regs + APIC_REG_IRR0, sizeof(s->irr));
    memcpy(s->lvt, lapic.regs + APIC_REG_LVT0, sizeof(s->lvt));
    s->initial_count = lapic.regs[APIC_REG_TIMER_INITIAL];
    s->divide_config = lapic.regs[APIC_REG_TIMER_DIVIDE];
    s->tsc_deadline = lapic.tsc_deadline;
    timer_from_count(s, lapic.regs[APIC_REG_TIMER_CURRENT]);
    g_mutex_unlock(&s->lock);
}

void apic_accel_put(Apic *s)
{
    AccelLapic lapic = {0};

    if (!s->bus->accel || !s->vcpu) {
        return;
    }
    g_mutex_lock(&s->lock);
    lapic.base = s->base_msr;
    lapic.regs[APIC_REG_ID] = s->id << 24;
    lapic.regs[APIC_REG_VERSION] = APIC_VERSION;
    lapic.regs[APIC_REG_TPR] = s->tpr;
    lapic.regs[APIC_REG_LDR] = s->ldr;
    lapic.regs[APIC_REG_DFR] = s->dfr;
    lapic.regs[APIC_REG_SVR] = s->svr;
    lapic.regs[APIC_REG_ESR] = s->esr;
    lapic.regs[APIC_REG_ICR_LO] = s->icr_lo;
    lapic.regs[APIC_REG_ICR_HI] = s->icr_hi;
    memcpy(lapic.regs + APIC_REG_ISR0, s->isr, sizeof(s->isr));
    memcpy(lapic.regs + APIC_REG_TMR0, s->tmr, sizeof(s->tmr));
    memcpy(lapic.regs + APIC_REG_IRR0, s->irr, sizeof(s->irr));
    memcpy(lapic.regs + APIC_REG_LVT0, s->lvt, sizeof(s->lvt));
    lapic.regs[APIC_REG_TIMER_INITIAL] = s->initial_count;
    lapic.regs[APIC_REG_TIMER_CURRENT] = apic_timer_current(s);
    lapic.regs[APIC_REG_TIMER_DIVIDE] = s->divide_config;
    lapic.tsc_deadline = s->tsc_deadline;
    g_mutex_unlock(&s->lock);
    if (!s->bus->accel->ops->irqchip->set_lapic(s->vcpu, &lapic)) {
        g_printerr("apic: CPU %u does not take its local APIC's registers\n", s->index);
    }
}
