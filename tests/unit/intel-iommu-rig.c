/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A q35 machine with an IOMMU and a function that does DMA, and what a driver of the IOMMU does. */
#include "intel-iommu-rig.h"

#include <json-c/json.h>
#include <string.h>

#include "core/trace.h"

typedef struct Probe {
    PciDevice pci;
} Probe;

static const StateField probe_fields[] = {STATE_FIELD_STRUCT(Probe, pci, &pci_device_state), STATE_END};
static const StateTable probe_state = {.name = "probe", .version = 1, .fields = probe_fields};
static const PciModel probe_model = {
    .dev = {.name = "probe", .kind = MODEL_PCI, .size = sizeof(Probe), .state = &probe_state, .doc = "Does DMA"},
    .ids = {.vendor = 0x1234, .device = 0x5678, .class_code = 0xff0000},
    .msi_vectors = 1,
};

const Model *const model_table[] = {&pc_q35_model.model, &intel_iommu_model.model, &probe_model.dev,
                                    &ram_backend_ram_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

Machine *pc_new(void)
{
    Machine *m = machine_new(&pc_q35_model, NULL);
    GError *error = NULL;

    m->ram_size = 16ull << 20;
    m->smp_cpus = 1;
    clock_set_manual(m->clocks);
    if (!machine_start(m, &error)) {
        fail_msg("%s", error->message);
    }
    return m;
}

Device *add(Machine *m, const char *text, GError **error)
{
    struct json_object *opts = opts_parse("-device", text, "driver", NULL);
    Device *dev = machine_device_add(m, opts, error);

    json_object_put(opts);
    return dev;
}

PciDevice *function(Machine *m)
{
    return m->pci_bus->devices[SID];
}

Machine *world_new(const char *iommu)
{
    GError *error = NULL;
    Machine *m = pc_new();

    if (!add(m, iommu, &error) || !add(m, "probe,addr=3,id=probe", &error)) {
        fail_msg("%s", error->message);
    }
    machine_reset(m, SHUTDOWN_NONE);
    pci_config_write(function(m), PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY, 2);
    return m;
}

int setup(void **state)
{
    *state = world_new("intel-iommu,caching-mode=on");
    return 0;
}

int setup_48(void **state)
{
    *state = world_new("intel-iommu,caching-mode=on,aw-bits=48");
    return 0;
}

int teardown(void **state)
{
    machine_free(*state);
    return 0;
}

/* --- the driver's side --- */

void poke(Machine *m, uint64_t addr, uint64_t val)
{
    assert_int_equal(as_store(m->memory, addr, 8, val, MEM_ATTRS_CPU), MEM_OK);
}

uint64_t peek(Machine *m, uint64_t addr)
{
    uint64_t val;

    assert_int_equal(as_load(m->memory, addr, 8, &val, MEM_ATTRS_CPU), MEM_OK);
    return val;
}

uint32_t reg(Machine *m, unsigned offset)
{
    uint64_t val;

    assert_int_equal(as_load(m->memory, REGS + offset, 4, &val, MEM_ATTRS_CPU), MEM_OK);
    return (uint32_t)val;
}

void reg_set(Machine *m, unsigned offset, uint32_t val)
{
    assert_int_equal(as_store(m->memory, REGS + offset, 4, val, MEM_ATTRS_CPU), MEM_OK);
}

uint64_t reg64(Machine *m, unsigned offset)
{
    return peek(m, REGS + offset);
}

void reg64_set(Machine *m, unsigned offset, uint64_t val)
{
    poke(m, REGS + offset, val);
}

void command(Machine *m, uint32_t bit, bool on)
{
    uint32_t keep = reg(m, DMAR_GSTS_REG) & (GCMD_TE | GCMD_QIE | GCMD_IRE | GCMD_CFI);

    reg_set(m, DMAR_GCMD_REG, on ? keep | bit : keep & ~bit);
}

void write_context(Machine *m, uint64_t low, uint64_t high)
{
    poke(m, CONTEXT + SID * 16, low);
    poke(m, CONTEXT + SID * 16 + 8, high);
}

uint64_t index_of(uint64_t iova, unsigned level)
{
    return iova >> (12 + 9 * (level - 1)) & 511;
}

/* Tables that lead IOVA to L1, and translation on.  aw 1: three levels, 2: four. */
void enable(Machine *m, unsigned aw)
{
    poke(m, ROOT, CONTEXT | ROOT_P);
    write_context(m, (aw == 2 ? L4 : L3) | CONTEXT_P, aw | DID << 8);
    poke(m, L4 + index_of(IOVA, 4) * 8, L3 | SL_R | SL_W);
    poke(m, L3 + index_of(IOVA, 3) * 8, L2 | SL_R | SL_W);
    poke(m, L2 + index_of(IOVA, 2) * 8, L1 | SL_R | SL_W);
    reg64_set(m, DMAR_RTADDR_REG, ROOT);
    command(m, GCMD_SRTP, true);
    assert_true(reg(m, DMAR_GSTS_REG) & GCMD_SRTP);
    command(m, GCMD_TE, true);
    assert_true(reg(m, DMAR_GSTS_REG) & GCMD_TE);
}

void set_page(Machine *m, uint64_t iova, uint64_t entry)
{
    poke(m, L1 + index_of(iova, 1) * 8, entry);
}

void invalidate(Machine *m, unsigned granularity, uint16_t did, uint64_t iva)
{
    reg64_set(m, DMAR_IVA_REG, iva);
    reg64_set(m, DMAR_IOTLB_REG, IOTLB_IVT | (uint64_t)granularity << 60 | (uint64_t)did << 32);
}

void invalidate_contexts(Machine *m)
{
    reg64_set(m, DMAR_CCMD_REG, CCMD_ICC | (uint64_t)INV_GLOBAL << 61);
    assert_false(reg64(m, DMAR_CCMD_REG) & CCMD_ICC);
    assert_int_equal(reg64(m, DMAR_CCMD_REG) >> 59 & 3, INV_GLOBAL);
}

MemResult dma_write(Machine *m, uint64_t iova, uint64_t val)
{
    return pci_dma_write(function(m), iova, &val, 8);
}

MemResult dma_read(Machine *m, uint64_t iova, uint64_t *val)
{
    *val = 0;
    return pci_dma_read(function(m), iova, val, 8);
}

/* The next record, which is as expected; acknowledged. */
void expect_fault(Machine *m, VtdFault reason, uint64_t info, bool read)
{
    unsigned n = reg(m, DMAR_FSTS_REG) >> 8 & 0xff;
    unsigned at = DMAR_FRCD_REG + 16 * n;

    assert_true(reg(m, DMAR_FSTS_REG) & FSTS_PPF);
    assert_true(reg64(m, at + 8) & FRCD_F);
    assert_int_equal(reg64(m, at + 8) >> 32 & 0xff, reason);
    assert_int_equal(reg64(m, at + 8) & 0xffff, SID);
    assert_int_equal(!!(reg64(m, at + 8) & FRCD_T_READ), read);
    assert_int_equal(reg64(m, at), info);
    reg_set(m, at + 12, 1u << 31);
}

void expect_no_fault(Machine *m)
{
    assert_int_equal(reg(m, DMAR_FSTS_REG) & 0xff, 0);
}

/* Reads and writes are refused for that reason, and nothing is written. */
void expect_refused(Machine *m, VtdFault reason)
{
    uint64_t val;

    poke(m, PAGES, 0x5a);
    assert_int_equal(dma_write(m, IOVA, 1), MEM_ACCESS_ERROR);
    expect_fault(m, reason, IOVA, false);
    assert_int_equal(dma_read(m, IOVA, &val), MEM_ACCESS_ERROR);
    assert_int_equal(val, UINT64_MAX);
    expect_fault(m, reason == VTD_FAULT_WRITE ? VTD_FAULT_READ : reason, IOVA, true);
    expect_no_fault(m);
    assert_int_equal(peek(m, PAGES), 0x5a);
}

/* Writes to IOVA reach `addr`. */
void expect_at(Machine *m, uint64_t iova, uint64_t addr)
{
    static uint64_t unique = 0x1000;
    uint64_t val;

    unique++;
    assert_int_equal(dma_write(m, iova, unique), MEM_OK);
    assert_int_equal(peek(m, addr), unique);
    assert_int_equal(dma_read(m, iova, &val), MEM_OK);
    assert_int_equal(val, unique);
    expect_no_fault(m);
}

/* One entry of the queue; the tail is moved by queue_go(). */
void queue_put(Machine *m, unsigned n, uint64_t low, uint64_t high)
{
    poke(m, QUEUE + n * 16, low);
    poke(m, QUEUE + n * 16 + 8, high);
}

void queue_go(Machine *m, unsigned tail)
{
    reg64_set(m, DMAR_IQT_REG, tail * 16);
}

void queue_enable(Machine *m)
{
    reg64_set(m, DMAR_IQA_REG, QUEUE);
    queue_go(m, 0);
    command(m, GCMD_QIE, true);
    assert_true(reg(m, DMAR_GSTS_REG) & GCMD_QIE);
}

uint64_t wait_low(uint32_t data, bool interrupt)
{
    return DESC_WAIT | DESC_WAIT_SW | (interrupt ? DESC_WAIT_IF : 0) | (uint64_t)data << 32;
}

void settle(Machine *m)
{
    for (unsigned i = 0; i < 4; i++) {
        loop_iterate(m->main_loop, false);
    }
}

