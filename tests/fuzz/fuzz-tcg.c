/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random bytes as code in each mode of the software CPU, with random registers,
 * descriptors, page tables, control bits and events.  Nothing is compared: the
 * emulator must survive, stay inside its memory (built with sanitizers), come
 * back when kicked, and leave a state that makes sense.
 *
 *   fuzz-tcg [--runs N] [--seed S]    case number S + n is the n-th run
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "tests/tcg/rig.h"
#include "tests/tcg/values.h"

enum { DEFAULT_RUNS = 3000, SLICES = 3, SLICE_US = 150, CODE_BYTES = 512 };
enum { VM = 0x20000, FUZZ_VM86 = RIG_LONG + 1, FUZZ_PROT16, FUZZ_SMM, FUZZ_MODES };

static X86Cpu *running;

static void kick(int signal)
{
    if (running) {
        x86_cpu_kick(running);
    }
}

static uint64_t interesting_value(TestRandom *random)
{
    switch (test_random_below(random, 6)) {
    case 0:
        return test_random(random);
    case 1:
        return test_random_int(random);
    case 2:
        return RIG_DATA + test_random_below(random, 0x10000);
    case 3:
        return RIG_CODE + test_random_below(random, CODE_BYTES);
    case 4:
        return test_random_below(random, RIG_RAM_BYTES);
    default:
        return test_random_below(random, 0x100); /* selectors, ports, counts */
    }
}

/* Bytes that decode further than random ones: prefixes, two-byte opcodes, memory operands near data. */
static void make_code(TestRandom *random, uint8_t *code)
{
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x64, 0x48, 0x4f, 0x0f, 0x0f, 0x0f, 0xc4};
    bool plain = test_random_below(random, 4) == 0;

    for (unsigned i = 0; i < CODE_BYTES; i++) {
        code[i] = (uint8_t)test_random(random);
        if (!plain && test_random_below(random, 5) == 0) {
            code[i] = prefixes[test_random_below(random, sizeof(prefixes))];
        }
    }
}

/* System instructions in a row: what random bytes rarely find with operands that pass. */
static void plant_system_code(TestRandom *random, uint8_t *code)
{
    static const uint8_t pieces[][4] = {
        {0x0f, 0x30, 0x90, 0x90}, {0x0f, 0x32, 0x90, 0x90}, {0x0f, 0x22, 0xc0, 0x90}, {0x0f, 0x22, 0xd8, 0x90},
        {0x0f, 0x22, 0xe0, 0x90}, {0x0f, 0x23, 0xf8, 0x90}, {0x8e, 0xd8, 0x8e, 0xd0}, {0x0f, 0x00, 0xd0, 0x90},
        {0x0f, 0x00, 0xd8, 0x90}, {0xff, 0x18, 0xff, 0x28}, {0xcf, 0xcb, 0xcf, 0x90}, {0xcd, 0x40, 0xcd, 0x08},
        {0x0f, 0x05, 0x0f, 0x07}, {0x0f, 0x34, 0x0f, 0x35}, {0x0f, 0xae, 0x20, 0x90}, {0x0f, 0xae, 0x28, 0x90},
        {0x0f, 0x01, 0xd1, 0x90}, {0x0f, 0x01, 0x38, 0x90}, {0x0f, 0x01, 0x10, 0x90}, {0x0f, 0xaa, 0x90, 0x90},
        {0x9d, 0xfb, 0xf4, 0x90}, {0xf3, 0xa4, 0xf3, 0xab}, {0x0f, 0xc7, 0x08, 0x90}, {0x0f, 0xa2, 0x90, 0x90},
    };

    for (unsigned n = test_random_below(random, 8); n > 0; n--) {
        memcpy(code + test_random_below(random, CODE_BYTES - 4), pieces[test_random_below(random, sizeof(pieces) / 4)], 4);
    }
}

static void corrupt_tables(Rig *rig, TestRandom *random)
{
    static const struct {
        uint64_t at;
        unsigned len;
    } targets[] = {{RIG_GDT, 0x100}, {RIG_IDT, 0x1000}, {RIG_TSS, 0x68}, {RIG_TSS2, 0x68}, {RIG_TABLES, 0x8000}};

    for (unsigned n = test_random_below(random, 12); n > 0; n--) {
        unsigned i = test_random_below(random, sizeof(targets) / sizeof(targets[0]));
        uint64_t at = targets[i].at + test_random_below(random, targets[i].len);

        rig->ram[at] ^= (uint8_t)(1u << test_random_below(random, 8));
    }
}

static void random_control_bits(Rig *rig, TestRandom *random)
{
    static const uint64_t cr0[] = {1 << 3, 1 << 2, 1 << 1, 1 << 16, 1 << 18}, cr4[] = {4, 8, 0x80, 0x800, 1 << 16, 1 << 18, 1 << 20, 1 << 21};

    for (size_t i = 0; i < sizeof(cr0) / sizeof(cr0[0]); i++) {
        rig->s.cr0 ^= test_random_below(random, 4) ? 0 : cr0[i];
    }
    for (size_t i = 0; i < sizeof(cr4) / sizeof(cr4[0]); i++) {
        rig->s.cr4 ^= test_random_below(random, 4) ? 0 : cr4[i];
    }
    rig->s.rflags |= test_random(random) & (test_random_below(random, 3) ? 0x200 : 0x44fd5);
    if (test_random_below(random, 4) == 0) {
        for (unsigned i = 0; i < 4; i++) {
            rig->s.dr[i] = interesting_value(random);
        }
        rig->s.dr[7] = (test_random(random) & 0xffff03ff) | 0x400;
    }
}

static void make_state(Rig *rig, TestRandom *random, unsigned mode)
{
    static const RigMode base[] = {[FUZZ_VM86] = RIG_PROT32, [FUZZ_PROT16] = RIG_PROT32, [FUZZ_SMM] = RIG_LONG};
    bool user = mode != RIG_REAL && test_random_below(random, 2);

    rig_reset(rig, mode <= RIG_LONG ? (RigMode)mode : base[mode], user && mode <= RIG_LONG ? 3 : 0);
    for (unsigned i = 0; i < 16; i++) {
        rig->s.gpr[i] = i == X86_RSP && test_random_below(random, 4) ? rig->s.gpr[i] : interesting_value(random);
    }
    if (mode == FUZZ_VM86) {
        rig->s.rflags |= VM;
        for (unsigned i = 0; i < 6; i++) {
            rig->s.seg[i] = (X86SegState){.selector = i == X86_SEG_CS ? RIG_CODE >> 4 : RIG_DATA >> 4,
                                          .base = i == X86_SEG_CS ? RIG_CODE : RIG_DATA, .limit = 0xffff, .attr = 0xf3};
        }
        rig->s.rip = 0;
    } else if (mode == FUZZ_PROT16) {
        rig->s.seg[X86_SEG_CS] = (X86SegState){.selector = RIG_CS16, .base = RIG_CODE, .limit = 0xffff, .attr = 0x9b};
        rig->s.seg[X86_SEG_SS].attr &= 0xbfff;
        rig->s.rip = 0;
    }
    random_control_bits(rig, random);
}

static void random_events(Rig *rig, TestRandom *random)
{
    static const X86CpuIrq edges[] = {X86_IRQ_NMI, X86_IRQ_SMI, X86_IRQ_INIT};

    if (test_random_below(random, 3) == 0) {
        rig->vector = (int)test_random_below(random, 256);
        x86_cpu_set_irq(rig->cpu, X86_IRQ_HARD, true);
    }
    if (test_random_below(random, 8) == 0) {
        x86_cpu_set_irq(rig->cpu, edges[test_random_below(random, 3)], true);
    }
    if (test_random_below(random, 8) == 0) {
        x86_cpu_invalidate_code(rig->cpu, test_random_below(random, RIG_RAM_BYTES), 64);
    }
    if (test_random_below(random, 8) == 0) {
        x86_cpu_flush_bus(rig->cpu);
    }
}

static bool state_makes_sense(const X86CpuState *s)
{
    bool long64 = (s->efer & 0x400) && (s->seg[X86_SEG_CS].attr & 0x2000);
    bool canonical = (uint64_t)((int64_t)(s->rip << 16) >> 16) == s->rip;

    return (s->rflags & 2) && !(s->rflags & 0x8028) && (!(s->cr0 & 0x80000000) || (s->cr0 & 1)) && (canonical || !long64) &&
           (!(s->efer & 0x400) || (s->cr0 & 0x80000000)) && s->halted < 2 && s->wait_sipi < 2;
}

static bool run_case(Rig *rig, uint64_t number)
{
    uint8_t code[CODE_BYTES];
    TestRandom random;
    unsigned mode;
    X86CpuState s;

    test_random_seed(&random, number);
    mode = test_random_below(&random, FUZZ_MODES);
    make_state(rig, &random, mode);
    make_code(&random, code);
    plant_system_code(&random, code);
    rig_put(rig, mode == FUZZ_SMM ? 0x38000 : RIG_CODE, code, sizeof(code));
    if (test_random_below(&random, 2)) {
        corrupt_tables(rig, &random);
    }
    rig_apply(rig);
    if (mode == FUZZ_SMM) {
        x86_cpu_set_irq(rig->cpu, X86_IRQ_SMI, true);
    }
    for (unsigned i = 0; i < SLICES; i++) {
        const struct itimerval once = {.it_value = {.tv_usec = SLICE_US}};
        X86CpuExit why;

        random_events(rig, &random);
        running = rig->cpu;
        setitimer(ITIMER_REAL, &once, NULL);
        why = x86_cpu_run(rig->cpu);
        running = NULL;
        x86_cpu_get_state(rig->cpu, &s);
        if (!state_makes_sense(&s)) {
            fprintf(stderr, "case %llu, mode %u: rip %llx rflags %llx cr0 %llx efer %llx\n", (unsigned long long)number, mode,
                    (unsigned long long)s.rip, (unsigned long long)s.rflags, (unsigned long long)s.cr0,
                    (unsigned long long)s.efer);
            return false;
        }
        if (why == X86_EXIT_TRIPLE) {
            break;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    unsigned long runs = DEFAULT_RUNS, seed = 1, failed = 0;
    Rig *rig;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--runs")) {
            runs = strtoul(argv[i + 1], NULL, 0);
        } else if (!strcmp(argv[i], "--seed")) {
            seed = strtoul(argv[i + 1], NULL, 0);
        } else {
            fprintf(stderr, "usage: %s [--runs N] [--seed S]\n", argv[0]);
            return EXIT_FAILURE;
        }
    }
    signal(SIGALRM, kick);
    rig = rig_new("max");
    for (unsigned long n = 0; n < runs; n++) {
        failed += !run_case(rig, seed + n);
    }
    rig_free(rig);
    printf("%lu cases from %lu: %lu failed\n", runs, seed, failed);
    return failed || !runs ? EXIT_FAILURE : EXIT_SUCCESS;
}
