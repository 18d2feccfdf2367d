/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM as KVM's memory slots, which pages of it were written, and the writes that the kernel turns into eventfd
 * signals.  RAM that cannot be a slot (not whole pages) is reached access by access.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "core/error.h"
#include "kvm-internal.h"

/* --- the gate --- */

void kvm_gate_enter(KvmVcpu *v)
{
    KvmAccel *kvm = kvm_accel(v);

    atomic_store(&v->in_guest, true);
    while (atomic_load(&kvm->gate_closed)) {
        pthread_mutex_lock(&kvm->gate_lock);
        atomic_store(&v->in_guest, false);
        pthread_cond_broadcast(&kvm->gate_cond);
        while (atomic_load(&kvm->gate_closed)) {
            pthread_cond_wait(&kvm->gate_cond, &kvm->gate_lock);
        }
        atomic_store(&v->in_guest, true);
        pthread_mutex_unlock(&kvm->gate_lock);
    }
}

void kvm_gate_leave(KvmVcpu *v)
{
    KvmAccel *kvm = kvm_accel(v);

    atomic_store(&v->in_guest, false);
    if (atomic_load(&kvm->gate_closed)) {
        pthread_mutex_lock(&kvm->gate_lock);
        pthread_cond_broadcast(&kvm->gate_cond);
        pthread_mutex_unlock(&kvm->gate_lock);
    }
}

static void kvm_gate_close(KvmAccel *kvm)
{
    GPtrArray *vcpus = kvm->accel.vcpus;

    if (atomic_exchange(&kvm->gate_closed, true)) {
        return;
    }
    for (guint i = 0; i < vcpus->len; i++) {
        kvm_vcpu_kick(g_ptr_array_index(vcpus, i));
    }
    pthread_mutex_lock(&kvm->gate_lock);
    for (guint i = 0; i < vcpus->len; i++) {
        KvmVcpu *v = g_ptr_array_index(vcpus, i);

        while (atomic_load(&v->in_guest)) {
            pthread_cond_wait(&kvm->gate_cond, &kvm->gate_lock);
        }
    }
    pthread_mutex_unlock(&kvm->gate_lock);
}

static void kvm_gate_open(KvmAccel *kvm)
{
    pthread_mutex_lock(&kvm->gate_lock);
    atomic_store(&kvm->gate_closed, false);
    pthread_cond_broadcast(&kvm->gate_cond);
    pthread_mutex_unlock(&kvm->gate_lock);
}

/* --- slots --- */

static KvmAccel *kvm_of_memory(MemListener *l)
{
    return (KvmAccel *)((char *)l - offsetof(KvmAccel, memory));
}

static bool slot_is_logged(const KvmAccel *kvm, const KvmSlot *slot)
{
    return kvm->logging && !slot->readonly && !mem_region_is_device_memory(slot->region);
}

/* Tells the kernel of slot `n` as it is now; size 0 takes it away.  0 or -errno. */
static int slot_tell(KvmAccel *kvm, unsigned n)
{
    const KvmSlot *slot = &g_array_index(kvm->slots, KvmSlot, n);
    struct kvm_userspace_memory_region region = {
        .slot = n, .guest_phys_addr = slot->addr, .memory_size = slot->size};

    if (slot->size) {
        region.userspace_addr = (uintptr_t)mem_region_host(slot->region) + slot->region_offset;
        region.flags = slot->readonly ? KVM_MEM_READONLY : 0;
        region.flags |= slot_is_logged(kvm, slot) ? KVM_MEM_LOG_DIRTY_PAGES : 0;
    }
    return ioctl(kvm->vm, KVM_SET_USER_MEMORY_REGION, &region) ? -errno : 0;
}

/* The part of a section that is whole pages on both sides. */
static bool section_pages(const MemSection *section, KvmSlot *slot)
{
    uint64_t skip = -section->addr & (KVM_PAGE_SIZE - 1);
    uintptr_t host = (uintptr_t)mem_region_host(section->region);

    if (!host || section->size <= skip) {
        return false;
    }
    *slot = (KvmSlot){.region = section->region,
                      .region_offset = section->region_offset + skip,
                      .addr = section->addr + skip,
                      .size = (section->size - skip) & ~(uint64_t)(KVM_PAGE_SIZE - 1),
                      .readonly = section->readonly || mem_region_kind(section->region) == MEM_ROM};
    return slot->size && !((host + slot->region_offset) & (KVM_PAGE_SIZE - 1));
}

static void slot_failed(KvmAccel *kvm, const KvmSlot *slot, int err)
{
    if (!kvm->slot_error) {
        kvm->slot_error = err;
        kvm->slot_where = g_strdup_printf("%s at 0x%" PRIx64 ", 0x%" PRIx64 " bytes", mem_region_name(slot->region),
                                          slot->addr, slot->size);
    }
}

static void kvm_memory_add(MemListener *l, const MemSection *section)
{
    KvmAccel *kvm = kvm_of_memory(l);
    KvmSlot slot;
    unsigned n = 0;
    int err;

    if (!section_pages(section, &slot)) {
        return;
    }
    while (n < kvm->slots->len && g_array_index(kvm->slots, KvmSlot, n).size) {
        n++;
    }
    if (n == kvm->max_slots) {
        slot_failed(kvm, &slot, -ENOSPC);
        return;
    }
    if (n == kvm->slots->len) {
        g_array_set_size(kvm->slots, n + 1);
    }
    g_array_index(kvm->slots, KvmSlot, n) = slot;
    err = slot_tell(kvm, n);
    if (err) {
        g_array_index(kvm->slots, KvmSlot, n) = (KvmSlot){0};
        slot_failed(kvm, &slot, err);
    }
}

static void slot_collect(KvmAccel *kvm, unsigned n);

static void rings_collect(KvmAccel *kvm)
{
    for (guint i = 0; i < kvm->accel.vcpus->len; i++) {
        kvm_ring_collect(g_ptr_array_index(kvm->accel.vcpus, i));
    }
}

static void kvm_memory_del(MemListener *l, const MemSection *section)
{
    KvmAccel *kvm = kvm_of_memory(l);
    KvmSlot gone;

    if (!section_pages(section, &gone)) {
        return;
    }
    for (unsigned n = 0; n < kvm->slots->len; n++) {
        KvmSlot *slot = &g_array_index(kvm->slots, KvmSlot, n);

        if (slot->size && slot->addr == gone.addr && slot->region == gone.region) {
            kvm_gate_close(kvm);
            rings_collect(kvm); /* they know slots by number, and this one's may be another's next */
            slot_collect(kvm, n);
            *slot = (KvmSlot){0};
            slot_tell(kvm, n);
            return;
        }
    }
}

static bool kvm_memory_commit(MemListener *l, GError **error)
{
    KvmAccel *kvm = kvm_of_memory(l);
    g_autofree char *where = g_steal_pointer(&kvm->slot_where);
    int err = -kvm->slot_error;

    if (atomic_load(&kvm->gate_closed)) {
        kvm_gate_open(kvm);
    }
    kvm->slot_error = 0;
    if (err) {
        error_set_errno(error, err, "kvm: cannot give %s to the guest (memory slots: %u at most)", where, kvm->max_slots);
    }
    return !err;
}

/* --- dirty pages --- */

static void slot_mark(KvmAccel *kvm, const KvmSlot *slot, uint64_t page)
{
    uint64_t offset = page * KVM_PAGE_SIZE;

    if (offset < slot->size) {
        mem_region_dirty_set(slot->region, slot->region_offset + offset, KVM_PAGE_SIZE);
    }
}

void kvm_ring_collect(KvmVcpu *v)
{
    KvmAccel *kvm = kvm_accel(v);
    uint32_t entries = kvm_ring_entries(kvm);

    while (v->ring) {
        struct kvm_dirty_gfn *gfn = &v->ring[v->ring_next % entries];
        uint32_t flags = __atomic_load_n(&gfn->flags, __ATOMIC_ACQUIRE);

        if (!(flags & KVM_DIRTY_GFN_F_DIRTY)) {
            break;
        }
        if ((gfn->slot & 0xffff) < kvm->slots->len) {
            slot_mark(kvm, &g_array_index(kvm->slots, KvmSlot, gfn->slot & 0xffff), gfn->offset);
        }
        __atomic_store_n(&gfn->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
        v->ring_next++;
    }
}

/* The pages of slot `n` that were written since the last time; they are noticed again from now on. */
static void slot_collect(KvmAccel *kvm, unsigned n)
{
    const KvmSlot *slot = &g_array_index(kvm->slots, KvmSlot, n);
    uint64_t words = (slot->size / KVM_PAGE_SIZE + 63) / 64;
    struct kvm_dirty_log log = {.slot = n};
    g_autofree uint64_t *bitmap = NULL;

    if (!slot->size || !slot_is_logged(kvm, slot) || kvm->ring_bytes) {
        return;
    }
    bitmap = g_new0(uint64_t, words);
    log.dirty_bitmap = bitmap;
    if (ioctl(kvm->vm, KVM_GET_DIRTY_LOG, &log)) {
        /* What is not known may have been written. */
        mem_region_dirty_set(slot->region, slot->region_offset, slot->size);
        return;
    }
    for (uint64_t i = 0; i < words; i++) {
        for (uint64_t rest = bitmap[i]; rest; rest &= rest - 1) {
            slot_mark(kvm, slot, i * 64 + (uint64_t)__builtin_ctzll(rest));
        }
    }
}

static void kvm_log_switch(KvmAccel *kvm, bool on)
{
    kvm->logging = on;
    for (unsigned n = 0; n < kvm->slots->len; n++) {
        KvmSlot *slot = &g_array_index(kvm->slots, KvmSlot, n);
        int err = slot->size && !slot->readonly ? slot_tell(kvm, n) : 0;

        if (err) {
            g_printerr("kvm: cannot watch the writes to %s at 0x%" PRIx64 ": %s\n", mem_region_name(slot->region),
                       slot->addr, g_strerror(-err));
        }
    }
}

void kvm_log_writes(Accel *accel, bool on)
{
    KvmAccel *kvm = (KvmAccel *)accel;

    rings_collect(kvm);
    if (kvm->ring_bytes) {
        ioctl(kvm->vm, KVM_RESET_DIRTY_RINGS, 0);
    }
    for (unsigned n = 0; n < kvm->slots->len; n++) {
        slot_collect(kvm, n);
    }
    if (on != kvm->logging) {
        kvm_log_switch(kvm, on);
    }
}

/* --- ioeventfds --- */

static int ioeventfd_tell(KvmAccel *kvm, const MemSection *section, bool match, uint64_t data, int fd, uint32_t flags)
{
    struct kvm_ioeventfd arg = {.addr = section->addr,
                                .len = (uint32_t)section->size,
                                .fd = fd,
                                .datamatch = match ? data : 0,
                                .flags = flags | (match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0)};

    return ioctl(kvm->vm, KVM_IOEVENTFD, &arg) ? -errno : 0;
}

/* One that the kernel refuses (too many, an odd size) still works: the write comes here, where it signals. */
static void ioeventfd_add(KvmAccel *kvm, const MemSection *section, bool match, uint64_t data, int fd, uint32_t flags)
{
    kvm->ioeventfds += !ioeventfd_tell(kvm, section, match, data, fd, flags);
}

static void ioeventfd_del(KvmAccel *kvm, const MemSection *section, bool match, uint64_t data, int fd, uint32_t flags)
{
    kvm->ioeventfds -= !ioeventfd_tell(kvm, section, match, data, fd, flags | KVM_IOEVENTFD_FLAG_DEASSIGN);
}

static void kvm_memory_ioeventfd_add(MemListener *l, const MemSection *section, bool match, uint64_t data, int fd)
{
    ioeventfd_add(kvm_of_memory(l), section, match, data, fd, 0);
}

static void kvm_memory_ioeventfd_del(MemListener *l, const MemSection *section, bool match, uint64_t data, int fd)
{
    ioeventfd_del(kvm_of_memory(l), section, match, data, fd, 0);
}

static void kvm_io_ioeventfd_add(MemListener *l, const MemSection *section, bool match, uint64_t data, int fd)
{
    ioeventfd_add((KvmAccel *)((char *)l - offsetof(KvmAccel, io)), section, match, data, fd, KVM_IOEVENTFD_FLAG_PIO);
}

static void kvm_io_ioeventfd_del(MemListener *l, const MemSection *section, bool match, uint64_t data, int fd)
{
    ioeventfd_del((KvmAccel *)((char *)l - offsetof(KvmAccel, io)), section, match, data, fd, KVM_IOEVENTFD_FLAG_PIO);
}

/* --- start, stop --- */

bool kvm_memory_start(KvmAccel *kvm, GError **error)
{
    int slots = ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);

    kvm->max_slots = slots > 0 ? (unsigned)slots : 32;
    kvm->slots = g_array_new(FALSE, TRUE, sizeof(KvmSlot));
    pthread_mutex_init(&kvm->gate_lock, NULL);
    pthread_cond_init(&kvm->gate_cond, NULL);
    kvm->memory = (MemListener){
        .name = "kvm",
        .add = kvm_memory_add,
        .del = kvm_memory_del,
        .ioeventfd_add = kvm_memory_ioeventfd_add,
        .ioeventfd_del = kvm_memory_ioeventfd_del,
        .commit = kvm_memory_commit,
    };
    kvm->io = (MemListener){
        .name = "kvm-io", .ioeventfd_add = kvm_io_ioeventfd_add, .ioeventfd_del = kvm_io_ioeventfd_del};
    if (!mem_listener_register(&kvm->memory, kvm->accel.machine->memory, error) ||
        !mem_listener_register(&kvm->io, kvm->accel.machine->io, error)) {
        kvm_memory_stop(kvm);
        return false;
    }
    return true;
}

void kvm_memory_stop(KvmAccel *kvm)
{
    if (!kvm->slots) {
        return;
    }
    mem_listener_unregister(&kvm->io);
    mem_listener_unregister(&kvm->memory);
    g_array_free(g_steal_pointer(&kvm->slots), TRUE);
    pthread_cond_destroy(&kvm->gate_cond);
    pthread_mutex_destroy(&kvm->gate_lock);
}
