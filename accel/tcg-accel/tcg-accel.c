/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tcg accelerator: ties the software CPU (accel/tcg) to a machine.  One host
 * thread runs one vCPU.  Guest time and the time stamp counter are the same
 * clock, so both stand still while the machine is stopped.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../vcpu-thread.h"
#include "core/error.h"
#include "icount.h"

/* One tick of the time stamp counter is one nanosecond of guest time. */
#define TCG_TSC_HZ    UINT64_C(1000000000)
/* Runs of a block before it is worth compiling. */
#define TCG_JIT_HEAT  20
#define TCG_PAGE_SIZE 4096
/* How soon to look again whether all CPUs have let go of unmapped RAM, in nanoseconds. */
#define TCG_REAP_INTERVAL 1000000
/* How often a CPU that wants to be alone looks at the others, in nanoseconds. */
#define TCG_ALONE_LOOK_NS 1000000

/* Where a part of guest RAM is seen by the CPUs. */
typedef struct TcgRamSection {
    MemRegion *region;
    uint64_t region_offset;
    HwAddr addr;
    uint64_t size;
} TcgRamSection;

typedef struct TcgAccel {
    Accel accel;
    MemListener listener, smm_listener;
    GRWLock sections_lock;
    GArray *sections;   /* of TcgRamSection */
    GPtrArray *retired; /* of MemRegion *, referenced: left the view, a CPU may still be using its pages */
    Timer *reap_timer;
    /* one CPU alone: tcg_exclusive() */
    pthread_mutex_t alone_lock;
    pthread_cond_t alone_changed;
    bool alone;
} TcgAccel;

typedef struct TcgVcpu {
    VcpuThread thread;
    X86Cpu *cpu;
    Icount *icount;       /* NULL: guest time is real time */
    bool halted;          /* x86_cpu_run() said there is nothing to do */
    bool dead;            /* triple fault: only reset helps */
    bool running;         /* guest code; under alone_lock */
    bool smm;             /* in system management mode */
    atomic_ulong passes;  /* how often x86_cpu_run() came back */
    unsigned long mark;   /* passes when the last region was retired */
    atomic_int a20;       /* -1: no change is waiting */
} TcgVcpu;

static TcgVcpu *tcg_vcpu(Vcpu *vcpu)
{
    return (TcgVcpu *)vcpu;
}

/* --- bus of one CPU: its own thread --- */

static Machine *tcg_machine(void *opaque)
{
    return ((TcgVcpu *)opaque)->thread.vcpu.accel->machine;
}

/* What the CPU sees now. */
static AddressSpace *tcg_memory(void *opaque)
{
    const Machine *m = tcg_machine(opaque);

    return ((TcgVcpu *)opaque)->smm && m->smm_memory ? m->smm_memory : m->memory;
}

static void tcg_set_smm(void *opaque, bool on)
{
    ((TcgVcpu *)opaque)->smm = on;
}

static void tcg_map_page(void *opaque, uint64_t gpa, X86BusPage *page)
{
    MemSection section;
    MemKind kind;

    *page = (X86BusPage){0};
    if (!as_lookup(tcg_memory(opaque), gpa, &section)) {
        return;
    }
    kind = mem_region_kind(section.region);
    if (kind != MEM_RAM && kind != MEM_ROM) {
        return;
    }
    /* A section may begin or end inside the page: then every access is looked up. */
    if (section.addr > gpa || section.addr + (section.size - 1) < gpa + (TCG_PAGE_SIZE - 1)) {
        return;
    }
    page->host = (uint8_t *)mem_region_host(section.region) + section.region_offset + (gpa - section.addr);
    page->writable = kind == MEM_RAM && !section.readonly;
}

/* Registers each CPU has of its own (the local APIC's) are told apart by the index. */
static MemAttrs tcg_attrs(void *opaque)
{
    const TcgVcpu *v = opaque;

    return (MemAttrs){.unspecified = true, .requester_id = (uint16_t)v->thread.vcpu.index, .secure = v->smm};
}

/* Devices shall see the time of this very instruction. */
static void tcg_sync_time(TcgVcpu *v)
{
    if (v->icount) {
        icount_now(v->icount);
    }
}

static uint64_t tcg_mem_read(void *opaque, uint64_t gpa, unsigned size)
{
    uint64_t val = UINT64_MAX;

    tcg_sync_time(opaque);
    as_load(tcg_memory(opaque), gpa, size, &val, tcg_attrs(opaque));
    return val;
}

static void tcg_mem_write(void *opaque, uint64_t gpa, uint64_t val, unsigned size)
{
    tcg_sync_time(opaque);
    as_store(tcg_memory(opaque), gpa, size, val, tcg_attrs(opaque));
}

static uint32_t tcg_io_read(void *opaque, uint16_t port, unsigned size)
{
    uint64_t val = UINT64_MAX;

    tcg_sync_time(opaque);
    as_load(tcg_machine(opaque)->io, port, size, &val, tcg_attrs(opaque));
    return (uint32_t)val;
}

static void tcg_io_write(void *opaque, uint16_t port, uint32_t val, unsigned size)
{
    tcg_sync_time(opaque);
    as_store(tcg_machine(opaque)->io, port, size, val, tcg_attrs(opaque));
}

static int tcg_intr_ack(void *opaque)
{
    TcgVcpu *v = opaque;

    return v->thread.apic_ops ? v->thread.apic_ops->intr_ack(v->thread.apic) : -1;
}

static uint64_t tcg_get_cr8(void *opaque)
{
    TcgVcpu *v = opaque;

    return v->thread.apic_ops ? v->thread.apic_ops->get_cr8(v->thread.apic) : 0;
}

static void tcg_set_cr8(void *opaque, uint64_t val)
{
    TcgVcpu *v = opaque;

    if (v->thread.apic_ops) {
        v->thread.apic_ops->set_cr8(v->thread.apic, val);
    }
}

static uint64_t tcg_get_apic_base(void *opaque)
{
    TcgVcpu *v = opaque;

    return v->thread.apic_ops ? v->thread.apic_ops->get_base(v->thread.apic) : 0;
}

static bool tcg_set_apic_base(void *opaque, uint64_t val)
{
    TcgVcpu *v = opaque;

    return v->thread.apic_ops && v->thread.apic_ops->set_base(v->thread.apic, val);
}

static bool tcg_x2apic_read(void *opaque, uint32_t msr, uint64_t *val)
{
    TcgVcpu *v = opaque;

    return v->thread.apic_ops && v->thread.apic_ops->x2apic_read(v->thread.apic, msr, val);
}

static bool tcg_x2apic_write(void *opaque, uint32_t msr, uint64_t val)
{
    TcgVcpu *v = opaque;

    return v->thread.apic_ops && v->thread.apic_ops->x2apic_write(v->thread.apic, msr, val);
}

static uint64_t tcg_get_tsc_deadline(void *opaque)
{
    const TcgVcpu *v = opaque;

    return v->thread.apic_ops ? v->thread.apic_ops->get_tsc_deadline(v->thread.apic) : 0;
}

static void tcg_set_tsc_deadline(void *opaque, uint64_t tsc)
{
    TcgVcpu *v = opaque;

    if (v->thread.apic_ops) {
        v->thread.apic_ops->set_tsc_deadline(v->thread.apic, tsc);
    }
}

static uint64_t tcg_bus_read_tsc(void *opaque)
{
    const TcgVcpu *v = opaque;

    return (uint64_t)(v->icount ? icount_now(v->icount) : clock_now(tcg_machine(opaque)->clocks, CLOCK_KIND_VIRTUAL));
}

static void tcg_triple_fault(void *opaque)
{
    accel_log_reset(&((TcgVcpu *)opaque)->thread.vcpu, "Triple fault");
    machine_request_reset(tcg_machine(opaque), SHUTDOWN_GUEST_RESET);
}

static void tcg_page_written(void *opaque, uint64_t gpa)
{
    MemSection section;

    if (as_lookup(tcg_memory(opaque), gpa, &section)) {
        mem_region_dirty_set(section.region, section.region_offset + (gpa - section.addr), TCG_PAGE_SIZE);
    }
}

/* --- one CPU alone --- */

static TcgAccel *tcg_accel_of(TcgVcpu *v)
{
    return (TcgAccel *)v->thread.vcpu.accel;
}

/* Before and after guest code. */
static void tcg_enter_guest(TcgVcpu *v)
{
    TcgAccel *tcg = tcg_accel_of(v);

    pthread_mutex_lock(&tcg->alone_lock);
    while (tcg->alone) {
        pthread_cond_wait(&tcg->alone_changed, &tcg->alone_lock);
    }
    v->running = true;
    pthread_mutex_unlock(&tcg->alone_lock);
}

static void tcg_leave_guest(TcgVcpu *v)
{
    TcgAccel *tcg = tcg_accel_of(v);

    pthread_mutex_lock(&tcg->alone_lock);
    v->running = false;
    pthread_cond_broadcast(&tcg->alone_changed);
    pthread_mutex_unlock(&tcg->alone_lock);
}

/* Does not touch memory now: one that waits for another process is at a device's register, and may stay there long. */
static bool tcg_is_still(TcgVcpu *v)
{
    bool waits;

    pthread_mutex_lock(&v->thread.lock);
    waits = v->thread.wait != NULL;
    pthread_mutex_unlock(&v->thread.lock);
    return waits || !v->running;
}

static bool tcg_others_still(TcgAccel *tcg, const TcgVcpu *self)
{
    for (guint i = 0; i < tcg->accel.vcpus->len; i++) {
        TcgVcpu *v = g_ptr_array_index(tcg->accel.vcpus, i);

        if (v != self && !tcg_is_still(v)) {
            x86_cpu_kick(v->cpu);
            return false;
        }
    }
    return true;
}

static void tcg_exclusive_begin(TcgAccel *tcg, TcgVcpu *v)
{
    pthread_mutex_lock(&tcg->alone_lock);
    v->running = false;
    pthread_cond_broadcast(&tcg->alone_changed);
    while (tcg->alone) {
        pthread_cond_wait(&tcg->alone_changed, &tcg->alone_lock);
    }
    tcg->alone = true;
    while (!tcg_others_still(tcg, v)) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until); /* beginning to wait for a process is not told here: look again */
        until.tv_nsec += TCG_ALONE_LOOK_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&tcg->alone_changed, &tcg->alone_lock, &until);
    }
    v->running = true;
    pthread_mutex_unlock(&tcg->alone_lock);
}

static void tcg_exclusive(void *opaque, bool begin)
{
    TcgVcpu *v = opaque;
    TcgAccel *tcg = tcg_accel_of(v);

    if (begin) {
        tcg_exclusive_begin(tcg, v);
        return;
    }
    pthread_mutex_lock(&tcg->alone_lock);
    tcg->alone = false;
    pthread_cond_broadcast(&tcg->alone_changed);
    pthread_mutex_unlock(&tcg->alone_lock);
}

/* -d int */
static void tcg_delivered(void *opaque, const X86Delivery *d)
{
    TcgVcpu *v = opaque;
    char error[16] = "-", cr2[32] = "";

    if (d->error >= 0) {
        snprintf(error, sizeof(error), "%04x", (unsigned)d->error);
    }
    if (d->vector == 14 && d->error >= 0) {
        snprintf(cr2, sizeof(cr2), " cr2=%016" PRIx64, d->cr2);
    }
    log_line(LOG_INT, "int: cpu=%u v=%02x e=%s soft=%d cpl=%u at %04x:%016" PRIx64 "%s to %04x:%016" PRIx64,
             v->thread.vcpu.index, (unsigned)d->vector, error, d->software, d->cpl, d->cs, d->rip, cr2,
             d->to_cs, d->to_rip);
}

static const X86CpuBus tcg_bus = {
    .exclusive = tcg_exclusive,
    .page_written = tcg_page_written,
    .delivered = tcg_delivered,
    .map_page = tcg_map_page,
    .mem_read = tcg_mem_read,
    .mem_write = tcg_mem_write,
    .io_read = tcg_io_read,
    .io_write = tcg_io_write,
    .intr_ack = tcg_intr_ack,
    .get_cr8 = tcg_get_cr8,
    .set_cr8 = tcg_set_cr8,
    .get_apic_base = tcg_get_apic_base,
    .set_apic_base = tcg_set_apic_base,
    .x2apic_read = tcg_x2apic_read,
    .x2apic_write = tcg_x2apic_write,
    .get_tsc_deadline = tcg_get_tsc_deadline,
    .set_tsc_deadline = tcg_set_tsc_deadline,
    .read_tsc = tcg_bus_read_tsc,
    .triple_fault = tcg_triple_fault,
    .set_smm = tcg_set_smm,
};

/* --- the thread of a vCPU --- */

static void tcg_vcpu_apply_a20(TcgVcpu *v)
{
    int a20 = atomic_exchange(&v->a20, -1);

    if (a20 >= 0) {
        x86_cpu_set_a20(v->cpu, a20);
    }
}

static void tcg_debug_stop(TcgVcpu *v)
{
    X86DebugPoint why = x86_cpu_debug_stop(v->cpu);
    Accel *accel = v->thread.vcpu.accel;

    if (accel->debug_stop) {
        pthread_mutex_lock(&v->thread.lock);
        v->thread.held = true;
        pthread_mutex_unlock(&v->thread.lock);
        accel->debug_stop(accel->debug_opaque, &v->thread.vcpu, &why);
    }
}

/* Halted, with time that only passes when this says so. */
static void tcg_vcpu_pass_time(TcgVcpu *v)
{
    atomic_store(&v->thread.sleeping, true);
    atomic_thread_fence(memory_order_seq_cst);
    if (!x86_cpu_has_work(v->cpu) && icount_idle(v->icount)) {
        loop_waiter_sleep(v->thread.waiter);
    }
    atomic_store(&v->thread.sleeping, false);
}

static void tcg_icount_wake(void *opaque)
{
    vcpu_thread_wake(&((TcgVcpu *)opaque)->thread);
}

static void tcg_vcpu_run(VcpuThread *t)
{
    TcgVcpu *v = (TcgVcpu *)t;
    X86CpuExit why;

    if (v->icount && v->halted && !x86_cpu_has_work(v->cpu)) {
        tcg_vcpu_pass_time(v);
        return;
    }

    tcg_vcpu_apply_a20(v);
    if (v->icount) {
        icount_begin(v->icount);
    }
    tcg_enter_guest(v);
    why = x86_cpu_run(v->cpu);
    tcg_leave_guest(v);
    if (v->icount) {
        icount_end(v->icount);
    }
    atomic_fetch_add(&v->passes, 1);
    v->halted = why == X86_EXIT_HALTED;
    v->dead = why == X86_EXIT_TRIPLE;
    if (why == X86_EXIT_DEBUG) {
        tcg_debug_stop(v);
    }
}

static bool tcg_vcpu_idle(VcpuThread *t)
{
    TcgVcpu *v = (TcgVcpu *)t;

    return v->dead || (v->halted && !x86_cpu_has_work(v->cpu) && !v->icount);
}

static void tcg_vcpu_kick(VcpuThread *t)
{
    x86_cpu_kick(((TcgVcpu *)t)->cpu);
}

static const VcpuThreadOps tcg_thread_ops = {
    .label = "TCG", .run = tcg_vcpu_run, .idle = tcg_vcpu_idle, .kick = tcg_vcpu_kick};

/* --- memory: what the CPUs cached of it --- */

static void tcg_listener_add(MemListener *l, const MemSection *section)
{
    TcgAccel *tcg = (TcgAccel *)((char *)l - offsetof(TcgAccel, listener));
    TcgRamSection ram = {section->region, section->region_offset, section->addr, section->size};

    if (mem_region_host(section->region)) {
        g_rw_lock_writer_lock(&tcg->sections_lock);
        g_array_append_val(tcg->sections, ram);
        g_rw_lock_writer_unlock(&tcg->sections_lock);
    }
}

static void tcg_listener_del(MemListener *l, const MemSection *section)
{
    TcgAccel *tcg = (TcgAccel *)((char *)l - offsetof(TcgAccel, listener));

    if (!mem_region_host(section->region)) {
        return;
    }
    g_rw_lock_writer_lock(&tcg->sections_lock);
    for (guint i = 0; i < tcg->sections->len; i++) {
        TcgRamSection *ram = &g_array_index(tcg->sections, TcgRamSection, i);

        if (ram->addr == section->addr && ram->region == section->region) {
            g_array_remove_index_fast(tcg->sections, i);
            break;
        }
    }
    g_rw_lock_writer_unlock(&tcg->sections_lock);
    g_ptr_array_add(tcg->retired, mem_region_ref(section->region));
}

/* A CPU that sleeps, or has been outside since, looks pages up anew before it uses one. */
static bool tcg_vcpu_has_let_go(TcgVcpu *v)
{
    return atomic_load(&v->thread.sleeping) || atomic_load(&v->passes) != v->mark;
}

static void tcg_reap(void *opaque)
{
    TcgAccel *tcg = opaque;

    for (guint i = 0; i < tcg->accel.vcpus->len; i++) {
        if (!tcg_vcpu_has_let_go(g_ptr_array_index(tcg->accel.vcpus, i))) {
            timer_set(tcg->reap_timer,
                      clock_now(tcg->accel.machine->clocks, CLOCK_KIND_REALTIME) + TCG_REAP_INTERVAL);
            return;
        }
    }
    g_ptr_array_set_size(tcg->retired, 0);
}

static bool tcg_topology_changed(TcgAccel *tcg)
{
    for (guint i = 0; i < tcg->accel.vcpus->len; i++) {
        TcgVcpu *v = g_ptr_array_index(tcg->accel.vcpus, i);

        x86_cpu_flush_bus(v->cpu);
        if (tcg->retired->len) {
            v->mark = atomic_load(&v->passes);
            x86_cpu_kick(v->cpu);
        }
    }
    if (tcg->retired->len) {
        timer_set(tcg->reap_timer,
                  clock_now(tcg->accel.machine->clocks, CLOCK_KIND_REALTIME) + TCG_REAP_INTERVAL);
    }
    return true;
}

static bool tcg_listener_commit(MemListener *l, GError **error)
{
    return tcg_topology_changed((TcgAccel *)((char *)l - offsetof(TcgAccel, listener)));
}

/* Code in SMRAM is compared with memory each time a CPU enters SMM: writes to it need not be seen. */
static void tcg_smm_listener_del(MemListener *l, const MemSection *section)
{
    TcgAccel *tcg = (TcgAccel *)((char *)l - offsetof(TcgAccel, smm_listener));

    if (mem_region_host(section->region)) {
        g_ptr_array_add(tcg->retired, mem_region_ref(section->region));
    }
}

static bool tcg_smm_listener_commit(MemListener *l, GError **error)
{
    return tcg_topology_changed((TcgAccel *)((char *)l - offsetof(TcgAccel, smm_listener)));
}

/* The writer's thread: a device or the monitor wrote to RAM that may hold decoded code. */
static void tcg_ram_written(void *opaque, MemRegion *region, uint64_t offset, uint64_t len)
{
    TcgAccel *tcg = opaque;

    g_rw_lock_reader_lock(&tcg->sections_lock);
    for (guint i = 0; i < tcg->sections->len; i++) {
        const TcgRamSection *ram = &g_array_index(tcg->sections, TcgRamSection, i);
        uint64_t first = MAX(offset, ram->region_offset);
        uint64_t end = MIN(offset + len, ram->region_offset + ram->size);

        if (ram->region != region || first >= end) {
            continue;
        }
        for (guint n = 0; n < tcg->accel.vcpus->len; n++) {
            TcgVcpu *v = tcg_vcpu(g_ptr_array_index(tcg->accel.vcpus, n));

            x86_cpu_invalidate_code(v->cpu, ram->addr + (first - ram->region_offset), end - first);
        }
    }
    g_rw_lock_reader_unlock(&tcg->sections_lock);
}

/* --- AccelOps --- */

static bool tcg_start(Accel *accel, GError **error)
{
    TcgAccel *tcg = (TcgAccel *)accel;

    g_rw_lock_init(&tcg->sections_lock);
    pthread_mutex_init(&tcg->alone_lock, NULL);
    pthread_cond_init(&tcg->alone_changed, NULL);
    tcg->sections = g_array_new(FALSE, FALSE, sizeof(TcgRamSection));
    tcg->retired = g_ptr_array_new_with_free_func((GDestroyNotify)mem_region_unref);
    tcg->reap_timer = timer_new(accel->machine->main_loop, CLOCK_KIND_REALTIME, tcg_reap, tcg);
    tcg->listener = (MemListener){
        .name = "tcg",
        .add = tcg_listener_add,
        .del = tcg_listener_del,
        .commit = tcg_listener_commit,
    };
    if (!mem_listener_register(&tcg->listener, accel->machine->memory, error)) {
        timer_free(tcg->reap_timer);
        g_ptr_array_free(tcg->retired, TRUE);
        g_array_free(tcg->sections, TRUE);
        g_rw_lock_clear(&tcg->sections_lock);
        pthread_cond_destroy(&tcg->alone_changed);
        pthread_mutex_destroy(&tcg->alone_lock);
        return false;
    }
    mem_topology_set_write_hook(accel->machine->topo, tcg_ram_written, tcg);
    return true;
}

/* The board has made another view of memory for system management mode. */
static bool tcg_watch_smm(TcgAccel *tcg, GError **error)
{
    Machine *m = tcg->accel.machine;

    if (!m->smm_memory || tcg->smm_listener.as) {
        return true;
    }
    tcg->smm_listener = (MemListener){
        .name = "tcg-smm",
        .del = tcg_smm_listener_del,
        .commit = tcg_smm_listener_commit,
    };
    return mem_listener_register(&tcg->smm_listener, m->smm_memory, error);
}

static void tcg_vcpu_destroy(TcgVcpu *v)
{
    icount_free(v->icount);
    if (v->cpu) {
        x86_cpu_free(v->cpu);
    }
    vcpu_thread_destroy(&v->thread);
    g_free(v);
}

static Vcpu *tcg_vcpu_new(Accel *accel, unsigned index, const VcpuApicOps *apic_ops, void *apic,
                          GError **error)
{
    TcgVcpu *v;
    Machine *m = accel->machine;
    const CpuTopology topology = machine_topology(m);
    X86CpuConfig config = {
        .model = m->cpu_model,
        .apic_id = cpu_topology_apic_id(&topology, index),
        .tsc_hz = TCG_TSC_HZ,
        .cpus = topology.max_cpus,
        .dies = topology.dies,
        .cores = topology.cores,
        .threads = topology.threads,
        .counts = accel->config.icount.on,
        .tells_deliveries = log_mask & LOG_INT,
        .jit_heat = accel->config.jit ? TCG_JIT_HEAT : 0,
    };
    char *text = NULL;

    if (!tcg_watch_smm((TcgAccel *)accel, error)) {
        return NULL;
    }
    v = g_new0(TcgVcpu, 1);
    vcpu_thread_init(&v->thread, &tcg_thread_ops, accel, index, apic_ops, apic);
    atomic_init(&v->a20, -1);
    v->cpu = x86_cpu_new(&config, &tcg_bus, v, &text);
    if (!v->cpu) {
        error_set(error, "-cpu %s: %s; see -cpu help", m->cpu_model, text ? text : "cannot create the CPU");
        free(text);
        tcg_vcpu_destroy(v);
        return NULL;
    }
    if (config.counts) {
        v->icount = icount_new(m, &accel->config.icount, v->cpu, tcg_icount_wake, v);
    }
    if (!vcpu_thread_create(&v->thread, error)) {
        tcg_vcpu_destroy(v);
        return NULL;
    }
    g_ptr_array_add(accel->vcpus, v);
    return &v->thread.vcpu;
}

static void tcg_vcpu_free(Vcpu *vcpu)
{
    TcgVcpu *v = tcg_vcpu(vcpu);

    vcpu_thread_join(&v->thread);
    g_ptr_array_remove(vcpu->accel->vcpus, v);
    tcg_vcpu_destroy(v);
}

static void tcg_stop(Accel *accel)
{
    TcgAccel *tcg = (TcgAccel *)accel;

    for (guint i = 0; i < accel->vcpus->len; i++) {
        vcpu_thread_join(g_ptr_array_index(accel->vcpus, i));
    }
    mem_topology_set_write_hook(accel->machine->topo, NULL, NULL);
    mem_listener_unregister(&tcg->listener);
    if (tcg->smm_listener.as) {
        mem_listener_unregister(&tcg->smm_listener);
    }
    timer_free(tcg->reap_timer);
    g_ptr_array_free(tcg->retired, TRUE);
    g_array_free(tcg->sections, TRUE);
    g_rw_lock_clear(&tcg->sections_lock);
    pthread_cond_destroy(&tcg->alone_changed);
    pthread_mutex_destroy(&tcg->alone_lock);
}

static void tcg_vcpu_reset(Vcpu *vcpu)
{
    TcgVcpu *v = tcg_vcpu(vcpu);

    x86_cpu_reset(v->cpu, false);
    pthread_mutex_lock(&v->thread.lock);
    v->halted = false;
    v->dead = false;
    atomic_store(&v->a20, -1);
    loop_waiter_wake(v->thread.waiter);
    pthread_mutex_unlock(&v->thread.lock);
}

static void tcg_vcpu_irq(Vcpu *vcpu, X86CpuIrq irq, bool level)
{
    x86_cpu_set_irq(tcg_vcpu(vcpu)->cpu, irq, level);
    vcpu_thread_wake(&tcg_vcpu(vcpu)->thread);
}

static void tcg_vcpu_sipi(Vcpu *vcpu, uint8_t vector)
{
    x86_cpu_sipi(tcg_vcpu(vcpu)->cpu, vector);
    vcpu_thread_wake(&tcg_vcpu(vcpu)->thread);
}

static bool tcg_get_state(Vcpu *vcpu, X86CpuState *state)
{
    x86_cpu_get_state(tcg_vcpu(vcpu)->cpu, state);
    return true;
}

static bool tcg_set_state(Vcpu *vcpu, const X86CpuState *state)
{
    TcgVcpu *v = tcg_vcpu(vcpu);

    if (!x86_cpu_set_state(v->cpu, state)) {
        return false;
    }
    pthread_mutex_lock(&v->thread.lock);
    v->halted = state->halted || state->wait_sipi;
    v->dead = false;
    pthread_mutex_unlock(&v->thread.lock);
    return true;
}

static uint64_t tcg_read_tsc(Vcpu *vcpu)
{
    return tcg_bus_read_tsc(vcpu);
}

static uint64_t tcg_tsc_hz(Accel *accel)
{
    return TCG_TSC_HZ;
}

static char *tcg_dump(Vcpu *vcpu)
{
    char *text = x86_cpu_dump(tcg_vcpu(vcpu)->cpu);
    char *copy = g_strdup(text ? text : "");

    free(text);
    return copy;
}

static uint64_t tcg_insn_count(Vcpu *vcpu)
{
    return x86_cpu_insn_count(tcg_vcpu(vcpu)->cpu);
}

static bool tcg_translate(Vcpu *vcpu, uint64_t linear, uint64_t *gpa)
{
    return x86_cpu_debug_translate(tcg_vcpu(vcpu)->cpu, linear, gpa);
}

static void tcg_set_debug(Vcpu *vcpu, const VcpuDebug *debug)
{
    TcgVcpu *v = tcg_vcpu(vcpu);

    x86_cpu_set_debug(v->cpu, debug->points, debug->count, debug->step);
    pthread_mutex_lock(&v->thread.lock);
    v->thread.hold = debug->hold;
    pthread_mutex_unlock(&v->thread.lock);
}

static void tcg_log_writes(Accel *accel, bool on)
{
    for (guint i = 0; i < accel->vcpus->len; i++) {
        x86_cpu_log_writes(tcg_vcpu(g_ptr_array_index(accel->vcpus, i))->cpu, on);
    }
}

static void tcg_set_a20(Accel *accel, bool enabled)
{
    for (guint i = 0; i < accel->vcpus->len; i++) {
        TcgVcpu *v = g_ptr_array_index(accel->vcpus, i);

        if (pthread_equal(pthread_self(), v->thread.thread)) {
            x86_cpu_set_a20(v->cpu, enabled);
        } else {
            atomic_store(&v->a20, enabled);
            x86_cpu_kick(v->cpu);
        }
    }
}

static char *tcg_info(Accel *accel)
{
    GString *out = g_string_new(NULL);

    machine_vcpus_hold(accel->machine);
    for (guint i = 0; i < accel->vcpus->len; i++) {
        X86BlockStats s = x86_cpu_block_stats(((TcgVcpu *)g_ptr_array_index(accel->vcpus, i))->cpu);

        g_string_append_printf(out, "CPU#%u: %zu blocks in %zu KiB, %zu of them compiled", i, s.blocks, s.bytes >> 10, s.compiled);
        if (s.code_size) {
            g_string_append_printf(out, "; %zu of %zu KiB of code memory used\n", s.code_used >> 10, s.code_size >> 10);
        } else {
            g_string_append(out, "; the interpreter alone runs\n");
        }
    }
    machine_vcpus_release(accel->machine);
    return g_string_free(out, FALSE);
}

const AccelOps accel_tcg_ops = {
    .name = "tcg",
    .doc = "software CPU of this program: runs everywhere",
    .size = sizeof(TcgAccel),
    .counts = true,
    .has_smm = true,
    .start = tcg_start,
    .stop = tcg_stop,
    .vcpu_new = tcg_vcpu_new,
    .vcpu_free = tcg_vcpu_free,
    .resume_all = vcpu_threads_resume,
    .pause_all = vcpu_threads_pause,
    .stop_all = vcpu_threads_stop,
    .settle_all = vcpu_threads_settle,
    .vcpu_reset = tcg_vcpu_reset,
    .vcpu_irq = tcg_vcpu_irq,
    .vcpu_sipi = tcg_vcpu_sipi,
    .get_state = tcg_get_state,
    .set_state = tcg_set_state,
    .read_tsc = tcg_read_tsc,
    .tsc_hz = tcg_tsc_hz,
    .dump = tcg_dump,
    .insn_count = tcg_insn_count,
    .set_a20 = tcg_set_a20,
    .log_writes = tcg_log_writes,
    .translate = tcg_translate,
    .set_debug = tcg_set_debug,
    .info = tcg_info,
};
