/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encoding of ACPI Machine Language (ACPI 6.3, chapter 20.2) and resource
 * descriptors (6.4), as far as the tables of a PC need it.
 */
#include "hw/acpi/aml.h"

#include <string.h>

/* Opcodes. */
#define AML_ZERO       0x00
#define AML_ONE        0x01
#define AML_NAME       0x08
#define AML_BYTE       0x0a
#define AML_WORD       0x0b
#define AML_DWORD      0x0c
#define AML_STRING     0x0d
#define AML_QWORD      0x0e
#define AML_SCOPE      0x10
#define AML_BUFFER     0x11
#define AML_PACKAGE    0x12
#define AML_METHOD     0x14
#define AML_DUAL_NAME  0x2e
#define AML_MULTI_NAME 0x2f
#define AML_EXT        0x5b
#define AML_EXT_MUTEX  0x01
#define AML_EXT_ACQUIRE 0x23
#define AML_EXT_RELEASE 0x27
#define AML_EXT_DEVICE 0x82
#define AML_EXT_REGION 0x80
#define AML_EXT_FIELD  0x81
#define AML_LOCAL0     0x60
#define AML_ARG0       0x68
#define AML_IF         0xa0

#define METHOD_SERIALIZED 0x08
#define REGION_IO         0x01
#define REGION_PCI_CONFIG 0x02
#define FIELD_BYTE_ACCESS 0x01 /* no lock, the other bits keep their values */
#define FIELD_DWORD_ACCESS 0x43 /* no lock, the other bits are written as zeros */
#define ACQUIRE_FOR_EVER  0xffff

/* Resource descriptor tags. */
#define RES_IRQ_NOFLAGS 0x22
#define RES_IO          0x47
#define RES_END         0x79
#define RES_MEMORY32    0x86
#define RES_INTERRUPT   0x89
#define RES_DWORD_SPACE 0x87
#define RES_WORD_SPACE  0x88
#define RES_QWORD_SPACE 0x8a

enum { RES_SPACE_MEMORY, RES_SPACE_IO, RES_SPACE_BUS };

#define RES_FIXED_PRODUCER 0x0c /* minimum and maximum fixed, positive decode */
#define RES_IO_ENTIRE      0x03
#define RES_IRQ_SHARED     0x09 /* consumer, level triggered, active high, shared */
#define RES_MEM_RW         0x01 /* non-cacheable, read-write */

static void put(GByteArray *b, uint64_t val, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)(val >> (8 * i));
        g_byte_array_append(b, &byte, 1);
    }
}

static void put_segment(GByteArray *b, const char *text, size_t len)
{
    char segment[4] = {'_', '_', '_', '_'};
    g_assert(len >= 1 && len <= 4);
    memcpy(segment, text, len);
    g_byte_array_append(b, (const uint8_t *)segment, 4);
}

static void put_path(GByteArray *b, const char *path)
{
    while (*path == '\\' || *path == '^') {
        put(b, (uint8_t)*path++, 1);
    }
    unsigned segments = 1;
    for (const char *p = path; *p; p++) {
        segments += *p == '.';
    }
    if (segments == 2) {
        put(b, AML_DUAL_NAME, 1);
    } else if (segments > 2) {
        put(b, AML_MULTI_NAME, 1);
        put(b, segments, 1);
    }
    for (;;) {
        size_t len = strcspn(path, ".");
        put_segment(b, path, len);
        if (!path[len]) {
            return;
        }
        path += len + 1;
    }
}

static void insert(GByteArray *b, size_t at, const uint8_t *bytes, guint len)
{
    guint tail = b->len - (guint)at;
    g_byte_array_set_size(b, b->len + len);
    memmove(b->data + at + len, b->data + at, tail);
    memcpy(b->data + at, bytes, len);
}

void aml_end(GByteArray *b, size_t mark)
{
    /* PkgLength counts its own bytes (20.2.4). */
    size_t body = b->len - mark;
    unsigned bytes = body + 1 < 0x40 ? 1 : body + 2 < 0x1000 ? 2 : body + 3 < 0x100000 ? 3 : 4;
    size_t total = body + bytes;
    uint8_t enc[4] = {(uint8_t)total};
    if (bytes > 1) {
        enc[0] = (uint8_t)((bytes - 1) << 6 | (total & 0xf));
        for (unsigned i = 1; i < bytes; i++) {
            enc[i] = (uint8_t)(total >> (4 + 8 * (i - 1)));
        }
    }
    insert(b, mark, enc, bytes);
}

size_t aml_scope_begin(GByteArray *b, const char *path)
{
    put(b, AML_SCOPE, 1);
    size_t mark = b->len;
    put_path(b, path);
    return mark;
}

size_t aml_device_begin(GByteArray *b, const char *name)
{
    put(b, AML_EXT, 1);
    put(b, AML_EXT_DEVICE, 1);
    size_t mark = b->len;
    put_path(b, name);
    return mark;
}

size_t aml_method_begin(GByteArray *b, const char *name, unsigned args)
{
    put(b, AML_METHOD, 1);
    size_t mark = b->len;
    put_path(b, name);
    put(b, args & 7, 1);
    return mark;
}

size_t aml_serialized_method_begin(GByteArray *b, const char *name, unsigned args)
{
    size_t mark = aml_method_begin(b, name, args);
    b->data[b->len - 1] |= METHOD_SERIALIZED;
    return mark;
}

size_t aml_if_begin(GByteArray *b)
{
    put(b, AML_IF, 1);
    return b->len;
}

size_t aml_package_begin(GByteArray *b, unsigned count)
{
    put(b, AML_PACKAGE, 1);
    size_t mark = b->len;
    put(b, count, 1);
    return mark;
}

void aml_int(GByteArray *b, uint64_t val)
{
    if (val <= 1) {
        put(b, val ? AML_ONE : AML_ZERO, 1);
    } else if (val <= UINT8_MAX) {
        put(b, AML_BYTE, 1);
        put(b, val, 1);
    } else if (val <= UINT16_MAX) {
        put(b, AML_WORD, 1);
        put(b, val, 2);
    } else if (val <= UINT32_MAX) {
        put(b, AML_DWORD, 1);
        put(b, val, 4);
    } else {
        put(b, AML_QWORD, 1);
        put(b, val, 8);
    }
}

void aml_name(GByteArray *b, const char *name)
{
    put(b, AML_NAME, 1);
    put_path(b, name);
}

void aml_name_int(GByteArray *b, const char *name, uint64_t val)
{
    aml_name(b, name);
    aml_int(b, val);
}

void aml_name_string(GByteArray *b, const char *name, const char *text)
{
    aml_name(b, name);
    put(b, AML_STRING, 1);
    g_byte_array_append(b, (const uint8_t *)text, (guint)strlen(text) + 1);
}

void aml_name_eisaid(GByteArray *b, const char *name, const char *id)
{
    g_assert(strlen(id) == 7);
    uint32_t code =
        (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 | (uint32_t)(id[2] - '@') << 16;
    for (unsigned i = 0; i < 4; i++) {
        code |= (uint32_t)g_ascii_xdigit_value(id[3 + i]) << (12 - 4 * i);
    }
    aml_name(b, name);
    put(b, AML_DWORD, 1);
    put(b, GUINT32_SWAP_LE_BE(code), 4);
}

void aml_return_arg(GByteArray *b, unsigned n)
{
    put(b, AML_OP_RETURN, 1);
    put(b, AML_ARG0 + n, 1);
}

void aml_op(GByteArray *b, AmlOp op)
{
    put(b, op, 1);
}

void aml_path(GByteArray *b, const char *path)
{
    put_path(b, path);
}

void aml_arg(GByteArray *b, unsigned n)
{
    put(b, AML_ARG0 + n, 1);
}

void aml_local(GByteArray *b, unsigned n)
{
    put(b, AML_LOCAL0 + n, 1);
}

static void put_region(GByteArray *b, const char *name, uint8_t space, uint16_t offset, uint8_t len)
{
    put(b, AML_EXT, 1);
    put(b, AML_EXT_REGION, 1);
    put_path(b, name);
    put(b, space, 1);
    aml_int(b, offset);
    aml_int(b, len);
}

void aml_config_region(GByteArray *b, const char *name, uint8_t offset, uint8_t len)
{
    put_region(b, name, REGION_PCI_CONFIG, offset, len);
}

void aml_io_region(GByteArray *b, const char *name, uint16_t port, uint8_t len)
{
    put_region(b, name, REGION_IO, port, len);
}

static size_t field_begin(GByteArray *b, const char *region, uint8_t access)
{
    put(b, AML_EXT, 1);
    put(b, AML_EXT_FIELD, 1);
    size_t mark = b->len;
    put_path(b, region);
    put(b, access, 1);
    return mark;
}

size_t aml_field_begin(GByteArray *b, const char *region)
{
    return field_begin(b, region, FIELD_BYTE_ACCESS);
}

size_t aml_dword_field_begin(GByteArray *b, const char *region)
{
    return field_begin(b, region, FIELD_DWORD_ACCESS);
}

void aml_mutex(GByteArray *b, const char *name)
{
    put(b, AML_EXT, 1);
    put(b, AML_EXT_MUTEX, 1);
    put_path(b, name);
    put(b, 0, 1); /* sync level */
}

void aml_acquire(GByteArray *b, const char *mutex)
{
    put(b, AML_EXT, 1);
    put(b, AML_EXT_ACQUIRE, 1);
    put_path(b, mutex);
    put(b, ACQUIRE_FOR_EVER, 2);
}

void aml_release(GByteArray *b, const char *mutex)
{
    put(b, AML_EXT, 1);
    put(b, AML_EXT_RELEASE, 1);
    put_path(b, mutex);
}

void aml_field_unit(GByteArray *b, const char *name, unsigned bits)
{
    g_assert(bits >= 1 && bits < 0x40); /* a length of one byte */
    if (name) {
        put_segment(b, name, strlen(name));
    } else {
        put(b, 0, 1);
    }
    put(b, bits, 1);
}

size_t aml_template_begin(GByteArray *b)
{
    put(b, AML_BUFFER, 1);
    return b->len;
}

size_t aml_crs_begin(GByteArray *b)
{
    aml_name(b, "_CRS");
    return aml_template_begin(b);
}

void aml_crs_end(GByteArray *b, size_t mark)
{
    put(b, RES_END, 1);
    put(b, 0, 1); /* checksum 0: not used */
    size_t len = b->len - mark;
    const uint8_t size[3] = {AML_WORD, (uint8_t)len, (uint8_t)(len >> 8)};
    insert(b, mark, size, sizeof(size));
    aml_end(b, mark);
}

void aml_res_io(GByteArray *b, uint16_t base, uint8_t len)
{
    put(b, RES_IO, 1);
    put(b, 1, 1); /* 16-bit decode */
    put(b, base, 2);
    put(b, base, 2);
    put(b, 1, 1); /* alignment */
    put(b, len, 1);
}

void aml_res_irq(GByteArray *b, unsigned irq)
{
    put(b, RES_IRQ_NOFLAGS, 1);
    put(b, 1u << irq, 2);
}

void aml_res_interrupts(GByteArray *b, const uint32_t *irqs, unsigned count)
{
    put(b, RES_INTERRUPT, 1);
    put(b, 2 + 4 * count, 2);
    put(b, RES_IRQ_SHARED, 1);
    put(b, count, 1);
    for (unsigned i = 0; i < count; i++) {
        put(b, irqs[i], 4);
    }
}

void aml_res_memory32(GByteArray *b, uint32_t base, uint32_t len)
{
    put(b, RES_MEMORY32, 1);
    put(b, 9, 2);
    put(b, 1, 1); /* writable */
    put(b, base, 4);
    put(b, len, 4);
}

static void res_space(GByteArray *b, unsigned kind, uint8_t flags, uint64_t first, uint64_t last,
                      unsigned width)
{
    static const uint8_t tags[9] = {[2] = RES_WORD_SPACE, [4] = RES_DWORD_SPACE, [8] = RES_QWORD_SPACE};
    put(b, tags[width], 1);
    put(b, 3 + 5 * width, 2);
    put(b, kind, 1);
    put(b, RES_FIXED_PRODUCER, 1);
    put(b, flags, 1);
    put(b, 0, width); /* granularity */
    put(b, first, width);
    put(b, last, width);
    put(b, 0, width); /* translation */
    put(b, last - first + 1, width);
}

void aml_res_bus_range(GByteArray *b, uint16_t first, uint16_t last)
{
    res_space(b, RES_SPACE_BUS, 0, first, last, 2);
}

void aml_res_io_window(GByteArray *b, uint16_t first, uint16_t last)
{
    res_space(b, RES_SPACE_IO, RES_IO_ENTIRE, first, last, 2);
}

void aml_res_memory_window(GByteArray *b, uint32_t first, uint32_t last)
{
    res_space(b, RES_SPACE_MEMORY, RES_MEM_RW, first, last, 4);
}

void aml_res_memory_window64(GByteArray *b, uint64_t first, uint64_t last)
{
    res_space(b, RES_SPACE_MEMORY, RES_MEM_RW, first, last, 8);
}
