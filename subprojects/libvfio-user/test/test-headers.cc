// SPDX-License-Identifier: BSD-3-Clause
// The public headers in C++: they compile, functions have C linkage, and set-up calls can be written as in C.
#include "libvfio-user.h"

int main()
{
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_MAX, "", 0, nullptr, VFU_DEV_TYPE_PCI);
    struct pmcap pm = {};
    vfu_pci_config_space_t *space = nullptr;

    pm.hdr.id = PCI_CAP_ID_PM;
    vfu_destroy_ctx(ctx);
    return ctx == nullptr && space == nullptr && pm.pmcs.raw == 0 && dma_sg_size() == 40 ? 0 : 1;
}
