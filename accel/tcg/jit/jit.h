/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tier 2: hot blocks of 64-bit guest code as host code (x86-64 hosts).
 *
 * A compiled block does what the interpreter does with the same block: guest
 * registers live in host registers between blocks and are in X86Cpu whenever
 * anything outside the code runs; lazy flags are CC_RAW there.  What the
 * compiler does not know it calls (the functions of ops.h) or leaves to the
 * interpreter by ending the block before it.  All functions: the CPU's thread.
 */
#ifndef ACCEL_TCG_JIT_H
#define ACCEL_TCG_JIT_H

#include "accel/tcg/core/state.h"

typedef struct Jit Jit;

/* NULL when the host cannot run compiled code: then only the interpreter runs. */
Jit *x86_jit_new(void);
void x86_jit_free(Jit *jit);

/* Sets block->code; leaves it NULL when the block has nothing to compile or the code memory is full. */
void x86_jit_compile(X86Cpu *cpu, Block *block);

/*
 * Runs compiled blocks beginning with `block` until something is pending or the next
 * block is not known; cpu->rip is where to go on.  Returns a jump that x86_jit_link()
 * can lead to the block found there, 0, or JIT_INTERPRET: that block must run in the interpreter.
 */
enum { JIT_INTERPRET = 2 };
uintptr_t x86_jit_run(X86Cpu *cpu, const Block *block);
void x86_jit_link(X86Cpu *cpu, uintptr_t jump, const Block *to);

/* The block's source was overwritten: nothing enters its code any more. */
void x86_jit_kill(X86Cpu *cpu, const Block *block);

/* True when the code memory is nearly full: flush all blocks, outside of x86_jit_run(). */
bool x86_jit_is_full(const X86Cpu *cpu);
/* Bytes of code memory in use, and there. */
void x86_jit_usage(const X86Cpu *cpu, size_t *used, size_t *size);
/* All blocks are gone. */
void x86_jit_flush(X86Cpu *cpu);

#endif
