/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the client may map of a served function: RAM-backed parts of BARs (sparse areas; registers and the MSI-X table
 * stay messages), and doorbells: an eventfd, before whose signal the value, where it matters, is left in shared memory
 * (vfio-user: REGION_IO_FDS without and with shadow memory).  Each client gets pages of its own: one that has left reaches nothing of the next.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hw/remote/vfu-server.h"

#define PAGE_SIZE 4096u

/* A file that its holders cannot make shorter: pages of it never vanish under the device. */
static int sealed_memory(const char *name, uint64_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), err;

    if (fd >= 0 && (ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)) {
        err = errno;
        close(fd);
        errno = err;
        fd = -1;
    }
    return fd;
}

/* --- BARs --- */

typedef struct AreaScan {
    MemListener listener;
    GArray *areas; /* of struct iovec */
    int fd;        /* of all of them; -1: none yet */
    int64_t base;  /* offset in the file of the BAR's byte 0 */
} AreaScan;

static bool is_sealed(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);

    return seals >= 0 && (seals & F_SEAL_SHRINK || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
}

static void area_add(MemListener *l, const MemSection *section)
{
    AreaScan *scan = (AreaScan *)l;
    uint64_t offset;
    int fd = mem_region_fd(section->region, &offset);
    int64_t base = (int64_t)(offset + section->region_offset - section->addr);
    struct iovec area = {(void *)(uintptr_t)section->addr, section->size};

    if (mem_region_kind(section->region) != MEM_RAM || section->readonly || fd < 0 ||
        (section->addr | section->size | (uint64_t)base) & (PAGE_SIZE - 1) || !is_sealed(fd)) {
        return;
    }
    /* The protocol has one fd and one offset a region. */
    if (scan->fd < 0) {
        scan->fd = fd;
        scan->base = base;
    }
    if (scan->fd == fd && scan->base == base) {
        g_array_append_val(scan->areas, area);
        mem_region_set_foreign_writers(section->region, true);
    }
}

int vfu_server_bar_areas(VfuServer *s, unsigned n, GArray **areas, uint64_t *offset)
{
    AreaScan scan = {.listener = {.name = "BAR areas", .add = area_add}, .fd = -1};

    scan.areas = g_array_new(FALSE, FALSE, sizeof(struct iovec));
    mem_listener_register(&scan.listener, s->bar_as[n], NULL);
    mem_listener_unregister(&scan.listener);
    *areas = scan.areas;
    /* An area before the file's beginning cannot be said. */
    if (scan.base < 0) {
        scan.fd = -1;
        g_array_set_size(scan.areas, 0);
    }
    *offset = scan.fd < 0 ? 0 : (uint64_t)scan.base;
    if (scan.fd >= 0) {
        s->bar_shared |= 1u << n;
    }
    return scan.fd;
}

/* The same host addresses and fd number with a new file behind them. */
static void memory_renew(void *host, uint64_t size, int fd, uint64_t offset)
{
    struct stat st = {0};
    int fresh = fstat(fd, &st) < 0 ? -1 : sealed_memory("served memory", (uint64_t)st.st_size);

    if (fresh < 0 || mmap(host, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fresh, (off_t)offset) == MAP_FAILED) {
        g_error("x-vfio-user-server: no memory for the next client: %s", g_strerror(errno));
    }
    dup3(fresh, fd, O_CLOEXEC);
    close(fresh);
}

static void area_renew(MemListener *l, const MemSection *section)
{
    uint64_t offset;
    int fd = mem_region_fd(section->region, &offset);

    if (mem_region_kind(section->region) == MEM_RAM && fd >= 0 && section->region_offset == 0) {
        memory_renew(mem_region_host(section->region), mem_region_size(section->region), fd, offset);
    }
}

/* --- doorbells --- */

/* KVM_IOEVENTFD_FLAG_DATAMATCH and, as registers of that kind are in I/O space, _PIO. */
#define BY_NUMBER_FLAGS 3u

static size_t doorbell_size(const PciDoorbells *d)
{
    return (d->count * sizeof(uint32_t) + PAGE_SIZE - 1) & ~(size_t)(PAGE_SIZE - 1);
}

static void bell_ring(VfuBell *bell)
{
    VfuServer *s = bell->server;
    PciDoorbells *d = &s->dev->doorbells;

    if (d->rung) {
        d->rung(s->dev);
        return;
    }
    for (unsigned n = bell->index; n < d->count; n += s->bell_count) {
        d->signalled(s->dev, n);
    }
}

/* What is signalled to a device at rest is found when it runs again. */
static void bell_signalled(void *opaque)
{
    VfuBell *bell = opaque;
    uint64_t count;

    if (read(bell->fd, &count, sizeof(count)) == sizeof(count) && !bell->server->migration.stopped) {
        bell_ring(bell);
    }
}

void vfu_server_doorbells_take(VfuServer *s)
{
    for (unsigned i = 0; i < s->bell_count; i++) {
        bell_ring(&s->bells[i]);
    }
}

size_t vfu_server_doorbell_bytes(const VfuServer *s)
{
    return s->dev->doorbells.values ? s->dev->doorbells.count * sizeof(uint32_t) : 0;
}

static bool bells_init(VfuServer *s, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        VfuBell *bell = &s->bells[i];

        *bell = (VfuBell){.server = s, .index = i, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
        if (bell->fd < 0) {
            return false;
        }
        s->bell_count++;
        bell->watch = loop_add_fd(s->loop, bell->fd, bell_signalled, NULL, bell);
    }
    return true;
}

static bool doorbell_values_init(VfuServer *s)
{
    PciDoorbells *d = &s->dev->doorbells;
    void *values;

    s->doorbell_memory = sealed_memory("doorbells", doorbell_size(d));
    values = s->doorbell_memory < 0 ? MAP_FAILED
                                    : mmap(NULL, doorbell_size(d), PROT_READ | PROT_WRITE, MAP_SHARED, s->doorbell_memory, 0);
    d->values = values == MAP_FAILED ? NULL : values;
    return d->values;
}

static int doorbell_offer(VfuServer *s, unsigned n)
{
    const PciDoorbells *d = &s->dev->doorbells;
    size_t offset = d->offset + (size_t)n * d->stride;
    int fd = s->bells[n % s->bell_count].fd, err = 0;

    if (d->rung) {
        return vfu_create_ioeventfd(s->ctx, d->bar, fd, offset, sizeof(uint32_t), 0, 0, s->doorbell_memory,
                                    n * sizeof(uint32_t));
    }
    if (d->signal_size) {
        err = vfu_create_ioeventfd(s->ctx, d->bar, fd, offset, d->signal_size, 0, 0, -1, 0);
    }
    if (!err && d->by_number_size) {
        err = vfu_create_ioeventfd(s->ctx, d->by_number_bar, fd, d->by_number_offset, d->by_number_size, BY_NUMBER_FLAGS, n,
                                   -1, 0);
    }
    return err;
}

bool vfu_server_doorbells_init(VfuServer *s, GError **error)
{
    PciDoorbells *d = &s->dev->doorbells;
    int err = 0;

    if (!d->count) {
        return true;
    }
    if (!bells_init(s, d->rung ? 1 : MIN(d->count, VFU_BELLS)) || (d->rung && !doorbell_values_init(s))) {
        error_set_errno(error, errno, "x-vfio-user-server %s: cannot share doorbells", s->obj.id);
        return false;
    }
    for (unsigned i = 0; i < d->count && !err; i++) {
        err = doorbell_offer(s, i);
    }
    if (err) {
        error_set_errno(error, errno, "x-vfio-user-server %s: cannot offer doorbells", s->obj.id);
    }
    return !err;
}

static void doorbells_renew(VfuServer *s)
{
    PciDoorbells *d = &s->dev->doorbells;

    if (d->values) {
        memory_renew(d->values, doorbell_size(d), s->doorbell_memory, 0);
    }
    for (unsigned i = 0; i < s->bell_count; i++) {
        int fresh = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

        if (fresh < 0) {
            g_error("x-vfio-user-server: no eventfd for the next client: %s", g_strerror(errno));
        }
        dup3(fresh, s->bells[i].fd, O_CLOEXEC);
        close(fresh);
    }
}

void vfu_server_doorbells_cleanup(VfuServer *s)
{
    PciDoorbells *d = &s->dev->doorbells;

    for (unsigned i = 0; i < s->bell_count; i++) {
        loop_remove_fd(s->bells[i].watch);
        close(s->bells[i].fd);
    }
    s->bell_count = 0;
    if (d->values) {
        munmap(d->values, doorbell_size(d));
        d->values = NULL;
    }
    if (s->doorbell_memory >= 0) {
        close(s->doorbell_memory);
    }
    s->doorbell_memory = -1;
}

void vfu_server_share_renew(VfuServer *s)
{
    for (unsigned n = 0; n < PCI_REGION_COUNT; n++) {
        MemListener renew = {.name = "BAR renewal", .add = area_renew};

        if (s->bar_shared >> n & 1) {
            mem_listener_register(&renew, s->bar_as[n], NULL);
            mem_listener_unregister(&renew);
        }
    }
    doorbells_renew(s);
}
