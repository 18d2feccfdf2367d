/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PC machine: what its parts know of each other.  pc.c builds what all PCs have, pc-q35.c and pc-i440fx.c the
 * chip sets, pc-boot.c what runs first.  Context: main loop.
 */
#ifndef HW_I386_PC_INTERNAL_H
#define HW_I386_PC_INTERNAL_H

#include "hw/acpi/ich9-pm.h"
#include "hw/char/serial.h"
#include "hw/i386/pc.h"
#include "hw/i386/smram.h"
#include "hw/intc/i8259.h"
#include "hw/isa/chipset-ports.h"
#include "hw/isa/i8042.h"
#include "hw/isa/ich9-lpc.h"
#include "hw/isa/isa.h"
#include "hw/isa/piix3.h"
#include "hw/nvram/fw-cfg.h"
#include "hw/pci-host/i440fx.h"
#include "hw/pci-host/q35.h"
#include "hw/rtc/mc146818.h"
#include "hw/timer/hpet.h"
#include "hw/timer/i8254.h"
#include "elf-boot.h"
#include "linux-boot.h"
#include "pc-firmware.h"

#define PC_RAM_HIGH_BASE 0x100000000ull
#define PC_HOLE_START    0xa0000ull
#define PC_MAX_CPUS      255
#define PC_FLASH_COUNT   2
/* 255 is every local APIC's (Intel SDM vol. 3, 11.6.2.1). */
#define PC_MAX_APIC_ID   254u
#define PC_PIRQ_GSI      16 /* IO-APIC pin of PIRQA, where PIRQs have pins of their own */

/* Who can drive an interrupt input. */
typedef enum PcIrqSource { PC_SOURCE_LINE, PC_SOURCE_PIRQ, PC_SOURCE_HPET, PC_SOURCE_COUNT } PcIrqSource;

typedef struct PcMachine PcMachine;

/* What differs between chip sets. */
typedef struct PcChipset {
    const char *name, *product, *version; /* for errors; for SMBIOS */
    bool express;
    /* RAM below 4 GiB ends where PCI memory begins, or at `split` when there is RAM above anyway. */
    uint64_t ram_low_max, ram_low_split;
    unsigned pirq_count;
    bool pirq_gsi;      /* PIRQs have IO-APIC pins from PC_PIRQ_GSI on; otherwise those of the ISA interrupt */
    bool (*build)(PcMachine *pc, GError **error); /* host bridge, ISA bridge, power management */
    unsigned (*slot_pirq)(const PcMachine *pc, unsigned slot, unsigned pin); /* of the root bus; PIRQ 0 is A */
    void (*set_pirq)(PcMachine *pc, unsigned n, int level);
    uint8_t (*pirq_levels)(const PcMachine *pc);
    int (*pirq_route)(const PcMachine *pc, unsigned n); /* ISA interrupt, or -1 */
    void (*describe_acpi)(const PcMachine *pc, AcpiConfig *config);
    /* After the reset of all devices, before the tables are written. */
    void (*reset)(PcMachine *pc);
    /* Instead of firmware: shadow RAM, interrupt routing. */
    void (*prepare_kernel)(PcMachine *pc);
} PcChipset;

extern const PcChipset pc_q35_chipset, pc_i440fx_chipset;

struct PcMachine {
    Machine m;
    const PcChipset *chipset; /* set by the model's start */
    bool hpet_on; /* property */
    int smbios_64; /* property: 1: SMBIOS 3.0 */
    int smm;      /* property: OnOffAuto */
    char *pflash[PC_FLASH_COUNT]; /* properties: ids of block back ends, or NULL */

    uint64_t ram_low, ram_high; /* bytes below and above 4 GiB */
    MemRegion *ram_alias[3];
    MemRegion *pci_memory, *apic_region;
    Smram *smram; /* NULL: no system management mode */
    IsaBus *isa;
    PicPair *pic;
    IoApic *ioapic;
    Pit *pit;
    Hpet *hpet;
    Rtc *rtc;
    I8042 *i8042;
    ChipsetPorts *ports;
    Ich9Pm *pm;
    Q35Host *host;
    Q35Mch *mch;       /* with Q35 */
    Ich9Lpc *lpc;
    I440fx *i440fx;    /* with the 440FX */
    Piix3 *piix3;
    PciDevice *piix4_pm, *piix3_ide; /* piix3_ide: or NULL */
    Pam *pam;
    PcRom *rom;
    bool firmware; /* CPUs begin in it */
    FwCfg *fw_cfg;
    Apic **apics;
    ApicBus apic_bus;
    IrqLine **isa_irqs;               /* 16 ISA interrupts, as devices drive them */
    IrqLine **hpet_irqs;              /* 24 IO-APIC pins, as the HPET drives them */
    IrqLine **pic_output;             /* INT of the master 8259 */
    uint32_t levels[PC_SOURCE_COUNT]; /* by source, one bit an interrupt */
    uint8_t pirqs_to_pic;             /* one bit a PIRQ, when last looked at */
    uint16_t pirq_isa;                /* ISA interrupts that routed PIRQs assert */
    Serial *serial[4];
    AcpiDmar dmar;
    bool was_reset; /* the guest may have seen what there is */
    bool booted; /* the first order of -boot is used up */
    LinuxBoot *boot;
    ElfBoot *elf_boot; /* one of both, or none */
    LinuxBootInfo boot_info, firmware_memory; /* as a kernel, and as firmware is told */
};

/* A board device, not started: the caller sets its wiring.  id NULL: device[N]. */
void *pc_new_device(PcMachine *pc, const DeviceModel *model, const char *id, GError **error);
bool pc_start_device(void *dev, GError **error);
/* The root bus with its configuration ports, which are `host_model`; sets pc->host. */
bool pc_build_root_bus(PcMachine *pc, const char *name, const DeviceModel *host_model, GError **error);
/* Levels or routes of PIRQs have changed. */
void pc_pirq_changed(void *opaque);
/* An SMI that no CPU made. */
void pc_tco_smi(void *opaque);

/* --- pc-flash.c --- */
/* The flash devices of -machine pflash0=, pflash1=, which hold firmware. */
bool pc_build_flash(PcMachine *pc, GError **error);

/* --- pc-bridges.c --- */
/* Windows for empty bridges of the root bus that have hot plug, from the end of 32-bit PCI memory down: at most ACPI_PCIHP_BUSES. */
void pc_open_bridges(PcMachine *pc, uint64_t pci32_last);

/* --- pc-boot.c --- */
bool pc_prepare_boot(PcMachine *pc, GError **error);
void pc_reset(Machine *m);

#endif
