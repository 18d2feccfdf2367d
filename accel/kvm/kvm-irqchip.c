/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's interrupt controllers (kernel-irqchip=on|split), the table of what its interrupt numbers do, and
 * eventfds that raise them.
 *
 * Numbers (GSIs) here: 0..23 are the pins of the IO-APIC; with kernel-irqchip=on the 16 behind them are the inputs of
 * the 8259 pair; all others are messages, given out one by one.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "core/error.h"
#include "core/irqfd.h"
#include "kvm-internal.h"

#define GSI_PIC          ACCEL_IOAPIC_PINS
#define PIC_PINS         16u
#define GSI_MESSAGES     (GSI_PIC + PIC_PINS)
#define PIC_CASCADE      2u
#define APIC_ID          2u /* register */
#define APIC_BASE_EXTD   0x400u

/* The table of routes, and who has which message. */
struct KvmRoutes {
    pthread_mutex_t lock;
    GArray *entries; /* of struct kvm_irq_routing_entry */
    GArray *used;    /* of bool, by number - GSI_MESSAGES */
    unsigned max;
};

static KvmAccel *kvm_of(Accel *accel)
{
    return (KvmAccel *)accel;
}

/* --- the table; its lock held --- */

static struct kvm_irq_routing_entry *route_find(KvmRoutes *r, unsigned gsi)
{
    for (guint i = 0; i < r->entries->len; i++) {
        struct kvm_irq_routing_entry *e = &g_array_index(r->entries, struct kvm_irq_routing_entry, i);

        if (e->gsi == gsi) {
            return e;
        }
    }
    return NULL;
}

/* False: it is so already. */
static bool route_message(KvmRoutes *r, unsigned gsi, uint64_t address, uint32_t data)
{
    struct kvm_irq_routing_entry *e = route_find(r, gsi);

    if (e && e->u.msi.data == data && e->u.msi.address_lo == (uint32_t)address && e->u.msi.address_hi == address >> 32) {
        return false;
    }
    if (!e) {
        g_array_set_size(r->entries, r->entries->len + 1);
        e = &g_array_index(r->entries, struct kvm_irq_routing_entry, r->entries->len - 1);
    }
    *e = (struct kvm_irq_routing_entry){.gsi = gsi, .type = KVM_IRQ_ROUTING_MSI};
    e->u.msi.address_lo = (uint32_t)address;
    e->u.msi.address_hi = (uint32_t)(address >> 32);
    e->u.msi.data = data;
    return true;
}

static void route_pin(KvmRoutes *r, unsigned gsi, unsigned chip, unsigned pin)
{
    struct kvm_irq_routing_entry e = {.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP};

    e.u.irqchip.irqchip = chip;
    e.u.irqchip.pin = pin;
    g_array_append_val(r->entries, e);
}

static int routes_commit(KvmAccel *kvm)
{
    KvmRoutes *r = kvm->routes;
    size_t size = r->entries->len * sizeof(struct kvm_irq_routing_entry);
    g_autofree struct kvm_irq_routing *table = g_malloc0(sizeof(*table) + size);

    table->nr = r->entries->len;
    if (size) {
        memcpy(table->entries, r->entries->data, size);
    }
    return ioctl(kvm->vm, KVM_SET_GSI_ROUTING, table) ? -errno : 0;
}

/* --- messages and irqfds: IrqfdOps --- */

static int kvm_message_new(Accel *accel, uint64_t address, uint32_t data)
{
    KvmRoutes *r = kvm_of(accel)->routes;
    bool used = true;
    guint n = 0;

    pthread_mutex_lock(&r->lock);
    while (n < r->used->len && g_array_index(r->used, bool, n)) {
        n++;
    }
    if (GSI_MESSAGES + n >= r->max) {
        pthread_mutex_unlock(&r->lock);
        return -ENOSPC;
    }
    if (n == r->used->len) {
        g_array_append_val(r->used, used);
    }
    g_array_index(r->used, bool, n) = true;
    route_message(r, GSI_MESSAGES + n, address, data);
    pthread_mutex_unlock(&r->lock);
    return (int)(GSI_MESSAGES + n);
}

static void kvm_message_set(Accel *accel, int route, uint64_t address, uint32_t data)
{
    KvmRoutes *r = kvm_of(accel)->routes;

    pthread_mutex_lock(&r->lock);
    route_message(r, (unsigned)route, address, data);
    pthread_mutex_unlock(&r->lock);
}

static void kvm_message_free(Accel *accel, int route)
{
    KvmRoutes *r = kvm_of(accel)->routes;

    pthread_mutex_lock(&r->lock);
    g_array_index(r->used, bool, (unsigned)route - GSI_MESSAGES) = false;
    for (guint i = 0; i < r->entries->len; i++) {
        if (g_array_index(r->entries, struct kvm_irq_routing_entry, i).gsi == (unsigned)route) {
            g_array_remove_index_fast(r->entries, i);
            break;
        }
    }
    pthread_mutex_unlock(&r->lock);
}

static int kvm_routes_commit(Accel *accel)
{
    KvmAccel *kvm = kvm_of(accel);
    int err;

    pthread_mutex_lock(&kvm->routes->lock);
    err = routes_commit(kvm);
    pthread_mutex_unlock(&kvm->routes->lock);
    return err;
}

static int kvm_irqfd_attach(Accel *accel, int route, int fd, int resample_fd)
{
    struct kvm_irqfd arg = {.fd = (uint32_t)fd, .gsi = (uint32_t)route};

    if (resample_fd >= 0) {
        arg.flags = KVM_IRQFD_FLAG_RESAMPLE;
        arg.resamplefd = (uint32_t)resample_fd;
    }
    if (ioctl(kvm_of(accel)->vm, KVM_IRQFD, &arg)) {
        return -errno;
    }
    atomic_fetch_add(&kvm_of(accel)->irqfds, 1);
    return 0;
}

static void kvm_irqfd_detach(Accel *accel, int route, int fd)
{
    struct kvm_irqfd arg = {.fd = (uint32_t)fd, .gsi = (uint32_t)route, .flags = KVM_IRQFD_FLAG_DEASSIGN};

    ioctl(kvm_of(accel)->vm, KVM_IRQFD, &arg);
    atomic_fetch_sub(&kvm_of(accel)->irqfds, 1);
}

static const IrqfdOps kvm_irqfd_ops = {
    .message_new = kvm_message_new,
    .message_set = kvm_message_set,
    .message_free = kvm_message_free,
    .commit = kvm_routes_commit,
    .attach = kvm_irqfd_attach,
    .detach = kvm_irqfd_detach,
};

/* --- inputs and messages of the board: AccelIrqchipOps --- */

static void kvm_set_gsi(Accel *accel, unsigned gsi, int level)
{
    struct kvm_irq_level arg = {.irq = gsi, .level = level != 0};

    ioctl(kvm_of(accel)->vm, KVM_IRQ_LINE, &arg);
}

static void kvm_set_ioapic_input(Accel *accel, unsigned pin, int level)
{
    kvm_set_gsi(accel, pin, level);
}

static void kvm_set_pic_input(Accel *accel, unsigned pin, int level)
{
    kvm_set_gsi(accel, GSI_PIC + pin, level);
}

static void kvm_send_msi(Accel *accel, uint64_t address, uint32_t data)
{
    struct kvm_msi msi = {.address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data};

    ioctl(kvm_of(accel)->vm, KVM_SIGNAL_MSI, &msi);
}

static void kvm_set_ioapic_message(Accel *accel, unsigned pin, uint64_t address, uint32_t data)
{
    KvmAccel *kvm = kvm_of(accel);

    pthread_mutex_lock(&kvm->routes->lock);
    if (route_message(kvm->routes, pin, address, data)) {
        routes_commit(kvm);
    }
    pthread_mutex_unlock(&kvm->routes->lock);
}

/* --- state --- */

static bool kvm_get_lapic(Vcpu *vcpu, AccelLapic *lapic)
{
    KvmVcpu *v = (KvmVcpu *)vcpu;
    struct kvm_lapic_state state;
    struct kvm_sregs sregs;

    if (ioctl(v->fd, KVM_GET_LAPIC, &state) || ioctl(v->fd, KVM_GET_SREGS, &sregs)) {
        return false;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(lapic->regs); i++) {
        memcpy(&lapic->regs[i], state.regs + 16 * i, 4);
    }
    lapic->base = sregs.apic_base;
    if (kvm_accel(v)->wide_ids && (lapic->base & APIC_BASE_EXTD)) {
        lapic->regs[APIC_ID] <<= 24;
    }
    lapic->tsc_deadline = 0;
    kvm_msr_read(v, KVM_MSR_TSC_DEADLINE, &lapic->tsc_deadline);
    return true;
}

static bool kvm_set_lapic(Vcpu *vcpu, const AccelLapic *lapic)
{
    KvmVcpu *v = (KvmVcpu *)vcpu;
    struct kvm_lapic_state state = {0};

    for (unsigned i = 0; i < G_N_ELEMENTS(lapic->regs); i++) {
        memcpy(state.regs + 16 * i, &lapic->regs[i], 4);
    }
    if (kvm_accel(v)->wide_ids && (lapic->base & APIC_BASE_EXTD)) {
        uint32_t id = lapic->regs[APIC_ID] >> 24;

        memcpy(state.regs + 16 * APIC_ID, &id, 4);
    }
    /* The base first: it says how the identifier is to be read. */
    if (!kvm_state_set_apic_base(v, lapic->base) || ioctl(v->fd, KVM_SET_LAPIC, &state)) {
        return false;
    }
    /* Streams have the counter behind the local APIC: before it is set the kernel would wait for too long. */
    v->tsc_deadline = lapic->tsc_deadline;
    return !lapic->tsc_deadline || kvm_msr_write(v, KVM_MSR_TSC_DEADLINE, lapic->tsc_deadline);
}

static bool kvm_get_ioapic(Accel *accel, AccelIoApic *ioapic)
{
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};

    if (ioctl(kvm_of(accel)->vm, KVM_GET_IRQCHIP, &chip)) {
        return false;
    }
    ioapic->ioregsel = chip.chip.ioapic.ioregsel;
    ioapic->id = chip.chip.ioapic.id & 15;
    ioapic->levels = chip.chip.ioapic.irr;
    for (unsigned i = 0; i < ACCEL_IOAPIC_PINS; i++) {
        ioapic->ioredtbl[i] = chip.chip.ioapic.redirtbl[i].bits;
    }
    return true;
}

static bool kvm_set_ioapic(Accel *accel, const AccelIoApic *ioapic)
{
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};

    if (ioctl(kvm_of(accel)->vm, KVM_GET_IRQCHIP, &chip)) {
        return false;
    }
    chip.chip.ioapic.ioregsel = ioapic->ioregsel;
    chip.chip.ioapic.id = ioapic->id;
    chip.chip.ioapic.irr = ioapic->levels;
    for (unsigned i = 0; i < ACCEL_IOAPIC_PINS; i++) {
        chip.chip.ioapic.redirtbl[i].bits = ioapic->ioredtbl[i];
    }
    return !ioctl(kvm_of(accel)->vm, KVM_SET_IRQCHIP, &chip);
}

static bool kvm_get_pic(Accel *accel, unsigned n, AccelPic *pic)
{
    struct kvm_irqchip chip = {.chip_id = n ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER};
    const struct kvm_pic_state *s = &chip.chip.pic;

    if (ioctl(kvm_of(accel)->vm, KVM_GET_IRQCHIP, &chip)) {
        return false;
    }
    *pic = (AccelPic){.irr = s->irr,
                      .isr = s->isr,
                      .imr = s->imr,
                      .lines = s->last_irr,
                      .elcr = s->elcr,
                      .elcr_mask = s->elcr_mask,
                      .icw2 = s->irq_base,
                      .lowest = (s->priority_add - 1) & 7,
                      .init_step = s->init_state ? (uint8_t)(s->init_state + 1) : 0,
                      .icw4_needed = s->init4,
                      .auto_eoi = s->auto_eoi,
                      .rotate_auto_eoi = s->rotate_on_auto_eoi,
                      .special_nested = s->special_fully_nested_mode,
                      .special_mask = s->special_mask,
                      .read_isr = s->read_reg_select,
                      .poll = s->poll};
    return true;
}

static bool kvm_set_pic(Accel *accel, unsigned n, const AccelPic *pic)
{
    struct kvm_irqchip chip = {.chip_id = n ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER};

    chip.chip.pic = (struct kvm_pic_state){.irr = pic->irr,
                                           .isr = pic->isr,
                                           .imr = pic->imr,
                                           .last_irr = pic->lines,
                                           .elcr = pic->elcr,
                                           .elcr_mask = pic->elcr_mask,
                                           .irq_base = pic->icw2,
                                           .priority_add = (pic->lowest + 1) & 7,
                                           .init_state = pic->init_step ? (uint8_t)(pic->init_step - 1) : 0,
                                           .init4 = pic->icw4_needed,
                                           .auto_eoi = pic->auto_eoi,
                                           .rotate_on_auto_eoi = pic->rotate_auto_eoi,
                                           .special_fully_nested_mode = pic->special_nested,
                                           .special_mask = pic->special_mask,
                                           .read_reg_select = pic->read_isr,
                                           .poll = pic->poll};
    return !ioctl(kvm_of(accel)->vm, KVM_SET_IRQCHIP, &chip);
}

const AccelIrqchipOps kvm_irqchip_ops = {
    .get_lapic = kvm_get_lapic,
    .set_lapic = kvm_set_lapic,
    .send_msi = kvm_send_msi,
    .set_ioapic_input = kvm_set_ioapic_input,
    .set_pic_input = kvm_set_pic_input,
    .get_ioapic = kvm_get_ioapic,
    .set_ioapic = kvm_set_ioapic,
    .get_pic = kvm_get_pic,
    .set_pic = kvm_set_pic,
    .set_ioapic_message = kvm_set_ioapic_message,
};

/* --- start, stop --- */

static bool has(const KvmAccel *kvm, int cap)
{
    return ioctl(kvm->fd, KVM_CHECK_EXTENSION, cap) > 0;
}

static bool irqchip_create(KvmAccel *kvm, GError **error)
{
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {ACCEL_IOAPIC_PINS}};
    bool is_split = kvm->accel.irqchip == ACCEL_IRQCHIP_SPLIT;

    if (!has(kvm, is_split ? KVM_CAP_SPLIT_IRQCHIP : KVM_CAP_IRQCHIP) || !has(kvm, KVM_CAP_IRQ_ROUTING) ||
        !has(kvm, KVM_CAP_SIGNAL_MSI)) {
        error_set(error, "the kernel has no interrupt controllers for kernel-irqchip=%s; take kernel-irqchip=off",
                  is_split ? "split" : "on");
        return false;
    }
    if (is_split ? ioctl(kvm->vm, KVM_ENABLE_CAP, &split) : ioctl(kvm->vm, KVM_CREATE_IRQCHIP, 0)) {
        error_set_errno(error, errno, "kernel-irqchip=%s: the kernel does not make them", is_split ? "split" : "on");
        return false;
    }
    if (is_split && has(kvm, KVM_CAP_X2APIC_API)) {
        struct kvm_enable_cap wide = {.cap = KVM_CAP_X2APIC_API,
                                      .args = {KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK}};

        kvm->wide_ids = !ioctl(kvm->vm, KVM_ENABLE_CAP, &wide);
    }
    return true;
}

bool kvm_irqchip_start(KvmAccel *kvm, GError **error)
{
    int err;

    kvm->accel.irqchip = kvm->accel.config.irqchip;
    if (kvm->accel.irqchip == ACCEL_IRQCHIP_OFF) {
        return true;
    }
    if (!irqchip_create(kvm, error)) {
        return false;
    }
    kvm->routes = g_new0(KvmRoutes, 1);
    pthread_mutex_init(&kvm->routes->lock, NULL);
    kvm->routes->entries = g_array_new(FALSE, TRUE, sizeof(struct kvm_irq_routing_entry));
    kvm->routes->used = g_array_new(FALSE, TRUE, sizeof(bool));
    kvm->routes->max = (unsigned)ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQ_ROUTING);
    for (unsigned pin = 0; kvm->accel.irqchip == ACCEL_IRQCHIP_ON && pin < ACCEL_IOAPIC_PINS; pin++) {
        route_pin(kvm->routes, pin, KVM_IRQCHIP_IOAPIC, pin);
    }
    for (unsigned pin = 0; kvm->accel.irqchip == ACCEL_IRQCHIP_ON && pin < PIC_PINS; pin++) {
        if (pin != PIC_CASCADE) {
            route_pin(kvm->routes, GSI_PIC + pin, pin < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, pin & 7);
        }
    }
    err = routes_commit(kvm);
    if (err) {
        error_set_errno(error, -err, "the kernel does not route interrupts");
        kvm_irqchip_stop(kvm);
        return false;
    }
    if (has(kvm, KVM_CAP_IRQFD)) {
        kvm->accel.machine->irqfd = &kvm_irqfd_ops;
    }
    return true;
}

void kvm_irqchip_stop(KvmAccel *kvm)
{
    KvmRoutes *r = g_steal_pointer(&kvm->routes);

    if (r) {
        g_array_free(r->entries, TRUE);
        g_array_free(r->used, TRUE);
        pthread_mutex_destroy(&r->lock);
        g_free(r);
    }
}
