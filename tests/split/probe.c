/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * probe: a function with every kind of BAR, for tests of the server.  It raises what it is told to raise and moves what
 * it is told to move.
 *
 *   BAR 0  64-bit prefetchable memory, 64 KiB: RAM that can be mapped at 0..0x1fff and 0x4000..0x7fff, MSI-X table at
 *          0x2000, pending bits at 0x3000, doorbells at 0x8000 + 8 * n, nothing above 0x9000.
 *   BAR 2  memory, 4 KiB: the registers below; 0x800 is BUFFER's 2 KiB window, a page of it by BUFFER_PAGE.
 *   BAR 3  I/O, 32 bytes that keep what is written; BAR 4: memory that cannot be written; BAR 5: prefetchable scratch.
 *
 *   0x00 INTX level   0x04 RAISE vector   0x08 ADDR (64)   0x10 LEN   0x14 COMMAND  0x18 RESULT (MemResult)
 *   0x1c BUFFER_PAGE  0x20 HOLD_MS        0x24 RUNG: events   0x28 RESETS  0x30 + 4 * n: doorbell n as last seen
 *   COMMAND: 1 memory to BUFFER, 2 BUFFER to memory, 3 hold the memory for HOLD_MS.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hw/pci/pci.h"

#define PROBE_VECTORS   16
#define PROBE_RAM_SIZE  0x8000u
#define PROBE_BELLS     4
#define PROBE_BUFFER    (3u << 20)
#define PROBE_WINDOW    0x800u

typedef struct Probe {
    PciDevice pci;
    bool no_msix;
    uint8_t msi; /* vectors; 0: none */
    int fd;
    uint8_t *host;
    MemRegion *ram, *low, *high, *rom;
    uint8_t ports[32], scratch[4096];
    uint32_t intx, len, result, page, hold_ms, rung, resets, seen[PROBE_BELLS];
    uint64_t addr;
    uint8_t *buffer;
    Timer *timer;
    MemRegion *held;
    void *held_host;
    uint64_t held_len;
} Probe;

extern const PciModel probe_model;

/* --- behaviour --- */

static void probe_hold(Probe *p)
{
    p->held_len = p->len;
    p->held_host = p->held ? NULL : pci_dma_map(&p->pci, p->addr, &p->held_len, true, &p->held);
    p->result = p->held_host ? MEM_OK : MEM_DECODE_ERROR;
    if (p->held_host) {
        timer_set(p->timer, clock_now(p->pci.dev.obj.machine->clocks, CLOCK_KIND_REALTIME) + p->hold_ms * INT64_C(1000000));
    }
}

static void probe_release(void *opaque)
{
    Probe *p = opaque;

    if (p->held) {
        memset(p->held_host, 0xed, p->held_len);
        pci_dma_unmap(&p->pci, p->held, p->held_host, p->held_len, true);
        p->held = NULL;
    }
}

static void probe_command(Probe *p, uint32_t command)
{
    uint64_t len = MIN(p->len, PROBE_BUFFER);

    if (command == 1) {
        p->result = pci_dma_read(&p->pci, p->addr, p->buffer, len);
    } else if (command == 2) {
        p->result = pci_dma_write(&p->pci, p->addr, p->buffer, len);
    } else if (command == 3) {
        probe_hold(p);
    }
}

static void probe_raise(Probe *p, uint32_t vector)
{
    if (msix_enabled(&p->pci)) {
        msix_notify(&p->pci, vector);
    } else {
        msi_notify(&p->pci, vector);
    }
}

static void probe_rung(PciDevice *dev)
{
    Probe *p = (Probe *)dev;

    p->rung++;
    for (unsigned i = 0; i < PROBE_BELLS; i++) {
        p->seen[i] = __atomic_load_n(&dev->doorbells.values[i], __ATOMIC_ACQUIRE);
    }
}

/* --- registers --- */

static uint32_t *probe_field(Probe *p, HwAddr addr)
{
    switch (addr) {
    case 0x00:
        return &p->intx;
    case 0x08:
        return (uint32_t *)(void *)&p->addr;
    case 0x0c:
        return (uint32_t *)(void *)&p->addr + 1;
    case 0x10:
        return &p->len;
    case 0x18:
        return &p->result;
    case 0x1c:
        return &p->page;
    case 0x20:
        return &p->hold_ms;
    case 0x24:
        return &p->rung;
    case 0x28:
        return &p->resets;
    default:
        return addr >= 0x30 && addr < 0x30 + 4 * PROBE_BELLS ? &p->seen[(addr - 0x30) / 4] : NULL;
    }
}

static uint8_t *probe_window(Probe *p, HwAddr addr)
{
    return p->buffer + (p->page % (PROBE_BUFFER / PROBE_WINDOW)) * PROBE_WINDOW + (addr - 0x800);
}

static MemResult regs_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    uint32_t *field = probe_field(opaque, addr);

    *val = addr >= 0x800 ? pci_get32(probe_window(opaque, addr)) : field ? *field : 0;
    return MEM_OK;
}

static MemResult regs_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Probe *p = opaque;
    uint32_t *field = probe_field(p, addr);

    if (addr >= 0x800) {
        pci_set32(probe_window(p, addr), (uint32_t)val);
    } else if (addr == 0x04) {
        probe_raise(p, (uint32_t)val);
    } else if (addr == 0x14) {
        probe_command(p, (uint32_t)val);
    } else if (field) {
        *field = (uint32_t)val;
    }
    if (addr == 0) {
        pci_set_irq(&p->pci, (int)p->intx);
    }
    return MEM_OK;
}

static MemResult bytes_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = 0;
    memcpy(val, ((Probe *)opaque)->scratch + addr, size);
    return MEM_OK;
}

static MemResult bytes_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    memcpy(((Probe *)opaque)->scratch + addr, &val, size);
    return MEM_OK;
}

static MemResult ports_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = 0;
    memcpy(val, ((Probe *)opaque)->ports + addr, size);
    return MEM_OK;
}

static MemResult ports_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    memcpy(((Probe *)opaque)->ports + addr, &val, size);
    return MEM_OK;
}

static const MemOps probe_regs_ops = {regs_read, regs_write, .min_size = 4, .max_size = 4};
static const MemOps probe_bytes_ops = {bytes_read, bytes_write, .min_size = 1, .max_size = 8};
static const MemOps probe_ports_ops = {ports_read, ports_write, .min_size = 1, .max_size = 4};

/* --- life --- */

static bool probe_start(PciDevice *dev, GError **error)
{
    Probe *p = (Probe *)dev;
    MemTopology *topo = dev->dev.obj.machine->topo;

    p->fd = memfd_create("probe", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (p->fd < 0 || ftruncate(p->fd, PROBE_RAM_SIZE) < 0) {
        error_set(error, "probe: no memory");
        return false;
    }
    if ((!p->no_msix && !msix_init(dev, PROBE_VECTORS, 0, 0x2000, 0x3000, 0, error)) ||
        (p->msi && !msi_init(dev, 0, p->msi, false, error))) {
        close(p->fd);
        return false;
    }
    p->host = mmap(NULL, PROBE_RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
    p->ram = mem_region_new_ram(topo, "probe RAM", PROBE_RAM_SIZE, p->host, p->fd, 0, false);
    p->low = mem_region_new_alias(topo, "probe low", p->ram, 0, 0x2000);
    p->high = mem_region_new_alias(topo, "probe high", p->ram, 0x4000, 0x4000);
    p->rom = mem_region_new_ram(topo, "probe constant", 0x1000, p->host, -1, 0, true);
    mem_region_add(pci_bar_region(dev, 0), 0, p->low);
    mem_region_add(pci_bar_region(dev, 0), 0x4000, p->high);
    mem_region_add(pci_bar_region(dev, 4), 0, p->rom);
    p->buffer = g_malloc0(PROBE_BUFFER);
    p->timer = timer_new(dev->dev.home, CLOCK_KIND_REALTIME, probe_release, p);
    dev->doorbells = (PciDoorbells){.offset = 0x8000, .stride = 8, .count = PROBE_BELLS, .rung = probe_rung};
    return true;
}

static void probe_reset(PciDevice *dev)
{
    Probe *p = (Probe *)dev;

    p->intx = p->len = p->result = p->page = p->hold_ms = p->rung = 0;
    p->addr = 0;
    p->resets++;
    memset(p->seen, 0, sizeof(p->seen));
    memset(p->scratch, 0, sizeof(p->scratch));
    memset(p->ports, 0, sizeof(p->ports));
}

static void probe_stop(PciDevice *dev)
{
    Probe *p = (Probe *)dev;

    timer_cancel(p->timer);
    probe_release(p);
    timer_free(p->timer);
    mem_region_del(pci_bar_region(dev, 0), p->low);
    mem_region_del(pci_bar_region(dev, 0), p->high);
    mem_region_del(pci_bar_region(dev, 4), p->rom);
    mem_region_unref(p->low);
    mem_region_unref(p->high);
    mem_region_retire(p->ram);
    mem_region_unref(p->ram);
    mem_region_retire(p->rom);
    mem_region_unref(p->rom);
    munmap(p->host, PROBE_RAM_SIZE);
    close(p->fd);
    g_free(p->buffer);
}

static const Prop probe_props[] = {
    PROP_BOOL("no-msix", Probe, no_msix, false, "without MSI-X"),
    PROP_U8("msi", Probe, msi, 0, 0, 32, "MSI vectors, a power of two"),
    PROP_END,
};

static const StateField probe_fields[] = {STATE_FIELD_STRUCT(Probe, pci, &pci_device_state), STATE_END};
static const StateTable probe_state = {.name = "probe", .version = 1, .fields = probe_fields};

const PciModel probe_model = {
    .dev = {.name = "probe",
            .doc = "Every kind of BAR and interrupt, for tests.",
            .kind = MODEL_PCI,
            .size = sizeof(Probe),
            .props = probe_props,
            .state = &probe_state},
    .ids = {.vendor = 0x1234, .device = 0x0f02, .class_code = 0x00ff00},
    .interrupt_pin = 1,
    .bars = {[0] = {.size = 0x10000, .kind = PCI_BAR_MEM64_PREFETCH},
             [2] = {.size = 0x1000, .kind = PCI_BAR_MEM32, .ops = &probe_regs_ops},
             [3] = {.size = 32, .kind = PCI_BAR_IO, .ops = &probe_ports_ops},
             [4] = {.size = 0x1000, .kind = PCI_BAR_MEM32},
             [5] = {.size = 0x1000, .kind = PCI_BAR_MEM32_PREFETCH, .ops = &probe_bytes_ops}},
    .start = probe_start,
    .reset = probe_reset,
    .stop = probe_stop,
};
