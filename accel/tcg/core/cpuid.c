/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU models and the CPUID instruction (SDM vol. 2, CPUID; AMD APM vol. 3, appendix E). */
#include <stdio.h>
#include <stdlib.h>

#include "accel/tcg/core/state.h"

typedef struct Feature {
    const char *name;
    uint8_t word, bit;
} Feature;

/* Everything this CPU implements; `max` has all, qemu64 those marked in its mask. */
static const Feature features[] = {
    {"fpu", X86_F_1_EDX, 0}, {"de", X86_F_1_EDX, 2}, {"pse", X86_F_1_EDX, 3}, {"tsc", X86_F_1_EDX, 4}, {"msr", X86_F_1_EDX, 5},
    {"pae", X86_F_1_EDX, 6}, {"mce", X86_F_1_EDX, 7}, {"cx8", X86_F_1_EDX, 8}, {"apic", X86_F_1_EDX, 9}, {"sep", X86_F_1_EDX, 11},
    {"mtrr", X86_F_1_EDX, 12}, {"pge", X86_F_1_EDX, 13}, {"mca", X86_F_1_EDX, 14}, {"cmov", X86_F_1_EDX, 15}, {"pat", X86_F_1_EDX, 16},
    {"pse36", X86_F_1_EDX, 17}, {"clflush", X86_F_1_EDX, 19}, {"mmx", X86_F_1_EDX, 23}, {"fxsr", X86_F_1_EDX, 24},
    {"sse", X86_F_1_EDX, 25}, {"sse2", X86_F_1_EDX, 26},
    {"sse3", X86_F_1_ECX, 0}, {"pclmulqdq", X86_F_1_ECX, 1}, {"pcid", X86_F_1_ECX, 17}, {"ssse3", X86_F_1_ECX, 9}, {"cx16", X86_F_1_ECX, 13},
    {"sse4.1", X86_F_1_ECX, 19}, {"sse4.2", X86_F_1_ECX, 20}, {"x2apic", X86_F_1_ECX, 21}, {"movbe", X86_F_1_ECX, 22},
    {"popcnt", X86_F_1_ECX, 23}, {"tsc-deadline", X86_F_1_ECX, 24}, {"aes", X86_F_1_ECX, 25}, {"rdrand", X86_F_1_ECX, 30},
    {"hypervisor", X86_F_1_ECX, 31},
    {"fsgsbase", X86_F_7_EBX, 0}, {"smep", X86_F_7_EBX, 7}, {"erms", X86_F_7_EBX, 9}, {"rdseed", X86_F_7_EBX, 18},
    {"adx", X86_F_7_EBX, 19}, {"smap", X86_F_7_EBX, 20},
    {"umip", X86_F_7_ECX, 2}, {"syscall", X86_F_8_EDX, 11}, {"nx", X86_F_8_EDX, 20}, {"pdpe1gb", X86_F_8_EDX, 26}, {"rdtscp", X86_F_8_EDX, 27}, {"lm", X86_F_8_EDX, 29},
    {"lahf-lm", X86_F_8_ECX, 0}, {"cr8legacy", X86_F_8_ECX, 4}, {"abm", X86_F_8_ECX, 5},
};

struct X86CpuModel {
    const char *name;
    const char *brand;
    uint32_t signature;
    const char *without; /* features of the table it lacks, comma-separated, each with commas around */
};

static const struct X86CpuModel models[] = {
    {"qemu64", "QEMU Virtual CPU version 2.5+", 0x000f61,
     ",pclmulqdq,pcid,umip,ssse3,sse4.1,sse4.2,x2apic,movbe,popcnt,tsc-deadline,aes,rdrand,fsgsbase,smep,erms,rdseed,adx,smap,pdpe1gb,rdtscp,cr8legacy,abm,"},
    {"max", "mpqemu TCG CPU", 0x000f61, ","},
};

const char *x86_cpu_model_name(size_t index)
{
    return index < sizeof(models) / sizeof(models[0]) ? models[index].name : NULL;
}

bool x86_has_feature(const X86Cpu *cpu, unsigned word, unsigned bit)
{
    return cpu->features[word] >> bit & 1;
}

static const Feature *find_feature(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        if (strlen(features[i].name) == len && !strncmp(features[i].name, name, len)) {
            return &features[i];
        }
    }
    return NULL;
}

static void set_model_features(X86Cpu *cpu)
{
    char key[32];

    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        snprintf(key, sizeof(key), ",%s,", features[i].name);
        if (!strstr(cpu->model->without, key)) {
            cpu->features[features[i].word] |= UINT64_C(1) << features[i].bit;
        }
    }
}

static char *model_error(const char *what, const char *text, size_t len)
{
    char *error = malloc(len + 160);

    sprintf(error, "-cpu: %s '%.*s'; -cpu help lists what there is", what, (int)len, text);
    return error;
}

bool x86_model_init(X86Cpu *cpu, const char *text, char **error)
{
    size_t len = strcspn(text, ",");
    const Feature *feature;

    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        if (strlen(models[i].name) == len && !strncmp(models[i].name, text, len)) {
            cpu->model = &models[i];
        }
    }
    if (!cpu->model) {
        *error = model_error("unknown model", text, len);
        return false;
    }
    set_model_features(cpu);
    for (text += len; *text == ','; text += len) {
        bool on = *++text != '-';
        size_t name_len;

        text += *text == '+' || *text == '-';
        len = strcspn(text, ",");
        name_len = strcspn(text, ",=");
        if (name_len < len) {
            on = !strncmp(text + name_len, "=on", 3);
        }
        feature = find_feature(text, name_len);
        if (!feature) {
            *error = model_error("unknown or unsupported feature", text, len);
            return false;
        }
        cpu->features[feature->word] &= ~(UINT64_C(1) << feature->bit);
        cpu->features[feature->word] |= (uint64_t)on << feature->bit;
    }
    return true;
}

static void set_string(uint32_t *regs, const char *text, size_t offset, const int order[], int n)
{
    char padded[64] = {0};

    snprintf(padded, sizeof(padded), "%s", text);
    for (int i = 0; i < n; i++) {
        memcpy(&regs[order[i]], padded + offset + 4 * (size_t)i, 4);
    }
}

void x86_cpuid(X86Cpu *cpu)
{
    static const int vendor_order[] = {1, 3, 2}, brand_order[] = {0, 1, 2, 3};
    uint32_t leaf = (uint32_t)cpu->gpr[X86_RAX], sub = (uint32_t)cpu->gpr[X86_RCX];
    uint32_t r[4] = {0}; /* EAX EBX ECX EDX */
    uint64_t base = cpu->bus->get_apic_base(cpu->opaque);
    unsigned threads = cpu->config.threads ? cpu->config.threads : 1, cores = cpu->config.cores ? cpu->config.cores : 1;

    if (leaf >= 0x80000000 ? leaf > 0x80000008 : leaf > 0xd) {
        leaf = 0xd; /* above the highest basic leaf */
        sub = 2;
    }
    switch (leaf) {
    case 0:
        r[0] = 0xd;
        set_string(r, "AuthenticAMD", 0, vendor_order, 3);
        break;
    case 1:
        r[0] = cpu->model->signature;
        r[1] = cpu->config.apic_id << 24 | (cores * threads & 0xff) << 16 | 8 << 8;
        r[2] = (uint32_t)cpu->features[X86_F_1_ECX];
        r[3] = (uint32_t)cpu->features[X86_F_1_EDX] | (cores * threads > 1 ? 1u << 28 : 0);
        if (!(base & 0x800)) {
            r[3] &= ~(1u << 9);
        }
        break;
    case 7:
        r[1] = sub == 0 ? (uint32_t)cpu->features[X86_F_7_EBX] : 0;
        r[2] = sub == 0 ? (uint32_t)cpu->features[X86_F_7_ECX] : 0;
        break;
    case 0xb:
        r[0] = sub == 0 ? (threads > 1) : sub == 1 ? 32u - (uint32_t)__builtin_clz(cores * threads > 1 ? cores * threads - 1 : 1) : 0;
        r[1] = sub == 0 ? threads : sub == 1 ? cores * threads : 0;
        r[2] = (sub & 0xff) | (sub < 2 ? (sub + 1) << 8 : 0);
        r[3] = cpu->config.apic_id;
        break;
    case 0x80000000:
        r[0] = 0x80000008;
        set_string(r, "AuthenticAMD", 0, vendor_order, 3);
        break;
    case 0x80000001:
        r[0] = cpu->model->signature;
        r[2] = (uint32_t)cpu->features[X86_F_8_ECX];
        r[3] = (uint32_t)cpu->features[X86_F_8_EDX] | ((uint32_t)cpu->features[X86_F_1_EDX] & 0x0183f3ff);
        break;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
        set_string(r, cpu->model->brand, 16 * (leaf - 0x80000002), brand_order, 4);
        break;
    case 0x80000005:
        r[2] = r[3] = 0x40020140; /* 64 KiB L1, 2 ways, 64-byte lines */
        break;
    case 0x80000006:
        r[2] = 0x02004140; /* 512 KiB L2 */
        break;
    case 0x80000008:
        r[0] = 0x3028; /* 40 physical, 48 linear address bits */
        r[2] = cores * threads - 1;
        break;
    default:
        break;
    }
    cpu->gpr[X86_RAX] = r[0];
    cpu->gpr[X86_RBX] = r[1];
    cpu->gpr[X86_RCX] = r[2];
    cpu->gpr[X86_RDX] = r[3];
}
