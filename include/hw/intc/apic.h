/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local APICs and the message bus between them, the IO-APIC and MSI writers.
 *
 * Threads: each APIC has a mutex of its own; register accesses come on its
 * vCPU's thread without the main loop's lock, messages from any thread.  Order:
 * main loop lock before an APIC's mutex; no two APIC mutexes are held at once.
 */
#ifndef HW_INTC_APIC_H
#define HW_INTC_APIC_H

#include "accel/accel.h"
#include "core/machine.h"

#define APIC_DEFAULT_BASE 0xfee00000ull
#define APIC_REGION_SIZE  0x100000ull
#define APIC_LVT_COUNT    6

typedef struct Apic Apic;
typedef struct ApicBus ApicBus;

/* What the bus has around it; set by the board.  Functions may be NULL. */
typedef struct ApicBusOps {
    /* A level-triggered vector was completed; called without any APIC's mutex, any thread. */
    void (*eoi)(void *opaque, uint8_t vector);
    /* The 8259's interrupt acknowledge: vector or -1; called without any APIC's mutex, vCPU thread. */
    int (*extint_ack)(void *opaque);
} ApicBusOps;

struct ApicBus {
    Accel *accel; /* whose local APICs these are; NULL: the models' own */
    Apic **apics; /* by CPU index */
    unsigned count;
    const ApicBusOps *ops;
    void *opaque;
};

typedef enum ApicDelivery {
    APIC_FIXED,
    APIC_LOWEST,
    APIC_SMI,
    APIC_RESERVED,
    APIC_NMI,
    APIC_INIT,
    APIC_SIPI,
    APIC_EXTINT,
} ApicDelivery;

/* One interrupt message. */
typedef struct ApicMessage {
    uint32_t dest; /* destination field; 0xff (xAPIC) and 0xffffffff (x2APIC) are all */
    bool x2apic;   /* dest has the 32-bit form */
    bool logical, level;
    ApicDelivery mode;
    uint8_t vector;
} ApicMessage;

struct Apic {
    Device dev;
    /* wiring, set before start */
    ApicBus *bus;
    unsigned index;
    uint32_t first_id; /* the x2APIC id, and the xAPIC id after reset */
    /* set by the board when the vCPU exists; NULL under no accelerator */
    Vcpu *vcpu;

    GMutex lock; /* guards everything below */
    uint64_t base_msr;
    uint32_t id; /* xAPIC id (0..255) */
    uint32_t tpr, ldr, dfr, svr, esr, esr_pending;
    uint32_t isr[8], tmr[8], irr[8];
    uint32_t icr_lo, icr_hi;
    uint32_t lvt[APIC_LVT_COUNT];
    uint32_t initial_count, divide_config;
    int64_t count_start;   /* guest ns at which the count was loaded */
    int64_t timer_next;    /* guest ns of the next expiry, or -1 */
    uint64_t tsc_deadline; /* 0: disarmed */
    bool extint_line;      /* LINT0: the 8259's INT output */
    bool intr_out;         /* what the vCPU was told */
    Timer *timer;
};

extern const DeviceModel apic_model;
extern const VcpuApicOps apic_vcpu_ops;

/* The region every CPU's registers and the MSI window are seen through; at APIC_DEFAULT_BASE. */
MemRegion *apic_bus_new_region(ApicBus *bus, Machine *machine);
/* Sends a message to the APICs it addresses.  Any thread, no APIC's mutex held. */
void apic_bus_send(ApicBus *bus, const ApicMessage *msg);
/* What pin `pin` of the IO-APIC sends from now on, for accelerators that have the local APICs only. */
void apic_bus_set_pin(ApicBus *bus, unsigned pin, const ApicMessage *msg);
/* A write of `data` to `address` in the MSI window, decoded and sent.  Any thread. */
void apic_bus_msi(ApicBus *bus, uint64_t address, uint32_t data);

/* Hands one message to this APIC, which is one of its destinations.  Any thread. */
void apic_accept(Apic *apic, const ApicMessage *msg);
/* Whether the message addresses this APIC. */
bool apic_matches(Apic *apic, const ApicMessage *msg);
/* Class of the highest priority in service or wanted (for lowest-priority arbitration), 0..15. */
unsigned apic_priority(Apic *apic);
/* LINT0 of the boot CPU: the 8259's output.  Main loop. */
void apic_set_extint(Apic *apic, int level);
/* As firmware leaves the boot CPU: enabled, LINT0 ExtINT, LINT1 NMI.  vCPU stopped. */
void apic_setup_virtual_wire(Apic *apic);

/* Local APICs of an accelerator: the model's fields are a copy, fetched before and put after it is used.  vCPU paused. */
void apic_accel_fetch(Apic *apic);
void apic_accel_put(Apic *apic);

/* Registers by index (offset >> 4); for the bus region and x2APIC MSRs.  False: reserved register. */
bool apic_reg_read(Apic *apic, unsigned reg, uint32_t *val);
bool apic_reg_write(Apic *apic, unsigned reg, uint32_t val);
void apic_write_icr(Apic *apic, uint32_t hi, uint32_t lo, bool x2apic);

#endif
