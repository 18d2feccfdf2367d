/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands by which firmware loads ACPI tables (QEMU's "BIOS linker/loader" interface, file etc/table-loader):
 * records of 128 bytes that allocate a file, add a file's address to a pointer, or compute a checksum.  Which pointers
 * there are is read from the tables (ACPI 6.3 chapter 5.2).
 */
#include <string.h>

#include "acpi-build.h"

#define LOADER_RECORD 128
#define LOADER_NAME   56

enum { LOADER_ALLOCATE = 1, LOADER_ADD_POINTER = 2, LOADER_ADD_CHECKSUM = 3 };
enum { LOADER_ZONE_HIGH = 1, LOADER_ZONE_FSEG = 2 };

#define TABLE_ALIGN        64
#define RSDP_ALIGN         16
#define TABLE_HEADER       36
#define TABLE_LENGTH       4
#define TABLE_CHECKSUM     9
#define RSDP_V1_LENGTH     20
#define RSDP_CHECKSUM      8
#define RSDP_EXT_CHECKSUM  32
#define RSDP_XSDT          24

/* A pointer in a table, by signature. */
typedef struct LoaderPointer {
    char signature[5];
    uint8_t offset, size;
} LoaderPointer;
static const LoaderPointer loader_pointers[] = {{"FACP", 36, 4}, {"FACP", 40, 4}, {"FACP", 140, 8}};

static uint32_t get32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint8_t *loader_record(GByteArray *b, uint32_t command, const char *file)
{
    size_t at = b->len;
    g_byte_array_set_size(b, (guint)(at + LOADER_RECORD));
    uint8_t *p = b->data + at;
    memset(p, 0, LOADER_RECORD);
    p[0] = (uint8_t)command;
    g_strlcpy((char *)p + 4, file, LOADER_NAME);
    return p + 4 + LOADER_NAME;
}

static void put32(uint8_t *p, uint32_t v)
{
    v = GUINT32_TO_LE(v);
    memcpy(p, &v, 4);
}

static void loader_allocate(GByteArray *b, const char *file, uint32_t align, uint8_t zone)
{
    uint8_t *p = loader_record(b, LOADER_ALLOCATE, file);
    put32(p, align);
    p[4] = zone;
}

static void loader_add_pointer(GByteArray *b, const char *in, const char *to, size_t offset, uint8_t size)
{
    uint8_t *p = loader_record(b, LOADER_ADD_POINTER, in);
    g_strlcpy((char *)p, to, LOADER_NAME);
    put32(p + LOADER_NAME, (uint32_t)offset);
    p[LOADER_NAME + 4] = size;
}

static void loader_add_checksum(GByteArray *b, const char *file, uint8_t *data, size_t offset, size_t start, size_t len)
{
    data[offset] = 0;
    uint8_t *p = loader_record(b, LOADER_ADD_CHECKSUM, file);
    put32(p, (uint32_t)offset);
    put32(p + 4, (uint32_t)start);
    put32(p + 8, (uint32_t)len);
}

/* Pointers and checksum of the table at `at`. */
static void loader_link_table(GByteArray *b, GByteArray *tables, const char *file, size_t at, size_t len)
{
    const uint8_t *p = tables->data + at;
    bool linked = false;
    for (unsigned i = 0; i < G_N_ELEMENTS(loader_pointers); i++) {
        if (!memcmp(p, loader_pointers[i].signature, 4)) {
            loader_add_pointer(b, file, file, at + loader_pointers[i].offset, loader_pointers[i].size);
            linked = true;
        }
    }
    for (size_t entry = TABLE_HEADER; !memcmp(p, "XSDT", 4) && entry < len; entry += 8) {
        loader_add_pointer(b, file, file, at + entry, 8);
        linked = true;
    }
    if (linked) {
        loader_add_checksum(b, file, tables->data, at + TABLE_CHECKSUM, at, len);
    }
}

GByteArray *acpi_build_loader(GByteArray *tables, uint8_t rsdp[ACPI_RSDP_SIZE], const char *tables_file, const char *rsdp_file)
{
    GByteArray *b = g_byte_array_new();
    loader_allocate(b, tables_file, TABLE_ALIGN, LOADER_ZONE_HIGH);
    loader_allocate(b, rsdp_file, RSDP_ALIGN, LOADER_ZONE_FSEG);
    for (size_t at = 0, len; at < tables->len; at = (at + len + TABLE_ALIGN - 1) / TABLE_ALIGN * TABLE_ALIGN) {
        len = get32(tables->data + at + TABLE_LENGTH);
        g_assert(len >= TABLE_HEADER && len <= tables->len - at);
        loader_link_table(b, tables, tables_file, at, len);
    }
    loader_add_pointer(b, rsdp_file, tables_file, RSDP_XSDT, 8);
    loader_add_checksum(b, rsdp_file, rsdp, RSDP_CHECKSUM, 0, RSDP_V1_LENGTH);
    loader_add_checksum(b, rsdp_file, rsdp, RSDP_EXT_CHECKSUM, 0, ACPI_RSDP_SIZE);
    return b;
}
