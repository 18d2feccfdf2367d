/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The compiler of hosts that have none (see jit.h): no X86Cpu ever gets a Jit. */
#include "accel/tcg/jit/jit.h"

Jit *x86_jit_new(void)
{
    return NULL;
}

void x86_jit_free(Jit *jit)
{
}

void x86_jit_compile(X86Cpu *cpu, Block *block)
{
}

uintptr_t x86_jit_run(X86Cpu *cpu, const Block *block)
{
    return 0;
}

void x86_jit_link(X86Cpu *cpu, uintptr_t jump, const Block *to)
{
}

void x86_jit_kill(X86Cpu *cpu, const Block *block)
{
}

bool x86_jit_is_full(const X86Cpu *cpu)
{
    return false;
}

void x86_jit_usage(const X86Cpu *cpu, size_t *used, size_t *size)
{
    *used = *size = 0;
}

void x86_jit_flush(X86Cpu *cpu)
{
}
