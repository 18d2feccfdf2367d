/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Boot of a bzImage: directly, by the 64-bit boot protocol, or from firmware, by the 16-bit one (Linux kernel
 * documentation, "The Linux/x86 Boot Protocol", sections "The Real-Mode Kernel Header", "Running the Kernel" and
 * "64-bit Boot Protocol"; "Zero Page").  The image is hostile input: every field is checked before it is used.
 */
#include "linux-boot.h"

#include <inttypes.h>
#include <string.h>

#include "boot-image.h"

/* Setup header, offsets in the image and in boot_params. */
#define HDR_START           0x1f1
#define HDR_SETUP_SECTS     0x1f1
#define HDR_BOOT_FLAG       0x1fe
#define HDR_JUMP_LENGTH     0x201
#define HDR_MAGIC           0x202
#define HDR_VERSION         0x206
#define HDR_TYPE_OF_LOADER  0x210
#define HDR_LOADFLAGS       0x211
#define HDR_RAMDISK_IMAGE   0x218
#define HDR_RAMDISK_SIZE    0x21c
#define HDR_HEAP_END_PTR    0x224
#define HDR_CMD_LINE_PTR    0x228
#define HDR_INITRD_ADDR_MAX 0x22c
#define HDR_XLOADFLAGS      0x236
#define HDR_CMDLINE_SIZE    0x238
#define HDR_PREF_ADDRESS    0x258
#define HDR_INIT_SIZE       0x260
#define HDR_END             0x264

#define BOOT_FLAG_MAGIC   0xaa55
#define HDR_MAGIC_VALUE   0x53726448 /* "HdrS" */
#define HDR_VERSION_64BIT 0x020c
#define HDR_VERSION_16BIT 0x0206 /* the first that says how long a command line may be */
#define HDR_VERSION_PREF  0x020a /* has pref_address and init_size */
#define LOADED_HIGH       0x01
#define CAN_USE_HEAP      0x80
#define XLF_KERNEL_64     0x0001
#define LOADER_UNDEFINED  0xff
#define ENTRY_64_OFFSET   0x200

/* boot_params ("zero page"). */
#define BP_SIZE            0x1000
#define BP_ACPI_RSDP       0x070
#define BP_E820_ENTRIES    0x1e8
#define BP_E820_TABLE      0x2d0
#define BP_E820_ENTRY_SIZE 20

/* Where we put things in low memory. */
#define GDT_ADDR     0x8000ull
#define PAGES_ADDR   0x9000ull /* PML4, PDPT, four page directories */
#define PAGES_SIZE   (6 * 0x1000ull)
#define PARAMS_ADDR  0x10000ull
#define CMDLINE_ADDR 0x20000ull
#define CMDLINE_MAX  0xffffu
#define STACK_TOP    0x8000ull
#define SETUP_HEAP   0xe000u /* end of the setup part's heap and stack, from PARAMS_ADDR */

#define KERNEL_MIN_ADDRESS 0x100000ull
#define PAGE_SIZE          0x1000ull

#define BOOT_CS        0x10
#define BOOT_DS        0x18
#define PTE_PRESENT_RW 0x3ull
#define PTE_LARGE      0x80ull

struct LinuxBoot {
    GMappedFile *kernel, *initrd; /* initrd NULL: none */
    char *cmdline;
    uint64_t kernel_addr, kernel_end, initrd_addr, initrd_size; /* end: of what the kernel needs at first */
    size_t setup_size; /* bytes of the image before the protected-mode part */
    LinuxBootInfo info;
};

static const uint8_t *boot_image(const LinuxBoot *b, size_t *len)
{
    *len = g_mapped_file_get_length(b->kernel);
    return (const uint8_t *)g_mapped_file_get_contents(b->kernel);
}

/* Is it a bzImage we can enter in 64-bit mode?  Sets setup_size. */
static bool boot_check_format(LinuxBoot *b, const char *path, GError **error)
{
    size_t len;
    const uint8_t *p = boot_image(b, &len);
    if (len < HDR_END || boot_get(p + HDR_BOOT_FLAG, 2) != BOOT_FLAG_MAGIC ||
        boot_get(p + HDR_MAGIC, 4) != HDR_MAGIC_VALUE) {
        error_set(error, "-kernel: %s is not a Linux kernel image (no boot header); give a bzImage", path);
        return false;
    }
    unsigned version = (unsigned)boot_get(p + HDR_VERSION, 2);
    if (b->info.firmware && (version < HDR_VERSION_16BIT || !(p[HDR_LOADFLAGS] & LOADED_HIGH))) {
        error_set(error, "-kernel: %s is too old a kernel (boot protocol %u.%02u, needed 2.06 and a bzImage)", path,
                  version >> 8, version & 0xff);
        return false;
    }
    if (!b->info.firmware && (version < HDR_VERSION_64BIT || !(boot_get(p + HDR_XLOADFLAGS, 2) & XLF_KERNEL_64) ||
                              !(p[HDR_LOADFLAGS] & LOADED_HIGH))) {
        error_set(
            error,
            "-kernel: %s has no 64-bit entry point (boot protocol %u.%02u, needed 2.12 and a 64-bit kernel); with -bios "
            "bios-256k.bin it is entered as firmware does",
            path, version >> 8, version & 0xff);
        return false;
    }
    unsigned sectors = p[HDR_SETUP_SECTS] ? p[HDR_SETUP_SECTS] : 4;
    b->setup_size = (sectors + 1) * 512;
    if (b->setup_size + ENTRY_64_OFFSET >= len) {
        error_set(error, "-kernel: %s is truncated (%zu bytes, its setup part alone has %zu)", path, len,
                  b->setup_size);
        return false;
    }
    return true;
}

/* Where the kernel goes, and whether it fits.  Entered by its setup part it is at 1 MiB first and moves itself. */
static bool boot_place_kernel(LinuxBoot *b, const char *path, GError **error)
{
    size_t len;
    const uint8_t *p = boot_image(b, &len);
    bool preferred = boot_get(p + HDR_VERSION, 2) >= HDR_VERSION_PREF;
    uint64_t addr = preferred ? boot_get(p + HDR_PREF_ADDRESS, 8) : KERNEL_MIN_ADDRESS;
    uint64_t need = MAX(preferred ? boot_get(p + HDR_INIT_SIZE, 4) : 0, len - b->setup_size);
    if (addr < KERNEL_MIN_ADDRESS || addr % PAGE_SIZE || addr > UINT32_MAX) {
        error_set(error,
                  "-kernel: %s asks for a bad load address (0x%" PRIx64 ", allowed 0x%llx..0xfffff000)", path,
                  addr, KERNEL_MIN_ADDRESS);
        return false;
    }
    if (addr + need > b->info.ram_low) {
        error_set(error,
                  "-kernel: %s needs memory up to %" PRIu64 " MiB, the machine has %" PRIu64
                  " MiB below 4 GiB; "
                  "give a larger -m",
                  path, (addr + need + 0xfffff) >> 20, b->info.ram_low >> 20);
        return false;
    }
    b->kernel_end = addr + need;
    b->kernel_addr = b->info.firmware ? KERNEL_MIN_ADDRESS : addr;
    return true;
}

/* As high as the kernel allows. */
static bool boot_place_initrd(LinuxBoot *b, const char *path, GError **error)
{
    size_t len;
    const uint8_t *p = boot_image(b, &len);
    uint64_t kernel_end = b->kernel_end;
    uint64_t limit = MIN(b->info.ram_low, boot_get(p + HDR_INITRD_ADDR_MAX, 4) + 1);
    b->initrd_size = g_mapped_file_get_length(b->initrd);
    uint64_t addr = limit > b->initrd_size ? (limit - b->initrd_size) & ~(PAGE_SIZE - 1) : 0;
    if (addr < kernel_end) {
        error_set(error, "-initrd: %s does not fit (%" PRIu64 " bytes, free %" PRIu64 "); give a larger -m",
                  path, b->initrd_size, limit > kernel_end ? limit - kernel_end : 0);
        return false;
    }
    b->initrd_addr = addr;
    return true;
}

static bool boot_check_cmdline(LinuxBoot *b, GError **error)
{
    size_t len;
    const uint8_t *p = boot_image(b, &len);
    uint64_t max = MIN(boot_get(p + HDR_CMDLINE_SIZE, 4), CMDLINE_MAX);
    if (strlen(b->cmdline) > max) {
        error_set(error, "-append: too long for this kernel (%zu bytes, allowed 0..%" PRIu64 ")",
                  strlen(b->cmdline), max);
        return false;
    }
    return true;
}

LinuxBoot *linux_boot_new(const BootConfig *config, const LinuxBootInfo *info, GError **error)
{
    LinuxBoot *b = g_new0(LinuxBoot, 1);
    b->info = *info;
    b->cmdline = g_strdup(config->append ? config->append : "");
    b->kernel = boot_file_open("-kernel", config->kernel, error);
    if (!b->kernel || !boot_check_format(b, config->kernel, error) ||
        !boot_place_kernel(b, config->kernel, error) || !boot_check_cmdline(b, error)) {
        linux_boot_free(b);
        return NULL;
    }
    if (config->initrd) {
        b->initrd = boot_file_open("-initrd", config->initrd, error);
        if (!b->initrd || !boot_place_initrd(b, config->initrd, error)) {
            linux_boot_free(b);
            return NULL;
        }
    }
    return b;
}

void linux_boot_free(LinuxBoot *b)
{
    if (!b) {
        return;
    }
    g_clear_pointer(&b->kernel, g_mapped_file_unref);
    g_clear_pointer(&b->initrd, g_mapped_file_unref);
    g_free(b->cmdline);
    g_free(b);
}

static void boot_fill_params(const LinuxBoot *b, uint8_t *bp)
{
    size_t len;
    const uint8_t *p = boot_image(b, &len);
    size_t end = MIN((size_t)HDR_MAGIC + p[HDR_JUMP_LENGTH], b->setup_size);
    end = MIN(end, (size_t)BP_E820_TABLE);
    memcpy(bp + HDR_START, p + HDR_START, MAX(end, (size_t)HDR_END) - HDR_START);
    bp[HDR_TYPE_OF_LOADER] = LOADER_UNDEFINED;
    boot_put(bp + HDR_CMD_LINE_PTR, CMDLINE_ADDR, 4);
    boot_put(bp + HDR_RAMDISK_IMAGE, b->initrd_addr, 4);
    boot_put(bp + HDR_RAMDISK_SIZE, b->initrd_size, 4);
    boot_put(bp + BP_ACPI_RSDP, b->info.rsdp, 8);
    bp[BP_E820_ENTRIES] = (uint8_t)b->info.e820_count;
    for (unsigned i = 0; i < b->info.e820_count; i++) {
        uint8_t *entry = bp + BP_E820_TABLE + i * BP_E820_ENTRY_SIZE;
        boot_put(entry, b->info.e820[i].addr, 8);
        boot_put(entry + 8, b->info.e820[i].size, 8);
        boot_put(entry + 16, b->info.e820[i].type, 4);
    }
}

/* What the setup part's header is told by who loads it; the option ROM sees to ramdisk_image. */
static GBytes *boot_setup(const LinuxBoot *b)
{
    size_t len;
    uint8_t *setup = g_memdup2(boot_image(b, &len), b->setup_size);
    setup[HDR_TYPE_OF_LOADER] = LOADER_UNDEFINED;
    setup[HDR_LOADFLAGS] |= CAN_USE_HEAP;
    boot_put(setup + HDR_HEAP_END_PTR, SETUP_HEAP - 0x200, 2);
    boot_put(setup + HDR_CMD_LINE_PTR, CMDLINE_ADDR, 4);
    boot_put(setup + HDR_RAMDISK_IMAGE, b->initrd_addr, 4);
    boot_put(setup + HDR_RAMDISK_SIZE, b->initrd_size, 4);
    return g_bytes_new_take(setup, b->setup_size);
}

void linux_boot_parts(const LinuxBoot *b, LinuxBootPart parts[LINUX_BOOT_PARTS])
{
    size_t len;
    boot_image(b, &len);
    g_autoptr(GBytes) image = g_mapped_file_get_bytes(b->kernel);
    parts[LINUX_BOOT_SETUP] = (LinuxBootPart){PARAMS_ADDR, boot_setup(b)};
    parts[LINUX_BOOT_CMDLINE] = (LinuxBootPart){CMDLINE_ADDR, g_bytes_new(b->cmdline, strlen(b->cmdline) + 1)};
    parts[LINUX_BOOT_KERNEL] =
        (LinuxBootPart){b->kernel_addr, g_bytes_new_from_bytes(image, b->setup_size, len - b->setup_size)};
    parts[LINUX_BOOT_INITRD] =
        (LinuxBootPart){b->initrd_addr, b->initrd ? g_mapped_file_get_bytes(b->initrd) : g_bytes_new(NULL, 0)};
}

/* The first 4 GiB, identical, in 2 MiB pages. */
static void boot_fill_page_tables(uint8_t *pages)
{
    boot_put(pages, (PAGES_ADDR + PAGE_SIZE) | PTE_PRESENT_RW, 8);
    for (unsigned i = 0; i < 4; i++) {
        boot_put(pages + PAGE_SIZE + 8 * i, (PAGES_ADDR + (2 + i) * PAGE_SIZE) | PTE_PRESENT_RW, 8);
    }
    for (uint64_t i = 0; i < 4 * 512; i++) {
        boot_put(pages + 2 * PAGE_SIZE + 8 * i, i << 21 | PTE_LARGE | PTE_PRESENT_RW, 8);
    }
}

bool linux_boot_load(LinuxBoot *b, AddressSpace *memory, GError **error)
{
    static const uint64_t gdt[4] = {0, 0, 0x00af9b000000ffffull, 0x00cf93000000ffffull};
    size_t len;
    const uint8_t *image = boot_image(b, &len);
    g_autofree uint8_t *params = g_malloc0(BP_SIZE);
    g_autofree uint8_t *pages = g_malloc0(PAGES_SIZE);
    uint8_t gdt_bytes[sizeof(gdt)];

    boot_fill_params(b, params);
    boot_fill_page_tables(pages);
    for (unsigned i = 0; i < G_N_ELEMENTS(gdt); i++) {
        boot_put(gdt_bytes + 8 * i, gdt[i], 8);
    }
    const struct {
        uint64_t addr;
        const void *data;
        uint64_t len;
    } parts[] = {
        {GDT_ADDR, gdt_bytes, sizeof(gdt_bytes)},
        {PAGES_ADDR, pages, PAGES_SIZE},
        {PARAMS_ADDR, params, BP_SIZE},
        {CMDLINE_ADDR, b->cmdline, strlen(b->cmdline) + 1},
        {b->kernel_addr, image + b->setup_size, len - b->setup_size},
        {b->initrd_addr, b->initrd ? g_mapped_file_get_contents(b->initrd) : NULL, b->initrd_size},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        if (parts[i].len &&
            as_write(memory, parts[i].addr, parts[i].data, parts[i].len, MEM_ATTRS_CPU) != MEM_OK) {
            error_set(error,
                      "-kernel: cannot write to guest memory (address 0x%" PRIx64 ", %" PRIu64 " bytes)",
                      parts[i].addr, parts[i].len);
            return false;
        }
    }
    return true;
}

bool linux_boot_set_cpu(const LinuxBoot *b, Vcpu *vcpu, GError **error)
{
    const AccelOps *ops = vcpu->accel->ops;
    const X86SegState code = {.selector = BOOT_CS, .limit = UINT32_MAX, .attr = 0xa09b};
    const X86SegState data = {.selector = BOOT_DS, .limit = UINT32_MAX, .attr = 0xc093};
    X86CpuState s;
    if (!ops->get_state(vcpu, &s)) {
        error_set(error, "-kernel: cannot read the state of the boot CPU");
        return false;
    }
    memset(s.gpr, 0, sizeof(s.gpr));
    s.gpr[X86_RSI] = PARAMS_ADDR;
    s.gpr[X86_RSP] = STACK_TOP;
    s.rip = b->kernel_addr + ENTRY_64_OFFSET;
    s.rflags = 2;
    s.seg[X86_SEG_CS] = code;
    s.seg[X86_SEG_DS] = s.seg[X86_SEG_ES] = s.seg[X86_SEG_SS] = s.seg[X86_SEG_FS] = s.seg[X86_SEG_GS] = data;
    s.gdtr = (X86TableState){.base = GDT_ADDR, .limit = 31};
    s.idtr = (X86TableState){0};
    s.cr0 = 0x80000033; /* PG NE ET MP PE */
    s.cr3 = PAGES_ADDR;
    s.cr4 = 0x20;   /* PAE */
    s.efer = 0x500; /* LMA LME */
    s.halted = s.wait_sipi = 0;
    boot_set_memory_types(&s, b->info.uncached);
    if (!ops->set_state(vcpu, &s)) {
        error_set(error, "-kernel: the boot CPU refuses the state of the 64-bit boot protocol");
        return false;
    }
    return true;
}
