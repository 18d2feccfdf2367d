/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segment and system descriptors (SDM vol. 3, 3.4.5 and 5.8): fields and what the files about segments share. */
#ifndef ACCEL_TCG_DESCRIPTOR_H
#define ACCEL_TCG_DESCRIPTOR_H

#include "accel/tcg/core/state.h"

#define DESC_TYPE(d) ((unsigned)((d) >> 40) & 0x1f) /* S and type */
#define DESC_DPL(d) ((unsigned)((d) >> 45) & 3)
#define DESC_P(d) ((d) >> 47 & 1)
#define DESC_L(d) ((d) >> 53 & 1)
#define DESC_DB(d) ((d) >> 54 & 1)
#define DESC_G(d) ((d) >> 55 & 1)
#define DESC_S 0x10u
#define DESC_CODE 0x18u
#define DESC_CONFORMING 0x4u
#define DESC_RW 0x2u

/* Types of system descriptors (S = 0). */
enum {
    DESC_TSS16 = 1, DESC_LDT = 2, DESC_TSS16_BUSY = 3, DESC_CALL16 = 4, DESC_TASK = 5, DESC_TSS32 = 9, DESC_TSS32_BUSY = 11,
    DESC_CALL32 = 12, /* and the 64-bit one */
};

/* Bits of X86SegState.attr. */
enum { SEG_ATTR_P = 0x80, SEG_ATTR_DB = 0x4000, SEG_ATTR_L = 0x2000 };

static inline X86SegState seg_from_desc(uint16_t selector, uint64_t desc)
{
    X86SegState seg = {.selector = selector};

    seg.base = (desc >> 16 & 0xffffff) | (desc >> 56 & 0xff) << 24;
    seg.limit = (uint32_t)((desc & 0xffff) | (desc >> 32 & 0xf0000));
    if (DESC_G(desc)) {
        seg.limit = seg.limit << 12 | 0xfff;
    }
    seg.attr = (uint16_t)(desc >> 40 & 0xf0ff);
    return seg;
}

static inline bool desc_is_code(uint64_t desc)
{
    return (DESC_TYPE(desc) & DESC_CODE) == DESC_CODE;
}

static inline bool desc_is_writable_data(uint64_t desc)
{
    return (DESC_TYPE(desc) & (DESC_CODE | DESC_RW)) == (DESC_S | DESC_RW);
}

static inline bool desc_is_canonical(uint64_t linear)
{
    return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}

/* A stack that is written or read before it is committed to SS:RSP. */
typedef struct X86Stack {
    X86SegState ss;
    uint64_t sp, mask;
    int error;    /* of the #SS when the limit is passed */
    bool long64, sys; /* sys: accesses are the processor's own, at CPL 0 */
} X86Stack;

/* The present stack. */
X86Stack x86_stack_current(X86Cpu *cpu);
void x86_stack_push(X86Cpu *cpu, X86Stack *stack, uint64_t val, unsigned size);
uint64_t x86_stack_pop(X86Cpu *cpu, X86Stack *stack, unsigned size);
/* Its pointer becomes RSP, as far as the mask reaches. */
void x86_stack_commit(X86Cpu *cpu, const X86Stack *stack);
/* The stack of an inner level from the TSS; ist only in long mode.  Raises #TS with `ext` in the error code. */
X86Stack x86_stack_inner(X86Cpu *cpu, unsigned level, unsigned ist, int ext);

/* Marks a descriptor as accessed in its table. */
void x86_desc_set_accessed(X86Cpu *cpu, uint16_t selector, uint64_t desc);
/* CS from a descriptor, RPL replaced by cpl.  The caller updates the mode. */
void x86_set_cs(X86Cpu *cpu, uint16_t selector, uint64_t desc, unsigned cpl);
/* Raises #GP(0) when code cannot continue at rip in the segment `desc` describes. */
void x86_check_target(X86Cpu *cpu, uint64_t desc, uint64_t rip);

/* Task switches (task.c). */
typedef enum X86TaskReason { X86_TASK_JMP, X86_TASK_CALL, X86_TASK_IRET, X86_TASK_GATE } X86TaskReason;
/* Leaves at cpu->rip of the new task; error >= 0 is pushed there (exceptions through task gates). */
void x86_task_switch(X86Cpu *cpu, uint16_t selector, X86TaskReason reason, uint64_t next_rip, int error, int ext);

#endif
