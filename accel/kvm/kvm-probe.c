/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does this KVM execute a 64-bit guest?  There are hosts whose /dev/kvm opens and then interprets guests instruction by
 * instruction, knowing only some.  A guest of a dozen instructions, with paging, tells them apart: its code lies where
 * a kernel's does, writes through its page table, reloads it and uses the vector registers.  Others show what such hosts
 * have for a debugger, and whether their dirty rings hold, whatever they say of themselves.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"
#include "kvm-internal.h"

#define PROBE_RAM    0x8000u
#define PROBE_LINEAR 0xffffffff81000000ull
#define PROBE_TABLES 0x1000u /* four levels, a page each */
#define PROBE_CODE   0x5000u /* and its stack in the page behind */
#define PROBE_TSS    0xfffbd000u
#define PROBE_PAGE   0x63u   /* present, writable, accessed, dirty */
#define PROBE_MAGIC  0x1234u

/* Ends at the HLT with PROBE_MAGIC * 2 in RCX. */
static const uint8_t probe_code[] = {
    0xbb, 0x34, 0x12, 0x00, 0x00, /* mov ebx, PROBE_MAGIC */
    0x66, 0x0f, 0x6e, 0xc3,       /* movd xmm0, ebx */
    0x66, 0x0f, 0xfe, 0xc0,       /* paddd xmm0, xmm0 */
    0x66, 0x0f, 0x7e, 0xc0,       /* movd eax, xmm0 */
    0x50,                         /* push rax */
    0x0f, 0x20, 0xda,             /* mov rdx, cr3 */
    0x0f, 0x22, 0xda,             /* mov cr3, rdx */
    0x59,                         /* pop rcx */
    0xf4,                         /* hlt */
};

typedef struct Probe {
    int vm, vcpu;
    uint8_t *ram;
    size_t ram_size;
    uint32_t ring_bytes; /* 0: no dirty ring */
    struct kvm_run *run;
    size_t run_size;
} Probe;

static bool probe_make(Probe *p, int kvm)
{
    struct kvm_userspace_memory_region region = {.memory_size = p->ram_size,
                                                 .flags = p->ring_bytes ? KVM_MEM_LOG_DIRTY_PAGES : 0};
    struct kvm_enable_cap ring = {.cap = KVM_CAP_DIRTY_LOG_RING, .args = {p->ring_bytes}};
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

    p->run_size = size > 0 ? (size_t)size : 0;
    p->vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (p->vm >= 0) {
        ioctl(p->vm, KVM_SET_TSS_ADDR, (unsigned long)PROBE_TSS); /* some processors need it for real mode */
    }
    p->ram = mmap(NULL, p->ram_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->vm < 0 || p->ram == MAP_FAILED || (p->ring_bytes && ioctl(p->vm, KVM_ENABLE_CAP, &ring))) {
        return false;
    }
    region.userspace_addr = (uintptr_t)p->ram;
    p->vcpu = ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &region) ? -1 : ioctl(p->vm, KVM_CREATE_VCPU, 0);
    if (p->vcpu >= 0 && p->run_size >= sizeof(struct kvm_run)) {
        p->run = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
    }
    return p->vcpu >= 0 && p->run != MAP_FAILED;
}

/* KVM_RUN, past signals: the reason of the exit; KVM_EXIT_UNKNOWN: it failed. */
static uint32_t probe_enter(const Probe *p)
{
    int err;

    do {
        err = ioctl(p->vcpu, KVM_RUN, 0);
    } while (err && errno == EINTR);
    return err ? KVM_EXIT_UNKNOWN : p->run->exit_reason;
}

static void probe_fill_ram(uint8_t *ram)
{
    for (unsigned level = 0; level < 4; level++) {
        uint64_t *table = (uint64_t *)(ram + PROBE_TABLES + level * KVM_PAGE_SIZE);
        unsigned index = PROBE_LINEAR >> (39 - 9 * level) & 511;

        table[index] = (PROBE_TABLES + (level + 1) * KVM_PAGE_SIZE) | PROBE_PAGE;
        if (level == 3) {
            table[index + 1] = (PROBE_CODE + KVM_PAGE_SIZE) | PROBE_PAGE;
        }
    }
    memcpy(ram + PROBE_CODE, probe_code, sizeof(probe_code));
}

static const struct kvm_segment code64 = {
    .limit = UINT32_MAX, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
static const struct kvm_segment code32 = {
    .limit = UINT32_MAX, .selector = 8, .type = 11, .present = 1, .s = 1, .db = 1, .g = 1};
static const struct kvm_segment data32 = {
    .limit = UINT32_MAX, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};

static bool probe_set_cpu(const Probe *p)
{
    struct kvm_regs regs = {.rip = PROBE_LINEAR, .rsp = PROBE_LINEAR + 2 * KVM_PAGE_SIZE, .rflags = 2};
    struct kvm_sregs sregs;

    if (ioctl(p->vcpu, KVM_GET_SREGS, &sregs)) {
        return false;
    }
    sregs.cr0 = 0x80000033; /* PG NE ET MP PE */
    sregs.cr3 = PROBE_TABLES;
    sregs.cr4 = 0x620; /* OSXMMEXCPT OSFXSR PAE */
    sregs.efer = 0x500;
    sregs.cs = code64;
    sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = data32;
    return !ioctl(p->vcpu, KVM_SET_SREGS, &sregs) && !ioctl(p->vcpu, KVM_SET_REGS, &regs);
}

static bool probe_run(const Probe *p, const struct kvm_cpuid2 *cpuid, GError **error)
{
    struct kvm_regs regs = {0};
    uint32_t reason;

    if (ioctl(p->vcpu, KVM_SET_CPUID2, cpuid) || !probe_set_cpu(p)) {
        error_set_errno(error, errno, "its virtual CPU does not take the state of a 64-bit guest");
        return false;
    }
    reason = probe_enter(p);
    if (reason == KVM_EXIT_HLT && !ioctl(p->vcpu, KVM_GET_REGS, &regs) && regs.rcx == 2 * PROBE_MAGIC) {
        return true;
    }
    ioctl(p->vcpu, KVM_GET_REGS, &regs);
    error_set(error, "it does not execute a paged 64-bit guest (exit %u after %d bytes of code); it seems to emulate its guests",
              reason, (int)(regs.rip - PROBE_LINEAR));
    return false;
}

static void probe_free(Probe *p)
{
    if (p->run != MAP_FAILED) {
        munmap(p->run, p->run_size);
    }
    if (p->vcpu >= 0) {
        close(p->vcpu);
    }
    if (p->vm >= 0) {
        close(p->vm);
    }
    if (p->ram != MAP_FAILED) {
        munmap(p->ram, p->ram_size);
    }
}

bool kvm_probe(int kvm, GError **error)
{
    Probe p = {.vm = -1, .vcpu = -1, .run = MAP_FAILED, .ram = MAP_FAILED, .ram_size = PROBE_RAM};
    const unsigned limit = 256;
    g_autofree struct kvm_cpuid2 *cpuid = g_malloc0(sizeof(*cpuid) + limit * sizeof(cpuid->entries[0]));
    bool ok = probe_make(&p, kvm);

    cpuid->nent = limit;
    if (!ok || ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid)) {
        error_set_errno(error, errno, "it cannot make a virtual machine");
        ok = false;
    } else {
        probe_fill_ram(p.ram);
        ok = probe_run(&p, cpuid, error);
    }
    probe_free(&p);
    return ok;
}

/* --- what a debugger can have --- */

#define DEBUG_CODE   0x1000u
#define DEBUG_DATA   0x3000u
#define DEBUG_SECOND (DEBUG_CODE + 4)

/* Of real mode; its breakpoint instruction has a handler at 0, which is a HLT. */
static const uint8_t debug_code[] = {
    0x40,             /* inc ax */
    0xa3, 0x00, 0x30, /* mov [DEBUG_DATA], ax */
    0x40,             /* DEBUG_SECOND: inc ax */
    0xcc,             /* int3 */
    0xf4,             /* hlt */
};

static const struct {
    KvmDebugAbility ability;
    struct kvm_guest_debug setting;
    uint32_t exception;
    uint64_t dr6; /* has this bit */
} debug_tries[] = {
    {KVM_DEBUG_STEPS, {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP}, 1, 1u << 14},
    {KVM_DEBUG_PLACES,
     {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, .arch.debugreg = {[0] = DEBUG_SECOND, [7] = 0x401}},
     1,
     1},
    {KVM_DEBUG_ACCESSES,
     {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, .arch.debugreg = {[0] = DEBUG_DATA, [7] = 0x50401}},
     1,
     1},
    {KVM_DEBUG_INT3, {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP}, 3, 0},
};

/* Whether the guest is stopped by what was set. */
static bool debug_try(const Probe *p, size_t n)
{
    struct kvm_guest_debug setting = debug_tries[n].setting;
    struct kvm_regs regs = {.rip = DEBUG_CODE, .rflags = 2};
    struct kvm_sregs sregs;

    if (ioctl(p->vcpu, KVM_GET_SREGS, &sregs)) {
        return false;
    }
    sregs.cs.base = sregs.cs.selector = 0;
    if (ioctl(p->vcpu, KVM_SET_SREGS, &sregs) || ioctl(p->vcpu, KVM_SET_REGS, &regs) ||
        ioctl(p->vcpu, KVM_SET_GUEST_DEBUG, &setting)) {
        return false;
    }
    return probe_enter(p) == KVM_EXIT_DEBUG && p->run->debug.arch.exception == debug_tries[n].exception &&
           (p->run->debug.arch.dr6 & debug_tries[n].dr6) == debug_tries[n].dr6;
}

unsigned kvm_probe_debug(int kvm)
{
    unsigned abilities = 0;

    for (size_t n = 0; n < G_N_ELEMENTS(debug_tries); n++) {
        Probe p = {.vm = -1, .vcpu = -1, .run = MAP_FAILED, .ram = MAP_FAILED, .ram_size = PROBE_RAM};

        if (probe_make(&p, kvm)) {
            p.ram[0] = 0xf4;
            memcpy(p.ram + DEBUG_CODE, debug_code, sizeof(debug_code));
            abilities |= debug_try(&p, n) ? debug_tries[n].ability : 0;
        }
        probe_free(&p);
    }
    return abilities;
}

/* --- dirty rings --- */

#define RING_ENTRIES 1024u
#define RING_ROUNDS  4u
#define RING_CODE    0x1000u
#define RING_PAGES   2048u
#define RING_DATA    0x10000u

/* Writes to each of RING_PAGES pages, RING_ROUNDS times. */
static void ring_fill_ram(uint8_t *ram)
{
    const int32_t back = -(int32_t)(RING_PAGES * 5 + 7);
    uint8_t *at = ram + RING_CODE;

    for (uint32_t page = 0; page < RING_PAGES; page++) {
        uint32_t address = RING_DATA + page * KVM_PAGE_SIZE;

        *at++ = 0xa3; /* mov [address], eax */
        memcpy(at, &address, sizeof(address));
        at += sizeof(address);
    }
    memcpy(at, (const uint8_t[]){0x49, 0x0f, 0x85}, 3); /* dec ecx; jnz to the first */
    memcpy(at + 3, &back, sizeof(back));
    at[7] = 0xf4; /* hlt */
}

static bool ring_set_cpu(const Probe *p)
{
    struct kvm_regs regs = {.rip = RING_CODE, .rcx = RING_ROUNDS, .rflags = 2};
    struct kvm_sregs sregs;

    if (ioctl(p->vcpu, KVM_GET_SREGS, &sregs)) {
        return false;
    }
    sregs.cr0 = 0x33; /* NE ET MP PE */
    sregs.cs = code32;
    sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = data32;
    return !ioctl(p->vcpu, KVM_SET_SREGS, &sregs) && !ioctl(p->vcpu, KVM_SET_REGS, &regs);
}

/* A ring that is told to be full holds something, but not in each of its entries: the kernel keeps some back for what it
   learns of while it leaves the guest, and one that has used those as well may have written over others. */
static bool ring_run(const Probe *p, struct kvm_dirty_gfn *ring)
{
    uint32_t next = 0, reason;

    while ((reason = probe_enter(p)) == KVM_EXIT_DIRTY_RING_FULL) {
        uint32_t n = 0;

        while (n < RING_ENTRIES && ring[next % RING_ENTRIES].flags == KVM_DIRTY_GFN_F_DIRTY) {
            ring[next++ % RING_ENTRIES].flags = KVM_DIRTY_GFN_F_RESET;
            n++;
        }
        if (!n || n == RING_ENTRIES || ioctl(p->vm, KVM_RESET_DIRTY_RINGS, 0) < 0) {
            return false;
        }
    }
    return reason == KVM_EXIT_HLT;
}

bool kvm_probe_ring(int kvm)
{
    Probe p = {.vm = -1, .vcpu = -1, .run = MAP_FAILED, .ram = MAP_FAILED, .ram_size = RING_DATA + RING_PAGES * KVM_PAGE_SIZE,
               .ring_bytes = RING_ENTRIES * sizeof(struct kvm_dirty_gfn)};
    struct kvm_dirty_gfn *ring = MAP_FAILED;
    bool ok = probe_make(&p, kvm) && ring_set_cpu(&p);

    if (ok) {
        ring_fill_ram(p.ram);
        ring = mmap(NULL, p.ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p.vcpu, (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * KVM_PAGE_SIZE);
    }
    ok = ring != MAP_FAILED && ring_run(&p, ring);
    if (ring != MAP_FAILED) {
        munmap(ring, p.ring_bytes);
    }
    probe_free(&p);
    return ok;
}
