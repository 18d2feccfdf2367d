/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI Express capability (Base 4.0, 7.5.3) and function level reset (6.6.2). */
#include "hw/pci/pci-internal.h"

#define PCIE_LINK_2_5GT_X1 0x0011 /* speed 1 (2.5 GT/s), width x1 */

bool pcie_cap_init(PciDevice *dev, uint16_t offset, uint8_t port_type, uint8_t port, GError **error)
{
    uint8_t *cap;
    bool endpoint = port_type == PCI_EXP_TYPE_ENDPOINT || port_type == PCI_EXP_TYPE_RC_END;

    dev->exp_cap = pci_add_capability(dev, PCI_CAP_ID_EXP, offset, PCI_EXP_CAP_SIZE, error);
    if (!dev->exp_cap) {
        return false;
    }
    cap = dev->config + dev->exp_cap;
    pci_set16(cap + PCI_EXP_FLAGS, (uint16_t)(2 | port_type << 4)); /* capability version 2 */
    pci_set32(cap + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_RBER | (endpoint ? PCI_EXP_DEVCAP_FLR : 0));
    pci_set16(dev->wmask + dev->exp_cap + PCI_EXP_DEVCTL, 0x78ff | (endpoint ? PCI_EXP_DEVCTL_FLR : 0));
    pci_set16(dev->w1cmask + dev->exp_cap + PCI_EXP_DEVSTA, 0x000f);
    if (port_type != PCI_EXP_TYPE_RC_END) {
        pci_set32(cap + PCI_EXP_LNKCAP, PCIE_LINK_2_5GT_X1 | (uint32_t)port << 24);
        pci_set16(cap + PCI_EXP_LNKSTA, PCIE_LINK_2_5GT_X1);
        pci_set16(dev->wmask + dev->exp_cap + PCI_EXP_LNKCTL, 0x00cb);
    }
    return true;
}

void pcie_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    uint16_t devctl = dev->exp_cap + PCI_EXP_DEVCTL;

    if (!dev->exp_cap || !pci_range_overlaps(offset, size, devctl, 2) ||
        !(pci_get16(dev->config + devctl) & PCI_EXP_DEVCTL_FLR)) {
        return;
    }
    /* The bit always reads as zero. */
    pci_set16(dev->config + devctl, pci_get16(dev->config + devctl) & (uint16_t)~PCI_EXP_DEVCTL_FLR);
    device_reset(&dev->dev);
}
