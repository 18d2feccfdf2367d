/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Paging of the software CPU (Intel SDM vol. 3, chapter 4): every combination
 * of permissions, reserved bits, accessed and dirty bits, page sizes and modes
 * against the rules of 4.6 written down once here; TLB invalidation (4.10).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/tcg/rig.h"

enum { PF = 14, DONE = RIG_VECTOR_DONE, PAGE = 4096 };
enum { CR0_WP = 1 << 16, CR4_PGE = 1 << 7, CR4_PCIDE = 1 << 17, CR4_SMEP = 1 << 20, CR4_SMAP = 1 << 21, RFLAGS_AC = 1 << 18 };
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

/* Where the page under test is: this far into it, so that large pages are tested away from their beginning. */
enum { TARGET_PHYS = 0x3f0000, WINDOW = 0x40000000 };

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

typedef enum Access { READ, WRITE, EXEC } Access;

SNIPPET(m_read, 64, "movb (%rbx), %al");
SNIPPET(m_write, 64, "movb %cl, (%rbx)");
SNIPPET(m_exec, 64, "jmp *%rbx");

static RigResult access_target(Rig *rig, Access access, uint64_t linear)
{
    /* The same bytes mean the same in 32-bit mode. */
    rig->s.gpr[X86_RBX] = linear;
    return access == READ ? RIG_RUN(rig, m_read) : access == WRITE ? RIG_RUN(rig, m_write) : RIG_RUN(rig, m_exec);
}

typedef struct PageKind {
    RigMode mode;
    uint64_t size;
} PageKind;

static const PageKind kinds[] = {
    {RIG_PAGED32, PAGE}, {RIG_PAGED32, 4 << 20}, {RIG_PAE, PAGE}, {RIG_PAE, 2 << 20},
    {RIG_LONG, PAGE}, {RIG_LONG, 2 << 20}, {RIG_LONG, 1 << 30},
};

/* Maps the target with a page of that kind and returns its linear address. */
static uint64_t map_target(Rig *rig, const PageKind *kind, uint64_t bits)
{
    uint64_t mask = kind->size - 1;

    rig_map(rig, (WINDOW | TARGET_PHYS) & ~mask, TARGET_PHYS & ~mask, bits, kind->size);
    return WINDOW | TARGET_PHYS;
}

static uint64_t entry_of(Rig *rig, uint64_t addr)
{
    return rig->mode == RIG_PAGED32 ? rig_get32(rig, addr) : rig_get64(rig, addr);
}

typedef struct Rights {
    bool present, writable, user, nx;
    bool smep, smap, wp, ac, has_nx;
    unsigned cpl;
} Rights;

/* SDM vol. 3, 4.6.1 and 4.7.  -1: allowed, else the error code. */
static int expected_fault(const Rights *r, Access access)
{
    bool user = r->cpl == 3, allowed;
    int error = (access == WRITE ? PF_W : 0) | (user ? PF_U : 0) | (access == EXEC && (r->has_nx || r->smep) ? PF_I : 0);

    if (!r->present) {
        return error;
    }
    if (user) {
        allowed = r->user && (access != WRITE || r->writable) && (access != EXEC || !r->nx);
    } else if (access == EXEC) {
        allowed = !r->nx && !(r->user && r->smep);
    } else {
        allowed = !(r->user && r->smap && !r->ac) && (access == READ || r->writable || !r->wp);
    }
    return allowed ? -1 : error | PF_P;
}

static void check_access(Rig *rig, const PageKind *kind, const Rights *rights, Access access, uint64_t linear)
{
    int error = expected_fault(rights, access);
    uint64_t entry, addr = rig_entry(rig, linear, kind->size);
    RigResult r = access_target(rig, access, linear);

    entry = entry_of(rig, addr);
    if (error < 0) {
        bool done = rights->cpl ? r.vector == DONE : r.why == X86_EXIT_HALTED && r.vector == RIG_VECTOR_NONE;

        if (!done || !(entry & RIG_A) || !(entry & RIG_D) != (access != WRITE)) {
            fail_msg("mode %d size %llx access %d entry %llx: vector %u error %llx cr2 %llx rip %llx, not allowed", kind->mode,
                     (unsigned long long)kind->size, access, (unsigned long long)entry, r.vector,
                     (unsigned long long)r.error, (unsigned long long)r.s.cr2, (unsigned long long)r.rip);
        }
        return;
    }
    if (r.vector != PF || r.error != (unsigned)error || r.s.cr2 != linear || (entry & (RIG_A | RIG_D)) ||
        r.rip != (access == EXEC ? linear : RIG_CODE)) {
        fail_msg("mode %d size %llx access %d cpl %u entry %llx: vector %u error %llx cr2 %llx, not error %x", kind->mode,
                 (unsigned long long)kind->size, access, rights->cpl, (unsigned long long)entry, r.vector,
                 (unsigned long long)r.error, (unsigned long long)r.s.cr2, (unsigned)error);
    }
}

static void permissions_of_kind(Rig *rig, const PageKind *kind, unsigned cpl)
{
    X86CpuState initial;

    rig_reset(rig, kind->mode, cpl);
    rig->ram[TARGET_PHYS] = cpl ? 0xcd : 0xf4; /* INT RIG_VECTOR_DONE or HLT */
    rig->ram[TARGET_PHYS + 1] = DONE;
    if (cpl == 0) {
        /* Supervisor code must not be on user pages when SMEP is on. */
        rig_map(rig, RIG_CODE, RIG_CODE, RIG_P | RIG_W, PAGE);
    }
    rig->s.gpr[X86_RCX] = rig->ram[TARGET_PHYS]; /* what is written there */
    initial = rig->s;
    for (unsigned bits = 0; bits < 16 * 16; bits++) {
        Rights rights = {.present = bits & 1, .writable = bits & 2, .user = bits & 4, .nx = bits & 8, .smep = bits & 16,
                         .smap = bits & 32, .wp = bits & 64, .ac = bits & 128, .cpl = cpl,
                         .has_nx = kind->mode != RIG_PAGED32};

        if (rights.nx && !rights.has_nx) {
            continue;
        }
        for (Access access = READ; access <= EXEC; access++) {
            uint64_t linear = map_target(rig, kind, (rights.present ? RIG_P : 0) | (rights.writable ? RIG_W : 0) |
                                                        (rights.user ? RIG_U : 0) | (rights.nx ? RIG_NX : 0));

            rig->s = initial;
            rig->s.cr0 = (initial.cr0 & ~(uint64_t)CR0_WP) | (rights.wp ? CR0_WP : 0);
            rig->s.cr4 |= (rights.smep ? CR4_SMEP : 0) | (rights.smap ? CR4_SMAP : 0);
            rig->s.rflags |= rights.ac ? RFLAGS_AC : 0;
            check_access(rig, kind, &rights, access, linear);
        }
    }
}

static void test_permissions(void **state)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        permissions_of_kind(*state, &kinds[i], 0);
        permissions_of_kind(*state, &kinds[i], 3);
    }
}

/* A right taken away at any level is gone. */
static void test_permissions_of_upper_levels(void **state)
{
    static const struct {
        uint64_t clear, set;
        Access access;
        int error;
    } cuts[] = {
        {RIG_W, 0, WRITE, PF_P | PF_W | PF_U}, {RIG_U, 0, READ, PF_P | PF_U}, {RIG_P, 0, READ, PF_U},
        {0, RIG_NX, EXEC, PF_P | PF_U | PF_I},
    };
    static const uint64_t levels[] = {2 << 20, 1 << 30, UINT64_C(1) << 39};
    const PageKind small = {RIG_LONG, PAGE};
    Rig *rig = *state;

    for (size_t level = 0; level < 3; level++) {
        for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
            uint64_t linear, addr;
            RigResult r;

            rig_reset(rig, RIG_LONG, 3);
            linear = map_target(rig, &small, RIG_P | RIG_W | RIG_U);
            /* The top level's entry serves the code too: use the page's own half of the address space. */
            if (level == 2) {
                linear |= UINT64_C(1) << 39;
                rig_map(rig, linear, TARGET_PHYS, RIG_P | RIG_W | RIG_U, PAGE);
            }
            addr = rig_entry(rig, linear, levels[level]);
            rig_put64(rig, addr, (rig_get64(rig, addr) & ~cuts[i].clear) | cuts[i].set);
            r = access_target(rig, cuts[i].access, linear);
            assert_int_equal(r.vector, PF);
            assert_int_equal(r.error, cuts[i].error);
            assert_int_equal(r.s.cr2, linear);
        }
    }
}

static void expect_reserved(Rig *rig, RigMode mode, uint64_t size, uint64_t bit, bool no_nx)
{
    const PageKind kind = {mode, size};
    uint64_t linear;
    RigResult r;

    rig_reset(rig, mode, 3);
    linear = map_target(rig, &kind, RIG_P | RIG_W | RIG_U | bit);
    if (no_nx) {
        rig->s.efer &= ~UINT64_C(0x800);
    }
    r = access_target(rig, WRITE, linear);
    if (r.vector != PF || r.error != (PF_P | PF_W | PF_U | PF_RSVD)) {
        fail_msg("mode %d size %llx bit %llx: vector %u error %llx", mode, (unsigned long long)size, (unsigned long long)bit,
                 r.vector, (unsigned long long)r.error);
    }
}

static void test_reserved_bits(void **state)
{
    Rig *rig = *state;

    for (unsigned bit = 40; bit < 52; bit++) {
        expect_reserved(rig, RIG_LONG, PAGE, UINT64_C(1) << bit, false);
        expect_reserved(rig, RIG_LONG, 2 << 20, UINT64_C(1) << bit, false);
        expect_reserved(rig, RIG_PAE, PAGE, UINT64_C(1) << bit, false);
    }
    for (unsigned bit = 52; bit < 63; bit++) {
        expect_reserved(rig, RIG_PAE, PAGE, UINT64_C(1) << bit, false);
    }
    for (unsigned bit = 13; bit < 21; bit++) {
        expect_reserved(rig, RIG_LONG, 2 << 20, UINT64_C(1) << bit, false);
        expect_reserved(rig, RIG_PAE, 2 << 20, UINT64_C(1) << bit, false);
        expect_reserved(rig, RIG_LONG, 1 << 30, UINT64_C(1) << bit, false);
    }
    expect_reserved(rig, RIG_LONG, 1 << 30, 1 << 29, false);
    expect_reserved(rig, RIG_PAGED32, 4 << 20, 1 << 21, false);
    expect_reserved(rig, RIG_LONG, PAGE, RIG_NX, true);
    expect_reserved(rig, RIG_PAE, 2 << 20, RIG_NX, true);
}

/* The top level has no pages; without the feature the next has none either. */
static void test_page_size_bit_where_there_are_no_pages(void **state)
{
    Rig *rig = *state, *plain = rig_new("qemu64");
    RigResult r;

    rig_reset(rig, RIG_LONG, 3);
    rig_map(rig, UINT64_C(1) << 39, 0, RIG_P | RIG_W | RIG_U, UINT64_C(1) << 39);
    r = access_target(rig, READ, UINT64_C(1) << 39);
    assert_int_equal(r.vector, PF);
    assert_int_equal(r.error, PF_P | PF_U | PF_RSVD);
    rig_reset(plain, RIG_LONG, 3);
    rig_map(plain, WINDOW, 0, RIG_P | RIG_W | RIG_U, 1 << 30);
    r = access_target(plain, READ, WINDOW);
    assert_int_equal(r.vector, PF);
    assert_int_equal(r.error, PF_P | PF_U | PF_RSVD);
    rig_free(plain);
}

/* --- invalidation: RBX page, RDX its entry, RCX the new entry, RDI whatever the way needs --- */

#define CHANGE(how) "movq (%rbx), %rax\n movq %rcx, (%rdx)\n " how "\n movq (%rbx), %rsi"
SNIPPET(m_invlpg, 64, CHANGE("invlpg (%rbx)"));
SNIPPET(m_invlpg_elsewhere, 64, CHANGE("invlpg -0x10000(%rbx)"));
SNIPPET(m_cr3, 64, CHANGE("movq %cr3, %rdi\n movq %rdi, %cr3"));
SNIPPET(m_cr4_pge, 64, CHANGE("movq %cr4, %rdi\n xorq $0x80, %rdi\n movq %rdi, %cr4"));
SNIPPET(m_cr0, 64, CHANGE("movq %cr0, %rdi\n xorq $0x10000, %rdi\n movq %rdi, %cr0\n xorq $0x10000, %rdi\n movq %rdi, %cr0"));

static void expect_new_page(Rig *rig, const PageKind *kind, uint64_t bits, const uint8_t *code, size_t len)
{
    uint64_t linear, other = kind->size == PAGE ? TARGET_PHYS - PAGE : 0;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    linear = map_target(rig, kind, RIG_P | RIG_W | bits);
    rig_put64(rig, TARGET_PHYS, 1);
    /* The 2 MiB page is changed for the one that holds the tables and the code. */
    rig_put64(rig, kind->size == PAGE ? other : TARGET_PHYS - (2 << 20), 2);
    rig->s.gpr[X86_RBX] = linear;
    rig->s.gpr[X86_RDX] = rig_entry(rig, linear, kind->size);
    rig->s.gpr[X86_RCX] = other | RIG_P | RIG_W | bits | (kind->size > PAGE ? RIG_PS : 0);
    rig->s.cr4 |= CR4_PGE;
    r = rig_run(rig, code, len);
    assert_int_equal(r.vector, RIG_VECTOR_NONE);
    if (r.s.gpr[X86_RAX] != 1 || r.s.gpr[X86_RSI] != 2) {
        fail_msg("size %llx bits %llx code %02x%02x%02x: %llu before, %llu after", (unsigned long long)kind->size,
                 (unsigned long long)bits, code[6], code[7], code[8], (unsigned long long)r.s.gpr[X86_RAX],
                 (unsigned long long)r.s.gpr[X86_RSI]);
    }
}

#define EXPECT_NEW(rig, kind, bits, name) expect_new_page(rig, kind, bits, name, (size_t)(name##_end - name))

static void test_invalidation(void **state)
{
    const PageKind small = {RIG_LONG, PAGE}, large = {RIG_LONG, 2 << 20};
    Rig *rig = *state;

    EXPECT_NEW(rig, &small, 0, m_invlpg);
    EXPECT_NEW(rig, &small, RIG_G, m_invlpg);
    EXPECT_NEW(rig, &large, 0, m_invlpg);
    EXPECT_NEW(rig, &large, RIG_G, m_invlpg_elsewhere);
    EXPECT_NEW(rig, &large, 0, m_invlpg_elsewhere);
    EXPECT_NEW(rig, &small, 0, m_cr3);
    EXPECT_NEW(rig, &large, 0, m_cr3);
    EXPECT_NEW(rig, &small, RIG_G, m_cr4_pge);
    EXPECT_NEW(rig, &large, RIG_G, m_cr4_pge);
    EXPECT_NEW(rig, &small, 0, m_cr0);
}

SNIPPET(m_pcid, 64, "movq %cr4, %rax\n orq $0x20000, %rax\n movq %rax, %cr4\n"
                    "movq %cr3, %rax\n orq $5, %rax\n movq %rax, %cr3\n"
                    "movq (%rbx), %rsi\n movq %rcx, (%rdx)\n"
                    "movq %rax, %cr3\n movq (%rbx), %rdi\n"
                    "btsq $63, %rax\n movq %rax, %cr3\n movq %cr3, %rbp");
SNIPPET(m_pcid_bad, 64, "movq %cr3, %rax\n orq $8, %rax\n movq %rax, %cr3\n"
                        "movq %cr4, %rax\n orq $0x20000, %rax\n movq %rax, %cr4");

static void test_pcid(void **state)
{
    const PageKind small = {RIG_LONG, PAGE};
    Rig *rig = *state;
    uint64_t linear;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    linear = map_target(rig, &small, RIG_P | RIG_W);
    rig_put64(rig, TARGET_PHYS, 1);
    rig_put64(rig, TARGET_PHYS - PAGE, 2);
    rig->s.gpr[X86_RBX] = linear;
    rig->s.gpr[X86_RDX] = rig_entry(rig, linear, PAGE);
    rig->s.gpr[X86_RCX] = (TARGET_PHYS - PAGE) | RIG_P | RIG_W;
    r = RIG_RUN(rig, m_pcid);
    assert_int_equal(r.vector, RIG_VECTOR_NONE);
    assert_int_equal(r.s.gpr[X86_RSI], 1);
    assert_int_equal(r.s.gpr[X86_RDI], 2);
    assert_int_equal(r.s.gpr[X86_RBP], RIG_TABLES | 5); /* bit 63 is not kept */
    /* CR4.PCIDE needs CR3[11:0] to be 0. */
    rig_reset(rig, RIG_LONG, 0);
    r = RIG_RUN(rig, m_pcid_bad);
    assert_int_equal(r.vector, 13);
}

/* RBX: the page, RDX: its entry, RCX: what that becomes, RAX: type, R8: descriptor. */
SNIPPET(m_invpcid, 64, "movq (%rbx), %rsi\n movq %rcx, (%rdx)\n movq (%rbx), %rbp\n invpcid (%r8), %rax\n movq (%rbx), %rdi");
SNIPPET(m_invpcid_user, 64, "invpcid (%r8), %rax");
SNIPPET(m_invpcid_set, 64, "movq %cr4, %r9\n btsq $17, %r9\n movq %r9, %cr4\n invpcid (%r8), %rax");

static RigResult run_invpcid(Rig *rig, const uint8_t *code, size_t len, uint64_t type, uint64_t pcid, bool page, uint64_t bits)
{
    const PageKind small = {RIG_LONG, PAGE};
    uint64_t linear;

    rig_reset(rig, RIG_LONG, 0);
    rig->s.cr4 |= CR4_PGE;
    linear = map_target(rig, &small, RIG_P | RIG_W | bits);
    rig_put64(rig, TARGET_PHYS, 1);
    rig_put64(rig, TARGET_PHYS - PAGE, 2);
    rig_put64(rig, RIG_DATA, pcid);
    rig_put64(rig, RIG_DATA + 8, page ? linear : UINT64_C(1) << 47);
    rig->s.gpr[X86_RAX] = type;
    rig->s.gpr[X86_RBX] = linear;
    rig->s.gpr[X86_RDX] = rig_entry(rig, linear, PAGE);
    rig->s.gpr[X86_RCX] = (TARGET_PHYS - PAGE) | RIG_P | RIG_W | bits;
    rig->s.gpr[8] = RIG_DATA;
    return rig_run(rig, code, len);
}

#define RUN_INVPCID(rig, name, type, pcid, page, bits) run_invpcid(rig, name, (size_t)(name##_end - name), type, pcid, page, bits)

static void test_invpcid(void **state)
{
    enum { GP = 13, UD = 6 };
    static const struct {
        uint64_t type, pcid;
        bool page, set; /* a canonical address; CR4.PCIDE */
        unsigned vector;
    } checks[] = {
        {0, 0, true, false, RIG_VECTOR_NONE}, {0, 0, false, false, GP},  {1, 0, false, false, RIG_VECTOR_NONE},
        {2, 0, false, false, RIG_VECTOR_NONE}, {3, 0, false, false, RIG_VECTOR_NONE}, {4, 0, true, false, GP},
        {UINT64_C(1) << 32, 0, true, false, GP}, {0, 1, true, false, GP}, {1, 0xfff, true, false, GP},
        {2, 0xfff, true, false, RIG_VECTOR_NONE}, {3, 0x1000, true, false, GP}, {0, 0xfff, true, true, RIG_VECTOR_NONE},
        {1, 5, true, true, RIG_VECTOR_NONE}, {1, 0x1000, true, true, GP},
    };
    Rig *rig = *state, *plain = rig_new("qemu64");
    RigResult r;

    for (uint64_t type = 0; type < 4; type++) {
        r = RUN_INVPCID(rig, m_invpcid, type, 0, true, 0);
        assert_int_equal(r.vector, RIG_VECTOR_NONE);
        assert_int_equal(r.s.gpr[X86_RSI], 1);
        assert_int_equal(r.s.gpr[X86_RDI], 2);
    }
    r = RUN_INVPCID(rig, m_invpcid, 2, 0, true, RIG_G);
    assert_int_equal(r.s.gpr[X86_RDI], 2);
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        r = checks[i].set ? RUN_INVPCID(rig, m_invpcid_set, checks[i].type, checks[i].pcid, checks[i].page, 0)
                          : RUN_INVPCID(rig, m_invpcid, checks[i].type, checks[i].pcid, checks[i].page, 0);
        assert_int_equal(r.vector, checks[i].vector);
    }
    r = RUN_INVPCID(plain, m_invpcid, 0, 0, true, 0);
    assert_int_equal(r.vector, UD);
    rig_free(plain);
    /* Not for programs. */
    rig_reset(rig, RIG_LONG, 3);
    r = RIG_RUN(rig, m_invpcid_user);
    assert_int_equal(r.vector, GP);
}

/* A clean page is written: its dirty bit is set although the TLB knows the page already. */
SNIPPET(m_read_write, 64, "movb (%rbx), %al\n movb %cl, (%rbx)");

static void test_dirty_after_read(void **state)
{
    const PageKind small = {RIG_LONG, PAGE};
    Rig *rig = *state;
    uint64_t linear;

    rig_reset(rig, RIG_LONG, 3);
    linear = map_target(rig, &small, RIG_P | RIG_W | RIG_U);
    rig->s.gpr[X86_RBX] = linear;
    assert_int_equal(RIG_RUN(rig, m_read_write).vector, DONE);
    assert_int_equal(rig_get64(rig, rig_entry(rig, linear, PAGE)) & (RIG_A | RIG_D), RIG_A | RIG_D);
    /* Upper levels get only the accessed bit. */
    assert_int_equal(rig_get64(rig, rig_entry(rig, linear, 1 << 30)) & (RIG_A | RIG_D), RIG_A);
}

/* STAC lets the kernel reach a user page that it could not reach before and cannot afterwards. */
SNIPPET(m_stac, 64, "stac\n movb (%rbx), %al\n clac\n movb (%rbx), %cl");
SNIPPET(m_popf_ac, 64, "pushfq\n orq $0x40000, (%rsp)\n popfq\n movb (%rbx), %al\n pushfq\n andq $~0x40000, (%rsp)\n popfq\n"
                       "movb (%rbx), %cl");

static void expect_smap_ends(Rig *rig, const uint8_t *code, size_t len, unsigned at)
{
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    rig_put64(rig, RIG_DATA, 0x77);
    rig->s.gpr[X86_RBX] = RIG_DATA;
    rig->s.cr4 |= CR4_SMAP;
    r = rig_run(rig, code, len);
    assert_int_equal(r.vector, PF);
    assert_int_equal(r.error, PF_P);
    assert_int_equal(r.rip, RIG_CODE + at);
    assert_int_equal(r.s.gpr[X86_RAX] & 0xff, 0x77);
}

static void test_smap_follows_ac(void **state)
{
    expect_smap_ends(*state, m_stac, (size_t)(m_stac_end - m_stac), 8);
    expect_smap_ends(*state, m_popf_ac, (size_t)(m_popf_ac_end - m_popf_ac), (unsigned)(m_popf_ac_end - m_popf_ac) - 2);
}

/* Address line 20: without it the second MiB is the first. */
SNIPPET(m_a20, 16, "movw $0xffff, %ax\n movw %ax, %ds\n movb 0x110, %al");

static void test_a20(void **state)
{
    Rig *rig = *state;

    rig_reset(rig, RIG_REAL, 0);
    rig->ram[0x500 - 0x400] = 0x11; /* ffff:0110 is 100100 */
    rig->ram[0x100100] = 0x22;
    assert_int_equal(RIG_RUN(rig, m_a20).s.gpr[X86_RAX] & 0xff, 0x22);
    rig_reset(rig, RIG_REAL, 0);
    rig->ram[0x100] = 0x11;
    rig->ram[0x100100] = 0x22;
    rig->s.a20 = 0;
    assert_int_equal(RIG_RUN(rig, m_a20).s.gpr[X86_RAX] & 0xff, 0x11);
}

/* PAE keeps its first level in the processor: a bad entry is found when CR3 is written, a change only then seen. */
SNIPPET(m_pae_cr3, 32, "movl %cr3, %eax\n movl %ecx, (%edx)\n movl (%ebx), %esi\n movl %eax, %cr3\n movl (%ebx), %edi");

static void test_pdptes(void **state)
{
    const PageKind small = {RIG_PAE, PAGE};
    Rig *rig = *state;
    uint64_t linear;
    RigResult r;

    for (unsigned reserved = 0; reserved < 2; reserved++) {
        rig_reset(rig, RIG_PAE, 0);
        linear = map_target(rig, &small, RIG_P | RIG_W);
        rig->s.gpr[X86_RBX] = linear;
        rig->s.gpr[X86_RDX] = RIG_TABLES + 8; /* of 1 GiB upwards */
        rig->s.gpr[X86_RCX] = reserved ? rig_get32(rig, RIG_TABLES + 8) | RIG_W : 0;
        rig_put32(rig, TARGET_PHYS, 3);
        r = RIG_RUN(rig, m_pae_cr3);
        assert_int_equal(r.s.gpr[X86_RSI], 3); /* not seen before CR3 is written */
        assert_int_equal(r.vector, reserved ? 13 : PF);
        assert_int_equal(r.rip, RIG_CODE + (reserved ? 7 : 10));
    }
}

static void test_debug_translate(void **state)
{
    const PageKind large = {RIG_LONG, 2 << 20};
    Rig *rig = *state;
    uint64_t linear, gpa = 0;

    rig_reset(rig, RIG_LONG, 0);
    linear = map_target(rig, &large, RIG_P);
    rig_apply(rig);
    assert_true(x86_cpu_debug_translate(rig->cpu, linear + 0x123, &gpa));
    assert_int_equal(gpa, TARGET_PHYS + 0x123);
    assert_false(rig_get64(rig, rig_entry(rig, linear, 2 << 20)) & RIG_A);
    assert_false(x86_cpu_debug_translate(rig->cpu, linear + (1 << 30), &gpa));
}

/* RBX: a page that becomes registers, and RAM again, by what is written to a device at RCX, or to a port. */
SNIPPET(m_cover, 64, "movl (%rbx), %esi\n movl $1, (%rcx)\n movl (%rbx), %edi\n movl $0, (%rcx)\n movl (%rbx), %ebp\n"
                     "movb $1, %al\n outb %al, $0xe7\n movl (%rbx), %r8d\n movl $0, (%rbx)\n movl (%rbx), %r9d");

static void cover(void *opaque, uint64_t gpa, uint64_t val)
{
    Rig *rig = opaque;

    rig->covered = val ? TARGET_PHYS : 0;
    x86_cpu_flush_bus(rig->cpu);
}

static void cover_on_out(void *opaque, uint16_t port, uint32_t val, unsigned size)
{
    cover(opaque, 0, val);
}

/* The next instruction sees what a device has made of the map. */
static void test_map_changes(void **state)
{
    const PageKind small = {RIG_LONG, PAGE};
    const uint64_t device = (uint64_t)RIG_RAM_BYTES + PAGE;
    Rig *rig = *state;
    RigResult r;

    rig_reset(rig, RIG_LONG, 0);
    rig->s.gpr[X86_RBX] = map_target(rig, &small, RIG_P | RIG_W);
    rig->s.gpr[X86_RCX] = WINDOW | device;
    rig_map(rig, WINDOW | device, device, RIG_P | RIG_W, PAGE);
    rig_put64(rig, TARGET_PHYS, 0x11223344);
    rig->device = 0x55667788;
    rig->on_write = cover;
    rig->on_out = cover_on_out;
    r = RIG_RUN(rig, m_cover);
    assert_int_equal(r.s.gpr[X86_RSI], 0x11223344);
    assert_int_equal(r.s.gpr[X86_RDI], 0x55667788);
    assert_int_equal(r.s.gpr[X86_RBP], 0x11223344);
    assert_int_equal(r.s.gpr[8], 0x55667788);
    assert_int_equal(r.s.gpr[9], 0x11223344);
    rig->on_write = NULL;
    rig->on_out = NULL;
    rig->covered = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_permissions),
        cmocka_unit_test(test_permissions_of_upper_levels),
        cmocka_unit_test(test_reserved_bits),
        cmocka_unit_test(test_page_size_bit_where_there_are_no_pages),
        cmocka_unit_test(test_invalidation),
        cmocka_unit_test(test_pcid), cmocka_unit_test(test_invpcid),
        cmocka_unit_test(test_dirty_after_read),
        cmocka_unit_test(test_smap_follows_ac),
        cmocka_unit_test(test_a20),
        cmocka_unit_test(test_pdptes),
        cmocka_unit_test(test_debug_translate),
        cmocka_unit_test(test_map_changes),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
