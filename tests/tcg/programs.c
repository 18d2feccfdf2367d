/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Differential test of whole programs: loops of random instructions run on the host's
 * processor and on the software CPU, whose blocks and software TLB are warm after
 * the first pass, as single instructions never make them.  Undefined flags are never
 * looked at: a comparison goes before an instruction that would.
 *
 *   programs [--cases N] [--seed S] [--jit RUNS]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "accel/tcg/simd.h"
#include "tests/tcg/guest.h"
#include "tests/tcg/values.h"

enum { DEFAULT_CASES = 20000, LENGTH = 24, PASSES = 4, REG_LOOP = 15, REG_INDEX = 13 };
enum { FX_FTW = 4, FX_MXCSR = 24, FX_ST = 32, FX_XMM = 160 };
enum { CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, OF = 0x800, ARITH = 0x8d5 };

typedef struct Program {
    TestRandom random;
    uint8_t *at;
    unsigned undefined; /* flags */
} Program;

/* What may stand for ModRM and after it. */
enum {
    RM_REG = 1, RM_MEM = 2, RM_ANY = 3,
    REG_DIGIT = 4,      /* ModRM.reg is `digit` */
    BYTES = 8,          /* the even opcode is the form for bytes */
    WIDE = 16,          /* 4 and 8 bytes only */
    IMM8 = 32, IMM = 64, LOCKABLE = 128, CONDITION = 256, VECTOR = 512, SHIFT = 1024,
};

typedef struct Template {
    uint8_t prefix;
    uint16_t opcode; /* 0xfXX: map 0F */
    uint16_t kind;
    uint8_t digit;
    uint16_t needs, undefines, defines;
} Template;

#define ALU(op, extra, needs)                                                                                \
    {0, op, RM_ANY | BYTES | (extra), 0, needs, 0, ARITH}, {0, (op) + 2, RM_ANY | BYTES, 0, needs, 0, ARITH}, \
    {0, 0x80, RM_ANY | BYTES | REG_DIGIT | IMM | (extra), (op) >> 3, needs, 0, ARITH},                       \
    {0, 0x83, RM_ANY | REG_DIGIT | IMM8 | (extra), (op) >> 3, needs, 0, ARITH}
#define LOGIC(op)                                                                                            \
    {0, op, RM_ANY | BYTES | LOCKABLE, 0, 0, AF, ARITH}, {0, (op) + 2, RM_ANY | BYTES, 0, 0, AF, ARITH},     \
    {0, 0x80, RM_ANY | BYTES | REG_DIGIT | IMM | LOCKABLE, (op) >> 3, 0, AF, ARITH}
#define SHIFT_OP(n)                                                                                          \
    {0, 0xc0, RM_ANY | BYTES | REG_DIGIT | SHIFT, n, 0, ARITH, 0}, {0, 0xd0, RM_ANY | BYTES | REG_DIGIT, n, 0, AF, 0},           \
    {0, 0xd2, RM_ANY | BYTES | REG_DIGIT, n, 0, ARITH, 0}
#define SSE(prefix, op) {prefix, 0xf00 | (op), RM_ANY | VECTOR, 0, 0, 0, 0}
#define SSE_REG(prefix, op) {prefix, 0xf00 | (op), RM_REG | VECTOR, 0, 0, 0, 0}

static const Template templates[] = {
    ALU(0x00, LOCKABLE, 0), ALU(0x10, LOCKABLE, CF), ALU(0x18, LOCKABLE, CF), ALU(0x28, LOCKABLE, 0), ALU(0x38, 0, 0),
    LOGIC(0x08), LOGIC(0x20), LOGIC(0x30),
    {0, 0x84, RM_ANY | BYTES, 0, 0, AF, ARITH}, {0, 0xf6, RM_ANY | BYTES | REG_DIGIT | IMM, 0, 0, AF, ARITH},
    {0, 0xf6, RM_ANY | BYTES | REG_DIGIT | LOCKABLE, 2, 0, 0, 0}, {0, 0xf6, RM_ANY | BYTES | REG_DIGIT | LOCKABLE, 3, 0, 0, ARITH},
    {0, 0xfe, RM_ANY | BYTES | REG_DIGIT | LOCKABLE, 0, 0, 0, ARITH & ~CF},
    {0, 0xfe, RM_ANY | BYTES | REG_DIGIT | LOCKABLE, 1, 0, 0, ARITH & ~CF},
    SHIFT_OP(4), SHIFT_OP(5), SHIFT_OP(7), SHIFT_OP(0), SHIFT_OP(1),
    {0, 0x88, RM_ANY | BYTES, 0, 0, 0, 0}, {0, 0x8a, RM_ANY | BYTES, 0, 0, 0, 0}, {0, 0x8b, RM_MEM, 0, 0, 0, 0}, {0, 0x89, RM_MEM, 0, 0, 0, 0},
    {0, 0xc6, RM_ANY | BYTES | REG_DIGIT | IMM, 0, 0, 0, 0}, {0, 0x8d, RM_MEM | WIDE, 0, 0, 0, 0}, {0, 0x8d, RM_MEM, 0, 0, 0, 0},
    {0, 0xfb6, RM_ANY, 0, 0, 0, 0}, {0, 0xfb7, RM_ANY | WIDE, 0, 0, 0, 0}, {0, 0xfbe, RM_ANY, 0, 0, 0, 0}, {0, 0xfbf, RM_ANY | WIDE, 0, 0, 0, 0},
    {0, 0x63, RM_ANY | WIDE, 0, 0, 0, 0},
    {0, 0xf40, RM_ANY | CONDITION, 0, ARITH & ~AF, 0, 0}, {0, 0xf40, RM_ANY | CONDITION | WIDE, 0, ARITH & ~AF, 0, 0},
    {0, 0xf90, RM_ANY | CONDITION | REG_DIGIT, 0, ARITH & ~AF, 0, 0},
    {0, 0xfaf, RM_ANY, 0, 0, ARITH & ~(CF | OF), CF | OF}, {0, 0x69, RM_ANY | IMM, 0, 0, ARITH & ~(CF | OF), CF | OF},
    {0, 0x6b, RM_ANY | IMM8, 0, 0, ARITH & ~(CF | OF), CF | OF},
    {0, 0xf6, RM_ANY | BYTES | REG_DIGIT, 4, 0, ARITH & ~(CF | OF), CF | OF}, {0, 0xf6, RM_ANY | BYTES | REG_DIGIT, 5, 0, ARITH & ~(CF | OF), CF | OF},
    {0, 0x86, RM_ANY | BYTES, 0, 0, 0, 0}, {0, 0xfb0, RM_ANY | BYTES | LOCKABLE, 0, 0, 0, ARITH},
    {0, 0xfc0, RM_ANY | BYTES | LOCKABLE, 0, 0, 0, ARITH}, {0, 0xfa3, RM_REG, 0, 0, ARITH & ~(CF | ZF), CF}, {0, 0xfab, RM_REG, 0, 0, ARITH & ~(CF | ZF), CF},
    {0, 0xfba, RM_ANY | REG_DIGIT | IMM8, 4, 0, ARITH & ~(CF | ZF), CF}, {0, 0xfba, RM_ANY | REG_DIGIT | IMM8 | LOCKABLE, 5, 0, ARITH & ~(CF | ZF), CF},
    {0, 0xfba, RM_ANY | REG_DIGIT | IMM8, 6, 0, ARITH & ~(CF | ZF), CF}, {0, 0xfba, RM_ANY | REG_DIGIT | IMM8, 7, 0, ARITH & ~(CF | ZF), CF},
    SSE(0, 0x10), SSE(0, 0x11), SSE(0x66, 0x10), SSE(0xf3, 0x6f), SSE(0xf3, 0x7f), SSE(0xf2, 0x10), SSE(0xf2, 0x11), SSE(0xf3, 0x10), SSE(0xf3, 0x11),
    SSE_REG(0x66, 0xfe), SSE_REG(0x66, 0xef), SSE_REG(0x66, 0x61), SSE_REG(0x66, 0x74), SSE_REG(0x66, 0xd4), SSE_REG(0, 0x57), SSE_REG(0x66, 0xd5),
    SSE_REG(0x66, 0x58), SSE_REG(0x66, 0x59), SSE_REG(0, 0x58), SSE_REG(0, 0x5c), SSE_REG(0, 0x28),
    SSE(0xf2, 0x58), SSE(0xf2, 0x59), SSE(0xf3, 0x5c), SSE(0xf2, 0x5e), SSE(0xf3, 0x58), SSE(0xf2, 0x51), SSE(0xf3, 0x5a), SSE(0xf2, 0x5a),
};

static unsigned below(Program *p, unsigned limit)
{
    return test_random_below(&p->random, limit);
}

static void put(Program *p, unsigned byte)
{
    *p->at++ = (uint8_t)byte;
}

static void put_imm(Program *p, unsigned bytes)
{
    uint64_t v = test_random_int(&p->random);

    memcpy(p->at, &v, bytes);
    p->at += bytes;
}

/* Registers that instructions may change; the others hold addresses, the index and the loop's count. */
static unsigned free_reg(Program *p)
{
    static const uint8_t regs[] = {0, 1, 2, 6, 7, 8, 9, 10, 11, 12};

    return regs[below(p, sizeof(regs))];
}

/* [RBX, RBP or R14 (+ R13 * scale) + disp] */
static void put_memory(Program *p, unsigned reg)
{
    static const uint8_t bases[] = {3, 5, 14};
    unsigned base = bases[below(p, sizeof(bases))], mod = below(p, 4) ? 0x40 : 0x80;
    int disp = (int)below(p, 80) - 40;

    if (below(p, 2)) {
        put(p, mod | (reg & 7) << 3 | 4);
        put(p, below(p, 4) << 6 | (REG_INDEX & 7) << 3 | (base & 7));
    } else {
        put(p, mod | (reg & 7) << 3 | (base & 7));
    }
    if (mod == 0x40) {
        put(p, (unsigned)disp & 0xff);
    } else {
        memcpy(p->at, &disp, 4);
        p->at += 4;
    }
}

static void put_compare(Program *p)
{
    put(p, 0x48); /* CMP RDX, RSI */
    put(p, 0x39);
    put(p, 0xf2);
    p->undefined = 0;
}

static unsigned choose_size(Program *p, const Template *t)
{
    unsigned size = 1u << below(p, 4);

    if (size == 1 && !(t->kind & BYTES)) {
        size = 8;
    }
    return size == 2 && t->kind & WIDE ? 4 : size;
}

/* Prefixes, opcode, ModRM; the registers are known. */
static void put_insn(Program *p, const Template *t, unsigned size, unsigned reg, unsigned rm, bool mem)
{
    unsigned opcode = t->opcode | (t->kind & BYTES && size > 1);
    uint8_t *modrm, *rex_at;
    unsigned rex = 0x40 | (size == 8) << 3 | (reg >> 3) << 2 | (mem ? 0 : rm >> 3);

    if (t->kind & LOCKABLE && mem && !below(p, 3)) {
        put(p, 0xf0);
    }
    if (size == 2) {
        put(p, 0x66);
    }
    if (t->prefix) {
        put(p, t->prefix);
    }
    rex_at = p->at;
    put(p, rex);
    if (opcode > 0xff) {
        put(p, 0x0f);
    }
    put(p, (opcode & 0xff) | (t->kind & CONDITION ? below(p, 16) : 0));
    modrm = p->at;
    if (mem) {
        put_memory(p, reg);
        *rex_at |= (modrm[0] & 7) == 4 ? 2 | ((modrm[1] & 7) == 6) : (modrm[0] & 7) == 6; /* R13, R14 */
    } else {
        put(p, 0xc0 | (reg & 7) << 3 | (rm & 7));
    }
}

static void put_random(Program *p)
{
    const Template *t = &templates[below(p, sizeof(templates) / sizeof(templates[0]))];
    bool vector = t->kind & VECTOR, mem = (t->kind & RM_ANY) == RM_MEM || ((t->kind & RM_MEM) && below(p, 2));
    unsigned size = vector ? 4 : choose_size(p, t);
    unsigned reg = t->kind & REG_DIGIT ? t->digit : vector ? below(p, 16) : free_reg(p);

    if (p->undefined & t->needs) {
        put_compare(p);
    }
    put_insn(p, t, size, reg, vector ? below(p, 16) : free_reg(p), mem);
    if (t->kind & SHIFT) {
        put(p, below(p, 70));
    } else if (t->kind & IMM8) {
        put_imm(p, 1);
    } else if (t->kind & IMM) {
        put_imm(p, size == 8 ? 4 : size);
    }
    p->undefined = (p->undefined & ~(unsigned)t->defines) | t->undefines;
}

/* Any x87 instruction but those that load a control word or numbers in decimal, or store pointers. */
static void put_x87(Program *p)
{
    const bool mem = below(p, 2);
    const X86FpuInsn *insn;
    unsigned opcode, modrm;
    uint8_t *rex_at;

    do {
        opcode = 0xd8 + below(p, 8);
        modrm = mem ? below(p, 8) << 3 : 0xc0 + below(p, 64);
        insn = x86_fpu_lookup((uint8_t)opcode, (uint8_t)modrm);
    } while (!insn || insn->env || !strcmp(insn->name, "fldcw") || !strcmp(insn->name, "fbld"));
    if (!strncmp(insn->name, "fcmov", 5) && p->undefined) {
        put_compare(p);
    }
    rex_at = p->at;
    put(p, 0x40);
    put(p, opcode);
    if (mem) {
        put_memory(p, modrm >> 3);
        *rex_at |= (rex_at[2] & 7) == 4 ? 2 | ((rex_at[3] & 7) == 6) : (rex_at[2] & 7) == 6; /* R13, R14 */
    } else {
        put(p, modrm);
    }
    if (insn->writes_eflags) {
        p->undefined = 0;
    }
}

/*
 * Jumps over one instruction on a condition; a push and a pop; a call of the next
 * instruction; divisions; a jump through a register.
 */
static void put_control(Program *p)
{
    uint8_t *disp;
    unsigned reg = free_reg(p);

    switch (below(p, 6)) {
    case 0:
        put_compare(p);
        put(p, 0x70 | below(p, 16));
        disp = p->at;
        put(p, 0);
        put_random(p);
        *disp = (uint8_t)(p->at - disp - 1);
        break;
    case 1:
        put(p, 0x40 | reg >> 3);
        put(p, 0x50 | (reg & 7));
        put_random(p);
        reg = free_reg(p);
        put(p, 0x40 | reg >> 3);
        put(p, 0x58 | (reg & 7));
        break;
    case 2:
        memcpy(p->at, "\xe8\0\0\0\0", 5);
        p->at += 5;
        put(p, 0x40 | reg >> 3);
        put(p, 0x58 | (reg & 7));
        break;
    case 3: /* OR RCX, 1; XOR EDX, EDX; DIV RCX or ECX */
        memcpy(p->at, "\x48\x83\xc9\x01\x31\xd2", 6);
        p->at += 6;
        put(p, 0x40 | below(p, 2) << 3);
        put(p, 0xf7);
        put(p, 0xf1);
        p->undefined = ARITH;
        break;
    case 4: /* OR RCX, 1; CQO or CDQ; IDIV RCX or ECX, which may overflow */
        memcpy(p->at, "\x48\x83\xc9\x01", 4);
        p->at += 4;
        put(p, 0x40 | below(p, 2) << 3);
        p->at[1] = p->at[-1];
        put(p, 0x99);
        p->at++;
        put(p, 0xf7);
        put(p, 0xf9);
        p->undefined = ARITH;
        break;
    default: /* LEA RAX, [RIP + 2]; JMP RAX */
        memcpy(p->at, "\x48\x8d\x05\x02\0\0\0\xff\xe0", 9);
        p->at += 9;
        break;
    }
}

static void make(Program *p, uint8_t *code, NativeState *s)
{
    uint8_t *loop;
    int32_t back;
    uint16_t fcw;

    p->at = code;
    p->undefined = 0;
    loop = p->at;
    put_compare(p);
    for (unsigned i = 0, x87 = below(p, 3); i < LENGTH; i++) {
        if (x87 && below(p, 2)) {
            put_x87(p);
        } else if (below(p, 6)) {
            put_random(p);
        } else {
            put_control(p);
        }
    }
    memcpy(p->at, "\x49\xff\xcf\x0f\x85", 5); /* DEC R15; JNZ */
    p->at += 5;
    back = (int32_t)(loop - (p->at + 4));
    memcpy(p->at, &back, 4);
    p->at += 4;
    put_compare(p);
    put(p, 0xcc);
    for (unsigned i = 0; i < 16; i++) {
        s->gpr[i] = test_random_int(&p->random);
    }
    s->gpr[3] = GUEST_DATA + 0x400;
    s->gpr[5] = GUEST_DATA + GUEST_PAGE; /* accesses across the pages */
    s->gpr[14] = GUEST_DATA + 0x1800;
    s->gpr[4] = GUEST_DATA + 0x800;
    s->gpr[REG_INDEX] = below(p, 16);
    s->gpr[REG_LOOP] = PASSES;
    s->rip = GUEST_CODE;
    s->rflags = 0x202;
    fcw = below(p, 8) ? 0x37f : test_random_fcw(&p->random);
    memcpy(s->fx, &fcw, sizeof(fcw));
    s->fx[FX_FTW] = (uint8_t)test_random(&p->random);
    s->fx[FX_MXCSR] = 0x80; /* MXCSR */
    s->fx[FX_MXCSR + 1] = 0x1f;
    for (unsigned i = 0; i < 8; i++) {
        test_random_fp80(&p->random, s->fx + FX_ST + 16 * i);
    }
    for (unsigned i = 0; i < 16; i++) {
        test_random_vector(&p->random, s->fx + FX_XMM + 16 * i);
    }
}

static void show(const char *who, const NativeState *s)
{
    fprintf(stderr, "  %s: vector %u rip %llx rflags %llx mxcsr %02x%02x fcw %02x%02x fsw %02x%02x ftw %02x\n", who, s->vector, (unsigned long long)s->rip,
            (unsigned long long)s->rflags & ARITH, s->fx[FX_MXCSR + 1], s->fx[FX_MXCSR], s->fx[1], s->fx[0], s->fx[3],
            s->fx[2], s->fx[FX_FTW]);
    for (unsigned i = 0; i < 8; i++) {
        fprintf(stderr, "%s%04x:%016llx", i % 4 ? " " : "\n    ", s->fx[FX_ST + 16 * i + 8] | s->fx[FX_ST + 16 * i + 9] << 8,
                (unsigned long long)*(const uint64_t *)(const void *)(s->fx + FX_ST + 16 * i));
    }
    for (unsigned i = 0; i < 16; i++) {
        fprintf(stderr, "%s%016llx", i % 4 ? " " : "\n    ", (unsigned long long)s->gpr[i]);
    }
    fputc('\n', stderr);
}

static bool agree(const NativeState *a, const NativeState *b, const uint8_t *data)
{
    return a->vector == b->vector && a->rip == b->rip && !memcmp(a->gpr, b->gpr, sizeof(a->gpr)) &&
           (a->vector != NATIVE_VECTOR_BP || !((a->rflags ^ b->rflags) & ARITH)) && !memcmp(a->fx, b->fx, FX_FTW + 1) &&
           !memcmp(a->fx + FX_MXCSR, b->fx + FX_MXCSR, 4) && !memcmp(a->fx + FX_ST, b->fx + FX_ST, FX_XMM + 256 - FX_ST) && !memcmp(data, guest_data(), GUEST_BYTES);
}

static void *map(uint64_t address, int prot)
{
    void *at = mmap((void *)address, GUEST_BYTES, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    if (at == MAP_FAILED) {
        perror("programs: mmap");
        exit(EXIT_FAILURE);
    }
    return at;
}

int main(int argc, char **argv)
{
    unsigned long cases = DEFAULT_CASES, seed = 1, heat = 0, failed = 0, ended = 0;
    uint8_t *code, *data;

    for (int i = 1; i + 1 < argc; i += 2) {
        *(!strcmp(argv[i], "--cases") ? &cases : !strcmp(argv[i], "--seed") ? &seed : &heat) = strtoul(argv[i + 1], NULL, 0);
    }
    if (!guest_init("max", (unsigned)heat)) {
        return EXIT_FAILURE;
    }
    code = map(GUEST_CODE, PROT_READ | PROT_WRITE | PROT_EXEC);
    data = map(GUEST_DATA, PROT_READ | PROT_WRITE);
    native_init();
    for (unsigned long n = 0; n < cases && failed < 5; n++) {
        Program p;
        NativeState host = {0}, ours;

        test_random_seed(&p.random, seed + n);
        memset(code, 0xcc, GUEST_BYTES);
        make(&p, code, &host);
        for (unsigned i = 0; i < GUEST_BYTES; i += 8) {
            uint64_t v = test_random_int(&p.random);

            memcpy(data + i, &v, 8);
        }
        memcpy(guest_code(), code, GUEST_BYTES);
        memcpy(guest_data(), data, GUEST_BYTES);
        guest_code_changed(GUEST_CODE, GUEST_BYTES);
        ours = host;
        native_run(&host);
        guest_run(&ours);
        ended += host.vector == NATIVE_VECTOR_BP;
        if (!agree(&host, &ours, data)) {
            failed++;
            fprintf(stderr, "program %lu:\n", seed + n);
            for (const uint8_t *at = code; at < p.at; at++) {
                fprintf(stderr, "%02x", *at);
            }
            fputc('\n', stderr);
            show("host", &host);
            show("ours", &ours);
        }
    }
    printf("%lu programs, first seed %lu: %lu ran to their end, %lu differ\n", cases, seed, ended, failed);
    guest_free();
    return failed || ended < cases / 2 ? EXIT_FAILURE : EXIT_SUCCESS;
}
