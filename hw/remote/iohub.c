/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IOHUB: interrupts of served functions on their way to the client's eventfds (vfio-user: SET_IRQS).  INTx is a
 * level: delivering it masks it, and an unmask with the line still asserted delivers it again.  What the client has no
 * eventfd for yet, or masked, waits here or in the function's pending bits.
 */
#include "hw/remote/remote.h"

static bool intx_asserted(const RemoteSlot *slot)
{
    return slot->intx_level[0] || slot->intx_level[1] || slot->intx_level[2] || slot->intx_level[3];
}

static void intx_deliver(RemoteSlot *slot)
{
    if (slot->sink && intx_asserted(slot) && !slot->intx_masked) {
        slot->intx_masked = slot->sink->intx(slot->sink);
        slot->undelivered |= !slot->intx_masked;
    }
}

void remote_iohub_set_intx(RemoteSlot *slot, unsigned pin, int level)
{
    slot->intx_level[pin] = level;
    intx_deliver(slot);
}

void remote_iohub_mask_intx(RemoteSlot *slot, bool masked)
{
    slot->intx_masked = masked;
    intx_deliver(slot);
}

/* MSI without mask bits in config space is masked and pending here. */
static void msi_send(RemoteSlot *slot, PciDevice *dev, unsigned vector)
{
    uint32_t bit = 1u << (vector & 31);

    slot->msi_waiting |= bit;
    if (!(slot->msi_masked & bit) && slot->sink) {
        if (slot->sink->msi(slot->sink, vector)) {
            slot->msi_waiting &= ~bit;
        } else {
            slot->undelivered = true;
        }
    }
}

void remote_iohub_send_msi(RemoteSlot *slot, PciDevice *dev, unsigned vector)
{
    if (!msix_enabled(dev)) {
        msi_send(slot, dev, vector);
    } else if (slot->sink && !slot->sink->msix(slot->sink, vector)) {
        msix_set_pending(dev, vector, true);
        slot->undelivered = true;
    }
}

void remote_iohub_mask_msi(RemoteSlot *slot, PciDevice *dev, unsigned vector, bool masked)
{
    uint32_t bit = 1u << (vector & 31);

    msi_set_mask(dev, vector, masked);
    if (pci_get16(dev->config + dev->msi_cap + PCI_MSI_FLAGS) & PCI_MSI_FLAGS_MASKBIT) {
        return;
    }
    slot->msi_masked = masked ? slot->msi_masked | bit : slot->msi_masked & ~bit;
    if (slot->msi_waiting & bit) {
        msi_send(slot, dev, vector);
    }
}

void remote_iohub_retry(RemoteSlot *slot, PciDevice *dev)
{
    if (!slot->undelivered) {
        return;
    }
    slot->undelivered = false;
    intx_deliver(slot);
    for (unsigned v = 0; msi_enabled(dev) && v < 32; v++) {
        if (slot->msi_waiting >> v & 1) {
            msi_send(slot, dev, v);
        }
    }
    for (unsigned v = 0; msix_enabled(dev) && v < dev->msix_vectors; v++) {
        if (msix_pending(dev, v) && !msix_masked(dev, v)) {
            msix_set_pending(dev, v, false);
            msix_notify(dev, v);
        }
    }
}

void remote_iohub_reset(RemoteSlot *slot)
{
    slot->msi_masked = slot->msi_waiting = 0;
    slot->undelivered = false;
    remote_iohub_mask_intx(slot, false);
}

static bool slot_post_load(void *instance, uint32_t version, GError **error)
{
    RemoteSlot *slot = instance;

    /* What the function waits to deliver is looked for when it runs. */
    slot->undelivered = true;
    return true;
}

static const StateField slot_fields[] = {
    STATE_FIELD_BOOL(RemoteSlot, intx_masked),
    STATE_FIELD_UINT(RemoteSlot, msi_masked),
    STATE_FIELD_UINT(RemoteSlot, msi_waiting),
    STATE_END,
};
const StateTable remote_slot_state = {.name = "remote-slot", .version = 1, .fields = slot_fields, .post_load = slot_post_load};
