/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPUs: the loop around KVM_RUN, what brings a guest out of it, and interrupts while the local APIC is this program's
 * (the kernel's virt/kvm/api, "The kvm_run structure").
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#include "core/error.h"
#include "kvm-internal.h"

#define KVM_KICK_SIGNAL SIGUSR1
#define RFLAGS_IF       0x200u

/* --- leaving guest code --- */

static void kvm_kick_handler(int sig)
{
    /* Being interrupted is all. */
}

void kvm_vcpu_kick(VcpuThread *t)
{
    KvmVcpu *v = (KvmVcpu *)t;

    __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    if (atomic_load(&v->in_guest) && !pthread_equal(pthread_self(), t->thread)) {
        pthread_kill(t->thread, KVM_KICK_SIGNAL);
    }
}

/* --- interrupts, the local APIC being outside the kernel (or only the 8259) --- */

static void vcpu_signalled(KvmVcpu *v)
{
    kvm_vcpu_kick(&v->thread);
    vcpu_thread_wake(&v->thread);
}

/* A SIPI of before is not for the CPU that INIT makes. */
static void vcpu_signal_init(KvmVcpu *v)
{
    unsigned old = atomic_load(&v->pending);

    while (!atomic_compare_exchange_weak(&v->pending, &old, (old & ~(unsigned)KVM_PENDING_SIPI) | KVM_PENDING_INIT)) {
    }
}

void kvm_vcpu_irq(Vcpu *vcpu, X86CpuIrq irq, bool level)
{
    static const unsigned edges[] = {[X86_IRQ_NMI] = KVM_PENDING_NMI, [X86_IRQ_SMI] = KVM_PENDING_SMI};
    KvmVcpu *v = (KvmVcpu *)vcpu;

    if (irq == X86_IRQ_HARD) {
        atomic_store(&v->intr, level);
        if (!level) {
            return;
        }
    } else if (irq == X86_IRQ_INIT) {
        vcpu_signal_init(v);
    } else if (irq < G_N_ELEMENTS(edges)) {
        atomic_fetch_or(&v->pending, edges[irq]);
    }
    vcpu_signalled(v);
}

void kvm_vcpu_sipi(Vcpu *vcpu, uint8_t vector)
{
    KvmVcpu *v = (KvmVcpu *)vcpu;

    atomic_store(&v->sipi_vector, vector);
    atomic_fetch_or(&v->pending, KVM_PENDING_SIPI);
    vcpu_signalled(v);
}

/* True when the edge was there, which it is no more; not while one of `unless` is. */
static bool vcpu_take(KvmVcpu *v, unsigned edge, unsigned unless)
{
    unsigned old = atomic_load(&v->pending);

    do {
        if (!(old & edge) || (old & unless)) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&v->pending, &old, old & ~edge));
    return true;
}

/* Hands INTR to the kernel as soon as it can take it. */
static void vcpu_inject(KvmVcpu *v)
{
    const VcpuApicOps *ops = v->thread.apic_ops;
    struct kvm_run *run = v->run;

    if (atomic_load(&v->intr) && run->ready_for_interrupt_injection && run->if_flag) {
        int vector = ops->intr_ack(v->thread.apic);
        struct kvm_interrupt irq = {.irq = (uint32_t)vector};

        if (vector >= 0) {
            ioctl(v->fd, KVM_INTERRUPT, &irq);
            run->ready_for_interrupt_injection = 0;
            v->halted = false;
        }
    }
    run->request_interrupt_window = atomic_load(&v->intr);
    if (kvm_apic_is_ours(v)) {
        run->cr8 = ops->get_cr8(v->thread.apic);
    }
}

/* What the guest changed of the local APIC by instructions that KVM executes. */
static void vcpu_sync_apic(KvmVcpu *v)
{
    const VcpuApicOps *ops = v->thread.apic_ops;

    if (!kvm_apic_is_ours(v) || !ops) {
        return;
    }
    if (v->run->cr8 != ops->get_cr8(v->thread.apic)) {
        ops->set_cr8(v->thread.apic, v->run->cr8);
    }
    if (v->run->apic_base != ops->get_base(v->thread.apic)) {
        ops->set_base(v->thread.apic, v->run->apic_base);
    }
}

static bool vcpu_idle(VcpuThread *t)
{
    KvmVcpu *v = (KvmVcpu *)t;
    unsigned pending = atomic_load(&v->pending);

    if (v->dead) {
        return true;
    }
    if (v->wait_sipi) {
        return !(pending & (KVM_PENDING_INIT | KVM_PENDING_SIPI));
    }
    return v->halted && !pending && !(atomic_load(&v->intr) && v->run->if_flag);
}

/* --- exits --- */

static void exit_io(KvmVcpu *v)
{
    struct kvm_run *run = v->run;
    AddressSpace *io = v->thread.vcpu.accel->machine->io;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;

    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        uint64_t val = 0;

        if (run->io.direction == KVM_EXIT_IO_OUT) {
            memcpy(&val, data, run->io.size);
            as_store(io, run->io.port, run->io.size, val, MEM_ATTRS_CPU);
        } else {
            val = UINT64_MAX;
            as_load(io, run->io.port, run->io.size, &val, MEM_ATTRS_CPU);
            memcpy(data, &val, run->io.size);
        }
    }
}

static void exit_mmio(KvmVcpu *v)
{
    struct kvm_run *run = v->run;
    AddressSpace *memory = v->thread.vcpu.accel->machine->memory;
    const MemAttrs attrs = {.unspecified = true, .requester_id = (uint16_t)v->thread.vcpu.index};
    uint32_t len = MIN(run->mmio.len, 8);
    uint64_t val = UINT64_MAX;

    if (len & (len - 1)) {
        /* Part of an access that crosses a page. */
        if (run->mmio.is_write) {
            as_write(memory, run->mmio.phys_addr, run->mmio.data, len, attrs);
        } else {
            as_read(memory, run->mmio.phys_addr, run->mmio.data, len, attrs);
        }
    } else if (run->mmio.is_write) {
        val = 0;
        memcpy(&val, run->mmio.data, len);
        as_store(memory, run->mmio.phys_addr, len, val, attrs);
    } else {
        as_load(memory, run->mmio.phys_addr, len, &val, attrs);
        memcpy(run->mmio.data, &val, len);
    }
}

static void vcpu_stop_machine(void *opaque)
{
    machine_vm_stop(opaque, RUN_STATE_INTERNAL_ERROR);
}

/* KVM cannot go on with this guest: it says why, and the machine stops as it is. */
static void G_GNUC_PRINTF(2, 3) vcpu_fail(KvmVcpu *v, const char *fmt, ...)
{
    Machine *m = v->thread.vcpu.accel->machine;
    g_autofree char *text = NULL, *regs = NULL;
    va_list args;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    regs = kvm_dump(&v->thread.vcpu);
    g_printerr("kvm: CPU %u: %s; the machine is stopped\n%s", v->thread.vcpu.index, text, regs);
    pthread_mutex_lock(&v->thread.lock);
    v->dead = true;
    pthread_mutex_unlock(&v->thread.lock);
    loop_call(m->main_loop, vcpu_stop_machine, m);
}

static void exit_internal_error(KvmVcpu *v)
{
    static const char *const names[] = {[KVM_INTERNAL_ERROR_EMULATION] = "an instruction KVM cannot emulate",
                                        [KVM_INTERNAL_ERROR_SIMUL_EX] = "exceptions during an exception",
                                        [KVM_INTERNAL_ERROR_DELIVERY_EV] = "an exit during the delivery of an event",
                                        [KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an exit KVM does not know"};
    uint32_t n = v->run->internal.suberror;

    vcpu_fail(v, "%s (internal error %u)", n < G_N_ELEMENTS(names) && names[n] ? names[n] : "KVM cannot go on", n);
}

static void exit_ring_full(KvmVcpu *v)
{
    EventLoop *loop = v->thread.vcpu.accel->machine->main_loop;
    bool stuck;

    loop_lock(loop);
    kvm_ring_collect(v);
    /* Nobody has found an entry since it was full before. */
    stuck = v->ring_next == v->ring_next_full;
    v->ring_next_full = v->ring_next;
    ioctl(kvm_accel(v)->vm, KVM_RESET_DIRTY_RINGS, 0);
    loop_unlock(loop);
    if (stuck) {
        vcpu_fail(v, "its dirty ring is full and nothing is in it; start without dirty-ring-size");
    }
}

static void exit_triple_fault(KvmVcpu *v)
{
    accel_log_reset(&v->thread.vcpu, "Triple fault");
    pthread_mutex_lock(&v->thread.lock);
    v->dead = true;
    pthread_mutex_unlock(&v->thread.lock);
    machine_request_reset(v->thread.vcpu.accel->machine, SHUTDOWN_GUEST_RESET);
}

static void vcpu_exit(KvmVcpu *v)
{
    const VcpuApicOps *ops = v->thread.apic_ops;
    struct kvm_run *run = v->run;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        exit_io(v);
        v->io_pending = true;
        break;
    case KVM_EXIT_MMIO:
        exit_mmio(v);
        v->io_pending = true;
        break;
    case KVM_EXIT_HLT:
        v->halted = true;
        break;
    case KVM_EXIT_DEBUG:
        kvm_debug_exit(v);
        break;
    case KVM_EXIT_SHUTDOWN:
        exit_triple_fault(v);
        break;
    case KVM_EXIT_IOAPIC_EOI:
        ops->eoi(v->thread.apic, run->eoi.vector);
        break;
    case KVM_EXIT_DIRTY_RING_FULL:
        exit_ring_full(v);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        vcpu_fail(v, "the processor does not enter the guest (reason 0x%" PRIx64 ")",
                  (uint64_t)run->fail_entry.hardware_entry_failure_reason);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        exit_internal_error(v);
        break;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_SET_TPR:
        break;
    default:
        vcpu_fail(v, "exit for a reason this program does not know (%u)", run->exit_reason);
        break;
    }
}

/* --- the thread --- */

/* Once through KVM_RUN. */
static void vcpu_enter(KvmVcpu *v)
{
    int err;

    kvm_gate_enter(v);
    err = ioctl(v->fd, KVM_RUN, 0) ? errno : 0;
    kvm_gate_leave(v);
    __atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    v->io_pending = false;
    v->exits++;
    vcpu_sync_apic(v);
    if (!err) {
        vcpu_exit(v);
    } else if (err != EINTR && err != EAGAIN) {
        vcpu_fail(v, "KVM_RUN: %s", g_strerror(err));
    }
}

/* The kernel completes an access when it is entered again; the state is whole only then. */
static void vcpu_finish(VcpuThread *t)
{
    KvmVcpu *v = (KvmVcpu *)t;

    while (v->io_pending && !v->dead) {
        __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        v->run->request_interrupt_window = 0;
        vcpu_enter(v);
    }
}

/* One by one, as others come meanwhile: a SIPI that came after an INIT is taken after it. */
static void vcpu_take_edges(KvmVcpu *v)
{
    if (vcpu_take(v, KVM_PENDING_INIT, 0)) {
        vcpu_take(v, KVM_PENDING_NMI, 0);
        vcpu_finish(&v->thread); /* or the kernel would complete the access in the CPU that INIT makes */
        kvm_state_reset(v, true);
    }
    if (vcpu_take(v, KVM_PENDING_SIPI, KVM_PENDING_INIT) && v->wait_sipi) {
        kvm_state_sipi(v, (uint8_t)atomic_load(&v->sipi_vector));
    }
    if (v->wait_sipi) {
        return;
    }
    if (vcpu_take(v, KVM_PENDING_NMI, KVM_PENDING_INIT)) {
        ioctl(v->fd, KVM_NMI, 0);
        v->halted = false;
    }
    if (vcpu_take(v, KVM_PENDING_SMI, KVM_PENDING_INIT) && kvm_accel(v)->has_smm) {
        ioctl(v->fd, KVM_SMI, 0);
        v->halted = false;
    }
}

static void vcpu_run(VcpuThread *t)
{
    KvmVcpu *v = (KvmVcpu *)t;

    if (atomic_load(&v->pending)) {
        vcpu_take_edges(v);
    }
    if (v->wait_sipi) {
        return;
    }
    if (t->apic_ops && t->vcpu.accel->irqchip != ACCEL_IRQCHIP_ON) {
        vcpu_inject(v);
    }
    if (!v->halted) {
        vcpu_enter(v);
    }
}

static const VcpuThreadOps kvm_thread_ops = {
    .label = "KVM", .run = vcpu_run, .idle = vcpu_idle, .kick = kvm_vcpu_kick, .finish = vcpu_finish};

/* --- creation --- */

static bool vcpu_open(KvmVcpu *v, GError **error)
{
    KvmAccel *kvm = kvm_accel(v);
    const CpuTopology topology = machine_topology(kvm->accel.machine);

    /* The kernel's local APIC takes its id from this. */
    v->fd = ioctl(kvm->vm, KVM_CREATE_VCPU, (unsigned long)cpu_topology_apic_id(&topology, v->thread.vcpu.index));
    if (v->fd < 0) {
        error_set_errno(error, errno, "-smp: KVM cannot make CPU %u", v->thread.vcpu.index);
        return false;
    }
    v->run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (v->run == MAP_FAILED) {
        error_set_errno(error, errno, "-smp: cannot map what KVM shares of CPU %u", v->thread.vcpu.index);
        return false;
    }
    if (kvm->ring_bytes) {
        v->ring = mmap(NULL, kvm->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd,
                       (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * sysconf(_SC_PAGESIZE));
        if (v->ring == MAP_FAILED) {
            v->ring = NULL;
            error_set_errno(error, errno, "-accel kvm,dirty-ring-size: cannot map the ring of CPU %u", v->thread.vcpu.index);
            return false;
        }
    }
    return kvm_cpuid_set(v, error);
}

static void vcpu_destroy(KvmVcpu *v)
{
    if (v->ring) {
        munmap(v->ring, kvm_accel(v)->ring_bytes);
    }
    if (v->run != MAP_FAILED) {
        munmap(v->run, kvm_accel(v)->run_size);
    }
    if (v->fd >= 0) {
        close(v->fd);
    }
    vcpu_thread_destroy(&v->thread);
    g_free(v->power_on);
    g_free(v);
}

Vcpu *kvm_vcpu_new(Accel *accel, unsigned index, const VcpuApicOps *apic_ops, void *apic, GError **error)
{
    struct sigaction action = {.sa_handler = kvm_kick_handler, .sa_flags = SA_RESTART};
    KvmVcpu *v = g_new0(KvmVcpu, 1);

    vcpu_thread_init(&v->thread, &kvm_thread_ops, accel, index, apic_ops, apic);
    v->fd = -1;
    v->run = MAP_FAILED;
    sigaction(KVM_KICK_SIGNAL, &action, NULL);
    if (!vcpu_open(v, error)) {
        vcpu_destroy(v);
        return NULL;
    }
    if (!kvm_accel(v)->msrs_checked) {
        kvm_msr_check(v);
    }
    v->power_on = g_new0(X86CpuState, 1);
    if (!kvm_get_state(&v->thread.vcpu, v->power_on)) {
        error_set_errno(error, errno, "-smp: KVM does not give the state of CPU %u", index);
        vcpu_destroy(v);
        return NULL;
    }
    v->wait_sipi = kvm_apic_is_ours(v) && index;
    if (!index && !device_create(accel->machine, &kvm_clock_model.model, "kvm-clock", error, NULL)) {
        vcpu_destroy(v);
        return NULL;
    }
    if (!vcpu_thread_create(&v->thread, error)) {
        vcpu_destroy(v);
        return NULL;
    }
    g_ptr_array_add(accel->vcpus, v);
    return &v->thread.vcpu;
}

void kvm_vcpu_free(Vcpu *vcpu)
{
    KvmVcpu *v = (KvmVcpu *)vcpu;

    vcpu_thread_join(&v->thread);
    g_ptr_array_remove(vcpu->accel->vcpus, v);
    vcpu_destroy(v);
}

void kvm_vcpu_reset(Vcpu *vcpu)
{
    KvmVcpu *v = (KvmVcpu *)vcpu;

    atomic_store(&v->pending, 0);
    kvm_state_reset(v, false);
    loop_waiter_wake(v->thread.waiter);
}
