/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The software x86-64 CPU, seen from outside.
 *
 * This is the one border between accel/tcg and the rest of the world: bus,
 * interrupts and time come in through X86CpuBus, so the CPU is tested and
 * fuzzed without a machine.  Intel SDM volumes 1-3 are the specification.
 *
 * Threads: one host thread runs one X86Cpu.  Functions marked "any thread" may
 * be called from elsewhere while it runs; all others belong to the thread that
 * runs the CPU, or to anybody while it is stopped.
 */
#ifndef ACCEL_TCG_CPU_H
#define ACCEL_TCG_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct X86Cpu X86Cpu;

/* Inputs of the processor package; levels unless said otherwise. */
typedef enum X86CpuIrq {
    X86_IRQ_HARD,  /* INTR: level, acknowledged through intr_ack */
    X86_IRQ_NMI,   /* edge */
    X86_IRQ_SMI,   /* edge */
    X86_IRQ_INIT,  /* edge */
    X86_IRQ_SIPI,  /* edge; vector given with x86_cpu_sipi() */
    X86_IRQ_RESET, /* edge: power-on reset at the next instruction boundary */
} X86CpuIrq;

/* Where a 4 KiB guest-physical page lives; filled by X86CpuBus.map_page. */
typedef struct X86BusPage {
    uint8_t *host;  /* host address of the page, or NULL: go through mem_read/mem_write */
    bool writable;  /* false: reads and fetches go to host, writes to mem_write (ROM) */
} X86BusPage;

/* An interrupt or exception that has been delivered. */
typedef struct X86Delivery {
    int vector, error;      /* error -1: there is no code */
    bool software;          /* INT n, INT3 or INTO */
    unsigned cpl;           /* before */
    uint16_t cs, to_cs;     /* of the saved and of the handler's address */
    uint64_t rip, to_rip;
    uint64_t cr2;
} X86Delivery;

/*
 * What the CPU needs of its machine.  `opaque` is the value given to
 * x86_cpu_new().  Every function is called on the CPU's thread, at an exact
 * instruction boundary as far as guest-visible state goes (RIP is that of the
 * current instruction).
 */
typedef struct X86CpuBus {
    /*
     * Resolves the page at `gpa` (4 KiB aligned, A20 already applied).  The
     * answer stays valid until x86_cpu_flush_bus() is called for this CPU.
     */
    void (*map_page)(void *opaque, uint64_t gpa, X86BusPage *page);
    /* Device memory.  size 1, 2, 4 or 8; never crosses a page. */
    uint64_t (*mem_read)(void *opaque, uint64_t gpa, unsigned size);
    void (*mem_write)(void *opaque, uint64_t gpa, uint64_t val, unsigned size);
    /* Ports.  size 1, 2 or 4. */
    uint32_t (*io_read)(void *opaque, uint16_t port, unsigned size);
    void (*io_write)(void *opaque, uint16_t port, uint32_t val, unsigned size);
    /* Acknowledges INTR: the vector 0..255, or -1 when the request went away. */
    int (*intr_ack)(void *opaque);
    /* Local APIC: CR8 (task priority class, 0..15), IA32_APIC_BASE, x2APIC MSRs. */
    uint64_t (*get_cr8)(void *opaque);
    void (*set_cr8)(void *opaque, uint64_t val);
    uint64_t (*get_apic_base)(void *opaque);
    bool (*set_apic_base)(void *opaque, uint64_t val);             /* false: #GP */
    bool (*x2apic_read)(void *opaque, uint32_t msr, uint64_t *val); /* false: #GP */
    bool (*x2apic_write)(void *opaque, uint32_t msr, uint64_t val);
    uint64_t (*get_tsc_deadline)(void *opaque);                     /* 0: disarmed */
    void (*set_tsc_deadline)(void *opaque, uint64_t tsc);
    /* Time stamp counter, a free-running count at tsc_hz. */
    uint64_t (*read_tsc)(void *opaque);
    /* Triple fault: the machine decides (reset, stop). */
    void (*triple_fault)(void *opaque);
    /* System management mode begins or ends: from now on map_page and mem_* answer with SMRAM or without.  May be NULL. */
    void (*set_smm)(void *opaque, bool on);
    /* Between the two calls no other CPU of the machine executes: for LOCK on what lies in two pages.  May be NULL. */
    void (*exclusive)(void *opaque, bool begin);
    /*
     * While writes are logged (x86_cpu_log_writes): this CPU writes to a RAM page from now on, for the first time since
     * the bus was last flushed.  May be NULL.
     */
    void (*page_written)(void *opaque, uint64_t gpa);
    /* With X86CpuConfig.tells_deliveries: the CPU is about to execute a handler's first instruction. */
    void (*delivered)(void *opaque, const X86Delivery *delivery);
} X86CpuBus;

/* Static configuration of one CPU. */
typedef struct X86CpuConfig {
    const char *model;  /* "qemu64", "max", with ",+feature,-feature" */
    uint32_t apic_id;
    uint64_t tsc_hz;
    uint32_t cpus;      /* of the machine; 0: one */
    uint32_t dies, cores, threads; /* of a socket, a die, a core, for CPUID; 0: one */
    bool counts;        /* x86_cpu_set_limit() will be used */
    bool tells_deliveries; /* bus->delivered wants to know */
    uint32_t jit_heat;  /* runs after which a block is compiled to host code; 0: never */
} X86CpuConfig;

/* Why x86_cpu_run() came back. */
typedef enum X86CpuExit {
    X86_EXIT_KICKED,   /* x86_cpu_kick() was called */
    X86_EXIT_HALTED,   /* HLT (or wait-for-SIPI) with nothing pending: sleep until kicked */
    X86_EXIT_TRIPLE,   /* triple fault; bus->triple_fault has been called */
    X86_EXIT_DEBUG,    /* a debugger's point was met, or its step is done: x86_cpu_debug_stop() */
} X86CpuExit;

/*
 * Creates a CPU in its power-on state (SDM vol. 3, 9.1.1).  The bus table must
 * outlive it.  Returns NULL and sets *error (malloc'ed, caller frees) when
 * config->model names an unknown model or feature.
 */
X86Cpu *x86_cpu_new(const X86CpuConfig *config, const X86CpuBus *bus, void *opaque, char **error);
void x86_cpu_free(X86Cpu *cpu);

/* Power-on reset (init=false) or INIT (init=true).  An AP waits for SIPI after either. */
void x86_cpu_reset(X86Cpu *cpu, bool init);

/* Runs until kicked, halted or a triple fault.  Never blocks. */
X86CpuExit x86_cpu_run(X86Cpu *cpu);

/* Makes x86_cpu_run() return soon (within one basic block).  Any thread. */
void x86_cpu_kick(X86Cpu *cpu);

/* Drives an input.  level is ignored for edges.  Kicks a halted CPU's owner not: the caller wakes the thread.  Any thread. */
void x86_cpu_set_irq(X86Cpu *cpu, X86CpuIrq irq, bool level);
void x86_cpu_sipi(X86Cpu *cpu, uint8_t vector);

/* True when a halted CPU has something to do (an unmasked interrupt, NMI, INIT...).  Any thread. */
bool x86_cpu_has_work(X86Cpu *cpu);

/* Address line 20 gate.  Owner thread or stopped. */
void x86_cpu_set_a20(X86Cpu *cpu, bool enabled);

/* The bus map changed: forget every X86BusPage, the TLB with it, before the next instruction.  Any thread. */
void x86_cpu_flush_bus(X86Cpu *cpu);

/* Begins or ends telling bus->page_written of the RAM pages the CPU writes to.  CPU stopped. */
void x86_cpu_log_writes(X86Cpu *cpu, bool on);

/*
 * A device wrote [gpa, gpa+len) behind the CPU's back; decoded code there is
 * dropped before the next block runs.  Writers that cannot be seen (another
 * process that shares guest RAM) need not call: code of a page is compared
 * with its decoded source whenever the page is entered anew into the
 * instruction TLB.  Any thread.
 */
void x86_cpu_invalidate_code(X86Cpu *cpu, uint64_t gpa, uint64_t len);

/* Guest instructions retired so far.  Any thread (may lag by one block). */
uint64_t x86_cpu_insn_count(const X86Cpu *cpu);

/* The same exactly, without the present instruction: for callbacks of the bus, or while the CPU is not running. */
uint64_t x86_cpu_insn_now(const X86Cpu *cpu);
/* x86_cpu_run() returns X86_EXIT_KICKED when that many instructions have retired in all.  Owner thread. */
void x86_cpu_set_limit(X86Cpu *cpu, uint64_t insns);

/*
 * Translates a linear address with the CPU's current paging, without side
 * effects on accessed bits or CR2.  For debuggers and the monitor; CPU stopped.
 */
bool x86_cpu_debug_translate(X86Cpu *cpu, uint64_t linear, uint64_t *gpa);

/* Prints registers in the style of the monitor's `info registers` into a malloc'ed string. */
char *x86_cpu_dump(X86Cpu *cpu);

/*
 * Points of a debugger outside the guest, on linear addresses.  EXEC: the instruction at addr is about to begin; the
 * others: an access overlapped [addr, addr + len), and the instruction is over.
 */
typedef enum X86DebugKind { X86_DEBUG_STEP, X86_DEBUG_EXEC, X86_DEBUG_WRITE, X86_DEBUG_READ, X86_DEBUG_ACCESS } X86DebugKind;
typedef struct X86DebugPoint {
    X86DebugKind kind;
    uint64_t addr, len;
} X86DebugPoint;

/*
 * Replaces all points, which are copied; step: the next run ends after one instruction, before which no interrupt is
 * taken unless the CPU is halted.  Costs nothing while there are none.  CPU stopped.
 */
void x86_cpu_set_debug(X86Cpu *cpu, const X86DebugPoint *points, size_t count, bool step);
/* What ended the last run with X86_EXIT_DEBUG; addr of an access: where it began.  CPU stopped. */
X86DebugPoint x86_cpu_debug_stop(const X86Cpu *cpu);

/* What the CPU keeps of the guest's code.  CPU stopped. */
typedef struct X86BlockStats {
    size_t blocks, compiled, bytes;  /* decoded; compiled to host code; of memory for the decoded ones */
    size_t code_used, code_size;     /* bytes of host code, and what there is room for; 0: interpreter only */
} X86BlockStats;
X86BlockStats x86_cpu_block_stats(const X86Cpu *cpu);

/* A one-line list for `-cpu help`: index 0.., NULL at the end. */
const char *x86_cpu_model_name(size_t index);
/* Names of the features the CPU implements, in the same way. */
const char *x86_cpu_feature_name(size_t index);

/* Architectural state, for loaders, save/restore, KVM interchange and tests. */
typedef struct X86SegState {
    uint64_t base;
    uint32_t limit;     /* in bytes, already scaled */
    uint16_t selector;
    uint16_t attr;      /* bits 0-7: access byte, 12-15: G, D/B, L, AVL (descriptor bits 40-47, 52-55) */
} X86SegState;

typedef struct X86TableState {
    uint64_t base;
    uint32_t limit;
} X86TableState;

enum { X86_SEG_ES, X86_SEG_CS, X86_SEG_SS, X86_SEG_DS, X86_SEG_FS, X86_SEG_GS, X86_SEG_LDTR, X86_SEG_TR, X86_SEG_COUNT };
enum { X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI };

#define X86_SMBASE_RESET 0x30000u
#define X86_XSAVE_MORE   3264u
#define X86_MSR_MAX      192u

/* Events on their way to the guest when the CPU was stopped. */
typedef struct X86EventState {
    uint8_t exception_injected, exception_vector, exception_has_error;
    uint8_t interrupt_injected, interrupt_vector, interrupt_soft;
    uint8_t nmi_injected, smi_pending, smm_inside_nmi, init_latched;
    uint32_t exception_error;
    uint32_t sipi_vector;
} X86EventState;

typedef struct X86CpuState {
    uint64_t gpr[16], rip, rflags;
    X86SegState seg[X86_SEG_COUNT];
    X86TableState gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, efer, dr[8];
    uint64_t star, lstar, cstar, fmask, kernel_gs_base, tsc_aux, pat;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip, misc_enable, xcr0;
    uint64_t tsc_offset;
    uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_var[16];
    uint8_t xsave[832];  /* standard-format XSAVE area: x87, SSE, header, AVX (SDM vol. 1, 13.4) */
    uint8_t halted, wait_sipi, nmi_blocked, nmi_pending;
    uint8_t irq_shadow;  /* 0: none, 1: after STI, 2: after MOV SS */
    uint8_t smm, a20;
    uint32_t smbase;     /* X86_SMBASE_RESET after reset */
    /* What a processor of the host has besides: kept by KVM, zero and ignored by the software CPU. */
    uint8_t xsave_more[X86_XSAVE_MORE]; /* the XSAVE area goes on */
    uint64_t pdptrs[4];
    uint8_t pdptrs_valid;
    X86EventState events;
    uint32_t msr_count; /* of other MSRs */
    uint32_t msr_index[X86_MSR_MAX];
    uint64_t msr_value[X86_MSR_MAX];
} X86CpuState;

/* Whole architectural state, CPU stopped.  set returns false when a field cannot be (reserved bits in CR/EFER). */
void x86_cpu_get_state(X86Cpu *cpu, X86CpuState *state);
bool x86_cpu_set_state(X86Cpu *cpu, const X86CpuState *state);

#endif
