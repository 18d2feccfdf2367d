/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a PC runs first: firmware that is told of the machine through fw_cfg, or a kernel in memory, with the tables
 * that firmware would have made.
 */
#include <string.h>

#include "pc-internal.h"

#define PC_BASE_MEM_END  0x9fc00ull
#define PC_RSDP_ADDR     0xf0000ull
#define PC_ANCHOR_ADDR   0xf0100ull
#define PC_SMBIOS_ADDR   0xf1000ull
#define PC_SMBIOS_MAX    0xf000ull
#define PC_ACPI_SIZE     0x20000ull /* at the end of low RAM */
#define PC_PCI32_LAST    0xfebfffffull
#define PC_PCI64_ALIGN   0x800000000ull /* 32 GiB: also the least base and the size */

static void pc_add_e820(LinuxBootInfo *info, uint64_t addr, uint64_t end, E820Type type)
{
    if (end > addr) {
        info->e820[info->e820_count++] = (E820Entry){addr, end - addr, type};
    }
}

static uint64_t pc_acpi_base(const PcMachine *pc)
{
    return pc->ram_low - PC_ACPI_SIZE;
}

static void pc_describe_memory(PcMachine *pc)
{
    LinuxBootInfo *info = &pc->boot_info;
    uint64_t acpi = pc_acpi_base(pc);
    pc->boot_info.ram_low = acpi;
    pc->boot_info.rsdp = PC_RSDP_ADDR;
    pc->boot_info.uncached = pc->ram_low <= 0x80000000 ? 0x80000000 : pc->ram_low <= 0xc0000000 ? 0xc0000000 : 0xe0000000;
    pc_add_e820(info, 0, PC_BASE_MEM_END, E820_RAM);
    pc_add_e820(info, PC_BASE_MEM_END, PC_HOLE_START, E820_RESERVED);
    pc_add_e820(info, PC_RSDP_ADDR, 0x100000, E820_RESERVED);
    pc_add_e820(info, 0x100000, acpi, E820_RAM);
    pc_add_e820(info, acpi, pc->ram_low, E820_ACPI);
    if (pc->chipset->express) {
        pc_add_e820(info, Q35_ECAM_BASE, Q35_ECAM_BASE + Q35_ECAM_SIZE, E820_RESERVED);
    }
    pc_add_e820(info, PC_RAM_HIGH_BASE, PC_RAM_HIGH_BASE + pc->ram_high, E820_RAM);
    /* Firmware is told of RAM only: it takes what it needs of it. */
    pc_add_e820(&pc->firmware_memory, 0, pc->ram_low, E820_RAM);
    pc_add_e820(&pc->firmware_memory, PC_RAM_HIGH_BASE, PC_RAM_HIGH_BASE + pc->ram_high, E820_RAM);
}

/* A kernel without -bios needs no firmware, nor does a machine that runs no instructions. */
static bool pc_build_rom(PcMachine *pc, GError **error)
{
    Machine *m = &pc->m;
    bool runs = m->accel && strcmp(m->accel->ops->name, "qtest");
    if (!pc_build_flash(pc, error)) {
        return false;
    }
    pc->firmware = m->boot.bios || pc->pflash[0] || (!m->boot.kernel && runs);
    pc->rom = pc_rom_new(m, pc->pci_memory, pc->firmware && !pc->pflash[0], error);
    return pc->rom;
}

static bool pc_build_fw_cfg(PcMachine *pc, GError **error)
{
    FwCfg *fw_cfg = pc_new_device(pc, &fw_cfg_model, NULL, error);
    if (!fw_cfg) {
        return false;
    }
    fw_cfg->io = pc->m.system_io;
    fw_cfg->memory = pc->m.memory;
    if (!pc_start_device(fw_cfg, error)) {
        return false;
    }
    pc->fw_cfg = fw_cfg;
    return true;
}

bool pc_prepare_boot(PcMachine *pc, GError **error)
{
    Machine *m = &pc->m;
    if (!pc_build_rom(pc, error) || !pc_build_fw_cfg(pc, error)) {
        return false;
    }
    pc_describe_memory(pc);
    pc->boot_info.firmware = pc->firmware;
    if (m->boot.kernel && elf_boot_is(m->boot.kernel)) {
        pc->elf_boot = elf_boot_new(&m->boot, &pc->boot_info, error);
        return pc->elf_boot && (!pc->firmware || pc_firmware_add_elf_kernel(pc->fw_cfg, pc->elf_boot, error));
    }
    if (m->boot.kernel) {
        pc->boot = linux_boot_new(&m->boot, &pc->boot_info, error);
        return pc->boot && (!pc->firmware || pc_firmware_add_kernel(pc->fw_cfg, pc->boot, error));
    }
    return true;
}

static void pc_describe_acpi(const PcMachine *pc, AcpiConfig *config)
{
    uint64_t ram_end = PC_RAM_HIGH_BASE + pc->ram_high;
    uint64_t pci64 = (ram_end + PC_PCI64_ALIGN - 1) / PC_PCI64_ALIGN * PC_PCI64_ALIGN;
    *config = (AcpiConfig){
        .base = pc_acpi_base(pc),
        .topology = machine_topology(&pc->m),
        .hpet = pc->hpet != NULL,
        .pci32_last = PC_PCI32_LAST,
        .pci64_first = pci64,
        .pci64_last = pci64 + PC_PCI64_ALIGN - 1,
        .dmar = pc->dmar,
        .numa = pc->m.numa,
        .ram_low = pc->ram_low,
        .viot = pc->m.pci_bus->iommu_function ? pc->m.pci_bus->iommu_function->devfn : 0,
    };
    pc->chipset->describe_acpi(pc, config);
    for (unsigned i = 0; i < 4; i++) {
        config->com_ports |= (unsigned)(pc->serial[i] != NULL) << i;
    }
}

static void pc_describe(const PcMachine *pc, PcDescription *d)
{
    *d = (PcDescription){
        .smbios = {.product = pc->chipset->product,
                   .version = pc->chipset->version,
                   .cpu_version = pc->chipset->version,
                   .topology = machine_topology(&pc->m),
                   .ram_low = pc->ram_low,
                   .ram_high = pc->ram_high,
                   .uuid = pc->m.uuid,
                   .given = pc->m.boot.smbios},
        .smbios_version = pc->smbios_64 ? SMBIOS_3_0 : SMBIOS_2_1,
        .memory = &pc->firmware_memory,
    };
    pc_describe_acpi(pc, &d->acpi);
}

static void pc_write(PcMachine *pc, uint64_t addr, const void *data, size_t len)
{
    as_write(pc->m.memory, addr, data, len, MEM_ATTRS_CPU);
}

/* ACPI and SMBIOS tables where a kernel looks for them. */
static bool pc_write_tables(PcMachine *pc, const PcDescription *d, GError **error)
{
    uint8_t rsdp[ACPI_RSDP_SIZE];
    g_autoptr(GByteArray) smbios = smbios_build_tables(&d->smbios);
    g_autoptr(GByteArray) anchor = smbios_build_anchor(smbios, d->smbios_version, PC_SMBIOS_ADDR);
    g_autoptr(GByteArray) tables = acpi_build_tables(&d->acpi, rsdp);
    if (smbios->len > PC_SMBIOS_MAX) {
        error_set(error, "-smbios: too much text (%u bytes of tables, allowed 0..%llu)", smbios->len, PC_SMBIOS_MAX);
        return false;
    }
    g_assert(tables->len <= PC_ACPI_SIZE);
    pc_write(pc, d->acpi.base, tables->data, tables->len);
    pc_write(pc, PC_RSDP_ADDR, rsdp, sizeof(rsdp));
    pc_write(pc, PC_ANCHOR_ADDR, anchor->data, anchor->len);
    pc_write(pc, PC_SMBIOS_ADDR, smbios->data, smbios->len);
    return true;
}

/* Without a kernel there is nothing at the reset vector: the boot CPU sleeps instead of faulting for ever. */
static void pc_halt_boot_cpu(PcMachine *pc)
{
    Vcpu *vcpu = pc->apics[0]->vcpu;
    X86CpuState state;
    if (vcpu->accel->ops->get_state(vcpu, &state)) {
        state.halted = 1;
        vcpu->accel->ops->set_state(vcpu, &state);
    }
}

/* Instead of firmware: a kernel in memory and the boot CPU at its entry. */
static bool pc_boot_kernel(PcMachine *pc, const PcDescription *d, GError **error)
{
    pc->chipset->prepare_kernel(pc);
    pc_open_bridges(pc, d->acpi.pci32_last);
    apic_setup_virtual_wire(pc->apics[0]);
    if (pc->elf_boot) {
        return pc_write_tables(pc, d, error) && elf_boot_load(pc->elf_boot, pc->m.memory, error) &&
               elf_boot_set_cpu(pc->elf_boot, pc->apics[0]->vcpu, error);
    }
    return pc_write_tables(pc, d, error) && linux_boot_load(pc->boot, pc->m.memory, error) &&
           linux_boot_set_cpu(pc->boot, pc->apics[0]->vcpu, error);
}

#define CMOS_BOOT_FLAG_1 0x38 /* bits 7..4: third device to boot from; bit 0: floppies need no signature */
#define CMOS_BOOT_FLAG_2 0x3d /* bits 3..0: first, bits 7..4: second */

/* What firmware calls a drive of -boot order=. */
static uint8_t cmos_boot_device(char letter)
{
    return letter <= 'b' ? 1 : letter == 'c' ? 2 : letter == 'd' ? 3 : 4;
}

/* once= holds until the first reset after the machine began. */
static void pc_set_boot_order(PcMachine *pc)
{
    BootConfig *boot = &pc->m.boot;
    const char *order = boot->once && !pc->booted ? boot->once : boot->order ? boot->order : "cad";
    uint8_t device[3] = {0};
    for (unsigned i = 0; i < G_N_ELEMENTS(device) && order[i]; i++) {
        device[i] = cmos_boot_device(order[i]);
    }
    pc->rtc->cmos[CMOS_BOOT_FLAG_2] = (uint8_t)(device[1] << 4 | device[0]);
    pc->rtc->cmos[CMOS_BOOT_FLAG_1] = (uint8_t)(device[2] << 4);
    pc->booted = true;
}

void pc_reset(Machine *m)
{
    PcMachine *pc = (PcMachine *)m;
    GError *error = NULL;
    PcDescription d;
    pc->was_reset = true;
    pc->chipset->reset(pc);
    pc_describe(pc, &d);
    for (unsigned i = 0; m->accel && i < pc->apic_bus.count; i++) {
        accel_log_reset(pc->apics[i]->vcpu, "CPU Reset");
        m->accel->ops->vcpu_reset(pc->apics[i]->vcpu);
    }
    pc_set_boot_order(pc);
    bool ok = pc_firmware_describe(pc->fw_cfg, &d, &error);
    if (ok && m->accel && m->boot.kernel && !pc->firmware) {
        ok = pc_boot_kernel(pc, &d, &error);
    } else if (m->accel && !pc->firmware) {
        pc_halt_boot_cpu(pc);
    }
    if (!ok) {
        g_printerr("%s\n", error->message);
        g_clear_error(&error);
        machine_vm_stop(m, RUN_STATE_INTERNAL_ERROR);
    }
}
