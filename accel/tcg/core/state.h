/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inside of the software CPU: guest state, decoded operations, blocks, software TLB.
 *
 * A guest instruction is decoded once into an Op (32 bytes) inside a Block that
 * lies in one page (its last instruction may end in the next).  Blocks are keyed
 * by physical address and mode, so that they survive changes of address space.
 * Ops name registers by byte offset into X86Cpu.gpr and find RIP-relative
 * operands through a register slot, so nothing in them depends on where the
 * block is mapped; a later compiler can take the same blocks.
 */
#ifndef ACCEL_TCG_STATE_H
#define ACCEL_TCG_STATE_H

#include <setjmp.h>
#include <stdatomic.h>
#include <string.h>

#include "accel/tcg/simd.h"

#define X86_PAGE_BITS 12
#define X86_PAGE_SIZE 4096u
#define X86_PAGE_MASK (~(uint64_t)0xfff)
#define X86_PHYS_MASK UINT64_C(0x000ffffffffff000)
#define X86_PHYS_BITS 40 /* as CPUID reports */

/* RFLAGS (SDM vol. 1, 3.4.3) */
#define X86_FLAG_CF   0x00000001u
#define X86_FLAG_ONE  0x00000002u
#define X86_FLAG_PF   0x00000004u
#define X86_FLAG_AF   0x00000010u
#define X86_FLAG_ZF   0x00000040u
#define X86_FLAG_SF   0x00000080u
#define X86_FLAG_TF   0x00000100u
#define X86_FLAG_IF   0x00000200u
#define X86_FLAG_DF   0x00000400u
#define X86_FLAG_OF   0x00000800u
#define X86_FLAG_IOPL 0x00003000u
#define X86_FLAG_NT   0x00004000u
#define X86_FLAG_RF   0x00010000u
#define X86_FLAG_VM   0x00020000u
#define X86_FLAG_AC   0x00040000u
#define X86_FLAG_VIF  0x00080000u
#define X86_FLAG_VIP  0x00100000u
#define X86_FLAG_ID   0x00200000u
#define X86_FLAGS_ARITH (X86_FLAG_CF | X86_FLAG_PF | X86_FLAG_AF | X86_FLAG_ZF | X86_FLAG_SF | X86_FLAG_OF)

/* Control registers (SDM vol. 3, 2.5) */
#define X86_CR0_PE 0x00000001u
#define X86_CR0_MP 0x00000002u
#define X86_CR0_EM 0x00000004u
#define X86_CR0_TS 0x00000008u
#define X86_CR0_ET 0x00000010u
#define X86_CR0_NE 0x00000020u
#define X86_CR0_WP 0x00010000u
#define X86_CR0_AM 0x00040000u
#define X86_CR0_NW 0x20000000u
#define X86_CR0_CD 0x40000000u
#define X86_CR0_PG 0x80000000u
#define X86_CR4_VME 0x00000001u
#define X86_CR4_TSD 0x00000004u
#define X86_CR4_DE 0x00000008u
#define X86_CR4_PSE 0x00000010u
#define X86_CR4_PAE 0x00000020u
#define X86_CR4_MCE 0x00000040u
#define X86_CR4_PGE 0x00000080u
#define X86_CR4_PCE 0x00000100u
#define X86_CR4_OSFXSR 0x00000200u
#define X86_CR4_OSXMMEXCPT 0x00000400u
#define X86_CR4_UMIP 0x00000800u
#define X86_CR4_FSGSBASE 0x00010000u
#define X86_CR4_PCIDE 0x00020000u
#define X86_CR4_OSXSAVE 0x00040000u
#define X86_CR4_SMEP 0x00100000u
#define X86_CR4_SMAP 0x00200000u
#define X86_DR6_BD 0x2000u
#define X86_DR6_BS 0x4000u
#define X86_DR6_BT 0x8000u
#define X86_DR7_GD 0x2000u
#define X86_EFER_SCE 0x001u
#define X86_EFER_LME 0x100u
#define X86_EFER_LMA 0x400u
#define X86_EFER_NXE 0x800u

enum {
    X86_EXC_DE = 0, X86_EXC_DB = 1, X86_EXC_NMI = 2, X86_EXC_BP = 3, X86_EXC_OF = 4, X86_EXC_BR = 5, X86_EXC_UD = 6,
    X86_EXC_NM = 7, X86_EXC_DF = 8, X86_EXC_TS = 10, X86_EXC_NP = 11, X86_EXC_SS = 12, X86_EXC_GP = 13,
    X86_EXC_PF = 14, X86_EXC_MF = 16, X86_EXC_AC = 17, X86_EXC_MC = 18, X86_EXC_XM = 19,
    X86_EXC_STOP = 256, /* not the guest's: a debugger's point is at the present op */
};

/*
 * Lazy flags: the last flag-setting operation.  a, b and res are sign-extended
 * from the operand size, which keeps order and sign, so no size is needed.
 */
typedef enum CcOp {
    CC_RAW,   /* b holds the six flags */
    CC_ADD,   /* res = a + b */
    CC_ADC1,  /* res = a + b + 1 */
    CC_SUB,   /* res = a - b */
    CC_SBB1,  /* res = a - b - 1 */
    CC_LOGIC, /* CF = OF = AF = 0 */
    CC_INC,   /* res = a + 1, CF in c */
    CC_DEC,   /* res = a - 1, CF in c */
    CC_EXPL,  /* ZF SF PF from res; CF OF AF in b */
} CcOp;

/* Register slots after the 16 GPRs. */
enum { SLOT_ZERO = 16, SLOT_RIP = 17, SLOT_COUNT = 18 };

typedef struct Op Op;
typedef struct Block Block;

struct Op {
    const void *handler; /* label in the interpreter */
    uint64_t imm;
    int32_t disp;
    uint16_t off;        /* of this instruction from the block's start; the next op's is where it ends */
    uint16_t id : 12;    /* OP_*, for the compiler */
    uint16_t seg : 4;    /* X86_SEG_* of the memory operand */
    uint8_t r1, r2;      /* byte offsets into gpr (r1: ModRM.reg, r2: ModRM.rm as a register) */
    uint8_t base, index; /* register slots */
    uint8_t scale : 2, asize : 2, has_seg : 1, rexw : 1, lock : 1, mem : 1; /* asize: log2 bytes; mem: ModRM.rm is memory */
    uint8_t osize;       /* operand bytes */
    uint8_t aux;         /* opcode byte or condition */
    uint8_t aux2;        /* ModRM byte */
};

#define BLOCK_MAX_OPS 64

struct Block {
    Block *hash_next;
    Block *page_next;    /* of the same code page */
    uint64_t phys;       /* of the first byte */
    uint64_t phys2;      /* page of the tail when it crosses, else 0 */
    uint32_t mode;       /* MODE_DEAD when its code was overwritten */
    uint16_t bytes, count;
    uint32_t heat;       /* runs left until it is compiled; 0: it is or never will be */
    Block *chain[2];     /* not taken / taken successor in the same page */
    const void *code;    /* compiled, or NULL */
    uint8_t *jump[2];    /* the code's jumps to those successors */
    uint8_t source[16];  /* the instruction, when it crosses into the next page: compared at each entry */
    Op ops[];            /* count + 1: the last leads out of the block */
};

/* Bits of Block.mode and X86Cpu.mode: everything a decoded op depends on. */
enum { MODE_LONG64 = 1, MODE_CS32 = 2, MODE_SS32 = 4, MODE_PROT = 8, MODE_FLAT = 16, MODE_VM86 = 32, MODE_TF = 64, MODE_NO_SIMD = 128,
       MODE_USER = 256, MODE_DEAD = 512, MODE_CHECK_ES = 1024 /* and the five segments after it: accesses are checked */,
       MODE_AC = 1 << 16 /* the TLB is TLB_SUPERVISOR_AC */ };

/*
 * The TLBs: supervisor, user, and supervisor while RFLAGS.AC lets it reach user
 * pages (SMAP).  The last is never filled: with it in use every access comes by
 * x86_access_check(), for alignment checks and data breakpoints.
 */
enum { TLB_SUPERVISOR, TLB_USER, TLB_SUPERVISOR_AC, TLB_EMPTY, TLB_COUNT };

#define TLB_BITS 10
#define TLB_SIZE (1u << TLB_BITS)
/* After the direct-mapped entries: what was last driven out of them. */
#define TLB_VICTIMS 8u
#define TLB_ALL (TLB_SIZE + TLB_VICTIMS)

/* Tags are linear page addresses, or TLB_NONE.  A page that is not plain memory has all its tags TLB_NONE. */
#define TLB_NONE UINT64_C(1)

typedef struct TlbEntry {
    uint64_t rd, wr;
    uintptr_t addend;    /* host = linear + addend */
    uint64_t global;     /* survives a change of CR3 */
} TlbEntry;

/* The places of a TLB that were filled with pages that are not global since these were last flushed. */
#define TLB_LOCALS 512

typedef struct TlbLocals {
    unsigned count;      /* above TLB_LOCALS: more than are listed */
    uint16_t at[TLB_LOCALS];
} TlbLocals;

/* Where a physical page is on the host. */
typedef struct BusEntry {
    uint64_t tag;
    X86BusPage page;
} BusEntry;

#define BUS_PAGES 1024

/* Instruction TLB: linear page to physical page and host memory. */
typedef struct FetchEntry {
    uint64_t tag;
    uint64_t phys;
    const uint8_t *host;
    uint64_t global;
} FetchEntry;

#define FETCH_SIZE 1024u
#define JUMP_BITS 12
#define JUMP_SIZE (1u << JUMP_BITS)
#define JUMP_PAGE_WORDS 16

typedef struct JumpEntry {
    uint64_t key;    /* x86_jump_key() */
    Block *block;
    uint64_t gen;
} JumpEntry;

typedef struct CodePage {
    struct CodePage *next;
    uint64_t phys;
    Block *blocks;       /* NULL: the page was written; it may be in the write TLB until there are blocks again */
    TlbEntry *writer;    /* which put it there, if only one place did */
    bool many_writers;
    uint8_t *copy;       /* the page's bytes when its blocks were decoded */
} CodePage;

#define BLOCK_HASH_BITS 17
#define BLOCK_HASH_SIZE (1u << BLOCK_HASH_BITS)
#define PAGE_HASH_SIZE 16384

/* Bits of X86Cpu.pending.  PENDING_HARD follows INTR, but goes while RFLAGS.IF is clear: x86_intr_unmask() looks again. */
enum {
    PENDING_KICK = 1, PENDING_HARD = 2, PENDING_NMI = 4, PENDING_SMI = 8, PENDING_INIT = 16, PENDING_SIPI = 32,
    PENDING_RESET = 64, PENDING_FLUSH = 128, PENDING_CODE = 256, PENDING_DEBUG = 512,
};

/* Words of X86Cpu.features: registers of CPUID leaves. */
enum { X86_F_1_EDX, X86_F_1_ECX, X86_F_7_EBX, X86_F_8_EDX, X86_F_8_ECX, X86_F_7_ECX, X86_F_D1_EAX, X86_F_WORDS };

/* What holds interrupts back for one instruction. */
enum { SHADOW_NONE, SHADOW_STI, SHADOW_MOV_SS };

#define INVALIDATE_QUEUE 64

struct X86Cpu {
    uint64_t gpr[SLOT_COUNT];
    /* flags */
    uint32_t cc_op;
    int64_t cc_a, cc_b, cc_res;
    uint32_t cc_c;
    uint32_t rflags;          /* all but the arithmetic flags; DF, IF, IOPL ... */
    uint64_t rip;             /* valid outside blocks */
    X86SegState seg[X86_SEG_COUNT];
    uint32_t mode;
    uint8_t cpl;
    TlbEntry *tlb;            /* of the present privilege: tlbs[x86_tlb_index()], or tlbs[TLB_EMPTY] */
    TlbEntry tlbs[TLB_COUNT][TLB_ALL];
    unsigned next_victim;
    FetchEntry fetch[2][FETCH_SIZE];
    JumpEntry jump[2][JUMP_SIZE];
    uint64_t gen[2];          /* of the jump cache: older entries are void */
    bool jump_local[2];       /* has it entries of pages that are not global? */
    uint64_t jump_pages[JUMP_PAGE_WORDS]; /* bits of a hash of the pages it leads to */
    TlbLocals tlb_locals, fetch_locals;
    BusEntry bus_pages[BUS_PAGES];
    uint64_t large_first, large_last; /* linear addresses between which the TLB may hold parts of large pages */
    uint64_t pdpte[4];        /* PAE paging: as loaded with CR3 */
    bool log_writes; /* x86_cpu_log_writes() */
    uint64_t a20_mask;
    bool a20_on;              /* the gate; system management mode goes past it */
    const Op *op;             /* the op being executed, for precise faults */
    Block *block;
    atomic_uint pending;
    atomic_bool intr;         /* level of the INTR pin */
    jmp_buf fault;
    /* system */
    X86TableState gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, efer, dr[8];
    uint64_t star, lstar, cstar, fmask, kernel_gs_base, tsc_aux, pat, sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t misc_enable, xcr0, tsc_offset, mtrr_def_type, mtrr_fixed[11], mtrr_var[16];
    bool exclusive;           /* between the bus's exclusive() calls */
    bool halted, wait_sipi, nmi_blocked, boot_cpu, smm;
    uint32_t smbase;
    uint8_t irq_shadow;       /* SHADOW_*, while insns is shadow_insns */
    uint64_t shadow_insns;
    uint8_t debug_hits;       /* DR6 bits of data and I/O breakpoints the instruction has met */
    bool debug_trap;          /* a task switch asks for #DB */
    bool smm_nmi_blocked;     /* as it was when SMM was entered */
    bool step_ends;           /* the instruction entered a handler: no single-step trap after it */
    bool in_delivery;         /* an event is being delivered: nested faults combine */
    int delivering;           /* its vector */
    int delivering_error;
    int fault_vector;         /* of the first fault while another is delivered */
    char model_name[64];
    atomic_uchar sipi_vector;
    uint64_t insns;
    uint64_t insn_limit, insn_soft; /* from the second on instructions are taken one by one, up to the first */
    bool count_step;          /* they are, for no other reason */
    uint64_t random;          /* state of RDRAND */
    X86Fpu fpu;
    /* of a debugger */
    X86DebugPoint *points;    /* x86_cpu_set_debug() */
    size_t point_count;
    bool watches;             /* some are on accesses: their pages are not in the TLB, nothing is compiled */
    bool debug_step;
    X86DebugPoint stop;
    /* blocks */
    Block *hash[BLOCK_HASH_SIZE];
    CodePage *pages[PAGE_HASH_SIZE];
    Block *graveyard;         /* dead blocks, freed between runs */
    Block *scratch;           /* being decoded */
    size_t block_bytes;
    /* from other threads */
    atomic_flag queue_lock;
    struct { uint64_t gpa, len; } queue[INVALIDATE_QUEUE];
    unsigned queued;
    bool queue_overflow;
    /* outside */
    const X86CpuBus *bus;
    void *opaque;
    X86CpuConfig config;
    uint64_t features[X86_F_WORDS]; /* cpuid.c */
    const struct X86CpuModel *model;
    struct Jit *jit;          /* NULL: the interpreter alone */
    bool fp_live;             /* compiled code has the guest's MXCSR in the host's */
    uint32_t host_mxcsr;
};

/* --- faults: do not return --- */
__attribute__((noreturn)) void x86_raise(X86Cpu *cpu, int vector, int error); /* error -1: none; at the current op */
__attribute__((noreturn)) void x86_raise_pf(X86Cpu *cpu, uint64_t linear, int error);
__attribute__((noreturn)) void x86_raise_gp(X86Cpu *cpu, int error);
__attribute__((noreturn)) void x86_raise_ud(X86Cpu *cpu);

/* --- flags --- */
uint32_t x86_flags_arith(const X86Cpu *cpu);
static inline uint64_t x86_get_rflags(const X86Cpu *cpu)
{
    return cpu->rflags | x86_flags_arith(cpu) | X86_FLAG_ONE;
}
void x86_set_rflags(X86Cpu *cpu, uint64_t val, uint64_t mask);
/* RFLAGS.IF was set; it is clear and PENDING_HARD would only make blocks look again and again. */
void x86_intr_unmask(X86Cpu *cpu);
void x86_intr_mask(X86Cpu *cpu);

/*
 * Guest RAM as an instruction accesses it: once, whatever other CPUs do there.  memcpy() of a size that is no constant
 * may store the same bytes twice, and undo what another CPU wrote in between.
 */
typedef uint16_t RamU16 __attribute__((aligned(1), may_alias));
typedef uint32_t RamU32 __attribute__((aligned(1), may_alias));
typedef uint64_t RamU64 __attribute__((aligned(1), may_alias));

static inline uint64_t x86_ram_load(const void *host, unsigned size)
{
    switch (size) {
    case 1:
        return *(const volatile uint8_t *)host;
    case 2:
        return *(const volatile RamU16 *)host;
    case 4:
        return *(const volatile RamU32 *)host;
    default:
        return *(const volatile RamU64 *)host;
    }
}

static inline void x86_ram_store(void *host, uint64_t val, unsigned size)
{
    switch (size) {
    case 1:
        *(volatile uint8_t *)host = (uint8_t)val;
        break;
    case 2:
        *(volatile RamU16 *)host = (uint16_t)val;
        break;
    case 4:
        *(volatile RamU32 *)host = (uint32_t)val;
        break;
    default:
        *(volatile RamU64 *)host = val;
        break;
    }
}

/* --- mmu.c: linear accesses at the present (or given) privilege --- */
enum { ACCESS_READ = 0, ACCESS_WRITE = 1, ACCESS_EXEC = 2, ACCESS_RMW = 3 };
uint64_t x86_load_slow(X86Cpu *cpu, uint64_t linear, unsigned size);
void x86_store_slow(X86Cpu *cpu, uint64_t linear, uint64_t val, unsigned size);
void x86_load_bytes(X86Cpu *cpu, uint64_t linear, void *buf, unsigned size);
void x86_store_bytes(X86Cpu *cpu, uint64_t linear, const void *buf, unsigned size);
/* Checks that [linear, linear+size) can be written, faulting otherwise. */
void x86_probe_write(X86Cpu *cpu, uint64_t linear, unsigned size);
/* Is all of it RAM that can be written?  Faults. */
bool x86_is_ram(X86Cpu *cpu, uint64_t linear, unsigned size);
/* Host address for an access that lies in one page of plain memory, or NULL (device, ROM write, crossing).  Faults. */
void *x86_host_ptr(X86Cpu *cpu, uint64_t linear, unsigned size, int access);
/* As the processor itself, at CPL 0: descriptor tables, TSS, stacks of gates. */
uint64_t x86_load_sys(X86Cpu *cpu, uint64_t linear, unsigned size);
void x86_store_sys(X86Cpu *cpu, uint64_t linear, uint64_t val, unsigned size);
FetchEntry *x86_fetch_page(X86Cpu *cpu, uint64_t linear);
void x86_bus_flush(X86Cpu *cpu);      /* the bus map changed; the TLB goes too */
void x86_bus_settle(X86Cpu *cpu);     /* after a write to a device: if it changed the bus map, the next access sees that */
void x86_tlb_flush(X86Cpu *cpu);
void x86_tlb_flush_local(X86Cpu *cpu); /* all but global pages: CR3 was written */
void x86_tlb_flush_page(X86Cpu *cpu, uint64_t linear);
void x86_jumps_flush(X86Cpu *cpu);
/*
 * After an instruction that serialises (SDM vol. 3, 9.3) code is compared with
 * memory before it runs again: another processor or process may have written it.
 */
void x86_serialize(X86Cpu *cpu);
void x86_jump_page_add(X86Cpu *cpu, const FetchEntry *f); /* the jump cache gets an entry of that page */
/* Loads the four page-directory-pointer entries of PAE paging; false when one has reserved bits set. */
bool x86_load_pdptes(X86Cpu *cpu, uint64_t cr3);
uint64_t x86_phys_read(X86Cpu *cpu, uint64_t gpa, unsigned size);
void x86_phys_write(X86Cpu *cpu, uint64_t gpa, uint64_t val, unsigned size);

/* --- block.c --- */
Block *x86_block_find(X86Cpu *cpu, uint64_t rip);
CodePage *x86_code_page(X86Cpu *cpu, uint64_t phys); /* which has or had blocks, or NULL */
/* May the page be in the write TLB, in that place? */
bool x86_code_allows_write(X86Cpu *cpu, uint64_t phys, TlbEntry *place);
void x86_code_invalidate_page(X86Cpu *cpu, uint64_t phys);
void x86_code_page_check(X86Cpu *cpu, uint64_t phys, const uint8_t *host);
void x86_blocks_flush(X86Cpu *cpu);
void x86_blocks_reap(X86Cpu *cpu);

/* --- decode.c --- */
/* Decodes the block at rip into cpu->scratch: ops, count, bytes.  May fault on fetch of its first instruction. */
Block *x86_decode_block(X86Cpu *cpu, uint64_t rip);
const void *x86_handler(unsigned id); /* interp.c */

/* --- seg.c, far.c, interrupt.c, system.c --- */
/* Raises #SS or #GP when [offset, offset + size) may not be accessed through a segment; nothing in 64-bit mode. */
void x86_seg_check(X86Cpu *cpu, int seg, uint64_t offset, unsigned size, bool write);
/* In segcheck.c: makes the op that checks the memory operand of `op` before it runs; false when none is needed. */
bool x86_segcheck_op(const X86Cpu *cpu, const Op *op, Op *check);
/* In debug.c: the exception for a linear address that is not canonical, #SS(0) or #GP(0). */
__attribute__((noreturn)) void x86_raise_noncanonical(X86Cpu *cpu, uint64_t linear);
/* A near call in 64-bit mode to an address that is not canonical: the exception. */
__attribute__((noreturn)) void x86_raise_bad_call(X86Cpu *cpu);
/* After the translation of an access (before a store): alignment, data breakpoints. */
void x86_access_check(X86Cpu *cpu, uint64_t linear, unsigned size, bool write);
void x86_debug_io(X86Cpu *cpu, uint16_t port, unsigned size);
/* Raises #DB when an instruction breakpoint is at RIP. */
void x86_debug_fetch(X86Cpu *cpu);
/* A debugger's watchpoints: the run ends when the present instruction is over. */
void x86_watch_check(X86Cpu *cpu, uint64_t linear, unsigned size, bool write);
bool x86_watch_page(const X86Cpu *cpu, uint64_t linear);
/* Makes the op that stops at a debugger's breakpoint in front of the instruction there; false when none can be. */
bool x86_breakpoint_op(const X86Cpu *cpu, uint64_t linear, const Op *op, Op *stop);
/* Around a locked access to RAM that no instruction of the host does at once; a device's register is no RAM. */
void x86_exclusive_begin(X86Cpu *cpu, uint64_t linear, unsigned size);
void x86_exclusive_end(X86Cpu *cpu);
/* smm.c */
void x86_update_a20(X86Cpu *cpu);
void x86_smm_set(X86Cpu *cpu, bool on); /* tells the bus and forgets what was seen of it; nothing else */
void x86_smm_enter(X86Cpu *cpu);
void x86_smm_leave(X86Cpu *cpu);
void x86_update_mode(X86Cpu *cpu);
void x86_load_seg(X86Cpu *cpu, int seg, uint16_t selector);
void x86_set_real_seg(X86Cpu *cpu, int seg, uint16_t selector);
void x86_far_jump(X86Cpu *cpu, uint16_t selector, uint64_t offset, unsigned osize, bool call, uint64_t next_rip);
void x86_far_return(X86Cpu *cpu, unsigned osize, unsigned pop);
void x86_iret(X86Cpu *cpu, unsigned osize);
void x86_interrupt(X86Cpu *cpu, int vector, bool software, int error, uint64_t return_rip);
void x86_syscall(X86Cpu *cpu, uint64_t next_rip);
void x86_sysret(X86Cpu *cpu, bool rexw);
void x86_sysenter(X86Cpu *cpu);
void x86_sysexit(X86Cpu *cpu, bool rexw);
void x86_load_tr(X86Cpu *cpu, uint16_t selector);
void x86_load_ldt(X86Cpu *cpu, uint16_t selector);
bool x86_descriptor(X86Cpu *cpu, uint16_t selector, uint64_t *desc);
bool x86_lar_lsl(X86Cpu *cpu, uint16_t selector, bool lsl, uint64_t *val);
bool x86_verify(X86Cpu *cpu, uint16_t selector, bool write);
bool x86_io_allowed(X86Cpu *cpu, uint16_t port, unsigned size);
uint64_t x86_rdmsr(X86Cpu *cpu, uint32_t msr);
void x86_wrmsr(X86Cpu *cpu, uint32_t msr, uint64_t val);
void x86_cpuid(X86Cpu *cpu);
uint64_t x86_read_cr(X86Cpu *cpu, unsigned n);
void x86_write_cr(X86Cpu *cpu, unsigned n, uint64_t val);
/* xsave.c; linear: of the area */
void x86_xgetbv(X86Cpu *cpu);
void x86_xsetbv(X86Cpu *cpu);
void x86_xsave(X86Cpu *cpu, const Op *op, uint64_t linear);
void x86_xrstor(X86Cpu *cpu, const Op *op, uint64_t linear);
uint64_t x86_xsave_supported(const X86Cpu *cpu);     /* bits XCR0 may have */
unsigned x86_xsave_bytes(uint64_t components);       /* of an area with them */
/* ops-bmi.c: number for Op.imm, or -1; prefix 0, 0x66, 0xf2 or 0xf3; *imm8: an immediate byte follows. */
int x86_bmi_find(const X86Cpu *cpu, unsigned map, unsigned opcode, unsigned prefix, unsigned digit, bool *imm8);
/* Whether the model has instructions of an X86_SIMD_FEAT_*. */
bool x86_has_simd(const X86Cpu *cpu, unsigned feature);
uint64_t x86_tsc(X86Cpu *cpu);
bool x86_model_init(X86Cpu *cpu, const char *text, char **error);
uint32_t x86_model_signature(const X86Cpu *cpu);
bool x86_has_feature(const X86Cpu *cpu, unsigned word, unsigned bit);

/* --- interp.c --- */
/* Runs blocks from cpu->rip until something is pending; with `one` a single block. */
void x86_interpret_blocks(X86Cpu *cpu, bool one);

/* Does DR7 enable a breakpoint? */
static inline bool x86_debug_enabled(const X86Cpu *cpu)
{
    return cpu->dr[7] & 0xff;
}

/* The TLB an access of that privilege fills. */
static inline unsigned x86_tlb_index(const X86Cpu *cpu, bool user)
{
    return user ? TLB_USER
           : (cpu->cr4 & X86_CR4_SMAP) && (cpu->rflags & X86_FLAG_AC) && cpu->cpl != 3 ? TLB_SUPERVISOR_AC
                                                                                      : TLB_SUPERVISOR;
}

/* Holds interrupts back for the next instruction; insns counts the present one already. */
static inline void x86_set_shadow(X86Cpu *cpu, uint8_t kind)
{
    cpu->irq_shadow = kind;
    cpu->shadow_insns = cpu->insns;
}

static inline void x86_update_tlb(X86Cpu *cpu)
{
    bool align = cpu->cpl == 3 && (cpu->cr0 & X86_CR0_AM) && (cpu->rflags & X86_FLAG_AC);

    cpu->tlb = cpu->tlbs[align || x86_debug_enabled(cpu) ? TLB_EMPTY : x86_tlb_index(cpu, cpu->cpl == 3)];
}

static inline bool x86_has_other_cpus(const X86Cpu *cpu)
{
    return cpu->config.cpus > 1;
}

static inline uint64_t x86_code_linear(const X86Cpu *cpu, uint64_t rip)
{
    return cpu->mode & MODE_LONG64 ? rip : (uint32_t)(cpu->seg[X86_SEG_CS].base + rip);
}

/* What the jump cache calls an address: the linear one, not cut to 32 bits. */
static inline uint64_t x86_jump_key(const X86Cpu *cpu, uint64_t rip)
{
    return cpu->mode & MODE_LONG64 ? rip : cpu->seg[X86_SEG_CS].base + rip;
}

static inline bool x86_same_page(const X86Cpu *cpu, uint64_t a, uint64_t b)
{
    return !((x86_jump_key(cpu, a) ^ x86_jump_key(cpu, b)) & X86_PAGE_MASK);
}

static inline JumpEntry *x86_jump_slot(X86Cpu *cpu, uint64_t key)
{
    return &cpu->jump[cpu->cpl == 3][(key ^ key >> JUMP_BITS) & (JUMP_SIZE - 1)];
}

static inline uint64_t x86_current_rip(const X86Cpu *cpu)
{
    return cpu->gpr[SLOT_RIP] + cpu->op->off;
}

#endif
