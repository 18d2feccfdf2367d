/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs single instructions on the host processor with a given user-mode state
 * and reports the state and the exception afterwards: the reference the
 * software CPU is compared with.
 */
#ifndef TESTS_TCG_NATIVE_H
#define TESTS_TCG_NATIVE_H

#include <stdint.h>

enum { NATIVE_VECTOR_BP = 3, NATIVE_FX_BYTES = 512 };

/* User-mode state; gpr in encoding order (RAX, RCX, RDX, RBX, RSP, ...). */
typedef struct NativeState {
    uint64_t gpr[16], rip, rflags;
    uint8_t fx[NATIVE_FX_BYTES]; /* FXSAVE64 image */
    unsigned vector;             /* after a run: the exception that ended it */
    uint64_t error, cr2;         /* valid for vector 14 */
} NativeState;

/* Installs the signal handlers this needs, over those that were there.  Single-threaded processes only. */
void native_init(void);

/*
 * Runs from state->rip until an exception, normally the breakpoint the caller
 * has placed behind the instruction.  The code, the stack pointer and all
 * memory operands are the caller's business; TF and AC must be clear.
 */
void native_run(NativeState *state);

#endif
