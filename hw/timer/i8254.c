/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 8254 programmable interval timer at ports 40h..43h (Intel 8254 data
 * sheet; ICH9 data sheet 5.8).  Counts are computed from guest time; only
 * counter 0, whose OUT is interrupt 0, has a host timer.
 */
#include "hw/timer/i8254.h"

#define NS_PER_S 1000000000ll

enum {
    PIT_MODE_TERMINAL,
    PIT_MODE_ONE_SHOT,
    PIT_MODE_RATE,
    PIT_MODE_SQUARE,
    PIT_MODE_STROBE,
    PIT_MODE_HW_STROBE
};

static int64_t pit_now(const Pit *s)
{
    return clock_now(s->dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL);
}

static uint64_t pit_elapsed_ticks(const PitCounter *c, int64_t now)
{
    return now <= c->start ? 0
                           : (uint64_t)((unsigned __int128)(uint64_t)(now - c->start) * PIT_HZ / NS_PER_S);
}

/* First guest ns at which `ticks` have elapsed. */
static int64_t pit_tick_time(const PitCounter *c, uint64_t ticks)
{
    return c->start + (int64_t)(((unsigned __int128)ticks * NS_PER_S + PIT_HZ - 1) / PIT_HZ);
}

static bool pit_periodic(const PitCounter *c)
{
    return c->mode == PIT_MODE_RATE || c->mode == PIT_MODE_SQUARE;
}

static bool pit_triggered(const PitCounter *c)
{
    return c->mode == PIT_MODE_ONE_SHOT || c->mode == PIT_MODE_HW_STROBE;
}

static uint16_t pit_to_bcd(uint32_t v)
{
    return (uint16_t)(v % 10 | (v / 10 % 10) << 4 | (v / 100 % 10) << 8 | (v / 1000 % 10) << 12);
}

static uint32_t pit_from_bcd(uint32_t v)
{
    return (v & 15) + 10 * (v >> 4 & 15) + 100 * (v >> 8 & 15) + 1000 * (v >> 12 & 15);
}

static uint16_t pit_count_now(const Pit *s, const PitCounter *c)
{
    uint64_t ticks = c->gate || pit_triggered(c) ? pit_elapsed_ticks(c, pit_now(s)) : 0;
    uint32_t wrap = c->bcd ? 10000 : 65536, count;
    if (c->mode == PIT_MODE_SQUARE) {
        uint32_t doubled = (uint32_t)(2 * ticks % c->count);
        count = (c->count & ~1u) - (doubled & ~1u);
    } else if (c->mode == PIT_MODE_RATE) {
        count = c->count - (uint32_t)(ticks % c->count);
    } else {
        count = (c->count + wrap - (uint32_t)(ticks % wrap)) % wrap;
    }
    return c->bcd ? pit_to_bcd(count) : (uint16_t)count;
}

static bool pit_out_at(const PitCounter *c, int64_t now)
{
    if (!c->loaded) {
        return c->mode != PIT_MODE_TERMINAL;
    }
    uint64_t ticks = pit_elapsed_ticks(c, now);
    switch (c->mode) {
    case PIT_MODE_TERMINAL:
        return c->gate && ticks >= c->count;
    case PIT_MODE_ONE_SHOT:
        return ticks >= c->count;
    case PIT_MODE_RATE:
        return !c->gate || ticks % c->count != c->count - 1;
    case PIT_MODE_SQUARE:
        return !c->gate || ticks % c->count < (c->count + 1) / 2;
    default:
        return ticks != c->count;
    }
}

bool i8254_out(Pit *s, unsigned n)
{
    return pit_out_at(&s->counter[n], pit_now(s));
}

/* Arms the timer for the next rising edge of OUT 0. */
static void pit_schedule(Pit *s)
{
    PitCounter *c = &s->counter[0];
    uint64_t ticks = pit_elapsed_ticks(c, pit_now(s)), edge;
    s->next = -1;
    if (c->loaded && pit_periodic(c) && c->gate) {
        edge = (ticks / c->count + 1) * c->count;
        s->next = pit_tick_time(c, edge);
    } else if (c->loaded && !pit_periodic(c)) {
        bool strobe = c->mode == PIT_MODE_STROBE || c->mode == PIT_MODE_HW_STROBE;
        edge = c->count + strobe;
        s->next = ticks < edge ? pit_tick_time(c, edge) : -1;
    }
    if (s->next >= 0) {
        timer_set(s->timer, s->next);
    } else {
        timer_cancel(s->timer);
    }
}

static void pit_set_line(Pit *s, int level)
{
    if (!s->irq_off) {
        s->line = level;
        irq_set(s->irq, level);
    }
}

static void pit_expired(void *opaque)
{
    Pit *s = opaque;
    /* The low phase before a rising edge cannot be seen on an edge-triggered input: one pulse is enough. */
    pit_set_line(s, 0);
    pit_set_line(s, 1);
    pit_schedule(s);
}

void i8254_disable_irq(Pit *s, bool off)
{
    if (off) {
        pit_set_line(s, 0);
    }
    s->irq_off = off;
}

static void pit_start_count(Pit *s, PitCounter *c)
{
    c->start = pit_now(s);
    if (c == &s->counter[0]) {
        if (!pit_out_at(c, c->start)) {
            pit_set_line(s, 0);
        }
        pit_schedule(s);
    }
}

void i8254_set_gate(Pit *s, unsigned n, bool level)
{
    PitCounter *c = &s->counter[n];
    bool rising = level && !c->gate;
    c->gate = level;
    if (rising && c->mode != PIT_MODE_TERMINAL && c->mode != PIT_MODE_STROBE) {
        pit_start_count(s, c);
    } else if (rising && c->loaded && !pit_elapsed_ticks(c, pit_now(s))) {
        pit_start_count(s, c);
    }
}

static void pit_load(Pit *s, PitCounter *c, uint32_t val)
{
    uint32_t count = c->bcd ? pit_from_bcd(val) : val;
    c->count = count ? count : c->bcd ? 10000 : 65536;
    c->loaded = true;
    pit_start_count(s, c);
}

static void pit_latch_count(Pit *s, PitCounter *c)
{
    if (!c->latched_bytes) {
        c->latched = pit_count_now(s, c);
        c->latched_bytes = c->access == 3 ? 2 : 1;
    }
}

static void pit_latch_status(Pit *s, PitCounter *c)
{
    if (!c->status_latched) {
        c->status = (uint8_t)(pit_out_at(c, pit_now(s)) << 7 | !c->loaded << 6 | c->access << 4 |
                              c->mode << 1 | c->bcd);
        c->status_latched = true;
    }
}

static void pit_read_back(Pit *s, uint8_t val)
{
    for (unsigned n = 0; n < 3; n++) {
        if (!(val & 2u << n)) {
            continue;
        }
        if (!(val & 0x20)) {
            pit_latch_count(s, &s->counter[n]);
        }
        if (!(val & 0x10)) {
            pit_latch_status(s, &s->counter[n]);
        }
    }
}

static void pit_write_control(Pit *s, uint8_t val)
{
    unsigned n = val >> 6, access = (val >> 4) & 3;
    if (n == 3) {
        pit_read_back(s, val);
        return;
    }
    PitCounter *c = &s->counter[n];
    if (!access) {
        pit_latch_count(s, c);
        return;
    }
    c->access = (uint8_t)access;
    c->mode = (val >> 1) & 7;
    if (c->mode > 5) {
        c->mode &= 3; /* modes 2 and 3 ignore the high bit */
    }
    c->bcd = val & 1;
    c->loaded = c->read_high = c->write_high = c->status_latched = false;
    c->latched_bytes = 0;
    if (n == 0) {
        pit_set_line(s, c->mode != PIT_MODE_TERMINAL);
        pit_schedule(s);
    }
}

static MemResult pit_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Pit *s = opaque;
    if (addr == 3) {
        pit_write_control(s, (uint8_t)val);
        return MEM_OK;
    }
    PitCounter *c = &s->counter[addr];
    if (c->access == 1) {
        pit_load(s, c, (uint8_t)val);
    } else if (c->access == 2) {
        pit_load(s, c, (uint32_t)(val & 0xff) << 8);
    } else if (!c->write_high) {
        c->write_low = (uint8_t)val;
        c->write_high = true;
    } else {
        c->write_high = false;
        pit_load(s, c, c->write_low | (uint32_t)(val & 0xff) << 8);
    }
    return MEM_OK;
}

static uint8_t pit_read_counter(Pit *s, PitCounter *c)
{
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    uint16_t count = c->latched_bytes ? c->latched : pit_count_now(s, c);
    bool high = c->access == 2 || (c->access == 3 && c->read_high);
    if (c->latched_bytes) {
        c->latched_bytes--;
    }
    if (c->access == 3) {
        c->read_high = !c->read_high;
    }
    return (uint8_t)(high ? count >> 8 : count);
}

static MemResult pit_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    Pit *s = opaque;
    *val = addr == 3 ? 0xff : pit_read_counter(s, &s->counter[addr]);
    return MEM_OK;
}

static const MemOps pit_ops = {.read = pit_read, .write = pit_write, .min_size = 1, .max_size = 1};

static void pit_reset(Device *dev)
{
    Pit *s = (Pit *)dev;
    for (unsigned n = 0; n < 3; n++) {
        s->counter[n] = (PitCounter){.count = 65536, .access = 3, .mode = PIT_MODE_SQUARE, .gate = n != 2};
    }
    s->irq_off = false;
    pit_set_line(s, 0);
    pit_schedule(s);
}

static bool pit_start(Device *dev, GError **error)
{
    Pit *s = (Pit *)dev;
    s->timer = timer_new(dev->home, CLOCK_KIND_VIRTUAL, pit_expired, s);
    s->region = mem_region_new_io(dev->obj.machine->topo, "pit", 4, &pit_ops, s, dev->home);
    mem_region_add(s->io, 0x40, s->region);
    return true;
}

static void pit_stop(Device *dev)
{
    Pit *s = (Pit *)dev;
    mem_region_del(s->io, s->region);
    mem_region_retire(s->region);
    mem_region_unref(s->region);
    timer_free(s->timer);
}

static bool pit_counter_post_load(void *instance, uint32_t version, GError **error)
{
    PitCounter *c = instance;
    if (c->count < 1 || c->count > 65536 || c->mode > 5 || c->access < 1 || c->access > 3 ||
        c->latched_bytes > 2) {
        error_set(error, "i8254: bad counter state (count %u, allowed 1..65536; mode %u, allowed 0..5)",
                  c->count, c->mode);
        return false;
    }
    return true;
}

static bool pit_post_load(void *instance, uint32_t version, GError **error)
{
    Pit *s = instance;

    pit_schedule(s);
    /* The interrupt controllers, which came before, have it as it is: no edge, but the board knows who holds it up. */
    if (s->line) {
        pit_set_line(s, 1);
    }
    return true;
}

static const StateField pit_counter_fields[] = {
    STATE_FIELD_UINT(PitCounter, count),
    STATE_FIELD_UINT(PitCounter, latched),
    STATE_FIELD_UINT(PitCounter, latched_bytes),
    STATE_FIELD_UINT(PitCounter, status),
    STATE_FIELD_BOOL(PitCounter, status_latched),
    STATE_FIELD_BOOL(PitCounter, read_high),
    STATE_FIELD_BOOL(PitCounter, write_high),
    STATE_FIELD_UINT(PitCounter, write_low),
    STATE_FIELD_UINT(PitCounter, access),
    STATE_FIELD_UINT(PitCounter, mode),
    STATE_FIELD_BOOL(PitCounter, bcd),
    STATE_FIELD_BOOL(PitCounter, gate),
    STATE_FIELD_BOOL(PitCounter, loaded),
    STATE_FIELD_UINT(PitCounter, start),
    STATE_END,
};
static const StateTable pit_counter_state = {
    .name = "i8254-counter", .version = 1, .fields = pit_counter_fields, .post_load = pit_counter_post_load};
static const StateField pit_fields[] = {STATE_FIELD_STRUCTS(Pit, counter, &pit_counter_state),
                                        STATE_FIELD_BOOL(Pit, irq_off),
                                        {.name = "line", .kind = STATE_BOOL, .offset = offsetof(Pit, line), .size = sizeof(bool), .since = 2},
                                        STATE_END};
static const StateTable pit_state = {
    .name = "i8254", .version = 2, .fields = pit_fields, .post_load = pit_post_load};

const DeviceModel i8254_model = {
    .model = {.name = "isa-pit",
              .doc = "8254 programmable interval timer.",
              .kind = MODEL_DEVICE,
              .size = sizeof(Pit),
              .state = &pit_state,
              .internal = true},
    .start = pit_start,
    .reset = pit_reset,
    .stop = pit_stop,
};
