/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Q35 host bridge (Intel 3 series express chip set data sheet, chapter 5:
 * device 0): configuration mechanism 1 at CF8h and CFCh, the memory-mapped
 * window of PCIEXBAR, the attribute map of low memory (5.1.22), system management RAM (5.1.30, 9.10), and the hub's own
 * function.  PCIEXBAR is preset as firmware would.  D_CLS is stored, no more; TSEG ends where low RAM does.
 */
#include "hw/pci-host/q35.h"

#include <string.h>

#define CONFIG_ADDRESS_ENABLE 0x80000000u
#define PORT_CONFIG_ADDRESS   0xcf8
#define PORT_CONFIG_DATA      0xcfc
#define RST_CNT_BYTE          1

#define MCH_PCIEXBAR       0x60
#define PCIEXBAR_EN        0x1ull
#define PCIEXBAR_LENGTH(v) ((unsigned)((v) >> 1) & 3) /* 256, 128, 64 MiB */
#define PCIEXBAR_WRITABLE  0xffc000007ull

#define MCH_EXT_TSEG       0x50 /* of QEMU's hub, for OVMF: size in MiB of a TSEG with TSEG_SZ 3, once FFFFh is written */
#define EXT_TSEG_QUERY     0xffff
#define EXT_TSEG_MIB       16
#define MCH_PAM0           0x90
#define PAM_WRITABLE       0x33
#define MCH_SMRAM          0x9d
#define SMRAM_D_OPEN       0x40
#define SMRAM_D_CLS        0x20
#define SMRAM_D_LCK        0x10
#define SMRAM_G_SMRAME     0x08
#define SMRAM_C_BASE_SEG   0x02
#define MCH_ESMRAMC        0x9e
#define ESMRAMC_H_SMRAME   0x80
#define ESMRAMC_CACHE      0x38 /* read as ones */
#define ESMRAMC_TSEG_SZ(v) ((unsigned)(v) >> 1 & 3)
#define ESMRAMC_TSEG_SZ_M  0x06
#define ESMRAMC_T_EN       0x01
#define MCH_TOM            0xa0 /* to TOLUD (5.1.34 to 5.1.39): firmware's notes on where RAM, graphics memory and TSEG are; */
#define MCH_TOLUD_END      0xb2 /* what they say is not looked at */
#define MIB                0x100000ull

static MemResult host_address_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    Q35Host *s = opaque;
    if (addr == 0 && size == 4) {
        *val = s->config_address;
        return MEM_OK;
    }
    if (addr == RST_CNT_BYTE && size == 1 && s->ports) {
        *val = chipset_ports_read_rst_cnt(s->ports);
        return MEM_OK;
    }
    *val = UINT64_MAX;
    return MEM_DECODE_ERROR;
}

static MemResult host_address_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Q35Host *s = opaque;
    if (addr == 0 && size == 4) {
        s->config_address = (uint32_t)val & ~3u;
        return MEM_OK;
    }
    if (addr == RST_CNT_BYTE && size == 1 && s->ports) {
        chipset_ports_write_rst_cnt(s->ports, (uint8_t)val);
        return MEM_OK;
    }
    return MEM_DECODE_ERROR;
}

/* Configuration mechanism 1 to the form of ECAM. */
static uint32_t host_ecam_address(const Q35Host *s, HwAddr addr)
{
    uint32_t a = s->config_address;
    return (a >> 8 & 0xffff) << 12 | (a & 0xfc) | (uint32_t)addr;
}

static MemResult host_data_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    Q35Host *s = opaque;
    *val = s->config_address & CONFIG_ADDRESS_ENABLE
               ? pci_host_config_read(s->bus, host_ecam_address(s, addr), size)
               : UINT64_MAX;
    return MEM_OK;
}

static MemResult host_data_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Q35Host *s = opaque;
    if (s->config_address & CONFIG_ADDRESS_ENABLE) {
        pci_host_config_write(s->bus, host_ecam_address(s, addr), (uint32_t)val, size);
    }
    return MEM_OK;
}

static MemResult host_ecam_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    Q35Host *s = opaque;
    *val = pci_host_config_read(s->bus, (uint32_t)addr, size);
    return MEM_OK;
}

static MemResult host_ecam_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Q35Host *s = opaque;
    pci_host_config_write(s->bus, (uint32_t)addr, (uint32_t)val, size);
    return MEM_OK;
}

static const MemOps host_address_ops = {
    .read = host_address_read, .write = host_address_write, .min_size = 1, .max_size = 4, .unaligned = true};
static const MemOps host_data_ops = {
    .read = host_data_read, .write = host_data_write, .min_size = 1, .max_size = 4};
static const MemOps host_ecam_ops = {
    .read = host_ecam_read, .write = host_ecam_write, .min_size = 1, .max_size = 4};

static void host_map_ecam(Q35Host *s, uint64_t pciexbar)
{
    static const uint64_t sizes[4] = {256ull << 20, 128ull << 20, 64ull << 20, 0};
    uint64_t size = pciexbar & PCIEXBAR_EN ? sizes[PCIEXBAR_LENGTH(pciexbar)] : 0;
    uint64_t base = size ? pciexbar & PCIEXBAR_WRITABLE & ~(size - 1) : 0;
    if (base == s->ecam_mapped && (!base || size == mem_region_size(s->ecam_region))) {
        return;
    }
    MemTopology *topo = s->dev.obj.machine->topo;
    mem_begin(topo);
    if (s->ecam_mapped) {
        mem_region_del(s->memory, s->ecam_region);
    }
    s->ecam_mapped = base;
    if (base) {
        mem_region_set_size(s->ecam_region, size);
        mem_region_add(s->memory, base, s->ecam_region);
    }
    GError *error = NULL;
    if (!mem_commit(topo, &error)) {
        guest_error(&s->dev, "PCIEXBAR: %s", error->message);
        g_clear_error(&error);
    }
}

static void host_reset(Device *dev)
{
    ((Q35Host *)dev)->config_address = 0;
}

static bool host_start(Device *dev, GError **error)
{
    Q35Host *s = (Q35Host *)dev;
    MemTopology *topo = dev->obj.machine->topo;
    s->address_region = mem_region_new_io(topo, "pci-conf-idx", 4, &host_address_ops, s, dev->home);
    s->data_region = mem_region_new_io(topo, "pci-conf-data", 4, &host_data_ops, s, dev->home);
    s->ecam_region = mem_region_new_io(topo, "pcie-mmcfg", Q35_ECAM_SIZE, &host_ecam_ops, s, dev->home);
    mem_region_add(s->io, PORT_CONFIG_ADDRESS, s->address_region);
    mem_region_add(s->io, PORT_CONFIG_DATA, s->data_region);
    return true;
}

static void host_stop(Device *dev)
{
    Q35Host *s = (Q35Host *)dev;
    host_map_ecam(s, 0);
    mem_region_del(s->io, s->address_region);
    mem_region_del(s->io, s->data_region);
    MemRegion *regions[3] = {s->address_region, s->data_region, s->ecam_region};
    for (unsigned i = 0; i < 3; i++) {
        mem_region_retire(regions[i]);
        mem_region_unref(regions[i]);
    }
}

static const StateField host_fields[] = {STATE_FIELD_UINT(Q35Host, config_address), STATE_END};
static const StateTable host_state = {.name = "q35-pcihost", .version = 1, .fields = host_fields};

const DeviceModel q35_host_model = {
    .model = {.name = "q35-pcihost",
              .doc = "Configuration access to the root bus of a q35 machine.",
              .kind = MODEL_DEVICE,
              .size = sizeof(Q35Host),
              .state = &host_state,
              .internal = true},
    .start = host_start,
    .reset = host_reset,
    .stop = host_stop,
};

const DeviceModel i440fx_host_model = {
    .model = {.name = "i440FX-pcihost",
              .doc = "Configuration access to the root bus of a pc machine.",
              .kind = MODEL_DEVICE,
              .size = sizeof(Q35Host),
              .state = &host_state,
              .internal = true},
    .start = host_start,
    .reset = host_reset,
    .stop = host_stop,
};

/* --- the hub's function --- */

/* D_LCK, once set, makes the registers of SMRAM read-only until reset, and closes it. */
static void mch_lock_smram(PciDevice *dev)
{
    bool locked = dev->config[MCH_SMRAM] & SMRAM_D_LCK;
    if (locked) {
        dev->config[MCH_SMRAM] &= (uint8_t)~SMRAM_D_OPEN;
    }
    dev->wmask[MCH_SMRAM] = locked ? SMRAM_D_CLS : SMRAM_D_OPEN | SMRAM_D_CLS | SMRAM_D_LCK | SMRAM_G_SMRAME;
    dev->wmask[MCH_ESMRAMC] = locked ? 0 : ESMRAMC_H_SMRAME | ESMRAMC_TSEG_SZ_M | ESMRAMC_T_EN;
    memset(dev->wmask + MCH_TOM, locked ? 0 : 0xff, MCH_TOLUD_END - MCH_TOM);
}

static void mch_update_smram(Q35Mch *s)
{
    static const uint64_t sizes[4] = {MIB, 2 * MIB, 8 * MIB, EXT_TSEG_MIB * MIB};
    uint8_t *config = s->pci.config, esmramc = config[MCH_ESMRAMC];
    bool on = config[MCH_SMRAM] & SMRAM_G_SMRAME;
    uint64_t tseg = on && (esmramc & ESMRAMC_T_EN) ? sizes[ESMRAMC_TSEG_SZ(esmramc)] : 0;
    SmramMap map = {
        .open = config[MCH_SMRAM] & SMRAM_D_OPEN,
        .low = on && !(esmramc & ESMRAMC_H_SMRAME),
        .high = on && (esmramc & ESMRAMC_H_SMRAME),
        .tseg_size = tseg < s->low_ram ? tseg : 0,
    };
    map.tseg_base = s->low_ram - map.tseg_size;
    smram_set(s->smram, &map);
}

static void mch_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    Q35Mch *s = (Q35Mch *)dev;
    if (pci_get16(dev->config + MCH_EXT_TSEG) == EXT_TSEG_QUERY) {
        pci_set16(dev->config + MCH_EXT_TSEG, EXT_TSEG_MIB);
    }
    mch_lock_smram(dev);
    if (s->host) {
        host_map_ecam(s->host, pci_get64(dev->config + MCH_PCIEXBAR));
    }
    if (s->smram) {
        mch_update_smram(s);
    }
    if (s->pam) {
        pam_set(s->pam, dev->config + MCH_PAM0);
    }
}

void q35_mch_open_shadow(Q35Mch *mch)
{
    memset(mch->pci.config + MCH_PAM0, PAM_WRITABLE, PAM_REG_COUNT);
    mch_config_written(&mch->pci, MCH_PAM0, PAM_REG_COUNT);
}

void q35_mch_connect(Q35Mch *mch, Q35Host *host, Smram *smram, uint64_t low_ram)
{
    mch->host = host;
    mch->smram = smram;
    mch->low_ram = low_ram;
    mch_config_written(&mch->pci, MCH_PCIEXBAR, 8);
}

static void mch_reset(PciDevice *dev)
{
    pci_set64(dev->config + MCH_PCIEXBAR, Q35_ECAM_BASE | PCIEXBAR_EN);
    pci_set16(dev->config + MCH_EXT_TSEG, 0);
    memset(dev->config + MCH_PAM0, 0, PAM_REG_COUNT);
    dev->config[MCH_SMRAM] = SMRAM_C_BASE_SEG;
    dev->config[MCH_ESMRAMC] = ESMRAMC_CACHE;
    memset(dev->config + MCH_TOM, 0, MCH_TOLUD_END - MCH_TOM);
    mch_config_written(dev, MCH_PCIEXBAR, 8);
}

static bool mch_start(PciDevice *dev, GError **error)
{
    pci_set64(dev->wmask + MCH_PCIEXBAR, PCIEXBAR_WRITABLE);
    pci_set16(dev->wmask + MCH_EXT_TSEG, UINT16_MAX);
    memset(dev->wmask + MCH_PAM0, PAM_WRITABLE, PAM_REG_COUNT);
    return true;
}

static bool mch_post_load(void *instance, uint32_t version, GError **error)
{
    mch_config_written(instance, MCH_PCIEXBAR, 8);
    return true;
}

static const StateField mch_fields[] = {STATE_FIELD_STRUCT(Q35Mch, pci, &pci_device_state), STATE_END};
static const StateTable mch_state = {
    .name = "mch", .version = 1, .fields = mch_fields, .post_load = mch_post_load};

const PciModel q35_mch_model = {
    .dev = {.name = "mch",
            .doc = "Q35 memory controller hub.",
            .kind = MODEL_PCI,
            .size = sizeof(Q35Mch),
            .state = &mch_state,
            .internal = true},
    .ids = {.vendor = 0x8086, .device = 0x29c0, .class_code = 0x060000},
    .start = mch_start,
    .reset = mch_reset,
    .config_written = mch_config_written,
    .no_unplug = true,
};
