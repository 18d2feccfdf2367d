/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What firmware is told of a PC through fw_cfg, in the items and files that SeaBIOS and Linux look for: memory map,
 * ACPI tables with their loader commands, boot order, numbers of CPUs.
 */
#include "pc-firmware.h"

#include <string.h>

#include "pc-bios/roms.h"

#define FILE_E820      "etc/e820"
#define FILE_TABLES    "etc/acpi/tables"
#define FILE_RSDP      "etc/acpi/rsdp"
#define FILE_LOADER    "etc/table-loader"
#define FILE_SMBIOS    "etc/smbios/smbios-tables"
#define FILE_ANCHOR    "etc/smbios/smbios-anchor"
#define FILE_BOOTORDER "bootorder"
#define FILE_STATES    "etc/system-states"
#define FILE_RESERVED  "etc/reserved-memory-end"
#define FILE_MENU_WAIT "etc/boot-menu-wait"
#define FILE_FAIL_WAIT "etc/boot-fail-wait"
#define E820_ENTRY     20

/* By sleep state S0..S5: 80h there is such a state, and its SLP_TYP.  S3 and S4 are not there. */
static const uint8_t firmware_states[6] = {0x80, 0, 0, 0, 0, 0x80};

static GBytes *firmware_e820(const LinuxBootInfo *info)
{
    uint8_t *p = g_malloc0(info->e820_count * E820_ENTRY + 1);
    size_t len = 0;
    for (unsigned i = 0; i < info->e820_count; i++, len += E820_ENTRY) {
        uint64_t addr = GUINT64_TO_LE(info->e820[i].addr), size = GUINT64_TO_LE(info->e820[i].size);
        uint32_t type = GUINT32_TO_LE((uint32_t)info->e820[i].type);
        memcpy(p + len, &addr, 8);
        memcpy(p + len + 8, &size, 8);
        memcpy(p + len + 16, &type, 4);
    }
    return g_bytes_new_take(p, len);
}

static bool firmware_add_acpi(FwCfg *s, const AcpiConfig *acpi, GError **error)
{
    AcpiConfig config = *acpi;
    uint8_t rsdp[ACPI_RSDP_SIZE];
    config.base = 0;
    GByteArray *tables = acpi_build_tables(&config, rsdp);
    GByteArray *loader = acpi_build_loader(tables, rsdp, FILE_TABLES, FILE_RSDP);
    return fw_cfg_set_file(s, FILE_TABLES, g_byte_array_free_to_bytes(tables), error) &&
           fw_cfg_set_file(s, FILE_RSDP, g_bytes_new(rsdp, sizeof(rsdp)), error) &&
           fw_cfg_set_file(s, FILE_LOADER, g_byte_array_free_to_bytes(loader), error);
}

static bool firmware_add_smbios(FwCfg *s, const PcDescription *pc, GError **error)
{
    GByteArray *tables = smbios_build_tables(&pc->smbios);
    GByteArray *anchor = smbios_build_anchor(tables, pc->smbios_version, 0);
    return fw_cfg_set_file(s, FILE_SMBIOS, g_byte_array_free_to_bytes(tables), error) &&
           fw_cfg_set_file(s, FILE_ANCHOR, g_byte_array_free_to_bytes(anchor), error);
}

/* Numbers of 64 bits: of nodes, each APIC id's node, each node's bytes. */
static void firmware_add_numa(FwCfg *s, const AcpiConfig *acpi)
{
    const NumaConfig *n = acpi->numa;
    const CpuTopology *t = &acpi->topology;
    size_t ids = cpu_topology_apic_id(t, t->max_cpus - 1) + 1;
    uint64_t *words = g_new0(uint64_t, 1 + ids + (n ? n->count : 0));

    words[0] = GUINT64_TO_LE(n ? n->count : 0);
    for (unsigned i = 0; n && i < t->max_cpus; i++) {
        words[1 + cpu_topology_apic_id(t, i)] = GUINT64_TO_LE(n->cpu_node[i]);
    }
    for (unsigned i = 0; n && i < n->count; i++) {
        words[1 + ids + i] = GUINT64_TO_LE(n->nodes[i].mem);
    }
    fw_cfg_set(s, FW_CFG_NUMA, g_bytes_new_take(words, (1 + ids + (n ? n->count : 0)) * sizeof(*words)));
}

static bool firmware_set_wait(FwCfg *s, const char *name, int32_t ms, unsigned bytes, GError **error)
{
    uint32_t val = GUINT32_TO_LE((uint32_t)ms);
    return ms < 0 || fw_cfg_set_file(s, name, g_bytes_new(&val, bytes), error);
}

static bool firmware_add_boot(FwCfg *s, GError **error)
{
    Machine *m = s->dev.obj.machine;
    char *order = pc_boot_order(m);
    fw_cfg_set_int(s, FW_CFG_BOOT_MENU, m->boot.menu, 2);
    return fw_cfg_set_file(s, FILE_BOOTORDER, g_bytes_new_take(order, *order ? strlen(order) + 1 : 0), error) &&
           firmware_set_wait(s, FILE_MENU_WAIT, m->boot.splash_ms, 2, error) &&
           firmware_set_wait(s, FILE_FAIL_WAIT, m->boot.reboot_ms, 4, error);
}

/* -fw_cfg.  Files of the machine's own names are replaced: the user wants it so. */
static bool firmware_add_given(FwCfg *s, GError **error)
{
    GPtrArray *files = s->dev.obj.machine->boot.files;
    for (guint i = 0; files && i < files->len; i++) {
        const BootFile *file = files->pdata[i];
        if (!fw_cfg_set_file(s, file->name, g_bytes_ref(file->data), error)) {
            return false;
        }
    }
    return true;
}

bool pc_firmware_add_kernel(FwCfg *s, const LinuxBoot *kernel, GError **error)
{
    static const struct {
        uint16_t addr, size, data;
    } items[LINUX_BOOT_PARTS] = {
        [LINUX_BOOT_KERNEL] = {FW_CFG_KERNEL_ADDR, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_DATA},
        [LINUX_BOOT_INITRD] = {FW_CFG_INITRD_ADDR, FW_CFG_INITRD_SIZE, FW_CFG_INITRD_DATA},
        [LINUX_BOOT_CMDLINE] = {FW_CFG_CMDLINE_ADDR, FW_CFG_CMDLINE_SIZE, FW_CFG_CMDLINE_DATA},
        [LINUX_BOOT_SETUP] = {FW_CFG_SETUP_ADDR, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_DATA},
    };
    LinuxBootPart parts[LINUX_BOOT_PARTS];
    linux_boot_parts(kernel, parts);
    for (unsigned i = 0; i < LINUX_BOOT_PARTS; i++) {
        fw_cfg_set_int(s, items[i].addr, parts[i].addr, 4);
        fw_cfg_set_int(s, items[i].size, g_bytes_get_size(parts[i].data), 4);
        fw_cfg_set(s, items[i].data, parts[i].data);
    }
    return fw_cfg_set_file(s, PC_KERNEL_ROM, g_bytes_new_static(linuxboot_rom, linuxboot_rom_size), error);
}

bool pc_firmware_add_elf_kernel(FwCfg *s, const ElfBoot *kernel, GError **error)
{
    GBytes *plan, *data;
    elf_boot_pack(kernel, &plan, &data);
    fw_cfg_set(s, FW_CFG_SETUP_DATA, plan);
    fw_cfg_set(s, FW_CFG_KERNEL_DATA, data);
    return fw_cfg_set_file(s, PC_ELF_KERNEL_ROM, g_bytes_new_static(elfboot_rom, elfboot_rom_size), error);
}

bool pc_firmware_describe(FwCfg *s, const PcDescription *pc, GError **error)
{
    const AcpiConfig *acpi = &pc->acpi;
    Machine *m = s->dev.obj.machine;
    uint64_t reserved_end = GUINT64_TO_LE(acpi->pci64_first);
    fw_cfg_set(s, FW_CFG_UUID, g_bytes_new(m->uuid, sizeof(m->uuid)));
    fw_cfg_set_int(s, FW_CFG_RAM_SIZE, m->ram_size, 8);
    fw_cfg_set_int(s, FW_CFG_NOGRAPHIC, m->nographic, 2);
    fw_cfg_set_int(s, FW_CFG_NB_CPUS, acpi->topology.cpus, 2);
    /* As SeaBIOS wants it: above every APIC id. */
    fw_cfg_set_int(s, FW_CFG_MAX_CPUS, cpu_topology_apic_id(&acpi->topology, acpi->topology.max_cpus - 1) + 1, 2);
    fw_cfg_set_int(s, FW_CFG_IRQ0_OVERRIDE, 1, 4);
    firmware_add_numa(s, acpi);
    return firmware_add_acpi(s, acpi, error) && firmware_add_smbios(s, pc, error) && firmware_add_boot(s, error) &&
           fw_cfg_set_file(s, FILE_E820, firmware_e820(pc->memory), error) &&
           fw_cfg_set_file(s, FILE_STATES, g_bytes_new(firmware_states, sizeof(firmware_states)), error) &&
           fw_cfg_set_file(s, FILE_RESERVED, g_bytes_new(&reserved_end, sizeof(reserved_end)), error) &&
           firmware_add_given(s, error);
}
