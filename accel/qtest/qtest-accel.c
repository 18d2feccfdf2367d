/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qtest accelerator: executes no instructions.  A test drives bus and
 * clock through the qtest protocol (qtest-server.c).
 */
#include "accel/accel.h"

static bool qtest_start(Accel *accel, GError **error)
{
    clock_set_manual(accel->machine->clocks);
    return true;
}

static void qtest_stop(Accel *accel)
{
}

static Vcpu *qtest_vcpu_new(Accel *accel, unsigned index, const VcpuApicOps *apic_ops, void *apic,
                            GError **error)
{
    Vcpu *vcpu = g_new0(Vcpu, 1);

    vcpu->accel = accel;
    vcpu->index = index;
    g_ptr_array_add(accel->vcpus, vcpu);
    return vcpu;
}

static void qtest_vcpu_free(Vcpu *vcpu)
{
    g_ptr_array_remove(vcpu->accel->vcpus, vcpu);
    g_free(vcpu);
}

static void qtest_run_nothing(Accel *accel)
{
}

/* A test's accesses travel over the bus, which notices them. */
static void qtest_log_writes(Accel *accel, bool on)
{
}

static void qtest_vcpu_reset(Vcpu *vcpu)
{
}

static void qtest_vcpu_irq(Vcpu *vcpu, X86CpuIrq irq, bool level)
{
}

static void qtest_vcpu_sipi(Vcpu *vcpu, uint8_t vector)
{
}

static bool qtest_get_state(Vcpu *vcpu, X86CpuState *state)
{
    *state = (X86CpuState){0};
    return true;
}

static bool qtest_set_state(Vcpu *vcpu, const X86CpuState *state)
{
    return true;
}

static uint64_t qtest_read_tsc(Vcpu *vcpu)
{
    return (uint64_t)clock_now(vcpu->accel->machine->clocks, CLOCK_KIND_VIRTUAL);
}

static uint64_t qtest_tsc_hz(Accel *accel)
{
    return 1000000000;
}

static char *qtest_dump(Vcpu *vcpu)
{
    return g_strdup("no registers: the qtest accelerator executes no instructions\n");
}

static uint64_t qtest_insn_count(Vcpu *vcpu)
{
    return 0;
}

static void qtest_set_a20(Accel *accel, bool enabled)
{
}

const AccelOps accel_qtest_ops = {
    .name = "qtest",
    .doc = "no instructions: a test drives bus and clock (-qtest)",
    .size = sizeof(Accel),
    .start = qtest_start,
    .stop = qtest_stop,
    .vcpu_new = qtest_vcpu_new,
    .vcpu_free = qtest_vcpu_free,
    .resume_all = qtest_run_nothing,
    .pause_all = qtest_run_nothing,
    .stop_all = qtest_run_nothing,
    .log_writes = qtest_log_writes,
    .vcpu_reset = qtest_vcpu_reset,
    .vcpu_irq = qtest_vcpu_irq,
    .vcpu_sipi = qtest_vcpu_sipi,
    .get_state = qtest_get_state,
    .set_state = qtest_set_state,
    .read_tsc = qtest_read_tsc,
    .tsc_hz = qtest_tsc_hz,
    .dump = qtest_dump,
    .insn_count = qtest_insn_count,
    .set_a20 = qtest_set_a20,
};
