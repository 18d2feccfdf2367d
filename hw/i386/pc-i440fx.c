/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chip set of pc machines: the 440FX host bridge at 00:00.0, and of the PIIX3 and PIIX4 the ISA bridge at 00:01.0, IDE
 * at 00:01.1 and power management at 00:01.3 (their data sheets).
 */
#include "pc-internal.h"

#define PIIX3_IDETIM        0x40
#define PIIX3_IDETIM_ENABLE 0x80008000u /* both channels are decoded */

/* PCI memory begins where firmware lets it begin: at the next of these behind RAM. */
static const uint64_t i440fx_pci_first[] = {0x80000000, 0xc0000000, 0xe0000000};

/* Its model belongs to another room: programs that leave disks out have none. */
static bool i440fx_build_ide(PcMachine *pc, GError **error)
{
    const Model *ide = model_find("piix3-ide", 1u << MODEL_PCI);
    if (ide) {
        pc->piix3_ide = pci_create(pc->m.pci_bus, PCI_DEVFN(1, 1), (const PciModel *)ide, NULL, error, NULL);
    }
    return !ide || pc->piix3_ide;
}

static bool i440fx_build(PcMachine *pc, GError **error)
{
    Machine *m = &pc->m;
    if (!pc_build_root_bus(pc, "pci.0", &i440fx_host_model, error)) {
        return false;
    }
    I440fx *bridge = (I440fx *)pci_create(m->pci_bus, PCI_DEVFN(0, 0), &i440fx_model, NULL, error, NULL);
    if (!bridge) {
        return false;
    }
    pc->i440fx = bridge;
    i440fx_connect(bridge, pc->pam, pc->smram);
    Piix3 *piix3 = (Piix3 *)pci_create(m->pci_bus, PCI_DEVFN(1, 0), &piix3_model, NULL, error, NULL);
    if (!piix3) {
        return false;
    }
    pc->piix3 = piix3;
    piix3_connect(piix3, pc_pirq_changed, pc);
    if (!i440fx_build_ide(pc, error)) {
        return false;
    }
    Piix4Pm *pm = (Piix4Pm *)pci_create(m->pci_bus, PCI_DEVFN(1, 3), &piix4_pm_model, NULL, error, NULL);
    if (!pm) {
        return false;
    }
    pc->piix4_pm = &pm->pci;
    piix4_pm_connect(pm, pc->pm);
    return true;
}

static unsigned i440fx_slot_pirq(const PcMachine *pc, unsigned slot, unsigned pin)
{
    return piix3_slot_pirq(slot, pin);
}

static void i440fx_set_pirq(PcMachine *pc, unsigned n, int level)
{
    piix3_set_pirq(pc->piix3, n, level);
}

static uint8_t i440fx_pirq_levels(const PcMachine *pc)
{
    return piix3_pirq_levels(pc->piix3);
}

static int i440fx_pirq_route(const PcMachine *pc, unsigned n)
{
    return piix3_pirq_route(pc->piix3, n);
}

static void i440fx_describe_acpi(const PcMachine *pc, AcpiConfig *config)
{
    config->chipset = ACPI_CHIPSET_I440FX;
    config->hotplug = &((const Piix4Pm *)pc->piix4_pm)->hotplug;
    for (unsigned i = G_N_ELEMENTS(i440fx_pci_first); i-- > 0;) {
        config->pci32_first = i440fx_pci_first[i] >= pc->ram_low ? i440fx_pci_first[i] : config->pci32_first;
    }
}

static void i440fx_reset(PcMachine *pc)
{
    acpi_pci_hotplug_reset(&((Piix4Pm *)pc->piix4_pm)->hotplug);
}

static void i440fx_prepare_kernel(PcMachine *pc)
{
    i440fx_open_shadow(pc->i440fx);
    piix3_route_pirqs(pc->piix3);
    piix4_pm_open(pc->piix4_pm);
    if (pc->piix3_ide) {
        pci_config_write(pc->piix3_ide, PIIX3_IDETIM, PIIX3_IDETIM_ENABLE, 4);
    }
}

const PcChipset pc_i440fx_chipset = {
    .name = "pc",
    .product = "Standard PC (i440FX + PIIX, 1996)",
    .version = "pc-i440fx-7.2",
    .ram_low_max = 0xe0000000,
    .ram_low_split = 0xc0000000,
    .pirq_count = PIIX3_PIRQ_COUNT,
    .build = i440fx_build,
    .slot_pirq = i440fx_slot_pirq,
    .set_pirq = i440fx_set_pirq,
    .pirq_levels = i440fx_pirq_levels,
    .pirq_route = i440fx_pirq_route,
    .describe_acpi = i440fx_describe_acpi,
    .reset = i440fx_reset,
    .prepare_kernel = i440fx_prepare_kernel,
};
