/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every function of the vector and x87 tables against the host's processor:
 * results, flags, tags and exceptions, masked and unmasked, for operands that
 * are mostly special values.  The image functions against the host's FXSAVE.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "accel/tcg/simd.h"
#include "tests/tcg/native.h"
#include "tests/tcg/values.h"

enum { CASES_SIMD = 200, CASES_X87 = 200, PAGE = 4096, DST = 1, SRC = 2 };

#define FSW_CC   0x4700u
#define FSW_C1   0x0200u
#define MXCSR_PE 0x0020u

typedef struct FpuTest {
    uint8_t *code;
    uint8_t *mem; /* operand of the native run, aligned */
    TestRandom random;
} FpuTest;

static int fpu_setup(void **state)
{
    static FpuTest test;

    test.code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    test.mem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(test.code != MAP_FAILED && test.mem != MAP_FAILED);
    test_random_seed(&test.random, 1);
    *state = &test;
    return 0;
}

static void fpu_run_native(FpuTest *test, const X86Fpu *fpu, NativeState *native, X86Fpu *after)
{
    x86_fpu_fxsave(fpu, native->fx, true, 16);
    native->rip = (uintptr_t)test->code;
    native_run(native);
    memset(after, 0, sizeof(*after));
    assert_int_equal(x86_fpu_fxrstor(after, native->fx, true, 16), X86_SIMD_OK);
}

static void fpu_dump(const char *who, const X86Fpu *fpu)
{
    fprintf(stderr, "%s: fcw %04x fsw %04x top %u ftw %02x mxcsr %04x\n", who, fpu->fcw, fpu->fsw, fpu->top,
            fpu->ftw, fpu->mxcsr);
    for (unsigned i = 0; i < 8; i++) {
        fprintf(stderr, "  ST(%u) %04x:%016llx", i, fpu->st[(fpu->top + i) & 7].f.sign_exp,
                (unsigned long long)fpu->st[(fpu->top + i) & 7].f.mantissa);
        fprintf(stderr, "  xmm%u %016llx%016llx\n", i, (unsigned long long)fpu->xmm[i].u64[1],
                (unsigned long long)fpu->xmm[i].u64[0]);
    }
}

/* Last instruction and operand pointers are not compared: some hosts save them only with a pending exception.
 */
static bool fpu_equal(const X86Fpu *a, const X86Fpu *b, unsigned fsw_ignored)
{
    for (unsigned i = 0; i < 8; i++) {
        if (memcmp(&a->st[i], &b->st[i], 10)) {
            return false;
        }
    }
    for (unsigned i = 0; i < 16; i++) {
        if (memcmp(&a->xmm[i], &b->xmm[i], 16)) {
            return false;
        }
    }
    return a->fcw == b->fcw && !((a->fsw ^ b->fsw) & ~fsw_ignored) && a->top == b->top && a->ftw == b->ftw &&
           a->mxcsr == b->mxcsr;
}

static void fpu_random_state(TestRandom *random, X86Fpu *fpu)
{
    memset(fpu, 0, sizeof(*fpu));
    fpu->fcw = test_random_fcw(random);
    fpu->fsw = test_random_fsw(random, fpu->fcw);
    fpu->top = test_random(random) & 7;
    fpu->ftw = test_random_below(random, 3) ? 0xff : (uint8_t)test_random(random);
    if (!test_random_below(random, 3)) {
        /* Room for a push. */
        fpu->ftw &= (uint8_t) ~(1u << ((fpu->top + 7) & 7));
    }
    fpu->mxcsr = test_random_mxcsr(random);
    for (unsigned i = 0; i < 8; i++) {
        test_random_fp80(random, fpu->st[i].u8);
    }
    for (unsigned i = 0; i < 16; i++) {
        test_random_vector(random, fpu->xmm[i].u8);
    }
}

/* One run of a vector function: what the CPU core does around it. */
typedef struct SimdRun {
    const X86SimdInsn *insn;
    X86Fpu fpu;
    uint64_t gpr[16], eflags;
    X86Vec memory,
        buffer; /* the operand [RAX]; what a function sees of memory or writes for a general register */
    uint8_t imm;
    bool use_memory, rexw;
} SimdRun;

static void *simd_operand(SimdRun *run, unsigned kind)
{
    switch (kind) {
    case X86_OPD_XMM:
        return &run->fpu.xmm[DST];
    case X86_OPD_XMM_RM:
        return run->use_memory ? (void *)&run->buffer : &run->fpu.xmm[SRC];
    case X86_OPD_XMM_ONLY:
        return &run->fpu.xmm[SRC];
    case X86_OPD_MMX:
        return &run->fpu.st[DST];
    case X86_OPD_MMX_RM:
        return run->use_memory ? (void *)&run->buffer : &run->fpu.st[SRC];
    case X86_OPD_MMX_ONLY:
        return &run->fpu.st[SRC];
    case X86_OPD_GPR:
        return &run->gpr[DST];
    case X86_OPD_GPR_RM:
        return run->use_memory ? (void *)&run->buffer : &run->gpr[SRC];
    case X86_OPD_MEM_ONLY:
        return &run->buffer;
    default:
        return NULL;
    }
}

static X86SimdFault simd_run(SimdRun *run)
{
    const X86SimdInsn *insn = run->insn;
    X86SimdCtx ctx = {.fpu = &run->fpu,
                      .imm = run->imm,
                      .rexw = run->rexw,
                      .eflags = run->eflags,
                      .gpr_a = run->gpr[0],
                      .gpr_d = run->gpr[2]};
    void *dst = simd_operand(run, insn->dst), *src = simd_operand(run, insn->src);
    const unsigned size = insn->mem_size ? insn->mem_size : run->rexw ? 8 : 4;
    X86SimdFault fault;

    run->buffer = run->memory;
    if (insn->flags & X86_SIMD_MMX_STATE) {
        run->fpu.top = 0;
        run->fpu.ftw = 0xff;
    }
    ctx.dst_is_mem = dst == &run->buffer;
    ctx.src_is_mem = src == &run->buffer;
    fault = insn->fn(&ctx, dst, src);
    if (fault != X86_SIMD_OK) {
        return fault;
    }
    if (ctx.dst_is_mem) {
        memcpy(&run->memory, &run->buffer, size);
    } else if ((insn->dst == X86_OPD_GPR || insn->dst == X86_OPD_GPR_RM) && !run->rexw) {
        *(uint64_t *)dst = (uint32_t) * (uint64_t *)dst;
    }
    if (insn->flags & X86_SIMD_EFLAGS) {
        run->eflags = ctx.eflags;
    }
    if (ctx.write_gpr_c) {
        run->gpr[1] = ctx.gpr_c;
    }
    return fault;
}

static void simd_encode(uint8_t *p, X86OpcodeMap map, X86SimdPrefix prefix, uint8_t opcode, uint8_t modrm,
                        const SimdRun *run)
{
    static const uint8_t prefixes[] = {[X86_PFX_66] = 0x66, [X86_PFX_F3] = 0xf3, [X86_PFX_F2] = 0xf2};

    if (prefix != X86_PFX_NONE) {
        *p++ = prefixes[prefix];
    }
    if (run->rexw) {
        *p++ = 0x48;
    }
    *p++ = 0x0f;
    if (map != X86_MAP_0F) {
        *p++ = map == X86_MAP_0F38 ? 0x38 : 0x3a;
    }
    *p++ = opcode;
    *p++ = modrm;
    if (run->insn->flags & X86_SIMD_IMM8) {
        *p++ = run->imm;
    }
    *p = 0xcc;
}

static void simd_random(FpuTest *test, SimdRun *run, const X86SimdInsn *insn)
{
    const bool only_register = insn->dst == X86_OPD_XMM_ONLY || insn->dst == X86_OPD_MMX_ONLY ||
                               insn->src == X86_OPD_XMM_ONLY || insn->src == X86_OPD_MMX_ONLY;
    const bool only_memory = insn->dst == X86_OPD_MEM_ONLY || insn->src == X86_OPD_MEM_ONLY;

    memset(run, 0, sizeof(*run));
    run->insn = insn;
    run->eflags = test_random(&test->random) & 0x8d5;
    run->imm = (uint8_t)test_random(&test->random);
    run->use_memory = only_memory || (!only_register && test_random_below(&test->random, 3) == 0);
    run->rexw = (insn->flags & X86_SIMD_USES_REXW) && test_random_below(&test->random, 2);
    for (unsigned i = 0; i < 3; i++) {
        run->gpr[i] = test_random_below(&test->random, 2)
                          ? test_random_int(&test->random)
                          : (uint64_t)(int64_t)((int)test_random_below(&test->random, 40) - 20);
    }
    if (run->use_memory) {
        run->gpr[0] = (uintptr_t)test->mem;
    }
    fpu_random_state(&test->random, &run->fpu);
    test_random_vector(&test->random, run->memory.u8);
    if (test_random_below(&test->random, 4) == 0) {
        /* Strings that have something in common, and ends. */
        run->memory = run->fpu.xmm[DST];
        run->fpu.xmm[SRC] = run->fpu.xmm[DST];
        run->fpu.xmm[SRC].u8[test_random_below(&test->random, 16)] = 0;
    }
}

static bool simd_case(FpuTest *test, X86OpcodeMap map, X86SimdPrefix prefix, uint8_t opcode, unsigned digit,
                      const X86SimdInsn *insn)
{
    const bool group = insn->dst == X86_OPD_XMM_ONLY || insn->dst == X86_OPD_MMX_ONLY;
    SimdRun run;
    X86Fpu expected;

    simd_random(test, &run, insn);
    const uint8_t modrm = run.use_memory ? DST << 3 : (uint8_t)(0xc0 | (group ? digit : DST) << 3 | SRC);
    NativeState native = {.rflags = run.eflags};
    memcpy(native.gpr, run.gpr, sizeof(run.gpr));
    memcpy(test->mem, &run.memory, sizeof(run.memory));
    simd_encode(test->code, map, prefix, opcode, modrm, &run);
    fpu_run_native(test, &run.fpu, &native, &expected);

    const SimdRun before = run;
    X86SimdFault fault = simd_run(&run);
    const unsigned vector = fault == X86_SIMD_OK ? NATIVE_VECTOR_BP : 19;
    if (fault != X86_SIMD_OK) {
        /* The core enters MMX state only when the instruction completes. */
        expected.top = run.fpu.top;
        expected.ftw = run.fpu.ftw;
        expected.fsw = run.fpu.fsw;
        memcpy(run.fpu.st, expected.st, sizeof(expected.st));
        /* Beside an unmasked overflow or underflow, PE is that of the masked result. */
        run.fpu.mxcsr &= ~MXCSR_PE;
        expected.mxcsr &= ~MXCSR_PE;
    }
    if (vector == native.vector && fpu_equal(&run.fpu, &expected, 0) && !memcmp(&run.memory, test->mem, 16) &&
        !memcmp(run.gpr, native.gpr, sizeof(run.gpr)) && !((run.eflags ^ native.rflags) & 0x8d5)) {
        return true;
    }
    fprintf(stderr, "%s: imm %02x %s, vector %u, host %u, eflags %llx, host %llx\n", insn->name, run.imm,
            run.use_memory ? "memory" : "register", vector, native.vector, (unsigned long long)run.eflags,
            (unsigned long long)native.rflags);
    for (unsigned i = 0; i < 3; i++) {
        fprintf(stderr, "gpr %u: %016llx, ours %016llx, host %016llx\n", i, (unsigned long long)before.gpr[i],
                (unsigned long long)run.gpr[i], (unsigned long long)native.gpr[i]);
    }
    fpu_dump("before", &before.fpu);
    fpu_dump("ours", &run.fpu);
    fpu_dump("host", &expected);
    fprintf(stderr, "memory %016llx%016llx\n", (unsigned long long)before.memory.u64[1],
            (unsigned long long)before.memory.u64[0]);
    return false;
}

static void test_simd_functions(void **state)
{
    FpuTest *test = *state;
    unsigned found = 0, failed = 0;

    /* Here, because cmocka sets signal handlers of its own for every test. */
    native_init();
    for (unsigned map = X86_MAP_0F; map <= X86_MAP_0F3A; map++) {
        for (unsigned key = 0; key < 4 * 256 * 8; key++) {
            const X86SimdPrefix prefix = (X86SimdPrefix)(key >> 11);
            const uint8_t opcode = key >> 3 & 0xff;
            const bool shift_group = map == X86_MAP_0F && opcode >= 0x71 && opcode <= 0x73;
            const X86SimdInsn *insn = x86_simd_lookup((X86OpcodeMap)map, prefix, opcode, key & 7);
            if (!insn || (!shift_group && (key & 7)) || (insn->flags & X86_SIMD_MASKMOV)) {
                continue;
            }
            found++;
            unsigned i = 0;
            while (i < CASES_SIMD && simd_case(test, (X86OpcodeMap)map, prefix, opcode, key & 7, insn)) {
                i++;
            }
            failed += i < CASES_SIMD;
        }
    }
    assert_true(found > 200);
    assert_int_equal(failed, 0);
}

/* Condition codes on which processors differ (undefined, or after unmasked exceptions; SDM vol. 2). */
static unsigned x87_undefined_fsw(const X86FpuInsn *insn, const X86Fpu *after)
{
    static const struct {
        const char *prefix;
        unsigned fsw;
        bool when_unmasked;
    } undefined[] = {
        {"fcom", FSW_CC, true},   {"fucom", FSW_CC, true},  {"ficom", FSW_CC, true},
        {"ftst", FSW_CC, true},   {"fcomi", FSW_C1, false}, {"fucomi", FSW_C1, false},
        {"ffree", FSW_CC, false}, {"fcmov", FSW_C1, false}, {"fprem", FSW_CC, true},
        {"fsin", FSW_CC, true},   {"fptan", FSW_CC, true},  {"fcos", FSW_CC, true},
    };
    unsigned bits = 0;

    for (unsigned i = 0; i < sizeof(undefined) / sizeof(undefined[0]); i++) {
        if (!strncmp(insn->name, undefined[i].prefix, strlen(undefined[i].prefix)) &&
            (!undefined[i].when_unmasked || x86_fpu_pending(after))) {
            bits |= undefined[i].fsw;
        }
    }
    return bits;
}

static bool x87_case(FpuTest *test, uint8_t opcode, uint8_t modrm, const X86FpuInsn *insn)
{
    NativeState native = {.rflags = test_random(&test->random) & 0x8d5};
    X86Fpu fpu, expected;
    uint8_t memory[128] = {0};
    uint16_t ax = (uint16_t)(uintptr_t)test->mem;

    fpu_random_state(&test->random, &fpu);
    for (unsigned i = 0; i < sizeof(memory); i += 16) {
        test_random_vector(&test->random, memory + i);
    }
    test_random_x87_operand(&test->random, memory, insn->mem_read);
    memcpy(test->mem, memory, sizeof(memory));
    native.gpr[0] = (uintptr_t)test->mem;
    const uint8_t code[] = {opcode, modrm, 0xcc};
    memcpy(test->code, code, sizeof(code));
    X86FpuCtx ctx = {.fpu = &fpu,
                     .opcode = opcode,
                     .modrm = modrm,
                     .opsize = 4,
                     .protected_mode = true,
                     .long_mode = true,
                     .eflags = native.rflags,
                     .ax = &ax,
                     .cr0_ne = true};
    const X86Fpu before = fpu;
    fpu_run_native(test, &fpu, &native, &expected);

    uint8_t buffer[128] __attribute__((aligned(32)));
    memcpy(buffer, memory, sizeof(buffer));
    assert_int_equal(insn->fn(&ctx, buffer), X86_SIMD_OK);
    if (!ctx.skip_write) {
        memcpy(memory, buffer, insn->mem_write);
    }
    if (insn->env && insn->mem_write) {
        /* Instruction and operand pointers. */
        memset(memory + 12, 0, 16);
        memset(test->mem + 12, 0, 16);
    }
    bool same = native.vector == NATIVE_VECTOR_BP && !memcmp(memory, test->mem, sizeof(memory)) &&
                !((ctx.eflags ^ native.rflags) & 0x8d5) && ax == (native.gpr[0] & 0xffff) &&
                fpu_equal(&fpu, &expected, x87_undefined_fsw(insn, &expected));
    if (!same) {
        fprintf(stderr, "%s (%02x %02x): vector %u, eflags %llx, host %llx, ax %x, host %llx\n", insn->name,
                opcode, modrm, native.vector, (unsigned long long)ctx.eflags,
                (unsigned long long)native.rflags, ax, (unsigned long long)native.gpr[0]);
        fpu_dump("before", &before);
        fpu_dump("ours", &fpu);
        fpu_dump("host", &expected);
        for (unsigned i = 0; i < 32; i++) {
            fprintf(stderr, "%02x/%02x ", memory[i], test->mem[i]);
        }
    }
    return same;
}

static void test_x87_functions(void **state)
{
    FpuTest *test = *state;
    unsigned found = 0, failed = 0;

    native_init();
    for (unsigned opcode = 0xd8; opcode <= 0xdf; opcode++) {
        for (unsigned modrm = 0; modrm < 0x100; modrm++) {
            const X86FpuInsn *insn = x86_fpu_lookup((uint8_t)opcode, (uint8_t)modrm);
            if (!insn || (modrm < 0xc0 && (modrm & 0xc7))) {
                continue;
            }
            found++;
            unsigned i = 0;
            while (i < CASES_X87 && x87_case(test, (uint8_t)opcode, (uint8_t)modrm, insn)) {
                i++;
            }
            failed += i < CASES_X87;
        }
    }
    assert_true(found > 400);
    assert_int_equal(failed, 0);
}

static void test_fxsave_image(void **state)
{
    FpuTest *test = *state;

    for (unsigned i = 0; i < 1000; i++) {
        uint8_t ours[512] __attribute__((aligned(16))) = {0}, host[512] __attribute__((aligned(16))) = {0};
        uint8_t saved[512] __attribute__((aligned(16)));
        X86Fpu fpu, back;

        fpu_random_state(&test->random, &fpu);
        fpu.mxcsr |= 0x1f80;
        fpu.fcw |= 0x3f;
        fpu.fsw &= 0x7f7f & ~0x3800;
        x86_fpu_fxsave(&fpu, ours, true, 16);
        __asm__ volatile("fxsave64 %0\n\tfxrstor64 %2\n\tfxsave64 %1\n\tfxrstor64 %0"
                         : "=m"(saved), "=m"(host)
                         : "m"(ours)
                         : "memory");
        /* The host's MXCSR mask and bytes 464 to 511 are its own. */
        memcpy(host + 28, ours + 28, 4);
        assert_memory_equal(ours, host, 464);
        memset(&back, 0, sizeof(back));
        assert_int_equal(x86_fpu_fxrstor(&back, host, true, 16), X86_SIMD_OK);
        assert_true(fpu_equal(&fpu, &back, 0));
    }
}

static void test_fxrstor_reserved(void **state)
{
    uint8_t image[512] = {0};
    X86Fpu fpu, before;

    memset(&fpu, 0, sizeof(fpu));
    x86_fpu_reset(&fpu);
    before = fpu;
    image[26] = 1;
    assert_int_equal(x86_fpu_fxrstor(&fpu, image, true, 16), X86_SIMD_GP);
    assert_memory_equal(&fpu, &before, sizeof(fpu));
}

/* Outside long mode XMM8..15 belong to nobody. */
static void test_fxsave_count(void **state)
{
    uint8_t image[512];
    X86Fpu fpu;

    memset(&fpu, 0x5a, sizeof(fpu));
    memset(image, 0xa5, sizeof(image));
    x86_fpu_fxsave(&fpu, image, false, 8);
    assert_int_equal(image[160 + 8 * 16 - 1], 0x5a);
    assert_int_equal(image[160 + 8 * 16], 0xa5);
    assert_int_equal(image[464], 0xa5);
}

/* An exception unmasked by FLDCW is pending until FNCLEX. */
static void test_pending(void **state)
{
    X86Fpu fpu;
    X86FpuCtx ctx = {.fpu = &fpu, .opcode = 0xd9, .modrm = 0x28};
    uint16_t fcw = 0x37e;

    x86_fpu_init(&fpu);
    fpu.fsw = 1;
    assert_false(x86_fpu_pending(&fpu));
    x86_fpu_lookup(0xd9, 0x28)->fn(&ctx, &fcw);
    assert_true(x86_fpu_pending(&fpu));
    assert_true(x86_fpu_lookup(0xdb, 0xe2)->no_wait);
    x86_fpu_lookup(0xdb, 0xe2)->fn(&ctx, NULL);
    assert_false(x86_fpu_pending(&fpu));
}

/* The 16-bit real-mode environment splits linear addresses over two words. */
static void test_real_mode_environment(void **state)
{
    X86Fpu fpu;
    uint8_t env[28] = {0};
    X86FpuCtx ctx = {.fpu = &fpu, .opcode = 0xd9, .modrm = 0x30, .opsize = 2};
    const uint8_t expected[14] = {0x7f, 0x03, 0, 0, 0xff, 0xff, 0x45, 0x23, 0x9c, 0x11, 0x10, 0x00, 0, 0x20};

    x86_fpu_init(&fpu);
    fpu.fip = 0x2345;
    fpu.fcs = 0x1000;
    fpu.fdp = 0x10;
    fpu.fds = 0x2000;
    fpu.fop = 0x19c;
    x86_fpu_lookup(0xd9, 0x30)->fn(&ctx, env);
    assert_memory_equal(env, expected, sizeof(expected));
}

static void test_absent(void **state)
{
    assert_null(x86_fpu_lookup(0xd9, 0xd1));
    assert_null(x86_fpu_lookup(0xd9, 0x08));
    assert_null(x86_simd_lookup(X86_MAP_0F, X86_PFX_F3, 0xfc, 0));
    assert_null(x86_simd_lookup(X86_MAP_0F, X86_PFX_66, 0x71, 0));
    assert_false(x86_simd_feature_available(0xff));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fxsave_image),          cmocka_unit_test(test_fxrstor_reserved),
        cmocka_unit_test(test_fxsave_count),          cmocka_unit_test(test_pending),
        cmocka_unit_test(test_real_mode_environment), cmocka_unit_test(test_absent),
        cmocka_unit_test(test_simd_functions),        cmocka_unit_test(test_x87_functions),
    };

    return cmocka_run_group_tests(tests, fpu_setup, NULL);
}
