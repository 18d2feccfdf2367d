/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IO-APIC with 24 pins (Intel 82093AA data sheet, chapter 3; ICH9 data
 * sheet 13.5, which adds the EOI register of version 20h).
 */
#include <inttypes.h>

#include "accel/irqchip.h"
#include "hw/intc/ioapic.h"

/* Memory-mapped registers. */
#define IOREGSEL 0x00
#define IOWIN    0x10
#define IOEOI    0x40
/* Indirect registers. */
#define IOAPICID  0x00
#define IOAPICVER 0x01
#define IOAPICARB 0x02
#define IOREDTBL  0x10

#define IOAPIC_VERSION ((uint32_t)(IOAPIC_PINS - 1) << 16 | 0x20)

/* IOREDTBL bits */
#define RTE_VECTOR     0xffull
#define RTE_DELMOD(e)  ((unsigned)((e) >> 8) & 7)
#define RTE_DESTMOD    0x800ull
#define RTE_REMOTE_IRR 0x4000ull
#define RTE_LEVEL      0x8000ull
#define RTE_MASKED     0x10000ull
#define RTE_WRITABLE   0xffff00000001afffull /* with the extended destination id, an IOMMU's format and index */
#define RTE_DEST(e)    ((uint32_t)((e) >> 56))

/* False: an IOMMU holds it back. */
static bool ioapic_message(const IoApic *s, unsigned pin, ApicMessage *msg)
{
    uint64_t entry = s->ioredtbl[pin];
    *msg = (ApicMessage){
        .dest = RTE_DEST(entry),
        .logical = entry & RTE_DESTMOD,
        .level = entry & RTE_LEVEL,
        .mode = (ApicDelivery)RTE_DELMOD(entry),
        .vector = (uint8_t)(entry & RTE_VECTOR),
    };
    return !s->remap || s->remap(s->remap_opaque, entry, msg);
}

static void ioapic_send(IoApic *s, unsigned pin)
{
    ApicMessage msg;
    if (ioapic_message(s, pin, &msg)) {
        apic_bus_set_pin(s->bus, pin, &msg);
        apic_bus_send(s->bus, &msg);
    }
}

/* Sends a level-triggered pin that is asserted, open, and not waiting for its EOI. */
static void ioapic_service_level(IoApic *s, unsigned pin)
{
    uint64_t entry = s->ioredtbl[pin];
    if ((s->levels >> pin & 1) && (entry & RTE_LEVEL) && !(entry & (RTE_MASKED | RTE_REMOTE_IRR))) {
        s->ioredtbl[pin] |= RTE_REMOTE_IRR;
        ioapic_send(s, pin);
    }
}

void ioapic_set_irq(IoApic *s, unsigned pin, int level)
{
    if (pin >= IOAPIC_PINS) {
        return;
    }
    uint32_t bit = 1u << pin;
    s->counts[pin] += level && !(s->levels & bit);
    if (accel_with_ioapic(s->dev.obj.machine)) {
        s->levels = level ? s->levels | bit : s->levels & ~bit;
        s->bus->accel->ops->irqchip->set_ioapic_input(s->bus->accel, pin, level);
        return;
    }
    bool rising = level && !(s->levels & bit);
    s->levels = level ? s->levels | bit : s->levels & ~bit;
    if (s->ioredtbl[pin] & RTE_LEVEL) {
        ioapic_service_level(s, pin);
    } else if (rising && !(s->ioredtbl[pin] & RTE_MASKED)) {
        ioapic_send(s, pin);
    }
}

static void ioapic_input(void *opaque, int n, int level)
{
    ioapic_set_irq(opaque, (unsigned)n, level);
}

void ioapic_eoi(IoApic *s, uint8_t vector)
{
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t entry = s->ioredtbl[pin];
        if ((entry & RTE_LEVEL) && (entry & RTE_REMOTE_IRR) && (entry & RTE_VECTOR) == vector) {
            s->ioredtbl[pin] &= ~RTE_REMOTE_IRR;
            ioapic_service_level(s, pin);
        }
    }
}

static void ioapic_write_entry(IoApic *s, unsigned pin, uint64_t val)
{
    uint64_t kept = s->ioredtbl[pin] & RTE_REMOTE_IRR;
    s->ioredtbl[pin] = val & RTE_WRITABLE;
    if (val & RTE_LEVEL) {
        s->ioredtbl[pin] |= kept; /* switching to edge clears it, which is how old drivers force an EOI */
    }
    ioapic_service_level(s, pin);
}

static uint32_t ioapic_read_indirect(IoApic *s)
{
    unsigned reg = s->ioregsel;
    if (reg >= IOREDTBL && reg < IOREDTBL + 2 * IOAPIC_PINS) {
        return (uint32_t)(s->ioredtbl[(reg - IOREDTBL) >> 1] >> (reg & 1 ? 32 : 0));
    }
    if (reg == IOAPICID || reg == IOAPICARB) {
        return s->ioapicid;
    }
    if (reg == IOAPICVER) {
        return IOAPIC_VERSION;
    }
    guest_error(&s->dev, "read of reserved register 0x%x", reg);
    return 0;
}

static void ioapic_write_indirect(IoApic *s, uint32_t val)
{
    unsigned reg = s->ioregsel;
    if (reg >= IOREDTBL && reg < IOREDTBL + 2 * IOAPIC_PINS) {
        unsigned pin = (reg - IOREDTBL) >> 1, shift = reg & 1 ? 32 : 0;
        uint64_t entry = s->ioredtbl[pin] & ~((uint64_t)UINT32_MAX << shift);
        ioapic_write_entry(s, pin, entry | (uint64_t)val << shift);
    } else if (reg == IOAPICID) {
        s->ioapicid = val & 0x0f000000;
    } else {
        guest_error(&s->dev, "write to read-only or reserved register 0x%x", reg);
    }
}

static MemResult ioapic_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    IoApic *s = opaque;
    *val = 0;
    if (addr == IOREGSEL) {
        *val = s->ioregsel;
    } else if (addr == IOWIN) {
        *val = ioapic_read_indirect(s);
    } else {
        guest_error(&s->dev, "read of reserved offset 0x%" PRIx64, addr);
    }
    return MEM_OK;
}

static MemResult ioapic_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    IoApic *s = opaque;
    if (addr == IOREGSEL) {
        s->ioregsel = (uint8_t)val;
    } else if (addr == IOWIN) {
        ioapic_write_indirect(s, (uint32_t)val);
    } else if (addr == IOEOI) {
        ioapic_eoi(s, (uint8_t)val);
    } else {
        guest_error(&s->dev, "write to reserved offset 0x%" PRIx64, addr);
    }
    return MEM_OK;
}

static const MemOps ioapic_ops = {.read = ioapic_read, .write = ioapic_write, .min_size = 4, .max_size = 4};

/* --- an accelerator's IO-APIC: the fields are a copy of its registers --- */

static void ioapic_fetch(IoApic *s)
{
    AccelIoApic image;
    if (!accel_with_ioapic(s->dev.obj.machine) || !s->bus->accel->ops->irqchip->get_ioapic(s->bus->accel, &image)) {
        return;
    }
    s->ioregsel = (uint8_t)image.ioregsel;
    s->ioapicid = image.id << 24;
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        s->ioredtbl[i] = image.ioredtbl[i];
    }
}

static void ioapic_put(IoApic *s)
{
    AccelIoApic image = {.ioregsel = s->ioregsel, .id = s->ioapicid >> 24};
    if (!accel_with_ioapic(s->dev.obj.machine)) {
        return;
    }
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        image.ioredtbl[i] = s->ioredtbl[i];
        image.levels |= s->ioredtbl[i] & RTE_LEVEL ? s->levels & 1u << i : 0;
    }
    if (!s->bus->accel->ops->irqchip->set_ioapic(s->bus->accel, &image)) {
        g_printerr("ioapic: the accelerator does not take its registers\n");
    }
}

static void ioapic_pre_save(void *instance)
{
    ioapic_fetch(instance);
}

static bool ioapic_post_load(void *instance, uint32_t version, GError **error)
{
    IoApic *s = instance;
    ioapic_put(s);
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        ApicMessage msg;
        if ((s->ioredtbl[i] & RTE_REMOTE_IRR) && ioapic_message(s, i, &msg)) {
            apic_bus_set_pin(s->bus, i, &msg); /* its completion is awaited */
        }
    }
    return true;
}

static void ioapic_print_pin(const IoApic *s, unsigned pin, GString *out)
{
    static const char *const modes[] = {"fixed", "lowest", "SMI", "reserved", "NMI", "INIT", "reserved", "ExtINT"};
    uint64_t e = s->ioredtbl[pin];

    g_string_append_printf(out, "  pin %-2u 0x%016" G_GINT64_MODIFIER "x dest=%-3u vec=%-3u %s %s %s %s %s%s%s\n", pin, e, (unsigned)(e >> 56),
                           (unsigned)(e & RTE_VECTOR), e >> 13 & 1 ? "active-lo" : "active-hi", e & RTE_LEVEL ? "level" : "edge ",
                           e & RTE_MASKED ? "masked" : "      ", modes[e >> 8 & 7], e >> 11 & 1 ? "logical" : "physical",
                           s->levels >> pin & 1 ? " raised" : "", e & RTE_REMOTE_IRR ? " remote-irr" : "");
}

static void ioapic_print(Object *obj, bool counts, GString *out)
{
    IoApic *s = (IoApic *)obj;

    ioapic_fetch(s);
    if (!counts) {
        g_string_append_printf(out, "ioapic: ver=0x%x id=0x%02x sel=0x%02x\n", IOAPIC_VERSION & 0xff, s->ioapicid >> 24, s->ioregsel);
    }
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        if (!counts) {
            ioapic_print_pin(s, i, out);
        } else if (s->counts[i]) {
            g_string_append_printf(out, "%2u: %" G_GUINT64_FORMAT "\n", i, s->counts[i]);
        }
    }
}

static void ioapic_reset(Device *dev)
{
    IoApic *s = (IoApic *)dev;
    s->ioregsel = 0;
    s->ioapicid = 0;
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        s->ioredtbl[i] = RTE_MASKED;
    }
    ioapic_put(s);
}

static bool ioapic_start(Device *dev, GError **error)
{
    IoApic *s = (IoApic *)dev;
    if (!accel_with_ioapic(dev->obj.machine)) {
        s->region = mem_region_new_io(dev->obj.machine->topo, "ioapic", 0x1000, &ioapic_ops, s, dev->home);
        mem_region_add(s->memory, IOAPIC_BASE, s->region);
    }
    s->inputs = irq_new_array(ioapic_input, s, IOAPIC_PINS);
    device_add_irq_inputs(dev, NULL, s->inputs, IOAPIC_PINS);
    return true;
}

static void ioapic_stop(Device *dev)
{
    IoApic *s = (IoApic *)dev;
    if (s->region) {
        mem_region_del(s->memory, s->region);
        mem_region_retire(s->region);
        mem_region_unref(s->region);
    }
    irq_free_array(s->inputs, IOAPIC_PINS);
}

static const StateField ioapic_fields[] = {
    STATE_FIELD_UINT(IoApic, ioregsel),
    STATE_FIELD_UINT(IoApic, ioapicid),
    STATE_FIELD_UINT(IoApic, levels),
    STATE_FIELD_ARRAY(IoApic, ioredtbl),
    STATE_END,
};
static const StateTable ioapic_state = {
    .name = "ioapic", .version = 1, .fields = ioapic_fields, .pre_save = ioapic_pre_save, .post_load = ioapic_post_load};

const DeviceModel ioapic_model = {
    .model = {.name = "ioapic",
              .doc = "IO-APIC with 24 pins.",
              .kind = MODEL_DEVICE,
              .size = sizeof(IoApic),
              .print_irqs = ioapic_print,
              .state = &ioapic_state,
              .internal = true},
    .start = ioapic_start,
    .reset = ioapic_reset,
    .stop = ioapic_stop,
};
