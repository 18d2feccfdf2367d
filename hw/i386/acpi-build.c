/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ACPI tables of a PC (ACPI 6.3 chapter 5.2; PCI firmware
 * specification 3.0 for MCFG; IA-PC HPET 1.0a for HPET; VT-d 3.3 chapter 8 for
 * DMAR).
 */
#include "acpi-build.h"

#include <string.h>

#include "acpi-hotplug.h"
#include "acpi-links.h"
#include "acpi-numa.h"
#include "hw/acpi/aml.h"
#include "hw/acpi/ich9-pm.h"
#include "hw/intc/ioapic.h"
#include "hw/isa/ich9-lpc.h"
#include "hw/nvram/fw-cfg.h"
#include "hw/pci-host/q35.h"
#include "hw/timer/hpet.h"

#define HEADER_SIZE     36
#define HEADER_LENGTH   4
#define HEADER_CHECKSUM 9
#define TABLE_ALIGN     64
#define SCI_IRQ         9

/* Generic address structure spaces. */
enum { GAS_MEMORY, GAS_IO };

/* FADT (5.2.9). */
#define FADT_SIZE          276
#define FADT_FIRMWARE_CTRL 36
#define FADT_DSDT          40
#define FADT_PROFILE       45
#define FADT_SCI_INT       46
#define FADT_PM1A_EVT      56
#define FADT_PM1A_CNT      64
#define FADT_PM_TMR        76
#define FADT_GPE0          80
#define FADT_PM1_EVT_LEN   88
#define FADT_PM1_CNT_LEN   89
#define FADT_PM_TMR_LEN    91
#define FADT_GPE0_LEN      92
#define FADT_P_LVL2_LAT    96
#define FADT_P_LVL3_LAT    98
#define FADT_CENTURY       108
#define FADT_BOOT_ARCH     109
#define FADT_FLAGS         112
#define FADT_RESET_REG     116
#define FADT_RESET_VALUE   128
#define FADT_MINOR         131
#define FADT_X_DSDT        140
#define FADT_X_PM1A_EVT    148
#define FADT_X_PM1A_CNT    172
#define FADT_X_PM_TMR      208
#define FADT_X_GPE0        220

#define PROFILE_DESKTOP    1
#define BOOT_ARCH_LEGACY   0x0001
#define BOOT_ARCH_8042     0x0002
#define BOOT_ARCH_NO_VGA   0x0004
#define FLAG_WBINVD        (1u << 0)
#define FLAG_PROC_C1       (1u << 2)
#define FLAG_NO_SLP_BUTTON (1u << 5)
#define FLAG_NO_FIX_RTC    (1u << 6)
#define FLAG_RESET_REG     (1u << 10)
#define P_LVL_UNSUPPORTED  0xfff
#define RESET_PORT         0xcf9
#define RESET_VALUE        0x06

/* MADT (5.2.12). */
enum { MADT_LAPIC, MADT_IOAPIC, MADT_OVERRIDE, MADT_NMI_SOURCE, MADT_LAPIC_NMI };
#define MADT_PCAT_COMPAT     1
#define MADT_CPU_ENABLED     1
#define MADT_LEVEL_HIGH      0x000d
#define MADT_EDGE_CONFORMING 0

/* DMAR (VT-d 8.1). */
#define DMAR_INTR_REMAP      1
#define DMAR_DRHD            0
#define DMAR_INCLUDE_PCI_ALL 1
#define DMAR_SCOPE_IOAPIC    3

/* VIOT nodes. */
#define VIOT_PCI_RANGE  1
#define VIOT_VIRTIO_PCI 3

const AcpiComPort acpi_com_ports[4] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};

static void put(GByteArray *b, uint64_t val, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)(val >> (8 * i));
        g_byte_array_append(b, &byte, 1);
    }
}

static void poke(uint8_t *p, uint64_t val, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(val >> (8 * i));
    }
}

static uint8_t checksum(const uint8_t *p, size_t len)
{
    uint8_t sum = 0;
    while (len--) {
        sum += *p++;
    }
    return (uint8_t)-sum;
}

/* A system description table being appended: its start. */
static size_t table_begin(GByteArray *b, const char *signature, uint8_t revision)
{
    while (b->len % TABLE_ALIGN) {
        put(b, 0, 1);
    }
    size_t start = b->len;
    g_byte_array_append(b, (const uint8_t *)signature, 4);
    put(b, 0, 4);
    put(b, revision, 1);
    put(b, 0, 1);
    g_byte_array_append(b, (const uint8_t *)"MPQEMUMPQEMUPC", 14); /* OEM id (6), OEM table id (8) */
    put(b, 1, 4);
    g_byte_array_append(b, (const uint8_t *)"MPQE", 4);
    put(b, 1, 4);
    return start;
}

static void table_end(GByteArray *b, size_t start)
{
    uint8_t *p = b->data + start;
    poke(p + HEADER_LENGTH, b->len - start, 4);
    p[HEADER_CHECKSUM] = 0;
    p[HEADER_CHECKSUM] = checksum(p, b->len - start);
}

/* --- DSDT --- */

static void dsdt_com_ports(GByteArray *b, const AcpiConfig *config)
{
    for (unsigned n = 0; n < 4; n++) {
        if (!(config->com_ports >> n & 1)) {
            continue;
        }
        const char name[5] = {'C', 'O', 'M', (char)('1' + n), 0};
        size_t dev = aml_device_begin(b, name);
        aml_name_eisaid(b, "_HID", "PNP0501");
        aml_name_int(b, "_UID", n + 1);
        aml_name_int(b, "_STA", 0xf);
        size_t crs = aml_crs_begin(b);
        aml_res_io(b, acpi_com_ports[n].port, 8);
        aml_res_irq(b, acpi_com_ports[n].irq);
        aml_crs_end(b, crs);
        aml_end(b, dev);
    }
}

/* Keyboard and mouse at the 8042: firmware and Linux look for the former before they touch the controller. */
static void dsdt_ps2(GByteArray *b)
{
    size_t dev = aml_device_begin(b, "KBD");
    aml_name_eisaid(b, "_HID", "PNP0303");
    aml_name_int(b, "_STA", 0xf);
    size_t crs = aml_crs_begin(b);
    aml_res_io(b, 0x60, 1);
    aml_res_io(b, 0x64, 1);
    aml_res_irq(b, 1);
    aml_crs_end(b, crs);
    aml_end(b, dev);
    dev = aml_device_begin(b, "MOU");
    aml_name_eisaid(b, "_HID", "PNP0F13");
    aml_name_int(b, "_STA", 0xf);
    crs = aml_crs_begin(b);
    aml_res_irq(b, 12);
    aml_crs_end(b, crs);
    aml_end(b, dev);
}

static void dsdt_isa(GByteArray *b, const AcpiConfig *config)
{
    size_t isa = aml_device_begin(b, "ISA");
    aml_name_int(b, "_ADR", config->chipset == ACPI_CHIPSET_Q35 ? 0x001f0000 : 0x00010000);
    acpi_links_registers(b, config);
    size_t rtc = aml_device_begin(b, "RTC");
    aml_name_eisaid(b, "_HID", "PNP0B00");
    size_t crs = aml_crs_begin(b);
    aml_res_io(b, 0x70, 2);
    aml_res_irq(b, 8);
    aml_crs_end(b, crs);
    aml_end(b, rtc);
    dsdt_ps2(b);
    dsdt_com_ports(b, config);
    aml_end(b, isa);
}

/* The firmware configuration device, whose files Linux shows. */
static void dsdt_fw_cfg(GByteArray *b)
{
    size_t dev = aml_device_begin(b, "FWCF");
    aml_name_string(b, "_HID", "QEMU0002");
    aml_name_int(b, "_STA", 0xb); /* present, not for the user's eye */
    size_t crs = aml_crs_begin(b);
    aml_res_io(b, FW_CFG_IO_BASE, FW_CFG_IO_SIZE);
    aml_crs_end(b, crs);
    aml_end(b, dev);
}

static void dsdt_root_bus(GByteArray *b, const AcpiConfig *config)
{
    size_t bus = aml_device_begin(b, "PCI0");
    if (config->chipset == ACPI_CHIPSET_Q35) {
        aml_name_eisaid(b, "_HID", "PNP0A08");
        aml_name_eisaid(b, "_CID", "PNP0A03");
    } else {
        aml_name_eisaid(b, "_HID", "PNP0A03");
    }
    aml_name_int(b, "_UID", 0);
    aml_name_int(b, "_BBN", 0);
    size_t crs = aml_crs_begin(b);
    aml_res_bus_range(b, 0, 255);
    aml_res_io(b, 0xcf8, 8);
    aml_res_io_window(b, 0, 0xcf7);
    aml_res_io_window(b, 0xd00, 0xffff);
    aml_res_memory_window(b, (uint32_t)config->pci32_first, (uint32_t)config->pci32_last);
    aml_res_memory_window64(b, config->pci64_first, config->pci64_last);
    aml_crs_end(b, crs);
    if (config->chipset == ACPI_CHIPSET_Q35) {
        acpi_hotplug_osc(b, config);
    }
    acpi_links_prt(b, config);
    dsdt_isa(b, config);
    dsdt_fw_cfg(b);
    aml_end(b, bus);
}

static void dsdt_board(GByteArray *b, const AcpiConfig *config)
{
    size_t dev = aml_device_begin(b, "MRES");
    aml_name_eisaid(b, "_HID", "PNP0C02");
    aml_name_int(b, "_UID", 0);
    size_t crs = aml_crs_begin(b);
    if (config->chipset == ACPI_CHIPSET_Q35) {
        aml_res_memory32(b, Q35_ECAM_BASE, Q35_ECAM_SIZE);
        aml_res_memory32(b, ICH9_RCBA, ICH9_RCBA_SIZE);
    }
    aml_res_io(b, ICH9_PMBASE, ICH9_PM_SIZE);
    if (config->chipset == ACPI_CHIPSET_I440FX) {
        aml_res_io(b, PIIX4_GPE_PORT, PIIX4_GPE_SIZE);
    }
    aml_crs_end(b, crs);
    aml_end(b, dev);
    if (config->hpet) {
        dev = aml_device_begin(b, "HPET");
        aml_name_eisaid(b, "_HID", "PNP0103");
        aml_name_int(b, "_UID", 0);
        crs = aml_crs_begin(b);
        aml_res_memory32(b, (uint32_t)HPET_BASE, 0x400);
        aml_crs_end(b, crs);
        aml_end(b, dev);
    }
}

static uint64_t build_dsdt(GByteArray *b, const AcpiConfig *config)
{
    size_t start = table_begin(b, "DSDT", 2);
    acpi_links_pic(b);
    size_t scope = aml_scope_begin(b, "\\_SB");
    acpi_links_devices(b, config);
    dsdt_root_bus(b, config);
    dsdt_board(b, config);
    aml_end(b, scope);
    acpi_hotplug_methods(b, config);
    aml_name(b, "\\_S5");
    size_t s5 = aml_package_begin(b, 4);
    unsigned type = config->chipset == ACPI_CHIPSET_Q35 ? ICH9_PM_SLP_TYP_S5 : PIIX4_PM_SLP_TYP_S5;
    aml_int(b, type);
    aml_int(b, type);
    aml_int(b, 0);
    aml_int(b, 0);
    aml_end(b, s5);
    table_end(b, start);
    return config->base + start;
}

/* --- fixed tables --- */

static uint64_t build_facs(GByteArray *b, const AcpiConfig *config)
{
    uint8_t facs[64] = "FACS";
    poke(facs + 4, sizeof(facs), 4);
    facs[32] = 2;
    uint64_t at = config->base + b->len;
    g_byte_array_append(b, facs, sizeof(facs));
    return at;
}

static void poke_gas(uint8_t *p, unsigned space, unsigned bits, unsigned access, uint64_t address)
{
    p[0] = (uint8_t)space;
    p[1] = (uint8_t)bits;
    p[2] = 0;
    p[3] = (uint8_t)access;
    poke(p + 4, address, 8);
}

static void fadt_registers(uint8_t *p, const AcpiConfig *config)
{
    static const struct {
        uint16_t field, length_field, x_field, offset;
        uint8_t length, access;
    } blocks[] = {
        {FADT_PM1A_EVT, FADT_PM1_EVT_LEN, FADT_X_PM1A_EVT, ICH9_PM_EVT, 4, 2},
        {FADT_PM1A_CNT, FADT_PM1_CNT_LEN, FADT_X_PM1A_CNT, ICH9_PM_CNT, 2, 2},
        {FADT_PM_TMR, FADT_PM_TMR_LEN, FADT_X_PM_TMR, ICH9_PM_TMR, 4, 3},
        {FADT_GPE0, FADT_GPE0_LEN, FADT_X_GPE0, ICH9_PM_GPE0, ICH9_PM_GPE0_LEN, 1},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(blocks); i++) {
        bool apart = blocks[i].field == FADT_GPE0 && config->chipset == ACPI_CHIPSET_I440FX;
        uint32_t port = apart ? PIIX4_GPE_PORT : ICH9_PMBASE + blocks[i].offset;
        uint8_t length = apart ? PIIX4_GPE_SIZE : blocks[i].length;
        poke(p + blocks[i].field, port, 4);
        p[blocks[i].length_field] = length;
        poke_gas(p + blocks[i].x_field, GAS_IO, length * 8, blocks[i].access, port);
    }
}

static uint64_t build_fadt(GByteArray *b, const AcpiConfig *config, uint64_t facs, uint64_t dsdt)
{
    size_t start = table_begin(b, "FACP", 6);
    g_byte_array_set_size(b, (guint)(start + FADT_SIZE));
    uint8_t *p = b->data + start;
    memset(p + HEADER_SIZE, 0, FADT_SIZE - HEADER_SIZE);
    poke(p + FADT_FIRMWARE_CTRL, facs, 4);
    poke(p + FADT_DSDT, dsdt, 4);
    poke(p + FADT_X_DSDT, dsdt, 8);
    p[FADT_PROFILE] = PROFILE_DESKTOP;
    poke(p + FADT_SCI_INT, SCI_IRQ, 2);
    fadt_registers(p, config);
    poke(p + FADT_P_LVL2_LAT, P_LVL_UNSUPPORTED, 2);
    poke(p + FADT_P_LVL3_LAT, P_LVL_UNSUPPORTED, 2);
    p[FADT_CENTURY] = 0x32;
    poke(p + FADT_BOOT_ARCH, BOOT_ARCH_LEGACY | BOOT_ARCH_8042 | BOOT_ARCH_NO_VGA, 2);
    poke(p + FADT_FLAGS, FLAG_WBINVD | FLAG_PROC_C1 | FLAG_NO_SLP_BUTTON | FLAG_NO_FIX_RTC | FLAG_RESET_REG,
         4);
    poke_gas(p + FADT_RESET_REG, GAS_IO, 8, 1, RESET_PORT);
    p[FADT_RESET_VALUE] = RESET_VALUE;
    p[FADT_MINOR] = 3;
    table_end(b, start);
    return config->base + start;
}

static void madt_override(GByteArray *b, unsigned irq, unsigned gsi, unsigned flags)
{
    put(b, MADT_OVERRIDE, 1);
    put(b, 10, 1);
    put(b, 0, 1); /* ISA */
    put(b, irq, 1);
    put(b, gsi, 4);
    put(b, flags, 2);
}

static uint64_t build_madt(GByteArray *b, const AcpiConfig *config)
{
    size_t start = table_begin(b, "APIC", 4);
    put(b, APIC_DEFAULT_BASE, 4);
    put(b, MADT_PCAT_COMPAT, 4);
    for (unsigned i = 0; i < config->topology.cpus; i++) {
        put(b, MADT_LAPIC, 1);
        put(b, 8, 1);
        put(b, i, 1);
        put(b, cpu_topology_apic_id(&config->topology, i), 1);
        put(b, MADT_CPU_ENABLED, 4);
    }
    put(b, MADT_IOAPIC, 1);
    put(b, 12, 1);
    put(b, 0, 2); /* id */
    put(b, IOAPIC_BASE, 4);
    put(b, 0, 4);
    madt_override(b, 0, 2, MADT_EDGE_CONFORMING);
    madt_override(b, SCI_IRQ, SCI_IRQ, MADT_LEVEL_HIGH);
    /* The PIIX3's links: PCI interrupts come in where those of the ISA bus do. */
    for (unsigned i = 0; i < G_N_ELEMENTS(acpi_link_irqs) && config->chipset == ACPI_CHIPSET_I440FX; i++) {
        madt_override(b, acpi_link_irqs[i], acpi_link_irqs[i], MADT_LEVEL_HIGH);
    }
    put(b, MADT_LAPIC_NMI, 1);
    put(b, 6, 1);
    put(b, 0xff, 1); /* all CPUs */
    put(b, 0, 2);
    put(b, 1, 1); /* LINT1 */
    table_end(b, start);
    return config->base + start;
}

static uint64_t build_mcfg(GByteArray *b, const AcpiConfig *config)
{
    size_t start = table_begin(b, "MCFG", 1);
    put(b, 0, 8);
    put(b, Q35_ECAM_BASE, 8);
    put(b, 0, 2); /* segment */
    put(b, 0, 1);
    put(b, 255, 1);
    put(b, 0, 4);
    table_end(b, start);
    return config->base + start;
}

static uint64_t build_hpet(GByteArray *b, const AcpiConfig *config)
{
    size_t start = table_begin(b, "HPET", 1);
    uint8_t gas[12];
    put(b, HPET_BLOCK_ID, 4);
    poke_gas(gas, GAS_MEMORY, 64, 0, HPET_BASE);
    g_byte_array_append(b, gas, sizeof(gas));
    put(b, 0, 1);   /* number */
    put(b, 100, 2); /* shortest period, in ticks */
    put(b, 0, 1);
    table_end(b, start);
    return config->base + start;
}

/* One unit for everything on PCI, with the IO-APIC in its scope (VT-d 8.1, 8.3, 8.3.1). */
static uint64_t build_dmar(GByteArray *b, const AcpiConfig *config)
{
    const AcpiDmar *dmar = &config->dmar;
    size_t start = table_begin(b, "DMAR", 1);

    put(b, dmar->width - 1u, 1);
    put(b, dmar->remap ? DMAR_INTR_REMAP : 0, 1);
    put(b, 0, 8); /* reserved: 10 bytes */
    put(b, 0, 2);
    put(b, DMAR_DRHD, 2);
    put(b, 16 + 8, 2);
    put(b, DMAR_INCLUDE_PCI_ALL, 1);
    put(b, 0, 1); /* one page of registers */
    put(b, 0, 2); /* segment */
    put(b, dmar->base, 8);
    put(b, DMAR_SCOPE_IOAPIC, 1);
    put(b, 8, 1);
    put(b, 0, 2);
    put(b, 0, 1); /* id, as in the MADT */
    put(b, dmar->ioapic >> 8, 1);
    put(b, dmar->ioapic >> 3 & 0x1f, 1);
    put(b, dmar->ioapic & 7, 1);
    table_end(b, start);
    return config->base + start;
}

/* All of PCI is behind one function (ACPI 6.5, 5.2.33). */
static uint64_t build_viot(GByteArray *b, const AcpiConfig *config)
{
    size_t start = table_begin(b, "VIOT", 0);
    const unsigned first = 48, iommu = first + 24;

    put(b, 2, 2); /* nodes */
    put(b, first, 2);
    put(b, 0, 8);
    put(b, VIOT_PCI_RANGE, 1);
    put(b, 0, 1);
    put(b, 24, 2);
    put(b, 0, 4); /* endpoint ids begin with 0: they are requester ids */
    put(b, 0, 4); /* segments 0 to 0 */
    put(b, 0, 2);
    put(b, 0xffff, 2);
    put(b, iommu, 2);
    put(b, 0, 6);
    put(b, VIOT_VIRTIO_PCI, 1);
    put(b, 0, 1);
    put(b, 16, 2);
    put(b, 0, 2); /* segment */
    put(b, config->viot, 2);
    put(b, 0, 8);
    table_end(b, start);
    return config->base + start;
}

static uint64_t build_numa(GByteArray *b, const AcpiConfig *config, const char *signature, uint8_t revision,
                           void (*body)(GByteArray *b, const AcpiConfig *config))
{
    size_t start = table_begin(b, signature, revision);
    body(b, config);
    table_end(b, start);
    return config->base + start;
}

static void build_rsdp(uint8_t rsdp[ACPI_RSDP_SIZE], uint64_t xsdt)
{
    memset(rsdp, 0, ACPI_RSDP_SIZE);
    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, "MPQEMU", 6);
    rsdp[15] = 2;
    poke(rsdp + 20, ACPI_RSDP_SIZE, 4);
    poke(rsdp + 24, xsdt, 8);
    rsdp[8] = checksum(rsdp, 20);
    rsdp[32] = checksum(rsdp, ACPI_RSDP_SIZE);
}

GByteArray *acpi_build_tables(const AcpiConfig *config, uint8_t rsdp[ACPI_RSDP_SIZE])
{
    GByteArray *b = g_byte_array_new();
    uint64_t tables[8];
    unsigned count = 0;
    uint64_t facs = build_facs(b, config);
    uint64_t dsdt = build_dsdt(b, config);
    tables[count++] = build_fadt(b, config, facs, dsdt);
    tables[count++] = build_madt(b, config);
    if (config->chipset == ACPI_CHIPSET_Q35) {
        tables[count++] = build_mcfg(b, config);
    }
    if (config->hpet) {
        tables[count++] = build_hpet(b, config);
    }
    if (config->dmar.base) {
        tables[count++] = build_dmar(b, config);
    }
    if (config->viot) {
        tables[count++] = build_viot(b, config);
    }
    if (config->numa) {
        tables[count++] = build_numa(b, config, "SRAT", 3, acpi_numa_srat);
    }
    if (config->numa && config->numa->distances) {
        tables[count++] = build_numa(b, config, "SLIT", 1, acpi_numa_slit);
    }
    size_t xsdt = table_begin(b, "XSDT", 1);
    for (unsigned i = 0; i < count; i++) {
        put(b, tables[i], 8);
    }
    table_end(b, xsdt);
    build_rsdp(rsdp, config->base + xsdt);
    return b;
}
