/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * i6300esb: the watchdog timer of Intel's 6300ESB I/O controller hub, 8086:25AB (data sheet, chapter 16). Two
 * stages count down at 33 MHz / 2^15 (1 KHz) or / 2^5 (1 MHz), preload values of 20 bits; what the end of the
 * second one does is the machine's watchdog action.  Reload and preload registers open after 80h and 86h were
 * written to the reload register.
 */
#include "hw/pci/pci.h"

#define ESB_CONFIG 0x60 /* configuration space */
#define ESB_LOCK   0x68

#define CONFIG_INT_TYPE 0x03 /* of the first stage: 0 an IRQ, 2 an SMI, 3 none */
#define CONFIG_PRE_1MHZ 0x04
#define CONFIG_OUT_OFF  0x20 /* the end of the second stage does nothing */
#define LOCK_LOCKED     0x01 /* until reset */
#define LOCK_ENABLE     0x02
#define LOCK_FREE       0x04 /* one free-running stage */

enum { TIMER1 = 0x00, TIMER2 = 0x04, GINTSR = 0x08, RELOAD = 0x0c };
#define RELOAD_NOW     0x0100
#define RELOAD_TIMEOUT 0x0200 /* write 1 to clear */
#define UNLOCK_FIRST   0x80
#define UNLOCK_SECOND  0x86

#define PRELOAD_MASK 0xfffffu
#define PCI_CLOCK_HZ 33000000ull
#define NS_PER_S     1000000000ull

typedef struct I6300Esb {
    PciDevice pci;
    uint32_t timer[2]; /* preload values */
    uint8_t stage;     /* that runs, 1 or 2; 0: stopped */
    uint8_t unlock;    /* of the two writes that unlock, how many were seen */
    bool interrupted;  /* the first stage is over: GINTSR */
    bool timed_out;    /* survives the reset that the timer makes */
    uint64_t deadline;
    Timer *expiry;
} I6300Esb;

static bool esb_enabled(const I6300Esb *s)
{
    return s->pci.config[ESB_LOCK] & LOCK_ENABLE;
}

static void esb_run(I6300Esb *s, uint8_t stage)
{
    /* The counter's clock, and one tick more than the preload value (data sheet 16.5.1). */
    uint64_t divider = s->pci.config[ESB_CONFIG] & CONFIG_PRE_1MHZ ? 1u << 5 : 1u << 15;
    uint64_t ticks = ((uint64_t)s->timer[stage - 1] + 1) * divider;
    int64_t now = clock_now(s->pci.dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL);

    s->stage = stage;
    s->deadline = (uint64_t)now + (uint64_t)((unsigned __int128)ticks * NS_PER_S / PCI_CLOCK_HZ);
    timer_set(s->expiry, (int64_t)s->deadline);
}

static void esb_halt(I6300Esb *s)
{
    s->stage = 0;
    s->deadline = 0;
    timer_cancel(s->expiry);
}

static void esb_expired(void *opaque)
{
    I6300Esb *s = opaque;
    bool first = s->stage == 1 && !(s->pci.config[ESB_LOCK] & LOCK_FREE);

    if (first) {
        if ((s->pci.config[ESB_CONFIG] & CONFIG_INT_TYPE) == 0) {
            s->interrupted = true;
            pci_set_irq(&s->pci, 1);
        }
        esb_run(s, 2);
        return;
    }
    s->timed_out = true;
    if (s->pci.config[ESB_LOCK] & LOCK_FREE) {
        esb_run(s, 1);
    } else {
        esb_halt(s);
    }
    if (!(s->pci.config[ESB_CONFIG] & CONFIG_OUT_OFF)) {
        machine_watchdog_expired(s->pci.dev.obj.machine);
    }
}

/* --- registers --- */

static bool esb_unlocked(I6300Esb *s)
{
    bool unlocked = s->unlock == 2;

    s->unlock = 0;
    if (!unlocked) {
        guest_error(&s->pci.dev, "write to a register that 80h and 86h did not unlock");
    }
    return unlocked;
}

static void esb_write_reload(I6300Esb *s, uint32_t val)
{
    if (val == UNLOCK_FIRST) {
        s->unlock = 1;
    } else if (val == UNLOCK_SECOND && s->unlock == 1) {
        s->unlock = 2;
    } else if (esb_unlocked(s)) {
        if (val & RELOAD_TIMEOUT) {
            s->timed_out = false;
        }
        if (val & RELOAD_NOW && esb_enabled(s)) {
            esb_run(s, 1);
        }
    }
}

static MemResult esb_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    const I6300Esb *s = opaque;
    unsigned reg = addr & ~3u;
    uint32_t word = reg == TIMER1   ? s->timer[0]
                    : reg == TIMER2 ? s->timer[1]
                    : reg == GINTSR ? s->interrupted
                                    : 0;

    if (reg == RELOAD) {
        word = s->timed_out ? RELOAD_TIMEOUT : 0;
    }
    *val = word >> 8 * (addr & 3);
    return MEM_OK;
}

static MemResult esb_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    I6300Esb *s = opaque;

    switch (addr) {
    case TIMER1:
    case TIMER2:
        if (esb_unlocked(s)) {
            s->timer[addr / 4] = (uint32_t)val & PRELOAD_MASK;
        }
        break;
    case GINTSR:
        if (val & 1) {
            s->interrupted = false;
            pci_set_irq(&s->pci, 0);
        }
        break;
    case RELOAD:
        esb_write_reload(s, (uint32_t)val);
        break;
    default:
        guest_error(&s->pci.dev, "write of %u bytes at reserved offset 0x%x", size, (unsigned)addr);
        break;
    }
    return MEM_OK;
}

static const MemOps esb_ops = {.read = esb_read, .write = esb_write, .min_size = 1, .max_size = 4};

static void esb_config_write(PciDevice *dev, uint16_t offset, uint32_t val, unsigned size)
{
    I6300Esb *s = (I6300Esb *)dev;
    bool was_enabled = esb_enabled(s);

    pci_default_config_write(dev, offset, val, size);
    if (dev->config[ESB_LOCK] & LOCK_LOCKED) {
        dev->wmask[ESB_LOCK] = 0;
    }
    if (esb_enabled(s) != was_enabled) {
        if (was_enabled) {
            esb_halt(s);
        } else {
            esb_run(s, 1);
        }
    }
}

/* --- life --- */

static bool esb_start(PciDevice *dev, GError **error)
{
    I6300Esb *s = (I6300Esb *)dev;

    s->expiry = device_timer_new(&dev->dev, esb_expired, s);
    dev->wmask[ESB_CONFIG] = CONFIG_INT_TYPE | CONFIG_PRE_1MHZ | CONFIG_OUT_OFF;
    return true;
}

static void esb_reset(PciDevice *dev)
{
    I6300Esb *s = (I6300Esb *)dev;

    esb_halt(s);
    dev->config[ESB_CONFIG] = dev->config[ESB_LOCK] = 0;
    dev->wmask[ESB_LOCK] = LOCK_LOCKED | LOCK_ENABLE | LOCK_FREE;
    s->timer[0] = s->timer[1] = PRELOAD_MASK;
    s->unlock = 0;
    s->interrupted = false;
    pci_set_irq(dev, 0);
}

static void esb_stop(PciDevice *dev)
{
    timer_free(((I6300Esb *)dev)->expiry);
}

static bool esb_post_load(void *instance, uint32_t version, GError **error)
{
    I6300Esb *s = instance;

    s->timer[0] &= PRELOAD_MASK;
    s->timer[1] &= PRELOAD_MASK;
    if (s->stage > 2) {
        error_set(error, "i6300esb: no such stage (%u, allowed 0..2)", s->stage);
        return false;
    }
    s->pci.wmask[ESB_LOCK] =
        s->pci.config[ESB_LOCK] & LOCK_LOCKED ? 0 : LOCK_LOCKED | LOCK_ENABLE | LOCK_FREE;
    if (s->stage) {
        timer_set(s->expiry, (int64_t)s->deadline);
    } else {
        timer_cancel(s->expiry);
    }
    return true;
}

static const StateField esb_fields[] = {
    STATE_FIELD_STRUCT(I6300Esb, pci, &pci_device_state),
    STATE_FIELD_ARRAY(I6300Esb, timer),
    STATE_FIELD_UINT(I6300Esb, stage),
    STATE_FIELD_UINT(I6300Esb, unlock),
    STATE_FIELD_BOOL(I6300Esb, interrupted),
    STATE_FIELD_BOOL(I6300Esb, timed_out),
    STATE_FIELD_DEADLINE(I6300Esb, deadline),
    STATE_END,
};
static const StateTable esb_state = {
    .name = "i6300esb", .version = 1, .fields = esb_fields, .post_load = esb_post_load};

const PciModel i6300esb_model = {
    .dev = {.name = "i6300esb",
            .doc = "Watchdog timer of the Intel 6300ESB.",
            .kind = MODEL_PCI,
            .size = sizeof(I6300Esb),
            .state = &esb_state},
    .ids = {.vendor = 0x8086, .device = 0x25ab, .class_code = 0x088000},
    .interrupt_pin = 1,
    .bars = {[0] = {.size = 0x10, .kind = PCI_BAR_MEM32, .ops = &esb_ops}},
    .start = esb_start,
    .reset = esb_reset,
    .stop = esb_stop,
    .config_write = esb_config_write,
};
