/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the KVM accelerator share (<linux/kvm.h>; the kernel's virt/kvm/api documentation). */
#ifndef ACCEL_KVM_KVM_INTERNAL_H
#define ACCEL_KVM_KVM_INTERNAL_H

#include <linux/kvm.h>

#include "../vcpu-thread.h"
#include "accel/irqchip.h"

#define KVM_PAGE_SIZE 4096u
#define KVM_MSR_LIMIT 512u /* that one KVM_GET_MSRS may ask for */

/* A part of guest RAM that the kernel knows; size 0: the number is free. */
typedef struct KvmSlot {
    MemRegion *region;
    uint64_t region_offset, addr, size;
    bool readonly;
} KvmSlot;

typedef struct KvmRoutes KvmRoutes;

typedef struct KvmAccel {
    Accel accel;
    int fd, vm;
    size_t run_size; /* bytes of a vCPU's shared page */
    struct kvm_cpuid2 *supported;
    GArray *msrs; /* of uint32_t: the indices that are part of a vCPU's state; settled by the first vCPU */
    bool msrs_checked;
    bool has_sregs2, has_debugregs, has_xcrs, has_events, has_smm;
    uint32_t tsc_khz;
    /* memory */
    MemListener memory, io;
    GArray *slots; /* of KvmSlot, by number */
    unsigned max_slots;
    int slot_error; /* first of the transaction */
    char *slot_where;
    bool logging;
    uint32_t ring_bytes; /* of each vCPU's dirty ring; 0: bitmaps are used */
    /* While slots change no vCPU runs guest code: it could meet memory that is gone for a moment. */
    pthread_mutex_t gate_lock;
    pthread_cond_t gate_cond;
    atomic_bool gate_closed;
    unsigned ioeventfds; /* the kernel signals */
    atomic_uint irqfds;  /* the kernel takes */
    int vfio_device;     /* by which KVM learns of the machine's VFIO files; -1: not made yet */
    bool wide_ids;       /* destinations of messages have 32 bits */
    /* for a debugger */
    bool debug_probed;
    unsigned debug_abilities; /* KvmDebugAbility, once it is probed */
    uint32_t step_flags; /* KVM_GUESTDBG_*, with a single step */
    GArray *patches;     /* of KvmPatch (kvm-debug.c); vCPUs read it while they run */
    KvmRoutes *routes;   /* of the kernel's interrupt controllers; NULL: it has none */
} KvmAccel;

#define KVM_DEBUG_REGISTERS 4
/* Points of a debugger that are in debug registers. */
typedef struct KvmDebug {
    X86DebugPoint points[KVM_DEBUG_REGISTERS];
    unsigned count;
} KvmDebug;

typedef struct KvmVcpu {
    VcpuThread thread;
    int fd;
    struct kvm_run *run;
    struct kvm_dirty_gfn *ring;
    uint32_t ring_next;
    uint32_t ring_next_full; /* ring_next when the ring was full last */
    bool io_pending; /* the last access is completed by the next KVM_RUN */
    bool halted;     /* HLT, the local APIC being ours */
    bool wait_sipi;
    bool dead; /* triple fault or an error: only reset helps */
    bool failed;
    atomic_bool in_guest; /* or about to be */
    atomic_bool intr;     /* level of INTR */
    atomic_uint pending;  /* KVM_PENDING_*: edges */
    atomic_uint sipi_vector;
    X86CpuState *power_on; /* as the kernel made it */
    uint64_t tsc_base;   /* time stamp counter minus the host's, when last looked at */
    uint64_t tsc_offset; /* as get_state told it */
    uint64_t tsc_deadline; /* of the local APIC, to be armed when the counter is set; 0: none */
    bool tsc_held;       /* the machine is stopped: tsc_offset stays */
    KvmDebug debug;
    uint64_t exits;
} KvmVcpu;

enum { KVM_PENDING_NMI = 1, KVM_PENDING_SMI = 2, KVM_PENDING_INIT = 4, KVM_PENDING_SIPI = 8 };

static inline KvmAccel *kvm_accel(const KvmVcpu *v)
{
    return (KvmAccel *)v->thread.vcpu.accel;
}

/* The local APIC is this program's (kernel-irqchip=off). */
static inline bool kvm_apic_is_ours(const KvmVcpu *v)
{
    return v->thread.vcpu.accel->irqchip == ACCEL_IRQCHIP_OFF;
}

/* Of each vCPU's dirty ring; 0: bitmaps are used. */
static inline uint32_t kvm_ring_entries(const KvmAccel *kvm)
{
    return kvm->ring_bytes / (uint32_t)sizeof(struct kvm_dirty_gfn);
}

/* --- kvm-probe.c --- */
/* Whether this KVM executes what any 64-bit guest is made of; a few instructions in a virtual machine of its own. */
bool kvm_probe(int kvm, GError **error);
/* Whether the dirty rings of this KVM lose nothing when they are full. */
bool kvm_probe_ring(int kvm);
/* What of a debugger's wishes stops a guest of this KVM: bits. */
typedef enum KvmDebugAbility {
    KVM_DEBUG_STEPS = 1,
    KVM_DEBUG_PLACES = 2,   /* of code, in debug registers */
    KVM_DEBUG_ACCESSES = 4, /* of data, in debug registers */
    KVM_DEBUG_INT3 = 8,
} KvmDebugAbility;
unsigned kvm_probe_debug(int kvm);

/* --- kvm-memory.c; main loop --- */
bool kvm_memory_start(KvmAccel *kvm, GError **error);
void kvm_memory_stop(KvmAccel *kvm);
void kvm_log_writes(Accel *accel, bool on);
/* Marks the pages a vCPU's dirty ring holds; its thread, or anybody while it is paused. */
void kvm_ring_collect(KvmVcpu *v);
/* Around KVM_RUN: waits while slots change. */
void kvm_gate_enter(KvmVcpu *v);
void kvm_gate_leave(KvmVcpu *v);

/* --- kvm-irqchip.c --- */
extern const AccelIrqchipOps kvm_irqchip_ops;
/* Makes what kernel-irqchip asks for; before any vCPU. */
bool kvm_irqchip_start(KvmAccel *kvm, GError **error);
void kvm_irqchip_stop(KvmAccel *kvm);

/* --- kvm-cpuid.c --- */
bool kvm_cpuid_load(KvmAccel *kvm, GError **error);
/* Gives the vCPU its model's CPUID; the first vCPU says what the host does not have. */
bool kvm_cpuid_set(KvmVcpu *v, GError **error);

/* --- kvm-msr.c --- */
bool kvm_msr_load_list(KvmAccel *kvm, GError **error);
/* Drops what this host lists but refuses, with one warning; vCPU fresh. */
void kvm_msr_check(KvmVcpu *v);
void kvm_msr_get(KvmVcpu *v, X86CpuState *state);
bool kvm_msr_set(KvmVcpu *v, const X86CpuState *state);
#define KVM_MSR_TSC_DEADLINE 0x6e0u
/* One MSR; false: refused. */
bool kvm_msr_read(KvmVcpu *v, uint32_t index, uint64_t *val);
bool kvm_msr_write(KvmVcpu *v, uint32_t index, uint64_t val);

/* --- kvm-state.c; vCPU paused --- */
bool kvm_get_state(Vcpu *vcpu, X86CpuState *state);
bool kvm_set_state(Vcpu *vcpu, const X86CpuState *state);
/* Power-on reset, or INIT.  An AP waits for SIPI after either. */
void kvm_state_reset(KvmVcpu *v, bool init);
void kvm_state_sipi(KvmVcpu *v, uint8_t vector);
bool kvm_state_set_apic_base(KvmVcpu *v, uint64_t base);
/* The guest gets that exception, one without an error code, before its next instruction; the vCPU's thread. */
void kvm_state_inject(KvmVcpu *v, uint8_t vector);
char *kvm_dump(Vcpu *vcpu);

/* The machine stops: from now on get_state tells the counter as it is now. */
void kvm_state_hold_tsc(KvmVcpu *v);

/* --- kvm-debug.c --- */
void kvm_debug_start(KvmAccel *kvm);
void kvm_debug_stop(KvmAccel *kvm);
/* AccelOps. */
bool kvm_check_debug(Vcpu *vcpu, const X86DebugPoint *points, size_t count, GError **error);
void kvm_set_debug(Vcpu *vcpu, const VcpuDebug *debug);
void kvm_resume_all(Accel *accel);
void kvm_pause_all(Accel *accel);
void kvm_stop_all(Accel *accel);
/* KVM_EXIT_DEBUG; the vCPU's thread. */
void kvm_debug_exit(KvmVcpu *v);

/* --- kvm-clock.c --- */
extern const DeviceModel kvm_clock_model;

/* --- kvm-vcpu.c --- */
Vcpu *kvm_vcpu_new(Accel *accel, unsigned index, const VcpuApicOps *apic_ops, void *apic, GError **error);
void kvm_vcpu_free(Vcpu *vcpu);
void kvm_vcpu_reset(Vcpu *vcpu);
void kvm_vcpu_irq(Vcpu *vcpu, X86CpuIrq irq, bool level);
void kvm_vcpu_sipi(Vcpu *vcpu, uint8_t vector);
/* Makes KVM_RUN return soon; any thread. */
void kvm_vcpu_kick(VcpuThread *t);

#endif
