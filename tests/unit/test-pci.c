/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests of hw/pci: config space, BARs of every kind, INTx, MSI, MSI-X, bus mastering, bridges, reset, state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>

#include "core/trace.h"
#include "hw/pci/bridge.h"
#include "hw/pci/pci.h"

#define RAM_SIZE 0x10000
#define VECTORS  70 /* two words of pending bits */

enum { BAR_MMIO32, BAR_IO, BAR_MMIO64, BAR_PREFETCH = 4, BAR_MSIX };

typedef struct Probe {
    PciDevice pci;
    uint32_t value;
    unsigned resets, moves;
} Probe;

static MemResult probe_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = ((Probe *)opaque)->value + addr;
    return MEM_OK;
}

static MemResult probe_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    ((Probe *)opaque)->value = (uint32_t)(val - addr);
    return MEM_OK;
}

static const MemOps probe_ops = {probe_read, probe_write, .min_size = 1, .max_size = 8};

static void probe_reset(PciDevice *dev)
{
    ((Probe *)dev)->resets++;
}

static void probe_moved(PciDevice *dev, unsigned bar)
{
    ((Probe *)dev)->moves++;
}

static const StateField probe_fields[] = {STATE_FIELD_STRUCT(Probe, pci, &pci_device_state),
                                          STATE_FIELD_UINT(Probe, value), STATE_END};
static const StateTable probe_state = {.name = "probe", .version = 1, .fields = probe_fields};
static const PciModel probe_model = {
    .dev = {.name = "probe", .kind = MODEL_PCI, .size = sizeof(Probe), .state = &probe_state, .doc = "Has all of PCI"},
    .ids = {0x1234, 0x5678, 0x1af4, 0x1100, .revision = 3, .class_code = 0x010802},
    .interrupt_pin = 2,
    .express = true,
    .bars = {[BAR_MMIO32] = {0x1000, PCI_BAR_MEM32, .ops = &probe_ops},
             [BAR_IO] = {0x40, PCI_BAR_IO, .ops = &probe_ops},
             [BAR_MMIO64] = {0x200000000, PCI_BAR_MEM64, .ops = &probe_ops},
             [BAR_PREFETCH] = {0x2000, PCI_BAR_MEM32_PREFETCH, .ops = &probe_ops},
             [BAR_MSIX] = {0x1000, PCI_BAR_MEM32}},
    .msi_vectors = 4,
    .msix_vectors = VECTORS,
    .msix_bar = BAR_MSIX,
    .msix_pba_offset = 0x800,
    .reset = probe_reset,
    .bar_moved = probe_moved,
};

static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model,         &probe_model.dev, &pci_bridge_model.dev,
                                    &pcie_root_port_model.dev, NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef struct World {
    Machine *m;
    PciBus *bus;
    PciDevice *dev;
    Probe *probe;
    uint8_t *ram;
    MemRegion *ram_region, *io;
    AddressSpace *io_space;
    int pins[4];
    unsigned messages, last_vector;
    MsiMessage last;
} World;

static void bus_set_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
    World *w = bus->opaque;

    w->pins[pin] += level ? 1 : -1;
}

static void bus_send_msi(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg)
{
    World *w = bus->opaque;

    w->messages++;
    w->last_vector = vector;
    w->last = msg;
}

static const PciBusOps bus_ops = {.set_intx = bus_set_intx, .send_msi = bus_send_msi};

static int setup(void **state)
{
    World *w = g_new0(World, 1);

    w->m = machine_new(&bare_model, NULL);
    loop_lock(w->m->main_loop);
    w->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    w->ram_region = mem_region_new_ram(w->m->topo, "ram", RAM_SIZE, w->ram, -1, 0, false);
    w->io = mem_region_new_container(w->m->topo, "io", 0x10000);
    w->io_space = as_new(w->m->topo, "io", w->io);
    mem_region_add(w->m->system_memory, 0, w->ram_region);
    machine_set_kind_ops(w->m, MODEL_PCI, &pci_kind_ops);
    w->bus = pci_bus_new(w->m, "pcie.0", &bus_ops, w, true, w->m->system_memory, w->io, w->m->memory);
    w->dev = pci_create(w->bus, PCI_DEVFN(3, 0), &probe_model, "probe0", NULL, NULL);
    assert_non_null(w->dev);
    w->probe = (Probe *)w->dev;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    World *w = *state;

    if (w->dev) {
        device_destroy(&w->dev->dev);
    }
    pci_bus_free(w->bus);
    mem_region_del(w->m->system_memory, w->ram_region);
    as_free(w->io_space);
    mem_region_unref(w->ram_region);
    mem_region_unref(w->io);
    loop_unlock(w->m->main_loop);
    machine_free(w->m);
    munmap(w->ram, RAM_SIZE);
    g_free(w);
    return 0;
}

static uint32_t get(World *w, uint16_t offset, unsigned size)
{
    return pci_config_read(w->dev, offset, size);
}

static void set(World *w, uint16_t offset, uint32_t val, unsigned size)
{
    pci_config_write(w->dev, offset, val, size);
}

static bool there(AddressSpace *as, uint64_t addr, uint64_t *val)
{
    return as_load(as, addr, 4, val, MEM_ATTRS_CPU) == MEM_OK;
}

static uint16_t bar_reg(unsigned n)
{
    return (uint16_t)(PCI_BASE_ADDRESS_0 + 4 * n);
}

/* --- configuration space --- */

static void test_header(void **state)
{
    World *w = *state;

    assert_int_equal(get(w, PCI_VENDOR_ID, 4), 0x56781234);
    assert_int_equal(get(w, PCI_CLASS_REVISION, 4), 0x01080203);
    assert_int_equal(get(w, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x11001af4);
    assert_int_equal(get(w, PCI_INTERRUPT_PIN, 1), 2);
    set(w, PCI_VENDOR_ID, 0, 4);
    set(w, PCI_INTERRUPT_PIN, 4, 1);
    assert_int_equal(get(w, PCI_VENDOR_ID, 4), 0x56781234);
    assert_int_equal(get(w, PCI_INTERRUPT_PIN, 1), 2);
    set(w, PCI_INTERRUPT_LINE, 11, 1);
    assert_int_equal(get(w, PCI_INTERRUPT_LINE, 2), 0x020b);
    /* Status: errors are cleared by writing 1, and by nothing else. */
    pci_set16(w->dev->config + PCI_STATUS, pci_get16(w->dev->config + PCI_STATUS) | PCI_STATUS_REC_MASTER_ABORT);
    set(w, PCI_STATUS, 0, 2);
    assert_true(get(w, PCI_STATUS, 2) & PCI_STATUS_REC_MASTER_ABORT);
    set(w, PCI_STATUS, PCI_STATUS_REC_MASTER_ABORT, 2);
    assert_int_equal(get(w, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
}

static void test_host_access(void **state)
{
    World *w = *state;
    uint32_t at = PCI_DEVFN(3, 0) << 12;

    assert_int_equal(pci_host_config_read(w->bus, at, 4), 0x56781234);
    assert_int_equal(pci_host_config_read(w->bus, at | 2, 2), 0x5678);
    assert_int_equal(pci_host_config_read(w->bus, at | 1u << 12, 4), UINT32_MAX); /* function 1 */
    assert_int_equal(pci_host_config_read(w->bus, at | 1u << 20, 1), 0xff);       /* bus 1 */
    assert_int_equal(pci_host_config_read(w->bus, at | 0xffe, 4), UINT32_MAX);    /* reaches past the end */
    pci_host_config_write(w->bus, at | PCI_COMMAND, 7, 2);
    assert_int_equal(get(w, PCI_COMMAND, 2), 7);
    pci_host_config_write(w->bus, at | 5u << 20 | PCI_COMMAND, 0, 2);
    assert_int_equal(get(w, PCI_COMMAND, 2), 7);
}

static void test_capabilities(void **state)
{
    World *w = *state;
    GError *error = NULL;
    uint16_t msi = pci_find_capability(w->dev, PCI_CAP_ID_MSI), at;
    unsigned seen = 0;

    assert_int_equal(msi, w->dev->msi_cap);
    assert_int_equal(pci_find_capability(w->dev, PCI_CAP_ID_MSIX), w->dev->msix_cap);
    assert_int_equal(pci_find_capability(w->dev, PCI_CAP_ID_EXP), w->dev->exp_cap);
    assert_int_equal(pci_find_capability(w->dev, PCI_CAP_ID_VPD), 0);
    for (uint8_t next = (uint8_t)get(w, PCI_CAPABILITY_LIST, 1); next; next = (uint8_t)get(w, next + 1, 1)) {
        seen++;
    }
    assert_int_equal(seen, 3);
    at = pci_add_capability(w->dev, PCI_CAP_ID_VNDR, 0, 16, &error);
    assert_true(at > msi);
    assert_int_equal(pci_add_capability(w->dev, PCI_CAP_ID_VNDR, 0, 200, &error), 0);
    assert_non_null(strstr(error->message, "no room for capability 0x09"));
    g_clear_error(&error);
    assert_int_equal(pci_add_ext_capability(w->dev, PCI_EXT_CAP_ID_DSN, 1, 0x100, 12, NULL), 0x100);
    assert_int_equal(pci_add_ext_capability(w->dev, PCI_EXT_CAP_ID_VNDR, 1, 0x200, 16, NULL), 0x200);
    assert_int_equal(get(w, 0x100, 4), PCI_EXT_CAP_ID_DSN | 1 << 16 | 0x200u << 20);
    assert_int_equal(get(w, 0x200, 4), PCI_EXT_CAP_ID_VNDR | 1 << 16);
    assert_int_equal(pci_add_ext_capability(w->dev, 1, 1, 0xff8, 16, &error), 0);
    g_clear_error(&error);
}

/* --- BARs --- */

static void test_sizing(void **state)
{
    static const struct {
        unsigned bar;
        uint32_t ones;
    } sizes[] = {
        {BAR_MMIO32, 0xfffff000},     {BAR_IO, 0xffffffc1},   {BAR_MMIO64, 0x00000004}, {BAR_MMIO64 + 1, 0xfffffffe},
        {BAR_PREFETCH, 0xffffe008}, {BAR_MSIX, 0xfffff000},
    };
    World *w = *state;

    set(w, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        set(w, bar_reg(sizes[i].bar), UINT32_MAX, 4);
        assert_int_equal(get(w, bar_reg(sizes[i].bar), 4), sizes[i].ones);
    }
    set(w, PCI_ROM_ADDRESS, UINT32_MAX, 4);
    assert_int_equal(get(w, PCI_ROM_ADDRESS, 4), 0);
}

static void test_mapping(void **state)
{
    World *w = *state;
    uint64_t val;

    w->probe->value = 0x1000;
    set(w, bar_reg(BAR_MMIO32), 0xe0000000, 4);
    set(w, bar_reg(BAR_IO), 0xc000, 4);
    set(w, bar_reg(BAR_MMIO64), 0, 4);
    set(w, bar_reg(BAR_MMIO64) + 4, 0x12, 4);
    assert_false(there(w->m->memory, 0xe0000010, &val));
    set(w, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    assert_true(there(w->m->memory, 0xe0000010, &val));
    assert_int_equal(val, 0x1010);
    assert_true(there(w->m->memory, 0x1200000020, &val));
    assert_int_equal(val, 0x1020);
    assert_false(there(w->io_space, 0xc004, &val));
    set(w, PCI_COMMAND, PCI_COMMAND_IO, 2);
    assert_true(there(w->io_space, 0xc004, &val));
    assert_false(there(w->m->memory, 0xe0000010, &val));
    /* Moves: the old place is empty, the new one answers. */
    set(w, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
    w->probe->moves = 0;
    set(w, bar_reg(BAR_MMIO32), 0xd0000000, 4);
    assert_int_equal(w->probe->moves, 1);
    assert_false(there(w->m->memory, 0xe0000010, &val));
    assert_int_equal(as_store(w->m->memory, 0xd0000008, 4, 0x2008, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(w->probe->value, 0x2000);
    /* Nothing is mapped at zero or across the end. */
    set(w, bar_reg(BAR_MMIO32), 0, 4);
    set(w, bar_reg(BAR_PREFETCH), 0xffffe000, 4);
    assert_int_equal(w->dev->bars[BAR_MMIO32].address, PCI_BAR_UNMAPPED);
    assert_int_equal(w->dev->bars[BAR_PREFETCH].address, PCI_BAR_UNMAPPED);
}

static void test_option_rom(void **state)
{
    World *w = *state;
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "test-pci-rom.XXXXXX", NULL);
    int fd = g_mkstemp(path);
    PciDevice *dev;
    GError *error = NULL;
    uint64_t val;

    assert_int_equal(write(fd, "\x55\xaaROM", 5), 5);
    dev = pci_create(w->bus, PCI_DEVFN(4, 0), &probe_model, "rom", NULL, "romfile", path, NULL);
    assert_non_null(dev);
    pci_config_write(dev, PCI_ROM_ADDRESS, UINT32_MAX, 4);
    assert_int_equal(pci_config_read(dev, PCI_ROM_ADDRESS, 4), 0xfffff801);
    pci_config_write(dev, PCI_ROM_ADDRESS, 0xf0000000, 4);
    pci_config_write(dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    assert_false(there(w->m->memory, 0xf0000000, &val));
    pci_config_write(dev, PCI_ROM_ADDRESS, 0xf0000001, 4);
    assert_true(there(w->m->memory, 0xf0000000, &val));
    assert_int_equal(val, 0x4f52aa55);
    as_store(w->m->memory, 0xf0000000, 4, 0, MEM_ATTRS_CPU);
    assert_true(there(w->m->memory, 0xf0000000, &val));
    assert_int_equal(val, 0x4f52aa55);
    device_destroy(&dev->dev);
    assert_null(pci_create(w->bus, PCI_DEVFN(4, 0), &probe_model, "rom", &error, "romfile", "/no/such/rom", NULL));
    assert_non_null(strstr(error->message, "romfile"));
    g_clear_error(&error);
    assert_null(w->bus->devices[PCI_DEVFN(4, 0)]);
    close(fd);
    unlink(path);
}

static void test_bus_master(void **state)
{
    World *w = *state;
    uint32_t word = 0xfeedf00d, seen = 0;

    assert_int_not_equal(pci_dma_write(w->dev, 0x100, &word, 4), MEM_OK);
    set(w, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
    assert_int_equal(pci_dma_write(w->dev, 0x100, &word, 4), MEM_OK);
    assert_int_equal(pci_get32(w->ram + 0x100), word);
    assert_int_equal(pci_dma_read(w->dev, 0x100, &seen, 4), MEM_OK);
    assert_int_equal(seen, word);
    assert_int_not_equal(pci_dma_read(w->dev, RAM_SIZE, &seen, 4), MEM_OK);
    set(w, PCI_COMMAND, 0, 2);
    assert_int_not_equal(pci_dma_read(w->dev, 0x100, &seen, 4), MEM_OK);
}

/* --- interrupts --- */

static void test_intx(void **state)
{
    World *w = *state;

    pci_set_irq(w->dev, 1);
    pci_set_irq(w->dev, 1);
    assert_int_equal(w->pins[1], 1);
    assert_true(get(w, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    set(w, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
    assert_int_equal(w->pins[1], 0);
    assert_true(get(w, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    set(w, PCI_COMMAND, 0, 2);
    assert_int_equal(w->pins[1], 1);
    /* Messages on: the pin is silent (PCI 3.0, 6.8.3.3). */
    set(w, w->dev->msi_cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE, 2);
    assert_int_equal(w->pins[1], 0);
    set(w, w->dev->msi_cap + PCI_MSI_FLAGS, 0, 2);
    assert_int_equal(w->pins[1], 1);
    pci_set_irq(w->dev, 0);
    assert_int_equal(w->pins[1], 0);
    assert_false(get(w, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
}

static void test_msi(void **state)
{
    World *w = *state;
    uint16_t cap = w->dev->msi_cap;

    msi_notify(w->dev, 0);
    assert_int_equal(w->messages, 0);
    set(w, cap + PCI_MSI_ADDRESS_LO, 0xfee01003, 4);
    set(w, cap + PCI_MSI_ADDRESS_HI, 0x1, 4);
    set(w, cap + PCI_MSI_DATA_64, 0x4040, 2);
    set(w, cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | 1 << 4, 2); /* two of four */
    assert_int_equal(msi_vectors_allocated(w->dev), 2);
    msi_notify(w->dev, 1);
    assert_int_equal(w->messages, 1);
    assert_int_equal(w->last.address, 0x1fee01000);
    assert_int_equal(w->last.data, 0x4041);
    msi_notify(w->dev, 3); /* beyond what was allocated: the last one */
    assert_int_equal(w->last_vector, 1);
    set(w, cap + PCI_MSI_MASK_64, 2, 4);
    msi_notify(w->dev, 1);
    msi_notify(w->dev, 1);
    assert_int_equal(w->messages, 2);
    assert_int_equal(get(w, cap + PCI_MSI_PENDING_64, 4), 2);
    set(w, cap + PCI_MSI_MASK_64, 0, 4);
    assert_int_equal(w->messages, 3);
    assert_int_equal(get(w, cap + PCI_MSI_PENDING_64, 4), 0);
}

static void msix_write(World *w, unsigned vector, unsigned field, uint32_t val)
{
    assert_int_equal(as_store(w->m->memory, 0xe1000000 + vector * PCI_MSIX_ENTRY_SIZE + field, 4, val, MEM_ATTRS_CPU),
                     MEM_OK);
}

static void test_msix(void **state)
{
    World *w = *state;
    uint16_t cap = w->dev->msix_cap;
    const unsigned v = VECTORS - 1;
    uint64_t val;

    assert_int_equal(get(w, cap + PCI_MSIX_FLAGS, 2), VECTORS - 1);
    assert_int_equal(get(w, cap + PCI_MSIX_TABLE, 4), BAR_MSIX);
    assert_int_equal(get(w, cap + PCI_MSIX_PBA, 4), 0x800 | BAR_MSIX);
    set(w, bar_reg(BAR_MSIX), 0xe1000000, 4);
    set(w, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    msix_write(w, v, PCI_MSIX_ENTRY_ADDR_LO, 0xfee00000);
    msix_write(w, v, PCI_MSIX_ENTRY_DATA, 0x31);
    msix_write(w, v, PCI_MSIX_ENTRY_CTRL, 0);
    msix_notify(w->dev, v);
    assert_int_equal(w->messages, 0); /* not enabled */
    set(w, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    msix_notify(w->dev, v);
    assert_int_equal(w->messages, 1);
    assert_int_equal(w->last.address, 0xfee00000);
    assert_int_equal(w->last.data, 0x31);
    /* Masked: pending, delivered once by the unmask. */
    msix_write(w, v, PCI_MSIX_ENTRY_CTRL, 1);
    msix_notify(w->dev, v);
    msix_notify(w->dev, v);
    assert_int_equal(as_load(w->m->memory, 0xe1000808, 8, &val, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(val, UINT64_C(1) << (v - 64));
    as_store(w->m->memory, 0xe1000808, 8, 0, MEM_ATTRS_CPU); /* read-only */
    msix_write(w, v, PCI_MSIX_ENTRY_CTRL, 0);
    assert_int_equal(w->messages, 2);
    as_load(w->m->memory, 0xe1000808, 8, &val, MEM_ATTRS_CPU);
    assert_int_equal(val, 0);
    /* The function mask holds all, vector 0 is masked by its own bit as well. */
    set(w, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
    msix_notify(w->dev, v);
    msix_notify(w->dev, 0);
    set(w, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    assert_int_equal(w->messages, 3);
    assert_true(msix_pending(w->dev, 0));
    msix_notify(w->dev, VECTORS); /* no such vector */
    assert_int_equal(w->messages, 3);
}

/* --- reset and state --- */

static void test_reset(void **state)
{
    World *w = *state;

    set(w, bar_reg(BAR_MMIO32), 0xe0000000, 4);
    set(w, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    set(w, w->dev->msi_cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE, 2);
    pci_set_irq(w->dev, 1);
    w->probe->resets = 0;
    assert_true(pci_get32(w->dev->config + w->dev->exp_cap + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR);
    set(w, w->dev->exp_cap + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_FLR, 2);
    assert_int_equal(w->probe->resets, 1);
    assert_int_equal(get(w, w->dev->exp_cap + PCI_EXP_DEVCTL, 2) & PCI_EXP_DEVCTL_FLR, 0);
    assert_int_equal(get(w, PCI_COMMAND, 2), 0);
    assert_int_equal(get(w, bar_reg(BAR_MMIO32), 4), 0);
    assert_false(msi_enabled(w->dev));
    assert_int_equal(w->pins[1], 0);
}

static void test_state(void **state)
{
    World *w = *state;
    g_autoptr(GByteArray) saved = g_byte_array_new(), again = g_byte_array_new();
    size_t offset = 0;
    uint64_t val;

    set(w, bar_reg(BAR_MMIO32), 0xe0000000, 4);
    set(w, bar_reg(BAR_MSIX), 0xe1000000, 4);
    set(w, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    msix_write(w, 5, PCI_MSIX_ENTRY_DATA, 0x55);
    set(w, w->dev->msix_cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    msix_notify(w->dev, 5);
    device_save(&w->dev->dev, saved);
    device_reset(&w->dev->dev);
    assert_false(there(w->m->memory, 0xe0000000, &val));
    assert_true(device_load(&w->dev->dev, saved->data, saved->len, &offset, NULL));
    assert_true(there(w->m->memory, 0xe0000000, &val));
    assert_true(msix_pending(w->dev, 5));
    device_save(&w->dev->dev, again);
    assert_int_equal(again->len, saved->len);
    assert_memory_equal(again->data, saved->data, saved->len);
}

/* Saves as if the function had `val` there, and loads it. */
static bool load_with(World *w, unsigned at, uint8_t val, GError **error)
{
    g_autoptr(GByteArray) saved = g_byte_array_new();
    uint8_t own = w->dev->config[at];
    size_t offset = 0;

    w->dev->config[at] = val;
    device_save(&w->dev->dev, saved);
    w->dev->config[at] = own;
    return device_load(&w->dev->dev, saved->data, saved->len, &offset, error);
}

/* A state that is of another function, or was made up: what others rely on stays as it was started. */
static void test_state_of_another(void **state)
{
    static const struct {
        unsigned at;
        uint8_t val;
    } others[] = {{PCI_VENDOR_ID, 1}, {PCI_HEADER_TYPE, PCI_HEADER_TYPE_BRIDGE}, {PCI_INTERRUPT_PIN, 0xbb}, {PCI_BASE_ADDRESS_1, 0}};
    World *w = *state;

    for (unsigned i = 0; i < G_N_ELEMENTS(others); i++) {
        g_autofree char *where = g_strdup_printf("config byte 0x%02x is 0x%02x", others[i].at, others[i].val);
        g_autoptr(GError) error = NULL;

        pci_set_irq(w->dev, 1);
        assert_false(load_with(w, others[i].at, others[i].val, &error));
        assert_non_null(strstr(error->message, where));
        pci_set_irq(w->dev, 0);
        assert_int_equal(w->pins[1], 0);
    }
    assert_true(load_with(w, PCI_INTERRUPT_PIN, 0, NULL));
    assert_int_equal(w->dev->config[PCI_INTERRUPT_PIN], 2);
    assert_true(load_with(w, PCI_CAPABILITY_LIST, 0x40, NULL));
    assert_true(load_with(w, PCI_STATUS + 1, PCI_STATUS_DETECTED_PARITY >> 8, NULL));
}

/* Buffers that are too short are not kept. */
static void test_state_cut(void **state)
{
    World *w = *state;
    uint32_t *const lens[] = {&w->dev->config_len, &w->dev->msix_table_len, &w->dev->msix_pba_len};

    for (unsigned i = 0; i < G_N_ELEMENTS(lens); i++) {
        g_autoptr(GByteArray) saved = g_byte_array_new();
        g_autoptr(GError) error = NULL;
        uint32_t whole = *lens[i];
        size_t offset = 0;

        *lens[i] /= 2;
        device_save(&w->dev->dev, saved);
        *lens[i] = whole;
        assert_false(device_load(&w->dev->dev, saved->data, saved->len, &offset, &error));
        assert_non_null(strstr(error->message, "another shape"));
        assert_int_equal(*lens[i], whole);
        assert_false(msix_pending(w->dev, VECTORS - 1));
        assert_int_equal(pci_config_read(w->dev, w->dev->config_size - 4, 4), 0);
        device_reset(&w->dev->dev);
    }
}

/* --- bridges --- */

static PciDevice *bridge_with_probe(World *w, const PciModel *model, PciDevice **behind)
{
    PciDevice *bridge = pci_create(w->bus, PCI_DEVFN(5, 0), model, "bridge0", NULL, NULL);

    assert_non_null(bridge);
    pci_config_write(bridge, PCI_PRIMARY_BUS, 0x020100, 4);
    *behind = pci_create(pci_bus_find(w->m, "bridge0"), PCI_DEVFN(0, 0), &probe_model, "behind", NULL, NULL);
    assert_non_null(*behind);
    return bridge;
}

static void test_bridge(void **state)
{
    World *w = *state;
    PciDevice *behind, *bridge;
    uint64_t val;

    w->m->pci_bus = w->bus;
    bridge = bridge_with_probe(w, &pci_bridge_model, &behind);
    assert_int_equal(pci_host_config_read(w->bus, 1u << 20, 4), 0x56781234);
    assert_int_equal(pci_host_config_read(w->bus, 3u << 20, 4), UINT32_MAX);
    ((Probe *)behind)->value = 0x3000;
    pci_config_write(behind, bar_reg(BAR_MMIO32), 0xe0100000, 4);
    pci_config_write(behind, bar_reg(BAR_IO), 0xd040, 4);
    pci_config_write(behind, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_MASTER, 2);
    assert_false(there(w->m->memory, 0xe0100000, &val)); /* the window is closed */
    pci_config_write(bridge, PCI_MEMORY_BASE, 0xe010e010, 4);
    pci_config_write(bridge, PCI_IO_BASE, 0xd0d0, 2);
    pci_config_write(bridge, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_IO, 2);
    assert_true(there(w->m->memory, 0xe0100004, &val));
    assert_int_equal(val, 0x3004);
    assert_true(there(w->io_space, 0xd040, &val));
    pci_config_write(bridge, PCI_MEMORY_BASE, 0xe020e020, 4); /* elsewhere */
    assert_false(there(w->m->memory, 0xe0100004, &val));
    /* INTB of slot 0 behind stays INTB; the message goes through. */
    pci_set_irq(behind, 1);
    assert_int_equal(w->pins[1], 1);
    assert_int_equal(pci_swizzle_to_root(behind, 1), 1);
    pci_config_write(behind, behind->msi_cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE, 2);
    msi_notify(behind, 0);
    assert_int_equal(w->messages, 1);
    /* Secondary bus reset. */
    ((Probe *)behind)->resets = 0;
    pci_config_write(bridge, PCI_BRIDGE_CONTROL, 0x40, 2);
    assert_int_equal(((Probe *)behind)->resets, 1);
    assert_int_equal(pci_config_read(behind, PCI_COMMAND, 2), 0);
    device_destroy(&behind->dev);
    device_destroy(&bridge->dev);
}

static void test_root_port(void **state)
{
    World *w = *state;
    PciDevice *behind, *port;
    GError *error = NULL;

    w->m->pci_bus = w->bus;
    port = bridge_with_probe(w, &pcie_root_port_model, &behind);
    assert_true(behind->is_express);
    assert_int_equal(pci_config_read(port, port->exp_cap + PCI_EXP_FLAGS, 2) >> 4 & 0xf, PCI_EXP_TYPE_ROOT_PORT);
    assert_int_equal(pci_config_read(behind, behind->exp_cap + PCI_EXP_FLAGS, 2) >> 4 & 0xf, PCI_EXP_TYPE_ENDPOINT);
    assert_null(pci_create(behind->bus, PCI_DEVFN(1, 0), &probe_model, "two", &error, NULL));
    assert_non_null(strstr(error->message, "slot 0 only"));
    g_clear_error(&error);
    device_destroy(&behind->dev);
    device_destroy(&port->dev);
}

static void test_places(void **state)
{
    World *w = *state;
    GError *error = NULL;

    assert_null(pci_create(w->bus, PCI_DEVFN(3, 0), &probe_model, "again", &error, NULL));
    assert_non_null(strstr(error->message, "is taken by probe"));
    g_clear_error(&error);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_header), TEST(test_host_access), TEST(test_capabilities), TEST(test_sizing),
        TEST(test_mapping), TEST(test_option_rom), TEST(test_bus_master),   TEST(test_intx),
        TEST(test_msi),    TEST(test_msix),        TEST(test_reset),        TEST(test_state),
        TEST(test_bridge), TEST(test_root_port),   TEST(test_places),      TEST(test_state_of_another), TEST(test_state_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
