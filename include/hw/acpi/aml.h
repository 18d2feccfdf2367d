/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A writer of ACPI Machine Language (ACPI 6.3, chapter 20) and of resource
 * descriptors (chapter 6.4).  Terms are appended to a byte array in order; a term
 * with a body is opened with a *_begin function, which returns a mark, and closed
 * with aml_end() on that mark.  Any thread; no state but the array.
 */
#ifndef HW_ACPI_AML_H
#define HW_ACPI_AML_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Paths are as in ASL: optional '\' or '^', segments of 1 to 4 characters separated by '.'. */
size_t aml_scope_begin(GByteArray *b, const char *path);
size_t aml_device_begin(GByteArray *b, const char *name);
/* args 0..7; not serialized. */
size_t aml_method_begin(GByteArray *b, const char *name, unsigned args);
/* The same for methods that make names of their own: one call at a time. */
size_t aml_serialized_method_begin(GByteArray *b, const char *name, unsigned args);
/* If(predicate) {...}: the predicate follows, then the terms. */
size_t aml_if_begin(GByteArray *b);
/* `count` elements follow. */
size_t aml_package_begin(GByteArray *b, unsigned count);
void aml_end(GByteArray *b, size_t mark);

/* Name(name, ...): the object follows. */
void aml_name(GByteArray *b, const char *name);
void aml_name_int(GByteArray *b, const char *name, uint64_t val);
void aml_name_string(GByteArray *b, const char *name, const char *text);
/* _HID and _CID of the form "PNP0A08". */
void aml_name_eisaid(GByteArray *b, const char *name, const char *id);
void aml_int(GByteArray *b, uint64_t val);
/* Return(Argn) in a method, n 0..6. */
void aml_return_arg(GByteArray *b, unsigned n);

/* What comes before its operands; those of AND, OR and SHIFT_LEFT end with a target, which aml_int(b, 0) leaves out. */
typedef enum AmlOp {
    AML_OP_STORE = 0x70,
    AML_OP_SHIFT_LEFT = 0x79, /* operand, count */
    AML_OP_AND = 0x7b,
    AML_OP_OR = 0x7d,
    AML_OP_NOTIFY = 0x86, /* device, value */
    AML_OP_CREATE_DWORD_FIELD = 0x8a, /* buffer, byte offset, new name */
    AML_OP_RETURN = 0xa4,
} AmlOp;
void aml_op(GByteArray *b, AmlOp op);
/* Operands: a name (of an object, or of a method whose arguments follow), Argn, Localn; n 0..6. */
void aml_path(GByteArray *b, const char *path);
void aml_arg(GByteArray *b, unsigned n);
void aml_local(GByteArray *b, unsigned n);

/* `len` bytes (below 256) of the enclosing device's configuration space from `offset`, as region `name`. */
void aml_config_region(GByteArray *b, const char *name, uint8_t offset, uint8_t len);
/* `len` I/O ports from `port`, as region `name`. */
void aml_io_region(GByteArray *b, const char *name, uint16_t port, uint8_t len);
/* Fields of a region, accessed by bytes: units follow, each 1 to 63 bits; name NULL: not used. */
size_t aml_field_begin(GByteArray *b, const char *region);
/* The same by double words, each of which is written whole. */
size_t aml_dword_field_begin(GByteArray *b, const char *region);
void aml_field_unit(GByteArray *b, const char *name, unsigned bits);

/* Mutex(name); Acquire (for as long as it takes) and Release as statements. */
void aml_mutex(GByteArray *b, const char *name);
void aml_acquire(GByteArray *b, const char *mutex);
void aml_release(GByteArray *b, const char *mutex);

/* Name(_CRS, ResourceTemplate() {descriptors}). */
size_t aml_crs_begin(GByteArray *b);
/* ResourceTemplate() {descriptors} as an operand, or after aml_name(): ended with aml_crs_end() too. */
size_t aml_template_begin(GByteArray *b);
void aml_crs_end(GByteArray *b, size_t mark);
void aml_res_io(GByteArray *b, uint16_t base, uint8_t len);
void aml_res_irq(GByteArray *b, unsigned irq); /* edge, active high, exclusive */
/* Level triggered, active high, shared: one of these, or the one that is in use.  The first number is at byte 5. */
void aml_res_interrupts(GByteArray *b, const uint32_t *irqs, unsigned count);
void aml_res_memory32(GByteArray *b, uint32_t base, uint32_t len);
void aml_res_bus_range(GByteArray *b, uint16_t first, uint16_t last);
/* Address spaces a bridge passes on; last is inclusive. */
void aml_res_io_window(GByteArray *b, uint16_t first, uint16_t last);
void aml_res_memory_window(GByteArray *b, uint32_t first, uint32_t last);
void aml_res_memory_window64(GByteArray *b, uint64_t first, uint64_t last);

#endif
