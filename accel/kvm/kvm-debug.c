/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A debugger's points and steps under KVM (the kernel's virt/kvm/api, KVM_SET_GUEST_DEBUG): four debug registers for accesses and
 * places in code (Intel SDM vol. 3, 18.2); places beyond those are INT3 instructions in the guest's memory, which are there only
 * while CPUs run.  What does not stop a guest of this host (kvm-probe.c) is refused when it is asked for.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "core/error.h"
#include "kvm-internal.h"

#define EXCEPTION_DB 1
#define EXCEPTION_BP 3
#define DR6_STEP     (1u << 14)
#define DR7_FIXED    0x400u
#define INT3         0xcc

/* An INT3; len of its point is 0. */
typedef struct KvmPatch {
    uint64_t addr, gpa;
    uint8_t old;
    bool in;
} KvmPatch;

/* --- which point goes where --- */

static bool takes_register(const X86DebugPoint *p)
{
    return p->kind != X86_DEBUG_EXEC || p->len;
}

/* A debug register can have it, and stops the guest by it. */
static bool register_can(const KvmAccel *kvm, const X86DebugPoint *p, GError **error)
{
    if (!(kvm->debug_abilities & (p->kind == X86_DEBUG_EXEC ? KVM_DEBUG_PLACES : KVM_DEBUG_ACCESSES))) {
        error_set(error, "this host's KVM does not stop a guest at %s in debug registers",
                  p->kind == X86_DEBUG_EXEC ? "places" : "accesses");
        return false;
    }
    if (p->kind == X86_DEBUG_READ) {
        error_set(error, "debug registers do not tell reads alone; watch all accesses");
        return false;
    }
    if (p->kind != X86_DEBUG_EXEC && ((p->len & (p->len - 1)) || p->len > 8 || (p->addr & (p->len - 1)))) {
        error_set(error, "debug registers watch 1, 2, 4 or 8 bytes in their place (%" G_GUINT64_FORMAT " at 0x%" G_GINT64_MODIFIER "x)", p->len,
                  p->addr);
        return false;
    }
    return true;
}

/* Those that need a register, then as many others as there is room for.  False: too many need one. */
static bool choose_registers(const KvmAccel *kvm, const X86DebugPoint *points, size_t count, KvmDebug *d)
{
    unsigned rounds = kvm->debug_abilities & KVM_DEBUG_PLACES ? 2 : 1;

    for (unsigned round = 0; round < rounds; round++) {
        for (size_t i = 0; i < count; i++) {
            if (takes_register(&points[i]) != (round == 0)) {
                continue;
            }
            if (d->count < KVM_DEBUG_REGISTERS) {
                d->points[d->count++] = points[i];
            } else if (round == 0) {
                return false;
            }
        }
    }
    return true;
}

static bool in_register(const KvmDebug *d, const X86DebugPoint *p)
{
    for (unsigned i = 0; i < d->count; i++) {
        if (d->points[i].addr == p->addr && d->points[i].kind == p->kind && d->points[i].len == p->len) {
            return true;
        }
    }
    return false;
}

/* Whether an instruction can be put there; it is not left there. */
static bool can_patch(Vcpu *vcpu, uint64_t addr)
{
    AddressSpace *memory = vcpu->accel->machine->memory;
    const uint8_t int3 = INT3;
    uint8_t old, now = 0;
    uint64_t gpa;

    if (!vcpu->accel->ops->translate(vcpu, addr, &gpa) || as_read(memory, gpa, &old, 1, MEM_ATTRS_CPU) != MEM_OK) {
        return false;
    }
    as_write(memory, gpa, &int3, 1, MEM_ATTRS_CPU);
    as_read(memory, gpa, &now, 1, MEM_ATTRS_CPU);
    as_write(memory, gpa, &old, 1, MEM_ATTRS_CPU);
    return now == INT3;
}

bool kvm_check_debug(Vcpu *vcpu, const X86DebugPoint *points, size_t count, GError **error)
{
    KvmAccel *kvm = (KvmAccel *)vcpu->accel;
    KvmDebug d = {0};

    if (!kvm->debug_probed) {
        kvm->debug_abilities = kvm_probe_debug(kvm->fd);
        kvm->debug_probed = true;
    }
    if (!(kvm->debug_abilities & KVM_DEBUG_STEPS)) {
        error_set(error, "this host's KVM has no breakpoints and single steps");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (takes_register(&points[i]) && !register_can(kvm, &points[i], error)) {
            return false;
        }
    }
    if (!choose_registers(kvm, points, count, &d)) {
        error_set(error, "there are %d debug registers", KVM_DEBUG_REGISTERS);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!in_register(&d, &points[i]) && !(kvm->debug_abilities & KVM_DEBUG_INT3)) {
            error_set(error, "this host's KVM does not stop a guest at INT3, and the debug registers are taken");
            return false;
        }
        if (!in_register(&d, &points[i]) && !can_patch(vcpu, points[i].addr)) {
            error_set(error, "no memory that can be written is at 0x%" G_GINT64_MODIFIER "x now, and the debug registers are taken",
                      points[i].addr);
            return false;
        }
    }
    return true;
}

/* --- debug registers --- */

static uint64_t dr7_of(const X86DebugPoint *p, unsigned n)
{
    static const uint8_t kinds[] = {[X86_DEBUG_EXEC] = 0, [X86_DEBUG_WRITE] = 1, [X86_DEBUG_ACCESS] = 3};
    static const uint8_t lengths[] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};
    uint64_t len = p->kind == X86_DEBUG_EXEC ? 0 : lengths[p->len];

    return UINT64_C(1) << (2 * n) | (uint64_t)(kinds[p->kind] | len << 2) << (16 + 4 * n);
}

void kvm_set_debug(Vcpu *vcpu, const VcpuDebug *debug)
{
    KvmVcpu *v = (KvmVcpu *)vcpu;
    KvmAccel *kvm = kvm_accel(v);
    struct kvm_guest_debug to = {0};

    v->debug.count = 0;
    choose_registers(kvm, debug->points, debug->count, &v->debug);
    if (debug->count || debug->step) {
        /* The guest's own INT3 are its own as long as there are none of ours. */
        to.control = KVM_GUESTDBG_ENABLE | (debug->count > v->debug.count ? KVM_GUESTDBG_USE_SW_BP : 0) |
                     (v->debug.count ? KVM_GUESTDBG_USE_HW_BP : 0) |
                     (debug->step ? KVM_GUESTDBG_SINGLESTEP | kvm->step_flags : 0);
    }
    to.arch.debugreg[7] = DR7_FIXED;
    for (unsigned i = 0; i < v->debug.count; i++) {
        to.arch.debugreg[i] = v->debug.points[i].addr;
        to.arch.debugreg[7] |= dr7_of(&v->debug.points[i], i);
    }
    ioctl(v->fd, KVM_SET_GUEST_DEBUG, &to);
    pthread_mutex_lock(&v->thread.lock);
    v->thread.hold = debug->hold;
    pthread_mutex_unlock(&v->thread.lock);
    if (vcpu->index) {
        return; /* the points are the same for all */
    }
    g_array_set_size(kvm->patches, 0);
    for (size_t i = 0; i < debug->count; i++) {
        KvmPatch patch = {.addr = debug->points[i].addr};

        if (!in_register(&v->debug, &debug->points[i])) {
            g_array_append_val(kvm->patches, patch);
        }
    }
}

/* --- instructions --- */

/* By the page tables of the first CPU that has something there. */
static bool patch_translate(KvmAccel *kvm, KvmPatch *patch)
{
    for (guint i = 0; i < kvm->accel.vcpus->len; i++) {
        if (kvm->accel.ops->translate(g_ptr_array_index(kvm->accel.vcpus, i), patch->addr, &patch->gpa)) {
            return true;
        }
    }
    return false;
}

/* CPUs are stopped, and about to run. */
static void patches_in(KvmAccel *kvm)
{
    AddressSpace *memory = kvm->accel.machine->memory;
    const uint8_t int3 = INT3;

    for (guint i = 0; i < kvm->patches->len; i++) {
        KvmPatch *patch = &g_array_index(kvm->patches, KvmPatch, i);

        patch->in = patch->in || (patch_translate(kvm, patch) && as_read(memory, patch->gpa, &patch->old, 1, MEM_ATTRS_CPU) == MEM_OK &&
                                  as_write(memory, patch->gpa, &int3, 1, MEM_ATTRS_CPU) == MEM_OK);
    }
}

/* CPUs have stopped: what the guest wrote over an INT3 stays. */
static void patches_out(KvmAccel *kvm)
{
    AddressSpace *memory = kvm->accel.machine->memory;

    for (guint i = kvm->patches->len; i > 0; i--) {
        KvmPatch *patch = &g_array_index(kvm->patches, KvmPatch, i - 1);
        uint8_t now;

        if (patch->in && as_read(memory, patch->gpa, &now, 1, MEM_ATTRS_CPU) == MEM_OK && now == INT3) {
            as_write(memory, patch->gpa, &patch->old, 1, MEM_ATTRS_CPU);
        }
        patch->in = false;
    }
}

void kvm_resume_all(Accel *accel)
{
    patches_in((KvmAccel *)accel);
    vcpu_threads_resume(accel);
}

void kvm_pause_all(Accel *accel)
{
    vcpu_threads_pause(accel);
    patches_out((KvmAccel *)accel);
}

void kvm_stop_all(Accel *accel)
{
    vcpu_threads_stop(accel);
    patches_out((KvmAccel *)accel);
}

void kvm_debug_start(KvmAccel *kvm)
{
    int flags = ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_GUEST_DEBUG2);

    kvm->patches = g_array_new(FALSE, FALSE, sizeof(KvmPatch));
    /* A step that ends in the handler of an interrupt is none. */
    kvm->step_flags = flags > 0 ? (uint32_t)flags & KVM_GUESTDBG_BLOCKIRQ : 0;
}

void kvm_debug_stop(KvmAccel *kvm)
{
    if (kvm->patches) {
        g_array_free(g_steal_pointer(&kvm->patches), TRUE);
    }
}

/* --- a point was met --- */

static bool find_point(const KvmVcpu *v, X86DebugPoint *why)
{
    const GArray *patches = kvm_accel(v)->patches;
    uint64_t pc = v->run->debug.arch.pc, dr6 = v->run->debug.arch.dr6;

    if (v->run->debug.arch.exception == EXCEPTION_DB) {
        for (unsigned i = 0; i < v->debug.count; i++) {
            if (dr6 & UINT64_C(1) << i) {
                *why = v->debug.points[i];
                return true;
            }
        }
        *why = (X86DebugPoint){.kind = X86_DEBUG_STEP};
        return dr6 & DR6_STEP;
    }
    for (guint i = 0; i < patches->len; i++) {
        if (g_array_index(patches, KvmPatch, i).addr == pc) {
            *why = (X86DebugPoint){.kind = X86_DEBUG_EXEC, .addr = pc};
            return true;
        }
    }
    return false;
}

void kvm_debug_exit(KvmVcpu *v)
{
    Accel *accel = v->thread.vcpu.accel;
    X86DebugPoint why;

    if (!accel->debug_stop || !find_point(v, &why)) {
        kvm_state_inject(v, (uint8_t)v->run->debug.arch.exception); /* the guest's own */
        return;
    }
    pthread_mutex_lock(&v->thread.lock);
    v->thread.held = true;
    pthread_mutex_unlock(&v->thread.lock);
    accel->debug_stop(accel->debug_opaque, &v->thread.vcpu, &why);
}
