/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * memory-backend-ram, memory-backend-memfd, memory-backend-file: guest RAM as
 * objects.  RAM that is to be seen by other processes has an fd: a memfd, or the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/error.h"
#include "core/internal.h"

#define RAM_BACKEND_ALIGN (UINT64_C(2) << 20) /* for transparent huge pages */
#define RAM_BACKEND_MAX   (UINT64_C(1) << 46)
#define MEM_GUARD_SIZE    UINT64_C(4096)

typedef struct RamBackend {
    Object obj;
    uint64_t size; /* bytes */
    bool share, prealloc, merge, dump;
    char *mem_path;
    MemRegion *region;
    uint8_t *host;
    int fd; /* -1: anonymous */
    uint8_t *reservation;
    uint64_t reserved; /* bytes of address space, alignment included */
} RamBackend;

/* --- opening what is behind it --- */

static bool ram_backend_open_memfd(RamBackend *rb, GError **error)
{
    rb->fd = memfd_create(rb->obj.id, MFD_CLOEXEC);
    if (rb->fd < 0) {
        error_set_errno(error, errno, "%s: cannot create a memfd", rb->obj.model->name);
        return false;
    }
    if (ftruncate(rb->fd, (off_t)rb->size)) {
        error_set_errno(error, errno, "%s: cannot size the memfd (%" PRIu64 " bytes)", rb->obj.model->name,
                        rb->size);
        return false;
    }
    return true;
}

/* A file, created when missing; in a directory one without a name. */
static int ram_backend_open_path(const char *path)
{
    struct stat st;

    if (!stat(path, &st) && S_ISDIR(st.st_mode)) {
        g_autofree char *name = g_build_filename(path, "mpqemu-ram.XXXXXX", NULL);
        int fd = g_mkstemp_full(name, O_RDWR | O_CLOEXEC, 0600);

        if (fd >= 0) {
            unlink(name);
        }
        return fd;
    }
    return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
}

static bool ram_backend_open_file(RamBackend *rb, GError **error)
{
    struct statfs fs;
    struct stat st;

    rb->fd = ram_backend_open_path(rb->mem_path);
    if (rb->fd < 0 || fstatfs(rb->fd, &fs) || fstat(rb->fd, &st)) {
        error_set_errno(error, errno, "%s: cannot open mem-path '%s'", rb->obj.model->name, rb->mem_path);
        return false;
    }
    if (fs.f_type == HUGETLBFS_MAGIC && rb->size % (uint64_t)fs.f_bsize) {
        error_set(error,
                  "%s: size is not a multiple of the huge page size (%" PRIu64
                  ", allowed multiples of %" PRIu64 ")",
                  rb->obj.model->name, rb->size, (uint64_t)fs.f_bsize);
        return false;
    }
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < rb->size) {
        if (st.st_size) {
            error_set(error, "%s: mem-path '%s' is smaller than size (%" PRIu64 ", expected %" PRIu64 ")",
                      rb->obj.model->name, rb->mem_path, (uint64_t)st.st_size, rb->size);
            return false;
        }
        if (ftruncate(rb->fd, (off_t)rb->size)) {
            error_set_errno(error, errno, "%s: cannot extend mem-path '%s' to %" PRIu64 " bytes",
                            rb->obj.model->name, rb->mem_path, rb->size);
            return false;
        }
    }
    return true;
}

/* --- mapping --- */

static bool ram_backend_map(RamBackend *rb, GError **error)
{
    int flags = MAP_FIXED | (rb->share ? MAP_SHARED : MAP_PRIVATE) | (rb->fd < 0 ? MAP_ANONYMOUS : 0);
    void *at;

    /* One page stays unmapped behind the RAM: an overrun faults instead of hitting a neighbour. */
    rb->reserved = rb->size + RAM_BACKEND_ALIGN + MEM_GUARD_SIZE;
    at = mmap(NULL, rb->reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        error_set_errno(error, errno, "%s: cannot reserve address space (%" PRIu64 " bytes)",
                        rb->obj.model->name, rb->size);
        return false;
    }
    rb->reservation = at;
    rb->host = (uint8_t *)(((uintptr_t)at + RAM_BACKEND_ALIGN - 1) & ~(uintptr_t)(RAM_BACKEND_ALIGN - 1));
    if (mmap(rb->host, rb->size, PROT_READ | PROT_WRITE, flags, rb->fd, 0) == MAP_FAILED) {
        error_set_errno(error, errno, "%s: cannot map RAM (%" PRIu64 " bytes)", rb->obj.model->name,
                        rb->size);
        return false;
    }
    /* Hints: a kernel without the feature may refuse them. */
    madvise(rb->host, rb->size, MADV_HUGEPAGE);
    if (rb->merge) {
        madvise(rb->host, rb->size, MADV_MERGEABLE);
    }
    if (!rb->dump) {
        madvise(rb->host, rb->size, MADV_DONTDUMP);
    }
    return true;
}

static bool ram_backend_populate(RamBackend *rb, GError **error)
{
    int err = madvise(rb->host, rb->size, MADV_POPULATE_WRITE) ? errno : 0;

    if (err == EINVAL && rb->fd >= 0) { /* a kernel before 5.14 */
        err = posix_fallocate(rb->fd, 0, (off_t)rb->size);
    }
    if (err) {
        error_set_errno(error, err, "%s: cannot preallocate RAM (%" PRIu64 " bytes)", rb->obj.model->name,
                        rb->size);
        return false;
    }
    return true;
}

static void ram_backend_release(RamBackend *rb)
{
    if (rb->reservation) {
        munmap(rb->reservation, rb->reserved);
    }
    if (rb->fd >= 0) {
        close(rb->fd);
    }
    rb->reservation = rb->host = NULL;
    rb->fd = -1;
}

/* --- the objects --- */

static bool ram_backend_start(Object *obj, GError **error)
{
    RamBackend *rb = (RamBackend *)obj;
    bool ok = true;

    rb->fd = -1;
    if (!rb->size || rb->size % 4096 || rb->size > RAM_BACKEND_MAX) {
        error_set(error, "%s: bad size (%" PRIu64 ", allowed multiples of 4096 up to 64T)", obj->model->name,
                  rb->size);
        return false;
    }
    if (obj->model == &ram_backend_file_model.model) {
        ok = ram_backend_open_file(rb, error);
    } else if (rb->share) {
        ok = ram_backend_open_memfd(rb, error);
    }
    ok = ok && ram_backend_map(rb, error) && (!rb->prealloc || ram_backend_populate(rb, error));
    if (!ok) {
        ram_backend_release(rb);
        return false;
    }
    /* Private copies of file pages are nobody else's: no fd to hand out. */
    rb->region = mem_region_new_ram(obj->machine->topo, obj->id, rb->size, rb->host, rb->share ? rb->fd : -1,
                                    0, false);
    return true;
}

static bool ram_backend_is_used(const Object *obj)
{
    const NumaConfig *n = obj->machine->numa;
    bool used = obj->machine->ram_backend == obj;

    for (unsigned i = 0; n && obj->machine->ram && i < n->count; i++) {
        used |= n->nodes[i].backend == obj;
    }
    return used;
}

static bool ram_backend_can_stop(Object *obj, GError **error)
{
    if (ram_backend_is_used(obj)) {
        error_set(error, "%s: '%s' is the RAM of the machine; it cannot be deleted", obj->model->name,
                  obj->id);
        return false;
    }
    return true;
}

static void ram_backend_stop(Object *obj)
{
    RamBackend *rb = (RamBackend *)obj;

    mem_region_retire(rb->region);
    g_clear_pointer(&rb->region, mem_region_unref);
    ram_backend_release(rb);
}

MemRegion *ram_backend_region(Object *backend)
{
    return ((RamBackend *)backend)->region;
}

uint64_t ram_backend_size(Object *backend)
{
    return ((RamBackend *)backend)->size;
}

bool ram_backend_is(Object *obj)
{
    return obj->model == &ram_backend_ram_model.model || obj->model == &ram_backend_memfd_model.model ||
           obj->model == &ram_backend_file_model.model;
}

bool ram_backend_shared(Object *backend)
{
    return ((RamBackend *)backend)->share;
}

#define RAM_BACKEND_PROPS(share_default)                                                                     \
    {.name = "size",                                                                                         \
     .type = &prop_size,                                                                                     \
     .offset = offsetof(RamBackend, size),                                                                   \
     .flags = PROP_REQUIRED,                                                                                 \
     .doc = "Bytes of RAM"},                                                                                 \
        PROP_BOOL("share", RamBackend, share, share_default, "Other processes may map it"),                  \
        PROP_BOOL("prealloc", RamBackend, prealloc, false, "Allocate all pages at start"),                   \
        PROP_BOOL("merge", RamBackend, merge, false, "Let the host merge equal pages"),                      \
        PROP_BOOL("dump", RamBackend, dump, true, "Include in a core dump")

static const Prop ram_props[] = {RAM_BACKEND_PROPS(false), PROP_END};
static const Prop memfd_props[] = {RAM_BACKEND_PROPS(true), PROP_END};
static const Prop file_props[] = {
    RAM_BACKEND_PROPS(false),
    {.name = "mem-path",
     .type = &prop_string,
     .offset = offsetof(RamBackend, mem_path),
     .flags = PROP_REQUIRED,
     .doc = "File, or directory for a file without a name"},
    PROP_END,
};

#define RAM_BACKEND_MODEL(model_name, text, table)                                                           \
    {                                                                                                        \
        .model = {.name = model_name,                                                                        \
                  .doc = text,                                                                               \
                  .kind = MODEL_OBJECT,                                                                      \
                  .size = sizeof(RamBackend),                                                                \
                  .props = table,                                                                            \
                  .state = &state_none},                                                                     \
        .start = ram_backend_start, .can_stop = ram_backend_can_stop, .stop = ram_backend_stop               \
    }

const ObjectModel ram_backend_ram_model =
    RAM_BACKEND_MODEL("memory-backend-ram", "Guest RAM in anonymous memory.", ram_props);
const ObjectModel ram_backend_memfd_model = RAM_BACKEND_MODEL(
    "memory-backend-memfd", "Guest RAM in a memfd, which other processes can map.", memfd_props);
const ObjectModel ram_backend_file_model =
    RAM_BACKEND_MODEL("memory-backend-file", "Guest RAM in a file.", file_props);
