/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Moving a VFIO device (<linux/vfio.h>, VFIO_DEVICE_FEATURE_MIGRATION and following, version 2): its far side gives its state as a
 * stream of bytes and takes it as one, and logs its DMA.
 *
 *   source       RUNNING -> PRE_COPY (the first bytes, when it has them so early) -> STOP_COPY -> RUNNING when the move fails
 *   destination  RUNNING -> RESUMING -> STOP (it says whether the state is good) -> RUNNING, when the guest runs
 *
 * A far side that does not log its DMA is taken to have written everywhere.
 */
#include <errno.h>
#include <string.h>

#include "hw/vfio/vfio-internal.h"

/* Debian 12's <linux/vfio.h> ends before them (Linux 6.2). */
#define MIGRATION_PRE_COPY (UINT64_C(1) << 2)
#define STATE_PRE_COPY     6u

#define PAGE_BYTES   4096u
#define REPORT_BYTES (UINT64_C(8) << 30) /* of memory in one report: a bitmap of 256 KiB */
#define DATA_STEP    (UINT32_C(256) << 10)
#define DATA_FIRST   (UINT32_C(16) << 10)
#define DATA_MAX     (UINT32_C(1) << 30) /* of state that a far side may give */

static VfioPciDevice *of_device(Device *dev)
{
    return (VfioPciDevice *)dev;
}

static uint32_t present_state(const VfioPciDevice *dev)
{
    return dev->migration.state ? dev->migration.state : VFIO_DEVICE_STATE_RUNNING;
}

/* --- requests --- */

/* The feature's data travels both ways.  0 or -errno. */
static int feature(VfioPciDevice *dev, uint32_t flags, void *data, size_t size)
{
    g_autofree struct vfio_device_feature *f = g_malloc0(sizeof(*f) + size);
    int err;

    if (vfio_broken(&dev->vdev)) {
        return -ENOTCONN;
    }
    if (!dev->vdev.ops->device_feature) {
        return -ENOTTY;
    }
    f->argsz = (uint32_t)(sizeof(*f) + size);
    f->flags = flags;
    if (size) {
        memcpy(f->data, data, size);
    }
    err = dev->vdev.ops->device_feature(&dev->vdev, f, sizeof(*f) + size);
    if (!err && flags & VFIO_DEVICE_FEATURE_GET) {
        memcpy(data, f->data, size);
    }
    return err;
}

static const char *state_name(uint32_t state)
{
    static const char *const names[] = {
        [VFIO_DEVICE_STATE_STOP] = "STOP",           [VFIO_DEVICE_STATE_RUNNING] = "RUNNING",
        [VFIO_DEVICE_STATE_STOP_COPY] = "STOP_COPY", [VFIO_DEVICE_STATE_RESUMING] = "RESUMING",
        [STATE_PRE_COPY] = "PRE_COPY",
    };

    return names[state];
}

/* A refusal may leave a device in ERROR, out of which only a reset leads. */
static void leave_error(VfioPciDevice *dev, GError **error)
{
    struct vfio_device_feature_mig_state now = {.device_state = VFIO_DEVICE_STATE_STOP};

    if (feature(dev, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &now, sizeof(now)) ||
        now.device_state != VFIO_DEVICE_STATE_ERROR) {
        return;
    }
    if (dev->vdev.ops->reset(&dev->vdev)) {
        g_prefix_error(error, "it came to state ERROR and cannot be reset: ");
        return;
    }
    dev->migration.state = VFIO_DEVICE_STATE_RUNNING;
    g_prefix_error(error, "it came to state ERROR and was reset, its driver has to begin anew: ");
}

static bool go_to(VfioPciDevice *dev, uint32_t state, GError **error)
{
    struct vfio_device_feature_mig_state wish = {.device_state = state, .data_fd = -1};
    int err = feature(dev, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &wish, sizeof(wish));

    if (err) {
        error_set_errno(error, -err, "its far side does not go from state %s to %s", state_name(present_state(dev)),
                        state_name(state));
        leave_error(dev, error);
        return false;
    }
    dev->migration.state = state;
    return true;
}

/* All it gives at present.  A reply over a socket is as long as what was asked for: much is asked for where much comes. */
static bool read_all(VfioPciDevice *dev, GByteArray *out, GError **error)
{
    for (uint32_t step = DATA_FIRST;;) {
        guint at = out->len;
        ssize_t got;

        g_byte_array_set_size(out, at + step);
        got = dev->vdev.ops->migration_read(&dev->vdev, out->data + at, step);
        g_byte_array_set_size(out, at + (guint)MAX(got, 0));
        if (got <= 0) {
            if (got < 0) {
                error_set_errno(error, (int)-got, "its far side does not give its state, at byte %u", at);
            }
            return got == 0;
        }
        if (out->len > DATA_MAX) {
            error_set(error, "its far side gives more than %u bytes of state", DATA_MAX);
            return false;
        }
        step = (uint32_t)got == step ? MIN(step * 4, DATA_STEP) : DATA_FIRST;
    }
}

/* None where it knows nothing of migration. */
static bool migration_flags(VfioPciDevice *dev, uint64_t *flags, GError **error)
{
    struct vfio_device_feature_migration mig = {0};
    int err = feature(dev, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION, &mig, sizeof(mig));

    *flags = err ? 0 : mig.flags;
    if (err == -ETIMEDOUT || err == -ENOTCONN) {
        error_set_errno(error, -err, "its far side does not answer");
        return false;
    }
    return true;
}

static bool move_possible(Device *d, GError **error)
{
    VfioPciDevice *dev = of_device(d);
    uint64_t flags;

    if (vfio_broken(&dev->vdev)) {
        error_set(error, "its far side is gone");
        return false;
    }
    if (!migration_flags(dev, &flags, error)) {
        return false;
    }
    if (!dev->vdev.ops->migration_read || !(flags & VFIO_MIGRATION_STOP_COPY)) {
        error_set(error, "its far side does not offer migration");
        return false;
    }
    return true;
}

/* --- memory --- */

typedef struct RamWalk {
    MemListener listener;
    GArray *sections; /* of MemSection, regions borrowed */
} RamWalk;

static void walk_add(MemListener *l, const MemSection *section)
{
    if (mem_region_kind(section->region) == MEM_RAM && !mem_region_is_device_memory(section->region)) {
        g_array_append_vals(((RamWalk *)l)->sections, section, 1);
    }
}

/* The RAM the device can reach.  Free with g_array_free. */
static GArray *reachable_ram(VfioPciDevice *dev)
{
    RamWalk walk = {.listener = {.name = "migration", .add = walk_add},
                    .sections = g_array_new(FALSE, FALSE, sizeof(MemSection))};

    mem_listener_register(&walk.listener, dev->pci.dma_target, NULL);
    walk.listener.del = NULL;
    mem_listener_unregister(&walk.listener);
    return walk.sections;
}

static bool unsupported(int err)
{
    return err == -ENOTTY || err == -ENOTSUP || err == -EOPNOTSUPP;
}

static int log_start(VfioPciDevice *dev)
{
    g_autoptr(GArray) ram = reachable_ram(dev);
    /* One range around all of it: memory that is none is never written. */
    VfioDmaRange range = {.iova = UINT64_MAX};
    uint64_t end = 0;

    for (guint i = 0; i < ram->len; i++) {
        const MemSection *s = &g_array_index(ram, MemSection, i);

        range.iova = MIN(range.iova, s->addr);
        end = MAX(end, s->addr + s->size);
    }
    if (!end || !dev->vdev.ops->log_start) {
        return -ENOTSUP;
    }
    range.size = end - range.iova;
    return dev->vdev.ops->log_start(&dev->vdev, PAGE_BYTES, &range, 1);
}

static int track_start(VfioPciDevice *dev)
{
    const VfioContainerOps *ops = dev->container->ops;

    return ops->dirty_tracking && ops->dirty_report ? ops->dirty_tracking(dev->container, true) : -ENOTSUP;
}

/* By the device, or by its container, or not at all. */
static bool start_logging(VfioPciDevice *dev, GError **error)
{
    VfioMigration *mig = &dev->migration;
    int err = log_start(dev);

    mig->logging = !err;
    if (unsupported(err)) {
        err = track_start(dev);
        mig->tracking = !err;
    }
    if (err && !unsupported(err)) {
        error_set_errno(error, -err, "its far side does not log its DMA");
        return false;
    }
    dev->container->logging++;
    mig->counted = true;
    return true;
}

static void stop_logging(VfioPciDevice *dev)
{
    VfioMigration *mig = &dev->migration;

    if (mig->logging && !vfio_broken(&dev->vdev)) {
        dev->vdev.ops->log_stop(&dev->vdev);
    }
    if (mig->tracking) {
        dev->container->ops->dirty_tracking(dev->container, false);
    }
    dev->container->logging -= mig->counted;
    mig->logging = mig->tracking = mig->counted = false;
}

static int report(VfioPciDevice *dev, uint64_t iova, uint64_t size, uint64_t *bitmap)
{
    if (vfio_broken(&dev->vdev)) {
        return -ENOTCONN;
    }
    return dev->migration.logging ? dev->vdev.ops->log_report(&dev->vdev, iova, size, PAGE_BYTES, bitmap)
                                  : dev->container->ops->dirty_report(dev->container, iova, size, PAGE_BYTES, bitmap);
}

/* The bitmap begins at address `at`. */
static void mark(const MemSection *s, uint64_t at, const uint64_t *bitmap, uint64_t pages)
{
    uint64_t first = (MAX(s->addr, at) - at) / PAGE_BYTES, end = s->addr + s->size;

    for (uint64_t page = first; page < pages && at + page * PAGE_BYTES < end; page++) {
        if (page % 64 == 0 && !bitmap[page / 64]) {
            page += 63;
        } else if (bitmap[page / 64] >> (page % 64) & 1) {
            mem_region_dirty_set(s->region, s->region_offset + (at + page * PAGE_BYTES - s->addr), PAGE_BYTES);
        }
    }
}

/* Memory that is one piece for the device, of so many sections. */
typedef struct Span {
    const MemSection *sections;
    guint count;
    uint64_t addr, size;
} Span;

static Span span_at(const GArray *ram, guint first)
{
    Span span = {.sections = &g_array_index(ram, MemSection, first), .count = 1};

    span.addr = span.sections->addr;
    span.size = span.sections->size;
    while (first + span.count < ram->len && span.sections[span.count].addr == span.addr + span.size) {
        span.size += span.sections[span.count++].size;
    }
    return span;
}

/* 0; -errno: at *failed. */
static int report_span(VfioPciDevice *dev, const Span *span, uint64_t *failed)
{
    uint64_t step = REPORT_BYTES;

    for (uint64_t done = 0; done < span->size;) {
        uint64_t len = MIN(span->size - done, step), pages = len / PAGE_BYTES;
        g_autofree uint64_t *bitmap = g_new0(uint64_t, (pages + 63) / 64);
        int err = report(dev, span->addr + done, len, bitmap);

        /* Servers tell of whole bytes of their bitmap only, and firmware cuts RAM below 1 MiB into smaller pieces. */
        if (err == -ENOTSUP && span->count == 1) {
            memset(bitmap, 0xff, (pages + 63) / 64 * sizeof(uint64_t));
            err = 0;
        }
        if (err == -E2BIG && step > 64 * PAGE_BYTES) {
            step /= 2;
            continue;
        }
        if (err) {
            *failed = span->addr + done;
            return err;
        }
        for (guint i = 0; i < span->count; i++) {
            mark(&span->sections[i], span->addr + done, bitmap, pages);
        }
        done += len;
    }
    return 0;
}

/* Of as much at once as the far side tells of: some want each of their maps asked for by itself. */
static bool report_all(VfioPciDevice *dev, const GArray *ram, GError **error)
{
    for (guint i = 0; i < ram->len;) {
        Span span = span_at(ram, i);
        uint64_t failed;
        int err;

        if (dev->migration.apart) {
            span.count = 1;
            span.size = span.sections->size;
        }
        err = report_span(dev, &span, &failed);
        if (err && span.count > 1 && err != -ENOTCONN) {
            dev->migration.apart = true;
            continue;
        }
        if (err) {
            error_set_errno(error, -err, "its far side does not tell what it wrote to 0x%" G_GINT64_MODIFIER "x..0x%"
                            G_GINT64_MODIFIER "x", failed, span.addr + span.size - 1);
            return false;
        }
        i += span.count;
    }
    return true;
}

/* Behind a guest's IOMMU the device reaches page after page, each for a short time: all it can reach at the end counts, and
 * before that what it could reach and can't any more. */
static bool move_sync(Device *d, GError **error)
{
    VfioPciDevice *dev = of_device(d);
    g_autoptr(GArray) ram = reachable_ram(dev);
    bool ok = true;

    if (dev->migration.logging || dev->migration.tracking) {
        ok = report_all(dev, ram, error);
    }
    for (guint i = 0; ok && dev->migration.stopped && !dev->migration.logging && !dev->migration.tracking && i < ram->len; i++) {
        const MemSection *s = &g_array_index(ram, MemSection, i);

        mem_region_dirty_set(s->region, s->region_offset, s->size);
    }
    if (dev->migration.stopped) {
        vfio_iommu_mark_all(dev->container);
    }
    return ok;
}

/* --- source --- */

static bool move_begin(Device *d, GByteArray *head, GError **error)
{
    VfioPciDevice *dev = of_device(d);
    uint64_t flags;
    bool early;

    dev->migration.stopped = false;
    if (!migration_flags(dev, &flags, error)) {
        return false;
    }
    early = flags & MIGRATION_PRE_COPY && present_state(dev) != VFIO_DEVICE_STATE_STOP; /* of one that has not run yet all comes at the end */
    if (early && (!go_to(dev, STATE_PRE_COPY, error) || !read_all(dev, head, error))) {
        return false;
    }
    return start_logging(dev, error);
}

static bool move_stop(Device *d, GError **error)
{
    VfioPciDevice *dev = of_device(d);

    if (!go_to(dev, VFIO_DEVICE_STATE_STOP_COPY, error)) {
        return false;
    }
    dev->migration.stopped = true;
    loop_lock(d->home);
    vfio_irq_drain(dev);
    loop_unlock(d->home);
    return true;
}

static bool move_save(Device *d, GByteArray *out, GError **error)
{
    return read_all(of_device(d), out, error);
}

/* --- destination --- */

static bool move_load(Device *d, const uint8_t *data, size_t len, GError **error)
{
    VfioPciDevice *dev = of_device(d);

    if (present_state(dev) != VFIO_DEVICE_STATE_RESUMING && !go_to(dev, VFIO_DEVICE_STATE_RESUMING, error)) {
        return false;
    }
    while (len) {
        size_t step = MIN(len, DATA_STEP);
        ssize_t done = dev->vdev.ops->migration_write(&dev->vdev, data, step);

        if (done <= 0) {
            error_set_errno(error, done ? (int)-done : EIO, "its far side refuses the state; what it says itself names the cause");
            return false;
        }
        data += done;
        len -= (size_t)done;
    }
    return true;
}

static bool move_loaded(Device *d, GError **error)
{
    VfioPciDevice *dev = of_device(d);

    if (present_state(dev) != VFIO_DEVICE_STATE_RESUMING) {
        error_set(error, "the stream has no state of its far side");
        return false;
    }
    if (!go_to(dev, VFIO_DEVICE_STATE_STOP, error)) {
        g_prefix_error(error, "its far side refuses the state; what it says itself names the cause: ");
        return false;
    }
    dev->fresh = false;
    return true;
}

static bool move_run(Device *d, GError **error)
{
    VfioPciDevice *dev = of_device(d);

    stop_logging(dev);
    dev->fresh = false;
    return present_state(dev) == VFIO_DEVICE_STATE_RUNNING || go_to(dev, VFIO_DEVICE_STATE_RUNNING, error);
}

void vfio_migration_go_on(VfioPciDevice *dev)
{
    g_autoptr(GError) error = NULL;

    if (present_state(dev) == VFIO_DEVICE_STATE_STOP && !vfio_broken(&dev->vdev) && !move_run(&dev->pci.dev, &error)) {
        g_printerr("%s: %s\n", dev->vdev.name, error->message);
    }
}

const MoveOps vfio_pci_move = {
    .possible = move_possible,
    .begin = move_begin,
    .sync = move_sync,
    .stop = move_stop,
    .save = move_save,
    .load = move_load,
    .loaded = move_loaded,
    .run = move_run,
};

/* --- what is here of the device --- */

static void device_pre_save(void *instance)
{
    vfio_irq_note_used(instance);
}

static bool device_post_load(void *instance, uint32_t version, GError **error)
{
    VfioPciDevice *dev = instance;
    uint8_t command[2];

    memcpy(command, dev->pci.config + PCI_COMMAND, sizeof(command));
    vfio_region_write(&dev->vdev, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, sizeof(command), command, false);
    return vfio_irq_restore(dev, error);
}

static const StateField device_fields[] = {
    STATE_FIELD_STRUCT(VfioPciDevice, pci, &pci_device_state),
    STATE_FIELD_BOOL(VfioPciDevice, intx_pending),
    STATE_FIELD_BYTES(VfioPciDevice, vectors_used, .since = 2),
    STATE_END,
};
const StateTable vfio_pci_device_state = {
    .name = "vfio-pci-device", .version = 2, .fields = device_fields, .pre_save = device_pre_save, .post_load = device_post_load};
