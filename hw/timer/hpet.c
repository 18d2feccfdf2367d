/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * High precision event timers (IA-PC HPET specification 1.0a): a 64-bit counter
 * at 100 MHz and three comparators, legacy replacement routing, level and edge
 * interrupts; no FSB (message) delivery.
 */
#include "hw/timer/hpet.h"

#include <inttypes.h>

#define HPET_TICK_NS 10

/* Registers. */
#define GCAP_ID     0x000
#define GEN_CONF    0x010
#define GINTR_STS   0x020
#define MAIN_CNT    0x0f0
#define TIM_CONF(n) (0x100 + 0x20 * (n))
#define TIM_STRIDE  0x20
#define TIM_COMP    0x08
#define TIM_FSB     0x10

#define ENABLE_CNF 1ull
#define LEG_RT_CNF 2ull

#define TN_INT_TYPE_CNF 0x0002ull
#define TN_INT_ENB_CNF  0x0004ull
#define TN_TYPE_CNF     0x0008ull
#define TN_PER_INT_CAP  0x0010ull
#define TN_SIZE_CAP     0x0020ull
#define TN_VAL_SET_CNF  0x0040ull
#define TN_32MODE_CNF   0x0100ull
#define TN_INT_ROUTE(c) ((unsigned)((c) >> 9) & 0x1f)
#define TN_WRITABLE     (TN_INT_TYPE_CNF | TN_INT_ENB_CNF | TN_TYPE_CNF | TN_32MODE_CNF | 0x3e00ull)
#define TN_ROUTE_CAP    0x00f00000ull /* IO-APIC pins 20..23 */

/* Revision 1, three timers, 64 bits, legacy capable; period in femtoseconds. */
#define HPET_CAPABILITY ((uint64_t)(HPET_TICK_NS * 1000000) << 32 | HPET_BLOCK_ID)

static int64_t hpet_now(const Hpet *s)
{
    return clock_now(s->dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL);
}

static uint64_t hpet_counter(const Hpet *s)
{
    if (!(s->config & ENABLE_CNF)) {
        return s->counter;
    }
    return s->counter + (uint64_t)(hpet_now(s) - s->start) / HPET_TICK_NS;
}

static bool hpet_32bit(const HpetTimer *t)
{
    return t->config & TN_32MODE_CNF;
}

static unsigned hpet_index(const HpetTimer *t)
{
    return (unsigned)(t - t->hpet->timers);
}

static IrqLine *hpet_line(const HpetTimer *t)
{
    const Hpet *s = t->hpet;
    unsigned n = hpet_index(t), route = TN_INT_ROUTE(t->config);
    if (n < 2 && (s->config & LEG_RT_CNF)) {
        return s->legacy[n];
    }
    return route < HPET_PINS && (TN_ROUTE_CAP >> route & 1) ? s->pins[route] : NULL;
}

/* Ticks from `counter` until the timer's comparator matches (a match now is a full turn away). */
static uint64_t hpet_distance(const HpetTimer *t, uint64_t counter)
{
    if (hpet_32bit(t)) {
        uint32_t d = (uint32_t)t->comparator - (uint32_t)counter;
        return d ? d : 1ull << 32;
    }
    uint64_t d = t->comparator - counter;
    return d ? d : UINT64_MAX;
}

static void hpet_arm(HpetTimer *t)
{
    Hpet *s = t->hpet;
    t->next = -1;
    if (!(s->config & ENABLE_CNF)) {
        timer_cancel(t->timer);
        return;
    }
    uint64_t ticks = hpet_distance(t, hpet_counter(s));
    int64_t now = hpet_now(s);
    if (ticks >= (uint64_t)(INT64_MAX / 2) / HPET_TICK_NS) {
        timer_cancel(t->timer);
        return;
    }
    t->next = now + (int64_t)ticks * HPET_TICK_NS;
    timer_set(t->timer, t->next);
}

static void hpet_fire(HpetTimer *t)
{
    Hpet *s = t->hpet;
    uint64_t bit = 1ull << hpet_index(t);
    if (t->config & TN_INT_TYPE_CNF) {
        s->status |= bit;
        if (t->config & TN_INT_ENB_CNF) {
            irq_raise(hpet_line(t));
        }
    } else if (t->config & TN_INT_ENB_CNF) {
        IrqLine *line = hpet_line(t);
        irq_lower(line);
        irq_raise(line);
        irq_lower(line);
    }
}

static void hpet_expired(void *opaque)
{
    HpetTimer *t = opaque;
    if (t->next < 0) {
        return;
    }
    if ((t->config & TN_TYPE_CNF) && t->period) {
        uint64_t period = MAX(t->period, 1000ull); /* 10 us: shorter ones only load the host */
        uint64_t behind = hpet_counter(t->hpet) - t->comparator;
        if (hpet_32bit(t)) {
            behind = (uint32_t)behind;
        }
        t->comparator += (behind / period + 1) * period;
        if (hpet_32bit(t)) {
            t->comparator = (uint32_t)t->comparator;
        }
    }
    hpet_fire(t);
    hpet_arm(t);
}

static void hpet_write_status(Hpet *s, uint64_t val)
{
    uint64_t cleared = s->status & val;
    s->status &= ~val;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        if (cleared >> n & 1) {
            irq_lower(hpet_line(&s->timers[n]));
        }
    }
}

static void hpet_write_config(Hpet *s, uint64_t val)
{
    uint64_t old = s->config;
    val &= ENABLE_CNF | LEG_RT_CNF;
    if ((old ^ val) & LEG_RT_CNF) {
        hpet_write_status(s, s->status);
        s->legacy_changed(s->opaque, val & LEG_RT_CNF);
    }
    if ((val & ENABLE_CNF) && !(old & ENABLE_CNF)) {
        s->start = hpet_now(s);
    } else if (!(val & ENABLE_CNF) && (old & ENABLE_CNF)) {
        s->counter = hpet_counter(s);
    }
    s->config = val;
    for (unsigned n = 0; n < HPET_TIMERS && ((old ^ val) & ENABLE_CNF); n++) {
        hpet_arm(&s->timers[n]);
    }
}

static void hpet_write_timer_config(HpetTimer *t, uint64_t val)
{
    if (t->hpet->status >> hpet_index(t) & 1) {
        irq_lower(hpet_line(t));
    }
    t->config = val & TN_WRITABLE;
    t->value_set = (val & TN_VAL_SET_CNF) && (val & TN_TYPE_CNF);
    if (hpet_32bit(t)) {
        t->comparator = (uint32_t)t->comparator;
        t->period = (uint32_t)t->period;
    }
    if ((t->hpet->status >> hpet_index(t) & 1) && (t->config & TN_INT_ENB_CNF)) {
        irq_raise(hpet_line(t));
    }
    hpet_arm(t);
}

static void hpet_write_comparator(HpetTimer *t, uint64_t val)
{
    if (hpet_32bit(t)) {
        val = (uint32_t)val;
    }
    bool periodic = t->config & TN_TYPE_CNF;
    if (!periodic || t->value_set) {
        t->comparator = val;
    }
    if (periodic) {
        t->period = val;
    }
    t->value_set = false;
    hpet_arm(t);
}

static uint64_t hpet_read_reg(Hpet *s, HwAddr reg)
{
    if (reg >= TIM_CONF(0) && reg < TIM_CONF(HPET_TIMERS)) {
        HpetTimer *t = &s->timers[(reg - TIM_CONF(0)) / TIM_STRIDE];
        switch ((reg - TIM_CONF(0)) % TIM_STRIDE) {
        case 0:
            return t->config | TN_PER_INT_CAP | TN_SIZE_CAP | TN_ROUTE_CAP << 32;
        case TIM_COMP:
            return t->comparator;
        default:
            return 0;
        }
    }
    switch (reg) {
    case GCAP_ID:
        return HPET_CAPABILITY;
    case GEN_CONF:
        return s->config;
    case GINTR_STS:
        return s->status;
    case MAIN_CNT:
        return hpet_counter(s);
    default:
        guest_error(&s->dev, "read of reserved offset 0x%" PRIx64, reg);
        return 0;
    }
}

static void hpet_write_reg(Hpet *s, HwAddr reg, uint64_t val)
{
    if (reg >= TIM_CONF(0) && reg < TIM_CONF(HPET_TIMERS)) {
        HpetTimer *t = &s->timers[(reg - TIM_CONF(0)) / TIM_STRIDE];
        unsigned which = (reg - TIM_CONF(0)) % TIM_STRIDE;
        if (which == 0) {
            hpet_write_timer_config(t, val);
        } else if (which == TIM_COMP) {
            hpet_write_comparator(t, val);
        }
        return;
    }
    switch (reg) {
    case GEN_CONF:
        hpet_write_config(s, val);
        break;
    case GINTR_STS:
        hpet_write_status(s, val);
        break;
    case MAIN_CNT:
        if (s->config & ENABLE_CNF) {
            guest_error(&s->dev, "main counter written while it runs");
        }
        s->counter = val;
        s->start = hpet_now(s);
        break;
    default:
        guest_error(&s->dev, "write to read-only or reserved offset 0x%" PRIx64, reg);
        break;
    }
}

static MemResult hpet_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    uint64_t whole = hpet_read_reg(opaque, addr & ~7ull);
    *val = size == 8 ? whole : (uint32_t)(whole >> (addr & 4 ? 32 : 0));
    return MEM_OK;
}

static MemResult hpet_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Hpet *s = opaque;
    HwAddr reg = addr & ~7ull;
    if (size == 8) {
        hpet_write_reg(s, reg, val);
        return MEM_OK;
    }
    bool high = addr & 4;
    bool comparator = reg >= TIM_CONF(0) && (reg & (TIM_STRIDE - 1)) == TIM_COMP;
    if (reg == GINTR_STS) {
        if (!high) {
            hpet_write_reg(s, reg, val);
        }
        return MEM_OK;
    }
    /* A low half written under VAL_SET begins a new value; its flag must serve the high half as well. */
    HpetTimer *t =
        comparator && reg < TIM_CONF(HPET_TIMERS) ? &s->timers[(reg - TIM_CONF(0)) / TIM_STRIDE] : NULL;
    bool value_set = t && t->value_set;
    uint64_t old =
        t ? (t->config & TN_TYPE_CNF && !value_set ? t->period : t->comparator) : hpet_read_reg(s, reg);
    unsigned shift = high ? 32 : 0;
    hpet_write_reg(s, reg, (old & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)(uint32_t)val << shift);
    if (value_set && !high && !hpet_32bit(t)) {
        t->value_set = false;
    }
    return MEM_OK;
}

static const MemOps hpet_ops = {.read = hpet_read, .write = hpet_write, .min_size = 4, .max_size = 8};

static void hpet_reset(Device *dev)
{
    Hpet *s = (Hpet *)dev;
    hpet_write_config(s, 0);
    hpet_write_status(s, s->status);
    s->counter = 0;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        HpetTimer *t = &s->timers[n];
        t->config = t->period = 0;
        t->comparator = UINT64_MAX;
        t->value_set = false;
        hpet_arm(t);
    }
}

static bool hpet_start(Device *dev, GError **error)
{
    Hpet *s = (Hpet *)dev;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        s->timers[n].hpet = s;
        s->timers[n].next = -1;
        s->timers[n].timer = timer_new(dev->home, CLOCK_KIND_VIRTUAL, hpet_expired, &s->timers[n]);
    }
    s->region = mem_region_new_io(dev->obj.machine->topo, "hpet", 0x400, &hpet_ops, s, dev->home);
    mem_region_add(s->memory, HPET_BASE, s->region);
    return true;
}

static void hpet_stop(Device *dev)
{
    Hpet *s = (Hpet *)dev;
    mem_region_del(s->memory, s->region);
    mem_region_retire(s->region);
    mem_region_unref(s->region);
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        timer_free(s->timers[n].timer);
    }
}

static bool hpet_post_load(void *instance, uint32_t version, GError **error)
{
    Hpet *s = instance;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        if ((s->status >> n & 1) && (s->timers[n].config & TN_INT_ENB_CNF)) {
            irq_raise(hpet_line(&s->timers[n]));
        }
        hpet_arm(&s->timers[n]);
    }
    return true;
}

static const StateField hpet_timer_fields[] = {
    STATE_FIELD_UINT(HpetTimer, config),
    STATE_FIELD_UINT(HpetTimer, comparator),
    STATE_FIELD_UINT(HpetTimer, period),
    STATE_FIELD_BOOL(HpetTimer, value_set),
    STATE_END,
};
static const StateTable hpet_timer_state = {.name = "hpet-timer", .version = 1, .fields = hpet_timer_fields};
static const StateField hpet_fields[] = {
    STATE_FIELD_UINT(Hpet, config),
    STATE_FIELD_UINT(Hpet, status),
    STATE_FIELD_UINT(Hpet, counter),
    STATE_FIELD_UINT(Hpet, start),
    STATE_FIELD_STRUCTS(Hpet, timers, &hpet_timer_state),
    STATE_END,
};
static const StateTable hpet_state = {
    .name = "hpet", .version = 1, .fields = hpet_fields, .post_load = hpet_post_load};

const DeviceModel hpet_model = {
    .model = {.name = "hpet",
              .doc = "High precision event timers.",
              .kind = MODEL_DEVICE,
              .size = sizeof(Hpet),
              .state = &hpet_state,
              .internal = true},
    .start = hpet_start,
    .reset = hpet_reset,
    .stop = hpet_stop,
};
