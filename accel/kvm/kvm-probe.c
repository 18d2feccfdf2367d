/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does this KVM execute a 64-bit guest?  There are hosts whose /dev/kvm opens and then interprets guests instruction by
 * instruction, knowing only some.  A guest of a dozen instructions, with paging, tells them apart: its code lies where
 * a kernel's does, writes through its page table, reloads it and uses the vector registers.  Another one shows what such hosts
 * have for a debugger, whatever they say of themselves.
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
    struct kvm_run *run;
    size_t run_size;
} Probe;

static bool probe_make(Probe *p, int kvm)
{
    struct kvm_userspace_memory_region region = {.memory_size = PROBE_RAM};
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

    p->run_size = size > 0 ? (size_t)size : 0;
    p->vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (p->vm >= 0) {
        ioctl(p->vm, KVM_SET_TSS_ADDR, (unsigned long)PROBE_TSS); /* some processors need it for real mode */
    }
    p->ram = mmap(NULL, PROBE_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->vm < 0 || p->ram == MAP_FAILED) {
        return false;
    }
    region.userspace_addr = (uintptr_t)p->ram;
    p->vcpu = ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &region) ? -1 : ioctl(p->vm, KVM_CREATE_VCPU, 0);
    if (p->vcpu >= 0 && p->run_size >= sizeof(struct kvm_run)) {
        p->run = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
    }
    return p->vcpu >= 0 && p->run != MAP_FAILED;
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

static bool probe_set_cpu(const Probe *p)
{
    const struct kvm_segment code = {
        .limit = UINT32_MAX, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
    const struct kvm_segment data = {
        .limit = UINT32_MAX, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
    struct kvm_regs regs = {.rip = PROBE_LINEAR, .rsp = PROBE_LINEAR + 2 * KVM_PAGE_SIZE, .rflags = 2};
    struct kvm_sregs sregs;

    if (ioctl(p->vcpu, KVM_GET_SREGS, &sregs)) {
        return false;
    }
    sregs.cr0 = 0x80000033; /* PG NE ET MP PE */
    sregs.cr3 = PROBE_TABLES;
    sregs.cr4 = 0x620; /* OSXMMEXCPT OSFXSR PAE */
    sregs.efer = 0x500;
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = data;
    return !ioctl(p->vcpu, KVM_SET_SREGS, &sregs) && !ioctl(p->vcpu, KVM_SET_REGS, &regs);
}

static bool probe_run(const Probe *p, const struct kvm_cpuid2 *cpuid, GError **error)
{
    struct kvm_regs regs = {0};
    int err;

    if (ioctl(p->vcpu, KVM_SET_CPUID2, cpuid) || !probe_set_cpu(p)) {
        error_set_errno(error, errno, "its virtual CPU does not take the state of a 64-bit guest");
        return false;
    }
    do {
        err = ioctl(p->vcpu, KVM_RUN, 0);
    } while (err && errno == EINTR);
    if (!err && p->run->exit_reason == KVM_EXIT_HLT && !ioctl(p->vcpu, KVM_GET_REGS, &regs) &&
        regs.rcx == 2 * PROBE_MAGIC) {
        return true;
    }
    ioctl(p->vcpu, KVM_GET_REGS, &regs);
    error_set(error, "it does not execute a paged 64-bit guest (exit %u after %d bytes of code); it seems to emulate its guests",
              err ? KVM_EXIT_UNKNOWN : p->run->exit_reason, (int)(regs.rip - PROBE_LINEAR));
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
        munmap(p->ram, PROBE_RAM);
    }
}

bool kvm_probe(int kvm, GError **error)
{
    Probe p = {.vm = -1, .vcpu = -1, .run = MAP_FAILED, .ram = MAP_FAILED};
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
    int err;

    if (ioctl(p->vcpu, KVM_GET_SREGS, &sregs)) {
        return false;
    }
    sregs.cs.base = sregs.cs.selector = 0;
    if (ioctl(p->vcpu, KVM_SET_SREGS, &sregs) || ioctl(p->vcpu, KVM_SET_REGS, &regs) ||
        ioctl(p->vcpu, KVM_SET_GUEST_DEBUG, &setting)) {
        return false;
    }
    do {
        err = ioctl(p->vcpu, KVM_RUN, 0);
    } while (err && errno == EINTR);
    return !err && p->run->exit_reason == KVM_EXIT_DEBUG && p->run->debug.arch.exception == debug_tries[n].exception &&
           (p->run->debug.arch.dr6 & debug_tries[n].dr6) == debug_tries[n].dr6;
}

unsigned kvm_probe_debug(int kvm)
{
    unsigned abilities = 0;

    for (size_t n = 0; n < G_N_ELEMENTS(debug_tries); n++) {
        Probe p = {.vm = -1, .vcpu = -1, .run = MAP_FAILED, .ram = MAP_FAILED};

        if (probe_make(&p, kvm)) {
            p.ram[0] = 0xf4;
            memcpy(p.ram + DEBUG_CODE, debug_code, sizeof(debug_code));
            abilities |= debug_try(&p, n) ? debug_tries[n].ability : 0;
        }
        probe_free(&p);
    }
    return abilities;
}
