/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What CPUID tells a guest: a model's features as far as the host has them (KVM_GET_SUPPORTED_CPUID), the machine's
 * topology, and KVM's own leaves (Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E; the kernel's
 * virt/kvm/x86/cpuid).
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "core/error.h"
#include "kvm-cpu-models.h"
#include "kvm-internal.h"

#define KVM_CPUID_LIMIT 512u /* entries */

/* Where each word of features is. */
typedef struct CpuidWord {
    uint32_t function, index;
    uint8_t reg; /* 0..3: EAX EBX ECX EDX */
} CpuidWord;

static const CpuidWord cpuid_words[KVM_F_COUNT] = {
    [KVM_F_1_EDX] = {1, 0, 3},          [KVM_F_1_ECX] = {1, 0, 2},          [KVM_F_6_EAX] = {6, 0, 0},
    [KVM_F_7_EBX] = {7, 0, 1},          [KVM_F_7_ECX] = {7, 0, 2},          [KVM_F_7_EDX] = {7, 0, 3},
    [KVM_F_7_1_EAX] = {7, 1, 0},        [KVM_F_D_1_EAX] = {0xd, 1, 0},      [KVM_F_8_1_EDX] = {0x80000001, 0, 3},
    [KVM_F_8_1_ECX] = {0x80000001, 0, 2}, [KVM_F_8_7_EDX] = {0x80000007, 0, 3}, [KVM_F_8_8_EBX] = {0x80000008, 0, 1},
    [KVM_F_8_A_EDX] = {0x8000000a, 0, 3}, [KVM_F_8_21_EAX] = {0x80000021, 0, 0}, [KVM_F_KVM] = {0x40000001, 0, 0},
};

/* Bits of leaf 1 that the processor or the topology sets, not the model. */
#define CPUID_1_ECX_OSXSAVE (1u << 27)
#define CPUID_1_EDX_HTT     (1u << 28)

typedef struct CpuidSpec {
    const KvmCpuModel *model; /* NULL: the host's CPU */
    uint32_t features[KVM_F_COUNT];
} CpuidSpec;

static uint32_t *entry_reg(struct kvm_cpuid_entry2 *e, unsigned reg)
{
    uint32_t *const regs[] = {&e->eax, &e->ebx, &e->ecx, &e->edx};

    return regs[reg];
}

static struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *list, uint32_t function, uint32_t index)
{
    for (unsigned i = 0; i < list->nent; i++) {
        struct kvm_cpuid_entry2 *e = &list->entries[i];

        if (e->function == function && (e->index == index || !(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX))) {
            return e;
        }
    }
    return NULL;
}

bool kvm_cpuid_load(KvmAccel *kvm, GError **error)
{
    struct kvm_cpuid2 *list = g_malloc0(sizeof(*list) + KVM_CPUID_LIMIT * sizeof(list->entries[0]));

    list->nent = KVM_CPUID_LIMIT;
    if (ioctl(kvm->fd, KVM_GET_SUPPORTED_CPUID, list)) {
        error_set_errno(error, errno, "cannot tell which CPU features the host supports");
        g_free(list);
        return false;
    }
    kvm->supported = list;
    return true;
}

/* What the host supports of a word; with what this accelerator adds or cannot give. */
static uint32_t host_word(const KvmAccel *kvm, unsigned word)
{
    const CpuidWord *w = &cpuid_words[word];
    const struct kvm_cpuid_entry2 *e = cpuid_find(kvm->supported, w->function, w->index);
    uint32_t val = e ? *entry_reg((struct kvm_cpuid_entry2 *)e, w->reg) : 0;
    const uint32_t x2apic = 1u << 21, deadline = 1u << 24, hypervisor = 1u << 31;

    if (word == KVM_F_1_ECX) {
        bool in_kernel = kvm->accel.irqchip != ACCEL_IRQCHIP_OFF;

        /* Registers of the local APIC that are MSRs never leave the kernel: without its APIC they fault. */
        val &= ~(x2apic | deadline | CPUID_1_ECX_OSXSAVE);
        val |= hypervisor | (in_kernel ? x2apic : 0);
        if (in_kernel && ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0) {
            val |= deadline;
        }
    }
    if (word == KVM_F_1_EDX) {
        val &= ~CPUID_1_EDX_HTT;
    }
    if (word == KVM_F_KVM && kvm->accel.irqchip == ACCEL_IRQCHIP_OFF) {
        val &= ~(KVM_F_KVM_NEEDS_APIC);
    }
    return val;
}

/* --- -cpu MODEL,+feature,-feature,feature=on|off --- */

/* One item behind the model. */
static bool spec_feature(CpuidSpec *spec, const uint32_t host[], const char *text, GString *missing, GError **error)
{
    bool sign = *text == '+' || *text == '-', on = *text != '-';
    const char *val = strchr(text, '=');
    g_autofree char *name = g_strndup(text + sign, val ? (size_t)(val - text) - sign : strlen(text) - sign);
    KvmFeature feature;

    if (val && (sign || (strcmp(val, "=on") && strcmp(val, "=off")))) {
        error_set(error, "'%s': a feature is +NAME, -NAME, NAME=on or NAME=off", text);
        return false;
    }
    if (!kvm_feature_find(name, &feature)) {
        error_set(error, "unknown feature '%s'", name);
        return false;
    }
    on = val ? !strcmp(val, "=on") : on;
    spec->features[feature.word] &= ~(1u << feature.bit);
    if (on && !(host[feature.word] >> feature.bit & 1)) {
        g_string_append_printf(missing, "%s%s", missing->len ? ", " : "", name);
    } else if (on) {
        spec->features[feature.word] |= 1u << feature.bit;
    }
    return true;
}

/* What the model has and the host has not. */
static void spec_filter(CpuidSpec *spec, const uint32_t host[], GString *missing)
{
    for (unsigned word = 0; word < KVM_F_COUNT; word++) {
        uint32_t lost = spec->features[word] & ~host[word];

        spec->features[word] &= host[word];
        for (; lost; lost &= lost - 1) {
            g_autofree char *name = kvm_feature_name((KvmFeature){word, (unsigned)__builtin_ctz(lost)});

            if (name) {
                g_string_append_printf(missing, "%s%s", missing->len ? ", " : "", name);
            }
        }
    }
}

static bool spec_parse(const KvmAccel *kvm, const char *text, CpuidSpec *spec, GString *missing, GError **error)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    bool is_host = !strcmp(words[0], "host") || !strcmp(words[0], "max");
    uint32_t host[KVM_F_COUNT];

    for (unsigned word = 0; word < KVM_F_COUNT; word++) {
        host[word] = host_word(kvm, word);
    }
    *spec = (CpuidSpec){0};
    if (is_host) {
        memcpy(spec->features, host, sizeof(host));
    } else {
        spec->model = kvm_cpu_model_find(words[0]);
        if (!spec->model) {
            g_autofree char *names = kvm_cpu_model_names();

            error_set(error, "unknown model '%s', there are %s", words[0], names);
            return false;
        }
        memcpy(spec->features, spec->model->features, sizeof(spec->features));
        spec->features[KVM_F_KVM] = host[KVM_F_KVM];
        spec->features[KVM_F_1_ECX] |= host[KVM_F_1_ECX] & (1u << 31 | 1u << 21);
        spec_filter(spec, host, missing);
    }
    for (unsigned i = 1; words[i]; i++) {
        if (!spec_feature(spec, host, words[i], missing, error)) {
            return false;
        }
    }
    return true;
}

/* --- leaves --- */

static struct kvm_cpuid_entry2 *leaf_add(struct kvm_cpuid2 *list, uint32_t function, uint32_t index, uint32_t flags)
{
    struct kvm_cpuid_entry2 *e = &list->entries[list->nent++];

    *e = (struct kvm_cpuid_entry2){.function = function, .index = index, .flags = flags};
    return e;
}

/* Leaves whose contents are the host's, or nothing. */
static bool leaf_is_wanted(const CpuidSpec *spec, uint32_t function)
{
    if (!spec->model) {
        /* Performance counters without their MSRs, SGX, trace and hybrid cores, encrypted guests are not given on. */
        return function != 0xa && function != 0x12 && function != 0x14 && function != 0x1a && function != 0x8000001f &&
               function != 0x80000022;
    }
    return function <= 1 || function == 7 || function == 0xd || function == 0x15 || function == 0x16 ||
           (function & 0xffffff00) == 0x40000000 || (function >= 0x80000000 && function <= 0x80000008);
}

static void set_text(uint32_t *regs[], const char *text, size_t len)
{
    for (size_t i = 0; i < len / 4; i++) {
        memcpy(regs[i], text + 4 * i, 4);
    }
}

/* What a named model says of itself; the vendor stays the host's, as its system calls do. */
static void leaf_model(const KvmCpuModel *model, struct kvm_cpuid_entry2 *e)
{
    uint32_t *regs[] = {&e->eax, &e->ebx, &e->ecx, &e->edx};
    char brand[48] = {0};

    switch (e->function) {
    case 0:
        e->eax = MIN(e->eax, 0x16);
        break;
    case 1:
    case 0x80000001:
        e->eax = model->signature;
        break;
    case 0x80000000:
        e->eax = MIN(e->eax, 0x80000008);
        break;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
        memcpy(brand, model->brand, MIN(strlen(model->brand), sizeof(brand) - 1));
        set_text(regs, brand + 16 * (e->function - 0x80000002), 16);
        break;
    default:
        break;
    }
}

static void leaf_topology(struct kvm_cpuid_entry2 *e, const CpuTopology *t, uint32_t id)
{
    const unsigned cpus = cpu_topology_socket_cpus(t), cores = t->dies * t->cores;

    switch (e->function) {
    case 1:
        e->ebx = id << 24 | (cpus & 0xff) << 16 | 8 << 8;
        e->edx |= cpus > 1 ? CPUID_1_EDX_HTT : 0;
        break;
    case 4:
        /* Caches above the second level are the socket's, others a core's. */
        e->eax &= 0x3fff;
        e->eax |= e->eax & 0x1f ? MIN(cores - 1, 63) << 26 | ((e->eax >> 5 & 7) > 2 ? cpus - 1 : t->threads - 1) << 14 : 0;
        break;
    case 0x80000008:
        e->ecx = cpus > 1 ? cpu_topology_socket_shift(t) << 12 | (cpus - 1) : 0;
        break;
    case 0x8000001d:
        e->eax &= ~0x3ffc000u;
        e->eax |= e->eax & 0x1f ? ((e->eax >> 5 & 7) > 2 ? cpus - 1 : t->threads - 1) << 14 : 0;
        break;
    case 0x8000001e:
        e->eax = id;
        e->ebx = (t->threads - 1) << 8 | ((id & ((1u << cpu_topology_die_shift(t)) - 1)) >> cpu_topology_core_shift(t) & 0xff);
        e->ecx = (t->dies - 1) << 8 | ((id & ((1u << cpu_topology_socket_shift(t)) - 1)) >> cpu_topology_die_shift(t) & 0xff);
        break;
    default:
        break;
    }
}

/* Leaves 0Bh (threads and cores) and 1Fh (dies too). */
static void leaves_extended_topology(struct kvm_cpuid2 *list, uint32_t function, const CpuTopology *t, uint32_t id)
{
    enum { LEVEL_THREAD = 1, LEVEL_CORE = 2, LEVEL_DIE = 5 };
    const bool dies = function == 0x1f;
    const struct {
        uint32_t shift, cpus, type;
    } levels[] = {
        {cpu_topology_core_shift(t), t->threads, LEVEL_THREAD},
        {dies ? cpu_topology_die_shift(t) : cpu_topology_socket_shift(t),
         dies ? t->cores * t->threads : cpu_topology_socket_cpus(t), LEVEL_CORE},
        {cpu_topology_socket_shift(t), cpu_topology_socket_cpus(t), LEVEL_DIE},
        {0, 0, 0},
    };

    for (uint32_t sub = 0; sub < G_N_ELEMENTS(levels); sub++) {
        struct kvm_cpuid_entry2 *e = leaf_add(list, function, sub, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
        const bool there = sub < (dies ? 3 : 2);

        e->eax = there ? levels[sub].shift : 0;
        e->ebx = there ? levels[sub].cpus : 0;
        e->ecx = sub | (there ? levels[sub].type << 8 : 0);
        e->edx = id;
    }
}

/* Words the model decides, in a leaf. */
static void leaf_features(const CpuidSpec *spec, struct kvm_cpuid_entry2 *e)
{
    for (unsigned word = 0; word < KVM_F_COUNT; word++) {
        const CpuidWord *w = &cpuid_words[word];

        if (w->function == e->function && w->index == e->index) {
            *entry_reg(e, w->reg) = spec->features[word];
        }
    }
}

static struct kvm_cpuid2 *cpuid_build(const KvmAccel *kvm, const CpuidSpec *spec, const CpuTopology *t, uint32_t id)
{
    struct kvm_cpuid2 *list =
        g_malloc0(sizeof(*list) + (kvm->supported->nent + 16) * sizeof(list->entries[0]));
    bool xsave = spec->features[KVM_F_1_ECX] >> 26 & 1;

    for (unsigned i = 0; i < kvm->supported->nent; i++) {
        const struct kvm_cpuid_entry2 *from = &kvm->supported->entries[i];
        struct kvm_cpuid_entry2 *e;

        if (!leaf_is_wanted(spec, from->function) || (from->function == 0xd && !xsave)) {
            continue;
        }
        if (from->function == 0xb || from->function == 0x1f) {
            if (from->index == 0) {
                leaves_extended_topology(list, from->function, t, id);
            }
            continue;
        }
        e = leaf_add(list, from->function, from->index, from->flags);
        *e = *from;
        if (spec->model) {
            leaf_model(spec->model, e);
        }
        leaf_features(spec, e);
        leaf_topology(e, t, id);
    }
    return list;
}

bool kvm_cpuid_set(KvmVcpu *v, GError **error)
{
    KvmAccel *kvm = kvm_accel(v);
    const Machine *m = kvm->accel.machine;
    const CpuTopology topology = machine_topology(m);
    g_autoptr(GString) missing = g_string_new(NULL);
    g_autofree struct kvm_cpuid2 *list = NULL;
    CpuidSpec spec;

    if (!spec_parse(kvm, m->cpu_model, &spec, missing, error)) {
        g_prefix_error(error, "-cpu %s: ", m->cpu_model);
        return false;
    }
    if (missing->len && v->thread.vcpu.index == 0) {
        g_printerr("%s: warning: -cpu %s: the host does not support %s; the guest goes without\n", g_get_prgname(), m->cpu_model, missing->str);
    }
    list = cpuid_build(kvm, &spec, &topology, cpu_topology_apic_id(&topology, v->thread.vcpu.index));
    if (ioctl(v->fd, KVM_SET_CPUID2, list)) {
        error_set_errno(error, errno, "-cpu %s: KVM does not take the CPU", m->cpu_model);
        return false;
    }
    return true;
}
