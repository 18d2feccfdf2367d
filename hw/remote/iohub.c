/* SPDX-License-Identifier: GPL-2.0-or-later */
/* INTx of served functions as a resampled level (vfio-user: SET_IRQS on the INTx index). */
#include "hw/remote/remote.h"

static bool intx_asserted(const RemoteSlot *slot)
{
    return slot->intx_level[0] || slot->intx_level[1] || slot->intx_level[2] || slot->intx_level[3];
}

static void intx_deliver(RemoteSlot *slot)
{
    if (slot->sink && intx_asserted(slot) && !slot->intx_masked) {
        slot->intx_masked = true;
        slot->sink->intx(slot->sink);
    }
}

void remote_iohub_set_intx(RemoteSlot *slot, unsigned pin, int level)
{
    slot->intx_level[pin] = level;
    intx_deliver(slot);
}

void remote_iohub_mask(RemoteSlot *slot, bool masked)
{
    slot->intx_masked = masked;
    intx_deliver(slot);
}

void remote_iohub_reset(RemoteSlot *slot)
{
    remote_iohub_mask(slot, false);
}
