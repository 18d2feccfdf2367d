/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How vector (MMX, SSE..SSE4.2, AES, CLMUL) and x87 instructions plug into the
 * CPU core.  The core decodes prefixes, opcode and ModRM, fetches the source
 * operand into a buffer (or points at the register), calls one function from a
 * table, and writes the result back: segmentation, paging and faults never
 * reach the functions, so each is a few lines around the host's instruction.
 */
#ifndef ACCEL_TCG_SIMD_H
#define ACCEL_TCG_SIMD_H

#include <stdbool.h>
#include <stdint.h>

#include "accel/tcg-cpu.h"

typedef struct X86Fpu X86Fpu;

/* A vector register or memory operand; 16-byte aligned, room for 32 for AVX later. */
typedef union X86Vec {
    uint8_t u8[32];
    uint16_t u16[16];
    uint32_t u32[8];
    uint64_t u64[4];
} __attribute__((aligned(32))) X86Vec;

/* x87 register: 80 bits in memory order. */
typedef union X86Fp80 {
    struct {
        uint64_t mantissa;
        uint16_t sign_exp;
    } __attribute__((packed)) f;
    uint8_t u8[16];
} __attribute__((aligned(16))) X86Fp80;

/* The extended state of one CPU: everything XSAVE covers. */
struct X86Fpu {
    X86Vec xmm[16];
    X86Fp80 st[8];      /* physical registers; ST(i) is st[(top + i) & 7]; MMn is the mantissa of st[n] */
    uint16_t fcw, fsw;  /* fsw without TOP, which is in top */
    uint8_t top;
    uint8_t ftw;        /* abridged tag word: bit n set = st[n] not empty (FXSAVE form) */
    uint16_t fop;
    uint64_t fip, fdp;  /* last instruction and operand pointers */
    uint16_t fcs, fds;
    uint32_t mxcsr;
};

/* Exceptions a function asks for; the core raises them with exact state. */
typedef enum X86SimdFault {
    X86_SIMD_OK = 0,
    X86_SIMD_XM,  /* #XM: unmasked SIMD exception; MXCSR flags already set, destination untouched */
    X86_SIMD_MF,  /* #MF pending x87 exception found by a waiting instruction */
    X86_SIMD_GP,  /* #GP(0): reserved MXCSR bits */
    X86_SIMD_UD,
} X86SimdFault;

/* What an operand is.  The core resolves it; the function only sees a pointer. */
typedef enum X86OperandKind {
    X86_OPD_NONE,
    X86_OPD_XMM,      /* XMM register named by ModRM.reg (with REX.R) */
    X86_OPD_XMM_RM,   /* ModRM.rm: XMM register or memory of `mem_size` bytes */
    X86_OPD_MMX,      /* MMX register named by ModRM.reg */
    X86_OPD_MMX_RM,
    X86_OPD_GPR,      /* ModRM.reg; 8 bytes with REX.W, else 4, zero-extended when written */
    X86_OPD_GPR_RM,   /* ModRM.rm: GPR or memory of `mem_size` (0: 4, or 8 with REX.W) */
    X86_OPD_XMM_ONLY, /* ModRM.rm must be a register, else #UD */
    X86_OPD_MMX_ONLY,
    X86_OPD_MEM_ONLY, /* ModRM.rm must be memory, else #UD */
} X86OperandKind;

enum {
    X86_SIMD_ALIGNED = 1 << 0,   /* 16-byte memory operand must be aligned: #GP(0) */
    X86_SIMD_READ_DST = 1 << 1,  /* destination memory is also read (register destinations always hold their old value) */
    X86_SIMD_IMM8 = 1 << 2,      /* an immediate byte follows */
    X86_SIMD_EFLAGS = 1 << 3,    /* returns ZF PF CF (OF SF AF zeroed) in *eflags */
    X86_SIMD_USES_REXW = 1 << 4, /* operand size of the GPR/memory side is 8 with REX.W */
    X86_SIMD_MMX_STATE = 1 << 5, /* enters MMX state: TOP=0, all tags valid; #MF check first */
    X86_SIMD_NO_WRITE = 1 << 6,  /* compares: no destination write-back */
    X86_SIMD_IMPLICIT_XMM0 = 1 << 7,
    X86_SIMD_MASKMOV = 1 << 8,   /* MASKMOVQ/MASKMOVDQU: destination is DS:rDI, byte mask in src */
};

/* What the core tells a function beside its two operands. */
typedef struct X86SimdCtx {
    X86Fpu *fpu;
    uint8_t imm;
    bool rexw;
    bool src_is_mem, dst_is_mem;
    uint64_t eflags;     /* in: current RFLAGS; out with X86_SIMD_EFLAGS */
    uint64_t gpr_a, gpr_d; /* RAX and RDX, for PCMPESTRx */
    uint64_t gpr_c;        /* out: PCMPxSTRI index for ECX */
    bool write_gpr_c;
} X86SimdCtx;

/* dst and src point at 16-byte (registers: 32-byte) aligned storage; they may be the same. */
typedef X86SimdFault X86SimdFn(X86SimdCtx *ctx, void *dst, const void *src);

typedef struct X86SimdInsn {
    const char *name;
    X86SimdFn *fn;
    uint8_t dst, src;     /* X86OperandKind */
    uint8_t mem_size;     /* bytes of the memory form: 1, 2, 4, 8, 16; 0: 4, or 8 with REX.W */
    uint16_t flags;
    uint8_t feature;      /* X86_SIMD_FEAT_*: which CPUID bit it needs */
} X86SimdInsn;

enum {
    X86_SIMD_FEAT_MMX, X86_SIMD_FEAT_SSE, X86_SIMD_FEAT_SSE2, X86_SIMD_FEAT_SSE3, X86_SIMD_FEAT_SSSE3,
    X86_SIMD_FEAT_SSE41, X86_SIMD_FEAT_SSE42, X86_SIMD_FEAT_AES, X86_SIMD_FEAT_PCLMUL,
};

/* Mandatory prefix as the opcode map uses it: the last of F2/F3, else 66, else none. */
typedef enum X86SimdPrefix { X86_PFX_NONE, X86_PFX_66, X86_PFX_F3, X86_PFX_F2 } X86SimdPrefix;
typedef enum X86OpcodeMap { X86_MAP_0F, X86_MAP_0F38, X86_MAP_0F3A } X86OpcodeMap;

/*
 * The entry for an opcode, or NULL when it is not a vector instruction (the
 * core then knows it or raises #UD).  `modrm_reg` (0..7) selects in the shift
 * groups 0F 71-73; elsewhere it is ignored.  Looked up once, at decode time.
 */
const X86SimdInsn *x86_simd_lookup(X86OpcodeMap map, X86SimdPrefix prefix, uint8_t opcode, unsigned modrm_reg);

/* True when the host can run instructions of an X86_SIMD_FEAT_*; the others have no entries and are not advertised. */
bool x86_simd_feature_available(unsigned feature);

/*
 * x87, opcodes D8..DF.  `modrm_reg` is the /digit; register forms (mod 3) are
 * looked up by their full ModRM byte.
 */
typedef struct X86FpuCtx {
    X86Fpu *fpu;
    uint8_t opcode, modrm;    /* D8..DF and the ModRM byte */
    unsigned opsize;          /* 2, 4 or 8, for FNSTENV/FNSAVE layouts */
    bool protected_mode, long_mode;
    uint64_t fip, fdp;        /* this instruction and its operand, stored for non-control instructions */
    uint16_t fcs, fds;
    uint64_t eflags;          /* FCOMI family, FCMOVcc */
    uint16_t *ax;             /* FNSTSW AX */
    bool cr0_ne;
    bool skip_write;          /* out: an unmasked exception left the memory operand alone: do not write it */
} X86FpuCtx;

typedef X86SimdFault X86FpuFn(X86FpuCtx *ctx, void *mem);

typedef struct X86FpuInsn {
    const char *name;
    X86FpuFn *fn;
    uint8_t mem_read;      /* bytes of memory operand read before the call (0: none) */
    uint8_t mem_write;     /* bytes written after it */
    bool env;              /* mem_read/mem_write given for a 4-byte opsize; 14/94 with a 2-byte one */
    bool no_wait;          /* does not check for pending exceptions */
    bool writes_eflags;
} X86FpuInsn;

const X86FpuInsn *x86_fpu_lookup(uint8_t opcode, uint8_t modrm);

/* True when FWAIT and waiting instructions must raise #MF. */
bool x86_fpu_pending(const X86Fpu *fpu);

/* FNINIT state, and the reset state of MXCSR (0x1f80). */
void x86_fpu_init(X86Fpu *fpu);
void x86_fpu_reset(X86Fpu *fpu);

/*
 * FXSAVE/FXRSTOR image (512 bytes, SDM vol. 1, 10.5) and the legacy region of
 * XSAVE.  rex_w selects 64-bit FIP/FDP.  `xmm_count` is 8 or 16 (outside long
 * mode the upper half is not touched).  restore returns X86_SIMD_GP for
 * reserved MXCSR bits, having changed nothing.
 */
void x86_fpu_fxsave(const X86Fpu *fpu, uint8_t *image, bool rex_w, unsigned xmm_count);
X86SimdFault x86_fpu_fxrstor(X86Fpu *fpu, const uint8_t *image, bool rex_w, unsigned xmm_count);

/* Bits of MXCSR the guest may set. */
#define X86_MXCSR_MASK 0x0000ffffu

#endif
