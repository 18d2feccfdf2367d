/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine of a few MiB of RAM around one software CPU, driven through
 * accel/tcg-cpu.h only: descriptor tables, page tables and exception stubs are
 * made here, tests bring code bytes and look at the frame an exception has
 * pushed (Intel SDM vol. 3: chapters 3, 4, 6 and 8).
 */
#ifndef TESTS_TCG_RIG_H
#define TESTS_TCG_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accel/tcg-cpu.h"

/* Physical layout; linear addresses are the same unless a test maps otherwise. */
enum {
    RIG_RAM_BYTES = 4 << 20,
    RIG_IVT = 0x0000,
    RIG_GDT = 0x1000,
    RIG_IDT = 0x2000,
    RIG_TSS = 0x3000,   /* in use */
    RIG_TSS2 = 0x3800,  /* the other task's */
    RIG_STUBS = 0x4000, /* HLT for each vector */
    RIG_STUB_BYTES = 16,
    RIG_STACK0 = 0x6000, /* tops of the stacks of rings 0, 1, 2 and 3, and of IST 1 */
    RIG_STACK1 = 0x7000,
    RIG_STACK2 = 0x8000,
    RIG_STACK3 = 0x32000,
    RIG_STACK_IST = 0x9000,
    RIG_TABLES = 0x10000, /* page tables are taken from here */
    RIG_TABLES_END = 0x20000,
    RIG_CODE = 0x20000,
    RIG_DATA = 0x40000,   /* sixteen pages */
    RIG_MAPPED = 0x200000, /* what rig_reset() maps: the rest of RAM is for pages tests map */
    RIG_DEVICE = 0xfe000000u,
    RIG_PORT_DEBUG = 0xe9,
    RIG_VECTOR_DONE = 0x80,
    RIG_VECTOR_NONE = 0x100,
};

/* Selectors of the descriptor table rig_reset() makes. */
enum {
    RIG_CS64 = 0x08,
    RIG_DS0 = 0x10,
    RIG_CS32 = 0x18,
    RIG_CS16 = 0x20,
    RIG_DS16 = 0x28,
    RIG_DS3 = 0x30 | 3,
    RIG_CS64_3 = 0x38 | 3,
    RIG_CS32_3 = 0x40 | 3,
    RIG_TR = 0x48, /* 16 bytes in long mode */
    RIG_TR2 = 0x58,
    RIG_CS32_1 = 0x60 | 1,
    RIG_DS1 = 0x68 | 1,
    RIG_FREE = 0x70, /* up to RIG_GDT_LIMIT: for the test */
    RIG_GDT_LIMIT = 0xff,
};

/* Page table bits. */
enum { RIG_P = 1, RIG_W = 2, RIG_U = 4, RIG_A = 0x20, RIG_D = 0x40, RIG_PS = 0x80, RIG_G = 0x100 };
#define RIG_NX (UINT64_C(1) << 63)

typedef enum RigMode {
    RIG_REAL,
    RIG_PROT32,  /* no paging */
    RIG_PAGED32, /* two-level paging, PSE */
    RIG_PAE,
    RIG_COMPAT,  /* 32-bit code in long mode */
    RIG_LONG,
} RigMode;

/* What a run came to. */
typedef struct RigResult {
    X86CpuExit why;
    unsigned vector;    /* whose stub was reached, or RIG_VECTOR_NONE */
    uint64_t error, rip, cs, rflags, rsp, ss; /* of its frame; rsp and ss only when pushed; error 0 when none */
    uint64_t frame;     /* linear address of RIP in it */
    X86CpuState s;      /* afterwards */
} RigResult;

typedef struct Rig {
    X86Cpu *cpu;
    uint8_t *ram;
    RigMode mode;
    X86CpuState s;      /* what the next run starts from */
    uint64_t next_table;
    uint64_t device;    /* what reads of device memory return */
    unsigned device_reads, device_writes;
    uint64_t device_addr, device_val;
    unsigned device_size;
    uint64_t covered;   /* a page of RAM that registers lie over; 0: none */
    void (*on_write)(void *rig, uint64_t gpa, uint64_t val); /* each write to device memory, if not NULL */
    uint32_t port_in;   /* what IN returns */
    void (*on_out)(void *rig, uint16_t port, uint32_t val, unsigned size); /* each OUT, if not NULL */
    char console[256];  /* bytes written to RIG_PORT_DEBUG */
    size_t console_len;
    int vector;         /* answer to the next acknowledge, -1: none */
    unsigned acks;
    uint64_t apic_base, tsc, deadline, cr8;
    bool smm;           /* as last told by the CPU */
    unsigned triple_faults;
} Rig;

/* model as for -cpu; TCG_JIT_HEAT in the environment is the jit_heat; aborts the test when the model is refused. */
Rig *rig_new(const char *model);
void rig_free(Rig *rig);

/* Clears RAM and makes tables and rig->s for a mode and privilege level; code starts at RIG_CODE. */
void rig_reset(Rig *rig, RigMode mode, unsigned cpl);

/* Maps linear to phys with page table bits, in the paging structure of the mode; size 4 KiB, or 2/4 MiB, 1 GiB. */
void rig_map(Rig *rig, uint64_t linear, uint64_t phys, uint64_t bits, uint64_t size);
/* Physical address of the entry rig_map() has made or would make for a page of that size. */
uint64_t rig_entry(Rig *rig, uint64_t linear, uint64_t size);

void rig_put(Rig *rig, uint64_t phys, const void *bytes, size_t len);
void rig_put64(Rig *rig, uint64_t phys, uint64_t val);
void rig_put32(Rig *rig, uint64_t phys, uint32_t val);
uint64_t rig_get64(const Rig *rig, uint64_t phys);
uint32_t rig_get32(const Rig *rig, uint64_t phys);
void rig_put_gdt(Rig *rig, unsigned selector, uint32_t base, uint32_t limit, unsigned attr);
/* An IDT gate of the mode's size; type 0xe interrupt, 0xf trap, 5 task. */
void rig_put_gate(Rig *rig, unsigned vector, uint16_t selector, uint64_t offset, unsigned type, unsigned dpl, unsigned ist);

/* Puts code at RIG_CODE (behind it HLT, in rings 1-3 INT RIG_VECTOR_DONE) and runs rig->s until it halts. */
RigResult rig_run(Rig *rig, const uint8_t *code, size_t len);
/* Runs on from the state the last run ended with, or that the test has set in rig->s. */
RigResult rig_resume(Rig *rig);
/* Sets the CPU's state without running. */
void rig_apply(Rig *rig);

/*
 * Code bytes from assembler text: SNIPPET(name, 64, "...") defines `name` and
 * `name_end`.  The text must not depend on where it runs.
 */
#define SNIPPET(name, bits, text)                                                                            \
    extern const uint8_t name[], name##_end[];                                                               \
    __asm__(".pushsection .rodata\n.code" #bits "\n.globl " #name "\n" #name ":\n" text "\n.globl " #name   \
            "_end\n" #name "_end:\n.popsection\n.code64\n")
#define RIG_RUN(rig, name) rig_run(rig, name, (size_t)(name##_end - name))

#endif
