/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts of the e1000 (82540EM manual, 3.2.7, 3.4.3 and 13.4.17 to 13.4.21): causes in ICR, those of IMS
 * raise the line, no oftener than ITR allows, receive and transmit causes delayed by their timers.
 */
#include "e1000.h"

#define ITR_UNIT_NS   256
#define DELAY_UNIT_NS 1024
#define DELAY_FPD     0x80000000u /* RDTR: flush, do not wait */

static uint64_t e1000_now(E1000 *e)
{
    return (uint64_t)clock_now(e->pci.dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL);
}

void e1000_delay_cancel(E1000Delay *delay)
{
    timer_cancel(delay->timer);
    delay->deadline = delay->absolute = 0;
}

void e1000_delay_set(E1000 *e, E1000Delay *delay, uint64_t ns)
{
    delay->deadline = e1000_now(e) + ns;
    timer_set(delay->timer, (int64_t)delay->deadline);
}

void e1000_delay_restore(E1000Delay *delay)
{
    timer_cancel(delay->timer);
    if (delay->deadline && delay->deadline <= INT64_MAX) {
        timer_set(delay->timer, (int64_t)delay->deadline);
    }
}

void e1000_update_irq(E1000 *e)
{
    bool wanted = *e1000_reg(e, E1000_ICR) & *e1000_reg(e, E1000_IMS);
    uint32_t itr = *e1000_reg(e, E1000_ITR) & 0xffff;

    if (!wanted) {
        pci_set_irq(&e->pci, 0);
    } else if (!e->pci.intx_level && !e->itr.deadline) {
        TRACE(&e1000_trace[E1000_TRACE_IRQ], "%s: causes 0x%x", e->pci.dev.obj.id, *e1000_reg(e, E1000_ICR));
        if (itr) {
            e1000_delay_set(e, &e->itr, (uint64_t)itr * ITR_UNIT_NS);
        }
        pci_set_irq(&e->pci, 1);
    }
}

static void e1000_itr_expired(void *opaque)
{
    E1000 *e = opaque;

    e->itr.deadline = 0;
    e1000_update_irq(e);
}

void e1000_set_cause(E1000 *e, uint32_t causes)
{
    *e1000_reg(e, E1000_ICR) |= causes & ICR_BITS;
    e1000_update_irq(e);
}

/* Restarts the packet timer; the absolute timer, when it is set, bounds the wait of the first packet. */
static void e1000_delay_cause(E1000 *e, E1000Delay *delay, uint32_t cause, uint32_t packet, uint32_t absolute)
{
    uint64_t now = e1000_now(e), wait = (uint64_t)(packet & 0xffff) * DELAY_UNIT_NS;

    if (!wait) {
        e1000_set_cause(e, cause);
        return;
    }
    if (!delay->absolute && absolute & 0xffff) {
        delay->absolute = now + (uint64_t)(absolute & 0xffff) * DELAY_UNIT_NS;
    }
    if (delay->absolute) {
        wait = MIN(wait, delay->absolute > now ? delay->absolute - now : 0);
    }
    e1000_delay_set(e, delay, wait);
}

void e1000_rx_cause(E1000 *e)
{
    e1000_delay_cause(e, &e->rx_delay, ICR_RXT0, *e1000_reg(e, E1000_RDTR), *e1000_reg(e, E1000_RADV));
}

void e1000_tx_cause(E1000 *e)
{
    e1000_delay_cause(e, &e->tx_delay, ICR_TXDW, *e1000_reg(e, E1000_TIDV), *e1000_reg(e, E1000_TADV));
}

static void e1000_rx_delay_expired(void *opaque)
{
    E1000 *e = opaque;

    e1000_delay_cancel(&e->rx_delay);
    e1000_set_cause(e, ICR_RXT0);
}

static void e1000_tx_delay_expired(void *opaque)
{
    E1000 *e = opaque;

    e1000_delay_cancel(&e->tx_delay);
    e1000_set_cause(e, ICR_TXDW);
}

void e1000_rdtr_written(E1000 *e, uint32_t val)
{
    if (val & DELAY_FPD && e->rx_delay.deadline) {
        e1000_rx_delay_expired(e);
    }
}

void e1000_irq_start(E1000 *e)
{
    Device *dev = &e->pci.dev;

    e->itr.timer = device_timer_new(dev, e1000_itr_expired, e);
    e->rx_delay.timer = device_timer_new(dev, e1000_rx_delay_expired, e);
    e->tx_delay.timer = device_timer_new(dev, e1000_tx_delay_expired, e);
}

void e1000_irq_reset(E1000 *e)
{
    e1000_delay_cancel(&e->itr);
    e1000_delay_cancel(&e->rx_delay);
    e1000_delay_cancel(&e->tx_delay);
}

void e1000_irq_restore(E1000 *e)
{
    e1000_delay_restore(&e->itr);
    e1000_delay_restore(&e->rx_delay);
    e1000_delay_restore(&e->tx_delay);
}

void e1000_irq_stop(E1000 *e)
{
    timer_free(e->itr.timer);
    timer_free(e->rx_delay.timer);
    timer_free(e->tx_delay.timer);
}
