/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Model-specific registers: KVM says which are part of a vCPU's state; some hosts list registers and then refuse them.
 * Numbers are those of the Intel SDM, volume 4.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "core/error.h"
#include "kvm-internal.h"

#define MSR_IA32_TSC 0x10u

/* What has a place of its own in X86CpuState. */
static const struct {
    uint32_t index;
    size_t offset;
} named[] = {
#define FIELD(f) offsetof(X86CpuState, f)
    {0xc0000081, FIELD(star)},
    {0xc0000082, FIELD(lstar)},
    {0xc0000083, FIELD(cstar)},
    {0xc0000084, FIELD(fmask)},
    {0xc0000102, FIELD(kernel_gs_base)},
    {0xc0000103, FIELD(tsc_aux)},
    {0x277, FIELD(pat)},
    {0x174, FIELD(sysenter_cs)},
    {0x175, FIELD(sysenter_esp)},
    {0x176, FIELD(sysenter_eip)},
    {0x1a0, FIELD(misc_enable)},
    {0x2ff, FIELD(mtrr_def_type)},
    {0x250, FIELD(mtrr_fixed[0])},
    {0x258, FIELD(mtrr_fixed[1])},
    {0x259, FIELD(mtrr_fixed[2])},
    {0x268, FIELD(mtrr_fixed[3])},
    {0x269, FIELD(mtrr_fixed[4])},
    {0x26a, FIELD(mtrr_fixed[5])},
    {0x26b, FIELD(mtrr_fixed[6])},
    {0x26c, FIELD(mtrr_fixed[7])},
    {0x26d, FIELD(mtrr_fixed[8])},
    {0x26e, FIELD(mtrr_fixed[9])},
    {0x26f, FIELD(mtrr_fixed[10])},
#undef FIELD
};
#define MSR_MTRR_VAR       0x200u
#define MSR_MTRR_VAR_COUNT 16u

/* Offset in X86CpuState, or SIZE_MAX. */
static size_t field_of(uint32_t index)
{
    if (index - MSR_MTRR_VAR < MSR_MTRR_VAR_COUNT) {
        return offsetof(X86CpuState, mtrr_var) + (index - MSR_MTRR_VAR) * sizeof(uint64_t);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(named); i++) {
        if (named[i].index == index) {
            return named[i].offset;
        }
    }
    return SIZE_MAX;
}

/* KVM_GET_MSRS or KVM_SET_MSRS of all `n`, past those that are refused: their `reserved` becomes 1. */
static void msr_transfer(const KvmVcpu *v, unsigned long request, struct kvm_msr_entry *entries, unsigned n)
{
    g_autofree struct kvm_msrs *part = g_malloc0(sizeof(*part) + n * sizeof(*entries));

    for (unsigned at = 0; at < n;) {
        int done;

        part->nmsrs = n - at;
        memcpy(part->entries, entries + at, (n - at) * sizeof(*entries));
        done = ioctl(v->fd, request, part);
        done = done < 0 ? 0 : done;
        memcpy(entries + at, part->entries, (size_t)done * sizeof(*entries));
        at += (unsigned)done;
        if (at < n) {
            entries[at++].reserved = 1;
        }
    }
}

bool kvm_msr_read(KvmVcpu *v, uint32_t index, uint64_t *val)
{
    struct kvm_msr_entry entry = {.index = index};

    msr_transfer(v, KVM_GET_MSRS, &entry, 1);
    *val = entry.data;
    return !entry.reserved;
}

bool kvm_msr_write(KvmVcpu *v, uint32_t index, uint64_t val)
{
    struct kvm_msr_entry entry = {.index = index, .data = val};

    msr_transfer(v, KVM_SET_MSRS, &entry, 1);
    return !entry.reserved;
}

/* --- which --- */

static void list_add(GArray *list, uint32_t index)
{
    for (guint i = 0; i < list->len; i++) {
        if (g_array_index(list, uint32_t, i) == index) {
            return;
        }
    }
    if (list->len < KVM_MSR_LIMIT) {
        g_array_append_val(list, index);
    }
}

bool kvm_msr_load_list(KvmAccel *kvm, GError **error)
{
    const unsigned limit = 2048;
    g_autofree struct kvm_msr_list *list = g_malloc0(sizeof(*list) + limit * sizeof(list->indices[0]));

    list->nmsrs = limit;
    if (ioctl(kvm->fd, KVM_GET_MSR_INDEX_LIST, list)) {
        error_set_errno(error, errno, "cannot tell which MSRs a guest has");
        return false;
    }
    kvm->msrs = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    for (size_t i = 0; i < G_N_ELEMENTS(named); i++) {
        list_add(kvm->msrs, named[i].index);
    }
    for (unsigned i = 0; i < MSR_MTRR_VAR_COUNT; i++) {
        list_add(kvm->msrs, MSR_MTRR_VAR + i);
    }
    for (unsigned i = 0; i < list->nmsrs; i++) {
        /* Time is kept apart, and the deadline belongs to the local APIC. */
        if (list->indices[i] != MSR_IA32_TSC && list->indices[i] != KVM_MSR_TSC_DEADLINE) {
            list_add(kvm->msrs, list->indices[i]);
        }
    }
    return true;
}

static unsigned list_read(const KvmVcpu *v, struct kvm_msr_entry *entries)
{
    const GArray *list = kvm_accel(v)->msrs;

    for (guint i = 0; i < list->len; i++) {
        entries[i] = (struct kvm_msr_entry){.index = g_array_index(list, uint32_t, i)};
    }
    msr_transfer(v, KVM_GET_MSRS, entries, list->len);
    return list->len;
}

void kvm_msr_check(KvmVcpu *v)
{
    KvmAccel *kvm = kvm_accel(v);
    g_autofree struct kvm_msr_entry *entries = g_new0(struct kvm_msr_entry, KVM_MSR_LIMIT);
    g_autoptr(GString) refused = g_string_new(NULL);
    unsigned n = list_read(v, entries), kept = 0, other = 0;

    /* What cannot be read is not there for this CPU; what is there must take its own value back. */
    for (unsigned i = 0; i < n; i++) {
        if (!entries[i].reserved) {
            entries[kept++] = entries[i];
        }
    }
    msr_transfer(v, KVM_SET_MSRS, entries, kept);
    g_array_set_size(kvm->msrs, 0);
    for (unsigned i = 0; i < kept; i++) {
        bool is_named = field_of(entries[i].index) != SIZE_MAX;

        if (entries[i].reserved) {
            g_string_append_printf(refused, "%s0x%x", refused->len ? ", " : "", entries[i].index);
        } else if (is_named || other++ < X86_MSR_MAX) {
            g_array_append_val(kvm->msrs, entries[i].index);
        }
    }
    if (refused->len) {
        g_printerr("%s: warning: kvm: the host lists MSR %s and refuses it; it is left out of the CPU's state\n", g_get_prgname(), refused->str);
    }
    kvm->msrs_checked = true;
}

/* --- state --- */

void kvm_msr_get(KvmVcpu *v, X86CpuState *state)
{
    g_autofree struct kvm_msr_entry *entries = g_new0(struct kvm_msr_entry, KVM_MSR_LIMIT);
    unsigned n = list_read(v, entries);

    state->msr_count = 0;
    for (unsigned i = 0; i < n; i++) {
        size_t field = field_of(entries[i].index);

        if (field != SIZE_MAX) {
            *(uint64_t *)((char *)state + field) = entries[i].data;
        } else if (!entries[i].reserved && state->msr_count < X86_MSR_MAX) {
            state->msr_index[state->msr_count] = entries[i].index;
            state->msr_value[state->msr_count++] = entries[i].data;
        }
    }
}

bool kvm_msr_set(KvmVcpu *v, const X86CpuState *state)
{
    const GArray *list = kvm_accel(v)->msrs;
    g_autofree struct kvm_msr_entry *entries = g_new0(struct kvm_msr_entry, KVM_MSR_LIMIT);
    unsigned n = 0;
    bool ok = true;

    for (guint i = 0; i < list->len; i++) {
        uint32_t index = g_array_index(list, uint32_t, i);
        size_t field = field_of(index);

        if (field != SIZE_MAX) {
            entries[n++] = (struct kvm_msr_entry){
                .index = index, .data = *(const uint64_t *)((const char *)state + field)};
        }
    }
    for (unsigned i = 0; i < state->msr_count && n < KVM_MSR_LIMIT; i++) {
        entries[n++] = (struct kvm_msr_entry){.index = state->msr_index[i], .data = state->msr_value[i]};
    }
    msr_transfer(v, KVM_SET_MSRS, entries, n);
    for (unsigned i = 0; i < n; i++) {
        if (entries[i].reserved) {
            g_printerr("kvm: MSR 0x%x of CPU %u does not take 0x%llx\n", entries[i].index, v->thread.vcpu.index,
                       (unsigned long long)entries[i].data);
            ok = false;
        }
    }
    return ok;
}
