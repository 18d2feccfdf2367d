/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the files of the compiler: where things are in host registers, the stubs, the state of a compilation. */
#ifndef ACCEL_TCG_JIT_PRIVATE_H
#define ACCEL_TCG_JIT_PRIVATE_H

#include <stddef.h>

#include "accel/tcg/core/ops.h"
#include "accel/tcg/jit/asm.h"
#include "accel/tcg/jit/jit.h"

/* RBP is the X86Cpu, R15 the block's RIP, RAX RCX RDX are free; the ten others are guest registers 0 to 9. */
enum { H_CPU = H_BP, H_RIP = H_R15, JIT_MAPPED = 10 };
extern const uint8_t jit_host_reg[JIT_MAPPED];

/* Bytes of the check at the beginning of a block's code, which a run from outside leaves out. */
enum { JIT_CHECK_BYTES = 13, JIT_COUNT_BYTES = 20 /* more, where instructions are counted */ };

/* The stack of compiled code has one free slot: a value kept over an access to memory. */
enum { JIT_FRAME = 24 };

struct Jit {
    uint8_t *write, *run; /* the same memory, twice */
    size_t size, used, begin;
    uintptr_t (*enter)(X86Cpu *cpu, const void *code);
    /* Written addresses. */
    const uint8_t *exit_find;    /* R15: where to go on */
    const uint8_t *exit_jump;    /* the same, RAX: the jump to link */
    const uint8_t *exit_interpret; /* as exit_find, and one block runs in the interpreter */
    const uint8_t *exit_spilled; /* registers and rip are in X86Cpu already */
    const uint8_t *lookup[2];    /* goes to the block at R15, by privilege */
    const uint8_t *load, *store, *leave, *flags, *mxcsr;
    const uint8_t *call, *call_any; /* the second: what may change MXCSR's masks, which is not the host's after it */
};

void jit_make_stubs(Jit *jit);

/* What the stubs call.  info: index of the op in its block, size of the access << 16. */
uint64_t jit_do_load(X86Cpu *cpu, uint64_t linear, const Op *op, unsigned info);
bool jit_do_store(X86Cpu *cpu, uint64_t linear, const Op *op, unsigned info); /* true: the block is dead */
bool jit_do_call(X86Cpu *cpu, uint64_t linear, const Op *op, unsigned info);
void jit_do_leave(X86Cpu *cpu, uint64_t linear, const Op *op, unsigned info);
void jit_do_flags(X86Cpu *cpu);

/* --- a compilation --- */

/* What is done out of line, after the block. */
typedef enum SlowKind {
    SLOW_LOAD,       /* the value comes back in RAX */
    SLOW_STORE,
    SLOW_CALL,       /* the op's function does all of it */
    SLOW_X87,        /* the same, and the host's x87 is made empty before */
    SLOW_CALL_FLAGS, /* and leaves flags, which the code after it expects in the host's */
    SLOW_MXCSR,      /* makes the guest's MXCSR the host's; with an exception unmasked the interpreter goes on from the op */
    SLOW_FLAGS,      /* makes the flags in X86Cpu raw */
} SlowKind;

typedef struct Slow {
    uint8_t *from;   /* displacement of the jump that leads there */
    uint8_t *resume;
    uint16_t index;
    uint8_t kind, size;
} Slow;

enum { JIT_SLOW_MAX = 6 * BLOCK_MAX_OPS };

typedef struct Compiler {
    Asm a;
    X86Cpu *cpu;
    Jit *jit;
    Block *block;
    const Op *op;
    unsigned index;
    bool host_flags;     /* the host's flags are the guest's arithmetic flags */
    bool cpu_flags;      /* those in X86Cpu are; at least one of the two */
    bool raw_flags;      /* and known to be CC_RAW */
    bool fp_ready;       /* the host's MXCSR is the guest's */
    bool ended;          /* the op led out of the block */
    const uint8_t *source; /* the block's bytes */
    uint8_t *jump[2];    /* displacements of its linkable jumps, by chain[] index */
    Slow slow[JIT_SLOW_MAX];
    unsigned slow_count;
} Compiler;

/* Emits one op.  False, with nothing emitted: it is left to the interpreter. */
typedef bool CompileFn(Compiler *c);

#define CPU_AT(field) loc_mem(H_CPU, (int32_t)offsetof(X86Cpu, field))

/* Register by number, or by the byte offset an Op has. */
Loc jit_reg(unsigned n);
static inline Loc jit_op_reg(unsigned off)
{
    return jit_reg(off >> 3);
}

/* AH, CH, DH, BH */
static inline bool jit_is_high(unsigned off)
{
    return off & 7;
}

void jit_flags_save(Compiler *c);     /* to X86Cpu; the host's stay as they are */
void jit_flags_to_cpu(Compiler *c);   /* before anything that changes the host's flags or may fault */
void jit_flags_to_host(Compiler *c);  /* changes RAX when they were not */
void jit_carry_to_host(Compiler *c);  /* CF alone; changes no register */
void jit_flags_set(Compiler *c);      /* the instruction just emitted set the guest's flags */

void jit_slow(Compiler *c, SlowKind kind, uint8_t *from, uint8_t *resume, unsigned size);
void jit_address(Compiler *c);        /* RCX = linear address of the op's memory operand */
/* RCX = host address of the access to linear RCX of plain memory; the other accesses go to the slow path that is returned. */
uint8_t *jit_translate(Compiler *c, unsigned size, bool write);
void jit_load_rax(Compiler *c, unsigned size);  /* RAX = zero-extended value at linear RCX */
void jit_call(Compiler *c);           /* calls the op's function */
void jit_leave(Compiler *c);          /* the same for one that ends the block */
void jit_jump(Compiler *c, unsigned taken, uint64_t offset); /* leads to the block's RIP + offset; ends code */
void jit_lookup(Compiler *c);         /* leads to the block at R15; ends code */

CompileFn jit_simd, jit_x87, jit_shift, jit_bit_test, jit_bswap, jit_convert, jit_multiply;
CompileFn *jit_op_fn(unsigned id);

#endif
