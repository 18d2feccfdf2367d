/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The message bus of local APICs: interrupt commands (SDM volume 3, 11.6), MSI
 * writes (11.11) and the page at FEE00000h through which every CPU sees its own
 * registers.  A CPU's access names it in MemAttrs; any other write in the
 * megabyte is a message.
 */
#include <inttypes.h>

#include "accel/irqchip.h"
#include "apic-internal.h"

enum { ICR_DEST_FIELD, ICR_DEST_SELF, ICR_DEST_ALL, ICR_DEST_OTHERS };

/* The destination with the lowest processor priority, or NULL. */
static Apic *apic_bus_arbitrate(ApicBus *bus, const ApicMessage *msg)
{
    Apic *best = NULL;
    unsigned best_priority = 16;
    for (unsigned i = 0; i < bus->count; i++) {
        Apic *apic = bus->apics[i];
        if (!apic_matches(apic, msg)) {
            continue;
        }
        unsigned priority = apic_priority(apic);
        if (priority < best_priority) {
            best = apic;
            best_priority = priority;
        }
    }
    return best;
}

/* A message as the write that carries it (SDM volume 3, 11.11). */
static void apic_bus_encode(const ApicMessage *msg, uint64_t *address, uint32_t *data)
{
    *address = APIC_DEFAULT_BASE | (uint64_t)(msg->dest & 0xff) << 12 | (msg->logical ? 4 : 0) |
               (msg->x2apic ? (uint64_t)(msg->dest & 0xffffff00) << 32 : 0);
    *data = msg->vector | (uint32_t)msg->mode << 8 | (msg->level ? APIC_ICR_LEVEL | APIC_ICR_ASSERT : 0);
}

void apic_bus_set_pin(ApicBus *bus, unsigned pin, const ApicMessage *msg)
{
    uint64_t address;
    uint32_t data;

    if (msg->level && bus->accel && bus->accel->irqchip == ACCEL_IRQCHIP_SPLIT) {
        apic_bus_encode(msg, &address, &data);
        bus->accel->ops->irqchip->set_ioapic_message(bus->accel, pin, address, data);
    }
}

void apic_bus_send(ApicBus *bus, const ApicMessage *msg)
{
    if (bus->accel) {
        uint64_t address;
        uint32_t data;

        apic_bus_encode(msg, &address, &data);
        bus->accel->ops->irqchip->send_msi(bus->accel, address, data);
        return;
    }
    if (msg->mode == APIC_LOWEST) {
        Apic *apic = apic_bus_arbitrate(bus, msg);
        if (apic) {
            apic_accept(apic, msg);
        }
        return;
    }
    for (unsigned i = 0; i < bus->count; i++) {
        if (apic_matches(bus->apics[i], msg)) {
            apic_accept(bus->apics[i], msg);
        }
    }
}

void apic_bus_msi(ApicBus *bus, uint64_t address, uint32_t data)
{
    if (bus->accel) {
        bus->accel->ops->irqchip->send_msi(bus->accel, address, data);
        return;
    }
    const ApicMessage msg = {
        .dest = (address >> 12) & 0xff,
        .logical = address & 4,
        .mode = (ApicDelivery)((data >> 8) & 7),
        .level = data & 0x8000,
        .vector = (uint8_t)data,
    };
    /* A level-triggered message with the level bit clear is a deassertion, which no APIC acts on. */
    if (!msg.level || (data & 0x4000)) {
        apic_bus_send(bus, &msg);
    }
}

void apic_write_icr(Apic *s, uint32_t hi, uint32_t lo, bool x2apic)
{
    ApicBus *bus = s->bus;
    const ApicMessage msg = {
        .dest = x2apic ? hi : hi >> 24,
        .x2apic = x2apic,
        .logical = lo & APIC_ICR_LOGICAL,
        .mode = (ApicDelivery)((lo >> 8) & 7),
        .level = false,
        .vector = (uint8_t)lo,
    };
    unsigned shorthand = (lo >> 18) & 3;

    g_mutex_lock(&s->lock);
    s->icr_hi = hi;
    s->icr_lo = lo & 0xccfff;
    bool illegal = (msg.mode == APIC_FIXED || msg.mode == APIC_LOWEST) && msg.vector < 16;
    if (illegal) {
        apic_note_error(s, APIC_ESR_SEND_ILLEGAL);
    }
    g_mutex_unlock(&s->lock);
    bool init_deassert = msg.mode == APIC_INIT && (lo & APIC_ICR_LEVEL) && !(lo & APIC_ICR_ASSERT);
    if (illegal || init_deassert) {
        return;
    }
    if (shorthand == ICR_DEST_FIELD) {
        apic_bus_send(bus, &msg);
        return;
    }
    for (unsigned i = 0; i < bus->count; i++) {
        bool self = bus->apics[i] == s;
        if (shorthand == ICR_DEST_ALL || self == (shorthand == ICR_DEST_SELF)) {
            apic_accept(bus->apics[i], &msg);
        }
    }
}

/* The APIC a CPU's access to the register page reaches; NULL: the access is a message or goes nowhere. */
static Apic *apic_bus_accessor(ApicBus *bus, HwAddr addr, MemAttrs attrs)
{
    if (!attrs.unspecified || addr >= 0x1000 || attrs.requester_id >= bus->count || bus->accel) {
        return NULL;
    }
    Apic *s = bus->apics[attrs.requester_id];
    /* base_msr changes on this very thread only. */
    return (s->base_msr & (APIC_BASE_ENABLE | APIC_BASE_EXTD)) == APIC_BASE_ENABLE ? s : NULL;
}

static MemResult apic_bus_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    Apic *s = apic_bus_accessor(opaque, addr, attrs);
    uint32_t reg = 0;
    *val = UINT32_MAX;
    if (!s) {
        return MEM_DECODE_ERROR;
    }
    if (addr & 0xf || !apic_reg_read(s, (unsigned)addr >> 4, &reg)) {
        guest_error(&s->dev, "read of a reserved register (offset 0x%" PRIx64 ")", addr);
    }
    *val = reg;
    return MEM_OK;
}

static MemResult apic_bus_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    ApicBus *bus = opaque;
    Apic *s = apic_bus_accessor(bus, addr, attrs);
    if (!s) {
        apic_bus_msi(bus, APIC_DEFAULT_BASE + addr, (uint32_t)val);
        return MEM_OK;
    }
    if (addr & 0xf || !apic_reg_write(s, (unsigned)addr >> 4, (uint32_t)val)) {
        guest_error(&s->dev, "write to a reserved register (offset 0x%" PRIx64 ", value 0x%" PRIx64 ")", addr,
                    val);
    }
    return MEM_OK;
}

static const MemOps apic_bus_mem_ops = {
    .read = apic_bus_read, .write = apic_bus_write, .min_size = 4, .max_size = 4};

MemRegion *apic_bus_new_region(ApicBus *bus, Machine *machine)
{
    return mem_region_new_io(machine->topo, "apic", APIC_REGION_SIZE, &apic_bus_mem_ops, bus, NULL);
}
