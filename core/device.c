/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Life of a device whatever its kind, its saved state, and reports of guest errors. */
#include <inttypes.h>

#include "core/error.h"
#include "core/internal.h"
#include "core/trace.h"

/* --- board devices: the kind core knows itself --- */

static const DeviceModel *device_model(const Device *dev)
{
    return (const DeviceModel *)dev->obj.model;
}

static bool board_device_place(Device *dev, GError **error)
{
    const DeviceModel *model = device_model(dev);

    if (model->place && !model->place(dev, error)) {
        return false;
    }
    if (dev->upstream) {
        dev->home = dev->upstream->home;
    }
    return true;
}

static bool board_device_start(Device *dev, GError **error)
{
    const DeviceModel *model = device_model(dev);

    return !model->start || model->start(dev, error);
}

static void board_device_reset(Device *dev)
{
    if (device_model(dev)->reset) {
        device_model(dev)->reset(dev);
    }
}

static void board_device_stop(Device *dev)
{
    if (device_model(dev)->stop) {
        device_model(dev)->stop(dev);
    }
}

static bool board_device_can_unplug(Device *dev, GError **error)
{
    if (device_model(dev)->no_unplug) {
        error_set(error, "Device '%s' cannot be unplugged: %s has no hot plug", dev->obj.id, dev->obj.model->name);
    }
    return !device_model(dev)->no_unplug;
}

const DeviceKindOps device_kind_ops = {
    .place = board_device_place,
    .start = board_device_start,
    .reset = board_device_reset,
    .stop = board_device_stop,
    .can_unplug = board_device_can_unplug,
};

/* --- life --- */

static bool gate_closed(const void *opaque)
{
    return device_rests(opaque);
}

void device_init(Device *dev)
{
    dev->home = dev->obj.machine ? dev->obj.machine->main_loop : NULL;
    dev->gate = (LoopGate){.closed = gate_closed, .opaque = dev};
}

void device_finalize(Device *dev)
{
    device_free_irqs(dev);
}

static const DeviceKindOps *device_ops(const Device *dev)
{
    return machine_kind_ops(dev->obj.machine, dev->obj.model->kind);
}

/*
 * Takes the home lock from the main loop.  A device of an iothread may want the
 * main loop's lock while it holds its own, so that one comes second here too.
 */
static void device_enter(Device *dev)
{
    EventLoop *main_loop = dev->obj.machine->main_loop;
    unsigned depth = dev->home == main_loop ? 0 : loop_release(main_loop);

    loop_lock(dev->home);
    loop_reacquire(main_loop, depth);
}

static void device_leave(Device *dev)
{
    loop_unlock(dev->home);
}

bool device_start(Device *dev, GError **error)
{
    Machine *m = dev->obj.machine;
    const DeviceKindOps *ops = device_ops(dev);
    EventLoop *home = dev->home; /* start may choose another */

    if (!ops) {
        error_set(error, "%s: machine '%s' takes no devices of this kind", dev->obj.model->name,
                  m->obj.model->name);
        return false;
    }
    if (!object_check_required(&dev->obj, error)) {
        return false;
    }
    loop_lock(m->main_loop);
    device_enter(dev);
    dev->obj.started = ops->start(dev, error);
    loop_unlock(home);
    if (dev->obj.started) {
        machine_track(m, &dev->obj);
        device_reset(dev);
    }
    loop_unlock(m->main_loop);
    return dev->obj.started;
}

void device_reset(Device *dev)
{
    const DeviceKindOps *ops = device_ops(dev);

    if (ops->reset) {
        device_enter(dev);
        ops->reset(dev);
        device_leave(dev);
    }
}

/* The main loop's lock is held. */
static void device_stop(Device *dev)
{
    EventLoop *home = dev->home;
    const DeviceKindOps *ops = device_ops(dev);

    machine_untrack(dev->obj.machine, &dev->obj);
    device_enter(dev);
    if (ops->stop) {
        ops->stop(dev);
    }
    loop_unlock(home); /* stop may have given the home back */
    dev->obj.started = false;
}

Device *device_last_downstream(Device *dev)
{
    GPtrArray *started = machine_tracked(dev->obj.machine);

    for (guint i = started->len; i-- > 0;) {
        Object *obj = started->pdata[i];

        if (object_is_device(obj) && ((Device *)obj)->upstream == dev) {
            return (Device *)obj;
        }
    }
    return NULL;
}

/* --- moving to another loop --- */

/* The device, then those on it, in the order in which they can be started. */
static void family_collect(Device *dev, GPtrArray *family)
{
    GPtrArray *started = machine_tracked(dev->obj.machine);

    g_ptr_array_add(family, dev);
    for (guint i = 0; i < started->len; i++) {
        Object *obj = started->pdata[i];

        if (object_is_device(obj) && ((Device *)obj)->upstream == dev) {
            family_collect((Device *)obj, family);
        }
    }
}

/* The first n of it. */
static void family_stop(GPtrArray *family, guint n)
{
    while (n-- > 0) {
        Device *dev = family->pdata[n];

        device_stop(dev);
        device_free_irqs(dev);
    }
}

static bool family_start(GPtrArray *family, EventLoop *home, GError **error)
{
    for (guint i = 0; i < family->len; i++) {
        Device *dev = family->pdata[i];

        dev->home = home;
        if (!device_start(dev, error)) {
            family_stop(family, i);
            return false;
        }
    }
    return true;
}

/* They go with the machine all the same. */
static void family_strand(GPtrArray *family)
{
    for (guint i = 0; i < family->len; i++) {
        Device *dev = family->pdata[i];

        dev->home = dev->obj.machine->main_loop;
        machine_track(dev->obj.machine, &dev->obj);
    }
}

bool device_set_home(Device *dev, EventLoop *home, GError **error)
{
    EventLoop *old = dev->home;
    g_autoptr(GPtrArray) family = g_ptr_array_new();
    bool ok;

    if (home == old) {
        return true;
    }
    loop_lock(dev->obj.machine->main_loop);
    family_collect(dev, family);
    family_stop(family, family->len);
    ok = family_start(family, home, error);
    if (!ok && !family_start(family, old, NULL)) {
        family_strand(family);
    }
    loop_unlock(dev->obj.machine->main_loop);
    return ok;
}

bool device_restart(Device *dev, GError **error)
{
    Machine *m = dev->obj.machine;
    GPtrArray *started = machine_tracked(m);
    gpointer next = NULL;
    guint place;
    bool ok;

    loop_lock(m->main_loop);
    if (g_ptr_array_find(started, &dev->obj, &place) && place + 1 < started->len) {
        next = started->pdata[place + 1];
    }
    if (dev->obj.started) {
        device_stop(dev);
        device_free_irqs(dev);
    } else {
        machine_untrack(m, &dev->obj);
    }
    ok = device_start(dev, error);
    if (ok) {
        machine_untrack(m, &dev->obj);
    }
    /* Those who count devices find it where it was, started or not, whoever came or went meanwhile. */
    g_ptr_array_insert(started, next && g_ptr_array_find(started, next, &place) ? (gint)place : -1, &dev->obj);
    loop_unlock(m->main_loop);
    return ok;
}

void device_destroy(Device *dev)
{
    Device *downstream;
    Machine *m;
    const DeviceKindOps *ops;

    if (!dev) {
        return;
    }
    while ((downstream = device_last_downstream(dev))) {
        device_destroy(downstream);
    }
    m = dev->obj.machine;
    ops = device_ops(dev);
    loop_lock(m->main_loop);
    if (dev->obj.started) {
        device_stop(dev);
    } else {
        machine_untrack(m, &dev->obj);
    }
    if (ops && ops->unplace) {
        ops->unplace(dev);
    }
    object_free(&dev->obj);
    loop_unlock(m->main_loop);
}

static bool device_set_pairs(Device *dev, va_list args, GError **error)
{
    const char *name;

    while ((name = va_arg(args, const char *))) {
        if (!object_set_str(&dev->obj, name, va_arg(args, const char *), error)) {
            return false;
        }
    }
    return true;
}

Device *device_create(Machine *machine, const Model *model, const char *id, GError **error, ...)
{
    Object *parent = object_container(&machine->obj, "unattached");
    Device *dev = (Device *)object_new(model, machine, parent, id, error);
    va_list args;
    bool ok;

    if (!dev) {
        return NULL;
    }
    va_start(args, error);
    ok = device_set_pairs(dev, args, error);
    va_end(args);
    if (!ok || (device_ops(dev)->place && !device_ops(dev)->place(dev, error)) || !device_start(dev, error)) {
        object_free(&dev->obj);
        return NULL;
    }
    return dev;
}

/* --- rest --- */

bool device_rests(const Device *dev)
{
    const Machine *m = dev->obj.machine;

    return __atomic_load_n(&dev->resting, __ATOMIC_RELAXED) ||
           (m->accel && __atomic_load_n(&m->run_state, __ATOMIC_RELAXED) != RUN_STATE_RUNNING);
}

void device_set_rest(Device *dev, bool rest)
{
    __atomic_store_n(&dev->resting, rest, __ATOMIC_RELAXED);
    if (!rest) {
        device_wake(dev);
    }
}

void device_add_wake(Device *dev, DeviceWake *wake)
{
    wake->next = dev->wakes;
    dev->wakes = wake;
}

void device_remove_wake(Device *dev, DeviceWake *wake)
{
    DeviceWake **at = &dev->wakes;

    while (*at != wake) {
        at = &(*at)->next;
    }
    *at = wake->next;
}

LoopBh *device_bh_new(Device *dev, LoopBhFn *fn, void *opaque)
{
    LoopBh *bh = loop_bh_new(dev->home, fn, opaque);

    loop_bh_set_gate(bh, &dev->gate);
    return bh;
}

Timer *device_timer_new(Device *dev, TimerFn *fn, void *opaque)
{
    Timer *timer = timer_new(dev->home, CLOCK_KIND_VIRTUAL, fn, opaque);

    timer_set_gate(timer, &dev->gate);
    return timer;
}

void device_wake(Device *dev)
{
    loop_gate_open(&dev->gate, dev->home);
    for (const DeviceWake *w = dev->wakes; w; w = w->next) {
        w->fn(w->opaque);
    }
}

/* --- state --- */

void device_save(Device *dev, GByteArray *out)
{
    g_autofree char *path = object_path(&dev->obj);

    device_enter(dev);
    state_save(dev->obj.model->state, dev, path, out);
    device_leave(dev);
}

static bool load_section(Device *dev, const char *section, const uint8_t *data, size_t len, size_t *offset, int64_t shift,
                         GError **error)
{
    bool ok;

    device_enter(dev);
    ok = state_load_shifted(dev->obj.model->state, dev, section, data, len, offset, shift, error);
    device_leave(dev);
    return ok;
}

bool device_load_section(Device *dev, const char *section, const uint8_t *data, size_t len, size_t *offset, GError **error)
{
    return load_section(dev, section, data, len, offset, 0, error);
}

bool device_load(Device *dev, const uint8_t *data, size_t len, size_t *offset, GError **error)
{
    return device_load_shifted(dev, data, len, offset, 0, error);
}

bool device_load_shifted(Device *dev, const uint8_t *data, size_t len, size_t *offset, int64_t shift, GError **error)
{
    g_autofree char *path = object_path(&dev->obj);

    return load_section(dev, path, data, len, offset, shift, error);
}

/* --- what only one process may use --- */

static bool each_resource(Device *dev, bool claim, GError **error)
{
    for (const Prop *p = dev->obj.model->props; p && p->name; p++) {
        Object *used = p->type->link ? *(Object **)(void *)((char *)dev + p->offset) : NULL;
        bool (*fn)(Object *obj, GError **error) = !used ? NULL : claim ? used->model->claim : used->model->release;

        if (fn && !fn(used, error)) {
            return false;
        }
    }
    return true;
}

bool device_release_resources(Device *dev, GError **error)
{
    return each_resource(dev, false, error);
}

bool device_claim_resources(Device *dev, GError **error)
{
    return each_resource(dev, true, error);
}

/* --- guest errors --- */

/* A line takes this much of the budget, which fills up to GUEST_ERROR_BURST. */
#define GUEST_ERROR_INTERVAL_NS (G_GINT64_CONSTANT(1000000000) / 20)
#define GUEST_ERROR_BURST_NS    (GUEST_ERROR_INTERVAL_NS * 20)

static bool guest_error_allowed(Device *dev)
{
    int64_t now = g_get_monotonic_time() * 1000;
    int64_t used = __atomic_load_n(&dev->guest_error_logged, __ATOMIC_RELAXED), next;

    do {
        if (used > now + GUEST_ERROR_BURST_NS) {
            return false;
        }
        next = MAX(used, now) + GUEST_ERROR_INTERVAL_NS;
    } while (!__atomic_compare_exchange_n(&dev->guest_error_logged, &used, next, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return true;
}

void guest_error(Device *dev, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    __atomic_fetch_add(&dev->guest_errors, 1, __ATOMIC_RELAXED);
    if (!(log_mask & LOG_GUEST_ERROR) || !guest_error_allowed(dev)) {
        return;
    }
    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    log_line(LOG_GUEST_ERROR, "%s %s: %s", dev->obj.model->name, dev->obj.id, text);
}
