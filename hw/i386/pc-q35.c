/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chip set of q35 machines: the Q35 hub at 00:00.0, the LPC bridge and SMBus of the ICH9 at 00:1f.0 and 00:1f.3. */
#include "hw/isa/ich9-smbus.h"
#include "pc-internal.h"

/* Its model belongs to another room: programs that leave disks out have none. */
static bool q35_build_sata(Machine *m, GError **error)
{
    const Model *sata = model_find("ich9-ahci", 1u << MODEL_PCI);
    return !sata || pci_create(m->pci_bus, PCI_DEVFN(0x1f, 2), (const PciModel *)sata, NULL, error, NULL);
}

static bool q35_build(PcMachine *pc, GError **error)
{
    Machine *m = &pc->m;
    if (!pc_build_root_bus(pc, "pcie.0", &q35_host_model, error)) {
        return false;
    }
    Q35Mch *mch = (Q35Mch *)pci_create(m->pci_bus, PCI_DEVFN(0, 0), &q35_mch_model, NULL, error, NULL);
    if (!mch) {
        return false;
    }
    mch->pam = pc->pam;
    pc->mch = mch;
    q35_mch_connect(mch, pc->host, pc->smram, pc->ram_low);
    Ich9Lpc *lpc = (Ich9Lpc *)pci_create(m->pci_bus, PCI_DEVFN(0x1f, 0), &ich9_lpc_model, NULL, error, NULL);
    if (!lpc) {
        return false;
    }
    pc->lpc = lpc;
    ich9_lpc_connect(lpc, pc->pm, pc_pirq_changed, pc_tco_smi, pc);
    return q35_build_sata(m, error) && pci_create(m->pci_bus, PCI_DEVFN(0x1f, 3), &ich9_smbus_model, NULL, error, NULL);
}

static unsigned q35_slot_pirq(const PcMachine *pc, unsigned slot, unsigned pin)
{
    return ich9_lpc_slot_pirq(pc->lpc, slot, pin);
}

static void q35_set_pirq(PcMachine *pc, unsigned n, int level)
{
    ich9_lpc_set_pirq(pc->lpc, n, level);
}

static uint8_t q35_pirq_levels(const PcMachine *pc)
{
    return ich9_lpc_pirq_levels(pc->lpc);
}

static int q35_pirq_route(const PcMachine *pc, unsigned n)
{
    return ich9_lpc_pirq_route(pc->lpc, n);
}

static void q35_describe_acpi(const PcMachine *pc, AcpiConfig *config)
{
    config->chipset = ACPI_CHIPSET_Q35;
    config->hotplug = &pc->lpc->hotplug;
    config->pci32_first = Q35_ECAM_BASE + Q35_ECAM_SIZE;
}

/* Lines are low now: they may be wired as the tables say that are written next. */
static void q35_reset(PcMachine *pc)
{
    pc->lpc->by_slot = false;
    acpi_pci_hotplug_reset(&pc->lpc->hotplug);
}

static void q35_prepare_kernel(PcMachine *pc)
{
    q35_mch_open_shadow(pc->mch);
    ich9_lpc_open_rcba(pc->lpc);
}

const PcChipset pc_q35_chipset = {
    .name = "q35",
    .product = "Standard PC (Q35 + ICH9, 2009)",
    .version = "pc-q35-7.2",
    .express = true,
    .ram_low_max = Q35_ECAM_BASE,
    .ram_low_split = 0x80000000,
    .pirq_count = ICH9_PIRQ_COUNT,
    .pirq_gsi = true,
    .build = q35_build,
    .slot_pirq = q35_slot_pirq,
    .set_pirq = q35_set_pirq,
    .pirq_levels = q35_pirq_levels,
    .pirq_route = q35_pirq_route,
    .describe_acpi = q35_describe_acpi,
    .reset = q35_reset,
    .prepare_kernel = q35_prepare_kernel,
};
