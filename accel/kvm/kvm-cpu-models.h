/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of CPU features and models, for -cpu under KVM. */
#ifndef ACCEL_KVM_KVM_CPU_MODELS_H
#define ACCEL_KVM_KVM_CPU_MODELS_H

#include <stdbool.h>
#include <stdint.h>

/* Words of features; by CPUID leaf, subleaf and register. */
enum {
    KVM_F_1_EDX,
    KVM_F_1_ECX,
    KVM_F_6_EAX,
    KVM_F_7_EBX,
    KVM_F_7_ECX,
    KVM_F_7_EDX,
    KVM_F_7_1_EAX,
    KVM_F_D_1_EAX,
    KVM_F_8_1_EDX,
    KVM_F_8_1_ECX,
    KVM_F_8_7_EDX,
    KVM_F_8_8_EBX,
    KVM_F_8_A_EDX,
    KVM_F_8_21_EAX,
    KVM_F_KVM, /* leaf 40000001h */
    KVM_F_COUNT
};

/* Of KVM_F_KVM: page faults and spin locks that are told by interrupts of the kernel's local APIC. */
#define KVM_F_KVM_NEEDS_APIC (1u << 4 | 1u << 6 | 1u << 7 | 1u << 10 | 1u << 11 | 1u << 13 | 1u << 14 | 1u << 15)

typedef struct KvmFeature {
    unsigned word, bit;
} KvmFeature;

typedef struct KvmCpuModel {
    const char *name, *brand;
    uint32_t signature; /* CPUID 1 EAX */
    uint32_t features[KVM_F_COUNT];
} KvmCpuModel;

/* By name ('_' is '-'); false: there is none. */
bool kvm_feature_find(const char *text, KvmFeature *feature);
/* g_free; NULL: the bit has no name. */
char *kvm_feature_name(KvmFeature feature);
/* NULL: there is none of that name. */
const KvmCpuModel *kvm_cpu_model_find(const char *name);
/* All of them, for messages; g_free. */
char *kvm_cpu_model_names(void);

#endif
