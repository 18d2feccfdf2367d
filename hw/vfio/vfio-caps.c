/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Capabilities (PCI 3.0, 6.7 and 6.8; PCI Express Base 4.0, 7.5 to 7.9): a table says for each whether the
 * guest sees the device's registers, ours, or nothing.  What is hidden can not be written either.
 */
#include <errno.h>
#include <string.h>

#include "hw/vfio/vfio-internal.h"

#define MAX_CAPS     48  /* that fit 0x40..0xff */
#define MAX_EXT_CAPS 480 /* that fit 0x100..0xfff */

/* The least of a capability that its rule touches. */
#define PM_SIZE          8
#define VPD_SIZE         8
#define AF_SIZE          6
#define VENDOR_SIZE      3
#define EXP_SIZE         0x14
#define EXP_SIZE_V2      0x3c
#define ARI_SIZE         8
#define REBAR_HEAD       4
#define REBAR_ENTRY      8
#define REBAR_SIZES      0xfffffff0u
#define EXT_CAP_VF_REBAR 0x24
#define AF_CTRL          4
#define AF_CTRL_FLR      1

typedef enum Verdict { CAP_SHOWN, CAP_HIDDEN, CAP_BAD } Verdict;

typedef struct CapRule {
    uint16_t id;
    uint16_t size; /* a shorter one is hidden: it does not fit its space */
    Verdict (*start)(VfioPciDevice *dev, uint16_t at, uint16_t end, GError **error); /* NULL: `otherwise` */
    Verdict otherwise;
} CapRule;

/* Our own registers, which the device never sees written. */
static void make_local(VfioPciDevice *dev, unsigned offset, unsigned len)
{
    memset(dev->emulated_bits + offset, 0xff, len);
    memset(dev->local_bytes + offset, 1, len);
}

/* --- capabilities --- */

static Verdict pm_start(VfioPciDevice *dev, uint16_t at, uint16_t end, GError **error)
{
    uint8_t *config = dev->pci.config;

    dev->pci.pm_cap = at;
    /* Nobody carries a PME to the guest, so there is none. */
    vfio_config_emulate(dev, at + PCI_PM_PMC, 2);
    pci_set16(config + at + PCI_PM_PMC,
              pci_get16(config + at + PCI_PM_PMC) & (uint16_t) ~(PCI_PM_CAP_PME_MASK | PCI_PM_CAP_AUX_POWER));
    return CAP_SHOWN;
}

static Verdict msi_start(VfioPciDevice *dev, uint16_t at, uint16_t end, GError **error)
{
    PciDevice *pci = &dev->pci;
    uint16_t flags = pci_get16(pci->config + at + PCI_MSI_FLAGS);
    bool is64 = flags & PCI_MSI_FLAGS_64BIT, maskable = flags & PCI_MSI_FLAGS_MASKBIT;
    unsigned len = (is64 ? 14 : 10) + (maskable ? 10 : 0);
    unsigned log2_vectors = (flags & PCI_MSI_FLAGS_QMASK) >> 1;

    if (pci->msi_cap || at + len > end || log2_vectors > 5 || !dev->irq_counts[VFIO_PCI_MSI_IRQ_INDEX]) {
        return CAP_HIDDEN;
    }
    pci->msi_cap = at;
    vfio_config_emulate(dev, at, len);
    pci_set16(pci->config + at + PCI_MSI_FLAGS,
              flags & (uint16_t) ~(PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE));
    pci_set16(pci->wmask + at + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
    pci_set32(pci->wmask + at + PCI_MSI_ADDRESS_LO, 0xfffffffc);
    if (is64) {
        pci_set32(pci->wmask + at + PCI_MSI_ADDRESS_HI, UINT32_MAX);
    }
    pci_set16(pci->wmask + at + (is64 ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32), UINT16_MAX);
    if (maskable) {
        unsigned mask = at + (is64 ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32);

        pci_set32(pci->wmask + mask, UINT32_MAX >> (32 - (1u << log2_vectors)));
    }
    return CAP_SHOWN;
}

/*
 * The guest's table and pending bits are ours, so those of the device may be in any BAR: both are shown in
 * the table's, or in one that x-msix-relocation made for them.
 */
static Verdict msix_start(VfioPciDevice *dev, uint16_t at, uint16_t end, GError **error)
{
    PciDevice *pci = &dev->pci;
    uint32_t table = pci_get32(pci->config + at + PCI_MSIX_TABLE),
             pba = pci_get32(pci->config + at + PCI_MSIX_PBA);
    unsigned vectors = (pci_get16(pci->config + at + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1u;
    unsigned bar = table & PCI_MSIX_BIR;

    if (pci->msix_cap || !dev->irq_counts[VFIO_PCI_MSIX_IRQ_INDEX]) {
        return CAP_HIDDEN;
    }
    table &= ~PCI_MSIX_BIR;
    if (dev->msix_bar >= 0) {
        bar = (unsigned)dev->msix_bar;
        table = dev->msix_offset;
        pba = table + vectors * 16;
    } else if ((pba & PCI_MSIX_BIR) == bar) {
        pba &= ~PCI_MSIX_BIR;
    } else {
        pba = table + vectors * 16;
    }
    vfio_config_emulate(dev, at, PCI_MSIX_CAP_SIZE);
    if (!msix_init(pci, vectors, bar, table, pba, at, error)) {
        g_prefix_error(error, "%s: ", dev->vdev.name);
        return CAP_BAD;
    }
    return CAP_SHOWN;
}

unsigned vfio_config_msix_vectors(const VfioPciDevice *dev)
{
    const uint8_t *config = dev->pci.config;
    unsigned at = config[PCI_CAPABILITY_LIST] & ~3u;

    for (unsigned i = 0; at >= 0x40 && i < MAX_CAPS && (config[PCI_STATUS] & PCI_STATUS_CAP_LIST); i++) {
        if (config[at] == PCI_CAP_ID_MSIX && at + PCI_MSIX_CAP_SIZE <= PCI_CONFIG_SIZE) {
            return (pci_get16(config + at + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1u;
        }
        at = config[at + 1] & ~3u;
    }
    return 0;
}

/* An endpoint on the root bus is one of the root complex and has no link; behind a port it has one (7.5.3.2).
 */
static void exp_set_type(VfioPciDevice *dev, uint16_t at, uint16_t end)
{
    uint8_t *config = dev->pci.config;
    uint16_t flags = pci_get16(config + at + PCI_EXP_FLAGS);
    unsigned type = (flags & PCI_EXP_FLAGS_TYPE) >> 4;
    bool root = !dev->pci.bus->parent, link = type == PCI_EXP_TYPE_ENDPOINT || type == PCI_EXP_TYPE_LEG_END;

    vfio_config_emulate(dev, at + PCI_EXP_FLAGS, 2);
    if (link && root) {
        type = PCI_EXP_TYPE_RC_END;
        make_local(dev, at + PCI_EXP_LNKCAP, 8);
        memset(config + at + PCI_EXP_LNKCAP, 0, 8);
        if (at + EXP_SIZE_V2 <= end && (flags & PCI_EXP_FLAGS_VERS) > 1) {
            make_local(dev, at + PCI_EXP_LNKCAP2, 8);
            memset(config + at + PCI_EXP_LNKCAP2, 0, 8);
        }
    } else if (type == PCI_EXP_TYPE_RC_END && !root) {
        type = PCI_EXP_TYPE_ENDPOINT;
        make_local(dev, at + PCI_EXP_LNKCAP, 8);
        pci_set32(config + at + PCI_EXP_LNKCAP, PCI_EXP_LNKCAP_SLS_2_5GB | 1u << 4);
        pci_set32(config + at + PCI_EXP_LNKCTL, (uint32_t)(PCI_EXP_LNKSTA_CLS_2_5GB | PCI_EXP_LNKSTA_NLW_X1)
                                                    << 16);
    }
    pci_set16(config + at + PCI_EXP_FLAGS, (uint16_t)((flags & ~PCI_EXP_FLAGS_TYPE) | type << 4));
}

static Verdict exp_start(VfioPciDevice *dev, uint16_t at, uint16_t end, GError **error)
{
    PciDevice *pci = &dev->pci;

    if (pci->exp_cap) {
        return CAP_HIDDEN;
    }
    pci->exp_cap = at;
    /* Function level reset is seen here, the rest of the register is the device's. */
    pci_set16(pci->wmask + at + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_FLR);
    if (pci->bus->express) {
        exp_set_type(dev, at, end);
    }
    return CAP_SHOWN;
}

static Verdict af_start(VfioPciDevice *dev, uint16_t at, uint16_t end, GError **error)
{
    dev->af_cap = at;
    return CAP_SHOWN;
}

static const CapRule cap_rules[] = {
    {PCI_CAP_ID_PM, PM_SIZE, pm_start},
    {PCI_CAP_ID_VPD, VPD_SIZE, NULL, CAP_SHOWN},
    {PCI_CAP_ID_MSI, 10, msi_start},
    {PCI_CAP_ID_MSIX, PCI_MSIX_CAP_SIZE, msix_start},
    {PCI_CAP_ID_EXP, EXP_SIZE, exp_start},
    {PCI_CAP_ID_AF, AF_SIZE, af_start},
    {PCI_CAP_ID_VNDR, VENDOR_SIZE, NULL, CAP_SHOWN},
    {PCI_CAP_ID_EA, 4, NULL, CAP_HIDDEN}, /* its addresses are not the guest's */
};

/* --- extended capabilities --- */

/* Whether this is the last function is for the guest's bus to say. */
static Verdict ari_start(VfioPciDevice *dev, uint16_t at, uint16_t end, GError **error)
{
    vfio_config_emulate(dev, at + PCI_ARI_CAP, 2);
    dev->pci.config[at + PCI_ARI_CAP + 1] = 0; /* Next Function Number */
    return CAP_SHOWN;
}

/* The guest sees the one size the BAR has: resizing would have to be followed by every map of it. */
static Verdict rebar_start(VfioPciDevice *dev, uint16_t at, uint16_t end, GError **error)
{
    uint8_t *config = dev->pci.config;
    unsigned count = (pci_get32(config + at + PCI_REBAR_CTRL) & PCI_REBAR_CTRL_NBAR_MASK) >> 5;

    if (!count || count > PCI_BAR_COUNT || at + REBAR_HEAD + count * REBAR_ENTRY > end) {
        return CAP_HIDDEN;
    }
    make_local(dev, at + REBAR_HEAD, count * REBAR_ENTRY);
    for (unsigned i = 0; i < count; i++) {
        uint8_t *entry = config + at + REBAR_HEAD + i * REBAR_ENTRY;
        unsigned size = (pci_get32(entry + 4) & PCI_REBAR_CTRL_BAR_SIZE) >> 8; /* 2^size MiB */

        pci_set32(entry, size < 28 ? 1u << (size + 4) : 0);
    }
    return CAP_SHOWN;
}

static const CapRule ext_cap_rules[] = {
    {PCI_EXT_CAP_ID_ERR, 0x2c, NULL, CAP_SHOWN},
    {PCI_EXT_CAP_ID_ARI, ARI_SIZE, ari_start},
    {PCI_EXT_CAP_ID_REBAR, REBAR_HEAD + REBAR_ENTRY, rebar_start},
    /* These need the help of the IOMMU or of the host. */
    {PCI_EXT_CAP_ID_SRIOV, 0x40, NULL, CAP_HIDDEN},
    {PCI_EXT_CAP_ID_ATS, 8, NULL, CAP_HIDDEN},
    {PCI_EXT_CAP_ID_PRI, 16, NULL, CAP_HIDDEN},
    {PCI_EXT_CAP_ID_PASID, 8, NULL, CAP_HIDDEN},
    {EXT_CAP_VF_REBAR, REBAR_HEAD + REBAR_ENTRY, NULL, CAP_HIDDEN},
};

/* --- lists --- */

/* What no rule names is shown. */
static Verdict judge(VfioPciDevice *dev, const CapRule *rules, unsigned count, uint16_t id, uint16_t at,
                     uint16_t *end, GError **error)
{
    for (unsigned i = 0; i < count; i++) {
        if (rules[i].id != id) {
            continue;
        }
        Verdict verdict = at + rules[i].size > *end ? CAP_HIDDEN
                          : rules[i].start          ? rules[i].start(dev, at, *end, error)
                                                    : rules[i].otherwise;

        *end = (uint16_t)MIN(*end, at + rules[i].size); /* what is hidden, if it is */
        return verdict;
    }
    return CAP_SHOWN;
}

/* Nothing of [at, end) is the guest's. */
static void hide(VfioPciDevice *dev, unsigned at, unsigned end)
{
    make_local(dev, at, end - at);
    memset(dev->pci.config + at, 0, end - at);
    memset(dev->pci.wmask + at, 0, end - at);
}

/* Where a capability ends at the latest: at the next one, or with its space. */
static uint16_t cap_end(const uint16_t *list, unsigned count, uint16_t at, uint16_t limit)
{
    for (unsigned i = 0; i < count; i++) {
        if (list[i] > at && list[i] < limit) {
            limit = list[i];
        }
    }
    return limit;
}

static int walk(VfioPciDevice *dev, uint16_t *list)
{
    const uint8_t *config = dev->pci.config;
    unsigned at = config[PCI_CAPABILITY_LIST] & ~3u;
    int count = 0;

    for (; at >= 0x40; at = config[at + 1] & ~3u) {
        if (count == MAX_CAPS) {
            return -1;
        }
        list[count++] = (uint16_t)at;
    }
    return count;
}

static bool capabilities_start(VfioPciDevice *dev, GError **error)
{
    PciDevice *pci = &dev->pci;
    unsigned link = PCI_CAPABILITY_LIST;
    uint16_t list[MAX_CAPS];
    int count = 0;

    pci->exp_cap = pci->msi_cap = pci->msix_cap = pci->pm_cap = dev->af_cap = 0;
    if (pci_get16(pci->config + PCI_STATUS) & PCI_STATUS_CAP_LIST) {
        count = walk(dev, list);
        if (count < 0) {
            error_set(error, "%s: the list of capabilities never ends", dev->vdev.name);
            return false;
        }
    }
    for (int i = 0; i < count; i++) {
        uint16_t at = list[i], end = cap_end(list, (unsigned)count, at, PCI_CONFIG_SIZE);
        Verdict verdict = judge(dev, cap_rules, G_N_ELEMENTS(cap_rules), pci->config[at], at, &end, error);

        if (verdict == CAP_BAD) {
            return false;
        }
        if (verdict == CAP_HIDDEN) {
            hide(dev, at, end);
            continue;
        }
        pci->config[link] = (uint8_t)at;
        link = at + 1u;
        vfio_config_emulate(dev, at, 2);
    }
    pci->config[link] = 0;
    return true;
}

static int walk_ext(VfioPciDevice *dev, uint16_t *list)
{
    const uint8_t *config = dev->pci.config;
    unsigned at = PCI_CONFIG_SIZE;
    int count = 0;

    for (; at >= PCI_CONFIG_SIZE; at = (pci_get32(config + at) >> 20) & ~3u) {
        if (count == MAX_EXT_CAPS) {
            return -1;
        }
        list[count++] = (uint16_t)at;
    }
    return count;
}

static bool ext_capabilities_start(VfioPciDevice *dev, GError **error)
{
    uint8_t *config = dev->pci.config;
    uint16_t list[MAX_EXT_CAPS];
    unsigned last = PCI_CONFIG_SIZE;
    int count;

    if (dev->config_region < PCIE_CONFIG_SIZE || dev->pci.config_size < PCIE_CONFIG_SIZE) {
        return true;
    }
    count = walk_ext(dev, list);
    if (count < 0) {
        error_set(error, "%s: the list of extended capabilities never ends", dev->vdev.name);
        return false;
    }
    for (int i = 0; i < count; i++) {
        uint16_t at = list[i], end = cap_end(list, (unsigned)count, at, PCIE_CONFIG_SIZE);
        uint32_t header = pci_get32(config + at);
        Verdict verdict =
            judge(dev, ext_cap_rules, G_N_ELEMENTS(ext_cap_rules), (uint16_t)header, at, &end, error);

        vfio_config_emulate(dev, at, 4);
        pci_set32(config + at, header & 0xfffff);
        if (verdict == CAP_HIDDEN) {
            hide(dev, at, end);
        } else if (at != PCI_CONFIG_SIZE) {
            pci_set32(config + last, (pci_get32(config + last) & 0xfffff) | (uint32_t)at << 20);
            last = at;
        }
    }
    return true;
}

bool vfio_config_capabilities(VfioPciDevice *dev, GError **error)
{
    return capabilities_start(dev, error) && ext_capabilities_start(dev, error);
}

bool vfio_config_is_flr(const VfioPciDevice *dev, uint16_t offset, uint32_t val, unsigned size, uint32_t *flr)
{
    unsigned at = dev->af_cap + AF_CTRL;

    if (!dev->af_cap || at < offset || at >= offset + size) {
        return false;
    }
    *flr = (uint32_t)AF_CTRL_FLR << (8 * (at - offset));
    return val & *flr;
}
