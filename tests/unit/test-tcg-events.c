/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When the software CPU takes interrupts (Intel SDM vol. 3, 6.3, 6.7-6.9 and
 * table 6-2): shadows of STI and MOV SS, priorities, blocked NMIs, halts, string
 * instructions; and what faults during delivery lead to (table 6-5).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/tcg/rig.h"

enum { DE = 0, NMI = 2, UD = 6, DF = 8, GP = 13, PAGE = 4096, HOLE = RIG_DATA + 8 * PAGE };
#define RF UINT64_C(0x10000)

static int setup(void **state)
{
    *state = rig_new("max");
    return 0;
}

static int teardown(void **state)
{
    rig_free(*state);
    return 0;
}

SNIPPET(s_div, 64, "div %ecx");
SNIPPET(s_ud2, 64, "ud2");

enum { IRQ = 0x31 };

SNIPPET(e_sti, 64, "sti\n incl %eax\n incl %eax\n incl %eax");
SNIPPET(e_sti_cli, 64, "sti\n cli\n incl %eax");
SNIPPET(e_sti_sti, 64, "sti\n sti\n incl %eax");
SNIPPET(e_mov_ss, 64, "movl %edx, %ss\n incl %eax\n incl %eax");
SNIPPET(e_pop_flags, 64, "pushq $0x202\n popfq\n incl %eax");
SNIPPET(e_nops, 64, "nop\n nop");
SNIPPET(e_hlt, 64, "sti\n hlt\n incl %eax");

static RigResult with_interrupt(Rig *rig, const uint8_t *code, size_t len, uint64_t rflags)
{
    rig_reset(rig, RIG_LONG, 0);
    rig->s.rflags |= rflags;
    rig->s.gpr[X86_RDX] = RIG_DS0;
    rig->vector = IRQ;
    x86_cpu_set_irq(rig->cpu, X86_IRQ_HARD, true);
    return rig_run(rig, code, len);
}

#define WITH_INTERRUPT(rig, name, rflags) with_interrupt(rig, name, (size_t)(name##_end - name), rflags)

static void expect_irq(const RigResult *r, unsigned vector, unsigned at)
{
    assert_int_equal(r->vector, vector);
    assert_int_equal(r->rip, RIG_CODE + at);
    assert_int_equal(r->rflags & RF, 0);
}

static void test_interrupt_shadow(void **state)
{
    RigResult r;

    r = WITH_INTERRUPT(*state, e_sti, 0);
    expect_irq(&r, IRQ, 3); /* after exactly one more instruction */
    assert_int_equal(r.s.gpr[X86_RAX], 1);
    r = WITH_INTERRUPT(*state, e_sti, 0x200);
    expect_irq(&r, IRQ, 0); /* enabled before: no shadow, it was taken at once */
    r = WITH_INTERRUPT(*state, e_sti_cli, 0);
    assert_int_equal(r.vector, RIG_VECTOR_NONE);
    assert_int_equal(r.s.gpr[X86_RAX], 1);
    r = WITH_INTERRUPT(*state, e_sti_sti, 0);
    expect_irq(&r, IRQ, 2); /* the second has none */
    r = WITH_INTERRUPT(*state, e_pop_flags, 0);
    expect_irq(&r, IRQ, 6);
    x86_cpu_set_irq(((Rig *)*state)->cpu, X86_IRQ_HARD, false);
}

static void raise_on_out(void *opaque, uint16_t port, uint32_t val, unsigned size)
{
    Rig *rig = opaque;

    rig->vector = IRQ;
    x86_cpu_set_irq(rig->cpu, X86_IRQ_HARD, true);
    x86_cpu_set_irq(rig->cpu, X86_IRQ_NMI, true);
}

static void test_mov_ss_shadow(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    rig->s.irq_shadow = 2;
    x86_cpu_set_irq(rig->cpu, X86_IRQ_NMI, true);
    rig->s.gpr[X86_RDX] = RIG_DS0;
    r = RIG_RUN(rig, e_mov_ss);
    expect_irq(&r, NMI, 4); /* MOV SS in a shadow starts one of its own */
}

static void test_priority_and_nmi_blocking(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    rig->s.rflags |= 0x200;
    rig->vector = IRQ;
    x86_cpu_set_irq(rig->cpu, X86_IRQ_HARD, true);
    x86_cpu_set_irq(rig->cpu, X86_IRQ_NMI, true);
    r = RIG_RUN(rig, e_nops);
    expect_irq(&r, NMI, 0);
    assert_int_equal(rig->acks, 0);
    assert_int_equal(r.s.nmi_blocked, 1);
    /* A second one waits for IRET. */
    x86_cpu_set_irq(rig->cpu, X86_IRQ_NMI, true);
    assert_false(x86_cpu_has_work(rig->cpu));
    x86_cpu_get_state(rig->cpu, &rig->s);
    assert_int_equal(rig->s.nmi_pending, 1);
    x86_cpu_set_irq(rig->cpu, X86_IRQ_HARD, false);
}

SNIPPET(e_iret_to_next, 64, "movq %rsp, %rax\n pushq %rcx\n pushq %rax\n pushfq\n pushq %rdx\n pushq %rbx\n iretq");

static void test_iret_unblocks_nmi(void **state)
{
    Rig *rig = *state;
    size_t len = (size_t)(e_iret_to_next_end - e_iret_to_next);
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    rig->s.nmi_blocked = 1;
    x86_cpu_set_irq(rig->cpu, X86_IRQ_NMI, true);
    rig->s.gpr[X86_RCX] = RIG_DS0;
    rig->s.gpr[X86_RDX] = RIG_CS64;
    rig->s.gpr[X86_RBX] = RIG_CODE + len;
    r = rig_run(rig, e_iret_to_next, len);
    expect_irq(&r, NMI, (unsigned)len);
}

static void test_hlt_and_wake(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    r = RIG_RUN(rig, e_hlt);
    assert_int_equal(r.why, X86_EXIT_HALTED);
    assert_int_equal(r.s.rip, RIG_CODE + 2);
    assert_false(x86_cpu_has_work(rig->cpu));
    rig->vector = IRQ;
    x86_cpu_set_irq(rig->cpu, X86_IRQ_HARD, true);
    assert_true(x86_cpu_has_work(rig->cpu));
    r = rig_resume(rig);
    expect_irq(&r, IRQ, 2);
    /* STI; HLT with one pending: it is taken in the halt, not lost. */
    r = WITH_INTERRUPT(rig, e_hlt, 0);
    expect_irq(&r, IRQ, 2);
    x86_cpu_set_irq(rig->cpu, X86_IRQ_HARD, false);
}

/* An interrupt in a repeated instruction: what is done stays done, the instruction is returned to. */
SNIPPET(e_rep_outs, 64, "rep outsb");

static void test_interrupt_in_string(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    rig->on_out = raise_on_out;
    rig->s.rflags |= 0x200;
    rig->s.nmi_blocked = 1;
    rig->s.gpr[X86_RCX] = 5;
    rig->s.gpr[X86_RSI] = RIG_DATA;
    rig->s.gpr[X86_RDX] = 0x123;
    r = RIG_RUN(rig, e_rep_outs);
    assert_int_equal(r.vector, IRQ);
    assert_int_equal(r.rip, RIG_CODE);
    assert_int_equal(r.s.gpr[X86_RCX], 4);
    assert_int_equal(r.s.gpr[X86_RSI], RIG_DATA + 1);
    rig->on_out = NULL;
    x86_cpu_set_irq(rig->cpu, X86_IRQ_HARD, false);
    x86_cpu_reset(rig->cpu, false);
}

/* --- INTR that comes and goes while interrupts are off --- */

/* AL = 1 raises INTR, 0 lowers it; the loops run compiled and not. */
#define MASKED_LOOP(n) " movl $100, %ecx\n 1" n ": incl %ebx\n loop 1" n "b\n"
SNIPPET(i_lowered, 64, "movb $1, %al\n outb %al, $0x10\n" MASKED_LOOP("0") "movb $0, %al\n outb %al, $0x10\n sti\n incl %ebx\n incl %ebx\n ud2");
SNIPPET(i_raised, 64, "movb $1, %al\n outb %al, $0x10\n" MASKED_LOOP("0") "sti\n incl %ebx\n incl %ebx\n ud2");
SNIPPET(i_again, 64, "movb $1, %al\n outb %al, $0x10\n" MASKED_LOOP("0") "movb $0, %al\n outb %al, $0x10\n"
                     "movb $1, %al\n outb %al, $0x10\n" MASKED_LOOP("2") "pushq $0x202\n popfq\n incl %ebx\n ud2");

static void drive_intr(void *opaque, uint16_t port, uint32_t val, unsigned size)
{
    Rig *rig = opaque;

    rig->vector = IRQ;
    x86_cpu_set_irq(rig->cpu, X86_IRQ_HARD, val & 1);
}

static void masked_case(Rig *rig, const uint8_t *code, size_t len, unsigned vector, unsigned ebx)
{
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    rig->on_out = drive_intr;
    rig->s.gpr[X86_RBX] = 0;
    r = rig_run(rig, code, len);
    assert_int_equal(r.vector, vector);
    assert_int_equal(r.s.gpr[X86_RBX], ebx);
    rig->on_out = NULL;
    x86_cpu_set_irq(rig->cpu, X86_IRQ_HARD, false);
    x86_cpu_reset(rig->cpu, false);
}

static void test_masked_intr(void **state)
{
    masked_case(*state, i_lowered, (size_t)(i_lowered_end - i_lowered), UD, 102);
    masked_case(*state, i_raised, (size_t)(i_raised_end - i_raised), IRQ, 101);
    masked_case(*state, i_again, (size_t)(i_again_end - i_again), IRQ, 200);
}

/* --- string instructions in bulk --- */

SNIPPET(m_movsb, 64, "rep movsb");
SNIPPET(m_movsw, 64, "rep movsw");
SNIPPET(m_movsq, 64, "rep movsq");
SNIPPET(m_stosl, 64, "rep stosl");
SNIPPET(m_movsb_fs32, 64, "addr32 rep movsb %fs:(%esi), (%edi)");

typedef struct BulkCase {
    const char *name;
    const uint8_t *code, *end;
    unsigned size;
    bool moves;
} BulkCase;

#define BULK(name, size, moves) {#name, name, name##_end, size, moves}

static const BulkCase bulks[] = {BULK(m_movsb, 1, true), BULK(m_movsw, 2, true), BULK(m_movsq, 8, true), BULK(m_stosl, 4, false)};

/* As the manual has it: one element after the other.  `ram` begins at RIG_DATA. */
static void bulk_model(const BulkCase *c, uint8_t *ram, uint64_t si, uint64_t di, int64_t step, unsigned count, uint64_t rax)
{
    for (unsigned i = 0; i < count; i++) {
        if (c->moves) {
            memcpy(&rax, ram + si - RIG_DATA, c->size);
        }
        memcpy(ram + di - RIG_DATA, &rax, c->size);
        si += (uint64_t)step;
        di += (uint64_t)step;
    }
}

/* Elements 0 to count - 1 of `far` bytes between source and destination, upwards or downwards. */
static void bulk_case(Rig *rig, const BulkCase *c, int far, bool down, uint8_t *model)
{
    const unsigned count = 5000 / c->size;
    const int64_t step = down ? -(int64_t)c->size : c->size;
    const uint64_t low = RIG_DATA + PAGE + 11, first = down ? low + (count - 1) * c->size : low, si = first, di = first + (uint64_t)far;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    for (unsigned i = 0; i < 4 * PAGE; i++) {
        rig->ram[RIG_DATA + i] = (uint8_t)(i * 7 + (i >> 8));
    }
    memcpy(model, rig->ram + RIG_DATA, 4 * PAGE);
    rig->s.rflags |= down ? 1u << 10 : 0; /* DF */
    rig->s.gpr[X86_RAX] = 0x0123456789abcdef;
    rig->s.gpr[X86_RCX] = count;
    rig->s.gpr[X86_RSI] = si;
    rig->s.gpr[X86_RDI] = di;
    bulk_model(c, model, si, di, step, count, rig->s.gpr[X86_RAX]);
    r = rig_run(rig, c->code, (size_t)(c->end - c->code));
    if (r.s.gpr[X86_RCX] || r.s.gpr[X86_RSI] != (c->moves ? si + (uint64_t)step * count : si) ||
        r.s.gpr[X86_RDI] != di + (uint64_t)step * count || memcmp(model, rig->ram + RIG_DATA, 4 * PAGE)) {
        fail_msg("%s %s, %d bytes between: vector %u, %llu left", c->name, down ? "down" : "up", far, r.vector,
                 (unsigned long long)r.s.gpr[X86_RCX]);
    }
}

static void test_strings_in_bulk(void **state)
{
    static const int fars[] = {0, 1, 3, 8, 100, 4096, 5003, -1, -2, -8, -37, -4000};
    uint8_t *model = malloc(4 * PAGE);

    assert_non_null(model);
    for (size_t i = 0; i < sizeof(bulks) / sizeof(bulks[0]); i++) {
        for (size_t f = 0; f < sizeof(fars) / sizeof(fars[0]); f++) {
            bulk_case(*state, &bulks[i], fars[f], false, model);
            bulk_case(*state, &bulks[i], fars[f], true, model);
        }
    }
    free(model);
}

/* 32-bit addresses wrap at 4 GiB above a segment's base, in the middle of a page or not. */
static void test_string_address_wraps(void **state)
{
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    rig->s.seg[X86_SEG_FS].base = RIG_DATA + 0x800 - UINT64_C(0xfffffff0);
    rig->s.gpr[X86_RCX] = 100;
    rig->s.gpr[X86_RSI] = 0xfffffff0;
    rig->s.gpr[X86_RDI] = RIG_DATA + PAGE;
    r = RIG_RUN(rig, m_movsb_fs32);
    assert_int_equal(r.vector, 14);
    assert_int_equal(r.s.gpr[X86_RCX], 84);
    assert_int_equal(r.s.gpr[X86_RSI], 0);
    assert_int_equal(r.s.cr2, rig->s.seg[X86_SEG_FS].base);
}

/* --- faults while an event is delivered --- */

static void p_no_stack(Rig *rig)
{
    rig_put64(rig, RIG_TSS + 4, HOLE + 64);
    rig_map(rig, HOLE, 0, 0, PAGE);
    /* Double faults get a good stack. */
    rig_put_gate(rig, DF, RIG_CS64, RIG_STUBS + DF * RIG_STUB_BYTES, 0xe, 0, 1);
}

static void clear_gate(Rig *rig, unsigned vector)
{
    rig_put64(rig, RIG_IDT + vector * 16u, 0);
}

static void test_double_and_triple_faults(void **state)
{
    Rig *rig = *state;
    RigResult r;

    /* #UD whose gate is empty: #GP; that is contributory but #UD is not: no double fault. */
    rig_reset(rig, RIG_LONG, 3);
    clear_gate(rig, UD);
    r = RIG_RUN(rig, s_ud2);
    assert_int_equal(r.vector, GP);
    assert_int_equal(r.error, UD * 8 + 3);
    assert_int_equal(r.rip, RIG_CODE);
    /* #DE, then #GP: both contributory. */
    rig_reset(rig, RIG_LONG, 3);
    clear_gate(rig, DE);
    r = RIG_RUN(rig, s_div);
    assert_int_equal(r.vector, DF);
    assert_int_equal(r.error, 0);
    /* The stack of the handler is not there: #PF in #UD is a #PF, #PF in that a double fault. */
    rig_reset(rig, RIG_LONG, 3);
    p_no_stack(rig);
    r = RIG_RUN(rig, s_ud2);
    assert_int_equal(r.vector, DF);
    assert_int_equal(r.s.cr2, HOLE + 56);
    /* And no gate for that either. */
    rig_reset(rig, RIG_LONG, 3);
    p_no_stack(rig);
    clear_gate(rig, DF);
    r = RIG_RUN(rig, s_ud2);
    assert_int_equal(r.why, X86_EXIT_TRIPLE);
    assert_int_equal(rig->triple_faults, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interrupt_shadow),
        cmocka_unit_test(test_mov_ss_shadow),
        cmocka_unit_test(test_priority_and_nmi_blocking),
        cmocka_unit_test(test_iret_unblocks_nmi),
        cmocka_unit_test(test_hlt_and_wake),
        cmocka_unit_test(test_interrupt_in_string), cmocka_unit_test(test_strings_in_bulk),
        cmocka_unit_test(test_masked_intr),
        cmocka_unit_test(test_string_address_wraps),
        cmocka_unit_test(test_double_and_triple_faults),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
