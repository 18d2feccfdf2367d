/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Differential test: random instructions run on the host's processor and on the
 * software CPU from the same state; registers, defined flags, memory, vector
 * and x87 state and the exception must be the same.
 *
 *   diff [--cases N] [--seed S] [--form NAME] [--limit N] [--jit RUNS] [--undefined 1]
 *
 * --jit: blocks are compiled to host code after that many runs (1: all are).  --undefined: what became of the flags
 * that are undefined (forms.c), which are not compared.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/tcg/case.h"
#include "tests/tcg/guest.h"

enum { DEFAULT_CASES = 200000, DEFAULT_LIMIT = 20, MXCSR_PE = 0x20, VECTOR_MF = 16, VECTOR_XM = 19 };

enum { RFLAGS_COMPARED = 0xcd5, RFLAGS_ARITH = 0x8d5, FX_FSW = 2, FX_MXCSR = 24, FX_ST = 32, FX_ST_BYTES = 16, FX_XMM = 160 };

enum { VECTOR_PF = 14, FSW_ES = 0x80, FSW_TOP_SHIFT = 11, FSW_TOP = 7 << FSW_TOP_SHIFT, ST_COUNT = 8, X87_STORE_MAX = 10 };

enum { ARITH_FLAGS = 6 };
static const struct {
    uint16_t bit;
    const char *name;
} arith_flags[ARITH_FLAGS] = {{0x001, "CF"}, {0x004, "PF"}, {0x010, "AF"}, {0x040, "ZF"}, {0x080, "SF"}, {0x800, "OF"}};

/* Of the instructions of one name: how often a flag was undefined, and then had each of these values. */
typedef struct Undefined {
    const char *name;
    struct {
        unsigned long cases, host, kept, clear, set;
    } flag[ARITH_FLAGS];
} Undefined;

enum { UNDEFINED_MAX = 128 };

typedef struct Diff {
    Undefined undefined[UNDEFINED_MAX];
    uint8_t *code, *data; /* of the native run */
    TestRandom random;
    const char *only;
    unsigned long cases, seed, limit, jit_heat, failed, skipped, show_undefined;
} Diff;

static uint8_t *diff_map(uint64_t address, int prot)
{
    void *map =
        mmap((void *)address, GUEST_BYTES, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    if (map == MAP_FAILED) {
        perror("diff: mmap");
        exit(EXIT_FAILURE);
    }
    return map;
}

/* Runs CPUID on one of the two. */
static bool diff_cpuid(Diff *diff, const FormCpuid *where, bool native)
{
    static const uint8_t code[] = {0x0f, 0xa2, 0xcc};
    static const unsigned order[] = {0, 3, 1, 2}; /* EAX, EBX, ECX, EDX as register numbers */
    NativeState state = {.rip = GUEST_CODE, .rflags = 0x202};
    TestCase unused;
    const Form nop = {.name = "nop", .opcode = 0x90, .digit = FORM_ANY_REG};

    case_make(&unused, &nop, &diff->random, diff->data);
    memcpy(state.fx, unused.state.fx, sizeof(state.fx));
    state.gpr[0] = where->leaf & 0x80000000;
    memcpy(diff->code, code, sizeof(code));
    memcpy(guest_code(), code, sizeof(code));
    guest_code_changed(GUEST_CODE, sizeof(code));
    for (unsigned pass = 0; pass < 2; pass++) {
        /* First the highest leaf, then the leaf. */
        if (pass == 1) {
            if ((uint32_t)state.gpr[0] < where->leaf) {
                return false;
            }
            state = (NativeState){.rip = GUEST_CODE, .rflags = 0x202, .gpr = {where->leaf}};
            memcpy(state.fx, unused.state.fx, sizeof(state.fx));
        }
        (native ? native_run : guest_run)(&state);
    }
    return state.gpr[order[where->reg]] >> where->bit & 1;
}

static void diff_fx_fields(const char *who, const NativeState *s)
{
    uint16_t w[4];
    uint32_t mxcsr;

    memcpy(w, s->fx, sizeof(w));
    memcpy(&mxcsr, s->fx + FX_MXCSR, sizeof(mxcsr));
    fprintf(
        stderr,
        "  %s: vector %u error %llx cr2 %llx rip %llx rflags %llx mxcsr %04x fcw %04x fsw %04x ftw %02x\n",
        who, s->vector, (unsigned long long)s->error, (unsigned long long)s->cr2, (unsigned long long)s->rip,
        (unsigned long long)(s->rflags & RFLAGS_COMPARED), mxcsr, w[0], w[1], w[2]);
}

static void diff_print_bytes(const char *what, unsigned n, const uint8_t *before, const uint8_t *ours,
                             const uint8_t *host, unsigned len)
{
    const uint8_t *rows[] = {before, ours, host};

    fprintf(stderr, "    %s%u", what, n);
    for (unsigned row = 0; row < 3; row++) {
        fprintf(stderr, " ");
        for (unsigned i = len; i-- > 0;) {
            fprintf(stderr, "%02x", rows[row][i]);
        }
    }
    fprintf(stderr, "%s\n", memcmp(ours, host, len) ? "  <--" : "");
}

static void diff_report(const TestCase *test, const NativeState *ours, const NativeState *host,
                        const uint8_t *data)
{
    fprintf(stderr, "%s:", test->form->name);
    for (unsigned i = 0; i < test->len; i++) {
        fprintf(stderr, " %02x", test->code[i]);
    }
    fprintf(stderr, "  operand %llx, undefined flags %x\n", (unsigned long long)test->operand,
            test->undefined);
    diff_fx_fields("before", &test->state);
    diff_fx_fields("ours  ", ours);
    diff_fx_fields("host  ", host);
    fprintf(stderr, "    register, before, ours, host\n");
    for (unsigned i = 0; i < 16; i++) {
        diff_print_bytes("r", i, (const uint8_t *)&test->state.gpr[i], (const uint8_t *)&ours->gpr[i],
                         (const uint8_t *)&host->gpr[i], 8);
    }
    for (unsigned i = 0; i < 24; i++) {
        const unsigned offset = FX_ST + 16 * i;
        if (memcmp(ours->fx + offset, host->fx + offset, 16) || (test->form->flags & FORM_X87)) {
            diff_print_bytes(i < 8 ? "st" : "xmm", i < 8 ? i : i - 8, test->state.fx + offset,
                             ours->fx + offset, host->fx + offset, i < 8 ? 10 : 16);
        }
    }
    for (unsigned i = 0, shown = 0; i < GUEST_BYTES && shown < 32; i++) {
        if (guest_data()[i] != data[i]) {
            fprintf(stderr, "    memory %x: ours %02x host %02x\n", GUEST_DATA + i, guest_data()[i], data[i]);
            shown++;
        }
    }
}

/* Vector and x87 state: pointers of the last x87 instruction are not compared, hosts save them differently.
 */
static bool diff_same_fx(const TestCase *test, const NativeState *ours, const NativeState *host)
{
    const unsigned ignored_mxcsr = host->vector == VECTOR_XM ? MXCSR_PE : 0;
    uint32_t a, b;

    memcpy(&a, ours->fx + FX_MXCSR, sizeof(a));
    memcpy(&b, host->fx + FX_MXCSR, sizeof(b));
    return !((a ^ b) & ~ignored_mxcsr) && !memcmp(ours->fx, host->fx, 5) &&
           !memcmp(ours->fx + FX_ST, host->fx + FX_ST, FX_XMM + 256 - FX_ST);
}

static bool diff_same(const TestCase *test, const NativeState *ours, const NativeState *host,
                      const uint8_t *data)
{
    const uint64_t flags = RFLAGS_COMPARED & ~(uint64_t)test->undefined;

    if (ours->vector != host->vector || ours->rip != host->rip ||
        memcmp(ours->gpr, host->gpr, sizeof(ours->gpr)) || ((ours->rflags ^ host->rflags) & flags) ||
        memcmp(guest_data(), data, GUEST_BYTES)) {
        return false;
    }
    /* Processors read long x87 images in an order of their own. */
    const bool any_address = test->form->flags & FORM_ENV;
    /* The upper half is the host kernel's: what is present there is not the processor's doing. */
    const uint64_t ignored_error = ours->cr2 >> 63;
    if (ours->vector == VECTOR_PF &&
        ((ours->cr2 != host->cr2 && !any_address) || ((ours->error ^ host->error) & ~ignored_error))) {
        return false;
    }
    return diff_same_fx(test, ours, host);
}

/* Instruction and operand pointers in an environment that was stored. */
static void diff_hide_pointers(const TestCase *test, uint8_t *data)
{
    for (unsigned i = 12; (test->form->flags & FORM_ENV) && i < 28; i++) {
        const uint64_t offset = test->operand + i - GUEST_DATA;
        if (offset < GUEST_BYTES) {
            data[offset] = guest_data()[offset] = 0;
        }
    }
}

static uint16_t fx_status(const NativeState *state)
{
    uint16_t fsw;

    memcpy(&fsw, state->fx + FX_FSW, sizeof(fsw));
    return fsw;
}

/* The same registers, numbered from another top of the stack. */
static void fx_set_top(NativeState *state, uint16_t top)
{
    const uint16_t fsw = fx_status(state), now = (uint16_t)((fsw & ~FSW_TOP) | top);
    const unsigned by = ((unsigned)(top - (fsw & FSW_TOP)) >> FSW_TOP_SHIFT) % ST_COUNT;
    uint8_t st[ST_COUNT][FX_ST_BYTES];

    memcpy(st, state->fx + FX_ST, sizeof(st));
    for (unsigned i = 0; i < ST_COUNT; i++) {
        memcpy(state->fx + FX_ST + FX_ST_BYTES * i, st[(i + by) % ST_COUNT], FX_ST_BYTES);
    }
    memcpy(state->fx + FX_FSW, &now, sizeof(now));
}

/*
 * What there is of an instruction whose store or string meets a page that is missing is each processor's own: whether an unmasked
 * exception of x87 comes first, and then nothing is stored; the first bytes of what is stored; the flags of a string's last
 * comparison; MMX's top of the stack.  False: the two cannot be compared.
 */
static bool diff_hide_order(const TestCase *test, const NativeState *ours, NativeState *host, uint8_t *data)
{
    if (ours->vector != VECTOR_PF) {
        return true;
    }
    if (host->vector != VECTOR_PF) {
        return !(test->form->flags & FORM_X87 && fx_status(host) & FSW_ES && !(fx_status(ours) & FSW_ES));
    }
    if (test->form->flags & FORM_STRING) {
        host->rflags = (host->rflags & ~(uint64_t)RFLAGS_ARITH) | (ours->rflags & RFLAGS_ARITH);
    }
    for (unsigned i = 0; test->form->flags & FORM_X87 && i < X87_STORE_MAX; i++) {
        const uint64_t offset = test->operand + i - GUEST_DATA;

        if (offset < GUEST_BYTES) {
            data[offset] = guest_data()[offset];
        }
    }
    if (!(test->form->flags & FORM_X87) && !(fx_status(host) & FSW_TOP)) {
        fx_set_top(host, fx_status(ours) & FSW_TOP);
    }
    return true;
}

static void diff_note_undefined(Diff *diff, const TestCase *test, const NativeState *ours, const NativeState *host)
{
    const uint64_t before = test->state.rflags;
    Undefined *u = diff->undefined;

    if (ours->vector != NATIVE_VECTOR_BP || !test->undefined) {
        return;
    }
    while (u->name && strcmp(u->name, test->form->name)) {
        u++;
    }
    u->name = test->form->name;
    for (unsigned i = 0; i < ARITH_FLAGS; i++) {
        const uint64_t bit = arith_flags[i].bit;

        if (test->undefined & bit) {
            u->flag[i].cases++;
            u->flag[i].host += !((ours->rflags ^ host->rflags) & bit);
            u->flag[i].kept += !((ours->rflags ^ before) & bit);
            u->flag[i].clear += !(ours->rflags & bit);
            u->flag[i].set += !!(ours->rflags & bit);
        }
    }
}

static void diff_print_undefined(const Diff *diff)
{
    for (const Undefined *u = diff->undefined; u->name; u++) {
        printf("%s:", u->name);
        for (unsigned i = 0; i < ARITH_FLAGS; i++) {
            const unsigned long n = u->flag[i].cases;

            if (n) {
                printf(" %s %s,", arith_flags[i].name, u->flag[i].clear == n  ? "0"
                                                       : u->flag[i].set == n  ? "1"
                                                       : u->flag[i].kept == n ? "kept"
                                                       : u->flag[i].host == n ? "as the host"
                                                                              : "computed");
            }
        }
        printf("\n");
    }
}

static void diff_run_case(Diff *diff, const Form *form)
{
    TestCase test;
    NativeState host, ours;

    case_make(&test, form, &diff->random, diff->data);
    memcpy(guest_data(), diff->data, GUEST_BYTES);
    const uint64_t offset = test.state.rip - GUEST_CODE;
    memcpy(diff->code + offset, test.code, test.len);
    memcpy(guest_code() + offset, test.code, test.len);
    guest_code_changed(test.state.rip, test.len);
    host = ours = test.state;
    native_run(&host);
    guest_run(&ours);
    diff_hide_pointers(&test, diff->data);
    diff_note_undefined(diff, &test, &ours, &host);
    if (diff_hide_order(&test, &ours, &host, diff->data) && !diff_same(&test, &ours, &host, diff->data)) {
        if (diff->failed++ < diff->limit) {
            diff_report(&test, &ours, &host, diff->data);
        }
    }
    memset(diff->code + offset, 0xcc, test.len);
    memset(guest_code() + offset, 0xcc, test.len);
    guest_code_changed(test.state.rip, test.len);
}

/* Drops forms that one of the two processors does not have, or that were not asked for. */
static size_t diff_select_forms(Diff *diff, Form *forms, size_t count)
{
    bool present[FORM_FEAT_COUNT] = {true};
    size_t kept = 0;

    for (unsigned feature = 1; feature < FORM_FEAT_COUNT; feature++) {
        present[feature] =
            diff_cpuid(diff, &form_cpuid[feature], true) && diff_cpuid(diff, &form_cpuid[feature], false);
    }
    memset(diff->code, 0xcc, GUEST_BYTES);
    memset(guest_code(), 0xcc, GUEST_BYTES);
    guest_code_changed(GUEST_CODE, GUEST_BYTES);
    for (size_t i = 0; i < count; i++) {
        if (!present[forms[i].feature]) {
            diff->skipped++;
        } else if (!diff->only || !strcmp(diff->only, forms[i].name)) {
            forms[kept++] = forms[i];
        }
    }
    return kept;
}

static bool diff_parse(Diff *diff, int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) {
            return false;
        }
        if (!strcmp(argv[i], "--cases")) {
            diff->cases = strtoul(argv[i + 1], NULL, 0);
        } else if (!strcmp(argv[i], "--seed")) {
            diff->seed = strtoul(argv[i + 1], NULL, 0);
        } else if (!strcmp(argv[i], "--limit")) {
            diff->limit = strtoul(argv[i + 1], NULL, 0);
        } else if (!strcmp(argv[i], "--jit")) {
            diff->jit_heat = strtoul(argv[i + 1], NULL, 0);
        } else if (!strcmp(argv[i], "--undefined")) {
            diff->show_undefined = strtoul(argv[i + 1], NULL, 0);
        } else if (!strcmp(argv[i], "--form")) {
            diff->only = argv[i + 1];
        } else {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    Diff diff = {.cases = DEFAULT_CASES, .seed = 1, .limit = DEFAULT_LIMIT};
    size_t count;
    Form *forms = forms_make(&count);

    if (!diff_parse(&diff, argc, argv)) {
        fprintf(stderr, "usage: %s [--cases N] [--seed S] [--form NAME] [--limit N] [--jit RUNS] [--undefined 1]\n",
                argv[0]);
        return EXIT_FAILURE;
    }
    if (!guest_init("max", (unsigned)diff.jit_heat)) {
        return EXIT_FAILURE;
    }
    diff.code = diff_map(GUEST_CODE, PROT_READ | PROT_WRITE | PROT_EXEC);
    diff.data = diff_map(GUEST_DATA, PROT_READ | PROT_WRITE);
    memset(diff.code, 0xcc, GUEST_BYTES);
    test_random_seed(&diff.random, diff.seed);
    native_init();
    count = diff_select_forms(&diff, forms, count);
    if (!count) {
        fprintf(stderr, "diff: no such form\n");
        return EXIT_FAILURE;
    }
    for (unsigned long i = 0; i < diff.cases; i++) {
        diff_run_case(&diff, &forms[i % count]);
    }
    if (diff.show_undefined) {
        diff_print_undefined(&diff);
    }
    printf("%lu cases of %zu forms (%lu forms not on both processors), seed %lu: %lu differ\n", diff.cases,
           count, diff.skipped, diff.seed, diff.failed);
    guest_free();
    free(forms);
    return diff.failed || diff.cases == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
