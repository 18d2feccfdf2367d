/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accelerators: what executes guest instructions.  Nothing but the machine's
 * start-up knows which one runs.
 */
#ifndef ACCEL_ACCEL_H
#define ACCEL_ACCEL_H

#include "accel/tcg-cpu.h"
#include "core/machine.h"
#include "core/trace.h"

/* Which interrupt controllers are the accelerator's own, instead of hw/intc. */
typedef enum AccelIrqchip {
    ACCEL_IRQCHIP_OFF,
    ACCEL_IRQCHIP_SPLIT, /* local APICs */
    ACCEL_IRQCHIP_ON,    /* local APICs, IO-APIC and 8259 pair */
} AccelIrqchip;

/* kernel-irqchip=on|split|off; false: something else. */
bool accel_irqchip_parse(const char *text, AccelIrqchip *irqchip);

/* What -accel NAME,KEY=VALUE says.  An accelerator ignores what it does not have. */
/* -icount: guest time from the number of instructions. */
typedef struct IcountConfig {
    bool on;
    bool adapt;     /* shift=auto: keeps pace with real time */
    bool sleep;     /* a halted CPU waits as long as guest time says */
    unsigned shift; /* an instruction takes 2^shift nanoseconds */
} IcountConfig;

typedef struct AccelConfig {
    bool jit;                 /* tcg: compile hot code to host code */
    AccelIrqchip irqchip;     /* kvm */
    uint64_t dirty_ring_size; /* kvm: entries of each vCPU's ring of written pages; 0: bitmaps */
    bool optional;            /* another accelerator is tried when this one is no good here */
    IcountConfig icount;
} AccelConfig;

typedef struct AccelOps AccelOps;
typedef struct AccelIrqchipOps AccelIrqchipOps; /* accel/irqchip.h */
typedef struct Vcpu Vcpu;

/* How a board wires a CPU to its local APIC; all on the vCPU's thread. */
typedef struct VcpuApicOps {
    int (*intr_ack)(void *apic); /* vector or -1 */
    uint64_t (*get_cr8)(void *apic);
    void (*set_cr8)(void *apic, uint64_t val);
    uint64_t (*get_base)(void *apic);
    bool (*set_base)(void *apic, uint64_t val);
    bool (*x2apic_read)(void *apic, uint32_t msr, uint64_t *val);
    bool (*x2apic_write)(void *apic, uint32_t msr, uint64_t val);
    uint64_t (*get_tsc_deadline)(void *apic); /* 0: disarmed, as after it came or outside its mode */
    void (*set_tsc_deadline)(void *apic, uint64_t tsc);
    void (*eoi)(void *apic, uint8_t vector); /* a local APIC of the accelerator completed a level-triggered vector */
} VcpuApicOps;

/* What a debugger wants of a vCPU when it is resumed. */
typedef struct VcpuDebug {
    const X86DebugPoint *points; /* copied */
    size_t count;
    bool step; /* one instruction */
    bool hold; /* none */
} VcpuDebug;

struct AccelOps {
    const char *name;                  /* "tcg", "kvm", "qtest" */
    const char *doc;
    bool counts;                       /* can do -icount */
    size_t size;                       /* of the accelerator's struct, beginning with Accel */
    bool has_smm;                      /* takes X86_IRQ_SMI, and then sees machine->smm_memory */
    /* Usable here?  False with the reason (no /dev/kvm ...), so that the next of a list is tried. */
    bool (*start)(Accel *accel, GError **error);
    void (*stop)(Accel *accel); /* see accel_stop() */
    void (*free)(Accel *accel); /* what outlives stop and the vCPUs; may be NULL */
    /* Creates a vCPU (stopped).  apic may be NULL. */
    Vcpu *(*vcpu_new)(Accel *accel, unsigned index, const VcpuApicOps *apic_ops, void *apic, GError **error);
    void (*vcpu_free)(Vcpu *vcpu);
    /* All vCPUs run / all have left guest code.  Main loop, its lock held (pause drops it while waiting). */
    void (*resume_all)(Accel *accel);
    /* A vCPU that waits for another process (core/thread-wait.h) counts as paused: it finishes that one instruction,
     * then stops. */
    void (*pause_all)(Accel *accel);
    /* The same, but such a wait is ended, so that the instruction is over too when it returns. */
    void (*stop_all)(Accel *accel);
    /* Paused vCPUs that wait for another process: returns when that instruction is over too.  NULL: none ever does. */
    void (*settle_all)(Accel *accel);
    void (*vcpu_reset)(Vcpu *vcpu);
    /* Inputs; any thread.  Level for X86_IRQ_HARD. */
    void (*vcpu_irq)(Vcpu *vcpu, X86CpuIrq irq, bool level);
    void (*vcpu_sipi)(Vcpu *vcpu, uint8_t vector);
    /* Architectural state; vCPU stopped. */
    bool (*get_state)(Vcpu *vcpu, X86CpuState *state);
    bool (*set_state)(Vcpu *vcpu, const X86CpuState *state);
    /* Time stamp counter of this vCPU and its rate; any thread. */
    uint64_t (*read_tsc)(Vcpu *vcpu);
    uint64_t (*tsc_hz)(Accel *accel);
    char *(*dump)(Vcpu *vcpu);        /* `info registers`; g_free */
    uint64_t (*insn_count)(Vcpu *vcpu); /* retired guest instructions, or 0 when not counted */
    void (*set_a20)(Accel *accel, bool enabled);
    /*
     * From now on (on) writes of the CPUs mark pages dirty (mem_region_dirty_set), each at least once after this call: it
     * is repeated before each look at the bitmaps.  vCPUs paused.  NULL: cannot migrate a running guest.
     */
    void (*log_writes)(Accel *accel, bool on);
    /* For a debugger, of a stopped vCPU; NULL: cannot.  translate: of the present page tables, without side effects. */
    bool (*translate)(Vcpu *vcpu, uint64_t linear, uint64_t *gpa);
    void (*set_debug)(Vcpu *vcpu, const VcpuDebug *debug);
    /* Whether these points can be set all at once (none: whether anything can be).  NULL: any can. */
    bool (*check_debug)(Vcpu *vcpu, const X86DebugPoint *points, size_t count, GError **error);
    char *(*info)(Accel *accel);    /* what `info` of the monitor shows of it, lines; g_free; may be NULL */
    char *(*cpu_models)(void);      /* those of -cpu, for help; g_free; NULL: those of the software CPU */
    const AccelIrqchipOps *irqchip; /* NULL: has no interrupt controllers */
};

/* A vCPU met a debugger's point; it stays where it is until it is resumed.  Its thread. */
typedef void AccelDebugFn(void *opaque, Vcpu *vcpu, const X86DebugPoint *why);

struct Accel {
    const AccelOps *ops;
    Machine *machine;
    AccelConfig config;
    AccelIrqchip irqchip; /* settled by start */
    GPtrArray *vcpus; /* of Vcpu * */
    /* set by a debugger while vCPUs are stopped */
    AccelDebugFn *debug_stop;
    void *debug_opaque;
};

struct Vcpu {
    Accel *accel;
    unsigned index;
    int thread_id; /* of its host thread, as gettid() has it; 0: it has none */
    Object *obj;   /* what stands for it in the tree; set by the board */
};

extern const AccelOps accel_kvm_ops;
extern const AccelOps accel_tcg_ops;
extern const AccelOps accel_qtest_ops;

/*
 * Starts the first usable accelerator of a ':' list ("kvm:tcg"); notes on the
 * ones passed over go to stderr in one line.  NULL with all reasons when none.
 */
Accel *accel_new(Machine *machine, const char *list, const AccelConfig *config, GError **error);
/*
 * Before machine_free(): ends the threads of the vCPUs and lets go of the machine's
 * memory.  Devices may go on driving inputs until accel_free(), which comes after.  NULL is allowed.
 */
void accel_stop(Accel *accel);
void accel_free(Accel *accel);
/* -d cpu_reset: what happens to the vCPU, and its state.  Its thread, or it is stopped. */
static inline void accel_log_reset(Vcpu *vcpu, const char *what)
{
    if (log_mask & LOG_CPU_RESET) {
        g_autofree char *state = vcpu->accel->ops->dump(vcpu);

        log_line(LOG_CPU_RESET, "%s (CPU %u)\n%s", what, vcpu->index, state);
    }
}
/* NULL-terminated list of what was built. */
extern const AccelOps *const accel_table[];

#endif
