/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SMBus function of the ICH9, 8086:2930 (datasheet, 18.1): where the host controller's registers are, and its interrupt. */
#include "hw/isa/ich9-smbus.h"

#define SMB_BAR    4
#define SMB_SIZE   0x20
#define HOSTC      0x40
#define HOSTC_HST_EN 0x01
#define HOSTC_BITS 0x0f

typedef struct Ich9Smbus {
    PciDevice pci;
    SmbusHost host;
} Ich9Smbus;

static MemResult smb_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    return smbus_host_ops.read(&((Ich9Smbus *)opaque)->host, addr, size, val, attrs);
}

static MemResult smb_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    return smbus_host_ops.write(&((Ich9Smbus *)opaque)->host, addr, size, val, attrs);
}

static const MemOps smb_ops = {smb_read, smb_write, .min_size = 1, .max_size = 1};

static void smb_set_irq(void *opaque, bool level)
{
    pci_set_irq(opaque, level);
}

static void smb_update(Ich9Smbus *s)
{
    s->host.enabled = s->pci.config[HOSTC] & HOSTC_HST_EN;
}

static void smb_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    smb_update((Ich9Smbus *)dev);
}

static void smb_reset(PciDevice *dev)
{
    Ich9Smbus *s = (Ich9Smbus *)dev;

    dev->config[HOSTC] = 0;
    smb_update(s);
    smbus_host_reset(&s->host);
}

static bool smb_start(PciDevice *dev, GError **error)
{
    Ich9Smbus *s = (Ich9Smbus *)dev;

    s->host.ich9 = true;
    s->host.set_irq = smb_set_irq;
    s->host.opaque = dev;
    dev->wmask[HOSTC] = HOSTC_BITS;
    return true;
}

static bool smb_post_load(void *instance, uint32_t version, GError **error)
{
    Ich9Smbus *s = instance;

    smb_update(s);
    smbus_host_update_irq(&s->host);
    return true;
}

static const StateField smb_fields[] = {STATE_FIELD_STRUCT(Ich9Smbus, pci, &pci_device_state),
                                        STATE_FIELD_STRUCT(Ich9Smbus, host, &smbus_host_state), STATE_END};
static const StateTable smb_state = {.name = "ICH9-SMB", .version = 1, .board_since = 2, .fields = smb_fields, .post_load = smb_post_load};

const PciModel ich9_smbus_model = {
    .dev = {.name = "ICH9-SMB",
            .doc = "SMBus controller of the ICH9.",
            .kind = MODEL_PCI,
            .size = sizeof(Ich9Smbus),
            .state = &smb_state,
            .internal = true},
    .ids = {.vendor = 0x8086, .device = 0x2930, .subsystem_vendor = 0x1af4, .subsystem = 0x1100, .revision = 2,
            .class_code = 0x0c0500},
    .interrupt_pin = 1,
    .bars = {[SMB_BAR] = {.size = SMB_SIZE, .kind = PCI_BAR_IO, .ops = &smb_ops}},
    .start = smb_start,
    .reset = smb_reset,
    .config_written = smb_config_written,
    .no_unplug = true,
};
