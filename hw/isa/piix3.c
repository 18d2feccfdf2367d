/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ISA bridge of the PIIX3, 8086:7000 (82371SB data sheet 2.2): routing of PIRQA..PIRQD; and the power management
 * function of the PIIX4, 8086:7113 (82371AB data sheet 7.1): where the ACPI registers are and whether port B2h makes
 * an SMI, and where the SMBus controller is, which makes no interrupts; and what QEMU's has besides, general purpose events
 * at AFE0h and hot plug at AE00h.
 */
#include <string.h>

#include "hw/isa/piix3.h"

#define PIIX3_PIRQRC   0x60
#define PIRQRC_OFF     0x80
#define PIIX4_PMBA     0x40
#define PIIX4_DEVACTB  0x58
#define PIIX4_PMREGMISC 0x80
#define PMBA_IO        0x01
#define PMBA_ADDRESS   0xffc0
#define DEVACTB_APMC_EN 0x02 /* of the highest byte */
#define PMREGMISC_PMIOSE 0x01
#define PIIX4_SMBBA    0x90
#define PIIX4_SMBHSTCFG 0xd2
#define SMBBA_ADDRESS  0xfff0
#define SMBHSTCFG_HST_EN 0x01
#define SMBHSTCFG_BITS 0x0f
#define PIIX4_SMB_SIZE 0x10
#define PIIX4_SMBASE   0xb100
#define PIIX4_PM_SIZE  0x20 /* up to the ICH9's blocks, which are elsewhere on the PIIX4 */
#define PIIX4_PMBASE   0x600
#define PIIX4_PM_HOTPLUG_VERSION 3 /* of the state: with hot plug */

/* --- ISA bridge --- */

void piix3_connect(Piix3 *s, void (*pirq_changed)(void *opaque), void *opaque)
{
    s->pirq_changed = pirq_changed;
    s->opaque = opaque;
}

static void piix3_notify(Piix3 *s)
{
    if (s->pirq_changed) {
        s->pirq_changed(s->opaque);
    }
}

void piix3_set_pirq(Piix3 *s, unsigned n, int level)
{
    if (level) {
        s->pirq_count[n]++;
    } else if (s->pirq_count[n]) {
        s->pirq_count[n]--;
    }
    piix3_notify(s);
}

uint8_t piix3_pirq_levels(const Piix3 *s)
{
    uint8_t levels = 0;
    for (unsigned n = 0; n < PIIX3_PIRQ_COUNT; n++) {
        levels |= (uint8_t)((s->pirq_count[n] > 0) << n);
    }
    return levels;
}

int piix3_pirq_route(const Piix3 *s, unsigned n)
{
    uint8_t route = s->pci.config[PIIX3_PIRQRC + n];
    return route & PIRQRC_OFF ? -1 : route & 0xf;
}

void piix3_route_pirqs(Piix3 *s)
{
    static const uint8_t irqs[PIIX3_PIRQ_COUNT] = {10, 10, 11, 11};
    for (unsigned n = 0; n < PIIX3_PIRQ_COUNT; n++) {
        s->pci.config[PIIX3_PIRQRC + n] = irqs[n];
    }
    piix3_notify(s);
}

static void piix3_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    piix3_notify((Piix3 *)dev);
}

static void piix3_reset(PciDevice *dev)
{
    for (unsigned n = 0; n < PIIX3_PIRQ_COUNT; n++) {
        dev->config[PIIX3_PIRQRC + n] = PIRQRC_OFF;
    }
    pci_set16(dev->config + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    piix3_notify((Piix3 *)dev);
}

static bool piix3_start(PciDevice *dev, GError **error)
{
    for (unsigned n = 0; n < PIIX3_PIRQ_COUNT; n++) {
        dev->wmask[PIIX3_PIRQRC + n] = PIRQRC_OFF | 0xf;
    }
    dev->config[PCI_HEADER_TYPE] |= PCI_HEADER_TYPE_MULTI;
    return true;
}

static bool piix3_post_load(void *instance, uint32_t version, GError **error)
{
    piix3_notify(instance);
    return true;
}

/* Each function raises its own lines again when it is loaded, so what came is not used: it would count them twice. */
static void piix3_pre_save(void *instance)
{
    Piix3 *s = instance;

    memcpy(s->pirq_saved, s->pirq_count, sizeof(s->pirq_saved));
}

static const StateField piix3_fields[] = {
    STATE_FIELD_STRUCT(Piix3, pci, &pci_device_state),
    {.name = "pirq_count", .kind = STATE_UINT, .offset = offsetof(Piix3, pirq_saved), .size = sizeof(((Piix3 *)0)->pirq_saved[0]),
     .count = PIIX3_PIRQ_COUNT},
    STATE_END,
};
static const StateTable piix3_state = {
    .name = "PIIX3", .version = 1, .fields = piix3_fields, .pre_save = piix3_pre_save, .post_load = piix3_post_load};

const PciModel piix3_model = {
    .dev = {.name = "PIIX3",
            .doc = "ISA bridge of the PIIX3.",
            .kind = MODEL_PCI,
            .size = sizeof(Piix3),
            .state = &piix3_state,
            .internal = true},
    .ids = {.vendor = 0x8086, .device = 0x7000, .class_code = 0x060100},
    .start = piix3_start,
    .reset = piix3_reset,
    .config_written = piix3_config_written,
    .no_unplug = true,
};

/* --- power management --- */

static void piix4_smbus_update(Piix4Pm *s)
{
    const uint8_t *config = s->pci.config;
    MemRegion *io = s->pci.dev.obj.machine->system_io;
    uint16_t want = 0;
    s->smbus.enabled = config[PIIX4_SMBHSTCFG] & SMBHSTCFG_HST_EN;
    if (s->smbus.enabled) {
        want = pci_get16(config + PIIX4_SMBBA) & SMBBA_ADDRESS;
    }
    if (want == s->smbus_mapped) {
        return;
    }
    if (s->smbus_mapped) {
        mem_region_del(io, s->smbus_region);
    }
    s->smbus_mapped = want;
    if (want) {
        mem_region_add(io, want, s->smbus_region);
    }
}

static void piix4_pm_update(Piix4Pm *s)
{
    const uint8_t *config = s->pci.config;
    MemRegion *io = s->pci.dev.obj.machine->system_io;
    uint16_t base = pci_get16(config + PIIX4_PMBA) & PMBA_ADDRESS;
    uint16_t want = config[PIIX4_PMREGMISC] & PMREGMISC_PMIOSE ? base : 0;
    if (!s->window) {
        return;
    }
    ich9_pm_set_apmc(s->pm, config[PIIX4_DEVACTB + 3] & DEVACTB_APMC_EN);
    if (want == s->mapped) {
        return;
    }
    if (s->mapped) {
        mem_region_del(io, s->window);
    }
    s->mapped = want;
    if (want) {
        mem_region_add(io, want, s->window);
    }
}

void piix4_pm_connect(Piix4Pm *s, Ich9Pm *pm)
{
    s->pm = s->hotplug.pm = pm;
    mem_region_add(s->pci.dev.obj.machine->system_io, PIIX4_GPE_PORT, pm->gpe_region);
    s->window = mem_region_new_alias(s->pci.dev.obj.machine->topo, "piix4-pm", pm->region, 0, PIIX4_PM_SIZE);
    s->pci.config[PIIX4_DEVACTB + 3] = pm->smm ? 0 : DEVACTB_APMC_EN;
    piix4_pm_update(s);
}

void piix4_pm_open(PciDevice *dev)
{
    pci_set16(dev->config + PIIX4_PMBA, PIIX4_PMBASE | PMBA_IO);
    dev->config[PIIX4_PMREGMISC] = PMREGMISC_PMIOSE;
    pci_set16(dev->config + PIIX4_SMBBA, PIIX4_SMBASE | PMBA_IO);
    dev->config[PIIX4_SMBHSTCFG] = SMBHSTCFG_HST_EN;
    piix4_pm_update((Piix4Pm *)dev);
    piix4_smbus_update((Piix4Pm *)dev);
}

static void piix4_pm_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    piix4_pm_update((Piix4Pm *)dev);
    piix4_smbus_update((Piix4Pm *)dev);
}

static void piix4_pm_reset(PciDevice *dev)
{
    Piix4Pm *s = (Piix4Pm *)dev;
    pci_set16(dev->config + PIIX4_PMBA, PMBA_IO);
    dev->config[PIIX4_PMREGMISC] = 0;
    /* Without system management mode firmware must not wait for it: as if it were set up. */
    dev->config[PIIX4_DEVACTB + 3] = s->pm && !s->pm->smm ? DEVACTB_APMC_EN : 0;
    pci_set16(dev->config + PIIX4_SMBBA, PMBA_IO);
    dev->config[PIIX4_SMBHSTCFG] = 0;
    smbus_host_reset(&s->smbus);
    piix4_pm_update(s);
    piix4_smbus_update(s);
}

static bool piix4_pm_start(PciDevice *dev, GError **error)
{
    Piix4Pm *s = (Piix4Pm *)dev;
    s->hotplug.dev = &dev->dev;
    s->hotplug.port = ACPI_PCIHP_PIIX4_PORT;
    acpi_pci_hotplug_start(&s->hotplug);
    s->smbus_region =
        mem_region_new_io(dev->dev.obj.machine->topo, "piix4-smbus", PIIX4_SMB_SIZE, &smbus_host_ops, &s->smbus, dev->dev.home);
    pci_set16(dev->wmask + PIIX4_SMBBA, SMBBA_ADDRESS);
    dev->wmask[PIIX4_SMBHSTCFG] = SMBHSTCFG_BITS;
    pci_set16(dev->wmask + PIIX4_PMBA, PMBA_ADDRESS);
    dev->wmask[PIIX4_PMREGMISC] = PMREGMISC_PMIOSE;
    dev->wmask[PIIX4_DEVACTB + 3] = DEVACTB_APMC_EN;
    return true;
}

static void piix4_pm_stop(PciDevice *dev)
{
    Piix4Pm *s = (Piix4Pm *)dev;
    if (s->mapped) {
        mem_region_del(dev->dev.obj.machine->system_io, s->window);
    }
    if (s->window) {
        mem_region_del(dev->dev.obj.machine->system_io, s->pm->gpe_region);
        mem_region_unref(s->window);
    }
    acpi_pci_hotplug_stop(&s->hotplug);
    s->window = NULL;
    s->mapped = 0;
    if (s->smbus_mapped) {
        mem_region_del(dev->dev.obj.machine->system_io, s->smbus_region);
    }
    mem_region_retire(s->smbus_region);
    mem_region_unref(s->smbus_region);
    s->smbus_mapped = 0;
}

static bool piix4_pm_post_load(void *instance, uint32_t version, GError **error)
{
    piix4_pm_update(instance);
    piix4_smbus_update(instance);
    if (version < PIIX4_PM_HOTPLUG_VERSION) {
        acpi_pci_hotplug_forget(&((Piix4Pm *)instance)->hotplug);
    }
    return true;
}

static const StateField piix4_pm_fields[] = {
    STATE_FIELD_STRUCT(Piix4Pm, pci, &pci_device_state),
    STATE_FIELD_STRUCT(Piix4Pm, smbus, &smbus_host_state, .since = 2),
    STATE_FIELD_STRUCT(Piix4Pm, hotplug, &acpi_pci_hotplug_state, .since = PIIX4_PM_HOTPLUG_VERSION),
    STATE_END,
};
static const Prop piix4_pm_props[] = {
    PROP_BOOL("acpi-root-pci-hotplug", Piix4Pm, hotplug.root, true, "hot plug by ACPI on the root bus"),
    PROP_BOOL("acpi-pci-hotplug-with-bridge-support", Piix4Pm, hotplug.bridges, true, "hot plug by ACPI behind pci-bridge"),
    PROP_END,
};
static const StateTable piix4_pm_state = {
    .name = "PIIX4_PM", .version = PIIX4_PM_HOTPLUG_VERSION, .fields = piix4_pm_fields, .post_load = piix4_pm_post_load};

const PciModel piix4_pm_model = {
    .dev = {.name = "PIIX4_PM",
            .doc = "Power management function of the PIIX4.",
            .kind = MODEL_PCI,
            .size = sizeof(Piix4Pm),
            .props = piix4_pm_props,
            .state = &piix4_pm_state,
            .internal = true},
    .ids = {.vendor = 0x8086, .device = 0x7113, .revision = 3, .class_code = 0x068000},
    .interrupt_pin = 1,
    .start = piix4_pm_start,
    .reset = piix4_pm_reset,
    .stop = piix4_pm_stop,
    .config_written = piix4_pm_config_written,
    .no_unplug = true,
};
