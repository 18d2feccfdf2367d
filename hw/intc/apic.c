/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC: registers, local vector table, priorities and what its CPU
 * asks of it (SDM volume 3, chapter 11).  The timer is in apic-timer.c, the
 * message bus in apic-bus.c.
 */
#include <inttypes.h>
#include <string.h>

#include "apic-internal.h"

static bool bitmap_test(const uint32_t *map, unsigned n)
{
    return map[n >> 5] >> (n & 31) & 1;
}

static void bitmap_assign(uint32_t *map, unsigned n, bool on)
{
    uint32_t bit = 1u << (n & 31);
    map[n >> 5] = on ? map[n >> 5] | bit : map[n >> 5] & ~bit;
}

/* Highest set bit of 256, or -1. */
static int bitmap_highest(const uint32_t *map)
{
    for (int i = 7; i >= 0; i--) {
        if (map[i]) {
            return i * 32 + 31 - __builtin_clz(map[i]);
        }
    }
    return -1;
}

static uint32_t apic_ppr(const Apic *s)
{
    int isr = bitmap_highest(s->isr);
    uint32_t in_service = isr < 0 ? 0 : (uint32_t)isr & 0xf0;
    return (s->tpr & 0xf0) >= in_service ? s->tpr : in_service;
}

/* The vector to hand to the CPU now, or -1. */
static int apic_deliverable(const Apic *s)
{
    if (!(s->base_msr & APIC_BASE_ENABLE) || !(s->svr & APIC_SVR_ENABLE)) {
        return -1;
    }
    int irr = bitmap_highest(s->irr);
    return irr >= 0 && ((uint32_t)irr & 0xf0) > (apic_ppr(s) & 0xf0) ? irr : -1;
}

/* The 8259 reaches the CPU through LINT0, or directly while the APIC is off (SDM 11.4.3). */
static bool apic_extint(const Apic *s)
{
    if (!s->extint_line) {
        return false;
    }
    if (!(s->base_msr & APIC_BASE_ENABLE)) {
        return true;
    }
    uint32_t lvt = s->lvt[APIC_LVT_LINT0];
    return !(lvt & APIC_LVT_MASKED) && ((lvt >> APIC_LVT_MODE_SHIFT) & 7) == APIC_EXTINT;
}

static void apic_signal(Apic *s, X86CpuIrq irq, bool level)
{
    if (s->vcpu) {
        s->vcpu->accel->ops->vcpu_irq(s->vcpu, irq, level);
    }
}

void apic_update(Apic *s)
{
    bool out = apic_deliverable(s) >= 0 || apic_extint(s);
    if (out != s->intr_out) {
        s->intr_out = out;
        apic_signal(s, X86_IRQ_HARD, out);
    }
}

static void apic_request(Apic *s, uint8_t vector, bool level)
{
    if (vector < 16) {
        apic_note_error(s, APIC_ESR_RECV_ILLEGAL);
        return;
    }
    bitmap_assign(s->irr, vector, true);
    bitmap_assign(s->tmr, vector, level);
    apic_update(s);
}

void apic_note_error(Apic *s, uint32_t bit)
{
    bool first = !(s->esr_pending & bit);
    s->esr_pending |= bit;
    /* An illegal vector in the error entry itself must not recurse. */
    if (first && (s->lvt[APIC_LVT_ERROR] & APIC_LVT_VECTOR) >= 16) {
        apic_deliver_lvt(s, APIC_LVT_ERROR);
    }
}

void apic_deliver_lvt(Apic *s, unsigned lvt)
{
    uint32_t entry = s->lvt[lvt];
    if ((entry & APIC_LVT_MASKED) || !(s->base_msr & APIC_BASE_ENABLE)) {
        return;
    }
    bool vector_only = lvt == APIC_LVT_TIMER || lvt == APIC_LVT_ERROR;
    switch (vector_only ? APIC_FIXED : (entry >> APIC_LVT_MODE_SHIFT) & 7) {
    case APIC_FIXED:
        apic_request(s, (uint8_t)entry, false);
        break;
    case APIC_NMI:
        apic_signal(s, X86_IRQ_NMI, true);
        break;
    case APIC_SMI:
        apic_signal(s, X86_IRQ_SMI, true);
        break;
    default:
        break;
    }
}

static void apic_reset_registers(Apic *s)
{
    apic_timer_stop(s);
    s->tpr = s->ldr = s->esr = s->esr_pending = s->icr_lo = s->icr_hi = 0;
    s->dfr = UINT32_MAX;
    s->svr = 0xff;
    memset(s->isr, 0, sizeof(s->isr));
    memset(s->tmr, 0, sizeof(s->tmr));
    memset(s->irr, 0, sizeof(s->irr));
    for (unsigned i = 0; i < APIC_LVT_COUNT; i++) {
        s->lvt[i] = APIC_LVT_MASKED;
    }
    s->initial_count = s->divide_config = 0;
    s->tsc_deadline = 0;
    apic_update(s);
}

static void apic_eoi(Apic *s)
{
    int vector = bitmap_highest(s->isr);
    bool broadcast = false;
    if (vector >= 0) {
        bitmap_assign(s->isr, (unsigned)vector, false);
        broadcast = bitmap_test(s->tmr, (unsigned)vector);
        apic_update(s);
    }
    if (broadcast && s->bus->ops->eoi) {
        g_mutex_unlock(&s->lock);
        s->bus->ops->eoi(s->bus->opaque, (uint8_t)vector);
        g_mutex_lock(&s->lock);
    }
}

static const uint32_t apic_lvt_writable[APIC_LVT_COUNT] = {0x700ff, 0x107ff, 0x107ff,
                                                           0x1a7ff, 0x1a7ff, 0x100ff};

static void apic_write_lvt(Apic *s, unsigned n, uint32_t val)
{
    unsigned old_mode = apic_timer_mode(s);
    val &= apic_lvt_writable[n];
    if (!(s->svr & APIC_SVR_ENABLE)) {
        val |= APIC_LVT_MASKED;
    }
    s->lvt[n] = val;
    if (n == APIC_LVT_TIMER && apic_timer_mode(s) != old_mode) {
        apic_timer_reconfigured(s, old_mode);
    }
    apic_update(s);
}

static void apic_write_svr(Apic *s, uint32_t val)
{
    s->svr = val & 0x1ff;
    if (!(val & APIC_SVR_ENABLE)) {
        for (unsigned i = 0; i < APIC_LVT_COUNT; i++) {
            s->lvt[i] |= APIC_LVT_MASKED;
        }
    }
    apic_update(s);
}

static uint32_t apic_x2_ldr(const Apic *s)
{
    return (s->first_id >> 4) << 16 | 1u << (s->first_id & 15);
}

static bool apic_read_locked(Apic *s, unsigned reg, uint32_t *val)
{
    if (reg >= APIC_REG_ISR0 && reg < APIC_REG_ESR) {
        unsigned n = (reg - APIC_REG_ISR0) & 7;
        *val = reg < APIC_REG_TMR0 ? s->isr[n] : reg < APIC_REG_IRR0 ? s->tmr[n] : s->irr[n];
        return true;
    }
    if (reg >= APIC_REG_LVT0 && reg < APIC_REG_LVT0 + APIC_LVT_COUNT) {
        *val = s->lvt[reg - APIC_REG_LVT0];
        return true;
    }
    const struct {
        unsigned reg;
        uint32_t val;
    } plain[] = {
        {APIC_REG_ID, apic_x2(s) ? s->first_id : s->id << 24},
        {APIC_REG_VERSION, APIC_VERSION},
        {APIC_REG_TPR, s->tpr},
        {APIC_REG_APR, 0},
        {APIC_REG_RRD, 0},
        {APIC_REG_LDR, apic_x2(s) ? apic_x2_ldr(s) : s->ldr},
        {APIC_REG_DFR, s->dfr},
        {APIC_REG_SVR, s->svr},
        {APIC_REG_ESR, s->esr},
        {APIC_REG_ICR_LO, s->icr_lo},
        {APIC_REG_ICR_HI, s->icr_hi},
        {APIC_REG_TIMER_INITIAL, s->initial_count},
        {APIC_REG_TIMER_DIVIDE, s->divide_config},
    };
    if (reg == APIC_REG_PPR) {
        *val = apic_ppr(s);
        return true;
    }
    if (reg == APIC_REG_TIMER_CURRENT) {
        *val = apic_timer_current(s);
        return true;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(plain); i++) {
        if (plain[i].reg == reg) {
            *val = plain[i].val;
            return true;
        }
    }
    *val = 0;
    return false;
}

static bool apic_write_locked(Apic *s, unsigned reg, uint32_t val)
{
    if (reg >= APIC_REG_LVT0 && reg < APIC_REG_LVT0 + APIC_LVT_COUNT) {
        apic_write_lvt(s, reg - APIC_REG_LVT0, val);
        return true;
    }
    switch (reg) {
    case APIC_REG_ID:
        s->id = val >> 24;
        return true;
    case APIC_REG_TPR:
        s->tpr = val & 0xff;
        apic_update(s);
        return true;
    case APIC_REG_EOI:
        apic_eoi(s);
        return true;
    case APIC_REG_LDR:
        s->ldr = val & 0xff000000;
        return true;
    case APIC_REG_DFR:
        s->dfr = val | 0x0fffffff;
        return true;
    case APIC_REG_SVR:
        apic_write_svr(s, val);
        return true;
    case APIC_REG_ESR:
        s->esr = s->esr_pending;
        s->esr_pending = 0;
        return true;
    case APIC_REG_ICR_HI:
        s->icr_hi = val;
        return true;
    case APIC_REG_TIMER_INITIAL:
        apic_timer_load(s, val);
        return true;
    case APIC_REG_TIMER_DIVIDE:
        s->divide_config = val & 0xb;
        apic_timer_reconfigured(s, apic_timer_mode(s));
        return true;
    default:
        return false;
    }
}

bool apic_reg_read(Apic *s, unsigned reg, uint32_t *val)
{
    g_mutex_lock(&s->lock);
    bool ok = apic_read_locked(s, reg, val);
    if (!ok) {
        apic_note_error(s, APIC_ESR_ILLEGAL_REG);
    }
    g_mutex_unlock(&s->lock);
    return ok;
}

bool apic_reg_write(Apic *s, unsigned reg, uint32_t val)
{
    g_mutex_lock(&s->lock);
    if (reg == APIC_REG_ICR_LO) {
        uint32_t hi = s->icr_hi;
        g_mutex_unlock(&s->lock);
        apic_write_icr(s, hi, val, false);
        return true;
    }
    bool ok = apic_write_locked(s, reg, val);
    if (!ok) {
        apic_note_error(s, APIC_ESR_ILLEGAL_REG);
    }
    g_mutex_unlock(&s->lock);
    return ok;
}

void apic_accept(Apic *s, const ApicMessage *msg)
{
    g_mutex_lock(&s->lock);
    if (!(s->base_msr & APIC_BASE_ENABLE)) {
        g_mutex_unlock(&s->lock);
        return;
    }
    switch (msg->mode) {
    case APIC_FIXED:
    case APIC_LOWEST:
        if (s->svr & APIC_SVR_ENABLE) {
            apic_request(s, msg->vector, msg->level);
        }
        break;
    case APIC_SMI:
        apic_signal(s, X86_IRQ_SMI, true);
        break;
    case APIC_NMI:
        apic_signal(s, X86_IRQ_NMI, true);
        break;
    case APIC_INIT:
        apic_reset_registers(s);
        apic_signal(s, X86_IRQ_INIT, true);
        break;
    case APIC_SIPI:
        if (s->vcpu) {
            s->vcpu->accel->ops->vcpu_sipi(s->vcpu, msg->vector);
        }
        break;
    default: /* ExtINT as a message needs the 8259 as its source: only LINT0 brings it here */
        break;
    }
    g_mutex_unlock(&s->lock);
}

bool apic_matches(Apic *s, const ApicMessage *msg)
{
    if (msg->dest == (msg->x2apic ? UINT32_MAX : 0xff)) {
        return true;
    }
    g_mutex_lock(&s->lock);
    bool match;
    if (!msg->logical) {
        match = msg->dest == (apic_x2(s) ? s->first_id : s->id);
    } else if (apic_x2(s)) {
        /* An 8-bit logical destination addresses cluster 0 of x2APICs. */
        uint32_t ldr = apic_x2_ldr(s);
        match = msg->dest >> 16 == ldr >> 16 && (msg->dest & ldr & 0xffff);
    } else if (s->dfr >> 28 == 0xf) {
        match = msg->dest & (s->ldr >> 24);
    } else {
        match =
            (msg->dest >> 4 == s->ldr >> 28 || msg->dest >> 4 == 0xf) && (msg->dest & (s->ldr >> 24) & 0xf);
    }
    g_mutex_unlock(&s->lock);
    return match;
}

unsigned apic_priority(Apic *s)
{
    g_mutex_lock(&s->lock);
    unsigned priority = apic_ppr(s) >> 4;
    g_mutex_unlock(&s->lock);
    return priority;
}

void apic_set_extint(Apic *s, int level)
{
    g_mutex_lock(&s->lock);
    s->extint_line = level;
    if (s->bus->accel) {
        apic_signal(s, X86_IRQ_HARD, level);
    } else {
        apic_update(s);
    }
    g_mutex_unlock(&s->lock);
}

void apic_setup_virtual_wire(Apic *s)
{
    g_mutex_lock(&s->lock);
    s->svr = APIC_SVR_ENABLE | 0xff;
    s->lvt[APIC_LVT_LINT0] = APIC_EXTINT << APIC_LVT_MODE_SHIFT;
    s->lvt[APIC_LVT_LINT1] = APIC_NMI << APIC_LVT_MODE_SHIFT;
    apic_update(s);
    g_mutex_unlock(&s->lock);
    apic_accel_put(s);
}

/* --- what the CPU asks; on its thread --- */

static int apic_cpu_intr_ack(void *opaque)
{
    Apic *s = opaque;
    g_mutex_lock(&s->lock);
    /* An accelerator's local APIC delivers its own; it asks for the 8259's only. */
    int vector = s->bus->accel ? -1 : apic_deliverable(s);
    bool extint = s->bus->accel ? s->extint_line : vector < 0 && apic_extint(s);
    if (vector >= 0) {
        bitmap_assign(s->irr, (unsigned)vector, false);
        bitmap_assign(s->isr, (unsigned)vector, true);
    }
    if (!s->bus->accel) {
        apic_update(s);
    }
    g_mutex_unlock(&s->lock);
    return extint && s->bus->ops->extint_ack ? s->bus->ops->extint_ack(s->bus->opaque) : vector;
}

static uint64_t apic_cpu_get_cr8(void *opaque)
{
    Apic *s = opaque;
    g_mutex_lock(&s->lock);
    uint64_t val = s->tpr >> 4;
    g_mutex_unlock(&s->lock);
    return val;
}

static void apic_cpu_set_cr8(void *opaque, uint64_t val)
{
    Apic *s = opaque;
    g_mutex_lock(&s->lock);
    s->tpr = (uint32_t)(val & 0xf) << 4;
    apic_update(s);
    g_mutex_unlock(&s->lock);
}

static uint64_t apic_cpu_get_base(void *opaque)
{
    Apic *s = opaque;
    g_mutex_lock(&s->lock);
    uint64_t val = s->base_msr;
    g_mutex_unlock(&s->lock);
    return val;
}

static bool apic_cpu_set_base(void *opaque, uint64_t val)
{
    Apic *s = opaque;
    const uint64_t mode = APIC_BASE_ENABLE | APIC_BASE_EXTD;
    if ((val & ~(APIC_BASE_ADDRESS | APIC_BASE_BSP | mode)) || (val & mode) == APIC_BASE_EXTD) {
        return false;
    }
    g_mutex_lock(&s->lock);
    uint64_t old = s->base_msr & mode;
    /* x2APIC is entered from xAPIC only and left only by disabling (SDM 11.12.5). */
    bool ok = (val & mode) == mode ? old != 0 : !(old == mode && (val & mode));
    if (ok) {
        s->base_msr = val;
        if (!(val & APIC_BASE_ENABLE)) {
            apic_reset_registers(s);
        }
        apic_update(s);
    }
    g_mutex_unlock(&s->lock);
    if (ok && (val & APIC_BASE_ADDRESS) != APIC_DEFAULT_BASE) {
        guest_error(&s->dev,
                    "APIC base moved to 0x%"
                    "llx; registers stay at 0x%llx",
                    val & APIC_BASE_ADDRESS, APIC_DEFAULT_BASE);
    }
    return ok;
}

/* Registers of the MMIO page that x2APIC mode does not have. */
static bool apic_x2_absent(unsigned reg)
{
    return reg == APIC_REG_DFR || reg == APIC_REG_ICR_HI || reg == APIC_REG_APR || reg == APIC_REG_RRD;
}

static bool apic_cpu_x2_read(void *opaque, uint32_t msr, uint64_t *val)
{
    Apic *s = opaque;
    unsigned reg = msr - 0x800;
    uint32_t low = 0;
    g_mutex_lock(&s->lock);
    bool ok = apic_x2(s) && !apic_x2_absent(reg) && apic_read_locked(s, reg, &low);
    *val = ok && reg == APIC_REG_ICR_LO ? (uint64_t)s->icr_hi << 32 | low : low;
    g_mutex_unlock(&s->lock);
    return ok;
}

static bool apic_cpu_x2_write(void *opaque, uint32_t msr, uint64_t val)
{
    Apic *s = opaque;
    unsigned reg = msr - 0x800;
    g_mutex_lock(&s->lock);
    bool x2 = apic_x2(s);
    g_mutex_unlock(&s->lock);
    if (!x2 || apic_x2_absent(reg) || reg == APIC_REG_ID || reg == APIC_REG_LDR) {
        return false;
    }
    if (reg == APIC_REG_ICR_LO) {
        apic_write_icr(s, (uint32_t)(val >> 32), (uint32_t)val, true);
        return true;
    }
    if (val >> 32 || ((reg == APIC_REG_EOI || reg == APIC_REG_ESR) && val)) {
        return false;
    }
    if (reg == APIC_REG_SELF_IPI) {
        apic_accept(s, &(ApicMessage){.mode = APIC_FIXED, .vector = (uint8_t)val});
        return true;
    }
    return apic_reg_write(s, reg, (uint32_t)val);
}

static uint64_t apic_cpu_get_tsc_deadline(void *opaque)
{
    Apic *s = opaque;
    uint64_t tsc;
    g_mutex_lock(&s->lock);
    tsc = s->tsc_deadline;
    g_mutex_unlock(&s->lock);
    return tsc;
}

static void apic_cpu_set_tsc_deadline(void *opaque, uint64_t tsc)
{
    Apic *s = opaque;
    g_mutex_lock(&s->lock);
    apic_timer_set_deadline(s, tsc);
    g_mutex_unlock(&s->lock);
}

static void apic_cpu_eoi(void *opaque, uint8_t vector)
{
    Apic *s = opaque;
    if (s->bus->ops->eoi) {
        s->bus->ops->eoi(s->bus->opaque, vector);
    }
}

const VcpuApicOps apic_vcpu_ops = {
    .eoi = apic_cpu_eoi,
    .intr_ack = apic_cpu_intr_ack,
    .get_cr8 = apic_cpu_get_cr8,
    .set_cr8 = apic_cpu_set_cr8,
    .get_base = apic_cpu_get_base,
    .set_base = apic_cpu_set_base,
    .x2apic_read = apic_cpu_x2_read,
    .x2apic_write = apic_cpu_x2_write,
    .get_tsc_deadline = apic_cpu_get_tsc_deadline,
    .set_tsc_deadline = apic_cpu_set_tsc_deadline,
};

/* --- the device --- */

static bool apic_start(Device *dev, GError **error)
{
    Apic *s = (Apic *)dev;
    g_mutex_init(&s->lock);
    s->timer_next = -1;
    s->timer = timer_new(dev->home, CLOCK_KIND_VIRTUAL, apic_timer_expired, s);
    return true;
}

static void apic_reset(Device *dev)
{
    Apic *s = (Apic *)dev;
    g_mutex_lock(&s->lock);
    s->base_msr = APIC_DEFAULT_BASE | APIC_BASE_ENABLE | (s->index == 0 ? APIC_BASE_BSP : 0);
    s->id = s->first_id & 0xff;
    apic_reset_registers(s);
    g_mutex_unlock(&s->lock);
    apic_accel_put(s);
}

static void apic_stop(Device *dev)
{
    Apic *s = (Apic *)dev;
    timer_free(s->timer);
    g_mutex_clear(&s->lock);
}

static bool apic_post_load(void *instance, uint32_t version, GError **error)
{
    Apic *s = instance;
    if (s->bus->accel) {
        apic_accel_put(s);
        apic_signal(s, X86_IRQ_HARD, s->extint_line);
        return true;
    }
    if (s->timer_next >= 0) {
        timer_set(s->timer, s->timer_next);
    } else {
        timer_cancel(s->timer);
    }
    apic_signal(s, X86_IRQ_HARD, s->intr_out);
    return true;
}

static const StateField apic_fields[] = {
    STATE_FIELD_UINT(Apic, base_msr),      STATE_FIELD_UINT(Apic, id),
    STATE_FIELD_UINT(Apic, tpr),           STATE_FIELD_UINT(Apic, ldr),
    STATE_FIELD_UINT(Apic, dfr),           STATE_FIELD_UINT(Apic, svr),
    STATE_FIELD_UINT(Apic, esr),           STATE_FIELD_UINT(Apic, esr_pending),
    STATE_FIELD_ARRAY(Apic, isr),          STATE_FIELD_ARRAY(Apic, tmr),
    STATE_FIELD_ARRAY(Apic, irr),          STATE_FIELD_UINT(Apic, icr_lo),
    STATE_FIELD_UINT(Apic, icr_hi),        STATE_FIELD_ARRAY(Apic, lvt),
    STATE_FIELD_UINT(Apic, initial_count), STATE_FIELD_UINT(Apic, divide_config),
    STATE_FIELD_UINT(Apic, count_start),   STATE_FIELD_UINT(Apic, timer_next),
    STATE_FIELD_UINT(Apic, tsc_deadline),  STATE_FIELD_BOOL(Apic, extint_line),
    STATE_FIELD_BOOL(Apic, intr_out),      STATE_END,
};
static void apic_pre_save(void *instance)
{
    apic_accel_fetch(instance);
}

static const StateTable apic_state = {
    .name = "apic", .version = 1, .fields = apic_fields, .pre_save = apic_pre_save, .post_load = apic_post_load};

const DeviceModel apic_model = {
    .model = {.name = "apic",
              .doc = "Local APIC of one CPU.",
              .kind = MODEL_DEVICE,
              .size = sizeof(Apic),
              .state = &apic_state,
              .internal = true},
    .start = apic_start,
    .reset = apic_reset,
    .stop = apic_stop,
};
