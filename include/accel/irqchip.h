/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt controllers inside an accelerator, which take the place of those of hw/intc.  Register images are in the
 * order of the chips' own specifications, so that both sides can save and load them.
 */
#ifndef ACCEL_IRQCHIP_H
#define ACCEL_IRQCHIP_H

#include "accel/accel.h"

#define ACCEL_IOAPIC_PINS 24u

/* A local APIC: its registers by number (offset in the page divided by 16). */
typedef struct AccelLapic {
    uint32_t regs[64];
    uint64_t base; /* IA32_APIC_BASE */
    uint64_t tsc_deadline;
} AccelLapic;

typedef struct AccelIoApic {
    uint32_t ioregsel, id; /* id: 0..15 */
    uint32_t levels;       /* inputs */
    uint64_t ioredtbl[ACCEL_IOAPIC_PINS];
} AccelIoApic;

/* One 8259A; hw/intc/i8259.h says what the fields are. */
typedef struct AccelPic {
    uint8_t irr, isr, imr, lines, elcr, elcr_mask, icw2, lowest, init_step;
    bool icw4_needed, auto_eoi, rotate_auto_eoi, special_nested, special_mask, read_isr, poll;
} AccelPic;

struct AccelIrqchipOps {
    /* vCPU paused; false: refused. */
    bool (*get_lapic)(Vcpu *vcpu, AccelLapic *lapic);
    bool (*set_lapic)(Vcpu *vcpu, const AccelLapic *lapic);
    /* An interrupt message to the local APICs; bits 8 to 31 of a destination are bits 40 to 63.  Any thread. */
    void (*send_msi)(Accel *accel, uint64_t address, uint32_t data);
    /* Inputs of ACCEL_IRQCHIP_ON's chips.  Any thread. */
    void (*set_ioapic_input)(Accel *accel, unsigned pin, int level);
    void (*set_pic_input)(Accel *accel, unsigned pin, int level);
    /* vCPUs paused. */
    bool (*get_ioapic)(Accel *accel, AccelIoApic *ioapic);
    bool (*set_ioapic)(Accel *accel, const AccelIoApic *ioapic);
    bool (*get_pic)(Accel *accel, unsigned chip, AccelPic *pic); /* chip 0: master, 1: slave */
    bool (*set_pic)(Accel *accel, unsigned chip, const AccelPic *pic);
    /* ACCEL_IRQCHIP_SPLIT: what pin `pin` of the IO-APIC sends; local APICs tell the completion of such vectors. */
    void (*set_ioapic_message)(Accel *accel, unsigned pin, uint64_t address, uint32_t data);
};

/* The accelerator whose local APICs the machine has; NULL: those of hw/intc. */
static inline Accel *accel_with_lapic(const Machine *m)
{
    return m->accel && m->accel->irqchip != ACCEL_IRQCHIP_OFF ? m->accel : NULL;
}

/* The same for IO-APIC and 8259 pair. */
static inline Accel *accel_with_ioapic(const Machine *m)
{
    return m->accel && m->accel->irqchip == ACCEL_IRQCHIP_ON ? m->accel : NULL;
}

#endif
