/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the local APIC share (SDM volume 3, chapter 11, "Advanced Programmable Interrupt
 * Controller"). */
#ifndef HW_INTC_APIC_INTERNAL_H
#define HW_INTC_APIC_INTERNAL_H

#include "hw/intc/apic.h"

/* Register numbers: MMIO offset >> 4, x2APIC MSR - 800h. */
enum {
    APIC_REG_ID = 0x02,
    APIC_REG_VERSION = 0x03,
    APIC_REG_TPR = 0x08,
    APIC_REG_APR = 0x09,
    APIC_REG_PPR = 0x0a,
    APIC_REG_EOI = 0x0b,
    APIC_REG_RRD = 0x0c,
    APIC_REG_LDR = 0x0d,
    APIC_REG_DFR = 0x0e,
    APIC_REG_SVR = 0x0f,
    APIC_REG_ISR0 = 0x10,
    APIC_REG_TMR0 = 0x18,
    APIC_REG_IRR0 = 0x20,
    APIC_REG_ESR = 0x28,
    APIC_REG_CMCI = 0x2f,
    APIC_REG_ICR_LO = 0x30,
    APIC_REG_ICR_HI = 0x31,
    APIC_REG_LVT0 = 0x32,
    APIC_REG_TIMER_INITIAL = 0x38,
    APIC_REG_TIMER_CURRENT = 0x39,
    APIC_REG_TIMER_DIVIDE = 0x3e,
    APIC_REG_SELF_IPI = 0x3f,
};

enum { APIC_LVT_TIMER, APIC_LVT_THERMAL, APIC_LVT_PERF, APIC_LVT_LINT0, APIC_LVT_LINT1, APIC_LVT_ERROR };

#define APIC_VERSION          0x00050014u /* six LVT entries, integrated APIC */
#define APIC_SVR_ENABLE       0x100u
#define APIC_LVT_VECTOR       0xffu
#define APIC_LVT_MODE_SHIFT   8
#define APIC_LVT_PENDING      0x1000u
#define APIC_LVT_MASKED       0x10000u
#define APIC_TIMER_MODE_SHIFT 17
#define APIC_TIMER_ONE_SHOT   0u
#define APIC_TIMER_PERIODIC   1u
#define APIC_TIMER_DEADLINE   2u
#define APIC_BASE_BSP         0x100ull
#define APIC_BASE_EXTD        0x400ull
#define APIC_BASE_ENABLE      0x800ull
#define APIC_BASE_ADDRESS     0xfffffff000ull
#define APIC_ESR_SEND_ILLEGAL 0x20u
#define APIC_ESR_RECV_ILLEGAL 0x40u
#define APIC_ESR_ILLEGAL_REG  0x80u
#define APIC_ICR_LOGICAL      0x800u
#define APIC_ICR_ASSERT       0x4000u
#define APIC_ICR_LEVEL        0x8000u

static inline bool apic_x2(const Apic *s)
{
    return (s->base_msr & (APIC_BASE_ENABLE | APIC_BASE_EXTD)) == (APIC_BASE_ENABLE | APIC_BASE_EXTD);
}

static inline unsigned apic_timer_mode(const Apic *s)
{
    return (s->lvt[APIC_LVT_TIMER] >> APIC_TIMER_MODE_SHIFT) & 3;
}

/* All below: s->lock held. */
void apic_update(Apic *s);
void apic_deliver_lvt(Apic *s, unsigned lvt);
void apic_note_error(Apic *s, uint32_t bit);
/* Loads the count register and arms the timer. */
void apic_timer_load(Apic *s, uint32_t initial);
uint32_t apic_timer_current(Apic *s);
void apic_timer_stop(Apic *s);
void apic_timer_set_deadline(Apic *s, uint64_t tsc);
/* The LVT timer entry or the divider changed. */
void apic_timer_reconfigured(Apic *s, unsigned old_mode);
/* The host timer's callback; takes the lock. */
void apic_timer_expired(void *opaque);

#endif
