/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PC's two cascaded 8259A interrupt controllers at ports 20h and A0h with
 * the edge/level control registers at 4D0h (Intel 8259A data sheet; ICH9 data
 * sheet 5.9 and 13.4).  The cascade input follows the slave's INT output.
 */
#include "hw/intc/i8259.h"

#include "accel/irqchip.h"

#define PIC_CASCADE_INPUT 2

#define ICW1_SELECT 0x10
#define ICW1_IC4    0x01
#define ICW1_SNGL   0x02
#define ICW4_AEOI   0x02
#define ICW4_SFNM   0x10
#define OCW3_SELECT 0x08
#define OCW3_RIS    0x01
#define OCW3_RR     0x02
#define OCW3_POLL   0x04
#define OCW3_SMM    0x20
#define OCW3_ESMM   0x40

enum {
    OCW2_ROTATE_AEOI_CLEAR,
    OCW2_EOI,
    OCW2_NOP,
    OCW2_SPECIFIC_EOI,
    OCW2_ROTATE_AEOI_SET,
    OCW2_ROTATE_EOI,
    OCW2_SET_PRIORITY,
    OCW2_ROTATE_SPECIFIC_EOI
};

/* The input of `mask` that comes first in the rotated order, or -1. */
static int pic_first(const PicChip *c, uint8_t mask)
{
    for (unsigned i = 1; mask && i <= 8; i++) {
        unsigned n = (c->lowest + i) & 7;
        if (mask & (1u << n)) {
            return (int)n;
        }
    }
    return -1;
}

static unsigned pic_rank(const PicChip *c, int n)
{
    return n < 0 ? 8 : ((unsigned)n - c->lowest - 1) & 7;
}

/* The input whose request goes to the CPU now, or -1. */
static int pic_request(const PicChip *c, bool master)
{
    uint8_t in_service = c->isr;
    if (c->special_mask) {
        in_service &= (uint8_t)~c->imr;
    }
    if (master && c->special_nested) {
        in_service &= (uint8_t) ~(1u << PIC_CASCADE_INPUT);
    }
    int n = pic_first(c, c->irr & (uint8_t)~c->imr);
    return n >= 0 && pic_rank(c, n) < pic_rank(c, pic_first(c, in_service)) ? n : -1;
}

static void pic_update(PicPair *p)
{
    if (accel_with_ioapic(p->dev.obj.machine)) {
        return; /* its own one interrupts */
    }
    PicChip *master = &p->chip[0];
    uint8_t cascade = 1u << PIC_CASCADE_INPUT;
    if (pic_request(&p->chip[1], false) >= 0) {
        master->irr |= cascade;
    } else {
        master->irr &= (uint8_t)~cascade;
    }
    irq_set(p->intr, pic_request(master, true) >= 0);
}

static void pic_set_line(PicChip *c, unsigned n, int level)
{
    uint8_t bit = (uint8_t)(1u << n);
    bool rising = level && !(c->lines & bit);
    c->lines = level ? c->lines | bit : c->lines & (uint8_t)~bit;
    if (c->elcr & bit) {
        c->irr = level ? c->irr | bit : c->irr & (uint8_t)~bit;
    } else if (rising) {
        c->irr |= bit;
    }
}

void i8259_set_irq(PicPair *pic, unsigned irq, int level)
{
    Accel *accel = accel_with_ioapic(pic->dev.obj.machine);
    if (irq >= 16 || irq == PIC_CASCADE_INPUT) {
        return;
    }
    if (accel) {
        accel->ops->irqchip->set_pic_input(accel, irq, level);
    }
    pic->counts[irq] += level && !(pic->chip[irq >> 3].lines >> (irq & 7) & 1);
    pic_set_line(&pic->chip[irq >> 3], irq & 7, level);
    pic_update(pic);
}

static void pic_input(void *opaque, int n, int level)
{
    i8259_set_irq(opaque, (unsigned)n, level);
}

static void pic_accept(PicChip *c, int n)
{
    uint8_t bit = (uint8_t)(1u << n);
    if (!(c->elcr & bit)) {
        c->irr &= (uint8_t)~bit;
    }
    if (!c->auto_eoi) {
        c->isr |= bit;
    } else if (c->rotate_auto_eoi) {
        c->lowest = (uint8_t)n;
    }
}

int i8259_ack(PicPair *pic)
{
    PicChip *master = &pic->chip[0], *slave = &pic->chip[1];
    int n = pic_request(master, true), vector;
    if (n < 0) {
        vector = master->icw2 + 7;
    } else {
        pic_accept(master, n);
        vector = master->icw2 + n;
        if (n == PIC_CASCADE_INPUT) {
            n = pic_request(slave, false);
            if (n >= 0) {
                pic_accept(slave, n);
            }
            vector = slave->icw2 + (n >= 0 ? n : 7);
        }
    }
    pic_update(pic);
    return vector;
}

bool i8259_pending(const PicPair *pic)
{
    return pic_request(&pic->chip[0], true) >= 0;
}

static void pic_icw1(PicChip *c, uint8_t val)
{
    c->irr = c->lines & c->elcr;
    c->isr = c->imr = c->icw3 = 0;
    c->lowest = 7;
    c->special_mask = c->read_isr = c->poll = false;
    c->auto_eoi = c->rotate_auto_eoi = c->special_nested = false;
    c->icw4_needed = val & ICW1_IC4;
    c->single = val & ICW1_SNGL;
    c->init_step = 2;
}

static void pic_ocw2(PicChip *c, uint8_t val)
{
    unsigned command = val >> 5;
    int n = val & 7;
    switch (command) {
    case OCW2_ROTATE_AEOI_CLEAR:
    case OCW2_ROTATE_AEOI_SET:
        c->rotate_auto_eoi = command == OCW2_ROTATE_AEOI_SET;
        return;
    case OCW2_NOP:
        return;
    case OCW2_SET_PRIORITY:
        c->lowest = (uint8_t)n;
        return;
    case OCW2_EOI:
    case OCW2_ROTATE_EOI:
        n = pic_first(c, c->special_mask ? c->isr & (uint8_t)~c->imr : c->isr);
        break;
    default:
        break;
    }
    if (n < 0) {
        return;
    }
    c->isr &= (uint8_t) ~(1u << n);
    if (command == OCW2_ROTATE_EOI || command == OCW2_ROTATE_SPECIFIC_EOI) {
        c->lowest = (uint8_t)n;
    }
}

static void pic_ocw3(PicChip *c, uint8_t val)
{
    if (val & OCW3_POLL) {
        c->poll = true;
    }
    if (val & OCW3_RR) {
        c->read_isr = val & OCW3_RIS;
    }
    if (val & OCW3_ESMM) {
        c->special_mask = val & OCW3_SMM;
    }
}

static void pic_write_data(PicChip *c, uint8_t val)
{
    switch (c->init_step) {
    case 0:
        c->imr = val;
        break;
    case 2:
        c->icw2 = val & 0xf8;
        c->init_step = !c->single ? 3 : c->icw4_needed ? 4 : 0;
        break;
    case 3:
        c->icw3 = val;
        c->init_step = c->icw4_needed ? 4 : 0;
        break;
    default:
        c->auto_eoi = val & ICW4_AEOI;
        c->special_nested = val & ICW4_SFNM;
        c->init_step = 0;
        break;
    }
}

static MemResult pic_write(PicPair *p, PicChip *c, HwAddr addr, uint8_t val)
{
    if (addr & 1) {
        pic_write_data(c, val);
    } else if (val & ICW1_SELECT) {
        pic_icw1(c, val);
    } else if (val & OCW3_SELECT) {
        pic_ocw3(c, val);
    } else {
        pic_ocw2(c, val);
    }
    pic_update(p);
    return MEM_OK;
}

static MemResult pic_read(PicPair *p, PicChip *c, HwAddr addr, uint64_t *val)
{
    if (c->poll) {
        int n = pic_request(c, c == &p->chip[0]);
        c->poll = false;
        *val = 0;
        if (n >= 0) {
            pic_accept(c, n);
            *val = 0x80 | (unsigned)n;
            pic_update(p);
        }
    } else if (addr & 1) {
        *val = c->imr;
    } else {
        *val = c->read_isr ? c->isr : c->irr;
    }
    return MEM_OK;
}

static MemResult pic_master_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    PicPair *p = opaque;
    return pic_read(p, &p->chip[0], addr, val);
}

static MemResult pic_master_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    PicPair *p = opaque;
    return pic_write(p, &p->chip[0], addr, (uint8_t)val);
}

static MemResult pic_slave_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    PicPair *p = opaque;
    return pic_read(p, &p->chip[1], addr, val);
}

static MemResult pic_slave_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    PicPair *p = opaque;
    return pic_write(p, &p->chip[1], addr, (uint8_t)val);
}

static MemResult pic_elcr_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    PicPair *p = opaque;
    *val = p->chip[addr & 1].elcr;
    return MEM_OK;
}

static MemResult pic_elcr_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    PicPair *p = opaque;
    PicChip *c = &p->chip[addr & 1];
    c->elcr = (uint8_t)val & c->elcr_mask;
    c->irr = (c->irr & (uint8_t)~c->elcr) | (c->lines & c->elcr);
    pic_update(p);
    return MEM_OK;
}

static const MemOps pic_ops[3] = {
    {.read = pic_master_read, .write = pic_master_write, .min_size = 1, .max_size = 1},
    {.read = pic_slave_read, .write = pic_slave_write, .min_size = 1, .max_size = 1},
    {.read = pic_elcr_read, .write = pic_elcr_write, .min_size = 1, .max_size = 1},
};

static const struct {
    const char *name;
    uint16_t port;
} pic_ports[3] = {{"pic-master", 0x20}, {"pic-slave", 0xa0}, {"elcr", 0x4d0}};

/* --- an accelerator's pair: the fields are a copy of its registers --- */

static void pic_fetch(PicPair *p)
{
    Accel *accel = accel_with_ioapic(p->dev.obj.machine);
    for (unsigned i = 0; accel && i < 2; i++) {
        PicChip *c = &p->chip[i];
        AccelPic image;
        if (!accel->ops->irqchip->get_pic(accel, i, &image)) {
            return;
        }
        c->irr = image.irr;
        c->isr = image.isr;
        c->imr = image.imr;
        c->elcr = image.elcr;
        c->icw2 = image.icw2;
        c->lowest = image.lowest;
        c->init_step = image.init_step;
        c->icw4_needed = image.icw4_needed;
        c->auto_eoi = image.auto_eoi;
        c->rotate_auto_eoi = image.rotate_auto_eoi;
        c->special_nested = image.special_nested;
        c->special_mask = image.special_mask;
        c->read_isr = image.read_isr;
        c->poll = image.poll;
    }
}

static void pic_put(PicPair *p)
{
    Accel *accel = accel_with_ioapic(p->dev.obj.machine);
    for (unsigned i = 0; accel && i < 2; i++) {
        const PicChip *c = &p->chip[i];
        const AccelPic image = {.irr = c->irr,
                                .isr = c->isr,
                                .imr = c->imr,
                                .lines = c->lines,
                                .elcr = c->elcr,
                                .elcr_mask = c->elcr_mask,
                                .icw2 = c->icw2,
                                .lowest = c->lowest,
                                .init_step = c->init_step,
                                .icw4_needed = c->icw4_needed,
                                .auto_eoi = c->auto_eoi,
                                .rotate_auto_eoi = c->rotate_auto_eoi,
                                .special_nested = c->special_nested,
                                .special_mask = c->special_mask,
                                .read_isr = c->read_isr,
                                .poll = c->poll};
        if (!accel->ops->irqchip->set_pic(accel, i, &image)) {
            g_printerr("i8259: the accelerator does not take its registers\n");
        }
    }
}

static void pic_pre_save(void *instance)
{
    pic_fetch(instance);
}

static bool pic_post_load(void *instance, uint32_t version, GError **error)
{
    pic_put(instance);
    return true;
}

static void pic_print(Object *obj, bool counts, GString *out)
{
    PicPair *p = (PicPair *)obj;

    pic_fetch(p);
    for (unsigned i = 0; i < 16 && counts; i++) {
        if (p->counts[i]) {
            g_string_append_printf(out, "%2u: %" G_GUINT64_FORMAT "\n", i, p->counts[i]);
        }
    }
    for (unsigned i = 0; i < 2 && !counts; i++) {
        const PicChip *c = &p->chip[i];

        g_string_append_printf(out, "pic%u: irr=%02x imr=%02x isr=%02x hprio=%u irq_base=%02x rr_sel=%d elcr=%02x fnm=%d\n", i,
                               c->irr, c->imr, c->isr, (c->lowest + 1u) & 7, c->icw2, c->read_isr, c->elcr, c->special_nested);
    }
}

static void pic_reset(Device *dev)
{
    static const uint8_t elcr_mask[2] = {0xf8,
                                         0xde}; /* timer, keyboard, cascade, RTC, FPU are always edges */
    PicPair *p = (PicPair *)dev;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t lines = p->chip[i].lines;
        p->chip[i] = (PicChip){.lowest = 7, .imr = 0xff, .elcr_mask = elcr_mask[i], .lines = lines};
    }
    pic_put(p);
    pic_update(p);
}

static bool pic_start(Device *dev, GError **error)
{
    PicPair *p = (PicPair *)dev;
    for (unsigned i = 0; !accel_with_ioapic(dev->obj.machine) && i < 3; i++) {
        p->regions[i] =
            mem_region_new_io(dev->obj.machine->topo, pic_ports[i].name, 2, &pic_ops[i], p, dev->home);
        mem_region_add(p->io, pic_ports[i].port, p->regions[i]);
    }
    p->inputs = irq_new_array(pic_input, p, 16);
    device_add_irq_inputs(dev, NULL, p->inputs, 16);
    return true;
}

static void pic_stop(Device *dev)
{
    PicPair *p = (PicPair *)dev;
    for (unsigned i = 0; i < 3 && p->regions[i]; i++) {
        mem_region_del(p->io, p->regions[i]);
        mem_region_retire(p->regions[i]);
        mem_region_unref(p->regions[i]);
    }
    irq_free_array(p->inputs, 16);
}

static bool pic_chip_post_load(void *instance, uint32_t version, GError **error)
{
    PicChip *c = instance;
    if (c->lowest > 7 || c->init_step > 4 || c->init_step == 1) {
        error_set(error, "i8259: bad state (lowest %u, allowed 0..7; init_step %u, allowed 0, 2..4)",
                  c->lowest, c->init_step);
        return false;
    }
    return true;
}

static const StateField pic_chip_fields[] = {
    STATE_FIELD_UINT(PicChip, irr),
    STATE_FIELD_UINT(PicChip, isr),
    STATE_FIELD_UINT(PicChip, imr),
    STATE_FIELD_UINT(PicChip, lines),
    STATE_FIELD_UINT(PicChip, elcr),
    STATE_FIELD_UINT(PicChip, icw2),
    STATE_FIELD_UINT(PicChip, icw3),
    STATE_FIELD_UINT(PicChip, lowest),
    STATE_FIELD_UINT(PicChip, init_step),
    STATE_FIELD_BOOL(PicChip, icw4_needed),
    STATE_FIELD_BOOL(PicChip, single),
    STATE_FIELD_BOOL(PicChip, auto_eoi),
    STATE_FIELD_BOOL(PicChip, rotate_auto_eoi),
    STATE_FIELD_BOOL(PicChip, special_nested),
    STATE_FIELD_BOOL(PicChip, special_mask),
    STATE_FIELD_BOOL(PicChip, read_isr),
    STATE_FIELD_BOOL(PicChip, poll),
    STATE_END,
};
static const StateTable pic_chip_state = {
    .name = "i8259-chip", .version = 1, .fields = pic_chip_fields, .post_load = pic_chip_post_load};

static const StateField pic_fields[] = {STATE_FIELD_STRUCTS(PicPair, chip, &pic_chip_state), STATE_END};
static const StateTable pic_state = {
    .name = "i8259", .version = 1, .fields = pic_fields, .pre_save = pic_pre_save, .post_load = pic_post_load};

const DeviceModel i8259_model = {
    .model = {.name = "isa-i8259",
              .doc = "Pair of 8259A interrupt controllers.",
              .kind = MODEL_DEVICE,
              .size = sizeof(PicPair),
              .print_irqs = pic_print,
              .state = &pic_state,
              .internal = true},
    .start = pic_start,
    .reset = pic_reset,
    .stop = pic_stop,
};
