/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tick: the teaching device of docs/devel/device-models.md, not modelled on any hardware.  Every PERIOD
 * microseconds of guest time it counts, writes a record to guest memory and interrupts, with MSI or on INTA.
 *
 *   CTRL    bit 0 ENABLE: ticks happen; setting it clears COUNT.  bit 1 IRQ: ticks interrupt.
 *   STATUS  bit 0 TICK: a tick happened; bit 1 FAULT: a record could not be written.  Write 1 to clear.
 *   PERIOD  microseconds between ticks; takes effect with the next tick.  0 is taken as 1.
 *   COUNT   ticks since ENABLE was set.
 *   ADDR    where records go, 8-byte aligned; 0: nowhere.  A record is COUNT and the guest time in
 *           nanoseconds, two 64-bit little-endian numbers.
 */
#include "core/trace.h"
#include "hw/pci/pci.h"

#define TICK_CTRL_ENABLE  0x1u
#define TICK_CTRL_IRQ     0x2u
#define TICK_STATUS_TICK  0x1u
#define TICK_STATUS_FAULT 0x2u
#define TICK_RECORD_LEN   16
#define TICK_BAR_SIZE     0x1000
#define NS_PER_US         1000

typedef struct Tick {
    PciDevice pci;
    uint32_t default_period; /* microseconds; property */
    uint32_t ctrl, status, period, count;
    uint64_t addr;
    uint64_t deadline; /* of the next tick, guest nanoseconds; meaningful while enabled */
    Timer *timer;
} Tick;

TraceEvent tick_trace[] = {{"tick"}, {NULL}};

/* --- behaviour --- */

static int64_t tick_now(Tick *t)
{
    return clock_now(t->pci.dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL);
}

static void tick_update_irq(Tick *t)
{
    bool level = t->status & TICK_STATUS_TICK && t->ctrl & TICK_CTRL_IRQ;

    pci_set_irq(&t->pci, level && !msi_enabled(&t->pci));
}

static void tick_arm(Tick *t)
{
    t->deadline += (uint64_t)MAX(t->period, 1) * NS_PER_US;
    timer_set(t->timer, (int64_t)t->deadline);
}

static void tick_record(Tick *t)
{
    uint8_t record[TICK_RECORD_LEN];

    pci_set64(record, t->count);
    pci_set64(record + 8, (uint64_t)tick_now(t));
    if (pci_dma_write(&t->pci, t->addr, record, sizeof(record)) != MEM_OK) {
        guest_error(&t->pci.dev, "ADDR 0x%" G_GINT64_MODIFIER "x is not memory", t->addr);
        t->status |= TICK_STATUS_FAULT;
    }
}

static void tick_expired(void *opaque)
{
    Tick *t = opaque;

    t->count++;
    t->status |= TICK_STATUS_TICK;
    TRACE(&tick_trace[0], "%s: %u", t->pci.dev.obj.id, t->count);
    tick_arm(t); /* first: the record may be written to our own CTRL and stop us */
    if (t->addr) {
        tick_record(t);
    }
    if (t->ctrl & TICK_CTRL_IRQ && msi_enabled(&t->pci)) {
        msi_notify(&t->pci, 0);
    }
    tick_update_irq(t);
}

static void tick_ctrl_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    Tick *t = opaque;

    if (new_val & ~old_val & TICK_CTRL_ENABLE) {
        t->count = 0;
        t->deadline = (uint64_t)tick_now(t);
        tick_arm(t);
    } else if (!(new_val & TICK_CTRL_ENABLE)) {
        timer_cancel(t->timer);
    }
    tick_update_irq(t);
}

static void tick_status_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    tick_update_irq(opaque);
}

static void tick_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    tick_update_irq((Tick *)dev); /* MSI may have been switched */
}

/* --- registers --- */

static const RegDef tick_regs[] = {
    {.name = "CTRL",
     .offset = 0x00,
     .size = 4,
     .writable = TICK_CTRL_ENABLE | TICK_CTRL_IRQ,
     .written = tick_ctrl_written,
     .field = offsetof(Tick, ctrl)},
    {.name = "STATUS",
     .offset = 0x04,
     .size = 4,
     .w1c = TICK_STATUS_TICK | TICK_STATUS_FAULT,
     .written = tick_status_written,
     .field = offsetof(Tick, status)},
    {.name = "PERIOD", .offset = 0x08, .size = 4, .writable = UINT32_MAX, .field = offsetof(Tick, period)},
    {.name = "COUNT", .offset = 0x0c, .size = 4, .field = offsetof(Tick, count)},
    {.name = "ADDR", .offset = 0x10, .size = 8, .writable = ~UINT64_C(7), .field = offsetof(Tick, addr)},
    {.name = NULL},
};

/* --- life --- */

static bool tick_start(PciDevice *dev, GError **error)
{
    Tick *t = (Tick *)dev;

    t->timer = device_timer_new(&dev->dev, tick_expired, t);
    return true;
}

/* Called after the registers of the table were set to their reset values. */
static void tick_reset(PciDevice *dev)
{
    Tick *t = (Tick *)dev;

    timer_cancel(t->timer);
    t->period = t->default_period;
    t->deadline = 0;
}

static void tick_stop(PciDevice *dev)
{
    timer_free(((Tick *)dev)->timer);
}

/* --- properties and state --- */

static const Prop tick_props[] = {
    PROP_U32("period", Tick, default_period, 1000, 1, UINT32_MAX, "microseconds between ticks after reset"),
    PROP_END,
};

static bool tick_post_load(void *instance, uint32_t version, GError **error)
{
    Tick *t = instance;

    if (t->deadline > INT64_MAX) {
        error_set(error, "%s: saved deadline is out of range (%" G_GINT64_MODIFIER "u)", t->pci.dev.obj.id,
                  t->deadline);
        return false;
    }
    timer_cancel(t->timer);
    if (t->ctrl & TICK_CTRL_ENABLE) {
        timer_set(t->timer, (int64_t)t->deadline);
    }
    tick_update_irq(t);
    return true;
}

static const StateField tick_fields[] = {
    STATE_FIELD_STRUCT(Tick, pci, &pci_device_state),
    STATE_FIELD_UINT(Tick, ctrl),
    STATE_FIELD_UINT(Tick, status),
    STATE_FIELD_UINT(Tick, period),
    STATE_FIELD_UINT(Tick, count),
    STATE_FIELD_UINT(Tick, addr),
    STATE_FIELD_DEADLINE(Tick, deadline),
    STATE_END,
};

static const StateTable tick_state = {
    .name = "tick", .version = 1, .fields = tick_fields, .post_load = tick_post_load};

const PciModel tick_model = {
    .dev = {.name = "tick",
            .doc = "A device to learn from: counts, writes records to memory, interrupts.",
            .kind = MODEL_PCI,
            .size = sizeof(Tick),
            .props = tick_props,
            .state = &tick_state},
    .ids = {.vendor = 0x1234, .device = 0x0f01, .revision = 1, .class_code = 0x088000},
    .interrupt_pin = 1,
    .bars = {[0] = {.size = TICK_BAR_SIZE, .kind = PCI_BAR_MEM32, .regs = tick_regs}},
    .msi_vectors = 1,
    .start = tick_start,
    .reset = tick_reset,
    .stop = tick_stop,
    .config_written = tick_config_written,
};
