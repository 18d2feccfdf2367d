/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ACPI fixed hardware of the ICH9: power management I/O space.  Context: home loop's lock. */
#ifndef HW_ACPI_ICH9_PM_H
#define HW_ACPI_ICH9_PM_H

#include "core/machine.h"
#include "hw/acpi/ich9-tco.h"

#define ICH9_PM_SIZE       0x80
#define ICH9_PM_EVT        0x00
#define ICH9_PM_CNT        0x04
#define ICH9_PM_TMR        0x08
#define ICH9_PM_GPE0       0x20
#define ICH9_PM_GPE0_LEN   0x10
#define ICH9_PM_SLP_TYP_S5 7
#define PIIX4_GPE_PORT 0xafe0
#define PIIX4_GPE_SIZE 4
#define PIIX4_PM_SLP_TYP_S5 0 /* programs for QEMU write it on both */

typedef struct Ich9Pm {
    Device dev;
    /* wiring, set before start */
    IrqLine *sci;
    bool smm; /* there is a system management mode; else software finds APM's interrupt enabled, so set up, already */
    const Ich9Tco *tco; /* whose TCO_LOCK holds TCO_EN; NULL: none, a PIIX4 */
    MemRegion *region; /* the block, which the LPC bridge maps at PMBASE */
    MemRegion *gpe_region; /* the general purpose events as a PIIX4 of QEMU's has them, for who maps them */
    uint16_t pm1_sts, pm1_en;
    uint32_t pm1_cnt;
    uint64_t gpe0_sts, gpe0_en;
    uint32_t smi_en, smi_sts;
    bool smi_locked;       /* SMI_LOCK of the LPC bridge: GBL_SMI_EN stays as it is */
    int64_t overflow_seen; /* half period of the timer reflected in TMROF_STS */
    Timer *overflow;
} Ich9Pm;

extern const DeviceModel ich9_pm_model;

/* APM_CNT was written: enters or leaves ACPI mode, or true when a system management interrupt is due. */
/* A PIIX4: its DEVACTB says whether APM commands make an SMI. */
void ich9_pm_set_apmc(Ich9Pm *s, bool on);
bool ich9_pm_apm_command(Ich9Pm *s, uint8_t command);

/* The TCO timer has something to say: true when an SMI is due. */
bool ich9_pm_tco_event(Ich9Pm *s);

/* General purpose event n, 0..15. */
void ich9_pm_gpe_event(Ich9Pm *s, unsigned n);

/* Presses the power button for a moment. */
void ich9_pm_power_button(Ich9Pm *s);

#endif
