/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Config space, header type 0 (PCI Local Bus 3.0 section 6.1): set-up, and the client's accesses unless the device
 * takes them all (ALWAYS_CB).
 */
#include <errno.h>
#include <string.h>

#include "private.h"

VFU_EXPORT int vfu_pci_init(vfu_ctx_t *ctx, vfu_pci_type_t pci_type, int hdr_type, int revision)
{
    Region *cfg = &ctx->regions[VFU_PCI_DEV_CFG_REGION_IDX];
    size_t size;

    switch (pci_type) {
    case VFU_PCI_TYPE_CONVENTIONAL:
    case VFU_PCI_TYPE_PCI_X_1:
        size = PCI_CFG_SPACE_SIZE;
        break;
    case VFU_PCI_TYPE_PCI_X_2:
    case VFU_PCI_TYPE_EXPRESS:
        size = PCI_CFG_SPACE_EXP_SIZE;
        break;
    default:
        return vfu_fail(EINVAL);
    }
    if (hdr_type != PCI_HEADER_TYPE_NORMAL || revision < 0 || revision > 0xff) {
        return vfu_fail(EINVAL);
    }
    if (ctx->pci.space) {
        return vfu_fail(EEXIST);
    }
    ctx->pci.space = calloc(1, size);
    if (ctx->pci.space == NULL) {
        return vfu_fail(ENOMEM);
    }
    ctx->pci.space_size = size;
    ctx->pci.type = pci_type;
    ctx->pci.space->hdr.rid = (uint8_t)revision;
    if (cfg->size == 0) {
        cfg->size = size;
        cfg->flags = VFU_REGION_FLAG_RW;
    }
    return 0;
}

VFU_EXPORT void vfu_pci_set_id(vfu_ctx_t *ctx, uint16_t vid, uint16_t did, uint16_t ssvid, uint16_t ssid)
{
    if (ctx->pci.space) {
        ctx->pci.space->hdr.id.vid = vid;
        ctx->pci.space->hdr.id.did = did;
        ctx->pci.space->hdr.ss.vid = ssvid;
        ctx->pci.space->hdr.ss.sid = ssid;
    }
}

VFU_EXPORT void vfu_pci_set_class(vfu_ctx_t *ctx, uint8_t base, uint8_t sub, uint8_t pi)
{
    if (ctx->pci.space) {
        ctx->pci.space->hdr.cc.bcc = base;
        ctx->pci.space->hdr.cc.scc = sub;
        ctx->pci.space->hdr.cc.pi = pi;
    }
}

VFU_EXPORT vfu_pci_config_space_t *vfu_pci_get_config_space(vfu_ctx_t *ctx)
{
    return ctx->pci.space;
}

/* Bits of a BAR that say what it is. */
static uint32_t bar_type_bits(const Region *region)
{
    if (!(region->flags & VFU_REGION_FLAG_MEM)) {
        return PCI_BASE_ADDRESS_SPACE_IO;
    }
    return (region->flags & VFU_REGION_FLAG_64_BITS ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0U) |
           (region->flags & VFU_REGION_FLAG_PREFETCH ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0U);
}

int pci_realize(vfu_ctx_t *ctx)
{
    Region *cfg = &ctx->regions[VFU_PCI_DEV_CFG_REGION_IDX];
    Pci *pci = &ctx->pci;

    if (pci->space == NULL) {
        pci->space_size = cfg->size > PCI_CFG_SPACE_SIZE ? cfg->size : PCI_CFG_SPACE_SIZE;
        pci->space = calloc(1, pci->space_size);
        if (pci->space == NULL) {
            return ENOMEM;
        }
        if (cfg->size == 0) {
            cfg->size = PCI_CFG_SPACE_SIZE;
            cfg->flags = VFU_REGION_FLAG_RW;
        }
    }
    for (int i = 0; i < PCI_BARS_NR; i++) {
        if (ctx->regions[i].size) {
            pci->space->hdr.bars[i].raw |= bar_type_bits(&ctx->regions[i]);
        }
    }
    if (ctx->irqs[VFU_DEV_INTX_IRQ].count && pci->space->hdr.intr.ipin == 0) {
        pci->space->hdr.intr.ipin = 1;
    }
    return 0;
}

bool pci_write_may_reset(vfu_ctx_t *ctx, const WireRegionAccess *a)
{
    size_t exp = ctx->pci.space ? vfu_pci_find_capability(ctx, false, PCI_CAP_ID_EXP) : 0;
    uint64_t control = exp + PCI_EXP_DEVCTL;

    if (a->region != VFU_PCI_DEV_CFG_REGION_IDX || exp == 0 || a->count == 0) {
        return false;
    }
    return a->offset == control || (a->offset <= control + 1 && a->count > control + 1 - a->offset);
}

/* ---- header writes ---- */

/*
 * The writable bits of the header; everything else ignores writes, as hardware does.  Status has bits that a 1
 * clears; the BARs and the ROM register depend on the regions.
 */
#define COMMAND_BITS (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INVALIDATE | \
                      PCI_COMMAND_PARITY | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)

static uint32_t bar_mask(const vfu_ctx_t *ctx, int bar)
{
    const Region *region = &ctx->regions[bar];
    const Region *low = bar % 2 ? &ctx->regions[bar - 1] : NULL;

    if (region->size) {
        return (uint32_t)~(region->size - 1) &
               (region->flags & VFU_REGION_FLAG_MEM ? (uint32_t)PCI_BASE_ADDRESS_MEM_MASK :
                                                      (uint32_t)PCI_BASE_ADDRESS_IO_MASK);
    }
    if (low && low->size && (low->flags & VFU_REGION_FLAG_64_BITS)) {
        return (uint32_t)(~(low->size - 1) >> 32);
    }
    return 0;
}

static uint32_t rom_mask(const vfu_ctx_t *ctx)
{
    uint64_t size = ctx->regions[VFU_PCI_DEV_ROM_REGION_IDX].size, unit = 2048;

    if (size == 0 || size > (UINT64_C(1) << 31)) {
        return 0;
    }
    while (unit < size) {
        unit *= 2;
    }
    return (uint32_t)~(unit - 1) | PCI_ROM_ADDRESS_ENABLE;
}

/* Writable bits of the header's byte at offset. */
static uint8_t header_byte_mask(const vfu_ctx_t *ctx, uint64_t offset)
{
    unsigned shift = (unsigned)(offset % 4) * 8;

    if (offset >= PCI_BASE_ADDRESS_0 && offset < PCI_CARDBUS_CIS) {
        return (uint8_t)(bar_mask(ctx, (int)(offset - PCI_BASE_ADDRESS_0) / 4) >> shift);
    }
    switch (offset) {
    case PCI_COMMAND:
        return COMMAND_BITS & 0xff;
    case PCI_COMMAND + 1:
        return COMMAND_BITS >> 8;
    case PCI_CACHE_LINE_SIZE:
    case PCI_LATENCY_TIMER:
    case PCI_INTERRUPT_LINE:
        return 0xff;
    case PCI_ROM_ADDRESS:
    case PCI_ROM_ADDRESS + 1:
    case PCI_ROM_ADDRESS + 2:
    case PCI_ROM_ADDRESS + 3:
        return (uint8_t)(rom_mask(ctx) >> shift);
    default:
        return 0;
    }
}

static void header_write(vfu_ctx_t *ctx, const uint8_t *buf, size_t count, uint64_t offset)
{
    const uint8_t clear_on_1 = (PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT |
                                PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR |
                                PCI_STATUS_DETECTED_PARITY) >> 8;
    uint8_t *raw = ctx->pci.space->raw;

    for (size_t i = 0; i < count; i++) {
        uint64_t at = offset + i;
        uint8_t mask = header_byte_mask(ctx, at);

        if (at == PCI_STATUS + 1) {
            raw[at] = (uint8_t)(raw[at] & ~(buf[i] & clear_on_1));
        } else {
            raw[at] = (uint8_t)((raw[at] & ~mask) | (buf[i] & mask));
        }
    }
}

/* ---- any access ---- */

/* Length of what begins at offset and is of one kind (header, one capability, the rest), at most count. */
static size_t config_segment(const vfu_ctx_t *ctx, uint64_t offset, size_t count, const Capability **cap)
{
    size_t n;

    *cap = NULL;
    if (offset < PCI_STD_HEADER_SIZEOF) {
        n = (size_t)(PCI_STD_HEADER_SIZEOF - offset);
        return n < count ? n : count;
    }
    *cap = pci_capability_at(ctx, offset);
    if (*cap) {
        n = (size_t)((*cap)->offset + (*cap)->size - offset);
        return n < count ? n : count;
    }
    for (n = 1; n < count && pci_capability_at(ctx, offset + n) == NULL; n++) {
    }
    return n;
}

static int config_access_segment(vfu_ctx_t *ctx, uint8_t *buf, size_t count, uint64_t offset, bool is_write,
                                 const Capability *cap)
{
    const Region *cfg = &ctx->regions[VFU_PCI_DEV_CFG_REGION_IDX];
    bool device = cap ? cap->flags & VFU_CAP_FLAG_CALLBACK : offset >= PCI_STD_HEADER_SIZEOF;

    if (device && cfg->cb) {
        ssize_t done;

        errno = 0;
        done = cfg->cb(ctx, (char *)buf, count, (loff_t)offset, is_write);
        return done == (ssize_t)count ? 0 : done < 0 && errno ? errno : EINVAL;
    }
    if (!is_write) {
        size_t have = offset < ctx->pci.space_size ? (size_t)(ctx->pci.space_size - offset) : 0;

        memset(buf, 0, count);
        if (have) {
            memcpy(buf, (uint8_t *)ctx->pci.space + offset, have < count ? have : count);
        }
        return 0;
    }
    if (cap) {
        return pci_capability_write(ctx, cap, buf, count, offset - cap->offset);
    }
    if (device) {
        return EINVAL;
    }
    header_write(ctx, buf, count, offset);
    return 0;
}

ssize_t pci_config_access(vfu_ctx_t *ctx, uint8_t *buf, size_t count, uint64_t offset, bool is_write)
{
    size_t done = 0;

    while (done < count) {
        const Capability *cap;
        size_t n = config_segment(ctx, offset + done, count - done, &cap);
        int err = config_access_segment(ctx, buf + done, n, offset + done, is_write, cap);

        if (err) {
            return vfu_fail(err);
        }
        done += n;
    }
    return (ssize_t)count;
}
