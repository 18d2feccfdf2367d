/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The software CPU in 64-bit user mode, with the least of a system around it:
 * page tables, descriptor tables and exception handlers that halt.
 */
#ifndef TESTS_TCG_GUEST_H
#define TESTS_TCG_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/tcg/native.h"

/* User pages, at the same linear addresses as the native run's; what lies around them is not present. */
enum {
    GUEST_CODE = 0x10000000,
    GUEST_DATA = 0x20000000,
    GUEST_PAGES = 2,
    GUEST_PAGE = 4096,
    GUEST_BYTES = GUEST_PAGES * GUEST_PAGE,
    GUEST_VECTOR_NONE = 0x100, /* no exception arrived: the CPU stopped for another reason */
};

/* jit_heat: as in X86CpuConfig.  False with a message on stderr when the CPU cannot be made. */
bool guest_init(const char *model, unsigned jit_heat);
void guest_free(void);

/* The guest's memory behind GUEST_CODE and GUEST_DATA. */
uint8_t *guest_code(void);
uint8_t *guest_data(void);

/* Tells the CPU that code bytes have changed. */
void guest_code_changed(uint64_t linear, size_t len);

/* As native_run(), on the software CPU. */
void guest_run(NativeState *state);

#endif
