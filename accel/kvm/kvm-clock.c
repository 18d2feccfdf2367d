/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvm-clock: the guest's paravirtual clock (the kernel's virt/kvm/x86/msr, MSR_KVM_SYSTEM_TIME_NEW) and the time stamp
 * counters stand still while the machine is stopped, and move with it.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm-internal.h"

typedef struct KvmClock {
    Device dev;
    uint64_t clock; /* nanoseconds, while the machine is stopped */
    bool valid;     /* clock was read, or loaded */
} KvmClock;

static KvmAccel *clock_kvm(const KvmClock *s)
{
    return (KvmAccel *)s->dev.obj.machine->accel;
}

static void clock_stop(KvmClock *s)
{
    KvmAccel *kvm = clock_kvm(s);
    struct kvm_clock_data data;

    if (!ioctl(kvm->vm, KVM_GET_CLOCK, &data)) {
        s->clock = data.clock;
        s->valid = true;
    }
    for (guint i = 0; i < kvm->accel.vcpus->len; i++) {
        kvm_state_hold_tsc(g_ptr_array_index(kvm->accel.vcpus, i));
    }
}

static void clock_go_on(KvmClock *s)
{
    KvmAccel *kvm = clock_kvm(s);
    struct kvm_clock_data data = {.clock = s->clock};

    if (s->valid && ioctl(kvm->vm, KVM_SET_CLOCK, &data)) {
        g_printerr("kvm: the guest's clock cannot be set: %s\n", g_strerror(errno));
    }
    for (guint i = 0; i < kvm->accel.vcpus->len; i++) {
        KvmVcpu *v = g_ptr_array_index(kvm->accel.vcpus, i);

        v->tsc_held = false;
        /* So that the guest does not take the pause for a lockup; refused by a vCPU that does not use the clock. */
        ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0);
    }
    s->valid = false;
}

static void clock_run_state(void *opaque, bool running, RunState state)
{
    (running ? clock_go_on : clock_stop)(opaque);
}

static bool clock_start(Device *dev, GError **error)
{
    machine_add_run_state_handler(dev->obj.machine, clock_run_state, dev);
    return true;
}

static void clock_end(Device *dev)
{
    machine_remove_run_state_handler(dev->obj.machine, clock_run_state, dev);
}

static const StateField clock_fields[] = {STATE_FIELD_UINT(KvmClock, clock), STATE_FIELD_BOOL(KvmClock, valid), STATE_END};
static const StateTable clock_state = {.name = "kvm-clock", .version = 1, .fields = clock_fields};

const DeviceModel kvm_clock_model = {
    .model = {.name = "kvm-clock",
              .doc = "KVM's paravirtual clock.",
              .kind = MODEL_DEVICE,
              .size = sizeof(KvmClock),
              .state = &clock_state,
              .internal = true},
    .start = clock_start,
    .stop = clock_end,
};
