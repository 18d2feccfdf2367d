/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 440FX host bridge, PMC (440FX data sheet 290549, chapter 3.2): the attribute map of low memory and SMRAM.
 * Timing and DRAM row registers are stored by nobody: they read as zero.
 */
#include "hw/pci-host/i440fx.h"

#include <string.h>

#define I440FX_PAM0       0x59
#define I440FX_SMRAM      0x72
#define PAM_WRITABLE      0x33
#define SMRAM_D_OPEN      0x40
#define SMRAM_D_CLS       0x20
#define SMRAM_D_LCK       0x10
#define SMRAM_G_SMRAME    0x08
#define SMRAM_C_BASE_SEG  0x02

static void i440fx_update(I440fx *s)
{
    uint8_t *config = s->pci.config;
    bool locked = config[I440FX_SMRAM] & SMRAM_D_LCK;
    if (locked) {
        config[I440FX_SMRAM] &= (uint8_t)~SMRAM_D_OPEN;
    }
    s->pci.wmask[I440FX_SMRAM] = locked ? SMRAM_D_CLS : SMRAM_D_OPEN | SMRAM_D_CLS | SMRAM_D_LCK | SMRAM_G_SMRAME;
    if (s->pam) {
        pam_set(s->pam, config + I440FX_PAM0);
    }
    if (s->smram) {
        SmramMap map = {.open = config[I440FX_SMRAM] & SMRAM_D_OPEN, .low = config[I440FX_SMRAM] & SMRAM_G_SMRAME};
        smram_set(s->smram, &map);
    }
}

void i440fx_connect(I440fx *s, Pam *pam, Smram *smram)
{
    s->pam = pam;
    s->smram = smram;
    i440fx_update(s);
}

void i440fx_open_shadow(I440fx *s)
{
    memset(s->pci.config + I440FX_PAM0, PAM_WRITABLE, PAM_REG_COUNT);
    i440fx_update(s);
}

static void i440fx_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    i440fx_update((I440fx *)dev);
}

static void i440fx_reset(PciDevice *dev)
{
    memset(dev->config + I440FX_PAM0, 0, PAM_REG_COUNT);
    dev->config[I440FX_SMRAM] = SMRAM_C_BASE_SEG;
    i440fx_update((I440fx *)dev);
}

static bool i440fx_start(PciDevice *dev, GError **error)
{
    memset(dev->wmask + I440FX_PAM0, PAM_WRITABLE, PAM_REG_COUNT);
    return true;
}

static bool i440fx_post_load(void *instance, uint32_t version, GError **error)
{
    i440fx_update(instance);
    return true;
}

static const StateField i440fx_fields[] = {STATE_FIELD_STRUCT(I440fx, pci, &pci_device_state), STATE_END};
static const StateTable i440fx_state = {
    .name = "i440FX", .version = 1, .fields = i440fx_fields, .post_load = i440fx_post_load};

const PciModel i440fx_model = {
    .dev = {.name = "i440FX",
            .doc = "440FX host bridge.",
            .kind = MODEL_PCI,
            .size = sizeof(I440fx),
            .state = &i440fx_state,
            .internal = true},
    .ids = {.vendor = 0x8086, .device = 0x1237, .revision = 2, .class_code = 0x060000},
    .start = i440fx_start,
    .reset = i440fx_reset,
    .config_written = i440fx_config_written,
    .no_unplug = true,
};
