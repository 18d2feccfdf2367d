/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The architectural state of a vCPU, from the kernel and to it. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

#include "core/error.h"
#include "kvm-internal.h"

#define MSR_IA32_TSC 0x10u
#define RFLAGS_FIXED 2u
#define RFLAGS_IF    0x200u
#define CR0_CACHE    0x60000000u /* NW, CD: INIT leaves them */

/* --- segments --- */

static void seg_from_kvm(X86SegState *to, const struct kvm_segment *from)
{
    to->base = from->base;
    to->limit = from->limit;
    to->selector = from->selector;
    to->attr = (uint16_t)((from->type & 15) | (from->s & 1) << 4 | (from->dpl & 3) << 5 | (from->present & 1) << 7 |
                          (from->avl & 1) << 12 | (from->l & 1) << 13 | (from->db & 1) << 14 | (from->g & 1) << 15);
    if (from->unusable) {
        to->attr &= (uint16_t)~0x80;
    }
}

static void seg_to_kvm(struct kvm_segment *to, const X86SegState *from)
{
    *to = (struct kvm_segment){.base = from->base,
                               .limit = from->limit,
                               .selector = from->selector,
                               .type = from->attr & 15,
                               .s = from->attr >> 4 & 1,
                               .dpl = from->attr >> 5 & 3,
                               .present = from->attr >> 7 & 1,
                               .avl = from->attr >> 12 & 1,
                               .l = from->attr >> 13 & 1,
                               .db = from->attr >> 14 & 1,
                               .g = from->attr >> 15 & 1,
                               .unusable = !(from->attr >> 7 & 1)};
}

/* In the order of X86_SEG_*. */
#define SEGMENTS(s) {&(s)->es, &(s)->cs, &(s)->ss, &(s)->ds, &(s)->fs, &(s)->gs, &(s)->ldt, &(s)->tr}

static int sregs_read(const KvmVcpu *v, struct kvm_sregs2 *s)
{
    struct kvm_sregs old;

    if (kvm_accel(v)->has_sregs2) {
        return ioctl(v->fd, KVM_GET_SREGS2, s);
    }
    if (ioctl(v->fd, KVM_GET_SREGS, &old)) {
        return -1;
    }
    memset(s, 0, sizeof(*s));
    memcpy(s, &old, offsetof(struct kvm_sregs, interrupt_bitmap)); /* the two begin alike */
    return 0;
}

static int sregs_write(const KvmVcpu *v, const struct kvm_sregs2 *s)
{
    struct kvm_sregs old = {0};

    if (kvm_accel(v)->has_sregs2) {
        return ioctl(v->fd, KVM_SET_SREGS2, s);
    }
    memcpy(&old, s, offsetof(struct kvm_sregs, interrupt_bitmap));
    return ioctl(v->fd, KVM_SET_SREGS, &old);
}

static bool sregs_get(const KvmVcpu *v, X86CpuState *state)
{
    struct kvm_sregs2 s;
    const struct kvm_segment *segs[] = SEGMENTS(&s);

    if (sregs_read(v, &s)) {
        return false;
    }
    for (unsigned i = 0; i < X86_SEG_COUNT; i++) {
        seg_from_kvm(&state->seg[i], segs[i]);
    }
    state->gdtr = (X86TableState){s.gdt.base, s.gdt.limit};
    state->idtr = (X86TableState){s.idt.base, s.idt.limit};
    state->cr0 = s.cr0;
    state->cr2 = s.cr2;
    state->cr3 = s.cr3;
    state->cr4 = s.cr4;
    state->efer = s.efer;
    state->pdptrs_valid = s.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID ? 1 : 0;
    memset(state->pdptrs, 0, sizeof(state->pdptrs));
    if (state->pdptrs_valid) {
        memcpy(state->pdptrs, s.pdptrs, sizeof(state->pdptrs));
    }
    return true;
}

static bool sregs_set(const KvmVcpu *v, const X86CpuState *state)
{
    struct kvm_sregs2 s;
    struct kvm_segment *segs[] = SEGMENTS(&s);

    if (sregs_read(v, &s)) {
        return false;
    }
    for (unsigned i = 0; i < X86_SEG_COUNT; i++) {
        seg_to_kvm(segs[i], &state->seg[i]);
    }
    s.gdt = (struct kvm_dtable){.base = state->gdtr.base, .limit = (uint16_t)state->gdtr.limit};
    s.idt = (struct kvm_dtable){.base = state->idtr.base, .limit = (uint16_t)state->idtr.limit};
    s.cr0 = state->cr0;
    s.cr2 = state->cr2;
    s.cr3 = state->cr3;
    s.cr4 = state->cr4;
    s.efer = state->efer;
    s.flags = state->pdptrs_valid ? KVM_SREGS2_FLAGS_PDPTRS_VALID : 0;
    memcpy(s.pdptrs, state->pdptrs, sizeof(s.pdptrs));
    if (kvm_apic_is_ours(v) && v->thread.apic_ops) {
        s.apic_base = v->thread.apic_ops->get_base(v->thread.apic);
        s.cr8 = v->thread.apic_ops->get_cr8(v->thread.apic);
    }
    return !sregs_write(v, &s);
}

bool kvm_state_set_apic_base(KvmVcpu *v, uint64_t base)
{
    struct kvm_sregs2 s;

    if (sregs_read(v, &s)) {
        return false;
    }
    if (s.apic_base == base) {
        return true;
    }
    s.apic_base = base;
    return !sregs_write(v, &s);
}

/* --- general registers --- */

static bool regs_get(const KvmVcpu *v, X86CpuState *state)
{
    struct kvm_regs r;

    if (ioctl(v->fd, KVM_GET_REGS, &r)) {
        return false;
    }
    memcpy(state->gpr,
           (const uint64_t[16]){r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12,
                                r.r13, r.r14, r.r15},
           sizeof(state->gpr));
    state->rip = r.rip;
    state->rflags = r.rflags;
    return true;
}

static bool regs_set(const KvmVcpu *v, const X86CpuState *state)
{
    const uint64_t *g = state->gpr;
    struct kvm_regs r = {.rax = g[X86_RAX], .rcx = g[X86_RCX], .rdx = g[X86_RDX], .rbx = g[X86_RBX], .rsp = g[X86_RSP],
                         .rbp = g[X86_RBP], .rsi = g[X86_RSI], .rdi = g[X86_RDI], .r8 = g[8], .r9 = g[9], .r10 = g[10],
                         .r11 = g[11], .r12 = g[12], .r13 = g[13], .r14 = g[14], .r15 = g[15], .rip = state->rip,
                         .rflags = state->rflags | RFLAGS_FIXED};

    return !ioctl(v->fd, KVM_SET_REGS, &r);
}

static bool debug_get(const KvmVcpu *v, X86CpuState *state)
{
    struct kvm_debugregs d;

    if (!kvm_accel(v)->has_debugregs) {
        return true;
    }
    if (ioctl(v->fd, KVM_GET_DEBUGREGS, &d)) {
        return false;
    }
    for (unsigned i = 0; i < 4; i++) {
        state->dr[i] = d.db[i];
    }
    state->dr[4] = state->dr[5] = 0;
    state->dr[6] = d.dr6;
    state->dr[7] = d.dr7;
    return true;
}

static bool debug_set(const KvmVcpu *v, const X86CpuState *state)
{
    struct kvm_debugregs d = {.dr6 = state->dr[6], .dr7 = state->dr[7]};

    memcpy(d.db, state->dr, sizeof(d.db));
    return !kvm_accel(v)->has_debugregs || !ioctl(v->fd, KVM_SET_DEBUGREGS, &d);
}

/* --- vector registers --- */

G_STATIC_ASSERT(sizeof(((X86CpuState *)0)->xsave) + X86_XSAVE_MORE == sizeof(struct kvm_xsave));

static bool xsave_get(const KvmVcpu *v, X86CpuState *state)
{
    struct kvm_xsave x;
    struct kvm_xcrs xcrs = {0};

    if (ioctl(v->fd, KVM_GET_XSAVE, &x) || (kvm_accel(v)->has_xcrs && ioctl(v->fd, KVM_GET_XCRS, &xcrs))) {
        return false;
    }
    memcpy(state->xsave, &x, sizeof(state->xsave));
    memcpy(state->xsave_more, (const char *)&x + sizeof(state->xsave), sizeof(state->xsave_more));
    state->xcr0 = 1;
    for (unsigned i = 0; i < xcrs.nr_xcrs; i++) {
        if (xcrs.xcrs[i].xcr == 0) {
            state->xcr0 = xcrs.xcrs[i].value;
        }
    }
    return true;
}

static bool xsave_set(const KvmVcpu *v, const X86CpuState *state)
{
    struct kvm_xsave x;
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = state->xcr0 | 1}};

    memcpy(&x, state->xsave, sizeof(state->xsave));
    memcpy((char *)&x + sizeof(state->xsave), state->xsave_more, sizeof(state->xsave_more));
    return (!kvm_accel(v)->has_xcrs || !ioctl(v->fd, KVM_SET_XCRS, &xcrs)) && !ioctl(v->fd, KVM_SET_XSAVE, &x);
}

/* --- events, and whether the CPU runs --- */

static bool events_get(const KvmVcpu *v, X86CpuState *state)
{
    struct kvm_vcpu_events e = {0};

    if (kvm_accel(v)->has_events && ioctl(v->fd, KVM_GET_VCPU_EVENTS, &e)) {
        return false;
    }
    state->nmi_blocked = e.nmi.masked;
    state->nmi_pending = e.nmi.pending;
    state->irq_shadow = e.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS ? 2 : e.interrupt.shadow ? 1 : 0;
    state->smm = e.smi.smm;
    state->a20 = 1;
    state->events = (X86EventState){
        .exception_injected = e.exception.injected,
        .exception_vector = e.exception.nr,
        .exception_has_error = e.exception.has_error_code,
        .exception_error = e.exception.error_code,
        .interrupt_injected = e.interrupt.injected,
        .interrupt_vector = e.interrupt.nr,
        .interrupt_soft = e.interrupt.soft,
        .nmi_injected = e.nmi.injected,
        .smi_pending = e.smi.pending,
        .smm_inside_nmi = e.smi.smm_inside_nmi,
        .init_latched = e.smi.latched_init,
        .sipi_vector = e.sipi_vector,
    };
    return true;
}

static bool events_set(const KvmVcpu *v, const X86CpuState *state)
{
    const X86EventState *from = &state->events;
    struct kvm_vcpu_events e = {
        .exception = {.injected = from->exception_injected,
                      .nr = from->exception_vector,
                      .has_error_code = from->exception_has_error,
                      .error_code = from->exception_error},
        .interrupt = {.injected = from->interrupt_injected,
                      .nr = from->interrupt_vector,
                      .soft = from->interrupt_soft,
                      .shadow = state->irq_shadow == 2   ? KVM_X86_SHADOW_INT_MOV_SS
                                : state->irq_shadow == 1 ? KVM_X86_SHADOW_INT_STI
                                                         : 0},
        .nmi = {.injected = from->nmi_injected, .pending = state->nmi_pending, .masked = state->nmi_blocked},
        .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
    };

    if (kvm_accel(v)->has_smm) {
        e.smi.smm = state->smm;
        e.smi.pending = from->smi_pending;
        e.smi.smm_inside_nmi = from->smm_inside_nmi;
        e.smi.latched_init = from->init_latched;
        e.flags |= KVM_VCPUEVENT_VALID_SMM;
    }
    if (state->wait_sipi) {
        e.sipi_vector = from->sipi_vector;
        e.flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
    }
    return !kvm_accel(v)->has_events || !ioctl(v->fd, KVM_SET_VCPU_EVENTS, &e);
}

void kvm_state_inject(KvmVcpu *v, uint8_t vector)
{
    struct kvm_vcpu_events e = {0};

    if (!kvm_accel(v)->has_events || ioctl(v->fd, KVM_GET_VCPU_EVENTS, &e)) {
        return;
    }
    e.exception.injected = 1;
    e.exception.nr = vector;
    e.exception.has_error_code = 0;
    ioctl(v->fd, KVM_SET_VCPU_EVENTS, &e);
}

static bool activity_get(const KvmVcpu *v, X86CpuState *state)
{
    struct kvm_mp_state mp;

    state->halted = v->halted;
    state->wait_sipi = v->wait_sipi;
    if (kvm_apic_is_ours(v)) {
        return true;
    }
    if (ioctl(v->fd, KVM_GET_MP_STATE, &mp)) {
        return false;
    }
    state->halted = mp.mp_state == KVM_MP_STATE_HALTED;
    state->wait_sipi = mp.mp_state == KVM_MP_STATE_UNINITIALIZED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED;
    return true;
}

static bool activity_set(KvmVcpu *v, const X86CpuState *state)
{
    struct kvm_mp_state mp = {.mp_state = state->wait_sipi ? KVM_MP_STATE_INIT_RECEIVED
                                          : state->halted  ? KVM_MP_STATE_HALTED
                                                           : KVM_MP_STATE_RUNNABLE};

    if (kvm_apic_is_ours(v)) {
        v->halted = state->halted;
        v->wait_sipi = state->wait_sipi;
        return true;
    }
    return !ioctl(v->fd, KVM_SET_MP_STATE, &mp);
}

/*
 * What the kernel tells of interrupts at the end of KVM_RUN, for a state that it has not run yet: a halted CPU that cannot be
 * interrupted would never run, and so never be known to be interruptible.
 */
static void interruptible_set(KvmVcpu *v, const X86CpuState *state)
{
    v->run->if_flag = (state->rflags & RFLAGS_IF) != 0;
    v->run->ready_for_interrupt_injection = v->run->if_flag && !state->irq_shadow && !state->events.interrupt_injected;
}

/* --- time stamp counter --- */

/* What the counter would be had it begun with guest time. */
static uint64_t tsc_of_guest_time(const KvmVcpu *v)
{
    KvmAccel *kvm = kvm_accel(v);
    int64_t now = clock_now(kvm->accel.machine->clocks, CLOCK_KIND_VIRTUAL);

    return (uint64_t)((unsigned __int128)(uint64_t)now * kvm->tsc_khz / 1000000);
}

static void tsc_get(KvmVcpu *v, X86CpuState *state)
{
    uint64_t host = __rdtsc(), tsc;

    if (!v->tsc_held && kvm_msr_read(v, MSR_IA32_TSC, &tsc)) {
        v->tsc_base = tsc - host;
        v->tsc_offset = tsc - tsc_of_guest_time(v);
    }
    state->tsc_offset = v->tsc_offset;
}

/* A state that was only looked at leaves the counter running: CPUs must not drift apart by being looked at. */
static void tsc_set(KvmVcpu *v, const X86CpuState *state)
{
    if (state->tsc_offset == v->tsc_offset) {
        return;
    }
    v->tsc_offset = state->tsc_offset;
    v->tsc_held = v->thread.vcpu.accel->machine->run_state != RUN_STATE_RUNNING;
    kvm_msr_write(v, MSR_IA32_TSC, tsc_of_guest_time(v) + state->tsc_offset);
    if (v->tsc_deadline) {
        kvm_msr_write(v, KVM_MSR_TSC_DEADLINE, v->tsc_deadline);
        v->tsc_deadline = 0;
    }
}

void kvm_state_hold_tsc(KvmVcpu *v)
{
    g_autofree X86CpuState *state = g_new0(X86CpuState, 1);

    v->tsc_held = false;
    tsc_get(v, state);
    v->tsc_held = true;
}

/* --- all of it --- */

bool kvm_get_state(Vcpu *vcpu, X86CpuState *state)
{
    KvmVcpu *v = (KvmVcpu *)vcpu;

    memset(state, 0, sizeof(*state));
    state->smbase = X86_SMBASE_RESET;
    if (!regs_get(v, state) || !sregs_get(v, state) || !xsave_get(v, state) || !debug_get(v, state) ||
        !events_get(v, state) || !activity_get(v, state)) {
        return false;
    }
    kvm_msr_get(v, state);
    tsc_get(v, state);
    return true;
}

bool kvm_set_state(Vcpu *vcpu, const X86CpuState *state)
{
    KvmVcpu *v = (KvmVcpu *)vcpu;
    bool ok;

    v->io_pending = false;
    /* The segments first: CR4 says what the rest may be. */
    ok = sregs_set(v, state) && xsave_set(v, state) && regs_set(v, state) && debug_set(v, state) &&
         kvm_msr_set(v, state);
    tsc_set(v, state);
    ok = ok && activity_set(v, state) && events_set(v, state);
    interruptible_set(v, state);
    pthread_mutex_lock(&v->thread.lock);
    v->dead = v->failed = false;
    pthread_mutex_unlock(&v->thread.lock);
    return ok;
}

void kvm_state_reset(KvmVcpu *v, bool init)
{
    g_autofree X86CpuState *state = g_memdup2(v->power_on, sizeof(*state));
    g_autofree X86CpuState *now = g_new0(X86CpuState, 1);
    Vcpu *vcpu = &v->thread.vcpu;

    if (init && kvm_get_state(vcpu, now)) {
        /* INIT leaves what is not about the instruction stream (SDM vol. 3, table 10-1). */
        memcpy(state->xsave, now->xsave, sizeof(state->xsave));
        memcpy(state->xsave_more, now->xsave_more, sizeof(state->xsave_more));
        memcpy(state->mtrr_fixed, now->mtrr_fixed, sizeof(state->mtrr_fixed));
        memcpy(state->mtrr_var, now->mtrr_var, sizeof(state->mtrr_var));
        memcpy(state->msr_index, now->msr_index, sizeof(state->msr_index));
        memcpy(state->msr_value, now->msr_value, sizeof(state->msr_value));
        state->msr_count = now->msr_count;
        state->mtrr_def_type = now->mtrr_def_type;
        state->pat = now->pat;
        state->misc_enable = now->misc_enable;
        state->tsc_aux = now->tsc_aux;
        state->cr0 = (state->cr0 & ~(uint64_t)CR0_CACHE) | (now->cr0 & CR0_CACHE);
    }
    state->wait_sipi = vcpu->index != 0;
    state->halted = 0;
    state->tsc_offset = v->tsc_offset;
    if (!kvm_set_state(vcpu, state)) {
        g_printerr("kvm: CPU %u does not take its reset state: %s\n", vcpu->index, g_strerror(errno));
    }
}

void kvm_state_sipi(KvmVcpu *v, uint8_t vector)
{
    g_autofree X86CpuState *state = g_new0(X86CpuState, 1);
    Vcpu *vcpu = &v->thread.vcpu;

    if (!kvm_get_state(vcpu, state)) {
        return;
    }
    state->seg[X86_SEG_CS].selector = (uint16_t)(vector << 8);
    state->seg[X86_SEG_CS].base = (uint64_t)vector << 12;
    state->rip = 0;
    state->wait_sipi = 0;
    kvm_set_state(vcpu, state);
}

/* --- info registers --- */

char *kvm_dump(Vcpu *vcpu)
{
    static const char *const seg_names[] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR"};
    static const char *const gpr_names[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                            "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
    g_autofree X86CpuState *s = g_new0(X86CpuState, 1);
    GString *text = g_string_new(NULL);

    if (!kvm_get_state(vcpu, s)) {
        g_string_append(text, "the kernel does not give the registers\n");
        return g_string_free(text, FALSE);
    }
    for (unsigned i = 0; i < 16; i++) {
        g_string_append_printf(text, "%s=%016" PRIx64 "%c", gpr_names[i], s->gpr[i], i % 4 == 3 ? '\n' : ' ');
    }
    g_string_append_printf(text, "RIP=%016" PRIx64 " RFL=%08" PRIx64 " CPL=%u HLT=%u SMM=%u\n", s->rip, s->rflags,
                           s->seg[X86_SEG_SS].attr >> 5 & 3, s->halted, s->smm);
    for (unsigned i = 0; i < X86_SEG_COUNT; i++) {
        g_string_append_printf(text, "%-3s=%04x %016" PRIx64 " %08x %04x\n", seg_names[i], s->seg[i].selector, s->seg[i].base,
                               s->seg[i].limit, s->seg[i].attr);
    }
    g_string_append_printf(text, "GDT=     %016" PRIx64 " %08x\nIDT=     %016" PRIx64 " %08x\n", s->gdtr.base, s->gdtr.limit,
                           s->idtr.base, s->idtr.limit);
    g_string_append_printf(text, "CR0=%08" PRIx64 " CR2=%016" PRIx64 " CR3=%016" PRIx64 " CR4=%08" PRIx64 "\nEFER=%016" PRIx64 "\n",
                           s->cr0, s->cr2, s->cr3, s->cr4, s->efer);
    return g_string_free(text, FALSE);
}
