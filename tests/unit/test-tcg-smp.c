/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Software CPUs that run at once on one RAM, each in a thread of its own: INIT and SIPI from another CPU (Intel SDM
 * vol. 3, 9.4.4), LOCK against everything others do (9.1.2), page tables that change under a walk (9.1.2.1), code and
 * translations that another CPU changes.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "accel/tcg-cpu.h"

enum {
    RAM_BYTES = 4 << 20,
    CPUS = 2,
    TABLES = 0x1000, /* PML4, PDPT, PD: linear is physical */
    SIPI_AT = 0x8000,
    COUNTER = 0x9000,
    STOP = 0xa000,   /* a byte */
    CODE = 0x20000,  /* a page for each CPU */
    DATA = 0x30000,
};
#define SNIPPET(name, bits, text)                                                                            \
    extern const uint8_t name[], name##_end[];                                                               \
    __asm__(".pushsection .rodata\n.code" #bits "\n.globl " #name "\n" #name ":\n" text "\n.globl " #name   \
            "_end\n" #name "_end:\n.popsection\n.code64\n")

typedef struct Smp {
    uint8_t *ram;
    X86Cpu *cpu[CPUS];
    pthread_rwlock_t guest; /* read: runs guest code; write: alone */
    pthread_barrier_t start;
    atomic_uint done;
} Smp;

typedef struct SmpCpu {
    Smp *smp;
    unsigned index;
} SmpCpu;

/* --- the bus --- */

static void smp_map_page(void *opaque, uint64_t gpa, X86BusPage *page)
{
    SmpCpu *c = opaque;

    *page = (X86BusPage){.host = gpa < RAM_BYTES ? c->smp->ram + gpa : NULL, .writable = gpa < RAM_BYTES};
}

static uint64_t smp_mem_read(void *opaque, uint64_t gpa, unsigned size)
{
    return UINT64_MAX;
}

static void smp_mem_write(void *opaque, uint64_t gpa, uint64_t val, unsigned size)
{
}

static uint64_t smp_zero(void *opaque)
{
    return 0;
}

static int smp_intr_ack(void *opaque)
{
    return -1;
}

static void smp_triple_fault(void *opaque)
{
}

static void smp_exclusive(void *opaque, bool begin)
{
    SmpCpu *c = opaque;
    Smp *smp = c->smp;

    pthread_rwlock_unlock(&smp->guest);
    if (!begin) {
        pthread_rwlock_rdlock(&smp->guest);
        return;
    }
    while (pthread_rwlock_trywrlock(&smp->guest)) {
        for (unsigned i = 0; i < CPUS; i++) {
            if (i != c->index) {
                x86_cpu_kick(smp->cpu[i]);
            }
        }
        sched_yield();
    }
}

static const X86CpuBus smp_bus = {
    .map_page = smp_map_page,
    .mem_read = smp_mem_read,
    .mem_write = smp_mem_write,
    .intr_ack = smp_intr_ack,
    .get_cr8 = smp_zero,
    .get_apic_base = smp_zero,
    .read_tsc = smp_zero,
    .triple_fault = smp_triple_fault,
    .exclusive = smp_exclusive,
};

static SmpCpu smp_cpus[CPUS];

static int setup(void **state)
{
    const char *heat = getenv("TCG_JIT_HEAT");
    Smp *smp = calloc(1, sizeof(*smp));

    smp->ram = aligned_alloc(4096, RAM_BYTES);
    memset(smp->ram, 0, RAM_BYTES);
    pthread_rwlock_init(&smp->guest, NULL);
    for (unsigned i = 0; i < CPUS; i++) {
        X86CpuConfig config = {.model = "max", .apic_id = i, .tsc_hz = 1000000000, .cpus = CPUS, .cores = CPUS,
                               .jit_heat = heat ? (uint32_t)atoi(heat) : 0};

        smp_cpus[i] = (SmpCpu){smp, i};
        smp->cpu[i] = x86_cpu_new(&config, &smp_bus, &smp_cpus[i], NULL);
        assert_non_null(smp->cpu[i]);
    }
    *state = smp;
    return 0;
}

static int teardown(void **state)
{
    Smp *smp = *state;

    for (unsigned i = 0; i < CPUS; i++) {
        x86_cpu_free(smp->cpu[i]);
    }
    pthread_rwlock_destroy(&smp->guest);
    free(smp->ram);
    free(smp);
    return 0;
}

static X86CpuExit smp_run(SmpCpu *c)
{
    X86CpuExit why;

    pthread_rwlock_rdlock(&c->smp->guest);
    why = x86_cpu_run(c->smp->cpu[c->index]);
    pthread_rwlock_unlock(&c->smp->guest);
    return why;
}

static void put(Smp *smp, uint64_t at, const void *bytes, size_t len)
{
    memcpy(smp->ram + at, bytes, len);
}

static void put64(Smp *smp, uint64_t at, uint64_t val)
{
    memcpy(smp->ram + at, &val, sizeof(val));
}

static uint64_t get64(const Smp *smp, uint64_t at)
{
    uint64_t val;

    memcpy(&val, smp->ram + at, sizeof(val));
    return val;
}

static long elapsed_ms(const struct timespec *began)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - began->tv_sec) * 1000 + (now.tv_nsec - began->tv_nsec) / 1000000;
}

/* --- INIT and SIPI --- */

SNIPPET(ap_counts, 16, "incl %cs:0x1000\n 1: hlt\n jmp 1b");

/* The vector's page is SIPI_AT, so %cs:0x1000 is COUNTER. */
_Static_assert(SIPI_AT + 0x1000 == COUNTER, "ap_counts");

typedef struct Ap {
    SmpCpu *cpu;
    atomic_uint asked, answered;
    atomic_bool quit;
    struct timespec began;
} Ap;

/* Says which question it had seen when there was nothing left to do. */
static void *ap_thread(void *opaque)
{
    Ap *ap = opaque;
    X86Cpu *cpu = ap->cpu->smp->cpu[ap->cpu->index];

    while (!atomic_load(&ap->quit)) {
        unsigned asked = atomic_load(&ap->asked);

        if (smp_run(ap->cpu) == X86_EXIT_HALTED && !x86_cpu_has_work(cpu)) {
            atomic_store(&ap->answered, asked);
        }
    }
    return NULL;
}

static void ap_ask(Ap *ap)
{
    unsigned n = atomic_fetch_add(&ap->asked, 1) + 1;

    while (atomic_load(&ap->answered) != n) {
        sched_yield();
    }
}

/* Where both threads share one processor a round takes long: less is done then. */
static bool ap_goes_on(const Ap *ap)
{
    return elapsed_ms(&ap->began) < 1500;
}

static void ap_begin(Ap *ap, Smp *smp, pthread_t *thread)
{
    put(smp, SIPI_AT, ap_counts, (size_t)(ap_counts_end - ap_counts));
    put64(smp, COUNTER, 0);
    *ap = (Ap){.cpu = &smp_cpus[1]};
    clock_gettime(CLOCK_MONOTONIC, &ap->began);
    assert_int_equal(pthread_create(thread, NULL, ap_thread, ap), 0);
}

static void ap_end(Ap *ap, pthread_t thread)
{
    atomic_store(&ap->quit, true);
    pthread_join(thread, NULL);
}

static void spin(unsigned n)
{
    for (volatile unsigned left = n; left; left--) {
    }
}

/* INIT and SIPI again and again, with something before each of them; the CPU begins each time. */
static void ap_rounds(Smp *smp, unsigned limit, bool stale, unsigned step, unsigned span)
{
    unsigned rounds = 0;
    pthread_t thread;
    Ap ap;

    ap_begin(&ap, smp, &thread);
    for (unsigned i = 0; i < limit && ap_goes_on(&ap); i++) {
        if (stale && i > 0) { /* it runs since the round before */
            x86_cpu_sipi(smp->cpu[1], 0xff);
            spin(i * step % span);
        }
        x86_cpu_set_irq(smp->cpu[1], X86_IRQ_INIT, true);
        if (!stale) {
            spin(i * step % span);
        }
        x86_cpu_sipi(smp->cpu[1], SIPI_AT >> 12);
        ap_ask(&ap);
        if (get64(smp, COUNTER) != ++rounds) {
            break;
        }
    }
    ap_end(&ap, thread);
    assert_int_equal(get64(smp, COUNTER), rounds);
}

/* The SIPI comes at any moment of the INIT. */
static void test_sipi_during_init(void **state)
{
    ap_rounds(*state, 10000, false, 37, 8000);
}

/* A SIPI that the running CPU ignores does not take the next one with it. */
static void test_stale_sipi(void **state)
{
    ap_rounds(*state, 3000, true, 7, 500);
}

static uint64_t state_of_ap(Smp *smp, X86CpuState *s)
{
    x86_cpu_get_state(smp->cpu[1], s);
    return s->seg[X86_SEG_CS].base + s->rip;
}

/* What is pending, in each order, when nobody runs meanwhile. */
static void test_init_and_sipi_orders(void **state)
{
    Smp *smp = *state;
    X86CpuState s;

    /* SIPI, then INIT: the CPU waits for another. */
    x86_cpu_set_irq(smp->cpu[1], X86_IRQ_INIT, true);
    assert_int_equal(smp_run(&smp_cpus[1]), X86_EXIT_HALTED);
    x86_cpu_sipi(smp->cpu[1], 0x12);
    x86_cpu_set_irq(smp->cpu[1], X86_IRQ_INIT, true);
    assert_int_equal(smp_run(&smp_cpus[1]), X86_EXIT_HALTED);
    state_of_ap(smp, &s);
    assert_int_equal(s.wait_sipi, 1);
    /* INIT, then two SIPIs: the second finds it running. */
    x86_cpu_set_irq(smp->cpu[1], X86_IRQ_INIT, true);
    x86_cpu_sipi(smp->cpu[1], 0x12);
    x86_cpu_sipi(smp->cpu[1], 0x12);
    assert_int_equal(state_of_ap(smp, &s), 0x12000);
    assert_int_equal(s.wait_sipi, 0);
    x86_cpu_sipi(smp->cpu[1], 0x34);
    assert_int_equal(state_of_ap(smp, &s), 0x12000);
    /* In system management mode INIT waits, and the SIPI behind it. */
    s.smm = 1;
    assert_true(x86_cpu_set_state(smp->cpu[1], &s));
    x86_cpu_set_irq(smp->cpu[1], X86_IRQ_INIT, true);
    x86_cpu_sipi(smp->cpu[1], 0x34);
    assert_int_equal(state_of_ap(smp, &s), 0x12000);
    assert_int_equal(s.events.init_latched, 1);
    s.smm = 0;
    assert_true(x86_cpu_set_state(smp->cpu[1], &s));
    assert_int_equal(state_of_ap(smp, &s), 0x34000);
    assert_int_equal(s.events.init_latched, 0);
}

/* INTR is a level: INIT does not lower what the interrupt controller holds up; edges move with the state. */
static void test_levels_and_edges(void **state)
{
    Smp *smp = *state;
    X86CpuState s;

    x86_cpu_set_irq(smp->cpu[1], X86_IRQ_HARD, true);
    x86_cpu_set_irq(smp->cpu[1], X86_IRQ_INIT, true);
    x86_cpu_sipi(smp->cpu[1], 0x12);
    state_of_ap(smp, &s);
    s.halted = 1;
    s.rflags |= 0x200;
    assert_true(x86_cpu_set_state(smp->cpu[1], &s));
    assert_true(x86_cpu_has_work(smp->cpu[1]));
    x86_cpu_set_irq(smp->cpu[1], X86_IRQ_HARD, false);
    assert_false(x86_cpu_has_work(smp->cpu[1]));
    x86_cpu_set_irq(smp->cpu[1], X86_IRQ_NMI, true);
    x86_cpu_get_state(smp->cpu[1], &s);
    x86_cpu_reset(smp->cpu[1], false);
    assert_true(x86_cpu_set_state(smp->cpu[1], &s));
    assert_true(x86_cpu_has_work(smp->cpu[1]));
    x86_cpu_reset(smp->cpu[1], false);
    assert_false(x86_cpu_has_work(smp->cpu[1]));
}

/* --- LOCK --- */

/*
 * RDI: the lock, RSI: what it protects, RCX: how often, unless the byte at RBP ends it.  Each takes the lock by another
 * instruction and gives it back by a plain store, which no other CPU's attempt may undo.
 */
#define AGAIN "decq %rcx\n jz 8f\n cmpb $0, (%rbp)\n je 1b\n 8: hlt"
#define LOCKED(take, give) "1: pause\n " take "\n jnz 1b\n incq (%rsi)\n " give "\n" AGAIN
#define CARRY_TO_NZ "\n sbb %eax, %eax\n test %eax, %eax"

SNIPPET(l_bts, 64, LOCKED("lock btsl $0, (%rdi)" CARRY_TO_NZ, "movl $0, (%rdi)"));
SNIPPET(l_bts_reg, 64, LOCKED("xor %edx, %edx\n lock btsq %rdx, (%rdi)" CARRY_TO_NZ, "movq $0, (%rdi)"));
SNIPPET(l_btr, 64, LOCKED("lock btrw $3, (%rdi)\n cmc" CARRY_TO_NZ, "movw $8, (%rdi)"));
SNIPPET(l_xchg, 64, LOCKED("mov $1, %eax\n xchgl %eax, (%rdi)\n test %eax, %eax", "movl $0, (%rdi)"));
SNIPPET(l_xchg8, 64, LOCKED("mov $1, %eax\n xchgb %al, (%rdi)\n test %al, %al", "movb $0, (%rdi)"));
SNIPPET(l_cmpxchg, 64, LOCKED("xor %eax, %eax\n lock cmpxchgl %ebx, (%rdi)", "movl $0, (%rdi)"));
SNIPPET(l_cmpxchg_q, 64, LOCKED("xor %eax, %eax\n lock cmpxchgq %rbx, (%rdi)", "movq $0, (%rdi)"));
SNIPPET(l_cmpxchg8b, 64,
        LOCKED("mov %rcx, %r8\n xor %eax, %eax\n xor %edx, %edx\n mov $7, %ecx\n lock cmpxchg8b (%rdi)\n mov %r8, %rcx",
               "movq $0, (%rdi)"));
SNIPPET(l_cmpxchg16b, 64,
        LOCKED("mov %rcx, %r8\n xor %eax, %eax\n xor %edx, %edx\n xor %ecx, %ecx\n lock cmpxchg16b (%rdi)\n mov %r8, %rcx",
               "movq $0, (%rdi)"));
/* 0: free; the one that makes it 1 has it, all others are taken back. */
SNIPPET(l_inc, 64, "1: pause\n lock incl (%rdi)\n jz 3f\n lock decl (%rdi)\n jmp 1b\n 3: incq (%rsi)\n lock decl (%rdi)\n"
                   AGAIN);
/* A ticket: RSI's second word is the one served. */
SNIPPET(l_xadd, 64, "1: mov $1, %eax\n lock xaddl %eax, (%rdi)\n 2: pause\n cmpl %eax, 8(%rsi)\n jne 2b\n incq (%rsi)\n"
                    "inc %eax\n movl %eax, 8(%rsi)\n " AGAIN);
/* Each its own bits of one word, with every operation there is: none is lost. */
SNIPPET(l_bits, 64, "1: lock addl %ebx, (%rdi)\n lock subl %ebx, (%rdi)\n lock orl %ebx, (%rdi)\n lock xorl %ebx, (%rdi)\n"
                    "lock btcl %edx, (%rdi)\n lock btcl %edx, (%rdi)\n lock notl 8(%rsi)\n lock notb 12(%rsi)\n clc\n"
                    "lock adcq $1, (%rsi)\n clc\n lock sbbq $0, (%rsi)\n " AGAIN);
/* Not locked: a store of one byte beside a locked word. */
SNIPPET(l_beside, 64, "1: movb %cl, 4(%rdi,%rdx)\n cmpb %cl, 4(%rdi,%rdx)\n jne 2f\n lock addl $1, (%rdi)\n lock incq (%rsi)\n"
                      AGAIN "\n 2: mov $-1, %rcx\n hlt");

typedef struct LockCase {
    const char *name;
    const uint8_t *code, *end;
    uint64_t free; /* of the lock */

} LockCase;

#define LOCK_CASE(name, free) {#name, name, name##_end, free}
static const LockCase lock_cases[] = {
    LOCK_CASE(l_bts, 0),     LOCK_CASE(l_bts_reg, 0),   LOCK_CASE(l_btr, 8),       LOCK_CASE(l_xchg, 0),
    LOCK_CASE(l_xchg8, 0),   LOCK_CASE(l_cmpxchg, 0),   LOCK_CASE(l_cmpxchg_q, 0), LOCK_CASE(l_cmpxchg8b, 0),
    LOCK_CASE(l_cmpxchg16b, 0), LOCK_CASE(l_inc, UINT32_MAX), LOCK_CASE(l_xadd, 0), LOCK_CASE(l_bits, 0),
    LOCK_CASE(l_beside, 0),
};

static void *lock_thread(void *opaque)
{
    SmpCpu *c = opaque;

    pthread_barrier_wait(&c->smp->start);
    while (smp_run(c) == X86_EXIT_KICKED) {
    }
    atomic_fetch_add(&c->smp->done, 1);
    return NULL;
}

/* Where the threads share one processor, waiting for a lock takes long: less is done then. */
static void lock_wait(Smp *smp)
{
    for (unsigned ms = 0; ms < 60 && atomic_load(&smp->done) < CPUS; ms++) {
        usleep(1000);
    }
    __atomic_store_n(smp->ram + STOP, 1, __ATOMIC_RELAXED);
}

/* 64-bit mode, linear as physical. */
static void long_mode(Smp *smp, unsigned index, X86CpuState *s)
{
    put64(smp, TABLES, (TABLES + 0x1000) | 7);
    put64(smp, TABLES + 0x1000, (TABLES + 0x2000) | 7);
    put64(smp, TABLES + 0x2000, 0x87);
    put64(smp, TABLES + 0x2008, 0x200087);
    x86_cpu_reset(smp->cpu[index], false);
    x86_cpu_get_state(smp->cpu[index], s);
    s->wait_sipi = 0;
    s->cr0 = 0x80010031;
    s->cr3 = TABLES;
    s->cr4 = 0x20;
    s->efer = 0xd00;
    for (int i = 0; i <= X86_SEG_GS; i++) {
        s->seg[i] = (X86SegState){.limit = UINT32_MAX, .selector = i == X86_SEG_CS ? 8 : 16, .attr = i == X86_SEG_CS ? 0xa09b : 0xc093};
    }
}

typedef struct LockPlace {
    uint64_t lock, counter;
    unsigned rounds;
} LockPlace;

static void lock_check(Smp *smp, const LockCase *c, const LockPlace *place)
{
    uint64_t count = get64(smp, place->counter), expected = 0, odd = 0;
    X86CpuState s;

    for (unsigned i = 0; i < CPUS; i++) {
        x86_cpu_get_state(smp->cpu[i], &s);
        assert_true(s.gpr[X86_RCX] <= place->rounds);
        expected += place->rounds - s.gpr[X86_RCX];
        odd ^= place->rounds - s.gpr[X86_RCX];
    }
    if (count != expected) {
        fail_msg("%s: %llu of %llu", c->name, (unsigned long long)count, (unsigned long long)expected);
    }
    if (c->code == l_bits && (get64(smp, place->lock) || get64(smp, place->counter + 8) != (odd & 1 ? UINT64_C(0xffffffffff) : 0))) {
        fail_msg("%s: 0x%llx 0x%llx left", c->name, (unsigned long long)get64(smp, place->lock),
                 (unsigned long long)get64(smp, place->counter + 8));
    }
}

static void lock_run(Smp *smp, const LockCase *c, const LockPlace *place)
{
    pthread_t threads[CPUS];
    X86CpuState s;

    memset(smp->ram + CODE, 0x90, DATA + 0x10000 - CODE);
    for (unsigned i = 0; i < CPUS; i++) {
        put(smp, CODE + i * 0x1000u, c->code, (size_t)(c->end - c->code));
        long_mode(smp, i, &s);
        s.rip = CODE + i * 0x1000u;
        s.gpr[X86_RDI] = place->lock;
        s.gpr[X86_RSI] = place->counter;
        s.gpr[X86_RBP] = STOP;
        s.gpr[X86_RCX] = place->rounds;
        s.gpr[X86_RBX] = c->code == l_bits ? 0x100u << i : 1;
        s.gpr[X86_RDX] = c->code == l_bits ? 20 + i : i;
        assert_true(x86_cpu_set_state(smp->cpu[i], &s));
    }
    memset(smp->ram + place->lock, 0, 16);
    memcpy(smp->ram + place->lock, &c->free, c->free == 8 ? 2 : 4);
    memset(smp->ram + place->counter, 0, 16);
    smp->ram[STOP] = 0;
    atomic_store(&smp->done, 0);
    pthread_barrier_init(&smp->start, NULL, CPUS);
    for (unsigned i = 0; i < CPUS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, lock_thread, &smp_cpus[i]), 0);
    }
    lock_wait(smp);
    for (unsigned i = 0; i < CPUS; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&smp->start);
    lock_check(smp, c, place);
}

static void lock_run_all(Smp *smp, const LockPlace *place)
{
    for (size_t i = 0; i < sizeof(lock_cases) / sizeof(lock_cases[0]); i++) {
        lock_run(smp, &lock_cases[i], place);
    }
}

static void test_lock(void **state)
{
    lock_run_all(*state, &(LockPlace){DATA, DATA + 0x100, 20000});
}

/* Every store comes the long way round, as it drops decoded code. */
static void test_lock_beside_code(void **state)
{
    lock_run_all(*state, &(LockPlace){CODE + 0xf00, DATA, 1500});
    lock_run_all(*state, &(LockPlace){CODE + 0xf00, CODE + 0x1f00, 1500});
}

/* The host's own LOCK does not reach across guest pages. */
static void test_lock_in_two_pages(void **state)
{
    for (size_t i = 0; i < sizeof(lock_cases) / sizeof(lock_cases[0]); i++) {
        const LockCase *c = &lock_cases[i];

        if (c->code != l_cmpxchg16b && c->code != l_xchg8 && c->code != l_beside) {
            lock_run(*state, c, &(LockPlace){DATA + 0xfff, DATA + 0x1100, 300});
        }
    }
}

/* --- page tables --- */

/* The page at RDI is there or not, as another has it; the handler of #PF tries again. */
SNIPPET(w_touch, 64, "1: invlpg (%rdi)\n movb $1, (%rdi)\n cmpb $0, (%rbp)\n je 1b\n hlt");
SNIPPET(w_fault, 64, "add $8, %rsp\n incq (%rsi)\n iretq");

enum { IDT = 0xb000, GDT = 0xc000, HANDLER = 0xd000, STACK = 0x10000, TABLE = 0x11000, PAGE_AT = 0x200000, VECTOR_PF = 14 };

static void walk_begin(Smp *smp)
{
    X86CpuState s;

    long_mode(smp, 0, &s);
    put64(smp, TABLES + 0x2008, TABLE | 7);
    put64(smp, GDT + 8, UINT64_C(0xaf9b000000ffff));
    put64(smp, GDT + 16, UINT64_C(0xcf93000000ffff));
    put64(smp, IDT + VECTOR_PF * 16, UINT64_C(0x8e0000080000) | HANDLER);
    put64(smp, IDT + VECTOR_PF * 16 + 8, 0);
    put(smp, HANDLER, w_fault, (size_t)(w_fault_end - w_fault));
    put(smp, CODE, w_touch, (size_t)(w_touch_end - w_touch));
    s.gdtr = (X86TableState){GDT, 0x17};
    s.idtr = (X86TableState){IDT, 0xfff};
    s.rip = CODE;
    s.gpr[X86_RDI] = PAGE_AT;
    s.gpr[X86_RSI] = COUNTER;
    s.gpr[X86_RBP] = STOP;
    s.gpr[X86_RSP] = STACK;
    assert_true(x86_cpu_set_state(smp->cpu[0], &s));
}

/* The processor marks an entry as accessed and dirty only if it still says that the page is there. */
static void test_walk_and_unmap(void **state)
{
    enum { FAULTS = 20000, PTE_GONE = 0 };
    Smp *smp = *state;
    struct timespec began;
    uint64_t *entry = (uint64_t *)(smp->ram + TABLE), stayed = 0;
    pthread_t thread;

    walk_begin(smp);
    smp->ram[STOP] = 0;
    put64(smp, COUNTER, 0);
    *entry = PAGE_AT | 7;
    pthread_barrier_init(&smp->start, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, lock_thread, &smp_cpus[0]), 0);
    pthread_barrier_wait(&smp->start);
    clock_gettime(CLOCK_MONOTONIC, &began);
    /* At least one fault, and as many as go into the time. */
    for (unsigned i = 0; !stayed && get64(smp, COUNTER) < (elapsed_ms(&began) < 500 ? FAULTS : 1); i++) {
        spin(i % 64);
        __atomic_exchange_n(entry, PTE_GONE, __ATOMIC_SEQ_CST);
        spin(64);
        stayed = __atomic_exchange_n(entry, PAGE_AT | 7, __ATOMIC_SEQ_CST);
    }
    __atomic_store_n(smp->ram + STOP, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&smp->start);
    assert_int_equal(stayed, PTE_GONE);
}

/* --- what one CPU changes and another uses, once it was told --- */

/* RSI: the number of the change, and the last one that was seen; RBP: ends it. */
#define TELL "movl %ebx, (%rsi)\n 2: pause\n cmpb $0, (%rbp)\n jne 8f\n cmpl %ebx, 4(%rsi)\n jne 2b\n incl %ebx\n jmp 1b\n 8: hlt"
#define TOLD "1: pause\n cmpb $0, (%rbp)\n jne 8f\n movl (%rsi), %r8d\n cmpl 4(%rsi), %r8d\n je 1b\n"
#define SEEN "cmpl %r8d, %eax\n jne 9f\n movl %r8d, 4(%rsi)\n jmp 1b\n 9: incq %r10\n 8: hlt"
/* The constant of a function, which a serialising instruction makes seen (SDM vol. 3, 9.1.3). */
SNIPPET(t_patch, 64, "1: movl %ebx, 1(%rdi)\n " TELL);
SNIPPET(t_call, 64, TOLD "xorl %eax, %eax\n cpuid\n call *%rdi\n " SEEN);
SNIPPET(t_function, 64, "movl $0, %eax\n ret");
/* Which of two pages is mapped; INVLPG makes it seen (4.10.4).  Their first words are 0 and 1. */
SNIPPET(t_map, 64, "1: movl %ebx, %eax\n andl $1, %eax\n shll $12, %eax\n addq $0x200007, %rax\n movq %rax, (%rdi)\n " TELL);
SNIPPET(t_touch, 64, TOLD "invlpg (%rdi)\n movl (%rdi), %eax\n xorl %r8d, %eax\n andl $1, %eax\n xorl %r8d, %eax\n " SEEN);

static void tell_cpu(Smp *smp, unsigned index, const uint8_t *code, const uint8_t *end, uint64_t rdi)
{
    X86CpuState s;

    put(smp, CODE + index * 0x1000u, code, (size_t)(end - code));
    x86_cpu_get_state(smp->cpu[index], &s);
    s.rip = CODE + index * 0x1000u;
    s.gpr[X86_RDI] = rdi;
    s.gpr[X86_RSI] = COUNTER;
    s.gpr[X86_RBP] = STOP;
    s.gpr[X86_RSP] = STACK;
    s.gpr[X86_RBX] = 1;
    s.gpr[10] = 0;
    assert_true(x86_cpu_set_state(smp->cpu[index], &s));
}

/* Both CPUs in 64-bit mode, with one page at PAGE_AT. */
static void tell_begin(Smp *smp)
{
    X86CpuState s;

    for (unsigned i = 0; i < CPUS; i++) {
        long_mode(smp, i, &s);
        assert_true(x86_cpu_set_state(smp->cpu[i], &s));
    }
    put64(smp, TABLES + 0x2008, TABLE | 7);
    put64(smp, TABLE, PAGE_AT | 7);
    put64(smp, PAGE_AT, 0);
    put64(smp, PAGE_AT + 0x1000, 1);
    put64(smp, COUNTER, 0);
    smp->ram[STOP] = 0;
    atomic_store(&smp->done, 0);
}

/* At least one change is seen, and as many as go into the time. */
static void tell_run(Smp *smp)
{
    pthread_t threads[CPUS];
    struct timespec began;
    X86CpuState s;

    pthread_barrier_init(&smp->start, NULL, CPUS);
    for (unsigned i = 0; i < CPUS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, lock_thread, &smp_cpus[i]), 0);
    }
    clock_gettime(CLOCK_MONOTONIC, &began);
    while ((!(get64(smp, COUNTER) >> 32) || elapsed_ms(&began) < 300) && !atomic_load(&smp->done)) {
        usleep(1000);
    }
    __atomic_store_n(smp->ram + STOP, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < CPUS; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&smp->start);
    x86_cpu_get_state(smp->cpu[1], &s);
    assert_int_equal(s.gpr[10], 0);
    assert_true(get64(smp, COUNTER) >> 32);
}

static void test_code_another_cpu_changes(void **state)
{
    Smp *smp = *state;

    tell_begin(smp);
    put(smp, CODE + 0x3000, t_function, (size_t)(t_function_end - t_function));
    tell_cpu(smp, 0, t_patch, t_patch_end, CODE + 0x3000);
    tell_cpu(smp, 1, t_call, t_call_end, CODE + 0x3000);
    tell_run(smp);
}

static void test_page_another_cpu_maps(void **state)
{
    Smp *smp = *state;

    tell_begin(smp);
    tell_cpu(smp, 0, t_map, t_map_end, TABLE);
    tell_cpu(smp, 1, t_touch, t_touch_end, PAGE_AT);
    tell_run(smp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sipi_during_init), cmocka_unit_test(test_stale_sipi),
        cmocka_unit_test(test_init_and_sipi_orders), cmocka_unit_test(test_levels_and_edges),
        cmocka_unit_test(test_lock), cmocka_unit_test(test_lock_beside_code),
        cmocka_unit_test(test_lock_in_two_pages), cmocka_unit_test(test_walk_and_unmap),
        cmocka_unit_test(test_code_another_cpu_changes), cmocka_unit_test(test_page_another_cpu_maps),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
