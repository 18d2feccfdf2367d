/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PCI capabilities: adding and finding them, and what a guest may write: power management (PCI PM 1.2), MSI and MSI-X
 * (PCI 3.0 section 6.8), PCI Express (Base specification 7.5.3), vendor specific, serial number.
 */
#include <errno.h>
#include <string.h>

#include "private.h"

static uint8_t *cap_bytes(const vfu_ctx_t *ctx, const Capability *cap)
{
    return (uint8_t *)ctx->pci.space + cap->offset;
}

const Capability *pci_capability_at(const vfu_ctx_t *ctx, uint64_t offset)
{
    bool extended = offset >= PCI_CFG_SPACE_SIZE;
    const Capability *caps = extended ? ctx->pci.ext_caps : ctx->pci.caps;
    uint32_t count = extended ? ctx->pci.ext_cap_count : ctx->pci.cap_count;

    for (uint32_t i = 0; i < count; i++) {
        if (offset >= caps[i].offset && offset - caps[i].offset < caps[i].size) {
            return &caps[i];
        }
    }
    return NULL;
}

/* ---- adding ---- */

/* Id and size of the capability that data holds: 0, ENOTSUP or EINVAL. */
static int cap_identify(const void *data, bool extended, Capability *cap)
{
    uint32_t size;

    if (extended) {
        cap->id = wire_get_u16(data, 0);
        switch (cap->id) {
        case PCI_EXT_CAP_ID_DSN:
            size = sizeof(struct dsncap);
            break;
        case PCI_EXT_CAP_ID_VNDR:
            size = wire_get_u32(data, 4) >> 20;
            if (size < sizeof(struct pcie_ext_cap_vsc_hdr)) {
                return EINVAL;
            }
            break;
        default:
            return ENOTSUP;
        }
    } else {
        cap->id = *(const uint8_t *)data;
        switch (cap->id) {
        case PCI_CAP_ID_PM:
            size = sizeof(struct pmcap);
            break;
        case PCI_CAP_ID_EXP:
            size = sizeof(struct pxcap);
            break;
        case PCI_CAP_ID_MSI:
            size = sizeof(struct msicap);
            break;
        case PCI_CAP_ID_MSIX:
            size = sizeof(struct msixcap);
            break;
        case PCI_CAP_ID_VNDR:
            size = ((const uint8_t *)data)[2];
            if (size < sizeof(struct vsc)) {
                return EINVAL;
            }
            break;
        default:
            return ENOTSUP;
        }
    }
    cap->size = (uint16_t)size;
    return 0;
}

/* Where the capability goes: behind all others, or at pos if it is free. */
static int cap_place(const vfu_ctx_t *ctx, size_t pos, bool extended, Capability *cap)
{
    const Capability *caps = extended ? ctx->pci.ext_caps : ctx->pci.caps;
    uint32_t count = extended ? ctx->pci.ext_cap_count : ctx->pci.cap_count;
    size_t first = extended ? PCI_CFG_SPACE_SIZE : PCI_STD_HEADER_SIZEOF;
    size_t end = extended ? ctx->pci.space_size : PCI_CFG_SPACE_SIZE;
    size_t at = first;

    if (pos == 0) {
        for (uint32_t i = 0; i < count; i++) {
            size_t behind = ((size_t)caps[i].offset + caps[i].size + 3) & ~(size_t)3;

            at = behind > at ? behind : at;
        }
        if (at > end || cap->size > end - at) {
            return ENOSPC;
        }
    } else {
        at = pos;
        /* The extended list begins at its first byte. */
        if (at < first || at % 4 || at > end || cap->size > end - at || (extended && count == 0 && at != first)) {
            return EINVAL;
        }
        for (uint32_t i = 0; i < count; i++) {
            if (at < (size_t)caps[i].offset + caps[i].size && caps[i].offset < at + cap->size) {
                return EINVAL;
            }
        }
    }
    cap->offset = (uint16_t)at;
    return 0;
}

/* Copies the capability in and links it to the end of its list. */
static void cap_link(vfu_ctx_t *ctx, const Capability *cap, bool extended, const void *data)
{
    Pci *pci = &ctx->pci;
    uint8_t *space = (uint8_t *)pci->space;

    memcpy(space + cap->offset, data, cap->size);
    if (extended) {
        wire_put_u32(space, cap->offset, wire_get_u32(space, cap->offset) & 0xfffffu);
        if (pci->ext_cap_count) {
            size_t last = pci->ext_caps[pci->ext_cap_count - 1].offset;

            wire_put_u32(space, last, (wire_get_u32(space, last) & 0xfffffu) | ((uint32_t)cap->offset << 20));
        }
        pci->ext_caps[pci->ext_cap_count++] = *cap;
        return;
    }
    space[cap->offset + PCI_CAP_LIST_NEXT] = 0;
    if (pci->cap_count) {
        space[pci->caps[pci->cap_count - 1].offset + PCI_CAP_LIST_NEXT] = (uint8_t)cap->offset;
    } else {
        pci->space->hdr.cap = (uint8_t)cap->offset;
        pci->space->hdr.sts.raw |= PCI_STATUS_CAP_LIST;
    }
    pci->caps[pci->cap_count++] = *cap;
}

VFU_EXPORT ssize_t vfu_pci_add_capability(vfu_ctx_t *ctx, size_t pos, int flags, void *data)
{
    bool extended = flags & VFU_CAP_FLAG_EXTENDED;
    Capability cap = { .flags = (uint32_t)flags };
    int err;

    if ((flags & ~VFU_CAP_FLAG_MASK) || data == NULL || ctx->pci.space == NULL) {
        return vfu_fail(EINVAL);
    }
    if (extended && ctx->pci.type != VFU_PCI_TYPE_PCI_X_2 && ctx->pci.type != VFU_PCI_TYPE_EXPRESS) {
        return vfu_fail(EINVAL);
    }
    if ((flags & VFU_CAP_FLAG_CALLBACK) && ctx->regions[VFU_PCI_DEV_CFG_REGION_IDX].cb == NULL) {
        return vfu_fail(EINVAL);
    }
    if ((extended ? ctx->pci.ext_cap_count : ctx->pci.cap_count) >= VFU_MAX_CAPS) {
        return vfu_fail(ENOSPC);
    }
    err = cap_identify(data, extended, &cap);
    if (err == 0) {
        err = cap_place(ctx, pos, extended, &cap);
    }
    if (err) {
        return vfu_fail(err);
    }
    cap_link(ctx, &cap, extended, data);
    return cap.offset;
}

/* ---- finding ---- */

VFU_EXPORT size_t vfu_pci_find_next_capability(vfu_ctx_t *ctx, bool extended, size_t pos, int cap_id)
{
    const Capability *caps = extended ? ctx->pci.ext_caps : ctx->pci.caps;
    uint32_t i = 0, count = extended ? ctx->pci.ext_cap_count : ctx->pci.cap_count;

    if (pos) {
        while (i < count && caps[i].offset != pos) {
            i++;
        }
        if (i == count) {
            errno = EINVAL;
            return 0;
        }
        i++;
    }
    for (; i < count; i++) {
        if (caps[i].id == cap_id) {
            return caps[i].offset;
        }
    }
    errno = ENOENT;
    return 0;
}

VFU_EXPORT size_t vfu_pci_find_capability(vfu_ctx_t *ctx, bool extended, int cap_id)
{
    return vfu_pci_find_next_capability(ctx, extended, 0, cap_id);
}

/* ---- writes ---- */

/* Stores the bits that mask allows, byte for byte. */
static void cap_store(uint8_t *bytes, const uint8_t *mask, const uint8_t *buf, size_t count, uint64_t offset)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t m = mask[offset + i];

        bytes[offset + i] = (uint8_t)((bytes[offset + i] & ~m) | (buf[i] & m));
    }
}

static int write_pm(vfu_ctx_t *ctx, const Capability *cap, const uint8_t *buf, size_t count, uint64_t offset)
{
    const uint16_t mask = PCI_PM_CTRL_STATE_MASK | PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_DATA_SEL_MASK;
    uint8_t *bytes = cap_bytes(ctx, cap);
    uint16_t value, status;

    if (offset != PCI_PM_CTRL) {
        return ENOTSUP;
    }
    if (count != 2) {
        return EINVAL;
    }
    value = wire_get_u16(buf, 0);
    status = wire_get_u16(bytes, offset);
    status = (uint16_t)((status & ~mask) | (value & mask));
    /* A 1 clears the event. */
    if (value & PCI_PM_CTRL_PME_STATUS) {
        status = (uint16_t)(status & ~PCI_PM_CTRL_PME_STATUS);
    }
    wire_put_u16(bytes, offset, status);
    return 0;
}

static int write_msi(vfu_ctx_t *ctx, const Capability *cap, const uint8_t *buf, size_t count, uint64_t offset)
{
    static const uint8_t mask_64[sizeof(struct msicap)] = {
        0, 0, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE, 0, 0xfc, 0xff, 0xff, 0xff, /* control, address */
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff,            /* upper address, data, mask */
    };
    static const uint8_t mask_32[sizeof(struct msicap)] = {
        0, 0, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE, 0, 0xfc, 0xff, 0xff, 0xff, /* control, address */
        0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff,                                    /* data, mask */
    };
    uint8_t *bytes = cap_bytes(ctx, cap);
    const uint8_t *mask = bytes[PCI_MSI_FLAGS] & PCI_MSI_FLAGS_64BIT ? mask_64 : mask_32;

    if (offset <= PCI_MSI_FLAGS && count > PCI_MSI_FLAGS - offset) {
        unsigned mme = ((unsigned)buf[PCI_MSI_FLAGS - offset] & PCI_MSI_FLAGS_QSIZE) >> 4;
        unsigned mmc = ((unsigned)bytes[PCI_MSI_FLAGS] & PCI_MSI_FLAGS_QMASK) >> 1;

        if (mme > mmc || mme > 5) {
            return EINVAL;
        }
    }
    /* Without vectors that can be masked there is no mask register. */
    if (!(wire_get_u16(bytes, PCI_MSI_FLAGS) & PCI_MSI_FLAGS_MASKBIT)) {
        size_t end = bytes[PCI_MSI_FLAGS] & PCI_MSI_FLAGS_64BIT ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32;

        count = offset >= end ? 0 : count < end - offset ? count : (size_t)(end - offset);
    }
    cap_store(bytes, mask, buf, count, offset);
    return 0;
}

static int write_msix(vfu_ctx_t *ctx, const Capability *cap, const uint8_t *buf, size_t count, uint64_t offset)
{
    static const uint8_t mask[sizeof(struct msixcap)] = {
        [PCI_MSIX_FLAGS + 1] = (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8,
    };

    cap_store(cap_bytes(ctx, cap), mask, buf, count, offset);
    return 0;
}

static int write_devctl(vfu_ctx_t *ctx, const Capability *cap, uint16_t value)
{
    uint8_t *bytes = cap_bytes(ctx, cap);

    if (value & PCI_EXP_DEVCTL_BCR_FLR) {
        if (!(wire_get_u32(bytes, PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR)) {
            return EINVAL;
        }
        errno = 0;
        if (ctx->reset_cb && ctx->reset_cb(ctx, VFU_RESET_PCI_FLR) < 0) {
            return errno ? errno : EINVAL;
        }
    }
    /* The reset bit always reads 0. */
    wire_put_u16(bytes, PCI_EXP_DEVCTL, value & (uint16_t)~PCI_EXP_DEVCTL_BCR_FLR);
    return 0;
}

static int write_exp(vfu_ctx_t *ctx, const Capability *cap, const uint8_t *buf, size_t count, uint64_t offset)
{
    uint8_t *bytes = cap_bytes(ctx, cap);
    uint16_t value;

    if (count != 2) {
        return EINVAL;
    }
    value = wire_get_u16(buf, 0);
    switch (offset) {
    case PCI_EXP_DEVCTL:
        return write_devctl(ctx, cap, value);
    case PCI_EXP_DEVCTL2:
    case PCI_EXP_LNKCTL2:
        wire_put_u16(bytes, offset, value);
        return 0;
    case PCI_EXP_DEVSTA:
        /* A 1 clears the error bits. */
        wire_put_u16(bytes, offset, (uint16_t)(wire_get_u16(bytes, offset) & ~(value & 0xf)));
        return 0;
    /* There is no link whose behaviour they could change. */
    case PCI_EXP_LNKCTL:
    case PCI_EXP_LNKSTA:
    case PCI_EXP_SLTCTL:
    case PCI_EXP_SLTSTA:
    case PCI_EXP_RTCTL:
        return 0;
    default:
        return EINVAL;
    }
}

static int write_vendor(vfu_ctx_t *ctx, const Capability *cap, const uint8_t *buf, size_t count, uint64_t offset)
{
    memcpy(cap_bytes(ctx, cap) + offset, buf, count);
    return 0;
}

typedef int CapWrite(vfu_ctx_t *ctx, const Capability *cap, const uint8_t *buf, size_t count, uint64_t offset);

static CapWrite *cap_writer(const Capability *cap)
{
    if (cap->offset >= PCI_CFG_SPACE_SIZE) {
        return cap->id == PCI_EXT_CAP_ID_VNDR ? write_vendor : NULL;
    }
    switch (cap->id) {
    case PCI_CAP_ID_PM:
        return write_pm;
    case PCI_CAP_ID_MSI:
        return write_msi;
    case PCI_CAP_ID_MSIX:
        return write_msix;
    case PCI_CAP_ID_EXP:
        return write_exp;
    default:
        return write_vendor;
    }
}

int pci_capability_write(vfu_ctx_t *ctx, const Capability *cap, const uint8_t *buf, size_t count, uint64_t offset)
{
    size_t header = cap->offset >= PCI_CFG_SPACE_SIZE ? sizeof(struct pcie_ext_cap_hdr) : sizeof(struct cap_hdr);
    CapWrite *write_fn = cap_writer(cap);

    if (offset < header || (cap->flags & VFU_CAP_FLAG_READONLY) || write_fn == NULL) {
        return EPERM;
    }
    return write_fn(ctx, cap, buf, count, offset);
}
