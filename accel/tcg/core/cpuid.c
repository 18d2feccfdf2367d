/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU models and the CPUID instruction (SDM vol. 2, CPUID; AMD APM vol. 3, appendix E). */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "accel/tcg/core/state.h"

typedef struct Feature {
    const char *name;
    uint8_t word, bit;
    bool in_qemu64;
} Feature;

/* Everything this CPU implements; `max` has all. */
static const Feature features[] = {
    {"fpu", X86_F_1_EDX, 0, true},      {"de", X86_F_1_EDX, 2, true},       {"pse", X86_F_1_EDX, 3, true},
    {"tsc", X86_F_1_EDX, 4, true},      {"msr", X86_F_1_EDX, 5, true},      {"pae", X86_F_1_EDX, 6, true},
    {"mce", X86_F_1_EDX, 7, true},      {"cx8", X86_F_1_EDX, 8, true},      {"apic", X86_F_1_EDX, 9, true},
    {"sep", X86_F_1_EDX, 11, true},     {"mtrr", X86_F_1_EDX, 12, true},    {"pge", X86_F_1_EDX, 13, true},
    {"mca", X86_F_1_EDX, 14, true},     {"cmov", X86_F_1_EDX, 15, true},    {"pat", X86_F_1_EDX, 16, true},
    {"pse36", X86_F_1_EDX, 17, true},   {"clflush", X86_F_1_EDX, 19, true}, {"mmx", X86_F_1_EDX, 23, true},
    {"fxsr", X86_F_1_EDX, 24, true},    {"sse", X86_F_1_EDX, 25, true},     {"sse2", X86_F_1_EDX, 26, true},
    {"sse3", X86_F_1_ECX, 0, true},     {"pclmulqdq", X86_F_1_ECX, 1},      {"ssse3", X86_F_1_ECX, 9},
    {"cx16", X86_F_1_ECX, 13, true},    {"pcid", X86_F_1_ECX, 17},          {"sse4.1", X86_F_1_ECX, 19},
    {"sse4.2", X86_F_1_ECX, 20},        {"x2apic", X86_F_1_ECX, 21},        {"movbe", X86_F_1_ECX, 22},
    {"popcnt", X86_F_1_ECX, 23},        {"tsc-deadline", X86_F_1_ECX, 24},  {"aes", X86_F_1_ECX, 25},
    {"xsave", X86_F_1_ECX, 26},         {"rdrand", X86_F_1_ECX, 30},        {"hypervisor", X86_F_1_ECX, 31, true},
    {"fsgsbase", X86_F_7_EBX, 0},       {"bmi1", X86_F_7_EBX, 3},           {"smep", X86_F_7_EBX, 7},
    {"bmi2", X86_F_7_EBX, 8},           {"erms", X86_F_7_EBX, 9},           {"rdseed", X86_F_7_EBX, 18},
    {"invpcid", X86_F_7_EBX, 10},
    {"adx", X86_F_7_EBX, 19},           {"smap", X86_F_7_EBX, 20},          {"umip", X86_F_7_ECX, 2},
    {"xsaveopt", X86_F_D1_EAX, 0},      {"syscall", X86_F_8_EDX, 11, true}, {"nx", X86_F_8_EDX, 20, true},
    {"pdpe1gb", X86_F_8_EDX, 26},       {"rdtscp", X86_F_8_EDX, 27},        {"lm", X86_F_8_EDX, 29, true},
    {"lahf-lm", X86_F_8_ECX, 0, true},  {"cr8legacy", X86_F_8_ECX, 4},      {"abm", X86_F_8_ECX, 5},
    {"topoext", X86_F_8_ECX, 22},
};

/* Other spellings. */
static const struct {
    const char *name, *feature;
} aliases[] = {
    {"pni", "sse3"}, {"sse4-1", "sse4.1"}, {"sse4-2", "sse4.2"}, {"pclmuldq", "pclmulqdq"}, {"xd", "nx"}, {"i64", "lm"},
    {"lzcnt", "abm"}, {"fxsave", "fxsr"}, {"invariant-tsc", "invtsc"},
};

/* Names that exist but that this CPU does not implement: they can be switched off, not on. */
static const char *const not_implemented[] = {
    "vme", "acpi", "ss", "ht", "tm", "pbe", "pn", "dtes64", "monitor", "ds-cpl", "vmx", "smx", "est", "tm2", "cid", "fma", "pdcm",
    "dca", "osxsave", "avx", "f16c", "hle", "avx2", "rtm", "mpx", "avx512f", "avx512dq", "avx512bw", "avx512cd",
    "avx512vl", "clflushopt", "clwb", "sha-ni", "pku", "la57", "rdpid", "serialize", "fsrm", "spec-ctrl", "ssbd", "stibp",
    "arch-capabilities", "xsavec", "xgetbv1", "xsaves", "mmxext", "fxsr-opt", "3dnow", "3dnowext", "3dnowprefetch", "svm",
    "sse4a", "misalignsse", "osvw", "ibs", "xop", "wdt", "fma4", "invtsc", "arat", "npt", "tsc-adjust",
    "gfni", "vaes", "vpclmulqdq", "movdiri", "movdir64b", "clzero", "wbnoinvd", "ibpb",
};

struct X86CpuModel {
    const char *name;
    const char *brand;
    uint32_t signature;
    bool all; /* features; else those marked in the table */
};

static const struct X86CpuModel models[] = {
    {"qemu64", "QEMU Virtual CPU version 2.5+", 0x00060fb1, false},
    {"max", "mpqemu TCG CPU version 2.5+", 0x00000663, true},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *x86_cpu_model_name(size_t index)
{
    return index < COUNT(models) ? models[index].name : NULL;
}

const char *x86_cpu_feature_name(size_t index)
{
    return index < COUNT(features) ? features[index].name : NULL;
}

bool x86_has_feature(const X86Cpu *cpu, unsigned word, unsigned bit)
{
    return cpu->features[word] >> bit & 1;
}

/* Where each kind of vector instruction has its bit. */
static const struct {
    uint8_t word, bit;
} simd_features[] = {
    [X86_SIMD_FEAT_MMX] = {X86_F_1_EDX, 23},   [X86_SIMD_FEAT_SSE] = {X86_F_1_EDX, 25},
    [X86_SIMD_FEAT_SSE2] = {X86_F_1_EDX, 26},  [X86_SIMD_FEAT_SSE3] = {X86_F_1_ECX, 0},
    [X86_SIMD_FEAT_SSSE3] = {X86_F_1_ECX, 9},  [X86_SIMD_FEAT_SSE41] = {X86_F_1_ECX, 19},
    [X86_SIMD_FEAT_SSE42] = {X86_F_1_ECX, 20}, [X86_SIMD_FEAT_AES] = {X86_F_1_ECX, 25},
    [X86_SIMD_FEAT_PCLMUL] = {X86_F_1_ECX, 1},
};

bool x86_has_simd(const X86Cpu *cpu, unsigned feature)
{
    return x86_has_feature(cpu, simd_features[feature].word, simd_features[feature].bit);
}

/* What the host cannot execute is not there. */
static bool host_has(const Feature *feature)
{
    for (unsigned i = 0; i < COUNT(simd_features); i++) {
        if (simd_features[i].word == feature->word && simd_features[i].bit == feature->bit) {
            return x86_simd_feature_available(i);
        }
    }
    return true;
}

/* --- names --- */

/* Compares a name of the command line; '_' is '-'. */
static bool same_name(const char *name, const char *text, size_t len)
{
    size_t i = 0;

    while (i < len && name[i] && (text[i] == '_' ? '-' : text[i]) == name[i]) {
        i++;
    }
    return i == len && !name[i];
}

static const Feature *find_feature(const char *text, size_t len)
{
    for (size_t i = 0; i < COUNT(aliases); i++) {
        if (same_name(aliases[i].name, text, len)) {
            text = aliases[i].feature;
            len = strlen(text);
            break;
        }
    }
    for (size_t i = 0; i < COUNT(features); i++) {
        if (same_name(features[i].name, text, len)) {
            return &features[i];
        }
    }
    return NULL;
}

static bool is_not_implemented(const char *text, size_t len)
{
    for (size_t i = 0; i < COUNT(not_implemented); i++) {
        if (same_name(not_implemented[i], text, len)) {
            return true;
        }
    }
    return false;
}

enum { NAME_MAX_LEN = 40 };

/* Levenshtein's distance. */
static unsigned name_distance(const char *name, const char *text, size_t len)
{
    unsigned row[NAME_MAX_LEN + 1], size = (unsigned)strlen(name);

    for (unsigned j = 0; j <= size; j++) {
        row[j] = j;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned diagonal = row[0]++;

        for (unsigned j = 0; j < size; j++) {
            unsigned cost = diagonal + (name[j] != text[i]), above = row[j + 1];

            diagonal = above;
            cost = above + 1 < cost ? above + 1 : cost;
            row[j + 1] = row[j] + 1 < cost ? row[j] + 1 : cost;
        }
    }
    return row[size];
}

/* NULL: none is near. */
static const char *nearest_feature(const char *text, size_t len)
{
    const char *best = features[0].name;

    for (size_t i = 1; i < COUNT(features); i++) {
        if (name_distance(features[i].name, text, len) < name_distance(best, text, len)) {
            best = features[i].name;
        }
    }
    return name_distance(best, text, len) <= (len + 1) / 3 ? best : NULL;
}

__attribute__((format(printf, 1, 2))) static char *model_error(const char *format, ...)
{
    char *error = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&error, format, args) < 0) {
        error = NULL;
    }
    va_end(args);
    return error;
}

static char *model_unknown(const char *text, int len)
{
    if (len == 4 && !strncmp(text, "host", 4)) {
        return model_error("model 'host' needs accel=kvm: this CPU is software; take 'max', which has all it can do");
    }
    return model_error("unknown model '%.*s', there are %s and %s", len, text, models[0].name, models[1].name);
}

/* --- -cpu MODEL,+feature,-feature,feature=on|off --- */

/* One item behind the model; false with *error set. */
static bool set_feature(X86Cpu *cpu, const char *text, size_t len, char **error)
{
    bool sign = len && (*text == '+' || *text == '-'), on = !len || *text != '-';
    size_t name_len;
    const char *val;
    const Feature *feature;

    text += sign;
    len -= sign;
    name_len = strcspn(text, ",=");
    val = text + name_len;
    if (name_len > NAME_MAX_LEN) {
        *error = model_error("'%.*s' is no feature: names have at most %d characters", NAME_MAX_LEN, text, NAME_MAX_LEN);
        return false;
    }
    if (name_len < len) {
        bool is_on = len - name_len == 3 && !strncmp(val, "=on", 3), is_off = len - name_len == 4 && !strncmp(val, "=off", 4);

        if (sign || (!is_on && !is_off)) {
            *error = model_error("'%.*s': a feature is +NAME, -NAME, NAME=on or NAME=off", (int)len, text);
            return false;
        }
        on = is_on;
    }
    feature = find_feature(text, name_len);
    if (!feature && is_not_implemented(text, name_len)) {
        if (on) {
            *error = model_error("feature '%.*s' is not implemented by accel tcg", (int)name_len, text);
        }
        return !on;
    }
    if (!feature) {
        const char *nearest = nearest_feature(text, name_len);

        *error = nearest ? model_error("unknown feature '%.*s', did you mean '%s'", (int)name_len, text, nearest)
                         : model_error("unknown feature '%.*s'", (int)name_len, text);
        return false;
    }
    if (on && !host_has(feature)) {
        *error = model_error("feature '%s' needs a host processor that has it", feature->name);
        return false;
    }
    cpu->features[feature->word] &= ~(UINT64_C(1) << feature->bit);
    cpu->features[feature->word] |= (uint64_t)on << feature->bit;
    return true;
}

bool x86_model_init(X86Cpu *cpu, const char *text, char **error)
{
    size_t len = strcspn(text, ",");

    for (size_t i = 0; i < COUNT(models); i++) {
        if (strlen(models[i].name) == len && !strncmp(models[i].name, text, len)) {
            cpu->model = &models[i];
        }
    }
    if (!cpu->model) {
        *error = model_unknown(text, len > NAME_MAX_LEN ? NAME_MAX_LEN : (int)len);
        return false;
    }
    for (size_t i = 0; i < COUNT(features); i++) {
        if ((cpu->model->all || features[i].in_qemu64) && host_has(&features[i])) {
            cpu->features[features[i].word] |= UINT64_C(1) << features[i].bit;
        }
    }
    for (text += len; *text == ','; text += len) {
        text++;
        len = strcspn(text, ",");
        if (!set_feature(cpu, text, len, error)) {
            return false;
        }
    }
    return true;
}

uint32_t x86_model_signature(const X86Cpu *cpu)
{
    return cpu->model->signature;
}

/* --- the instruction --- */

enum { FEATURE_TOPOEXT = 22, CMP_LEGACY = 1 << 1 /* HTT means cores */ };

static void set_string(uint32_t *regs, const char *text, size_t offset, const int order[], int n)
{
    char padded[64] = {0};

    snprintf(padded, sizeof(padded), "%s", text);
    for (int i = 0; i < n; i++) {
        memcpy(&regs[order[i]], padded + offset + 4 * (size_t)i, 4);
    }
}

/* How many low bits of the APIC id number n things. */
static uint32_t id_bits(unsigned n)
{
    return n > 1 ? 32u - (uint32_t)__builtin_clz(n - 1) : 0;
}

/* How the CPUs of a socket lie; ids are as wide as they need. */
typedef struct Levels {
    unsigned threads, cores, dies, cpus; /* of a core, of a die, of the socket; all of it */
    unsigned core_shift, die_shift, socket_shift;
} Levels;

static Levels levels_of(const X86Cpu *cpu)
{
    const X86CpuConfig *c = &cpu->config;
    Levels l = {.threads = c->threads ? c->threads : 1, .cores = c->cores ? c->cores : 1, .dies = c->dies ? c->dies : 1};

    l.cpus = l.threads * l.cores * l.dies;
    l.core_shift = id_bits(l.threads);
    l.die_shift = l.core_shift + id_bits(l.cores);
    l.socket_shift = l.die_shift + id_bits(l.dies);
    return l;
}

/* Leaves 0Bh (threads and cores) and 1Fh (dies too; SDM vol. 2, CPUID). */
static void leaf_topology(const X86Cpu *cpu, bool dies, uint32_t sub, uint32_t r[4])
{
    enum { LEVEL_THREAD = 1, LEVEL_CORE = 2, LEVEL_DIE = 5 };
    const Levels l = levels_of(cpu);
    const struct {
        uint32_t shift, cpus, type;
    } levels[] = {
        {l.core_shift, l.threads, LEVEL_THREAD},
        {dies ? l.die_shift : l.socket_shift, dies ? l.cores * l.threads : l.cpus, LEVEL_CORE},
        {l.socket_shift, l.cpus, LEVEL_DIE},
    };

    if (sub < (dies ? 3u : 2u)) {
        r[0] = levels[sub].shift;
        r[1] = levels[sub].cpus;
        r[2] = levels[sub].type << 8;
    }
    r[2] |= sub & 0xff;
    r[3] = cpu->config.apic_id;
}

/* Leaves 4 and 8000001Dh: the caches of leaves 80000005h and 80000006h; each core has its own. */
static void leaf_cache(const X86Cpu *cpu, uint32_t sub, uint32_t r[4])
{
    enum { CACHE_DATA = 1, CACHE_CODE = 2, CACHE_BOTH = 3, SELF_INITIALISING = 1 << 8, LINE = 64 };
    static const struct {
        uint32_t type, level, kib, ways;
    } caches[] = {{CACHE_DATA, 1, 64, 2}, {CACHE_CODE, 1, 64, 2}, {CACHE_BOTH, 2, 512, 4}};

    if (sub < COUNT(caches)) {
        r[0] = caches[sub].type | caches[sub].level << 5 | SELF_INITIALISING | (levels_of(cpu).threads - 1) << 14;
        r[1] = (LINE - 1) | (caches[sub].ways - 1) << 22;
        r[2] = caches[sub].kib * 1024 / (LINE * caches[sub].ways) - 1;
    }
}

/* 8000001Eh (AMD APM vol. 3, E.4.16). */
static void leaf_ids(const X86Cpu *cpu, uint32_t r[4])
{
    const Levels l = levels_of(cpu);
    uint32_t id = cpu->config.apic_id;

    r[0] = id;
    r[1] = (l.threads - 1) << 8 | ((id & ((1u << l.die_shift) - 1)) >> l.core_shift & 0xff);
    r[2] = (l.dies - 1) << 8 | ((id & ((1u << l.socket_shift) - 1)) >> l.die_shift & 0xff);
}

static void leaf_xsave(const X86Cpu *cpu, uint32_t sub, uint32_t r[4])
{
    uint64_t supported = x86_xsave_supported(cpu);

    if (!supported) {
        return;
    }
    if (sub == 0) {
        r[0] = (uint32_t)supported;
        r[1] = x86_xsave_bytes(cpu->xcr0);
        r[2] = x86_xsave_bytes(supported);
        r[3] = (uint32_t)(supported >> 32);
    } else if (sub == 1) {
        r[0] = (uint32_t)cpu->features[X86_F_D1_EAX];
    }
}

/* Leaf 1Fh is there to tell of dies. */
static uint32_t highest_basic(const X86Cpu *cpu)
{
    return levels_of(cpu).dies > 1 ? 0x1f : 0xd;
}

static uint32_t highest_extended(const X86Cpu *cpu)
{
    return x86_has_feature(cpu, X86_F_8_ECX, FEATURE_TOPOEXT) ? 0x8000001e : 0x80000008;
}

static void leaf_basic(const X86Cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
    static const int vendor_order[] = {1, 3, 2};
    const Levels l = levels_of(cpu);

    switch (leaf) {
    case 0:
        r[0] = highest_basic(cpu);
        set_string(r, "AuthenticAMD", 0, vendor_order, 3);
        break;
    case 1:
        r[0] = cpu->model->signature;
        r[1] = cpu->config.apic_id << 24 | (l.cpus & 0xff) << 16 | 8 << 8;
        r[2] = (uint32_t)cpu->features[X86_F_1_ECX] | (cpu->cr4 & X86_CR4_OSXSAVE ? 1u << 27 : 0);
        r[3] = (uint32_t)cpu->features[X86_F_1_EDX] | (l.cpus > 1 ? 1u << 28 : 0);
        if (!(cpu->bus->get_apic_base(cpu->opaque) & 0x800)) {
            r[3] &= ~(1u << 9);
        }
        break;
    case 4:
        leaf_cache(cpu, sub, r);
        r[0] |= r[0] ? (l.dies * l.cores < 64 ? l.dies * l.cores - 1 : 63u) << 26 : 0;
        break;
    case 7:
        r[1] = sub == 0 ? (uint32_t)cpu->features[X86_F_7_EBX] : 0;
        r[2] = sub == 0 ? (uint32_t)cpu->features[X86_F_7_ECX] : 0;
        break;
    case 0xb:
        leaf_topology(cpu, false, sub, r);
        break;
    case 0x1f:
        leaf_topology(cpu, true, sub, r);
        break;
    case 0xd:
        leaf_xsave(cpu, sub, r);
        break;
    default:
        break;
    }
}

static void leaf_extended(const X86Cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
    static const int vendor_order[] = {1, 3, 2}, brand_order[] = {0, 1, 2, 3};
    const Levels l = levels_of(cpu);

    switch (leaf) {
    case 0x80000000:
        r[0] = highest_extended(cpu);
        set_string(r, "AuthenticAMD", 0, vendor_order, 3);
        break;
    case 0x80000001:
        r[0] = cpu->model->signature;
        r[2] = (uint32_t)cpu->features[X86_F_8_ECX] | (l.cpus > 1 ? CMP_LEGACY : 0);
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
        r[0] = 48 << 8 | X86_PHYS_BITS;
        r[2] = l.socket_shift << 12 | (l.cpus - 1);
        break;
    case 0x8000001d:
        leaf_cache(cpu, sub, r);
        break;
    case 0x8000001e:
        leaf_ids(cpu, r);
        break;
    default:
        break;
    }
}

void x86_cpuid(X86Cpu *cpu)
{
    uint32_t leaf = (uint32_t)cpu->gpr[X86_RAX], sub = (uint32_t)cpu->gpr[X86_RCX];
    uint32_t r[4] = {0}; /* EAX EBX ECX EDX */

    if (leaf >= 0x80000000 && leaf <= highest_extended(cpu)) {
        leaf_extended(cpu, leaf, sub, r);
    } else {
        leaf_basic(cpu, leaf > highest_basic(cpu) ? 0xd : leaf, sub, r); /* above the highest: what the highest basic leaf says */
    }
    cpu->gpr[X86_RAX] = r[0];
    cpu->gpr[X86_RBX] = r[1];
    cpu->gpr[X86_RCX] = r[2];
    cpu->gpr[X86_RDX] = r[3];
}
