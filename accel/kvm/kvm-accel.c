/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The KVM accelerator: the kernel runs guest code on the host's processor (<linux/kvm.h>).  This file opens it, decides
 * whether it can be used, and ties its parts to AccelOps.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <x86intrin.h>

#include "core/error.h"
#include "kvm-cpu-models.h"
#include "kvm-internal.h"

#define KVM_DEVICE       "/dev/kvm"
#define KVM_API          12
#define KVM_IDENTITY_MAP 0xfffbc000ull /* one page, then the three of the task state: below the firmware */

/* What this program does not do without. */
static const struct {
    int cap;
    const char *what;
} needed[] = {
    {KVM_CAP_USER_MEMORY, "memory slots"},       {KVM_CAP_SET_TSS_ADDR, "a place for the task state"},
    {KVM_CAP_EXT_CPUID, "CPUID lists"},          {KVM_CAP_MP_STATE, "CPU activity states"},
    {KVM_CAP_IMMEDIATE_EXIT, "immediate exits"}, {KVM_CAP_XSAVE, "XSAVE state"},
};

static int kvm_check(const KvmAccel *kvm, int cap)
{
    int val = ioctl(kvm->fd, KVM_CHECK_EXTENSION, cap);

    return val > 0 ? val : 0;
}

static bool kvm_open(KvmAccel *kvm, GError **error)
{
    int api, size;

    kvm->fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
    if (kvm->fd < 0) {
        error_set_errno(error, errno, "cannot open %s", KVM_DEVICE);
        return false;
    }
    api = ioctl(kvm->fd, KVM_GET_API_VERSION, 0);
    if (api != KVM_API) {
        error_set(error, "%s speaks another version (%d, expected %d)", KVM_DEVICE, api, KVM_API);
        return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (!kvm_check(kvm, needed[i].cap)) {
            error_set(error, "%s has no %s", KVM_DEVICE, needed[i].what);
            return false;
        }
    }
    size = ioctl(kvm->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < (int)sizeof(struct kvm_run)) {
        error_set(error, "%s shares too little of a CPU (%d bytes)", KVM_DEVICE, size);
        return false;
    }
    kvm->run_size = (size_t)size;
    return !kvm->accel.config.optional || kvm_probe(kvm->fd, error);
}

static bool kvm_create_vm(KvmAccel *kvm, GError **error)
{
    uint64_t identity = KVM_IDENTITY_MAP;

    do {
        kvm->vm = ioctl(kvm->fd, KVM_CREATE_VM, 0);
    } while (kvm->vm < 0 && errno == EINTR);
    if (kvm->vm < 0) {
        error_set_errno(error, errno, "cannot make a virtual machine");
        return false;
    }
    /* Pages that processors without real mode in guests need. */
    if ((kvm_check(kvm, KVM_CAP_SET_IDENTITY_MAP_ADDR) && ioctl(kvm->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity)) ||
        ioctl(kvm->vm, KVM_SET_TSS_ADDR, (unsigned long)identity + KVM_PAGE_SIZE)) {
        error_set_errno(error, errno, "cannot place KVM's own pages");
        return false;
    }
    return true;
}

static bool kvm_start_ring(KvmAccel *kvm, GError **error)
{
    uint64_t entries = kvm->accel.config.dirty_ring_size;
    uint64_t max = (uint64_t)kvm_check(kvm, KVM_CAP_DIRTY_LOG_RING);
    struct kvm_enable_cap cap = {.cap = KVM_CAP_DIRTY_LOG_RING};

    if (!entries) {
        return true;
    }
    if (entries & (entries - 1) || entries * sizeof(struct kvm_dirty_gfn) > max || entries < 1024) {
        error_set(error, "bad dirty-ring-size (%" G_GUINT64_FORMAT ", allowed powers of two, 1024..%" G_GUINT64_FORMAT ")", entries,
                  max / sizeof(struct kvm_dirty_gfn));
        return false;
    }
    if (!kvm_probe_ring(kvm->fd)) {
        g_printerr("%s: warning: -accel kvm,dirty-ring-size: this KVM writes over what its full rings hold; bitmaps are used\n",
                   g_get_prgname());
        return true;
    }
    kvm->ring_bytes = (uint32_t)(entries * sizeof(struct kvm_dirty_gfn));
    cap.args[0] = kvm->ring_bytes;
    if (ioctl(kvm->vm, KVM_ENABLE_CAP, &cap)) {
        error_set_errno(error, errno, "dirty-ring-size: the kernel does not make rings");
        return false;
    }
    return true;
}

static void kvm_close(KvmAccel *kvm)
{
    kvm_irqchip_stop(kvm);
    kvm_debug_stop(kvm);
    if (kvm->msrs) {
        g_array_free(g_steal_pointer(&kvm->msrs), TRUE);
    }
    g_clear_pointer(&kvm->supported, g_free);
    if (kvm->vfio_device >= 0) {
        close(kvm->vfio_device);
    }
    if (kvm->vm >= 0) {
        close(kvm->vm);
    }
    if (kvm->fd >= 0) {
        close(kvm->fd);
    }
    kvm->vm = kvm->fd = -1;
}

/* KVM asks such files whether DMA snoops caches; without a device in the kernel for it, or on failure, it assumes so. */
static void kvm_vfio_file(Accel *accel, int fd, bool used)
{
    KvmAccel *kvm = (KvmAccel *)accel;
    struct kvm_create_device create = {.type = KVM_DEV_TYPE_VFIO};
    int32_t file = fd;
    struct kvm_device_attr attr = {.group = KVM_DEV_VFIO_GROUP,
                                   .attr = used ? KVM_DEV_VFIO_GROUP_ADD : KVM_DEV_VFIO_GROUP_DEL,
                                   .addr = (uintptr_t)&file};

    if (kvm->vfio_device < 0 && used && !ioctl(kvm->vm, KVM_CREATE_DEVICE, &create)) {
        kvm->vfio_device = (int)create.fd;
    }
    if (kvm->vfio_device >= 0 && ioctl(kvm->vfio_device, KVM_SET_DEVICE_ATTR, &attr) && used) {
        g_printerr("%s: warning: kvm: the kernel does not take the VFIO file of a device: %s\n", g_get_prgname(), g_strerror(errno));
    }
}

static bool kvm_start(Accel *accel, GError **error)
{
    KvmAccel *kvm = (KvmAccel *)accel;
    int khz;

    kvm->fd = kvm->vm = kvm->vfio_device = -1;
    if (!kvm_open(kvm, error) || !kvm_create_vm(kvm, error) || !kvm_irqchip_start(kvm, error) || !kvm_start_ring(kvm, error) ||
        !kvm_cpuid_load(kvm, error) || !kvm_msr_load_list(kvm, error) || !kvm_memory_start(kvm, error)) {
        kvm_close(kvm);
        return false;
    }
    kvm_debug_start(kvm);
    kvm->has_sregs2 = kvm_check(kvm, KVM_CAP_SREGS2);
    kvm->has_debugregs = kvm_check(kvm, KVM_CAP_DEBUGREGS);
    kvm->has_xcrs = kvm_check(kvm, KVM_CAP_XCRS);
    kvm->has_events = kvm_check(kvm, KVM_CAP_VCPU_EVENTS);
    kvm->has_smm = kvm_check(kvm, KVM_CAP_X86_SMM);
    khz = kvm_check(kvm, KVM_CAP_GET_TSC_KHZ) ? ioctl(kvm->vm, KVM_GET_TSC_KHZ, 0) : 0;
    kvm->tsc_khz = khz > 0 ? (uint32_t)khz : 1000000;
    accel->machine->vfio_file = kvm_vfio_file;
    return true;
}

static void kvm_stop(Accel *accel)
{
    KvmAccel *kvm = (KvmAccel *)accel;

    for (guint i = 0; i < accel->vcpus->len; i++) {
        vcpu_thread_join(g_ptr_array_index(accel->vcpus, i));
    }
    kvm_memory_stop(kvm);
}

static void kvm_free(Accel *accel)
{
    kvm_close((KvmAccel *)accel);
}

static char *kvm_info(Accel *accel)
{
    static const char *const chips[] = {
        [ACCEL_IRQCHIP_OFF] = "off", [ACCEL_IRQCHIP_SPLIT] = "split", [ACCEL_IRQCHIP_ON] = "on"};
    KvmAccel *kvm = (KvmAccel *)accel;
    unsigned slots = 0;

    for (guint i = 0; i < kvm->slots->len; i++) {
        slots += g_array_index(kvm->slots, KvmSlot, i).size != 0;
    }
    return g_strdup_printf("kernel-irqchip: %s\nmemory slots: %u\ndirty-ring-size: %u\nioeventfds: %u\nirqfds: %u\n",
                           chips[accel->irqchip], slots, kvm_ring_entries(kvm), kvm->ioeventfds, atomic_load(&kvm->irqfds));
}

static uint64_t kvm_read_tsc(Vcpu *vcpu)
{
    return __rdtsc() + ((KvmVcpu *)vcpu)->tsc_base;
}

static uint64_t kvm_tsc_hz(Accel *accel)
{
    return ((KvmAccel *)accel)->tsc_khz * UINT64_C(1000);
}

static bool kvm_translate(Vcpu *vcpu, uint64_t linear, uint64_t *gpa)
{
    struct kvm_translation t = {.linear_address = linear};

    *gpa = 0;
    if (ioctl(((KvmVcpu *)vcpu)->fd, KVM_TRANSLATE, &t) || !t.valid) {
        return false;
    }
    *gpa = t.physical_address;
    return true;
}

static uint64_t kvm_insn_count(Vcpu *vcpu)
{
    return 0;
}

static void kvm_set_a20(Accel *accel, bool enabled)
{
    /* The processor has no such input any more. */
}

const AccelOps accel_kvm_ops = {
    .name = "kvm",
    .doc = "the kernel's virtual machines (/dev/kvm): guest code runs on the host's processor",
    .size = sizeof(KvmAccel),
    .start = kvm_start,
    .stop = kvm_stop,
    .free = kvm_free,
    .vcpu_new = kvm_vcpu_new,
    .vcpu_free = kvm_vcpu_free,
    .resume_all = kvm_resume_all,
    .pause_all = kvm_pause_all,
    .stop_all = kvm_stop_all,
    .settle_all = vcpu_threads_settle,
    .vcpu_reset = kvm_vcpu_reset,
    .vcpu_irq = kvm_vcpu_irq,
    .vcpu_sipi = kvm_vcpu_sipi,
    .get_state = kvm_get_state,
    .set_state = kvm_set_state,
    .read_tsc = kvm_read_tsc,
    .tsc_hz = kvm_tsc_hz,
    .dump = kvm_dump,
    .insn_count = kvm_insn_count,
    .set_a20 = kvm_set_a20,
    .log_writes = kvm_log_writes,
    .translate = kvm_translate,
    .check_debug = kvm_check_debug,
    .set_debug = kvm_set_debug,
    .info = kvm_info,
    .cpu_models = kvm_cpu_model_names,
    .irqchip = &kvm_irqchip_ops,
};
