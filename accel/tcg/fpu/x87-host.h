/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs one x87 instruction on the host with the guest's control word.  Unmasked
 * exceptions need no signal: the host's x87 reports them only at the next
 * waiting instruction, and everything up to clearing them is non-waiting, so
 * that results of unmasked overflow and underflow are the hardware's too.
 */
#ifndef ACCEL_TCG_X87_HOST_H
#define ACCEL_TCG_X87_HOST_H

#include "accel/tcg/fpu/x87-internal.h"

#define X87_HOST_CLOBBERS "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "cc", "memory"

/*
 * Before an operation: the host's flags must be none the guest does not have
 * already, or with an unmasked exception none at all.  Clearing them is slow,
 * and precision is nearly always set on both sides.
 */
static inline void x87_host_enter(const X86Fpu *fpu)
{
    uint16_t sw;

    __asm__ volatile("fnstsw %0" : "=a"(sw));
    sw &= X86_FSW_FLAGS;
    if (sw && ((sw & ~fpu->fsw) || (~fpu->fcw & X86_FSW_FLAGS))) {
        __asm__ volatile("fnclex");
    }
}

/* a op b, b in ST(1); the result replaces a. */
#define X87_HOST_REG(name, insn)                                                                             \
    static uint16_t name(const X86Fpu *fpu, const void *a, const void *b, void *result)                      \
    {                                                                                                        \
        static const uint16_t host = X86_FCW_DEFAULT;                                                        \
        uint16_t sw;                                                                                         \
                                                                                                             \
        x87_host_enter(fpu);                                                                                 \
        __asm__ volatile("fldcw %[cw]\n\tfldt (%[b])\n\tfldt (%[a])\n\t" insn "\n\t"                         \
                         "fnstsw %[sw]\n\ttestb $0x80, %b[sw]\n\tjz 1f\n\tfnclex\n1:\n\t"                    \
                         "fstpt (%[r])\n\tfstp %%st(0)\n\tfldcw %[host]"                                     \
                         : [sw] "=&a"(sw)                                                                    \
                         : [a] "r"(a), [b] "r"(b), [r] "r"(result), [cw] "m"(fpu->fcw), [host] "m"(host)     \
                         : X87_HOST_CLOBBERS);                                                               \
        return sw;                                                                                           \
    }

/* a op memory b. */
#define X87_HOST_MEM(name, insn)                                                                             \
    static uint16_t name(const X86Fpu *fpu, const void *a, const void *b, void *result)                      \
    {                                                                                                        \
        static const uint16_t host = X86_FCW_DEFAULT;                                                        \
        uint16_t sw;                                                                                         \
                                                                                                             \
        x87_host_enter(fpu);                                                                                 \
        __asm__ volatile("fldcw %[cw]\n\tfldt (%[a])\n\t" insn " (%[b])\n\t"                                 \
                         "fnstsw %[sw]\n\ttestb $0x80, %b[sw]\n\tjz 1f\n\tfnclex\n1:\n\t"                    \
                         "fstpt (%[r])\n\tfldcw %[host]"                                                     \
                         : [sw] "=&a"(sw)                                                                    \
                         : [a] "r"(a), [b] "r"(b), [r] "r"(result), [cw] "m"(fpu->fcw), [host] "m"(host)     \
                         : X87_HOST_CLOBBERS);                                                               \
        return sw;                                                                                           \
    }

/* Stores a to memory and pops; an unmasked exception may have left it on the host's stack. */
#define X87_HOST_STORE(name, insn)                                                                           \
    static uint16_t name(const X86Fpu *fpu, const void *a, void *result)                                     \
    {                                                                                                        \
        static const uint16_t host = X86_FCW_DEFAULT;                                                        \
        uint16_t sw;                                                                                         \
                                                                                                             \
        x87_host_enter(fpu);                                                                                 \
        __asm__ volatile("fldcw %[cw]\n\tfldt (%[a])\n\t" insn " (%[r])\n\t"                                 \
                         "fnstsw %[sw]\n\ttestb $0x80, %b[sw]\n\tjz 1f\n\tfninit\n1:\n\tfldcw %[host]"       \
                         : [sw] "=&a"(sw)                                                                    \
                         : [a] "r"(a), [r] "r"(result), [cw] "m"(fpu->fcw), [host] "m"(host)                 \
                         : X87_HOST_CLOBBERS);                                                               \
        return sw;                                                                                           \
    }

/*
 * Anything else: b in ST(1), a in ST(0); result[0] and result[1] are ST(0) and
 * ST(1) afterwards, TOP in the returned status word tells how many there are
 * (X87_TOP_OF_RUN: as many as before).
 */
#define X87_HOST_FUNCTION(name, insn)                                                                        \
    static uint16_t name(const X86Fpu *fpu, const X86Fp80 *a, const X86Fp80 *b, X86Fp80 result[2])           \
    {                                                                                                        \
        uint16_t sw;                                                                                         \
                                                                                                             \
        x87_host_enter(fpu);                                                                                 \
        __asm__ volatile(                                                                                    \
            "fldcw %[cw]\n\tfldt (%[b])\n\tfldt (%[a])\n\t" insn "\n\t"                                      \
            "fnstsw %[sw]\n\ttestb $0x80, %b[sw]\n\tjz 1f\n\tfnclex\n1:\n\t"                                 \
            "fstpt (%[r0])\n\tfstpt (%[r1])\n\tfninit"                                                       \
            : [sw] "=&a"(sw)                                                                                 \
            : [a] "r"(a), [b] "r"(b), [r0] "r"(&result[0]), [r1] "r"(&result[1]), [cw] "m"(fpu->fcw)         \
            : X87_HOST_CLOBBERS);                                                                            \
        return sw;                                                                                           \
    }

#endif
