/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Boot of kernels that are entered in 32-bit protected mode without paging: the Multiboot Specification, version 0.6.96
 * (sections 3.1 OS image format, 3.2 machine state, 3.3 boot information format), and PVH, "x86/HVM direct boot ABI"
 * of Xen (ELF note XEN_ELFNOTE_PHYS32_ENTRY, struct hvm_start_info).  The images are hostile input: every field is
 * checked before it is used.
 */
#include "elf-boot.h"

#include <elf.h>
#include <inttypes.h>
#include <string.h>

#include "boot-image.h"

#define MB_MAGIC         0x1badb002u
#define MB_BOOTED        0x2badb002u
#define MB_SEARCH        8192u
#define MB_NEEDS_VIDEO   0x00000004u
#define MB_KLUDGE        0x00010000u
#define MB_UNDERSTOOD    0x00000007u /* of the 16 bits that have to be understood */
#define MB_INFO_SIZE     88
#define MB_INFO_MEMORY   0x001u
#define MB_INFO_CMDLINE  0x004u
#define MB_INFO_MODULES  0x008u
#define MB_INFO_MAP      0x040u
#define MB_INFO_LOADER   0x200u
#define MB_MODULE_SIZE   16
#define MB_LOWER_KB      639u

#define PVH_MAGIC       0x336ec578u
#define PVH_VERSION     1
#define PVH_INFO_SIZE   56
#define PVH_MODULE_SIZE 32
#define PVH_NOTE_ENTRY  18 /* XEN_ELFNOTE_PHYS32_ENTRY */

#define MAP_ENTRY_SIZE 24 /* of both */

#define GDT_ADDR    0x8000u
#define INFO_ADDR   0x10000u /* what the kernel is told, with all that it points to */
#define INFO_MAX    0x70000u
#define KERNEL_LOW  0x100000u
#define MODULE_ALIGN 0x1000u
#define MODULES_MAX 128
#define SEGMENTS_MAX 64
#define FIRMWARE_MAP_MAX 64 /* entries that firmware may have to tell */
#define BOOT_CS     0x08
#define BOOT_DS     0x10

typedef struct Segment {
    uint64_t addr;
    const uint8_t *data; /* in the kernel's file or a module's */
    uint64_t size, zeroes; /* bytes of the file, and behind them */
} Segment;

/* What firmware knows and the option ROM puts into the information (guest addresses; 0: nowhere). */
typedef struct FirmwarePlan {
    uint32_t map, prefix; /* bytes of each entry before its address */
    uint32_t count, unit; /* the number of entries, times this */
    uint32_t upper;       /* KiB of RAM at 1 MiB */
    uint32_t rsdp;
} FirmwarePlan;

struct ElfBoot {
    const char *path;   /* of the kernel; while it is read */
    GMappedFile *kernel;
    GPtrArray *modules; /* of GMappedFile * */
    GArray *segments;   /* of Segment: kernel and modules */
    GByteArray *info;
    uint64_t kernel_end, ram_low, uncached;
    uint32_t entry, eax;
    FirmwarePlan plan;
};

static const uint8_t *image_of(GMappedFile *file, size_t *len)
{
    *len = g_mapped_file_get_length(file);
    return (const uint8_t *)g_mapped_file_get_contents(file);
}

/* --- the kernel's segments --- */

static bool add_segment(ElfBoot *b, uint64_t addr, uint64_t offset, uint64_t size, uint64_t memory, GError **error)
{
    size_t len;
    const uint8_t *p = image_of(b->kernel, &len);
    if (offset > len || size > len - offset || size > memory) {
        error_set(error, "-kernel: %s is truncated (%zu bytes, a segment lies at 0x%" PRIx64 "..0x%" PRIx64 ")", b->path, len,
                  offset, offset + size);
        return false;
    }
    if (addr < KERNEL_LOW || addr > b->ram_low || memory > b->ram_low - addr) {
        error_set(error, "-kernel: %s asks for memory that is not there (0x%" PRIx64 ", %" PRIu64 " bytes, allowed 0x%x..0x%" PRIx64
                  "); give a larger -m", b->path, addr, memory, KERNEL_LOW, b->ram_low);
        return false;
    }
    if (b->segments->len == SEGMENTS_MAX) {
        error_set(error, "-kernel: %s has too many segments (allowed %d)", b->path, SEGMENTS_MAX);
        return false;
    }
    Segment s = {addr, p + offset, size, memory - size};
    g_array_append_val(b->segments, s);
    b->kernel_end = MAX(b->kernel_end, addr + memory);
    return true;
}

/* Of both ELF classes what is needed here. */
typedef struct ProgramHeader {
    uint32_t type;
    uint64_t offset, vaddr, paddr, filesz, memsz;
} ProgramHeader;

typedef struct ElfFile {
    const uint8_t *p;
    size_t len;
    bool wide;
    uint64_t entry, phoff;
    unsigned phnum, phentsize;
} ElfFile;

static bool elf_open(GMappedFile *file, ElfFile *e)
{
    *e = (ElfFile){0};
    e->p = image_of(file, &e->len);
    if (e->len < sizeof(Elf32_Ehdr) || memcmp(e->p, ELFMAG, SELFMAG) || e->p[EI_DATA] != ELFDATA2LSB) {
        return false;
    }
    e->wide = e->p[EI_CLASS] == ELFCLASS64;
    if (e->wide && e->len < sizeof(Elf64_Ehdr)) {
        return false;
    }
    e->entry = e->wide ? boot_get(e->p + offsetof(Elf64_Ehdr, e_entry), 8) : boot_get(e->p + offsetof(Elf32_Ehdr, e_entry), 4);
    e->phoff = e->wide ? boot_get(e->p + offsetof(Elf64_Ehdr, e_phoff), 8) : boot_get(e->p + offsetof(Elf32_Ehdr, e_phoff), 4);
    e->phnum = (unsigned)boot_get(e->p + (e->wide ? offsetof(Elf64_Ehdr, e_phnum) : offsetof(Elf32_Ehdr, e_phnum)), 2);
    e->phentsize = (unsigned)boot_get(e->p + (e->wide ? offsetof(Elf64_Ehdr, e_phentsize) : offsetof(Elf32_Ehdr, e_phentsize)), 2);
    return e->phentsize >= (e->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) && e->phoff <= e->len &&
           (uint64_t)e->phnum * e->phentsize <= e->len - e->phoff;
}

static ProgramHeader elf_header(const ElfFile *e, unsigned i)
{
    const uint8_t *p = e->p + e->phoff + (size_t)i * e->phentsize;
#define FIELD(name)                                                                                                    \
    (e->wide ? boot_get(p + offsetof(Elf64_Phdr, name), sizeof(((Elf64_Phdr *)0)->name))                               \
             : boot_get(p + offsetof(Elf32_Phdr, name), sizeof(((Elf32_Phdr *)0)->name)))
    return (ProgramHeader){(uint32_t)FIELD(p_type), FIELD(p_offset), FIELD(p_vaddr), FIELD(p_paddr), FIELD(p_filesz), FIELD(p_memsz)};
#undef FIELD
}

/* Sets *entry to where the kernel's entry point, an address of its own, was loaded. */
static bool elf_load(ElfBoot *b, const ElfFile *e, uint64_t *entry, GError **error)
{
    *entry = e->entry;
    for (unsigned i = 0; i < e->phnum; i++) {
        ProgramHeader h = elf_header(e, i);
        if (h.type != PT_LOAD || !h.memsz) {
            continue;
        }
        if (!add_segment(b, h.paddr, h.offset, h.filesz, h.memsz, error)) {
            return false;
        }
        if (e->entry >= h.vaddr && e->entry - h.vaddr < h.memsz) {
            *entry = e->entry - h.vaddr + h.paddr;
        }
    }
    if (!b->segments->len) {
        error_set(error, "-kernel: %s has nothing to load", b->path);
        return false;
    }
    return true;
}

/* The entry point of PVH in the notes from `offset`; 0: none. */
static uint64_t pvh_note(const ElfFile *e, uint64_t offset, uint64_t size)
{
    if (offset > e->len || size > e->len - offset) {
        return 0;
    }
    for (uint64_t at = offset, end = offset + size; end - at >= 12;) {
        uint64_t name_size = boot_get(e->p + at, 4), desc_size = boot_get(e->p + at + 4, 4);
        uint32_t type = (uint32_t)boot_get(e->p + at + 8, 4);
        uint64_t name = at + 12, desc = name + ((name_size + 3) & ~3ull), next = desc + ((desc_size + 3) & ~3ull);
        if (next > end) {
            return 0;
        }
        if (type == PVH_NOTE_ENTRY && name_size == 4 && !memcmp(e->p + name, "Xen", 4) && (desc_size == 4 || desc_size == 8)) {
            return boot_get(e->p + desc, (unsigned)desc_size);
        }
        at = next;
    }
    return 0;
}

static uint64_t pvh_entry(const ElfFile *e)
{
    uint64_t entry = 0;
    for (unsigned i = 0; i < e->phnum && !entry; i++) {
        ProgramHeader h = elf_header(e, i);
        entry = h.type == PT_NOTE ? pvh_note(e, h.offset, h.filesz) : 0;
    }
    return entry;
}

/* Offset of the Multiboot header; SIZE_MAX: none. */
static size_t mb_header(GMappedFile *file)
{
    size_t len;
    const uint8_t *p = image_of(file, &len);
    for (size_t at = 0; at + 12 <= MIN(len, MB_SEARCH); at += 4) {
        uint32_t flags = (uint32_t)boot_get(p + at + 4, 4);
        if (boot_get(p + at, 4) == MB_MAGIC && (uint32_t)(MB_MAGIC + flags + boot_get(p + at + 8, 4)) == 0 &&
            (!(flags & MB_KLUDGE) || at + 32 <= len)) {
            return at;
        }
    }
    return SIZE_MAX;
}

/* A kernel that says itself where it goes: the "a.out kludge". */
static bool mb_load_kludge(ElfBoot *b, size_t at, GError **error)
{
    size_t len;
    const uint8_t *h = image_of(b->kernel, &len) + at;
    uint64_t header = boot_get(h + 12, 4), load = boot_get(h + 16, 4), load_end = boot_get(h + 20, 4), bss_end = boot_get(h + 24, 4);
    if (load > header || header - load > at) {
        error_set(error, "-kernel: %s: bad addresses in the Multiboot header (header 0x%" PRIx64 " at offset %zu, load 0x%" PRIx64 ")",
                  b->path, header, at, load);
        return false;
    }
    uint64_t offset = at - (header - load), size = load_end ? load_end - load : len - offset;
    uint64_t memory = bss_end ? bss_end - load : size;
    if ((load_end && load_end < load) || (bss_end && bss_end < load + size)) {
        error_set(error, "-kernel: %s: bad addresses in the Multiboot header (load 0x%" PRIx64 "..0x%" PRIx64 ", bss to 0x%" PRIx64 ")",
                  b->path, load, load_end, bss_end);
        return false;
    }
    b->entry = (uint32_t)boot_get(h + 28, 4);
    return add_segment(b, load, offset, size, memory, error);
}

/* --- what the kernel is told --- */

/* Room at the end of the information; its guest address. */
static uint32_t info_add(ElfBoot *b, const void *data, size_t len)
{
    size_t at = (b->info->len + 7) & ~(size_t)7;
    g_byte_array_set_size(b->info, (guint)(at + len));
    memset(b->info->data + at, 0, len);
    if (data) {
        memcpy(b->info->data + at, data, len);
    }
    return (uint32_t)(INFO_ADDR + at);
}

static uint32_t info_text(ElfBoot *b, const char *text)
{
    return info_add(b, text, strlen(text) + 1);
}

static void info_put(ElfBoot *b, uint32_t addr, uint64_t val, unsigned bytes)
{
    boot_put(b->info->data + (addr - INFO_ADDR), val, bytes);
}

/* A module behind the kernel and the modules before it: its address, 0 with *error. */
static uint64_t add_module(ElfBoot *b, const char *path, uint64_t *size, GError **error)
{
    GMappedFile *file = boot_file_open("-initrd", path, error);
    if (!file) {
        return 0;
    }
    g_ptr_array_add(b->modules, file);
    Segment s = {.addr = (b->kernel_end + MODULE_ALIGN - 1) & ~(uint64_t)(MODULE_ALIGN - 1)};
    s.data = image_of(file, size);
    s.size = *size;
    if (s.addr > b->ram_low || s.size > b->ram_low - s.addr) {
        error_set(error, "-initrd: %s does not fit (%" PRIu64 " bytes, free %" PRIu64 "); give a larger -m", path, s.size,
                  b->ram_low > s.addr ? b->ram_low - s.addr : 0);
        return 0;
    }
    g_array_append_val(b->segments, s);
    b->kernel_end = s.addr + s.size;
    return s.addr;
}

/* "FILE ARGUMENTS,FILE ARGUMENTS"; two commas are one.  The caller's. */
static GPtrArray *split_modules(const char *text)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GString) one = g_string_new(NULL);
    for (const char *p = text; *p; p++) {
        if (*p == ',' && p[1] != ',') {
            g_ptr_array_add(list, g_strdup(one->str));
            g_string_truncate(one, 0);
            continue;
        }
        p += *p == ',';
        g_string_append_c(one, *p);
    }
    g_ptr_array_add(list, g_strdup(one->str));
    return list;
}

/* The table of modules: for Multiboot with their arguments, for PVH with one and none.  Its address, 0 with *error. */
static uint32_t add_modules(ElfBoot *b, const GPtrArray *texts, bool pvh, GError **error)
{
    if (texts->len > (pvh ? 1 : MODULES_MAX)) {
        error_set(error, "-initrd: too many modules for this kernel (%u, allowed %d)", texts->len, pvh ? 1 : MODULES_MAX);
        return 0;
    }
    uint32_t table = info_add(b, NULL, texts->len * (pvh ? PVH_MODULE_SIZE : MB_MODULE_SIZE));
    for (guint i = 0; i < texts->len; i++) {
        const char *text = texts->pdata[i];
        g_autofree char *path = g_strndup(text, pvh ? strlen(text) : strcspn(text, " "));
        uint64_t size, addr = add_module(b, path, &size, error);
        if (!addr) {
            return 0;
        }
        if (pvh) {
            info_put(b, table, addr, 8);
            info_put(b, table + 8, size, 8);
        } else {
            info_put(b, table + i * MB_MODULE_SIZE, addr, 4);
            info_put(b, table + i * MB_MODULE_SIZE + 4, addr + size, 4);
            info_put(b, table + i * MB_MODULE_SIZE + 8, info_text(b, text), 4);
        }
    }
    return table;
}

static uint32_t info_add_map(ElfBoot *b, const LinuxBootInfo *info)
{
    return info_add(b, NULL, (info->firmware ? FIRMWARE_MAP_MAX : info->e820_count) * MAP_ENTRY_SIZE);
}

static void mb_describe_memory(ElfBoot *b, const LinuxBootInfo *info)
{
    uint32_t map = info_add_map(b, info);
    b->plan = (FirmwarePlan){.map = map, .prefix = 4, .count = INFO_ADDR + 44, .unit = MAP_ENTRY_SIZE, .upper = INFO_ADDR + 8};
    for (unsigned i = 0; i < info->e820_count; i++) {
        uint32_t at = map + i * MAP_ENTRY_SIZE;
        info_put(b, at, MAP_ENTRY_SIZE - 4, 4);
        info_put(b, at + 4, info->e820[i].addr, 8);
        info_put(b, at + 12, info->e820[i].size, 8);
        info_put(b, at + 20, info->e820[i].type, 4);
    }
    info_put(b, INFO_ADDR + 4, MB_LOWER_KB, 4);
    info_put(b, INFO_ADDR + 8, (b->ram_low - KERNEL_LOW) / 1024, 4);
    info_put(b, INFO_ADDR + 44, info->e820_count * MAP_ENTRY_SIZE, 4);
    info_put(b, INFO_ADDR + 48, map, 4);
}

static bool mb_new(ElfBoot *b, const BootConfig *config, const LinuxBootInfo *info, GError **error)
{
    size_t len, at = mb_header(b->kernel);
    uint32_t flags = (uint32_t)boot_get(image_of(b->kernel, &len) + at + 4, 4), told = MB_INFO_MEMORY | MB_INFO_MAP | MB_INFO_CMDLINE | MB_INFO_LOADER;
    uint64_t entry = 0;
    ElfFile e;
    if (flags & 0xffff & ~MB_UNDERSTOOD) {
        error_set(error, "-kernel: %s wants something of its Multiboot loader that is not known (flags 0x%x, allowed 0x1000%x)", b->path,
                  flags, MB_UNDERSTOOD);
        return false;
    }
    if (flags & MB_KLUDGE) {
        if (!mb_load_kludge(b, at, error)) {
            return false;
        }
    } else if (!elf_open(b->kernel, &e)) {
        error_set(error, "-kernel: %s has a Multiboot header, but is no ELF file and does not say where it is loaded", b->path);
        return false;
    } else if (!elf_load(b, &e, &entry, error)) {
        return false;
    } else {
        b->entry = (uint32_t)entry;
    }
    b->eax = MB_BOOTED;
    info_add(b, NULL, MB_INFO_SIZE);
    mb_describe_memory(b, info);
    g_autofree char *cmdline = g_strdup_printf("%s%s%s", b->path, config->append ? " " : "", config->append ? config->append : "");
    info_put(b, INFO_ADDR + 16, info_text(b, cmdline), 4);
    info_put(b, INFO_ADDR + 64, info_text(b, "mpqemu"), 4);
    if (config->initrd) {
        g_autoptr(GPtrArray) texts = split_modules(config->initrd);
        uint32_t table = add_modules(b, texts, false, error);
        if (!table) {
            return false;
        }
        told |= MB_INFO_MODULES;
        info_put(b, INFO_ADDR + 20, texts->len, 4);
        info_put(b, INFO_ADDR + 24, table, 4);
    }
    info_put(b, INFO_ADDR, told, 4);
    if (flags & MB_NEEDS_VIDEO) {
        g_printerr("-kernel: %s asks for a graphics mode; it is given none\n", b->path);
    }
    return true;
}

static bool pvh_new(ElfBoot *b, const BootConfig *config, const LinuxBootInfo *info, GError **error)
{
    uint64_t ignored;
    ElfFile e;
    uint64_t entry = elf_open(b->kernel, &e) ? pvh_entry(&e) : 0;
    if (!entry || entry > UINT32_MAX) {
        error_set(error, "-kernel: %s is an ELF file without a Multiboot header and without a PVH entry point below 4 GiB; of Linux "
                  "give the bzImage (vmlinuz), or a vmlinux with CONFIG_PVH", b->path);
        return false;
    }
    b->entry = (uint32_t)entry;
    if (!elf_load(b, &e, &ignored, error)) {
        return false;
    }
    info_add(b, NULL, PVH_INFO_SIZE);
    uint32_t map = info_add_map(b, info);
    b->plan = (FirmwarePlan){.map = map, .count = INFO_ADDR + 48, .unit = 1, .rsdp = INFO_ADDR + 32};
    for (unsigned i = 0; i < info->e820_count; i++) {
        info_put(b, map + i * MAP_ENTRY_SIZE, info->e820[i].addr, 8);
        info_put(b, map + i * MAP_ENTRY_SIZE + 8, info->e820[i].size, 8);
        info_put(b, map + i * MAP_ENTRY_SIZE + 16, info->e820[i].type, 4);
    }
    info_put(b, INFO_ADDR, PVH_MAGIC, 4);
    info_put(b, INFO_ADDR + 4, PVH_VERSION, 4);
    info_put(b, INFO_ADDR + 24, info_text(b, config->append ? config->append : ""), 8);
    info_put(b, INFO_ADDR + 32, info->firmware ? 0 : info->rsdp, 8);
    info_put(b, INFO_ADDR + 40, map, 8);
    info_put(b, INFO_ADDR + 48, info->e820_count, 4);
    if (config->initrd) {
        g_autoptr(GPtrArray) texts = g_ptr_array_new();
        g_ptr_array_add(texts, config->initrd);
        uint32_t table = add_modules(b, texts, true, error);
        if (!table) {
            return false;
        }
        info_put(b, INFO_ADDR + 12, 1, 4);
        info_put(b, INFO_ADDR + 16, table, 8);
    }
    return true;
}

/* --- life --- */

bool elf_boot_is(const char *path)
{
    GMappedFile *file = boot_file_open("-kernel", path, NULL);
    size_t len = 0;
    bool is = file && (mb_header(file) != SIZE_MAX || (image_of(file, &len)[0] == ELFMAG0 && len >= SELFMAG &&
                                                       !memcmp(image_of(file, &len), ELFMAG, SELFMAG)));
    g_clear_pointer(&file, g_mapped_file_unref);
    return is;
}

ElfBoot *elf_boot_new(const BootConfig *config, const LinuxBootInfo *info, GError **error)
{
    ElfBoot *b = g_new0(ElfBoot, 1);
    b->path = config->kernel;
    b->ram_low = info->ram_low;
    b->uncached = info->uncached;
    b->modules = g_ptr_array_new_with_free_func((GDestroyNotify)g_mapped_file_unref);
    b->segments = g_array_new(FALSE, FALSE, sizeof(Segment));
    b->info = g_byte_array_new();
    b->kernel = boot_file_open("-kernel", config->kernel, error);
    bool multiboot = b->kernel && mb_header(b->kernel) != SIZE_MAX;
    bool ok = b->kernel && (multiboot ? mb_new : pvh_new)(b, config, info, error);
    if (ok && b->info->len > INFO_MAX) {
        error_set(error, "-append, -initrd: too much text for a kernel (%u bytes, allowed 0..%u)", b->info->len, INFO_MAX);
        ok = false;
    }
    b->path = NULL;
    if (!ok) {
        elf_boot_free(b);
        return NULL;
    }
    return b;
}

void elf_boot_free(ElfBoot *b)
{
    if (!b) {
        return;
    }
    g_clear_pointer(&b->kernel, g_mapped_file_unref);
    g_ptr_array_unref(b->modules);
    g_array_unref(b->segments);
    g_byte_array_unref(b->info);
    g_free(b);
}

static bool load_write(AddressSpace *memory, uint64_t addr, const void *data, uint64_t len, GError **error)
{
    if (len && as_write(memory, addr, data, len, MEM_ATTRS_CPU) != MEM_OK) {
        error_set(error, "-kernel: cannot write to guest memory (address 0x%" PRIx64 ", %" PRIu64 " bytes)", addr, len);
        return false;
    }
    return true;
}

#define GDT_SIZE 24

static void make_gdt(uint8_t bytes[GDT_SIZE])
{
    static const uint64_t gdt[GDT_SIZE / 8] = {0, 0x00cf9b000000ffffull, 0x00cf93000000ffffull};
    for (unsigned i = 0; i < G_N_ELEMENTS(gdt); i++) {
        boot_put(bytes + 8 * i, gdt[i], 8);
    }
}

static void pack_number(GByteArray *plan, uint32_t val)
{
    uint8_t bytes[4];
    boot_put(bytes, val, 4);
    g_byte_array_append(plan, bytes, sizeof(bytes));
}

static void pack_part(GByteArray *parts, GByteArray *data, uint64_t addr, const uint8_t *bytes, uint64_t len)
{
    if (len) {
        pack_number(parts, (uint32_t)addr);
        pack_number(parts, (uint32_t)len);
    }
    if (len && bytes) {
        g_byte_array_append(data, bytes, (guint)len);
    }
}

void elf_boot_pack(const ElfBoot *b, GBytes **plan, GBytes **data)
{
    const uint32_t fields[] = {b->entry, b->eax, (uint32_t)b->kernel_end, b->plan.map, b->plan.prefix, FIRMWARE_MAP_MAX,
                               b->plan.count, b->plan.unit, b->plan.upper, b->plan.rsdp};
    GByteArray *head = g_byte_array_new(), *bytes = g_byte_array_new();
    g_autoptr(GByteArray) parts = g_byte_array_new();
    uint8_t gdt[GDT_SIZE];
    make_gdt(gdt);
    pack_part(parts, bytes, GDT_ADDR, gdt, sizeof(gdt));
    pack_part(parts, bytes, INFO_ADDR, b->info->data, b->info->len);
    for (guint i = 0; i < b->segments->len; i++) {
        const Segment *s = &g_array_index(b->segments, Segment, i);
        pack_part(parts, bytes, s->addr, s->data, s->size);
    }
    /* Read from behind the end of the data. */
    for (guint i = 0; i < b->segments->len; i++) {
        const Segment *s = &g_array_index(b->segments, Segment, i);
        pack_part(parts, bytes, s->addr + s->size, NULL, s->zeroes);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
        pack_number(head, fields[i]);
    }
    pack_number(head, parts->len / 8);
    g_byte_array_append(head, parts->data, parts->len);
    *plan = g_byte_array_free_to_bytes(head);
    *data = g_byte_array_free_to_bytes(bytes);
}

bool elf_boot_load(ElfBoot *b, AddressSpace *memory, GError **error)
{
    static const uint8_t zeroes[4096];
    uint8_t gdt_bytes[GDT_SIZE];
    make_gdt(gdt_bytes);
    bool ok = load_write(memory, GDT_ADDR, gdt_bytes, sizeof(gdt_bytes), error) &&
              load_write(memory, INFO_ADDR, b->info->data, b->info->len, error);
    for (guint i = 0; ok && i < b->segments->len; i++) {
        const Segment *s = &g_array_index(b->segments, Segment, i);
        ok = load_write(memory, s->addr, s->data, s->size, error);
        for (uint64_t at = 0; ok && at < s->zeroes; at += sizeof(zeroes)) {
            ok = load_write(memory, s->addr + s->size + at, zeroes, MIN(s->zeroes - at, sizeof(zeroes)), error);
        }
    }
    return ok;
}

bool elf_boot_set_cpu(const ElfBoot *b, Vcpu *vcpu, GError **error)
{
    const AccelOps *ops = vcpu->accel->ops;
    const X86SegState code = {.selector = BOOT_CS, .limit = UINT32_MAX, .attr = 0xc09b};
    const X86SegState data = {.selector = BOOT_DS, .limit = UINT32_MAX, .attr = 0xc093};
    X86CpuState s;
    if (!ops->get_state(vcpu, &s)) {
        error_set(error, "-kernel: cannot read the state of the boot CPU");
        return false;
    }
    memset(s.gpr, 0, sizeof(s.gpr));
    s.gpr[X86_RAX] = b->eax;
    s.gpr[X86_RBX] = INFO_ADDR;
    s.gpr[X86_RSP] = GDT_ADDR;
    s.rip = b->entry;
    s.rflags = 2;
    s.seg[X86_SEG_CS] = code;
    s.seg[X86_SEG_DS] = s.seg[X86_SEG_ES] = s.seg[X86_SEG_SS] = s.seg[X86_SEG_FS] = s.seg[X86_SEG_GS] = data;
    s.gdtr = (X86TableState){.base = GDT_ADDR, .limit = 23};
    s.idtr = (X86TableState){0};
    s.cr0 = 0x11; /* ET PE */
    s.halted = s.wait_sipi = 0;
    boot_set_memory_types(&s, b->uncached);
    if (!ops->set_state(vcpu, &s)) {
        error_set(error, "-kernel: the boot CPU refuses the state of a 32-bit kernel");
        return false;
    }
    return true;
}
