/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The slot of a root port (PCI Express Base 4.0, 6.7 and 7.5.3.9 to 7.5.3.11): presence, attention button,
 * power and indicators, and the interrupts that tell of their changes.  A device that is deleted presses the
 * button; it leaves when the guest switches the slot's power off.  Commands complete at once, so no
 * completion is announced.
 */
#include "hw/pci/bridge.h"
#include "hw/pci/pci-internal.h"

#define SLOT_FUNCTIONS 8u
#define SLOT_CAPS                                                                                            \
    (PCI_EXP_SLTCAP_ABP | PCI_EXP_SLTCAP_PCP | PCI_EXP_SLTCAP_AIP | PCI_EXP_SLTCAP_PIP |                     \
     PCI_EXP_SLTCAP_HPS | PCI_EXP_SLTCAP_HPC | PCI_EXP_SLTCAP_NCCS)
#define SLOT_NUMBER_SHIFT 19
#define SLOT_CTL_WRITABLE 0x17ef                                    /* no interlock, no command completion */
#define SLOT_EVENTS       (PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PDC) /* their enable bits have the same places */

static uint8_t *slot_reg(PciBridge *br, unsigned reg)
{
    return br->pci.config + br->pci.exp_cap + reg;
}

static uint16_t slot_control(PciBridge *br)
{
    return pci_get16(slot_reg(br, PCI_EXP_SLTCTL));
}

static bool slot_occupied(const PciBridge *br)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(br->secondary->devices); i++) {
        if (br->secondary->devices[i]) {
            return true;
        }
    }
    return false;
}

/* An event is told once by a message, or for as long as it stands by the line. */
static void slot_update_irq(PciBridge *br)
{
    uint16_t ctl = slot_control(br), sta = pci_get16(slot_reg(br, PCI_EXP_SLTSTA));
    bool link = sta & PCI_EXP_SLTSTA_DLLSC && ctl & PCI_EXP_SLTCTL_DLLSCE;
    bool event = ctl & PCI_EXP_SLTCTL_HPIE && (sta & ctl & SLOT_EVENTS || link);

    if (!msi_enabled(&br->pci)) {
        pci_set_irq(&br->pci, event);
    } else if (event && !br->slot_event) {
        msi_notify(&br->pci, 0);
    }
    br->slot_event = event;
}

/* What is in the slot, and whether it has power, as the registers show it. */
static void slot_update(PciBridge *br, bool tell)
{
    uint8_t *sta = slot_reg(br, PCI_EXP_SLTSTA), *link = slot_reg(br, PCI_EXP_LNKSTA);
    bool present = slot_occupied(br), active = present && !(slot_control(br) & PCI_EXP_SLTCTL_PCC);
    bool was_present = pci_get16(sta) & PCI_EXP_SLTSTA_PDS,
         was_active = pci_get16(link) & PCI_EXP_LNKSTA_DLLLA;
    uint16_t told = (uint16_t)((present != was_present ? PCI_EXP_SLTSTA_PDC : 0) |
                               (active != was_active ? PCI_EXP_SLTSTA_DLLSC : 0));

    pci_set16(sta, (uint16_t)((pci_get16(sta) & ~PCI_EXP_SLTSTA_PDS) | (present ? PCI_EXP_SLTSTA_PDS : 0) |
                              (tell ? told : 0)));
    pci_set16(link,
              (uint16_t)((pci_get16(link) & ~PCI_EXP_LNKSTA_DLLLA) | (active ? PCI_EXP_LNKSTA_DLLLA : 0)));
    slot_update_irq(br);
}

/* Whoever puts it in presses the button too: drivers of slots that have one wait for it before they switch the power on. */
void pcie_slot_plugged(PciBus *bus, PciDevice *dev)
{
    PciBridge *br = bus->opaque;
    uint8_t *sta = slot_reg(br, PCI_EXP_SLTSTA);

    pci_set16(sta, pci_get16(sta) | PCI_EXP_SLTSTA_ABP);
    slot_update(br, true);
}

void pcie_slot_device_gone(PciBus *bus)
{
    slot_update((PciBridge *)bus->opaque, true);
}

bool pcie_slot_unplug_request(PciBus *bus, PciDevice *dev)
{
    PciBridge *br = bus->opaque;
    const uint16_t listens = PCI_EXP_SLTCTL_HPIE | PCI_EXP_SLTCTL_ABPE;
    uint8_t *sta = slot_reg(br, PCI_EXP_SLTSTA);

    if ((slot_control(br) & listens) != listens || slot_control(br) & PCI_EXP_SLTCTL_PCC) {
        return false; /* nobody would answer, or nobody uses it */
    }
    pci_set16(sta, pci_get16(sta) | PCI_EXP_SLTSTA_ABP);
    slot_update_irq(br);
    return true;
}

/* The power is off: what was in the slot is taken out. */
static void slot_empty(void *opaque)
{
    PciBridge *br = opaque;

    for (unsigned i = 0; slot_control(br) & PCI_EXP_SLTCTL_PCC && i < G_N_ELEMENTS(br->secondary->devices);
         i++) {
        PciDevice *dev = br->secondary->devices[i];

        if (dev && dev->dev.obj.started && !pci_model(dev)->no_unplug) {
            machine_device_unplug(dev->dev.obj.machine, &dev->dev);
        }
    }
}

void pcie_slot_config_written(PciBridge *br, uint16_t offset, unsigned size)
{
    uint16_t old = br->slot_control, now = slot_control(br);

    br->slot_control = now;
    slot_update(br, true);
    if (!(old & PCI_EXP_SLTCTL_PCC) && now & PCI_EXP_SLTCTL_PCC && slot_occupied(br)) {
        loop_bh_schedule(br->slot_bh);
    }
}

void pcie_slot_start(PciBridge *br)
{
    PciDevice *dev = &br->pci;
    uint8_t *cap = dev->config + dev->exp_cap;

    pci_set16(cap + PCI_EXP_FLAGS, pci_get16(cap + PCI_EXP_FLAGS) | PCI_EXP_FLAGS_SLOT);
    pci_set32(cap + PCI_EXP_LNKCAP, pci_get32(cap + PCI_EXP_LNKCAP) | PCI_EXP_LNKCAP_DLLLARC);
    pci_set32(cap + PCI_EXP_SLTCAP, SLOT_CAPS | (uint32_t)br->slot << SLOT_NUMBER_SHIFT);
    pci_set16(dev->wmask + dev->exp_cap + PCI_EXP_SLTCTL, SLOT_CTL_WRITABLE);
    pci_set16(dev->w1cmask + dev->exp_cap + PCI_EXP_SLTSTA, SLOT_EVENTS | PCI_EXP_SLTSTA_DLLSC);
    br->slot_bh = loop_bh_new(dev->dev.home, slot_empty, br);
}

void pcie_slot_stop(PciBridge *br)
{
    loop_bh_free(br->slot_bh);
}

void pcie_slot_reset(PciBridge *br)
{
    br->slot_control = PCI_EXP_SLTCTL_ATTN_IND_OFF | PCI_EXP_SLTCTL_PWR_IND_ON;
    br->slot_event = false;
    pci_set16(slot_reg(br, PCI_EXP_SLTCTL), br->slot_control);
    pci_set16(slot_reg(br, PCI_EXP_SLTSTA), 0);
    slot_update(br, false);
    /* Whoever was asked to let go has forgotten it. */
    for (unsigned i = 0; i < G_N_ELEMENTS(br->secondary->devices); i++) {
        if (br->secondary->devices[i]) {
            br->secondary->devices[i]->dev.unplug_pending = false;
        }
    }
}

void pcie_slot_saved(PciBridge *br)
{
    br->slot_pending = 0;
    for (unsigned i = 0; i < SLOT_FUNCTIONS; i++) {
        const PciDevice *dev = br->secondary->devices[i];

        br->slot_pending |= (uint8_t)((dev && dev->dev.unplug_pending) << i);
    }
}

void pcie_slot_loaded(PciBridge *br)
{
    for (unsigned i = 0; i < SLOT_FUNCTIONS; i++) {
        if (br->secondary->devices[i]) {
            br->secondary->devices[i]->dev.unplug_pending = br->slot_pending >> i & 1;
        }
    }
    br->slot_control = slot_control(br);
    slot_update(br, false);
}
