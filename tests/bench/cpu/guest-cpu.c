/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Small workloads that each stress one thing a CPU does.  The same static program runs on the
 * host and as init's only child in guests.  Each workload is repeated until it takes a tenth of
 * a second and prints `cpu NAME NANOSECONDS-PER-UNIT UNIT`; the unit is in the table at the end.
 */
#define _GNU_SOURCE
#include <emmintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noipa))
#define KEEP(x) __asm__ volatile("" : : "r,m"(x) : "memory")
#define BUFFER (64 * 1024)

static _Alignas(64) uint8_t buffer_a[BUFFER], buffer_b[BUFFER];
static const char *self;

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* Ten instructions an iteration, each needing the one before. */
static void integer_loop(long count)
{
    uint64_t a = 1, n = (uint64_t)count / 10 + 1;

    __asm__ volatile("1: add $3, %0\n\t"
                     "lea (%0,%0,2), %0\n\t"
                     "xor %1, %0\n\t"
                     "shr $1, %0\n\t"
                     "imul $7, %0, %0\n\t"
                     "sub $9, %0\n\t"
                     "or $1, %0\n\t"
                     "mov %0, %%rcx\n\t"
                     "dec %1\n\t"
                     "jnz 1b"
                     : "+r"(a), "+r"(n)
                     :
                     : "rcx", "cc");
    KEEP(a);
}

/* Branches on bits of a random sequence. */
static void branches(long count)
{
    uint32_t x = 2463534242u, sum = 0;

    for (long i = 0; i < count; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        if (x & 1) {
            __asm__ volatile("add $3, %0" : "+r"(sum));
        } else if (x & 2) {
            __asm__ volatile("xor $5, %0" : "+r"(sum));
        } else if (x & 4) {
            __asm__ volatile("sub $1, %0" : "+r"(sum));
        }
    }
    KEEP(sum);
}

static NOINLINE long call_tree_node(int depth)
{
    long sum = 1;

    if (depth) {
        sum += call_tree_node(depth - 1);
        KEEP(sum); /* keeps the compiler from turning the second call into a loop */
        sum += call_tree_node(depth - 1);
        KEEP(sum);
    }
    return sum;
}

static void call_tree(long count)
{
    for (long done = 0; done < count; done += 2048) {
        KEEP(call_tree_node(10));
    }
}

static long twice(long v)
{
    return 2 * v;
}

static long plus_one(long v)
{
    return v + 1;
}

static void indirect_calls(long count)
{
    static long (*volatile const table[2])(long) = {twice, plus_one};
    long v = 1;

    for (long i = 0; i < count; i++) {
        v = table[i & 1](v);
    }
    KEEP(v);
}

static void loads_stores(long count)
{
    volatile uint64_t *a = (uint64_t *)buffer_a, *b = (uint64_t *)buffer_b;

    for (long i = 0; i < count; i++) {
        unsigned n = (unsigned)i & (BUFFER / 8 - 1);

        b[n] = a[n] + 1;
    }
}

/* A random cycle through 4 MiB, which no guest TLB of a few pages holds. */
static void pointer_chase(long count)
{
    static uint32_t *next;
    const uint32_t nodes = 1u << 20;
    uint32_t at = 0;

    if (!next) {
        next = malloc(nodes * sizeof(*next));
        for (uint32_t i = 0; i < nodes; i++) {
            next[i] = (i * 1664525u + 1013904223u) & (nodes - 1); /* full period */
        }
    }
    for (long i = 0; i < count; i++) {
        at = next[at];
    }
    KEEP(at);
}

static void copy_libc(long count)
{
    for (long done = 0; done < count; done += 16384) {
        memcpy(buffer_b, buffer_a, 16384);
        KEEP(buffer_b);
    }
}

static void copy_rep_movsb(long count)
{
    for (long done = 0; done < count; done += 16384) {
        void *to = buffer_b, *from = buffer_a;
        size_t n = 16384;

        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    }
}

static void sse2_packed_double(long count)
{
    __m128d *a = (__m128d *)buffer_a, *b = (__m128d *)buffer_b, k = _mm_set1_pd(1.0000001);

    memset(buffer_a, 0, BUFFER);
    memset(buffer_b, 0, BUFFER);
    for (long i = 0; i < count; i++) {
        unsigned n = (unsigned)i & 1023;

        b[n] = _mm_add_pd(_mm_mul_pd(_mm_add_pd(a[n], k), k), _mm_sub_pd(b[n], k));
    }
}

static void sse2_scalar_double(long count)
{
    double x = 1.5, sum = 0;

    for (long i = 0; i < count; i++) {
        sum += x * 0.5 + (double)i;
        x = x * 0.999 + 0.25;
    }
    KEEP(sum);
}

static void sse2_integer(long count)
{
    __m128i *a = (__m128i *)buffer_a, *b = (__m128i *)buffer_b, k = _mm_set1_epi16(3);

    for (long i = 0; i < count; i++) {
        unsigned n = (unsigned)i & 1023;

        b[n] = _mm_xor_si128(_mm_add_epi16(_mm_unpacklo_epi8(a[n], b[n]), k), _mm_cmpgt_epi8(a[n], b[n]));
    }
}

static void x87(long count)
{
    volatile long double x = 1.5L;

    for (long i = 0; i < count; i++) {
        x = x * 0.999L + 0.25L;
    }
}

/* Rewrites an immediate and calls the function: mov $imm32, %eax; ret. */
static void patched_code(long count)
{
    static uint8_t *code;
    uint32_t sum = 0;

    if (!code) {
        code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memcpy(code, "\xb8\0\0\0\0\xc3", 6);
    }
    for (long i = 0; i < count; i++) {
        uint32_t imm = (uint32_t)i;

        memcpy(code + 1, &imm, 4);
        __asm__ volatile("" : : : "memory");
        sum += ((uint32_t(*)(void))(uintptr_t)code)();
    }
    KEEP(sum);
}

static void syscalls(long count)
{
    for (long i = 0; i < count; i++) {
        syscall(SYS_getppid);
    }
}

static void page_faults(long count)
{
    for (long done = 0; done < count; done += 64) {
        uint8_t *p = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        for (int i = 0; i < 64; i++) {
            ((volatile uint8_t *)p)[i * 4096] = 1;
        }
        munmap(p, 64 * 4096);
    }
}

static void fork_exec(long count)
{
    for (long i = 0; i < count; i++) {
        pid_t pid = fork();

        if (!pid) {
            execl(self, self, "exit", (char *)NULL);
            _exit(1);
        }
        waitpid(pid, NULL, 0);
    }
}

/* Two processes and two pipes, each round two switches. */
static void context_switches(long count)
{
    int there[2], back[2];
    char c = 0;
    pid_t pid;

    if (pipe(there) || pipe(back)) {
        exit(1);
    }
    pid = fork();
    if (!pid) {
        for (long i = 0; i < count; i += 2) {
            if (read(there[0], &c, 1) != 1 || write(back[1], &c, 1) != 1) {
                _exit(1);
            }
        }
        _exit(0);
    }
    for (long i = 0; i < count; i += 2) {
        if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1) {
            exit(1);
        }
    }
    waitpid(pid, NULL, 0);
    close(there[0]);
    close(there[1]);
    close(back[0]);
    close(back[1]);
}

static const struct {
    const char *name;
    void (*run)(long count);
    const char *unit;
} workloads[] = {
    {"integer-loop", integer_loop, "instruction"},
    {"branches", branches, "iteration"},
    {"call-tree", call_tree, "call"},
    {"indirect-calls", indirect_calls, "call"},
    {"loads-stores", loads_stores, "pair"},
    {"pointer-chase", pointer_chase, "load"},
    {"memcpy", copy_libc, "byte"},
    {"rep-movsb", copy_rep_movsb, "byte"},
    {"sse2-packed-double", sse2_packed_double, "iteration"},
    {"sse2-scalar-double", sse2_scalar_double, "iteration"},
    {"sse2-integer", sse2_integer, "iteration"},
    {"x87", x87, "iteration"},
    {"patched-code", patched_code, "patch"},
    {"syscalls", syscalls, "call"},
    {"page-faults", page_faults, "page"},
    {"fork-exec", fork_exec, "process"},
    {"context-switches", context_switches, "switch"},
};

static double measure(void (*run)(long count))
{
    const double enough = 1e8;
    long count = 1;
    double took;

    run(count); /* what is set up once */
    for (;;) {
        double start = now();

        run(count);
        took = now() - start;
        if (took >= enough) {
            return took / (double)count;
        }
        count = took < enough / 20 ? count * 8 : (long)((double)count * enough / took * 1.2) + 1;
    }
}

/* Arguments: names of the workloads to run; none: all.  `exit` is what fork-exec starts. */
int main(int argc, char **argv)
{
    self = argv[0];
    if (argc == 2 && !strcmp(argv[1], "exit")) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++) {
        int wanted = argc == 1;

        for (int n = 1; n < argc; n++) {
            wanted |= !strcmp(argv[n], workloads[i].name);
        }
        if (wanted) {
            printf("cpu %s %.4f %s\n", workloads[i].name, measure(workloads[i].run), workloads[i].unit);
            fflush(stdout);
        }
    }
    return 0;
}
