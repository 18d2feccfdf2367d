/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The LPC bridge of the ICH9, 8086:2918 (ICH9 data sheet chapter 13.1): routing
 * registers of PIRQA..PIRQH and the base of the ACPI power management block,
 * preset as firmware would; the TCO timer in that block, and of the chipset configuration
 * registers (10.1) GCS, which says whether the timer resets the machine; and at CC0h hot plug, as QEMU's has it.
 */
#include <string.h>

#include "hw/isa/ich9-lpc.h"

#define LPC_PMBASE     0x40
#define LPC_ACPI_CNTL  0x44
#define LPC_PIRQA_ROUT 0x60
#define LPC_PIRQE_ROUT 0x68
#define LPC_GEN_PMCON  0xa0
#define LPC_RCBA       0xf0

#define RCBA_EN        0x01u
#define RCBA_ADDRESS   0xffffc000u
#define RCBA_GCS       0x3410
#define GCS_NO_REBOOT  0x20u

#define PMBASE_IO      0x01
#define PMBASE_ADDRESS 0xff80
#define ACPI_CNTL_EN   0x80
#define PMCON_SMI_LOCK 0x10 /* set once, until reset */
#define LPC_HOTPLUG_VERSION 3 /* of the state: with hot plug, and by_slot */
#define PIRQ_IRQEN     0x80 /* 1: not routed to the 8259 */

static unsigned lpc_pirq_register(unsigned n)
{
    return n < 4 ? LPC_PIRQA_ROUT + n : LPC_PIRQE_ROUT + n - 4;
}

int ich9_lpc_pirq_route(const Ich9Lpc *s, unsigned n)
{
    uint8_t rout = s->pci.config[lpc_pirq_register(n)];
    return rout & PIRQ_IRQEN ? -1 : rout & 0xf;
}

uint8_t ich9_lpc_pirq_levels(const Ich9Lpc *s)
{
    uint8_t levels = 0;
    for (unsigned n = 0; n < ICH9_PIRQ_COUNT; n++) {
        levels |= (uint8_t)((s->pirq_count[n] > 0) << n);
    }
    return levels;
}

unsigned ich9_lpc_slot_pirq(const Ich9Lpc *s, unsigned slot, unsigned pin)
{
    return s->by_slot ? (slot + pin) % ICH9_PIRQ_COUNT : ich9_slot_pirq(slot, pin);
}

void ich9_lpc_set_pirq(Ich9Lpc *s, unsigned n, int level)
{
    if (level) {
        s->pirq_count[n]++;
    } else if (s->pirq_count[n]) {
        s->pirq_count[n]--;
    }
    if (s->pirq_changed) {
        s->pirq_changed(s->opaque);
    }
}

/* --- chipset configuration registers --- */

static void lpc_update_rcba(Ich9Lpc *s)
{
    uint32_t rcba = pci_get32(s->pci.config + LPC_RCBA), want = rcba & RCBA_EN ? rcba & RCBA_ADDRESS : 0;
    MemRegion *memory = s->pci.dev.obj.machine->system_memory;

    if (want == s->rcba_mapped) {
        return;
    }
    if (s->rcba_mapped) {
        mem_region_del(memory, s->rcba);
    }
    s->rcba_mapped = want;
    if (want) {
        mem_region_add_overlap(memory, want, s->rcba, 1);
    }
}

void ich9_lpc_open_rcba(Ich9Lpc *s)
{
    pci_set32(s->pci.config + LPC_RCBA, ICH9_RCBA | RCBA_EN);
    lpc_update_rcba(s);
}

static MemResult rcba_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    const Ich9Lpc *s = opaque;
    *val = (addr & ~3u) == RCBA_GCS ? s->gcs >> 8 * (addr & 3) : 0;
    return MEM_OK;
}

static MemResult rcba_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Ich9Lpc *s = opaque;
    if (addr != RCBA_GCS) {
        guest_error(&s->pci.dev, "write to chipset configuration register 0x%x, which is not there", (unsigned)addr);
        return MEM_OK;
    }
    /* Software cannot say against the strap that the machine may be reset. */
    s->gcs = ((uint32_t)val | (s->noreboot ? GCS_NO_REBOOT : 0)) & GCS_NO_REBOOT;
    return MEM_OK;
}

static const MemOps rcba_ops = {.read = rcba_read, .write = rcba_write, .min_size = 1, .max_size = 4};

/* --- the TCO timer --- */

static void lpc_tco_interrupt(void *opaque)
{
    Ich9Lpc *s = opaque;
    if (s->pm && ich9_pm_tco_event(s->pm) && s->smi) {
        s->smi(s->opaque);
    }
}

static void lpc_tco_timed_out(void *opaque, bool second)
{
    Ich9Lpc *s = opaque;
    if (!second) {
        lpc_tco_interrupt(s);
    } else if (s->gcs & GCS_NO_REBOOT) {
        ich9_tco_stay(&s->tco);
    } else {
        machine_watchdog_expired(s->pci.dev.obj.machine);
    }
}

/* --- power management --- */

static void lpc_unmap_pm(Ich9Lpc *s)
{
    MemRegion *io = s->pci.dev.obj.machine->system_io;
    if (s->pm_mapped) {
        mem_region_del(io, s->tco.region);
        mem_region_del(io, s->pm->region);
    }
    s->pm_mapped = 0;
}

static void lpc_update_pm(Ich9Lpc *s)
{
    if (!s->pm) {
        return;
    }
    s->pm->smi_locked = s->pci.config[LPC_GEN_PMCON] & PMCON_SMI_LOCK;
    s->pci.wmask[LPC_GEN_PMCON] = s->pm->smi_locked ? 0 : PMCON_SMI_LOCK;
    uint16_t base = pci_get16(s->pci.config + LPC_PMBASE) & PMBASE_ADDRESS;
    uint16_t want = s->pci.config[LPC_ACPI_CNTL] & ACPI_CNTL_EN ? base : 0;
    MemRegion *io = s->pci.dev.obj.machine->system_io;
    if (want == s->pm_mapped) {
        return;
    }
    lpc_unmap_pm(s);
    s->pm_mapped = want;
    if (want) {
        mem_region_add(io, want, s->pm->region);
        mem_region_add_overlap(io, want + ICH9_TCO_OFFSET, s->tco.region, 1);
    }
}

static void lpc_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    Ich9Lpc *s = (Ich9Lpc *)dev;
    lpc_update_pm(s);
    lpc_update_rcba(s);
    if (s->pirq_changed) {
        s->pirq_changed(s->opaque);
    }
}

void ich9_lpc_connect(Ich9Lpc *s, Ich9Pm *pm, void (*pirq_changed)(void *opaque), void (*smi)(void *opaque), void *opaque)
{
    s->pm = s->hotplug.pm = pm;
    s->pm->tco = &s->tco;
    s->pirq_changed = pirq_changed;
    s->smi = smi;
    s->opaque = opaque;
    lpc_update_pm(s);
}

void ich9_lpc_disconnect(Ich9Lpc *s)
{
    lpc_unmap_pm(s);
    if (s->pm) {
        s->pm->tco = NULL;
    }
    s->pm = NULL;
    s->pirq_changed = NULL;
    s->smi = NULL;
}

static void lpc_reset(PciDevice *dev)
{
    Ich9Lpc *s = (Ich9Lpc *)dev;
    pci_set32(dev->config + LPC_PMBASE, ICH9_PMBASE | PMBASE_IO);
    dev->config[LPC_ACPI_CNTL] = ACPI_CNTL_EN;
    dev->config[LPC_GEN_PMCON] = 0;
    for (unsigned n = 0; n < ICH9_PIRQ_COUNT; n++) {
        dev->config[lpc_pirq_register(n)] = PIRQ_IRQEN;
    }
    pci_set16(dev->config + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    pci_set32(dev->config + LPC_RCBA, 0);
    s->gcs = GCS_NO_REBOOT;
    ich9_tco_reset(&s->tco);
    lpc_update_pm(s);
    lpc_update_rcba(s);
    if (s->pirq_changed) {
        s->pirq_changed(s->opaque);
    }
}

static bool lpc_start(PciDevice *dev, GError **error)
{
    Ich9Lpc *s = (Ich9Lpc *)dev;
    s->tco.dev = &dev->dev;
    s->tco.timed_out = lpc_tco_timed_out;
    s->tco.interrupt = lpc_tco_interrupt;
    s->tco.opaque = s;
    ich9_tco_start(&s->tco);
    s->hotplug.dev = &dev->dev;
    s->hotplug.port = ACPI_PCIHP_ICH9_PORT;
    s->hotplug.bridges = s->bridge_hotplug != ON_OFF_AUTO_OFF;
    s->hotplug.ports = s->bridge_hotplug == ON_OFF_AUTO_ON;
    acpi_pci_hotplug_start(&s->hotplug);
    s->rcba = mem_region_new_io(dev->dev.obj.machine->topo, "ich9-rcba", ICH9_RCBA_SIZE, &rcba_ops, s, dev->dev.home);
    pci_set32(dev->wmask + LPC_RCBA, RCBA_ADDRESS | RCBA_EN);
    pci_set16(dev->wmask + LPC_PMBASE, PMBASE_ADDRESS);
    dev->wmask[LPC_ACPI_CNTL] = ACPI_CNTL_EN | 7;
    for (unsigned n = 0; n < ICH9_PIRQ_COUNT; n++) {
        dev->wmask[lpc_pirq_register(n)] = PIRQ_IRQEN | 0xf;
    }
    dev->config[PCI_HEADER_TYPE] |= PCI_HEADER_TYPE_MULTI;
    return true;
}

static void lpc_stop(PciDevice *dev)
{
    Ich9Lpc *s = (Ich9Lpc *)dev;
    acpi_pci_hotplug_stop(&s->hotplug);
    ich9_lpc_disconnect(s);
    pci_set32(dev->config + LPC_RCBA, 0);
    lpc_update_rcba(s);
    mem_region_retire(s->rcba);
    mem_region_unref(s->rcba);
    ich9_tco_stop(&s->tco);
}

static bool lpc_post_load(void *instance, uint32_t version, GError **error)
{
    Ich9Lpc *s = instance;

    lpc_config_written(instance, 0, 0);
    if (version < LPC_HOTPLUG_VERSION) {
        acpi_pci_hotplug_forget(&s->hotplug);
        s->by_slot = true;
    }
    return true;
}

/* Each function raises its own lines again when it is loaded, so what came is not used: it would count them twice. */
static void lpc_pre_save(void *instance)
{
    Ich9Lpc *s = instance;

    memcpy(s->pirq_saved, s->pirq_count, sizeof(s->pirq_saved));
}

static const StateField lpc_fields[] = {
    STATE_FIELD_STRUCT(Ich9Lpc, pci, &pci_device_state),
    {.name = "pirq_count", .kind = STATE_UINT, .offset = offsetof(Ich9Lpc, pirq_saved), .size = sizeof(((Ich9Lpc *)0)->pirq_saved[0]),
     .count = ICH9_PIRQ_COUNT},
    {.name = "gcs", .kind = STATE_UINT, .offset = offsetof(Ich9Lpc, gcs), .size = sizeof(uint32_t), .since = 2},
    {.name = "tco", .kind = STATE_STRUCT, .offset = offsetof(Ich9Lpc, tco), .size = sizeof(Ich9Tco), .table = &ich9_tco_state, .since = 2},
    STATE_FIELD_STRUCT(Ich9Lpc, hotplug, &acpi_pci_hotplug_state, .since = LPC_HOTPLUG_VERSION),
    STATE_FIELD_BOOL(Ich9Lpc, by_slot, .since = LPC_HOTPLUG_VERSION),
    STATE_END,
};
static const Prop lpc_props[] = {
    PROP_BOOL("noreboot", Ich9Lpc, noreboot, true, "the strap that keeps the TCO timer from resetting the machine"),
    {.name = "acpi-pci-hotplug-with-bridge-support", .type = &prop_on_off_auto, .offset = offsetof(Ich9Lpc, bridge_hotplug),
     .doc = "hot plug by ACPI; on: behind bridges and root ports, auto: behind pci-bridge, and root ports have their own"},
    PROP_END,
};
static const StateTable lpc_state = {
    .name = "ich9-lpc", .version = LPC_HOTPLUG_VERSION, .fields = lpc_fields, .pre_save = lpc_pre_save, .post_load = lpc_post_load};

const PciModel ich9_lpc_model = {
    .dev = {.name = "ICH9-LPC",
            .doc = "LPC bridge of the ICH9.",
            .kind = MODEL_PCI,
            .size = sizeof(Ich9Lpc),
            .props = lpc_props,
            .state = &lpc_state,
            .internal = true},
    .ids = {.vendor = 0x8086, .device = 0x2918, .revision = 2, .class_code = 0x060100},
    .start = lpc_start,
    .reset = lpc_reset,
    .stop = lpc_stop,
    .config_written = lpc_config_written,
    .no_unplug = true,
};
