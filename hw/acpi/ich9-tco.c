/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The TCO timer of the ICH9 (data sheet 13.9): ten bits that count down in steps of 0.6 s. When they have run down once
 * TIMEOUT is set, and an SMI is due; when they have done so again without a reload, the machine is reset. Not there:
 * intruder detection, the SMLink's registers and the NMI of NMI_NOW.  The timer waits for the first reload, as firmware
 * that halts it would make it.
 */
#include "hw/acpi/ich9-tco.h"

#include "core/error.h"

#define TICK_NS 600000000ull

enum {
    TCO_RLD = 0x00,
    TCO_DAT_IN = 0x02,
    TCO_DAT_OUT = 0x03,
    TCO1_STS = 0x04,
    TCO2_STS = 0x06,
    TCO1_CNT = 0x08,
    TCO2_CNT = 0x0a,
    TCO_MESSAGE1 = 0x0c,
    TCO_MESSAGE2 = 0x0d,
    TCO_WDCNT = 0x0e,
    SW_IRQ_GEN = 0x10,
    TCO_TMR = 0x12
};

#define STS1_SW_TCO_SMI   0x0002
#define STS1_TCO_INT      0x0004
#define STS1_TIMEOUT      0x0008
#define STS1_CLEARS       0x178f /* bits that a written 1 clears */
#define STS2_SECOND_TO    0x0002
#define STS2_BOOT         0x0004
#define STS2_CLEARS       0x0017
#define CNT1_TMR_HLT      0x0800
#define CNT1_LOCK         0x1000
#define CNT1_BITS         (CNT1_LOCK | CNT1_TMR_HLT | 0x0200)
#define CNT2_BITS         0x003e
#define CNT2_DEFAULT      0x0008
#define SW_IRQ_BITS       0x03
#define SW_IRQ_DEFAULT    0x03
#define TMR_BITS          0x03ff
#define TMR_DEFAULT       0x0004
#define TMR_LEAST         2 /* smaller values are ignored */

static uint64_t tco_now(const Ich9Tco *s)
{
    return (uint64_t)clock_now(s->dev->obj.machine->clocks, CLOCK_KIND_VIRTUAL);
}

static bool tco_counts(const Ich9Tco *s)
{
    return s->loaded && !(s->cnt1 & CNT1_TMR_HLT);
}

/* Nanoseconds to zero. */
static uint64_t tco_left(const Ich9Tco *s)
{
    uint64_t now = tco_now(s);
    return !tco_counts(s) ? s->left : s->deadline > now ? s->deadline - now : 0;
}

static void tco_run(Ich9Tco *s, uint64_t left)
{
    s->left = left;
    s->deadline = 0;
    if (tco_counts(s)) {
        s->deadline = tco_now(s) + left;
        timer_set(s->expiry, (int64_t)s->deadline);
    } else {
        timer_cancel(s->expiry);
    }
}

static void tco_expired(void *opaque)
{
    Ich9Tco *s = opaque;
    bool second = s->second;

    s->second = !second;
    tco_run(s, s->tmr * TICK_NS);
    if (second) {
        s->sts2 |= STS2_SECOND_TO;
    } else {
        s->sts1 |= STS1_TIMEOUT;
    }
    s->timed_out(s->opaque, second);
}

void ich9_tco_stay(Ich9Tco *s)
{
    s->sts2 |= STS2_BOOT;
}

bool ich9_tco_locked(const Ich9Tco *s)
{
    return s->cnt1 & CNT1_LOCK;
}

/* --- registers --- */

static uint8_t tco_read_byte(const Ich9Tco *s, unsigned reg)
{
    const uint16_t count = s->loaded ? (uint16_t)((tco_left(s) + TICK_NS - 1) / TICK_NS) : 0;
    const uint16_t words[ICH9_TCO_SIZE / 2] = {
        [TCO_RLD / 2] = count,
        [TCO_DAT_IN / 2] = (uint16_t)(s->data_in | s->data_out << 8),
        [TCO1_STS / 2] = s->sts1,
        [TCO2_STS / 2] = s->sts2,
        [TCO1_CNT / 2] = s->cnt1,
        [TCO2_CNT / 2] = s->cnt2,
        [TCO_MESSAGE1 / 2] = (uint16_t)(s->message[0] | s->message[1] << 8),
        [TCO_WDCNT / 2] = s->wdcnt,
        [SW_IRQ_GEN / 2] = s->sw_irq,
        [TCO_TMR / 2] = s->tmr,
    };
    return (uint8_t)(words[reg / 2] >> 8 * (reg & 1));
}

static MemResult tco_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = 0;
    for (unsigned i = 0; i < size; i++) {
        *val |= (uint64_t)tco_read_byte(opaque, (unsigned)addr + i) << 8 * i;
    }
    return MEM_OK;
}

static void tco_write_cnt1(Ich9Tco *s, uint16_t val)
{
    uint64_t left = tco_left(s);

    s->cnt1 = (val & CNT1_BITS) | (s->cnt1 & CNT1_LOCK);
    tco_run(s, left);
}

/* `val` holds the register's present bits where a byte of it was written, but for those that a 1 clears: 0. */
static void tco_write_word(Ich9Tco *s, unsigned reg, uint16_t val)
{
    switch (reg) {
    case TCO1_STS:
        s->sts1 &= (uint16_t)~(val & STS1_CLEARS);
        break;
    case TCO2_STS:
        s->sts2 &= (uint16_t)~(val & STS2_CLEARS);
        break;
    case TCO1_CNT:
        tco_write_cnt1(s, val);
        break;
    case TCO2_CNT:
        s->cnt2 = val & CNT2_BITS;
        break;
    case TCO_MESSAGE1:
        s->message[0] = (uint8_t)val;
        s->message[1] = (uint8_t)(val >> 8);
        break;
    case TCO_WDCNT:
        s->wdcnt = (uint8_t)val;
        break;
    case SW_IRQ_GEN:
        s->sw_irq = val & SW_IRQ_BITS;
        break;
    case TCO_TMR:
        s->tmr = (val & TMR_BITS) >= TMR_LEAST ? val & TMR_BITS : s->tmr;
        break;
    default:
        guest_error(s->dev, "write to reserved offset 0x%x of the TCO registers", reg);
        break;
    }
}

/* The bytes of one word that an access covers. */
static void tco_write_part(Ich9Tco *s, unsigned reg, uint16_t val, uint16_t mask)
{
    uint16_t keep = (uint16_t)(tco_read_byte(s, reg) | tco_read_byte(s, reg + 1) << 8) & (uint16_t)~mask;

    if (reg == TCO_RLD) {
        s->loaded = true;
        s->second = false;
        tco_run(s, s->tmr * TICK_NS);
    } else if (reg == TCO_DAT_IN) {
        if (mask & 0x00ff) { /* from the system's software to the handler of SMIs */
            s->data_in = (uint8_t)val;
            s->sts1 |= STS1_SW_TCO_SMI;
            s->interrupt(s->opaque);
        }
        if (mask & 0xff00) { /* and back */
            s->data_out = (uint8_t)(val >> 8);
            s->sts1 |= STS1_TCO_INT;
        }
    } else {
        tco_write_word(s, reg, reg == TCO1_STS || reg == TCO2_STS ? val & mask : (uint16_t)((val & mask) | keep));
    }
}

static MemResult tco_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    uint64_t shifted = val << 8 * (addr & 1), mask = ((1ull << 8 * size) - 1) << 8 * (addr & 1);

    for (unsigned reg = (unsigned)addr & ~1u; mask; reg += 2, shifted >>= 16, mask >>= 16) {
        if ((mask & 0xffff) && reg < ICH9_TCO_SIZE) {
            tco_write_part(opaque, reg, (uint16_t)shifted, (uint16_t)mask);
        }
    }
    return MEM_OK;
}

static const MemOps tco_ops = {.read = tco_read, .write = tco_write, .min_size = 1, .max_size = 4};

/* --- life --- */

void ich9_tco_start(Ich9Tco *s)
{
    s->expiry = timer_new(s->dev->home, CLOCK_KIND_VIRTUAL, tco_expired, s);
    s->region = mem_region_new_io(s->dev->obj.machine->topo, "ich9-tco", ICH9_TCO_SIZE, &tco_ops, s, s->dev->home);
}

void ich9_tco_stop(Ich9Tco *s)
{
    mem_region_retire(s->region);
    mem_region_unref(s->region);
    timer_free(s->expiry);
}

void ich9_tco_reset(Ich9Tco *s)
{
    s->loaded = s->second = false;
    s->sts1 = s->cnt1 = 0;
    s->cnt2 = CNT2_DEFAULT;
    s->tmr = TMR_DEFAULT;
    s->data_in = s->data_out = s->message[0] = s->message[1] = s->wdcnt = 0;
    s->sw_irq = SW_IRQ_DEFAULT;
    tco_run(s, 0);
}

static bool tco_post_load(void *instance, uint32_t version, GError **error)
{
    Ich9Tco *s = instance;

    if (s->tmr < TMR_LEAST || s->tmr > TMR_BITS) {
        error_set(error, "ich9-tco: no such time (%u, allowed %d..%d)", s->tmr, TMR_LEAST, TMR_BITS);
        return false;
    }
    if (tco_counts(s)) {
        timer_set(s->expiry, (int64_t)s->deadline);
    } else {
        timer_cancel(s->expiry);
    }
    return true;
}

static const StateField tco_fields[] = {
    STATE_FIELD_UINT(Ich9Tco, sts1),
    STATE_FIELD_UINT(Ich9Tco, sts2),
    STATE_FIELD_UINT(Ich9Tco, cnt1),
    STATE_FIELD_UINT(Ich9Tco, cnt2),
    STATE_FIELD_UINT(Ich9Tco, tmr),
    STATE_FIELD_UINT(Ich9Tco, data_in),
    STATE_FIELD_UINT(Ich9Tco, data_out),
    STATE_FIELD_ARRAY(Ich9Tco, message),
    STATE_FIELD_UINT(Ich9Tco, wdcnt),
    STATE_FIELD_UINT(Ich9Tco, sw_irq),
    STATE_FIELD_BOOL(Ich9Tco, loaded),
    STATE_FIELD_BOOL(Ich9Tco, second),
    STATE_FIELD_DEADLINE(Ich9Tco, deadline),
    STATE_FIELD_UINT(Ich9Tco, left),
    STATE_END,
};
const StateTable ich9_tco_state = {.name = "ich9-tco", .version = 1, .fields = tco_fields, .post_load = tco_post_load};
