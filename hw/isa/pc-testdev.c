/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The test device that kvm-unit-tests expect on a PC: ports E0h (a register of up to 4 bytes, whatever the
 * access) and E8h (four registers of one byte), E4h (a page whose translation the hypervisor should forget:
 * nothing here depends on one, so the write is all there is), 2000h + n (level of ISA interrupt n), and 64
 * KiB of registers at FF000000h.
 */
#include <string.h>

#include "hw/isa/isa.h"

#define TESTDEV_REG     0xe0
#define TESTDEV_FLUSH   0xe4
#define TESTDEV_BYTES   0xe8
#define TESTDEV_IRQ     0x2000
#define TESTDEV_MEM     0xff000000ull
#define TESTDEV_MEM_LEN 0x10000u

enum {
    TESTDEV_REGION_REG,
    TESTDEV_REGION_FLUSH,
    TESTDEV_REGION_BYTES,
    TESTDEV_REGION_IRQ,
    TESTDEV_PORT_REGIONS
};

typedef struct TestDev {
    Device dev;
    IsaBus *bus;
    MemRegion *ports[TESTDEV_PORT_REGIONS];
    MemRegion *memory;
    uint32_t reg;
    uint8_t bytes[4];
    uint8_t contents[TESTDEV_MEM_LEN];
    uint16_t levels; /* of interrupts that this device drives */
} TestDev;

static MemResult testdev_reg_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = ((TestDev *)opaque)->reg >> 8 * addr;
    return MEM_OK;
}

static MemResult testdev_reg_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    TestDev *s = opaque;
    uint32_t mask = (uint32_t)((UINT64_C(1) << 8 * size) - 1) << 8 * addr;
    s->reg = (s->reg & ~mask) | ((uint32_t)val << 8 * addr & mask);
    return MEM_OK;
}

static MemResult testdev_flush_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = 0;
    return MEM_OK;
}

static MemResult testdev_flush_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    return MEM_OK;
}

static MemResult testdev_byte_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = ((TestDev *)opaque)->bytes[addr];
    return MEM_OK;
}

static MemResult testdev_byte_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    ((TestDev *)opaque)->bytes[addr] = (uint8_t)val;
    return MEM_OK;
}

static MemResult testdev_irq_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = ((TestDev *)opaque)->levels >> addr & 1;
    return MEM_OK;
}

static MemResult testdev_irq_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    TestDev *s = opaque;
    s->levels = (uint16_t)((s->levels & ~(1u << addr)) | (val ? 1u << addr : 0));
    irq_set(s->bus->irq[addr], val != 0);
    return MEM_OK;
}

static MemResult testdev_mem_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = 0;
    memcpy(val, ((TestDev *)opaque)->contents + addr, size);
    return MEM_OK;
}

static MemResult testdev_mem_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    memcpy(((TestDev *)opaque)->contents + addr, &val, size);
    return MEM_OK;
}

static const struct {
    const char *name;
    uint16_t port, count;
    MemOps ops;
} testdev_ports[TESTDEV_PORT_REGIONS] = {
    {"pc-testdev-reg",
     TESTDEV_REG,
     4,
     {.read = testdev_reg_read, .write = testdev_reg_write, .min_size = 1, .max_size = 4}},
    {"pc-testdev-flush",
     TESTDEV_FLUSH,
     4,
     {.read = testdev_flush_read, .write = testdev_flush_write, .min_size = 1, .max_size = 4}},
    {"pc-testdev-byte",
     TESTDEV_BYTES,
     4,
     {.read = testdev_byte_read, .write = testdev_byte_write, .min_size = 1, .max_size = 1}},
    {"pc-testdev-irq",
     TESTDEV_IRQ,
     ISA_IRQ_COUNT,
     {.read = testdev_irq_read, .write = testdev_irq_write, .min_size = 1, .max_size = 1}},
};
static const MemOps testdev_mem_ops = {
    .read = testdev_mem_read, .write = testdev_mem_write, .min_size = 1, .max_size = 8};

static bool testdev_start(Device *dev, GError **error)
{
    TestDev *s = (TestDev *)dev;
    Machine *m = dev->obj.machine;
    s->bus = isa_bus_find(m, "pc-testdev", error);
    if (!s->bus || !isa_check_ports(s->bus, dev, NULL, TESTDEV_REG, 12, error)) {
        return false;
    }
    for (unsigned i = 0; i < TESTDEV_PORT_REGIONS; i++) {
        s->ports[i] = isa_map_ports(s->bus, dev, testdev_ports[i].name, testdev_ports[i].port,
                                    testdev_ports[i].count, &testdev_ports[i].ops, s);
    }
    s->memory =
        mem_region_new_io(m->topo, "pc-testdev-memory", TESTDEV_MEM_LEN, &testdev_mem_ops, s, dev->home);
    mem_region_add(m->system_memory, TESTDEV_MEM, s->memory);
    return true;
}

static void testdev_stop(Device *dev)
{
    TestDev *s = (TestDev *)dev;
    for (unsigned i = 0; i < TESTDEV_PORT_REGIONS; i++) {
        isa_unmap_ports(s->bus, &s->ports[i]);
    }
    mem_region_del(dev->obj.machine->system_memory, s->memory);
    mem_region_retire(s->memory);
    mem_region_unref(s->memory);
    s->memory = NULL;
}

static void testdev_reset(Device *dev)
{
    TestDev *s = (TestDev *)dev;
    for (unsigned i = 0; i < ISA_IRQ_COUNT; i++) {
        if (s->levels >> i & 1) {
            irq_set(s->bus->irq[i], 0);
        }
    }
    s->levels = 0;
    s->reg = 0;
    memset(s->bytes, 0, sizeof(s->bytes));
    memset(s->contents, 0, sizeof(s->contents));
}

static bool testdev_post_load(void *instance, uint32_t version, GError **error)
{
    TestDev *s = instance;

    for (unsigned i = 0; i < ISA_IRQ_COUNT; i++) {
        if (s->levels >> i & 1) {
            irq_set(s->bus->irq[i], 1);
        }
    }
    return true;
}

static const StateField testdev_fields[] = {
    STATE_FIELD_UINT(TestDev, reg),
    STATE_FIELD_BYTES(TestDev, bytes),
    STATE_FIELD_BYTES(TestDev, contents),
    STATE_FIELD_UINT(TestDev, levels),
    STATE_END,
};
static const StateTable testdev_state = {
    .name = "pc-testdev", .version = 1, .fields = testdev_fields, .post_load = testdev_post_load};

const DeviceModel pc_testdev_model = {
    .model = {.name = "pc-testdev",
              .doc = "Registers, interrupt levels and memory for kvm-unit-tests.",
              .kind = MODEL_DEVICE,
              .size = sizeof(TestDev),
              .state = &testdev_state},
    .start = testdev_start,
    .reset = testdev_reset,
    .stop = testdev_stop,
};
