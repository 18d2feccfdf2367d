/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of CPU features, as the command line knows them, and the models that can be asked for by name (Intel SDM vol.
 * 2, CPUID; AMD APM vol. 3, appendix E).
 */
#include "kvm-cpu-models.h"

#include <glib.h>
#include <string.h>

/* Names of a word's bits, from bit 0; "-": no name. */
static const char *const word_names[KVM_F_COUNT] = {
    [KVM_F_1_EDX] =
        "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - "
        "ds acpi mmx fxsr sse sse2 ss ht tm ia64 pbe",
    [KVM_F_1_ECX] =
        "sse3 pclmulqdq dtes64 monitor ds-cpl vmx smx est tm2 ssse3 cid - fma cx16 xtpr pdcm - "
        "pcid dca sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave osxsave avx f16c "
        "rdrand hypervisor",
    [KVM_F_6_EAX] =
        "- - arat",
    [KVM_F_7_EBX] =
        "fsgsbase tsc-adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm - - mpx - avx512f "
        "avx512dq rdseed adx smap avx512ifma pcommit clflushopt clwb intel-pt avx512pf avx512er "
        "avx512cd sha-ni avx512bw avx512vl",
    [KVM_F_7_ECX] =
        "- avx512vbmi umip pku ospke waitpkg avx512vbmi2 - gfni vaes vpclmulqdq avx512vnni "
        "avx512bitalg - avx512-vpopcntdq - la57 - - - - - rdpid - bus-lock-detect cldemote - "
        "movdiri movdir64b - sgxlc pks",
    [KVM_F_7_EDX] =
        "- - avx512-4vnniw avx512-4fmaps fsrm - - - avx512-vp2intersect - md-clear - - - "
        "serialize - tsx-ldtrk - - arch-lbr - - amx-bf16 avx512-fp16 amx-tile amx-int8 spec-ctrl "
        "stibp - arch-capabilities core-capability ssbd",
    [KVM_F_7_1_EAX] =
        "- - - - avx-vnni avx512-bf16 - - - - fzrm fsrs fsrc - - - - - - - - amx-fp16 - avx-ifma",
    [KVM_F_D_1_EAX] =
        "xsaveopt xsavec xgetbv1 xsaves xfd",
    [KVM_F_8_1_EDX] =
        "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr-opt pdpe1gb rdtscp - "
        "lm 3dnowext 3dnow",
    [KVM_F_8_1_ECX] =
        "lahf-lm cmp-legacy svm extapic cr8legacy abm sse4a misalignsse 3dnowprefetch osvw ibs "
        "xop skinit wdt - lwp fma4 tce - nodeid-msr - tbm topoext perfctr-core perfctr-nb",
    [KVM_F_8_7_EDX] =
        "- - - - - - - - invtsc",
    [KVM_F_8_8_EBX] =
        "clzero - xsaveerptr - - - - - - wbnoinvd - - ibpb - ibrs amd-stibp - stibp-always-on - - "
        "- - - - amd-ssbd virt-ssbd amd-no-ssb - amd-psfd",
    [KVM_F_8_A_EDX] =
        "npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists - - "
        "pause-filter - pfthreshold avic - v-vmsave-vmload vgif",
    [KVM_F_8_21_EAX] =
        "no-nested-data-bp - lfence-always-serializing - - - null-sel-clr-base - auto-ibrs",
    [KVM_F_KVM] =
        "kvmclock kvm-nopiodelay kvm-mmu kvmclock2 kvm-asyncpf kvm-steal-time kvm-pv-eoi "
        "kvm-pv-unhalt - kvm-pv-tlb-flush kvm-asyncpf-vmexit kvm-pv-ipi kvm-poll-control "
        "kvm-pv-sched-yield kvm-asyncpf-int kvm-msi-ext-dest-id - - - - - - - - "
        "kvmclock-stable-bit",
};

/* Other spellings. */
static const struct {
    const char *name, *feature;
} aliases[] = {
    {"pni", "sse3"},       {"sse4-1", "sse4.1"}, {"sse4-2", "sse4.2"}, {"pclmuldq", "pclmulqdq"}, {"xd", "nx"},
    {"i64", "lm"},         {"lzcnt", "abm"},     {"ffxsr", "fxsr-opt"}, {"nodeid", "nodeid-msr"},
    {"fxsave", "fxsr"},    {"invariant-tsc", "invtsc"},
};

static const KvmCpuModel models[] = {
    {.name = "qemu64",
     .brand = "QEMU Virtual CPU version 2.5+",
     .signature = 0x60fb1,
     .features = {[KVM_F_1_EDX] = 0x078bfbfd, [KVM_F_1_ECX] = 0x00002001, [KVM_F_8_1_EDX] = 0x20100800,
                  [KVM_F_8_1_ECX] = 0x00000001}},
    {.name = "kvm64",
     .brand = "Common KVM processor",
     .signature = 0xf61,
     .features = {[KVM_F_1_EDX] = 0x078bfbff, [KVM_F_1_ECX] = 0x00002001, [KVM_F_8_1_EDX] = 0x20100800}},
    {.name = "Nehalem",
     .brand = "Intel Core i7 9xx (Nehalem Class Core i7)",
     .signature = 0x106a3,
     .features = {[KVM_F_1_EDX] = 0x078bfbff, [KVM_F_1_ECX] = 0x00982201, [KVM_F_8_1_EDX] = 0x20100800,
                  [KVM_F_8_1_ECX] = 0x00000001}},
    {.name = "SandyBridge",
     .brand = "Intel Xeon E312xx (Sandy Bridge)",
     .signature = 0x206a1,
     .features = {[KVM_F_1_EDX] = 0x078bfbff, [KVM_F_1_ECX] = 0x17b82203, [KVM_F_6_EAX] = 0x00000004,
                  [KVM_F_D_1_EAX] = 0x00000001, [KVM_F_8_1_EDX] = 0x28100800, [KVM_F_8_1_ECX] = 0x00000001}},
    {.name = "Haswell",
     .brand = "Intel Core Processor (Haswell)",
     .signature = 0x306c4,
     .features = {[KVM_F_1_EDX] = 0x078bfbff, [KVM_F_1_ECX] = 0x77fa3203, [KVM_F_6_EAX] = 0x00000004,
                  [KVM_F_7_EBX] = 0x00000fb9, [KVM_F_D_1_EAX] = 0x00000001, [KVM_F_8_1_EDX] = 0x28100800,
                  [KVM_F_8_1_ECX] = 0x00000021}},
    {.name = "Skylake-Client",
     .brand = "Intel Core Processor (Skylake)",
     .signature = 0x506e3,
     .features = {[KVM_F_1_EDX] = 0x078bfbff, [KVM_F_1_ECX] = 0x77fa3203, [KVM_F_6_EAX] = 0x00000004,
                  [KVM_F_7_EBX] = 0x001c0fb9, [KVM_F_D_1_EAX] = 0x00000007, [KVM_F_8_1_EDX] = 0x28100800,
                  [KVM_F_8_1_ECX] = 0x00000121}},
    {.name = "EPYC",
     .brand = "AMD EPYC Processor",
     .signature = 0x800f12,
     .features = {[KVM_F_1_EDX] = 0x078bfbff, [KVM_F_1_ECX] = 0x76d83203, [KVM_F_6_EAX] = 0x00000004,
                  [KVM_F_7_EBX] = 0x209c01a9, [KVM_F_D_1_EAX] = 0x00000007, [KVM_F_8_1_EDX] = 0x2e500800,
                  [KVM_F_8_1_ECX] = 0x000003f1}},
};

/* The n-th word of names, and its length; NULL: the list is over. */
static const char *word_name(unsigned word, unsigned n, size_t *len)
{
    const char *name = word_names[word];

    for (; n && *name; n--) {
        name += strcspn(name, " ");
        name += *name == ' ';
    }
    *len = strcspn(name, " ");
    return *len ? name : NULL;
}

static bool same_name(const char *name, size_t len, const char *text)
{
    size_t i = 0;

    while (i < len && (text[i] == '_' ? '-' : text[i]) == name[i]) {
        i++;
    }
    return i == len && !text[i];
}

bool kvm_feature_find(const char *text, KvmFeature *feature)
{
    for (size_t i = 0; i < G_N_ELEMENTS(aliases); i++) {
        if (same_name(aliases[i].name, strlen(aliases[i].name), text)) {
            text = aliases[i].feature;
        }
    }
    for (unsigned word = 0; word < KVM_F_COUNT; word++) {
        const char *name;
        size_t len;

        for (unsigned bit = 0; (name = word_name(word, bit, &len)); bit++) {
            if (*name != '-' && same_name(name, len, text)) {
                *feature = (KvmFeature){word, bit};
                return true;
            }
        }
    }
    return false;
}

char *kvm_feature_name(KvmFeature feature)
{
    size_t len;
    const char *name = word_name(feature.word, feature.bit, &len);

    return name && *name != '-' ? g_strndup(name, len) : NULL;
}

const KvmCpuModel *kvm_cpu_model_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(models); i++) {
        if (!strcmp(models[i].name, name)) {
            return &models[i];
        }
    }
    return NULL;
}

char *kvm_cpu_model_names(void)
{
    GString *names = g_string_new("host, max");

    for (size_t i = 0; i < G_N_ELEMENTS(models); i++) {
        g_string_append_printf(names, ", %s", models[i].name);
    }
    return g_string_free(names, FALSE);
}
