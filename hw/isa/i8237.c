/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The DMA controllers of a PC/AT: two 8237A (Intel data sheet) at ports 00h and C0h, the second with its
 * registers two ports apart, and the page registers between 81h and 8Fh.  No device on the ISA bus asks for a
 * transfer, so programs find and set up the channels, which then wait.
 */
#include "hw/isa/i8237.h"

#include <string.h>

enum {
    REG_COMMAND = 8, /* read: status */
    REG_REQUEST,
    REG_SINGLE_MASK,
    REG_MODE,
    REG_CLEAR_FLIP_FLOP,
    REG_MASTER_CLEAR, /* read: temporary register */
    REG_CLEAR_MASK,
    REG_ALL_MASK,
    REG_COUNT,
};

#define CHANNEL_BITS 0x03
#define SET_BIT      0x04
#define ALL_CHANNELS 0x0f
#define STATUS_TC    0x0f /* terminal counts: cleared by reading */

static void dma_clear(I8237 *s)
{
    s->command = s->request = s->status = 0;
    s->mask = ALL_CHANNELS;
    s->high = false;
}

/* Even: address; odd: word count.  A write sets the base and the current register. */
static uint8_t channel_read(I8237 *s, unsigned reg)
{
    const I8237Channel *c = &s->channels[reg / 2];
    uint16_t val = reg & 1 ? c->count : c->address;
    s->high = !s->high;
    return (uint8_t)(s->high ? val : val >> 8);
}

static void channel_write(I8237 *s, unsigned reg, uint8_t val)
{
    I8237Channel *c = &s->channels[reg / 2];
    uint16_t *base = reg & 1 ? &c->base_count : &c->base_address, *now = reg & 1 ? &c->count : &c->address;
    *base = (uint16_t)(s->high ? (*base & 0x00ff) | val << 8 : (*base & 0xff00) | val);
    *now = *base;
    s->high = !s->high;
}

static void bit_write(uint8_t *bits, uint8_t val)
{
    uint8_t bit = (uint8_t)(1u << (val & CHANNEL_BITS));
    *bits = (uint8_t)(val & SET_BIT ? *bits | bit : *bits & ~bit);
}

static uint8_t dma_read_reg(I8237 *s, unsigned reg)
{
    uint8_t val = 0;
    if (reg < REG_COMMAND) {
        return channel_read(s, reg);
    }
    switch (reg) {
    case REG_COMMAND:
        val = (uint8_t)(s->status | s->request << 4);
        s->status &= (uint8_t)~STATUS_TC;
        break;
    case REG_ALL_MASK:
        val = s->mask | 0xf0;
        break;
    default:
        break;
    }
    return val;
}

static void dma_write_reg(I8237 *s, unsigned reg, uint8_t val)
{
    switch (reg) {
    case REG_COMMAND:
        s->command = val;
        break;
    case REG_REQUEST:
        bit_write(&s->request, val);
        break;
    case REG_SINGLE_MASK:
        bit_write(&s->mask, val);
        break;
    case REG_MODE:
        s->channels[val & CHANNEL_BITS].mode = val;
        break;
    case REG_CLEAR_FLIP_FLOP:
        s->high = false;
        break;
    case REG_MASTER_CLEAR:
        dma_clear(s);
        break;
    case REG_CLEAR_MASK:
        s->mask = 0;
        break;
    case REG_ALL_MASK:
        s->mask = val & ALL_CHANNELS;
        break;
    default:
        channel_write(s, reg, val);
        break;
    }
}

static MemResult dma_read_first(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = dma_read_reg(&((I8237Pair *)opaque)->units[0], (unsigned)addr);
    return MEM_OK;
}

static MemResult dma_write_first(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    dma_write_reg(&((I8237Pair *)opaque)->units[0], (unsigned)addr, (uint8_t)val);
    return MEM_OK;
}

static MemResult dma_read_second(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = dma_read_reg(&((I8237Pair *)opaque)->units[1], (unsigned)addr / 2);
    return MEM_OK;
}

static MemResult dma_write_second(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    dma_write_reg(&((I8237Pair *)opaque)->units[1], (unsigned)addr / 2, (uint8_t)val);
    return MEM_OK;
}

static MemResult dma_read_page(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = ((I8237Pair *)opaque)->pages[addr];
    return MEM_OK;
}

static MemResult dma_write_page(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    ((I8237Pair *)opaque)->pages[addr] = (uint8_t)val;
    return MEM_OK;
}

static const struct {
    const char *name;
    uint16_t port, count;
    MemOps ops;
} dma_ports[] = {
    {"i8237-0",
     0x00,
     REG_COUNT,
     {.read = dma_read_first, .write = dma_write_first, .min_size = 1, .max_size = 1}},
    {"i8237-1",
     0xc0,
     2 * REG_COUNT,
     {.read = dma_read_second, .write = dma_write_second, .min_size = 1, .max_size = 1}},
    {"i8237-page",
     0x81,
     I8237_PAGE_COUNT,
     {.read = dma_read_page, .write = dma_write_page, .min_size = 1, .max_size = 1}},
};

static void i8237_reset(Device *dev)
{
    I8237Pair *s = (I8237Pair *)dev;
    memset(s->units, 0, sizeof(s->units));
    memset(s->pages, 0, sizeof(s->pages));
    dma_clear(&s->units[0]);
    dma_clear(&s->units[1]);
}

static bool i8237_start(Device *dev, GError **error)
{
    I8237Pair *s = (I8237Pair *)dev;
    for (unsigned i = 0; i < G_N_ELEMENTS(dma_ports); i++) {
        s->regions[i] = mem_region_new_io(dev->obj.machine->topo, dma_ports[i].name, dma_ports[i].count,
                                          &dma_ports[i].ops, s, dev->home);
        mem_region_add(s->io, dma_ports[i].port, s->regions[i]);
    }
    return true;
}

static void i8237_stop(Device *dev)
{
    I8237Pair *s = (I8237Pair *)dev;
    for (unsigned i = 0; i < G_N_ELEMENTS(dma_ports); i++) {
        mem_region_del(s->io, s->regions[i]);
        mem_region_retire(s->regions[i]);
        mem_region_unref(s->regions[i]);
    }
}

static const StateField i8237_channel_fields[] = {
    STATE_FIELD_UINT(I8237Channel, base_address), STATE_FIELD_UINT(I8237Channel, base_count),
    STATE_FIELD_UINT(I8237Channel, address),      STATE_FIELD_UINT(I8237Channel, count),
    STATE_FIELD_UINT(I8237Channel, mode),         STATE_END,
};
static const StateTable i8237_channel_state = {
    .name = "channel", .version = 1, .fields = i8237_channel_fields};
static const StateField i8237_unit_fields[] = {
    STATE_FIELD_STRUCTS(I8237, channels, &i8237_channel_state),
    STATE_FIELD_UINT(I8237, command),
    STATE_FIELD_UINT(I8237, mask),
    STATE_FIELD_UINT(I8237, request),
    STATE_FIELD_UINT(I8237, status),
    STATE_FIELD_BOOL(I8237, high),
    STATE_END,
};
static const StateTable i8237_unit_state = {.name = "i8237", .version = 1, .fields = i8237_unit_fields};
static const StateField i8237_fields[] = {STATE_FIELD_STRUCTS(I8237Pair, units, &i8237_unit_state),
                                          STATE_FIELD_BYTES(I8237Pair, pages), STATE_END};
static const StateTable i8237_state = {.name = "i8237-pair", .version = 1, .fields = i8237_fields};

const DeviceModel i8237_model = {
    .model = {.name = "i8237",
              .doc = "DMA controllers of a PC/AT.",
              .kind = MODEL_DEVICE,
              .size = sizeof(I8237Pair),
              .state = &i8237_state,
              .internal = true},
    .start = i8237_start,
    .reset = i8237_reset,
    .stop = i8237_stop,
};
