/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The MC146818 real-time clock and its CMOS memory at ports 70h and 71h
 * (Motorola MC146818 data sheet; ICH9 data sheet 5.11 for the century byte).  The
 * clock is one of the host's or the guest's time (-rtc clock=) plus an offset the
 * guest sets; periodic interrupts follow guest time.
 */
#include "hw/rtc/mc146818.h"

#include <time.h>

#define NS_PER_S 1000000000ll

enum {
    RTC_SECONDS,
    RTC_SECONDS_ALARM,
    RTC_MINUTES,
    RTC_MINUTES_ALARM,
    RTC_HOURS,
    RTC_HOURS_ALARM,
    RTC_DAY_OF_WEEK,
    RTC_DAY_OF_MONTH,
    RTC_MONTH,
    RTC_YEAR,
    RTC_REG_A,
    RTC_REG_B,
    RTC_REG_C,
    RTC_REG_D
};

#define RTC_CENTURY    0x32
#define CMOS_EQUIPMENT 0x14
#define CMOS_BASE_KB   0x15
#define CMOS_EXT_KB    0x17
#define CMOS_EXT_KB2   0x30
#define CMOS_EXT_64K   0x34
#define CMOS_HIGH_64K  0x5b

#define REG_A_UIP  0x80
#define REG_A_DV   0x70
#define REG_A_RS   0x0f
#define REG_B_SET  0x80
#define REG_B_PIE  0x40
#define REG_B_AIE  0x20
#define REG_B_UIE  0x10
#define REG_B_DM   0x04 /* binary */
#define REG_B_24H  0x02
#define REG_C_IRQF 0x80
#define REG_C_PF   0x40
#define REG_C_AF   0x20
#define REG_C_UF   0x10
#define REG_D_VRT  0x80

/* The update takes 1984 us and is announced 244 us before (data sheet, "update cycle"). */
#define RTC_UIP_NS 2228000

#define RTC_HOURS_PM  0x80
#define RTC_ALARM_ANY 0xc0

/* ns from 1970: the centuries that it can count. */
#define RTC_YEAR_1900 (INT64_C(-2208988800) * NS_PER_S)
#define RTC_YEAR_2200 (INT64_C(7258118400) * NS_PER_S)

/* After so many lost periodic interrupts the guest's own idea of time is beyond help. */
#define RTC_LOST_MAX 100000

static ClockKind rtc_clock(const Rtc *s)
{
    static const ClockKind kinds[] = {
        [RTC_CLOCK_HOST] = CLOCK_KIND_HOST, [RTC_CLOCK_VM] = CLOCK_KIND_VIRTUAL, [RTC_CLOCK_RT] = CLOCK_KIND_REALTIME};

    return kinds[s->dev.obj.machine->rtc.clock];
}

static int64_t rtc_reference(const Rtc *s)
{
    return clock_now(s->dev.obj.machine->clocks, rtc_clock(s));
}

static int64_t rtc_now(const Rtc *s)
{
    return rtc_reference(s) + s->offset;
}

static int64_t rtc_second(int64_t ns)
{
    return ns >= 0 ? ns / NS_PER_S : -((-ns + NS_PER_S - 1) / NS_PER_S);
}

static uint8_t rtc_encode(const Rtc *s, int v)
{
    return (uint8_t)(s->cmos[RTC_REG_B] & REG_B_DM ? v : v / 10 << 4 | v % 10);
}

static int rtc_decode(const Rtc *s, uint8_t v)
{
    return s->cmos[RTC_REG_B] & REG_B_DM ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t rtc_encode_hour(const Rtc *s, int hour)
{
    if (s->cmos[RTC_REG_B] & REG_B_24H) {
        return rtc_encode(s, hour);
    }
    return rtc_encode(s, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? RTC_HOURS_PM : 0);
}

static int rtc_decode_hour(const Rtc *s, uint8_t v)
{
    if (s->cmos[RTC_REG_B] & REG_B_24H) {
        return rtc_decode(s, v);
    }
    return rtc_decode(s, v & 0x7f) % 12 + (v & RTC_HOURS_PM ? 12 : 0);
}

/* Time registers from the running clock. */
static void rtc_latch_time(Rtc *s)
{
    if (s->cmos[RTC_REG_B] & REG_B_SET) {
        return;
    }
    time_t second = (time_t)rtc_second(rtc_now(s));
    struct tm tm;
    if (!gmtime_r(&second, &tm)) {
        return;
    }
    s->cmos[RTC_SECONDS] = rtc_encode(s, tm.tm_sec);
    s->cmos[RTC_MINUTES] = rtc_encode(s, tm.tm_min);
    s->cmos[RTC_HOURS] = rtc_encode_hour(s, tm.tm_hour);
    s->cmos[RTC_DAY_OF_WEEK] = rtc_encode(s, tm.tm_wday + 1);
    s->cmos[RTC_DAY_OF_MONTH] = rtc_encode(s, tm.tm_mday);
    s->cmos[RTC_MONTH] = rtc_encode(s, tm.tm_mon + 1);
    s->cmos[RTC_YEAR] = rtc_encode(s, tm.tm_year % 100);
    s->cmos[RTC_CENTURY] = rtc_encode(s, (tm.tm_year + 1900) / 100 % 100);
}

/* One that a guest forgot in the other number format, or made up, is this one: the clock counts nanoseconds, up to 2262. */
static int rtc_century(const Rtc *s)
{
    int century = rtc_decode(s, s->cmos[RTC_CENTURY]);
    return century >= 19 && century <= 21 ? century : 20;
}

/* The running clock from the time registers. */
static void rtc_set_time(Rtc *s)
{
    struct tm tm = {
        .tm_sec = rtc_decode(s, s->cmos[RTC_SECONDS]),
        .tm_min = rtc_decode(s, s->cmos[RTC_MINUTES]),
        .tm_hour = rtc_decode_hour(s, s->cmos[RTC_HOURS]),
        .tm_mday = rtc_decode(s, s->cmos[RTC_DAY_OF_MONTH]),
        .tm_mon = rtc_decode(s, s->cmos[RTC_MONTH]) - 1,
        .tm_year = rtc_century(s) * 100 + rtc_decode(s, s->cmos[RTC_YEAR]) - 1900,
    };
    s->offset = (int64_t)timegm(&tm) * NS_PER_S - rtc_reference(s);
    s->update_seen = rtc_second(rtc_now(s));
}

static bool rtc_alarm_field(uint8_t alarm, uint8_t now)
{
    return (alarm & RTC_ALARM_ANY) == RTC_ALARM_ANY || alarm == now;
}

static void rtc_flag(Rtc *s, uint8_t flags)
{
    s->cmos[RTC_REG_C] |= flags;
    if (s->cmos[RTC_REG_C] & s->cmos[RTC_REG_B] & (REG_C_PF | REG_C_AF | REG_C_UF)) {
        s->cmos[RTC_REG_C] |= REG_C_IRQF;
        irq_raise(s->irq);
    }
}

/* Sets the update and alarm flags for the updates since the last look. */
static void rtc_catch_up(Rtc *s)
{
    int64_t second = rtc_second(rtc_now(s));
    if ((s->cmos[RTC_REG_B] & REG_B_SET) || second == s->update_seen) {
        return;
    }
    s->update_seen = second;
    rtc_latch_time(s);
    bool alarm = rtc_alarm_field(s->cmos[RTC_SECONDS_ALARM], s->cmos[RTC_SECONDS]) &&
                 rtc_alarm_field(s->cmos[RTC_MINUTES_ALARM], s->cmos[RTC_MINUTES]) &&
                 rtc_alarm_field(s->cmos[RTC_HOURS_ALARM], s->cmos[RTC_HOURS]);
    rtc_flag(s, REG_C_UF | (alarm ? REG_C_AF : 0));
}

static void rtc_schedule_update(Rtc *s)
{
    uint8_t b = s->cmos[RTC_REG_B];
    if ((b & REG_B_SET) || !(b & (REG_B_UIE | REG_B_AIE))) {
        timer_cancel(s->update);
        return;
    }
    timer_set(s->update, (rtc_second(rtc_now(s)) + 1) * NS_PER_S - s->offset);
}

static void rtc_update_expired(void *opaque)
{
    Rtc *s = opaque;
    rtc_catch_up(s);
    rtc_schedule_update(s);
}

/* Nanoseconds of the periodic rate, or 0 when it is off. */
static int64_t rtc_period(const Rtc *s)
{
    unsigned rate = s->cmos[RTC_REG_A] & REG_A_RS;
    if (!rate) {
        return 0;
    }
    if (rate <= 2) {
        rate += 7; /* 256 Hz and 128 Hz with the 32.768 kHz time base */
    }
    return (NS_PER_S << (rate - 1)) / 32768;
}

static void rtc_schedule_periodic(Rtc *s)
{
    int64_t period = rtc_period(s), now = clock_now(s->dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL);
    if (!period || !(s->cmos[RTC_REG_B] & REG_B_PIE)) {
        s->periodic_next = -1;
        timer_cancel(s->periodic);
        return;
    }
    s->periodic_next = (now / period + 1) * period;
    timer_set(s->periodic, s->periodic_next);
}

static void rtc_periodic_expired(void *opaque)
{
    Rtc *s = opaque;
    int64_t now = clock_now(s->dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL), period = rtc_period(s);

    if (s->dev.obj.machine->rtc.slew && period) {
        int64_t missed = MAX(now - s->periodic_next, 0) / period + !!(s->cmos[RTC_REG_C] & REG_C_PF);

        s->lost = (unsigned)MIN(s->lost + missed, RTC_LOST_MAX);
    }
    rtc_flag(s, REG_C_PF);
    rtc_schedule_periodic(s);
}

static bool rtc_is_time(unsigned reg)
{
    return reg == RTC_SECONDS || reg == RTC_MINUTES || reg == RTC_HOURS ||
           (reg >= RTC_DAY_OF_WEEK && reg <= RTC_YEAR) || reg == RTC_CENTURY;
}

static void rtc_write_b(Rtc *s, uint8_t val)
{
    uint8_t old = s->cmos[RTC_REG_B];
    if (!(old & REG_B_SET) && (val & REG_B_SET)) {
        rtc_latch_time(s);
        val &= (uint8_t)~REG_B_UIE; /* data sheet: SET clears UIE */
    }
    s->cmos[RTC_REG_B] = val;
    if ((old & REG_B_SET) && !(val & REG_B_SET)) {
        rtc_set_time(s);
    }
    rtc_flag(s, 0);
    rtc_schedule_update(s);
    rtc_schedule_periodic(s);
}

static void rtc_write_reg(Rtc *s, unsigned reg, uint8_t val)
{
    switch (reg) {
    case RTC_REG_A:
        s->cmos[RTC_REG_A] = val & (REG_A_DV | REG_A_RS);
        rtc_schedule_periodic(s);
        return;
    case RTC_REG_B:
        rtc_write_b(s, val);
        return;
    case RTC_REG_C:
    case RTC_REG_D:
        guest_error(&s->dev, "write to read-only register %c", reg == RTC_REG_C ? 'C' : 'D');
        return;
    default:
        break;
    }
    if (rtc_is_time(reg) && !(s->cmos[RTC_REG_B] & REG_B_SET)) {
        rtc_latch_time(s);
        s->cmos[reg] = val;
        rtc_set_time(s);
        rtc_schedule_update(s);
    } else {
        s->cmos[reg] = val;
    }
}

static uint8_t rtc_read_c(Rtc *s)
{
    rtc_catch_up(s);
    uint8_t val = s->cmos[RTC_REG_C];
    s->cmos[RTC_REG_C] = 0;
    irq_lower(s->irq);
    if (s->lost && (val & REG_C_PF) && (s->cmos[RTC_REG_B] & REG_B_PIE)) {
        s->lost--;
        rtc_flag(s, REG_C_PF);
    }
    return val;
}

static uint8_t rtc_read_reg(Rtc *s, unsigned reg)
{
    if (reg == RTC_REG_C) {
        return rtc_read_c(s);
    }
    if (reg == RTC_REG_A) {
        int64_t now = rtc_now(s), into = now - rtc_second(now) * NS_PER_S;
        bool uip = !(s->cmos[RTC_REG_B] & REG_B_SET) && into >= NS_PER_S - RTC_UIP_NS;
        return s->cmos[RTC_REG_A] | (uip ? REG_A_UIP : 0);
    }
    if (rtc_is_time(reg)) {
        rtc_latch_time(s);
    }
    return s->cmos[reg];
}

static MemResult rtc_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    Rtc *s = opaque;
    *val = addr & 1 ? rtc_read_reg(s, s->index) : 0xff;
    return MEM_OK;
}

static MemResult rtc_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Rtc *s = opaque;
    if (addr & 1) {
        rtc_write_reg(s, s->index, (uint8_t)val);
    } else {
        s->index = val & 0x7f; /* bit 7 is the NMI mask of the chip set */
    }
    return MEM_OK;
}

static const MemOps rtc_ops = {.read = rtc_read, .write = rtc_write, .min_size = 1, .max_size = 1};

static void cmos_set16(Rtc *s, unsigned at, uint64_t val)
{
    uint16_t v = (uint16_t)MIN(val, 0xffff);
    s->cmos[at] = (uint8_t)v;
    s->cmos[at + 1] = (uint8_t)(v >> 8);
}

static void rtc_fill_sizes(Rtc *s)
{
    const uint64_t mib = 1 << 20;
    uint64_t ext_kb = s->ram_low > mib ? (s->ram_low - mib) >> 10 : 0;
    s->cmos[CMOS_EQUIPMENT] = 0x02; /* FPU */
    cmos_set16(s, CMOS_BASE_KB, 640);
    cmos_set16(s, CMOS_EXT_KB, ext_kb);
    cmos_set16(s, CMOS_EXT_KB2, ext_kb);
    cmos_set16(s, CMOS_EXT_64K, s->ram_low > 16 * mib ? (s->ram_low - 16 * mib) >> 16 : 0);
    cmos_set16(s, CMOS_HIGH_64K, s->ram_high >> 16);
    s->cmos[CMOS_HIGH_64K + 2] = (uint8_t)(s->ram_high >> 32);
}

static void rtc_reset(Device *dev)
{
    Rtc *s = (Rtc *)dev;
    /* The clock has a battery: reset only disables the interrupts. */
    s->cmos[RTC_REG_B] &= (uint8_t) ~(REG_B_PIE | REG_B_AIE | REG_B_UIE);
    s->cmos[RTC_REG_C] = 0;
    s->lost = 0;
    irq_lower(s->irq);
    rtc_schedule_update(s);
    rtc_schedule_periodic(s);
}

static bool rtc_start(Device *dev, GError **error)
{
    Rtc *s = (Rtc *)dev;
    s->update = timer_new(dev->home, rtc_clock(s), rtc_update_expired, s);
    s->periodic = timer_new(dev->home, CLOCK_KIND_VIRTUAL, rtc_periodic_expired, s);
    s->periodic_next = -1;
    s->offset = clock_now(dev->obj.machine->clocks, CLOCK_KIND_HOST) + dev->obj.machine->rtc.offset - rtc_reference(s);
    s->cmos[RTC_REG_A] = 0x26;
    s->cmos[RTC_REG_B] = REG_B_24H;
    s->cmos[RTC_REG_D] = REG_D_VRT;
    rtc_fill_sizes(s);
    rtc_latch_time(s);
    s->update_seen = rtc_second(rtc_now(s));
    s->region = mem_region_new_io(dev->obj.machine->topo, "rtc", 2, &rtc_ops, s, dev->home);
    mem_region_add(s->io, 0x70, s->region);
    return true;
}

static void rtc_stop(Device *dev)
{
    Rtc *s = (Rtc *)dev;
    mem_region_del(s->io, s->region);
    mem_region_retire(s->region);
    mem_region_unref(s->region);
    timer_free(s->update);
    timer_free(s->periodic);
}

/* The host's monotonic clock means nothing elsewhere: what moves is relative to its wall clock. */
static int64_t rtc_clock_skew(const Rtc *s)
{
    bool monotonic = rtc_clock(s) == CLOCK_KIND_REALTIME;

    return monotonic ? clock_now(s->dev.obj.machine->clocks, CLOCK_KIND_HOST) - rtc_reference(s) : 0;
}

static void rtc_pre_save(void *instance)
{
    Rtc *s = instance;
    s->moving_offset = s->offset - rtc_clock_skew(s);
}

static bool rtc_post_load(void *instance, uint32_t version, GError **error)
{
    Rtc *s = instance;
    int64_t offset, now;

    if (__builtin_add_overflow(s->moving_offset, rtc_clock_skew(s), &offset) ||
        __builtin_add_overflow(rtc_reference(s), offset, &now) || now < RTC_YEAR_1900 || now >= RTC_YEAR_2200) {
        error_set(error, "mc146818rtc: bad time (moving_offset %" PRId64 ", allowed are the years 1900 to 2199)", s->moving_offset);
        return false;
    }
    s->offset = offset;
    if (s->index >= RTC_CMOS_SIZE) {
        error_set(error, "mc146818rtc: bad index (%u, allowed 0..%d)", s->index, RTC_CMOS_SIZE - 1);
        return false;
    }
    rtc_schedule_update(s);
    rtc_schedule_periodic(s);
    if (s->cmos[RTC_REG_C] & REG_C_IRQF) {
        irq_raise(s->irq);
    }
    return true;
}

static const StateField rtc_fields[] = {
    STATE_FIELD_UINT(Rtc, index),
    STATE_FIELD_BYTES(Rtc, cmos),
    STATE_FIELD_UINT(Rtc, moving_offset),
    STATE_FIELD_UINT(Rtc, update_seen),
    STATE_END,
};
static const StateTable rtc_state = {
    .name = "mc146818rtc", .version = 1, .fields = rtc_fields, .pre_save = rtc_pre_save, .post_load = rtc_post_load};

const DeviceModel mc146818_model = {
    .model = {.name = "mc146818rtc",
              .doc = "MC146818 real-time clock and CMOS memory.",
              .kind = MODEL_DEVICE,
              .size = sizeof(Rtc),
              .state = &rtc_state,
              .internal = true},
    .start = rtc_start,
    .reset = rtc_reset,
    .stop = rtc_stop,
};
